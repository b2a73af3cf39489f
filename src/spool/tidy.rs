//! Removes what a crash leaves beside mail: a cut name without its claim, a note without its mail. Never touches a mail.

use std::collections::HashSet;
use std::fs;
use std::io;

use super::{Spool, names};
use crate::model::mail::ClaimId;

impl Spool {
    /// Looks through our folders. Called before anything is claimed: what belongs to nobody now never will again.
    pub(super) fn tidy(&self) -> io::Result<()> {
        let claims = self.ids_in("claimed", names::read_claim)?;
        self.remove_strays("claimed", names::read_side_record_name, &claims)?;
        for folder in ["refused", "damaged"] {
            // A claim that is judged anew may need its note: it is written again then, but never half a truth before.
            let mut known = self.ids_in(folder, names::read_settled)?;
            known.extend(&claims);
            self.remove_strays(folder, names::read_note_name, &known)?;
        }
        Ok(())
    }

    fn ids_in(
        &self,
        folder: &str,
        read: fn(&std::ffi::OsStr) -> Option<(ClaimId, std::ffi::OsString)>,
    ) -> io::Result<HashSet<ClaimId>> {
        let mut ids = HashSet::new();
        for entry in fs::read_dir(self.folder(folder))? {
            ids.extend(read(&entry?.file_name()).map(|(id, _)| id));
        }
        Ok(ids)
    }

    fn remove_strays(
        &self,
        folder: &str,
        read: fn(&std::ffi::OsStr) -> Option<ClaimId>,
        known: &HashSet<ClaimId>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(self.folder(folder))? {
            let entry = entry?;
            if read(&entry.file_name()).is_some_and(|id| !known.contains(&id)) {
                self.point("tidy")?;
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}
