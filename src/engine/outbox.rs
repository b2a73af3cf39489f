//! Webhooks: what a list tells another system of each new item. The wish is written with the item, in one group, so that it is
//! told at least once whatever happens; the receiver knows repeats by their `Idempotency-Key`.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Mill, view};
use crate::model::item::{JournalEntry, OutboxEntry};
use crate::store::{Counter, StoreError, Write};

/// Waits between attempts double from this,
const FIRST_WAIT: i64 = 5;
/// up to this.
const LONGEST_WAIT: i64 = 3600;
/// After so long nobody waits for it any more; the journal says so.
const GIVE_UP: i64 = 3 * 86_400;

/// One request may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many entries are looked at in a stretch.
const STRETCH: usize = 100;

/// What came of emptying the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    pub told: u64,
    pub failed: u64,
}

impl Mill {
    /// Sends what is due, until nothing is or the time is over.
    pub fn drain_outbox(&self, limit: Duration) -> Result<Drained, StoreError> {
        let start = Instant::now();
        let mut drained = Drained::default();
        let mut after = 0;
        // Nearly always there is nothing to do.
        if self.store.outbox(0, 1)?.is_empty() {
            return Ok(drained);
        }
        let agent =
            ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(true).build().new_agent();
        loop {
            let entries = self.store.outbox(after, STRETCH)?;
            let Some((last, _)) = entries.last() else { return Ok(drained) };
            after = *last;
            for (id, entry) in entries {
                if start.elapsed() >= limit || self.is_stopping() {
                    return Ok(drained);
                }
                if entry.next > jiff::Timestamp::now().as_second() {
                    continue;
                }
                let told = self.tell(&agent, id, &entry);
                if let Err(why) = &told {
                    tracing::warn!(url = %entry.url, attempts = entry.attempts + 1, %why, "webhook failed; it is tried again");
                }
                *if told.is_ok() { &mut drained.told } else { &mut drained.failed } += 1;
                self.remember(id, entry, told)?;
            }
        }
    }

    fn tell(&self, agent: &ureq::Agent, id: u64, entry: &OutboxEntry) -> Result<(), String> {
        let directory = self.directory.get();
        let item = self.store.item(entry.list, entry.item).map_err(|error| error.to_string())?;
        // A list or item that is gone has nothing to tell.
        let (Some(list), Some(item)) = (directory.list(entry.list), item) else { return Ok(()) };
        let thread = self.discussions(list).place(entry.item).map_err(|error| error.to_string())?;
        let json = serde_json::to_vec(&view::item(list, Some(entry.item), &item, thread));
        let json = json.map_err(|error| error.to_string())?;
        let request = agent
            .post(&entry.url)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", format!("{}-{id}", self.store.uuid()));
        request.send(&json[..]).map(drop).map_err(|error| error.to_string())
    }

    fn remember(&self, id: u64, entry: OutboxEntry, told: Result<(), String>) -> Result<(), StoreError> {
        let now = jiff::Timestamp::now().as_second();
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let writes = match told {
            Ok(()) => vec![Write::DropOutbox(id)],
            Err(why) if now - entry.created > GIVE_UP => {
                let number = self.store.counter(Counter::Journal)?;
                let mut writes = vec![Write::DropOutbox(id), Write::Counter(Counter::Journal, number + 1)];
                writes.push(Write::Journal(entry.mail, number, Box::new(given_up(&entry, now, &why))));
                writes
            }
            Err(_) => {
                let wait = FIRST_WAIT.saturating_mul(1 << entry.attempts.min(20)).min(LONGEST_WAIT);
                vec![Write::Outbox(
                    id,
                    Box::new(OutboxEntry { attempts: entry.attempts + 1, next: now + wait, ..entry }),
                )]
            }
        };
        self.store.commit(writes.into()).map(drop)
    }
}

fn given_up(entry: &OutboxEntry, now: i64, why: &str) -> JournalEntry {
    JournalEntry {
        claim: entry.claim,
        time: now,
        file: String::new(),
        outcome: "webhook-given-up".to_owned(),
        reason: None,
        text: format!("{} was told of item {} {} times in vain: {why}", entry.url, entry.item, entry.attempts + 1),
        sender: None,
        recipient: None,
        message_id: None,
        list: Some(entry.list),
    }
}
