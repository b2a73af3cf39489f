//! Bulk bytes are written once: into a table file beside the database, which takes it in whole by a link. Through the log they would
//! be written twice, now and when the memtable is flushed (measured: 2.5 times the rate on mail of 138 kB).
//!
//! A file of a process that died before its group was committed names nothing and is removed when the store is opened. Beside it
//! lies a note of its ids until the group that names them is committed: what was taken in and is not named is removed then, too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rocksdb::{
    BlockBasedOptions, ColumnFamily, DB, DBCompressionType, IngestExternalFileOptions, Options, SstFileWriter,
};

use super::backend;
use crate::model::mail::BlobBytes;
use crate::store::StoreError;

pub(super) struct Bulk {
    folder: PathBuf,
    next: AtomicU64,
}

/// A finished and synced table file, and what became of it.
#[derive(Debug)]
pub struct TableFile {
    table: PathBuf,
    note: PathBuf,
    taken_in: AtomicBool,
    named: AtomicBool,
}

/// The first and the last of the ids in a file, text.
const NOTE: &str = "ids";

/// Ids that an earlier process wrote ahead, of which it is not known whether they were ever named.
pub(super) fn doubtful(store: &Path) -> Vec<(u64, u64)> {
    let notes = fs::read_dir(store.join("bulk")).into_iter().flatten().flatten().map(|entry| entry.path());
    let notes = notes.filter(|path| path.extension().is_some_and(|extension| extension == NOTE));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        let (first, last) = text.trim_end().split_once(' ')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    notes.filter_map(read).collect()
}

impl Bulk {
    /// Begins with an empty folder.
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        let folder = store.join("bulk");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&folder)?,
        }
        Ok(Self { folder, next: AtomicU64::new(0) })
    }

    /// Writes blobs into a file of their own; synced when this returns. Their ids must go up.
    pub(super) fn write(&self, blobs: &[(u64, BlobBytes)]) -> Result<TableFile, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let file = TableFile {
            table: self.folder.join(format!("{number}.sst")),
            note: self.folder.join(format!("{number}.{NOTE}")),
            taken_in: AtomicBool::new(false),
            named: AtomicBool::new(false),
        };
        if let (Some((first, _)), Some((last, _))) = (blobs.first(), blobs.last()) {
            fs::write(&file.note, format!("{first} {last}\n")).map_err(|error| no_note(&file.note, &error))?;
        }
        let options = options();
        let mut writer = SstFileWriter::create(&options);
        writer.open(&file.table).map_err(backend)?;
        for (id, bytes) in blobs {
            writer.put(id.to_be_bytes(), bytes.as_slice()).map_err(backend)?;
        }
        // Syncs the file.
        writer.finish().map_err(backend)?;
        Ok(file)
    }
}

fn no_note(note: &Path, error: &io::Error) -> StoreError {
    let text = format!("{}: {error}", note.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(text),
        _ => StoreError::Backend(text),
    }
}

impl TableFile {
    /// Makes the file part of the database: durable when this returns, and seen by nobody before its ids are named.
    pub(super) fn take_in(&self, db: &DB, family: &ColumnFamily) -> Result<(), StoreError> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        // No reader can have a snapshot that must not see numbers which nothing names.
        options.set_snapshot_consistency(false);
        self.taken_in.store(true, Ordering::Relaxed);
        db.ingest_external_file_cf_opts(family, &options, vec![&self.table]).map_err(backend)
    }

    /// The commit that names its ids is durable.
    pub(super) fn is_named(&self) {
        self.named.store(true, Ordering::Relaxed);
    }
}

impl Drop for TableFile {
    fn drop(&mut self) {
        // Gone already when it was taken in.
        let _ = fs::remove_file(&self.table);
        // In doubt the note stays, for the next process.
        if self.named.load(Ordering::Relaxed) || !self.taken_in.load(Ordering::Relaxed) {
            let _ = fs::remove_file(&self.note);
        }
    }
}

fn options() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_format_version(5);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    // Most bulk is compressed already: pictures, office documents, archives.
    options.set_compression_type(DBCompressionType::None);
    // The disk begins to write while the rest is being put, and the sync at the end is short.
    options.set_bytes_per_sync(1 << 20);
    // What is larger goes to the file as it is; with the default of 1 MiB it is copied once more (4 % of the time of mixed mail).
    options.set_writable_file_max_buffer_size(64 << 10);
    options
}
