//! HTML of strangers, made fit to be looked at: for a browser without scripts, forms and anything that is fetched from elsewhere, for
//! a terminal as text. What is stored stays as it came. ammonia decides what is safe; `balance` keeps what it gets within bounds,
//! since an HTML parser answers some tags with the square of their number. Any bytes give a page, none a panic.

mod balance;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use ammonia::Builder;

use balance::Balanced;

/// A longer page is cut. Newsletters have a tenth of it.
pub const MOST_BYTES: usize = 768 << 10;

/// What ammonia lets through: its own list, images only from within the mail (RFC 2392).
static SANITISER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    builder
        .tags(balance::TAGS.iter().copied().collect::<HashSet<_>>())
        .url_schemes(["http", "https", "mailto", "tel", "cid"].into_iter().collect())
        // A path has no meaning outside of the site that it came from.
        .url_relative(ammonia::UrlRelative::Deny)
        .attribute_filter(|tag, name, value| {
            let fetches =
                matches!(name, "src" | "background" | "cite" | "longdesc") || (tag == "img" && name == "href");
            let is_within = value.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid:"));
            (!fetches || is_within).then_some(Cow::Borrowed(value))
        });
    builder
});

/// The fragment that may be shown in a browser.
#[must_use]
pub fn sanitise(html: &str) -> String {
    let Balanced { html, .. } = balance::balance(cut(html));
    SANITISER.clean(&html).to_string()
}

/// The same as a page of its own, which fetches nothing even where a browser is more generous than the sanitiser.
#[must_use]
pub fn page(title: &str, html: &str) -> String {
    let note = if html.len() > MOST_BYTES { "<hr><p>The rest was cut off.</p>\n" } else { "" };
    format!(
        "<!doctype html>\n<html><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src cid:\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>{}</title></head><body>\n{}\n{note}</body></html>\n",
        escape(title),
        sanitise(html)
    )
}

/// Plain text as such a page shows it.
#[must_use]
pub fn of_text(text: &str) -> String {
    format!("<pre>{}</pre>", escape(text))
}

/// What a reader would see of the page, line by line, for a terminal. Control characters are the terminal's business.
#[must_use]
pub fn text(html: &str) -> String {
    balance::balance(cut(html)).text
}

fn cut(html: &str) -> &str {
    html.get(..html.floor_char_boundary(MOST_BYTES)).unwrap_or(html)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // No character of HTML (WHATWG HTML section 13.2.3.5).
            '\0' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_is_kept() {
        let html = "<p>Hello <b>you</b>, see <a href=\"https://a.example/?a=1&amp;b=2\">this</a>:</p><ul><li>one<li>two</ul>\
                    <table><tr><td>1</td><td>2</td></tr></table><img src=\"cid:x@y\" alt=\"logo\"><blockquote>&lt;old&gt;</blockquote>";
        let shown = sanitise(html);
        for kept in [
            "<b>you</b>",
            "https://a.example/?a=1&amp;b=2",
            "<li>two</li>",
            "<td>2</td>",
            "cid:x@y",
            "alt=\"logo\"",
            "&lt;old&gt;",
        ] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }

    #[test]
    fn nothing_runs_and_nothing_is_fetched() {
        for html in [
            "<script>alert(1)</script>",
            "<SCRIPT SRC=//evil.example/x.js></SCRIPT >",
            "<img src=x onerror=alert(1)>",
            "<img src=\"https://evil.example/track.gif\">",
            "<img src=\"//evil.example/track.gif\">",
            "<a href=\"javascript:alert(1)\">x</a>",
            "<a href=\"java\nscript:alert(1)\">x</a>",
            "<a href=\" &#106;avascript:alert(1)\">x</a>",
            "<a href=\"data:text/html,<script>alert(1)</script>\">x</a>",
            "<svg onload=alert(1)>",
            "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
            "<style>@import url(//evil.example)</style><p style=\"background:url(//evil.example)\">",
            "<iframe src=//evil.example></iframe><object data=//evil.example></object><embed src=//evil.example>",
            "<form action=//evil.example><input name=password><button>",
            "<meta http-equiv=refresh content=\"0;url=//evil.example\"><base href=//evil.example><link rel=stylesheet href=//evil.example>",
            "<body background=\"//evil.example/x.gif\" onload=alert(1)>",
            "<table background=\"https://evil.example/x.gif\"><td background=//evil.example>",
            "<!--[if IE]><script>alert(1)</script><![endif]-->",
            "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
            "<textarea><script>alert(1)</script></textarea>",
            "<<script>alert(1)//<</script>",
            "<q cite=\"https://evil.example\">",
            "<p id=x name=y class=z onclick='alert(1)'>",
            "<a\u{0}href=\"javascript:alert(1)\">x",
        ] {
            assert_harmless(&sanitise(html));
        }
    }

    #[test]
    fn a_page_of_a_hostile_title_is_still_one_page() {
        let page = page("</title><script>alert(1)</script>", "</body></html><script>x</script>after");
        assert_eq!(page.matches("</title>").count(), 1);
        assert_eq!((page.matches("</body>").count(), page.matches("<script").count()), (1, 0));
        assert!(page.contains("after") && page.contains("default-src 'none'"));
    }

    #[test]
    fn a_terminal_gets_what_a_reader_would_see() {
        let html = "<html><head><title>t</title><style>p { color: red }</style></head><body><p>Hello&nbsp;<b>you</b>\n  and &lt;me&gt;</p>\
                    <ul><li>one</li><li>two</ul>a<br>b<script>no()</script><table><tr><td>1</td><td>2</td></tr></table>&#x1b;[31m&euro;";
        assert_eq!(
            text(html),
            "Hello\u{a0}you and <me>\n\n* one\n* two\n\na\nb\n1 2\n\u{1b}[31m€\n".replace('\u{a0}', " ")
        );
        assert_eq!(text("1 < 2 & 3"), "1 < 2 & 3\n");
        assert_eq!(text("<p>cut <b"), "cut\n");
        assert_eq!(text(""), "");
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(of_text("<b>\"&\0\n"), "<pre>&lt;b&gt;&quot;&amp;\n</pre>");
        assert!(page("t", &of_text("<script>")).contains("&lt;script&gt;"));
    }

    /// Each of these took minutes, or all memory, when an HTML parser got them as they are.
    #[test]
    fn no_page_takes_long() {
        // An eighth of the longest page: without optimisation all of this takes some time.
        let n = MOST_BYTES / 8;
        let many = |piece: &dyn Fn(usize) -> String, count| (0..count).map(piece).collect::<String>();
        let bombs = [
            "<div>".repeat(n / 5),
            many(&|i| format!("<p><b id={i}>"), n / 14),
            many(&|i| format!("<b id={i}>"), n / 28) + &"<p>".repeat(n / 6),
            many(&|i| format!("<p><b id={i}><object></b></object></p>"), n / 80) + &"<p>".repeat(n / 6),
            "<div>".repeat(n / 15) + &"</b></p></i>".repeat(n / 20),
            "<table><tr><td>".repeat(n / 15),
            "<table><b>".repeat(n / 10),
            "<a href=x><font size=1>".repeat(n / 23),
            format!("<a {}>", many(&|i| format!("a{i}=x "), n / 10)),
            "<!--".repeat(n / 4),
            "<script>".repeat(n / 8),
            "&amp".repeat(n / 4),
            "&".repeat(n),
            "&lt;".repeat(n / 4),
            "< ".repeat(n / 2),
            "<".repeat(n),
            "<a \"".repeat(n / 4),
            "</p>".repeat(n / 4),
            "<ul><li>".repeat(n / 8),
        ];
        for bomb in bombs {
            // Time that the thread worked, however busy the machine is.
            let start = cpu_time::ThreadTime::now();
            let shown = sanitise(&bomb);
            let taken = start.elapsed();
            let name: String = bomb.chars().take(30).collect();
            assert!(shown.len() <= 12 * n, "{name}: {} bytes", shown.len());
            // With optimisation, the longest page takes less than a second.
            assert!(taken < std::time::Duration::from_secs(20), "{name}: {taken:?}");
            assert!(text(&bomb).len() <= 2 * n, "{name}");
        }
    }

    /// Only tags and attributes of the list, nothing that names a place to fetch from or to run.
    fn assert_harmless(shown: &str) {
        let mut rest = shown;
        while let Some(at) = rest.find('<') {
            let tag = &rest[at + 1..];
            let end = tag.find('>').unwrap_or_else(|| panic!("a tag without end: {shown}"));
            let inside = &tag[..end];
            let name = inside.trim_start_matches('/').split([' ', '/']).next().unwrap();
            assert!(balance::TAGS.contains(&name), "<{inside}> in {shown}");
            let lower = inside.to_ascii_lowercase();
            for bad in [" on", "javascript:", "data:", "style=", "srcset", "background="] {
                assert!(
                    !lower.contains(bad) || lower.contains("title=") || lower.contains("alt="),
                    "<{inside}> in {shown}"
                );
            }
            if let Some(src) = lower.split(" src=\"").nth(1) {
                assert!(src.starts_with("cid:"), "<{inside}> in {shown}");
            }
            rest = &tag[end + 1..];
        }
    }

    const PIECES: [&str; 40] = [
        "<p>",
        "</p>",
        "<b>",
        "</b>",
        "<i>",
        "</i>",
        "<a href=\"http://a.example\">",
        "</a>",
        "<table>",
        "</table>",
        "<tr>",
        "<td>",
        "</td>",
        "<div>",
        "</div>",
        "<ul>",
        "<li>",
        "</ul>",
        "<script>",
        "</script>",
        "<style>",
        "</style>",
        "<!--",
        "-->",
        "<svg>",
        "</svg>",
        "<math>",
        "<mtext>",
        "<img src=x onerror=y>",
        "<img src=cid:a>",
        "text",
        "&lt;",
        "&",
        "<",
        ">",
        "\"",
        "'",
        "<pre>",
        "\n",
        "<select><option>",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_comes_is_harmless_however_often_it_is_read(pieces in prop::collection::vec(0_usize..PIECES.len(), 0..40)) {
            let html: String = pieces.iter().map(|at| PIECES[*at]).collect();
            let shown = sanitise(&html);
            assert_harmless(&shown);
            // What a browser makes of it when it reads it again.
            assert_harmless(&ammonia::clean(&shown));
            assert_harmless(&sanitise(&shown));
            let _ = text(&html);
        }

        #[test]
        fn no_text_makes_a_page_of_another(html in "\\PC{0,60}") {
            assert_harmless(&sanitise(&html));
            let _ = text(&html);
        }
    }
}
