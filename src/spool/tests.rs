//! The spool by itself, in a folder of the test's own: what each kind of file, each neighbour and each error does to it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::time::SystemTime;

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::model::item::LedgerEntry;
use crate::model::list::ItemId;
use crate::model::mail::MailId;
use crate::model::outcome::{End, Problem, Reason};
use crate::store::{ListStore, MemoryStore};

/// A server on a drop folder; several may share one.
struct Server {
    root: std::path::PathBuf,
    options: SpoolOptions,
    faults: std::sync::Arc<Faults>,
}

fn folder() -> TempDir {
    ignore_lease_signals();
    tempfile::tempdir().unwrap()
}

/// A server that has a folder to itself.
fn alone() -> (TempDir, Server, Spool) {
    let folder = folder();
    let server = Server::new(folder.path(), "a");
    let spool = server.spool();
    (folder, server, spool)
}

impl Server {
    fn new(root: &Path, label: &str) -> Self {
        let options = SpoolOptions {
            drop_folder: root.to_owned(),
            // Faults are found by it: each test has its own.
            label: format!("{label}-{}", root.file_name().unwrap().display()),
            remote_writers: false,
            settle_time: Duration::from_secs(2),
        };
        let faults = Faults::of(&options.label);
        Self { root: root.to_owned(), options, faults }
    }

    fn spool(&self) -> Spool {
        Spool::open(self.options.clone()).unwrap()
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.root.join(name), text).unwrap();
    }

    /// `1.eml` to `3.eml`, by their numbers.
    fn refuse_three(&self, spool: &Spool) {
        for number in 1..=3 {
            self.put(&format!("{number}.eml"), "x");
            refuse(spool, claim(spool, &format!("{number}.eml"), number));
        }
    }

    fn own(&self, folder: &str) -> BTreeSet<String> {
        names(&self.options.own_folder().join(folder))
    }

    /// The next call of this step fails.
    fn fails(&self, step: &'static str, errno: Errno) {
        self.faults.arm(At::Step(step, 0), Fault::Error(errno));
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

const fn id(number: u64) -> ClaimId {
    ClaimId { batch: 1, number }
}

fn claim(spool: &Spool, name: &str, number: u64) -> Claim {
    match spool.take(Entry::named(name.into()), id(number)) {
        Taken::Claim(claim) => claim,
        other => panic!("{name}: {other:?}"),
    }
}

fn note(claim: &Claim, reason: Reason) -> Note {
    let problem = Problem {
        id: claim.id().to_string(),
        file: claim.name(),
        mail_id: None,
        message_id: None,
        sender: None,
        recipient: None,
        outcome: reason.end().word().to_owned(),
        reason: reason.code().to_owned(),
        text: String::new(),
    };
    Note {
        id: claim.id().to_string(),
        file: claim.name(),
        mail_id: None,
        message_id: None,
        sender: None,
        time: String::new(),
        batch: 1,
        problems: vec![problem],
        delivered: Vec::new(),
    }
}

fn refuse(spool: &Spool, claim: Claim) {
    let note = note(&claim, Reason::UnknownAddress);
    spool.settle(claim, Settlement::SetAside { end: End::Refused, note }).unwrap();
}

/// What only a store can make.
fn receipt() -> crate::store::Receipt {
    let store = MemoryStore::default();
    let group = crate::store::Group { claims: vec![id(1)], ..Vec::new().into() };
    store.commit(group).unwrap().remove(0)
}

// What lies in a drop folder

#[test]
fn only_what_may_be_mail_is_listed_and_each_once() {
    let (folder, server, spool) = alone();
    for name in ["a.eml", "b", ".hidden", "c.eml"] {
        server.put(name, "x");
    }
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::create_dir(folder.path().join("folder.eml")).unwrap();
    let listed: Vec<Entry> = spool.list().unwrap().map(Result::unwrap).collect();
    let found: BTreeSet<_> = listed.iter().map(|entry| (entry.name.to_str().unwrap(), entry.regular)).collect();
    assert_eq!(listed.len(), found.len());
    assert_eq!(found, BTreeSet::from([("a.eml", true), ("b", true), ("c.eml", true), ("folder.eml", false)]));
}

#[test]
fn a_folder_that_cannot_be_listed_is_an_error_that_names_it() {
    let (folder, server, spool) = alone();
    for step in ["list", "read list"] {
        server.fails(step, Errno::IO);
        let failed = match spool.list() {
            Err(error) => error.to_string(),
            Ok(mut listing) => {
                let failed = listing.next().unwrap().unwrap_err().to_string();
                assert!(listing.next().is_none(), "it ends there");
                failed
            }
        };
        assert!(failed.contains("cannot list it") && failed.contains(folder.path().to_str().unwrap()), "{failed}");
    }
}

/// Several thousand names, read in stretches, while another server takes them all away.
#[test]
fn a_stretch_is_read_anew_when_its_files_are_gone() {
    let (folder, server, spool) = alone();
    for number in 0..3000 {
        server.put(&format!("{number}.eml"), "");
    }
    let mut listing = spool.list_to_claim(false).unwrap();
    let mut given = vec![listing.next().unwrap().unwrap().name];
    listing.won();
    for number in 0..3000 {
        let _ = fs::remove_file(folder.path().join(format!("{number}.eml")));
    }
    server.put("new.eml", "");
    while let Some(entry) = listing.next() {
        let name = entry.unwrap().name;
        if name == "new.eml" {
            listing.won();
        } else {
            listing.lost();
        }
        given.push(name);
    }
    assert!(given.len() < 20, "{} names were given that are long gone", given.len());
    assert!(given.iter().any(|name| name == "new.eml"), "what came meanwhile is found");
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len(), "each is given once");
    assert!(!listing.left_some());
}

/// A server that comes meanwhile: what falls to it is left for later, and taken in the end.
#[test]
fn a_server_that_comes_is_left_its_names_until_the_end() {
    let folder = folder();
    let (ours, other) = (Server::new(folder.path(), "a"), Server::new(folder.path(), "b"));
    let spool = ours.spool();
    let all = 400;
    for number in 0..all {
        ours.put(&format!("{number}.eml"), "");
    }
    let mut listing = spool.list_to_claim(false).unwrap();
    let mut given = Vec::new();
    let mut take = |entry: Entry, listing: &mut Listing<'_>| {
        fs::remove_file(folder.path().join(&entry.name)).unwrap();
        given.push(entry.name);
        listing.won();
    };
    let first = listing.next().unwrap().unwrap();
    take(first, &mut listing);
    let _theirs = other.spool();
    // Long enough to look around again.
    std::thread::sleep(Duration::from_millis(250));
    while let Some(entry) = listing.next() {
        take(entry.unwrap(), &mut listing);
    }
    assert_eq!(given.len(), all);
    let shares = share::Shares::look(&ours.options);
    let mine = given[1..].iter().take_while(|name| shares.is_mine(name)).count();
    assert!((all / 4..all * 3 / 4).contains(&mine), "{mine} of {all} came first");
}

#[test]
fn a_patient_server_leaves_young_files_to_the_one_they_fall_to() {
    let folder = folder();
    let (ours, other) = (Server::new(folder.path(), "a"), Server::new(folder.path(), "b"));
    let (spool, _theirs) = (ours.spool(), other.spool());
    for number in 0..100 {
        ours.put(&format!("{number}.eml"), "");
    }
    let mut listing = spool.list_to_claim(true).unwrap();
    // Neither won nor lost: they could not be claimed, and are not given a second time.
    let stayed = listing.by_ref().map(Result::unwrap).count();
    assert!(listing.left_some() && (20..80).contains(&stayed), "{stayed}");
}

// Opening a mail

#[test]
fn what_is_no_plain_file_of_its_own_is_told_by_its_kind() {
    let (folder, server, spool) = alone();
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("/etc/passwd", at("link.eml")).unwrap();
    rustix::fs::mknodat(CWD, at("pipe.eml"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _listener = UnixListener::bind(at("socket.eml")).unwrap();
    fs::create_dir(at("folder.eml")).unwrap();
    server.put("twice.eml", "x");
    fs::hard_link(at("twice.eml"), at("twice-more.eml")).unwrap();
    File::open(at("twice.eml")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let cases = [
        ("link.eml", "a symbolic link"),
        ("pipe.eml", "a named pipe"),
        ("socket.eml", "a socket"),
        ("folder.eml", "a folder"),
        ("twice.eml", "a file with several links"),
    ];
    for (number, (name, kind)) in (1..).zip(cases) {
        let looked = spool.drop.peek(&Entry::named(name.into()), 0, 100);
        assert_eq!(looked.unwrap_err().to_string(), kind, "{name}");
        // Such a file is claimed, and moves to damaged/ with its reason.
        let mut claim = claim(&spool, name, number);
        assert_eq!(claim.read(&spool, 0, 100).unwrap_err().to_string(), kind, "{name}");
        assert_eq!((claim.size(), claim.modified(), claim.is_whole()), (0, None, true));
        refuse(&spool, claim);
    }
    assert_eq!(server.own("refused").len(), 2 * cases.len());
    assert_eq!(drop_folder::kind_word(FileType::CharacterDevice), "a device");
    assert_eq!(drop_folder::kind_word(FileType::Symlink), "a symbolic link");
    assert_eq!(drop_folder::kind_word(FileType::Unknown), "not a regular file");
}

/// A program that delivers by link and unlink (maildrop, procmail) is between the two.
#[test]
fn a_second_link_may_be_gone_in_a_moment() {
    let (folder, server, spool) = alone();
    server.put("x.eml", "x");
    fs::hard_link(folder.path().join("x.eml"), folder.path().join(".tmp")).unwrap();
    assert!(matches!(spool.take(Entry::named("x.eml".into()), id(1)), Taken::Incomplete));
    fs::remove_file(folder.path().join(".tmp")).unwrap();
    claim(&spool, "x.eml", 2);
}

#[test]
fn a_file_that_somebody_writes_to_is_left_alone() {
    let (folder, _server, spool) = alone();
    let writer = File::create(folder.path().join("x.eml")).unwrap();
    assert!(matches!(spool.take(Entry::named("x.eml".into()), id(1)), Taken::Incomplete));
    drop(writer);
    let mut claim = claim(&spool, "x.eml", 2);
    assert_eq!(&*claim.read(&spool, 0, 100).unwrap(), b"");
}

/// Where leases see nothing, a file must have been still for a while, by the clock of its own file system.
#[test]
fn files_of_other_machines_must_have_been_still() {
    let folder = folder();
    let mut server = Server::new(folder.path(), "a");
    server.options.remote_writers = true;
    let spool = server.spool();
    server.put("x.eml", "text");
    let take = |number| spool.take(Entry::named("x.eml".into()), id(number));
    assert!(matches!(take(1), Taken::Incomplete));
    // A time from the future says nothing: the change time counts, and that is now.
    let file = File::open(folder.path().join("x.eml")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_hours(1)).unwrap();
    assert!(matches!(take(2), Taken::Incomplete));
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let Taken::Claim(mut claim) = take(3) else { panic!("it is old") };
    assert!(matches!(claim.read(&spool, 0, 100).unwrap(), Bytes::Copied(bytes) if bytes == b"text"));
    assert_eq!(claim.modified(), Some(0));
    // Changed behind our back: seen before anything is committed.
    fs::write(claim.path(&spool), "other text").unwrap();
    assert!(!claim.is_whole());
}

#[test]
fn a_mail_is_mapped_or_copied_by_its_size_and_refused_beyond_the_limit() {
    let (_folder, server, spool) = alone();
    server.put("x.eml", "0123456789");
    let mut claim = claim(&spool, "x.eml", 1);
    assert!(matches!(claim.read(&spool, 10, 10).unwrap(), Bytes::Mapped(map) if *map == *b"0123456789"));
    claim.close();
    assert_eq!((claim.size(), claim.modified()), (0, None));
    assert!(matches!(claim.read(&spool, 11, 10).unwrap(), Bytes::Copied(_)));
    // Read again without being opened again, there is nothing left of it.
    assert!(matches!(claim.read(&spool, 11, 10), Err(ReadError::Incomplete)));
    assert!(matches!(claim.read(&spool, 0, 9), Err(ReadError::TooLarge { size: 10 })));
    let mut read = Vec::new();
    claim.skim(|bytes| read.extend_from_slice(bytes)).unwrap();
    assert_eq!(read, b"0123456789");
    claim.close();
    claim.skim(|_| panic!("it is closed")).unwrap();
}

#[test]
fn errors_that_pass_by_themselves_are_told_from_those_that_stay() {
    let is_temporary = |errno: Errno| ReadError::Io(errno.into()).is_temporary();
    for errno in [Errno::MFILE, Errno::NOMEM, Errno::BUSY, Errno::STALE, Errno::TIMEDOUT] {
        assert!(is_temporary(errno), "{errno}");
    }
    for errno in [Errno::IO, Errno::ACCESS, Errno::NOENT, Errno::ROFS] {
        assert!(!is_temporary(errno), "{errno}");
    }
    assert!(!ReadError::Incomplete.is_temporary() && !ReadError::Io(io::Error::other("x")).is_temporary());
}

// Claiming

#[test]
fn what_the_file_system_answers_decides_what_becomes_of_a_file() {
    let (_folder, server, spool) = alone();
    let take = |number| spool.take(Entry::named("x.eml".into()), id(number));
    assert!(matches!(take(1), Taken::Gone), "it was never there");
    server.put("x.eml", "x");
    server.fails("open mail", Errno::MFILE);
    assert!(matches!(take(2), Taken::Stuck(_)));
    server.fails("claim", Errno::ACCESS);
    assert!(matches!(take(3), Taken::Stuck(error) if error.kind() == io::ErrorKind::PermissionDenied));
    assert_eq!(names(&server.root).len(), 2, "it stays where it is");
    // Not readable: it is claimed, and judged when it is read.
    server.fails("open mail", Errno::IO);
    let mut claim = claim(&spool, "x.eml", 4);
    server.fails("read claim", Errno::IO);
    assert!(matches!(claim.read(&spool, 0, 9), Err(ReadError::Io(_))));
    server.fails("look at claim", Errno::IO);
    assert!(matches!(claim.open(&spool), Err(ReadError::Io(_))));
    assert_eq!(claim.open(&spool).unwrap(), 1);
    // Another file under its name is the claim from then on.
    fs::remove_file(claim.path(&spool)).unwrap();
    fs::write(claim.path(&spool), "another").unwrap();
    assert_eq!(claim.open(&spool).unwrap(), 7);
}

#[test]
fn a_name_of_any_length_is_kept_even_where_there_is_no_room() {
    let (_folder, server, spool) = alone();
    let long = format!("{}.eml", "n".repeat(251));
    server.put(&long, "x");
    server.fails("side record", Errno::IO);
    assert!(matches!(spool.take(Entry::named(long.clone().into()), id(1)), Taken::Stuck(_)));
    server.fails("side record", Errno::NOSPC);
    let without = claim(&spool, &long, 2);
    assert_eq!((without.name(), server.own("claimed").len()), (long.clone(), 1), "the claim without its whole name");
    fs::rename(without.path(&spool), server.root.join(&long)).unwrap();
    drop(without);
    claim(&spool, &long, 3);
    assert_eq!(server.own("claimed").len(), 2);
    // A part of it, as a full disk leaves it, is not taken for the name.
    let record = server.options.own_folder().join("claimed/1-3.name");
    for part in ["", "nnn"] {
        fs::write(&record, part).unwrap();
        let spool = server.spool();
        let [claim] = spool.waiting_claims().unwrap().try_into().unwrap();
        assert!(long.starts_with(&claim.name()) && claim.name().len() > 200, "{}", claim.name());
    }
    fs::write(&record, &long).unwrap();
    // A new process finds the whole name; then nothing of it is left.
    let spool = server.spool();
    let [claim] = spool.waiting_claims().unwrap().try_into().unwrap();
    assert_eq!(claim.raw_name().as_bytes(), long.as_bytes());
    assert!(spool.waiting_claims().unwrap().is_empty(), "nobody takes it up a second time");
    assert_eq!((spool.waiting_ids(), spool.drop.waiting().len()), (HashSet::from([id(3)]), 1));
    spool.settle(claim, Settlement::Remove { receipt: receipt(), keep: Keep::Remove }).unwrap();
    assert!(server.own("claimed").is_empty());
}

/// NFS and SMB: a repeated request that succeeded the first time says that the file is not there.
#[test]
fn a_rename_that_arrived_is_believed_whatever_was_answered() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let dir = File::open(folder.path()).unwrap();
    let rename = |from: &str, to: &str| claim::rename_surely(dir.as_fd(), from.as_ref(), dir.as_fd(), to.as_ref());
    fs::write(at("here"), "").unwrap();
    assert_eq!(rename("gone", "here"), Ok(()));
    assert_eq!(rename("gone", "nowhere"), Err(Errno::NOENT));
    fs::write(at("new"), "").unwrap();
    assert_eq!(rename("new", "here"), Err(Errno::EXIST), "never over another");
    // EINVAL is also the answer of a file system that does not know NOREPLACE: then it is looked first.
    fs::create_dir(at("a")).unwrap();
    assert_eq!(rename("a", "a/b"), Err(Errno::INVAL));
}

// Settling

#[test]
fn a_claim_ends_where_its_settlement_says() {
    let (_folder, server, spool) = alone();
    for number in 1..=5 {
        server.put(&format!("{number}.eml"), "x");
    }
    let keep = || Keep::Done { date: "2026-01-31".to_owned() };
    let done = |claim, keep| spool.settle(claim, Settlement::Remove { receipt: receipt(), keep });
    done(claim(&spool, "1.eml", 1), Keep::Remove).unwrap();
    done(claim(&spool, "2.eml", 2), keep()).unwrap();
    done(claim(&spool, "3.eml", 3), keep()).unwrap();
    assert_eq!(server.own("done/2026-01-31").len(), 2);
    fs::create_dir(server.options.own_folder().join("done/notes")).unwrap();
    spool.purge_done("2026-01-31").unwrap();
    assert_eq!(server.own("done").len(), 2, "not before its day");
    spool.purge_done("2026-02-01").unwrap();
    assert_eq!(server.own("done"), BTreeSet::from(["notes".to_owned()]));
    let damaged = claim(&spool, "4.eml", 4);
    let note = note(&damaged, Reason::CrashedBefore);
    spool.settle(damaged, Settlement::SetAside { end: End::Damaged, note }).unwrap();
    assert_eq!(server.own("damaged").len(), 2);
    spool.settle(claim(&spool, "5.eml", 5), Settlement::Leave).unwrap();
    assert_eq!(server.own("claimed").len(), 1);
    // Gone already: it was removed by whoever else, and that is no error.
    let left = spool.waiting_claims().unwrap().remove(0);
    fs::remove_file(left.path(&spool)).unwrap();
    done(left, Keep::Remove).unwrap();
}

#[test]
fn a_settlement_that_fails_leaves_the_claim_where_it_is() {
    for step in ["remove", "make done", "move claim", "sync bytes", "note"] {
        let folder = folder();
        let server = Server::new(folder.path(), "a");
        let spool = server.spool();
        server.put("x.eml", "x");
        let claim = claim(&spool, "x.eml", 1);
        let settlement = match step {
            "remove" => Settlement::Remove { receipt: receipt(), keep: Keep::Remove },
            "make done" => Settlement::Remove { receipt: receipt(), keep: Keep::Done { date: "1".to_owned() } },
            _ => Settlement::SetAside { end: End::Refused, note: note(&claim, Reason::Loop) },
        };
        server.fails(step, Errno::IO);
        assert!(spool.settle(claim, settlement).is_err(), "{step}");
        assert!(server.faults.was_hit());
        let [again] = spool.waiting_claims().unwrap().try_into().unwrap();
        assert_eq!(again.name(), "x.eml", "{step}");
    }
}

/// It has moved, and is found there: only a power loss could undo that, and then it is a claim again.
#[test]
fn a_folder_that_cannot_be_synced_undoes_nothing() {
    let (_folder, server, spool) = alone();
    server.put("x.eml", "x");
    let claim = claim(&spool, "x.eml", 1);
    server.fails("sync folder", Errno::IO);
    refuse(&spool, claim);
    assert_eq!(spool.failed().unwrap().len(), 1);
}

// Refused and damaged mail

#[test]
fn a_failed_mail_is_shown_tried_again_or_thrown_away() {
    let (folder, server, spool) = alone();
    server.refuse_three(&spool);
    fs::create_dir(folder.path().join("4.eml")).unwrap();
    let claimed = spool.take(Entry { name: "4.eml".into(), regular: false }, id(4));
    let Taken::Claim(claimed) = claimed else { panic!("{claimed:?}") };
    refuse(&spool, claimed);
    // Of one the note is gone, and of one it says nothing.
    fs::remove_file(server.options.own_folder().join("refused/1-2.json")).unwrap();
    fs::write(server.options.own_folder().join("refused/1-3.json"), "?").unwrap();
    let failed = spool.failed().unwrap();
    let shown: Vec<_> = failed.iter().map(|mail| (mail.name(), mail.size.min(1), mail.note.is_some())).collect();
    let row = |name: &str, noted| (name.to_owned(), 1, noted);
    assert_eq!(shown, [row("1.eml", true), row("2.eml", false), row("3.eml", false), row("4.eml", true)]);
    assert!(failed[0].has_reason("unknown-address") && !failed[1].has_reason("unknown-address"));
    // Thrown away, a folder as well; then there is nothing to throw away.
    spool.discard(&failed[3]).unwrap();
    spool.discard(&failed[2]).unwrap();
    assert!(spool.discard(&failed[2]).is_err());
    server.fails("put back", Errno::IO);
    assert!(spool.retry(&failed[0]).is_err());
    server.faults.disarm();
    let again = spool.retry(&failed[0]).unwrap();
    assert_eq!((again.id(), again.name(), again.is_suspect()), (id(1), "1.eml".to_owned(), false));
    drop(again);
    // A note that a crash left is a stray: its mail is a claim, and may become one again.
    fs::write(server.options.own_folder().join("refused/9-9.json"), "{}").unwrap();
    let spool = server.spool();
    assert_eq!(server.own("refused"), BTreeSet::from(["1-2-2.eml".to_owned()]));
    assert_eq!(spool.waiting_claims().unwrap().len(), 1);
}

#[test]
fn who_was_told_of_a_refused_mail_is_told_once() {
    let (_folder, server, spool) = alone();
    server.refuse_three(&spool);
    let untold = |spool: &Spool| spool.untold().unwrap().iter().map(|mail| mail.id.number).collect::<Vec<_>>();
    assert_eq!(untold(&spool), [1, 2, 3]);
    server.fails("mark told", Errno::NOSPC);
    assert!(spool.mark_told(id(2), "sent").is_err());
    assert_eq!(untold(&spool), [1, 2, 3], "what is not marked is still to be told");
    spool.mark_told(id(2), "sent").unwrap();
    spool.mark_told(id(3), "null sender").unwrap();
    fs::write(server.options.own_folder().join("bounced/notes"), "").unwrap();
    assert_eq!(untold(&server.spool()), [1], "also after a crash");
    // The mark goes with its mail.
    let third = spool.failed().unwrap().remove(2);
    spool.discard(&third).unwrap();
    assert_eq!(untold(&spool), [1]);
    assert_eq!(server.own("bounced"), BTreeSet::from(["1-2".to_owned(), "notes".to_owned()]));
}

// The folder itself

#[test]
fn a_spool_that_cannot_work_says_why_before_it_takes_anything() {
    let folder = folder();
    let server = Server::new(folder.path(), "a");
    let error = |server: &Server| Spool::open(server.options.clone()).unwrap_err().to_string();
    for (step, said) in [
        ("make folder", "cannot create a folder"),
        ("probe", "cannot create a file"),
        ("probe rename", "cannot rename a file into .mailmill"),
    ] {
        server.fails(step, Errno::ROFS);
        assert!(error(&server).contains(said), "{step}");
        server.faults.disarm();
    }
    assert_eq!(names(folder.path()), BTreeSet::from([".mailmill".to_owned()]), "nothing of the trial is left");
    let nowhere = Server::new(&folder.path().join("nowhere"), "a");
    assert!(error(&nowhere).contains("cannot open it"));
}

#[test]
fn a_claim_folder_that_is_another_one_is_not_ours_any_more() {
    let (folder, server, spool) = alone();
    spool.check_ours().unwrap();
    let of_file = io::Error::from(Errno::ACCESS);
    spool.check_folder(&of_file).unwrap();
    let of_all = spool.check_folder(&Errno::ROFS.into()).unwrap_err();
    assert!(matches!(of_all, SpoolError::Folder { .. }));
    server.fails("check ours", Errno::IO);
    assert!(matches!(spool.check_ours(), Err(SpoolError::Io { .. })));
    let claimed = server.options.own_folder().join("claimed");
    fs::rename(&claimed, folder.path().join("away")).unwrap();
    assert!(matches!(spool.check_ours(), Err(SpoolError::NotOurs { .. })));
    fs::create_dir(&claimed).unwrap();
    assert!(matches!(spool.check_folder(&of_file), Err(SpoolError::NotOurs { .. })));
    fs::remove_dir(&claimed).unwrap();
    fs::write(&claimed, "").unwrap();
    assert!(matches!(spool.check_ours(), Err(SpoolError::NotOurs { .. })));
}

// Other servers

/// Taken from a server that is gone, by one rename; what it still claimed meanwhile is answered, and then it can claim no more.
#[test]
fn the_claims_of_a_dead_server_are_seen_seized_taken_over_and_closed() {
    let folder = folder();
    let (ours, theirs) = (Server::new(folder.path(), "a"), Server::new(folder.path(), "b"));
    let (spool, dead) = (ours.spool(), theirs.spool());
    let long = format!("{}.eml", "n".repeat(251));
    for (number, name) in (1..).zip(["1.eml", "2.eml", "3.eml", &long]) {
        theirs.put(name, name);
        claim(&dead, name, number);
    }
    let [stranger] = spool.strangers().unwrap().try_into().unwrap();
    assert!(!stranger.is_overdue() && stranger.claims.len() == 4 && stranger.answers_to(&theirs.options.label));
    assert_eq!(stranger.claims[3].name, *long, "the whole name");
    assert!(overdue(folder.path(), &ours.options.label).unwrap().is_empty());
    let seized = spool.seize(stranger).unwrap();
    assert!(seized.seized && spool.was_reclaimed(&theirs.options.label).unwrap());
    assert!(matches!(dead.check_ours(), Err(SpoolError::NotOurs { .. })));
    assert_eq!(spool.seize(seized.clone()).unwrap().folder, seized.folder, "once is enough");
    let [first, second, third, fourth] = &seized.claims[..] else { panic!("{seized:?}") };
    assert_eq!(first.mail_id().unwrap(), Some(MailId::of(b"1.eml")));
    assert!(spool.take_over(first, id(11)).unwrap() && spool.take_over(fourth, id(14)).unwrap());
    assert!(!spool.take_over(first, id(12)).unwrap(), "it is gone");
    assert_eq!(first.mail_id().unwrap(), None);
    let delivered = || LedgerEntry { claim: id(2), item: ItemId(1), time: 0 };
    assert!(spool.settle_delivered(second, delivered()).unwrap());
    assert!(!spool.settle_delivered(second, delivered()).unwrap());
    // It holds its folder open, and claims once more.
    theirs.put("5.eml", "5");
    claim(&dead, "5.eml", 5);
    let again = spool.close_seized(seized.clone()).unwrap().unwrap();
    assert_eq!(again.claims.len(), 2);
    let claimed = spool.waiting_claims().unwrap();
    assert_eq!(claimed.iter().map(Claim::name).collect::<Vec<_>>(), ["1.eml".to_owned(), long.clone()]);
    let note = note(&claimed[0], Reason::UnknownAddress);
    assert!(spool.set_aside_foreign(third, id(13), &note).unwrap());
    assert!(!spool.set_aside_foreign(third, id(15), &note).unwrap());
    assert!(spool.take_over(&again.claims[1], id(16)).unwrap());
    assert!(spool.close_seized(seized.clone()).unwrap().is_none());
    assert!(matches!(dead.take(Entry::named("6.eml".into()), id(6)), Taken::Gone));
    theirs.put("6.eml", "6");
    assert!(matches!(dead.take(Entry::named("6.eml".into()), id(6)), Taken::Gone), "there is nothing to claim into");
    assert!(spool.strangers().unwrap().is_empty() && spool.close_seized(seized).unwrap().is_none());
    assert_eq!(ours.own("refused").len(), 2);
    // The same server once more, and seized once more.
    let back = theirs.spool();
    theirs.put("7.eml", "7");
    claim(&back, "7.eml", 7);
    refuse(&back, claim(&back, "6.eml", 6));
    let [stranger] = spool.strangers().unwrap().try_into().unwrap();
    let seized = spool.seize(stranger).unwrap();
    assert!(seized.folder.to_string_lossy().ends_with(".reclaimed.2"));
    assert_eq!((seized.claims.len(), left_behind(&seized)), (1, 1));
}
