//! Any bytes as a signed mail: a bounded number of plain questions, one answer, of known words, and nothing passes without a key.

use std::cell::RefCell;

use mailmill::pipeline::dkim::{Checked, Key, check as check_mail};

/// The public keys of RFC 8463 appendix A.
const ED25519: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const RSA: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
const WORDS: [&str; 6] = ["pass", "fail", "neutral", "policy", "permerror", "temperror"];

/// Signatures of one mail that are checked.
const MOST: usize = 16;

pub fn check(mail: &[u8]) {
    let asked = RefCell::new(Vec::new());
    let first = check_mail(mail, &|name| {
        asked.borrow_mut().push(name.to_owned());
        None
    });
    let asked = asked.into_inner();
    assert!(asked.len() <= MOST, "{} names are asked for", asked.len());
    match first {
        Checked::Wants(wanted) => {
            assert!(!wanted.is_empty() && wanted.iter().all(|name| asked.contains(name)));
            for name in &wanted {
                assert!(name.contains("._domainkey.") && name.ends_with('.'), "{name:?}");
                assert_eq!(*name, name.to_lowercase());
            }
        }
        Checked::Results(results) => assert!(results.iter().all(|result| result.result != "pass")),
    }
    let without = results(mail, &|_| Key::none());
    assert!(without.iter().all(|(word, _)| word != "pass"), "passes without a key: {without:?}");
    let key = |name: &str| Key::of(&[if name.starts_with("test.") { RSA } else { ED25519 }.as_bytes().to_vec()]);
    let with = results(mail, &key);
    assert!(with.len() <= MOST, "{} results", with.len());
    assert_eq!(with.len(), without.len(), "one result for each signature, whatever its key is");
    assert_eq!(with, results(mail, &key), "the same bytes have the same results");
}

fn results(mail: &[u8], key: &dyn Fn(&str) -> Key) -> Vec<(String, Option<String>)> {
    match check_mail(mail, &|name| Some(key(name))) {
        Checked::Wants(names) => panic!("{names:?} are known"),
        Checked::Results(results) => {
            assert!(results.iter().all(|result| WORDS.contains(&result.result.as_str())), "{results:?}");
            results.into_iter().map(|result| (result.result, result.domain)).collect()
        }
    }
}
