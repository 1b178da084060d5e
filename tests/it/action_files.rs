//! The four `action.yml` files against the command lines of the programs: no input without a flag, no flag worth an
//! input without one, same defaults, same text.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, Command};
use xcache_cli::command;
use xcache_tests::runner::checkout;
use xcache_tests::runner::file::{self, Action, Runs, Text};

/// Flags that make no sense as inputs: what a runner decides (where state lies, what the log looks like), and what
/// prints something else than the result.
const NO_INPUTS: [&str; 11] =
    ["state-dir", "json", "verbose", "quiet", "color", "progress", "completions", "man", "help", "version", "yes"];

/// The inputs of the one-step action that are not for the programs.
const OWN_INPUTS: [&str; 3] = ["save-if", "save-on-failure", "job-status"];

/// Each composite action with what it runs.
fn actions() -> Vec<(&'static str, &'static str, Command)> {
    let mut gc = command::<xcache_gc::args::Args>();
    gc.build();
    let prune = gc.find_subcommand("prune").expect("there is a prune").clone();
    let built = |mut command: Command| {
        command.build();
        command
    };
    vec![
        ("restore", "xcache-restore", built(command::<xcache_restore::args::Args>())),
        ("save", "xcache-save", built(command::<xcache_save::args::Args>())),
        ("gc", "xcache-gc prune", prune),
    ]
}

fn action(name: &str) -> Action {
    file::read(&checkout().join(name).join("action.yml"))
}

/// The flags worth an input, by the name of the input.
fn flags(command: &Command) -> BTreeMap<String, &Arg> {
    let flag = |arg| Arg::get_long(arg).map(|flag| (flag, arg));
    let worth = |(flag, _): &(&str, _)| !NO_INPUTS.contains(flag);
    let name = |flag: &str| match flag {
        // The one name in `actions/cache` that is not like the others.
        "enable-cross-os-archive" => "enableCrossOsArchive".to_owned(),
        flag => flag.to_owned(),
    };
    command.get_arguments().filter_map(flag).filter(worth).map(|(flag, arg)| (name(flag), arg)).collect()
}

/// The text of a flag in the words of inputs, with what its help says beside the text.
fn text(arg: &Arg) -> String {
    let help = arg.get_help().expect("every flag has a help").to_string();
    // Flags are inputs here.
    let mut text = String::new();
    for word in help.split(' ') {
        let separator = if text.is_empty() { "" } else { " " };
        match word.strip_prefix("--") {
            Some(flag) => text += &format!("{separator}`{flag}`"),
            None => text += &format!("{separator}{word}"),
        }
    }
    if arg.get_help_heading() == Some("Accepted and ignored") {
        text.insert_str(0, "Ignored: ");
    }
    let is_switch = !arg.get_action().takes_values() || arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    let values: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !values.is_empty() && !is_switch {
        text += &format!(" [possible values: {}]", values.join(", "));
    }
    if let Some(default) = arg.get_default_values().first().filter(|_| !is_switch) {
        text += &format!(" [default: {}]", default.to_string_lossy());
    }
    text
}

#[test]
fn every_input_is_a_flag_with_the_same_text_and_default() {
    for (name, _, command) in actions() {
        let (action, flags) = (action(name), flags(&command));
        let inputs: BTreeSet<_> = action.inputs.keys().collect();
        assert_eq!(inputs, flags.keys().collect(), "{name}");
        for (input, arg) in flags {
            let described = &action.inputs[&input];
            assert_eq!(described.description, text(arg), "{name}: {input}");
            // The default is the program's own, so that it cannot differ, and a variable of the job can replace it.
            assert_eq!(described.default, None, "{name}: {input}");
            assert!(!described.required, "{name}: {input}: a variable of the job can stand for it");
        }
    }
}

#[test]
fn the_one_step_has_the_inputs_of_restore_and_save_and_three_of_its_own() {
    let whole = action("");
    let (restore, save) = (action("restore"), action("save"));
    let mut expected: BTreeSet<_> = restore.inputs.keys().chain(save.inputs.keys()).map(String::as_str).collect();
    expected.extend(OWN_INPUTS);
    assert_eq!(whole.inputs.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    for (name, input) in &whole.inputs {
        assert!(!input.required, "{name}");
        if let Some(same) = restore.inputs.get(name).or(save.inputs.get(name)) {
            assert_eq!((&input.description, &input.default), (&same.description, &same.default), "{name}");
        }
    }
    assert_eq!(whole.inputs["job-status"].default, Some(Text::Text("${{ job.status }}".into())));
    let outputs = |action: &Action| -> BTreeMap<String, String> {
        action.outputs.iter().map(|(name, output)| (name.clone(), output.description.clone())).collect()
    };
    assert_eq!(outputs(&whole), outputs(&restore));
}

#[test]
fn the_one_step_has_no_list_of_inputs_but_its_own() {
    let script = std::fs::read_to_string(checkout().join("action/main.js")).unwrap();
    for input in action("").inputs.keys().filter(|input| !OWN_INPUTS.contains(&input.as_str())) {
        // As a text of the script; words of comments and messages are no list.
        assert!(!script.contains(&format!("'{input}'")), "{input}");
    }
    for input in OWN_INPUTS {
        assert!(script.contains(&format!("'{input}'")), "{input}");
    }
}

#[test]
fn refusals_know_which_variables_are_no_inputs() {
    for (_, program, command) in actions() {
        for arg in command.get_arguments() {
            let (Some(flag), Some(variable)) = (arg.get_long(), arg.get_env()) else { continue };
            let is_input = !NO_INPUTS.contains(&flag);
            assert_eq!(xcache_cli::refusal::NO_INPUTS.contains(&flag), !is_input, "{program} {flag}");
            // A refusal knows the name of the flag only.
            let expected = format!("XCACHE_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(variable.to_str(), Some(&*expected), "{program} {flag}");
        }
    }
}

#[test]
fn inputs_reach_the_program_through_variables_only() {
    for (name, runs, command) in actions() {
        let action = action(name);
        let Runs::Composite { steps } = &action.runs else { panic!("{name} is not composite") };
        let [step] = &steps[..] else { panic!("{name} has more than one step") };
        assert_eq!(step.shell.as_deref(), Some("sh"), "containers may have no other");
        // With `exec`, a cancelled job stops the program itself.
        let run = format!(r#"exec sh "$GITHUB_ACTION_PATH/../action/run.sh" {runs}"#);
        assert_eq!(step.run.as_deref(), Some(&*run));
        let variables = flags(&command).into_iter().map(|(input, arg)| {
            let variable = arg.get_env().expect("every flag is a variable").to_string_lossy().into_owned();
            let value = format!("${{{{ inputs.{input} || env.{variable} }}}}");
            (variable, value)
        });
        let mut expected: BTreeMap<_, _> = variables.collect();
        expected.insert("XCACHE_ACTION_REPOSITORY".into(), "${{ github.action_repository }}".into());
        let found: BTreeMap<_, _> = step.env.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn outputs_are_those_of_the_program() {
    for (name, ..) in actions() {
        for (output, described) in action(name).outputs {
            assert_eq!(described.value, Some(format!("${{{{ steps.run.outputs.{output} }}}}")), "{name}");
        }
    }
}

#[test]
fn inputs_of_the_actions_that_are_replaced_are_all_there() {
    let both = "path key enableCrossOsArchive upload-chunk-size";
    let restore = "restore-keys fail-on-cache-miss lookup-only save-always";
    let bash = "s3-bucket s3-region aws-access-key-id aws-secret-access-key use-deltas";
    let whole = [both, restore, bash].join(" ");
    for (name, expected) in [("", &whole), ("restore", &whole), ("save", &[both, bash].join(" "))] {
        let action = action(name);
        for input in expected.split(' ') {
            assert!(action.inputs.contains_key(input), "{name} has no input `{input}`");
        }
    }
}
