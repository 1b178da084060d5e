//! Outputs of a step: `name<<delimiter` blocks appended to the file that `GITHUB_OUTPUT` names.

use std::collections::hash_map::RandomState;
use std::fs::OpenOptions;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write as _};
use std::path::Path;

use xcache_core::redact;

/// Appends outputs to the file. The runner takes the last value of a name.
pub fn append(path: &Path, outputs: &[(&str, String)]) -> io::Result<()> {
    let mut text = String::new();
    for (name, value) in outputs {
        text.push_str(&block(name, &redact::hide(value), random));
    }
    // One write, so that two processes of a step cannot mix their lines.
    OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

/// One output. The delimiter is random and not in the value, so that no value can end its block early and set other
/// outputs.
fn block(name: &str, value: &str, mut random: impl FnMut() -> u64) -> String {
    let delimiter = loop {
        let delimiter = format!("xcache_{:016x}{:016x}", random(), random());
        if !value.contains(&delimiter) {
            break delimiter;
        }
    };
    format!("{name}<<{delimiter}\n{value}\n{delimiter}\n")
}

/// Numbers nobody can guess: the keys of the standard library's hasher come from the operating system.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_between_delimiters() {
        let check = |value, expected: &str| assert_eq!(block("n", value, || 1), expected);
        let d = "xcache_00000000000000010000000000000001";
        check("v", &format!("n<<{d}\nv\n{d}\n"));
        check("", &format!("n<<{d}\n\n{d}\n"));
        check("a\nb<<c\n", &format!("n<<{d}\na\nb<<c\n\n{d}\n"));
    }

    #[test]
    fn a_value_cannot_hold_its_own_delimiter() {
        let mut next = 0;
        let value = "xcache_00000000000000010000000000000002\nevil<<x";
        let text = block("n", value, || {
            next += 1;
            next
        });
        assert!(text.starts_with("n<<xcache_00000000000000030000000000000004\n"), "{text}");
    }

    #[test]
    fn outputs_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        append(&path, &[("a", "1".into())]).unwrap();
        append(&path, &[("b", "2".into()), ("c", "3".into())]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let names: Vec<_> = text.lines().filter_map(|line| line.split_once("<<")).map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(append(dir.path(), &[]).is_err());
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random(), random());
    }
}
