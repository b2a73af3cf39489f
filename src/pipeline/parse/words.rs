//! Header text: folds, encoded-words (RFC 2047), raw 8-bit bytes. Reads each byte a bounded number of times, however
//! hostile.

use std::borrow::Cow;

use super::{charset, transfer};

/// An unstructured field (RFC 5322 section 3.2.5) as one line of text. None when it is blank.
pub(super) fn text(field: &[u8]) -> Option<String> {
    let field = field.trim_ascii();
    if field.is_empty() {
        return None;
    }
    let text = charset::undeclared(field);
    if !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0' | b'=')) {
        return Some(text.into_owned());
    }
    let text = unfold(&text);
    let text = decode(&text);
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A line break with the white space around it is one space; NUL is nothing.
pub(super) fn unfold(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split(['\r', '\n']) {
        let line = if out.is_empty() { line } else { line.trim_start_matches([' ', '\t']) };
        if line.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.truncate(out.trim_end_matches([' ', '\t']).len());
            out.push(' ');
        }
        out.extend(line.chars().filter(|c| *c != '\0'));
    }
    Cow::Owned(out)
}

/// Decodes the encoded-words of an unfolded text. They are found anywhere, also within a word or a quoted string:
/// senders put them there although RFC 2047 section 5 forbids it.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains("=?") {
        return Cow::Borrowed(text);
    }
    let mut decoder = Decoder { out: String::with_capacity(text.len()), run: None };
    let mut rest = text;
    // Up to where `rest` is known to begin with no encoded-word.
    let mut from = 0;
    while let Some(at) = rest.get(from..).and_then(|tail| tail.find("=?")).map(|at| from + at) {
        let (before, tail) = rest.split_at(at);
        let Some(word) = Word::at_start_of(tail) else {
            from = at + 2;
            continue;
        };
        decoder.text(before);
        decoder.word(&word);
        rest = tail.get(word.len..).unwrap_or_default();
        from = 0;
    }
    decoder.flush();
    decoder.out.push_str(rest);
    Cow::Owned(decoder.out)
}

/// The length of the encoded-word that `bytes` begin with, to be passed over as a whole: specials in it separate
/// nothing.
pub(super) fn word_len(text: &str) -> Option<usize> {
    Word::at_start_of(text).map(|word| word.len)
}

/// `=?charset?encoding?payload?=`, with a language behind the charset (RFC 2231 section 5).
struct Word<'t> {
    charset: &'t str,
    is_base64: bool,
    payload: &'t str,
    len: usize,
}

/// Charset names are short; without a bound a search for the end of one would cost the whole field, for each `=?` in
/// it.
const LONGEST_CHARSET: usize = 64;

impl<'t> Word<'t> {
    fn at_start_of(text: &'t str) -> Option<Self> {
        let rest = text.strip_prefix("=?")?;
        let end = rest.bytes().take(LONGEST_CHARSET).position(|byte| byte == b'?')?;
        let (charset, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
        let is_base64 = match rest.as_bytes() {
            [b'b' | b'B', b'?', ..] => true,
            [b'q' | b'Q', b'?', ..] => false,
            _ => return None,
        };
        let rest = rest.get(2..)?;
        let payload = rest.get(..payload_len(rest.as_bytes())?)?;
        let charset = charset.split('*').next().unwrap_or_default();
        let len = text.len() - rest.len() + payload.len() + 2;
        Some(Self { charset, is_base64, payload, len })
    }

    fn bytes(&self) -> Cow<'t, [u8]> {
        if self.is_base64 { transfer::base64(self.payload.as_bytes()) } else { Cow::Owned(unquote(self.payload)) }
    }
}

/// Up to the `?=`. Another `=?` before it means that this word has no end of its own. Spaces and `?` are forbidden in a
/// payload and occur.
fn payload_len(bytes: &[u8]) -> Option<usize> {
    for (at, byte) in bytes.iter().enumerate() {
        match (byte, bytes.get(at + 1)) {
            (b'?', Some(b'=')) => return Some(at),
            (b'=', Some(b'?')) if bytes.get(at + 2) != Some(&b'=') => return None,
            _ => {}
        }
    }
    None
}

/// The Q encoding (RFC 2047 section 4.2). An `=` without two digits stands for itself.
fn unquote(payload: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut rest = payload.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, hex(tail)) {
            (b'=', Some(value)) => {
                out.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'_', _) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out
}

/// The byte that two hexadecimal digits at the start name.
pub(super) fn hex(bytes: &[u8]) -> Option<u8> {
    let [high, low, ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
}

/// Joins neighbouring words of one charset before decoding them: senders cut characters in two.
struct Decoder<'t> {
    out: String,
    run: Option<(&'t str, Vec<u8>)>,
}

impl<'t> Decoder<'t> {
    /// White space between two words only separates them (RFC 2047 section 6.2).
    fn text(&mut self, text: &str) {
        let separates = self.run.is_some() && text.trim_ascii().is_empty();
        if !separates {
            self.flush();
            self.out.push_str(text);
        }
    }

    fn word(&mut self, word: &Word<'t>) {
        let bytes = word.bytes();
        match &mut self.run {
            Some((charset, run)) if charset.eq_ignore_ascii_case(word.charset) && !charset::is_stateful(charset) => {
                run.extend_from_slice(&bytes);
            }
            _ => {
                self.flush();
                self.run = Some((word.charset, bytes.into_owned()));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((charset, bytes)) = self.run.take() {
            push_line(&mut self.out, &charset::decode(Some(charset), Cow::Owned(bytes)));
        }
    }
}

/// Line breaks and NUL that hide in an encoding must not come out of a header field.
pub(super) fn push_line(out: &mut String, text: &str) {
    let one_line = |c| if matches!(c, '\r' | '\n') { ' ' } else { c };
    out.extend(text.chars().filter(|c| *c != '\0').map(one_line));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: &[u8]) -> String {
        text(field).unwrap_or_default()
    }

    #[test]
    fn plain_text_is_kept_and_folds_are_one_space() {
        assert_eq!(read(b" Hello = world \r\n"), "Hello = world");
        assert_eq!(read(b" one\r\n\ttwo \r\n  three\n"), "one two three");
        assert_eq!(read(b" \r\n one\r\n \r\n two\r\n"), "one two");
        assert_eq!(text(b" \r\n"), None);
        assert_eq!(text(b"=?utf-8?q??="), None);
        assert_eq!(read(b"a\0b"), "ab");
    }

    #[test]
    fn raw_8_bit_text_is_utf_8_or_else_windows_1252() {
        assert_eq!(read("Fr\u{f6}hling".as_bytes()), "Frühling".replace('ü', "ö"));
        assert_eq!(read(b"Fr\xf6hling \x80 5"), "Fröhling € 5");
        assert_eq!(read(b"\xf6 =?utf-8?q?=C3=B6?="), "ö ö");
    }

    #[test]
    fn encoded_words_are_decoded_wherever_they_stand() {
        for (field, expected) in [
            ("=?utf-8?q?J=C3=B6e?=", "Jöe"),
            ("=?UTF-8?B?SsO2ZQ==?=", "Jöe"),
            ("=?utf-8?b?SsO2ZQ?=", "Jöe"),
            ("=?iso-8859-1*en?Q?J=F6e?=", "Jöe"),
            ("Re: =?utf-8?q?a_b?=: c", "Re: a b: c"),
            ("[x]=?utf-8?q?a?=b", "[x]ab"),
            ("\"=?utf-8?q?a?=\"", "\"a\""),
            ("=?utf-8?q?a?=,=?utf-8?q?b?=", "a,b"),
            ("=?utf-8?q?a b?c?=", "a b?c"),
            ("=?\"utf-8\"?q?a?=", "a"),
            ("=?x-unknown?q?=F6?=", "ö"),
        ] {
            assert_eq!(read(field.as_bytes()), expected, "{field}");
        }
    }

    #[test]
    fn white_space_between_encoded_words_is_nothing_and_cut_characters_are_joined() {
        assert_eq!(read(b"=?utf-8?q?a?= \r\n =?iso-8859-1?q?b?= c =?utf-8?q?d?="), "ab c d");
        assert_eq!(read(b"=?utf-8?q?=C3?=\r\n\t=?UTF-8?b?tg==?="), "ö");
        assert_eq!(read(b"=?gb2312?q?=D6?= =?gb2312?q?=D0?="), "中");
        assert_eq!(read(b"=?iso-2022-jp?b?GyRCJSIbKEI=?= =?iso-2022-jp?b?GyRCJSIbKEI=?="), "アア");
    }

    #[test]
    fn what_is_no_encoded_word_is_kept_as_written() {
        for field in ["=?utf-8?q?Joe", "=?utf-8?x?Joe?=", "=?utf-8?Joe?=", "a =? b", "=?=?=?=", "=?utf-8?q?=?utf-8?q?"]
        {
            assert_eq!(read(field.as_bytes()), field);
        }
        assert_eq!(read(b"=?utf-8?q?lost =?utf-8?q?found?="), "=?utf-8?q?lost found");
        assert_eq!(read(b"=?utf-8?q?a=3_=ZZ?="), "a=3 =ZZ");
    }

    #[test]
    fn line_breaks_that_hide_in_an_encoded_word_do_not_come_out() {
        assert_eq!(read(b"=?utf-8?q?a=0D=0AX:_b=00c?="), "a  X: bc");
    }

    #[test]
    fn a_hostile_field_takes_linear_time() {
        for piece in ["=?", "=?a?q?", "=?utf-8?q?a?= ", "=?utf-8?q?=C3?=", "?=", "a\r\n ", "=?a?q?x=?="] {
            let field = piece.repeat(1 << 20);
            assert!(read(field.as_bytes()).len() <= field.len() * 2);
        }
    }
}
