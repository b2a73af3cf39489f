//! The end of a claim, and the only place where a mail file is removed.
//! A file that is removed was committed: [`Settlement::Remove`] cannot be made without a `Receipt`, and only the store makes those.
//! A file that goes to `refused/` or `damaged/` may be the only copy: it, its note and its folder are synced.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::claim::{Claim, rename_surely};
use super::failed::Note;
use super::{Spool, names};
use crate::model::outcome::End;
use crate::store::Receipt;

/// What becomes of a settled file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    Remove,
    /// Kept under `done/DATE/`.
    Done {
        date: String,
    },
}

/// How a claim ends.
#[derive(Debug)]
pub enum Settlement {
    /// Delivered or a duplicate, and durable.
    Remove { receipt: Receipt, keep: Keep },
    /// Refused or damaged, with what a person has to know.
    SetAside { end: End, note: Note },
    /// Deferred or incomplete: it stays in `claimed/` and the next batch takes it up.
    Leave,
}

impl Spool {
    /// Carries out the end of a claim. On an error the claim stays in `claimed/`, where the next batch finds it.
    pub fn settle(&self, claim: Claim, settlement: Settlement) -> io::Result<()> {
        let id = claim.id();
        let done = match settlement {
            Settlement::Remove { receipt, keep } => self.remove(&claim, receipt, &keep),
            Settlement::SetAside { end, note } => self.set_aside(&claim, end, &note),
            Settlement::Leave => Ok(()),
        };
        // Closed before anybody may take it up again: our own lease would make it look busy.
        drop(claim);
        self.release(id);
        done
    }

    fn remove(&self, claim: &Claim, _committed: Receipt, keep: &Keep) -> io::Result<()> {
        match keep {
            Keep::Remove => {
                self.point("remove")?;
                match rustix::fs::unlinkat(&self.claimed, &claim.file_name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Keep::Done { date } => {
                self.point("make done")?;
                let folder = self.folder("done").join(date);
                match fs::create_dir(&folder) {
                    // Never the folders above it: where they are gone, they are not ours any more.
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
                self.move_claim(claim, &folder)?;
            }
        }
        self.forget_side_record(claim);
        Ok(())
    }

    /// Removes what was kept under `done/DATE/` of days before this one (`YYYY-MM-DD`). Other names there are not ours.
    pub fn purge_done(&self, before: &str) -> io::Result<()> {
        for entry in fs::read_dir(self.folder("done"))? {
            let entry = entry?;
            let name = entry.file_name();
            let is_day = name.to_str().is_some_and(|name| {
                let shape = name.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
                shape.eq(*b"0000-00-00") && name < before
            });
            if is_day {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// On an error the claim has not moved.
    fn set_aside(&self, claim: &Claim, end: End, note: &Note) -> io::Result<()> {
        let folder = self.folder(if end == End::Damaged { "damaged" } else { "refused" });
        self.sync_bytes(claim)?;
        let text = serde_json::to_vec_pretty(note).map_err(io::Error::other)?;
        self.point("note")?;
        write_synced(&folder.join(names::note_name(claim.id())), &text)?;
        self.move_claim(claim, &folder)?;
        self.forget_side_record(claim);
        if let Err(error) = self.point("sync folder").map_err(io::Error::from).and_then(|()| sync_folder(&folder)) {
            // It has moved all the same, and is found there; only a power loss could still undo that.
            tracing::warn!(folder = %folder.display(), %error, "cannot be synced");
        }
        Ok(())
    }

    /// What is set aside may be the only copy, and nobody knows whether its writer synced it.
    fn sync_bytes(&self, claim: &Claim) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        self.point("sync bytes")?;
        match rustix::fs::openat(&self.claimed, &claim.file_name, flags, Mode::empty()) {
            Ok(file) if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::RegularFile => {
                Ok(rustix::fs::fsync(file)?)
            }
            // Not readable to us, or no file: then its bytes were never ours to sync.
            Ok(_) | Err(Errno::ACCESS | Errno::LOOP | Errno::NXIO) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn move_claim(&self, claim: &Claim, folder: &Path) -> io::Result<()> {
        let name = names::settled_name(&claim.file_name);
        let to = File::open(folder)?;
        self.point("move claim")?;
        Ok(rename_surely(self.claimed.as_fd(), &claim.file_name, to.as_fd(), &name)?)
    }

    fn forget_side_record(&self, claim: &Claim) {
        if names::may_be_cut(&claim.file_name) && self.point("forget name").is_ok() {
            // What is left over is removed when the spool is opened again.
            let _ = fs::remove_file(self.folder("claimed").join(names::side_record(claim.id())));
        }
    }

    /// Moves a set-aside file back among the claims, under its old id.
    pub(super) fn put_back(&self, folder: &str, file_name: &OsStr) -> io::Result<OsString> {
        let mut claim_name = file_name.to_owned();
        claim_name.push(".claim");
        let from = File::open(self.folder(folder))?;
        self.point("put back")?;
        rename_surely(from.as_fd(), file_name, self.claimed.as_fd(), &claim_name)?;
        Ok(claim_name)
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
