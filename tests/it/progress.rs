//! Progress that users see while a transfer takes long. A proxy holds a request back until the progress was shown, so
//! nothing here depends on how fast anything is.

use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};

use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3;
use xcache_tests::tree::Rng;

use crate::{GC, RESTORE, SAVE, saved};

/// Reads until all of `parts` have been there, one after the other.
fn read_until(mut from: impl Read, parts: &[&str]) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    let is_there =
        |text: &str| parts.iter().try_fold(text, |rest, part| rest.split_once(part).map(|(_, rest)| rest)).is_some();
    while !is_there(&text) {
        let count = from.read(&mut buffer).unwrap();
        assert!(count > 0, "ended without {parts:?}:\n{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

/// Starts it with its output as it is in a job: a pipe.
fn in_a_pipe(invocation: Invocation) -> Child {
    let mut command = invocation.into_command();
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Starts it on a terminal, whose output is that of the child.
fn on_a_terminal(job: &Job, invocation: Invocation) -> Child {
    let command = invocation.into_command();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut terminal = job.command("script").args(["--quiet", "--return", "--command"]).arg(line.join(" "));
    for (name, value) in command.get_envs() {
        terminal = terminal.env(name.to_str().unwrap(), value.unwrap());
    }
    let mut terminal = terminal.env("TERM", "xterm").arg("/dev/null").into_command();
    terminal.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

/// A tree of which most lies before the end that a lookup brings.
fn tree(job: &Job) {
    fs::write(job.dir("tree").join("large"), Rng::new(1).bytes(20 << 20)).unwrap();
}

fn saved_tree() -> Place {
    let (job, place) = (Job::new(), Place::on(s3::server()));
    tree(&job);
    saved(&job, &place, "key", &job.path("tree"));
    place
}

#[test]
fn a_restore_in_a_pipe_shows_lines_with_the_total() {
    let place = saved_tree();
    // The first try is given up after as long as a line takes.
    let mut proxy = Proxy::with_rules(s3::server(), &["GET /key-base hold skip=1 count=9"]);
    let job = Job::new();
    let command = job.command(RESTORE).args(["--key", "key", "tree"]).store(&place.behind(proxy.endpoint()));
    let mut child = in_a_pipe(command);
    read_until(child.stderr.take().unwrap(), &["restoring: ", " of 1", " MiB (", " %), "]);
    proxy.release();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_save_in_a_pipe_shows_lines_with_the_total() {
    let (job, place) = (Job::new(), Place::on(s3::server()));
    tree(&job);
    let mut proxy = Proxy::with_rules(s3::server(), &["PUT key-base.*partNumber hold count=2"]);
    let command = job.command(SAVE).args(["--key", "key", "tree"]).store(&place.behind(proxy.endpoint()));
    let mut child = in_a_pipe(command);
    read_until(child.stderr.take().unwrap(), &["saving: ", " of 20.0 MiB (", " %), "]);
    proxy.release();
    child.wait().unwrap();
}

#[test]
fn a_restore_on_a_terminal_shows_a_bar_with_percent_rate_and_time_left() {
    let place = saved_tree();
    let mut proxy = Proxy::with_rules(s3::server(), &["GET /key-base hold skip=1 count=1"]);
    let job = Job::new();
    let command = job.command(RESTORE).args(["--key", "key", "tree"]).store(&place.behind(proxy.endpoint()));
    let mut child = on_a_terminal(&job, command);
    read_until(child.stdout.as_mut().unwrap(), &["restoring [", "] ", " % ", " of 1", " MiB (", "/s, ", " left)"]);
    proxy.release();
    read_until(child.stdout.as_mut().unwrap(), &["restored `key`"]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_save_on_a_terminal_shows_a_bar_with_percent_rate_and_time_left() {
    let (job, place) = (Job::new(), Place::on(s3::server()));
    tree(&job);
    let mut proxy = Proxy::with_rules(s3::server(), &["PUT key-base.*partNumber hold count=1"]);
    let command = job.command(SAVE).args(["--key", "key", "tree"]).store(&place.behind(proxy.endpoint()));
    let mut child = on_a_terminal(&job, command);
    let bar = ["saving [", "] ", " % ", " of 20.0", " MiB (", "/s, ", " left)"];
    read_until(child.stdout.as_mut().unwrap(), &bar);
    proxy.release();
    read_until(child.stdout.as_mut().unwrap(), &["saved `key`"]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn commands_of_gc_on_a_terminal_show_how_far_they_are() {
    let place = saved_tree();
    for (arguments, held, shown) in [
        (&["verify", "--deep"][..], "GET /key-base hold count=1", &["verifying [", "] 0 % 0 of 1 "][..]),
        (&["du"], "GET tagging hold count=1", &["reading tags [", "] 0 % 0 of 1 "]),
        (&["du"], "GET /key-base.*GetObject hold count=1", &["reading entries [", "] 0 % 0 of 1 "]),
        (&["prune", "--max-age", "0s", "--min-age", "0s"], "DELETE /key-base hold count=1", &["deleting [", " of 1 "]),
    ] {
        let mut proxy = Proxy::with_rules(s3::server(), &[held, "POST delete hold count=1"]);
        let job = Job::new();
        let command = job.command(GC).args(arguments).store(&place.behind(proxy.endpoint()));
        let mut child = on_a_terminal(&job, command);
        read_until(child.stdout.as_mut().unwrap(), shown);
        proxy.release();
        read_until(child.stdout.as_mut().unwrap(), &["1 entry"]);
        assert!(child.wait().unwrap().success(), "{arguments:?}");
    }
}
