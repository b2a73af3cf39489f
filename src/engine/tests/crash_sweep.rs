//! The crash sweep: each story is told again and again, and each time the next of its calls to the file system or the store
//! fails, as an error or as the end of the process; until the story comes to its end. Then the server is opened anew and
//! drained, and everything must be where it is on a server that had no such luck.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use tempfile::TempDir;

use super::{Account, Server, folder, letter, long_name, run, tell};
use crate::engine::{Departed, Mill, Progress, Work};
use crate::model::list::Kind;
use crate::model::settings::Folders;
use crate::spool::{At, Fault};

/// What may happen at each call, and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luck {
    /// The process dies.
    Death,
    /// It dies, and again while it recovers.
    Deaths,
    /// The power fails: what was renamed and not synced is where it was before.
    PowerLoss,
    /// The call answers an error. A full table of open files passes by itself, another error does not.
    Error(Errno),
}

const ALL: [Luck; 5] = [Luck::Death, Luck::Deaths, Luck::PowerLoss, Luck::Error(Errno::IO), Luck::Error(Errno::MFILE)];

impl Luck {
    const fn fault(self) -> Fault {
        match self {
            Self::Error(errno) => Fault::Error(errno),
            _ => Fault::Death,
        }
    }

    /// What happens between the fault and the recovery.
    fn strike_again(self, server: &Server, number: usize) {
        match self {
            Self::Deaths => {
                server.faults.arm(At::Call(number * 7 % 50), Fault::Death);
                if let Ok(mill) = Mill::new(server.config.clone(), server.store.clone()) {
                    run(&mill);
                }
                server.faults.disarm();
            }
            Self::PowerLoss => server.undo_claims(|claim| claim.id().number % 2 == number as u64 % 2),
            Self::Death | Self::Error(_) => {}
        }
    }
}

/// A server with a folder of every kind of mail.
fn server(folder: &Path) -> Server {
    let server = Server::new(folder, "a");
    lists(&server);
    let attached = |subject: &str, to: &[&str], content| letter(subject, to, &[("report.txt", content)]);
    let long = long_name();
    let mut longer = long.clone();
    longer.push("x");
    let longer = &longer.to_string_lossy()[1..];
    for (name, mail) in [
        ("plain.eml", letter("plain", &["news"], &[])),
        ("two-lists.eml", attached("two-lists", &["news", "docs"], "first")),
        ("version.eml", attached("version", &["docs"], "second")),
        ("free-name-1.eml", attached("free-name-1", &["files"], "first")),
        ("free-name-2.eml", attached("free-name-2", &["files"], "third")),
        ("again-1.eml", letter("again", &["news"], &[])),
        ("again-2.eml", letter("again", &["news"], &[])),
        ("again-3.eml", letter("again", &["news"], &[])),
        ("in-part.eml", attached("in-part", &["news", "nobody", "docs", "closed"], "fourth")),
        ("in-part-again.eml", attached("in-part", &["news", "nobody", "docs", "closed"], "fourth")),
        ("refused.eml", letter("refused", &["nobody"], &[])),
        ("closed.eml", letter("closed", &["closed"], &[])),
        ("empty.eml", Vec::new()),
        ("junk.eml", b"\0\xffjunk".to_vec()),
        ("no-envelope.eml", b"Subject: x\r\n\r\nx".to_vec()),
        (long.to_str().unwrap(), letter("long", &["news"], &[])),
        (longer, letter("longer", &["nobody"], &[])),
    ] {
        server.put(name, mail);
    }
    symlink("plain.eml", server.config.incoming.drop_folder.join("link.eml")).unwrap();
    server
}

fn lists(server: &Server) {
    server.list("news", Kind::Announcements, |list| list.save_original = true);
    server.list("docs", Kind::DocumentLibrary, |list| {
        list.overwrite = true;
        list.folders = Folders::Sender;
    });
    server.list("files", Kind::DocumentLibrary, |_| ());
    server.list("closed", Kind::Blog, |list| list.receive = false);
}

/// Tells a story with every fault at every call. `before` is what the story needs, and cannot fail; `account` is compared.
fn sweep(
    name: &str,
    before: impl Fn(&Path) -> Server,
    story: impl Fn(&Server, &Mill),
    after: impl Fn(&Server) -> Account,
) {
    let lucky: TempDir = folder();
    let server = before(lucky.path());
    story(&server, &server.mill());
    server.drain();
    let wanted = after(&server);
    assert!(wanted.is_once_each());
    let mut runs = 0;
    for luck in ALL {
        let mut number = 0;
        loop {
            let unlucky = folder();
            let server = before(unlucky.path());
            server.faults.arm(At::Call(number), luck.fault());
            if let Ok(mill) = Mill::new(server.config.clone(), server.store.clone()) {
                story(&server, &mill);
            }
            let (hit, steps) = (server.faults.was_hit(), server.faults.steps());
            server.faults.disarm();
            luck.strike_again(&server, number);
            server.drain();
            assert_eq!(after(&server), wanted, "{luck:?} at call {number}: {:?}", steps.last());
            if !hit {
                break;
            }
            number += 1;
        }
        assert!(number > 10, "only {number} calls");
        println!("{luck:?} at each of {number} calls");
        runs += number as u64;
    }
    tell(name, runs, runs * 18);
}

fn account(server: &Server) -> Account {
    assert!(server.waiting().is_empty(), "{:?}", server.waiting());
    server.account()
}

#[test]
fn a_batch_that_fails_or_dies_at_any_call_is_finished_by_the_next_with_every_mail_exactly_once() {
    sweep(
        "a batch, each call fails or is the last",
        server,
        |_, mill| {
            run(mill);
        },
        account,
    );
}

#[test]
fn a_batch_that_writes_its_attachments_ahead_fails_or_dies_at_any_call_and_has_each_once() {
    let ahead = |folder: &Path| {
        let mut server = server(folder);
        server.config.limits.bulk_from = 1;
        // Several groups, so that one finds what another has on its way.
        server.config.limits.group_mails = 5;
        server
    };
    let story = |_: &Server, mill: &Mill| {
        run(mill);
    };
    // A death between the taking in and the commit leaves bytes that nothing names: that is room, no mail, and can be had back.
    let account = |server: &Server| {
        let report = server.mill().verify(true).unwrap();
        assert!(report.sound, "{report:?}");
        account(server)
    };
    sweep("a batch with bulk, likewise", ahead, story, account);
}

#[test]
fn a_batch_whose_mails_are_kept_fails_or_dies_at_any_call_and_keeps_each_file_once() {
    let keeps = |folder: &Path| {
        let mut server = server(folder);
        server.config.incoming.keep = crate::config::Keep::Done;
        server
    };
    let account = |server: &Server| {
        let done = std::fs::read_dir(server.own().join("done")).unwrap().flatten();
        let kept: usize = done.map(|date| std::fs::read_dir(date.path()).unwrap().count()).sum();
        assert_eq!(kept, 9, "as many as were delivered or duplicates");
        account(server)
    };
    sweep(
        "a batch with keep = done, likewise",
        keeps,
        |_, mill| {
            run(mill);
        },
        account,
    );
}

#[test]
fn a_retry_that_fails_or_dies_at_any_call_delivers_only_to_recipients_that_have_nothing_yet() {
    let before = |folder: &Path| {
        let server = server(folder);
        run(&server.mill());
        server.list("nobody", Kind::Announcements, |_| ());
        server
    };
    let story = |_: &Server, mill: &Mill| {
        let Ok(spool) = mill.spool() else { return };
        let Ok(failed) = spool.failed() else { return };
        let claims: Vec<_> = failed.iter().filter_map(|mail| spool.retry(mail).ok()).collect();
        mill.run(Work::Claims(claims), &Progress::default());
    };
    // What the crash kept from being tried again is tried again now.
    let after = |server: &Server| {
        story(server, &server.mill());
        account(server)
    };
    sweep("a retry, likewise", before, story, after);
}

#[test]
fn a_discard_that_fails_or_dies_at_any_call_throws_away_that_mail_and_no_other() {
    let before = |folder: &Path| {
        let server = server(folder);
        run(&server.mill());
        server
    };
    let story = |_: &Server, mill: &Mill| {
        let Ok(spool) = mill.spool() else { return };
        let Ok(failed) = spool.failed() else { return };
        let Some(mail) = failed.iter().find(|mail| mail.name() == "refused.eml") else { return };
        if mill.note_discarded(mail).is_ok() {
            let _ = spool.discard(mail);
        }
    };
    let after = |server: &Server| {
        story(server, &server.mill());
        account(server)
    };
    sweep("a discard, likewise", before, story, after);
}

#[test]
fn a_list_whose_deletion_fails_or_dies_at_any_call_is_gone_with_all_its_items_in_the_end() {
    let before = |folder: &Path| {
        let server = server(folder);
        run(&server.mill());
        server
    };
    let story = |_: &Server, mill: &Mill| {
        let _ = mill.lists().delete("docs");
    };
    let after = |server: &Server| {
        story(server, &server.mill());
        server.mill().verify(true).unwrap();
        account(server)
    };
    sweep("a deletion of a list, likewise", before, story, after);
}

#[test]
fn a_reclaim_that_fails_or_dies_at_any_call_is_run_again_and_loses_and_doubles_nothing() {
    for lost in [false, true] {
        let before = |folder: &Path| {
            let dead = self::server(folder);
            // The same bytes claimed by two servers with stores of their own are delivered by both, as README says.
            for twice in ["again-2.eml", "again-3.eml", "in-part-again.eml"] {
                std::fs::remove_file(dead.config.incoming.drop_folder.join(twice)).unwrap();
            }
            // With and without the store: what was committed there may be delivered again only when it is lost.
            dead.faults.arm(if lost { At::Step("commit", 1) } else { At::Step("remove", 1) }, Fault::Death);
            run(&dead.mill());
            dead.faults.disarm();
            let heir = Server::new(folder, "heir");
            lists(&heir);
            DEAD.with_borrow_mut(|slot| *slot = Some(dead));
            heir
        };
        let story = |_: &Server, mill: &Mill| {
            DEAD.with_borrow(|dead| {
                let dead = dead.as_ref().unwrap();
                let departed = if lost { Departed::Lost } else { Departed::Store(Arc::clone(&dead.store.inner)) };
                let _ = mill.reclaim("a", &departed);
            });
        };
        let after = |server: &Server| {
            story(server, &server.mill());
            server.drain();
            let mut account = account(server);
            DEAD.with_borrow(|dead| dead.as_ref().unwrap().add_items(&mut account));
            // Which of the two had refused a file, and which has which version, depends on when the other died.
            account.files.clear();
            account.failed.clear();
            account
        };
        sweep("a reclaim, likewise", before, story, after);
    }
}

thread_local! {
    static DEAD: std::cell::RefCell<Option<Server>> = const { std::cell::RefCell::new(None) };
}
