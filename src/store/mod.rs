//! The list store: one trait, one conformance suite, a real backend and a naive one to compare it with.
//! Nobody outside this folder can make a [`Receipt`], and without one no mail file is removed.

#[cfg(any(feature = "rocks", test))]
mod keys;

#[cfg(feature = "rocks")]
mod rocks;

#[cfg(feature = "rocks")]
mod revive;

mod memory;

mod verify;

#[cfg(test)]
mod conformance;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::item::{BlobEntry, Discussion, Item, JournalEntry, LedgerEntry, LibraryFile, OutboxEntry};
use crate::model::list::{ItemId, List, ListId};
use crate::model::mail::{BlobBytes, BlobHash, ClaimId, MailId};
use crate::model::outcome::Sheet;
use crate::model::thread::{Facts, Key};

pub use memory::MemoryStore;
#[cfg(feature = "rocks")]
pub use rocks::{RawStore, RocksStore, Syncs, restore};
pub use verify::{Report, verify};

/// The store itself failed. Nothing of the group it happened in may be believed to be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store's disk is full: {0}")]
    Full(String),
    #[error("store {path}: {cause}")]
    Open { path: PathBuf, cause: String },
    #[error(
        "store {path}: it was deleted or moved away while in use. Mail that was not yet in it stays in the drop folder; put the store back, or restore a backup, then start again"
    )]
    Gone { path: PathBuf },
    #[error("store {path} has format {found}, this program knows formats up to {known}: use a newer mailmill")]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("store: {0}")]
    Backend(String),
    #[error("store: a record of `{family}` cannot be read: {cause}; restore a backup, then run `mailmill verify`")]
    Corrupt { family: &'static str, cause: String },
}

/// A running number that the store keeps. What is stored is the next one to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    Batch,
    List,
    Blob,
    /// Numbers journal entries, so that none replaces another.
    Journal,
    Outbox,
    Item(ListId),
    Discussion(ListId),
}

/// One change. A group of them is written whole or not at all.
#[derive(Clone, Debug)]
pub enum Write {
    List(Box<List>),
    DropList(ListId),
    Counter(Counter, u64),
    /// With what [`ListStore::prepare`] made of just this item, if it was asked.
    Item(ListId, ItemId, Box<Item>, Option<Vec<u8>>),
    DropItem(ListId, ItemId),
    File(ListId, Box<LibraryFile>),
    DropFiles(ListId),
    Blob(u64, BlobBytes),
    DropBlob(u64),
    BlobEntry(BlobHash, BlobEntry),
    DropBlobEntry(BlobHash),
    Ledger(MailId, ListId, LedgerEntry),
    Journal(MailId, u64, Box<JournalEntry>),
    /// This Message-ID belongs to this mail.
    MessageId(String, MailId),
    Sheet(Box<Sheet>),
    Discussion(ListId, u64, Box<Discussion>),
    /// A mail in the discussion with this number.
    Member(ListId, u64, Box<Facts>),
    ThreadKey(ListId, Key, u64),
    /// A mail of this topic; whether it has only its topic to go by.
    Topic(ListId, Key, bool, TopicEntry),
    /// All discussions of a list.
    DropThreads(ListId),
    /// The item that an event, by its UID, is in a calendar.
    Event(ListId, String, ItemId),
    DropEvents(ListId),
    Outbox(u64, Box<OutboxEntry>),
    DropOutbox(u64),
}

/// A mail of a topic, and the discussion that it was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicEntry {
    /// Seconds since 1970, UTC.
    pub time: i64,
    pub item: ItemId,
    pub discussion: u64,
}

/// Mails of a topic between two times, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicQuery {
    pub topic: Key,
    pub by_topic: bool,
    pub from: i64,
    pub to: i64,
    pub latest_first: bool,
}

/// Blobs that were written ahead of the group that names them. Dropped without one they are gone.
#[derive(Clone, Debug)]
pub enum Staged {
    /// Where the backend has no better place.
    Memory(Vec<(u64, BlobBytes)>),
    #[cfg(feature = "rocks")]
    File(Arc<rocks::TableFile>),
}

impl Staged {
    fn in_memory(&self) -> &[(u64, BlobBytes)] {
        match self {
            Self::Memory(blobs) => blobs,
            #[cfg(feature = "rocks")]
            Self::File(_) => &[],
        }
    }
}

/// Whether a store keeps writers waiting, because it cannot put away what is written as fast as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    None,
    Slowed,
    /// Nothing is written before there is room, or ever again.
    Stopped,
}

/// What is written together, and the claims that are settled by it.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub claims: Vec<ClaimId>,
    pub writes: Vec<Write>,
    pub staged: Vec<Staged>,
}

impl From<Vec<Write>> for Group {
    fn from(writes: Vec<Write>) -> Self {
        Self { claims: Vec::new(), writes, staged: Vec::new() }
    }
}

/// Proof that everything the store has to know of a claim is durable. Only a store can make one.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    claim: ClaimId,
}

impl Receipt {
    /// Called by a backend after its synced write returned.
    fn all(claims: Vec<ClaimId>) -> Vec<Self> {
        claims.into_iter().map(|claim| Self { claim }).collect()
    }

    pub const fn claim(&self) -> ClaimId {
        self.claim
    }
}

/// A store of lists and items. All reads see whole groups only; a commit that returned is durable.
///
/// Writers must be serialised by the caller (`engine::Mill::writer`): a group is built from what the store held before.
pub trait ListStore: Send + Sync {
    /// Minted when the store was made or restored; names this server's claim folder.
    fn uuid(&self) -> &str;

    /// Writes all of the group, synced, or nothing. One receipt for each claim.
    fn commit(&self, group: Group) -> Result<Vec<Receipt>, StoreError>;

    /// What can be done for an item by whoever read its mail, so that no group waits for it. None where the backend has nothing to
    /// do.
    fn prepare(&self, item: &Item) -> Option<Vec<u8>> {
        let _ = item;
        None
    }

    /// Writes blobs under ids that were never given out before, in rising order, ahead of the group that will name them: bulk bytes
    /// are written once that way, and beside the group before. Durable at the latest with that group.
    fn stage(&self, blobs: Vec<(u64, BlobBytes)>) -> Result<Staged, StoreError>;

    fn lists(&self) -> Result<Vec<List>, StoreError>;
    /// The next number of a counter, starting at 1.
    fn counter(&self, counter: Counter) -> Result<u64, StoreError>;

    fn ledger(&self, mail: MailId, list: ListId) -> Result<Option<LedgerEntry>, StoreError>;
    fn ledger_of(&self, mail: MailId) -> Result<Vec<(ListId, LedgerEntry)>, StoreError>;
    fn journal_of(&self, mail: MailId) -> Result<Vec<JournalEntry>, StoreError>;
    fn mails_with(&self, message_id: &str) -> Result<Vec<MailId>, StoreError>;

    fn item(&self, list: ListId, item: ItemId) -> Result<Option<Item>, StoreError>;
    /// At most `limit` items after the given one, in order.
    fn items(&self, list: ListId, after: ItemId, limit: usize) -> Result<Vec<(ItemId, Item)>, StoreError>;

    /// Names are compared folded (`names::fold`).
    fn file(&self, list: ListId, folder: &str, name: &str) -> Result<Option<LibraryFile>, StoreError>;
    fn files(&self, list: ListId) -> Result<Vec<LibraryFile>, StoreError>;

    fn blob_entry(&self, hash: BlobHash) -> Result<Option<BlobEntry>, StoreError>;
    fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, StoreError>;

    fn discussion(&self, list: ListId, id: u64) -> Result<Option<Discussion>, StoreError>;
    /// The members that lie under this number, without those of what it took.
    fn members(&self, list: ListId, id: u64) -> Result<Vec<Facts>, StoreError>;
    fn thread_key(&self, list: ListId, key: Key) -> Result<Option<u64>, StoreError>;
    /// The number under which an item was put, if it is in a discussion.
    fn discussion_of(&self, list: ListId, item: ItemId) -> Result<Option<u64>, StoreError>;
    fn topics(&self, list: ListId, query: TopicQuery, limit: usize) -> Result<Vec<TopicEntry>, StoreError>;

    fn event(&self, list: ListId, uid: &str) -> Result<Option<ItemId>, StoreError>;

    /// At most `limit` webhooks that wait, after the given number, in order.
    fn outbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, OutboxEntry)>, StoreError>;

    /// Newest first.
    fn sheets(&self, limit: usize) -> Result<Vec<Sheet>, StoreError>;

    // What `verify` walks through. Each closure answers whether to go on.
    fn each_blob(&self, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError>;
    fn each_blob_entry(&self, visit: &mut dyn FnMut(BlobHash, BlobEntry) -> bool) -> Result<(), StoreError>;
    fn each_ledger(&self, visit: &mut dyn FnMut(MailId, ListId, LedgerEntry) -> bool) -> Result<(), StoreError>;
    fn each_journal(&self, visit: &mut dyn FnMut(MailId, JournalEntry) -> bool) -> Result<(), StoreError>;

    /// Called before a batch: makes a store that ran into a full disk take mail again, where it can.
    fn recover(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether writers are kept waiting now.
    fn stall(&self) -> Stall {
        Stall::None
    }

    /// A consistent copy in a folder that does not exist yet, also while mail is being stored.
    fn backup(&self, folder: &Path) -> Result<(), StoreError>;
}

/// Opens the store of a configuration.
pub fn open(path: &Path) -> Result<Arc<dyn ListStore>, StoreError> {
    #[cfg(feature = "rocks")]
    {
        let path = path.to_owned();
        Ok(Arc::new(revive::Revived::open(move || RocksStore::open(&path))?))
    }
    #[cfg(not(feature = "rocks"))]
    {
        let _ = path;
        Ok(Arc::new(MemoryStore::default()))
    }
}

/// Makes a store out of a backup.
#[cfg(not(feature = "rocks"))]
pub fn restore(_: &Path, store: &Path) -> Result<(), StoreError> {
    Err(StoreError::Open {
        path: store.to_owned(),
        cause: "this program was built without the RocksDB store".to_owned(),
    })
}
