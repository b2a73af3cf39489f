//! The only unsafe code: mapping a claimed file, and file leases, for which no safe wrapper exists.
//! Never maps a file that somebody may still write to: `Claim::read` asks for a lease first.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;

/// What became of a wish for a read lease (`fcntl(2)`, `F_SETLEASE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Nobody has the file open for writing, and nobody can open it so without us noticing.
    Held,
    /// Somebody has it open for writing.
    Busy,
    /// This file system, or our rights, do not allow leases.
    Unavailable,
}

/// Asks for a read lease. A process that owns neither the file nor `CAP_LEASE` gets `Unavailable`.
pub fn take_lease(file: &File) -> Lease {
    // SAFETY: F_SETLEASE takes an int and touches no memory of ours; the descriptor is open for the whole call.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    if answer == 0 {
        return Lease::Held;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Lease::Busy,
        _ => Lease::Unavailable,
    }
}

/// Whether a lease taken earlier still stands. It is gone, or going, as soon as somebody wants to write.
pub fn lease_stands(file: &File) -> bool {
    // SAFETY: F_GETLEASE takes no argument and touches no memory of ours; the descriptor is open for the whole call.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
    answer == libc::F_RDLCK
}

/// The bytes of a mail file: mapped where that is cheaper, else copied.
#[derive(Debug)]
pub enum Bytes {
    Copied(Vec<u8>),
    Mapped(memmap2::Mmap),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// Maps a file whose lease we hold.
pub fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: the mapping is sound while nobody writes to or truncates the file. The caller holds a read lease, so a
    // writer is kept waiting for `/proc/sys/fs/lease-break-time` (45 s) and the file lies in our private claim folder.
    // Weak spot: a mail that is worked on for longer than that while a writer waits could be truncated under us.
    let map = unsafe { memmap2::MmapOptions::new().populate().map(file)? };
    Ok(Bytes::Mapped(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_open_for_writing_gets_no_lease_and_a_lease_falls_when_a_writer_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        if take_lease(&reader) == Lease::Unavailable {
            eprintln!("skipped: no leases on {}", folder.path().display());
            return;
        }
        assert_eq!(take_lease(&reader), Lease::Busy);
        drop(writer);
        let _io = signal_hook::flag::register(signal_hook::consts::SIGIO, std::sync::Arc::default()).unwrap();
        assert_eq!(take_lease(&reader), Lease::Held);
        assert!(lease_stands(&reader));
        let wish = rustix::fs::open(
            &path,
            rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK,
            rustix::fs::Mode::empty(),
        );
        assert_eq!(wish.err(), Some(rustix::io::Errno::WOULDBLOCK));
        assert!(!lease_stands(&reader));
    }
}
