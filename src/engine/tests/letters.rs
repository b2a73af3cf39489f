//! Mail without files: what is taken is in its lists once and said so only then; all else is declined, and leaves no trace.

use std::sync::{Arc, Mutex};

use super::*;
use crate::engine::Letter;
use crate::model::mail::MailId;
use crate::model::settings::Verified;
use crate::spool::{At, Fault};

/// Hands letters to a batch; answers which were taken, and its result.
fn send(mill: &Mill, mails: &[Vec<u8>]) -> (Vec<bool>, BatchResult) {
    let (to_engine, letters) = crossbeam_channel::unbounded();
    let taken: Arc<Mutex<Vec<Option<MailId>>>> = Arc::new(Mutex::new(vec![None; mails.len()]));
    for (number, bytes) in mails.iter().enumerate() {
        let told = Arc::clone(&taken);
        let taken = Box::new(move |mail_id| told.lock().unwrap()[number] = Some(mail_id));
        to_engine.send(Letter { name: format!("{number}.eml"), bytes: bytes.clone(), taken }).unwrap();
    }
    let result = mill.run(Work::Letters(&letters), &Progress::default());
    let told = taken.lock().unwrap();
    for (mail, told) in mails.iter().zip(&*told) {
        assert!(told.is_none_or(|id| id == MailId::of(mail)), "the id is that of the file it would have been");
    }
    (told.iter().map(Option::is_some).collect(), result)
}

fn server(folder: &Path) -> Server {
    let server = Server::new(folder, "a");
    server.list("news", Kind::Announcements, |_| ());
    server.list("docs", Kind::DocumentLibrary, |_| ());
    server.list("strict", Kind::Announcements, |list| list.senders_verified = Verified::Pass);
    server.list("asked", Kind::Announcements, |list| list.before = vec!["/bin/true".to_owned()]);
    server.list("told", Kind::Announcements, |list| list.after = vec!["/bin/true".to_owned()]);
    server
}

#[test]
fn what_nothing_stands_against_is_taken_and_counted() {
    let folder = folder();
    let server = server(folder.path());
    let mails: Vec<Vec<u8>> = (0..40)
        .map(|number| letter(&format!("m{number}"), &["news", "docs"], &[("a.txt", &format!("file {number}"))]))
        .collect();
    let (taken, result) = send(&server.mill(), &mails);
    assert!(taken.iter().all(|taken| *taken) && result.error.is_none());
    let sheet = &result.sheet;
    assert_eq!((sheet.found, sheet.delivered, sheet.items, sheet.balanced), (40, 40, 80, true), "{sheet:?}");
    // A file of the same bytes is the same mail, whichever comes later.
    server.put("again.eml", &mails[0]);
    assert_eq!(run(&server.mill()).sheet.duplicates, 1);
    let (taken, result) = send(&server.mill(), &mails[..1]);
    assert_eq!((taken, result.sheet.duplicates), (vec![true], 1));
    let account = server.account();
    assert!(account.is_once_each() && account.items.len() == 80);
}

#[test]
fn whatever_needs_a_file_is_declined_and_leaves_no_trace() {
    let folder = folder();
    let server = server(folder.path());
    let mails = [
        letter("good", &["news"], &[]),
        letter("unknown", &["nobody"], &[]),
        letter("half", &["news", "nobody"], &[]),
        letter("forged", &["strict"], &[]),
        letter("asked", &["asked"], &[]),
        letter("told", &["told"], &[]),
        b"x-receiver: news@lists.example\r\n".to_vec(),
        b"From: a@a.example\r\n\r\nno envelope\r\n".to_vec(),
    ];
    let (taken, result) = send(&server.mill(), &mails);
    assert_eq!(taken, [true, false, false, false, false, false, false, false]);
    assert_eq!((result.sheet.found, result.sheet.delivered, result.sheet.items), (1, 1, 1));
    // By their files they end as they should.
    for (number, mail) in mails.iter().enumerate() {
        server.put(format!("{number}.eml"), mail);
    }
    let sheet = run(&server.mill()).sheet;
    assert_eq!((sheet.duplicates, sheet.delivered, sheet.refused, sheet.damaged), (1, 2, 4, 1), "{sheet:?}");
    let mut keeping = server;
    keeping.config.incoming.keep = crate::config::Keep::Done;
    let (taken, result) = send(&keeping.mill(), &[letter("kept", &["news"], &[])]);
    assert_eq!((taken, result.sheet.found), (vec![false], 0), "there would be no file to keep");
}

/// Whatever the store does in the middle: a letter that was taken is there, and one that was declined is delivered by its file,
/// once, also if it was committed after all.
#[test]
fn a_store_that_fails_at_any_call_loses_and_doubles_nothing() {
    let mut calls = 0;
    for call in 0.. {
        let folder = folder();
        let server = server(folder.path());
        let mails: Vec<Vec<u8>> =
            (0..7).map(|number| letter(&format!("m{number}"), &["news"], &[("a", "b")])).collect();
        let mill = server.mill();
        server.faults.arm(At::Call(call), Fault::Error(rustix::io::Errno::IO));
        let (taken, result) = send(&mill, &mails);
        let was_hit = server.faults.was_hit();
        server.faults.disarm();
        drop(mill);
        let count = taken.iter().filter(|taken| **taken).count() as u64;
        assert_eq!(result.sheet.found, count, "call {call}");
        assert!(was_hit || count == 7);
        for (number, mail) in mails.iter().enumerate().filter(|(number, _)| !taken[*number]) {
            server.put(format!("{number}.eml"), mail);
        }
        server.drain();
        let account = server.account();
        assert!(account.is_once_each() && account.items.len() == 7, "call {call}: {account:?}");
        if !was_hit {
            break;
        }
        calls += 1;
    }
    assert!(calls > 10, "{calls}");
}
