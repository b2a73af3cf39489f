//! The spool: the only code that renames or removes a mail file.
//!
//! A mail file is always in exactly one of these places, and every move between them is one rename:
//!
//! ```text
//! drop/x.eml -> drop/.mailmill/<server>-<store uuid>/claimed/17-3-x.eml.claim -> gone, or done/DATE/17-3-x.eml
//!                                                                             -> refused/17-3-x.eml + 17-3.json
//!                                                                             -> damaged/17-3-x.eml + 17-3.json
//! ```
//!
//! Mail that comes in by SMTP begins in `tmp/`, and waits in `queue/` while its domain is not ours.
//!
//! Forgetting is safe: a claim that nobody settles stays in `claimed/` and is taken up again by the next batch.
#![allow(clippy::disallowed_methods)] // this is the place for it

mod names;

mod fault;

mod raw;

mod drop_folder;

mod listing;

mod share;

mod claim;

mod settle;

mod failed;

mod reclaim;

mod tidy;

mod deposit;

mod bounced;

mod checkup;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::model::mail::ClaimId;

pub use checkup::{Check, State, check_up};
pub use claim::{Claim, Taken};
pub use deposit::{Depot, Draft, Placed, Shelf};
pub use drop_folder::{DropFolder, ReadError, read_ahead};
pub use failed::{FailedMail, Note};
#[cfg(test)]
pub use fault::{At, Fault, Faults};
pub use listing::{Entry, Listing};
pub use names::is_mail_name;
pub use raw::Bytes;
pub use reclaim::{Stranger, StrangersClaim, left_behind, overdue, strangers};
pub use settle::{Keep, Settlement};
pub use share::LEFT_TO_OTHERS;

/// An error of the folder itself, not of one mail.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error(
        "drop folder {path}: cannot {action}: {source}. mailmill must be able to list, create, rename and delete there; nothing was delivered"
    )]
    Folder { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{path} is not our claim folder any more: another server took our claims (`mailmill reclaim`), or the drop folder was moved away. Nothing more was delivered; see to it, then start again"
    )]
    NotOurs { path: PathBuf },
    #[error("no failed mail has the id {0}; see `mailmill failed ls`")]
    NoSuchFailure(ClaimId),
    #[error("no server `{0}` has a folder below .mailmill; see `mailmill doctor`")]
    NoSuchServer(String),
    #[error("more than one server has this name: {0} and {1}; give the whole name of one")]
    ServerNotUnique(String, String),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// How the drop folder is used: what `[incoming]` of the configuration says about files.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    pub drop_folder: PathBuf,
    /// `<server>-<store uuid>`: the folder below `.mailmill` that is ours alone.
    pub label: String,
    /// Writers on other machines: leases see nothing of them, so files are copied and must have been still for a while.
    pub remote_writers: bool,
    pub settle_time: Duration,
}

impl SpoolOptions {
    /// Our own folder below the drop folder.
    pub fn own_folder(&self) -> PathBuf {
        self.drop_folder.join(OWN).join(&self.label)
    }
}

/// What is mailmill's own below a drop folder.
pub const OWN: &str = ".mailmill";

/// An open drop folder with our own folders below it.
#[derive(Debug)]
pub struct Spool {
    drop: DropFolder,
    own: PathBuf,
    claimed: OwnedFd,
    /// Claims that some batch of this process is working on: another batch does not take them up again.
    active: Mutex<HashSet<ClaimId>>,
}

const OWN_FOLDERS: [&str; 6] = ["claimed", "refused", "damaged", "done", "tmp", "queue"];

impl Spool {
    /// Opens the drop folder, makes our folders below it and tries with a file of our own whether files can be
    /// created, renamed and deleted. The system this replaces delivers duplicates when they cannot.
    pub fn open(options: SpoolOptions) -> Result<Self, SpoolError> {
        let own = options.own_folder();
        let drop = DropFolder::open(options)?;
        for folder in OWN_FOLDERS {
            let path = own.join(folder);
            let made = fault::point(&drop.options.label, "make folder").map_err(io::Error::from);
            made.and_then(|()| fs::create_dir_all(&path)).map_err(|source| SpoolError::Folder {
                action: "create a folder",
                path,
                source,
            })?;
        }
        let claimed = open_folder(&own.join("claimed"), "open it")?;
        let mut spool = Self { drop, own, claimed, active: Mutex::default() };
        spool.drop.clock_ahead = spool.probe()?;
        spool.tidy().map_err(|source| SpoolError::Io { path: spool.own.clone(), source })?;
        Ok(spool)
    }

    pub fn drop_folder(&self) -> &Path {
        &self.drop.options.drop_folder
    }

    /// What lies in the drop folder now. Files that come or go meanwhile may or may not be seen.
    pub fn list(&self) -> Result<Listing<'_>, SpoolError> {
        self.drop.list()
    }

    /// As [`Self::list`], to claim what is listed: of each file it wants to hear what came of it.
    pub fn list_to_claim(&self, patient: bool) -> Result<Listing<'_>, SpoolError> {
        self.drop.list_to_claim(patient)
    }

    /// Our own folder below the drop folder.
    pub fn own_folder(&self) -> &Path {
        &self.own
    }

    /// Looks whether our claim folder is still at its place. A server that was paused for long may have been reclaimed
    /// meanwhile: then what it holds open is not its own any more, and it must not commit.
    pub fn check_ours(&self) -> Result<(), SpoolError> {
        let path = self.folder("claimed");
        self.point("check ours").map_err(|errno| SpoolError::Io { path: path.clone(), source: errno.into() })?;
        let open = rustix::fs::fstat(&self.claimed);
        let there = rustix::fs::stat(&path);
        match (open, there) {
            (Ok(open), Ok(there)) if (open.st_dev, open.st_ino) == (there.st_dev, there.st_ino) => Ok(()),
            (_, Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR)) => Err(SpoolError::NotOurs { path }),
            (_, Err(errno)) => Err(SpoolError::Io { path, source: errno.into() }),
        }
    }

    /// Whether an error of one file is one of the whole folder, which no other file will be spared.
    pub fn check_folder(&self, error: &io::Error) -> Result<(), SpoolError> {
        match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::ROFS.raw_os_error() => Err(SpoolError::Folder {
                action: "rename a file into .mailmill",
                path: self.drop.options.drop_folder.clone(),
                source: io::Error::from_raw_os_error(code),
            }),
            _ => self.check_ours(),
        }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.own.join(name)
    }

    fn point(&self, step: &'static str) -> Result<(), rustix::io::Errno> {
        fault::point(&self.drop.options.label, step)
    }

    fn probe(&self) -> Result<f64, SpoolError> {
        // Always the same name: one that a crash left behind is used again.
        let name = format!(".mailmill-probe-{}", self.drop.options.label);
        let fail = |action| {
            let path = self.drop.options.drop_folder.clone();
            move |errno: rustix::io::Errno| SpoolError::Folder { action, path, source: errno.into() }
        };
        self.point("probe").map_err(fail("create a file"))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.drop.folder, &name, flags, Mode::from_raw_mode(0o600)) {
            // Mail can leave a full folder, and makes room by that.
            Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => return Ok(0.0),
            file => file.map_err(fail("create a file"))?,
        };
        let stat = rustix::fs::fstat(&file).map_err(fail("look at a file"))?;
        let renamed = self.point("probe rename");
        let renamed = renamed.and_then(|()| rustix::fs::renameat(&self.drop.folder, &name, &self.claimed, &name));
        if let Err(errno) = renamed {
            let _ = rustix::fs::unlinkat(&self.drop.folder, &name, AtFlags::empty());
            return Err(fail("rename a file into .mailmill")(errno));
        }
        rustix::fs::unlinkat(&self.claimed, &name, AtFlags::empty()).map_err(fail("delete a file"))?;
        Ok(drop_folder::clock_ahead(&stat))
    }

    /// Claims that wait in `claimed/` and that nobody in this process works on.
    pub fn waiting_claims(&self) -> Result<Vec<Claim>, SpoolError> {
        let path = self.folder("claimed");
        self.point("list claims").map_err(|errno| SpoolError::Io { path: path.clone(), source: errno.into() })?;
        let entries = fs::read_dir(&path).map_err(|source| SpoolError::Io { path: path.clone(), source })?;
        let mut claims = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| SpoolError::Io { path: path.clone(), source })?;
            if let Some(claim) = self.adopt(&entry.file_name()) {
                claims.push(claim);
            }
        }
        claims.sort_by_key(Claim::id);
        Ok(claims)
    }

    /// The ids of all claims that wait or are worked on.
    pub fn waiting_ids(&self) -> HashSet<ClaimId> {
        let entries = fs::read_dir(self.folder("claimed")).into_iter().flatten().flatten();
        entries.filter_map(|entry| names::read_claim(&entry.file_name())).map(|(id, _)| id).collect()
    }

    fn adopt(&self, file_name: &OsStr) -> Option<Claim> {
        let (id, mut name) = names::read_claim(file_name)?;
        if let Some(whole) = names::read_side_record(&self.folder("claimed"), id, &name) {
            name = whole;
        }
        self.start(id).then(|| Claim::adopted(id, name, file_name.to_owned()))
    }

    /// Marks a claim as being worked on; false when it is already.
    fn start(&self, id: ClaimId) -> bool {
        self.active.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id)
    }

    /// Nobody works on this claim any more: it is settled, or waits in `claimed/` for the next batch.
    pub fn release(&self, id: ClaimId) {
        self.active.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
    }
}

/// A lease that a writer breaks sends SIGIO, which ends a process that does not expect it. We look at leases ourselves.
pub fn ignore_lease_signals() {
    // The flag is never read; without a handler of ours the signal would kill.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGIO, std::sync::Arc::default());
}

fn open_folder(path: &Path, action: &'static str) -> Result<OwnedFd, SpoolError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| SpoolError::Folder {
        action,
        path: path.to_owned(),
        source: errno.into(),
    })
}
