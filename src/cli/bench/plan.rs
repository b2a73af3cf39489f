//! What a worker does to a mail, and nothing else: for counting instructions (`make perf`), which noise cannot hide.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::cli::console::Console;
use crate::cli::exit::{Exit, Failure};
use crate::config::Config;
use crate::engine::Mill;
use crate::model::list::Kind;
use crate::model::plan::Plan;
use crate::model::settings::{ListSettings, Senders};
use crate::store::MemoryStore;

/// Read, parse and plan the mails of a folder one after the other; `make perf` counts its instructions
#[derive(Args)]
pub struct BenchPlan {
    dir: PathBuf,
}

impl BenchPlan {
    pub fn carry_out(&self, console: &mut Console) -> Result<Exit, Failure> {
        let mut config = Config::default();
        config.limits.workers = 1;
        let mill = Mill::new(config, Arc::new(MemoryStore::default()))?;
        let settings = ListSettings { address: "list0".to_owned(), senders: Senders::Any, ..ListSettings::default() };
        mill.lists().create("bench", Kind::Announcements, settings)?;
        let at = |error| Failure::at(&self.dir, &error);
        let entries: Result<Vec<_>, _> = fs::read_dir(&self.dir).map_err(at)?.collect();
        let mut files: Vec<_> = entries.map_err(at)?.into_iter().map(|entry| entry.path()).collect();
        // The same order on every file system.
        files.sort();
        for path in &files {
            let plan = parse_and_plan(&mill, path).map_err(|error| Failure::at(path, &error))?;
            if !plan.is_some_and(|plan| plan.failures.is_empty() && !plan.deliveries.is_empty()) {
                return Err(Failure::Engine(format!("{} was not planned for its list", path.display())));
            }
        }
        console.line(&format!("{} mails", files.len()))?;
        Ok(Exit::Good)
    }
}

/// Instructions are counted within this function and what it calls: `benches/perf.sh` names it.
#[inline(never)]
fn parse_and_plan(mill: &Mill, path: &Path) -> std::io::Result<Option<Box<Plan>>> {
    Ok(mill.plan(&fs::read(path)?, "bench.eml"))
}
