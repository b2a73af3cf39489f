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
    #[arg(long, default_value_t = Limits::default().depth)]
    depth: usize,
    #[arg(long, default_value_t = Limits::default().parts)]
    parts: usize,
    #[arg(long, default_value_t = Limits::default().map_from)]
    map_from: u64,
    #[arg(long, default_value_t = Limits::default().mail_bytes)]
    mail_bytes: u64,
}

impl JudgeAlone {
    pub fn carry_out(&self) -> Result<Exit, Failure> {
        let limits = Limits {
            workers: 1,
            depth: self.depth,
            parts: self.parts,
            map_from: self.map_from,
            mail_bytes: self.mail_bytes,
            ..Limits::default()
        };
        judge_alone(&self.file, &limits)?;
        Ok(Exit::Good)
    }
}
