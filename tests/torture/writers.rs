//! Writers that keep to no rule: slow ones, ones that cut, replace or write again what is being read. Nothing half is ever
//! delivered, nothing is written over, and no signal ends the program.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::mill::{Dice, Running, Server, end};
use crate::{Cannot, Extent, Tally, Told};

/// A mail whose attachment says by its hash whether it is whole.
struct Whole {
    bytes: Vec<u8>,
    sha256: String,
}

fn whole(id: &str, size: usize, dice: &mut Dice) -> Whole {
    let content = dice.text(size).replace("\r\n", "");
    let mut bytes = format!(
        "x-sender: a@a.example\r\nx-receiver: news@l.example\r\nFrom: a@a.example\r\nSubject: {id}\r\nMessage-ID: <{id}>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n--b\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: 7bit\r\n\
         Content-Disposition: attachment; filename=\"x.bin\"\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(content.as_bytes());
    bytes.extend_from_slice(b"\r\n--b--\r\n");
    Whole { bytes, sha256: hex::encode(Sha256::digest(content.as_bytes())) }
}

/// What each writer does with its file, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Opens it under its last name, and appends piece by piece with pauses.
    Slow,
    /// Writes it whole, then opens it again, cuts it and writes another over it.
    Cuts,
    /// Renames another file over it.
    Replaces,
    /// Writes the next one under the same name as soon as that is free.
    Again,
}

/// Every mail that a writer finished, by Message-ID.
type Written = BTreeMap<String, Whole>;

struct Writer {
    habit: Habit,
    number: u64,
    dice: Dice,
    written: Written,
    /// Versions that were overwritten by their own writer: they may be delivered, if they were whole, or not.
    perhaps: Written,
}

impl Writer {
    fn next(&mut self, at: u64) -> (String, Whole) {
        let id = format!("{:?}-{}-{at}", self.habit, self.number).to_lowercase();
        // Above and below the size from which on files are mapped.
        let size = if at.is_multiple_of(2) { 900_000 } else { 20_000 };
        let mail = whole(&id, size, &mut self.dice);
        (id, mail)
    }

    fn write(&mut self, folder: &Path, mode: u32, over: &AtomicBool) {
        let staging = folder.parent().unwrap().join("staging");
        let free = folder.join(format!("{:?}-{}.eml", self.habit, self.number));
        for at in 0.. {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let (id, mail) = self.next(at);
            let elsewhere = staging.join(&id);
            match self.habit {
                Habit::Slow => {
                    let mut file = File::create(folder.join(format!("{id}.eml"))).unwrap();
                    for piece in mail.bytes.chunks(mail.bytes.len() / 9 + 1) {
                        file.write_all(piece).unwrap();
                        std::thread::sleep(Duration::from_millis(3));
                    }
                    file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
                    self.written.insert(id, mail);
                }
                Habit::Cuts => {
                    let path = folder.join(format!("{id}.eml"));
                    fs::write(&elsewhere, &mail.bytes).unwrap();
                    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(mode)).unwrap();
                    fs::rename(&elsewhere, &path).unwrap();
                    // Late, early, or while it is read. When it is claimed already, there is nothing to open any more.
                    std::thread::sleep(Duration::from_micros(self.dice.below(8000)));
                    let (other, next) = self.next(1_000_000 + at);
                    self.perhaps.insert(id, mail);
                    if let Ok(mut file) = File::options().write(true).truncate(true).open(&path) {
                        file.write_all(&next.bytes).unwrap();
                        self.perhaps.insert(other, next);
                    }
                }
                Habit::Replaces => {
                    fs::write(&elsewhere, &mail.bytes).unwrap();
                    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(mode)).unwrap();
                    fs::rename(&elsewhere, &free).unwrap();
                    self.perhaps.insert(id, mail);
                    std::thread::sleep(Duration::from_micros(self.dice.below(3000)));
                }
                Habit::Again => {
                    fs::write(&elsewhere, &mail.bytes).unwrap();
                    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(mode)).unwrap();
                    // Never over another: a link fails where there is a file. Taken between look and rename is fine.
                    while free.exists() {
                        if over.load(Ordering::Relaxed) {
                            return;
                        }
                        std::thread::yield_now();
                    }
                    fs::rename(&elsewhere, &free).unwrap();
                    self.written.insert(id, mail);
                }
            }
        }
    }
}

fn tell(server: &Server, time: Duration, mode: u32, run: impl Fn() -> Running) -> Tally {
    let over = Arc::new(AtomicBool::new(false));
    fs::create_dir_all(server.drop.parent().unwrap().join("staging")).unwrap();
    let habits = [Habit::Slow, Habit::Cuts, Habit::Replaces, Habit::Again];
    let threads: Vec<_> = habits
        .into_iter()
        .zip(0..)
        .map(|(habit, number)| {
            let (over, folder) = (Arc::clone(&over), server.drop.clone());
            std::thread::spawn(move || {
                let (written, perhaps) = (Written::new(), Written::new());
                let mut writer = Writer { habit, number, dice: Dice::new(number), written, perhaps };
                writer.write(&folder, mode, &over);
                writer
            })
        })
        .collect();
    let start = Instant::now();
    let mut runs = 0;
    while start.elapsed() < time || runs < 4 {
        let answer = end(run());
        assert!(matches!(answer.code, Some(0 | 3)), "{answer:?}");
        let sheet = crate::mill::sheet(&answer.out);
        assert!(sheet.balanced, "{sheet:?}");
        runs += 1;
    }
    over.store(true, Ordering::Relaxed);
    let writers: Vec<Writer> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    // What was still being written is settled now.
    for _ in 0..100 {
        let answer = end(run());
        let sheet = crate::mill::sheet(&answer.out);
        if sheet.left() == 0 && server.waiting().is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    account(server, &writers, runs)
}

fn account(server: &Server, writers: &[Writer], runs: u64) -> Tally {
    assert!(server.waiting().is_empty(), "{:?}", server.waiting());
    server.is_sound();
    let mut counts = BTreeMap::<String, u64>::new();
    for item in server.good(&["export", "news"]).rows() {
        let id = item["message_id"].as_str().unwrap().to_owned();
        let mut mails =
            writers.iter().flat_map(|writer| [&writer.written, &writer.perhaps]).filter_map(|mails| mails.get(&id));
        let mail = mails.next().unwrap_or_else(|| panic!("nobody wrote {id}"));
        assert_eq!(item["attachments"][0]["sha256"].as_str(), Some(mail.sha256.as_str()), "{id} is not whole");
        *counts.entry(id).or_default() += 1;
    }
    // Half a mail is not set aside either: it was never taken.
    let failed = server.good(&["failed", "ls", "--json"]).rows();
    assert!(failed.is_empty(), "{failed:?}");
    let wanted: Vec<&String> = writers.iter().flat_map(|writer| writer.written.keys()).collect();
    let lost: Vec<_> = wanted.iter().filter(|id| !counts.contains_key(**id)).collect();
    lost.iter().take(5).for_each(|id| println!("lost: {id}"));
    let mails = writers.iter().map(|writer| writer.written.len() + writer.perhaps.len()).sum::<usize>() as u64;
    assert!(mails > 20, "{mails}");
    Tally { runs, mails, lost: lost.len() as u64, doubled: counts.values().map(|count| count - 1).sum() }
}

pub fn hostile_writers(extent: Extent) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(folder.path(), "a");
    server.lists();
    let time = if extent.short { Duration::from_secs(2) } else { extent.time };
    Ok(tell(&server, time, 0o600, || server.start(&["run", "--json"])))
}

/// Somebody who owns none of the files and may not take leases on them: what is still counts as finished.
pub fn hostile_writers_without_leases(extent: Extent) -> Told {
    if !crate::mount::is_root() {
        return Err(Cannot("not root".to_owned()));
    }
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    open(folder.path());
    let server = Server::new(folder.path(), "a");
    // Longer than any pause of a writer.
    server.configure("settle_time = \"250ms\"");
    for path in [&server.folder, &server.drop, &server.store] {
        open(path);
    }
    let nobody = |words: &[&str]| {
        let command = server.command(words);
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
        other.arg(command.get_program()).args(command.get_args());
        other.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::start(other)
    };
    match nobody(&["list", "create", "news", "--kind", "announcements", "--address", "news", "senders=any"]) {
        Ok(child) => drop(end(child).ends(0)),
        Err(error) => return Err(Cannot(format!("setpriv: {error}"))),
    }
    let time = if extent.short { Duration::from_secs(2) } else { extent.time };
    Ok(tell(&server, time, 0o666, || nobody(&["run", "--json"]).unwrap()))
}
