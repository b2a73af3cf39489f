//! Mail that once broke something, and the seeds of the fuzzer, through the same checks that the fuzzer runs, and through
//! `mailmill import`. A file in `testdata/regress` is named after what it broke.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer

#[path = "../fuzz/src/envelope.rs"]
mod envelope;

#[path = "../fuzz/src/mime.rs"]
mod mime;

#[path = "../fuzz/src/dkim.rs"]
mod dkim;

#[path = "../fuzz/src/names.rs"]
mod names;

#[path = "../fuzz/src/import.rs"]
mod import;

#[path = "../fuzz/src/ical.rs"]
mod ical;

#[path = "../fuzz/src/tnef.rs"]
mod tnef;

#[path = "../fuzz/src/sanitise.rs"]
mod sanitise;

#[path = "../fuzz/src/smtp.rs"]
mod smtp;

#[path = "../fuzz/src/store.rs"]
mod store;

use std::fs;
use std::path::{Path, PathBuf};

use arbitrary::{Arbitrary, Unstructured};
use assert_cmd::Command;
use proptest::prelude::*;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    // A folder for findings may not be there yet.
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(folders: &[&str], at_least: usize, check: fn(&[u8])) {
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| files(folder)).collect();
    assert!(files.len() >= at_least, "{} files in {folders:?}", files.len());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        // Every prefix of a seed would take long; these are where a file is cut most often.
        for end in [bytes.len(), bytes.len() / 2, bytes.len().saturating_sub(1)] {
            if let Err(cause) = std::panic::catch_unwind(|| check(&bytes[..end])) {
                eprintln!("{}: the first {end} bytes", file.display());
                std::panic::resume_unwind(cause);
            }
        }
    }
}

#[test]
fn mail_goes_its_whole_way() {
    replay(&["seeds/mime", "seeds/envelope", "regress"], 60, mime::check);
}

#[test]
fn signatures_pass_with_their_keys_alone() {
    replay(&["seeds/dkim", "seeds/mime", "regress"], 60, dkim::check);
}

#[test]
fn envelopes_lose_nothing() {
    replay(&["seeds/envelope", "seeds/mime", "regress"], 60, envelope::check);
}

#[test]
fn any_text_becomes_a_name() {
    replay(&["seeds/names", "seeds/mime"], 60, names::check);
}

#[test]
fn any_file_is_an_mbox() {
    replay(&["seeds/import", "seeds/mime", "regress"], 60, import::check);
}

#[test]
fn calendars_say_the_same_in_any_order() {
    replay(&["seeds/ical", "seeds/mime", "regress"], 60, ical::check);
}

#[test]
fn containers_stay_within_their_budget() {
    replay(&["seeds/tnef", "seeds/mime", "regress"], 60, tnef::check);
}

#[test]
fn no_page_is_harmful() {
    replay(&["seeds/sanitise", "seeds/mime", "regress"], 60, sanitise::check);
}

#[test]
fn no_conversation_accepts_what_is_not_durable() {
    replay(&["seeds/smtp", "seeds/envelope"], 12, smtp::check);
}

/// Bytes become actions as the fuzzer makes them.
fn act(bytes: &[u8]) {
    if let Ok(actions) = Vec::arbitrary_take_rest(Unstructured::new(bytes)) {
        store::check(actions);
    }
}

#[test]
fn actions_that_were_worth_keeping_leave_a_sound_store() {
    replay(&["seeds/store"], 12, act);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_row_of_actions_leaves_a_sound_store(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        act(&bytes);
    }
}

/// Each file is one mail of the sheet, none fails in the engine, and a second import finds nothing new.
#[test]
fn all_of_it_can_be_imported_and_once_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let mailmill = |arguments: &[&str]| {
        let mut command = Command::cargo_bin("mailmill").unwrap();
        command.current_dir(folder.path()).env_remove("MAILMILL_CONFIG").args(arguments);
        command.output().unwrap()
    };
    assert!(mailmill(&["init", "."]).status.success());
    let create = ["list", "create", "All", "--kind", "document-library", "--address", "all", "save_original=true"];
    assert!(mailmill(&create).status.success());
    let sources = [files("seeds/mime"), files("regress")].concat();
    let mut arguments = vec!["import", "--list", "All", "--json"];
    arguments.extend(sources.iter().map(|path| path.to_str().unwrap()));
    let sheet = |expected: &[i32]| -> serde_json::Value {
        let output = mailmill(&arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code().is_some_and(|code| expected.contains(&code)), "{:?} {told}", output.status);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // Empty files and text are damaged mail: exit code 3.
    let (first, second) = (sheet(&[3]), sheet(&[3]));
    assert_eq!(first["found"], sources.len());
    assert_eq!(first["balanced"], true);
    assert_eq!((&second["items"], &second["delivered"]), (&0.into(), &0.into()));
    let reasons = first["problems"].as_array().unwrap().iter().map(|problem| problem["reason"].as_str().unwrap());
    for reason in reasons {
        assert!(["empty", "not-a-message"].contains(&reason), "{reason}");
    }
    let verify = mailmill(&["verify", "--json"]);
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
}
