//! One batch: everything that waits is claimed, judged by the workers, committed in groups and settled by a pool of its own.
//!
//! ```text
//! feeder (this thread) --spawn--> workers --judged--> committer --decided--> settling threads
//!        ^ budget: bytes and claims in flight                                       |
//!        +--------------------------------- given back -----------------------------+
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::budget::Budget;
use super::judge::{Policy, Verdict};
use super::poison::{Alone, Slots};
use super::{EngineError, Mill, Progress, TICK, open_claims, rfc3339};
use crate::config::Keep as KeepSetting;
use crate::import_source::Found;
use crate::model::list::List;
use crate::model::mail::ClaimId;
use crate::model::outcome::{End, Problem, Reason, Sheet};
use crate::model::plan::{Decided, Landed, Plan};
use crate::pipeline::commit::GroupBuilder;
use crate::pipeline::settle::settlement;
use crate::spool::{Claim, Keep, Settlement, Spool, SpoolError, Taken};
use crate::store::{Counter, Receipt, StoreError, Write};

/// What a batch works on.
pub enum Work<'w> {
    /// Claims left over, then the drop folder, at most `limit` files.
    DropFolder { limit: Option<u64> },
    /// As `DropFolder`, by a server that soon looks again: what is young and falls to another server is left to it.
    AsItComes,
    /// These claims only: mail that is tried again.
    Claims(Vec<Claim>),
    /// Mail from elsewhere, into one list.
    Import { list: Arc<List>, found: Box<dyn Iterator<Item = Found> + Send + 'w> },
}

/// The sheet of a batch, printed whether or not the engine came to its end.
#[derive(Debug)]
pub struct BatchResult {
    pub sheet: Sheet,
    pub error: Option<EngineError>,
    /// Young files were left to other servers: worth a look again soon.
    pub left_some: bool,
}

/// A mail on its way.
struct Parcel {
    claim: Option<Claim>,
    id: ClaimId,
    name: String,
    /// An import's bytes; a claim is read by the worker.
    bytes: Option<Result<Vec<u8>, (Reason, String)>>,
    cost: u64,
    /// It may have killed a process: nothing else is in work beside it.
    alone: bool,
    /// It did, too often: this is said of it, and it is judged no more.
    condemned: Option<String>,
}

impl Parcel {
    fn of(claim: Claim) -> Self {
        let (id, name) = (claim.id(), claim.name());
        Self { claim: Some(claim), id, name, bytes: None, cost: 0, alone: false, condemned: None }
    }
}

struct Judged {
    parcel: Parcel,
    verdict: Verdict,
}

struct Settling {
    parcel: Parcel,
    settlement: Settlement,
    end: End,
    problems: Vec<Problem>,
    size: u64,
    items: u64,
    attachments: u64,
    /// What the after hooks are told of.
    landed: Vec<Landed>,
}

/// What the threads of one batch share.
struct Batch<'b> {
    mill: &'b Mill,
    spool: Option<Arc<Spool>>,
    slots: Option<Arc<Slots>>,
    policy: Policy,
    progress: &'b Progress,
    budget: Budget,
    sheet: Mutex<Sheet>,
    /// The batch number, once something was found; 0 before.
    number: AtomicU64,
    next_claim: AtomicU64,
    /// Mails handed to the workers and not yet judged.
    judging: AtomicU64,
    halted: AtomicBool,
    left_some: AtomicBool,
    error: Mutex<Option<EngineError>>,
    started: jiff::Timestamp,
}

/// Mails are handed to the workers in chunks: each costs one allocation and one wake-up.
const CHUNK: usize = 16;
const CHUNK_BYTES: u64 = 256 << 10;

/// Hooks are other people's programs: so many of them run side by side, and no worker waits for one.
const HOOK_THREADS: usize = 4;

impl Mill {
    /// Runs one batch to its end. Never panics and never returns without a sheet.
    pub fn run(&self, work: Work<'_>, progress: &Progress) -> BatchResult {
        let clock = Instant::now();
        let started = jiff::Timestamp::now();
        let recovered = self.store.recover();
        let mut sheet = self.sheet(self.store.counter(Counter::Batch).unwrap_or_default(), started);
        // What is imported has nothing to do with the drop folder.
        let is_import = matches!(work, Work::Import { .. });
        let spool = match (!is_import).then(|| self.spool()).transpose() {
            Ok(spool) => spool,
            Err(error) => {
                sheet.close(0.0);
                return BatchResult { sheet, error: Some(error.into()), left_some: false };
            }
        };
        if let Some(spool) = &spool {
            self.forget_done(spool, started);
        }
        let policy = match &work {
            Work::Import { list, .. } => Policy::Import(Arc::clone(list)),
            _ => Policy::Envelope,
        };
        let limits = &self.config.limits;
        let batch = Batch {
            mill: self,
            slots: spool.as_ref().and_then(|_| self.slots()),
            spool,
            policy,
            progress,
            budget: Budget::new(limits.memory, open_claims(limits.claims)),
            sheet: Mutex::new(sheet),
            number: AtomicU64::new(0),
            next_claim: AtomicU64::new(1),
            judging: AtomicU64::new(0),
            halted: AtomicBool::new(false),
            left_some: AtomicBool::new(false),
            error: Mutex::default(),
            started,
        };
        match recovered {
            Ok(()) => batch.run(work),
            Err(error) => batch.halt(error.into()),
        }
        batch.close(clock.elapsed())
    }
}

impl Mill {
    /// What was kept longer than `incoming.keep_for` goes. Mail does not wait for it: what cannot be removed is tried again.
    fn forget_done(&self, spool: &Spool, now: jiff::Timestamp) {
        let incoming = &self.config.incoming;
        let kept = i64::try_from(incoming.keep_for.as_secs()).unwrap_or(i64::MAX);
        let oldest = jiff::Timestamp::from_second(now.as_second().saturating_sub(kept));
        let (KeepSetting::Done, Ok(oldest)) = (incoming.keep, oldest) else { return };
        if let Err(error) = spool.purge_done(&oldest.strftime("%Y-%m-%d").to_string()) {
            tracing::warn!(%error, "old files in done/ cannot be removed");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Batch<'_> {
    fn run(&self, work: Work<'_>) {
        let limits = &self.mill.config.limits;
        let (judged, to_commit) = crossbeam_channel::unbounded();
        let (asked, to_ask) = crossbeam_channel::unbounded::<Judged>();
        let (decided, to_settle) = crossbeam_channel::unbounded::<Settling>();
        std::thread::scope(|threads| {
            for _ in 0..limits.settle_threads.max(1) {
                let to_settle = to_settle.clone();
                threads.spawn(move || to_settle.iter().for_each(|settling| self.settle(settling)));
            }
            for _ in 0..HOOK_THREADS {
                let (to_ask, judged) = (to_ask.clone(), judged.clone());
                threads.spawn(move || to_ask.iter().for_each(|waiting| self.ask(waiting, &judged)));
            }
            threads.spawn(move || self.commit_groups(&to_commit, &decided));
            self.mill.pool.in_place_scope(|workers| {
                let mut feeder = Feeder { batch: self, workers, judged, asked, chunk: Vec::new(), bytes: 0, lost: 0 };
                if let Err(error) = feeder.feed(work) {
                    self.halt(error);
                }
                feeder.flush();
                if feeder.lost > 0 {
                    tracing::info!(found = lock(&self.sheet).found, lost = feeder.lost, "another server was faster");
                }
            });
        });
    }

    /// The first failure is the one that is told; from then on nothing is claimed or committed.
    fn halt(&self, error: EngineError) {
        self.halted.store(true, Ordering::Relaxed);
        lock(&self.error).get_or_insert(error);
    }

    fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed) || self.mill.is_stopping()
    }

    /// Counts a file as found.
    fn found(&self) -> Result<(), StoreError> {
        self.number_for_claim()?;
        lock(&self.sheet).found += 1;
        Progress::add(&self.progress.found, 1);
        Ok(())
    }

    /// Gives the batch its number with the first file. The number is durable before any claim carries it.
    fn number_for_claim(&self) -> Result<(), StoreError> {
        if self.number.load(Ordering::Relaxed) == 0 {
            let _writer = lock(&self.mill.writer);
            let number = self.mill.store.counter(Counter::Batch)?;
            self.mill.store.commit(vec![Write::Counter(Counter::Batch, number + 1)].into())?;
            self.number.store(number, Ordering::Relaxed);
            lock(&self.sheet).batch = number;
        }
        Ok(())
    }

    fn next_id(&self) -> ClaimId {
        ClaimId { batch: self.number.load(Ordering::Relaxed), number: self.next_claim.fetch_add(1, Ordering::Relaxed) }
    }

    /// A file that ends without ever having been a claim of ours.
    fn ends_in_place(&self, end: End, problem: Option<Problem>) {
        let mut sheet = lock(&self.sheet);
        sheet.count(end);
        if let Some(problem) = problem {
            sheet.add_problem(problem);
        }
        Progress::add(&self.progress.ended, 1);
    }

    fn judge(&self, mut parcel: Parcel) -> Judged {
        let directory = self.mill.directory.get();
        let verdict = match (&mut parcel.claim, parcel.bytes.take(), &self.spool) {
            (Some(claim), _, Some(spool)) => match parcel.condemned.take() {
                Some(text) => Mill::condemn(claim, spool, text),
                None => self.mill.judge_claim(claim, spool, &directory),
            },
            (_, Some(Ok(bytes)), _) => {
                self.mill.judge(&bytes, parcel.id, parcel.name.clone(), &self.policy, &directory)
            }
            (_, Some(Err((reason, text))), _) => {
                Verdict::Plan(Box::new(Plan::failed(parcel.id, parcel.name.clone(), 0, reason, text)))
            }
            _ => Verdict::NotNow("nothing to read".to_owned()),
        };
        Judged { parcel, verdict }
    }

    fn is_import(&self) -> bool {
        matches!(self.policy, Policy::Import(_))
    }

    /// Hooks are for mail that comes in, not for what an administrator imports.
    fn has_before(&self, judged: &Judged) -> bool {
        let Verdict::Plan(plan) = &judged.verdict else { return false };
        !self.is_import() && Mill::has_before(plan, &self.mill.directory.get())
    }

    /// Runs on the hook threads.
    fn ask(&self, mut waiting: Judged, judged: &Sender<Judged>) {
        if let Verdict::Plan(plan) = &mut waiting.verdict {
            self.mill.ask_before(plan, &self.mill.directory.get());
        }
        // The committer lives until every sender is gone.
        let _ = judged.send(waiting);
        self.judging.fetch_sub(1, Ordering::Release);
    }

    /// The committer: gathers plans into groups, ends a group by count, bytes or age, or when nothing else is under way.
    fn commit_groups(&self, judged: &Receiver<Judged>, decided: &Sender<Settling>) {
        let limits = &self.mill.config.limits;
        let mut group = Gathered::default();
        loop {
            let idle = judged.is_empty() && self.judging.load(Ordering::Acquire) == 0;
            let full = group.plans.len() >= limits.group_mails || group.weight >= limits.group_bytes;
            let old = group.since.is_some_and(|since| since.elapsed() >= limits.group_age);
            if full || old || (idle && !group.plans.is_empty()) {
                self.commit(std::mem::take(&mut group), decided);
            }
            match judged.recv_timeout(if group.plans.is_empty() { TICK } else { limits.group_age.min(TICK) }) {
                Ok(Judged { parcel, verdict }) => self.gather(&mut group, parcel, verdict, decided),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if !group.plans.is_empty() {
            self.commit(group, decided);
        }
    }

    fn gather(&self, group: &mut Gathered, parcel: Parcel, verdict: Verdict, decided: &Sender<Settling>) {
        match verdict {
            Verdict::Plan(plan) => {
                group.since.get_or_insert_with(Instant::now);
                group.weight += plan.weight();
                group.plans.push_back((parcel, *plan));
            }
            Verdict::NotNow(_) => self.leave(parcel, End::Incomplete, Vec::new(), decided),
            Verdict::Broken(error) => {
                self.halt(error.into());
                self.leave(parcel, End::Deferred, Vec::new(), decided);
            }
        }
    }

    fn commit(&self, group: Gathered, decided: &Sender<Settling>) {
        if self.halted.load(Ordering::Relaxed) {
            return self.defer(group.plans.into_iter().collect(), decided);
        }
        let (parcels, plans): (Vec<_>, Vec<_>) = group.plans.into_iter().unzip();
        // Should the group fail, this is what the sheet says of its mails.
        let bare: Vec<Plan> = plans.iter().map(Plan::without_content).collect();
        match self.write(plans) {
            Ok((ends, receipts)) => {
                for ((parcel, end), receipt) in parcels.into_iter().zip(ends).zip(receipts) {
                    self.send(parcel, &end, receipt, decided);
                }
            }
            Err(error) => {
                self.halt(error);
                self.defer(parcels.into_iter().zip(bare).collect(), decided);
            }
        }
    }

    /// Builds and commits one group under the writer lock.
    fn write(&self, plans: Vec<Plan>) -> Result<(Vec<Decided>, Vec<Receipt>), EngineError> {
        self.check_room()?;
        let _writer = lock(&self.mill.writer);
        let directory = self.mill.directory.get();
        let mut builder = GroupBuilder::new(&*self.mill.store, jiff::Timestamp::now().as_second());
        for plan in plans {
            builder.add(plan, &directory)?;
        }
        let (group, ends) = builder.finish();
        // As late as can be: a server that slept through its own reclaim must not wake up and deliver.
        self.check_ours()?;
        Ok((ends, self.mill.store.commit(group)?))
    }

    fn check_ours(&self) -> Result<(), SpoolError> {
        self.spool.as_ref().map_or(Ok(()), |spool| spool.check_ours())
    }

    /// Mail is deferred before the disk is full: a store that ran into the wall needs repair, one that stopped before it needs room.
    fn check_room(&self) -> Result<(), StoreError> {
        let reserve = self.mill.config.limits.store_reserve;
        match rustix::fs::statvfs(&self.mill.config.store) {
            Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < reserve => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                Err(StoreError::Full(format!("{free} bytes free, limits.store_reserve keeps {reserve}")))
            }
            _ => Ok(()),
        }
    }

    fn send(&self, parcel: Parcel, decided: &Decided, receipt: Receipt, to_settle: &Sender<Settling>) {
        let keep = match self.mill.config.incoming.keep {
            KeepSetting::Remove => Keep::Remove,
            KeepSetting::Done => Keep::Done { date: self.started.strftime("%Y-%m-%d").to_string() },
        };
        let time = rfc3339(jiff::Timestamp::now());
        let settling = Settling {
            settlement: settlement(decided, receipt, &keep, &time, self.number.load(Ordering::Relaxed)),
            end: decided.end,
            problems: decided.plan.problems().collect(),
            size: decided.plan.size,
            items: decided.items,
            attachments: decided.attachments,
            landed: if self.is_import() { Vec::new() } else { self.mill.to_tell_after(decided) },
            parcel,
        };
        self.hand_on(settling, to_settle);
    }

    /// The store takes nothing more: the claims stay where they are and the next batch takes them up.
    fn defer(&self, plans: Vec<(Parcel, Plan)>, decided: &Sender<Settling>) {
        let full = matches!(&*lock(&self.error), Some(EngineError::Store(StoreError::Full(_))));
        for (parcel, mut plan) in plans {
            plan.failures.clear();
            if full {
                let text = Reason::StoreFull.text().to_owned();
                plan.failures.push(crate::model::plan::Failure { recipient: None, reason: Reason::StoreFull, text });
            }
            let problems = plan.problems().collect();
            self.leave(parcel, End::Deferred, problems, decided);
        }
    }

    fn leave(&self, parcel: Parcel, end: End, problems: Vec<Problem>, decided: &Sender<Settling>) {
        let settling = Settling {
            parcel,
            settlement: Settlement::Leave,
            end,
            problems,
            size: 0,
            items: 0,
            attachments: 0,
            landed: Vec::new(),
        };
        self.hand_on(settling, decided);
    }

    fn hand_on(&self, settling: Settling, to_settle: &Sender<Settling>) {
        // Receivers live as long as the sender does; should one be gone all the same, the mail is settled here.
        if let Err(unsent) = to_settle.send(settling) {
            self.settle(unsent.into_inner());
        }
    }

    /// Runs on the settling threads: carries out the end of one mail and counts it.
    fn settle(&self, settling: Settling) {
        let Settling { parcel, settlement, mut end, problems, size, items, attachments, landed } = settling;
        self.mill.tell_after(&landed);
        if let (Some(claim), Some(spool)) = (parcel.claim, &self.spool)
            && let Err(error) = spool.settle(claim, settlement)
        {
            // Delivered mail is in the ledger: the file that could not be removed is removed by the next batch.
            if matches!(end, End::Refused | End::Damaged) {
                end = End::Deferred;
            }
            tracing::warn!(file = %parcel.name.escape_debug(), %error, "cannot be settled; it stays in claimed/ and is tried again");
        }
        self.budget.give_back(parcel.cost);
        let mut sheet = lock(&self.sheet);
        sheet.count(end);
        sheet.items += items;
        sheet.attachments += attachments;
        sheet.bytes += size;
        for problem in problems {
            sheet.add_problem(problem);
        }
        drop(sheet);
        Progress::add(&self.progress.ended, 1);
        Progress::add(&self.progress.bytes, size);
    }

    /// Closes the sheet and writes it into the history.
    fn close(self, elapsed: Duration) -> BatchResult {
        let mut sheet = self.sheet.into_inner().unwrap_or_else(PoisonError::into_inner);
        sheet.close(elapsed.as_secs_f64());
        let mut error = self.error.into_inner().unwrap_or_else(PoisonError::into_inner);
        let recorded = if self.number.into_inner() == 0 { Ok(()) } else { self.mill.record(&sheet) };
        if let (Err(failure), None) = (recorded, &error) {
            error = Some(failure.into());
        }
        if !sheet.balanced && error.is_none() {
            error = Some(EngineError::Unbalanced { found: sheet.found, ended: sheet.ended() });
        }
        BatchResult { sheet, error, left_some: self.left_some.into_inner() }
    }
}

impl Mill {
    fn record(&self, sheet: &Sheet) -> Result<(), StoreError> {
        let _writer = lock(&self.writer);
        self.store.commit(vec![Write::Sheet(Box::new(sheet.clone()))].into()).map(drop)
    }
}

/// Plans on their way into one group.
#[derive(Default)]
struct Gathered {
    plans: VecDeque<(Parcel, Plan)>,
    weight: u64,
    since: Option<Instant>,
}

/// Finds mail, waits for the budget, and hands it to the workers in chunks.
struct Feeder<'f, 's> {
    batch: &'s Batch<'s>,
    workers: &'f rayon::Scope<'s>,
    judged: Sender<Judged>,
    /// To the threads that ask hooks: a worker never waits for one.
    asked: Sender<Judged>,
    chunk: Vec<Parcel>,
    bytes: u64,
    /// Files that another server took first.
    lost: u64,
}

impl Feeder<'_, '_> {
    fn feed(&mut self, work: Work<'_>) -> Result<(), EngineError> {
        let batch = self.batch;
        match work {
            Work::Import { found, .. } => self.feed_import(found)?,
            Work::Claims(claims) => {
                let Some(spool) = batch.spool.clone() else { return Ok(()) };
                let claims = self.feed_suspects(&spool, claims)?;
                self.feed_claims(claims, u64::MAX)?;
            }
            Work::DropFolder { limit } => self.feed_drop_folder(limit.unwrap_or(u64::MAX), false)?,
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
            let (name, bytes) = (found.name, Some(bytes));
            self.push(size, Parcel { claim: None, id, name, bytes, cost: 0, alone: false, condemned: None });
        }
        Ok(())
    }

    fn push(&mut self, size: u64, parcel: Parcel) {
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

    fn flush(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        self.bytes = 0;
        let chunk = std::mem::take(&mut self.chunk);
        let (batch, judged, asked) = (self.batch, self.judged.clone(), self.asked.clone());
        batch.judging.fetch_add(chunk.len() as u64, Ordering::Release);
        self.workers.spawn(move |_| {
            let worker = rayon::current_thread_index().unwrap_or_default();
            for parcel in chunk {
                if let Some(slots) = &batch.slots {
                    slots.note(worker, parcel.id, parcel.alone);
                }
                let done = batch.judge(parcel);
                // Receivers live until every sender is gone.
                if batch.has_before(&done) {
                    let _ = asked.send(done);
                } else {
                    let _ = judged.send(done);
                    batch.judging.fetch_sub(1, Ordering::Release);
                }
            }
            if let Some(slots) = &batch.slots {
                slots.clear(worker);
            }
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
