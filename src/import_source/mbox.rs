//! Cuts an mbox into its mails (RFC 4155; mboxo and mboxrd).
//! Never holds more than one mail, and of one that is too large only the line at hand.
//!
//! * A mail starts at a From_ line: a line `From ...` that is the first of the file, or that follows an empty line and
//!   carries a date, that is a time `HH:MM` or a year of four digits behind the first word. RFC 4155 wants both, but
//!   writers of mbox files have left out either. "From what I hear" in a body does not cut; "From Monday on, at 10:30,"
//!   does, as it does for most programs that read mbox files: quoting such lines is the writer's job.
//! * The From_ line is dropped, and so is the one empty line before the next From_ line or before the end of the file,
//!   which belongs to the format. Without the latter the last mail would be another one as soon as the mbox has grown,
//!   and a second import would deliver it again.
//! * `>From ` is not unquoted. mboxo quotes `From ` only and mboxrd `>From ` too, and a file does not say which it is:
//!   unquoting would change bytes that the writer may have meant, and with them signatures and the mail's id.

use std::io::{self, BufRead, Read};

/// What stands between two From_ lines.
#[derive(Debug, PartialEq)]
pub enum Piece {
    Mail(Vec<u8>),
    TooLarge,
}

/// The mails of an mbox, one at a time.
pub struct Mbox<R> {
    lines: R,
    begun: bool,
    at_end: bool,
}

/// A longer line is read in stretches and judged by its first.
/// No From_ line is that long: RFC 5322 section 2.1.1 allows 998 bytes.
const STRETCH: usize = 64 << 10;

/// The longest empty line, CRLF: so much more than a mail is held until we know that it is too large.
const EMPTY_LINE: u64 = 2;

impl<R: BufRead> Mbox<R> {
    /// An mbox that starts with a From_ line.
    pub const fn new(lines: R) -> Self {
        Self { lines, begun: false, at_end: false }
    }

    pub const fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// The next mail, read to its end whatever its size. An error is the end of the mbox.
    pub fn next_mail(&mut self, limit: u64) -> io::Result<Piece> {
        let piece = self.begin().and_then(|()| self.read_mail(limit));
        self.at_end |= piece.is_err();
        piece
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.lines.skip_until(b'\n')?;
            self.begun = true;
        }
        Ok(())
    }

    fn read_mail(&mut self, limit: u64) -> io::Result<Piece> {
        let mut mail = Vec::new();
        let mut size = 0u64;
        let mut line_starts = true;
        // The length of the empty line just read, 0 after any other line.
        let mut empty_line = 0u64;
        loop {
            let start = mail.len();
            let count = self.lines.by_ref().take(STRETCH as u64).read_until(b'\n', &mut mail)? as u64;
            let stretch = mail.get(start..).unwrap_or_default();
            if count == 0 || (empty_line > 0 && is_from_line(stretch)) {
                self.at_end = count == 0;
                if !self.at_end && !stretch.ends_with(b"\n") {
                    self.lines.skip_until(b'\n')?;
                }
                return Ok(finish(mail, size - empty_line, limit));
            }
            empty_line = if line_starts && matches!(stretch, b"\n" | b"\r\n") { count } else { 0 };
            line_starts = stretch.ends_with(b"\n");
            size = size.saturating_add(count);
            if size > limit.saturating_add(EMPTY_LINE) {
                mail.clear();
                mail.shrink_to(STRETCH);
            }
        }
    }
}

/// `mail` may end in the empty line and the From_ line behind it; `size` is without them.
fn finish(mut mail: Vec<u8>, size: u64, limit: u64) -> Piece {
    if size > limit {
        return Piece::TooLarge;
    }
    mail.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    // Whoever queues mails counts their lengths, not the room that reading line by line has left behind them.
    mail.shrink_to_fit();
    Piece::Mail(mail)
}

/// A line behind an empty one: `From sender date`.
fn is_from_line(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"From ") else { return false };
    let sender = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    let tail = rest.get(sender..).unwrap_or_default();
    has_time(tail) || has_year(tail)
}

fn has_time(text: &[u8]) -> bool {
    text.windows(5).any(|window| match window {
        [tens, ones, b':', minutes @ ..] => {
            [tens, ones].into_iter().chain(minutes).all(u8::is_ascii_digit) && (*tens, *ones) < (b'2', b'4')
        }
        _ => false,
    })
}

fn has_year(text: &[u8]) -> bool {
    text.split(|byte| !byte.is_ascii_alphanumeric()).any(|word| {
        word.len() == 4 && word.iter().all(u8::is_ascii_digit) && matches!(word, [b'1', b'9', ..] | [b'2', b'0', ..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "From a@b.example Thu Nov 24 18:22:48 1986\n";

    fn split(mbox: &str, limit: u64) -> Vec<Piece> {
        let mut mails = Mbox::new(mbox.as_bytes());
        let mut pieces = Vec::new();
        while !mails.is_at_end() {
            pieces.push(mails.next_mail(limit).unwrap());
        }
        pieces
    }

    fn mails(mbox: &str) -> Vec<String> {
        let text = |piece| match piece {
            Piece::Mail(mail) => String::from_utf8(mail).unwrap(),
            Piece::TooLarge => "too large".to_owned(),
        };
        split(mbox, 1 << 20).into_iter().map(text).collect()
    }

    #[test]
    fn three_mails_come_out_as_they_went_in_with_from_in_a_body() {
        let bodies = [
            "Subject: 1\n\none\n",
            "Subject: 2\n\nFrom what I hear\n>From quoted 10:00 1999\n>>From more\n\n\n",
            "Subject: 3\n\nlast",
        ];
        let mbox = format!("{FROM}{}\n{FROM}{}\n{FROM}{}", bodies[0], bodies[1], bodies[2]);
        assert_eq!(mails(&mbox), bodies);
    }

    #[test]
    fn lines_may_end_in_crlf() {
        let mbox = format!("{FROM}A: 1\n\nx\n\n{FROM}B: 2\n\nFrom me to you\n\n").replace('\n', "\r\n");
        assert_eq!(mails(&mbox), ["A: 1\r\n\r\nx\r\n", "B: 2\r\n\r\nFrom me to you\r\n"]);
    }

    #[test]
    fn a_from_line_with_a_date_cuts_only_behind_an_empty_line() {
        assert_eq!(mails(&format!("{FROM}A: 1\n\nx\n{FROM}y\n")), [format!("A: 1\n\nx\n{FROM}y\n")]);
        assert_eq!(mails(&format!("{FROM}A: 1\n \n{FROM}y\n")), [format!("A: 1\n \n{FROM}y\n")]);
    }

    #[test]
    fn the_first_line_needs_no_date() {
        assert_eq!(mails("From nobody\nA: 1\n"), ["A: 1\n"]);
        assert_eq!(mails("From "), [""]);
    }

    #[test]
    fn the_last_mail_is_the_same_before_and_after_the_mbox_has_grown() {
        let short = format!("{FROM}A: 1\n\nx\n\n");
        let grown = format!("{short}{FROM}B: 2\n\n");
        assert_eq!(mails(&short)[0], mails(&grown)[0]);
    }

    #[test]
    fn a_mail_of_no_bytes_is_still_counted() {
        assert_eq!(mails(&format!("{FROM}\n{FROM}\n\n{FROM}")), ["", "\n", ""]);
    }

    #[test]
    fn a_mail_that_is_too_large_is_left_out_and_the_next_one_is_read() {
        let mbox = format!("{FROM}12345678\n\n{FROM}1234567\n\n{FROM}{}\n\n{FROM}ok\n", "x".repeat(200_000));
        let ok = |text: &str| Piece::Mail(text.as_bytes().to_vec());
        assert_eq!(split(&mbox, 8), [Piece::TooLarge, ok("1234567\n"), Piece::TooLarge, ok("ok\n")]);
        assert_eq!(split(&mbox, 0), [Piece::TooLarge, Piece::TooLarge, Piece::TooLarge, Piece::TooLarge]);
        assert_eq!(split(&mbox, u64::MAX).len(), 4);
    }

    #[test]
    fn lines_longer_than_a_stretch_neither_cut_nor_break() {
        for length in [65_535, 65_536, 65_537, 131_072] {
            let long = "y".repeat(length);
            // The rest of the long line looks like an empty line, and then like a From_ line.
            let body = format!("A: 1\n\n{long}\n{FROM}{long}\r\n{FROM}z\n");
            assert_eq!(mails(&format!("{FROM}{body}")), [body], "{length}");
            let from = format!("From a@b 10:00 {long}\n");
            assert_eq!(mails(&format!("{FROM}x\n\n{from}y\n\n{from}z\n")), ["x\n", "y\n", "z\n"], "{length}");
        }
    }

    #[test]
    fn only_a_line_with_a_time_or_a_year_behind_the_sender_is_a_from_line() {
        for line in [
            "From a@b Thu Nov 24 18:22:48 1986",
            "From - Thu Nov 24 18:22:48 1986",
            "From MAILER-DAEMON Thu Nov 24 18:22 EST",
            "From a@b 2001-02-03",
            "From  Thu Nov 24 1986\r\n",
            "From \"a b\"@c Fri, 08 May 2020 10:00:00 +0000",
        ] {
            assert!(is_from_line(line.as_bytes()), "{line}");
        }
        for line in [
            "From what I hear",
            "From 2019 on it was so",
            "From a@b",
            "From ",
            "from a@b 10:00 1999",
            ">From a@b 10:00",
            "From:  10:00 1999",
            "From the 12345 to 99:99, 1:1 or a2001",
        ] {
            assert!(!is_from_line(line.as_bytes()), "{line}");
        }
    }
}
