//! Messages as they come by mail, and what becomes of the event. Every calendar here was written for these tests.

use proptest::prelude::*;

use super::event::civil_seconds;
use super::*;

/// A calendar of one event. `lines` are separated by spaces where they need no text of their own.
fn calendar(method: &str, lines: &[&str]) -> Vec<u8> {
    let mut text = format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:{method}\r\nBEGIN:VEVENT\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("END:VEVENT\r\nEND:VCALENDAR\r\n");
    text.into_bytes()
}

fn one(bytes: &[u8]) -> Update {
    let read = read(bytes, &Limits::default());
    assert_eq!(read.updates.len(), 1, "{:?}", read.problems);
    read.updates.into_iter().next().unwrap()
}

fn update(method: &str, lines: &[&str]) -> Update {
    one(&calendar(method, lines))
}

const BERLIN: &str = "DTSTART;TZID=Europe/Berlin:20260302T090000";

/// A weekly meeting as its organizer sends it.
fn weekly(sequence: u32, minute: u32, more: &[&str]) -> Update {
    let (sequence, stamp) = (format!("SEQUENCE:{sequence}"), format!("DTSTAMP:20260201T10{minute:02}00Z"));
    let mut lines = vec![
        "UID:weekly@example.org",
        &sequence,
        &stamp,
        BERLIN,
        "DURATION:PT1H",
        "RRULE:FREQ=WEEKLY;COUNT=10",
        "ORGANIZER;CN=Olga:mailto:olga@example.org",
        "ATTENDEE;CN=Bob;RSVP=TRUE:mailto:bob@example.org",
        "ATTENDEE;ROLE=OPT-PARTICIPANT;PARTSTAT=TENTATIVE:MAILTO:Carol@example.org",
        "SUMMARY:Weekly",
    ];
    lines.extend_from_slice(more);
    update("REQUEST", &lines)
}

fn cancel(sequence: u32, minute: u32, more: &[&str]) -> Update {
    let (sequence, stamp) = (format!("SEQUENCE:{sequence}"), format!("DTSTAMP:20260201T10{minute:02}00Z"));
    let mut lines = vec!["UID:weekly@example.org", &sequence, &stamp];
    lines.extend_from_slice(more);
    update("CANCEL", &lines)
}

fn reply(sequence: u32, minute: u32, address: &str, status: &str) -> Update {
    let (sequence, stamp) = (format!("SEQUENCE:{sequence}"), format!("DTSTAMP:20260201T10{minute:02}00Z"));
    let attendee = format!("ATTENDEE;PARTSTAT={status}:mailto:{address}");
    update("REPLY", &["UID:weekly@example.org", &sequence, &stamp, &attendee])
}

fn apply_all(updates: &[Update]) -> (Series, Vec<Verdict>) {
    let (mut series, mut verdicts) = (None, Vec::new());
    for update in updates {
        let (next, verdict) = apply(series, update);
        series = next;
        verdicts.push(verdict);
    }
    (series.unwrap(), verdicts)
}

fn utc(text: &str) -> i64 {
    civil_seconds(text.parse().unwrap())
}

/// `start cancelled? title` of what takes place in 2026.
fn year_2026(series: &Series) -> Vec<String> {
    let found = occurrences(series, utc("2026-01-01T00:00:00"), utc("2027-01-01T00:00:00"), 100);
    assert_eq!(found.gaps, []);
    let line = |occurrence: &Occurrence| {
        let title = occurrence.event.title.clone().unwrap_or_default();
        format!("{}{} {title}", occurrence.start.local, if occurrence.cancelled { " cancelled" } else { "" })
    };
    found.list.iter().map(line).collect()
}

#[test]
fn a_request_is_read_with_its_people_and_its_time() {
    let update = weekly(2, 0, &["LOCATION:Room 1\\, left", "CATEGORIES:a,b", "STATUS:CONFIRMED"]);
    assert_eq!((update.method, update.sequence), (Method::Request, 2));
    assert_eq!(update.dtstamp, Some(utc("2026-02-01T10:00:00")));
    let event = update.event;
    assert_eq!(event.location.as_deref(), Some("Room 1, left"));
    assert_eq!((event.categories.len(), event.status), (2, Some(Status::Confirmed)));
    let berlin = |local: &str, moment: &str| When {
        utc: Some(utc(moment)),
        local: local.to_owned(),
        zone: Some("Europe/Berlin".to_owned()),
    };
    assert_eq!(event.start, Some(berlin("2026-03-02T09:00:00", "2026-03-02T08:00:00")));
    assert_eq!(event.end, Some(berlin("2026-03-02T10:00:00", "2026-03-02T09:00:00")));
    assert_eq!(event.rules, ["FREQ=WEEKLY;COUNT=10"]);
    assert_eq!(event.organizer.unwrap().name.as_deref(), Some("Olga"));
    let [bob, carol] = event.attendees.as_slice() else { panic!() };
    assert_eq!((bob.address.as_str(), bob.rsvp, bob.status), ("bob@example.org", true, Participation::NeedsAction));
    assert_eq!(
        (carol.address.as_str(), carol.role, carol.status),
        ("Carol@example.org", Role::Optional, Participation::Tentative)
    );
}

#[test]
fn a_newer_request_updates_a_stale_one_does_not_and_a_cancel_ends_it() {
    let moved = weekly(1, 5, &["SUMMARY:Moved"]);
    let again = weekly(1, 6, &["SUMMARY:Moved again"]);
    let (series, verdicts) = apply_all(&[
        weekly(0, 0, &[]),
        moved.clone(),
        moved,
        weekly(0, 9, &["SUMMARY:Late"]),
        again,
        weekly(1, 1, &[]),
        cancel(2, 20, &["RECURRENCE-ID;TZID=Europe/Berlin:20260309T090000"]),
        cancel(2, 21, &[]),
        cancel(2, 20, &[]),
    ]);
    assert_eq!(
        verdicts,
        [
            Verdict::Created,
            Verdict::Updated,
            Verdict::Ignored(Reason::Again),
            Verdict::Stale(Reason::OlderSequence),
            Verdict::Updated,
            Verdict::Stale(Reason::OlderStamp),
            Verdict::Cancelled,
            Verdict::Cancelled,
            Verdict::Stale(Reason::OlderStamp),
        ]
    );
    assert!(series.cancelled());
    assert_eq!(series.event().unwrap().title.as_deref(), Some("Moved again"));
    assert_eq!(series.exceptions.len(), 1);
}

#[test]
fn a_cancel_of_one_instance_leaves_the_others() {
    let (series, _) = apply_all(&[weekly(0, 0, &[]), cancel(1, 1, &["RECURRENCE-ID:20260309T080000Z"])]);
    assert!(!series.cancelled());
    let year = year_2026(&series);
    assert_eq!(year.len(), 10);
    assert_eq!(year[..2], ["2026-03-02T09:00:00 Weekly", "2026-03-09T09:00:00 cancelled Weekly"].map(str::to_owned));
    // The clock changes on 29 March; the meeting does not.
    assert_eq!(year[4], "2026-03-30T09:00:00 Weekly");
}

#[test]
fn a_cancel_that_comes_before_its_request_is_remembered() {
    let (series, verdicts) = apply_all(&[cancel(1, 5, &["COMMENT:off"]), weekly(0, 0, &[])]);
    assert_eq!(verdicts, [Verdict::Cancelled, Verdict::Stale(Reason::Cancelled)]);
    assert!(series.cancelled());
    assert_eq!(series.event().unwrap().title.as_deref(), Some("Weekly"));
    let (series, verdict) = apply(Some(series), &weekly(2, 6, &[]));
    assert_eq!((verdict, series.unwrap().cancelled()), (Verdict::Updated, false));
}

#[test]
fn an_exception_is_part_of_its_series_and_moves_one_instance() {
    let exception = update(
        "REQUEST",
        &[
            "UID:weekly@example.org",
            "SEQUENCE:1",
            "DTSTAMP:20260201T110000Z",
            "RECURRENCE-ID;TZID=\"W. Europe Standard Time\":20260309T090000",
            "DTSTART;TZID=W. Europe Standard Time:20260310T140000",
            "SUMMARY:Once on Tuesday",
        ],
    );
    let (series, verdicts) = apply_all(&[exception, weekly(0, 0, &["EXDATE:20260316T080000Z"])]);
    assert_eq!(verdicts, [Verdict::Created, Verdict::Updated]);
    let year = year_2026(&series);
    assert_eq!(year[1], "2026-03-10T14:00:00 Once on Tuesday");
    assert_eq!((year.len(), year[2].as_str()), (9, "2026-03-23T09:00:00 Weekly"));
}

#[test]
fn an_older_exception_without_a_place_in_the_moved_series_is_kept_and_not_shown() {
    let exception = weekly(0, 0, &["RECURRENCE-ID:20260309T080000Z", "SUMMARY:Old"]);
    let (series, _) = apply_all(&[weekly(0, 0, &[]), exception, weekly(1, 9, &["DTSTART:20260303T100000Z"])]);
    assert_eq!(series.exceptions.len(), 1);
    assert!(year_2026(&series).iter().all(|line| line.ends_with("Weekly")));
}

#[test]
fn this_and_future_changes_all_that_follow_until_an_instance_says_otherwise() {
    let later = weekly(
        1,
        10,
        &[
            "RECURRENCE-ID;RANGE=THISANDFUTURE:20260316T080000Z",
            "DTSTART;TZID=Europe/Berlin:20260316T103000",
            "SUMMARY:Later",
        ],
    );
    let single = weekly(1, 11, &["RECURRENCE-ID:20260330T070000Z", "DTSTART:20260330T180000Z", "SUMMARY:Evening"]);
    let off = cancel(2, 12, &["RECURRENCE-ID;RANGE=THISANDFUTURE:20260413T070000Z"]);
    let (series, _) = apply_all(&[off, single, later, weekly(0, 0, &[])]);
    let year = year_2026(&series);
    assert_eq!(
        year[..7],
        [
            "2026-03-02T09:00:00 Weekly",
            "2026-03-09T09:00:00 Weekly",
            "2026-03-16T10:30:00 Later",
            "2026-03-23T10:30:00 Later",
            "2026-03-30T18:00:00 Evening",
            "2026-04-06T10:30:00 Later",
            "2026-04-13T10:30:00 cancelled Later",
        ]
        .map(str::to_owned)
    );
    assert!(year[7..].iter().all(|line| line.contains("cancelled")));
}

#[test]
fn an_added_instance_is_one_of_the_series() {
    let added = update(
        "ADD",
        &[
            "UID:weekly@example.org",
            "SEQUENCE:1",
            "DTSTAMP:20260201T100100Z",
            "DTSTART:20260401T120000Z",
            "SUMMARY:Extra",
        ],
    );
    let (series, verdicts) = apply_all(&[weekly(0, 0, &[]), added, weekly(2, 9, &[])]);
    assert_eq!(verdicts[1], Verdict::Updated);
    assert!(year_2026(&series).contains(&"2026-04-01T12:00:00 Extra".to_owned()));
    let nowhere = update("ADD", &["UID:weekly@example.org", "SUMMARY:Extra"]);
    assert_eq!(apply(Some(series), &nowhere).1, Verdict::Ignored(Reason::NoInstance));
}

#[test]
fn a_reply_changes_the_answer_of_its_attendee_and_nothing_else() {
    let request = weekly(1, 0, &[]);
    let (series, verdicts) = apply_all(&[
        request.clone(),
        reply(1, 5, "BOB@example.org", "ACCEPTED"),
        reply(1, 4, "bob@example.org", "DECLINED"),
        reply(0, 9, "carol@example.org", "DECLINED"),
        reply(1, 6, "dan@example.org", "X-MAYBE"),
    ]);
    assert_eq!(
        verdicts[1..],
        [
            Verdict::AttendeeUpdated,
            Verdict::Stale(Reason::OlderStamp),
            Verdict::AttendeeUpdated,
            Verdict::AttendeeUpdated,
        ]
    );
    assert_eq!(series.event(), Some(&request.event));
    let attendees = series.leading().unwrap().attendees();
    let shown: Vec<_> = attendees.iter().map(|who| (who.address.as_str(), who.status, who.uninvited)).collect();
    assert_eq!(
        shown,
        [
            ("bob@example.org", Participation::Accepted, false),
            // Her answer was to an older revision.
            ("Carol@example.org", Participation::Tentative, false),
            ("dan@example.org", Participation::NeedsAction, true),
        ]
    );
    // A reschedule asks everybody again.
    let (series, _) = apply(Some(series), &weekly(2, 30, &[]));
    assert_eq!(series.unwrap().leading().unwrap().attendees()[0].status, Participation::NeedsAction);
}

#[test]
fn a_reply_to_an_unknown_event_waits_for_it() {
    let (series, verdicts) = apply_all(&[reply(0, 5, "bob@example.org", "ACCEPTED")]);
    assert_eq!((verdicts[0], series.event()), (Verdict::Remembered, None));
    let (series, verdict) = apply(Some(series), &weekly(0, 0, &[]));
    assert_eq!(verdict, Verdict::Created);
    assert_eq!(series.unwrap().leading().unwrap().attendees()[0].status, Participation::Accepted);
}

#[test]
fn a_reply_that_names_two_attendees_needs_the_sender() {
    let mut update = reply(0, 5, "bob@example.org", "ACCEPTED");
    update
        .event
        .attendees
        .push(Attendee { address: "eve@example.org".to_owned(), ..update.event.attendees[0].clone() });
    update.by = None;
    assert_eq!(apply(None, &update), (None, Verdict::Ignored(Reason::UnknownSender)));
    update.by = Some("Eve@example.org".to_owned());
    assert_eq!(apply(None, &update).1, Verdict::Remembered);
}

#[test]
fn a_counter_is_noted_with_who_proposed_what_and_the_event_stays() {
    let counter = update(
        "COUNTER",
        &[
            "UID:weekly@example.org",
            "DTSTAMP:20260202T100000Z",
            "DTSTART:20260302T150000Z",
            "ATTENDEE:mailto:bob@example.org",
            "COMMENT:In the afternoon?",
        ],
    );
    let (series, verdicts) = apply_all(&[weekly(0, 0, &[]), counter.clone(), counter]);
    assert_eq!(verdicts[1..], [Verdict::CounterNoted, Verdict::Ignored(Reason::Again)]);
    let [proposal] = series.leading().unwrap().proposals.as_slice() else { panic!() };
    assert_eq!(
        (proposal.by.as_str(), proposal.event.comment.as_deref()),
        ("bob@example.org", Some("In the afternoon?"))
    );
    assert_eq!(series.event(), Some(&weekly(0, 0, &[]).event));
}

#[test]
fn refresh_and_declinecounter_change_nothing() {
    for method in ["REFRESH", "DECLINECOUNTER"] {
        let update = update(method, &["UID:weekly@example.org", "DTSTAMP:20260202T100000Z"]);
        assert_eq!(apply(None, &update), (None, Verdict::Ignored(Reason::ChangesNothing)));
    }
}

#[test]
fn whole_days_have_no_zone_and_end_on_the_day_after() {
    for (end, want) in
        [("DTEND;VALUE=DATE:20260504", "2026-05-04"), ("DURATION:P2D", "2026-05-03"), ("SUMMARY:x", "2026-05-02")]
    {
        let update = update("PUBLISH", &["UID:1", "DTSTART;VALUE=DATE:20260501", end]);
        assert!(update.event.all_day);
        let (start, ends) = (update.event.start.unwrap(), update.event.end.unwrap());
        assert_eq!((start.local.as_str(), start.utc, ends.local.as_str()), ("2026-05-01", None, want));
    }
    let outlook = ["UID:1", "DTSTART:20260501T000000", "DTEND:20260502T000000", "X-MICROSOFT-CDO-ALLDAYEVENT:TRUE"];
    assert!(update("REQUEST", &outlook).event.all_day);
    let yearly = update(
        "PUBLISH",
        &["UID:1", "DTSTART;VALUE=DATE:20200229", "RRULE:FREQ=YEARLY;UNTIL=20280229", "EXDATE;VALUE=DATE:20240229"],
    );
    let (series, _) = apply_all(&[yearly]);
    let found = occurrences(&series, 0, i64::MAX, 100);
    let starts: Vec<&str> = found.list.iter().map(|occurrence| occurrence.start.local.as_str()).collect();
    assert_eq!(starts, ["2020-02-29", "2028-02-29"]);
    assert_eq!(found.list[1].end, Some(When::day("2028-03-01".parse().unwrap())));
}

#[test]
fn an_exception_named_by_midnight_or_by_its_day_is_found_in_its_series() {
    let publish = |lines: &[&str]| update("PUBLISH", &[&["UID:1"], lines].concat());
    let days = publish(&["DTSTART;VALUE=DATE:20260601", "RRULE:FREQ=DAILY;COUNT=3", "SUMMARY:day"]);
    let midnight = "RECURRENCE-ID;TZID=Eastern Standard Time:20260602T000000";
    let moved = publish(&[midnight, "DTSTART;VALUE=DATE:20260610", "SUMMARY:moved"]);
    let (series, _) = apply_all(&[days, moved]);
    assert_eq!(year_2026(&series), ["2026-06-01 day", "2026-06-03 day", "2026-06-10 moved"]);
    let timed = publish(&["DTSTART:20260601T200000Z", "RRULE:FREQ=DAILY;COUNT=3", "SUMMARY:hour"]);
    let off = update("CANCEL", &["UID:1", "SEQUENCE:1", "RECURRENCE-ID;VALUE=DATE:20260602"]);
    let (series, _) = apply_all(&[off, timed]);
    assert_eq!(year_2026(&series)[1..], ["2026-06-02T20:00:00 cancelled hour", "2026-06-03T20:00:00 hour"]);
}

/// Brasília under a name of the sender's own, with the summer time of 2018.
const OWN_ZONE: &str = "BEGIN:VTIMEZONE\nTZID:Unsere Zeit\nBEGIN:STANDARD\nDTSTART:20000220T000000\nTZOFFSETFROM:-0200\n\
    TZOFFSETTO:-0300\nRRULE:FREQ=YEARLY;BYMONTH=2;BYDAY=3SU\nEND:STANDARD\nBEGIN:DAYLIGHT\nDTSTART:20001008T000000\n\
    TZOFFSETFROM:-0300\nTZOFFSETTO:-0200\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU\nEND:DAYLIGHT\nEND:VTIMEZONE\n";

#[test]
fn a_zone_that_only_the_message_defines_holds_for_the_whole_series() {
    let text = format!(
        "BEGIN:VCALENDAR\n{OWN_ZONE}BEGIN:VEVENT\nUID:1\nDTSTART;TZID=Unsere Zeit:20260115T090000\nDTEND;TZID=Unsere Zeit:\
         20260115T093000\nRRULE:FREQ=MONTHLY;UNTIL=20260415T120000Z\nEND:VEVENT\nEND:VCALENDAR\n"
    );
    let update = one(text.as_bytes());
    let start = update.event.start.clone().unwrap();
    assert_eq!((start.utc, start.zone), (Some(utc("2026-01-15T11:00:00")), None));
    let (series, _) = apply_all(&[update]);
    let found = occurrences(&series, 0, i64::MAX, 100);
    let moments: Vec<_> = found.list.iter().map(|occurrence| occurrence.start.utc.unwrap()).collect();
    assert_eq!(
        moments,
        ["2026-01-15T11:00:00", "2026-02-15T12:00:00", "2026-03-15T12:00:00", "2026-04-15T12:00:00"].map(utc)
    );
    // 15 February is the Sunday of the change.
    assert_eq!(found.list[1].end.as_ref().unwrap().local, "2026-02-15T09:30:00");
}

#[test]
fn the_place_of_libical_names_a_zone_and_a_zone_nobody_defines_is_said() {
    let zone = "BEGIN:VTIMEZONE\nTZID:anything\nX-LIC-LOCATION:Asia/Kolkata\nEND:VTIMEZONE\n";
    let event = |tzid| {
        format!(
            "BEGIN:VCALENDAR\n{zone}BEGIN:VEVENT\nUID:1\nDTSTART;TZID={tzid}:20260115T090000\nEND:VEVENT\nEND:VCALENDAR\n"
        )
    };
    assert_eq!(one(event("anything").as_bytes()).event.start.unwrap().utc, Some(utc("2026-01-15T03:30:00")));
    let read = read(event("Atlantis").as_bytes(), &Limits::default());
    assert_eq!(read.updates[0].event.start.as_ref().unwrap().utc, None);
    assert_eq!(read.updates[0].event.start.as_ref().unwrap().local, "2026-01-15T09:00:00");
    assert!(read.problems[0].contains("Atlantis"));
}

#[test]
fn what_is_no_event_is_said_and_left_out() {
    let text = "BEGIN:VCALENDAR\nBEGIN:VTODO\nUID:1\nEND:VTODO\nBEGIN:VEVENT\nSUMMARY:no uid\nEND:VEVENT\nBEGIN:VEVENT\nUID:2\n\
                RECURRENCE-ID:yesterday\nEND:VEVENT\nEND:VCALENDAR\n";
    let read = read(text.as_bytes(), &Limits::default());
    assert_eq!(read.updates, []);
    let said = read.problems.join("\n");
    assert!(["1 VTODO", "no UID", "RECURRENCE-ID"].iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn a_method_nobody_knows_changes_nothing_and_no_method_is_publish() {
    let read = read(&calendar("DESTROY", &["UID:1"]), &Limits::default());
    assert_eq!((read.updates.len(), read.problems.len()), (0, 1));
    assert_eq!(one(b"BEGIN:VEVENT\nUID:1\nEND:VEVENT\n").method, Method::Publish);
}

#[test]
fn a_calendar_that_is_too_long_is_not_read() {
    let limits = Limits { bytes: 10, ..Limits::default() };
    assert_eq!(read(&calendar("REQUEST", &["UID:1"]), &limits).updates, []);
    assert_eq!(read(b"not a calendar at all", &Limits::default()).problems, ["there is no calendar in it"]);
}

#[test]
fn a_sequence_out_of_range_does_not_end_all_later_updates() {
    for (text, want) in [("-1", 0), ("99999999999", 2_147_483_647), ("two", 0)] {
        assert_eq!(update("REQUEST", &["UID:1", &format!("SEQUENCE:{text}")]).sequence, want);
    }
    assert_eq!(update("REQUEST", &["UID:1", "SEQUENCE:0", "X-MICROSOFT-CDO-APPT-SEQUENCE:3"]).sequence, 3);
}

#[test]
fn rules_that_cannot_be_expanded_are_kept_and_said() {
    for (rule, gap) in [
        ("FREQ=SECONDLY", Gap::TooFine),
        ("FREQ=DAILY;BYMINUTE=0,1,2,3,4;BYSECOND=0,1,2,3,4", Gap::TooFine),
        ("FREQ=DAILY;BYMONTH=77", Gap::NotUnderstood),
        ("D1 #10", Gap::NotUnderstood),
        ("FREQ=DAILY", Gap::Horizon),
    ] {
        let (series, _) = apply_all(&[update("PUBLISH", &["UID:1", BERLIN, &format!("RRULE:{rule}")])]);
        assert!(series.event().unwrap().rules[0].starts_with(&rule[..2]));
        let found = occurrences(&series, utc("2026-03-02T00:00:00"), i64::MAX, usize::MAX);
        assert!(found.gaps.contains(&gap), "{rule} {:?}", found.gaps);
        assert_eq!(found.list[0].start.local, "2026-03-02T09:00:00", "{rule}");
    }
}

#[test]
fn a_series_survives_the_store() {
    let counter = Update { method: Method::Counter, by: Some("bob@example.org".to_owned()), ..weekly(0, 3, &[]) };
    let zoned = format!(
        "BEGIN:VCALENDAR\n{OWN_ZONE}BEGIN:VEVENT\nUID:weekly@example.org\nRECURRENCE-ID:20260309T080000Z\n\
        DTSTART;TZID=Unsere Zeit:20260115T090000\nRDATE;VALUE=PERIOD:20260401T100000Z/PT2H\nEND:VEVENT\nEND:VCALENDAR\n"
    );
    let (series, _) = apply_all(&[
        weekly(0, 0, &["EXDATE:20260316T080000Z", "CLASS:PRIVATE", "URL:https://example.org/"]),
        cancel(1, 1, &["RECURRENCE-ID:20260309T080000Z"]),
        reply(0, 2, "bob@example.org", "ACCEPTED"),
        counter,
        one(zoned.as_bytes()),
    ]);
    let bytes = minicbor::to_vec(&series).unwrap();
    assert_eq!(minicbor::decode::<Series>(&bytes).unwrap(), series);
}

#[test]
fn the_record_of_a_series_is_frozen() {
    let request = [
        "UID:1",
        "SEQUENCE:2",
        "DTSTAMP:20260101T000000Z",
        BERLIN,
        "SUMMARY:x",
        "ATTENDEE;PARTSTAT=ACCEPTED:mailto:a@b",
    ];
    let cancel = ["UID:1", "DTSTAMP:20260101T000000Z", "RECURRENCE-ID;VALUE=DATE:20260302"];
    let reply = ["UID:1", "ATTENDEE;PARTSTAT=DECLINED:mailto:a@b"];
    let (series, _) = apply_all(&[update("REQUEST", &request), update("CANCEL", &cancel), update("REPLY", &reply)]);
    assert_eq!(hex::encode(minicbor::to_vec(&series).unwrap()), GOLDEN);
}

const GOLDEN: &str = "83613187f6f4f48282021a6955b900926178f6f6831a69a5438073323032362d30332d30325430393a30303a30306d457572\
    6f70652f4265726c696e831a69a5438073323032362d30332d30325430393a30303a30306d4575726f70652f4265726c696e\
    f4f6f6818963614062f60001f400f6f6f4808080f680f6f6f6f4f681838100636140620280818782f66a323032362d30332d\
    3032f4f4f68282001a6955b90092f6f6f6f6f6f4f6f680808080f680f6f6f6f48080";

/// Any message about one UID, with few enough stamps and instances that they meet.
fn any_update() -> impl Strategy<Value = Update> {
    let methods = prop_oneof![
        4 => Just(Method::Request),
        1 => Just(Method::Publish),
        3 => Just(Method::Cancel),
        1 => Just(Method::Add),
        2 => Just(Method::Reply),
        1 => Just(Method::Counter),
    ];
    let stamp = (0..3_u32, prop::option::weighted(0.9, 0..3_i64));
    let instance = (prop::option::of(0..3_i64), any::<bool>(), any::<bool>());
    (methods, stamp, instance, 0..2_u8, 0..2_u8).prop_map(
        |(method, (sequence, dtstamp), (day, range, in_utc), content, who)| {
            let base = weekly(sequence, 0, &[]);
            // The same moment, written in one of two ways.
            let moment = |day: i64| When {
                utc: Some(utc("2026-03-02T08:00:00") + day * 7 * 86_400),
                local: format!("2026-03-{:02}T{}:00:00", 2 + day * 7, if in_utc { "08" } else { "09" }),
                zone: Some(if in_utc { "UTC" } else { "Europe/Berlin" }.to_owned()),
            };
            let mut event = base.event;
            event.title = Some(format!("title {content}"));
            event.status = (content == 1 && who == 1).then_some(Status::Cancelled);
            event.attendees[0].status = if content == 0 { Participation::Accepted } else { Participation::Declined };
            let by = Some(event.attendees[usize::from(who)].address.clone());
            let recurrence_id = day.map(moment);
            Update {
                method,
                uid: base.uid,
                this_and_future: range && day.is_some(),
                recurrence_id,
                sequence,
                dtstamp,
                by,
                event,
            }
        },
    )
}

proptest! {
    #[test]
    fn messages_in_any_order_and_any_number_of_times_make_the_same_series(
        (updates, shuffled) in prop::collection::vec(any_update(), 1..12)
            .prop_flat_map(|updates| (Just(updates.clone()), Just(updates).prop_shuffle())),
        twice in 0..12_usize,
    ) {
        let (series, _) = apply_all(&updates);
        let mut shuffled = shuffled;
        shuffled.extend(updates.get(twice).cloned());
        let (other, _) = apply_all(&shuffled);
        prop_assert_eq!(&series, &other);
        let window = (0, utc("2030-01-01T00:00:00"), 1000);
        prop_assert_eq!(
            occurrences(&series, window.0, window.1, window.2),
            occurrences(&other, window.0, window.1, window.2)
        );
    }

    #[test]
    fn a_verdict_of_again_means_that_nothing_changed(updates in prop::collection::vec(any_update(), 2..8)) {
        let (series, _) = apply_all(&updates);
        for update in &updates {
            let (after, verdict) = apply(Some(series.clone()), update);
            prop_assert_eq!(after.as_ref(), Some(&series));
            prop_assert!(matches!(verdict, Verdict::Ignored(_) | Verdict::Stale(_)), "{:?}", verdict);
        }
    }

    #[test]
    fn nothing_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read(&bytes, &Limits::default());
    }

    #[test]
    fn no_mixture_of_calendar_words_makes_the_reader_or_the_expansion_panic(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..60),
    ) {
        let text = format!("BEGIN:VEVENT\nUID:1\n{}", words.concat());
        let mut series = None;
        for update in read(text.as_bytes(), &Limits::default()).updates {
            series = apply(series.filter(|known: &Series| known.uid == update.uid), &update).0;
        }
        if let Some(series) = series {
            occurrences(&series, i64::MIN, i64::MAX, 50);
        }
    }
}

const WORDS: &[&str] = &[
    "BEGIN:VCALENDAR\n",
    "END:VCALENDAR\n",
    "BEGIN:VEVENT\n",
    "END:VEVENT\n",
    "BEGIN:VTIMEZONE\n",
    "BEGIN:STANDARD\n",
    "\n",
    "METHOD:REQUEST\n",
    "METHOD:CANCEL\n",
    "UID:1\n",
    "DTSTART",
    "DTEND",
    "RECURRENCE-ID",
    "RDATE",
    "EXDATE",
    "RRULE",
    "DURATION",
    ":",
    ";",
    ",",
    "=",
    "\"",
    "\\",
    " ",
    "TZID=",
    "VALUE=",
    "PERIOD",
    "DATE",
    "DATE-TIME",
    "RANGE=THISANDFUTURE",
    "X",
    "UTC",
    "20260301T090000",
    "99991231T235959Z",
    "00010101",
    "20260230",
    "16010101T000000",
    "FREQ=",
    "DAILY",
    "YEARLY",
    "MONTHLY",
    "WEEKLY",
    ";BYDAY=",
    "-5SU",
    "32767MO",
    ";BYSETPOS=",
    "-1",
    "366",
    ";BYMONTHDAY=",
    "31",
    ";INTERVAL=",
    "65535",
    ";COUNT=",
    ";UNTIL=",
    ";BYWEEKNO=",
    "53",
    ";WKST=TU",
    "P",
    "-P99999999W",
    "PT1H",
    "P1D",
    "/",
    "TZOFFSETTO:+2359",
    "TZOFFSETFROM:-2500",
    "Europe/Berlin",
    "ATTENDEE",
    "PARTSTAT=ACCEPTED",
    "mailto:a@b",
    "SEQUENCE:",
    "4294967296",
    "ENCODING=QUOTED-PRINTABLE",
    "=\n",
    "é",
    "\u{feff}",
    "DTSTAMP:20260301T090000Z\n",
];
