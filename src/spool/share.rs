//! How servers on one folder keep out of each other's way: every name falls to one of them, and each takes its own names first
//! and only then what is left of the others'. They need not agree: where they do not, the rename decides as always.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use rustix::fs::AtFlags;

use super::{OWN, SpoolOptions};

/// A server whose claim folder did not change for so long takes no part. Each batch touches its own.
const AWAKE: Duration = Duration::from_mins(5);

/// So long a file is left to the server that it falls to, by those who look again soon anyway.
pub const LEFT_TO_OTHERS: Duration = Duration::from_secs(2);

/// The servers that are awake, and which of them we are.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    mine: u64,
    others: Vec<u64>,
    /// When this was looked at, by the clock of the file system.
    now: SystemTime,
}

impl PartialEq for Shares {
    fn eq(&self, other: &Self) -> bool {
        (self.mine, &self.others) == (other.mine, &other.others)
    }
}

impl Shares {
    /// Looks who works on this folder. Says by the time stamp of our own claim folder that we do.
    pub(super) fn look(options: &SpoolOptions) -> Self {
        let mine = number(options.label.as_bytes());
        let (mut others, now) = awake(options).unwrap_or_else(|| (Vec::new(), SystemTime::UNIX_EPOCH));
        others.sort_unstable();
        Self { mine, others, now }
    }

    pub(super) const fn alone(&self) -> bool {
        self.others.is_empty()
    }

    /// Whether a name falls to us: each server draws a number for it, and the highest wins (rendezvous hashing). One more server,
    /// or one less, moves no names between the others.
    pub(super) fn is_mine(&self, name: &OsStr) -> bool {
        let name = number(name.as_bytes());
        let mine = mix(self.mine ^ name);
        self.others.iter().all(|other| mix(other ^ name) < mine)
    }

    /// Whether a file came so lately that the server it falls to may not have seen it yet. By its change time, which is the file
    /// system's own.
    pub(super) fn is_young(&self, folder: &OwnedFd, name: &OsStr) -> bool {
        let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
        let now = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::new(u64::try_from(stat.st_ctime).unwrap_or_default(), 0);
        now < changed + LEFT_TO_OTHERS
    }
}

/// The others that are awake, and the time. None where nobody else ever was.
fn awake(options: &SpoolOptions) -> Option<(Vec<u64>, SystemTime)> {
    let own = options.own_folder().join("claimed");
    let mut found = Vec::new();
    for entry in fs::read_dir(options.drop_folder.join(OWN)).ok()?.flatten() {
        let claimed = entry.path().join("claimed");
        if claimed != own
            && let Some(changed) = fs::metadata(&claimed).and_then(|folder| folder.modified()).ok()
        {
            found.push((number(entry.file_name().as_bytes()), changed));
        }
    }
    if found.is_empty() {
        return None;
    }
    let now = touch(&own)?;
    // By the clock of the file system on both sides. A time in the future is no sign of sleep.
    found.retain(|(_, changed)| now.duration_since(*changed).unwrap_or_default() < AWAKE);
    Some((found.into_iter().map(|(other, _)| other).collect(), now))
}

/// Sets the time stamp of our claim folder, and answers it as the file system tells it.
fn touch(claimed: &std::path::Path) -> Option<SystemTime> {
    let folder = fs::File::open(claimed).ok()?;
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
    rustix::fs::futimens(&folder, &times).ok()?;
    folder.metadata().ok()?.modified().ok()
}

/// 64 bits of a name: FNV-1a, the same on every server.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

/// The finalizer of `SplitMix64`: every bit of the result hangs on every bit given.
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(mine: &str, all: &[&str]) -> Shares {
        let others = all.iter().filter(|name| **name != mine).map(|name| number(name.as_bytes())).collect();
        Shares { mine: number(mine.as_bytes()), others, now: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn every_name_falls_to_one_server_and_each_gets_its_part() {
        let all = ["a", "b", "c", "d"];
        let shares = all.map(|name| shares(name, &all));
        let mut parts = [0; 4];
        for at in 0..4000 {
            let name = format!("mail-{at}.eml");
            let takers: Vec<_> = (0..4).filter(|server| shares[*server].is_mine(OsStr::new(&name))).collect();
            assert_eq!(takers.len(), 1, "{name}");
            parts[takers[0]] += 1;
        }
        assert!(parts.iter().all(|part| (800..1200).contains(part)), "{parts:?}");
    }

    #[test]
    fn a_server_less_moves_only_its_own_names() {
        let (before, after) = (shares("a", &["a", "b", "c"]), shares("a", &["a", "b"]));
        let names = (0..1000).map(|at| format!("{at}"));
        let lost = names.filter(|name| before.is_mine(OsStr::new(name)) && !after.is_mine(OsStr::new(name)));
        assert_eq!(lost.count(), 0);
    }

    #[test]
    fn who_sleeps_takes_no_part_and_who_is_alone_touches_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let options = |label: &str| SpoolOptions {
            drop_folder: folder.path().to_owned(),
            label: label.to_owned(),
            remote_writers: false,
            settle_time: Duration::ZERO,
        };
        let claimed = |label: &str| options(label).own_folder().join("claimed");
        let age = |label: &str, time| fs::File::open(claimed(label)).unwrap().set_modified(time).unwrap();
        fs::create_dir_all(claimed("a-1")).unwrap();
        age("a-1", SystemTime::UNIX_EPOCH);
        assert!(Shares::look(&options("a-1")).alone());
        assert_eq!(fs::metadata(claimed("a-1")).unwrap().modified().unwrap(), SystemTime::UNIX_EPOCH);
        fs::create_dir_all(claimed("b-2")).unwrap();
        let both = Shares::look(&options("a-1"));
        assert!(!both.alone());
        assert_eq!(Shares::look(&options("b-2")).others, [both.mine], "we said that we are awake");
        age("b-2", SystemTime::now() - AWAKE * 2);
        assert!(Shares::look(&options("a-1")).alone());
    }
}
