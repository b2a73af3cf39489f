//! `mailmill backup` and `mailmill restore`: a consistent copy of the store, also while mail is being stored.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::console::Console;
use super::desk::{Desk, Lock};
use super::exit::{Exit, Failure};
use crate::config::Config;

/// Copy the store into a new folder, also while another process uses it
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(
    after_help = "On the same file system the copy shares its files with the store (hard links) and is made at once;
copy it elsewhere for safety.
Example: mailmill backup /srv/backup/mailmill-monday"
)]
pub struct Backup {
    /// A folder that does not exist yet
    dir: PathBuf,
}

/// Make the configured store out of a backup; the store must not exist
#[derive(Args)]
#[command(
    after_help = "The restored store gets a new uuid: it never takes up claims of the store that was copied. Mail that arrived
after the backup is gone from the lists; where it was kept (keep = \"done\"), drop it again.
Example: mailmill restore /srv/backup/mailmill-monday"
)]
pub struct Restore {
    dir: PathBuf,
}

impl Backup {
    pub fn prepare(&mut self) -> Result<(), Failure> {
        self.dir = std::path::absolute(&self.dir).map_err(|error| Failure::at(&self.dir, &error))?;
        Ok(())
    }

    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        if self.dir.exists() {
            return Err(Failure::Usage(format!("{} exists already; name a new folder", self.dir.display())));
        }
        desk.mill.store.backup(&self.dir)?;
        console.note(&format!("the store was copied to {}", self.dir.display()))?;
        Ok(Exit::Good)
    }
}

impl Restore {
    pub fn carry_out(&self, config: &Config, console: &mut Console) -> Result<Exit, Failure> {
        let _lock = Lock::take(&config.store, Duration::ZERO)?;
        if !self.dir.join("db").is_dir() {
            let text = format!("{} is not a backup made by `mailmill backup`", self.dir.display());
            return Err(Failure::Usage(text));
        }
        if config.store.join("db").exists() {
            let text = format!("store {} exists; move it away before restoring over it", config.store.display());
            return Err(Failure::Usage(text));
        }
        crate::store::restore(&self.dir, &config.store)?;
        console.note(&format!("{} is a copy of {} now", config.store.display(), self.dir.display()))?;
        Ok(Exit::Good)
    }
}
