//! The list store in RocksDB: the only file that names rocksdb.
//! Every commit is one `WriteBatch` with one synced write of the log; nothing is ever written without it.
#![allow(clippy::disallowed_methods)] // a restored store is built under another name and renamed

mod bulk;
mod log;
mod packed;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rocksdb::statistics::Histogram;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DEFAULT_COLUMN_FAMILY_NAME, Direction, IteratorMode, LogLevel, Options, ReadOptions, WaitForCompactOptions,
    WriteBatch, WriteOptions,
};

use super::{Counter, Group, ListStore, Receipt, Staged, Stall, StoreError, TopicEntry, TopicQuery, Write, keys};
use crate::model::item::{BlobEntry, Discussion, Item, JournalEntry, LedgerEntry, LibraryFile, OutboxEntry};
use crate::model::list::{ItemId, List, ListId};
use crate::model::mail::{BlobBytes, BlobHash, MailId};
use crate::model::outcome::Sheet;
use crate::model::thread::{Facts, Key};
use bulk::Bulk;
use log::Log;

pub use bulk::TableFile;

const FAMILIES: [&str; 13] =
    [LISTS, ITEMS, FILES, BLOBS, BLOB_INDEX, LEDGER, JOURNAL, MESSAGE_IDS, BATCHES, COUNTERS, OUTBOX, THREADS, EVENTS];
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
const OUTBOX: &str = "outbox";
const THREADS: &str = "threads";
const EVENTS: &str = "events";

/// All memtables together. With the cache and the mail in flight this keeps a run below 400 MiB.
const MEMTABLES: usize = 64 << 20;
const CACHE: usize = 32 << 20;
/// A blob of this size lies in a blob file and is never moved by compaction (20 to 40 % faster than plain values on mixed mail).
const BLOB_FILE_FROM: u64 = 4 << 10;

pub struct RocksStore {
    db: DB,
    /// After the database: it looks at what that left.
    log: Option<Log>,
    place: Place,
    bulk: Option<Bulk>,
    uuid: String,
    synced: WriteOptions,
    counters: Option<Counters>,
    /// Why nothing can be written: the disk was full when the store was opened.
    full: Option<String>,
    /// When it was opened there was more to merge than there should be.
    was_piled_up: bool,
}

/// So many small tables of a family are merged into larger ones; twice as many have not been.
const MERGE_FROM: i32 = 4;
/// A bound for a disk that hangs, not what merging takes.
const MERGE_TIME: Duration = Duration::from_secs(30);

impl Drop for RocksStore {
    /// A process that lives for a moment each minute begins to merge each time, and would never end.
    fn drop(&mut self) {
        if self.was_piled_up && self.is_piled_up() {
            let mut options = WaitForCompactOptions::default();
            options.set_timeout(u64::try_from(MERGE_TIME.as_micros()).unwrap_or(u64::MAX));
            // Whatever becomes of it, the next process does the rest.
            let _ = self.db.wait_for_compact(&options);
        }
    }
}

/// The folder of the database, as it was when it was opened.
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    fn of(store: &Path) -> std::io::Result<Self> {
        let folder = fs::metadata(store.join("db"))?;
        Ok(Self { path: store.to_owned(), device: folder.dev(), inode: folder.ino() })
    }

    /// Whether it is still there, with the file that every open database has.
    fn check(&self) -> Result<(), StoreError> {
        let db = self.path.join("db");
        let same = fs::metadata(&db).is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode));
        if same && db.join("CURRENT").exists() { Ok(()) } else { Err(StoreError::Gone { path: self.path.clone() }) }
    }
}

/// Why a store does not open. RocksDB opens all families or none, and a later format may have some that we do not know.
fn why_closed(path: &Path, error: rocksdb::Error) -> StoreError {
    let cause = error.into_string();
    if cause.contains("Column families not opened")
        && let Ok(db) = DB::open_for_read_only(&Options::default(), path.join("db"), false)
        && let Ok(Some(bytes)) = db.get(b"format")
        && let Some(found) = keys::read_u32(&bytes).filter(|found| *found > keys::FORMAT)
    {
        return StoreError::Newer { path: path.to_owned(), found, known: keys::FORMAT };
    }
    StoreError::Open { path: path.to_owned(), cause }
}

fn open_to_read(path: &Path, options: &Options, cache: &Cache) -> Result<DB, StoreError> {
    DB::open_cf_descriptors_read_only(options, path.join("db"), families(&FAMILIES, cache), false)
        .map_err(|error| why_closed(path, error))
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
        Self::open_with(path, database_options(), None)
    }

    /// Opens the store so that [`Self::syncs`] can answer. Counting costs time: a bench counts in a run that it does not time.
    pub fn open_counting(path: &Path) -> Result<Self, StoreError> {
        let (options, counters) = counting_options();
        Self::open_with(path, options, Some(counters))
    }

    /// None unless the store was opened to count.
    pub fn syncs(&self) -> Option<Syncs> {
        self.counters.as_ref().map(Counters::syncs)
    }

    /// Writes what is still in memory to its place. Never needed for durability: the log has it.
    pub fn flush(&self) -> Result<(), StoreError> {
        FAMILIES.iter().try_for_each(|name| self.db.flush_cf(self.family(name)?).map_err(backend))
    }

    fn open_with(path: &Path, options: Options, counters: Option<Counters>) -> Result<Self, StoreError> {
        let fail = |cause: String| StoreError::Open { path: path.to_owned(), cause };
        fs::create_dir_all(path).map_err(|error| fail(error.to_string()))?;
        threads_can_be_had().map_err(|error| fail(format!("threads cannot be started: {error}")))?;
        let cache = Cache::new_lru_cache(CACHE);
        let found = log::Found::look(path);
        let options = found.adapt(options)?;
        let (db, full) = match DB::open_cf_descriptors(&options, path.join("db"), families(&FAMILIES, &cache)) {
            Ok(db) => (db, None),
            Err(error) => match backend(error.clone()) {
                // RocksDB writes when it is opened. What is there can be read all the same.
                StoreError::Full(cause) => (open_to_read(path, &options, &cache)?, Some(cause)),
                StoreError::Backend(cause) if found.is_whole && cause.starts_with("Corruption") => {
                    return Err(fail(found.damage(&cause)));
                }
                _ => return Err(why_closed(path, error)),
            },
        };
        // On a full disk nothing is written ahead, as nothing is written at all.
        let can_write = full.is_none();
        let place = Place::of(path).map_err(|error| fail(error.to_string()))?;
        let log = can_write.then(|| Log::new(path));
        let mut store = Self {
            db,
            log,
            place,
            bulk: None,
            uuid: String::new(),
            synced: synced(),
            counters,
            full,
            was_piled_up: false,
        };
        store.was_piled_up = can_write && store.is_piled_up();
        store.uuid = store.check_format(path)?;
        if can_write {
            store.forget_unnamed(path)?;
            store.bulk = Some(Bulk::open(path).map_err(|error| fail(error.to_string()))?);
        }
        Ok(store)
    }

    /// Removes what an earlier process wrote ahead and never named. Runs before anything else is written: who has no name now
    /// will never have one.
    fn forget_unnamed(&self, path: &Path) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for id in bulk::doubtful(path).into_iter().flat_map(|(first, last)| first..=last) {
            let Some(bytes) = self.db.get_pinned_cf(self.family(BLOBS)?, id.to_be_bytes()).map_err(backend)? else {
                continue;
            };
            if self.blob_entry(BlobHash::of(&bytes))?.is_none_or(|entry| entry.id != id) {
                batch.delete_cf(self.family(BLOBS)?, id.to_be_bytes());
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        tracing::info!(blobs = batch.len(), "bytes that a process wrote ahead before it died are removed");
        self.write(batch)
    }

    /// One synced write of the log.
    fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.db.write_opt(batch, &self.synced).map_err(|error| {
            self.log.iter().for_each(Log::write_failed);
            backend(error)
        })
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
        self.write(batch)?;
        Ok(uuid)
    }

    fn family(&self, name: &'static str) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(name).ok_or_else(|| StoreError::Backend(format!("family `{name}` is missing")))
    }

    fn is_piled_up(&self) -> bool {
        let small_tables = |name| {
            let found = self.db.property_value_cf(self.family(name).ok()?, "rocksdb.num-files-at-level0");
            found.ok().flatten()?.parse::<i32>().ok()
        };
        FAMILIES.into_iter().filter_map(small_tables).any(|tables| tables >= 2 * MERGE_FROM)
    }

    fn get<T: for<'b> minicbor::Decode<'b, ()>>(
        &self,
        name: &'static str,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        let found = self.db.get_pinned_cf(self.family(name)?, key).map_err(backend)?;
        found.map(|bytes| keys::decode(name, &bytes)).transpose()
    }

    fn number(&self, name: &'static str, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let found = self.db.get_pinned_cf(self.family(name)?, key).map_err(backend)?;
        found.map(|bytes| keys::read_u64(&bytes).ok_or_else(|| keys::bad_key(name))).transpose()
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

    /// Deletes what a family holds of a list. A range, not the keys that a look finds: what this very group wrote before must go too.
    fn drop_list_of(&self, name: &'static str, batch: &mut WriteBatch, list: ListId) -> Result<(), StoreError> {
        // Behind the last list a key that is longer than any and greater.
        let end = list.0.checked_add(1).map_or(vec![0xff; 64], |next| keys::list(ListId(next)).to_vec());
        batch.delete_range_cf(self.family(name)?, &keys::list(list)[..], &end);
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
            Write::Item(list, id, item, prepared) => {
                let bytes = prepared.unwrap_or_else(|| packed::pack(&*item));
                batch.put_cf(family(ITEMS)?, keys::item(list, id), bytes);
            }
            Write::DropItem(list, id) => batch.delete_cf(family(ITEMS)?, keys::item(list, id)),
            Write::File(list, file) => {
                batch.put_cf(family(FILES)?, keys::file(list, &file.folder, &file.name), keys::encode(&*file));
            }
            Write::DropFiles(id) => self.drop_list_of(FILES, batch, id)?,
            Write::Blob(id, bytes) => batch.put_cf(family(BLOBS)?, id.to_be_bytes(), bytes.as_slice()),
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
            Write::Discussion(list, id, discussion) => {
                let key = keys::thread(list, b'd', &[&id.to_be_bytes()]);
                batch.put_cf(family(THREADS)?, key, keys::encode(&*discussion));
            }
            Write::Member(list, id, facts) => {
                let item = facts.item.0.to_be_bytes();
                let threads = family(THREADS)?;
                batch.put_cf(threads, keys::thread(list, b'm', &[&id.to_be_bytes(), &item]), keys::encode(&*facts));
                batch.put_cf(threads, keys::thread(list, b'i', &[&item]), id.to_be_bytes());
            }
            Write::ThreadKey(list, key, id) => {
                batch.put_cf(family(THREADS)?, keys::thread(list, b'k', &[key.as_bytes()]), id.to_be_bytes());
            }
            Write::Topic(list, topic, by_topic, entry) => {
                let item = entry.item.0.to_be_bytes();
                let parts: [&[u8]; 4] = [topic.as_bytes(), &[u8::from(by_topic)], &keys::time(entry.time), &item];
                batch.put_cf(family(THREADS)?, keys::thread(list, b't', &parts), entry.discussion.to_be_bytes());
            }
            Write::DropThreads(id) => self.drop_list_of(THREADS, batch, id)?,
            Write::Event(list, uid, item) => {
                batch.put_cf(family(EVENTS)?, keys::event(list, &uid), item.0.to_be_bytes());
            }
            Write::DropEvents(id) => self.drop_list_of(EVENTS, batch, id)?,
            Write::Outbox(id, entry) => batch.put_cf(family(OUTBOX)?, id.to_be_bytes(), keys::encode(&*entry)),
            Write::DropOutbox(id) => batch.delete_cf(family(OUTBOX)?, id.to_be_bytes()),
            Write::Sheet(sheet) => {
                let text = serde_json::to_vec(&*sheet).map_err(|error| StoreError::Backend(error.to_string()))?;
                batch.put_cf(family(BATCHES)?, sheet.batch.to_be_bytes(), text);
            }
        }
        Ok(())
    }
}

fn read_item(bytes: &[u8]) -> Result<Item, StoreError> {
    keys::decode(ITEMS, &packed::unpack(ITEMS, bytes)?)
}

/// RocksDB starts threads of its own when it is opened, and aborts the process where the system refuses one: tried before it is.
fn threads_can_be_had() -> std::io::Result<()> {
    // It needs three to five; and a thread that has ended counts for a moment longer.
    const THREADS: usize = 10;
    std::thread::scope(|threads| {
        let (over, wait) = crossbeam_channel::bounded::<()>(0);
        let started = (0..THREADS).try_for_each(|_| {
            // All at once: a thread that has ended is no proof that there is room for more.
            let wait = wait.clone();
            std::thread::Builder::new().spawn_scoped(threads, move || wait.recv()).map(drop)
        });
        drop(over);
        started
    })
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
    options.set_max_open_files(open_files());
    // Up to 16 threads would open what few files there are, and abort the process where the system refuses one.
    options.set_max_file_opening_threads(1);
    // Reads the properties of every table otherwise, to choose better what to merge first.
    options.set_skip_stats_update_on_db_open(true);
    options.set_keep_log_file_num(5);
    options.set_log_level(LogLevel::Warn);
    options
}

/// Where a process may have few files open, the store takes a quarter of them.
fn open_files() -> i32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    i32::try_from((limit / 4).clamp(20, 512)).unwrap_or(512)
}

/// These and the one that RocksDB always has.
fn families(names: &[&'static str], cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    // Copies of one: fresh options each make a block cache of their own, which nobody uses.
    let fresh = Options::default();
    let all = names.iter().chain(&[DEFAULT_COLUMN_FAMILY_NAME]);
    all.map(|name| ColumnFamilyDescriptor::new(*name, family_options(name, fresh.clone(), cache))).collect()
}

fn family_options(name: &str, mut options: Options, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // In parts of 4 KiB: the whole filter of some 400,000 keys is larger than a shard of the cache, and was then read and checked
    // anew for each lookup (with a million mails in the store that took half of the time).
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_format_version(5);
    // Items are packed before they come here, and blobs are not (see `bulk`).
    options.set_compression_type(if name == ITEMS { DBCompressionType::None } else { DBCompressionType::Lz4 });
    options.set_write_buffer_size(32 << 20);
    options.set_level_zero_file_num_compaction_trigger(MERGE_FROM);
    match name {
        LEDGER | BLOB_INDEX => {
            table.set_bloom_filter(10.0, false);
            // Each new mail is looked up twice and not found: then it need not be looked for in what is in memory either.
            options.set_memtable_prefix_bloom_ratio(0.01);
            options.set_memtable_whole_key_filtering(true);
        }
        BLOBS | ITEMS => {
            options.set_enable_blob_files(true);
            options.set_min_blob_size(BLOB_FILE_FROM);
            options.set_enable_blob_gc(true);
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
        if let Some(cause) = &self.full {
            return Err(StoreError::Full(cause.clone()));
        }
        // Before what names them: a crash between the two leaves bytes without a name, never a name without its bytes.
        for staged in &group.staged {
            if let Staged::File(file) = staged {
                file.take_in(&self.db, self.family(BLOBS)?)?;
            }
        }
        if !group.writes.is_empty() || !group.staged.is_empty() {
            let mut batch = WriteBatch::default();
            for (id, bytes) in group.staged.iter().flat_map(Staged::in_memory) {
                batch.put_cf(self.family(BLOBS)?, id.to_be_bytes(), bytes.as_slice());
            }
            for write in group.writes {
                self.put(&mut batch, write)?;
            }
            self.write(batch)?;
        }
        for staged in &group.staged {
            if let Staged::File(file) = staged {
                file.is_named();
            }
        }
        // Files that were deleted are written to as gladly as any: what went into them is not stored.
        self.place.check()?;
        Ok(Receipt::all(group.claims))
    }

    fn stall(&self) -> Stall {
        let says = |name| matches!(self.db.property_int_value(name), Ok(Some(value)) if value > 0);
        if self.full.is_some() || says("rocksdb.is-write-stopped") {
            Stall::Stopped
        } else if says("rocksdb.actual-delayed-write-rate") {
            Stall::Slowed
        } else {
            Stall::None
        }
    }

    fn prepare(&self, item: &Item) -> Option<Vec<u8>> {
        Some(packed::pack(item))
    }

    fn stage(&self, blobs: Vec<(u64, BlobBytes)>) -> Result<Staged, StoreError> {
        match &self.bulk {
            Some(bulk) if !blobs.is_empty() => Ok(Staged::File(Arc::new(bulk.write(&blobs)?))),
            _ => Ok(Staged::Memory(blobs)),
        }
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
        let found = self.db.get_pinned_cf(self.family(ITEMS)?, keys::item(list, item)).map_err(backend)?;
        found.map(|bytes| read_item(&bytes)).transpose()
    }

    fn items(&self, list: ListId, after: ItemId, limit: usize) -> Result<Vec<(ItemId, Item)>, StoreError> {
        let mut found = Vec::new();
        let Some(first) = after.0.checked_add(1).filter(|_| limit > 0) else { return Ok(found) };
        self.scan(ITEMS, &keys::list(list), &keys::item(list, ItemId(first)), |key, value| {
            let id = key.get(4..).and_then(keys::read_u64).ok_or_else(|| keys::bad_key(ITEMS))?;
            found.push((ItemId(id), read_item(value)?));
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

    fn discussion(&self, list: ListId, id: u64) -> Result<Option<Discussion>, StoreError> {
        self.get(THREADS, &keys::thread(list, b'd', &[&id.to_be_bytes()]))
    }

    fn members(&self, list: ListId, id: u64) -> Result<Vec<Facts>, StoreError> {
        let mut found = Vec::new();
        let prefix = keys::thread(list, b'm', &[&id.to_be_bytes()]);
        self.scan(THREADS, &prefix, &prefix, |_, value| {
            found.push(keys::decode(THREADS, value)?);
            Ok(true)
        })?;
        Ok(found)
    }

    fn thread_key(&self, list: ListId, key: Key) -> Result<Option<u64>, StoreError> {
        self.number(THREADS, &keys::thread(list, b'k', &[key.as_bytes()]))
    }

    fn discussion_of(&self, list: ListId, item: ItemId) -> Result<Option<u64>, StoreError> {
        self.number(THREADS, &keys::thread(list, b'i', &[&item.0.to_be_bytes()]))
    }

    fn topics(&self, list: ListId, query: TopicQuery, limit: usize) -> Result<Vec<TopicEntry>, StoreError> {
        let TopicQuery { topic, by_topic, from, to, latest_first } = query;
        let prefix = keys::thread(list, b't', &[topic.as_bytes(), &[u8::from(by_topic)]]);
        let first = [&prefix[..], &keys::time(from)].concat();
        let last = [&prefix[..], &keys::time(to), &[0xff; 8]].concat();
        let (start, direction) = if latest_first { (&last, Direction::Reverse) } else { (&first, Direction::Forward) };
        let mut found = Vec::new();
        let pairs = self.db.iterator_cf(self.family(THREADS)?, IteratorMode::From(start, direction));
        for pair in pairs.take(limit) {
            let (key, value) = pair.map_err(backend)?;
            if !key.starts_with(&prefix) || key[..] < first[..] || key[..] > last[..] {
                break;
            }
            let rest = key.get(prefix.len()..).unwrap_or_default();
            let time = rest.get(..8).and_then(keys::read_time);
            let item = rest.get(8..).and_then(keys::read_u64);
            let (Some(time), Some(item), Some(discussion)) = (time, item, keys::read_u64(&value)) else {
                return Err(keys::bad_key(THREADS));
            };
            found.push(TopicEntry { time, item: ItemId(item), discussion });
        }
        Ok(found)
    }

    fn event(&self, list: ListId, uid: &str) -> Result<Option<ItemId>, StoreError> {
        Ok(self.number(EVENTS, &keys::event(list, uid))?.map(ItemId))
    }

    fn outbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, OutboxEntry)>, StoreError> {
        let mut found = Vec::new();
        let Some(first) = after.checked_add(1).filter(|_| limit > 0) else { return Ok(found) };
        self.scan(OUTBOX, &[], &first.to_be_bytes(), |key, value| {
            let id = keys::read_u64(key).ok_or_else(|| keys::bad_key(OUTBOX))?;
            found.push((id, keys::decode(OUTBOX, value)?));
            Ok(found.len() < limit)
        })?;
        Ok(found)
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
    // Made elsewhere and renamed at the end: half a restore is not a store, and none ever lies here under the uuid of another.
    let half = store.join("restoring");
    copy_folder(&source, &half.join("db")).map_err(|error| fail(store, error.to_string()))?;
    RocksStore::open(&half)?.mint_uuid()?;
    fs::rename(half.join("db"), &target).map_err(|error| fail(store, error.to_string()))?;
    fs::remove_dir_all(&half).map_err(|error| fail(store, error.to_string()))?;
    fs::File::open(store).and_then(|folder| folder.sync_all()).map_err(|error| fail(store, error.to_string()))
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
        let families = families(&[BLOBS], &cache);
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

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: u32 = keys::FORMAT + 1;

    /// A store as a later program would leave it.
    fn later_store(path: &Path, new_family: bool) {
        let store = RocksStore::open(path).unwrap();
        store.db.put(b"format", LATER.to_be_bytes()).unwrap();
        if new_family {
            drop(store);
            let (options, names) = (Options::default(), FAMILIES.iter().copied().chain(["default"]));
            let mut db = DB::open_cf(&options, path.join("db"), names).unwrap();
            db.create_cf("of_later", &options).unwrap();
        }
    }

    #[test]
    fn a_store_of_a_later_format_is_refused_by_name_and_number() {
        for new_family in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("store");
            later_store(&path, new_family);
            let error = RocksStore::open(&path).err().unwrap();
            let expected = format!(
                "store {} has format {LATER}, this program knows formats up to {}",
                path.display(),
                keys::FORMAT
            );
            assert!(error.to_string().starts_with(&expected), "with a new family: {new_family}: {error}");
            assert!(matches!(error, StoreError::Newer { found: LATER, .. }));
        }
    }

    #[test]
    fn a_store_whose_folder_goes_away_gives_no_receipts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let write = || Group::from(vec![Write::Counter(Counter::Blob, 7)]);
        let store = RocksStore::open(&path).unwrap();
        store.commit(write()).unwrap();
        fs::rename(&path, folder.path().join("away")).unwrap();
        assert!(matches!(store.commit(write()), Err(StoreError::Gone { .. })));
        fs::create_dir_all(path.join("db")).unwrap();
        fs::write(path.join("db/CURRENT"), "").unwrap();
        assert!(matches!(store.commit(write()), Err(StoreError::Gone { .. })), "another store lies there");
    }

    #[test]
    fn a_store_at_rest_keeps_nobody_waiting_and_a_full_one_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = RocksStore::open(folder.path()).unwrap();
        assert_eq!(store.stall(), Stall::None);
        store.full = Some("no room".to_owned());
        assert_eq!(store.stall(), Stall::Stopped);
        store.full = None;
        // The properties are known under these names: a name that is not known has no value.
        for name in ["rocksdb.is-write-stopped", "rocksdb.actual-delayed-write-rate"] {
            assert_eq!(store.db.property_int_value(name), Ok(Some(0)), "{name}");
        }
    }

    #[test]
    fn what_was_staged_by_a_process_that_died_is_removed_and_what_was_committed_survives_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = RocksStore::open(folder.path()).unwrap();
        let blob = |bytes: &[u8]| vec![(7, Arc::new(bytes.to_vec()))];
        let committed = store.stage(blob(b"committed")).unwrap();
        let entry = BlobEntry { id: 7, length: 9, references: 1 };
        let writes = vec![Write::BlobEntry(BlobHash::of(b"committed"), entry)];
        store.commit(Group { staged: vec![committed], writes, ..Group::default() }).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("bulk")).unwrap().count(), 0, "no doubt about it");
        std::mem::forget(store.stage(blob(b"lost")).unwrap());
        assert_eq!(fs::read_dir(folder.path().join("bulk")).unwrap().count(), 2);
        drop(store);
        let store = RocksStore::open(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("bulk")).unwrap().count(), 0);
        assert_eq!(store.blob(BlobHash::of(b"committed")).unwrap().as_deref(), Some(&b"committed"[..]));
    }

    /// Between taking in and the commit that names: killed there, or the disk full.
    #[test]
    fn what_was_taken_in_and_never_named_is_removed_by_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let store = RocksStore::open(folder.path()).unwrap();
        let stage = |id: u64, bytes: &[u8]| store.stage(vec![(id, Arc::new(bytes.to_vec()))]).unwrap();
        let (named, unnamed) = (stage(7, b"named"), stage(8, b"unnamed"));
        let entry = BlobEntry { id: 7, length: 5, references: 1 };
        let take_in = |staged: &Staged| {
            let Staged::File(file) = staged else { panic!("a file") };
            file.take_in(&store.db, store.family(BLOBS).unwrap()).unwrap();
        };
        take_in(&named);
        take_in(&unnamed);
        // Committed, and killed before the note was removed.
        store.commit(vec![Write::BlobEntry(BlobHash::of(b"named"), entry)].into()).unwrap();
        std::mem::forget(named);
        drop(unnamed);
        let bytes =
            |store: &RocksStore, id: u64| store.db.get_cf(store.family(BLOBS).unwrap(), id.to_be_bytes()).unwrap();
        assert!(bytes(&store, 8).is_some());
        drop(store);
        let store = RocksStore::open(folder.path()).unwrap();
        assert_eq!((bytes(&store, 7).as_deref(), bytes(&store, 8)), (Some(&b"named"[..]), None));
        assert_eq!(fs::read_dir(folder.path().join("bulk")).unwrap().count(), 0);
    }

    fn files(store: &Path, extension: &str) -> Vec<PathBuf> {
        let paths = fs::read_dir(store.join("db")).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
    }

    fn count(store: &RocksStore, number: u64) {
        store.commit(vec![Write::Counter(Counter::Blob, number)].into()).unwrap();
    }

    #[test]
    fn a_start_leaves_a_short_log_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for start in 1..60 {
            let store = RocksStore::open(folder.path()).unwrap();
            assert_eq!(store.counter(Counter::Blob).unwrap(), start);
            count(&store, start + 1);
            drop(store);
            assert!(files(folder.path(), "log").len() <= 17, "at start {start}");
        }
        assert!(files(folder.path(), "sst").len() < 15, "a table for each start again");
    }

    #[test]
    fn damage_in_a_log_that_was_whole_is_said_and_nothing_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let store = RocksStore::open(folder.path()).unwrap();
        count(&store, 7);
        count(&store, 8);
        drop(store);
        let newest = files(folder.path(), "log").into_iter().max().unwrap();
        let whole = fs::read(&newest).unwrap();
        let mut spoilt = whole.clone();
        let middle = spoilt.len() / 2;
        spoilt[middle] ^= 1;
        fs::write(&newest, &spoilt).unwrap();
        let error = RocksStore::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("its log was damaged after the last process ended"), "{error}");
        fs::write(&newest, &whole).unwrap();
        assert_eq!(RocksStore::open(folder.path()).unwrap().counter(Counter::Blob).unwrap(), 8);
        fs::write(&newest, &spoilt).unwrap();
        fs::remove_file(folder.path().join("log")).unwrap();
        RocksStore::open(folder.path()).unwrap();
    }

    #[test]
    fn after_a_failed_write_a_log_does_not_pass_for_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = RocksStore::open(folder.path()).unwrap();
        store.log.as_ref().unwrap().write_failed();
        drop(store);
        assert!(!log::Found::look(folder.path()).is_whole);
        drop(RocksStore::open(folder.path()).unwrap());
        assert!(log::Found::look(folder.path()).is_whole);
    }

    /// Killed or not: the log is written out at each start of this one, and nobody lives long enough to merge what that makes.
    #[test]
    fn small_tables_are_merged_also_where_each_process_lives_for_a_moment() {
        let folder = tempfile::tempdir().unwrap();
        let store = RocksStore::open(folder.path()).unwrap();
        let family = store.family(COUNTERS).unwrap();
        store.db.set_options_cf(family, &[("disable_auto_compactions", "true")]).unwrap();
        for table in 0..2 * MERGE_FROM {
            // Enough of it that merging takes longer than opening and closing.
            let mut batch = WriteBatch::default();
            (0..20_000_u32)
                .for_each(|key| batch.put_cf(family, key.to_be_bytes(), [u8::try_from(table).unwrap(); 100]));
            store.write(batch).unwrap();
            store.flush().unwrap();
        }
        assert!(store.is_piled_up());
        drop(store);
        // Begins to merge when it is opened, as each process would.
        drop(RocksStore::open(folder.path()).unwrap());
        assert!(!RocksStore::open(folder.path()).unwrap().is_piled_up());
    }

    #[test]
    fn a_log_that_a_process_did_not_leave_whole_is_written_out_at_once() {
        let folder = tempfile::tempdir().unwrap();
        count(&RocksStore::open(folder.path()).unwrap(), 7);
        for damage in ["longer", "shorter", "one more", "one less"] {
            let store = RocksStore::open(folder.path()).unwrap();
            assert_eq!(store.counter(Counter::Blob).unwrap(), 7);
            count(&store, 7);
            count(&store, 8);
            drop(store);
            let newest = files(folder.path(), "log").into_iter().max().unwrap();
            match damage {
                "longer" => fs::write(&newest, [fs::read(&newest).unwrap(), vec![1; 9]].concat()).unwrap(),
                "shorter" => fs::write(&newest, &fs::read(&newest).unwrap()[..9]).unwrap(),
                "one more" => fs::write(folder.path().join("db/999999.log"), b"").unwrap(),
                _ => fs::remove_file(&newest).unwrap(),
            }
            let store = RocksStore::open(folder.path()).unwrap();
            let known = files(folder.path(), "log");
            assert_eq!(known.len(), 1, "{damage}: {known:?} are kept");
            count(&store, 7);
        }
    }

    #[test]
    fn a_backup_of_a_later_format_is_not_restored() {
        let folder = tempfile::tempdir().unwrap();
        later_store(&folder.path().join("backup"), true);
        let target = folder.path().join("store");
        assert!(matches!(restore(&folder.path().join("backup"), &target), Err(StoreError::Newer { .. })));
        assert!(!target.join("db").exists());
    }

    #[test]
    fn a_restore_that_was_cut_short_is_done_again_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        RocksStore::open(&at("store")).unwrap().backup(&at("backup")).unwrap();
        fs::create_dir_all(at("copy").join("restoring/db")).unwrap();
        fs::write(at("copy").join("restoring/db/MANIFEST-999999"), b"half").unwrap();
        restore(&at("backup"), &at("copy")).unwrap();
        assert!(RocksStore::open(&at("copy")).is_ok());
        assert!(!at("copy").join("restoring").exists());
    }

    #[test]
    fn a_store_from_before_a_family_was_added_opens_and_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let uuid = RocksStore::open(folder.path()).unwrap().uuid.clone();
        let names = FAMILIES.iter().copied().chain(["default"]);
        let mut db = DB::open_cf(&Options::default(), folder.path().join("db"), names).unwrap();
        db.drop_cf(JOURNAL).unwrap();
        drop(db);
        let store = RocksStore::open(folder.path()).unwrap();
        assert_eq!(store.uuid, uuid);
        assert_eq!(store.journal_of(MailId::of(b"x")).unwrap(), []);
    }
}
