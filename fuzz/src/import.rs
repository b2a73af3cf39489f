//! Any bytes as an mbox: what comes out is what went in, but for the lines that separate the mails.

use std::io::BufReader;

use mailmill::import_source::mbox::{Mbox, Piece};

pub fn check(bytes: &[u8]) {
    // The splitter is handed only files that start so.
    let file = [&b"From "[..], bytes].concat();
    let whole = split(&file, 64 << 10, u64::MAX);
    assert_conserved(&file, &whole);
    assert_eq!(split(&file, 1 + bytes.len() % 7, u64::MAX), whole, "however it is read");
    let limit = bytes.first().map_or(0, |byte| u64::from(*byte));
    let limited: Vec<Piece> = whole
        .into_iter()
        .map(|piece| match piece {
            Piece::Mail(mail) if mail.len() as u64 <= limit => Piece::Mail(mail),
            _ => Piece::TooLarge,
        })
        .collect();
    assert_eq!(split(&file, 64 << 10, limit), limited, "a limit changes nothing but what exceeds it");
}

fn split(file: &[u8], buffer: usize, limit: u64) -> Vec<Piece> {
    let mut mbox = Mbox::new(BufReader::with_capacity(buffer, file));
    let mut pieces = Vec::new();
    while !mbox.is_at_end() {
        pieces.push(mbox.next_mail(limit).expect("reading from memory"));
    }
    pieces
}

/// Puts the file together again: a From_ line before each mail, an empty line before each next From_ line, and at most one at the end.
fn assert_conserved(file: &[u8], pieces: &[Piece]) {
    let mut rest = file;
    for (number, piece) in pieces.iter().enumerate() {
        let Piece::Mail(mail) = piece else { panic!("too large without a limit") };
        if number > 0 {
            rest = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n")).expect("an empty line before a From_ line");
        }
        assert!(rest.starts_with(b"From "), "a mail starts behind a From_ line");
        let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        rest = rest[line..].strip_prefix(mail.as_slice()).expect("the mail as it was");
    }
    assert!(matches!(rest, b"" | b"\n" | b"\r\n"), "nothing is left over: {rest:?}");
    assert!(!pieces.is_empty(), "an mbox has a mail");
}
