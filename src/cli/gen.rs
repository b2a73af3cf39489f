//! `mailmill gen`: a reproducible drop folder of realistic mail.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::Console;
use super::exit::{Exit, Failure};
use crate::generate::{Generator, Profile, fill};
use crate::model::units;

/// Make a reproducible drop folder of realistic mail: same seed, same bytes
#[derive(Args)]
#[command(
    after_help = "small: mean 4.5 kB, no attachments; mixed: mean 138 kB, 40 % with attachments; large: 12 MB; hostile: broken and
malicious mail. Addressed to list0@lists.example and so on.
Example: mailmill gen drop --messages 1000 --profile mixed --lists 3"
)]
pub struct Gen {
    dir: PathBuf,
    #[arg(long, value_name = "N")]
    messages: u64,
    #[arg(long, value_enum)]
    profile: Profile,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_name = "N", default_value_t = 1)]
    lists: u32,
}

impl Gen {
    pub fn carry_out(&self, console: &mut Console) -> Result<Exit, Failure> {
        let generator = Generator::new(self.profile, self.seed, self.lists);
        let target = if console.is_watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(self.messages), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {pos} files  {elapsed} (left {eta})")
        {
            bar.set_style(style);
        }
        let mut total = 0;
        let filled = fill(&self.dir, &generator, self.messages, &mut |bytes| {
            total += bytes;
            bar.inc(1);
        });
        bar.finish_and_clear();
        filled.map_err(|error| Failure::at(&self.dir, &error))?;
        console.note(&format!("{} files, {} in {}", self.messages, units::about(total), self.dir.display()))?;
        Ok(Exit::Good)
    }
}
