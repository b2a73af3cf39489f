//! Meetings out of MAPI properties: requests, cancellations and answers as iCalendar text (MS-OXCICAL, MS-OXOCAL,
//! RFC 5545, RFC 5546), as far as the properties are there. Invents neither a time nor a person.

use jiff::civil::DateTime;

use super::mapi::{APPOINTMENT, Bag, COMMON, Key, MEETING};
use super::recurrence::{End, Moved, Recurrence, Zone};
use super::{Problem, text};

const START_DATE: Key = Key::Tag(0x0060);
const END_DATE: Key = Key::Tag(0x0061);
const OWNER_APPOINTMENT_ID: Key = Key::Tag(0x0062);
const SUBMIT_TIME: Key = Key::Tag(0x0039);
const TOPIC: Key = Key::Tag(0x0070);
const NORMALIZED_SUBJECT: Key = Key::Tag(0x0E1D);

/// Name, address, type of the address, and the address where that is SMTP.
const REPRESENTED: [Key; 4] = [Key::Tag(0x0042), Key::Tag(0x0065), Key::Tag(0x0064), Key::Tag(0x5D02)];
const SENDER: [Key; 4] = [Key::Tag(0x0C1A), Key::Tag(0x0C1F), Key::Tag(0x0C1E), Key::Tag(0x5D01)];

const ATTENDEE_CHANGE: Key = Key::Lid(MEETING, 0x0001);
const WHERE: Key = Key::Lid(MEETING, 0x0002);
const GLOBAL_ID: Key = Key::Lid(MEETING, 0x0003);
const OWNER_CHANGE: Key = Key::Lid(MEETING, 0x001A);
const CLEAN_GLOBAL_ID: Key = Key::Lid(MEETING, 0x0023);

const SEQUENCE: Key = Key::Lid(APPOINTMENT, 0x8201);
const LOCATION: Key = Key::Lid(APPOINTMENT, 0x8208);
const START_WHOLE: Key = Key::Lid(APPOINTMENT, 0x820D);
const END_WHOLE: Key = Key::Lid(APPOINTMENT, 0x820E);
const ALL_DAY: Key = Key::Lid(APPOINTMENT, 0x8215);
const RECURRENCE: Key = Key::Lid(APPOINTMENT, 0x8216);
const REPLACED: Key = Key::Lid(APPOINTMENT, 0x8228);
const ZONE: Key = Key::Lid(APPOINTMENT, 0x8233);
const ZONE_NAME: Key = Key::Lid(APPOINTMENT, 0x8234);
const START_ZONE: Key = Key::Lid(APPOINTMENT, 0x825E);
const SERIES_ZONE: Key = Key::Lid(APPOINTMENT, 0x8260);

const COMMON_START: Key = Key::Lid(COMMON, 0x8516);
const COMMON_END: Key = Key::Lid(COMMON, 0x8517);

const WANTED: [Key; 32] = [
    START_DATE,
    END_DATE,
    OWNER_APPOINTMENT_ID,
    SUBMIT_TIME,
    TOPIC,
    NORMALIZED_SUBJECT,
    REPRESENTED[0],
    REPRESENTED[1],
    REPRESENTED[2],
    REPRESENTED[3],
    SENDER[0],
    SENDER[1],
    SENDER[2],
    SENDER[3],
    ATTENDEE_CHANGE,
    WHERE,
    GLOBAL_ID,
    OWNER_CHANGE,
    CLEAN_GLOBAL_ID,
    SEQUENCE,
    LOCATION,
    START_WHOLE,
    END_WHOLE,
    ALL_DAY,
    RECURRENCE,
    REPLACED,
    ZONE,
    ZONE_NAME,
    START_ZONE,
    SERIES_ZONE,
    COMMON_START,
    COMMON_END,
];

/// Titles, places, names: Outlook lets people type 255 characters. What is longer is cut, since a series repeats it for
/// every moved occurrence.
const MOST_CHARACTERS: usize = 1024;

/// What the message does to the meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Request,
    Cancel,
    Reply(Answer),
    /// An appointment by itself, as sent along with "forward as attachment".
    Publish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Declined,
    Tentative,
}

/// By message class (MS-OXCICAL section 2.1.3.1.1.1); the short ones are those of TNEF (MS-OXTNEF section 2.1.3.3.2).
/// Classes derived from these, with one more word behind a dot, are of the same kind.
pub(super) fn role(class: &str) -> Option<Role> {
    const ROLES: [(&str, Role); 11] = [
        ("IPM.Schedule.Meeting.Request", Role::Request),
        ("IPM.Schedule.Meeting.Canceled", Role::Cancel),
        ("IPM.Schedule.Meeting.Resp.Pos", Role::Reply(Answer::Accepted)),
        ("IPM.Schedule.Meeting.Resp.Neg", Role::Reply(Answer::Declined)),
        ("IPM.Schedule.Meeting.Resp.Tent", Role::Reply(Answer::Tentative)),
        ("IPM.Microsoft Schedule.MtgReq", Role::Request),
        ("IPM.Microsoft Schedule.MtgCncl", Role::Cancel),
        ("IPM.Microsoft Schedule.MtgRespP", Role::Reply(Answer::Accepted)),
        ("IPM.Microsoft Schedule.MtgRespN", Role::Reply(Answer::Declined)),
        ("IPM.Microsoft Schedule.MtgRespA", Role::Reply(Answer::Tentative)),
        ("IPM.Appointment", Role::Publish),
    ];
    let is = |known: &str| match class.split_at_checked(known.len()) {
        Some((head, tail)) => head.eq_ignore_ascii_case(known) && (tail.is_empty() || tail.starts_with('.')),
        None => false,
    };
    ROLES.into_iter().find(|(known, _)| is(known)).map(|(_, role)| role)
}

/// Somebody with an address of the internet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Party {
    name: Option<String>,
    address: String,
}

impl Party {
    /// `SMTP:` may stand in front. Addresses of other systems, such as `/o=...`, lead nowhere.
    pub(super) fn new(name: Option<&str>, address: &str) -> Option<Self> {
        let address = match address.split_at_checked(5) {
            Some((head, tail)) if head.eq_ignore_ascii_case("smtp:") => tail,
            _ => address,
        };
        let is_fine = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '"' | '<' | '>');
        let (local, domain) = address.rsplit_once('@')?;
        let fine = address.len() <= MOST_CHARACTERS
            && !local.is_empty()
            && !domain.is_empty()
            && address.chars().all(is_fine)
            && !address.contains('/');
        fine.then(|| Self { name: name.map(clip), address: address.to_owned() })
    }

    fn of(properties: &Bag<'_>, [name, address, kind, smtp]: [Key; 4], code_page: u32) -> Option<Self> {
        let text = |key| properties.text(key, code_page);
        let is_smtp = text(kind).is_none_or(|kind| kind.eq_ignore_ascii_case("smtp"));
        let address = text(smtp).or_else(|| text(address).filter(|_| is_smtp))?;
        Self::new(text(name).as_deref(), &address)
    }
}

/// The properties a calendar entry is made of. A list that is damaged has been complained of by then.
pub(super) fn properties(list: &[u8]) -> Bag<'_> {
    let mut bag = Bag::default();
    let _ = bag.add(list, &WANTED);
    bag
}

/// What is known about a meeting. The fields beside the properties come from attributes of the stream, which old
/// writers use in their place; their times are local, and nothing says where.
pub(super) struct Meeting<'a> {
    pub(super) role: Role,
    pub(super) code_page: u32,
    pub(super) properties: Bag<'a>,
    pub(super) subject: Option<&'a str>,
    pub(super) body: Option<&'a str>,
    pub(super) start: Option<DateTime>,
    pub(super) end: Option<DateTime>,
    pub(super) from: Option<Party>,
    pub(super) owner: Option<Party>,
    pub(super) owner_id: Option<u32>,
    pub(super) search_key: Option<String>,
}

impl Meeting<'_> {
    /// A whole VCALENDAR. `None` without an identifier: nothing could ever refer to such an entry.
    pub(super) fn calendar(mut self, problems: &mut Vec<Problem>) -> Option<String> {
        let represented = Party::of(&self.properties, REPRESENTED, self.code_page);
        let sender = represented.or_else(|| Party::of(&self.properties, SENDER, self.code_page));
        let (owner, from) = (self.owner.take(), self.from.take());
        let sender = if matches!(self.role, Role::Reply(_)) { sender.or(from) } else { sender.or(owner).or(from) };
        let Some(uid) = self.uid(sender.as_ref()) else {
            Problem::MeetingWithoutId.note_in(problems);
            return None;
        };
        let replaced = self.replaced();
        let series = self.properties.binary(RECURRENCE).filter(|_| replaced.is_none());
        let recurrence = series.and_then(Recurrence::read);
        if series.is_some() && recurrence.is_none() {
            Problem::Recurrence.note_in(problems);
        }
        let clock = self.clock(recurrence.as_ref());
        let common = self.common(&uid, sender.as_ref());
        let mut lines = Lines::default();
        lines.plain("BEGIN:VCALENDAR");
        lines.plain("PRODID:-//mailmill//MAPI//EN");
        lines.plain("VERSION:2.0");
        lines.plain(match self.role {
            Role::Request => "METHOD:REQUEST",
            Role::Cancel => "METHOD:CANCEL",
            Role::Reply(_) => "METHOD:REPLY",
            Role::Publish => "METHOD:PUBLISH",
        });
        if let (Some(zone), Some(_)) = (&clock.zone, &recurrence) {
            for line in zone.lines(&clock.zone_id) {
                lines.plain(&line);
            }
        }
        lines.plain("BEGIN:VEVENT");
        lines.out.push_str(&common);
        match &recurrence {
            Some(recurrence) => series_lines(recurrence, &clock, &mut lines),
            None => self.single(replaced.as_deref(), &clock, &mut lines),
        }
        if let Some(body) = self.body.filter(|body| !body.trim().is_empty()) {
            lines.text("DESCRIPTION", body);
        }
        lines.plain("END:VEVENT");
        for moved in recurrence.iter().flat_map(|recurrence| &recurrence.moved) {
            lines.plain("BEGIN:VEVENT");
            lines.out.push_str(&common);
            moved_lines(moved, &clock, &mut lines);
            lines.plain("END:VEVENT");
        }
        lines.plain("END:VCALENDAR");
        Some(lines.out)
    }

    fn text(&self, key: Key) -> Option<String> {
        self.properties.text(key, self.code_page).map(|text| clip(&text))
    }

    fn times(&self) -> (Option<i64>, Option<i64>) {
        let time = |keys: [Key; 3]| keys.into_iter().find_map(|key| self.properties.time(key));
        let start = time([START_WHOLE, COMMON_START, START_DATE]);
        let end = time([END_WHOLE, COMMON_END, END_DATE]);
        (start, end.filter(|end| start.is_some_and(|start| *end > start)))
    }

    /// What every VEVENT of the meeting has.
    fn common(&self, uid: &str, sender: Option<&Party>) -> String {
        let mut lines = Lines::default();
        lines.text("UID", uid);
        let changed = match self.role {
            Role::Reply(_) => [ATTENDEE_CHANGE, OWNER_CHANGE],
            _ => [OWNER_CHANGE, ATTENDEE_CHANGE],
        };
        let changed = changed.into_iter().chain([SUBMIT_TIME]).find_map(|key| self.properties.time(key));
        if let Some(stamp) = changed.and_then(utc) {
            lines.plain(&format!("DTSTAMP:{stamp}"));
        }
        if let Some(sequence) = self.properties.long(SEQUENCE).filter(|sequence| i32::try_from(*sequence).is_ok()) {
            lines.plain(&format!("SEQUENCE:{sequence}"));
        }
        let subject = self.subject.map(clip);
        if let Some(subject) = subject.or_else(|| self.text(NORMALIZED_SUBJECT)).or_else(|| self.text(TOPIC)) {
            lines.text("SUMMARY", &subject);
        }
        if let Some(place) = self.text(LOCATION).or_else(|| self.text(WHERE)) {
            lines.text("LOCATION", &place);
        }
        match (self.role, sender) {
            (Role::Reply(answer), Some(sender)) => lines.party("ATTENDEE", Some(answer), sender),
            (_, Some(sender)) => lines.party("ORGANIZER", None, sender),
            (_, None) => {}
        }
        if self.role == Role::Cancel {
            lines.plain("STATUS:CANCELLED");
        }
        lines.out
    }

    fn single(&self, replaced: Option<&str>, clock: &Clock, lines: &mut Lines) {
        if let Some(replaced) = replaced {
            lines.plain(replaced);
        }
        let (start, end) = self.times();
        // A time without a zone is a floating one (RFC 5545 section 3.3.5).
        let floating = |local: Option<DateTime>| local.map(|local| colon(&local.strftime("%Y%m%dT%H%M%S").to_string()));
        for (name, time, local) in [("DTSTART", start, self.start), ("DTEND", end, self.end)] {
            let value =
                time.and_then(|time| if clock.all_day { clock.date_of(time) } else { utc(time).as_deref().map(colon) });
            if let Some(value) = value.or_else(|| floating(local.filter(|_| start.is_none()))) {
                lines.plain(&format!("{name}{value}"));
            }
        }
    }

    /// RECURRENCE-ID, if the message is about one occurrence of a series: then the year, month and day of the original
    /// stand in its id (MS-OXOCAL section 2.2.1.27).
    fn replaced(&self) -> Option<String> {
        let id = self.properties.binary(GLOBAL_ID)?;
        let [high, low, month, day] = *id.get(16..)?.first_chunk()?;
        let year = u16::from_be_bytes([high, low]);
        if year == 0 {
            return None;
        }
        let time = self.properties.time(REPLACED).and_then(utc).map(|time| format!("RECURRENCE-ID:{time}"));
        Some(time.unwrap_or_else(|| format!("RECURRENCE-ID;VALUE=DATE:{year:04}{month:02}{day:02}")))
    }

    /// MS-OXCICAL section 2.1.3.1.1.20.26, read backwards. Messages from before there were such ids have a number that
    /// is unique for its owner, and an appointment that was never a meeting has at least the search key of the message.
    fn uid(&self, sender: Option<&Party>) -> Option<String> {
        let (id, clean) = (self.properties.binary(GLOBAL_ID), self.properties.binary(CLEAN_GLOBAL_ID));
        if let Some(uid) = [id, clean].into_iter().flatten().find_map(foreign_uid) {
            return Some(uid);
        }
        if let Some(id) = clean.or(id).filter(|id| !id.is_empty()) {
            let byte = |(at, byte): (usize, &u8)| format!("{:02X}", if (16..20).contains(&at) { 0 } else { *byte });
            // Written by a machine it has 56 bytes; of something longer the beginning is as unique.
            return Some(id.iter().take(MOST_CHARACTERS / 2).enumerate().map(byte).collect());
        }
        let number = self.properties.long(OWNER_APPOINTMENT_ID).or(self.owner_id).filter(|number| *number != 0);
        let number =
            number.map(|number| format!("{number:08X}-{}", sender.map_or("unknown", |sender| &sender.address)));
        number.or_else(|| self.search_key.clone().filter(|_| self.role == Role::Publish))
    }

    fn clock(&self, recurrence: Option<&Recurrence>) -> Clock {
        let old = self.properties.binary(ZONE).and_then(Zone::read);
        let new = |key| self.properties.binary(key).and_then(Zone::read_definition);
        let zone = old.or_else(|| new(SERIES_ZONE)).or_else(|| new(START_ZONE));
        let zone_id = self.text(ZONE_NAME).unwrap_or_else(|| "Local".to_owned());
        let shift = match (recurrence, self.times().0, &zone) {
            (Some(recurrence), Some(start), _) => start.saturating_sub(recurrence.start),
            (_, _, Some(zone)) => zone.standard_bias(),
            _ => 0,
        };
        Clock {
            zone,
            zone_id: zone_id.replace(['"', ',', ';', '\\'], ""),
            shift,
            all_day: self.properties.boolean(ALL_DAY),
        }
    }
}

/// How local times of a series are written.
struct Clock {
    zone: Option<Zone>,
    zone_id: String,
    /// Seconds to add to local time for UTC, when there is no zone to ask.
    shift: i64,
    all_day: bool,
}

impl Clock {
    /// The value of a local time, with the parameters it needs in front.
    fn local(&self, time: i64) -> Option<String> {
        if self.all_day {
            return Some(format!(";VALUE=DATE:{}", format_time("%Y%m%d", time)?));
        }
        if self.zone.is_some() {
            let id = &self.zone_id;
            return Some(format!(";TZID=\"{id}\":{}", format_time("%Y%m%dT%H%M%S", time)?));
        }
        utc(time.saturating_add(self.shift)).as_deref().map(colon)
    }

    /// RFC 5545 section 3.3.10: UNTIL is in UTC, or a date if DTSTART is one.
    fn until(&self, time: i64) -> Option<String> {
        if self.all_day {
            return format_time("%Y%m%d", time);
        }
        utc(time.saturating_add(self.zone.as_ref().map_or(self.shift, Zone::later_bias)))
    }

    /// The day that begins at `time`, in UTC: local midnight, so that the zone decides which day that is. The hours on
    /// top are for summer time, or where the zone is not known, for most of the world.
    fn date_of(&self, time: i64) -> Option<String> {
        let hours = if self.zone.is_some() { 2 } else { 12 };
        let bias = self.zone.as_ref().map_or(0, Zone::standard_bias);
        let date = format_time("%Y%m%d", time.saturating_sub(bias).saturating_add(hours * 3600))?;
        Some(format!(";VALUE=DATE:{date}"))
    }
}

fn series_lines(recurrence: &Recurrence, clock: &Clock, lines: &mut Lines) {
    let end = recurrence.start.saturating_add(recurrence.length);
    for (name, time) in [("DTSTART", recurrence.start), ("DTEND", end)] {
        if let Some(value) = clock.local(time) {
            lines.plain(&format!("{name}{value}"));
        }
    }
    let end = match recurrence.end {
        End::Never => String::new(),
        End::After(count) => format!(";COUNT={count}"),
        End::Until(time) => clock.until(time).map_or(String::new(), |time| format!(";UNTIL={time}")),
    };
    lines.plain(&format!("RRULE:{}{end}", recurrence.rule));
    for value in recurrence.excluded.iter().filter_map(|time| clock.local(*time)) {
        lines.plain(&format!("EXDATE{value}"));
    }
}

fn moved_lines(moved: &Moved, clock: &Clock, lines: &mut Lines) {
    for (name, time) in [("RECURRENCE-ID", moved.original), ("DTSTART", moved.start), ("DTEND", moved.end)] {
        if let Some(value) = clock.local(time) {
            lines.plain(&format!("{name}{value}"));
        }
    }
}

/// The UID of a meeting that was not made by Outlook: it stands in the data of the id, behind a mark.
fn foreign_uid(id: &[u8]) -> Option<String> {
    let uid = id.get(40..)?.strip_prefix(b"vCal-Uid\x01\0\0\0")?;
    let uid = text::guess(uid.get(..MOST_CHARACTERS).unwrap_or(uid));
    Some(text::until_nul(&uid).trim().to_owned()).filter(|uid| !uid.is_empty())
}

fn clip(text: &str) -> String {
    text.chars().take(MOST_CHARACTERS).collect()
}

fn colon(value: &str) -> String {
    format!(":{value}")
}

fn utc(time: i64) -> Option<String> {
    format_time("%Y%m%dT%H%M%SZ", time)
}

/// Years of four digits only: that is all iCalendar has.
fn format_time(format: &str, time: i64) -> Option<String> {
    let time = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_second(time).ok()?);
    (1601..=9999).contains(&time.year()).then(|| time.strftime(format).to_string())
}

/// Content lines of RFC 5545 section 3.1.
#[derive(Default)]
struct Lines {
    out: String,
}

impl Lines {
    /// A line folded at 75 octets, never within a character.
    fn plain(&mut self, line: &str) {
        let mut width = 0;
        for character in line.chars().filter(|character| !character.is_control() || *character == '\t') {
            if width + character.len_utf8() > 75 {
                self.out.push_str("\r\n ");
                width = 1;
            }
            self.out.push(character);
            width += character.len_utf8();
        }
        self.out.push_str("\r\n");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.plain(&format!("{name}:{}", escape(text)));
    }

    fn party(&mut self, name: &str, answer: Option<Answer>, party: &Party) {
        let answer = match answer {
            Some(Answer::Accepted) => ";PARTSTAT=ACCEPTED",
            Some(Answer::Declined) => ";PARTSTAT=DECLINED",
            Some(Answer::Tentative) => ";PARTSTAT=TENTATIVE",
            None => "",
        };
        let known_as = party.name.as_ref().map_or(String::new(), |name| format!(";CN=\"{}\"", name.replace('"', "'")));
        self.plain(&format!("{name}{answer}{known_as}:mailto:{}", party.address));
    }
}

/// TEXT of RFC 5545 section 3.3.11.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' | '\n' => out.push_str("\\n"),
            '\\' | ';' | ',' => out.extend(['\\', character]),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::mapi::write::{Value, list};
    use super::super::recurrence::write::{Series, berlin, minutes};
    use super::super::tnef::write::{id, stream};
    use super::super::{Budget, Limits, Unpacked, tnef};
    use super::*;

    fn global_id(data: &[u8]) -> Vec<u8> {
        let mut out = b"\x04\0\0\0\x82\0\xe0\0\x74\xc5\xb7\x10\x1a\x82\xe0\x08".to_vec();
        out.extend([0; 20]);
        out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend(data);
        out
    }

    fn open(class: &[u8], properties: &[(Key, Value<'_>)]) -> Unpacked {
        let bytes = stream(&[(id::MESSAGE_CLASS, class), (id::MESSAGE_PROPERTIES, &list(properties))]);
        tnef(&bytes, &mut Budget::new(Limits::default()))
    }

    fn calendar(class: &[u8], properties: &[(Key, Value<'_>)]) -> String {
        open(class, properties).meeting.unwrap_or_default().replace("\r\n ", "")
    }

    /// Minutes of MS-OXOCAL to a date of MAPI.
    fn at(text: &str) -> i64 {
        i64::from(minutes(text)) * 60 - 11_644_473_600
    }

    const REQUEST: &[u8] = b"IPM.Microsoft Schedule.MtgReq\0";

    #[test]
    fn a_request_becomes_an_event() {
        let global = global_id(b"\x01\x02");
        let text = calendar(
            REQUEST,
            &[
                (Key::Tag(0x0037), Value::Text("Plan; B, \\ C")),
                (Key::Tag(0x1000), Value::Text("one\r\ntwo")),
                (REPRESENTED[0], Value::Text("Ann \"A\" Lee")),
                (REPRESENTED[1], Value::Text("/o=x/cn=ann")),
                (REPRESENTED[2], Value::Text("EX")),
                (REPRESENTED[3], Value::Text("ann@example.com")),
                (GLOBAL_ID, Value::Binary(&global)),
                (SEQUENCE, Value::Long(2)),
                (LOCATION, Value::Text("Room 1")),
                (OWNER_CHANGE, Value::Time(at("2026-03-01T08:00"))),
                (START_WHOLE, Value::Time(at("2026-03-02T09:00"))),
                (END_WHOLE, Value::Time(at("2026-03-02T10:30"))),
            ],
        );
        let wanted = "BEGIN:VCALENDAR\r\nPRODID:-//mailmill//MAPI//EN\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\n\
            UID:040000008200E00074C5B7101A82E0080000000000000000000000000000000000000000020000000102\r\n\
            DTSTAMP:20260301T080000Z\r\nSEQUENCE:2\r\nSUMMARY:Plan\\; B\\, \\\\ C\r\nLOCATION:Room 1\r\n\
            ORGANIZER;CN=\"Ann 'A' Lee\":mailto:ann@example.com\r\nDTSTART:20260302T090000Z\r\n\
            DTEND:20260302T103000Z\r\nDESCRIPTION:one\\ntwo\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn each_class_has_its_method() {
        for (class, wanted) in [
            (&b"IPM.Schedule.Meeting.Request\0"[..], "METHOD:REQUEST"),
            (b"ipm.schedule.meeting.canceled.custom\0", "METHOD:CANCEL"),
            (b"IPM.Microsoft Schedule.MtgCncl\0", "STATUS:CANCELLED"),
            (b"IPM.Schedule.Meeting.Resp.Tent\0", "ATTENDEE;PARTSTAT=TENTATIVE:mailto:bob@example.com"),
            (b"IPM.Microsoft Schedule.MtgRespN\0", "ATTENDEE;PARTSTAT=DECLINED:mailto:bob@example.com"),
            (b"IPM.Microsoft Schedule.MtgRespP\0", "METHOD:REPLY"),
            (b"IPM.Appointment\0", "METHOD:PUBLISH"),
        ] {
            let address = (SENDER[1], Value::Text("SMTP:bob@example.com"));
            let text = calendar(class, &[address, (OWNER_APPOINTMENT_ID, Value::Long(7))]);
            assert!(text.contains(wanted) && text.contains("UID:00000007-bob@example.com"), "{text}");
        }
        assert_eq!(open(b"IPM.Note\0", &[(OWNER_APPOINTMENT_ID, Value::Long(7))]).meeting, None);
        assert_eq!(role("IPM.Schedule.Meeting.Requests"), None);
    }

    #[test]
    fn the_id_of_a_foreign_meeting_is_the_one_it_came_with() {
        let global = global_id(b"vCal-Uid\x01\0\0\0abc@example.com\0");
        assert!(
            calendar(REQUEST, &[(CLEAN_GLOBAL_ID, Value::Binary(&global))]).contains("\r\nUID:abc@example.com\r\n")
        );
    }

    #[test]
    fn a_meeting_that_nothing_names_is_no_entry() {
        let unpacked = open(REQUEST, &[(START_WHOLE, Value::Time(0))]);
        assert_eq!((unpacked.meeting, unpacked.problems), (None, vec![Problem::MeetingWithoutId]));
    }

    #[test]
    fn a_changed_occurrence_says_which_one_it_was() {
        let mut global = global_id(b"\x01");
        global.splice(16..20, [0x07, 0xEA, 3, 9]);
        let zero = (GLOBAL_ID, Value::Binary(&global));
        let text = calendar(REQUEST, &[zero, (REPLACED, Value::Time(at("2026-03-09T09:00")))]);
        assert!(text.contains("\r\nRECURRENCE-ID:20260309T090000Z\r\n") && text.contains("1A82E00800000000"), "{text}");
        let text = calendar(REQUEST, &[(GLOBAL_ID, Value::Binary(&global))]);
        assert!(text.contains("\r\nRECURRENCE-ID;VALUE=DATE:20260309\r\n"), "{text}");
    }

    #[test]
    fn a_whole_day_is_a_date_on_the_side_of_the_world_where_it_is_kept() {
        let global = global_id(b"\x01");
        let zone = berlin();
        for (start, zone) in
            [("2026-07-01T22:00", Some(&zone)), ("2026-03-01T23:00", Some(&zone)), ("2026-03-01T23:00", None)]
        {
            let mut properties = vec![
                (GLOBAL_ID, Value::Binary(&global)),
                (ALL_DAY, Value::Boolean(true)),
                (START_WHOLE, Value::Time(at(start))),
                (END_WHOLE, Value::Time(at(start) + 86_400)),
            ];
            properties.extend(zone.map(|zone| (ZONE, Value::Binary(zone))));
            let text = calendar(REQUEST, &properties);
            let wanted = if start.contains("-07-") { ["20260702", "20260703"] } else { ["20260302", "20260303"] };
            for (name, date) in ["DTSTART", "DTEND"].into_iter().zip(wanted) {
                assert!(text.contains(&format!("\r\n{name};VALUE=DATE:{date}\r\n")), "{text}");
            }
        }
    }

    #[test]
    fn a_series_has_a_rule_a_zone_and_its_exceptions() {
        let day = |text: &str| minutes(&format!("{text}T00:00"));
        let moved: Vec<u8> = ["2026-03-10T12:00", "2026-03-10T13:00", "2026-03-09T10:00"]
            .into_iter()
            .flat_map(|time| minutes(time).to_le_bytes())
            .chain([0, 0])
            .collect();
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
        let (global, series, zone) = (global_id(b"\x01"), series.bytes(), berlin());
        let mut properties = vec![
            (GLOBAL_ID, Value::Binary(&global)),
            (START_WHOLE, Value::Time(at("2026-03-02T09:00"))),
            (RECURRENCE, Value::Binary(&series)),
        ];
        let utc = calendar(REQUEST, &properties);
        assert!(utc.contains("DTSTART:20260302T090000Z\r\n") && utc.contains("EXDATE:20260316T090000Z\r\n"), "{utc}");
        assert!(utc.contains("WKST=MO;UNTIL=20260601T090000Z\r\n"), "{utc}");
        properties.extend([(ZONE, Value::Binary(&zone)), (ZONE_NAME, Value::Text("(GMT+01:00) Bern, Rome"))]);
        let text = calendar(REQUEST, &properties);
        for line in [
            "TZID:(GMT+01:00) Bern Rome",
            "DTSTART;TZID=\"(GMT+01:00) Bern Rome\":20260302T100000",
            "DTEND;TZID=\"(GMT+01:00) Bern Rome\":20260302T110000",
            "RRULE:FREQ=WEEKLY;INTERVAL=1;BYDAY=MO;WKST=MO;UNTIL=20260601T090000Z",
            "EXDATE;TZID=\"(GMT+01:00) Bern Rome\":20260316T100000",
            "RECURRENCE-ID;TZID=\"(GMT+01:00) Bern Rome\":20260309T100000",
            "DTSTART;TZID=\"(GMT+01:00) Bern Rome\":20260310T120000",
        ] {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} in {text}");
        }
        assert_eq!(text.matches("EXDATE").count(), 1);
        properties[2].1 = Value::Binary(b"\x04\x30");
        let unpacked = open(REQUEST, &properties);
        assert_eq!(unpacked.problems, [Problem::Recurrence]);
        assert!(unpacked.meeting.is_some_and(|text| text.contains("DTSTART:20260302T090000Z")));
    }

    #[test]
    fn a_stream_of_old_says_it_in_attributes() {
        let shorts = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let start = shorts(&[2026, 3, 2, 9, 0, 0, 1]);
        let owner = [&[4, 0][..], b"Ann\0", &[14, 0], b"SMTP:ann@x.org"].concat();
        let bytes = stream(&[
            (id::MESSAGE_CLASS, REQUEST),
            (id::SUBJECT, b"Old\0"),
            (id::OWNER, &owner),
            (id::AID_OWNER, &[0xEF, 0xBE, 0, 0]),
            (id::DATE_START, &start),
        ]);
        let text = tnef(&bytes, &mut Budget::new(Limits::default())).meeting.unwrap_or_default();
        for line in [
            "UID:0000BEEF-ann@x.org",
            "SUMMARY:Old",
            "ORGANIZER;CN=\"Ann\":mailto:ann@x.org",
            "DTSTART:20260302T090000",
        ] {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} in {text}");
        }
    }

    #[test]
    fn long_lines_are_folded_between_characters() {
        let mut lines = Lines::default();
        lines.text("SUMMARY", &"ä".repeat(100));
        assert!(lines.out.lines().all(|line| line.len() <= 75));
        assert_eq!(lines.out.replace("\r\n ", ""), format!("SUMMARY:{}\r\n", "ä".repeat(100)));
    }
}
