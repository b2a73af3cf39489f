//! What holds whatever happens: a server in a folder of its own whose edges can be made to fail, and an account of where
//! everything is afterwards.
#![allow(clippy::disallowed_methods)] // the tests play administrator, writer and bad luck

mod crash_sweep;

mod keys;

mod letters;

#[cfg(feature = "rocks")]
mod power_loss;

mod model;

mod poison;

mod reclaim;

mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use super::{BatchResult, Mill, Progress, Work};
use crate::config::Config;
use crate::model::item::{BlobEntry, Discussion, Item, JournalEntry, LedgerEntry, LibraryFile, OutboxEntry};
use crate::model::list::{ItemId, Kind, List, ListId};
use crate::model::mail::{BlobBytes, BlobHash, MailId};
use crate::model::outcome::Sheet;
use crate::model::settings::{ListSettings, Senders};
use crate::model::thread::{Facts, Key};
use crate::spool::{Claim, Faults};
use crate::store::{Counter, Group, ListStore, MemoryStore, Receipt, Staged, StoreError, TopicEntry, TopicQuery};

/// A folder without a disk behind it where there is one: these tests sync thousands of times.
pub fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A store whose every call can be made to fail, and in which a test can wait for a certain one.
pub struct FaultStore {
    inner: Arc<dyn ListStore>,
    faults: Arc<Faults>,
    hook: Mutex<Option<Hook>>,
}

/// Done at each call of a step, until it says that it is over.
type Hook = (&'static str, Box<dyn FnMut() -> bool + Send>);

impl FaultStore {
    fn call(&self, step: &'static str) -> Result<(), StoreError> {
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(wanted, _)| *wanted == step);
        if let Some((_, mut act)) = hook
            && !act()
        {
            *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some((step, act));
        }
        self.faults.call(step).map_err(|errno| StoreError::Backend(format!("made to fail at {step}: {errno}")))
    }
}

impl ListStore for FaultStore {
    fn uuid(&self) -> &str {
        self.inner.uuid()
    }

    fn commit(&self, group: Group) -> Result<Vec<Receipt>, StoreError> {
        self.call("commit")?;
        let receipts = self.inner.commit(group)?;
        // It is durable, and nobody hears of it.
        self.call("commit done")?;
        Ok(receipts)
    }

    fn prepare(&self, item: &Item) -> Option<Vec<u8>> {
        self.inner.prepare(item)
    }

    fn stage(&self, blobs: Vec<(u64, BlobBytes)>) -> Result<Staged, StoreError> {
        self.call("stage")?;
        self.inner.stage(blobs)
    }

    fn lists(&self) -> Result<Vec<List>, StoreError> {
        self.call("lists")?;
        self.inner.lists()
    }

    fn counter(&self, counter: Counter) -> Result<u64, StoreError> {
        self.call("counter")?;
        self.inner.counter(counter)
    }

    fn ledger(&self, mail: MailId, list: ListId) -> Result<Option<LedgerEntry>, StoreError> {
        self.call("ledger")?;
        self.inner.ledger(mail, list)
    }

    fn ledger_of(&self, mail: MailId) -> Result<Vec<(ListId, LedgerEntry)>, StoreError> {
        self.call("ledger of")?;
        self.inner.ledger_of(mail)
    }

    fn journal_of(&self, mail: MailId) -> Result<Vec<JournalEntry>, StoreError> {
        self.call("journal of")?;
        self.inner.journal_of(mail)
    }

    fn mails_with(&self, message_id: &str) -> Result<Vec<MailId>, StoreError> {
        self.inner.mails_with(message_id)
    }

    fn item(&self, list: ListId, item: ItemId) -> Result<Option<Item>, StoreError> {
        self.inner.item(list, item)
    }

    fn items(&self, list: ListId, after: ItemId, limit: usize) -> Result<Vec<(ItemId, Item)>, StoreError> {
        self.call("items")?;
        self.inner.items(list, after, limit)
    }

    fn file(&self, list: ListId, folder: &str, name: &str) -> Result<Option<LibraryFile>, StoreError> {
        self.call("file")?;
        self.inner.file(list, folder, name)
    }

    fn files(&self, list: ListId) -> Result<Vec<LibraryFile>, StoreError> {
        self.inner.files(list)
    }

    fn blob_entry(&self, hash: BlobHash) -> Result<Option<BlobEntry>, StoreError> {
        self.call("blob entry")?;
        self.inner.blob_entry(hash)
    }

    fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.blob(hash)
    }

    fn discussion(&self, list: ListId, id: u64) -> Result<Option<Discussion>, StoreError> {
        self.call("discussion")?;
        self.inner.discussion(list, id)
    }

    fn members(&self, list: ListId, id: u64) -> Result<Vec<Facts>, StoreError> {
        self.inner.members(list, id)
    }

    fn thread_key(&self, list: ListId, key: Key) -> Result<Option<u64>, StoreError> {
        self.call("thread key")?;
        self.inner.thread_key(list, key)
    }

    fn discussion_of(&self, list: ListId, item: ItemId) -> Result<Option<u64>, StoreError> {
        self.inner.discussion_of(list, item)
    }

    fn topics(&self, list: ListId, query: TopicQuery, limit: usize) -> Result<Vec<TopicEntry>, StoreError> {
        self.call("topics")?;
        self.inner.topics(list, query, limit)
    }

    fn event(&self, list: ListId, uid: &str) -> Result<Option<ItemId>, StoreError> {
        self.call("event")?;
        self.inner.event(list, uid)
    }

    fn outbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, OutboxEntry)>, StoreError> {
        self.inner.outbox(after, limit)
    }

    fn sheets(&self, limit: usize) -> Result<Vec<Sheet>, StoreError> {
        self.inner.sheets(limit)
    }

    fn each_blob(&self, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError> {
        self.inner.each_blob(visit)
    }

    fn each_blob_entry(&self, visit: &mut dyn FnMut(BlobHash, BlobEntry) -> bool) -> Result<(), StoreError> {
        self.inner.each_blob_entry(visit)
    }

    fn each_ledger(&self, visit: &mut dyn FnMut(MailId, ListId, LedgerEntry) -> bool) -> Result<(), StoreError> {
        self.inner.each_ledger(visit)
    }

    fn each_journal(&self, visit: &mut dyn FnMut(MailId, JournalEntry) -> bool) -> Result<(), StoreError> {
        self.inner.each_journal(visit)
    }

    fn backup(&self, folder: &Path) -> Result<(), StoreError> {
        self.inner.backup(folder)
    }
}

/// One server. What it keeps in memory is a [`Mill`], made anew after each crash.
pub struct Server {
    pub config: Config,
    pub store: Arc<FaultStore>,
    pub faults: Arc<Faults>,
}

impl Server {
    pub fn new(folder: &Path, name: &str) -> Self {
        Self::with_store(folder, name, Arc::new(MemoryStore::default()))
    }

    pub fn with_store(folder: &Path, name: &str, inner: Arc<dyn ListStore>) -> Self {
        let mut config = Config { server: name.to_owned(), store: folder.join(name), ..Config::default() };
        config.incoming.drop_folder = folder.join("drop");
        config.limits.workers = 2;
        config.limits.settle_threads = 2;
        config.limits.group_mails = 3;
        config.limits.store_reserve = 0;
        fs::create_dir_all(&config.incoming.drop_folder).unwrap();
        let faults = Faults::of(&format!("{name}-{}", inner.uuid()));
        let store = Arc::new(FaultStore { inner, faults: Arc::clone(&faults), hook: Mutex::default() });
        Self { config, store, faults }
    }

    pub fn mill(&self) -> Mill {
        Mill::new(self.config.clone(), self.store.clone()).unwrap()
    }

    /// At each call of a step of the store, until it answers true.
    pub fn each(&self, step: &'static str, act: impl FnMut() -> bool + Send + 'static) {
        *self.store.hook.lock().unwrap() = Some((step, Box::new(act)));
    }

    pub fn list(&self, name: &str, kind: Kind, change: impl FnOnce(&mut ListSettings)) {
        let mut settings = ListSettings { address: name.to_owned(), senders: Senders::Any, ..ListSettings::default() };
        change(&mut settings);
        self.mill().lists().create(name, kind, settings).unwrap();
    }

    pub fn put(&self, name: impl AsRef<OsStr>, mail: impl AsRef<[u8]>) {
        fs::write(self.config.incoming.drop_folder.join(name.as_ref()), mail).unwrap();
    }

    pub fn own(&self) -> PathBuf {
        self.config.incoming.drop_folder.join(format!(".mailmill/{}-{}", self.config.server, self.store.uuid()))
    }

    /// Batches until nothing is left, each by a process of its own. What could not be read for a moment is tried again.
    pub fn drain(&self) {
        for _ in 0..6 {
            let mill = self.mill();
            let result = run(&mill);
            assert!(result.error.is_none(), "{:?}", result.error);
            assert!(result.sheet.balanced);
            let spool = mill.spool().unwrap();
            let mut again = spool.failed().unwrap();
            again.retain(|mail| mail.has_reason("read-error"));
            let claims: Vec<_> = again.iter().map(|mail| spool.retry(mail).unwrap()).collect();
            if result.sheet.deferred + result.sheet.incomplete == 0 && claims.is_empty() {
                return;
            }
            let result = mill.run(Work::Claims(claims), &Progress::default());
            assert!(result.error.is_none(), "{:?}", result.error);
        }
        panic!("it does not come to rest");
    }

    /// Puts claims that were made from files in the drop folder back there, as a power loss does.
    pub fn undo_claims(&self, wanted: impl Fn(&Claim) -> bool) {
        let spool = self.mill().spool().unwrap();
        for claim in spool.waiting_claims().unwrap() {
            let back = self.config.incoming.drop_folder.join(claim.raw_name());
            // One that was refused or damaged before lay there under the same name, and is tried again from there.
            if wanted(&claim) {
                fs::rename(claim.path(&spool), back).unwrap();
            }
        }
    }

    /// Where everything is. Fails when anything is where nothing may be.
    pub fn account(&self) -> Account {
        let mut account = Account::default();
        self.add_items(&mut account);
        for list in self.store.inner.lists().unwrap() {
            for file in self.store.inner.files(list.id).unwrap() {
                account.files.insert((
                    list.name.clone(),
                    format!("{}/{}", file.folder, file.name),
                    file.versions.len(),
                ));
            }
        }
        let mill = self.mill();
        let spool = mill.spool().unwrap();
        for mail in spool.failed().unwrap() {
            let note = mail.note.clone().unwrap_or_else(|| panic!("{} has no note", mail.id));
            let problems = note.problems.iter().map(|problem| (problem.recipient.clone(), problem.reason.clone()));
            let bytes = fs::symlink_metadata(&mail.path).unwrap().is_file().then(|| fs::read(&mail.path).unwrap());
            *account.failed.entry((mail.folder, mail.name(), bytes, problems.collect())).or_default() += 1;
        }
        let files: u64 = account.failed.values().sum();
        let names = |folder: &str| fs::read_dir(self.own().join(folder)).unwrap().flatten().collect::<Vec<_>>();
        let set_aside = names("refused").len() + names("damaged").len();
        assert_eq!(set_aside as u64, files * 2, "one note beside each file, and nothing else");
        for folder in ["claimed", "tmp", "queue"] {
            assert!(names(folder).is_empty(), "{folder}/ holds {:?}", names(folder));
        }
        let report = mill.verify(false).unwrap();
        assert!(report.sound && report.garbage == 0, "{report:?}");
        assert!(self.store.inner.sheets(usize::MAX).unwrap().iter().all(|sheet| sheet.balanced));
        account
    }

    pub fn add_items(&self, account: &mut Account) {
        for list in self.store.inner.lists().unwrap() {
            for (_, item) in self.store.inner.items(list.id, ItemId(0), usize::MAX).unwrap() {
                *account.items.entry((list.name.clone(), item.mail_id)).or_default() += 1;
            }
        }
    }

    /// Names that lie in the drop folder.
    pub fn waiting(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.config.incoming.drop_folder).unwrap().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != ".mailmill")
            .collect()
    }
}

/// Where everything is: compared between a server that had bad luck and one that had none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub items: BTreeMap<(String, MailId), u64>,
    /// Paths in libraries, and how many versions each has.
    pub files: BTreeSet<(String, String, usize)>,
    /// Folder, name, bytes, and reasons by recipient.
    pub failed: BTreeMap<Failed, u64>,
}

type Failed = (&'static str, String, Option<Vec<u8>>, Vec<(Option<String>, String)>);

impl Account {
    /// How many items each mail of each list has, at most and at least.
    pub fn is_once_each(&self) -> bool {
        self.items.values().all(|count| *count == 1)
    }
}

pub fn run(mill: &Mill) -> BatchResult {
    mill.run(Work::DropFolder { limit: None }, &Progress::default())
}

/// A row for the table that `make torture` prints: the scenario, how often something went wrong, and with how many mails.
/// It is written when all was well: nothing was lost, nothing doubled.
pub fn tell(scenario: &str, runs: u64, mails: u64) {
    let Some(table) = std::env::var_os("TORTURE_TABLE") else { return };
    let mut table = fs::File::options().append(true).create(true).open(table).unwrap();
    std::io::Write::write_all(&mut table, format!("{scenario}\t{runs}\t{mails}\n").as_bytes()).unwrap();
}

/// A mail to these lists, with attachments of these names and contents.
pub fn letter(subject: &str, to: &[&str], attachments: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::from("x-sender: ann@a.example\r\n");
    for list in to {
        write!(text, "x-receiver: {list}@lists.example\r\n").unwrap();
    }
    write!(text, "From: ann@a.example\r\nSubject: {subject}\r\nMessage-ID: <{subject}@a.example>\r\n").unwrap();
    text.push_str("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n");
    for (name, content) in attachments {
        write!(text, "--b\r\nContent-Type: application/octet-stream\r\n").unwrap();
        write!(text, "Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{content}\r\n").unwrap();
    }
    text.push_str("--b--\r\n");
    text.into_bytes()
}

/// A name of 255 bytes.
pub fn long_name() -> std::ffi::OsString {
    OsStr::from_bytes(&[b"n".repeat(251), b".eml".to_vec()].concat()).to_owned()
}
