//! Which refused mail its sender was told of. The outbox of bounces is `refused/` itself: what lies there without a mark in
//! `bounced/` is still to be told, also after a crash.

use std::collections::HashSet;
use std::fs;
use std::io;

use super::settle::write_synced;
use super::{FailedMail, Spool, SpoolError};
use crate::model::mail::ClaimId;

const FOLDER: &str = "bounced";

impl Spool {
    /// Refused mail without a mark, oldest first. Marks of mail that does not lie there any more are removed.
    pub fn untold(&self) -> Result<Vec<FailedMail>, SpoolError> {
        let mut refused = self.failed()?;
        refused.retain(|mail| mail.folder == "refused");
        let known: HashSet<ClaimId> = refused.iter().map(|mail| mail.id).collect();
        let folder = self.folder(FOLDER);
        let at = |source| SpoolError::Io { path: folder.clone(), source };
        let mut told = HashSet::new();
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry.map_err(at)?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if !known.contains(&id) {
                fs::remove_file(entry.path()).map_err(at)?;
            }
            told.insert(id);
        }
        refused.retain(|mail| !told.contains(&mail.id));
        Ok(refused)
    }

    /// The sender was told, or never will be: `why` is for whoever looks.
    pub fn mark_told(&self, id: ClaimId, why: &str) -> io::Result<()> {
        let folder = self.folder(FOLDER);
        fs::create_dir_all(&folder)?;
        self.point("mark told")?;
        write_synced(&folder.join(id.to_string()), why.as_bytes())?;
        fs::File::open(&folder)?.sync_all()
    }
}
