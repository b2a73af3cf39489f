//! What can go wrong goes wrong, to the real program: killed at random moments, disks full, folders moved away, shares that
//! lie, writers that do not keep to any rule, several servers at once. Each scenario ends with an account of every mail.
//!
//! `cargo test --test torture [NAME...]` runs a short cut of each scenario, `make torture` all of it for `TORTURE_SECONDS`.
//! The table at the end says how many mails were lost and how many were doubled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test says no by panicking
#![allow(clippy::disallowed_methods)] // the tests play administrator, writer and bad luck
#![allow(clippy::unnecessary_wraps)] // all scenarios are told in the same way, also those that can run everywhere

mod mill;

mod mount;

mod share;

mod crash;

#[path = "../common/load.rs"]
mod load;

mod mail;

mod faults;

mod servers;

mod network;

mod writers;

mod poison;

mod probes;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What came of a scenario that ran.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// How often something went wrong, or a server ran.
    pub runs: u64,
    pub mails: u64,
    pub lost: u64,
    pub doubled: u64,
}

/// Why a scenario cannot run here.
pub struct Cannot(pub String);

pub type Told = Result<Tally, Cannot>;

/// How much of a scenario is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The short cut: a few seconds at most.
    pub short: bool,
    /// How long it may take when all of it is wanted.
    pub time: Duration,
}

struct Scenario {
    name: &'static str,
    tell: fn(Extent) -> Told,
    /// Its share of the time, in hundredths.
    share: u32,
    /// What it needs that not every machine has. A scenario that needs nothing must run everywhere.
    needs: &'static str,
}

const fn scenario(name: &'static str, tell: fn(Extent) -> Told, share: u32, needs: &'static str) -> Scenario {
    Scenario { name, tell, share, needs }
}

const MOUNT: &str = "the right to mount (root)";
const FUSE: &str = "/dev/fuse and the right to mount";
const ROOT: &str = "root, to be somebody else for a while";

/// Every scenario there is. The last column is the list of those that may be missing, and why.
const SCENARIOS: &[Scenario] = &[
    scenario("kill_9_at_random_moments", crash::kill_9_at_random_moments, 28, ""),
    scenario("power_loss_undoes_what_was_not_synced", crash::power_loss_undoes_what_was_not_synced, 10, ""),
    scenario("backup_while_running_is_restored_and_equal", crash::backup_while_running_is_restored_and_equal, 4, ""),
    scenario("smtp_killed_under_load", mail::smtp_killed_under_load, 12, ""),
    scenario("store_disk_full", faults::store_disk_full, 3, MOUNT),
    scenario("store_disk_full_while_watching", faults::store_disk_full_while_watching, 3, MOUNT),
    scenario("store_quota_and_io_errors", faults::store_quota_and_io_errors, 4, FUSE),
    scenario("drop_folder_full", faults::drop_folder_full, 3, MOUNT),
    scenario("drop_folder_becomes_read_only", faults::drop_folder_becomes_read_only, 3, MOUNT),
    scenario("too_many_open_files", faults::too_many_open_files, 3, ""),
    scenario("too_many_threads", faults::too_many_threads, 2, ROOT),
    scenario("drop_folder_renamed_away", faults::drop_folder_renamed_away, 4, ""),
    scenario("store_folder_deleted", faults::store_folder_deleted, 4, ""),
    scenario("clocks_and_time_stamps_jump", faults::clocks_and_time_stamps_jump, 2, ""),
    scenario("four_servers_share_one_folder", servers::four_servers_share_one_folder, 6, ""),
    scenario("dead_server_reclaimed_with_its_store", servers::dead_server_reclaimed_with_its_store, 4, ""),
    scenario("dead_server_whose_store_is_lost", servers::dead_server_whose_store_is_lost, 3, ""),
    scenario("paused_server_wakes_up_reclaimed", servers::paused_server_wakes_up_reclaimed, 4, FUSE),
    scenario("network_share_that_lies", network::network_share_that_lies, 10, FUSE),
    scenario("hostile_writers", writers::hostile_writers, 6, ""),
    scenario("hostile_writers_without_leases", writers::hostile_writers_without_leases, 4, ROOT),
    scenario("poison_mail", poison::poison_mail, 3, ""),
    scenario("probe_1_two_nodes_one_share_killed_20_times", probes::probe_1_two_nodes_one_share_killed_20_times, 6, ""),
    scenario("probe_2_delete_right_removed", probes::probe_2_delete_right_removed, 1, ROOT),
    scenario("probe_3_400_unknown_and_one_good", probes::probe_3_400_unknown_and_one_good, 1, ""),
    scenario("probe_5_exchange_form_equals_iis_form", probes::probe_5_exchange_form_equals_iis_form, 1, ""),
];

fn main() -> ExitCode {
    let wishes = Wishes::read();
    if wishes.list {
        for scenario in wishes.scenarios() {
            println!("{}: test", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    let scenarios: Vec<_> = wishes.scenarios().collect();
    println!("\nrunning {} scenarios", scenarios.len());
    let shares: u32 = scenarios.iter().map(|scenario| scenario.share).sum();
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let mut missing = Vec::new();
    for scenario in scenarios {
        let start = Instant::now();
        let time = wishes.time.unwrap_or_default() * scenario.share / shares.max(1);
        let extent = Extent { short: wishes.time.is_none(), time };
        let told = catch_unwind(AssertUnwindSafe(|| (scenario.tell)(extent)));
        let elapsed = start.elapsed().as_secs_f64();
        let word = match told {
            Ok(Ok(tally)) => {
                rows.push((scenario.name.to_owned(), tally));
                let good = tally.lost == 0 && tally.doubled == 0;
                if good { "ok" } else { "FAILED" }
            }
            Ok(Err(Cannot(why))) if !scenario.needs.is_empty() => {
                missing.push(format!("{} needs {}: {why}", scenario.name, scenario.needs));
                "ignored"
            }
            Ok(Err(Cannot(why))) => {
                println!("{}: cannot run here: {why}", scenario.name);
                "FAILED"
            }
            Err(_) => "FAILED",
        };
        println!("test {} ... {word} <{elapsed:.1}s>", scenario.name);
        if word == "FAILED" {
            failed.push(scenario.name);
        }
    }
    println!("\n{}", table(&told_elsewhere(), &rows));
    for line in &missing {
        println!("not here: {line}");
    }
    let good = rows.len() + missing.len() - failed.len().min(rows.len());
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {good} passed; {} failed; {} ignored", failed.len(), missing.len());
    for name in &failed {
        println!("    {name}");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn table(before: &[(String, Tally)], rows: &[(String, Tally)]) -> String {
    let mut text = format!("{:<52} {:>7} {:>9} {:>5} {:>8}\n", "scenario", "runs", "mails", "lost", "doubled");
    for (name, tally) in before.iter().chain(rows) {
        let name = name.replace('_', " ");
        writeln!(text, "{name:<52} {:>7} {:>9} {:>5} {:>8}", tally.runs, tally.mails, tally.lost, tally.doubled)
            .unwrap();
    }
    text
}

/// Rows of the sweeps inside the program, which wrote them when all was well.
fn told_elsewhere() -> Vec<(String, Tally)> {
    let text =
        std::env::var_os("TORTURE_TABLE").and_then(|table| std::fs::read_to_string(table).ok()).unwrap_or_default();
    let rows = text.lines().map(|line| {
        let words: Vec<&str> = line.split('\t').collect();
        let tally = Tally { runs: words[1].parse().unwrap(), mails: words[2].parse().unwrap(), ..Tally::default() };
        (words[0].to_owned(), tally)
    });
    rows.collect()
}

/// What the command line asks for, as far as cargo's own test programs understand it.
struct Wishes {
    names: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
    ignored: bool,
    time: Option<Duration>,
}

impl Wishes {
    fn read() -> Self {
        let seconds = std::env::var("TORTURE_SECONDS").ok();
        let time = seconds.map(|seconds| Duration::from_secs(seconds.parse().expect("TORTURE_SECONDS is a number")));
        let mut wishes = Self { names: Vec::new(), skip: Vec::new(), exact: false, list: false, ignored: false, time };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => wishes.list = true,
                "--exact" => wishes.exact = true,
                "--ignored" => wishes.ignored = true,
                "--skip" => wishes.skip.extend(words.next()),
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(words.next()),
                flag if flag.starts_with('-') => {}
                name => wishes.names.push(name.to_owned()),
            }
        }
        wishes
    }

    fn scenarios(&self) -> impl Iterator<Item = &'static Scenario> {
        let matches =
            |name: &str, wanted: &String| if self.exact { name == wanted } else { name.contains(wanted.as_str()) };
        SCENARIOS.iter().filter(move |scenario| {
            let named = self.names.is_empty() || self.names.iter().any(|name| matches(scenario.name, name));
            named && !self.ignored && !self.skip.iter().any(|name| matches(scenario.name, name))
        })
    }
}
