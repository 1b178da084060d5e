//! Key families: what a key is without what changes from save to save.
//!
//! `ccache-main-1718000000`, `ccache-main-1718086400` belong to the family `ccache-main-*`. Whatever looks made by a
//! machine is replaced by `*`: a word of at least seven hexadecimal digits that has a figure in it (hashes, commits,
//! run ids, seconds since 1970), a date (`2024-05-31`), and the numbers at the end of a key (`ccache-17`, and the attempt
//! in `<run id>-2`).
//!
//! Versions stay, because a cache for one version says nothing about that for another: a number with a dot (`1.75`),
//! one with a letter (`v1`, `jdk17`), and one after the name of a system, language or tool (`VERSIONED`: `node-20`,
//! `ubuntu-24.04`).

/// Shorter words may be versions.
const MIN_HEX_DIGITS: usize = 7;

/// What is known by a version: a number right after one of these words belongs to it.
const VERSIONED: [&str; 55] = [
    "alpine", "android", "centos", "clang", "cpp", "cuda", "cudnn", "cxx", "debian", "deno", "django", "dotnet",
    "fedora", "gcc", "ghc", "go", "golang", "gradle", "ios", "java", "jdk", "jre", "kotlin", "llvm", "lts", "macos",
    "maven", "msvc", "net", "node", "nodejs", "npm", "openjdk", "openssl", "osx", "php", "pnpm", "py", "pypy",
    "python", "qt", "rails", "rhel", "rocky", "ruby", "rust", "scala", "sdk", "swift", "ubuntu", "ver", "version",
    "windows", "x86", "yarn",
];

/// The family of `key`.
pub fn family(key: &str) -> String {
    let numbers_at = trailing_numbers(key);
    let mut out = String::with_capacity(key.len());
    let mut rest = key;
    while let Some(c) = rest.chars().next() {
        if !c.is_ascii_alphanumeric() {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let date = date_len(rest);
        let (word, after) = rest.split_at(date.unwrap_or_else(|| word_len(rest)));
        let varies = date.is_some() || is_digest(word) || key.len() - rest.len() >= numbers_at;
        out.push_str(if varies { "*" } else { word });
        rest = after;
    }
    out
}

/// Where the numbers at the end of `key` begin that are no part of a version; its length if there are none.
fn trailing_numbers(key: &str) -> usize {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let mut begin = key.len();
    loop {
        let before = key[..begin].trim_end_matches(['-', '_', '/', ':']);
        let start = before.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |at| at + word_gap(before, at));
        let word = &before[start..];
        // A number alone is a key of its own, and one that follows a dot is a part of a version.
        if !is_number(word) || start == 0 || before[..start].ends_with('.') || is_version_of(&before[..start]) {
            return begin;
        }
        begin = start;
    }
}

/// How long the character at `at` is.
fn word_gap(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}

/// Whether a number after `text` is the version of what `text` ends in.
fn is_version_of(text: &str) -> bool {
    let text = text.trim_end_matches(['-', '_', '/', ':']);
    let word = text.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    VERSIONED.iter().any(|name| name.eq_ignore_ascii_case(word))
}

fn word_len(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len())
}

fn is_digest(word: &str) -> bool {
    word.len() >= MIN_HEX_DIGITS
        && word.bytes().all(|b| b.is_ascii_hexdigit())
        && word.bytes().any(|b| b.is_ascii_digit())
}

/// The length of the date that `text` begins with.
fn date_len(text: &str) -> Option<usize> {
    const SHAPE: &[u8; 10] = b"20dd-dd-dd";
    let date = text.as_bytes().first_chunk::<10>()?;
    let fits = date.iter().zip(SHAPE).all(|(&b, &shape)| if shape == b'd' { b.is_ascii_digit() } else { b == shape });
    (fits && !text[10..].starts_with(|c: char| c.is_ascii_alphanumeric())).then_some(10)
}

#[cfg(test)]
mod tests {
    use super::family;

    fn check(table: &[(&str, &str)]) {
        for (key, expected) in table {
            assert_eq!(family(key), *expected, "{key}");
        }
    }

    #[test]
    fn families_drop_what_machines_made() {
        check(&[
            ("ccache-main-1718000000", "ccache-main-*"),
            ("linux-cargo-5f2c9e0b7a1d", "linux-cargo-*"),
            ("node_modules/9f86d081884c7d659a2feaa0c55ad015/x", "node_modules/*/x"),
            ("build-9812345678-2", "build-*-*"),
            ("ubuntu-22.04-a1b2c3d", "ubuntu-22.04-*"),
            ("nightly-2024-05-31", "nightly-*"),
            ("nightly-2024-05-31T10", "nightly-2024-05-31T10"),
            ("nightly-2024-05-31-2", "nightly-*-*"),
            ("nightly-20240531", "nightly-*"),
            ("deadbeef-facade", "deadbeef-facade"),
            ("Übung-ä1234567", "Übung-ä*"),
            ("", ""),
        ]);
    }

    #[test]
    fn numbers_at_the_end_are_counted_by_machines() {
        check(&[
            ("ccache-1", "ccache-*"),
            ("ccache-17", "ccache-*"),
            ("ccache_17", "ccache_*"),
            ("Linux-42", "Linux-*"),
            ("build-12-3", "build-*-*"),
            ("caches/main/42", "caches/main/*"),
            ("node-20-7", "node-20-*"),
            ("ubuntu-24.04-gcc-13-7", "ubuntu-24.04-gcc-13-*"),
            ("v2-deps-8", "v2-deps-*"),
            ("ä-1", "ä-*"),
            ("ä1", "ä*"),
            ("x-1-", "x-*-"),
            ("12-deps", "12-deps"),
        ]);
    }

    #[test]
    fn versions_are_no_numbers_of_machines() {
        check(&[
            ("deps-v1", "deps-v1"),
            ("node-20", "node-20"),
            ("Linux-Node-20", "Linux-Node-20"),
            ("python_3", "python_3"),
            ("ubuntu-24.04", "ubuntu-24.04"),
            ("ubuntu-22.04-gcc-13", "ubuntu-22.04-gcc-13"),
            ("rust-1.75.0", "rust-1.75.0"),
            ("deps-1.2", "deps-1.2"),
            ("linux-x86_64", "linux-x86_64"),
            ("jdk17", "jdk17"),
            ("7", "7"),
        ]);
    }
}
