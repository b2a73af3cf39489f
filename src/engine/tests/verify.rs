//! A store broken in each way there is: verify sees it, says where, and repairs nothing but garbage.

use std::sync::Arc;

use super::{Server, folder, letter, run};
use crate::model::item::BlobEntry;
use crate::model::list::{ItemId, Kind, ListId};
use crate::model::mail::{BlobBytes, BlobHash, MailId};
use crate::model::outcome::Sheet;
use crate::store::{Counter, ListStore, Report, Write};

const NEWS: ListId = ListId(1);
const DOCS: ListId = ListId(2);
const FIRST: ItemId = ItemId(1);

struct Sound {
    _folder: tempfile::TempDir,
    server: Server,
}

fn sound() -> Sound {
    let folder = folder();
    let server = Server::new(folder.path(), "a");
    server.list("news", Kind::Announcements, |list| list.save_original = true);
    server.list("docs", Kind::DocumentLibrary, |_| ());
    for subject in ["first", "second"] {
        server.put(format!("{subject}.eml"), letter(subject, &["news", "docs"], &[("report.txt", subject)]));
    }
    run(&server.mill());
    let sound = Sound { _folder: folder, server };
    let report = sound.verify(false);
    assert!(report.sound && report.garbage == 0, "{report:?}");
    assert_eq!((report.lists, report.items, report.files, report.blobs, report.ledger), (2, 4, 2, 4, 4));
    sound
}

impl Sound {
    fn store(&self) -> &dyn ListStore {
        &*self.server.store.inner
    }

    fn breaks(&self, writes: impl Into<Vec<Write>>) {
        self.store().commit(writes.into().into()).unwrap();
    }

    fn verify(&self, repair: bool) -> Report {
        self.server.mill().verify(repair).unwrap()
    }

    /// A blob that an item names.
    fn blob(&self) -> (BlobHash, BlobEntry) {
        let hash = self.store().item(DOCS, FIRST).unwrap().unwrap().attachments[0].blob;
        (hash, self.store().blob_entry(hash).unwrap().unwrap())
    }
}

/// Breaks a sound store, and expects this to be said of it, and repair to leave it alone.
#[track_caller]
fn is_found(how: impl FnOnce(&Sound) -> Vec<Write>, said: &str) {
    let store = sound();
    store.breaks(how(&store));
    let report = store.verify(false);
    assert!(!report.sound, "{said}");
    assert!(report.errors.iter().any(|error| error.contains(said)), "{said}: {:?}", report.errors);
    let again = store.verify(true);
    assert!(!again.repaired);
    assert_eq!(again, report, "a store that is not sound is left as it is");
}

#[test]
fn an_item_that_is_gone_or_another_is_found() {
    is_found(|_| vec![Write::DropItem(DOCS, FIRST)], "which is missing");
    is_found(|_| vec![Write::DropItem(DOCS, FIRST)], "item 1 does not name it");
    is_found(|_| vec![Write::DropItem(NEWS, FIRST)], "1 references, its entry says 2");
    let other = |store: &Sound| {
        let mut item = store.store().item(NEWS, FIRST).unwrap().unwrap();
        item.mail_id = MailId::of(b"another");
        vec![Write::Item(NEWS, FIRST, Box::new(item), None)]
    };
    is_found(other, "and it is another");
    is_found(other, "its mail is not in the ledger");
}

#[test]
fn an_item_nobody_delivered_is_found() {
    let copied = |store: &Sound| {
        let item = store.store().item(NEWS, FIRST).unwrap().unwrap();
        vec![Write::Item(NEWS, ItemId(3), Box::new(item), None), Write::Counter(Counter::Item(NEWS), 4)]
    };
    is_found(copied, "item 3: the ledger says that its mail is item 1");
}

#[test]
fn a_ledger_that_names_another_item_is_found() {
    let moved = |store: &Sound| {
        let mail = store.store().item(NEWS, FIRST).unwrap().unwrap().mail_id;
        let entry = store.store().ledger(mail, NEWS).unwrap().unwrap();
        vec![Write::Ledger(mail, NEWS, crate::model::item::LedgerEntry { item: ItemId(2), ..entry })]
    };
    is_found(moved, "the ledger says that its mail is item 2");
    let invented = |store: &Sound| {
        let mail = store.store().item(NEWS, FIRST).unwrap().unwrap().mail_id;
        let entry = store.store().ledger(mail, NEWS).unwrap().unwrap();
        let entry = crate::model::item::LedgerEntry { item: ItemId(77), ..entry };
        vec![Write::Ledger(MailId::of(b"never"), NEWS, entry)]
    };
    is_found(invented, "as item 77, which is missing");
}

#[test]
fn bytes_that_are_gone_or_changed_are_found() {
    is_found(|store| vec![Write::DropBlob(store.blob().1.id)], "its bytes are missing");
    is_found(|store| vec![Write::DropBlobEntry(store.blob().0)], "the bytes of `report.txt` are missing");
    is_found(|store| vec![Write::Blob(store.blob().1.id, Arc::new(b"fir5t".to_vec()))], "its bytes have another hash");
    is_found(|store| vec![Write::Blob(store.blob().1.id, Arc::new(b"f".to_vec()))], "has 1 bytes, its entry says");
}

#[test]
fn an_index_of_bytes_that_is_wrong_is_found() {
    let changed = |change: fn(&mut BlobEntry)| {
        move |store: &Sound| {
            let (hash, mut entry) = store.blob();
            change(&mut entry);
            vec![Write::BlobEntry(hash, entry)]
        }
    };
    is_found(changed(|entry| entry.references += 1), "2 references, its entry says 3");
    is_found(changed(|entry| entry.references = 0), "2 references, its entry says 0");
    is_found(changed(|entry| entry.length = 7), "`report.txt` has 7 bytes, its item says");
    is_found(changed(|entry| entry.id = 99), "its bytes are missing");
    is_found(
        |store| {
            let mut entries = Vec::new();
            store
                .store()
                .each_blob_entry(&mut |hash, entry| {
                    entries.push((hash, entry));
                    true
                })
                .unwrap();
            vec![Write::BlobEntry(entries[0].0, BlobEntry { id: entries[1].1.id, ..entries[0].1 })]
        },
        "both are said to be number",
    );
}

#[test]
fn a_library_whose_files_and_items_disagree_is_found() {
    is_found(|_| vec![Write::DropFiles(DOCS)], "the library has no `report.txt` version 1 of it");
    let moved = |store: &Sound| {
        let mut file = store.store().file(DOCS, "", "report.txt").unwrap().unwrap();
        file.versions[0].item = ItemId(2);
        vec![Write::File(DOCS, Box::new(file))]
    };
    is_found(moved, "report.txt version 1: item 2 does not name it");
    let lost = |store: &Sound| {
        let mut file = store.store().file(DOCS, "", "report.txt").unwrap().unwrap();
        file.versions[0].blob = BlobHash::of(b"never");
        vec![Write::File(DOCS, Box::new(file))]
    };
    is_found(lost, "report.txt version 1: its bytes are missing");
}

#[test]
fn a_counter_that_would_overwrite_something_is_found() {
    is_found(|_| vec![Write::Counter(Counter::Item(NEWS), 2)], "list news, item 2: has the number 2");
    is_found(|_| vec![Write::Counter(Counter::List, 2)], "list docs: has the number 2");
    is_found(|_| vec![Write::Counter(Counter::Blob, 1)], "the blobs: has the number 4");
    is_found(|_| vec![Write::Counter(Counter::Batch, 1)], "the ledger, batch: has the number 1");
    is_found(|_| vec![Write::Counter(Counter::Batch, 1)], "the history, batch: has the number 1");
}

#[test]
fn a_sheet_that_does_not_add_up_is_found() {
    let sheet = Sheet { batch: 1, found: 3, delivered: 2, balanced: true, ..Sheet::default() };
    is_found(|_| vec![Write::Sheet(Box::new(sheet))], "batch 1: 3 files found, 2 accounted for");
}

#[test]
fn garbage_is_no_error_and_repair_removes_it_and_nothing_else() {
    let store = sound();
    let before = store.server.account();
    let forgotten: BlobBytes = Arc::new(b"forgotten".to_vec());
    let entry = BlobEntry { id: 51, length: 9, references: 0 };
    store.breaks(vec![
        Write::Blob(50, Arc::new(b"nobody names it".to_vec())),
        Write::Blob(51, Arc::clone(&forgotten)),
        Write::BlobEntry(BlobHash::of(&forgotten), entry),
        Write::Counter(Counter::Blob, 52),
    ]);
    let report = store.verify(false);
    assert!(report.sound && !report.repaired);
    assert_eq!((report.garbage, report.garbage_bytes), (2, 24));
    assert!(store.verify(true).repaired);
    assert_eq!(store.verify(false).garbage, 0);
    assert_eq!(store.store().blob_entry(BlobHash::of(&forgotten)).unwrap(), None);
    assert_eq!(store.server.account(), before);
}
