//! No secret in any output, whatever a store, an STS or a token service answers: they may repeat what they were sent.
//!
//! A table: what is secret × who repeats it × which program × in which form it reports. Everything that the program writes
//! is searched: both streams, annotations, the document, the trace, outputs and summary of the step, state, and the store.
//! (Secrets in addresses: `credentials`; in the environment of other programs: `surroundings`, `role`.)

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::s3;
use xcache_tests::sts::{Answer, BEARER, Behaviour, SECRET_KEY, SESSION_TOKEN, Services, TOKEN, refusal};

use crate::{GC, RESTORE, SAVE};

const SECRET: &str = "hush/Secret+0123456789";
const SESSION: &str = "hush//Session+Token==";
const ROLE: &str = "arn:aws:iam::123456789012:role/ci";

/// A store that answers every request with `status` and a message that repeats what no answer should.
fn gossip(status: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = bytes.trim().parse().unwrap_or(0);
                    }
                    head.push_str(&line.trim_end().replace(['<', '>', '&'], " "));
                    line.clear();
                }
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                let message = format!("{SECRET} and {SESSION} of {head}");
                let xml = format!("<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>");
                let answer = format!(
                    "HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{xml}",
                    xml.len()
                );
                let _ = (&stream).write_all(answer.as_bytes());
            });
        }
    });
    endpoint
}

/// Where a secret is given.
const GIVEN: [&str; 4] = ["environment", "flags", "inputs", "profile"];

fn with_secrets(job: &Job, command: Invocation, given: &str) -> Invocation {
    let [id, secret, session] = ["AKIA0123", SECRET, SESSION];
    match given {
        "environment" => {
            let command = command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
            command.env("AWS_SESSION_TOKEN", session)
        }
        "flags" => {
            command.args(["--aws-access-key-id", id, "--aws-secret-access-key", secret, "--aws-session-token", session])
        }
        "inputs" => {
            let command = command.env("XCACHE_AWS_ACCESS_KEY_ID", id).env("XCACHE_AWS_SECRET_ACCESS_KEY", secret);
            command.env("XCACHE_AWS_SESSION_TOKEN", session)
        }
        _ => {
            let lines =
                format!("aws_access_key_id={id}\naws_secret_access_key={secret}\naws_session_token={session}\n");
            // Beside the directories of the job, which are searched.
            let path = job.home().parent().unwrap().with_extension("credentials");
            fs::write(&path, format!("[default]\n{lines}")).unwrap();
            command.env("AWS_SHARED_CREDENTIALS_FILE", path)
        }
    }
}

/// Everything below a directory.
fn collect(directory: &Path, all: &mut String) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, all);
        } else if let Ok(bytes) = fs::read(&path) {
            all.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

fn commands() -> [(&'static str, Vec<&'static str>); 5] {
    [
        (SAVE, vec!["--key", "k", "file"]),
        (RESTORE, vec!["--key", "k", "--restore-keys", "j", "file"]),
        (GC, vec!["ls"]),
        (GC, vec!["prune", "--max-age", "1d"]),
        (GC, vec!["verify", "--deep"]),
    ]
}

#[test]
fn what_a_store_repeats_is_hidden() {
    let (mut cells, mut hidden) = (0, 0);
    // Others are sent again, which takes time and says nothing new.
    for status in [400, 403] {
        let endpoint = gossip(status);
        for given in GIVEN {
            for (program, arguments) in commands() {
                for (is_github, form) in [(true, vec![]), (true, vec!["--json"]), (false, vec!["-vv", "--json"])] {
                    if program == GC && given == "inputs" {
                        continue;
                    }
                    let job = if is_github { Job::github() } else { Job::new() };
                    fs::write(job.path("file"), "text").unwrap();
                    let command =
                        job.command(program).args(&arguments).args(["--store", "s3://bucket/prefix"]).args(&form);
                    let command = command.env("AWS_ENDPOINT_URL", &endpoint).env("AWS_REGION", "us-east-1");
                    let command = command.env("AWS_MAX_ATTEMPTS", "1");
                    let command = match (program, given) {
                        (GC, "flags") => with_secrets(&job, command, "environment"),
                        _ => with_secrets(&job, command, given),
                    };
                    let outcome = command.run();
                    let mut all = format!("{}{}", outcome.stdout, outcome.stderr);
                    hidden += usize::from(all.contains("***"));
                    job.dirs().iter().for_each(|directory| collect(directory, &mut all));
                    for secret in [SECRET, SESSION, "hush"] {
                        assert!(!all.contains(secret), "{status} {given} {arguments:?} {form:?}: {all}");
                    }
                    cells += 1;
                }
            }
        }
    }
    eprintln!("{cells} cells, {hidden} of them with a text that was hidden");
    assert!(hidden > cells / 4, "what the store says is not shown, so that nothing was tested");
}

#[test]
fn what_an_sts_or_a_token_service_repeats_is_hidden() {
    let place = Place::on(s3::ministack());
    let said = format!("{TOKEN} {BEARER} {SECRET_KEY} {SESSION_TOKEN}");
    for behaviour in [
        Behaviour { sts: Answer::Status(403, refusal("AccessDenied", &said)), ..Behaviour::default() },
        Behaviour { sts: Answer::Status(400, refusal("ExpiredTokenException", &said)), ..Behaviour::default() },
        Behaviour { token: Answer::Status(403, said.clone()), ..Behaviour::default() },
        Behaviour { token: Answer::Status(200, format!("{{\"value\": \"{said}\"}}")), ..Behaviour::default() },
    ] {
        let services = Services::start(behaviour);
        for (program, arguments) in commands() {
            let job = Job::github();
            fs::write(job.path("file"), "text").unwrap();
            let command =
                job.command(program).args(&arguments).args(["--store", place.url(), "--s3-role", ROLE, "-vv"]);
            let env = place.env().into_iter().filter(|(name, _)| !name.contains("KEY"));
            let command = env.fold(command, |command, (name, value)| command.env(name, value));
            let command = command.env("AWS_ENDPOINT_URL_STS", services.sts());
            let command = command.env("ACTIONS_ID_TOKEN_REQUEST_URL", services.token_url());
            let outcome = command.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", BEARER).run();
            let mut all = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(all.contains("cannot take the role") || all.contains("identity token"), "{arguments:?}: {all}");
            job.dirs().iter().for_each(|directory| collect(directory, &mut all));
            // What was never received is not known to be secret.
            for secret in [TOKEN, BEARER] {
                assert!(!all.contains(secret), "{arguments:?}: {all}");
            }
        }
    }
}

#[test]
fn a_run_that_works_shows_and_leaves_no_secret() {
    let server = s3::server();
    let place = Place::on(server);
    for (program, arguments) in commands() {
        let job = Job::github();
        fs::write(job.path("file"), "text").unwrap();
        let outcome = job.command(program).args(&arguments).store(&place).arg("-vv").run();
        assert!(outcome.code == Some(0) || program == GC, "{outcome:?}");
        let mut all = format!("{}{}", outcome.stdout, outcome.stderr);
        job.dirs().iter().for_each(|directory| collect(directory, &mut all));
        for name in place.objects() {
            all.push_str(&String::from_utf8_lossy(&place.get(&name).unwrap()));
        }
        for secret in [server.secret_key, "Signature=", "X-Amz-Signature", "Credential="] {
            assert!(!all.contains(secret), "{arguments:?}: {all}");
        }
    }
}
