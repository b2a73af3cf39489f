//! The claims of other servers on the same drop folder: seen, counted, and taken over when their server is gone for good.
//! Never looks whether a server is alive: only a person can say so. Should the person be wrong, the server notices: its whole
//! folder is renamed first, and a server looks before each group whether its claim folder is still at its place.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::claim::rename_surely;
use super::failed::Note;
use super::names;
use super::settle::write_synced;
use super::{OWN, Spool, SpoolError};
use crate::model::item::LedgerEntry;
use crate::model::mail::{ClaimId, MailId};

/// What stands behind the name of a folder that was taken from its server.
const RECLAIMED: &str = ".reclaimed";

/// Claims of another server that are older than this are worth a look.
const OLD_CLAIM: Duration = Duration::from_mins(10);

/// Another server's folder below `.mailmill`.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// `<server>-<store uuid>`.
    pub label: String,
    pub folder: PathBuf,
    pub claims: Vec<StrangersClaim>,
    /// How long its oldest claim has waited.
    pub oldest: Option<Duration>,
    /// Taken from its server already, and not worked through.
    pub seized: bool,
}

#[derive(Clone, Debug)]
pub struct StrangersClaim {
    pub id: ClaimId,
    pub name: OsString,
    pub path: PathBuf,
}

impl StrangersClaim {
    /// What its server would know the mail by. None: it is no file that anybody could have delivered, or gone.
    pub fn mail_id(&self) -> io::Result<Option<MailId>> {
        // Never opens a pipe: nobody may ever write to it.
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let file = match File::open(&self.path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                return Ok(None);
            }
            file => file?,
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        Ok(Some(MailId::from_bytes(*hasher.finalize().as_bytes())))
    }
}

impl Stranger {
    /// Its claims wait for longer than any batch takes: its server is down, or gone.
    pub fn is_overdue(&self) -> bool {
        self.oldest.is_some_and(|age| age > OLD_CLAIM)
    }

    /// Whether a person means this server: by its `server` setting, or by the whole name of its folder.
    pub fn answers_to(&self, name: &str) -> bool {
        is_called(&self.label, name)
    }
}

fn is_called(label: &str, name: &str) -> bool {
    // A uuid has 36 characters.
    label == name || label.strip_prefix(name).is_some_and(|rest| rest.len() == 37 && rest.starts_with('-'))
}

/// The label in the name of a folder below `.mailmill`, and whether the folder was taken from its server.
fn label_of(folder: &OsStr) -> (String, bool) {
    let name = folder.to_string_lossy();
    match name.rsplit_once(RECLAIMED) {
        Some((label, number)) if number.is_empty() || number.starts_with('.') => (label.to_owned(), true),
        _ => (name.into_owned(), false),
    }
}

fn folders(drop_folder: &Path) -> io::Result<Vec<OsString>> {
    let entries = match fs::read_dir(drop_folder.join(OWN)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// The other servers that have claims, or room for them, below this drop folder.
pub fn strangers(drop_folder: &Path, own_label: &str) -> io::Result<Vec<Stranger>> {
    let mut found = Vec::new();
    for name in folders(drop_folder)? {
        let folder = drop_folder.join(OWN).join(&name);
        if name != own_label && folder.join("claimed").is_dir() {
            let (label, seized) = label_of(&name);
            let stranger = Stranger { label, folder, claims: Vec::new(), oldest: None, seized };
            found.extend(look_again(stranger)?);
        }
    }
    Ok(found)
}

/// None when the folder was taken away meanwhile.
fn look_again(mut stranger: Stranger) -> io::Result<Option<Stranger>> {
    let claimed = stranger.folder.join("claimed");
    stranger.claims.clear();
    let entries = match fs::read_dir(&claimed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Some((id, name)) = names::read_claim(&entry.file_name()) else { continue };
        // Settled between the listing and this look.
        let Ok(metadata) = entry.metadata() else { continue };
        let name = names::read_side_record(&claimed, id, &name).unwrap_or(name);
        stranger.oldest = stranger.oldest.max(Some(age(&metadata)));
        stranger.claims.push(StrangersClaim { id, name, path: entry.path() });
    }
    stranger.claims.sort_by_key(|claim| claim.id);
    Ok(Some(stranger))
}

/// How long ago a file was renamed to where it is: the change time. Its writer may have given it any modification time.
fn age(metadata: &fs::Metadata) -> Duration {
    let changed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or_default());
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed).unwrap_or_default()
}

impl Spool {
    pub fn strangers(&self) -> io::Result<Vec<Stranger>> {
        strangers(self.drop_folder(), &self.drop.options.label)
    }

    /// Whether a server of this name was here and everything it had claimed is taken already.
    pub fn was_reclaimed(&self, name: &str) -> io::Result<bool> {
        Ok(folders(self.drop_folder())?
            .iter()
            .map(|folder| label_of(folder))
            .any(|(label, seized)| seized && is_called(&label, name)))
    }

    /// Takes the whole folder of a stranger from it, by one rename that is durable before anything else is done. Should
    /// its server wake up, it finds its claim folder gone and commits nothing.
    pub fn seize(&self, stranger: Stranger) -> io::Result<Stranger> {
        if stranger.seized {
            return Ok(stranger);
        }
        let all = self.drop_folder().join(OWN);
        let numbered = (2..).map(|number| format!("{}{RECLAIMED}.{number}", stranger.label));
        let names = std::iter::once(format!("{}{RECLAIMED}", stranger.label)).chain(numbered);
        for name in names.take(10_000) {
            let target = all.join(name);
            if fs::symlink_metadata(&target).is_ok() {
                continue;
            }
            // A folder never replaces one that holds anything.
            self.point("seize")?;
            rename(&stranger.folder, &target)?;
            self.point("sync seize")?;
            File::open(&all)?.sync_all()?;
            let seized = Stranger { folder: target, seized: true, ..stranger };
            return Ok(look_again(seized.clone())?.unwrap_or(Stranger { claims: Vec::new(), ..seized }));
        }
        Err(io::Error::other(format!("{} was reclaimed too often", stranger.label)))
    }

    /// Puts an end to the claim folder of a stranger whose claims are all dealt with: a server that wakes up can claim
    /// nothing into it. What it still claimed until now is answered.
    pub fn close_seized(&self, stranger: Stranger) -> io::Result<Option<Stranger>> {
        let claimed = stranger.folder.join("claimed");
        self.point("close seized")?;
        // What was taken over must not be lost with the folder it came from.
        File::open(self.folder("claimed"))?.sync_all()?;
        let Some(again) = look_again(stranger)? else { return Ok(None) };
        if !again.claims.is_empty() {
            return Ok(Some(again));
        }
        for entry in fs::read_dir(&claimed)? {
            let entry = entry?;
            if names::read_side_record_name(&entry.file_name()).is_some() {
                fs::remove_file(entry.path())?;
            }
        }
        self.point("remove seized")?;
        match fs::remove_dir(&claimed) {
            // A file that is no claim lies there, and stays, or another claim has arrived.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Ok(look_again(again)?.filter(|again| !again.claims.is_empty()))
            }
            done => done.map(|()| None),
        }
    }

    /// Makes a stranger's claim one of ours, under a new id. The next batch takes it up. False when it is gone: its
    /// server settled it after all.
    pub fn take_over(&self, claim: &StrangersClaim, id: ClaimId) -> io::Result<bool> {
        let (file_name, cut) = names::claim_name(id, &claim.name);
        if cut {
            self.point("side record")?;
            write_synced(&self.folder("claimed").join(names::side_record(id)), claim.name.as_encoded_bytes())?;
        }
        self.point("take over")?;
        there(rename(&claim.path, &self.folder("claimed").join(file_name)))
    }

    /// Removes a claim that its own server had delivered: the entry in that server's ledger is the proof.
    pub fn settle_delivered(&self, claim: &StrangersClaim, _proof: LedgerEntry) -> io::Result<bool> {
        self.point("settle foreign")?;
        there(fs::remove_file(&claim.path))
    }

    /// Puts a claim that its own server had delivered in part among our refused mail.
    pub fn set_aside_foreign(&self, claim: &StrangersClaim, id: ClaimId, note: &Note) -> io::Result<bool> {
        let folder = self.folder("refused");
        let text = serde_json::to_vec_pretty(note).map_err(io::Error::other)?;
        self.point("note")?;
        write_synced(&folder.join(names::note_name(id)), &text)?;
        self.point("set aside foreign")?;
        let name = names::settled_name(&names::claim_name(id, &claim.name).0);
        if !there(rename(&claim.path, &folder.join(&name)))? {
            fs::remove_file(folder.join(names::note_name(id)))?;
            return Ok(false);
        }
        self.point("sync set aside foreign")?;
        File::open(folder.join(&name))?.sync_all()?;
        File::open(&folder)?.sync_all()?;
        Ok(true)
    }
}

/// Refused and damaged mail that a stranger leaves behind.
pub fn left_behind(stranger: &Stranger) -> u64 {
    let count = |folder: &str| {
        let entries = fs::read_dir(stranger.folder.join(folder)).into_iter().flatten().flatten();
        entries.filter(|entry| names::read_settled(&entry.file_name()).is_some()).count() as u64
    };
    count("refused") + count("damaged")
}

/// The strangers whose claims are overdue: what `run`, `watch` and `doctor` tell a person.
pub fn overdue(drop_folder: &Path, own_label: &str) -> Result<Vec<Stranger>, SpoolError> {
    let all = strangers(drop_folder, own_label);
    let all = all.map_err(|source| SpoolError::Io { path: drop_folder.join(OWN), source })?;
    Ok(all.into_iter().filter(Stranger::is_overdue).collect())
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (Some(name), Some(target)) = (from.file_name(), to.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = |path: &Path| File::open(path.parent().unwrap_or(Path::new(".")));
    Ok(rename_surely(parent(from)?.as_fd(), name, parent(to)?.as_fd(), target)?)
}

fn there(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}
