//! `mailmill verify`: reads the whole store and says whether it is sound.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::console::{Console, plain};
use super::desk::Desk;
use super::exit::{Exit, Failure};
use crate::model::units;

/// Read the whole store: every reference resolves, every blob has its hash, counts agree, the ledger agrees with the items
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Garbage (bytes that no item names any more) is counted and is no error; --repair removes it.
Exit code 0: sound; 1: not sound.
Example: mailmill verify --json")]
pub struct Verify {
    #[arg(long)]
    json: bool,
    /// Remove garbage, and nothing else
    #[arg(long)]
    repair: bool,
}

impl Verify {
    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let report = desk.mill.verify(self.repair)?;
        if self.json {
            console.json(&report)?;
        } else {
            for error in &report.errors {
                console.line(&plain(error))?;
            }
            let sound = if report.sound { "sound" } else { "NOT SOUND" };
            console.line(&format!(
                "{sound}: {} lists, {} items, {} files, {} blobs, {} ledger entries; {} errors; {} blobs of garbage ({}){}",
                report.lists,
                report.items,
                report.files,
                report.blobs,
                report.ledger,
                report.error_count,
                report.garbage,
                units::about(report.garbage_bytes),
                if report.repaired { ", removed" } else { "" }
            ))?;
        }
        if report.sound {
            return Ok(Exit::Good);
        }
        console.note("restore a backup (`mailmill restore`), or ask for help with this output; nothing was changed")?;
        Ok(Exit::Engine)
    }
}
