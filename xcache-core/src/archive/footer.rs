//! The end of an archive: the footer frame (ids, refs, where the index lies), and the standard seek table after it.
//!
//! Everything is found from the last byte backwards, so the tail of an object is enough.

use serde::{Deserialize, Serialize};

use super::frame::{skippable, skippable_magic, skippable_payload};
use super::limits::{MAX_FRAMES, MAX_STORED_INDEX_BYTES};
use super::{Error, Result, at_most};
use crate::convert;
use crate::object::{ArchiveId, Kind, Ref};

/// The archive format that this version writes, and the newest that it reads.
pub const FORMAT: u16 = 2;
/// In this format the checksum of the footer covers its body only. In later ones it covers length and format too, so
/// that no damage makes an archive look like one of another version.
const BODY_ONLY_FORMAT: u16 = 1;
/// The skippable frame of the index.
pub const INDEX_FRAME: u8 = 0xD;
/// The skippable frame of the footer.
pub const FOOTER_FRAME: u8 = 0xC;
/// The skippable frame of the seek table, as the seekable zstd format has it.
const SEEK_TABLE_FRAME: u8 = 0xE;
/// The last bytes of a seekable archive.
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// The first and the last bytes of our footer; twice, so that no single damage makes the archive pass for one that never
/// had an index.
pub const FOOTER_MAGIC: [u8; 8] = *b"XCACHE\x1a\n";
/// Length of the seek table's own footer.
const SEEK_TABLE_FOOTER_BYTES: usize = 9;
/// Hash, length, format and magic behind the footer's body.
const TRAILER_BYTES: usize = 32 + 4 + 2 + 8;
/// The most refs of a delta; the plan keeps it at 32.
pub const MAX_REFS: usize = 256;
/// The longest body of a footer: 256 refs with names of 1,024 bytes are 300 KiB, the rest is room for long ETags.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// What the footer tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// Which archive this is.
    pub archive_id: ArchiveId,
    /// Complete or not.
    pub kind: Kind,
    /// The key it was saved under.
    pub key: String,
    /// When it was written, in nanoseconds since 1970 by the writer's clock.
    pub created_nanos: i64,
    /// The objects that its index points into besides its own.
    pub refs: Vec<Ref>,
    /// Number of members.
    pub members: u64,
    /// Bytes of all files, without holes.
    pub content_bytes: u64,
    /// Where the index frame begins: the length of all data frames.
    pub index_offset: u64,
    /// Length of the index as stored, without the head of its frame.
    pub index_bytes: u64,
    /// Its length decompressed.
    pub index_raw_bytes: u64,
    /// BLAKE3 of the index as stored.
    pub index_hash: [u8; 32],
}

impl Footer {
    /// Where the index frame lies in the object.
    pub fn index_range(&self) -> std::ops::Range<u64> {
        self.index_offset..self.index_offset.saturating_add(8).saturating_add(self.index_bytes)
    }

    /// The index as stored, cut out of `tail`, the bytes of the object from `tail_offset` on, if it is in there.
    pub fn stored_index<'a>(&self, tail: &'a [u8], tail_offset: u64) -> Option<&'a [u8]> {
        let range = self.index_range();
        let place = |at: u64| usize::try_from(at.checked_sub(tail_offset)?).ok();
        tail.get(place(range.start)?..place(range.end)?)?.get(8..)
    }
}

/// A frame as the seek table lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seek {
    /// Length in the object.
    pub stored_bytes: u32,
    /// Length decompressed; 0 for skippable frames.
    pub raw_bytes: u32,
}

/// Everything that comes after the index frame: footer frame and seek table. `frames` lists the data frames and the
/// index frame.
pub fn encode_end(footer: &Footer, frames: &[Seek]) -> std::io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(footer).map_err(std::io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
    let mut payload = FOOTER_MAGIC.to_vec();
    payload.extend_from_slice(&body);
    payload.extend_from_slice(&checksum(FORMAT, &body, length));
    payload.extend_from_slice(&length.to_le_bytes());
    payload.extend_from_slice(&FORMAT.to_le_bytes());
    payload.extend_from_slice(&FOOTER_MAGIC);
    let mut end = skippable(FOOTER_FRAME, &payload);

    let own = Seek { stored_bytes: u32::try_from(end.len()).map_err(std::io::Error::other)?, raw_bytes: 0 };
    end.extend_from_slice(&encode_seek_table(&[frames, &[own]].concat())?);
    Ok(end)
}

/// The seek table of all frames before it.
pub fn encode_seek_table(frames: &[Seek]) -> std::io::Result<Vec<u8>> {
    let count = u32::try_from(frames.len()).ok().filter(|&n| n <= MAX_FRAMES);
    let count = count.ok_or_else(|| std::io::Error::other("the archive has too many frames"))?;
    let mut table = Vec::with_capacity(8 * count as usize + SEEK_TABLE_FOOTER_BYTES);
    for frame in frames {
        table.extend_from_slice(&frame.stored_bytes.to_le_bytes());
        table.extend_from_slice(&frame.raw_bytes.to_le_bytes());
    }
    table.extend_from_slice(&count.to_le_bytes());
    table.push(0); // descriptor: no checksums, the frames have their own
    table.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    Ok(skippable(SEEK_TABLE_FRAME, &table))
}

/// What the end of an object looks like.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// An archive of ours; the footer ends at this distance from the object's end.
    Ours {
        /// What it tells.
        footer: Box<Footer>,
        /// Length of footer frame and seek table together.
        end_bytes: u64,
    },
    /// More bytes of the tail are needed: so many in all.
    NeedsMore(u64),
    /// Not written by xcache: an archive without an index, or no archive at all.
    Plain,
}

/// What stands first in the footer of every format, so that a clean-up of any version knows what an entry of a later
/// one is and needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Head {
    /// Which archive it is.
    pub archive_id: ArchiveId,
    /// Complete or not.
    pub kind: Kind,
    /// The key it was saved under.
    pub key: String,
    /// When it was written, in nanoseconds since 1970 by the writer's clock.
    pub created_nanos: i64,
    /// The objects that it builds on.
    pub refs: Vec<Ref>,
}

/// Reads the end of an object of `object_bytes` from its last bytes.
pub fn decode_end(tail: &[u8], object_bytes: u64) -> Result<End> {
    let FooterFrame { format, body, end_bytes } = match find(tail, object_bytes)? {
        FooterSearch::Frame(frame) => frame,
        FooterSearch::NeedsMore(bytes) => return Ok(End::NeedsMore(bytes)),
        FooterSearch::Plain => return Ok(End::Plain),
    };
    if format > FORMAT {
        return Err(Error::NewerFormat { found: format });
    }
    let footer: Footer = postcard::from_bytes(body).map_err(|e| Error::damaged("footer", e.to_string()))?;
    if footer.index_range().end.checked_add(end_bytes) != Some(object_bytes) {
        return Err(Error::damaged("footer", "the index does not lie where it should"));
    }
    at_most("the length of the index", footer.index_bytes, MAX_STORED_INDEX_BYTES)?;
    at_most("the number of refs", footer.refs.len() as u64, MAX_REFS as u64)?;
    Ok(End::Ours { footer: Box::new(footer), end_bytes })
}

/// What an archive of a newer format is and needs, where [`decode_end`] gives [`Error::NewerFormat`]. `None` if its
/// footer does not begin as all of them do.
pub fn decode_newer(tail: &[u8], object_bytes: u64) -> Option<Head> {
    let Ok(FooterSearch::Frame(frame)) = find(tail, object_bytes) else { return None };
    let (head, _) = postcard::take_from_bytes::<Head>(frame.body).ok()?;
    (head.refs.len() <= MAX_REFS).then_some(head)
}

/// The footer frame, as it is in every format.
struct FooterFrame<'a> {
    format: u16,
    /// Has the right checksum.
    body: &'a [u8],
    /// Length of footer frame and seek table together.
    end_bytes: u64,
}

enum FooterSearch<'a> {
    Frame(FooterFrame<'a>),
    NeedsMore(u64),
    Plain,
}

/// Finds the footer frame before the seek table.
fn find(tail: &[u8], object_bytes: u64) -> Result<FooterSearch<'_>> {
    let plain = || match ends_in_footer(tail) {
        true => Err(Error::damaged("seek table", "the archive does not end where it should")),
        false => Ok(FooterSearch::Plain),
    };
    let Some((_, last)) = tail.split_last_chunk::<SEEK_TABLE_FOOTER_BYTES>() else { return plain() };
    let [n0, n1, n2, n3, descriptor, m0, m1, m2, m3] = *last;
    if u32::from_le_bytes([m0, m1, m2, m3]) != SEEKABLE_MAGIC {
        return plain();
    }
    let count = u32::from_le_bytes([n0, n1, n2, n3]);
    let entry_bytes = if descriptor & 0x80 == 0 { 8 } else { 12 };
    let table_bytes = 8 + u64::from(count) * entry_bytes + SEEK_TABLE_FOOTER_BYTES as u64;
    if table_bytes > object_bytes {
        return Err(Error::damaged("seek table", "longer than the object"));
    }
    // From here on what is asked for is bounded, whatever the object says.
    at_most("the number of frames in the seek table", count.into(), MAX_FRAMES.into())?;
    // Room for the footer as well, so that one more request is enough: 32 refs of the longest names are 36 KiB.
    let wanted = (table_bytes + (64 << 10)).min(object_bytes);
    let Some(before_table) = tail.len().checked_sub(convert::in_memory(table_bytes)) else {
        return Ok(FooterSearch::NeedsMore(wanted));
    };
    let (rest, table) = tail.split_at(before_table);
    if !table.starts_with(&skippable_magic(SEEK_TABLE_FRAME).to_le_bytes()) {
        return match rest.ends_with(&FOOTER_MAGIC) {
            true => Err(Error::damaged("seek table", "its frame does not begin where it should")),
            false => plain(),
        };
    }
    let Some((before, trailer)) = rest.split_last_chunk::<TRAILER_BYTES>() else {
        return if (tail.len() as u64) < object_bytes { Ok(FooterSearch::NeedsMore(wanted)) } else { plain() };
    };
    let (hash, numbers) = trailer.split_at(32);
    let (numbers, magic) = numbers.split_at(6);
    if magic != FOOTER_MAGIC {
        return plain();
    }
    let format = u16::from_le_bytes([numbers[4], numbers[5]]);
    let length = u32::from_le_bytes([numbers[0], numbers[1], numbers[2], numbers[3]]);
    let body_bytes = length as usize;
    let head_bytes = 8 + FOOTER_MAGIC.len();
    let frame_bytes = (head_bytes + body_bytes + TRAILER_BYTES) as u64;
    let end_bytes = table_bytes + frame_bytes;
    if end_bytes > object_bytes {
        return Err(Error::damaged("footer", "longer than the object"));
    }
    at_most("the length of the footer", body_bytes as u64, MAX_BODY_BYTES)?;
    let Some(start) = before.len().checked_sub(body_bytes + head_bytes) else {
        return Ok(FooterSearch::NeedsMore(end_bytes));
    };
    let payload = skippable_payload(FOOTER_FRAME, &rest[start..], "footer")?;
    let body = &payload[FOOTER_MAGIC.len()..FOOTER_MAGIC.len() + body_bytes];
    if checksum(format, body, length) != *hash {
        return Err(Error::damaged("footer", "its checksum is wrong"));
    }
    Ok(FooterSearch::Frame(FooterFrame { format, body, end_bytes }))
}

/// Whether the last frames of `tail` are our footer and what is left of a seek table: an archive of ours that lost its end
/// must not pass for one that never had an index. Our magic anywhere else means nothing: an archive of others may hold one
/// of ours, or this program.
fn ends_in_footer(tail: &[u8]) -> bool {
    let head = skippable_magic(FOOTER_FRAME).to_le_bytes();
    let places = tail.windows(8 + FOOTER_MAGIC.len()).enumerate();
    let footers = places.filter(|(_, window)| window.starts_with(&head) && window.ends_with(&FOOTER_MAGIC));
    let mut ends = footers.map(|(at, _)| after_frame(tail, at));
    // The footer itself is cut, or the seek table follows it to the end.
    ends.any(|end| end.is_none_or(|end| follows_to_the_end(&tail[end..])))
}

/// Where the skippable frame that begins at `at` ends; none if that is the end of `tail` or beyond.
fn after_frame(tail: &[u8], at: usize) -> Option<usize> {
    let (length, _) = tail.get(at + 4..)?.split_first_chunk::<4>()?;
    let end = (at + 8).checked_add(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    (end < tail.len()).then_some(end)
}

/// Whether `rest` is one seek table, or the beginning of one.
fn follows_to_the_end(rest: &[u8]) -> bool {
    let head = skippable_magic(SEEK_TABLE_FRAME).to_le_bytes();
    let shown = head.len().min(rest.len());
    rest[..shown] == head[..shown] && after_frame(rest, 0).is_none()
}

fn checksum(format: u16, body: &[u8], length: u32) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(body);
    if format != BODY_ONLY_FORMAT {
        hasher.update(&length.to_le_bytes()).update(&format.to_le_bytes());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectName;

    fn footer() -> Footer {
        let r = Ref {
            name: ObjectName::new("old-base.tar.zst").unwrap(),
            etag: "e".into(),
            size: 9,
            data_bytes: 3,
            archive_id: ArchiveId([1; 16]),
            created_nanos: 0,
        };
        Footer {
            archive_id: ArchiveId([2; 16]),
            kind: Kind::Delta,
            key: "key".into(),
            created_nanos: 5,
            refs: vec![r],
            members: 0,
            content_bytes: 0,
            index_offset: 0,
            index_bytes: 0,
            index_raw_bytes: 0,
            index_hash: [0; 32],
        }
    }

    fn object(footer: &Footer) -> Vec<u8> {
        let index = skippable(INDEX_FRAME, &[]);
        let seek = Seek { stored_bytes: u32::try_from(index.len()).unwrap(), raw_bytes: 0 };
        [index, encode_end(footer, &[seek]).unwrap()].concat()
    }

    /// The object as a version with another format would have written it.
    fn of_format(mut object: Vec<u8>, format: u16) -> Vec<u8> {
        let magic = object.windows(8).rposition(|window| window == FOOTER_MAGIC).unwrap();
        let length = u32::from_le_bytes(object[magic - 6..magic - 2].try_into().unwrap());
        let hash = magic - 38;
        let checksum = checksum(format, &object[hash - length as usize..hash], length);
        object[hash..magic - 6].copy_from_slice(&checksum);
        object[magic - 2..magic].copy_from_slice(&format.to_le_bytes());
        object
    }

    #[test]
    fn every_byte_of_the_trailer_is_covered() {
        let object = object(&footer());
        let bytes = object.len() as u64;
        assert!(matches!(decode_end(&object, bytes), Ok(End::Ours { .. })));
        let magic = object.windows(8).rposition(|window| window == FOOTER_MAGIC).unwrap();
        for at in magic - 38..magic {
            for bit in 0..8 {
                let mut flipped = object.clone();
                flipped[at] ^= 1 << bit;
                let end = decode_end(&flipped, bytes);
                assert!(!matches!(end, Ok(End::Ours { .. }) | Err(Error::NewerFormat { .. })), "{at} {bit}: {end:?}");
                assert_eq!(decode_newer(&flipped, bytes), None, "{at} {bit}");
            }
        }
    }

    #[test]
    fn an_archive_that_lost_its_end_is_damaged_and_not_one_without_an_index() {
        let object = object(&footer());
        let footer_start = 8;
        for end in footer_start + 16..object.len() {
            let cut = &object[..end];
            assert!(decode_end(cut, cut.len() as u64).is_err(), "{end} of {}", object.len());
        }
        // Any damage of the seek table's frame and footer.
        let table = object.len() - (8 + 2 * 8 + SEEK_TABLE_FOOTER_BYTES);
        for at in (table..table + 4).chain(object.len() - 4..object.len()) {
            let mut flipped = object.clone();
            flipped[at] ^= 1;
            assert!(decode_end(&flipped, flipped.len() as u64).is_err(), "{at}");
        }
    }

    #[test]
    fn our_magic_inside_an_archive_of_others_means_nothing() {
        let ours = object(&footer());
        for foreign in [
            [&FOOTER_MAGIC[..], b"and more"].concat(),
            [b"before", &FOOTER_MAGIC[..]].concat(),
            // An archive of ours as a member, stored as it is: what ends a tar follows.
            [&ours[..], &[0; 1024]].concat(),
            [&ours[..], &[0; 3]].concat(),
            // The same in a seekable archive of others.
            [&ours[..], &[0; 1024], &skippable(SEEK_TABLE_FRAME, &[0, 0, 0, 0, 0, 0xB1, 0xEA, 0x92, 0x8F])].concat(),
            skippable(FOOTER_FRAME, b"not ours at all"),
        ] {
            let end = decode_end(&foreign, foreign.len() as u64);
            assert!(matches!(end, Ok(End::Plain)), "{end:?}");
        }
    }

    #[test]
    fn the_first_format_is_still_read() {
        let object = of_format(object(&footer()), 1);
        let Ok(End::Ours { footer: read, .. }) = decode_end(&object, object.len() as u64) else { panic!("not read") };
        assert_eq!(*read, footer());
    }

    #[test]
    fn what_a_newer_archive_builds_on_is_known() {
        let object = of_format(object(&footer()), FORMAT + 1);
        let bytes = object.len() as u64;
        assert!(matches!(decode_end(&object, bytes), Err(Error::NewerFormat { found }) if found == FORMAT + 1));
        let head = decode_newer(&object, bytes).unwrap();
        assert_eq!((head.key.as_str(), head.refs), ("key", footer().refs));
    }
}
