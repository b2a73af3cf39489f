//! The date of a Date field (RFC 5322 sections 3.3 and 4.3), and what real mail writes in its place: no zone, full
//! month names, month before day, no seconds. One pass over the bytes.

const SECONDS_OF_DAY: i64 = 86_400;

/// Seconds since 1970, UTC. None when a day, a month or a year is missing or there is no such day or time.
pub(super) fn parse(field: &[u8]) -> Option<i64> {
    let mut date = Date::default();
    let mut lexer = Lexer { bytes: field, at: 0, is_past_time: false };
    while let Some(token) = lexer.next_token() {
        match token {
            Token::Time(time) if date.time.is_none() => date.time = Some(time),
            Token::Number { value, digits } => date.number(value, digits),
            Token::Zone(seconds) => date.numeric_zone(seconds),
            Token::Word(word) => date.word(word),
            Token::Time(_) => {}
        }
    }
    date.timestamp()
}

#[derive(Default)]
struct Date {
    day: Option<u32>,
    /// From 1.
    month: Option<u32>,
    year: Option<u32>,
    /// Seconds of the day; beyond it means that there is no such time.
    time: Option<u32>,
    afternoon: Option<bool>,
    /// Seconds east of UTC.
    zone: Option<i64>,
    /// The zone so far is `GMT` or a name of it, which an offset may follow.
    is_gmt: bool,
}

impl Date {
    /// The day comes before the year, unless the year has four digits.
    fn number(&mut self, value: u32, digits: usize) {
        if self.day.is_none() && digits < 4 {
            self.day = Some(value);
        } else if self.year.is_none() {
            self.year = Some(whole_year(value));
        } else if self.day.is_none() {
            self.day = Some(value);
        }
    }

    fn numeric_zone(&mut self, seconds: Option<i64>) {
        if self.zone.is_none() || self.is_gmt {
            // An offset that cannot be read is like an unknown zone: -0000 (section 4.3).
            self.zone = Some(seconds.unwrap_or(0));
            self.is_gmt = false;
        }
    }

    /// Before the time a word is the name of a day or a month, after it that of a zone.
    fn word(&mut self, word: &[u8]) {
        if let Some(month) = month(word).filter(|_| self.time.is_none() || self.month.is_none()) {
            self.month = Some(month);
        } else if self.time.is_some() && self.afternoon.is_none() && word.eq_ignore_ascii_case(b"am") {
            self.afternoon = Some(false);
        } else if self.time.is_some() && self.afternoon.is_none() && word.eq_ignore_ascii_case(b"pm") {
            self.afternoon = Some(true);
        } else if self.time.is_some() && self.zone.is_none() {
            self.is_gmt = [&b"gmt"[..], b"utc", b"ut"].into_iter().any(|name| word.eq_ignore_ascii_case(name));
            self.zone = Some(named_zone(word));
        }
    }

    fn timestamp(&self) -> Option<i64> {
        let days = days_since_1970(self.year?, self.month?, self.day?)?;
        let time = self.time.unwrap_or(0);
        let hour = time / 3600;
        let shift = match self.afternoon {
            Some(true) if (1..12).contains(&hour) => 12 * 3600,
            Some(false) if hour == 12 => -12 * 3600,
            _ => 0,
        };
        // 23:59:60 is a leap second (section 3.3), and for us the first one of the next day.
        let time = (i64::from(time) <= SECONDS_OF_DAY).then_some(i64::from(time) + shift)?;
        Some(days * SECONDS_OF_DAY + time - self.zone.unwrap_or(0))
    }
}

/// Two and three digits, section 4.3. Three are what programs print that count the years since 1900; more than we have
/// had by then are the rest of a longer number.
const fn whole_year(value: u32) -> u32 {
    match value {
        0..=49 => value + 2000,
        50..=149 => value + 1900,
        _ => value,
    }
}

/// Full and shortened names, in English as the standard has it.
fn month(word: &[u8]) -> Option<u32> {
    let [first, second, third, rest @ ..] = word else { return None };
    let (number, tail): (u32, &[u8]) = match [first | 0x20, second | 0x20, third | 0x20] {
        [b'j', b'a', b'n'] => (1, b"uary"),
        [b'f', b'e', b'b'] => (2, b"ruary"),
        [b'm', b'a', b'r'] => (3, b"ch"),
        [b'a', b'p', b'r'] => (4, b"il"),
        [b'm', b'a', b'y'] => (5, b""),
        [b'j', b'u', b'n'] => (6, b"e"),
        [b'j', b'u', b'l'] => (7, b"y"),
        [b'a', b'u', b'g'] => (8, b"ust"),
        [b's', b'e', b'p'] => (9, b"tember"),
        [b'o', b'c', b't'] => (10, b"ober"),
        [b'n', b'o', b'v'] => (11, b"ember"),
        [b'd', b'e', b'c'] => (12, b"ember"),
        _ => return None,
    };
    tail.get(..rest.len())?.eq_ignore_ascii_case(rest).then_some(number)
}

/// Section 4.3 gives North America its hours; every other name, single letters too, counts as -0000.
fn named_zone(word: &[u8]) -> i64 {
    let [zone @ (b'e' | b'E' | b'c' | b'C' | b'm' | b'M' | b'p' | b'P'), kind, b't' | b'T'] = word else { return 0 };
    let hours = match zone.to_ascii_lowercase() {
        b'e' => -5,
        b'c' => -6,
        b'm' => -7,
        _ => -8,
    };
    match kind {
        b's' | b'S' => hours * 3600,
        b'd' | b'D' => (hours + 1) * 3600,
        _ => 0,
    }
}

/// Of the proleptic Gregorian calendar. None when there is no such day, or a year that no mail has.
fn days_since_1970(year: u32, month: u32, day: u32) -> Option<i64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1900..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    // The year begins in March, so that the leap day is its last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some(i64::from(days) - 719_468)
}

enum Token<'f> {
    /// Seconds of the day.
    Time(u32),
    Number {
        value: u32,
        digits: usize,
    },
    /// Seconds east of UTC; None when it cannot be read.
    Zone(Option<i64>),
    Word(&'f [u8]),
}

struct Lexer<'f> {
    bytes: &'f [u8],
    at: usize,
    is_past_time: bool,
}

const NO_SUCH_TIME: u32 = u32::MAX;

impl<'f> Lexer<'f> {
    fn next_token(&mut self) -> Option<Token<'f>> {
        loop {
            match self.peek(0)? {
                b'0'..=b'9' => return Some(self.number_or_time()),
                byte if byte.is_ascii_alphabetic() => return Some(Token::Word(self.run(u8::is_ascii_alphabetic))),
                b'(' => self.skip_comment(),
                b'+' | b'-' if self.begins_zone() => return Some(self.zone()),
                _ => self.at += 1,
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn run(&mut self, belongs: fn(&u8) -> bool) -> &'f [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = rest.iter().take_while(|byte| belongs(byte)).count();
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    fn number_or_time(&mut self) -> Token<'f> {
        let digits = self.run(u8::is_ascii_digit);
        let value = number(digits);
        if self.peek(0) != Some(b':') || !self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) {
            return self.number(value, digits.len());
        }
        self.at += 1;
        self.is_past_time = true;
        let minute = number(self.run(u8::is_ascii_digit));
        let mut second = 0;
        if self.peek(0) == Some(b':') && self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
            second = number(self.run(u8::is_ascii_digit));
            if self.peek(0) == Some(b'.') {
                self.at += 1;
                self.run(u8::is_ascii_digit);
            }
        }
        let is_time = value < 24 && minute < 60 && second <= 60;
        Token::Time(if is_time { value * 3600 + minute * 60 + second } else { NO_SUCH_TIME })
    }

    /// A number that something else is glued to is no number: `200?5` is neither the year 200 nor the day 5.
    fn number(&mut self, value: u32, digits: usize) -> Token<'f> {
        let is_whole = match (self.peek(0), self.peek(1)) {
            (Some(b'.'), next) => !next.is_some_and(|byte| byte.is_ascii_digit()),
            (Some(byte), _) => byte.is_ascii_whitespace() || byte.is_ascii_alphabetic() || b",-/(:;+".contains(&byte),
            (None, _) => true,
        };
        if is_whole {
            return Token::Number { value, digits };
        }
        Token::Word(self.run(|byte| !byte.is_ascii_whitespace()))
    }

    /// A sign begins an offset, unless it joins the parts of a date, as in `15-Feb-95`.
    fn begins_zone(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.bytes.get(at));
        let joins = before.is_some_and(u8::is_ascii_alphanumeric) && !self.is_past_time;
        !joins && self.peek(1).is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-'))
    }

    /// `+0100`, and also `+01:00`, `+01` and `-600`.
    fn zone(&mut self) -> Token<'f> {
        let sign = if self.peek(0) == Some(b'-') { -1 } else { 1 };
        self.at += 1;
        let digits = self.run(u8::is_ascii_digit);
        let value = number(digits);
        let (hours, minutes) = match digits.len() {
            4 | 3 => (value / 100, value % 100),
            2 | 1 if self.peek(0) == Some(b':') => {
                self.at += 1;
                (value, number(self.run(u8::is_ascii_digit)))
            }
            2 => (value, 0),
            _ => {
                // A second sign belongs to this offset, or the rest of it would be taken for one.
                self.run(|byte| matches!(byte, b'+' | b'-' | b'0'..=b'9'));
                return Token::Zone(None);
            }
        };
        let is_offset = hours < 24 && minutes < 60;
        Token::Zone(is_offset.then(|| sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60)))
    }

    /// To the end of the field if it does not end before (section 3.2.2).
    fn skip_comment(&mut self) {
        let mut depth = 0usize;
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'(' => depth += 1,
                b')' if depth == 1 => return,
                b')' => depth -= 1,
                _ => {}
            }
        }
    }
}

/// Saturates: too large for a year is all we need to know.
fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |value: u32, digit| value.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: &str) -> Option<String> {
        parse(field.as_bytes()).map(|seconds| jiff::Timestamp::from_second(seconds).unwrap().to_string())
    }

    fn all_read(fields: &[&str], expected: &str) {
        for field in fields {
            assert_eq!(read(field).as_deref(), Some(expected), "{field}");
        }
    }

    #[test]
    fn a_date_of_the_standard_is_read_in_utc() {
        all_read(
            &[
                " Wed, 15 Feb 1995 09:38:18 +0000\r\n",
                "15 Feb 1995 10:38:18 +0100",
                "Wed, 15 Feb 1995 04:08:18 -0530 (comment (nested) \\) 10:00)",
                "Wed,\r\n 15 (fifteen) Feb 1995\r\n 09:38:18 -0000\r\n",
                "wed, 15 FEB 1995 9:38:18 gmt",
            ],
            "1995-02-15T09:38:18Z",
        );
        assert_eq!(read("Thu, 29 Feb 1996 23:59:60 +0000").as_deref(), Some("1996-03-01T00:00:00Z"));
        assert_eq!(parse(b"Thu, 1 Jan 1970 00:00:00 +0100"), Some(-3600));
    }

    #[test]
    fn obsolete_years_and_zones_are_read() {
        all_read(
            &["15 Feb 95 09:38 GMT", "15 Feb 95 04:38 EST", "15 Feb 095 05:38 EDT", "15 Feb 1995 03:38 CST"],
            "1995-02-15T09:38:00Z",
        );
        all_read(&["7 Jun 92 14:02 CDT", "7 Jun 92 11:02 pst"], "1992-06-07T19:02:00Z");
        all_read(&["5 Feb 05 01:02:03 Z", "5 Feb 105 01:02:03 A", "5 Feb 2005 01:02:03 CEST"], "2005-02-05T01:02:03Z");
        assert_eq!(read("1 Jan 49 00:00:00 UT").as_deref(), Some("2049-01-01T00:00:00Z"));
        assert_eq!(read("1 Jan 50 00:00:00 UT").as_deref(), Some("1950-01-01T00:00:00Z"));
    }

    #[test]
    fn a_date_without_a_zone_is_utc() {
        all_read(
            &[
                "Wed, 15 Feb 1995 09:38:00",
                "15 Feb 1995 09:38 (Wednesday)",
                "Wed Feb 15 09:38:00 1995",
                "Wed, 15 Feb 1995 09:38:00 +-0700",
                "Wed, 15 Feb 1995 09:38:00 +12345",
                "Wed, 15 Feb 1995 09:38:00 +0099",
                "Wed, 15 Feb 1995 09:38:00 Pacific Standard Time",
            ],
            "1995-02-15T09:38:00Z",
        );
        assert_eq!(read("15 Feb 1995").as_deref(), Some("1995-02-15T00:00:00Z"));
    }

    #[test]
    fn dates_as_programs_write_them_are_read() {
        all_read(
            &[
                "Wednesday, 15 February 1995 09:38:18 +0000",
                "Wed, Feb 15 1995 09:38:18 +0000",
                "Wednesday, 15-Feb-95 09:38:18 GMT",
                "Wed Feb 15 04:38:18 EST 1995",
                "Wed Feb 15 1995 10:38:18 GMT+0100 (CET)",
                "Wed, 15 Feb 1995 10:38:18 +01:00",
                "Wed, 15 Feb 1995 10:38:18 +01",
                "Wed, 15 Feb 1995 03:38:18 -600",
                "Wed, 015 Feb 1995 09:38:18.123456 +0000",
                "Wed, 15 Feb 1995 09:38:18+0000",
                "Mar, 15 Feb 1995 09:38:18",
                "1995 Feb 15 09:38:18",
                "Wednesday, February 15, 1995 09:38:18 AM",
            ],
            "1995-02-15T09:38:18Z",
        );
        assert_eq!(read("Mon, 1 Sept 2025 9:05 PM EDT").as_deref(), Some("2025-09-02T01:05:00Z"));
        assert_eq!(read("1 Sep 2025 12:05 AM").as_deref(), Some("2025-09-01T00:05:00Z"));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for field in [
            "",
            "now",
            "Wed, 31 Feb 1995 09:38:18 +0000",
            "Wed, 29 Feb 1995 09:38:18 +0000",
            "Wed, 0 Feb 1995 09:38:18 +0000",
            "Wed, 15 Xyz 1995 09:38:18 +0000",
            "Wed, 15 Feb 1995 24:00:00 +0000",
            "Wed, 15 Feb 1995 23:60:00 +0000",
            "Wed, 15 Feb 19100 09:38:18 +0000",
            "Wed, 15 Feb 1000 09:38:18 +0000",
            "Wed, 15 Feb 99999999999999999999 09:38:18 +0000",
            "15.02.1995 09:38:18",
            "Feb 1995 09:38:18",
            "15 Feb 19?5 09:38:18",
            "15 Feb 199 09:38:18",
            "15] Feb 1995 09:38:18",
            "(15 Feb 1995 09:38:18",
        ] {
            assert_eq!(read(field), None, "{field}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_has_its_number() {
        let mut expected = -25_567;
        for year in 1900..2300 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(days) = days_since_1970(year, month, day) {
                        assert_eq!(days, expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
        assert_eq!(expected, 120_530);
    }

    #[test]
    fn a_hostile_field_takes_linear_time() {
        for piece in ["(", ")", "+", "-1", "1:", "1:2", "a-1", "\\", "15 Feb 1995 "] {
            let _ = parse(piece.repeat(1 << 20).as_bytes());
        }
    }
}
