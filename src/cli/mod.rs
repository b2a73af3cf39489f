//! Floor 4: the commands. Reads words, opens what they need, prints what came of it. Decides nothing about any mail.
//!
//! A command that needs the store is a `Request`: answered here where no other process owns the store, else by its owner
//! through the control socket. Both ways run the same code.

mod console;

mod exit;

mod desk;

mod keys;

mod talk;

mod sheet;

mod init;

mod others;

mod run;

mod watch;

mod smtp;

mod serve;

mod password;

mod status;

mod import;

mod list;

mod items;

mod export;

mod failed;

mod trace;

mod history;

mod verify;

mod background;
mod backup;

mod reclaim;

mod doctor;

mod judge_alone;

mod r#gen;

#[cfg(feature = "rocks")]
mod bench;

mod demo;

mod manual;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use console::Console;
use desk::Desk;
use exit::{Exit, Failure};

/// Turns a folder of mail files into items of lists and document libraries: once each, fast, every file accounted for.
#[derive(Parser)]
#[command(name = "mailmill", version, about, long_about = None, propagate_version = true, max_term_width = 100, after_help = EXITS)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXITS: &str = "\
Exit codes: 0 everything found was delivered, a duplicate or incomplete; 1 engine error; 2 wrong usage or configuration;
3 some mail was refused, damaged or deferred; 4 another process owns the store.

Example: mailmill init && mailmill list create news --kind announcements --address news senders=any && mailmill run";

#[derive(Args, Clone, Debug)]
struct Global {
    /// The configuration [default: ./mailmill.toml, else /etc/mailmill/mailmill.toml]
    #[arg(long, global = true, env = "MAILMILL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say more on standard error; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Init),
    Run(run::Run),
    Watch(watch::Watch),
    Serve(serve::Serve),
    Smtp(smtp::Smtp),
    Password(password::Password),
    Status(status::Status),
    Stop(status::Stop),
    #[command(flatten)]
    Ask(Request),
    Restore(backup::Restore),
    Reclaim(reclaim::Reclaim),
    Doctor(doctor::Doctor),
    Gen(r#gen::Gen),
    #[cfg(feature = "rocks")]
    Bench(bench::Bench),
    #[cfg(feature = "rocks")]
    #[command(hide = true)]
    BenchRun(bench::BenchRun),
    #[cfg(feature = "rocks")]
    #[command(hide = true)]
    BenchPlan(bench::BenchPlan),
    Demo(demo::Demo),
    Completions(manual::Completions),
    Man(manual::Man),
    #[command(hide = true)]
    JudgeAlone(judge_alone::JudgeAlone),
}

/// What is asked of a store, by whichever process owns it.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
enum Request {
    Import(import::Import),
    #[command(subcommand)]
    List(list::ListCommand),
    Items(items::Items),
    Show(items::Show),
    Export(export::Export),
    Cat(export::Cat),
    #[command(subcommand)]
    Failed(failed::Failed),
    Trace(trace::Trace),
    History(history::History),
    Verify(verify::Verify),
    Backup(backup::Backup),
    #[command(skip)]
    DryRun(run::DryRun),
    #[command(skip)]
    Addresses(smtp::Addresses),
    #[command(skip)]
    Status(status::Status),
    #[command(skip)]
    Stop,
}

impl Request {
    /// Paths are made absolute and files read before the request may travel to another process.
    fn prepare(&mut self) -> Result<(), Failure> {
        match self {
            Self::Import(import) => import.prepare(),
            Self::List(list) => list.prepare(),
            Self::Export(export) => export.prepare(),
            Self::Backup(backup) => backup.prepare(),
            _ => Ok(()),
        }
    }

    /// Whether asking twice is the same as asking once.
    const fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::Items(_)
                | Self::Show(_)
                | Self::Export(_)
                | Self::Cat(_)
                | Self::Trace(_)
                | Self::History(_)
                | Self::DryRun(_)
                | Self::Status(_)
                | Self::Addresses(_)
                // An import that is repeated delivers nothing twice.
                | Self::Import(_)
        )
    }

    fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        match self {
            Self::Import(import) => import.answer(desk, console),
            Self::List(list) => list.answer(desk, console),
            Self::Items(items) => items.answer(desk, console),
            Self::Show(show) => show.answer(desk, console),
            Self::Export(export) => export.answer(desk, console),
            Self::Cat(cat) => cat.answer(desk, console),
            Self::Failed(failed) => failed.answer(desk, console),
            Self::Trace(trace) => trace.answer(desk, console),
            Self::History(history) => history.answer(desk, console),
            Self::Verify(verify) => verify.answer(desk, console),
            Self::Backup(backup) => backup.answer(desk, console),
            Self::DryRun(dry_run) => dry_run.answer(desk, console),
            Self::Addresses(addresses) => addresses.answer(desk, console),
            Self::Status(status) => status.answer(desk, console),
            Self::Stop => Ok(desk.stop()),
        }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli.global, matches!(cli.command, Command::Serve(_) | Command::Smtp(_)));
    crate::spool::ignore_lease_signals();
    let mut console = Console::local(cli.global.quiet, cli.global.color);
    let done = cli.command.carry_out(&cli.global, &mut console).and_then(|exit| {
        console.flush()?;
        Ok(exit)
    });
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Whoever read our output has seen enough; that is no failure.
            if failure.is_broken_pipe() {
                return Exit::Good.into();
            }
            console.error(&failure.to_string());
            failure.exit().into()
        }
    }
}

impl Command {
    fn carry_out(self, global: &Global, console: &mut Console) -> Result<Exit, Failure> {
        let config = || Config::find(global.config.as_deref()).map_err(Failure::from);
        match self {
            Self::Init(init) => init.carry_out(console),
            Self::Run(run) => run.carry_out(config()?, console),
            Self::Watch(watch) => watch.carry_out(config()?, console),
            Self::Serve(serve) => serve.carry_out(config()?, console),
            Self::Smtp(smtp::Smtp) => smtp::Smtp::carry_out(config()?, console),
            Self::Password(password::Password) => password::Password::carry_out(console),
            Self::Status(status) => status.carry_out(config()?, console),
            Self::Stop(status::Stop) => status::Stop::carry_out(&config()?, console),
            Self::Ask(mut request) => {
                let config = config()?;
                request.prepare()?;
                talk::ask(config, &request, console)
            }
            Self::Restore(restore) => restore.carry_out(&config()?, console),
            Self::Reclaim(reclaim) => reclaim.carry_out(config()?, console),
            Self::Doctor(doctor) => doctor.carry_out(&config()?, console),
            Self::Gen(generate) => generate.carry_out(console),
            #[cfg(feature = "rocks")]
            Self::Bench(bench) => bench.carry_out(console),
            #[cfg(feature = "rocks")]
            Self::BenchRun(run) => run.carry_out(console),
            #[cfg(feature = "rocks")]
            Self::BenchPlan(plan) => plan.carry_out(console),
            Self::Demo(demo) => demo.carry_out(console),
            Self::Completions(completions) => completions.carry_out(console),
            Self::Man(man) => man.carry_out(console),
            Self::JudgeAlone(judge) => judge.carry_out(),
        }
    }
}

/// A service says one line a mail.
fn start_logging(global: &Global, is_service: bool) {
    use tracing_subscriber::EnvFilter;
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) if is_service => "warn,mailmill=info",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_env("MAILMILL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // Set once a process; a second time there is nothing to do.
    let _ = log.with_ansi(console::wants_color(global.color)).try_init();
}
