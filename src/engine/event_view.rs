//! An event as JSON shows it: what is known of it now, answers of attendees included.

use serde::Serialize;

use crate::calendar::{Instance, Participation, Series, Standing, Status, When};

#[derive(Serialize)]
pub struct EventView<'i> {
    uid: &'i str,
    sequence: Option<u32>,
    /// RFC 3339 with `Z` where the moment is known; else as the clock shows it, or a date.
    start: Option<String>,
    end: Option<String>,
    all_day: bool,
    time_zone: Option<&'i str>,
    title: Option<&'i str>,
    location: Option<&'i str>,
    /// `confirmed`, `tentative` or `cancelled`.
    status: &'static str,
    organizer: Option<&'i str>,
    attendees: Vec<AttendeeView>,
    recurrence: Recurrence<'i>,
    proposals: Vec<ProposalView<'i>>,
}

#[derive(Serialize)]
struct AttendeeView {
    address: String,
    name: Option<String>,
    /// `needs-action`, `accepted`, `declined`, `tentative` or `delegated`.
    status: &'static str,
    uninvited: bool,
}

#[derive(Serialize)]
struct Recurrence<'i> {
    /// RRULE (RFC 5545 section 3.3.10).
    rules: &'i [String],
    rdates: Vec<String>,
    exdates: Vec<String>,
    exceptions: Vec<ExceptionView<'i>>,
}

#[derive(Serialize)]
struct ExceptionView<'i> {
    /// RECURRENCE-ID.
    at: Option<String>,
    this_and_future: bool,
    start: Option<String>,
    end: Option<String>,
    title: Option<&'i str>,
    location: Option<&'i str>,
    status: &'static str,
}

/// A COUNTER: who would like what.
#[derive(Serialize)]
struct ProposalView<'i> {
    by: &'i str,
    start: Option<String>,
    end: Option<String>,
    comment: Option<&'i str>,
}

pub fn event(series: &Series) -> EventView<'_> {
    let leading = series.leading();
    let event = leading.and_then(Instance::event);
    EventView {
        uid: &series.uid,
        sequence: series.stamp().map(|stamp| stamp.sequence),
        start: event.and_then(|event| event.start.as_ref()).map(time),
        end: event.and_then(|event| event.end.as_ref()).map(time),
        all_day: event.is_some_and(|event| event.all_day),
        time_zone: event.and_then(|event| event.start.as_ref()).and_then(|start| start.zone.as_deref()),
        title: event.and_then(|event| event.title.as_deref()),
        location: event.and_then(|event| event.location.as_deref()),
        status: status(series.cancelled(), event.and_then(|event| event.status)),
        organizer: event.and_then(|event| event.organizer.as_ref()).map(|organizer| organizer.address.as_str()),
        attendees: leading.map(attendees).unwrap_or_default(),
        recurrence: Recurrence {
            rules: event.map_or(&[], |event| event.rules.as_slice()),
            rdates: event.into_iter().flat_map(|event| &event.rdates).map(|span| time(&span.start)).collect(),
            exdates: event.into_iter().flat_map(|event| &event.exdates).map(time).collect(),
            exceptions: series.exceptions.iter().map(|instance| exception(series, instance)).collect(),
        },
        proposals: series
            .instances()
            .flat_map(|instance| &instance.proposals)
            .map(|proposal| ProposalView {
                by: &proposal.by,
                start: proposal.event.start.as_ref().map(time),
                end: proposal.event.end.as_ref().map(time),
                comment: proposal.event.comment.as_deref(),
            })
            .collect(),
    }
}

fn attendees(instance: &Instance) -> Vec<AttendeeView> {
    let view = |attendee: crate::calendar::Attendee| AttendeeView {
        address: attendee.address,
        name: attendee.name,
        status: match attendee.status {
            Participation::NeedsAction => "needs-action",
            Participation::Accepted => "accepted",
            Participation::Declined => "declined",
            Participation::Tentative => "tentative",
            Participation::Delegated => "delegated",
        },
        uninvited: attendee.uninvited,
    };
    instance.attendees().into_iter().map(view).collect()
}

fn exception<'i>(series: &Series, instance: &'i Instance) -> ExceptionView<'i> {
    let event = instance.event();
    ExceptionView {
        at: instance.at.as_ref().map(time),
        this_and_future: instance.this_and_future,
        start: event.and_then(|event| event.start.as_ref()).map(time),
        end: event.and_then(|event| event.end.as_ref()).map(time),
        title: event.and_then(|event| event.title.as_deref()),
        location: event.and_then(|event| event.location.as_deref()),
        status: match series.standing(instance) {
            Standing::Cancelled => "cancelled",
            Standing::Void => "void",
            Standing::Live => status(false, event.and_then(|event| event.status)),
        },
    }
}

fn status(cancelled: bool, said: Option<Status>) -> &'static str {
    match said {
        _ if cancelled => "cancelled",
        Some(Status::Cancelled) => "cancelled",
        Some(Status::Tentative) => "tentative",
        Some(Status::Confirmed) | None => "confirmed",
    }
}

fn time(when: &When) -> String {
    when.utc.and_then(super::view::time).unwrap_or_else(|| when.local.clone())
}
