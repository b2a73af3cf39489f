//! What a person asks for besides batches: verify, discard, reclaim. Everything that writes takes the writer lock.

use std::sync::{Arc, PoisonError};

use super::{EngineError, Mill, rfc3339};
use crate::model::item::{JournalEntry, LedgerEntry};
use crate::model::mail::{ClaimId, MailId};
use crate::model::outcome::{End, Problem};
use crate::spool::{FailedMail, Note, OWN, Spool, SpoolError, StrangersClaim, left_behind};
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
    /// Refused and damaged mail of that server, which stays in its folder.
    pub left_behind: u64,
    pub folder: String,
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
    /// May be repeated after a crash: what was taken from the server already is found and worked through.
    pub fn reclaim(&self, server: &str, departed: &Departed) -> Result<Reclaimed, EngineError> {
        let spool = self.spool()?;
        let path = spool.drop_folder().join(OWN);
        let io = |source| SpoolError::Io { path: path.clone(), source };
        let mut named = spool.strangers().map_err(io)?;
        named.retain(|stranger| stranger.answers_to(server));
        let Some(first) = named.first().map(|stranger| stranger.label.clone()) else {
            return if spool.was_reclaimed(server).map_err(io)? {
                Ok(Reclaimed::default())
            } else {
                Err(SpoolError::NoSuchServer(server.to_owned()).into())
            };
        };
        if let Some(other) = named.iter().find(|stranger| stranger.label != first) {
            return Err(SpoolError::ServerNotUnique(first, other.label.clone()).into());
        }
        if let Departed::Store(store) = departed
            && !first.ends_with(&format!("-{}", store.uuid()))
        {
            return Err(EngineError::ForeignStore { label: first, uuid: store.uuid().to_owned() });
        }
        let batch = self.next_batch()?;
        let mut numbers = 1..;
        let mut reclaimed = Reclaimed::default();
        for stranger in named {
            let mut seized = Some(spool.seize(stranger).map_err(io)?);
            while let Some(stranger) = seized {
                for (claim, number) in stranger.claims.iter().zip(numbers.by_ref()) {
                    reclaim_one(&spool, claim, ClaimId { batch, number }, departed, &mut reclaimed)?;
                }
                reclaimed.left_behind = reclaimed.left_behind.max(left_behind(&stranger));
                reclaimed.folder = stranger.folder.display().to_string();
                seized = spool.close_seized(stranger).map_err(io)?;
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

fn reclaim_one(
    spool: &Spool,
    claim: &StrangersClaim,
    id: ClaimId,
    departed: &Departed,
    reclaimed: &mut Reclaimed,
) -> Result<(), EngineError> {
    let io = |source| SpoolError::Io { path: claim.path.clone(), source };
    let (done, count) = match what_its_store_says(claim, departed)? {
        Some((entry, None)) => (spool.settle_delivered(claim, entry), &mut reclaimed.settled),
        Some((_, Some(note))) => (spool.set_aside_foreign(claim, id, &note), &mut reclaimed.refused),
        None => (spool.take_over(claim, id), &mut reclaimed.taken),
    };
    *count += u64::from(done.map_err(io)?);
    Ok(())
}

/// None: it was not delivered there. A note: it was, but some recipients were refused.
fn what_its_store_says(
    claim: &StrangersClaim,
    departed: &Departed,
) -> Result<Option<(LedgerEntry, Option<Note>)>, EngineError> {
    let Departed::Store(store) = departed else { return Ok(None) };
    let mail = claim.mail_id().map_err(|source| SpoolError::Io { path: claim.path.clone(), source })?;
    let Some(mail) = mail else { return Ok(None) };
    // Under another claim it was delivered before, and this file is a duplicate of it.
    let ledger = store.ledger_of(mail)?;
    let own = ledger.iter().find(|(_, entry)| entry.claim == claim.id);
    let Some((_, entry)) = own.or(ledger.first()).copied() else { return Ok(None) };
    let mut refused = store.journal_of(mail)?;
    let bad = [End::Refused.word(), End::Damaged.word()];
    refused.retain(|row| [claim.id, entry.claim].contains(&row.claim) && bad.contains(&row.outcome.as_str()));
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
