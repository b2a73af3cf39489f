//! Builds a group: gives out item numbers and free names, finds duplicates, counts references, and says how each file ends.
//! Everything is looked up in the group being built first and in the store behind it, so that a group decides as if its mails had
//! been committed one by one. Decides only; the caller holds the writer lock and commits.

mod events;

mod threads;

mod recent;

use std::collections::HashMap;

use crate::directory::Directory;
use crate::model::item::{
    Attachment, BlobEntry, FileVersion, Item, JournalEntry, LedgerEntry, LibraryFile, OutboxEntry,
};
use crate::model::list::{ItemId, ListId};
use crate::model::mail::{BlobHash, MailId};
use crate::model::names;
use crate::model::outcome::{End, Reason};
use crate::model::plan::{Blob, Decided, Delivery, Failure, Landed, Plan};
use crate::model::thread::Facts;
use crate::store::{Counter, Group, ListStore, StoreError, Write};

pub use recent::Recent;
use recent::Since;

/// A group that is ready to be committed.
pub struct Built {
    pub group: Group,
    /// What became of its mails. It holds only once the group is committed.
    pub decided: Vec<Decided>,
    /// What the group writes into the ledger.
    pub ledger: HashMap<(MailId, ListId), LedgerEntry>,
}

/// A group being built.
pub struct GroupBuilder<'s> {
    store: &'s dyn ListStore,
    recent: Option<&'s Recent>,
    now: i64,
    group: Group,
    decided: Vec<Decided>,
    weight: u64,
    overlay: Overlay,
    known: threads::Known,
    events: events::Known,
    /// Blobs that were written ahead, by the ids that they have.
    ahead: HashMap<BlobHash, u64>,
}

#[derive(Default)]
struct Overlay {
    ledger: HashMap<(MailId, ListId), LedgerEntry>,
    counters: HashMap<Counter, u64>,
    blobs: HashMap<BlobHash, BlobEntry>,
    files: HashMap<(ListId, String, String), LibraryFile>,
}

impl<'s> GroupBuilder<'s> {
    pub fn new(store: &'s dyn ListStore, now: i64) -> Self {
        Self {
            store,
            recent: None,
            now,
            group: Group::default(),
            decided: Vec::new(),
            weight: 0,
            overlay: Overlay::default(),
            known: threads::Known::default(),
            events: events::Known::default(),
            ahead: HashMap::new(),
        }
    }

    /// Asks this before the store, for plans that say when the ledger was asked.
    #[must_use]
    pub const fn with_recent(mut self, recent: &'s Recent) -> Self {
        self.recent = Some(recent);
        self
    }

    /// Blobs that lie in the store already and only need to be named. One that is not wanted after all is garbage.
    #[must_use]
    pub fn with_ahead(mut self, ahead: HashMap<BlobHash, u64>) -> Self {
        self.ahead = ahead;
        self
    }

    pub fn len(&self) -> usize {
        self.decided.len()
    }

    pub fn is_empty(&self) -> bool {
        self.decided.is_empty()
    }

    /// Bytes of mail in the group, about.
    pub const fn weight(&self) -> u64 {
        self.weight
    }

    /// Adds one mail. The directory is the one in force now: a list deleted since the mail was routed takes nothing.
    pub fn add(&mut self, mut plan: Plan, directory: &Directory) -> Result<(), StoreError> {
        self.weight += plan.weight();
        let mut tally = Decided::new();
        for delivery in std::mem::take(&mut plan.deliveries) {
            if directory.list(delivery.list).is_none() {
                plan.failures.extend(list_is_gone(&delivery));
                continue;
            }
            self.deliver(&plan, delivery, &mut tally)?;
        }
        // Forgetting must be safe: what reached nobody and was refused by nobody is not done, and its file is not removed.
        if tally.landed.is_empty() && plan.failures.is_empty() {
            plan.failures.push(failure(None, Reason::NoEnvelope, "the mail names no recipient".to_owned()));
        }
        let any_new = tally.landed.iter().any(|landed| !landed.duplicate);
        let good = if any_new { End::Delivered } else { End::Duplicate };
        tally.end = plan.worst_failure().map_or(good, |worst| worst.max(good));
        self.journal(&plan, &tally)?;
        self.group.claims.push(plan.claim);
        tally.plan = plan;
        self.decided.push(tally);
        Ok(())
    }

    pub fn finish(mut self) -> Built {
        let counters = self.overlay.counters.into_iter().map(|(counter, next)| Write::Counter(counter, next));
        self.group.writes.extend(counters);
        Built { group: self.group, decided: self.decided, ledger: self.overlay.ledger }
    }

    /// For a dry run: what was decided, forgetting what would have been written but not what is now known.
    pub fn take_decided(&mut self) -> Vec<Decided> {
        self.group = Group::default();
        self.weight = 0;
        std::mem::take(&mut self.decided)
    }

    fn deliver(&mut self, plan: &Plan, mut delivery: Delivery, tally: &mut Decided) -> Result<(), StoreError> {
        let mail_id = plan.mail_id.ok_or_else(|| broken(plan, "has deliveries and no id"))?;
        let list = delivery.list;
        let known = match self.overlay.ledger.get(&(mail_id, list)) {
            Some(entry) => Some(*entry),
            None => self.ledger(plan, mail_id, &delivery)?,
        };
        tally.delivered.extend(delivery.recipients.iter().cloned());
        if let Some(entry) = known {
            // Under its own claim it is what a crash left unsettled, and counts as delivered now.
            let duplicate = entry.claim != plan.claim;
            let recipients = delivery.recipients;
            tally.landed.push(Landed {
                list,
                recipients,
                item: entry.item,
                duplicate,
                allowed_by: delivery.allowed_by,
                paths: Vec::new(),
            });
            return Ok(());
        }
        // A worker leaves the item out only when the ledger knows the mail, and the ledger never forgets.
        let item = delivery.item.take().ok_or_else(|| broken(plan, "was in the ledger and no longer is"))?;
        let (id, paths) = self.place(plan, &mut delivery, *item, tally)?;
        let entry = LedgerEntry { claim: plan.claim, item: id, time: self.now };
        self.overlay.ledger.insert((mail_id, list), entry);
        self.group.writes.push(Write::Ledger(mail_id, list, entry));
        if let Some(message_id) = &plan.message_id {
            self.group.writes.push(Write::MessageId(message_id.clone(), mail_id));
        }
        if let Some(url) = &delivery.webhook {
            let number = self.next(Counter::Outbox)?;
            let entry = OutboxEntry {
                list,
                item: id,
                url: url.clone(),
                attempts: 0,
                next: self.now,
                created: self.now,
                mail: mail_id,
                claim: plan.claim,
            };
            self.group.writes.push(Write::Outbox(number, Box::new(entry)));
        }
        let Delivery { recipients, allowed_by, .. } = delivery;
        tally.landed.push(Landed { list, recipients, item: id, duplicate: false, allowed_by, paths });
        Ok(())
    }

    fn ledger(&self, plan: &Plan, mail: MailId, delivery: &Delivery) -> Result<Option<LedgerEntry>, StoreError> {
        // Without an item the worker found it there, and did not keep what it found.
        let was_new = delivery.item.is_some();
        let asked = plan.asked.filter(|_| was_new).zip(self.recent);
        match asked.map(|(written, recent)| recent.since(written, mail, delivery.list)) {
            Some(Since::Came(entry)) => Ok(Some(entry)),
            Some(Since::NotThere) => Ok(None),
            Some(Since::LongAgo) | None => self.store.ledger(mail, delivery.list),
        }
    }

    /// Puts the item where its kind of list wants it: the number it has now, and the paths of its files in a library.
    fn place(
        &mut self,
        plan: &Plan,
        delivery: &mut Delivery,
        mut item: Item,
        tally: &mut Decided,
    ) -> Result<(ItemId, Vec<String>), StoreError> {
        if !delivery.updates.is_empty() {
            return Ok((self.file_events(plan, delivery, item, tally)?, Vec::new()));
        }
        let list = delivery.list;
        let id = ItemId(self.next(Counter::Item(list))?);
        if let Some(folder) = &delivery.library_folder {
            self.file_away(list, id, folder, delivery.overwrite, &mut item)?;
        }
        if let Some(facts) = delivery.thread.take() {
            self.join(list, Facts { item: id, ..*facts }, delivery.topic_days)?;
        }
        let paths = item.files().filter_map(|file| file.path.clone()).collect();
        // Made of the item as it was before its files had paths, it would not say where they are.
        let prepared = delivery.prepared.take().filter(|_| delivery.is_final());
        self.write_item(plan, list, id, (item, prepared), tally)?;
        Ok((id, paths))
    }

    /// A new item with its files.
    fn write_item(
        &mut self,
        plan: &Plan,
        list: ListId,
        id: ItemId,
        (item, prepared): (Item, Option<Vec<u8>>),
        tally: &mut Decided,
    ) -> Result<(), StoreError> {
        for file in item.files() {
            self.refer(file, &plan.blobs)?;
        }
        tally.items += 1;
        tally.attachments += item.attachments.len() as u64;
        self.group.writes.push(Write::Item(list, id, Box::new(item), prepared));
        Ok(())
    }

    /// The next number of a counter. Written once a group, at its end value.
    fn next(&mut self, counter: Counter) -> Result<u64, StoreError> {
        let next = match self.overlay.counters.get(&counter) {
            Some(next) => *next,
            None => self.store.counter(counter)?,
        };
        self.overlay.counters.insert(counter, next + 1);
        Ok(next)
    }

    /// Puts the files of an item into the library: under a free name, or as the next version of the same name.
    fn file_away(
        &mut self,
        list: ListId,
        id: ItemId,
        folder: &str,
        overwrite: bool,
        item: &mut Item,
    ) -> Result<(), StoreError> {
        let Item { attachments, extracted, original, .. } = item;
        let extracted = extracted.iter_mut().map(|extracted| &mut extracted.file);
        for file in attachments.iter_mut().chain(extracted).chain(original) {
            let existing = self.file(list, folder, &file.name)?;
            let mut entry = match existing {
                // Two parts of one mail with one name are two files, also where another mail's would be a new version.
                Some(entry) if overwrite && entry.versions.last().is_none_or(|last| last.item != id) => entry,
                None => new_file(folder, &file.name),
                Some(_) => new_file(folder, &self.free_file_name(list, folder, &file.name)?),
            };
            let number = entry.versions.last().map_or(1, |last| last.number + 1);
            entry.versions.push(FileVersion {
                number,
                item: id,
                blob: file.blob,
                size: file.size,
                content_type: file.content_type.clone(),
            });
            file.version = number;
            // As the library spells it, which an earlier mail may have done in another case.
            let folder = &entry.folder;
            file.path = Some(if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) });
            let key = (list, names::fold(folder), names::fold(&entry.name));
            self.overlay.files.insert(key, entry.clone());
            self.group.writes.push(Write::File(list, Box::new(entry)));
        }
        Ok(())
    }

    fn file(&self, list: ListId, folder: &str, name: &str) -> Result<Option<LibraryFile>, StoreError> {
        match self.overlay.files.get(&(list, names::fold(folder), names::fold(name))) {
            Some(entry) => Ok(Some(entry.clone())),
            None => self.store.file(list, folder, name),
        }
    }

    fn free_file_name(&self, list: ListId, folder: &str, name: &str) -> Result<String, StoreError> {
        // A library with 10,000 files of one name must not be probed 10,000 times for the next: find the end by doubling,
        // then the first free one below it by halving. Names are given without gaps, so both find the same.
        let taken = |n: u32| self.file(list, folder, &names::numbered(name, n)).map(|found| found.is_some());
        let mut high = 2;
        while taken(high)? {
            high *= 2;
        }
        let mut low = high / 2;
        while high - low > 1 {
            let middle = u32::midpoint(low, high);
            if taken(middle)? { low = middle } else { high = middle }
        }
        Ok(names::numbered(name, high))
    }

    /// Counts one more reference to a blob, and writes its bytes where the store does not have them yet.
    fn refer(&mut self, file: &Attachment, blobs: &[Blob]) -> Result<(), StoreError> {
        let known = match self.overlay.blobs.get(&file.blob) {
            Some(entry) => Some(*entry),
            None => self.store.blob_entry(file.blob)?,
        };
        let entry = if let Some(known) = known {
            BlobEntry { references: known.references + 1, ..known }
        } else if let Some(id) = self.ahead.remove(&file.blob) {
            BlobEntry { id, length: file.size, references: 1 }
        } else {
            let id = self.next(Counter::Blob)?;
            let bytes = blobs.iter().find(|blob| blob.hash == file.blob).map(|blob| blob.bytes.clone());
            let bytes = bytes
                .ok_or_else(|| StoreError::Backend(format!("a plan names the blob {} it does not hold", file.blob)))?;
            self.group.writes.push(Write::Blob(id, bytes));
            BlobEntry { id, length: file.size, references: 1 }
        };
        self.overlay.blobs.insert(file.blob, entry);
        self.group.writes.push(Write::BlobEntry(file.blob, entry));
        Ok(())
    }

    /// What happened besides delivery is remembered for `trace`. A deferred mail is judged again: nothing happened yet.
    fn journal(&mut self, plan: &Plan, tally: &Decided) -> Result<(), StoreError> {
        let Some(mail_id) = plan.mail_id else { return Ok(()) };
        let entry = |outcome: End, reason: Option<Reason>, text: &str, recipient: Option<String>, list| JournalEntry {
            claim: plan.claim,
            time: self.now,
            file: plan.source.clone(),
            outcome: outcome.word().to_owned(),
            reason: reason.map(|reason| reason.code().to_owned()),
            text: text.to_owned(),
            sender: plan.sender.clone(),
            recipient,
            message_id: plan.message_id.clone(),
            list,
        };
        let failures = plan.failures.iter().filter(|failure| failure.reason.end() != End::Deferred).map(|failure| {
            entry(failure.reason.end(), Some(failure.reason), &failure.text, failure.recipient.clone(), None)
        });
        let duplicates = tally.landed.iter().filter(|landed| landed.duplicate).map(|landed| {
            entry(
                End::Duplicate,
                None,
                "the list has this mail already",
                landed.recipients.first().cloned(),
                Some(landed.list),
            )
        });
        let entries: Vec<_> = failures.chain(duplicates).collect();
        for entry in entries {
            let number = self.next(Counter::Journal)?;
            self.group.writes.push(Write::Journal(mail_id, number, Box::new(entry)));
        }
        if let (Some(message_id), false) = (&plan.message_id, plan.failures.is_empty()) {
            self.group.writes.push(Write::MessageId(message_id.clone(), mail_id));
        }
        Ok(())
    }
}

fn new_file(folder: &str, name: &str) -> LibraryFile {
    LibraryFile { folder: folder.to_owned(), name: name.to_owned(), versions: Vec::new() }
}

fn list_is_gone(delivery: &Delivery) -> Vec<Failure> {
    let gone = |recipient: &str| format!("the list of {recipient} was deleted meanwhile");
    if delivery.recipients.is_empty() {
        // An import has no envelope.
        return vec![failure(None, Reason::UnknownAddress, gone("the import"))];
    }
    let recipients = delivery.recipients.iter();
    recipients.map(|recipient| failure(Some(recipient.clone()), Reason::UnknownAddress, gone(recipient))).collect()
}

const fn failure(recipient: Option<String>, reason: Reason, text: String) -> Failure {
    Failure { recipient, reason, text }
}

/// What cannot be, and stops the engine rather than lose a mail.
fn broken(plan: &Plan, what: &str) -> StoreError {
    StoreError::Backend(format!(
        "the mail {} of claim {} {what}: a bug in mailmill; nothing is lost",
        plan.source, plan.claim
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::model::list::{Kind, List};
    use crate::model::mail::ClaimId;
    use crate::model::settings::ListSettings;
    use crate::store::MemoryStore;

    const LISTS: [ListId; 3] = [ListId(1), ListId(2), ListId(256)];

    fn directory() -> Directory {
        let list = |id: ListId| {
            let settings = ListSettings { address: format!("l{}", id.0), ..ListSettings::default() };
            List { id, name: format!("L{}", id.0), kind: Kind::DocumentLibrary, settings }
        };
        Directory::new(LISTS.map(list).to_vec(), &[])
    }

    /// What one mail brings for one list.
    #[derive(Clone, Debug)]
    struct Wish {
        /// Past the end of `LISTS`: a list that was deleted meanwhile.
        list: usize,
        folder: Option<&'static str>,
        overwrite: bool,
        /// Name and content of each attachment.
        files: Vec<(&'static str, u8)>,
        original: bool,
    }

    /// One mail. Mails of one number are the same bytes, whatever their claim.
    #[derive(Clone, Debug)]
    struct Letter {
        number: u8,
        claim: u64,
        wishes: Vec<Wish>,
        failure: Option<Reason>,
    }

    fn blob(content: u8) -> Blob {
        let bytes = vec![content; usize::from(content)];
        Blob::of(bytes)
    }

    fn attachment(name: &str, content: u8) -> Attachment {
        Attachment {
            name: name.to_owned(),
            original_name: None,
            path: None,
            content_type: "text/plain".to_owned(),
            size: u64::from(content),
            sha256: [content; 32],
            blob: blob(content).hash,
            inline: false,
            content_id: None,
            version: 1,
        }
    }

    fn item(number: u8) -> Item {
        Item {
            source: format!("{number}.eml"),
            title: None,
            from: None,
            sender: None,
            to: Vec::new(),
            cc: Vec::new(),
            date: None,
            received: 0,
            message_id: None,
            in_reply_to: None,
            references: Vec::new(),
            body_text: None,
            body_html: None,
            headers: Vec::new(),
            mail_id: MailId::of(&[number]),
            created_by: "system".to_owned(),
            defects: Vec::new(),
            attachments: Vec::new(),
            original: None,
            updates: Vec::new(),
            series: None,
            extracted: Vec::new(),
            authentication: None,
        }
    }

    /// The plan of a letter, as a worker that knows nothing of the group would make it.
    fn plan(letter: &Letter) -> Plan {
        let claim = ClaimId { batch: 1, number: letter.claim };
        let mut plan = Plan::failed(claim, format!("{}.eml", letter.claim), 9, Reason::Empty, String::new());
        plan.failures.clear();
        plan.mail_id = Some(MailId::of(&[letter.number]));
        plan.message_id = Some(format!("{}@a.example", letter.number % 3));
        plan.failures.extend(letter.failure.map(|reason| Failure { recipient: None, reason, text: String::new() }));
        let mut contents = BTreeSet::new();
        let mut lists = HashSet::new();
        for wish in letter.wishes.iter().filter(|wish| lists.insert(wish.list)) {
            let mut made = item(letter.number);
            made.attachments = wish.files.iter().map(|(name, content)| attachment(name, *content)).collect();
            made.original = wish.original.then(|| attachment("a.txt", letter.number));
            contents.extend(wish.files.iter().map(|(_, content)| *content).chain([letter.number]));
            plan.deliveries.push(Delivery {
                list: LISTS.get(wish.list).copied().unwrap_or(ListId(99)),
                recipients: vec![format!("l{}@l.example", wish.list)],
                item: Some(Box::new(made)),
                prepared: None,
                library_folder: wish.folder.map(str::to_owned),
                overwrite: wish.overwrite,
                webhook: None,
                allowed_by: String::new(),
                updates: Vec::new(),
                thread: None,
                topic_days: 0,
            });
        }
        plan.blobs = contents.into_iter().map(blob).collect();
        plan
    }

    fn any_name() -> impl Strategy<Value = &'static str> {
        select(&["a.txt", "A.TXT", "a (2).txt", "a (3).txt", "a (2) (2).txt", "b", "B (2)", "\u{e9}", "e\u{301}"][..])
    }

    fn any_wish() -> impl Strategy<Value = Wish> {
        let folder = select(&[None, Some(""), Some("f"), Some("F"), Some("a")][..]);
        let files = prop::collection::vec((any_name(), 0_u8..6), 0..5);
        let list = prop_oneof![9 => 0..LISTS.len(), 1 => Just(LISTS.len())];
        (list, folder, any::<bool>(), files, any::<bool>())
            .prop_map(|(list, folder, overwrite, files, original)| Wish { list, folder, overwrite, files, original })
    }

    fn any_letter() -> impl Strategy<Value = Letter> {
        let failure = select(&[None, None, Some(Reason::UnknownAddress), Some(Reason::Limit)][..]);
        (0_u8..6, 1_u64..9, prop::collection::vec(any_wish(), 0..4), failure)
            .prop_map(|(number, claim, wishes, failure)| Letter { number, claim, wishes, failure })
    }

    /// Commits the letters in groups of so many and answers what was decided.
    fn commit(store: &MemoryStore, letters: &[Letter], group: usize) -> Vec<Decided> {
        commit_with(store, letters, group, None)
    }

    /// The same, where the workers asked the store for every mail before the first group was written.
    fn commit_with(store: &MemoryStore, letters: &[Letter], group: usize, recent: Option<&Recent>) -> Vec<Decided> {
        let directory = directory();
        let asked = recent.map(Recent::now);
        let mut all = Vec::new();
        for letters in letters.chunks(group) {
            let mut builder = GroupBuilder { recent, ..GroupBuilder::new(store, 7) };
            letters.iter().for_each(|letter| builder.add(Plan { asked, ..plan(letter) }, &directory).unwrap());
            assert_eq!(builder.len(), letters.len());
            let Built { group, decided, ledger } = builder.finish();
            let receipts = store.commit(group).unwrap();
            recent.iter().for_each(|recent| recent.note(ledger.clone()));
            assert_eq!(receipts.len(), letters.len());
            all.extend(decided);
        }
        all
    }

    /// All that a store was told, as text.
    fn contents(store: &MemoryStore) -> String {
        let counters = [Counter::Batch, Counter::List, Counter::Blob, Counter::Journal].into_iter();
        let counters = counters.chain(LISTS.map(Counter::Item)).map(|counter| store.counter(counter).unwrap());
        let lists = LISTS.map(|list| (store.items(list, ItemId(0), usize::MAX).unwrap(), store.files(list).unwrap()));
        let ids = ["0@a.example", "1@a.example", "2@a.example"].map(|id| store.mails_with(id).unwrap());
        let (mut blobs, mut index, mut ledger, mut journal) = (vec![], vec![], vec![], vec![]);
        store
            .each_blob(&mut |id, bytes| {
                blobs.push((id, bytes.to_vec()));
                true
            })
            .unwrap();
        store
            .each_blob_entry(&mut |hash, entry| {
                index.push((hash, entry));
                true
            })
            .unwrap();
        store
            .each_ledger(&mut |mail, list, entry| {
                ledger.push((mail, list, entry));
                true
            })
            .unwrap();
        store
            .each_journal(&mut |mail, entry| {
                journal.push((mail, entry));
                true
            })
            .unwrap();
        format!("{:?}", (counters.collect::<Vec<_>>(), lists, ids, blobs, index, ledger, journal))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_group_decides_as_if_its_mails_were_committed_one_by_one(
            letters in prop::collection::vec(any_letter(), 1..12),
            size in 2_usize..12,
        ) {
            let (single, grouped) = (MemoryStore::default(), MemoryStore::default());
            let one_by_one = commit(&single, &letters, 1);
            let together = commit(&grouped, &letters, size);
            prop_assert_eq!(format!("{one_by_one:?}"), format!("{together:?}"));
            prop_assert_eq!(contents(&single), contents(&grouped));
            let (report, garbage) = crate::store::verify(&with_lists(single)).unwrap();
            prop_assert!(report.sound && garbage.is_empty(), "{:?}", report.errors);
        }

        #[test]
        fn what_the_last_groups_brought_need_not_be_asked_of_the_store(
            letters in prop::collection::vec(any_letter(), 1..12),
            size in 1_usize..5,
        ) {
            let (asked, remembered) = (MemoryStore::default(), MemoryStore::default());
            let by_store = commit(&asked, &letters, size);
            let by_memory = commit_with(&remembered, &letters, size, Some(&Recent::default()));
            for (one, other) in by_store.iter().zip(&by_memory) {
                prop_assert_eq!((one.end, one.items, &one.landed), (other.end, other.items, &other.landed));
            }
            prop_assert_eq!(contents(&asked), contents(&remembered));
        }

        #[test]
        fn without_overwriting_every_file_has_a_name_of_its_own(letters in prop::collection::vec(any_letter(), 1..12)) {
            let letters = set_overwrite(letters, false);
            let store = MemoryStore::default();
            commit(&store, &letters, 3);
            assert_files(&store);
            for list in LISTS {
                prop_assert!(store.files(list).unwrap().iter().all(|file| file.versions.len() == 1));
            }
        }

        #[test]
        fn with_overwriting_every_version_is_kept(letters in prop::collection::vec(any_letter(), 1..12)) {
            let letters = set_overwrite(letters, true);
            let store = MemoryStore::default();
            commit(&store, &letters, 3);
            assert_files(&store);
            for file in LISTS.iter().flat_map(|list| store.files(*list).unwrap()) {
                let numbers: Vec<u32> = file.versions.iter().map(|version| version.number).collect();
                prop_assert_eq!(numbers, (1..).take(file.versions.len()).collect::<Vec<_>>());
                let items: HashSet<ItemId> = file.versions.iter().map(|version| version.item).collect();
                prop_assert_eq!(items.len(), file.versions.len(), "two parts of one mail are two files");
            }
        }
    }

    fn set_overwrite(mut letters: Vec<Letter>, overwrite: bool) -> Vec<Letter> {
        letters.iter_mut().flat_map(|letter| &mut letter.wishes).for_each(|wish| wish.overwrite = overwrite);
        letters
    }

    /// `verify` walks through the lists that the store knows.
    fn with_lists(store: MemoryStore) -> MemoryStore {
        let directory = directory();
        let lists = directory.all().into_iter().map(|list| Write::List(Box::new((**list).clone())));
        // As the engine and the making of lists would have left them.
        let counters = [Write::Counter(Counter::List, 1000), Write::Counter(Counter::Batch, 1000)];
        store.commit(lists.chain(counters).collect::<Vec<_>>().into()).unwrap();
        store
    }

    /// Each attachment of a library lies at its path, in the version that it names, and nothing else lies there.
    fn assert_files(store: &MemoryStore) {
        for list in LISTS {
            let files = store.files(list).unwrap();
            let mut versions: usize = files.iter().map(|file| file.versions.len()).sum();
            for (id, item) in store.items(list, ItemId(0), usize::MAX).unwrap() {
                let mut paths = HashSet::new();
                for file in item.files().filter(|file| file.path.is_some()) {
                    let path = file.path.clone().unwrap();
                    assert!(paths.insert(names::fold(&path)), "{path} twice in one item");
                    let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
                    let found = store.file(list, folder, name).unwrap().unwrap();
                    assert_eq!((found.folder.as_str(), found.name.as_str()), (folder, name));
                    let version = found.versions.iter().find(|version| version.number == file.version).unwrap();
                    assert_eq!((version.item, version.blob, version.size), (id, file.blob, file.size));
                    versions -= 1;
                }
            }
            assert_eq!(versions, 0, "versions that no item names");
        }
    }

    #[test]
    fn the_next_free_name_in_a_full_library_is_found_without_trying_all() {
        let store = MemoryStore::default();
        let wish = Wish { list: 0, folder: Some(""), overwrite: false, files: vec![("a.txt", 1)], original: false };
        let letter = |number| Letter { number, claim: u64::from(number), wishes: vec![wish.clone()], failure: None };
        let letters: Vec<Letter> = (1..=200).map(letter).collect();
        let decided = commit(&store, &letters, 7);
        let paths: Vec<String> = decided.iter().flat_map(|end| end.landed[0].paths.clone()).collect();
        let expected: Vec<String> = (1..=200).map(|n| names::numbered("a.txt", n)).collect();
        assert_eq!(paths, expected);
    }

    #[test]
    fn a_mail_that_reaches_nobody_and_that_nobody_refuses_is_refused() {
        let store = MemoryStore::default();
        let letter = Letter { number: 1, claim: 1, wishes: Vec::new(), failure: None };
        let decided = commit(&store, &[letter], 1);
        assert_eq!(decided[0].end, End::Refused);
        assert_eq!(decided[0].plan.failures[0].reason, Reason::NoEnvelope);
    }

    #[test]
    fn a_mail_of_an_import_whose_list_is_gone_is_refused() {
        let store = MemoryStore::default();
        let wish = Wish { list: LISTS.len(), folder: None, overwrite: false, files: Vec::new(), original: false };
        let mut plan = plan(&Letter { number: 1, claim: 1, wishes: vec![wish], failure: None });
        plan.deliveries[0].recipients.clear();
        let mut builder = GroupBuilder::new(&store, 7);
        builder.add(plan, &directory()).unwrap();
        let decided = builder.finish().decided;
        assert_eq!(decided[0].end, End::Refused);
        assert_eq!(decided[0].plan.failures[0].text, "the list of the import was deleted meanwhile");
    }

    #[test]
    fn a_delivery_without_item_that_the_ledger_does_not_know_stops_the_engine() {
        let store = MemoryStore::default();
        let wish = Wish { list: 0, folder: None, overwrite: false, files: Vec::new(), original: false };
        let mut plan = plan(&Letter { number: 1, claim: 1, wishes: vec![wish], failure: None });
        plan.deliveries[0].item = None;
        assert!(GroupBuilder::new(&store, 7).add(plan, &directory()).is_err());
    }
}
