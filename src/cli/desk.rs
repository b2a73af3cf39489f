//! The process that owns a store: it holds the lock, and answers what other commands ask through the control socket.
//! RocksDB allows one writer; this is how lists can be changed and mail read while `watch` runs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::Request;
use super::background;
use super::console::Console;
use super::exit::{Exit, Failure};
use super::keys::NameServers;
use crate::config::Config;
use crate::engine::{BatchResult, Mill};
use crate::model::outcome::Sheet;

/// The exclusive right to a store. The system gives it back when the process ends, however it ends.
pub struct Lock {
    file: File,
}

const LOCK: &str = "lock";
const SOCKET: &str = "control";

/// A request is a line of words; nobody needs more than this (`list apply` of many lists).
const LONGEST_REQUEST: u32 = 16 << 20;

/// What a command that only asks says of itself.
pub const SHORT: &str = "command";

/// So long such a command is waited for.
const SHORT_WAIT: Duration = Duration::from_secs(5);

/// How long the owner waits at its end for answers that are still being given, and for whatever else uses the store.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

impl Lock {
    /// None when another process holds it.
    pub fn try_take(store: &Path) -> Result<Option<Self>, Failure> {
        let fail = |error: &io::Error| Failure::Engine(format!("store {}: {error}", store.display()));
        fs::create_dir_all(store).map_err(|error| fail(&error))?;
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(store.join(LOCK));
        let file = file.map_err(|error| fail(&error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(fail(&errno.into())),
        }
        Ok(Some(Self { file }))
    }

    /// Says who holds it: what `take` reads to know whether waiting is worth while. A full disk may keep it from being said.
    fn say(&mut self, command: &str) {
        let _ = self.file.set_len(0).and_then(|()| writeln!(self.file, "{} {command}", std::process::id()));
    }

    /// Whether the holder is a command that reads or changes a little and is gone in a moment.
    fn is_held_shortly(store: &Path) -> bool {
        fs::read_to_string(store.join(LOCK)).is_ok_and(|said| said.trim_end().ends_with(SHORT))
    }

    /// Tries for at most `wait`; a little longer when a short command holds it.
    pub fn take(store: &Path, wait: Duration) -> Result<Self, Failure> {
        let start = Instant::now();
        loop {
            if let Some(lock) = Self::try_take(store)? {
                return Ok(lock);
            }
            let patience = if Self::is_held_shortly(store) { wait.max(SHORT_WAIT) } else { wait };
            if start.elapsed() >= patience {
                let text = format!("another process owns the store {}; see `mailmill status`", store.display());
                return Err(Failure::Busy(text));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// An open store, and what other processes may ask about.
pub struct Desk {
    pub mill: Mill,
    pub command: &'static str,
    pub since: jiff::Timestamp,
    stopped: AtomicBool,
    waker: Mutex<Option<Box<dyn Fn() + Send>>>,
    last: Mutex<Option<Sheet>>,
    /// Batches that ended beside the loop, and are to be told of.
    ended: Mutex<Vec<BatchResult>>,
    // Dropped last: the store is closed before another process may open it.
    _lock: Lock,
}

impl Desk {
    /// Opens the store under the lock, and begins to answer.
    pub fn open(mut lock: Lock, config: Config, command: &'static str) -> Result<Arc<Self>, Failure> {
        lock.say(command);
        crate::engine::raise_file_limit();
        let store = crate::store::open(&config.store)?;
        let folder = config.store.clone();
        let mut mill = Mill::new(config, store)?;
        // By this name also when the file was replaced since we started.
        mill.judge_alone_with(PathBuf::from("/proc/self/exe"));
        if mill.config.incoming.check_dkim {
            let resolver = NameServers::new(&mill.config.incoming.name_servers);
            mill.look_up_keys_with(Box::new(resolver));
        }
        let desk = Arc::new(Self {
            mill,
            command,
            since: jiff::Timestamp::now(),
            stopped: AtomicBool::new(false),
            waker: Mutex::default(),
            last: Mutex::default(),
            ended: Mutex::default(),
            _lock: lock,
        });
        // Without a socket the command itself still works; others are told that the store is in use.
        match listen(&folder) {
            Ok(listener) => {
                let desk = Arc::downgrade(&desk);
                let answer = move || {
                    for stream in listener.incoming().flatten() {
                        let Some(desk) = desk.upgrade() else { return };
                        // Where no thread is to be had, the caller is told by the closed connection.
                        let _ = background::start("answer", move || desk.answer(&stream));
                    }
                };
                if let Err(error) = background::start("socket", answer) {
                    tracing::warn!(%error, "other commands cannot be answered meanwhile");
                }
            }
            Err(error) => tracing::warn!(%error, "no control socket; other commands cannot be answered meanwhile"),
        }
        Ok(desk)
    }

    /// Ends the current batch and whatever loop runs it. Also what `mailmill stop` and a first TERM do.
    pub fn stop(&self) -> Exit {
        self.stopped.store(true, Ordering::Relaxed);
        self.mill.stop();
        self.wake();
        Exit::Good
    }

    fn wake(&self) {
        if let Some(wake) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// What `stop` does besides setting the flag.
    pub fn on_stop(&self, wake: impl Fn() + Send + 'static) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(wake));
    }

    pub fn remember(&self, sheet: &Sheet) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(sheet.clone());
    }

    /// A batch beside the loop has ended.
    pub fn tell_of(&self, result: BatchResult) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        self.wake();
    }

    pub fn ended(&self) -> Vec<BatchResult> {
        std::mem::take(&mut self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn last_sheet(&self) -> Option<Sheet> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn answer(&self, stream: &UnixStream) {
        if let Err(error) = self.try_answer(stream) {
            tracing::debug!(%error, "a request was not answered to its end");
        }
    }

    fn try_answer(&self, mut stream: &UnixStream) -> io::Result<()> {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > LONGEST_REQUEST {
            return Err(io::Error::other("the request is too long"));
        }
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request)?;
        let mut console = Console::remote(stream.try_clone()?);
        let answered = match serde_json::from_slice::<Request>(&request) {
            Ok(request) => request.answer(self, &mut console),
            Err(error) => Err(Failure::Engine(format!("the owner of the store does not know this request: {error}"))),
        };
        let exit = answered.unwrap_or_else(|failure| {
            console.error(&failure.to_string());
            failure.exit()
        });
        console.finish(exit)
    }

    /// A clean end, and the end of the store: waits until what was asked is answered and nobody else uses it, but not for ever. A
    /// program that ends while a thread still has the store open dies of it.
    pub fn close(self: Arc<Self>) {
        self.stopped.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        while Arc::strong_count(&self) > 1 && begun.elapsed() < LAST_ANSWERS {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.mill.nothing_in_work();
    }
}

/// The socket by way of its open folder: a socket's path may have 107 bytes, a store's has no such limit.
fn socket_path(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

fn listen(store: &Path) -> io::Result<UnixListener> {
    let folder = File::open(store)?;
    let path = socket_path(&folder);
    // We hold the lock: a socket that lies here is left over from a process that is gone.
    #[allow(clippy::disallowed_methods)] // our own socket
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Only the owner of the store may ask: the file must never exist with other rights.
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(&path);
    rustix::process::umask(mask);
    listener
}

/// Connects to the owner of a store.
pub fn connect(store: &Path) -> io::Result<UnixStream> {
    let folder = File::open(store)?;
    UnixStream::connect(socket_path(&folder))
}
