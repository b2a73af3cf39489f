//! Signatures checked by the binary itself, with a name server on loopback that has the keys, has none, fails, or says nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod common;

#[path = "common/dns.rs"]
mod dns;

use std::time::{Duration, Instant};

use common::Server;
use dns::{Said, name_server};
use hickory_resolver::proto::rr::rdata::TXT;
use hickory_resolver::proto::rr::{RData, RecordType};
use serde_json::json;

/// RFC 8463 appendix A.
const MAIL: &str = include_str!("../testdata/seeds/dkim/rfc8463.eml");
const KEY: [&str; 2] = ["v=DKIM1; k=ed25519; ", "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="];

/// By what the selector says: `brisbane` is a key in two strings, `broken` is SERVFAIL, `silent` is nothing, all else is not there.
fn keys(name: &str, _: RecordType) -> Said {
    match name.split('.').next().unwrap() {
        "brisbane" => Said::Records(vec![RData::TXT(TXT::new(KEY.map(str::to_owned).to_vec()))]),
        "broken" => Said::Broken,
        "silent" => Said::Silence,
        _ => Said::Nowhere,
    }
}

fn server() -> Server {
    let server = Server::with(&format!("[incoming]\ncheck_dkim = true\nname_servers = [\"{}\"]", name_server(keys)));
    server.list("news", "announcements", &["senders=any", "senders_verified=pass"]);
    server
}

/// The mail of the RFC with one of its signatures, whose key is elsewhere.
fn mail(selector: &str) -> String {
    let rsa = MAIL.find("DKIM-Signature: v=1; a=rsa").unwrap();
    let from = MAIL.find("From: Joe").unwrap();
    let signature = MAIL[..rsa].replace("s=brisbane", &format!("s={selector}"));
    format!("x-sender: joe@football.example.com\r\nx-receiver: news@lists.example\r\n{signature}{}", &MAIL[from..])
}

#[test]
fn a_signature_is_checked_with_the_key_that_the_name_server_has() {
    let server = server();
    for selector in ["brisbane", "nowhere", "broken"] {
        server.put(format!("{selector}.eml"), mail(selector));
    }
    let sheet = server.run();
    assert_eq!((sheet.n("delivered"), sheet.n("refused"), sheet.n("deferred")), (1, 1, 1));
    assert_eq!(sheet.problem("nowhere.eml")["reason"], "sender-forged");
    assert_eq!(sheet.problem("broken.eml")["reason"], "key-unavailable");
    let item = &server.items("news")[0];
    assert_eq!(item["authentication"]["dkim"], json!([{ "result": "pass", "domain": "football.example.com" }]));
    assert_eq!(item["authentication"]["aligned"], true);
    let shown = server.good(&["show", "news", &item["id"].to_string()]).text();
    assert!(shown.contains("dkim pass football.example.com"), "{shown}");
    // What waits is there, and is found again.
    let sheet = server.run();
    assert_eq!((sheet.n("found"), sheet.n("deferred")), (1, 1));
}

/// The other mail does not wait for it, and the batch ends.
#[test]
fn a_name_server_that_says_nothing_delays_nothing_else() {
    let server = server();
    for number in 0..200 {
        server.put(format!("silent-{number}.eml"), mail(&format!("silent.x{number}")));
    }
    server.put("good.eml", mail("brisbane"));
    let begin = Instant::now();
    let sheet = server.run();
    assert_eq!((sheet.n("delivered"), sheet.n("deferred")), (1, 200));
    // Each takes 10 seconds; all together hardly longer.
    assert!(begin.elapsed() < Duration::from_mins(1), "they were asked one after the other");
}

#[test]
fn a_name_server_must_be_an_address() {
    let server = Server::new();
    server.configure("[incoming]\ncheck_dkim = true\nname_servers = [\"ns.example\"]");
    server.ask(&["run"]).ends(2).says("name server `ns.example` must be an IP address");
}
