//! Walks the PATHs of an import and says for each file what its name and its place make of it (table in [`super`]).
//! Never opens a file while it walks, and never follows a link that it comes across.

use std::ffi::OsStr;
use std::fs::{self, File, FileType, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::vec;

use rustix::fs::OFlags;
use walkdir::{DirEntry, WalkDir};

use super::SourceError;
use crate::spool::is_mail_name;

/// The first PATH that does not exist.
#[must_use]
pub fn missing(paths: &[PathBuf]) -> Option<&PathBuf> {
    let gone = |error: io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    paths.iter().find(|path| fs::metadata(path).is_err_and(gone))
}

/// The size of all files that would be read, as they lie on the disk. Walks the folders, opens no file.
#[must_use]
pub fn total_bytes(paths: &[PathBuf]) -> u64 {
    Walk::new(paths.to_vec()).flatten().map(|source| source.size()).fold(0, u64::saturating_add)
}

/// A file to be read.
pub struct Source {
    pub path: PathBuf,
    /// In `cur/` or `new/`, where names say nothing.
    pub in_maildir: bool,
    /// On the command line: a link is followed.
    given: bool,
}

/// Something that should be mail and is none, or that we cannot look into.
pub struct Stray {
    pub path: PathBuf,
    pub error: SourceError,
}

impl Source {
    /// Opens the file and returns its size. What the walk saw may have been replaced since: the kind is looked at
    /// again, and `O_NONBLOCK` keeps a pipe from holding us up until somebody writes to it.
    pub fn open(&self) -> Result<(File, u64), SourceError> {
        let follow = if self.given { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY | follow;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&self.path);
        let file = opened.map_err(SourceError::Io)?;
        let seen = file.metadata().map_err(SourceError::Io)?;
        if seen.is_file() { Ok((file, seen.len())) } else { Err(not_regular(seen.file_type())) }
    }

    /// 0 where nothing can be found out.
    pub fn size(&self) -> u64 {
        let seen = if self.given { fs::metadata(&self.path) } else { fs::symlink_metadata(&self.path) };
        seen.map_or(0, |seen| if seen.is_file() { seen.len() } else { 0 })
    }

    /// One mail, whatever is in it.
    pub fn is_one_mail(&self) -> bool {
        self.in_maildir || is_eml(without_gz(self.name()))
    }

    pub fn is_gz(&self) -> bool {
        without_gz(self.name()) != self.name()
    }

    fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

/// Everything below the given paths, in their order and within a folder in the order of names.
pub struct Walk {
    paths: vec::IntoIter<PathBuf>,
    /// The given folder that is being walked.
    folder: Option<FolderWalk>,
}

impl Walk {
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths: paths.into_iter(), folder: None }
    }
}

impl Iterator for Walk {
    type Item = Result<Source, Stray>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(step) = self.folder.as_mut().and_then(FolderWalk::next) {
                return Some(step);
            }
            self.folder = None;
            let path = self.paths.next()?;
            match fs::metadata(&path) {
                Ok(seen) if seen.is_dir() => self.folder = Some(FolderWalk::new(path)),
                Ok(seen) if seen.is_file() => return Some(Ok(Source { path, in_maildir: false, given: true })),
                Ok(seen) => return Some(Err(Stray { path, error: not_regular(seen.file_type()) })),
                Err(error) => return Some(Err(Stray { path, error: SourceError::Io(error) })),
            }
        }
    }
}

struct FolderWalk {
    entries: walkdir::IntoIter,
    root: PathBuf,
    /// The folders we are in, from the given one down.
    inside: Vec<Folder>,
}

#[derive(Clone, Copy, PartialEq)]
enum Folder {
    Plain,
    /// A Maildir or something between Maildirs: it holds no mails itself.
    Maildir,
    /// `cur/` or `new/`.
    Mails,
}

impl Folder {
    /// What a folder within this one is; `None` if it is left alone.
    fn within(self, name: &OsStr, path: &Path) -> Option<Self> {
        match self {
            Self::Maildir if name == "tmp" => None,
            Self::Maildir if name == "cur" || name == "new" => Some(Self::Mails),
            _ if is_maildir(path) => Some(Self::Maildir),
            Self::Plain => is_mail_name(name).then_some(Self::Plain),
            Self::Maildir | Self::Mails => Some(Self::Maildir),
        }
    }

    /// Whether a file of this name is taken.
    fn takes(self, name: &OsStr) -> bool {
        match self {
            Self::Plain => is_mail_name(name) && is_mail_name(without_gz(name)),
            Self::Maildir => self.expects_mail(name),
            Self::Mails => !is_hidden(name),
        }
    }

    /// Whether we must say so if something of this name is no mail.
    fn expects_mail(self, name: &OsStr) -> bool {
        !is_hidden(name) && (self == Self::Mails || is_eml(without_gz(name)))
    }
}

impl FolderWalk {
    fn new(root: PathBuf) -> Self {
        let kind = if is_maildir(&root) { Folder::Maildir } else { Folder::Plain };
        let entries = WalkDir::new(&root).min_depth(1).sort_by_file_name().into_iter();
        Self { entries, root, inside: vec![kind] }
    }

    fn next(&mut self) -> Option<Result<Source, Stray>> {
        loop {
            let entry = match self.entries.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(self.stray(error))),
            };
            self.inside.truncate(entry.depth());
            let folder = self.inside.last().copied().unwrap_or(Folder::Plain);
            let kind = entry.file_type();
            if kind.is_dir() {
                self.enter(folder, &entry);
            } else if kind.is_file() && folder.takes(entry.file_name()) {
                let in_maildir = folder == Folder::Mails;
                return Some(Ok(Source { path: entry.into_path(), in_maildir, given: false }));
            } else if !kind.is_file() && folder.expects_mail(entry.file_name()) {
                return Some(Err(Stray { path: entry.into_path(), error: not_regular(kind) }));
            }
        }
    }

    fn enter(&mut self, parent: Folder, entry: &DirEntry) {
        match parent.within(entry.file_name(), entry.path()) {
            Some(kind) => self.inside.push(kind),
            None => self.entries.skip_current_dir(),
        }
    }

    fn stray(&self, error: walkdir::Error) -> Stray {
        let path = error.path().unwrap_or(&self.root).to_path_buf();
        // Only loops of links have no cause, and we follow none.
        let cause = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of links"));
        Stray { path, error: SourceError::Io(cause) }
    }
}

fn is_maildir(path: &Path) -> bool {
    ["cur", "new", "tmp"].iter().all(|name| fs::symlink_metadata(path.join(name)).is_ok_and(|seen| seen.is_dir()))
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

fn is_eml(name: &OsStr) -> bool {
    without_ending(name, b".eml") != name
}

fn without_gz(name: &OsStr) -> &OsStr {
    without_ending(name, b".gz")
}

fn without_ending<'n>(name: &'n OsStr, ending: &[u8]) -> &'n OsStr {
    match name.as_bytes().split_at_checked(name.len().saturating_sub(ending.len())) {
        Some((stem, end)) if end.eq_ignore_ascii_case(ending) => OsStr::from_bytes(stem),
        _ => name,
    }
}

/// In the words of the spool.
fn not_regular(kind: FileType) -> SourceError {
    SourceError::NotARegularFile(match kind {
        _ if kind.is_dir() => "a folder",
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_fifo() => "a named pipe",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "not a regular file",
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a source that vanishes
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode};
    use tempfile::TempDir;

    use super::*;

    /// A folder with these files, each of one byte.
    fn folder(files: &[&str]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn maildir(folder: &Path) {
        for name in ["cur", "new", "tmp"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
    }

    fn fifo(path: &Path) {
        rustix::fs::mknodat(CWD, path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    }

    /// The walk below a folder, readable: `path` for a file, `path: error` for a stray.
    fn walk(root: &Path) -> Vec<String> {
        let below = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        let readable = |step: Result<Source, Stray>| match step {
            Ok(source) => below(&source.path),
            Err(stray) => format!("{}: {}", below(&stray.path), stray.error),
        };
        Walk::new(vec![root.to_path_buf()]).map(readable).collect()
    }

    #[test]
    fn a_folder_is_walked_to_the_bottom_in_the_order_of_names() {
        let root = folder(&["c.eml", "b/2", "b/10", "b/a/x", "a.mbox", "b.eml/x.eml"]);
        assert_eq!(walk(root.path()), ["a.mbox", "b/10", "b/2", "b/a/x", "b.eml/x.eml", "c.eml"]);
    }

    #[test]
    fn dot_files_and_half_written_files_and_folders_are_left_alone() {
        let root = folder(&[".x.eml", "x.eml.tmp", "x.part.gz", "x.bak/y", ".git/y", "@eaDir/y", "x~", "x.eml.gz"]);
        assert_eq!(walk(root.path()), ["x.eml.gz"]);
    }

    #[test]
    fn a_path_that_is_given_is_taken_whatever_its_name() {
        let root = folder(&[".x", "y.tmp", ".folder/z"]);
        for (given, found) in [(".x", ""), ("y.tmp", ""), (".folder", "z")] {
            assert_eq!(walk(&root.path().join(given)), [found]);
        }
    }

    #[test]
    fn a_maildir_is_its_cur_and_new_and_the_maildirs_within() {
        let root = folder(&[
            "cur/1:2,S",
            "cur/.nfs01",
            "cur/deep/x",
            "new/2.tmp",
            "tmp/3",
            "tmp/x.eml",
            "subscriptions",
            "lost.eml",
            "sieve/filter",
            "Archive/2020/cur/4",
            "Archive/notes",
            ".Sent/new/5",
            ".Sent/tmp/6",
            ".Sent/maildirfolder",
        ]);
        for maildir_folder in ["", ".Sent", "Archive/2020"] {
            maildir(&root.path().join(maildir_folder));
        }
        let mails = [".Sent/new/5", "Archive/2020/cur/4", "cur/1:2,S", "lost.eml", "new/2.tmp"];
        assert_eq!(walk(root.path()), mails);
        let in_maildir = |step: &Result<Source, Stray>| step.as_ref().is_ok_and(|source| source.in_maildir);
        assert_eq!(Walk::new(vec![root.path().into()]).filter(in_maildir).count(), 4);
    }

    #[test]
    fn a_maildir_is_found_in_other_folders_whatever_its_name() {
        let root = folder(&["home/bob/.maildir/cur/1", "home/bob/.maildir/dovecot.index", "home/bob/.config/x"]);
        maildir(&root.path().join("home/bob/.maildir"));
        assert_eq!(walk(root.path()), ["home/bob/.maildir/cur/1"]);
    }

    #[test]
    fn a_folder_without_tmp_is_no_maildir() {
        assert_eq!(walk(folder(&["cur/1", "new/2", "x"]).path()), ["cur/1", "new/2", "x"]);
    }

    #[test]
    fn links_that_are_come_across_are_reported_if_they_pretend_to_be_mail_and_never_followed() {
        let root = folder(&["a"]);
        let outside = folder(&["secret"]);
        for (target, link) in [
            (outside.path().join("secret"), "file.eml"),
            (outside.path().to_path_buf(), "folder.EML"),
            ("/nowhere".into(), "dangling.eml"),
            (outside.path().join("secret"), "link"),
            (outside.path().to_path_buf(), "folder"),
            ("/nowhere".into(), ".hidden.eml"),
        ] {
            symlink(target, root.path().join(link)).unwrap();
        }
        let link = |name: &str| format!("{name}: it is a symbolic link");
        assert_eq!(walk(root.path()), ["a".into(), link("dangling.eml"), link("file.eml"), link("folder.EML")]);
    }

    #[test]
    fn links_that_are_given_are_followed() {
        let outside = folder(&["f/x.eml"]);
        let root = folder(&[]);
        symlink(outside.path().join("f"), root.path().join("folder")).unwrap();
        symlink(outside.path().join("f/x.eml"), root.path().join("file")).unwrap();
        symlink("/nowhere", root.path().join("dangling")).unwrap();
        assert_eq!(walk(&root.path().join("folder")), ["x.eml"]);
        assert_eq!(walk(&root.path().join("file")), [""]);
        let mut sources = Walk::new(vec![root.path().join("file")]);
        assert_eq!(sources.next().unwrap().ok().unwrap().open().unwrap().1, 1);
        assert!(walk(&root.path().join("dangling"))[0].contains("cannot be read"));
    }

    #[test]
    fn pipes_and_sockets_are_never_opened() {
        let root = folder(&["cur/1"]);
        maildir(root.path());
        for name in ["x.eml", "quiet", "cur/2"] {
            fifo(&root.path().join(name));
        }
        let _socket = UnixListener::bind(root.path().join("s.eml")).unwrap();
        let pipe = |name: &str| format!("{name}: it is a named pipe");
        assert_eq!(
            walk(root.path()),
            ["cur/1".into(), pipe("cur/2"), "s.eml: it is a socket".to_owned(), pipe("x.eml")]
        );
        assert_eq!(walk(&root.path().join("quiet")), [pipe("")]);
    }

    #[test]
    fn what_was_replaced_since_the_walk_is_not_followed_and_does_not_hold_us_up() {
        let root = folder(&["a.eml", "b.eml"]);
        let sources: Vec<_> = Walk::new(vec![root.path().into()]).flatten().collect();
        for source in &sources {
            fs::remove_file(&source.path).unwrap();
        }
        fifo(&sources[0].path);
        symlink("/etc/passwd", &sources[1].path).unwrap();
        assert!(matches!(sources[0].open(), Err(SourceError::NotARegularFile("a named pipe"))));
        assert!(matches!(sources[1].open(), Err(SourceError::Io(_))));
        assert_eq!(sources[1].size(), 0);
    }

    #[test]
    fn names_that_are_not_utf_8_are_walked() {
        let root = folder(&[]);
        let name = OsStr::from_bytes(b"\xff\n.eml");
        fs::write(root.path().join(name), "xy").unwrap();
        let paths = vec![root.path().to_path_buf()];
        assert_eq!(total_bytes(&paths), 2);
        assert_eq!(Walk::new(paths).next().unwrap().ok().unwrap().path, root.path().join(name));
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_reported_and_the_rest_goes_on() {
        let root = folder(&["a", "z"]);
        // Deeper than a path can be long: this folder cannot even be opened by root.
        let mut here = rustix::fs::open(root.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        let name = "d".repeat(250);
        for _ in 0..20 {
            rustix::fs::mkdirat(&here, &name, Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        let walked = walk(root.path());
        assert_eq!(walked.len(), 3);
        assert!(walked[1].contains("cannot be read: File name too long"), "{}", walked[1]);
        assert_eq!((walked[0].as_str(), walked[2].as_str()), ("a", "z"));
        assert_eq!(total_bytes(&[root.path().to_path_buf()]), 2);
    }

    #[test]
    fn a_deep_tree_takes_neither_stack_nor_open_files() {
        let deep = "d/".repeat(400) + "x.eml";
        let root = folder(&[&deep]);
        assert_eq!(walk(root.path()), [deep]);
    }

    #[test]
    fn the_first_path_that_does_not_exist_is_named() {
        let root = folder(&["a"]);
        let path = |name: &str| root.path().join(name);
        symlink("/nowhere", path("dangling")).unwrap();
        assert_eq!(missing(&[path("a"), root.path().into()]), None);
        for gone in ["b", "a/b", "dangling"] {
            assert_eq!(missing(&[path("a"), path(gone), path("c")]), Some(&path(gone)));
        }
        assert_eq!(missing(&[]), None);
    }
}
