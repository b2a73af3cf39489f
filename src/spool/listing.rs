//! Reads the drop folder a few thousand names at a time: a folder of a million files is never held in memory.
//! Two servers start each stretch at different places, so that they meet seldom; where they meet, one reads the stretch anew.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType};

use super::{DropFolder, SpoolError, fault, names};

/// So many names are read before the first of them is claimed.
const STRETCH: usize = 2048;

/// So many files in a row that another server took first mean that the names read are out of date: the stretch is read anew.
const LOST: u32 = 8;

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
    /// Where the stretch begins in the folder, and the next one.
    start: i64,
    next: i64,
    /// Names of this stretch that were given out: one that stays is not found twice.
    given: HashSet<OsString>,
    /// The next stretch is this one anew.
    again: bool,
    lost_in_a_row: u32,
    won: bool,
    /// Which part of a stretch comes first on this server; another one each time.
    turn: u64,
}

impl DropFolder {
    /// What lies in the drop folder now. Files that come or go meanwhile may or may not be seen.
    pub fn list(&self) -> Result<Listing<'_>, SpoolError> {
        fault::point(&self.options.label, "list").map_err(|errno| self.listing_error(errno))?;
        let folder = Dir::read_from(&self.folder).map_err(|errno| self.listing_error(errno))?;
        let label = blake3::hash(self.options.label.as_bytes());
        let turn = u64::from_le_bytes(label.as_bytes()[..8].try_into().unwrap_or_default());
        Ok(Listing {
            drop: self,
            folder,
            stretch: Vec::new().into_iter(),
            at_end: false,
            start: 0,
            next: 0,
            given: HashSet::new(),
            again: false,
            lost_in_a_row: 0,
            won: false,
            turn,
        })
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
    /// The last file could be claimed.
    pub const fn won(&mut self) {
        self.won = true;
        self.lost_in_a_row = 0;
    }

    /// Another server had taken it. Where that goes on, the stretch is read anew, without what is gone. Not again before
    /// something was won: a network file system may show names for long that are gone.
    pub fn lost(&mut self) {
        self.lost_in_a_row += 1;
        if self.lost_in_a_row >= LOST && self.won && self.folder.seek(self.start).is_ok() {
            self.next = self.start;
            self.again = true;
            self.at_end = false;
            self.stretch = Vec::new().into_iter();
            self.lost_in_a_row = 0;
            self.won = false;
        }
    }

    fn refill(&mut self) -> Result<(), SpoolError> {
        fault::point(&self.drop.options.label, "read list").map_err(|errno| self.drop.listing_error(errno))?;
        let mut entries = Vec::new();
        self.start = self.next;
        if !std::mem::take(&mut self.again) {
            self.given.clear();
        }
        while entries.len() < STRETCH {
            match self.folder.read() {
                None => {
                    self.at_end = true;
                    break;
                }
                Some(Err(errno)) => return Err(self.drop.listing_error(errno)),
                Some(Ok(entry)) => {
                    self.next = entry.offset();
                    let name = OsStr::from_bytes(entry.file_name().to_bytes());
                    if !self.given.contains(name) {
                        entries.extend(self.drop.entry(name, entry.file_type()));
                    }
                }
            }
        }
        if !entries.is_empty() {
            let count = entries.len() as u64;
            entries.rotate_left(usize::try_from(self.turn % count).unwrap_or_default());
            self.turn = self.turn.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
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
                self.given.insert(entry.name.clone());
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
