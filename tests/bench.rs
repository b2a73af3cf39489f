//! `mailmill bench`: what it prints is what it did, on all of the mail, and nothing is left behind. Says nothing about speed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer
#![cfg(feature = "rocks")]
// helpers of tests may fail as tests do

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn mailmill() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mailmill"))
}

fn bench(dir: &Path, words: &[&str]) -> Command {
    let mut command = mailmill();
    command.arg("bench").args(words).arg("--dir").arg(dir);
    command
}

/// What a command that must succeed prints.
fn text(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{status}: {stderr}");
    assert!(stderr.is_empty(), "nobody watches: {stderr}");
    String::from_utf8(stdout).unwrap()
}

fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or_else(|| panic!("{key} is no number: {of}"))
}

fn is_sane(side: &Value, messages: u64, bytes: f64, runs: usize) {
    let rate = number(side, "messages_per_s");
    assert!(rate > 0.0 && number(side, "mb_per_s") > 0.0, "{side}");
    assert!(number(side, "messages_per_s_min") <= rate && rate <= number(side, "messages_per_s_max"), "{side}");
    let memory = number(side, "peak_memory");
    assert!((1e6..4e9).contains(&memory), "{side}");
    // Every group is one sync of the log, and the log is one of the files.
    assert!(number(side, "log_syncs") >= 1.0 && number(side, "fsyncs") >= number(side, "log_syncs"), "{side}");
    let all = side["runs"].as_array().unwrap();
    assert_eq!(all.len(), runs);
    for run in all {
        assert_eq!(run["messages"], messages);
        assert!((number(run, "bytes") - bytes).abs() < 0.5);
        assert!(number(run, "seconds") > 0.0);
    }
}

#[test]
fn a_bench_takes_all_of_the_mail_through_floor_and_engine_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let text = text(&mut bench(place.path(), &["--messages", "50", "--runs", "1", "--json"]));
    assert_eq!(text.lines().count(), 1, "{text}");
    let figures: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(figures["profile"], "small");
    assert_eq!(figures["messages"], 50);
    let bytes = number(&figures, "bytes");
    assert!(bytes > 50_000.0);
    let (floor, engine) = (&figures["floor"], &figures["engine"]);
    is_sane(floor, 50, bytes, 1);
    is_sane(engine, 50, bytes, 1);
    let ratio = number(engine, "messages_per_s") / number(floor, "messages_per_s");
    assert!((number(&figures, "ratio") - ratio).abs() < 0.01, "{figures}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn all_profiles_come_in_one_table() {
    let place = tempfile::tempdir().unwrap();
    let text = text(&mut bench(place.path(), &["--profile", "all", "--messages", "2", "--runs", "1"]));
    let rows: Vec<Vec<&str>> = text.lines().skip(2).map(|line| line.split_whitespace().take(3).collect()).collect();
    let expected: Vec<Vec<&str>> = ["small", "mixed", "large"]
        .into_iter()
        .flat_map(|profile| ["floor", "engine"].map(|side| vec![profile, "2", side]))
        .collect();
    assert_eq!(rows, expected, "{text}");
}

#[test]
fn no_setting_from_outside_points_a_bench_at_real_mail() {
    let place = tempfile::tempdir().unwrap();
    let real = place.path().join("real");
    std::fs::create_dir(&real).unwrap();
    std::fs::write(real.join("a.eml"), b"x-sender: a@b.example\r\nx-receiver: list0@c.example\r\n\r\nhello\r\n")
        .unwrap();
    let mut command = bench(place.path(), &["--messages", "3", "--runs", "1", "--json"]);
    command.env("MAILMILL_INCOMING__DROP_FOLDER", &real).env("MAILMILL_STORE", &real);
    let text = text(command.env("MAILMILL_LIMITS__SETTLE_THREADS", "3"));
    assert!(text.contains("\"settle_threads\":3"), "{text}");
    assert_eq!(std::fs::read_dir(&real).unwrap().count(), 1);
}

#[test]
fn a_run_that_does_not_find_all_of_the_mail_fails() {
    let place = tempfile::tempdir().unwrap();
    for side in ["floor", "engine"] {
        let run = place.path().join(side);
        std::fs::create_dir_all(run.join("drop")).unwrap();
        let output = mailmill().args(["bench-run", side, "--messages", "1"]).arg(&run).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains("0 of 1 mails"), "{output:?}");
    }
}
