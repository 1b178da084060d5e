//! How `action/run.sh` gets a program: each way, its order, and what is refused.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use xcache_tests::job::{Job, Outcome};
use xcache_tests::runner::checkout;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const TARGET: &str = "x86_64-unknown-linux-musl";

/// A server of releases: files by path, and a note of what was asked for.
struct Releases {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Releases {
    /// Serves `files` until the process ends.
    fn serve(files: Vec<(String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let note = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let file = files.iter().find(|(name, _)| *name == path);
                let (status, body) = file.map_or(("404 Not Found", &b""[..]), |(_, body)| ("200 OK", &body[..]));
                note.lock().unwrap().push(path);
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
            }
        });
        Self { url, asked }
    }

    /// The release of this version, with a program that says what it is.
    fn with_release(damage: impl FnOnce(&mut Vec<u8>)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["xcache-restore", "xcache-save", "xcache-gc"] {
            program(&dir.path().join(name), "released");
        }
        let name = format!("xcache-{VERSION}-{TARGET}.tar.gz");
        let script = format!("tar -czf {name} xcache-* && sha256sum {name} >SHA256SUMS");
        assert!(Command::new("sh").args(["-c", &script]).current_dir(dir.path()).status().unwrap().success());
        let mut archive = fs::read(dir.path().join(&name)).unwrap();
        damage(&mut archive);
        let base = format!("/owner/xcache/releases/download/v{VERSION}");
        Self::serve(vec![
            (format!("{base}/{name}"), archive),
            (format!("{base}/SHA256SUMS"), fs::read(dir.path().join("SHA256SUMS")).unwrap()),
        ])
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// A program that prints `word` and its arguments.
fn program(path: &Path, word: &str) {
    fs::write(path, format!("#!/bin/sh\necho {word} \"$@\"\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A directory with what the script needs, and no cargo.
fn tools(job: &Job) -> PathBuf {
    let dir = job.dir("tools");
    let path = std::env::var_os("PATH").unwrap();
    for tool in [
        "bash",
        "sh",
        "env",
        "sed",
        "head",
        "dirname",
        "uname",
        "mkdir",
        "mktemp",
        "mv",
        "rm",
        "tr",
        "cut",
        "awk",
        "curl",
        "tar",
        "gzip",
        "sha256sum",
    ] {
        let found = std::env::split_paths(&path).map(|dir| dir.join(tool)).find(|path| path.is_file());
        symlink(found.unwrap_or_else(|| panic!("no {tool}")), dir.join(tool)).unwrap();
    }
    dir
}

/// Runs the script for `program`, with the release of `server`.
fn run(job: &Job, tools: &Path, server: &str, program: &str, env: &[(&str, &str)]) -> Outcome {
    let command = job.command(checkout().join("action/run.sh")).args([program, "--flag", "a b"]);
    let command = command.env("PATH", tools).env("RUNNER_ARCH", "X64").env("GITHUB_SERVER_URL", server);
    let command =
        command.env("RUNNER_TOOL_CACHE", job.path("tool cache")).env("XCACHE_ACTION_REPOSITORY", "owner/xcache");
    env.iter().fold(command, |command, (name, value)| command.env(name, value)).run()
}

#[test]
fn a_release_is_downloaded_once_and_then_found_in_the_tool_cache() {
    let job = Job::github();
    let (tools, releases) = (tools(&job), Releases::with_release(|_| ()));
    let first = run(&job, &tools, &releases.url, "xcache-restore", &[])
        .ok()
        .says(&["downloaded from the release of owner/xcache"]);
    assert_eq!(first.stdout, "released --flag a b\n");
    assert_eq!(releases.asked(), 2);
    let second = run(&job, &tools, &releases.url, "xcache-save", &[]).ok().says(&["found in ", "tool cache"]);
    assert_eq!(second.stdout, "released --flag a b\n");
    assert_eq!(releases.asked(), 2);
    assert_eq!(second.stderr.lines().count(), 1, "{}", second.stderr);
    let left: Vec<_> = fs::read_dir(job.path("tool cache/xcache").join(VERSION)).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing else is left behind: {left:?}");
}

#[test]
fn a_release_with_another_checksum_is_never_run() {
    let job = Job::github();
    let tools = tools(&job);
    let releases = Releases::with_release(|archive| *archive.last_mut().unwrap() ^= 1);
    let outcome = run(&job, &tools, &releases.url, "xcache-restore", &[]).ok();
    assert!(outcome.stdout.starts_with("::warning::cannot get xcache-restore"), "{outcome:?}");
    assert!(outcome.stdout.contains("the checksum of"), "{outcome:?}");
    assert!(!job.path("tool cache/xcache").join(VERSION).join(TARGET).exists());
    for (program, env) in [
        ("xcache-restore", &[("XCACHE_FAIL_ON_CACHE_MISS", "True")][..]),
        ("xcache-save", &[("XCACHE_FAIL_ON_ERROR", "true")]),
        ("xcache-gc", &[]),
    ] {
        let outcome = run(&job, &tools, &releases.url, program, env).expect_code(1);
        assert!(outcome.stdout.starts_with("::error::cannot get "), "{outcome:?}");
    }
}

#[test]
fn a_directory_of_ones_own_comes_first_and_must_have_the_program() {
    let job = Job::github();
    let (tools, releases) = (tools(&job), Releases::serve(Vec::new()));
    program(&job.dir("bin").join("xcache-save"), "own");
    let bin = job.path("bin");
    let env = [("XCACHE_BIN_DIR", bin.to_str().unwrap())];
    let outcome = run(&job, &tools, &releases.url, "xcache-save", &env).ok().says(&["found in XCACHE_BIN_DIR"]);
    assert_eq!(outcome.stdout, "own --flag a b\n");
    let outcome = run(&job, &tools, &releases.url, "xcache-restore", &env).ok();
    assert!(outcome.stdout.contains("XCACHE_BIN_DIR has no xcache-restore"), "{outcome:?}");
    assert_eq!(releases.asked(), 0);
}

#[test]
fn runners_of_other_systems_are_told_that_it_runs_on_linux() {
    let job = Job::github();
    let (tools, releases) = (tools(&job), Releases::with_release(|_| ()));
    for system in ["macOS", "Windows"] {
        let outcome = run(&job, &tools, &releases.url, "xcache-restore", &[("RUNNER_OS", system)]).ok();
        let said = format!("xcache runs on Linux, and this runner has {system}");
        assert!(outcome.stdout.starts_with("::warning::") && outcome.stdout.contains(&said), "{outcome:?}");
        run(&job, &tools, &releases.url, "xcache-gc", &[("RUNNER_OS", system)]).expect_code(1);
    }
    assert_eq!(releases.asked(), 0);
}

#[test]
fn what_is_released_is_what_the_script_asks_for() {
    let workflow = fs::read_to_string(checkout().join(".github/workflows/release.yml")).unwrap();
    let targets: Vec<&str> = workflow.split("target: ").skip(1).filter_map(|rest| rest.split(',').next()).collect();
    assert_eq!(targets, ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"]);
    assert!(targets.contains(&TARGET));
}

#[test]
fn without_a_release_the_source_is_built() {
    let job = Job::github();
    let (tools, releases) = (tools(&job), Releases::serve(Vec::new()));
    let outcome = run(&job, &tools, &releases.url, "xcache-restore", &[]).ok();
    assert!(outcome.stdout.contains("no cargo to build the source with"), "{outcome:?}");
    // Stands for cargo: makes what it was asked for, and must not see credentials.
    let cargo = "#!/bin/sh\n[ -z \"$XCACHE_AWS_SECRET_ACCESS_KEY\" ] || exit 1\n\
        while [ $# -gt 0 ]; do [ \"$1\" = --target-dir ] && target=$2; shift; done\n\
        mkdir -p \"$target/release\"\n\
        for name in xcache-restore xcache-save xcache-gc; do\n\
        printf '#!/bin/sh\\necho built \"$@\"\\n' >\"$target/release/$name\"; chmod +x \"$target/release/$name\"; done\n";
    fs::write(tools.join("cargo"), cargo).unwrap();
    fs::set_permissions(tools.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/bin/chmod", tools.join("chmod")).unwrap();
    let env = [("XCACHE_AWS_SECRET_ACCESS_KEY", "secret")];
    let outcome = run(&job, &tools, &releases.url, "xcache-restore", &env).ok().says(&["building from source"]);
    assert_eq!(outcome.stdout, "built --flag a b\n");
    let asked = releases.asked();
    // For later steps of this job, and no other: the next commit may have the same version.
    let outcome = run(&job, &tools, &releases.url, "xcache-gc", &env).ok().says(&["found in "]);
    assert_eq!((outcome.stdout.as_str(), releases.asked()), ("built --flag a b\n", asked));
    assert!(!job.path("tool cache/xcache").join(VERSION).join(TARGET).exists());
}

#[test]
fn a_workflow_in_the_checkout_itself_uses_its_own_source() {
    let job = Job::github();
    let (tools, releases) = (tools(&job), Releases::with_release(|_| ()));
    let env = [("XCACHE_ACTION_REPOSITORY", "")];
    let outcome = run(&job, &tools, &releases.url, "xcache-restore", &env).ok();
    assert!(outcome.stdout.contains("no cargo to build the source with"), "{outcome:?}");
    assert_eq!(releases.asked(), 0);
}
