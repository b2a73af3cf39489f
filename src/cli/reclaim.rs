//! `mailmill reclaim`: takes the claims of a server that is gone. Only its own store knows which of them it had delivered.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::console::{Console, plain};
use super::desk::{Desk, Lock};
use super::exit::{Exit, Failure};
use crate::config::Config;
use crate::engine::Departed;

/// Take the claims of a server that is gone for good
#[derive(Args)]
#[command(
    after_help = "A dead server's claims may have been delivered before it died; only its own store knows. With --store, what it had
delivered is settled and the rest becomes ours. With --store-lost everything becomes ours: mail that it had delivered
into the lost store is delivered again, here.
Example: mailmill reclaim --server mail2 --store /mnt/mail2/store && mailmill run"
)]
pub struct Reclaim {
    /// Its `server` setting, or the whole name of its folder below .mailmill
    #[arg(long, value_name = "NAME")]
    server: String,
    /// Its store, which no process may be using
    #[arg(long, value_name = "PATH", required_unless_present = "store_lost", conflicts_with = "store_lost")]
    store: Option<PathBuf>,
    /// Its store is lost
    #[arg(long)]
    store_lost: bool,
    #[arg(long)]
    json: bool,
}

impl Reclaim {
    pub fn carry_out(&self, config: Config, console: &mut Console) -> Result<Exit, Failure> {
        let lock = Lock::take(&config.store, Duration::ZERO)?;
        let desk = Desk::open(lock, config, "reclaim")?;
        let mut held = None;
        let departed = match &self.store {
            Some(path) => {
                if !path.is_dir() {
                    return Err(Failure::Usage(format!("{}: there is no such store", path.display())));
                }
                held = Some(Lock::take(path, Duration::ZERO)?);
                Departed::Store(crate::store::open(path)?)
            }
            None => Departed::Lost,
        };
        let taken = desk.mill.reclaim(&self.server, &departed)?;
        drop((departed, held));
        if self.json {
            console.json(&taken)?;
        } else {
            console.note(&plain(&format!(
                "{} claims of {} are ours now, {} had been delivered there and were settled; next: mailmill run",
                taken.taken, self.server, taken.settled
            )))?;
            if taken.refused + taken.left_behind > 0 {
                console.note(&plain(&format!(
                    "{} had been delivered there in part and are among our refused mail; {} refused and damaged mails of {} stay in {}",
                    taken.refused, taken.left_behind, self.server, taken.folder
                )))?;
            }
        }
        desk.close();
        Ok(Exit::Good)
    }
}
