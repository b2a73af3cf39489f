//! uuencode in text bodies (POSIX `uuencode`, both its old form and its base64 form). Only whole blocks count: a
//! header, lines that are exactly what they say, and an end. Anything else is somebody's text and stays text.

use memchr::memmem;

use super::text::guess;
use super::{Budget, Extracted, How, Problem, Unpacked};

/// Opens every block of a text. The text is to be given as it came out of its transfer encoding.
pub fn uuencoded(text: &[u8], budget: &mut Budget) -> Unpacked {
    let mut unpacked = Unpacked::default();
    let mut lines = Lines { rest: text, before: b'\n' };
    let finder = memmem::Finder::new("begin");
    while lines.skip_to(&finder) {
        let Some(line) = lines.next() else { break };
        let Some(header) = Header::read(line) else { continue };
        // A block that is not whole ends, at the latest, at the next header: no line is read three times.
        let mut ahead = Lines { rest: lines.rest, before: b'\n' };
        match header.decode(&mut ahead, budget.bytes_left()) {
            Ok(Some(bytes)) => {
                unpacked.keep(header.file(bytes), budget);
                lines = ahead;
            }
            Ok(None) => {}
            Err(problem) => unpacked.note(problem),
        }
    }
    unpacked
}

struct Lines<'a> {
    rest: &'a [u8],
    /// What stands before `rest`: a line feed where a line begins.
    before: u8,
}

impl Lines<'_> {
    /// Goes to the next line that begins with what is looked for. Reading every line of every body cost a third of what a small
    /// mail costs.
    fn skip_to(&mut self, finder: &memmem::Finder<'_>) -> bool {
        while let Some(at) = finder.find(self.rest) {
            let before = at.checked_sub(1).and_then(|at| self.rest.get(at)).copied().unwrap_or(self.before);
            self.rest = self.rest.get(at..).unwrap_or_default();
            if before == b'\n' {
                return true;
            }
            self.rest = self.rest.get(finder.needle().len()..).unwrap_or_default();
            self.before = b'n';
        }
        false
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    /// Without its line end.
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let line = self.rest.get(..end)?;
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        self.before = b'\n';
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

struct Header<'a> {
    base64: bool,
    name: &'a [u8],
}

impl<'a> Header<'a> {
    /// `begin`, a file mode in three or four octal digits, and a name.
    fn read(line: &'a [u8]) -> Option<Self> {
        let (base64, rest) = match line.strip_prefix(b"begin-base64 ") {
            Some(rest) => (true, rest),
            None => (false, line.strip_prefix(b"begin ")?),
        };
        let space = rest.iter().take(5).position(|byte| *byte == b' ')?;
        let (mode, name) = rest.split_at_checked(space)?;
        let is_mode = mode.len() >= 3 && mode.iter().all(|digit| (b'0'..=b'7').contains(digit));
        let name = name.trim_ascii();
        (is_mode && !name.is_empty()).then_some(Self { base64, name })
    }

    fn file(&self, bytes: Vec<u8>) -> Extracted {
        Extracted {
            name: Some(guess(self.name)),
            content_type: None,
            content_id: None,
            inline: false,
            bytes,
            how: How::Uuencode,
            opened: false,
        }
    }

    /// Reads up to the end of the block. `None` if it is not whole.
    fn decode(&self, lines: &mut Lines<'_>, most: usize) -> Result<Option<Vec<u8>>, Problem> {
        let mut out = Vec::new();
        for line in lines.by_ref() {
            let step = if self.base64 { base64_line(line, &mut out) } else { line_of_old(line, &mut out) };
            match step {
                Step::More if out.len() > most => return Err(Problem::TooLarge),
                Step::More => {}
                Step::End => return Ok(Some(out)),
                Step::Broken => return Ok(None),
            }
        }
        Ok(None)
    }
}

enum Step {
    More,
    End,
    Broken,
}

/// A length and that many bytes in groups of four characters; one more character, a checksum, is allowed behind them,
/// and spaces at the end may have been lost on the way.
fn line_of_old(line: &[u8], out: &mut Vec<u8>) -> Step {
    if line == b"end" {
        return Step::End;
    }
    let Some((length, characters)) = line.split_first() else { return Step::More };
    let length = usize::from(length.wrapping_sub(b' ') & 0x3F);
    let wanted = length.div_ceil(3) * 4;
    let is_code = |byte: &u8| (b' '..=b'`').contains(byte);
    // A last group may be as short as its bytes need.
    let least = length / 3 * 4 + [0, 2, 3].get(length % 3).copied().unwrap_or_default();
    let spaces_lost = characters.len() < least;
    if !line.iter().all(is_code) || characters.len() > wanted + 1 || spaces_lost && length == 0 {
        return Step::Broken;
    }
    let codes = characters.iter().copied().chain(std::iter::repeat(b' ')).take(wanted);
    push_groups(codes.map(|byte| byte.wrapping_sub(b' ') & 0x3F), length, out);
    Step::More
}

/// RFC 4648 section 4, ended by `====`.
fn base64_line(line: &[u8], out: &mut Vec<u8>) -> Step {
    let line = line.trim_ascii_end();
    if line == b"====" {
        return Step::End;
    }
    let padding = line.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = line.get(..line.len() - padding).unwrap_or_default();
    if padding > 2 || !line.len().is_multiple_of(4) {
        return Step::Broken;
    }
    let values = digits.iter().map(|digit| {
        Some(match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    });
    let Some(values) = values.collect::<Option<Vec<u8>>>() else { return Step::Broken };
    push_groups(values.into_iter(), digits.len() * 3 / 4, out);
    Step::More
}

/// Four times six bits are three bytes; of all of them the first `length`.
fn push_groups(mut values: impl Iterator<Item = u8>, length: usize, out: &mut Vec<u8>) {
    let end = out.len() + length;
    while let Some(first) = values.next() {
        let mut next = || values.next().unwrap_or_default();
        let (second, third, fourth) = (next(), next(), next());
        out.extend([first << 2 | second >> 4, second << 4 | third >> 2, third << 6 | fourth]);
    }
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    fn open(text: &[u8]) -> Vec<(String, Vec<u8>)> {
        let files = uuencoded(text, &mut Budget::new(Limits::default())).files;
        files.into_iter().map(|file| (file.name.unwrap(), file.bytes)).collect()
    }

    #[test]
    fn blocks_between_text_come_out_in_order() {
        let text = b"Hi,\nbegin 644 cat.txt\r\n#0V%T\r\n`\r\nend\r\nand\nbegin 0600 a b\n$86)C9```\n \nend\nbye\n";
        assert_eq!(open(text), [("cat.txt".to_owned(), b"Cat".to_vec()), ("a b".to_owned(), b"abcd".to_vec())]);
    }

    #[test]
    fn the_base64_form_comes_out_too() {
        let text = b"begin-base64 644 x\nQ2F0\nQ2E=\n====\n";
        assert_eq!(open(text), [("x".to_owned(), b"CatCa".to_vec())]);
    }

    #[test]
    fn spaces_lost_at_the_end_of_a_line_are_bytes_of_zero() {
        assert_eq!(open(b"begin 644 z\n#\n&0V$\n\nend\n"), [("z".to_owned(), b"\0\0\0Ca\0\0\0\0".to_vec())]);
    }

    #[test]
    fn text_that_only_looks_like_a_block_stays_text() {
        for text in [
            &b"begin 644 x\nlower case is no code\nend\n"[..],
            b"begin 644 x\n#0V%T\n`\n",
            b"begin  the day\n#0V%T\n`\nend\n",
            b"begin 644 \n#0V%T\nend\n",
            b"begin 888 x\n#0V%T\nend\n",
            b" begin 644 x\n#0V%T\nend\n",
            b"begin 644 x\n#0V%TTOO LONG\nend\n",
            b"begin-base64 644 x\nQ2F\n====\n",
        ] {
            assert_eq!(open(text), [], "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_block_behind_a_broken_one_is_found() {
        let text = b"begin 644 broken\n#0V%T\nbegin 644 whole\n#0V%T\n`\nend\n";
        assert_eq!(open(text), [("whole".to_owned(), b"Cat".to_vec())]);
    }

    #[test]
    fn the_budget_bounds_what_comes_out() {
        let text = b"begin 644 x\n#0V%T\n#0V%T\n`\nend\nbegin 644 y\n#0V%T\n`\nend\n";
        let unpacked = uuencoded(text, &mut Budget::new(Limits { bytes: 4, ..Limits::default() }));
        assert_eq!(unpacked.problems, [Problem::TooLarge]);
        assert_eq!(unpacked.files.len(), 1);
    }
}
