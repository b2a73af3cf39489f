//! What a list keeps of a mail: the item, the files that belong to it, and what the ledger and the journal remember.
//! These are the records of the store. Their CBOR (RFC 8949) is frozen by golden bytes: fields are only ever added, with new numbers.

use minicbor::{Decode, Encode};

use super::list::{ItemId, ListId};
use super::mail::{Authentication, BlobHash, ClaimId, MailId, Mailbox};
use crate::calendar::Series;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Item {
    /// The file as it was found.
    #[n(0)]
    pub source: String,
    #[n(1)]
    pub title: Option<String>,
    #[n(2)]
    pub from: Option<Mailbox>,
    /// The envelope sender; empty for the null sender.
    #[n(3)]
    pub sender: Option<String>,
    #[n(4)]
    pub to: Vec<String>,
    #[n(5)]
    pub cc: Vec<String>,
    /// The Date field, seconds since 1970, UTC.
    #[n(6)]
    pub date: Option<i64>,
    /// When mailmill stored it, seconds since 1970, UTC.
    #[n(7)]
    pub received: i64,
    #[n(8)]
    pub message_id: Option<String>,
    #[n(9)]
    pub in_reply_to: Option<String>,
    #[n(10)]
    pub references: Vec<String>,
    #[n(11)]
    pub body_text: Option<String>,
    #[n(12)]
    pub body_html: Option<String>,
    #[cbor(n(13), with = "minicbor::bytes")]
    pub headers: Vec<u8>,
    #[n(14)]
    pub mail_id: MailId,
    #[n(15)]
    pub created_by: String,
    #[n(16)]
    pub defects: Vec<String>,
    #[n(17)]
    pub attachments: Vec<Attachment>,
    /// The mail as it was sent, when the list keeps originals.
    #[n(18)]
    pub original: Option<Attachment>,
    /// Mails that changed the item after the one that made it, the newest of them: invitations sent again, answers, cancellations.
    #[n(19)]
    pub updates: Vec<MailId>,
    /// In a calendar: everything that is known of the event.
    #[n(20)]
    pub series: Option<Box<Series>>,
    /// What was unpacked from inside attachments and the text.
    #[n(21)]
    pub extracted: Vec<ExtractedFile>,
    /// What a trusted server found out about the sender.
    #[n(22)]
    pub authentication: Option<Authentication>,
}

impl Item {
    /// Every blob the item names, originals included.
    pub fn files(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().chain(self.extracted.iter().map(|extracted| &extracted.file)).chain(&self.original)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attachment {
    /// Cleaned: safe as a file name.
    #[n(0)]
    pub name: String,
    /// As the sender wrote it, decoded.
    #[n(1)]
    pub original_name: Option<String>,
    /// Where it lies in a library; none on other lists.
    #[n(2)]
    pub path: Option<String>,
    #[n(3)]
    pub content_type: String,
    #[n(4)]
    pub size: u64,
    #[cbor(n(5), with = "minicbor::bytes")]
    pub sha256: [u8; 32],
    #[n(6)]
    pub blob: BlobHash,
    #[n(7)]
    pub inline: bool,
    #[n(8)]
    pub content_id: Option<String>,
    /// The version of the library file that this attachment became; 1 elsewhere.
    #[n(9)]
    pub version: u32,
}

/// A file that came out of another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ExtractedFile {
    #[n(0)]
    pub file: Attachment,
    /// The attachment it was in, or `body`.
    #[n(1)]
    pub from: String,
    /// `tnef`, `message`, `uuencode`, `yenc`, `smime-signed` or `smime-compressed`.
    #[n(2)]
    pub how: String,
}

/// One name in a library's folder tree.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LibraryFile {
    /// As shown; the key holds the folded form.
    #[n(0)]
    pub folder: String,
    #[n(1)]
    pub name: String,
    /// Oldest first; the last one is what `export --to` writes.
    #[n(2)]
    pub versions: Vec<FileVersion>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FileVersion {
    #[n(0)]
    pub number: u32,
    #[n(1)]
    pub item: ItemId,
    #[n(2)]
    pub blob: BlobHash,
    #[n(3)]
    pub size: u64,
    #[n(4)]
    pub content_type: String,
}

/// A discussion of a discussion board. Its members lie beside it, under its number and under those that it took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Discussion {
    /// Joined to this one: nothing is added here any more.
    #[n(0)]
    pub moved_to: Option<u64>,
    /// Discussions whose members belong here too.
    #[n(1)]
    pub absorbed: Vec<u64>,
    /// Members, those of what it took included.
    #[n(2)]
    pub size: u64,
}

/// Where a blob lies, how long it is, and how many times items name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlobEntry {
    #[n(0)]
    pub id: u64,
    #[n(1)]
    pub length: u64,
    #[n(2)]
    pub references: u64,
}

/// This mail was delivered to this list: the only terminal end there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LedgerEntry {
    /// Found again under this claim it is `delivered` (a crash before settling), under another a `duplicate`.
    #[n(0)]
    pub claim: ClaimId,
    #[n(1)]
    pub item: ItemId,
    /// Seconds since 1970, UTC.
    #[n(2)]
    pub time: i64,
}

/// A webhook that has not been told yet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OutboxEntry {
    #[n(0)]
    pub list: ListId,
    #[n(1)]
    pub item: ItemId,
    #[n(2)]
    pub url: String,
    #[n(3)]
    pub attempts: u32,
    /// Not before, seconds since 1970, UTC.
    #[n(4)]
    pub next: i64,
    #[n(5)]
    pub created: i64,
    #[n(6)]
    pub mail: MailId,
    #[n(7)]
    pub claim: ClaimId,
}

/// Something else that happened to a mail: it was refused, damaged, a duplicate, retried, discarded.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JournalEntry {
    #[n(0)]
    pub claim: ClaimId,
    #[n(1)]
    pub time: i64,
    #[n(2)]
    pub file: String,
    #[n(3)]
    pub outcome: String,
    /// A reason code, where there is one.
    #[n(4)]
    pub reason: Option<String>,
    #[n(5)]
    pub text: String,
    #[n(6)]
    pub sender: Option<String>,
    #[n(7)]
    pub recipient: Option<String>,
    #[n(8)]
    pub message_id: Option<String>,
    #[n(9)]
    pub list: Option<ListId>,
}
