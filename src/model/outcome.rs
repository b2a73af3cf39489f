//! How a mail can end, and the one table that says what each end means: a code for programs, a sentence for people, a folder, an exit code.
//! A mail's bad end is data. Nothing here is an error of the engine.

use std::collections::BTreeMap;
use std::fmt;

/// Why a mail, or one recipient of it, was not delivered. A closed set: scripts match on [`Reason::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    UnknownAddress,
    ListDisabled,
    SenderNotAllowed,
    SenderForged,
    HookRefused,
    NoEnvelope,
    Loop,
    TooLarge,
    BlockedType,
    Empty,
    NotAMessage,
    NotARegularFile,
    ReadError,
    Limit,
    CrashedBefore,
    StoreFull,
    KeyUnavailable,
}

struct Row {
    reason: Reason,
    code: &'static str,
    end: End,
    text: &'static str,
}

/// The table. README prints it; the order is that of CONTRACT.
const TABLE: [Row; 17] = [
    row(Reason::UnknownAddress, "unknown-address", End::Refused, "no list has this address"),
    row(Reason::ListDisabled, "list-disabled", End::Refused, "the list does not receive mail (receive = false)"),
    row(Reason::SenderNotAllowed, "sender-not-allowed", End::Refused, "the list does not accept mail from this sender"),
    row(Reason::SenderForged, "sender-forged", End::Refused, "the sender could not be verified"),
    row(Reason::HookRefused, "hook-refused", End::Refused, "a hook of the list refused the mail"),
    row(Reason::NoEnvelope, "no-envelope", End::Refused, "the file does not start with x-sender and x-receiver lines"),
    row(Reason::Loop, "loop", End::Refused, "the mail came out of mailmill and would go round in circles"),
    row(Reason::TooLarge, "too-large", End::Refused, "the mail is larger than allowed"),
    row(Reason::BlockedType, "blocked-type", End::Refused, "the type of the file is blocked"),
    row(Reason::Empty, "empty", End::Damaged, "the file holds no mail"),
    row(Reason::NotAMessage, "not-a-message", End::Damaged, "the file does not start with a mail header"),
    row(
        Reason::NotARegularFile,
        "not-a-regular-file",
        End::Damaged,
        "a link, folder, pipe or device is not a mail file",
    ),
    row(Reason::ReadError, "read-error", End::Damaged, "the file cannot be read"),
    row(Reason::Limit, "limit", End::Damaged, "the mail exceeds a limit"),
    row(Reason::CrashedBefore, "crashed-before", End::Damaged, "the program failed on this mail"),
    row(Reason::StoreFull, "store-full", End::Deferred, "no room in the store; it is tried again"),
    row(
        Reason::KeyUnavailable,
        "key-unavailable",
        End::Deferred,
        "the key of a signature cannot be looked up now; it is tried again",
    ),
];

const fn row(reason: Reason, code: &'static str, end: End, text: &'static str) -> Row {
    Row { reason, code, end, text }
}

impl Reason {
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.reason)
    }

    fn row(self) -> &'static Row {
        static ROWS: [Row; 17] = TABLE;
        let [first, ..] = &ROWS;
        // Every variant has its row (tested), so the first one is never wrongly answered.
        ROWS.iter().find(|row| row.reason == self).unwrap_or(first)
    }

    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// A sentence for people, used where nothing more precise is known.
    pub fn text(self) -> &'static str {
        self.row().text
    }

    pub fn end(self) -> End {
        self.row().end
    }

    pub fn from_code(code: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.code == code).map(|row| row.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Where a file ended. The order is the one in which several recipients of one file are counted: the worst end wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    Duplicate,
    Delivered,
    Deferred,
    Refused,
    Damaged,
    Incomplete,
}

impl End {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Refused => "refused",
            Self::Damaged => "damaged",
            Self::Incomplete => "incomplete",
        }
    }
}

/// One recipient, or one file, that did not end well: a row of `problems` and of the note beside a refused file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The claim id.
    pub id: String,
    pub file: String,
    pub mail_id: Option<String>,
    pub message_id: Option<String>,
    pub sender: Option<String>,
    pub recipient: Option<String>,
    pub outcome: String,
    pub reason: String,
    pub text: String,
}

/// At most so many problems are kept in a sheet; `failed ls` has them all.
pub const PROBLEMS_SHOWN: usize = 1000;

/// What became of every file of a batch. `found` is counted where files are found and the ends where they end, so that
/// [`Sheet::balanced`] compares two independent counts.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sheet {
    pub batch: u64,
    pub server: String,
    pub started: String,
    pub elapsed_s: f64,
    pub found: u64,
    pub delivered: u64,
    pub duplicates: u64,
    pub refused: u64,
    pub damaged: u64,
    pub deferred: u64,
    pub incomplete: u64,
    pub balanced: bool,
    pub items: u64,
    pub attachments: u64,
    pub bytes: u64,
    pub messages_per_s: f64,
    pub mb_per_s: f64,
    pub dry_run: bool,
    pub problems: Vec<Problem>,
}

impl Sheet {
    pub fn count(&mut self, end: End) {
        *match end {
            End::Delivered => &mut self.delivered,
            End::Duplicate => &mut self.duplicates,
            End::Refused => &mut self.refused,
            End::Damaged => &mut self.damaged,
            End::Deferred => &mut self.deferred,
            End::Incomplete => &mut self.incomplete,
        } += 1;
    }

    pub const fn ended(&self) -> u64 {
        self.delivered + self.duplicates + self.refused + self.damaged + self.deferred + self.incomplete
    }

    /// Fixes the sheet at the end of a batch: does it add up, and how fast was it.
    #[allow(clippy::cast_precision_loss)] // rates for people; exact below 2^53 bytes
    pub fn close(&mut self, elapsed_s: f64) {
        self.balanced = self.found == self.ended();
        self.elapsed_s = elapsed_s;
        if elapsed_s > 0.0 {
            self.messages_per_s = (self.found as f64 / elapsed_s * 10.0).round() / 10.0;
            self.mb_per_s = (self.bytes as f64 / elapsed_s / 1e5).round() / 10.0;
        }
        self.elapsed_s = (elapsed_s * 1000.0).round() / 1000.0;
    }

    pub fn add_problem(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_SHOWN {
            self.problems.push(problem);
        }
    }

    /// Some mail of this batch needs a look or another try: exit code 3.
    pub const fn has_failures(&self) -> bool {
        self.refused + self.damaged + self.deferred > 0
    }

    /// How often each reason occurs among the shown problems.
    pub fn reasons(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for problem in &self.problems {
            *counts.entry(problem.reason.as_str()).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_one_row_and_reads_back_from_its_code() {
        assert_eq!(TABLE.len(), 17);
        for reason in Reason::all() {
            assert_eq!(TABLE.iter().filter(|row| row.reason == reason).count(), 1);
            assert_eq!(reason.row().reason, reason);
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
    }

    #[test]
    fn the_worst_end_of_a_file_is_damaged_then_refused_deferred_delivered_duplicate() {
        let mut ends = [End::Delivered, End::Duplicate, End::Damaged, End::Deferred, End::Refused];
        ends.sort();
        assert_eq!(ends, [End::Duplicate, End::Delivered, End::Deferred, End::Refused, End::Damaged]);
    }

    #[test]
    fn a_sheet_that_does_not_add_up_says_so() {
        let mut sheet = Sheet { found: 2, ..Sheet::default() };
        sheet.count(End::Delivered);
        sheet.close(1.0);
        assert!(!sheet.balanced);
        sheet.count(End::Refused);
        sheet.close(2.0);
        assert!(sheet.balanced);
        assert!((sheet.messages_per_s - 1.0).abs() < f64::EPSILON);
    }
}
