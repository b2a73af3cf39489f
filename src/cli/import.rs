//! `mailmill import`: mail from files, folders, Maildirs and mbox files into one list. The administrator's own act.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::console::Console;
use super::desk::Desk;
use super::exit::{Exit, Failure};
use super::sheet;
use crate::engine::{Progress, Work};
use crate::import_source::{self, Sources};

/// Import mail files, folders, Maildirs, mbox files and .gz of these into one list
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill import old-mail/ archive.mbox.gz --list news

Envelope, sender, loop and meeting policy do not apply. The sources stay as they are, and importing them again
changes nothing: mail that the list has already is counted as a duplicate.")]
pub struct Import {
    /// .eml files, folders (recursive), Maildirs, mbox files, .gz of these
    #[arg(required = true, value_name = "PATH")]
    #[serde(with = "as_bytes")]
    paths: Vec<PathBuf>,
    /// The list
    #[arg(long, value_name = "NAME")]
    list: String,
    /// Print the balance sheet as JSON
    #[arg(long)]
    json: bool,
}

impl Import {
    pub fn prepare(&mut self) -> Result<(), Failure> {
        if let Some(path) = import_source::missing(&self.paths) {
            return Err(Failure::Usage(format!(
                "{}: there is no such file or folder; nothing was imported",
                path.display()
            )));
        }
        for path in &mut self.paths {
            *path = std::path::absolute(&*path).map_err(|error| Failure::at(path, &error))?;
        }
        Ok(())
    }

    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let mill = &desk.mill;
        let list = mill.lists().find(&self.list)?;
        let progress = Arc::new(Progress::default());
        let total = console.is_watched().then(|| import_source::total_bytes(&self.paths));
        let drawing = console.draw(&progress, total);
        let found = Sources::new(self.paths.clone(), mill.config.limits.mail_bytes);
        let result = mill.run(Work::Import { list, found: Box::new(found) }, &progress);
        drop(drawing);
        sheet::report(&result, self.json, console)
    }
}

/// Paths as they travel to the owner of the store: they need not be text.
mod as_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        paths.iter().map(|path| path.as_os_str().as_bytes()).collect::<Vec<_>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
        let paths = Vec::<Vec<u8>>::deserialize(deserializer)?;
        Ok(paths.into_iter().map(|bytes| OsString::from_vec(bytes).into()).collect())
    }
}
