//! The reference model: the same promises as the real store, kept in the plainest way. Tests compare the two.
//! Knows nothing of bytes, keys or disks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::{Counter, Group, ListStore, Receipt, Staged, StoreError, TopicEntry, TopicQuery, Write};
use crate::model::item::{BlobEntry, Discussion, Item, JournalEntry, LedgerEntry, LibraryFile, OutboxEntry};
use crate::model::list::{ItemId, List, ListId};
use crate::model::mail::{BlobBytes, BlobHash, MailId};
use crate::model::names;
use crate::model::outcome::Sheet;
use crate::model::thread::{Facts, Key};

#[derive(Debug, Default)]
struct Tables {
    lists: BTreeMap<ListId, List>,
    counters: BTreeMap<Counter, u64>,
    items: BTreeMap<(ListId, ItemId), Item>,
    files: BTreeMap<(ListId, String, String), LibraryFile>,
    blobs: BTreeMap<u64, BlobBytes>,
    blob_index: BTreeMap<BlobHash, BlobEntry>,
    ledger: BTreeMap<(MailId, ListId), LedgerEntry>,
    journal: BTreeMap<(MailId, u64), JournalEntry>,
    message_ids: BTreeSet<(String, MailId)>,
    sheets: BTreeMap<u64, Sheet>,
    outbox: BTreeMap<u64, OutboxEntry>,
    events: BTreeMap<(ListId, String), ItemId>,
    discussions: BTreeMap<(ListId, u64), Discussion>,
    members: BTreeMap<(ListId, u64, ItemId), Facts>,
    discussion_of: BTreeMap<(ListId, ItemId), u64>,
    thread_keys: BTreeMap<(ListId, Key), u64>,
    topics: BTreeMap<(ListId, Key, bool, i64, ItemId), u64>,
}

impl Tables {
    fn apply(&mut self, write: Write) {
        match write {
            Write::List(list) => drop(self.lists.insert(list.id, *list)),
            Write::DropList(id) => drop(self.lists.remove(&id)),
            Write::Counter(counter, next) => drop(self.counters.insert(counter, next)),
            Write::Item(list, id, item, _) => drop(self.items.insert((list, id), *item)),
            Write::DropItem(list, id) => drop(self.items.remove(&(list, id))),
            Write::File(list, file) => {
                self.files.insert((list, names::fold(&file.folder), names::fold(&file.name)), *file);
            }
            Write::DropFiles(id) => self.files.retain(|(list, _, _), _| *list != id),
            Write::Blob(id, bytes) => drop(self.blobs.insert(id, bytes)),
            Write::DropBlob(id) => drop(self.blobs.remove(&id)),
            Write::BlobEntry(hash, entry) => drop(self.blob_index.insert(hash, entry)),
            Write::DropBlobEntry(hash) => drop(self.blob_index.remove(&hash)),
            Write::Ledger(mail, list, entry) => drop(self.ledger.insert((mail, list), entry)),
            Write::Journal(mail, number, entry) => drop(self.journal.insert((mail, number), *entry)),
            Write::MessageId(id, mail) => drop(self.message_ids.insert((id, mail))),
            Write::Discussion(list, id, discussion) => drop(self.discussions.insert((list, id), *discussion)),
            Write::Member(list, id, facts) => {
                self.discussion_of.insert((list, facts.item), id);
                self.members.insert((list, id, facts.item), *facts);
            }
            Write::ThreadKey(list, key, id) => drop(self.thread_keys.insert((list, key), id)),
            Write::Topic(list, topic, by_topic, entry) => {
                self.topics.insert((list, topic, by_topic, entry.time, entry.item), entry.discussion);
            }
            Write::DropThreads(id) => {
                self.discussions.retain(|(list, _), _| *list != id);
                self.members.retain(|(list, _, _), _| *list != id);
                self.discussion_of.retain(|(list, _), _| *list != id);
                self.thread_keys.retain(|(list, _), _| *list != id);
                self.topics.retain(|(list, ..), _| *list != id);
            }
            Write::Event(list, uid, item) => {
                self.events.insert((list, uid), item);
            }
            Write::DropEvents(id) => self.events.retain(|(list, _), _| *list != id),
            Write::Outbox(id, entry) => drop(self.outbox.insert(id, *entry)),
            Write::DropOutbox(id) => drop(self.outbox.remove(&id)),
            Write::Sheet(sheet) => drop(self.sheets.insert(sheet.batch, *sheet)),
        }
    }
}

/// Holds everything in memory and forgets it at the end.
#[derive(Debug)]
pub struct MemoryStore {
    uuid: String,
    tables: RwLock<Tables>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { uuid: uuid::Uuid::new_v4().to_string(), tables: RwLock::default() }
    }
}

impl MemoryStore {
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ListStore for MemoryStore {
    fn uuid(&self) -> &str {
        &self.uuid
    }

    fn commit(&self, group: Group) -> Result<Vec<Receipt>, StoreError> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        for (id, bytes) in group.staged.iter().flat_map(Staged::in_memory) {
            tables.apply(Write::Blob(*id, Arc::clone(bytes)));
        }
        for write in group.writes {
            tables.apply(write);
        }
        Ok(Receipt::all(group.claims))
    }

    fn stage(&self, blobs: Vec<(u64, BlobBytes)>) -> Result<Staged, StoreError> {
        Ok(Staged::Memory(blobs))
    }

    fn lists(&self) -> Result<Vec<List>, StoreError> {
        Ok(self.read().lists.values().cloned().collect())
    }

    fn counter(&self, counter: Counter) -> Result<u64, StoreError> {
        Ok(self.read().counters.get(&counter).copied().unwrap_or(1))
    }

    fn ledger(&self, mail: MailId, list: ListId) -> Result<Option<LedgerEntry>, StoreError> {
        Ok(self.read().ledger.get(&(mail, list)).copied())
    }

    fn ledger_of(&self, mail: MailId) -> Result<Vec<(ListId, LedgerEntry)>, StoreError> {
        let range = (mail, ListId(0))..=(mail, ListId(u32::MAX));
        Ok(self.read().ledger.range(range).map(|((_, list), entry)| (*list, *entry)).collect())
    }

    fn journal_of(&self, mail: MailId) -> Result<Vec<JournalEntry>, StoreError> {
        Ok(self.read().journal.iter().filter(|((id, _), _)| *id == mail).map(|(_, entry)| entry.clone()).collect())
    }

    fn mails_with(&self, message_id: &str) -> Result<Vec<MailId>, StoreError> {
        Ok(self.read().message_ids.iter().filter(|(id, _)| id == message_id).map(|(_, mail)| *mail).collect())
    }

    fn item(&self, list: ListId, item: ItemId) -> Result<Option<Item>, StoreError> {
        Ok(self.read().items.get(&(list, item)).cloned())
    }

    fn items(&self, list: ListId, after: ItemId, limit: usize) -> Result<Vec<(ItemId, Item)>, StoreError> {
        let tables = self.read();
        let all = tables.items.iter().filter(|((of, id), _)| *of == list && *id > after);
        Ok(all.take(limit).map(|((_, id), item)| (*id, item.clone())).collect())
    }

    fn file(&self, list: ListId, folder: &str, name: &str) -> Result<Option<LibraryFile>, StoreError> {
        Ok(self.read().files.get(&(list, names::fold(folder), names::fold(name))).cloned())
    }

    fn files(&self, list: ListId) -> Result<Vec<LibraryFile>, StoreError> {
        Ok(self.read().files.iter().filter(|((of, _, _), _)| *of == list).map(|(_, file)| file.clone()).collect())
    }

    fn blob_entry(&self, hash: BlobHash) -> Result<Option<BlobEntry>, StoreError> {
        Ok(self.read().blob_index.get(&hash).copied())
    }

    fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, StoreError> {
        let tables = self.read();
        let entry = tables.blob_index.get(&hash);
        Ok(entry.and_then(|entry| tables.blobs.get(&entry.id)).map(|bytes| bytes.to_vec()))
    }

    fn discussion(&self, list: ListId, id: u64) -> Result<Option<Discussion>, StoreError> {
        Ok(self.read().discussions.get(&(list, id)).cloned())
    }

    fn members(&self, list: ListId, id: u64) -> Result<Vec<Facts>, StoreError> {
        let range = (list, id, ItemId(0))..=(list, id, ItemId(u64::MAX));
        Ok(self.read().members.range(range).map(|(_, facts)| facts.clone()).collect())
    }

    fn thread_key(&self, list: ListId, key: Key) -> Result<Option<u64>, StoreError> {
        Ok(self.read().thread_keys.get(&(list, key)).copied())
    }

    fn discussion_of(&self, list: ListId, item: ItemId) -> Result<Option<u64>, StoreError> {
        Ok(self.read().discussion_of.get(&(list, item)).copied())
    }

    fn topics(&self, list: ListId, query: TopicQuery, limit: usize) -> Result<Vec<TopicEntry>, StoreError> {
        let TopicQuery { topic, by_topic, from, to, latest_first } = query;
        if from > to {
            return Ok(Vec::new());
        }
        let range = (list, topic, by_topic, from, ItemId(0))..=(list, topic, by_topic, to, ItemId(u64::MAX));
        let tables = self.read();
        let entries = tables.topics.range(range).map(|((_, _, _, time, item), discussion)| TopicEntry {
            time: *time,
            item: *item,
            discussion: *discussion,
        });
        Ok(if latest_first { entries.rev().take(limit).collect() } else { entries.take(limit).collect() })
    }

    fn event(&self, list: ListId, uid: &str) -> Result<Option<ItemId>, StoreError> {
        Ok(self.read().events.get(&(list, uid.to_owned())).copied())
    }

    fn outbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, OutboxEntry)>, StoreError> {
        let tables = self.read();
        let later = tables.outbox.iter().filter(|(id, _)| **id > after);
        Ok(later.take(limit).map(|(id, entry)| (*id, entry.clone())).collect())
    }

    fn sheets(&self, limit: usize) -> Result<Vec<Sheet>, StoreError> {
        Ok(self.read().sheets.values().rev().take(limit).cloned().collect())
    }

    fn each_blob(&self, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError> {
        let tables = self.read();
        tables.blobs.iter().all(|(id, bytes)| visit(*id, bytes));
        Ok(())
    }

    fn each_blob_entry(&self, visit: &mut dyn FnMut(BlobHash, BlobEntry) -> bool) -> Result<(), StoreError> {
        let tables = self.read();
        tables.blob_index.iter().all(|(hash, entry)| visit(*hash, *entry));
        Ok(())
    }

    fn each_ledger(&self, visit: &mut dyn FnMut(MailId, ListId, LedgerEntry) -> bool) -> Result<(), StoreError> {
        let tables = self.read();
        tables.ledger.iter().all(|((mail, list), entry)| visit(*mail, *list, *entry));
        Ok(())
    }

    fn each_journal(&self, visit: &mut dyn FnMut(MailId, JournalEntry) -> bool) -> Result<(), StoreError> {
        let tables = self.read();
        tables.journal.iter().all(|((mail, _), entry)| visit(*mail, entry.clone()));
        Ok(())
    }

    fn backup(&self, _: &Path) -> Result<(), StoreError> {
        Err(StoreError::Backend("a store in memory has no backup".to_owned()))
    }
}
