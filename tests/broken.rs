//! Broken, odd and hostile mail through the pure middle of the pipeline, as a worker runs it: nothing that was sent is missing, nothing
//! that was not is there. No file and no process; `tests/hostile.rs` looks at the same from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it reads a corpus

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use mailmill::config::{Config, Limits};
use mailmill::engine::Mill;
use mailmill::model::item::{Attachment, Item};
use mailmill::model::list::Kind;
use mailmill::model::plan::Plan;
use mailmill::model::settings::{ListSettings, Senders};
use mailmill::store::MemoryStore;

fn mill() -> Mill {
    let config = Config { limits: Limits { workers: 1, ..Limits::default() }, ..Config::default() };
    let mill = Mill::new(config, Arc::new(MemoryStore::default())).unwrap();
    let settings = ListSettings {
        address: "l".to_owned(),
        senders: Senders::Any,
        save_original: true,
        blocked_types: vec!["exe".to_owned()],
        ..ListSettings::default()
    };
    mill.lists().create("l", Kind::DocumentLibrary, settings).unwrap();
    mill
}

/// What a mail without its envelope becomes.
struct Made {
    item: Item,
    plan: Plan,
}

fn made(mail: impl AsRef<[u8]>) -> Made {
    let file = [&b"x-sender: a@a.example\r\nx-receiver: l@l.example\r\n"[..], mail.as_ref()].concat();
    let plan = *mill().plan(&file, "x.eml").expect("memory does not fail");
    assert!(plan.failures.is_empty(), "{:?}", plan.failures);
    let item = plan.deliveries[0].item.as_deref().expect("it is new").clone();
    let made = Made { item, plan };
    assert_eq!(made.bytes(made.item.original.as_ref().unwrap()), mail.as_ref(), "the original is the mail");
    made
}

impl Made {
    fn bytes(&self, file: &Attachment) -> Vec<u8> {
        self.plan.blobs.iter().find(|blob| blob.hash == file.blob).unwrap().bytes.to_vec()
    }

    fn files(&self) -> Vec<(String, String)> {
        let text = |file: &Attachment| String::from_utf8_lossy(&self.bytes(file)).into_owned();
        self.item.attachments.iter().map(|file| (file.name.clone(), text(file))).collect()
    }

    fn unpacked(&self) -> Vec<(String, String, String)> {
        let row = |file: &mailmill::model::item::ExtractedFile| {
            (file.file.name.clone(), file.from.clone(), String::from_utf8_lossy(&self.bytes(&file.file)).into_owned())
        };
        self.item.extracted.iter().map(row).collect()
    }

    fn has_defect(&self, part: &str) -> bool {
        self.item.defects.iter().any(|defect| defect.contains(part))
    }

    fn text(&self) -> &str {
        self.item.body_text.as_deref().unwrap_or_default()
    }
}

fn file(name: &str, content: &str) -> (String, String) {
    (name.to_owned(), content.to_owned())
}

fn wrap(kind: &str, bytes: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!(
        "From: a@a.example\r\nSubject: s\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        lines.join("\r\n")
    )
}

/// RFC 2046 section 5.1.5: a part of a digest is a mail, whether it says so or not.
#[test]
fn each_mail_of_a_digest_is_one_file_and_its_attachments_are_unpacked() {
    let made = made(
        "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: one\n\nfirst\n--d\nContent-Type: message/rfc822\n\nSubject: two\n\
         Content-Type: multipart/mixed; boundary=e\n\n--e\n\nsecond\n--e\nContent-Disposition: attachment; filename=in.txt\n\ninner\n--e--\n--d--\n",
    );
    assert_eq!(made.files().len(), 2);
    assert_eq!(made.files()[0].1, "Subject: one\n\nfirst");
    assert_eq!(made.unpacked(), [("in.txt".to_owned(), "attachment 2".to_owned(), "inner".to_owned())]);
}

/// RFC 2046 section 5.2.2.
#[test]
fn a_piece_of_a_mail_is_kept_as_it_is_and_marked() {
    let mail = "Subject: part 2\nContent-Type: message/partial; id=\"x@a\"; number=2; total=3\n\nthe middle of something\n--b--\n";
    let made = made(mail);
    assert_eq!(made.files().len(), 1);
    assert_eq!(made.files()[0].1, "the middle of something\n--b--\n");
    assert_eq!(made.item.attachments[0].content_type, "message/partial");
    assert!(made.has_defect("message-partial"), "{:?}", made.item.defects);
    assert!(made.unpacked().is_empty());
}

#[test]
fn bytes_of_no_type_are_named_by_what_they_are() {
    let of = |head: &str, bytes: &[u8]| made(wrap(&format!("application/octet-stream{head}"), bytes));
    let named = |made: Made| made.files().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(named(of("", b"%PDF-1.7\n")), ["attachment-1.pdf"]);
    assert_eq!(named(of("", b"\x89PNG\r\n\x1a\n")), ["attachment-1.png"]);
    assert_eq!(named(of("", b"no magic")), ["attachment-1.bin"]);
    assert_eq!(named(of("; name=report.txt", b"%PDF-1.7\n")), ["report.txt"], "a name that was sent stays");
    let program = of("", b"MZ\x90\0\x03\0\0\0");
    assert!(
        program.files().is_empty() && program.has_defect("blocked-type: attachment-1.exe"),
        "{:?}",
        program.item.defects
    );
}

#[test]
fn a_container_is_opened_whatever_type_it_claims() {
    let stream = two_files();
    for kind in
        ["application/octet-stream", "application/octet-stream; name=x.bin", "application/ms-tnef; name=winmail.dat"]
    {
        assert_eq!(made(wrap(kind, &stream)).unpacked().len(), 2, "{kind}");
    }
    let mail = made(wrap(
        "application/octet-stream; name=Forwarded.EML",
        wrap("application/octet-stream; name=a.txt", b"a").as_bytes(),
    ));
    assert_eq!(mail.unpacked(), [("a.txt".to_owned(), "Forwarded.EML".to_owned(), "a".to_owned())]);
}

#[test]
fn a_boundary_that_is_missing_or_used_twice_hides_no_attachment() {
    let part = "--b\nContent-Disposition: attachment; filename=a.txt\n\na\n";
    let head = "Content-Type: multipart/mixed; boundary=b\n\n";
    let open = made(format!("{head}{part}"));
    assert_eq!(open.files(), [file("a.txt", "a")]);
    assert!(open.has_defect("mime-unterminated"));
    let inner = format!(
        "--b\nContent-Type: multipart/mixed; boundary=b\n\n{part}--b--\n--b\nContent-Disposition: attachment; filename=c.txt\n\nc\n--b--\n"
    );
    let twice = made(format!("{head}{inner}"));
    assert!(twice.files().contains(&file("a.txt", "a")), "{:?} {:?}", twice.files(), twice.item.defects);
    let whole: String = twice.files().iter().map(|(_, content)| content.as_str()).collect::<String>() + twice.text();
    assert!(whole.contains('c') || twice.has_defect("mime"), "what is not read is said: {:?}", twice.item.defects);
    let none = made(format!("Content-Type: multipart/mixed\n\n{part}"));
    assert!(none.text().contains("filename=a.txt") && none.has_defect("mime-no-parts"));
    let near = made(format!(
        "{head}{part}--bb\nnot a delimiter\n--b \nContent-Disposition: attachment; filename=d.txt\n\nd\n--b--\n"
    ));
    assert_eq!(near.files(), [file("a.txt", "a\n--bb\nnot a delimiter"), file("d.txt", "d")]);
}

#[test]
fn lines_end_in_any_way() {
    let mail = "Subject: s\nTo: t@t.example\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\nContent-Disposition: attachment; filename=a.txt\n\na\n--b--\n";
    for (end, how) in [("\n", "bare LF"), ("\r\n", "CRLF")] {
        let made = made(mail.replace('\n', end));
        assert_eq!(made.item.title.as_deref(), Some("s"), "{how}");
        assert_eq!((made.text(), made.files()), ("text", vec![file("a.txt", "a")]), "{how}");
    }
    // A lone CR ends no line (RFC 5322 section 2.2): one header field that is long, and nothing is lost.
    let bare_cr = made(mail.replace('\n', "\r"));
    assert!(bare_cr.item.headers.windows(4).any(|window| window == b"text") || bare_cr.text().contains("text"));
    let mixed = made("Subject: s\r\nX: a\rb\nContent-Type: text/plain\r\n\nline\rline\n");
    assert_eq!((mixed.item.title.as_deref(), mixed.text()), (Some("s"), "line\rline\n"));
}

#[test]
fn base64_with_junk_in_it_gives_what_it_can() {
    let of = |content: &str| {
        made(format!("Content-Disposition: attachment; filename=a.txt\nContent-Transfer-Encoding: base64\n\n{content}"))
            .files()[0]
            .1
            .clone()
    };
    assert_eq!(of("SGVs bG8g\r\n\r\nd29y*!bGQ="), "Hello world");
    assert_eq!(of("SGVsbG8"), "Hello");
    assert_eq!(of("SGVsbG8g\n=\nd29ybGQ="), "Hello world");
    assert_eq!(of(""), "");
}

#[test]
fn raw_bytes_in_a_header_and_charsets_that_lie_are_read_as_what_they_are() {
    let utf8 = made("Subject: Gr\u{fc}\u{df}e\nFrom: J\u{f6} <j@a.example>\n\nx");
    assert_eq!(utf8.item.title.as_deref(), Some("Grüße"));
    assert_eq!(utf8.item.from.as_ref().and_then(|from| from.name.as_deref()), Some("Jö"));
    let latin = made(b"Subject: Gr\xfc\xdfe\n\nx");
    assert_eq!(latin.item.title.as_deref(), Some("Grüße"));
    let lie = made(b"Content-Type: text/plain; charset=us-ascii\n\nGr\xc3\xbc\xc3\x9fe");
    assert_eq!(lie.text(), "Grüße");
    let unknown = made(b"Content-Type: text/plain; charset=x-nosuch\n\nGr\xfc\xdfe");
    assert_eq!(unknown.text(), "Grüße");
    let not_utf8 = made(b"Content-Type: text/plain; charset=utf-8\n\nGr\xfc\xdfe");
    // Declared, and not so: nobody can know what it is.
    assert_eq!(not_utf8.text(), "Gr\u{fffd}\u{fffd}e");
}

/// RFC 8551: what is for somebody with the key is kept whole, and said to be so.
#[test]
fn an_encrypted_part_is_kept_as_it_is_and_marked() {
    let enveloped = b"\x30\x16\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x09secret...";
    let made = made(wrap("application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", enveloped));
    assert_eq!(made.item.attachments[0].name, "smime.p7m");
    assert_eq!(made.bytes(&made.item.attachments[0]), enveloped);
    assert!(made.has_defect("encrypted"), "{:?}", made.item.defects);
    assert!(made.unpacked().is_empty());
}

/// RFC 8551 section 3.5.2, and the signature stays where it is.
#[test]
fn an_opaque_signed_part_is_opened_and_kept() {
    let signed = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/seeds/tnef/signed")).unwrap();
    let made = made(wrap("application/pkcs7-mime; smime-type=signed-data; name=smime.p7m", &signed));
    assert_eq!(made.bytes(&made.item.attachments[0]), signed);
    assert_eq!(made.text(), "hi");
}

/// Compressed S/MIME (RFC 3274) that would be a hundred times the mail.
#[test]
fn a_container_lets_out_no_more_than_is_in_proportion_to_the_mail() {
    let packed = mailmill::generate::packed(64 << 20);
    let mail = format!(
        "Content-Type: application/pkcs7-mime; name=smime.p7z\nContent-Transfer-Encoding: base64\n\n{packed}\n"
    );
    assert!(mail.len() < 1 << 20);
    let made = made(mail);
    assert!(made.has_defect("larger than the limit"), "{:?}", made.item.defects);
    assert!(made.plan.blobs.iter().map(|blob| blob.bytes.len()).sum::<usize>() <= 17 << 20);
}

/// A stream with two attachments and their long names (MS-OXTNEF section 2.1.3.3.15, MS-OXPROPS `PidTagAttachLongFilename`).
fn two_files() -> Vec<u8> {
    let attribute = |id: u32, data: &[u8]| {
        let sum = data.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
        let length = u32::try_from(data.len()).unwrap();
        [&[2][..], &id.to_le_bytes(), &length.to_le_bytes(), data, &sum.to_le_bytes()].concat()
    };
    let long_name = |name: &str| {
        let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let mut list = [1_u32.to_le_bytes(), 0x3707_001f_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
        list.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        list.extend(&name);
        list.resize(list.len().next_multiple_of(4), 0);
        list
    };
    let mut stream = b"\x78\x9f\x3e\x22\x01\x00".to_vec();
    for (short, long, data) in [("QUARTE~1.DOC", FIRST, &b"first"[..]), ("BUDGET~1.XLS", SECOND, b"second")] {
        stream.extend(attribute(0x0006_9002, &[0; 14]));
        stream.extend(attribute(0x0001_8010, format!("{short}\0").as_bytes()));
        stream.extend(attribute(0x0006_800f, data));
        stream.extend(attribute(0x0006_9005, &long_name(long)));
    }
    stream
}

const FIRST: &str = "Quarterly report 2026, final.docx";
const SECOND: &str = "Übersicht Budget.xlsx";

#[test]
fn probe_6_winmail_dat_with_two_attachments_gives_two_files_named_as_sent() {
    let made = made(wrap("application/ms-tnef; name=\"winmail.dat\"", &two_files()));
    let from = "winmail.dat".to_owned();
    assert_eq!(
        made.unpacked(),
        [(FIRST.to_owned(), from.clone(), "first".to_owned()), (SECOND.to_owned(), from, "second".to_owned())]
    );
    assert!(made.item.defects.is_empty(), "{:?}", made.item.defects);
    let names: Vec<_> = made.item.extracted.iter().filter_map(|file| file.file.original_name.as_deref()).collect();
    assert_eq!(names, [FIRST, SECOND]);
}

#[test]
fn what_two_of_three_readers_find_in_the_tnef_of_the_corpus_is_found() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let Ok(rows) = fs::read_to_string(corpus.join("oracle/open.jsonl")) else {
        eprintln!("skipped: no corpus at {}", corpus.display());
        return;
    };
    let (mut wanted, mut found, mut files) = (0, 0, 0);
    for row in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let blobs = row["tnef"].as_array().into_iter().flatten().filter(|blob| blob["agree2"] == true);
        let inner: BTreeSet<&str> = blobs
            .flat_map(|blob| blob["inner_sha256"].as_array().into_iter().flatten())
            .filter_map(serde_json::Value::as_str)
            .collect();
        if inner.is_empty() {
            continue;
        }
        files += 1;
        let bytes = fs::read(corpus.join(row["file"].as_str().unwrap())).unwrap();
        let mail = if row["kind"] == "tnef" { wrap("application/ms-tnef", &bytes).into_bytes() } else { bytes };
        let item = made(mail).item;
        let have: BTreeSet<String> = item.extracted.iter().map(|file| hex::encode(file.file.sha256)).collect();
        let missing: Vec<&&str> = inner.iter().filter(|hash| !have.contains(**hash)).collect();
        if !missing.is_empty() {
            eprintln!("missing in {}: {missing:?}", row["file"]);
        }
        wanted += inner.len();
        found += inner.len() - missing.len();
    }
    eprintln!("TNEF: {found} of {wanted} inner attachments of {files} files are extracted");
    assert!(files > 10, "the rows of the corpus could not be read");
    assert!(found * 100 >= wanted * 95, "{found} of {wanted}");
}
