//! The bytes of a mail as they come after DATA (dot-stuffed, RFC 5321 section 4.5.2) or in chunks (BDAT, RFC 3030).
//! Only CRLF ends a line. A mail with a bare CR or LF is never accepted: servers that disagree about line ends let a sender
//! smuggle a second mail into the first.

use memchr::memchr2;

/// Why the bytes read so far will not become a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    BareLineEnd,
    TooLarge,
}

/// Where in a line the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Right after a line end, or before the first byte.
    #[default]
    Start,
    Middle,
    /// After a CR.
    Return,
    /// After the dot that begins a line.
    Dot,
    /// After such a dot and a CR.
    DotReturn,
}

/// Reads one mail. What is good goes into a buffer of the caller's, with its dots unstuffed.
#[derive(Debug)]
pub struct DataReader {
    at: At,
    size: u64,
    limit: u64,
    fault: Option<Fault>,
}

impl DataReader {
    pub const fn new(limit: u64) -> Self {
        Self { at: At::Start, size: 0, limit, fault: None }
    }

    /// Bytes of the mail so far, also those that were no longer kept.
    pub const fn size(&self) -> u64 {
        self.size
    }

    pub const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Reads dot-stuffed bytes: how many were used, and whether the end of the data is among them. What follows the end is
    /// not touched. In a mail with a bare line end a dot between line ends of any kind ends the data: the caller closes the
    /// connection then, and what follows is never taken for a command.
    pub fn read(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let byte = rest.first().copied().unwrap_or_default();
            match (self.at, byte) {
                (At::Start, b'.') => {
                    self.at = At::Dot;
                    used += 1;
                }
                (At::Start | At::Middle, _) => used += self.line(rest, out),
                (At::Return, b'\n') => {
                    self.keep(b"\r\n", out);
                    self.at = At::Start;
                    used += 1;
                }
                (At::Dot, b'\r') => {
                    self.at = At::DotReturn;
                    used += 1;
                }
                (At::DotReturn, b'\n') => return (used + 1, true),
                (At::Dot, b'\n') => {
                    self.bare();
                    return (used + 1, true);
                }
                (At::Dot, _) => self.at = At::Middle,
                (At::Return | At::DotReturn, _) => {
                    self.bare();
                    self.at = At::Middle;
                }
            }
        }
        (used, false)
    }

    /// Up to the end of the line, or what there is of it.
    fn line(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let Some(end) = memchr2(b'\r', b'\n', rest) else {
            self.keep(rest, out);
            self.at = At::Middle;
            return rest.len();
        };
        let (text, tail) = rest.split_at(end);
        match tail {
            [b'\r', b'\n', ..] => {
                self.keep(rest.get(..end + 2).unwrap_or_default(), out);
                self.at = At::Start;
                end + 2
            }
            [b'\r', ..] => {
                self.keep(text, out);
                self.at = At::Return;
                end + 1
            }
            _ => {
                self.bare();
                self.at = At::Start;
                end + 1
            }
        }
    }

    /// Takes bytes of a chunk as they are.
    pub fn take(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        if self.at == At::Return && !rest.is_empty() {
            if rest.first() != Some(&b'\n') {
                self.bare();
            }
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            self.at = At::Middle;
        }
        while let Some(end) = memchr2(b'\r', b'\n', rest) {
            let (_, tail) = rest.split_at(end);
            rest = match tail {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.at = At::Return;
                    &[]
                }
                _ => {
                    self.bare();
                    &[]
                }
            };
        }
        self.keep(chunk, out);
    }

    /// No chunk follows.
    pub fn finish_chunks(&mut self) {
        if self.at == At::Return {
            self.bare();
        }
    }

    /// A bare line end is the graver fault: it stands, whatever the size.
    const fn bare(&mut self) {
        self.fault = Some(Fault::BareLineEnd);
    }

    fn keep(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.size += bytes.len() as u64;
        if self.size > self.limit && self.fault.is_none() {
            self.fault = Some(Fault::TooLarge);
        }
        if self.fault.is_none() {
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of some bytes, fed in pieces of this size.
    fn read(input: &[u8], piece: usize) -> (Vec<u8>, Option<Fault>, usize, bool) {
        let (mut reader, mut out, mut used) = (DataReader::new(1000), Vec::new(), 0);
        for chunk in input.chunks(piece) {
            let (took, end) = reader.read(chunk, &mut out);
            used += took;
            if end {
                return (out, reader.fault(), used, true);
            }
            assert_eq!(took, chunk.len());
        }
        (out, reader.fault(), used, false)
    }

    #[test]
    fn dots_are_unstuffed_and_what_follows_the_end_is_left_alone() {
        for piece in 1..20 {
            let (out, fault, used, end) = read(b"..a\r\n.b\r\n\r\nc.\r\n.\r\nQUIT\r\n", piece);
            assert_eq!((out.as_slice(), fault, end), (&b".a\r\nb\r\n\r\nc.\r\n"[..], None, true), "{piece}");
            assert_eq!(used, b"..a\r\n.b\r\n\r\nc.\r\n.\r\n".len());
        }
        assert_eq!(read(b".\r\n", 1), (Vec::new(), None, 3, true));
    }

    #[test]
    fn every_known_way_to_smuggle_an_end_of_data_is_a_bare_line_end() {
        for end in [
            &b"\n.\n"[..],
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r\n",
            b"\r\n.\r\r\n",
            b"\r.\r",
            b"\n\n.\r\n",
            b"\r\r\n.\r\n",
            b"\r\n\r.\r\n",
            b"\n.\r",
            b"\r\n.\r",
        ] {
            for piece in 1..9 {
                let bytes = [b"Subject: a\r\n\r\nx", end, b"MAIL FROM:<evil@a.example>\r\n.\r\n"].concat();
                let (_, fault, ..) = read(&bytes, piece);
                assert_eq!(
                    fault,
                    Some(Fault::BareLineEnd),
                    "{:?} in pieces of {piece}",
                    end.escape_ascii().to_string()
                );
            }
        }
    }

    #[test]
    fn a_mail_that_is_too_large_is_read_to_its_end_and_not_kept() {
        let mut reader = DataReader::new(10);
        let mut out = Vec::new();
        let (_, end) = reader.read(b"0123456789\r\n0123456789\r\n.\r\n", &mut out);
        assert!(end && out.len() <= 10);
        assert_eq!((reader.fault(), reader.size()), (Some(Fault::TooLarge), 24));
    }

    #[test]
    fn chunks_are_taken_as_they_are_but_for_bare_line_ends() {
        let take = |chunks: &[&[u8]]| {
            let (mut reader, mut out) = (DataReader::new(1000), Vec::new());
            chunks.iter().for_each(|chunk| reader.take(chunk, &mut out));
            reader.finish_chunks();
            (out, reader.fault())
        };
        assert_eq!(take(&[b"a\r", b"\n.b\r\n", b".\r\n"]), (b"a\r\n.b\r\n.\r\n".to_vec(), None));
        for bad in [&[&b"a\nb"[..]][..], &[b"a\r"], &[b"a\r", b"b"], &[b"\rx"], &[b"a\r", b"", b"b"]] {
            assert_eq!(take(bad).1, Some(Fault::BareLineEnd), "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pieces_of_any_size_read_alike_and_a_stuffed_mail_comes_back(
            lines in prop::collection::vec("[.a]{0,4}", 0..8),
            piece in 1_usize..7,
        ) {
            let mail: String = lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect();
            let mut wire: String = lines
                .iter()
                .map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") })
                .collect();
            wire.push_str(".\r\n");
            let (out, fault, used, end) = read(wire.as_bytes(), piece);
            prop_assert_eq!((out, fault, used, end), (mail.into_bytes(), None, wire.len(), true));
        }

        #[test]
        fn any_bytes_read_alike_in_pieces_of_any_size(
            bytes in prop::collection::vec(prop::sample::select(vec![b'\r', b'\n', b'.', b'a']), 0..24),
            piece in 1_usize..5,
        ) {
            let (pieces, whole) = (read(&bytes, piece), read(&bytes, 1000));
            // Of a mail that is refused it does not matter what was kept.
            prop_assert!(pieces.1.is_some() || pieces.0 == whole.0);
            prop_assert_eq!((pieces.1, pieces.2, pieces.3), (whole.1, whole.2, whole.3));
        }
    }
}
