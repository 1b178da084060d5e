//! `doctor`: whether a store can be used, and by whom, tried out with small objects below `.xcache/probe/`.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use xcache_cli::output::v1::{DoctorCheck, DoctorDocument, FORMAT};
use xcache_cli::report::human::Count;
use xcache_cli::report::{Reporter, chain};
use xcache_cli::{Exit, RunContext, print_document};
use xcache_core::object::RunId;
use xcache_core::store::open::{OpenedStore, StoreConfig, open};
use xcache_core::store::s3::S3Store;
use xcache_core::store::s3::settings::LifecycleRule;
use xcache_core::store::versions::Versioning;
use xcache_core::store::{self, ByteRange, Deletion, ErrorKind, ObjectName, PutMode, Store, Tags, collect};

use crate::args::{DoctorArgs, ForRole};

/// Long enough to measure, short enough for any connection.
const SAMPLE_BYTES: usize = 1 << 20;
/// Signed requests are refused at a quarter of an hour.
const SKEW_WARNING: TimeDelta = TimeDelta::minutes(5);
/// How old a base may be that a delta builds on, unless `--rebase-after` says otherwise.
const REBASE_AFTER_DAYS: i32 = 7;

/// Runs the command.
pub(crate) async fn run(args: &DoctorArgs, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Exit> {
    let selection = args.common.store.resolve(context)?;
    let mut doctor = Doctor { role: args.role, checks: Vec::new() };
    doctor.surroundings(context, &selection.config);
    match open(&selection.config).await {
        Err(error) => doctor.failed("open", &error, None),
        Ok(opened) => doctor.examine(&opened, context.now).await?,
    }
    let count = |status: &str| doctor.checks.iter().filter(|check| check.status == status).count() as u64;
    let document = DoctorDocument {
        format: FORMAT,
        command: "doctor".to_owned(),
        store: selection.config.url.to_string(),
        role: args.role.word().to_owned(),
        problems: count("problem"),
        warnings: count("warning"),
        checks: doctor.checks,
    };
    print(&document, reporter);
    print_document(reporter, &document);
    Ok(if document.problems > 0 { Exit::Failed } else { Exit::Done })
}

fn print(document: &DoctorDocument, reporter: &Reporter) {
    for DoctorCheck { name, status, detail, fix } in &document.checks {
        reporter.data(format_args!("{status:<8} {name:<12} {detail}"));
        if let Some(fix) = fix {
            reporter.data(format_args!("{:<8} {:<12} {fix}", "", "  fix:"));
        }
    }
    let DoctorDocument { problems, warnings, .. } = document;
    reporter.line(format_args!("{}, {}", Count(*problems, "problem"), Count(*warnings, "warning")));
}

struct Doctor {
    role: ForRole,
    checks: Vec<DoctorCheck>,
}

impl Doctor {
    fn note(&mut self, status: &str, name: &str, detail: impl Into<String>, fix: Option<String>) {
        let (name, status, detail) = (name.to_owned(), status.to_owned(), detail.into());
        self.checks.push(DoctorCheck { name, status, detail, fix });
    }

    fn ok(&mut self, name: &str, detail: impl Into<String>) {
        self.note("ok", name, detail, None);
    }

    /// Something that a run would fail at. `fix` mends it if the role may not do it; otherwise the hint of the error does.
    fn failed(&mut self, name: &str, error: &store::Error, fix: Option<String>) {
        let fix = fix.filter(|_| error.kind() == ErrorKind::Denied).or_else(|| error.hint_text().map(str::to_owned));
        self.note("problem", name, chain::text(error), fix);
    }

    /// What is known without a request.
    fn surroundings(&mut self, context: &RunContext, config: &StoreConfig) {
        let ci = &context.ci;
        let detail = match ci.system {
            None => "no CI system recognised: entries are shared, and this run may save".to_owned(),
            Some(system) => {
                let trigger = ci.trigger.as_deref().unwrap_or("an unknown trigger");
                let pull_request = if ci.pull_request.is_some() { ", a pull request" } else { "" };
                format!("{}, started by {trigger}{pull_request}", system.name())
            }
        };
        self.ok("ci", detail);
        if config.url.to_string().starts_with("s3://") {
            self.ok("credentials", origin(config));
        }
    }

    /// All that takes requests.
    async fn examine(&mut self, opened: &OpenedStore, now: DateTime<Utc>) -> anyhow::Result<()> {
        if !opened.exists() {
            let fix = "check the path; otherwise the first save makes it".to_owned();
            self.note("warning", "store", "there is no store in this directory yet", Some(fix));
            return Ok(());
        }
        let statements = Statements::of(opened);
        if let Some(s3) = opened.s3() {
            let endpoint = s3.endpoint().unwrap_or("AWS");
            self.ok("bucket", format!("`{}` at {endpoint}, region {}", s3.bucket_name(), s3.region()));
        }
        let begun = Instant::now();
        match opened.store.list("", None).await {
            Ok(page) => {
                let more = if page.next.is_some() { "more than " } else { "" };
                let objects = Count(page.objects.len() as u64, "object");
                let detail = format!("allowed: {more}{objects} in {}", millis(begun.elapsed()));
                self.ok("list", detail);
            }
            // Nothing else can be told then.
            Err(error) if !matches!(error.kind(), ErrorKind::Denied) => {
                self.failed("list", &error, None);
                return Ok(());
            }
            Err(error) => self.failed("list", &error, statements.list()),
        }
        let probe = ObjectName::new(format!(".xcache/probe/doctor-{}", RunId::new()?))?;
        if self.role == ForRole::Restore {
            self.reads(&*opened.store, &probe, &statements).await;
        } else {
            self.round_trip(&*opened.store, &probe, &statements, now).await;
            if self.checks.iter().all(|check| check.status != "problem") {
                self.features(opened).await;
            }
        }
        if let Some(s3) = opened.s3() {
            self.settings(s3).await;
        }
        Ok(())
    }

    /// A role that may read is told that an object is not there.
    async fn reads(&mut self, store: &dyn Store, probe: &ObjectName, statements: &Statements) {
        let begun = Instant::now();
        match store.get(probe, ByteRange::Full, None).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.ok("get", format!("allowed: an answer in {}", millis(begun.elapsed())));
            }
            Ok(_) => self.ok("get", "allowed"),
            // Without the right to list, what is not there is "denied" too.
            Err(error) if self.checks.iter().any(|check| check.name == "list" && check.status == "problem") => {
                self.note("unknown", "get", chain::text(&error), None);
            }
            Err(error) => self.failed("get", &error, statements.objects("s3:GetObject")),
        }
    }

    /// Writes, tags, reads and deletes a small object.
    async fn round_trip(&mut self, store: &dyn Store, probe: &ObjectName, statements: &Statements, now: DateTime<Utc>) {
        let begun = Instant::now();
        if let Err(error) = store.put(probe, vec![b'x'; SAMPLE_BYTES].into(), PutMode::Overwrite, &Tags::new()).await {
            return self.failed("put", &error, statements.objects("s3:PutObject"));
        }
        self.ok("put", format!("allowed: 1 MiB in {}", millis(begun.elapsed())));
        let begun = Instant::now();
        let read = async { collect(store.get(probe, ByteRange::Full, None).await?, SAMPLE_BYTES).await };
        match read.await {
            Ok(read) if read.len() == SAMPLE_BYTES => {
                self.ok("get", format!("allowed: 1 MiB in {}", millis(begun.elapsed())));
            }
            Ok(read) => self.note("problem", "get", format!("{} bytes of {SAMPLE_BYTES} came back", read.len()), None),
            Err(error) => self.failed("get", &error, statements.objects("s3:GetObject")),
        }
        if let Ok(meta) = store.head(probe).await {
            self.clock(meta.last_modified - now);
        }
        self.tags(store, probe, statements).await;
        let upload = match store.upload(probe, &Tags::new()).await {
            Ok(upload) => upload.abort().await,
            Err(error) => Err(error),
        };
        match upload {
            Ok(()) => self.ok("multipart", "uploads in parts can be begun and aborted"),
            Err(error) => {
                let fix = statements.objects("s3:PutObject\", \"s3:AbortMultipartUpload");
                self.failed("multipart", &error, fix);
            }
        }
        let deletion = Deletion { name: probe.clone(), if_match: None };
        match store.delete(&[deletion]).await.pop() {
            Some(Err(error)) => self.failed("delete", &error, statements.objects("s3:DeleteObject")),
            _ => self.ok("delete", "allowed"),
        }
    }

    async fn tags(&mut self, store: &dyn Store, probe: &ObjectName, statements: &Statements) {
        let tags = Tags::from([("branch".to_owned(), "main".to_owned())]);
        match store.set_tags(probe, &tags).await {
            Ok(()) => match store.tags(probe).await {
                Ok(found) if found == tags => self.ok("tags", "written and read back"),
                Ok(_) => self.note("warning", "tags", "the store drops tags: no branches, no pins", None),
                Err(error) if self.role != ForRole::Save => {
                    self.failed("tags", &error, statements.objects("s3:GetObjectTagging"));
                }
                Err(error) => self.note("unknown", "tags", chain::text(&error), None),
            },
            Err(error) if error.kind() == ErrorKind::Denied => {
                let fix = statements.objects("s3:PutObjectTagging");
                self.note("warning", "tags", format!("entries get no tags: {}", chain::text(&error)), fix);
            }
            Err(error) => {
                let detail = format!("the store has no tags, so no branches and no pins: {}", chain::text(&error));
                self.note("warning", "tags", detail, Some("use `--scope` to keep branches apart".to_owned()));
            }
        }
    }

    fn clock(&mut self, ahead: TimeDelta) {
        let seconds = ahead.num_seconds();
        if ahead.abs() < SKEW_WARNING {
            self.ok("clock", format!("the store's differs by {seconds} s"));
        } else {
            let fix = "set the clock of this machine, for example by NTP".to_owned();
            self.note("warning", "clock", format!("the store's differs by {seconds} s"), Some(fix));
        }
    }

    /// Conditions on writes and deletions.
    async fn features(&mut self, opened: &OpenedStore) {
        match opened.features().await {
            Ok(_) if opened.is_untried() => self.note("unknown", "conditions", "this role may not try them", None),
            Ok(features)
                if features.create_only_put && features.create_only_multipart && features.conditional_delete =>
            {
                self.ok("conditions", "conditional writes, uploads and deletions are honoured");
            }
            Ok(features) => {
                let lacks = [
                    (features.create_only_put, "If-None-Match on PutObject"),
                    (features.create_only_multipart, "If-None-Match on CompleteMultipartUpload"),
                    (features.conditional_delete, "If-Match on DeleteObject"),
                ];
                let lacks: Vec<&str> = lacks.iter().filter(|(has, _)| !has).map(|(_, what)| *what).collect();
                let detail = format!("the store lacks {}", lacks.join(", "));
                let fix = "docs/stores.md says what xcache does instead, and what remains".to_owned();
                self.note("warning", "conditions", detail, Some(fix));
            }
            Err(error) => self.failed("conditions", &error, None),
        }
    }

    /// What the bucket does by itself.
    async fn settings(&mut self, s3: &S3Store) {
        let rules = match s3.lifecycle().await {
            Ok(rules) => rules,
            Err(error) => {
                self.note("unknown", "lifecycle", chain::text(&error), None);
                Vec::new()
            }
        };
        for rule in &rules {
            let (status, detail, fix) = judge(rule);
            self.note(status, "lifecycle", detail, fix);
        }
        match s3.versioning().await {
            Versioning::Off => self.ok("versioning", "off: what is deleted takes no space"),
            Versioning::Unknown(why) => self.note("unknown", "versioning", why, None),
            _ if rules.iter().any(|rule| rule.expires_old_versions) => {
                self.ok("versioning", "old versions are kept until a lifecycle rule deletes them");
            }
            _ => {
                let fix = "add a lifecycle rule with NoncurrentVersionExpiration, or clean up with `--delete-versions`";
                let detail = "what is deleted goes on taking space as an old version";
                self.note("warning", "versioning", detail, Some(fix.to_owned()));
            }
        }
        match s3.default_encryption().await {
            Ok(None) => self.ok("encryption", "none by default"),
            Ok(Some(algorithm)) if algorithm.contains("kms") => {
                let detail = format!(
                    "{algorithm} by default: a save needs kms:GenerateDataKey and kms:Decrypt, a restore kms:Decrypt"
                );
                self.ok("encryption", detail);
            }
            Ok(Some(algorithm)) => self.ok("encryption", format!("{algorithm} by default")),
            Err(error) => self.note("unknown", "encryption", chain::text(&error), None),
        }
    }
}

/// What a lifecycle rule does to deltas: one is up to `--rebase-after` younger than what it builds on, so it can be restored
/// for that much less than the rule allows.
fn judge(rule: &LifecycleRule) -> (&'static str, String, Option<String>) {
    let LifecycleRule { id, prefix, is_conditional, expires_after_days, archives_to, .. } = rule;
    let some = if *is_conditional { " some" } else { "" };
    let about = format!("rule `{id}` for `{prefix}*`");
    if let Some(class) = archives_to {
        let fix = "exclude the prefix of the cache from the rule".to_owned();
        return ("problem", format!("{about} moves{some} objects to {class}, where they cannot be read"), Some(fix));
    }
    let age = |days: i32| Count(days.unsigned_abs().into(), "day");
    match expires_after_days {
        Some(days) if *days <= REBASE_AFTER_DAYS => {
            let fix = format!(
                "let the rule wait for more than {REBASE_AFTER_DAYS} days, or save with a `--rebase-after` below that of the \
                 rule; `xcache-gc prune --max-age` deletes by age without breaking deltas"
            );
            let detail = format!(
                "{about} deletes{some} objects after {}, and a delta may build on one that is {REBASE_AFTER_DAYS} days older",
                age(*days)
            );
            ("problem", detail, Some(fix))
        }
        Some(days) => {
            let detail = format!(
                "{about} deletes{some} objects after {}: entries can be restored for {} with the default \
                 `--rebase-after {REBASE_AFTER_DAYS}d`",
                age(*days),
                age(days - REBASE_AFTER_DAYS)
            );
            ("ok", detail, None)
        }
        None => ("ok", format!("{about} deletes no entry"), None),
    }
}

/// Statements for the policy of the role; none for a directory.
struct Statements(Option<(String, String)>);

impl Statements {
    fn of(opened: &OpenedStore) -> Self {
        Self(opened.s3().map(|s3| (s3.bucket_name().to_owned(), s3.prefix().to_owned())))
    }

    fn objects(&self, action: &str) -> Option<String> {
        let (bucket, prefix) = self.0.as_ref()?;
        Some(format!(r#"{{"Effect":"Allow","Action":["{action}"],"Resource":"arn:aws:s3:::{bucket}/{prefix}*"}}"#))
    }

    fn list(&self) -> Option<String> {
        let (bucket, prefix) = self.0.as_ref()?;
        Some(format!(
            r#"{{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::{bucket}","Condition":{{"StringLike":{{"s3:prefix":"{prefix}*"}}}}}}"#
        ))
    }
}

/// Where credentials come from, in the order in which they are looked for.
fn origin(config: &StoreConfig) -> String {
    let s3 = &config.s3;
    let environment = &s3.environment;
    if s3.role.is_some() {
        return "a role, taken with the identity of the CI job".to_owned();
    }
    if s3.is_anonymous {
        return "none: requests are not signed (`--s3-anonymous`)".to_owned();
    }
    match (&s3.credentials, &s3.profile, &environment.profile, &environment.credentials) {
        (Some(_), ..) => "the options `--aws-access-key-id` and `--aws-secret-access-key`".to_owned(),
        (_, Some(profile), ..) => format!("profile `{profile}` (`--s3-profile`)"),
        (_, _, _, Some(_)) => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned(),
        (_, _, Some(profile), _) => format!("profile `{profile}` (AWS_PROFILE)"),
        _ if environment.web_identity.is_some() => "a role, taken with AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(),
        _ => "the default profile, or the machine; none if they have none".to_owned(),
    }
}

fn millis(elapsed: Duration) -> String {
    format!("{} ms", elapsed.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifecycle_rule_must_leave_time_for_deltas() {
        let check = |days: Option<i32>, class: Option<&str>, expected: &str, says: &str| {
            let rule = LifecycleRule {
                expires_after_days: days,
                archives_to: class.map(str::to_owned),
                ..LifecycleRule::default()
            };
            let (status, detail, fix) = judge(&rule);
            assert_eq!((status, fix.is_some()), (expected, expected == "problem"), "{detail}");
            assert!(detail.contains(says), "{detail}");
        };
        check(None, None, "ok", "deletes no entry");
        check(Some(30), None, "ok", "for 23 days");
        check(Some(8), None, "ok", "for 1 day ");
        check(Some(7), None, "problem", "after 7 days");
        check(Some(1), None, "problem", "after 1 day,");
        check(None, Some("GLACIER"), "problem", "GLACIER");
        check(Some(30), Some("DEEP_ARCHIVE"), "problem", "cannot be read");
    }
}
