//! The floor: what no engine can avoid. The same files, claimed by rename, read, their bytes put raw into a RocksDB with the
//! store's options, as large a group under one synced write, and unlinked by as many settling threads.
//! Never looks into a mail, takes no lease and keeps no ledger: everything that it leaves out is the engine's own.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::cli::exit::Failure;
use crate::config::Limits;
use crate::engine::Budget;
use crate::store::{RawStore, StoreError};

/// Names are handed to the workers in chunks, as the engine does.
const CHUNK: usize = 16;
/// Chunks of names that wait for a worker: the folder is never held in memory.
const WAITING: usize = 64;

/// Takes every file of a drop folder to its end; answers how many there were.
pub fn drain(drop_folder: &Path, store: &RawStore, limits: &Limits) -> Result<u64, Failure> {
    let at = |error: io::Error| Failure::at(drop_folder, &error);
    let claimed = drop_folder.join(".floor");
    std::fs::create_dir_all(&claimed).map_err(at)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(limits.workers).build();
    let pool = pool.map_err(|error| Failure::Engine(error.to_string()))?;
    let floor = Floor {
        store,
        limits,
        drop: open_folder(drop_folder).map_err(at)?,
        claimed: open_folder(&claimed).map_err(at)?,
        // The bytes in flight are bounded as the engine's are; the number of open claims need not be, none is held open.
        budget: Budget::new(limits.memory, u64::MAX),
        number: AtomicU64::new(0),
        gone: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        failure: Mutex::default(),
    };
    floor.run(&pool);
    let failure = floor.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(floor.gone.into_inner()), |error| Err(Failure::Engine(format!("the floor: {error}"))))
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

#[derive(Debug, thiserror::Error)]
enum FloorError {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rustix::io::Errno> for FloorError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::File(errno.into())
    }
}

/// A file that is claimed and read.
struct Raw {
    number: u64,
    name: OsString,
    bytes: Vec<u8>,
    cost: u64,
}

/// A file whose bytes are durable.
struct Durable {
    name: OsString,
    cost: u64,
}

struct Floor<'f> {
    store: &'f RawStore,
    limits: &'f Limits,
    drop: OwnedFd,
    claimed: OwnedFd,
    budget: Budget,
    number: AtomicU64,
    gone: AtomicU64,
    failed: AtomicBool,
    failure: Mutex<Option<FloorError>>,
}

impl Floor<'_> {
    fn run(&self, pool: &rayon::ThreadPool) {
        let (names, to_read) = crossbeam_channel::bounded::<Vec<OsString>>(WAITING);
        let (read, to_put) = crossbeam_channel::unbounded::<Vec<Raw>>();
        let (put, to_unlink) = crossbeam_channel::unbounded::<Durable>();
        std::thread::scope(|threads| {
            for _ in 0..self.limits.settle_threads.max(1) {
                let to_unlink = to_unlink.clone();
                threads.spawn(move || to_unlink.iter().for_each(|file| self.unlink(&file)));
            }
            threads.spawn(move || self.put_groups(&to_put, &put));
            threads.spawn(move || self.list(&names).unwrap_or_else(|error| self.fail(error)));
            pool.in_place_scope(|workers| {
                for _ in 0..pool.current_num_threads() {
                    let (to_read, read) = (to_read.clone(), read.clone());
                    workers.spawn(move |_| self.work(&to_read, &read));
                }
                drop(read);
            });
        });
    }

    /// The first failure is the one that is told. From then on everything is passed on without being touched.
    fn fail(&self, error: FloorError) {
        self.failed.store(true, Ordering::Relaxed);
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn list(&self, names: &Sender<Vec<OsString>>) -> Result<(), FloorError> {
        let mut chunk = Vec::with_capacity(CHUNK);
        for entry in Dir::read_from(&self.drop)? {
            let entry = entry?;
            let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
            if entry.file_type() != FileType::RegularFile {
                continue;
            }
            chunk.push(name.to_owned());
            if chunk.len() == CHUNK {
                // The workers live until this end of the channel is gone.
                let _ = names.send(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK)));
            }
        }
        let _ = names.send(chunk);
        Ok(())
    }

    fn work(&self, to_read: &Receiver<Vec<OsString>>, read: &Sender<Vec<Raw>>) {
        for chunk in to_read {
            let mut mails = Vec::with_capacity(chunk.len());
            for name in chunk {
                if self.failed.load(Ordering::Relaxed) {
                    break;
                }
                match self.take(name, &mut mails, read) {
                    Ok(mail) => mails.push(mail),
                    Err(error) => self.fail(error),
                }
            }
            let _ = read.send(mails);
        }
    }

    /// Claims a file by rename and reads it whole.
    fn take(&self, name: OsString, held: &mut Vec<Raw>, read: &Sender<Vec<Raw>>) -> Result<Raw, FloorError> {
        rustix::fs::renameat(&self.drop, &name, &self.claimed, &name)?;
        let file = rustix::fs::openat(&self.claimed, &name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or_default();
        let cost = self.budget.cost(size);
        if !self.budget.try_take(cost) {
            // What is held back here must be on its way before we wait for room.
            let _ = read.send(std::mem::take(held));
            self.budget.take(cost);
        }
        match read_whole(file.as_fd(), size) {
            Ok(bytes) => Ok(Raw { number: self.number.fetch_add(1, Ordering::Relaxed), name, bytes, cost }),
            Err(error) => {
                self.budget.give_back(1, cost);
                Err(error)
            }
        }
    }

    /// Ends a group by count or bytes, and where nothing more comes, as the engine does.
    fn put_groups(&self, to_put: &Receiver<Vec<Raw>>, put: &Sender<Durable>) {
        let mut group = Vec::new();
        let mut weight = 0;
        loop {
            match to_put.recv_timeout(self.limits.group_age) {
                Ok(mails) => {
                    for mail in mails {
                        weight += mail.bytes.len() as u64;
                        group.push(mail);
                        if group.len() >= self.limits.group_mails || weight >= self.limits.group_bytes {
                            self.put(std::mem::take(&mut group), put);
                            weight = 0;
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.put(std::mem::take(&mut group), put);
                    weight = 0;
                }
                Err(RecvTimeoutError::Disconnected) => return self.put(group, put),
            }
        }
    }

    fn put(&self, group: Vec<Raw>, put: &Sender<Durable>) {
        if group.is_empty() {
            return;
        }
        let failed = self.failed.load(Ordering::Relaxed);
        let written =
            if failed { Ok(()) } else { self.store.put(group.iter().map(|mail| (mail.number, &*mail.bytes))) };
        let failed = failed || written.is_err();
        if let Err(error) = written {
            self.fail(error.into());
        }
        for Raw { name, cost, .. } in group {
            if failed {
                self.budget.give_back(1, cost);
            } else {
                // The settling threads live until this end of the channel is gone.
                let _ = put.send(Durable { name, cost });
            }
        }
    }

    fn unlink(&self, file: &Durable) {
        match rustix::fs::unlinkat(&self.claimed, &file.name, AtFlags::empty()) {
            Ok(()) => drop(self.gone.fetch_add(1, Ordering::Relaxed)),
            Err(errno) => self.fail(errno.into()),
        }
        self.budget.give_back(1, file.cost);
    }
}

/// One `read` where the file is as long as it says: nobody else writes to it.
fn read_whole(file: BorrowedFd<'_>, size: u64) -> Result<Vec<u8>, FloorError> {
    let size = usize::try_from(size).unwrap_or_default();
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        if rustix::io::read(file, rustix::buffer::spare_capacity(&mut bytes))? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(bytes)
}
