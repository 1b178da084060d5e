//! `diff`: which files differ between two entries.

use xcache_cli::output::v1::{DiffDocument, DifferentFile, FORMAT};
use xcache_cli::report::Reporter;
use xcache_cli::report::human::{Bytes, Count};
use xcache_cli::report::table::{AlignedTable, Column};
use xcache_cli::{Exit, print_document};
use xcache_core::archive::churn::{Change, Difference, differences};
use xcache_core::gc::inventory::{EntryId, Inventory};
use xcache_core::gc::look;

use crate::args::DiffArgs;
use crate::cells::size;
use crate::connection::Connection;
use crate::filter::with_keys;
use crate::show::open;

/// Runs the command.
pub(crate) async fn run(args: &DiffArgs, connection: &Connection, reporter: &Reporter) -> anyhow::Result<Exit> {
    let store = &*connection.store;
    let inventory = look::list(store).await?;
    let mut found = Vec::new();
    for key in [&args.older, &args.newer] {
        let Some(id) = newest(&inventory, key) else {
            reporter.error(format_args!("no entry has the key `{key}`"), None);
            return Ok(Exit::Failed);
        };
        let Some(archive) = open(store, &inventory, id).await? else {
            reporter.error(format_args!("`{}` has no index, so its files are not known", inventory.name(id)), None);
            return Ok(Exit::Failed);
        };
        found.push((id, archive.index));
    }
    let [(older, before), (newer, after)] = &found[..] else { unreachable!("there are two keys") };
    let files = differences(after, before);
    print(&files, reporter);
    let new_bytes = files.iter().map(|file| file.new_bytes).sum();
    reporter.line(format_args!(
        "{}, {} of them new, which took {}",
        Count(files.len() as u64, "file"),
        Bytes(new_bytes),
        Bytes(inventory.size(*newer))
    ));
    print_document(
        reporter,
        &DiffDocument {
            format: FORMAT,
            command: "diff".to_owned(),
            store: store.to_string(),
            older: inventory.name(*older).to_owned(),
            newer: inventory.name(*newer).to_owned(),
            bytes: inventory.size(*newer),
            new_bytes,
            files: files.into_iter().map(document).collect(),
        },
    );
    Ok(Exit::Done)
}

/// The newest entry of a key, in whichever scope.
fn newest(inventory: &Inventory, key: &str) -> Option<EntryId> {
    let ids = with_keys(inventory, &[key.to_owned()]);
    ids.into_iter().max_by_key(|&id| inventory.modified_millis(id))
}

fn print(files: &[Difference], reporter: &Reporter) {
    let columns = [Column::text("CHANGE"), Column::number("SIZE"), Column::number("NEW"), Column::whole("PATH")];
    let mut table = AlignedTable::new(&columns);
    for Difference { path, change, bytes, new_bytes } in files {
        table.row([word(*change).into(), size(*bytes), size(*new_bytes), path.into()]);
    }
    reporter.table(&table);
}

fn document(Difference { path, change, bytes, new_bytes }: Difference) -> DifferentFile {
    DifferentFile { path, change: word(change).to_owned(), bytes, new_bytes }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Removed => "removed",
    }
}
