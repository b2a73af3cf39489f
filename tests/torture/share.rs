//! A network share that lies: a file system (FUSE) over a real folder that answers as NFS and SMB servers do. Each mount is
//! one client, with its own cache; several mounts of one folder see each other's changes late.
//!
//! A shim loaded before the C library would not do: the program makes its calls without it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, SessionACL, TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::Cannot;
use crate::mill::Dice;

/// How the share answers. All chances are one in so many; 0 is never.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// `RENAME_NOREPLACE` is answered EINVAL.
    pub no_noreplace: bool,
    /// A rename or a removal is done, and the answer ENOENT: the client had asked twice.
    pub done_and_gone: u64,
    /// ESTALE before anything is done.
    pub stale: u64,
    /// EBUSY before anything is done.
    pub busy: u64,
    /// A removal answers EIO and is not done.
    pub unlink_io: u64,
    /// What another client made is not seen for so long.
    pub late: Duration,
    /// Time stamps are whole seconds.
    pub coarse: bool,
    /// How long names and attributes are believed without asking.
    pub cache: Duration,
    /// So many more bytes may be written, then EDQUOT.
    pub quota: Option<u64>,
    /// So many more syncs succeed, then EIO.
    pub syncs: Option<u64>,
    /// Reading a file of this name waits.
    pub stalls: Option<String>,
}

struct Node {
    handle: Arc<OwnedFd>,
    lookups: u64,
}

struct State {
    manners: Manners,
    dice: Dice,
    nodes: HashMap<u64, Node>,
    files: HashMap<u64, Arc<File>>,
    /// Files whose reading waits, by handle.
    stalled: HashSet<u64>,
    waiting: Vec<(Arc<File>, u64, usize, ReplyData)>,
    next: u64,
    /// What this client made or moved itself: it sees that at once.
    own: HashSet<u64>,
}

#[derive(Clone)]
struct Client(Arc<Mutex<State>>);

/// One mount. The folder is unmounted when this is dropped.
pub struct Share {
    state: Client,
    path: PathBuf,
    session: Option<BackgroundSession>,
}

impl Share {
    pub fn mount(folder: &Path, at: &Path, seed: u64, manners: Manners) -> Result<Self, Cannot> {
        fs::create_dir_all(at).unwrap();
        let root = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let nodes = HashMap::from([(1, Node { handle: Arc::new(root), lookups: 1 })]);
        let state = Client(Arc::new(Mutex::new(State {
            manners,
            dice: Dice::new(seed),
            nodes,
            files: HashMap::new(),
            stalled: HashSet::new(),
            waiting: Vec::new(),
            next: 1,
            own: HashSet::new(),
        })));
        let mut config = fuser::Config::default();
        config.acl = SessionACL::All;
        config.mount_options = vec![fuser::MountOption::FSName("share".to_owned())];
        match fuser::spawn_mount(state.clone(), at, &config) {
            Ok(session) => Ok(Self { state, path: at.to_owned(), session: Some(session) }),
            Err(error) => Err(Cannot(format!("{error}"))),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn change(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.state.lock().manners);
    }

    /// Whether somebody waits for a file that stalls.
    pub fn is_stalling(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// Lets it go on.
    pub fn release(&self) {
        let mut state = self.state.lock();
        state.manners.stalls = None;
        state.stalled.clear();
        for (file, offset, size, reply) in state.waiting.drain(..) {
            answer_read(&file, offset, size, reply);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
        drop(self.session.take());
        // Left over when somebody still had it open.
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.path).output();
    }
}

fn answer_read(file: &File, offset: u64, size: usize, reply: ReplyData) {
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) => return reply.error(error.into()),
        }
    }
    reply.data(&bytes[..filled]);
}

impl Client {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn handle(&self, node: INodeNo) -> Result<Arc<OwnedFd>, Errno> {
        self.nodes.get(&u64::from(node)).map(|node| Arc::clone(&node.handle)).ok_or(Errno::ESTALE)
    }

    fn chance(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.dice.one_in(one_in)
    }

    /// What a server says now and then instead of doing anything.
    fn mood(&mut self) -> Result<(), Errno> {
        let (stale, busy) = (self.manners.stale, self.manners.busy);
        if self.chance(stale) {
            return Err(Errno::ESTALE);
        }
        if self.chance(busy) {
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    fn refuses_to_unlink(&mut self) -> Result<(), Errno> {
        let chance = self.manners.unlink_io;
        if self.chance(chance) { Err(Errno::EIO) } else { Ok(()) }
    }

    /// It is done. A client that had asked twice hears of the second time.
    fn answer_again(&mut self, reply: ReplyEmpty) {
        let chance = self.manners.done_and_gone;
        if self.chance(chance) { reply.error(Errno::ENOENT) } else { reply.ok() }
    }

    fn attributes(&self, metadata: &Metadata, ino: u64) -> FileAttr {
        let time = |seconds: i64, nanos: i64| {
            let nanos = if self.manners.coarse { 0 } else { nanos };
            SystemTime::UNIX_EPOCH
                + Duration::new(u64::try_from(seconds).unwrap_or_default(), u32::try_from(nanos).unwrap())
        };
        let kind = metadata.file_type();
        FileAttr {
            ino: INodeNo(ino),
            size: metadata.size(),
            blocks: metadata.blocks(),
            atime: time(metadata.atime(), metadata.atime_nsec()),
            mtime: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime: time(metadata.ctime(), metadata.ctime_nsec()),
            crtime: SystemTime::UNIX_EPOCH,
            kind: match kind {
                kind if kind.is_dir() => FileType::Directory,
                kind if kind.is_symlink() => FileType::Symlink,
                kind if kind.is_fifo() => FileType::NamedPipe,
                _ => FileType::RegularFile,
            },
            perm: u16::try_from(metadata.permissions().mode() & 0o7777).unwrap(),
            nlink: u32::try_from(metadata.nlink()).unwrap(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Another client made or moved it a moment ago.
    fn is_late(&self, metadata: &Metadata) -> bool {
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(u64::try_from(metadata.ctime()).unwrap(), u32::try_from(metadata.ctime_nsec()).unwrap());
        let age = SystemTime::now().duration_since(changed).unwrap_or_default();
        metadata.is_file() && age < self.manners.late && !self.own.contains(&metadata.ino())
    }

    fn look_up(&mut self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let folder = self.handle(parent)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&*folder, name, flags, Mode::empty()).map_err(errno)?;
        let metadata = File::from(handle.try_clone().map_err(Errno::from)?).metadata().map_err(Errno::from)?;
        if self.is_late(&metadata) {
            return Err(Errno::ENOENT);
        }
        let ino = metadata.ino();
        let node = self.nodes.entry(ino).or_insert_with(|| Node { handle: Arc::new(handle), lookups: 0 });
        node.lookups += 1;
        Ok(self.attributes(&metadata, ino))
    }

    fn metadata(&self, node: INodeNo) -> Result<Metadata, Errno> {
        let handle = self.handle(node)?.try_clone().map_err(Errno::from)?;
        File::from(handle).metadata().map_err(Errno::from)
    }

    fn keep(&mut self, file: File) -> u64 {
        self.next += 1;
        self.files.insert(self.next, Arc::new(file));
        self.next
    }

    fn forget(&mut self, ino: u64, count: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(count);
            if node.lookups == 0 && ino != 1 {
                self.nodes.remove(&ino);
            }
        }
    }
}

fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from_i32(errno.raw_os_error())
}

/// The path by which an object that is held open can be opened anew, whatever it is called now.
fn reopen(handle: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// Answers with the value, or with what the share says instead.
macro_rules! or_error {
    ($result:expr, $reply:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return $reply.error(Errno::from(error)),
        }
    };
}

impl Filesystem for Client {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.lock();
        let attributes = or_error!(state.look_up(parent, name), reply);
        reply.entry(&state.manners.cache, &attributes, Generation(0));
    }

    fn forget(&self, _: &Request, node: INodeNo, count: u64) {
        self.lock().forget(u64::from(node), count);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let state = self.lock();
        let metadata = or_error!(state.metadata(node), reply);
        reply.attr(&state.manners.cache, &state.attributes(&metadata, u64::from(node)));
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let state = self.lock();
        let handle = or_error!(state.handle(node), reply);
        let path = reopen(&handle);
        if let Some(mode) = mode {
            or_error!(fs::set_permissions(&path, fs::Permissions::from_mode(mode)), reply);
        }
        if size.is_some() || mtime.is_some() {
            let file = or_error!(File::options().write(true).open(&path), reply);
            if let Some(size) = size {
                or_error!(file.set_len(size), reply);
            }
            if let Some(time) = mtime {
                let time = match time {
                    TimeOrNow::SpecificTime(time) => time,
                    TimeOrNow::Now => SystemTime::now(),
                };
                or_error!(file.set_modified(time), reply);
            }
        }
        let metadata = or_error!(state.metadata(node), reply);
        reply.attr(&Duration::ZERO, &state.attributes(&metadata, u64::from(node)));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let mut state = self.lock();
        let folder = or_error!(state.handle(parent), reply);
        let created = rustix::fs::mkdirat(&*folder, name, Mode::from_raw_mode(mode & !umask));
        or_error!(created.map_err(errno), reply);
        let attributes = or_error!(state.look_up(parent, name), reply);
        reply.entry(&state.manners.cache, &attributes, Generation(0));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.lock();
        or_error!(state.mood(), reply);
        or_error!(state.refuses_to_unlink(), reply);
        let folder = or_error!(state.handle(parent), reply);
        or_error!(rustix::fs::unlinkat(&*folder, name, AtFlags::empty()).map_err(errno), reply);
        state.answer_again(reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let state = self.lock();
        let folder = or_error!(state.handle(parent), reply);
        or_error!(rustix::fs::unlinkat(&*folder, name, AtFlags::REMOVEDIR).map_err(errno), reply);
        reply.ok();
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        target: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.lock();
        if !flags.is_empty() && state.manners.no_noreplace {
            return reply.error(Errno::EINVAL);
        }
        or_error!(state.mood(), reply);
        let (from, to) = (or_error!(state.handle(parent), reply), or_error!(state.handle(to), reply));
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        or_error!(rustix::fs::renameat_with(&*from, name, &*to, target, flags).map_err(errno), reply);
        if let Ok(stat) = rustix::fs::statat(&*to, target, AtFlags::SYMLINK_NOFOLLOW) {
            state.own.insert(stat.st_ino);
        }
        state.answer_again(reply);
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let mut state = self.lock();
        or_error!(state.mood(), reply);
        let handle = or_error!(state.handle(node), reply);
        let path = reopen(&handle);
        let accepted = flags.0 & (libc::O_ACCMODE | libc::O_TRUNC | libc::O_APPEND);
        let file = match accepted & libc::O_ACCMODE {
            libc::O_RDONLY => File::options().read(true).open(&path),
            libc::O_WRONLY => File::options().write(true).custom_flags(accepted & libc::O_TRUNC).open(&path),
            _ => File::options().read(true).write(true).custom_flags(accepted & libc::O_TRUNC).open(&path),
        };
        let file = or_error!(file, reply);
        let name = fs::read_link(&path).unwrap_or_default();
        let stalls = state.manners.stalls.as_ref().is_some_and(|word| name.to_string_lossy().contains(word.as_str()));
        let number = state.keep(file);
        if stalls {
            state.stalled.insert(number);
        }
        reply.opened(FileHandle(number), FopenFlags::empty());
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.lock();
        let folder = or_error!(state.handle(parent), reply);
        let kept = OFlags::from_bits_retain((flags & (libc::O_EXCL | libc::O_TRUNC)).cast_unsigned());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | kept;
        let created = rustix::fs::openat(&*folder, name, flags, Mode::from_raw_mode(mode & !umask));
        let file = File::from(or_error!(created.map_err(errno), reply));
        state.own.insert(file.metadata().map(|metadata| metadata.ino()).unwrap_or_default());
        let attributes = or_error!(state.look_up(parent, name), reply);
        let number = state.keep(file);
        reply.created(&state.manners.cache, &attributes, Generation(0), FileHandle(number), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        _node: INodeNo,
        number: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.lock();
        let file = or_error!(state.files.get(&u64::from(number)).cloned().ok_or(Errno::EBADF), reply);
        if state.stalled.contains(&u64::from(number)) {
            state.waiting.push((file, offset, size as usize, reply));
            return;
        }
        drop(state);
        answer_read(&file, offset, size as usize, reply);
    }

    fn write(
        &self,
        _: &Request,
        _node: INodeNo,
        number: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.lock();
        let file = or_error!(state.files.get(&u64::from(number)).cloned().ok_or(Errno::EBADF), reply);
        if let Some(left) = &mut state.manners.quota {
            match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return reply.error(Errno::EDQUOT),
            }
        }
        drop(state);
        or_error!(file.write_all_at(data, offset), reply);
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn flush(&self, _: &Request, _node: INodeNo, _number: FileHandle, _lock: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _node: INodeNo,
        number: FileHandle,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let mut state = self.lock();
        state.files.remove(&u64::from(number));
        state.stalled.remove(&u64::from(number));
        reply.ok();
    }

    fn fsync(&self, _: &Request, _node: INodeNo, number: FileHandle, _data: bool, reply: ReplyEmpty) {
        let mut state = self.lock();
        if let Some(left) = &mut state.manners.syncs {
            match left.checked_sub(1) {
                Some(rest) => *left = rest,
                None => return reply.error(Errno::EIO),
            }
        }
        let file = or_error!(state.files.get(&u64::from(number)).cloned().ok_or(Errno::EBADF), reply);
        drop(state);
        or_error!(file.sync_data(), reply);
        reply.ok();
    }

    fn opendir(&self, _: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, node: INodeNo, _number: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.lock();
        let handle = or_error!(state.handle(node), reply);
        let mut entries: Vec<_> = or_error!(fs::read_dir(reopen(&handle)), reply).flatten().collect();
        // The number of a file is its place: what goes or comes meanwhile moves no other.
        entries.sort_by_key(fs::DirEntry::ino);
        for entry in &entries {
            let Ok(metadata) = entry.metadata() else { continue };
            if entry.ino() <= offset || state.is_late(&metadata) {
                continue;
            }
            let kind = FileType::from_std(metadata.file_type()).unwrap_or(FileType::RegularFile);
            if reply.add(INodeNo(entry.ino()), entry.ino(), kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _node: INodeNo, _number: FileHandle, _data: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn statfs(&self, _: &Request, _node: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 30, 1 << 29, 1 << 29, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}

/// Not every machine lets us.
pub fn is_possible() -> Result<(), Cannot> {
    match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) if crate::mount::is_root() => Ok(()),
        Ok(_) => Err(Cannot("not root".to_owned())),
        Err(error) => Err(Cannot(format!("/dev/fuse: {}", io::Error::from(error.kind())))),
    }
}
