//! An attachment of a TNEF stream: a file, an OLE object, or a message that is a stream of its own.

use super::super::mapi::{Bag, Key};
use super::super::{Budget, Extracted, How, Problem, Unpacked};
use super::stream::{Attribute, id, string};
use super::{TYPE, open};

/// `IID_IMessage` and `IID_IStorage`. One such id stands before the data of every `PtypObject`.
pub(super) const MESSAGE: [u8; 16] = *b"\x07\x03\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";
pub(super) const STORAGE: [u8; 16] = *b"\x0b\0\0\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";

/// Property tags of MS-OXPROPS, all called `PidTagAttach...` but the first and the last.
pub(super) mod keys {
    use super::Key;

    pub(in super::super) const DISPLAY_NAME: Key = Key::Tag(0x3001);
    pub(in super::super) const DATA: Key = Key::Tag(0x3701);
    pub(in super::super) const FILE_NAME: Key = Key::Tag(0x3704);
    pub(in super::super) const METHOD: Key = Key::Tag(0x3705);
    pub(in super::super) const LONG_FILE_NAME: Key = Key::Tag(0x3707);
    pub(in super::super) const RENDERING_POSITION: Key = Key::Tag(0x370B);
    pub(in super::super) const MIME_TYPE: Key = Key::Tag(0x370E);
    pub(in super::super) const CONTENT_ID: Key = Key::Tag(0x3712);
    pub(in super::super) const FLAGS: Key = Key::Tag(0x3714);
    pub(in super::super) const HIDDEN: Key = Key::Tag(0x7FFE);
}

const OF_ATTACHMENT: [Key; 10] = [
    keys::DISPLAY_NAME,
    keys::DATA,
    keys::FILE_NAME,
    keys::METHOD,
    keys::LONG_FILE_NAME,
    keys::RENDERING_POSITION,
    keys::MIME_TYPE,
    keys::CONTENT_ID,
    keys::FLAGS,
    keys::HIDDEN,
];

/// An attachment as it lies in the stream.
#[derive(Default)]
pub(super) struct Attachment<'a> {
    title: Option<&'a [u8]>,
    transport_name: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    properties: Bag<'a>,
}

impl<'a> Attachment<'a> {
    pub(super) fn note(&mut self, attribute: &Attribute<'a>) -> Result<(), Problem> {
        let data = Some(attribute.data);
        match attribute.id {
            id::ATTACH_TITLE => self.title = data,
            id::ATTACH_TRANSPORT_NAME => self.transport_name = data,
            id::ATTACH_DATA => self.data = data,
            id::ATTACH_PROPERTIES => self.properties.add(attribute.data, &OF_ATTACHMENT)?,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn deliver(&self, code_page: u32, unpacked: &mut Unpacked, budget: &mut Budget) {
        let object = self.properties.object(keys::DATA).and_then(<[u8]>::split_first_chunk::<16>);
        if let Some((&MESSAGE, stream)) = object {
            return self.embedded(stream, code_page, unpacked, budget);
        }
        let binary = self.properties.binary(keys::DATA);
        let plain = self.data.filter(|data| !data.is_empty()).or(binary).or(self.data);
        let (content_type, bytes) = match (plain, object) {
            (Some(data), _) => (None, data),
            (None, Some((&STORAGE, storage))) => (Some("application/x-ole-storage"), storage),
            (None, Some((_, stream))) => (None, stream),
            (None, None) => {
                // By reference, by reference resolved, by reference only, and by link.
                if matches!(self.properties.long(keys::METHOD), Some(2..=4 | 7)) {
                    unpacked.note(Problem::TnefReference);
                }
                return;
            }
        };
        let mut file = self.file(code_page, content_type);
        file.name = self.name(code_page, false);
        charge(file, bytes, unpacked, budget);
    }

    /// An embedded message is a TNEF stream of its own. Its body and its meeting become files beside it.
    fn embedded(&self, stream: &[u8], code_page: u32, unpacked: &mut Unpacked, budget: &mut Budget) {
        let mut inner = Unpacked::default();
        let mut file = self.file(code_page, Some(TYPE));
        let at = unpacked.files.len();
        file.name = self.name(code_page, true);
        charge(file, stream, unpacked, budget);
        let opened = open(stream, budget, &mut inner);
        let name = self.name(code_page, true).or_else(|| inner.subject.clone());
        if let Some(file) = unpacked.files.get_mut(at) {
            file.name.clone_from(&name);
            file.opened = opened.is_ok();
        }
        let base = name.as_deref().unwrap_or("message");
        let html = inner.body_html.take().map(|html| ("html", "text/html; charset=utf-8", html));
        let text = inner.body_text.take().map(|text| ("txt", "text/plain; charset=utf-8", text));
        let meeting = inner.meeting.take().map(|meeting| ("ics", "text/calendar; charset=utf-8", meeting));
        for (extension, content_type, text) in html.or(text).into_iter().chain(meeting) {
            let file = Extracted {
                name: Some(format!("{base}.{extension}")),
                content_type: Some(content_type.to_owned()),
                content_id: None,
                inline: false,
                bytes: text.into_bytes(),
                how: How::Tnef,
                opened: false,
            };
            unpacked.keep(file, budget);
        }
        unpacked.files.append(&mut inner.files);
        for problem in inner.problems.into_iter().chain(opened.err()) {
            unpacked.note(problem);
        }
    }

    /// Everything about the file but its name and its bytes.
    fn file(&self, code_page: u32, content_type: Option<&str>) -> Extracted {
        let text = |key| self.properties.text(key, code_page);
        let content_id = text(keys::CONTENT_ID).map(|id| id.trim_matches(['<', '>', ' ']).to_owned());
        let content_id = content_id.filter(|id| !id.is_empty());
        // PidTagAttachFlags 4: the HTML body shows it. A position: the RTF body has it in its text, as a picture if
        // there is an id to call it by (MS-OXCMSG section 2.2.2).
        let shown = self.properties.long(keys::FLAGS).is_some_and(|flags| flags & 4 != 0)
            || self.properties.boolean(keys::HIDDEN);
        let placed = self.properties.long(keys::RENDERING_POSITION).is_some_and(|position| position != u32::MAX);
        Extracted {
            name: None,
            content_type: content_type.map(str::to_owned).or_else(|| text(keys::MIME_TYPE)),
            inline: shown || placed && content_id.is_some(),
            content_id,
            bytes: Vec::new(),
            how: How::Tnef,
            opened: false,
        }
    }

    /// The long name where there is one. An embedded message is called by its subject; its title says "Untitled".
    fn name(&self, code_page: u32, is_message: bool) -> Option<String> {
        let text = |key| self.properties.text(key, code_page);
        let attribute = |data: Option<&[u8]>| data.filter(|_| !is_message).and_then(|data| string(data, code_page));
        text(keys::LONG_FILE_NAME)
            .or_else(|| attribute(self.title))
            .or_else(|| text(keys::FILE_NAME))
            .or_else(|| text(keys::DISPLAY_NAME))
            .or_else(|| attribute(self.transport_name))
    }
}

/// Copies the bytes only after they are paid for.
fn charge(mut file: Extracted, bytes: &[u8], unpacked: &mut Unpacked, budget: &mut Budget) {
    match budget.take_file(bytes.len()) {
        Ok(()) => {
            file.bytes = bytes.to_vec();
            unpacked.files.push(file);
        }
        Err(problem) => unpacked.note(problem),
    }
}
