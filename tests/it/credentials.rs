//! Where credentials, endpoints and proxies come from, and that nothing secret is ever shown.

use std::fs;
use std::path::Path;

use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3;

use crate::{GC, RESTORE, SAVE, saved};

/// A place on SeaweedFS, which checks credentials, with one entry in it.
fn place() -> Place {
    let (job, place) = (Job::new(), Place::on(s3::server()));
    fs::write(job.dir("source").join("file"), "x").unwrap();
    saved(&job, &place, "key", &job.path("source"));
    place
}

/// A restore that has only the variables given.
fn restore(job: &Job, place: &Place, variables: &[(&str, &str)]) -> Outcome {
    let mut command = job.command(RESTORE).args(["--store", place.url(), "--key", "key", "--json"]);
    for (name, value) in variables {
        command = command.env(name, value);
    }
    command.arg(job.path("target")).run()
}

fn word(outcome: &Outcome) -> String {
    outcome.json()["outcome"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn hits(place: &Place, variables: &[(&str, &str)]) {
    let outcome = restore(&Job::new(), place, variables);
    assert_eq!((outcome.code, word(&outcome).as_str()), (Some(0), "exact"), "{variables:?}: {}", outcome.stderr);
}

#[track_caller]
fn misses(place: &Place, variables: &[(&str, &str)], says: &str) {
    let outcome = restore(&Job::new(), place, variables);
    assert_eq!((outcome.code, word(&outcome).as_str()), (Some(0), "miss"), "{variables:?}: {}", outcome.stderr);
    assert!(outcome.stderr.contains(says), "{variables:?}: {}", outcome.stderr);
}

fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    base.iter().chain(more).copied().collect()
}

#[test]
fn blank_variables_and_white_space_around_values_change_nothing() {
    let place = place();
    let endpoint = s3::server().endpoint.clone();
    let base = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "xcachetest"),
        ("AWS_SECRET_ACCESS_KEY", "xcachetestsecret"),
        ("AWS_REGION", "us-east-1"),
    ];
    hits(&place, &base);
    for name in [
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL_S3",
        "AWS_CA_BUNDLE",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_SESSION_NAME",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_RETRY_MODE",
        "AWS_MAX_ATTEMPTS",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_SDK_UA_APP_ID",
        "AWS_REQUEST_CHECKSUM_CALCULATION",
        "AWS_RESPONSE_CHECKSUM_VALIDATION",
        "AWS_EC2_METADATA_DISABLED",
    ] {
        for blank in ["", " ", "\n"] {
            hits(&place, &with(&base, &[(name, blank)]));
        }
    }
    for at in 0..base.len() {
        let mut padded = base.map(|(name, value)| (name, value.to_owned()));
        padded[at].1 = format!(" {}\n", padded[at].1);
        let padded: Vec<_> = padded.iter().map(|(name, value)| (*name, value.as_str())).collect();
        hits(&place, &padded);
    }
    // A profile where its files are looked for by default.
    let job = Job::new();
    fs::create_dir(job.home().join(".aws")).unwrap();
    fs::write(job.home().join(".aws/credentials"), PROFILES).unwrap();
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"] {
        let outcome = restore(&job, &place, &[base[0], base[3], ("AWS_PROFILE", "good"), (name, "")]);
        assert_eq!(word(&outcome), "exact", "{name}: {}", outcome.stderr);
    }
}

/// A restore that has only the variables given is a miss for this reason, and says this.
#[track_caller]
fn is_misconfigured(variables: &[(&str, &str)], says: &[&str]) {
    let place = Place::on(s3::server());
    let endpoint = s3::server().endpoint.clone();
    let base = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_REGION", "us-east-1")];
    let job = Job::new();
    fs::create_dir(job.home().join(".aws")).unwrap();
    fs::write(job.home().join(".aws/config"), "[default]\nregion = us-east-1\n").unwrap();
    let outcome = restore(&job, &place, &with(&base, variables)).ok().says(says);
    assert_eq!(outcome.json()["reason"], "misconfigured", "{variables:?}: {}", outcome.stderr);
    assert!(!outcome.stderr.contains("IMDS") && !outcome.stderr.contains("no store"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("`profile `"), "{}", outcome.stderr);
    // A save and a clean-up say the same.
    fs::write(job.dir("source").join("file"), "x").unwrap();
    for (command, code) in [(job.command(SAVE).args(["--key", "key", "source"]), 0), (job.command(GC).arg("ls"), 1)] {
        let command = command.args(["--store", place.url()]);
        let command = with(&base, variables).iter().fold(command, |command, (name, value)| command.env(name, value));
        let outcome = command.run().expect_code(code).says(says);
        assert!(!outcome.stderr.contains("no store"), "{}", outcome.stderr);
    }
}

#[test]
fn the_missing_half_of_credentials_is_named() {
    const ID: (&str, &str) = ("AWS_ACCESS_KEY_ID", "xcachetest");
    const SECRET: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "xcachetestsecret");
    const BLANK_ID: (&str, &str) = ("AWS_ACCESS_KEY_ID", " ");
    const BLANK_SECRET: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "");
    const TOKEN: (&str, &str) = ("AWS_SESSION_TOKEN", "token");
    const ROLE: (&str, &str) = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/ci");
    const FILE: (&str, &str) = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/run/token");
    let check = |variables: &[(&str, &str)], half: &str, other: &str, how: &str| {
        is_misconfigured(variables, &[&format!("`{half}` is set, and `{other}` {how}")]);
    };
    check(&[ID, BLANK_SECRET], ID.0, SECRET.0, "is blank");
    check(&[ID], ID.0, SECRET.0, "is not set");
    check(&[BLANK_ID, SECRET], SECRET.0, ID.0, "is blank");
    check(&[SECRET], SECRET.0, ID.0, "is not set");
    check(&[TOKEN, BLANK_ID, BLANK_SECRET], TOKEN.0, ID.0, "is blank");
    check(&[ROLE, (FILE.0, "")], ROLE.0, FILE.0, "is blank");
    check(&[FILE, (ROLE.0, "")], FILE.0, ROLE.0, "is blank");
    check(&[ID, BLANK_SECRET, ("AWS_PROFILE", "default")], ID.0, SECRET.0, "is blank");
    let temporary = [("AWS_ACCESS_KEY_ID", "ASIAXCACHE"), SECRET, ("AWS_SESSION_TOKEN", "")];
    is_misconfigured(&temporary, &["`AWS_SESSION_TOKEN` is blank", "hint: set `AWS_SESSION_TOKEN`"]);
    // Where nothing is there by halves, what is blank is named with the refusal.
    let place = place();
    let endpoint = s3::server().endpoint.clone();
    let all_blank = [("AWS_ENDPOINT_URL", endpoint.as_str()), BLANK_ID, BLANK_SECRET, ("AWS_PROFILE", "")];
    misses(&place, &all_blank, "(`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE` are blank)");
}

#[test]
fn what_is_configured_and_cannot_be_used_is_named() {
    is_misconfigured(&[("XCACHE_S3_PROFILE", "nope")], &["cannot use profile `nope`: `--s3-profile` names it"]);
    is_misconfigured(&[("AWS_PROFILE", "nope")], &["cannot use profile `nope`: AWS_PROFILE names it"]);
    is_misconfigured(&[("AWS_CA_BUNDLE", "/nope")], &["cannot read `/nope`", "AWS_CA_BUNDLE"]);
    is_misconfigured(&[("AWS_ENDPOINT_URL_S3", "ftp://host")], &["AWS_ENDPOINT_URL_S3"]);
}

const PROFILES: &str = "[good]\naws_access_key_id = xcachetest\naws_secret_access_key = xcachetestsecret\n\
                        [bad]\naws_access_key_id = stranger\naws_secret_access_key = x\n";

#[test]
fn a_key_that_no_header_can_hold_is_said_to_be_one() {
    let place = place();
    let endpoint = s3::server().endpoint.clone();
    for (id, token) in [("xcache\ntest", ""), ("xcache test", ""), ("xcachetest", "to\nken"), ("schlüssel", "")] {
        let variables = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", id),
            ("AWS_SECRET_ACCESS_KEY", "xcachetestsecret"),
            ("AWS_SESSION_TOKEN", token),
            ("AWS_REGION", "us-east-1"),
        ];
        misses(&place, &variables, "another character that no such text has");
        let options = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("XCACHE_AWS_ACCESS_KEY_ID", id),
            ("XCACHE_AWS_SECRET_ACCESS_KEY", "xcachetestsecret"),
            ("XCACHE_AWS_SESSION_TOKEN", token),
            ("AWS_REGION", "us-east-1"),
        ];
        misses(&place, &options, "another character that no such text has");
    }
}

#[test]
fn a_profile_that_was_asked_for_wins_and_a_missing_one_is_named() {
    let place = place();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("credentials");
    fs::write(&file, PROFILES).unwrap();
    let (endpoint, file) = (s3::server().endpoint.clone(), file.to_str().unwrap().to_owned());
    let base =
        [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_REGION", "us-east-1"), ("AWS_SHARED_CREDENTIALS_FILE", &file)];
    let good = [("AWS_ACCESS_KEY_ID", "xcachetest"), ("AWS_SECRET_ACCESS_KEY", "xcachetestsecret")];
    let bad = [("AWS_ACCESS_KEY_ID", "stranger"), ("AWS_SECRET_ACCESS_KEY", "x")];
    for variable in ["AWS_PROFILE", "XCACHE_S3_PROFILE"] {
        hits(&place, &with(&with(&base, &bad), &[(variable, "good")]));
        hits(&place, &with(&base, &[(variable, "good")]));
        misses(&place, &with(&with(&base, &good), &[(variable, "bad")]), "access key");
        misses(&place, &with(&base, &[(variable, "nowhere")]), "profile `nowhere`");
    }
    // Asked for by option, it is not replaced by what happens to be there; AWS tools use the keys in the other case.
    misses(&place, &with(&with(&base, &good), &[("XCACHE_S3_PROFILE", "nowhere")]), "profile `nowhere`");
    hits(&place, &with(&with(&base, &good), &[("AWS_PROFILE", "nowhere")]));
    hits(&place, &with(&with(&base, &good), &[("AWS_PROFILE", "default")]));
}

#[test]
fn the_option_wins_over_configured_endpoints() {
    let place = place();
    let endpoint = s3::server().endpoint.clone();
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let of_profile = write("global", format!("[default]\nendpoint_url = {endpoint}\n"));
    let of_services =
        write("services", format!("[default]\nservices = here\n[services here]\ns3 =\n  endpoint_url = {endpoint}\n"));
    let nowhere = write("nowhere", "[default]\nendpoint_url = http://127.0.0.1:9\n".to_owned());
    let base = [
        ("AWS_ACCESS_KEY_ID", "xcachetest"),
        ("AWS_SECRET_ACCESS_KEY", "xcachetestsecret"),
        ("AWS_REGION", "us-east-1"),
    ];
    let wrong = [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9"),
        ("AWS_CONFIG_FILE", nowhere.as_str()),
    ];
    let option = [("XCACHE_S3_ENDPOINT", endpoint.as_str())];
    hits(&place, &with(&with(&base, &wrong), &option));
    hits(&place, &with(&with(&with(&base, &wrong), &option), &[("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]));
    hits(&place, &with(&base, &[("AWS_CONFIG_FILE", &of_profile)]));
    hits(&place, &with(&base, &[("AWS_CONFIG_FILE", &of_services)]));
    hits(
        &place,
        &with(&base, &[("AWS_CONFIG_FILE", &of_profile), ("AWS_ENDPOINT_URL", ""), ("AWS_ENDPOINT_URL_S3", " ")]),
    );
    hits(&place, &with(&base, &[("AWS_CONFIG_FILE", &nowhere), ("AWS_ENDPOINT_URL", &endpoint)]));
    misses(&place, &with(&base, &wrong), "127.0.0.1:9");
}

#[test]
fn no_proxy_is_used_for_any_address_if_none_is_to_be_used_for_all() {
    let place = place();
    let endpoint = s3::server().endpoint.clone();
    let base = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "xcachetest"),
        ("AWS_SECRET_ACCESS_KEY", "xcachetestsecret"),
        ("AWS_REGION", "us-east-1"),
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("ALL_PROXY", "http://127.0.0.1:9"),
    ];
    misses(&place, &base, "127.0.0.1");
    for (name, value) in
        [("NO_PROXY", "*"), ("no_proxy", "*"), ("NO_PROXY", "example.com, *"), ("NO_PROXY", "127.0.0.1")]
    {
        hits(&place, &with(&base, &[(name, value)]));
    }
}

#[test]
fn a_public_bucket_needs_no_credentials() {
    // Ministack serves all the world.
    let (job, place) = (Job::new(), Place::on(s3::ministack()));
    fs::write(job.dir("source").join("file"), "x").unwrap();
    saved(&job, &place, "key", &job.path("source"));
    let mut recording = Proxy::recording(s3::ministack());
    let endpoint = recording.endpoint().to_owned();
    let base = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_REGION", "us-east-1")];
    hits(&place, &base);
    hits(
        &place,
        &with(&base, &[("XCACHE_S3_ANONYMOUS", "true"), ("AWS_ACCESS_KEY_ID", "x y"), ("AWS_SECRET_ACCESS_KEY", "x")]),
    );
    assert!(!recording.requests().is_empty());
    // Where the store wants to know who asks, it is said that nothing was found.
    let private = Place::on(s3::server());
    let endpoint = s3::server().endpoint.clone();
    let base = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_REGION", "us-east-1")];
    misses(&private, &base, "no credentials found");
    misses(&private, &with(&base, &[("XCACHE_S3_ANONYMOUS", "1")]), "denied");
    let outcome = job
        .command(SAVE)
        .args(["--store", private.url(), "--key", "k"])
        .env("AWS_ENDPOINT_URL", &endpoint)
        .arg(job.path("source"))
        .run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.clone().reviewed();
    let both = job
        .command(SAVE)
        .args(["--store", private.url(), "--key", "k", "--s3-anonymous", "--s3-profile", "p"])
        .arg(job.path("source"))
        .run();
    assert_eq!(both.code, Some(2), "{}", both.stderr);
}

const SECRET: &str = "hush/Secret+0123456789";

/// Everything that a program has written below its job's directories.
fn written(job: &Job) -> String {
    fn collect(directory: &Path, all: &mut String) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, all);
            } else if let Ok(bytes) = fs::read(&path) {
                all.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
    }
    let mut all = String::new();
    job.dirs().iter().for_each(|directory| collect(directory, &mut all));
    all
}

/// Secrets where people put them, in each input of the three programs.
#[test]
fn no_secret_is_shown_or_written() {
    let inputs = [
        ("XCACHE_STORE", format!("s3://AKIA:{SECRET}@bucket")),
        ("XCACHE_STORE", format!("s3://AKIA:{SECRET}@bucket/prefix")),
        ("XCACHE_STORE", format!("gs://AKIA:{SECRET}@bucket")),
        ("XCACHE_STORE", format!("file://user:{SECRET}@host/dir")),
        ("XCACHE_STORE", format!("AKIA:{SECRET}@bucket")),
        ("XCACHE_S3_BUCKET", format!("AKIA:{SECRET}@bucket")),
        ("XCACHE_S3_ENDPOINT", format!("http://user:{SECRET}@127.0.0.1:9")),
        ("XCACHE_S3_ENDPOINT", format!("user:{SECRET}@127.0.0.1:9")),
        ("XCACHE_S3_ENDPOINT", format!("http://127.0.0.1:9/?token={SECRET}")),
        ("XCACHE_S3_ENDPOINT", format!("127.0.0.1:9/?token={SECRET}")),
        ("XCACHE_S3_ENDPOINT", format!("http://127.0.0.1:9/#{SECRET}")),
        ("AWS_ENDPOINT_URL", format!("http://user:{SECRET}@127.0.0.1:9")),
        ("AWS_ENDPOINT_URL_S3", format!("127.0.0.1:9?token={SECRET}")),
        ("XCACHE_AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ("XCACHE_AWS_SESSION_TOKEN", SECRET.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ("AWS_SESSION_TOKEN", SECRET.to_owned()),
        ("XCACHE_LIVE_BRANCHES_FROM_GIT", format!("http://x-access-token:{SECRET}@127.0.0.1:9/repository")),
        ("XCACHE_LIVE_BRANCHES_FROM_GIT", format!("http://127.0.0.1:9/repository?token={SECRET}")),
    ];
    for (name, value) in &inputs {
        for is_github in [false, true] {
            for (program, arguments) in [
                (SAVE, &["--key", "k", "source"][..]),
                (RESTORE, &["--key", "k", "target"]),
                (GC, &["prune", "--max-age", "1d", "--dry-run"]),
                (SAVE, &["--help"]),
                (GC, &["prune", "--help"]),
            ] {
                let job = if is_github { Job::github() } else { Job::new() };
                fs::write(job.dir("source").join("file"), "x").unwrap();
                let mut command = job.command(program);
                for (name, value) in [
                    ("XCACHE_STORE", "s3://bucket/prefix"),
                    ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
                    ("AWS_REGION", "us-east-1"),
                    ("AWS_ACCESS_KEY_ID", "AKIA"),
                    ("AWS_SECRET_ACCESS_KEY", "other"),
                    ("XCACHE_AWS_ACCESS_KEY_ID", "AKIA"),
                    ("XCACHE_AWS_SECRET_ACCESS_KEY", "other"),
                ] {
                    command = command.env(name, value);
                }
                if *name == "XCACHE_S3_BUCKET" {
                    command = command.env("XCACHE_STORE", "");
                }
                let more: &[&str] = if arguments.contains(&"--help") { &[] } else { &["-vv", "--json"] };
                let outcome = command.env(name, value).args(arguments).args(more).run();
                let all = format!("{}{}{}", outcome.stdout, outcome.stderr, written(&job));
                assert!(!all.contains(SECRET) && !all.contains("hush"), "{name}={value} {arguments:?}: {all}");
            }
        }
    }
}
