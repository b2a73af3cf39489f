//! What must not stop a batch and must not get lost: files that are no mail, names that are no text, folders and disks that
//! refuse. Each ends in a row with its reason or in a clear message, and every byte can be found afterwards.
// A test that cannot go on says so by a panic, and looks at files as anybody would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::*;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// One batch over one file, which ends badly with this reason; its bytes lie in `folder` under a note.
#[track_caller]
fn ends_badly(server: &Server, file: &str, reason: &str, folder: &str) -> Value {
    let sheet = server.run();
    assert_eq!((sheet.n("found"), sheet.n(folder), sheet.code), (1, 1, 3), "{}", sheet.value);
    let row = sheet.problem(file).clone();
    assert_eq!(row["reason"], reason, "{row}");
    assert_eq!(server.waiting(), [""; 0]);
    let failed = server.failed();
    let kept = failed.iter().find(|kept| kept["id"] == row["id"]).expect("it is among the failed");
    assert!(text(&kept["path"]).contains(&format!("/{folder}/")), "{kept}");
    kept.clone()
}

/// What a person may see on a terminal: whole lines, and no control character in them.
#[track_caller]
fn is_plain(text: &str, what: &str) {
    let hidden = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!text.lines().any(|line| line.contains(hidden)), "{what} shows control characters: {text:?}");
}

// files that are no mail

#[test]
fn an_empty_file_is_damaged_as_empty() {
    let server = Server::with_news();
    server.put("x.eml", "");
    let kept = ends_badly(&server, "x.eml", "empty", "damaged");
    assert_eq!(fs::read(text(&kept["path"])).unwrap(), b"");
}

#[test]
fn an_envelope_without_a_mail_is_damaged_as_empty() {
    let server = Server::with_news();
    for end in ["", "\r\n", "\r\n\r\n  \r\n"] {
        server.put("x.eml", format!("x-sender: a@example.org\r\nx-receiver: news@lists.example\r\n{end}"));
        ends_badly(&server, "x.eml", "empty", "damaged");
    }
}

#[test]
fn nuls_are_no_message_however_many_and_stay_findable() {
    let server = Server::with_news();
    for bytes in [vec![0], vec![0; 50_000_000], [b"\x7fELF".to_vec(), noise(1, 3000)].concat()] {
        server.put("x.eml", bytes.clone());
        let kept = ends_badly(&server, "x.eml", "not-a-message", "damaged");
        assert!(fs::read(text(&kept["path"])).unwrap() == bytes);
        server.good(&["failed", "discard", &text(&kept["id"])]);
    }
}

#[test]
fn a_line_without_an_end_hangs_nobody() {
    let server = Server::with_news();
    let envelope = "x-sender: a@example.org\r\nx-receiver: news@lists.example\r\n";
    server.put("1.eml", format!("{envelope}Subject: {}", "long ".repeat(4_000_000)));
    server.put("2.eml", format!("{envelope}Subject: x\r\n\r\n{}", "b".repeat(20_000_000)));
    server.put("3.eml", format!("x-receiver: {}", "news@lists.example,".repeat(500_000)));
    server.put("4.eml", [envelope.as_bytes(), &vec![0; 20_000_000]].concat());
    server.put("5.eml", "x-receiver: <".repeat(1_000_000));
    server.put("good.eml", letter("good", &["news"]));
    let sheet = server.run();
    assert_eq!(sheet.n("found"), 6);
    assert!(server.titles("news").contains(&"good".to_owned()));
    server.is_settled();
}

#[test]
fn a_hundred_thousand_recipients_take_no_time() {
    let server = Server::with_news();
    let many: Vec<String> = (1..100_000).map(|number| format!("nobody{number}@lists.example")).collect();
    let to: Vec<&str> = many.iter().map(String::as_str).chain(["news"]).collect();
    server.put("x.eml", letter("many", &to));
    let start = Instant::now();
    let sheet = server.run();
    assert_eq!((sheet.n("found"), sheet.n("items")), (1, 1));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn what_is_no_regular_file_is_set_aside_and_its_bytes_with_it() {
    let server = Server::with_news();
    let drop = server.drop_folder();
    let secret = letter("elsewhere", &["news"]).iis();
    fs::write(server.path("elsewhere"), &secret).unwrap();
    fs::create_dir_all(drop.join("folder.eml/deep")).unwrap();
    fs::write(drop.join("folder.eml/deep/x.eml"), &secret).unwrap();
    symlink("/nowhere/at/all", drop.join("dangling.eml")).unwrap();
    symlink(server.path("elsewhere"), drop.join("link.eml")).unwrap();
    symlink("link.eml", drop.join("loop.eml")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, drop.join("pipe.eml"), fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    drop_socket(&drop.join("socket.eml"));
    server.put("good.eml", letter("good", &["news"]));
    let sheet = server.run();
    assert_eq!(sheet.ends(), "7 found: 1 delivered, 6 damaged");
    assert!(sheet.reasons().iter().all(|reason| reason == "not-a-regular-file"), "{}", sheet.value);
    assert_eq!(server.titles("news"), ["good"], "a link is never followed");
    assert_eq!(fs::read(server.path("elsewhere")).unwrap(), secret);
    assert!(server.still_has(&secret), "what was in the folder is in it still");
    server.is_settled();
    // Tried again they are no better; thrown away they are gone, and a link's target is not.
    assert_eq!(server.batch(&["failed", "retry", "--json"]).ends(), "6 found: 6 damaged");
    for row in server.failed() {
        server.good(&["failed", "discard", &text(&row["id"])]);
    }
    assert_eq!(server.own("damaged"), [""; 0]);
    assert_eq!(fs::read(server.path("elsewhere")).unwrap(), secret);
}

fn drop_socket(path: &Path) {
    std::os::unix::net::UnixListener::bind(path).unwrap();
}

#[test]
fn folders_links_and_pipes_that_do_not_pretend_to_be_mail_are_left_alone() {
    let server = Server::with_news();
    let drop = server.drop_folder();
    fs::create_dir(drop.join("sub")).unwrap();
    symlink("/nowhere", drop.join("link")).unwrap();
    let before = listing(&drop);
    assert_eq!(server.run().ends(), "0 found: ");
    let after = listing(&drop);
    for (path, what) in &before {
        assert_eq!(after.get(path), Some(what));
    }
}

#[test]
fn a_file_with_several_links_is_incomplete_while_it_is_fresh_and_then_no_mail() {
    let server = Server::with("[incoming]\nsettle_time = \"300ms\"\n");
    server.list("news", "announcements", &[]);
    let drop = server.drop_folder();
    let mail = letter("linked", &["news"]).iis();
    fs::write(drop.join(".writing"), &mail).unwrap();
    fs::hard_link(drop.join(".writing"), drop.join("x.eml")).unwrap();
    until("it is judged", SOON, || {
        let sheet = server.run();
        assert_eq!((sheet.n("found"), sheet.n("delivered")), (1, 0), "{}", sheet.value);
        sheet.reasons() == ["not-a-regular-file"]
    });
    assert_eq!(fs::read(drop.join(".writing")).unwrap(), mail);
    // The writer that links and then unlinks is only slow.
    server.configure("[incoming]\nsettle_time = \"1h\"\n");
    fs::write(drop.join(".writing2"), letter("slow writer", &["news"]).iis()).unwrap();
    fs::hard_link(drop.join(".writing2"), drop.join("y.eml")).unwrap();
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.code), ("1 found: 1 incomplete", 0));
    assert_eq!(server.waiting(), [".writing", ".writing2", "y.eml"], "untouched");
    fs::remove_file(drop.join(".writing2")).unwrap();
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    assert_eq!(server.titles("news"), ["slow writer"]);
}

// names

#[test]
fn names_that_are_no_text_are_delivered_and_shown_readable() {
    let server = Server::with_news();
    let names: [&[u8]; 6] = [
        b"caf\xe9.eml",
        b"\xff\xfe",
        b"new\nline.eml",
        b"\x1b[31mred\x1b]0;title\x07.eml",
        "rtl\u{202e}lme.exe".as_bytes(),
        b"tab\t \\ %s $(x) `y`.eml",
    ];
    for (number, name) in names.iter().enumerate() {
        server.put(OsStr::from_bytes(name), letter(&format!("good {number}"), &["news"]));
    }
    assert_eq!(server.run().ends(), "6 found: 6 delivered");
    let sources: Vec<String> = server.items("news").iter().map(|item| text(&item["source"])).collect();
    for source in ["caf\u{fffd}.eml", "\u{fffd}\u{fffd}", "new\nline.eml", "\u{1b}[31mred\u{1b}]0;title\u{7}.eml"] {
        assert!(sources.iter().any(|known| known == source), "{source:?}: {sources:?}");
    }
    for (number, name) in names.iter().enumerate() {
        server.put(OsStr::from_bytes(name), letter(&format!("bad {number}"), &["nobody"]));
    }
    let run = server.ask(&["run"]).ends(3);
    is_plain(&run.stderr, "run");
    assert_eq!(run.text(), "");
    assert_eq!(server.failed().len(), 6);
    is_plain(&server.good(&["failed", "ls"]).text(), "failed ls");
    is_plain(&server.good(&["trace", "nobody@lists.example"]).text(), "trace");
    is_plain(&server.good(&["items", "news"]).text(), "items");
    for row in server.failed() {
        is_plain(&server.good(&["failed", "show", &text(&row["id"])]).text(), "failed show");
    }
    server.put(OsStr::from_bytes(names[3]), letter("dry", &["nobody"]));
    is_plain(&server.ask(&["run", "--dry-run"]).text(), "dry run");
    server.list("nobody", "announcements", &[]);
    server.run();
    assert_eq!(server.batch(&["failed", "retry", "--json"]).ends(), "6 found: 6 delivered");
    server.is_settled();
}

#[test]
fn what_mail_says_of_itself_is_escaped_before_people_see_it() {
    let server = Server::with_news();
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}x";
    let letter = letter("evil", &["news", "no\u{1b}[31mbody@lists.example"])
        .header("Subject", &format!("=?utf-8?B?{}?=", base64(evil.as_bytes()).trim_end()))
        .header("From", &format!("\"{evil}\" <ann@example.org>"))
        .header("Message-ID", "<evil\u{1b}[31m@example.org>")
        .body(&format!("{evil}\r\nbody\r\n"))
        .attach("a\u{1b}[31m.txt", "x");
    server.put("x.eml", letter);
    is_plain(&server.ask(&["run"]).ends(3).stderr, "run");
    let all = [
        &["items", "news"][..],
        &["show", "news", "1"],
        &["failed", "ls"],
        &["failed", "show", &text(&server.failed()[0]["id"])],
        &["trace", "ann@example.org"],
        &["history"],
        &["status"],
    ];
    for words in all {
        is_plain(&server.good(words).text(), &words.join(" "));
    }
    assert_eq!(server.items("news")[0]["title"], evil, "JSON has it as it is");
    assert!(server.good(&["items", "news", "--json"]).text().contains("\\u001b"), "and escaped as JSON escapes");
}

#[test]
fn names_as_long_as_the_file_system_takes_them_are_kept_whole() {
    let server = Server::with_news();
    let long = |letter: &str, bytes: usize| format!("{}.eml", letter.repeat(bytes - 4));
    server.put(long("g", 255), letter("long", &["news"]));
    server.put(long("b", 255), letter("refused", &["nobody"]));
    server.put(long("c", 246), letter("refused too", &["nobody"]));
    server.put(OsStr::from_bytes(&[0xff; 255]), letter("no text", &["news"]));
    let sheet = server.run();
    assert_eq!(sheet.ends(), "4 found: 2 delivered, 2 refused");
    for name in [long("b", 255), long("c", 246)] {
        sheet.problem(&name);
    }
    assert_eq!(server.waiting(), [""; 0]);
    assert_eq!(server.own("claimed"), [""; 0], "nothing is left over of the names that had to be cut");
    server.list("nobody", "announcements", &[]);
    assert_eq!(server.batch(&["failed", "retry", "--json"]).ends(), "2 found: 2 delivered");
    let sources: Vec<String> =
        ["news", "nobody"].iter().flat_map(|list| server.items(list)).map(|item| text(&item["source"])).collect();
    for name in [long("g", 255), long("b", 255), long("c", 246)] {
        assert!(sources.contains(&name), "{name}: {sources:?}");
    }
    server.is_settled();
}

#[test]
fn a_long_name_is_whole_again_when_its_claim_is_taken_up_later() {
    let server = Server::with("[limits]\nstore_reserve = \"4000000GiB\"\n");
    server.list("news", "announcements", &[]);
    let name = format!("{}.eml", "n".repeat(251));
    server.put(&name, letter("long", &["news"]));
    assert_eq!(server.run().ends(), "1 found: 1 deferred");
    server.configure("");
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    assert_eq!(server.items("news")[0]["source"], name);
    assert_eq!(server.own("claimed"), [""; 0]);
}

// files that change

#[test]
fn a_file_that_is_open_for_writing_is_incomplete_untouched_and_delivered_later() {
    let server = Server::with_news();
    let mail = letter("half", &["news"]).attach("a.bin", noise(1, 200_000)).iis();
    let path = server.drop_folder().join("x.eml");
    let mut writer = fs::File::create(&path).unwrap();
    let (first, second) = mail.split_at(mail.len() / 2);
    writer.write_all(first).unwrap();
    server.put("whole.eml", letter("whole", &["news"]));
    for _ in 0..2 {
        let sheet = server.run();
        assert_eq!(
            (sheet.n("incomplete"), sheet.n("refused") + sheet.n("damaged"), sheet.code),
            (1, 0, 0),
            "{}",
            sheet.value
        );
        assert_eq!(fs::read(&path).unwrap(), first, "untouched, where it was");
    }
    assert_eq!(server.titles("news"), ["whole"], "it holds up nobody");
    writer.write_all(second).unwrap();
    drop(writer);
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    assert!(server.cat("news", 2, "a.bin") == noise(1, 200_000));
    server.is_settled();
}

#[test]
fn a_file_from_a_remote_writer_waits_until_it_has_been_still() {
    let server = Server::with("[incoming]\nwriters = \"remote\"\nsettle_time = \"1h\"\n");
    server.list("news", "announcements", &[]);
    server.put("x.eml", letter("remote", &["news"]));
    assert_eq!(server.run().ends(), "1 found: 1 incomplete");
    assert_eq!(server.waiting(), ["x.eml"]);
    server.configure("[incoming]\nwriters = \"remote\"\nsettle_time = \"200ms\"\n");
    until("it has been still", SOON, || server.run().ends() == "1 found: 1 delivered");
    assert_eq!(server.titles("news"), ["remote"]);
}

#[test]
fn files_that_vanish_meanwhile_were_never_found() {
    let server = Server::with_news();
    let drop = server.drop_folder();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (made, taken_back) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut made, mut taken_back) = (0, 0);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && made < 4000 {
                for number in made..made + 20 {
                    put(&drop, format!("{number}.eml"), letter(&format!("v{number}"), &["news"]));
                }
                for number in made..made + 20 {
                    taken_back += u64::from(fs::remove_file(drop.join(format!("{number}.eml"))).is_ok());
                }
                made += 20;
            }
            (made, taken_back)
        });
        let mut found = 0;
        for _ in 0..12 {
            let sheet = server.run();
            assert_eq!(sheet.n("delivered") + sheet.n("incomplete"), sheet.n("found"), "{}", sheet.value);
            found += sheet.n("delivered");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let counted = writer.join().unwrap();
        found += server.run().n("delivered");
        assert_eq!(server.items("news").len() as u64, found);
        counted
    });
    assert_eq!(
        ids_once(&server.items("news")).len() as u64 + taken_back,
        made,
        "delivered or taken back, none of them both"
    );
    server.is_settled();
}

// rights

/// The server's folder given to an unprivileged user; a command of that user.
struct Nobody<'s> {
    server: &'s Server,
}

const NOBODY: u32 = 65534;

fn give_to_nobody(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().flatten().for_each(|entry| give_to_nobody(&entry.path()));
    }
}

impl<'s> Nobody<'s> {
    /// None, and a word about it, where this cannot be tried.
    fn of(server: &'s Server) -> Option<Self> {
        if !is_root() {
            skipped("only root can become somebody else");
            return None;
        }
        fs::copy(env!("CARGO_BIN_EXE_mailmill"), server.path("mailmill")).unwrap();
        let nobody = Self { server };
        give_to_nobody(server.root.path());
        if let Err(why) = system("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups", "true"]) {
            skipped(&why);
            return None;
        }
        Some(nobody)
    }

    fn ask(&self, words: &[&str]) -> Answer {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(self.server.path("mailmill"));
        command.arg("--config").arg(self.server.path("mailmill.toml")).args(words);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"MAILMILL_")) {
            command.env_remove(name);
        }
        answer(command)
    }

    #[track_caller]
    fn run(&self) -> Sheet {
        Sheet::of(&self.ask(&["run", "--json"]))
    }
}

#[test]
fn a_file_without_read_permission_is_damaged_as_read_error_and_can_be_retried() {
    let server = Server::with("[incoming]\nsettle_time = \"100ms\"\n");
    server.list("news", "announcements", &[]);
    let Some(nobody) = Nobody::of(&server) else { return };
    let mail = letter("shut", &["news"]).iis();
    server.put("x.eml", mail.clone());
    fs::set_permissions(server.drop_folder().join("x.eml"), fs::Permissions::from_mode(0o000)).unwrap();
    let sheet = nobody.run();
    assert_eq!((sheet.ends().as_str(), sheet.reasons().concat()), ("1 found: 1 damaged", "read-error".to_owned()));
    let row = nobody.ask(&["failed", "ls", "--json"]).ends(0).only();
    let path = text(&row["path"]);
    assert_eq!(fs::read(&path).unwrap(), mail);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    until("the file has been still", SOON, || {
        nobody.ask(&["failed", "retry", "--json"]);
        nobody.run();
        nobody.ask(&["items", "news", "--json"]).objects().len() == 1
    });
}

#[test]
fn a_file_of_another_user_is_delivered_once_it_has_been_still() {
    let server = Server::with("[incoming]\nsettle_time = \"1h\"\n");
    server.list("news", "announcements", &[]);
    let Some(nobody) = Nobody::of(&server) else { return };
    server.put("x.eml", letter("of root", &["news"]));
    let sheet = nobody.run();
    assert_eq!(sheet.ends(), "1 found: 1 incomplete", "whether its writer has finished cannot be seen");
    assert_eq!(server.waiting(), ["x.eml"]);
    server.configure("[incoming]\nsettle_time = \"200ms\"\n");
    until("it has been still", SOON, || nobody.run().ends() == "1 found: 1 delivered");
}

#[test]
fn files_that_may_not_be_moved_are_deferred_and_not_delivered() {
    let server = Server::with("[incoming]\nsettle_time = \"10ms\"\n");
    server.list("news", "announcements", &[]);
    let Some(nobody) = Nobody::of(&server) else { return };
    // A sticky folder of another user, as /tmp is: nobody can make files there, but not move those of others.
    chown(server.drop_folder(), Some(0), Some(0)).unwrap();
    fs::set_permissions(server.drop_folder(), fs::Permissions::from_mode(0o1777)).unwrap();
    server.put("x.eml", letter("stuck", &["news"]));
    let mut sheet = nobody.run();
    until("it has been still", SOON, || {
        sheet = nobody.run();
        sheet.n("incomplete") == 0
    });
    assert_eq!(sheet.ends(), "1 found: 1 deferred");
    assert_eq!(sheet.problem("x.eml")["outcome"], "deferred");
    assert_eq!(nobody.ask(&["items", "news", "--json"]).objects().len(), 0, "what cannot be removed is not delivered");
    assert_eq!(server.waiting(), ["x.eml"]);
    fs::set_permissions(server.drop_folder(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(nobody.run().ends(), "1 found: 1 delivered");
    assert_eq!(nobody.ask(&["items", "news", "--json"]).objects().len(), 1);
}

#[test]
fn without_the_right_to_write_in_the_drop_folder_nothing_is_delivered_and_that_is_said() {
    let server = Server::with_news();
    let Some(nobody) = Nobody::of(&server) else { return };
    chown(server.drop_folder(), Some(0), Some(0)).unwrap();
    server.put("x.eml", letter("x", &["news"]));
    let before = listing(&server.drop_folder());
    let sheet = nobody.ask(&["run", "--json"]).ends(1).says(server.drop_folder().to_str().unwrap()).only();
    assert_eq!(sheet["found"], 0);
    nobody.ask(&["doctor"]).ends(1);
    assert_eq!(listing(&server.drop_folder()), before);
    assert_eq!(nobody.ask(&["items", "news", "--json"]).objects().len(), 0);
    give_to_nobody(&server.drop_folder());
    assert_eq!(nobody.run().ends(), "1 found: 1 delivered");
}

#[test]
fn a_drop_folder_that_is_mounted_read_only_delivers_nothing_and_that_is_said() {
    let server = Server::with_news();
    let drop = server.drop_folder().to_str().unwrap().to_owned();
    server.put("x.eml", letter("x", &["news"]));
    if let Err(why) = system("mount", &["--bind", &drop, &drop]) {
        return skipped(&format!("mount: {why}"));
    }
    let mounted = Undo::by(&["umount", "--lazy", &drop]);
    if let Err(why) = system("mount", &["-o", "remount,bind,ro", &drop]) {
        return skipped(&format!("mount read-only: {why}"));
    }
    for _ in 0..2 {
        server.ask(&["run", "--json"]).ends(1).says(&drop).says("ead-only");
    }
    server.ask(&["doctor"]).ends(1);
    assert_eq!(server.items("news").len(), 0);
    drop_now(mounted);
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
}

fn drop_now(undo: Undo) {
    drop(undo);
}

#[test]
fn where_files_can_be_made_and_not_removed_nothing_is_delivered_twice() {
    let server = Server::with_news();
    server.run();
    for number in 0..5 {
        server.put(format!("{number}.eml"), letter(&format!("probe 2, {number}"), &["news"]));
    }
    // Append-only: names can be added, not taken away. What the old system made endless duplicates of.
    let drop_folder = server.drop_folder();
    for folder in [&drop_folder, &server.own_folder().join("claimed")] {
        let tried_by_doctor = *folder == drop_folder;
        let folder = folder.to_str().unwrap();
        if let Err(why) = system("chattr", &["+a", folder]) {
            return skipped(&format!("chattr: {why}"));
        }
        let shut = Undo::by(&["chattr", "-a", folder]);
        for _ in 0..2 {
            server.ask(&["run", "--json"]).ends(1).says("delete");
        }
        if tried_by_doctor {
            server.ask(&["doctor"]).ends(1);
        }
        assert_eq!(server.items("news").len(), 0);
        drop(shut);
    }
    assert_eq!(server.run().ends(), "5 found: 5 delivered");
    assert_eq!(ids_once(&server.items("news")).len(), 5);
}

#[test]
fn claims_on_another_file_system_deliver_nothing_and_that_is_said() {
    let server = Server::with_news();
    server.put("x.eml", letter("x", &["news"]));
    let own = server.drop_folder().join(".mailmill");
    fs::create_dir(&own).unwrap();
    let own = own.to_str().unwrap();
    if let Err(why) = system("mount", &["-t", "tmpfs", "tmpfs", own]) {
        return skipped(&format!("mount: {why}"));
    }
    let mounted = Undo::by(&["umount", "--lazy", own]);
    server.ask(&["run", "--json"]).ends(1).says("rename");
    server.ask(&["doctor"]).ends(1);
    assert_eq!(server.items("news").len(), 0);
    drop_now(mounted);
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
}

#[test]
fn a_drop_folder_that_is_not_there_is_named() {
    let server = Server::with_news();
    fs::rename(server.drop_folder(), server.path("elsewhere")).unwrap();
    let drop = server.drop_folder();
    let drop = drop.to_str().unwrap();
    assert_eq!(server.ask(&["run", "--json"]).ends(1).says(drop).only()["found"], 0);
    server.ask(&["run", "--dry-run", "--json"]).ends(1).says(drop);
    server.ask(&["watch"]).ends(1).says(drop);
    server.ask(&["status"]).ends(1).says(drop);
    assert!(!server.drop_folder().exists(), "it is the administrator's: never made anew");
    fs::write(server.drop_folder(), "a file").unwrap();
    server.ask(&["run"]).ends(1).says(drop);
    assert_eq!(server.items("news").len(), 0, "what needs no drop folder works");
}

// a disk without room

/// A store on a small file system of its own.
struct SmallDisk {
    server: Server,
    path: String,
    _mounted: Undo,
}

impl SmallDisk {
    fn new(size: &str, reserve: &str) -> Option<Self> {
        // Small groups: of two that are written side by side one fits.
        let server = Server::with(&format!("[limits]\nstore_reserve = \"{reserve}\"\ngroup_bytes = \"2MiB\"\n"));
        let path = server.path("store").to_str().unwrap().to_owned();
        if let Err(why) = system("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", &path]) {
            skipped(&format!("mount: {why}"));
            return None;
        }
        let mounted = Undo::by(&["umount", "--lazy", &path]);
        server.list("news", "announcements", &[]);
        Some(Self { server, path, _mounted: mounted })
    }

    fn resize(&self, size: &str) {
        system("mount", &["-o", &format!("remount,size={size}"), &self.path]).unwrap();
    }

    /// Takes all room that is left, but for so many bytes.
    fn fill_up_to(&self, left: u64) {
        let disk = rustix::fs::statvfs(self.path.as_str()).unwrap();
        let length = (disk.f_bavail * disk.f_frsize).saturating_sub(left);
        fs::write(format!("{}/ballast", self.path), vec![1; usize::try_from(length).unwrap()]).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(format!("{}/ballast", self.path)).unwrap();
    }
}

#[test]
fn with_less_room_than_the_reserve_mail_is_deferred_and_delivered_once_there_is_room() {
    let Some(disk) = SmallDisk::new("40m", "64MiB") else { return };
    let server = &disk.server;
    for number in 0..20 {
        server.put(format!("{number}.eml"), letter(&format!("d{number}"), &["news"]));
    }
    for _ in 0..2 {
        let sheet = server.run();
        assert_eq!((sheet.ends().as_str(), sheet.code), ("20 found: 20 deferred", 3));
        assert!(sheet.reasons().iter().all(|reason| reason == "store-full"), "{}", sheet.value);
        assert_eq!(sheet.problems().len(), 20);
        assert!(sheet.stderr.contains("full"), "{}", sheet.stderr);
    }
    assert_eq!(server.failed().len(), 0, "deferred mail has not failed");
    let status = server.only(&["status", "--json"]);
    assert_eq!(
        (&status["queue"], &status["claimed"]),
        (&json!(20), &json!(0)),
        "they stay where another server finds them"
    );
    server.ask(&["doctor"]).ends(1);
    disk.resize("200m");
    assert_eq!(server.run().ends(), "20 found: 20 delivered");
    assert_eq!(ids_once(&server.items("news")).len(), 20);
    server.is_settled();
}

#[test]
fn a_watch_waits_for_room_and_goes_on_by_itself() {
    let Some(disk) = SmallDisk::new("40m", "64MiB") else { return };
    let server = &disk.server;
    let watch = server.start(&["watch", "--json", "--every", "50ms"]);
    server.put("x.eml", letter("x", &["news"]));
    let sheet = watch.line();
    check_sheet(&sheet);
    assert_eq!((&sheet["deferred"], &sheet["problems"][0]["reason"]), (&json!(1), &json!("store-full")));
    assert_eq!(server.only(&["status", "--json"])["running"], true, "a full disk passes");
    disk.resize("200m");
    until("it is delivered", SOON, || server.titles("news") == ["x"]);
    watch.term();
    assert_eq!(watch.wait(), 0);
    server.is_settled();
}

#[test]
fn a_disk_that_fills_up_in_the_middle_defers_the_rest_and_loses_nothing() {
    let Some(disk) = SmallDisk::new("24m", "0") else { return };
    let server = &disk.server;
    for number in 0..60 {
        server.put(
            format!("{number}.eml"),
            letter(&format!("f{number}"), &["news"]).attach("a.bin", noise(number, 700_000)),
        );
    }
    let sheet = server.run();
    assert!(sheet.n("deferred") > 0 && sheet.n("delivered") > 0, "{}", sheet.ends());
    assert_eq!((sheet.n("found"), sheet.n("delivered") + sheet.n("deferred")), (60, 60));
    assert!(sheet.reasons().iter().all(|reason| reason == "store-full"), "{:?}", sheet.reasons());
    disk.resize("300m");
    assert_eq!(server.run().n("delivered"), sheet.n("deferred"));
    let items = server.items("news");
    assert_eq!(ids_once(&items).len(), 60);
    for item in &items {
        let number: u64 = text(&item["title"])[1..].parse().unwrap();
        assert!(server.cat("news", item["id"].as_u64().unwrap(), "1") == noise(number, 700_000));
    }
    server.is_settled();
}

#[test]
fn a_disk_without_any_room_defers_everything_and_can_be_read() {
    let Some(disk) = SmallDisk::new("24m", "64MiB") else { return };
    let server = &disk.server;
    server.put("x.eml", letter("x", &["news"]));
    disk.fill_up_to(0);
    let sheet = server.run();
    assert_eq!((sheet.ends().as_str(), sheet.code), ("1 found: 1 deferred", 3));
    assert_eq!(sheet.reasons(), ["store-full"]);
    assert_eq!(server.items("news").len(), 0);
}

#[test]
fn after_a_disk_without_any_room_everything_is_delivered() {
    let Some(disk) = SmallDisk::new("24m", "0") else { return };
    let server = &disk.server;
    for number in 0..20 {
        server.put(
            format!("{number}.eml"),
            letter(&format!("e{number}"), &["news"]).attach("a.bin", noise(number, 10_000)),
        );
    }
    disk.fill_up_to(0);
    for _ in 0..2 {
        let answer = server.ask(&["run", "--json"]);
        assert!(answer.code == 1 || answer.code == 3, "{}", answer.code);
        assert!(answer.stderr.contains("space") || answer.stderr.contains("full"), "{}", answer.stderr);
    }
    disk.make_room();
    assert_eq!(server.run().ends(), "20 found: 20 delivered");
    assert_eq!(ids_once(&server.items("news")).len(), 20);
    server.is_settled();
}

#[test]
fn a_store_that_cannot_be_opened_is_an_engine_error_and_claims_nothing() {
    let server = Server::with_news();
    server.put("x.eml", letter("x", &["news"]));
    fs::rename(server.path("store"), server.path("kept")).unwrap();
    fs::write(server.path("store"), "a file where the store was").unwrap();
    let before = listing(&server.drop_folder());
    server.ask(&["run", "--json"]).ends(1).says(server.path("store").to_str().unwrap());
    server.ask(&["items", "news"]).ends(1);
    assert_eq!(listing(&server.drop_folder()), before);
    fs::remove_file(server.path("store")).unwrap();
    fs::rename(server.path("kept"), server.path("store")).unwrap();
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
}
