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
            match talk(stream, request, console) {
                // It was just ending. Nothing was done that asking once more would do twice.
                Err(Lost::Unheard(_)) if start.elapsed() <= PATIENCE => {}
                answered => return answered.map_err(Failure::from),
            }
        }
        if start.elapsed() > PATIENCE {
            let store = config.store.display();
            return Err(Failure::Busy(format!("another process owns the store {store} and does not answer")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Why there is no answer.
pub enum Lost {
    /// The owner ended, and cannot have acted on the request, or only looked something up.
    Unheard(Failure),
    Other(Failure),
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unheard(failure) | Lost::Other(failure) => failure,
        }
    }
}

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

/// Sends a request to the owner and shows the answer.
pub fn talk(mut stream: UnixStream, request: &Request, console: &mut Console) -> Result<Exit, Lost> {
    let text =
        serde_json::to_vec(request).map_err(|error| Failure::Usage(format!("the request cannot be sent: {error}")))?;
    let length = u32::try_from(text.len()).map_err(|_| Failure::Usage("the request is too long".to_owned()))?;
    let lost = |error: io::Error| Failure::Engine(format!("the owner of the store ended before it answered: {error}"));
    // Half a request is never acted on.
    stream
        .write_all(&length.to_be_bytes())
        .and_then(|()| stream.write_all(&text))
        .map_err(|error| Lost::Unheard(lost(error)))?;
    let mut heard = false;
    let mut stream = io::BufReader::with_capacity(64 << 10, stream);
    loop {
        let mut head = [0; 5];
        let read = stream.read_exact(&mut head).map_err(lost);
        read.map_err(
            |failure| if !heard && request.only_looks() { Lost::Unheard(failure) } else { Lost::Other(failure) },
        )?;
        heard = true;
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
                return Err(Lost::from(Failure::Engine(
                    "the owner of the store answers in a way this program does not know".to_owned(),
                )));
            }
        }
    }
}
