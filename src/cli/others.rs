//! What is said of other servers on the same drop folder whose claims nobody works on.

use super::console::{Console, plain};
use super::desk::Desk;
use super::exit::Failure;
use crate::engine::rfc3339;
use crate::spool::{Stranger, overdue};

/// One sentence: who, how many, since when, and what to do.
pub fn sentence(stranger: &Stranger) -> String {
    let since = jiff::Timestamp::now() - stranger.oldest.unwrap_or_default();
    let (count, label) = (stranger.claims.len(), &stranger.label);
    let text = if stranger.seized {
        format!("{count} claims of {label} were being reclaimed and wait since {}; finish it", rfc3339(since))
    } else {
        format!("{label} has {count} claims that wait since {}; if that server is gone for good", rfc3339(since))
    };
    plain(&format!("{text}: mailmill reclaim --server {label} (--store PATH | --store-lost)"))
}

/// What was said already: a process that stays says it once for each server, and again when more are gone.
#[derive(Default)]
pub struct Said(Vec<String>);

impl Said {
    /// Tells whoever reads standard error. That the folders cannot be looked at is no reason to stop: a batch tells it.
    pub fn tell(&mut self, desk: &Desk, console: &mut Console) -> Result<(), Failure> {
        let options = desk.mill.spool_options();
        let Ok(strangers) = overdue(&options.drop_folder, &options.label) else { return Ok(()) };
        for stranger in strangers.iter().filter(|stranger| !self.0.contains(&stranger.label)) {
            console.note(&sentence(stranger))?;
        }
        self.0 = strangers.into_iter().map(|stranger| stranger.label).collect();
        Ok(())
    }
}
