//! One mail through the pure middle: envelope, parse, route, plan. Runs on a worker and shares nothing.
//! A panic in here is a bug, and costs the one mail, not the batch.

use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::config::NoEnvelope;
use crate::directory::Directory;
use crate::engine::Mill;
use crate::extract::Limits;
use crate::model::list::List;
use crate::model::mail::{ClaimId, Envelope, Mail, MailId, Part};
use crate::model::outcome::Reason;
use crate::model::plan::{Delivery, Failure, Plan, Routed};
use crate::pipeline::parse::Parser;
use crate::pipeline::plan::{Decode, Facts};
use crate::pipeline::read::{self, Read};
use crate::pipeline::{envelope, parse, plan, route, unpack};
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
    /// The store could not be asked.
    Broken(StoreError),
}

/// How a mail is routed.
#[derive(Clone)]
pub enum Policy {
    /// By its envelope, under the rules of each list.
    Envelope,
    /// Into this list: the administrator's own act.
    Import(Arc<List>),
}

impl Mill {
    /// Judges a claimed file.
    pub(super) fn judge_claim(&self, claim: &mut Claim, spool: &Spool, directory: &Directory) -> Verdict {
        let limits = &self.config.limits;
        let (id, source) = (claim.id(), claim.name());
        let verdict = match read::read(claim, spool, limits.map_from, limits.mail_bytes) {
            Read::Mail(bytes) => self.judge(&bytes, id, source, &Policy::Envelope, directory),
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
            Ok(Ok(plan)) => Verdict::Plan(Box::new(plan)),
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
    ) -> Result<Plan, StoreError> {
        let mail_id = MailId::of(bytes);
        let size = bytes.len() as u64;
        let (found, original) = envelope::split(bytes);
        let mut mail = match self.parser.parse(original) {
            Ok(mail) => mail,
            Err(reason) => {
                let mut plan = Plan::failed(id, source, size, reason, reason.text().to_owned());
                plan.mail_id = Some(mail_id);
                plan.sender = found.map(|envelope| envelope.sender);
                return Ok(plan);
            }
        };
        let (envelope, routed) = self.route(found, &mail, size, policy, directory);
        let received = jiff::Timestamp::now().as_second();
        let facts = Facts { claim: id, source, size, mail_id, sender: envelope.sender, received };
        let (known, fresh) = self.split_known(mail_id, routed)?;
        if !fresh.accepted.is_empty() {
            unpack::unpack(&mut mail, &self.parser, self.unpack_limits());
        }
        let mut plan = plan::plan(facts, &mail, fresh, DECODE);
        if matches!(policy, Policy::Import(_)) {
            // Hooks are for mail that comes in.
            plan.deliveries.iter_mut().for_each(|delivery| delivery.webhook = None);
        }
        plan.deliveries.extend(known);
        Ok(plan)
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
            (None, Policy::Envelope) if self.config.incoming.no_envelope == NoEnvelope::Headers => from_headers(mail),
            (None, Policy::Envelope) => return refused(no_envelope(Reason::NoEnvelope.text())),
        };
        if envelope.recipients.is_empty() && matches!(policy, Policy::Envelope) {
            return refused(no_envelope("the file has no x-receiver lines, and its To and Cc fields name nobody"));
        }
        let routed = match policy {
            Policy::Import(list) => route::import(list, &envelope, mail, groups),
            Policy::Envelope => route::route(&envelope, mail, size, directory, groups),
        };
        (envelope, routed)
    }

    fn unpack_limits(&self) -> Limits {
        let limits = &self.config.limits;
        Limits { depth: limits.unpack_depth, count: limits.parts, bytes: limits.mail_bytes }
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
