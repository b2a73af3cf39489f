//! `mailmill serve`: the SMTP service and `watch` in one process, with one owner of the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::{Receiver, Select};

use super::background;
use super::console::Console;
use super::desk::Desk;
use super::exit::{Exit, Failure};
use super::smtp::say_where;
use super::watch::Watch;
use crate::config::{Config, host_name};
use crate::engine::{Letter, Mill, Progress, Work};
use crate::smtp::bounce::{self, Told};
use crate::smtp::deposit::Engine;
use crate::smtp::metrics::add;
use crate::smtp::server::Server;
use crate::spool::Depot;
use crate::store::Stall;

/// Receive mail by SMTP and LMTP, and take it into its lists as it comes
#[derive(Args)]
#[command(after_help = "Examples:
  mailmill init && mailmill list create news --kind announcements --address news senders=any && mailmill serve
  swaks --server 127.0.0.1:2525 --to news@localhost --from ann@example.org

Files that others put into the drop folder are taken as well. The first TERM or INT takes mail under way to its end, finishes
the group that is being written and leaves; the second leaves at once.")]
pub struct Serve {
    #[command(flatten)]
    watch: Watch,
}

impl Serve {
    pub fn carry_out(self, config: Config, console: &mut Console) -> Result<Exit, Failure> {
        self.watch.stay(config, "serve", console, |desk, console| {
            let (letters, to_take) = crossbeam_channel::unbounded();
            let closed_until = be_careful(desk);
            // Open before anybody can connect: what comes before the thread runs waits for it.
            let is_open = Arc::new(AtomicBool::new(closed_until.is_none()));
            let server = start(desk, Engine { letters, is_open: Arc::clone(&is_open) })?;
            if desk.mill.config.smtp.bounces {
                tell_senders(desk)?;
            }
            say_where(&server, console)?;
            let (ours, theirs) = (Arc::clone(desk), Arc::clone(desk));
            let taking = background::start("letters", move || take_letters(&theirs, &to_take, &is_open, closed_until))?;
            Ok(move || {
                server.stop();
                // Whatever made the loop end, also an error. The store is closed when nobody uses it any more.
                ours.stop();
                let _ = taking.join();
            })
        })
    }
}

fn start(desk: &Arc<Desk>, engine: Engine) -> Result<Server, Failure> {
    let config = Arc::new(desk.mill.config.clone());
    let options = desk.mill.spool_options();
    let depot = Arc::new(Depot::open(&options.drop_folder, &options.label)?);
    let asked = Arc::downgrade(desk);
    let addresses = Arc::new(move || asked.upgrade().map(|desk| desk.mill.directory.get()));
    let measured = Arc::downgrade(desk);
    let more = Arc::new(move || figures(&measured));
    Ok(Server::start(&config, addresses, depot, Some(engine), more)?)
}

/// After a start that found the last process dead over some mail, every mail gets a file for so long: by its file one that kills is
/// found out.
const CAREFUL: Duration = Duration::from_mins(10);

/// So long mail gets files when the store did not take it.
const AFTER_ERROR: Duration = Duration::from_secs(10);

/// Until when mail gets files, if the last process died.
fn be_careful(desk: &Desk) -> Option<Instant> {
    let until = desk.mill.has_suspects().then(|| Instant::now() + CAREFUL);
    if until.is_some() {
        tracing::warn!(
            "the last process died over some mail: until it is found out, mail goes by way of the drop folder"
        );
    }
    until
}

/// Takes mail straight into its lists, beside the batches of the drop folder. Ends when the desk is stopped.
fn take_letters(desk: &Desk, letters: &Receiver<Letter>, is_open: &AtomicBool, mut closed_until: Option<Instant>) {
    // Whoever waits when this ends makes a file.
    while !desk.is_stopped() {
        if closed_until.is_none_or(|until| Instant::now() >= until) {
            closed_until = None;
            is_open.store(true, Ordering::Relaxed);
        }
        if !is_ready(letters) {
            continue;
        }
        let result = desk.mill.run(Work::Letters(letters), &Progress::default());
        if let Some(error) = &result.error {
            tracing::error!(%error, "mail goes by way of the drop folder for a while");
            is_open.store(false, Ordering::Relaxed);
            closed_until = Some(Instant::now() + AFTER_ERROR);
            letters.try_iter().for_each(drop);
        }
        if result.error.is_some() || result.sheet.found > 0 {
            desk.tell_of(result);
        }
    }
    is_open.store(false, Ordering::Relaxed);
}

/// Waits a while for a letter, and leaves it there.
fn is_ready(letters: &Receiver<Letter>) -> bool {
    let mut select = Select::new();
    select.recv(letters);
    select.ready_timeout(Duration::from_millis(100)).is_ok() && !letters.is_empty()
}

/// Tells senders of mail that was refused, beside the batches, at most `bounce_rate` a minute. What cannot be told waits, also
/// across a restart: `refused/` is the outbox.
fn tell_senders(desk: &Arc<Desk>) -> Result<(), Failure> {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_mins(5);
    let desk = Arc::downgrade(desk);
    let tell = move || {
        let (mut pause, mut seen) = (FIRST, None);
        while let Some(desk) = desk.upgrade().filter(|desk| !desk.is_stopped()) {
            // A folder's time changes when something comes into it.
            let folder = desk.mill.spool_options().own_folder().join("refused");
            let now = std::fs::metadata(&folder).and_then(|metadata| metadata.modified()).ok();
            if seen != now || pause > FIRST {
                let all_told = tell_all(&desk);
                seen = if all_told { now } else { None };
                pause = if all_told { FIRST } else { (pause * 2).min(LONGEST) };
            }
            drop(desk);
            std::thread::sleep(pause);
        }
    };
    background::start("bounces", tell).map(drop)
}

/// Whether nobody is left to be told.
fn tell_all(desk: &Desk) -> bool {
    let smtp = &desk.mill.config.smtp;
    let host = if smtp.host_name.is_empty() { host_name() } else { smtp.host_name.clone() };
    let Ok(spool) = desk.mill.spool() else { return false };
    let refused = match spool.untold() {
        Ok(refused) => refused,
        Err(error) => {
            tracing::warn!(%error, "refused mail cannot be listed; its senders are told later");
            return false;
        }
    };
    for mail in refused {
        if desk.is_stopped() {
            return false;
        }
        let (why, told) = match bounce::tell(&mail, &host, &smtp.smart_host) {
            Told::NotYet(why) => {
                tracing::warn!(id = %mail.id, why, "a sender cannot be told yet");
                return false;
            }
            Told::Never(why) => (why, false),
            Told::Yes => ("told".to_owned(), true),
        };
        tracing::info!(id = %mail.id, why, "bounce");
        if let Err(error) = spool.mark_told(mail.id, &why) {
            tracing::warn!(%error, "a bounce cannot be marked as sent");
            return false;
        }
        if told {
            std::thread::sleep(Duration::from_mins(1) / smtp.bounce_rate.max(1));
        }
    }
    true
}

/// What the engine adds to the metrics.
fn figures(desk: &Weak<Desk>) -> String {
    let mut text = String::new();
    let Some(desk) = desk.upgrade() else { return text };
    if let Some(sheet) = desk.last_sheet() {
        let all = [
            ("batch_number", "The last batch that found mail", sheet.batch),
            ("batch_found", "Files it found", sheet.found),
            ("batch_delivered", "Files it delivered", sheet.delivered),
            ("batch_duplicates", "Files that were delivered before", sheet.duplicates),
            ("batch_refused", "Files it refused", sheet.refused),
            ("batch_damaged", "Files that were damaged", sheet.damaged),
            ("batch_deferred", "Files that wait for room in the store", sheet.deferred),
            ("batch_items", "Items it made", sheet.items),
            ("batch_bytes", "Bytes it read", sheet.bytes),
        ];
        all.iter().for_each(|(name, help, value)| add(&mut text, name, help, "gauge", &value.to_string()));
        add(&mut text, "batch_seconds", "How long it took", "gauge", &sheet.elapsed_s.to_string());
    }
    let stall = match desk.mill.store.stall() {
        Stall::None => "0",
        Stall::Slowed => "1",
        Stall::Stopped => "2",
    };
    add(&mut text, "store_stall", "Whether the store keeps writers waiting: 0 no, 1 slowed, 2 stopped", "gauge", stall);
    let (count, oldest) = waiting(&desk.mill);
    add(&mut text, "drop_files", "Files in the drop folder", "gauge", &count.to_string());
    add(&mut text, "drop_oldest_seconds", "Age of the oldest of them", "gauge", &oldest.to_string());
    text
}

/// Files in the drop folder, and the age of the oldest in seconds.
fn waiting(mill: &Mill) -> (u64, u64) {
    let Ok(folder) = crate::spool::DropFolder::open(mill.spool_options()) else { return (0, 0) };
    let Ok(listing) = folder.list() else { return (0, 0) };
    let ages = listing.flatten().map(|entry| {
        let path = mill.config.incoming.drop_folder.join(&entry.name);
        let modified = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok();
        modified.and_then(|time| time.elapsed().ok()).map_or(0, |age| age.as_secs())
    });
    ages.fold((0, 0), |(count, oldest), age| (count + 1, oldest.max(age)))
}
