//! Small file systems that fill up, and folders of somebody else.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Cannot;

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A file system in memory, of any size.
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    pub fn new(path: &Path, options: &str) -> Result<Self, Cannot> {
        std::fs::create_dir_all(path).unwrap();
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(path).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self { path: path.to_owned() }),
            Ok(output) => Err(Cannot(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
            Err(error) => Err(Cannot(format!("mount: {error}"))),
        }
    }

    /// Changes its size, or what is allowed there. Not while a file that is removed already is still open, or one is written.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        crate::mill::until("it can be mounted anew", || {
            Command::new("mount").args(["-o", &options]).arg(&self.path).output().unwrap().status.success()
        });
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}
