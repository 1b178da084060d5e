//! What the rules would do, as a dry run of `prune` plans it.

use std::collections::BTreeMap;
use std::time::Duration;

use xcache_cli::output::v1::{PlanReason, PlannedEntry, ReportedPlan, Sum, Time};
use xcache_core::gc::plan::{Decision, Keep};
use xcache_core::gc::policy::Policy;
use xcache_core::gc::run::Outcome;

use crate::args::{ReportArgs, RuleArgs};
use crate::reason::reason;

/// The plan of a dry run.
pub(super) fn plan(outcome: &Outcome, policy: &Policy, args: &ReportArgs) -> ReportedPlan {
    let Outcome { now, inventory, plan, uploads, .. } = outcome;
    let mut reasons: BTreeMap<(bool, &'static str), Sum> = BTreeMap::new();
    let mut deleted = Vec::new();
    for id in inventory.ids() {
        let decision = plan.decision(id);
        if matches!(decision, Decision::Keep(Keep::Gone | Keep::Foreign)) {
            continue;
        }
        let reason = reason(decision, inventory, id, Some(policy), *now);
        let sum = reasons.entry((!reason.is_delete, reason.code)).or_default();
        sum.entries += 1;
        sum.bytes += inventory.size(id);
        if reason.is_delete {
            deleted.push(PlannedEntry {
                name: inventory.name(id).to_owned(),
                key: inventory.key(id),
                scope: inventory.scope(id).map(str::to_owned),
                kind: inventory.kind(id).to_string(),
                bytes: inventory.size(id),
                modified: Time(inventory.modified(id)),
                branch: inventory.branch(id).map(str::to_owned),
                decision: "delete".to_owned(),
                reason: reason.code.to_owned(),
                detail: reason.text,
            });
        }
    }
    let totals = plan.totals(inventory);
    let of_reason = |((is_kept, code), sum): ((bool, &str), Sum)| PlanReason {
        decision: if is_kept { "keep" } else { "delete" }.to_owned(),
        reason: code.to_owned(),
        entries: sum.entries,
        bytes: sum.bytes,
    };
    ReportedPlan {
        rules: rules(&args.rules),
        before: Sum { entries: totals.entries, bytes: totals.bytes },
        after: Sum { entries: totals.entries - totals.deleted_entries, bytes: totals.bytes - totals.deleted_bytes },
        reasons: reasons.into_iter().map(of_reason).collect(),
        deleted,
        stale_uploads: uploads.len() as u64,
    }
}

/// The rules as flags. A remote may hold a secret, so it is shown as it is shown everywhere.
fn rules(rules: &RuleArgs) -> Vec<String> {
    let RuleArgs {
        keep_newest,
        group_by,
        max_age,
        max_total_size,
        live_branches,
        live_branches_from_git,
        shadowed,
        dangling,
        stale_uploads,
        min_age,
    } = rules;
    let mut flags = Vec::new();
    flags.extend(keep_newest.map(|count| format!("--keep-newest {count}")));
    if keep_newest.is_some() {
        let value = clap::ValueEnum::to_possible_value(group_by).map(|value| value.get_name().to_owned());
        flags.extend(value.map(|value| format!("--group-by {value}")));
    }
    flags.extend(max_age.as_ref().map(|limit| format!("--max-age {}", age(limit))));
    flags.extend(max_total_size.map(|bytes| format!("--max-total-size {}", size(bytes))));
    flags.extend(live_branches.as_ref().map(|file| format!("--live-branches {}", file.display())));
    flags.extend(live_branches_from_git.as_ref().map(|remote| format!("--live-branches-from-git {remote}")));
    flags.extend(shadowed.then(|| "--shadowed".to_owned()));
    flags.extend(dangling.then(|| "--dangling".to_owned()));
    flags.extend(stale_uploads.as_ref().map(|limit| format!("--stale-uploads {}", age(limit))));
    flags.push(format!("--min-age {}", age(min_age)));
    flags
}

/// A duration as `parse_duration` reads it, exactly.
fn age(age: &Duration) -> String {
    let seconds = age.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "s"));
    format!("{}{name}", seconds / unit)
}

/// A size as `parse_size` reads it, exactly.
fn size(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "B"));
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use xcache_cli::values::parse_duration;

    use super::*;
    use crate::values::parse_size;

    #[test]
    fn rules_can_be_given_again() {
        for seconds in [0, 1, 60, 90, 3600, 86_400, 90_000, 86_400 * 30] {
            let limit = Duration::from_secs(seconds);
            assert_eq!(parse_duration(&age(&limit)).unwrap(), limit);
        }
        for bytes in [0, 1, 1023, 1 << 10, 3 << 20, 50 << 30, 1 << 40, (1 << 40) + 1] {
            assert_eq!(parse_size(&size(bytes)).unwrap(), bytes);
        }
        assert_eq!((age(&Duration::from_secs(86_400 * 30)), size(50 << 30)), ("30d".to_owned(), "50GiB".to_owned()));
    }
}
