//! Hooks through the binary: a command before, a command after, a webhook.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

fn mailmill(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mailmill")).current_dir(folder).args(words).output().unwrap()
}

fn json(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn server(settings: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert!(mailmill(folder.path(), &["init", "."]).status.success());
    let words = ["list", "create", "news", "--kind", "announcements", "--address", "news", "senders=any"];
    let made = mailmill(folder.path(), &[&words[..], settings].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
}

fn put(folder: &Path, name: &str, subject: &str) {
    let text = format!("x-sender: a@a.example\r\nx-receiver: news@l.example\r\nSubject: {subject}\r\n\r\nhello\r\n");
    let hidden = folder.join("drop").join(format!(".{name}"));
    fs::write(&hidden, text).unwrap();
    fs::rename(hidden, folder.join("drop").join(name)).unwrap();
}

#[test]
fn a_before_hook_refuses_with_code_77_and_its_first_line_and_the_file_waits() {
    let server = server(&[r#"before=["/bin/sh","-c","if grep -q spam; then echo looks like spam; exit 77; fi"]"#]);
    put(server.path(), "good.eml", "good");
    put(server.path(), "bad.eml", "spam");
    let run = mailmill(server.path(), &["run", "--json"]);
    assert_eq!(run.status.code(), Some(3));
    let sheet = &json(&run)[0];
    assert_eq!((&sheet["delivered"], &sheet["refused"]), (&1.into(), &1.into()));
    assert_eq!(sheet["problems"][0]["reason"], "hook-refused");
    assert_eq!(sheet["problems"][0]["text"], "list news: looks like spam");
    assert_eq!(json(&mailmill(server.path(), &["failed", "ls", "--json"])).len(), 1);
}

#[test]
fn a_before_hook_that_fails_loses_no_mail_and_a_defect_says_so() {
    let server = server(&[r#"before=["/bin/false"]"#]);
    put(server.path(), "x.eml", "x");
    assert_eq!(mailmill(server.path(), &["run"]).status.code(), Some(0));
    let items = json(&mailmill(server.path(), &["items", "news", "--json"]));
    assert_eq!(items[0]["defects"][0], "hook-failed: /bin/false: exit code 1");
}

#[test]
fn an_after_hook_gets_the_stored_item_as_json() {
    let server = server(&[]);
    let out = server.path().join("told");
    let hook = format!(r#"after=["/bin/sh","-c","cat >> {}"]"#, out.display());
    assert!(mailmill(server.path(), &["list", "set", "news", &hook]).status.success());
    put(server.path(), "x.eml", "told");
    assert_eq!(mailmill(server.path(), &["run"]).status.code(), Some(0));
    let told: Value = serde_json::from_str(&fs::read_to_string(out).unwrap()).unwrap();
    let shown = json(&mailmill(server.path(), &["show", "news", "1", "--json"]));
    assert_eq!(told, shown[0]);
}

/// Answers the given status codes in turn, and hands on what was posted: key and body.
fn receiver(codes: &'static [u16]) -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (posted, received) = mpsc::channel();
    std::thread::spawn(move || {
        for code in codes {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let (key, body) = read_post(&stream);
            let _ = write!(stream, "HTTP/1.1 {code} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = posted.send((key, body));
        }
    });
    (url, received)
}

fn read_post(stream: &TcpStream) -> (String, Value) {
    let mut reader = BufReader::new(stream);
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("idempotency-key: ") {
            value.clone_into(&mut key);
        }
        if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (key, serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_webhook_is_told_again_under_the_same_key_until_it_answers_well() {
    let (url, received) = receiver(&[500, 200]);
    let server = server(&[&format!("webhook={url}")]);
    put(server.path(), "x.eml", "posted");
    // The mail is delivered whatever the webhook answers.
    assert_eq!(mailmill(server.path(), &["run"]).status.code(), Some(0));
    let (first, body) = received.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((&body["title"], &body["id"]), (&"posted".into(), &1.into()));
    assert!(!first.is_empty());
    // The wait before the second attempt is five seconds: later runs tell it.
    let mut second = None;
    for _ in 0..40 {
        assert_eq!(mailmill(server.path(), &["run"]).status.code(), Some(0));
        second = received.try_recv().ok();
        if second.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    assert_eq!(second.unwrap().0, first);
    assert_eq!(mailmill(server.path(), &["run"]).status.code(), Some(0));
}

#[test]
fn imported_mail_calls_no_hooks() {
    let server = server(&[r#"before=["/bin/sh","-c","exit 77"]"#]);
    fs::write(server.path().join("old.eml"), "Subject: old\r\n\r\nhello\r\n").unwrap();
    let import = mailmill(server.path(), &["import", "old.eml", "--list", "news", "--json"]);
    assert_eq!(json(&import)[0]["delivered"], 1);
}
