//! Keys of DKIM signatures: which are known, and who looks up the others. A worker asks only what is known, and goes on with other
//! mail: nobody who parses waits for the network.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::pipeline::dkim::Key;

/// Looks up TXT records (RFC 1035). However a name server behaves, `answer` is called, once, within seconds, on whatever thread.
pub trait KeyResolver: Send + Sync {
    fn look_up(&self, name: &str, answer: Box<dyn FnOnce(Found) + Send>);
}

/// What a name holds, and how long that is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Of each record its strings, put together.
    Records {
        records: Vec<Vec<u8>>,
        valid: Duration,
    },
    Nothing {
        valid: Duration,
    },
    /// Nobody could say.
    Failed(String),
}

/// So many names are remembered.
const MOST_KEYS: usize = 10_000;
/// A batch finds what it looked up, however short it is true; and a server that does not answer is not asked for each mail.
const SHORTEST: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_hours(24);

pub(super) struct Keys {
    resolver: Box<dyn KeyResolver>,
    known: RwLock<HashMap<String, (Key, Instant)>>,
}

impl Keys {
    pub(super) fn new(resolver: Box<dyn KeyResolver>) -> Self {
        Self { resolver, known: RwLock::default() }
    }

    pub(super) fn known(&self, name: &str) -> Option<Key> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|(_, until)| *until > Instant::now()).map(|(key, _)| key.clone())
    }

    fn keep(&self, name: String, found: Found) {
        let (key, valid) = match found {
            Found::Records { records, valid } => (Key::of(&records), valid),
            Found::Nothing { valid } => (Key::none(), valid),
            Found::Failed(why) => {
                tracing::debug!(%name, %why, "cannot be looked up");
                (Key::unavailable(why), SHORTEST)
            }
        };
        let now = Instant::now();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KEYS {
            known.retain(|_, (_, until)| *until > now);
        }
        if known.len() >= MOST_KEYS {
            // Whoever makes us ask for so many names within a minute does not slow down the others for long.
            known.clear();
        }
        known.insert(name, (key, now + valid.clamp(SHORTEST, LONGEST)));
    }

    /// Looks up what is missing, and then goes on: on the thread that has the last answer.
    pub(super) fn look_up(self: &Arc<Self>, names: &[String], then: impl FnOnce() + Send + 'static) {
        let missing: Vec<&String> = names.iter().filter(|name| self.known(name).is_none()).collect();
        if missing.is_empty() {
            return then();
        }
        let left = Arc::new(AtomicUsize::new(missing.len()));
        let then = Arc::new(Mutex::new(Some(then)));
        for name in missing {
            let (keys, left, then, of) = (Arc::clone(self), Arc::clone(&left), Arc::clone(&then), name.clone());
            self.resolver.look_up(
                name,
                Box::new(move |found| {
                    keys.keep(of, found);
                    if left.fetch_sub(1, Ordering::AcqRel) == 1
                        && let Some(then) = then.lock().unwrap_or_else(PoisonError::into_inner).take()
                    {
                        then();
                    }
                }),
            );
        }
    }
}
