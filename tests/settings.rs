//! Each row of README's table of settings, for each kind of list, through the binary: what the setting does there, and that it does
//! nothing where it has nothing to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer

mod common;

use common::{KINDS, Server, letter, text};
use serde_json::Value;

const LIBRARIES: [&str; 3] = ["document-library", "picture-library", "form-library"];

fn is_library(kind: &str) -> bool {
    LIBRARIES.contains(&kind)
}

/// A file that every kind of list keeps, by name and content.
fn file_for(kind: &str) -> (&'static str, &'static [u8]) {
    match kind {
        "picture-library" => ("a.png", b"\x89PNG\r\n\x1a\n picture"),
        "form-library" => ("a.xml", b"<?xml version='1.0'?><form/>"),
        _ => ("a.pdf", b"%PDF-1.7 document"),
    }
}

/// A list of each kind, called by its kind, each with this setting, and one mail with a file to each.
fn each_kind(
    setting: &str,
    change: impl Fn(common::Letter) -> common::Letter,
) -> Vec<(&'static str, Result<Value, Value>)> {
    let server = Server::new();
    for kind in KINDS {
        server.list(kind, kind, &[setting]);
        let (name, bytes) = file_for(kind);
        server.put(format!("{kind}.eml"), change(letter(&format!("to {kind}"), &[kind]).attach(name, bytes)));
    }
    let sheet = server.run();
    let refused = |kind: &str| sheet.problems().iter().find(|row| text(&row["recipient"]).starts_with(kind)).cloned();
    let item = |kind: &str| server.items(kind).into_iter().next();
    let ends = |kind| item(kind).ok_or_else(|| refused(kind).expect("a mail is an item or a problem"));
    KINDS.into_iter().map(|kind| (kind, ends(kind))).collect()
}

fn as_it_is(letter: common::Letter) -> common::Letter {
    letter
}

fn defects(item: &Value) -> Vec<String> {
    item["defects"].as_array().into_iter().flatten().map(text).collect()
}

fn file_count(item: &Value) -> usize {
    item["attachments"].as_array().map_or(0, Vec::len)
}

#[test]
fn receive_false_refuses_whatever_the_kind() {
    for (kind, end) in each_kind("receive=false", as_it_is) {
        assert_eq!(end.unwrap_err()["reason"], "list-disabled", "{kind}");
    }
}

#[test]
fn aliases_lead_to_every_kind() {
    let server = Server::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        server.list(kind, kind, &[&format!("aliases=['other{number}']")]);
        server.put(format!("{kind}.eml"), letter(kind, &[&format!("OTHER{number}")]));
    }
    assert_eq!(server.run().n("delivered"), 7);
    for kind in KINDS {
        assert_eq!(server.titles(kind), [kind]);
    }
}

#[test]
fn attachments_false_leaves_them_out_but_a_library_keeps_them() {
    for (kind, end) in each_kind("attachments=false", as_it_is) {
        assert_eq!(file_count(&end.unwrap()), usize::from(is_library(kind)), "{kind}");
    }
}

#[test]
fn folders_are_for_libraries() {
    for (setting, folder) in [("folders=root", ""), ("folders=sender", "ann@example.org/"), ("folders=subject", "to ")]
    {
        for (kind, end) in each_kind(setting, as_it_is) {
            let path = end.unwrap()["attachments"][0]["path"].clone();
            if is_library(kind) {
                assert!(text(&path).starts_with(folder), "{kind} {setting}: {path}");
            } else {
                assert!(path.is_null(), "{kind} {setting}: {path}");
            }
        }
    }
}

#[test]
fn overwrite_makes_versions_in_libraries_and_nothing_elsewhere() {
    for overwrite in [false, true] {
        let server = Server::new();
        for kind in KINDS {
            server.list(kind, kind, &[&format!("overwrite={overwrite}")]);
            let (name, bytes) = file_for(kind);
            server.put(format!("{kind}-1.eml"), letter("one", &[kind]).attach(name, bytes));
            server.run();
            let other = [bytes, b" again"].concat();
            server.put(format!("{kind}-2.eml"), letter("two", &[kind]).attach(name, other));
            server.run();
            let file = server.items(kind)[1]["attachments"][0].clone();
            let (stem, extension) = name.split_once('.').unwrap();
            let free = format!("{stem} (2).{extension}");
            match (is_library(kind), overwrite) {
                (true, true) => {
                    assert_eq!((text(&file["path"]).as_str(), &file["version"]), (name, &2.into()), "{kind}");
                }
                (true, false) => assert_eq!((text(&file["path"]), &file["version"]), (free, &1.into()), "{kind}"),
                (false, _) => assert!(file["path"].is_null() && text(&file["name"]) == name, "{kind}: {file}"),
            }
        }
    }
}

#[test]
fn save_original_keeps_the_mail_as_sent_whatever_the_kind() {
    for (saved, setting) in [(false, "save_original=false"), (true, "save_original=true")] {
        for (kind, end) in each_kind(setting, as_it_is) {
            assert_eq!(end.unwrap()["original"].is_object(), saved, "{kind}");
        }
    }
}

#[test]
fn save_meetings_keeps_the_ics_everywhere_but_in_calendars_and_where_it_is_no_such_file() {
    let invitation = |kind: &str| {
        format!(
            "x-sender: ann@example.org\r\nx-receiver: {kind}@lists.example\r\nFrom: ann@example.org\r\nSubject: {kind}\r\n\
             Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\ncome\r\n--b\r\n\
             Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\n\
             UID:1@example.org\r\nDTSTAMP:20260301T080000Z\r\nDTSTART:20260401T100000Z\r\nSUMMARY:s\r\nEND:VEVENT\r\n\
             END:VCALENDAR\r\n--b--\r\n"
        )
    };
    for saved in [false, true] {
        let server = Server::new();
        for kind in KINDS {
            server.list(kind, kind, &[&format!("save_meetings={saved}")]);
            server.put(format!("{kind}.eml"), invitation(kind));
        }
        server.run();
        for kind in KINDS {
            let item = server.items(kind)[0].clone();
            let takes_it = !matches!(kind, "calendar" | "picture-library" | "form-library");
            assert_eq!(file_count(&item), usize::from(saved && takes_it), "{kind}: {item}");
            assert_eq!(item["event"].is_object(), kind == "calendar", "{kind}");
        }
    }
}

#[test]
fn senders_and_members_bind_every_kind() {
    for (kind, end) in each_kind("senders=members", as_it_is) {
        assert_eq!(end.unwrap_err()["reason"], "sender-not-allowed", "{kind}");
    }
    let server = Server::new();
    for kind in KINDS {
        server.list(kind, kind, &["senders=members", "members=['@example.org']"]);
        server.put(format!("{kind}.eml"), letter(kind, &[kind]));
    }
    assert_eq!(server.run().n("delivered"), 7);
    assert_eq!(server.items("blog")[0]["created_by"], "ann@example.org");
}

#[test]
fn owners_change_settings_of_their_list_and_nobody_else_does() {
    let server = Server::new();
    for kind in KINDS {
        server.list(kind, kind, &["owners=['olga@example.org']"]);
        server.good(&["list", "set", kind, "overwrite=true", "--as", "Olga@example.org"]);
        server.ask(&["list", "set", kind, "overwrite=true", "--as", "ann@example.org"]).ends(2).says("overwrite");
        server.ask(&["list", "set", kind, "address=x", "--as", "olga@example.org"]).ends(2).says("address");
        server.ask(&["list", "set", kind, "before=['/bin/true']", "--as", "olga@example.org"]).ends(2).says("hooks");
    }
}

#[test]
fn automatic_false_refuses_automatic_mail_whatever_the_kind() {
    for (kind, end) in each_kind("automatic=false", |letter| letter.header("Auto-Submitted", "auto-generated")) {
        assert_eq!(end.unwrap_err()["reason"], "sender-not-allowed", "{kind}");
    }
}

#[test]
fn max_size_refuses_the_mail_and_max_attachment_size_leaves_out_the_file() {
    for (kind, end) in each_kind("max_size=100", as_it_is) {
        assert_eq!(end.unwrap_err()["reason"], "too-large", "{kind}");
    }
    for (kind, end) in each_kind("max_attachment_size=3", as_it_is) {
        let item = end.unwrap();
        assert_eq!(file_count(&item), 0, "{kind}");
        assert!(defects(&item).iter().any(|defect| defect.starts_with("attachment-too-large: a.")), "{kind}: {item}");
    }
}

#[test]
fn blocked_types_leave_out_the_file_and_say_so() {
    for (kind, end) in each_kind("blocked_types=['pdf','png','.XML']", as_it_is) {
        let item = end.unwrap();
        assert_eq!(file_count(&item), 0, "{kind}");
        assert!(defects(&item).iter().any(|defect| defect.starts_with("blocked-type: a.")), "{kind}: {item}");
    }
}

#[test]
fn inline_skip_leaves_out_images_within_the_text() {
    for (setting, kept) in [("inline=keep", 1), ("inline=skip", 0)] {
        let server = Server::new();
        for kind in KINDS.into_iter().filter(|kind| *kind != "form-library") {
            server.list(kind, kind, &[setting]);
            let mail = format!(
                "x-sender: a@example.org\r\nx-receiver: {kind}@lists.example\r\nSubject: {kind}\r\n\
                 Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<img src=cid:i@x>\r\n\
                 --b\r\nContent-Type: image/png; name=i.png\r\nContent-Disposition: inline\r\nContent-ID: <i@x>\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b--\r\n"
            );
            server.put(format!("{kind}.eml"), mail);
            server.run();
            let item = server.items(kind)[0].clone();
            assert_eq!(file_count(&item), kept, "{kind} {setting}: {item}");
            assert_eq!(defects(&item).contains(&"inline-skipped: i.png".to_owned()), kept == 0, "{kind} {setting}");
            if kept == 1 {
                assert_eq!(server.cat(kind, 1, "cid:i@x"), b"\x89PNG\r\n\x1a\n", "{kind}");
            }
        }
    }
}

#[test]
fn topic_days_bound_how_far_a_reply_without_references_looks() {
    for (setting, threads) in [("topic_days=30", 1), ("topic_days=2", 2)] {
        let server = Server::new();
        for kind in KINDS {
            server.list(kind, kind, &[setting]);
            server.put(format!("{kind}-1.eml"), letter("plans", &[kind]));
            let reply = letter("Re: plans", &[kind]).header("Date", "Tue, 10 Mar 2026 10:20:30 +0100");
            server.put(format!("{kind}-2.eml"), reply.header("Message-ID", "<reply@example.org>"));
            server.run();
            let mut roots: Vec<Value> = server.items(kind).iter().map(|item| item["thread"]["root"].clone()).collect();
            roots.sort_by_key(Value::to_string);
            roots.dedup();
            match kind {
                "discussion-board" => assert_eq!(roots.len(), threads, "{setting}"),
                _ => assert_eq!(roots, [Value::Null], "{kind}"),
            }
        }
    }
}

#[test]
fn mail_as_event_makes_events_in_calendars_alone() {
    for (setting, is_event) in [("mail_as_event=false", false), ("mail_as_event=true", true)] {
        for (kind, end) in each_kind(setting, as_it_is) {
            let event = end.unwrap()["event"].clone();
            assert_eq!(event.is_object(), is_event && kind == "calendar", "{kind} {setting}");
            if event.is_object() {
                assert_eq!(event["start"], "2026-03-03T09:20:30Z");
            }
        }
    }
}

#[test]
fn hooks_are_asked_and_told_whatever_the_kind() {
    for (kind, end) in each_kind(r#"before=["/bin/sh","-c","echo no; exit 77"]"#, as_it_is) {
        assert_eq!(end.unwrap_err()["reason"], "hook-refused", "{kind}");
    }
    let server = Server::new();
    let told = server.path("told");
    let after = format!(r#"after=["/bin/sh","-c","cat >> {}"]"#, told.display());
    for kind in KINDS {
        server.list(kind, kind, &[&after]);
        server.put(format!("{kind}.eml"), letter(kind, &[kind]));
        server.run();
    }
    let told = std::fs::read_to_string(told).unwrap();
    let kinds: Vec<String> = serde_json::Deserializer::from_str(&told)
        .into_iter::<Value>()
        .map(|item| text(&item.unwrap()["kind"]))
        .collect();
    assert_eq!(kinds, KINDS);
}
