//! Any bytes as a calendar: bounded, never fails, and what becomes of an event does not depend on the order of the messages.

use std::collections::HashMap;

use mailmill::calendar::{Limits, Series, Update, apply, occurrences, read};

/// Expanding rules is another's work; here it must only come to an end.
const WINDOW: i64 = 400 * 86_400;

pub fn check(bytes: &[u8]) {
    let found = read(bytes, &Limits::default());
    assert!(found == read(bytes, &Limits::default()), "the same bytes say the same");
    assert!(found.updates.len() <= 5000 && found.problems.len() <= 51);
    let forwards = fold(found.updates.iter());
    let backwards = fold(found.updates.iter().rev());
    let twice = fold(found.updates.iter().chain(&found.updates));
    // From the middle outwards: neither of the two.
    let (left, right) = found.updates.split_at(found.updates.len() / 2);
    let crosswise = fold(right.iter().chain(left));
    for other in [&backwards, &twice, &crosswise] {
        assert_eq!(&forwards, other, "the order of messages decides");
    }
    for (uid, series) in &forwards {
        assert_eq!(uid, &series.uid);
        let event = series.event();
        let start = event.and_then(|event| event.start.as_ref()).map_or(0, mailmill::calendar::When::seconds);
        let some = occurrences(series, start.saturating_sub(1), start.saturating_add(WINDOW), 100);
        assert!(some.list.len() <= 100);
    }
}

fn fold<'u>(updates: impl Iterator<Item = &'u Update>) -> HashMap<String, Series> {
    let mut all = HashMap::new();
    for update in updates {
        let (series, _) = apply(all.remove(&update.uid), update);
        if let Some(series) = series {
            all.insert(update.uid.clone(), series);
        }
    }
    all
}
