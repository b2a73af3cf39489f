//! Calendars in mail: what a message wants done to an event (`read`), and what becomes of the event (`apply`). Pure: no I/O, no
//! clock, no zone files of the machine. Never fails on any input and never decides by order of arrival.

pub mod event;

mod lines;

mod zone;

mod reader;

mod series;

mod recur;

pub use event::{Attendee, Event, Kind, Method, Participation, Person, Role, Span, Stamp, Status, Update, When};
pub use reader::{Limits, Read, read};
pub use recur::{Gap, Occurrence, Occurrences, occurrences};
pub use series::{Instance, Proposal, Reason, Reply, Revision, Series, Standing, Verdict, apply};
pub use zone::{Step, Yearly, ZoneRules};

#[cfg(test)]
mod tests;
