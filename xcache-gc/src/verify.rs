//! `verify`: whether entries can be restored.

use serde::Serialize;
use xcache_cli::ci::summary::Table;
use xcache_cli::report::Reporter;
use xcache_cli::report::chain;
use xcache_cli::report::human::{Bytes, Count};
use xcache_cli::{self as cli, Exit, RunContext, print_document};
use xcache_core::gc::inventory::EntryId;
use xcache_core::gc::look;
use xcache_core::gc::verify::{Depth, Verified, verify};
use xcache_core::store::ErrorKind;

use crate::args::VerifyArgs;
use crate::connection::Connection;
use crate::filter::with_keys;

#[derive(Default, Serialize)]
struct Document {
    format: u32,
    command: &'static str,
    store: String,
    deep: bool,
    entries: u64,
    without_index: u64,
    chunks: u64,
    read_bytes: u64,
    faults: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    fault: String,
}

/// Runs the command.
pub(crate) async fn run(
    args: &VerifyArgs,
    connection: &Connection,
    context: &RunContext,
    reporter: &Reporter,
) -> anyhow::Result<Exit> {
    let inventory = look::list(&*connection.store).await?;
    let ids: Vec<EntryId> =
        if args.keys.is_empty() { inventory.ids().collect() } else { with_keys(&inventory, &args.keys) };
    if ids.is_empty() && !args.keys.is_empty() {
        reporter.error("no entry has such a key", None);
        return Ok(Exit::Failed);
    }
    let depth = if args.deep { Depth::Chunks } else { Depth::Structure };
    let mut told = Document {
        format: 1,
        command: "verify",
        store: connection.store.to_string(),
        deep: args.deep,
        ..Document::default()
    };
    for id in ids {
        let (name, etag) = (inventory.object_name(id), inventory.etag(id));
        let faults = match verify(&connection.store, &name, &etag, depth).await {
            Ok(Verified { faults, chunks, read_bytes, is_plain }) => {
                told.chunks += chunks;
                told.read_bytes += read_bytes;
                told.without_index += u64::from(is_plain);
                faults.iter().map(|fault| chain::text(fault)).collect()
            }
            // Deleted, or saved again, since it was listed.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Changed) => continue,
            Err(error) => vec![chain::text(&error)],
        };
        told.entries += 1;
        for fault in faults {
            reporter.data(format_args!("{name}: {fault}"));
            told.faults.push(Row { name: name.to_string(), fault });
        }
    }
    finish(&told, context, reporter)
}

fn finish(told: &Document, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Exit> {
    let what = if told.deep {
        format!(", {} in {}", Count(told.chunks, "chunk"), Bytes(told.read_bytes))
    } else {
        String::new()
    };
    let verified = format!("verified {}{what}", Count(told.entries, "entry"));
    if told.without_index > 0 {
        reporter.notice(format_args!(
            "{} without an index: only their presence was verified",
            Count(told.without_index, "entry")
        ));
    }
    let faults = Count(told.faults.len() as u64, "fault");
    reporter.line(format_args!("{verified}: {faults}"));
    let table =
        told.faults.iter().fold(Table::new(&["Object", "Fault"]), |table, row| table.row([&row.name, &row.fault]));
    cli::write_summary(context, reporter, &table.titled(&format!("xcache verify: {verified}, {faults}")));
    print_document(reporter, told);
    Ok(if told.faults.is_empty() { Exit::Done } else { Exit::Failed })
}
