//! The book: every page is in it, every link leads somewhere, and what its pages say to run does run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::runner::{Runner, checkout};
use xcache_tests::{s3, skip};

use crate::actions::PROGRAMS;

fn page(name: &str) -> String {
    fs::read_to_string(checkout().join("docs").join(name)).unwrap()
}

/// The Markdown files below a directory of the checkout.
fn pages(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(checkout().join(dir)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(checkout()).unwrap().to_owned();
        if path.is_dir() {
            found.extend(pages(name.to_str().unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(name);
        }
    }
    found
}

/// The blocks of code of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let open = format!("```{language}\n");
    text.split(&open).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Without blocks and pieces of code.
fn prose(text: &str) -> String {
    let outside: String = text.split("```").step_by(2).collect();
    outside.split('`').step_by(2).collect()
}

/// The targets of all links.
fn links(text: &str) -> Vec<String> {
    prose(text).split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The anchors of a page, as GitHub and mdBook make them of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let outside: String = text.split("```").step_by(2).collect();
    let headings = outside.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings.map(|title| title.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_page_is_in_the_book_once() {
    let listed = links(&page("SUMMARY.md"));
    let unique: BTreeSet<&String> = listed.iter().collect();
    assert_eq!(unique.len(), listed.len());
    let there: BTreeSet<String> = pages("docs")
        .iter()
        .map(|path| path.strip_prefix("docs").unwrap().display().to_string())
        .filter(|path| path != "SUMMARY.md")
        .collect();
    assert_eq!(unique.into_iter().cloned().collect::<BTreeSet<_>>(), there);
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut all = pages("docs");
    all.extend(["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md"].map(PathBuf::from));
    let mut seen = 0;
    for page in all {
        let text = fs::read_to_string(checkout().join(&page)).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => checkout().join(&page),
                file => checkout().join(&page).parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(anchor), "{}: {link} has no heading: {there:?}", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} links");
}

#[test]
fn links_that_lead_out_of_the_book_lead_to_the_repository() {
    let content = "[a](../README.md#install), [b](s3.md#x), `[c](../x)`, [d](https://e.org), [f](#g), [h](ci/a.md)\n\
                   ```\n[i](../x)\n```\n[`j`](../bench/recipes)";
    let chapter = |path: &str| json!({"Chapter": {"content": content, "path": path, "sub_items": []}});
    for list in ["items", "sections"] {
        let mut outer = chapter("start.md");
        outer["Chapter"]["sub_items"] = json!([chapter("ci/x.md")]);
        let book = json!([{}, {list: [outer, "Separator"]}]);
        let mut child = Command::new(checkout().join(".ci/book-links"))
            .arg("https://r/main")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(book.to_string().as_bytes()).unwrap();
        let book: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
        let outer = &book[list][0]["Chapter"];
        assert_eq!(
            outer["content"],
            "[a](https://r/main/README.md#install), [b](s3.md#x), `[c](../x)`, [d](https://e.org), [f](#g), [h](ci/a.md)\n\
             ```\n[i](../x)\n```\n[`j`](https://r/main/bench/recipes)"
        );
        let inner = outer["sub_items"][0]["Chapter"]["content"].as_str().unwrap();
        assert!(inner.starts_with("[a](https://r/main/docs/README.md") || inner.contains("[b](s3.md"), "{inner}");
    }
    let supports = Command::new(checkout().join(".ci/book-links")).args(["url", "supports", "html"]).status().unwrap();
    assert!(supports.success());
}

/// A job with the programs on its search path, and other tools that only note what they were called with.
struct Machine {
    job: Job,
    path: std::ffi::OsString,
}

impl Machine {
    fn new() -> Self {
        let job = Job::new();
        let bin = job.home().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, program) in PROGRAMS {
            symlink(program, bin.join(name)).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).unwrap();
        Self { job, path }
    }

    fn sh(&self, script: &str) -> Invocation {
        self.job.command("bash").args(["-euc", script]).env("PATH", &self.path)
    }
}

#[test]
fn the_commands_of_the_first_page_work_and_print_what_it_shows() {
    let machine = Machine::new();
    let text = page("start.md");
    let outcome = machine.sh(&blocks(&text, "sh").concat()).run().ok();
    assert!(outcome.stdout.contains("demo-linux-2"), "{}", outcome.stdout);
    let shown = &blocks(&text, "text")[0];
    // The age of an entry is another one each time.
    let ageless = |text: &str| {
        text.split(", the newest ")
            .map(|part| part.split_once(" old,").map_or(part, |(_, rest)| rest).to_owned())
            .collect::<String>()
    };
    let printed = ageless(&outcome.stderr);
    for line in shown.lines().map(ageless) {
        assert!(printed.contains(&line), "no `{line}` in\n{printed}");
    }
    assert!(fs::read_to_string(machine.job.path("report.html")).unwrap().contains("demo-linux-*"));
    assert!(machine.job.path("store/demo-linux-2-delta.tar.zst").exists());
}

#[test]
fn the_commands_of_a_clean_up_work() {
    let machine = Machine::new();
    let place = Place::local();
    fs::create_dir(machine.job.path("build")).unwrap();
    fs::write(machine.job.path("build/file"), "content").unwrap();
    for key in ["deps-linux-1", "deps-linux-2"] {
        machine.sh(&format!("xcache-save --key {key} build")).env("XCACHE_STORE", place.url()).run().ok();
    }
    for command in blocks(&(page("cleaning-up.md") + &page("metrics.md")), "sh") {
        machine.sh(&command).env("XCACHE_STORE", place.url()).run().ok();
    }
    let mut entries = place.entries();
    entries.retain(|name| !name.starts_with(".xcache"));
    assert_eq!(entries.len(), 4, "{entries:?}");
}

#[test]
fn the_rules_of_a_clean_up_are_flags() {
    let rules: Vec<String> = page("cleaning-up.md")
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("`--"))
        .map(|line| line.split('`').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(rules.len(), 6, "{rules:?}");
    let place = Place::local();
    let machine = Machine::new();
    fs::write(machine.job.path("file"), "content").unwrap();
    machine.sh("xcache-save --key key file").env("XCACHE_STORE", place.url()).run().ok();
    for rule in rules.iter().filter(|rule| !rule.contains("https://")) {
        machine.sh(&format!("xcache-gc prune --dry-run {rule}")).env("XCACHE_STORE", place.url()).run().ok();
    }
}

/// Each recipe: its heading, and its steps.
fn recipes() -> Vec<(String, Value)> {
    let text = page("recipes.md");
    let sections = text.split("\n## ").skip(1);
    let recipe = |section: &str| {
        let name = section.lines().next().unwrap().to_owned();
        let steps = blocks(section, "yaml").into_iter().map(move |block| {
            let steps: Value = yaml_serde::from_str(&block).unwrap();
            (name.clone(), steps)
        });
        steps.collect::<Vec<_>>()
    };
    sections.flat_map(recipe).filter(|(_, steps)| steps.is_array()).collect()
}

/// Tools that the recipes call. Each adds a line to the file `log` in every path of the recipe.
const TOOLS: [&str; 11] = ["make", "cargo", "go", "npm", "pnpm", "gradle", "mvn", "pip", "uv", "conan", "docker"];

fn stand_in(paths: &[String]) -> String {
    let mut script = "#!/bin/bash\nshopt -s nullglob\n".to_owned();
    for path in paths {
        let path = path.replace('~', "$HOME");
        writeln!(script, "mkdir -p \"{path}\" && echo built >>\"{path}/log\"").unwrap();
    }
    // What the step for Docker moves into place.
    script + "case \"$*\" in *buildx*) cp -r \"$HOME/.cache/buildx\" \"$HOME/.cache/buildx-new\" ;; esac\n"
}

#[test]
fn each_recipe_restores_what_an_earlier_job_has_built() {
    let recipes = recipes();
    assert_eq!(recipes.len(), 12, "{:?}", recipes.iter().map(|(name, _)| name).collect::<Vec<_>>());
    for (name, steps) in recipes {
        let with = &steps[0]["with"];
        let paths = with["path"].as_str().unwrap().lines().map(str::to_owned);
        let paths: Vec<String> = paths.filter(|path| !path.starts_with('!')).collect();
        let (key, restore_keys) = (with["key"].as_str().unwrap(), with["restore-keys"].as_str().unwrap());
        assert_eq!(key, format!("{restore_keys}${{{{ github.sha }}}}"), "{name}");
        let place = Place::local();
        for (commit, expected) in [("1", "built\n"), ("2", "built\nbuilt\n")] {
            let mut runner = Runner::new(&PROGRAMS);
            let bin = runner.job().home().join("tools");
            fs::create_dir(&bin).unwrap();
            for tool in TOOLS {
                fs::write(bin.join(tool), stand_in(&paths)).unwrap();
                fs::set_permissions(bin.join(tool), fs::Permissions::from_mode(0o755)).unwrap();
            }
            let path = std::env::var("PATH").unwrap();
            runner.set_env("PATH", format!("{}:{path}", bin.display()));
            runner.override_env("XCACHE_STORE", place.url());
            runner.set_github("sha", commit);
            fs::write(runner.job().path("package-lock.json"), commit).unwrap();
            let workflow = runner.job().home().join("workflow.yml");
            let job = json!({"on": "push", "jobs": {"build": {"runs-on": "ubuntu-latest", "steps": steps}}});
            fs::write(&workflow, job.to_string()).unwrap();
            runner.run_workflow(workflow.to_str().unwrap(), "build");
            runner.finish("success");
            let first = paths[0].replace('~', runner.job().home().to_str().unwrap());
            let log = fs::read_to_string(runner.job().work().join(first).join("log")).unwrap();
            // A tool that is called twice in a recipe adds two lines.
            let calls = expected.len() / "built\n".len();
            assert_eq!(log.lines().count() % calls, 0, "{name}: {log}\n{}", runner.log());
            assert!(log.lines().count() >= calls, "{name}, commit {commit}: {log}\n{}", runner.log());
        }
        assert_eq!(place.entries().len(), 2, "{name}");
    }
}

#[test]
fn the_commands_for_a_bucket_work() {
    let has_aws = Command::new("sh").args(["-c", "command -v aws >/dev/null"]).status().unwrap().success();
    if !skip::has("the AWS command line", has_aws) {
        return;
    }
    let server = &s3::servers()[1];
    let blocks = blocks(&page("s3.md"), "sh");
    let machine = Machine::new();
    let bucket = format!("book-{}", std::process::id());
    for block in &blocks {
        let settings = format!("bucket={bucket} region=us-west-2 repository=owner/repo account=123456789012\n");
        // No server for IAM is at hand: the command line checks the parameters before it asks one.
        let is_iam = block.contains("aws iam");
        let endpoint = if is_iam { "http://127.0.0.1:9" } else { &server.endpoint };
        let run = machine.sh(&format!("{settings}{block}")).env("AWS_ENDPOINT_URL", endpoint);
        let run = run
            .env("AWS_ACCESS_KEY_ID", server.access_key)
            .env("AWS_SECRET_ACCESS_KEY", server.secret_key)
            .env("AWS_DEFAULT_REGION", "us-west-2")
            .env("AWS_MAX_ATTEMPTS", "1")
            .run();
        if is_iam {
            assert!(run.stderr.contains("Could not connect to the endpoint URL"), "{}", run.stderr);
        } else {
            run.ok();
        }
    }
    let policies = blocks.iter().filter(|block| block.contains("policy-document")).count();
    assert_eq!(policies, 2);
    // What stands between quotes is JSON, once the shell has put the variables in.
    for block in blocks.iter().filter(|block| block.contains('{')) {
        let text = block.split_once(" '").unwrap().1.rsplit_once('\'').unwrap().0;
        let text =
            text.replace("'\"$account\"'", "1").replace("'\"$bucket\"'", "b").replace("'\"$repository\"'", "o/r");
        serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
}

/// The words that `word` of a type gives, by its source: a new one must not go unexplained.
fn words(file: &str, name: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(checkout().join(file)).unwrap();
    let own = text.split(&format!("\nimpl {name} {{")).nth(1).unwrap();
    let function = own.split("fn word(self)").nth(1).unwrap().split("\n    }\n").next().unwrap();
    let arms = function.lines().filter(|line| line.contains("=>"));
    arms.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn every_reason_is_explained() {
    let text = page("troubleshooting.md");
    let table = |title: &str| -> BTreeSet<String> {
        let section = text.split(&format!("\n## {title}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `")).skip(1);
        rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(table("Why was nothing restored"), words("xcache-restore/src/outcome.rs", "MissReason"));
    assert_eq!(table("Why was nothing saved"), words("xcache-save/src/outcome.rs", "NotSaved"));
    assert_eq!(table("Why was everything saved again"), words("xcache-core/src/delta/plan.rs", "Reason"));
}

/// The steps in a piece of a workflow, wherever they stand.
fn uses(value: &Value, found: &mut Vec<(String, Vec<String>)>) {
    if let Some(action) = value["uses"].as_str() {
        let with = value["with"].as_object();
        found.push((action.to_owned(), with.map(|with| with.keys().cloned().collect()).unwrap_or_default()));
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| uses(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| uses(field, found)),
        _ => {}
    }
}

#[test]
fn every_input_in_a_workflow_of_the_book_exists() {
    let inputs = |path: &str, pointer: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(checkout().join(path)).unwrap();
        let value: Value = yaml_serde::from_str(&text).unwrap();
        value.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    let mut found = Vec::new();
    for page in pages("docs") {
        for block in blocks(&fs::read_to_string(checkout().join(page)).unwrap(), "yaml") {
            // Some are only a line or two of a file.
            if let Ok(value) = yaml_serde::from_str::<Value>(&block) {
                uses(&value, &mut found);
            }
        }
    }
    let mut ours = 0;
    for (action, with) in found {
        let Some((_, name)) = action.split_once("OWNER/xcache") else { continue };
        let name = name.split('@').next().unwrap().trim_start_matches('/');
        let known = match name {
            ".github/workflows/cleanup.yml" => inputs(name, "/on/workflow_call/inputs"),
            "" => inputs("action.yml", "/inputs"),
            name => inputs(&format!("{name}/action.yml"), "/inputs"),
        };
        let unknown: Vec<_> = with.iter().filter(|input| !known.contains(*input)).collect();
        assert!(unknown.is_empty(), "{action} has no {unknown:?}");
        ours += 1;
    }
    assert!(ours >= 15, "{ours} steps");
}

/// The cells of the rows of the table whose heading has `heading`, without the first column.
fn numbers(text: &str, heading: &str) -> Vec<Vec<f64>> {
    let table = text.split(heading).nth(1).unwrap().lines().skip(2).take_while(|line| line.starts_with('|'));
    let number = |cell: &str| {
        let digits: String = cell
            .chars()
            .skip_while(|c| *c != '$' && !c.is_ascii_digit())
            .filter(|c| *c != '$')
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        digits.parse().unwrap_or(f64::NAN)
    };
    table.map(|row| row.trim_matches('|').split('|').skip(1).map(number).collect()).collect()
}

#[test]
fn the_table_of_costs_follows_from_the_formula_and_the_prices() {
    let text = page("costs.md");
    let prices = numbers(&text, "| traffic, GiB | source |");
    let example = numbers(&text, "| traffic out | a month |");
    let [storage, write, read, traffic] = prices[0][..4] else { panic!("{prices:?}") };
    let [r2_storage, r2_write, r2_read, _] = prices[1][..4] else { panic!("{prices:?}") };
    let (gib, mib, commits, bases) = (f64::from(1 << 30), f64::from(1 << 20), 1500.0, 5.0);
    let (entry, delta) = (700e6, 8e6);
    let complete = commits * entry / gib;
    let stored = (bases * entry + (commits - bases) * delta) / gib;
    let restores = commits * (3.0 + entry / mib / 8.0);
    let saves = |bases: f64| bases * (7.0 + entry / mib / 8.0) + (commits - bases) * (7.0 + delta / mib / 8.0);
    let requests = |bases, write, read| (saves(bases) * write + restores * read) / 1000.0;
    let expected = [
        [complete, (complete - 10e9 / gib) * 0.07, 0.0, 0.0],
        [complete, complete * storage, requests(commits, write, read), 0.0],
        [stored, stored * storage, requests(bases, write, read), 0.0],
        [stored, stored * storage, requests(bases, write, read), complete * traffic],
        [stored, stored * r2_storage, requests(bases, r2_write, r2_read), 0.0],
    ];
    assert_eq!(example.len(), expected.len());
    for (row, [stored, storage, requests, traffic]) in example.iter().zip(expected) {
        let all = [stored, storage, requests, traffic, storage + requests + traffic];
        for (n, (written, exact)) in row.iter().zip(all).enumerate() {
            let rounding = if n == 0 { 0.05 } else { 0.005 };
            assert!((written - exact).abs() <= rounding + 1e-9, "column {n} of {row:?}: {exact}");
        }
    }
    assert!((prices[2][0] - 0.0).abs() < 1e-9 && text.contains("then $0.07"));
}

/// Whether the pages are the only place for what they show: a page without a heading has no title in the book.
#[test]
fn every_page_begins_with_its_title() {
    for page in pages("docs") {
        let text = fs::read_to_string(checkout().join(&page)).unwrap();
        assert!(text.starts_with("# "), "{}", Path::new(&page).display());
    }
}
