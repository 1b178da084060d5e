//! `report`: what a store holds, for people to look at.
//!
//! `collect` asks the store and makes the document of `--json`; everything else is made of that document alone: the page
//! ([`html`]), the Markdown ([`markdown`]) and the lines on a terminal ([`text`]).

use anyhow::Context as _;
use xcache_cli::report::Reporter;
use xcache_cli::{self as cli, Exit, RunContext};
use xcache_core::gc::policy::Policy;

use crate::args::ReportArgs;
use crate::connection::Connection;

mod collect;
mod entry;
mod growth;
mod html;
mod markdown;
mod newest;
mod plan;
mod text;
mod trouble;

/// Runs the command.
pub(crate) async fn run(
    args: &ReportArgs,
    policy: Policy,
    connection: &Connection,
    context: &RunContext,
    reporter: &Reporter,
) -> anyhow::Result<Exit> {
    let document = collect::collect(args, &policy, connection, context, reporter).await?;
    if args.markdown {
        let markdown = markdown::summary(&document);
        if context.ci.is_actions() && context.ci.step_summary.is_some() {
            cli::write_summary(context, reporter, &markdown);
        } else {
            reporter.data(markdown.trim_end());
        }
    }
    match args.html.as_deref() {
        Some(file) if file.as_os_str() == "-" => reporter.data(html::page(&document).trim_end()),
        Some(file) => {
            let path = context.base_dir.join(file);
            let write = || format!("cannot write the page of `--html` to `{}`", path.display());
            std::fs::write(&path, html::page(&document)).with_context(write)?;
            reporter.line(format_args!("report written to `{}`", path.display()));
        }
        None if !args.markdown => text::print(&document, reporter),
        None => {}
    }
    cli::print_document(reporter, &document);
    Ok(Exit::Done)
}
