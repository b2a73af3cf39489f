//! `mailmill run`: one batch, for cron and systemd timers; and `--dry-run`, which shows where each mail would go.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use signal_hook::iterator::Signals;

use super::console::{Console, plain};
use super::desk::{Desk, Lock};
use super::exit::{Exit, Failure};
use super::others::Said;
use super::{Request, background, sheet, talk};
use crate::config::Config;
use crate::engine::{Progress, Route, Work, rfc3339};
use crate::model::outcome::{PROBLEMS_SHOWN, Sheet};

/// Take everything complete in the drop folder into its lists, once, and exit
#[derive(Args)]
#[command(after_help = "Examples:
  mailmill run --json
  * * * * * mailmill --config /etc/mailmill/mailmill.toml run     (cron: silent unless something is wrong)
  mailmill run --dry-run                                          (where would each mail go?)")]
pub struct Run {
    /// Print the balance sheet as JSON
    #[arg(long)]
    json: bool,
    /// Show where each mail would go; rename nothing, write nothing
    #[arg(long = "dry-run")]
    rehearse: bool,
    /// Take at most so many files
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Wait so long for another process that owns the store
    #[arg(long, value_name = "SECS", default_value_t = 0.0)]
    wait: f64,
}

/// `run --dry-run`, asked of whoever owns the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DryRun {
    json: bool,
    limit: Option<u64>,
}

impl Run {
    pub fn carry_out(self, config: Config, console: &mut Console) -> Result<Exit, Failure> {
        if !config.incoming.enabled {
            return say_disabled(&config, self.json, console);
        }
        if self.rehearse {
            let request = Request::DryRun(DryRun { json: self.json, limit: self.limit });
            return talk::ask(config, &request, console);
        }
        let wait = Duration::try_from_secs_f64(self.wait)
            .map_err(|_| Failure::Usage("--wait takes a number of seconds, for example 30".to_owned()))?;
        let signals = catch_signals()?;
        let lock = Lock::take(&config.store, wait)?;
        let desk = Desk::open(lock, config, "run")?;
        stop_on_signals(signals, &desk)?;
        let progress = Arc::new(Progress::default());
        let drawing = console.draw(&progress, None);
        let result = desk.mill.run(Work::DropFolder { limit: self.limit }, &progress);
        drop(drawing);
        let exit = sheet::report(&result, self.json, console);
        Said::default().tell(&desk, console)?;
        console.flush()?;
        desk.mill.drain_outbox(OUTBOX_TIME)?;
        desk.close();
        exit
    }
}

/// What is left in the outbox after so long is left to the next run.
const OUTBOX_TIME: Duration = Duration::from_secs(10);

/// `incoming.enabled = false`: nothing is done, and that is said.
pub fn say_disabled(config: &Config, json: bool, console: &mut Console) -> Result<Exit, Failure> {
    if json {
        let started = rfc3339(jiff::Timestamp::now());
        let mut nothing = Sheet { server: config.server.clone(), started, ..Sheet::default() };
        nothing.close(0.0);
        console.json(&nothing)?;
    }
    console.note("incoming mail is switched off (incoming.enabled = false); nothing was done")?;
    Ok(Exit::Good)
}

/// The first TERM or INT finishes the group and leaves, the second leaves at once: the ledger knows what was done.
pub fn stop_on_signals(mut signals: Signals, desk: &Arc<Desk>) -> Result<(), Failure> {
    let desk = Arc::downgrade(desk);
    let stop = move || {
        for (count, signal) in signals.forever().enumerate() {
            match desk.upgrade() {
                Some(desk) if count == 0 => drop(desk.stop()),
                _ => std::process::exit(128 + signal),
            }
        }
    };
    background::start("signals", stop).map(drop)
}

/// Caught from the first moment on: what comes while the store is being opened is answered as soon as it is.
pub fn catch_signals() -> Result<Signals, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    Signals::new([SIGINT, SIGTERM]).map_err(|error| Failure::Engine(format!("signals cannot be watched: {error}")))
}

/// A dry run's sheet with the routes it found, in one object.
#[derive(Serialize)]
struct SheetWithRoutes<'s> {
    #[serde(flatten)]
    sheet: &'s Sheet,
    routes: Vec<Route>,
}

impl DryRun {
    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let progress = Arc::new(Progress::default());
        let mut routes = Vec::new();
        let mut printed = Ok(());
        let result = desk.mill.dry_run(self.limit, &progress, &mut |route| {
            if self.json {
                if routes.len() < PROBLEMS_SHOWN {
                    routes.push(route);
                }
            } else if printed.is_ok() {
                printed = console.line(&text(&route));
            }
        });
        printed?;
        if self.json && result.error.is_none() {
            console.json(&SheetWithRoutes { sheet: &result.sheet, routes })?;
            return Ok(if result.sheet.has_failures() { Exit::Failures } else { Exit::Good });
        }
        sheet::report(&result, self.json, console)
    }
}

fn text(route: &Route) -> String {
    let to = route.recipients.join(", ");
    let place = match (&route.list, route.outcome.as_str()) {
        (Some(list), "duplicate") => format!("{list} has it already (item {})", route.item.unwrap_or_default()),
        (Some(list), _) if route.paths.is_empty() => {
            format!("{list}, item {} ({})", route.item.unwrap_or_default(), route.text)
        }
        (Some(list), _) => format!("{list}: {} ({})", route.paths.join(", "), route.text),
        (None, outcome) => format!("{outcome}: {} ({})", route.text, route.reason.as_deref().unwrap_or("-")),
    };
    let to = if to.is_empty() { String::new() } else { format!(" [{to}]") };
    plain(&format!("{}{to} -> {place}", route.file))
}
