//! `mailmill trace`: everything that happened to a mail or to an address, and why.

use std::collections::VecDeque;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::console::{Console, plain};
use super::desk::Desk;
use super::exit::{Exit, Failure};
use super::items;
use crate::directory::Target;
use crate::engine::view;
use crate::model::item::{Item, JournalEntry, LedgerEntry};
use crate::model::list::{ItemId, ListId};
use crate::model::mail::MailId;
use crate::model::settings::Senders;

/// Tell everything that happened to a mail or to an address, and why
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Examples:
  mailmill trace '<abc@example.org>'      (a Message-ID, with or without angle brackets)
  mailmill trace news@lists.example       (who may write there, and what was refused)
  mailmill trace af1349b9f5f9...          (a mail id, 64 hexadecimal digits)")]
pub struct Trace {
    #[arg(value_name = "MESSAGE-ID|MAILID|ADDRESS")]
    what: String,
    /// One event a line
    #[arg(long)]
    json: bool,
}

/// One thing that happened.
#[derive(Serialize)]
struct Event {
    time: Option<String>,
    outcome: String,
    mail_id: Option<String>,
    claim: Option<String>,
    file: Option<String>,
    message_id: Option<String>,
    sender: Option<String>,
    recipient: Option<String>,
    list: Option<String>,
    item: Option<u64>,
    reason: Option<String>,
    text: String,
}

/// So many events of an address are told, the newest.
const EVENTS: usize = 1000;

impl Trace {
    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let store = &desk.mill.store;
        let what = self.what.trim().trim_matches(['<', '>']);
        let mails = match what.parse::<MailId>() {
            Ok(mail) => vec![mail],
            Err(_) => store.mails_with(what)?,
        };
        let mut events = Vec::new();
        for mail in mails {
            for (list, entry) in store.ledger_of(mail)? {
                events.push(delivered(desk, mail, list, &entry)?);
            }
            events.extend(store.journal_of(mail)?.into_iter().map(|entry| happened(desk, mail, entry)));
        }
        if events.is_empty() && what.contains('@') {
            events = of_address(desk, what)?;
        }
        if events.is_empty() {
            let text = format!("nothing is known of {}: no Message-ID, mail id or address of this server", self.what);
            return Err(Failure::Usage(plain(&text)));
        }
        events.sort_by(|a, b| a.time.cmp(&b.time));
        for event in events {
            if self.json { console.json(&event)? } else { console.line(&text(&event))? }
        }
        Ok(Exit::Good)
    }
}

/// Where an address leads and who may write there; then what became of mail to it and from it.
fn of_address(desk: &Desk, address: &str) -> Result<Vec<Event>, Failure> {
    let mut events = Vec::new();
    let directory = desk.mill.directory.get();
    if let Some(Target { list, .. }) = directory.find(address) {
        let settings = &list.settings;
        let senders = match settings.senders {
            Senders::Any => "anybody may write to it".to_owned(),
            Senders::Members if settings.members.is_empty() => "it has no members: nobody may write to it".to_owned(),
            Senders::Members => format!("these may write to it: {}", settings.members.join(", ")),
        };
        let receives = if settings.receive { "" } else { "; it receives nothing (receive = false)" };
        events.push(Event {
            time: None,
            outcome: "address".to_owned(),
            list: Some(list.name.clone()),
            recipient: Some(address.to_owned()),
            text: format!("leads to list {} ({}); {senders}{receives}", list.name, list.kind),
            ..Event::empty()
        });
    }
    let mut found = VecDeque::new();
    let same = |other: &Option<String>| other.as_ref().is_some_and(|other| other.eq_ignore_ascii_case(address));
    desk.mill.store.each_journal(&mut |mail, entry| {
        if same(&entry.sender) || same(&entry.recipient) {
            found.push_back(happened(desk, mail, entry));
            if found.len() > EVENTS {
                found.pop_front();
            }
        }
        true
    })?;
    events.extend(found);
    events.extend(delivered_of(desk, address)?);
    Ok(events)
}

/// Items that an address sent, and those of the list that it leads to; the newest.
fn delivered_of(desk: &Desk, address: &str) -> Result<VecDeque<Event>, Failure> {
    let directory = desk.mill.directory.get();
    let target = directory.find(address).map(|target| target.list.id);
    let mut found = VecDeque::new();
    for list in directory.all() {
        items::each_item(desk, list, |id, item| {
            let same = |other: Option<&str>| other.is_some_and(|other| other.eq_ignore_ascii_case(address));
            let sent = same(item.sender.as_deref()) || same(item.from.as_ref().map(|from| from.address.as_str()));
            if sent || target == Some(list.id) {
                found.push_back(stored(item, id, &list.name));
                if found.len() > EVENTS {
                    found.pop_front();
                }
            }
            Ok(true)
        })?;
    }
    Ok(found)
}

fn stored(item: Item, id: ItemId, list: &str) -> Event {
    Event {
        time: view::time(item.received),
        outcome: "delivered".to_owned(),
        mail_id: Some(item.mail_id.to_string()),
        file: Some(item.source),
        message_id: item.message_id,
        sender: item.sender,
        list: Some(list.to_owned()),
        item: Some(id.0),
        text: format!("is item {id} of list {list}"),
        ..Event::empty()
    }
}

impl Event {
    const fn empty() -> Self {
        Self {
            time: None,
            outcome: String::new(),
            mail_id: None,
            claim: None,
            file: None,
            message_id: None,
            sender: None,
            recipient: None,
            list: None,
            item: None,
            reason: None,
            text: String::new(),
        }
    }
}

fn name_of(desk: &Desk, list: ListId) -> String {
    let directory = desk.mill.directory.get();
    directory.list(list).map_or_else(|| format!("(deleted list {})", list.0), |list| list.name.clone())
}

fn delivered(desk: &Desk, mail: MailId, list: ListId, entry: &LedgerEntry) -> Result<Event, Failure> {
    let item = desk.mill.store.item(list, entry.item)?;
    let name = name_of(desk, list);
    Ok(Event {
        time: view::time(entry.time),
        outcome: "delivered".to_owned(),
        mail_id: Some(mail.to_string()),
        claim: Some(entry.claim.to_string()),
        text: format!("is item {} of list {name}", entry.item),
        list: Some(name),
        item: Some(entry.item.0),
        file: item.as_ref().map(|item| item.source.clone()),
        message_id: item.as_ref().and_then(|item| item.message_id.clone()),
        sender: item.and_then(|item| item.sender),
        ..Event::empty()
    })
}

fn happened(desk: &Desk, mail: MailId, entry: JournalEntry) -> Event {
    Event {
        time: view::time(entry.time),
        outcome: entry.outcome,
        mail_id: Some(mail.to_string()),
        claim: Some(entry.claim.to_string()),
        file: Some(entry.file),
        message_id: entry.message_id,
        sender: entry.sender,
        recipient: entry.recipient,
        list: entry.list.map(|list| name_of(desk, list)),
        item: None,
        reason: entry.reason,
        text: entry.text,
    }
}

fn text(event: &Event) -> String {
    let part =
        |name: &str, value: &Option<String>| value.as_ref().map(|value| format!(" {name} {value}")).unwrap_or_default();
    let reason = event.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    plain(&format!(
        "{:<20} {:<10}{}{}{}: {}{reason}",
        event.time.as_deref().unwrap_or("now"),
        event.outcome,
        part("file", &event.file),
        part("from", &event.sender),
        part("to", &event.recipient),
        event.text
    ))
}
