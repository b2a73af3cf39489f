//! Mail that means harm, at 1, 2, 4 and 8 MB: seconds and memory must grow with the size and not with its square.
//!
//! Each mail goes the whole way into the memory store in a process of its own, so that its peak memory is its own and a crash costs
//! one row. No figure of criterion's: a single run shows a square, and some of these ran for minutes once.
//! `cargo bench --bench bombs -- WORD` runs the families whose names contain WORD. Exits 1 when one crashes or grows with the square.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer
#![allow(missing_docs)]

mod support;

use std::fmt::Write as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use mailmill::directory::Directory;
use mailmill::import_source::mbox::Mbox;
use mailmill::model::list::{Kind, List, ListId};
use mailmill::model::mail::{ClaimId, MailId};
use mailmill::model::settings::{Folders, ListSettings, Senders};
use mailmill::pipeline::commit::GroupBuilder;
use mailmill::pipeline::plan::{Facts, plan};
use mailmill::pipeline::{envelope, route};
use mailmill::store::{ListStore, MemoryStore};

const MEGABYTES: [usize; 4] = [1, 2, 4, 8];

/// A run that takes longer is killed: its growth is known by then.
const TIMEOUT: Duration = Duration::from_mins(1);

/// From the first size to the last, eight times as large: 8 is linear, 64 a square. Below a tenth of a second it is noise.
const TOO_MUCH: f64 = 24.0;
const NOISE: f64 = 0.1;

/// A family: its name and how a file of so many bytes is made.
type Family = (&'static str, fn(usize) -> Vec<u8>);

#[rustfmt::skip]
const FAMILIES: &[Family] = &[
    ("deep multiparts", deep_multiparts),
    ("deep multiparts, one boundary", deep_multiparts_of_one_boundary),
    ("nested mails", nested_mails),
    ("encoded nested mails", encoded_nested_mails),
    ("part flood", |size| multipart(size, |out, _| out.push_str("--b\r\n\r\nx\r\n"))),
    ("attachment flood", |size| multipart(size, |out, n| attachment(out, &format!("{n}.bin"), "x"))),
    ("attachments of one name", |size| multipart(size, |out, _| attachment(out, "same name.bin", "x"))),
    ("attachments of one long name", |size| multipart(size, |out, _| attachment(out, &"n".repeat(250), "x"))),
    ("lines that are almost delimiters", |size| multipart(size, |out, _| out.push_str("--bb\r\n--\r\n-b\r\n--B\r\n"))),
    ("delimiters with white space", |size| multipart(size, |out, _| { out.push_str("--b"); out.push_str(&" ".repeat(500)); out.push_str("x\r\n"); })),
    ("dashes", |size| multipart(size, |out, _| out.push_str("-----------------"))),
    ("header flood", |size| header(size, |out, n| write!(out, "X-Flood-{n}: drop\r\n").unwrap())),
    ("one field many times", |size| header(size, |out, _| out.push_str("Content-Type: text/plain\r\nTo: a@b.example\r\n"))),
    ("endless folding", |size| field(size, "X-Folded: start", |out, _| out.push_str("\r\n and on"))),
    ("folded Subject", |size| field(size, "Subject: start", |out, _| out.push_str("\r\n and on"))),
    ("encoded words", |size| field(size, "Subject:", |out, _| out.push_str(" =?utf-8?Q?=C3=BC?= =?utf-8?B?w7w=?="))),
    ("broken encoded words", |size| field(size, "Subject:", |out, _| out.push_str(" =?utf-8?Q?=C3 =?x?Q?a?= =?utf-8?B"))),
    ("encoded words without end", |size| field(size, "Subject: ", |out, _| out.push_str("=?utf-8?Q?"))),
    ("combining marks in the Subject", |size| field(size, "Subject: ", |out, n| out.push_str(if n % 2 == 0 { "\u{301}" } else { "\u{323}" }))),
    ("parameter flood", |size| field(size, "Content-Type: application/x", |out, n| write!(out, ";\r\n p{n}=v").unwrap())),
    ("continuation flood", |size| field(size, "Content-Disposition: attachment", |out, n| write!(out, ";\r\n filename*{n}*=a%2F").unwrap())),
    ("continuations backwards", |size| field(size, "Content-Disposition: attachment", |out, n| write!(out, ";\r\n filename*{}=x", 9_999_999 - n).unwrap())),
    ("long file name", |size| field(size, "Content-Disposition: attachment; filename=\"", |out, _| out.push_str("../ \u{202e}e\u{301}"))),
    ("address flood", |size| field(size, "To: a@b.example", |out, n| write!(out, ",\r\n \"u {n}\" <u{n}@b.example>").unwrap())),
    ("group flood", |size| field(size, "To: a@b.example", |out, n| write!(out, ",\r\n g{n}: a@b.example;").unwrap())),
    ("deep comments", |size| field(size, "Cc: ", |out, _| out.push('('))),
    ("quotes and comments", |size| field(size, "From: ", |out, _| out.push_str("\"(\\"))),
    ("angle brackets", |size| field(size, "From: ", |out, _| out.push('<'))),
    ("reference flood", |size| field(size, "References:", |out, n| write!(out, "\r\n <{n}@b.example>").unwrap())),
    ("references never closed", |size| field(size, "References: ", |out, _| out.push_str("<a "))),
    ("long date", |size| field(size, "Date: Mon, ", |out, _| out.push_str("4 Jan (x) "))),
    ("recipient flood", recipients),
    ("one recipient many times", |size| one_recipient(size)),
    ("a recipient without end", |size| long_recipient(size)),
    ("folded envelope", |size| [b"x-receiver: <list@l.example>".to_vec(), b"\r\n x".repeat(size / 4), b"\r\nSubject: x\r\n\r\n".to_vec()].concat()),
    ("a line without end", |size| body(size, "", |out, _| out.push_str("text without end "))),
    ("empty lines", |size| body(size, "", |out, _| out.push_str("\r\n"))),
    ("NULs", |size| body(size, "", |out, _| out.push('\0'))),
    ("bare CR", |size| body(size, "", |out, _| out.push_str("\r\r\r\r"))),
    ("thin base64", |size| body(size, "Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n", |out, _| out.push_str(" A\r\n"))),
    ("base64 of padding", |size| body(size, "Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n", |out, _| out.push_str("AA==\r\n"))),
    ("soft line breaks", |size| body(size, "Content-Transfer-Encoding: quoted-printable\r\n", |out, _| out.push_str("=\r\n"))),
    ("spaces before soft line breaks", |size| body(size, "Content-Transfer-Encoding: quoted-printable\r\n", |out, _| out.push(' '))),
    ("utf-7", |size| body(size, "Content-Type: text/plain; charset=utf-7\r\n", |out, _| out.push_str("+AGE+AGI +"))),
    ("iso-2022-jp", |size| body(size, "Content-Type: text/plain; charset=iso-2022-jp\r\n", |out, _| out.push_str("\u{1b}$B2q\u{1b}(B"))),
    ("utf-16", |size| body(size, "Content-Type: text/plain; charset=utf-16\r\n", |out, _| out.push_str("\u{feff}x"))),
    ("HTML tags never closed", |size| body(size, "Content-Type: text/html\r\n", |out, _| out.push_str("<div <!--"))),
    ("uuencoded starts", |size| body(size, "", |out, n| write!(out, "begin 644 {n}\r\nM\r\n").unwrap())),
    ("events", |size| calendar(size, |out, n| write!(out, "BEGIN:VEVENT\r\nUID:{n}\r\nEND:VEVENT\r\n").unwrap())),
    ("instances of one event", |size| calendar(size, |out, n| write!(out, "BEGIN:VEVENT\r\nUID:u\r\nRECURRENCE-ID:{:08}T000000Z\r\nEND:VEVENT\r\n", 20_000_101 + n % 9_999_999).unwrap())),
    ("one event many times", |size| calendar(size, |out, _| out.push_str("BEGIN:VEVENT\r\nUID:u\r\nEND:VEVENT\r\n"))),
    ("calendars", |size| multipart(size, |out, n| write!(out, "--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:{n}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n").unwrap())),
    ("large calendars", large_calendars),
    ("attendees", |size| event(size, |out, n| write!(out, "ATTENDEE;CN=\"a\":mailto:a{n}@x\r\n").unwrap())),
    ("dates", |size| event(size, |out, n| write!(out, "RDATE:2026{:02}{:02}T0{}0000Z\r\n", n % 12 + 1, n / 12 % 28 + 1, n % 10).unwrap())),
    ("rules", |size| event(size, |out, _| out.push_str("RRULE:FREQ=DAILY;COUNT=9999999\r\n"))),
    ("components", |size| calendar(size, |out, _| out.push_str("BEGIN:X\r\n"))),
    ("folded calendar", |size| calendar(size, |out, _| out.push_str("\r\n x"))),
    ("zones", |size| calendar(size, |out, n| write!(out, "BEGIN:VTIMEZONE\r\nTZID:z{n}\r\nBEGIN:STANDARD\r\nDTSTART:16010101T000000\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n").unwrap())),
    ("thread index", |size| field(size, "Thread-Index: ", |out, _| out.push_str("AQHaAQIDBAUG"))),
    ("reply prefixes", |size| field(size, "Subject: ", |out, _| out.push_str("Re: "))),
    ("mbox of From lines", |size| "From a@b 10:00 2001\n\n".repeat(size / 21).into_bytes()),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [one, family, size] = words.as_slice()
        && one == "one"
    {
        run_here(family, size.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    println!("{:<34} {:>31}   {:>31}   growth 1 to 8 MB", "", "seconds at 1, 2, 4, 8 MB", "peak MB at 1, 2, 4, 8 MB");
    let mut bad = Vec::new();
    for (name, _) in FAMILIES.iter().filter(|(name, _)| words.iter().all(|word| name.contains(word.as_str()))) {
        let runs: Vec<Option<Run>> = MEGABYTES.iter().map(|size| run_apart(name, *size)).collect();
        let verdict = verdict(&runs);
        let cells = |cell: fn(&Run) -> f64, digits| {
            let cells =
                runs.iter().map(|run| run.as_ref().map_or("-".to_owned(), |run| format!("{:.digits$}", cell(run))));
            cells.map(|cell| format!("{cell:>7}")).collect::<Vec<_>>().join(" ")
        };
        println!("{name:<34} {}   {}   {}", cells(|run| run.seconds, 3), cells(|run| run.megabytes, 1), verdict.text());
        if verdict.is_bad() {
            bad.push(*name);
        }
    }
    if bad.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("\nbad: {}", bad.join(", "));
        ExitCode::FAILURE
    }
}

/// What one run cost.
struct Run {
    seconds: f64,
    megabytes: f64,
}

enum Verdict {
    Grew(f64),
    Noise,
    /// Crashed or was killed.
    Died,
}

impl Verdict {
    fn is_bad(&self) -> bool {
        matches!(self, Self::Died) || matches!(self, Self::Grew(times) if *times > TOO_MUCH)
    }

    fn text(&self) -> String {
        match self {
            Self::Grew(times) if *times > TOO_MUCH => format!("{times:.1} times: A SQUARE"),
            Self::Grew(times) => format!("{times:.1} times"),
            Self::Noise => "too fast to tell".to_owned(),
            Self::Died => "CRASHED OR TOO SLOW".to_owned(),
        }
    }
}

fn verdict(runs: &[Option<Run>]) -> Verdict {
    match (runs.first(), runs.last()) {
        (Some(Some(first)), Some(Some(last))) if last.seconds < NOISE || first.seconds <= 0.0 => Verdict::Noise,
        (Some(Some(first)), Some(Some(last))) => Verdict::Grew(last.seconds / first.seconds),
        _ => Verdict::Died,
    }
}

fn run_apart(family: &str, megabytes: usize) -> Option<Run> {
    let myself = std::env::current_exe().unwrap();
    let mut child = Command::new(myself)
        .args(["one", family, &megabytes.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    if !ends_in_time(&mut child) {
        child.kill().unwrap();
        child.wait().unwrap();
        return None;
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap());
    output.status.success().then(|| Run { seconds: numbers.next().unwrap(), megabytes: numbers.next().unwrap() })
}

fn ends_in_time(child: &mut Child) -> bool {
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn run_here(family: &str, megabytes: usize) {
    let (name, make) = FAMILIES.iter().find(|(name, _)| *name == family).unwrap();
    let file = make(megabytes * 1_000_000);
    let directory = directory();
    let before = peak();
    let start = Instant::now();
    if name.starts_with("mbox") {
        split(&file);
    } else {
        whole_way(&file, &directory);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{seconds} {}", (peak() - before) / 1000.0);
}

/// `VmHWM` in kB: the most memory that this process ever had.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Many lists of like addresses, so that people who mistyped one are told which they meant.
fn directory() -> Directory {
    let list = |id: u32| {
        let settings = ListSettings {
            address: if id == 0 { "list".to_owned() } else { format!("list-{id}") },
            aliases: vec![format!("l{id}")],
            senders: Senders::Any,
            folders: Folders::Subject,
            save_original: true,
            mail_as_event: true,
            ..ListSettings::default()
        };
        let kind = Kind::ALL.get(id as usize % Kind::ALL.len()).copied().unwrap();
        List { id: ListId(id), name: format!("L{id}"), kind, settings }
    };
    Directory::new((0..1000).map(list).collect(), &[])
}

/// Envelope, parser, route, plan and commit, into a list of each kind.
fn whole_way(file: &[u8], directory: &Directory) {
    let (found, original) = envelope::split(file);
    let envelope = found.unwrap_or_default();
    let Ok(mail) = support::parser().parse(original) else { return };
    let mut routed = route::route(&envelope, &mail, file.len() as u64, directory, &route::Groups::new());
    for list in (0..7).filter_map(|id| directory.list(ListId(id))) {
        if routed.accepted.iter().all(|accepted| accepted.list.id != list.id) {
            routed.accepted.extend(route::import(list, &envelope, &mail, &route::Groups::new()).accepted);
        }
    }
    let facts = Facts {
        claim: ClaimId { batch: 1, number: 1 },
        source: "x.eml".to_owned(),
        size: file.len() as u64,
        mail_id: MailId::of(file),
        sender: route::sender_of(&envelope, &mail).to_owned(),
        received: 0,
    };
    let plan = plan(facts, &mail, routed, support::DECODE);
    let store = MemoryStore::default();
    let mut builder = GroupBuilder::new(&store, 0);
    builder.add(plan, directory).unwrap();
    store.commit(builder.finish().0).unwrap();
}

fn split(file: &[u8]) {
    let mut mbox = Mbox::new(file);
    while !mbox.is_at_end() {
        mbox.next_mail(u64::MAX).unwrap();
    }
}

const ENVELOPE: &str = "x-sender: ann@a.example\r\nx-receiver: list@l.example\r\n";
const HEADER: &str = "From: ann@a.example\r\nMIME-Version: 1.0\r\n";

/// Pieces until the file is full.
fn flood(size: usize, start: &str, mut piece: impl FnMut(&mut String, usize), end: &str) -> Vec<u8> {
    let mut out = start.to_owned();
    let mut number = 0;
    while out.len() + end.len() < size {
        piece(&mut out, number);
        number += 1;
    }
    out.push_str(end);
    out.into_bytes()
}

fn header(size: usize, piece: impl FnMut(&mut String, usize)) -> Vec<u8> {
    flood(size, &format!("{ENVELOPE}{HEADER}"), piece, "\r\nx\r\n")
}

/// One field that is the whole mail.
fn field(size: usize, start: &str, piece: impl FnMut(&mut String, usize)) -> Vec<u8> {
    flood(size, &format!("{ENVELOPE}MIME-Version: 1.0\r\n{start}"), piece, "\r\n\r\nx\r\n")
}

fn body(size: usize, fields: &str, piece: impl FnMut(&mut String, usize)) -> Vec<u8> {
    flood(size, &format!("{ENVELOPE}{HEADER}{fields}\r\n"), piece, "\r\n")
}

fn multipart(size: usize, piece: impl FnMut(&mut String, usize)) -> Vec<u8> {
    let start = format!("{ENVELOPE}{HEADER}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n");
    flood(size, &start, piece, "--b--\r\n")
}

fn calendar(size: usize, piece: impl FnMut(&mut String, usize)) -> Vec<u8> {
    let start = format!(
        "{ENVELOPE}{HEADER}Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\n"
    );
    flood(size, &start, piece, "END:VCALENDAR\r\n")
}

fn event(size: usize, mut piece: impl FnMut(&mut String, usize)) -> Vec<u8> {
    let start = "BEGIN:VEVENT\r\nUID:u\r\nDTSTART:20260101T000000Z\r\n";
    calendar(size, |out, n| {
        if n == 0 {
            out.push_str(start);
        }
        piece(out, n);
    })
}

/// Each as large as is read.
fn large_calendars(size: usize) -> Vec<u8> {
    multipart(size, |out, part| {
        out.push_str("--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\n");
        for n in 0..4990 {
            write!(out, "BEGIN:VEVENT\r\nUID:{part}-{n}\r\nEND:VEVENT\r\n").unwrap();
        }
        out.push_str("END:VCALENDAR\r\n");
    })
}

fn attachment(out: &mut String, name: &str, bytes: &str) {
    write!(out, "--b\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\r\n{bytes}\r\n").unwrap();
}

fn deep_multiparts(size: usize) -> Vec<u8> {
    let start = format!("{ENVELOPE}{HEADER}");
    flood(
        size,
        &start,
        |out, n| write!(out, "Content-Type: multipart/mixed; boundary=n{n}\r\n\r\n--n{n}\r\n").unwrap(),
        "\r\n",
    )
}

fn deep_multiparts_of_one_boundary(size: usize) -> Vec<u8> {
    let start = format!("{ENVELOPE}{HEADER}");
    flood(size, &start, |out, _| out.push_str("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"), "\r\n")
}

fn nested_mails(size: usize) -> Vec<u8> {
    let start = format!("{ENVELOPE}{HEADER}");
    flood(size, &start, |out, n| write!(out, "Content-Type: message/rfc822\r\n\r\nSubject: {n}\r\n").unwrap(), "\r\n")
}

fn encoded_nested_mails(size: usize) -> Vec<u8> {
    let start = format!("{ENVELOPE}{HEADER}");
    let piece = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    flood(size, &start, |out, _| out.push_str(piece), "\r\n")
}

fn recipients(size: usize) -> Vec<u8> {
    flood(
        size,
        "x-sender: a@b\r\n",
        |out, n| write!(out, "x-receiver: lisd-{n}@l.example\r\n").unwrap(),
        "Subject: x\r\n\r\nx\r\n",
    )
}

fn one_recipient(size: usize) -> Vec<u8> {
    flood(size, "x-sender: a@b\r\n", |out, _| out.push_str("x-receiver: list@l.example\r\n"), "Subject: x\r\n\r\nx\r\n")
}

fn long_recipient(size: usize) -> Vec<u8> {
    flood(size, "x-receiver: list", |out, _| out.push_str("list"), "@l.example\r\nSubject: x\r\n\r\nx\r\n")
}
