//! RTF bodies to what a reader can use: the HTML that Outlook hid in them (MS-OXRTFEX), or else their plain text.
//! No layout, no pictures, no objects: those go the way of attachments. One pass, groups on a stack of bounded depth.

mod lexer;

use std::collections::BTreeMap;

use self::lexer::{Lexer, Token};
use super::text;

/// Deeper groups are read as if they belonged to the last one that counts.
const DEEPEST: usize = 1024;

/// A font table has tens of fonts; more are not remembered.
const MOST_FONTS: usize = 4096;

/// Text is decoded in runs of about this many bytes.
const RUN: usize = 4096;

/// Destinations whose text is no part of the body, though no `\*` says so.
const NOWHERE: [&[u8]; 21] = [
    b"colortbl",
    b"stylesheet",
    b"info",
    b"pict",
    b"nonshppict",
    b"filetbl",
    b"revtbl",
    b"header",
    b"headerl",
    b"headerr",
    b"headerf",
    b"footer",
    b"footerl",
    b"footerr",
    b"footerf",
    b"footnote",
    b"annotation",
    b"objdata",
    b"fldinst",
    b"xe",
    b"tc",
];

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Html(String),
    Text(String),
}

/// What the document says, cut at about `most` bytes.
pub(super) fn convert(rtf: &[u8], most: usize) -> Body {
    let mut converter = Converter::new(most);
    for token in Lexer::new(rtf) {
        if converter.out.len() >= most {
            break;
        }
        converter.token(token);
    }
    converter.flush();
    match converter.mode {
        Mode::Html => Body::Html(converter.out),
        Mode::Text => Body::Text(converter.out),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Text,
    /// `\fromhtml1` was seen: MS-OXRTFEX section 2.2.3.1.
    Html,
}

/// Where the text of a group goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Destination {
    Body,
    /// `\*\htmltag`: a piece of the original HTML.
    Tag,
    Fonts,
    Nowhere,
}

/// What a group inherits and what ends with it.
#[derive(Clone, Copy)]
struct Group {
    destination: Destination,
    /// Between `\htmlrtf` and `\htmlrtf0`: for readers of RTF alone (MS-OXRTFEX section 2.1.3.2).
    rtf_only: bool,
    code_page: u32,
    /// `\ucN`: how many characters after a `\u` stand for it in old readers.
    fallback: u32,
}

struct Converter {
    mode: Mode,
    now: Group,
    outer: Vec<Group>,
    /// Groups open beyond the deepest.
    beyond: usize,
    /// The group was opened and nothing stood in it yet but, perhaps, `\*`.
    at_start: bool,
    starred: bool,
    /// Characters to pass over after a `\u`.
    passing: u32,
    default_page: u32,
    default_font: i32,
    /// The font being described in the font table.
    font: i32,
    fonts: BTreeMap<i32, u32>,
    /// Text of the code page, not decoded yet: a character may be spread over several tokens.
    bytes: Vec<u8>,
    /// UTF-16 from `\u`, not decoded yet. Never with `bytes`.
    units: Vec<u16>,
    out: String,
    most: usize,
}

impl Converter {
    fn new(most: usize) -> Self {
        let now = Group { destination: Destination::Body, rtf_only: false, code_page: text::WESTERN, fallback: 1 };
        Self {
            mode: Mode::Text,
            now,
            outer: Vec::new(),
            beyond: 0,
            at_start: false,
            starred: false,
            passing: 0,
            default_page: text::WESTERN,
            default_font: 0,
            font: 0,
            fonts: BTreeMap::new(),
            bytes: Vec::new(),
            units: Vec::new(),
            out: String::new(),
            most,
        }
    }

    fn token(&mut self, token: Token<'_>) {
        match token {
            Token::Open => self.open(),
            Token::Close => self.close(),
            Token::Symbol(b'*') if self.at_start => self.starred = true,
            Token::Word(word, value) => self.word(word, value),
            // Whatever stands for a `\u` in old readers.
            _ if self.passing > 0 => self.passing -= 1,
            Token::Symbol(symbol) => {
                self.at_start = false;
                self.symbol(symbol);
            }
            Token::Byte(byte) => {
                self.at_start = false;
                self.byte(byte);
            }
        }
    }

    fn open(&mut self) {
        self.flush();
        self.passing = 0;
        self.at_start = true;
        self.starred = false;
        if self.outer.len() < DEEPEST {
            self.outer.push(self.now);
        } else {
            self.beyond += 1;
        }
    }

    fn close(&mut self) {
        self.flush();
        self.passing = 0;
        self.at_start = false;
        match self.beyond.checked_sub(1) {
            Some(beyond) => self.beyond = beyond,
            None => self.now = self.outer.pop().unwrap_or(self.now),
        }
    }

    fn word(&mut self, word: &[u8], value: Option<i32>) {
        let at_start = std::mem::take(&mut self.at_start);
        if let (b"u", Some(value)) = (word, value) {
            return self.unicode(value);
        }
        if self.passing > 0 {
            self.passing -= 1;
            return;
        }
        if at_start && self.turn(word) {
            return;
        }
        if self.now.destination == Destination::Fonts {
            return self.describe_font(word, value);
        }
        if !self.setting(word, value) {
            self.sign(word);
        }
    }

    /// The first word of a group may send its text elsewhere. Whether it did.
    fn turn(&mut self, word: &[u8]) -> bool {
        let destination = match word {
            b"htmltag" if self.starred && self.mode == Mode::Html => Destination::Tag,
            _ if self.starred => Destination::Nowhere,
            b"fonttbl" => Destination::Fonts,
            _ if NOWHERE.contains(&word) => Destination::Nowhere,
            _ => return false,
        };
        // What is nowhere stays nowhere, whatever stands in it.
        if self.now.destination != Destination::Nowhere {
            self.now.destination = destination;
        }
        if destination == Destination::Tag {
            // MS-OXRTFEX section 2.2.3.2: escapes within a tag are in the default code page.
            self.now.code_page = self.default_page;
        }
        true
    }

    fn describe_font(&mut self, word: &[u8], value: Option<i32>) {
        let Some(value) = value else { return };
        let page = match word {
            b"f" => {
                self.font = value;
                return;
            }
            b"fcharset" => charset_page(value),
            b"cpg" => u32::try_from(value).ok(),
            _ => None,
        };
        if let Some(page) = page
            && (self.fonts.len() < MOST_FONTS || self.fonts.contains_key(&self.font))
        {
            self.fonts.insert(self.font, page);
        }
    }

    /// Words that change how the rest is read. Whether it was one.
    fn setting(&mut self, word: &[u8], value: Option<i32>) -> bool {
        let number = value.unwrap_or_default();
        match word {
            b"fromhtml" if self.out.is_empty() => self.mode = Mode::Html,
            b"htmlrtf" => self.now.rtf_only = self.mode == Mode::Html && value != Some(0),
            b"ansicpg" => self.default(u32::try_from(number).unwrap_or(text::WESTERN)),
            b"mac" => self.default(10000),
            b"pc" => self.default(437),
            b"pca" => self.default(850),
            b"deff" => self.default_font = number,
            b"uc" => self.now.fallback = u32::try_from(number).unwrap_or(1),
            b"f" if self.now.destination == Destination::Body => self.select_font(number),
            b"plain" if self.now.destination == Destination::Body => self.select_font(self.default_font),
            _ => return false,
        }
        true
    }

    fn default(&mut self, page: u32) {
        self.flush();
        self.default_page = page;
        self.now.code_page = page;
    }

    fn select_font(&mut self, font: i32) {
        let page = self.fonts.get(&font).copied().unwrap_or(self.default_page);
        if page != self.now.code_page {
            self.flush();
            self.now.code_page = page;
        }
    }

    /// Words that stand for characters (MS-OXRTFEX section 2.1.3.1.4.2, and the RTF specification).
    fn sign(&mut self, word: &[u8]) {
        let html = self.mode == Mode::Html;
        let sign = match word {
            b"par" if html => "\r\n",
            b"line" if html && self.now.destination == Destination::Body => "<br>\r\n",
            b"par" | b"line" | b"sect" | b"page" | b"row" => "\n",
            b"tab" => "\t",
            b"cell" if !html => "\t",
            b"lquote" => "\u{2018}",
            b"rquote" => "\u{2019}",
            b"ldblquote" => "\u{201C}",
            b"rdblquote" => "\u{201D}",
            b"bullet" => "\u{2022}",
            b"endash" => "\u{2013}",
            b"emdash" => "\u{2014}",
            b"enspace" => "\u{2002}",
            b"emspace" => "\u{2003}",
            _ => return,
        };
        self.markup(sign);
    }

    fn symbol(&mut self, symbol: u8) {
        let html = self.mode == Mode::Html;
        match symbol {
            b'{' | b'}' | b'\\' => self.byte(symbol),
            b'\r' | b'\n' => self.sign(b"par"),
            b'~' => self.markup(if html { "&nbsp;" } else { "\u{A0}" }),
            b'_' => self.markup(if html { "&shy;" } else { "\u{2011}" }),
            _ => {}
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.is_shown() {
            self.flush_units();
            self.bytes.push(byte);
            // A run may be as long as the document. Below `0` no byte is the second half of a character.
            if self.bytes.len() >= RUN && (byte < b'0' || self.bytes.len() >= 16 * RUN) {
                self.flush_bytes();
            }
        }
    }

    /// `\u` takes a signed 16-bit number; some writers give the code point instead.
    fn unicode(&mut self, value: i32) {
        self.passing = self.now.fallback;
        if !self.is_shown() {
            return;
        }
        self.flush_bytes();
        let unsigned = if value < 0 { value + 0x1_0000 } else { value };
        let Ok(code) = u32::try_from(unsigned) else { return };
        match (u16::try_from(code), char::from_u32(code)) {
            (Ok(unit), _) => {
                self.units.push(unit);
                let is_first_half = (0xD800..0xDC00).contains(&unit);
                if self.units.len() >= RUN && !is_first_half {
                    self.flush_units();
                }
            }
            (Err(_), Some(character)) => self.units.extend_from_slice(character.encode_utf16(&mut [0; 2])),
            (Err(_), None) => {}
        }
    }

    fn is_shown(&self) -> bool {
        matches!(self.now.destination, Destination::Body | Destination::Tag) && !self.now.rtf_only
    }

    /// Text that goes out as it is.
    fn markup(&mut self, text: &str) {
        if self.is_shown() {
            self.flush();
            self.out.push_str(text);
        }
    }

    fn flush(&mut self) {
        self.flush_bytes();
        self.flush_units();
    }

    fn flush_bytes(&mut self) {
        if !self.bytes.is_empty() {
            let text = text::decode(self.now.code_page, &self.bytes);
            self.bytes.clear();
            self.push(&text);
        }
    }

    fn flush_units(&mut self) {
        if !self.units.is_empty() {
            let text = String::from_utf16_lossy(&self.units);
            self.units.clear();
            self.push(&text);
        }
    }

    /// Text outside of the tags is text, whatever it looks like.
    fn push(&mut self, text: &str) {
        let is_text = self.mode == Mode::Html && self.now.destination == Destination::Body;
        for character in text.chars().filter(|character| *character != '\0') {
            if self.out.len() >= self.most {
                return;
            }
            match character {
                '<' if is_text => self.out.push_str("&lt;"),
                '>' if is_text => self.out.push_str("&gt;"),
                '&' if is_text => self.out.push_str("&amp;"),
                _ => self.out.push(character),
            }
        }
    }
}

/// `\fcharset` to a code page; `None` for the default one. Symbol fonts (2) have letters of their own.
fn charset_page(charset: i32) -> Option<u32> {
    Some(match charset {
        0 | 2 => text::WESTERN,
        77 => 10000,
        128 => 932,
        129 => 949,
        134 => 936,
        136 => 950,
        161 => 1253,
        162 => 1254,
        163 => 1258,
        177 => 1255,
        178 => 1256,
        186 => 1257,
        204 => 1251,
        222 => 874,
        238 => 1250,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rtf: &[u8]) -> String {
        match convert(rtf, 1 << 20) {
            Body::Text(text) => text,
            Body::Html(html) => panic!("HTML: {html}"),
        }
    }

    fn html(rtf: &[u8]) -> String {
        match convert(rtf, 1 << 20) {
            Body::Html(html) => html,
            Body::Text(text) => panic!("text: {text}"),
        }
    }

    #[test]
    fn plain_text_comes_out_of_formatted_rtf() {
        let rtf = br"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Arial;}}{\colortbl;\red0\green0\blue0;}
{\*\generator Riched20;}{\info{\author Nobody}}\pard\plain\f0 Caf\'e9 \b bold\b0\par {\pict 010203}a\{b\}\\\tab c\line}";
        assert_eq!(text(rtf), "Café bold\na{b}\\\tc\n");
    }

    #[test]
    fn fonts_choose_the_code_page_and_a_character_may_span_escapes() {
        let rtf = br"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0\fcharset0 A;}{\f1\fcharset204 B;}{\f2\fcharset128 C;}}
\f0\'e9{\f1 \'cf\'f0\'e8}\f2\'83\b\'5c\f0\'e9}";
        assert_eq!(text(rtf), "éПриソé");
    }

    #[test]
    fn unicode_escapes_pass_over_what_stands_for_them() {
        assert_eq!(text(br"{\rtf1\u8364?\u-10179 ?\u-8704 ?x{\uc2\u1055\'8f\'8fy}\u233?z}"), "€😀xПyéz");
        assert_eq!(text(br"{\rtf1\uc0\u128512 !}"), "😀!");
    }

    #[test]
    fn encapsulated_html_comes_out_as_it_was() {
        let rtf = br#"{\rtf1\ansi\ansicpg1251\fromhtml1 \deff0{\fonttbl{\f0\fswiss Arial;}}{\colortbl;}
{\*\htmltag19 <html>}{\*\htmltag50 <body title=""\'cf">}{\*\htmltag64 <p>}\htmlrtf {\htmlrtf0 1 \'3c 2{\*\htmltag84 &nbsp;}\htmlrtf \~\htmlrtf0
{\*\mhtmltag84 <a href=""x"">}\tab\lquote q\rquote\~\htmlrtf\par}\htmlrtf0{\*\htmltag72 </p>\par}{\*\htmltag0 \{x\}\u8364?}}"#;
        let want = "<html><body title=\"\"П\"><p>1 &lt; 2&nbsp;\t‘q’&nbsp;</p>\r\n{x}€";
        assert_eq!(html(rtf), want);
    }

    #[test]
    fn binary_data_and_skipped_groups_leave_no_trace() {
        assert_eq!(text(b"{\\rtf1 a{\\*\\x\\bin4 }}}}b}{\\pict\\bin3 {{{}c}"), "ac");
        assert_eq!(text(br"{\rtf1 a{\*\unknown{\fonttbl b}c}d}"), "ad");
    }

    #[test]
    fn groups_without_bound_end_in_text_not_in_a_full_stack() {
        let mut rtf = b"{\\rtf1 ".to_vec();
        rtf.extend(std::iter::repeat_n(b'{', 100_000));
        rtf.extend(b"deep");
        rtf.extend(std::iter::repeat_n(b'}', 100_000));
        rtf.extend(b" end}}}}} more");
        assert_eq!(text(&rtf), "deep end more");
    }

    #[test]
    fn the_output_stops_at_the_limit() {
        let Body::Html(html) = convert(&[b"{\\rtf1\\fromhtml1 ", &b"&".repeat(1000)[..]].concat(), 100) else {
            panic!("HTML")
        };
        assert!(html.len() < 110, "{}", html.len());
    }
}
