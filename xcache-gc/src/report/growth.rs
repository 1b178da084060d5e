//! What a store holds, by the time it was written.

use chrono::{DateTime, TimeDelta, Utc};
use xcache_cli::output::v1::{Growth, Time};
use xcache_core::gc::inventory::{EntryId, Inventory};
use xcache_core::object::Kind;

/// The most periods of a chart: each is a few pixels wide on a telephone.
const MAX_PERIODS: i64 = 60;
/// Lengths of periods that people think in.
const PERIODS: [TimeDelta; 8] = [
    TimeDelta::minutes(1),
    TimeDelta::minutes(10),
    TimeDelta::hours(1),
    TimeDelta::hours(6),
    TimeDelta::days(1),
    TimeDelta::days(7),
    TimeDelta::days(28),
    TimeDelta::days(364),
];

/// Sums of the entries `ids` at the end of each period, from the oldest entry to `now`.
pub(super) fn growth(inventory: &Inventory, ids: &[EntryId], now: DateTime<Utc>) -> Vec<Growth> {
    let mut ids = ids.to_vec();
    ids.sort_by_key(|&id| inventory.modified_millis(id));
    let (Some(&oldest), Some(&newest)) = (ids.first(), ids.last()) else { return Vec::new() };
    let mut rows = Vec::new();
    let mut sum = (0, 0, 0, 0);
    let mut rest = ids.into_iter().peekable();
    for until in periods(inventory.modified(oldest), now.max(inventory.modified(newest))) {
        while let Some(id) = rest.next_if(|&id| inventory.modified(id) <= until) {
            sum.0 += 1;
            match inventory.kind(id) {
                Kind::Base => sum.1 += inventory.size(id),
                Kind::Delta => sum.2 += inventory.size(id),
            }
            sum.3 += inventory.facts(id).map_or(0, |facts| facts.content_bytes);
        }
        let (entries, base_bytes, delta_bytes, content_bytes) = sum;
        rows.push(Growth { until: Time(until), entries, base_bytes, delta_bytes, content_bytes });
    }
    rows
}

/// The ends of at most [`MAX_PERIODS`] equal periods; the last is `end`, and all moments since `start` are in one.
fn periods(start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let span = end - start;
    let fits = |period: &&TimeDelta| span.num_milliseconds() / period.num_milliseconds() < MAX_PERIODS;
    let period = PERIODS.iter().find(fits).copied().unwrap_or(span);
    let count = span.num_milliseconds() / period.num_milliseconds().max(1);
    (0..=count.min(MAX_PERIODS - 1)).rev().filter_map(|n| Some(end - period * i32::try_from(n).ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(span: TimeDelta, count: usize, period: TimeDelta) {
        let end = DateTime::from_timestamp_nanos(1_795_843_800_000_000_000);
        let ends = periods(end - span, end);
        assert_eq!((ends.len(), ends.last()), (count, Some(&end)), "{span}");
        assert!(end - span + period >= ends[0] && ends.is_sorted(), "{span}: {ends:?}");
        assert!(ends.windows(2).all(|pair| pair[1] - pair[0] == period), "{span}: {ends:?}");
    }

    #[test]
    fn periods_are_those_that_people_think_in() {
        check(TimeDelta::zero(), 1, TimeDelta::minutes(1));
        check(TimeDelta::seconds(59), 1, TimeDelta::minutes(1));
        check(TimeDelta::minutes(59), 60, TimeDelta::minutes(1));
        check(TimeDelta::hours(10), 11, TimeDelta::hours(1));
        check(TimeDelta::days(59), 60, TimeDelta::days(1));
        check(TimeDelta::days(60), 9, TimeDelta::days(7));
        check(TimeDelta::days(364 * 20), 21, TimeDelta::days(364));
    }
}
