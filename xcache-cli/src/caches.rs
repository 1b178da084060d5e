//! Several caches in one run: the `--caches` argument.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use xcache_core::key::Key;
use xcache_core::paths::PathList;

use super::UsageError;

/// One cache of several, as it stands in the list. Values are checked later, as those of the flags are.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CacheSpec {
    /// Its paths.
    #[serde(deserialize_with = "lines")]
    pub path: String,
    /// Its key.
    pub key: String,
    /// Its restore keys.
    #[serde(default, deserialize_with = "lines")]
    pub restore_keys: String,
}

/// The most caches of one run. Each has connections, threads and buffers of its own.
pub const MAX_CACHES: usize = 10;

/// Reads a list of caches: YAML, of which JSON is a part.
pub fn parse_caches(text: &str) -> Result<Vec<CacheSpec>, UsageError> {
    let specs: Vec<CacheSpec> = yaml_serde::from_str(text).map_err(|error| {
        let form = "write a list of `path`, `key` and, if there are any, `restore-keys`";
        UsageError::with_hint(format!("`caches` is not a list of caches: {error}"), form)
    })?;
    match specs.len() {
        0 => Err(UsageError::options("`caches` is an empty list")),
        count if count > MAX_CACHES => {
            Err(UsageError::options(format!("{count} caches given; the limit is {MAX_CACHES}")))
        }
        _ => Ok(specs),
    }
}

/// Checks that no two caches of one run have files in common: each would be written to by both. Paths that are one place
/// only because of a symlink count as well.
pub fn check_apart(caches: &[(&Key, &PathList)]) -> Result<(), UsageError> {
    let real: Vec<_> = caches.iter().map(|(_, paths)| paths.resolved(real_path)).collect();
    for (two, (key, paths)) in caches.iter().enumerate() {
        for (one, (earlier_key, earlier_paths)) in caches[..two].iter().enumerate() {
            let meeting = earlier_paths.meeting(paths).or_else(|| real[one].meeting(&real[two]));
            let Some((before, this)) = meeting else { continue };
            let (given, is_same) = ((&before.given, &this.given), before.full() == this.full());
            let paths = match (given, is_same) {
                ((before, this), _) if before == this => format!("have the path `{this}`"),
                ((before, this), true) => format!("have the paths `{before}` and `{this}`, which are the same place"),
                ((before, this), false) => {
                    format!("have the paths `{before}` and `{this}`, one of which lies in the other")
                }
            };
            return Err(UsageError::with_hint(
                format!("two of the `caches`, {}, {paths}", pair((one, earlier_key), (two, key))),
                "list each path in one cache only, or exclude it from the other with `!`",
            ));
        }
    }
    Ok(())
}

/// Checks that no two caches of one save have the same key: the second would be taken for saved, or replace the first.
pub fn check_keys(caches: &[(&Key, &PathList)]) -> Result<(), UsageError> {
    for (two, (key, paths)) in caches.iter().enumerate() {
        if let Some(one) = caches[..two].iter().position(|(earlier, _)| earlier == key) {
            let what = format!(
                "two of the `caches`, {}, have the same key; their paths are {} and {}",
                pair((one, key), (two, key)),
                given(caches[one].1),
                given(paths)
            );
            return Err(UsageError::with_hint(what, "give each cache its own key, or save all the paths as one cache"));
        }
    }
    Ok(())
}

/// Both caches, by their numbers in the list and their keys.
fn pair((one, first): (usize, &Key), (two, second): (usize, &Key)) -> String {
    format!("number {} (`{first}`) and number {} (`{second}`)", one + 1, two + 1)
}

/// The lines of a list that ask for something.
fn given(paths: &PathList) -> String {
    paths.roots().iter().map(|root| format!("`{}`", root.given)).collect::<Vec<_>>().join(", ")
}

/// The most symlinks that are followed on the way to one path: the limit of Linux.
const MAX_LINKS: usize = 40;

/// Where an absolute path leads, through all symlinks. What is not there yet counts as a directory.
fn real_path(path: &Path) -> PathBuf {
    let mut real = PathBuf::new();
    let mut links = 0;
    let mut rest: Vec<PathBuf> = parts(path);
    while let Some(part) = rest.pop() {
        if part.as_os_str() == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&part);
        match fs::read_link(&next) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                rest.extend(parts(&target));
            }
            _ => real = next,
        }
    }
    real
}

/// The components of a path, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|part| *part != Component::CurDir)
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}

/// One text with a line for each, or a list of texts.
fn lines<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Lines {
        Text(String),
        List(Vec<String>),
    }
    Ok(match Lines::deserialize(deserializer)? {
        Lines::Text(text) => text,
        Lines::List(list) => list.join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_may_be_yaml_or_json() {
        let spec = |path: &str, key: &str, restore_keys: &str| CacheSpec {
            path: path.into(),
            key: key.into(),
            restore_keys: restore_keys.into(),
        };
        let expected = [spec("a\n!a/tmp", "k-1", "k-\nj-"), spec("b", "l", "")];
        let yaml = "- path: |-\n    a\n    !a/tmp\n  key: k-1\n  restore-keys: [k-, j-]\n- { path: b, key: l }\n";
        assert_eq!(parse_caches(yaml).unwrap(), expected);
        let json = r#"[{"path": ["a", "!a/tmp"], "key": "k-1", "restore-keys": "k-\nj-"}, {"path": "b", "key": "l"}]"#;
        assert_eq!(parse_caches(json).unwrap(), expected);
    }

    #[test]
    fn what_is_no_list_of_caches_is_refused() {
        let check = |text: &str, part: &str| {
            let error = parse_caches(text).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        };
        check("[]", "empty");
        check("a", "not a list");
        check("- key: k", "path");
        check("- { path: p, key: k, keys: x }", "keys");
        check(&"- { path: p, key: k }\n".repeat(11), "11 caches");
    }
}
