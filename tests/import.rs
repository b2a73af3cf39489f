//! Mail from elsewhere into one list: CONTRACT `import`. The administrator's own act, safe to repeat, sources untouched.
// A test that cannot go on says so by a panic, and looks at files as anybody would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use common::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

const FROM_LINE: &str = "From ann@example.org Tue Mar  3 10:20:30 2026\n";

/// A server with `news`, and a folder to import from.
fn server() -> Server {
    let server = Server::with_news();
    fs::create_dir(server.path("old")).unwrap();
    server
}

impl Server {
    fn import(&self, paths: &[&str]) -> Sheet {
        let mut command = self.command(&[&["import", "--list", "news", "--json"], paths].concat());
        command.current_dir(self.root.path());
        Sheet::of(&answer(command))
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// A mail with line feeds, as Unix mailboxes have them.
fn mail(subject: &str) -> String {
    String::from_utf8(letter(subject, &[]).mail()).unwrap().replace("\r\n", "\n")
}

fn mbox(subjects: &[&str]) -> String {
    subjects.iter().flat_map(|subject| [FROM_LINE.to_owned(), mail(subject), "\n".to_owned()]).collect()
}

fn gz(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn titles(server: &Server) -> BTreeSet<String> {
    server.titles("news").into_iter().collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Every kind of source once: eight mails.
fn every_source(server: &Server) {
    server.write("old/one.eml", mail("one"));
    server.write("old/deep/er/two.eml", letter("two", &[]).attach("a.bin", noise(1, 50_000)).mail());
    server.write("old/dir/cur/1:2,S", mail("three"));
    server.write("old/dir/new/2", mail("four"));
    server.write("old/dir/tmp/3", mail("half-written"));
    server.write("old/box", mbox(&["five", "six"]));
    server.write("old/seven.eml.gz", gz(mail("seven")));
    server.write("old/archive.mbox.gz", gz(mbox(&["eight"])));
}

#[test]
fn files_folders_maildirs_mailboxes_and_gz_of_these_are_imported() {
    let server = server();
    every_source(&server);
    let before = listing(&server.path("old"));
    let sheet = server.import(&["old"]);
    assert_eq!((sheet.ends().as_str(), sheet.n("items")), ("8 found: 8 delivered", 8));
    assert_eq!(titles(&server), set(&["one", "two", "three", "four", "five", "six", "seven", "eight"]));
    assert_eq!(listing(&server.path("old")), before, "the sources stay as they are");
    let items = server.items("news");
    for (title, source) in [
        ("one", "old/one.eml"),
        ("two", "old/deep/er/two.eml"),
        ("three", "old/dir/cur/1:2,S"),
        ("seven", "old/seven.eml.gz"),
    ] {
        let item = items.iter().find(|item| item["title"] == title).unwrap();
        assert!(text(&item["source"]).ends_with(source), "{title}: {}", item["source"]);
    }
    let in_the_box = |title: &str| text(&items.iter().find(|item| item["title"] == title).unwrap()["source"]);
    assert!(
        in_the_box("five").contains("old/box") && in_the_box("five") != in_the_box("six"),
        "{}",
        in_the_box("five")
    );
    let two = items.iter().find(|item| item["title"] == "two").unwrap();
    assert!(server.cat("news", number(&two["id"]), "a.bin") == noise(1, 50_000));
    assert_eq!(server.objects(&["history", "--json"]), [sheet.value]);
    server.is_sound();
}

#[test]
fn importing_again_finds_only_duplicates() {
    let server = server();
    every_source(&server);
    server.import(&["old"]);
    let again = server.import(&["old"]);
    assert_eq!((again.ends().as_str(), again.n("items"), again.code), ("8 found: 8 duplicates", 0, 0));
    // One by one, by other paths and in other packings, it is still the same mail.
    let paths = ["old/one.eml", "old/dir", "old/box", "old/archive.mbox.gz", "./old/../old/seven.eml.gz"];
    assert_eq!(server.import(&paths).ends(), "7 found: 7 duplicates");
    server.write("old/new.mbox", mbox(&["one", "three", "nine"]));
    assert_eq!(server.import(&["old/new.mbox"]).ends(), "3 found: 1 delivered, 2 duplicates");
    assert_eq!(ids_once(&server.items("news")).len(), 9);
    server.is_sound();
}

#[test]
fn an_eml_file_is_always_one_mail_and_loses_a_leading_from_line() {
    let server = server();
    server.write("old/a.eml", format!("{FROM_LINE}{}", mail("with a line")));
    server.write("old/b.EML", mbox(&["two", "in one"]));
    server.write("old/c.eml", mail("with a line"));
    let sheet = server.import(&["old"]);
    assert_eq!(sheet.ends(), "3 found: 2 delivered, 1 duplicates", "without its line it is the same mail");
    assert_eq!(titles(&server), set(&["with a line", "two"]));
}

#[test]
fn from_lines_within_a_mail_of_a_mailbox_are_its_text_again() {
    let server = server();
    let quoted = format!("{FROM_LINE}{}\n>From here on\n>>From there\nFrom: is no line\n\n", mail("quoted"));
    server.write("old/box", [quoted, mbox(&["next"])].concat());
    assert_eq!(server.import(&["old/box"]).ends(), "2 found: 2 delivered");
    let items = server.items("news");
    let body = text(&items.iter().find(|item| item["title"] == "quoted").unwrap()["body_text"]);
    assert!(body.contains("From: is no line"), "{body}");
    assert!(body.contains("From here on"), "{body}");
}

#[test]
fn the_policy_of_the_list_does_not_apply() {
    let server = server();
    server.good(&["list", "set", "news", "senders=members", "automatic=false"]);
    let loops = letter("loop", &[]).header("X-Mailmill-Loop", "1").header("Auto-Submitted", "auto-replied");
    server.write("old/loop.eml", loops.mail());
    server.write("old/stranger.eml", letter("stranger", &[]).from("stranger@example.net").mail());
    server.write("old/elsewhere.eml", letter("elsewhere", &["nobody"]).iis());
    assert_eq!(server.import(&["old"]).ends(), "3 found: 3 delivered");
    assert_eq!(titles(&server), set(&["loop", "stranger", "elsewhere"]));
    let elsewhere = server.items("news").into_iter().find(|item| item["title"] == "elsewhere").unwrap();
    assert!(!text(&elsewhere["headers"]).contains("x-receiver"), "{elsewhere}");
    assert_eq!(elsewhere["created_by"], "system");
}

#[test]
fn what_is_no_mail_is_told_and_stops_nothing() {
    let server = server();
    every_source(&server);
    server.write("old/empty.eml", "");
    server.write("old/noise.eml", [vec![0], noise(1, 5000)].concat());
    server.write("old/broken.eml.gz", "no gzip at all");
    server.write("old/cut.gz", &gz(mbox(&["nine"]).repeat(50))[..60]);
    std::os::unix::fs::symlink("/nowhere", server.path("old/link.eml")).unwrap();
    let sheet = server.import(&["old"]);
    assert_eq!((sheet.n("found"), sheet.code), (13, 3), "{}", sheet.value);
    assert_eq!(sheet.n("delivered"), 8 + 13 - 8 - sheet.n("damaged"), "{}", sheet.value);
    assert!(sheet.n("damaged") >= 4, "{}", sheet.value);
    for (file, reason) in [
        ("empty.eml", "empty"),
        ("noise.eml", "not-a-message"),
        ("broken.eml.gz", "read-error"),
        ("link.eml", "not-a-regular-file"),
    ] {
        let row = sheet.problems().iter().find(|row| text(&row["file"]).ends_with(file)).unwrap();
        assert_eq!(row["reason"], reason, "{row}");
    }
    assert!(titles(&server).is_superset(&set(&["one", "two", "three", "four", "five", "six", "seven", "eight"])));
    assert!(server.path("old/empty.eml").exists() && server.path("old/link.eml").is_symlink());
    assert_eq!(server.failed().len(), 0, "the sources are not ours to keep");
}

#[test]
fn what_is_too_large_is_told() {
    let server = Server::with("[limits]\nmail_bytes = 10000\n");
    server.list("news", "announcements", &[]);
    server.write("old/large.eml", letter("large", &[]).body(&"x".repeat(10_001)).mail());
    server.write("old/box", [mbox(&["small"]), FROM_LINE.to_owned(), mail("large"), "y\n".repeat(6000)].concat());
    let sheet = server.import(&["old"]);
    assert_eq!((sheet.n("delivered"), sheet.n("found"), sheet.code), (1, 3, 3), "{}", sheet.value);
    assert_eq!(sheet.reasons(), ["too-large", "too-large"]);
    assert_eq!(server.titles("news"), ["small"]);
}

#[test]
fn a_path_that_is_not_there_is_wrong_usage_and_nothing_is_imported() {
    let server = server();
    server.write("old/one.eml", mail("one"));
    let mut command = server.command(&["import", "old/one.eml", "gone.eml", "--list", "news", "--json"]);
    command.current_dir(server.root.path());
    assert_eq!(answer(command).ends(2).says("gone.eml").text(), "");
    assert_eq!(server.titles("news").len(), 0);
    let one = server.path("old/one.eml");
    server.ask(&["import", one.to_str().unwrap(), "--list", "nobody"]).ends(2).says("nobody");
    server.ask(&["import", one.to_str().unwrap()]).ends(2).says("--list");
    server.ask(&["import", "--list", "news"]).ends(2);
    assert_eq!(server.objects(&["history", "--json"]).len(), 0);
}

#[test]
fn an_import_into_a_library_files_its_attachments() {
    let server = Server::new();
    server.list("news", "document-library", &["folders=subject", "save_original=true"]);
    let letter = letter("paper", &[]).attach("p.pdf", noise(1, 20_000));
    server.write("old/p.eml", letter.mail());
    assert_eq!(server.import(&["old"]).ends(), "1 found: 1 delivered");
    let item = server.items("news").remove(0);
    assert_eq!(item["attachments"][0]["path"], "paper/p.pdf");
    assert!(server.cat("news", 1, "original") == letter.mail());
}

#[test]
fn an_import_touches_no_drop_folder() {
    let server = server();
    server.write("old/one.eml", mail("one"));
    server.put("waits.eml", letter("waits", &["news"]));
    let files = || listing(&server.drop_folder()).into_iter().filter(|(_, what)| what != "folder").collect::<Vec<_>>();
    let before = files();
    server.import(&["old"]);
    assert_eq!(files(), before);
    fs::remove_dir_all(server.drop_folder()).unwrap();
    assert_eq!(server.import(&["old"]).ends(), "1 found: 1 duplicates", "and needs none");
}

#[test]
fn a_mail_may_be_in_many_lists() {
    let server = server();
    server.list("blog", "blog", &[]);
    server.write("old/one.eml", mail("one"));
    server.import(&["old"]);
    let one = server.path("old");
    let sheet = server.batch(&["import", one.to_str().unwrap(), "--list", "blog", "--json"]);
    assert_eq!(sheet.ends(), "1 found: 1 delivered");
    assert_eq!(essence(&server.items("news")[0]), essence(&server.items("blog")[0]));
}

#[test]
fn names_that_are_no_text_are_imported_too() {
    use std::os::unix::ffi::OsStrExt;
    let server = server();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9\n\x1b[31m.eml");
    fs::write(server.path("old").join(Path::new(name)), mail("odd")).unwrap();
    assert_eq!(server.import(&["old"]).ends(), "1 found: 1 delivered");
    assert!(text(&server.items("news")[0]["source"]).ends_with("caf\u{fffd}\n\u{1b}[31m.eml"));
}

#[test]
fn a_path_that_is_no_text_is_imported_through_an_owner_too() {
    use std::os::unix::ffi::OsStrExt;
    let server = server();
    let path = server.path("old").join(std::ffi::OsStr::from_bytes(b"caf\xe9.eml"));
    fs::write(&path, mail("odd")).unwrap();
    let watch = server.start(&["watch"]);
    let mut command = server.command(&["import", "--list", "news", "--json"]);
    command.arg(&path);
    assert_eq!(Sheet::of(&answer(command)).ends(), "1 found: 1 delivered");
    watch.term();
    assert_eq!(watch.wait(), 0);
}

#[test]
fn a_large_mailbox_is_imported_whole() {
    let server = server();
    let subjects: Vec<String> = (0..3000).map(|number| format!("mail {number}")).collect();
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    server.write("old/box.gz", gz(mbox(&subjects)));
    assert_eq!(server.import(&["old/box.gz"]).ends(), "3000 found: 3000 delivered");
    let items = server.items("news");
    assert_eq!(items.iter().map(|item| text(&item["title"])).collect::<BTreeSet<_>>().len(), 3000);
    assert_eq!(items.last().unwrap()["id"], json!(3000));
    assert_eq!(server.import(&["old/box.gz"]).ends(), "3000 found: 3000 duplicates");
}
