//! What the service has done so far, as Prometheus text (exposition format 0.0.4) on a loopback port.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::reply::Reply;
use super::session::{Client, Judge, Recipient};

#[derive(Debug, Default)]
pub struct Metrics {
    pub connections: AtomicU64,
    pub connections_refused: AtomicU64,
    pub handshakes_failed: AtomicU64,
    pub mails: AtomicU64,
    pub bytes: AtomicU64,
    pub not_stored: AtomicU64,
    /// Waited for deposits, in microseconds.
    pub deposit_us: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    /// A sender or recipient was refused.
    pub fn refuse(&self, reply: &Reply) {
        let key = format!("{} {}", reply.code, reply.status);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
    }

    /// `open` is the number of connections now; `more` are lines of somebody else's.
    #[allow(clippy::cast_precision_loss)] // seconds for people
    pub fn text(&self, open: usize, more: &str) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::new();
        let counters = [
            ("smtp_connections_total", "Connections that were taken", read(&self.connections)),
            ("smtp_connections_refused_total", "Connections beyond a limit", read(&self.connections_refused)),
            ("smtp_handshakes_failed_total", "TLS handshakes that failed", read(&self.handshakes_failed)),
            ("smtp_mails_accepted_total", "Mails answered 250", read(&self.mails)),
            ("smtp_bytes_accepted_total", "Bytes of these mails", read(&self.bytes)),
            ("smtp_mails_not_stored_total", "Mails that could not be stored", read(&self.not_stored)),
        ];
        for (name, help, value) in counters {
            add(&mut text, name, help, "counter", &value.to_string());
        }
        let seconds = read(&self.deposit_us) as f64 / 1e6;
        add(
            &mut text,
            "smtp_deposit_seconds_total",
            "Waited until mails were durable",
            "counter",
            &seconds.to_string(),
        );
        add(&mut text, "smtp_connections_open", "Connections now", "gauge", &open.to_string());
        let _ = writeln!(
            text,
            "# HELP mailmill_smtp_refused_total Senders and recipients refused, by reply\n# TYPE mailmill_smtp_refused_total counter"
        );
        for (reply, count) in &*self.refused.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(text, "mailmill_smtp_refused_total{{reply=\"{reply}\"}} {count}");
        }
        text + more
    }
}

/// One figure with its help. Writing to a string cannot fail.
pub fn add(text: &mut String, name: &str, help: &str, kind: &str, value: &str) {
    let _ = writeln!(text, "# HELP mailmill_{name} {help}\n# TYPE mailmill_{name} {kind}\nmailmill_{name} {value}");
}

/// Counts what a judge refuses.
pub struct Counting<'a> {
    pub judge: &'a dyn Judge,
    pub metrics: &'a Metrics,
}

impl Judge for Counting<'_> {
    fn sender(&self, client: &Client, sender: &str, size: u64) -> Result<(), Reply> {
        self.judge.sender(client, sender, size).inspect_err(|reply| self.note(client, reply, sender, ""))
    }

    fn recipient(&self, client: &Client, sender: &str, size: u64, recipient: &str) -> Result<Recipient, Reply> {
        let judged = self.judge.recipient(client, sender, size, recipient);
        judged.inspect_err(|reply| self.note(client, reply, sender, recipient))
    }
}

impl Counting<'_> {
    fn note(&self, client: &Client, reply: &Reply, from: &str, to: &str) {
        self.metrics.refuse(reply);
        let address = client.address.map(|address| address.to_string()).unwrap_or_default();
        tracing::info!(
            code = reply.code,
            status = reply.status,
            from,
            to,
            client = address,
            helo = client.helo,
            "refused"
        );
    }
}

/// Serves the text until the process ends.
pub fn serve(address: &str, text: Arc<dyn Fn() -> String + Send + Sync>) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let serve = move || {
        for stream in listener.incoming().flatten() {
            if let Err(error) = answer(stream, &*text) {
                tracing::debug!(%error, "metrics were not read to their end");
            }
        }
    };
    std::thread::Builder::new().name("metrics".to_owned()).spawn(serve).map(drop)
}

/// Whatever is asked for, this is the answer: there is nothing else here.
fn answer(mut stream: TcpStream, text: &dyn Fn() -> String) -> io::Result<()> {
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") && request.len() < 8192 {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => request.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
    let text = text();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length: ";
    stream.write_all(format!("{head}{}\r\n\r\n{text}", text.len()).as_bytes())
}
