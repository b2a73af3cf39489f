//! Opens what hides attachments: TNEF (winmail.dat), opaque S/MIME, and uuencode and yEnc in text bodies.
//! Never parses MIME: what comes out may be a message or another container, which the caller looks at again with the
//! same [`Budget`]. Never decrypts, verifies a signature, or looks inside a file. Hostile bytes give less, no panic.
//!
//! Own code, after trying what crates.io has: `tnef` 0.1.1 reads no MAPI properties, so no body, no meeting and no long
//! name; `ytnef` binds a C library; `compressed-rtf` 1.0.1 slices without asking and reserves what the header claims;
//! `cms` 0.3.0-rc.0 lets go of 24 contents of the samples where this module does of 28, since it takes no indefinite
//! lengths inside, and it decodes every certificate first. The uuencode and yEnc crates want one block as their whole
//! input and know no bound.

mod budget;
mod crc;
mod reader;
mod text;

mod tnef;

mod mapi;

mod lzfu;

mod rtf;

mod meeting;

mod recurrence;

mod uuencode;

mod yenc;

mod smime;

use std::fmt;

pub use budget::{Budget, Limits};
pub use smime::{Smime, is_smime, smime};
pub use tnef::{is_tnef, tnef};
pub use uuencode::uuencoded;
pub use yenc::yenc;

/// What let a file out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Tnef,
    Uuencode,
    Yenc,
    SmimeSigned,
    SmimeCompressed,
}

impl How {
    /// The word of the contract's `how`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tnef => "tnef",
            Self::Uuencode => "uuencode",
            Self::Yenc => "yenc",
            Self::SmimeSigned => "smime-signed",
            Self::SmimeCompressed => "smime-compressed",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One file that was hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// As the container has it: it may hold any character, separators of paths too.
    pub name: Option<String>,
    pub content_type: Option<String>,
    /// Without angle brackets.
    pub content_id: Option<String>,
    pub inline: bool,
    pub bytes: Vec<u8>,
    pub how: How,
    /// It is a container whose contents stand among the same files already, so it need not be looked at again.
    pub opened: bool,
}

/// What came out of one container or one text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    pub files: Vec<Extracted>,
    pub subject: Option<String>,
    pub body_text: Option<String>,
    pub body_html: Option<String>,
    /// A meeting request, its cancellation or the answer to one, as iCalendar text (RFC 5545, RFC 5546).
    pub meeting: Option<String>,
    /// Each kind at most once.
    pub problems: Vec<Problem>,
}

impl Unpacked {
    fn note(&mut self, problem: Problem) {
        problem.note_in(&mut self.problems);
    }

    /// Keeps `file` if the budget allows.
    fn keep(&mut self, file: Extracted, budget: &mut Budget) {
        match budget.take_file(file.bytes.len()) {
            Ok(()) => self.files.push(file),
            Err(problem) => self.note(problem),
        }
    }
}

/// Why less came out than the container promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("nested too deeply; the inner container was left closed")]
    TooDeep,
    #[error("more hidden files than the limit; the rest was left out")]
    TooMany,
    #[error("hidden files larger than the limit; the rest was left out")]
    TooLarge,
    #[error("not TNEF in spite of its name or type")]
    NotTnef,
    #[error("the TNEF stream ends in the middle of an attribute")]
    TnefCutShort,
    #[error("a checksum within the TNEF stream is wrong")]
    TnefChecksum,
    #[error("the TNEF stream has bytes that are no attribute; what follows them was not read")]
    TnefGarbage,
    #[error("a property list of the TNEF stream is damaged; the rest of the list was not read")]
    TnefProperties,
    #[error("a TNEF attachment is only a reference to a file elsewhere")]
    TnefReference,
    #[error("the compressed RTF body is damaged")]
    Rtf,
    #[error("the checksum of the compressed RTF body is wrong")]
    RtfChecksum,
    #[error("a meeting without any identifier was not turned into a calendar entry")]
    MeetingWithoutId,
    #[error("the recurrence of a meeting is damaged or of a kind iCalendar cannot say; only its first date was kept")]
    Recurrence,
    #[error("one part of a file that was posted as several yEnc parts; it was left in the text")]
    YencMultipart,
    #[error("a yEnc block whose size or checksum is wrong; it was left in the text")]
    YencDamaged,
    #[error("damaged S/MIME content; it was kept as far as it could be read")]
    Smime,
}

impl Problem {
    /// Every kind once, so that a container cannot grow the list.
    fn note_in(self, problems: &mut Vec<Self>) {
        if !problems.contains(&self) {
            problems.push(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::mapi::write::{Value, list};
    use super::mapi::{APPOINTMENT, Key, MEETING};
    use super::recurrence::write::{berlin, berlin_definition};
    use super::tnef::write::{id, stream};
    use super::*;

    /// A stream that has something of everything, with a message inside that has the same.
    fn rich(inner: Option<&[u8]>) -> Vec<u8> {
        let rtf = lzfu::write::stored(
            br"{\rtf1\ansi\fromhtml1{\fonttbl{\f0\fcharset128 A;}}
{\*\htmltag64 <p>}\f0\'83\'5c\u8364?\htmlrtf x\htmlrtf0\par}",
        );
        let lid = |number| Key::Lid(APPOINTMENT, number);
        let (zone, definition) = (berlin(), berlin_definition());
        let of_message = list(&[
            (Key::Tag(0x0037), Value::Text("Subject")),
            (Key::Tag(0x1000), Value::Text8(b"body\0")),
            (Key::Tag(0x1009), Value::Binary(&rtf)),
            (Key::Tag(0x0065), Value::Text("ann@example.com")),
            (Key::Lid(MEETING, 3), Value::Binary(&[0; 60])),
            (lid(0x820D), Value::Time(1_000_000_000)),
            (lid(0x8216), Value::Binary(&[4; 100])),
            (lid(0x8233), Value::Binary(&zone)),
            (lid(0x8260), Value::Binary(&definition)),
        ]);
        let inner = [b"\x07\x03\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46", inner.unwrap_or(b"none")].concat();
        let of_attachment =
            list(&[(Key::Tag(0x3707), Value::Text("long name")), (Key::Tag(0x3701), Value::Object(&inner))]);
        stream(&[
            (id::OEM_CODE_PAGE, &[0xE4, 4, 0, 0, 0, 0, 0, 0]),
            (id::MESSAGE_CLASS, b"IPM.Microsoft Schedule.MtgReq\0"),
            (id::FROM, b"\x04\0\x10\0\x04\0\x08\0Ann\0a@b.org\0"),
            (id::DATE_START, &[0xEA, 7, 3, 0, 2, 0, 9, 0, 0, 0, 0, 0, 1, 0]),
            (id::MESSAGE_PROPERTIES, &of_message),
            (id::ATTACH_RENDERING, &[0; 14]),
            (id::ATTACH_TITLE, b"file.txt\0"),
            (id::ATTACH_DATA, b"data"),
            (id::ATTACH_RENDERING, &[0; 14]),
            (id::ATTACH_PROPERTIES, &of_attachment),
        ])
    }

    fn open_all(bytes: &[u8], limits: Limits) -> usize {
        let mut total = 0;
        for open in [tnef, uuencoded, yenc] {
            total += size(&open(bytes, &mut Budget::new(limits)));
        }
        if let Some(Smime::Opened(unpacked)) = smime(bytes, &mut Budget::new(limits)) {
            total += size(&unpacked);
        }
        total
    }

    fn size(unpacked: &Unpacked) -> usize {
        let texts = [&unpacked.subject, &unpacked.body_text, &unpacked.body_html, &unpacked.meeting];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        texts + unpacked.files.iter().map(|file| file.bytes.len()).sum::<usize>()
    }

    fn nested() -> Vec<u8> {
        rich(Some(&rich(Some(&rich(None)))))
    }

    #[test]
    fn the_rich_stream_is_as_rich_as_it_should_be() {
        let unpacked = tnef(&nested(), &mut Budget::new(Limits::default()));
        assert_eq!(unpacked.files.iter().filter(|file| file.opened).count(), 2);
        assert_eq!(unpacked.files.len(), 3 + 3 + 2 * 2, "{:?}", unpacked.problems);
        assert!(unpacked.meeting.is_some() && unpacked.body_html.is_some());
        assert_eq!(unpacked.problems, [Problem::Recurrence, Problem::NotTnef]);
    }

    #[test]
    fn every_cut_of_a_stream_is_survived() {
        let bytes = nested();
        for cut in 0..bytes.len() {
            open_all(&bytes[..cut], Limits::default());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_change_to_a_stream_makes_it_panic_or_pass_its_budget(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
            bytes in 0_u64..20_000,
        ) {
            let mut stream = nested();
            for (at, byte) in changes {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            let limits = Limits { bytes, ..Limits::default() };
            prop_assert!(u64::try_from(open_all(&stream, limits)).unwrap() <= bytes * 4);
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = rtf::convert(&bytes, 1000);
            let _ = lzfu::decompress(&bytes, &mut Budget::new(Limits::default()), &mut Vec::new());
            let _ = recurrence::Recurrence::read(&bytes);
            let _ = recurrence::Zone::read_definition(&bytes);
            open_all(&bytes, Limits::default());
        }

        #[test]
        fn no_mix_of_words_makes_a_reader_panic(words in prop::collection::vec(0_usize..WORDS.len(), 0..60)) {
            let text: Vec<u8> = words.iter().flat_map(|at| WORDS[*at]).copied().collect();
            let _ = rtf::convert(&text, 1000);
            open_all(&text, Limits::default());
        }
    }

    const WORDS: [&[u8]; 32] = [
        b"{\\rtf1 ",
        b"\\fromhtml1 ",
        b"{\\*\\htmltag",
        b"{",
        b"}",
        b"\\u-10179 ",
        b"\\'",
        b"8",
        b"\\bin9999999999 ",
        b"\\bin-1 ",
        b"\\uc4000000000 ",
        b"\\f1 ",
        b"{\\fonttbl",
        b"\\fcharset128 ",
        b"\\htmlrtf ",
        b"\\htmlrtf0 ",
        b"begin 644 x\n",
        b"end\n",
        b"#0V%T\n",
        b"`\n",
        b"begin-base64 644 x\n",
        b"====\n",
        b"Q2F0\n",
        b"=ybegin line=1 size=3 name=\n",
        b"=yend size=3\n",
        b"=",
        b"\n",
        b"abc\n",
        b"\x30\x80",
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02",
        b"\xa0\x80",
        b"\x24\x80\x04\x01x",
    ];
}
