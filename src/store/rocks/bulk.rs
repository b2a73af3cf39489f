//! Bulk bytes are written once: into a table file beside the database, which takes it in whole by a link. Through the log they would
//! be written twice, now and when the memtable is flushed (measured: 2.5 times the rate on mail of 138 kB).
//!
//! A file of a process that died before its group was committed names nothing and is removed when the store is opened. Taken in
//! and not named by a commit, its blobs are garbage that `verify` counts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{
    BlockBasedOptions, ColumnFamily, DB, DBCompressionType, IngestExternalFileOptions, Options, SstFileWriter,
};

use super::backend;
use crate::store::StoreError;

pub(super) struct Bulk {
    folder: PathBuf,
    next: AtomicU64,
}

/// A finished and synced table file that the database has not taken in yet.
#[derive(Debug)]
pub struct TableFile(PathBuf);

impl Bulk {
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        let folder = store.join("bulk");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&folder)?,
        }
        Ok(Self { folder, next: AtomicU64::new(0) })
    }

    /// Writes blobs into a file of their own; synced when this returns. Their ids must go up.
    pub(super) fn write(&self, blobs: &[(u64, Arc<[u8]>)]) -> Result<TableFile, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let file = TableFile(self.folder.join(format!("{number}.sst")));
        let options = options();
        let mut writer = SstFileWriter::create(&options);
        writer.open(&file.0).map_err(backend)?;
        for (id, bytes) in blobs {
            writer.put(id.to_be_bytes(), bytes).map_err(backend)?;
        }
        // Syncs the file.
        writer.finish().map_err(backend)?;
        Ok(file)
    }
}

impl TableFile {
    /// Makes the file part of the database: durable when this returns, and seen by nobody before its ids are named.
    pub(super) fn take_in(&self, db: &DB, family: &ColumnFamily) -> Result<(), StoreError> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        // No reader can have a snapshot that must not see numbers which nothing names.
        options.set_snapshot_consistency(false);
        db.ingest_external_file_cf_opts(family, &options, vec![&self.0]).map_err(backend)
    }
}

impl Drop for TableFile {
    fn drop(&mut self) {
        // Gone already when it was taken in.
        let _ = fs::remove_file(&self.0);
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
    options
}
