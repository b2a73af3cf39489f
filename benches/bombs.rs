//! Mail that means harm, at 1, 2, 4 and 8 MB: 5 MB cost at most a second and 256 MiB, and both grow with the size and not with its square.
//!
//! Each mail goes the whole way into the memory store in a process of its own, so that its peak memory is its own and a crash costs
//! one row. No figure of criterion's: a single run shows a square, and some of these ran for minutes once.
//! `cargo bench --bench bombs -- WORD` runs the families whose names contain WORD. Prints a table in
//! Markdown; exits 1 when a mail crashes, costs too much or grows with the square.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer
#![allow(clippy::cast_precision_loss)] // figures of a table
#![allow(missing_docs)]

use std::fmt::Write as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use mailmill::config::{Config, Limits};
use mailmill::directory::Directory;
use mailmill::engine::Mill;
use mailmill::generate::packed;
use mailmill::import_source::mbox::Mbox;
use mailmill::model::list::{Kind, List, ListId};
use mailmill::model::settings::{Folders, ListSettings, Senders};
use mailmill::pipeline::commit::GroupBuilder;
use mailmill::store::{Counter, ListStore, MemoryStore, Write};
use rustix::time::{ClockId, clock_gettime};

const MEGABYTES: [usize; 4] = [1, 2, 4, 8];

/// A run that takes longer is killed: its growth is known by then.
const TIMEOUT: Duration = Duration::from_mins(1);

/// From the first size to the last, eight times as large: 8 is linear, 64 a square. Below a tenth of a second it is noise.
const TOO_MUCH: f64 = 24.0;
const NOISE: f64 = 0.1;

/// What 5 MB of mail may cost on one core.
const MOST_SECONDS: f64 = 1.0;
const MOST_MEBIBYTES: f64 = 256.0;

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
    ("decompression", smime),
    ("compressed RTF", |size| tnef(&packed_rtf(size))),
    ("RTF of groups", |size| tnef(&stored_rtf(&"{\\rtf1".repeat(size / 9)))),
    ("RTF of HTML tags", |size| tnef(&stored_rtf(&format!("{{\\rtf1\\fromhtml1{}", "{\\*\\htmltag64 <p>}".repeat(size / 27))))),
    ("TNEF attachments", |size| encoded("application/ms-tnef", &tnef_files(size))),
    ("yEnc blocks", |size| body(size, "", |out, n| write!(out, "=ybegin line=128 size=1 name={n}\r\na\r\n=yend size=1\r\n").unwrap())),
    ("yEnc starts", |size| body(size, "", |out, n| write!(out, "=ybegin line=128 size=9999999 name={n}\r\n").unwrap())),
    ("uuencoded files", |size| body(size, "", |out, n| write!(out, "begin 644 {n}\r\n#0V%T\r\n`\r\nend\r\n").unwrap())),
    ("mails in mails, unpacked", |size| { let mut out = format!("{ENVELOPE}{HEADER}"); for n in 0..40 { write!(out, "Content-Type: multipart/mixed; boundary=n{n}\r\n\r\n--n{n}\r\nContent-Type: message/rfc822\r\n\r\n").unwrap(); } flood(size, &out, |out, _| out.push_str("x\r\n"), "") }),
    ("forged receivers behind a field", |size| header(size, |out, n| write!(out, "x-receiver: list-{n}@l.example\r\n").unwrap())),
    ("forged receivers in the body", |size| body(size, "", |out, n| write!(out, "x-receiver: list-{n}@l.example\r\n").unwrap())),
    ("forged results", |size| header(size, |out, _| out.push_str("Authentication-Results: mx.example; dkim=pass header.d=a.example\r\n"))),
    ("endless results", |size| field(size, "Authentication-Results: mx.example", |out, _| out.push_str("; dkim=pass header.d=a.example"))),
    ("open comments in results", |size| field(size, "Authentication-Results: mx.example", |out, _| out.push_str("; (spf=pass \\(")),),
    ("names of paths and escapes", |size| multipart(size, |out, n| attachment(out, &format!("../../{n}\u{1b}[31m/C:\\con.txt \u{202e}"), "x"))),
    ("HTML, open divisions", |size| body(size, "Content-Type: text/html\r\n", |out, _| out.push_str("<div>"))),
    ("HTML, open formatting", |size| body(size, "Content-Type: text/html\r\n", |out, n| write!(out, "<p><b id={n}>").unwrap())),
    ("HTML, misplaced formatting", |size| body(size, "Content-Type: text/html\r\n", |out, n| write!(out, "<table><b id={n}><object></b>").unwrap())),
    ("HTML, entities", |size| body(size, "Content-Type: text/html\r\n", |out, _| out.push_str("&amp;&"))),
    ("HTML, attributes", |size| body(size, "Content-Type: text/html\r\n\r\n<a ", |out, n| write!(out, "a{n}=x ").unwrap())),
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
    println!("| mail | 1 MB: s, MiB | 2 MB | 4 MB | 8 MB | growth 1 to 8 MB | |\n|---|---|---|---|---|---|---|");
    let mut bad = Vec::new();
    for (name, _) in FAMILIES.iter().filter(|(name, _)| words.iter().all(|word| name.contains(word.as_str()))) {
        let runs: Vec<Option<Run>> = MEGABYTES.iter().map(|size| run_apart(name, *size)).collect();
        let faults = faults(&runs);
        let cell = |run: &Option<Run>| {
            run.as_ref().map_or("died".to_owned(), |run| format!("{:.3}, {:.0}", run.seconds, run.mebibytes))
        };
        let cells: Vec<String> = runs.iter().map(cell).collect();
        println!("| {name} | {} | {} | {} |", cells.join(" | "), growth(&runs), faults.join(", "));
        if !faults.is_empty() {
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
    mebibytes: f64,
}

/// What a mail of so many megabytes may cost: that of 5 MB up to them, and in proportion above.
fn allowed(most: f64, megabytes: usize) -> f64 {
    most * (megabytes as f64 / 5.0).max(1.0)
}

fn faults(runs: &[Option<Run>]) -> Vec<String> {
    let mut faults = Vec::new();
    for (run, megabytes) in runs.iter().zip(MEGABYTES) {
        match run {
            None => faults.push(format!("died at {megabytes} MB")),
            Some(run) if run.seconds > allowed(MOST_SECONDS, megabytes) => {
                faults.push(format!("too slow at {megabytes} MB"));
            }
            Some(run) if run.mebibytes > allowed(MOST_MEBIBYTES, megabytes) => {
                faults.push(format!("too large at {megabytes} MB"));
            }
            Some(_) => {}
        }
    }
    if let [Some(first), .., Some(last)] = runs
        && last.seconds >= NOISE
        && last.seconds / first.seconds > TOO_MUCH
    {
        faults.push("a square".to_owned());
    }
    faults
}

fn growth(runs: &[Option<Run>]) -> String {
    match runs {
        [Some(first), .., Some(last)] if last.seconds >= NOISE => format!("{:.1}", last.seconds / first.seconds),
        _ => "-".to_owned(),
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
    output.status.success().then(|| Run { seconds: numbers.next().unwrap(), mebibytes: numbers.next().unwrap() })
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
    let mill = mill();
    let before = peak();
    let start = worked();
    if name.starts_with("mbox") {
        split(&file);
    } else {
        whole_way(&file, &mill);
    }
    let seconds = worked().saturating_sub(start).as_secs_f64();
    println!("{seconds} {}", (peak() - before) / 1024.0);
}

/// Time of processors that this process took: what else runs on the machine does not count.
fn worked() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap()
}

/// `VmHWM` in kB: the most memory that this process ever had.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Many lists of like addresses, so that people who mistyped one are told which they meant. The first seven are one of each kind.
fn lists() -> impl Iterator<Item = List> {
    let list = |id: u32| {
        let settings = ListSettings {
            address: if id == 0 { "list".to_owned() } else { format!("list-{id}") },
            senders: Senders::Any,
            folders: Folders::Subject,
            save_original: true,
            mail_as_event: true,
            ..ListSettings::default()
        };
        let kind = Kind::ALL.get(id as usize % Kind::ALL.len()).copied().unwrap();
        List { id: ListId(id + 1), name: format!("L{id}"), kind, settings }
    };
    (0..1000).map(list)
}

/// A server with these lists, under the default limits, on one core.
fn mill() -> (Mill, Arc<MemoryStore>, Directory) {
    let store = Arc::new(MemoryStore::default());
    let writes = lists().map(|list| Write::List(Box::new(list))).chain([Write::Counter(Counter::List, 1001)]);
    store.commit(writes.collect::<Vec<_>>().into()).unwrap();
    let mut config = Config { limits: Limits { workers: 1, ..Limits::default() }, ..Config::default() };
    config.incoming.trusted_authserv = vec!["mx.example".to_owned()];
    let mill = Mill::new(config, Arc::<MemoryStore>::clone(&store)).unwrap();
    (mill, store, Directory::new(lists().collect(), &[]))
}

/// As a worker goes: envelope, parser, limits, containers, route, plan. Then the commit, and what a reader is shown.
fn whole_way(file: &[u8], (mill, store, directory): &(Mill, Arc<MemoryStore>, Directory)) {
    let plan = *mill.plan(file, "x.eml").expect("memory does not fail");
    let html: Vec<String> =
        plan.deliveries.iter().filter_map(|delivery| delivery.item.as_ref()?.body_html.clone()).take(1).collect();
    let mut builder = GroupBuilder::new(&**store, 0);
    builder.add(plan, directory).unwrap();
    store.commit(builder.finish().group).unwrap();
    for html in html {
        std::hint::black_box((mailmill::html::page("t", &html), mailmill::html::text(&html)));
    }
}

fn split(file: &[u8]) {
    let mut mbox = Mbox::new(file);
    while !mbox.is_at_end() {
        mbox.next_mail(u64::MAX).unwrap();
    }
}

/// To a list of each kind.
const ENVELOPE: &str = "x-sender: ann@a.example\r\nx-receiver: list@l.example\r\nx-receiver: list-1@l.example\r\nx-receiver: list-2@l.example\r\n\
    x-receiver: list-3@l.example\r\nx-receiver: list-4@l.example\r\nx-receiver: list-5@l.example\r\nx-receiver: list-6@l.example\r\n";
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

/// Base64 makes four bytes of three, and lines.
fn encoded(kind: &str, bytes: &[u8]) -> Vec<u8> {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut out = format!("{ENVELOPE}{HEADER}Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    for line in text.as_bytes().chunks(76) {
        out.push_str(std::str::from_utf8(line).unwrap());
        out.push_str("\r\n");
    }
    out.into_bytes()
}

fn smime(size: usize) -> Vec<u8> {
    let packed = packed(size * 115);
    format!(
        "{ENVELOPE}{HEADER}Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n{packed}"
    )
    .into_bytes()
}

/// An attribute of a TNEF stream (MS-OXTNEF section 2.1.3).
fn attribute(out: &mut Vec<u8>, level: u8, id: u32, data: &[u8]) {
    let sum = data.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
    out.push(level);
    out.extend(id.to_le_bytes());
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend(data);
    out.extend(sum.to_le_bytes());
}

const TNEF: &[u8] = b"\x78\x9f\x3e\x22\x01\x00";

/// A TNEF mail whose body is this compressed RTF.
fn tnef(rtf: &[u8]) -> Vec<u8> {
    let mut list = [1_u32.to_le_bytes(), 0x1009_0102_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
    list.extend(u32::try_from(rtf.len()).unwrap().to_le_bytes());
    list.extend(rtf);
    list.resize(list.len().next_multiple_of(4), 0);
    let mut out = TNEF.to_vec();
    attribute(&mut out, 1, 0x0006_9003, &list);
    encoded("application/ms-tnef", &out)
}

fn tnef_files(size: usize) -> Vec<u8> {
    let mut out = TNEF.to_vec();
    while out.len() < size * 3 / 4 {
        attribute(&mut out, 2, 0x0006_9002, &[0; 14]);
        attribute(&mut out, 2, 0x0001_8010, b"a.txt\0");
        attribute(&mut out, 2, 0x0006_800f, b"x");
    }
    out
}

/// A header of MS-OXRTFCP section 2.1.3.1.1 and what follows it.
fn rtf(kind: [u8; 4], raw: usize, content: &[u8]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    [&word(content.len() + 12)[..], &word(raw), &kind, &[0; 4], content].concat()
}

fn stored_rtf(text: &str) -> Vec<u8> {
    rtf(*b"MELA", text.len(), text.as_bytes())
}

/// Eight references of 17 bytes each in 17 bytes.
fn packed_rtf(size: usize) -> Vec<u8> {
    let run = [&[0xff][..], &[0x00, 0x0f].repeat(8)].concat();
    rtf(*b"LZFu", size * 6, &run.repeat(size / 24))
}
