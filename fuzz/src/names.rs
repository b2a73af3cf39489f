//! Any text as a name: what comes out is safe to create, stays as it is, and can be numbered.
//! The input is `name LF fallback LF anything`; the number is its length.

use std::collections::HashSet;

use mailmill::model::names::{MAX_BYTES, clean, extension, fallback_for, fold, free, numbered};

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let (name, fallback) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    // The whole text too, so that line ends are part of a name.
    for (name, fallback) in [(name, fallback), (text.as_ref(), name)] {
        let cleaned = clean(name, fallback);
        assert_clean(&cleaned);
        assert_eq!(clean(&cleaned, fallback), cleaned, "cleaning twice is cleaning once");
        assert_eq!(clean(&cleaned, ""), cleaned, "a clean name needs no fallback");
        assert_eq!(fold(&fold(&cleaned)), fold(&cleaned), "folding twice is folding once");
        let number = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut seen = HashSet::new();
        for n in [1, 2, 3, number.max(4), u32::MAX] {
            let numbered = numbered(&cleaned, n);
            assert_clean(&numbered);
            assert!(seen.insert(fold(&numbered)), "{numbered:?} twice");
        }
        let other = free(&cleaned, |candidate| fold(candidate) == fold(&cleaned));
        assert_ne!(fold(&other), fold(&cleaned), "a free name is not a taken one");
        // On what is not clean: no more than that nothing breaks.
        let _ = (numbered(name, number), extension(name), extension(&cleaned));
        assert_clean(&clean(&fallback_for(name, bytes.len()), ""));
    }
}

/// Safe as the name of a file: one segment of a path that a reader sees as it is.
pub fn assert_clean(name: &str) {
    assert!(!name.is_empty() && name.len() <= MAX_BYTES, "{} bytes: {name:?}", name.len());
    assert!(name != "." && name != ".." && !name.starts_with(['.', ' ']) && !name.ends_with(['.', ' ']), "{name:?}");
    assert!(!name.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|', '#', '%']), "{name:?}");
    let bidi =
        |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!name.contains(|c: char| c.is_control() || bidi(c)), "{name:?}");
    assert_eq!(clean(name, ""), name, "a name that was given out is clean");
}
