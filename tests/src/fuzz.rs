//! Readers of bytes that an attacker may have written, each as a function of these bytes.
//!
//! A target returns for any input: it neither panics nor allocates without a bound, and what it accepts comes back the
//! same when it is printed and read again. The fuzzer drives them (`fuzz/`, with coverage), and so does a short test of
//! every run (`tests/it/fuzz.rs`, with the stored corpus and mutations of it).

use std::path::Path;

use xcache_cli::ci::event::Event;
use xcache_core::archive::footer::Footer;
use xcache_core::archive::frame::Decoder;
use xcache_core::archive::reader::{read_index, read_tail};
use xcache_core::archive::writer::{Title, finish};
use xcache_core::gc::document::{IntentDocument, MarkDocument};
use xcache_core::key::{Key, Keys, RestoreKey};
use xcache_core::naming::{self, decode_tag_value, encode_tag_value};
use xcache_core::object::{ArchiveId, Kind};
use xcache_core::paths::PathList;
use xcache_core::store::ObjectName;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets. Each has a corpus of the same name in `tests/fuzz/`, and a program of that name in `fuzz/fuzz_targets/`.
pub const TARGETS: &[Target] =
    &[("documents", documents), ("end", end), ("frame", frame), ("index", index), ("names", names), ("paths", paths)];

/// The end of an object: seek table, footer, and the index behind a right checksum.
pub fn end(data: &[u8]) {
    let object_bytes = data.len() as u64;
    drop(read_tail(data, object_bytes));
    drop(read_tail(data, object_bytes.saturating_mul(3)));
}

/// The columns of an index, with a footer that vouches for them. What is accepted is written and read again.
pub fn index(data: &[u8]) {
    let stored = zstd::bulk::compress(data, 1).expect("bytes can be compressed");
    let footer = Footer {
        archive_id: ArchiveId([7; 16]),
        kind: Kind::Base,
        key: "key".to_owned(),
        created_nanos: 0,
        refs: Vec::new(),
        members: 0,
        content_bytes: 0,
        index_offset: 1 << 40,
        index_bytes: stored.len() as u64,
        index_raw_bytes: data.len() as u64,
        index_hash: *blake3::hash(&stored).as_bytes(),
    };
    let Ok(index) = read_index(&footer, &stored) else { return };
    let title = Title { archive_id: footer.archive_id, kind: footer.kind, key: footer.key, created_nanos: 0 };
    // The writer holds more against an index than the reader: that its frames fill the object, for example.
    if let Ok(end) = finish(title, index.clone(), Vec::new(), Vec::new())
        && let Ok(again) = end.read_back()
    {
        assert_eq!(again.index, index);
    }
}

/// One frame, of the length that its first bytes claim.
pub fn frame(data: &[u8]) {
    let Some((raw_bytes, frame)) = data.split_first_chunk::<3>() else { return };
    let raw_bytes = u32::from_le_bytes([raw_bytes[0], raw_bytes[1], raw_bytes[2], 0]);
    let mut out = Vec::new();
    if Decoder::new().expect("a decoder").decode(frame, raw_bytes, &mut out).is_ok() {
        assert_eq!(out.len(), raw_bytes as usize);
    }
}

/// Keys, names of objects and values of tags: what is accepted is the same after it was printed and read.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    drop(text.parse::<RestoreKey>());
    drop(Keys::parse(text, &text.lines().collect::<Vec<_>>()));
    if let Ok(key) = text.parse::<Key>() {
        for kind in [Kind::Base, Kind::Delta] {
            if let Ok(name) = naming::object_name(None, &key, kind) {
                assert_eq!(naming::parse(&name), Some((None, key.clone(), kind)));
            }
        }
    }
    if let Ok(name) = ObjectName::new(text)
        && let Some((scope, key, kind)) = naming::parse(&name)
    {
        assert_eq!(naming::object_name(scope.as_ref(), &key, kind).expect("a name that was read"), name);
    }
    let value = encode_tag_value(text);
    if let Some(decoded) = decode_tag_value(&value) {
        assert_eq!(decoded, text);
    }
    drop(decode_tag_value(text));
}

/// Lines of paths, and a path that is held against them.
pub fn paths(data: &[u8]) {
    let (lines, path) = data.split_at(data.iter().position(|&byte| byte == 0).unwrap_or(data.len()));
    let Ok(lines) = std::str::from_utf8(lines) else { return };
    let Ok(list) = PathList::parse(&[lines], Path::new("/work"), Some(Path::new("/home/user"))) else { return };
    for root in 0..list.roots().len() {
        list.decide(root, path.strip_prefix(b"\0").unwrap_or(path), data.len().is_multiple_of(2));
    }
    list.overlaps();
}

/// The documents in a store that savers and gc read, and the event file of a job.
pub fn documents(data: &[u8]) {
    if let Ok(intent) = IntentDocument::parse(data) {
        assert_eq!(IntentDocument::parse(&intent.to_bytes()).expect("our own intent"), intent);
    }
    if let Ok(mark) = MarkDocument::parse(data) {
        assert_eq!(MarkDocument::parse(&mark.to_bytes()).expect("our own mark"), mark);
    }
    if let Ok(event) = Event::parse(data) {
        event.has_token("[ci-clear-cache]");
    }
}
