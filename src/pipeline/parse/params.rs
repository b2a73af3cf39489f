//! Content-Type and Content-Disposition: their value and their parameters (RFC 2045 section 5.1, RFC 2183, RFC 2231),
//! also in the forms that standards forbid and senders write. The structure of a mail does not depend on this: names
//! and charsets do.

use std::borrow::Cow;

use super::{charset, words};

/// `type/subtype` in lower case. None when there is no such pair: the part then is text/plain (RFC 2045 section 5.2).
pub(super) fn media_type(field: &[u8]) -> Option<String> {
    if let Some(plain) = plain_type(field) {
        return Some(plain.to_ascii_lowercase());
    }
    let text = value(field);
    let (kind, rest) = text.trim_matches('"').split_once('/').unwrap_or((&text, ""));
    let kind = kind.trim();
    let subtype = rest.trim_start().split(|c| !is_token_char(c)).next().unwrap_or_default();
    let is_token = |token: &str| !token.is_empty() && token.chars().all(is_token_char);
    if is_token(kind) && is_token(subtype) {
        return Some(format!("{kind}/{subtype}").to_ascii_lowercase());
    }
    let is_binary = BINARY.into_iter().any(|binary| kind.eq_ignore_ascii_case(binary));
    is_binary.then(|| "application/octet-stream".to_owned())
}

/// Half a type is enough to know that this is not for reading.
const BINARY: [&str; 5] = ["application", "audio", "font", "image", "video"];

/// The usual case: nothing but tokens before the parameters.
fn plain_type(field: &[u8]) -> Option<&str> {
    let field = field.trim_ascii();
    let end = field.iter().position(|byte| *byte == b';').unwrap_or(field.len());
    let pair = std::str::from_utf8(field.get(..end)?).ok()?;
    let (kind, subtype) = pair.split_once('/')?;
    let is_plain = |token: &str| !token.is_empty() && token.chars().all(is_token_char);
    (is_plain(kind) && is_plain(subtype)).then_some(pair)
}

/// RFC 2045 section 5.1.
const fn is_token_char(c: char) -> bool {
    c.is_ascii_graphic()
        && !matches!(c, '(' | ')' | '<' | '>' | '@' | ',' | ';' | ':' | '\\' | '"' | '/' | '[' | ']' | '?' | '=')
}

/// The disposition is `attachment`.
pub(super) fn is_attachment(field: &[u8]) -> bool {
    value(field).trim_matches('"').eq_ignore_ascii_case("attachment")
}

/// What stands before the first parameter, without comments.
fn value(field: &[u8]) -> Cow<'_, str> {
    let end = field.iter().position(|byte| *byte == b';').unwrap_or(field.len());
    let text = charset::undeclared(field.get(..end).unwrap_or_default().trim_ascii());
    if !text.contains(['(', '=', '\r', '\n']) {
        return text;
    }
    let text = words::unfold(&text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some((before, tail)) = rest.split_once('(') {
        out.push_str(before);
        rest = tail.split_once(')').map_or("", |(_, behind)| behind);
    }
    out.push_str(rest);
    Cow::Owned(words::decode(&out).trim().to_owned())
}

/// The first parameter of that name which is not empty: plain, with a charset, or in pieces.
pub(super) fn parameter(field: &[u8], name: &str) -> Option<String> {
    if !mentions(field, name.as_bytes()) {
        return None;
    }
    let text = charset::undeclared(field);
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    for parameter in Parameters::of(&text) {
        let Some(form) = Form::of(parameter.name, name) else { continue };
        match form {
            Form::Plain | Form::Extended if !pieces.is_empty() => {}
            Form::Plain => {
                let value = one_line(&words::decode(&parameter.text()));
                if value.is_some() {
                    return value;
                }
            }
            Form::Extended => {
                let value = extended(&parameter.text());
                if value.is_some() {
                    return value;
                }
            }
            Form::Piece { number, is_extended } => pieces.push(Piece { number, is_extended, text: parameter.text() }),
        }
    }
    joined(pieces)
}

/// Most fields do not have the parameter, and are not taken apart to find out.
fn mentions(field: &[u8], name: &[u8]) -> bool {
    let Some(&first) = name.first() else { return false };
    let starts = field.iter().enumerate().filter(|(_, byte)| byte.eq_ignore_ascii_case(&first));
    starts
        .map(|(at, _)| field.get(at..at + name.len()))
        .any(|found| found.is_some_and(|found| found.eq_ignore_ascii_case(name)))
}

/// How the name of a parameter says that its value is written (RFC 2231 sections 3 and 4).
enum Form {
    Plain,
    /// `name*`
    Extended,
    /// `name*0`, `name*0*`
    Piece {
        number: u32,
        is_extended: bool,
    },
}

impl Form {
    fn of(found: &str, wanted: &str) -> Option<Self> {
        let rest = found.get(wanted.len()..).filter(|rest| rest.is_empty() || rest.starts_with('*'))?;
        if !found.get(..wanted.len())?.eq_ignore_ascii_case(wanted) {
            return None;
        }
        let Some(rest) = rest.strip_prefix('*') else { return Some(Self::Plain) };
        if rest.is_empty() {
            return Some(Self::Extended);
        }
        let (number, is_extended) = rest.strip_suffix('*').map_or((rest, false), |number| (number, true));
        number.parse().ok().map(|number| Self::Piece { number, is_extended })
    }
}

struct Piece<'t> {
    number: u32,
    is_extended: bool,
    text: Cow<'t, str>,
}

/// Pieces in the order of their numbers. The first one names the charset; a character may be cut in two between pieces.
fn joined(mut pieces: Vec<Piece<'_>>) -> Option<String> {
    pieces.sort_by_key(|piece| piece.number);
    let has_charset = pieces.first().is_some_and(|piece| piece.is_extended);
    if !pieces.iter().any(|piece| piece.is_extended) {
        let text: String = pieces.into_iter().map(|piece| piece.text).collect();
        return one_line(&words::decode(&text));
    }
    let mut out = String::new();
    let mut bytes = Vec::new();
    let mut label = None;
    for (index, piece) in pieces.iter().enumerate() {
        if !piece.is_extended {
            words::push_line(&mut out, &charset::decode(label, Cow::Owned(std::mem::take(&mut bytes))));
            words::push_line(&mut out, &piece.text);
            continue;
        }
        let (charset, encoded) =
            if index == 0 && has_charset { split_charset(&piece.text) } else { (None, &*piece.text) };
        label = label.or(charset);
        percent_decode(encoded, &mut bytes);
    }
    words::push_line(&mut out, &charset::decode(label, Cow::Owned(bytes)));
    one_line(&out)
}

/// `charset'language'percent-encoded`, or encoded-words after all.
fn extended(text: &str) -> Option<String> {
    let (label, encoded) = split_charset(text);
    if label.is_none() && encoded.contains("=?") {
        return one_line(&words::decode(encoded));
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    percent_decode(encoded, &mut bytes);
    one_line(&charset::decode(label, Cow::Owned(bytes)))
}

/// One apostrophe where there should be two still ends a charset that we know.
fn split_charset(text: &str) -> (Option<&str>, &str) {
    let Some((label, rest)) = text.split_once('\'') else { return (None, text) };
    match rest.split_once('\'') {
        Some((_, encoded)) => (Some(label), encoded),
        None if charset::is_known(label) => (Some(label), rest),
        None => (None, text),
    }
}

fn percent_decode(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match words::hex(tail).filter(|_| byte == b'%') {
            Some(value) => {
                out.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => out.push(byte),
        }
    }
}

/// Without line breaks, NUL and outer white space; None when nothing is left.
fn one_line(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    words::push_line(&mut out, text.trim());
    (!out.is_empty()).then_some(out)
}

struct Parameter<'t> {
    name: &'t str,
    value: &'t str,
    is_quoted: bool,
}

impl<'t> Parameter<'t> {
    /// Unfolded and without escapes.
    fn text(&self) -> Cow<'t, str> {
        let text = words::unfold(self.value);
        if !self.is_quoted || !text.contains('\\') {
            return text;
        }
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c == '\\' { out.extend(chars.next()) } else { out.push(c) }
        }
        Cow::Owned(out)
    }
}

struct Parameters<'t> {
    rest: &'t str,
    /// No comment behind `rest` has an end: it was searched for once.
    is_open_ended: bool,
}

impl<'t> Parameters<'t> {
    fn of(field: &'t str) -> Self {
        Self { rest: field.split_once(';').map_or("", |(_, rest)| rest), is_open_ended: false }
    }

    fn skip_comments(&mut self) {
        self.rest = self.rest.trim_start();
        while let Some(inside) = self.rest.strip_prefix('(').filter(|_| !self.is_open_ended) {
            match inside.split_once(')') {
                Some((_, rest)) => self.rest = rest.trim_start(),
                None => self.is_open_ended = true,
            }
        }
    }
}

impl<'t> Iterator for Parameters<'t> {
    type Item = Parameter<'t>;

    fn next(&mut self) -> Option<Parameter<'t>> {
        loop {
            self.skip_comments();
            let end = self.rest.find(['=', ';'])?;
            let (name, tail) = self.rest.split_at(end);
            let Some(tail) = tail.strip_prefix('=') else {
                self.rest = tail.get(1..).unwrap_or_default();
                continue;
            };
            let tail = tail.trim_start();
            let (value, is_quoted, rest) = match tail.strip_prefix('"').and_then(quoted) {
                Some((value, rest)) => (value, true, rest),
                None => unquoted(tail),
            };
            self.rest = rest.split_once(';').map_or("", |(_, rest)| rest);
            return Some(Parameter { name: name.trim(), value, is_quoted });
        }
    }
}

/// Up to the closing quote, and what is behind it.
fn quoted(inside: &str) -> Option<(&str, &str)> {
    let bytes = inside.as_bytes();
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some((inside.get(..at)?, inside.get(at + 1..)?)),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Up to the semicolon, with the spaces and specials that belong in quotes. A comment at the end is one when a space
/// precedes it, and a quote without its counterpart is none.
fn unquoted(text: &str) -> (&str, bool, &str) {
    let (value, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    let value = value.trim();
    let value = value.rfind(" (").filter(|_| value.ends_with(')')).and_then(|at| value.get(..at)).unwrap_or(value);
    (value.trim_matches('"').trim(), false, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filename(field: &str) -> Option<String> {
        parameter(field.as_bytes(), "filename")
    }

    fn all_named(fields: &[&str], expected: &str) {
        for field in fields {
            assert_eq!(filename(field).as_deref(), Some(expected), "{field}");
        }
    }

    #[test]
    fn a_media_type_is_a_pair_of_tokens_and_nothing_else() {
        for (field, expected) in [
            (" Text/HTML; charset=x\r\n", "text/html"),
            ("text / html (c)", "text/html"),
            ("(c) text/html charset=utf-8", "text/html"),
            ("text/html, x", "text/html"),
            ("text/html: x", "text/html"),
            ("=?utf-8?q?text/html?=", "text/html"),
            ("\"text/html\"", "text/html"),
            ("image/; name=a", "application/octet-stream"),
            ("Application", "application/octet-stream"),
            ("application/x-foo+bar", "application/x-foo+bar"),
        ] {
            assert_eq!(media_type(field.as_bytes()).as_deref(), Some(expected), "{field}");
        }
        for field in ["", "text", "text/", "/plain", "; name=a/b"] {
            assert_eq!(media_type(field.as_bytes()), None, "{field}");
        }
    }

    #[test]
    fn an_attachment_says_so_before_the_first_semicolon() {
        for field in [" attachment\r\n", "ATTACHMENT; filename=a", "\"attachment\"; x", "attachment (c)"] {
            assert!(is_attachment(field.as_bytes()), "{field}");
        }
        for field in ["inline", "", "; attachment", "attachement"] {
            assert!(!is_attachment(field.as_bytes()), "{field}");
        }
    }

    #[test]
    fn a_plain_name_may_be_quoted_folded_or_commented() {
        all_named(
            &[
                "attachment; filename=\"a b.txt\"",
                "attachment; filename=a b.txt; size=3",
                "attachment; size=3; FileName = \" a b.txt \" x; filename=c",
                "attachment; filename=\"a\r\n\tb.txt\"",
                "attachment; filename=a b.txt (a comment)",
                "attachment; (c) filename=\"a b.txt",
                ";;filename=\"a \\b.txt\"",
                "attachment; filename=\"\"; filename=a b.txt",
            ],
            "a b.txt",
        );
        all_named(&["attachment; filename=\"a\\\"b;c.txt\""], "a\"b;c.txt");
        all_named(&["attachment; filename=a(b).txt"], "a(b).txt");
        for field in
            ["attachment", "attachment; filename", "attachment; filename=", "attachment; filename=\"\"", "x; name=a"]
        {
            assert_eq!(filename(field), None, "{field}");
        }
    }

    #[test]
    fn a_name_in_encoded_words_or_raw_8_bit_bytes_is_decoded() {
        all_named(
            &[
                "x; filename=\"=?utf-8?q?a=C3=A4.txt?=\"",
                "x; filename==?utf-8?q?a=C3=A4.txt?=",
                "x; filename=\"=?utf-8?q?a=C3?=\r\n =?utf-8?q?=A4.txt?=\"",
                "x; filename=\"a=?utf-8?b?w6Q=?=.txt\"",
                "x; filename*0=\"=?utf-8?q?a=C3\"; filename*1=\"=A4.txt?=\"",
                "x; filename=\"aä.txt\"",
            ],
            "aä.txt",
        );
        assert_eq!(parameter(b"x; filename=\"a\xe4.txt\"", "filename").as_deref(), Some("aä.txt"));
    }

    #[test]
    fn a_name_with_a_charset_or_in_pieces_is_put_together() {
        all_named(
            &[
                "x; filename*=utf-8''a%C3%A4.txt",
                "x; filename*=UTF-8'en'a%C3%A4.txt",
                "x; filename*=\"iso-8859-1''a%E4.txt\"",
                "x; filename*=utf-8'a%C3%A4.txt",
                "x; filename*=a%C3%A4.txt",
                "x; filename*=''a%E4.txt",
                "x; filename*=\"=?utf-8?q?a=C3=A4.txt?=\"",
                "x; filename*1*=%A4.txt; filename*0*=utf-8''a%C3",
                "x; filename*0*=utf-8''a%C3%A4; filename*1=.txt",
                "x; filename*0=aä; filename*1=\".txt\"",
                "x; filename*1*=%C3%A4.txt; filename*0=a",
            ],
            "aä.txt",
        );
        all_named(&["x; filename*0*=utf-8''a; filename*1=%41"], "a%41");
        let fields: Vec<String> = (0..12).rev().map(|number| format!("; filename*{number}={number},")).collect();
        all_named(&[&fields.concat()], "0,1,2,3,4,5,6,7,8,9,10,11,");
    }

    #[test]
    fn the_first_form_of_a_name_wins() {
        all_named(
            &["x; filename=a; filename*=utf-8''b", "x; filename=a; filename=b", "x; filename*=utf-8''a; filename=b"],
            "a",
        );
    }

    #[test]
    fn line_breaks_do_not_come_out_of_a_name() {
        all_named(&["x; filename*=utf-8''a%0D%0Ab%00c"], "a  bc");
    }

    #[test]
    fn a_hostile_field_takes_linear_time() {
        for piece in ["; filename*1=", "; filename=\"", "(", "; (", "=", "\\\"", ";a=b", "; filename=;"] {
            let field = format!("x; {}", piece.repeat(1 << 20));
            let _ = (filename(&field), media_type(field.as_bytes()));
        }
    }
}
