//! Turns an accepted mail into what each list wants to write. Pure: same mail, same plan. Free names and numbers, which depend on
//! what the store holds, are given later by the committer.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::calendar::{self, Event, Method, Update, When};
use crate::model::item::{Attachment, ExtractedFile, Item};
use crate::model::list::{ItemId, Kind, List};
use crate::model::mail::{BlobHash, ClaimId, Mail, MailId, Part};
use crate::model::names;
use crate::model::plan::{Accepted, Blob, Delivery, Plan, Routed};
use crate::model::settings::{Folders, Inline};
use crate::model::thread;

/// What is known of a mail besides its content.
#[derive(Clone, Debug)]
pub struct Facts {
    pub claim: ClaimId,
    pub source: String,
    pub size: u64,
    pub mail_id: MailId,
    pub sender: String,
    /// Seconds since 1970, UTC.
    pub received: i64,
}

/// `parse::decode` and `parse::decode_text`, handed in because stages do not know each other.
#[derive(Clone, Copy)]
pub struct Decode {
    pub bytes: for<'r, 'p> fn(&'p Part<'r>) -> Cow<'r, [u8]>,
    /// In UTF-8, whatever charset the part declares.
    pub text: for<'r, 'p> fn(&'p Part<'r>) -> String,
}

/// Asked with the size of each attachment that was decoded: may this mail go on?
pub type Meter<'m> = dyn FnMut(u64) -> bool + 'm;

/// Plans all deliveries of a mail.
pub fn plan(facts: Facts, mail: Mail<'_>, routed: Routed, decode: Decode) -> Plan {
    plan_within(facts, mail, routed, decode, &mut |_| true)
}

/// The same while `meter` says yes. Once it says no nothing more is decoded, and the plan is good for nothing.
pub fn plan_within(facts: Facts, mut mail: Mail<'_>, routed: Routed, decode: Decode, meter: &mut Meter<'_>) -> Plan {
    let message_id = mail.message_id.clone();
    let mut files = Files::of(&mail, decode, meter);
    let mut deliveries = Vec::with_capacity(routed.accepted.len());
    let mut accepted = routed.accepted.into_iter().peekable();
    while let Some(next) = accepted.next() {
        deliveries.push(deliver(&facts, &mut mail, next, &mut files, accepted.peek().is_none()));
    }
    let made = files.parts.into_iter().chain(files.hidden).chain([files.original]).flatten();
    let mut blobs: Vec<Blob> = made.collect();
    blobs.sort_by_key(|blob| blob.hash);
    blobs.dedup_by_key(|blob| blob.hash);
    // What was decoded only to be found unwanted is not written.
    let named: HashSet<BlobHash> = deliveries
        .iter()
        .filter_map(|delivery| delivery.item.as_ref())
        .flat_map(|item| item.files())
        .map(|file| file.blob)
        .collect();
    blobs.retain(|blob| named.contains(&blob.hash));
    Plan {
        claim: facts.claim,
        source: facts.source,
        mail_id: Some(facts.mail_id),
        asked: None,
        message_id,
        sender: Some(facts.sender),
        size: facts.size,
        deliveries,
        failures: routed.failures,
        blobs,
    }
}

fn deliver(facts: &Facts, mail: &mut Mail<'_>, accepted: Accepted, files: &mut Files<'_>, is_last: bool) -> Delivery {
    let Accepted { list, recipients, created_by, allowed_by, folder } = accepted;
    let mut defects = mail.defects.clone();
    let mut taken = Taken::default();
    let attachments = files.attachments(mail, &list, &mut defects, &mut taken);
    let extracted = files.extracted(mail, &list, &mut defects, &mut taken);
    let original = list.settings.save_original.then(|| files.original(mail));
    let is_calendar = list.kind == Kind::Calendar;
    let updates = if is_calendar { event_updates(&list, facts, mail, files, &mut defects) } else { Vec::new() };
    Delivery {
        list: list.id,
        recipients,
        library_folder: list.kind.is_library().then(|| library_folder(&list, folder.as_deref(), facts, mail)),
        allowed_by,
        overwrite: list.settings.overwrite,
        updates,
        thread: (list.kind == Kind::DiscussionBoard).then(|| Box::new(thread_facts(facts, mail))),
        topic_days: list.settings.topic_days,
        webhook: Some(list.settings.webhook.clone()).filter(|url| !url.is_empty()),
        prepared: None,
        item: Some(Box::new(Item {
            created_by,
            defects,
            attachments,
            original,
            extracted,
            ..words(facts, mail, is_last)
        })),
    }
}

/// What the mail itself says, as an item. The last list, and nearly all mail goes to one, gets what the others get a copy of.
fn words(facts: &Facts, mail: &mut Mail<'_>, is_last: bool) -> Item {
    fn give<T: Clone + Default>(value: &mut T, is_last: bool) -> T {
        if is_last { std::mem::take(value) } else { value.clone() }
    }
    Item {
        source: facts.source.clone(),
        title: give(&mut mail.subject, is_last),
        from: give(&mut mail.from, is_last),
        sender: Some(facts.sender.clone()),
        to: give(&mut mail.to, is_last),
        cc: give(&mut mail.cc, is_last),
        date: mail.date,
        received: facts.received,
        message_id: give(&mut mail.message_id, is_last),
        in_reply_to: give(&mut mail.in_reply_to, is_last),
        references: give(&mut mail.references, is_last),
        body_text: give(&mut mail.body_text, is_last),
        body_html: give(&mut mail.body_html, is_last),
        headers: mail.header_block.to_vec(),
        mail_id: facts.mail_id,
        created_by: String::new(),
        defects: Vec::new(),
        attachments: Vec::new(),
        original: None,
        updates: Vec::new(),
        series: None,
        extracted: Vec::new(),
        authentication: give(&mut mail.authentication, is_last),
    }
}

/// As many events as one calendar may have, over all calendars of a mail.
const MOST_UPDATES: usize = 5000;

/// What two updates that are equal have in common, cheaply.
type Look = (String, Option<i64>, u32, Option<i64>);

fn look(update: &Update) -> Look {
    let instance = update.recurrence_id.as_ref().map(When::seconds);
    (update.uid.clone(), instance, update.sequence, update.dtstamp)
}

/// What a mail says of events: its calendar parts, and calendars among its attachments. The same invitation is often both.
fn event_updates(
    list: &List,
    facts: &Facts,
    mail: &Mail<'_>,
    files: &Files<'_>,
    defects: &mut Vec<String>,
) -> Vec<Update> {
    let mut updates: Vec<Update> = Vec::new();
    // Only updates of like look are compared: thousands of events are a mail like any other.
    let mut alike: HashMap<Look, Vec<usize>> = HashMap::new();
    let attached = mail.parts.iter().filter(|part| is_calendar(part));
    let texts = mail.calendars.iter().chain(attached).map(|part| (files.decode.text)(part));
    for text in texts.chain(mail.meetings.iter().cloned()) {
        for mut update in calendar::read(text.as_bytes(), &calendar::Limits::default()).updates {
            update.dtstamp = update.dtstamp.or(mail.date);
            if update.by.is_none() {
                update.by = Some(facts.sender.clone());
            }
            if updates.len() >= MOST_UPDATES {
                defects.push(format!("calendar-limit: only {MOST_UPDATES} events were read"));
                return updates;
            }
            let known = alike.entry(look(&update)).or_default();
            if !known.iter().any(|at| updates.get(*at) == Some(&update)) {
                known.push(updates.len());
                updates.push(update);
            }
        }
    }
    if updates.is_empty() && list.settings.mail_as_event {
        updates.extend(mail_as_event(facts, mail));
    }
    updates
}

fn is_calendar(part: &Part<'_>) -> bool {
    let named =
        part.name.as_deref().and_then(names::extension).is_some_and(|extension| extension.eq_ignore_ascii_case("ics"));
    named || matches!(part.content_type.as_str(), "text/calendar" | "application/ics")
}

/// Ordinary mail as an event at its date.
fn mail_as_event(facts: &Facts, mail: &Mail<'_>) -> Option<Update> {
    let moment = jiff::Timestamp::from_second(mail.date?).ok()?;
    let local = jiff::tz::Offset::UTC.to_datetime(moment).to_string();
    let start = When { utc: Some(moment.as_second()), local, zone: Some("UTC".to_owned()) };
    Some(Update {
        method: Method::Publish,
        uid: format!("mail-{}", facts.mail_id),
        recurrence_id: None,
        this_and_future: false,
        sequence: 0,
        dtstamp: mail.date,
        by: None,
        event: Event { title: mail.subject.clone(), start: Some(start), ..Event::default() },
    })
}

fn thread_facts(facts: &Facts, mail: &Mail<'_>) -> thread::Facts {
    let header = thread::Header {
        message_id: mail.message_id.as_deref(),
        in_reply_to: mail.in_reply_to.as_deref().or(mail.says_reply.then_some("")),
        references: &mail.references,
        thread_index: mail.thread_index.as_deref(),
        thread_topic: mail.thread_topic.as_deref(),
        subject: mail.subject.as_deref(),
        date: mail.date,
    };
    thread::Facts::of(ItemId(0), facts.mail_id, &header, facts.received)
}

/// The folder of a library that this mail's files go into; empty for the root. A subaddress is the wish of whoever sent it and
/// comes first.
fn library_folder(list: &List, wished: Option<&str>, facts: &Facts, mail: &Mail<'_>) -> String {
    if let Some(wished) = wished {
        return names::clean(&one_name(wished), "folder");
    }
    match list.settings.folders {
        Folders::Root => String::new(),
        Folders::Sender => names::clean(&one_name(&facts.sender.to_lowercase()), "unknown sender"),
        Folders::Subject => names::clean(&one_name(mail.subject.as_deref().unwrap_or_default()), "no subject"),
    }
}

/// A subject or an address is one name: a slash in it does not make a path.
fn one_name(text: &str) -> String {
    text.replace(['/', '\\'], "_")
}

/// The files of one mail, decoded and hashed once however many lists keep them.
struct Files<'m> {
    decode: Decode,
    meter: &'m mut Meter<'m>,
    is_over: bool,
    parts: Vec<Option<Blob>>,
    hidden: Vec<Option<Blob>>,
    original: Option<Blob>,
}

fn attachment(blob: &Blob, name: String, content_type: &str) -> Attachment {
    Attachment {
        name,
        original_name: None,
        path: None,
        content_type: content_type.to_owned(),
        size: blob.bytes.len() as u64,
        sha256: *blob.hash.as_bytes(),
        blob: blob.hash,
        inline: false,
        content_id: None,
        version: 1,
    }
}

impl<'m> Files<'m> {
    fn of(mail: &Mail<'_>, decode: Decode, meter: &'m mut Meter<'m>) -> Self {
        let parts = vec![None; mail.parts.len() + mail.calendars.len()];
        let hidden = vec![None; mail.hidden.len()];
        Self { decode, meter, is_over: false, parts, hidden, original: None }
    }

    /// What a list keeps of the attachments; what it does not keep is a defect of the item, never silently gone.
    fn attachments(
        &mut self,
        mail: &Mail<'_>,
        list: &List,
        defects: &mut Vec<String>,
        taken: &mut Taken,
    ) -> Vec<Attachment> {
        if !list.settings.attachments && !list.kind.is_library() {
            return Vec::new();
        }
        // An invitation is not an attachment; some lists keep it as one.
        let meetings =
            if list.settings.save_meetings && list.kind != Kind::Calendar { &mail.calendars[..] } else { &[] };
        let parts = mail.parts.iter().chain(meetings).enumerate();
        parts
            .filter_map(|(index, part)| keep(list, &Label::of(part), index, || self.part(index, part), defects, taken))
            .collect()
    }

    /// The same for what was unpacked.
    fn extracted(
        &mut self,
        mail: &Mail<'_>,
        list: &List,
        defects: &mut Vec<String>,
        taken: &mut Taken,
    ) -> Vec<ExtractedFile> {
        if !list.settings.attachments && !list.kind.is_library() {
            return Vec::new();
        }
        let mut kept = Vec::with_capacity(mail.hidden.len());
        for (index, hidden) in mail.hidden.iter().enumerate() {
            let label = Label {
                name: hidden.name.as_deref(),
                content_type: &hidden.content_type,
                content_id: hidden.content_id.as_deref(),
                inline: hidden.inline,
            };
            let number = mail.parts.len() + index;
            let file = keep(list, &label, number, || self.hidden_file(index, &hidden.bytes), defects, taken);
            kept.extend(file.map(|file| ExtractedFile { file, from: hidden.from.clone(), how: hidden.how.to_owned() }));
        }
        kept
    }

    fn hidden_file(&mut self, index: usize, bytes: &[u8]) -> Blob {
        if let Some(Some(blob)) = self.hidden.get(index) {
            return blob.clone();
        }
        let blob = Blob::of(bytes.to_vec());
        if let Some(slot) = self.hidden.get_mut(index) {
            *slot = Some(blob.clone());
        }
        blob
    }

    fn part(&mut self, index: usize, part: &Part<'_>) -> Blob {
        if let Some(Some(blob)) = self.parts.get(index) {
            return blob.clone();
        }
        if self.is_over {
            return Blob::of(Vec::new());
        }
        let bytes = (self.decode.bytes)(part);
        self.is_over = !(self.meter)(bytes.len() as u64);
        let blob = Blob::of(bytes.into_owned());
        if let Some(slot) = self.parts.get_mut(index) {
            *slot = Some(blob.clone());
        }
        blob
    }

    fn original(&mut self, mail: &Mail<'_>) -> Attachment {
        let blob = self.original.get_or_insert_with(|| Blob::of(mail.original.to_vec()));
        let name = mail.subject.as_deref().map(|subject| format!("{}.eml", one_name(subject))).unwrap_or_default();
        attachment(blob, names::clean(&name, "message.eml"), "message/rfc822")
    }
}

/// What a file says of itself.
struct Label<'l> {
    name: Option<&'l str>,
    content_type: &'l str,
    content_id: Option<&'l str>,
    inline: bool,
}

impl<'l> Label<'l> {
    fn of(part: &'l Part<'_>) -> Self {
        Self {
            name: part.name.as_deref(),
            content_type: &part.content_type,
            content_id: part.content_id.as_deref(),
            inline: part.inline,
        }
    }
}

/// A file as the list keeps it, decoded only when nothing else stands against it; none, and a defect, when it does not.
fn keep(
    list: &List,
    label: &Label<'_>,
    index: usize,
    blob: impl FnOnce() -> Blob,
    defects: &mut Vec<String>,
    taken: &mut Taken,
) -> Option<Attachment> {
    let fallback = names::fallback_for(label.content_type, index + 1);
    let mut name = names::clean(label.name.unwrap_or_default(), &fallback);
    if is_blocked(list, label, &name) {
        defects.push(format!("blocked-type: {name}"));
        return None;
    }
    if label.inline && list.settings.inline == Inline::Skip && label.content_type.starts_with("image/") {
        defects.push(format!("inline-skipped: {name}"));
        return None;
    }
    let blob = blob();
    if let Some(extension) = is_anonymous(label).then(|| infer::get(&blob.bytes)).flatten() {
        name = names::clean(&format!("attachment-{}.{}", index + 1, extension.extension()), &fallback);
        if is_blocked(list, label, &name) {
            defects.push(format!("blocked-type: {name}"));
            return None;
        }
    }
    if let Some(unwanted) = unwanted(list.kind, &blob.bytes) {
        defects.push(format!("{unwanted}: {name}"));
        return None;
    }
    let size = blob.bytes.len() as u64;
    if list.settings.max_attachment_size.is_exceeded_by(size) {
        defects.push(format!("attachment-too-large: {name} ({size} bytes)"));
        return None;
    }
    Some(Attachment {
        original_name: label.name.map(str::to_owned),
        inline: label.inline,
        content_id: label.content_id.map(str::to_owned),
        ..attachment(&blob, taken.free(&name), label.content_type)
    })
}

/// Neither its name nor its type says what it is: then its first bytes name it.
fn is_anonymous(label: &Label<'_>) -> bool {
    label.name.is_none() && label.content_type == "application/octet-stream"
}

/// What a library of one sort of files says of a file of another sort. Judged by content: what a sender claims is no evidence.
fn unwanted(kind: Kind, bytes: &[u8]) -> Option<&'static str> {
    match kind {
        Kind::PictureLibrary if !infer::is_image(bytes) => Some("not-an-image"),
        Kind::FormLibrary if !is_xml(bytes) => Some("not-xml"),
        _ => None,
    }
}

/// Starts with an XML declaration (XML 1.0 section 2.8), which every form has, in UTF-8 or UTF-16 (appendix F).
fn is_xml(bytes: &[u8]) -> bool {
    let text: Vec<u8> = bytes.iter().take(512).copied().filter(|byte| *byte != 0).collect();
    let is_start = |byte: &u8| !matches!(byte, 0xef | 0xbb | 0xbf | 0xfe | 0xff) && !byte.is_ascii_whitespace();
    let start = text.iter().position(is_start);
    start.and_then(|start| text.get(start..)).is_some_and(|text| text.starts_with(b"<?xml"))
}

/// The names that an item's attachments have so far. A thousand parts of one name are a mail like any other: where the last
/// search ended the next one begins.
#[derive(Default)]
struct Taken {
    folded: HashSet<String>,
    next: HashMap<String, u32>,
}

impl Taken {
    fn free(&mut self, name: &str) -> String {
        let next = self.next.entry(names::fold(name)).or_insert(1);
        loop {
            let candidate = names::numbered(name, *next);
            *next = next.saturating_add(1);
            if self.folded.insert(names::fold(&candidate)) {
                return candidate;
            }
        }
    }
}

/// Blocked by file name ending or by media type.
fn is_blocked(list: &List, label: &Label<'_>, name: &str) -> bool {
    let extension = names::extension(name);
    list.settings.blocked_types.iter().any(|blocked| {
        let blocked = blocked.trim().trim_start_matches('.');
        extension.is_some_and(|extension| extension.eq_ignore_ascii_case(blocked))
            || label.content_type.eq_ignore_ascii_case(blocked)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::list::ListId;
    use crate::model::mail::TransferEncoding;
    use crate::model::settings::{ListSettings, Size};

    fn part(name: &str, raw: &'static [u8]) -> Part<'static> {
        Part {
            name: Some(name.to_owned()),
            content_type: "application/pdf".to_owned(),
            content_id: None,
            inline: false,
            raw,
            charset: None,
            encoding: TransferEncoding::Identity,
        }
    }

    fn planned(kind: Kind, change: impl FnOnce(&mut ListSettings)) -> Plan {
        let mut settings = ListSettings::default();
        change(&mut settings);
        let list = Arc::new(List { id: ListId(1), name: "x".to_owned(), kind, settings });
        let mail = Mail {
            original: b"Subject: a/b\r\n\r\n",
            subject: Some("a/b".to_owned()),
            parts: vec![part("r.pdf", b"one"), part("R.PDF", b"two!"), part("x.exe", b"one")],
            ..Mail::default()
        };
        let facts = Facts {
            claim: ClaimId { batch: 1, number: 1 },
            source: "x.eml".to_owned(),
            size: 9,
            mail_id: MailId::of(b"x"),
            sender: "Ann@a.example".to_owned(),
            received: 0,
        };
        let accepted = vec![Accepted {
            list,
            recipients: vec!["x@l.example".to_owned()],
            created_by: "system".to_owned(),
            allowed_by: String::new(),
            folder: None,
        }];
        plan(
            facts,
            mail,
            Routed { accepted, failures: vec![] },
            Decode {
                bytes: |part| Cow::Borrowed(part.raw),
                text: |part| String::from_utf8_lossy(part.raw).into_owned(),
            },
        )
    }

    fn item(plan: &Plan) -> &Item {
        plan.deliveries[0].item.as_ref().unwrap()
    }

    fn names_of(item: &Item) -> Vec<&str> {
        item.attachments.iter().map(|attachment| attachment.name.as_str()).collect()
    }

    #[test]
    fn attachments_of_one_item_have_distinct_names_and_equal_bytes_are_one_blob() {
        let plan = planned(Kind::Announcements, |_| ());
        assert_eq!(names_of(item(&plan)), ["r.pdf", "R (2).PDF", "x.exe"]);
        assert_eq!(plan.blobs.len(), 2);
        assert_eq!(
            hex::encode(item(&plan).attachments[0].sha256),
            "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
        );
    }

    #[test]
    fn a_number_that_is_taken_is_passed_over() {
        let mut taken = Taken::default();
        let names = ["a (2).txt", "a.txt", "A.txt", "a (2).txt", "a.txt", "a (3).TXT"];
        let given = names.map(|name| taken.free(name));
        assert_eq!(given, ["a (2).txt", "a.txt", "A (3).txt", "a (2) (2).txt", "a (4).txt", "a (3) (2).TXT"]);
    }

    #[test]
    fn ten_thousand_parts_of_one_name_are_named_at_once() {
        let mut taken = Taken::default();
        let name = format!("{}.txt", "x".repeat(251));
        let start = cpu_time::ThreadTime::now();
        let given: HashSet<String> = (0..10_000).map(|_| names::fold(&taken.free(&name))).collect();
        assert_eq!(given.len(), 10_000);
        let worked = start.elapsed();
        assert!(worked < std::time::Duration::from_secs(10), "quadratic again: {worked:?}");
    }

    #[test]
    fn a_blocked_or_oversized_attachment_is_left_out_and_said() {
        let plan = planned(Kind::Announcements, |settings| {
            settings.blocked_types = vec![".EXE".to_owned()];
            settings.max_attachment_size = Size(3);
        });
        assert_eq!(names_of(item(&plan)), ["r.pdf"]);
        assert_eq!(item(&plan).defects, ["attachment-too-large: R.PDF (4 bytes)", "blocked-type: x.exe"]);
    }

    #[test]
    fn a_library_has_a_folder_by_sender_or_subject_and_a_slash_makes_no_path() {
        let folder = |folders| {
            planned(Kind::DocumentLibrary, |settings| settings.folders = folders).deliveries[0].library_folder.clone()
        };
        assert_eq!(folder(Folders::Root).as_deref(), Some(""));
        assert_eq!(folder(Folders::Sender).as_deref(), Some("ann@a.example"));
        assert_eq!(folder(Folders::Subject).as_deref(), Some("a_b"));
        assert_eq!(planned(Kind::Blog, |_| ()).deliveries[0].library_folder, None);
    }

    #[test]
    fn a_picture_library_takes_images_and_a_form_library_xml_by_content_not_by_claim() {
        let kept = |kind, bytes: &[u8]| unwanted(kind, bytes).is_none();
        assert!(kept(Kind::PictureLibrary, b"\x89PNG\r\n\x1a\n"));
        assert!(!kept(Kind::PictureLibrary, b"%PDF-1.7"));
        assert!(kept(Kind::FormLibrary, b"\xef\xbb\xbf  <?xml version='1.0'?>"));
        assert!(kept(Kind::FormLibrary, b"\xff\xfe<\0?\0x\0m\0l\0"));
        assert!(!kept(Kind::FormLibrary, b"<html>"));
        assert!(kept(Kind::DocumentLibrary, b""));
        let plan = planned(Kind::PictureLibrary, |_| ());
        assert_eq!(item(&plan).defects, ["not-an-image: r.pdf", "not-an-image: R.PDF", "not-an-image: x.exe"]);
        assert!(item(&plan).attachments.is_empty());
        assert!(plan.blobs.is_empty());
    }

    #[test]
    fn an_invitation_is_kept_as_a_file_only_where_the_list_says_so() {
        let invitation = Part { name: None, content_type: "text/calendar".to_owned(), ..part("", b"BEGIN:VCALENDAR") };
        let kept = |kind, save_meetings| {
            let mail = Mail { calendars: vec![invitation.clone()], ..Mail::default() };
            let settings = ListSettings { save_meetings, ..ListSettings::default() };
            let list = List { id: ListId(1), name: "x".to_owned(), kind, settings };
            let decode = Decode { bytes: |part| Cow::Borrowed(part.raw), text: |_| String::new() };
            let mut meter = |_| true;
            Files::of(&mail, decode, &mut meter)
                .attachments(&mail, &list, &mut Vec::new(), &mut Taken::default())
                .iter()
                .map(|file| file.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(Kind::Announcements, true), ["attachment-1.ics"]);
        assert!(kept(Kind::Announcements, false).is_empty());
        assert!(kept(Kind::Calendar, true).is_empty());
    }

    #[test]
    fn a_subaddress_names_the_folder_whatever_the_list_says() {
        let list = List {
            id: ListId(1),
            name: "x".to_owned(),
            kind: Kind::DocumentLibrary,
            settings: ListSettings::default(),
        };
        let facts = Facts {
            claim: ClaimId { batch: 1, number: 1 },
            source: "x.eml".to_owned(),
            size: 1,
            mail_id: MailId::of(b"x"),
            sender: "ann@a.example".to_owned(),
            received: 0,
        };
        assert_eq!(library_folder(&list, Some("a/../b"), &facts, &Mail::default()), "a_.._b");
        assert_eq!(library_folder(&list, Some(".."), &facts, &Mail::default()), "folder");
    }

    #[test]
    fn the_original_is_kept_only_when_the_list_says_so() {
        assert_eq!(item(&planned(Kind::Announcements, |_| ())).original, None);
        let plan = planned(Kind::Announcements, |settings| settings.save_original = true);
        let original = item(&plan).original.clone().unwrap();
        assert_eq!((original.name.as_str(), original.size), ("a_b.eml", 16));
        assert_eq!(plan.blobs.len(), 3);
    }

    #[test]
    fn same_mail_same_plan() {
        assert_eq!(planned(Kind::DocumentLibrary, |_| ()), planned(Kind::DocumentLibrary, |_| ()));
    }
}
