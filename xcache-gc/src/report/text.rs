//! A report in a few lines, for a terminal.

use xcache_cli::output::v1::{ReportDocument, ReportedPlan};
use xcache_cli::report::Reporter;
use xcache_cli::report::human::{Bytes, Count};

/// How many groups are shown of each kind.
const ROWS: usize = 5;

/// Prints the report.
pub(super) fn print(document: &ReportDocument, reporter: &Reporter) {
    let groups = [("branch", "no branch", &document.by_branch), ("family", "", &document.by_family)];
    for (title, nameless, shares) in groups {
        reporter.data(format_args!("{:>10}  {:>10}  {:>7}  by {title}", "stored", "logical", "entries"));
        for share in shares.iter().take(ROWS) {
            let (stored, logical) = (Bytes(share.bytes()).to_string(), Bytes(share.content_bytes).to_string());
            let name = share.name.as_deref().unwrap_or(nameless);
            reporter.data(format_args!("{stored:>10}  {logical:>10}  {:>7}  {name}", share.entries));
        }
        if let Some(more) = shares.len().checked_sub(ROWS).filter(|&more| more > 0) {
            reporter.data(format_args!("{:>33}and {more} more", ""));
        }
    }
    if !document.troubles.is_empty() {
        let count = Count(document.troubles.len() as u64, "entry");
        reporter.data(format_args!("{count} with trouble: `--html FILE` and `--json` list them"));
    }
    if let Some(plan) = &document.plan {
        reporter.data(plan_line(plan));
    }
    reporter.line(totals_line(document));
    if let Some(price) = document.price {
        reporter.line(format_args!("{:.2} a month; deltas save up to {:.2}", price.stored, price.saved));
    }
}

/// What there is, in one sentence.
pub(super) fn totals_line(document: &ReportDocument) -> String {
    let total = &document.total;
    format!(
        "{}: {} stored for {} of files; deltas save up to {}",
        Count(total.entries, "entry"),
        Bytes(total.bytes()),
        Bytes(total.content_bytes),
        Bytes(total.saved_bytes())
    )
}

/// What the rules would do, in one sentence.
pub(super) fn plan_line(plan: &ReportedPlan) -> String {
    let ReportedPlan { before, after, .. } = plan;
    format!(
        "the rules would delete {}, {}, and keep {}, {}",
        Count(before.entries - after.entries, "entry"),
        Bytes(before.bytes - after.bytes),
        Count(after.entries, "entry"),
        Bytes(after.bytes)
    )
}
