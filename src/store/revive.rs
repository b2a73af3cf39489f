//! A store that comes back: RocksDB takes nothing any more once it ran into a full disk, also when there is room again, until it is
//! opened anew. Holds the open store, remembers that its disk was full, and opens it anew before the next batch.
//! Decides nothing else; every call goes through.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Counter, Group, ListStore, Receipt, Staged, Stall, StoreError, TopicEntry, TopicQuery};
use crate::model::item::{BlobEntry, Discussion, Item, JournalEntry, LedgerEntry, LibraryFile, OutboxEntry};
use crate::model::list::{ItemId, List, ListId};
use crate::model::mail::{BlobBytes, BlobHash, MailId};
use crate::model::outcome::Sheet;
use crate::model::thread::{Facts, Key};

type Opener<S> = Box<dyn Fn() -> Result<S, StoreError> + Send + Sync>;

pub struct Revived<S> {
    opener: Opener<S>,
    uuid: String,
    /// None while it is being opened anew, and after that failed.
    store: RwLock<Option<Arc<S>>>,
    full: AtomicBool,
}

impl<S: ListStore> Revived<S> {
    pub fn open(opener: impl Fn() -> Result<S, StoreError> + Send + Sync + 'static) -> Result<Self, StoreError> {
        let store = opener()?;
        let uuid = store.uuid().to_owned();
        let store = RwLock::new(Some(Arc::new(store)));
        Ok(Self { opener: Box::new(opener), uuid, store, full: AtomicBool::new(false) })
    }

    fn open_store(&self) -> Result<Arc<S>, StoreError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone().ok_or_else(|| StoreError::Full("the store could not be opened again".to_owned()))
    }
}

impl<S: ListStore> ListStore for Revived<S> {
    fn uuid(&self) -> &str {
        &self.uuid
    }

    fn commit(&self, group: Group) -> Result<Vec<Receipt>, StoreError> {
        let committed = self.open_store()?.commit(group);
        if matches!(committed, Err(StoreError::Full(_))) {
            self.full.store(true, Ordering::Release);
        }
        committed
    }

    /// Nothing to do unless the disk was full. Somebody who still reads from the store is not waited for: then it is the next
    /// batch that opens it.
    fn recover(&self) -> Result<(), StoreError> {
        if !self.full.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|store| Arc::strong_count(store) > 1) {
            return Ok(());
        }
        // One process, one open store: the old one goes first.
        drop(slot.take());
        let store = (self.opener)()?;
        if store.uuid() != self.uuid {
            let cause = format!("another store lies there now ({} before, {})", self.uuid, store.uuid());
            return Err(StoreError::Backend(cause));
        }
        *slot = Some(Arc::new(store));
        self.full.store(false, Ordering::Release);
        Ok(())
    }

    /// One that is closed and could not be opened again takes nothing.
    fn stall(&self) -> Stall {
        self.open_store().map_or(Stall::Stopped, |store| store.stall())
    }

    fn prepare(&self, item: &Item) -> Option<Vec<u8>> {
        self.open_store().ok()?.prepare(item)
    }

    fn stage(&self, blobs: Vec<(u64, BlobBytes)>) -> Result<Staged, StoreError> {
        self.open_store()?.stage(blobs)
    }

    fn lists(&self) -> Result<Vec<List>, StoreError> {
        self.open_store()?.lists()
    }

    fn counter(&self, counter: Counter) -> Result<u64, StoreError> {
        self.open_store()?.counter(counter)
    }

    fn ledger(&self, mail: MailId, list: ListId) -> Result<Option<LedgerEntry>, StoreError> {
        self.open_store()?.ledger(mail, list)
    }

    fn ledger_of(&self, mail: MailId) -> Result<Vec<(ListId, LedgerEntry)>, StoreError> {
        self.open_store()?.ledger_of(mail)
    }

    fn journal_of(&self, mail: MailId) -> Result<Vec<JournalEntry>, StoreError> {
        self.open_store()?.journal_of(mail)
    }

    fn mails_with(&self, message_id: &str) -> Result<Vec<MailId>, StoreError> {
        self.open_store()?.mails_with(message_id)
    }

    fn item(&self, list: ListId, item: ItemId) -> Result<Option<Item>, StoreError> {
        self.open_store()?.item(list, item)
    }

    fn items(&self, list: ListId, after: ItemId, limit: usize) -> Result<Vec<(ItemId, Item)>, StoreError> {
        self.open_store()?.items(list, after, limit)
    }

    fn file(&self, list: ListId, folder: &str, name: &str) -> Result<Option<LibraryFile>, StoreError> {
        self.open_store()?.file(list, folder, name)
    }

    fn files(&self, list: ListId) -> Result<Vec<LibraryFile>, StoreError> {
        self.open_store()?.files(list)
    }

    fn blob_entry(&self, hash: BlobHash) -> Result<Option<BlobEntry>, StoreError> {
        self.open_store()?.blob_entry(hash)
    }

    fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.open_store()?.blob(hash)
    }

    fn discussion(&self, list: ListId, id: u64) -> Result<Option<Discussion>, StoreError> {
        self.open_store()?.discussion(list, id)
    }

    fn members(&self, list: ListId, id: u64) -> Result<Vec<Facts>, StoreError> {
        self.open_store()?.members(list, id)
    }

    fn thread_key(&self, list: ListId, key: Key) -> Result<Option<u64>, StoreError> {
        self.open_store()?.thread_key(list, key)
    }

    fn discussion_of(&self, list: ListId, item: ItemId) -> Result<Option<u64>, StoreError> {
        self.open_store()?.discussion_of(list, item)
    }

    fn topics(&self, list: ListId, query: TopicQuery, limit: usize) -> Result<Vec<TopicEntry>, StoreError> {
        self.open_store()?.topics(list, query, limit)
    }

    fn event(&self, list: ListId, uid: &str) -> Result<Option<ItemId>, StoreError> {
        self.open_store()?.event(list, uid)
    }

    fn outbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, OutboxEntry)>, StoreError> {
        self.open_store()?.outbox(after, limit)
    }

    fn sheets(&self, limit: usize) -> Result<Vec<Sheet>, StoreError> {
        self.open_store()?.sheets(limit)
    }

    fn each_blob(&self, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError> {
        self.open_store()?.each_blob(visit)
    }

    fn each_blob_entry(&self, visit: &mut dyn FnMut(BlobHash, BlobEntry) -> bool) -> Result<(), StoreError> {
        self.open_store()?.each_blob_entry(visit)
    }

    fn each_ledger(&self, visit: &mut dyn FnMut(MailId, ListId, LedgerEntry) -> bool) -> Result<(), StoreError> {
        self.open_store()?.each_ledger(visit)
    }

    fn each_journal(&self, visit: &mut dyn FnMut(MailId, JournalEntry) -> bool) -> Result<(), StoreError> {
        self.open_store()?.each_journal(visit)
    }

    fn backup(&self, folder: &Path) -> Result<(), StoreError> {
        self.open_store()?.backup(folder)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::super::{MemoryStore, Write};
    use super::*;

    /// On a disk that is full until the store is opened for the third time.
    struct Full(usize, MemoryStore);

    fn store() -> (Revived<Full>, Arc<AtomicUsize>) {
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        let open = move || Ok(Full(count.fetch_add(1, Ordering::Relaxed), MemoryStore::default()));
        (Revived::open(open).unwrap(), opened)
    }

    fn write() -> Group {
        vec![Write::Counter(Counter::Blob, 7)].into()
    }

    #[test]
    fn a_store_whose_disk_was_full_is_opened_anew_until_it_takes_something() {
        let (store, opened) = store();
        store.recover().unwrap();
        assert_eq!(opened.load(Ordering::Relaxed), 1, "nothing is wrong yet");
        for times in 2..=3 {
            assert!(matches!(store.commit(write()), Err(StoreError::Full(_))));
            store.recover().unwrap();
            assert_eq!(opened.load(Ordering::Relaxed), times);
        }
        store.commit(write()).unwrap();
        assert_eq!(store.counter(Counter::Blob).unwrap(), 7);
        store.recover().unwrap();
        assert_eq!(opened.load(Ordering::Relaxed), 3, "all is well again");
    }

    #[test]
    fn a_store_that_is_being_read_is_not_taken_away() {
        let (store, opened) = store();
        store.commit(write()).unwrap_err();
        let reading = store.open_store().unwrap();
        store.recover().unwrap();
        assert_eq!(opened.load(Ordering::Relaxed), 1);
        drop(reading);
        store.recover().unwrap();
        assert_eq!(opened.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_store_that_does_not_open_again_is_an_error_and_is_tried_again() {
        let opened = AtomicUsize::new(0);
        let store = Revived::open(move || match opened.fetch_add(1, Ordering::Relaxed) {
            1 => Err(StoreError::Backend("no".to_owned())),
            times => Ok(Full(times, MemoryStore::default())),
        });
        let store = store.unwrap();
        store.commit(write()).unwrap_err();
        assert!(matches!(store.recover(), Err(StoreError::Backend(_))));
        assert!(store.lists().is_err());
        store.recover().unwrap();
        store.commit(write()).unwrap();
    }

    impl ListStore for Full {
        fn uuid(&self) -> &'static str {
            "u"
        }

        fn commit(&self, group: Group) -> Result<Vec<Receipt>, StoreError> {
            if self.0 < 2 { Err(StoreError::Full("test".to_owned())) } else { self.1.commit(group) }
        }

        fn stage(&self, blobs: Vec<(u64, BlobBytes)>) -> Result<Staged, StoreError> {
            self.1.stage(blobs)
        }

        fn lists(&self) -> Result<Vec<List>, StoreError> {
            self.1.lists()
        }

        fn counter(&self, counter: Counter) -> Result<u64, StoreError> {
            self.1.counter(counter)
        }

        fn ledger(&self, mail: MailId, list: ListId) -> Result<Option<LedgerEntry>, StoreError> {
            self.1.ledger(mail, list)
        }

        fn ledger_of(&self, mail: MailId) -> Result<Vec<(ListId, LedgerEntry)>, StoreError> {
            self.1.ledger_of(mail)
        }

        fn journal_of(&self, mail: MailId) -> Result<Vec<JournalEntry>, StoreError> {
            self.1.journal_of(mail)
        }

        fn mails_with(&self, message_id: &str) -> Result<Vec<MailId>, StoreError> {
            self.1.mails_with(message_id)
        }

        fn item(&self, list: ListId, item: ItemId) -> Result<Option<Item>, StoreError> {
            self.1.item(list, item)
        }

        fn items(&self, list: ListId, after: ItemId, limit: usize) -> Result<Vec<(ItemId, Item)>, StoreError> {
            self.1.items(list, after, limit)
        }

        fn file(&self, list: ListId, folder: &str, name: &str) -> Result<Option<LibraryFile>, StoreError> {
            self.1.file(list, folder, name)
        }

        fn files(&self, list: ListId) -> Result<Vec<LibraryFile>, StoreError> {
            self.1.files(list)
        }

        fn blob_entry(&self, hash: BlobHash) -> Result<Option<BlobEntry>, StoreError> {
            self.1.blob_entry(hash)
        }

        fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, StoreError> {
            self.1.blob(hash)
        }

        fn discussion(&self, list: ListId, id: u64) -> Result<Option<Discussion>, StoreError> {
            self.1.discussion(list, id)
        }

        fn members(&self, list: ListId, id: u64) -> Result<Vec<Facts>, StoreError> {
            self.1.members(list, id)
        }

        fn thread_key(&self, list: ListId, key: Key) -> Result<Option<u64>, StoreError> {
            self.1.thread_key(list, key)
        }

        fn discussion_of(&self, list: ListId, item: ItemId) -> Result<Option<u64>, StoreError> {
            self.1.discussion_of(list, item)
        }

        fn topics(&self, list: ListId, query: TopicQuery, limit: usize) -> Result<Vec<TopicEntry>, StoreError> {
            self.1.topics(list, query, limit)
        }

        fn event(&self, list: ListId, uid: &str) -> Result<Option<ItemId>, StoreError> {
            self.1.event(list, uid)
        }

        fn outbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, OutboxEntry)>, StoreError> {
            self.1.outbox(after, limit)
        }

        fn sheets(&self, limit: usize) -> Result<Vec<Sheet>, StoreError> {
            self.1.sheets(limit)
        }

        fn each_blob(&self, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError> {
            self.1.each_blob(visit)
        }

        fn each_blob_entry(&self, visit: &mut dyn FnMut(BlobHash, BlobEntry) -> bool) -> Result<(), StoreError> {
            self.1.each_blob_entry(visit)
        }

        fn each_ledger(&self, visit: &mut dyn FnMut(MailId, ListId, LedgerEntry) -> bool) -> Result<(), StoreError> {
            self.1.each_ledger(visit)
        }

        fn each_journal(&self, visit: &mut dyn FnMut(MailId, JournalEntry) -> bool) -> Result<(), StoreError> {
            self.1.each_journal(visit)
        }

        fn backup(&self, folder: &Path) -> Result<(), StoreError> {
            self.1.backup(folder)
        }
    }
}
