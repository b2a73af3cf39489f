//! Asks the store, whoever owns it: opens it when nobody does, else sends the request to its owner and shows what comes back.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::Request;
use super::console::{Console, Frame};
use super::desk::{self, Desk, Lock};
use super::exit::{Exit, Failure};
use crate::config::Config;

/// An owner that is just starting or ending holds the lock and does not answer yet, or any more.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn ask(config: Config, request: &Request, console: &mut Console) -> Result<Exit, Failure> {
    let start = Instant::now();
    loop {
        if let Some(lock) = Lock::try_take(&config.store)? {
            let desk = Desk::open(lock, config, desk::SHORT)?;
            let exit = request.answer(&desk, console);
            desk.close();
            return exit;
        }
        if let Ok(stream) = desk::connect(&config.store) {
            return talk(stream, request, console);
        }
        if start.elapsed() > PATIENCE {
            let store = config.store.display();
            return Err(Failure::Busy(format!("another process owns the store {store} and does not answer")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a request to the owner and shows the answer.
pub fn talk(mut stream: UnixStream, request: &Request, console: &mut Console) -> Result<Exit, Failure> {
    let text =
        serde_json::to_vec(request).map_err(|error| Failure::Usage(format!("the request cannot be sent: {error}")))?;
    let length = u32::try_from(text.len()).map_err(|_| Failure::Usage("the request is too long".to_owned()))?;
    let lost = |error: io::Error| Failure::Engine(format!("the owner of the store ended before it answered: {error}"));
    stream.write_all(&length.to_be_bytes()).and_then(|()| stream.write_all(&text)).map_err(lost)?;
    let mut stream = io::BufReader::with_capacity(64 << 10, stream);
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).map_err(lost)?;
        let [tag, length @ ..] = head;
        let length = u32::from_be_bytes(length);
        let mut bytes = Vec::new();
        (&mut stream).take(u64::from(length)).read_to_end(&mut bytes).map_err(lost)?;
        match Frame::from_tag(tag) {
            Some(Frame::Output) => console.bytes(&bytes)?,
            Some(Frame::Note) => {
                console.flush()?;
                io::stderr().write_all(&bytes)?;
            }
            Some(Frame::Exit) => return Ok(Exit::from_code(bytes.first().copied().unwrap_or(Exit::Engine as u8))),
            None => {
                return Err(Failure::Engine(
                    "the owner of the store answers in a way this program does not know".to_owned(),
                ));
            }
        }
    }
}
