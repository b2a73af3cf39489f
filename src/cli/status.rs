//! `mailmill status` and `mailmill stop`: is an owner running, what waits, and the wish that it finish.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::console::Console;
use super::desk::{self, Desk, Lock};
use super::exit::{Exit, Failure};
use super::{Request, talk};
use crate::config::Config;
use crate::engine::rfc3339;
use crate::model::outcome::Sheet;
use crate::model::units;
use crate::spool::DropFolder;

/// Is a process running that owns the store, since when, and what waits?
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill status --json")]
pub struct Status {
    #[arg(long)]
    json: bool,
}

/// Ask the process that owns the store to finish its group and end
#[derive(Args)]
#[command(after_help = "Example: mailmill stop")]
pub struct Stop;

#[derive(Serialize)]
struct Answer {
    running: bool,
    pid: Option<u32>,
    command: Option<&'static str>,
    since: Option<String>,
    server: String,
    store: String,
    drop_folder: String,
    /// Files in the drop folder that may be mail.
    queue: u64,
    /// Claims that are being worked on or wait to be taken up.
    claimed: u64,
    /// Age of the oldest file in the drop folder, in seconds.
    oldest_s: Option<u64>,
    last_batch: Option<Sheet>,
}

impl Status {
    pub fn carry_out(&self, config: Config, console: &mut Console) -> Result<Exit, Failure> {
        let request = Request::Status(self.clone());
        talk::ask(config, &request, console)
    }

    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        // When nobody owned the store, we are that short-lived owner ourselves.
        let running = desk.command != desk::SHORT;
        let config = &desk.mill.config;
        let folder = DropFolder::open(desk.mill.spool_options())?;
        let claimed = folder.waiting().len() as u64;
        let (mut queue, mut oldest) = (0, None::<Duration>);
        for entry in folder.list()? {
            queue += 1;
            let path = config.incoming.drop_folder.join(&entry?.name);
            let modified = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
            oldest = oldest.max(age);
        }
        let last_batch = match desk.last_sheet() {
            Some(sheet) => Some(sheet),
            None => desk.mill.store.sheets(1)?.into_iter().next(),
        };
        let answer = Answer {
            running,
            pid: running.then(std::process::id),
            command: running.then_some(desk.command),
            since: running.then(|| rfc3339(desk.since)),
            server: config.server.clone(),
            store: config.store.display().to_string(),
            drop_folder: config.incoming.drop_folder.display().to_string(),
            queue,
            claimed,
            oldest_s: oldest.map(|age| age.as_secs()),
            last_batch,
        };
        if self.json {
            console.json(&answer)?;
        } else {
            show(&answer, console)?;
        }
        Ok(Exit::Good)
    }
}

fn show(answer: &Answer, console: &mut Console) -> Result<(), Failure> {
    match (answer.pid, answer.command, &answer.since) {
        (Some(pid), Some(command), Some(since)) => {
            console.line(&format!("mailmill {command} runs since {since} (process {pid})"))?;
        }
        _ => console.line("no mailmill owns the store")?,
    }
    let oldest =
        answer.oldest_s.map(|age| format!(", the oldest {}", units::format_duration(Duration::from_secs(age))));
    let folder = &answer.drop_folder;
    console.line(&format!(
        "{} files in {folder}{}, {} claimed",
        answer.queue,
        oldest.unwrap_or_default(),
        answer.claimed
    ))?;
    match &answer.last_batch {
        Some(sheet) => console.line(&format!(
            "last batch {} at {}: {} found, {} delivered, {} duplicates, {} refused, {} damaged, {} deferred, {} incomplete",
            sheet.batch,
            sheet.started,
            sheet.found,
            sheet.delivered,
            sheet.duplicates,
            sheet.refused,
            sheet.damaged,
            sheet.deferred,
            sheet.incomplete
        ))?,
        None => console.line("no batch has been run yet")?,
    }
    Ok(())
}

/// So long an owner may take for the group it is writing.
const PATIENCE: Duration = Duration::from_mins(1);

impl Stop {
    pub fn carry_out(config: &Config, console: &mut Console) -> Result<Exit, Failure> {
        let Ok(stream) = desk::connect(&config.store) else {
            console.note("no mailmill owns the store; nothing to stop")?;
            return Ok(Exit::Good);
        };
        let exit = talk::talk(stream, &Request::Stop, console)?;
        Lock::take(&config.store, PATIENCE).map_err(|_| {
            Failure::Busy(format!(
                "the owner of the store was asked to stop and has not ended after {}",
                units::format_duration(PATIENCE)
            ))
        })?;
        Ok(exit)
    }
}
