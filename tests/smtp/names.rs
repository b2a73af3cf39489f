//! What `doctor` says of the names of a service, with a name server of the test's own.

use hickory_resolver::proto::rr::rdata::{A, MX, PTR};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use serde_json::json;

use crate::common::*;
use crate::dns::{Said, name_server};

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// `mill.example` is what its reverse name says, `bad.example` is not; `lists.example` sends its mail to the first, `other.example`
/// elsewhere, `plain.example` has an address alone.
fn zone(asked: &str, kind: RecordType) -> Said {
    let records = |records| Said::Records(records);
    match (asked, kind) {
        ("mill.example", RecordType::A) => records(vec![RData::A(A::new(192, 0, 2, 1))]),
        ("bad.example", RecordType::A) => records(vec![RData::A(A::new(192, 0, 2, 2))]),
        ("plain.example", RecordType::A) => records(vec![RData::A(A::new(192, 0, 2, 3))]),
        ("1.2.0.192.in-addr.arpa", RecordType::PTR) => records(vec![RData::PTR(PTR(name("mill.example.")))]),
        ("2.2.0.192.in-addr.arpa", RecordType::PTR) => records(vec![RData::PTR(PTR(name("host-2.isp.example.")))]),
        ("lists.example", RecordType::MX) => records(vec![RData::MX(MX::new(10, name("mill.example.")))]),
        ("other.example", RecordType::MX) => records(vec![RData::MX(MX::new(10, name("mx.elsewhere.example.")))]),
        _ => Said::Nowhere,
    }
}

#[test]
fn doctor_says_what_the_world_sees_of_a_service_and_its_domains() {
    let asked = name_server(zone);
    let server = Server::new();
    let found = |host: &str, domains: &[&str]| {
        server.configure(&format!(
            "[incoming]\nname_servers = [\"{asked}\"]\naccepted_domains = {domains:?}\n[smtp]\nhost_name = \"{host}\"\nlisten = []\n"
        ));
        let checks = server.ask(&["doctor", "--json"]).objects();
        let dns = checks.into_iter().filter(|check| text(&check["check"]).starts_with("dns"));
        dns.map(|check| (text(&check["state"]), text(&check["text"]))).collect::<Vec<_>>()
    };
    let good = found("mill.example", &["lists.example", "other.example", "plain.example", "nowhere.example"]);
    let states: Vec<&str> = good.iter().map(|(state, _)| state.as_str()).collect();
    assert_eq!(json!(states), json!(["good", "good", "good", "good", "warning"]), "{good:?}");
    for (number, part) in [
        (0, "192.0.2.1 is mill.example"),
        (1, "mail for lists.example goes to mill.example"),
        (2, "does that server pass it on"),
        (3, "plain.example has no MX record"),
        (4, "no mail will come for it"),
    ] {
        assert!(good[number].1.contains(part), "{}", good[number].1);
    }
    let bad = found("bad.example", &[]);
    assert!(bad[0].0 == "warning" && bad[0].1.contains("the reverse name of 192.0.2.2 is not bad.example"), "{bad:?}");
    let nowhere = found("nowhere.example", &[]);
    assert!(nowhere[0].0 == "warning" && nowhere[0].1.contains("has no address record"), "{nowhere:?}");
}
