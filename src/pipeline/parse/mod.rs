//! Reads the mail: the only folder that names `mail_parser`. Never fails on anything that starts with a header field;
//! what is broken further down becomes a defect. Text is decoded here, attachments only when a list wants them.

mod charset;

mod transfer;

mod words;

mod ids;

mod date;

mod address;

mod params;

use std::borrow::Cow;

use mail_parser::{HeaderName, MessageParser, MessagePart, MessageRef, PartFlags, PartKind};

use crate::model::mail::{Mail, Part, TransferEncoding};
use crate::model::outcome::Reason;

/// A mail that carries this field came out of mailmill: it is not taken in again.
pub const LOOP_MARKER: &str = "X-Mailmill-Loop";

/// Bounds on the structure of one mail; content past them stays in the last part and is a defect.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub depth: usize,
    pub parts: usize,
}

/// Parsers are made once and shared.
#[derive(Debug)]
pub struct Parser {
    parser: MessageParser,
}

impl Parser {
    pub fn new(bounds: Bounds) -> Self {
        // A nested message is one attachment, whole: its inside is not opened here, so an encoded one is not decoded either.
        let parser = MessageParser::new().max_depth(bounds.depth).max_parts(bounds.parts).max_encoded_nesting(0);
        Self { parser }
    }

    /// Parses a mail without its envelope.
    pub fn parse<'r>(&self, original: &'r [u8]) -> Result<Mail<'r>, Reason> {
        if original.iter().all(u8::is_ascii_whitespace) {
            return Err(Reason::Empty);
        }
        let message = self.parser.parse(original).ok_or(Reason::NotAMessage)?;
        let root = message.root();
        if root.headers().iter().next().is_none() || !starts_with_field(original) {
            return Err(Reason::NotAMessage);
        }
        let mut mail = read_headers(root);
        mail.original = original;
        let block = slice(original, root.root_part().offset_header(), root.root_part().offset_body());
        mail.header_block = without_empty_line(block);
        let mut walk = Walk { original, mail: &mut mail };
        walk.part(root.root_part());
        Ok(mail)
    }
}

/// The bytes of a part, without their transfer encoding. Malformed stretches are decoded as far as they go.
pub fn decode<'r>(part: &Part<'r>) -> Cow<'r, [u8]> {
    transfer::decode(part.encoding, part.raw)
}

/// The first line is a header field (RFC 5322 section 2.2): printable name, colon. A leading `From ` line of a mailbox file is
/// passed over.
fn starts_with_field(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while rest.starts_with(b"From ")
        || rest.starts_with(b">From ")
        || rest.starts_with(b"\n")
        || rest.starts_with(b"\r\n")
    {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return false };
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    let name = rest.iter().take_while(|byte| byte.is_ascii_graphic() && **byte != b':').count();
    let after = rest.get(name..).unwrap_or_default();
    let padding = after.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    name > 0 && after.get(padding) == Some(&b':')
}

fn without_empty_line(block: &[u8]) -> &[u8] {
    without_line_end(without_line_end(block))
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").map_or(bytes, |cut| cut.strip_suffix(b"\r").unwrap_or(cut))
}

fn slice(bytes: &[u8], start: u32, end: u32) -> &[u8] {
    bytes.get(start as usize..end as usize).unwrap_or_default()
}

/// Where a field stands twice the first one that can be read counts. Lists of addresses are put together.
fn read_headers<'r>(message: MessageRef<'_>) -> Mail<'r> {
    let fields = |name| message.headers().all(name).map(|header| header.raw_value());
    let addresses = |name| {
        let mut list = Vec::new();
        fields(name).for_each(|field| address::all(field, &mut list));
        list
    };
    let submitted = message.headers().value("Auto-Submitted").and_then(|value| value.as_text());
    Mail {
        subject: fields(HeaderName::Subject).find_map(words::text),
        from: fields(HeaderName::From).find_map(address::first),
        to: addresses(HeaderName::To),
        cc: addresses(HeaderName::Cc),
        date: fields(HeaderName::Date).find_map(date::parse),
        message_id: fields(HeaderName::MessageId).find_map(ids::own),
        in_reply_to: fields(HeaderName::InReplyTo).find_map(|field| ids::all(field).into_iter().next()),
        references: fields(HeaderName::References).map(ids::all).next().unwrap_or_default(),
        ours: message.headers().contains(LOOP_MARKER),
        automatic: submitted.is_some_and(|value| !value.trim().to_ascii_lowercase().starts_with("no")),
        ..Mail::default()
    }
}

struct Walk<'w, 'r> {
    original: &'r [u8],
    mail: &'w mut Mail<'r>,
}

impl<'r> Walk<'_, 'r> {
    /// Depth first, into multiparts and not into nested messages. The parser bounds the depth, so the stack is safe.
    fn part(&mut self, part: MessagePart<'_>) {
        self.note_flags(part);
        if part.is_multipart() && !part.flags().contains(PartFlags::LIMIT_REACHED) {
            for child in part.children() {
                self.part(child);
            }
            return;
        }
        let kind = Leaf::of(part);
        if kind.is_attachment {
            self.mail.parts.push(self.attachment(part, kind));
        } else if kind.media_type == "text/html" {
            if self.mail.body_html.is_none() {
                self.mail.body_html = Some(self.body(part));
            }
        } else if kind.media_type == "text/plain" && self.mail.body_text.is_none() {
            self.mail.body_text = Some(self.body(part));
        }
    }

    fn attachment(&self, part: MessagePart<'_>, leaf: Leaf) -> Part<'r> {
        Part {
            name: leaf.name,
            content_type: leaf.media_type,
            content_id: field(part, HeaderName::ContentId).and_then(ids::own),
            inline: part.is_inline(),
            raw: self.raw(part),
            encoding: encoding(part),
        }
    }

    /// A part that the end of the file cuts off ends before the last line break, like one that a delimiter ends:
    /// the line break belongs to the delimiter that is missing, not to the part (RFC 2046 section 5.1.1).
    fn raw(&self, part: MessagePart<'_>) -> &'r [u8] {
        let raw = slice(self.original, part.offset_body(), part.offset_end());
        let is_cut_off = part.parent().is_some() && part.offset_end() as usize == self.original.len();
        if is_cut_off { without_line_end(raw) } else { raw }
    }

    fn body(&self, part: MessagePart<'_>) -> String {
        let label = field(part, HeaderName::ContentType).and_then(|field| params::parameter(field, "charset"));
        charset::decode(label.as_deref(), transfer::decode_text(encoding(part), self.raw(part)))
    }

    fn note_flags(&mut self, part: MessagePart<'_>) {
        let flags = part.flags();
        let named = [
            (PartFlags::UNTERMINATED, "mime-unterminated"),
            (PartFlags::MISSING_DELIMITER, "mime-missing-boundary"),
            (PartFlags::LIMIT_REACHED, "mime-limit"),
        ];
        for (flag, name) in named {
            if flags.contains(flag) && !self.mail.defects.iter().any(|defect| defect == name) {
                self.mail.defects.push(name.to_owned());
            }
        }
    }
}

/// What kind of leaf a part is.
struct Leaf {
    media_type: String,
    name: Option<String>,
    is_attachment: bool,
}

impl Leaf {
    fn of(part: MessagePart<'_>) -> Self {
        let content_type = field(part, HeaderName::ContentType);
        let disposition = field(part, HeaderName::ContentDisposition);
        let declared = content_type.and_then(params::media_type);
        let message = matches!(part.kind(), PartKind::Message(_));
        let media_type = match declared {
            Some(declared) if !message || declared.starts_with("message/") => declared,
            // In a multipart/digest a part without a type is a message (RFC 2046 section 5.1.5).
            _ if message => "message/rfc822".to_owned(),
            _ => "text/plain".to_owned(),
        };
        let attached = disposition.is_some_and(params::is_attachment);
        let name = disposition.and_then(|field| params::parameter(field, "filename"));
        let name = name.or_else(|| params::parameter(content_type?, "name"));
        let is_attachment = attached || name.is_some() || !media_type.starts_with("text/");
        Self { media_type, name, is_attachment }
    }
}

fn encoding(part: MessagePart<'_>) -> TransferEncoding {
    transfer::named(field(part, HeaderName::ContentTransferEncoding))
}

/// The last field of that name, which is the one that the structure was found by.
fn field<'m>(part: MessagePart<'m>, name: HeaderName<'static>) -> Option<&'m [u8]> {
    part.headers().get(name).map(|header| header.raw_value())
}
