//! `mailmill demo`: the whole story in half a minute, on real files in a folder of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::console::{Console, column};
use super::desk::{Desk, Lock};
use super::exit::{Exit, Failure};
use super::{init, items};
use crate::config::Config;
use crate::engine::{BatchResult, Progress, Work};
use crate::generate::{Generator, Profile, fill};
use crate::model::list::{Kind, List};
use crate::model::settings::{Folders, ListSettings, Senders};
use crate::model::units;

/// Show the whole story: a list of each kind, a few hundred mails, a run, and what landed where
#[derive(Args)]
#[command(after_help = "Example: mailmill demo demo")]
pub struct Demo {
    /// A folder that does not exist yet [default: one in the folder for temporary files]
    dir: Option<PathBuf>,
}

const MAILS: u64 = 350;
const SEED: u64 = 7;

impl Demo {
    pub fn carry_out(&self, console: &mut Console) -> Result<Exit, Failure> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => std::env::temp_dir().join(format!("mailmill-demo-{}", std::process::id())),
        };
        if dir.exists() {
            return Err(Failure::Usage(format!("{} exists already; name a new folder", dir.display())));
        }
        let step = |console: &mut Console, text: &str| console.line(&format!("\n== {text}"));
        step(console, &format!("mailmill init {}", dir.display()))?;
        init::make(&dir)?;
        let config = Config::find(Some(&dir.join("mailmill.toml")))?;
        let drop = config.incoming.drop_folder.clone();
        let lock = Lock::take(&config.store, Duration::ZERO)?;
        let desk = Desk::open(lock, config, "demo")?;

        step(console, "mailmill list create: one of each kind, addresses list0 to list6")?;
        let lists = make_lists(&desk, console)?;

        let lists_count = u32::try_from(lists.len()).unwrap_or(1);
        step(
            console,
            &format!("mailmill gen {} --messages {MAILS} --profile mixed --lists {lists_count}", drop.display()),
        )?;
        put_mail(&drop, lists_count, console)?;

        step(console, "mailmill run")?;
        let result = run(&desk, console)?;

        step(console, "what landed where")?;
        for list in &lists {
            show(&desk, list, console)?;
        }

        step(console, "mailmill failed ls: nothing is lost, what was refused waits with its reason")?;
        show_problems(&result, console)?;

        step(console, "the same mail dropped again, under other names: mailmill run")?;
        fill(&drop, &Generator::new(Profile::Mixed, SEED, lists_count), 50, &mut |_| ())
            .map_err(|error| Failure::at(&drop, &error))?;
        run(&desk, console)?;

        step(console, "mailmill verify")?;
        let report = desk.mill.verify(false)?;
        let sound = if report.sound { "sound" } else { "NOT SOUND" };
        console.line(&format!(
            "  {sound}: {} items, {} blobs, {} ledger entries",
            report.items, report.blobs, report.ledger
        ))?;
        console.line(&format!(
            "\nLook around: mailmill --config {0}/mailmill.toml items announcements; remove it all: rm -r {0}",
            dir.display()
        ))?;
        desk.close();
        Ok(if report.sound && result.error.is_none() { Exit::Good } else { Exit::Engine })
    }
}

fn show_problems(result: &BatchResult, console: &mut Console) -> Result<(), Failure> {
    for problem in result.sheet.problems.iter().take(5) {
        let whom = problem.recipient.as_deref().or(problem.sender.as_deref()).unwrap_or("-");
        console.line(&format!(
            "  {:<8} {:<18} {:<28} {}",
            problem.outcome,
            problem.reason,
            column(whom, 28),
            problem.text
        ))?;
    }
    Ok(())
}

fn make_lists(desk: &Desk, console: &mut Console) -> Result<Vec<Arc<List>>, Failure> {
    let mut made = Vec::new();
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        let settings = ListSettings {
            address: format!("list{number}"),
            senders: Senders::Any,
            folders: if kind == Kind::DocumentLibrary { Folders::Sender } else { Folders::Root },
            ..ListSettings::default()
        };
        let list = desk.mill.lists().create(kind.word(), kind, settings)?;
        console.line(&format!("  {:<18} list{number}@lists.example", list.name))?;
        made.push(list);
    }
    Ok(made)
}

/// Realistic mail for all lists, and a few files that cannot be delivered.
fn put_mail(drop: &Path, lists: u32, console: &mut Console) -> Result<(), Failure> {
    let mut bytes = 0;
    let generator = Generator::new(Profile::Mixed, SEED, lists);
    fill(drop, &generator, MAILS, &mut |size| bytes += size).map_err(|error| Failure::at(drop, &error))?;
    let bad: [(&str, &[u8]); 3] = [
        ("mistyped.eml", b"x-sender: ann@example.org\r\nx-receiver: lits3@lists.example\r\nFrom: ann@example.org\r\nSubject: Hello\r\n\r\nHello\r\n"),
        ("empty.eml", b""),
        ("no-envelope.eml", b"From: ann@example.org\r\nTo: list3@lists.example\r\nSubject: Hello\r\n\r\nHello\r\n"),
    ];
    for (name, content) in bad {
        let path = drop.join(name);
        std::fs::write(&path, content).map_err(|error| Failure::at(&path, &error))?;
    }
    console.line(&format!("  {MAILS} mails, {}, and three that cannot be delivered", units::about(bytes)))?;
    Ok(())
}

fn run(desk: &Desk, console: &mut Console) -> Result<BatchResult, Failure> {
    let progress = Arc::new(Progress::default());
    let drawing = console.draw(&progress, None);
    let result = desk.mill.run(Work::DropFolder { limit: None }, &progress);
    drop(drawing);
    let sheet = &result.sheet;
    console.line(&format!(
        "  {} found = {} delivered + {} duplicates + {} refused + {} damaged + {} deferred + {} incomplete",
        sheet.found, sheet.delivered, sheet.duplicates, sheet.refused, sheet.damaged, sheet.deferred, sheet.incomplete
    ))?;
    console.line(&format!(
        "  {} items, {} attachments, {} in {:.2} s: {:.0} mails/s",
        sheet.items,
        sheet.attachments,
        units::about(sheet.bytes),
        sheet.elapsed_s,
        sheet.messages_per_s
    ))?;
    Ok(result)
}

fn show(desk: &Desk, list: &List, console: &mut Console) -> Result<(), Failure> {
    let (mut count, mut attachments, mut newest) = (0_u64, 0_usize, String::new());
    items::each_item(desk, list, |_, item| {
        count += 1;
        attachments += item.attachments.len();
        newest = item.title.unwrap_or_default();
        Ok(true)
    })?;
    console.line(&format!(
        "  {:<18} {count:>4} items, {attachments:>4} attachments; the newest: {}",
        list.name,
        column(&newest, 50)
    ))?;
    if list.kind.is_library() {
        for file in desk.mill.store.files(list.id)?.iter().take(3) {
            console.line(&format!("  {:<18} {}/{}", "", column(&file.folder, 40), column(&file.name, 40)))?;
        }
    }
    Ok(())
}
