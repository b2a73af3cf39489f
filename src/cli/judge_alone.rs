//! `mailmill judge-alone`: judges one file and forgets it. Started by a batch for a mail that may have killed a process.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, Failure};
use crate::config::Limits;
use crate::engine::judge_alone;

/// Judge one file without a store: does the program survive it?
#[derive(Args)]
#[command(after_help = "Example: mailmill judge-alone drop/.mailmill/*/damaged/17-3-x.eml; echo $?")]
pub struct JudgeAlone {
    file: PathBuf,
    /// The `[limits]` to judge under, as TOML; those that are not named have their defaults
    #[arg(long, value_name = "TOML", default_value = "")]
    limits: String,
}

impl JudgeAlone {
    pub fn carry_out(&self) -> Result<Exit, Failure> {
        let limits = Limits { workers: 1, ..Limits::parse(&self.limits).map_err(Failure::Usage)? };
        judge_alone(&self.file, &limits)?;
        Ok(Exit::Good)
    }
}
