//! Any row of actions on the memory store, through the committer, against a model that knows only sets and sums: each mail is in each
//! list once, each name is one file, each blob is counted as often as items name it.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use arbitrary::Arbitrary;
use mailmill::directory::Current;
use mailmill::lists::Lists;
use mailmill::model::item::{Attachment, Item};
use mailmill::model::list::{ItemId, Kind, ListId};
use mailmill::model::mail::{BlobHash, ClaimId, MailId};
use mailmill::model::names::fold;
use mailmill::model::outcome::{End, Reason};
use mailmill::model::plan::{Blob, Decided, Delivery, Failure, Plan};
use mailmill::model::settings::ListSettings;
use mailmill::pipeline::commit::{Built, GroupBuilder};
use mailmill::store::{Counter, ListStore, MemoryStore, Receipt, Write, verify};

#[derive(Arbitrary, Debug)]
pub enum Action {
    /// These mails in one group.
    Commit(Vec<Letter>),
    /// A list of this number, if there is none.
    Create(u8),
    Delete(u8),
    /// What `verify --repair` does.
    Repair,
}

#[derive(Arbitrary, Debug)]
pub struct Letter {
    /// Mails of one number are the same bytes.
    number: u8,
    claim: u8,
    wishes: Vec<Wish>,
    fails: bool,
}

#[derive(Arbitrary, Debug)]
struct Wish {
    list: u8,
    folder: u8,
    library: bool,
    overwrite: bool,
    files: Vec<(u8, u8)>,
    original: bool,
}

const LISTS: u8 = 4;
const NAMES: [&str; 8] = ["a.txt", "A.TXT", "a (2).txt", "a (3).txt", "b", "B (2)", "\u{e9}", "e\u{301}"];
const FOLDERS: [&str; 4] = ["", "f", "F", "a"];

/// Only what a plain look at the actions says.
#[derive(Default)]
struct Model {
    /// By number, the id of a list that is there.
    lists: HashMap<u8, ListId>,
    used: HashSet<ListId>,
    delivered: HashMap<(MailId, ListId), (ClaimId, ItemId)>,
    items: HashMap<ListId, u64>,
    references: HashMap<(ListId, BlobHash), u64>,
    /// Versions by list and path, folded.
    files: HashMap<(ListId, String), usize>,
}

pub fn check(actions: Vec<Action>) {
    let store = MemoryStore::default();
    let current = Current::default();
    let writer = Mutex::new(());
    let lists = Lists { store: &store, current: &current, writer: &writer, accepted_domains: &[], address_prefix: "" };
    let mut model = Model::default();
    // The batch that the claims below carry.
    store.commit(vec![Write::Counter(Counter::Batch, 2)].into()).expect("memory does not fail");
    for action in actions {
        match action {
            Action::Commit(letters) => commit(&store, &current, &mut model, &letters),
            Action::Create(number) => create(&lists, &mut model, number % LISTS),
            Action::Delete(number) => delete(&lists, &mut model, number % LISTS),
            Action::Repair => repair(&store),
        }
        assert_agrees(&store, &model);
    }
    repair(&store);
    assert_agrees(&store, &model);
}

fn create(lists: &Lists<'_>, model: &mut Model, number: u8) {
    let settings = ListSettings { address: format!("l{number}"), ..ListSettings::default() };
    let made = lists.create(&format!("L{number}"), Kind::DocumentLibrary, settings);
    assert_eq!(made.is_ok(), !model.lists.contains_key(&number), "a name is given once");
    if let Ok(list) = made {
        assert!(model.used.insert(list.id), "the id of a list is never used again");
        model.lists.insert(number, list.id);
    }
}

fn delete(lists: &Lists<'_>, model: &mut Model, number: u8) {
    let gone = model.lists.remove(&number);
    assert_eq!(lists.delete(&format!("L{number}")).is_ok(), gone.is_some());
    if let Some(id) = gone {
        model.items.remove(&id);
        model.references.retain(|(list, _), _| *list != id);
        model.files.retain(|(list, _), _| *list != id);
    }
}

fn repair(store: &MemoryStore) {
    let (report, garbage) = verify(store).expect("memory does not fail");
    assert!(report.sound, "{:?}", report.errors);
    store.commit(garbage.into()).expect("memory does not fail");
    let (report, garbage) = verify(store).expect("memory does not fail");
    assert!(report.sound && garbage.is_empty(), "{:?}", report.errors);
}

fn commit(store: &MemoryStore, current: &Current, model: &mut Model, letters: &[Letter]) {
    let directory = current.get();
    let mut builder = GroupBuilder::new(store, 0);
    let plans: Vec<Plan> = letters.iter().map(|letter| plan(letter, model)).collect();
    for plan in &plans {
        builder.add(plan.clone(), &directory).expect("memory does not fail");
    }
    let Built { group, decided, .. } = builder.finish();
    let receipts = store.commit(group).expect("memory does not fail");
    let claims: Vec<ClaimId> = plans.iter().map(|plan| plan.claim).collect();
    assert_eq!(receipts.iter().map(Receipt::claim).collect::<Vec<_>>(), claims, "one receipt for each claim");
    assert_eq!(decided.len(), plans.len());
    for (plan, decided) in plans.iter().zip(&decided) {
        model.expect(plan, decided);
    }
}

impl Model {
    fn expect(&mut self, plan: &Plan, decided: &Decided) {
        let mail = plan.mail_id.expect("made with one");
        let (mut new, mut settled, mut duplicate, mut gone) = (0, 0, 0, 0);
        let mut landed = decided.landed.iter();
        for delivery in &plan.deliveries {
            if !self.lists.values().any(|id| *id == delivery.list) {
                gone += 1;
                continue;
            }
            let landed = landed.next().expect("what is delivered lands");
            assert_eq!(landed.list, delivery.list);
            if let Some((claim, item)) = self.delivered.get(&(mail, delivery.list)) {
                assert_eq!((landed.item, landed.duplicate), (*item, *claim != plan.claim));
                if landed.duplicate {
                    duplicate += 1;
                } else {
                    settled += 1;
                }
                continue;
            }
            assert!(!landed.duplicate, "the first time is no duplicate");
            new += 1;
            let count = self.items.entry(delivery.list).or_default();
            *count += 1;
            self.delivered.insert((mail, delivery.list), (plan.claim, landed.item));
            self.file(delivery, &landed.paths);
        }
        assert!(landed.next().is_none(), "nothing else lands");
        assert_eq!(decided.items, new);
        let failures = plan.failures.len() + gone;
        let expected = match (failures > 0 || new + settled + duplicate == 0, new + settled > 0) {
            (true, _) => End::Refused,
            (false, true) => End::Delivered,
            (false, false) => End::Duplicate,
        };
        assert_eq!(decided.end, expected);
    }

    /// Counts the files of a new item where the committer says that they lie.
    fn file(&mut self, delivery: &Delivery, paths: &[String]) {
        let item = delivery.item.as_ref().expect("made with one");
        for file in item.files() {
            *self.references.entry((delivery.list, file.blob)).or_default() += 1;
        }
        let Some(folder) = &delivery.library_folder else {
            assert!(paths.is_empty(), "only a library has paths");
            return;
        };
        assert_eq!(paths.len(), item.files().count());
        let mut own = HashSet::new();
        for (path, file) in paths.iter().zip(item.files()) {
            let key = fold(path);
            assert!(own.insert(key.clone()), "two parts of one mail are two files");
            let (in_folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            assert_eq!(fold(in_folder), fold(folder));
            let asked = fold(name) == fold(&file.name);
            let versions = self.files.entry((delivery.list, key)).or_default();
            *versions += 1;
            assert!(delivery.overwrite && asked || *versions == 1, "{path} is taken: version {versions}");
        }
    }
}

fn assert_agrees(store: &MemoryStore, model: &Model) {
    let mut references: HashMap<BlobHash, u64> = HashMap::new();
    for ((_, blob), count) in &model.references {
        *references.entry(*blob).or_default() += count;
    }
    for (blob, count) in &references {
        let entry = store.blob_entry(*blob).expect("memory does not fail").expect("a blob that is named is there");
        assert_eq!(entry.references, *count, "as often as items name it");
        let bytes = store.blob(*blob).expect("memory does not fail").expect("its bytes are there");
        assert_eq!((BlobHash::of(&bytes), bytes.len() as u64), (*blob, entry.length));
    }
    let mut index = 0;
    store
        .each_blob_entry(&mut |hash, entry| {
            index += 1;
            assert!(entry.references == 0 || references.contains_key(&hash), "counted and named by nobody");
            true
        })
        .expect("memory does not fail");
    assert!(index >= references.len());
    for id in model.lists.values() {
        let items = store.items(*id, ItemId(0), usize::MAX).expect("memory does not fail");
        assert_eq!(items.len() as u64, model.items.get(id).copied().unwrap_or_default(), "each mail once");
        let mails: HashSet<MailId> = items.iter().map(|(_, item)| item.mail_id).collect();
        assert_eq!(mails.len(), items.len(), "each mail once");
        let files = store.files(*id).expect("memory does not fail");
        let paths = model.files.iter().filter(|((list, _), _)| list == id);
        assert_eq!(files.len(), paths.clone().count());
        assert_eq!(
            files.iter().map(|file| file.versions.len()).sum::<usize>(),
            paths.map(|(_, count)| count).sum::<usize>()
        );
    }
    let mut ledger = 0;
    store
        .each_ledger(&mut |mail, list, entry| {
            ledger += 1;
            assert_eq!(model.delivered.get(&(mail, list)), Some(&(entry.claim, entry.item)), "the first claim stays");
            true
        })
        .expect("memory does not fail");
    assert_eq!(ledger, model.delivered.len(), "the ledger never forgets");
}

fn plan(letter: &Letter, model: &Model) -> Plan {
    let claim = ClaimId { batch: 1, number: u64::from(letter.claim) };
    let failure = Failure { recipient: None, reason: Reason::UnknownAddress, text: String::new() };
    let mut plan = Plan::failed(claim, "x.eml".to_owned(), 1, Reason::Empty, String::new());
    plan.failures = if letter.fails { vec![failure] } else { Vec::new() };
    plan.mail_id = Some(MailId::of(&[letter.number]));
    plan.message_id = Some(format!("{}@a.example", letter.number % 4));
    let mut lists = HashSet::new();
    for wish in &letter.wishes {
        // An id that no list has: it was deleted meanwhile.
        let list =
            model.lists.get(&(wish.list % LISTS)).copied().unwrap_or(ListId(u32::MAX - u32::from(wish.list % LISTS)));
        if !lists.insert(list) {
            continue;
        }
        let item = item(letter.number, wish, &mut plan.blobs);
        plan.deliveries.push(Delivery {
            list,
            recipients: vec![format!("l{}@l.example", wish.list % LISTS)],
            item: Some(Box::new(item)),
            prepared: None,
            library_folder: wish.library.then(|| pick(&FOLDERS, wish.folder).to_owned()),
            allowed_by: String::new(),
            overwrite: wish.overwrite,
            updates: Vec::new(),
            thread: None,
            topic_days: 0,
            webhook: None,
        });
    }
    plan
}

fn pick(words: &[&'static str], number: u8) -> &'static str {
    words[usize::from(number) % words.len()]
}

fn item(number: u8, wish: &Wish, blobs: &mut Vec<Blob>) -> Item {
    let mut attachment = |name: u8, content: u8| {
        let blob = Blob::of(vec![content % 8; usize::from(content % 8)]);
        let (hash, size) = (blob.hash, blob.bytes.len() as u64);
        if !blobs.iter().any(|blob| blob.hash == hash) {
            blobs.push(blob);
        }
        Attachment {
            name: pick(&NAMES, name).to_owned(),
            original_name: None,
            path: None,
            content_type: "text/plain".to_owned(),
            size,
            sha256: [0; 32],
            blob: hash,
            inline: false,
            content_id: None,
            version: 1,
        }
    };
    let attachments = wish.files.iter().map(|(name, content)| attachment(*name, *content)).collect();
    Item {
        source: "x.eml".to_owned(),
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
        attachments,
        extracted: Vec::new(),
        original: wish.original.then(|| attachment(0, number)),
        updates: Vec::new(),
        series: None,
        authentication: None,
    }
}
