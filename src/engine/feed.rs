//! Finds mail, waits for the budget, and hands it to the workers in chunks. What cannot be taken now is counted where it lies.

use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;

use super::batch::{Batch, HOOK_THREADS, Judged, Parcel, Work, lock};
use super::letters::LIGHT;
use super::poison::Alone;
use super::{EngineError, Progress};
use crate::import_source::Found;
use crate::model::mail::ClaimId;
use crate::model::outcome::{End, Problem, Reason};
use crate::spool::{Claim, Spool, Taken};
use crate::store::StoreError;

/// Mails are handed to the workers, and on from them, in chunks: each costs one allocation and one wake-up.
pub(super) const CHUNK: usize = 16;
const CHUNK_BYTES: u64 = 256 << 10;

/// Finds mail, waits for the budget, and hands it to the workers in chunks.
pub(super) struct Feeder<'f, 's> {
    pub(super) batch: &'s Batch<'s>,
    pub(super) workers: &'f rayon::Scope<'s>,
    pub(super) judged: Sender<Vec<Judged>>,
    /// To the threads that ask hooks: a worker never waits for one.
    pub(super) asked: Sender<Judged>,
    pub(super) chunk: Vec<Parcel>,
    pub(super) bytes: u64,
    /// Files that another server took first.
    pub(super) lost: u64,
}

impl Feeder<'_, '_> {
    pub(super) fn feed(&mut self, work: Work<'_>) -> Result<(), EngineError> {
        let batch = self.batch;
        match work {
            Work::Import { found, .. } => self.feed_import(found)?,
            Work::Claims(claims) => {
                let Some(spool) = batch.spool.clone() else { return Ok(()) };
                let claims = self.feed_suspects(&spool, claims)?;
                self.feed_claims(claims, u64::MAX)?;
            }
            Work::DropFolder { limit } => self.feed_drop_folder(limit.unwrap_or(u64::MAX), false)?,
            Work::Letters(letters) => self.feed_letters(letters)?,
            Work::AsItComes => self.feed_drop_folder(u64::MAX, true)?,
        }
        Ok(())
    }

    fn feed_drop_folder(&mut self, limit: u64, patient: bool) -> Result<(), EngineError> {
        let batch = self.batch;
        let Some(spool) = batch.spool.clone() else { return Ok(()) };
        spool.check_ours()?;
        let room = batch.check_room().map_err(EngineError::from);
        match room.and_then(|()| self.feed_spool(&spool, limit, patient)) {
            // Nothing was claimed yet, and nothing need be.
            Err(error @ EngineError::Store(StoreError::Full(_))) if lock(&batch.sheet).found == 0 => {
                defer_in_place(batch, &spool, limit)?;
                // Where nothing waits, nothing is wrong.
                if lock(&batch.sheet).found > 0 {
                    batch.halt(error);
                }
                Ok(())
            }
            fed => fed,
        }
    }

    fn feed_claims(&mut self, claims: Vec<Claim>, limit: u64) -> Result<(), EngineError> {
        let mut claims = claims.into_iter();
        let spool = self.batch.spool.clone();
        for (count, mut claim) in (0u64..).zip(claims.by_ref()) {
            if count >= limit || self.batch.is_halted() {
                release(spool.as_deref(), &claim);
                break;
            }
            if let Err(error) = self.batch.found() {
                // Nobody works on these: the next batch takes them up again.
                release(spool.as_deref(), &claim);
                claims.for_each(|claim| release(spool.as_deref(), &claim));
                return Err(error.into());
            }
            // Opened here for its size; what is wrong with it is judged when it is read.
            if let Some(spool) = &spool {
                let _ = claim.open(spool);
            }
            self.push(claim.size(), Parcel::of(claim));
        }
        claims.for_each(|claim| release(spool.as_deref(), &claim));
        Ok(())
    }

    /// Judges what may have killed a process before, each mail alone: first in a child process, then here with nothing
    /// beside it. Answers the claims that nothing is held against.
    fn feed_suspects(&mut self, spool: &Spool, claims: Vec<Claim>) -> Result<Vec<Claim>, EngineError> {
        let Some(slots) = self.batch.slots.clone() else { return Ok(claims) };
        let is_suspect = |claim: &Claim| claim.is_suspect() || slots.suspicion(claim.id()).is_some();
        let (suspects, innocent): (Vec<_>, Vec<_>) = claims.into_iter().partition(is_suspect);
        for mut claim in suspects {
            if self.batch.is_halted() {
                spool.release(claim.id());
                continue;
            }
            self.batch.found()?;
            let (condemned, alone) = match self.batch.mill.try_alone(&slots, claim.id(), &claim.path(spool)) {
                Alone::Survived => (None, true),
                Alone::Condemned(text) => (Some(text), false),
                Alone::NotTried(error) => {
                    self.batch.ends_in_place(End::Deferred, Some(stuck(claim.id(), claim.name(), &error)));
                    spool.release(claim.id());
                    continue;
                }
            };
            let _ = claim.open(spool);
            self.push(claim.size(), Parcel { alone, condemned, ..Parcel::of(claim) });
            self.flush();
            self.batch.budget.wait_for_all();
        }
        let waiting = spool.waiting_ids();
        if let Err(error) = slots.keep(|id| waiting.contains(&id)) {
            tracing::debug!(%error, "the suspects cannot be forgotten; they are judged alone once more");
        }
        Ok(innocent)
    }

    fn feed_spool(&mut self, spool: &Spool, limit: u64, patient: bool) -> Result<(), EngineError> {
        let claims = spool.waiting_claims()?;
        if !claims.is_empty()
            && let Err(error) = self.batch.number_for_claim()
        {
            claims.iter().for_each(|claim| spool.release(claim.id()));
            return Err(error.into());
        }
        let claims = self.feed_suspects(spool, claims)?;
        let found = lock(&self.batch.sheet).found;
        self.feed_claims(claims, limit.saturating_sub(found))?;
        self.feed_folder(spool, limit, patient)
    }

    fn feed_folder(&mut self, spool: &Spool, limit: u64, patient: bool) -> Result<(), EngineError> {
        let mut listing = spool.list_to_claim(patient)?;
        while let Some(entry) = listing.next() {
            let entry = entry?;
            if self.batch.is_halted() || lock(&self.batch.sheet).found >= limit {
                return Ok(());
            }
            // A number for the batch comes with the first file, before any claim carries it.
            self.batch.number_for_claim()?;
            let id = self.batch.next_id();
            let name = entry.name.to_string_lossy().into_owned();
            match spool.take(entry, id) {
                Taken::Claim(claim) => {
                    listing.won();
                    self.batch.found()?;
                    self.push(claim.size(), Parcel::of(claim));
                }
                // Also when the folder to claim into is gone.
                Taken::Gone => {
                    listing.lost();
                    self.lost += 1;
                    spool.check_ours()?;
                }
                Taken::Incomplete => {
                    self.batch.found()?;
                    self.batch.ends_in_place(End::Incomplete, None);
                }
                Taken::Stuck(error) => {
                    spool.check_folder(&error)?;
                    self.batch.found()?;
                    self.batch.ends_in_place(End::Deferred, Some(stuck(id, name, &error)));
                }
            }
        }
        self.batch.left_some.store(listing.left_some(), Ordering::Relaxed);
        Ok(())
    }

    fn feed_import(&mut self, found: Box<dyn Iterator<Item = Found> + Send + '_>) -> Result<(), EngineError> {
        for found in found {
            if self.batch.is_halted() {
                return Ok(());
            }
            self.batch.found()?;
            Progress::add(&self.batch.progress.consumed, found.consumed);
            let id = self.batch.next_id();
            let size = found.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
            let bytes = found.bytes.map_err(|error| (error.reason(), error.to_string()));
            self.push(size, Parcel { bytes: Some(bytes), ..Parcel::named(id, found.name) });
        }
        Ok(())
    }

    pub(super) fn push(&mut self, size: u64, parcel: Parcel) {
        let cost = self.batch.budget.cost(size);
        if !self.batch.budget.try_take(cost) {
            // What is held back here must be on its way before we wait for room.
            self.flush();
            self.batch.budget.take(cost);
        }
        self.chunk.push(Parcel { cost, ..parcel });
        self.bytes += size;
        if self.chunk.len() >= CHUNK || self.bytes >= CHUNK_BYTES {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        let is_light = std::mem::take(&mut self.bytes) <= LIGHT;
        let chunk = std::mem::take(&mut self.chunk);
        let (batch, judged, asked) = (self.batch, self.judged.clone(), self.asked.clone());
        batch.judging.fetch_add(chunk.len() as u64, Ordering::Release);
        if is_light && chunk.iter().all(Parcel::is_letter) {
            let slot = batch.mill.pool.current_num_threads() + HOOK_THREADS;
            return batch.judge_chunk(chunk, slot, &judged, &asked);
        }
        self.workers.spawn(move |_| {
            let worker = rayon::current_thread_index().unwrap_or_default();
            batch.judge_chunk(chunk, worker, &judged, &asked);
        });
    }
}

fn release(spool: Option<&Spool>, claim: &Claim) {
    if let Some(spool) = spool {
        spool.release(claim.id());
    }
}

/// The store takes nothing: what waits is counted where it lies, and stays there.
fn defer_in_place(batch: &Batch<'_>, spool: &Spool, limit: u64) -> Result<(), EngineError> {
    let waiting = spool.waiting_claims()?;
    waiting.iter().for_each(|claim| spool.release(claim.id()));
    let waiting = waiting.into_iter().map(|claim| Ok((claim.id(), claim.name())));
    let nobody = ClaimId { batch: 0, number: 0 };
    let dropped = spool.list()?.map(|entry| entry.map(|entry| (nobody, entry.name.to_string_lossy().into_owned())));
    for found in waiting.chain(dropped).take(usize::try_from(limit).unwrap_or(usize::MAX)) {
        let (id, name) = found?;
        lock(&batch.sheet).found += 1;
        Progress::add(&batch.progress.found, 1);
        batch.ends_in_place(
            End::Deferred,
            Some(in_place(id, name, Reason::StoreFull, Reason::StoreFull.text().to_owned())),
        );
    }
    Ok(())
}

/// The row of a file that cannot be moved out of the drop folder.
fn stuck(id: ClaimId, file: String, error: &std::io::Error) -> Problem {
    in_place(id, file, Reason::ReadError, format!("cannot be moved out of the drop folder: {error}"))
}

/// The row of a file that stays where it is.
fn in_place(id: ClaimId, file: String, reason: Reason, text: String) -> Problem {
    Problem {
        id: id.to_string(),
        file,
        mail_id: None,
        message_id: None,
        sender: None,
        recipient: None,
        outcome: End::Deferred.word().to_owned(),
        reason: reason.code().to_owned(),
        text,
    }
}
