//! What all messages about one UID have come to. The only place that decides which message counts.
//!
//! Mail arrives in any order, twice, and on two servers. So a series is not a state that messages change but a set of registers,
//! each of which keeps the greatest of what it has seen; what is shown is worked out from all of them. The same messages in any
//! order leave the same series.
//!
//! | register, per instance | kept | by |
//! |---|---|---|
//! | `revision` | the newest REQUEST, PUBLISH or ADD | `Stamp`: SEQUENCE, then DTSTAMP (RFC 5546 section 2.1.5) |
//! | `cancel` | the newest CANCEL, beside the revision: so a late older REQUEST gives details and revives nothing | `Stamp` |
//! | `replies` | the newest REPLY of each attendee | `Stamp`, compared with that attendee's other replies alone (2.1.5 item 4) |
//! | `proposals` | the newest COUNTER of each proposer; it never touches the event (section 3.2.7) | `Stamp` |
//!
//! Decisions where the RFCs leave room:
//!
//! * An instance is UID and RECURRENCE-ID (RFC 5546 section 2.1.5 item 1). SEQUENCE counts for each instance on its own, so
//!   between a series and its exceptions only DTSTAMP tells which is newer.
//! * A CANCEL wins over a REQUEST of the same stamp: section 3.2.5 says it must have the higher SEQUENCE, so the sender forgot.
//! * A CANCEL without RECURRENCE-ID ends the exceptions that are not newer. A newer REQUEST for the whole brings the series back,
//!   and those exceptions are void: the series has its ordinary instances again.
//! * Two different messages with the same stamp: the greater content wins. There is no right answer, only the same one everywhere.
//! * A REPLY counts while the event has not got a higher SEQUENCE since; a reschedule asks everybody again (section 3.2.2.1). At
//!   the same SEQUENCE a later REQUEST in which the organizer states an answer of that attendee counts more.
//! * Whoever answers without being invited is listed and marked (section 3.2.3); mailmill leaves the decision to people.
//! * REFRESH and DECLINECOUNTER are talk between two people and change nothing.

use std::fmt;

use minicbor::{Decode, Encode};

use super::event::{Attendee, Event, Kind, Method, Participation, Role, Stamp, Status, Update, When};

/// Bounds on what strangers can make a series grow to. Past them a message is ignored: here alone order matters.
const MAX_EXCEPTIONS: usize = 2000;
const MAX_REPLIES: usize = 2000;
const MAX_PROPOSALS: usize = 200;

/// About how many bytes a series may take in the store: it is read and written whole for every message about it.
const MAX_WEIGHT: usize = 8 << 20;

/// The record of one UID in one list (CBOR, fields are only ever added).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Series {
    #[n(0)]
    pub uid: String,
    /// The whole, without RECURRENCE-ID.
    #[n(1)]
    pub master: Option<Instance>,
    /// By RECURRENCE-ID, earliest first.
    #[n(2)]
    pub exceptions: Vec<Instance>,
}

/// What is known of the whole, or of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Instance {
    /// RECURRENCE-ID; none in the master.
    #[n(0)]
    pub at: Option<When>,
    /// RANGE=THISANDFUTURE. Kept apart from the single instance of the same RECURRENCE-ID: either may be changed alone.
    #[n(1)]
    pub this_and_future: bool,
    /// Came by ADD: belongs to the series though no rule makes it (RFC 5546 section 3.2.4).
    #[n(2)]
    pub added: bool,
    /// None while only a CANCEL, REPLY or COUNTER has arrived.
    #[n(3)]
    pub revision: Option<Revision>,
    #[n(4)]
    pub cancel: Option<Revision>,
    /// By address.
    #[n(5)]
    pub replies: Vec<Reply>,
    /// By proposer.
    #[n(6)]
    pub proposals: Vec<Proposal>,
}

/// Ordered by stamp; the content only breaks ties.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Revision {
    #[n(0)]
    pub stamp: Stamp,
    #[n(1)]
    pub event: Event,
}

/// An attendee's answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Reply {
    #[n(0)]
    pub stamp: Stamp,
    /// In lower case.
    #[n(1)]
    pub address: String,
    #[n(2)]
    pub status: Participation,
    #[n(3)]
    pub name: Option<String>,
    #[n(4)]
    pub comment: Option<String>,
    #[n(5)]
    pub delegated_to: Option<String>,
    #[n(6)]
    pub delegated_from: Option<String>,
}

/// A COUNTER: the event as somebody would like it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Proposal {
    #[n(0)]
    pub stamp: Stamp,
    /// In lower case; empty where the message does not tell.
    #[n(1)]
    pub by: String,
    #[n(2)]
    pub event: Event,
}

/// What a message came to. The series must be stored whatever it is: a stale message may still have told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first that is known of the event.
    Created,
    Updated,
    Cancelled,
    AttendeeUpdated,
    CounterNoted,
    /// A REPLY or COUNTER came before its event: there is nothing to show yet.
    Remembered,
    Stale(Reason),
    Ignored(Reason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Again,
    OlderSequence,
    OlderStamp,
    SameStamp,
    Cancelled,
    OtherUid,
    UnknownSender,
    NoInstance,
    ChangesNothing,
    Full,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Again => "the same message again",
            Self::OlderSequence => "a message with a higher SEQUENCE is known",
            Self::OlderStamp => "a message with the same SEQUENCE and a later DTSTAMP is known",
            Self::SameStamp => "another message with the same SEQUENCE and DTSTAMP is known",
            Self::Cancelled => "the event is cancelled",
            Self::OtherUid => "it belongs to another event",
            Self::UnknownSender => "it does not tell which attendee answers",
            Self::NoInstance => "it does not tell which instance it is",
            Self::ChangesNothing => "this method changes nothing",
            Self::Full => "the series has too many parts",
        })
    }
}

/// How an exception stands towards its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Live,
    Cancelled,
    /// A whole series that was sent anew made it an ordinary instance again.
    Void,
}

/// Takes an update into the series of its UID. None stays None for a message that leaves nothing to remember.
pub fn apply(series: Option<Series>, update: &Update) -> (Option<Series>, Verdict) {
    if series.as_ref().is_some_and(|series| series.uid != update.uid) {
        return (series, Verdict::Ignored(Reason::OtherUid));
    }
    if matches!(update.method, Method::Refresh | Method::DeclineCounter) {
        return (series, Verdict::Ignored(Reason::ChangesNothing));
    }
    if update.method == Method::Reply && answer(update).is_none() {
        return (series, Verdict::Ignored(Reason::UnknownSender));
    }
    let mut series = series.unwrap_or_else(|| Series::new(update.uid.clone()));
    let verdict = series.take(update);
    (Some(series), verdict)
}

impl Series {
    fn new(uid: String) -> Self {
        Self { uid, master: None, exceptions: Vec::new() }
    }

    /// The master and the exceptions.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.master.iter().chain(&self.exceptions)
    }

    /// What represents the whole in a list: the master; without one the earliest instance that is known.
    pub fn leading(&self) -> Option<&Instance> {
        let known = |instance: &&Instance| instance.event().is_some();
        self.master.as_ref().filter(known).or_else(|| self.exceptions.iter().find(known))
    }

    pub fn event(&self) -> Option<&Event> {
        self.leading().and_then(Instance::event)
    }

    pub fn stamp(&self) -> Option<Stamp> {
        self.leading().and_then(Instance::stamp)
    }

    /// The whole: by its own CANCEL, or because all that is known of it is cancelled.
    pub fn cancelled(&self) -> bool {
        match &self.master {
            Some(master) if master.revision.is_some() || master.cancel.is_some() => master.cancelled(),
            _ => {
                let mut known = self.exceptions.iter().filter(|instance| instance.event().is_some()).peekable();
                known.peek().is_some() && known.all(|instance| self.standing(instance) == Standing::Cancelled)
            }
        }
    }

    pub fn standing(&self, instance: &Instance) -> Standing {
        let whole = self.master.as_ref().and_then(|master| master.cancel.as_ref());
        let back = self.master.as_ref().is_some_and(|master| !master.cancelled());
        if whole.is_some_and(|whole| instance.stamp().is_none_or(|stamp| !newer(stamp, whole.stamp))) {
            return if back { Standing::Void } else { Standing::Cancelled };
        }
        let ranges = self.exceptions.iter().filter(|range| range.this_and_future && range.cancelled());
        let mut ranges = ranges.filter(|range| range.begins_by(instance)).filter_map(|range| range.cancel.as_ref());
        let stamp = instance.revision.as_ref().map(|revision| revision.stamp);
        let covered = ranges.any(|range| stamp.is_none_or(|stamp| !newer(stamp, range.stamp)));
        if covered || instance.cancelled() { Standing::Cancelled } else { Standing::Live }
    }

    fn take(&mut self, update: &Update) -> Verdict {
        let first = !self.instances().any(|known| known.revision.is_some());
        // RFC 5546 section 3.2.4: an added instance is named by its start.
        let added = update.method == Method::Add && update.recurrence_id.is_none();
        let at = if added { update.event.start.as_ref() } else { update.recurrence_id.as_ref() };
        if added && at.is_none() {
            return Verdict::Ignored(Reason::NoInstance);
        }
        if self.instances().map(Instance::weight).sum::<usize>() + update.event.weight() > MAX_WEIGHT {
            return Verdict::Ignored(Reason::Full);
        }
        let known = self.event().is_some();
        let Some(instance) = self.instance(at, update.this_and_future) else { return Verdict::Ignored(Reason::Full) };
        instance.added |= added;
        let offer = Revision { stamp: update.stamp(), event: update.event.clone() };
        match update.method {
            Method::Cancel => instance.cancel(offer),
            Method::Reply => instance.reply(update, known),
            Method::Counter => instance.counter(update, known),
            _ => match keep_greatest(&mut instance.revision, offer, |revision| revision.stamp) {
                Kept::Older(verdict) => verdict,
                Kept::New if update.event.status == Some(Status::Cancelled) => Verdict::Cancelled,
                Kept::New if self.is_cancelled(at, update.this_and_future) => Verdict::Stale(Reason::Cancelled),
                Kept::New if first => Verdict::Created,
                Kept::New => Verdict::Updated,
            },
        }
    }

    fn is_cancelled(&self, at: Option<&When>, this_and_future: bool) -> bool {
        let Some(at) = at else { return self.cancelled() };
        self.exception(at, this_and_future).is_some_and(|found| self.standing(found) == Standing::Cancelled)
    }

    pub fn exception(&self, at: &When, this_and_future: bool) -> Option<&Instance> {
        self.exceptions.iter().find(|known| known.is(at, this_and_future))
    }

    /// Finds the registers of an instance or makes them. None when there are too many.
    fn instance(&mut self, at: Option<&When>, this_and_future: bool) -> Option<&mut Instance> {
        let Some(at) = at else { return Some(self.master.get_or_insert_default()) };
        let index = match self.exceptions.iter().position(|known| known.is(at, this_and_future)) {
            Some(index) => index,
            None if self.exceptions.len() >= MAX_EXCEPTIONS => return None,
            None => {
                let new = Instance { at: Some(at.clone()), this_and_future, ..Instance::default() };
                let index = self.exceptions.partition_point(|known| known.place() < new.place());
                self.exceptions.insert(index, new);
                index
            }
        };
        let instance = self.exceptions.get_mut(index)?;
        // One message writes the moment in UTC, another in local time: either is right, the same one is always kept.
        instance.at = Some(instance.at.take().map_or_else(|| at.clone(), |known| known.min(at.clone())));
        Some(instance)
    }
}

/// Newer, between different instances: SEQUENCE counts each on its own, so DTSTAMP decides where both have one.
pub(super) fn newer(one: Stamp, than: Stamp) -> bool {
    match (one.dtstamp, than.dtstamp) {
        (Some(one), Some(than)) => one > than,
        _ => one.sequence > than.sequence,
    }
}

impl Instance {
    /// The newest content; of an event that was cancelled before it arrived, what the CANCEL says.
    pub fn event(&self) -> Option<&Event> {
        self.revision.as_ref().or(self.cancel.as_ref()).map(|revision| &revision.event)
    }

    /// Of the newest message of the organizer.
    pub fn stamp(&self) -> Option<Stamp> {
        self.revision.iter().chain(&self.cancel).map(|revision| revision.stamp).max()
    }

    /// By itself; a series may be cancelled above it (`Series::standing`).
    pub fn cancelled(&self) -> bool {
        let stamp = self.revision.as_ref().map(|revision| revision.stamp);
        let marked = self.revision.as_ref().is_some_and(|known| known.event.status == Some(Status::Cancelled));
        marked || self.cancel.as_ref().is_some_and(|cancel| Some(cancel.stamp) >= stamp)
    }

    /// The attendees with their answers.
    pub fn attendees(&self) -> Vec<Attendee> {
        let Some(revision) = self.revision.as_ref().or(self.cancel.as_ref()) else { return Vec::new() };
        let mut attendees = revision.event.attendees.clone();
        for reply in &self.replies {
            match attendees.iter_mut().find(|attendee| attendee.address.eq_ignore_ascii_case(&reply.address)) {
                Some(attendee) if reply.counts_for(attendee, revision.stamp) => {
                    attendee.status = reply.status;
                    attendee.delegated_to.clone_from(&reply.delegated_to);
                }
                Some(_) => {}
                None => attendees.push(reply.uninvited()),
            }
        }
        attendees
    }

    fn weight(&self) -> usize {
        let revisions = self.revision.iter().chain(&self.cancel).map(|revision| revision.event.weight());
        let proposals = self.proposals.iter().map(|proposal| proposal.event.weight());
        let comments = self.replies.iter().map(|reply| reply.comment.as_ref().map_or(100, |text| 100 + text.len()));
        revisions.chain(proposals).chain(comments).sum()
    }

    fn is(&self, at: &When, this_and_future: bool) -> bool {
        self.this_and_future == this_and_future && self.at.as_ref().is_some_and(|known| known.same_moment(at))
    }

    /// Where it stands among the exceptions. A moment has one place however it is written.
    fn place(&self) -> (i64, Option<&str>, bool) {
        let at = self.at.as_ref();
        let local = at.filter(|at| at.utc.is_none()).map(|at| at.local.as_str());
        (at.map_or(0, When::seconds), local, self.this_and_future)
    }

    fn begins_by(&self, other: &Self) -> bool {
        self.at.as_ref().zip(other.at.as_ref()).is_some_and(|(one, two)| one.seconds() <= two.seconds())
    }

    fn cancel(&mut self, offer: Revision) -> Verdict {
        let stamp = offer.stamp;
        match keep_greatest(&mut self.cancel, offer, |cancel| cancel.stamp) {
            Kept::Older(verdict) => verdict,
            Kept::New => match self.revision.as_ref().map(|revision| revision.stamp) {
                Some(known) if known > stamp => Verdict::Stale(older(stamp, known)),
                _ => Verdict::Cancelled,
            },
        }
    }

    fn reply(&mut self, update: &Update, known: bool) -> Verdict {
        let Some(reply) = answer(update) else { return Verdict::Ignored(Reason::UnknownSender) };
        let found = |by: &Reply| by.address.cmp(&reply.address);
        match keep_in(&mut self.replies, MAX_REPLIES, found, reply.clone(), |reply| reply.stamp) {
            Kept::Older(verdict) => verdict,
            Kept::New if known => Verdict::AttendeeUpdated,
            Kept::New => Verdict::Remembered,
        }
    }

    fn counter(&mut self, update: &Update, known: bool) -> Verdict {
        let by = update.by.as_deref().unwrap_or_default().to_ascii_lowercase();
        let found = |known: &Proposal| known.by.cmp(&by);
        let proposal = Proposal { stamp: update.stamp(), by: by.clone(), event: update.event.clone() };
        match keep_in(&mut self.proposals, MAX_PROPOSALS, found, proposal, |proposal| proposal.stamp) {
            Kept::Older(verdict) => verdict,
            Kept::New if known => Verdict::CounterNoted,
            Kept::New => Verdict::Remembered,
        }
    }
}

impl Reply {
    fn counts_for(&self, attendee: &Attendee, event: Stamp) -> bool {
        let stated = attendee.status != Participation::NeedsAction && event.dtstamp > self.stamp.dtstamp;
        self.stamp.sequence > event.sequence || (self.stamp.sequence == event.sequence && !stated)
    }

    fn uninvited(&self) -> Attendee {
        Attendee {
            address: self.address.clone(),
            name: self.name.clone(),
            role: Role::default(),
            status: self.status,
            rsvp: false,
            kind: Kind::default(),
            delegated_to: self.delegated_to.clone(),
            delegated_from: self.delegated_from.clone(),
            uninvited: true,
        }
    }
}

/// Who answers what. None where the message does not tell who.
fn answer(update: &Update) -> Option<Reply> {
    let by = update.by.as_deref()?;
    let attendee = update.event.attendees.iter().find(|attendee| attendee.address.eq_ignore_ascii_case(by))?;
    Some(Reply {
        stamp: update.stamp(),
        address: attendee.address.to_ascii_lowercase(),
        status: attendee.status,
        name: attendee.name.clone(),
        comment: update.event.comment.clone(),
        delegated_to: attendee.delegated_to.clone(),
        delegated_from: attendee.delegated_from.clone(),
    })
}

/// What a register did with an offer.
enum Kept {
    New,
    Older(Verdict),
}

fn keep_greatest<T: Ord>(register: &mut Option<T>, offer: T, stamp: impl Fn(&T) -> Stamp) -> Kept {
    if let Some(known) = register.as_ref()
        && offer <= *known
    {
        return Kept::Older(match (offer == *known, stamp(&offer), stamp(known)) {
            (true, ..) => Verdict::Ignored(Reason::Again),
            (false, offer, known) => Verdict::Stale(older(offer, known)),
        });
    }
    *register = Some(offer);
    Kept::New
}

/// The same for a sorted list of registers; `find` compares a known one with the offer.
fn keep_in<T: Ord>(
    list: &mut Vec<T>,
    most: usize,
    find: impl Fn(&T) -> std::cmp::Ordering,
    offer: T,
    stamp: impl Fn(&T) -> Stamp,
) -> Kept {
    match list.binary_search_by(find) {
        Ok(index) => {
            let mut register = Some(list.remove(index));
            let kept = keep_greatest(&mut register, offer, stamp);
            list.splice(index..index, register);
            kept
        }
        Err(_) if list.len() >= most => Kept::Older(Verdict::Ignored(Reason::Full)),
        Err(index) => {
            list.insert(index, offer);
            Kept::New
        }
    }
}

fn older(offer: Stamp, known: Stamp) -> Reason {
    if offer.sequence < known.sequence {
        Reason::OlderSequence
    } else if offer.dtstamp < known.dtstamp {
        Reason::OlderStamp
    } else {
        Reason::SameStamp
    }
}
