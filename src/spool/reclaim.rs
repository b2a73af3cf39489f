//! The claims of other servers on the same drop folder: seen, counted, and taken over when their server is gone for good.
//! Never looks whether a server is alive: only a person can say so.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::failed::Note;
use super::names;
use super::settle::write_synced;
use super::{OWN, Spool};
use crate::model::item::LedgerEntry;
use crate::model::mail::ClaimId;

/// Another server's folder below `.mailmill`.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// `<server>-<store uuid>`.
    pub label: String,
    pub claims: Vec<StrangersClaim>,
    /// How long its oldest claim has waited.
    pub oldest: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct StrangersClaim {
    pub id: ClaimId,
    pub name: OsString,
    pub path: PathBuf,
}

/// The other servers that have folders below this drop folder.
pub fn strangers(drop_folder: &Path, own_label: &str) -> io::Result<Vec<Stranger>> {
    let entries = match fs::read_dir(drop_folder.join(OWN)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let label = entry.file_name().to_string_lossy().into_owned();
        if label != own_label && entry.path().join("claimed").is_dir() {
            found.push(look_at(label, &entry.path())?);
        }
    }
    found.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(found)
}

fn look_at(label: String, folder: &Path) -> io::Result<Stranger> {
    let mut stranger = Stranger { label, claims: Vec::new(), oldest: None };
    let claimed = folder.join("claimed");
    for entry in fs::read_dir(&claimed)? {
        let entry = entry?;
        let Some((id, name)) = names::read_claim(&entry.file_name()) else { continue };
        let name = names::read_side_record(&claimed, id).unwrap_or(name);
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        stranger.oldest = stranger.oldest.max(age);
        stranger.claims.push(StrangersClaim { id, name, path: entry.path() });
    }
    stranger.claims.sort_by_key(|claim| claim.id);
    Ok(stranger)
}

impl Spool {
    pub fn strangers(&self) -> io::Result<Vec<Stranger>> {
        strangers(self.drop_folder(), &self.drop.options.label)
    }

    /// Makes a stranger's claim one of ours, under a new id. The next batch takes it up.
    pub fn take_over(&self, claim: &StrangersClaim, id: ClaimId) -> io::Result<()> {
        let (file_name, cut) = names::claim_name(id, &claim.name);
        if cut {
            write_synced(&self.folder("claimed").join(names::side_record(id)), claim.name.as_encoded_bytes())?;
        }
        fs::rename(&claim.path, self.folder("claimed").join(file_name))
    }

    /// Removes a claim that its own server had delivered: the entry in that server's ledger is the proof.
    pub fn settle_delivered(&self, claim: &StrangersClaim, _proof: LedgerEntry) -> io::Result<()> {
        fs::remove_file(&claim.path)
    }

    /// Puts a claim that its own server had delivered in part among our refused mail.
    pub fn set_aside_foreign(&self, claim: &StrangersClaim, id: ClaimId, note: &Note) -> io::Result<()> {
        let folder = self.folder("refused");
        let text = serde_json::to_vec_pretty(note).map_err(io::Error::other)?;
        write_synced(&folder.join(names::note_name(id)), &text)?;
        let name = names::settled_name(&names::claim_name(id, &claim.name).0);
        fs::rename(&claim.path, folder.join(&name))?;
        fs::File::open(folder.join(&name))?.sync_all()?;
        fs::File::open(&folder)?.sync_all()
    }
}
