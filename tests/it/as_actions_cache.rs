//! What users of `actions/cache` rely on, sentence by sentence, through the actions themselves in the emulated runner.

use std::collections::BTreeMap;
use std::fs;

use xcache_tests::place::Place;
use xcache_tests::runner::{Runner, StepResult};
use xcache_tests::s3;

use crate::actions::PROGRAMS;

/// A runner whose job keeps its entries in `place`.
fn runner(place: &Place) -> Runner {
    let mut runner = Runner::new(&PROGRAMS);
    runner.set_env("XCACHE_STORE", place.url());
    for (name, value) in place.env() {
        runner.set_env(name, value);
    }
    runner
}

/// Saves a file `saved`, whose text is the key, under each key.
fn save_each(place: &Place, keys: &[&str]) {
    for key in keys {
        let mut runner = runner(place);
        fs::write(runner.job().path("saved"), key).unwrap();
        let step = runner.uses("save", &[("path", "saved"), ("key", key)]);
        assert_eq!(step.outputs["outcome"], "saved", "{}", step.log);
    }
}

/// Restores `saved`.
fn restore(place: &Place, key: &str, with: &[(&str, &str)]) -> (Runner, StepResult) {
    let mut runner = runner(place);
    let step = runner.uses("restore", &[&[("path", "saved"), ("key", key)], with].concat());
    (runner, step)
}

/// The outputs that `actions/cache` has, in its order: hit, primary key, matched key.
fn outputs(step: &StepResult) -> [&str; 3] {
    ["cache-hit", "cache-primary-key", "cache-matched-key"].map(|name| step.outputs[name].as_str())
}

/// The outputs that were really written, before the runner makes blanks of those that were not.
fn written(runner: &Runner) -> BTreeMap<String, String> {
    runner.job().outputs()
}

#[track_caller]
fn says(step: &StepResult, line: &str) {
    assert!(step.log.lines().any(|said| said == line), "`{line}` is missing:\n{}", step.log);
}

#[test]
fn lists_have_one_item_to_a_line_and_excludes_may_have_a_space() {
    let place = Place::local();
    let mut runner = runner(&place);
    for file in ["a/keep", "a/skip.log", "a/deep/skip.tmp", "b c/keep"] {
        let path = runner.job().path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    let paths = "\n   a  \n\n! **/*.log\n!**/*.tmp\n\tb c\r\n";
    let step = runner.uses("save", &[("path", paths), ("key", " key \n")]);
    assert_eq!((step.outputs["outcome"].as_str(), step.outputs["files"].as_str()), ("saved", "2"), "{}", step.log);
    let restore_keys = [("restore-keys", "\n  none-  \n\n k \r\n"), ("path", paths)];
    let (_, step) = self::restore(&place, "other", &restore_keys);
    assert_eq!(outputs(&step), ["false", "other", "key"]);
}

#[test]
fn only_true_in_any_case_is_true() {
    let place = Place::local();
    for (value, is_failure) in [("true", true), ("True", true), ("TRUE", true), ("yes", false), ("1", false)] {
        let (_, step) = restore(&place, "key", &[("fail-on-cache-miss", value)]);
        assert_eq!(step.is_failure, is_failure, "{value}: {}", step.log);
    }
}

#[test]
fn an_exact_hit_is_true_and_names_the_key() {
    let place = Place::local();
    save_each(&place, &["key-1"]);
    let (runner, step) = restore(&place, "key-1", &[]);
    assert_eq!(outputs(&step), ["true", "key-1", "key-1"]);
    assert_eq!(fs::read_to_string(runner.job().path("saved")).unwrap(), "key-1");
    says(&step, "Cache restored from key: key-1");
}

#[test]
fn a_hit_of_a_prefix_is_false_and_names_the_real_key() {
    let place = Place::local();
    save_each(&place, &["key-1"]);
    for (key, restore_keys) in [("key", ""), ("other", "none\nkey-"), ("other", "key-1")] {
        let (runner, step) = restore(&place, key, &[("restore-keys", restore_keys)]);
        assert_eq!(outputs(&step), ["false", key, "key-1"], "{key}");
        assert_eq!(fs::read_to_string(runner.job().path("saved")).unwrap(), "key-1");
        says(&step, "Cache restored from key: key-1");
    }
}

#[test]
fn a_miss_writes_the_primary_key_and_no_hit_at_all() {
    let (runner, step) = restore(&Place::local(), "key", &[("restore-keys", "a-\nb-")]);
    assert!(!step.is_failure);
    assert_eq!(outputs(&step), ["", "key", ""]);
    assert_eq!(written(&runner).get("cache-hit"), None);
    assert_eq!(written(&runner).get("cache-matched-key"), None);
    says(&step, "Cache not found for input keys: key, a-, b-");
}

#[test]
fn lookup_only_has_the_same_outputs_and_restores_nothing() {
    let place = Place::local();
    save_each(&place, &["key-1"]);
    for (key, expected) in
        [("key-1", ["true", "key-1", "key-1"]), ("key", ["false", "key", "key-1"]), ("x", ["", "x", ""])]
    {
        let (runner, step) = restore(&place, key, &[("lookup-only", "true")]);
        assert_eq!(outputs(&step), expected);
        assert_eq!(written(&runner).contains_key("cache-hit"), !expected[0].is_empty());
        assert!(!runner.job().path("saved").exists());
    }
}

#[test]
fn the_primary_key_is_written_even_if_the_store_cannot_be_reached() {
    let place = Place::on(s3::server()).behind("http://127.0.0.1:9");
    let (_, step) = restore(&place, "key", &[]);
    assert!(!step.is_failure);
    assert_eq!(outputs(&step), ["", "key", ""]);
    assert_eq!((&*step.outputs["outcome"], &*step.outputs["miss-reason"]), ("miss", "unreachable"));
    assert!(step.log.contains("::warning::"), "{}", step.log);
}

/// Keys and restore keys that break a limit.
fn wrong() -> [(String, &'static str); 6] {
    let key = |text: &str| text.to_owned();
    [
        (key("a,b"), ""),
        (key("key"), "a,b"),
        (key("key"), "1\n2\n3\n4\n5\n6\n7\n8\n9\n10"),
        ("k".repeat(513), ""),
        // Each becomes six bytes in the name of the object.
        ("é".repeat(200), ""),
        (key(""), "a"),
    ]
}

#[test]
fn wrong_keys_are_a_warning_and_a_miss_unless_trouble_is_to_fail() {
    for (key, restore_keys) in wrong() {
        let (_, step) = restore(&Place::local(), &key, &[("restore-keys", restore_keys)]);
        let annotations = |log: &str| log.lines().filter(|line| line.starts_with("::")).count();
        assert!(!step.is_failure && step.log.contains("::warning::"), "{key} {restore_keys}: {}", step.log);
        assert_eq!((&*step.outputs["outcome"], &*step.outputs["miss-reason"]), ("miss", "misconfigured"));
        assert_eq!(annotations(&step.log), 1, "{}", step.log);
        let with = [("restore-keys", restore_keys), ("fail-on-error", "true")];
        let (_, step) = restore(&Place::local(), &key, &with);
        assert!(step.is_failure && step.log.contains("::error::"), "{key} {restore_keys}: {}", step.log);
        assert_eq!(annotations(&step.log), 1, "{}", step.log);
    }
}

#[test]
fn wrong_keys_are_a_warning_to_a_save() {
    for (key, restore_keys) in wrong() {
        let place = Place::local();
        let mut runner = runner(&place);
        fs::write(runner.job().path("saved"), "x").unwrap();
        let with = [("path", "saved"), ("key", &*key), ("restore-keys", restore_keys)];
        let step = runner.uses("save", &with);
        assert!(!step.is_failure && step.log.contains("::warning::"), "{key} {restore_keys}: {}", step.log);
        assert_eq!(place.entries(), Vec::<String>::new());
    }
}

#[test]
fn ten_keys_and_512_characters_are_fine() {
    let place = Place::local();
    let long = "k".repeat(512);
    let (_, step) = restore(&place, &long, &[("restore-keys", "1\n2\n3\n4\n5\n6\n7\n8\n9")]);
    assert!(!step.is_failure && !step.log.contains("::"), "{}", step.log);
}

#[test]
fn a_key_that_exists_is_not_saved_again() {
    let place = Place::local();
    save_each(&place, &["key"]);
    let mut runner = runner(&place);
    fs::write(runner.job().path("saved"), "other").unwrap();
    let step = runner.uses("save", &[("path", "saved"), ("key", "key")]);
    says(&step, "Cache hit occurred on the primary key key, not saving cache.");
    assert!(!step.is_failure);
    let step = runner.uses("save", &[("path", "saved"), ("key", "key"), ("if-exists", "fail")]);
    assert!(step.is_failure && step.log.contains("::error::"), "{}", step.log);
    let step = runner.uses("save", &[("path", "saved"), ("key", "new")]);
    says(&step, "Cache saved with key: new");
}

#[test]
fn a_miss_that_shall_fail_says_so_in_the_known_words() {
    let (_, step) = restore(&Place::local(), "key", &[("fail-on-cache-miss", "true")]);
    assert!(step.is_failure);
    says(&step, "::error::Failed to restore cache entry. Exiting as fail-on-cache-miss is set. Input key: key");
}

#[test]
fn trouble_fails_a_step_only_when_asked_to() {
    let place = Place::on(s3::server()).behind("http://127.0.0.1:9");
    let mut runner = runner(&place);
    fs::write(runner.job().path("saved"), "x").unwrap();
    for action in ["restore", "save"] {
        let with = [("path", "saved"), ("key", "key")];
        let step = runner.uses(action, &with);
        assert!(!step.is_failure && step.log.contains("::warning::"), "{action}: {}", step.log);
        let step = runner.uses(action, &[&with[..], &[("fail-on-error", "true")]].concat());
        assert!(step.is_failure && step.log.contains("::error::"), "{action}: {}", step.log);
    }
}

#[test]
fn no_value_can_set_another_output() {
    let key = "key\ncache-hit=true\ncache-hit<<EOF\ntrue\nEOF";
    let (runner, step) = restore(&Place::local(), key, &[]);
    assert!(!step.is_failure, "{}", step.log);
    let expected = [("cache-primary-key", key), ("outcome", "miss"), ("miss-reason", "misconfigured")];
    assert_eq!(written(&runner), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let text = |runner: &Runner| fs::read_to_string(runner.job().github_file("GITHUB_OUTPUT")).unwrap();
    let delimiter = |text: &str| text.split("<<").nth(1).unwrap().lines().next().unwrap().to_owned();
    let (other, _) = restore(&Place::local(), key, &[]);
    assert_ne!(delimiter(&text(&runner)), delimiter(&text(&other)), "a delimiter must not be guessed");
}

#[test]
fn annotations_are_escaped_and_names_are_no_commands() {
    let (_, step) = restore(&Place::local(), "100%,\n::error::x", &[]);
    let annotations: Vec<_> = step.log.lines().filter(|line| line.starts_with("::")).collect();
    let [annotation] = annotations[..] else { panic!("{annotations:?}") };
    assert!(annotation.starts_with("::warning::") && annotation.contains("100%25,"), "{annotation}");
    let (_, step) = restore(&Place::local(), "##[error]x", &[]);
    assert!(!step.log.contains("##["), "{}", step.log);
}

#[test]
fn the_summary_is_a_table_that_no_key_can_leave() {
    let place = Place::local();
    save_each(&place, &["a|b <b> `x`"]);
    let (runner, _) = restore(&place, "a|b <b> `x`", &[]);
    let summary = runner.summary();
    assert!(summary.contains(r"| a\|b &lt;b&gt; \`x\` | a\|b &lt;b&gt; \`x\` | exact | 1 |"), "{summary}");
}

#[test]
fn debug_logs_say_more() {
    let place = Place::local();
    save_each(&place, &["key"]);
    let quiet = restore(&place, "key", &[]).1.log;
    let mut runner = runner(&place);
    runner.set_env("RUNNER_DEBUG", "1");
    let loud = runner.uses("restore", &[("path", "saved"), ("key", "key")]).log;
    assert!(loud.contains("debug: ") && !quiet.contains("debug: "), "{loud}\n\n{quiet}");
}

#[test]
fn files_with_any_name_are_saved_and_restored() {
    let place = Place::local();
    let mut first = runner(&place);
    let names = ["cache.tzst", "cache.tgz", "manifest.txt", "-rf", "--help", " space ", "new\nline", "é"];
    fs::create_dir(first.job().path("-dir")).unwrap();
    for name in names {
        fs::write(first.job().path("-dir").join(name), name).unwrap();
    }
    fs::write(first.job().path("cache.tzst"), "mine").unwrap();
    let with = [("path", "-dir\ncache.tzst"), ("key", "a key#with?odd%é")];
    assert_eq!(first.uses("save", &with).outputs["outcome"], "saved");
    assert_eq!(fs::read_to_string(first.job().path("cache.tzst")).unwrap(), "mine");
    let mut second = runner(&place);
    assert_eq!(second.uses("restore", &with).outputs["cache-hit"], "true");
    for name in names {
        assert_eq!(fs::read_to_string(second.job().path("-dir").join(name)).unwrap(), name);
    }
}

#[test]
fn the_newest_of_more_than_a_thousand_entries_is_found() {
    let place = Place::local();
    save_each(&place, &["k-0500"]);
    let object = place.get("k-0500-base.tar.zst").unwrap();
    for number in (0..1200).filter(|number| *number != 500) {
        place.put(&format!("k-{number:04}-base.tar.zst"), &object);
    }
    // In the middle of the second page by name, and the last by time.
    save_each(&place, &["k-1100x"]);
    let (_, step) = restore(&place, "k-", &[]);
    assert_eq!(outputs(&step), ["false", "k-", "k-1100x"], "{}", step.log);
}

#[test]
fn the_exact_key_comes_before_a_newer_one_that_begins_with_it() {
    let place = Place::local();
    save_each(&place, &["key", "key-newer"]);
    assert_eq!(outputs(&restore(&place, "key", &[]).1), ["true", "key", "key"]);
    let (_, step) = restore(&place, "none", &[("restore-keys", "key")]);
    assert_eq!(outputs(&step), ["false", "none", "key"]);
}

#[test]
fn an_entry_is_restored_into_another_directory() {
    let place = Place::local();
    save_each(&place, &["key"]);
    let mut runner = runner(&place);
    let step = runner.uses("restore", &[("path", "elsewhere/else"), ("key", "key")]);
    assert_eq!(step.outputs["cache-hit"], "true", "{}", step.log);
    assert_eq!(fs::read_to_string(runner.job().path("elsewhere/else")).unwrap(), "key");
}

#[test]
fn a_miss_says_why() {
    let place = Place::on(s3::server());
    let reason = |step: &StepResult| step.outputs["miss-reason"].clone();
    assert_eq!(reason(&restore(&place, "key", &[]).1), "nothing-there");
    save_each(&place, &["key"]);
    assert_eq!(reason(&restore(&place, "key", &[("path", "a\nb")]).1), "other-paths");
    let denied = [("aws-access-key-id", "unknown"), ("aws-secret-access-key", "wrong")];
    let (_, step) = restore(&place, "key", &denied);
    assert_eq!(reason(&step), "denied");
    assert!(!step.log.contains("wrong"), "a secret in the log:\n{}", step.log);
    let mut object = place.get("key-base.tar.zst").unwrap();
    object.truncate(object.len() - 100);
    place.put("key-base.tar.zst", &object);
    assert_eq!(reason(&restore(&place, "key", &[]).1), "corrupt");
    assert_eq!(reason(&restore(&place.behind("http://127.0.0.1:9"), "key", &[]).1), "unreachable");
}

#[test]
fn ignored_inputs_are_noticed() {
    let ignored =
        [("enableCrossOsArchive", "true"), ("upload-chunk-size", "9"), ("use-deltas", "true"), ("save-always", "true")];
    let (_, step) = restore(&Place::local(), "key", &ignored);
    assert!(!step.is_failure);
    for (name, _) in ignored {
        assert!(step.log.contains(&format!("notice: `{name}` is ignored")), "{}", step.log);
    }
}

/// The event of a push with this message.
fn push(runner: &mut Runner, message: &str) {
    let event = serde_json::json!({"head_commit": {"message": message}, "repository": {"default_branch": "main"}});
    let path = runner.job().path("event.json");
    fs::write(&path, event.to_string()).unwrap();
    runner.set_env("GITHUB_EVENT_PATH", path.to_str().unwrap());
}

#[test]
fn a_commit_message_clears_the_entry_and_what_builds_on_it() {
    for place in Place::each() {
        // An entry, one that builds on it, and one that has nothing to do with them.
        let mut first = runner(&place);
        let large: Vec<u8> = (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        fs::write(first.job().path("saved"), &large).unwrap();
        let save = |runner: &mut Runner, key| runner.uses("save", &[("path", "saved"), ("key", key)]);
        assert_eq!(save(&mut first, "key").outputs["kind"], "base");
        fs::write(first.job().path("saved"), [&large[..], b"more"].concat()).unwrap();
        let step = save(&mut first, "key-next");
        assert_eq!(step.outputs["kind"], "delta", "{}", step.log);
        save_each(&place, &["other"]);

        let mut asked = runner(&place);
        push(&mut asked, "Fix it\n\n[ci-clear-cache]");
        let look = asked.uses("restore", &[("path", "saved"), ("key", "key"), ("lookup-only", "true")]);
        assert_eq!(outputs(&look), ["true", "key", "key"], "who only looks deletes nothing");
        let none = asked.uses("restore", &[("path", "saved"), ("key", "key"), ("clear-token", "none")]);
        assert_eq!(outputs(&none), ["true", "key", "key"]);
        let step = asked.uses("restore", &[("path", "saved"), ("key", "key"), ("restore-keys", "other")]);
        assert_eq!(outputs(&step), ["", "key", ""], "{}", step.log);
        assert_eq!(step.outputs["miss-reason"], "cleared");
        assert_eq!(place.entries(), ["other-base.tar.zst"]);
        let again = asked.uses("restore", &[("path", "saved"), ("key", "key")]);
        assert!(!again.is_failure && !again.log.contains("::warning::"), "{}", again.log);
        assert_eq!(save(&mut asked, "key").outputs["outcome"], "saved");
    }
}

#[test]
fn other_tokens_and_no_token_clear_nothing() {
    let place = Place::local();
    save_each(&place, &["key"]);
    let mut runner = runner(&place);
    push(&mut runner, "Fix ci-clear-cache");
    assert_eq!(outputs(&runner.uses("restore", &[("path", "saved"), ("key", "key")])), ["true", "key", "key"]);
    push(&mut runner, "[wipe] it");
    let with = [("path", "saved"), ("key", "key"), ("clear-token", "[wipe]")];
    assert_eq!(runner.uses("restore", &with).outputs["miss-reason"], "cleared");
}

#[test]
fn a_step_ends_as_soon_as_its_work_is_done() {
    // The connection that the server keeps open is no reason to wait.
    let place = Place::on(s3::server());
    save_each(&place, &["key"]);
    let begin = std::time::Instant::now();
    let (_, step) = restore(&place, "key", &[]);
    let seconds: f64 = step.outputs["seconds"].parse().unwrap();
    let around = begin.elapsed().as_secs_f64() - seconds;
    assert!(around < 5.0, "{around} s around a restore of {seconds} s");
}
