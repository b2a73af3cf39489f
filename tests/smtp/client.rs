//! A client that says what a test wants it to say, a service to say it to, and addresses that no other test listens at.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::common::*;

pub const SOON: Duration = Duration::from_secs(20);

/// An address of this machine that is this test's alone: all of 127.0.0.0/8 is ours.
pub fn own_address() -> String {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let number = TAKEN.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id() % 60_000;
    format!("127.{}.{}.{}:2525", 1 + process / 250, process % 250, 1 + number)
}

/// A server with the list `news` whose service listens at an address of its own.
pub struct Post {
    pub server: Server,
    pub address: String,
}

impl Post {
    pub fn new() -> Self {
        Self::with("", "")
    }

    /// With these lines in `[smtp]`, and these before it.
    pub fn with(smtp: &str, before: &str) -> Self {
        let server = Server::new();
        let address = own_address();
        server
            .configure(&format!("{before}\n[smtp]\nlisten = [\"{address}\"]\nhost_name = \"mill.example\"\n{smtp}\n"));
        server.list("news", "announcements", &[]);
        Self { server, address }
    }

    #[track_caller]
    pub fn serve(&self) -> Running {
        let running = self.server.start(&["serve", "--every", "1h"]);
        self.wait();
        running
    }

    /// Waits until somebody listens.
    #[track_caller]
    pub fn wait(&self) {
        until("the service listens", SOON, || TcpStream::connect(&self.address).is_ok());
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::new(TcpStream::connect(&self.address).unwrap())
    }

    /// Waits until the list has this title.
    #[track_caller]
    pub fn has(&self, list: &str, title: &str) -> Duration {
        until(&format!("{title} is in {list}"), SOON, || self.server.titles(list).iter().any(|known| known == title))
    }
}

/// A connection, TLS or not.
pub trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

pub struct Client {
    pub wire: Box<dyn Wire>,
    buffer: Vec<u8>,
}

impl Client {
    /// Reads the greeting.
    #[track_caller]
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut client = Self::over(Box::new(stream));
        client.expect("220");
        client
    }

    #[track_caller]
    pub fn unix(path: &Path) -> Self {
        // The service opens its sockets one after the other, and the first is what its start is known by.
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) => assert!(start.elapsed() < SOON, "{}: {error}", path.display()),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut client = Self::over(Box::new(stream));
        client.expect("220");
        client
    }

    pub fn over(wire: Box<dyn Wire>) -> Self {
        Self { wire, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.write_all(bytes.as_ref()).unwrap();
        self.wire.flush().unwrap();
    }

    /// The next line, without its end; none when the connection was closed.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            let mut piece = [0; 4096];
            match self.wire.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// The next reply, all of its lines.
    pub fn reply(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let line = self.line()?;
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            text.push_str(&line);
            if is_last {
                return Some(text);
            }
            text.push('\n');
        }
    }

    /// The next reply begins like this.
    #[track_caller]
    pub fn expect(&mut self, start: &str) -> String {
        let reply = self.reply().unwrap_or_else(|| panic!("closed instead of {start}"));
        assert!(reply.starts_with(start), "{start} expected: {reply}");
        reply
    }

    #[track_caller]
    pub fn say(&mut self, line: &str, start: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.expect(start)
    }

    #[track_caller]
    pub fn is_closed(&mut self) {
        assert_eq!(self.line(), None);
    }

    /// EHLO, MAIL and RCPT that are all welcome.
    #[track_caller]
    pub fn envelope(&mut self, from: &str, to: &[&str]) {
        self.say("EHLO client.example", "250");
        self.say(&format!("MAIL FROM:<{from}>"), "250");
        for to in to {
            self.say(&format!("RCPT TO:<{to}>"), "250");
        }
    }

    /// A whole mail, to the last reply.
    #[track_caller]
    pub fn mail(&mut self, from: &str, to: &[&str], mail: &[u8]) -> String {
        self.envelope(from, to);
        self.say("DATA", "354");
        self.data(mail);
        self.reply().unwrap_or_default()
    }

    /// The text of a mail with its dots stuffed, and its end.
    pub fn data(&mut self, mail: &[u8]) {
        let mut wire = Vec::new();
        for line in mail.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        wire.extend_from_slice(b".\r\n");
        self.send(wire);
    }
}
