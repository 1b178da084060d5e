//! Whole messages as golden files below `tests/golden/messages/`, one file for each test. A test asks for a comparison
//! as often as it likes; the first one is compared with the first section of its file, and so on. After a change on
//! purpose: `XCACHE_BLESS=1 cargo test -p xcache-tests --test it`, and read the diff.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

thread_local! {
    /// Sections that this test has asked for. Each test runs in a thread of its own.
    static SECTIONS: Cell<usize> = const { Cell::new(0) };
}

/// Fails the test unless `text` is the next section of its golden file, apart from what differs from run to run.
#[track_caller]
pub fn review(text: &str) {
    let section = SECTIONS.get() + 1;
    SECTIONS.set(section);
    let path = golden();
    let now = format!("--- {section}\n{}\n", normalised(text).trim_end());
    if std::env::var_os("XCACHE_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("it lies in a directory")).expect("the directory can be made");
        let mut options = fs::File::options();
        options.create(true).write(true).truncate(section == 1).append(section > 1);
        let mut file = options.open(&path).expect("the file can be opened");
        file.write_all(now.as_bytes()).expect("the file can be written");
        return;
    }
    let all = fs::read_to_string(&path).unwrap_or_default();
    let start = all.find(&format!("--- {section}\n")).unwrap_or(all.len());
    let end = all.find(&format!("--- {}\n", section + 1)).unwrap_or(all.len());
    let reviewed = &all[start..end];
    assert!(reviewed == now, "the messages differ from {}:\n{reviewed}they are now:\n{now}", path.display());
}

/// The golden file of the test that runs in this thread.
fn golden() -> PathBuf {
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").expect("messages are reviewed in the thread of a test");
    let name = format!("{}.txt", test.replace("::", "."));
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/messages").join(name)
}

/// The text without what differs from run to run: directories, ports, identifiers, amounts and times.
fn normalised(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_boundary = true;
    while let Some(first) = rest.chars().next() {
        let found = directory(rest).or_else(|| port(rest)).or_else(|| is_boundary.then(|| word(rest)).flatten());
        let (length, name) = found.unwrap_or((first.len_utf8(), &rest[..first.len_utf8()]));
        result.push_str(name);
        is_boundary = !rest[..length].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '.');
        rest = &rest[length..];
    }
    result
}

/// How many bytes at the beginning stand for something that differs, and what to write in their place.
type Found = Option<(usize, &'static str)>;

fn directory(text: &str) -> Found {
    let temporary = std::env::temp_dir();
    let below = text.strip_prefix(temporary.to_str()?)?;
    let (unique, name) = match below.strip_prefix("/xcache-test-") {
        Some(unique) => (unique, "JOB"),
        None => (below.strip_prefix("/.tmp")?, "DIR"),
    };
    Some((text.len() - unique.len() + run(unique, |c| c.is_ascii_alphanumeric()), name))
}

fn port(text: &str) -> Found {
    let number = text.strip_prefix("127.0.0.1:")?;
    let digits = run(number, |c| c.is_ascii_digit());
    (digits > 1).then_some((text.len() - number.len() + digits, "127.0.0.1:PORT"))
}

/// A word that differs.
fn word(text: &str) -> Found {
    prefix(text).or_else(|| date(text)).or_else(|| amount(text)).or_else(|| identifier(text))
}

/// A prefix that a test has to itself: `t1700000000000000-1234-5`.
fn prefix(text: &str) -> Found {
    let is_part = |c: char| c.is_ascii_digit() || c == '-';
    let length = 1 + run(text.strip_prefix('t')?, is_part);
    (length > 16).then(|| (text[..length].trim_end_matches('-').len(), "PREFIX"))
}

/// A time: `2026-11-28 09:20:04`.
fn date(text: &str) -> Found {
    const FORM: &str = "dddd-dd-dd dd:dd:dd";
    let fits = |(form, c): (char, char)| if form == 'd' { c.is_ascii_digit() } else { form == c };
    (text.len() >= FORM.len() && FORM.chars().zip(text.chars()).all(fits)).then_some((FORM.len(), "DATE"))
}

/// A number with a unit: `1.5 MiB/s`.
fn amount(text: &str) -> Found {
    let number = run(text, |c| c.is_ascii_digit() || c == '.');
    let unit = text[number..].strip_prefix(' ').filter(|_| number > 0)?;
    let length = run(unit, |c| c.is_ascii_alphabetic() || c == '/');
    let name = match &unit[..length] {
        "B" | "KiB" | "MiB" | "GiB" | "TiB" => "SIZE",
        "B/s" | "KiB/s" | "MiB/s" | "GiB/s" => "RATE",
        "ms" | "s" | "min" | "h" | "d" => "TIME",
        _ => return None,
    };
    Some((number + 1 + length, name))
}

/// A hash, an archive id, the id of a request.
fn identifier(text: &str) -> Found {
    let length = run(text, |c| c.is_ascii_hexdigit() || c == '-');
    (length >= 15).then_some((length, "ID"))
}

/// How many bytes at the beginning are such characters.
fn run(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_named() {
        let check = |text: &str, expected: &str| assert_eq!(normalised(text), expected);
        let temporary = std::env::temp_dir();
        check(&format!("`{}/xcache-test-aB3dEf/work`", temporary.display()), "`JOB/work`");
        check(&format!("file://{}/.tmpaB3dEf", temporary.display()), "file://DIR");
        check("at 127.0.0.1:4711, 127.0.0.1:9", "at 127.0.0.1:PORT, 127.0.0.1:9");
        check("s3://bucket/t1700000000000000-12-3/key", "s3://bucket/PREFIX/key");
        check("2 files, 585.9 KiB in 669 B, 0.1 s (8.3 KiB/s)", "2 files, SIZE in SIZE, TIME (RATE)");
        check("t1795857259427143869-forged since 2026-11-28 09:20:04 UTC", "PREFIX-forged since DATE UTC");
        check("id 0123456789abcdef0123, tau, x86.64 s", "id ID, tau, x86.64 s");
    }
}
