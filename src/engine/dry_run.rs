//! Where each mail would go, without moving or writing anything. Decides with the same stages and the same group builder as a
//! real batch, so that what it shows is what a run would do now.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rayon::prelude::*;

use super::judge::{Policy, Verdict};
use super::{BatchResult, EngineError, Mill, Progress};
use crate::directory::Directory;
use crate::model::mail::ClaimId;
use crate::model::outcome::{End, Problem, Reason, Sheet};
use crate::model::plan::{Decided, Plan};
use crate::pipeline::commit::GroupBuilder;
use crate::spool::{Bytes, DropFolder, Entry, ReadError};
use crate::store::Counter;

/// What would become of one file: one row for each list it would reach and each recipient it would not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Route {
    pub file: String,
    pub outcome: String,
    pub recipients: Vec<String>,
    /// Where it would land.
    pub list: Option<String>,
    pub item: Option<u64>,
    /// Paths of its files in a library.
    pub paths: Vec<String>,
    pub reason: Option<String>,
    pub text: String,
}

impl Route {
    fn of_problem(problem: &Problem) -> Self {
        Self {
            file: problem.file.clone(),
            outcome: problem.outcome.clone(),
            recipients: problem.recipient.iter().cloned().collect(),
            list: None,
            item: None,
            paths: Vec::new(),
            reason: Some(problem.reason.clone()),
            text: problem.text.clone(),
        }
    }
}

/// A file to look at: in the drop folder, or waiting among the claims.
enum Look {
    Drop(Entry),
    Claim(ClaimId, String, std::path::PathBuf),
}

/// So many mails are judged side by side before they are shown.
const STRETCH: usize = 256;

impl Mill {
    /// Shows each route as it is found. The sheet says `dry_run` and has no row in the history.
    pub fn dry_run(&self, limit: Option<u64>, progress: &Progress, show: &mut dyn FnMut(Route)) -> BatchResult {
        let clock = Instant::now();
        let batch = self.store.counter(Counter::Batch).unwrap_or_default();
        let mut sheet = self.sheet(batch, jiff::Timestamp::now());
        sheet.dry_run = true;
        let error = self.look_at_all(limit.unwrap_or(u64::MAX), &mut sheet, progress, show).err();
        sheet.close(clock.elapsed().as_secs_f64());
        BatchResult { sheet, error, left_some: false }
    }

    fn look_at_all(
        &self,
        limit: u64,
        sheet: &mut Sheet,
        progress: &Progress,
        show: &mut dyn FnMut(Route),
    ) -> Result<(), EngineError> {
        let folder = DropFolder::open(self.spool_options())?;
        let directory = self.directory.get();
        let mut builder = GroupBuilder::new(&*self.store, jiff::Timestamp::now().as_second());
        let claims = folder.waiting().into_iter();
        let claims = claims.map(|(id, name, path)| Ok(Look::Claim(id, name.to_string_lossy().into_owned(), path)));
        let looks = claims.chain(folder.list()?.map(|entry| entry.map(Look::Drop)));
        let mut stretch = Vec::with_capacity(STRETCH);
        for look in looks.take(usize::try_from(limit).unwrap_or(usize::MAX)) {
            if self.is_stopping() {
                return Ok(());
            }
            stretch.push(look?);
            if stretch.len() == STRETCH {
                self.look_at(&folder, &mut stretch, &directory, &mut builder, sheet, progress, show)?;
            }
        }
        self.look_at(&folder, &mut stretch, &directory, &mut builder, sheet, progress, show)
    }

    #[allow(clippy::too_many_arguments)] // the loop's state, handed through
    fn look_at(
        &self,
        folder: &DropFolder,
        stretch: &mut Vec<Look>,
        directory: &Directory,
        builder: &mut GroupBuilder<'_>,
        sheet: &mut Sheet,
        progress: &Progress,
        show: &mut dyn FnMut(Route),
    ) -> Result<(), EngineError> {
        let start = sheet.found;
        let verdicts: Vec<(String, Verdict)> = self.pool.install(|| {
            let numbered = std::mem::take(stretch).into_par_iter().enumerate();
            numbered.map(|(at, look)| self.judge_look(folder, &look, start + at as u64 + 1, directory)).collect()
        });
        for (file, verdict) in verdicts {
            sheet.found += 1;
            progress.found.fetch_add(1, Ordering::Relaxed);
            match verdict {
                Verdict::Plan(plan) => builder.add(*plan, directory)?,
                Verdict::Broken(error) => return Err(error.into()),
                Verdict::NotNow(text) => {
                    sheet.count(End::Incomplete);
                    show(not_now(file, text));
                }
                Verdict::Later(plan) => later(&plan, sheet, show),
                Verdict::Keys(names) => {
                    let text = format!("{} could not be looked up", names.join(", "));
                    later(&Plan::failed(NOBODY, file, 0, Reason::KeyUnavailable, text), sheet, show);
                }
            }
        }
        for decided in builder.take_decided() {
            sheet.count(decided.end);
            sheet.items += decided.items;
            sheet.attachments += decided.attachments;
            sheet.bytes += decided.plan.size;
            let problems: Vec<Problem> = decided.plan.problems().collect();
            routes(&decided, &problems, directory).into_iter().for_each(&mut *show);
            for problem in problems {
                sheet.add_problem(problem);
            }
        }
        progress.ended.store(sheet.found, Ordering::Relaxed);
        Ok(())
    }

    /// Nothing else is in work that could be kept waiting.
    fn wait_for_keys(&self, names: &[String]) {
        let Some(keys) = &self.keys else { return };
        let (told, answered) = crossbeam_channel::bounded(1);
        keys.look_up(names, move || {
            let _ = told.send(());
        });
        // An end without an answer is one, too.
        let _ = answered.recv();
    }

    fn judge_look(&self, folder: &DropFolder, look: &Look, number: u64, directory: &Directory) -> (String, Verdict) {
        let limits = &self.config.limits;
        let (id, name, bytes) = match look {
            Look::Drop(entry) => {
                // Batch 0 is never given: such a claim is nobody's, and nothing is taken for a leftover of it.
                let id = ClaimId { batch: 0, number };
                let name = entry.name.to_string_lossy().into_owned();
                (id, name, folder.peek(entry, limits.map_from, limits.mail_bytes))
            }
            Look::Claim(id, name, path) => {
                let bytes = std::fs::read(path).map(Bytes::Copied).map_err(ReadError::Io);
                (*id, name.clone(), bytes)
            }
        };
        let failed =
            |reason: Reason, text: String| Verdict::Plan(Box::new(Plan::failed(id, name.clone(), 0, reason, text)));
        let verdict = match bytes {
            Ok(bytes) => {
                let judge = || self.judge(&bytes, id, name.clone(), &Policy::Envelope, directory);
                match judge() {
                    Verdict::Keys(names) => {
                        self.wait_for_keys(&names);
                        judge()
                    }
                    verdict => verdict,
                }
            }
            Err(ReadError::NotRegular(what)) => failed(Reason::NotARegularFile, format!("it is {what}")),
            Err(ReadError::TooLarge { size }) => {
                failed(Reason::TooLarge, format!("{size} bytes; limits.mail_bytes allows {}", limits.mail_bytes))
            }
            Err(ReadError::Incomplete) => Verdict::NotNow(ReadError::Incomplete.to_string()),
            Err(error) if error.is_temporary() => Verdict::NotNow(error.to_string()),
            Err(error) => failed(Reason::ReadError, format!("cannot be read: {error}")),
        };
        (name, verdict)
    }
}

/// Nobody's claim.
const NOBODY: ClaimId = ClaimId { batch: 0, number: 0 };

fn later(plan: &Plan, sheet: &mut Sheet, show: &mut dyn FnMut(Route)) {
    sheet.count(End::Deferred);
    for problem in plan.problems() {
        show(Route::of_problem(&problem));
        sheet.add_problem(problem);
    }
}

fn not_now(file: String, text: String) -> Route {
    let outcome = End::Incomplete.word().to_owned();
    Route { file, outcome, recipients: Vec::new(), list: None, item: None, paths: Vec::new(), reason: None, text }
}

fn routes(decided: &Decided, problems: &[Problem], directory: &Directory) -> Vec<Route> {
    let landed = decided.landed.iter().map(|landed| {
        let list = directory.list(landed.list).map(|list| list.name.clone());
        let end = if landed.duplicate { End::Duplicate } else { End::Delivered };
        let text = if landed.duplicate { "the list has this mail already" } else { landed.allowed_by.as_str() };
        Route {
            file: decided.plan.source.clone(),
            outcome: end.word().to_owned(),
            recipients: landed.recipients.clone(),
            list,
            item: Some(landed.item.0),
            paths: landed.paths.clone(),
            reason: None,
            text: text.to_owned(),
        }
    });
    landed.chain(problems.iter().map(Route::of_problem)).collect()
}
