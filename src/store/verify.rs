//! Reads a whole store and says whether it is sound: every reference resolves, every blob has its hash, counts agree, the ledger
//! agrees with the items. Changes nothing; what could be removed is answered as a list of writes.
//!
//! Nobody may write meanwhile, or the counts of two moments are compared.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::{Counter, ListStore, StoreError, Write};
use crate::model::item::{BlobEntry, FileVersion, Item, LibraryFile};
use crate::model::list::{ItemId, Kind, List, ListId};
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
    let mut check = Check { store, report: Report::default(), counted: HashMap::new(), index: BTreeMap::new() };
    store.each_blob_entry(&mut |hash, entry| {
        check.index.insert(hash, entry);
        true
    })?;
    let lists = store.lists()?;
    for list in &lists {
        check.report.lists += 1;
        let files = store.files(list.id)?;
        let tree = Tree::of(&files);
        check.items(list, &tree)?;
        check.files(list, &files)?;
        check.number(Counter::List, u64::from(list.id.0), &format!("list {}", list.name))?;
    }
    check.leftovers(&lists)?;
    check.ledger(&lists)?;
    check.journal()?;
    check.sheets()?;
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
    index: BTreeMap<BlobHash, BlobEntry>,
}

/// A library's files by path and version.
struct Tree<'f>(HashMap<(String, u32), &'f FileVersion>);

impl<'f> Tree<'f> {
    fn of(files: &'f [LibraryFile]) -> Self {
        let versions = files.iter().flat_map(|file| file.versions.iter().map(move |version| (file, version)));
        Self(versions.map(|(file, version)| ((path(file), version.number), version)).collect())
    }
}

fn path(file: &LibraryFile) -> String {
    if file.folder.is_empty() { file.name.clone() } else { format!("{}/{}", file.folder, file.name) }
}

impl Check<'_> {
    fn error(&mut self, text: String) {
        self.report.error_count += 1;
        if self.report.errors.len() < TOLD {
            self.report.errors.push(text);
        }
    }

    /// A counter gives its next number out as a new one: whatever has that number or a later one would be overwritten.
    fn number(&mut self, counter: Counter, used: u64, what: &str) -> Result<(), StoreError> {
        let next = self.store.counter(counter)?;
        if next <= used {
            self.error(format!("{what}: has the number {used}, and its counter would give {next} out again"));
        }
        Ok(())
    }

    fn items(&mut self, list: &List, tree: &Tree<'_>) -> Result<(), StoreError> {
        let mut after = ItemId(0);
        loop {
            let page = self.store.items(list.id, after, PAGE)?;
            let Some((newest, _)) = page.last() else {
                return self.number(Counter::Item(list.id), after.0, &format!("list {}, item {after}", list.name));
            };
            after = *newest;
            for (id, item) in page {
                self.item(list, id, &item, tree)?;
            }
        }
    }

    fn item(&mut self, list: &List, id: ItemId, item: &Item, tree: &Tree<'_>) -> Result<(), StoreError> {
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
            let Some(path) = &file.path else { continue };
            let found = tree.0.get(&(path.clone(), file.version));
            if !found.is_some_and(|version| version.item == id && version.blob == file.blob) {
                self.error(format!("{at}: the library has no `{path}` version {} of it", file.version));
            }
        }
        match self.store.ledger(item.mail_id, list.id)? {
            // One mail may be about several events, and each is an item.
            Some(entry) if entry.item == id || list.kind == Kind::Calendar => {}
            Some(entry) => self.error(format!("{at}: the ledger says that its mail is item {}", entry.item)),
            None => self.error(format!("{at}: its mail is not in the ledger")),
        }
        Ok(())
    }

    fn files(&mut self, list: &List, files: &[LibraryFile]) -> Result<(), StoreError> {
        for file in files {
            self.report.files += 1;
            for version in &file.versions {
                let at = format!("list {}, {} version {}", list.name, path(file), version.number);
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

    /// A list that is being deleted is gone before the last of its items: until then they name their blobs.
    fn leftovers(&mut self, lists: &[List]) -> Result<(), StoreError> {
        let living: HashSet<ListId> = lists.iter().map(|list| list.id).collect();
        let numbers = 1..u32::try_from(self.store.counter(Counter::List)?).unwrap_or(u32::MAX);
        for list in numbers.map(ListId).filter(|list| !living.contains(list)) {
            let mut after = ItemId(0);
            loop {
                let page = self.store.items(list, after, PAGE)?;
                let Some((newest, _)) = page.last() else { break };
                after = *newest;
                for file in page.iter().flat_map(|(_, item)| item.files()) {
                    *self.counted.entry(file.blob).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// What happened is readable, and every batch came to a sheet that adds up.
    fn journal(&mut self) -> Result<(), StoreError> {
        let mut newest = 0;
        self.store.each_journal(&mut |_, entry| {
            newest = newest.max(entry.claim.batch);
            true
        })?;
        self.number(Counter::Batch, newest, "the journal, batch")
    }

    fn sheets(&mut self) -> Result<(), StoreError> {
        let sheets = self.store.sheets(usize::MAX)?;
        if let Some(newest) = sheets.iter().map(|sheet| sheet.batch).max() {
            self.number(Counter::Batch, newest, "the history, batch")?;
        }
        for sheet in sheets.iter().filter(|sheet| !sheet.balanced || sheet.found != sheet.ended()) {
            let (found, ended) = (sheet.found, sheet.ended());
            self.error(format!("batch {}: {found} files found, {ended} accounted for", sheet.batch));
        }
        Ok(())
    }

    /// Entries of lists that were deleted stay: the ids of lists are never used again.
    fn ledger(&mut self, lists: &[List]) -> Result<(), StoreError> {
        let known: HashMap<ListId, &List> = lists.iter().map(|list| (list.id, list)).collect();
        let mut wanted = Vec::new();
        let mut newest = 0;
        self.store.each_ledger(&mut |mail, list, entry| {
            self.report.ledger += 1;
            newest = newest.max(entry.claim.batch);
            if let Some(list) = known.get(&list) {
                wanted.push((mail, *list, entry.item));
            }
            true
        })?;
        self.number(Counter::Batch, newest, "the ledger, batch")?;
        for (mail, list, item) in wanted {
            let List { id, name, kind, .. } = list;
            match self.store.item(*id, item)? {
                // Many mails may be about one event, also where none of them says anything to remember.
                Some(found) if found.mail_id == mail || *kind == Kind::Calendar => {}
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
        let (mut garbage, mut wrong) = (Vec::new(), Vec::new());
        let mut by_id: HashMap<u64, (BlobHash, u64)> = HashMap::new();
        for (hash, entry) in living {
            if let Some((other, _)) = by_id.insert(entry.id, (*hash, entry.length)) {
                wrong.push(format!("blobs {hash} and {other}: both are said to be number {}", entry.id));
            }
        }
        let mut seen = HashSet::new();
        let mut newest = 0;
        let report = &mut self.report;
        self.store.each_blob(&mut |id, bytes| {
            newest = newest.max(id);
            if let Some((hash, length)) = by_id.get(&id) {
                report.blobs += 1;
                seen.insert(id);
                if bytes.len() as u64 != *length {
                    wrong.push(format!("blob {hash}: has {} bytes, its entry says {length}", bytes.len()));
                }
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
        wrong.extend(lost.map(|(_, (hash, _))| format!("blob {hash}: its bytes are missing")));
        self.number(Counter::Blob, newest, "the blobs")?;
        for text in wrong {
            self.error(text);
        }
        Ok(garbage)
    }
}
