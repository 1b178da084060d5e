//! An entry: one saved cache, one immutable object.

use std::fmt;

use crate::key::Key;
use crate::naming;
use crate::scope::Scope;
use crate::store::{ListedObject, ObjectMeta, ObjectName};

/// Whether an entry is complete in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Complete in itself.
    Base,
    /// Holds only what the objects it refers to do not.
    Delta,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "base",
            Self::Delta => "delta",
        })
    }
}

/// An entry as the store shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is; none in stores used without scopes.
    pub scope: Option<Scope>,
    /// Its key.
    pub key: Key,
    /// Complete or not.
    pub kind: Kind,
    /// Its object.
    pub name: ObjectName,
    /// Size, identity and age of the object.
    pub meta: ObjectMeta,
}

impl Entry {
    /// What a listing shows as an entry; `None` for any other object.
    pub fn from_listed(object: ListedObject) -> Option<Self> {
        let ListedObject { name, meta } = object;
        let (scope, key, kind) = naming::parse(&name)?;
        Some(Self { scope, key, kind, name, meta })
    }
}
