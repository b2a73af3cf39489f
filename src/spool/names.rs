//! File names in the spool: which ones can be mail, and how a claim carries its id and its old name in its own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::model::mail::ClaimId;

/// Endings under which programs write files that are not finished, or that are no mail.
const NOT_YET: &[&str] = &[
    ".tmp",
    ".temp",
    ".part",
    ".partial",
    ".filepart",
    ".crdownload",
    ".download",
    ".swp",
    ".lock",
    ".new",
    ".bak",
    "~",
];

/// What file managers leave lying about.
const LITTER: &[&str] = &["thumbs.db", "desktop.ini", "@eadir"];

/// The longest file name Linux file systems take, in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;
const CLAIM: &[u8] = b".claim";

/// Whether a name in the drop folder is found at all. Dot-files and the names of half-written files are not.
pub fn is_mail_name(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.starts_with(b".") {
        return false;
    }
    let lower = bytes.to_ascii_lowercase();
    !NOT_YET.iter().any(|ending| lower.ends_with(ending.as_bytes()))
        && !LITTER.iter().any(|word| lower == word.as_bytes())
}

/// Folders, links and pipes are none of our business unless they pretend to be mail.
pub fn pretends_to_be_mail(name: &OsStr) -> bool {
    is_mail_name(name) && name.as_bytes().to_ascii_lowercase().ends_with(b".eml")
}

/// The name of a claim: `17-3-x.eml.claim`, and whether the old name had to be cut to fit.
pub fn claim_name(id: ClaimId, name: &OsStr) -> (OsString, bool) {
    let prefix = format!("{id}-");
    let room = NAME_MAX - prefix.len() - CLAIM.len();
    let kept = name.as_bytes().get(..room).unwrap_or(name.as_bytes());
    let whole = [prefix.as_bytes(), kept, CLAIM].concat();
    (OsString::from_vec(whole), kept.len() < name.len())
}

/// The id and old name that a claim's file name carries.
pub fn read_claim(file_name: &OsStr) -> Option<(ClaimId, OsString)> {
    let stem = file_name.as_bytes().strip_suffix(CLAIM)?;
    read_settled(OsStr::from_bytes(stem))
}

/// The name under `refused/`, `damaged/` and `done/`: the claim's without `.claim`.
pub fn settled_name(claim_file: &OsStr) -> OsString {
    let bytes = claim_file.as_bytes();
    OsString::from_vec(bytes.strip_suffix(CLAIM).unwrap_or(bytes).to_vec())
}

/// The id and old name of a file under `refused/` or `damaged/`.
pub fn read_settled(file_name: &OsStr) -> Option<(ClaimId, OsString)> {
    let bytes = file_name.as_bytes();
    let dashes: Vec<usize> = bytes.iter().enumerate().filter(|(_, b)| **b == b'-').map(|(at, _)| at).take(2).collect();
    let &[_, second] = dashes.as_slice() else { return None };
    let id = std::str::from_utf8(bytes.get(..second)?).ok()?.parse().ok()?;
    Some((id, OsString::from_vec(bytes.get(second + 1..)?.to_vec())))
}

/// Where a name that was cut is kept whole.
pub fn side_record(id: ClaimId) -> String {
    format!("{id}.name")
}

pub fn read_side_record_name(file_name: &OsStr) -> Option<ClaimId> {
    file_name.to_str()?.strip_suffix(".name")?.parse().ok()
}

/// The whole of a name that was cut. None where nothing was kept, or not all of it: on a full disk there may be a part.
pub fn read_side_record(folder: &Path, id: ClaimId, cut: &OsStr) -> Option<OsString> {
    let kept = fs::read(folder.join(side_record(id))).ok()?;
    kept.starts_with(cut.as_bytes()).then(|| OsString::from_vec(kept))
}

/// Whether a claim of this name may have a record beside it: only the longest have.
pub fn may_be_cut(file_name: &OsStr) -> bool {
    file_name.len() == NAME_MAX
}

/// Where the reason of a refused or damaged mail is kept.
pub fn note_name(id: ClaimId) -> String {
    format!("{id}.json")
}

pub fn read_note_name(file_name: &OsStr) -> Option<ClaimId> {
    file_name.to_str()?.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: ClaimId = ClaimId { batch: 17, number: 3 };

    #[test]
    fn dot_files_and_half_written_files_are_not_found() {
        for name in [".x.eml", "x.eml.tmp", "x.PART", "x.eml~", "Thumbs.db", "", ".mailmill"] {
            assert!(!is_mail_name(OsStr::new(name)), "{name}");
        }
        for name in ["x.eml", "x", "x.EML", "15ed460901d0b89c00000008.eml", "a tmp", "tmp"] {
            assert!(is_mail_name(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_claim_carries_its_id_and_any_old_name() {
        for name in [&b"x.eml"[..], b"a-b-c", b"\xff\n\x1b[31m", b"-", b"x.claim"] {
            let (claim, cut) = claim_name(ID, OsStr::from_bytes(name));
            assert!(!cut);
            assert_eq!(read_claim(&claim), Some((ID, OsString::from_vec(name.to_vec()))));
            assert_eq!(read_settled(&settled_name(&claim)), Some((ID, OsString::from_vec(name.to_vec()))));
        }
        assert_eq!(claim_name(ID, OsStr::new("x.eml")).0, "17-3-x.eml.claim");
        assert_eq!(read_note_name(OsStr::new(&note_name(ID))), Some(ID));
        assert_eq!(read_side_record_name(OsStr::new(&side_record(ID))), Some(ID));
        for mail in ["17-3-x.json", "17-3-x.name", "17-3-.json", "x.json"] {
            assert_eq!((read_note_name(OsStr::new(mail)), read_side_record_name(OsStr::new(mail))), (None, None));
        }
        for foreign in ["17-3.json", "17-3.name", "x.eml.claim", "17-3-x.eml", "-1-2-x.claim"] {
            assert_eq!(read_claim(OsStr::new(foreign)), None, "{foreign}");
        }
    }

    #[test]
    fn a_name_of_255_bytes_is_cut_to_fit() {
        let long = "x".repeat(255);
        let (claim, cut) = claim_name(ID, OsStr::new(&long));
        assert!(cut);
        assert_eq!(claim.len(), NAME_MAX);
        assert_eq!(read_claim(&claim).unwrap().0, ID);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_file_name_becomes_a_claim_and_is_read_back(
            batch in any::<u64>(),
            number in any::<u64>(),
            name in prop::collection::vec(any::<u8>().prop_filter("no file name has it", |b| !matches!(b, 0 | b'/')), 1..=255),
        ) {
            let id = ClaimId { batch, number };
            let name = OsString::from_vec(name);
            let (claim, cut) = claim_name(id, &name);
            prop_assert!(claim.len() <= NAME_MAX && !claim.as_bytes().contains(&b'/'));
            let (read_id, read_name) = read_claim(&claim).unwrap();
            prop_assert_eq!(read_id, id);
            prop_assert!(name.as_bytes().starts_with(read_name.as_bytes()));
            prop_assert_eq!(cut, read_name != name);
            prop_assert_eq!(read_settled(&settled_name(&claim)), Some((id, read_name)));
            prop_assert!(is_mail_name(&claim), "a claim is not taken for a half-written file");
        }

        #[test]
        fn no_file_name_breaks_what_looks_at_it(
            name in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[0-9]{0,3}-[0-9]{0,3}-[a-z.-]{0,5}(\\.claim)?".prop_map(String::into_bytes),
            ],
        ) {
            let name = OsString::from_vec(name);
            let _ = (is_mail_name(&name), pretends_to_be_mail(&name), settled_name(&name));
            if let Some((id, old)) = read_claim(&name) {
                prop_assert_eq!(claim_name(id, &old).0, name, "two files never carry one claim");
            }
        }
    }
}
