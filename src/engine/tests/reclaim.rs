//! A server that is gone, or seems to be: its claims go to another, and should it wake up, it delivers nothing more.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::{Server, folder, letter, long_name, run};
use crate::engine::{Departed, EngineError, Reclaimed};
use crate::model::list::Kind;
use crate::spool::{At, Fault, SpoolError};

struct Two {
    _folder: tempfile::TempDir,
    dead: Server,
    heir: Server,
}

fn two() -> Two {
    let folder = folder();
    let (dead, heir) = (Server::new(folder.path(), "dead"), Server::new(folder.path(), "heir"));
    for server in [&dead, &heir] {
        server.list("news", Kind::Announcements, |_| ());
    }
    Two { _folder: folder, dead, heir }
}

fn its_store(server: &Server) -> Departed {
    Departed::Store(Arc::clone(&server.store.inner))
}

/// A run that dies at the n-th call of a step.
fn dies_at(server: &Server, step: &'static str, number: usize) {
    server.faults.arm(At::Step(step, number), Fault::Death);
    run(&server.mill());
    assert!(server.faults.was_hit());
    server.faults.disarm();
}

#[test]
fn a_server_that_slept_through_its_reclaim_wakes_up_and_commits_nothing() {
    let two = two();
    for number in 0..20 {
        two.dead.put(format!("{number}.eml"), letter(&number.to_string(), &["news"], &[]));
    }
    // It sleeps while it builds a group, which is after every look but the last.
    let heir =
        Server { config: two.heir.config.clone(), store: two.heir.store.clone(), faults: two.heir.faults.clone() };
    // The batch asks twice for its own number; then the first item is given one.
    let mut calls = 0;
    two.dead.each("counter", move || {
        calls += 1;
        if calls == 3 {
            heir.mill().reclaim("dead", &Departed::Lost).unwrap();
        }
        calls == 3
    });
    let result = run(&two.dead.mill());
    assert!(matches!(result.error, Some(EngineError::Spool(SpoolError::NotOurs { .. }))), "{:?}", result.error);
    assert_eq!((result.sheet.delivered, result.sheet.items), (0, 0));
    assert!(result.sheet.balanced);
    assert!(two.dead.account().items.is_empty());
    two.heir.drain();
    // What it had not claimed yet lies in the drop folder, and is the heir's as well.
    assert_eq!(two.heir.account().items.len(), 20);
    assert!(two.heir.account().is_once_each());
    assert!(two.heir.waiting().is_empty());
    // It starts again with a claim folder of its own.
    two.dead.put("later.eml", letter("later", &["news"], &[]));
    assert_eq!(run(&two.dead.mill()).sheet.delivered, 1);
}

#[test]
fn a_server_that_was_reclaimed_between_two_batches_claims_nothing_more() {
    let two = two();
    let mill = two.dead.mill();
    two.dead.put("a.eml", letter("a", &["news"], &[]));
    assert_eq!(run(&mill).sheet.delivered, 1);
    two.heir.mill().reclaim("dead", &Departed::Lost).unwrap();
    two.dead.put("b.eml", letter("b", &["news"], &[]));
    let result = run(&mill);
    assert!(matches!(result.error, Some(EngineError::Spool(SpoolError::NotOurs { .. }))), "{:?}", result.error);
    assert_eq!(result.sheet.found, 0);
    assert!(two.dead.waiting().contains("b.eml"));
}

#[test]
fn its_own_store_says_what_a_dead_server_had_delivered() {
    let mut two = two();
    two.dead.config.limits.group_mails = 100;
    two.dead.put("all.eml", letter("all", &["news"], &[]));
    two.dead.put("part.eml", letter("part", &["news", "nobody"], &[]));
    two.dead.put(long_name(), letter("long", &["news"], &[]));
    // The first commit gives the batch its number.
    dies_at(&two.dead, "commit done", 1);
    // The same bytes again: a duplicate there, and it must not become a first one here.
    two.dead.put("again.eml", letter("all", &["news"], &[]));
    two.dead.put("new.eml", letter("new", &["news"], &[]));
    dies_at(&two.dead, "commit", 1);
    let mill = two.heir.mill();
    let reclaimed = mill.reclaim("dead", &its_store(&two.dead)).unwrap();
    assert_eq!((reclaimed.taken, reclaimed.settled, reclaimed.refused), (1, 3, 1));
    two.heir.drain();
    assert_eq!(mill.reclaim("dead", &its_store(&two.dead)).unwrap(), Reclaimed::default());
    let account = two.heir.account();
    assert_eq!(account.items.len(), 1);
    let (_, name, _, problems) = account.failed.into_keys().next().unwrap();
    assert_eq!(name, "part.eml");
    assert_eq!(problems, [(Some("nobody@lists.example".to_owned()), "unknown-address".to_owned())]);
    assert!(two.heir.waiting().is_empty());
}

#[test]
fn everything_is_taken_when_the_store_is_lost_and_long_names_are_kept() {
    let two = two();
    two.dead.put("a.eml", letter("a", &["news"], &[]));
    two.dead.put(long_name(), letter("long", &["nobody"], &[]));
    dies_at(&two.dead, "commit", 1);
    assert_eq!(two.heir.mill().reclaim("dead", &Departed::Lost).unwrap().taken, 2);
    two.heir.drain();
    let account = two.heir.account();
    assert_eq!(account.items.len(), 1);
    assert_eq!(account.failed.into_keys().next().unwrap().1, long_name().to_string_lossy());
}

#[test]
fn another_store_than_its_own_is_not_asked() {
    let two = two();
    two.dead.put("a.eml", letter("a", &["news"], &[]));
    dies_at(&two.dead, "commit", 1);
    let error = two.heir.mill().reclaim("dead", &its_store(&two.heir)).unwrap_err();
    assert!(matches!(error, EngineError::ForeignStore { .. }), "{error}");
    // Its server is still the owner of its claims.
    two.dead.drain();
    assert_eq!(two.dead.account().items.len(), 1);
}

#[test]
fn a_claim_is_as_old_as_its_renaming_whatever_its_time_stamp_says() {
    let two = two();
    two.dead.put("a.eml", letter("a", &["news"], &[]));
    let file = fs::File::options().write(true).open(two.dead.config.incoming.drop_folder.join("a.eml")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(file);
    dies_at(&two.dead, "commit", 1);
    let spool = two.heir.mill().spool().unwrap();
    let mut strangers = spool.strangers().unwrap();
    let stranger = strangers.iter_mut().find(|stranger| stranger.answers_to("dead")).unwrap();
    assert_eq!(stranger.claims.len(), 1);
    assert!(stranger.oldest.unwrap() < Duration::from_mins(1) && !stranger.is_overdue());
    stranger.oldest = Some(Duration::from_mins(11));
    assert!(stranger.is_overdue());
}
