//! How long and how often: every bound on waiting for a store, in one table. `docs/protocols.md` has the same numbers, which a
//! test here compares.

use std::time::Duration;

/// A TCP and TLS handshake takes at most a few round trips; beyond this the host is not there.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// For one try of a request without a body. A store that is there answers in well under a second, a slow one lists in a few.
pub(crate) const TRY: Duration = Duration::from_secs(10);

/// For all tries of such a request: three of a store that accepts and stays silent. A job does not wait longer for a cache.
pub(crate) const OPERATION: Duration = Duration::from_secs(30);

/// Tries of a request that fails. With full jitter four take about four seconds when nothing is there, and outlast a short
/// throttling.
pub(crate) const TRIES: u32 = 4;

/// The longest wait between them.
pub(crate) const BACKOFF: Duration = Duration::from_secs(3);

/// How long the body of a request may stand still. Longer than a retransmission or a store's hiccup, shorter than the
/// patience of a job.
pub(crate) const SEND_STALL: Duration = Duration::from_secs(30);

/// A request that has sent less than [`SEND_FLOOR_BYTES`] in this time is given up as well: a peer that takes a little now
/// and then never stalls.
pub(crate) const SEND_FLOOR: Duration = Duration::from_secs(30);

/// See [`SEND_FLOOR`]. Eight requests at a time keep above it on a line of 300 kbit/s, and a part of 8 MiB is through or
/// given up within half an hour.
pub(crate) const SEND_FLOOR_BYTES: u64 = 128 << 10;

/// How often a request whose body stalled is sent.
pub(crate) const SEND_TRIES: u32 = 3;

/// Deleting a thousand objects takes some stores many seconds, and there is nothing to see meanwhile.
pub(crate) const DELETE: Duration = Duration::from_secs(120);

/// Putting 10,000 parts together takes S3 minutes at worst; it sends spaces meanwhile.
pub(crate) const COMPLETE: Duration = Duration::from_secs(300);

/// How often the store is asked meanwhile whether the object is there.
pub(crate) const COMPLETE_LOOK: Duration = Duration::from_secs(30);

/// How long a store that is down is waited for. One that is up again answers within this.
pub(crate) const DOWN: Duration = Duration::from_secs(3);

/// How long a body that is received may bring nothing, before it is resumed.
pub(crate) const RECEIVE_STALL: Duration = Duration::from_secs(20);

/// Tries of one download, resumed ones included.
pub(crate) const RECEIVE_TRIES: u32 = 5;

/// A body that brings fewer than [`FLOOR_BYTES`] in this time is resumed as well: one byte a second never stalls.
pub(crate) const FLOOR: Duration = Duration::from_secs(30);

/// See [`FLOOR`].
pub(crate) const FLOOR_BYTES: u64 = 16 << 10;

/// When a download that has brought fewer than [`FLOOR_BYTES`] gets a second request beside it.
pub(crate) const LAG: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_have_the_same_numbers() {
        let docs = include_str!("../../../docs/protocols.md");
        let s = |duration: Duration| format!("{} s", duration.as_secs());
        let number = |number: u32| ["zero", "one", "two", "three", "four", "five"][number as usize];
        let row = |request: &str, bound: String| format!("| {request} | {bound}");
        let floor_kib = FLOOR_BYTES >> 10;
        for expected in [
            row("connecting", format!("{} |", s(CONNECT))),
            format!("DeleteObject | {} a try, {} with all tries |", s(TRY), s(OPERATION)),
            row(
                "body of a GET",
                format!(
                    "{} without a byte, or {} for {floor_kib} KiB, then it resumes at the last good byte; {} tries |",
                    s(RECEIVE_STALL),
                    s(FLOOR),
                    number(RECEIVE_TRIES)
                ),
            ),
            row(
                "PutObject, UploadPart",
                format!(
                    "{} without progress, or {} for less than {} KiB, {} times |",
                    s(SEND_STALL),
                    s(SEND_FLOOR),
                    SEND_FLOOR_BYTES >> 10,
                    number(SEND_TRIES)
                ),
            ),
            row("CompleteMultipartUpload", format!("{}: ", s(COMPLETE))),
            format!("Every {} the store is asked whether our archive is there |", s(COMPLETE_LOOK)),
            row("DeleteObjects", format!("{} |", s(DELETE))),
            format!("{} tries at most, with waits of at most {}", number(TRIES), s(BACKOFF)),
            format!("a request then waits {} and is sent once", s(DOWN)),
            format!("fewer than {floor_kib} KiB in its first {} gets a second request", s(LAG)),
        ] {
            let flat = docs.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(&expected), "docs/protocols.md lacks `{expected}`");
        }
    }
}
