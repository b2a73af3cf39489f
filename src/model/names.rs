//! The one place that turns a name from a mail into the name of a file or folder.
//!
//! Every path into the store asks here (MIME parameters, TNEF, nested mail, folders by sender or
//! subject), so that one rule holds everywhere. Pure: it never looks at a disk, never fails, and
//! says nothing about whether a name is taken; [`fold`] and [`numbered`] are for whoever decides that.

use unicode_normalization::UnicodeNormalization;

/// The longest name in bytes of UTF-8: `NAME_MAX` of ext4. NTFS and SMB allow 255 UTF-16 units, which is never fewer.
pub const MAX_BYTES: usize = 255;

/// Longer than this and what follows the last dot is text, not an extension worth keeping.
const MAX_EXTENSION_BYTES: usize = 32;

/// The name of last resort, when even the fallback has nothing in it.
const UNNAMED: &str = "unnamed";

/// A name that is safe to create on ext4, NTFS and SMB and to serve as one URL path segment.
///
/// Idempotent for the same `fallback`; never empty, never longer than [`MAX_BYTES`]. A path gives its
/// last part that has something in it, since folders on the sender's disk are not part of a name.
/// Upper and lower case are kept.
pub fn clean(name: &str, fallback: &str) -> String {
    [name, fallback]
        .into_iter()
        .map(clean_path)
        .find(|cleaned| !cleaned.is_empty())
        .unwrap_or_else(|| UNNAMED.to_owned())
}

/// The `n`-th name for files that would all be called `name`: "report.docx", 2 is "report (2).docx".
///
/// `n` below 2 is the name itself. Different `n` give different names, also where the stem has to be
/// cut to stay within [`MAX_BYTES`]; of a clean name the result is clean.
pub fn numbered(name: &str, n: u32) -> String {
    if n < 2 {
        return name.to_owned();
    }
    let (stem, suffix) = split(name);
    let number = format!(" ({n})");
    let room = MAX_BYTES.saturating_sub(number.len() + suffix.len());
    let kept = cut(stem, room);
    let candidate = [kept, &number, suffix].concat();
    if candidate != name {
        return candidate;
    }
    // A full-length name that already ended in this very number, which the cut took off.
    [cut(kept, kept.len().saturating_sub(1)), &number, suffix].concat()
}

/// The first of `name`, `name (2)`, `name (3)`, ... that is not taken.
pub fn free(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut candidates = (1..=u32::MAX).map(|n| numbered(name, n));
    candidates.find(|candidate| !taken(candidate)).unwrap_or_else(|| name.to_owned())
}

/// The form in which two names are the same file: the key for collisions.
///
/// NFC and lower case, because NTFS and SMB ignore case and macOS clients send NFD. Not a name to
/// create or to show. Lower-casing goes letter by letter and knows one sigma, so that a word's end does not matter.
pub fn fold(name: &str) -> String {
    name.nfc().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).nfc().collect()
}

/// A name for a part that came without one: "attachment-1.png". `index` is shown as it is given.
///
/// `content_type` may be a whole Content-Type field body (RFC 2045 section 5.1); parameters and case do not matter.
pub fn fallback_for(content_type: &str, index: usize) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    let extension = EXTENSIONS.iter().find(|(known, _)| *known == essence).map_or("bin", |(_, extension)| extension);
    format!("attachment-{index}.{extension}")
}

/// What follows the last dot, as written: "docx" of "a.docx".
///
/// None where nothing but dots precedes it (".bashrc" is hidden, not a "bashrc"), and none for what
/// only looks like one: empty, with white space in it ("Dr. Smith"), or longer than 32 bytes.
pub fn extension(name: &str) -> Option<&str> {
    let (stem, extension) = name.rsplit_once('.')?;
    let looks_like_one =
        !extension.is_empty() && extension.len() <= MAX_EXTENSION_BYTES && !extension.contains(char::is_whitespace);
    (looks_like_one && stem.contains(|c| c != '.')).then_some(extension)
}

/// The last part of a path that has something in it, clean; empty when there is none.
///
/// Both separators count whatever the sender's system was, so `C:\Scans\` is "Scans" and `..` is nothing.
fn clean_path(path: &str) -> String {
    path.rsplit(['/', '\\']).map(clean_segment).find(|cleaned| !cleaned.is_empty()).unwrap_or_default()
}

fn clean_segment(segment: &str) -> String {
    let replaced = replace(segment);
    let trimmed = trim(&replaced);
    if is_device(trimmed) { shorten(&format!("_{trimmed}")) } else { shorten(trimmed) }
}

/// Drops what cannot be seen, replaces what cannot be stored, and makes one space of each run of white space.
///
/// Dropping comes before NFC: a zero-width character between a letter and its accent must not leave a
/// name that the next call would compose.
fn replace(segment: &str) -> String {
    let mut replaced = String::with_capacity(segment.len());
    for c in segment.chars().filter(|&c| !is_invisible(c)).nfc() {
        match c {
            c if FORBIDDEN.contains(&c) => replaced.push('_'),
            c if !c.is_whitespace() => replaced.push(c),
            _ if replaced.ends_with(' ') => {}
            _ => replaced.push(' '),
        }
    }
    replaced
}

/// Not allowed in a Win32 file name (Naming Files, Paths, and Namespaces), or with a meaning of its
/// own in a URL path segment (RFC 3986 section 3.3: `#`, `%`, `?`).
const FORBIDDEN: [char; 11] = ['"', '#', '%', '*', ':', '<', '>', '?', '/', '\\', '|'];

/// Characters that a reader does not see, or that change what he sees: with U+202E "gpj.exe" shows as "exe.jpg".
fn is_invisible(c: char) -> bool {
    let plane_offset = u32::from(c) & 0xffff;
    c.is_control()
        || plane_offset >= 0xfffe // the two noncharacters that end each plane
        || matches!(c,
            '\u{ad}'                    // soft hyphen
            | '\u{61c}'                 // Arabic letter mark, a bidi control
            | '\u{180e}'                // Mongolian vowel separator, zero width since Unicode 6.3
            | '\u{200b}'..='\u{200f}'   // zero-width characters, bidi marks
            | '\u{2028}'..='\u{202e}'   // line and paragraph separator, bidi embeddings
            | '\u{2060}'..='\u{2069}'   // word joiner, invisible operators, bidi isolates
            | '\u{fdd0}'..='\u{fdef}'   // noncharacters
            | '\u{feff}'                // byte order mark
            | '\u{fff0}'..='\u{fffb}'   // unassigned specials, interlinear annotation
        )
}

/// A leading dot would hide the file, a trailing dot or space is lost on Windows.
fn trim(name: &str) -> &str {
    name.trim_matches([' ', '.'])
}

/// Names that Win32 takes for a device, with any extension, in any case, with spaces before the dot.
fn is_device(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or_default();
    let base = base.trim_end_matches(' ').to_ascii_uppercase();
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&base.as_str()) {
        return true;
    }
    let port = base.strip_prefix("COM").or_else(|| base.strip_prefix("LPT"));
    let mut digits = port.unwrap_or_default().chars();
    matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}

/// Cuts a name to [`MAX_BYTES`] and keeps its extension.
fn shorten(name: &str) -> String {
    if name.len() <= MAX_BYTES {
        return name.to_owned();
    }
    let (stem, suffix) = split(name);
    let room = MAX_BYTES.saturating_sub(suffix.len());
    [cut(stem, room), suffix].concat()
}

/// At most `room` bytes of a stem, ending neither inside a character nor with a space or dot.
fn cut(stem: &str, room: usize) -> &str {
    stem[..stem.floor_char_boundary(room)].trim_end_matches([' ', '.'])
}

/// A name as what may be cut or numbered and what stays at its end, the dot with it: "report" and ".tar.gz".
fn split(name: &str) -> (&str, &str) {
    let Some(outer) = extension(name) else {
        return (name, "");
    };
    let mut suffix = outer.len() + 1;
    let stem = &name[..name.len() - suffix];
    if WRAPPERS.iter().any(|known| known.eq_ignore_ascii_case(outer))
        && let Some(inner) = extension(stem)
        && is_inner_extension(inner)
    {
        suffix += inner.len() + 1;
    }
    name.split_at(name.len() - suffix)
}

/// Extensions that are put after another one: packed, encrypted or signed files.
const WRAPPERS: [&str; 19] = [
    "asc", "br", "bz2", "enc", "gpg", "gz", "lz", "lz4", "lzma", "p7c", "p7m", "p7s", "pgp", "sig", "tsd", "xz", "z",
    "zst", "zstd",
];

/// "tar" of "a.tar.gz", but not "2" of "version 1.2.gz".
fn is_inner_extension(inner: &str) -> bool {
    inner.len() <= 5
        && inner.starts_with(|c: char| c.is_ascii_alphabetic())
        && inner.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Common types of attachments and the extension people expect, by type (IANA media types, and the `x-` names that mailers still send).
const EXTENSIONS: &[(&str, &str)] = &[
    ("application/epub+zip", "epub"),
    ("application/gzip", "gz"),
    ("application/ics", "ics"),
    ("application/java-archive", "jar"),
    ("application/javascript", "js"),
    ("application/json", "json"),
    ("application/ms-tnef", "dat"),
    ("application/msword", "doc"),
    ("application/ogg", "ogg"),
    ("application/pdf", "pdf"),
    ("application/pgp-encrypted", "asc"),
    ("application/pgp-keys", "asc"),
    ("application/pgp-signature", "asc"),
    ("application/pkcs7-mime", "p7m"),
    ("application/pkcs7-signature", "p7s"),
    ("application/pkix-cert", "cer"),
    ("application/postscript", "ps"),
    ("application/rtf", "rtf"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-excel.sheet.macroenabled.12", "xlsm"),
    ("application/vnd.ms-outlook", "msg"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.ms-project", "mpp"),
    ("application/vnd.ms-tnef", "dat"),
    ("application/vnd.ms-word.document.macroenabled.12", "docm"),
    ("application/vnd.ms-xpsdocument", "xps"),
    ("application/vnd.oasis.opendocument.graphics", "odg"),
    ("application/vnd.oasis.opendocument.presentation", "odp"),
    ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
    ("application/vnd.oasis.opendocument.text", "odt"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.slideshow", "ppsx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.template", "xltx"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.template", "dotx"),
    ("application/vnd.rar", "rar"),
    ("application/vnd.visio", "vsd"),
    ("application/x-7z-compressed", "7z"),
    ("application/x-bzip2", "bz2"),
    ("application/x-gzip", "gz"),
    ("application/x-pkcs7-mime", "p7m"),
    ("application/x-pkcs7-signature", "p7s"),
    ("application/x-rar-compressed", "rar"),
    ("application/x-tar", "tar"),
    ("application/x-zip-compressed", "zip"),
    ("application/xhtml+xml", "xhtml"),
    ("application/xml", "xml"),
    ("application/yaml", "yaml"),
    ("application/zip", "zip"),
    ("audio/aac", "aac"),
    ("audio/amr", "amr"),
    ("audio/flac", "flac"),
    ("audio/mp4", "m4a"),
    ("audio/mpeg", "mp3"),
    ("audio/ogg", "ogg"),
    ("audio/wav", "wav"),
    ("audio/x-wav", "wav"),
    ("image/avif", "avif"),
    ("image/bmp", "bmp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("image/heif", "heif"),
    ("image/jpeg", "jpg"),
    ("image/jpg", "jpg"),
    ("image/pjpeg", "jpg"),
    ("image/png", "png"),
    ("image/svg+xml", "svg"),
    ("image/tiff", "tif"),
    ("image/vnd.microsoft.icon", "ico"),
    ("image/webp", "webp"),
    ("image/x-emf", "emf"),
    ("image/x-icon", "ico"),
    ("image/x-png", "png"),
    ("image/x-wmf", "wmf"),
    ("message/delivery-status", "txt"),
    ("message/disposition-notification", "txt"),
    ("message/global", "eml"),
    ("message/rfc822", "eml"),
    ("text/calendar", "ics"),
    ("text/css", "css"),
    ("text/csv", "csv"),
    ("text/directory", "vcf"),
    ("text/html", "html"),
    ("text/javascript", "js"),
    ("text/markdown", "md"),
    ("text/plain", "txt"),
    ("text/richtext", "rtx"),
    ("text/rfc822-headers", "txt"),
    ("text/rtf", "rtf"),
    ("text/tab-separated-values", "tsv"),
    ("text/vcard", "vcf"),
    ("text/x-diff", "diff"),
    ("text/x-patch", "patch"),
    ("text/x-vcalendar", "vcs"),
    ("text/x-vcard", "vcf"),
    ("text/xml", "xml"),
    ("video/3gpp", "3gp"),
    ("video/mp4", "mp4"),
    ("video/mpeg", "mpg"),
    ("video/ogg", "ogv"),
    ("video/quicktime", "mov"),
    ("video/webm", "webm"),
    ("video/x-ms-wmv", "wmv"),
    ("video/x-msvideo", "avi"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn cleaned(name: &str) -> String {
        clean(name, "fallback")
    }

    #[test]
    fn an_ordinary_name_stays_as_it_is() {
        for name in [
            "report.docx",
            "Angebot Nr. 5 (final) & Übersicht.PDF",
            "報告書.pdf",
            "a~b{c}.txt",
            "console.log",
            "COM10",
            "comma.txt",
            "x",
        ] {
            assert_eq!(cleaned(name), name);
        }
    }

    #[test]
    fn forbidden_characters_become_underscores() {
        assert_eq!(cleaned("a#b%c?.docx"), "a_b_c_.docx"); // probe 9
        assert_eq!(cleaned(r#"a"b*c:d<e>f|g"#), "a_b_c_d_e_f_g");
    }

    #[test]
    fn a_long_name_is_cut_and_keeps_its_extension() {
        let long = cleaned(&format!("{}.docx", "n".repeat(300))); // probe 9
        assert_eq!(long, format!("{}.docx", "n".repeat(250)));
        let tar = cleaned(&format!("{}.tar.gz", "n".repeat(300)));
        assert_eq!(tar, format!("{}.tar.gz", "n".repeat(248)));
        let accents = cleaned(&format!("{}.pdf", "é".repeat(300)));
        assert_eq!(accents, format!("{}.pdf", "é".repeat(125)));
        let no_extension = cleaned(&format!("a.{}", "é".repeat(300)));
        assert_eq!(no_extension, format!("a.{}", "é".repeat(126)));
        let space_at_the_cut = cleaned(&format!("{} {}.docx", "n".repeat(249), "n".repeat(50)));
        assert_eq!(space_at_the_cut, format!("{}.docx", "n".repeat(249)));
    }

    #[test]
    fn a_path_gives_its_last_part() {
        assert_eq!(cleaned("..\\..\\evil.exe"), "evil.exe");
        assert_eq!(cleaned("../../etc/passwd"), "passwd");
        assert_eq!(cleaned("C:\\Users\\x/scan.pdf"), "scan.pdf");
        assert_eq!(cleaned("scans/"), "scans");
        assert_eq!(cleaned("scans/.."), "scans");
        assert_eq!(cleaned("C:\\"), "C_");
    }

    #[test]
    fn device_names_are_prefixed() {
        for (name, expected) in [
            ("con.txt", "_con.txt"),
            ("NUL", "_NUL"),
            ("Aux.tar.gz", "_Aux.tar.gz"),
            ("prn .txt", "_prn .txt"),
            ("com1", "_com1"),
            ("LPT0.pdf", "_LPT0.pdf"),
            ("COM\u{b9}.x", "_COM\u{b9}.x"),
            ("lpt³", "_lpt³"),
            ("CONIN$", "_CONIN$"),
            (".con", "_con"),
            ("con\u{200b}.txt", "_con.txt"),
        ] {
            assert_eq!(cleaned(name), expected);
        }
    }

    #[test]
    fn invisible_characters_are_dropped() {
        assert_eq!(cleaned("a\u{202e}gpj.exe"), "agpj.exe");
        assert_eq!(cleaned("a\r\n b\u{1b}[31m.txt\0"), "a b[31m.txt");
        assert_eq!(cleaned("in\u{ad}vo\u{200d}ice\u{feff}\u{fffb}\u{fdd0}\u{1ffff}\u{2028}.pdf"), "invoice.pdf");
    }

    #[test]
    fn white_space_and_dots_are_tidied() {
        assert_eq!(cleaned("  ..a \u{3000}\u{a0} b. . "), "a b");
        assert_eq!(cleaned(".bashrc"), "bashrc");
        assert_eq!(cleaned("a \u{200b} b"), "a b");
    }

    #[test]
    fn names_are_composed() {
        assert_eq!(cleaned("re\u{301}sume\u{301}.doc"), "résumé.doc");
        assert_eq!(cleaned("e\u{200b}\u{301}"), "é");
    }

    #[test]
    fn a_name_with_nothing_in_it_is_the_fallback() {
        for name in ["", ".", "..", " . ", "/", "../..", "\u{200b}", "\n\t"] {
            assert_eq!(clean(name, "a/b?.png"), "b_.png");
            assert_eq!(clean(name, ".."), "unnamed");
        }
    }

    #[test]
    fn a_number_goes_before_the_extension() {
        assert_eq!(numbered("report.docx", 0), "report.docx");
        assert_eq!(numbered("report.docx", 1), "report.docx");
        assert_eq!(numbered("report.docx", 2), "report (2).docx");
        assert_eq!(numbered("backup.tar.gz", 3), "backup (3).tar.gz");
        assert_eq!(numbered("invoice.XML.P7M", 3), "invoice (3).XML.P7M");
        assert_eq!(numbered("version 1.2.gz", 3), "version 1.2 (3).gz");
        assert_eq!(numbered("README", 4), "README (4)");
        assert_eq!(numbered("Letter to Dr. Smith", 2), "Letter to Dr. Smith (2)");
        assert_eq!(numbered("a .txt", 2), "a (2).txt");
    }

    #[test]
    fn a_numbered_name_still_fits() {
        let name = format!("{}.docx", "é".repeat(125));
        let last = numbered(&name, u32::MAX);
        assert_eq!(last, format!("{} (4294967295).docx", "é".repeat(118)));
        assert!(last.len() <= MAX_BYTES);
    }

    #[test]
    fn a_full_name_that_ends_in_its_number_gets_another_name() {
        let name = format!("{} (2).txt", "n".repeat(247));
        assert_eq!(name.len(), MAX_BYTES);
        assert_eq!(numbered(&name, 2), format!("{} (2).txt", "n".repeat(246)));
    }

    #[test]
    fn names_that_differ_in_case_or_form_fold_alike() {
        assert_eq!(fold("Résumé.DOC"), fold("re\u{301}sume\u{301}.doc"));
        assert_eq!(fold("ΛΟΓΟΣ"), fold("λογος"));
        assert_eq!(fold("ΛΟΓΟΣ.txt"), fold("λογοσ.TXT"));
        assert_ne!(fold("a.txt"), fold("b.txt"));
    }

    #[test]
    fn a_part_without_a_name_is_named_by_its_type() {
        assert_eq!(fallback_for("image/png", 1), "attachment-1.png");
        assert_eq!(fallback_for(" Message/RFC822 ; charset=utf-8", 2), "attachment-2.eml");
        assert_eq!(fallback_for("text/calendar; method=REQUEST", 3), "attachment-3.ics");
        assert_eq!(fallback_for("x-unknown/../etc", 4), "attachment-4.bin");
        assert_eq!(fallback_for("", 5), "attachment-5.bin");
    }

    #[test]
    fn every_fallback_is_clean_and_every_type_is_listed_once() {
        let mut seen = HashSet::new();
        for (content_type, _) in EXTENSIONS {
            let name = fallback_for(content_type, 7);
            assert_eq!(clean(&name, ""), name);
            assert_eq!(content_type.to_ascii_lowercase(), *content_type);
            assert!(seen.insert(content_type), "{content_type} is listed twice");
        }
    }

    #[test]
    fn an_extension_is_what_follows_the_last_dot() {
        assert_eq!(extension("a.docx"), Some("docx"));
        assert_eq!(extension("a.b.DOCX"), Some("DOCX"));
        for name in [".bashrc", "..x", "a", "a.", "", "Dr. Smith"] {
            assert_eq!(extension(name), None, "{name}");
        }
        assert_eq!(extension(&format!("a.{}", "x".repeat(32))).map(str::len), Some(32));
        assert_eq!(extension(&format!("a.{}", "x".repeat(33))), None);
    }

    /// Any text, and text made of what the rules are about, often long enough to be cut.
    fn hostile() -> impl Strategy<Value = String> {
        const PIECES: [&str; 40] = [
            "/",
            "\\",
            ".",
            "..",
            " ",
            "\t",
            "\n",
            "\0",
            "\u{1b}",
            "\u{85}",
            "\u{2028}",
            "\u{202e}",
            "\u{200b}",
            "\u{ad}",
            "\u{feff}",
            "\u{fff9}",
            "\u{fffe}",
            "\u{3000}",
            "\u{301}",
            "\u{338}",
            "\u{345}",
            "\u{3099}",
            "か",
            "<",
            "#",
            "?",
            "%",
            ":",
            "con",
            "AUX",
            "com",
            "¹",
            "1",
            ".tar",
            ".gz",
            ".docx",
            "İ",
            "Σ",
            "\u{1100}\u{1161}",
            " (2)",
        ];
        let piece = prop_oneof![
            8 => proptest::sample::select(&PIECES[..]).prop_map(str::to_owned),
            1 => any::<char>().prop_map(String::from),
            1 => (any::<char>(), 100_usize..260).prop_map(|(c, times)| c.to_string().repeat(times)),
            1 => (240_usize..260).prop_map(|times| "n".repeat(times)),
        ];
        prop_oneof![any::<String>(), prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())]
    }

    fn assert_safe(name: &str) {
        assert!(!name.is_empty() && name.len() <= MAX_BYTES, "{name:?}");
        assert!(!name.contains(|c| FORBIDDEN.contains(&c) || is_invisible(c)), "{name:?}");
        assert!(!name.starts_with([' ', '.']) && !name.ends_with([' ', '.']), "{name:?}");
        assert!(!is_device(name), "{name:?}");
        let components: Vec<_> = Path::new(name).components().collect();
        assert!(matches!(components[..], [Component::Normal(_)]), "{name:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn clean_names_are_safe_and_stay_as_they_are(name in hostile(), fallback in hostile()) {
            let once = clean(&name, &fallback);
            assert_safe(&once);
            prop_assert_eq!(clean(&once, &fallback), once.clone());
            prop_assert_eq!(clean(&once, ""), once);
        }

        #[test]
        fn numbered_names_are_clean_and_distinct(name in hostile(), numbers in prop::collection::hash_set(1_u32.., 1..5)) {
            let name = cleaned(&name);
            let mut seen = HashSet::new();
            for n in numbers.into_iter().chain([2]).collect::<HashSet<_>>() {
                let numbered = numbered(&name, n);
                assert_safe(&numbered);
                prop_assert_eq!(clean(&numbered, ""), numbered.clone());
                prop_assert!(seen.insert(fold(&numbered)), "{:?} twice", numbered);
            }
        }

        #[test]
        fn folding_twice_is_folding_once(name in hostile()) {
            prop_assert_eq!(fold(&fold(&name)), fold(&name));
        }

        #[test]
        fn names_that_are_not_clean_do_no_harm(name in hostile(), n in any::<u32>()) {
            let _ = (numbered(&name, n), extension(&name), fallback_for(&name, 1));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn clean_names_can_be_created(name in hostile(), n in any::<u32>()) {
            let folder = tempfile::tempdir().unwrap();
            let name = cleaned(&name);
            std::fs::File::create(folder.path().join(&name)).unwrap();
            std::fs::File::create(folder.path().join(numbered(&name, n))).unwrap();
            let entries = std::fs::read_dir(folder.path()).unwrap();
            let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            prop_assert!(names.contains(&std::ffi::OsString::from(name)));
        }
    }
}
