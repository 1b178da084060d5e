//! Path lists: which files a save takes, and where a restore puts them.
//!
//! The syntax is that of `actions/cache` (`@actions/glob`): one path a line, `#` comments, `~`, the wildcards
//! `* ? [] **` which match names with a leading dot too, `\` before a character that shall stand for itself (not on
//! Windows, where it separates), a trailing slash for "directories only", and `!` before what shall not be taken.
//! Relative paths begin at the working directory. There are two differences, both on purpose:
//!
//! - Excludes always win, whatever the order of the lines, and hold inside directories; there, `actions/cache` takes a
//!   matched directory with all that is in it.
//! - An exclude that begins with `**/` holds in every root, not only below the working directory.
//!
//! `.` and `..` are resolved as text, before any file is looked at; nothing here touches the file system.

mod pattern;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use pattern::{PatternMatch, Segment, match_path};

/// The roots and excludes of one cache, in the order in which they were given.
#[derive(Clone, Debug)]
pub struct PathList {
    roots: Vec<Root>,
    anchors: Anchors,
}

/// Where paths begin. All are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors {
    /// Where relative paths begin: the working directory, in a job the workspace.
    pub cwd: PathBuf,
    /// What `~` stands for.
    pub home: Option<PathBuf>,
    /// The runner's directory for temporary files, which moves from job to job.
    pub temp: Option<PathBuf>,
}

/// What one line of a path list asks for.
#[derive(Clone, Debug)]
pub struct Root {
    /// The line as given, without the spaces around it.
    pub given: String,
    /// What entries call it: the line without `./`, double and trailing slashes. An absolute path that lies below one of
    /// the [`Anchors`] is named from there, so that it has one name on all runners.
    pub name: String,
    /// The path itself; for a line with wildcards, the directory before the first one. Absolute.
    pub base: PathBuf,
    /// The whole line, made absolute.
    full: String,
    names: Vec<OsString>,
    wanted: Option<Pattern>,
    excludes: Vec<Exclude>,
}

/// Whether a path belongs to a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathDecision {
    /// It does.
    Include,
    /// It does not, nor does anything inside it.
    Exclude,
    /// This directory does not, but something inside it may.
    DescendOnly,
}

/// Why lines are no path list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No line asks for a path.
    #[error("no path given")]
    NoPath,
    /// `~` without a home directory.
    #[error("path `{0}` needs a home directory, but none is known")]
    NoHome(String),
    /// Nothing after `!`: an empty pattern would stand for the working directory with all that is in it.
    #[error("path `{0}` has nothing after `!`")]
    NothingExcluded(String),
    /// Nothing but excludes.
    #[error("all paths are excludes; name what they are excluded from")]
    OnlyExcludes,
    /// `..` that would have to take back a wildcard.
    #[error("path `{0}` has `..` after a wildcard")]
    ParentOfWildcard(String),
}

/// What must stand below some directory. The last segment is always `**`: what is matched is taken with all below it.
#[derive(Clone, Debug)]
struct Pattern {
    segments: Vec<Segment>,
    directories_only: bool,
}

/// An exclude that can hold inside a root.
#[derive(Clone, Debug)]
struct Exclude {
    /// Matched against the names of the root's base from `from` on, and then those below it.
    pattern: Pattern,
    from: usize,
}

impl PathList {
    /// Reads lines; each text may hold several. `cwd` and `home` are absolute.
    pub fn parse<T: AsRef<str>>(lines: &[T], cwd: &Path, home: Option<&Path>) -> Result<Self, PathError> {
        let anchors = Anchors { cwd: cwd.to_owned(), home: home.map(Path::to_owned), temp: None };
        Self::parse_from(lines, anchors)
    }

    /// Reads lines, which begin at these anchors.
    pub fn parse_from<T: AsRef<str>>(lines: &[T], anchors: Anchors) -> Result<Self, PathError> {
        let Anchors { cwd, home, .. } = &anchors;
        let (mut roots, mut excludes) = (Vec::new(), Vec::new());
        for line in lines.iter().flat_map(|text| text.as_ref().lines()).map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut text = line;
            let mut is_exclude = false;
            while let Some(rest) = text.strip_prefix('!') {
                is_exclude = !is_exclude;
                text = rest.trim_start();
            }
            if text.is_empty() {
                return Err(PathError::NothingExcluded(line.to_owned()));
            }
            let everywhere = is_exclude && text.split(is_separator).next() == Some("**");
            let place = LineStart { cwd: if everywhere { root_of(cwd) } else { cwd }, home: home.as_deref() };
            let absolute = Absolute::parse(line, text, &place)?;
            if is_exclude { excludes.push(absolute) } else { roots.push(Root::new(line, text, absolute, &anchors)) }
        }
        match (roots.is_empty(), excludes.is_empty()) {
            (true, true) => return Err(PathError::NoPath),
            (true, false) => return Err(PathError::OnlyExcludes),
            _ => {}
        }
        for root in &mut roots {
            root.excludes = excludes.iter().filter_map(|exclude| Exclude::inside(root, exclude)).collect();
        }
        Ok(Self { roots, anchors })
    }

    /// What the line `name` of an entry stands for here, as an absolute line. `None` if it is no line.
    pub fn full_of(&self, name: &str) -> Option<String> {
        let text = match (name.strip_prefix(TEMP), &self.anchors.temp) {
            (Some(rest), Some(temp)) if rest.is_empty() || rest.starts_with('/') => format!("{}{rest}", temp.to_str()?),
            _ => name.to_owned(),
        };
        if text.starts_with(['!', '#']) || text.contains(['\n', '\r']) {
            return None;
        }
        let place = LineStart { cwd: &self.anchors.cwd, home: self.anchors.home.as_deref() };
        Some(full(&Absolute::parse(&text, &text, &place).ok()?))
    }

    /// One root for each line that is no exclude, in their order.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// Whether the path `relative` to the base of root number `root` (names joined by `/`; empty for the base itself)
    /// belongs to it. Takes no time for a root without wildcards and excludes. The answer does not depend on what was
    /// said about the directories above.
    ///
    /// # Panics
    /// If there is no such root.
    pub fn decide(&self, root: usize, relative: &[u8], is_dir: bool) -> PathDecision {
        self.roots[root].decide(relative, is_dir)
    }

    /// The roots that lie inside another one, each with one of these, so that its files are stored twice. Takes no longer
    /// for many lines than it takes to sort them, unless many have wildcards.
    pub fn overlaps(&self) -> Vec<(&Root, &Root)> {
        // By base: the first root without wildcards, and all that have some. Of two equal roots, the later one is inside.
        let mut plain: HashMap<&Path, usize> = HashMap::new();
        let mut patterns: HashMap<&Path, Vec<&Root>> = HashMap::new();
        for (number, root) in self.roots.iter().enumerate() {
            match root.wanted {
                None => drop(plain.entry(&root.base).or_insert(number)),
                Some(_) => patterns.entry(&root.base).or_default().push(root),
            }
        }
        let outer_of = |(number, inner): (usize, &'_ Root)| {
            inner.base.ancestors().find_map(|above| {
                let is_itself = above == inner.base && inner.wanted.is_none();
                let outer = plain.get(above).filter(|&&first| !is_itself || first < number);
                let outer = outer.map(|&first| &self.roots[first]);
                // A pattern matches nothing at its base itself.
                let matching = || patterns.get(above).filter(|_| above != inner.base);
                outer.or_else(|| matching()?.iter().copied().find(|pattern| pattern.contains(inner)))
            })
        };
        let numbered = self.roots.iter().enumerate();
        numbered.filter_map(|(number, inner)| Some((inner, outer_of((number, inner))?))).collect()
    }
}

impl PathList {
    /// A root of this list and one of `other` that ask for the same files, as far as one can tell from the lines.
    pub fn meeting<'a>(&'a self, other: &'a Self) -> Option<(&'a Root, &'a Root)> {
        let meets = |outer: &Root, inner: &Root| {
            let Ok(below) = inner.base.strip_prefix(&outer.base) else { return false };
            outer.full == inner.full
                || outer.decide(below.as_os_str().as_encoded_bytes(), true) == PathDecision::Include
        };
        let pairs = self.roots.iter().flat_map(|ours| other.roots.iter().map(move |theirs| (ours, theirs)));
        let mut pairs = pairs.filter(|(ours, theirs)| meets(ours, theirs) || meets(theirs, ours));
        pairs.next()
    }

    /// The same list with each root where `resolve` finds its base, for [`Self::meeting`]: a path through a symlink is
    /// another line, but not another place.
    #[must_use]
    pub fn resolved(&self, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        let roots = self.roots.iter().map(|root| {
            let base = resolve(&root.base);
            let pattern = root.full.strip_prefix(&*root.base.to_string_lossy()).unwrap_or_default();
            Root { full: format!("{}{pattern}", base.to_string_lossy()), base, ..root.clone() }
        });
        Self { roots: roots.collect(), anchors: self.anchors.clone() }
    }
}

impl Root {
    fn new(given: &str, text: &str, absolute: Absolute, anchors: &Anchors) -> Self {
        let (name, full) = (name_of(text, &absolute, anchors), full(&absolute));
        let Absolute { anchor, names, pattern, .. } = absolute;
        let base = names.iter().fold(anchor, |base, name| base.join(name));
        // `dir/**` is `dir`, and so is `dir/`.
        let wanted = (pattern.segments.len() > 1).then_some(pattern);
        Self { given: given.to_owned(), name, base, full, names, wanted, excludes: Vec::new() }
    }

    /// The whole line, made absolute: equal for all spellings of one path.
    pub fn full(&self) -> &str {
        &self.full
    }

    fn decide(&self, relative: &[u8], is_dir: bool) -> PathDecision {
        let excluded = |exclude: &Exclude| {
            let base = self.names[exclude.from..].iter().map(|name| name.as_encoded_bytes());
            exclude.pattern.test(base.chain(names_of(relative)), is_dir) == PatternMatch::Full
        };
        if self.excludes.iter().any(excluded) {
            return PathDecision::Exclude;
        }
        match self.wanted.as_ref().map_or(PatternMatch::Full, |wanted| wanted.test(names_of(relative), is_dir)) {
            PatternMatch::Full => PathDecision::Include,
            PatternMatch::Partial if is_dir => PathDecision::DescendOnly,
            PatternMatch::Partial | PatternMatch::No => PathDecision::Exclude,
        }
    }

    /// Whether all files of `inner` are files of this root too, as far as one can tell from the lines.
    fn contains(&self, inner: &Self) -> bool {
        let Ok(below) = inner.base.strip_prefix(&self.base) else { return false };
        let names = below.iter().map(OsStr::as_encoded_bytes);
        self.wanted.as_ref().is_none_or(|wanted| wanted.test(names, true) == PatternMatch::Full)
    }
}

impl Pattern {
    fn new(mut segments: Vec<Segment>, directories_only: bool) -> Self {
        while segments.pop_if(|last| matches!(last, Segment::AnyNames)).is_some() {}
        segments.push(Segment::AnyNames);
        Self { segments, directories_only }
    }

    fn test<'p>(&self, path: impl DoubleEndedIterator<Item = &'p [u8]> + Clone, is_dir: bool) -> PatternMatch {
        let all = match_path(&self.segments, path.clone());
        if all != PatternMatch::Full || is_dir || !self.directories_only {
            return all;
        }
        // A file matches only by standing in a directory that does.
        let mut above = path;
        match above.next_back() {
            Some(_) if match_path(&self.segments, above) == PatternMatch::Full => PatternMatch::Full,
            _ => PatternMatch::No,
        }
    }
}

impl Exclude {
    /// `exclude` as it applies to `root`; none if nothing at or below the root's base can match it.
    fn inside(root: &Root, exclude: &Absolute) -> Option<Self> {
        let Absolute { anchor, names, pattern, pattern_text: _ } = exclude;
        if !root.base.starts_with(anchor) {
            return None;
        }
        let from = names.iter().zip(&root.names).take_while(|(a, b)| a == b).count();
        let literal = names[from..].iter().cloned().map(Segment::Name);
        let pattern = Pattern {
            segments: literal.chain(pattern.segments.iter().cloned()).collect(),
            directories_only: pattern.directories_only,
        };
        let base = root.names[from..].iter().map(|name| name.as_encoded_bytes());
        (match_path(&pattern.segments, base) != PatternMatch::No).then_some(Self { pattern, from })
    }
}

/// Where relative paths and `~` begin.
struct LineStart<'a> {
    cwd: &'a Path,
    home: Option<&'a Path>,
}

/// A line made absolute: the anchor (`/`, or a drive), the names before the first wildcard, and what follows.
struct Absolute {
    anchor: PathBuf,
    names: Vec<OsString>,
    pattern: Pattern,
    /// The pattern as text, without the `**` that it may end in.
    pattern_text: Vec<String>,
}

impl Absolute {
    fn parse(line: &str, text: &str, place: &LineStart<'_>) -> Result<Self, PathError> {
        let (start, rest) = match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with(is_separator) => {
                (place.home.ok_or_else(|| PathError::NoHome(line.to_owned()))?, rest)
            }
            _ if Path::new(text).is_absolute() => {
                let anchor = root_of(Path::new(text));
                (anchor, &text[anchor.as_os_str().len()..])
            }
            _ => (place.cwd, text),
        };
        let mut names: Vec<OsString> = Vec::new();
        for component in start.components() {
            match component {
                Component::Normal(name) => names.push(name.to_owned()),
                Component::ParentDir => drop(names.pop()),
                Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            }
        }
        let (mut segments, mut pattern_text) = (Vec::new(), Vec::new());
        for segment in rest.split(is_separator) {
            match segment {
                "" | "." => {}
                ".." if segments.is_empty() => drop(names.pop()),
                ".." => return Err(PathError::ParentOfWildcard(line.to_owned())),
                _ => match Segment::parse(segment) {
                    Segment::Name(name) if segments.is_empty() => names.push(name),
                    parsed => {
                        segments.push(parsed);
                        pattern_text.push(segment.to_owned());
                    }
                },
            }
        }
        while pattern_text.pop_if(|last| last == "**").is_some() {}
        let pattern = Pattern::new(segments, rest.ends_with(is_separator));
        Ok(Self { anchor: root_of(start).to_owned(), names, pattern, pattern_text })
    }
}

/// How the directory for temporary files begins the name of a line.
const TEMP: &str = "$RUNNER_TEMP";

/// A line as one absolute text.
fn full(line: &Absolute) -> String {
    let base = line.names.iter().fold(line.anchor.clone(), |base, name| base.join(name));
    let mut text = base.to_string_lossy().into_owned();
    for segment in &line.pattern_text {
        if !text.ends_with('/') {
            text.push('/');
        }
        text.push_str(segment);
    }
    text
}

/// What entries call the line `text`.
fn name_of(text: &str, line: &Absolute, anchors: &Anchors) -> String {
    let full = full(line);
    if !Path::new(text).is_absolute() {
        let is_at_home = text == "~" || text.strip_prefix('~').is_some_and(|rest| rest.starts_with(is_separator));
        let start = if is_at_home { anchors.home.as_deref() } else { Some(anchors.cwd.as_path()) };
        let name = start.and_then(|start| below(start, &full));
        return match (name, is_at_home) {
            (Some(name), false) => name,
            (Some(name), true) if name == "." => "~".to_owned(),
            (Some(name), true) => format!("~/{name}"),
            // It leads out, through `..`.
            (None, _) => {
                text.split(is_separator).filter(|name| !matches!(*name, "" | ".")).collect::<Vec<_>>().join("/")
            }
        };
    }
    // The innermost directory says most: the workspace lies below the home.
    let anchors = [("", Some(&anchors.cwd)), (TEMP, anchors.temp.as_ref()), ("~", anchors.home.as_ref())];
    let names = anchors.iter().filter_map(|(sign, anchor)| {
        let anchor = (*anchor)?;
        let name = below(anchor, &full).filter(|_| anchor.parent().is_some())?;
        let name = match (*sign, name.as_str()) {
            ("", _) => name,
            (sign, ".") => sign.to_owned(),
            (sign, name) => format!("{sign}/{name}"),
        };
        Some((anchor.as_os_str().len(), name))
    });
    names.max_by_key(|(length, _)| *length).map_or(full, |(_, name)| name)
}

/// `full` as seen from `start`, if it lies there: `.` for the directory itself.
fn below(start: &Path, full: &str) -> Option<String> {
    let start = start.to_str()?.trim_end_matches('/');
    match full.strip_prefix(start)? {
        "" => Some(".".to_owned()),
        rest => rest.strip_prefix('/').map(|rest| if rest.is_empty() { ".".to_owned() } else { rest.to_owned() }),
    }
}

/// The part of an absolute path that no `..` leaves: `/`, or a drive with its root.
fn root_of(path: &Path) -> &Path {
    path.ancestors().last().unwrap_or(path)
}

fn is_separator(c: char) -> bool {
    c == '/' || cfg!(windows) && c == '\\'
}

fn names_of(relative: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
    relative.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
