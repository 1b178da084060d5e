//! `show`: all there is to know of the entries of a key.

use xcache_cli::output::v1::{self, FORMAT, ShowDocument, ShownEntry, Source, Time};
use xcache_cli::report::Reporter;
use xcache_cli::report::human::{Bytes, Count};
use xcache_cli::{Exit, print_document};
use xcache_core::archive::reader::Archive;
use xcache_core::gc::inventory::{EntryId, Inventory};
use xcache_core::gc::look;
use xcache_core::gc::plan::Dependents;
use xcache_core::naming::{MarkId, condemned_name};
use xcache_core::object::Kind;
use xcache_core::object_end::{self, Content, Expected, TAIL_BYTES, Verdict};
use xcache_core::store::Store;

use crate::args::ShowArgs;
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
        let shown = show(store, &inventory, &dependents, id).await?;
        print(&shown, reporter);
        entries.push(shown);
    }
    print_document(
        reporter,
        &ShowDocument { format: FORMAT, command: "show".to_owned(), store: store.to_string(), entries },
    );
    Ok(Exit::Done)
}

async fn show(
    store: &dyn Store,
    inventory: &Inventory,
    dependents: &Dependents,
    id: EntryId,
) -> anyhow::Result<ShownEntry> {
    let (name, etag) = (inventory.object_name(id), inventory.etag(id));
    let mut end = object_end::fetch(store, &name, TAIL_BYTES, Expected::This(&etag)).await?;
    let archive = match object_end::open(store, &name, &mut end).await? {
        Verdict::Readable(Content::Archive(archive)) => Some(show_archive(store, inventory, id, &archive).await?),
        Verdict::Readable(Content::Plain) => None,
        Verdict::Damaged(error) | Verdict::Newer(error) => {
            return Err(anyhow::Error::new(error).context(format!("`{name}` cannot be read")));
        }
        Verdict::Gone(gone) => anyhow::bail!("`{name}` {gone}"),
    };
    Ok(ShownEntry {
        name: name.to_string(),
        scope: inventory.scope(id).map(str::to_owned),
        kind: inventory.kind(id).to_string(),
        bytes: inventory.size(id),
        modified: Time(inventory.modified(id)),
        etag: etag.0,
        tags: look::tags_of(store, inventory, id).await?,
        archive,
        dependents: dependents.on(id).iter().map(|&id| inventory.name(id).to_owned()).collect(),
    })
}

async fn show_archive(
    store: &dyn Store,
    inventory: &Inventory,
    id: EntryId,
    archive: &Archive,
) -> anyhow::Result<v1::Archive> {
    let Archive { footer, index } = archive;
    let mut is_used = vec![false; index.frames.len()];
    index.chunks.iter().for_each(|chunk| is_used[chunk.frame as usize] = true);
    let mut used = vec![0; footer.refs.len() + 1];
    for (frame, _) in index.frames.iter().zip(is_used).filter(|(_, is_used)| *is_used) {
        used[usize::from(frame.source)] += u64::from(frame.stored_bytes);
    }
    let source = |n: usize, name: &str, data_bytes| Source {
        is_there: n == 0 || inventory.find(name).is_some_and(|t| inventory.etag_text(t) == footer.refs[n - 1].etag.0),
        name: name.to_owned(),
        data_bytes,
        used_bytes: used[n],
    };
    let refs = footer.refs.iter().zip(1..).map(|(r, n)| source(n, r.name.as_str(), r.data_bytes)).collect();
    let by_archive = MarkId::of_archive(&inventory.object_name(id), footer.archive_id);
    let by_object = MarkId::of_object(&inventory.object_name(id), &inventory.etag(id));
    let is_there = async |mark| store.head(&condemned_name(&mark)).await.is_ok();
    Ok(v1::Archive {
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

fn print(shown: &ShownEntry, reporter: &Reporter) {
    let line = |name: &str, value: String| reporter.data(format_args!("{name:<12}{value}"));
    reporter.data(&shown.name);
    line("  kind", shown.kind.clone());
    if let Some(scope) = &shown.scope {
        line("  scope", scope.clone());
    }
    line("  size", Bytes(shown.bytes).to_string());
    line("  modified", shown.modified.to_string());
    line("  etag", shown.etag.clone());
    match &shown.tags {
        Some(tags) => {
            let tags: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
            line("  tags", tags.join(" "));
        }
        None => line("  tags", "not known to this store".into()),
    }
    match &shown.archive {
        Some(archive) => print_archive(archive, reporter),
        None => line("  index", "none".into()),
    }
    for name in &shown.dependents {
        line("  used by", name.clone());
    }
}

fn print_archive(archive: &v1::Archive, reporter: &Reporter) {
    let line = |name: &str, value: String| reporter.data(format_args!("{name:<12}{value}"));
    line("  archive", archive.archive_id.clone());
    line("  writer", archive.writer.clone());
    if archive.is_condemned {
        line("  condemned", "by gc: no new entry builds on it".into());
    }
    for root in &archive.roots {
        line("  root", root.clone());
    }
    line("  tree", format!("{}, {}", Count(archive.members, "member"), Bytes(archive.content_bytes)));
    let used = |source: &Source| format!("{} of {} in use", Bytes(source.used_bytes), Bytes(source.data_bytes));
    line("  own data", used(&archive.own));
    for source in &archive.refs {
        let missing = if source.is_there { "" } else { " (GONE)" };
        line("  ref", format!("{}: {}{missing}", source.name, used(source)));
    }
}
