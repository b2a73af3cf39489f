//! Reads a whole store and says whether it is sound: every reference resolves, every blob has its hash, counts agree, the ledger
//! agrees with the items. Changes nothing; what could be removed is answered as a list of writes.
//!
//! Nobody may write meanwhile, or the counts of two moments are compared.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{ListStore, StoreError, Write};
use crate::model::item::{BlobEntry, Item};
use crate::model::list::{ItemId, List, ListId};
use crate::model::mail::BlobHash;

/// So many errors are told; all are counted.
const TOLD: usize = 100;

/// So many items are read at a time.
const PAGE: usize = 500;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub sound: bool,
    pub lists: u64,
    pub items: u64,
    /// Names in libraries.
    pub files: u64,
    pub blobs: u64,
    pub ledger: u64,
    pub error_count: u64,
    pub errors: Vec<String>,
    /// Blobs that no item names: no error, only room.
    pub garbage: u64,
    pub garbage_bytes: u64,
    pub repaired: bool,
}

/// The report, and the writes that remove the garbage.
pub fn verify(store: &dyn ListStore) -> Result<(Report, Vec<Write>), StoreError> {
    let mut check = Check { store, report: Report::default(), counted: HashMap::new(), index: HashMap::new() };
    store.each_blob_entry(&mut |hash, entry| {
        check.index.insert(hash, entry);
        true
    })?;
    let lists = store.lists()?;
    for list in &lists {
        check.report.lists += 1;
        check.items(list)?;
        check.files(list)?;
    }
    check.ledger(&lists)?;
    let mut garbage = check.references();
    garbage.extend(check.blobs()?);
    let mut report = check.report;
    report.sound = report.error_count == 0;
    Ok((report, garbage))
}

struct Check<'s> {
    store: &'s dyn ListStore,
    report: Report,
    /// How often items name each blob.
    counted: HashMap<BlobHash, u64>,
    index: HashMap<BlobHash, BlobEntry>,
}

impl Check<'_> {
    fn error(&mut self, text: String) {
        self.report.error_count += 1;
        if self.report.errors.len() < TOLD {
            self.report.errors.push(text);
        }
    }

    fn items(&mut self, list: &List) -> Result<(), StoreError> {
        let mut after = ItemId(0);
        loop {
            let page = self.store.items(list.id, after, PAGE)?;
            let Some((newest, _)) = page.last() else { return Ok(()) };
            after = *newest;
            for (id, item) in page {
                self.item(list, id, &item)?;
            }
        }
    }

    fn item(&mut self, list: &List, id: ItemId, item: &Item) -> Result<(), StoreError> {
        self.report.items += 1;
        let at = format!("list {}, item {id}", list.name);
        for file in item.files() {
            *self.counted.entry(file.blob).or_default() += 1;
            match self.index.get(&file.blob) {
                None => self.error(format!("{at}: the bytes of `{}` are missing", file.name)),
                Some(entry) if entry.length != file.size => {
                    self.error(format!(
                        "{at}: `{}` has {} bytes, its item says {}",
                        file.name, entry.length, file.size
                    ));
                }
                Some(_) => {}
            }
        }
        match self.store.ledger(item.mail_id, list.id)? {
            // One mail may be about several events, and each is an item.
            Some(entry) if entry.item == id || item.series.is_some() => {}
            Some(entry) => self.error(format!("{at}: the ledger says that its mail is item {}", entry.item)),
            None => self.error(format!("{at}: its mail is not in the ledger")),
        }
        Ok(())
    }

    fn files(&mut self, list: &List) -> Result<(), StoreError> {
        for file in self.store.files(list.id)? {
            self.report.files += 1;
            for version in &file.versions {
                let at = format!("list {}, {}/{} version {}", list.name, file.folder, file.name, version.number);
                if !self.index.contains_key(&version.blob) {
                    self.error(format!("{at}: its bytes are missing"));
                }
                let names_it = |item: Item| item.files().any(|attachment| attachment.blob == version.blob);
                if !self.store.item(list.id, version.item)?.is_some_and(names_it) {
                    self.error(format!("{at}: item {} does not name it", version.item));
                }
            }
        }
        Ok(())
    }

    /// Entries of lists that were deleted stay: the ids of lists are never used again.
    fn ledger(&mut self, lists: &[List]) -> Result<(), StoreError> {
        let names: HashMap<ListId, &str> = lists.iter().map(|list| (list.id, list.name.as_str())).collect();
        let mut wanted = Vec::new();
        self.store.each_ledger(&mut |mail, list, entry| {
            self.report.ledger += 1;
            if let Some(name) = names.get(&list) {
                wanted.push((mail, list, *name, entry.item));
            }
            true
        })?;
        for (mail, list, name, item) in wanted {
            match self.store.item(list, item)? {
                // Many mails may be about one event.
                Some(found) if found.mail_id == mail || found.series.is_some() => {}
                Some(_) => self.error(format!(
                    "list {name}, item {item}: the ledger says that it is mail {mail}, and it is another"
                )),
                None => self.error(format!("list {name}: the ledger has mail {mail} as item {item}, which is missing")),
            }
        }
        Ok(())
    }

    /// Compares the counts; what nobody names any more leaves the index.
    fn references(&mut self) -> Vec<Write> {
        let mut garbage = Vec::new();
        let mut wrong = Vec::new();
        for (hash, entry) in &self.index {
            let counted = self.counted.get(hash).copied().unwrap_or_default();
            if counted != entry.references {
                wrong.push(format!("blob {hash}: {counted} references, its entry says {}", entry.references));
            } else if counted == 0 {
                garbage.push(Write::DropBlobEntry(*hash));
            }
        }
        wrong.sort();
        for text in wrong {
            self.error(text);
        }
        garbage
    }

    /// Reads all bytes: a blob has the hash that its entry says, and one that no living entry names is garbage.
    fn blobs(&mut self) -> Result<Vec<Write>, StoreError> {
        let living = self.index.iter().filter(|(hash, _)| self.counted.contains_key(*hash));
        let by_id: HashMap<u64, BlobHash> = living.map(|(hash, entry)| (entry.id, *hash)).collect();
        let mut seen = HashSet::new();
        let (mut garbage, mut wrong) = (Vec::new(), Vec::new());
        let report = &mut self.report;
        self.store.each_blob(&mut |id, bytes| {
            if let Some(hash) = by_id.get(&id) {
                report.blobs += 1;
                seen.insert(id);
                if BlobHash::of(bytes) != *hash {
                    wrong.push(format!("blob {hash}: its bytes have another hash"));
                }
            } else {
                report.garbage += 1;
                report.garbage_bytes += bytes.len() as u64;
                garbage.push(Write::DropBlob(id));
            }
            true
        })?;
        let lost = by_id.iter().filter(|(id, _)| !seen.contains(*id));
        wrong.extend(lost.map(|(_, hash)| format!("blob {hash}: its bytes are missing")));
        for text in wrong {
            self.error(text);
        }
        Ok(garbage)
    }
}
