//! What resources need to know of each other: ids and outputs. Pure.

use std::collections::BTreeMap;

use super::failure::{Class, Failure};
use super::key::Key;

/// Ids and outputs of the resources that exist.
#[derive(Clone, Debug, Default)]
pub struct Refs {
    known: BTreeMap<Key, (String, BTreeMap<&'static str, String>)>,
}

impl Refs {
    /// Adds a resource.
    pub fn insert(&mut self, key: Key, id: String, outputs: BTreeMap<&'static str, String>) {
        self.known.insert(key, (id, outputs));
    }

    /// The id of a resource, if it exists.
    pub fn get(&self, key: &Key) -> Option<&str> {
        self.known.get(key).map(|(id, _)| id.as_str())
    }

    /// The id of a dependency.
    pub fn id(&self, key: &Key) -> Result<&str, Failure> {
        self.get(key).ok_or_else(|| missing(key, "id"))
    }

    /// An output of a resource, if it exists.
    pub fn output(&self, key: &Key, name: &str) -> Option<&str> {
        self.known.get(key)?.1.get(name).map(String::as_str)
    }

    /// An output of a dependency.
    pub fn need(&self, key: &Key, name: &str) -> Result<&str, Failure> {
        self.output(key, name).ok_or_else(|| missing(key, name))
    }
}

fn missing(key: &Key, what: &str) -> Failure {
    Failure::new(Class::NotFound, format!("{key} is required, and its {what} is not known yet"))
}
