//! `mailmill history`: the balance sheets of past batches.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::console::Console;
use super::desk::Desk;
use super::exit::{Exit, Failure};

/// Show past batches with their balance sheets, newest first
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill history --limit 10")]
pub struct History {
    /// One balance sheet a line
    #[arg(long)]
    json: bool,
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

impl History {
    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let sheets = desk.mill.store.sheets(self.limit)?;
        if !self.json {
            console.line(&format!(
                "{:>7} {:<20} {:>9} {:>9} {:>9} {:>7} {:>7} {:>8} {:>10} {:>9}",
                "batch",
                "started",
                "found",
                "delivered",
                "duplicate",
                "refused",
                "damaged",
                "deferred",
                "incomplete",
                "mails/s"
            ))?;
        }
        for sheet in sheets {
            if self.json {
                console.json(&sheet)?;
                continue;
            }
            console.line(&format!(
                "{:>7} {:<20} {:>9} {:>9} {:>9} {:>7} {:>7} {:>8} {:>10} {:>9.0}",
                sheet.batch,
                sheet.started,
                sheet.found,
                sheet.delivered,
                sheet.duplicates,
                sheet.refused,
                sheet.damaged,
                sheet.deferred,
                sheet.incomplete,
                sheet.messages_per_s
            ))?;
        }
        Ok(Exit::Good)
    }
}
