//! The recurrence of an appointment and the time zone it is kept in: two binary properties (MS-OXOCAL sections 2.2.1.44
//! and 2.2.1.39) to what iCalendar has for them (MS-OXCICAL section 2.1.3.2). All times here are local to that zone.

use std::fmt::Write;

use super::reader::Reader;

/// Outlook makes no series of more than 999, so no more dates are taken out of one or moved.
const MOST_EXCEPTIONS: usize = 1_000;

/// Minutes between 1601, where these structures count from, and 1970.
const MINUTES_TO_1970: i64 = 11_644_473_600 / 60;

/// A series. Times are seconds since 1970 as if the local clock were UTC.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recurrence {
    /// The RRULE without its end.
    pub(super) rule: String,
    pub(super) end: End,
    pub(super) start: i64,
    /// Seconds from an occurrence's start to its end.
    pub(super) length: i64,
    pub(super) excluded: Vec<i64>,
    pub(super) moved: Vec<Moved>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Never,
    After(u32),
    /// The start of the last occurrence, or later, but before the next.
    Until(i64),
}

/// An occurrence that is not when the rule says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) original: i64,
    pub(super) start: i64,
    pub(super) end: i64,
}

/// `PatternType` of MS-OXOCAL section 2.2.1.44.1.
mod pattern {
    pub(super) const DAY: u16 = 0;
    pub(super) const WEEK: u16 = 1;
    pub(super) const MONTH: u16 = 2;
    pub(super) const MONTH_NTH: u16 = 3;
    pub(super) const MONTH_END: u16 = 4;
}

const YEARLY: u16 = 0x200D;

impl Recurrence {
    /// `None` for a damaged structure, and for calendars other than the Gregorian.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        // ReaderVersion and WriterVersion
        reader.take(4)?;
        let frequency = reader.u16()?;
        let kind = reader.u16()?;
        // CalendarType, FirstDateTime
        reader.take(6)?;
        let period = reader.u32()?;
        // SlidingFlag
        reader.take(4)?;
        let specific = Specific::read(&mut reader, kind)?;
        let end_type = reader.u32()?;
        let count = reader.u32()?;
        let first_day = reader.u32()?;
        let deleted = dates(&mut reader)?;
        // The new dates of the moved ones, which are told again below.
        dates(&mut reader)?;
        let start_date = minutes(&mut reader)?;
        let end_date = minutes(&mut reader)?;
        // ReaderVersion2 and WriterVersion2 of section 2.2.1.44.5
        reader.take(8)?;
        let start_offset = i64::from(reader.u32()?) * 60;
        let end_offset = i64::from(reader.u32()?) * 60;
        let moved = moved(&mut reader)?;
        Some(Self {
            rule: rule(frequency, kind, period, specific, first_day, start_date)?,
            end: match end_type {
                0x2021 => End::Until(end_date + start_offset),
                0x2022 => End::After(count),
                _ => End::Never,
            },
            start: start_date + start_offset,
            length: end_offset - start_offset,
            // A moved occurrence is among the deleted ones too.
            excluded: deleted
                .into_iter()
                .filter(|date| !moved.iter().any(|moved| is_on(moved.original, *date)))
                .map(|date| date + start_offset)
                .collect(),
            moved,
        })
    }
}

fn is_on(time: i64, date: i64) -> bool {
    (0..86_400).contains(&(time - date))
}

/// `PatternTypeSpecific`.
#[derive(Clone, Copy)]
struct Specific {
    /// Bits of weekdays, Sunday first, or a day of the month.
    days: u32,
    /// First to fourth, or 5 for the last.
    nth: u32,
}

impl Specific {
    fn read(reader: &mut Reader<'_>, kind: u16) -> Option<Self> {
        Some(match kind {
            pattern::DAY => Self { days: 0, nth: 0 },
            pattern::WEEK | pattern::MONTH | pattern::MONTH_END => Self { days: reader.u32()?, nth: 0 },
            pattern::MONTH_NTH => Self { days: reader.u32()?, nth: reader.u32()? },
            _ => return None,
        })
    }
}

fn minutes(reader: &mut Reader<'_>) -> Option<i64> {
    Some((i64::from(reader.u32()?) - MINUTES_TO_1970) * 60)
}

fn dates(reader: &mut Reader<'_>) -> Option<Vec<i64>> {
    let count = reader.size().filter(|count| *count <= MOST_EXCEPTIONS)?;
    (0..count).map(|_| minutes(reader)).collect()
}

/// `ExceptionInfo` of MS-OXOCAL section 2.2.1.44.3. What else was changed than the time is passed over.
fn moved(reader: &mut Reader<'_>) -> Option<Vec<Moved>> {
    let count = usize::from(reader.u16()?);
    if count > MOST_EXCEPTIONS {
        return None;
    }
    let one = |_| {
        let (start, end, original) = (minutes(reader)?, minutes(reader)?, minutes(reader)?);
        let flags = reader.u16()?;
        for flag in (0..9).map(|bit| 1_u16 << bit).filter(|flag| flags & flag != 0) {
            // Subject and location have their length twice and then their bytes; the rest are numbers.
            let text = if matches!(flag, 0x0001 | 0x0010) { reader.u16().zip(reader.u16())?.1 } else { 4 };
            reader.take(text.into())?;
        }
        Some(Moved { original, start, end })
    };
    (0..count).map(one).collect()
}

fn rule(frequency: u16, kind: u16, period: u32, specific: Specific, first_day: u32, start: i64) -> Option<String> {
    let yearly = frequency == YEARLY;
    let (word, interval) = match kind {
        pattern::DAY => ("DAILY", period / 1440),
        pattern::WEEK => ("WEEKLY", period),
        _ if yearly => ("YEARLY", period / 12),
        _ => ("MONTHLY", period),
    };
    let mut rule = format!("FREQ={word};INTERVAL={}", interval.max(1));
    if yearly && kind != pattern::DAY && kind != pattern::WEEK {
        let month = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_second(start).ok()?).month();
        write!(rule, ";BYMONTH={month}").ok()?;
    }
    match kind {
        pattern::WEEK => {
            write!(rule, ";BYDAY={};WKST={}", weekdays(specific.days)?, weekday(first_day)?).ok()?;
        }
        // The 31st means the last day of every month, as MonthEnd does.
        pattern::MONTH_END | pattern::MONTH if specific.days >= 31 || kind == pattern::MONTH_END => {
            rule.push_str(";BYMONTHDAY=-1");
        }
        pattern::MONTH => write!(rule, ";BYMONTHDAY={}", specific.days.max(1)).ok()?,
        pattern::MONTH_NTH => {
            let nth = if specific.nth == 5 { "-1".to_owned() } else { specific.nth.to_string() };
            if !(1..=5).contains(&specific.nth) {
                return None;
            }
            write!(rule, ";BYDAY={};BYSETPOS={nth}", weekdays(specific.days)?).ok()?;
        }
        _ => {}
    }
    Some(rule)
}

const WEEKDAYS: [&str; 7] = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];

fn weekday(number: u32) -> Option<&'static str> {
    WEEKDAYS.get(usize::try_from(number).ok()?).copied()
}

fn weekdays(bits: u32) -> Option<String> {
    let days: Vec<&str> = (0..7).filter(|day| bits >> day & 1 == 1).filter_map(weekday).collect();
    Some(days.join(",")).filter(|days| !days.is_empty())
}

/// `PidLidTimeZoneStruct`: biases in minutes west of UTC, and when each of the two begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Zone {
    standard: Phase,
    daylight: Phase,
}

#[derive(Debug, PartialEq, Eq)]
struct Phase {
    /// Minutes to add to local time for UTC.
    bias: i64,
    /// A month of 0: the clock is never changed.
    month: u16,
    weekday: u16,
    /// First to fourth, or 5 for the last.
    nth: u16,
    hour: u16,
    minute: u16,
}

impl Zone {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let biases = biases(&mut reader)?;
        // The two dates, each behind the year it is for.
        reader.take(2)?;
        let standard = reader.take(16)?;
        reader.take(2)?;
        Self::new(biases, standard, reader.take(16)?)
    }

    /// `PidLidAppointmentTimeZoneDefinition...`, which took the place of the other (MS-OXOCAL section 2.2.1.41). Of the
    /// rules over the years the one in force when the appointment was made.
    pub(super) fn read_definition(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        // Version, size of the header, which goes up to the rules, and a reserved word; then the name of the zone.
        reader.take(6)?;
        let name = reader.u16()?;
        reader.take(usize::from(name) * 2)?;
        let count = reader.u16()?;
        let mut found = None;
        for _ in 0..count {
            reader.take(4)?;
            let flags = reader.u16()?;
            // The year the rule begins with, and zeros.
            reader.take(16)?;
            let zone = Self::new(biases(&mut reader)?, reader.take(16)?, reader.take(16)?)?;
            let in_force = flags & 0x0002 != 0;
            if in_force || found.is_none() {
                found = Some(zone);
            }
            if in_force {
                break;
            }
        }
        found
    }

    fn new([base, standard, daylight]: [i64; 3], standard_date: &[u8], daylight_date: &[u8]) -> Option<Self> {
        let standard = Phase::read(standard_date, base + standard)?;
        let daylight = Phase::read(daylight_date, base + daylight)?;
        let is_of_this_world = standard.bias.abs() <= 24 * 60 && daylight.bias.abs() <= 24 * 60;
        is_of_this_world.then_some(Self { standard, daylight })
    }

    fn changes(&self) -> bool {
        (1..=12).contains(&self.standard.month) && (1..=12).contains(&self.daylight.month)
    }

    /// Seconds to add to local standard time for UTC.
    pub(super) fn standard_bias(&self) -> i64 {
        self.standard.bias * 60
    }

    /// Seconds to add to local time for UTC, of the two the later.
    pub(super) fn later_bias(&self) -> i64 {
        if self.changes() { self.standard.bias.max(self.daylight.bias) * 60 } else { self.standard_bias() }
    }

    /// The lines of a VTIMEZONE, each without its end.
    pub(super) fn lines(&self, id: &str) -> Vec<String> {
        let mut lines = vec!["BEGIN:VTIMEZONE".to_owned(), format!("TZID:{id}")];
        if self.changes() {
            self.standard.lines("STANDARD", self.daylight.bias, &mut lines);
            self.daylight.lines("DAYLIGHT", self.standard.bias, &mut lines);
        } else {
            Phase { month: 0, hour: 0, minute: 0, ..self.standard }.lines("STANDARD", self.standard.bias, &mut lines);
        }
        lines.push("END:VTIMEZONE".to_owned());
        lines
    }
}

impl Phase {
    /// A SYSTEMTIME: year, month, day of the week, which of these in the month, hour, minute, and what does not matter.
    fn read(date: &[u8], bias: i64) -> Option<Self> {
        let mut reader = Reader::new(date);
        reader.take(2)?;
        let mut field = || reader.u16();
        let (month, weekday, nth, hour, minute) = (field()?, field()?, field()?, field()?, field()?);
        Some(Self { bias, month, weekday: weekday.min(6), nth, hour: hour.min(23), minute: minute.min(59) })
    }

    fn lines(&self, name: &str, from: i64, lines: &mut Vec<String>) {
        lines.push(format!("BEGIN:{name}"));
        lines.push(format!("DTSTART:16010101T{:02}{:02}00", self.hour, self.minute));
        if self.month != 0 {
            let nth = if self.nth >= 5 { "-1".to_owned() } else { self.nth.max(1).to_string() };
            let day = weekday(self.weekday.into()).unwrap_or("SU");
            lines.push(format!("RRULE:FREQ=YEARLY;BYDAY={nth}{day};BYMONTH={}", self.month));
        }
        lines.push(format!("TZOFFSETFROM:{}", offset(from)));
        lines.push(format!("TZOFFSETTO:{}", offset(self.bias)));
        lines.push(format!("END:{name}"));
    }
}

fn offset(bias: i64) -> String {
    let sign = if bias > 0 { '-' } else { '+' };
    format!("{sign}{:02}{:02}", bias.abs() / 60, bias.abs() % 60)
}

/// Minutes west of UTC, and what standard and daylight time add to them.
fn biases(reader: &mut Reader<'_>) -> Option<[i64; 3]> {
    let mut bias = || reader.array().map(i32::from_le_bytes).map(i64::from);
    Some([bias()?, bias()?, bias()?])
}

#[cfg(test)]
pub(super) mod write {
    //! The two structures for tests.

    pub(crate) fn longs(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    pub(crate) fn minutes(text: &str) -> u32 {
        let time: jiff::civil::DateTime = text.parse().unwrap();
        let seconds = jiff::tz::Offset::UTC.to_timestamp(time).unwrap().as_second();
        u32::try_from(seconds / 60 + super::MINUTES_TO_1970).unwrap()
    }

    /// From `frequency` and `kind` to the end of the list of exceptions, whose bytes are given.
    pub(crate) struct Series<'a> {
        pub(crate) frequency: u16,
        pub(crate) kind: u16,
        pub(crate) period: u32,
        pub(crate) specific: &'a [u32],
        pub(crate) end: [u32; 2],
        pub(crate) deleted: &'a [u32],
        pub(crate) modified: &'a [u32],
        pub(crate) dates: [u32; 2],
        pub(crate) offsets: [u32; 2],
        pub(crate) exceptions: &'a [u8],
    }

    impl Series<'_> {
        pub(crate) fn bytes(&self) -> Vec<u8> {
            let mut out = vec![4, 0x30, 4, 0x30];
            out.extend(self.frequency.to_le_bytes());
            out.extend(self.kind.to_le_bytes());
            out.extend([0; 6]);
            out.extend(longs(&[self.period, 0]));
            out.extend(longs(self.specific));
            out.extend(longs(&self.end));
            out.extend(longs(&[1, u32::try_from(self.deleted.len()).unwrap()]));
            out.extend(longs(self.deleted));
            out.extend(longs(&[u32::try_from(self.modified.len()).unwrap()]));
            out.extend(longs(self.modified));
            out.extend(longs(&self.dates));
            out.extend(longs(&[0x3006, 0x3009]));
            out.extend(longs(&self.offsets));
            out.extend(u16::try_from(self.modified.len()).unwrap().to_le_bytes());
            out.extend(self.exceptions);
            out
        }
    }

    /// Central European time, as the new definition with an older rule in front.
    pub(crate) fn berlin_definition() -> Vec<u8> {
        let old = berlin();
        let dates = [&old[..12], &old[14..30], &old[32..48]].concat();
        let rule = |flags: u8, year: u16, fields: &[u8]| {
            let year = year.to_le_bytes();
            [&[2, 1, 0x3E, 0, flags, 0][..], &year, &[0; 14], fields].concat()
        };
        let name = b"B\0e\0r\0";
        let utc = [0; 44];
        [&[2, 1, 12, 0, 2, 0, 3, 0][..], name, &[2, 0], &rule(0, 1970, &utc), &rule(2, 1996, &dates)].concat()
    }

    /// Central European time.
    pub(crate) fn berlin() -> Vec<u8> {
        let mut out = longs(&[60_u32.wrapping_neg(), 0, 60_u32.wrapping_neg()]);
        let shorts = [0, 0, 10, 0, 5, 3, 0, 0, 0, 0, 0, 3, 0, 5, 2, 0, 0, 0_u16];
        out.extend(shorts.iter().flat_map(|value| value.to_le_bytes()));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::write::{Series, berlin, berlin_definition, longs, minutes};
    use super::*;

    fn series(frequency: u16, kind: u16, period: u32, specific: &[u32]) -> Option<String> {
        let dates = [minutes("2026-03-02T00:00"), minutes("2026-06-01T00:00")];
        let (deleted, modified) = (&[], &[]);
        let series = Series {
            frequency,
            kind,
            period,
            specific,
            end: [0x2022, 7],
            deleted,
            modified,
            dates,
            offsets: [600, 660],
            exceptions: &[],
        };
        Some(Recurrence::read(&series.bytes())?.rule)
    }

    #[test]
    fn each_pattern_has_its_rule() {
        let rules = [
            (series(0x200A, 0, 2880, &[]), "FREQ=DAILY;INTERVAL=2"),
            (series(0x200A, 1, 1, &[0x3E]), "FREQ=WEEKLY;INTERVAL=1;BYDAY=MO,TU,WE,TH,FR;WKST=MO"),
            (series(0x200C, 2, 1, &[15]), "FREQ=MONTHLY;INTERVAL=1;BYMONTHDAY=15"),
            (series(0x200C, 2, 1, &[31]), "FREQ=MONTHLY;INTERVAL=1;BYMONTHDAY=-1"),
            (series(0x200C, 3, 2, &[0x3E, 5]), "FREQ=MONTHLY;INTERVAL=2;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"),
            (series(0x200D, 2, 12, &[2]), "FREQ=YEARLY;INTERVAL=1;BYMONTH=3;BYMONTHDAY=2"),
            (series(0x200D, 3, 12, &[2, 1]), "FREQ=YEARLY;INTERVAL=1;BYMONTH=3;BYDAY=MO;BYSETPOS=1"),
        ];
        for (rule, wanted) in rules {
            assert_eq!(rule.as_deref(), Some(wanted));
        }
        assert_eq!(series(0x200C, 10, 1, &[1]), None, "a Hijri calendar");
        assert_eq!(series(0x200B, 1, 1, &[0]), None, "a week without days");
    }

    #[test]
    fn deleted_and_moved_occurrences_are_told_apart() {
        let mut moved = longs(&["2026-03-10T12:00", "2026-03-10T13:00", "2026-03-09T10:00"].map(minutes));
        moved.extend([0x11, 0, 3, 0, 2, 0, b'H', b'i', 4, 0, 3, 0, b'R', b'o', b'm']);
        let day = |text: &str| minutes(&format!("{text}T00:00"));
        let series = Series {
            frequency: 0x200B,
            kind: 1,
            period: 1,
            specific: &[2],
            end: [0x2021, 10],
            deleted: &[day("2026-03-09"), day("2026-03-16")],
            modified: &[day("2026-03-10")],
            dates: [day("2026-03-02"), day("2026-06-01")],
            offsets: [600, 660],
            exceptions: &moved,
        };
        let read = Recurrence::read(&series.bytes()).unwrap();
        let at = |text: &str| (i64::from(minutes(text)) - MINUTES_TO_1970) * 60;
        assert_eq!(read.excluded, [at("2026-03-16T10:00")]);
        let moved =
            Moved { original: at("2026-03-09T10:00"), start: at("2026-03-10T12:00"), end: at("2026-03-10T13:00") };
        assert_eq!(read.moved, [moved]);
        assert_eq!(
            (read.start, read.length, read.end),
            (at("2026-03-02T10:00"), 3600, End::Until(at("2026-06-01T10:00")))
        );
    }

    #[test]
    fn a_zone_says_when_its_clock_changes() {
        let zone = Zone::read(&berlin()).unwrap();
        assert_eq!(
            zone.lines("Berlin").join("\n"),
            "BEGIN:VTIMEZONE\nTZID:Berlin\nBEGIN:STANDARD\nDTSTART:16010101T030000\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\n\
             TZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nEND:STANDARD\nBEGIN:DAYLIGHT\nDTSTART:16010101T020000\n\
             RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nEND:DAYLIGHT\nEND:VTIMEZONE"
        );
        assert_eq!(zone.later_bias(), -3600);
        assert_eq!(Zone::read_definition(&berlin_definition()), Some(zone));
        for cut in 0..berlin_definition().len() {
            Zone::read_definition(&berlin_definition()[..cut]);
        }
    }
}
