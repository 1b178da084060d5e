//! The links of an entry, which are made when its files are there.

use super::destination::{Destination, attributes};
use super::disk::{Cursor, Linked, Place};
use super::error::Error;
use super::frames::WrittenFrames;
use crate::archive::index::{Content, Index, Member};
use crate::scan::Signature;

/// Makes symbolic links, and then hard links, which may lead to those.
pub(super) fn make(index: &Index, here: &Destination<'_>, written: &mut WrittenFrames) -> Result<(), Error> {
    let mut cursor = here.target.cursor();
    for (place, _, member) in members(index, here) {
        if let Content::Symlink(target) = &member.content {
            let made = cursor.make_link(place, target, &attributes(member));
            made.map_err(|source| Error::Write { path: here.target.full_path(place), source })?;
        }
    }
    let mut first_cursor = here.target.cursor();
    let mut firsts: Vec<u32> = Vec::new();
    for (place, _, member) in members(index, here) {
        let Content::HardLink(first) = member.content else { continue };
        let made = hard_link(index, here, place, first, (&mut cursor, &mut first_cursor));
        if made.map_err(|source| Error::Write { path: here.target.full_path(place), source })? {
            firsts.push(first);
        }
    }
    // A new name changes the ctime of the file.
    firsts.sort_unstable();
    firsts.dedup();
    for first in firsts {
        if let Ok(Some(stat)) = first_cursor.look(here.roots.place(index, first)) {
            written.signatures.push((first, Signature::of(&stat)));
        }
    }
    written.notices.append(std::mem::take(&mut cursor.notices));
    Ok(())
}

fn members<'i>(index: &'i Index, here: &'i Destination<'_>) -> impl Iterator<Item = (Place<'i>, u32, &'i Member)> {
    let numbers = here.roots.members().flat_map(|(_, _, range)| range);
    numbers.filter_map(|number| {
        let number = u32::try_from(number).ok()?;
        let member = &index.members[number as usize];
        matches!(member.content, Content::Symlink(_) | Content::HardLink(_))
            .then(|| (here.roots.place(index, number), number, member))
    })
}

/// Makes a hard link, or a copy where there can be none. Gives whether the first file has got another name.
fn hard_link(
    index: &Index,
    here: &Destination<'_>,
    place: Place<'_>,
    first: u32,
    (cursor, first_cursor): (&mut Cursor<'_>, &mut Cursor<'_>),
) -> std::io::Result<bool> {
    let first_place = here.roots.place(index, first);
    let reason = match cursor.link(place, first_place, first_cursor)? {
        Linked::Made => return Ok(true),
        Linked::WasThere => return Ok(false),
        Linked::Impossible(reason) => reason,
    };
    cursor.notices.add("make the hard link", here.target.full_path(place), format!("{reason}; it is a copy"));
    let member = &index.members[first as usize];
    match &member.content {
        Content::Symlink(target) => cursor.make_link(place, target, &attributes(member))?,
        _ => {
            let old = first_cursor.open(first_place)?;
            let temporary = cursor.begin(place);
            let open = cursor.copy(&old, place, &temporary)?;
            cursor.finish_file(place, &temporary, &open, None, &attributes(member))?;
        }
    }
    Ok(false)
}
