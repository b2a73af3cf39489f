//! What every list store promises, as one suite that each backend goes through, and a model test that compares the real store with
//! the naive one. A new backend adds one line to `suite!` and no test of its own for what the trait says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::{Counter, Group, ListStore, MemoryStore, TopicEntry, TopicQuery, Write};
use crate::model::item::{
    Attachment, BlobEntry, Discussion, FileVersion, Item, JournalEntry, LedgerEntry, LibraryFile, OutboxEntry,
};
use crate::model::list::{ItemId, Kind, List, ListId};
use crate::model::mail::{BlobHash, ClaimId, MailId};
use crate::model::outcome::Sheet;
use crate::model::settings::ListSettings;
use crate::model::thread::{Facts, Header, Key};

/// A new store, and the folder that goes away with it. The store is dropped first.
struct Made {
    store: Box<dyn ListStore>,
    _folder: Option<TempDir>,
}

fn memory() -> Made {
    Made { store: Box::new(MemoryStore::default()), _folder: None }
}

#[cfg(feature = "rocks")]
fn rocks() -> Made {
    let folder = tempfile::tempdir().unwrap();
    let store = super::RocksStore::open(folder.path()).unwrap();
    Made { store: Box::new(store), _folder: Some(folder) }
}

macro_rules! suite {
    ($($promise:ident)*) => {
        mod memory {
            $(#[test] fn $promise() { super::$promise(&super::memory); })*
        }

        #[cfg(feature = "rocks")]
        mod rocks {
            $(#[test] fn $promise() { super::$promise(&super::rocks); })*
        }
    };
}

type Make<'m> = &'m dyn Fn() -> Made;

suite! {
    a_new_store_is_empty_and_its_counters_start_at_1
    two_stores_have_two_uuids
    each_counter_counts_for_itself
    lists_come_in_the_order_of_their_ids_and_a_dropped_one_is_gone
    an_item_is_read_as_it_was_written_until_it_is_dropped
    an_item_that_was_prepared_is_read_as_any_other
    items_come_in_pages_in_order_and_no_list_sees_those_of_another
    a_file_is_found_under_every_spelling_of_its_name
    files_of_one_list_come_in_order_and_dropping_them_leaves_the_others
    dropping_files_takes_those_of_its_own_group_that_were_written_before_it
    a_blob_is_found_through_the_index_alone
    the_ledger_answers_for_one_mail_and_one_list
    the_journal_of_a_mail_comes_in_the_order_of_its_numbers
    mails_are_found_by_their_message_id_once_each
    discussions_their_members_and_their_keys_belong_to_one_list
    mails_of_a_topic_come_by_their_time_from_either_side
    an_event_is_found_by_its_uid_in_its_own_calendar
    the_outbox_comes_in_pages_in_order_until_an_entry_is_dropped
    what_is_dropped_of_a_list_leaves_the_other_lists
    sheets_come_newest_first
    the_later_write_of_a_group_wins
    what_is_staged_is_found_once_a_group_names_it_and_gone_without_one
    there_is_one_receipt_for_each_claim
    walking_ends_when_the_visitor_says_so
    a_reader_sees_whole_groups_only
}

fn a_new_store_is_empty_and_its_counters_start_at_1(make: Make) {
    let made = make();
    let contents = Contents::of(&*made.store);
    let nothing = LISTS.map(|list| Threads::of(&MemoryStore::default(), ListId(list))).into_iter().collect();
    let empty = Contents { counters: vec![1; COUNTERS.len()], threads: nothing, ..Contents::default() };
    assert_eq!(contents, empty);
    let [threads, ..] = contents.threads.as_slice() else { panic!("a list") };
    assert!(threads.discussions.iter().all(|(_, discussion, members)| discussion.is_none() && members.is_empty()));
    assert!(threads.of_items.iter().chain(&threads.keys).all(Option::is_none));
    assert!(threads.topics.iter().all(Vec::is_empty) && threads.events.iter().all(Option::is_none));
    assert_eq!(made.store.counter(Counter::Item(ListId(u32::MAX))).unwrap(), 1);
}

fn two_stores_have_two_uuids(make: Make) {
    let (one, other) = (make(), make());
    assert_eq!(one.store.uuid().len(), 36);
    assert_ne!(one.store.uuid(), other.store.uuid());
}

fn each_counter_counts_for_itself(make: Make) {
    let made = make();
    for (next, counter) in (2..).zip(COUNTERS) {
        commit(&made, vec![Write::Counter(counter, next)]);
    }
    let read: Vec<u64> = COUNTERS.iter().map(|counter| made.store.counter(*counter).unwrap()).collect();
    assert_eq!(read, (2..).take(COUNTERS.len()).collect::<Vec<_>>());
    commit(&made, vec![Write::Counter(Counter::Blob, u64::MAX)]);
    assert_eq!(made.store.counter(Counter::Blob).unwrap(), u64::MAX);
}

fn lists_come_in_the_order_of_their_ids_and_a_dropped_one_is_gone(make: Make) {
    let made = make();
    let ids = |made: &Made| made.store.lists().unwrap().iter().map(|list| list.id.0).collect::<Vec<_>>();
    commit(&made, [256, 2, 1].map(|id| Write::List(Box::new(list(id, "x")))).to_vec());
    assert_eq!(ids(&made), [1, 2, 256]);
    commit(&made, vec![Write::DropList(ListId(1)), Write::List(Box::new(list(256, "renamed")))]);
    assert_eq!(ids(&made), [2, 256]);
    assert_eq!(made.store.lists().unwrap()[1], list(256, "renamed"));
    commit(&made, vec![Write::DropList(ListId(7))]);
    assert_eq!(ids(&made), [2, 256]);
}

fn an_item_is_read_as_it_was_written_until_it_is_dropped(make: Make) {
    let made = make();
    let (mut full, empty) = (item("full"), item(""));
    full.attachments = vec![attachment("a.pdf", b"a"), attachment("b.pdf", b"b")];
    full.original = Some(attachment("full.eml", b"o"));
    full.headers = vec![0, 0xff, b'\n'];
    full.date = Some(-1);
    commit(&made, vec![write_item(1, 1, &full), write_item(1, 2, &empty)]);
    assert_eq!(made.store.item(ListId(1), ItemId(1)).unwrap(), Some(full));
    assert_eq!(made.store.item(ListId(1), ItemId(2)).unwrap().as_ref(), Some(&empty));
    assert_eq!(made.store.item(ListId(2), ItemId(1)).unwrap(), None);
    commit(&made, vec![write_item(1, 1, &empty), Write::DropItem(ListId(1), ItemId(2))]);
    assert_eq!(made.store.item(ListId(1), ItemId(1)).unwrap(), Some(empty));
    assert_eq!(made.store.item(ListId(1), ItemId(2)).unwrap(), None);
}

/// Short ones and long ones, those that pack well and those that do not.
fn an_item_that_was_prepared_is_read_as_any_other(make: Make) {
    let made = make();
    let dense: String = (0_u32..500).map(|n| hex::encode(blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
    let texts = [String::new(), "word ".repeat(20_000), dense];
    let items: Vec<Item> = texts.map(|text| Item { body_text: Some(text), ..item("x") }).into();
    for (id, item) in (1..).zip(&items) {
        let prepared = made.store.prepare(item);
        commit(&made, vec![Write::Item(ListId(1), ItemId(id), Box::new(item.clone()), prepared)]);
        commit(&made, vec![write_item(2, id, item)]);
    }
    for list in [1, 2] {
        let read = made.store.items(ListId(list), ItemId(0), 10).unwrap();
        assert!(read.iter().map(|(_, item)| item).eq(&items), "list {list}");
        assert_eq!(made.store.item(ListId(list), ItemId(2)).unwrap().as_ref(), items.get(1));
    }
}

/// Ids whose bytes begin alike or roll over: a key without a fixed length, or in the wrong byte order, mixes them up.
const LISTS: [u32; 6] = [1, 2, 256, 257, 0x0100_0000, u32::MAX];

fn items_come_in_pages_in_order_and_no_list_sees_those_of_another(make: Make) {
    const NONE: [u64; 0] = [];
    let made = make();
    let ids = [1, 2, 255, 256, 257, 65_536, u64::MAX];
    for list in LISTS {
        let writes = ids.iter().rev().map(|id| write_item(list, *id, &item(&format!("{list}/{id}"))));
        commit(&made, writes.collect());
    }
    let page = |list: u32, after: u64, limit: usize| -> Vec<u64> {
        let items = made.store.items(ListId(list), ItemId(after), limit).unwrap();
        for (id, item) in &items {
            assert_eq!(item.title.as_deref(), Some(format!("{list}/{id}").as_str()));
        }
        items.iter().map(|(id, _)| id.0).collect()
    };
    for list in LISTS {
        assert_eq!(page(list, 0, usize::MAX), ids, "list {list}");
        assert_eq!(page(list, 0, 3), [1, 2, 255]);
        assert_eq!(page(list, 255, 2), [256, 257]);
        assert_eq!(page(list, 100, 1), [255]);
        assert_eq!(page(list, 65_536, 9), [u64::MAX]);
        assert_eq!(page(list, u64::MAX, 9), NONE);
        assert_eq!(page(list, 0, 0), NONE);
    }
    assert_eq!(page(3, 0, usize::MAX), NONE);
    assert_eq!(page(0, 0, usize::MAX), NONE);
}

fn a_file_is_found_under_every_spelling_of_its_name(make: Make) {
    let made = make();
    let written = file("Über uns", "Re\u{301}sume\u{301}.DOC", 1);
    commit(&made, vec![write_file(1, &written)]);
    let found = |folder, name| made.store.file(ListId(1), folder, name).unwrap();
    for (folder, name) in [("über UNS", "résumé.doc"), ("Über uns", "RÉSUMÉ.doc"), ("u\u{308}ber uns", "Résumé.DOC")]
    {
        assert_eq!(found(folder, name).as_ref(), Some(&written), "{folder}/{name}");
    }
    assert_eq!(found("", "résumé.doc"), None);
    assert_eq!(found("über uns", "resume.doc"), None);
    let other = file("ÜBER UNS", "résumé.doc", 2);
    commit(&made, vec![write_file(1, &other)]);
    assert_eq!(made.store.files(ListId(1)).unwrap(), [other]);
}

fn files_of_one_list_come_in_order_and_dropping_them_leaves_the_others(make: Make) {
    let made = make();
    // Folder and name of "a" + "b" must not be "" + "ab" or "ab" + "".
    let places = [("", "ab"), ("", "b"), ("a", "b"), ("a", "c"), ("a b", "a"), ("ab", "a")];
    for list in LISTS {
        commit(&made, places.iter().rev().map(|(folder, name)| write_file(list, &file(folder, name, list))).collect());
    }
    let expected = |list| places.map(|(folder, name)| file(folder, name, list)).to_vec();
    for list in LISTS {
        assert_eq!(made.store.files(ListId(list)).unwrap(), expected(list), "list {list}");
    }
    for dropped in [1, 256, u32::MAX] {
        commit(&made, vec![Write::DropFiles(ListId(dropped))]);
    }
    for list in LISTS {
        let left = if [1, 256, u32::MAX].contains(&list) { vec![] } else { expected(list) };
        assert_eq!(made.store.files(ListId(list)).unwrap(), left, "list {list}");
    }
    assert_eq!(made.store.file(ListId(1), "a", "b").unwrap(), None);
}

fn dropping_files_takes_those_of_its_own_group_that_were_written_before_it(make: Make) {
    let made = make();
    let (old, before, after) = (file("", "old", 1), file("", "before", 2), file("", "after", 3));
    commit(&made, vec![write_file(1, &old)]);
    commit(&made, vec![write_file(1, &before), Write::DropFiles(ListId(1)), write_file(1, &after)]);
    assert_eq!(made.store.files(ListId(1)).unwrap(), [after]);
}

fn what_is_dropped_of_a_list_leaves_the_other_lists(make: Make) {
    let made = make();
    for list in LISTS {
        commit(&made, some_of_threads(list));
    }
    for dropped in [1, 256, u32::MAX] {
        // What the same group writes first is dropped too, and what it writes later stays.
        let mut writes = some_of_threads(dropped);
        writes.extend([Write::DropThreads(ListId(dropped)), Write::DropEvents(ListId(dropped))]);
        writes.push(Write::Event(ListId(dropped), "later".to_owned(), ItemId(9)));
        commit(&made, writes);
    }
    for list in LISTS {
        let gone = [1, 256, u32::MAX].contains(&list);
        let expected = MemoryStore::default();
        if !gone {
            expected.commit(some_of_threads(list).into()).unwrap();
        }
        assert_eq!(Threads::of(&*made.store, ListId(list)), Threads::of(&expected, ListId(list)), "list {list}");
        assert_eq!(made.store.event(ListId(list), "later").unwrap(), gone.then_some(ItemId(9)));
    }
}

fn discussions_their_members_and_their_keys_belong_to_one_list(make: Make) {
    let made = make();
    let (list, other) = (ListId(1), ListId(256));
    let joined = Discussion { moved_to: Some(300), absorbed: vec![1, u64::MAX], size: 3 };
    let members: Vec<_> = [1, 2, 255, 256, 65_536].map(|item| facts(item, &format!("{item}@x"))).to_vec();
    let mut writes = vec![Write::Discussion(list, 255, Box::new(joined.clone()))];
    writes.extend(members.iter().rev().map(|facts| Write::Member(list, 255, Box::new(facts.clone()))));
    writes.extend([write_member(list, 256, 7), write_member(list, 254, 8), write_member(other, 255, 9)]);
    writes.extend([Write::ThreadKey(list, key("a@x"), 255), Write::ThreadKey(other, key("a@x"), 1)]);
    commit(&made, writes);
    let store = &made.store;
    assert_eq!(store.discussion(list, 255).unwrap(), Some(joined));
    assert_eq!((store.discussion(list, 256).unwrap(), store.discussion(other, 255).unwrap()), (None, None));
    assert_eq!(store.members(list, 255).unwrap(), members);
    assert_eq!(store.members(other, 255).unwrap(), [facts(9, "9@x")]);
    assert_eq!(store.members(list, 1).unwrap(), []);
    assert_eq!(store.discussion_of(list, ItemId(256)).unwrap(), Some(255));
    assert_eq!(store.discussion_of(other, ItemId(9)).unwrap(), Some(255));
    assert_eq!(store.discussion_of(other, ItemId(256)).unwrap(), None);
    assert_eq!(store.thread_key(list, key("a@x")).unwrap(), Some(255));
    assert_eq!(store.thread_key(other, key("a@x")).unwrap(), Some(1));
    assert_eq!(store.thread_key(list, key("A@x")).unwrap(), None);
}

/// Times whose bytes sort wrongly unless their sign is turned.
const TIMES: [i64; 7] = [i64::MIN, -256, -1, 0, 1, 256, i64::MAX];

fn mails_of_a_topic_come_by_their_time_from_either_side(make: Make) {
    let made = make();
    let entry = |time, item| TopicEntry { time, item: ItemId(item), discussion: item * 10 };
    for list in [1, 256] {
        let of = |topic, by_topic, entry| Write::Topic(ListId(list), key(topic), by_topic, entry);
        let mut writes: Vec<_> = TIMES.iter().rev().map(|time| of("a@x", true, entry(*time, 1))).collect();
        // Two at one time, and what lies beside in the order of keys: another topic, the same one without `by_topic`.
        writes.extend([of("a@x", true, entry(0, 2)), of("a@x", false, entry(0, 3)), of("b@x", true, entry(0, 4))]);
        commit(&made, writes);
    }
    let asked = |by_topic, from, to, latest_first, limit| -> Vec<(i64, u64)> {
        let query = TopicQuery { topic: key("a@x"), by_topic, from, to, latest_first };
        let found = made.store.topics(ListId(1), query, limit).unwrap();
        assert!(found.iter().all(|found| *found == entry(found.time, found.item.0)));
        found.iter().map(|found| (found.time, found.item.0)).collect()
    };
    let all = [(i64::MIN, 1), (-256, 1), (-1, 1), (0, 1), (0, 2), (1, 1), (256, 1), (i64::MAX, 1)];
    let reversed: Vec<_> = all.iter().rev().copied().collect();
    assert_eq!(asked(true, i64::MIN, i64::MAX, false, usize::MAX), all);
    assert_eq!(asked(true, i64::MIN, i64::MAX, true, usize::MAX), reversed);
    assert_eq!(asked(true, -1, 0, false, 9), [(-1, 1), (0, 1), (0, 2)], "both ends are included");
    assert_eq!(asked(true, -1, 0, true, 2), [(0, 2), (0, 1)]);
    assert_eq!(asked(true, 2, 255, true, 1), []);
    assert_eq!(asked(true, i64::MIN, -257, true, 1), [(i64::MIN, 1)]);
    assert_eq!(asked(true, 257, i64::MAX, false, 1), [(i64::MAX, 1)]);
    assert_eq!(asked(true, 1, 0, false, 9), [], "a window that ends before it starts");
    assert_eq!(asked(true, 0, 1, false, 0), []);
    assert_eq!(asked(false, i64::MIN, i64::MAX, true, 9), [(0, 3)]);
}

fn an_event_is_found_by_its_uid_in_its_own_calendar(make: Make) {
    let made = make();
    let say = |list, uid: &str, item| Write::Event(ListId(list), uid.to_owned(), ItemId(item));
    commit(&made, vec![say(1, "u", 1), say(1, "U", 2), say(256, "u", 3), say(1, "", 4)]);
    commit(&made, vec![say(1, "U", 5)]);
    let found = |list, uid| made.store.event(ListId(list), uid).unwrap().map(|item| item.0);
    assert_eq!([found(1, "u"), found(1, "U"), found(1, ""), found(256, "u")], [Some(1), Some(5), Some(4), Some(3)]);
    assert_eq!([found(256, "U"), found(2, "u"), found(1, "v")], [None; 3]);
}

fn the_outbox_comes_in_pages_in_order_until_an_entry_is_dropped(make: Make) {
    let made = make();
    let ids = [1, 2, 255, 256, 65_536, u64::MAX];
    commit(&made, ids.iter().rev().map(|id| Write::Outbox(*id, Box::new(outbox(*id)))).collect());
    let page = |after, limit| -> Vec<u64> {
        let entries = made.store.outbox(after, limit).unwrap();
        assert!(entries.iter().all(|(id, entry)| *entry == outbox(*id)));
        entries.iter().map(|(id, _)| *id).collect()
    };
    assert_eq!(page(0, usize::MAX), ids);
    assert_eq!(page(2, 2), [255, 256]);
    assert_eq!((page(0, 0).len(), page(u64::MAX, 9).len()), (0, 0));
    commit(&made, vec![Write::DropOutbox(255), Write::DropOutbox(3)]);
    assert_eq!(page(2, 2), [256, 65_536]);
}

fn a_blob_is_found_through_the_index_alone(make: Make) {
    let made = make();
    // Nothing, a little, and enough for a file of its own where the backend has such.
    for (id, bytes) in [(1, Vec::new()), (2, b"x".to_vec()), (256, vec![7; 100_000])] {
        let hash = BlobHash::of(&bytes);
        let entry = BlobEntry { id, length: bytes.len() as u64, references: 3 };
        commit(&made, vec![Write::BlobEntry(hash, entry)]);
        assert_eq!(made.store.blob(hash).unwrap(), None, "its bytes are missing");
        commit(&made, vec![Write::Blob(id, bytes.clone().into())]);
        assert_eq!(made.store.blob(hash).unwrap(), Some(bytes));
        assert_eq!(made.store.blob_entry(hash).unwrap(), Some(entry));
    }
    let hash = BlobHash::of(b"x");
    commit(&made, vec![Write::DropBlobEntry(hash)]);
    assert_eq!((made.store.blob_entry(hash).unwrap(), made.store.blob(hash).unwrap()), (None, None));
    assert_eq!(Contents::of(&*made.store).blobs.len(), 3, "its bytes are still there: garbage");
    commit(&made, vec![Write::DropBlob(2), Write::DropBlob(99)]);
    let left: Vec<u64> = Contents::of(&*made.store).blobs.into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [1, 256]);
}

fn the_ledger_answers_for_one_mail_and_one_list(make: Make) {
    let made = make();
    for list in LISTS {
        commit(&made, vec![Write::Ledger(mail(1), ListId(list), ledger(u64::from(list)))]);
    }
    commit(&made, vec![Write::Ledger(mail(2), ListId(2), ledger(9))]);
    let expected: Vec<_> = LISTS.iter().map(|list| (ListId(*list), ledger(u64::from(*list)))).collect();
    assert_eq!(made.store.ledger_of(mail(1)).unwrap(), expected);
    assert_eq!(made.store.ledger_of(mail(3)).unwrap(), []);
    assert_eq!(made.store.ledger(mail(1), ListId(256)).unwrap(), Some(ledger(256)));
    assert_eq!(made.store.ledger(mail(1), ListId(3)).unwrap(), None);
    commit(&made, vec![Write::Ledger(mail(2), ListId(2), ledger(10))]);
    assert_eq!(made.store.ledger_of(mail(2)).unwrap(), [(ListId(2), ledger(10))]);
}

fn the_journal_of_a_mail_comes_in_the_order_of_its_numbers(make: Make) {
    let made = make();
    for number in [256, 1, 65_536, 2, 255] {
        commit(&made, vec![write_journal(mail(1), number, "refused"), write_journal(mail(2), number, "damaged")]);
    }
    commit(&made, vec![write_journal(mail(1), 2, "discarded")]);
    let texts: Vec<String> = made.store.journal_of(mail(1)).unwrap().into_iter().map(|entry| entry.text).collect();
    assert_eq!(texts, ["refused 1", "discarded 2", "refused 255", "refused 256", "refused 65536"]);
    assert_eq!(made.store.journal_of(mail(3)).unwrap(), []);
}

fn mails_are_found_by_their_message_id_once_each(make: Make) {
    let made = make();
    let say = |id: &str, n| Write::MessageId(id.to_owned(), mail(n));
    commit(&made, vec![say("a@x", 1), say("a@x", 2), say("a@x", 1), say("A@x", 3), say("", 4)]);
    commit(&made, vec![say("a@x", 2)]);
    let found = |id| made.store.mails_with(id).unwrap().into_iter().collect::<BTreeSet<_>>();
    assert_eq!(made.store.mails_with("a@x").unwrap().len(), 2);
    assert_eq!(found("a@x"), BTreeSet::from([mail(1), mail(2)]));
    assert_eq!(found("A@x"), BTreeSet::from([mail(3)]));
    assert_eq!(found(""), BTreeSet::from([mail(4)]));
    assert_eq!(found("a@"), BTreeSet::new());
}

fn sheets_come_newest_first(make: Make) {
    let made = make();
    for batch in [256, 1, 255, 2] {
        commit(&made, vec![Write::Sheet(Box::new(sheet(batch)))]);
    }
    commit(&made, vec![Write::Sheet(Box::new(Sheet { found: 99, ..sheet(255) }))]);
    let expected = [sheet(256), Sheet { found: 99, ..sheet(255) }, sheet(2), sheet(1)];
    assert_eq!(made.store.sheets(usize::MAX).unwrap(), expected);
    assert_eq!(made.store.sheets(2).unwrap(), expected[..2]);
    assert_eq!(made.store.sheets(0).unwrap(), []);
}

fn the_later_write_of_a_group_wins(make: Make) {
    let made = make();
    let writes = vec![
        Write::Counter(Counter::Batch, 5),
        Write::Counter(Counter::Batch, 4),
        write_item(1, 1, &item("first")),
        write_item(1, 1, &item("second")),
        write_item(1, 2, &item("dropped")),
        Write::DropItem(ListId(1), ItemId(2)),
        Write::DropItem(ListId(1), ItemId(3)),
        write_item(1, 3, &item("written")),
    ];
    commit(&made, writes);
    assert_eq!(made.store.counter(Counter::Batch).unwrap(), 4);
    let items = made.store.items(ListId(1), ItemId(0), 9).unwrap();
    assert_eq!(items, [(ItemId(1), item("second")), (ItemId(3), item("written"))]);
}

fn what_is_staged_is_found_once_a_group_names_it_and_gone_without_one(make: Make) {
    let made = make();
    let contents: Vec<Vec<u8>> = (0..20_u8).map(|number| vec![number; 1 << (number % 18)]).collect();
    let numbered = || contents.iter().zip(7..).map(|(bytes, id)| (id, Arc::new(bytes.clone()))).collect::<Vec<_>>();
    let forgotten = made.store.stage(numbered()).unwrap();
    drop(forgotten);
    made.store.each_blob(&mut |id, _| panic!("nothing was committed, and {id} is there")).unwrap();
    let staged = made.store.stage(numbered()).unwrap();
    let later = made.store.stage(vec![(300, Arc::new(b"later".to_vec()))]).unwrap();
    let entry = |bytes: &[u8], id| {
        let entry = BlobEntry { id, length: bytes.len() as u64, references: 1 };
        Write::BlobEntry(BlobHash::of(bytes), entry)
    };
    let mut writes: Vec<_> = contents.iter().zip(7..).map(|(bytes, id)| entry(bytes, id)).collect();
    // One on the usual path lies between them.
    writes.extend([entry(b"between", 200), Write::Blob(200, Arc::new(b"between".to_vec()))]);
    // Not in the order of their ids: two groups may overtake each other.
    made.store.commit(Group { staged: vec![later], writes: vec![entry(b"later", 300)], ..Group::default() }).unwrap();
    made.store.commit(Group { staged: vec![staged], writes, ..Group::default() }).unwrap();
    for bytes in contents.iter().map(Vec::as_slice).chain([&b"between"[..], b"later"]) {
        assert_eq!(made.store.blob(BlobHash::of(bytes)).unwrap().as_deref(), Some(bytes));
    }
    let mut ids = Vec::new();
    made.store
        .each_blob(&mut |id, _| {
            ids.push(id);
            true
        })
        .unwrap();
    assert_eq!(ids, (7..27).chain([200, 300]).collect::<Vec<_>>());
}

fn there_is_one_receipt_for_each_claim(make: Make) {
    let made = make();
    let claims: Vec<_> = [(1, 1), (1, 2), (2, 1), (1, 1)].map(|(batch, number)| ClaimId { batch, number }).to_vec();
    let receipts = made.store.commit(Group { claims: claims.clone(), ..Group::default() }).unwrap();
    assert_eq!(receipts.iter().map(super::Receipt::claim).collect::<Vec<_>>(), claims);
    assert_eq!(made.store.commit(vec![Write::Counter(Counter::Batch, 2)].into()).unwrap(), []);
    assert_eq!(made.store.commit(Group::default()).unwrap(), []);
}

fn walking_ends_when_the_visitor_says_so(make: Make) {
    let made = make();
    for n in 1..=3 {
        commit(&made, some_of_everything(n));
    }
    let visits = |walk: &dyn Fn(&mut dyn FnMut() -> bool)| {
        let mut count = 0;
        walk(&mut || {
            count += 1;
            count < 2
        });
        count
    };
    let store = &*made.store;
    assert_eq!(visits(&|more| store.each_blob(&mut |_, _| more()).unwrap()), 2);
    assert_eq!(visits(&|more| store.each_blob_entry(&mut |_, _| more()).unwrap()), 2);
    assert_eq!(visits(&|more| store.each_ledger(&mut |_, _, _| more()).unwrap()), 2);
    assert_eq!(visits(&|more| store.each_journal(&mut |_, _| more()).unwrap()), 2);
}

/// While one thread commits, another reads: one read shows one group, and what a group says first is not there without the rest.
fn a_reader_sees_whole_groups_only(make: Make) {
    const ITEMS: u64 = 20;
    let made = make();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for round in 1..=50_u64 {
                let title = round.to_string();
                let mut writes = vec![Write::Ledger(mail(round), ListId(1), ledger(round))];
                writes.extend((1..=ITEMS).map(|id| write_item(1, id, &item(&title))));
                writes.push(write_item(2, round, &item(&title)));
                commit(&made, writes);
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut round = 1;
        while !done.load(Ordering::SeqCst) {
            let items = made.store.items(ListId(1), ItemId(0), usize::MAX).unwrap();
            let titles: BTreeSet<_> = items.iter().map(|(_, item)| item.title.clone()).collect();
            assert!(titles.len() < 2 && [0, ITEMS].contains(&(items.len() as u64)), "half a group: {titles:?}");
            if made.store.ledger(mail(round), ListId(1)).unwrap().is_some() {
                assert!(made.store.item(ListId(2), ItemId(round)).unwrap().is_some(), "the end of group {round}");
                round += 1;
            }
        }
    });
    assert_eq!(made.store.items(ListId(2), ItemId(0), usize::MAX).unwrap().len(), 50);
}

#[test]
fn a_store_in_memory_has_no_backup() {
    assert!(memory().store.backup(std::path::Path::new("/nowhere")).is_err());
}

/// What only a store on a disk promises.
#[cfg(feature = "rocks")]
mod on_disk {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::super::{RocksStore, StoreError, restore};
    use super::*;

    fn filled(path: &Path) -> RocksStore {
        let store = RocksStore::open(path).unwrap();
        for n in 1..=5 {
            store.commit(some_of_everything(n).into()).unwrap();
        }
        store
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    #[test]
    fn a_store_that_is_opened_again_has_all_of_it_and_its_uuid() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let (uuid, contents) = (store.uuid().to_owned(), Contents::of(&store));
        assert!(!contents.items.is_empty() && !contents.blobs.is_empty());
        drop(store);
        let again = RocksStore::open(folder.path()).unwrap();
        assert_eq!(again.uuid(), uuid);
        assert_eq!(Contents::of(&again), contents);
    }

    #[test]
    fn one_store_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let store = RocksStore::open(folder.path()).unwrap();
        assert!(matches!(RocksStore::open(folder.path()), Err(StoreError::Open { .. })));
        drop(store);
        assert!(RocksStore::open(folder.path()).is_ok());
    }

    #[test]
    fn a_restored_backup_has_equal_contents_and_a_new_uuid() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let store = filled(&at("store"));
        let before = Contents::of(&store);
        store.backup(&at("backup")).unwrap();
        store.commit(some_of_everything(6).into()).unwrap();
        restore(&at("backup"), &at("copy")).unwrap();
        let copy = RocksStore::open(&at("copy")).unwrap();
        assert_eq!(Contents::of(&copy), before);
        assert_ne!(copy.uuid(), store.uuid());
        // One backup may be restored many times, and no two copies are one server.
        restore(&at("backup"), &at("third")).unwrap();
        assert_ne!(RocksStore::open(&at("third")).unwrap().uuid(), copy.uuid());
        assert!(store.backup(&at("backup")).is_err(), "a backup never replaces another");
    }

    #[test]
    fn a_backup_made_while_mail_is_stored_holds_whole_groups() {
        let folder = tempfile::tempdir().unwrap();
        let store = RocksStore::open(&folder.path().join("store")).unwrap();
        let done = AtomicBool::new(false);
        let mut backups = 0;
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for n in 1..=60 {
                    store.commit(some_of_everything(n).into()).unwrap();
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) && backups < 4 {
                store.backup(&folder.path().join(format!("backup{backups}"))).unwrap();
                backups += 1;
            }
        });
        for number in 0..backups {
            let at = |name: &str| folder.path().join(format!("{name}{number}"));
            restore(&at("backup"), &at("copy")).unwrap();
            assert_whole_groups(&at("copy"));
        }
    }

    #[test]
    fn restore_refuses_what_is_a_store_already_and_what_is_no_backup() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let store = filled(&at("store"));
        store.backup(&at("backup")).unwrap();
        let before = Contents::of(&store);
        assert!(restore(&at("backup"), &at("store")).unwrap_err().to_string().contains("exists"));
        assert_eq!(Contents::of(&store), before);
        drop(store);
        assert!(restore(&at("backup"), &at("store")).is_err(), "also while nobody has it open");
        fs::create_dir(at("empty")).unwrap();
        for no_backup in ["empty", "missing"] {
            let error = restore(&at(no_backup), &at("new")).unwrap_err().to_string();
            assert!(error.contains("is not a backup"), "{error}");
            assert!(!at("new").join("db").exists(), "a restore that was refused leaves no store");
        }
    }

    /// A crash may cut the log anywhere behind the last sync: what is found again is a row of whole groups from the first on.
    #[test]
    fn a_log_cut_at_any_place_gives_whole_groups() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(&folder.path().join("store"));
        let taken = folder.path().join("taken");
        copy(&folder.path().join("store/db"), &taken);
        drop(store);
        let logs = fs::read_dir(&taken).unwrap().map(|entry| entry.unwrap().path());
        let log: PathBuf = logs.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap();
        let length = fs::metadata(&log).unwrap().len();
        let cuts = 24;
        let mut seen = BTreeSet::new();
        for cut in 0..=cuts {
            let target = folder.path().join(format!("cut{cut}"));
            fs::create_dir(&target).unwrap();
            copy(&taken, &target.join("db"));
            let copied =
                fs::File::options().write(true).open(target.join("db").join(log.file_name().unwrap())).unwrap();
            copied.set_len(length * cut / cuts).unwrap();
            drop(copied);
            seen.insert(assert_whole_groups(&target));
        }
        assert_eq!(seen, (0..=5).collect(), "each number of groups is found after some cut");
    }

    /// Each of the groups 1, 2, ... is there whole, up to some number, which is answered.
    fn assert_whole_groups(store: &Path) -> u64 {
        let store = RocksStore::open(store).unwrap();
        let groups = store.counter(Counter::Batch).unwrap() - 1;
        let expected = MemoryStore::default();
        (1..=groups).for_each(|n| drop(expected.commit(some_of_everything(n).into()).unwrap()));
        assert_eq!(Contents::of(&store), Contents::of(&expected));
        groups
    }
}

/// Random groups of writes on the real store and on the naive one: every read answers the same.
#[cfg(feature = "rocks")]
mod model {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn any_list() -> impl Strategy<Value = ListId> {
        select(&LISTS[..]).prop_map(ListId)
    }

    fn any_mail() -> impl Strategy<Value = MailId> {
        (1..=MAILS).prop_map(mail)
    }

    fn any_counter() -> impl Strategy<Value = Counter> {
        prop_oneof![select(&COUNTERS[..]), any_list().prop_map(Counter::Item)]
    }

    fn any_blob() -> impl Strategy<Value = Vec<u8>> {
        (0_u8..4, select(&[0, 1, 5_000][..])).prop_map(|(byte, length)| vec![byte; length])
    }

    fn any_file() -> impl Strategy<Value = LibraryFile> {
        let folder = select(&["", "a", "A", "a b", "ab", "ß"][..]);
        let name = select(&["a", "ab", "A.txt", "a.TXT", "σ", "ς", "e\u{301}", "é", "ǅ"][..]);
        (folder, name, 1_u32..9).prop_map(|(folder, name, version)| file(folder, name, version))
    }

    fn any_item() -> impl Strategy<Value = Item> {
        let names = prop::collection::vec("[a-z]{1,3}", 0..3);
        (".{0,3}", names, any::<Option<i64>>(), prop::collection::vec(any::<u8>(), 0..5)).prop_map(
            |(title, names, date, headers)| {
                let attachments = names.iter().map(|name| attachment(name, name.as_bytes())).collect();
                Item { date, headers, attachments, ..item(&title) }
            },
        )
    }

    fn any_write() -> impl Strategy<Value = Write> {
        let item_id = || select(&ITEM_IDS[..]);
        let discussion_id = || select(&DISCUSSIONS[..]);
        let uid = || select(&MESSAGE_IDS[..]);
        let thread_key = || select(&MESSAGE_IDS[1..]).prop_map(key);
        let blob_id = || select(&[1, 2, 255, 256][..]);
        let entry = (blob_id(), any::<u64>(), any::<u64>()).prop_map(|(id, length, references)| BlobEntry {
            id,
            length,
            references,
        });
        prop_oneof![
            (any_list(), "[a-z]{1,3}").prop_map(|(id, name)| Write::List(Box::new(list(id.0, &name)))),
            any_list().prop_map(Write::DropList),
            (any_counter(), any::<u64>()).prop_map(|(counter, next)| Write::Counter(counter, next)),
            (any_list(), item_id(), any_item()).prop_map(|(list, id, item)| write_item(list.0, id, &item)),
            (any_list(), item_id()).prop_map(|(list, id)| Write::DropItem(list, ItemId(id))),
            (any_list(), any_file()).prop_map(|(list, file)| write_file(list.0, &file)),
            any_list().prop_map(Write::DropFiles),
            (blob_id(), any_blob()).prop_map(|(id, bytes)| Write::Blob(id, bytes.into())),
            blob_id().prop_map(Write::DropBlob),
            (any_blob(), entry).prop_map(|(bytes, entry)| Write::BlobEntry(BlobHash::of(&bytes), entry)),
            any_blob().prop_map(|bytes| Write::DropBlobEntry(BlobHash::of(&bytes))),
            (any_mail(), any_list(), any::<u64>()).prop_map(|(mail, list, n)| Write::Ledger(mail, list, ledger(n))),
            (any_mail(), any::<u64>(), ".{0,3}").prop_map(|(mail, number, word)| write_journal(mail, number, &word)),
            (select(&MESSAGE_IDS[..]), any_mail()).prop_map(|(id, mail)| Write::MessageId(id.to_owned(), mail)),
            (any_list(), discussion_id(), any::<Option<u64>>(), any::<u64>()).prop_map(|(list, id, moved_to, size)| {
                Write::Discussion(list, id, Box::new(Discussion { moved_to, absorbed: vec![size], size }))
            }),
            (any_list(), discussion_id(), item_id()).prop_map(|(list, id, item)| write_member(list, id, item)),
            (any_list(), thread_key(), discussion_id()).prop_map(|(list, key, id)| Write::ThreadKey(list, key, id)),
            (any_list(), thread_key(), any::<bool>(), select(&TIMES[..]), item_id(), discussion_id()).prop_map(
                |(list, topic, by_topic, time, item, discussion)| {
                    Write::Topic(list, topic, by_topic, TopicEntry { time, item: ItemId(item), discussion })
                }
            ),
            any_list().prop_map(Write::DropThreads),
            (any_list(), uid(), item_id()).prop_map(|(list, uid, id)| Write::Event(list, uid.to_owned(), ItemId(id))),
            any_list().prop_map(Write::DropEvents),
            (item_id(), any::<u64>()).prop_map(|(id, n)| Write::Outbox(id, Box::new(outbox(n)))),
            item_id().prop_map(Write::DropOutbox),
            (1_u64..300, any::<u64>())
                .prop_map(|(batch, found)| Write::Sheet(Box::new(Sheet { found, ..sheet(batch) }))),
        ]
    }

    proptest! {
        // A store on a disk is opened for each case.
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_store_on_disk_and_the_one_in_memory_are_the_same(
            groups in prop::collection::vec(prop::collection::vec(any_write(), 0..12), 1..12),
        ) {
            let (real, naive) = (rocks(), memory());
            for writes in groups {
                commit(&real, writes.clone());
                commit(&naive, writes);
                prop_assert_eq!(Contents::of(&*real.store), Contents::of(&*naive.store));
            }
        }
    }
}

/// Everything that a store of these tests can be asked.
#[derive(Debug, Default, PartialEq)]
struct Contents {
    lists: Vec<List>,
    counters: Vec<u64>,
    items: Vec<(ListId, ItemId, Item)>,
    files: Vec<(ListId, LibraryFile)>,
    blobs: Vec<(u64, Vec<u8>)>,
    blob_index: Vec<(BlobHash, BlobEntry, Option<Vec<u8>>)>,
    ledger: Vec<(MailId, ListId, LedgerEntry)>,
    journal: Vec<(MailId, JournalEntry)>,
    message_ids: Vec<(&'static str, MailId)>,
    threads: Vec<Threads>,
    outbox: Vec<(u64, OutboxEntry)>,
    sheets: Vec<Sheet>,
}

/// What lies in the threads and events of one list.
#[derive(Debug, Default, PartialEq)]
struct Threads {
    discussions: Vec<(u64, Option<Discussion>, Vec<Facts>)>,
    of_items: Vec<Option<u64>>,
    keys: Vec<Option<u64>>,
    topics: Vec<Vec<TopicEntry>>,
    events: Vec<Option<ItemId>>,
}

impl Threads {
    fn of(store: &dyn ListStore, list: ListId) -> Self {
        let discussions =
            DISCUSSIONS.iter().map(|id| (*id, store.discussion(list, *id).unwrap(), store.members(list, *id).unwrap()));
        let queries = MESSAGE_IDS.iter().skip(1).flat_map(|topic| {
            let all =
                TopicQuery { topic: key(topic), by_topic: true, from: i64::MIN, to: i64::MAX, latest_first: false };
            let some = TopicQuery { from: -256, to: 1, ..all };
            [all, some]
                .into_iter()
                .flat_map(|query| [query, TopicQuery { by_topic: false, latest_first: true, ..query }])
        });
        Self {
            discussions: discussions.collect(),
            of_items: ITEM_IDS.iter().map(|item| store.discussion_of(list, ItemId(*item)).unwrap()).collect(),
            keys: MESSAGE_IDS.iter().skip(1).map(|id| store.thread_key(list, key(id)).unwrap()).collect(),
            topics: queries
                .flat_map(|query| [1, usize::MAX].map(|limit| store.topics(list, query, limit).unwrap()))
                .collect(),
            events: MESSAGE_IDS.iter().map(|uid| store.event(list, uid).unwrap()).collect(),
        }
    }
}

const DISCUSSIONS: [u64; 4] = [1, 255, 256, u64::MAX];
const ITEM_IDS: [u64; 5] = [1, 2, 255, 256, u64::MAX];
const COUNTERS: [Counter; 10] = [
    Counter::Batch,
    Counter::List,
    Counter::Blob,
    Counter::Journal,
    Counter::Item(ListId(1)),
    Counter::Item(ListId(256)),
    Counter::Item(ListId(0x0100_0000)),
    Counter::Outbox,
    Counter::Discussion(ListId(1)),
    Counter::Discussion(ListId(256)),
];
const MAILS: u64 = 5;
const MESSAGE_IDS: [&str; 4] = ["", "a@x", "A@x", "b@x"];

impl Contents {
    fn of(store: &dyn ListStore) -> Self {
        let mut contents = Self { lists: store.lists().unwrap(), ..Self::default() };
        contents.counters = COUNTERS.iter().map(|counter| store.counter(*counter).unwrap()).collect();
        contents.sheets = store.sheets(usize::MAX).unwrap();
        contents.outbox = store.outbox(0, usize::MAX).unwrap();
        contents.threads = LISTS.iter().map(|list| Threads::of(store, ListId(*list))).collect();
        for list in LISTS.map(ListId) {
            // In small pages, so that their edges are tried too.
            let mut after = ItemId(0);
            loop {
                let page = store.items(list, after, 2).unwrap();
                let Some((last, _)) = page.last() else { break };
                after = *last;
                contents.items.extend(page.into_iter().map(|(id, item)| (list, id, item)));
            }
            contents.files.extend(store.files(list).unwrap().into_iter().map(|file| (list, file)));
        }
        for (list, id, item) in &contents.items {
            assert_eq!(store.item(*list, *id).unwrap().as_ref(), Some(item), "alone and in its page");
        }
        for (list, file) in &contents.files {
            assert_eq!(
                store.file(*list, &file.folder, &file.name).unwrap().as_ref(),
                Some(file),
                "alone and among all"
            );
        }
        for id in MESSAGE_IDS {
            contents.message_ids.extend(store.mails_with(id).unwrap().into_iter().map(|mail| (id, mail)));
        }
        contents.walk(store);
        contents
    }

    fn walk(&mut self, store: &dyn ListStore) {
        store
            .each_blob(&mut |id, bytes| {
                self.blobs.push((id, bytes.to_vec()));
                true
            })
            .unwrap();
        store
            .each_blob_entry(&mut |hash, entry| {
                self.blob_index.push((hash, entry, None));
                true
            })
            .unwrap();
        for (hash, entry, bytes) in &mut self.blob_index {
            *bytes = store.blob(*hash).unwrap();
            assert_eq!(store.blob_entry(*hash).unwrap(), Some(*entry), "alone and among all");
        }
        store
            .each_ledger(&mut |mail, list, entry| {
                self.ledger.push((mail, list, entry));
                true
            })
            .unwrap();
        store
            .each_journal(&mut |mail, entry| {
                self.journal.push((mail, entry));
                true
            })
            .unwrap();
        let mails: BTreeSet<MailId> =
            self.ledger.iter().map(|entry| entry.0).chain(self.journal.iter().map(|entry| entry.0)).collect();
        let alone: Vec<_> = mails.iter().flat_map(|mail| store.ledger_of(*mail).unwrap()).collect();
        assert_eq!(alone, self.ledger.iter().map(|(_, list, entry)| (*list, *entry)).collect::<Vec<_>>());
        let alone: Vec<_> = mails.iter().flat_map(|mail| store.journal_of(*mail).unwrap()).collect();
        assert_eq!(alone, self.journal.iter().map(|(_, entry)| entry.clone()).collect::<Vec<_>>());
    }
}

/// One group that touches every table. Group `n` sets the counter of batches to `n + 1`.
fn some_of_everything(n: u64) -> Vec<Write> {
    let bytes = vec![u8::try_from(n % 251).unwrap(); 6_000];
    let hash = BlobHash::of(&bytes);
    let list_id = LISTS[usize::try_from(n).unwrap() % LISTS.len()];
    let mut stored = item(&format!("item {n}"));
    stored.attachments.push(attachment("a.bin", &bytes));
    vec![
        Write::List(Box::new(list(list_id, "x"))),
        Write::Ledger(mail(n), ListId(list_id), ledger(n)),
        write_item(list_id, n, &stored),
        write_file(list_id, &file("f", &format!("{n}.bin"), 1)),
        Write::Blob(n, bytes.into()),
        Write::BlobEntry(hash, BlobEntry { id: n, length: 6_000, references: 1 }),
        write_journal(mail(n), n, "duplicate"),
        Write::MessageId("a@x".to_owned(), mail(n)),
        Write::Outbox(n, Box::new(outbox(n))),
        Write::Event(ListId(list_id), "a@x".to_owned(), ItemId(n)),
        write_member(ListId(list_id), 255, n),
        Write::Sheet(Box::new(sheet(n))),
        Write::Counter(Counter::Batch, n + 1),
    ]
}

fn some_of_threads(list: u32) -> Vec<Write> {
    let list = ListId(list);
    vec![
        Write::Discussion(list, 1, Box::new(Discussion { size: 2, ..Discussion::default() })),
        Write::Discussion(list, u64::MAX, Box::new(Discussion { moved_to: Some(1), ..Discussion::default() })),
        write_member(list, 1, 1),
        write_member(list, u64::MAX, 2),
        Write::ThreadKey(list, key("a@x"), 1),
        Write::ThreadKey(list, key("b@x"), u64::MAX),
        Write::Topic(list, key("a@x"), true, TopicEntry { time: -1, item: ItemId(1), discussion: 1 }),
        Write::Topic(list, key("b@x"), false, TopicEntry { time: 1, item: ItemId(2), discussion: u64::MAX }),
        Write::Event(list, "a@x".to_owned(), ItemId(1)),
        Write::Event(list, "A@x".to_owned(), ItemId(2)),
        Write::Event(list, "b@x".to_owned(), ItemId(3)),
    ]
}

fn key(id: &str) -> Key {
    Key::of_id(id).unwrap()
}

fn facts(item: u64, id: &str) -> Facts {
    let header = Header { message_id: Some(id), date: Some(-1), subject: Some("Re: x"), ..Header::default() };
    Facts::of(ItemId(item), mail(item), &header, 0)
}

fn write_member(list: ListId, discussion: u64, item: u64) -> Write {
    Write::Member(list, discussion, Box::new(facts(item, &format!("{item}@x"))))
}

fn outbox(n: u64) -> OutboxEntry {
    OutboxEntry {
        list: ListId(1),
        item: ItemId(n),
        url: "https://hook.example/".to_owned(),
        attempts: 3,
        next: -1,
        created: 0,
        mail: mail(n),
        claim: ClaimId { batch: 1, number: n },
    }
}

fn commit(made: &Made, writes: Vec<Write>) {
    made.store.commit(writes.into()).unwrap();
}

fn mail(n: u64) -> MailId {
    MailId::of(&n.to_le_bytes())
}

fn list(id: u32, name: &str) -> List {
    let settings = ListSettings { address: format!("{name}{id}"), ..ListSettings::default() };
    List { id: ListId(id), name: name.to_owned(), kind: Kind::Announcements, settings }
}

fn item(title: &str) -> Item {
    Item {
        source: "x.eml".to_owned(),
        title: Some(title.to_owned()),
        from: None,
        sender: Some("ann@a.example".to_owned()),
        to: vec!["news@l.example".to_owned()],
        cc: Vec::new(),
        date: None,
        received: 0,
        message_id: None,
        in_reply_to: None,
        references: Vec::new(),
        body_text: None,
        body_html: None,
        headers: Vec::new(),
        mail_id: MailId::of(title.as_bytes()),
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

fn attachment(name: &str, bytes: &[u8]) -> Attachment {
    Attachment {
        name: name.to_owned(),
        original_name: None,
        path: None,
        content_type: "application/pdf".to_owned(),
        size: bytes.len() as u64,
        sha256: [7; 32],
        blob: BlobHash::of(bytes),
        inline: false,
        content_id: None,
        version: 1,
    }
}

fn file(folder: &str, name: &str, number: u32) -> LibraryFile {
    let version = FileVersion {
        number,
        item: ItemId(u64::from(number)),
        blob: BlobHash::of(name.as_bytes()),
        size: 1,
        content_type: "text/plain".to_owned(),
    };
    LibraryFile { folder: folder.to_owned(), name: name.to_owned(), versions: vec![version] }
}

const fn ledger(n: u64) -> LedgerEntry {
    LedgerEntry { claim: ClaimId { batch: n, number: 1 }, item: ItemId(n), time: -1 }
}

fn sheet(batch: u64) -> Sheet {
    Sheet { batch, server: "a".to_owned(), elapsed_s: 1.5, found: 2, ..Sheet::default() }
}

fn write_item(list: u32, id: u64, item: &Item) -> Write {
    Write::Item(ListId(list), ItemId(id), Box::new(item.clone()), None)
}

fn write_file(list: u32, file: &LibraryFile) -> Write {
    Write::File(ListId(list), Box::new(file.clone()))
}

fn write_journal(mail: MailId, number: u64, outcome: &str) -> Write {
    let entry = JournalEntry {
        claim: ClaimId { batch: 1, number },
        time: 0,
        file: "x.eml".to_owned(),
        outcome: outcome.to_owned(),
        reason: None,
        text: format!("{outcome} {number}"),
        sender: None,
        recipient: Some("news@l.example".to_owned()),
        message_id: None,
        list: Some(ListId(1)),
    };
    Write::Journal(mail, number, Box::new(entry))
}
