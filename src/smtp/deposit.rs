//! Makes letters durable: straight in their lists where the engine runs in this process and nothing stands against it, else as a
//! file in the drop folder. Letters that wait at the same time become one group, and the group waits for the disk once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::address::envelope_lines;
use super::session::{Letter, Place, Recipient, Stored};
use crate::engine;
use crate::model::mail::MailId;
use crate::spool::{Depot, Draft, Placed, Shelf};

/// At most so many letters in a group: the first one does not wait for an endless row of others.
const GROUP: usize = 256;

/// Groups in work at a time: one is written while another waits for the disk.
const THREADS: usize = 2;

/// One file that a letter becomes: all recipients in one place.
pub struct Sheet {
    shelf: Shelf,
    head: Vec<u8>,
    /// Begun, where the letter is too large to be kept in memory.
    draft: Option<Draft>,
}

/// What a letter becomes, and the text of it that is not written yet.
struct Job {
    sheets: Vec<Sheet>,
    text: Vec<u8>,
    done: oneshot::Sender<Done>,
}

/// What came of a letter: the files, or the first thing that failed.
pub type Done = io::Result<Vec<Placed>>;

/// The way to an engine that runs in this process.
#[derive(Clone)]
pub struct Engine {
    pub letters: Sender<engine::Letter>,
    /// False while the engine takes none.
    pub is_open: Arc<AtomicBool>,
}

/// The engine answers in milliseconds. Where its store hangs, a letter becomes a file after so long: should the engine take it all
/// the same, the file is a duplicate.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hands letters to the threads that write them.
#[derive(Clone)]
pub struct Depositor {
    depot: Arc<Depot>,
    jobs: Sender<Job>,
    engine: Option<Engine>,
}

impl Depositor {
    pub fn start(depot: Arc<Depot>, engine: Option<Engine>) -> io::Result<Self> {
        let (jobs, waiting) = crossbeam_channel::unbounded();
        for _ in 0..THREADS {
            let (depot, waiting) = (Arc::clone(&depot), waiting.clone());
            std::thread::Builder::new().name("deposit".to_owned()).spawn(move || work(&depot, &waiting))?;
        }
        Ok(Self { depot, jobs, engine })
    }

    /// The files that a mail to these recipients becomes. `trace` stands on top of the mail.
    pub fn sheets(sender: &str, recipients: &[Recipient], trace: &str) -> Vec<Sheet> {
        let mut places: Vec<&Place> = recipients.iter().map(|recipient| &recipient.place).collect();
        places.sort();
        places.dedup();
        let sheet = |place: &Place| {
            let here = recipients.iter().filter(|recipient| recipient.place == *place);
            let mut head = envelope_lines(sender, here.map(|recipient| recipient.address.as_str()));
            head.extend_from_slice(trace.as_bytes());
            let shelf = match place {
                Place::Drop => Shelf::Drop,
                Place::Queue { domain } => Shelf::Queue { domain: domain.clone() },
            };
            Sheet { shelf, head, draft: None }
        };
        places.into_iter().map(sheet).collect()
    }

    /// Writes a part of a large letter ahead of its end. Waits for the disk: not for the threads that talk.
    pub fn write_ahead(&self, sheets: &mut [Sheet], text: &[u8]) -> io::Result<()> {
        sheets.iter_mut().try_for_each(|sheet| sheet.write(&self.depot, text))
    }

    /// Waits until the letter is durable.
    pub async fn deposit(&self, sheets: Vec<Sheet>, text: Vec<u8>) -> Done {
        if let Some(taken) = self.go_straight(&sheets, &text).await {
            return Ok(vec![taken]);
        }
        let (done, answer) = oneshot::channel();
        let gone = || io::Error::other("the depositing thread has ended");
        self.jobs.send(Job { sheets, text, done }).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Depositor {
    /// None: it has to become a file.
    async fn go_straight(&self, sheets: &[Sheet], text: &[u8]) -> Option<Placed> {
        let engine = self.engine.as_ref().filter(|engine| engine.is_open.load(Ordering::Relaxed))?;
        let [Sheet { shelf: Shelf::Drop, head, draft: None }] = sheets else { return None };
        let (name, bytes) = (format!("{}.eml", self.depot.name()), [head, text].concat());
        let size = bytes.len() as u64;
        let (told, answer) = oneshot::channel::<MailId>();
        let taken = Box::new(move |mail_id| {
            // Who asked may have gone; the mail is there all the same.
            let _ = told.send(mail_id);
        });
        engine.letters.send(engine::Letter { name: name.clone(), bytes, taken }).ok()?;
        let mail_id = tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()?;
        Some(Placed { name, mail_id, size })
    }
}

impl Sheet {
    fn write(&mut self, depot: &Depot, text: &[u8]) -> io::Result<()> {
        if self.draft.is_none() {
            let mut draft = depot.draft(depot.name(), self.shelf.clone())?;
            draft.write(&self.head)?;
            self.draft = Some(draft);
        }
        self.draft.as_mut().map_or(Ok(()), |draft| draft.write(text))
    }
}

fn work(depot: &Depot, waiting: &Receiver<Job>) {
    while let Ok(first) = waiting.recv() {
        let jobs: Vec<Job> = std::iter::once(first).chain(waiting.try_iter().take(GROUP - 1)).collect();
        place(depot, jobs);
    }
}

/// One group: written, synced, renamed, and only then answered.
fn place(depot: &Depot, jobs: Vec<Job>) {
    let mut drafts = Vec::with_capacity(jobs.len());
    let mut answers = Vec::with_capacity(jobs.len());
    for Job { mut sheets, text, done } in jobs {
        let written = sheets.iter_mut().try_for_each(|sheet| sheet.write(depot, &text));
        let count = if written.is_ok() { sheets.len() } else { 0 };
        if written.is_ok() {
            drafts.extend(sheets.into_iter().filter_map(|sheet| sheet.draft));
        }
        answers.push((done, written, count));
    }
    let mut placed = depot.place(drafts).into_iter();
    for (done, written, count) in answers {
        // All of the letter's files, or it is not durable.
        let files: Vec<io::Result<Placed>> = placed.by_ref().take(count).collect();
        let answer = written.and_then(|()| files.into_iter().collect());
        // Whoever asked may have gone; the mail is there all the same.
        let _ = done.send(answer);
    }
}

/// How the client is told.
pub fn told(done: &Done) -> Stored {
    match done {
        Ok(placed) => match placed.first() {
            Some(first) => Stored::Durable { id: first.mail_id.to_string() },
            None => Stored::Failed,
        },
        Err(error) if is_full(error) => Stored::Full,
        Err(_) => Stored::Failed,
    }
}

fn is_full(error: &io::Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
    error.kind() == io::ErrorKind::StorageFull
        || error.kind() == io::ErrorKind::QuotaExceeded
        || error.raw_os_error().is_some_and(|code| full.contains(&code))
}

impl Letter {
    /// The recipients, for the log.
    pub fn to(&self) -> String {
        self.recipients.iter().map(|recipient| recipient.address.as_str()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(address: &str, place: Place) -> Recipient {
        Recipient { address: address.to_owned(), place }
    }

    #[test]
    fn a_letter_becomes_a_file_for_each_place_and_each_names_its_own_recipients() {
        let folder = tempfile::tempdir().unwrap();
        let depot = Arc::new(Depot::open(folder.path(), "a").unwrap());
        let depositor = Depositor::start(depot, None).unwrap();
        let later = Place::Queue { domain: "later.example".to_owned() };
        let to = [
            recipient("news@localhost", Place::Drop),
            recipient("x@later.example", later),
            recipient("docs@localhost", Place::Drop),
        ];
        let mut sheets = Depositor::sheets("ann@a.example", &to, "Received: t\r\n");
        depositor.write_ahead(&mut sheets, b"Subject: s\r\n").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let placed = runtime.block_on(depositor.deposit(sheets, b"\r\nx\r\n".to_vec())).unwrap();
        assert_eq!(placed.len(), 2);
        let files =
            walkdir::WalkDir::new(folder.path()).into_iter().flatten().filter(|entry| entry.file_type().is_file());
        let mut texts: Vec<String> = files.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect();
        texts.sort();
        assert_eq!(
            texts[1..],
            [
                "x-sender: ann@a.example\r\nx-receiver: news@localhost\r\nx-receiver: docs@localhost\r\nReceived: t\r\nSubject: s\r\n\r\nx\r\n",
                "x-sender: ann@a.example\r\nx-receiver: x@later.example\r\nReceived: t\r\nSubject: s\r\n\r\nx\r\n",
            ]
        );
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let code = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert_eq!(told(&Err(code(Errno::NOSPC))), Stored::Full);
        assert_eq!(told(&Err(code(Errno::DQUOT))), Stored::Full);
        assert_eq!(told(&Err(code(Errno::IO))), Stored::Failed);
        assert_eq!(told(&Ok(Vec::new())), Stored::Failed, "what is nowhere is not durable");
    }
}
