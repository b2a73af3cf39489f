//! The list store in RocksDB: the only file that names rocksdb.
//! Every commit is one `WriteBatch` with one synced write of the log; nothing is ever written without it.
#![allow(clippy::disallowed_methods)] // a restored store is built under another name and renamed

use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::statistics::Histogram;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, Direction, IteratorMode,
    LogLevel, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{Counter, Group, ListStore, Receipt, StoreError, Write, keys};
use crate::model::item::{BlobEntry, Item, JournalEntry, LedgerEntry, LibraryFile};
use crate::model::list::{ItemId, List, ListId};
use crate::model::mail::{BlobHash, MailId};
use crate::model::outcome::Sheet;

const FAMILIES: [&str; 10] = [LISTS, ITEMS, FILES, BLOBS, BLOB_INDEX, LEDGER, JOURNAL, MESSAGE_IDS, BATCHES, COUNTERS];
const LISTS: &str = "lists";
const ITEMS: &str = "items";
const FILES: &str = "files";
const BLOBS: &str = "blobs";
const BLOB_INDEX: &str = "blob_index";
const LEDGER: &str = "ledger";
const JOURNAL: &str = "journal";
const MESSAGE_IDS: &str = "message_ids";
const BATCHES: &str = "batches";
const COUNTERS: &str = "counters";

/// All memtables together. With the cache and the mail in flight this keeps a run below 400 MiB.
const MEMTABLES: usize = 64 << 20;
const CACHE: usize = 32 << 20;
/// A blob of this size lies in a blob file and is never moved by compaction (20 to 40 % faster than plain values on mixed mail).
const BLOB_FILE_FROM: u64 = 4 << 10;

pub struct RocksStore {
    db: DB,
    uuid: String,
    synced: WriteOptions,
    counters: Option<Counters>,
}

fn backend(error: rocksdb::Error) -> StoreError {
    let text = error.into_string();
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") || text.contains("NoSpace") {
        StoreError::Full(text)
    } else {
        StoreError::Backend(text)
    }
}

impl RocksStore {
    /// Opens the store, or makes it when the folder does not exist or is empty.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, &database_options(), None)
    }

    /// Opens the store so that [`Self::syncs`] can answer. Counting costs time: a bench counts in a run that it does not time.
    pub fn open_counting(path: &Path) -> Result<Self, StoreError> {
        let (options, counters) = counting_options();
        Self::open_with(path, &options, Some(counters))
    }

    /// None unless the store was opened to count.
    pub fn syncs(&self) -> Option<Syncs> {
        self.counters.as_ref().map(Counters::syncs)
    }

    /// Writes what is still in memory to its place. Never needed for durability: the log has it.
    pub fn flush(&self) -> Result<(), StoreError> {
        FAMILIES.iter().try_for_each(|name| self.db.flush_cf(self.family(name)?).map_err(backend))
    }

    fn open_with(path: &Path, options: &Options, counters: Option<Counters>) -> Result<Self, StoreError> {
        let fail = |cause: String| StoreError::Open { path: path.to_owned(), cause };
        fs::create_dir_all(path).map_err(|error| fail(error.to_string()))?;
        let cache = Cache::new_lru_cache(CACHE);
        let families = FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, family_options(name, &cache)));
        let db =
            DB::open_cf_descriptors(options, path.join("db"), families).map_err(|error| fail(error.into_string()))?;
        let mut store = Self { db, uuid: String::new(), synced: synced(), counters };
        store.uuid = store.check_format(path)?;
        Ok(store)
    }

    /// Refuses a store of a later format; answers the uuid, minting it for a new store.
    fn check_format(&self, path: &Path) -> Result<String, StoreError> {
        let found = self.db.get(b"format").map_err(backend)?;
        if let Some(bytes) = found {
            let found = keys::read_u32(&bytes).ok_or_else(|| keys::bad_key("default"))?;
            if found > keys::FORMAT {
                return Err(StoreError::Newer { path: path.to_owned(), found, known: keys::FORMAT });
            }
            let uuid = self.db.get(b"uuid").map_err(backend)?.unwrap_or_default();
            return String::from_utf8(uuid).map_err(|_| keys::bad_key("default"));
        }
        self.mint_uuid()
    }

    fn mint_uuid(&self) -> Result<String, StoreError> {
        let uuid = uuid::Uuid::new_v4().to_string();
        let mut batch = WriteBatch::default();
        batch.put(b"format", keys::FORMAT.to_be_bytes());
        batch.put(b"uuid", uuid.as_bytes());
        self.db.write_opt(batch, &self.synced).map_err(backend)?;
        Ok(uuid)
    }

    fn family(&self, name: &'static str) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(name).ok_or_else(|| StoreError::Backend(format!("family `{name}` is missing")))
    }

    fn get<T: for<'b> minicbor::Decode<'b, ()>>(
        &self,
        name: &'static str,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        let found = self.db.get_pinned_cf(self.family(name)?, key).map_err(backend)?;
        found.map(|bytes| keys::decode(name, &bytes)).transpose()
    }

    /// Visits the keys that start with `prefix`, from `from` on, in order.
    fn scan(
        &self,
        name: &'static str,
        prefix: &[u8],
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let start = IteratorMode::From(from, Direction::Forward);
        for pair in self.db.iterator_cf_opt(self.family(name)?, options, start) {
            let (key, value) = pair.map_err(backend)?;
            if !key.starts_with(prefix) || !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    fn put(&self, batch: &mut WriteBatch, write: Write) -> Result<(), StoreError> {
        let family = |name| self.family(name);
        match write {
            Write::List(list) => batch.put_cf(family(LISTS)?, keys::list(list.id), keys::encode(&*list)),
            Write::DropList(id) => batch.delete_cf(family(LISTS)?, keys::list(id)),
            Write::Counter(counter, next) => {
                batch.put_cf(family(COUNTERS)?, keys::counter(counter), next.to_be_bytes());
            }
            Write::Item(list, id, item) => batch.put_cf(family(ITEMS)?, keys::item(list, id), keys::encode(&*item)),
            Write::DropItem(list, id) => batch.delete_cf(family(ITEMS)?, keys::item(list, id)),
            Write::File(list, file) => {
                batch.put_cf(family(FILES)?, keys::file(list, &file.folder, &file.name), keys::encode(&*file));
            }
            Write::DropFiles(id) => {
                let mut names = Vec::new();
                self.scan(FILES, &keys::list(id), &keys::list(id), |key, _| {
                    names.push(key.to_vec());
                    Ok(true)
                })?;
                let files = family(FILES)?;
                for key in &names {
                    batch.delete_cf(files, key);
                }
            }
            Write::Blob(id, bytes) => batch.put_cf(family(BLOBS)?, id.to_be_bytes(), bytes),
            Write::DropBlob(id) => batch.delete_cf(family(BLOBS)?, id.to_be_bytes()),
            Write::BlobEntry(hash, entry) => batch.put_cf(family(BLOB_INDEX)?, hash.as_bytes(), keys::encode(&entry)),
            Write::DropBlobEntry(hash) => batch.delete_cf(family(BLOB_INDEX)?, hash.as_bytes()),
            Write::Ledger(mail, list, entry) => {
                batch.put_cf(family(LEDGER)?, keys::ledger(mail, list), keys::encode(&entry));
            }
            Write::Journal(mail, number, entry) => {
                batch.put_cf(family(JOURNAL)?, keys::journal(mail, number), keys::encode(&*entry));
            }
            Write::MessageId(id, mail) => batch.put_cf(family(MESSAGE_IDS)?, keys::message_id(&id, mail), []),
            Write::Sheet(sheet) => {
                let text = serde_json::to_vec(&*sheet).map_err(|error| StoreError::Backend(error.to_string()))?;
                batch.put_cf(family(BATCHES)?, sheet.batch.to_be_bytes(), text);
            }
        }
        Ok(())
    }
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(MEMTABLES);
    options.set_max_total_wal_size(256 << 20);
    options.set_max_background_jobs(2);
    // Spreads what a flush writes over its time, so that a synced write does not wait behind one big writeback.
    options.set_bytes_per_sync(1 << 20);
    options.set_max_open_files(512);
    options.set_keep_log_file_num(5);
    options.set_log_level(LogLevel::Warn);
    options
}

fn family_options(name: &str, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(32 << 20);
    match name {
        LEDGER | BLOB_INDEX => table.set_bloom_filter(10.0, false),
        BLOBS | ITEMS => {
            options.set_enable_blob_files(true);
            options.set_min_blob_size(BLOB_FILE_FROM);
            options.set_enable_blob_gc(true);
            options.set_blob_compression_type(if name == BLOBS {
                DBCompressionType::None
            } else {
                DBCompressionType::Lz4
            });
        }
        _ => {}
    }
    options.set_block_based_table_factory(&table);
    options
}

impl ListStore for RocksStore {
    fn uuid(&self) -> &str {
        &self.uuid
    }

    fn commit(&self, group: Group) -> Result<Vec<Receipt>, StoreError> {
        if !group.writes.is_empty() {
            let mut batch = WriteBatch::default();
            for write in group.writes {
                self.put(&mut batch, write)?;
            }
            self.db.write_opt(batch, &self.synced).map_err(backend)?;
        }
        Ok(Receipt::all(group.claims))
    }

    fn lists(&self) -> Result<Vec<List>, StoreError> {
        let mut lists = Vec::new();
        self.scan(LISTS, &[], &[], |_, value| {
            lists.push(keys::decode(LISTS, value)?);
            Ok(true)
        })?;
        Ok(lists)
    }

    fn counter(&self, counter: Counter) -> Result<u64, StoreError> {
        let found = self.db.get_pinned_cf(self.family(COUNTERS)?, keys::counter(counter)).map_err(backend)?;
        found.map_or(Ok(1), |bytes| keys::read_u64(&bytes).ok_or_else(|| keys::bad_key(COUNTERS)))
    }

    fn ledger(&self, mail: MailId, list: ListId) -> Result<Option<LedgerEntry>, StoreError> {
        self.get(LEDGER, &keys::ledger(mail, list))
    }

    fn ledger_of(&self, mail: MailId) -> Result<Vec<(ListId, LedgerEntry)>, StoreError> {
        let mut found = Vec::new();
        self.scan(LEDGER, mail.as_bytes(), mail.as_bytes(), |key, value| {
            let list = key.get(32..).and_then(keys::read_u32).ok_or_else(|| keys::bad_key(LEDGER))?;
            found.push((ListId(list), keys::decode(LEDGER, value)?));
            Ok(true)
        })?;
        Ok(found)
    }

    fn journal_of(&self, mail: MailId) -> Result<Vec<JournalEntry>, StoreError> {
        let mut found = Vec::new();
        self.scan(JOURNAL, mail.as_bytes(), mail.as_bytes(), |_, value| {
            found.push(keys::decode(JOURNAL, value)?);
            Ok(true)
        })?;
        Ok(found)
    }

    fn mails_with(&self, message_id: &str) -> Result<Vec<MailId>, StoreError> {
        let prefix = keys::message_id_prefix(message_id);
        let mut found = Vec::new();
        self.scan(MESSAGE_IDS, &prefix, &prefix, |key, _| {
            found.push(key.get(16..).and_then(keys::read_mail).ok_or_else(|| keys::bad_key(MESSAGE_IDS))?);
            Ok(true)
        })?;
        Ok(found)
    }

    fn item(&self, list: ListId, item: ItemId) -> Result<Option<Item>, StoreError> {
        self.get(ITEMS, &keys::item(list, item))
    }

    fn items(&self, list: ListId, after: ItemId, limit: usize) -> Result<Vec<(ItemId, Item)>, StoreError> {
        let mut found = Vec::new();
        let Some(first) = after.0.checked_add(1).filter(|_| limit > 0) else { return Ok(found) };
        self.scan(ITEMS, &keys::list(list), &keys::item(list, ItemId(first)), |key, value| {
            let id = key.get(4..).and_then(keys::read_u64).ok_or_else(|| keys::bad_key(ITEMS))?;
            found.push((ItemId(id), keys::decode(ITEMS, value)?));
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    fn file(&self, list: ListId, folder: &str, name: &str) -> Result<Option<LibraryFile>, StoreError> {
        self.get(FILES, &keys::file(list, folder, name))
    }

    fn files(&self, list: ListId) -> Result<Vec<LibraryFile>, StoreError> {
        let mut found = Vec::new();
        self.scan(FILES, &keys::list(list), &keys::list(list), |_, value| {
            found.push(keys::decode(FILES, value)?);
            Ok(true)
        })?;
        Ok(found)
    }

    fn blob_entry(&self, hash: BlobHash) -> Result<Option<BlobEntry>, StoreError> {
        self.get(BLOB_INDEX, hash.as_bytes())
    }

    fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(entry) = self.blob_entry(hash)? else { return Ok(None) };
        self.db.get_cf(self.family(BLOBS)?, entry.id.to_be_bytes()).map_err(backend)
    }

    fn sheets(&self, limit: usize) -> Result<Vec<Sheet>, StoreError> {
        let mut sheets = Vec::new();
        for pair in self.db.iterator_cf(self.family(BATCHES)?, IteratorMode::End).take(limit) {
            let (_, value) = pair.map_err(backend)?;
            let corrupt = |error: serde_json::Error| StoreError::Corrupt { family: BATCHES, cause: error.to_string() };
            sheets.push(serde_json::from_slice(&value).map_err(corrupt)?);
        }
        Ok(sheets)
    }

    fn each_blob(&self, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError> {
        self.scan(BLOBS, &[], &[], |key, value| {
            Ok(visit(keys::read_u64(key).ok_or_else(|| keys::bad_key(BLOBS))?, value))
        })
    }

    fn each_blob_entry(&self, visit: &mut dyn FnMut(BlobHash, BlobEntry) -> bool) -> Result<(), StoreError> {
        self.scan(BLOB_INDEX, &[], &[], |key, value| {
            let hash = keys::read_blob_hash(key).ok_or_else(|| keys::bad_key(BLOB_INDEX))?;
            Ok(visit(hash, keys::decode(BLOB_INDEX, value)?))
        })
    }

    fn each_ledger(&self, visit: &mut dyn FnMut(MailId, ListId, LedgerEntry) -> bool) -> Result<(), StoreError> {
        self.scan(LEDGER, &[], &[], |key, value| {
            let mail = key.get(..32).and_then(keys::read_mail);
            let list = key.get(32..).and_then(keys::read_u32);
            let (Some(mail), Some(list)) = (mail, list) else { return Err(keys::bad_key(LEDGER)) };
            Ok(visit(mail, ListId(list), keys::decode(LEDGER, value)?))
        })
    }

    fn each_journal(&self, visit: &mut dyn FnMut(MailId, JournalEntry) -> bool) -> Result<(), StoreError> {
        self.scan(JOURNAL, &[], &[], |key, value| {
            let mail = key.get(..32).and_then(keys::read_mail).ok_or_else(|| keys::bad_key(JOURNAL))?;
            Ok(visit(mail, keys::decode(JOURNAL, value)?))
        })
    }

    fn backup(&self, folder: &Path) -> Result<(), StoreError> {
        let fail = |error: std::io::Error| StoreError::Open { path: folder.to_owned(), cause: error.to_string() };
        fs::create_dir(folder).map_err(fail)?;
        let checkpoint = rocksdb::checkpoint::Checkpoint::new(&self.db).map_err(backend)?;
        checkpoint.create_checkpoint(folder.join("db")).map_err(backend)
    }
}

/// Makes a store out of a backup. It gets a new uuid, so that it never takes up the claims of the store it was copied from.
pub fn restore(backup: &Path, store: &Path) -> Result<(), StoreError> {
    let fail = |path: &Path, cause: String| StoreError::Open { path: path.to_owned(), cause };
    let source = backup.join("db");
    if !source.join("CURRENT").is_file() {
        return Err(fail(backup, "is not a backup made by `mailmill backup` (no db/CURRENT)".to_owned()));
    }
    let target = store.join("db");
    if target.exists() {
        return Err(fail(store, "exists; move it away before restoring over it".to_owned()));
    }
    // Copied under another name and renamed at the end: half a restore is not a store.
    let half = store.join("db.restoring");
    copy_folder(&source, &half).map_err(|error| fail(store, error.to_string()))?;
    fs::rename(&half, &target).map_err(|error| fail(store, error.to_string()))?;
    RocksStore::open(store)?.mint_uuid().map(drop)
}

fn copy_folder(from: &PathBuf, to: &PathBuf) -> std::io::Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(to)?,
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        fs::copy(entry.path(), &target)?;
        fs::File::open(target)?.sync_all()?;
    }
    fs::File::open(to)?.sync_all()
}

/// How often a store waited for its files to reach the disk. Folders are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syncs {
    /// Of the log: one for each group.
    pub log: u64,
    /// Of all files: the log, tables, blob files, the manifest.
    pub files: u64,
}

/// RocksDB's own statistics.
struct Counters(Options);

fn counting_options() -> (Options, Counters) {
    let mut options = database_options();
    options.enable_statistics();
    // A clone shares the statistics.
    (options.clone(), Counters(options))
}

impl Counters {
    fn syncs(&self) -> Syncs {
        // Each of these times a sync, and so counts it.
        let count = |histogram| self.0.get_histogram_data(histogram).count();
        let log = count(Histogram::WalFileSyncMicros);
        let others = [
            Histogram::TableSyncMicros,
            Histogram::CompactionOutfileSyncMicros,
            Histogram::ManifestFileSyncMicros,
            Histogram::BlobDbBlobFileSyncMicros,
        ];
        Syncs { log, files: log + others.map(count).iter().sum::<u64>() }
    }
}

/// Bytes under numbers in a RocksDB with the options of the store and nothing else of it: what `mailmill bench` compares the
/// engine with. Never holds mail that matters to anybody, and makes no receipts.
pub struct RawStore {
    db: DB,
    synced: WriteOptions,
    counters: Option<Counters>,
}

impl RawStore {
    pub fn open(path: &Path, counting: bool) -> Result<Self, StoreError> {
        let fail = |cause: String| StoreError::Open { path: path.to_owned(), cause };
        fs::create_dir_all(path).map_err(|error| fail(error.to_string()))?;
        let cache = Cache::new_lru_cache(CACHE);
        let families = [ColumnFamilyDescriptor::new(BLOBS, family_options(BLOBS, &cache))];
        let (options, counters) = if counting {
            let (options, counters) = counting_options();
            (options, Some(counters))
        } else {
            (database_options(), None)
        };
        let db =
            DB::open_cf_descriptors(&options, path.join("db"), families).map_err(|error| fail(error.into_string()))?;
        Ok(Self { db, synced: synced(), counters })
    }

    /// Writes a group with one synced write of the log.
    pub fn put<'b>(&self, group: impl Iterator<Item = (u64, &'b [u8])>) -> Result<(), StoreError> {
        let family = self.family()?;
        let mut batch = WriteBatch::default();
        for (number, bytes) in group {
            batch.put_cf(family, number.to_be_bytes(), bytes);
        }
        self.db.write_opt(batch, &self.synced).map_err(backend)
    }

    /// How many values there are, and their bytes: reads them all.
    pub fn count(&self) -> Result<(u64, u64), StoreError> {
        let (mut values, mut bytes) = (0, 0);
        for pair in self.db.iterator_cf(self.family()?, IteratorMode::Start) {
            let (_, value) = pair.map_err(backend)?;
            values += 1;
            bytes += value.len() as u64;
        }
        Ok((values, bytes))
    }

    /// None unless the store was opened to count.
    pub fn syncs(&self) -> Option<Syncs> {
        self.counters.as_ref().map(Counters::syncs)
    }

    /// Writes what is still in memory to its place.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush_cf(self.family()?).map_err(backend)
    }

    fn family(&self) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(BLOBS).ok_or_else(|| StoreError::Backend(format!("family `{BLOBS}` is missing")))
    }
}
