//! From bytes to content lines (RFC 5545 section 3.1) that a strict reader would accept: one character set, no folds, every
//! BEGIN with its END. All bounds on a calendar's shape are kept here, before the library sees it. Never drops a line that
//! looks like a property of a component.

use std::borrow::Cow;

use super::Limits;

/// What the reader gets.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Unfolded content lines, each with a line feed.
    pub text: String,
    pub problems: Vec<String>,
}

/// Components that stand side by side: the BEGIN of one means that the END of the other was forgotten.
const SIBLINGS: [&str; 5] = ["VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VTIMEZONE"];

/// Properties whose value is one text, commas and all.
const TEXTS: [&str; 5] = ["DESCRIPTION", "SUMMARY", "LOCATION", "COMMENT", "ATTACH"];

/// A line at least this long was cut by a mailer at its margin; a shorter one ended because its author wanted a new line.
/// RFC 5545 folds at 75 octets, the mailers that refold text at 72 or 76.
const MARGIN: usize = 60;

pub(super) fn content_lines(bytes: &[u8], limits: &Limits) -> Lines {
    let bytes = without_utf16(bytes);
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let (open, out) = (Vec::new(), Lines::default());
    let mut balance = Balance { limits, open, components: 0, skipping: 0, parts: 0, out };
    for (count, line) in unfold(bytes).iter().enumerate() {
        if count == limits.lines {
            balance.out.problems.push(format!("more than {count} lines: the rest is left out"));
            break;
        }
        if !balance.push(&decode(line)) {
            balance.out.problems.push(format!("more than {} components: the rest is left out", limits.components));
            break;
        }
    }
    balance.close_to(0);
    balance.out
}

/// Some exporters of Windows write UTF-16; its byte order mark cannot begin a calendar in any other character set.
fn without_utf16(bytes: &[u8]) -> Cow<'_, [u8]> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xFF, 0xFE, ..] => u16::from_le_bytes,
        [0xFE, 0xFF, ..] => u16::from_be_bytes,
        _ => return Cow::Borrowed(bytes),
    };
    let units = bytes.chunks_exact(2).skip(1).filter_map(|pair| pair.try_into().ok().map(unit));
    let text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Cow::Owned(text.into_bytes())
}

/// Physical lines end at LF, CRLF or CR, whichever the last gateway left. A fold may fall inside a character (RFC 5545 section
/// 3.1), so this joins bytes; characters come after.
fn unfold(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Unfolded> = Vec::new();
    for physical in bytes.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty()) {
        let last_width = physical.len();
        match (lines.last_mut(), physical) {
            (Some(line), _) if in_quoted_printable(&line.text) => {
                line.text.pop();
                line.text.extend_from_slice(physical);
                line.last_width = last_width;
            }
            (Some(line), [b' ' | b'\t', rest @ ..]) => {
                line.text.extend_from_slice(rest);
                line.last_width = last_width;
            }
            _ => lines.push(Unfolded { text: physical.trim_ascii_start().to_vec(), last_width }),
        }
    }
    mend(lines)
}

struct Unfolded {
    text: Vec<u8>,
    /// Of its last physical line.
    last_width: usize,
}

/// Joins what is no property to the value before it: the rest of a fold that lost its space, or of a text with a bare new line.
fn mend(lines: Vec<Unfolded>) -> Vec<Vec<u8>> {
    let mut mended: Vec<Vec<u8>> = Vec::new();
    let mut previous_width = 0;
    for Unfolded { text, last_width } in lines {
        match mended.last_mut() {
            Some(line) if !is_property(&text) => {
                if !ends_a_component(line) {
                    if previous_width < MARGIN {
                        line.extend_from_slice(b"\\n");
                    }
                    line.extend_from_slice(&text);
                }
            }
            _ => mended.push(text),
        }
        previous_width = last_width;
    }
    mended
}

/// vCalendar 1.0: a soft line break. Parameters stand at the front; looking further would cost the square of a hostile line.
fn in_quoted_printable(line: &[u8]) -> bool {
    const MARK: &[u8] = b"QUOTED-PRINTABLE";
    let head = line.get(..200).unwrap_or(line).split(|&byte| byte == b':').next().unwrap_or_default();
    line.ends_with(b"=") && head.windows(MARK.len()).any(|window| window.eq_ignore_ascii_case(MARK))
}

/// `name:` or `name;`. A link or an address that begins a line is the rest of a property whose fold lost its space.
fn is_property(line: &[u8]) -> bool {
    let name = line.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))).next();
    let name = name.unwrap_or_default();
    let scheme = [&b"mailto"[..], b"http", b"https"].iter().any(|scheme| name.eq_ignore_ascii_case(scheme));
    !name.is_empty() && !scheme && matches!(line.get(name.len()), Some(b':' | b';'))
}

/// What follows BEGIN or END without being a property is a mailer's footer, not the rest of a value.
fn ends_a_component(line: &[u8]) -> bool {
    starts_with_word(line, b"BEGIN:") || starts_with_word(line, b"END:")
}

fn starts_with_word(line: &[u8], word: &[u8]) -> bool {
    line.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
}

/// UTF-8 is the default of iCalendar (RFC 5545 section 3.1.4). What is not UTF-8 is nearly always Windows' Latin 1, and often
/// one line of many: so line by line. Control characters mean nothing in a content line.
fn decode(line: &[u8]) -> String {
    let text = match std::str::from_utf8(line) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(line.iter().map(|&byte| windows_1252(byte)).collect()),
    };
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// The bytes 0x80 to 0x9F of windows-1252 as the WHATWG maps them; elsewhere it is Latin 1.
fn windows_1252(byte: u8) -> char {
    const TABLE: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
    ];
    byte.checked_sub(0x80).and_then(|index| TABLE.get(usize::from(index))).copied().unwrap_or(char::from(byte))
}

/// Keeps BEGIN and END in pairs. The library closes whatever is innermost at any END, so one forgotten END would put the next
/// event inside the last one, and its properties with it.
struct Balance<'a> {
    limits: &'a Limits,
    open: Vec<String>,
    components: usize,
    /// How many components deep we are in one that is nested too deeply.
    skipping: usize,
    /// Parameters and values of lists so far.
    parts: usize,
    out: Lines,
}

impl Balance<'_> {
    /// False when the calendar is full.
    fn push(&mut self, line: &str) -> bool {
        let (word, value) = line.split_once(':').unwrap_or((line, ""));
        let component = value.trim().to_ascii_uppercase();
        if word.trim().eq_ignore_ascii_case("BEGIN") {
            return self.begin(component);
        }
        if word.trim().eq_ignore_ascii_case("END") {
            self.end(&component);
        } else if self.skipping == 0 {
            self.property(line, word);
        }
        true
    }

    /// The library makes an object of 40 to 100 bytes of every parameter and every value of a list, be it empty.
    fn property(&mut self, line: &str, head: &str) {
        let name = head.split(';').next().unwrap_or_default().to_ascii_uppercase();
        let counted = if TEXTS.contains(&name.as_str()) { head } else { line };
        let parts = counted.bytes().filter(|byte| matches!(byte, b',' | b';')).count();
        if self.parts + parts > self.limits.lines {
            self.out.problems.push(format!("{name} is left out: the calendar has too many values"));
            return;
        }
        self.parts += parts;
        self.write(line);
    }

    fn begin(&mut self, component: String) -> bool {
        if self.skipping > 0 {
            self.skipping += 1;
            return true;
        }
        let forgotten = match component.as_str() {
            "VCALENDAR" => Some(0),
            name if SIBLINGS.contains(&name) => self.open.iter().position(|open| SIBLINGS.contains(&open.as_str())),
            "STANDARD" | "DAYLIGHT" => {
                self.open.iter().position(|open| matches!(open.as_str(), "STANDARD" | "DAYLIGHT"))
            }
            "VALARM" => self.open.iter().position(|open| open == "VALARM"),
            _ => None,
        };
        if let Some(depth) = forgotten {
            self.close_to(depth);
        }
        if self.open.len() >= self.limits.nesting {
            self.out.problems.push(format!("a {component} is nested too deeply and left out"));
            self.skipping = 1;
            return true;
        }
        self.components += 1;
        if self.components > self.limits.components {
            return false;
        }
        self.write(&format!("BEGIN:{component}"));
        self.open.push(component);
        true
    }

    fn end(&mut self, component: &str) {
        if self.skipping > 0 {
            self.skipping -= 1;
            return;
        }
        // An END that ends nothing is left out.
        if let Some(depth) = self.open.iter().rposition(|open| open == component) {
            self.close_to(depth);
        }
    }

    fn close_to(&mut self, depth: usize) {
        while self.open.len() > depth {
            if let Some(component) = self.open.pop() {
                self.write(&format!("END:{component}"));
            }
        }
    }

    fn write(&mut self, line: &str) {
        self.out.text.push_str(line);
        self.out.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> String {
        content_lines(bytes, &Limits::default()).text
    }

    #[test]
    fn folds_are_joined_whatever_the_line_ends() {
        for end in ["\r\n", "\n", "\r"] {
            let text = ["BEGIN:VEVENT", "SUMMARY:one", " two", "\t three", "END:VEVENT", ""].join(end);
            assert_eq!(lines(text.as_bytes()), "BEGIN:VEVENT\nSUMMARY:onetwo three\nEND:VEVENT\n");
        }
    }

    #[test]
    fn a_fold_inside_a_name_is_a_fold() {
        assert_eq!(
            lines(b"BEGIN:VEVENT\nMETH\n OD\n\n :PUBLISH\nEND:VEVENT\n"),
            "BEGIN:VEVENT\nMETHOD:PUBLISH\nEND:VEVENT\n"
        );
    }

    #[test]
    fn a_fold_inside_a_character_is_healed() {
        assert_eq!(lines(b"SUMMARY:caf\xC3\r\n \xA9"), "SUMMARY:café\n");
    }

    #[test]
    fn a_fold_that_lost_its_space_is_joined_and_a_bare_new_line_becomes_one() {
        let long = format!("ATTENDEE;CN={}\nmailto:a@example.org\n", "x".repeat(60));
        assert_eq!(lines(long.as_bytes()), format!("ATTENDEE;CN={}mailto:a@example.org\n", "x".repeat(60)));
        assert_eq!(lines(b"DESCRIPTION:first\nand second\n"), "DESCRIPTION:first\\nand second\n");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_windows_1252_and_only_in_their_line() {
        assert_eq!(
            lines(b"\xEF\xBB\xBFSUMMARY:\x93B\xFCro\x94\nLOCATION:Z\xC3\xBCrich"),
            "SUMMARY:“Büro”\nLOCATION:Zürich\n"
        );
    }

    #[test]
    fn utf_16_is_read() {
        let text: Vec<u8> = "\u{FEFF}SUMMARY:Bücher\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(lines(&text), "SUMMARY:Bücher\n");
    }

    #[test]
    fn a_forgotten_end_is_put_where_it_belongs_and_a_stray_one_is_left_out() {
        let text = "BEGIN:VCALENDAR\nbegin:vevent\nUID:1\nBEGIN:VALARM\nBEGIN:VEVENT\nUID:2\nEND:VTODO\n";
        let want = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nBEGIN:VALARM\nEND:VALARM\nEND:VEVENT\nBEGIN:VEVENT\nUID:2\n\
                    END:VEVENT\nEND:VCALENDAR\n";
        assert_eq!(lines(text.as_bytes()), want);
    }

    #[test]
    fn a_soft_line_break_of_vcalendar_1_is_joined() {
        assert_eq!(
            lines(b"SUMMARY;ENCODING=QUOTED-PRINTABLE:one=\n two=3D\n"),
            "SUMMARY;ENCODING=QUOTED-PRINTABLE:one two=3D\n"
        );
    }

    #[test]
    fn a_list_that_is_too_long_is_left_out_and_a_text_with_as_many_commas_is_not() {
        let limits = Limits { lines: 10, ..Limits::default() };
        let found = content_lines(b"EXDATE:,,,,,,,,,,,,\nSUMMARY:,,,,,,,,,,,,\nEXDATE:,\n", &limits);
        assert_eq!((found.text.as_str(), found.problems.len()), ("SUMMARY:,,,,,,,,,,,,\nEXDATE:,\n", 1));
    }

    #[test]
    fn too_many_and_too_deep_components_are_left_out_and_said() {
        let limits = Limits { components: 2, nesting: 2, ..Limits::default() };
        let many = content_lines(b"BEGIN:A\nEND:A\nBEGIN:A\nEND:A\nBEGIN:A\nX:1\n", &limits);
        assert_eq!((many.text.matches("BEGIN").count(), many.problems.len()), (2, 1));
        let deep = content_lines(b"BEGIN:A\nBEGIN:B\nBEGIN:C\nBEGIN:D\nX:1\nEND:D\nEND:C\nY:2\n", &limits);
        assert_eq!(deep.text, "BEGIN:A\nBEGIN:B\nY:2\nEND:B\nEND:A\n");
    }
}
