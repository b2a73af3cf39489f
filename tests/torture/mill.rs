//! A server as an administrator has one: a folder with a configuration, a drop folder, a store, and the program. And the
//! account at the end: which mails are in which lists, how often.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Tally;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_mailmill");

/// A random number generator that is the same everywhere (splitmix64). The seed of each scenario is fixed.
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Some time within this.
    pub fn moment(&mut self, within: Duration) -> Duration {
        within * u32::try_from(self.below(1000)).unwrap() / 1000
    }

    /// One time in `chances`.
    pub const fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub fn text(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::with_capacity(length + length / 76 * 2);
        for at in 0..length {
            if at > 0 && at % 76 == 0 {
                text.push_str("\r\n");
            }
            text.push(char::from(LETTERS[usize::try_from(self.below(64)).unwrap()]));
        }
        text
    }
}

pub struct Server {
    pub name: String,
    pub folder: PathBuf,
    pub drop: PathBuf,
    pub store: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Answer {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn rows(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.err.contains(words), "`{words}` is not in {self:?}");
        self
    }
}

/// The sheet of a batch.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Sheet {
    pub found: u64,
    pub delivered: u64,
    pub refused: u64,
    pub damaged: u64,
    pub deferred: u64,
    pub incomplete: u64,
    pub balanced: bool,
    pub items: u64,
}

impl Sheet {
    /// What is left for another batch.
    pub const fn left(&self) -> u64 {
        self.deferred + self.incomplete
    }
}

impl Server {
    /// In `folder/name`, with its own drop folder.
    pub fn new(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        let drop = folder.join("drop");
        Self::on(&folder, name, &drop, &folder.join("store"), "")
    }

    /// With a drop folder and a store wherever they are, and more settings.
    pub fn on(folder: &Path, name: &str, drop: &Path, store: &Path, more: &str) -> Self {
        for path in [folder, drop, store] {
            fs::create_dir_all(path).unwrap();
        }
        let server =
            Self { name: name.to_owned(), folder: folder.to_owned(), drop: drop.to_owned(), store: store.to_owned() };
        server.configure(more);
        server
    }

    /// `more` is TOML: keys of `[incoming]` first, then other sections.
    pub fn configure(&self, more: &str) {
        let (drop, store) = (self.drop.display(), self.store.display());
        let text =
            format!("server = \"{}\"\nstore = \"{store}\"\n[incoming]\ndrop_folder = \"{drop}\"\n{more}\n", self.name);
        fs::write(self.folder.join("mailmill.toml"), text).unwrap();
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.folder.join("mailmill.toml")).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MAILMILL_")) {
            command.env_remove(name);
        }
        command
    }

    pub fn start(&self, words: &[&str]) -> Running {
        Running::start(self.command(words)).unwrap()
    }

    pub fn ask(&self, words: &[&str]) -> Answer {
        Answer::of(self.command(words).output().unwrap())
    }

    #[track_caller]
    pub fn good(&self, words: &[&str]) -> Answer {
        let answer = self.ask(words);
        assert_eq!(answer.code, Some(0), "{words:?}: {answer:?}");
        answer
    }

    #[track_caller]
    pub fn list(&self, name: &str, kind: &str) {
        self.good(&["list", "create", name, "--kind", kind, "--address", name, "senders=any"]);
    }

    /// The lists that most scenarios use.
    pub fn lists(&self) {
        self.list("news", "announcements");
        self.list("docs", "document-library");
    }

    /// A batch that comes to its end, whatever the mail was like.
    #[track_caller]
    pub fn run(&self) -> Sheet {
        let answer = self.ask(&["run", "--json"]);
        assert!(matches!(answer.code, Some(0 | 3)), "{answer:?}");
        sheet(&answer.out)
    }

    /// Batches until nothing is left.
    #[track_caller]
    pub fn drain(&self) -> u64 {
        for number in 1..200 {
            let sheet = self.run();
            assert!(sheet.balanced, "{sheet:?}");
            if sheet.left() == 0 && self.waiting().is_empty() {
                return number;
            }
        }
        panic!("{} does not come to rest: {:?}", self.name, self.waiting());
    }

    /// Mail in the drop folder.
    pub fn waiting(&self) -> BTreeSet<String> {
        let names =
            fs::read_dir(&self.drop).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// Its folder below the drop folder; the newest, where it has had several stores.
    pub fn own(&self) -> PathBuf {
        let mut own = self.own_folders();
        own.sort_by_key(|path| fs::metadata(path).unwrap().created().unwrap());
        own.pop().unwrap()
    }

    pub fn has_claim_folder(&self) -> bool {
        !self.own_folders().is_empty()
    }

    fn own_folders(&self) -> Vec<PathBuf> {
        let label = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let folders =
            fs::read_dir(self.drop.join(".mailmill")).into_iter().flatten().map(|entry| entry.unwrap().path());
        let is_own = |path: &PathBuf| {
            label(path).strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('-') && rest.len() == 37)
        };
        folders.filter(is_own).collect()
    }

    pub fn names_in(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.own().join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// How many items each list has of each Message-ID.
    pub fn items(&self) -> BTreeMap<(String, String), u64> {
        let mut items = BTreeMap::new();
        for list in self.good(&["list", "ls", "--json"]).rows() {
            let list = list["name"].as_str().unwrap().to_owned();
            for item in self.good(&["export", &list]).rows() {
                let id = item["message_id"].as_str().unwrap_or_default().to_owned();
                *items.entry((list.clone(), id)).or_default() += 1;
            }
        }
        items
    }

    /// Nothing is anywhere where nothing may be, and the store can prove what it says.
    #[track_caller]
    pub fn is_sound(&self) {
        let report = self.ask(&["verify", "--json"]).ends(0).rows().remove(0);
        assert_eq!(report["sound"], true, "{report}");
        assert_eq!(report["garbage"], 0, "{report}");
        let claimed = self.names_in("claimed");
        assert!(claimed.is_empty(), "left in claimed: {claimed:?}");
        let stray: Vec<_> =
            self.store_files().into_iter().filter(|name| name == "suspects" || name == "judging").collect();
        assert!(stray.is_empty(), "{stray:?}");
        for sheet in self.good(&["history", "--json", "--limit", "100000"]).rows() {
            assert_eq!(sheet["balanced"], true, "{sheet}");
        }
        for folder in ["refused", "damaged"] {
            let names = self.names_in(folder);
            let notes =
                names.iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "json")).count();
            assert_eq!(notes * 2, names.len(), "a note beside each file of {folder}: {names:?}");
        }
    }

    fn store_files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.store).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.to_string_lossy().into_owned()).collect()
    }
}

pub fn sheet(out: &str) -> Sheet {
    let line = out.lines().last().unwrap_or_else(|| panic!("no sheet"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Ends a process at once, as a power switch does.
/// A program at work. What it says is read all the time: a full pipe would stop it.
pub struct Running {
    child: Child,
    out: JoinHandle<Vec<u8>>,
    err: JoinHandle<Vec<u8>>,
}

impl Running {
    pub fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let (out, err) = (reading(child.stdout.take().unwrap()), reading(child.stderr.take().unwrap()));
        Ok(Self { child, out, err })
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

fn reading(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

pub fn kill(mut running: Running) {
    let _ = running.child.kill();
    running.child.wait().unwrap();
}

pub fn end(mut running: Running) -> Answer {
    let status = running.child.wait().unwrap();
    let (stdout, stderr) = (running.out.join().unwrap(), running.err.join().unwrap());
    Answer::of(Output { status, stdout, stderr })
}

pub fn signal(running: &Running, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(running.child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Waits for something that happens by itself, and not longer than it takes.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_mins(1), "waited a minute for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The mails of a scenario: what was dropped, and where it must be in the end.
#[derive(Default)]
pub struct Post {
    /// By list and Message-ID.
    pub wanted: BTreeSet<(String, String)>,
    pub dropped: u64,
    /// The file of each Message-ID.
    pub names: BTreeMap<String, String>,
    /// Kept, so that it can be dropped again.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Post {
    /// A mail to these lists. Lists that do not exist are named `nobody…`: nothing is wanted there.
    pub fn letter(&mut self, dice: &mut Dice, to: &[&str], size: usize) -> (String, Vec<u8>) {
        let number = self.files.len();
        let id = format!("{number}.{:x}@torture.example", dice.next());
        for list in to.iter().filter(|list| !list.starts_with("nobody")) {
            self.wanted.insert(((*list).to_owned(), id.clone()));
        }
        let name = format!("{number:06}.eml");
        self.names.insert(id.clone(), name.clone());
        let bytes = letter(&id, to, &dice.text(size));
        self.files.insert(name.clone(), bytes.clone());
        (name, bytes)
    }

    /// Writes a file elsewhere and renames it in, as a good writer does.
    pub fn put(&mut self, drop: &Path, name: &str, bytes: &[u8]) {
        let hidden = drop.join(format!(".{name}"));
        fs::write(&hidden, bytes).unwrap();
        fs::rename(hidden, drop.join(name)).unwrap();
        self.dropped += 1;
    }

    pub fn drop_letter(&mut self, dice: &mut Dice, drop: &Path, to: &[&str], size: usize) -> String {
        let (name, bytes) = self.letter(dice, to, size);
        self.put(drop, &name, &bytes);
        name
    }

    /// Compares what the servers have, all together, with what they must have.
    #[track_caller]
    pub fn account(&self, servers: &[&Server], runs: u64) -> Tally {
        let mut found = BTreeMap::<(String, String), u64>::new();
        for server in servers {
            for (key, count) in server.items() {
                *found.entry(key).or_default() += count;
            }
        }
        let lost: Vec<_> = self.wanted.iter().filter(|key| !found.contains_key(*key)).collect();
        let foreign: Vec<_> = found.keys().filter(|key| !self.wanted.contains(*key)).collect();
        let doubled: u64 = found.values().map(|count| count - 1).sum();
        for (what, keys) in [("lost", &lost), ("not wanted", &foreign)] {
            for key in keys.iter().take(5) {
                println!("{what}: {key:?}");
            }
        }
        assert!(foreign.is_empty());
        Tally { runs, mails: self.dropped, lost: lost.len() as u64, doubled }
    }
}

pub fn letter(id: &str, to: &[&str], content: &str) -> Vec<u8> {
    let mut text = String::from("x-sender: ann@a.example\r\n");
    for list in to {
        write!(text, "x-receiver: {list}@lists.example\r\n").unwrap();
    }
    write!(text, "From: Ann <ann@a.example>\r\nTo: lists@lists.example\r\nSubject: {id}\r\nMessage-ID: <{id}>\r\n")
        .unwrap();
    text.push_str("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n--b\r\n");
    text.push_str("Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n");
    write!(text, "Content-Disposition: attachment; filename=\"report.bin\"\r\n\r\n{content}\r\n--b--\r\n").unwrap();
    text.into_bytes()
}
