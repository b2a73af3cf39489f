//! Makes mail: a reproducible drop folder for benchmarks, demonstrations and tests, friendly or hostile.
//!
//! A message is a pure function of profile, seed, number of lists and its index, so that any part of a folder can be
//! made again. Never looks at a clock, at the system's randomness or at mail that anybody wrote.
#![allow(clippy::indexing_slicing)] // every index is taken modulo the length of its table; this never reads mail
#![allow(clippy::disallowed_methods)] // it is the writer here: a mail is written under a dot-name and renamed in

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::{self, TimeZone};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// What kind of mail a folder is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Profile {
    /// Text and HTML without attachments, 4.5 kB on average
    Small,
    /// An office's mail: 40 % with attachments, 138 kB on average
    Mixed,
    /// Big attachments: 12 MB each
    Large,
    /// Mail that means harm, or that broken programs wrote
    Hostile,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such profile: {0:?} (small, mixed, large or hostile)")]
pub struct UnknownProfile(String);

impl Profile {
    const ALL: [Self; 4] = [Self::Small, Self::Mixed, Self::Large, Self::Hostile];

    const fn word(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Mixed => "mixed",
            Self::Large => "large",
            Self::Hostile => "hostile",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(word: &str) -> Result<Self, UnknownProfile> {
        Self::ALL.into_iter().find(|profile| profile.word() == word).ok_or_else(|| UnknownProfile(word.to_owned()))
    }
}

/// Writes messages `0..messages` into `folder`, which is created if it is missing. Files of the same name are replaced.
///
/// Each file is written under a dot-name and renamed: whoever reads the folder meanwhile never sees half a mail.
/// `progress` hears the size of each file once it is in place. Nothing is synced.
///
/// # Errors
/// The first failure to create the folder, or to write or rename a file. Files already in place stay.
pub fn fill(folder: &Path, generator: &Generator, messages: u64, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for index in 0..messages {
        let message = generator.message(index);
        put(folder, &generator.file_name(index), &message)?;
        progress(message.len() as u64);
    }
    Ok(())
}

fn put(folder: &Path, name: &str, message: &[u8]) -> io::Result<()> {
    // With our process id, so that two that fill one folder do not write into each other's file.
    let hidden = folder.join(format!(".{name}.{}", std::process::id()));
    let put = fs::write(&hidden, message).and_then(|()| fs::rename(&hidden, folder.join(name)));
    if put.is_err() {
        // The first failure is the one to report.
        let _ = fs::remove_file(&hidden);
    }
    put
}

/// Any number of messages, each made when asked for.
#[derive(Clone, Debug)]
pub struct Generator {
    profile: Profile,
    seed: u64,
    lists: u64,
}

/// Each use of chance has its own keystream, so that what one part of a mail draws never moves another.
#[derive(Clone, Copy)]
enum Stream {
    Identity,
    Thread,
    Envelope,
    Mail,
}

/// What is spread evenly rather than drawn.
#[derive(Clone, Copy)]
enum Axis {
    TextSize,
    Attached,
    AttachmentSize,
}

/// Monday, 4 January 2016, 08:00 UTC: when message 0 was sent.
const EPOCH: i64 = 1_451_894_400;
const SECONDS_BETWEEN: u64 = 29;

/// After so many messages, nine years, dates start again: none is ever in the future.
const DATED_MESSAGES: u64 = 10_000_000;

/// A reply answers one of so many messages before it on the same list.
const THREAD_REACH: u64 = 40;

/// How large a file without its attachments is: (per mille of all mail, bytes at most). The mean is 4,500 bytes.
const TEXT_BYTES: &[(u64, u64)] = &[(0, 1_100), (250, 1_940), (500, 3_140), (750, 5_340), (900, 8_740), (1000, 19_500)];

/// The same for the attachments of one mail, encoded, where there are any. The mean is 334 kB, which makes that of all
/// mail 138 kB: most are small, and one mail in 25 carries half of all bytes.
const ATTACHED_BYTES: &[(u64, u64)] = &[
    (0, 4_000),
    (250, 34_000),
    (500, 102_000),
    (750, 300_000),
    (900, 745_000),
    (970, 1_730_000),
    (995, 3_900_000),
    (1000, 6_000_000),
];

const ATTACHED_PER_MILLE: u64 = 400;

const LARGE_BYTES: usize = 12_000_000;

impl Generator {
    /// Mail to `list0@lists.example` and so on; no list means one.
    pub fn new(profile: Profile, seed: u64, lists: u32) -> Self {
        Self { profile, seed, lists: u64::from(lists.max(1)) }
    }

    /// The whole drop file: envelope and mail.
    pub fn message(&self, index: u64) -> Vec<u8> {
        let text = quantile(TEXT_BYTES, self.spread(index, Axis::TextSize));
        match self.profile {
            Profile::Small => self.correspondence(index, Sizes { text, attached: 0, most: 0 }),
            Profile::Mixed => self.correspondence(index, Sizes { text, attached: self.attached(index), most: 4 }),
            Profile::Large => {
                let attached = LARGE_BYTES.saturating_sub(text);
                self.correspondence(index, Sizes { text, attached, most: 2 })
            }
            Profile::Hostile => self.hostile(index),
        }
    }

    /// As the IIS SMTP service names drop files: 16 digits that differ by seed and profile, and an 8 digit counter.
    pub fn file_name(&self, index: u64) -> String {
        let salt = mix(self.seed ^ mix(self.profile as u64));
        // What the counter has no room for goes into the first half, so that no two indices ever share a name.
        format!("{:016x}{:08x}.eml", salt.wrapping_add(index >> 32), index & 0xffff_ffff)
    }

    fn dice(&self, index: u64, stream: Stream) -> Dice {
        let words = [self.seed, index, self.profile as u64, stream as u64];
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Dice(ChaCha8Rng::from_seed(key))
    }

    /// Where a message stands on an axis, of [`WHOLE`]: a quasirandom sequence, not dice, so that the promised means
    /// and shares hold for a thousand messages of any seed and not only for a million.
    ///
    /// The steps are negative powers of the golden ratio's cousin for three dimensions (the root of x⁴ = x + 1), which
    /// keep the axes independent of each other.
    fn spread(&self, index: u64, axis: Axis) -> u64 {
        let step: u64 = match axis {
            Axis::TextSize => 0xd1b5_4a32_d192_ed03,
            Axis::Attached => 0xabc9_8388_fb8f_ac03,
            Axis::AttachmentSize => 0x8cb9_2ba7_2f3d_8dd7,
        };
        index.wrapping_mul(step).wrapping_add(mix(self.seed ^ mix(axis as u64))) >> (64 - WHOLE.ilog2())
    }

    fn attached(&self, index: u64) -> usize {
        if self.spread(index, Axis::Attached) * 1000 < WHOLE * ATTACHED_PER_MILLE {
            quantile(ATTACHED_BYTES, self.spread(index, Axis::AttachmentSize))
        } else {
            0
        }
    }

    /// The lists take turns; each round starts one later, so that no list always gets the same kind of bomb.
    fn list_of(&self, index: u64) -> u64 {
        (index % self.lists + index / self.lists % self.lists) % self.lists
    }

    /// The message that this one answers, if any: an earlier one to the same list.
    fn parent(&self, index: u64) -> Option<u64> {
        let mut dice = self.dice(index, Stream::Thread);
        let round = index / self.lists;
        if round == 0 || !dice.percent(30) {
            return None;
        }
        let earlier = round - 1 - dice.below(round.min(THREAD_REACH));
        let turn = (self.list_of(index) + self.lists - earlier % self.lists) % self.lists;
        Some(earlier * self.lists + turn)
    }

    /// The messages of the thread before this one, the first of all last.
    fn ancestors(&self, index: u64) -> Vec<u64> {
        std::iter::successors(self.parent(index), |&earlier| self.parent(earlier)).collect()
    }

    fn identity(&self, index: u64) -> Identity {
        let mut dice = self.dice(index, Stream::Identity);
        let (sender, domain) = Person::draw(&mut dice);
        let message_id = format!("<{:016x}.{index}@{domain}>", dice.0.next_u64());
        Identity { sender, message_id, subject: subject(&mut dice) }
    }

    /// Mail as people write it: envelope, header, text, attachments.
    fn correspondence(&self, index: u64, sizes: Sizes) -> Vec<u8> {
        let mut draft = Draft::new(self.dice(index, Stream::Mail), sizes.text + sizes.attached);
        let identity = self.identity(index);
        let ancestors = self.ancestors(index);
        let lists = self.envelope(index, &identity.sender, &mut draft);
        draft.received(index);
        draft.field("Message-ID", &identity.message_id);
        draft.field("Date", &date(index, draft.offset, 0));
        let mailbox = identity.sender.mailbox(&mut draft.dice);
        draft.field("From", &mailbox);
        draft.addressees(&lists);
        let quoted = self.thread_fields(&ancestors, &identity, &mut draft);
        draft.field("MIME-Version", "1.0");
        draft.extras(&identity.sender);
        draft.body(sizes, &identity.sender, quoted);
        draft.out
    }

    /// The lines that the SMTP service puts before the mail, and the lists they name.
    fn envelope(&self, index: u64, sender: &Person, draft: &mut Draft) -> Vec<u64> {
        let mut dice = self.dice(index, Stream::Envelope);
        let mut lists = vec![self.list_of(index)];
        if self.lists > 1 && dice.percent(4) {
            lists.push((self.list_of(index) + 1 + dice.below(self.lists - 1)) % self.lists);
        }
        draft.field("x-sender", &sender.address);
        for list in &lists {
            draft.field("x-receiver", &list_address(*list));
        }
        lists
    }

    /// Subject, In-Reply-To and References (RFC 5322 section 3.6.4); gives whom a reply quotes.
    fn thread_fields(&self, ancestors: &[u64], identity: &Identity, draft: &mut Draft) -> Option<Person> {
        let (Some(parent), Some(first)) = (ancestors.first(), ancestors.last()) else {
            draft.field("Subject", &unstructured(&identity.subject));
            return None;
        };
        let parent = self.identity(*parent);
        draft.field("Subject", &format!("Re: {}", unstructured(&self.identity(*first).subject)));
        draft.field("In-Reply-To", &parent.message_id);
        let references: Vec<String> = ancestors.iter().rev().map(|index| self.identity(*index).message_id).collect();
        draft.field("References", &references.join("\r\n "));
        Some(parent.sender)
    }

    /// The bombs in turn.
    fn hostile(&self, index: u64) -> Vec<u8> {
        let turn = index % BOMBS.len() as u64;
        let bomb = &BOMBS[usize_of(turn)];
        let mut draft = Draft::new(self.dice(index, Stream::Mail), 0);
        let identity = self.identity(index);
        if bomb.start != Start::Nothing {
            self.envelope(index, &identity.sender, &mut draft);
        }
        if bomb.start == Start::Header {
            draft.received(index);
            draft.field("Message-ID", &identity.message_id);
            draft.field("Date", &date(index, 0, 0));
            draft.field("From", &identity.sender.address);
            draft.field("To", &list_address(self.list_of(index)));
            draft.field("Subject", &format!("{} {index}", bomb.name));
            draft.field("MIME-Version", "1.0");
        }
        (bomb.build)(&mut draft);
        draft.out
    }
}

/// The full length of an axis. 20 bits leave room for exact whole-number interpolation.
const WHOLE: u64 = 1 << 20;

/// What size stands at `rank`, linear between the points of the table.
fn quantile(table: &[(u64, u64)], rank: u64) -> usize {
    let rank = rank * 1000;
    let segment = table.iter().zip(table.iter().skip(1)).find(|(_, (end, _))| rank < end * WHOLE);
    let Some(((start, low), (end, high))) = segment else { return 0 };
    usize_of(low + (high - low) * (rank - start * WHOLE) / ((end - start) * WHOLE))
}

/// The finaliser of `SplitMix64`: a bijection, so that different seeds stay different.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn list_address(list: u64) -> String {
    format!("list{list}@lists.example")
}

/// RFC 5322 section 3.3. Messages are sent at fixed times; `offset` in hours, `late` in seconds.
fn date(index: u64, offset: i8, late: i64) -> String {
    let sent = i64::try_from(index % DATED_MESSAGES * SECONDS_BETWEEN).unwrap_or_default();
    let at = Timestamp::from_second(EPOCH + sent + late).unwrap_or_default();
    let zoned = at.to_zoned_datetime(TimeZone::fixed(tz::offset(offset)));
    jiff::fmt::rfc2822::to_string(&zoned).unwrap_or_default()
}

/// How large a message becomes.
#[derive(Clone, Copy)]
struct Sizes {
    /// The file without its attachments.
    text: usize,
    /// All attachments, as encoded.
    attached: usize,
    /// How many attachments at most.
    most: usize,
}

/// What other messages say about one; found without making it.
struct Identity {
    sender: Person,
    message_id: String,
    subject: String,
}

struct Person {
    name: String,
    address: String,
}

impl Person {
    /// Somebody, and the domain they write from.
    fn draw(dice: &mut Dice) -> (Self, &'static str) {
        let domain = dice.pick(DOMAINS);
        let (name, local) = if dice.percent(10) {
            let (name, local) = dice.pick(FOREIGN_NAMES);
            (name.to_owned(), local.to_owned())
        } else {
            let (first, last) = (dice.pick(FIRST_NAMES), dice.pick(LAST_NAMES));
            (format!("{first} {last}"), format!("{first}.{last}").to_lowercase())
        };
        (Self { name, address: format!("{local}@{domain}") }, domain)
    }

    /// RFC 5322 section 3.4, in the ways that clients write it.
    fn mailbox(&self, dice: &mut Dice) -> String {
        let Self { name, address } = self;
        if !name.is_ascii() {
            return format!("{}\r\n <{address}>", encoded_words(name));
        }
        match (dice.below(10), name.split_once(' ')) {
            (0, _) => address.clone(),
            (1..=2, Some((first, last))) => format!("\"{last}, {first}\" <{address}>"),
            (3..=5, _) => format!("\"{name}\" <{address}>"),
            _ => format!("{name} <{address}>"),
        }
    }

    /// How they sign where only ASCII may stand.
    fn signature(&self, ascii: bool) -> &str {
        if ascii && !self.name.is_ascii() { &self.address } else { &self.name }
    }
}

/// One in ten is not ASCII.
fn subject(dice: &mut Dice) -> String {
    if dice.percent(10) {
        return if dice.percent(50) {
            let phrases: Vec<&str> = (0..dice.between(1, 4)).map(|_| dice.pick(CJK)).collect();
            format!("{} {}", phrases.concat(), dice.between(1, 999))
        } else {
            let (before, after) = (dice.between(0, 3), dice.between(1, 4));
            let words = [dice.words(before), dice.pick(ACCENTED).to_owned(), dice.words(after)];
            capitalized(words.join(" ").trim())
        };
    }
    let count = dice.between(2, 7);
    let words = capitalized(&dice.words(count));
    match dice.below(6) {
        0 => format!("{words} {}", dice.between(100, 99_999)),
        1 => format!("[{}] {words}", dice.pick(&WORDS)),
        2 => format!("{words}?"),
        _ => words,
    }
}

fn capitalized(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// All chance there is.
struct Dice(ChaCha8Rng);

impl Dice {
    /// 0 to `limit` - 1, and 0 for no limit at all. The bias of multiplying is below `limit` / 2³².
    fn below(&mut self, limit: u64) -> u64 {
        u64::from(self.0.next_u32()).wrapping_mul(limit) >> 32
    }

    fn between(&mut self, least: usize, most: usize) -> usize {
        least + usize_of(self.below(most.saturating_sub(least) as u64 + 1))
    }

    fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// One of a table, none of which is empty.
    fn pick<T: Copy>(&mut self, table: &[T]) -> T {
        table[usize_of(self.below(table.len() as u64))]
    }

    fn words(&mut self, count: usize) -> String {
        (0..count).map(|_| self.pick(&WORDS)).collect::<Vec<_>>().join(" ")
    }

    /// A paragraph of sentences, a few bytes longer than `length`.
    fn prose(&mut self, length: usize, ascii: bool) -> String {
        let mut text = String::with_capacity(length + 32);
        let mut left = 0;
        while text.len() < length {
            let word = if !ascii && self.percent(8) { self.pick(ACCENTED) } else { self.pick(&WORDS) };
            if left == 0 {
                text.push_str(if text.is_empty() { "" } else { ". " });
                let mut chars = word.chars();
                text.extend(chars.next().into_iter().flat_map(char::to_uppercase));
                text.push_str(chars.as_str());
                left = self.between(3, 16);
            } else {
                text.push_str(if self.percent(6) { ", " } else { " " });
                text.push_str(word);
                left -= 1;
            }
        }
        text.push('.');
        text
    }
}

/// How text is laid down in a part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    SevenBit,
    EightBit,
    QuotedPrintable,
    /// Plain text in quoted-printable, and the same again as HTML.
    Alternative,
}

/// What somebody has to say.
struct Letter {
    paragraphs: Vec<String>,
    /// Who is quoted, and with what.
    quoted: Option<(String, Vec<String>)>,
    signature: String,
}

/// A mail program: how it names itself and how its boundaries start.
struct Client {
    field: Option<(&'static str, &'static str)>,
    boundary: &'static str,
}

const CLIENTS: &[Client] = &[
    Client { field: Some(("X-Mailer", "Microsoft Outlook 16.0")), boundary: "----=_NextPart_000_" },
    Client { field: Some(("X-Mailer", "Microsoft Office Outlook 12.0")), boundary: "----=_NextPart_000_" },
    Client { field: Some(("User-Agent", "Mozilla Thunderbird")), boundary: "------------" },
    Client { field: Some(("X-Mailer", "Apple Mail (2.3273)")), boundary: "Apple-Mail=_" },
    Client { field: Some(("X-Mailer", "iPhone Mail (14G60)")), boundary: "Apple-Mail-" },
    Client { field: Some(("User-Agent", "Mutt/1.5.24 (2015-08-30)")), boundary: "=_" },
    Client { field: None, boundary: "000000000000" },
    Client { field: None, boundary: "_000_" },
];

struct FileType {
    content_type: &'static str,
    extension: &'static str,
    /// How such files start, so that sniffing agrees with the name. All that follows is noise.
    magic: &'static [u8],
}

const DOCUMENTS: &[FileType] = &[
    FileType { content_type: "application/pdf", extension: "pdf", magic: b"%PDF-1.5\n" },
    FileType {
        content_type: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        extension: "docx",
        magic: b"PK\x03\x04",
    },
    FileType {
        content_type: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        extension: "xlsx",
        magic: b"PK\x03\x04",
    },
    FileType { content_type: "application/zip", extension: "zip", magic: b"PK\x03\x04" },
];

const PICTURES: &[FileType] = &[
    FileType { content_type: "image/jpeg", extension: "jpg", magic: b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" },
    FileType { content_type: "image/png", extension: "png", magic: b"\x89PNG\r\n\x1a\n" },
];

/// A file being written, and the chance that goes into it.
struct Draft {
    out: Vec<u8>,
    dice: Dice,
    client: &'static Client,
    /// The sender's, in hours.
    offset: i8,
}

impl Draft {
    fn new(mut dice: Dice, size: usize) -> Self {
        let client = &CLIENTS[dice.between(0, CLIENTS.len() - 1)];
        let offset = dice.pick(&[0, 0, 1, 1, 1, 2, 2, -5, -8, 9]);
        // Sizes are a few hundred bytes off.
        Self { out: Vec::with_capacity(size + 4096), dice, client, offset }
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn line(&mut self, text: &str) {
        self.put(text);
        self.put("\r\n");
    }

    fn field(&mut self, name: &str, value: &str) {
        self.put(name);
        self.put(": ");
        self.line(value);
    }

    fn received(&mut self, index: u64) {
        let host = self.dice.pick(DOMAINS);
        let (a, b, c) = (self.dice.below(254) + 1, self.dice.below(254) + 1, self.dice.below(4) + 1);
        let (late, id) = (self.dice.pick(&[1, 1, 2, 3, 8]), self.dice.0.next_u32());
        let last = date(index, 0, late);
        self.put(&format!("Received: from mx{c}.{host}\r\n\t(mx{c}.{host} [192.0.2.{a}])\r\n"));
        self.put(&format!("\tby drop.lists.example with ESMTPS id {id:08X};\r\n\t{last}\r\n"));
        if self.dice.percent(60) {
            let (port, first) = (self.dice.between(20_000, 60_000), date(index, self.offset, 0));
            self.put(&format!("Received: from [198.51.100.{b}] (port={port})\r\n"));
            self.put(&format!("\tby mx{c}.{host} with ESMTPSA;\r\n\t{first}\r\n"));
        }
    }

    fn addressees(&mut self, lists: &[u64]) {
        let addresses: Vec<String> = lists.iter().map(|list| list_address(*list)).collect();
        match self.dice.below(3) {
            0 => self.field("To", &format!("<{}>", addresses.join(">,\r\n <"))),
            _ => self.field("To", &addresses.join(",\r\n ")),
        }
        if self.dice.percent(20) {
            let (colleague, _) = Person::draw(&mut self.dice);
            let mailbox = colleague.mailbox(&mut self.dice);
            self.field("Cc", &mailbox);
        }
    }

    /// Fields that nobody has to understand.
    fn extras(&mut self, sender: &Person) {
        if let Some((name, value)) = self.client.field {
            self.field(name, value);
        }
        if self.dice.percent(4) {
            self.field("Importance", "high");
            self.field("X-Priority", "1");
        }
        if self.dice.percent(5) {
            self.field("Reply-To", &sender.address);
        }
        if self.dice.percent(15) {
            let language = self.dice.pick(&["en-US", "en-GB", "de-DE", "fr-FR"]);
            self.field("Content-Language", language);
        }
    }

    /// Everything after the header fields of the mail: text, and attachments where there is size for them.
    fn body(&mut self, sizes: Sizes, sender: &Person, quoted: Option<Person>) {
        let form = match self.dice.below(100) {
            _ if sizes.text < 2_500 => self.dice.pick(&[Form::SevenBit, Form::EightBit, Form::QuotedPrintable]),
            0..25 => Form::SevenBit,
            25..33 => Form::EightBit,
            33..50 => Form::QuotedPrintable,
            _ => Form::Alternative,
        };
        if sizes.attached == 0 {
            return self.text(form, sizes.text, sender, quoted, None);
        }
        let inline = form == Form::Alternative && self.dice.percent(50);
        let outer = self.multipart("mixed");
        let mut shares = self.shares(sizes.attached, sizes.most).into_iter();
        self.delimiter(&outer);
        // What the shell around the attachments costs is taken from the text.
        let room = sizes.text.saturating_sub(300);
        if inline {
            let (id, host) = (self.dice.0.next_u32(), self.dice.pick(DOMAINS));
            let content_id = format!("image001.{id:08X}@{host}");
            let related = self.multipart("related; type=\"multipart/alternative\"");
            self.delimiter(&related);
            self.text(form, room, sender, quoted, Some(&content_id));
            self.delimiter(&related);
            self.attachment(shares.next().unwrap_or_default(), Some(&content_id));
            self.close(&related);
        } else {
            self.text(form, room, sender, quoted, None);
        }
        for share in shares {
            self.delimiter(&outer);
            self.attachment(share, None);
        }
        self.close(&outer);
    }

    /// How the bytes of one mail's attachments are shared: mostly one, else some small and one large.
    fn shares(&mut self, bytes: usize, most: usize) -> Vec<usize> {
        let count = self.dice.pick(&[1, 1, 1, 1, 1, 1, 2, 2, 3, 4]).min(most);
        let weights: Vec<usize> = (0..count).map(|_| self.dice.between(1, 30).pow(2)).collect();
        let total: usize = weights.iter().sum();
        // An attachment's own header is part of its share; less than this would be header only.
        weights.iter().map(|weight| (bytes / total.max(1) * weight).max(600)).collect()
    }

    /// Opens a multipart (RFC 2046 section 5.1) and ends the header block; gives its boundary.
    fn multipart(&mut self, subtype: &str) -> String {
        let boundary = format!("{}{:016X}", self.client.boundary, self.dice.0.next_u64());
        self.put(&format!("Content-Type: multipart/{subtype};\r\n\tboundary=\"{boundary}\"\r\n\r\n"));
        boundary
    }

    fn delimiter(&mut self, boundary: &str) {
        self.put(&format!("\r\n--{boundary}\r\n"));
    }

    fn close(&mut self, boundary: &str) {
        self.put(&format!("\r\n--{boundary}--\r\n"));
    }

    /// One part of text, or two that say the same; `size` is what the file comes to with it.
    fn text(&mut self, form: Form, size: usize, sender: &Person, quoted: Option<Person>, image: Option<&str>) {
        let room = size.saturating_sub(self.out.len());
        let ascii = form == Form::SevenBit;
        if form == Form::Alternative {
            // Markup and part headers cost 900 bytes; each byte of text is written twice, some of them encoded.
            let letter = self.letter(room.saturating_sub(900) * 10 / 23, ascii, sender, quoted);
            let boundary = self.multipart("alternative");
            self.delimiter(&boundary);
            self.plain(&letter, Form::QuotedPrintable);
            self.delimiter(&boundary);
            self.html(&letter, image);
            self.close(&boundary);
        } else {
            let room = if form == Form::QuotedPrintable { room * 10 / 11 } else { room };
            let letter = self.letter(room.saturating_sub(120), ascii, sender, quoted);
            self.plain(&letter, form);
        }
    }

    fn letter(&mut self, size: usize, ascii: bool, sender: &Person, quoted: Option<Person>) -> Letter {
        let own = if quoted.is_some() { size * 3 / 5 } else { size };
        let paragraphs = self.paragraphs(own, ascii);
        let quoted = quoted.map(|person| {
            let attribution = format!("{} wrote:", person.signature(ascii));
            (attribution, self.paragraphs(size.saturating_sub(own), ascii))
        });
        Letter { paragraphs, quoted, signature: sender.signature(ascii).to_owned() }
    }

    fn paragraphs(&mut self, size: usize, ascii: bool) -> Vec<String> {
        let mut paragraphs = vec![];
        let mut left = size.max(40);
        while left >= 40 {
            let length = self.dice.between(80, 500).min(left);
            let paragraph = self.dice.prose(length.saturating_sub(6), ascii);
            left = left.saturating_sub(paragraph.len() + 4);
            paragraphs.push(paragraph);
        }
        paragraphs
    }

    fn plain(&mut self, letter: &Letter, form: Form) {
        let (charset, encoding) = match form {
            Form::SevenBit => ("us-ascii", "7bit"),
            Form::EightBit => ("utf-8", "8bit"),
            Form::QuotedPrintable | Form::Alternative => ("utf-8", "quoted-printable"),
        };
        self.field("Content-Type", &format!("text/plain; charset={charset}"));
        self.field("Content-Transfer-Encoding", encoding);
        self.line("");
        let lay = if encoding == "quoted-printable" { quoted_printable } else { wrapped };
        for paragraph in &letter.paragraphs {
            lay(&mut self.out, "", paragraph);
            self.line("");
        }
        lay(&mut self.out, "", "-- ");
        lay(&mut self.out, "", &letter.signature);
        if let Some((attribution, paragraphs)) = &letter.quoted {
            self.line("");
            lay(&mut self.out, "", attribution);
            for paragraph in paragraphs {
                lay(&mut self.out, "> ", paragraph);
                self.line(">");
            }
        }
    }

    fn html(&mut self, letter: &Letter, image: Option<&str>) {
        self.field("Content-Type", "text/html; charset=\"utf-8\"");
        self.field("Content-Transfer-Encoding", "quoted-printable");
        self.line("");
        for line in HTML_HEAD {
            quoted_printable(&mut self.out, "", line);
        }
        for paragraph in &letter.paragraphs {
            quoted_printable(&mut self.out, "", &format!("<p>{paragraph}</p>"));
        }
        if let Some(content_id) = image {
            let tag = format!("<p><img width=\"320\" src=\"cid:{content_id}\" alt=\"\"></p>");
            quoted_printable(&mut self.out, "", &tag);
        }
        quoted_printable(&mut self.out, "", &format!("<p class=\"sign\">{}</p>", letter.signature));
        if let Some((attribution, paragraphs)) = &letter.quoted {
            let start = format!("<div>{attribution}</div><blockquote type=\"cite\">");
            quoted_printable(&mut self.out, "", &start);
            for paragraph in paragraphs {
                quoted_printable(&mut self.out, "", &format!("<p>{paragraph}</p>"));
            }
            self.line("</blockquote>");
        }
        self.line("</body></html>");
    }

    /// A file of noise in base64; `size` is what the part comes to with its header. A picture if the text shows it.
    fn attachment(&mut self, size: usize, content_id: Option<&str>) {
        let start = self.out.len();
        let pictures = content_id.is_some() || self.dice.percent(30);
        let table = if pictures { PICTURES } else { DOCUMENTS };
        let file_type = &table[self.dice.between(0, table.len() - 1)];
        let name = match content_id {
            Some(_) => format!("image001.{}", file_type.extension),
            None => format!("{}.{}", self.title(pictures), file_type.extension),
        };
        self.put(&format!("Content-Type: {}{}\r\n", file_type.content_type, parameter("name", &name)));
        self.field("Content-Transfer-Encoding", "base64");
        let disposition = if content_id.is_some() { "inline" } else { "attachment" };
        self.put(&format!("Content-Disposition: {disposition}{}\r\n", parameter("filename", &name)));
        if let Some(content_id) = content_id {
            self.field("Content-ID", &format!("<{content_id}>"));
        }
        self.line("");
        let room = size.saturating_sub(self.out.len() - start);
        // Any size, so that every kind of padding occurs.
        let bytes = (room / ENCODED_LINE * RAW_LINE + self.dice.between(0, RAW_LINE)).max(64);
        self.noise(file_type.magic, bytes);
    }

    /// What people call a file.
    fn title(&mut self, picture: bool) -> String {
        let number = self.dice.between(1, 99_999);
        let word = self.dice.pick(&WORDS);
        match self.dice.below(20) {
            0..3 => format!("{} {word} {}", self.dice.pick(ACCENTED), number % 100),
            3 => format!("{}{}", self.dice.pick(CJK), self.dice.pick(CJK)),
            _ if picture => format!("IMG_{:04}", number % 10_000),
            4..10 => format!("{} {number}", capitalized(word)),
            10..15 => format!("{word}_{}_v{}", self.dice.pick(&WORDS), number % 9 + 1),
            _ => format!("{} {}", capitalized(word), self.dice.words(2)),
        }
    }

    /// `magic` and keystream, `bytes` in all, in lines of base64: nothing that compresses, nothing that occurs twice.
    fn noise(&mut self, magic: &[u8], bytes: usize) {
        let mut chunk = [0; RAW_LINE * 64];
        let mut left = bytes;
        while left > 0 {
            let chunk = &mut chunk[..left.min(RAW_LINE * 64)];
            self.dice.0.fill_bytes(chunk);
            if left == bytes {
                chunk.iter_mut().zip(magic).for_each(|(byte, magic)| *byte = *magic);
            }
            for line in chunk.chunks(RAW_LINE) {
                base64(&mut self.out, line);
                self.out.extend_from_slice(b"\r\n");
            }
            left -= chunk.len();
        }
    }
}

const HTML_HEAD: &[&str] = &[
    "<!DOCTYPE html><html><head><meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\">",
    "<style>p { margin: 0 0 8pt 0; font-family: Calibri, sans-serif; font-size: 11pt; }",
    ".sign { color: #606060; } blockquote { border-left: 1pt solid #a0a0a0; padding-left: 6pt; }</style>",
    "</head><body lang=\"en\">",
];

/// 57 bytes are 76 columns of base64, the most that RFC 2045 section 6.8 allows in a line; with its end 78 bytes.
const RAW_LINE: usize = 57;
const ENCODED_LINE: usize = 78;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |sextet: u8| BASE64[usize::from(sextet & 63)];
    let quad = |a: u8, b: u8, c: u8| [digit(a >> 2), digit(a << 4 | b >> 4), digit(b << 2 | c >> 6), digit(c)];
    let (triples, rest) = bytes.as_chunks::<3>();
    for [a, b, c] in triples {
        out.extend_from_slice(&quad(*a, *b, *c));
    }
    match rest {
        [a, b] => out.extend(quad(*a, *b, 0).into_iter().take(3).chain(*b"=")),
        [a] => out.extend(quad(*a, 0, 0).into_iter().take(2).chain(*b"==")),
        _ => {}
    }
}

/// One line of text in quoted-printable (RFC 2045 section 6.7), broken softly at 76 columns.
fn quoted_printable(out: &mut Vec<u8>, prefix: &str, text: &str) {
    let mut column = 0;
    let mut bytes = prefix.bytes().chain(text.bytes()).peekable();
    while let Some(byte) = bytes.next() {
        let literal = byte.is_ascii_graphic() && byte != b'=' || byte == b' ' && bytes.peek().is_some();
        let width = if literal { 1 } else { 3 };
        if column + width > 75 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if literal {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'=', hex_digit(byte >> 4), hex_digit(byte)]);
        }
        column += width;
    }
    out.extend_from_slice(b"\r\n");
}

/// Text in lines of at most 72 bytes, unless a word is longer.
fn wrapped(out: &mut Vec<u8>, prefix: &str, text: &str) {
    out.extend_from_slice(prefix.as_bytes());
    let mut column = prefix.len();
    for (nth, word) in text.split(' ').enumerate() {
        if nth > 0 && column + word.len() >= 72 {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(prefix.as_bytes());
            column = prefix.len();
        } else if nth > 0 {
            out.push(b' ');
            column += 1;
        }
        out.extend_from_slice(word.as_bytes());
        column += word.len();
    }
    out.extend_from_slice(b"\r\n");
}

const fn hex_digit(nibble: u8) -> u8 {
    b"0123456789ABCDEF"[(nibble & 15) as usize]
}

/// The body of an unstructured header field.
fn unstructured(text: &str) -> String {
    if text.is_ascii() { text.to_owned() } else { encoded_words(text) }
}

/// UTF-8 in encoded words that never split a character (RFC 2047): Q where most of it is ASCII. Short enough for the 76
/// columns of a line that starts with "Subject: Re: ".
fn encoded_words(text: &str) -> String {
    let mostly_ascii = text.bytes().filter(u8::is_ascii).count() * 2 > text.len();
    let most = if mostly_ascii { 17 } else { 36 };
    let mut words = vec![];
    let mut chunk = String::new();
    for c in text.chars() {
        if chunk.len() + c.len_utf8() > most {
            words.push(encoded_word(&chunk, mostly_ascii));
            chunk.clear();
        }
        chunk.push(c);
    }
    words.push(encoded_word(&chunk, mostly_ascii));
    words.join("\r\n ")
}

fn encoded_word(text: &str, mostly_ascii: bool) -> String {
    if !mostly_ascii {
        let mut digits = vec![];
        base64(&mut digits, text.as_bytes());
        return format!("=?UTF-8?B?{}?=", String::from_utf8_lossy(&digits));
    }
    let mut word = String::from("=?utf-8?Q?");
    for byte in text.bytes() {
        match byte {
            b' ' => word.push('_'),
            _ if byte.is_ascii_alphanumeric() => word.push(char::from(byte)),
            _ => word.extend(['=', char::from(hex_digit(byte >> 4)), char::from(hex_digit(byte))]),
        }
    }
    word.push_str("?=");
    word
}

/// A parameter of a MIME field on a line of its own; where it is not ASCII, as RFC 2231 has it.
fn parameter(name: &str, value: &str) -> String {
    if value.is_ascii() {
        format!(";\r\n\t{name}=\"{value}\"")
    } else {
        format!(";\r\n\t{name}*=UTF-8''{}", percent_encoded(value))
    }
}

fn percent_encoded(value: &str) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', char::from(hex_digit(byte >> 4)), char::from(hex_digit(byte))]);
        }
    }
    encoded
}

/// How much of a bomb's file is already there when it starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Nothing,
    Envelope,
    /// Envelope and the header fields that every mail has; the bomb adds its own and ends the header.
    Header,
}

/// One kind of hostile file.
struct Bomb {
    /// Also the Subject, where there is one.
    name: &'static str,
    start: Start,
    build: fn(&mut Draft),
}

/// A flood stops here: a hostile file is at most 300 kB, so that a hundred thousand of them fit on a disk.
const FLOOD_BYTES: usize = 240_000;

/// Message i is bomb i modulo their number.
const BOMBS: &[Bomb] = &[
    // A multipart in a multipart, 3,000 deep: a recursive parser runs out of stack.
    Bomb { name: "deep multiparts", start: Start::Header, build: deep_multiparts },
    // A mail in a mail in a mail.
    Bomb { name: "nested mails", start: Start::Header, build: nested_mails },
    // 17,000 parts of five bytes.
    Bomb { name: "part flood", start: Start::Header, build: part_flood },
    // Lines that are almost delimiters, and inner boundaries that start like the outer one.
    Bomb { name: "boundary near misses", start: Start::Header, build: boundary_near_misses },
    // The closing line never comes.
    Bomb { name: "unterminated multipart", start: Start::Header, build: unterminated_multipart },
    // Multiparts without a boundary, with an empty one, with one too long.
    Bomb { name: "missing boundary", start: Start::Header, build: missing_boundary },
    // A multipart that is itself base64, which RFC 2045 section 6.4 forbids.
    Bomb { name: "encoded multipart", start: Start::Header, build: encoded_multipart },
    // Thousands of header fields.
    Bomb { name: "header flood", start: Start::Header, build: header_flood },
    // One header field folded over thousands of lines.
    Bomb { name: "endless folding", start: Start::Header, build: endless_folding },
    // Every field twice and in disagreement.
    Bomb { name: "fields that disagree", start: Start::Header, build: fields_that_disagree },
    // The file ends within a header field.
    Bomb { name: "cut header", start: Start::Header, build: cut_header },
    // Thousands of encoded words in a Subject, many of them broken.
    Bomb { name: "encoded word flood", start: Start::Envelope, build: encoded_word_flood },
    // One parameter in thousands of pieces, out of order, with gaps and repetitions.
    Bomb { name: "continuation flood", start: Start::Header, build: continuation_flood },
    // Thousands of recipients, groups, quoted and routed addresses.
    Bomb { name: "address flood", start: Start::Header, build: address_flood },
    // Comments in comments in an address, never closed.
    Bomb { name: "deep comments", start: Start::Header, build: deep_comments },
    // Thousands of message ids in References.
    Bomb { name: "reference flood", start: Start::Header, build: reference_flood },
    // File names with paths, devices, control, bidi and escape characters.
    Bomb { name: "wicked names", start: Start::Header, build: wicked_names },
    // Envelope lines that the sender wrote, after the first header field.
    Bomb { name: "forged receiver in header", start: Start::Envelope, build: forged_receiver_in_header },
    // The same in the body and in an attached mail.
    Bomb { name: "forged receiver in body", start: Start::Header, build: forged_receiver_in_body },
    // No byte at all.
    Bomb { name: "empty file", start: Start::Nothing, build: empty_file },
    // What a crash leaves of a file whose length was written before its content.
    Bomb { name: "one NUL", start: Start::Nothing, build: one_nul },
    Bomb { name: "NULs", start: Start::Nothing, build: nuls },
    // NULs within header and text.
    Bomb { name: "NULs within", start: Start::Header, build: nuls_within },
    // An envelope and no mail.
    Bomb { name: "envelope only", start: Start::Envelope, build: empty_file },
    // Lines that end as on an old Macintosh, as on Unix, and in every way at once.
    Bomb { name: "bare CR", start: Start::Envelope, build: bare_cr },
    Bomb { name: "bare LF", start: Start::Envelope, build: bare_lf },
    Bomb { name: "mixed line ends", start: Start::Envelope, build: mixed_line_ends },
    // A quarter of a megabyte without a line end.
    Bomb { name: "huge line", start: Start::Header, build: huge_line },
    // Base64 with foreign characters, padding in the middle, no padding, and nothing.
    Bomb { name: "base64 junk", start: Start::Header, build: base64_junk },
    // Quoted-printable with wrong digits and an escape cut off by the end.
    Bomb { name: "quoted-printable junk", start: Start::Header, build: quoted_printable_junk },
    // Text that is not in the charset that it names.
    Bomb { name: "charset lies", start: Start::Header, build: charset_lies },
    // Files in the body from before MIME, some broken.
    Bomb { name: "uuencoded body", start: Start::Header, build: uuencoded_body },
    // Compressed S/MIME that unpacks to 158 times its size.
    Bomb { name: "decompression", start: Start::Header, build: decompression },
];

/// Calls `each` with 0, 1, 2, ... until the file has `bytes`.
fn flood(draft: &mut Draft, bytes: usize, mut each: impl FnMut(&mut Draft, usize)) {
    let mut n = 0;
    while draft.out.len() < bytes {
        each(draft, n);
        n += 1;
    }
}

fn deep_multiparts(draft: &mut Draft) {
    let mut depth = 0;
    flood(draft, FLOOD_BYTES * 3 / 4, |draft, n| {
        draft.put(&format!("Content-Type: multipart/mixed; boundary=n{n}\r\n\r\n--n{n}\r\n"));
        depth = n;
    });
    draft.put("Content-Type: text/plain\r\n\r\nThe bottom.\r\n");
    for n in (0..=depth).rev() {
        draft.put(&format!("--n{n}--\r\n"));
    }
}

fn nested_mails(draft: &mut Draft) {
    flood(draft, FLOOD_BYTES / 2, |draft, n| {
        draft.put(&format!("Content-Type: message/rfc822\r\n\r\nSubject: level {n}\r\nMIME-Version: 1.0\r\n"));
    });
    draft.put("Content-Type: text/plain\r\n\r\nThe bottom.\r\n");
}

fn part_flood(draft: &mut Draft) {
    draft.put("Content-Type: multipart/mixed; boundary=p\r\n\r\n");
    flood(draft, FLOOD_BYTES, |draft, n| draft.put(&format!("--p\r\n\r\n{n:05}\r\n")));
    draft.line("--p--");
}

fn boundary_near_misses(draft: &mut Draft) {
    draft.put("Content-Type: multipart/mixed; boundary=\"edge of\"\r\n\r\n--edge of\r\n\r\n");
    for miss in NEAR_MISSES {
        draft.line(miss);
    }
    draft.put("--edge of \t \r\nContent-Type: multipart/alternative; boundary=\"edge of x\"\r\n\r\n");
    draft.put("--edge of x\r\n\r\ninner\r\n--edge of x--\r\n--edge of x--\r\nafter the end\r\n");
    draft.put("--edge of\n\nThat delimiter ended in a bare LF.\n--edge of--\r\nepilogue\r\n");
    draft.put("--edge of\r\n\r\nafter the end\r\n");
}

#[rustfmt::skip]
const NEAR_MISSES: &[&str] = &[
    "--edge", "--edge  of", "-- edge of", " --edge of", "-edge of", "--EDGE OF", "--edge of-", "--edge ofx",
    "--edge of--x", "\t--edge of", "--\"edge of\"", "edge of--", "x\r--edge of", "--edge of\0", "----edge of",
];

fn unterminated_multipart(draft: &mut Draft) {
    let outer = draft.multipart("mixed");
    draft.delimiter(&outer);
    draft.put("Content-Type: text/plain\r\n\r\nThe rest never arrived.\r\n");
    draft.delimiter(&outer);
    draft.attachment(20_000, None);
    draft.out.truncate(draft.out.len().saturating_sub(31));
}

fn missing_boundary(draft: &mut Draft) {
    draft.put("Content-Type: multipart/mixed\r\n\r\npreamble\r\n--\r\n\r\n");
    draft.put("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\nIs this a part?\r\n----\r\n");
    let long = "b".repeat(5_000);
    draft.put(&format!("Content-Type: multipart/mixed; boundary={long}\r\n\r\n--{long}\r\n\r\nx\r\n--{long}--\r\n"));
}

fn encoded_multipart(draft: &mut Draft) {
    draft.put("Content-Type: multipart/mixed; boundary=hidden\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    let inner = "--hidden\r\nContent-Type: text/plain\r\n\r\nDo you decode me?\r\n--hidden--\r\n";
    for line in inner.as_bytes().chunks(RAW_LINE) {
        base64(&mut draft.out, line);
        draft.line("");
    }
}

fn header_flood(draft: &mut Draft) {
    flood(draft, FLOOD_BYTES, |draft, n| draft.field(&format!("X-Flood-{n}"), "drop by drop"));
    draft.put("\r\nA body after all.\r\n");
}

fn endless_folding(draft: &mut Draft) {
    draft.put("X-Folded: start");
    flood(draft, FLOOD_BYTES, |draft, n| draft.put(if n % 7 == 0 { "\r\n\t" } else { "\r\n and on" }));
    draft.put("\r\n\r\nA body after all.\r\n");
}

fn fields_that_disagree(draft: &mut Draft) {
    draft.field("Subject", "another subject");
    draft.field("Date", "Fri, 31 Feb 1899 25:61:61 +9999");
    draft.field("Date", "yesterday");
    draft.field("Message-ID", "<>");
    draft.field("Message-ID", "no brackets at all");
    draft.field("From", "");
    draft.field("MIME-Version", "2.0");
    draft.field("Content-Type", "text/plain; charset=utf-8; charset=utf-16; name=a; name=b");
    draft.field("Content-Type", "multipart/mixed; boundary=two");
    draft.field("content-transfer-encoding", "base64");
    draft.field("CONTENT-TRANSFER-ENCODING", "x-rot13");
    draft.field("Content-Disposition", "attachment; filename=one.txt; filename*=utf-8''two.txt; filename=three.txt");
    draft.line("A line without a colon");
    draft.line(": a field without a name");
    draft.put("\r\n--two\r\n\r\nU2lsZW5jZQ==\r\n--two--\r\n");
}

fn cut_header(draft: &mut Draft) {
    draft.put("Content-Type: multipart/mixed; boundary=\"never cl");
}

fn encoded_word_flood(draft: &mut Draft) {
    draft.put("From: flood@harbour.example\r\nSubject:");
    flood(draft, FLOOD_BYTES, |draft, n| {
        draft.put("\r\n ");
        draft.put(BROKEN_WORDS[n % BROKEN_WORDS.len()]);
    });
    draft.put("\r\n\r\nA body after all.\r\n");
}

#[rustfmt::skip]
const BROKEN_WORDS: &[&str] = &[
    "=?utf-8?B?w7w=?=", "=?utf-8?Q?=C3?=", "=?utf-8?Q?=BC?=", "=?utf-8?B?====?=", "=?x-unknown?Q?a?=", "=?utf-8?Q?",
    "=?utf-8?Q?=0D=0AX-Injected:_1?=", "=?utf-8?Q?=1B[2J?=", "=?utf-8?Q?=00?=", "=??Q?a?=", "=?utf-16?B?//4=?=",
    "=?utf-8?Z?a?=", "?=", "=?utf-8?Q?=E2=80=AEtxt.exe?=", "=?utf-7?Q?+AGE-?=", "=?utf-8?B?w7x=?=",
];

fn continuation_flood(draft: &mut Draft) {
    draft.put("Content-Type: application/octet-stream\r\nContent-Disposition: attachment");
    flood(draft, FLOOD_BYTES, |draft, n| match n % 10 {
        3 => draft.put(&format!(";\r\n filename*{}*=%C3", n / 2)),
        5 => draft.put(&format!(";\r\n filename*{}=\"../\"", n * 1_000_003)),
        7 => draft.put(&format!(";\r\n filename*-{n}*=utf-8''%ZZ%0")),
        _ => draft.put(&format!(";\r\n filename*{}*=a%2F", 20_000_usize.saturating_sub(n))),
    });
    draft.put(";\r\n filename*99999999999999999999=z\r\n\r\nA body after all.\r\n");
}

fn address_flood(draft: &mut Draft) {
    draft.put("To: first@harbour.example");
    flood(draft, FLOOD_BYTES, |draft, n| match n % 6 {
        0 => draft.put(&format!(",\r\n group {n}: a@b.example, c@d.example;")),
        1 => draft.put(&format!(",\r\n \"quoted, {n}\\\"\" <\"odd local\"@[192.0.2.1]>")),
        2 => draft.put(&format!(",\r\n <@relay.example,@other.example:user{n}@harbour.example>")),
        3 => draft.put(",, ,\r\n <>, <<>>, @, a@b@c"),
        4 => draft.put(&format!(",\r\n =?utf-8?Q?J=C3=B6rg?= (n. {n}) <j{n}@xn--bcher-kva.example>")),
        _ => draft.put(&format!(",\r\n user{n}@harbour.example")),
    });
    draft.put("\r\n\r\nA body after all.\r\n");
}

fn deep_comments(draft: &mut Draft) {
    draft.put("Cc: ");
    flood(draft, FLOOD_BYTES / 4, |draft, _| draft.put("("));
    draft.put("a@b.example\r\nReply-To: ");
    flood(draft, FLOOD_BYTES / 2, |draft, _| draft.put("(\\"));
    draft.put("\r\nContent-Type: text/plain ");
    flood(draft, FLOOD_BYTES / 4 * 3, |draft, _| draft.put("\"("));
    draft.put("\r\n\r\nA body after all.\r\n");
}

fn reference_flood(draft: &mut Draft) {
    draft.put("References:");
    flood(draft, FLOOD_BYTES, |draft, n| draft.put(&format!("\r\n <{n}@harbour.example>")));
    draft.put("\r\nIn-Reply-To: <not closed\r\n\r\nA body after all.\r\n");
}

/// Each name three times: as it stands, as RFC 2231 has it and as an encoded word.
fn wicked_names(draft: &mut Draft) {
    draft.put("Content-Type: multipart/mixed; boundary=names\r\n\r\n");
    for name in WICKED_NAMES {
        // Raw, a line end in a name would be a line end in the header.
        let raw = name.replace(['\r', '\n'], " ").replace('"', "\\\"");
        let word = encoded_word(name, false);
        let percent = percent_encoded(name);
        for disposition in [
            format!("filename=\"{raw}\""),
            format!("filename*=utf-8''{percent}"),
            format!("filename=\"{word}\""),
            format!("filename={raw}"),
        ] {
            draft.put("--names\r\nContent-Type: application/octet-stream\r\n");
            draft.put(&format!("Content-Disposition: attachment; {disposition}\r\n\r\n"));
            let number = draft.dice.0.next_u64();
            draft.line(&format!("{number:016x}"));
        }
    }
    let long = "long ".repeat(2_000);
    draft.put(&format!("--names\r\nContent-Type: text/x; name=\"{long}.txt\"\r\n\r\nlong\r\n--names--\r\n"));
}

#[rustfmt::skip]
const WICKED_NAMES: &[&str] = &[
    "", ".", "..", "...", "/", "\\", "../../../../etc/passwd", "..\\..\\Windows\\win.ini", "/etc/shadow",
    "C:\\boot.ini", "C:relative", "\\\\server\\share\\x", "file:///etc/passwd", "CON", "nul.txt", "COM1.log", "aux.",
    "a.txt:stream", "trailing dot.", "trailing space ", " leading", "~", "~root", "-rf", "$(id)", "`id`", "%2e%2e%2f",
    "a%00b", "a\0.txt", "a\r\nX-Injected: yes", "tab\there", "bell\u{7}", "\u{1b}[2J\u{1b}]0;title\u{7}", "\u{9b}31m",
    "\u{7f}", "photo\u{202e}gpj.exe", "\u{2066}iso\u{2069}late", "zero\u{200b}width", "\u{feff}bom", "e\u{301}accent",
    "\u{e9}accent", "full\u{ff0f}width", "\u{2025}/dots", "\u{fffd}", "\u{10ffff}", "a<b>c|d?e*f", "quote\"d",
    "semi;colon", "a'b''c", "desktop.ini", ".htaccess", "x.eml.claim", "SAME.txt", "same.txt", "same.TXT",
    "\u{3c3}\u{3c2}.txt",
];

fn forged_receiver_in_header(draft: &mut Draft) {
    draft.put("Received: from harbour.example by drop.lists.example; Mon, 4 Jan 2016 08:00:00 +0000\r\n");
    draft.put("x-receiver: forged@lists.example\r\nX-Sender: <forged@lists.example> BODY=7bit\r\n");
    draft.put("From: forger@harbour.example\r\nX-Receiver: <forged@lists.example> NOTIFY=NEVER\r\n");
    draft.put("X-EndOfInjectedXHeaders: 0\r\nSubject: forged\r\n x-receiver: forged@lists.example\r\n");
    draft.put("\r\nNot for them.\r\n");
}

fn forged_receiver_in_body(draft: &mut Draft) {
    draft.put("Content-Type: multipart/mixed; boundary=f\r\n\r\nx-receiver: forged@lists.example\r\n\r\n");
    draft.put("--f\r\n\r\nx-sender: forged@lists.example\r\nx-receiver: forged@lists.example\r\n");
    draft.put("--f\r\nx-receiver: forged@lists.example\r\nContent-Type: message/rfc822\r\n\r\n");
    draft.put("x-sender: forged@lists.example\r\nx-receiver: forged@lists.example\r\nSubject: within\r\n\r\nText.\r\n");
    draft.line("--f--");
}

fn empty_file(_: &mut Draft) {}

fn one_nul(draft: &mut Draft) {
    draft.out.push(0);
}

fn nuls(draft: &mut Draft) {
    draft.out.resize(64 * 1024, 0);
}

fn nuls_within(draft: &mut Draft) {
    draft.put("X-Nu\0l: va\0lue\r\nSubject\0: \0\r\n\r\nText\0 with\0 NULs\r\n\0\0\0\0\r\n.\r\n\0");
}

fn bare_cr(draft: &mut Draft) {
    lines_that_end_in(draft, &["\r"]);
}

fn bare_lf(draft: &mut Draft) {
    lines_that_end_in(draft, &["\n"]);
}

fn mixed_line_ends(draft: &mut Draft) {
    lines_that_end_in(draft, &["\n", "\r\n", "\r\r\n", "\n\r", "\r\n"]);
}

fn lines_that_end_in(draft: &mut Draft, ends: &[&str]) {
    for (line, end) in LINES.iter().zip(ends.iter().cycle()) {
        draft.put(line);
        draft.put(end);
    }
}

#[rustfmt::skip]
const LINES: &[&str] = &[
    "From: ends@harbour.example", "To: list0@lists.example", "Subject: line ends", "MIME-Version: 1.0",
    "Content-Type: multipart/mixed; boundary=ends", "", "--ends", "Content-Type: text/plain", "", "One", "Two", "",
    "--ends", "Content-Transfer-Encoding: base64", "Content-Disposition: attachment; filename=ends.bin", "",
    "RW5kcyBvZiBs", "aW5lcw==", "--ends--",
];

fn huge_line(draft: &mut Draft) {
    draft.put("X-Huge: ");
    flood(draft, FLOOD_BYTES / 2, |draft, _| draft.put("header without end "));
    draft.put("\r\nContent-Type: text/plain\r\n\r\n");
    flood(draft, FLOOD_BYTES, |draft, _| draft.put("text without end "));
}

fn base64_junk(draft: &mut Draft) {
    draft.put("Content-Type: multipart/mixed; boundary=junk\r\n\r\n");
    for (n, junk) in BASE64_JUNK.iter().enumerate() {
        draft.put("--junk\r\nContent-Transfer-Encoding: base64\r\n");
        draft.put(&format!("Content-Disposition: attachment; filename=junk{n}.bin\r\n\r\n{junk}\r\n"));
    }
    draft.put("--junk\r\nContent-Transfer-Encoding: base64\r\n");
    draft.put("Content-Disposition: attachment; filename=thin.bin\r\n\r\n");
    flood(draft, FLOOD_BYTES / 2, |draft, n| draft.put(if n % 3 == 0 { "\r\n" } else { " A" }));
    draft.put("\r\n--junk--\r\n");
}

#[rustfmt::skip]
const BASE64_JUNK: &[&str] = &[
    "SGV sbG8\r\n8-)gd29y !!bGQ=", "SGVsbG8=IHdvcmxk", "SGVsbG8", "S", "====", "", "SGVs\0bG8=",
    "SGVsbG8=\r\n\r\ntrailer", "\u{fc}\u{e9}SGVsbG8=", "SGVsbG8_-w==", "= =SGVs", "\u{ff33}GVs", "SGVsbG9=",
    ">SGVs\r\n>bG8=",
];

fn quoted_printable_junk(draft: &mut Draft) {
    draft.put("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n");
    draft.put("=XY =4 == =c3=bc =C3 =\r\nbroken = \t\r\nsoft=20\u{fc}ber raw =00 =1B[31m\r\n=\r\n=\r\n=\r\n");
    flood(draft, FLOOD_BYTES / 2, |draft, _| draft.put("=3D=E2=82=\r\n"));
    draft.put("cut off=E");
}

fn charset_lies(draft: &mut Draft) {
    draft.put("Content-Type: multipart/mixed; boundary=lies\r\n\r\n");
    let parts: [(&str, &[u8]); 12] = [
        ("utf-8", b"\xc3\x28 \xff\xfe \xe2\x82 \xf8\x88\x80\x80\x80 \xed\xa0\x80 \xc0\xaf latin \xfcber"),
        ("us-ascii", "Größe, naïveté, 会議".as_bytes()),
        ("utf-16", b"plain ASCII of odd length"),
        ("utf-16le", b"\xff\xfe\x00\xd8a\x00\x00\xdc"),
        ("utf-32", b"\x00\x11\xff\xff"),
        ("iso-2022-jp", b"\x1b$B2q5D\x1b$ cut \x1b$B2"),
        ("hz-gb-2312", b"~{ never closed"),
        ("utf-7", b"+ADw-script+AD4-alert(1)+ADw-/script+AD4- +"),
        ("x-no-such-charset", b"\x80\x81\xfe\xff"),
        ("", b"empty name \xe9"),
        ("utf-8; charset=iso-8859-1", "Größe".as_bytes()),
        ("\"unclosed", b"text"),
    ];
    for (charset, bytes) in parts {
        draft.put(&format!("--lies\r\nContent-Type: text/plain; charset={charset}\r\n"));
        draft.put("Content-Transfer-Encoding: 8bit\r\n\r\n");
        draft.out.extend_from_slice(bytes);
        draft.line("");
    }
    draft.line("--lies--");
}

fn decompression(draft: &mut Draft) {
    draft.put("Content-Type: application/pkcs7-mime; smime-type=compressed-data; name=smime.p7z\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    draft.line(&packed(16 << 20));
}

/// Compressed S/MIME (RFC 3274) that holds so many zeros, in base64 with line ends. Written bit by bit, so that it is always the same.
#[must_use]
pub fn packed(zeros: usize) -> String {
    let mut bits = Bits::default();
    // The last block, with fixed codes (RFC 1951 section 3.2.6); one zero.
    bits.put(0b011, 3);
    bits.put(0b0000_1100, 8);
    for _ in 0..zeros.saturating_sub(1) / 258 {
        // The 258 bytes that are like the last one: length code 285 and distance code 0, written from their first bit on.
        bits.put(0b1010_0011, 8);
        bits.put(0, 5);
    }
    bits.put(0, 7);
    let zlib = [&[0x78, 0x01][..], &bits.out].concat();
    let octets = element(0x04, &zlib);
    let data = element(0x30, &[&b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"[..], &element(0xa0, &octets)].concat());
    let algorithm = element(0x30, b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x03\x08");
    let inner = element(0x30, &[&[2, 1, 0][..], &algorithm, &data].concat());
    let kind = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09";
    let whole = element(0x30, &[&kind[..], &element(0xa0, &inner)].concat());
    let mut text = Vec::new();
    for line in whole.chunks(57) {
        base64(&mut text, line);
        text.extend_from_slice(b"\r\n");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A BER element with its length in four bytes.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[tag, 0x84][..], &length, content].concat()
}

/// Bits in the order of RFC 1951 section 3.1.1.
#[derive(Default)]
struct Bits {
    out: Vec<u8>,
    waiting: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, bits: u32, count: u32) {
        self.waiting |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            let [byte, ..] = self.waiting.to_le_bytes();
            self.out.push(byte);
            self.waiting >>= 8;
            self.count -= 8;
        }
    }
}

fn uuencoded_body(draft: &mut Draft) {
    draft.put("Content-Type: text/plain\r\n\r\nTwo whole files and three broken ones.\r\n\r\n");
    for name in ["report.bin", "../../tmp/../escape.bin"] {
        draft.line(&format!("begin 644 {name}"));
        for _ in 0..100 {
            let mut bytes = [0; 45];
            draft.dice.0.fill_bytes(&mut bytes);
            uuencoded_line(&mut draft.out, &bytes);
        }
        draft.put("`\r\nend\r\n\r\n");
    }
    draft.put("begin 999 wrong mode\r\nM\r\n#0V%T\r\nend\r\n");
    draft.put("begin 644 lies.bin\r\nM0V%T\r\n~~~~\r\n#0V%T0V%T0V%T0V%T\r\n`\r\nend\r\n");
    draft.put("begin 644 \r\nbegin 644 unfinished.bin\r\n#0V%T\r\n");
}

fn uuencoded_line(out: &mut Vec<u8>, bytes: &[u8; 45]) {
    // Zero is a grave accent, because mail systems drop spaces at the end of a line.
    let digit = |sextet: u8| match sextet & 63 {
        0 => b'`',
        digit => digit + 32,
    };
    out.push(b'M');
    for [a, b, c] in bytes.as_chunks::<3>().0 {
        out.extend([a >> 2, a << 4 | b >> 4, b << 2 | c >> 6, *c].map(digit));
    }
    out.extend_from_slice(b"\r\n");
}

#[rustfmt::skip]
const DOMAINS: &[&str] = &[
    "harbour.example", "northgate.example", "lindgren.example", "mail.orchard.example", "office.example",
    "quarry.example", "riverside.example", "post.example.net", "tower.example.org", "workshop.example.com",
];

#[rustfmt::skip]
const FIRST_NAMES: &[&str] = &[
    "Ada", "Alan", "Amira", "Anna", "Ben", "Bruno", "Carla", "Cem", "Clara", "Daniel", "Dora", "Elena", "Emil", "Eva",
    "Felix", "Fiona", "George", "Grace", "Hana", "Henry", "Ida", "Igor", "Irene", "Jack", "Julia", "Karl", "Kim",
    "Laura", "Leo", "Lisa", "Mara", "Max", "Mina", "Nadia", "Nick", "Nora", "Olga", "Oscar", "Paul", "Petra", "Rita",
    "Robert", "Sam", "Sara", "Simon", "Sofia", "Tara", "Thomas", "Vera", "Victor", "Wanda", "Yusuf",
];

#[rustfmt::skip]
const LAST_NAMES: &[&str] = &[
    "Abbott", "Adler", "Baker", "Becker", "Bell", "Bennett", "Carter", "Clarke", "Cohen", "Costa", "Dalton", "Demir",
    "Eklund", "Ellis", "Farmer", "Fischer", "Foster", "Garcia", "Gray", "Haas", "Hansen", "Harper", "Hoffman",
    "Ivanov", "Jansen", "Jordan", "Keller", "Kowalski", "Lang", "Larsen", "Lindgren", "Mason", "Meyer", "Moore",
    "Novak", "Olsen", "Parker", "Petersen", "Quinn", "Rossi", "Sanders", "Schmidt", "Silva", "Stone", "Tanaka",
    "Turner", "Vogel", "Walsh", "Weber", "Young",
];

/// Names that a header has to encode, with local parts that an address need not.
const FOREIGN_NAMES: &[(&str, &str)] = &[
    ("Jörg Müller", "joerg.mueller"),
    ("Zoë Lefèvre", "zoe.lefevre"),
    ("José Ibáñez", "jose.ibanez"),
    ("Łukasz Żak", "lukasz.zak"),
    ("Åsa Öberg", "asa.oberg"),
    ("Çağla Yılmaz", "cagla.yilmaz"),
    ("Jiří Dvořák", "jiri.dvorak"),
    ("Søren Kjær", "soren.kjaer"),
    ("Ольга Смирнова", "olga.smirnova"),
    ("Νίκος Παππάς", "nikos.pappas"),
    ("田中 健", "ken.tanaka"),
    ("王 小明", "xiaoming.wang"),
    ("김 지우", "jiwoo.kim"),
];

#[rustfmt::skip]
const ACCENTED: &[&str] = &[
    "café", "résumé", "naïve", "façade", "crème", "brûlée", "entrée", "fiancée", "déjà", "über", "größe", "straße",
    "prüfung", "übersicht", "gebühr", "mañana", "señor", "jalapeño", "año", "smörgåsbord", "ångström", "blåbær", "ø",
    "łódź", "żółty", "čeština", "příloha", "ağaç", "ışık", "coração", "informação", "città", "perché", "où", "garçon",
    "€ 250", "½ page", "20 °C", "“final”",
];

#[rustfmt::skip]
const CJK: &[&str] = &[
    "会議", "資料", "報告", "予定", "確認", "お知らせ", "見積書", "議事録", "文件", "合同", "通知", "项目", "发票", "计划", "회의", "자료", "보고서", "일정",
    "견적",
];

/// Ordinary words, so that text compresses, wraps and is searched about as text does.
static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "a about above account across action add address after again agenda agree air all almost along already also \
     always amount an and another answer any appear area around arrive as ask at autumn away back bag balance bank \
     basket be because become before begin behind below best better between big bill bird blue board boat book both \
     bottle bottom bread break bridge bring brown budget build building busy but buy by cabinet call can car card \
     care carry case centre chair change cheap check choose circle city clean clear clock close cloud coast coffee \
     cold colour come common company copy corner cost could count country course cover cross cup customer daily \
     dark date day deal decide deep delay deliver desk detail develop different dinner direct discuss do door \
     double down draft draw drive dry due during each early earth east easy edge eight either electric eleven empty \
     end engine enough enter even evening ever every exact example expect explain extra eye face fact fair fall \
     family far farm fast few field figure fill final find fine finish fire first five floor flow follow food for \
     forest form forward four free fresh from front fruit full further future garden gate general get give glass go \
     good grass great green ground group grow half hall hand happen harbour hard have he head hear heat heavy help \
     here high hill hold holiday home hope hour house how hundred idea if important in inside instead interest into \
     invoice is island it item job join journey just keep kettle key kind kitchen know ladder lake lamp land large \
     last late later lead leaf learn leave left less let letter level library light like line list little local \
     long look loose lot low lunch machine main make many map market matter may measure meet meeting member message \
     metal middle might mile minute mirror model moment money month moon more morning most mountain move much music \
     must name narrow near need never new next night nine no north note nothing notice now number ocean of off \
     offer office often old on once one only open or orange order other our out outside over own packet page paint \
     pair paper part pass path pay pencil people perhaps picture piece place plan plant plate please point possible \
     post prepare present price print problem produce project proof proposal public pull purple push put quarter \
     question quick quiet rain raise reach read ready reason receive record red remain remember repair repeat reply \
     report request rest result return review rich right ring river road roof room round row rule run safe sail \
     sample sand save say schedule school sea season second section see seem send sentence separate serve set seven \
     several shape share she sheet shelf ship shop short should show side sign silver simple since six size sky \
     sleep slow small snow so soft some soon sort sound south space speak special spring square staff stage stand \
     start state station stay step still stone stop store story street strong summer sun supply sure surface table \
     take talk tall team tell ten test than thank that the their them then there these they thing think third this \
     those thousand three through ticket till time to today together tomorrow too tool top total touch toward tower \
     town track train travel tree trip true try turn twelve two under unit until up update upon use useful usual \
     valley value very view village visit voice wait walk wall want warm was watch water way we weather week weight \
     well west what wheel when where which while white whole why wide will wind window winter wish with within \
     without wood word work world would write year yellow yes yesterday yet you young your"
        .split_whitespace()
        .collect()
});

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    fn text(message: &[u8]) -> String {
        String::from_utf8_lossy(message).into_owned()
    }

    fn fields<'m>(message: &'m str, name: &str) -> Vec<&'m str> {
        let header = message.split("\r\n\r\n").next().unwrap();
        header.split("\r\n").filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
    }

    fn mean(sizes: &[usize]) -> usize {
        sizes.iter().sum::<usize>() / sizes.len()
    }

    #[test]
    fn a_profile_reads_and_writes_its_own_name() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
            assert_eq!(<Profile as clap::ValueEnum>::from_str(profile.word(), false), Ok(profile));
            assert_eq!(serde_json::to_string(&profile).unwrap(), format!("\"{profile}\""));
        }
        assert_eq!("huge".parse::<Profile>(), Err(UnknownProfile("huge".to_owned())));
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        for profile in [Profile::Small, Profile::Mixed, Profile::Hostile] {
            let once: Vec<_> = (0..100).map(|index| Generator::new(profile, 5, 3).message(index)).collect();
            let generator = Generator::new(profile, 5, 3);
            let backwards = (0..100).rev().map(|index| generator.message(index));
            assert!(once.into_iter().rev().eq(backwards));
        }
    }

    /// Figures of a bench compare only while a seed gives the same mail. A change that is meant changes these numbers.
    #[test]
    fn a_seed_gives_what_it_always_gave() {
        let fingerprint = |profile| {
            let generator = Generator::new(profile, 1, 3);
            (0..96).flat_map(|index| generator.message(index)).fold(0, |sum, byte| mix(sum ^ u64::from(byte)))
        };
        assert_eq!(format!("{:016x}", fingerprint(Profile::Small)), "28879eda4101475c");
        assert_eq!(format!("{:016x}", fingerprint(Profile::Hostile)), "32660149a3308c4a");
    }

    #[test]
    fn another_seed_gives_other_bytes() {
        for profile in [Profile::Small, Profile::Mixed] {
            let (one, other) = (Generator::new(profile, 1, 1), Generator::new(profile, 2, 1));
            assert!((0..100).all(|index| one.message(index) != other.message(index)));
        }
    }

    #[test]
    fn small_mail_has_the_promised_mean_and_no_attachment() {
        for seed in 0..3 {
            let generator = Generator::new(Profile::Small, seed, 1);
            let mut sizes = vec![];
            for index in 0..2_000 {
                let message = generator.message(index);
                assert!((1_000..21_000).contains(&message.len()), "{}", message.len());
                assert!(!text(&message).contains("Content-Disposition"));
                sizes.push(message.len());
            }
            assert!((4_275..=4_725).contains(&mean(&sizes)), "{}", mean(&sizes));
        }
    }

    #[test]
    fn mixed_mail_has_the_promised_mean_and_every_attachment_is_unique() {
        // 400 MB of keystream take half a minute in a debug build.
        let messages = if cfg!(debug_assertions) { 600 } else { 3_000 };
        let generator = Generator::new(Profile::Mixed, 1, 1);
        let (mut sizes, mut attached) = (vec![], 0);
        let mut seen = HashSet::new();
        for index in 0..messages {
            let message = generator.message(index);
            sizes.push(message.len());
            // The first two lines say enough: they hold a hundred bytes of noise.
            let message = text(&message);
            let mut attachments = message.split("Content-Transfer-Encoding: base64\r\n").skip(1).peekable();
            attached += usize::from(attachments.peek().is_some());
            for attachment in attachments {
                let (_, body) = attachment.split_once("\r\n\r\n").unwrap();
                assert!(seen.insert(body[..body.len().min(120)].to_owned()));
            }
        }
        assert!((126_960..=149_040).contains(&mean(&sizes)), "{}", mean(&sizes));
        let share = attached * 1000 / sizes.len();
        assert!((390..=410).contains(&share), "{share}");
        assert!(seen.len() > attached * 3 / 2);
    }

    #[test]
    fn large_mail_is_twelve_megabytes() {
        for index in 0..3 {
            let size = Generator::new(Profile::Large, 1, 1).message(index).len();
            assert!((11_990_000..=12_010_000).contains(&size), "{size}");
        }
    }

    #[test]
    fn file_names_are_unique_and_differ_by_seed_and_profile() {
        let mut seen = HashSet::new();
        for (profile, seed) in [(Profile::Small, 1), (Profile::Small, 2), (Profile::Mixed, 1)] {
            let generator = Generator::new(profile, seed, 1);
            for index in (0..1_000).chain([1 << 32, (1 << 32) + 1, u64::MAX]) {
                let name = generator.file_name(index);
                assert_eq!(name.len(), 28);
                assert!(name.strip_suffix(".eml").unwrap().bytes().all(|byte| byte.is_ascii_hexdigit()));
                assert!(seen.insert(name));
            }
        }
    }

    #[test]
    fn lists_get_even_shares_and_few_mails_go_to_two() {
        let generator = Generator::new(Profile::Small, 3, 4);
        let mut shares = BTreeMap::new();
        for index in 0..2_000 {
            let message = text(&generator.message(index));
            let receivers = fields(&message, "x-receiver");
            assert!(message.starts_with("x-sender: ") && !receivers.is_empty());
            assert_eq!(receivers.iter().collect::<HashSet<_>>().len(), receivers.len());
            for receiver in receivers {
                *shares.entry(receiver.to_owned()).or_insert(0) += 1;
            }
        }
        assert_eq!(shares.keys().collect::<Vec<_>>(), [0, 1, 2, 3].map(list_address).iter().collect::<Vec<_>>());
        assert!(shares.values().all(|share| (500..550).contains(share)), "{shares:?}");
        assert!((2_040..2_140).contains(&shares.values().sum::<i32>()), "{shares:?}");
    }

    #[test]
    fn a_reply_answers_an_earlier_mail_of_its_thread_and_list() {
        let generator = Generator::new(Profile::Small, 3, 4);
        let mut sent = BTreeMap::new();
        let mut replies = 0;
        for index in 0..1_000 {
            let message = text(&generator.message(index));
            let [id, subject, list] =
                ["Message-ID", "Subject", "x-receiver"].map(|name| fields(&message, name)[0].to_owned());
            if let Some(parent) = fields(&message, "In-Reply-To").first() {
                let (parents_subject, parents_list): &(String, String) = &sent[*parent];
                assert_eq!(subject.trim_start_matches("Re: "), parents_subject.trim_start_matches("Re: "));
                assert_eq!(list, *parents_list);
                replies += 1;
            }
            assert!(sent.insert(id, (subject, list)).is_none());
        }
        assert!((200..400).contains(&replies), "{replies}");
    }

    #[test]
    fn a_tenth_of_subjects_is_encoded() {
        let generator = Generator::new(Profile::Small, 3, 1);
        let encoded = |index: &u64| fields(&text(&generator.message(*index)), "Subject")[0].contains("=?");
        let count = (0..2_000).filter(encoded).count();
        assert!((140..260).contains(&count), "{count}");
    }

    #[test]
    fn friendly_mail_keeps_the_rules_for_lines() {
        for profile in [Profile::Small, Profile::Mixed] {
            let generator = Generator::new(profile, 9, 2);
            for index in 0..400 {
                let message = generator.message(index);
                // Enough of it for every kind of line.
                let message = text(&message[..message.len().min(60_000)]);
                let (complete, _) = message.rsplit_once("\r\n").unwrap();
                for line in complete.split("\r\n") {
                    assert!(!line.contains(['\r', '\n', '\0']), "{index}: {line:?}");
                    assert!(line.len() <= 200, "{index}: {line:?}");
                }
                let (header, body) = message.split_once("\r\n\r\n").unwrap();
                assert!(header.is_ascii());
                assert!(body.is_ascii() || message.contains("Content-Transfer-Encoding: 8bit"));
            }
        }
    }

    #[test]
    fn every_bomb_is_small_and_has_an_envelope_unless_there_is_none() {
        let generator = Generator::new(Profile::Hostile, 1, 3);
        for (index, bomb) in (0..).zip(BOMBS) {
            let message = generator.message(index);
            assert!(message.len() <= 300_000, "{}: {}", bomb.name, message.len());
            let enveloped = message.starts_with(b"x-sender: ");
            assert_eq!(enveloped, !["empty file", "one NUL", "NULs"].contains(&bomb.name), "{}", bomb.name);
            if enveloped {
                let envelope: Vec<_> = message.split_inclusive(|byte| *byte == b'\n').take(2).collect();
                assert!(envelope[1].starts_with(b"x-receiver: list") && envelope[1].ends_with(b"\r\n"));
            }
            assert_eq!(generator.message(index + BOMBS.len() as u64).is_empty(), message.is_empty());
        }
        let names: HashSet<_> = BOMBS.iter().map(|bomb| bomb.name).collect();
        assert_eq!(names.len(), BOMBS.len());
    }

    #[test]
    fn no_input_panics() {
        Generator::new(Profile::Large, u64::MAX, u32::MAX).message(u64::MAX);
        for profile in [Profile::Small, Profile::Mixed, Profile::Hostile] {
            for lists in [0, 1, 2, u32::MAX] {
                for seed in [0, u64::MAX] {
                    let generator = Generator::new(profile, seed, lists);
                    for index in [0, 1, u64::MAX - 1, u64::MAX] {
                        generator.message(index);
                        generator.file_name(index);
                    }
                }
            }
        }
    }

    #[test]
    fn base64_agrees_with_the_examples_of_rfc_4648() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            let mut out = vec![];
            base64(&mut out, plain.as_bytes());
            assert_eq!(text(&out), encoded);
        }
    }

    #[test]
    fn quoted_printable_breaks_softly_and_guards_a_space_at_the_end() {
        let mut out = vec![];
        quoted_printable(&mut out, "", &"é".repeat(13));
        quoted_printable(&mut out, "> ", "a = b ");
        assert_eq!(text(&out), format!("{}=\r\n=A9\r\n> a =3D b=20\r\n", "=C3=A9".repeat(12) + "=C3"));
    }

    #[test]
    fn a_filled_folder_is_complete_and_filling_it_again_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new").join("drop");
        let generator = Generator::new(Profile::Hostile, 8, 2);
        for _ in 0..2 {
            let mut heard = vec![];
            fill(&folder, &generator, 40, &mut |bytes| heard.push(bytes)).unwrap();
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 40);
            for (index, bytes) in (0..).zip(&heard) {
                let message = fs::read(folder.join(generator.file_name(index))).unwrap();
                assert_eq!(message, generator.message(index));
                assert_eq!(message.len() as u64, *bytes);
            }
            assert_eq!(heard.len(), 40);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(fill(file.path(), &Generator::new(Profile::Small, 1, 1), 1, &mut |_| {}).is_err());
    }
}
