//! Transfer encodings (RFC 2045 section 6). Decodes as far as the bytes go and never fails: what cannot be decoded is
//! kept.

use std::borrow::Cow;
use std::io::BufRead;

use mail_parser::Encoding;

use super::words;
use crate::model::mail::TransferEncoding;

/// The encoding that a Content-Transfer-Encoding field names. An unknown one leaves the bytes alone (section 6.4).
pub(super) fn named(field: Option<&[u8]>) -> TransferEncoding {
    let Some(field) = field else { return TransferEncoding::Identity };
    let token = String::from_utf8_lossy(field.split(|byte| *byte == b'(').next().unwrap_or_default().trim_ascii());
    let token = words::decode(&token);
    let is = |name: &str| token.eq_ignore_ascii_case(name);
    if is("base64") {
        TransferEncoding::Base64
    } else if is("quoted-printable") {
        TransferEncoding::QuotedPrintable
    } else if is("x-uuencode") || is("uuencode") || is("x-uue") || is("uue") {
        TransferEncoding::Uuencode
    } else {
        TransferEncoding::Identity
    }
}

pub(super) fn decode(encoding: TransferEncoding, raw: &[u8]) -> Cow<'_, [u8]> {
    match encoding {
        TransferEncoding::Identity => Cow::Borrowed(raw),
        TransferEncoding::QuotedPrintable if !raw.contains(&b'=') => Cow::Borrowed(raw),
        TransferEncoding::QuotedPrintable => Cow::Owned(quoted_printable(raw)),
        TransferEncoding::Base64 => base64(raw),
        TransferEncoding::Uuencode => uudecode(raw).map_or(Cow::Borrowed(raw), Cow::Owned),
    }
}

/// As [`decode`], for reading: white space at the end of a quoted-printable line, which nobody sees, goes as the
/// standard wants it (section 6.7, rule 3). That is several times as fast, and bodies are what most mail consists of.
pub(super) fn decode_text(encoding: TransferEncoding, raw: &[u8]) -> Cow<'_, [u8]> {
    match encoding {
        TransferEncoding::QuotedPrintable => Encoding::QuotedPrintable.decode(raw),
        _ => decode(encoding, raw),
    }
}

/// White space at the end of a line is kept in a file: it "must" have been added on the way (rule 3), but nothing on
/// the way adds it any more, and senders forget to encode it. What is no escape stands for itself.
fn quoted_printable(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    // A slice has no I/O to fail; this is the fast search for a byte that the standard library offers.
    while rest.read_until(b'=', &mut out).is_ok_and(|count| count > 0) {
        if out.last() != Some(&b'=') {
            break;
        }
        if let Some(value) = words::hex(rest) {
            out.pop();
            out.push(value);
            rest = rest.get(2..).unwrap_or_default();
            continue;
        }
        // A soft line break, with the white space that some encoders leave before it.
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let line_end = match rest.get(blank..).unwrap_or_default() {
            [] => Some(0),
            [b'\n', ..] => Some(1),
            [b'\r', b'\n', ..] => Some(2),
            _ => None,
        };
        if let Some(line_end) = line_end {
            out.pop();
            rest = rest.get(blank + line_end..).unwrap_or_default();
        }
    }
    out
}

/// Ends at the padding, which "may be taken as evidence that the end of the data has been reached" (section 6.8). What
/// follows is a checksum or a footer that a mailing list has added, and would decode to noise.
pub(super) fn base64(raw: &[u8]) -> Cow<'_, [u8]> {
    Encoding::Base64.decode(raw.get(..padding_end(raw)).unwrap_or(raw))
}

/// Padding and the line ends after it. A longer tail of these bytes is counted like anything else.
const LONGEST_TAIL: usize = 256;

fn padding_end(raw: &[u8]) -> usize {
    // Nearly all mail ends at its padding, which the decoder stops at by itself: counting the digits of every attachment cost
    // twelve times what decoding does.
    let Some(first) = memchr::memchr(b'=', raw) else { return raw.len() };
    let tail = raw.get(first..).unwrap_or_default();
    if tail.len() <= LONGEST_TAIL && tail.iter().all(|byte| matches!(byte, b'=' | b' ' | b'\t' | b'\r' | b'\n')) {
        return raw.len();
    }
    counted_padding_end(raw)
}

fn counted_padding_end(raw: &[u8]) -> usize {
    let mut digits = 0usize;
    let mut pads = 0usize;
    for (at, byte) in raw.iter().enumerate() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {
                digits += 1;
                pads = 0;
            }
            // A sign that completes no group of four is noise like any other byte.
            b'=' if digits % 4 >= 2 => {
                pads += 1;
                if digits % 4 + pads == 4 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    raw.len()
}

/// The lines between `begin MODE NAME` and `end` (POSIX uuencode). None without a `begin` line.
fn uudecode(raw: &[u8]) -> Option<Vec<u8>> {
    let mut lines = raw.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.find(|line| line.starts_with(b"begin "))?;
    let mut out = Vec::with_capacity(raw.len() / 4 * 3);
    for line in lines {
        let Some((&count, digits)) = line.split_first() else { break };
        let count = usize::from(value(count));
        if count == 0 || line == b"end" {
            break;
        }
        let end = out.len() + count;
        for group in digits.chunks(4) {
            // Spaces at the end of a line get lost on the way, and stand for zero.
            let digit = |index| group.get(index).map_or(0, |byte| u32::from(value(*byte)));
            let bits = digit(0) << 18 | digit(1) << 12 | digit(2) << 6 | digit(3);
            let [_, first, second, third] = bits.to_be_bytes();
            out.extend([first, second, third]);
        }
        out.truncate(end);
    }
    Some(out)
}

const fn value(digit: u8) -> u8 {
    digit.wrapping_sub(b' ') & 0x3f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(encoding: TransferEncoding, raw: &str) -> String {
        String::from_utf8_lossy(&decode(encoding, raw.as_bytes())).into_owned()
    }

    #[test]
    fn an_encoding_is_known_by_its_token_alone() {
        for (field, encoding) in [
            (" BASE64\r\n", TransferEncoding::Base64),
            (" base64 (c)", TransferEncoding::Base64),
            ("\r\n quoted-printable", TransferEncoding::QuotedPrintable),
            ("x-uue", TransferEncoding::Uuencode),
            ("=?utf-8?q?base64?=", TransferEncoding::Base64),
            ("8bit", TransferEncoding::Identity),
            ("foobar", TransferEncoding::Identity),
        ] {
            assert_eq!(named(Some(field.as_bytes())), encoding, "{field}");
        }
        assert_eq!(named(None), TransferEncoding::Identity);
    }

    #[test]
    fn quoted_printable_keeps_what_is_no_escape_and_white_space_at_line_ends() {
        let quoted = |raw| text(TransferEncoding::QuotedPrintable, raw);
        assert_eq!(quoted("caf=C3=A9 =3d x"), "café = x");
        assert_eq!(quoted("soft=\r\nly = \t\nbroken=\nline="), "softly brokenline");
        assert_eq!(quoted("trailing  \r\nspace \n"), "trailing  \r\nspace \n");
        assert_eq!(quoted("=ZZ == =3 =4"), "=ZZ == =3 =4");
        assert_eq!(quoted("plain "), "plain ");
    }

    #[test]
    fn base64_ends_at_its_padding_and_a_footer_is_not_decoded() {
        let base64 = |raw| text(TransferEncoding::Base64, raw);
        assert_eq!(base64("SGVsbG8=\r\n-- \r\nlist footer"), "Hello");
        assert_eq!(base64("SGVsbG8hIQ==\n=zH6Q\n"), "Hello!!");
        assert_eq!(base64("SGVs\nbG8"), "Hello");
        assert_eq!(base64("=SGVsbG8="), "Hello");
        assert_eq!(base64("SGVs!bG8="), "Hello");
        assert_eq!(base64("===="), "");
    }

    #[test]
    fn what_stands_at_the_end_of_nearly_all_base64_changes_nothing() {
        for text in ["", "H", "He", "Hel", "Hell", "Hello"] {
            let encoded = base64_of(text);
            for tail in ["", "\r\n", " \n\r\n", "=\n", "==\n", "====\r\n", "\r\n=\r\n="] {
                let raw = format!("{encoded}{tail}");
                let cut = raw.get(..counted_padding_end(raw.as_bytes())).unwrap();
                let wanted = Encoding::Base64.decode(cut.as_bytes()).into_owned();
                assert_eq!(super::base64(raw.as_bytes()).as_ref(), wanted, "{raw:?}");
            }
        }
    }

    fn base64_of(text: &str) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    #[test]
    fn uuencode_is_decoded_between_its_begin_and_end_lines() {
        let uue = |raw| text(TransferEncoding::Uuencode, raw);
        assert_eq!(uue("text\nbegin 644 a.txt\r\n#0V%T\r\n`\r\nend\r\nmore"), "Cat");
        assert_eq!(uue("begin 644 a\n#0V%T\n!00\nend\n"), "CatA");
        assert_eq!(uue("no begin line"), "no begin line");
        assert_eq!(uue("begin 644 a\n"), "");
    }
}
