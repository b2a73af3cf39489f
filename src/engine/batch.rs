//! One batch: everything that waits is claimed, judged by the workers, committed in groups and settled by a pool of its own.
//!
//! ```text
//! feeder (this thread) --spawn--> workers --judged--> committer --decided--> settling threads
//!        ^ budget: bytes and claims in flight                                       |
//!        +--------------------------------- given back -----------------------------+
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::budget::Budget;
use super::feed::{CHUNK, Feeder};
use super::groups::{Bulk, COMMITTERS, Turns};
use super::judge::{Policy, Verdict};
use super::letters::Letter;
use super::poison::Slots;
use super::{EngineError, Mill, Progress, open_claims};
use crate::config::Keep as KeepSetting;
use crate::import_source::Found;
use crate::model::list::List;
use crate::model::mail::{ClaimId, MailId};
use crate::model::outcome::{End, Problem, Reason, Sheet};
use crate::model::plan::{Landed, Plan};
use crate::spool::{Claim, Settlement, Spool};
use crate::store::{Counter, StoreError, Write};

/// What a batch works on.
pub enum Work<'w> {
    /// Claims left over, then the drop folder, at most `limit` files.
    DropFolder { limit: Option<u64> },
    /// As `DropFolder`, by a server that soon looks again: what is young and falls to another server is left to it.
    AsItComes,
    /// These claims only: mail that is tried again.
    Claims(Vec<Claim>),
    /// Mail that came without files, until nothing more comes for a moment.
    Letters(&'w Receiver<Letter>),
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
pub(super) struct Parcel {
    pub(super) claim: Option<Claim>,
    pub(super) id: ClaimId,
    pub(super) name: String,
    /// An import's bytes; a claim is read by the worker.
    pub(super) bytes: Option<Result<Vec<u8>, (Reason, String)>>,
    pub(super) cost: u64,
    /// It may have killed a process: nothing else is in work beside it.
    pub(super) alone: bool,
    /// It did, too often: this is said of it, and it is judged no more.
    pub(super) condemned: Option<String>,
    /// Of a mail without a file: whom to tell that it is durable.
    pub(super) taken: Option<Box<dyn FnOnce(MailId) + Send>>,
}

impl Parcel {
    pub(super) fn of(claim: Claim) -> Self {
        let (id, name) = (claim.id(), claim.name());
        Self { claim: Some(claim), ..Self::named(id, name) }
    }

    pub(super) const fn named(id: ClaimId, name: String) -> Self {
        Self { claim: None, id, name, bytes: None, cost: 0, alone: false, condemned: None, taken: None }
    }
}

pub(super) struct Judged {
    pub(super) parcel: Parcel,
    pub(super) verdict: Verdict,
}

pub(super) struct Settling {
    pub(super) parcel: Parcel,
    pub(super) settlement: Settlement,
    pub(super) end: End,
    pub(super) problems: Vec<Problem>,
    pub(super) size: u64,
    pub(super) items: u64,
    pub(super) attachments: u64,
    /// What the after hooks are told of.
    pub(super) landed: Vec<Landed>,
}

impl Settling {
    /// Nothing was decided: the claim stays where it is.
    pub(super) const fn left(parcel: Parcel, end: End, problems: Vec<Problem>) -> Self {
        let settlement = Settlement::Leave;
        Self { parcel, settlement, end, problems, size: 0, items: 0, attachments: 0, landed: Vec::new() }
    }
}

/// What the threads of one batch share.
pub(super) struct Batch<'b> {
    pub(super) mill: &'b Mill,
    pub(super) spool: Option<Arc<Spool>>,
    pub(super) slots: Option<Arc<Slots>>,
    pub(super) policy: Policy,
    pub(super) progress: &'b Progress,
    pub(super) budget: Budget,
    pub(super) bulk: Mutex<Bulk>,
    pub(super) turns: Turns,
    pub(super) sheet: Mutex<Sheet>,
    /// The batch number, once something was found; 0 before.
    pub(super) number: AtomicU64,
    pub(super) next_claim: AtomicU64,
    /// Mails handed to the workers and not yet judged.
    pub(super) judging: AtomicU64,
    pub(super) halted: AtomicBool,
    pub(super) left_some: AtomicBool,
    pub(super) error: Mutex<Option<EngineError>>,
    pub(super) started: jiff::Timestamp,
}

/// Hooks are other people's programs: so many of them run side by side, and no worker waits for one.
pub(super) const HOOK_THREADS: usize = 4;

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
            bulk: Mutex::default(),
            turns: Turns::default(),
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

/// Starts a thread under a name that `top -H` shows. The system may refuse: `ulimit -u`, `pids.max`, `TasksMax`.
fn start<'scope>(
    threads: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() + Send + 'scope,
) -> Result<(), EngineError> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn_scoped(threads, work);
    started.map(drop).map_err(|error| EngineError::Threads(error.to_string()))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Batch<'_> {
    fn run(&self, work: Work<'_>) {
        let limits = &self.mill.config.limits;
        let (judged, to_commit) = crossbeam_channel::unbounded();
        let (asked, to_ask) = crossbeam_channel::unbounded::<Judged>();
        let (decided, to_settle) = crossbeam_channel::unbounded::<Vec<Settling>>();
        std::thread::scope(|threads| {
            let (groups, to_write) = crossbeam_channel::bounded(0);
            let (written, done) = crossbeam_channel::unbounded();
            let crew = || -> Result<(), EngineError> {
                for _ in 0..limits.settle_threads.max(1) {
                    let to_settle = to_settle.clone();
                    start(threads, "settle", move || to_settle.iter().for_each(|settlings| self.settle(settlings)))?;
                }
                for number in 0..HOOK_THREADS {
                    let (to_ask, judged) = (to_ask.clone(), judged.clone());
                    let ask = move || to_ask.iter().for_each(|waiting| self.ask(waiting, number, &judged));
                    start(threads, "hooks", ask)?;
                }
                for _ in 0..COMMITTERS {
                    let (to_write, written, decided) = (to_write.clone(), written.clone(), decided.clone());
                    start(threads, "commit", move || self.commit_groups(&to_write, &written, &decided))?;
                }
                start(threads, "gather", move || self.gather_groups(&to_commit, (&groups, &done), &decided))
            };
            if let Err(error) = crew() {
                // Nothing is claimed yet. Those who wait already end with the channels.
                return self.halt(error);
            }
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
    pub(super) fn halt(&self, error: EngineError) {
        self.halted.store(true, Ordering::Relaxed);
        lock(&self.error).get_or_insert(error);
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed) || self.mill.is_stopping()
    }

    /// Counts a file as found.
    pub(super) fn found(&self) -> Result<(), StoreError> {
        self.number_for_claim()?;
        self.count_found();
        Ok(())
    }

    pub(super) fn count_found(&self) {
        lock(&self.sheet).found += 1;
        Progress::add(&self.progress.found, 1);
    }

    /// Gives the batch its number with the first file. The number is durable before any claim carries it.
    pub(super) fn number_for_claim(&self) -> Result<(), StoreError> {
        if self.number.load(Ordering::Relaxed) == 0 {
            let _writer = lock(&self.mill.writer);
            let number = self.mill.store.counter(Counter::Batch)?;
            self.mill.store.commit(vec![Write::Counter(Counter::Batch, number + 1)].into())?;
            self.number.store(number, Ordering::Relaxed);
            lock(&self.sheet).batch = number;
        }
        Ok(())
    }

    pub(super) fn next_id(&self) -> ClaimId {
        ClaimId { batch: self.number.load(Ordering::Relaxed), number: self.next_claim.fetch_add(1, Ordering::Relaxed) }
    }

    /// A file that ends without ever having been a claim of ours.
    pub(super) fn ends_in_place(&self, end: End, problem: Option<Problem>) {
        let mut sheet = lock(&self.sheet);
        sheet.count(end);
        if let Some(problem) = problem {
            sheet.add_problem(problem);
        }
        Progress::add(&self.progress.ended, 1);
    }

    /// Judges a chunk, noted in a slot of its own while it lasts, and sends each mail on.
    pub(super) fn judge_chunk(
        &self,
        chunk: Vec<Parcel>,
        slot: usize,
        judged: &Sender<Vec<Judged>>,
        asked: &Sender<Judged>,
    ) {
        if let Some(slots) = &self.slots {
            slots.note(slot, chunk.iter().map(|parcel| (parcel.id, parcel.alone)));
        }
        let all = chunk.into_iter().map(|parcel| self.judge(parcel));
        let (to_ask, done): (Vec<_>, Vec<_>) = all.partition(|judged| self.has_to_wait(judged));
        if let Some(slots) = &self.slots {
            slots.clear(slot);
        }
        to_ask.into_iter().for_each(|judged| self.wait(judged, asked));
        // Before they are sent: whoever gathers looks at this when they arrive, and would wait for more that does not come. Receivers
        // live until every sender is gone.
        self.judging.fetch_sub(done.len() as u64, Ordering::Release);
        let _ = judged.send(done);
    }

    pub(super) fn judge(&self, mut parcel: Parcel) -> Judged {
        let directory = self.mill.directory.get();
        let mut verdict = match (&mut parcel.claim, parcel.bytes.take(), &self.spool) {
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
        if let Verdict::Plan(plan) = &mut verdict {
            self.prepare(plan);
        }
        Judged { parcel, verdict }
    }

    /// Has the store make of each item what it will write. Here, where the mail was just read and is still in the caches of this
    /// processor: 7 % more mails/s than where the committing thread does it (40,000 small mails, in turn, 2026-11-30).
    fn prepare(&self, plan: &mut Plan) {
        for delivery in plan.deliveries.iter_mut().filter(|delivery| delivery.is_final()) {
            delivery.prepared = delivery.item.as_ref().and_then(|item| self.mill.store.prepare(item));
        }
    }

    pub(super) fn is_import(&self) -> bool {
        matches!(self.policy, Policy::Import(_))
    }

    /// Hooks are for mail that comes in, not for what an administrator imports.
    pub(super) fn has_before(&self, judged: &Judged) -> bool {
        let Verdict::Plan(plan) = &judged.verdict else { return false };
        !self.is_import() && Mill::has_before(plan, &self.mill.directory.get())
    }

    /// Whether a mail has to wait for somebody else: for a hook, or for the key of a signature. A letter is declined then.
    pub(super) fn has_to_wait(&self, judged: &Judged) -> bool {
        !judged.parcel.is_letter() && (matches!(judged.verdict, Verdict::Keys(_)) || self.has_before(judged))
    }

    /// Sends a mail that has to wait on its way to the hook threads, past the name servers if need be.
    pub(super) fn wait(&self, waiting: Judged, asked: &Sender<Judged>) {
        // Receivers live until every sender is gone.
        let asked = asked.clone();
        match (&waiting.verdict, &self.mill.keys) {
            (Verdict::Keys(names), Some(keys)) => {
                let names = names.clone();
                keys.look_up(&names, move || drop(asked.send(waiting)));
            }
            _ => drop(asked.send(waiting)),
        }
    }

    /// Judges a mail again whose keys have been looked up.
    fn judge_again(&self, mut parcel: Parcel, thread: usize) -> Judged {
        if let Some(claim) = &mut parcel.claim {
            // It is read from its start.
            claim.close();
        }
        let slot = self.mill.pool.current_num_threads() + thread;
        if let Some(slots) = &self.slots {
            slots.note(slot, std::iter::once((parcel.id, parcel.alone)));
        }
        let judged = self.judge(parcel);
        if let Some(slots) = &self.slots {
            slots.clear(slot);
        }
        judged
    }

    /// Runs on the hook threads.
    fn ask(&self, mut waiting: Judged, thread: usize, judged: &Sender<Vec<Judged>>) {
        if matches!(waiting.verdict, Verdict::Keys(_)) {
            waiting = self.judge_again(waiting.parcel, thread);
            if !self.has_before(&waiting) {
                return self.is_judged(waiting, judged);
            }
        }
        if let Verdict::Plan(plan) = &mut waiting.verdict {
            self.mill.ask_before(plan, &self.mill.directory.get());
        }
        self.is_judged(waiting, judged);
    }

    fn is_judged(&self, waiting: Judged, judged: &Sender<Vec<Judged>>) {
        // Before it is sent, as in `Feeder::flush`. The committer lives until every sender is gone.
        self.judging.fetch_sub(1, Ordering::Release);
        let _ = judged.send(vec![waiting]);
    }

    /// Hands mails to the settling threads in small chunks: enough for all threads, and not a wake-up for each mail.
    pub(super) fn hand_on(&self, settlings: Vec<Settling>, to_settle: &Sender<Vec<Settling>>) {
        let threads = self.mill.config.limits.settle_threads.max(1);
        let size = settlings.len().div_ceil(threads).clamp(1, CHUNK);
        let mut settlings = settlings.into_iter();
        loop {
            let chunk: Vec<_> = settlings.by_ref().take(size).collect();
            if chunk.is_empty() {
                return;
            }
            // Receivers live as long as the sender does; should one be gone all the same, the mail is settled here.
            if let Err(unsent) = to_settle.send(chunk) {
                self.settle(unsent.into_inner());
            }
        }
    }

    /// Runs on the settling threads: carries out the ends of a few mails and counts them.
    fn settle(&self, settlings: Vec<Settling>) {
        let mails = settlings.len() as u64;
        let (mut cost, mut bytes) = (0, 0);
        let mut counted = Vec::with_capacity(settlings.len());
        for settling in settlings {
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
            cost += parcel.cost;
            bytes += size;
            counted.push((end, items, attachments, problems));
        }
        self.budget.give_back(mails, cost);
        let mut sheet = lock(&self.sheet);
        sheet.bytes += bytes;
        for (end, items, attachments, problems) in counted {
            sheet.count(end);
            sheet.items += items;
            sheet.attachments += attachments;
            problems.into_iter().for_each(|problem| sheet.add_problem(problem));
        }
        drop(sheet);
        Progress::add(&self.progress.ended, mails);
        Progress::add(&self.progress.bytes, bytes);
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
