//! The DKIM signatures of a mail (RFC 6376, RFC 8301, RFC 8463), checked with keys that are known already. Asks nobody: it says
//! which keys it misses, and whoever may wait looks them up.

use std::borrow::Cow;
use std::future::Future;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use mail_auth::crypto::Algorithm;
use mail_auth::dkim::{DkimError, DomainKey, Signature, VerifySignature};
use mail_auth::dns::TxtRecordParser;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DnsCache, DnsError, Error, MessageAuthenticator, NoCache, Parameters,
    ResolverCache, TxtRecord,
};

use crate::model::mail::AuthResult;

/// A mail has one signature or two, and after many hops a few more. Of a mail with more than these none is checked.
const MOST_SIGNATURES: usize = 16;
/// Header fields that one signature may name; a field is looked for in the whole header.
const MOST_NAMED: usize = 256;
/// Header fields of a mail whose signatures are checked.
const MOST_FIELDS: usize = 10_000;
/// Bytes of an RSA signature, which is as long as its key: shorter keys are not to be trusted (RFC 8301 section 3.2).
const LEAST_RSA: usize = 1024 / 8;

/// What is known of a name that may hold the key of a domain.
#[derive(Clone)]
pub struct Key(TxtRecord);

impl Key {
    /// Of the TXT records found there, each with its strings put together.
    pub fn of(records: &[Vec<u8>]) -> Self {
        Self(DomainKey::parse_records(records).into())
    }

    /// The name holds no record.
    pub fn none() -> Self {
        Self(TxtRecord::Error(Error::Dns(DnsError::RecordNotFound(ResponseCode::NXDomain))))
    }

    /// The name could not be looked up; another time it may.
    pub fn unavailable(why: String) -> Self {
        Self(TxtRecord::Error(Error::Dns(DnsError::Resolver(why))))
    }

    /// Its domain only tries DKIM out (`t=y`): mail is to be treated as if it were not signed (RFC 6376 section 3.6.1).
    fn is_on_trial(&self) -> bool {
        matches!(&self.0, TxtRecord::DomainKey(key) if key.is_testing())
    }
}

pub enum Checked {
    /// A result for each signature, with the domain that signed. None: the mail is not signed.
    Results(Vec<AuthResult>),
    /// The keys at these names have to be looked up first.
    Wants(Vec<String>),
}

/// Checks the signatures of a mail as it came, without envelope lines.
pub fn check(original: &[u8], known: &dyn Fn(&str) -> Option<Key>) -> Checked {
    let Some(message) = AuthenticatedMessage::parse(original).filter(is_signed) else {
        return Checked::Results(Vec::new());
    };
    // Signatures are made over the form that is sent, in which lines end with CRLF (RFC 6376 section 5.3).
    match with_crlf(original) {
        Cow::Borrowed(_) => check_message(message, known),
        Cow::Owned(sent) => match AuthenticatedMessage::parse(&sent) {
            Some(message) => check_message(message, known),
            None => Checked::Results(Vec::new()),
        },
    }
}

fn is_signed(message: &AuthenticatedMessage<'_>) -> bool {
    !message.dkim_signatures().is_empty() || message.has_dkim_errors()
}

/// Lines that end with LF alone end with CRLF. Borrowed where the header has none: a file is written by one program.
fn with_crlf(original: &[u8]) -> Cow<'_, [u8]> {
    let first = memchr::memchr(b'\n', original);
    let is_crlf = first.is_none_or(|at| at > 0 && original.get(at - 1) == Some(&b'\r'));
    if is_crlf {
        return Cow::Borrowed(original);
    }
    let mut sent = Vec::with_capacity(original.len() + original.len() / 32);
    for line in original.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(bare) if !bare.ends_with(b"\r") => {
                sent.extend_from_slice(bare);
                sent.extend_from_slice(b"\r\n");
            }
            _ => sent.extend_from_slice(line),
        }
    }
    Cow::Owned(sent)
}

fn check_message(mut message: AuthenticatedMessage<'_>, known: &dyn Fn(&str) -> Option<Key>) -> Checked {
    // Broken ones have a result, too.
    let signatures = message.dkim_signatures().len() + message.errors().len();
    if signatures > MOST_SIGNATURES || message.headers().len() > MOST_FIELDS {
        return Checked::Results(vec![AuthResult { result: "policy".to_owned(), domain: None }]);
    }
    message.retain_dkim_signatures(|signature| match signature.h.len() {
        // What the library has no word for; it is told as `neutral`.
        named if named > MOST_NAMED => Err(DkimError::BodyLengthTag),
        _ => Ok(()),
    });
    let names: Vec<String> = message.dkim_signatures().iter().map(|field| key_name(&field.header)).collect();
    let (mut keys, mut wanted) = (Vec::with_capacity(names.len()), Vec::new());
    for name in names {
        match known(&name) {
            Some(key) => keys.push((name.into_boxed_str(), key)),
            None if !wanted.contains(&name) => wanted.push(name),
            None => {}
        }
    }
    if !wanted.is_empty() {
        return Checked::Wants(wanted);
    }
    let Some(library) = library() else { return Checked::Results(Vec::new()) };
    let keys = Keys(keys);
    let checking = std::pin::pin!(library.verify_dkim(Parameters::new(&message).with_cache(&keys)));
    // Every question is answered out of `keys`, at once: there is nothing to wait for.
    match checking.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outputs) => Checked::Results(outputs.iter().map(|output| result(output, &keys)).collect()),
        Poll::Pending => Checked::Results(Vec::new()),
    }
}

/// Where the key of a signature is (RFC 6376 section 3.6.2.1), as the library asks for it: in lower case, with the dot of the root.
fn key_name(signature: &Signature) -> String {
    signature.domain_key().to_lowercase()
}

fn result(output: &DkimOutput<'_>, keys: &Keys) -> AuthResult {
    let word = match (output.result(), output.signature()) {
        (DkimResult::Pass, Some(signature)) => passed(signature, keys),
        (DkimResult::Pass | DkimResult::None, _) => "none",
        (DkimResult::Neutral(_), _) => "neutral",
        (DkimResult::Fail(_), _) => "fail",
        (DkimResult::PermError(_), _) => "permerror",
        (DkimResult::TempError(_), _) => "temperror",
    };
    let domain = output.signature().map(|signature| signature.d.trim_end_matches('.').to_ascii_lowercase());
    AuthResult { result: word.to_owned(), domain }
}

/// What holds is not always worth something.
fn passed(signature: &Signature, keys: &Keys) -> &'static str {
    let is_weak = match signature.a {
        Algorithm::RsaSha1 => true,
        Algorithm::RsaSha256 => signature.b.len() < LEAST_RSA,
        Algorithm::Ed25519Sha256 | Algorithm::MlDsa44 => false,
    };
    let is_on_trial = || keys.find(&key_name(signature)).is_some_and(Key::is_on_trial);
    // RFC 6376 section 5.4: From must be among what was signed.
    if !signature.h.iter().any(|name| name.eq_ignore_ascii_case("from")) {
        "permerror"
    } else if is_weak || is_on_trial() {
        "policy"
    } else {
        "pass"
    }
}

/// The library, over a resolver that is never asked.
fn library() -> Option<&'static MessageAuthenticator> {
    static LIBRARY: OnceLock<Option<MessageAuthenticator>> = OnceLock::new();
    let made = LIBRARY.get_or_init(|| {
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        MessageAuthenticator::new(nobody, ResolverOpts::default()).ok()
    });
    made.as_ref()
}

/// The keys of one mail, as the library asks for them.
struct Keys(Vec<(Box<str>, Key)>);

impl Keys {
    fn find(&self, name: &str) -> Option<&Key> {
        self.0.iter().find(|(found, _)| **found == *name).map(|(_, key)| key)
    }
}

/// What else the library would look up (reports, signatures of third parties) is nowhere.
impl ResolverCache<Box<str>, TxtRecord> for Keys {
    fn get<Q>(&self, name: &Q) -> Option<TxtRecord>
    where
        Box<str>: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        let found = self.0.iter().find(|(known, _)| std::borrow::Borrow::<Q>::borrow(known) == name);
        Some(found.map_or_else(Key::none, |(_, key)| key.clone()).0)
    }

    fn remove<Q>(&self, _: &Q) -> Option<TxtRecord>
    where
        Box<str>: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: TxtRecord, _: Instant) {}
}

impl DnsCache for Keys {
    type Txt = Self;
    type Mx = NoCache;
    type Ipv4 = NoCache;
    type Ipv6 = NoCache;
    type Ptr = NoCache;

    fn txt(&self) -> Option<&Self> {
        Some(self)
    }

    fn mx(&self) -> Option<&NoCache> {
        None
    }

    fn ipv4(&self) -> Option<&NoCache> {
        None
    }

    fn ipv6(&self) -> Option<&NoCache> {
        None
    }

    fn ptr(&self) -> Option<&NoCache> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mail_auth::crypto::Ed25519Key;
    use mail_auth::dkim::{Canonicalization, DkimSigner};

    use super::*;

    /// RFC 8463 appendix A: one mail signed twice, and its two keys.
    const MAIL: &[u8] = include_bytes!("../../testdata/seeds/dkim/rfc8463.eml");
    const ED25519: (&str, &str) = (
        "brisbane._domainkey.football.example.com.",
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    );
    const RSA: (&str, &str) = (
        "test._domainkey.football.example.com.",
        "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
    );

    fn key(record: &str) -> Key {
        Key::of(&[record.as_bytes().to_vec()])
    }

    /// The results of a mail whose keys are these, and nothing else is anywhere.
    fn results(mail: &[u8], keys: &[(&str, Key)]) -> Vec<(String, Option<String>)> {
        let known: BTreeMap<&str, &Key> = keys.iter().map(|(name, key)| (*name, key)).collect();
        match check(mail, &|name| Some(known.get(name).map_or_else(Key::none, |key| (*key).clone()))) {
            Checked::Results(results) => results.into_iter().map(|result| (result.result, result.domain)).collect(),
            Checked::Wants(names) => panic!("{names:?} was said to be known"),
        }
    }

    fn words(mail: &[u8], keys: &[(&str, Key)]) -> Vec<String> {
        results(mail, keys).into_iter().map(|(word, _)| word).collect()
    }

    fn published() -> [(&'static str, Key); 2] {
        [ED25519, RSA].map(|(name, record)| (name, key(record)))
    }

    #[test]
    fn the_mail_of_rfc_8463_passes_with_both_signatures() {
        let domain = Some("football.example.com".to_owned());
        assert_eq!(results(MAIL, &published()), [("pass".to_owned(), domain.clone()), ("pass".to_owned(), domain)]);
    }

    /// Drop folders of Unix programs hold mail with LF alone.
    #[test]
    fn line_ends_of_the_file_do_not_matter() {
        let text = String::from_utf8(MAIL.to_vec()).unwrap();
        assert_eq!(words(text.replace("\r\n", "\n").as_bytes(), &published()), ["pass", "pass"]);
    }

    #[test]
    fn a_changed_mail_fails() {
        let text = String::from_utf8(MAIL.to_vec()).unwrap();
        let changed = |from: &str, to: &str| words(text.replace(from, to).as_bytes(), &published());
        assert_eq!(changed("We lost", "We won"), ["neutral", "neutral"], "the body hash does not match");
        assert_eq!(changed("Is dinner", "Is lunch"), ["fail", "fail"], "the header was signed");
        // Signed one more time than it was there: a second one breaks the signature.
        assert_eq!(changed("To: Suzie", "From: eve@evil.example\r\nTo: Suzie"), ["fail", "fail"]);
        assert_eq!(changed("DKIM-Signature: v=1; a=e", "Received: by x\r\nDKIM-Signature: v=1; a=e"), ["pass", "pass"]);
    }

    #[test]
    fn keys_that_are_missing_unavailable_broken_or_revoked_are_told_apart() {
        let with = |found: Key| words(MAIL, &[(ED25519.0, found), (RSA.0, key(RSA.1))]);
        assert_eq!(with(Key::none()), ["permerror", "pass"]);
        assert_eq!(with(Key::unavailable("no answer".to_owned())), ["temperror", "pass"]);
        assert_eq!(with(key("v=DKIM1; k=ed25519; p=")), ["permerror", "pass"]);
        assert_eq!(with(key("what?")), ["permerror", "pass"]);
        assert_eq!(with(Key::of(&[b"what?".to_vec(), ED25519.1.into()])), ["pass", "pass"]);
        assert_eq!(with(key(&ED25519.1.replace("k=", "t=y; k="))), ["policy", "pass"], "on trial");
    }

    #[test]
    fn what_has_to_be_looked_up_is_said_once_each() {
        let Checked::Wants(names) = check(MAIL, &|_| None) else { panic!("no key is known") };
        assert_eq!(names, [ED25519.0, RSA.0]);
        let known = |name: &str| (name == RSA.0).then(Key::none);
        let Checked::Wants(names) = check(MAIL, &known) else { panic!("one key is not known") };
        assert_eq!(names, [ED25519.0]);
    }

    #[test]
    fn mail_without_a_signature_asks_for_nothing() {
        let unsigned: [&[u8]; 4] =
            [b"", b"From: a@a.example\r\n\r\nDKIM-Signature: v=1; d=a\r\n", b"\r\n", b"no header"];
        for mail in unsigned {
            assert!(matches!(check(mail, &|_| None), Checked::Results(results) if results.is_empty()));
        }
    }

    /// Any 32 bytes are a key of this kind. Test keys, and known to everybody.
    fn ed25519() -> (Ed25519Key, String) {
        const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let key = Ed25519Key::from_pkcs8_der(&[&PKCS8[..], &[7; 32]].concat()).unwrap();
        let public = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, key.public_key());
        (key, format!("v=DKIM1; k=ed25519; p={public}"))
    }

    const TEXT: &str = "From: Jo <jo@a.example>\r\nSubject: hello\r\n\r\n\r\n two\tlines \r\n\r\n\r\n";

    fn signed(mail: &str, headers: &[&str], canonical: Canonicalization, length: bool) -> String {
        let signer = DkimSigner::from_key(ed25519().0).domain("A.example").selector("s").headers(headers.to_vec());
        let signer = signer.header_canonicalization(canonical).body_canonicalization(canonical).body_length(length);
        let mut field = Vec::new();
        signer.sign(mail.as_bytes()).unwrap().write(&mut field, true);
        String::from_utf8(field).unwrap() + mail
    }

    fn judged(mail: &str) -> Vec<(String, Option<String>)> {
        results(mail.as_bytes(), &[("s._domainkey.a.example.", key(&ed25519().1))])
    }

    fn of_a(word: &str) -> Vec<(String, Option<String>)> {
        vec![(word.to_owned(), Some("a.example".to_owned()))]
    }

    #[test]
    fn both_canonical_forms_hold_with_crlf_and_with_lf() {
        for canonical in [Canonicalization::Simple, Canonicalization::Relaxed] {
            let mail = signed(TEXT, &["From", "Subject"], canonical, false);
            assert_eq!(judged(&mail), of_a("pass"), "{canonical:?}");
            assert_eq!(judged(&mail.replace("\r\n", "\n")), of_a("pass"), "{canonical:?} with LF");
        }
    }

    #[test]
    fn from_must_be_signed_and_all_of_the_body() {
        assert_eq!(judged(&signed(TEXT, &["Subject"], Canonicalization::Relaxed, false)), of_a("permerror"));
        let partly = judged(&signed(TEXT, &["From"], Canonicalization::Relaxed, true));
        assert_eq!(partly, [("neutral".to_owned(), None)], "whatever follows l= bytes would be unsigned");
    }

    /// RFC 8301: SHA-1 and keys of less than 1024 bits prove nothing. Signed by OpenSSL.
    #[test]
    fn weak_signatures_are_not_believed() {
        let signed: [(&[u8], &str, &str); 3] = [
            (
                include_bytes!("../../testdata/seeds/dkim/rsa-1024-bits.eml"),
                "pass",
                "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCy+mawICB0Hy9e8HOLwhostHwglN7x9g06aNvi3oUmce6qrvZLtTc6UOgCzhXlkSqkN2dsUiBsbuAHUzDc8hJjKR64l6RS2/8ywT5tfKed1qOtIPZhbw4O/3rnf7myg6SiiTN1JO6DoJWzbYfSiHU+10dcwE+MquDIcMfYC1BIAwIDAQAB",
            ),
            (
                include_bytes!("../../testdata/seeds/dkim/rsa-768-bits.eml"),
                "policy",
                "v=DKIM1; p=MHwwDQYJKoZIhvcNAQEBBQADawAwaAJhALuDHkP4VoNbN7AuwYX97l/GE+Da3NfLNXEN1HEph/1PAy7pj7JA14Nv7RocWJnSDnePLU8VvPE1Nlfz43YBiSPcjhpM6uh3u+hCLgdm7HIsc/ixXJYd2qcltizO/NL7dQIDAQAB",
            ),
            (
                include_bytes!("../../testdata/seeds/dkim/rsa-sha1.eml"),
                "policy",
                "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDCnE7zikn6gBCt6mkg33MJYG+9HhzVQQuRI8NjTR45LjwHd9hXldeRBwj5yH78UtHkXG+agNv/rnge1F60lzQHrEe5ITiELPJ52fzJ/sm++OJlKZKhYXHpVtKqBdkOyl2fvAo+sv2+Iksr31kuvw/tr+lJi6nFoXENURgtz7O8RwIDAQAB",
            ),
        ];
        for (mail, word, record) in signed {
            assert_eq!(results(mail, &[("s._domainkey.a.example.", key(record))]), of_a(word));
        }
    }

    #[test]
    fn floods_are_not_checked() {
        let field = signed(TEXT, &["From"], Canonicalization::Relaxed, false).replace(TEXT, "");
        let many = |count: usize| judged(&(field.repeat(count) + TEXT));
        assert_eq!(many(MOST_SIGNATURES).len(), MOST_SIGNATURES);
        assert!(many(MOST_SIGNATURES).iter().all(|(word, _)| word == "pass"));
        assert_eq!(many(MOST_SIGNATURES + 1), [("policy".to_owned(), None)]);
        let broken = "DKIM-Signature: v=2; a=rsa-sha256; d=a; s=s; h=from; bh=aa; b=aa\r\n";
        assert_eq!(judged(&(broken.repeat(2) + TEXT)).len(), 2);
        assert_eq!(judged(&(broken.repeat(MOST_SIGNATURES + 1) + TEXT)), [("policy".to_owned(), None)]);
        let named = vec!["From"; MOST_NAMED + 1];
        assert_eq!(judged(&signed(TEXT, &named, Canonicalization::Relaxed, false)), [("neutral".to_owned(), None)]);
        let long = format!("{}{TEXT}", "X: y\r\n".repeat(MOST_FIELDS));
        assert_eq!(judged(&signed(&long, &["From"], Canonicalization::Relaxed, false)), [("policy".to_owned(), None)]);
    }

    proptest::proptest! {
        /// Whatever stands in a field, it is read, asked for and judged without a fault, and never passes.
        #[test]
        fn no_signature_is_too_broken(tags in "([vabcdhilqstxz]|bh)=[a-z0-9:;@./=+ -]{0,30}(;( |\r\n )?([vabcdhilqstx]|bh)=([a-zA-Z0-9:@./=+ -]{0,30}|rsa-sha256|ed25519-sha256|1|from)){0,12}") {
            let mail = format!("DKIM-Signature: {tags}\r\n{TEXT}");
            let asked = std::cell::RefCell::new(Vec::new());
            let _ = check(mail.as_bytes(), &|name| { asked.borrow_mut().push(name.to_owned()); None });
            for (word, _) in results(mail.as_bytes(), &[]) {
                proptest::prop_assert_ne!(word, "pass");
            }
        }
    }
}
