//! Tries out what mailmill needs of a drop folder, with files of its own: the answers of `mailmill doctor`.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

use super::OWN;
use super::drop_folder::clock_ahead;
use super::raw::{self, Lease};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    pub check: &'static str,
    pub state: State,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Good,
    /// Works, but not as well as it could.
    Warning,
    Bad,
}

impl Check {
    pub fn good(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, state: State::Good, text: text.into() }
    }

    pub fn warning(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, state: State::Warning, text: text.into() }
    }

    pub fn bad(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, state: State::Bad, text: text.into() }
    }
}

/// Looks at the drop folder. Leaves nothing behind.
pub fn check_up(drop_folder: &Path) -> Vec<Check> {
    let shown = drop_folder.display();
    let mut checks = Vec::new();
    match fs::read_dir(drop_folder) {
        Ok(_) => checks.push(Check::good("list", format!("{shown} can be listed"))),
        Err(error) => {
            checks.push(Check::bad(
                "list",
                format!("{shown} cannot be listed: {error}; make it, or correct incoming.drop_folder"),
            ));
            return checks;
        }
    }
    let own = drop_folder.join(OWN);
    let probe = drop_folder.join(format!(".mailmill-doctor-{}", std::process::id()));
    let moved = own.join(format!("doctor-{}", std::process::id()));
    let made = fs::create_dir_all(&own).and_then(|()| fs::write(&probe, b"probe")).and_then(|()| File::open(&probe));
    match made {
        Err(error) => checks.push(Check::bad(
            "write",
            format!("no file can be made in {shown}: {error}; mailmill needs to create, rename and delete there"),
        )),
        Ok(file) => {
            checks.push(Check::good("write", format!("files can be made in {shown}")));
            checks.push(one_file_system(drop_folder, &own));
            checks.extend(leases(&probe, &file));
            checks.push(clock(&file));
            drop(file);
            checks.extend(renames(&probe, &moved));
        }
    }
    for left in [&probe, &moved] {
        // Already gone where everything worked.
        let _ = fs::remove_file(left);
    }
    checks
}

fn one_file_system(drop_folder: &Path, own: &Path) -> Check {
    match (fs::metadata(drop_folder), fs::metadata(own)) {
        (Ok(a), Ok(b)) if a.dev() == b.dev() => {
            Check::good("file-system", "the drop folder and .mailmill are on one file system")
        }
        (Ok(_), Ok(_)) => Check::bad(
            "file-system",
            ".mailmill is on another file system: claims could not be renamed; remove the mount",
        ),
        (Err(error), _) | (_, Err(error)) => Check::bad("file-system", error.to_string()),
    }
}

fn leases(path: &Path, file: &File) -> Vec<Check> {
    let slower = "files must then have been still for incoming.settle_time before they are taken";
    let own = match raw::take_lease(file) {
        Lease::Held => Check::good("lease", "half-written files are seen by leases"),
        _ => Check::warning("lease", format!("no leases here (a network folder?); {slower}")),
    };
    let mut checks = vec![own];
    // Only root can make a file look like somebody else's; others learn it from the files that lie there.
    if rustix::process::geteuid().is_root() && chown(path, Some(65534), None).is_ok() {
        checks.push(match File::open(path).map(|file| raw::take_lease(&file)) {
            Ok(Lease::Held) => Check::good("lease-of-others", "leases work on files of other users too"),
            _ => Check::warning(
                "lease-of-others",
                format!("no leases on files of other users (CAP_LEASE is missing); {slower}"),
            ),
        });
    } else if let Some(other) = somebody_elses_file(path) {
        checks.push(match File::open(&other).map(|file| raw::take_lease(&file)) {
            Ok(Lease::Held | Lease::Busy) => Check::good("lease-of-others", "leases work on files of other users too"),
            _ => Check::warning(
                "lease-of-others",
                format!("no leases on files of other users: grant CAP_LEASE (the systemd unit does); {slower}"),
            ),
        });
    }
    checks
}

fn somebody_elses_file(probe: &Path) -> Option<std::path::PathBuf> {
    let me = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(probe.parent()?).ok()?.flatten().take(1000);
    let mut files =
        entries.filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.uid() != me));
    files.next().map(|entry| entry.path())
}

fn clock(file: &File) -> Check {
    let Ok(stat) = rustix::fs::fstat(file) else {
        return Check::warning("clock", "the time stamp of a file cannot be read");
    };
    let ahead = clock_ahead(&stat);
    if ahead.abs() < 2.0 {
        return Check::good("clock", "the clocks of this machine and of the drop folder agree");
    }
    Check::warning(
        "clock",
        format!(
            "the clock of the drop folder is {ahead:.1} s ahead of ours; mailmill allows for it, but synchronise them"
        ),
    )
}

fn renames(probe: &Path, moved: &Path) -> Vec<Check> {
    let no_replace = rustix::fs::renameat_with(CWD.as_fd(), probe, CWD.as_fd(), moved, RenameFlags::NOREPLACE);
    let mut checks = Vec::new();
    if no_replace.is_ok() {
        checks.push(Check::good("rename", "files can be claimed by rename, and never over another"));
    } else {
        match fs::rename(probe, moved) {
            Ok(()) => checks.push(Check::good(
                "rename",
                "files can be claimed by rename (without RENAME_NOREPLACE, as on network folders)",
            )),
            Err(error) => {
                checks
                    .push(Check::bad("rename", format!("files cannot be renamed: {error}; nothing will be delivered")));
                return checks;
            }
        }
    }
    checks.push(match fs::remove_file(moved) {
        Ok(()) => Check::good("delete", "files can be deleted"),
        Err(error) => Check::bad("delete", format!("files cannot be deleted: {error}; nothing will be delivered")),
    });
    checks
}
