//! What becomes of the log when a store is opened. RocksDB writes all that it holds into tables at once, one for each family, so
//! that a run of one mail each minute makes small tables faster than they are merged, and each of them is synced. A log that is
//! short and whole is only read into memory instead, and goes on being the only place of what it holds.
//!
//! Whole: a process that dies may leave half a record at the end, of a commit that nobody was told of; RocksDB reads up to there and
//! drops the rest without a word. So the last thing that a process does is to note how long the logs are. Where they still are, they
//! hold nothing but whole records, and anything else in them is damage, which is said; where they are not, RocksDB does as it likes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::{DBRecoveryMode, Options};

use super::backend;
use crate::store::StoreError;

/// What is read anew at each start is bounded by this. Chosen, not tuned.
const SHORT: u64 = 2 << 20;
/// Each start makes one, which may stay empty.
const FEW: usize = 16;

/// Notes when it is dropped how the logs were left. Must be dropped after the database.
pub(super) struct Log {
    store: PathBuf,
    /// A write failed, and may have left half a record.
    failed: AtomicBool,
}

impl Log {
    pub(super) fn new(store: &Path) -> Self {
        Self { store: store.to_owned(), failed: AtomicBool::new(false) }
    }

    pub(super) fn write_failed(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Not synced, and when it cannot be written nothing is lost but time.
        let _ = if self.failed.load(Ordering::Relaxed) {
            fs::remove_file(note(&self.store))
        } else {
            fs::write(note(&self.store), text(&lengths(&self.store)))
        };
    }
}

/// The logs of a store as its last process left them.
pub(super) struct Found {
    store: PathBuf,
    pub(super) is_whole: bool,
    is_short: bool,
}

impl Found {
    pub(super) fn look(store: &Path) -> Self {
        let logs = lengths(store);
        let is_short = logs.len() <= FEW && logs.iter().map(|(_, bytes)| bytes).sum::<u64>() <= SHORT;
        let is_whole = fs::read_to_string(note(store)).is_ok_and(|found| found == text(&logs));
        Self { store: store.to_owned(), is_whole, is_short }
    }

    /// How the store is to be opened.
    pub(super) fn adapt(&self, mut options: Options) -> Result<Options, StoreError> {
        if !self.is_whole {
            return Ok(options);
        }
        options.set_wal_recovery_mode(DBRecoveryMode::AbsoluteConsistency);
        if !self.is_short {
            return Ok(options);
        }
        // The binding has no function for this one.
        options.get_options_from_string("avoid_flush_during_recovery=true").map_err(backend)
    }

    /// What is said where logs that were whole cannot be read.
    pub(super) fn damage(&self, cause: &str) -> String {
        format!(
            "its log was damaged after the last process ended ({cause}). Restore a backup; or remove {} to go on with what stands before the damage",
            note(&self.store).display()
        )
    }
}

fn note(store: &Path) -> PathBuf {
    store.join("log")
}

/// Each log with its length in bytes, by name. Empty ones that come and go matter like any other.
fn lengths(store: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(store.join("db")).into_iter().flatten().flatten();
    let logs = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let is_log = name.strip_suffix(".log").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        if is_log { Some((name, entry.metadata().ok()?.len())) } else { None }
    });
    let mut logs: Vec<_> = logs.collect();
    logs.sort();
    logs
}

fn text(logs: &[(String, u64)]) -> String {
    let lines: Vec<String> = logs.iter().map(|(name, bytes)| format!("{name} {bytes}\n")).collect();
    lines.concat()
}
