//! `mailmill doctor`: can this server do its work, and if not, what is to be done?

use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Args;
use rustix::process::{Resource, getrlimit};

use super::console::{Console, plain};
use super::desk::Lock;
use super::exit::{Exit, Failure};
use super::others;
use crate::config::Config;
use crate::model::units::{about, format_duration};
use crate::spool::{Check, DropFolder, SpoolOptions, State, check_up, overdue};

/// Check that this server can do its work
#[derive(Args)]
#[command(after_help = "Exit code 0: nothing is bad (there may be warnings); 1: something is.
Example: mailmill doctor --json")]
pub struct Doctor {
    /// One check a line
    #[arg(long)]
    json: bool,
}

/// RocksDB and a few hundred open claims want this many.
const FILES: u64 = 2048;

/// Less room than this is a warning.
const LOW_ROOM: u64 = 1 << 30;

/// A file that waits for longer than this in the drop folder is a sign that nobody runs.
const OLD_FILE: Duration = Duration::from_mins(10);

impl Doctor {
    pub fn carry_out(&self, config: &Config, console: &mut Console) -> Result<Exit, Failure> {
        let mut checks = check_up(&config.incoming.drop_folder);
        checks.push(room("drop-room", &config.incoming.drop_folder, 0));
        let (own, seen) = store(config);
        checks.extend(seen);
        checks.push(room("store-room", &config.store, config.limits.store_reserve));
        checks.push(file_limit());
        checks.extend(other_servers(&config.incoming.drop_folder, own.as_deref()));
        checks.extend(oldest(config));
        checks.extend(crate::smtp::checkup::check_up(config));
        let bad = checks.iter().any(|check| check.state == State::Bad);
        for check in &checks {
            if self.json {
                console.json(check)?;
                continue;
            }
            let word = match check.state {
                State::Good => "good",
                State::Warning => "WARN",
                State::Bad => "BAD ",
            };
            console.line(&plain(&format!("{word}  {:<16} {}", check.check, check.text)))?;
        }
        Ok(if bad { Exit::Engine } else { Exit::Good })
    }
}

fn room(name: &'static str, folder: &Path, reserve: u64) -> Check {
    match rustix::fs::statvfs(folder) {
        Err(errno) => Check::bad(name, format!("{}: {errno}", folder.display())),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let text = format!("{} free for {}", about(free), folder.display());
            if free < reserve {
                Check::bad(name, format!("{text}; mail is deferred below {} (limits.store_reserve)", about(reserve)))
            } else if free < LOW_ROOM {
                Check::warning(name, text)
            } else {
                Check::good(name, text)
            }
        }
    }
}

/// The label of this server's own folder, if the store could be asked, and what is to be said of the store.
fn store(config: &Config) -> (Option<String>, Vec<Check>) {
    let lock = match Lock::try_take(&config.store) {
        Ok(Some(lock)) => lock,
        Ok(None) => return (None, vec![Check::good("store", "in use by another mailmill; see `mailmill status`")]),
        Err(failure) => return (None, vec![Check::bad("store", failure.to_string())]),
    };
    let opened = crate::store::open(&config.store);
    let answer = match opened {
        Err(error) => (None, vec![Check::bad("store", error.to_string())]),
        Ok(store) => {
            let mut checks = vec![Check::good("store", format!("{} can be opened", config.store.display()))];
            checks.extend(store.sheets(1).ok().and_then(|sheets| silence(config, sheets.first())));
            (Some(format!("{}-{}", config.server, store.uuid())), checks)
        }
    };
    drop(lock);
    answer
}

fn silence(config: &Config, last: Option<&crate::model::outcome::Sheet>) -> Option<Check> {
    let limit = config.incoming.alert_silence;
    if limit.is_zero() {
        return None;
    }
    let started: Option<jiff::Timestamp> = last.and_then(|sheet| sheet.started.parse().ok());
    let now = jiff::Timestamp::now().as_second();
    let since = started.map(|time| Duration::from_secs(u64::try_from(now - time.as_second()).unwrap_or_default()));
    Some(match since {
        Some(age) if age <= limit => Check::good("silence", format!("the last mail came {} ago", rounded(age))),
        Some(age) => Check::warning(
            "silence",
            format!("no mail came for {}; does the mail server still write here?", rounded(age)),
        ),
        None => Check::warning("silence", "no mail came yet"),
    })
}

fn rounded(age: Duration) -> String {
    format_duration(Duration::from_secs(age.as_secs()))
}

fn file_limit() -> Check {
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < FILES => {
            Check::warning("file-limit", format!("{limit} open files allowed, {FILES} wanted: raise LimitNOFILE"))
        }
        limit => Check::good(
            "file-limit",
            format!("{} open files allowed", limit.map_or("any number of".to_owned(), |limit| limit.to_string())),
        ),
    }
}

fn other_servers(drop_folder: &Path, own: Option<&str>) -> Vec<Check> {
    // Without our own label we cannot tell which folder is ours.
    let Some(own) = own else { return Vec::new() };
    let Ok(strangers) = overdue(drop_folder, own) else { return Vec::new() };
    strangers.iter().map(|stranger| Check::warning("other-servers", others::sentence(stranger))).collect()
}

/// A file that nobody takes is a sign that nobody runs.
fn oldest(config: &Config) -> Option<Check> {
    let options = SpoolOptions {
        drop_folder: config.incoming.drop_folder.clone(),
        label: String::new(),
        remote_writers: true,
        settle_time: config.incoming.settle_time,
    };
    let folder = DropFolder::open(options).ok()?;
    let ages = folder.list().ok()?.flatten().filter_map(|entry| {
        let path = config.incoming.drop_folder.join(&entry.name);
        let modified = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()?;
        SystemTime::now().duration_since(modified).ok()
    });
    let (count, oldest) = ages.fold((0_u64, Duration::ZERO), |(count, oldest), age| (count + 1, oldest.max(age)));
    let text = format!("{count} files wait, the oldest for {}", rounded(oldest));
    Some(match oldest {
        age if age > OLD_FILE => Check::warning("waiting", format!("{text}; is `mailmill run` scheduled?")),
        _ => Check::good("waiting", text),
    })
}
