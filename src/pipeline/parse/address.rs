//! Address lists (RFC 5322 sections 3.4 and 4.4) as people and programs write them. Groups are flattened, source routes
//! and comments dropped; an address stays as written, with the case, the quotes and the `xn--` labels it has.
//!
//! * Angle brackets decide: what stands before them is a name, even with a comma in it (`Smith, Jo <jo@x.example>`).
//! * `;` separates like `,`, and a missing comma is seen where the next address begins.
//! * A single word is a local address (`root`); several words without an `@` are nobody's address.
//! * Every byte is looked at a bounded number of times; what has no end (a quote, a comment) is searched for once.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};

use super::{charset, words};
use crate::model::mail::Mailbox;

/// The first mailbox of a field.
pub(super) fn first(field: &[u8]) -> Option<Mailbox> {
    let mut first = None;
    visit(field, &mut |found| {
        first = Some(Mailbox { name: found.name(), address: found.address });
        ControlFlow::Break(())
    });
    first
}

/// The addresses of a field, behind those that `out` has, until `out` has `most`. True when there were more.
pub(super) fn all(field: &[u8], most: usize, out: &mut Vec<String>) -> bool {
    let mut are_more = false;
    visit(field, &mut |found| {
        are_more = out.len() >= most;
        if are_more {
            return ControlFlow::Break(());
        }
        out.push(found.address);
        ControlFlow::Continue(())
    });
    are_more
}

type Visitor<'v> = dyn FnMut(Found<'_>) -> ControlFlow<()> + 'v;

fn visit(field: &[u8], visitor: &mut Visitor<'_>) {
    let text = charset::undeclared(field);
    let mut list = List { text: &text, may_decode: true, visitor };
    // A break is what the visitor wanted.
    let _ = list.read();
}

struct Found<'t> {
    phrase: &'t str,
    comment: Option<&'t str>,
    address: String,
}

impl Found<'_> {
    /// The phrase; without one the comment, which is where names stood before there were phrases.
    fn name(&self) -> Option<String> {
        name(&without_comments(self.phrase)).or_else(|| name(self.comment?))
    }
}

/// What stands between two separators.
#[derive(Clone)]
struct Item<'t> {
    /// All of it, or what stands before the angle brackets.
    text: Range<usize>,
    angle: Option<&'t str>,
    /// The first comment outside the angle brackets, without its parentheses.
    comment: Option<&'t str>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Comma,
    /// A semicolon, or the end of the field.
    Hard,
    /// A colon: this was the name of a group.
    Group,
    /// A new item begins without a separator.
    Missing,
}

struct List<'t, 'v> {
    text: &'t str,
    /// An item that is one encoded-word may hold a whole mailbox; what comes out is not decoded again.
    may_decode: bool,
    visitor: &'v mut Visitor<'v>,
}

impl List<'_, '_> {
    fn read(&mut self) -> ControlFlow<()> {
        let text = self.text;
        let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0, open_ended: OpenEnded::default() };
        // An item without an address of its own may be the surname before an unquoted comma.
        let mut surname: Option<Item<'_>> = None;
        let mut is_left_over = false;
        while let Some(mut item) = scanner.next_item() {
            let end = item.end;
            if item.angle.is_some() && !self.slice(&item).trim().is_empty() {
                if let Some(surname) = surname.take() {
                    item.text.start = surname.text.start;
                }
            } else if let Some(surname) = surname.take() {
                self.item(&surname, false)?;
            }
            if end == End::Comma && item.angle.is_none() && !self.slice(&item).contains('@') && !is_left_over {
                surname = Some(item);
            } else if end != End::Group {
                self.item(&item, is_left_over)?;
            } else {
                self.group_name(&item)?;
            }
            is_left_over = end == End::Missing;
        }
        surname.map_or(ControlFlow::Continue(()), |surname| self.item(&surname, false))
    }

    fn slice(&self, item: &Item<'_>) -> &str {
        self.text.get(item.text.clone()).unwrap_or_default()
    }

    fn item(&mut self, item: &Item<'_>, is_left_over: bool) -> ControlFlow<()> {
        let text = self.text.get(item.text.clone()).unwrap_or_default();
        if let Some(angle) = item.angle {
            let Some(address) = in_brackets(angle).and_then(addr_spec) else { return ControlFlow::Continue(()) };
            return (self.visitor)(Found { phrase: text, comment: item.comment, address });
        }
        let words = Words::of(text);
        if !words.has_at {
            return if is_left_over { ControlFlow::Continue(()) } else { self.local(text, item.comment, words) };
        }
        let mut phrase = text.get(..words.first_at).unwrap_or_default();
        for address in words.list.into_iter().filter(|word| has_at(word)).filter_map(addr_spec) {
            (self.visitor)(Found { phrase, comment: item.comment, address })?;
            phrase = "";
        }
        ControlFlow::Continue(())
    }

    /// What stands before a colon is the name of a group and nobody's address. But where a line end got lost, an
    /// address stands there and the next field behind it.
    fn group_name(&mut self, item: &Item<'_>) -> ControlFlow<()> {
        let words = Words::of(self.text.get(item.text.clone()).unwrap_or_default());
        let is_address = words.has_at && words.list.len() == 1;
        match words.list.into_iter().next().filter(|_| is_address).and_then(addr_spec) {
            Some(address) => (self.visitor)(Found { phrase: "", comment: item.comment, address }),
            None => ControlFlow::Continue(()),
        }
    }

    /// An item without an `@`.
    fn local(&mut self, text: &str, comment: Option<&str>, words: Words) -> ControlFlow<()> {
        if self.may_decode && text.contains("=?") {
            let decoded = words::decode(text);
            if decoded.contains('@') {
                return List { text: &decoded, may_decode: false, visitor: &mut *self.visitor }.read();
            }
        }
        let mut words = words.list.into_iter();
        match (words.next().filter(|word| is_local_part(word)), words.next()) {
            (Some(address), None) => (self.visitor)(Found { phrase: "", comment, address }),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Things whose end was searched for in vain: another search, from further on, would be in vain too.
#[derive(Default)]
struct OpenEnded {
    quote: bool,
    comment: bool,
    literal: bool,
}

struct Scanner<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    open_ended: OpenEnded,
}

impl<'t> Scanner<'t> {
    fn next_item(&mut self) -> Option<Item<'t>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let start = self.at;
        let mut comment = None;
        while let Some(byte) = self.peek() {
            let at = self.at;
            match byte {
                b',' | b';' | b':' => {
                    self.at += 1;
                    let end = match byte {
                        b',' => End::Comma,
                        b';' => End::Hard,
                        _ => End::Group,
                    };
                    return Some(Item { text: start..at, angle: None, comment, end });
                }
                b'<' => {
                    let angle = self.angle();
                    let end = self.behind_angle(&mut comment);
                    return Some(Item { text: start..at, angle: Some(angle), comment, end });
                }
                b'(' => {
                    let inside = self.comment();
                    comment = comment.or(inside);
                }
                b'=' => match self.text.get(at..).and_then(words::word_len) {
                    Some(len) => self.at += len,
                    None => self.at += 1,
                },
                _ => self.skip(),
            }
        }
        Some(Item { text: start..self.at, angle: None, comment, end: End::Hard })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes over characters that separate nothing, or over what hides separators.
    fn skip(&mut self) {
        match self.peek() {
            Some(b'"') => self.at = self.quote_end().unwrap_or(self.at + 1),
            Some(b'[') if self.at.checked_sub(1).and_then(|at| self.bytes.get(at)) == Some(&b'@') => {
                self.at = self.literal_end().unwrap_or(self.at + 1);
            }
            Some(b'\\') => self.at = (self.at + 2).min(self.bytes.len()),
            _ => {
                let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
                self.at += 1 + rest.iter().take_while(|byte| is_ordinary(**byte)).count();
            }
        }
        // An escape may have ended within a character of several bytes.
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
    }

    fn quote_end(&mut self) -> Option<usize> {
        if self.open_ended.quote {
            return None;
        }
        let end = quote_len(self.bytes.get(self.at..)?).map(|len| self.at + len);
        self.open_ended.quote = end.is_none();
        end
    }

    /// Passes over a comment and gives its inside.
    fn comment(&mut self) -> Option<&'t str> {
        let len = if self.open_ended.comment { None } else { comment_len(self.bytes.get(self.at..)?) };
        let Some(len) = len else {
            self.open_ended.comment = true;
            self.at += 1;
            return None;
        };
        let inside = self.text.get(self.at + 1..self.at + len - 1);
        self.at += len;
        inside
    }

    fn literal_end(&mut self) -> Option<usize> {
        if self.open_ended.literal {
            return None;
        }
        let rest = self.bytes.get(self.at..)?;
        let end = rest.iter().position(|byte| *byte == b']').map(|len| self.at + len + 1);
        self.open_ended.literal = end.is_none();
        end
    }

    /// From `<` to behind `>`. A separator ends it too, when an address stands before it and the `>` got lost.
    fn angle(&mut self) -> &'t str {
        self.at += 1;
        let mut start = self.at;
        let mut has_address = false;
        let mut is_route = false;
        let mut is_blank = true;
        while let Some(byte) = self.peek() {
            match byte {
                b'>' => {
                    self.at += 1;
                    return self.text.get(start..self.at - 1).unwrap_or_default();
                }
                b'<' if !has_address => {
                    self.at += 1;
                    (start, has_address, is_route, is_blank) = (self.at, false, false, true);
                    continue;
                }
                b',' | b';' if has_address => return self.text.get(start..self.at).unwrap_or_default(),
                b'@' if is_blank => is_route = true,
                b'@' if !is_route => has_address = true,
                b':' => is_route = false,
                b'(' => {
                    self.comment();
                    continue;
                }
                _ => {}
            }
            is_blank &= byte.is_ascii_whitespace();
            self.skip();
        }
        self.text.get(start..).unwrap_or_default()
    }

    /// Behind the angle brackets there is nothing but comments and the separator.
    fn behind_angle(&mut self, comment: &mut Option<&'t str>) -> End {
        while let Some(byte) = self.peek() {
            match byte {
                b',' => {
                    self.at += 1;
                    return End::Comma;
                }
                b';' => {
                    self.at += 1;
                    return End::Hard;
                }
                b'(' => {
                    let inside = self.comment();
                    *comment = comment.or(inside);
                }
                b'>' | b'.' | b':' => self.at += 1,
                byte if byte.is_ascii_whitespace() => self.at += 1,
                _ => return End::Missing,
            }
        }
        End::Hard
    }
}

/// Means the same wherever it stands.
const fn is_ordinary(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+')
}

/// From a quote to behind its end.
fn quote_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// From a parenthesis to behind its end; comments nest.
fn comment_len(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth -= 1,
            b'\\' => at += 1,
            _ => {}
        }
        at += 1;
    }
}

fn without_comments(text: &str) -> Cow<'_, str> {
    if !text.contains('(') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['(', '"', '\\']) {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let bytes = tail.as_bytes();
        let (kept, skipped) = match bytes.first() {
            Some(b'(') => (0, comment_len(bytes)),
            Some(b'"') => (quote_len(bytes).unwrap_or(bytes.len()), Some(0)),
            _ => (2, Some(0)),
        };
        let Some(skipped) = skipped else {
            rest = tail;
            break;
        };
        let kept = tail.ceil_char_boundary(kept);
        out.push_str(tail.get(..kept).unwrap_or_default());
        rest = tail.get(kept + skipped..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The words of an item without angle brackets. White space beside a dot or an `@` separates nothing (obs-local-part,
/// obs-domain).
struct Words {
    list: Vec<String>,
    has_at: bool,
    /// Where the first word with an `@` begins.
    first_at: usize,
}

impl Words {
    fn of(text: &str) -> Self {
        let mut words = Self { list: Vec::new(), has_at: false, first_at: 0 };
        let mut word = String::new();
        let mut word_start = 0;
        let mut space = false;
        let mut at = 0;
        let bytes = text.as_bytes();
        while let Some(&byte) = bytes.get(at) {
            let rest = text.get(at..).unwrap_or_default();
            let len = match byte {
                b'(' => match comment_len(rest.as_bytes()) {
                    Some(len) => {
                        space = true;
                        at += len;
                        continue;
                    }
                    // No further parenthesis has an end either.
                    None => rest.len(),
                },
                b'"' => quote_len(rest.as_bytes()).unwrap_or(rest.len()),
                b'[' if word.ends_with('@') => rest.find(']').map_or(rest.len(), |end| end + 1),
                byte if byte.is_ascii_whitespace() || matches!(byte, b'>' | b'\0') => {
                    space = true;
                    at += 1;
                    continue;
                }
                b'.' | b'@' => 1,
                _ => plain_len(rest.as_bytes()),
            };
            let joins = matches!(byte, b'.' | b'@') || word.ends_with(['.', '@']);
            if space && !joins {
                words.push(&mut word, word_start);
            }
            if word.is_empty() {
                word_start = at;
            }
            space = false;
            word.push_str(&words::unfold(rest.get(..len).unwrap_or_default()));
            at += len;
        }
        words.push(&mut word, word_start);
        words
    }

    fn push(&mut self, word: &mut String, start: usize) {
        if word.is_empty() {
            return;
        }
        if !self.has_at && has_at(word) {
            self.has_at = true;
            self.first_at = start;
        }
        self.list.push(std::mem::take(word));
    }
}

/// Up to the next byte that means something in an address.
fn plain_len(bytes: &[u8]) -> usize {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'(' | b'"' | b'.' | b'@' | b'>' | b'\0');
    bytes.iter().position(ends).unwrap_or(bytes.len()).max(1)
}

fn has_at(word: &str) -> bool {
    word.contains('@') && !is_quoted(word)
}

fn is_quoted(word: &str) -> bool {
    word.starts_with('"') && quote_len(word.as_bytes()) == Some(word.len())
}

/// The inside of angle brackets: one address, without its route (obs-route) and its comments.
fn in_brackets(text: &str) -> Option<String> {
    let text = text.trim();
    let text = match text.strip_prefix('@') {
        Some(route) => route.split_once(':').map_or("", |(_, address)| address),
        None => text,
    };
    let scheme = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("mailto:"));
    let text = text.get(scheme.map_or(0, str::len)..)?;
    if text.bytes().all(|byte| is_ordinary(byte) || byte == b'@') {
        return Some(text.to_owned());
    }
    let words = Words::of(text).list;
    (!words.is_empty()).then(|| words.join(" "))
}

/// A valid address (RFC 5322 section 3.4.1), or a local part alone; more is allowed in it than the standard has, but
/// nothing that would make it another address for the next reader.
fn addr_spec(mut text: String) -> Option<String> {
    let quoted = if text.starts_with('"') { quote_len(text.as_bytes())? } else { 0 };
    let Some(at) = text.get(quoted..)?.find('@').map(|at| quoted + at) else {
        return is_local_part(&text).then_some(text);
    };
    let (local, domain) = (text.get(..at)?, text.get(at + 1..)?);
    if local.is_empty() || (quoted == 0 && local.contains(' ')) || !is_part(local) {
        return None;
    }
    let domain = self::domain(domain)?;
    if domain.len() + at + 1 < text.len() {
        let domain = domain.into_owned();
        text.truncate(at + 1);
        text.push_str(&domain);
    }
    Some(text)
}

/// A literal, or names with dots between them. What cannot be part of it ends it.
fn domain(text: &str) -> Option<Cow<'_, str>> {
    if text.starts_with('[') {
        let literal = text.get(..=text.find(']')?)?;
        return Some(Cow::Owned(literal.chars().filter(|c| !c.is_whitespace()).collect()));
    }
    let ends =
        |c: char| c.is_control() || matches!(c, ' ' | '"' | '(' | ')' | ',' | ':' | ';' | '<' | '>' | '[' | '\\' | ']');
    let name = text.split(ends).next()?.trim_end_matches('.');
    let is_name = !name.contains('@') && name.split('.').all(|label| !label.is_empty());
    is_name.then_some(Cow::Borrowed(name))
}

/// A word that can be an address of this system.
fn is_local_part(word: &str) -> bool {
    !matches!(word, "" | "\"\"" | ".") && is_part(word) && (is_quoted(word) || !word.contains([' ', '@']))
}

/// Outside quotes, a local part has no specials and nothing that cannot be seen.
fn is_part(text: &str) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    for c in text.chars() {
        if escaped {
            escaped = false;
            continue;
        }
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => escaped = true,
            '(' | ')' | '<' | '>' | '[' | ']' | ':' | ';' | ',' | '\\' if !quoted => return false,
            c if c.is_control() => return false,
            _ => {}
        }
    }
    !quoted
}

/// A phrase or a comment as text: quotes and escapes removed, white space squeezed, encoded-words decoded.
fn name(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.trim().chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\0' => {}
            '\\' => plain.extend(chars.next()),
            c if c.is_ascii_whitespace() => {
                if !plain.ends_with(' ') {
                    plain.push(' ');
                }
            }
            c => plain.push(c),
        }
    }
    let name = match words::decode(&plain) {
        Cow::Borrowed(_) => plain,
        Cow::Owned(decoded) => decoded,
    };
    let trimmed = name.trim();
    if trimmed.len() == name.len() && !name.is_empty() {
        return Some(name);
    }
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: &str) -> Vec<String> {
        let mut addresses = Vec::new();
        assert!(!all(field.as_bytes(), usize::MAX, &mut addresses));
        addresses
    }

    /// `name <address>` of the first mailbox.
    fn from(field: &str) -> String {
        first(field.as_bytes()).map_or_else(String::new, |mailbox| match mailbox.name {
            Some(name) => format!("{name} <{}>", mailbox.address),
            None => mailbox.address,
        })
    }

    fn all_from(cases: &[(&str, &str)]) {
        for (field, expected) in cases {
            assert_eq!(from(field), *expected, "{field}");
        }
    }

    fn all_read(cases: &[(&str, &[&str])]) {
        for (field, expected) in cases {
            assert_eq!(read(field), *expected, "{field}");
        }
    }

    #[test]
    fn a_mailbox_of_the_standard_is_a_name_and_an_address() {
        all_from(&[
            (" jo@x.example\r\n", "jo@x.example"),
            (" <jo@x.example>\r\n", "jo@x.example"),
            ("Jo Smith <jo@x.example>", "Jo Smith <jo@x.example>"),
            ("\"Smith, Jo \\\"J\\\"\" <Jo@X.example>", "Smith, Jo \"J\" <Jo@X.example>"),
            ("Jo\r\n\tSmith\r\n <jo@x.example>", "Jo Smith <jo@x.example>"),
            ("\"Jo\" \"Smith\" <jo@x.example>", "Jo Smith <jo@x.example>"),
            ("jo@[192.0.2.1]", "jo@[192.0.2.1]"),
            ("\"jo smith\"@x.example", "\"jo smith\"@x.example"),
            ("Jo <\"jo@home\"@x.example>", "Jo <\"jo@home\"@x.example>"),
            ("<\"a\\\\b\"@x.example>", "\"a\\\\b\"@x.example"),
            ("jöe@bücher.example", "jöe@bücher.example"),
            ("Jo <jo@xn--bcher-kva.example>", "Jo <jo@xn--bcher-kva.example>"),
        ]);
    }

    #[test]
    fn obsolete_forms_are_read() {
        all_from(&[
            ("jo . smith @ x . example", "jo.smith@x.example"),
            ("Jo Q. Smith <jo@x.example>", "Jo Q. Smith <jo@x.example>"),
            ("Jo <@a.example,@b.example:jo@x.example>", "Jo <jo@x.example>"),
            ("Jo <jo@x.example (here)>", "Jo <jo@x.example>"),
            ("jo@[192.0.2.1 ]", "jo@[192.0.2.1]"),
            ("jo(a)@(b)x.example", "a <jo@x.example>"),
        ]);
    }

    #[test]
    fn a_comment_is_the_name_where_there_is_no_other() {
        all_from(&[
            ("jo@x.example (Jo (the) Smith)", "Jo (the) Smith <jo@x.example>"),
            ("(Jo) jo@x.example (other)", "Jo <jo@x.example>"),
            ("root (Cron \\) Daemon)", "Cron ) Daemon <root>"),
            ("Jo (Sales) Smith <jo@x.example> (away)", "Jo Smith <jo@x.example>"),
            ("(Jo) <jo@x.example>", "Jo <jo@x.example>"),
            ("jo@x.example (=?utf-8?q?J=C3=B6?=)", "Jö <jo@x.example>"),
        ]);
    }

    #[test]
    fn names_are_decoded_and_specials_in_encoded_words_separate_nothing() {
        all_from(&[
            ("=?utf-8?q?J=C3=B6?= =?utf-8?q?_Smith?= <jo@x.example>", "Jö Smith <jo@x.example>"),
            ("\"=?utf-8?q?J=C3=B6?=\" <jo@x.example>", "Jö <jo@x.example>"),
            ("=?utf-8?q?Smith,_J=C3=B6?=<jo@x.example>", "Smith, Jö <jo@x.example>"),
            ("=?utf-8?q?J=C3=B6_<j>?= <jo@x.example>", "Jö <j> <jo@x.example>"),
            ("=?utf-8?q?J=C3=B6 <jo@x.example>", "=?utf-8?q?J=C3=B6 <jo@x.example>"),
            ("=?utf-8?q?J=C3=B6_=3Cjo=40x.example=3E?=", "Jö <jo@x.example>"),
        ]);
        let mailbox = first(b"J\xf6 <j\xf6@x.example>").unwrap();
        assert_eq!((mailbox.name.as_deref(), mailbox.address.as_str()), (Some("Jö"), "jö@x.example"));
    }

    #[test]
    fn angle_brackets_decide_what_is_name_and_what_is_address() {
        all_from(&[
            ("Smith, Jo <jo@x.example>", "Smith, Jo <jo@x.example>"),
            ("van Dam, Jo Q. <jo@x.example>, al@x.example", "van Dam, Jo Q. <jo@x.example>"),
            ("jo@y.example <jo@x.example>", "jo@y.example <jo@x.example>"),
            ("Jo @ Home [away] <jo@x.example>", "Jo @ Home [away] <jo@x.example>"),
            ("\"Jo <jo@x.example>", "Jo <jo@x.example>"),
            ("Jo (away <jo@x.example>", "Jo (away <jo@x.example>"),
            ("Jo <<jo@x.example>>", "Jo <jo@x.example>"),
            ("Jo <jo@x.example", "Jo <jo@x.example>"),
            ("jo@x.example>", "jo@x.example"),
            ("Jo <MAILTO:jo@x.example>", "Jo <jo@x.example>"),
            ("Jo Smith jo@x.example", "Jo Smith <jo@x.example>"),
        ]);
    }

    #[test]
    fn lists_and_groups_are_flattened() {
        all_read(&[
            ("a@x.example, B <b@x.example>,,c@x.example,", &["a@x.example", "b@x.example", "c@x.example"]),
            ("a@x.example; B <b@x.example>;c@x.example;", &["a@x.example", "b@x.example", "c@x.example"]),
            ("team: a@x.example, B <b@x.example>;, c@x.example", &["a@x.example", "b@x.example", "c@x.example"]),
            ("team: a@x.example; other: b@x.example", &["a@x.example", "b@x.example"]),
            ("undisclosed-recipients:;", &[]),
            ("Undisclosed recipients: ; (no To-header)", &[]),
            ("<>, a@x.example, @, <@x.example>, <a@>", &["a@x.example"]),
        ]);
    }

    #[test]
    fn a_missing_separator_is_seen_where_the_next_address_begins() {
        all_read(&[
            ("A <a@x.example> B <b@x.example>", &["a@x.example", "b@x.example"]),
            ("a@x.example\r\n b@x.example", &["a@x.example", "b@x.example"]),
            ("<a@x.example><b@x.example> c@x.example", &["a@x.example", "b@x.example", "c@x.example"]),
            ("A <a@x.example, b@x.example>", &["a@x.example", "b@x.example"]),
            ("A <a@x.example> B", &["a@x.example"]),
            ("a@x.example [A]", &["a@x.example"]),
            ("a@x.exampleSubject: lost line end", &["a@x.exampleSubject"]),
        ]);
    }

    #[test]
    fn one_word_is_a_local_address_and_several_are_nobodys() {
        all_read(&[
            ("root", &["root"]),
            ("root, postmaster, a@x.example", &["root", "postmaster", "a@x.example"]),
            ("Root <root>", &["root"]),
            ("Jo Smith", &[]),
            ("Jo Smith, a@x.example", &["a@x.example"]),
            ("\"jo smith\"", &["\"jo smith\""]),
            ("\"\", (jo), <jo smith>, .", &[]),
        ]);
    }

    #[test]
    fn what_cannot_be_an_address_is_none_and_what_follows_one_is_cut_off() {
        all_read(&[
            ("<[user:user]@[domain]>, <http://x.example/>, <Undisclosed:;>, <a b@x.example>", &[]),
            ("a\\@b@x.example, a@@x.example, a@x..example", &[]),
            (
                "<a@x.example:25>, b@x.example., <c@x.example\">, d@x.exa]mple",
                &["a@x.example", "b@x.example", "c@x.example", "d@x.exa"],
            ),
        ]);
    }

    #[test]
    fn a_hundred_thousand_addresses_are_read() {
        assert_eq!(read(&"A B <a@x.example>, ".repeat(100_000)).len(), 100_000);
    }

    #[test]
    fn a_hostile_field_takes_linear_time() {
        for piece in [
            "(",
            ")",
            "\"",
            "<",
            ">",
            ",",
            ";",
            ":",
            "@",
            "@[",
            "[",
            "\\",
            "a ",
            "a,",
            "a@",
            "a@b ",
            "\"a\" ",
            "(a) ",
            "=?",
            "=?a?q?",
            "=?a?q?b?= ",
            "<a@b ",
            "<@a:",
            "a . ",
            "ö",
            "\\ö",
            "(\"",
            "\r\n ",
        ] {
            let field = piece.repeat(200_000);
            let (_, _) = (from(&field), read(&field));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_field_is_too_broken_to_be_read(field in "[ab@.<>(),:;\"\\\\\\[\\] =?qQ\r\né\0-]{0,60}") {
            for address in read(&field) {
                proptest::prop_assert!(!address.is_empty() && !address.contains(['\r', '\n', '\0']));
            }
            let _ = from(&field);
        }
    }
}
