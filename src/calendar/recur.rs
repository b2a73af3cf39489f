//! From a series to the times it takes place. Always answers: what cannot be worked out is left out and named (`Gap`).
//!
//! calcard expands the rule; it is given the rule and the start alone, without a zone, because its own handling of zones drops
//! times that a clock shows twice or never. What comes of it is put on the series' clock here (RFC 5545 section 3.8.5.3).

use std::collections::{HashMap, HashSet};

use calcard::common::timezone::{Tz, TzTimestamp};
use calcard::common::{CalendarScale, PartialDateTime};
use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType, ICalendarEntry, ICalendarFrequency, ICalendarProperty,
    ICalendarRecurrenceRule, ICalendarValue,
};
use calcard::{Entry, Parser};
use jiff::Timestamp;
use jiff::civil;
use jiff::tz::Offset;

use super::event::{Event, Key, Stamp, When, civil_seconds};
use super::series::{Instance, Series, Standing, newer};
use super::zone::{Zone, clock};

/// How many occurrences of a rule are looked at, counted from its start: 27 years of every day. Without it a series that began
/// long ago, or a window far away, would cost as much as its sender likes.
const HORIZON: usize = 10_000;

/// How many times a day a rule may name (BYHOUR and the like). calcard holds all times of a period at once.
const MAX_TIMES_A_DAY: usize = 24;

/// One time a series takes place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence<'a> {
    pub start: When,
    pub end: Option<When>,
    /// Where the series put it before it was moved: what a RECURRENCE-ID would say. None for an event that does not recur.
    pub at: Option<When>,
    pub cancelled: bool,
    pub event: &'a Event,
}

/// The occurrences of a window of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occurrences<'a> {
    /// Earliest first.
    pub list: Vec<Occurrence<'a>>,
    /// What the list may lack.
    pub gaps: Vec<Gap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// More than once an hour, or not by days: such rules are kept and not expanded.
    TooFine,
    /// The rule breaks RFC 5545 section 3.3.10, or is one of RFC 7529.
    NotUnderstood,
    /// The window reaches past the 10,000th occurrence.
    Horizon,
    /// More occurrences than asked for.
    Max,
}

/// The occurrences that touch the window `from..to` (seconds since 1970, UTC; floating times and days count as UTC), at most
/// `max`. Cancelled ones are among them and marked.
pub fn occurrences(series: &Series, from: i64, to: i64, max: usize) -> Occurrences<'_> {
    let mut found = Plan::new(series, from, to).work_out();
    found.list.sort_by_cached_key(|occurrence| (occurrence.start.seconds(), occurrence.at.clone()));
    if found.list.len() > max {
        found.list.truncate(max);
        found.gaps.push(Gap::Max);
    }
    found
}

struct Plan<'a> {
    series: &'a Series,
    from: i64,
    to: i64,
    single: HashMap<Key<'a>, (&'a Instance, Standing)>,
    /// THISANDFUTURE exceptions that hold, earliest first.
    ranges: Vec<Range<'a>>,
    /// Where the first cancelled THISANDFUTURE begins.
    cancelled_from: Option<i64>,
    found: Occurrences<'a>,
}

struct Range<'a> {
    /// Where it begins, as the series counts its places.
    begins: i64,
    at: &'a When,
    start: &'a When,
    event: &'a Event,
}

/// A place the rules give: where, and the end where an RDATE has its own.
struct Place {
    at: When,
    end: Option<When>,
}

/// A series as its master tells it.
struct Course<'a> {
    event: &'a Event,
    start: &'a When,
    cancelled: bool,
    zone: Zone,
}

impl<'a> Plan<'a> {
    fn new(series: &'a Series, from: i64, to: i64) -> Self {
        let whole_days = series.master.as_ref().and_then(course).map(|course| course.start.is_day());
        let (mut single, mut ranges, mut cancelled_from) = (HashMap::new(), Vec::new(), None);
        for instance in &series.exceptions {
            let Some(at) = &instance.at else { continue };
            let standing = series.standing(instance);
            let begins = if whole_days == Some(true) { day_seconds(at) } else { at.seconds() };
            match (instance.this_and_future, standing) {
                (false, _) => _ = single.insert(key_among(at, whole_days), (instance, standing)),
                (true, Standing::Cancelled) => {
                    cancelled_from = Some(cancelled_from.map_or(begins, |from: i64| from.min(begins)));
                }
                (true, Standing::Live) => ranges.extend(
                    instance.event().and_then(|event| Some(Range { begins, at, start: event.start.as_ref()?, event })),
                ),
                (true, Standing::Void) => {}
            }
        }
        ranges.sort_by_key(|range| range.begins);
        Self { series, from, to, single, ranges, cancelled_from, found: Occurrences::default() }
    }

    /// The exception of a place.
    fn exception(&self, at: &When) -> Option<(&'a Instance, Standing)> {
        self.single.get(&at.key()).or_else(|| self.single.get(&Key::Reading(at.date_part()))).copied()
    }

    fn work_out(mut self) -> Occurrences<'a> {
        let Some(course) = self.series.master.as_ref().and_then(course) else {
            self.others(&[], None);
            return self.found;
        };
        let mut places = Vec::new();
        if course.event.rules.is_empty() && course.event.rdates.is_empty() {
            self.push(course.start.clone(), course.event.end.clone(), None, course.cancelled, course.event);
        } else {
            places = self.places(&course);
        }
        for place in &places {
            self.place(&course, place);
        }
        self.others(&places, self.series.master.as_ref().and_then(Instance::stamp));
        self.found
    }

    /// DTSTART, RRULE and RDATE, less EXDATE; each place once.
    fn places(&mut self, course: &Course) -> Vec<Place> {
        let Course { event, start, zone, .. } = course;
        let mut places = vec![Place { at: (*start).clone(), end: None }];
        let last = self.last_place_needed();
        for rule in &event.rules {
            match expand(rule, start, zone, last) {
                Ok(times) => {
                    if times.len() >= HORIZON && times.last().is_some_and(|last| *last < self.to) {
                        self.found.gaps.push(Gap::Horizon);
                    }
                    let times = times.into_iter().filter_map(|seconds| on(start, zone, seconds));
                    places.extend(times.map(|at| Place { at, end: None }));
                }
                Err(gap) => self.found.gaps.push(gap),
            }
        }
        places.extend(event.rdates.iter().map(|span| Place { at: span.start.clone(), end: span.end.clone() }));
        let (days, moments): (Vec<_>, Vec<_>) = event.exdates.iter().partition(|exdate| exdate.is_day());
        let moments: HashSet<Key> = moments.into_iter().map(When::key).collect();
        // An EXDATE that is a day takes out all of that day: some write it so for timed events.
        let days: HashSet<&str> = days.into_iter().map(|day| day.local.as_str()).collect();
        let day = |at: &When| days.contains(at.date_part());
        places.retain(|place| !moments.contains(&place.at.key()) && !day(&place.at));
        places.sort_by_cached_key(|place| (place.at.seconds(), place.end.is_none()));
        places.dedup_by(|next, kept| next.at.same_moment(&kept.at));
        places
    }

    /// Past the window only the places of exceptions that were moved into it are needed.
    fn last_place_needed(&self) -> i64 {
        let moved = self.single.values().filter_map(|(instance, _)| {
            let start = instance.event()?.start.as_ref()?;
            (start.seconds() < self.to).then_some(instance.at.as_ref()?.seconds())
        });
        moved.max().unwrap_or(self.to).max(self.to)
    }

    fn place(&mut self, course: &Course<'a>, place: &Place) {
        if let Some((instance, standing)) = self.exception(&place.at)
            && standing != Standing::Void
        {
            let cancelled = course.cancelled || standing == Standing::Cancelled;
            match instance.event().map(|event| (event, &event.start)) {
                Some((event, Some(start))) => {
                    return self.push(start.clone(), event.end.clone(), Some(place.at.clone()), cancelled, event);
                }
                // A CANCEL need not repeat the time (RFC 5546 section 3.2.5).
                Some(_) if cancelled => return self.by_course(course, place, true),
                _ => {}
            }
        }
        let seconds = place.at.seconds();
        let cancelled = course.cancelled || self.cancelled_from.is_some_and(|from| from <= seconds);
        self.by_course(course, place, cancelled);
    }

    /// A place as the rule says, or as the last THISANDFUTURE before it changed it (RFC 5545 section 3.8.4.4).
    fn by_course(&mut self, course: &Course<'a>, place: &Place, cancelled: bool) {
        let seconds = place.at.seconds();
        let reached = self.ranges.partition_point(|range| range.begins <= seconds);
        let range = reached.checked_sub(1).and_then(|index| self.ranges.get(index));
        let (event, first, moved) = match range {
            Some(range) => (range.event, range.start, distance(range.at, range.start)),
            None => (course.event, course.start, 0),
        };
        let Some(begin) = moved_by(&place.at, &course.zone, moved) else { return };
        // Every occurrence lasts as long as the first: exactly, or in days (RFC 5545 section 3.8.5.3).
        let lasts = event.end.as_ref().map(|end| distance(first, end));
        let end = place.end.clone().or_else(|| moved_by(&begin, &course.zone, lasts?));
        self.push(begin, end, Some(place.at.clone()), cancelled, event);
    }

    /// Instances that no rule makes: added ones, those whose series is unknown, and those newer than the series. An older one is
    /// what is left of a series that has moved away from under it.
    fn others(&mut self, places: &[Place], master: Option<Stamp>) {
        let made = places.iter().flat_map(|place| [place.at.key(), Key::Reading(place.at.date_part())]);
        let made: HashSet<Key> = made.collect();
        let others = self.single.iter().filter(|(key, _)| !made.contains(*key));
        let mut others: Vec<(&Instance, Standing)> = others.map(|(_, other)| *other).collect();
        if master.is_none() {
            let ranges = self.series.exceptions.iter().filter(|instance| instance.this_and_future);
            others.extend(ranges.map(|range| (range, self.series.standing(range))));
        }
        for (instance, standing) in others {
            let belongs =
                master.is_none_or(|master| instance.added || instance.stamp().is_some_and(|own| newer(own, master)));
            if let Some(event) = instance.event().filter(|_| belongs && standing != Standing::Void)
                && let Some(start) = &event.start
            {
                self.push(
                    start.clone(),
                    event.end.clone(),
                    instance.at.clone(),
                    standing == Standing::Cancelled,
                    event,
                );
            }
        }
    }

    fn push(&mut self, start: When, end: Option<When>, at: Option<When>, cancelled: bool, event: &'a Event) {
        let begins = start.seconds();
        let ends = end.as_ref().map_or(begins, When::seconds);
        if begins < self.to && (ends > self.from || begins >= self.from) {
            self.found.list.push(Occurrence { start, end, at, cancelled, event });
        }
    }
}

/// Exchange names the instances of an all-day series by midnight on its clock, and others those of a timed series by the day:
/// against RFC 5545 section 3.8.4.4, and without a doubt about what they mean.
fn key_among(at: &When, whole_days: Option<bool>) -> Key<'_> {
    if whole_days.is_some_and(|days| days != at.is_day()) { Key::Reading(at.date_part()) } else { at.key() }
}

fn day_seconds(at: &When) -> i64 {
    at.civil().map_or(0, |local| civil_seconds(local.date().into()))
}

/// None where the master is unknown, or has no time.
fn course(master: &Instance) -> Option<Course<'_>> {
    let event = master.event()?;
    let start = event.start.as_ref()?;
    Some(Course { event, start, cancelled: master.cancelled(), zone: Zone::of(start, event.zone_rules.as_ref()) })
}

/// A reading of the clock, in seconds, in the form of the series' start.
fn on(start: &When, zone: &Zone, seconds: i64) -> Option<When> {
    let local = local_of(seconds)?;
    Some(if start.is_day() { When::day(local.date()) } else { zone.when(local) })
}

fn local_of(seconds: i64) -> Option<civil::DateTime> {
    Some(Offset::UTC.to_datetime(Timestamp::from_second(seconds).ok()?))
}

/// In real time where both are moments, else by the clock.
fn distance(one: &When, two: &When) -> i64 {
    let clock = |when: &When| when.civil().map_or(0, civil_seconds);
    one.utc.zip(two.utc).map_or_else(|| clock(two) - clock(one), |(one, two)| two - one)
}

fn moved_by(at: &When, zone: &Zone, seconds: i64) -> Option<When> {
    match at.utc {
        _ if seconds == 0 => Some(at.clone()),
        Some(utc) if at.zone.is_none() => zone.at(utc.checked_add(seconds)?),
        Some(utc) => Zone::of(at, None).at(utc.checked_add(seconds)?),
        None => on(at, &Zone::Floating, civil_seconds(at.civil()?).checked_add(seconds)?),
    }
}

/// The rule's readings of the clock, in seconds, at most `HORIZON` and none after a moment.
fn expand(rule: &str, start: &When, zone: &Zone, last: i64) -> Result<Vec<i64>, Gap> {
    let mut rule = understand(rule).ok_or(Gap::NotUnderstood)?;
    if rule.rscale.as_ref().is_some_and(|scale| *scale != CalendarScale::Gregorian) {
        return Err(Gap::NotUnderstood);
    }
    let times =
        [&rule.byhour, &rule.byminute, &rule.bysecond].into_iter().map(|part| part.len().max(1)).product::<usize>();
    let by_days = matches!(
        rule.freq,
        ICalendarFrequency::Daily
            | ICalendarFrequency::Weekly
            | ICalendarFrequency::Monthly
            | ICalendarFrequency::Yearly
    );
    if !by_days || times > MAX_TIMES_A_DAY {
        return Err(Gap::TooFine);
    }
    let begin = start.civil().ok_or(Gap::NotUnderstood)?;
    // No clock is more than a day off UTC.
    let last = local_of(last.saturating_add(24 * 3600)).unwrap_or(civil::DateTime::MAX);
    let until = match &rule.until {
        Some(until) => last_reading(until, start, zone).ok_or(Gap::NotUnderstood)?.min(last),
        None => last,
    };
    if until < begin {
        return Ok(Vec::new());
    }
    rule.until = Some(parts(until));
    let entry = |name, value| ICalendarEntry { name, params: Vec::new(), values: vec![value] };
    let begin = ICalendarValue::PartialDateTime(Box::new(parts(begin)));
    let rule = ICalendarValue::RecurrenceRule(Box::new(rule));
    let entries = vec![entry(ICalendarProperty::Dtstart, begin), entry(ICalendarProperty::Rrule, rule)];
    let component_type = ICalendarComponentType::VEvent;
    let component = ICalendarComponent { component_type, entries, component_ids: Vec::new() };
    let expanded = ICalendar { components: vec![component] }.expand_dates(Tz::Floating, HORIZON);
    if !expanded.errors.is_empty() {
        return Err(Gap::NotUnderstood);
    }
    Ok(expanded.events.iter().map(|event| event.start.to_naive_timestamp()).collect())
}

/// The library reads a rule only as a line of a calendar.
fn understand(rule: &str) -> Option<ICalendarRecurrenceRule> {
    let text = format!("BEGIN:VEVENT\nRRULE:{}\nEND:VEVENT\n", rule.replace(['\n', '\r'], " "));
    let Entry::ICalendar(calendar) = Parser::new(&text).entry() else { return None };
    calendar.components.first()?.entries.iter().find_map(|entry| match entry.values.first() {
        Some(ICalendarValue::RecurrenceRule(rule)) => Some((**rule).clone()),
        _ => None,
    })
}

/// UNTIL on the clock of the series. It should be a day where the start is one and UTC where that has a zone (RFC 5545 section
/// 3.3.10); a day for a timed series means all of that day.
fn last_reading(until: &PartialDateTime, start: &When, zone: &Zone) -> Option<civil::DateTime> {
    let local = clock(until)?;
    if until.hour.is_none() && !start.is_day() {
        return Some(local.date().at(23, 59, 59, 0));
    }
    if until.tz_hour.is_none() || start.is_day() {
        return Some(local);
    }
    zone.clock(civil_seconds(local))
}

fn parts(local: civil::DateTime) -> PartialDateTime {
    let small = |value: i8| u8::try_from(value).ok();
    PartialDateTime {
        year: u16::try_from(local.year()).ok(),
        month: small(local.month()),
        day: small(local.day()),
        hour: small(local.hour()),
        minute: small(local.minute()),
        second: small(local.second()),
        ..PartialDateTime::default()
    }
}
