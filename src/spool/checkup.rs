//! Tries out what mailmill needs of a drop folder, with files of its own: the answers of `mailmill doctor`.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

use super::OWN;
use super::drop_folder::clock_ahead;
use super::raw::{self, Lease};
use crate::model::units::about;

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
        Ok(entries) => {
            checks.push(Check::good("list", format!("{shown} can be listed")));
            checks.extend(fs::metadata(drop_folder).ok().and_then(|folder| outgrown(folder.len(), entries.count())));
        }
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

/// What is to be said of a folder whose own size is so many bytes. One of ext4 keeps its size when its files are gone, and is read as
/// a whole each time: 20 ms for 53 MB.
fn outgrown(size: u64, entries: usize) -> Option<Check> {
    // More than the longest name takes in any file system; a folder under 8 MiB is read in a few milliseconds.
    const ENTRY: u64 = 1 << 10;
    const SMALL: u64 = 8 << 20;
    if size < SMALL || size / ENTRY <= entries as u64 {
        return None;
    }
    let text = format!(
        "the drop folder itself is {}: it once held many more names than now ({entries}), and each run reads all of it; \
         stop mailmill and the mail server for a moment, and make the folder anew",
        about(size)
    );
    Some(Check::warning("folder-size", text))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn found(checks: &[Check]) -> Vec<(&'static str, State)> {
        checks.iter().map(|check| (check.check, check.state)).collect()
    }

    #[test]
    fn a_good_folder_is_said_to_be_good_and_left_as_it_was() {
        super::super::ignore_lease_signals();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mail.eml"), "x").unwrap();
        let checks = check_up(folder.path());
        let names = ["list", "write", "file-system", "lease", "clock", "rename", "delete"];
        for name in names {
            assert!(found(&checks).contains(&(name, State::Good)), "{name}: {checks:?}");
        }
        assert!(checks.iter().all(|check| check.state != State::Bad));
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert_eq!(fs::read_dir(folder.path().join(OWN)).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_missing_or_cannot_be_written_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        let checks = check_up(&folder.path().join("nowhere"));
        assert_eq!(found(&checks), [("list", State::Bad)]);
        assert!(checks[0].text.contains("incoming.drop_folder"), "{}", checks[0].text);
        fs::write(folder.path().join(OWN), "not a folder").unwrap();
        assert_eq!(found(&check_up(folder.path())), [("list", State::Good), ("write", State::Bad)]);
    }

    #[test]
    fn a_folder_that_was_much_larger_is_said_to_be() {
        let folder = |size, entries| outgrown(size, entries).map(|check| check.state);
        assert_eq!(folder(53 << 20, 1), Some(State::Warning));
        assert_eq!(folder(53 << 20, 1_000_000), None, "it is as large as its files need");
        assert_eq!(folder(4096, 0), None);
        assert_eq!(folder(1 << 20, 0), None, "too small to matter");
        let told = outgrown(53 << 20, 3).unwrap().text;
        assert!(told.contains("now (3)") && told.contains("anew"), "{told}");
    }

    #[test]
    fn our_folder_elsewhere_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        // Another file system wherever this runs.
        symlink("/proc/self", folder.path().join(OWN)).unwrap();
        assert_eq!(one_file_system(folder.path(), &folder.path().join(OWN)).state, State::Bad);
        assert_eq!(one_file_system(folder.path(), folder.path()).state, State::Good);
        assert_eq!(one_file_system(folder.path(), &folder.path().join("nowhere")).state, State::Bad);
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_by_how_much() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("probe")).unwrap();
        assert_eq!(clock(&file).state, State::Good);
        file.set_modified(SystemTime::now() + Duration::from_hours(1)).unwrap();
        let told = clock(&file);
        assert!(told.state == State::Warning && told.text.contains("36") && told.text.contains("ahead"), "{told:?}");
    }

    #[test]
    fn files_that_cannot_be_moved_or_removed_are_bad() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("probe"), "").unwrap();
        assert_eq!(found(&renames(&at("probe"), &at("nowhere/moved"))), [("rename", State::Bad)]);
        assert_eq!(found(&renames(&at("probe"), &at("moved"))), [("rename", State::Good), ("delete", State::Good)]);
        // Over another it is moved only where the file system cannot refuse that.
        fs::write(at("probe"), "").unwrap();
        fs::write(at("moved"), "").unwrap();
        assert_eq!(renames(&at("probe"), &at("moved"))[0].state, State::Good);
        fs::create_dir(at("folder")).unwrap();
        assert_eq!(found(&renames(&at("folder"), &at("else"))), [("rename", State::Good), ("delete", State::Bad)]);
    }

    #[test]
    fn files_of_others_are_found_where_there_are_any() {
        let folder = tempfile::tempdir().unwrap();
        let probe = folder.path().join("probe");
        fs::write(&probe, "").unwrap();
        assert_eq!(somebody_elses_file(&probe), None);
        // Only root can give a file away.
        if rustix::process::geteuid().is_root() && chown(&probe, Some(65534), None).is_ok() {
            assert_eq!(somebody_elses_file(&probe), Some(probe));
        }
    }
}
