//! From a zone's name and a clock's reading to a moment. Never asks the machine: the zones are those that jiff carries with it,
//! so two servers read the same mail the same way.
//!
//! Which zone a TZID means, in this order. Names come first because the definitions that clients send along are often short of
//! the truth (CC/R 0602 of 2006 recommends the same), and a name lets a later change of the law be followed:
//!
//! 1. the TZID is an IANA name, or ends in one (`/mozilla.org/20050126_1/Europe/Berlin`);
//! 2. it is a name of Windows or Exchange: calcard's table, which holds the display names of Outlook too, with `NEWER` before it;
//! 3. X-LIC-LOCATION of its VTIMEZONE is an IANA name;
//! 4. the rules of its VTIMEZONE (RFC 5545 section 3.6.5): right, but without an IANA name;
//! 5. a display name that shows its offset, `(UTC+01:00) Somewhere`;
//! 6. none: the time is kept as written, without a moment, and the reader says so.

use std::collections::HashMap;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::LazyLock;

use calcard::common::PartialDateTime;
use calcard::common::timezone::Tz;
use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType, ICalendarEntry, ICalendarFrequency, ICalendarProperty,
    ICalendarRecurrenceRule, ICalendarValue, ICalendarWeekday,
};
use jiff::civil::{self, Weekday};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use minicbor::{Decode, Encode};

use super::event::{When, civil_seconds};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Where CLDR's windowsZones has gone on since calcard's table was made.
const NEWER: [(&str, &str); 6] = [
    ("Alberta Standard Time", "America/Edmonton"),
    ("British Columbia Standard Time", "America/Vancouver"),
    ("Central Asia Standard Time", "Asia/Bishkek"),
    ("Manitoba Standard Time", "America/Winnipeg"),
    ("Mountain Standard Time (Mexico)", "America/Mazatlan"),
    ("South Sudan Standard Time", "Africa/Juba"),
];

/// The longest name of Exchange has 70 bytes; a hostile one would be looked up once for every slash in it.
const MAX_NAME: usize = 200;

/// A VTIMEZONE has a handful of moves; the longest seen, a whole century of one city, has about 250.
const MAX_MOVES: usize = 500;

/// How many of its STANDARD and DAYLIGHT parts may have a rule.
const MAX_RULES: usize = 32;

/// How many of its moves are looked at for one time: those of about three years. No clock moves more than four times a year.
const MAX_MOVES_AROUND: usize = 32;

/// Something that turns local times into moments.
#[derive(Clone, Debug)]
pub(super) enum Zone {
    Floating,
    Named(String, TimeZone),
    Rules(Rc<Timetable>),
}

impl Zone {
    fn rules(rules: ZoneRules) -> Self {
        Self::Rules(Rc::new(Timetable::new(rules)))
    }

    /// What an event must keep of a zone that has no name.
    pub fn to_keep(&self) -> Option<ZoneRules> {
        if let Self::Rules(timetable) = self { Some(timetable.rules.clone()) } else { None }
    }

    pub fn utc() -> Self {
        Self::Named("UTC".to_owned(), TimeZone::UTC)
    }

    /// By IANA name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let zone = ZONES.get(name).ok()?;
        let name = zone.iana_name()?.to_owned();
        // jiff gives this name to a zone it knows to be unknown.
        if name == "Etc/Unknown" { None } else { Some(Self::Named(name, zone)) }
    }

    /// The zone a kept time was read in.
    pub fn of(when: &When, rules: Option<&ZoneRules>) -> Self {
        match (&when.zone, when.utc, rules) {
            (Some(name), ..) => Self::named(name).unwrap_or_else(|| Self::fixed(when)),
            (None, Some(_), Some(rules)) => Self::rules(rules.clone()),
            (None, Some(_), None) => Self::fixed(when),
            (None, None, _) => Self::Floating,
        }
    }

    /// A zone that is only known by one of its times: as far off UTC as that time.
    fn fixed(when: &When) -> Self {
        let offset = when.utc.zip(when.civil()).map_or(0, |(utc, local)| civil_seconds(local).saturating_sub(utc));
        let offset = i32::try_from(offset).unwrap_or(0);
        Self::rules(ZoneRules { id: String::new(), steps: vec![Step::fixed(offset)] })
    }

    pub fn when(&self, local: civil::DateTime) -> When {
        let zone = if let Self::Named(name, _) = self { Some(name.clone()) } else { None };
        When { utc: self.moment(local), local: local.to_string(), zone }
    }

    /// RFC 5545 section 3.3.5: of a time that comes twice the first is meant; a time that is skipped is read with the offset
    /// before the gap. jiff calls this "compatible".
    pub fn moment(&self, local: civil::DateTime) -> Option<i64> {
        match self {
            Self::Floating => None,
            Self::Named(_, zone) => zone.to_ambiguous_timestamp(local).compatible().ok().map(Timestamp::as_second),
            Self::Rules(rules) => rules.moment(local),
        }
    }

    /// The moment on the zone's clock. Unlike `when` it is right for both of two times that look the same.
    pub fn at(&self, moment: i64) -> Option<When> {
        let local = self.clock(moment)?;
        Some(When { utc: Some(moment), ..self.when(local) })
    }

    pub fn clock(&self, moment: i64) -> Option<civil::DateTime> {
        let offset = match self {
            Self::Floating => Offset::UTC,
            Self::Named(_, zone) => zone.to_offset(Timestamp::from_second(moment).ok()?),
            Self::Rules(rules) => Offset::from_seconds(rules.offset_at(moment)).ok()?,
        };
        Some(offset.to_datetime(Timestamp::from_second(moment).ok()?))
    }
}

/// The zones that one calendar's times may name.
#[derive(Debug, Default)]
pub(super) struct Zones {
    known: HashMap<String, Option<Zone>>,
    defined: HashMap<String, Definition>,
    /// TZIDs that were asked for and found nowhere.
    pub unknown: Vec<String>,
}

#[derive(Debug, Default)]
struct Definition {
    location: Option<String>,
    rules: ZoneRules,
}

impl Zones {
    pub fn of(calendar: &ICalendar) -> Self {
        let mut zones = Self::default();
        for component in &calendar.components {
            if component.component_type == ICalendarComponentType::VTimezone {
                zones.define(calendar, component);
            }
        }
        zones
    }

    fn define(&mut self, calendar: &ICalendar, component: &ICalendarComponent) {
        let mut definition = Definition::default();
        for entry in &component.entries {
            let text = entry.values.first().and_then(ICalendarValue::as_text);
            match &entry.name {
                ICalendarProperty::Tzid => text.unwrap_or_default().trim().clone_into(&mut definition.rules.id),
                ICalendarProperty::Other(name) if name.eq_ignore_ascii_case("X-LIC-LOCATION") => {
                    definition.location = text.map(str::to_owned);
                }
                _ => {}
            }
        }
        let parts = component.component_ids.iter().filter_map(|&id| calendar.component_by_id(id));
        definition.rules.steps = within_bounds(parts.filter_map(step));
        self.defined.insert(definition.rules.id.clone(), definition);
    }

    /// None when nobody knows the zone.
    pub fn find(&mut self, tzid: &str) -> Option<Zone> {
        let tzid = tzid.trim().trim_matches('"').trim();
        if let Some(zone) = self.known.get(tzid) {
            return zone.clone();
        }
        let zone = self.resolve(tzid);
        if zone.is_none() {
            self.unknown.push(tzid.to_owned());
        }
        self.known.insert(tzid.to_owned(), zone.clone());
        zone
    }

    fn resolve(&self, tzid: &str) -> Option<Zone> {
        let definition = self.defined.get(tzid);
        by_name(tzid)
            .or_else(|| definition?.location.as_deref().and_then(by_name))
            .or_else(|| Some(&definition?.rules).filter(|rules| !rules.steps.is_empty()).cloned().map(Zone::rules))
            .or_else(|| by_shown_offset(tzid))
    }
}

fn within_bounds(steps: impl Iterator<Item = Step>) -> Vec<Step> {
    let (mut moves, mut rules) = (0, 0);
    steps
        .take_while(|step| {
            moves += 1 + step.further.len();
            rules += usize::from(step.rule.is_some());
            moves <= MAX_MOVES && rules <= MAX_RULES
        })
        .collect()
}

fn by_name(tzid: &str) -> Option<Zone> {
    if tzid.len() > MAX_NAME {
        return None;
    }
    if let Some((_, name)) = NEWER.iter().find(|(windows, _)| *windows == tzid) {
        return Zone::named(name);
    }
    // calcard guesses a display name it does not know by its whole hours: half an hour wrong in India.
    let microsoft = || match Tz::from_str(tzid) {
        Ok(Tz::Tz(zone)) if !(tzid.starts_with('(') && zone.name().starts_with("Etc/GMT")) => Zone::named(zone.name()),
        _ => None,
    };
    Zone::named(tzid).or_else(|| by_last_words(tzid)).or_else(microsoft)
}

/// Registries put their own name before the IANA name.
fn by_last_words(tzid: &str) -> Option<Zone> {
    let mut rest = tzid;
    while let Some((_, tail)) = rest.split_once('/') {
        if let Some(zone) = Zone::named(tail) {
            return Some(zone);
        }
        rest = tail;
    }
    None
}

/// `(UTC+05:30) Chennai`, `(GMT +01:00)`, `GMT-3`.
fn by_shown_offset(tzid: &str) -> Option<Zone> {
    let shown = tzid.trim_start_matches('(').split(')').next()?;
    let digits = shown.strip_prefix("UTC").or_else(|| shown.strip_prefix("GMT"))?.trim();
    let (sign, digits) = match digits.as_bytes().first()? {
        b'+' => (1, digits.strip_prefix('+')?),
        b'-' => (-1, digits.strip_prefix('-')?),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':').or_else(|| digits.split_at_checked(2)).unwrap_or((digits, ""));
    let minutes: i32 = if minutes.is_empty() { 0 } else { minutes.parse().ok()? };
    let hours: i32 = hours.parse().ok()?;
    if !(0..=14).contains(&hours) || !(0..60).contains(&minutes) {
        return None;
    }
    let offset = sign * (hours * 3600 + minutes * 60);
    Some(Zone::rules(ZoneRules { id: tzid.to_owned(), steps: vec![Step::fixed(offset)] }))
}

/// A zone as one message defines it: kept with the event, whose later occurrences need it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct ZoneRules {
    /// TZID.
    #[n(0)]
    pub id: String,
    #[n(1)]
    pub steps: Vec<Step>,
}

/// STANDARD or DAYLIGHT: the clock moves from one offset (seconds east of UTC) to the other at the onset, and again as the rule
/// says. The onset is read on the clock before the move.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Step {
    /// Seconds since 1970 as that clock counts them.
    #[n(0)]
    pub onset: i64,
    #[n(1)]
    pub from: i32,
    #[n(2)]
    pub to: i32,
    #[n(3)]
    pub rule: Option<Yearly>,
    /// RDATE: further onsets.
    #[n(4)]
    pub further: Vec<i64>,
}

/// `FREQ=YEARLY` as zones use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Yearly {
    #[n(0)]
    pub month: i8,
    /// Days after Monday.
    #[n(1)]
    pub weekday: Option<i8>,
    /// Which such weekday of the month, from the end where negative; 0: the first on or after `day`.
    #[n(2)]
    pub nth: i8,
    /// Day of the month; -1 is the last.
    #[n(3)]
    pub day: i8,
    /// UNTIL, seconds since 1970, UTC.
    #[n(4)]
    pub until: Option<i64>,
}

/// A move of the clock: when, from which offset to which.
type Move = (i64, i32, i32);

/// `ZoneRules`, ready for many questions.
#[derive(Debug)]
pub(super) struct Timetable {
    rules: ZoneRules,
    /// The moves that are not by a rule, sorted.
    single: Vec<Move>,
}

impl Timetable {
    fn new(rules: ZoneRules) -> Self {
        let mut single: Vec<Move> = rules.steps.iter().flat_map(Step::single).collect();
        single.sort_unstable();
        Self { rules, single }
    }

    /// Walks the moves in order; between two of them the clock has one offset.
    fn moment(&self, local: civil::DateTime) -> Option<i64> {
        let seconds = civil_seconds(local);
        let moves = self.moves(local.year());
        let mut begin = i64::MIN;
        let mut offset = moves.first()?.1;
        for &(at, _, to) in &moves {
            let moment = seconds - i64::from(offset);
            let skipped = at <= moment && seconds - i64::from(to) < at;
            if (begin..at).contains(&moment) || skipped {
                return Some(moment);
            }
            (begin, offset) = (at, to);
        }
        Some(seconds - i64::from(offset))
    }

    fn offset_at(&self, moment: i64) -> i32 {
        let moves = self.moves(year_of(moment));
        let last = moves.iter().rev().find(|(at, ..)| *at <= moment).map(|&(.., to)| to);
        last.or_else(|| moves.first().map(|&(_, from, _)| from)).unwrap_or(0)
    }

    /// All moves that matter in a year: the last before it, those of it, the first after it; some more do no harm.
    fn moves(&self, year: i16) -> Vec<Move> {
        let margin = |year: i16| civil::Date::new(year, 1, 1).map_or(0, |day| civil_seconds(day.into()));
        let begin = self.single.partition_point(|(at, ..)| *at < margin(year.saturating_sub(1))).saturating_sub(1);
        let end = self.single.partition_point(|(at, ..)| *at < margin(year.saturating_add(2)));
        let around = self.single.iter().skip(begin).take((end + 1 - begin).min(MAX_MOVES_AROUND));
        let mut moves: Vec<Move> = around.copied().collect();
        moves.extend(self.rules.steps.iter().flat_map(|step| step.by_rule(year)));
        moves.sort_unstable();
        moves
    }
}

impl Step {
    /// A clock that never moves.
    fn fixed(offset: i32) -> Self {
        Self { onset: 0, from: offset, to: offset, rule: None, further: Vec::new() }
    }

    fn at(&self, onset: i64) -> Move {
        (onset.saturating_sub(i64::from(self.from)), self.from, self.to)
    }

    fn single(&self) -> impl Iterator<Item = Move> {
        std::iter::once(&self.onset).chain(&self.further).map(|&onset| self.at(onset))
    }

    /// In a year and its neighbours; of a rule that has ended the last, which still holds.
    fn by_rule(&self, year: i16) -> impl Iterator<Item = Move> {
        let last = self.rule.and_then(|rule| rule.until).map_or(year, |until| year_of(until).min(year));
        let years = [last.saturating_sub(1), last, last.saturating_add(1)];
        let days = years.into_iter().filter_map(move |year| self.rule?.day_in(year));
        let time_of_day = self.onset.rem_euclid(24 * 3600);
        let moves = days.map(move |day| self.at(civil_seconds(day.into()) + time_of_day));
        let until = self.rule.and_then(|rule| rule.until).unwrap_or(i64::MAX);
        moves.filter(move |next| next.0 > self.at(self.onset).0 && next.0 <= until)
    }
}

fn year_of(moment: i64) -> i16 {
    Timestamp::from_second(moment).map_or(1970, |at| Offset::UTC.to_datetime(at).year())
}

impl Yearly {
    fn day_in(self, year: i16) -> Option<civil::Date> {
        let month = civil::Date::new(year, self.month, 1).ok()?;
        let day =
            |day: i8| if day < 0 { month.last_of_month() } else { month.with().day(day).build().unwrap_or(month) };
        let Some(weekday) = self.weekday else { return Some(day(self.day)) };
        let weekday = Weekday::from_monday_zero_offset(weekday).ok()?;
        if self.nth != 0 {
            return month.nth_weekday_of_month(self.nth, weekday).ok();
        }
        let day = day(self.day);
        let ahead = day.weekday().until(weekday);
        day.checked_add(Span::new().try_days(ahead).ok()?).ok()
    }
}

/// Reads STANDARD and DAYLIGHT; which of the two it is does not matter.
fn step(component: &ICalendarComponent) -> Option<Step> {
    if !matches!(component.component_type, ICalendarComponentType::Standard | ICalendarComponentType::Daylight) {
        return None;
    }
    let (mut onset, mut from, mut to, mut rule, mut further) = (None, None, None, None, Vec::new());
    for entry in &component.entries {
        match (&entry.name, entry.values.first()) {
            (ICalendarProperty::Dtstart, Some(ICalendarValue::PartialDateTime(at))) => onset = clock(at),
            (ICalendarProperty::Tzoffsetfrom, Some(value)) => from = offset(value),
            (ICalendarProperty::Tzoffsetto, Some(value)) => to = offset(value),
            (ICalendarProperty::Rrule, Some(ICalendarValue::RecurrenceRule(found))) => rule = Some(found),
            (ICalendarProperty::Rdate, _) => further.extend(onsets(entry)),
            _ => {}
        }
    }
    let (onset, to) = (onset?, to?);
    let rule = rule.and_then(|rule| yearly(rule, onset));
    Some(Step { onset: civil_seconds(onset), from: from.unwrap_or(to), to, rule, further })
}

fn onsets(entry: &ICalendarEntry) -> impl Iterator<Item = i64> {
    entry.values.iter().filter_map(ICalendarValue::as_partial_date_time).filter_map(clock).map(civil_seconds)
}

fn offset(value: &ICalendarValue) -> Option<i32> {
    let parts = value.as_partial_date_time()?;
    let seconds = i32::from(parts.tz_hour?) * 3600 + i32::from(parts.tz_minute.unwrap_or(0)) * 60;
    // jiff takes offsets of up to a day and two hours; a clock further off is a writing error.
    (seconds < 24 * 3600).then_some(if parts.tz_minus { -seconds } else { seconds })
}

/// Any other rule in a zone is not a rule any zone has had; its first onset still counts.
fn yearly(rule: &ICalendarRecurrenceRule, onset: civil::DateTime) -> Option<Yearly> {
    if rule.freq != ICalendarFrequency::Yearly {
        return None;
    }
    let month = rule.bymonth.first().and_then(|month| i8::try_from(month.month()).ok()).unwrap_or(onset.month());
    let byday = rule.byday.first();
    let days = &rule.bymonthday;
    let day = days.iter().copied().filter(|day| *day > 0).min().or_else(|| days.first().map(|_| -1));
    Some(Yearly {
        month,
        weekday: byday.map(|day| weekday(day.weekday)),
        nth: byday.and_then(|day| day.ordwk).and_then(|nth| i8::try_from(nth).ok()).unwrap_or(0),
        day: day.unwrap_or(if byday.is_some() { 1 } else { onset.day() }),
        until: rule.until.as_ref().and_then(clock).map(civil_seconds).or_else(|| last_by_count(rule, onset)),
    })
}

/// COUNT, as the end of the year in which the rule has run out.
fn last_by_count(rule: &ICalendarRecurrenceRule, onset: civil::DateTime) -> Option<i64> {
    let years = i16::try_from(rule.count?).ok()?;
    civil::Date::new(onset.year().checked_add(years)?, 1, 1).ok().map(|day| civil_seconds(day.into()) - 1)
}

fn weekday(day: ICalendarWeekday) -> i8 {
    match day {
        ICalendarWeekday::Monday => 0,
        ICalendarWeekday::Tuesday => 1,
        ICalendarWeekday::Wednesday => 2,
        ICalendarWeekday::Thursday => 3,
        ICalendarWeekday::Friday => 4,
        ICalendarWeekday::Saturday => 5,
        ICalendarWeekday::Sunday => 6,
    }
}

/// What a clock shows, without a zone. A leap second is the second before it (RFC 5545 section 3.3.12), and 24:00 the next
/// day's midnight.
pub(super) fn clock(parts: &PartialDateTime) -> Option<civil::DateTime> {
    let small = |value: Option<u8>| i8::try_from(value.unwrap_or(0)).ok();
    let date = civil::Date::new(i16::try_from(parts.year?).ok()?, small(parts.month)?, small(parts.day)?).ok()?;
    let (hour, minute, second) = (small(parts.hour)?, small(parts.minute)?, small(parts.second)?);
    if (hour, minute) == (24, 0) {
        return date.tomorrow().ok().map(Into::into);
    }
    Some(date.to_datetime(civil::Time::new(hour, minute, second.min(59), 0).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> civil::DateTime {
        text.parse().unwrap()
    }

    fn name(tzid: &str) -> Option<String> {
        match by_name(tzid)? {
            Zone::Named(name, _) => Some(name),
            _ => None,
        }
    }

    #[test]
    fn names_of_windows_of_exchange_and_of_registries_lead_to_iana() {
        for (tzid, want) in [
            ("Europe/Berlin", "Europe/Berlin"),
            ("europe/berlin", "Europe/Berlin"),
            ("W. Europe Standard Time", "Europe/Berlin"),
            ("Pacific Standard Time", "America/Los_Angeles"),
            ("(UTC-08:00) Pacific Time (US & Canada)", "America/Los_Angeles"),
            ("/mozilla.org/20050126_1/Europe/Berlin", "Europe/Berlin"),
            ("/freeassociation.sourceforge.net/America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
            ("UTC", "UTC"),
            ("Central Asia Standard Time", "Asia/Bishkek"),
        ] {
            assert_eq!(name(tzid).as_deref(), Some(want), "{tzid}");
        }
        assert_eq!(name("Customized Time Zone"), None);
        assert_eq!(name(&"a/".repeat(1000)), None);
    }

    #[test]
    fn every_zone_name_of_windows_is_known() {
        let unknown: Vec<&str> = WINDOWS.split(", ").filter(|name| by_name(name).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    /// The left side of CLDR's windowsZones.
    const WINDOWS: &str = "Dateline Standard Time, UTC-11, Aleutian Standard Time, Hawaiian Standard Time, Marquesas Standard Time, \
        Alaskan Standard Time, UTC-09, Pacific Standard Time (Mexico), UTC-08, Pacific Standard Time, US Mountain Standard Time, \
        Mountain Standard Time (Mexico), Mountain Standard Time, Alberta Standard Time, British Columbia Standard Time, Manitoba Standard Time,  Yukon Standard Time, Central America Standard Time, \
        Central Standard Time, Easter Island Standard Time, Central Standard Time (Mexico), Canada Central Standard Time, \
        SA Pacific Standard Time, Eastern Standard Time (Mexico), Eastern Standard Time, Haiti Standard Time, Cuba Standard Time, \
        US Eastern Standard Time, Turks And Caicos Standard Time, Paraguay Standard Time, Atlantic Standard Time, \
        Venezuela Standard Time, Central Brazilian Standard Time, SA Western Standard Time, Pacific SA Standard Time, \
        Newfoundland Standard Time, Tocantins Standard Time, E. South America Standard Time, SA Eastern Standard Time, \
        Argentina Standard Time, Greenland Standard Time, Montevideo Standard Time, Magallanes Standard Time, \
        Saint Pierre Standard Time, Bahia Standard Time, UTC-02, Azores Standard Time, Cape Verde Standard Time, UTC, \
        GMT Standard Time, Greenwich Standard Time, Sao Tome Standard Time, Morocco Standard Time, W. Europe Standard Time, \
        Central Europe Standard Time, Romance Standard Time, Central European Standard Time, W. Central Africa Standard Time, \
        Jordan Standard Time, GTB Standard Time, Middle East Standard Time, Egypt Standard Time, E. Europe Standard Time, \
        Syria Standard Time, West Bank Standard Time, South Africa Standard Time, FLE Standard Time, Israel Standard Time, \
        South Sudan Standard Time, Kaliningrad Standard Time, Sudan Standard Time, Libya Standard Time, Namibia Standard Time, \
        Arabic Standard Time, Turkey Standard Time, Arab Standard Time, Belarus Standard Time, Russian Standard Time, \
        E. Africa Standard Time, Iran Standard Time, Arabian Standard Time, Astrakhan Standard Time, Azerbaijan Standard Time, \
        Russia Time Zone 3, Mauritius Standard Time, Saratov Standard Time, Georgian Standard Time, Volgograd Standard Time, \
        Caucasus Standard Time, Afghanistan Standard Time, West Asia Standard Time, Ekaterinburg Standard Time, \
        Pakistan Standard Time, Qyzylorda Standard Time, India Standard Time, Sri Lanka Standard Time, Nepal Standard Time, \
        Central Asia Standard Time, Bangladesh Standard Time, Omsk Standard Time, Myanmar Standard Time, SE Asia Standard Time, \
        Altai Standard Time, W. Mongolia Standard Time, North Asia Standard Time, N. Central Asia Standard Time, \
        Tomsk Standard Time, China Standard Time, North Asia East Standard Time, Singapore Standard Time, \
        W. Australia Standard Time, Taipei Standard Time, Ulaanbaatar Standard Time, Aus Central W. Standard Time, \
        Transbaikal Standard Time, Tokyo Standard Time, North Korea Standard Time, Korea Standard Time, Yakutsk Standard Time, \
        Cen. Australia Standard Time, AUS Central Standard Time, E. Australia Standard Time, AUS Eastern Standard Time, \
        West Pacific Standard Time, Tasmania Standard Time, Vladivostok Standard Time, Lord Howe Standard Time, \
        Bougainville Standard Time, Russia Time Zone 10, Magadan Standard Time, Norfolk Standard Time, Sakhalin Standard Time, \
        Central Pacific Standard Time, Russia Time Zone 11, New Zealand Standard Time, UTC+12, Fiji Standard Time, \
        Chatham Islands Standard Time, UTC+13, Tonga Standard Time, Samoa Standard Time, Line Islands Standard Time";

    #[test]
    fn a_shown_offset_is_the_last_resort_and_has_minutes() {
        let moment = |tzid: &str| by_shown_offset(tzid).and_then(|zone| zone.moment(at("2026-01-01T00:00:00")));
        let utc = moment("(UTC+00:00) Nowhere").unwrap();
        assert_eq!(moment("(UTC+05:30) Somewhere"), Some(utc - 5 * 3600 - 1800));
        assert_eq!(moment("GMT-0330"), Some(utc + 3 * 3600 + 1800));
        assert_eq!(moment("(GMT +01:00)"), Some(utc - 3600));
        assert_eq!(moment("GMT-3"), Some(utc + 3 * 3600));
        assert_eq!(moment("(UTC+99:00)"), None);
        assert!(by_name("(UTC+05:30) Somewhere").is_none());
    }

    /// Central Europe as Outlook writes it: two rules since 1601.
    fn central_europe() -> Zone {
        let step = |from, to, month| Step {
            onset: civil_seconds(at(if month == 3 { "1601-01-01T02:00:00" } else { "1601-01-01T03:00:00" })),
            from,
            to,
            rule: Some(Yearly { month, weekday: Some(6), nth: -1, day: 1, until: None }),
            further: Vec::new(),
        };
        Zone::rules(ZoneRules { id: "Customized".to_owned(), steps: vec![step(7200, 3600, 10), step(3600, 7200, 3)] })
    }

    #[test]
    fn the_rules_of_a_message_agree_with_the_zone_they_describe() {
        let (rules, berlin) = (central_europe(), Zone::named("Europe/Berlin").unwrap());
        let mut local = at("2024-01-01T00:30:00");
        while local.year() < 2028 {
            assert_eq!(rules.moment(local), berlin.moment(local), "{local}");
            let moment = berlin.moment(local).unwrap();
            assert_eq!(rules.clock(moment), berlin.clock(moment), "{local}");
            local = local.checked_add(Span::new().minutes(20)).unwrap();
        }
    }

    #[test]
    fn a_time_that_comes_twice_is_the_first_and_one_that_is_skipped_is_read_as_before_the_gap() {
        for zone in [central_europe(), Zone::named("Europe/Berlin").unwrap()] {
            assert_eq!(zone.when(at("2026-10-25T02:30:00")).utc, Some(civil_seconds(at("2026-10-25T00:30:00"))));
            assert_eq!(zone.when(at("2026-03-29T02:30:00")).utc, Some(civil_seconds(at("2026-03-29T01:30:00"))));
        }
    }

    #[test]
    fn a_rule_that_has_ended_holds_through_its_last_onset_and_single_moves_count() {
        let until = Some(civil_seconds(at("2001-12-31T00:00:00")));
        let rule = Some(Yearly { month: 5, weekday: Some(6), nth: 0, day: 8, until });
        let begin = civil_seconds(at("1990-05-13T02:00:00"));
        let moved = Step { onset: begin, from: 0, to: 3600, rule, further: vec![] };
        let later = Step {
            onset: civil_seconds(at("2010-01-01T00:00:00")),
            from: 3600,
            to: -3600,
            rule: None,
            further: vec![],
        };
        let zone = Zone::rules(ZoneRules { id: "X".to_owned(), steps: vec![moved, later] });
        let offset = |text| civil_seconds(at(text)) - zone.moment(at(text)).unwrap();
        assert_eq!(
            ["1980-01-01T00:00:00", "1995-01-01T00:00:00", "2009-12-31T00:00:00", "2026-01-01T00:00:00"].map(offset),
            [0, 3600, 3600, -3600]
        );
    }
}
