//! The logical name of a resource within one graph.

use std::borrow::Cow;
use std::fmt;

/// Logical name of a resource within one graph: its kind and, if there can be several, a name.
///
/// Written `vpc` or `subnet/private/eu-west-1a` in tags, status and plans.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    kind: Cow<'static, str>,
    name: String,
}

impl Key {
    /// A key of a kind with one resource per graph.
    pub fn single(kind: &'static str) -> Self {
        Self { kind: Cow::Borrowed(kind), name: String::new() }
    }

    /// A key of a kind with several resources per graph.
    pub fn named(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind: Cow::Borrowed(kind), name: name.into() }
    }

    /// Parses a key from a tag or from status.
    pub fn parse(text: &str) -> Self {
        match text.split_once('/') {
            Some((kind, name)) => Self { kind: Cow::Owned(kind.into()), name: name.into() },
            None => Self { kind: Cow::Owned(text.into()), name: String::new() },
        }
    }

    /// The kind, e.g. `subnet`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name within the kind; empty for a kind with one resource.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.write_str(&self.kind) } else { write!(f, "{}/{}", self.kind, self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_round_trips_through_text() {
        for key in [Key::single("vpc"), Key::named("subnet", "private/eu-west-1a")] {
            assert_eq!(Key::parse(&key.to_string()), key);
        }
    }
}
