//! What the last groups wrote into the ledger. A worker asks the store whether a mail is there already, and hardly any is; by the time
//! that its group is built it can only have come with a group written since. Looking there spares the builder the second question to a
//! store that grows with every mail.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::item::LedgerEntry;
use crate::model::list::ListId;
use crate::model::mail::MailId;

/// Entries that are remembered, and groups, 2 MB: more than there are mails in flight. Chosen, not tuned.
const MOST: usize = 1 << 14;

type Key = (MailId, ListId);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    Came(LedgerEntry),
    NotThere,
    /// Longer ago than is remembered: the store knows.
    LongAgo,
}

/// One for each store that is written to.
#[derive(Debug, Default)]
pub struct Recent {
    written: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    groups: VecDeque<Vec<Key>>,
    entries: HashMap<Key, LedgerEntry>,
}

impl Recent {
    /// How many groups were written. To be taken before the store is asked: what it does not know then comes with a later group.
    pub fn now(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// What became of a mail that was not in the ledger when so many groups were written.
    pub(super) fn since(&self, written: u64, mail: MailId, list: ListId) -> Since {
        let last = self.last();
        let first = self.now() - last.groups.len() as u64;
        if written < first {
            return Since::LongAgo;
        }
        last.entries.get(&(mail, list)).map_or(Since::NotThere, |entry| Since::Came(*entry))
    }

    /// Remembers a group. To be called by whoever writes it, once it is written and before another is built.
    pub fn note(&self, ledger: HashMap<(MailId, ListId), LedgerEntry>) {
        let mut last = self.last();
        last.groups.push_back(ledger.keys().copied().collect());
        last.entries.extend(ledger);
        // Groups too: one may bring nothing but duplicates.
        while last.entries.len().max(last.groups.len()) > MOST
            && let Some(oldest) = last.groups.pop_front()
        {
            for key in oldest {
                last.entries.remove(&key);
            }
        }
        self.written.fetch_add(1, Ordering::Release);
    }

    /// A group failed, and may be there all the same: only the store can tell.
    pub fn forget(&self) {
        *self.last() = Last::default();
        self.written.fetch_add(1, Ordering::Release);
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;
    use crate::model::list::ItemId;
    use crate::model::mail::ClaimId;

    const LIST: ListId = ListId(1);

    fn mail(number: usize) -> MailId {
        MailId::of(&number.to_be_bytes())
    }

    fn entry(number: usize) -> LedgerEntry {
        let number = number as u64;
        LedgerEntry { claim: ClaimId { batch: 1, number }, item: ItemId(number), time: 0 }
    }

    fn group(mails: RangeInclusive<usize>) -> HashMap<Key, LedgerEntry> {
        mails.map(|number| ((mail(number), LIST), entry(number))).collect()
    }

    #[test]
    fn what_came_since_is_known_and_what_did_not_is_known_not_to_be_there() {
        let recent = Recent::default();
        let before = recent.now();
        recent.note(group(1..=1));
        assert_eq!(recent.since(before, mail(1), LIST), Since::Came(entry(1)));
        assert_eq!(recent.since(before, mail(1), ListId(2)), Since::NotThere, "each list has its own");
        assert_eq!(recent.since(before, mail(2), LIST), Since::NotThere);
        let later = recent.now();
        recent.note(group(2..=2));
        assert_eq!(recent.since(later, mail(2), LIST), Since::Came(entry(2)));
        assert_eq!(recent.since(later, mail(1), LIST), Since::Came(entry(1)), "it still is in the ledger");
    }

    #[test]
    fn what_is_longer_ago_than_is_remembered_is_for_the_store_to_say() {
        let recent = Recent::default();
        let before = recent.now();
        recent.note(group(0..=MOST - 1));
        assert_eq!(recent.since(before, mail(0), LIST), Since::Came(entry(0)));
        let between = recent.now();
        recent.note(group(MOST..=MOST));
        assert_eq!(recent.since(before, mail(0), LIST), Since::LongAgo);
        assert_eq!(recent.since(between, mail(MOST), LIST), Since::Came(entry(MOST)));
        recent.note(group(MOST + 1..=2 * MOST + 1));
        assert_eq!(
            recent.since(between, mail(2 * MOST), LIST),
            Since::LongAgo,
            "a group that is too large is not remembered"
        );
    }

    #[test]
    fn groups_without_entries_are_not_remembered_for_ever() {
        let recent = Recent::default();
        let before = recent.now();
        (0..MOST).for_each(|_| recent.note(HashMap::new()));
        assert_eq!(recent.since(before, mail(0), LIST), Since::NotThere);
        recent.note(HashMap::new());
        assert_eq!(recent.since(before, mail(0), LIST), Since::LongAgo);
        assert_eq!(recent.last().groups.len(), MOST);
    }

    #[test]
    fn after_a_group_that_failed_only_the_store_is_asked() {
        let recent = Recent::default();
        let before = recent.now();
        recent.forget();
        assert_eq!(recent.since(before, mail(1), LIST), Since::LongAgo);
        assert_eq!(recent.since(recent.now(), mail(1), LIST), Since::NotThere);
    }
}
