//! Any bytes as what hides files: TNEF, S/MIME, uuencode and yEnc. The same bytes let out the same, within the budget and in proportion to
//! what a container of that kind can hold; each problem is said once.

use mailmill::extract::{Budget, Limits, Problem, Smime, Unpacked, smime, tnef, uuencoded, yenc};

pub fn check(bytes: &[u8]) {
    // A generous budget, and one that the first byte makes small.
    let small = u64::from(bytes.first().copied().unwrap_or_default());
    let generous = Limits { depth: 8, count: 200, bytes: 1 << 20 };
    for limits in [generous, Limits { depth: 2, count: 3, bytes: small }] {
        for open in [tnef, uuencoded, yenc] {
            assert_within(bytes, limits, |budget| open(bytes, budget));
        }
        assert_within(bytes, limits, |budget| match smime(bytes, budget) {
            Some(Smime::Opened(unpacked)) => unpacked,
            Some(Smime::Detached | Smime::Encrypted) | None => Unpacked::default(),
        });
    }
}

fn assert_within(bytes: &[u8], limits: Limits, open: impl Fn(&mut Budget) -> Unpacked) {
    let mut budget = Budget::new(limits);
    let unpacked = open(&mut budget);
    assert_eq!(unpacked, open(&mut Budget::new(limits)), "the same bytes let out the same");
    let files: usize = unpacked.files.iter().map(|file| file.bytes.len()).sum();
    assert!(files as u64 <= limits.bytes, "{files} bytes of files under a limit of {}", limits.bytes);
    assert!(unpacked.files.len() <= limits.count, "{} files under a limit of {}", unpacked.files.len(), limits.count);
    assert!(budget.bytes_left() as u64 + files as u64 <= limits.bytes, "a file that was not paid for");
    assert!(budget.files_left() + unpacked.files.len() <= limits.count);
    let mut again = Budget::new(limits);
    assert!(budget.enter().is_ok() == again.enter().is_ok(), "a container that was opened and not left");
    let texts = [&unpacked.subject, &unpacked.body_text, &unpacked.body_html, &unpacked.meeting];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    // A code page makes at most three bytes of one; RTF is packed at most 8 : 1 twice over, as text and as HTML.
    assert!(texts <= 64 * bytes.len() + (64 << 10), "{texts} bytes of text out of {}", bytes.len());
    let mut problems: Vec<Problem> = Vec::new();
    for problem in unpacked.problems {
        assert!(!problems.contains(&problem), "{problem} twice");
        problems.push(problem);
    }
}
