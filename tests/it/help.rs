//! Help texts as golden files below `tests/golden/`. After a change on purpose: `XCACHE_BLESS=1 cargo test help`, and
//! read the diff.

use std::collections::BTreeSet;
use std::path::Path;

use xcache_cli::command;
use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::s3;

/// Each program and its commands.
const PROGRAMS: [(&str, &str, &[&str]); 3] = [
    ("xcache-save", env!("CARGO_BIN_EXE_save-under-test"), &[]),
    ("xcache-restore", env!("CARGO_BIN_EXE_restore-under-test"), &[]),
    (
        "xcache-gc",
        env!("CARGO_BIN_EXE_gc-under-test"),
        &["prune", "ls", "show", "diff", "rm", "verify", "du", "keep", "report", "doctor"],
    ),
];

#[test]
fn help_is_as_reviewed() {
    for (name, exe, commands) in PROGRAMS {
        let own = std::iter::once((name.to_owned(), None));
        let of_commands = commands.iter().map(|command| (format!("{name}-{command}"), Some(*command)));
        for (name, command) in own.chain(of_commands) {
            let help = Job::new().command(exe).args(command).arg("--help").run().ok().stdout;
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.txt"));
            if std::env::var_os("XCACHE_BLESS").is_some() {
                std::fs::write(&path, &help).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(help == golden, "the help of {name} differs from {}; it is now:\n{help}", path.display());
        }
    }
}

/// What a shell proposes after `line`, with the completions that the program has printed.
fn proposals(shell: &str, job: &Job, script: &Path, line: &str) -> BTreeSet<String> {
    let command = match shell {
        "fish" => {
            let ask = format!("source '{}'; complete -C '{line}'", script.display());
            job.command("fish").args(["--no-config", "-c", &ask])
        }
        "bash" => job.command("bash").arg(s3::support("complete.bash")).arg(script).arg(line),
        shell => job.command(shell).arg("-f").arg(s3::support("complete.zsh")).arg(script).arg(line),
    };
    let proposed = command.run().ok().stdout;
    proposed.lines().map(|line| line.split('\t').next().unwrap_or_default().trim_end_matches('=').to_owned()).collect()
}

/// The flags that a command has, as its users write them.
fn flags(command: &clap::Command) -> BTreeSet<String> {
    let visible = command.get_arguments().filter(|arg| !arg.is_hide_set());
    visible.filter_map(clap::Arg::get_long).map(|flag| format!("--{flag}")).collect()
}

#[test]
fn shells_complete_every_flag_of_every_command() {
    let commands = [
        command::<xcache_save::args::Args>(),
        command::<xcache_restore::args::Args>(),
        command::<xcache_gc::args::Args>(),
    ];
    for ((name, exe, ..), mut command) in PROGRAMS.into_iter().zip(commands) {
        command.build();
        for shell in ["bash", "zsh", "fish"] {
            let job = Job::new();
            let script = job.path(format!("{name}.{shell}"));
            std::fs::write(&script, job.command(exe).args(["--completions", shell]).run().ok().stdout).unwrap();
            let missing = |line: &str, command: &clap::Command| {
                let proposed = proposals(shell, &job, &script, line);
                let missing: Vec<_> = flags(command).into_iter().filter(|flag| !proposed.contains(flag)).collect();
                assert!(missing.is_empty(), "{shell}: `{line}` does not propose {missing:?} but {proposed:?}");
            };
            missing(&format!("{name} --"), &command);
            for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
                missing(&format!("{name} {} --", subcommand.get_name()), subcommand);
            }
        }
    }
}

#[test]
fn manual_pages_are_without_warnings() {
    for (name, exe, ..) in PROGRAMS {
        let job = Job::new();
        let page = job.path(format!("{name}.1"));
        std::fs::write(&page, job.command(exe).arg("--man").run().ok().stdout).unwrap();
        let shown = job.command("man").args(["--warnings", "-l"]).arg(&page).env("MANWIDTH", "100").run().ok();
        assert_eq!(shown.stderr, "", "{name}");
        assert!(shown.stdout.contains(name), "{}", shown.stdout);
    }
}

/// The help that `-h` prints fits a screen, and says where the rest is.
#[test]
fn the_short_help_fits_a_screen() {
    for (name, exe, commands) in PROGRAMS {
        for command in std::iter::once(None).chain(commands.iter().map(Some)) {
            let help = Job::new().command(exe).args(command).arg("-h").env("COLUMNS", "100").run().ok().stdout;
            let lines = help.lines().count();
            assert!(lines <= 50, "{name} {command:?}: {lines} lines\n{help}");
            assert!(!help.contains("XCACHE_") && help.contains("--help"), "{name} {command:?}:\n{help}");
        }
    }
}

#[test]
fn a_program_without_arguments_shows_its_usage() {
    for (name, exe, _) in PROGRAMS {
        let outcome = Job::new().command(exe).run().expect_code(2);
        assert!(outcome.stderr.contains(&format!("Usage: {name}")), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
    // Where variables say something, what is missing is named, and in a job wrong usage fails no build.
    let (_, save, _) = PROGRAMS[0];
    Job::new().command(save).env("XCACHE_KEY", "k").run().expect_code(2).reviewed();
    Job::github().command(save).run().ok().reviewed();
}

#[test]
fn flags_of_all_commands_may_stand_before_the_command() {
    let (job, place) = (Job::new(), Place::local());
    place.put("key-base.tar.zst", b"made by others");
    let (_, gc, _) = PROGRAMS[2];
    let run = |args: &[&str]| job.command(gc).args(args).run().ok().stdout;
    let expected = run(&["ls", "--json", "--store", place.url()]);
    assert!(expected.contains("key-base.tar.zst"), "{expected}");
    assert_eq!(run(&["--json", "--store", place.url(), "ls"]), expected);
    assert_eq!(run(&["--store", place.url(), "ls", "--json"]), expected);
    // The nearer one counts.
    assert_eq!(run(&["--store", "file:///nowhere", "ls", "--store", place.url(), "--json"]), expected);
    job.command(gc).arg("--json").run().expect_code(2).reviewed();
    // Flags of one command only belong to it.
    job.command(gc).args(["--sort", "key", "ls"]).run().expect_code(2);
}
