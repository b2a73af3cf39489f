//! `run --dry-run`: where each mail would go, and nothing changed by looking.
// A test that cannot go on says so by a panic, and looks at files as anybody would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use common::*;
use serde_json::{Value, json};

fn dry(server: &Server) -> Sheet {
    let sheet = server.batch(&["run", "--dry-run", "--json"]);
    assert_eq!(sheet.value["dry_run"], true);
    sheet
}

fn routes(sheet: &Sheet) -> &[Value] {
    sheet.value["routes"].as_array().expect("routes")
}

/// What a run must come to after a dry run: the same ends, items and reasons.
fn forecast(sheet: &Sheet) -> (String, u64, u64, u64, Vec<String>) {
    (sheet.ends(), sheet.n("items"), sheet.n("attachments"), sheet.n("bytes"), sheet.reasons())
}

/// A drop folder with every kind of good and bad.
fn everything(server: &Server) {
    server.list("docs", "document-library", &["folders=sender"]);
    server.list("off", "blog", &["receive=false"]);
    server.put(
        "a.eml",
        letter("good", &["news", "docs"]).attach("r.pdf", noise(1, 5000)).attach("r.pdf", noise(2, 5000)),
    );
    server.put("b.eml", letter("mixed", &["news", "off", "nobody"]));
    server.put("c.eml", letter("twin", &["news"]));
    server.put("d.eml", letter("twin", &["news"]));
    server.put("e.eml", letter("none", &[]).mail());
    server.put("f.eml", "");
    server.put("g.eml", vec![0; 100]);
    server.put("h.eml", letter("same name", &["docs"]).attach("R.PDF", noise(3, 50)));
    symlink("/nowhere", server.drop_folder().join("i.eml")).unwrap();
    fs::create_dir(server.drop_folder().join("j.eml")).unwrap();
}

#[test]
fn a_dry_run_changes_nothing_at_all() {
    let server = Server::with_news();
    everything(&server);
    let mut writer = fs::File::create(server.drop_folder().join("half.eml")).unwrap();
    writer.write_all(b"x-sender: a@example.org\r\n").unwrap();
    let before = listing(&server.drop_folder());
    let (news, docs) = (server.items("news"), server.items("docs"));
    for _ in 0..2 {
        dry(&server);
        server.ask(&["run", "--dry-run"]).ends(3);
        server.batch(&["run", "--dry-run", "--json", "--limit", "2"]);
    }
    assert_eq!(listing(&server.drop_folder()), before, "nothing is renamed or made, not even our own folders");
    assert_eq!(server.objects(&["history", "--json"]), [] as [Value; 0]);
    assert_eq!((server.items("news"), server.items("docs")), (news, docs));
    server.ask(&["trace", "twin@example.org"]).ends(2);
    server.is_sound();
}

#[test]
fn a_dry_run_says_what_a_run_then_does() {
    let server = Server::with_news();
    everything(&server);
    let dry = dry(&server);
    assert_eq!(dry.ends(), "10 found: 3 delivered, 1 duplicates, 2 refused, 4 damaged");
    let run = server.run();
    assert_eq!(run.value["dry_run"], false);
    assert_eq!(forecast(&dry), forecast(&run));
    let rows = |sheet: &Sheet| -> BTreeMap<String, Value> {
        let key = |row: &Value| format!("{} {}", text(&row["file"]), text(&row["recipient"]));
        let value =
            |row: &Value| json!([row["outcome"], row["reason"], row["mail_id"], row["sender"], row["message_id"]]);
        sheet.problems().iter().map(|row| (key(row), value(row))).collect()
    };
    assert_eq!(rows(&dry), rows(&run));
}

#[test]
fn a_dry_run_shows_where_each_mail_would_go() {
    let server = Server::with_news();
    everything(&server);
    let dry = dry(&server);
    let of = |file: &str| -> Vec<&Value> { routes(&dry).iter().filter(|route| route["file"] == file).collect() };
    let lists: Vec<_> = of("a.eml").iter().map(|route| text(&route["list"])).collect();
    assert!(lists.len() == 2 && lists.contains(&"news".to_owned()) && lists.contains(&"docs".to_owned()), "{lists:?}");
    let docs = of("a.eml").into_iter().find(|route| route["list"] == "docs").unwrap();
    let paths: Vec<_> = docs["paths"].as_array().unwrap().iter().map(text).collect();
    assert!(paths.len() == 2 && paths[0] != paths[1], "{paths:?}");
    assert!(paths.iter().all(|path| path.starts_with("ann@example.org/")), "{paths:?}");
    assert_eq!(of("b.eml").len(), 3);
    assert_eq!(of("b.eml").iter().filter(|route| route["reason"] == "list-disabled").count(), 1);
    assert_eq!(of("e.eml")[0]["reason"], "no-envelope");
    let shown = server.ask(&["run", "--dry-run"]).ends(3);
    for part in ["a.eml", "docs", "ann@example.org/", "unknown-address", "nobody@lists.example", "not-a-regular-file"] {
        assert!(shown.text().contains(part), "`{part}` is not in {}", shown.text());
    }
}

#[test]
fn a_dry_run_sees_duplicates_within_the_batch_and_of_earlier_ones() {
    let server = Server::with_news();
    server.put("old.eml", letter("old", &["news"]));
    server.run();
    server.put("again.eml", letter("old", &["news"]));
    for name in ["x", "y", "z"] {
        server.put(format!("{name}.eml"), letter("new", &["news"]));
    }
    let dry = dry(&server);
    assert_eq!((dry.ends().as_str(), dry.n("items"), dry.code), ("4 found: 1 delivered, 3 duplicates", 1, 0));
    assert_eq!(server.objects(&["history", "--json"]).len(), 1);
    assert_eq!(server.run().ends(), dry.ends());
}

#[test]
fn a_dry_run_sees_duplicates_that_lie_far_apart() {
    let server = Server::with_news();
    for number in 0..700 {
        server.put(format!("{number}.eml"), letter(&format!("pair {}", number % 350), &["news"]));
    }
    assert_eq!(dry(&server).ends(), "700 found: 350 delivered, 350 duplicates");
    assert_eq!(server.run().ends(), "700 found: 350 delivered, 350 duplicates");
}

#[test]
fn a_dry_run_gives_the_numbers_and_names_that_a_run_would() {
    let server = Server::new();
    server.list("docs", "document-library", &[]);
    for number in 0..3 {
        server.put(
            format!("{number}.eml"),
            letter(&format!("n{number}"), &["docs"]).attach("a.txt", format!("{number}")),
        );
    }
    let dry = dry(&server);
    let mut promised: Vec<_> =
        routes(&dry).iter().map(|route| (number(&route["item"]), text(&route["paths"][0]))).collect();
    promised.sort();
    server.run();
    let kept: Vec<_> =
        server.items("docs").iter().map(|item| (number(&item["id"]), text(&item["attachments"][0]["path"]))).collect();
    assert_eq!(promised, kept);
}

#[test]
fn a_dry_run_sees_what_waits_among_the_claims() {
    let server = Server::with("[limits]\nstore_reserve = \"4000000GiB\"\n");
    server.list("news", "announcements", &[]);
    server.put("x.eml", letter("x", &["news"]));
    server.run();
    server.configure("");
    server.put("y.eml", letter("y", &["news"]));
    let before = listing(&server.drop_folder());
    assert_eq!(dry(&server).ends(), "2 found: 2 delivered");
    assert_eq!(listing(&server.drop_folder()), before);
    assert_eq!(server.run().ends(), "2 found: 2 delivered");
}

#[test]
fn a_dry_run_leaves_a_file_that_is_being_written() {
    let server = Server::with_news();
    let mut writer = fs::File::create(server.drop_folder().join("x.eml")).unwrap();
    writer.write_all(&letter("half", &["news"]).iis()).unwrap();
    let dry_run = dry(&server);
    assert_eq!((dry_run.ends().as_str(), dry_run.code), ("1 found: 1 incomplete", 0));
    writer.write_all(b"more").unwrap();
    drop(writer);
    assert_eq!(dry(&server).ends(), "1 found: 1 delivered");
}

#[test]
fn a_dry_run_takes_a_limit() {
    let server = Server::with_news();
    for number in 0..5 {
        server.put(format!("{number}.eml"), letter(&format!("{number}"), &["news"]));
    }
    assert_eq!(server.batch(&["run", "--dry-run", "--json", "--limit", "2"]).ends(), "2 found: 2 delivered");
}

#[test]
fn a_dry_run_asks_the_owner_where_one_runs() {
    let server = Server::with("[incoming]\nwriters = \"remote\"\nsettle_time = \"1h\"\n");
    server.list("news", "announcements", &[]);
    let watch = server.start(&["watch"]);
    server.put("x.eml", letter("x", &["news"]));
    let sheet = dry(&server);
    assert_eq!(sheet.ends(), "1 found: 1 incomplete");
    let shown = server.good(&["run", "--dry-run"]).text();
    assert!(shown.contains("x.eml"), "{shown}");
    watch.term();
    assert_eq!(watch.wait(), 0);
    assert_eq!(server.titles("news").len(), 0);
}
