//! Power loss as far as it can be had without pulling the plug: the store's log ends anywhere after its last sync, and each
//! claim may be where it was before. What was promised is there, and what was not is done again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Account, Server, folder, letter, run, tell};
use crate::model::list::Kind;
use crate::spool::{At, Fault};
use crate::store::RocksStore;

fn server(folder: &Path) -> Server {
    let store = RocksStore::open(&folder.join("a")).unwrap();
    let mut server = Server::with_store(folder, "a", Arc::new(store));
    server.config.limits.group_mails = 4;
    server
}

fn fill(server: &Server) {
    server.list("news", Kind::Announcements, |list| list.save_original = true);
    server.list("docs", Kind::DocumentLibrary, |list| list.overwrite = true);
    for number in 0..12 {
        let subject = format!("mail-{number}");
        server.put(format!("{subject}.eml"), letter(&subject, &["news", "docs"], &[("report.txt", &subject)]));
    }
    server.put("again.eml", letter("mail-1", &["news", "docs"], &[("report.txt", "mail-1")]));
    server.put("in-part.eml", letter("in-part", &["news", "nobody"], &[]));
    server.put("refused.eml", letter("refused", &["nobody"], &[]));
    server.put("empty.eml", b"");
}

/// The newest log of the store, and how long it is.
fn log(folder: &Path) -> (PathBuf, u64) {
    let entries = fs::read_dir(folder.join("a/db")).unwrap().flatten().map(|entry| entry.path());
    let newest = entries.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap();
    let length = fs::metadata(&newest).unwrap().len();
    (newest, length)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_log_cut_anywhere_after_its_last_sync_loses_no_mail_and_doubles_none() {
    let lucky = folder();
    let wanted = {
        let server = server(lucky.path());
        fill(&server);
        server.drain();
        server.account()
    };
    let mut cuts = 0;
    for number in 0.. {
        let unlucky = folder();
        let server = server(unlucky.path());
        fill(&server);
        let synced = Arc::new(Mutex::new(log(unlucky.path())));
        let (slot, path) = (Arc::clone(&synced), unlucky.path().to_owned());
        server.each("commit", move || {
            *slot.lock().unwrap() = log(&path);
            false
        });
        // The group is in the log, and the power fails before anybody hears that it is synced.
        server.faults.arm(At::Step("commit done", number), Fault::Death);
        run(&server.mill());
        let hit = server.faults.was_hit();
        server.faults.disarm();
        let (name, synced) = synced.lock().unwrap().clone();
        let (newest, length) = log(unlucky.path());
        assert_eq!(name, newest);
        let wanted_cuts = [synced, synced + 1, synced + 7, u64::midpoint(synced, length), length - 1, length];
        for (at, cut) in wanted_cuts.into_iter().enumerate().filter(|(_, cut)| (synced..=length).contains(cut)) {
            let image = folder();
            copy(unlucky.path(), image.path());
            let log = image.path().join(newest.strip_prefix(unlucky.path()).unwrap());
            fs::File::options().write(true).open(log).unwrap().set_len(cut).unwrap();
            let account = recovered(image.path(), at);
            assert_eq!(account, wanted, "commit {number}, log cut at {cut} of {synced} to {length}");
            cuts += 1;
        }
        if !hit {
            break;
        }
    }
    assert!(cuts > 20, "{cuts}");
    tell("the log of the store cut after its last sync", cuts, cuts * 16);
}

fn recovered(folder: &Path, at: usize) -> Account {
    let server = server(folder);
    // Renames that were not synced may be undone or not, each for itself.
    server.undo_claims(|claim| claim.id().number.is_multiple_of(at as u64 + 1));
    server.drain();
    assert!(server.waiting().is_empty());
    server.account()
}
