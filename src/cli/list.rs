//! `mailmill list`: lists and their incoming e-mail settings.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::console::Console;
use super::desk::Desk;
use super::exit::{Exit, Failure};
use crate::lists::ListError;
use crate::model::list::{Kind, List};
use crate::model::rights;
use crate::model::settings::ListSettings;

/// Lists and their incoming e-mail settings
#[derive(Subcommand, Clone, Debug, Serialize, Deserialize)]
#[command(
    after_help = "Example: mailmill list create docs --kind document-library --address docs folders=sender overwrite=true"
)]
pub enum ListCommand {
    Create(Create),
    Set(Set),
    Show(Show),
    Ls(Ls),
    Delete(Delete),
    Apply(Apply),
}

/// Make a list
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(
    after_help = "Kinds: document-library, picture-library, form-library, announcements, calendar, discussion-board, blog
Example: mailmill list create news --kind announcements --address news members='[\"@example.org\"]'"
)]
pub struct Create {
    name: String,
    #[arg(long, value_name = "KIND")]
    kind: String,
    #[arg(long, value_name = "LOCAL[@DOMAIN]")]
    address: String,
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[arg(long)]
    json: bool,
}

/// Change settings of a list; the next mail sees them
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill list set news senders=any max_size=25MiB")]
pub struct Set {
    name: String,
    #[arg(required = true, value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Act for this address: it must be among the list's owners, who may change all but address, aliases, owners and hooks
    #[arg(long = "as", value_name = "ADDRESS")]
    acting_for: Option<String>,
    #[arg(long)]
    json: bool,
}

/// Show a list with all its settings, in the form that `list apply` reads
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill list show news > news.toml")]
pub struct Show {
    name: String,
    #[arg(long)]
    json: bool,
}

/// Name all lists
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill list ls --json")]
pub struct Ls {
    #[arg(long)]
    json: bool,
}

/// Delete a list and everything in it
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill list delete news")]
pub struct Delete {
    name: String,
    #[arg(long)]
    json: bool,
}

/// Make the lists be as a TOML file says; may be repeated
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(
    after_help = "Each table is a list: [news], with kind, address and any settings. Settings that are not named get their
defaults; lists that are not named stay as they are.
Example: mailmill list apply lists.toml"
)]
pub struct Apply {
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// Read before the request travels.
    #[arg(skip)]
    text: String,
    #[arg(long)]
    json: bool,
}

impl ListCommand {
    pub fn prepare(&mut self) -> Result<(), Failure> {
        if let Self::Apply(apply) = self {
            let read = std::fs::read_to_string(&apply.file);
            apply.text = read.map_err(|error| Failure::Usage(format!("{}: {error}", apply.file.display())))?;
        }
        Ok(())
    }

    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let lists = desk.mill.lists();
        match self {
            Self::Create(create) => {
                let kind: Kind = create.kind.parse().map_err(ListError::from)?;
                let mut settings = ListSettings { address: create.address.clone(), ..ListSettings::default() };
                assign(&mut settings, &create.settings)?;
                let list = lists.create(&create.name, kind, settings)?;
                said(desk, &list, create.json, "created", console)
            }
            Self::Set(set) => {
                if let Some(address) = &set.acting_for {
                    check_rights(&*lists.find(&set.name)?, address, &set.settings)?;
                }
                let list = lists.set(&set.name, |settings| {
                    set.settings.iter().try_for_each(|assignment| settings.assign(assignment))
                })?;
                said(desk, &list, set.json, "changed", console)
            }
            Self::Show(show) => {
                let list = lists.find(&show.name)?;
                if show.json {
                    console.json(&view(&list))?;
                } else {
                    console.bytes(as_toml(&list).as_bytes())?;
                }
                Ok(Exit::Good)
            }
            Self::Ls(ls) => {
                for list in desk.mill.directory.get().all() {
                    if ls.json { console.json(&view(list))? } else { console.line(&row(desk, list))? }
                }
                Ok(Exit::Good)
            }
            Self::Delete(delete) => {
                lists.delete(&delete.name)?;
                if delete.json {
                    console.json(&serde_json::json!({ "list": delete.name, "change": "deleted" }))?;
                } else {
                    console.note(&format!("deleted list {}", delete.name))?;
                }
                Ok(Exit::Good)
            }
            Self::Apply(apply) => {
                for applied in lists.apply(&apply.file, &apply.text)? {
                    if apply.json {
                        console.json(&applied)?;
                    } else {
                        console.note(&format!("{} {}", applied.list, applied.change))?;
                    }
                }
                Ok(Exit::Good)
            }
        }
    }
}

fn assign(settings: &mut ListSettings, assignments: &[String]) -> Result<(), Failure> {
    let assigned = assignments.iter().try_for_each(|assignment| settings.assign(assignment));
    assigned.map_err(|error| ListError::from(error).into())
}

/// Refuses what the owner of a list may not change.
fn check_rights(list: &List, address: &str, assignments: &[String]) -> Result<(), ListError> {
    let role = rights::role_of(list, address);
    for assignment in assignments {
        let key = assignment.split('=').next().unwrap_or_default().trim();
        rights::may(role, rights::action_of(key)).map_err(|why| ListError::NotAllowed {
            who: address.to_owned(),
            what: format!("`{key}`"),
            list: list.name.clone(),
            why,
        })?;
    }
    Ok(())
}

fn said(desk: &Desk, list: &List, json: bool, change: &str, console: &mut Console) -> Result<Exit, Failure> {
    if json {
        console.json(&view(list))?;
    } else {
        console.note(&format!("{change} list {}: {}", list.name, row(desk, list)))?;
    }
    Ok(Exit::Good)
}

/// The address as people write it.
fn shown_address(desk: &Desk, list: &List) -> String {
    let address = &list.settings.address;
    if address.contains('@') {
        return address.clone();
    }
    format!("{address}@{}", desk.mill.config.incoming.display_address)
}

fn row(desk: &Desk, list: &List) -> String {
    let state = if list.settings.receive { "" } else { "  (receives nothing)" };
    format!("{:<24}  {:<17}  {}{state}", list.name, list.kind.word(), shown_address(desk, list))
}

/// A list as JSON: its name, kind and number, and all settings beside them.
fn view(list: &List) -> serde_json::Value {
    let mut value = serde_json::json!({ "name": list.name, "id": list.id.0, "kind": list.kind });
    let settings = serde_json::to_value(&list.settings).unwrap_or_default();
    if let (Some(value), serde_json::Value::Object(settings)) = (value.as_object_mut(), settings) {
        value.extend(settings);
    }
    value
}

fn as_toml(list: &List) -> String {
    let mut table = toml::Table::new();
    table.insert("kind".to_owned(), toml::Value::String(list.kind.word().to_owned()));
    table.extend(list.settings.to_table());
    let mut file = toml::Table::new();
    file.insert(list.name.clone(), toml::Value::Table(table));
    file.to_string()
}
