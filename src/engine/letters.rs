//! Mail that comes without a file: who received it waits until it is committed, and makes a file of it where it is declined.
//! A file of the same bytes is the same mail to the ledger. So whatever is in doubt is declined, and is still delivered once.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::EngineError;
use super::batch::{Judged, Parcel};
use super::feed::Feeder;
use super::judge::Verdict;
use crate::config::Keep;
use crate::directory::Directory;
use crate::model::mail::MailId;
use crate::model::outcome::End;
use crate::model::plan::{Decided, Plan};

/// A mail as its file would be, with the lines of its envelope.
pub struct Letter {
    /// What the file would be called.
    pub name: String,
    pub bytes: Vec<u8>,
    /// Told once the mail is durable in all its lists. Dropped without a word where it is declined: then nobody has it for certain.
    pub taken: Box<dyn FnOnce(MailId) + Send>,
}

/// A batch ends when nothing came for so long,
const QUIET: Duration = Duration::from_millis(100);
/// or after so long, so that its sheet is written.
const LONGEST: Duration = Duration::from_secs(10);

/// A chunk of letters of at most so many bytes is judged where it arrives: to wake a worker for it costs more.
pub(super) const LIGHT: u64 = 128 << 10;

impl Feeder<'_, '_> {
    pub(super) fn feed_letters(&mut self, letters: &Receiver<Letter>) -> Result<(), EngineError> {
        let begun = Instant::now();
        self.batch.check_room()?;
        while !self.batch.is_halted() && begun.elapsed() < LONGEST {
            let letter = match letters.try_recv() {
                Ok(letter) => letter,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    // What is held back here must not wait for what may come.
                    self.flush();
                    match letters.recv_timeout(QUIET) {
                        Ok(letter) => letter,
                        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                    }
                }
            };
            self.batch.number_for_claim()?;
            let Letter { name, bytes, taken } = letter;
            let (id, size) = (self.batch.next_id(), bytes.len() as u64);
            self.push(size, Parcel { taken: Some(taken), bytes: Some(Ok(bytes)), ..Parcel::named(id, name) });
        }
        Ok(())
    }
}

impl Parcel {
    /// It has no file yet: until it is committed it may be declined.
    pub(super) const fn is_letter(&self) -> bool {
        self.taken.is_some()
    }
}

/// Whether a letter may be committed: nothing stands against it in any list, and nothing is done for it that needs its file.
pub(super) fn is_plain(judged: &Judged, keep: Keep, directory: &Directory) -> bool {
    let Verdict::Plan(plan) = &judged.verdict else { return false };
    let has_hook = |plan: &Plan| {
        let lists = plan.deliveries.iter().map(|delivery| directory.list(delivery.list));
        lists
            .into_iter()
            .any(|list| list.is_none_or(|list| !list.settings.before.is_empty() || !list.settings.after.is_empty()))
    };
    keep == Keep::Remove && plan.failures.is_empty() && !plan.deliveries.is_empty() && !has_hook(plan)
}

/// Whether a letter that was committed is where it should be. What happened to a list in between is for its file to tell.
pub(super) const fn is_taken(decided: &Decided) -> bool {
    matches!(decided.end, End::Delivered | End::Duplicate)
}
