//! Mail whose signatures are checked: keys that come late, never, or only for the next batch.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::*;
use crate::engine::{Found, KeyResolver};
use crate::model::list::Kind;
use crate::model::settings::Verified;

/// RFC 8463 appendix A.
const MAIL: &str = include_str!("../../../testdata/seeds/dkim/rfc8463.eml");
const ED25519: &str = "brisbane._domainkey.football.example.com.";
const RSA: &str = "test._domainkey.football.example.com.";
const KEY: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const LONG: Duration = Duration::from_hours(1);

/// Answers on a thread of its own, after a while.
#[derive(Clone)]
struct Names {
    found: Arc<Mutex<BTreeMap<&'static str, Found>>>,
    asked: Arc<AtomicU64>,
}

impl Names {
    fn with(found: &[(&'static str, Found)]) -> Self {
        let found = found.iter().cloned().collect();
        Self { found: Arc::new(Mutex::new(found)), asked: Arc::default() }
    }
}

impl KeyResolver for Names {
    fn look_up(&self, name: &str, answer: Box<dyn FnOnce(Found) + Send>) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let found = self.found.lock().unwrap().get(name).cloned().unwrap_or(Found::Nothing { valid: LONG });
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            answer(found);
        });
    }
}

fn records() -> Found {
    Found::Records { records: vec![KEY.into()], valid: LONG }
}

/// A list that wants to know who wrote, and one that does not.
fn server(folder: &std::path::Path) -> Server {
    let mut server = Server::new(folder, "a");
    server.config.incoming.check_dkim = true;
    server.list("strict", Kind::Announcements, |list| list.senders_verified = Verified::Pass);
    server.list("open", Kind::Announcements, |_| ());
    server
}

fn mail(to: &[&str]) -> String {
    let envelope: Vec<String> = to.iter().map(|list| format!("x-receiver: {list}@lists.example\r\n")).collect();
    format!("x-sender: joe@football.example.com\r\n{}{MAIL}", envelope.concat())
}

fn mill(server: &Server, names: &Names) -> Mill {
    let mut mill = server.mill();
    mill.look_up_keys_with(Box::new(names.clone()));
    mill
}

fn items(server: &Server, list: &str) -> Vec<Item> {
    let found = server.store.lists().unwrap().into_iter().find(|found| found.name == list).unwrap();
    server.store.items(found.id, ItemId(0), 100).unwrap().into_iter().map(|(_, item)| item).collect()
}

#[test]
fn a_signed_mail_is_delivered_with_what_was_found_out() {
    let folder = folder();
    let server = server(folder.path());
    let names = Names::with(&[(ED25519, records())]);
    let mill = mill(&server, &names);
    for number in 0..40 {
        server.put(format!("{number}.eml"), mail(&["strict", "open"]).replace("Hi.", "Hi. "));
        server.put(format!("{number}-again.eml"), mail(&["strict"]));
    }
    server.put("unsigned.eml", "x-receiver: strict@l.example\r\nFrom: a@football.example.com\r\n\r\nx\r\n");
    let sheet = run(&mill).sheet;
    assert_eq!((sheet.delivered, sheet.duplicates, sheet.refused, sheet.deferred), (2, 78, 1, 0), "{sheet:?}");
    assert_eq!(sheet.problems[0].reason, "sender-forged");
    let found = items(&server, "open")[0].authentication.clone().unwrap();
    let said: Vec<_> = found.dkim.iter().map(|dkim| (dkim.result.as_str(), dkim.domain.as_deref())).collect();
    assert_eq!((found.authserv_id.as_str(), found.aligned), ("a", true));
    let football = Some("football.example.com");
    assert_eq!(said, [("pass", football), ("permerror", football)], "there is no second key");
    let asked = names.asked.load(Ordering::Relaxed);
    run(&mill);
    assert_eq!(names.asked.load(Ordering::Relaxed), asked, "known keys are not asked for again");
}

#[test]
fn a_mail_whose_key_cannot_be_looked_up_waits_where_it_matters() {
    let folder = folder();
    let server = server(folder.path());
    let failed = || Found::Failed("no answer".to_owned());
    let names = Names::with(&[(ED25519, failed()), (RSA, failed())]);
    server.put("open.eml", mail(&["open"]));
    server.put("strict.eml", mail(&["strict", "open"]));
    for _ in 0..2 {
        let sheet = run(&mill(&server, &names)).sheet;
        assert_eq!(sheet.deferred, 1, "{sheet:?}");
        let problem = &sheet.problems[0];
        assert_eq!((problem.reason.as_str(), problem.outcome.as_str()), ("key-unavailable", "deferred"));
        assert_eq!(problem.recipient.as_deref(), Some("strict@lists.example"));
        assert!(problem.text.contains("football.example.com"), "{}", problem.text);
    }
    let open = &items(&server, "open")[0];
    assert_eq!(open.authentication.as_ref().unwrap().dkim[0].result, "temperror", "who does not ask has it");
    assert!(items(&server, "strict").is_empty());
    names.found.lock().unwrap().insert(ED25519, records());
    let sheet = run(&mill(&server, &names)).sheet;
    assert_eq!((sheet.delivered, sheet.deferred), (1, 0), "{sheet:?}");
    assert_eq!((items(&server, "strict").len(), items(&server, "open").len()), (1, 2));
    server.account();
}

/// What it is refused with after days is what it would be refused with at once, had the key not been there.
#[test]
fn after_days_a_mail_waits_no_more() {
    let folder = folder();
    let server = server(folder.path());
    let failed = Found::Failed("no answer".to_owned());
    let names = Names::with(&[(ED25519, failed.clone()), (RSA, failed)]);
    server.put("x.eml", mail(&["strict", "open"]));
    let path = server.config.incoming.drop_folder.join("x.eml");
    let days = |count: u64| SystemTime::now() - Duration::from_hours(count * 24);
    fs::File::options().write(true).open(path).unwrap().set_modified(days(4)).unwrap();
    let sheet = run(&mill(&server, &names)).sheet;
    assert_eq!((sheet.refused, sheet.deferred, sheet.items), (1, 0, 1), "{sheet:?}");
    assert_eq!(sheet.problems[0].reason, "sender-forged");
    assert_eq!(items(&server, "open").len(), 1, "the other list has it");
}

#[test]
fn a_dry_run_looks_keys_up_too() {
    let folder = folder();
    let server = server(folder.path());
    let names = Names::with(&[(ED25519, records()), (RSA, Found::Failed("no answer".to_owned()))]);
    server.put("x.eml", mail(&["strict"]));
    let mut routes = Vec::new();
    let result = mill(&server, &names).dry_run(None, &Progress::default(), &mut |route| routes.push(route));
    assert_eq!((result.sheet.delivered, routes[0].outcome.as_str()), (1, "delivered"));
    names.found.lock().unwrap().insert(ED25519, Found::Failed("no answer".to_owned()));
    let result = mill(&server, &names).dry_run(None, &Progress::default(), &mut |route| routes.push(route));
    assert_eq!((result.sheet.deferred, routes[1].reason.as_deref()), (1, Some("key-unavailable")));
    assert!(result.sheet.balanced);
}

#[test]
fn a_trusted_server_is_believed_and_nobody_is_asked() {
    let folder = folder();
    let mut server = server(folder.path());
    server.config.incoming.trusted_authserv = vec!["mx.example".to_owned()];
    let names = Names::with(&[]);
    let field = "Authentication-Results: mx.example; dkim=pass header.d=football.example.com\r\nDKIM-Signature";
    server.put("x.eml", mail(&["strict"]).replacen("DKIM-Signature", field, 1));
    assert_eq!(run(&mill(&server, &names)).sheet.delivered, 1);
    assert_eq!(names.asked.load(Ordering::Relaxed), 0);
}
