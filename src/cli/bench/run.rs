//! One measured run, in a process of its own: peak memory, time and bytes written are then this run's and nobody else's.
//! Prints one JSON object for the bench that started it, and only when every mail is where it belongs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::floor;
use crate::cli::console::Console;
use crate::cli::exit::{Exit, Failure};
use crate::config::Config;
use crate::engine::{Mill, Progress, Work};
use crate::model::list::Kind;
use crate::model::settings::{ListSettings, Senders};
use crate::store::{RawStore, RocksStore, Syncs};

/// One run of a bench; `mailmill bench` starts it
#[derive(Args)]
pub struct BenchRun {
    #[arg(value_enum)]
    side: Side,
    dir: PathBuf,
    /// How many mails there must be
    #[arg(long)]
    messages: u64,
    /// Count syncs, which takes time: the time of such a run is not used
    #[arg(long)]
    counting: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Side {
    Floor,
    Engine,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Floor, Self::Engine];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Engine => "engine",
        }
    }
}

/// What one run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub messages: u64,
    /// Bytes of the mail files.
    pub bytes: u64,
    /// From opening the store to the last file gone.
    pub seconds: f64,
    /// Processor time of the same stretch, all threads.
    pub user_s: f64,
    pub system_s: f64,
    /// Bytes of memory at the highest, mapped files included (`VmHWM`).
    pub peak_memory: u64,
    /// Bytes that the process caused to be written (`/proc/PID/io`), what was still in memory included: it is flushed after the clock stopped. 0 where files lie in memory.
    pub written: u64,
    /// Syncs of the store's log, and of all its files; only where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_syncs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fsyncs: Option<u64>,
}

/// Where a run has its mail and its store.
pub fn drop_folder(run: &Path) -> PathBuf {
    run.join("drop")
}

/// The defaults, but for `MAILMILL_LIMITS__*`: with these, settings are tried out. No other variable may point the bench at real mail.
pub fn config(run: &Path) -> Result<Config, Failure> {
    let limits = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("MAILMILL_LIMITS__"))?;
        Some((name, value.into_string().ok()?))
    };
    let mut config = Config::parse(&run.join("mailmill.toml"), "", std::env::vars_os().filter_map(limits))?;
    config.store = run.join("store");
    config.incoming.drop_folder = drop_folder(run);
    Ok(config)
}

/// Makes the store of a run, so that both sides open one that exists.
pub fn prepare(side: Side, run: &Path) -> Result<(), Failure> {
    let config = config(run)?;
    match side {
        Side::Floor => drop(RawStore::open(&config.store, false)?),
        Side::Engine => {
            let store = Arc::new(RocksStore::open(&config.store)?);
            let settings =
                ListSettings { address: "list0".to_owned(), senders: Senders::Any, ..ListSettings::default() };
            Mill::new(config, store)?.lists().create("bench", Kind::Announcements, settings)?;
        }
    }
    Ok(())
}

impl BenchRun {
    pub fn carry_out(&self, console: &mut Console) -> Result<Exit, Failure> {
        crate::engine::raise_file_limit();
        let config = config(&self.dir)?;
        let measured = match self.side {
            Side::Floor => self.floor(&config)?,
            Side::Engine => self.engine(config)?,
        };
        if let Some(left) = first_file_below(&drop_folder(&self.dir)) {
            return Err(Failure::Engine(format!("{} was left lying: the run does not count", left.display())));
        }
        console.json(&measured)?;
        Ok(Exit::Good)
    }

    fn floor(&self, config: &Config) -> Result<Measured, Failure> {
        let clock = Clock::start()?;
        let store = RawStore::open(&config.store, self.counting)?;
        let gone = floor::drain(&config.incoming.drop_folder, &store, &config.limits)?;
        let mut measured = clock.stop(store.syncs())?;
        store.flush()?;
        measured.written = bytes_written()?;
        (measured.messages, measured.bytes) = store.count()?;
        self.all_there(gone.min(measured.messages), "written and removed")?;
        Ok(measured)
    }

    fn engine(&self, config: Config) -> Result<Measured, Failure> {
        let clock = Clock::start()?;
        let open = if self.counting { RocksStore::open_counting } else { RocksStore::open };
        let store = Arc::new(open(&config.store)?);
        let mill = Mill::new(config, Arc::<RocksStore>::clone(&store))?;
        let result = mill.run(Work::DropFolder { limit: None }, &Progress::default());
        let mut measured = clock.stop(store.syncs())?;
        if let Some(error) = result.error {
            return Err(error.into());
        }
        let sheet = result.sheet;
        if !sheet.balanced {
            return Err(Failure::Engine("the balance sheet does not add up: the run does not count".to_owned()));
        }
        self.all_there(sheet.delivered.min(sheet.found), "delivered")?;
        (measured.messages, measured.bytes) = (sheet.delivered, sheet.bytes);
        store.flush()?;
        measured.written = bytes_written()?;
        Ok(measured)
    }

    fn all_there(&self, count: u64, what: &str) -> Result<(), Failure> {
        if count == self.messages {
            return Ok(());
        }
        let text = format!("{} of {} mails were {what}: the run does not count", count, self.messages);
        Err(Failure::Engine(text))
    }
}

struct Clock {
    since: Instant,
    cpu: (Duration, Duration),
}

impl Clock {
    fn start() -> Result<Self, Failure> {
        Ok(Self { cpu: processor_time()?, since: Instant::now() })
    }

    fn stop(self, syncs: Option<Syncs>) -> Result<Measured, Failure> {
        let seconds = self.since.elapsed().as_secs_f64();
        let (user, system) = processor_time()?;
        Ok(Measured {
            messages: 0,
            bytes: 0,
            seconds,
            user_s: user.saturating_sub(self.cpu.0).as_secs_f64(),
            system_s: system.saturating_sub(self.cpu.1).as_secs_f64(),
            peak_memory: peak_memory()?,
            written: 0,
            log_syncs: syncs.map(|syncs| syncs.log),
            fsyncs: syncs.map(|syncs| syncs.files),
        })
    }
}

fn read_proc(name: &str) -> Result<String, Failure> {
    let path = Path::new("/proc/self").join(name);
    fs::read_to_string(&path).map_err(|error| Failure::at(&path, &error))
}

/// The number after `key` in a file of /proc.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn unreadable(what: &str) -> Failure {
    Failure::Engine(format!("this system does not tell {what} of a process"))
}

fn peak_memory() -> Result<u64, Failure> {
    let kib = number_after(&read_proc("status")?, "VmHWM:").ok_or_else(|| unreadable("the peak memory"))?;
    Ok(kib * 1024)
}

/// What was written and then thrown away before it reached the disk does not count.
fn bytes_written() -> Result<u64, Failure> {
    let io = read_proc("io")?;
    let written = number_after(&io, "write_bytes:").ok_or_else(|| unreadable("the bytes written"))?;
    Ok(written.saturating_sub(number_after(&io, "cancelled_write_bytes:").unwrap_or_default()))
}

/// User and system time of this process, threads that ended included. In clock ticks, 10 ms each on most systems.
fn processor_time() -> Result<(Duration, Duration), Failure> {
    let stat = read_proc("stat")?;
    // The second field is the program's name in parentheses and may hold anything; times are fields 14 and 15.
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let mut times = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (times.next(), times.next()) else {
        return Err(unreadable("the processor time"));
    };
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let time = |count: u64| Duration::from_millis(count * 1000 / ticks);
    Ok((time(user), time(system)))
}

/// A file that is still in the drop folder or in a folder below it.
fn first_file_below(folder: &Path) -> Option<PathBuf> {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_tell_its_memory_its_writing_and_its_time() {
        assert!(peak_memory().unwrap() > 1 << 20);
        bytes_written().unwrap();
        processor_time().unwrap();
    }

    #[test]
    fn numbers_are_read_after_their_whole_key() {
        let io = "rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!(number_after(io, "write_bytes:"), Some(4096));
        assert_eq!(number_after(io, "cancelled_write_bytes:"), Some(7));
        assert_eq!(number_after(io, "nothing:"), None);
    }
}
