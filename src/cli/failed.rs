//! `mailmill failed`: refused and damaged mail of this server. A person looks at it, tries it again, or throws it away.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::console::{Console, column, plain};
use super::desk::Desk;
use super::exit::{Exit, Failure};
use super::sheet;
use crate::engine::{Progress, Work};
use crate::model::mail::ClaimId;
use crate::model::outcome::Reason;
use crate::model::units;
use crate::spool::{FailedMail, Note, SpoolError};

/// Refused and damaged mail: look at it, try it again, throw it away
#[derive(Subcommand, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill failed retry --reason unknown-address")]
pub enum Failed {
    Ls(Ls),
    Show(Show),
    Retry(Retry),
    Discard(Discard),
}

/// List refused and damaged mail
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill failed ls --json")]
pub struct Ls {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Only mail that failed for this reason
    #[arg(long, value_name = "R")]
    reason: Option<String>,
}

/// Show why a mail failed, and where its file lies
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill failed show 17-3")]
pub struct Show {
    id: String,
    #[arg(long)]
    json: bool,
}

/// Judge failed mail again; delivers only to recipients that do not have it yet
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Examples:
  mailmill failed retry 17-3
  mailmill failed retry --reason unknown-address     (after the missing list was made)
  mailmill failed retry                              (everything)")]
pub struct Retry {
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All mail that failed for this reason
    #[arg(long, value_name = "R", conflicts_with = "ids")]
    reason: Option<String>,
    /// Print the balance sheet as JSON
    #[arg(long)]
    json: bool,
}

/// Throw failed mail away for good
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill failed discard 17-3")]
pub struct Discard {
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[arg(long)]
    json: bool,
}

/// A failed mail as JSON: its note, and the first of its problems beside it for scripts that look at one reason.
#[derive(Serialize)]
struct Row<'f> {
    id: String,
    folder: &'static str,
    path: String,
    file: String,
    size: u64,
    time: Option<&'f str>,
    batch: Option<u64>,
    mail_id: Option<&'f str>,
    message_id: Option<&'f str>,
    sender: Option<&'f str>,
    recipient: Option<&'f str>,
    outcome: &'f str,
    reason: Option<&'f str>,
    text: &'f str,
    problems: &'f [crate::model::outcome::Problem],
    delivered: &'f [String],
}

fn row(mail: &FailedMail) -> Row<'_> {
    let note: Option<&Note> = mail.note.as_ref();
    let first = note.and_then(|note| note.problems.first());
    Row {
        id: mail.id.to_string(),
        folder: mail.folder,
        path: mail.path.display().to_string(),
        file: mail.name(),
        size: mail.size,
        time: note.map(|note| note.time.as_str()),
        batch: note.map(|note| note.batch),
        mail_id: note.and_then(|note| note.mail_id.as_deref()),
        message_id: note.and_then(|note| note.message_id.as_deref()),
        sender: note.and_then(|note| note.sender.as_deref()),
        recipient: first.and_then(|problem| problem.recipient.as_deref()),
        outcome: mail.folder,
        reason: first.map(|problem| problem.reason.as_str()),
        text: first.map_or("the note beside the file is missing", |problem| problem.text.as_str()),
        problems: note.map_or(&[], |note| note.problems.as_slice()),
        delivered: note.map_or(&[], |note| note.delivered.as_slice()),
    }
}

impl Failed {
    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        match self {
            Self::Ls(ls) => ls.answer(desk, console),
            Self::Show(show) => show.answer(desk, console),
            Self::Retry(retry) => retry.answer(desk, console),
            Self::Discard(discard) => discard.answer(desk, console),
        }
    }
}

fn checked(reason: Option<&String>) -> Result<Option<&str>, Failure> {
    let Some(code) = reason else { return Ok(None) };
    if Reason::from_code(code).is_none() {
        let known: Vec<&str> = Reason::all().map(Reason::code).collect();
        return Err(Failure::Usage(format!("there is no reason `{code}`; reasons: {}", known.join(", "))));
    }
    Ok(Some(code))
}

impl Ls {
    fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let reason = checked(self.reason.as_ref())?;
        for mail in desk.mill.spool()?.failed()? {
            if reason.is_some_and(|reason| !mail.has_reason(reason)) {
                continue;
            }
            let row = row(&mail);
            if self.json {
                console.json(&row)?;
                continue;
            }
            console.line(&format!(
                "{:<10} {:<8} {:<20} {:<28} {:<24} {}",
                row.id,
                row.outcome,
                row.reason.unwrap_or("-"),
                column(row.recipient.or(row.sender).unwrap_or("-"), 28),
                column(&row.file, 24),
                column(row.text, 80)
            ))?;
        }
        Ok(Exit::Good)
    }
}

fn id(text: &str) -> Result<ClaimId, Failure> {
    text.parse().map_err(|_| {
        Failure::Usage(format!("`{text}` is not the id of a failed mail; ids look like 17-3, see `mailmill failed ls`"))
    })
}

fn find(desk: &Desk, ids: &[String]) -> Result<Vec<FailedMail>, Failure> {
    let mut all = desk.mill.spool()?.failed()?;
    let mut wanted = Vec::new();
    for text in ids {
        let id = id(text)?;
        let at = all.iter().position(|mail| mail.id == id).ok_or(SpoolError::NoSuchFailure(id))?;
        wanted.push(all.swap_remove(at));
    }
    Ok(wanted)
}

impl Show {
    fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        for mail in find(desk, std::slice::from_ref(&self.id))? {
            let row = row(&mail);
            if self.json {
                console.json(&row)?;
                continue;
            }
            console.line(&format!("id          {}", row.id))?;
            console.line(&plain(&format!("file        {}", row.file)))?;
            console.line(&plain(&format!("now at      {}", row.path)))?;
            console.line(&format!("size        {}", units::about(row.size)))?;
            for (name, value) in
                [("since", row.time), ("sender", row.sender), ("Message-ID", row.message_id), ("mail", row.mail_id)]
            {
                if let Some(value) = value {
                    console.line(&plain(&format!("{name:<11} {value}")))?;
                }
            }
            for problem in row.problems {
                let to = problem.recipient.as_deref().unwrap_or("the whole file");
                console
                    .line(&plain(&format!("{:<11} {to}: {} ({})", problem.outcome, problem.text, problem.reason)))?;
            }
            for recipient in row.delivered {
                console.line(&plain(&format!("delivered   {recipient}")))?;
            }
        }
        Ok(Exit::Good)
    }
}

impl Retry {
    fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let reason = checked(self.reason.as_ref())?;
        let spool = desk.mill.spool()?;
        let wanted = if self.ids.is_empty() {
            let mut all = spool.failed()?;
            all.retain(|mail| reason.is_none_or(|reason| mail.has_reason(reason)));
            all
        } else {
            find(desk, &self.ids)?
        };
        let mut claims = Vec::new();
        for mail in &wanted {
            let claim = spool.retry(mail).map_err(|error| Failure::at(&mail.path, &error))?;
            claims.push(claim);
        }
        let progress = Arc::new(Progress::default());
        let drawing = console.draw(&progress, None);
        let result = desk.mill.run(Work::Claims(claims), &progress);
        drop(drawing);
        sheet::report(&result, self.json, console)
    }
}

impl Discard {
    fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let spool = desk.mill.spool()?;
        for mail in find(desk, &self.ids)? {
            desk.mill.note_discarded(&mail)?;
            spool.discard(&mail).map_err(|error| Failure::at(&mail.path, &error))?;
            if self.json {
                console.json(
                    &serde_json::json!({ "id": mail.id.to_string(), "file": mail.name(), "outcome": "discarded" }),
                )?;
            } else {
                console.note(&plain(&format!("discarded {} ({})", mail.id, mail.name())))?;
            }
        }
        Ok(Exit::Good)
    }
}
