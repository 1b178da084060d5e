//! Writing the headers of members: ustar, with a pax header before it for what ustar cannot hold (POSIX.1-2024 `pax`).
//!
//! Read back by GNU tar and bsdtar; sparse files are in the pax format 1.0 of GNU tar.

use super::super::index::{Extent, Metadata, Xattr};
use super::{BLOCK, pad};

/// What a header is for.
#[derive(Clone, Copy, Debug)]
pub enum TarEntry<'a> {
    /// A directory.
    Directory,
    /// A regular file; its content follows the header, then [`pad`].
    File {
        /// Length of the content.
        size: u64,
    },
    /// A file with holes; its data follows the header without the holes, then [`pad`].
    Sparse {
        /// Length with holes.
        size: u64,
        /// Where data lies.
        extents: &'a [Extent],
    },
    /// A symbolic link to this target.
    Symlink(&'a [u8]),
    /// Another name of the member of this name.
    HardLink(&'a [u8]),
}

/// Appends the header blocks of a member called `name` in the archive (`./a/b`; no trailing slash).
pub fn append(out: &mut Vec<u8>, name: &[u8], meta: &Metadata, xattrs: &[Xattr], entry: TarEntry<'_>) {
    let mut header = tar::Header::new_ustar();
    // The order of the records is part of what makes two saves of one tree equal, byte by byte.
    let mut pax = PaxHeader::default();
    let map = match entry {
        TarEntry::Sparse { size, extents } => sparse_map(size, extents),
        _ => Vec::new(),
    };
    let (kind, size, link) = match entry {
        TarEntry::Directory => (tar::EntryType::Directory, 0, None),
        TarEntry::File { size } => (tar::EntryType::Regular, size, None),
        TarEntry::Sparse { size, extents } => {
            pax.number("GNU.sparse.major", 1);
            pax.number("GNU.sparse.minor", 0);
            pax.path("GNU.sparse.name", name);
            pax.number("GNU.sparse.realsize", size);
            let data: u64 = extents.iter().map(|extent| extent.length).sum();
            (tar::EntryType::Regular, map.len() as u64 + data, None)
        }
        TarEntry::Symlink(target) => (tar::EntryType::Symlink, 0, Some(target)),
        TarEntry::HardLink(first) => (tar::EntryType::Link, 0, Some(first)),
    };
    header.set_entry_type(kind);
    header.set_mode(meta.mode.into());
    let full_name = full_name(name, &entry);
    if !set_name(&mut header, &full_name) {
        pax.path("path", &full_name);
    }
    if let Some(link) = link
        && !set_field(&mut header.as_old_mut().linkname, link)
    {
        pax.path("linkpath", link);
    }
    set_numbers(&mut header, &mut pax, size, meta);
    for (name, value) in xattrs {
        pax.record_bytes(&xattr_keyword(name), value);
    }
    pax.append(out);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&map);
}

/// The name in the header.
fn full_name(name: &[u8], entry: &TarEntry<'_>) -> Vec<u8> {
    let mut full_name = name.to_vec();
    match entry {
        TarEntry::Directory => full_name.push(b'/'),
        TarEntry::Sparse { .. } => {
            // What a reader that does not know the format shows instead of passing the map off as content.
            let slash = full_name.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
            full_name.splice(slash..slash, *b"GNUSparseFile.0/");
        }
        TarEntry::File { .. } | TarEntry::Symlink(_) | TarEntry::HardLink(_) => {}
    }
    full_name
}

/// Sets length, owner, group and time. A field of ustar has a few octal digits: what does not fit is a record, and zero
/// in the field, because readers disagree about what else a full field means.
fn set_numbers(header: &mut tar::Header, pax: &mut PaxHeader, size: u64, meta: &Metadata) {
    let (uid, gid) = (meta.uid.into(), meta.gid.into());
    for (number, digits, name, set) in [
        (size, 11, "size", tar::Header::set_size as fn(&mut tar::Header, u64)),
        (uid, 7, "uid", tar::Header::set_uid),
        (gid, 7, "gid", tar::Header::set_gid),
    ] {
        if octal(number, digits) {
            set(header, number);
        } else {
            set(header, 0);
            pax.number(name, number);
        }
    }
    let seconds = u64::try_from(meta.mtime_seconds).ok().filter(|&seconds| octal(seconds, 11));
    header.set_mtime(seconds.unwrap_or(0));
    if seconds.is_none() || meta.mtime_nanos != 0 {
        pax.record("mtime", time(meta).as_bytes());
    }
}

/// About how many bytes the headers of a member take, for planning.
pub fn estimate(name_bytes: usize) -> usize {
    3 * BLOCK + if name_bytes > 90 { name_bytes } else { 0 }
}

/// The keyword of an extended attribute. A keyword ends at the first `=`, so GNU tar escapes those in names.
fn xattr_keyword(name: &[u8]) -> Vec<u8> {
    let mut keyword = b"SCHILY.xattr.".to_vec();
    for &byte in name {
        match byte {
            b'%' => keyword.extend_from_slice(b"%25"),
            b'=' => keyword.extend_from_slice(b"%3D"),
            _ => keyword.push(byte),
        }
    }
    keyword
}

/// Whether a number fits into so many octal digits.
fn octal(number: u64, digits: u32) -> bool {
    number < 8u64.pow(digits)
}

/// Seconds with fraction as pax has them: `-1.5` is a second and a half before 1970.
fn time(meta: &Metadata) -> String {
    let (seconds, nanos) = (meta.mtime_seconds, meta.mtime_nanos);
    match (seconds < 0, nanos) {
        (_, 0) => seconds.to_string(),
        (false, _) => format!("{seconds}.{nanos:09}"),
        (true, _) => format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
    }
}

/// The map at the start of a sparse member: counts and offsets as lines, padded to a block. A last, empty extent
/// marks the end of a file that ends in a hole.
fn sparse_map(size: u64, extents: &[Extent]) -> Vec<u8> {
    let end = extents.last().map_or(0, |extent| extent.offset + extent.length);
    let tail = (end < size).then_some(Extent { offset: size, length: 0 });
    let count = extents.len() + usize::from(tail.is_some());
    let mut map = format!("{count}\n").into_bytes();
    for extent in extents.iter().chain(&tail) {
        map.extend_from_slice(format!("{}\n{}\n", extent.offset, extent.length).as_bytes());
    }
    pad(&mut map);
    map
}

/// Writes `name` into a header; if it does not fit, what fits of it, and says so.
fn set_name(header: &mut tar::Header, name: &[u8]) -> bool {
    let Some(ustar) = header.as_ustar_mut() else { return false };
    if name.len() > ustar.name.len() {
        // The prefix field takes whole directories, and a name must be left.
        let earliest = name.len() - ustar.name.len() - 1;
        let slash = (earliest..ustar.prefix.len().min(name.len() - 2)).find(|&i| i > 0 && name[i] == b'/');
        if let Some(slash) = slash {
            return set_field(&mut ustar.prefix, &name[..slash]) && set_field(&mut ustar.name, &name[slash + 1..]);
        }
    }
    set_field(&mut ustar.name, name)
}

fn set_field(field: &mut [u8], value: &[u8]) -> bool {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
    field[length..].fill(0);
    length == value.len()
}

/// The records of a pax header.
#[derive(Default)]
struct PaxHeader {
    records: Vec<u8>,
    is_binary: bool,
}

impl PaxHeader {
    fn number(&mut self, keyword: &str, value: u64) {
        self.record(keyword, value.to_string().as_bytes());
    }

    fn path(&mut self, keyword: &str, path: &[u8]) {
        self.is_binary |= std::str::from_utf8(path).is_err();
        self.record(keyword, path);
    }

    fn record(&mut self, keyword: &str, value: &[u8]) {
        self.record_bytes(keyword.as_bytes(), value);
    }

    /// `length keyword=value\n`, where length counts itself.
    fn record_bytes(&mut self, keyword: &[u8], value: &[u8]) {
        let rest = keyword.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.records.extend_from_slice(format!("{length} ").as_bytes());
        self.records.extend_from_slice(keyword);
        self.records.push(b'=');
        self.records.extend_from_slice(value);
        self.records.push(b'\n');
    }

    fn append(mut self, out: &mut Vec<u8>) {
        if self.records.is_empty() {
            return;
        }
        if self.is_binary {
            // Without it bsdtar takes paths for UTF-8. It must come first.
            let records = std::mem::take(&mut self.records);
            self.record("hdrcharset", b"BINARY");
            self.records.extend_from_slice(&records);
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(self.records.len() as u64);
        set_field(&mut header.as_old_mut().name, b"././@PaxHeader");
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&self.records);
        pad(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn read_back(name: &[u8], meta: &Metadata, entry: TarEntry<'_>, data: &[u8]) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
        let mut out = Vec::new();
        append(&mut out, name, meta, &[], entry);
        out.extend_from_slice(data);
        pad(&mut out);
        out.extend_from_slice(&super::super::END_OF_ARCHIVE);
        assert_eq!(out.len() % BLOCK, 0);
        let mut archive = tar::Archive::new(&out[..]);
        let mut entries = archive.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if entry.header().entry_type() == tar::EntryType::Regular
            && !data.is_empty()
            && entry.size() == data.len() as u64
        {
            assert_eq!(content, data);
        }
        let path = entry.path_bytes().to_vec();
        let pax = entry.pax_extensions().unwrap().map_or(Vec::new(), |records| {
            records.map(|r| r.unwrap()).map(|r| (r.key().unwrap().to_owned(), r.value_bytes().to_vec())).collect()
        });
        assert!(entries.next().is_none());
        (path, pax)
    }

    #[test]
    fn names_of_every_length_come_back() {
        for length in [1, 98, 99, 100, 101, 155, 156, 157, 255, 256, 257, 300, 4000] {
            let name: Vec<u8> = (0..length).map(|i| if i % 90 == 89 { b'/' } else { b'n' }).collect();
            let name = [b"./", name.trim_ascii_end(), b"x"].concat();
            let (path, _) = read_back(&name, &Metadata::default(), TarEntry::File { size: 3 }, b"abc");
            assert_eq!(path, name, "{length}");
        }
    }

    #[test]
    fn what_ustar_can_hold_has_no_pax_header() {
        let meta = Metadata { mode: 0o755, mtime_seconds: 1_700_000_000, mtime_nanos: 0, uid: 1000, gid: 1000 };
        let mut out = Vec::new();
        append(&mut out, b"./a", &meta, &[], TarEntry::File { size: 0 });
        assert_eq!(out.len(), BLOCK);
    }

    #[test]
    fn times_are_exact() {
        let at = |mtime_seconds, mtime_nanos| time(&Metadata { mtime_seconds, mtime_nanos, ..Metadata::default() });
        assert_eq!(at(1, 5), "1.000000005");
        assert_eq!(at(-2, 500_000_000), "-1.500000000");
        assert_eq!(at(-1, 999_999_999), "-0.000000001");
        assert_eq!(at(-7, 0), "-7");
    }

    #[test]
    fn record_lengths_count_themselves() {
        let mut pax = PaxHeader::default();
        for length in [1, 80, 88, 89, 90, 91, 92, 986, 990, 991, 992, 993, 9986] {
            pax.records.clear();
            pax.record("k", &vec![b'v'; length]);
            let text = String::from_utf8(pax.records.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), text.len());
        }
    }

    #[test]
    fn a_sparse_member_names_its_extents() {
        let extents = [Extent { offset: 4096, length: 512 }];
        let (_, pax) =
            read_back(b"./s", &Metadata::default(), TarEntry::Sparse { size: 1 << 20, extents: &extents }, &[1; 512]);
        assert!(pax.contains(&("GNU.sparse.realsize".into(), b"1048576".to_vec())));
        assert!(sparse_map(1 << 20, &extents).starts_with(b"2\n4096\n512\n1048576\n0\n"));
    }
}
