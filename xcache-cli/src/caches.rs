//! Several caches in one run: the `--caches` argument.

use serde::Deserialize;

use super::UsageError;
use xcache_core::paths::PathList;

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
        UsageError::with_hint(format!("`caches` is no list of caches: {error}"), form)
    })?;
    match specs.len() {
        0 => Err(UsageError::options("`caches` is an empty list")),
        count if count > MAX_CACHES => {
            Err(UsageError::options(format!("{count} caches given; the limit is {MAX_CACHES}")))
        }
        _ => Ok(specs),
    }
}

/// Checks that no two caches of one run have files in common: each would be written to by both.
pub fn check_apart(lists: &[&PathList]) -> Result<(), UsageError> {
    for (number, list) in lists.iter().enumerate() {
        if let Some((before, this)) = lists[..number].iter().find_map(|before| before.meeting(list)) {
            let (before, this) = (&before.given, &this.given);
            let what = match before == this {
                true => format!("two of the `caches` have the path `{this}`"),
                false => format!(
                    "two of the `caches` have the paths `{before}` and `{this}`, one of which lies in the other"
                ),
            };
            return Err(UsageError::with_hint(
                what,
                "give each path to one cache, or exclude it from the other with `!`",
            ));
        }
    }
    Ok(())
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
        check("a", "no list");
        check("- key: k", "path");
        check("- { path: p, key: k, keys: x }", "keys");
        check(&"- { path: p, key: k }\n".repeat(11), "11 caches");
    }
}
