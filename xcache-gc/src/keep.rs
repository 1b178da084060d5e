//! `keep`: takes back the marks of entries.

use xcache_cli::Exit;
use xcache_cli::report::Reporter;
use xcache_cli::report::human::Count;
use xcache_core::gc::pass::DeleteMode;
use xcache_core::gc::{Effect, Operation, look, release};
use xcache_core::object::RunId;

use crate::args::KeepArgs;
use crate::connection::Connection;
use crate::filter::{missing_keys, with_keys};

/// Runs the command.
pub(crate) async fn run(args: &KeepArgs, connection: &Connection, reporter: &Reporter) -> anyhow::Result<Exit> {
    let store = &*connection.store;
    let listed = look::list(store).await?;
    let ids = with_keys(&listed, &args.keys);
    let missing = missing_keys(&listed, &args.keys);
    for missing in &missing {
        reporter.error(format_args!("no entry has the key `{missing}`"), None);
    }
    let delete_mode = DeleteMode::of(&connection.features(Effect::Real).await?);
    let run = RunId::new()?;
    let operation = Operation { store, run: &run, mode: Effect::Real, monitor: reporter };
    let names: Vec<_> = ids.into_iter().map(|id| listed.object_name(id)).collect();
    let released = release(&operation, delete_mode, &names).await?;
    reporter.line(format_args!("{} removed", Count(released, "mark")));
    Ok(if missing.is_empty() { Exit::Done } else { Exit::Failed })
}
