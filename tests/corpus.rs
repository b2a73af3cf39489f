//! Real mail, where it lies beside the project: what two of three TNEF readers find is found, and no calendar is an engine error.
//! The corpus is not part of the project (other people's mail); without it these tests say so and check nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use serde_json::Value;

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if folder.join("oracle/open.jsonl").is_file() {
        return Some(folder);
    }
    eprintln!("skipped: no corpus at {}", folder.display());
    None
}

fn mailmill(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mailmill")).current_dir(folder).args(words).output().unwrap()
}

fn json(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A server with one list of this kind, and an empty folder `mail` to import from.
fn server(kind: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert!(mailmill(folder.path(), &["init", "."]).status.success());
    let made = mailmill(folder.path(), &["list", "create", "l", "--kind", kind, "--address", "l", "senders=any"]);
    assert!(made.status.success());
    fs::create_dir(folder.path().join("mail")).unwrap();
    folder
}

/// Puts a file into a mail as its only part.
fn wrap(content_type: &str, bytes: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let lines = lines.join("\r\n");
    format!(
        "From: a@a.example\r\nSubject: s\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: base64\r\n\r\n{lines}\r\n"
    )
}

#[test]
fn what_two_of_three_tnef_readers_find_is_extracted() {
    let Some(corpus) = corpus() else { return };
    let server = server("announcements");
    let mut wanted = Vec::new();
    for line in fs::read_to_string(corpus.join("oracle/open.jsonl")).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let blobs = row["tnef"].as_array().into_iter().flatten().filter(|blob| blob["agree2"] == true);
        let inner: BTreeSet<String> = blobs
            .flat_map(|blob| blob["inner_sha256"].as_array().into_iter().flatten())
            .filter_map(|hash| hash.as_str().map(str::to_owned))
            .collect();
        if inner.is_empty() {
            continue;
        }
        let bytes = fs::read(corpus.join(row["file"].as_str().unwrap())).unwrap();
        let name = format!("{:03}.eml", wanted.len());
        let mail = if row["kind"] == "tnef" { wrap("application/ms-tnef", &bytes).into_bytes() } else { bytes };
        fs::write(server.path().join("mail").join(&name), mail).unwrap();
        wanted.push((name, inner, row["file"].clone()));
    }
    assert!(wanted.len() > 10, "the rows of the corpus could not be read");
    let import = mailmill(server.path(), &["import", "mail", "--list", "l", "--json"]);
    assert_eq!(json(&import)[0]["delivered"], wanted.len());
    let items = json(&mailmill(server.path(), &["export", "l"]));
    let mut found = 0;
    for (name, inner, file) in &wanted {
        let item = items.iter().find(|item| item["source"].as_str().unwrap().ends_with(name)).unwrap();
        let have: BTreeSet<String> = item["extracted"]
            .as_array()
            .unwrap()
            .iter()
            .map(|extracted| extracted["sha256"].as_str().unwrap().to_owned())
            .collect();
        if inner.is_subset(&have) {
            found += 1;
        } else {
            eprintln!("missing in {file}: {:?}", inner.difference(&have).collect::<Vec<_>>());
        }
    }
    eprintln!("TNEF: the files of {found} of {} mails are extracted", wanted.len());
    assert!(found * 100 >= wanted.len() * 95, "{found} of {}", wanted.len());
}

#[test]
fn no_calendar_is_an_engine_error_and_each_is_an_item() {
    let Some(corpus) = corpus() else { return };
    let server = server("calendar");
    let index = fs::read_to_string(corpus.join("INDEX.tsv")).unwrap();
    let files: Vec<&str> = index
        .lines()
        .filter_map(|line| line.split('\t').find(|word| word.contains("/ics/")))
        .filter(|file| corpus.join(file).is_file())
        .collect();
    assert!(files.len() > 100, "the index of the corpus could not be read");
    for (number, file) in files.iter().enumerate() {
        let mail = wrap("text/calendar; method=PUBLISH", &fs::read(corpus.join(file)).unwrap());
        // The same calendar twice would be one mail.
        let mail = format!("X-Number: {number}\r\n{mail}");
        fs::write(server.path().join("mail").join(format!("{number:04}.eml")), mail).unwrap();
    }
    let import = mailmill(server.path(), &["import", "mail", "--list", "l", "--json"]);
    assert_eq!(import.status.code(), Some(0), "{}", String::from_utf8_lossy(&import.stderr));
    let sheet = &json(&import)[0];
    assert_eq!((&sheet["delivered"], &sheet["balanced"]), (&files.len().into(), &true.into()));
    let items = json(&mailmill(server.path(), &["export", "l"]));
    assert!(items.iter().filter(|item| item["event"].is_object()).count() > files.len() / 2);
    assert_eq!(mailmill(server.path(), &["verify"]).status.code(), Some(0));
}
