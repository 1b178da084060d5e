//! The environment of a job, variable by variable.

use std::ffi::OsString;
use std::path::PathBuf;

/// An environment. Blank variables are absent.
pub(super) struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Env<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { lookup }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = (self.lookup)(name)?.into_string().ok()?;
        let trimmed = text.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        (self.lookup)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The first of these that is there.
    pub(super) fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name))
    }

    /// All of these, joined; `None` if the first is absent.
    pub(super) fn joined(&self, names: &[&str]) -> Option<String> {
        self.text(names.first()?)?;
        let parts: Vec<String> = names.iter().filter_map(|name| self.text(name)).collect();
        Some(parts.join("-"))
    }

    /// The ref of a tag or of a branch, from variables that hold the bare names. A build of a tag has both in some
    /// systems, so the tag comes first.
    pub(super) fn tag_or_branch(&self, tag: &str, branch: &str) -> Option<String> {
        let tag = self.text(tag).map(|name| format!("refs/tags/{name}"));
        tag.or_else(|| self.text(branch).map(|name| format!("refs/heads/{}", without_heads(&name))))
    }

    /// A branch without `refs/heads/`.
    pub(super) fn branch(&self, name: &str) -> Option<String> {
        self.text(name).map(|name| without_heads(&name).to_owned())
    }
}

pub(super) fn without_heads(name: &str) -> &str {
    name.strip_prefix("refs/heads/").unwrap_or(name)
}
