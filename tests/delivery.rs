//! What becomes of good and bad mail from the drop folder: CONTRACT sections "Item", "Envelope" and "Lists", and the acceptance
//! probes 3, 4, 5 and 9 of the specification, section 11.
// A test that cannot go on says so by a panic, and looks at files as anybody would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use common::*;
use serde_json::{Value, json};

/// Every key of CONTRACT section "Item".
const ITEM: [&str; 25] = [
    "list",
    "id",
    "kind",
    "source",
    "title",
    "from",
    "sender",
    "to",
    "cc",
    "date",
    "received",
    "message_id",
    "in_reply_to",
    "references",
    "body_text",
    "body_html",
    "headers",
    "thread",
    "event",
    "mail_id",
    "created_by",
    "defects",
    "attachments",
    "extracted",
    "original",
];

const ATTACHMENT: [&str; 8] =
    ["name", "original_name", "path", "content_type", "size", "sha256", "inline", "content_id"];

fn files(item: &Value) -> &[Value] {
    item["attachments"].as_array().unwrap()
}

fn names(item: &Value) -> Vec<String> {
    files(item).iter().map(|file| text(&file["name"])).collect()
}

fn paths(item: &Value) -> Vec<String> {
    files(item).iter().map(|file| text(&file["path"])).collect()
}

// the item

#[test]
fn an_item_has_every_key_of_the_contract_and_what_is_absent_is_null_or_empty() {
    let server = Server::with_news();
    let full = letter("Grüße", &["news"])
        .header("Subject", "=?utf-8?B?R3LDvMOfZQ==?= aus =?iso-8859-1?Q?M=FCnchen?=")
        .header("To", "One <one@example.net>, two@example.net")
        .header("Cc", "three@example.net")
        .header("Message-ID", "<full@example.org>")
        .header("In-Reply-To", "<before@example.org>")
        .header("References", "<first@example.org> <before@example.org>")
        .html("<p>Hello</p>")
        .attach("a.bin", noise(1, 1000));
    server.put("full.eml", &full);
    server.run();
    server.put("bare.eml", "x-sender: ann@example.org\r\nx-receiver: news@lists.example\r\nX-Nothing: x\r\n\r\n");
    server.run();
    let items = server.items("news");
    for item in &items {
        has_keys(item, &ITEM);
        assert!(is_rfc3339(&item["received"]), "{item}");
        for list in ["to", "cc", "references", "defects", "attachments", "extracted"] {
            assert!(item[list].is_array(), "{list}: {item}");
        }
    }
    let item = &items[0];
    assert_eq!((text(&item["list"]).as_str(), &item["id"]), ("news", &json!(1)));
    assert_eq!(item["kind"], "announcements");
    assert_eq!(item["source"], "full.eml");
    assert_eq!(item["title"], "Grüße aus München");
    assert_eq!(item["from"], json!({ "name": "Ann Arbor", "address": "ann@example.org" }));
    assert_eq!(item["sender"], "ann@example.org");
    assert_eq!(item["to"], json!(["one@example.net", "two@example.net"]));
    assert_eq!(item["cc"], json!(["three@example.net"]));
    assert_eq!(item["date"], "2026-03-03T09:20:30Z");
    assert_eq!(item["message_id"], "full@example.org");
    assert_eq!(item["in_reply_to"], "before@example.org");
    assert_eq!(item["references"], json!(["first@example.org", "before@example.org"]));
    assert_eq!(text(&item["body_text"]).trim_end(), "This is Grüße.");
    assert_eq!(text(&item["body_html"]).trim_end(), "<p>Hello</p>");
    assert!(text(&item["headers"]).contains("In-Reply-To: <before@example.org>"), "{item}");
    assert!(!text(&item["headers"]).to_lowercase().contains("x-receiver"), "the envelope is no header: {item}");
    assert_eq!(item["mail_id"], mail_id(&full.iis()));
    assert_eq!(item["created_by"], "system");
    let file = &files(item)[0];
    has_keys(file, &ATTACHMENT);
    assert_eq!((text(&file["name"]), text(&file["original_name"])).0, "a.bin");
    assert_eq!(file["content_type"], "application/octet-stream");
    assert_eq!((&file["size"], &file["inline"]), (&json!(1000), &json!(false)));
    assert_eq!(file["sha256"], sha256(&noise(1, 1000)));
    let bare = &items[1];
    for absent in ["title", "from", "date", "message_id", "in_reply_to", "body_html", "thread", "event", "original"] {
        assert_eq!(bare[absent], Value::Null, "{absent}: {bare}");
    }
}

#[test]
fn probe_5_the_two_envelope_forms_give_equal_items() {
    let server = Server::new();
    server.list("news", "announcements", &["save_original=true"]);
    server.list("docs", "document-library", &["save_original=true"]);
    let letter = letter("probe 5", &["news", "docs"]).attach("a.pdf", noise(5, 5000));
    server.put("iis.eml", letter.iis());
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    server.put("exchange.eml", letter.exchange());
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    let items = server.items("news");
    assert_eq!(essence(&items[0]), essence(&items[1]));
    for list in ["news", "docs"] {
        for id in [1, 2] {
            assert_eq!(server.cat(list, id, "original"), letter.mail(), "stripped of its envelope");
            assert_eq!(server.cat(list, id, "a.pdf"), noise(5, 5000));
        }
    }
}

#[test]
fn envelope_lines_come_in_any_order_and_case_and_only_before_the_first_other_header() {
    let server = Server::with_news();
    let mail = letter("order", &[]).mail();
    let file = |envelope: &str| [envelope.as_bytes(), &mail].concat();
    server.put("1.eml", file("X-RECEIVER: <NEWS@Lists.Example> NOTIFY=NEVER\nX-SENDER: <bob@example.org>\n"));
    server.put("2.eml", file("x-receiver: news@lists.example\r\nx-sender: <>\r\n"));
    server.put("3.eml", file("x-sender: a@example.org\r\nx-receiver: news@lists.example\r\nX-Other: y\r\nx-receiver: nobody@lists.example\r\n"));
    server.put("4.eml", file("X-Mine: 1\r\nx-sender: a@example.org\r\nx-receiver: news@lists.example\r\n"));
    let sheet = server.run();
    assert_eq!(sheet.ends(), "4 found: 3 delivered, 1 refused");
    assert_eq!(sheet.problem("4.eml")["reason"], "no-envelope");
    let mut senders: Vec<_> = server.items("news").iter().map(|item| text(&item["sender"])).collect();
    senders.sort();
    assert_eq!(senders, ["", "a@example.org", "bob@example.org"]);
}

#[test]
fn routing_is_by_envelope_alone() {
    let server = Server::with_news();
    server.list("blog", "blog", &[]);
    server.put("x.eml", letter("to blog, truly to news", &["news"]).header("To", "blog@lists.example"));
    server.run();
    assert_eq!((server.titles("news").len(), server.titles("blog").len()), (1, 0));
}

#[test]
fn without_an_envelope_mail_is_refused_or_routed_by_its_headers() {
    let server = Server::with_news();
    server.list("blog", "blog", &["senders=members", "members=[\"ann@example.org\"]"]);
    let letter =
        letter("none", &[]).header("To", "News <news@lists.example>").header("Cc", "blog@lists.example, x@y.example");
    server.put("x.eml", letter.mail());
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.reasons().concat()), ("1 found: 1 refused", "no-envelope".to_owned()));
    assert_eq!(server.titles("news").len(), 0);
    server.configure("[incoming]\nno_envelope = \"headers\"\n");
    let sheet = server.batch(&["failed", "retry", "--json"]);
    assert_eq!(sheet.ends(), "1 found: 1 refused");
    assert_eq!(sheet.problem("x@y.example")["reason"], "unknown-address");
    assert_eq!(server.titles("news"), ["none"]);
    assert_eq!(server.items("blog")[0]["created_by"], "ann@example.org");
}

// several recipients

#[test]
fn probe_4_each_recipient_is_judged_for_itself_and_a_retry_does_not_repeat_the_good_one() {
    let server = Server::with_news();
    server.list("off", "announcements", &["receive=false"]);
    let mail = letter("probe 4", &["news", "missing", "off"]).iis();
    server.put("x.eml", mail.clone());
    let sheet = server.run();
    assert_eq!(sheet.ends(), "1 found: 1 refused");
    assert_eq!((sheet.n("items"), sheet.problems().len()), (1, 2));
    assert_eq!(sheet.problem("missing@lists.example")["reason"], "unknown-address");
    assert_eq!(sheet.problem("off@lists.example")["reason"], "list-disabled");
    for problem in sheet.problems() {
        assert_eq!(problem["file"], "x.eml");
        assert_eq!(problem["mail_id"], mail_id(&mail));
        assert_eq!(problem["message_id"], "probe-4@example.org");
        assert_eq!(problem["sender"], "ann@example.org");
        assert_eq!(problem["outcome"], "refused");
    }
    assert_eq!(server.waiting(), [""; 0]);
    let path = text(&server.failed()[0]["path"]);
    assert!(path.contains("/refused/"), "{path}");
    assert_eq!(fs::read(&path).unwrap(), mail, "the whole file is kept");
    // Nothing has changed: the same two reasons, no second item, and the file is there still.
    let id = text(&server.failed()[0]["id"]);
    let sheet = server.batch(&["failed", "retry", &id, "--json"]);
    assert_eq!((sheet.ends().as_str(), sheet.n("items"), sheet.problems().len()), ("1 found: 1 refused", 0, 2));
    // One list is made, then the other is switched on.
    server.list("missing", "announcements", &[]);
    let sheet = server.batch(&["failed", "retry", "--json", "--reason", "unknown-address"]);
    assert_eq!((sheet.ends().as_str(), sheet.n("items"), sheet.problems().len()), ("1 found: 1 refused", 1, 1));
    server.good(&["list", "set", "off", "receive=true"]);
    let sheet = server.batch(&["failed", "retry", "--json"]);
    assert_eq!((sheet.ends().as_str(), sheet.n("items")), ("1 found: 1 delivered", 1));
    for list in ["news", "missing", "off"] {
        assert_eq!(server.titles(list), ["probe 4"], "{list}");
    }
    assert_eq!(server.failed(), [] as [Value; 0]);
    server.is_settled();
}

#[test]
fn two_addresses_of_one_list_are_one_delivery() {
    let server = Server::new();
    server.list("news", "announcements", &["aliases=[\"tidings\", \"News@special.example\"]"]);
    server.put("x.eml", letter("once", &["news", "TIDINGS@a.example", "news@special.example", "news"]));
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.n("items")), ("1 found: 1 delivered", 1));
    assert_eq!(server.titles("news"), ["once"]);
}

#[test]
fn probe_3_four_hundred_unknown_addresses_hold_up_nobody() {
    let server = Server::with_news();
    for number in 0..400 {
        server.put(format!("a{number:03}.eml"), letter(&format!("nobody {number}"), &[&format!("nobody{number}")]));
    }
    server.put("z-good.eml", letter("probe 3", &["news"]));
    let sheet = server.run();
    assert_eq!(sheet.ends(), "401 found: 1 delivered, 400 refused");
    assert_eq!(sheet.problems().len(), 400);
    assert_eq!(server.titles("news"), ["probe 3"]);
    assert_eq!(server.failed().len(), 400);
    assert_eq!(server.run().ends(), "0 found: ", "refused mail is not tried again by itself");
    server.is_settled();
}

#[test]
fn a_sheet_shows_a_thousand_problems_and_failed_ls_the_rest() {
    let server = Server::new();
    let many: Vec<String> = (0..100).map(|number| format!("nobody{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for number in 0..12 {
        server.put(format!("{number}.eml"), letter(&format!("many {number}"), &many));
    }
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.problems().len()), ("12 found: 12 refused", 1000));
    let all: usize = server.failed().iter().map(|row| row["problems"].as_array().unwrap().len()).sum();
    assert_eq!(all, 1200);
}

#[test]
fn failed_mail_can_be_shown_and_discarded_and_is_judged_anew_when_dropped_again() {
    let server = Server::with_news();
    let mail = letter("again", &["nobody"]).iis();
    server.put("x.eml", mail.clone());
    server.run();
    let row = server.failed().remove(0);
    has_keys(&row, &["id", "file", "mail_id", "message_id", "sender", "recipient", "outcome", "reason", "text"]);
    let id = text(&row["id"]);
    assert_eq!(server.only(&["failed", "show", &id, "--json"])["mail_id"], mail_id(&mail));
    assert!(server.good(&["failed", "show", &id]).text().contains("unknown-address"));
    assert_eq!(server.objects(&["failed", "ls", "--json", "--reason", "loop"]).len(), 0);
    assert_eq!(server.objects(&["failed", "ls", "--json", "--reason", "unknown-address"]).len(), 1);
    server.good(&["failed", "discard", &id]);
    assert_eq!(server.failed().len(), 0);
    assert!(!server.still_has(&mail), "thrown away for good");
    server.put("x.eml", mail.clone());
    assert_eq!(server.run().ends(), "1 found: 1 refused", "what was discarded is history, no duplicate");
    server.list("nobody", "blog", &[]);
    server.put("y.eml", mail);
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
}

// the policy of lists

#[test]
fn only_members_may_write_unless_the_list_says_any() {
    let server = Server::with("[groups]\nstaff = [\"@staff.example\", \"bob@example.org\"]\n");
    let members = "members=[\"ann@example.org\", \"@domain.example\", \"@*.below.example\", \"staff\"]";
    server.list("club", "announcements", &["senders=members", members]);
    for (sender, created_by) in [
        ("ann@example.org", Some("ann@example.org")),
        ("Ann@Example.ORG", Some("ann@example.org")),
        ("any@domain.example", Some("any@domain.example")),
        ("any@sub.domain.example", None),
        ("any@x.below.example", Some("any@x.below.example")),
        ("any@notbelow.example", None),
        ("cat@staff.example", Some("cat@staff.example")),
        ("bob@example.org", Some("bob@example.org")),
        ("stranger@example.org", None),
        ("ann@example.org.evil.example", None),
    ] {
        server.put("x.eml", letter(sender, &["club"]).from(sender));
        let sheet = server.run();
        let Some(created_by) = created_by else {
            assert_eq!(sheet.reasons(), ["sender-not-allowed"], "{sender}");
            continue;
        };
        assert_eq!(sheet.ends(), "1 found: 1 delivered", "{sender}");
        assert_eq!(server.items("club").last().unwrap()["created_by"], created_by);
    }
    server.good(&["list", "set", "club", "senders=any"]);
    server.put("x.eml", letter("anybody", &["club"]).from("stranger@example.org"));
    server.run();
    assert_eq!(server.items("club").last().unwrap()["created_by"], "system");
    server.put("y.eml", letter("a member still", &["club"]));
    server.run();
    assert_eq!(server.items("club").last().unwrap()["created_by"], "ann@example.org");
}

#[test]
fn a_list_without_members_takes_mail_from_nobody() {
    let server = Server::new();
    server.good(&["list", "create", "shut", "--kind", "blog", "--address", "shut"]);
    server.put("x.eml", letter("x", &["shut"]));
    assert_eq!(server.run().reasons(), ["sender-not-allowed"]);
}

#[test]
fn the_envelope_decides_who_sent_it_and_from_only_where_it_is_empty() {
    let server = Server::new();
    server.list("club", "announcements", &["senders=members", "members=[\"ann@example.org\"]"]);
    server.put("forged.eml", letter("forged", &["club"]).envelope_sender("evil@example.net"));
    assert_eq!(server.run().reasons(), ["sender-not-allowed"]);
    server.put("null.eml", letter("null", &["club"]).envelope_sender("<>"));
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    assert_eq!(server.titles("club"), ["null"]);
}

#[test]
fn our_own_mail_is_refused_as_a_loop() {
    let server = Server::with_news();
    server.put("x.eml", letter("round and round", &["news"]).header("X-Mailmill-Loop", "1"));
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.reasons().concat()), ("1 found: 1 refused", "loop".to_owned()));
}

#[test]
fn automatic_mail_is_welcome_unless_the_list_says_no() {
    let server = Server::with_news();
    server.list("people", "announcements", &["automatic=false"]);
    for (value, automatic) in [("auto-replied", true), ("auto-generated (x)", true), ("No", false)] {
        server.put("x.eml", letter(value, &["news", "people"]).header("Auto-Submitted", value));
        let sheet = server.run();
        assert_eq!(sheet.n("items"), if automatic { 1 } else { 2 }, "{value}");
        assert_eq!(sheet.problems().len(), usize::from(automatic));
        if automatic {
            assert_eq!(sheet.problem("people@lists.example")["reason"], "sender-not-allowed");
        }
    }
}

#[test]
fn mail_that_is_too_large_is_refused_by_the_list_and_by_the_server() {
    let server = Server::with("[limits]\nmail_bytes = 20000\n");
    server.list("news", "announcements", &["max_size=5000"]);
    server.list("blog", "blog", &[]);
    let size = |bytes: usize| {
        let envelope = letter("size", &["news", "blog"]).body("").iis().len();
        letter("size", &["news", "blog"]).body(&"x".repeat(bytes - envelope))
    };
    server.put("exact.eml", size(5000));
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    server.put("over.eml", size(5001));
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.n("items")), ("1 found: 1 refused", 1));
    assert_eq!(sheet.problem("news@lists.example")["reason"], "too-large");
    server.put("far-over.eml", size(20_001));
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.n("items")), ("1 found: 1 refused", 0));
    assert_eq!(sheet.reasons(), ["too-large", "too-large"], "a row for each recipient");
    assert!(server.still_has(&size(20_001).iis()));
    server.put("limit.eml", size(20_000));
    assert_eq!(server.run().n("items"), 1);
}

#[test]
fn an_attachment_that_is_too_large_or_of_a_blocked_type_is_left_out_and_said() {
    let server = Server::new();
    server.list("news", "announcements", &["max_attachment_size=1000", "blocked_types=[\"exe\", \".js\"]"]);
    let letter = letter("mixed", &["news"])
        .attach("good.txt", noise(1, 1000))
        .attach("big.txt", noise(2, 1001))
        .attach("bad.EXE", "MZ")
        .attach("bad.js", "x");
    server.put("x.eml", letter);
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    let item = server.items("news").remove(0);
    assert_eq!(names(&item), ["good.txt"]);
    let defects: Vec<_> = item["defects"].as_array().unwrap().iter().map(text).collect();
    for name in ["big.txt", "bad.EXE", "bad.js"] {
        assert!(defects.iter().any(|defect| defect.contains(name)), "{name}: {defects:?}");
    }
}

#[test]
fn accepted_domains_bound_short_addresses_and_a_whole_address_binds_its_own() {
    let server = Server::with("[incoming]\naccepted_domains = [\"Lists.example\"]\n");
    server.list("news", "announcements", &[]);
    server.good(&["list", "create", "special", "--kind", "blog", "--address", "special@other.example", "senders=any"]);
    let to = ["news@LISTS.example", "news@other.example", "special@lists.example", "special@OTHER.example"];
    server.put("x.eml", letter("domains", &to));
    let sheet = server.run();
    assert_eq!((sheet.n("items"), sheet.problems().len()), (2, 2));
    for refused in ["news@other.example", "special@lists.example"] {
        assert_eq!(sheet.problem(refused)["reason"], "unknown-address");
    }
}

// duplicates

#[test]
fn the_same_bytes_are_one_mail_under_any_name_within_a_batch_and_across_runs() {
    let server = Server::with_news();
    server.list("blog", "blog", &[]);
    let mail = letter("twin", &["news", "blog"]).iis();
    server.put("a.eml", mail.clone());
    server.put("b.eml", mail.clone());
    server.put("c.eml", mail.clone());
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.n("items")), ("3 found: 1 delivered, 2 duplicates", 2));
    server.put("a.eml", mail);
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.n("items"), sheet.code), ("1 found: 1 duplicates", 0, 0));
    assert_eq!((server.items("news").len(), server.items("blog").len()), (1, 1));
    // The same mail to somebody else besides is another file.
    server.put("d.eml", letter("twin", &["news"]));
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    server.is_settled();
}

#[test]
fn a_duplicate_that_reaches_a_new_list_too_is_delivered_there() {
    let server = Server::with_news();
    let mail = letter("late", &["news", "blog"]).iis();
    server.put("a.eml", mail.clone());
    assert_eq!(server.run().ends(), "1 found: 1 refused");
    server.list("blog", "blog", &[]);
    server.put("b.eml", mail.clone());
    let sheet = server.run();
    assert_eq!(
        (sheet.ends().as_str(), sheet.n("items")),
        ("1 found: 1 delivered", 1),
        "delivered is worse than duplicate"
    );
    let sheet = server.batch(&["failed", "retry", "--json"]);
    assert_eq!((sheet.n("items"), sheet.n("refused")), (0, 0), "{}", sheet.value);
    assert_eq!((server.items("news").len(), server.items("blog").len()), (1, 1));
}

// announcements

#[test]
fn an_announcement_keeps_attachments_and_original_as_the_list_says() {
    let server = Server::with_news();
    server.list("full", "announcements", &["save_original=true"]);
    server.list("bare", "announcements", &["attachments=false"]);
    let letter = letter("files", &["news", "full", "bare"])
        .attach("one.bin", noise(1, 100_000))
        .attach("two.bin", noise(2, 10))
        .attach("one.bin", noise(3, 5000));
    server.put("x.eml", &letter);
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.n("items")), ("1 found: 1 delivered", 3));
    for list in ["news", "full"] {
        let item = server.items(list).remove(0);
        let names = names(&item);
        assert_eq!(names.len(), 3);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 3, "distinct names: {names:?}");
        assert!(names[0] == "one.bin" && names[1] == "two.bin", "{names:?}");
        for (file, bytes) in files(&item).iter().zip([noise(1, 100_000), noise(2, 10), noise(3, 5000)]) {
            let cat = server.cat(list, 1, &text(&file["name"]));
            assert_eq!((sha256(&cat), file["size"].as_u64()), (text(&file["sha256"]), Some(cat.len() as u64)));
            assert!(cat == bytes, "{file}");
        }
        assert!(server.cat(list, 1, "2") == noise(2, 10), "a part by its number");
    }
    assert!(server.cat("full", 1, "original") == letter.mail());
    assert_eq!(server.items("news")[0]["original"], Value::Null);
    assert_eq!(names(&server.items("bare")[0]), [""; 0]);
    server.ask(&["cat", "bare", "1", "one.bin"]).ends(2);
    server.is_settled();
}

#[test]
fn a_nested_message_is_one_attachment_whole() {
    let server = Server::with_news();
    let inner = letter("inner", &[]).attach("deep.txt", "deep").mail();
    let outer = [
        &b"x-sender: a@example.org\r\nx-receiver: news@lists.example\r\nSubject: outer\r\nMIME-Version: 1.0\r\n\
           Content-Type: multipart/mixed; boundary=zz\r\n\r\n--zz\r\nContent-Type: text/plain\r\n\r\nhere\r\n\
           --zz\r\nContent-Type: message/rfc822\r\n\r\n"[..],
        &inner,
        b"\r\n--zz--\r\n",
    ]
    .concat();
    server.put("x.eml", outer);
    server.run();
    let item = server.items("news").remove(0);
    assert_eq!(files(&item).len(), 1, "{item}");
    assert_eq!(files(&item)[0]["content_type"], "message/rfc822");
    assert!(server.cat("news", 1, "1") == inner);
    assert_eq!(text(&item["body_text"]).trim_end(), "here");
}

#[test]
fn an_attachment_is_what_is_attached_named_or_no_text() {
    let server = Server::with_news();
    let part = |head: &str, body: &str| format!("--zz\r\n{head}\r\n\r\n{body}\r\n");
    let mail = [
        "x-sender: a@example.org\r\nx-receiver: news@lists.example\r\nSubject: parts\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=zz\r\n\r\n",
        &part("Content-Type: text/plain\r\nContent-Disposition: attachment", "attached"),
        &part(
            "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable",
            "k=F6rper",
        ),
        &part("Content-Type: text/plain; name=n.txt", "named"),
        &part("Content-Type: image/png\r\nContent-Disposition: inline\r\nContent-ID: <logo@x>", "PNG"),
        &part("Content-Type: text/html", "<p>h</p>"),
        "--zz--\r\n",
    ]
    .concat();
    server.put("x.eml", mail);
    server.run();
    let item = server.items("news").remove(0);
    assert_eq!(text(&item["body_text"]).trim_end(), "körper");
    assert_eq!(text(&item["body_html"]).trim_end(), "<p>h</p>");
    assert_eq!(files(&item).len(), 3, "{item}");
    assert_eq!(files(&item)[1]["name"], "n.txt");
    let logo = &files(&item)[2];
    assert_eq!((&logo["inline"], &logo["content_id"]), (&json!(true), &json!("logo@x")));
}

// document libraries

#[test]
fn a_library_puts_files_in_its_root_or_in_folders_by_sender_or_subject() {
    let server = Server::new();
    for (list, folders) in [("root", "folders=root"), ("sender", "folders=sender"), ("subject", "folders=subject")] {
        server.list(list, "document-library", &[folders]);
    }
    let letter =
        letter("Q1 and/or Q2", &["root", "sender", "subject"]).from("Bob@Example.org").attach("r.pdf", noise(1, 50));
    server.put("x.eml", letter);
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    assert_eq!(paths(&server.items("root")[0]), ["r.pdf"]);
    let by_sender = paths(&server.items("sender")[0]).remove(0);
    assert_eq!(by_sender.to_lowercase(), "bob@example.org/r.pdf");
    let by_subject = paths(&server.items("subject")[0]).remove(0);
    let folders: Vec<&str> = by_subject.split('/').collect();
    assert!(folders.len() == 2 && folders[0].starts_with("Q1 and") && folders[1] == "r.pdf", "{by_subject}");
    for (list, path) in [("root", "r.pdf"), ("sender", &by_sender), ("subject", &by_subject)] {
        let to = server.path(&format!("out-{list}"));
        assert_eq!(server.good(&["export", list, "--to", to.to_str().unwrap()]).text(), "");
        assert!(fs::read(to.join(path)).unwrap() == noise(1, 50), "{list}");
        assert_eq!(files_below(&to).len(), 1);
    }
}

#[test]
fn probe_9_without_overwrite_equal_names_get_a_free_one_and_with_it_a_new_version() {
    let server = Server::new();
    server.list("keep", "document-library", &[]);
    server.list("over", "document-library", &["overwrite=true"]);
    for number in 1..=3 {
        let name = if number == 2 { "Report.PDF" } else { "report.pdf" };
        server.put("x.eml", letter(&format!("v{number}"), &["keep", "over"]).attach(name, noise(number, 6000)));
        server.run();
    }
    let kept: Vec<String> = server.items("keep").iter().flat_map(paths).collect();
    let folded: BTreeSet<String> = kept.iter().map(|path| path.to_lowercase()).collect();
    assert_eq!(folded.len(), 3, "names that differ in case alone are equal: {kept:?}");
    assert_eq!(kept[0], "report.pdf");
    let over: BTreeSet<String> = server.items("over").iter().flat_map(paths).map(|path| path.to_lowercase()).collect();
    assert_eq!(over.len(), 1, "{over:?}");
    for list in ["keep", "over"] {
        for (id, number) in [(1, 1), (2, 2), (3, 3)] {
            assert!(server.cat(list, id, "1") == noise(number, 6000), "old versions stay readable: {list} {id}");
        }
    }
    let tree = |list: &str| {
        let to = server.path(list);
        server.good(&["export", list, "--to", to.to_str().unwrap()]);
        files_below(&to).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tree("keep").len(), 3);
    assert!(tree("over") == [noise(3, 6000)], "the newest version, once");
    server.ask(&["export", "over", "--to", server.path("over").to_str().unwrap()]).ends(2);
    server.is_sound();
}

#[test]
fn two_parts_of_one_name_in_one_mail_are_two_files_also_with_overwrite() {
    let server = Server::new();
    for (list, setting) in [("keep", "overwrite=false"), ("over", "overwrite=true")] {
        server.list(list, "document-library", &[setting]);
    }
    server.put("x.eml", letter("twins", &["keep", "over"]).attach("a.txt", "one").attach("A.TXT", "two"));
    server.run();
    for list in ["keep", "over"] {
        let item = server.items(list).remove(0);
        let paths = paths(&item);
        assert_ne!(paths[0].to_lowercase(), paths[1].to_lowercase(), "{list}");
        assert_eq!((server.cat(list, 1, "1"), server.cat(list, 1, "2")), (b"one".to_vec(), b"two".to_vec()));
    }
}

#[test]
fn probe_9_names_of_files_are_made_safe_and_the_name_as_sent_is_kept() {
    let server = Server::new();
    server.list("docs", "document-library", &["save_original=true"]);
    let long = format!("{}.docx", "n".repeat(300));
    let names = ["a#b%c?.docx", long.as_str(), "../../etc/passwd", "con.txt", "..", ".hidden"];
    let letter = names
        .iter()
        .enumerate()
        .fold(letter("probe/9", &["docs"]), |letter, (number, name)| letter.attach(name, format!("content {number}")));
    server.put("x.eml", letter);
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    let item = server.items("docs").remove(0);
    assert_eq!(files(&item).len(), names.len());
    for (file, name) in files(&item).iter().zip(names) {
        assert_eq!(text(&file["original_name"]), name);
        let safe = text(&file["name"]);
        assert!(safe.len() <= 255 && !safe.starts_with('.') && !safe.contains(['/', '#', '%', '?']), "{safe}");
    }
    let cut = text(&files(&item)[1]["name"]);
    assert_eq!(cut.rsplit_once('.').map(|(_, extension)| extension), Some("docx"), "{cut}");
    let to = server.path("out");
    server.good(&["export", "docs", "--to", to.to_str().unwrap()]);
    assert_eq!(files_below(&to).len(), names.len() + 1, "all files and the original");
    assert_eq!(names_in(&to).len(), names.len() + 1, "all in the root");
}

#[test]
fn a_library_shows_mail_without_attachments_too() {
    let server = Server::new();
    server.list("docs", "document-library", &["save_original=true"]);
    let letter = letter("words only", &["docs"]);
    server.put("x.eml", &letter);
    server.run();
    assert_eq!(server.titles("docs"), ["words only"]);
    let to = server.path("out");
    server.good(&["export", "docs", "--to", to.to_str().unwrap()]);
    assert!(fs::read(&files_below(&to)[0]).unwrap() == letter.mail());
    assert_eq!(names_in(&to), ["words only.eml"]);
}

#[test]
fn a_thousand_files_of_one_name_all_get_their_own() {
    let server = Server::new();
    server.list("docs", "document-library", &[]);
    for number in 0..1000 {
        server.put(
            format!("{number}.eml"),
            letter(&format!("scan {number}"), &["docs"]).attach("scan.pdf", noise(number, 20)),
        );
    }
    assert_eq!(server.run().ends(), "1000 found: 1000 delivered");
    let paths: BTreeSet<String> = server.items("docs").iter().flat_map(paths).collect();
    assert_eq!(paths.len(), 1000);
    server.is_settled();
}

#[test]
fn picture_and_form_libraries_have_folders_and_are_exported_as_a_tree() {
    let server = Server::new();
    for kind in ["picture-library", "form-library"] {
        server.list(kind, kind, &["folders=subject"]);
        let is_picture = kind == "picture-library";
        let name = if is_picture { "a.png" } else { "a.xml" };
        let bytes = if is_picture { &b"\x89PNG\r\n\x1a\n rest"[..] } else { b"<?xml version='1.0'?><form/>" };
        server.put("x.eml", letter("s", &[kind]).attach(name, bytes));
        server.run();
        assert_eq!(paths(&server.items(kind)[0]), [format!("s/{name}")]);
        let to = server.path(&format!("out-{kind}"));
        server.good(&["export", kind, "--to", to.to_str().unwrap()]);
        assert_eq!(fs::read(to.join("s").join(name)).unwrap(), bytes);
    }
}

// files and batches

#[test]
fn settled_files_are_removed_or_kept_under_done() {
    let server = Server::with_news();
    let mail = letter("kept", &["news"]).iis();
    server.put("x.eml", mail.clone());
    server.run();
    assert!(!server.still_has(&mail));
    server.configure("[incoming]\nkeep = \"done\"\n");
    let mail = letter("kept too", &["news"]).iis();
    server.put("x.eml", mail.clone());
    server.put("y.eml", mail.clone());
    let sheet = server.run();
    assert_eq!(sheet.ends(), "2 found: 1 delivered, 1 duplicates");
    let done = files_below(&server.own_folder().join("done"));
    assert_eq!(done.len(), 2, "{done:?}");
    let date = &text(&sheet.value["started"])[..10];
    for path in &done {
        assert!(path.parent().unwrap().ends_with(date), "{path:?}");
        assert!(fs::read(path).unwrap() == mail);
    }
    server.is_settled();
}

#[test]
fn what_was_kept_longer_than_keep_for_is_removed_and_nothing_else() {
    let server = Server::with("[incoming]\nkeep = \"done\"\nkeep_for = \"30d\"\n");
    server.list("news", "announcements", &[]);
    server.put("x.eml", letter("today", &["news"]));
    server.run();
    let done = server.own_folder().join("done");
    for folder in ["2001-02-03", "not-a-date", "2001-02-03-mine"] {
        fs::create_dir(done.join(folder)).unwrap();
        fs::write(done.join(folder).join("1-1-old.eml"), "old").unwrap();
    }
    server.put("y.eml", letter("again", &["news"]));
    server.run();
    let left = server.own("done");
    assert!(!left.contains(&"2001-02-03".to_owned()), "{left:?}");
    assert_eq!(left.len(), 3, "{left:?}");
    assert_eq!(files_below(&done).len(), 4);
}

#[test]
fn a_limit_takes_so_many_and_leaves_the_rest() {
    let server = Server::with_news();
    for number in 0..10 {
        server.put(format!("{number}.eml"), letter(&format!("l{number}"), &["news"]));
    }
    let sheet = server.batch(&["run", "--json", "--limit", "4"]);
    assert_eq!(sheet.ends(), "4 found: 4 delivered");
    assert_eq!(server.waiting().len(), 6);
    assert_eq!(server.batch(&["run", "--json", "--limit", "100"]).ends(), "6 found: 6 delivered");
    assert_eq!(ids_once(&server.items("news")).len(), 10);
}

#[test]
fn only_finished_files_are_found() {
    let server = Server::with_news();
    for name in [".hidden.eml", "x.eml.tmp", "x.part", "x.TMP"] {
        put(&server.drop_folder(), name, letter(name, &["news"]));
    }
    fs::create_dir(server.drop_folder().join("folder")).unwrap();
    for name in ["plain", "15ed460901d0b89c00000008.eml", "X.EML", "a b", "-x.eml"] {
        server.put(name, letter(name, &["news"]));
    }
    assert_eq!(server.run().ends(), "5 found: 5 delivered");
    assert_eq!(server.waiting(), [".hidden.eml", "folder", "x.TMP", "x.eml.tmp", "x.part"]);
}

#[test]
fn the_sheet_counts_items_attachments_and_bytes() {
    let server = Server::with_news();
    server.list("docs", "document-library", &[]);
    let letter = letter("counted", &["news", "docs"]).attach("a", "1").attach("b", "2");
    server.put("x.eml", &letter);
    let sheet = server.run();
    assert_eq!((sheet.n("items"), sheet.n("attachments")), (2, 4));
    assert_eq!(sheet.n("bytes"), letter.iis().len() as u64);
    assert_eq!((text(&sheet.value["server"]).as_str(), &sheet.value["dry_run"]), ("mill", &json!(false)));
    assert_eq!(server.objects(&["history", "--json"]), [sheet.value]);
}

#[test]
fn a_large_mail_comes_out_as_it_went_in() {
    let server = Server::new();
    server.list("docs", "document-library", &["save_original=true"]);
    let letter = letter("large", &["docs"]).attach("large.bin", noise(9, 9_000_000)).attach("small.bin", noise(8, 3));
    server.put("x.eml", &letter);
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    assert!(server.cat("docs", 1, "large.bin") == noise(9, 9_000_000));
    assert!(server.cat("docs", 1, "original") == letter.mail());
    server.is_settled();
}

#[test]
fn equal_attachments_are_stored_once() {
    let server = Server::with_news();
    server.list("docs", "document-library", &[]);
    for number in 0..20 {
        server.put(
            format!("{number}.eml"),
            letter(&format!("n{number}"), &["news", "docs"]).attach("logo.png", noise(1, 8000)),
        );
    }
    assert_eq!(server.run().n("attachments"), 40);
    assert_eq!(server.only(&["verify", "--json"])["blobs"], 1);
}

#[test]
fn two_servers_on_one_folder_deliver_each_mail_once_between_them() {
    let one = Server::with_news();
    let two = Server::new();
    two.configure(&format!("[incoming]\ndrop_folder = \"{}\"", one.drop_folder().display()));
    two.list("news", "announcements", &[]);
    let mut all = BTreeSet::new();
    for number in 0..1000 {
        let mail = letter(&format!("shared {number}"), &["news"]).iis();
        all.insert(mail_id(&mail));
        one.put(format!("{number}.eml"), mail);
    }
    let sheets = std::thread::scope(|scope| {
        let other = scope.spawn(|| two.run());
        [one.run(), other.join().unwrap()]
    });
    // What one is renaming while the other lists is nobody's loss: it is found by one of them, if need be in the next batch.
    let found: u64 =
        sheets.iter().map(|sheet| sheet.n("found")).sum::<u64>() + one.run().n("found") + two.run().n("found");
    assert_eq!(found, 1000);
    let (mine, yours) = (ids_once(&one.items("news")), ids_once(&two.items("news")));
    assert_eq!(mine.intersection(&yours).count(), 0);
    assert_eq!(mine.union(&yours).cloned().collect::<BTreeSet<_>>(), all);
    assert_eq!(one.waiting(), [""; 0]);
}

#[test]
fn bytes_that_are_no_text_are_replaced_in_json_and_come_raw_from_cat() {
    let server = Server::new();
    server.list("news", "announcements", &["save_original=true"]);
    let mail = b"Subject: caf\xe9 \xff\r\nX-Odd: \x00\x01\xfe\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nbroken \xff\xfe\r\n";
    server.put("x.eml", [&b"x-sender: a@example.org\r\nx-receiver: news@lists.example\r\n"[..], mail].concat());
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    let item = server.items("news").remove(0);
    assert!(text(&item["headers"]).contains('\u{fffd}'), "{item}");
    assert!(text(&item["body_text"]).starts_with("broken "), "{item}");
    assert_eq!(server.cat("news", 1, "original"), mail);
}

#[test]
fn a_mail_of_too_many_parts_or_levels_is_delivered_with_a_defect() {
    let server = Server::with("[limits]\nparts = 10\ndepth = 5\n");
    server.list("news", "announcements", &["save_original=true"]);
    let wide = (0..30).fold(letter("wide", &["news"]), |letter, number| letter.attach(&format!("{number}.txt"), "x"));
    let head = "x-sender: a@example.org\r\nx-receiver: news@lists.example\r\nSubject: deep\r\nMIME-Version: 1.0\r\n";
    let open: Vec<String> = (0..40)
        .map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"))
        .collect();
    let open = open.concat();
    server.put("wide.eml", &wide);
    server.put("deep.eml", format!("{head}{open}Content-Type: text/plain\r\n\r\nhello\r\n"));
    assert_eq!(server.run().ends(), "2 found: 2 delivered");
    for item in server.items("news") {
        assert!(!item["defects"].as_array().unwrap().is_empty(), "{item}");
    }
    let wide_id = server.items("news").iter().find(|item| item["title"] == "wide").unwrap()["id"].as_u64().unwrap();
    assert!(server.cat("news", wide_id, "original") == wide.mail(), "nothing of it is lost");
}

#[test]
fn the_smallest_limits_are_enough_and_a_mail_beyond_the_budget_runs_alone() {
    let server = Server::with(
        "[limits]\nmemory = \"1MiB\"\nclaims = 1\nworkers = 1\nsettle_threads = 1\ngroup_mails = 1\ngroup_bytes = 1\n",
    );
    server.list("docs", "document-library", &[]);
    for number in 0..100 {
        let bytes = noise(number, if number % 30 == 0 { 3_000_000 } else { 50 });
        server.put(format!("{number}.eml"), letter(&format!("n{number}"), &["docs"]).attach("a.bin", bytes));
    }
    assert_eq!(server.run().ends(), "100 found: 100 delivered");
    server.is_settled();
}

#[test]
fn many_attachments_of_one_name_take_no_time() {
    let server = Server::new();
    server.list("docs", "document-library", &[]);
    let many = (0..900).fold(letter("many", &["docs"]), |letter, number| letter.attach("a.txt", number.to_string()));
    server.put("x.eml", many);
    let start = Instant::now();
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(paths(&server.items("docs")[0]).into_iter().collect::<BTreeSet<_>>().len(), 900);
}

#[test]
fn a_library_with_a_file_and_a_folder_of_one_name_is_exported_whole() {
    let server = Server::new();
    server.list("docs", "document-library", &["folders=root"]);
    server.put("x.eml", letter("first", &["docs"]).attach("report", "a file"));
    server.run();
    server.good(&["list", "set", "docs", "folders=subject"]);
    server.put("y.eml", letter("report", &["docs"]).attach("y.pdf", "in a folder"));
    server.run();
    let to = server.path("out");
    server.good(&["export", "docs", "--to", to.to_str().unwrap()]);
    let mut bytes: Vec<_> = files_below(&to).iter().map(|path| fs::read(path).unwrap()).collect();
    bytes.sort();
    assert_eq!(bytes, [b"a file".to_vec(), b"in a folder".to_vec()]);
}

// what the other kinds of lists do

/// An invitation as Outlook and others send it: text, and a calendar part beside it.
fn invitation(method: &str, sequence: u32, start: &str) -> String {
    format!(
        "x-sender: ann@example.org\r\nx-receiver: dates@lists.example\r\nFrom: ann@example.org\r\nSubject: Meeting\r\n\
         Message-ID: <{method}-{sequence}-{start}@example.org>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/alternative; boundary=zz\r\n\r\n--zz\r\nContent-Type: text/plain\r\n\r\nCome.\r\n\
         --zz\r\nContent-Type: text/calendar; method={method}; charset=utf-8\r\n\r\nBEGIN:VCALENDAR\r\nVERSION:2.0\r\n\
         PRODID:-//x//x//EN\r\nMETHOD:{method}\r\nBEGIN:VEVENT\r\nUID:meeting-1@example.org\r\nSEQUENCE:{sequence}\r\n\
         DTSTAMP:20260301T0800{sequence:02}Z\r\nDTSTART:{start}\r\nDTEND:20260401T120000Z\r\nSUMMARY:Meeting\r\n\
         LOCATION:Room 1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n--zz--\r\n"
    )
}

#[test]
fn probe_7_an_invitation_is_updated_by_a_later_one_and_not_by_an_older_one_and_can_be_cancelled() {
    let server = Server::new();
    server.list("dates", "calendar", &[]);
    let event = |mail: String| {
        server.put("x.eml", mail);
        assert_eq!(server.run().code, 0);
        let items = server.items("dates");
        assert_eq!(items.len(), 1, "one meeting, one item");
        items[0]["event"].clone()
    };
    let first = event(invitation("REQUEST", 0, "20260401T090000Z"));
    assert_eq!((text(&first["uid"]).as_str(), &first["sequence"]), ("meeting-1@example.org", &json!(0)));
    assert_eq!((text(&first["location"]).as_str(), text(&first["start"]).as_str()), ("Room 1", "2026-04-01T09:00:00Z"));
    let second = event(invitation("REQUEST", 1, "20260401T100000Z"));
    assert_eq!((&second["sequence"], text(&second["start"]).as_str()), (&json!(1), "2026-04-01T10:00:00Z"));
    let old = event(invitation("REQUEST", 0, "20260401T080000Z"));
    assert_eq!(old, second);
    let cancelled = event(invitation("CANCEL", 2, "20260401T100000Z"));
    assert!(text(&cancelled["status"]).to_lowercase().contains("cancel"), "{cancelled}");
}

#[test]
fn probe_8_replies_of_any_mailer_come_into_one_thread() {
    let server = Server::new();
    server.list("talk", "discussion-board", &[]);
    let index = |more: usize| {
        base64(
            &[&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22][..], &vec![9; 5 * more]]
                .concat(),
        )
    };
    let first = letter("topic", &["talk"]).header("Thread-Index", index(0).trim_end()).header("Thread-Topic", "topic");
    let outlook =
        letter("RE: topic", &["talk"]).header("Thread-Index", index(1).trim_end()).header("Thread-Topic", "topic");
    let thunderbird = letter("Re: topic", &["talk"])
        .header("In-Reply-To", "<topic@example.org>")
        .header("Message-ID", "<tb@example.org>");
    let other = letter("another topic", &["talk"]);
    for mail in [&first, &outlook, &thunderbird, &other] {
        server.put("x.eml", mail);
        server.run();
    }
    let threads: Vec<Value> = server.items("talk").iter().map(|item| item["thread"].clone()).collect();
    assert_eq!(threads[1]["root"], threads[0]["root"], "{threads:?}");
    assert_eq!(threads[2]["root"], threads[0]["root"], "{threads:?}");
    assert_eq!((&threads[1]["parent"], &threads[2]["parent"]), (&json!(1), &json!(1)), "{threads:?}");
    assert_ne!(threads[3]["root"], threads[0]["root"], "{threads:?}");
}

#[test]
fn the_ics_of_an_invitation_is_kept_where_the_list_says_so() {
    let server = Server::new();
    server.good(&[
        "list",
        "create",
        "dates",
        "--kind",
        "announcements",
        "--address",
        "dates",
        "senders=any",
        "save_meetings=true",
    ]);
    server.put("x.eml", invitation("REQUEST", 0, "20260401T090000Z"));
    server.run();
    let item = server.items("dates").remove(0);
    assert!(files(&item).iter().any(|file| file["content_type"] == "text/calendar"), "{item}");
}
