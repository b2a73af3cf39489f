//! Finds the mails in what `mailmill import` was given and hands them out one at a time.
//! Never changes a source, never holds more than one mail, and never passes over in silence what pretends to be mail.
//!
//! | what | is |
//! |---|---|
//! | a PATH given on the command line | always taken, whatever its name; a link is followed |
//! | a file `*.eml`, `*.EML` | one mail, whatever is in it; a leading `From ` or `>From ` line is dropped |
//! | a file in `cur/` or `new/` of a Maildir | the same, whatever its name; never a dot-file (maildir(5)) |
//! | a folder with `cur/`, `new/` and `tmp/` | a Maildir, with the Maildirs below it (Maildir++); never `tmp/` |
//! | anything else in a Maildir | left alone (indexes, subscriptions, filters), but for `*.eml` |
//! | another folder, even if called `*.eml` | all that is in it, in the order of names |
//! | dot-files, names that `spool::is_mail_name` refuses | left alone, folders too, but for Maildirs (`~/.maildir`) |
//! | another file that starts with `From ` | an mbox; `mbox.rs` says how it is cut |
//! | another file | one mail, every byte of it |
//! | `*.gz`; in a Maildir what starts like gzip | judged by the name without `.gz` and by what is inside |
//! | a link, pipe, socket or device `*.eml`, or in `cur/` or `new/` | never opened, reported as not a regular file |
//! | such a thing of another name | left alone |
//! | what cannot be opened, listed or unpacked | reported; the rest goes on |

mod walk;

pub mod mbox;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::model::outcome::Reason;
use crate::spool::read_ahead;
use mbox::{Mbox, Piece};
use walk::{Source, Stray, Walk};

pub use walk::{missing, total_bytes};

/// One mail, or something that should have been one.
#[derive(Debug)]
pub struct Found {
    /// The path of the file, readable; with `#n` for the n-th mail of an mbox.
    pub name: String,
    pub bytes: Result<Vec<u8>, SourceError>,
    /// Bytes of the sources dealt with since the previous `Found`, as they lie on the disk. All of them together are
    /// [`total_bytes`], also where a mail was too large to be read or could not be.
    pub consumed: u64,
}

/// Why there are no bytes.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("more than the {limit} bytes that limits.mail_bytes allows")]
    TooLarge { limit: u64 },
    #[error("it is {0}")]
    NotARegularFile(&'static str),
    #[error("cannot be read: {0}")]
    Io(io::Error),
    #[error("broken gzip: {0}")]
    Gzip(io::Error),
}

impl SourceError {
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::NotARegularFile(_) => Reason::NotARegularFile,
            Self::Io(_) | Self::Gzip(_) => Reason::ReadError,
        }
    }

    /// An error while a source was read. Errors of the system carry a number, those of the decoder do not.
    fn reading(error: io::Error, compressed: bool) -> Self {
        if compressed && error.raw_os_error().is_none() { Self::Gzip(error) } else { Self::Io(error) }
    }
}

/// So many files are open, and read by the system, before it is their turn.
const AHEAD: usize = 16;

/// The mails of all sources, in the order in which they were given.
pub struct Sources {
    walk: Walk,
    ahead: VecDeque<Result<Ready, Stray>>,
    /// The largest mail in bytes.
    limit: u64,
    /// The mbox that is being read.
    open: Option<OpenMbox>,
}

impl Sources {
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, limit: u64) -> Self {
        Self { walk: Walk::new(paths), ahead: VecDeque::with_capacity(AHEAD), limit, open: None }
    }
}

impl Iterator for Sources {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if let Some(open) = self.open.take() {
            return Some(self.next_of(open));
        }
        while self.ahead.len() < AHEAD
            && let Some(next) = self.walk.next()
        {
            self.ahead.push_back(next.map(Ready::of));
        }
        Some(match self.ahead.pop_front()? {
            Ok(ready) => self.read(ready),
            Err(Stray { path, error }) => Found { name: printable(&path), bytes: Err(error), consumed: 0 },
        })
    }
}

impl Sources {
    fn read(&mut self, Ready { source, opened }: Ready) -> Found {
        let name = printable(&source.path);
        let (file, size) = match opened {
            Ok(opened) => opened,
            Err(error) => return Found { name, bytes: Err(error), consumed: source.size() },
        };
        let meter = Meter::new(size);
        match look_into(&source, meter.on(file), size, self.limit) {
            Ok(Content::Mail(mail)) => Found { name, bytes: Ok(mail), consumed: size },
            Ok(Content::Mbox { stream, compressed }) => {
                self.next_of(OpenMbox { name, compressed, mails: Mbox::new(stream), number: 0, meter })
            }
            Err(error) => Found { name, bytes: Err(error), consumed: size },
        }
    }

    fn next_of(&mut self, mut open: OpenMbox) -> Found {
        open.number += 1;
        let bytes = match open.mails.next_mail(self.limit) {
            Ok(Piece::Mail(mail)) => Ok(mail),
            Ok(Piece::TooLarge) => Err(SourceError::TooLarge { limit: self.limit }),
            Err(error) => Err(SourceError::reading(error, open.compressed)),
        };
        let name = format!("{}#{}", open.name, open.number);
        let at_end = open.mails.is_at_end();
        let consumed = open.meter.step(at_end);
        self.open = (!at_end).then_some(open);
        Found { name, bytes, consumed }
    }
}

/// A file that was opened ahead of its turn.
struct Ready {
    source: Source,
    opened: Result<(File, u64), SourceError>,
}

impl Ready {
    fn of(source: Source) -> Self {
        let opened = source.open();
        opened.iter().for_each(|(file, size)| read_ahead(file, *size));
        Self { source, opened }
    }
}

struct OpenMbox {
    name: String,
    compressed: bool,
    mails: Mbox<Stream>,
    /// Of the mail read last, from 1.
    number: u64,
    meter: Meter,
}

type Stream = Box<dyn BufRead + Send>;

enum Content {
    Mail(Vec<u8>),
    Mbox { stream: Stream, compressed: bool },
}

const BUFFER: usize = 64 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const FROM: &[u8] = b"From ";

/// Decides by name and content what a file is, and reads it if it is one mail.
fn look_into(source: &Source, file: Metered, size: u64, limit: u64) -> Result<Content, SourceError> {
    // A small file is not worth a large buffer.
    let buffer = usize::try_from(size).unwrap_or(BUFFER).clamp(FROM.len(), BUFFER);
    let (mut head, mut stream) = peek(BufReader::with_capacity(buffer, file)).map_err(SourceError::Io)?;
    let compressed = if source.in_maildir { head.starts_with(GZIP) } else { source.is_gz() };
    let failed = |error| SourceError::reading(error, compressed);
    if compressed {
        (head, stream) = peek(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(stream))).map_err(failed)?;
    }
    if !source.is_one_mail() && head == FROM {
        return Ok(Content::Mbox { stream, compressed });
    }
    if !compressed && size > limit {
        return Err(SourceError::TooLarge { limit });
    }
    let mut mail = Vec::new();
    if !compressed {
        // One byte more than there is, so that the end is found without growing.
        let room = usize::try_from(size.saturating_add(1)).unwrap_or(usize::MAX);
        mail.try_reserve_exact(room).map_err(|error| failed(error.into()))?;
    }
    stream.take(limit.saturating_add(1)).read_to_end(&mut mail).map_err(failed)?;
    // Unpacking leaves room behind the mail; whoever queues mails counts their lengths.
    mail.shrink_to_fit();
    if mail.len() as u64 > limit {
        return Err(SourceError::TooLarge { limit });
    }
    if source.is_one_mail() {
        drop_from_line(&mut mail);
    }
    Ok(Content::Mail(mail))
}

/// The first bytes of a stream, as many as `From ` has, and the whole stream.
fn peek(mut stream: impl BufRead + Send + 'static) -> io::Result<(Vec<u8>, Stream)> {
    let mut head = Vec::with_capacity(FROM.len());
    stream.by_ref().take(FROM.len() as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(stream))))
}

/// Delivery agents and programs that cut up an mbox leave the From_ line (or a quoted one) in front of the header.
fn drop_from_line(mail: &mut Vec<u8>) {
    if mail.strip_prefix(b">").unwrap_or(mail).starts_with(FROM) {
        let end = mail.iter().position(|byte| *byte == b'\n').map_or(mail.len(), |at| at + 1);
        mail.drain(..end);
    }
}

fn printable(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// How much of a file has been read, and how much of that was reported.
struct Meter {
    read: Arc<AtomicU64>,
    size: u64,
    reported: u64,
}

impl Meter {
    fn new(size: u64) -> Self {
        Self { read: Arc::default(), size, reported: 0 }
    }

    fn on(&self, file: File) -> Metered {
        Metered { file, read: Arc::clone(&self.read) }
    }

    /// What was read since the last step. The last step takes the rest: behind an error it stays unread.
    fn step(&mut self, last: bool) -> u64 {
        let seen = if last { self.size } else { self.read.load(Ordering::Relaxed).min(self.size) };
        let step = seen.saturating_sub(self.reported);
        self.reported += step;
        step
    }
}

struct Metered {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::*;

    const FROM_LINE: &str = "From a@b.example Thu Nov 24 18:22:48 1986\n";
    const MAIL: &str = "Subject: x\n\nx\n";
    const LIMIT: u64 = 1 << 20;

    fn folder(files: &[(&str, &[u8])]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn gz(bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes.as_ref()).unwrap();
        encoder.finish().unwrap()
    }

    fn mbox(mails: &[&str]) -> String {
        mails.iter().flat_map(|mail| [FROM_LINE, mail, "\n"]).collect()
    }

    /// Bytes that do not get smaller when compressed, in lines.
    fn noise(lines: u32) -> String {
        let digest =
            |line: u32| (0..8).map(move |part| format!("{:08x}", (line * 8 + part + 1).wrapping_mul(2_654_435_761)));
        (0..lines).map(|line| digest(line).collect::<String>() + "\n").collect()
    }

    /// Name below the root and bytes or error, with the promise about `consumed` checked.
    fn import(root: &Path, limit: u64) -> Vec<(String, String)> {
        let paths = vec![root.to_path_buf()];
        let total = total_bytes(&paths);
        let found: Vec<Found> = Sources::new(paths, limit).collect();
        assert_eq!(found.iter().map(|found| found.consumed).sum::<u64>(), total);
        let text = |found: Found| match found.bytes {
            Ok(bytes) => String::from_utf8(bytes).unwrap(),
            Err(error) => format!("{}: {error}", error.reason().code()),
        };
        let prefix = format!("{}/", root.display());
        found.into_iter().map(|found| (found.name.replace(&prefix, ""), text(found))).collect()
    }

    fn assert_found(root: &TempDir, limit: u64, expected: &[(&str, &str)]) {
        let found = import(root.path(), limit);
        let found: Vec<_> = found.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(found, expected);
    }

    const fn assert_send<T: Send>() {}
    const _: () = assert_send::<Sources>();

    #[test]
    fn an_eml_file_is_one_mail_whatever_is_in_it_without_its_from_line() {
        let two = mbox(&[MAIL, MAIL]);
        let root = folder(&[
            ("1.eml", two.as_bytes()),
            ("2.EML", b">From x\r\nA: 1\r\n"),
            ("3.eml", b"From x\nFrom y\nA: 1\n"),
            ("4.eml", b"From x"),
            ("5.eml", b""),
            ("6.eml", b"From: x\n\n\n"),
        ]);
        let rest = two.strip_prefix(FROM_LINE).unwrap();
        let names = ["1.eml", "2.EML", "3.eml", "4.eml", "5.eml", "6.eml"];
        let texts = [rest, "A: 1\r\n", "From y\nA: 1\n", "", "", "From: x\n\n\n"];
        assert_found(&root, LIMIT, &names.into_iter().zip(texts).collect::<Vec<_>>());
    }

    #[test]
    fn another_file_is_an_mbox_if_it_starts_like_one_and_else_one_mail() {
        let root = folder(&[
            ("box", mbox(&[MAIL, "From: y\n"]).as_bytes()),
            ("empty", b""),
            ("mail.txt", b"\nFrom x\n"),
            ("quoted", b">From x\nA: 1\n"),
            ("short", b"Fro"),
        ]);
        assert_found(
            &root,
            LIMIT,
            &[
                ("box#1", MAIL),
                ("box#2", "From: y\n"),
                ("empty", ""),
                ("mail.txt", "\nFrom x\n"),
                ("quoted", ">From x\nA: 1\n"),
                ("short", "Fro"),
            ],
        );
    }

    #[test]
    fn a_file_in_a_maildir_is_one_mail_compressed_or_not() {
        let two = mbox(&[MAIL, MAIL]);
        let rest = two.strip_prefix(FROM_LINE).unwrap();
        let root = folder(&[
            ("cur/1.gz", two.as_bytes()),
            ("cur/2:2,SZ", &gz(&two)),
            ("new/3", MAIL.as_bytes()),
            ("tmp/4", MAIL.as_bytes()),
        ]);
        assert_found(&root, LIMIT, &[("cur/1.gz", rest), ("cur/2:2,SZ", rest), ("new/3", MAIL)]);
    }

    #[test]
    fn what_is_compressed_is_judged_by_what_is_inside() {
        let two = mbox(&[MAIL, "y\n"]);
        let rest = two.strip_prefix(FROM_LINE).unwrap();
        let members = [gz(mbox(&[MAIL])), gz(mbox(&["y\n"]))].concat();
        let root = folder(&[
            ("1.eml.gz", &gz(&two)),
            ("2.mbox.GZ", &gz(&two)),
            ("3.gz", &gz(MAIL)),
            ("4.gz", &members),
            ("5.gz", &gz("")),
        ]);
        assert_found(
            &root,
            LIMIT,
            &[
                ("1.eml.gz", rest),
                ("2.mbox.GZ#1", MAIL),
                ("2.mbox.GZ#2", "y\n"),
                ("3.gz", MAIL),
                ("4.gz#1", MAIL),
                ("4.gz#2", "y\n"),
                ("5.gz", ""),
            ],
        );
    }

    #[test]
    fn broken_gzip_is_one_error_behind_the_mails_that_could_be_read() {
        let whole = gz(mbox(&[MAIL, &noise(20_000), "z\n"]));
        let mut wrong_sum = gz(mbox(&[MAIL, "y\n"]));
        *wrong_sum.iter_mut().nth_back(5).unwrap() ^= 1;
        let root = folder(&[
            ("1.gz", whole.get(..whole.len() / 2).unwrap()),
            ("2.gz", &wrong_sum),
            ("3.eml.gz", b"no gzip at all"),
            ("4.gz", b""),
            ("5.gz", &[gz(MAIL).as_slice(), b"garbage"].concat()),
            ("6.gz", &[gz(mbox(&[MAIL, MAIL])), vec![0; 4 * BUFFER]].concat()),
            ("7.eml", MAIL.as_bytes()),
        ]);
        let found = import(root.path(), LIMIT * 8);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["1.gz#1", "1.gz#2", "2.gz#1", "2.gz#2", "3.eml.gz", "4.gz", "5.gz", "6.gz#1", "6.gz#2", "7.eml"]
        );
        for (name, text) in &found {
            let whole = ["1.gz#1", "2.gz#1", "6.gz#1", "7.eml"].contains(&name.as_str());
            assert!(if whole { text == MAIL } else { text.starts_with("read-error: broken gzip: ") }, "{name}: {text}");
        }
    }

    #[test]
    fn a_mail_that_is_too_large_is_reported_and_the_next_one_is_read() {
        let large = noise(10_000);
        let root = folder(&[
            ("1.eml", large.as_bytes()),
            ("2.txt", large.as_bytes()),
            ("3.mbox", mbox(&[MAIL, &large, MAIL]).as_bytes()),
            ("4.mbox.gz", &gz(mbox(&[&large, MAIL]))),
            ("5.eml.gz", &gz(&large)),
            ("6.eml", MAIL.as_bytes()),
        ]);
        let limit = MAIL.len() as u64;
        let error = format!("too-large: more than the {limit} bytes that limits.mail_bytes allows");
        let names =
            ["1.eml", "2.txt", "3.mbox#1", "3.mbox#2", "3.mbox#3", "4.mbox.gz#1", "4.mbox.gz#2", "5.eml.gz", "6.eml"];
        let texts = [&error, &error, MAIL, &error, MAIL, &error, MAIL, &error, MAIL];
        assert_found(&root, limit, &names.into_iter().zip(texts).collect::<Vec<_>>());
        assert!(import(root.path(), limit - 1).iter().all(|(_, text)| text.starts_with("too-large")));
        assert!(import(root.path(), u64::MAX).iter().all(|(_, text)| !text.starts_with("too-large")));
    }

    #[test]
    fn the_bytes_consumed_come_bit_by_bit() {
        let mails = vec![noise(5_000); 3];
        let root = folder(&[("box", mbox(&mails.iter().map(String::as_str).collect::<Vec<_>>()).as_bytes())]);
        let steps: Vec<u64> = Sources::new(vec![root.path().into()], LIMIT).map(|found| found.consumed).collect();
        assert!(steps.iter().all(|step| *step > 100_000), "{steps:?}");
    }

    #[test]
    fn paths_are_read_in_their_order_and_one_that_is_gone_does_not_stop_the_rest() {
        let root = folder(&[("b.tmp", MAIL.as_bytes()), ("a", MAIL.as_bytes())]);
        let paths: Vec<PathBuf> = ["b.tmp", "gone", "a"].iter().map(|name| root.path().join(name)).collect();
        assert_eq!(total_bytes(&paths), 2 * MAIL.len() as u64);
        let found: Vec<Found> = Sources::new(paths.clone(), LIMIT).collect();
        let names: Vec<_> = found.iter().map(|found| found.name.clone()).collect();
        assert_eq!(names, paths.iter().map(|path| printable(path)).collect::<Vec<_>>());
        assert_eq!(found[1].bytes.as_ref().unwrap_err().reason(), Reason::ReadError);
        assert!(found[0].bytes.is_ok() && found[2].bytes.is_ok());
    }

    #[test]
    fn what_is_no_regular_file_has_its_reason() {
        let root = folder(&[]);
        std::os::unix::fs::symlink("/nowhere", root.path().join("x.eml")).unwrap();
        assert_found(&root, LIMIT, &[("x.eml", "not-a-regular-file: it is a symbolic link")]);
    }

    #[test]
    fn a_name_that_is_not_utf_8_becomes_readable() {
        let root = folder(&[]);
        fs::write(root.path().join(OsStr::from_bytes(b"\xff.eml")), MAIL).unwrap();
        assert_found(&root, LIMIT, &[("\u{fffd}.eml", MAIL)]);
    }

    #[test]
    fn sources_stay_as_they_are() {
        let root = folder(&[("box", mbox(&[MAIL]).as_bytes()), ("x.eml", MAIL.as_bytes())]);
        let look = || fs::read_dir(root.path()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        let before: Vec<_> = look().collect();
        assert_eq!(import(root.path(), LIMIT), import(root.path(), LIMIT));
        assert!(look().eq(before));
    }
}
