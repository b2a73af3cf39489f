//! `mailmill watch`: stays, and runs a batch at once, when files come, and at least every interval.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, Sender};
use inotify::{Inotify, WatchMask};

use super::console::Console;
use super::desk::{Desk, Lock};
use super::exit::{Exit, Failure};
use super::others::Said;
use super::{background, run, sheet};
use crate::config::Config;
use crate::engine::{EngineError, Progress, Work};
use crate::model::units;
use crate::spool::LEFT_TO_OTHERS;
use crate::store::StoreError;

/// Stay, and take mail into its lists as it comes
#[derive(Args)]
#[command(after_help = "Example: mailmill watch --every 1m

The first TERM or INT finishes the group that is being written and leaves; the second leaves at once.")]
pub struct Watch {
    /// Look at least so often, also when the system tells of no new file (network folders)
    #[arg(long, value_name = "TIME", default_value = "1m")]
    every: String,
    /// Print the balance sheet of each batch that found mail as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Where mail comes one after the other, what comes in this time is taken together: a batch costs threads, a look through the
/// folders and a row of the history. The first mail after a silence does not wait.
const BREATH: Duration = Duration::from_millis(100);

/// A service that was killed is started again at once. What it had begun holds its lock until it is another program: some
/// milliseconds, on a busy machine more.
const AFTER_A_KILL: Duration = Duration::from_secs(2);

/// Waits grow up to this while the store's disk is full.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

impl Watch {
    pub fn carry_out(self, config: Config, console: &mut Console) -> Result<Exit, Failure> {
        if !config.incoming.enabled {
            return run::say_disabled(&config, false, console);
        }
        self.stay(config, "watch", console, |_, _| Ok(|| ()))
    }

    /// Opens the store, begins whatever runs beside the batches, and stays until told to stop; then ends what it began.
    pub fn stay<End: FnOnce()>(
        self,
        config: Config,
        command: &'static str,
        console: &mut Console,
        begin: impl FnOnce(&Arc<Desk>, &mut Console) -> Result<End, Failure>,
    ) -> Result<Exit, Failure> {
        let every = units::parse_duration(&self.every).map_err(|error| Failure::Usage(format!("--every: {error}")))?;
        if every < Duration::from_millis(10) {
            return Err(Failure::Usage("--every must be at least 10ms".to_owned()));
        }
        let signals = run::catch_signals()?;
        let lock = Lock::take(&config.store, AFTER_A_KILL)?;
        let desk = Desk::open(lock, config, command)?;
        let (wake, woken) = crossbeam_channel::bounded(1);
        let stop = wake.clone();
        desk.on_stop(move || {
            // Full means that somebody has woken it already.
            let _ = stop.try_send(());
        });
        run::stop_on_signals(signals, &desk)?;
        if let Err(error) = tell_of_files(&desk.mill.config.incoming.drop_folder, wake) {
            tracing::warn!(%error, "no news of new files; the folder is looked at every {}", self.every);
        }
        let end = begin(&desk, console)?;
        empty_outbox(&desk)?;
        let exit = self.keep_going(&desk, every, &woken, console);
        end();
        desk.close();
        exit
    }

    fn keep_going(
        &self,
        desk: &Desk,
        every: Duration,
        woken: &Receiver<()>,
        console: &mut Console,
    ) -> Result<Exit, Failure> {
        let mut wait = every;
        let mut said = Said::default();
        while !desk.is_stopped() {
            if !desk.mill.is_enabled() {
                // Who serves tells senders so; mail that lies there stays.
                let _ = woken.recv();
                continue;
            }
            let progress = Arc::new(Progress::default());
            let drawing = console.draw(&progress, None);
            let result = desk.mill.run(Work::AsItComes, &progress);
            drop(drawing);
            let busy = result.sheet.found > 0;
            if busy || result.error.is_some() {
                desk.remember(&result.sheet);
                let reported = sheet::report(&result, self.json, console);
                console.flush()?;
                if !can_go_on(result.error.as_ref()) {
                    return reported;
                }
            }
            self.report_others(desk, console)?;
            said.tell(desk, console)?;
            wait = next_wait(wait, every, &desk.mill.config, &result);
            if !desk.is_stopped() {
                // Woken, or the time is over: either way the folder is looked at.
                let told = woken.recv_timeout(wait).is_ok();
                if told && busy && !desk.is_stopped() {
                    std::thread::sleep(BREATH);
                }
            }
        }
        self.report_others(desk, console)?;
        Ok(Exit::Good)
    }

    /// Tells of batches that ended beside this loop. Their errors are for whoever runs them.
    fn report_others(&self, desk: &Desk, console: &mut Console) -> Result<(), Failure> {
        for result in desk.ended() {
            desk.remember(&result.sheet);
            // What is wrong with some mail is in the sheet.
            let _ = sheet::report(&result, self.json, console);
            console.flush()?;
        }
        Ok(())
    }
}

/// A full disk passes; everything else needs a person, and a service manager that starts us anew.
const fn can_go_on(error: Option<&EngineError>) -> bool {
    matches!(error, None | Some(EngineError::Store(StoreError::Full(_))))
}

fn next_wait(last: Duration, every: Duration, config: &Config, result: &crate::engine::BatchResult) -> Duration {
    if result.error.is_some() {
        return (last * 2).min(LONGEST_WAIT.max(every));
    }
    if result.sheet.incomplete > 0 {
        // What is being written is looked at again when it can have settled.
        return every.min(config.incoming.settle_time.max(Duration::from_millis(200)));
    }
    // Should the server that they fall to be gone, they are ours.
    if result.left_some { every.min(LEFT_TO_OTHERS) } else { every }
}

/// Webhooks are told beside the batches.
fn empty_outbox(desk: &Arc<Desk>) -> Result<(), Failure> {
    const PAUSE: Duration = Duration::from_secs(1);
    let desk = Arc::downgrade(desk);
    let tell = move || {
        while let Some(desk) = desk.upgrade().filter(|desk| !desk.is_stopped()) {
            if let Err(error) = desk.mill.drain_outbox(Duration::from_secs(10)) {
                tracing::warn!(%error, "the outbox cannot be emptied");
            }
            drop(desk);
            std::thread::sleep(PAUSE);
        }
    };
    background::start("webhooks", tell).map(drop)
}

/// Wakes the loop when a file is closed after writing or renamed into the folder (inotify(7); local file systems only).
fn tell_of_files(folder: &Path, wake: Sender<()>) -> std::io::Result<()> {
    let mut inotify = Inotify::init()?;
    inotify.watches().add(folder, WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO)?;
    let look = move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(events) = inotify.read_events_blocking(&mut buffer) {
            // Our own moves and the dot-files of writers are no news.
            let mut names = events.filter_map(|event| event.name);
            if names.any(crate::spool::is_mail_name) {
                // One wish to look is enough.
                let _ = wake.try_send(());
            }
        }
    };
    std::thread::Builder::new().name("news".to_owned()).spawn(look).map(drop)
}
