//! What a person asks for besides batches: verify, discard, reclaim. Everything that writes takes the writer lock.

use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::{EngineError, Mill, rfc3339};
use crate::model::item::JournalEntry;
use crate::model::mail::{ClaimId, MailId};
use crate::model::outcome::{End, Problem};
use crate::spool::{FailedMail, Note, SpoolError, StrangersClaim};
use crate::store::{Counter, ListStore, Report, StoreError, Write};

/// What is left of a server that is gone.
pub enum Departed {
    Store(Arc<dyn ListStore>),
    Lost,
}

/// What `reclaim` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reclaimed {
    /// Claims that are ours now and wait for the next batch.
    pub taken: u64,
    /// Claims that their own server had delivered.
    pub settled: u64,
    /// Delivered there in part: among our refused mail now.
    pub refused: u64,
}

/// Garbage is removed in groups of so many writes.
const STRETCH: usize = 10_000;

impl Mill {
    /// Reads the whole store. Mail waits meanwhile: two moments must not be compared.
    pub fn verify(&self, repair: bool) -> Result<Report, StoreError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut report, garbage) = crate::store::verify(&*self.store)?;
        // A store that is not sound is left as it is, for whoever looks into it.
        if repair && report.sound {
            for stretch in garbage.chunks(STRETCH) {
                self.store.commit(stretch.to_vec().into())?;
            }
            report.repaired = true;
        }
        Ok(report)
    }

    /// Remembers for `trace` that a person threw a mail away.
    pub fn note_discarded(&self, mail: &FailedMail) -> Result<(), StoreError> {
        let Some(note) = &mail.note else { return Ok(()) };
        let Some(mail_id) = note.mail_id.as_ref().and_then(|id| id.parse::<MailId>().ok()) else { return Ok(()) };
        let entry = JournalEntry {
            claim: mail.id,
            time: jiff::Timestamp::now().as_second(),
            file: note.file.clone(),
            outcome: "discarded".to_owned(),
            reason: None,
            text: "thrown away by mailmill failed discard".to_owned(),
            sender: note.sender.clone(),
            recipient: None,
            message_id: note.message_id.clone(),
            list: None,
        };
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.store.counter(Counter::Journal)?;
        let writes =
            vec![Write::Counter(Counter::Journal, number + 1), Write::Journal(mail_id, number, Box::new(entry))];
        self.store.commit(writes.into()).map(drop)
    }

    /// Takes the claims of a server that is gone: what its own store knows as delivered is settled, the rest becomes ours.
    pub fn reclaim(&self, server: &str, departed: &Departed) -> Result<Reclaimed, EngineError> {
        let spool = self.spool()?;
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Io { path, source }
        };
        let strangers = spool.strangers().map_err(io(spool.drop_folder()))?;
        let belongs = |label: &str| {
            label == server || label.strip_prefix(server).is_some_and(|rest| rest.len() == 37 && rest.starts_with('-'))
        };
        let mut named = strangers.into_iter().filter(|stranger| belongs(&stranger.label));
        let stranger = named.next().ok_or_else(|| SpoolError::NoSuchServer(server.to_owned()))?;
        if let Some(other) = named.next() {
            return Err(SpoolError::ServerNotUnique(stranger.label, other.label).into());
        }
        let batch = self.next_batch()?;
        let mut reclaimed = Reclaimed::default();
        for (number, claim) in (1..).zip(&stranger.claims) {
            let id = ClaimId { batch, number };
            match what_its_store_says(claim, departed)? {
                Some((entry, None)) => {
                    spool.settle_delivered(claim, entry).map_err(io(&claim.path))?;
                    reclaimed.settled += 1;
                }
                Some((_, Some(note))) => {
                    spool.set_aside_foreign(claim, id, &note).map_err(io(&claim.path))?;
                    reclaimed.refused += 1;
                }
                None => {
                    spool.take_over(claim, id).map_err(io(&claim.path))?;
                    reclaimed.taken += 1;
                }
            }
        }
        Ok(reclaimed)
    }

    /// Batch numbers name claims; each is given once.
    fn next_batch(&self) -> Result<u64, StoreError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = self.store.counter(Counter::Batch)?;
        self.store.commit(vec![Write::Counter(Counter::Batch, batch + 1)].into())?;
        Ok(batch)
    }
}

/// None: it was not delivered there. A note: it was, but some recipients were refused.
fn what_its_store_says(
    claim: &StrangersClaim,
    departed: &Departed,
) -> Result<Option<(crate::model::item::LedgerEntry, Option<Note>)>, EngineError> {
    let Departed::Store(store) = departed else { return Ok(None) };
    // What cannot be read is taken over and judged like any other claim.
    let Ok(bytes) = fs::read(&claim.path) else { return Ok(None) };
    let mail = MailId::of(&bytes);
    let ledger = store.ledger_of(mail)?;
    let Some((_, entry)) = ledger.into_iter().find(|(_, entry)| entry.claim == claim.id) else { return Ok(None) };
    let mut refused = store.journal_of(mail)?;
    let bad = [End::Refused.word(), End::Damaged.word()];
    refused.retain(|entry| entry.claim == claim.id && bad.contains(&entry.outcome.as_str()));
    if refused.is_empty() {
        return Ok(Some((entry, None)));
    }
    let problems = refused.iter().map(|entry| problem(entry, mail)).collect();
    let first = refused.first();
    let note = Note {
        id: claim.id.to_string(),
        file: claim.name.to_string_lossy().into_owned(),
        mail_id: Some(mail.to_string()),
        message_id: first.and_then(|entry| entry.message_id.clone()),
        sender: first.and_then(|entry| entry.sender.clone()),
        time: rfc3339(jiff::Timestamp::now()),
        batch: claim.id.batch,
        problems,
        delivered: Vec::new(),
    };
    Ok(Some((entry, Some(note))))
}

fn problem(entry: &JournalEntry, mail: MailId) -> Problem {
    Problem {
        id: entry.claim.to_string(),
        file: entry.file.clone(),
        mail_id: Some(mail.to_string()),
        message_id: entry.message_id.clone(),
        sender: entry.sender.clone(),
        recipient: entry.recipient.clone(),
        outcome: entry.outcome.clone(),
        reason: entry.reason.clone().unwrap_or_default(),
        text: entry.text.clone(),
    }
}
