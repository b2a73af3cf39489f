//! The Transport Neutral Encapsulation Format, `winmail.dat` (MS-OXTNEF): a run of attributes, each with a level, an
//! id, a length, its data and a checksum. First pass: note where things lie, own nothing. Second pass: make files.
//!
//! ```text
//!  78 9F 3E 22  key:2  { level:1  id:4  length:4  data:length  checksum:2 } ...
//! ```

mod stream;

mod attachment;

use self::attachment::Attachment;
use self::stream::{Attribute, Attributes, counted_pair, date, id, string, triple};
use super::mapi::{Bag, Key};
use super::meeting::{self, Meeting, Party};
use super::reader::Reader;
use super::{Budget, Problem, Unpacked, lzfu, rtf, text};

const MAGIC: [u8; 4] = [0x78, 0x9F, 0x3E, 0x22];

/// What an embedded message is called as a part of a mail.
const TYPE: &str = "application/ms-tnef";

const CLASS: Key = Key::Tag(0x001A);
const SUBJECT: Key = Key::Tag(0x0037);
const BODY: Key = Key::Tag(0x1000);
const RTF_COMPRESSED: Key = Key::Tag(0x1009);
const HTML: Key = Key::Tag(0x1013);
const INTERNET_CODE_PAGE: Key = Key::Tag(0x3FDE);
const OF_MESSAGE: [Key; 6] = [CLASS, SUBJECT, BODY, RTF_COMPRESSED, HTML, INTERNET_CODE_PAGE];

/// Whether a part should be tried as TNEF: by its type, its name, or how it begins.
pub fn is_tnef(content_type: Option<&str>, name: Option<&str>, bytes: &[u8]) -> bool {
    let is_type = |t: &str| [TYPE, "application/vnd.ms-tnef"].iter().any(|known| t.trim().eq_ignore_ascii_case(known));
    bytes.starts_with(&MAGIC)
        || content_type.is_some_and(is_type)
        || name.is_some_and(|name| name.trim().eq_ignore_ascii_case("winmail.dat"))
}

/// Opens a TNEF stream. Embedded messages are opened too: each is among the files as it stands, and so are its
/// attachments, its body and its meeting. What is damaged gives as much as could be read, and a problem.
pub fn tnef(bytes: &[u8], budget: &mut Budget) -> Unpacked {
    let mut unpacked = Unpacked::default();
    if let Err(problem) = open(bytes, budget, &mut unpacked) {
        unpacked.note(problem);
    }
    unpacked
}

/// An `Err` has left the stream closed.
fn open(bytes: &[u8], budget: &mut Budget, unpacked: &mut Unpacked) -> Result<(), Problem> {
    if !bytes.starts_with(&MAGIC) {
        return Err(Problem::NotTnef);
    }
    // No string that is made of a stream is more than three times as long.
    if bytes.len() > budget.bytes_left() {
        return Err(Problem::TooLarge);
    }
    budget.enter()?;
    let message = Message::read(bytes, budget.files_left(), &mut unpacked.problems);
    message.subject(unpacked, budget);
    message.bodies(unpacked, budget);
    message.meeting(unpacked, budget);
    for attachment in &message.attachments {
        attachment.deliver(message.code_page, unpacked, budget);
    }
    budget.leave();
    Ok(())
}

/// A message as it lies in the stream.
#[derive(Default)]
struct Message<'a> {
    code_page: u32,
    class: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
    body: Option<&'a [u8]>,
    from: Option<&'a [u8]>,
    owner: Option<&'a [u8]>,
    start: Option<&'a [u8]>,
    end: Option<&'a [u8]>,
    owner_id: Option<&'a [u8]>,
    search_key: Option<&'a [u8]>,
    property_list: &'a [u8],
    properties: Bag<'a>,
    attachments: Vec<Attachment<'a>>,
    /// There are more attachments than may be kept; what belongs to them is passed over.
    full: bool,
}

impl<'a> Message<'a> {
    /// Notes at most `most` attachments.
    fn read(stream: &'a [u8], most: usize, problems: &mut Vec<Problem>) -> Self {
        let mut message = Self { code_page: text::WESTERN, ..Self::default() };
        for attribute in Attributes::new(stream) {
            let (noted, fault) = match attribute {
                Ok(attribute) if attribute.of_message => (message.note(&attribute), attribute.fault),
                Ok(attribute) => (message.note_attachment(&attribute, most), attribute.fault),
                Err(problem) => (Err(problem), None),
            };
            for problem in noted.err().into_iter().chain(fault) {
                problem.note_in(problems);
            }
        }
        message
    }

    fn note(&mut self, attribute: &Attribute<'a>) -> Result<(), Problem> {
        let data = Some(attribute.data);
        match attribute.id {
            id::OEM_CODE_PAGE => self.code_page = Reader::new(attribute.data).u32().unwrap_or(text::WESTERN),
            id::MESSAGE_CLASS => self.class = data,
            id::SUBJECT => self.subject = data,
            id::BODY => self.body = data,
            id::FROM => self.from = data,
            id::OWNER => self.owner = data,
            id::DATE_START => self.start = data,
            id::DATE_END => self.end = data,
            id::AID_OWNER => self.owner_id = data,
            id::SEARCH_KEY => self.search_key = data,
            id::MESSAGE_PROPERTIES => {
                self.property_list = attribute.data;
                self.properties.add(attribute.data, &OF_MESSAGE)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn note_attachment(&mut self, attribute: &Attribute<'a>, most: usize) -> Result<(), Problem> {
        if attribute.id == id::ATTACH_RENDERING || self.attachments.is_empty() {
            self.full = self.attachments.len() >= most;
            if !self.full {
                self.attachments.push(Attachment::default());
            }
        }
        match self.attachments.last_mut() {
            Some(attachment) if !self.full => attachment.note(attribute),
            _ => Err(Problem::TooMany),
        }
    }

    fn subject(&self, unpacked: &mut Unpacked, budget: &mut Budget) {
        let subject = self.properties.text(SUBJECT, self.code_page).or_else(|| self.legacy(self.subject));
        unpacked.subject = pay(subject, unpacked, budget);
    }

    /// A string that has an attribute of its own.
    fn legacy(&self, data: Option<&[u8]>) -> Option<String> {
        string(data?, self.code_page)
    }

    /// Text and HTML as they are there; what is missing comes out of the compressed RTF.
    fn bodies(&self, unpacked: &mut Unpacked, budget: &mut Budget) {
        let plain = self.properties.text(BODY, self.code_page).or_else(|| self.legacy(self.body));
        unpacked.body_text = pay(plain, unpacked, budget);
        let html_page = self.properties.long(INTERNET_CODE_PAGE).unwrap_or(self.code_page);
        let html = self.properties.octets(HTML).map(|octets| text::decode(html_page, octets));
        let html = html.or_else(|| self.properties.text(HTML, html_page)).map(|html| text::until_nul(&html).to_owned());
        unpacked.body_html = pay(html, unpacked, budget);
        if unpacked.body_text.is_some() && unpacked.body_html.is_some() {
            return;
        }
        let Some(packed) = self.properties.binary(RTF_COMPRESSED) else { return };
        let plain = lzfu::decompress(packed, budget, &mut unpacked.problems);
        let said = |text: String| Some(text).filter(|text| !text.trim().is_empty());
        match rtf::convert(&plain, budget.bytes_left()) {
            rtf::Body::Html(html) if unpacked.body_html.is_none() => {
                unpacked.body_html = pay(said(html), unpacked, budget);
            }
            rtf::Body::Text(text) if unpacked.body_text.is_none() => {
                unpacked.body_text = pay(said(text), unpacked, budget);
            }
            rtf::Body::Html(_) | rtf::Body::Text(_) => {}
        }
    }

    fn meeting(&self, unpacked: &mut Unpacked, budget: &mut Budget) {
        let class = self.properties.text(CLASS, self.code_page).or_else(|| self.legacy(self.class));
        let Some(role) = class.as_deref().and_then(meeting::role) else { return };
        let party = |data: Option<&[u8]>, read: fn(&[u8], u32) -> Option<Party>| read(data?, self.code_page);
        let meeting = Meeting {
            role,
            code_page: self.code_page,
            properties: meeting::properties(self.property_list),
            subject: unpacked.subject.as_deref(),
            body: unpacked.body_text.as_deref(),
            start: self.start.and_then(date),
            end: self.end.and_then(date),
            from: party(self.from, triple),
            owner: party(self.owner, counted_pair),
            owner_id: self.owner_id.and_then(|data| Reader::new(data).u32()),
            search_key: self.legacy(self.search_key),
        };
        let mut problems = Vec::new();
        let calendar = meeting.calendar(&mut problems);
        for problem in problems {
            unpacked.note(problem);
        }
        unpacked.meeting = pay(calendar, unpacked, budget);
    }
}

/// `text`, if the budget has room for it.
fn pay(text: Option<String>, unpacked: &mut Unpacked, budget: &mut Budget) -> Option<String> {
    let text = text?;
    match budget.take_bytes(text.len()) {
        Ok(()) => Some(text),
        Err(problem) => {
            unpacked.note(problem);
            None
        }
    }
}

#[cfg(test)]
pub(super) mod write {
    //! Streams for tests.

    pub(in super::super) use super::stream::id;

    pub(crate) fn attribute(id: u32, data: &[u8]) -> Vec<u8> {
        let of_attachment = matches!(
            id,
            id::ATTACH_TITLE
                | id::ATTACH_DATA
                | id::ATTACH_TRANSPORT_NAME
                | id::ATTACH_RENDERING
                | id::ATTACH_PROPERTIES
        );
        let sum = data.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
        let length = u32::try_from(data.len()).unwrap();
        [&[1 + u8::from(of_attachment)], &id.to_le_bytes()[..], &length.to_le_bytes(), data, &sum.to_le_bytes()]
            .concat()
    }

    pub(crate) fn stream(attributes: &[(u32, &[u8])]) -> Vec<u8> {
        let mut out = vec![0x78, 0x9F, 0x3E, 0x22, 1, 0];
        out.extend(attributes.iter().flat_map(|(id, data)| attribute(*id, data)));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::mapi::write::{Value, list};
    use super::super::{Extracted, Limits};
    use super::attachment::keys;
    use super::write::{attribute, stream};
    use super::*;

    fn open(bytes: &[u8]) -> Unpacked {
        tnef(bytes, &mut Budget::new(Limits::default()))
    }

    fn names(unpacked: &Unpacked) -> Vec<(&str, &[u8])> {
        unpacked.files.iter().map(|file| (file.name.as_deref().unwrap_or("-"), file.bytes.as_slice())).collect()
    }

    /// Interface id and stream of an embedded message.
    fn object(interface: &[u8], data: &[u8]) -> Vec<u8> {
        list(&[
            (keys::METHOD, Value::Long(5)),
            (keys::DISPLAY_NAME, Value::Text("Inner")),
            (keys::DATA, Value::Object(&[interface, data].concat())),
        ])
    }

    fn nested(depth: usize) -> Vec<u8> {
        let mut inner = stream(&[(id::ATTACH_TITLE, b"core\0"), (id::ATTACH_DATA, b"core")]);
        for _ in 0..depth {
            let properties = object(&attachment::MESSAGE, &inner);
            inner = stream(&[(id::ATTACH_RENDERING, &[0; 14]), (id::ATTACH_PROPERTIES, &properties)]);
        }
        inner
    }

    #[test]
    fn a_part_is_known_by_its_type_its_name_or_how_it_begins() {
        assert!(is_tnef(Some("Application/MS-TNEF"), None, b""));
        assert!(is_tnef(Some("application/octet-stream"), Some("WinMail.dat"), b""));
        assert!(is_tnef(None, Some("x.bin"), &stream(&[])));
        assert!(!is_tnef(Some("text/plain"), Some("mail.dat"), b"x"));
    }

    #[test]
    fn attachments_have_their_long_names_and_what_else_is_said_of_them() {
        let first = list(&[
            (keys::LONG_FILE_NAME, Value::Text("Überblick 2026.pdf")),
            (keys::FILE_NAME, Value::Text8(b"UEBERB~1.PDF\0")),
            (keys::MIME_TYPE, Value::Text8(b"application/pdf\0")),
        ]);
        let second = list(&[
            (keys::CONTENT_ID, Value::Text8(b"<image1@x>\0")),
            (keys::FLAGS, Value::Long(4)),
            (keys::RENDERING_POSITION, Value::Long(u32::MAX)),
        ]);
        let unpacked = open(&stream(&[
            (id::OEM_CODE_PAGE, &[0xE3, 4, 0, 0, 0, 0, 0, 0]),
            (id::ATTACH_RENDERING, &[0; 14]),
            (id::ATTACH_TITLE, b"UEBERB~1.PDF\0"),
            (id::ATTACH_DATA, b"pdf"),
            (id::ATTACH_PROPERTIES, &first),
            (id::ATTACH_RENDERING, &[0; 14]),
            (id::ATTACH_TITLE, b"\xcf.png\0"),
            (id::ATTACH_DATA, b"png"),
            (id::ATTACH_PROPERTIES, &second),
        ]));
        assert_eq!(names(&unpacked), [("Überblick 2026.pdf", &b"pdf"[..]), ("П.png", b"png")]);
        let [pdf, png] = unpacked.files.as_slice() else { panic!("two files") };
        assert_eq!((pdf.content_type.as_deref(), pdf.inline), (Some("application/pdf"), false));
        assert_eq!((png.content_id.as_deref(), png.inline), (Some("image1@x"), true));
        assert_eq!(unpacked.problems, []);
    }

    #[test]
    fn data_may_be_a_property_and_objects_lose_their_interface_id() {
        let binary = list(&[(keys::FILE_NAME, Value::Text("b")), (keys::DATA, Value::Binary(b"binary"))]);
        let storage = object(&attachment::STORAGE, b"\xd0\xcf");
        let reference = list(&[(keys::METHOD, Value::Long(2)), (keys::FILE_NAME, Value::Text("elsewhere"))]);
        let unpacked = open(&stream(&[
            (id::ATTACH_RENDERING, &[0; 14]),
            (id::ATTACH_PROPERTIES, &binary),
            (id::ATTACH_RENDERING, &[0; 14]),
            (id::ATTACH_PROPERTIES, &storage),
            (id::ATTACH_RENDERING, &[0; 14]),
            (id::ATTACH_PROPERTIES, &reference),
        ]));
        assert_eq!(names(&unpacked), [("b", &b"binary"[..]), ("Inner", b"\xd0\xcf")]);
        assert_eq!(unpacked.problems, [Problem::TnefReference]);
    }

    #[test]
    fn bodies_come_as_text_as_html_and_out_of_rtf() {
        let packed = lzfu::write::stored(br"{\rtf1\ansi\fromhtml1{\*\htmltag64 <p>}Hi{\*\htmltag72 </p>}}");
        let properties = list(&[(SUBJECT, Value::Text("S")), (RTF_COMPRESSED, Value::Binary(&packed))]);
        let both = open(&stream(&[(id::BODY, b"Hi\0"), (id::MESSAGE_PROPERTIES, &properties)]));
        assert_eq!(both.subject.as_deref(), Some("S"));
        assert_eq!((both.body_text.as_deref(), both.body_html.as_deref()), (Some("Hi"), Some("<p>Hi</p>")));
        let packed = lzfu::write::stored(br"{\rtf1\ansi Hi\par}");
        let properties = list(&[(RTF_COMPRESSED, Value::Binary(&packed))]);
        assert_eq!(open(&stream(&[(id::MESSAGE_PROPERTIES, &properties)])).body_text.as_deref(), Some("Hi\n"));
        let properties = list(&[(INTERNET_CODE_PAGE, Value::Long(28605)), (HTML, Value::Binary(b"<p>\xa4</p>"))]);
        assert_eq!(open(&stream(&[(id::MESSAGE_PROPERTIES, &properties)])).body_html.as_deref(), Some("<p>€</p>"));
    }

    #[test]
    fn an_embedded_message_is_a_file_and_so_is_everything_in_it() {
        let inner = stream(&[(id::BODY, b"inner body\0"), (id::ATTACH_TITLE, b"a\0"), (id::ATTACH_DATA, b"A")]);
        let properties = object(&attachment::MESSAGE, &inner);
        let unpacked = open(&stream(&[(id::ATTACH_RENDERING, &[0; 14]), (id::ATTACH_PROPERTIES, &properties)]));
        assert_eq!(names(&unpacked), [("Inner", inner.as_slice()), ("Inner.txt", b"inner body"), ("a", b"A")]);
        let opened = |file: &Extracted| file.opened;
        assert_eq!(unpacked.files.iter().map(opened).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(unpacked.body_text, None);
    }

    #[test]
    fn nesting_ends_at_the_depth_of_the_budget() {
        let bytes = nested(10);
        let whole = open(&bytes);
        assert_eq!((whole.files.len(), whole.problems.as_slice()), (11, &[][..]));
        let unpacked = tnef(&bytes, &mut Budget::new(Limits { depth: 4, ..Limits::default() }));
        assert_eq!(unpacked.files.iter().filter(|file| file.opened).count(), 3);
        assert_eq!((unpacked.files.len(), unpacked.problems.as_slice()), (4, &[Problem::TooDeep][..]));
    }

    #[test]
    fn files_and_bytes_end_at_the_budget() {
        let one = [(id::ATTACH_RENDERING, &[0_u8; 14][..]), (id::ATTACH_DATA, b"0123456789")];
        let bytes = stream(&one.repeat(5));
        let few = tnef(&bytes, &mut Budget::new(Limits { count: 3, ..Limits::default() }));
        assert_eq!((few.files.len(), few.problems.as_slice()), (3, &[Problem::TooMany][..]));
        let small = u64::try_from(bytes.len() - 1).unwrap();
        let none = tnef(&bytes, &mut Budget::new(Limits { bytes: small, ..Limits::default() }));
        assert_eq!((none.files.len(), none.problems.as_slice()), (0, &[Problem::TooLarge][..]));
    }

    #[test]
    fn a_stream_that_is_cut_gives_what_could_be_read() {
        let bytes = stream(&[(id::ATTACH_TITLE, b"a\0"), (id::ATTACH_DATA, b"0123456789")]);
        for cut in MAGIC.len()..bytes.len() {
            let unpacked = open(&bytes[..cut]);
            let whole = cut == 6 || cut == 6 + attribute(id::ATTACH_TITLE, b"a\0").len();
            assert_eq!(unpacked.problems.contains(&Problem::TnefCutShort), !whole && cut > 6, "{cut}");
            assert!(unpacked.files.iter().all(|file| b"0123456789".starts_with(&file.bytes)), "{cut}");
        }
        assert_eq!(names(&open(&bytes[..bytes.len() - 4])), [("a", &b"01234567"[..])]);
    }

    #[test]
    fn damage_is_noted_and_does_not_stop_what_is_whole() {
        let mut bytes = stream(&[(id::BODY, b"text\0"), (id::ATTACH_TITLE, b"a\0"), (id::ATTACH_DATA, b"A")]);
        bytes[6 + 9] = b'T';
        bytes.extend(b"\r\n\0");
        let unpacked = open(&bytes);
        assert_eq!((unpacked.body_text.as_deref(), unpacked.files.len()), (Some("Text"), 1));
        assert_eq!(unpacked.problems, [Problem::TnefChecksum]);
        bytes.extend(b"and so on");
        assert_eq!(open(&bytes).problems, [Problem::TnefChecksum, Problem::TnefGarbage]);
        assert_eq!(open(b"PK\x03\x04").problems, [Problem::NotTnef]);
    }
}
