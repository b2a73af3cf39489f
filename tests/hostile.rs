//! Mail that means harm, from outside: limits and what becomes of a mail over them, senders that are not who they say, and output that
//! a terminal or a browser could obey.
// A test that cannot go on says so by a panic, and looks at files as anybody would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod common;

use common::*;
use serde_json::{Value, json};

const ENVELOPE: &str = "x-sender: a@example.org\r\nx-receiver: news@lists.example\r\n";

const TWO_FILES: &str = "From: a@example.org\r\nSubject: two files\r\nTo: b@b.example, c@c.example\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\na\r\n\
    --b\r\nContent-Disposition: attachment; filename=b.txt\r\n\r\nb\r\n--b--\r\n";

#[test]
fn a_mail_over_a_limit_is_kept_as_limit_and_delivered_once_the_limit_is_raised() {
    let server = Server::with("[limits]\nattachments = 1\n");
    server.list("news", "announcements", &["senders=any"]);
    server.put("x.eml", format!("{ENVELOPE}{TWO_FILES}"));
    server.put("y.eml", format!("{ENVELOPE}Subject: harmless\r\n\r\nx\r\n"));
    let sheet = server.run();
    assert_eq!((sheet.code, sheet.n("damaged"), sheet.n("delivered")), (3, 1, 1));
    let problem = sheet.problem("x.eml");
    assert_eq!((&problem["reason"], &problem["outcome"]), (&json!("limit"), &json!("damaged")));
    assert!(text(&problem["text"]).contains("limits.attachments allows 1"), "{problem}");
    server.configure("[limits]\nattachments = 2\n");
    server.good(&["failed", "retry", "--reason", "limit"]);
    assert_eq!(server.titles("news").len(), 2);
    server.is_settled();
}

#[test]
fn a_mail_over_a_softer_limit_is_delivered_with_a_defect() {
    let server = Server::with("[limits]\naddresses = 1\nname_bytes = 4\n");
    server.list("news", "announcements", &["senders=any"]);
    server.put("x.eml", format!("{ENVELOPE}{TWO_FILES}"));
    assert_eq!(server.run().n("delivered"), 1);
    let item = &server.items("news")[0];
    assert_eq!(item["to"], json!(["b@b.example"]));
    assert_eq!(item["defects"], json!(["addresses-limit", "name-limit"]));
    assert_eq!(item["attachments"].as_array().unwrap().len(), 2);
}

/// Each limit that README names is a setting, and none of those that bound a mail may be nothing.
#[test]
fn limits_that_allow_nothing_are_mistakes_that_name_the_key() {
    for key in ["parts", "header_bytes", "header_fields", "recipients", "name_bytes"] {
        let server = Server::with(&format!("[limits]\n{key} = 0\n"));
        server.ask(&["run"]).ends(2).says(&format!("limits.{key} must be more than 0"));
    }
    let server = Server::with("[limits]\nmail_time = \"0\"\n");
    server.ask(&["run"]).ends(2).says("limits.mail_time must be more than 0");
}

#[test]
fn a_sender_whom_a_trusted_server_has_not_verified_is_refused_as_forged() {
    let server = Server::with("[incoming]\ntrusted_authserv = [\"mx.example\"]\n");
    server.list("news", "announcements", &["senders=any", "senders_verified=pass"]);
    server.list("open", "announcements", &["senders=any"]);
    let pass = |domain: &str| {
        format!("Authentication-Results: mx.example; dkim=pass header.d={domain}; spf=fail smtp.mailfrom={domain}\r\n")
    };
    let mail = |fields: &str, number: u32| {
        format!(
            "{ENVELOPE}x-receiver: open@lists.example\r\n{fields}From: Ann <ann@a.example>\r\nSubject: {number}\r\n\r\nx\r\n"
        )
    };
    let evil = "Authentication-Results: evil.example; dkim=pass header.d=a.example\r\n";
    let cases = [
        ("genuine.eml", pass("a.example")),
        ("none.eml", String::new()),
        ("other-domain.eml", pass("b.example")),
        ("not-topmost.eml", evil.to_owned() + &pass("a.example")),
        ("other-server.eml", evil.to_owned()),
    ];
    for (number, (name, fields)) in (0..).zip(&cases) {
        server.put(name, mail(fields, number));
    }
    let sheet = server.run();
    assert_eq!((sheet.n("delivered"), sheet.n("refused")), (1, 4));
    for (name, _) in &cases[1..] {
        let problem = sheet.problem(name);
        assert_eq!(
            (&problem["reason"], &problem["recipient"]),
            (&json!("sender-forged"), &json!("news@lists.example")),
            "{name}"
        );
    }
    assert_eq!(server.titles("news"), ["0"]);
    let items = server.items("open");
    assert_eq!(items.len(), 5, "the other list does not ask");
    let found = |title: &str| items.iter().find(|item| item["title"] == title).unwrap()["authentication"].clone();
    assert_eq!(
        found("0"),
        json!({ "authserv_id": "mx.example", "spf": { "result": "fail", "domain": "a.example" },
            "dkim": [{ "result": "pass", "domain": "a.example" }], "dmarc": null, "aligned": true })
    );
    assert_eq!(found("2")["aligned"], false);
    for title in ["1", "3", "4"] {
        assert_eq!(found(title), Value::Null, "{title}");
    }
    let genuine = items.iter().find(|item| item["title"] == "0").unwrap();
    let shown = server.good(&["show", "open", &genuine["id"].to_string()]).text();
    assert!(shown.contains("yes, by mx.example (spf fail a.example, dkim pass a.example)"), "{shown}");
}

const PAGE: &str = "<html><body onload=\"alert(1)\"><script>alert(2)</script><h1>Hello</h1><p>See <a href=\"https://a.example/\">here</a>, \
    <a href=\"javascript:alert(3)\">there</a> and <img src=\"https://evil.example/track.gif\"></p></body></html>";

#[test]
fn html_is_kept_as_it_came_and_shown_without_what_is_harmful() {
    let server = Server::with_news();
    server.put("x.eml", format!("{ENVELOPE}Subject: <script>x</script>\r\nContent-Type: text/html\r\n\r\n{PAGE}"));
    server.put("y.eml", format!("{ENVELOPE}Subject: text\r\n\r\na < b\r\n"));
    assert_eq!(server.run().n("delivered"), 2);
    let items = server.items("news");
    let id = |title: &str| items.iter().find(|item| item["title"] == title).unwrap()["id"].to_string();
    let html = id("<script>x</script>");
    assert_eq!(server.only(&["show", "news", &html, "--json"])["body_html"], PAGE);
    let shown = server.good(&["show", "news", &html]).text();
    assert!(shown.contains("Hello\n\nSee here, there and\n"), "{shown}");
    assert!(!shown.contains("alert"), "{shown}");
    let page = server.good(&["show", "news", &html, "--html"]).text();
    assert!(
        page.starts_with("<!doctype html>")
            && page.contains("https://a.example/")
            && page.contains("Content-Security-Policy")
    );
    for bad in ["<script", "javascript:", "onload", "evil.example"] {
        assert!(!page.contains(bad), "{bad}: {page}");
    }
    let plain = server.good(&["show", "news", &id("text"), "--html"]).text();
    assert!(plain.contains("<pre>a &lt; b"), "{plain}");
    server.ask(&["show", "news", &html, "--html", "--json"]).ends(2);
}

/// An escape sequence, the same in one character, a bidi override and a line end, wherever mail may put them.
#[test]
fn no_output_holds_what_a_terminal_obeys() {
    let server = Server::with_news();
    server.list("docs", "document-library", &["senders=any", "folders=subject"]);
    let wild = "a\u{1b}[31mb\u{9b}32mc\u{202e}d\u{7}e";
    let mail = format!(
        "x-sender: x{wild}@example.org\r\nx-receiver: news@lists.example\r\nx-receiver: docs@lists.example\r\nx-receiver: no{wild}@lists.example\r\n\
         From: \"{wild}\" <a@example.org>\r\nTo: \"x\" <{wild}@b.example>\r\nSubject: {wild}\r\nMessage-ID: <{wild}@a>\r\n\
         Authentication-Results: {wild}; spf=pass\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{wild}\r\n\
         --b\r\nContent-Disposition: attachment; filename=\"{wild}.txt\"\r\n\r\nx\r\n\
         --b\r\nContent-Type: {wild}/x; name=n\r\n\r\ny\r\n--b--\r\n"
    );
    server.put(format!("{wild}.eml"), mail);
    server.ask(&["run", "--json"]).ends(3);
    let failed = text(&server.failed()[0]["id"]);
    let commands: [&[&str]; 12] = [
        &["items", "news"],
        &["items", "news", "--json"],
        &["show", "news", "1"],
        &["show", "news", "1", "--json"],
        &["show", "news", "1", "--html"],
        &["export", "docs"],
        &["failed", "ls"],
        &["failed", "ls", "--json"],
        &["failed", "show", &failed],
        &["trace", "a@example.org"],
        &["history", "--json"],
        &["cat", "news", "1", "nothing"],
    ];
    for words in commands {
        let answer = server.ask(words);
        let said = String::from_utf8(answer.stdout).unwrap() + &answer.stderr;
        let obeyed = |c: char| (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c);
        // A page is for a browser: there only what is no text of HTML is missing.
        let is_page = words.contains(&"--html");
        assert!(is_page || !said.contains(obeyed), "{words:?}: {said:?}");
    }
    assert!(text(&server.items("news")[0]["title"]).contains("\u{1b}[31m"), "JSON says what was sent");
}
