//! Gathers plans into groups and commits them.
//!
//! ```text
//! judged --> gatherer --group--> committers: bulk bytes written ahead (side by side),
//!                                then built and committed (one at a time)
//! ```
//!
//! A group ends by count, bytes or age, or when nothing else is under way; while another is being written it grows on, so that slow
//! disks get large groups.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, select};

use super::batch::{Batch, Judged, Parcel, Settling, lock};
use super::judge::Verdict;
use super::letters::{is_plain, is_taken};
use super::{EngineError, TICK, rfc3339};
use crate::config::Keep as KeepSetting;
use crate::model::mail::BlobHash;
use crate::model::outcome::{End, Reason};
use crate::model::plan::{Blob, Decided, Failure, Plan};
use crate::pipeline::commit::{Built, GroupBuilder};
use crate::pipeline::settle::settlement;
use crate::spool::{Keep, SpoolError};
use crate::store::{Counter, ListStore, Receipt, Staged, StoreError, Write};

/// One writes the bulk of its group ahead while the other commits.
pub(super) const COMMITTERS: usize = 2;

/// Ids for what is written ahead are taken from the store so many at a time: each taking is a synced write.
const IDS: u64 = 1 << 16;

/// Plans on their way into one group.
#[derive(Default)]
pub(super) struct Gathered {
    plans: Vec<(Parcel, Plan)>,
    weight: u64,
    since: Option<Instant>,
    turn: u64,
}

/// Groups are committed in the order in which they were gathered, whichever is written ahead first.
#[derive(Default)]
pub(super) struct Turns {
    now: Mutex<u64>,
    next: Condvar,
}

impl Turns {
    fn wait_for(&self, turn: u64) {
        let waited = self.next.wait_while(lock(&self.now), |now| *now < turn);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn end(&self, turn: u64) {
        let mut now = lock(&self.now);
        *now = (*now).max(turn + 1);
        drop(now);
        self.next.notify_all();
    }
}

/// What is being written ahead in this batch.
#[derive(Default)]
pub(super) struct Bulk {
    ids: Ids,
    /// Contents on their way: another group leaves them to the one that has them.
    under_way: HashSet<BlobHash>,
}

/// Ids of blobs that are ours, and not given out yet.
#[derive(Default)]
pub(super) struct Ids {
    next: u64,
    end: u64,
}

impl Ids {
    /// The first of so many ids in a row that no blob has or will have.
    pub(super) fn take(&mut self, count: u64, store: &dyn ListStore, writer: &Mutex<()>) -> Result<u64, StoreError> {
        if self.end - self.next < count {
            let _writer = lock(writer);
            let next = store.counter(Counter::Blob)?;
            let end = next + count.max(IDS);
            store.commit(vec![Write::Counter(Counter::Blob, end)].into())?;
            // Not before: were the commit to fail, the other committer would use ids that the store gives out again.
            *self = Self { next, end };
        }
        let first = self.next;
        self.next += count;
        Ok(first)
    }
}

/// The bulk of one group, written ahead.
struct Ahead {
    ids: HashMap<BlobHash, u64>,
    staged: Staged,
}

impl Batch<'_> {
    pub(super) fn gather_groups(
        &self,
        judged: &Receiver<Vec<Judged>>,
        (groups, done): (&Sender<Gathered>, &Receiver<()>),
        decided: &Sender<Vec<Settling>>,
    ) {
        let limits = &self.mill.config.limits;
        let mut group = Gathered::default();
        // Groups that are being committed.
        let mut busy = 0_usize;
        let mut turn = 0;
        loop {
            while !self.is_full(&group)
                && let Ok(next) = judged.try_recv()
            {
                self.gather(&mut group, next, decided);
            }
            let idle = judged.is_empty() && self.judging.load(Ordering::Acquire) == 0;
            let old = group.since.is_some_and(|since| since.elapsed() >= limits.group_age);
            let ready = busy == 0 && (old || idle) && !group.plans.is_empty();
            if ready || self.is_full(&group) {
                // Waits for a committer that is free. They live as long as we do.
                let _ = groups.send(Gathered { turn, ..std::mem::take(&mut group) });
                busy += 1;
                turn += 1;
            }
            select! {
                recv(judged) -> next => match next {
                    Ok(next) => self.gather(&mut group, next, decided),
                    Err(_) => break,
                },
                recv(done) -> _ => busy = busy.saturating_sub(1),
                default(if group.plans.is_empty() { TICK } else { limits.group_age.min(TICK) }) => {}
            }
        }
        if !group.plans.is_empty() {
            let _ = groups.send(Gathered { turn, ..group });
        }
    }

    fn is_full(&self, group: &Gathered) -> bool {
        let limits = &self.mill.config.limits;
        group.plans.len() >= limits.group_mails || group.weight >= limits.group_bytes
    }

    fn gather(&self, group: &mut Gathered, judged: Vec<Judged>, decided: &Sender<Vec<Settling>>) {
        let mut left = Vec::new();
        let directory = self.mill.directory.get();
        for judged in judged {
            if judged.parcel.is_letter() && !is_plain(&judged, self.mill.config.incoming.keep, &directory) {
                self.decline(judged.parcel);
                continue;
            }
            let Judged { parcel, verdict } = judged;
            match verdict {
                Verdict::Plan(plan) => {
                    group.since.get_or_insert_with(Instant::now);
                    group.weight += plan.weight();
                    group.plans.push((parcel, *plan));
                }
                Verdict::NotNow(_) => left.push(Settling::left(parcel, End::Incomplete, Vec::new())),
                Verdict::Later(plan) => left.push(Settling::left(parcel, End::Deferred, plan.problems().collect())),
                // It was looked up, and forgotten again before it was used.
                Verdict::Keys(_) => left.push(Settling::left(parcel, End::Deferred, Vec::new())),
                Verdict::Broken(error) => {
                    self.halt(error.into());
                    left.push(Settling::left(parcel, End::Deferred, Vec::new()));
                }
            }
        }
        self.hand_on(left, decided);
    }

    /// Runs on each of the committing threads.
    pub(super) fn commit_groups(
        &self,
        groups: &Receiver<Gathered>,
        done: &Sender<()>,
        decided: &Sender<Vec<Settling>>,
    ) {
        for group in groups {
            let turn = group.turn;
            self.commit(group, decided);
            self.turns.end(turn);
            // Nobody listens any more at the end.
            let _ = done.send(());
        }
    }

    fn commit(&self, group: Gathered, decided: &Sender<Vec<Settling>>) {
        if self.halted.load(Ordering::Relaxed) {
            return self.defer(group.plans, decided);
        }
        let turn = group.turn;
        let (parcels, plans): (Vec<_>, Vec<_>) = group.plans.into_iter().unzip();
        // Should the group fail, this is what the sheet says of its mails.
        let bare: Vec<Plan> = plans.iter().map(Plan::without_content).collect();
        match self.write(plans, turn) {
            Ok((ends, receipts)) => {
                let time = rfc3339(jiff::Timestamp::now());
                let mut settlings = Vec::with_capacity(parcels.len());
                for ((mut parcel, end), receipt) in parcels.into_iter().zip(ends).zip(receipts) {
                    if parcel.is_letter() && !is_taken(&end) {
                        self.decline(parcel);
                        continue;
                    }
                    if let (Some(taken), Some(mail_id)) = (parcel.taken.take(), end.plan.mail_id) {
                        self.count_found();
                        taken(mail_id);
                    }
                    settlings.push(self.settling(parcel, &end, receipt, &time));
                }
                self.hand_on(settlings, decided);
            }
            Err(error) => {
                self.halt(error);
                self.defer(parcels.into_iter().zip(bare).collect(), decided);
            }
        }
    }

    /// Builds and commits one group under the writer lock, after all that needs no lock.
    fn write(&self, plans: Vec<Plan>, turn: u64) -> Result<(Vec<Decided>, Vec<Receipt>), EngineError> {
        self.check_room()?;
        let (blobs, ahead) = self.write_ahead(&plans)?;
        self.turns.wait_for(turn);
        let written = self.build_and_commit(plans, ahead);
        let blobs: HashSet<BlobHash> = blobs.into_iter().collect();
        lock(&self.bulk).under_way.retain(|hash| !blobs.contains(hash));
        written
    }

    fn build_and_commit(
        &self,
        plans: Vec<Plan>,
        ahead: Option<Ahead>,
    ) -> Result<(Vec<Decided>, Vec<Receipt>), EngineError> {
        let _writer = lock(&self.mill.writer);
        let directory = self.mill.directory.get();
        let (store, recent) = (&*self.mill.store, &self.mill.recent);
        let mut builder = GroupBuilder::new(store, jiff::Timestamp::now().as_second()).with_recent(recent);
        let mut staged = None;
        if let Some(ahead) = ahead {
            builder = builder.with_ahead(ahead.ids);
            staged = Some(ahead.staged);
        }
        for plan in plans {
            builder.add(plan, &directory)?;
        }
        let Built { mut group, decided, ledger } = builder.finish();
        group.staged.extend(staged);
        // As late as can be: a server that slept through its own reclaim must not wake up and deliver.
        self.check_ours()?;
        match store.commit(group) {
            Ok(receipts) => {
                recent.note(ledger);
                Ok((decided, receipts))
            }
            Err(error) => {
                recent.forget();
                Err(error.into())
            }
        }
    }

    /// Writes what is large and new in a group, before it is its turn. Answers also the contents that are marked as under way.
    fn write_ahead(&self, plans: &[Plan]) -> Result<(Vec<BlobHash>, Option<Ahead>), EngineError> {
        let from = self.mill.config.limits.bulk_from;
        let blobs = || plans.iter().flat_map(|plan| &plan.blobs);
        let weight = |blobs: &mut dyn Iterator<Item = &Blob>| blobs.map(|blob| blob.bytes.len() as u64).sum::<u64>();
        if weight(&mut blobs()) < from {
            return Ok((Vec::new(), None));
        }
        let mut new: HashMap<BlobHash, &Blob> = HashMap::new();
        for blob in blobs() {
            if !new.contains_key(&blob.hash) && self.mill.store.blob_entry(blob.hash)?.is_none() {
                new.insert(blob.hash, blob);
            }
        }
        let mut bulk = lock(&self.bulk);
        new.retain(|hash, _| !bulk.under_way.contains(hash));
        if new.is_empty() || weight(&mut new.values().copied()) < from {
            return Ok((Vec::new(), None));
        }
        let first = bulk.ids.take(new.len() as u64, &*self.mill.store, &self.mill.writer)?;
        bulk.under_way.extend(new.keys());
        drop(bulk);
        let numbered: Vec<_> = (first..).zip(new.values().map(|blob| Arc::clone(&blob.bytes))).collect();
        let ids: HashMap<_, _> = new.keys().copied().zip(first..).collect();
        let hashes = ids.keys().copied().collect();
        match self.mill.store.stage(numbered) {
            Ok(staged) => Ok((hashes, Some(Ahead { ids, staged }))),
            Err(error) => {
                let mut bulk = lock(&self.bulk);
                bulk.under_way.retain(|hash| !ids.contains_key(hash));
                Err(error.into())
            }
        }
    }

    fn check_ours(&self) -> Result<(), SpoolError> {
        self.spool.as_ref().map_or(Ok(()), |spool| spool.check_ours())
    }

    /// Mail is deferred before the disk is full: a store that ran into the wall needs repair, one that stopped before it needs room.
    pub(super) fn check_room(&self) -> Result<(), StoreError> {
        let reserve = self.mill.config.limits.store_reserve;
        match rustix::fs::statvfs(&self.mill.config.store) {
            Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < reserve => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                Err(StoreError::Full(format!("{free} bytes free, limits.store_reserve keeps {reserve}")))
            }
            _ => Ok(()),
        }
    }

    fn settling(&self, parcel: Parcel, decided: &Decided, receipt: Receipt, time: &str) -> Settling {
        let keep = match self.mill.config.incoming.keep {
            KeepSetting::Remove => Keep::Remove,
            KeepSetting::Done => Keep::Done { date: self.started.strftime("%Y-%m-%d").to_string() },
        };
        Settling {
            settlement: settlement(decided, receipt, &keep, time, self.number.load(Ordering::Relaxed)),
            end: decided.end,
            problems: decided.plan.problems().collect(),
            size: decided.plan.size,
            items: decided.items,
            attachments: decided.attachments,
            landed: if self.is_import() { Vec::new() } else { self.mill.to_tell_after(decided) },
            parcel,
        }
    }

    /// Nobody is told that a letter is taken: a file is made of it, and found later.
    fn decline(&self, parcel: Parcel) {
        self.budget.give_back(1, parcel.cost);
        drop(parcel);
    }

    /// The store takes nothing more: the claims stay where they are and the next batch takes them up.
    fn defer(&self, plans: Vec<(Parcel, Plan)>, decided: &Sender<Vec<Settling>>) {
        let full = matches!(&*lock(&self.error), Some(EngineError::Store(StoreError::Full(_))));
        let (letters, plans): (Vec<_>, Vec<_>) = plans.into_iter().partition(|(parcel, _)| parcel.is_letter());
        letters.into_iter().for_each(|(parcel, _)| self.decline(parcel));
        let left = plans.into_iter().map(|(parcel, mut plan)| {
            plan.failures.clear();
            if full {
                let text = Reason::StoreFull.text().to_owned();
                plan.failures.push(Failure { recipient: None, reason: Reason::StoreFull, text });
            }
            Settling::left(parcel, End::Deferred, plan.problems().collect())
        });
        self.hand_on(left.collect(), decided);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::Ids;
    use crate::engine::tests::{Server, folder};
    use crate::spool::{At, Fault};
    use crate::store::{Counter, ListStore};

    #[test]
    fn ids_whose_taking_failed_are_not_given_out() {
        let folder = folder();
        let server = Server::new(folder.path(), "a");
        let (store, writer) = (&*server.store, Mutex::new(()));
        for step in ["counter", "commit", "commit done"] {
            let mut ids = Ids::default();
            server.faults.arm(At::Step(step, 0), Fault::Error(rustix::io::Errno::IO));
            assert!(ids.take(2, store, &writer).is_err(), "{step}");
            server.faults.disarm();
            let first = ids.take(2, store, &writer).unwrap();
            assert!(
                first + 2 <= store.counter(Counter::Blob).unwrap(),
                "{step}: the store would give {first} out again"
            );
        }
    }
}
