//! The tags of an object: an extended attribute of its file, so that a copy which keeps attributes keeps them; next to it, in the
//! private folder, where the file system has no room for attributes or none at all.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::{self, AtFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::super::{ETag, ObjectName, Tags};
use super::draft::Draft;
use super::path::{Missing, open_chain, open_private, private_directories};

/// Where the tags are, as JSON.
const ATTRIBUTE: &str = "user.xcache.tags";

/// More than the tags of an object come to: ten of 128 and 256 characters, escaped.
const MAX_BYTES: usize = 64 * 1024;

/// Gives the object in `file` these tags.
pub(super) fn write_tags(root: &Path, file: &File, name: &ObjectName, etag: &ETag, tags: &Tags) -> io::Result<()> {
    let document = serde_json::to_vec(tags)?;
    match fs::fsetxattr(file, ATTRIBUTE, &document, XattrFlags::empty()) {
        Ok(()) => {
            remove_tags(root, name, etag);
            return Ok(());
        }
        // Without attributes, or without room for them. (What is there of an earlier write must not be read in their place.)
        Err(_) => drop(fs::fremovexattr(file, ATTRIBUTE)),
    }
    let mut draft = Draft::create(root, "tmp")?;
    draft.file.write_all(&document)?;
    let (directories, file) = place(name, etag);
    let directory = open_private(root, &directories)?;
    draft.rename_to(&directory, &file)
}

/// The tags of the object in `file`; empty if it has none.
pub(super) fn read_tags(root: &Path, file: &File, name: &ObjectName, etag: &ETag) -> io::Result<Tags> {
    let mut document = vec![0; MAX_BYTES];
    if let Ok(length) = fs::fgetxattr(file, ATTRIBUTE, &mut document) {
        return Ok(serde_json::from_slice(&document[..length])?);
    }
    let (directories, file) = place(name, etag);
    let chain = match open_chain(root, &directories, Missing::Fail) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tags::new()),
        chain => chain?,
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match fs::openat(&chain[chain.len() - 1], file.as_str(), flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(Tags::new()),
        Err(error) => Err(error.into()),
        Ok(file) => Ok(serde_json::from_reader(io::BufReader::new(File::from(file)))?),
    }
}

/// Tags without an object are litter, no harm: a failure is not worth failing for.
pub(super) fn remove_tags(root: &Path, name: &ObjectName, etag: &ETag) {
    let (directories, file) = place(name, etag);
    if let Ok(chain) = open_chain(root, &directories, Missing::Fail) {
        let _ = fs::unlinkat(&chain[chain.len() - 1], file.as_str(), AtFlags::empty());
    }
}

/// Where the tags of one object lie if its file cannot hold them: below a folder of 256, since a million files in one are slow
/// to walk.
fn place(name: &ObjectName, etag: &ETag) -> (Vec<String>, String) {
    let hash = blake3::hash(name.as_str().as_bytes()).to_hex();
    let mut directories = private_directories("tags");
    directories.push(hash[..2].to_owned());
    (directories, format!("{}-{etag}", &hash[2..34]))
}
