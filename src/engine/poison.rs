//! Finds out a mail that kills the process: out of memory, a stack that overflows, an abort. Each worker notes in a file that
//! survives the process what it judges; after a crash only those suspects are judged again, each alone in a child process.
//! Three deaths alone condemn a mail. One that was merely in flight beside it is innocent.
//!
//! ```text
//! store/judging    a stretch of slots for each worker: claim batch:8 number:8 alone:8, big-endian; empty slots are zero
//! store/suspects   a line for each suspect: claim id, deaths alone
//! ```
//!
//! Neither is synced: a power loss is no mail's fault.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::batch::HOOK_THREADS;
use super::feed::CHUNK;
use super::judge::{Policy, Verdict};
use super::{EngineError, Mill};
use crate::config::{Config, Limits};
use crate::model::list::Kind;
use crate::model::mail::ClaimId;
use crate::model::settings::{ListSettings, Senders};
use crate::spool::{DropFolder, Entry, ReadError, SpoolOptions};
use crate::store::MemoryStore;

/// So many deaths alone condemn a mail: one may be chance, for example a system that is short of memory.
pub const DEATHS: u32 = 3;

/// A mail of 256 MiB is judged in less than two seconds; one that takes longer than this alone hangs.
const TIME_ALONE: Duration = Duration::from_mins(1);

const SLOT: usize = 24;
/// A worker notes all mails of a chunk at once, before the first: one call for all of them.
const STRETCH: usize = SLOT * CHUNK;
const SLOTS: &str = "judging";
const SUSPECTS: &str = "suspects";

/// What the workers judge right now, and who is suspected from before.
pub struct Slots {
    folder: PathBuf,
    file: File,
    /// Deaths alone, by claim.
    suspects: Mutex<BTreeMap<ClaimId, u32>>,
}

impl Slots {
    /// Takes up what an earlier process left. The caller owns the store, so that process is dead.
    pub fn open(folder: &Path, workers: usize) -> io::Result<Self> {
        let path = folder.join(SLOTS);
        let mut suspects = read_suspects(&folder.join(SUSPECTS));
        for (id, alone) in read_slots(&path)? {
            *suspects.entry(id).or_default() += u32::from(alone);
        }
        write_suspects(folder, &suspects)?;
        // Emptied only now that what it said is kept elsewhere.
        let file = File::options().write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(&vec![0; workers.max(1) * STRETCH], 0)?;
        Ok(Self { folder: folder.to_owned(), file, suspects: Mutex::new(suspects) })
    }

    /// Notes what a worker is about to judge, at most a chunk. A note that cannot be written is no reason not to judge.
    pub fn note(&self, worker: usize, mails: impl Iterator<Item = (ClaimId, bool)>) {
        let mut words = [0; STRETCH];
        for (slot, (id, alone)) in words.as_chunks_mut::<SLOT>().0.iter_mut().zip(mails) {
            let noted = [id.batch, id.number, u64::from(alone)].map(u64::to_be_bytes);
            slot.copy_from_slice(noted.as_flattened());
        }
        let _ = self.file.write_all_at(&words, (worker * STRETCH) as u64);
    }

    pub fn clear(&self, worker: usize) {
        let _ = self.file.write_all_at(&[0; STRETCH], (worker * STRETCH) as u64);
    }

    /// How often a suspect died alone. None: nothing is held against it.
    pub fn suspicion(&self, id: ClaimId) -> Option<u32> {
        self.suspects().get(&id).copied()
    }

    /// Whether the last process died while it judged, and it is not known yet over what.
    pub fn has_suspects(&self) -> bool {
        !self.suspects().is_empty()
    }

    /// Written before the next try, so that it counts whatever happens then.
    pub fn count_death(&self, id: ClaimId) -> io::Result<u32> {
        let mut suspects = self.suspects();
        let deaths = suspects.entry(id).or_default();
        *deaths += 1;
        let deaths = *deaths;
        write_suspects(&self.folder, &suspects)?;
        Ok(deaths)
    }

    /// Forgets those that are settled.
    pub fn keep(&self, still_waits: impl Fn(ClaimId) -> bool) -> io::Result<()> {
        let mut suspects = self.suspects();
        suspects.retain(|id, _| still_waits(*id));
        write_suspects(&self.folder, &suspects)
    }

    /// A clean end: nobody is suspected of anything.
    fn forget(&self) {
        #[allow(clippy::disallowed_methods)] // our own file
        let _ = fs::remove_file(self.folder.join(SLOTS));
    }

    fn suspects(&self) -> std::sync::MutexGuard<'_, BTreeMap<ClaimId, u32>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.forget();
    }
}

fn read_slots(path: &Path) -> io::Result<Vec<(ClaimId, bool)>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let (slots, _) = bytes.as_chunks::<SLOT>();
    let slots = slots.iter().map(|slot| {
        let (words, _) = slot.as_chunks::<8>();
        words.iter().map(|word| u64::from_be_bytes(*word)).collect::<Vec<_>>()
    });
    Ok(slots
        .filter_map(|words| match *words {
            [batch, number, alone] if batch > 0 => Some((ClaimId { batch, number }, alone > 0)),
            _ => None,
        })
        .collect())
}

/// What is not there or not readable suspects nobody.
fn read_suspects(path: &Path) -> BTreeMap<ClaimId, u32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter_map(|(id, deaths)| Some((id.parse().ok()?, deaths.parse().ok()?))).collect()
}

#[allow(clippy::disallowed_methods)] // our own file
fn write_suspects(folder: &Path, suspects: &BTreeMap<ClaimId, u32>) -> io::Result<()> {
    let path = folder.join(SUSPECTS);
    if suspects.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let lines: Vec<String> = suspects.iter().map(|(id, deaths)| format!("{id} {deaths}\n")).collect();
    let new = folder.join("suspects.new");
    fs::write(&new, lines.concat())?;
    fs::rename(new, path)
}

/// What came of judging a suspect alone.
pub enum Alone {
    /// It is judged like any other, but with nothing beside it.
    Survived,
    /// What is said of it in `damaged/`.
    Condemned(String),
    /// No child could be started: it waits for the next batch.
    NotTried(io::Error),
}

impl Mill {
    /// How suspects are judged alone: by this program as `judge-alone`. Without it they are judged here.
    pub fn judge_alone_with(&mut self, program: PathBuf) {
        self.alone = Some(program);
    }

    /// Said at a clean end of the process, when no batch runs and none will: other threads may hold the store a moment longer.
    pub fn nothing_in_work(&self) {
        if let Some(slots) = &*self.slots.lock().unwrap_or_else(PoisonError::into_inner) {
            slots.forget();
        }
    }

    /// Whether a mail may have killed the process before. Then each needs a file, by which it can be found out.
    pub fn has_suspects(&self) -> bool {
        self.slots().is_some_and(|slots| slots.has_suspects())
    }

    /// The slots of this process, made when first needed: of the workers, of the hook threads, and of who judges letters.
    pub(super) fn slots(&self) -> Option<Arc<Slots>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.is_none() {
            match Slots::open(&self.config.store, self.pool.current_num_threads() + HOOK_THREADS + 1) {
                Ok(opened) => *slots = Some(Arc::new(opened)),
                Err(error) => {
                    tracing::debug!(%error, "what is judged cannot be noted: a mail that kills is not found out");
                }
            }
        }
        slots.clone()
    }

    /// Judges a suspect in child processes until it survives or has died too often.
    pub(super) fn try_alone(&self, slots: &Slots, id: ClaimId, file: &Path) -> Alone {
        let mut deaths = slots.suspicion(id).unwrap_or_default();
        let mut last = "as the only mail in work".to_owned();
        while deaths < DEATHS {
            let Some(program) = &self.alone else { return Alone::Survived };
            match child(program, &self.config.limits, file).and_then(|mut child| wait(&mut child, TIME_ALONE)) {
                Ok(Some(status)) => match status.signal() {
                    None => return Alone::Survived,
                    Some(signal) => last = format!("by signal {signal}"),
                },
                Ok(None) => last = format!("it took longer than {} s", TIME_ALONE.as_secs()),
                Err(error) => return Alone::NotTried(error),
            }
            deaths = match slots.count_death(id) {
                Ok(deaths) => deaths,
                Err(error) => return Alone::NotTried(error),
            };
        }
        Alone::Condemned(format!(
            "mailmill died {deaths} times on this mail alone ({last}); please report it with the file"
        ))
    }
}

fn child(program: &Path, limits: &Limits, file: &Path) -> io::Result<Child> {
    Command::new(program)
        .arg("judge-alone")
        .args(["--limits".to_owned(), limits.of_one_mail()])
        .arg("--")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// None when it had to be ended.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let watched = pidfd_open(pid, PidfdFlags::empty())?;
        let time = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: 0 };
        if poll(&mut [PollFd::new(&watched, PollFlags::IN)], Some(&time))? == 0 {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
    }
    child.wait().map(Some)
}

/// What the child does: the whole pure middle, by the mail's own envelope and into a made-up list of each kind.
pub fn judge_alone(file: &Path, limits: &Limits) -> Result<(), EngineError> {
    // Should the process that waits for us be killed, nobody needs the answer.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let mill = Mill::new(Config { limits: limits.clone(), ..Config::default() }, Arc::new(MemoryStore::default()))?;
    for kind in Kind::ALL {
        let settings = ListSettings {
            address: kind.word().to_owned(),
            senders: Senders::Any,
            save_original: true,
            ..ListSettings::default()
        };
        mill.lists().create(kind.word(), kind, settings).map_err(|error| EngineError::Threads(error.to_string()))?;
    }
    // On a worker: its stack is what overflows.
    mill.pool.install(|| match read(file, limits) {
        Ok(bytes) => {
            let directory = mill.directory.get();
            let lists = Kind::ALL.iter().filter_map(|kind| directory.by_name(kind.word()));
            let policies = lists.map(|list| Policy::Import(Arc::clone(list))).chain([Policy::Envelope]);
            for policy in policies {
                let verdict = mill.judge(&bytes, ClaimId { batch: 0, number: 0 }, String::new(), &policy, &directory);
                drop::<Verdict>(verdict);
            }
        }
        // Judged where it is claimed: this is no death.
        Err(error) => tracing::debug!(%error, "cannot be read"),
    });
    Ok(())
}

fn read(file: &Path, limits: &Limits) -> Result<crate::spool::Bytes, ReadError> {
    let options = SpoolOptions {
        drop_folder: file.parent().unwrap_or(Path::new(".")).to_owned(),
        label: String::new(),
        remote_writers: false,
        settle_time: Duration::ZERO,
    };
    let folder = DropFolder::open(options).map_err(|error| ReadError::Io(io::Error::other(error)))?;
    let name = file.file_name().unwrap_or_default().to_owned();
    folder.peek(&Entry::named(name), limits.map_from, limits.mail_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ClaimId = ClaimId { batch: 7, number: 1 };
    const SECOND: ClaimId = ClaimId { batch: 7, number: 2 };

    /// The process ends without a word.
    fn dies(slots: Slots) {
        std::mem::forget(slots);
    }

    #[test]
    fn what_was_judged_when_the_process_died_is_suspected_and_nothing_after_a_clean_end() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots::open(folder.path(), 2).unwrap();
        slots.note(0, [(FIRST, false)].into_iter());
        slots.note(1, [(SECOND, false)].into_iter());
        slots.clear(1);
        dies(slots);
        let slots = Slots::open(folder.path(), 2).unwrap();
        assert_eq!((slots.suspicion(FIRST), slots.suspicion(SECOND)), (Some(0), None));
        slots.keep(|_| false).unwrap();
        slots.note(1, [(SECOND, false)].into_iter());
        drop(slots);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(Slots::open(folder.path(), 2).unwrap().suspicion(SECOND), None);
    }

    #[test]
    fn only_deaths_alone_are_counted_and_they_are_remembered_across_processes() {
        let folder = tempfile::tempdir().unwrap();
        let again = || Slots::open(folder.path(), 1).unwrap();
        for _ in 0..5 {
            let slots = again();
            slots.note(0, [(FIRST, false)].into_iter());
            dies(slots);
        }
        let slots = again();
        assert_eq!(slots.suspicion(FIRST), Some(0), "in flight five times");
        slots.note(0, [(FIRST, true)].into_iter());
        dies(slots);
        let slots = again();
        assert_eq!(slots.suspicion(FIRST), Some(1));
        assert_eq!(slots.count_death(FIRST).unwrap(), 2);
        // It died while a command other than a batch would have ended well: that must not forgive anything.
        drop(slots);
        assert_eq!(again().suspicion(FIRST), Some(2));
    }

    #[test]
    fn the_child_judges_any_file_and_dies_of_none_of_these() {
        let folder = tempfile::tempdir().unwrap();
        let letter = b"x-sender: a@a.example\r\nx-receiver: blog@l.example\r\nSubject: s\r\n\r\nHello\r\n";
        for (name, bytes) in [("letter", &letter[..]), ("empty", b""), ("junk", b"\0\xff")] {
            fs::write(folder.path().join(name), bytes).unwrap();
            judge_alone(&folder.path().join(name), &Limits::default()).unwrap();
        }
        judge_alone(&folder.path().join("missing"), &Limits::default()).unwrap();
    }
}
