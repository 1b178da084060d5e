//! How `action/run.sh` gets a program: each way, its order, and what is never run.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use xcache_tests::job::{Job, Outcome};
use xcache_tests::runner::checkout;

const TARGET: &str = "x86_64-unknown-linux-musl";
const OWN: &str = "/owner/xcache/releases/download";

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

    /// Serves the released files of `job` below `path`, each after `change`.
    fn of(job: &Job, path: &str, change: impl Fn(&mut Vec<u8>)) -> Self {
        let files = fs::read_dir(job.path("release")).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let mut bytes = fs::read(entry.path()).unwrap();
            change(&mut bytes);
            (format!("{path}/v1.2.3/{}", entry.file_name().to_str().unwrap()), bytes)
        });
        Self::serve(files.collect())
    }

    fn none() -> Self {
        Self::serve(Vec::new())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A program that prints `word` and its arguments, and its version and documents as ours do.
fn program(path: &Path, word: &str) {
    let script = "case $1 in\n--version) echo \"${0##*/} 1.2.3\" ;;\n--man | --completions) echo \"of $0 $2\" ;;\n";
    fs::write(path, format!("#!/bin/sh\n{script}*) echo {word} \"$@\" ;;\nesac\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A job with an action of release 1.2.3 in `action source`, and the files of the release in `release`, both made as the
/// release workflow does it. The sums name a server where there is none.
fn job() -> Job {
    let job = Job::github();
    job.dir("workspace");
    let (build, action) = (job.dir("build"), job.dir("action source").join("action"));
    fs::create_dir(&action).unwrap();
    fs::copy(checkout().join("action/run.sh"), action.join("run.sh")).unwrap();
    for name in ["xcache-restore", "xcache-save", "xcache-gc"] {
        program(&build.join(name), "released");
    }
    let release = job.path("release");
    job.command(checkout().join(".ci/pack")).arg(build).args(["1.2.3", TARGET]).arg(&release).run().ok();
    let sums = job.command(checkout().join(".ci/sums")).arg("http://127.0.0.1:9/releases/download").arg(release).run();
    fs::write(action.join("SHA256SUMS"), sums.ok().stdout).unwrap();
    job
}

/// The tools of a system, without cargo.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tools {
    /// dash, GNU and curl, as in Debian and Ubuntu.
    Debian,
    /// Nothing but busybox, as in Alpine.
    Alpine,
}

/// A search path with these tools.
fn tools(job: &Job, tools: Tools) -> PathBuf {
    let dir = job.path(format!("{tools:?} tools"));
    if dir.exists() {
        return dir;
    }
    fs::create_dir(&dir).unwrap();
    let find = |tool: &str| {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path).map(|dir| dir.join(tool)).find(|path| path.is_file());
        found.unwrap_or_else(|| panic!("no {tool}"))
    };
    let names = "sh env sed dirname uname mkdir mktemp mv rm tr cut cksum chmod gzip sha256sum timeout";
    for name in names.split(' ').chain([if tools == Tools::Debian { "curl" } else { "wget" }]) {
        let tool = match tools {
            Tools::Debian if name == "sh" => "dash",
            Tools::Debian => name,
            Tools::Alpine => "busybox",
        };
        symlink(find(tool), dir.join(name)).unwrap();
    }
    dir
}

/// Runs the script of `job` for `program` as the step of a job on a server of its own.
fn run_with(kind: Tools, job: &Job, server: &str, program: &str, env: &[(&str, &str)]) -> Outcome {
    let tools = tools(job, kind);
    let command = job.command(tools.join("sh")).arg(job.path("action source/action/run.sh"));
    let command = command.args([program, "--flag", "a b"]).current_dir(job.path("workspace"));
    let command = command.env("PATH", &tools).env("RUNNER_ARCH", "X64");
    let command = command.env("GITHUB_SERVER_URL", server).env("RUNNER_TOOL_CACHE", job.path("tool cache"));
    let command = command.env("XCACHE_ACTION_REPOSITORY", "owner/xcache");
    env.iter().fold(command, |command, (name, value)| command.env(name, value)).run()
}

fn run(job: &Job, server: &str, program: &str, env: &[(&str, &str)]) -> Outcome {
    run_with(Tools::Debian, job, server, program, env)
}

const BOTH: [Tools; 2] = [Tools::Debian, Tools::Alpine];

/// Where a program lies in the tool cache.
fn cached(job: &Job, name: &str) -> PathBuf {
    job.path(format!("tool cache/xcache/1.2.3/{TARGET}/{name}"))
}

/// Fails the test unless the step went on without the cache, with one annotation that says `why`.
#[track_caller]
fn without_cache(outcome: Outcome, why: &str) {
    let outcome = outcome.ok();
    let annotations: Vec<_> = outcome.stdout.lines().collect();
    let [annotation] = annotations[..] else { panic!("{outcome:?}") };
    assert!(annotation.starts_with("::warning::cannot run xcache-") && annotation.contains(why), "{outcome:?}");
}

#[test]
fn a_program_is_downloaded_once_and_then_found_in_the_tool_cache() {
    for kind in BOTH {
        let job = job();
        let releases = Releases::of(&job, OWN, |_| ());
        let first = run_with(kind, &job, &releases.url, "xcache-restore", &[]).ok().reviewed();
        assert_eq!(first.stdout, "released --flag a b\n");
        assert_eq!(releases.asked(), [format!("{OWN}/v1.2.3/xcache-restore-1.2.3-{TARGET}.gz")]);
        let second = run_with(kind, &job, &releases.url, "xcache-restore", &[]).ok().reviewed();
        assert_eq!(second.stdout, "released --flag a b\n");
        assert_eq!(second.stderr.lines().count(), 1, "{}", second.stderr);
        assert_eq!(releases.asked().len(), 1);
        let left: Vec<_> = fs::read_dir(cached(&job, "")).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing else is left behind: {left:?}");
        // One file for each program: a job that only restores fetches no other.
        run_with(kind, &job, &releases.url, "xcache-save", &[]).ok();
        assert_eq!(releases.asked().len(), 2);
    }
}

#[test]
fn a_download_with_another_checksum_is_never_run() {
    for kind in BOTH {
        for change in [0, 1, 2] {
            let job = job();
            let releases = Releases::of(&job, OWN, |bytes| match change {
                // A proper file with another program in it.
                0 if bytes.starts_with(&[0x1f, 0x8b]) => *bytes = gzip(b"#!/bin/sh\necho planted\n"),
                0 => *bytes = b"#!/bin/sh\necho planted\n".to_vec(),
                1 => *bytes.last_mut().unwrap() ^= 1,
                _ => bytes.truncate(20),
            });
            let outcome = run_with(kind, &job, &releases.url, "xcache-restore", &[]);
            without_cache(outcome, "the checksum of http://");
            assert!(!cached(&job, "xcache-restore").exists());
            let failing = [("XCACHE_FAIL_ON_ERROR", "true")];
            let outcome = run_with(kind, &job, &releases.url, "xcache-restore", &failing).expect_code(1);
            assert!(outcome.stdout.starts_with("::error::cannot run "), "{outcome:?}");
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let output = Command::new("gzip").arg("-c").arg(file.path()).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn what_was_planted_in_the_tool_cache_is_never_run_and_replaced() {
    for kind in BOTH {
        let job = job();
        let releases = Releases::of(&job, OWN, |_| ());
        fs::create_dir_all(cached(&job, "")).unwrap();
        program(&cached(&job, "xcache-restore"), "planted");
        let outcome = run_with(kind, &job, &releases.url, "xcache-restore", &[]).ok();
        let (warning, rest) = outcome.stdout.split_once('\n').unwrap();
        assert!(warning.starts_with("::warning::") && warning.contains("is not the released program"), "{outcome:?}");
        assert_eq!(rest, "released --flag a b\n");
        let again = run_with(kind, &job, &releases.url, "xcache-restore", &[]).ok();
        assert_eq!(again.stdout, "released --flag a b\n", "the planted one was replaced");
        assert_eq!(releases.asked().len(), 1);
    }
}

#[test]
fn a_planted_program_is_not_run_even_if_there_is_no_other() {
    let job = job();
    fs::create_dir_all(cached(&job, "")).unwrap();
    program(&cached(&job, "xcache-save"), "planted");
    let outcome = run(&job, &Releases::none().url, "xcache-save", &[]).ok();
    assert!(!outcome.stdout.contains("planted --flag"), "{outcome:?}");
    assert!(outcome.stdout.contains("::warning::cannot run xcache-save"), "{outcome:?}");
}

#[test]
fn releases_come_from_the_named_place_else_the_actions_server_else_where_they_were_made() {
    // GitHub Enterprise Server, Forgejo and Gitea take actions from elsewhere; what counts is the checksum.
    let job = job();
    let (own, named) = (Releases::of(&job, OWN, |_| ()), Releases::of(&job, "/mirror/xcache", |_| ()));
    let env = [("XCACHE_RELEASES", format!("{}/mirror/xcache/", named.url))];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    run(&job, &own.url, "xcache-restore", &env).ok().reviewed();
    assert_eq!((named.asked().len(), own.asked().len()), (1, 0));

    // A mirror that lacks it, or has another one, is no reason to go without.
    for broken in [Releases::none(), Releases::of(&job, "/mirror/xcache", |bytes| bytes.push(0))] {
        fs::remove_dir_all(job.path("tool cache")).unwrap();
        let env = [("XCACHE_RELEASES", format!("{}/mirror/xcache", broken.url))];
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        run(&job, &own.url, "xcache-restore", &env).ok().says(&["downloaded from ", OWN]);
    }

    // The last resort is the server that SHA256SUMS names.
    fs::remove_dir_all(job.path("tool cache")).unwrap();
    let origin = Releases::of(&job, "/releases/download", |_| ());
    let sums = job.path("action source/action/SHA256SUMS");
    let text = fs::read_to_string(&sums).unwrap();
    fs::write(&sums, text.replace("http://127.0.0.1:9", &origin.url)).unwrap();
    let other = Releases::none();
    run(&job, &other.url, "xcache-restore", &[]).ok().says(&["downloaded from ", &origin.url]);
    assert_eq!((other.asked().len(), origin.asked().len()), (1, 1));
    // Used from the checkout itself, the action has no repository.
    fs::remove_dir_all(job.path("tool cache")).unwrap();
    run(&job, &other.url, "xcache-restore", &[("XCACHE_ACTION_REPOSITORY", "")]).ok().says(&[&origin.url]);
    assert_eq!((other.asked().len(), origin.asked().len()), (1, 2));
}

#[test]
fn a_release_has_every_program_by_itself_and_an_archive_with_all_that_belongs_to_them() {
    let job = job();
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(job.path("release")).unwrap() {
        names.push(entry.unwrap().file_name().into_string().unwrap());
    }
    names.sort();
    let expected =
        ["xcache-1.2.3-T.tar.gz", "xcache-gc-1.2.3-T.gz", "xcache-restore-1.2.3-T.gz", "xcache-save-1.2.3-T.gz"];
    assert_eq!(names, expected.map(|name| name.replace('T', TARGET)));
    let archive = job.path("release").join(&names[0]);
    let listing = job.command("tar").arg("-tzf").arg(&archive).run().ok().stdout;
    let root = format!("xcache-1.2.3-{TARGET}/");
    let mut files: Vec<&str> = listing.lines().filter_map(|name| name.strip_prefix(&root)).collect();
    files.retain(|name| !name.is_empty() && !name.ends_with('/'));
    let other = "CHANGELOG.md LICENSE-APACHE LICENSE-MIT README.md";
    let completions = "completions/_P completions/P.bash completions/P.fish";
    let mut expected: Vec<String> = other.split(' ').map(str::to_owned).collect();
    for program in ["xcache-restore", "xcache-save", "xcache-gc"] {
        expected.extend(format!("{completions} man/P.1 P").replace('P', program).split(' ').map(str::to_owned));
    }
    files.sort_unstable();
    expected.sort_unstable();
    assert_eq!(files, expected);

    // `cargo binstall` finds it: its patterns with this version and target are these names.
    for program in ["xcache-restore", "xcache-save", "xcache-gc"] {
        let manifest = fs::read_to_string(checkout().join(program).join("Cargo.toml")).unwrap();
        let section = manifest.split("[package.metadata.binstall]\n").nth(1).unwrap();
        let filled = section.replace("{ version }", "1.2.3").replace("{ target }", TARGET).replace("{ bin }", program);
        assert!(filled.contains(&format!("{{ repo }}/releases/download/v1.2.3/{}\"\n", names[0])), "{filled}");
        assert!(filled.contains(&format!("bin-dir = \"{root}{program}{{ binary-ext }}\"\n")), "{filled}");
        assert!(filled.contains("pkg-fmt = \"tgz\"\n"), "{filled}");
    }
    let workflow = fs::read_to_string(checkout().join(".github/workflows/release.yml")).unwrap();
    let targets: Vec<&str> = workflow.split("{ target: ").skip(1).filter_map(|rest| rest.split(',').next()).collect();
    assert_eq!(targets, [TARGET, "aarch64-unknown-linux-musl"]);
}

#[test]
fn a_release_of_another_version_is_not_packed() {
    let job = job();
    let pack = job.command(checkout().join(".ci/pack")).arg(job.path("build"));
    pack.args(["1.2.4", TARGET]).arg(job.path("other")).run().expect_code(1).reviewed();
}

#[test]
fn without_a_release_the_step_goes_on_without_the_cache_unless_it_must_not() {
    let job = job();
    let releases = Releases::none();
    for program in ["xcache-restore", "xcache-save"] {
        without_cache(run(&job, &releases.url, program, &[]), "no release can be fetched");
    }
    for value in ["true", " TRUE", "1", "yes", "on"] {
        run(&job, &releases.url, "xcache-save", &[("XCACHE_FAIL_ON_ERROR", value)]).expect_code(1);
    }
    for value in ["false", "0", "no", "", "  "] {
        run(&job, &releases.url, "xcache-save", &[("XCACHE_FAIL_ON_ERROR", value)]).ok();
    }
    let on_miss = [("XCACHE_FAIL_ON_CACHE_MISS", "true")];
    run(&job, &releases.url, "xcache-restore", &on_miss).expect_code(1);
    run(&job, &releases.url, "xcache-save", &on_miss).ok();
    let outcome = run(&job, &releases.url, "xcache-gc", &[]).expect_code(1);
    assert!(outcome.stdout.starts_with("::error::cannot run xcache-gc"), "{outcome:?}");
}

#[test]
fn a_commit_that_is_no_release_and_a_machine_without_a_program_are_told_so() {
    let job = job();
    let releases = Releases::of(&job, OWN, |_| ());
    let outcome = run(&job, &releases.url, "xcache-restore", &[("RUNNER_ARCH", "RISCV64")]);
    without_cache(outcome, "there is no program for RISCV64-unknown-linux-musl");
    fs::remove_file(job.path("action source/action/SHA256SUMS")).unwrap();
    let outcome = run(&job, &releases.url, "xcache-restore", &[]);
    without_cache(outcome, "this commit of the action is not a release");
    assert_eq!(releases.asked(), [""; 0]);
}

#[test]
fn a_tool_cache_that_cannot_be_written_is_no_reason_to_go_without() {
    let job = job();
    let releases = Releases::of(&job, OWN, |_| ());
    fs::write(job.path("tool cache"), "a file in its place").unwrap();
    let outcome = run(&job, &releases.url, "xcache-restore", &[]).ok();
    assert_eq!(outcome.stdout, "released --flag a b\n");
    // For the rest of the job.
    run(&job, &releases.url, "xcache-restore", &[]).ok().reviewed();
    assert_eq!(releases.asked().len(), 1);
}

#[test]
fn a_program_that_does_not_run_here_is_trouble_and_not_a_failed_step() {
    // The header of a program for another kind of machine, a script without its interpreter, and one that crashes.
    let elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0";
    for (kind, content) in BOTH.iter().flat_map(|kind| {
        let contents = [&elf[..], b"#!/nonexistent/interpreter\n", b"#!/bin/sh\nkill -SEGV $$\n"];
        contents.map(|content| (*kind, content))
    }) {
        let job = job();
        let bin = job.dir("bin");
        for name in ["xcache-restore", "xcache-gc"] {
            program(&bin.join(name), "never");
            fs::write(bin.join(name), content).unwrap();
        }
        let env = [("XCACHE_BIN_DIR", bin.to_str().unwrap())];
        without_cache(run_with(kind, &job, "", "xcache-restore", &env), "does not run on this machine (exit code 1");
        run_with(kind, &job, "", "xcache-gc", &env).expect_code(1);
    }
}

#[test]
fn a_directory_of_ones_own_comes_first_and_must_have_the_program() {
    let job = job();
    let releases = Releases::of(&job, OWN, |_| ());
    program(&job.dir("bin").join("xcache-save"), "own");
    let bin = job.path("bin");
    let env = [("XCACHE_BIN_DIR", bin.to_str().unwrap()), ("XCACHE_BUILD_FROM_SOURCE", "true")];
    let outcome = run(&job, &releases.url, "xcache-save", &env).ok().reviewed();
    assert_eq!(outcome.stdout, "own --flag a b\n");
    without_cache(run(&job, &releases.url, "xcache-restore", &env), "XCACHE_BIN_DIR has no xcache-restore");
    assert_eq!(releases.asked().len(), 0);
}

#[test]
fn texts_from_outside_are_no_commands_to_the_runner() {
    let job = job();
    let bin = format!("{}\n::set-output name=x::100%", job.path("bin").display());
    let outcome = run(&job, "", "xcache-save", &[("XCACHE_BIN_DIR", &bin)]).ok();
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
    let bin = format!("{}/100%0A", job.path("bin").display());
    let outcome = run(&job, "", "xcache-save", &[("RUNNER_OS", "A\n::x::100%"), ("XCACHE_BIN_DIR", &bin)]).ok();
    assert!(outcome.stdout.ends_with("this runner has A ::x::100%25\n"), "{outcome:?}");
}

#[test]
fn runners_of_other_systems_are_told_that_it_runs_on_linux() {
    let job = job();
    let releases = Releases::of(&job, OWN, |_| ());
    for system in ["macOS", "Windows"] {
        let said = format!("xcache runs on Linux only, and this runner has {system}");
        without_cache(run(&job, &releases.url, "xcache-restore", &[("RUNNER_OS", system)]), &said);
        run(&job, &releases.url, "xcache-gc", &[("RUNNER_OS", system)]).expect_code(1);
    }
    assert_eq!(releases.asked().len(), 0);
}

/// Puts a cargo into the tools, which says how it was called and makes what it was asked for.
fn add_cargo(job: &Job) {
    let tools = tools(job, Tools::Debian);
    let cargo = format!(
        "#!/bin/sh\n{{ echo \"$1 in $PWD\"; env; }} >>'{}'\n[ \"$1\" = build ] || exit 0\n\
         while [ $# -gt 0 ]; do [ \"$1\" = --target-dir ] && target=$2; shift; done\n\
         mkdir -p \"$target/release\"\n\
         for name in xcache-restore xcache-save xcache-gc; do\n\
         printf '#!/bin/sh\\n[ \"$1\" = --version ] || echo built \"$@\"\\n' >\"$target/release/$name\"\n\
         chmod +x \"$target/release/$name\"; done\n",
        job.path("called").display()
    );
    fs::write(tools.join("cargo"), cargo).unwrap();
    fs::set_permissions(tools.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_source_is_built_only_on_demand() {
    let job = job();
    add_cargo(&job);
    let releases = Releases::none();
    for value in ["", "false", "0", "maybe"] {
        let env = [("XCACHE_BUILD_FROM_SOURCE", value)];
        without_cache(run(&job, &releases.url, "xcache-restore", &env), "no release can be fetched");
    }
    assert!(!job.path("called").exists());
    let asked = releases.asked().len();
    let env = [("XCACHE_BUILD_FROM_SOURCE", "true")];
    let outcome = run(&job, &releases.url, "xcache-restore", &env).ok().reviewed();
    assert_eq!(outcome.stdout, "built --flag a b\n");
    // For later steps of this job, and for no other job: the source may be of any commit.
    let outcome = run(&job, &releases.url, "xcache-gc", &env).ok().says(&["found in "]);
    assert_eq!((outcome.stdout.as_str(), releases.asked().len()), ("built --flag a b\n", asked));
    assert!(!job.path("tool cache").exists() || !cached(&job, "xcache-gc").exists());
    assert_eq!(fs::read_to_string(job.path("called")).unwrap().matches("build in ").count(), 1);
}

#[test]
fn a_build_without_cargo_or_that_fails_is_trouble() {
    let job = job();
    let env = [("XCACHE_BUILD_FROM_SOURCE", "true")];
    without_cache(run(&job, "", "xcache-restore", &env), "there is no cargo");
    add_cargo(&job);
    let cargo = tools(&job, Tools::Debian).join("cargo");
    for step in ["fetch", "build"] {
        fs::write(&cargo, format!("#!/bin/sh\n[ \"$1\" != {step} ]\n")).unwrap();
        without_cache(run(&job, "", "xcache-restore", &env), "the build failed");
    }
}

#[test]
fn a_build_obeys_neither_the_workspace_nor_the_variables_of_the_step_and_sees_no_secret() {
    let job = job();
    add_cargo(&job);
    // The workspace may be a pull request.
    fs::create_dir(job.path("workspace/.cargo")).unwrap();
    fs::write(job.path("workspace/.cargo/config.toml"), "build.rustc-wrapper = '/tmp/evil'").unwrap();
    fs::write(job.path("workspace/rust-toolchain.toml"), "[toolchain]\npath = '/tmp/evil'\n").unwrap();
    let env = [
        ("XCACHE_BUILD_FROM_SOURCE", "true"),
        ("XCACHE_AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "hunter2"),
        ("GITHUB_TOKEN", "hunter2"),
        ("ANY_OTHER", "hunter2"),
        ("HTTPS_PROXY", "http://me:proxy2@proxy"),
        ("RUSTC_WRAPPER", "/tmp/evil"),
        ("RUSTC", "/tmp/evil"),
        ("RUSTFLAGS", "-Clinker=/tmp/evil"),
        ("RUSTUP_TOOLCHAIN", "/tmp/evil"),
        ("CARGO_HOME", "/tmp/evil"),
        ("CARGO_BUILD_RUSTC_WRAPPER", "/tmp/evil"),
        ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", "/tmp/evil"),
        ("CC", "/tmp/evil"),
        ("LD_PRELOAD", ""),
    ];
    run(&job, "", "xcache-restore", &env).ok();
    let called = fs::read_to_string(job.path("called")).unwrap();
    let (fetch, build) = called.split_once("build in ").unwrap();
    let source = job.path("action source").canonicalize().unwrap();
    assert!(fetch.starts_with(&format!("fetch in {}\n", source.display())), "{called}");
    assert!(build.starts_with(&format!("{}\n", source.display())), "{called}");
    for found in ["hunter2", "evil"] {
        assert!(!called.contains(found), "{called}");
    }
    // Fetching runs no code of what is fetched.
    assert!(fetch.contains("proxy2") && !build.contains("proxy2"), "{called}");
    let mut names: Vec<&str> = build.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    names.retain(|name| !["PWD", "OLDPWD", "_", "SHLVL"].contains(name));
    assert_eq!(names, ["CARGO_HOME", "HOME", "PATH", "RUSTUP_HOME", "TMPDIR"]);
}

#[test]
fn a_configuration_of_cargo_above_the_source_stops_the_build() {
    // As when a workflow checks out the action below its workspace.
    for name in ["config.toml", "config"] {
        let job = job();
        add_cargo(&job);
        fs::create_dir(job.path(".cargo")).unwrap();
        fs::write(job.path(".cargo").join(name), "build.rustc-wrapper = '/tmp/evil'").unwrap();
        let env = [("XCACHE_BUILD_FROM_SOURCE", "true")];
        without_cache(run(&job, "", "xcache-restore", &env), "would change the build");
        assert!(!job.path("called").exists());
    }
}
