//! Sizes and times in tables: people read units and ages, programs bytes and times.

use chrono::{DateTime, SecondsFormat, Utc};
use xcache_cli::report::human::Bytes;
use xcache_cli::report::table::Cell;

use crate::reason::age;

/// A number of bytes.
pub(crate) fn size(bytes: u64) -> Cell {
    Cell::new(Bytes(bytes), bytes)
}

/// A time, for people as long ago.
pub(crate) fn ago(time: DateTime<Utc>, now: DateTime<Utc>) -> Cell {
    Cell::new(format!("{} ago", age(now - time)), exact(time))
}

/// A time.
pub(crate) fn at(time: DateTime<Utc>) -> Cell {
    Cell::new(time.format("%Y-%m-%d %H:%M"), exact(time))
}

fn exact(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
