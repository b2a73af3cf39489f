//! `mailmill smtp`: the SMTP service alone. It deposits mail in the drop folder, for a `run` or `watch` elsewhere to take.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::console::Console;
use super::desk::{self, Desk};
use super::exit::{Exit, Failure};
use super::{Request, background, run, talk};
use crate::config::Config;
use crate::directory::{Current, Directory};
use crate::model::list::{List, ListId};
use crate::model::settings::ListSettings;
use crate::smtp::server::{Server, ServerError};
use crate::spool::Depot;

/// Receive mail by SMTP and LMTP into the drop folder
#[derive(Args)]
#[command(after_help = "Examples:
  mailmill smtp                       (beside `mailmill watch`, or `mailmill run` every minute)
  swaks --server 127.0.0.1:2525 --to news@localhost --from ann@example.org

Ports, TLS, users and limits stand in section [smtp] of the configuration. A mail that is answered 250 is a file in the drop
folder and survives a power loss. The first TERM or INT takes mail under way to its end and leaves; the second leaves at once.")]
pub struct Smtp;

/// The addresses of all lists, asked of whoever owns the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// What was answered last: then only what is new is said.
    known: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    uuid: String,
    /// Tells one state of the lists from another.
    state: String,
    /// None: as before.
    lists: Option<Vec<Entry>>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    id: u32,
    name: String,
    kind: String,
    settings: ListSettings,
}

impl Addresses {
    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let directory = desk.mill.directory.get();
        let entry = |list: &Arc<List>| Entry {
            id: list.id.0,
            name: list.name.clone(),
            kind: list.kind.word().to_owned(),
            settings: list.settings.clone(),
        };
        let lists: Vec<Entry> = directory.all().into_iter().map(entry).collect();
        let state = blake3::hash(&serde_json::to_vec(&lists).unwrap_or_default()).to_hex().to_string();
        let lists = (self.known.as_ref() != Some(&state)).then_some(lists);
        console.json(&Answer { uuid: desk.mill.store.uuid().to_owned(), state, lists })?;
        Ok(Exit::Good)
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Threads(_) => Self::Engine(error.to_string()),
            _ => Self::Usage(error.to_string()),
        }
    }
}

/// How often the addresses are asked for.
const REFRESH: Duration = Duration::from_secs(1);

impl Smtp {
    pub fn carry_out(config: Config, console: &mut Console) -> Result<Exit, Failure> {
        let mut signals = run::catch_signals()?;
        crate::engine::raise_file_limit();
        let mut book = Book { config: config.clone(), state: None, seen: None };
        let current = Arc::new(Current::default());
        let uuid = book.refresh(&current)?;
        let depot = Depot::open(&config.incoming.drop_folder, &format!("{}-{uuid}", config.server))?;
        let addresses = Arc::clone(&current);
        let more = Arc::new(String::new);
        let addresses = Arc::new(move || Some(addresses.get()));
        let server = Server::start(&Arc::new(config), addresses, Arc::new(depot), None, more)?;
        say_where(&server, console)?;
        background::start("addresses", move || book.keep(&current))?;
        let _first = signals.forever().next();
        let leave = move || {
            // A second signal does not wait for anybody.
            if let Some(second) = signals.forever().next() {
                std::process::exit(128 + second);
            }
        };
        background::start("signals", leave)?;
        server.stop();
        Ok(Exit::Good)
    }
}

/// Where it listens, in one line on standard error: service managers and tests wait for it.
pub fn say_where(server: &Server, console: &mut Console) -> Result<(), Failure> {
    console.note(&format!("mail is received at {}", server.places.join(", ")))?;
    Ok(console.flush()?)
}

/// Keeps a snapshot of the addresses up to date. While somebody owns the store it is asked; else the store is opened for a
/// moment, when it has changed.
struct Book {
    config: Config,
    state: Option<String>,
    /// What the store folder looked like when it was read.
    seen: Option<Vec<(String, u64, SystemTime)>>,
}

impl Book {
    fn keep(&mut self, current: &Current) {
        loop {
            std::thread::sleep(REFRESH);
            let is_owned = desk::connect(&self.config.store).is_ok();
            if !is_owned && self.seen.is_some() && self.seen == look(&self.config.store) {
                continue;
            }
            if let Err(failure) = self.refresh(current) {
                tracing::warn!(%failure, "the addresses cannot be read; those known before are used");
            }
        }
    }

    /// Answers the uuid of the store.
    fn refresh(&mut self, current: &Current) -> Result<String, Failure> {
        let mut console = Console::kept();
        let request = Request::Addresses(Addresses { known: self.state.clone() });
        talk::ask(self.config.clone(), &request, &mut console)?;
        self.seen = look(&self.config.store);
        let strange = |error: &dyn std::fmt::Display| {
            Failure::Engine(format!("the owner of the store answers strangely: {error}"))
        };
        let answer: Answer = serde_json::from_slice(&console.into_kept()).map_err(|error| strange(&error))?;
        if let Some(entries) = answer.lists {
            let lists: Result<Vec<List>, _> = entries.into_iter().map(Entry::list).collect();
            let lists = lists.map_err(|error| strange(&error))?;
            current.set(Directory::new(lists, &self.config.incoming.accepted_domains));
        }
        self.state = Some(answer.state);
        Ok(answer.uuid)
    }
}

impl Entry {
    fn list(self) -> Result<List, crate::model::list::UnknownKind> {
        Ok(List { id: ListId(self.id), name: self.name, kind: self.kind.parse()?, settings: self.settings })
    }
}

/// Names, sizes and times of the files of a store: they change with every write.
fn look(store: &Path) -> Option<Vec<(String, u64, SystemTime)>> {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(store).ok()? {
        let entry = entry.ok()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = entry.metadata().ok()?;
        if !matches!(name.as_str(), "lock" | "control") {
            seen.push((name, metadata.len(), metadata.modified().ok()?));
        }
    }
    seen.sort();
    Some(seen)
}
