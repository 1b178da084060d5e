//! An entry: one saved cache, one immutable object.

use crate::key::Key;
use crate::naming;
use crate::object::Kind;
use crate::scope::Scope;
use crate::store::{ListedObject, ObjectMeta, ObjectName};

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
