//! `verify`: whether entries can be restored.

use anyhow::Context as _;
use xcache_cli::ci::summary::Table;
use xcache_cli::output::v1::{FORMAT, FaultFields, VerifyDocument};
use xcache_cli::report::Reporter;
use xcache_cli::report::chain;
use xcache_cli::report::human::{Bytes, Count};
use xcache_cli::{self as cli, Exit, RunContext, print_document};
use xcache_core::gc::look;
use xcache_core::gc::verify::{Depth, Verified, mark, verify};
use xcache_core::monitor::{Monitor as _, Unit};
use xcache_core::store::ErrorKind;

use crate::args::VerifyArgs;
use crate::connection::Connection;
use crate::filter::{OnHidden, missing_keys, with_keys};
use crate::notices::tell_foreign;

/// Runs the command.
pub(crate) async fn run(
    args: &VerifyArgs,
    connection: &Connection,
    context: &RunContext,
    reporter: &Reporter,
) -> anyhow::Result<Exit> {
    let mut inventory = look::list(&*connection.store).await?;
    let ids = with_keys(&inventory, &args.keys);
    let ids =
        args.filter.select(&*connection.store, &mut inventory, ids, context.now, (OnHidden::Warn, reporter)).await?;
    tell_foreign(&inventory, reporter);
    // What was asked for by name and is not there is not sound either.
    let missing = missing_keys(&inventory, &args.keys);
    for missing in &missing {
        reporter.error(format_args!("no entry has the key `{missing}`"), None);
    }
    if ids.is_empty() && !missing.is_empty() {
        return Ok(Exit::Failed);
    }
    let depth = if args.deep { Depth::Chunks } else { Depth::Structure };
    let mut told = VerifyDocument {
        format: FORMAT,
        command: "verify".to_owned(),
        store: connection.store.to_string(),
        deep: args.deep,
        ..VerifyDocument::default()
    };
    let progress = reporter.progress("verifying", Unit::Items("entry"), Some(ids.len() as u64));
    for id in ids {
        let (name, etag) = (inventory.object_name(id), inventory.etag(id));
        let verified = verify(&connection.store, &name, &etag, depth).await;
        progress.add(1);
        let faults = match verified {
            Ok(Some(Verified { is_foreign: true, .. })) => {
                told.foreign.push(name.to_string());
                continue;
            }
            Ok(Some(Verified { found, damaged, is_plain, is_foreign: _ })) => {
                told.chunks += found.chunks;
                told.read_bytes += found.read_bytes;
                told.without_index += u64::from(is_plain);
                if args.mark && !damaged.is_empty() {
                    mark(&*connection.store, &damaged).await.context("cannot mark what is damaged")?;
                    told.marked.extend(damaged.into_iter().map(|(object, _)| object.name.to_string()));
                }
                found.faults.iter().map(|fault| chain::text(fault)).collect()
            }
            // Deleted, or saved again, since it was listed.
            Ok(None) => continue,
            Err(error) if is_about_the_object(error.kind()) => {
                vec![format!("it cannot be read: {}", chain::text(&error))]
            }
            // Whatever else fails, fails for all of them.
            Err(error) => return Err(error.into()),
        };
        told.entries += 1;
        for fault in faults {
            reporter.data(format_args!("{name}: {fault}"));
            told.faults.push(FaultFields { name: name.to_string(), fault });
        }
    }
    let exit = finish(&told, context, reporter);
    Ok(if missing.is_empty() { exit } else { exit.max(Exit::Failed) })
}

/// Whether the store answers so for one object, whatever it says of others: it is in an archive tier, or encrypted with a
/// key that this role may not use.
fn is_about_the_object(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::Other)
}

fn finish(told: &VerifyDocument, context: &RunContext, reporter: &Reporter) -> Exit {
    let what = if told.deep {
        format!(", {} in {}", Count(told.chunks, "chunk"), Bytes(told.read_bytes))
    } else {
        String::new()
    };
    let verified = format!("verified {}{what}", Count(told.entries, "entry"));
    if told.without_index > 0 {
        let read =
            if told.deep { "read to the end, and there are no hashes" } else { "only the first bytes were read" };
        reporter.notice(format_args!("{} without an index: {read}", Count(told.without_index, "entry")));
    }
    if let Some(first) = told.foreign.first() {
        let count = Count(told.foreign.len() as u64, "entry");
        reporter.notice(format_args!("{count} ignored, written under another key or in another store: `{first}`"));
    }
    for name in &told.marked {
        reporter.notice(format_args!("`{name}` is marked: no save will build on it"));
    }
    let faults = Count(told.faults.len() as u64, "fault");
    reporter.line(format_args!("{verified}: {faults}"));
    let table =
        told.faults.iter().fold(Table::new(&["Object", "Fault"]), |table, row| table.row([&row.name, &row.fault]));
    cli::write_summary(context, reporter, &table.titled(&format!("xcache verify: {verified}, {faults}")));
    print_document(reporter, told);
    if told.faults.is_empty() { Exit::Done } else { Exit::Failed }
}
