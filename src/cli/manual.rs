//! Shell completions and man pages, generated from the same definitions as `--help`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::Cli;
use super::console::Console;
use super::exit::{Exit, Failure};

/// Print completions for a shell
#[derive(Args)]
#[command(after_help = "Example: mailmill completions bash > /etc/bash_completion.d/mailmill")]
pub struct Completions {
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Write the man pages into a folder
#[derive(Args)]
#[command(after_help = "Example: mailmill man /usr/local/share/man/man1")]
pub struct Man {
    dir: PathBuf,
}

impl Completions {
    pub fn carry_out(&self, console: &mut Console) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "mailmill", &mut script);
        console.bytes(&script)?;
        Ok(Exit::Good)
    }
}

impl Man {
    pub fn carry_out(&self, console: &mut Console) -> Result<Exit, Failure> {
        std::fs::create_dir_all(&self.dir).map_err(|error| Failure::at(&self.dir, &error))?;
        clap_mangen::generate_to(Cli::command(), &self.dir).map_err(|error| Failure::at(&self.dir, &error))?;
        console.note(&format!("wrote the man pages to {}", self.dir.display()))?;
        Ok(Exit::Good)
    }
}
