//! Any bytes as the HTML of a mail: what is shown holds only tags that are harmless, runs nothing, fetches nothing, and does so as well
//! when it is read a second time; it is in proportion to what came.

use mailmill::html::{page, sanitise, text};

pub fn check(bytes: &[u8]) {
    let html = String::from_utf8_lossy(bytes);
    let shown = sanitise(&html);
    assert_eq!(shown, sanitise(&html), "the same page is shown in the same way");
    assert_harmless(&shown);
    assert_harmless(&sanitise(&shown));
    // A tag of a link is three bytes and becomes one with rel; a character becomes an entity; formatting is repeated to a bound.
    assert!(shown.len() <= 24 * html.len() + 1024, "{} bytes shown of {}", shown.len(), html.len());
    let whole = page(&html, &html);
    for once in ["<html>", "</head>", "</title>", "<body>", "</body>", "default-src 'none'"] {
        assert_eq!(whole.matches(once).count(), 1, "{once}");
    }
    assert!(!whole.contains("<script"), "{whole}");
    assert!(text(&html).len() <= 4 * html.len() + 16, "text grows");
}

/// Only what these words know, and no place to run or to fetch from.
fn assert_harmless(shown: &str) {
    let mut rest = shown;
    while let Some(at) = rest.find('<') {
        let tag = &rest[at + 1..];
        let end = end_of(tag).unwrap_or_else(|| panic!("a tag without end: {shown}"));
        assert_tag(&tag[..end], shown);
        rest = &tag[end + 1..];
    }
}

/// A serialiser quotes each value: a `>` in quotes ends no tag.
fn end_of(tag: &str) -> Option<usize> {
    let mut quoted = false;
    tag.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b'>' && !quoted
    })
}

fn assert_tag(inside: &str, shown: &str) {
    let name: String = inside.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
    for bad in FORBIDDEN {
        assert!(!name.eq_ignore_ascii_case(bad), "<{inside}> in {shown}");
    }
    // Attributes are `name="value"`, one space before each.
    let mut rest = &inside[name.len() + usize::from(inside.starts_with('/'))..];
    while let Some((attribute, after)) = rest.trim_start().split_once("=\"") {
        let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("<{inside}> in {shown}"));
        let attribute = attribute.to_ascii_lowercase();
        assert!(!attribute.starts_with("on"), "<{inside}> in {shown}");
        assert!(
            !["style", "srcset", "background", "action", "formaction", "id", "class"].contains(&attribute.as_str()),
            "<{inside}> in {shown}"
        );
        let value: String = value.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
        let value = value.to_ascii_lowercase();
        if attribute == "src" {
            assert!(value.starts_with("cid:"), "<{inside}> in {shown}");
        }
        if attribute == "href" {
            let known = ["http:", "https:", "mailto:", "tel:", "cid:"].iter().any(|scheme| value.starts_with(scheme));
            assert!(known, "<{inside}> in {shown}");
        }
        rest = after;
    }
    assert!(rest.trim().is_empty(), "<{inside}> in {shown}");
}

const FORBIDDEN: [&str; 24] = [
    "script",
    "style",
    "iframe",
    "frame",
    "frameset",
    "object",
    "embed",
    "applet",
    "form",
    "input",
    "button",
    "select",
    "textarea",
    "link",
    "meta",
    "base",
    "svg",
    "math",
    "template",
    "noscript",
    "video",
    "audio",
    "title",
    "plaintext",
];
