//! Reading and writing by position.

use std::io;
use std::os::fd::OwnedFd;

use crate::convert;
use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;

/// Fills `buffer` with what is at `offset`; gives less only at the end of the file.
pub(crate) fn read_full(file: &OwnedFd, buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file, &mut buffer[filled..], offset) {
            Ok(0) => break,
            Ok(got) => {
                filled += got;
                offset += got as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

/// Writes all of `data` at `offset`.
pub(crate) fn write_at(file: &OwnedFd, mut data: &[u8], mut offset: u64) -> io::Result<()> {
    while !data.is_empty() {
        match rustix::io::pwrite(file, data, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                data = &data[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether two regular files have the same length and data.
pub(super) fn has_same_data(one: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    let (found, wanted) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    let is_file = |mode| FileType::from_raw_mode(mode).is_file();
    if !is_file(found.st_mode) || !is_file(wanted.st_mode) || found.st_size != wanted.st_size {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 256 << 10], vec![0; 256 << 10]);
    let mut position = 0;
    loop {
        let got = read_full(one, &mut left, position)?;
        if got != read_full(other, &mut right, position)? || left[..got] != right[..got] {
            return Ok(false);
        }
        if got == 0 {
            return Ok(true);
        }
        position += got as u64;
    }
}

/// Copies the data of a file to the same places of a new one, and its length.
pub(super) fn copy_data(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let size = u64::try_from(rustix::fs::fstat(from)?.st_size).unwrap_or(0);
    let mut buffer = vec![0; 256 << 10];
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            // A file system that does not tell has no holes.
            Err(Errno::INVAL | Errno::NOTSUP) => position,
            Err(error) => return Err(error.into()),
        };
        let end = match rustix::fs::seek(from, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::INVAL | Errno::NOTSUP) => size,
            Err(error) => return Err(error.into()),
        };
        position = start;
        while position < end {
            let wanted = convert::in_memory(end - position).min(buffer.len());
            let got = match rustix::io::pread(from, &mut buffer[..wanted], position) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => got,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            write_at(to, &buffer[..got], position)?;
            position += got as u64;
        }
    }
    Ok(rustix::fs::ftruncate(to, size)?)
}
