//! S/MIME parts that hide what they carry (RFC 8551): the content of opaque signed and of compressed ones is let out,
//! encrypted ones are only told apart. Nothing is verified; the part itself stays as it is, and its signature with it.
//!
//! Cryptographic Message Syntax (RFC 5652) is read as BER, since signers that stream write indefinite lengths and
//! pieces. Only the few elements on the way to the content are looked at, so no certificate can stand in its way.

use std::io::Read;

use super::{Budget, Extracted, How, Problem, Unpacked};

/// What a CMS part is.
#[derive(Debug, PartialEq, Eq)]
pub enum Smime {
    /// The content was let out. It is a MIME entity, header and body: its type says `message/rfc822`, so that it is
    /// read as one, and it has no name.
    Opened(Unpacked),
    /// A signature or certificates without content.
    Detached,
    /// For somebody with the key.
    Encrypted,
}

/// Object identifiers of RFC 5652, RFC 5083 and RFC 3274, as their bytes.
const SIGNED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const ENVELOPED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
const SIGNED_AND_ENVELOPED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x04";
const ENCRYPTED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";
const AUTH_ENVELOPED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17";
const COMPRESSED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09";

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTETS: u8 = 0x04;
const OCTETS_IN_PIECES: u8 = 0x24;
const EXPLICIT_0: u8 = 0xA0;

/// Pieces of pieces of an octet string.
const DEEPEST: usize = 8;

/// Whether a part should be tried as CMS: by its type (RFC 8551 section 3.2 and the name from before it) or its name.
pub fn is_smime(content_type: Option<&str>, name: Option<&str>) -> bool {
    let is_type = |t: &str| {
        ["application/pkcs7-mime", "application/x-pkcs7-mime"].iter().any(|known| t.trim().eq_ignore_ascii_case(known))
    };
    let extension = name.and_then(|name| name.trim().rsplit_once('.')).map(|(_, extension)| extension);
    content_type.is_some_and(is_type)
        || extension.is_some_and(|extension| ["p7m", "p7z"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Opens a CMS part. `None` if it is none, or of a kind that carries nothing for a reader.
pub fn smime(bytes: &[u8], budget: &mut Budget) -> Option<Smime> {
    let outer = element(bytes)?.of(SEQUENCE)?;
    let kind = element(outer.content)?.of(OBJECT_IDENTIFIER)?;
    match kind.content {
        SIGNED | COMPRESSED => {}
        ENVELOPED | SIGNED_AND_ENVELOPED | ENCRYPTED | AUTH_ENVELOPED => return Some(Smime::Encrypted),
        _ => return None,
    }
    // SignedData and CompressedData begin alike: version, algorithms, encapContentInfo.
    let data = element(element(kind.rest)?.of(EXPLICIT_0)?.content)?.of(SEQUENCE)?;
    let version = element(data.content)?.of(INTEGER)?;
    let algorithms = element(version.rest)?;
    let encapsulated = element(algorithms.rest)?.of(SEQUENCE)?;
    let content_type = element(encapsulated.content)?.of(OBJECT_IDENTIFIER)?;
    let Some(content) = element(content_type.rest).and_then(|element| element.of(EXPLICIT_0)) else {
        return Some(Smime::Detached);
    };
    let content = element(content.content)?;
    let mut unpacked = Unpacked::default();
    let opened = match (kind.content, algorithms.tag) {
        (SIGNED, SET) => octets(&content, budget.bytes_left(), &mut unpacked).map(|bytes| (bytes, How::SmimeSigned)),
        (COMPRESSED, SEQUENCE) => octets(&content, budget.bytes_left(), &mut unpacked)
            .map(|packed| (inflate(&packed, budget.bytes_left(), &mut unpacked), How::SmimeCompressed)),
        _ => return None,
    };
    match opened {
        Ok((bytes, how)) => {
            unpacked.keep(entity(bytes, how), budget);
        }
        Err(problem) => unpacked.note(problem),
    }
    Some(Smime::Opened(unpacked))
}

fn entity(bytes: Vec<u8>, how: How) -> Extracted {
    Extracted {
        name: None,
        content_type: Some("message/rfc822".to_owned()),
        content_id: None,
        inline: false,
        bytes,
        how,
        opened: false,
    }
}

/// One BER element (X.690 section 8.1).
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
    /// The bytes ended before it did.
    cut: bool,
}

impl Element<'_> {
    fn of(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }
}

fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (tag, length, rest) = head(bytes)?;
    if let Some(length) = length {
        let (content, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        return Some(Element { tag, content, rest: after, cut: length > rest.len() });
    }
    let (length, whole) = indefinite(rest);
    let (content, after) = rest.split_at_checked(length)?;
    // Two zero bytes end it.
    Some(Element { tag, content, rest: after.get(2..).unwrap_or_default(), cut: !whole })
}

/// Tag, length (`None` for an indefinite one) and what follows. Tags of more than one byte do not occur in CMS.
fn head(bytes: &[u8]) -> Option<(u8, Option<usize>, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let indefinite_is_fine = tag & 0x20 != 0;
    match length {
        0x80 if indefinite_is_fine => Some((*tag, None, rest)),
        0..=0x7F => Some((*tag, Some(usize::from(*length)), rest)),
        0x81..=0x88 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7F))?;
            let length = digits.iter().fold(0_u64, |length, digit| length << 8 | u64::from(*digit));
            Some((*tag, Some(usize::try_from(length).unwrap_or(usize::MAX)), rest))
        }
        _ => None,
    }
}

/// How long the content of an element of indefinite length is, and whether its end is there. Elements of definite
/// length within are jumped over, those of indefinite length are only counted, so this is one pass and no recursion.
fn indefinite(bytes: &[u8]) -> (usize, bool) {
    let mut rest = bytes;
    let mut open = 0_usize;
    loop {
        let at = bytes.len() - rest.len();
        match head(rest) {
            Some((0, Some(0), after)) => match open.checked_sub(1) {
                Some(fewer) => (open, rest) = (fewer, after),
                None => return (at, true),
            },
            Some((_, Some(length), after)) => match after.get(length..) {
                Some(after) => rest = after,
                None => return (bytes.len(), false),
            },
            Some((_, None, after)) => (open, rest) = (open + 1, after),
            None => return (bytes.len(), false),
        }
    }
}

/// An octet string, put together from its pieces (X.690 section 8.7).
fn octets(string: &Element<'_>, most: usize, unpacked: &mut Unpacked) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::new();
    let mut open: Vec<&[u8]> = Vec::new();
    let mut next = Some(*string);
    loop {
        let Some(piece) = next else {
            let Some(rest) = open.pop() else { return Ok(out) };
            // What is left of an outer string is behind what is left of an inner one.
            if let Some(piece) = element(rest) {
                open.push(piece.rest);
                next = Some(piece);
            }
            continue;
        };
        next = None;
        if piece.cut {
            unpacked.note(Problem::Smime);
        }
        match piece.tag {
            OCTETS if piece.content.len() > most.saturating_sub(out.len()) => return Err(Problem::TooLarge),
            OCTETS => out.extend_from_slice(piece.content),
            OCTETS_IN_PIECES if open.len() < DEEPEST => open.push(piece.content),
            _ => return Err(Problem::Smime),
        }
    }
}

/// zlib (RFC 3274 section 2), which grows up to a thousandfold: never past `most`.
fn inflate(packed: &[u8], most: usize, unpacked: &mut Unpacked) -> Vec<u8> {
    let mut out = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX);
    let mut stream = flate2::read::ZlibDecoder::new(packed).take(bound);
    if stream.read_to_end(&mut out).is_err() {
        unpacked.note(Problem::Smime);
    } else if out.len() == most {
        unpacked.note(Problem::TooLarge);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, content].concat()
    }

    fn ber(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, 0x80][..], content, &[0, 0]].concat()
    }

    fn cms(kind: &[u8], algorithms: u8, content: &[u8], wrap: fn(u8, &[u8]) -> Vec<u8>) -> Vec<u8> {
        let data = der(OBJECT_IDENTIFIER, b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01");
        let encapsulated = wrap(SEQUENCE, &[data, content.to_vec()].concat());
        let version = der(INTEGER, &[1]);
        let rest = der(SET, b"signers");
        let inner = wrap(SEQUENCE, &[version, wrap(algorithms, &[]), encapsulated, rest].concat());
        wrap(SEQUENCE, &[der(OBJECT_IDENTIFIER, kind), wrap(EXPLICIT_0, &inner)].concat())
    }

    fn open(bytes: &[u8]) -> Option<Smime> {
        smime(bytes, &mut Budget::new(Limits::default()))
    }

    fn opened(content: &str, how: How) -> Smime {
        let files = vec![entity(content.as_bytes().to_vec(), how)];
        Smime::Opened(Unpacked { files, ..Unpacked::default() })
    }

    #[test]
    fn signed_content_comes_out_whatever_the_encoding() {
        for wrap in [der as fn(u8, &[u8]) -> Vec<u8>, ber] {
            let whole = wrap(EXPLICIT_0, &der(OCTETS, b"Subject: x\r\n\r\ny"));
            assert_eq!(open(&cms(SIGNED, SET, &whole, wrap)), Some(opened("Subject: x\r\n\r\ny", How::SmimeSigned)));
            let pieces = [der(OCTETS, b"Sub"), wrap(OCTETS_IN_PIECES, &der(OCTETS, b"ject")), der(OCTETS, b": x")];
            let pieces = wrap(EXPLICIT_0, &wrap(OCTETS_IN_PIECES, &pieces.concat()));
            assert_eq!(open(&cms(SIGNED, SET, &pieces, wrap)), Some(opened("Subject: x", How::SmimeSigned)));
        }
    }

    #[test]
    fn the_other_kinds_are_told_apart() {
        assert_eq!(open(&cms(SIGNED, SET, &[], der)), Some(Smime::Detached));
        assert_eq!(open(&cms(ENVELOPED, SET, &[], der)), Some(Smime::Encrypted));
        assert_eq!(open(&cms(AUTH_ENVELOPED, SET, &[], ber)), Some(Smime::Encrypted));
        assert_eq!(open(&cms(b"\x2a\x03", SET, &[], der)), None);
        assert_eq!(open(b"Subject: not CMS\r\n\r\n"), None);
        assert_eq!(open(b""), None);
    }

    #[test]
    fn compressed_content_comes_out_and_a_bomb_does_not() {
        let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut writer, "x".repeat(60_000).as_bytes()).unwrap();
        let packed = cms(COMPRESSED, SEQUENCE, &der(EXPLICIT_0, &der(OCTETS, &writer.finish().unwrap())), der);
        assert_eq!(open(&packed), Some(opened(&"x".repeat(60_000), How::SmimeCompressed)));
        let bounded = smime(&packed, &mut Budget::new(Limits { bytes: 1000, ..Limits::default() }));
        let Some(Smime::Opened(unpacked)) = bounded else { panic!("{bounded:?}") };
        assert_eq!(unpacked.problems, [Problem::TooLarge]);
        assert!(unpacked.files.iter().all(|file| file.bytes.len() <= 1000));
    }

    #[test]
    fn a_part_that_is_cut_gives_what_there_is() {
        for wrap in [der as fn(u8, &[u8]) -> Vec<u8>, ber] {
            let bytes = cms(SIGNED, SET, &wrap(EXPLICIT_0, &der(OCTETS, &[b'x'; 100])), wrap);
            for cut in 0..bytes.len() {
                if let Some(Smime::Opened(unpacked)) = open(bytes.get(..cut).unwrap_or_default()) {
                    let whole = unpacked.files.first().is_some_and(|file| file.bytes.len() == 100);
                    assert!(whole || unpacked.problems == [Problem::Smime], "{cut} {unpacked:?}");
                }
            }
        }
    }

    #[test]
    fn nesting_without_bound_ends() {
        let mut deep = [SEQUENCE, 0x80].repeat(100_000);
        assert_eq!(open(&deep), None);
        deep = cms(SIGNED, SET, &ber(EXPLICIT_0, &[OCTETS_IN_PIECES, 0x80].repeat(10_000)), ber);
        let Some(Smime::Opened(unpacked)) = open(&deep) else { panic!("not opened") };
        assert_eq!(unpacked.problems, [Problem::Smime]);
    }
}
