//! What a file is beside its content: identity, mode, times, owner, extended attributes.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::Stat;

use crate::archive::index::{Metadata, Xattrs, is_kept_xattr};

/// What tells whether a file is still the one that was seen before. Any write changes the ctime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Signature {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Its length.
    pub size: u64,
    /// Last change of its content, in nanoseconds since 1970, as far as that reaches.
    pub mtime_nanos: i64,
    /// Last change of content or attributes, likewise. Nobody can set it.
    pub ctime_nanos: i64,
    /// Half a KiB each; fewer than `size` takes mean holes.
    pub blocks: u64,
}

/// File systems tell times no finer than a tick of the kernel: a file that was changed within the same tick after it
/// was noted has the ctime that was noted. The slowest tick is 10 ms.
const TICK_NANOS: i64 = 20_000_000;
/// Some file systems and protocols know whole seconds only, and every second one at that.
const COARSE_NANOS: i64 = 2_000_000_000;

impl Signature {
    /// From what `fstat` tells.
    pub fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_nanos: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime_nanos: nanos(stat.st_ctime, stat.st_ctime_nsec),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        }
    }

    /// Whether a file that had this signature at `noted_nanos`, by the clock that gives files their ctime, and has it
    /// still, cannot have been written to in between: the "racily clean" rule of `git`.
    pub fn is_settled(&self, noted_nanos: i64) -> bool {
        let tick = if self.ctime_nanos % 1_000_000_000 == 0 { COARSE_NANOS } else { TICK_NANOS };
        self.ctime_nanos.checked_add(tick).is_some_and(|settled| settled <= noted_nanos)
    }

    /// Which file, and which state of it. Blocks are no part of that: they may be given to a file long after it was written.
    pub fn version(&self) -> (u64, u64, u64, i64, i64) {
        let Self { device, inode, size, mtime_nanos, ctime_nanos, blocks: _ } = *self;
        (device, inode, size, mtime_nanos, ctime_nanos)
    }

    /// Whether the file has holes worth keeping.
    pub fn is_sparse(&self) -> bool {
        self.blocks.saturating_mul(512) < self.size
    }
}

fn nanos(seconds: i64, nanos: u64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(nanos).unwrap_or(0))
}

/// Mode, times and owner from what `fstat` tells.
pub fn metadata(stat: &Stat) -> Metadata {
    Metadata {
        mode: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        mtime_seconds: stat.st_mtime,
        mtime_nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        uid: stat.st_uid,
        gid: stat.st_gid,
    }
}

/// The extended attributes of an open file that are kept, sorted by name. None where the file system has none.
pub fn read_xattrs(file: &OwnedFd) -> io::Result<Xattrs> {
    let length = match rustix::fs::flistxattr_query(file) {
        Ok(0) | Err(rustix::io::Errno::NOTSUP) => return Ok(Xattrs::new()),
        Ok(length) => length,
        Err(error) => return Err(error.into()),
    };
    let mut names = vec![0; length + 1024];
    let length = rustix::fs::flistxattr(file, &mut names[..])?;
    let mut xattrs = Xattrs::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| is_kept_xattr(name)) {
        let mut value = vec![0; crate::archive::index::MAX_XATTR_BYTES];
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                xattrs.push((name.into(), value.into()));
            }
            Err(rustix::io::Errno::NODATA) => {} // removed meanwhile
            Err(error) => return Err(error.into()),
        }
    }
    xattrs.sort();
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_settled_when_its_ctime_is_clearly_past() {
        let check = |ctime_nanos: i64, noted_nanos: i64, expected: bool| {
            let signature = Signature { ctime_nanos, ..Signature::default() };
            assert_eq!(signature.is_settled(noted_nanos), expected, "{ctime_nanos} at {noted_nanos}");
        };
        let now = 1_700_000_000_123_456_789;
        check(now, now, false);
        check(now, now + TICK_NANOS - 1, false);
        check(now, now + TICK_NANOS, true);
        // From the future: the clock was set back, or is another one.
        check(now + 1, now, false);
        // Whole seconds may be all that the file system knows.
        let second = 1_700_000_000_000_000_000;
        check(second, second + COARSE_NANOS - 1, false);
        check(second, second + COARSE_NANOS, true);
        // Hostile numbers.
        check(i64::MAX, i64::MAX, false);
        check(i64::MIN, i64::MIN, false);
        check(now, i64::MIN, false);
    }
}
