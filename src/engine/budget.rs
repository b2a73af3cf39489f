//! Bounds what is in flight, by bytes and by count: memory does not grow with the folder.

use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Debug)]
pub struct Budget {
    bytes: u64,
    slots: u64,
    used: Mutex<Used>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Used {
    bytes: u64,
    slots: u64,
}

impl Budget {
    pub fn new(bytes: u64, slots: u64) -> Self {
        Self { bytes: bytes.max(1), slots: slots.max(1), used: Mutex::default(), changed: Condvar::new() }
    }

    /// What a mail of this size costs: its bytes, their decoded copy and the copy in the group, and a little for its headers.
    pub fn cost(&self, size: u64) -> u64 {
        // Never more than there is: a mail larger than the budget waits until it is alone, and then runs.
        size.saturating_mul(3).saturating_add(8 << 10).min(self.bytes)
    }

    /// Takes one slot and `cost` bytes if they are free.
    pub fn try_take(&self, cost: u64) -> bool {
        let mut used = self.lock();
        let fits = used.slots < self.slots && used.bytes.saturating_add(cost) <= self.bytes;
        if fits {
            used.slots += 1;
            used.bytes += cost;
        }
        fits
    }

    /// Waits until they are free, and a few more with them: whoever waits for each slot is woken for each mail.
    pub fn take(&self, cost: u64) {
        while !self.try_take(cost) {
            let used = self.lock();
            let busy = |used: &mut Used| used.slots > self.resume() || used.bytes.saturating_add(cost) > self.bytes;
            drop(self.changed.wait_while(used, busy).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// With so many slots in use, or fewer, somebody who waits goes on.
    const fn resume(&self) -> u64 {
        self.slots - self.slots.div_ceil(8)
    }

    /// Waits until nothing is in flight.
    pub fn wait_for_all(&self) {
        let used = self.lock();
        drop(self.changed.wait_while(used, |used| used.slots > 0).unwrap_or_else(PoisonError::into_inner));
    }

    /// Of so many mails, what they cost together.
    pub fn give_back(&self, mails: u64, cost: u64) {
        let mut used = self.lock();
        used.slots = used.slots.saturating_sub(mails);
        used.bytes = used.bytes.saturating_sub(cost);
        let goes_on = used.slots <= self.resume();
        drop(used);
        if goes_on {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_larger_than_the_budget_runs_alone() {
        let budget = Budget::new(100 << 10, 10);
        let small = budget.cost(1);
        let huge = budget.cost(1 << 40);
        assert!(budget.try_take(small));
        assert!(!budget.try_take(huge));
        budget.give_back(1, small);
        assert!(budget.try_take(huge));
        assert!(!budget.try_take(small));
        budget.give_back(1, huge);
        assert!(budget.try_take(small));
    }

    #[test]
    fn whoever_waits_goes_on_when_some_slots_are_free_or_all() {
        for slots in [1, 2, 7, 64] {
            let budget = Budget::new(1 << 30, slots);
            (0..slots).for_each(|_| assert!(budget.try_take(1)));
            std::thread::scope(|threads| {
                let waiting = threads.spawn(|| budget.take(1));
                for _ in 0..slots {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    budget.give_back(1, 1);
                }
                waiting.join().unwrap();
            });
        }
    }

    #[test]
    fn slots_bound_the_count() {
        let budget = Budget::new(1 << 30, 2);
        assert!(budget.try_take(1));
        assert!(budget.try_take(1));
        assert!(!budget.try_take(1));
    }
}
