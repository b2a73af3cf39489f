//! The folder of a bench: generated mail, and a fresh copy of it for each run. Everything in it is the bench's own and goes with it.
#![allow(clippy::disallowed_methods)] // generated mail, in a folder that nobody else has

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::exit::Failure;

pub struct Folder {
    root: PathBuf,
    keep: bool,
    /// The folder that was named, if it had to be made.
    made: Option<PathBuf>,
}

impl Folder {
    /// A new folder below `parent`.
    pub fn make(parent: &Path, keep: bool) -> Result<Self, Failure> {
        let made = (!parent.exists()).then(|| parent.to_owned());
        let root = parent.join(format!("mailmill-bench-{}", std::process::id()));
        let at = |error: io::Error| Failure::at(&root, &error);
        fs::create_dir_all(parent).map_err(|error| Failure::at(parent, &error))?;
        fs::create_dir(&root).map_err(at)?;
        // The programs of the runs are started with it, from wherever they stand.
        let root = std::path::absolute(&root).map_err(at)?;
        Ok(Self { root, keep, made })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Everything written so far is on the disk: no run pays for what came before it.
    pub fn sync(&self) -> Result<(), Failure> {
        let at = |error: io::Error| Failure::at(&self.root, &error);
        let root = fs::File::open(&self.root).map_err(at)?;
        rustix::fs::syncfs(&root).map_err(|errno| at(errno.into()))
    }

    pub fn remove(&self, path: &Path) -> Result<(), Failure> {
        if self.keep {
            return Ok(());
        }
        fs::remove_dir_all(path).map_err(|error| Failure::at(path, &error))
    }
}

/// Copies the files of a folder. Hard links would be quicker, but the engine refuses files with several links.
pub fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let copy = || -> io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    };
    copy().map_err(|error| Failure::at(to, &error))
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            tracing::warn!(folder = %self.root.display(), %error, "cannot be removed");
        }
        if let Some(made) = &self.made {
            // Only when nothing else was put there meanwhile.
            let _ = fs::remove_dir(made);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_itself_away_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("mine"), b"x").unwrap();
        let folder = Folder::make(place.path(), false).unwrap();
        fs::create_dir(folder.path("master")).unwrap();
        fs::write(folder.path("master").join("a.eml"), b"mail").unwrap();
        copy(&folder.path("master"), &folder.path("run")).unwrap();
        assert_eq!(fs::read(folder.path("run").join("a.eml")).unwrap(), b"mail");
        drop(folder);
        let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["mine"]);
    }

    #[test]
    fn a_folder_that_had_to_be_made_goes_too() {
        let place = tempfile::tempdir().unwrap();
        let new = place.path().join("new");
        drop(Folder::make(&new, false).unwrap());
        assert!(!new.exists());
        drop(Folder::make(&new, true).unwrap());
        assert!(new.exists());
    }
}
