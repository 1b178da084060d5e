//! A role that the program takes by itself, with the identity of the CI job: from a double of the runner's token service
//! and of STS, on loopback. The store is one that takes any credentials.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::s3;
use xcache_tests::sts::{Answer, BEARER, Behaviour, SECRET_KEY, SESSION_TOKEN, Services, TOKEN, refusal};

use crate::{RESTORE, SAVE};

const ROLE: &str = "arn:aws:iam::123456789012:role/ci";

/// A program with a store and no other credentials than what the role gives.
fn command(job: &Job, place: &Place, services: &Services, program: &str) -> Invocation {
    let command = job.command(program).args(["--store", place.url(), "--key", "k", "--json", "-vv"]);
    let env = place.env().into_iter().filter(|(name, _)| !name.contains("KEY"));
    let command = env.fold(command, |command, (name, value)| command.env(name, value));
    command.env("AWS_ENDPOINT_URL_STS", services.sts())
}

/// The same with the role, on GitHub.
fn on_github(job: &Job, place: &Place, services: &Services, program: &str) -> Invocation {
    let command = command(job, place, services, program).args(["--s3-role", ROLE]);
    let command = command.env("ACTIONS_ID_TOKEN_REQUEST_URL", services.token_url());
    command.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", BEARER).env("GITHUB_RUN_ID", "17").env("GITHUB_JOB", "build/x")
}

fn with_file(job: &Job) {
    fs::write(job.path("file"), "text").unwrap();
}

/// No secret is in any of the texts.
#[track_caller]
fn check_hidden(what: &str, text: &str) {
    for secret in [TOKEN, BEARER, SECRET_KEY, SESSION_TOKEN] {
        assert!(!text.contains(secret), "{secret} is in {what}: {text}");
    }
}

fn check_dir_hidden(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            check_dir_hidden(&path);
        } else {
            let bytes = fs::read(&path).unwrap();
            check_hidden(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a_job_saves_and_restores_with_a_role_and_shows_no_secret() {
    let (place, services) = (Place::on(s3::ministack()), Services::start(Behaviour::default()));
    let job = Job::github();
    with_file(&job);
    let save = on_github(&job, &place, &services, SAVE).arg("file").run().ok();
    assert_eq!(save.json()["outcome"], "saved", "{}", save.stderr);
    fs::remove_file(job.path("file")).unwrap();
    let restore = on_github(&job, &place, &services, RESTORE).arg("file").run().ok();
    assert_eq!(restore.json()["outcome"], "exact", "{}", restore.stderr);

    assert_eq!(services.token_requests().len(), 2, "one for each run");
    let asked = &services.token_requests()[0];
    assert!(asked.line.starts_with("GET /token?api-version=2.0&audience=sts.amazonaws.com "), "{}", asked.line);
    let exchanges = services.exchanges();
    assert_eq!(exchanges.len(), 2, "one for each run");
    let form = |name: &str| exchanges[0].form[name].as_str();
    assert_eq!((form("Action"), form("RoleArn")), ("AssumeRoleWithWebIdentity", ROLE));
    assert_eq!((form("WebIdentityToken"), form("DurationSeconds")), (TOKEN, "3600"));
    assert_eq!(form("RoleSessionName"), "xcache-17-build-x");
    assert!(!exchanges[0].headers.contains_key("authorization"), "the exchange is not signed");

    for outcome in [&save, &restore] {
        check_hidden("the output", &format!("{}{}", outcome.stdout, outcome.stderr));
    }
    for name in ["GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"] {
        check_hidden(name, &fs::read_to_string(job.github_file(name)).unwrap_or_default());
    }
    for dir in job.dirs() {
        check_dir_hidden(&dir);
    }
    for name in place.objects() {
        check_hidden(&name, &String::from_utf8_lossy(&place.get(&name).unwrap_or_default()));
    }
}

#[test]
fn credentials_are_renewed_before_they_end_and_not_because_of_a_wrong_clock() {
    let run = |behaviour: Behaviour| {
        let (place, services) = (Place::on(s3::ministack()), Services::start(behaviour));
        let job = Job::github();
        with_file(&job);
        let outcome = on_github(&job, &place, &services, SAVE).arg("file").run().ok();
        assert_eq!(outcome.json()["outcome"], "saved", "{}", outcome.stderr);
        (services.exchanges().len(), services.token_requests().len())
    };
    let hour = Behaviour::default().lifetime;
    assert_eq!(run(Behaviour::default()), (1, 1));
    // The clock of this machine is wrong: what counts is how long the credentials last, not until when.
    for ahead in [-7200, -600, 600, 7200] {
        assert_eq!(run(Behaviour { ahead, ..Behaviour::default() }), (1, 1), "{ahead}");
    }
    // They end at once, so that each request needs new ones, and each exchange a new token.
    let (exchanges, tokens) = run(Behaviour { lifetime: Duration::ZERO, ..Behaviour::default() });
    assert!(exchanges > 2 && tokens == exchanges, "{exchanges} exchanges of {tokens} tokens");
    assert!(hour > Duration::ZERO);
}

/// How a save and a restore end that cannot take the role: one annotation, and no failure unless that is asked for.
#[track_caller]
fn check_refused(services: &Services, change: impl Fn(Invocation) -> Invocation, parts: &[&str]) -> [Outcome; 2] {
    let place = Place::on(s3::ministack());
    let run = |program: &str, args: &[&str]| {
        let job = Job::github();
        with_file(&job);
        change(on_github(&job, &place, services, program)).args(args).arg("file").run()
    };
    let outcomes = [SAVE, RESTORE].map(|program| {
        let outcome = run(program, &[]).ok();
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        assert_eq!((text.matches("::warning::").count(), text.matches("::error::").count()), (1, 0), "{text}");
        for part in parts {
            assert!(text.contains(part), "`{part}` is missing in {text}");
        }
        check_hidden("the output", &text);
        outcome
    });
    assert_eq!(outcomes[0].json()["outcome"], "not-saved");
    assert_eq!(outcomes[1].json()["outcome"], "miss");
    run(SAVE, &["--fail-on-error"]).expect_code(1);
    outcomes
}

#[test]
fn a_refusal_is_one_warning_that_says_why() {
    let role = format!("cannot take the role `{ROLE}`");
    for (code, message, part) in [
        ("ExpiredTokenException", "Token expired: current date/time 1 must be before the expiration 0", "too old"),
        ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", "trust policy of the role"),
        ("InvalidIdentityToken", "No OpenIDConnect provider found in your account", "identity provider"),
    ] {
        let sts = Answer::Status(if code == "AccessDenied" { 403 } else { 400 }, refusal(code, message));
        let services = Services::start(Behaviour { sts, ..Behaviour::default() });
        check_refused(&services, |command| command, &[&role, message, code, part]);
        assert_eq!(services.exchanges().len(), 3, "{code}: once for each run");
    }
    let html = "<html><body>Sign in to continue</body></html>".to_owned();
    let services = Services::start(Behaviour { sts: Answer::Status(200, html.clone()), ..Behaviour::default() });
    check_refused(&services, |command| command, &[&role]);

    let token = |answer| Services::start(Behaviour { token: answer, ..Behaviour::default() });
    let services = token(Answer::Status(200, html));
    check_refused(&services, |command| command, &["holds no identity token"]);
    let services = token(Answer::Status(401, "{}".to_owned()));
    check_refused(&services, |command| command, &["HTTP 401", "id-token: write"]);
    assert_eq!((services.token_requests().len(), services.exchanges().len()), (3, 0), "asked once in each run");
}

#[test]
fn a_service_that_is_busy_is_asked_again_and_a_silent_one_not_for_ever() {
    let place = Place::on(s3::ministack());
    let busy = Behaviour { token: Answer::GoodAfter(2, 503), sts: Answer::GoodAfter(1, 500), ..Behaviour::default() };
    let services = Services::start(busy);
    let job = Job::github();
    with_file(&job);
    let outcome = on_github(&job, &place, &services, SAVE).arg("file").run().ok();
    assert_eq!(outcome.json()["outcome"], "saved", "{}", outcome.stderr);
    assert_eq!((services.token_requests().len(), services.exchanges().len()), (3, 2));

    for (token, sts, part) in [
        (Answer::Silence, Answer::Good, "the token service does not answer"),
        (Answer::Good, Answer::Silence, "STS cannot be reached"),
    ] {
        let services = Services::start(Behaviour { token, sts, ..Behaviour::default() });
        let outcome = on_github(&job, &place, &services, RESTORE).arg("file").run().ok();
        assert_eq!(outcome.json()["outcome"], "miss");
        assert_eq!(outcome.stderr.matches("::warning::").count(), 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
}

#[test]
fn a_role_needs_a_token_and_a_token_a_role() {
    let services = Services::start(Behaviour::default());
    let without_token = |command: Invocation| command.env("ACTIONS_ID_TOKEN_REQUEST_URL", " ");
    check_refused(&services, without_token, &[ROLE, "this job has no identity token", "id-token: write"]);
    let without_role = |command: Invocation| command.args(["--s3-role", ""]).env("XCACHE_ID_TOKEN", TOKEN);
    let place = Place::on(s3::ministack());
    for program in [SAVE, RESTORE] {
        let job = Job::github();
        with_file(&job);
        let outcome = without_role(command(&job, &place, &services, program)).arg("file").run().ok();
        assert_eq!(outcome.stderr.matches("::warning::").count(), 1, "{}", outcome.stderr);
        let outcome = outcome.reviewed();
        check_hidden("the output", &outcome.stderr);
    }
    let wrong = |command: Invocation| command.env("XCACHE_S3_ROLE", "admin");
    let job = Job::github();
    let outcome = wrong(command(&job, &place, &services, RESTORE)).arg("file").run().ok();
    outcome.clone().reviewed();
    let both = |command: Invocation| command.args(["--aws-access-key-id", "A", "--aws-secret-access-key", "S"]);
    let outcome = both(on_github(&job, &place, &services, RESTORE)).arg("file").run().ok();
    outcome.clone().reviewed();
    assert_eq!(services.exchanges().len(), 0);
}

#[test]
fn each_ci_system_gives_its_token() {
    let place = Place::on(s3::ministack());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), TOKEN).unwrap();
    let file = file.path().to_str().unwrap();
    for variables in [
        vec![("GITLAB_CI", "true"), ("XCACHE_ID_TOKEN", TOKEN)],
        vec![("CIRCLECI", "true"), ("CIRCLE_OIDC_TOKEN", "old"), ("CIRCLE_OIDC_TOKEN_V2", TOKEN)],
        vec![("CIRCLECI", "true"), ("CIRCLE_OIDC_TOKEN", TOKEN)],
        vec![("JENKINS_URL", "https://ci"), ("XCACHE_ID_TOKEN", TOKEN)],
        vec![("AWS_WEB_IDENTITY_TOKEN_FILE", file)],
    ] {
        let services = Services::start(Behaviour::default());
        let job = Job::new();
        let command = command(&job, &place, &services, RESTORE).args(["--s3-role", ROLE]);
        let command = variables.iter().fold(command, |command, (name, value)| command.env(name, value));
        let outcome = command.arg("file").run().ok();
        assert_eq!(outcome.json()["reason"], "nothing-there", "{variables:?}: {}", outcome.stderr);
        assert_eq!(services.exchanges()[0].form["WebIdentityToken"], TOKEN, "{variables:?}");
    }
}

#[test]
fn the_agent_of_buildkite_is_asked_and_sees_none_of_our_secrets() {
    let (place, services) = (Place::on(s3::ministack()), Services::start(Behaviour::default()));
    let job = Job::new();
    let bin = job.dir("bin");
    let agent = bin.join("buildkite-agent");
    let seen = job.path("seen");
    let script = format!("#!/bin/sh\n{{ echo \"$@\"; env; }} >{}\necho {TOKEN}\n", seen.display());
    fs::write(&agent, script).unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = |path: &str| {
        let command = command(&job, &place, &services, RESTORE).args(["--s3-role", ROLE]).env("PATH", path);
        let command = command.env("BUILDKITE", "true").env("BUILDKITE_AGENT_ACCESS_TOKEN", "of-the-agent");
        let command = command.env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("MY_SECRET", SECRET_KEY);
        command.env("XCACHE_CLEAR_TOKEN", SESSION_TOKEN).arg("file").run().ok()
    };
    let outcome = run(&path);
    assert_eq!(outcome.json()["reason"], "nothing-there", "{}", outcome.stderr);
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.starts_with("oidc request-token --audience sts.amazonaws.com\n"), "{seen}");
    assert!(seen.contains("BUILDKITE_AGENT_ACCESS_TOKEN=of-the-agent"), "{seen}");
    check_hidden("the environment of the agent", &seen);

    // No agent, and one that fails.
    fs::write(&agent, "#!/bin/sh\necho 'agent is not connected' >&2\nexit 3\n").unwrap();
    let outcome = run(&path);
    assert_eq!(outcome.json()["outcome"], "miss");
    outcome.clone().reviewed();
    fs::remove_file(&agent).unwrap();
    let outcome = run("/nonexistent");
    outcome.clone().reviewed();
}

#[test]
fn the_agent_of_circleci_is_asked_when_the_token_of_the_job_is_over() {
    let place = Place::on(s3::ministack());
    // `{"exp":1}` and `{"exp":99999999999}`
    let (over, valid) = ("eyJh.eyJleHAiOjF9.c2ln", "eyJh.eyJleHAiOjk5OTk5OTk5OTk5fQ.c2ln");
    for (token, script, expected) in
        [(valid, "exit 3", valid), (over, "echo \"$@\" >>asked; env >>asked; echo $NEW", TOKEN), (over, "exit 3", over)]
    {
        let (job, services) = (Job::new(), Services::start(Behaviour::default()));
        let bin = job.dir("bin");
        let agent = bin.join("circleci");
        fs::write(&agent, format!("#!/bin/sh\nNEW={TOKEN}\n{script}\n")).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let command = command(&job, &place, &services, RESTORE).args(["--s3-role", ROLE]).env("PATH", path);
        let command = command.env("CIRCLECI", "true").env("CIRCLE_OIDC_TOKEN_V2", token).env("MY_SECRET", SECRET_KEY);
        let outcome = command.arg("file").run().ok();
        assert_eq!(outcome.json()["reason"], "nothing-there", "{}", outcome.stderr);
        assert_eq!(services.exchanges()[0].form["WebIdentityToken"], expected, "{token} {script}");
        if expected == TOKEN {
            let asked = fs::read_to_string(job.path("asked")).unwrap();
            assert!(asked.starts_with("run oidc get\n"), "{asked}");
            check_hidden("the environment of the agent", &asked);
        }
    }
}

#[test]
fn the_sts_of_moto_gives_a_role() {
    let server = s3::moto();
    let place = Place::on(server);
    for variables in [
        vec![("GITLAB_CI", "true"), ("CI_PIPELINE_SOURCE", "push"), ("XCACHE_ID_TOKEN", TOKEN)],
        vec![("XCACHE_ID_TOKEN", TOKEN)],
    ] {
        let job = Job::new();
        with_file(&job);
        let run = |program: &str, key: &str| {
            let command =
                job.command(program).args(["--store", place.url(), "--key", key, "--json", "--s3-role", ROLE]);
            let command = command.env("AWS_ENDPOINT_URL", &server.endpoint).env("AWS_REGION", server.region);
            let command = variables.iter().fold(command, |command, (name, value)| command.env(name, value));
            command.arg("file").run().ok()
        };
        let key = format!("k{}", variables.len());
        let saved = run(SAVE, &key);
        assert_eq!(saved.json()["outcome"], "saved", "{}", saved.stderr);
        fs::remove_file(job.path("file")).unwrap();
        let restored = run(RESTORE, &key);
        assert_eq!(restored.json()["outcome"], "exact", "{}", restored.stderr);
        // What STS refuses is said in its own words.
        let command =
            job.command(RESTORE).args(["--store", place.url(), "--key", "k", "--s3-role", "arn:aws:iam::1:role/x"]);
        let command = command.env("AWS_ENDPOINT_URL", &server.endpoint).env("AWS_REGION", server.region);
        let refused = command.env("XCACHE_ID_TOKEN", TOKEN).arg("file").run();
        check_hidden("the output", &refused.stderr);
    }
}
