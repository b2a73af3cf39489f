//! Refused and damaged mail: what a person looks at, tries again, or throws away. The folder is the truth; the note beside
//! a file says why it lies there, and a file without a note is shown all the same.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Claim, Spool, SpoolError, names};
use crate::model::mail::ClaimId;
use crate::model::outcome::{Problem, Reason};

/// The file beside a refused or damaged mail.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Note {
    pub id: String,
    pub file: String,
    pub mail_id: Option<String>,
    pub message_id: Option<String>,
    pub sender: Option<String>,
    /// RFC 3339, UTC.
    pub time: String,
    pub batch: u64,
    pub problems: Vec<Problem>,
    /// Recipients that did get the mail.
    pub delivered: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct FailedMail {
    pub id: ClaimId,
    /// `refused` or `damaged`.
    pub folder: &'static str,
    pub path: PathBuf,
    pub size: u64,
    pub note: Option<Note>,
    file_name: OsString,
}

impl FailedMail {
    /// Whether one of its recipients failed for this reason.
    pub fn has_reason(&self, code: &str) -> bool {
        self.note.as_ref().is_some_and(|note| note.problems.iter().any(|problem| problem.reason == code))
    }

    /// The file name as found.
    pub fn name(&self) -> String {
        let from_path = || names::read_settled(&self.file_name).map(|(_, name)| name.to_string_lossy().into_owned());
        self.note.as_ref().map(|note| note.file.clone()).or_else(from_path).unwrap_or_default()
    }
}

impl Spool {
    /// All refused and damaged mail of this server, oldest claim first.
    pub fn failed(&self) -> Result<Vec<FailedMail>, SpoolError> {
        let mut found = Vec::new();
        for folder in ["refused", "damaged"] {
            let path = self.folder(folder);
            let entries = fs::read_dir(&path).map_err(|source| SpoolError::Io { path: path.clone(), source })?;
            for entry in entries {
                let entry = entry.map_err(|source| SpoolError::Io { path: path.clone(), source })?;
                let Some((id, _)) = names::read_settled(&entry.file_name()) else { continue };
                let note = fs::read(path.join(names::note_name(id))).ok();
                found.push(FailedMail {
                    id,
                    folder,
                    path: entry.path(),
                    size: entry.metadata().map_or(0, |metadata| metadata.len()),
                    note: note.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
                    file_name: entry.file_name(),
                });
            }
        }
        found.sort_by_key(|mail| mail.id);
        Ok(found)
    }

    /// Takes a failed mail back among the claims, to be judged again. Its id stays, so the recipients that have it
    /// already are known.
    pub fn retry(&self, mail: &FailedMail) -> io::Result<Claim> {
        let name = names::read_settled(&mail.file_name).map(|(_, name)| name).unwrap_or_default();
        let name = mail.note.as_ref().map_or(name, |note| OsString::from(note.file.clone()));
        self.start(mail.id);
        match self.put_back(mail.folder, &mail.file_name) {
            Ok(file_name) => {
                // A note that stays is removed as a stray when the spool is opened again.
                if self.point("retry note").is_ok() {
                    let _ = fs::remove_file(self.folder(mail.folder).join(names::note_name(mail.id)));
                }
                let suspect = mail.has_reason(Reason::CrashedBefore.code());
                Ok(Claim::adopted(mail.id, name, file_name).suspected(suspect))
            }
            Err(error) => {
                self.release(mail.id);
                Err(error)
            }
        }
    }

    /// Throws a failed mail away for good.
    pub fn discard(&self, mail: &FailedMail) -> io::Result<()> {
        self.point("discard")?;
        let is_folder = fs::symlink_metadata(&mail.path)?.is_dir();
        if is_folder {
            fs::remove_dir_all(&mail.path)?;
        } else {
            fs::remove_file(&mail.path)?;
        }
        self.point("discard note")?;
        match fs::remove_file(self.folder(mail.folder).join(names::note_name(mail.id))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
