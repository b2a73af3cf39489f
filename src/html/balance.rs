//! Writes HTML anew so that an HTML parser has nothing to mend: known tags only, each closed where it must be, nested to a bound,
//! everything else text. Safe is not its business: it decides what a page costs, the sanitiser behind it what may be in it.
//!
//! Why: where formatting is left open, a parser repeats it in every paragraph that follows (WHATWG HTML section 13.2.4.3), and it
//! looks through all open elements for many a tag. Measured: 64 kB of `<p><b id=N>` took all memory, 256 kB of `<div>` 5 s.

/// Tags that mail is written with and that a reader may see. In alphabetical order.
pub const TAGS: &[&str] = &[
    "a",
    "abbr",
    "address",
    "article",
    "aside",
    "b",
    "bdi",
    "bdo",
    "big",
    "blockquote",
    "br",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "font",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "main",
    "mark",
    "nav",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "section",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "wbr",
];

/// Elements that have no end tag.
const VOID: [&str; 5] = ["br", "col", "hr", "img", "wbr"];

/// Elements whose content is not text to read.
const SILENT: [&str; 14] = [
    "script", "style", "title", "head", "iframe", "noembed", "noframes", "noscript", "object", "svg", "math",
    "textarea", "template", "xmp",
];

/// Elements that stand within a line.
const INLINE: [&str; 33] = [
    "a", "abbr", "b", "bdi", "bdo", "big", "br", "cite", "code", "del", "dfn", "em", "font", "i", "img", "ins", "kbd",
    "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr", "col",
    "colgroup",
];

/// Open elements; deeper tags are left out and their content stays.
const DEEPEST: usize = 64;

/// Open elements within a line; a parser may repeat each of them.
const DEEPEST_INLINE: usize = 12;

/// Attributes of one tag that are read.
const MOST_ATTRIBUTES: usize = 24;

/// Text without a tag in it. A parser copies all of it at each entity, so a run that costs more is broken by a place where the line
/// may break. Measured: 512 kB of `&` took 2.7 s.
const LONGEST_RUN: usize = 32 << 10;
const COST_OF_ENTITY: usize = 128;

/// A page in both forms.
#[derive(Debug, Default)]
pub struct Balanced {
    pub html: String,
    /// What a reader would see, without entities.
    pub text: String,
}

pub fn balance(html: &str) -> Balanced {
    let mut writer = Writer::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (before, tail) = rest.split_at(at);
        writer.text(before);
        let (piece, behind) = Piece::at_start_of(tail);
        rest = match piece {
            Piece::Text(text) => {
                writer.text(text);
                behind
            }
            Piece::Nothing => behind,
            Piece::End(name) => {
                writer.end(&name);
                behind
            }
            Piece::Start(name, _) if SILENT.contains(&name.as_str()) => behind_end_of(&name, behind),
            Piece::Start(name, attributes) => {
                writer.start(&name, attributes);
                behind
            }
        };
    }
    writer.text(rest);
    writer.finish()
}

enum Piece<'t> {
    Text(&'t str),
    /// A comment, a declaration, or a tag that the end of the page cuts off.
    Nothing,
    Start(String, &'t str),
    End(String),
}

impl<'t> Piece<'t> {
    /// Reads what a `<` begins.
    fn at_start_of(tail: &'t str) -> (Self, &'t str) {
        let after = tail.get(1..).unwrap_or_default();
        let behind = |end: Option<usize>| end.and_then(|end| after.get(end + 1..)).unwrap_or_default();
        match after.bytes().next() {
            Some(b'!' | b'?') => {
                let comment = after.strip_prefix("!--");
                let end =
                    comment.map_or_else(|| after.find('>'), |inner| inner.find("-->").map(|end| end + "!----".len()));
                (Self::Nothing, behind(end))
            }
            Some(b'/') => {
                let end = after.find('>');
                let name = name_of(after.get(1..).unwrap_or_default());
                (if end.is_some() { Self::End(name.to_ascii_lowercase()) } else { Self::Nothing }, behind(end))
            }
            Some(byte) if byte.is_ascii_alphabetic() => {
                let name = name_of(after);
                let end = end_of_tag(after);
                let attributes = after.get(name.len()..end.unwrap_or_default()).unwrap_or_default();
                let piece =
                    if end.is_some() { Self::Start(name.to_ascii_lowercase(), attributes) } else { Self::Nothing };
                (piece, behind(end))
            }
            _ => (Self::Text(tail.get(..1).unwrap_or_default()), after),
        }
    }
}

fn name_of(text: &str) -> &str {
    let end = text.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(text.len());
    // A name that is longer is none that is known.
    text.get(..end.min(20)).unwrap_or_default()
}

/// The `>` of a tag, one in quotes passed over.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut follows_equals = false;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => continue,
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') if follows_equals => quote = Some(byte),
            _ => {}
        }
        follows_equals = byte == b'=' || (follows_equals && byte.is_ascii_whitespace());
    }
    None
}

/// What follows the end tag of an element whose content is passed over; nothing where it has none. A head ends where the body begins.
fn behind_end_of<'t>(name: &str, text: &'t str) -> &'t str {
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let tail = rest.get(at + 1..).unwrap_or_default();
        let (is_end, tail_name) = tail.strip_prefix('/').map_or((false, tail), |tail| (true, tail));
        let found = name_of(tail_name);
        if name == "head" && !is_end && found.eq_ignore_ascii_case("body") {
            return rest.get(at..).unwrap_or_default();
        }
        if is_end && found.eq_ignore_ascii_case(name) {
            return tail.find('>').and_then(|end| tail.get(end + 1..)).unwrap_or_default();
        }
        rest = tail;
    }
    ""
}

#[derive(Default)]
struct Writer {
    out: Balanced,
    open: Vec<&'static str>,
    open_inline: usize,
    /// What the text since the last tag costs a parser.
    run: usize,
    /// White space that is one space before the next word, and line ends before the next line.
    space: bool,
    line_ends: usize,
}

impl Writer {
    fn start(&mut self, name: &str, attributes: &str) {
        let Ok(at) = TAGS.binary_search(&name) else { return };
        let Some(name) = TAGS.get(at).copied() else { return };
        self.close_for(name);
        let is_inline = INLINE.contains(&name);
        let is_void = VOID.contains(&name);
        let is_too_deep = self.open.len() >= DEEPEST || (is_inline && self.open_inline >= DEEPEST_INLINE);
        // A row without a table is no row.
        let is_misplaced =
            parents(name).is_some_and(|parents| !self.open.last().is_some_and(|open| parents.contains(open)));
        self.break_line(name, true);
        if (is_too_deep || is_misplaced) && !is_void {
            return;
        }
        self.run = 0;
        self.out.html.push('<');
        self.out.html.push_str(name);
        for (name, value) in Attributes(attributes).take(MOST_ATTRIBUTES) {
            self.out.html.push(' ');
            self.out.html.push_str(&name.to_ascii_lowercase());
            self.out.html.push_str("=\"");
            // Entities in it mean the same as before.
            self.out.html.push_str(&value.replace('"', "&quot;"));
            self.out.html.push('"');
        }
        self.out.html.push('>');
        if !is_void {
            self.open.push(name);
            self.open_inline += usize::from(is_inline);
        }
    }

    fn end(&mut self, name: &str) {
        if name == "br" {
            return self.start("br", "");
        }
        if let Some(at) = self.open.iter().rposition(|open| *open == name) {
            self.close_from(at);
        }
    }

    /// Closes what a parser would close before this tag, formatting included, which a parser would carry over.
    fn close_for(&mut self, name: &'static str) {
        if INLINE.contains(&name) {
            // A link in a link closes it.
            if let Some(at) = (name == "a").then(|| self.open.iter().rposition(|open| *open == "a")).flatten() {
                self.close_from(at);
            }
            return;
        }
        let (ends, until): (&[&str], &[&str]) = match name {
            "li" => (&["li", "p"], &["ul", "ol", "table"]),
            "dd" | "dt" => (&["dd", "dt", "p"], &["dl", "table"]),
            "td" | "th" => (&["td", "th", "caption", "colgroup"], &["table"]),
            "tr" => (&["tr", "td", "th", "caption", "colgroup"], &["table"]),
            "tbody" | "thead" | "tfoot" | "caption" | "colgroup" => {
                (&["tbody", "thead", "tfoot", "tr", "td", "th", "caption", "colgroup"], &["table"])
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                (&["p", "h1", "h2", "h3", "h4", "h5", "h6"], &["td", "th", "table"])
            }
            _ => (&["p"], &["td", "th", "table"]),
        };
        let bound = self.open.iter().rposition(|open| until.contains(open)).map_or(0, |at| at + 1);
        let inside = self.open.get(bound..).unwrap_or_default();
        if let Some(at) = inside.iter().position(|open| ends.contains(open)) {
            self.close_from(bound + at);
        }
        // Formatting is not carried into a table and its parts: a parser would put it in front of the table.
        while parents(name).is_some() && self.open.last().is_some_and(|open| INLINE.contains(open)) {
            self.close_from(self.open.len() - 1);
        }
    }

    fn close_from(&mut self, at: usize) {
        while self.open.len() > at {
            let Some(name) = self.open.pop() else { return };
            self.open_inline -= usize::from(INLINE.contains(&name));
            self.out.html.push_str("</");
            self.out.html.push_str(name);
            self.out.html.push('>');
            self.break_line(name, false);
        }
    }

    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        // Between rows and cells a parser would put it in front of the table, with all formatting.
        let is_misplaced = self
            .open
            .last()
            .is_some_and(|open| matches!(*open, "table" | "tbody" | "thead" | "tfoot" | "tr" | "colgroup"));
        if !is_misplaced {
            let mut rest = text;
            while let Some(at) = rest.find('&') {
                let (before, tail) = rest.split_at(at);
                before.chars().for_each(|c| self.character(c));
                // One that begins no entity is written out, so that none begins by what follows.
                let is_entity =
                    tail.bytes().skip(1).take(32).find(|byte| !byte.is_ascii_alphanumeric() && *byte != b'#')
                        == Some(b';');
                self.character('&');
                if !is_entity {
                    self.out.html.push_str("amp;");
                    self.break_run();
                }
                rest = tail.get(1..).unwrap_or_default();
            }
            rest.chars().for_each(|c| self.character(c));
        }
        self.words(&unescape(text));
    }

    fn character(&mut self, c: char) {
        match c {
            '<' => self.out.html.push_str("&lt;"),
            '>' => self.out.html.push_str("&gt;"),
            '\0' => {}
            c => self.out.html.push(c),
        }
        self.run += if matches!(c, '<' | '>' | '&') { COST_OF_ENTITY } else { 1 };
        // Within an entity it would end it.
        if !c.is_ascii_alphanumeric() && !matches!(c, '&' | '#') {
            self.break_run();
        }
    }

    fn break_run(&mut self) {
        if self.run > LONGEST_RUN {
            self.run = 0;
            self.out.html.push_str("<wbr>");
        }
    }

    fn words(&mut self, text: &str) {
        let is_pre = self.open.contains(&"pre");
        for c in text.chars().filter(|c| *c != '\0') {
            if is_pre && c == '\n' {
                self.line_ends += 1;
            } else if !is_pre && (c.is_whitespace()) {
                self.space = true;
            } else {
                self.glue();
                self.out.text.push(c);
            }
        }
    }

    /// Writes the white space that stands before the next word.
    fn glue(&mut self) {
        let is_first = self.out.text.is_empty();
        if self.line_ends > 0 && !is_first {
            self.out.text.extend(std::iter::repeat_n('\n', self.line_ends.min(2)));
        } else if self.space && !is_first && !self.out.text.ends_with(' ') {
            self.out.text.push(' ');
        }
        (self.space, self.line_ends) = (false, 0);
    }

    fn break_line(&mut self, name: &str, is_start: bool) {
        match name {
            "br" => self.line_ends += 1,
            "td" | "th" => self.space = true,
            "hr" => {
                self.line_ends = self.line_ends.max(1);
                self.glue();
                self.out.text.push_str("----");
                self.line_ends = 1;
            }
            "li" if is_start => {
                self.line_ends = self.line_ends.max(1);
                self.glue();
                self.out.text.push_str("* ");
            }
            "p" | "ul" | "ol" | "blockquote" | "pre" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.line_ends = self.line_ends.max(2);
            }
            name if INLINE.contains(&name) => {}
            _ => self.line_ends = self.line_ends.max(1),
        }
    }

    fn finish(mut self) -> Balanced {
        self.close_from(0);
        if !self.out.text.is_empty() {
            self.out.text.push('\n');
        }
        self.out
    }
}

/// Parts of a table stand only in these.
const fn parents(name: &str) -> Option<&'static [&'static str]> {
    match name.as_bytes() {
        b"tr" => Some(&["table", "tbody", "thead", "tfoot"]),
        b"td" | b"th" => Some(&["tr"]),
        b"tbody" | b"thead" | b"tfoot" | b"caption" | b"colgroup" => Some(&["table"]),
        b"col" => Some(&["colgroup", "table"]),
        _ => None,
    }
}

/// Names and values as they are written, entities included.
struct Attributes<'t>(&'t str);

impl<'t> Iterator for Attributes<'t> {
    type Item = (&'t str, &'t str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let text = self.0.trim_start_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '='));
            if text.is_empty() {
                return None;
            }
            let end = text.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '=')).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            let (value, rest) = match rest.trim_ascii_start().strip_prefix('=') {
                Some(after) => value(after.trim_ascii_start()),
                None => ("", rest),
            };
            self.0 = rest;
            // Others are no attributes that anybody writes, and end where a parser says otherwise.
            if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                return Some((name, value));
            }
        }
    }
}

fn value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.split_once(quote).unwrap_or((inner, ""));
        }
    }
    text.split_at(text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len()))
}

/// Entities as characters: those by number and the few that mail programs write by name (WHATWG HTML section 13.5).
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        // The longest of them; a look further would cost the page for each `&`.
        let end = tail.bytes().take(12).position(|byte| byte == b';');
        let found = end.and_then(|end| Some((entity(tail.get(1..end)?)?, tail.get(end + 1..)?)));
        let (c, behind) = found.unwrap_or(('&', tail.get(1..).unwrap_or_default()));
        out.push(c);
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        };
        return char::from_u32(code.ok()?);
    }
    let (_, c) = ENTITIES.into_iter().find(|(known, _)| *known == name)?;
    Some(c)
}

const ENTITIES: [(&str, char); 36] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", '\u{a0}'),
    ("auml", 'ä'),
    ("ouml", 'ö'),
    ("uuml", 'ü'),
    ("Auml", 'Ä'),
    ("Ouml", 'Ö'),
    ("Uuml", 'Ü'),
    ("szlig", 'ß'),
    ("eacute", 'é'),
    ("egrave", 'è'),
    ("agrave", 'à'),
    ("ccedil", 'ç'),
    ("ntilde", 'ñ'),
    ("euro", '€'),
    ("pound", '£'),
    ("sect", '§'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
    ("bull", '•'),
    ("middot", '·'),
    ("hellip", '…'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("laquo", '«'),
    ("raquo", '»'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn written(html: &str) -> String {
        balance(html).html
    }

    #[test]
    fn what_is_left_open_is_closed_where_it_must_be() {
        assert_eq!(written("<p>a<b>b<p>c"), "<p>a<b>b</b></p><p>c</p>");
        assert_eq!(written("<ul><li>a<li>b</ul>c"), "<ul><li>a</li><li>b</li></ul>c");
        assert_eq!(
            written("<table><tr><td>a<td>b<tr><td>c</table>"),
            "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>"
        );
        assert_eq!(written("a</b></p>"), "a");
        assert_eq!(written("<b><i>a</b>b</i>"), "<b><i>a</i></b>b");
    }

    #[test]
    fn what_is_no_known_tag_is_left_out_or_text() {
        assert_eq!(written("<o:p>a</o:p><td>b"), "ab");
        assert_eq!(written("R&D &amp; &copy &#65;"), "R&amp;D &amp; &amp;copy &#65;");
        assert_eq!(written("a < b <3 <!-- <b> --> <!doctype x>c"), "a &lt; b &lt;3  c");
        assert_eq!(written("<script>a < b</script>b<style>c"), "b");
        assert_eq!(written("<head><title>a</title><body>b"), "b");
        assert_eq!(written("a<b"), "a");
    }

    #[test]
    fn attributes_keep_their_values_whatever_their_quotes() {
        assert_eq!(
            written("<a HREF='x\"y' title=a/b c d = \"e>f\" /g=h &=i>"),
            "<a href=\"x&quot;y\" title=\"a/b\" c=\"\" d=\"e>f\" g=\"h\"></a>"
        );
    }

    #[test]
    fn nesting_has_a_bound_and_what_is_deeper_stays_readable() {
        let deep = balance(&format!("{}x", "<div>".repeat(1000)));
        assert_eq!(deep.html.matches("<div>").count(), DEEPEST);
        let formatted = balance(&format!("{}x", "<b>".repeat(1000)));
        assert_eq!(formatted.html.matches("<b>").count(), DEEPEST_INLINE);
        assert_eq!((deep.text.as_str(), formatted.text.as_str()), ("x\n", "x\n"));
    }

    #[test]
    fn a_run_of_entities_is_broken_between_them() {
        let long = written(&"&".repeat(5000)) + &written(&"&lt;".repeat(5000)) + &written(&"< ".repeat(5000));
        assert!(long.matches("<wbr>").count() > 9, "{}", long.matches("<wbr>").count());
        assert!(!long.replace("&amp;", "").replace("&lt;", "").contains('&'));
        assert!(!written(&"a ".repeat(10_000)).contains("<wbr>"));
    }

    #[test]
    fn the_tags_can_be_searched() {
        assert!(TAGS.is_sorted());
        assert!(INLINE.iter().chain(&VOID).all(|name| TAGS.contains(name)));
        assert!(SILENT.iter().all(|name| !TAGS.contains(name)));
    }
}
