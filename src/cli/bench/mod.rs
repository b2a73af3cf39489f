//! `mailmill bench`: how fast is the engine, and how fast could anything be on this disk. Floor and engine in turn, each run in a
//! process of its own on a fresh copy of the same generated mail.

mod floor;

mod run;

mod folder;

mod figures;

mod plan;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::Console;
use super::exit::{Exit, Failure};
use crate::config::Limits;
use crate::generate::{Generator, Profile, fill};
use crate::model::units;
use figures::{Figures, Summary};
use folder::Folder;
use run::{Measured, Side};

pub use plan::BenchPlan;
pub use run::BenchRun;

const HELP: &str = "\
The floor: the same files, claimed by rename, read, their bytes put raw through the log into a
RocksDB with blob files and groups of the same size, and unlinked by as many threads. Both are
timed from opening the store to the last file gone, floor and engine in turn, each run in a
process of its own on a fresh copy of the mail. A run that does not deliver every mail is an error.

mails/s, MB/s  medians; ratio = engine / floor
peak memory    of the run's process, mapped files included
fsyncs         of the store's files, counted in one more run that is not timed
written/byte   bytes that the process wrote by byte of mail; what the store still held in memory
               is flushed after the clock stopped, and counted

MAILMILL_LIMITS__* try out settings, for floor and engine alike.

Examples:
  mailmill bench
  mailmill bench --profile all --json --dir /srv/mail
  MAILMILL_LIMITS__SETTLE_THREADS=8 mailmill bench --messages 100000";

/// Measure this machine: drain generated mail, and in turn, on the same disk, the floor that no engine can avoid
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Bench {
    /// How many mails of each profile [default: small 20000, mixed 6000, large 40]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// What kind of mail; all: one table of the three
    #[arg(long, value_enum, default_value_t = Profiles::Small)]
    profile: Profiles,
    /// On which disk: a folder of the bench's own is made there, and removed at the end [default: the working folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Timed runs of each side
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Of the generated mail: same seed, same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the folder, with the mail and the store of every run
    #[arg(long)]
    keep: bool,
    /// One object a profile, with every run
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profiles {
    Small,
    Mixed,
    Large,
    All,
}

impl Profiles {
    /// Each with the number of mails it is measured on.
    const fn list(self) -> &'static [(Profile, u64)] {
        const ALL: &[(Profile, u64)] = &[(Profile::Small, 20_000), (Profile::Mixed, 6_000), (Profile::Large, 40)];
        match self {
            Self::Small => ALL.split_at(1).0,
            Self::Mixed => ALL.split_at(1).1.split_at(1).0,
            Self::Large => ALL.split_at(2).1,
            Self::All => ALL,
        }
    }
}

impl Bench {
    pub fn carry_out(&self, console: &mut Console) -> Result<Exit, Failure> {
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stopped))
                .map_err(|error| Failure::Engine(format!("signals cannot be watched: {error}")))?;
        }
        let parent = self.dir.clone().unwrap_or_else(|| PathBuf::from("."));
        let folder = Folder::make(&parent, self.keep)?;
        let limits = run::config(&folder.path("run"))?.limits;
        for (at, (profile, default)) in self.profile.list().iter().enumerate() {
            let messages = self.messages.unwrap_or(*default);
            let work = Work { profile: *profile, messages, bench: self, folder: &folder, stopped: &stopped };
            let figures = work.measure(&limits, console)?;
            if self.json {
                console.json(&figures)?;
            } else {
                if at == 0 {
                    console.line(&heading(&figures, self.runs))?;
                }
                for line in figures.lines() {
                    console.line(&line)?;
                }
            }
            console.flush()?;
        }
        if self.keep {
            console.note(&format!("everything lies in {}", folder.path("").display()))?;
        }
        Ok(Exit::Good)
    }
}

fn heading(figures: &Figures, runs: u32) -> String {
    format!(
        "{runs} runs of each, {} workers, {} settling threads, groups of {} mails or {}\n{}",
        figures.workers,
        figures.settle_threads,
        figures.group_mails,
        units::format_size(figures.group_bytes),
        figures::HEADING
    )
}

/// One profile to be measured.
struct Work<'b> {
    profile: Profile,
    messages: u64,
    bench: &'b Bench,
    folder: &'b Folder,
    stopped: &'b AtomicBool,
}

impl Work<'_> {
    fn measure(&self, limits: &Limits, console: &Console) -> Result<Figures, Failure> {
        // Making the mail, one run of each side that counts syncs, and the timed ones.
        let steps = u64::from(self.bench.runs + 1) * 2 + 1;
        let target = if console.is_watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {elapsed} (left {eta})") {
            bar.set_style(style);
        }
        let figures = self.measure_all(limits, &bar);
        bar.finish_and_clear();
        figures
    }

    fn measure_all(&self, limits: &Limits, bar: &ProgressBar) -> Result<Figures, Failure> {
        bar.set_message(format!("{}: making {} mails", self.profile, self.messages));
        let master = self.folder.path(&format!("master-{}", self.profile));
        let mut bytes = 0;
        let generator = Generator::new(self.profile, self.bench.seed, 1);
        fill(&master, &generator, self.messages, &mut |size| bytes += size)
            .map_err(|error| Failure::at(&master, &error))?;
        bar.inc(1);
        let [floor, engine] = self.runs(&master, bytes, bar)?.map(Summary::of);
        self.folder.remove(&master)?;
        Ok(Figures {
            profile: self.profile,
            messages: self.messages,
            bytes,
            workers: workers(limits),
            settle_threads: limits.settle_threads,
            group_mails: limits.group_mails,
            group_bytes: limits.group_bytes,
            ratio: figures::ratio(&floor, &engine),
            floor,
            engine,
        })
    }

    /// The runs of floor and engine, in turn. The first of each counts syncs, and warms everything up.
    fn runs(&self, master: &Path, bytes: u64, bar: &ProgressBar) -> Result<[Vec<Measured>; 2], Failure> {
        let mut runs = [Vec::new(), Vec::new()];
        for round in 0..=self.bench.runs {
            for (side, runs) in Side::BOTH.into_iter().zip(&mut runs) {
                bar.set_message(format!("{}: {} {round} of {}", self.profile, side.word(), self.bench.runs));
                let measured = self.one_run(side, round, master)?;
                if (measured.messages, measured.bytes) != (self.messages, bytes) {
                    return Err(Failure::Engine(format!(
                        "the {} came to {} mails of {} bytes, there were {} of {bytes}: the run does not count",
                        side.word(),
                        measured.messages,
                        measured.bytes,
                        self.messages
                    )));
                }
                runs.push(measured);
                bar.inc(1);
            }
        }
        Ok(runs)
    }

    /// Copies the mail, lets the disk come to rest, and measures in a process of its own.
    fn one_run(&self, side: Side, round: u32, master: &Path) -> Result<Measured, Failure> {
        let folder = self.folder.path(&format!("{}-{}-{round}", self.profile, side.word()));
        folder::copy(master, &run::drop_folder(&folder))?;
        run::prepare(side, &folder)?;
        self.folder.sync()?;
        self.go_on()?;
        // Our own image, also when another program has been put in our place meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.args(["bench-run", side.word()]).arg(&folder).args(["--messages", &self.messages.to_string()]);
        if round == 0 {
            command.arg("--counting");
        }
        let failed = |text: String| Failure::Engine(format!("a run of the {} failed: {text}", side.word()));
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| failed(error.to_string()))?;
        self.go_on()?;
        if !output.status.success() {
            return Err(failed(output.status.to_string()));
        }
        let measured = serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
        self.folder.remove(&folder)?;
        Ok(measured)
    }

    /// A person who asks us to stop still gets the folder removed.
    fn go_on(&self) -> Result<(), Failure> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Failure::Engine("stopped".to_owned()));
        }
        Ok(())
    }
}

fn workers(limits: &Limits) -> usize {
    match limits.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    }
}
