//! From bytes in a named charset to text. Never fails: what cannot be decoded becomes U+FFFD, and bytes without a
//! usable label are read as what such mail turns out to be.

use std::borrow::Cow;

use mail_parser::Charset;

/// Text of a charset label (RFC 2978). Labels that say nothing (`us-ascii` over 8-bit bytes, unknown names) leave it to
/// [`undeclared`].
pub(super) fn decode(label: Option<&str>, bytes: Cow<'_, [u8]>) -> String {
    match label.and_then(Known::from_label) {
        Some(Known::Whole(charset)) if charset == Charset::Utf8 => charset.decode_owned(bytes.into_owned()),
        Some(Known::Whole(charset)) => charset.decode(&bytes).into_owned(),
        Some(Known::Japanese(charset)) => japanese(charset, &bytes),
        Some(Known::Hz) => hz(&bytes),
        Some(Known::Korean) => korean(&bytes),
        None => match String::from_utf8(bytes.into_owned()) {
            Ok(text) => text,
            Err(error) => Charset::Windows1252.decode(error.as_bytes()).into_owned(),
        },
    }
}

/// Bytes whose charset nobody declared: UTF-8 where they are, else windows-1252 (what browsers assume, WHATWG Encoding
/// section 4.2). The decision is made once for all of them, else stray pairs of other 8-bit text would pass for UTF-8.
pub(super) fn undeclared(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Charset::Windows1252.decode(bytes),
    }
}

/// The label names a charset that shifts between states, so that each encoded-word is decoded on its own (RFC 2047
/// section 3: it begins and ends in ASCII).
pub(super) fn is_stateful(label: &str) -> bool {
    matches!(
        Known::from_label(label),
        Some(Known::Japanese(Charset::Iso2022Jp) | Known::Hz | Known::Korean | Known::Whole(Charset::Utf7))
    )
}

/// The label names some charset.
pub(super) fn is_known(label: &str) -> bool {
    Known::from_label(label).is_some()
}

enum Known {
    Whole(Charset),
    Japanese(Charset),
    /// RFC 1843.
    Hz,
    /// ISO-2022-KR, RFC 1557.
    Korean,
}

impl Known {
    fn from_label(label: &str) -> Option<Self> {
        let label = label.trim_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\''));
        let charset = Charset::from_label(label.as_bytes()).or_else(|| alias(label))?;
        match charset {
            Charset::Windows1252 if is_ascii_label(label) => None,
            Charset::Iso2022Jp | Charset::EucJp => Some(Self::Japanese(charset)),
            // WHATWG decodes these to a single U+FFFD, for reasons of browsers (markup hidden from filters); a mail
            // would be lost.
            Charset::Replacement if contains(label, "hz") => Some(Self::Hz),
            Charset::Replacement if contains(label, "kr") => Some(Self::Korean),
            Charset::Replacement => None,
            charset => Some(Self::Whole(charset)),
        }
    }
}

/// ASCII is declared by default and by mistake: what is not ASCII then was not declared.
fn is_ascii_label(label: &str) -> bool {
    ["us-ascii", "ascii", "us_ascii"].into_iter().any(|ascii| label.eq_ignore_ascii_case(ascii))
        || contains(label, "x3.4")
}

fn contains(label: &str, part: &str) -> bool {
    label.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// Names that the label tables of IANA and WHATWG do not have and mail has, compared without punctuation.
fn alias(label: &str) -> Option<Charset> {
    const LONGEST: usize = 24;
    let mut plain = [0; LONGEST];
    let mut len = 0;
    for byte in label.bytes().filter(u8::is_ascii_alphanumeric) {
        *plain.get_mut(len)? = byte.to_ascii_lowercase();
        len += 1;
    }
    let plain = plain.get(..len)?;
    match plain {
        b"utf8" | b"utf8mb4" | b"xutf8" => return Some(Charset::Utf8),
        b"unicode11utf7" | b"xunicode11utf7" | b"xunicode20utf7" => return Some(Charset::Utf7),
        b"utf16" => return Some(Charset::Utf16),
        b"eucjp" | b"eucjpms" | b"cp51932" | b"ujis" => return Some(Charset::EucJp),
        b"sjis" | b"shiftjis" | b"xmscp932" | b"shiftjisx0213" => return Some(Charset::ShiftJis),
        b"iso2022jp" | b"iso2022jp1" | b"iso2022jp2" | b"iso2022jp3" | b"iso2022jp2004" | b"iso2022jpms"
        | b"iso2022jpext" | b"cp50220" | b"cp50221" | b"cp50222" => return Some(Charset::Iso2022Jp),
        b"euckr" => return Some(Charset::EucKr),
        b"big5" | b"big5hkscs" => return Some(Charset::Big5),
        b"latin1" | b"isolatin1" | b"iso88591" => return Some(Charset::Windows1252),
        b"latin2" | b"isolatin2" => return Some(Charset::Iso8859_2),
        _ => {}
    }
    let page = [&b"windows"[..], b"win", b"xcp", b"cp", b"ms", b"dos", b"ibm"]
        .into_iter()
        .find_map(|prefix| plain.strip_prefix(prefix))?;
    Some(match page {
        b"1250" => Charset::Windows1250,
        b"1251" => Charset::Windows1251,
        b"1252" => Charset::Windows1252,
        b"1253" => Charset::Windows1253,
        b"1254" => Charset::Windows1254,
        b"1255" => Charset::Windows1255,
        b"1256" => Charset::Windows1256,
        b"1257" => Charset::Windows1257,
        b"1258" => Charset::Windows1258,
        // The letters of 437 lie where those of 850 do.
        b"437" | b"850" => Charset::Ibm850,
        b"866" => Charset::Ibm866,
        b"874" => Charset::Windows874,
        b"932" | b"943" => Charset::ShiftJis,
        b"936" => Charset::Gbk,
        b"949" => Charset::EucKr,
        b"950" => Charset::Big5,
        b"54936" => Charset::Gb18030,
        b"65000" => Charset::Utf7,
        b"65001" => Charset::Utf8,
        _ => return None,
    })
}

/// JIS X 0208 as its standard names the characters. The decoder follows code page 932, which reads six of them as their
/// full-width look-alikes; iconv and other readers of mail give these.
fn japanese(charset: Charset, bytes: &[u8]) -> String {
    let text = match charset {
        Charset::Iso2022Jp => charset.decode(&plain_shifts(bytes)).into_owned(),
        _ => charset.decode(bytes).into_owned(),
    };
    let mut standard = String::new();
    let mut rest = text.as_str();
    let is_wide = |(_, c): &(usize, char)| matches!(c, '～' | '∥' | '－' | '￠' | '￡' | '￢');
    while let Some((at, wide)) = rest.char_indices().find(is_wide) {
        let (before, tail) = rest.split_at(at);
        standard.push_str(before);
        standard.push(match wide {
            '～' => '〜',
            '∥' => '‖',
            '－' => '−',
            '￠' => '¢',
            '￡' => '£',
            _ => '¬',
        });
        rest = tail.get(wide.len_utf8()..).unwrap_or_default();
    }
    if standard.is_empty() {
        return text;
    }
    standard.push_str(rest);
    standard
}

const ESCAPE: u8 = 0x1b;
const TO_ASCII: &[u8] = b"\x1b(B";

/// ISO-2022-JP (RFC 1468) as the decoder wants it. A shift followed by another shift is a sign of joined texts, not of
/// an attack, and is dropped; a line that ends in double-byte mode has forgotten to shift back.
fn plain_shifts(bytes: &[u8]) -> Cow<'_, [u8]> {
    if is_tidy(bytes) {
        return Cow::Borrowed(bytes);
    }
    let mut plain = Vec::with_capacity(bytes.len() + 16);
    let mut wide = false;
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        if let Some(shift) = shift(rest) {
            let (escape, after) = rest.split_at(shift.len);
            wide = shift.wide;
            if self::shift(after).is_none() {
                plain.extend_from_slice(escape);
            }
            rest = after;
            continue;
        }
        if wide && matches!(byte, b'\r' | b'\n') {
            plain.extend_from_slice(TO_ASCII);
            wide = false;
        }
        plain.push(byte);
        rest = tail;
    }
    if wide {
        plain.extend_from_slice(TO_ASCII);
    }
    Cow::Owned(plain)
}

/// Every shift shifts something, and back before the line ends.
fn is_tidy(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == ESCAPE) {
        let escape = rest.get(at..).unwrap_or_default();
        rest = escape.get(1..).unwrap_or_default();
        let Some(shift) = shift(escape) else { continue };
        rest = escape.get(shift.len..).unwrap_or_default();
        let end = rest.iter().position(|byte| matches!(byte, &ESCAPE | b'\r' | b'\n'));
        let is_back = end.and_then(|end| rest.get(end)) == Some(&ESCAPE);
        if end == Some(0) && is_back || shift.wide && !is_back {
            return false;
        }
    }
    true
}

struct Shift {
    len: usize,
    wide: bool,
}

fn shift(bytes: &[u8]) -> Option<Shift> {
    match bytes {
        [ESCAPE, b'$', b'(', _, ..] => Some(Shift { len: 4, wide: true }),
        [ESCAPE, b'$', b'@' | b'A' | b'B', ..] => Some(Shift { len: 3, wide: true }),
        [ESCAPE, b'(', b'B' | b'J' | b'I' | b'H', ..] => Some(Shift { len: 3, wide: false }),
        _ => None,
    }
}

/// HZ (RFC 1843): GB 2312 without its high bits between `~{` and `~}`; a line end shifts back.
fn hz(bytes: &[u8]) -> String {
    let mut wide = false;
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match rest {
            [b'~', b'{', after @ ..] => {
                wide = true;
                after
            }
            [b'~', b'}', after @ ..] => {
                wide = false;
                after
            }
            [b'~', b'~', after @ ..] if !wide => {
                out.push(b'~');
                after
            }
            [b'~', b'\n', after @ ..] if !wide => after,
            _ => {
                wide &= byte != b'\n';
                out.push(if wide && byte.is_ascii_graphic() { byte | 0x80 } else { byte });
                tail
            }
        };
    }
    Charset::Gbk.decode(&out).into_owned()
}

/// ISO-2022-KR (RFC 1557): KS X 1001 without its high bits between SO and SI, announced by `ESC $ ) C`.
fn korean(bytes: &[u8]) -> String {
    let mut wide = false;
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            ESCAPE if tail.starts_with(b"$)C") => rest = tail.get(3..).unwrap_or_default(),
            0x0e => wide = true,
            0x0f => wide = false,
            _ => {
                wide &= byte != b'\n';
                out.push(if wide && byte.is_ascii_graphic() { byte | 0x80 } else { byte });
            }
        }
    }
    Charset::EucKr.decode(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(label: &str, bytes: &[u8]) -> String {
        decode(Some(label), Cow::Borrowed(bytes))
    }

    #[test]
    fn undeclared_bytes_are_utf_8_or_all_of_them_windows_1252() {
        assert_eq!(undeclared("Fr\u{f6}sche".as_bytes()), "Frösche");
        assert_eq!(undeclared(b"Fr\xf6sche"), "Frösche");
        // The second pair alone would be valid UTF-8.
        assert_eq!(undeclared(b"\xd6\xd0\xc8\xab"), "ÖÐÈ«");
        for label in [None, Some("us-ascii"), Some("x-unknown"), Some(""), Some("default")] {
            assert_eq!(decode(label, Cow::Borrowed(b"\x80 5")), "€ 5", "{label:?}");
            assert_eq!(decode(label, Cow::Borrowed("ö".as_bytes())), "ö", "{label:?}");
        }
    }

    #[test]
    fn labels_that_only_mail_writes_are_known() {
        for label in ["cp932", "MS932", " \"Shift_JIS\" ", "windows-31j", "x-ms-cp932"] {
            assert_eq!(read(label, b"\x82\xb1"), "こ", "{label}");
        }
        for label in ["windows1251", "win-1251", "CP-1251", "'windows-1251'"] {
            assert_eq!(read(label, b"\xe0"), "а", "{label}");
        }
        assert_eq!(read("unicode-1-1-utf-7", b"+APY-"), "ö");
        assert_eq!(read("utf 8", "ö".as_bytes()), "ö");
        assert!(!is_known("iso-8858-15") && !is_known(""));
    }

    #[test]
    fn an_empty_shift_and_a_line_that_does_not_shift_back_leave_no_marks() {
        let words = b"\x1b$B%\"\x1b(B\x1b$B%\"\x1b(B";
        assert_eq!(read("ISO-2022-JP", words), "アア");
        assert_eq!(read("iso-2022-jp", b"\x1b$B%\"\nab\x1b$B%\""), "ア\nabア");
        assert_eq!(read("iso-2022-jp", b"\x1b$B\x1b(B"), "");
    }

    #[test]
    fn japanese_punctuation_is_what_its_standard_names() {
        assert_eq!(read("iso-2022-jp", b"\x1b$B!A!]\x1b(B"), "〜−");
        assert_eq!(read("euc-jp", b"\xa1\xc1"), "〜");
        assert_eq!(read("shift_jis", b"\x81\x60"), "～");
    }

    #[test]
    fn seven_bit_chinese_and_korean_are_not_given_up() {
        assert_eq!(read("hz-gb-2312", b"a ~{VP~} ~~ b"), "a 中 ~ b");
        assert_eq!(read("iso-2022-kr", b"\x1b$)C\x0e0!\x0f x"), "가 x");
        assert_eq!(read("iso-2022-cn", b"plain"), "plain");
    }
}
