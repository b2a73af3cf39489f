//! The MAPI property lists inside TNEF (MS-OXTNEF section 2.1.3.4), as far as somebody asks for them.
//! Values stay where they are; only the properties that were asked for are remembered.

use super::Problem;
use super::reader::Reader;
use super::text;

/// A property set: the GUID as it lies in the stream.
type Set = [u8; 16];

/// `PSETID_Appointment`, `PSETID_Meeting` and `PSETID_Common` of MS-OXPROPS section 1.3.2.
pub(super) const APPOINTMENT: Set = *b"\x02\x20\x06\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";
pub(super) const MEETING: Set = *b"\x90\xda\xd8\x6e\x0b\x45\x1b\x10\x98\xda\0\xaa\0\x3f\x13\x05";
pub(super) const COMMON: Set = *b"\x08\x20\x06\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";

/// How a property is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The upper half of a `PidTag`.
    Tag(u16),
    /// A `PidLid` within its set.
    Lid(Set, u32),
    /// Named in letters; nobody asks for these.
    Letters,
}

/// Property types of MS-OXCDATA section 2.11.1.
mod kind {
    pub(super) const BOOLEAN: u16 = 0x000B;
    pub(super) const SHORT: u16 = 0x0002;
    pub(super) const LONG: u16 = 0x0003;
    pub(super) const OBJECT: u16 = 0x000D;
    pub(super) const STRING8: u16 = 0x001E;
    pub(super) const UNICODE: u16 = 0x001F;
    pub(super) const TIME: u16 = 0x0040;
    pub(super) const BINARY: u16 = 0x0102;
    pub(super) const MANY: u16 = 0x1000;
}

/// One property; of several values the first.
#[derive(Clone, Copy, Debug)]
struct Property<'a> {
    key: Key,
    kind: u16,
    value: &'a [u8],
}

/// The properties of one list that were asked for.
#[derive(Debug, Default)]
pub(super) struct Bag<'a> {
    found: Vec<Property<'a>>,
}

impl<'a> Bag<'a> {
    /// Adds the `wanted` ones of the list in `data`. Of two with one name the first stays, but Unicode wins over 8-bit.
    pub(super) fn add(&mut self, data: &'a [u8], wanted: &[Key]) -> Result<(), Problem> {
        let mut reader = Reader::new(data);
        let count = reader.u32().ok_or(Problem::TnefProperties)?;
        for _ in 0..count {
            let property = property(&mut reader).ok_or(Problem::TnefProperties)?;
            if !wanted.contains(&property.key) {
                continue;
            }
            match self.found.iter_mut().find(|seen| seen.key == property.key) {
                Some(seen) if seen.kind == kind::STRING8 && property.kind == kind::UNICODE => *seen = property,
                Some(_) => {}
                None => self.found.push(property),
            }
        }
        Ok(())
    }

    fn get(&self, key: Key, kinds: &[u16]) -> Option<&'a [u8]> {
        self.found.iter().find(|seen| seen.key == key && kinds.contains(&seen.kind)).map(|seen| seen.value)
    }

    /// A string that is not empty. 8-bit strings are in the code page of the stream.
    pub(super) fn text(&self, key: Key, code_page: u32) -> Option<String> {
        let text = match self.get(key, &[kind::UNICODE]) {
            Some(value) => text::utf16(value),
            None => text::decode(code_page, self.get(key, &[kind::STRING8])?),
        };
        Some(text::until_nul(&text)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The bytes of a string that is not Unicode, or of a binary value.
    pub(super) fn octets(&self, key: Key) -> Option<&'a [u8]> {
        self.get(key, &[kind::STRING8, kind::BINARY])
    }

    pub(super) fn binary(&self, key: Key) -> Option<&'a [u8]> {
        self.get(key, &[kind::BINARY])
    }

    /// An object, with the 16 bytes of interface id that stand before its data.
    pub(super) fn object(&self, key: Key) -> Option<&'a [u8]> {
        self.get(key, &[kind::OBJECT])
    }

    pub(super) fn long(&self, key: Key) -> Option<u32> {
        Reader::new(self.get(key, &[kind::LONG])?).u32()
    }

    pub(super) fn boolean(&self, key: Key) -> bool {
        self.get(key, &[kind::BOOLEAN]).is_some_and(|value| value.first_chunk().is_some_and(|low| *low != [0, 0]))
    }

    /// A point in time, in seconds since 1970.
    pub(super) fn time(&self, key: Key) -> Option<i64> {
        file_time(*self.get(key, &[kind::TIME])?.first_chunk()?)
    }
}

/// A FILETIME (MS-DTYP section 2.3.3: steps of 100 ns since 1601) in seconds since 1970.
pub(super) fn file_time(bytes: [u8; 8]) -> Option<i64> {
    let steps = i64::try_from(u64::from_le_bytes(bytes)).ok()?;
    Some(steps / 10_000_000 - 11_644_473_600)
}

/// How many bytes a value takes in the stream, padding included.
enum Width {
    Fixed(usize),
    Counted,
}

/// `MsgPropertyValue` of MS-OXTNEF section 2.1.3.4. `None` where the list cannot be followed any further.
fn property<'a>(reader: &mut Reader<'a>) -> Option<Property<'a>> {
    let kind = reader.u16()?;
    let id = reader.u16()?;
    let key = if id < 0x8000 { Key::Tag(id) } else { name(reader)? };
    let single = kind & !kind::MANY;
    let width = width(single)?;
    let values = if kind != single || matches!(width, Width::Counted) { reader.u32()? } else { 1 };
    let mut first = None;
    for _ in 0..values {
        let value = match width {
            // A step that eats nothing could be repeated four thousand million times.
            Width::Fixed(0) => break,
            Width::Fixed(size) => reader.take(size)?,
            Width::Counted => variable(reader)?,
        };
        first.get_or_insert(value);
    }
    Some(Property { key, kind, value: first.unwrap_or_default() })
}

/// `NamedPropSpec`.
fn name(reader: &mut Reader<'_>) -> Option<Key> {
    let set = reader.array()?;
    if reader.u32()? == 0 {
        return Some(Key::Lid(set, reader.u32()?));
    }
    variable(reader)?;
    Some(Key::Letters)
}

/// A length, that many bytes, and padding to a multiple of four, which the last value of a list may lack.
fn variable<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.size()?;
    let value = reader.take(length)?;
    reader.take_up_to(length.wrapping_neg() % 4);
    Some(value)
}

fn width(kind: u16) -> Option<Width> {
    Some(match kind {
        // PtypUnspecified, PtypNull
        0 | 1 => Width::Fixed(0),
        // PtypFloating32, PtypErrorCode
        kind::SHORT | kind::LONG | kind::BOOLEAN | 0x0004 | 0x000A => Width::Fixed(4),
        // PtypFloating64, PtypCurrency, PtypFloatingTime, PtypInteger64
        kind::TIME | 0x0005..=0x0007 | 0x0014 => Width::Fixed(8),
        // PtypGuid
        0x0048 => Width::Fixed(16),
        kind::OBJECT | kind::STRING8 | kind::UNICODE | kind::BINARY => Width::Counted,
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod write {
    //! Property lists for tests.

    use super::{Key, kind};

    pub(crate) enum Value<'a> {
        Long(u32),
        Boolean(bool),
        Time(i64),
        Text8(&'a [u8]),
        Text(&'a str),
        Binary(&'a [u8]),
        Object(&'a [u8]),
        Longs(&'a [u32]),
    }

    pub(crate) fn list(properties: &[(Key, Value<'_>)]) -> Vec<u8> {
        let mut out = u32::try_from(properties.len()).unwrap().to_le_bytes().to_vec();
        for (key, value) in properties {
            one(&mut out, *key, value);
        }
        out
    }

    fn one(out: &mut Vec<u8>, key: Key, value: &Value<'_>) {
        let kind = match value {
            Value::Long(_) => kind::LONG,
            Value::Boolean(_) => kind::BOOLEAN,
            Value::Time(_) => kind::TIME,
            Value::Text8(_) => kind::STRING8,
            Value::Text(_) => kind::UNICODE,
            Value::Binary(_) => kind::BINARY,
            Value::Object(_) => kind::OBJECT,
            Value::Longs(_) => kind::LONG | kind::MANY,
        };
        out.extend(kind.to_le_bytes());
        match key {
            Key::Tag(id) => out.extend(id.to_le_bytes()),
            Key::Lid(set, lid) => {
                out.extend(0x8000_u16.to_le_bytes());
                out.extend(set);
                out.extend([0; 4]);
                out.extend(lid.to_le_bytes());
            }
            Key::Letters => unreachable!("no test writes one"),
        }
        match value {
            Value::Long(long) => out.extend(long.to_le_bytes()),
            Value::Boolean(truth) => out.extend([u8::from(*truth), 0, 0, 0]),
            Value::Time(seconds) => out.extend(((seconds + 11_644_473_600) * 10_000_000).to_le_bytes()),
            Value::Text(text) => {
                let units: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
                counted(out, &units);
            }
            Value::Text8(bytes) | Value::Binary(bytes) | Value::Object(bytes) => counted(out, bytes),
            Value::Longs(longs) => {
                out.extend(u32::try_from(longs.len()).unwrap().to_le_bytes());
                out.extend(longs.iter().flat_map(|long| long.to_le_bytes()));
            }
        }
    }

    fn counted(out: &mut Vec<u8>, bytes: &[u8]) {
        out.extend([1, 0, 0, 0]);
        out.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::write::{Value, list};
    use super::*;

    const SUBJECT: Key = Key::Tag(0x0037);
    const START: Key = Key::Lid(APPOINTMENT, 0x820D);

    #[test]
    fn what_was_asked_for_is_found_behind_what_was_not() {
        let data = list(&[
            (Key::Tag(0x1234), Value::Longs(&[1, 2, 3])),
            (Key::Tag(0x1235), Value::Binary(b"five!")),
            (Key::Lid(COMMON, 7), Value::Text("name")),
            (START, Value::Time(1_000_000_000)),
            (SUBJECT, Value::Text8(b"\xe9t\xe9\0")),
        ]);
        let mut bag = Bag::default();
        assert_eq!(bag.add(&data, &[SUBJECT, START]), Ok(()));
        assert_eq!(bag.found.len(), 2);
        assert_eq!(bag.text(SUBJECT, 1252).as_deref(), Some("été"));
        assert_eq!(bag.time(START), Some(1_000_000_000));
        assert_eq!(bag.long(START), None, "a value of another type is no value");
    }

    #[test]
    fn unicode_wins_over_8_bit_whatever_the_order() {
        for pair in [[Value::Text8(b"?"), Value::Text("日")], [Value::Text("日"), Value::Text8(b"?")]] {
            let data = list(&pair.map(|value| (SUBJECT, value)));
            let mut bag = Bag::default();
            assert_eq!(bag.add(&data, &[SUBJECT]), Ok(()));
            assert_eq!(bag.text(SUBJECT, 1252).as_deref(), Some("日"));
        }
    }

    #[test]
    fn a_list_that_ends_early_gives_what_stands_before_the_end() {
        let mut data = list(&[(SUBJECT, Value::Text("kept")), (START, Value::Time(0))]);
        data.truncate(data.len() - 1);
        let mut bag = Bag::default();
        assert_eq!(bag.add(&data, &[SUBJECT, START]), Err(Problem::TnefProperties));
        assert_eq!(bag.text(SUBJECT, 1252).as_deref(), Some("kept"));
    }

    #[test]
    fn huge_counts_of_nothing_end_at_once() {
        let mut data = vec![0xff; 4];
        data.extend([1, 0x10, 1, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(Bag::default().add(&data, &[]), Err(Problem::TnefProperties));
    }
}
