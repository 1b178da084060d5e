//! The documents of `--json`: one golden file each below `tests/golden/json/`, and the JSON Schema of all next to them.
//! After a change on purpose: `XCACHE_BLESS=1 cargo test documents`, and read the diff.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use xcache_cli::output::v1;
use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::tree::Rng;

use crate::{GC, RESTORE, SAVE};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/json").join(format!("{name}.json"))
}

fn schema() -> Value {
    serde_json::to_value(v1::schema()).unwrap()
}

/// Compares with the golden file, or writes it.
#[track_caller]
fn is_as_reviewed(name: &str, value: &Value) {
    let path = golden(name);
    let text = format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    if std::env::var_os("XCACHE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let reviewed = fs::read_to_string(&path).unwrap_or_default();
    assert!(reviewed == text, "{name} differs from {}; it is now:\n{text}", path.display());
}

/// The document without what differs from run to run.
fn normalised(value: Value, name: &str) -> Value {
    match (value, name) {
        (Value::String(_), "store" | "etag" | "archive_id" | "object_id" | "error") => json!("…"),
        (Value::String(text), "started" | "saved_at" | "modified" | "now" | "initiated" | "until") => {
            // One form everywhere: RFC 3339, UTC, milliseconds.
            assert!(text.len() == 24 && text.ends_with('Z') && text.as_bytes()[10] == b'T', "{name}: {text}");
            json!("…")
        }
        (Value::String(text), "detail") => {
            let numbers = text.split(", ").next().unwrap_or_default().replace(char::is_numeric, "0");
            // However long they are.
            json!(numbers.replace("000", "0").replace("00", "0"))
        }
        (Value::Number(_), name) if name == "seconds" || name.ends_with("bytes") => json!(0),
        (Value::Number(_), "price_per_month" | "stored" | "saved") => json!(0),
        (Value::Array(items), name) => items.into_iter().map(|item| normalised(item, name)).collect(),
        (Value::Object(fields), _) => {
            fields.into_iter().map(|(name, value)| (name.clone(), normalised(value, &name))).collect()
        }
        (value, _) => value,
    }
}

/// What is wrong with `value` by `schema`; the parts of JSON Schema that ours uses.
fn faults(value: &Value, schema: &Value, root: &Value) -> Vec<String> {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = name.strip_prefix('#').unwrap();
        return faults(value, root.pointer(pointer).unwrap_or_else(|| panic!("no {name}")), root);
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        let all: Vec<_> = choices.iter().map(|choice| faults(value, choice, root)).collect();
        return if all.iter().any(Vec::is_empty) { Vec::new() } else { all.concat() };
    }
    let mut found = Vec::new();
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_type = |name: &Value| name == kind || (name == "number" && kind == "integer");
    match schema.get("type") {
        Some(Value::Array(kinds)) if !kinds.iter().any(is_type) => found.push(format!("{value} is not {kinds:?}")),
        Some(name @ Value::String(_)) if !is_type(name) => found.push(format!("{value} is no {name}")),
        _ => {}
    }
    if let (Some(items), Value::Array(values)) = (schema.get("items"), value) {
        found.extend(values.iter().flat_map(|value| faults(value, items, root)));
    }
    if let (Some(required), Value::Object(fields)) = (schema.get("required").and_then(Value::as_array), value) {
        let missing = required.iter().filter_map(Value::as_str).filter(|name| !fields.contains_key(*name));
        found.extend(missing.map(|name| format!("no `{name}` in {value}")));
    }
    if let (Some(Value::Object(properties)), Value::Object(fields)) = (schema.get("properties"), value) {
        for (name, value) in fields {
            match properties.get(name) {
                Some(schema) => found.extend(faults(value, schema, root)),
                None => found.push(format!("`{name}` is not in the schema")),
            }
        }
    }
    found
}

#[test]
fn the_schema_is_as_reviewed() {
    is_as_reviewed("schema", &schema());
}

#[test]
fn each_document_is_as_reviewed_and_follows_the_schema() {
    let (job, place) = (Job::new(), Place::local());
    let tree = job.dir("tree");
    (0..6).for_each(|n| fs::write(tree.join(format!("file-{n}")), Rng::new(n).bytes(300_000)).unwrap());
    let schema = schema();
    let check = |name: &str, code: i32, invocation: Invocation| {
        let document = invocation.arg("--json").run().expect_code(code).json();
        let found = faults(&document, &schema, &schema);
        assert!(found.is_empty(), "{name}: {found:#?}");
        assert_eq!((&document["format"], document["command"].is_string()), (&json!(1), true), "{name}");
        is_as_reviewed(name, &normalised(document, ""));
    };
    let save = |args: &[&str]| job.command(SAVE).store(&place).args(args);
    let restore = |args: &[&str]| job.command(RESTORE).store(&place).args(args);
    let gc = |args: &[&str]| job.command(GC).args(args).store(&place);
    check("save-base", 0, save(&["tree", "--key", "old", "--branch", "main"]));
    fs::write(tree.join("file-0"), Rng::new(100).bytes(300_000)).unwrap();
    check("save-delta", 0, save(&["tree", "--key", "new"]));
    check("save-exists", 0, save(&["tree", "--key", "new"]));
    check("save-nothing", 0, save(&["nothing", "--key", "none"]));
    check("save-refused", 2, save(&["tree", "--key", "a,b"]));
    check("save-list", 0, save(&["--caches", "[{path: tree, key: new}]"]));
    check("restore-exact", 0, restore(&["tree", "--key", "new"]));
    check("restore-prefix", 0, restore(&["tree", "--key", "ol", "--lookup-only"]));
    check("restore-miss", 0, restore(&["tree", "--key", "none"]));
    check("restore-refused", 2, restore(&["tree"]));
    check("restore-list", 0, restore(&["--caches", "[{path: tree, key: none}]"]));
    check("gc-ls", 0, gc(&["ls"]));
    check("gc-ls-long", 0, gc(&["ls", "--long"]));
    check("gc-show", 0, gc(&["show", "new"]));
    check("gc-show-files", 0, gc(&["show", "new", "--files"]));
    check("gc-diff", 0, gc(&["diff", "old", "new"]));
    check("gc-show-failed", 1, gc(&["show", "none"]));
    check("gc-verify", 0, gc(&["verify", "--deep"]));
    check("gc-du", 0, gc(&["du", "--price", "0.02"]));
    check("gc-du-by", 0, gc(&["du", "--by", "family,scope,repo"]));
    check("gc-doctor", 0, gc(&["doctor"]));
    check("gc-prune", 0, gc(&["prune", "--max-age", "1d", "--dry-run"]));
    check("gc-prune-failed", 2, gc(&["prune"]));
    check("gc-report", 0, gc(&["report", "--price", "0.02", "--max-age", "1d"]));
    check("gc-rm", 0, gc(&["rm", "new"]));
}
