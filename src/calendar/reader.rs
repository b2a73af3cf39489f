//! From the bytes of a calendar to updates. The only file besides `zone` and `recur` that names calcard: nothing of it leaves.
//! What is broken is said in `problems` and left out; the rest is read.

use std::collections::BTreeMap;

use calcard::common::PartialDateTime;
use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType, ICalendarDuration, ICalendarEntry, ICalendarMethod,
    ICalendarParameterName, ICalendarParameterValue, ICalendarParticipationRole, ICalendarParticipationStatus,
    ICalendarPeriod, ICalendarProperty, ICalendarStatus, ICalendarTransparency, ICalendarUserTypes, ICalendarValue,
};
use calcard::{Entry, Parser};
use jiff::Span as Duration;

use super::event::{
    Attendee, Event, Kind, Method, Participation, Person, Role, Span, Status, Update, When, civil_seconds,
};
use super::lines::content_lines;
use super::zone::{Zone, Zones, clock};

/// Bounds on one calendar.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A longer calendar is not read at all: half a series would be a wrong one.
    pub bytes: usize,
    /// Unfolded lines, what follows is left out; and values of lists and parameters in all of them, a line past them is left out.
    pub lines: usize,
    /// BEGINs; what follows is left out.
    pub components: usize,
    /// Components inside components; deeper ones are left out. VCALENDAR, VEVENT, PARTICIPANT, VLOCATION is the deepest in use.
    pub nesting: usize,
}

impl Default for Limits {
    /// An invitation has 2 to 80 kB; whole calendars are sent too. What a hostile calendar costs grows with its bytes.
    fn default() -> Self {
        Self { bytes: 2 << 20, lines: 100_000, components: 5000, nesting: 8 }
    }
}

/// RDATE and EXDATE values of one event; a daily series of ten years has no more.
const MAX_DATES: usize = 4000;

/// RRULEs of one event. RFC 5545 section 3.8.5.3 wants one; each costs its expansion.
const MAX_RULES: usize = 4;

/// A calendar with more wrong with it than this is described well enough.
const MAX_PROBLEMS: usize = 50;

/// A UID is a file name, an address or a hex string; RFC 7986 section 5.3 wants it below 256 octets.
const MAX_UID: usize = 1024;

/// What a calendar part says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// In the order of the message.
    pub updates: Vec<Update>,
    /// What was left out or mended, in words for people.
    pub problems: Vec<String>,
}

/// Reads a `text/calendar` part or an `.ics` file. Bytes are UTF-8, or windows-1252 where they are not; a part that declares
/// another charset must be decoded before.
pub fn read(bytes: &[u8], limits: &Limits) -> Read {
    if bytes.len() > limits.bytes {
        let problem = format!("the calendar has {} bytes, more than {}: it is not read", bytes.len(), limits.bytes);
        return Read { updates: Vec::new(), problems: vec![problem] };
    }
    let lines = content_lines(bytes, limits);
    let mut reader = Reader::default();
    reader.read.problems = lines.problems;
    let mut parser = Parser::new(&lines.text);
    // Every call takes at least one line.
    for _ in 0..=lines.text.len() {
        match parser.entry() {
            Entry::ICalendar(calendar) => reader.calendar(&calendar),
            Entry::Eof => break,
            _ => {}
        }
    }
    reader.finish()
}

#[derive(Debug, Default)]
struct Reader {
    read: Read,
    /// Components that are no events, and how many.
    others: BTreeMap<&'static str, usize>,
    calendars: usize,
}

impl Reader {
    fn finish(mut self) -> Read {
        for (name, count) in std::mem::take(&mut self.others) {
            self.problem(format!("{count} {name} left out: only events are kept"));
        }
        if self.calendars == 0 {
            self.problem("there is no calendar in it".to_owned());
        }
        let problems = &mut self.read.problems;
        if problems.len() > MAX_PROBLEMS {
            let rest = problems.len() - MAX_PROBLEMS;
            problems.truncate(MAX_PROBLEMS);
            problems.push(format!("and {rest} more"));
        }
        self.read
    }

    fn problem(&mut self, problem: String) {
        self.read.problems.push(problem);
    }

    fn calendar(&mut self, calendar: &ICalendar) {
        self.calendars += 1;
        let method = match method(calendar) {
            Ok(method) => method,
            Err(word) => return self.problem(format!("METHOD {word} is not one of RFC 5546: nothing is read")),
        };
        let mut zones = Zones::of(calendar);
        for component in &calendar.components {
            match component.component_type {
                ICalendarComponentType::VEvent => self.event(component, method, &mut zones),
                ICalendarComponentType::VTodo => *self.others.entry("VTODO").or_default() += 1,
                ICalendarComponentType::VJournal => *self.others.entry("VJOURNAL").or_default() += 1,
                ICalendarComponentType::VFreebusy => *self.others.entry("VFREEBUSY").or_default() += 1,
                ICalendarComponentType::VAvailability => *self.others.entry("VAVAILABILITY").or_default() += 1,
                _ => {}
            }
        }
        for tzid in zones.unknown {
            self.problem(format!("nobody defines the time zone {}: its times are kept as written", short(&tzid)));
        }
    }

    fn event(&mut self, component: &ICalendarComponent, method: Method, zones: &mut Zones) {
        let mut draft = Draft { zones, problems: &mut self.read.problems, parts: Parts::default() };
        for entry in &component.entries {
            draft.property(entry);
        }
        if let Some(update) = draft.finish(method) {
            self.read.updates.push(update);
        }
    }
}

/// METHOD stands in the VCALENDAR; an event outside of one has none. Err: a word that is no method.
fn method(calendar: &ICalendar) -> Result<Method, String> {
    let mut entries = calendar.components.first().into_iter().flat_map(|root| &root.entries);
    let Some(entry) = entries.rfind(|entry| entry.name == ICalendarProperty::Method) else {
        return Ok(Method::Publish);
    };
    match entry.values.first() {
        Some(ICalendarValue::Method(method)) => Ok(match method {
            ICalendarMethod::Publish => Method::Publish,
            ICalendarMethod::Request => Method::Request,
            ICalendarMethod::Reply => Method::Reply,
            ICalendarMethod::Add => Method::Add,
            ICalendarMethod::Cancel => Method::Cancel,
            ICalendarMethod::Refresh => Method::Refresh,
            ICalendarMethod::Counter => Method::Counter,
            ICalendarMethod::Declinecounter => Method::DeclineCounter,
        }),
        None => Ok(Method::Publish),
        Some(other) => Err(text(other).unwrap_or_default()),
    }
}

/// The properties of one VEVENT as they are found.
#[derive(Debug, Default)]
struct Parts {
    uid: Option<String>,
    recurrence_id: Option<When>,
    bad_recurrence_id: bool,
    this_and_future: bool,
    sequence: i64,
    /// Outlook before 2007 counts here and leaves SEQUENCE at 0; so do some servers that speak for it.
    cdo_sequence: i64,
    dtstamp: Option<i64>,
    last_modified: Option<i64>,
    duration: Option<ICalendarDuration>,
    start_zone: Option<Zone>,
    cdo_all_day: bool,
    event: Event,
}

struct Draft<'a> {
    zones: &'a mut Zones,
    problems: &'a mut Vec<String>,
    parts: Parts,
}

impl Draft<'_> {
    fn property(&mut self, entry: &ICalendarEntry) {
        match &entry.name {
            ICalendarProperty::Uid => self.parts.uid = first_text(entry).or(self.parts.uid.take()),
            ICalendarProperty::Sequence => self.parts.sequence = integer(entry),
            ICalendarProperty::Dtstamp => self.parts.dtstamp = self.time(entry).map(|when| when.seconds()),
            ICalendarProperty::LastModified => self.parts.last_modified = self.time(entry).map(|when| when.seconds()),
            ICalendarProperty::RecurrenceId => self.recurrence_id(entry),
            ICalendarProperty::Dtstart => self.start(entry),
            ICalendarProperty::Dtend => self.parts.event.end = self.time(entry),
            ICalendarProperty::Duration => self.parts.duration = duration(entry),
            ICalendarProperty::Rrule => self.rule(entry),
            ICalendarProperty::Rdate => self.rdates(entry),
            ICalendarProperty::Exdate => self.exdates(entry),
            ICalendarProperty::Exrule => self.problems.push("an EXRULE is left out (RFC 5545 appendix A.3)".to_owned()),
            ICalendarProperty::Organizer => self.parts.event.organizer = person(entry),
            ICalendarProperty::Attendee => self.attendee(entry),
            ICalendarProperty::Other(name) => self.extension(name, entry),
            _ => self.words(entry),
        }
    }

    /// What people read. An empty property says nothing.
    fn words(&mut self, entry: &ICalendarEntry) {
        let event = &mut self.parts.event;
        match &entry.name {
            ICalendarProperty::Summary => event.title = first_text(entry),
            ICalendarProperty::Description => event.description = first_text(entry),
            ICalendarProperty::Location => event.location = first_text(entry),
            ICalendarProperty::Comment => event.comment = first_text(entry),
            ICalendarProperty::Url => event.url = first_text(entry),
            ICalendarProperty::Class => event.class = first_text(entry).map(|word| word.to_ascii_uppercase()),
            ICalendarProperty::Categories => event.categories.extend(entry.values.iter().filter_map(text)),
            ICalendarProperty::Status => event.status = status(entry),
            ICalendarProperty::Transp => {
                event.free = matches!(
                    entry.values.first(),
                    Some(ICalendarValue::Transparency(ICalendarTransparency::Transparent))
                );
            }
            _ => {}
        }
    }

    fn extension(&mut self, name: &str, entry: &ICalendarEntry) {
        if name.eq_ignore_ascii_case("X-MICROSOFT-CDO-ALLDAYEVENT") {
            self.parts.cdo_all_day = first_text(entry).is_some_and(|word| word.eq_ignore_ascii_case("TRUE"));
        } else if name.eq_ignore_ascii_case("X-MICROSOFT-CDO-APPT-SEQUENCE") {
            self.parts.cdo_sequence = integer(entry);
        }
    }

    fn start(&mut self, entry: &ICalendarEntry) {
        self.parts.event.start = self.time(entry);
        let zoned = self.parts.event.start.as_ref().is_some_and(|start| start.utc.is_some() && start.zone.is_none());
        self.parts.start_zone = if zoned { self.zone(entry) } else { None };
    }

    fn recurrence_id(&mut self, entry: &ICalendarEntry) {
        self.parts.recurrence_id = self.time(entry);
        self.parts.bad_recurrence_id = self.parts.recurrence_id.is_none();
        let range = entry.parameter(&ICalendarParameterName::Range);
        self.parts.this_and_future = matches!(range, Some(ICalendarParameterValue::Bool(true)));
    }

    /// The library's spelling where it understands the rule: the same rule then is the same text.
    fn rule(&mut self, entry: &ICalendarEntry) {
        match entry.values.first() {
            _ if self.parts.event.rules.len() >= MAX_RULES => self.problems.push("an RRULE is left out".to_owned()),
            Some(value) if is_empty(value) => {}
            Some(ICalendarValue::RecurrenceRule(rule)) => self.parts.event.rules.push(rule.to_string()),
            Some(other) => {
                let rule = text(other).unwrap_or_default();
                self.problems.push(format!("the rule {} is kept but not understood", short(&rule)));
                self.parts.event.rules.push(rule);
            }
            None => {}
        }
    }

    fn rdates(&mut self, entry: &ICalendarEntry) {
        let zone = self.zone(entry);
        for value in entry.values.iter().filter(|value| !is_empty(value)) {
            let span = match value {
                ICalendarValue::Period(period) => span(period, zone.as_ref()),
                value => moment(value, zone.as_ref()).map(|start| Span { start, end: None }),
            };
            match span {
                Some(span) if self.parts.event.rdates.len() < MAX_DATES => self.parts.event.rdates.push(span),
                _ => self.problems.push("an RDATE is left out".to_owned()),
            }
        }
    }

    fn exdates(&mut self, entry: &ICalendarEntry) {
        let zone = self.zone(entry);
        for value in entry.values.iter().filter(|value| !is_empty(value)) {
            match moment(value, zone.as_ref()) {
                Some(at) if self.parts.event.exdates.len() < MAX_DATES => self.parts.event.exdates.push(at),
                _ => self.problems.push("an EXDATE is left out".to_owned()),
            }
        }
    }

    fn attendee(&mut self, entry: &ICalendarEntry) {
        let Some(Person { address, name }) = person(entry) else { return };
        let text = |name| entry.parameter(name).and_then(ICalendarParameterValue::as_text).map(address_of);
        self.parts.event.attendees.push(Attendee {
            address,
            name,
            role: role(entry),
            status: participation(entry),
            rsvp: matches!(entry.parameter(&ICalendarParameterName::Rsvp), Some(ICalendarParameterValue::Bool(true))),
            kind: kind(entry),
            delegated_to: text(&ICalendarParameterName::DelegatedTo),
            delegated_from: text(&ICalendarParameterName::DelegatedFrom),
            uninvited: false,
        });
    }

    fn time(&mut self, entry: &ICalendarEntry) -> Option<When> {
        if entry.values.first().is_none_or(is_empty) {
            return None;
        }
        let zone = self.zone(entry);
        let found = entry.values.first().and_then(|value| moment(value, zone.as_ref()));
        if found.is_none() {
            let value = entry.values.first().and_then(text).unwrap_or_default();
            self.problems.push(format!("{} is no time: {}", entry.name.as_str(), short(&value)));
        }
        found
    }

    /// None for times without TZID, and for a zone nobody knows.
    fn zone(&mut self, entry: &ICalendarEntry) -> Option<Zone> {
        // A comma in a TZID that should have been quoted makes several values of it.
        let words = entry.parameters(&ICalendarParameterName::Tzid).filter_map(ICalendarParameterValue::as_text);
        let tzid = words.collect::<Vec<_>>().join(",");
        if tzid.is_empty() {
            return None;
        }
        self.zones.find(&tzid)
    }

    fn finish(mut self, method: Method) -> Option<Update> {
        let uid = match self.parts.uid.take() {
            Some(uid) if uid.len() <= MAX_UID => uid,
            Some(_) => return self.reject("an event has a UID of more than 1024 bytes and is left out"),
            None => return self.reject("an event has no UID and is left out"),
        };
        if self.parts.bad_recurrence_id {
            // Without it the update would change the whole series.
            return self.reject("an event has a RECURRENCE-ID that is no time and is left out");
        }
        self.times(method);
        let Parts { sequence, cdo_sequence, dtstamp, last_modified, event, .. } = self.parts;
        let sequence = if sequence > 0 { sequence } else { cdo_sequence };
        let by = match (method, event.attendees.as_slice()) {
            (Method::Reply | Method::Counter, [one]) => Some(one.address.clone()),
            _ => None,
        };
        Some(Update {
            method,
            uid,
            recurrence_id: self.parts.recurrence_id,
            this_and_future: self.parts.this_and_future,
            // RFC 5545 section 3.3.8: an integer has 31 bits. A larger one must not end all later updates.
            sequence: u32::try_from(sequence.clamp(0, i64::from(i32::MAX))).unwrap_or(0),
            dtstamp: dtstamp.or(last_modified),
            by,
            event,
        })
    }

    fn reject(self, problem: &str) -> Option<Update> {
        self.problems.push(problem.to_owned());
        None
    }

    /// The end from what the message gives: DTEND, DURATION, or neither (RFC 5545 section 3.6.1).
    fn times(&mut self, method: Method) {
        let parts = &mut self.parts;
        let event = &mut parts.event;
        event.zone_rules = parts.start_zone.as_ref().and_then(Zone::to_keep);
        let Some(start) = event.start.clone() else {
            if matches!(method, Method::Publish | Method::Request | Method::Add) {
                self.problems.push("an event has no DTSTART".to_owned());
            }
            return;
        };
        let midnight = start.local.ends_with("T00:00:00");
        event.all_day = start.is_day() || (parts.cdo_all_day && midnight);
        if event.end.as_ref().is_some_and(|end| !fits(&start, end)) {
            self.problems.push("DTEND does not fit DTSTART and is left out".to_owned());
            event.end = None;
        }
        if event.end.is_none()
            && let Some(duration) = &parts.duration
        {
            let zone = parts.start_zone.clone().unwrap_or_else(|| Zone::of(&start, None));
            event.end = after(&start, &zone, duration);
        }
        // Outlook writes a whole day with DTEND on the same day.
        let empty = event.end.as_ref().is_none_or(|end| end.local == start.local);
        if start.is_day() && empty {
            event.end = start.civil().and_then(|day| day.date().tomorrow().ok()).map(When::day);
        } else if event.end.is_none() {
            event.end = Some(start);
        }
    }
}

/// A day does not end at an hour, and nothing ends before it starts. A time in UTC and one on an unknown clock cannot be compared.
fn fits(start: &When, end: &When) -> bool {
    let comparable = start.utc.is_some() == end.utc.is_some();
    start.is_day() == end.is_day() && !(comparable && end.seconds() < start.seconds())
}

/// `EXDATE:` and `RRULE:` without a value are common and mean nothing.
fn is_empty(value: &ICalendarValue) -> bool {
    matches!(value, ICalendarValue::Text(text) if text.trim().is_empty())
}

/// A wrong VALUE parameter makes the library read a time as something else.
fn moment(value: &ICalendarValue, zone: Option<&Zone>) -> Option<When> {
    match value {
        ICalendarValue::PartialDateTime(parts) => when(parts, zone),
        ICalendarValue::Text(text) => {
            let mut parts = PartialDateTime::default();
            parts.parse_timestamp(&mut text.as_bytes().iter().peekable(), false).then(|| when(&parts, zone)).flatten()
        }
        _ => None,
    }
}

fn when(parts: &PartialDateTime, zone: Option<&Zone>) -> Option<When> {
    let local = clock(parts)?;
    if parts.hour.is_none() {
        return Some(When::day(local.date()));
    }
    let Some(hours) = parts.tz_hour else { return Some(zone.unwrap_or(&Zone::Floating).when(local)) };
    // Z, or an offset, which RFC 5545 section 3.3.5 forbids and some write all the same. TZID must not be there, and loses.
    let offset = i64::from(hours) * 3600 + i64::from(parts.tz_minute.unwrap_or(0)) * 60;
    let moment = civil_seconds(local) + if parts.tz_minus { offset } else { -offset };
    Zone::utc().at(moment)
}

fn span(period: &ICalendarPeriod, zone: Option<&Zone>) -> Option<Span> {
    match period {
        ICalendarPeriod::Range { start, end } => Some(Span { start: when(start, zone)?, end: when(end, zone) }),
        ICalendarPeriod::Duration { start, duration } => {
            let start = when(start, zone)?;
            let of = Zone::of(&start, None);
            let end = after(&start, if start.zone.is_none() { zone.unwrap_or(&of) } else { &of }, duration);
            Some(Span { start, end })
        }
    }
}

/// RFC 5545 section 3.3.6: weeks and days are steps on the calendar, hours and less are exact time.
fn after(start: &When, zone: &Zone, duration: &ICalendarDuration) -> Option<When> {
    if duration.neg {
        return None;
    }
    let days = i64::from(duration.weeks).checked_mul(7)?.checked_add(i64::from(duration.days))?;
    let exact = i64::from(duration.hours) * 3600 + i64::from(duration.minutes) * 60 + i64::from(duration.seconds);
    let local = start.civil()?.checked_add(Duration::new().try_days(days).ok()?).ok()?;
    if start.is_day() {
        return Some(When::day(local.date()));
    }
    match zone.moment(local) {
        Some(moment) => zone.at(moment.checked_add(exact)?),
        None => Some(Zone::Floating.when(local.checked_add(Duration::new().try_seconds(exact).ok()?).ok()?)),
    }
}

fn duration(entry: &ICalendarEntry) -> Option<ICalendarDuration> {
    match entry.values.first() {
        Some(ICalendarValue::Duration(duration)) => Some(duration.clone()),
        _ => None,
    }
}

fn text(value: &ICalendarValue) -> Option<String> {
    let text = value.clone().into_text()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn first_text(entry: &ICalendarEntry) -> Option<String> {
    entry.values.first().and_then(text)
}

fn integer(entry: &ICalendarEntry) -> i64 {
    match entry.values.first() {
        Some(ICalendarValue::Integer(number)) => *number,
        Some(other) => text(other).and_then(|text| text.parse().ok()).unwrap_or(0),
        None => 0,
    }
}

/// None where there is neither an address nor a name.
fn person(entry: &ICalendarEntry) -> Option<Person> {
    let parameter = |name| entry.parameter(name).and_then(ICalendarParameterValue::as_text).map(str::trim);
    let name = parameter(&ICalendarParameterName::Cn).map(|name| name.trim_matches('"').to_owned());
    let name = name.filter(|name| !name.is_empty());
    let address = entry.values.first().and_then(ICalendarValue::as_text).map(address_of).unwrap_or_default();
    let email = parameter(&ICalendarParameterName::Email).map(address_of);
    let address = if address.contains('@') { address } else { email.unwrap_or(address) };
    if address.is_empty() && name.is_none() { None } else { Some(Person { address, name }) }
}

fn address_of(uri: &str) -> String {
    let address = match uri.split_once(':') {
        Some((scheme, rest)) if scheme.trim().eq_ignore_ascii_case("mailto") => rest,
        _ => uri,
    };
    address.trim().trim_start_matches('<').trim_end_matches('>').to_owned()
}

fn role(entry: &ICalendarEntry) -> Role {
    match entry.parameter(&ICalendarParameterName::Role) {
        Some(ICalendarParameterValue::Role(ICalendarParticipationRole::Chair)) => Role::Chair,
        Some(ICalendarParameterValue::Role(ICalendarParticipationRole::OptParticipant)) => Role::Optional,
        Some(ICalendarParameterValue::Role(ICalendarParticipationRole::NonParticipant)) => Role::Informed,
        _ => Role::Required,
    }
}

fn participation(entry: &ICalendarEntry) -> Participation {
    match entry.parameter(&ICalendarParameterName::Partstat) {
        Some(ICalendarParameterValue::Partstat(status)) => match status {
            ICalendarParticipationStatus::Accepted => Participation::Accepted,
            ICalendarParticipationStatus::Declined => Participation::Declined,
            ICalendarParticipationStatus::Tentative => Participation::Tentative,
            ICalendarParticipationStatus::Delegated => Participation::Delegated,
            _ => Participation::NeedsAction,
        },
        _ => Participation::NeedsAction,
    }
}

fn kind(entry: &ICalendarEntry) -> Kind {
    match entry.parameter(&ICalendarParameterName::Cutype) {
        None | Some(ICalendarParameterValue::Cutype(ICalendarUserTypes::Individual)) => Kind::Individual,
        Some(ICalendarParameterValue::Cutype(ICalendarUserTypes::Group)) => Kind::Group,
        Some(ICalendarParameterValue::Cutype(ICalendarUserTypes::Resource)) => Kind::Resource,
        Some(ICalendarParameterValue::Cutype(ICalendarUserTypes::Room)) => Kind::Room,
        Some(_) => Kind::Unknown,
    }
}

fn status(entry: &ICalendarEntry) -> Option<Status> {
    match entry.values.first() {
        Some(ICalendarValue::Status(ICalendarStatus::Tentative)) => Some(Status::Tentative),
        Some(ICalendarValue::Status(ICalendarStatus::Confirmed)) => Some(Status::Confirmed),
        Some(ICalendarValue::Status(ICalendarStatus::Cancelled)) => Some(Status::Cancelled),
        _ => None,
    }
}

/// Enough of a sender's text to recognise it by.
fn short(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}
