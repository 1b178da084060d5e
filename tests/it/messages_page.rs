//! The page of all messages: `docs/messages.md` is made of the golden files of whole messages, so it has what the programs
//! really print. After a change on purpose: `XCACHE_BLESS=1 cargo test messages_page`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const HEAD: &str = "\
# Messages

What the programs print, and what to do. Names and numbers that differ are `…` and *n*. This page is generated from the messages
that the tests compare; `XCACHE_BLESS=1 cargo test -p xcache-tests --test it messages_page` writes it again.

Messages without an answer need none: a miss or an entry that is not saved never fails a build, unless you asked for that.
";

/// The messages of a kind: each with what to do, the longest answer if there are several.
type Section = BTreeMap<String, String>;

#[test]
fn the_page_of_messages_is_what_the_programs_print() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sections: BTreeMap<&str, Section> = BTreeMap::new();
    for file in fs::read_dir(root.join("golden/messages")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let mut last: Option<(&str, String)> = None;
        for line in text.lines().map(|line| line.replace("%0A", "\n")) {
            for line in line.lines() {
                if let (Some(hint), Some((kind, message))) = (line.strip_prefix("hint: "), &last) {
                    let answer = sections.entry(kind).or_default().entry(message.clone()).or_default();
                    let hint = general(hint);
                    if hint.len() > answer.len() {
                        *answer = hint;
                    }
                    continue;
                }
                last = message(line).map(|(kind, text)| (kind, general(text)));
                if let Some((kind, message)) = &last {
                    sections.entry(kind).or_default().entry(message.clone()).or_default();
                }
            }
        }
    }
    let mut page = HEAD.to_owned();
    for (kind, messages) in &sections {
        page += &format!("\n## {kind}\n\n| message | what to do |\n| --- | --- |\n");
        for (message, answer) in messages {
            page += &format!("| {} | {} |\n", message.replace('|', "\\|"), answer.replace('|', "\\|"));
        }
    }
    assert!(sections.values().all(|messages| messages.len() > 10), "{page}");
    let path = root.join("../docs/messages.md");
    if std::env::var_os("XCACHE_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let reviewed = fs::read_to_string(&path).unwrap_or_default();
    assert!(reviewed == page, "{} differs; it is now:\n{page}", path.display());
}

/// A line that is a message, and of which kind.
fn message(line: &str) -> Option<(&'static str, &str)> {
    let kinds = [
        ("error: ", "Errors"),
        ("::error::", "Errors"),
        ("warning: ", "Warnings"),
        ("::warning::", "Warnings"),
        ("notice: ", "Notices"),
    ];
    kinds.into_iter().find_map(|(label, kind)| Some((kind, line.strip_prefix(label)?)))
}

/// The message without what differs: names in backticks, unless they are flags or commands, and numbers.
fn general(text: &str) -> String {
    let mut result = String::new();
    for (number, part) in text.split('`').enumerate() {
        let is_name = number % 2 == 1;
        if number > 0 {
            result.push('`');
        }
        let is_word =
            |part: &str| ["--", "xcache-", "s3:", ".xcache", "keep=true", "prune"].iter().any(|w| part.starts_with(w));
        result += &if is_name && !is_word(part) { "…".to_owned() } else { without_numbers(part) };
    }
    result
}

fn without_numbers(text: &str) -> String {
    let mut result = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if result.ends_with("*n*") => {}
            '0'..='9' if result.ends_with([' ', '(']) || result.is_empty() => result.push_str("*n*"),
            c => result.push(c),
        }
    }
    result
}
