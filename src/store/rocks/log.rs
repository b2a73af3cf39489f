//! What becomes of the log when a store is opened. RocksDB writes all that it holds into tables at once, one for each family, so
//! that a run of one mail each minute makes small tables faster than they are merged, and each of them is synced. A log that is
//! short and whole is only read into memory instead, and goes on being the only place of what it holds.
//!
//! Whole: a log that was cut off while it was written to must be dealt with at once. RocksDB goes on behind the cut, into a new log, and when
//! that one is empty at the next start it takes what families have in later tables for damage. So the last thing that a process does is to
//! note how long the logs are; whoever finds them otherwise lets RocksDB do as it likes.

use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::Options;

use super::backend;
use crate::store::StoreError;

/// Reading so much takes some 10 ms; writing it out and making it durable, as long for each family.
const SHORT: u64 = 2 << 20;
/// Each start makes one, which may stay empty.
const FEW: usize = 16;

/// Notes when it is dropped how the logs were left. Must be dropped after the database.
pub(super) struct Log {
    store: PathBuf,
}

impl Log {
    pub(super) fn new(store: &Path) -> Self {
        Self { store: store.to_owned() }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Not synced, and when it cannot be written nothing is lost but time.
        let _ = fs::write(note(&self.store), text(&lengths(&self.store)));
    }
}

/// The options to open this store with.
pub(super) fn kept_if_short(mut options: Options, store: &Path) -> Result<Options, StoreError> {
    let logs = lengths(store);
    let is_short = logs.len() <= FEW && logs.iter().map(|(_, bytes)| bytes).sum::<u64>() <= SHORT;
    let is_whole = fs::read_to_string(note(store)).is_ok_and(|found| found == text(&logs));
    if !is_short || !is_whole {
        return Ok(options);
    }
    // The binding has no function for this one.
    options.get_options_from_string("avoid_flush_during_recovery=true").map_err(backend)
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
