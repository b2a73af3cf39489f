//! What the runs of one profile come to: medians, the ratio, one JSON object or two lines of a table.
#![allow(clippy::cast_precision_loss)] // rates; exact below 2^53 bytes

use serde::Serialize;

use super::run::Measured;
use crate::generate::Profile;
use crate::model::units;

/// One profile, both sides. `ratio` = engine rate / floor rate, of the medians.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub profile: Profile,
    pub messages: u64,
    pub bytes: u64,
    pub workers: usize,
    pub settle_threads: usize,
    pub group_mails: usize,
    pub group_bytes: u64,
    pub floor: Summary,
    pub engine: Summary,
    pub ratio: f64,
}

/// One side: medians over its runs, and the runs.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub messages_per_s: f64,
    pub messages_per_s_min: f64,
    pub messages_per_s_max: f64,
    pub mb_per_s: f64,
    pub peak_memory: u64,
    /// Counted in a run that is not among `runs`.
    pub fsyncs: u64,
    pub log_syncs: u64,
    pub written_per_byte: f64,
    pub runs: Vec<Measured>,
}

impl Summary {
    /// The first run counted syncs; the others were timed.
    pub fn of(runs: Vec<Measured>) -> Self {
        let mut runs = runs.into_iter();
        let counted = runs.next();
        let runs: Vec<Measured> = runs.collect();
        let count = |figure: fn(&Measured) -> Option<u64>| counted.as_ref().and_then(figure).unwrap_or_default();
        let median_of = |figure: &dyn Fn(&Measured) -> f64| median(runs.iter().map(figure).collect());
        let rates: Vec<f64> = runs.iter().map(rate).collect();
        let (min, max) =
            rates.iter().fold((f64::INFINITY, 0.0_f64), |(min, max), rate| (min.min(*rate), max.max(*rate)));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a number of bytes
        let peak_memory = median_of(&|run| run.peak_memory as f64) as u64;
        Self {
            messages_per_s: round(median(rates), 1),
            messages_per_s_min: round(min, 1),
            messages_per_s_max: round(max, 1),
            mb_per_s: round(median_of(&|run| run.bytes as f64 / run.seconds / 1e6), 1),
            peak_memory,
            fsyncs: count(|run| run.fsyncs),
            log_syncs: count(|run| run.log_syncs),
            written_per_byte: round(median_of(&|run| run.written as f64 / run.bytes as f64), 2),
            runs,
        }
    }
}

pub fn ratio(floor: &Summary, engine: &Summary) -> f64 {
    round(engine.messages_per_s / floor.messages_per_s, 3)
}

fn rate(run: &Measured) -> f64 {
    run.messages as f64 / run.seconds
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.get(middle.wrapping_sub(1))) {
        (Some(high), Some(low)) if values.len().is_multiple_of(2) => f64::midpoint(*low, *high),
        (Some(middle), _) => *middle,
        _ => 0.0,
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

pub const HEADING: &str = "\
profile   mails              mails/s  (min - max)              MB/s    peak memory  fsyncs  written/byte  ratio";

impl Figures {
    /// A line for the floor and one for the engine.
    pub fn lines(&self) -> [String; 2] {
        [self.line("floor", &self.floor, "1"), self.line("engine", &self.engine, &format!("{:.2}", self.ratio))]
    }

    fn line(&self, side: &str, summary: &Summary, ratio: &str) -> String {
        let range = format!("({:.0} - {:.0})", summary.messages_per_s_min, summary.messages_per_s_max);
        // A folder in memory is not written to any disk.
        let written =
            if summary.written_per_byte > 0.0 { format!("{:.2}", summary.written_per_byte) } else { "-".into() };
        format!(
            "{:<8} {:>7}  {side:<6} {:>9.0}  {range:<20} {:>9.1} {:>14} {:>7} {written:>13} {ratio:>6}",
            self.profile,
            self.messages,
            summary.messages_per_s,
            summary.mb_per_s,
            units::about(summary.peak_memory),
            summary.fsyncs,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seconds: f64) -> Measured {
        Measured {
            messages: 100,
            bytes: 1_000_000,
            seconds,
            user_s: 0.0,
            system_s: 0.0,
            peak_memory: 50 << 20,
            written: 2_000_000,
            log_syncs: None,
            fsyncs: None,
        }
    }

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two_middle_ones() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(median(vec![3.0, 1.0, 2.0]), 2.0));
        assert!(close(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5));
        assert!(close(median(vec![7.0]), 7.0));
        assert!(close(median(Vec::new()), 0.0));
    }

    #[test]
    fn the_ratio_is_engine_rate_by_floor_rate() {
        let counted = Measured { log_syncs: Some(3), fsyncs: Some(5), ..run(9.0) };
        let floor = Summary::of(vec![counted.clone(), run(2.0), run(4.0), run(100.0)]);
        let engine = Summary::of(vec![counted, run(2.0), run(2.0), run(2.0)]);
        assert!((ratio(&floor, &engine) - 2.0).abs() < 1e-9);
        assert!((floor.messages_per_s - 25.0).abs() < 1e-9);
        assert!((floor.messages_per_s_min - 1.0).abs() < 1e-9);
        assert!((floor.messages_per_s_max - 50.0).abs() < 1e-9);
        assert!((floor.written_per_byte - 2.0).abs() < 1e-9);
        assert_eq!((floor.log_syncs, floor.fsyncs), (3, 5));
    }
}
