//! Reads the drop folder some thousand names at a time: a folder of a million files is never held in memory.
//! A server that claims takes the names that fall to it first (`share.rs`), then what is left; where it meets another all the same,
//! it reads the stretch anew.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType};

use super::share::Shares;
use super::{DropFolder, SpoolError, fault, names};

/// So many names are read before the first of them is claimed, and claimed in the order in which the files lie on the disk: 3 % less
/// processor time for small mail than in the order of a hashed folder, and fewer blocks to fetch and to write.
const STRETCH: usize = 1 << 16;

/// The same where other servers take from the folder too: what was read long ago is gone.
const SHARED_STRETCH: usize = 2048;

/// So many files in a row that another server took first mean that the names read are out of date: the stretch is read anew.
const LOST: u32 = 8;

/// How often a server that claims looks who else does.
const LOOK: Duration = Duration::from_millis(200);

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
    claiming: Option<Claiming>,
}

/// What a listing knows that is made to claim what it lists.
struct Claiming {
    shares: Shares,
    looked: Instant,
    /// Our own names only; false the second time through the folder.
    mine_only: bool,
    /// The file given last, until it is known what became of it.
    last: Option<OsString>,
    /// What was given and could not be claimed: not found again the second time.
    stayed: HashSet<OsString>,
    patient: bool,
    /// A young file was left to another server.
    left: bool,
}

impl Claiming {
    /// Whether this name is to be given now.
    fn wants(&mut self, name: &OsStr, drop: &DropFolder) -> bool {
        if self.stayed.contains(name) {
            return false;
        }
        if self.shares.alone() || self.shares.is_mine(name) {
            return true;
        }
        let left = self.patient && !self.mine_only && self.shares.is_young(&drop.folder, name);
        self.left |= left;
        !self.mine_only && !left
    }
}

impl DropFolder {
    /// As [`Self::list`], for a server that claims what it finds and says of each file what came of it. Each is given once.
    /// One that is patient soon looks again, and leaves young files to the server that they fall to.
    pub fn list_to_claim(&self, patient: bool) -> Result<Listing<'_>, SpoolError> {
        let mut listing = self.list()?;
        let shares = Shares::look(&self.options);
        let mine_only = !shares.alone();
        let (looked, last, stayed) = (Instant::now(), None, HashSet::new());
        listing.claiming = Some(Claiming { shares, looked, mine_only, last, stayed, patient, left: false });
        Ok(listing)
    }

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
            claiming: None,
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
    pub fn won(&mut self) {
        self.settle_last();
        self.won = true;
        self.lost_in_a_row = 0;
    }

    /// The last file is not there any more.
    fn settle_last(&mut self) {
        if let Some(claiming) = &mut self.claiming {
            claiming.last = None;
        }
    }

    /// Another server had taken it. Where that goes on, the stretch is read anew, without what is gone. Not again before
    /// something was won: a network file system may show names for long that are gone.
    pub fn lost(&mut self) {
        self.settle_last();
        self.lost_in_a_row += 1;
        if self.lost_in_a_row >= LOST && self.won {
            self.read_anew();
        }
    }

    fn read_anew(&mut self) {
        if self.folder.seek(self.start).is_ok() {
            self.next = self.start;
            self.again = true;
            self.at_end = false;
            self.stretch = Vec::new().into_iter();
            self.lost_in_a_row = 0;
            self.won = false;
        }
    }

    /// Looks now and then who else takes mail here. Where that has changed, other names are ours.
    fn look_around(&mut self) {
        let Some(claiming) = &mut self.claiming else { return };
        if let Some(last) = claiming.last.take() {
            claiming.stayed.insert(last);
        }
        if claiming.looked.elapsed() < LOOK {
            return;
        }
        claiming.looked = Instant::now();
        let shares = Shares::look(&self.drop.options);
        if shares != claiming.shares {
            // Whoever came: what is not ours is left for later. Whoever left: all of it is looked at in the end.
            claiming.mine_only |= claiming.shares.alone();
            claiming.shares = shares;
            if claiming.mine_only {
                self.read_anew();
            }
        }
    }

    /// Back to the start of the folder, for what is left of other servers' names. False when that was done, or is not needed.
    fn starts_over(&mut self) -> bool {
        let Some(claiming) = self.claiming.as_mut().filter(|claiming| claiming.mine_only) else { return false };
        claiming.mine_only = false;
        self.folder.rewind();
        (self.start, self.next, self.again, self.at_end) = (0, 0, false, false);
        true
    }

    /// Whether young files were left to other servers.
    pub fn left_some(&self) -> bool {
        self.claiming.as_ref().is_some_and(|claiming| claiming.left)
    }

    fn refill(&mut self) -> Result<(), SpoolError> {
        fault::point(&self.drop.options.label, "read list").map_err(|errno| self.drop.listing_error(errno))?;
        let is_shared = self.claiming.as_ref().is_some_and(|claiming| !claiming.shares.alone());
        let most = if is_shared { SHARED_STRETCH } else { STRETCH };
        let mut entries = Vec::new();
        self.start = self.next;
        if !std::mem::take(&mut self.again) {
            self.given.clear();
        }
        while entries.len() < most {
            match self.folder.read() {
                None => {
                    self.at_end = true;
                    break;
                }
                Some(Err(errno)) => return Err(self.drop.listing_error(errno)),
                Some(Ok(entry)) => {
                    self.next = entry.offset();
                    let name = OsStr::from_bytes(entry.file_name().to_bytes());
                    let claiming = self.claiming.as_mut();
                    let wanted = claiming.is_none_or(|claiming| claiming.wants(name, self.drop));
                    if wanted && !self.given.contains(name) {
                        let found = self.drop.entry(name, entry.file_type());
                        entries.extend(found.map(|found| (entry.ino(), found)));
                    }
                }
            }
        }
        // File systems number the files of a folder as they come and lay them out so.
        entries.sort_by_key(|(inode, _)| *inode);
        let mut entries: Vec<Entry> = entries.into_iter().map(|(_, entry)| entry).collect();
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
        self.look_around();
        loop {
            if let Some(entry) = self.stretch.next() {
                self.given.insert(entry.name.clone());
                if let Some(claiming) = &mut self.claiming {
                    claiming.last = Some(entry.name.clone());
                }
                return Some(Ok(entry));
            }
            if self.at_end && !self.starts_over() {
                return None;
            }
            if let Err(error) = self.refill() {
                self.at_end = true;
                return Some(Err(error));
            }
        }
    }
}
