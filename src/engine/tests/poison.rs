//! Mail that is suspected of having killed a process: condemned when it died alone too often, else delivered like any other.

use std::fs;

use super::{Server, folder, letter, run};
use crate::engine::{Progress, Work};
use crate::model::list::Kind;
use crate::spool::{At, Fault};

#[test]
fn what_died_alone_three_times_is_damaged_and_what_was_in_flight_beside_it_is_delivered() {
    let folder = folder();
    let server = Server::new(folder.path(), "a");
    server.list("news", Kind::Announcements, |_| ());
    fs::create_dir_all(&server.config.store).unwrap();
    for subject in ["poison", "innocent", "bystander"] {
        server.put(format!("{subject}.eml"), letter(subject, &["news"], &[]));
    }
    server.faults.arm(At::Step("commit", 1), Fault::Death);
    run(&server.mill());
    server.faults.disarm();
    let spool = server.mill().spool().unwrap();
    let claims = spool.waiting_claims().unwrap();
    let line = |name: &str, deaths: u32| {
        let claim = claims.iter().find(|claim| claim.name() == name).unwrap();
        format!("{} {deaths}\n", claim.id())
    };
    let suspects = server.config.store.join("suspects");
    fs::write(&suspects, line("poison.eml", 3) + &line("innocent.eml", 2) + "99-99 1\n").unwrap();
    server.drain();
    let account = server.account();
    assert_eq!(account.items.len(), 2);
    let (folder, name, _, problems) = account.failed.into_keys().next().unwrap();
    assert_eq!((folder, name.as_str()), ("damaged", "poison.eml"));
    assert_eq!(problems, [(None, "crashed-before".to_owned())]);
    assert!(!suspects.exists());
    // A person may try it again: it is judged, with nothing beside it.
    let mill = server.mill();
    let spool = mill.spool().unwrap();
    let claims: Vec<_> = spool.failed().unwrap().iter().map(|mail| spool.retry(mail).unwrap()).collect();
    assert!(claims[0].is_suspect());
    assert_eq!(mill.run(Work::Claims(claims), &Progress::default()).sheet.delivered, 1);
    assert_eq!(server.account().items.len(), 3);
}
