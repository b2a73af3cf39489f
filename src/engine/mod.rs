//! Floor 3: threads, channels, the budget of mail in flight, and what happens when the store fails.
//! Strings the stages together; decides nothing about any mail.

mod budget;

mod judge;

mod poison;

mod batch;

mod feed;

mod groups;

mod dry_run;

mod upkeep;

mod hooks;

mod keys;

mod letters;

mod outbox;

mod discussions;

pub mod view;

mod event_view;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::{Config, Limits, Mode, Writers};
use crate::directory::Current;
use crate::lists::Lists;
use crate::model::mail::ClaimId;
use crate::model::outcome::Sheet;
use crate::model::plan::Plan;
use crate::pipeline::commit::Recent;
use crate::pipeline::parse::{Bounds, Parser};
use crate::spool::{Spool, SpoolError, SpoolOptions};
use crate::store::{ListStore, StoreError};
use keys::Keys;
use poison::Slots;

pub use batch::{BatchResult, Work};
pub use budget::Budget;
pub use discussions::Discussions;
pub use dry_run::Route;
pub use keys::{Found, KeyResolver};
pub use letters::Letter;
pub use poison::judge_alone;
pub use upkeep::{Departed, Reclaimed};

/// The engine cannot go on. Mail is never the cause.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the balance sheet does not add up: {found} files found, {ended} accounted for. This is a bug in mailmill; nothing was lost, what is missing lies in claimed/"
    )]
    Unbalanced { found: u64, ended: u64 },
    #[error(
        "the store with the uuid {uuid} is not the one of `{label}`: only its own store knows what it had delivered"
    )]
    ForeignStore { label: String, uuid: String },
    #[error("threads cannot be started: {0}; allow the process more of them (ulimit -u, TasksMax, pids.max)")]
    Threads(String),
}

/// How far a batch has come, for whoever draws it.
#[derive(Debug, Default)]
pub struct Progress {
    pub found: AtomicU64,
    pub ended: AtomicU64,
    pub bytes: AtomicU64,
    /// Bytes of the sources of an import that were read.
    pub consumed: AtomicU64,
}

impl Progress {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// One server: its configuration, its store, its lists, its spool.
pub struct Mill {
    pub config: Config,
    pub store: Arc<dyn ListStore>,
    pub directory: Current,
    /// Held while a group is built and committed, and while a list changes: what a group is built from stays true until it is written.
    writer: Mutex<()>,
    /// What the last groups wrote. Noted by whoever holds `writer`.
    recent: Recent,
    spool: Mutex<Option<Arc<Spool>>>,
    parser: Parser,
    pool: rayon::ThreadPool,
    slots: Mutex<Option<Arc<Slots>>>,
    /// The program that judges a suspect alone.
    alone: Option<PathBuf>,
    /// Where DKIM signatures are checked.
    keys: Option<Arc<Keys>>,
    stop: AtomicBool,
}

impl Mill {
    pub fn new(config: Config, store: Arc<dyn ListStore>) -> Result<Self, EngineError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.limits.workers)
            .thread_name(|number| format!("worker-{number}"))
            .build()
            .map_err(|error| EngineError::Threads(error.to_string()))?;
        let incoming = &config.incoming;
        let parser = Parser::new(bounds(&config.limits)).trusting(&incoming.trusted_authserv);
        let parser = parser.with_author(incoming.check_dkim);
        let mill = Self {
            config,
            store,
            directory: Current::default(),
            writer: Mutex::default(),
            recent: Recent::default(),
            spool: Mutex::default(),
            parser,
            pool,
            slots: Mutex::default(),
            alone: None,
            keys: None,
            stop: AtomicBool::new(false),
        };
        mill.lists().load()?;
        mill.lists().finish_deletions()?;
        Ok(mill)
    }

    pub fn lists(&self) -> Lists<'_> {
        Lists {
            store: &*self.store,
            current: &self.directory,
            writer: &self.writer,
            accepted_domains: &self.config.incoming.accepted_domains,
            address_prefix: &self.config.incoming.address_prefix,
        }
    }

    /// Who looks up the keys of DKIM signatures, where `incoming.check_dkim` asks for it.
    pub fn look_up_keys_with(&mut self, resolver: Box<dyn KeyResolver>) {
        self.keys = self.config.incoming.check_dkim.then(|| Arc::new(Keys::new(resolver)));
    }

    /// The spool, opened when first needed.
    pub fn spool(&self) -> Result<Arc<Spool>, SpoolError> {
        let mut slot = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spool) = &*slot {
            return Ok(Arc::clone(spool));
        }
        let spool = Arc::new(Spool::open(self.spool_options())?);
        *slot = Some(Arc::clone(&spool));
        Ok(spool)
    }

    pub fn spool_options(&self) -> SpoolOptions {
        let incoming = &self.config.incoming;
        SpoolOptions {
            drop_folder: incoming.drop_folder.clone(),
            label: format!("{}-{}", self.config.server, self.store.uuid()),
            remote_writers: incoming.writers == Writers::Remote,
            settle_time: incoming.settle_time,
        }
    }

    /// Asks a running batch to finish its group and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Mail is taken in at all.
    pub const fn is_enabled(&self) -> bool {
        self.config.incoming.enabled
    }

    pub fn is_automatic(&self) -> bool {
        self.config.incoming.mode == Mode::Automatic
    }

    /// What a worker makes of one mail, for whoever measures it: nothing is claimed and nothing is written.
    pub fn plan(&self, bytes: &[u8], source: &str) -> Option<Box<Plan>> {
        let id = ClaimId { batch: 0, number: 1 };
        match self.judge(bytes, id, source.to_owned(), &judge::Policy::Envelope, &self.directory.get()) {
            judge::Verdict::Plan(plan) => Some(plan),
            judge::Verdict::NotNow(_)
            | judge::Verdict::Later(_)
            | judge::Verdict::Keys(_)
            | judge::Verdict::Broken(_) => None,
        }
    }

    fn sheet(&self, batch: u64, started: jiff::Timestamp) -> Sheet {
        Sheet { batch, server: self.config.server.clone(), started: rfc3339(started), ..Sheet::default() }
    }
}

/// A time as JSON shows it: RFC 3339, UTC, whole seconds.
pub fn rfc3339(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Raises the soft limit of open files to the hard one: a few hundred claims are open at a time, and RocksDB wants its own.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// What of the limits is the parser's.
fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        depth: limits.depth,
        parts: limits.parts,
        header_bytes: usize::try_from(limits.header_bytes).unwrap_or(usize::MAX),
        header_fields: limits.header_fields,
        addresses: limits.addresses,
        name_bytes: limits.name_bytes,
    }
}

/// How many claims may be open at a time: each holds its file, and the store and the settling threads want files of their own.
fn open_claims(wanted: usize) -> u64 {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (wanted as u64).min((limit.saturating_sub(40) / 4).max(1))
}

/// How long a batch waits for more before it looks at the clock again.
const TICK: Duration = Duration::from_millis(20);
