//! Reads the drop folder a few thousand names at a time: a folder of a million files is never held in memory.
//! Two servers start each stretch at different places, so that they meet seldom.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType};

use super::{DropFolder, SpoolError, fault, names};

/// So many names are read before the first of them is claimed.
const STRETCH: usize = 2048;

/// A name in the drop folder that may be mail.
#[derive(Debug)]
pub struct Entry {
    pub name: OsString,
    pub(super) regular: bool,
}

impl Entry {
    /// A file that is known to lie there.
    pub const fn named(name: OsString) -> Self {
        Self { name, regular: true }
    }
}

pub struct Listing<'s> {
    drop: &'s DropFolder,
    folder: Dir,
    stretch: std::vec::IntoIter<Entry>,
    at_end: bool,
    /// Which part of a stretch comes first on this server.
    turn: u64,
}

impl DropFolder {
    /// What lies in the drop folder now. Files that come or go meanwhile may or may not be seen.
    pub fn list(&self) -> Result<Listing<'_>, SpoolError> {
        fault::point(&self.options.label, "list").map_err(|errno| self.listing_error(errno))?;
        let folder = Dir::read_from(&self.folder).map_err(|errno| self.listing_error(errno))?;
        let label = blake3::hash(self.options.label.as_bytes());
        let turn = u64::from_le_bytes(label.as_bytes()[..8].try_into().unwrap_or_default());
        Ok(Listing { drop: self, folder, stretch: Vec::new().into_iter(), at_end: false, turn })
    }

    fn listing_error(&self, errno: rustix::io::Errno) -> SpoolError {
        let source = io::Error::from(errno);
        SpoolError::Folder { action: "list it", path: self.options.drop_folder.clone(), source }
    }

    fn entry(&self, name: &OsStr, kind: FileType) -> Option<Entry> {
        if !names::is_mail_name(name) {
            return None;
        }
        let kind = match kind {
            FileType::Unknown => {
                let stat = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        let regular = kind == FileType::RegularFile;
        (regular || names::pretends_to_be_mail(name)).then(|| Entry { name: name.to_owned(), regular })
    }
}

impl Listing<'_> {
    fn refill(&mut self) -> Result<(), SpoolError> {
        fault::point(&self.drop.options.label, "read list").map_err(|errno| self.drop.listing_error(errno))?;
        let mut entries = Vec::new();
        while entries.len() < STRETCH {
            match self.folder.read() {
                None => {
                    self.at_end = true;
                    break;
                }
                Some(Err(errno)) => return Err(self.drop.listing_error(errno)),
                Some(Ok(entry)) => {
                    let name = OsStr::from_bytes(entry.file_name().to_bytes());
                    entries.extend(self.drop.entry(name, entry.file_type()));
                }
            }
        }
        if !entries.is_empty() {
            let count = entries.len() as u64;
            entries.rotate_left(usize::try_from(self.turn % count).unwrap_or_default());
        }
        self.stretch = entries.into_iter();
        Ok(())
    }
}

impl Iterator for Listing<'_> {
    type Item = Result<Entry, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.stretch.next() {
                return Some(Ok(entry));
            }
            if self.at_end {
                return None;
            }
            if let Err(error) = self.refill() {
                self.at_end = true;
                return Some(Err(error));
            }
        }
    }
}
