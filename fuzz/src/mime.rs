//! The whole way of a mail, from the bytes of a drop file into the memory store: nothing is lost on it, nothing grows beyond a bound
//! that is linear in the file, every name is safe, and the same bytes make the same plan.

use std::collections::HashSet;
use std::sync::LazyLock;

use mailmill::directory::Directory;
use mailmill::extract::Limits;
use mailmill::model::item::{Attachment, Item};
use mailmill::model::list::{ItemId, Kind, List, ListId};
use mailmill::model::mail::{BlobHash, ClaimId, Envelope, Mail, MailId};
use mailmill::model::outcome::{End, Reason};
use mailmill::model::plan::{Plan, Routed};
use mailmill::model::settings::{Folders, ListSettings, Senders, Size};
use mailmill::pipeline::commit::{Built, GroupBuilder};
use mailmill::pipeline::parse::{Bounds, Parser, decode, decode_text};
use mailmill::pipeline::plan::{Decode, Facts, plan};
use mailmill::pipeline::{envelope, route, unpack};
use mailmill::store::{Counter, ListStore, MemoryStore, Write, verify};
use sha2::{Digest, Sha256};

/// The defaults of `[limits]`.
static PARSER: LazyLock<Parser> = LazyLock::new(|| Parser::new(Bounds::default()));

const DECODE: Decode = Decode { bytes: decode, text: decode_text };

/// Announcements that keep everything, and a list that takes hardly anything.
const EVERYTHING: ListId = ListId(1);
const LITTLE: ListId = ListId(4);

/// A list of each kind, and a library for each choice of folder.
fn lists() -> Vec<List> {
    let open = |id: u32| ListSettings { address: format!("l{id}"), senders: Senders::Any, ..ListSettings::default() };
    let list = |id: u32, kind, settings| List { id: ListId(id), name: format!("L{id}"), kind, settings };
    vec![
        list(1, Kind::Announcements, ListSettings { save_original: true, save_meetings: true, ..open(1) }),
        list(2, Kind::DocumentLibrary, ListSettings { folders: Folders::Subject, save_original: true, ..open(2) }),
        list(3, Kind::DocumentLibrary, ListSettings { folders: Folders::Sender, overwrite: true, ..open(3) }),
        list(
            4,
            Kind::Announcements,
            ListSettings {
                max_attachment_size: Size(16),
                blocked_types: vec!["exe".to_owned(), "image/png".to_owned()],
                automatic: false,
                max_size: Size(1000),
                senders: Senders::Members,
                members: vec!["@a.example".to_owned()],
                ..open(4)
            },
        ),
        list(5, Kind::Calendar, ListSettings { mail_as_event: true, save_original: true, ..open(5) }),
        list(6, Kind::DiscussionBoard, open(6)),
        list(7, Kind::PictureLibrary, open(7)),
        list(8, Kind::FormLibrary, ListSettings { folders: Folders::Sender, ..open(8) }),
        list(9, Kind::Calendar, open(9)),
    ]
}

static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| Directory::new(lists(), &[]));

pub fn check(file: &[u8]) {
    let (found, original) = envelope::split(file);
    assert!(file.ends_with(original), "the original is the file without its envelope");
    if let Some(envelope) = &found {
        assert_stripped(file, original, envelope);
    }
    let mail = match opened(original) {
        Ok(mail) => mail,
        Err(reason) => {
            assert!([Reason::Empty, Reason::NotAMessage].contains(&reason), "{reason}");
            assert_eq!(PARSER.parse(original).err(), Some(reason), "the same bytes end in the same way");
            return;
        }
    };
    assert_mail(original, &mail);
    assert_routed(found.as_ref(), &mail, file.len());
    let planned = plan_of(file, MailId::of(file), found.as_ref(), &mail);
    let again = opened(original).map(|mail| plan_of(file, MailId::of(file), found.as_ref(), &mail));
    assert!(again.as_ref() == Ok(&planned), "the same bytes make the same plan");
    assert_plan(file, original, &mail, &planned);
    let like_it = plan_of(file, MailId::of(b"another mail with the same content"), found.as_ref(), &mail);
    assert_committed(original, &mail, &planned, &like_it);
}

/// So much of a mail may be unpacked here. Less than the default, so that the fuzzer finds the bound.
const UNPACK: Limits = Limits { depth: 8, count: 100, bytes: 256 << 10 };

/// Parsed and unpacked, as a worker does.
fn opened(original: &[u8]) -> Result<Mail<'_>, Reason> {
    let mut mail = PARSER.parse(original)?;
    let bounds = unpack::Bounds { limits: UNPACK, name_bytes: Bounds::default().name_bytes, in_time: &|| true };
    unpack::unpack(&mut mail, &*PARSER, bounds);
    Ok(mail)
}

/// What was taken off the top of the file is its envelope and nothing else: in front of any other mail it is found again.
fn assert_stripped(file: &[u8], original: &[u8], envelope: &Envelope) {
    let lines = &file[..file.len() - original.len()];
    // The lines may end with the file; a field that follows needs a line of its own.
    let other =
        [lines, if lines.ends_with(b"\n") { b"" } else { &b"\n"[..] }, b"Subject: other\n\nx-receiver: b@b.example\n"]
            .concat();
    let (found, rest) = envelope::split(&other);
    assert_eq!(found.as_ref(), Some(envelope), "the lines that were taken off are the envelope");
    assert_eq!(rest, b"Subject: other\n\nx-receiver: b@b.example\n");
}

/// What a parser may say of any bytes: it borrows from them, no two parts overlap, and no text is out of proportion.
fn assert_mail(original: &[u8], mail: &Mail<'_>) {
    let within = |part: &[u8]| {
        let start = (part.as_ptr() as usize).wrapping_sub(original.as_ptr() as usize);
        start.checked_add(part.len()).is_some_and(|end| end <= original.len()).then_some(start)
    };
    assert!(std::ptr::eq(mail.original, original), "the original is the mail that was parsed");
    assert!(mail.header_block.is_empty() || within(mail.header_block).is_some(), "the header block is of the mail");
    let mut spans: Vec<(usize, usize)> = Vec::new();
    let parts = || mail.parts.iter().chain(&mail.calendars);
    for part in parts().filter(|part| !part.raw.is_empty()) {
        let start = within(part.raw).expect("a part lies in its mail");
        spans.push((start, start + part.raw.len()));
    }
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two parts overlap: {spans:?}");
    for part in parts() {
        assert!(decode_text(part).len() <= 3 * part.raw.len() + 16, "a text grows beyond its charset: {part:?}");
        assert!(decode(part).len() <= part.raw.len(), "decoding makes a part larger: {part:?}");
        assert!(part.content_type.contains('/'), "a type has a subtype: {:?}", part.content_type);
    }
    // One byte becomes at most the three of U+FFFD, and two bytes (UTF-16) at most four; a body may come out of a container.
    let most = 3 * original.len() + 16;
    let body_most = most + 3 * usize::try_from(UNPACK.bytes).expect("small");
    for body in [&mail.body_text, &mail.body_html].into_iter().flatten() {
        assert!(body.len() <= body_most, "a body of {} bytes from a mail of {}", body.len(), original.len());
    }
    let fields = [&mail.subject, &mail.message_id, &mail.in_reply_to, &mail.thread_index, &mail.thread_topic];
    let fields = fields.into_iter().flatten();
    let lists = mail.to.iter().chain(&mail.cc).chain(&mail.references);
    let from = mail.from.iter().flat_map(|from| [from.address.len(), from.name.as_ref().map_or(0, String::len)]);
    let header: usize = fields.chain(lists).map(String::len).chain(from).sum();
    assert!(header <= most, "header fields of {header} bytes from a mail of {}", original.len());
    assert!(mail.to.len() + mail.cc.len() <= Bounds::default().addresses);
    assert!(parts().filter_map(|part| part.name.as_ref()).all(|name| name.len() <= Bounds::default().name_bytes));
    assert!(mail.hidden.len() <= UNPACK.count, "{} files were unpacked", mail.hidden.len());
    let unpacked: usize = mail.hidden.iter().map(|hidden| hidden.bytes.len()).sum();
    assert!(unpacked as u64 <= UNPACK.bytes, "{unpacked} bytes were unpacked");
    let defects: usize = mail.defects.iter().map(String::len).sum();
    assert!(
        defects as u64 <= 8 * (most as u64 + UNPACK.bytes),
        "defects of {defects} bytes from a mail of {}",
        original.len()
    );
}

/// Each recipient has one end, and a list has a mail once.
fn assert_routed(found: Option<&Envelope>, mail: &Mail<'_>, size: usize) {
    let Some(envelope) = found else { return };
    let routed = route::route(envelope, mail, size as u64, &DIRECTORY, &route::Groups::new());
    let accepted = routed.accepted.iter().flat_map(|accepted| &accepted.recipients);
    let failed = routed.failures.iter().filter_map(|failure| failure.recipient.as_ref());
    let mut ends: Vec<&String> = accepted.chain(failed).collect();
    ends.sort_unstable();
    let mut recipients: Vec<&String> = envelope.recipients.iter().collect();
    recipients.sort_unstable();
    assert_eq!(ends, recipients, "each recipient has one end");
    let lists: HashSet<ListId> = routed.accepted.iter().map(|accepted| accepted.list.id).collect();
    assert_eq!(lists.len(), routed.accepted.len(), "two addresses of one list are one delivery");
}

/// The plan for all lists, whatever they allow: an import.
fn plan_of(file: &[u8], mail_id: MailId, found: Option<&Envelope>, mail: &Mail<'_>) -> Plan {
    let envelope = found.cloned().unwrap_or_default();
    let mut routed = Routed::default();
    for list in DIRECTORY.all() {
        routed.accepted.extend(route::import(list, &envelope, mail, &route::Groups::new()).accepted);
    }
    let facts = Facts {
        claim: ClaimId { batch: 1, number: 1 },
        source: "x.eml".to_owned(),
        size: file.len() as u64,
        mail_id,
        sender: route::sender_of(&envelope, mail).to_owned(),
        received: 0,
    };
    plan(facts, mail.clone(), routed, DECODE)
}

/// Leaves attachments out.
fn is_choosy(list: ListId) -> bool {
    let kind = DIRECTORY.list(list).expect("one of ours").kind;
    list == LITTLE || matches!(kind, Kind::PictureLibrary | Kind::FormLibrary)
}

fn assert_plan(file: &[u8], original: &[u8], mail: &Mail<'_>, plan: &Plan) {
    assert_eq!(plan.deliveries.len(), DIRECTORY.all().len());
    assert_eq!(plan.mail_id, Some(MailId::of(file)));
    let blobs: HashSet<BlobHash> = plan.blobs.iter().map(|blob| blob.hash).collect();
    assert_eq!(blobs.len(), plan.blobs.len(), "equal bytes are one blob");
    for blob in &plan.blobs {
        assert_eq!(blob.hash, BlobHash::of(&blob.bytes));
    }
    for delivery in &plan.deliveries {
        let item = delivery.item.as_deref().expect("a new item");
        let size: u64 = item.attachments.iter().map(|file| file.size).sum();
        assert!(size <= original.len() as u64, "attachments of {size} bytes from a mail of {}", original.len());
        let kept = if delivery.list == EVERYTHING { mail.parts.len() + mail.calendars.len() } else { mail.parts.len() };
        if !is_choosy(delivery.list) {
            assert_eq!(item.attachments.len(), kept, "no part is left out");
        }
        let files = || item.attachments.iter().chain(item.extracted.iter().map(|extracted| &extracted.file));
        let names: HashSet<String> = files().map(|file| mailmill::model::names::fold(&file.name)).collect();
        assert_eq!(names.len(), files().count(), "the files of one item have distinct names");
        for file in item.files() {
            super::names::assert_clean(&file.name);
            let blob = plan.blobs.iter().find(|blob| blob.hash == file.blob).expect("the plan holds what it names");
            assert_eq!(file.size, blob.bytes.len() as u64);
            assert_eq!(file.sha256[..], Sha256::digest(blob.bytes.as_slice())[..]);
        }
        if let Some(folder) = delivery.library_folder.as_ref().filter(|folder| !folder.is_empty()) {
            super::names::assert_clean(folder);
        }
    }
    let most = 64 * file.len() as u64 + (64 << 10) + 64 * UNPACK.bytes;
    assert!(plan.weight() <= most, "a plan of {} bytes from a file of {}", plan.weight(), file.len());
}

/// Delivered once, a duplicate after that, and in the store byte for byte; and so is another mail with the same content.
fn assert_committed(original: &[u8], mail: &Mail<'_>, planned: &Plan, like_it: &Plan) {
    let store = MemoryStore::default();
    let lists = lists().into_iter().map(|list| Write::List(Box::new(list)));
    let counters = [Write::Counter(Counter::Batch, 2), Write::Counter(Counter::List, 10)];
    store.commit(lists.chain(counters).collect::<Vec<_>>().into()).expect("memory does not fail");
    // The third time it is what a crash before settling leaves: the ledger knows it under its own claim.
    for (number, end) in [(1, End::Delivered), (2, End::Duplicate), (1, End::Delivered)] {
        commit(&store, planned, number, end);
    }
    for list in DIRECTORY.all() {
        let items = store.items(list.id, ItemId(0), usize::MAX).expect("memory does not fail");
        assert!(items.len() == 1 || list.kind == Kind::Calendar && !items.is_empty(), "one mail, one item in {list:?}");
        for (id, item) in items.iter().take(1) {
            assert_eq!(*id, ItemId(1));
            assert_item(&store, list, item, original, mail);
        }
    }
    for (number, end) in [(3, End::Delivered), (4, End::Duplicate)] {
        commit(&store, like_it, number, end);
    }
    let (report, garbage) = verify(&store).expect("memory does not fail");
    assert!(report.sound && garbage.is_empty(), "{:?}", report.errors);
}

fn commit(store: &MemoryStore, plan: &Plan, number: u64, end: End) {
    let claim = ClaimId { batch: 1, number };
    let mut builder = GroupBuilder::new(store, 0);
    builder.add(Plan { claim, ..plan.clone() }, &DIRECTORY).expect("memory does not fail");
    let Built { group, decided, .. } = builder.finish();
    assert_eq!(decided[0].end, end);
    assert_eq!(decided[0].landed.len(), plan.deliveries.len());
    assert!(end == End::Delivered || decided[0].items == 0, "a duplicate makes no item");
    let receipts = store.commit(group).expect("memory does not fail");
    assert_eq!(receipts.len(), 1);
}

fn assert_item(store: &MemoryStore, list: &List, item: &Item, original: &[u8], mail: &Mail<'_>) {
    let bytes = |file: &Attachment| store.blob(file.blob).expect("memory does not fail").expect("its bytes are there");
    if !is_choosy(list.id) {
        for (file, part) in item.attachments.iter().zip(mail.parts.iter().chain(&mail.calendars)) {
            assert!(bytes(file) == *decode(part), "an attachment is the part that it was");
            assert_eq!(file.original_name, part.name);
        }
    }
    if let Some(file) = &item.original {
        assert!(bytes(file) == original, "the original is the mail as it was sent");
    }
    for file in item.files() {
        assert_eq!(file.path.is_some(), list.kind.is_library());
        for segment in file.path.iter().flat_map(|path| path.split('/')) {
            super::names::assert_clean(segment);
        }
    }
}
