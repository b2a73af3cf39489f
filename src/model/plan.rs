//! What one mail wants to write, as owned data: the answer of the pure middle of the pipeline. Same mail, same plan.

use std::sync::Arc;

use super::item::Item;
use super::list::{ItemId, List, ListId};
use super::mail::{BlobBytes, BlobHash, ClaimId, MailId};
use super::outcome::{End, Problem, Reason};
use super::thread::Facts;
use crate::calendar::Update;

/// A list that accepts the mail, and what led there.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    pub list: Arc<List>,
    pub recipients: Vec<String>,
    /// The member who sent it, else `system`.
    pub created_by: String,
    /// What let the sender in, for people: `senders = any`, or the entry of `members`.
    pub allowed_by: String,
    /// The folder that the recipient's subaddress names.
    pub folder: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routed {
    pub accepted: Vec<Accepted>,
    pub failures: Vec<Failure>,
}

impl Routed {
    pub fn refuse(&mut self, recipient: &str, reason: Reason, text: String) {
        self.failures.push(Failure { recipient: Some(recipient.to_owned()), reason, text });
    }
}

/// The bytes of an attachment or an original, shared by the lists that keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub hash: BlobHash,
    pub bytes: BlobBytes,
}

impl Blob {
    pub fn of(mut bytes: Vec<u8>) -> Self {
        // It is kept until its group is committed, and whoever decoded it did not know how much it would be.
        if bytes.capacity() / 2 > bytes.len() {
            bytes.shrink_to_fit();
        }
        Self { hash: BlobHash::of(&bytes), bytes: Arc::new(bytes) }
    }
}

/// A new item for one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub list: ListId,
    /// The envelope recipients that led here: two addresses of one list are one delivery.
    pub recipients: Vec<String>,
    /// None when the ledger already knows this mail in this list: then nothing had to be decoded.
    pub item: Option<Box<Item>>,
    /// What the store made of the item ahead of the commit. Only where the commit changes nothing of it.
    pub prepared: Option<Vec<u8>>,
    /// In a library: the folder that the item's files go into.
    pub library_folder: Option<String>,
    /// What let the sender in, for people.
    pub allowed_by: String,
    pub overwrite: bool,
    /// In a calendar: what the mail says of events. Without any it is an item without a time.
    pub updates: Vec<Update>,
    /// On a discussion board: what decides about the discussion. The item number is given by the committer.
    pub thread: Option<Box<Facts>>,
    pub topic_days: u32,
    /// The URL that is told of the new item.
    pub webhook: Option<String>,
}

impl Delivery {
    /// Whether the item is stored as it is: in a library its files get their paths, in a calendar it may join another, when the
    /// group is built.
    pub const fn is_final(&self) -> bool {
        self.library_folder.is_none() && self.updates.is_empty()
    }
}

/// One recipient, or the whole file when there is none, that is not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub recipient: Option<String>,
    pub reason: Reason,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub claim: ClaimId,
    /// The file name as found.
    pub source: String,
    /// None when the file could not be read.
    pub mail_id: Option<MailId>,
    /// How many groups had been written when the store was asked whether it has this mail.
    pub asked: Option<u64>,
    pub message_id: Option<String>,
    pub sender: Option<String>,
    /// Size of the file.
    pub size: u64,
    pub deliveries: Vec<Delivery>,
    pub failures: Vec<Failure>,
    pub blobs: Vec<Blob>,
}

impl Plan {
    /// A plan that delivers nothing, for one reason.
    pub fn failed(claim: ClaimId, source: String, size: u64, reason: Reason, text: String) -> Self {
        Self {
            claim,
            source,
            mail_id: None,
            asked: None,
            message_id: None,
            sender: None,
            size,
            deliveries: Vec::new(),
            failures: vec![Failure { recipient: None, reason, text }],
            blobs: Vec::new(),
        }
    }

    /// Who and what, without what would be written.
    #[must_use]
    pub fn without_content(&self) -> Self {
        Self {
            claim: self.claim,
            source: self.source.clone(),
            mail_id: self.mail_id,
            asked: self.asked,
            message_id: self.message_id.clone(),
            sender: self.sender.clone(),
            size: self.size,
            deliveries: Vec::new(),
            failures: Vec::new(),
            blobs: Vec::new(),
        }
    }

    /// The worst end among the failures.
    pub fn worst_failure(&self) -> Option<End> {
        self.failures.iter().map(|failure| failure.reason.end()).max()
    }

    /// What the plan holds in memory, about: bodies, headers and blobs.
    pub fn weight(&self) -> u64 {
        let items = self.deliveries.iter().filter_map(|delivery| delivery.item.as_ref()).map(|item| {
            let text = |body: &Option<String>| body.as_ref().map_or(0, String::len);
            text(&item.body_text) + text(&item.body_html) + item.headers.len() + 512
        });
        let blobs = self.blobs.iter().map(|blob| blob.bytes.len());
        items.chain(blobs).map(|bytes| bytes as u64).sum()
    }

    pub fn problems(&self) -> impl Iterator<Item = Problem> {
        self.failures.iter().map(|failure| Problem {
            id: self.claim.to_string(),
            file: self.source.clone(),
            mail_id: self.mail_id.map(|id| id.to_string()),
            message_id: self.message_id.clone(),
            sender: self.sender.clone(),
            recipient: failure.recipient.clone(),
            outcome: failure.reason.end().word().to_owned(),
            reason: failure.reason.code().to_owned(),
            text: failure.text.clone(),
        })
    }
}

/// How a file ends, once its group is durable.
#[derive(Debug)]
pub struct Decided {
    pub plan: Plan,
    pub end: End,
    /// Recipients that have the mail now, from this or an earlier run.
    pub delivered: Vec<String>,
    pub items: u64,
    pub attachments: u64,
    /// Where each delivery landed, for `--dry-run`.
    pub landed: Vec<Landed>,
}

/// A delivery and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    pub list: ListId,
    pub recipients: Vec<String>,
    pub item: ItemId,
    pub duplicate: bool,
    pub allowed_by: String,
    pub paths: Vec<String>,
}

impl Decided {
    /// Nothing decided yet.
    pub fn new() -> Self {
        let nobody = ClaimId { batch: 0, number: 0 };
        let plan = Plan::failed(nobody, String::new(), 0, Reason::Empty, String::new());
        Self { plan, end: End::Duplicate, delivered: Vec::new(), items: 0, attachments: 0, landed: Vec::new() }
    }
}

impl Default for Decided {
    fn default() -> Self {
        Self::new()
    }
}
