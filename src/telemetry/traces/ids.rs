//! Ids of traces and spans: random, or derived from what they are about, so that every process that works on the same
//! change continues the same trace. Pure, apart from the random ones.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use sha2::{Digest, Sha256};

/// Id of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Id of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl TraceId {
    /// The trace of what `parts` name.
    pub fn derived(parts: &[&str]) -> Self {
        let [a, b, _, _] = words("trace", parts);
        // Zero is no valid id.
        Self((u128::from(a) << 64 | u128::from(b)).max(1))
    }

    /// A new trace.
    pub fn random() -> Self {
        Self((u128::from(random()) << 64 | u128::from(random())).max(1))
    }

    /// Reads the text of an id.
    pub fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().filter(|id| *id != 0).map(Self)
    }
}

impl SpanId {
    /// The span of what `parts` name.
    pub fn derived(parts: &[&str]) -> Self {
        let [a, ..] = words("span", parts);
        Self(a.max(1))
    }

    /// A new span.
    pub fn random() -> Self {
        Self(random().max(1))
    }

    /// Reads the text of an id.
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().filter(|id| *id != 0).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The SHA-256 of the parts, each with its length, so that no two lists are alike.
fn words(kind: &str, parts: &[&str]) -> [u64; 4] {
    let mut hash = Sha256::new();
    for part in std::iter::once(&kind).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.chunks_exact(8)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

/// Each `RandomState` of a thread has its own key. Ids need to be unique, not secret.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_depend_on_every_part_and_on_nothing_else() {
        let one = TraceId::derived(&["uid", "1"]);
        assert_eq!(one, TraceId::derived(&["uid", "1"]));
        for other in [&["uid", "2"][..], &["uid1", ""], &["ui", "d1"], &["uid", "1", ""]] {
            assert_ne!(one, TraceId::derived(other), "{other:?}");
        }
        assert_eq!(one.to_string().len(), 32);
        assert_eq!(TraceId::parse(&one.to_string()), Some(one));
    }

    #[test]
    fn random_ids_differ_and_zero_is_no_id() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| SpanId::random()).collect();
        assert_eq!(ids.len(), 1000);
        assert_eq!((SpanId::parse("0000000000000000"), TraceId::parse("x")), (None, None));
    }
}
