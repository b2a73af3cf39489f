//! The attributes of a TNEF stream, and the forms their data has when it is no property list.

use jiff::civil::DateTime;

use super::super::meeting::Party;
use super::super::reader::Reader;
use super::super::{Problem, text};

/// Attribute ids of MS-OXTNEF section 2.1.3.3.
pub(in super::super) mod id {
    pub(in super::super::super) const FROM: u32 = 0x0000_8000;
    pub(in super::super::super) const OWNER: u32 = 0x0006_0000;
    pub(in super::super::super) const SUBJECT: u32 = 0x0001_8004;
    /// `attMessageID` holds `PidTagSearchKey`, in hexadecimal.
    pub(in super::super::super) const SEARCH_KEY: u32 = 0x0001_8009;
    pub(in super::super::super) const BODY: u32 = 0x0002_800C;
    pub(in super::super::super) const DATE_START: u32 = 0x0003_0006;
    pub(in super::super::super) const DATE_END: u32 = 0x0003_0007;
    pub(in super::super::super) const AID_OWNER: u32 = 0x0005_0008;
    pub(in super::super::super) const MESSAGE_CLASS: u32 = 0x0007_8008;
    pub(in super::super::super) const MESSAGE_PROPERTIES: u32 = 0x0006_9003;
    pub(in super::super::super) const OEM_CODE_PAGE: u32 = 0x0006_9007;

    pub(in super::super::super) const ATTACH_TITLE: u32 = 0x0001_8010;
    pub(in super::super::super) const ATTACH_DATA: u32 = 0x0006_800F;
    pub(in super::super::super) const ATTACH_TRANSPORT_NAME: u32 = 0x0006_9001;
    pub(in super::super::super) const ATTACH_RENDERING: u32 = 0x0006_9002;
    pub(in super::super::super) const ATTACH_PROPERTIES: u32 = 0x0006_9005;
}

/// One attribute; `fault` if it is not whole.
pub(super) struct Attribute<'a> {
    pub(super) of_message: bool,
    pub(super) id: u32,
    pub(super) data: &'a [u8],
    pub(super) fault: Option<Problem>,
}

const LEVEL_MESSAGE: u8 = 1;
const LEVEL_ATTACHMENT: u8 = 2;

/// The attributes one after the other. After an `Err`, or one that is cut short, nothing is left.
pub(super) struct Attributes<'a> {
    reader: Reader<'a>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(stream: &'a [u8]) -> Self {
        let mut reader = Reader::new(stream);
        // The magic number and the key, which links attachments to the text and means nothing here.
        reader.take_up_to(6);
        Self { reader }
    }

    fn read(&mut self) -> Result<Attribute<'a>, Problem> {
        let reader = &mut self.reader;
        let level = reader.u8().ok_or(Problem::TnefCutShort)?;
        if level != LEVEL_MESSAGE && level != LEVEL_ATTACHMENT {
            return Err(Problem::TnefGarbage);
        }
        let id = reader.u32().ok_or(Problem::TnefCutShort)?;
        let length = reader.size().ok_or(Problem::TnefCutShort)?;
        let data = reader.take_up_to(length);
        let sum = data.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
        let fault = match reader.u16() {
            Some(told) if told == sum => None,
            Some(_) => Some(Problem::TnefChecksum),
            None => Some(Problem::TnefCutShort),
        };
        Ok(Attribute { of_message: level == LEVEL_MESSAGE, id, data, fault })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        // Mail programs and mail systems end a stream with zeros or line ends now and then.
        if self.reader.rest().iter().all(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return None;
        }
        let attribute = self.read();
        if !attribute.as_ref().is_ok_and(|attribute| attribute.fault != Some(Problem::TnefCutShort)) {
            self.reader = Reader::new(&[]);
        }
        Some(attribute)
    }
}

/// An 8-bit string that ends with a zero byte; `None` for an empty one.
pub(super) fn string(data: &[u8], code_page: u32) -> Option<String> {
    let data = data.split(|byte| *byte == 0).next()?;
    Some(text::decode(code_page, data)).filter(|text| !text.is_empty())
}

/// `DTR` of MS-OXTNEF section 2.1.3.3: year, month, day, hour, minute, second, each in two bytes. Outlook writes the
/// local time of the sender.
pub(super) fn date(data: &[u8]) -> Option<DateTime> {
    let mut reader = Reader::new(data);
    let mut field = || reader.u16().and_then(|field| i16::try_from(field).ok());
    let mut small = [0_i8; 5];
    let year = field()?;
    for slot in &mut small {
        *slot = field()?.try_into().ok()?;
    }
    let [month, day, hour, minute, second] = small;
    DateTime::new(year, month, day, hour, minute, second, 0).ok()
}

/// `TRP` of MS-OXTNEF, the sender: an id and a size, then the lengths of a name and of an address, then both.
pub(super) fn triple(data: &[u8], code_page: u32) -> Option<Party> {
    let mut reader = Reader::new(data);
    reader.take(4)?;
    let (name, address) = (reader.u16()?, reader.u16()?);
    let name = string(reader.take(name.into())?, code_page);
    Party::new(name.as_deref(), &string(reader.take(address.into())?, code_page)?)
}

/// The owner of an appointment: a name and an address, each with its length in front.
pub(super) fn counted_pair(data: &[u8], code_page: u32) -> Option<Party> {
    let mut reader = Reader::new(data);
    let mut next = || {
        let length = reader.u16()?;
        Some(string(reader.take(length.into())?, code_page))
    };
    let name = next()?;
    Party::new(name.as_deref(), &next()??)
}
