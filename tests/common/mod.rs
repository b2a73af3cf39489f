//! A server in a folder of its own, driven through the binary alone, and letters to drop there.
//! Every batch that a test runs is held to the contract: its sheet adds up, its reasons are known ones, its exit code is right.
#![allow(dead_code, unreachable_pub)] // each test file uses its own part of this

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// No command of these tests takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// The closed set of CONTRACT section "Balance sheet".
pub const REASONS: [&str; 17] = [
    "unknown-address",
    "list-disabled",
    "sender-not-allowed",
    "sender-forged",
    "hook-refused",
    "no-envelope",
    "loop",
    "too-large",
    "blocked-type",
    "empty",
    "not-a-message",
    "not-a-regular-file",
    "read-error",
    "limit",
    "crashed-before",
    "store-full",
    "key-unavailable",
];

const ENDS: [&str; 6] = ["delivered", "duplicates", "refused", "damaged", "deferred", "incomplete"];

pub const KINDS: [&str; 7] =
    ["document-library", "picture-library", "form-library", "announcements", "calendar", "discussion-board", "blog"];

/// The binary with nothing of this environment that could lead it astray.
pub fn mailmill() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailmill"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"MAILMILL_")) {
        command.env_remove(name);
    }
    command.env_remove("NO_COLOR");
    command
}

/// What a command came to.
pub struct Answer {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Runs a command to its end; one that hangs is killed and fails the test.
pub fn answer(command: Command) -> Answer {
    let said = format!("{command:?}");
    let output = assert_cmd::Command::from_std(command).timeout(PATIENCE).output();
    let output = output.unwrap_or_else(|error| panic!("{said}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().unwrap_or_else(|| panic!("{said} was killed ({:?}): {stderr}", output.status));
    assert!(!stderr.contains("panicked at"), "{said}: {stderr}");
    Answer { code, stdout: output.stdout, stderr }
}

impl Answer {
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON Lines: nothing but one object a line.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        let text = String::from_utf8(self.stdout.clone()).expect("JSON is UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is not whole: {text:?}");
        text.lines().map(object).collect()
    }

    /// The one object on standard output.
    #[track_caller]
    pub fn only(&self) -> Value {
        let mut objects = self.objects();
        assert_eq!(objects.len(), 1, "one object on one line: {}\nstderr: {}", self.text(), self.stderr);
        objects.remove(0)
    }

    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "`{part}` is not in: {}", self.stderr);
        self
    }
}

#[track_caller]
fn object(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"));
    assert!(value.is_object(), "no object: {line}");
    value
}

/// A server: `mailmill.toml`, a drop folder, a store.
pub struct Server {
    pub root: TempDir,
}

impl Server {
    /// As `mailmill init` makes it, with a label of our own.
    pub fn new() -> Self {
        Self::with("")
    }

    /// With these lines in the configuration besides the label.
    pub fn with(settings: &str) -> Self {
        let server = Self { root: tempfile::tempdir().unwrap() };
        let mut init = mailmill();
        init.arg("init").arg(server.root.path());
        answer(init).ends(0);
        server.configure(settings);
        server
    }

    /// Replaces the configuration by these lines and the label.
    pub fn configure(&self, settings: &str) {
        fs::write(self.path("mailmill.toml"), format!("server = \"mill\"\n{settings}\n")).unwrap();
    }

    /// The same with the list `news` (announcements, anybody may write).
    pub fn with_news() -> Self {
        let server = Self::new();
        server.list("news", "announcements", &[]);
        server
    }

    /// A list that anybody may write to; its address is its name.
    pub fn list(&self, name: &str, kind: &str, settings: &[&str]) {
        let words = ["list", "create", name, "--kind", kind, "--address", name, "senders=any"];
        self.good(&[&words[..], settings].concat());
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    pub fn drop_folder(&self) -> PathBuf {
        self.path("drop")
    }

    /// The binary with this server's configuration.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = mailmill();
        command.arg("--config").arg(self.path("mailmill.toml")).args(words);
        command
    }

    pub fn ask(&self, words: &[&str]) -> Answer {
        answer(self.command(words))
    }

    #[track_caller]
    pub fn good(&self, words: &[&str]) -> Answer {
        self.ask(words).ends(0)
    }

    /// The answer of a good `--json` command.
    #[track_caller]
    pub fn objects(&self, words: &[&str]) -> Vec<Value> {
        self.good(words).objects()
    }

    #[track_caller]
    pub fn only(&self, words: &[&str]) -> Value {
        self.good(words).only()
    }

    /// Drops a mail as a well-behaved writer does: under a dot-name, then renamed.
    pub fn put(&self, name: impl AsRef<OsStr>, bytes: impl Into<Vec<u8>>) {
        put(&self.drop_folder(), name, bytes);
    }

    /// One batch, held to the contract.
    #[track_caller]
    pub fn run(&self) -> Sheet {
        self.batch(&["run", "--json"])
    }

    /// A command that ends in a balance sheet.
    #[track_caller]
    pub fn batch(&self, words: &[&str]) -> Sheet {
        Sheet::of(&self.ask(words))
    }

    #[track_caller]
    pub fn items(&self, list: &str) -> Vec<Value> {
        self.objects(&["items", list, "--json"])
    }

    /// The titles of a list's items, in the order of their numbers.
    #[track_caller]
    pub fn titles(&self, list: &str) -> Vec<String> {
        self.items(list).iter().map(|item| text(&item["title"])).collect()
    }

    #[track_caller]
    pub fn failed(&self) -> Vec<Value> {
        self.objects(&["failed", "ls", "--json"])
    }

    #[track_caller]
    pub fn cat(&self, list: &str, id: u64, part: &str) -> Vec<u8> {
        self.good(&["cat", list, &id.to_string(), part]).stdout
    }

    /// The one folder below `.mailmill`.
    #[track_caller]
    pub fn own_folder(&self) -> PathBuf {
        let mut folders = names_in(&self.drop_folder().join(".mailmill"));
        assert_eq!(folders.len(), 1, "{folders:?}");
        self.drop_folder().join(".mailmill").join(folders.remove(0))
    }

    /// Names in one of our own folders: `claimed`, `refused`, `damaged`, `done`.
    #[track_caller]
    pub fn own(&self, folder: &str) -> Vec<String> {
        names_in(&self.own_folder().join(folder))
    }

    /// Names that wait in the drop folder.
    pub fn waiting(&self) -> Vec<String> {
        names_in(&self.drop_folder()).into_iter().filter(|name| name != ".mailmill").collect()
    }

    /// Some file below the drop folder has exactly these bytes.
    pub fn still_has(&self, bytes: &[u8]) -> bool {
        files_below(&self.drop_folder()).iter().any(|path| fs::read(path).is_ok_and(|found| found == bytes))
    }

    #[track_caller]
    pub fn is_sound(&self) {
        let report = self.only(&["verify", "--json"]);
        assert_eq!(report["sound"], true, "{report}");
    }

    /// Nothing waits, nothing is claimed, the store is sound.
    #[track_caller]
    pub fn is_settled(&self) {
        assert_eq!(self.waiting(), [""; 0]);
        assert_eq!(self.own("claimed"), [""; 0]);
        self.is_sound();
    }

    /// The control socket in the store folder.
    pub fn socket(&self) -> Option<PathBuf> {
        let entries = fs::read_dir(self.path("store")).ok()?.flatten();
        let mut sockets = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()));
        sockets.next().map(|entry| entry.path())
    }

    /// Starts a command that stays; returns once somebody listens. To ask `status` until it runs would not do: who asks
    /// while nobody owns the store owns it for that moment, and the command would find it taken.
    #[track_caller]
    pub fn start(&self, words: &[&str]) -> Running {
        let mut running = Running::spawn(self.command(words));
        until("it listens", PATIENCE, || {
            assert!(!running.has_ended(), "{words:?} has ended");
            self.socket().is_some_and(|socket| UnixStream::connect(socket).is_ok()) && running.minds_term()
        });
        running
    }
}

/// A balance sheet that was held to the contract.
pub struct Sheet {
    pub value: Value,
    pub code: i32,
    pub stderr: String,
}

impl Sheet {
    #[track_caller]
    pub fn of(answer: &Answer) -> Self {
        let sheet = Self { value: answer.only(), code: answer.code, stderr: answer.stderr.clone() };
        sheet.check();
        let failures = ["refused", "damaged", "deferred"].iter().map(|end| sheet.n(end)).sum::<u64>();
        assert_eq!(sheet.code, if failures > 0 { 3 } else { 0 }, "{}\n{}", sheet.value, sheet.stderr);
        sheet
    }

    /// What holds of every sheet, wherever it is printed.
    #[track_caller]
    pub fn check(&self) {
        check_sheet(&self.value);
    }

    #[track_caller]
    pub fn n(&self, key: &str) -> u64 {
        number(&self.value[key])
    }

    /// `3 found: 2 delivered, 1 refused`: the whole count in one line, zeros left out.
    #[track_caller]
    pub fn ends(&self) -> String {
        let ends = ENDS.iter().filter(|end| self.n(end) > 0).map(|end| format!("{} {end}", self.n(end)));
        format!("{} found: {}", self.n("found"), ends.collect::<Vec<_>>().join(", "))
    }

    pub fn problems(&self) -> &[Value] {
        self.value["problems"].as_array().unwrap()
    }

    /// The reasons of all problems, sorted.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<_> = self.problems().iter().map(|problem| text(&problem["reason"])).collect();
        reasons.sort();
        reasons
    }

    /// The row of this recipient, or of this file.
    #[track_caller]
    pub fn problem(&self, of: &str) -> &Value {
        let mut rows = self.problems().iter().filter(|row| row["recipient"] == of || row["file"] == of);
        rows.next().unwrap_or_else(|| panic!("no problem of {of}: {}", self.value))
    }
}

#[track_caller]
pub fn check_sheet(sheet: &Value) {
    for key in ["batch", "found", "items", "attachments", "bytes"].iter().chain(&ENDS) {
        assert!(sheet[key].is_u64(), "{key}: {sheet}");
    }
    for key in ["elapsed_s", "messages_per_s", "mb_per_s"] {
        assert!(sheet[key].is_number(), "{key}: {sheet}");
    }
    assert!(sheet["server"].is_string() && sheet["dry_run"].is_boolean(), "{sheet}");
    assert!(is_rfc3339(&sheet["started"]), "{sheet}");
    let ends: u64 = ENDS.iter().map(|end| number(&sheet[end])).sum();
    assert_eq!(number(&sheet["found"]), ends, "the sheet does not add up: {sheet}");
    assert_eq!(sheet["balanced"], true, "{sheet}");
    let problems = sheet["problems"].as_array().expect("problems");
    for problem in problems {
        check_problem(problem);
    }
    let failed = number(&sheet["refused"]) + number(&sheet["damaged"]);
    assert!(failed == 0 || !problems.is_empty(), "failures without a row: {sheet}");
}

#[track_caller]
pub fn check_problem(problem: &Value) {
    has_keys(problem, &["id", "file", "mail_id", "message_id", "sender", "recipient", "outcome", "reason", "text"]);
    assert!(REASONS.contains(&problem["reason"].as_str().unwrap_or_default()), "{problem}");
    assert!(["refused", "damaged", "deferred"].contains(&problem["outcome"].as_str().unwrap_or_default()), "{problem}");
    assert!(!text(&problem["text"]).is_empty(), "{problem}");
}

#[track_caller]
pub fn has_keys(value: &Value, keys: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    let missing: Vec<_> = keys.iter().filter(|key| !object.contains_key(**key)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {value}");
}

pub fn is_rfc3339(value: &Value) -> bool {
    let shape: String =
        text(value).chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).filter(|c| !c.is_whitespace()).collect();
    shape == "0000-00-00T00:00:00Z"
}

#[track_caller]
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no count: {value}"))
}

/// A string of the JSON; `null` is empty.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A command that stays, killed when the test is over.
pub struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Running {
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (told, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Self { child, lines }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    #[track_caller]
    pub fn line(&self) -> Value {
        object(&self.lines.recv_timeout(PATIENCE).expect("another line"))
    }

    /// It has a handler for TERM (proc(5), `SigCgt`): before that the signal would kill it.
    fn minds_term(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
        caught >> (Signal::TERM.as_raw() - 1) & 1 == 1
    }

    pub fn term(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, and gives its exit code.
    #[track_caller]
    pub fn wait(mut self) -> i32 {
        let child = &mut self.child;
        let mut status = None;
        until("the process ends", PATIENCE, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap_or_else(|| panic!("killed: {status:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until it is so, at most for `patience`; says how long it took.
#[track_caller]
pub fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < patience, "after {patience:?} still not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

/// Within so long mail is an item. The shortest of several rounds tells: a busy machine makes some of them longer, and none shorter.
#[track_caller]
pub fn within_two_seconds(rounds: &[Duration]) {
    let shortest = rounds.iter().min().unwrap();
    assert!(*shortest < Duration::from_secs(2), "{rounds:?}");
}

/// A mail with its envelope.
#[derive(Clone)]
pub struct Letter {
    sender: String,
    to: Vec<String>,
    headers: Vec<(String, String)>,
    body: String,
    html: Option<String>,
    attachments: Vec<(String, Vec<u8>)>,
}

/// A letter to these addresses (`news` is `news@lists.example`), from Ann.
pub fn letter(subject: &str, to: &[&str]) -> Letter {
    let whole =
        |to: &&str| if to.contains('@') || to.is_empty() { (*to).to_owned() } else { format!("{to}@lists.example") };
    let id: String = subject.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let headers = [
        ("From", "Ann Arbor <ann@example.org>"),
        ("To", "Somebody <else@example.net>"),
        ("Subject", subject),
        ("Date", "Tue, 3 Mar 2026 10:20:30 +0100"),
        ("Message-ID", &format!("<{id}@example.org>")),
    ];
    Letter {
        sender: "ann@example.org".to_owned(),
        to: to.iter().map(whole).collect(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: format!("This is {subject}.\r\n"),
        html: None,
        attachments: Vec::new(),
    }
}

impl Letter {
    pub fn from(mut self, sender: &str) -> Self {
        sender.clone_into(&mut self.sender);
        self.header("From", sender)
    }

    pub fn envelope_sender(mut self, sender: &str) -> Self {
        sender.clone_into(&mut self.sender);
        self
    }

    /// Sets a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    pub fn html(mut self, html: &str) -> Self {
        self.html = Some(html.to_owned());
        self
    }

    pub fn attach(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.attachments.push((name.to_owned(), bytes.as_ref().to_owned()));
        self
    }

    /// The mail as it was sent, without an envelope.
    pub fn mail(&self) -> Vec<u8> {
        let mut mail = String::new();
        for (name, value) in &self.headers {
            write!(mail, "{name}: {value}\r\n").unwrap();
        }
        if self.html.is_none() && self.attachments.is_empty() {
            write!(mail, "Content-Type: text/plain; charset=utf-8\r\n\r\n{}", self.body).unwrap();
            return mail.into_bytes();
        }
        mail.push_str("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=b\"\r\n\r\n");
        write!(mail, "--=b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}\r\n", self.body).unwrap();
        if let Some(html) = &self.html {
            write!(mail, "--=b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n").unwrap();
        }
        for (name, bytes) in &self.attachments {
            let encoded = base64(bytes);
            write!(
                mail,
                "--=b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
                 Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{encoded}"
            )
            .unwrap();
        }
        mail.push_str("--=b--\r\n");
        mail.into_bytes()
    }

    /// With the envelope of the IIS SMTP service: plain lines.
    pub fn iis(&self) -> Vec<u8> {
        let mut file = format!("x-sender: {}\r\n", self.sender);
        for to in &self.to {
            write!(file, "x-receiver: {to}\r\n").unwrap();
        }
        [file.into_bytes(), self.mail()].concat()
    }

    /// With the envelope of an Exchange foreign connector: any order and case, folded, with parameters and company.
    pub fn exchange(&self) -> Vec<u8> {
        let mut file = String::new();
        for to in &self.to {
            write!(file, "X-RECEIVER: <{to}> NOTIFY=NEVER\r\n\tORcpt=rfc822;{to}\r\n").unwrap();
        }
        write!(file, "X-Sender:\r\n <{}> BODY=7bit RET=HDRS ENVID=1-2\r\n", self.sender).unwrap();
        file.push_str("X-CreatedBy: MSExchange15\r\nX-HeloDomain: mail.example.org\r\n");
        file.push_str("X-ExtendedProps: AAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n BBBBBBBBBBBBBBBBBBBBBBBB\r\n");
        file.push_str("X-EndOfInjectedXHeaders: 4711\r\n");
        [file.into_bytes(), self.mail()].concat()
    }
}

impl From<&Letter> for Vec<u8> {
    fn from(letter: &Letter) -> Self {
        letter.iis()
    }
}

impl From<Letter> for Vec<u8> {
    fn from(letter: Letter) -> Self {
        letter.iis()
    }
}

/// RFC 2045 section 6.8, in lines of 76 characters.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for line in bytes.chunks(57) {
        for three in line.chunks(3) {
            let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for at in 0..4 {
                let index = (bits >> (18 - 6 * at) & 63) as usize;
                text.push(if at <= three.len() { char::from(ALPHABET[index]) } else { '=' });
            }
        }
        text.push_str("\r\n");
    }
    text
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; length];
    reader.fill(&mut bytes);
    bytes
}

pub fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(bytes))
}

/// DESIGN section 2: the id of a mail is the BLAKE3 of its file.
pub fn mail_id(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

pub fn put(folder: &Path, name: impl AsRef<OsStr>, bytes: impl Into<Vec<u8>>) {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let aside = folder.join(format!(".writing-{}", WRITTEN.fetch_add(1, Ordering::Relaxed)));
    fs::write(&aside, bytes.into()).unwrap();
    fs::rename(aside, folder.join(name.as_ref())).unwrap();
}

/// The names in a folder, sorted; none when there is no folder.
pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// All regular files below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files.sort();
    files
}

/// Everything below a folder: what it is, and the hash of what is in it.
pub fn listing(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let what = if kind.is_dir() {
            all.extend(listing(&path));
            "folder".to_owned()
        } else if kind.is_symlink() {
            format!("link to {}", fs::read_link(&path).unwrap().display())
        } else if kind.is_fifo() {
            "pipe".to_owned()
        } else {
            let seen = entry.metadata().unwrap();
            format!("{} {} {}", seen.ino(), seen.mtime_nsec(), mail_id(&fs::read(&path).unwrap()))
        };
        all.insert(path, what);
    }
    all
}

/// Says on the real standard error, past the test harness, that a test did not run.
pub fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {name}: {why}");
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A small command of the system; what it says when it fails.
pub fn system(program: &str, words: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

/// Something to undo when the test is over, however it is over.
pub struct Undo(Vec<String>);

impl Undo {
    pub fn by(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some((program, words)) = self.0.split_first() {
            let _ = Command::new(program).args(words).stderr(Stdio::null()).status();
        }
    }
}

/// The mail ids of all items of a list; no id twice.
#[track_caller]
pub fn ids_once(items: &[Value]) -> BTreeSet<String> {
    let ids: BTreeSet<_> = items.iter().map(|item| text(&item["mail_id"])).collect();
    assert_eq!(ids.len(), items.len(), "a mail is there twice");
    ids
}

/// An item without what differs between two deliveries of one mail.
pub fn essence(item: &Value) -> Value {
    let mut item = item.clone();
    for key in ["id", "list", "kind", "source", "mail_id", "received"] {
        item[key] = json!(null);
    }
    item
}
