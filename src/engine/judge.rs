//! One mail through the pure middle: envelope, parse, route, plan. Runs on a worker and shares nothing.
//! A panic in here is a bug, and costs the one mail, not the batch.

use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;

use crate::config::{self, NoEnvelope};
use crate::directory::Directory;
use crate::engine::Mill;
use crate::extract::Limits;
use crate::model::list::List;
use crate::model::mail::{Authentication, ClaimId, Envelope, Mail, MailId, Part};
use crate::model::outcome::Reason;
use crate::model::plan::{Delivery, Failure, Plan, Routed};
use crate::model::units;
use crate::pipeline::parse::Parser;
use crate::pipeline::plan::{Decode, Facts};
use crate::pipeline::read::{self, Read};
use crate::pipeline::{dkim, envelope, parse, plan, route, unpack};
use crate::spool::{Claim, Spool};
use crate::store::StoreError;

const DECODE: Decode = Decode { bytes: parse::decode, text: parse::decode_text };

impl unpack::Reader for Parser {
    fn parse<'r>(&self, bytes: &'r [u8]) -> Option<Mail<'r>> {
        Self::parse(self, bytes).ok()
    }

    fn decode<'r>(&self, part: &Part<'r>) -> Cow<'r, [u8]> {
        parse::decode(part)
    }

    fn decode_text(&self, part: &Part<'_>) -> String {
        parse::decode_text(part)
    }
}

/// What a worker says of a mail.
pub enum Verdict {
    Plan(Box<Plan>),
    /// Somebody writes to it, or the system is short of something: the next batch tries again.
    NotNow(String),
    /// A list wants to know something that cannot be found out now: the next batch tries again. The plan says what, and to whom it
    /// matters.
    Later(Box<Plan>),
    /// These names must be looked up, and the mail judged again.
    Keys(Vec<String>),
    /// The store could not be asked.
    Broken(StoreError),
}

impl From<Plan> for Verdict {
    fn from(plan: Plan) -> Self {
        Self::Plan(Box::new(plan))
    }
}

/// How a mail is routed.
#[derive(Clone)]
pub enum Policy {
    /// By its envelope, under the rules of each list.
    Envelope,
    /// The same, and what could not be found out until now never will be.
    AtLast,
    /// Into this list: the administrator's own act.
    Import(Arc<List>),
}

impl Policy {
    const fn is_by_envelope(&self) -> bool {
        matches!(self, Self::Envelope | Self::AtLast)
    }
}

/// A mail does not wait for a key longer than a mail server would try to deliver it (RFC 5321 section 4.5.4.1: at least 4 to 5 days).
fn is_late(claim: &Claim) -> bool {
    const PATIENCE: i64 = 4 * 24 * 60 * 60;
    let now = jiff::Timestamp::now().as_second();
    claim.modified().is_some_and(|modified| now.saturating_sub(modified) >= PATIENCE)
}

impl Mill {
    /// Judges a claimed file.
    pub(super) fn judge_claim(&self, claim: &mut Claim, spool: &Spool, directory: &Directory) -> Verdict {
        let limits = &self.config.limits;
        let (id, source) = (claim.id(), claim.name());
        let verdict = match read::read(claim, spool, limits.map_from, limits.mail_bytes) {
            Read::Mail(bytes) => match self.judge(&bytes, id, source.clone(), &Policy::Envelope, directory) {
                Verdict::Later(_) if is_late(claim) => self.judge(&bytes, id, source, &Policy::AtLast, directory),
                verdict => verdict,
            },
            Read::NotNow { text } => return Verdict::NotNow(text),
            Read::Failed { reason, text } => {
                Verdict::Plan(Box::new(Plan::failed(id, source, claim.size(), reason, text)))
            }
            Read::TooLarge { size, mail_id, head } => {
                let envelope = envelope::split(&head).0.unwrap_or_default();
                Verdict::Plan(Box::new(self.too_large(id, source, size, mail_id, envelope)))
            }
        };
        if claim.is_whole() {
            verdict
        } else {
            Verdict::NotNow("somebody wrote to the file while it was read".to_owned())
        }
    }

    /// Ends a mail that killed the process too often. It is read no more, but for its id, through a window.
    pub(super) fn condemn(claim: &mut Claim, spool: &Spool, text: String) -> Verdict {
        let mut hasher = blake3::Hasher::new();
        let opened = claim.open(spool).is_ok();
        let read = claim.skim(|bytes| {
            hasher.update(bytes);
        });
        let mut plan = Plan::failed(claim.id(), claim.name(), claim.size(), Reason::CrashedBefore, text);
        plan.mail_id = (opened && read.is_ok()).then(|| MailId::from_bytes(*hasher.finalize().as_bytes()));
        Verdict::Plan(Box::new(plan))
    }

    /// Judges the bytes of a mail.
    pub(super) fn judge(
        &self,
        bytes: &[u8],
        id: ClaimId,
        source: String,
        policy: &Policy,
        directory: &Directory,
    ) -> Verdict {
        let size = bytes.len() as u64;
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge_mail(bytes, id, source.clone(), policy, directory)));
        match judged {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => Verdict::Broken(error),
            Err(_) => {
                let text = "mailmill failed on this mail (a bug: please report it with the file)".to_owned();
                let mut plan = Plan::failed(id, source, size, Reason::CrashedBefore, text);
                plan.mail_id = Some(MailId::of(bytes));
                Verdict::Plan(Box::new(plan))
            }
        }
    }

    fn judge_mail(
        &self,
        bytes: &[u8],
        id: ClaimId,
        source: String,
        policy: &Policy,
        directory: &Directory,
    ) -> Result<Verdict, StoreError> {
        let mail_id = MailId::of(bytes);
        let size = bytes.len() as u64;
        let limits = &self.config.limits;
        let until = worked() + limits.mail_time;
        let in_time = || worked() < until;
        let (found, original) = envelope::split(bytes);
        let name = source.clone();
        let failed = |reason, text, found: Option<Envelope>| {
            let mut plan = Plan::failed(id, name.clone(), size, reason, text);
            plan.mail_id = Some(mail_id);
            plan.sender = found.map(|envelope| envelope.sender);
            plan
        };
        let mut mail = match self.parser.parse(original) {
            Ok(mail) => mail,
            Err(reason) => return Ok(failed(reason, reason.text().to_owned(), found).into()),
        };
        let is_by_header = found.is_none() && policy.is_by_envelope() && self.is_routed_by_header();
        let unread = is_by_header.then(|| unread_recipients(&mail)).flatten();
        if let Some(text) = unread.or_else(|| over_limit(found.as_ref(), &mail, limits)) {
            return Ok(Plan { message_id: mail.message_id, ..failed(Reason::Limit, text, found) }.into());
        }
        let is_unsure = match self.check_signatures(original, &mut mail, policy) {
            Ok(is_unsure) => is_unsure,
            Err(names) => return Ok(Verdict::Keys(names)),
        };
        let (envelope, routed) = self.route(found, &mail, size, policy, directory);
        let unsure = if is_unsure { unsure(&routed.failures) } else { Vec::new() };
        if !unsure.is_empty() {
            let plan = failed(Reason::KeyUnavailable, String::new(), Some(envelope));
            return Ok(Verdict::Later(Box::new(Plan { message_id: mail.message_id, failures: unsure, ..plan })));
        }
        let received = jiff::Timestamp::now().as_second();
        let facts = Facts { claim: id, source, size, mail_id, sender: envelope.sender, received };
        Ok(self.plan_for(facts, mail, routed, policy, &in_time)?.into())
    }

    /// Plans what the lists take of a mail, unless it breaks a limit on the way.
    fn plan_for(
        &self,
        facts: Facts,
        mut mail: Mail<'_>,
        routed: Routed,
        policy: &Policy,
        in_time: &dyn Fn() -> bool,
    ) -> Result<Plan, StoreError> {
        let (limits, size) = (&self.config.limits, facts.size);
        let asked = self.recent.now();
        let (known, fresh) = self.split_known(facts.mail_id, routed)?;
        if !fresh.accepted.is_empty() {
            let bounds = unpack::Bounds { limits: unpack_limits(limits, size), name_bytes: limits.name_bytes, in_time };
            unpack::unpack(&mut mail, &self.parser, bounds);
        }
        let mut meter = Meter { left: Some(limits.decoded_bytes), is_late: false, in_time };
        let mut plan = plan::plan_within(facts, mail, fresh, DECODE, &mut |bytes| meter.pay(bytes));
        if let Some(text) = meter.over(limits) {
            let Plan { claim, source, mail_id, message_id, sender, .. } = plan;
            let failed = Plan::failed(claim, source, size, Reason::Limit, text);
            return Ok(Plan { mail_id, message_id, sender, ..failed });
        }
        if matches!(policy, Policy::Import(_)) {
            // Hooks are for mail that comes in.
            plan.deliveries.iter_mut().for_each(|delivery| delivery.webhook = None);
        }
        plan.deliveries.extend(known);
        plan.asked = Some(asked);
        Ok(plan)
    }

    /// Adds what the signatures of a mail that comes in are worth, where that is ours to find out. Whether another time may find out
    /// more; or the names that have to be looked up first.
    fn check_signatures(&self, original: &[u8], mail: &mut Mail<'_>, policy: &Policy) -> Result<bool, Vec<String>> {
        let Some(keys) = self.keys.as_ref().filter(|_| policy.is_by_envelope() && mail.authentication.is_none()) else {
            return Ok(false);
        };
        let dkim = match dkim::check(original, &|name| keys.known(name)) {
            dkim::Checked::Wants(names) => return Err(names),
            dkim::Checked::Results(results) if results.is_empty() => return Ok(false),
            dkim::Checked::Results(results) => results,
        };
        let is_unsure = dkim.iter().any(|signature| signature.result == "temperror");
        let mut found = Authentication { authserv_id: self.config.server.clone(), dkim, ..Authentication::default() };
        found.aligned = mail.author_domain.as_ref().is_some_and(|author| found.speaks_for(author));
        mail.authentication = Some(found);
        Ok(is_unsure && !matches!(policy, Policy::AtLast))
    }

    fn is_routed_by_header(&self) -> bool {
        self.config.incoming.no_envelope == NoEnvelope::Headers
    }

    fn route(
        &self,
        found: Option<Envelope>,
        mail: &Mail<'_>,
        size: u64,
        policy: &Policy,
        directory: &Directory,
    ) -> (Envelope, Routed) {
        let groups = &self.config.groups;
        let no_envelope = |text: &str| Failure { recipient: None, reason: Reason::NoEnvelope, text: text.to_owned() };
        let refused = |failure| (Envelope::default(), Routed { accepted: Vec::new(), failures: vec![failure] });
        let envelope = match (found, policy) {
            (Some(envelope), _) => envelope,
            (None, Policy::Import(_)) => Envelope::default(),
            (None, _) if self.is_routed_by_header() => from_headers(mail),
            (None, _) => return refused(no_envelope(Reason::NoEnvelope.text())),
        };
        if envelope.recipients.is_empty() && policy.is_by_envelope() {
            return refused(no_envelope("the file has no x-receiver lines, and its To and Cc fields name nobody"));
        }
        let routed = match policy {
            Policy::Import(list) => route::import(list, &envelope, mail, groups),
            Policy::Envelope | Policy::AtLast => route::route(&envelope, mail, size, directory, groups),
        };
        (envelope, routed)
    }

    /// Sets apart the lists that have this mail already: their copy need not be decoded again.
    fn split_known(&self, mail_id: MailId, routed: Routed) -> Result<(Vec<Delivery>, Routed), StoreError> {
        let mut known = Vec::new();
        let mut fresh = Routed { accepted: Vec::new(), failures: routed.failures };
        for accepted in routed.accepted {
            if self.store.ledger(mail_id, accepted.list.id)?.is_none() {
                fresh.accepted.push(accepted);
                continue;
            }
            known.push(Delivery {
                list: accepted.list.id,
                recipients: accepted.recipients,
                item: None,
                prepared: None,
                library_folder: None,
                allowed_by: accepted.allowed_by,
                overwrite: false,
                updates: Vec::new(),
                thread: None,
                topic_days: 0,
                webhook: None,
            });
        }
        Ok((known, fresh))
    }

    fn too_large(&self, id: ClaimId, source: String, size: u64, mail_id: MailId, envelope: Envelope) -> Plan {
        let text = format!("{size} bytes; limits.mail_bytes allows {}", self.config.limits.mail_bytes);
        let mut plan = Plan::failed(id, source, size, Reason::TooLarge, text.clone());
        plan.mail_id = Some(mail_id);
        plan.sender = Some(envelope.sender);
        if !envelope.recipients.is_empty() {
            let failure =
                |recipient| Failure { recipient: Some(recipient), reason: Reason::TooLarge, text: text.clone() };
            plan.failures = envelope.recipients.into_iter().map(failure).collect();
        }
        plan
    }
}

/// Nobody is refused as forged before the key was looked up. The others are told again when the mail is judged.
fn unsure(failures: &[Failure]) -> Vec<Failure> {
    let forged = failures.iter().filter(|failure| failure.reason == Reason::SenderForged);
    let unsure = forged.map(|failure| Failure {
        reason: Reason::KeyUnavailable,
        text: format!("{}: the key of a signature cannot be looked up", failure.text),
        recipient: failure.recipient.clone(),
    });
    unsure.collect()
}

/// Allowed whatever the ratio: a small mail may hold a well packed document.
const ALWAYS_UNPACKED: u64 = 16 << 20;

fn unpack_limits(limits: &config::Limits, size: u64) -> Limits {
    let in_proportion = size.saturating_mul(limits.unpack_ratio).max(ALWAYS_UNPACKED);
    Limits { depth: limits.unpack_depth, count: limits.unpack_files, bytes: limits.unpack_bytes.min(in_proportion) }
}

/// The limits that a mail passes whole or not at all: what is beyond them would be lost, so the file is kept instead.
fn over_limit(found: Option<&Envelope>, mail: &Mail<'_>, limits: &config::Limits) -> Option<String> {
    let recipients = found.map_or(0, |envelope| envelope.recipients.len());
    let attachments = mail.parts.len();
    if recipients > limits.recipients {
        return Some(format!("{recipients} recipients; limits.recipients allows {}", limits.recipients));
    }
    (attachments > limits.attachments)
        .then(|| format!("{attachments} attachments; limits.attachments allows {}", limits.attachments))
}

/// How long this thread has worked. Not the clock on the wall: a machine that is busy or was paused is no mail's fault.
fn worked() -> Duration {
    ThreadTime::try_now().map(|time| time.as_duration()).unwrap_or_default()
}

/// Where To and Cc stand in for the envelope, an address that was not read is a recipient that would get nothing, without a word.
fn unread_recipients(mail: &Mail<'_>) -> Option<String> {
    let limits = ["addresses-limit", "header-limit", "header-fields-limit"];
    let defect = mail.defects.iter().find(|defect| limits.contains(&defect.as_str()))?;
    Some(format!("its header is its envelope, and was not read to the end ({defect})"))
}

/// What a mail may still cost while it is planned. The first time it may not is remembered.
struct Meter<'m> {
    /// Bytes of attachments that may still be decoded; none left below zero.
    left: Option<u64>,
    is_late: bool,
    in_time: &'m dyn Fn() -> bool,
}

impl Meter<'_> {
    fn pay(&mut self, bytes: u64) -> bool {
        self.left = self.left.and_then(|left| left.checked_sub(bytes));
        self.left.is_some() && self.is_in_time()
    }

    fn is_in_time(&mut self) -> bool {
        self.is_late |= !(self.in_time)();
        !self.is_late
    }

    fn over(mut self, limits: &config::Limits) -> Option<String> {
        if self.left.is_none() {
            return Some(format!(
                "its attachments decode to more than limits.decoded_bytes ({}) allows",
                units::format_size(limits.decoded_bytes)
            ));
        }
        (!self.is_in_time()).then(|| format!("it took longer than limits.mail_time ({:?})", limits.mail_time))
    }
}

/// `no_envelope = "headers"`: To and Cc stand in for the envelope recipients, From for the sender.
fn from_headers(mail: &Mail<'_>) -> Envelope {
    let mut envelope = Envelope {
        sender: mail.from.as_ref().map(|from| from.address.clone()).unwrap_or_default(),
        recipients: Vec::new(),
    };
    // A set, not a look through the list: a header may name a hundred thousand.
    let mut seen = HashSet::new();
    let all = mail.to.iter().chain(&mail.cc);
    envelope.recipients.extend(all.filter(|recipient| seen.insert(recipient.to_ascii_lowercase())).cloned());
    envelope
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Incoming, Limits};
    use crate::model::list::Kind;
    use crate::model::settings::{ListSettings, Senders, Verified};
    use crate::store::MemoryStore;

    fn judged(no_envelope: NoEnvelope, mail: &str) -> Plan {
        let config = Config {
            incoming: Incoming { no_envelope, ..Incoming::default() },
            limits: Limits { workers: 1, ..Limits::default() },
            ..Config::default()
        };
        let mill = Mill::new(config, Arc::new(MemoryStore::default())).unwrap();
        let id = ClaimId { batch: 1, number: 1 };
        match mill.judge(mail.as_bytes(), id, "x.eml".to_owned(), &Policy::Envelope, &mill.directory.get()) {
            Verdict::Plan(plan) => *plan,
            _ => panic!("no plan"),
        }
    }

    /// What becomes of a mail for two lists under limits, and a list setting.
    fn limited(mail: &[u8], change: impl FnOnce(&mut Limits)) -> Plan {
        let mut config = Config { limits: Limits { workers: 1, ..Limits::default() }, ..Config::default() };
        change(&mut config.limits);
        config.incoming.trusted_authserv = vec!["mx.example".to_owned()];
        let mill = Mill::new(config, Arc::new(MemoryStore::default())).unwrap();
        for (name, kind) in [("a", Kind::Announcements), ("b", Kind::DocumentLibrary)] {
            let senders_verified = if name == "b" { Verified::Pass } else { Verified::Off };
            let open = ListSettings {
                address: name.to_owned(),
                senders: Senders::Any,
                senders_verified,
                ..ListSettings::default()
            };
            mill.lists().create(name, kind, open).unwrap();
        }
        let id = ClaimId { batch: 1, number: 1 };
        match mill.judge(mail, id, "x.eml".to_owned(), &Policy::Envelope, &mill.directory.get()) {
            Verdict::Plan(plan) => *plan,
            _ => panic!("no plan"),
        }
    }

    /// A mail to one list: two attachments, a nested message with two more, a message in that, and a name of 16 bytes.
    const RICH: &str = "x-receiver: a@l.example\nFrom: a@a.example\nTo: b@b.example, c@c.example\nSubject: s\n\
        Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\nContent-Disposition: attachment; filename=a-long-name.data\n\n0123456789\n\
        --b\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=c\n\n\
        --c\nContent-Type: image/png\n\npicture\n--c\nContent-Type: message/rfc822\n\n\
        Content-Type: application/pdf\n\npaper\n--c--\n--b--\n";

    fn defects(plan: &Plan) -> Vec<&str> {
        let items = plan.deliveries.iter().filter_map(|delivery| delivery.item.as_ref());
        items.flat_map(|item| item.defects.iter().map(String::as_str)).collect()
    }

    type Change = fn(&mut Limits);

    /// The table of README: beyond these limits less is read, and the item says so.
    #[test]
    fn a_mail_over_a_limit_is_stored_with_what_could_be_read_and_a_defect() {
        let plan = limited(RICH.as_bytes(), |_| ());
        assert_eq!((defects(&plan), plan.deliveries.len()), (vec![], 1));
        assert_eq!(plan.deliveries[0].item.as_ref().unwrap().extracted.len(), 3);
        let table: [(Change, &str); 9] = [
            (|limits| limits.depth = 0, "mime-limit"),
            (|limits| limits.parts = 2, "mime-limit"),
            (|limits| limits.header_bytes = 60, "header-limit"),
            (|limits| limits.header_fields = 3, "header-fields-limit"),
            (|limits| limits.addresses = 1, "addresses-limit"),
            (|limits| limits.name_bytes = 15, "name-limit"),
            (|limits| limits.unpack_depth = 1, "nested too deeply"),
            (|limits| limits.unpack_files = 1, "more hidden files than the limit"),
            (|limits| limits.unpack_bytes = 10, "hidden files larger than the limit"),
        ];
        for (change, defect) in table {
            let plan = limited(RICH.as_bytes(), change);
            assert!(plan.failures.is_empty() && plan.deliveries.len() == 1, "{defect}");
            assert!(defects(&plan).iter().any(|found| found.contains(defect)), "{defect}: {:?}", defects(&plan));
            assert_eq!(plan, limited(RICH.as_bytes(), change), "same mail, same plan");
        }
    }

    /// Beyond these a part of the mail would be lost: the file is kept, and `failed retry` takes it under a higher limit.
    #[test]
    fn a_mail_over_a_limit_that_would_lose_something_is_set_aside_as_limit() {
        let table: [(Change, &str); 4] = [
            (|limits| limits.recipients = 0, "1 recipients; limits.recipients allows 0"),
            (|limits| limits.attachments = 1, "2 attachments; limits.attachments allows 1"),
            (|limits| limits.decoded_bytes = 100, "limits.decoded_bytes (100B)"),
            (|limits| limits.mail_time = Duration::from_nanos(1), "limits.mail_time (1ns)"),
        ];
        for (change, text) in table {
            let plan = limited(RICH.as_bytes(), change);
            assert_eq!(failures(&plan), [(None, Reason::Limit)], "{text}");
            assert!(plan.failures[0].text.contains(text), "{text}: {}", plan.failures[0].text);
            assert!(plan.deliveries.is_empty() && plan.blobs.is_empty() && plan.mail_id.is_some());
            assert_eq!(plan.worst_failure(), Some(crate::model::outcome::End::Damaged));
        }
    }

    #[test]
    fn a_header_that_stands_in_for_the_envelope_is_read_whole_or_not_at_all() {
        let mail = "To: a@l.example, b@l.example\nSubject: s\n\nx";
        let set_aside = |change: Change| {
            let mut limits = Limits { workers: 1, ..Limits::default() };
            change(&mut limits);
            let incoming = Incoming { no_envelope: NoEnvelope::Headers, ..Incoming::default() };
            let mill =
                Mill::new(Config { incoming, limits, ..Config::default() }, Arc::new(MemoryStore::default())).unwrap();
            failures(&mill.plan(mail.as_bytes(), "x.eml").unwrap()) == [(None, Reason::Limit)]
        };
        assert!(!set_aside(|_| ()));
        let changes: [Change; 3] =
            [|limits| limits.addresses = 1, |limits| limits.header_bytes = 20, |limits| limits.header_fields = 1];
        assert!(changes.into_iter().all(set_aside));
    }

    #[test]
    fn what_is_unpacked_stays_in_proportion_to_the_mail() {
        let limits = |size| unpack_limits(&Limits::default(), size).bytes;
        assert_eq!((limits(0), limits(1 << 20), limits(8 << 20)), (16 << 20, 16 << 20, 80 << 20));
        assert_eq!((limits(100 << 20), limits(u64::MAX)), (256 << 20, 256 << 20));
    }

    #[test]
    fn mail_that_nobody_verified_is_forged_where_a_list_wants_to_know() {
        let to = "x-receiver: a@l.example\nx-receiver: b@l.example\n";
        let pass = "Authentication-Results: mx.example; dkim=pass header.d=a.example\n";
        let fail = "Authentication-Results: mx.example; dkim=fail header.d=a.example\n";
        let forged = "Authentication-Results: evil.example; dkim=pass header.d=a.example\n";
        for (fields, is_forged) in
            [(pass.to_owned(), false), (fail.to_owned(), true), (String::new(), true), (forged.to_owned() + pass, true)]
        {
            let plan = limited(format!("{to}{fields}From: Ann <ann@a.example>\n\nx").as_bytes(), |_| ());
            let expected = if is_forged { vec![(Some("b@l.example"), Reason::SenderForged)] } else { vec![] };
            assert_eq!(failures(&plan), expected, "{fields}");
            assert_eq!(plan.deliveries.len(), if is_forged { 1 } else { 2 }, "the other list takes it");
            let found = plan.deliveries[0].item.as_ref().unwrap().authentication.as_ref();
            assert_eq!(
                found.map(|found| found.aligned),
                fields.starts_with("Authentication-Results: mx").then_some(!is_forged)
            );
        }
    }

    fn failures(plan: &Plan) -> Vec<(Option<&str>, Reason)> {
        plan.failures.iter().map(|failure| (failure.recipient.as_deref(), failure.reason)).collect()
    }

    /// Such a mail once reached nobody, counted as a duplicate, and its file was removed.
    #[test]
    fn a_mail_that_names_nobody_in_envelope_or_header_is_refused() {
        for mail in ["From: a@a.example\n\nx", "To:\nCc: ,\nBcc: b@l.example\n\nx", "To: undisclosed-recipients:;\n\nx"]
        {
            assert_eq!(failures(&judged(NoEnvelope::Headers, mail)), [(None, Reason::NoEnvelope)], "{mail}");
            assert_eq!(failures(&judged(NoEnvelope::Refuse, mail)), [(None, Reason::NoEnvelope)], "{mail}");
        }
    }

    #[test]
    fn to_and_cc_stand_in_for_the_envelope_once_each_and_bcc_does_not() {
        let mail = "To: A@l.example, b@l.example\nCc: a@L.example, c@l.example\nBcc: d@l.example\n\nx";
        let plan = judged(NoEnvelope::Headers, mail);
        let unknown = |recipient| (Some(recipient), Reason::UnknownAddress);
        assert_eq!(failures(&plan), ["A@l.example", "b@l.example", "c@l.example"].map(unknown));
    }
}
