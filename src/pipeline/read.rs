//! Gets the bytes of a claim into memory, or says in the words of the table why not. Mail that is larger than allowed is never
//! held: it is read once through a window, for its id and its first lines.

use crate::model::mail::MailId;
use crate::model::outcome::Reason;
use crate::spool::{Bytes, Claim, ReadError, Spool};

/// What came of reading a claim.
pub enum Read {
    Mail(Bytes),
    /// Larger than `limits.mail_bytes`: what is still known of it.
    TooLarge {
        size: u64,
        mail_id: MailId,
        head: Vec<u8>,
    },
    Failed {
        reason: Reason,
        text: String,
    },
    /// Somebody writes to it, or the system is short of something: tried again by the next batch.
    NotNow {
        text: String,
    },
}

/// Files at least `map_from` bytes long are mapped (measured: equal near 512 KiB, 1.7 times faster at 2 MiB).
pub fn read(claim: &mut Claim, spool: &Spool, map_from: u64, limit: u64) -> Read {
    match claim.read(spool, map_from, limit) {
        Ok(bytes) => Read::Mail(bytes),
        Err(ReadError::TooLarge { size }) => skim(claim, size),
        Err(ReadError::Incomplete) => Read::NotNow { text: ReadError::Incomplete.to_string() },
        Err(error) if error.is_temporary() => Read::NotNow { text: error.to_string() },
        Err(ReadError::NotRegular(what)) => {
            Read::Failed { reason: Reason::NotARegularFile, text: format!("it is {what}") }
        }
        Err(error) => Read::Failed { reason: Reason::ReadError, text: format!("cannot be read: {error}") },
    }
}

/// Where the envelope of a mail must be found when the mail is too large to be held.
const HEAD: usize = 1 << 20;

fn skim(claim: &mut Claim, size: u64) -> Read {
    let mut hasher = blake3::Hasher::new();
    let mut head = Vec::new();
    let read = claim.skim(|bytes| {
        hasher.update(bytes);
        let room = HEAD.saturating_sub(head.len());
        head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    });
    match read {
        Ok(()) => Read::TooLarge { size, mail_id: MailId::from_bytes(*hasher.finalize().as_bytes()), head },
        Err(error) => Read::Failed { reason: Reason::ReadError, text: format!("cannot be read: {error}") },
    }
}
