//! `show`: all there is to know of the entries of a key.

use xcache_cli::output::v1::{self, FORMAT, ListedFile, ShowDocument, ShownEntry, SourceFields, Time};
use xcache_cli::report::Reporter;
use xcache_cli::report::human::Bytes;
use xcache_cli::report::table::{AlignedTable, Cell, Column};
use xcache_cli::{Exit, print_document};
use xcache_core::archive::churn::join;
use xcache_core::archive::index::{self, Index};
use xcache_core::archive::reader::Archive;
use xcache_core::gc::inventory::{EntryId, Inventory};
use xcache_core::gc::look;
use xcache_core::gc::plan::Dependents;
use xcache_core::naming::{MarkId, condemned_name};
use xcache_core::object::Kind;
use xcache_core::object_end::{self, Expected, ObjectFormat, TAIL_BYTES, Verdict};
use xcache_core::store::Store;

use crate::args::ShowArgs;
use crate::cells::size;
use crate::connection::Connection;
use crate::filter::with_keys;

/// Runs the command.
pub(crate) async fn run(args: &ShowArgs, connection: &Connection, reporter: &Reporter) -> anyhow::Result<Exit> {
    let store = &*connection.store;
    let mut inventory = look::list(store).await?;
    let ids = with_keys(&inventory, std::slice::from_ref(&args.key));
    if ids.is_empty() {
        reporter.error(format_args!("no entry has the key `{}`", args.key), None);
        return Ok(Exit::Failed);
    }
    let deltas = inventory.ids().filter(|&id| inventory.kind(id) == Kind::Delta).collect();
    look::ends(store, reporter, &mut inventory, deltas).await?;
    let dependents = Dependents::of(&inventory);
    let mut entries = Vec::new();
    for id in ids {
        let shown = show(store, &inventory, &dependents, (id, args.files)).await?;
        print(&shown, reporter);
        entries.push(shown);
    }
    print_document(
        reporter,
        &ShowDocument { format: FORMAT, command: "show".to_owned(), store: store.to_string(), entries },
    );
    Ok(Exit::Done)
}

/// What is in the object of an entry; none if it has no index.
pub(crate) async fn open(
    store: &dyn Store,
    inventory: &Inventory,
    id: EntryId,
) -> anyhow::Result<Option<Box<Archive>>> {
    let (name, etag) = (inventory.object_name(id), inventory.etag(id));
    let mut end = object_end::fetch(store, &name, TAIL_BYTES, Expected::This(&etag)).await?;
    match object_end::open(store, &name, &mut end).await? {
        Verdict::Readable(ObjectFormat::Archive(archive)) => Ok(Some(archive)),
        Verdict::Readable(ObjectFormat::Plain) => Ok(None),
        Verdict::Damaged(error) | Verdict::Newer(error) => {
            Err(anyhow::Error::new(error).context(format!("`{name}` cannot be read")))
        }
        Verdict::Gone(gone) => anyhow::bail!("`{name}` {gone}"),
    }
}

async fn show(
    store: &dyn Store,
    inventory: &Inventory,
    dependents: &Dependents,
    (id, with_files): (EntryId, bool),
) -> anyhow::Result<ShownEntry> {
    let opened = open(store, inventory, id).await?;
    let archive = match &opened {
        Some(archive) => Some(show_archive(store, inventory, id, archive).await?),
        None => None,
    };
    Ok(ShownEntry {
        name: inventory.name(id).to_owned(),
        scope: inventory.scope(id).map(str::to_owned),
        kind: inventory.kind(id).to_string(),
        bytes: inventory.size(id),
        modified: Time(inventory.modified(id)),
        etag: inventory.etag_text(id).to_owned(),
        tags: look::tags_of(store, inventory, id).await?,
        archive,
        dependents: dependents.on(id).iter().map(|&id| inventory.name(id).to_owned()).collect(),
        files: opened.filter(|_| with_files).map(|archive| files(&archive.index)),
    })
}

async fn show_archive(
    store: &dyn Store,
    inventory: &Inventory,
    id: EntryId,
    archive: &Archive,
) -> anyhow::Result<v1::ArchiveFields> {
    let Archive { footer, index } = archive;
    let mut is_used = vec![false; index.frames.len()];
    index.chunks.iter().for_each(|chunk| is_used[chunk.frame as usize] = true);
    let mut used = vec![0; footer.refs.len() + 1];
    for (frame, _) in index.frames.iter().zip(is_used).filter(|(_, is_used)| *is_used) {
        used[usize::from(frame.source)] += u64::from(frame.stored_bytes);
    }
    let source = |n: usize, name: &str, data_bytes| SourceFields {
        is_there: n == 0 || inventory.find(name).is_some_and(|t| inventory.etag_text(t) == footer.refs[n - 1].etag.0),
        name: name.to_owned(),
        data_bytes,
        used_bytes: used[n],
    };
    let refs = footer.refs.iter().zip(1..).map(|(r, n)| source(n, r.name.as_str(), r.data_bytes)).collect();
    let by_archive = MarkId::of_archive(&inventory.object_name(id), footer.archive_id);
    let by_object = MarkId::of_object(&inventory.object_name(id), &inventory.etag(id));
    let is_there = async |mark| store.head(&condemned_name(&mark)).await.is_ok();
    Ok(v1::ArchiveFields {
        archive_id: footer.archive_id.to_string(),
        writer: index.writer.clone(),
        is_condemned: is_there(by_archive).await || is_there(by_object).await,
        roots: index.roots.iter().map(|root| root.given.clone()).collect(),
        members: footer.members,
        content_bytes: footer.content_bytes,
        own: source(0, inventory.name(id), footer.index_offset),
        refs,
    })
}

/// Everything in a tree, in the order of its paths.
fn files(index: &Index) -> Vec<ListedFile> {
    let members = index.roots.iter().zip(index.root_ranges()).flat_map(|(root, range)| {
        index.members[range].iter().map(move |member| {
            let (kind, bytes) = match &member.content {
                index::Content::Directory => ("directory", 0),
                index::Content::File(file) => ("file", file.size),
                index::Content::Symlink(_) => ("symlink", 0),
                index::Content::HardLink(_) => ("hard-link", 0),
            };
            ListedFile { path: join([root.given.as_bytes(), &member.path]), kind: kind.to_owned(), bytes }
        })
    });
    members.collect()
}

fn print(shown: &ShownEntry, reporter: &Reporter) {
    let mut table = AlignedTable::new(&[Column::text("FIELD"), Column::whole("VALUE")]);
    let mut row = |name: &str, value: Cell| table.row([name.into(), value]);
    row("name", (&shown.name).into());
    row("kind", (&shown.kind).into());
    if let Some(scope) = &shown.scope {
        row("scope", scope.into());
    }
    row("size", size(shown.bytes));
    row("modified", (&shown.modified).into());
    row("etag", (&shown.etag).into());
    match &shown.tags {
        Some(tags) => {
            let tags: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
            row("tags", tags.join(" ").into());
        }
        None => row("tags", "not known to this store".into()),
    }
    match &shown.archive {
        Some(archive) => print_archive(archive, &mut row),
        None => row("index", "none".into()),
    }
    for name in &shown.dependents {
        row("used by", name.into());
    }
    reporter.table(&table);
    let mut table = AlignedTable::new(&[Column::number("SIZE"), Column::text("KIND"), Column::whole("PATH")]);
    for ListedFile { path, kind, bytes } in shown.files.iter().flatten() {
        table.row([size(*bytes), kind.into(), path.into()]);
    }
    reporter.table(&table);
}

fn print_archive(archive: &v1::ArchiveFields, row: &mut impl FnMut(&str, Cell)) {
    row("archive", (&archive.archive_id).into());
    row("writer", (&archive.writer).into());
    if archive.is_condemned {
        row("condemned", "yes: no new entry builds on it".into());
    }
    for root in &archive.roots {
        row("path", root.into());
    }
    row("members", archive.members.into());
    row("logical size", size(archive.content_bytes));
    let used = |source: &SourceFields| format!("{} of {} in use", Bytes(source.used_bytes), Bytes(source.data_bytes));
    row("own data", used(&archive.own).into());
    for source in &archive.refs {
        let missing = if source.is_there { "" } else { " (GONE)" };
        row("ref", format!("{}: {}{missing}", source.name, used(source)).into());
    }
}
