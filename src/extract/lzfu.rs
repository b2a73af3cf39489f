//! The compression of RTF bodies (MS-OXRTFCP): runs of eight literals or references into a ring of 4096 bytes that
//! starts out with the words every RTF document has.
//!
//! ```text
//!  compressed size:4  raw size:4  "LZFu" or "MELA":4  CRC:4  { control:1  (literal:1 | reference:2) x 8 } ...
//! ```

use super::reader::Reader;
use super::{Budget, Problem, crc};

const COMPRESSED: [u8; 4] = *b"LZFu";
const UNCOMPRESSED: [u8; 4] = *b"MELA";

const RING: usize = 4096;

/// MS-OXRTFCP section 2.1.2.1.
const START: &[u8] =
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \
    \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\
    \\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx";

/// The RTF document. The sizes and the CRC of the header are checked, not believed: a reference makes at most 17 bytes
/// of two, so nothing grows more than eightfold, and never past what the budget has left.
pub(super) fn decompress(bytes: &[u8], budget: &mut Budget, problems: &mut Vec<Problem>) -> Vec<u8> {
    let mut reader = Reader::new(bytes);
    let (Some(size), Some(raw_size), Some(kind), Some(crc)) =
        (reader.size(), reader.size(), reader.array(), reader.u32())
    else {
        Problem::Rtf.note_in(problems);
        return Vec::new();
    };
    // The compressed size counts from behind its own field: 12 bytes of it are header.
    let body = reader.take_up_to(size.saturating_sub(12));
    let (rtf, whole) = match kind {
        COMPRESSED => {
            if crc::register(0, body) != crc {
                Problem::RtfChecksum.note_in(problems);
            }
            unfold(body, budget.bytes_left(), raw_size)
        }
        UNCOMPRESSED => {
            let rtf = body.get(..raw_size).unwrap_or(body);
            (if rtf.len() <= budget.bytes_left() { rtf.to_vec() } else { Vec::new() }, rtf.len() == raw_size)
        }
        _ => (Vec::new(), false),
    };
    if !whole {
        Problem::Rtf.note_in(problems);
    }
    if let Err(problem) = budget.take_bytes(rtf.len()) {
        problem.note_in(problems);
    }
    rtf
}

/// The dictionary: what was written last, in a ring.
struct Ring {
    bytes: [u8; RING],
    write: usize,
}

impl Ring {
    fn new() -> Self {
        let mut bytes = [0; RING];
        for (slot, byte) in bytes.iter_mut().zip(START) {
            *slot = *byte;
        }
        Self { bytes, write: START.len() }
    }

    fn put(&mut self, byte: u8, out: &mut Vec<u8>) {
        if let Some(slot) = self.bytes.get_mut(self.write) {
            *slot = byte;
        }
        self.write = (self.write + 1) % RING;
        out.push(byte);
    }

    /// Copies byte by byte, since a reference may run into what it writes.
    fn repeat(&mut self, from: usize, length: usize, out: &mut Vec<u8>) {
        for at in from..from + length {
            let byte = self.bytes.get(at % RING).copied().unwrap_or_default();
            self.put(byte, out);
        }
    }
}

/// At most `most` bytes of output, and whether the stream came to its end: the end mark, or the size it was to have.
fn unfold(bytes: &[u8], most: usize, raw_size: usize) -> (Vec<u8>, bool) {
    // The last reference may run over by its own length.
    let mut out = Vec::with_capacity(raw_size.min(most).min(bytes.len().saturating_mul(8)) + 17);
    let mut ring = Ring::new();
    let mut reader = Reader::new(bytes);
    'runs: while let Some(control) = reader.u8() {
        for bit in 0..8 {
            if out.len() >= most {
                break 'runs;
            }
            if control >> bit & 1 == 0 {
                let Some(literal) = reader.u8() else { break 'runs };
                ring.put(literal, &mut out);
                continue;
            }
            let Some(reference) = reader.array().map(u16::from_be_bytes) else { break 'runs };
            let from = usize::from(reference >> 4);
            if from == ring.write {
                return (out, true);
            }
            ring.repeat(from, usize::from(reference & 0xF) + 2, &mut out);
        }
    }
    out.truncate(most);
    let whole = out.len() == raw_size;
    (out, whole)
}

#[cfg(test)]
pub(super) mod write {
    //! Compression without references, for tests.

    pub(crate) fn stored(rtf: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(rtf.len() + 12).unwrap().to_le_bytes().to_vec();
        out.extend(u32::try_from(rtf.len()).unwrap().to_le_bytes());
        out.extend(b"MELA\0\0\0\0");
        out.extend(rtf);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    fn plain(bytes: &[u8]) -> (Vec<u8>, Vec<Problem>) {
        let mut problems = Vec::new();
        (decompress(bytes, &mut Budget::new(Limits::default()), &mut problems), problems)
    }

    /// MS-OXRTFCP section 4.1.1.
    const SIMPLE: &[u8] = b"\x2d\0\0\0\x2b\0\0\0LZFu\xf1\xc5\xc7\xa7\x03\0\x0a\0rcpg125B\x32\x0a\xf3 hel\x09\0 bw\x05\xb0ld}\x0a\x80\x0f\xa0";

    #[test]
    fn the_examples_of_the_specification_come_out() {
        assert_eq!(plain(SIMPLE), (b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n".to_vec(), vec![]));
        // Section 4.1.2: a reference that reads what it is writing.
        let crossing = b"\x1a\0\0\0\x1c\0\0\0LZFu\xe2\xd4\x4b\x51\x41\0\x04 WXYZ\x0d\x6e}\x01\x0e\xb0";
        assert_eq!(plain(crossing), (b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}".to_vec(), vec![]));
        assert_eq!(plain(&write::stored(b"{\\rtf1}")), (b"{\\rtf1}".to_vec(), vec![]));
    }

    #[test]
    fn a_stream_that_is_cut_gives_its_beginning_and_a_problem() {
        for cut in 0..SIMPLE.len() - 2 {
            let (rtf, problems) = plain(SIMPLE.get(..cut).unwrap_or_default());
            assert!(b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n".starts_with(&rtf), "{cut}");
            assert!(problems.contains(&Problem::Rtf), "{cut}");
        }
    }

    #[test]
    fn a_bomb_ends_at_the_budget_and_a_lying_header_reserves_nothing() {
        let mut bomb = b"\xff\xff\xff\x7f\xff\xff\xff\xffLZFu\0\0\0\0".to_vec();
        bomb.extend(std::iter::repeat_n([0xff; 17], 1000).flatten());
        let mut problems = Vec::new();
        let mut budget = Budget::new(Limits { bytes: 5000, ..Limits::default() });
        let rtf = decompress(&bomb, &mut budget, &mut problems);
        assert!(rtf.len() <= 5000 && rtf.capacity() < 10_000);
        assert!(problems.contains(&Problem::Rtf));
    }
}
