//! Sizes and durations as people write them: `512KiB`, `25MB`, `50ms`, `30d`. Pure text, no clock.

use std::time::Duration;

/// The text is not a size or a duration, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("`{0}` is not a size: write a number and a unit, for example 512KiB, 25MB or 0")]
    Size(String),
    #[error("`{0}` is not a duration: write a number and a unit, for example 50ms, 2s, 1m, 12h or 30d")]
    Duration(String),
}

/// Units of size. `k` is 1000 and `Ki` 1024 (IEC 80000-13); upper and lower case are the same.
const SIZES: &[(&str, u64)] = &[
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
    ("", 1),
];

const DURATIONS: &[(&str, u64)] =
    &[("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("", 1_000)];

pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    parse(text, SIZES).ok_or_else(|| UnitError::Size(text.to_owned()))
}

/// A bare number means seconds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    parse(text, DURATIONS).map(Duration::from_millis).ok_or_else(|| UnitError::Duration(text.to_owned()))
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let unit = text.get(digits..)?.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(word, _)| *word == unit)?;
    number.checked_mul(*factor)
}

/// The shortest exact form: `25MiB`, `1500B`, `0`.
pub fn format_size(bytes: u64) -> String {
    let binary = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match binary.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((word, unit)) => format!("{}{word}", bytes / unit),
        None if bytes == 0 => "0".to_owned(),
        None => format!("{bytes}B"),
    }
}

/// For people, rounded: `4.5 kB`, `1.2 GB`.
#[allow(clippy::cast_precision_loss)] // two digits are shown
pub fn about(bytes: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let bytes = bytes as f64;
    units
        .iter()
        .find(|(_, unit)| bytes >= *unit)
        .map_or_else(|| format!("{bytes} B"), |(word, unit)| format!("{:.1} {word}", bytes / unit))
}

/// The shortest exact form: `50ms`, `2s`, `30d`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    match units.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((word, unit)) => format!("{}{word}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_decimal_and_binary_units() {
        for (text, bytes) in
            [("0", 0), ("17", 17), ("17B", 17), ("4kb", 4000), ("4KiB", 4096), ("25 MB", 25_000_000), ("1GiB", 1 << 30)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MB", "-1", "1.5MB", "9 parsecs", "99999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_and_a_bare_number_is_seconds() {
        for (text, millis) in
            [("0", 0), ("50ms", 50), ("2s", 2000), ("1m", 60_000), ("3", 3000), ("30d", 2_592_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert!(parse_duration("soon").is_err());
    }

    #[test]
    fn what_is_printed_reads_back() {
        for bytes in [0, 1, 1023, 1024, 25 << 20, (1 << 30) + 1, 3 << 40] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
        for millis in [0, 1, 50, 1000, 90_000, 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
