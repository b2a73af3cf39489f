//! `mailmill init`: a configuration with every setting, a drop folder and a place for the store.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;

use super::console::Console;
use super::exit::{Exit, Failure};
use crate::config;

/// Write a configuration with every setting, and make the drop folder and the store folder
#[derive(Args)]
#[command(after_help = "Example: mailmill init /srv/mailmill")]
pub struct Init {
    /// Where
    #[arg(default_value = ".")]
    dir: PathBuf,
}

impl Init {
    pub fn carry_out(&self, console: &mut Console) -> Result<Exit, Failure> {
        make(&self.dir)?;
        let dir = self.dir.display();
        console.note(&format!(
            "wrote {dir}/mailmill.toml; mail goes into {dir}/drop/\nnext: mailmill list create news --kind announcements --address news senders=any"
        ))?;
        Ok(Exit::Good)
    }
}

/// Makes a server's folder. Refuses to overwrite a configuration.
pub fn make(dir: &Path) -> Result<(), Failure> {
    let at = |path: &Path, error: std::io::Error| Failure::Engine(format!("{}: {error}", path.display()));
    fs::create_dir_all(dir).map_err(|error| at(dir, error))?;
    let file = dir.join("mailmill.toml");
    let mut written = match fs::File::options().write(true).create_new(true).mode(0o644).open(&file) {
        Ok(written) => written,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let text = format!("{} exists already; nothing was changed. Move it away to begin anew", file.display());
            return Err(Failure::Usage(text));
        }
        Err(error) => return Err(at(&file, error)),
    };
    written.write_all(config::template(&config::host_name()).as_bytes()).map_err(|error| at(&file, error))?;
    let drop = dir.join("drop");
    fs::create_dir_all(&drop).map_err(|error| at(&drop, error))?;
    let store = dir.join("store");
    // Mail is nobody else's business.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&store).map_err(|error| at(&store, error))
}
