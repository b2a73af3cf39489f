//! A claim: one mail file that is ours, and how it came to be. Whoever's rename succeeds owns the file.
//! Dropping a `Claim` loses nothing: the file stays in `claimed/` and is taken up again.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, RenameFlags};
use rustix::io::Errno;

use super::drop_folder::{Opened, ReadError, kind_word, read_ahead};
use super::raw::Bytes;
use super::{Entry, Spool, names};
use crate::model::mail::ClaimId;

/// A mail file that this server owns.
#[derive(Debug)]
pub struct Claim {
    id: ClaimId,
    name: OsString,
    pub(super) file_name: OsString,
    opened: Option<Opened>,
    suspect: bool,
}

/// What came of the attempt to claim a file.
#[derive(Debug)]
pub enum Taken {
    Claim(Claim),
    /// Another server was faster, or the file was removed: it was never found.
    Gone,
    /// Somebody still writes to it.
    Incomplete,
    /// It cannot be moved; it stays where it is.
    Stuck(io::Error),
}

impl Spool {
    /// Claims one file of the listing. Order: open, lease, look, rename; the bytes are read only after that.
    pub fn take(&self, entry: Entry, id: ClaimId) -> Taken {
        let Entry { name, regular } = entry;
        let mut opened = None;
        if regular {
            match self.drop.open_mail(self.drop.folder.as_fd(), &name) {
                Ok(file) => opened = Some(file),
                Err(ReadError::Incomplete) => return Taken::Incomplete,
                Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Taken::Gone,
                Err(error) if error.is_temporary() => return Taken::Stuck(io::Error::other(error)),
                // Judged when it is read: it moves to `damaged/` with a reason.
                Err(_) => {}
            }
        }
        let (file_name, cut) = names::claim_name(id, &name);
        self.start(id);
        if cut && let Err(error) = self.keep_whole_name(id, &name) {
            // Mail must be able to leave a full folder. What is lost is the end of a very long file name, nothing of the mail.
            if !is_full(&error) {
                self.release(id);
                return Taken::Stuck(error);
            }
            tracing::info!(file = %name.display(), "no room to keep the whole name");
        }
        let taken = match self.rename_into_claims(&name, &file_name, opened.as_ref()) {
            Ok(true) => {
                opened.iter().for_each(|opened| read_ahead(&opened.file, opened.seen.size));
                return Taken::Claim(Claim { id, name, file_name, opened, suspect: false });
            }
            Ok(false) => Taken::Gone,
            Err(errno) => Taken::Stuck(errno.into()),
        };
        self.release(id);
        taken
    }

    fn keep_whole_name(&self, id: ClaimId, name: &OsStr) -> io::Result<()> {
        self.point("side record")?;
        let record = self.folder("claimed").join(names::side_record(id));
        let kept = std::fs::write(&record, name.as_encoded_bytes());
        if kept.is_err() {
            // A part of a name is none.
            let _ = std::fs::remove_file(record);
        }
        kept
    }

    /// True when the file is now ours, false when it is gone. Never replaces anything: the target's name is unique, and
    /// `RENAME_NOREPLACE` is asked for where the file system knows it (NFS, 9p and some FUSE answer EINVAL).
    fn rename_into_claims(&self, name: &OsStr, target: &OsStr, opened: Option<&Opened>) -> Result<bool, Errno> {
        self.point("claim")?;
        match rename_no_replace(self.drop.folder.as_fd(), name, self.claimed.as_fd(), target) {
            Ok(()) => Ok(true),
            // A network file system may answer so to a repeated request that succeeded the first time.
            Err(Errno::NOENT | Errno::STALE) => {
                let arrived = rustix::fs::statat(&self.claimed, target, AtFlags::SYMLINK_NOFOLLOW);
                Ok(arrived.is_ok_and(|stat| opened.is_none_or(|ours| ours.seen.inode == stat.st_ino)))
            }
            Err(errno) => Err(errno),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A rename within our own folders, to a name that nothing else ever had. A network file system may answer that the file is
/// not there to a repeated request that succeeded the first time: then it has arrived.
pub(super) fn rename_surely(
    from: BorrowedFd<'_>,
    name: &OsStr,
    to: BorrowedFd<'_>,
    target: &OsStr,
) -> Result<(), Errno> {
    match rename_no_replace(from, name, to, target) {
        Err(Errno::NOENT | Errno::STALE) if rustix::fs::statat(to, target, AtFlags::SYMLINK_NOFOLLOW).is_ok() => Ok(()),
        answer => answer,
    }
}

fn rename_no_replace(from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, target: &OsStr) -> Result<(), Errno> {
    match rustix::fs::renameat_with(from, name, to, target, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if rustix::fs::statat(to, target, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return Err(Errno::EXIST);
            }
            rustix::fs::renameat(from, name, to, target)
        }
        answer => answer,
    }
}

impl Claim {
    pub(super) const fn adopted(id: ClaimId, name: OsString, file_name: OsString) -> Self {
        Self { id, name, file_name, opened: None, suspect: false }
    }

    /// It has killed a process before, and a person wants it tried again.
    #[must_use]
    pub(super) const fn suspected(mut self, suspect: bool) -> Self {
        self.suspect = suspect;
        self
    }

    pub const fn is_suspect(&self) -> bool {
        self.suspect
    }

    pub const fn id(&self) -> ClaimId {
        self.id
    }

    /// The file name as found, made printable.
    pub fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    #[cfg(test)]
    pub fn raw_name(&self) -> &OsStr {
        &self.name
    }

    /// Where it lies, for another process to look at.
    pub fn path(&self, spool: &Spool) -> std::path::PathBuf {
        spool.folder("claimed").join(&self.file_name)
    }

    /// The size of the file as far as it is known before reading.
    pub fn size(&self) -> u64 {
        self.opened.as_ref().map_or(0, |opened| opened.seen.size)
    }

    /// When it was written, in seconds since 1970 UTC: a claim keeps the time of the file that was dropped. Known once it is open.
    pub fn modified(&self) -> Option<i64> {
        self.opened.as_ref().map(|opened| opened.seen.modified.0)
    }

    /// Opens the claim if need be, and makes sure that what we hold open is what we renamed.
    pub fn open(&mut self, spool: &Spool) -> Result<u64, ReadError> {
        spool.point("look at claim").map_err(|errno| ReadError::Io(errno.into()))?;
        let stat = rustix::fs::statat(&spool.claimed, &self.file_name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| ReadError::Io(errno.into()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            return Err(ReadError::NotRegular(kind_word(kind)));
        }
        // Another file was put under the name between our look and our rename: that one is the claim now.
        let replaced = self.opened.as_ref().is_some_and(|ours| ours.seen.inode != stat.st_ino);
        if self.opened.is_none() || replaced {
            self.opened = Some(spool.drop.open_mail(spool.claimed.as_fd(), &self.file_name)?);
        }
        Ok(self.size())
    }

    /// The bytes of the mail: mapped when it is at least `map_from` bytes long and we hold a lease, else copied.
    pub fn read(&mut self, spool: &Spool, map_from: u64, limit: u64) -> Result<Bytes, ReadError> {
        self.open(spool)?;
        spool.point("read claim").map_err(|errno| ReadError::Io(errno.into()))?;
        self.opened.as_mut().ok_or(ReadError::Incomplete)?.read(map_from, limit)
    }

    /// Reads the file once from its start without keeping it: for mail that is too large to be held.
    pub fn skim(&mut self, mut look: impl FnMut(&[u8])) -> io::Result<()> {
        use std::io::Seek;
        let Some(opened) = &mut self.opened else { return Ok(()) };
        opened.file.rewind()?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = opened.file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            look(buffer.get(..count).unwrap_or_default());
        }
    }

    /// Nobody wrote to the file since it was claimed: asked again after parsing, before anything is committed.
    pub fn is_whole(&self) -> bool {
        self.opened.as_ref().is_none_or(Opened::is_whole)
    }

    /// Gives the descriptor back early; the claim stays.
    pub fn close(&mut self) {
        self.opened = None;
    }
}
