//! yEnc in text bodies (yEnc draft 1.3): bytes moved on by 42, so it lives only where eight bits arrive unharmed, and
//! says with size and CRC whether they did. A damaged block, or one part of several, stays text.

use super::text::guess;
use super::{Budget, Extracted, How, Problem, Unpacked, crc};

/// Opens every block of a text, which is to be given as it came out of its transfer encoding, before any character set.
pub fn yenc(text: &[u8], budget: &mut Budget) -> Unpacked {
    let mut unpacked = Unpacked::default();
    let mut block: Option<Block<'_>> = None;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(header) = line.strip_prefix(b"=ybegin ") {
            block = Block::begin(header);
            continue;
        }
        let Some(open) = &mut block else { continue };
        if let Some(trailer) = line.strip_prefix(b"=yend ") {
            match open.end(trailer) {
                Ok(file) => unpacked.keep(file, budget),
                Err(problem) => unpacked.note(problem),
            }
            block = None;
        } else if !line.starts_with(b"=ypart ") && !open.line(line, budget.bytes_left()) {
            unpacked.note(Problem::TooLarge);
            block = None;
        }
    }
    unpacked
}

struct Block<'a> {
    size: usize,
    name: &'a [u8],
    is_part: bool,
    bytes: Vec<u8>,
}

impl<'a> Block<'a> {
    /// `part=1 total=3 line=128 size=123 name=...`: the name goes on to the end of the line.
    fn begin(header: &'a [u8]) -> Option<Self> {
        let at = header.windows(5).position(|window| window == b"name=")?;
        let (fields, name) = (header.get(..at)?, header.get(at + 5..)?.trim_ascii());
        field(fields, b"line")?;
        let size = field(fields, b"size")?.parse().ok()?;
        let is_number = |key, number| field(fields, key).is_none_or(|text| text == number);
        let is_part =
            field(fields, b"part").is_some() && !(is_number(b"part", "1") && field(fields, b"total") == Some("1"));
        Some(Self { size, name, is_part, bytes: Vec::new() })
    }

    /// Whether there was room for the line. More than the header promises is not kept, but one byte more shows it.
    fn line(&mut self, line: &[u8], most: usize) -> bool {
        if self.is_part {
            return true;
        }
        let mut codes = line.iter();
        while let Some(code) = codes.next() {
            if self.bytes.len() > self.size {
                return true;
            }
            if self.bytes.len() >= most {
                return false;
            }
            let byte = match code {
                b'=' => match codes.next() {
                    Some(escaped) => escaped.wrapping_sub(64),
                    None => continue,
                },
                code => *code,
            };
            self.bytes.push(byte.wrapping_sub(42));
        }
        true
    }

    fn end(&mut self, trailer: &[u8]) -> Result<Extracted, Problem> {
        if self.is_part {
            return Err(Problem::YencMultipart);
        }
        let size = field(trailer, b"size").and_then(|size| size.parse::<usize>().ok());
        let told = [b"crc32".as_slice(), b"pcrc32"].into_iter().find_map(|key| field(trailer, key));
        let told = told.map(|told| u32::from_str_radix(told, 16));
        let right = told.is_none_or(|told| told == Ok(crc::crc32(&self.bytes)));
        if self.bytes.len() != self.size || size != Some(self.size) || !right {
            return Err(Problem::YencDamaged);
        }
        Ok(Extracted {
            name: Some(guess(self.name)).filter(|name| !name.is_empty()),
            content_type: None,
            content_id: None,
            inline: false,
            bytes: std::mem::take(&mut self.bytes),
            how: How::Yenc,
            opened: false,
        })
    }
}

/// The value of `key=value` among words.
fn field<'a>(fields: &'a [u8], key: &[u8]) -> Option<&'a str> {
    let value = fields
        .split(u8::is_ascii_whitespace)
        .find_map(|word| word.strip_prefix(key).and_then(|rest| rest.strip_prefix(b"=")))?;
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    fn block(bytes: &[u8], begin: &str, end: &str) -> Vec<u8> {
        let mut out = format!("text\r\n=ybegin {begin} name=a file.bin \r\n").into_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            let code = byte.wrapping_add(42);
            match code {
                0 | b'\r' | b'\n' | b'=' => out.extend([b'=', code.wrapping_add(64)]),
                _ => out.push(code),
            }
            if at % 128 == 127 {
                out.extend(b"\r\n");
            }
        }
        out.extend(format!("\r\n=yend {end}\r\nmore").bytes());
        out
    }

    fn open(text: &[u8]) -> Unpacked {
        yenc(text, &mut Budget::new(Limits::default()))
    }

    #[test]
    fn every_byte_survives() {
        let bytes: Vec<u8> = (0..=255).collect();
        let end = format!("size=256 crc32={:08X}", crc::crc32(&bytes));
        let unpacked = open(&block(&bytes, "line=128 size=256", &end));
        assert_eq!(unpacked.problems, []);
        let file = unpacked.files.first().unwrap();
        assert_eq!((file.name.as_deref(), file.bytes.as_slice()), (Some("a file.bin"), bytes.as_slice()));
    }

    #[test]
    fn damage_shows_and_keeps_the_block_shut() {
        for (begin, end) in [
            ("line=128 size=4", "size=3"),
            ("line=128 size=2", "size=2"),
            ("line=128 size=3", "size=4"),
            ("line=128 size=3", "size=3 crc32=00000000"),
            ("line=128 size=3", "size=3 crc32=wrong"),
        ] {
            let unpacked = open(&block(b"abc", begin, end));
            assert_eq!(
                (unpacked.files.len(), unpacked.problems.as_slice()),
                (0, &[Problem::YencDamaged][..]),
                "{begin}"
            );
        }
    }

    #[test]
    fn one_part_of_several_is_noted_and_the_only_part_is_a_file() {
        let part = open(&block(b"abc", "part=2 total=3 line=128 size=9", "size=3 part=2"));
        assert_eq!((part.files.len(), part.problems.as_slice()), (0, &[Problem::YencMultipart][..]));
        let only = open(&block(b"abc", "part=1 total=1 line=128 size=3", "size=3 part=1"));
        assert_eq!((only.files.len(), only.problems.as_slice()), (1, &[][..]));
    }

    #[test]
    fn a_block_without_end_is_text() {
        assert_eq!(open(b"=ybegin line=128 size=3 name=x\r\nabc\r\n"), Unpacked::default());
        assert_eq!(open(b"=ybegin size=3 name=x\r\nabc\r\n=yend size=3\r\n"), Unpacked::default());
    }

    #[test]
    fn a_promise_reserves_nothing() {
        let unpacked = open(b"=ybegin line=128 size=99999999999 name=x\nabc\n=yend size=99999999999\n");
        assert_eq!(unpacked.problems, [Problem::YencDamaged]);
    }
}
