//! The words of a calendar: what a message says of an event, and when. `When` and everything under `Event` are records of the
//! store (CBOR, RFC 8949): fields are only ever added, with new numbers. Nothing here reads or decides.

use jiff::civil;
use jiff::tz::Offset;
use minicbor::{Decode, Encode};

use super::zone::ZoneRules;

/// What the sender wants done (RFC 5546 section 1.4). A calendar without METHOD is a PUBLISH: nobody asks for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Publish,
    Request,
    Reply,
    Add,
    Cancel,
    Refresh,
    Counter,
    DeclineCounter,
}

/// One VEVENT of one message, ready for [`apply`](super::apply).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub method: Method,
    /// As written: UIDs are compared octet by octet.
    pub uid: String,
    /// RECURRENCE-ID: which instance of a series is meant; none for the whole.
    pub recurrence_id: Option<When>,
    /// RANGE=THISANDFUTURE: that instance and all that follow (RFC 5545 section 3.2.13).
    pub this_and_future: bool,
    /// 0 where missing (RFC 5545 section 3.8.7.4).
    pub sequence: u32,
    /// DTSTAMP, else LAST-MODIFIED, in seconds since 1970, UTC. Where both are missing the caller may put the mail's Date here.
    pub dtstamp: Option<i64>,
    /// Who answers or proposes: the one attendee of a REPLY or COUNTER. None where the message names several; the caller may
    /// then put the mail's sender here.
    pub by: Option<String>,
    pub event: Event,
}

impl Update {
    pub fn stamp(&self) -> Stamp {
        Stamp { sequence: self.sequence, dtstamp: self.dtstamp }
    }
}

/// Which of two messages about the same thing is newer: SEQUENCE, then DTSTAMP (RFC 5546 section 2.1.5). A missing DTSTAMP is
/// older than any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Stamp {
    #[n(0)]
    pub sequence: u32,
    #[n(1)]
    pub dtstamp: Option<i64>,
}

/// The content of a VEVENT.
///
/// The order of two events (`Ord`) means nothing to people: it only makes two servers prefer the same one of two messages that
/// carry the same stamp.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Event {
    #[n(0)]
    pub title: Option<String>,
    #[n(1)]
    pub description: Option<String>,
    #[n(2)]
    pub location: Option<String>,
    #[n(3)]
    pub start: Option<When>,
    /// The first moment after the event; for whole days the day after the last (RFC 5545 section 3.6.1).
    #[n(4)]
    pub end: Option<When>,
    #[n(5)]
    pub all_day: bool,
    #[n(6)]
    pub status: Option<Status>,
    #[n(7)]
    pub organizer: Option<Person>,
    #[n(8)]
    pub attendees: Vec<Attendee>,
    /// RRULE as text, in the library's spelling; as written where the library cannot read it.
    #[n(9)]
    pub rules: Vec<String>,
    #[n(10)]
    pub rdates: Vec<Span>,
    #[n(11)]
    pub exdates: Vec<When>,
    /// The message's own definition of the zone of `start`, kept only where the zone has no IANA name.
    #[n(12)]
    pub zone_rules: Option<ZoneRules>,
    #[n(13)]
    pub categories: Vec<String>,
    #[n(14)]
    pub url: Option<String>,
    /// CLASS, in capitals: PUBLIC, PRIVATE, CONFIDENTIAL or the sender's own word.
    #[n(15)]
    pub class: Option<String>,
    /// What the sender of this message adds: why it is cancelled, declined, proposed.
    #[n(16)]
    pub comment: Option<String>,
    /// TRANSP:TRANSPARENT: takes no time.
    #[n(17)]
    pub free: bool,
}

impl Event {
    /// About how many bytes it takes in the store.
    pub(super) fn weight(&self) -> usize {
        let texts = [&self.title, &self.description, &self.location, &self.url, &self.class, &self.comment];
        let texts =
            texts.into_iter().flatten().chain(&self.rules).chain(&self.categories).map(String::len).sum::<usize>();
        let names = self.attendees.iter().map(|who| 60 + who.address.len() + who.name.as_ref().map_or(0, String::len));
        let moves = self.zone_rules.iter().flat_map(|rules| &rules.steps).map(|step| 40 + 9 * step.further.len());
        texts + names.sum::<usize>() + moves.sum::<usize>() + 50 * (self.rdates.len() + self.exdates.len())
    }
}

/// A moment, or a day, as the sender meant it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct When {
    /// Seconds since 1970, UTC. None for a day and for a floating time, which are the same on every clock (RFC 5545 section
    /// 3.3.5, form 1), and for a zone nobody defines.
    #[n(0)]
    pub utc: Option<i64>,
    /// `2026-03-01T09:00:00` on the clock of the zone, or `2026-03-01`.
    #[n(1)]
    pub local: String,
    /// The IANA name. None for a floating time, and for a zone that only the message defines.
    #[n(2)]
    pub zone: Option<String>,
}

impl When {
    pub fn day(date: civil::Date) -> Self {
        Self { utc: None, local: date.to_string(), zone: None }
    }

    pub fn is_day(&self) -> bool {
        !self.local.contains('T')
    }

    pub(super) fn date_part(&self) -> &str {
        self.local.split('T').next().unwrap_or_default()
    }

    /// The clock's reading; midnight for a day. None only for a text that was never written by this module.
    pub fn civil(&self) -> Option<civil::DateTime> {
        if self.is_day() { self.local.parse::<civil::Date>().ok().map(Into::into) } else { self.local.parse().ok() }
    }

    /// For sorting and for windows of time: a floating time is taken as UTC.
    pub fn seconds(&self) -> i64 {
        self.utc.or_else(|| self.civil().map(civil_seconds)).unwrap_or(0)
    }

    /// Two writings of the same RECURRENCE-ID, one in UTC and one in local time, name the same instance.
    pub fn same_moment(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    pub(super) fn key(&self) -> Key<'_> {
        self.utc.map_or(Key::Reading(&self.local), Key::Moment)
    }
}

/// What tells one instance of a series from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    Moment(i64),
    Reading(&'a str),
}

/// The seconds since 1970 that a clock in UTC would need to show this.
pub(super) fn civil_seconds(local: civil::DateTime) -> i64 {
    Offset::UTC.to_timestamp(local).map_or(0, jiff::Timestamp::as_second)
}

/// A further occurrence (RDATE); the end only where the message gives one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Span {
    #[n(0)]
    pub start: When,
    #[n(1)]
    pub end: Option<When>,
}

/// RFC 5545 section 3.8.1.11, the values of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Status {
    #[n(0)]
    Tentative,
    #[n(1)]
    Confirmed,
    #[n(2)]
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Person {
    /// Without `mailto:`; as written otherwise.
    #[n(0)]
    pub address: String,
    #[n(1)]
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Attendee {
    #[n(0)]
    pub address: String,
    #[n(1)]
    pub name: Option<String>,
    #[n(2)]
    pub role: Role,
    #[n(3)]
    pub status: Participation,
    #[n(4)]
    pub rsvp: bool,
    #[n(5)]
    pub kind: Kind,
    #[n(6)]
    pub delegated_to: Option<String>,
    #[n(7)]
    pub delegated_from: Option<String>,
    /// Answered without being invited (RFC 5546 section 3.2.3); a message never says so itself.
    #[n(8)]
    pub uninvited: bool,
}

/// PARTSTAT. A word that is not known counts as NEEDS-ACTION (RFC 5545 section 3.2.12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Participation {
    #[default]
    #[n(0)]
    NeedsAction,
    #[n(1)]
    Accepted,
    #[n(2)]
    Declined,
    #[n(3)]
    Tentative,
    #[n(4)]
    Delegated,
}

/// ROLE. A word that is not known counts as REQ-PARTICIPANT (RFC 5545 section 3.2.16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    #[default]
    #[n(0)]
    Required,
    #[n(1)]
    Optional,
    #[n(2)]
    Chair,
    #[n(3)]
    Informed,
}

/// CUTYPE (RFC 5545 section 3.2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    #[default]
    #[n(0)]
    Individual,
    #[n(1)]
    Group,
    #[n(2)]
    Resource,
    #[n(3)]
    Room,
    #[n(4)]
    Unknown,
}
