//! Clients that send mail after mail to a service that is killed now and then, and note what was answered 250.
#![allow(dead_code, unreachable_pub)] // two test programs use their own part of this

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Some clients at work.
pub struct Load {
    over: Arc<AtomicBool>,
    accepted: Arc<Mutex<BTreeSet<String>>>,
    senders: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients, mail of about this size, to `news@localhost`.
    pub fn start(address: &str, clients: usize, size: usize) -> Self {
        let (over, accepted) = (Arc::default(), Arc::default());
        let begin = |name| {
            let (address, over, accepted) = (address.to_owned(), Arc::clone(&over), Arc::clone(&accepted));
            std::thread::spawn(move || sender(&address, name, size, &over, &accepted))
        };
        let senders = (0..clients).map(begin).collect();
        Self { over, accepted, senders }
    }

    pub fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    /// No more mail from now on: what is under way is taken to its end.
    pub fn end(self) -> BTreeSet<String> {
        self.over.store(true, Ordering::Relaxed);
        self.senders.into_iter().for_each(|sender| sender.join().unwrap());
        std::mem::take(&mut *self.accepted.lock().unwrap())
    }
}

/// Sends mail after mail until told to stop; notes the titles of those that were answered 250. None is sent twice.
fn sender(address: &str, name: usize, size: usize, over: &AtomicBool, accepted: &Mutex<BTreeSet<String>>) {
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let Some(mut talk) = Talk::open(address) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        while !over.load(Ordering::Relaxed) {
            number += 1;
            let title = format!("mail {name}-{number}");
            match talk.mail(&title, size) {
                Some(true) => drop(accepted.lock().unwrap().insert(title)),
                Some(false) => {}
                None => break,
            }
        }
    }
}

/// A client that takes a broken connection for what it is.
struct Talk {
    stream: TcpStream,
}

impl Talk {
    fn open(address: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut talk = Self { stream };
        talk.codes(1)?;
        talk.stream.write_all(b"EHLO c\r\n").ok()?;
        while !talk.text()?.starts_with("250 ") {}
        Some(talk)
    }

    /// Whether it was accepted; none when the connection broke.
    fn mail(&mut self, title: &str, size: usize) -> Option<bool> {
        let head = "MAIL FROM:<ann@example.org>\r\nRCPT TO:<news@localhost>\r\nDATA\r\n";
        self.stream.write_all(head.as_bytes()).ok()?;
        if self.codes(3)?.last().is_none_or(|code| code != "354") {
            return None;
        }
        let lines = format!("{}\r\n", "x".repeat(70)).repeat(size / 72 + 1);
        let mail = format!("From: ann@example.org\r\nSubject: {title}\r\n\r\n{lines}.\r\n");
        self.stream.write_all(mail.as_bytes()).ok()?;
        Some(self.codes(1)?.first().is_some_and(|code| code == "250"))
    }

    fn codes(&mut self, count: usize) -> Option<Vec<String>> {
        (0..count).map(|_| Some(self.text()?.get(..3)?.to_owned())).collect()
    }

    fn text(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            if self.stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            line.push(byte[0]);
        }
        String::from_utf8(line).ok()
    }
}
