//! Numbers as people read them: sizes, durations, rates and counts.

use std::fmt;
use std::time::Duration;
use xcache_core::convert;

/// A number of bytes: `0 B`, `1023 B`, `1.5 KiB`, `12.3 MiB`, `4.0 GiB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let Self(bytes) = *self;
        if bytes < 1024 {
            return write!(f, "{bytes} B");
        }
        // Tenths of the unit, rounded; integer arithmetic is exact for all of u64.
        let mut shift = 10;
        let tenths = |shift: u32| ((u128::from(bytes) * 10) + (1_u128 << (shift - 1))) >> shift;
        let mut unit = 0;
        while tenths(shift) >= 10_240 && unit + 1 < UNITS.len() {
            shift += 10;
            unit += 1;
        }
        let tenths = tenths(shift);
        write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

/// A duration: `0.0 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`, `3 d 4 h`.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed(pub Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0.as_millis() + 50) / 100;
        if tenths < 600 {
            return write!(f, "{}.{} s", tenths / 10, tenths % 10);
        }
        let seconds = (self.0.as_millis() + 500) / 1000;
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        if hours == 0 {
            write!(f, "{minutes} min {:02} s", seconds % 60)
        } else if hours < 48 {
            write!(f, "{hours} h {:02} min", minutes % 60)
        } else {
            write!(f, "{} d {} h", hours / 24, hours % 24)
        }
    }
}

/// Seconds for programs to read, to the millisecond.
pub fn seconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Bytes in a time: `12.3 MiB/s`. Nothing sensible can be said of less than a millisecond.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How much.
    pub bytes: u64,
    /// In which time.
    pub elapsed: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.elapsed.as_millis().max(1);
        let per_second = u128::from(self.bytes) * 1000 / millis;
        write!(f, "{}/s", Bytes(convert::shown(per_second)))
    }
}

/// A number of things: `1 file`, `3 files`.
#[derive(Clone, Copy, Debug)]
pub struct Count<'a>(pub u64, pub &'a str);

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, thing) = self;
        // `entries`, but `days`.
        let stem = thing.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
        match (number, stem) {
            (1, _) => write!(f, "1 {thing}"),
            (_, Some(stem)) => write!(f, "{number} {stem}ies"),
            (_, None) => write!(f, "{number} {thing}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        let check = |bytes, expected: &str| assert_eq!(Bytes(bytes).to_string(), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1.0 KiB");
        check(1536, "1.5 KiB");
        check((1 << 20) - 1, "1.0 MiB");
        check(12_897_485, "12.3 MiB");
        check(4 << 30, "4.0 GiB");
        check(u64::MAX, "16.0 EiB");
    }

    #[test]
    fn durations_have_two_units() {
        let check = |millis, expected: &str| assert_eq!(Elapsed(Duration::from_millis(millis)).to_string(), expected);
        check(0, "0.0 s");
        check(49, "0.0 s");
        check(50, "0.1 s");
        check(12_345, "12.3 s");
        check(59_960, "1 min 00 s");
        check(245_000, "4 min 05 s");
        check(3_599_600, "1 h 00 min");
        check(7_380_000, "2 h 03 min");
        check(273_600_000, "3 d 4 h");
    }

    #[test]
    fn seconds_are_exact_to_the_millisecond() {
        assert_eq!(seconds(Duration::from_micros(1_234_567)).to_string(), "1.235");
        assert_eq!(seconds(Duration::ZERO).to_string(), "0");
    }

    #[test]
    fn rates_and_counts_read_naturally() {
        let rate = |bytes, millis| Rate { bytes, elapsed: Duration::from_millis(millis) }.to_string();
        assert_eq!(rate(10 << 20, 2000), "5.0 MiB/s");
        assert_eq!(rate(u64::MAX, 0), "16.0 EiB/s");
        assert_eq!(Count(1, "file").to_string(), "1 file");
        assert_eq!(Count(0, "file").to_string(), "0 files");
        assert_eq!(Count(2, "entry").to_string(), "2 entries");
        assert_eq!(Count(3, "day").to_string(), "3 days");
    }
}
