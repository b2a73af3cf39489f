//! Keys and values as bytes. Numbers are big-endian so that their order is the order of the keys; values are a version byte
//! and CBOR (RFC 8949). Frozen by the golden bytes below: a change here is a new format.
//!
//! ```text
//! lists       list:4                                   List
//! items       list:4 item:8                            Item             (packed: `rocks::packed`)
//! files       list:4 folder NUL name                   LibraryFile      (folded names; neither can hold NUL)
//! blobs       blob:8                                   the bytes
//! blob_index  sha256:32                                BlobEntry
//! ledger      mail:32 list:4                           LedgerEntry
//! journal     mail:32 number:8                         JournalEntry
//! message_ids blake3(Message-ID)[..16] mail:32         nothing
//! batches     batch:8                                  Sheet, as JSON (what `history --json` prints)
//! outbox      number:8                                OutboxEntry
//! threads     list:4 "d" discussion:8                  Discussion
//! threads     list:4 "m" discussion:8 item:8           Facts
//! threads     list:4 "i" item:8                        discussion:8
//! threads     list:4 "k" key:16                        discussion:8
//! threads     list:4 "t" key:16 by_topic:1 time:8 item:8   discussion:8   (time with its sign turned, so that it sorts)
//! events      list:4 blake3(UID)[..16]                 item:8
//! counters    kind:1 [list:4]                          the next number:8
//! ```

use std::fmt::Display;

use minicbor::{Decode, Encode};

use super::{Counter, StoreError};
use crate::model::list::{ItemId, ListId};
use crate::model::mail::{BlobHash, Hash256, MailId};
use crate::model::names;

/// The newest format this program reads and the one it writes.
pub const FORMAT: u32 = 1;

const VERSION: u8 = 1;

pub fn list(list: ListId) -> [u8; 4] {
    list.0.to_be_bytes()
}

pub fn item(list: ListId, item: ItemId) -> [u8; 12] {
    join(&list.0.to_be_bytes(), &item.0.to_be_bytes())
}

pub fn file(list: ListId, folder: &str, name: &str) -> Vec<u8> {
    let mut key = list.0.to_be_bytes().to_vec();
    key.extend_from_slice(names::fold(folder).as_bytes());
    key.push(0);
    key.extend_from_slice(names::fold(name).as_bytes());
    key
}

pub fn ledger(mail: MailId, list: ListId) -> [u8; 36] {
    join(mail.as_bytes(), &list.0.to_be_bytes())
}

pub fn journal(mail: MailId, number: u64) -> [u8; 40] {
    join(mail.as_bytes(), &number.to_be_bytes())
}

pub fn message_id_prefix(message_id: &str) -> [u8; 16] {
    let hash = Hash256::blake3(message_id.as_bytes());
    let mut prefix = [0; 16];
    prefix.copy_from_slice(&hash.0[..16]);
    prefix
}

pub fn message_id(message_id: &str, mail: MailId) -> [u8; 48] {
    join(&message_id_prefix(message_id), mail.as_bytes())
}

pub fn event(list: ListId, uid: &str) -> [u8; 20] {
    join(&list.0.to_be_bytes(), &message_id_prefix(uid))
}

/// What lies in the family `threads` of one list.
pub fn thread(list: ListId, tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = list.0.to_be_bytes().to_vec();
    key.push(tag);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// A time so that keys sort by it.
pub fn time(time: i64) -> [u8; 8] {
    (time.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

pub fn read_time(bytes: &[u8]) -> Option<i64> {
    Some((read_u64(bytes)? ^ (1 << 63)).cast_signed())
}

pub fn counter(counter: Counter) -> Vec<u8> {
    match counter {
        Counter::Batch => vec![1],
        Counter::List => vec![2],
        Counter::Blob => vec![3],
        Counter::Journal => vec![5],
        Counter::Outbox => vec![6],
        Counter::Discussion(list) => join::<5>(&[7], &list.0.to_be_bytes()).to_vec(),
        Counter::Item(list) => join::<5>(&[4], &list.0.to_be_bytes()).to_vec(),
    }
}

fn join<const N: usize>(head: &[u8], tail: &[u8]) -> [u8; N] {
    let mut key = [0; N];
    for (slot, byte) in key.iter_mut().zip(head.iter().chain(tail)) {
        *slot = *byte;
    }
    key
}

pub fn read_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

pub fn read_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

pub fn read_mail(bytes: &[u8]) -> Option<MailId> {
    Some(MailId::from_bytes(bytes.try_into().ok()?))
}

pub fn read_blob_hash(bytes: &[u8]) -> Option<BlobHash> {
    Some(BlobHash::from_bytes(bytes.try_into().ok()?))
}

pub fn encode<T: Encode<()>>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    // Writing to a vector cannot fail, and no record refuses to be encoded.
    let _ = minicbor::encode(record, &mut bytes);
    bytes
}

pub fn decode<'b, T: Decode<'b, ()>>(family: &'static str, bytes: &'b [u8]) -> Result<T, StoreError> {
    let corrupt = |cause: &dyn Display| StoreError::Corrupt { family, cause: cause.to_string() };
    match bytes.split_first() {
        Some((&VERSION, body)) => minicbor::decode(body).map_err(|error| corrupt(&error)),
        Some((version, _)) => Err(corrupt(&format!("version {version}"))),
        None => Err(corrupt(&"empty")),
    }
}

/// A key that does not have the shape of its family.
pub fn bad_key(family: &'static str) -> StoreError {
    StoreError::Corrupt { family, cause: "its key has the wrong length".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{
        Attendee, Event, Instance, Participation, Person, Proposal, Reply, Revision, Role, Series, Span, Stamp, Status,
        Step, When, Yearly, ZoneRules,
    };
    use crate::model::item::{Attachment, BlobEntry, FileVersion, Item, JournalEntry, LedgerEntry, LibraryFile};
    use crate::model::item::{Discussion, OutboxEntry};
    use crate::model::list::{Kind, List};
    use crate::model::mail::{AuthResult, Authentication, ClaimId, Mailbox};
    use crate::model::settings::{Folders, Inline, ListSettings, Senders, Size, Verified};
    use crate::model::thread::{Facts, Header};

    /// Stores with these bytes are out there. Whoever has to change one of them makes a new format: raise [`FORMAT`], and teach
    /// `RocksStore::open` to read the old one.
    #[track_caller]
    fn assert_frozen(what: &str, bytes: &[u8], golden: &str) {
        let found = hex::encode(bytes);
        assert!(
            found == golden,
            "{what} is written as\n{found}\nand was\n{golden}\nThis is a new format: raise FORMAT and keep the old one readable"
        );
    }

    /// The bytes are frozen, and they read back as the record.
    #[track_caller]
    fn assert_record<T>(record: &T, golden: &str)
    where
        T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + std::fmt::Debug,
    {
        let name = std::any::type_name::<T>();
        assert_frozen(name, &encode(record), golden);
        let read: T = decode("x", &hex::decode(golden).unwrap()).unwrap();
        assert_eq!(&read, record, "{name}");
    }

    fn mail() -> MailId {
        MailId::from_bytes([0xaa; 32])
    }

    #[test]
    fn keys_are_frozen() {
        let (list_id, item_id) = (ListId(0x0102_0304), ItemId(0x1112_1314_1516_1718));
        assert_frozen("list", &list(list_id), "01020304");
        assert_frozen("item", &item(list_id, item_id), "010203041112131415161718");
        assert_frozen(
            "file",
            &file(list_id, "Ordner", "R\u{e9}sum\u{e9}.DOC"),
            "010203046f72646e65720072c3a973756dc3a92e646f63",
        );
        assert_frozen("file in the root", &file(list_id, "", "a"), "010203040061");
        assert_frozen(
            "ledger",
            &ledger(mail(), list_id),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01020304",
        );
        assert_frozen(
            "journal",
            &journal(mail(), 0x1112_1314_1516_1718),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1112131415161718",
        );
        assert_frozen(
            "message_id",
            &message_id("a@b.example", mail()),
            "22f782aa5ceabc3d050ec7c17693f90faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        );
        assert_frozen("event", &event(list_id, "u@x"), "01020304e2cd076ba80a2f306781ae40e079ef96");
        assert_frozen(
            "thread",
            &thread(list_id, b'm', &[&1_u64.to_be_bytes(), &2_u64.to_be_bytes()]),
            "010203046d00000000000000010000000000000002",
        );
        assert_frozen(
            "time",
            &[time(i64::MIN), time(-1), time(0), time(i64::MAX)].concat(),
            "00000000000000007fffffffffffffff8000000000000000ffffffffffffffff",
        );
        assert_frozen("Counter::Outbox", &counter(Counter::Outbox), "06");
        assert_frozen("Counter::Discussion", &counter(Counter::Discussion(list_id)), "0701020304");
        assert_frozen("Counter::Batch", &counter(Counter::Batch), "01");
        assert_frozen("Counter::List", &counter(Counter::List), "02");
        assert_frozen("Counter::Blob", &counter(Counter::Blob), "03");
        assert_frozen("Counter::Journal", &counter(Counter::Journal), "05");
        assert_frozen("Counter::Item", &counter(Counter::Item(list_id)), "0401020304");
    }

    #[test]
    fn numbers_in_keys_read_back_and_a_key_of_another_length_does_not() {
        assert_eq!(read_u32(&list(ListId(7))), Some(7));
        assert_eq!(read_u64(&7_u64.to_be_bytes()), Some(7));
        assert_eq!(read_mail(mail().as_bytes()), Some(mail()));
        assert_eq!(read_blob_hash(&[3; 32]), Some(BlobHash::from_bytes([3; 32])));
        for moment in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert_eq!(read_time(&time(moment)), Some(moment));
        }
        assert_eq!((read_u32(&[0; 5]), read_u64(&[0; 7])), (None, None));
        assert_eq!((read_mail(&[0; 31]), read_blob_hash(&[0; 33])), (None, None));
    }

    #[test]
    fn a_list_is_frozen() {
        let settings = ListSettings {
            receive: true,
            address: "news".to_owned(),
            aliases: vec!["n@l.example".to_owned()],
            attachments: false,
            folders: Folders::Subject,
            overwrite: true,
            save_original: false,
            save_meetings: true,
            senders: Senders::Any,
            members: vec!["@a.example".to_owned()],
            owners: vec!["o@a.example".to_owned()],
            automatic: false,
            max_size: Size(25 << 20),
            max_attachment_size: Size(0),
            blocked_types: vec!["exe".to_owned()],
            inline: Inline::Skip,
            topic_days: 30,
            mail_as_event: true,
            before: vec!["/bin/ask".to_owned(), "-x".to_owned()],
            after: vec!["/bin/tell".to_owned()],
            webhook: "https://hook.example/".to_owned(),
            senders_verified: Verified::Off,
        };
        let record = List { id: ListId(256), name: "News".to_owned(), kind: Kind::DocumentLibrary, settings };
        assert_record(
            &record,
            "0184190100644e6577730096f5646e657773816b6e406c2e6578616d706c65f402f5f4f500816a40612e6578616d706c65816b6f40612e6578616d706c65f41a0190000000816365786501181ef582682f62696e2f61736b622d7881692f62696e2f74656c6c7568747470733a2f2f686f6f6b2e6578616d706c652f00",
        );
        // As it was written before `senders_verified`.
        let older = "0184190100644e6577730095f5646e657773816b6e406c2e6578616d706c65f402f5f4f500816a40612e6578616d706c65816b6f40612e6578616d706c65f41a0190000000816365786501181ef582682f62696e2f61736b622d7881692f62696e2f74656c6c7568747470733a2f2f686f6f6b2e6578616d706c652f";
        assert_eq!(decode::<List>("x", &hex::decode(older).unwrap()).unwrap(), record);
    }

    #[test]
    fn every_kind_and_choice_is_frozen() {
        let kinds: Vec<u8> = Kind::ALL.iter().flat_map(encode).collect();
        assert_frozen("Kind", &kinds, "0100010101020103010401050106");
        let folders: Vec<u8> = [Folders::Root, Folders::Sender, Folders::Subject].iter().flat_map(encode).collect();
        assert_frozen("Folders", &folders, "010001010102");
        let senders: Vec<u8> = [Senders::Any, Senders::Members].iter().flat_map(encode).collect();
        let inline: Vec<u8> = [Inline::Keep, Inline::Skip].iter().flat_map(encode).collect();
        assert_frozen("Inline", &inline, "01000101");
        assert_frozen("Senders", &senders, "01000101");
        let verified: Vec<u8> = [Verified::Off, Verified::Pass].iter().flat_map(encode).collect();
        assert_frozen("Verified", &verified, "01000101");
    }

    #[test]
    fn what_a_trusted_server_said_is_frozen() {
        let result = |result: &str, domain: Option<&str>| AuthResult {
            result: result.to_owned(),
            domain: domain.map(str::to_owned),
        };
        let record = Authentication {
            authserv_id: "mx.example".to_owned(),
            spf: Some(result("pass", Some("a.example"))),
            dkim: vec![result("none", None)],
            dmarc: None,
            aligned: true,
        };
        assert_record(&record, "01856a6d782e6578616d706c6582647061737369612e6578616d706c658181646e6f6e65f6f5");
    }

    fn attachment() -> Attachment {
        Attachment {
            name: "r.pdf".to_owned(),
            original_name: Some("../r.pdf".to_owned()),
            path: Some("f/r (2).pdf".to_owned()),
            content_type: "application/pdf".to_owned(),
            size: 70_000,
            sha256: [0xbb; 32],
            blob: BlobHash::from_bytes([0xcc; 32]),
            inline: true,
            content_id: Some("c@d".to_owned()),
            version: 3,
        }
    }

    #[test]
    fn an_item_with_its_attachments_is_frozen() {
        let record = Item {
            source: "x.eml".to_owned(),
            title: Some("Gr\u{fc}\u{df}e".to_owned()),
            from: Some(Mailbox { name: Some("Ann".to_owned()), address: "ann@a.example".to_owned() }),
            sender: Some(String::new()),
            to: vec!["t@l.example".to_owned()],
            cc: vec!["c@l.example".to_owned(), "d@l.example".to_owned()],
            date: Some(-1),
            received: 1_700_000_000,
            message_id: Some("m@a.example".to_owned()),
            in_reply_to: Some("p@a.example".to_owned()),
            references: vec!["r@a.example".to_owned()],
            body_text: Some("text\n".to_owned()),
            body_html: Some("<p>".to_owned()),
            headers: b"A: \xff\r\n".to_vec(),
            mail_id: mail(),
            created_by: "system".to_owned(),
            defects: vec!["mime-limit".to_owned()],
            attachments: vec![
                attachment(),
                Attachment { original_name: None, path: None, content_id: None, ..attachment() },
            ],
            original: Some(attachment()),
            updates: vec![mail()],
            series: Some(Box::new(Series { uid: "u".to_owned(), master: None, exceptions: Vec::new() })),
            extracted: Vec::new(),
            authentication: None,
        };
        assert_record(
            &record,
            "019665782e656d6c674772c3bcc39f658263416e6e6d616e6e40612e6578616d706c6560816b74406c2e6578616d706c65826b63406c2e6578616d706c656b64406c2e6578616d706c65201a6553f1006b6d40612e6578616d706c656b7040612e6578616d706c65816b7240612e6578616d706c6565746578740a633c703e46413a20ff0d0a5820aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa6673797374656d816a6d696d652d6c696d6974828a65722e706466682e2e2f722e7064666b662f72202832292e7064666f6170706c69636174696f6e2f7064661a000111705820bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb5820ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccf563634064038a65722e706466f6f66f6170706c69636174696f6e2f7064661a000111705820bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb5820ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccf5f6038a65722e706466682e2e2f722e7064666b662f72202832292e7064666f6170706c69636174696f6e2f7064661a000111705820bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb5820ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccf56363406403815820aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa836175f68080",
        );
    }

    #[test]
    fn an_item_of_a_mail_with_nothing_in_it_is_frozen() {
        let record = Item {
            source: String::new(),
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
            mail_id: mail(),
            created_by: String::new(),
            defects: Vec::new(),
            attachments: Vec::new(),
            original: None,
            updates: Vec::new(),
            series: None,
            extracted: Vec::new(),
            authentication: None,
        };
        assert_record(
            &record,
            "019660f6f6f68080f600f6f680f6f6405820aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa608080f680f680",
        );
    }

    /// Every field of a calendar's records is there and differs from its default.
    fn series() -> Series {
        let when = |utc: Option<i64>, local: &str, zone: Option<&str>| When {
            utc,
            local: local.to_owned(),
            zone: zone.map(str::to_owned),
        };
        let start = || when(Some(1_772_352_000), "2026-03-01T09:00:00", Some("Europe/Berlin"));
        let yearly = Yearly { month: 3, weekday: Some(6), nth: -1, day: 0, until: Some(7) };
        let event = Event {
            title: Some("t".to_owned()),
            description: Some("d".to_owned()),
            location: Some("l".to_owned()),
            start: Some(start()),
            end: Some(when(None, "2026-03-02", None)),
            all_day: true,
            status: Some(Status::Confirmed),
            organizer: Some(Person { address: "o@x".to_owned(), name: Some("O".to_owned()) }),
            attendees: vec![Attendee {
                address: "a@x".to_owned(),
                name: None,
                role: Role::Optional,
                status: Participation::Accepted,
                rsvp: true,
                kind: crate::calendar::Kind::Room,
                delegated_to: Some("b@x".to_owned()),
                delegated_from: Some("c@x".to_owned()),
                uninvited: true,
            }],
            rules: vec!["FREQ=DAILY".to_owned()],
            rdates: vec![Span { start: start(), end: Some(start()) }],
            exdates: vec![start()],
            zone_rules: Some(ZoneRules {
                id: "z".to_owned(),
                steps: vec![Step { onset: 1, from: 3600, to: 7200, rule: Some(yearly), further: vec![-5] }],
            }),
            categories: vec!["c".to_owned()],
            url: Some("u".to_owned()),
            class: Some("PRIVATE".to_owned()),
            comment: Some("x".to_owned()),
            free: true,
        };
        let stamp = Stamp { sequence: 2, dtstamp: Some(-1) };
        let revision = || Revision { stamp, event: event.clone() };
        let reply = Reply {
            stamp,
            address: "a@x".to_owned(),
            status: Participation::Tentative,
            name: Some("A".to_owned()),
            comment: Some("no".to_owned()),
            delegated_to: Some("b@x".to_owned()),
            delegated_from: Some("c@x".to_owned()),
        };
        let exception = Instance {
            at: Some(start()),
            this_and_future: true,
            added: true,
            revision: None,
            cancel: Some(Revision { stamp: Stamp::default(), event: Event::default() }),
            replies: vec![reply],
            proposals: vec![Proposal { stamp, by: "p@x".to_owned(), event: Event::default() }],
        };
        let master = Instance { revision: Some(revision()), ..Instance::default() };
        Series { uid: "u@x".to_owned(), master: Some(master), exceptions: vec![exception] }
    }

    #[test]
    fn an_event_with_all_that_is_known_of_it_is_frozen() {
        assert_record(
            &series(),
            "01836375407887f6f4f4828202209261746164616c831a69a3f20073323032362d30332d30315430393a30303a30306d4575726f70652f4265726c696e82f66a323032362d30332d3032f50182636f4078614f818963614078f60101f5036362407863634078f5816a465245513d4441494c598182831a69a3f20073323032362d30332d30315430393a30303a30306d4575726f70652f4265726c696e831a69a3f20073323032362d30332d30315430393a30303a30306d4575726f70652f4265726c696e81831a69a3f20073323032362d30332d30315430393a30303a30306d4575726f70652f4265726c696e82617a818501190e10191c208503062000078124816163617567505249564154456178f5f680808187831a69a3f20073323032362d30332d30315430393a30303a30306d4575726f70652f4265726c696ef5f5f682810092f6f6f6f6f6f4f6f680808080f680f6f6f6f4818782022063614078036141626e6f636240786363407881838202206370407892f6f6f6f6f6f4f6f680808080f680f6f6f6f4",
        );
        let words = [
            [Status::Tentative, Status::Confirmed, Status::Cancelled].iter().flat_map(encode).collect::<Vec<u8>>(),
            [Role::Required, Role::Optional, Role::Chair, Role::Informed].iter().flat_map(encode).collect(),
        ];
        assert_frozen("words of a calendar", &words.concat(), "0100010101020100010101020103");
    }

    #[test]
    fn a_discussion_and_its_members_are_frozen() {
        assert_record(
            &Discussion { moved_to: Some(300), absorbed: vec![1, 70_000], size: 3 },
            "018319012c82011a0001117003",
        );
        let references = vec!["r@x".to_owned()];
        let header = Header {
            message_id: Some("m@x"),
            in_reply_to: Some("p@x"),
            references: &references,
            thread_index: Some("AQHaAQIDBAUGBwgJCgsMDQ4PEBESEwABAgMEBQ=="),
            thread_topic: Some("Topic"),
            subject: Some("Re: Topic"),
            date: Some(-1),
        };
        let facts = Facts::of(ItemId(256), mail(), &header, 0);
        assert!(facts.index.is_some() && facts.topic.is_some() && facts.own.is_some() && facts.refs.len() == 2);
        assert_record(
            &facts,
            "01881901002050409341e7294392eb2dc18f848fa237f782509c564003b4b8ce04fdd50f51f67e335650b9c706605cc6e0f62a881d2e704bad52581b0101da0102030405060708090a0b0c0d0e0f10111213000102030450ac44311956caa6fac9aae537c2d59fdef45820aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        );
        assert_record(
            &Facts::of(ItemId(1), mail(), &Header::default(), 1),
            "01880101f680f6f6f45820aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        );
    }

    #[test]
    fn an_outbox_entry_is_frozen() {
        let record = OutboxEntry {
            list: ListId(256),
            item: ItemId(9),
            url: "https://hook.example/".to_owned(),
            attempts: 3,
            next: -1,
            created: 1_700_000_000,
            mail: mail(),
            claim: ClaimId { batch: 17, number: 3 },
        };
        assert_record(
            &record,
            "0188190100097568747470733a2f2f686f6f6b2e6578616d706c652f03201a6553f1005820aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa821103",
        );
    }

    #[test]
    fn a_library_file_is_frozen() {
        let version = |number, item| FileVersion {
            number,
            item: ItemId(item),
            blob: BlobHash::from_bytes([0xcc; 32]),
            size: 5,
            content_type: "text/plain".to_owned(),
        };
        let record = LibraryFile {
            folder: "F".to_owned(),
            name: "a.txt".to_owned(),
            versions: vec![version(1, 9), version(2, 300)],
        };
        assert_record(
            &record,
            "0183614665612e747874828501095820cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc056a746578742f706c61696e850219012c5820cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc056a746578742f706c61696e",
        );
    }

    #[test]
    fn a_blob_entry_is_frozen() {
        assert_record(&BlobEntry { id: 256, length: 70_000, references: 2 }, "01831901001a0001117002");
    }

    #[test]
    fn a_ledger_entry_is_frozen() {
        let record = LedgerEntry { claim: ClaimId { batch: 17, number: 3 }, item: ItemId(256), time: 1_700_000_000 };
        assert_record(&record, "01838211031901001a6553f100");
    }

    #[test]
    fn a_journal_entry_is_frozen() {
        let record = JournalEntry {
            claim: ClaimId { batch: 17, number: 3 },
            time: 1_700_000_000,
            file: "x.eml".to_owned(),
            outcome: "refused".to_owned(),
            reason: Some("unknown-address".to_owned()),
            text: "no".to_owned(),
            sender: Some("s@a.example".to_owned()),
            recipient: Some("r@l.example".to_owned()),
            message_id: Some("m@a.example".to_owned()),
            list: Some(ListId(256)),
        };
        assert_record(
            &record,
            "018a8211031a6553f10065782e656d6c67726566757365646f756e6b6e6f776e2d61646472657373626e6f6b7340612e6578616d706c656b72406c2e6578616d706c656b6d40612e6578616d706c65190100",
        );
        let bare = JournalEntry { reason: None, sender: None, recipient: None, message_id: None, list: None, ..record };
        assert_record(&bare, "01868211031a6553f10065782e656d6c6772656675736564f6626e6f");
    }

    #[test]
    fn a_record_with_more_fields_is_read_and_one_of_another_version_is_not() {
        // A later program of the same format may add fields: an array that is longer than ours.
        let golden = encode(&BlobEntry { id: 1, length: 2, references: 3 });
        let longer = [&[VERSION, 0x84][..], &golden[2..], &[0x05]].concat();
        assert_eq!(decode::<BlobEntry>("x", &longer).unwrap(), BlobEntry { id: 1, length: 2, references: 3 });
        let error = |bytes: &[u8]| decode::<BlobEntry>("blob_index", bytes).unwrap_err().to_string();
        assert!(error(&[]).contains("`blob_index` cannot be read: empty"));
        assert!(error(&[2, 0x83, 1, 2, 3]).contains("version 2"));
        assert!(error(&golden[..3]).contains("cannot be read"));
    }
}
