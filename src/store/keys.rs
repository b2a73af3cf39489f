//! Keys and values as bytes. Numbers are big-endian so that their order is the order of the keys; values are a version byte
//! and CBOR (RFC 8949). Frozen by the golden bytes below: a change here is a new format.
//!
//! ```text
//! lists       list:4                                   List
//! items       list:4 item:8                            Item
//! files       list:4 folder NUL name                   LibraryFile      (folded names; neither can hold NUL)
//! blobs       blob:8                                   the bytes
//! blob_index  blake3:32                                BlobEntry
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
use crate::model::mail::{BlobHash, MailId};
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
    let hash = BlobHash::of(message_id.as_bytes());
    let mut prefix = [0; 16];
    prefix.copy_from_slice(&hash.as_bytes()[..16]);
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
