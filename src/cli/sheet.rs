//! The balance sheet as people and programs read it, and the exit code it stands for.

use super::console::{Console, plain};
use super::exit::{Exit, Failure};
use crate::engine::{BatchResult, EngineError};
use crate::model::outcome::{Problem, Sheet};
use crate::model::units;
use crate::store::StoreError;

/// So many problems are shown to people; `failed ls` has them all.
const SHOWN: usize = 10;

/// Prints what a batch came to, error included.
pub fn report(result: &BatchResult, json: bool, console: &mut Console) -> Result<Exit, Failure> {
    let sheet = &result.sheet;
    if json {
        console.json(sheet)?;
    } else if console.is_watched() || sheet.has_failures() || sheet.dry_run {
        // Where nobody watches, a good batch is no news.
        console.note(&text(sheet))?;
    }
    match &result.error {
        None if sheet.has_failures() => Ok(Exit::Failures),
        None => Ok(Exit::Good),
        Some(error @ EngineError::Store(StoreError::Full(_))) => {
            console.error(&format!("{error}; what is left waits and is tried again once there is room"));
            Ok(Exit::Failures)
        }
        Some(error) => Err(Failure::Engine(error.to_string())),
    }
}

fn text(sheet: &Sheet) -> String {
    let dry = if sheet.dry_run { "dry run, nothing was changed: " } else { "" };
    let mut lines = vec![format!(
        "{dry}{} found in {:.2} s ({:.0}/s, {}): {} delivered, {} duplicates, {} refused, {} damaged, {} deferred, {} incomplete; {} items, {} attachments",
        sheet.found,
        sheet.elapsed_s,
        sheet.messages_per_s,
        units::about(sheet.bytes),
        sheet.delivered,
        sheet.duplicates,
        sheet.refused,
        sheet.damaged,
        sheet.deferred,
        sheet.incomplete,
        sheet.items,
        sheet.attachments,
    )];
    lines.extend(sheet.problems.iter().take(SHOWN).map(problem));
    let more = sheet.problems.len().saturating_sub(SHOWN);
    if more > 0 {
        let reasons: Vec<_> = sheet.reasons().iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        lines.push(format!("  and {more} more ({}); see `mailmill failed ls`", reasons.join(", ")));
    }
    lines.join("\n")
}

fn problem(problem: &Problem) -> String {
    let recipient = problem.recipient.as_ref().map(|to| format!(" for {to}")).unwrap_or_default();
    plain(&format!("  {} {}{recipient}: {} ({})", problem.outcome, problem.file, problem.text, problem.reason))
}
