//! Builds a group: gives out item numbers and free names, finds duplicates, counts references, and says how each file ends.
//! Everything is looked up in the group being built first and in the store behind it, so that a group decides as if its mails had
//! been committed one by one. Decides only; the caller holds the writer lock and commits.

mod events;

mod threads;

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

/// A group being built.
pub struct GroupBuilder<'s> {
    store: &'s dyn ListStore,
    now: i64,
    group: Group,
    decided: Vec<Decided>,
    weight: u64,
    overlay: Overlay,
    known: threads::Known,
    events: events::Known,
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
            now,
            group: Group::default(),
            decided: Vec::new(),
            weight: 0,
            overlay: Overlay::default(),
            known: threads::Known::default(),
            events: events::Known::default(),
        }
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
        let any_new = tally.landed.iter().any(|landed| !landed.duplicate);
        let good = if any_new { End::Delivered } else { End::Duplicate };
        tally.end = plan.worst_failure().map_or(good, |worst| worst.max(good));
        self.journal(&plan, &tally)?;
        self.group.claims.push(plan.claim);
        tally.plan = plan;
        self.decided.push(tally);
        Ok(())
    }

    /// The finished group and what it decides; the ends hold only once the group is committed.
    pub fn finish(mut self) -> (Group, Vec<Decided>) {
        let counters = self.overlay.counters.into_iter().map(|(counter, next)| Write::Counter(counter, next));
        self.group.writes.extend(counters);
        (self.group, self.decided)
    }

    /// For a dry run: what was decided, forgetting what would have been written but not what is now known.
    pub fn take_decided(&mut self) -> Vec<Decided> {
        self.group = Group::default();
        self.weight = 0;
        std::mem::take(&mut self.decided)
    }

    fn deliver(&mut self, plan: &Plan, mut delivery: Delivery, tally: &mut Decided) -> Result<(), StoreError> {
        let Some(mail_id) = plan.mail_id else { return Ok(()) };
        let list = delivery.list;
        let known = match self.overlay.ledger.get(&(mail_id, list)) {
            Some(entry) => Some(*entry),
            None => self.store.ledger(mail_id, list)?,
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
        let Some(item) = delivery.item.take() else { return Ok(()) };
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
        self.write_item(plan, list, id, item, tally)?;
        Ok((id, paths))
    }

    /// A new item with its files.
    fn write_item(
        &mut self,
        plan: &Plan,
        list: ListId,
        id: ItemId,
        item: Item,
        tally: &mut Decided,
    ) -> Result<(), StoreError> {
        for file in item.files() {
            self.refer(file, &plan.blobs)?;
        }
        tally.items += 1;
        tally.attachments += item.attachments.len() as u64;
        self.group.writes.push(Write::Item(list, id, Box::new(item)));
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
        let Item { attachments, original, .. } = item;
        for file in attachments.iter_mut().chain(original) {
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

fn list_is_gone(delivery: &Delivery) -> impl Iterator<Item = Failure> {
    delivery.recipients.iter().map(|recipient| Failure {
        recipient: Some(recipient.clone()),
        reason: Reason::UnknownAddress,
        text: format!("the list of {recipient} was deleted meanwhile"),
    })
}
