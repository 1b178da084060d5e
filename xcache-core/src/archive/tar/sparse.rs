//! Sparse files as GNU tar has written them over time: old headers of type `S`, and the pax formats 0.0, 0.1 and 1.0.

use super::super::index::Extent;
use super::super::{Error, Result};
use super::BLOCK;
use super::number::{damaged, decimal, number};

/// The most extents of one file: 16 MiB of memory. A disk of a TiB with data in every other MiB has half as many.
const MAX_EXTENTS: usize = 1 << 20;

/// The records `GNU.sparse.…` of a pax header.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    /// What the file is called; its `path` names the process that wrote the archive.
    pub(super) name: Option<Vec<u8>>,
    major: Option<u64>,
    minor: Option<u64>,
    size: Option<u64>,
    /// Of an extent whose length comes in the next record.
    offset: u64,
    extents: Option<Vec<Extent>>,
}

/// Where the map is.
#[derive(Debug)]
pub(super) enum Format {
    /// It is no sparse file.
    None,
    /// Here (0.0 and 0.1).
    InRecords {
        /// Length with holes.
        size: u64,
        /// The map.
        extents: Vec<Extent>,
    },
    /// In the first blocks of the content (1.0).
    InContent {
        /// Length with holes.
        size: u64,
    },
}

impl Records {
    /// Reads a record; `keyword` is without `GNU.sparse.`.
    pub(super) fn read(&mut self, keyword: &[u8], value: &[u8]) -> Result<()> {
        let number = || decimal(value).ok_or_else(|| damaged("a number in a sparse map is wrong"));
        match keyword {
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.major = Some(number()?),
            b"minor" => self.minor = Some(number()?),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"numblocks" => self.extents = Some(Vec::new()),
            b"offset" => self.offset = number()?,
            b"numbytes" => {
                let extent = Extent { offset: self.offset, length: number()? };
                self.extents.get_or_insert_default().push(extent);
            }
            b"map" => self.extents = Some(parse_list(value)?),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn format(&self) -> Result<Format> {
        let size = || self.size.ok_or_else(|| bad("is sparse and has no size"));
        match (self.major.unwrap_or(0), self.minor.unwrap_or(0), &self.extents) {
            (1, 0, _) => Ok(Format::InContent { size: size()? }),
            (0, _, Some(extents)) => Ok(Format::InRecords { size: size()?, extents: extents.clone() }),
            (0, _, None) => Ok(Format::None),
            _ => Err(bad("is sparse in an unknown format")),
        }
    }
}

/// `offset,length,offset,length`
fn parse_list(list: &[u8]) -> Result<Vec<Extent>> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = || damaged("a sparse map is wrong");
    let mut numbers = list.split(|&byte| byte == b',').map(|text| decimal(text).ok_or_else(wrong));
    let mut extents = Vec::new();
    while let Some(offset) = numbers.next() {
        extents.push(Extent { offset: offset?, length: numbers.next().ok_or_else(wrong)?? });
    }
    Ok(extents)
}

/// Reads the map at the start of the content: a count, then offsets and lengths, each a line, the last block filled up.
pub(super) fn read_map(mut block: impl FnMut() -> Result<[u8; BLOCK]>) -> Result<Vec<Extent>> {
    let mut now = block()?;
    let mut at = 0;
    let mut line = || -> Result<u64> {
        let mut digits = [0; 20];
        let mut length = 0;
        loop {
            if at == BLOCK {
                (now, at) = (block()?, 0);
            }
            at += 1;
            match (now[at - 1], digits.get_mut(length)) {
                (b'\n', _) => return decimal(&digits[..length]).ok_or_else(|| bad("has a wrong sparse map")),
                (byte, Some(digit)) => *digit = byte,
                (_, None) => return Err(bad("has a wrong sparse map")),
            }
            length += 1;
        }
    };
    let count = line()?;
    if count > MAX_EXTENTS as u64 {
        return Err(Error::Limit { what: "a sparse map", found: count, limit: MAX_EXTENTS as u64 });
    }
    let mut extents = Vec::new();
    for _ in 0..count {
        extents.push(Extent { offset: line()?, length: line()? });
    }
    Ok(extents)
}

/// The map in headers of type `S`.
#[derive(Debug, Default)]
pub(super) struct OldMap {
    extents: Vec<Extent>,
    has_ended: bool,
}

impl OldMap {
    /// Takes two fields of a header. An empty one ends the map.
    pub(super) fn push(&mut self, offset: &[u8], length: &[u8]) -> Result<()> {
        self.has_ended |= length.first() == Some(&0);
        if self.has_ended {
            return Ok(());
        }
        if self.extents.len() == MAX_EXTENTS {
            let (found, limit) = (MAX_EXTENTS as u64 + 1, MAX_EXTENTS as u64);
            return Err(Error::Limit { what: "a sparse map", found, limit });
        }
        self.extents.push(Extent { offset: number(offset)?, length: number(length)? });
        Ok(())
    }

    /// Takes a block that continues the header. Tells whether another one follows.
    pub(super) fn push_block(&mut self, block: &[u8; BLOCK]) -> Result<bool> {
        let (fields, rest) = block.split_at(21 * 24);
        for field in fields.chunks_exact(24) {
            self.push(&field[..12], &field[12..])?;
        }
        Ok(rest[0] != 0)
    }

    pub(super) fn finish(self) -> Vec<Extent> {
        self.extents
    }
}

/// Whether extents lie one after the other within `size`, and hold as many bytes as are `stored`.
pub(super) fn check(extents: &[Extent], size: u64, stored: u64) -> Result<()> {
    let mut end = 0;
    let mut total = 0;
    for extent in extents {
        if extent.offset < end {
            return Err(bad("has a sparse map that goes backwards"));
        }
        // No overflow: both are at most `i64::MAX`, and the sum of all lengths is at most the last end.
        end = extent.offset + extent.length;
        total += extent.length;
        if end > size {
            return Err(bad("has data beyond its end"));
        }
    }
    if total == stored { Ok(()) } else { Err(bad("has a sparse map that does not fit its data")) }
}

/// An error about a member whose path the caller fills in.
pub(super) fn bad(reason: &'static str) -> Error {
    Error::BadMember { path: Vec::new(), reason }
}
