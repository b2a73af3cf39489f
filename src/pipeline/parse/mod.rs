//! Reads the mail: the only folder that names `mail_parser`, which finds the structure; header fields and names are
//! read here. Never fails on anything that starts like a mail; what is broken further down becomes a defect. Text is
//! decoded here, attachments only when a list wants them.

mod charset;

mod transfer;

mod words;

mod ids;

mod date;

mod address;

mod params;

mod authentication;

use std::borrow::Cow;

use mail_parser::{HeaderForm, HeaderName, MessageParser, MessagePart, PartFlags, PartKind};

use crate::model::mail::{Authentication, Mail, Part, TransferEncoding};
use crate::model::outcome::Reason;

/// A mail that carries this field came out of mailmill: it is not taken in again.
pub const LOOP_MARKER: &str = "X-Mailmill-Loop";

/// Bounds on what is read of one mail. Past them less is read and a defect says so; nothing else becomes of it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Multiparts within multiparts; what is deeper stays one part.
    pub depth: usize,
    /// The rest stays in the last part.
    pub parts: usize,
    /// Of the header of the mail; the rest of it is neither read nor kept.
    pub header_bytes: usize,
    pub header_fields: usize,
    /// Of To and Cc together.
    pub addresses: usize,
    /// Of a file name as it was sent.
    pub name_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        let (header_bytes, header_fields, addresses, name_bytes) = (1 << 20, 10_000, 10_000, 1024);
        Self { depth: 64, parts: 1000, header_bytes, header_fields, addresses, name_bytes }
    }
}

/// Parsers are made once and shared.
#[derive(Debug)]
pub struct Parser {
    structure: MessageParser,
    bounds: Bounds,
    trusted: Vec<String>,
    wants_author: bool,
}

/// Fields that the parser would otherwise take apart for nothing: what we want of them we read ourselves.
const UNREAD: [HeaderName<'static>; 34] = [
    HeaderName::Subject,
    HeaderName::Comments,
    HeaderName::From,
    HeaderName::Sender,
    HeaderName::ReplyTo,
    HeaderName::To,
    HeaderName::Cc,
    HeaderName::Bcc,
    HeaderName::Date,
    HeaderName::MessageId,
    HeaderName::InReplyTo,
    HeaderName::References,
    HeaderName::Keywords,
    HeaderName::Received,
    HeaderName::ReturnPath,
    HeaderName::ContentDescription,
    HeaderName::ContentId,
    HeaderName::ContentLanguage,
    HeaderName::ContentLocation,
    HeaderName::ResentFrom,
    HeaderName::ResentSender,
    HeaderName::ResentTo,
    HeaderName::ResentCc,
    HeaderName::ResentBcc,
    HeaderName::ResentDate,
    HeaderName::ResentMessageId,
    HeaderName::ListArchive,
    HeaderName::ListHelp,
    HeaderName::ListId,
    HeaderName::ListOwner,
    HeaderName::ListPost,
    HeaderName::ListSubscribe,
    HeaderName::ListUnsubscribe,
    HeaderName::MimeVersion,
];

impl Parser {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        // A nested message is one attachment, whole: its inside is not opened here, so an encoded one is not decoded
        // either.
        let parser = MessageParser::new().max_depth(bounds.depth).max_parts(bounds.parts).max_encoded_nesting(0);
        let parser = UNREAD.into_iter().fold(parser, |parser, name| parser.header(name, HeaderForm::Ignore));
        Self { structure: parser.unknown_headers(HeaderForm::Ignore), bounds, trusted: Vec::new(), wants_author: false }
    }

    /// Believes these servers what they write into Authentication-Results. Without this, nobody.
    #[must_use]
    pub fn trusting(self, authserv_ids: &[String]) -> Self {
        Self { wants_author: self.wants_author || !authserv_ids.is_empty(), trusted: authserv_ids.to_vec(), ..self }
    }

    /// Reads also whose domain From names, for whoever checks signatures.
    #[must_use]
    pub fn with_author(self, wants_author: bool) -> Self {
        Self { wants_author: self.wants_author || wants_author, ..self }
    }

    /// Parses a mail without its envelope.
    ///
    /// # Errors
    ///
    /// Nothing but white space, or a first line that no mail has.
    pub fn parse<'r>(&self, original: &'r [u8]) -> Result<Mail<'r>, Reason> {
        if original.iter().all(u8::is_ascii_whitespace) {
            return Err(Reason::Empty);
        }
        let bytes = without_prefix(original);
        let message =
            starts_like_mail(bytes).then(|| self.structure.parse(bytes)).flatten().ok_or(Reason::NotAMessage)?;
        let root = message.root().root_part();
        let mut mail = self.read_header(root);
        mail.original = original;
        let block = without_empty_line(slice(bytes, root.offset_header(), root.offset_body()));
        mail.header_block = whole_lines(block, self.bounds.header_bytes);
        Walk { bytes, mail: &mut mail, name_bytes: self.bounds.name_bytes, spare_text: None }.whole(root);
        Ok(mail)
    }
}

/// The bytes of a part, without their transfer encoding. Malformed stretches are decoded as far as they go.
#[must_use]
pub fn decode<'r>(part: &Part<'r>) -> Cow<'r, [u8]> {
    transfer::decode(part.encoding, part.raw)
}

/// The text of a part, in UTF-8.
pub fn decode_text(part: &Part<'_>) -> String {
    charset::decode(part.charset.as_deref(), transfer::decode_text(part.encoding, part.raw))
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Editors leave a byte order mark before the header, and mailbox files a `From ` line.
fn without_prefix(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    while rest.starts_with(b"From ") || rest.starts_with(b">From ") {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        rest = rest.get(end..).unwrap_or_default();
    }
    rest
}

/// The first line is a header field, printable name and colon (RFC 5322 section 2.2), or the empty line that ends a
/// header without any field. A name with a damaged letter still is one.
fn starts_like_mail(bytes: &[u8]) -> bool {
    let is_name = |byte: &u8| (byte.is_ascii_graphic() || !byte.is_ascii()) && *byte != b':';
    let name = bytes.iter().take_while(|byte| is_name(byte)).count();
    let after = bytes.get(name..).unwrap_or_default();
    let padding = after.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let is_field = name > 0 && after.get(padding) == Some(&b':');
    is_field || bytes.starts_with(b"\n") || bytes.starts_with(b"\r\n")
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

/// A header block up to a bound, ended before the line that crosses it.
fn whole_lines(block: &[u8], most: usize) -> &[u8] {
    let Some(kept) = block.get(..most).filter(|_| block.len() > most) else { return block };
    let end = kept.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    without_line_end(kept.get(..end).unwrap_or_default())
}

/// The fields of a header that lie within the bounds, and whether there were more.
struct Fields<'m> {
    list: Vec<(HeaderName<'m>, &'m [u8])>,
    is_longer: bool,
    are_more: bool,
}

impl<'m> Fields<'m> {
    fn all(&self, name: HeaderName<'static>) -> impl Iterator<Item = &'m [u8]> {
        self.list.iter().filter(move |(found, _)| *found == name).map(|(_, field)| *field)
    }

    fn of(root: MessagePart<'m>, bounds: Bounds) -> Self {
        let mut fields =
            Fields { list: Vec::with_capacity(root.headers().len().min(64)), is_longer: false, are_more: false };
        for header in root.headers() {
            let start = (header.offset_start() - root.offset_header()) as usize;
            let room = bounds.header_bytes.saturating_sub(start);
            fields.are_more = fields.list.len() >= bounds.header_fields;
            fields.is_longer = room == 0;
            if fields.are_more || fields.is_longer {
                break;
            }
            let value = header.raw_value();
            // The field that crosses the bound is read up to it.
            fields.is_longer = value.len() > room;
            fields.list.push((header.name(), value.get(..room).unwrap_or(value)));
        }
        fields
    }
}

impl Parser {
    fn read_header<'r>(&self, root: MessagePart<'_>) -> Mail<'r> {
        let fields = Fields::of(root, self.bounds);
        let mut mail = read_fields(&fields, self.bounds.addresses);
        if self.wants_author {
            mail.author_domain = author_domain(&fields);
            mail.authentication = self.authentication(&fields, mail.author_domain.as_deref());
        }
        let limits = [(fields.is_longer, "header-limit"), (fields.are_more, "header-fields-limit")];
        mail.defects.extend(limits.into_iter().filter(|(is_over, _)| *is_over).map(|(_, name)| name.to_owned()));
        mail
    }

    /// The topmost field decides, whatever stands below it.
    fn authentication(&self, fields: &Fields<'_>, author: Option<&str>) -> Option<Authentication> {
        let mut found = authentication::read(fields.all(HeaderName::AuthenticationResults).next()?, &self.trusted)?;
        found.aligned = author.is_some_and(|author| found.speaks_for(author));
        Some(found)
    }
}

fn author_domain(fields: &Fields<'_>) -> Option<String> {
    let mut authors = Vec::new();
    for field in fields.all(HeaderName::From) {
        address::all(field, 2, &mut authors);
    }
    match authors.as_slice() {
        [author] => Some(authentication::domain_of(author)),
        _ => None,
    }
}

/// Where a field stands twice the first one that can be read counts. Lists of addresses are put together.
fn read_fields<'r>(fields: &Fields<'_>, most_addresses: usize) -> Mail<'r> {
    let mut mail = Mail::default();
    let mut is_crowded = false;
    for (name, field) in &fields.list {
        match name {
            HeaderName::Subject => mail.subject = mail.subject.take().or_else(|| words::text(field)),
            HeaderName::From => mail.from = mail.from.take().or_else(|| address::first(field)),
            HeaderName::To => {
                is_crowded |= address::all(field, most_addresses.saturating_sub(mail.cc.len()), &mut mail.to);
            }
            HeaderName::Cc => {
                is_crowded |= address::all(field, most_addresses.saturating_sub(mail.to.len()), &mut mail.cc);
            }
            HeaderName::Date => mail.date = mail.date.or_else(|| date::parse(field)),
            HeaderName::MessageId => mail.message_id = mail.message_id.take().or_else(|| ids::own(field)),
            HeaderName::InReplyTo => {
                mail.says_reply = true;
                mail.in_reply_to = mail.in_reply_to.take().or_else(|| ids::all(field).into_iter().next());
            }
            HeaderName::References if mail.references.is_empty() => {
                mail.says_reply = true;
                mail.references = ids::all(field);
            }
            HeaderName::ThreadTopic => mail.thread_topic = mail.thread_topic.take().or_else(|| words::text(field)),
            HeaderName::ThreadIndex => {
                mail.thread_index.get_or_insert_with(|| String::from_utf8_lossy(field).into_owned());
            }
            HeaderName::AutoSubmitted => {
                mail.automatic =
                    !field.trim_ascii_start().get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"no"));
            }
            HeaderName::Other(name) if name.eq_ignore_ascii_case(LOOP_MARKER) => mail.ours = true,
            _ => {}
        }
    }
    if is_crowded {
        mail.defects.push("addresses-limit".to_owned());
    }
    mail
}

struct Walk<'w, 'r> {
    bytes: &'r [u8],
    mail: &'w mut Mail<'r>,
    name_bytes: usize,
    /// What is readable but no body by its type: a multipart that has no parts, text/enriched.
    spare_text: Option<String>,
}

impl<'r> Walk<'_, 'r> {
    /// Depth first, into multiparts and not into nested messages.
    fn whole(mut self, root: MessagePart<'_>) {
        let mut waiting = vec![root];
        while let Some(part) = waiting.pop() {
            self.note_flags(part);
            if part.is_multipart() && part.children().len() > 0 {
                waiting.extend(part.children().rev());
            } else {
                self.leaf(part);
            }
        }
        if self.mail.body_text.is_none() && self.mail.body_html.is_none() {
            self.mail.body_text = self.spare_text;
        }
    }

    fn leaf(&mut self, part: MessagePart<'_>) {
        let raw = self.raw(part);
        // Two delimiters in a row have no part between them.
        if raw.is_empty() && part.headers().is_empty() && part.flags().contains(PartFlags::NO_BLANK_LINE) {
            return;
        }
        let mut leaf = Leaf::of(part);
        if let Some(name) = leaf.name.as_mut().filter(|name| name.len() > self.name_bytes) {
            name.truncate(name.floor_char_boundary(self.name_bytes));
            self.defect("name-limit");
        }
        if leaf.media_type == "message/partial" {
            // RFC 2046 section 5.2.2: the pieces come as mails of their own, and each is kept as it is.
            self.defect("message-partial");
        }
        let is_undivided =
            leaf.media_type.starts_with("multipart/") && !part.flags().contains(PartFlags::LIMIT_REACHED);
        if is_undivided {
            self.defect("mime-no-parts");
        } else if leaf.is_attachment() {
            self.mail.parts.push(leaf.into_part(part, raw));
            return;
        } else if leaf.media_type == "text/calendar" {
            // Somebody's appointment is for calendars, and not for reading in this form.
            self.mail.calendars.push(leaf.into_part(part, raw));
            return;
        }
        let slot = match leaf.media_type.as_str() {
            "text/plain" => &mut self.mail.body_text,
            "text/html" => &mut self.mail.body_html,
            _ => &mut self.spare_text,
        };
        if slot.is_none() {
            let body = leaf.into_part(part, raw);
            let text = charset::decode(body.charset.as_deref(), transfer::decode_text(body.encoding, raw));
            *slot = Some(text).filter(|text| !is_undivided || !text.trim().is_empty());
            if body.content_type == "text/plain" {
                self.mail.body_part = Some(body);
            }
        }
    }

    /// A part that the end of the file cuts off ends before the last line break, like one that a delimiter ends:
    /// the line break belongs to the delimiter that is missing, not to the part (RFC 2046 section 5.1.1).
    fn raw(&self, part: MessagePart<'_>) -> &'r [u8] {
        let raw = slice(self.bytes, part.offset_body(), part.offset_end());
        let is_cut_off = part.parent().is_some() && part.offset_end() as usize == self.bytes.len();
        if is_cut_off { without_line_end(raw) } else { raw }
    }

    fn note_flags(&mut self, part: MessagePart<'_>) {
        let flags = part.flags();
        let named = [
            (PartFlags::UNTERMINATED, "mime-unterminated"),
            (PartFlags::MISSING_DELIMITER, "mime-missing-boundary"),
            (PartFlags::LIMIT_REACHED, "mime-limit"),
        ];
        for (flag, name) in named {
            if flags.contains(flag) {
                self.defect(name);
            }
        }
    }

    fn defect(&mut self, name: &str) {
        if !self.mail.defects.iter().any(|defect| defect == name) {
            self.mail.defects.push(name.to_owned());
        }
    }
}

/// The last field of that name, which is the one that the structure was found by.
fn field<'m>(part: MessagePart<'m>, name: HeaderName<'static>) -> Option<&'m [u8]> {
    part.headers().get(name).map(|header| header.raw_value())
}

fn charset_of(part: MessagePart<'_>) -> Option<String> {
    field(part, HeaderName::ContentType).and_then(|field| params::parameter(field, "charset"))
}

/// What a part without parts of its own says about itself.
struct Leaf {
    media_type: String,
    name: Option<String>,
    is_declared_attachment: bool,
    encoding: TransferEncoding,
}

impl Leaf {
    fn of(part: MessagePart<'_>) -> Self {
        let content_type = field(part, HeaderName::ContentType);
        let disposition = field(part, HeaderName::ContentDisposition);
        let is_message = matches!(part.kind(), PartKind::Message(_));
        let media_type = match content_type.and_then(params::media_type) {
            Some(declared) if !is_message || declared.starts_with("message/") => declared,
            // In a multipart/digest a part without a type is a message (RFC 2046 section 5.1.5).
            _ if is_message => "message/rfc822".to_owned(),
            _ => "text/plain".to_owned(),
        };
        let name = disposition.and_then(|field| params::parameter(field, "filename"));
        Self {
            media_type,
            name: name.or_else(|| params::parameter(content_type?, "name")),
            is_declared_attachment: disposition.is_some_and(params::is_attachment),
            encoding: transfer::named(field(part, HeaderName::ContentTransferEncoding)),
        }
    }

    fn into_part<'r>(self, part: MessagePart<'_>, raw: &'r [u8]) -> Part<'r> {
        Part {
            raw,
            encoding: self.encoding,
            charset: charset_of(part),
            content_id: field(part, HeaderName::ContentId).and_then(ids::own),
            inline: part.is_inline(),
            content_type: self.media_type,
            name: self.name,
        }
    }

    fn is_attachment(&self) -> bool {
        self.is_declared_attachment || self.name.is_some() || !self.media_type.starts_with("text/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parser() -> Parser {
        Parser::new(Bounds { depth: 8, parts: 100, ..Bounds::default() })
    }

    fn read(mail: &str) -> Mail<'_> {
        parser().parse(mail.as_bytes()).unwrap()
    }

    fn files(mail: &Mail<'_>) -> Vec<(String, String)> {
        let file = |part: &Part<'_>| {
            let label = part.name.clone().unwrap_or_else(|| part.content_type.clone());
            (label, String::from_utf8_lossy(&decode(part)).into_owned())
        };
        mail.parts.iter().map(file).collect()
    }

    fn file(label: &str, content: &str) -> (String, String) {
        (label.to_owned(), content.to_owned())
    }

    const HEAD: &str = "From: Jo <jo@x.example>\nContent-Type: multipart/mixed; boundary=b\n\n";

    #[test]
    fn the_first_of_a_field_that_stands_twice_counts_and_address_lists_are_put_together() {
        let mail = read(
            "Subject: one\nSubject: two\nFrom: a@x.example\nFrom: b@x.example\nTo: c@x.example\nTo: d@x.example\n\
             Date: 1 Jan 2000 00:00:00 +0000\nDate: 2 Jan 2000 00:00:00 +0000\nMessage-ID: <1@x>\nMessage-ID: <2@x>\n\
             In-Reply-To: <3@x> <4@x>\nReferences: <5@x>\n <3@x>\nAuto-Submitted: auto-replied\n\nbody\n",
        );
        assert_eq!(mail.subject.as_deref(), Some("one"));
        assert_eq!(mail.from.map(|from| from.address).as_deref(), Some("a@x.example"));
        assert_eq!(mail.to, ["c@x.example", "d@x.example"]);
        assert_eq!(mail.date, Some(946_684_800));
        assert_eq!(mail.message_id.as_deref(), Some("1@x"));
        assert_eq!(mail.in_reply_to.as_deref(), Some("3@x"));
        assert_eq!(mail.references, ["5@x", "3@x"]);
        assert!(mail.automatic && !mail.ours);
        assert_eq!(mail.body_text.as_deref(), Some("body\n"));
    }

    #[test]
    fn what_a_discussion_needs_is_read_and_a_broken_reference_still_says_reply() {
        let mail = read("Thread-Topic: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nThread-Index: AQ\n HR\nIn-Reply-To: nonsense\n\n");
        assert_eq!(mail.thread_topic.as_deref(), Some("Grüße"));
        assert!(mail.thread_index.is_some_and(|index| index.contains("AQ")));
        assert!(mail.says_reply);
        assert!(!read("Subject: a\n\n").says_reply);
    }

    fn bounded(change: impl FnOnce(&mut Bounds)) -> Parser {
        let mut bounds = Bounds::default();
        change(&mut bounds);
        Parser::new(bounds)
    }

    #[test]
    fn a_header_is_read_and_kept_up_to_its_bound() {
        let mail = "Subject: one\nX-A: 2\nX-Long: abcdefgh\nTo: late@x.example\n\nbody\n";
        for (most, kept, has_subject) in
            [(1, "", false), (12, "", true), (13, "Subject: one", true), (25, "Subject: one\nX-A: 2", true)]
        {
            let read = bounded(|bounds| bounds.header_bytes = most).parse(mail.as_bytes()).unwrap();
            assert_eq!(read.header_block, kept.as_bytes(), "{most}");
            assert_eq!(read.subject.is_some(), has_subject, "{most}");
            assert_eq!((read.to.len(), read.defects), (0, vec!["header-limit".to_owned()]));
            assert_eq!(read.body_text.as_deref(), Some("body\n"));
        }
        let most = mail.find("\n\nbody").unwrap() + 1;
        let whole = bounded(|bounds| bounds.header_bytes = most).parse(mail.as_bytes()).unwrap();
        assert_eq!((whole.to.len(), whole.defects.len()), (1, 0));
    }

    #[test]
    fn a_field_that_crosses_the_bound_of_the_header_is_read_up_to_it() {
        let read = bounded(|bounds| bounds.header_bytes = 12).parse(b"Subject: abcdef\n\nbody\n").unwrap();
        assert_eq!((read.subject.as_deref(), read.header_block), (Some("abc"), &b""[..]));
    }

    #[test]
    fn so_many_header_fields_are_read_and_no_more() {
        let mail = b"X: 1\nX: 2\nSubject: third\nTo: fourth@x.example\n\nbody\n";
        let read = |most| bounded(|bounds| bounds.header_fields = most).parse(mail).unwrap();
        assert_eq!((read(2).subject, read(2).defects), (None, vec!["header-fields-limit".to_owned()]));
        assert_eq!(read(3).subject.as_deref(), Some("third"));
        assert_eq!(read(3).defects, ["header-fields-limit"]);
        assert_eq!((read(4).to.len(), read(4).defects.len()), (1, 0));
    }

    #[test]
    fn so_many_addresses_are_read_of_to_and_cc_together() {
        let mail = b"To: a@x.example, b@x.example\nCc: c@x.example\nTo: d@x.example\n\n";
        for (most, to, cc, defects) in [(0, 0, 0, 1), (1, 1, 0, 1), (3, 2, 1, 1), (4, 3, 1, 0)] {
            let read = bounded(|bounds| bounds.addresses = most).parse(mail).unwrap();
            assert_eq!((read.to.len(), read.cc.len(), read.defects.len()), (to, cc, defects), "{most}");
        }
    }

    #[test]
    fn a_name_is_kept_up_to_its_bound_and_no_character_is_cut_in_two() {
        let mail = "Content-Disposition: attachment; filename=\"aöb.txt\"\n\nx".as_bytes();
        let read = |most| bounded(|bounds| bounds.name_bytes = most).parse(mail).unwrap();
        assert_eq!((read(2).parts[0].name.as_deref(), read(2).defects), (Some("a"), vec!["name-limit".to_owned()]));
        assert_eq!(read(8).parts[0].name.as_deref(), Some("aöb.txt"));
        assert!(read(8).defects.is_empty());
    }

    #[test]
    fn only_the_topmost_result_of_a_trusted_server_is_believed() {
        let (ours, theirs) = ("mx.example; dkim=pass header.d=x.example", "evil.example; dkim=pass header.d=x.example");
        let parser = bounded(|_| ()).trusting(&["mx.example".to_owned()]);
        for (fields, is_aligned) in [
            (vec![ours], Some(true)),
            (vec![theirs, ours], None),
            (vec![ours, theirs], Some(true)),
            (vec!["mx.example; none", ours], Some(false)),
            (vec!["", ours], None),
            (vec![], None),
        ] {
            let fields: Vec<String> = fields.iter().map(|field| format!("Authentication-Results: {field}\n")).collect();
            let fields = fields.concat();
            let mail = format!("{fields}From: Jo <jo@X.example>\n\nAuthentication-Results: {ours}\n");
            let found = parser.parse(mail.as_bytes()).unwrap().authentication;
            assert_eq!(found.map(|found| found.aligned), is_aligned, "{fields}");
            assert_eq!(bounded(|_| ()).parse(mail.as_bytes()).unwrap().authentication, None, "nobody is trusted");
        }
    }

    #[test]
    fn a_mail_with_two_authors_is_aligned_with_neither() {
        let parser = bounded(|_| ()).trusting(&["mx.example".to_owned()]);
        for (from, is_aligned) in [
            ("From: a@x.example", true),
            ("From: a@sub.x.example", true),
            ("From: a@y.example", false),
            ("From: a@x.example, b@x.example", false),
            ("From: a@x.example\nFrom: b@y.example", false),
            ("From: \"b@y.example\" <a@x.example>", true),
            ("From:", false),
            ("X: y", false),
        ] {
            let mail = format!("Authentication-Results: mx.example; spf=pass smtp.mailfrom=x.example\n{from}\n\n");
            let found = parser.parse(mail.as_bytes()).unwrap().authentication.unwrap();
            assert_eq!(found.aligned, is_aligned, "{from}");
        }
    }

    #[test]
    fn our_own_mark_and_mail_of_people_are_recognised() {
        let mail = read("Subject: a\nx-mailmill-LOOP: 1\nAuto-Submitted: No\n\n");
        assert!(mail.ours && !mail.automatic);
    }

    #[test]
    fn a_header_may_follow_a_from_line_or_a_byte_order_mark() {
        for prefix in ["From jo@x.example Thu Nov 24 18:22:48 1986\n", ">From x\nFrom y\r\n", "\u{feff}"] {
            let original = format!("{prefix}Subject: a\nX: b\n\nbody");
            let mail = read(&original);
            assert_eq!(mail.subject.as_deref(), Some("a"), "{prefix}");
            assert_eq!(mail.header_block, b"Subject: a\nX: b");
            assert_eq!(mail.original, original.as_bytes());
        }
    }

    #[test]
    fn a_header_without_fields_ends_at_the_empty_first_line() {
        for mail in ["\nTo: not a field\n", "\r\nTo: not a field\n", "From x\n\nTo: not a field\n"] {
            let mail = read(mail);
            assert_eq!(mail.body_text.as_deref(), Some("To: not a field\n"));
            assert!(mail.to.is_empty() && mail.header_block.is_empty());
        }
    }

    #[test]
    fn what_does_not_start_like_a_mail_is_none() {
        for bytes in [
            &b"hello world\n\nSubject: a\n"[..],
            b"\x89PNG\r\n\x1a\n\0:",
            b" Subject: a\n",
            b": a\n",
            b"From x\nhello\n",
        ] {
            assert_eq!(parser().parse(bytes).err(), Some(Reason::NotAMessage), "{bytes:?}");
        }
        assert_eq!(parser().parse(b" \r\n\t\n").err(), Some(Reason::Empty));
        assert_eq!(parser().parse(b"Subj\xe4ct: a\n\nb").unwrap().body_text.as_deref(), Some("b"));
    }

    #[test]
    fn a_leaf_is_an_attachment_by_its_disposition_its_name_or_its_type() {
        let mail = format!(
            "{HEAD}--b\n\ntext\n--b\nContent-Type: text/html\n\n<p>\n\
             --b\nContent-Disposition: attachment\n\na\n--b\nContent-Type: text/plain; name=n.txt\n\nb\n\
             --b\nContent-Type: text/plain; name=n\nContent-Disposition: inline; filename=f\nContent-ID: <i@x>\n\nc\n\
             --b\nContent-Type: image/png\n\nd\n--b\nContent-Type: text/plain\n\nmore\n--b--\n"
        );
        let mail = read(&mail);
        assert_eq!(mail.body_text.as_deref(), Some("text"));
        assert_eq!(mail.body_html.as_deref(), Some("<p>"));
        assert_eq!(files(&mail), [file("text/plain", "a"), file("n.txt", "b"), file("f", "c"), file("image/png", "d")]);
        let inline = &mail.parts[2];
        assert!(inline.inline && inline.content_id.as_deref() == Some("i@x"));
        assert!(mail.defects.is_empty());
    }

    #[test]
    fn a_nested_message_is_one_attachment_decoded_and_not_opened() {
        let mail = format!(
            "{HEAD}--b\nContent-Type: message/rfc822\n\nSubject: n\n\nbody\n\
             --b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogbQo=\n\
             --b\nContent-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: o\n\n--d--\n--b--\n"
        );
        let mail = read(&mail);
        assert_eq!(
            files(&mail),
            [
                file("message/rfc822", "Subject: n\n\nbody"),
                file("message/rfc822", "Subject: m\n"),
                file("message/rfc822", "Subject: o\n"),
            ]
        );
        assert_eq!(mail.body_text, None);
    }

    #[test]
    fn a_multipart_without_parts_is_no_attachment_and_its_text_is_shown_for_want_of_another() {
        for (mail, expected) in [
            ("Content-Type: multipart/mixed; boundary=b\n\nno delimiter\n", Some("no delimiter\n")),
            ("Content-Type: multipart/mixed\n\nno boundary\n", Some("no boundary\n")),
            ("Content-Type: multipart/alternative; boundary=b\n\n\n", None),
            ("Content-Type: multipart/mixed; boundary=b\n", None),
        ] {
            let mail = read(mail);
            assert_eq!(mail.body_text.as_deref(), expected);
            assert_eq!((mail.parts.len(), mail.defects), (0, vec!["mime-no-parts".to_owned()]));
        }
        let mail = format!("{HEAD}--b\nContent-Type: multipart/related; boundary=c\n\nlost\n--b\n\ntext\n--b--\n");
        assert_eq!(read(&mail).body_text.as_deref(), Some("text"));
    }

    #[test]
    fn text_of_another_kind_is_shown_for_want_of_a_body_but_not_an_appointment() {
        assert_eq!(read("Content-Type: text/enriched\n\n<bold>a\n").body_text.as_deref(), Some("<bold>a\n"));
        let mail = read("Content-Type: text/calendar; charset=iso-8859-1\n\nBEGIN:VCALENDAR\n");
        assert_eq!((mail.body_text, mail.parts.len(), mail.calendars.len()), (None, 0, 1));
        assert_eq!(decode_text(&mail.calendars[0]), "BEGIN:VCALENDAR\n");
    }

    #[test]
    fn a_type_that_cannot_be_read_is_plain_text() {
        for kind in ["text", "", "/", "foo; bar=baz"] {
            let mail = format!("Content-Type: {kind}\n\na");
            assert_eq!(read(&mail).body_text.as_deref(), Some("a"), "{kind}");
        }
        assert_eq!(files(&read("Content-Type: image\n\na")), [file("application/octet-stream", "a")]);
    }

    #[test]
    fn a_part_that_the_end_of_the_file_cuts_off_ends_before_its_last_line_break() {
        let cut =
            |end: &str| format!("{HEAD}--b\n\ntext\n--b\nContent-Type: message/rfc822\n\nSubject: n\n\nbody{end}");
        for end in ["", "\n", "\r\n", "\n--b--\n"] {
            let mail = cut(end);
            assert_eq!(files(&read(&mail)), [file("message/rfc822", "Subject: n\n\nbody")], "{end:?}");
        }
        assert!(read(&cut("\n")).defects.contains(&"mime-unterminated".to_owned()));
        let whole = "Content-Type: application/x\n\na\n";
        assert_eq!(files(&read(whole)), [file("application/x", "a\n")]);
    }

    #[test]
    fn two_delimiters_in_a_row_have_no_part_between_them() {
        let mail = format!("{HEAD}--b\n--b\nContent-Type: text/plain\n\ntext\n--b--\n");
        assert_eq!(read(&mail).body_text.as_deref(), Some("text"));
        let mail = format!("{HEAD}--b\n\n--b\nContent-Type: text/plain\n\ntext\n--b--\n");
        assert_eq!(read(&mail).body_text.as_deref(), Some(""));
    }

    #[test]
    fn bodies_are_decoded_from_their_transfer_encoding_and_charset() {
        let body = |head: &str, body: &[u8]| {
            let mail = [format!("Subject: a\n{head}\n\n").as_bytes(), body].concat();
            parser().parse(&mail).unwrap().body_text.unwrap()
        };
        assert_eq!(body("Content-Type: text/plain; charset=\"iso-8859-1\"", b"\xf6"), "ö");
        assert_eq!(body("Content-Type: text/plain; charset*=us-ascii'en'utf-8", "ö".as_bytes()), "ö");
        assert_eq!(body("X: none", b"\xf6"), "ö");
        assert_eq!(body("Content-Transfer-Encoding: quoted-printable", b"=C3=B6 =\nx"), "ö x");
        assert_eq!(body("Content-Transfer-Encoding: base64", b"w7Y=\n-- \nfooter"), "ö");
        assert_eq!(body("Content-Transfer-Encoding: x-uuencode", b"begin 644 a\n#0V%T\n`\nend\n"), "Cat");
    }

    #[test]
    fn a_deeply_nested_mail_is_kept_whole_beyond_the_bound() {
        let mut mail = String::from("Subject: deep\n");
        for level in 0..2000 {
            let head = format!("Content-Type: multipart/mixed; boundary=b{level}b\n\n--b{level}b\n");
            mail.push_str(&head);
        }
        let mail = read(&mail);
        assert!(mail.defects.contains(&"mime-limit".to_owned()));
        assert_eq!(mail.parts.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_mail_is_too_broken_to_be_read(
            head in "(Content-Type: (multipart/mixed; boundary=b|message/rfc822)\n|(Subject|To): .{0,8}\n){0,3}",
            body in "(--b|--b--|\n|Content-Type: (multipart/mixed; boundary=b|message/rfc822)\n|begin 1 a|=|é){0,20}",
        ) {
            let mail = format!("A: b\n{head}\n{body}");
            let mail = parser().parse(mail.as_bytes());
            proptest::prop_assert!(mail.is_ok());
            for part in mail.unwrap().parts {
                let _ = decode(&part);
            }
        }
    }
}
