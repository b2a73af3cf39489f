//! An item as `export`, `show --json`, hooks and webhooks have it: the schema of the contract. What is absent is `null` or `[]`, never missing.

use serde::Serialize;

use super::event_view::{self, EventView};
use super::rfc3339;
use crate::model::item::{Attachment, Item};
use crate::model::list::{ItemId, List};
use crate::model::mail::{Authentication, Mailbox};

#[derive(Serialize)]
pub struct ItemView<'i> {
    list: &'i str,
    /// None before it is stored.
    id: Option<u64>,
    kind: &'static str,
    source: &'i str,
    title: Option<&'i str>,
    from: Option<&'i Mailbox>,
    sender: Option<&'i str>,
    to: &'i [String],
    cc: &'i [String],
    date: Option<String>,
    received: Option<String>,
    message_id: Option<&'i str>,
    in_reply_to: Option<&'i str>,
    references: &'i [String],
    body_text: Option<&'i str>,
    body_html: Option<&'i str>,
    /// Bytes that are not valid text become U+FFFD; `cat` gives them raw.
    headers: String,
    thread: Option<ThreadView>,
    event: Option<EventView<'i>>,
    mail_id: String,
    created_by: &'i str,
    authentication: Option<&'i Authentication>,
    defects: &'i [String],
    attachments: Vec<AttachmentView<'i>>,
    extracted: Vec<ExtractedView<'i>>,
    original: Option<AttachmentView<'i>>,
}

/// Where an item stands in its discussion: the numbers of the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadView {
    pub root: u64,
    pub parent: Option<u64>,
}

#[derive(Serialize)]
pub struct AttachmentView<'i> {
    name: &'i str,
    original_name: Option<&'i str>,
    path: Option<&'i str>,
    version: u32,
    content_type: &'i str,
    size: u64,
    sha256: String,
    inline: bool,
    content_id: Option<&'i str>,
}

/// What was unpacked from inside an attachment or the text.
#[derive(Serialize)]
pub struct ExtractedView<'i> {
    #[serde(flatten)]
    file: AttachmentView<'i>,
    from: &'i str,
    how: &'i str,
}

pub fn item<'i>(list: &'i List, id: Option<ItemId>, item: &'i Item, thread: Option<ThreadView>) -> ItemView<'i> {
    ItemView {
        list: &list.name,
        id: id.map(|id| id.0),
        kind: list.kind.word(),
        source: &item.source,
        title: item.title.as_deref(),
        from: item.from.as_ref(),
        sender: item.sender.as_deref(),
        to: &item.to,
        cc: &item.cc,
        date: item.date.and_then(time),
        received: time(item.received),
        message_id: item.message_id.as_deref(),
        in_reply_to: item.in_reply_to.as_deref(),
        references: &item.references,
        body_text: item.body_text.as_deref(),
        body_html: item.body_html.as_deref(),
        headers: String::from_utf8_lossy(&item.headers).into_owned(),
        thread,
        event: item.series.as_deref().map(event_view::event),
        mail_id: item.mail_id.to_string(),
        created_by: &item.created_by,
        authentication: item.authentication.as_ref(),
        defects: &item.defects,
        attachments: item.attachments.iter().map(attachment).collect(),
        extracted: item
            .extracted
            .iter()
            .map(|extracted| ExtractedView {
                file: attachment(&extracted.file),
                from: &extracted.from,
                how: &extracted.how,
            })
            .collect(),
        original: item.original.as_ref().map(attachment),
    }
}

fn attachment(attachment: &Attachment) -> AttachmentView<'_> {
    AttachmentView {
        name: &attachment.name,
        original_name: attachment.original_name.as_deref(),
        path: attachment.path.as_deref(),
        version: attachment.version,
        content_type: &attachment.content_type,
        size: attachment.size,
        sha256: hex::encode(attachment.sha256),
        inline: attachment.inline,
        content_id: attachment.content_id.as_deref(),
    }
}

/// Seconds since 1970 as RFC 3339; nothing for a year that has no such form.
pub fn time(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(rfc3339)
}
