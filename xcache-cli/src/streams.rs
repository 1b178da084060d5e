//! Standard output, also where it was closed.
//!
//! Rust's start-up opens `/dev/null` in the place of a standard stream that is closed, and what is written there is lost
//! without a word. It opens it for reading and writing, and a redirection (`>/dev/null`) for writing only, so the two can be
//! told apart, but for programs that start ours with such a descriptor on purpose: Python's `DEVNULL`, node's `ignore`.
//! Therefore only documents and listings, which are of no use unread, count as lost; the log of what was deleted does not.

use std::io::{self, Write};

use rustix::fs::{FileType, OFlags};

/// Where data goes that was asked for to be read.
pub(crate) fn data() -> Box<dyn Write + Send> {
    if is_closed() { Box::new(Closed) } else { Box::new(io::stdout()) }
}

/// Whether standard output was closed when the program was started.
pub(crate) fn is_closed() -> bool {
    let stdout = io::stdout();
    let is_open_both_ways = rustix::fs::fcntl_getfl(&stdout).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDWR);
    is_open_both_ways
        && rustix::fs::fstat(&stdout).is_ok_and(|found| {
            let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
            is_device
                && std::fs::metadata("/dev/null").is_ok_and(|null| {
                    use std::os::unix::fs::MetadataExt as _;
                    null.rdev() == found.st_rdev
                })
        })
}

/// Whether a log on standard output has a reader.
pub(crate) fn is_read() -> bool {
    !is_closed()
}

/// A stream that is closed.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(rustix::io::Errno::BADF.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
