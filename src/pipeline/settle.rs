//! Says what becomes of a file once its group is durable. Pure; the spool carries it out.

use crate::model::mail::ClaimId;
use crate::model::outcome::{End, Problem};
use crate::model::plan::Decided;
use crate::spool::{Keep, Note, Settlement};
use crate::store::Receipt;

/// The settlement of a decided mail. `time` is RFC 3339.
pub fn settlement(decided: &Decided, receipt: Receipt, keep: &Keep, time: &str, batch: u64) -> Settlement {
    match decided.end {
        End::Delivered | End::Duplicate => Settlement::Remove { receipt, keep: keep.clone() },
        End::Refused | End::Damaged => Settlement::SetAside { end: decided.end, note: note(decided, time, batch) },
        End::Deferred | End::Incomplete => Settlement::Leave,
    }
}

fn note(decided: &Decided, time: &str, batch: u64) -> Note {
    let plan = &decided.plan;
    let claim: ClaimId = plan.claim;
    let problems: Vec<Problem> = plan.problems().collect();
    Note {
        id: claim.to_string(),
        file: plan.source.clone(),
        mail_id: plan.mail_id.map(|id| id.to_string()),
        message_id: plan.message_id.clone(),
        sender: plan.sender.clone(),
        time: time.to_owned(),
        batch,
        problems,
        delivered: decided.delivered.clone(),
    }
}
