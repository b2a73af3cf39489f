//! The command that stays, what others may ask of it meanwhile, and what is left after a violent end: CONTRACT `watch`,
//! `status`, `stop`, exit code 4; DESIGN section 2.
// A test that cannot go on says so by a panic, and looks at files as anybody would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::*;
use rustix::process::Signal;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

/// A watch that looks by itself only once an hour: what it does sooner, it was told.
const WATCH: [&str; 4] = ["watch", "--json", "--every", "1h"];

#[test]
fn watch_takes_what_lies_there_and_then_what_comes_within_two_seconds() {
    let server = Server::with_news();
    server.put("before.eml", letter("before", &["news"]));
    let watch = server.start(&WATCH);
    let sheet = watch.line();
    check_sheet(&sheet);
    assert_eq!(sheet["delivered"], 1);
    let mut rounds = Vec::new();
    for number in 0..3 {
        let dropped = Instant::now();
        server.put(format!("{number}.eml"), letter(&format!("later {number}"), &["news"]));
        assert_eq!(watch.line()["delivered"], 1);
        rounds.push(dropped.elapsed());
    }
    within_two_seconds(&rounds);
    // Files that are not renamed in, but written in place and closed.
    rounds.clear();
    for number in 0..3 {
        let mut writer = fs::File::create(server.drop_folder().join(format!("in-place-{number}.eml"))).unwrap();
        let mail = letter(&format!("in place {number}"), &["news"]).iis();
        let (first, second) = mail.split_at(40);
        writer.write_all(first).unwrap();
        writer.flush().unwrap();
        writer.write_all(second).unwrap();
        drop(writer);
        rounds.push(until("it is delivered", SOON, || server.titles("news").len() == 5 + number));
    }
    within_two_seconds(&rounds);
    watch.term();
    assert_eq!(watch.wait(), 0);
    server.is_settled();
}

#[test]
fn watch_looks_again_by_itself_at_a_file_that_was_still_being_written() {
    let server = Server::with_news();
    let path = server.drop_folder().join("x.eml");
    let mut writer = fs::File::create(&path).unwrap();
    writer.write_all(b"x-sender: a@example.org\r\nx-receiver: news@lists.example\r\n").unwrap();
    let watch = server.start(&["watch", "--json", "--every", "100ms"]);
    let sheet = watch.line();
    check_sheet(&sheet);
    assert_eq!((&sheet["incomplete"], &sheet["found"]), (&json!(1), &json!(1)));
    assert!(path.exists());
    writer.write_all(b"Subject: whole\r\n\r\nx\r\n").unwrap();
    drop(writer);
    until("it is delivered", SOON, || server.titles("news") == ["whole"]);
    watch.term();
    assert_eq!(watch.wait(), 0);
}

#[test]
fn watch_looks_at_least_every_interval() {
    // Files of a remote writer are too fresh when they are told of: nothing tells that they have been still.
    let server = Server::with("[incoming]\nwriters = \"remote\"\nsettle_time = \"500ms\"\n");
    server.list("news", "announcements", &[]);
    let watch = server.start(&["watch", "--every", "200ms"]);
    server.put("x.eml", letter("x", &["news"]));
    until("it is delivered", SOON, || server.titles("news").len() == 1);
    watch.term();
    assert_eq!(watch.wait(), 0);
}

#[test]
fn while_watch_runs_everything_else_works_and_takes_effect_at_once() {
    let server = Server::with_news();
    let mut watch = server.start(&WATCH);
    let socket = server.socket().expect("a control socket in the store folder");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o7777, 0o600);

    let status = server.only(&["status", "--json"]);
    assert_eq!((&status["running"], &status["pid"]), (&json!(true), &json!(watch.pid())));
    assert!(is_rfc3339(&status["since"]), "{status}");
    assert!(server.good(&["status"]).text().contains("watch"));

    server.put("1.eml", letter("one", &["news", "later"]).attach("a.bin", noise(1, 300_000)));
    assert_eq!(watch.line()["refused"], 1);
    assert_eq!(server.titles("news"), ["one"]);
    assert!(server.cat("news", 1, "a.bin") == noise(1, 300_000));
    assert_eq!(server.objects(&["export", "news"]), server.items("news"));
    server.list("later", "document-library", &[]);
    assert_eq!(server.batch(&["failed", "retry", "--json"]).ends(), "1 found: 1 delivered");
    assert_eq!(server.titles("later"), ["one"]);
    let to = server.path("out");
    server.good(&["export", "later", "--to", to.to_str().unwrap()]);
    assert!(fs::read(to.join("a.bin")).unwrap() == noise(1, 300_000));

    server.good(&["list", "set", "news", "receive=false"]);
    server.put("2.eml", letter("two", &["news"]));
    let sheet = watch.line();
    check_sheet(&sheet);
    assert_eq!(sheet["problems"][0]["reason"], "list-disabled", "the next mail sees the change");
    server.good(&["list", "set", "news", "receive=true"]);

    fs::write(server.path("i.eml"), letter("imported", &[]).mail()).unwrap();
    let mut import = server.command(&["import", "i.eml", "--list", "news", "--json"]);
    import.current_dir(server.root.path());
    assert_eq!(Sheet::of(&answer(import)).ends(), "1 found: 1 delivered");
    server.put("3.eml", letter("three", &["news"]));
    watch.line();
    let dry = server.batch(&["run", "--dry-run", "--json"]);
    assert_eq!((dry.ends().as_str(), &dry.value["dry_run"]), ("0 found: ", &json!(true)));
    server.objects(&["trace", "two@example.org", "--json"]);
    assert_eq!(server.objects(&["history", "--json"]).len(), 5);
    server.is_sound();
    server.objects(&["doctor", "--json"]);
    server.ask(&["items", "nobody"]).ends(2).says("nobody");
    fs::write(server.path("l.toml"), "[fresh]\nkind = \"blog\"\naddress = \"fresh\"\n").unwrap();
    let mut apply = server.command(&["list", "apply", "l.toml", "--json"]);
    apply.current_dir(server.root.path());
    assert_eq!(answer(apply).ends(0).only()["change"], "created");
    let backup = server.path("backup");
    server.good(&["backup", backup.to_str().unwrap()]);
    for row in server.failed() {
        server.good(&["failed", "discard", &text(&row["id"])]);
    }
    server.good(&["list", "delete", "later"]);

    assert!(!watch.has_ended());
    server.good(&["stop"]);
    assert_eq!(watch.wait(), 0, "a requested stop is a good end");
    assert_eq!(server.only(&["status", "--json"])["running"], false);
    server.is_settled();
    fs::rename(server.path("store"), server.path("old")).unwrap();
    server.good(&["restore", backup.to_str().unwrap()]);
    assert_eq!(server.titles("news"), ["one", "imported", "three"]);
    server.is_sound();
}

#[test]
fn a_second_owner_exits_four_and_touches_nothing() {
    let server = Server::with("[incoming]\nwriters = \"remote\"\nsettle_time = \"1h\"\n");
    server.list("news", "announcements", &[]);
    // The watch leaves this file: it has to be still for an hour.
    server.put("x.eml", letter("x", &["news"]));
    let watch = server.start(&WATCH);
    assert_eq!(watch.line()["incomplete"], 1);
    let before = listing(&server.drop_folder());
    for words in [&["run"][..], &["run", "--json"], &["watch"], &["run", "--wait", "0.2"], &["restore", "/nowhere"]] {
        let start = Instant::now();
        let answer = server.ask(words).ends(4).says("store");
        assert_eq!(answer.text(), "", "{words:?}");
        assert!(!words.contains(&"--wait") || start.elapsed() >= Duration::from_millis(200));
    }
    assert_eq!(listing(&server.drop_folder()), before);
    assert_eq!(server.objects(&["history", "--json"]).len(), 1);
    watch.term();
    assert_eq!(watch.wait(), 0);
}

#[test]
fn run_waits_for_the_owner_as_long_as_it_is_told() {
    let server = Server::with_news();
    let watch = server.start(&WATCH);
    let sheet = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.batch(&["run", "--json", "--wait", "30"]));
        watch.term();
        assert_eq!(watch.wait(), 0);
        waiting.join().unwrap()
    });
    assert_eq!(sheet.ends(), "0 found: ");
}

#[test]
fn term_and_int_end_a_watch_well() {
    let server = Server::with_news();
    for signal in [Signal::TERM, Signal::INT] {
        let watch = server.start(&["watch"]);
        watch.signal(signal);
        assert_eq!(watch.wait(), 0, "{signal:?}");
        assert_eq!(server.only(&["status", "--json"])["running"], false);
    }
}

#[test]
fn term_in_the_middle_of_a_batch_finishes_the_group_and_loses_nothing() {
    let server = Server::with("[limits]\ngroup_mails = 20\n");
    server.list("news", "announcements", &[]);
    let all = fill(&server, 1500);
    let run = Running::spawn(server.command(&["run", "--json"]));
    until("it is in the middle", SOON, || server.waiting().len() < 1300);
    run.term();
    let sheet = run.line();
    check_sheet(&sheet);
    assert_eq!(run.wait(), 0);
    let rest = server.run();
    assert_eq!(number(&sheet["delivered"]) + rest.n("delivered"), 1500, "{sheet}\n{}", rest.value);
    assert_eq!(ids_once(&server.items("news")), all);
    server.is_settled();
}

#[test]
fn a_watch_that_is_ended_ends_while_mail_keeps_coming() {
    let server = Server::with_news();
    let watch = server.start(&WATCH);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let made = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut all = BTreeSet::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && all.len() < 20_000 {
                let mail = letter(&format!("stream {}", all.len()), &["news"]).iis();
                all.insert(mail_id(&mail));
                server.put(format!("{}.eml", all.len()), mail);
            }
            all
        });
        watch.line();
        watch.term();
        assert_eq!(watch.wait(), 0);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap()
    });
    server.run();
    assert_eq!(ids_once(&server.items("news")), made);
    server.is_settled();
}

/// Drops so many mails, one in five with an attachment; gives their ids.
fn fill(server: &Server, count: u64) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for number in 0..count {
        let mut mail = letter(&format!("mail {number}"), &["news"]);
        if number % 5 == 0 {
            mail = mail.attach("a.bin", noise(number, 10_000)).attach("logo.bin", noise(0, 9000));
        }
        let mail = mail.iis();
        all.insert(mail_id(&mail));
        server.put(format!("{number:04}.eml"), mail);
    }
    all
}

/// Kills a run again and again as soon as it has taken so many files more, then lets one come to its end.
fn kill_again_and_again(settings: &str, to: &str, kind: &str) {
    const MAILS: usize = 2000;
    let server = Server::with(settings);
    server.list("news", kind, &[]);
    server.list("other", "announcements", &[]);
    let all = fill(&server, MAILS as u64);
    let mut killed = 0;
    for round in 1..=6 {
        let mut run = Running::spawn(server.command(&["run"]));
        let goal = MAILS - round * MAILS / 8;
        until("it is in the middle", SOON, || server.waiting().len() < goal || run.has_ended());
        if run.has_ended() {
            break;
        }
        run.kill();
        killed += 1;
    }
    assert!(killed >= 3, "killed in the middle only {killed} times");
    server.is_sound();
    let sheet = server.run();
    assert!(sheet.n("duplicates") == 0 && sheet.code == 0, "what a crash left unsettled is delivered: {}", sheet.value);
    let items = server.items(to);
    assert_eq!(ids_once(&items), all, "every mail exactly once");
    let ids: BTreeSet<u64> = items.iter().map(|item| number(&item["id"])).collect();
    assert_eq!(ids.len(), MAILS);
    server.is_settled();
    // The bytes are whole too.
    for item in items.iter().filter(|item| !item["attachments"].as_array().unwrap().is_empty()).step_by(40) {
        let number: u64 = text(&item["title"])["mail ".len()..].parse().unwrap();
        assert!(
            server.cat(to, item["id"].as_u64().unwrap(), "a.bin") == noise(number, 10_000) || kind != "announcements"
        );
        assert!(server.cat(to, item["id"].as_u64().unwrap(), "1") == noise(number, 10_000));
    }
    assert_eq!(server.run().ends(), "0 found: ");
}

#[test]
fn killed_again_and_again_every_mail_is_there_exactly_once() {
    kill_again_and_again("[limits]\ngroup_mails = 50\n", "news", "announcements");
}

#[test]
fn killed_again_and_again_a_library_has_every_file_exactly_once() {
    kill_again_and_again(
        "[limits]\ngroup_mails = 7\nclaims = 64\n[incoming]\nkeep = \"done\"\n",
        "news",
        "document-library",
    );
}

#[test]
fn after_a_kill_the_lock_is_free_and_the_old_socket_harms_nobody() {
    let server = Server::with_news();
    for _ in 0..3 {
        let watch = server.start(&["watch"]);
        watch.kill();
        assert_eq!(server.only(&["status", "--json"])["running"], false);
        assert_eq!(server.good(&["stop"]).text(), "");
    }
    server.put("x.eml", letter("x", &["news"]));
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
}

#[test]
fn a_mail_that_was_refused_for_some_stays_so_when_the_run_is_killed() {
    let server = Server::with("[limits]\ngroup_mails = 20\n");
    server.list("news", "announcements", &[]);
    let mut all = BTreeSet::new();
    for number in 0..600 {
        let mail = letter(&format!("partly {number}"), &["news", "nobody"]).iis();
        all.insert(mail_id(&mail));
        server.put(format!("{number}.eml"), mail);
    }
    for goal in [500, 400, 250] {
        let mut run = Running::spawn(server.command(&["run"]));
        until("it is in the middle", SOON, || server.waiting().len() < goal || run.has_ended());
        run.kill();
    }
    server.run();
    assert_eq!(ids_once(&server.items("news")), all);
    let failed: BTreeSet<_> = server.failed().iter().map(|row| text(&row["mail_id"])).collect();
    assert_eq!(failed, all, "each is among the failed, with its note");
    assert_eq!(server.failed().len(), 600);
    server.is_settled();
    server.list("nobody", "announcements", &[]);
    assert_eq!(server.batch(&["failed", "retry", "--json"]).n("items"), 600);
    assert_eq!((ids_once(&server.items("news")), ids_once(&server.items("nobody"))), (all.clone(), all));
}

#[test]
fn many_may_ask_at_once_while_mail_comes_and_a_backup_of_that_moment_is_sound() {
    let server = Server::with("[limits]\ngroup_mails = 20\n");
    server.list("news", "announcements", &[]);
    let watch = server.start(&["watch", "--every", "1h"]);
    let all = std::thread::scope(|scope| {
        for asker in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let name = format!("list{asker}");
                for _ in 0..5 {
                    server.list(&name, "document-library", &[]);
                    server.good(&["list", "set", &name, "overwrite=true"]);
                    server.ask(&["list", "create", "fought-over", "--kind", "blog", "--address", "fought-over"]);
                    server.items("news");
                    server.objects(&["status", "--json"]);
                    server.good(&["list", "delete", &name]);
                }
            });
        }
        let writer = scope.spawn(|| fill(&server, 600));
        let backup = server.path("backup");
        until("some mail is there", SOON, || server.items("news").len() > 50);
        server.good(&["backup", backup.to_str().unwrap()]);
        writer.join().unwrap()
    });
    until("all mail is there", SOON, || server.items("news").len() == 600);
    watch.term();
    assert_eq!(watch.wait(), 0);
    assert_eq!(ids_once(&server.items("news")), all);
    assert_eq!(server.objects(&["list", "ls", "--json"]).len(), 2);
    server.is_settled();
    fs::rename(server.path("store"), server.path("old")).unwrap();
    server.good(&["restore", server.path("backup").to_str().unwrap()]);
    server.is_sound();
    let saved = ids_once(&server.items("news"));
    assert!(saved.len() > 50 && saved.is_subset(&all), "{}", saved.len());
}

#[test]
fn two_servers_share_a_folder_while_one_is_killed_again_and_again() {
    let one = Server::with("[limits]\ngroup_mails = 20\nclaims = 64\n");
    one.list("news", "announcements", &[]);
    let two =
        Server::with(&format!("[limits]\nclaims = 64\n[incoming]\ndrop_folder = \"{}\"", one.drop_folder().display()));
    two.list("news", "announcements", &[]);
    let all = fill(&one, 1500);
    let steady = Running::spawn(two.command(&["run"]));
    for goal in [1200, 800, 400] {
        let mut run = Running::spawn(one.command(&["run"]));
        until("it is in the middle", SOON, || one.waiting().len() < goal || run.has_ended());
        run.kill();
    }
    assert_eq!(steady.wait(), 0);
    one.run();
    two.run();
    let (mine, yours) = (ids_once(&one.items("news")), ids_once(&two.items("news")));
    assert_eq!(mine.intersection(&yours).count(), 0, "delivered by both");
    assert_eq!(mine.union(&yours).cloned().collect::<BTreeSet<_>>(), all);
    for server in [&one, &two] {
        server.is_sound();
    }
    assert_eq!(one.waiting(), [""; 0]);
}

#[test]
fn a_retry_that_is_killed_loses_nothing_and_repeats_nothing() {
    let server = Server::with_news();
    let mut all = BTreeSet::new();
    for number in 0..400 {
        let mail = letter(&format!("retried {number}"), &["news", "later"]).iis();
        all.insert(mail_id(&mail));
        server.put(format!("{number}.eml"), mail);
    }
    assert_eq!(server.run().ends(), "400 found: 400 refused");
    server.list("later", "announcements", &[]);
    for goal in [350, 200, 50] {
        let mut retry = Running::spawn(server.command(&["failed", "retry"]));
        let refused = || server.own("refused").len() / 2;
        until("it is in the middle", SOON, || refused() < goal || retry.has_ended());
        retry.kill();
        server.is_sound();
    }
    server.run();
    server.batch(&["failed", "retry", "--json"]);
    assert_eq!((ids_once(&server.items("news")), ids_once(&server.items("later"))), (all.clone(), all));
    assert_eq!(server.failed().len(), 0);
    server.is_settled();
}

#[test]
fn an_import_that_is_killed_is_simply_repeated() {
    let server = Server::with("[limits]\ngroup_mails = 20\n");
    server.list("news", "announcements", &[]);
    fs::create_dir(server.path("old")).unwrap();
    for number in 0..1500 {
        fs::write(server.path(&format!("old/{number:04}.eml")), letter(&format!("i{number}"), &[]).mail()).unwrap();
    }
    let old = server.path("old");
    let import = ["import", old.to_str().unwrap(), "--list", "news", "--json"];
    for goal in [100, 600] {
        let run = Running::spawn(server.command(&import));
        until("it answers", SOON, || {
            server.socket().is_some_and(|socket| std::os::unix::net::UnixStream::connect(socket).is_ok())
        });
        until("it is in the middle", SOON, || server.items("news").len() > goal);
        run.kill();
        server.is_sound();
    }
    let sheet = server.batch(&import);
    assert_eq!(sheet.n("delivered") + sheet.n("duplicates"), 1500, "{}", sheet.value);
    assert_eq!(ids_once(&server.items("news")).len(), 1500);
    server.is_sound();
}

#[test]
fn a_deletion_that_is_killed_leaves_a_sound_store() {
    let server = Server::with_news();
    fill(&server, 3000);
    server.run();
    let (store, kept) = (server.path("store"), server.path("kept"));
    fs::rename(&store, &kept).unwrap();
    let mut delay = Duration::from_millis(20);
    loop {
        system("cp", &["-a", kept.to_str().unwrap(), store.to_str().unwrap()]).unwrap();
        let mut delete = Running::spawn(server.command(&["list", "delete", "news"]));
        // A sweep over the whole deletion, not a wait for luck: some of these moments are in its middle.
        std::thread::sleep(delay);
        let too_late = delete.has_ended();
        delete.kill();
        server.is_sound();
        server.good(&["verify", "--repair"]);
        if too_late {
            return;
        }
        fs::remove_dir_all(&store).unwrap();
        delay += Duration::from_millis(25);
    }
}
