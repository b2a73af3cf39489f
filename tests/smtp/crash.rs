//! The process is killed while mail comes in: what was answered 250 is in a list, once. The long run is a scenario of
//! tests/torture.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::*;
use crate::common::*;

/// Sends mail after mail until told to stop; notes the titles of those that were answered 250.
fn sender(address: String, name: usize, over: Arc<AtomicBool>, accepted: Arc<Mutex<BTreeSet<String>>>) {
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let Some(mut talk) = Talk::open(&address) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        while !over.load(Ordering::Relaxed) {
            number += 1;
            let title = format!("mail {name}-{number}");
            match talk.mail(&title) {
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
        stream.set_read_timeout(Some(SOON)).ok()?;
        let mut talk = Self { stream };
        talk.codes(1)?;
        talk.say("EHLO c\r\n", "250 ")?;
        Some(talk)
    }

    /// Whether it was accepted; none when the connection broke.
    fn mail(&mut self, title: &str) -> Option<bool> {
        use std::io::Write;
        let head = "MAIL FROM:<ann@example.org>\r\nRCPT TO:<news@localhost>\r\nDATA\r\n";
        self.stream.write_all(head.as_bytes()).ok()?;
        if self.codes(3)?.last().is_none_or(|code| code != "354") {
            return None;
        }
        let mail = String::from_utf8(letter(title, &[]).mail()).ok()?;
        self.stream.write_all(format!("{mail}.\r\n").as_bytes()).ok()?;
        Some(self.codes(1)?.first().is_some_and(|code| code == "250"))
    }

    fn say(&mut self, line: &str, last: &str) -> Option<()> {
        use std::io::Write;
        self.stream.write_all(line.as_bytes()).ok()?;
        while !self.text()?.starts_with(last) {}
        Some(())
    }

    fn codes(&mut self, count: usize) -> Option<Vec<String>> {
        (0..count).map(|_| Some(self.text()?.get(..3)?.to_owned())).collect()
    }

    fn text(&mut self) -> Option<String> {
        use std::io::Read;
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

#[test]
fn what_was_answered_250_is_in_the_list_once_although_the_service_was_killed() {
    let post = Post::new();
    let over = Arc::new(AtomicBool::new(false));
    let accepted = Arc::new(Mutex::new(BTreeSet::new()));
    let senders: Vec<_> = (0..6)
        .map(|name| {
            let (address, over, accepted) = (post.address.clone(), Arc::clone(&over), Arc::clone(&accepted));
            std::thread::spawn(move || sender(address, name, over, accepted))
        })
        .collect();
    for round in 0..5 {
        let serve = Running::spawn(post.server.command(&["serve", "--every", "1h"]));
        post.wait();
        let before = accepted.lock().unwrap().len();
        until("mail comes in", SOON, || accepted.lock().unwrap().len() > before + 20);
        // Not always at the same moment of a group.
        std::thread::sleep(Duration::from_millis(7 * round));
        serve.kill();
    }
    over.store(true, Ordering::Relaxed);
    let serve = post.serve();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    until("all is settled", SOON, || post.server.waiting().is_empty() && post.server.own("claimed").is_empty());
    serve.term();
    assert_eq!(serve.wait(), 0);
    post.server.ask(&["run"]).ends(0);
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for title in post.server.titles("news") {
        *times.entry(title).or_default() += 1;
    }
    let accepted = accepted.lock().unwrap();
    let lost: Vec<_> = accepted.iter().filter(|title| !times.contains_key(*title)).collect();
    let doubled: Vec<_> = times.iter().filter(|(_, count)| **count > 1).collect();
    assert!(accepted.len() > 100 && lost.is_empty() && doubled.is_empty(), "lost {lost:?}, doubled {doubled:?}");
    assert!(post.server.failed().is_empty(), "nothing half-written was ever found");
    assert_eq!(post.server.own("tmp").iter().filter(|name| name.ends_with(".tmp")).count(), 0, "leftovers are removed");
    post.server.is_settled();
}
