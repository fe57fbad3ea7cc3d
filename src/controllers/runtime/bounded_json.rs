//! Decodes arbitrary JSON within limits on depth and size. Pure.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::workload::error::bounded;

/// Maximum nesting in `spec` or `status`: below the JSON parser's own limit (128), above any sensible spec.
pub const MAX_DEPTH: usize = 32;
/// Maximum size of `spec`, and of `status`, in bytes of approximately compact JSON. `deploy/admission-limits.yaml`
/// rejects objects at half of it.
pub const MAX_SIZE: usize = 256 * 1024;
/// Path segments shown in an error.
const NAMED_SEGMENTS: usize = 8;

/// The size decoded so far, and the first violated limit.
#[derive(Debug, Default)]
pub struct Limits {
    size: usize,
    problem: Option<Problem>,
}

#[derive(Debug)]
struct Problem {
    what: String,
    /// Innermost segment first.
    path: Vec<String>,
    /// Whether the outermost segment was added.
    complete: bool,
}

impl Problem {
    fn describe(&self) -> String {
        let mut path = String::new();
        for segment in self.path.iter().rev().take(NAMED_SEGMENTS) {
            if !path.is_empty() && !segment.starts_with('[') {
                path.push('.');
            }
            path.push_str(&bounded(segment, 64));
        }
        if self.path.len() > NAMED_SEGMENTS {
            path.push('…');
        }
        format!("{path}: {}", self.what)
    }
}

impl Limits {
    /// The violated limit and its path.
    pub fn problem(&self) -> Option<String> {
        self.problem.as_ref().map(Problem::describe)
    }

    fn count(&mut self, bytes: usize) {
        self.size = self.size.saturating_add(bytes);
        if self.size > MAX_SIZE {
            self.fail(|| format!("exceeds the limit of {} KiB up to this point: reduce its size", MAX_SIZE / 1024));
        }
    }

    fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.problem.is_none() {
            self.problem = Some(Problem { what: what(), path: Vec::new(), complete: false });
        }
    }

    fn failed(&self) -> bool {
        self.problem.is_some()
    }

    /// Adds a segment to the path of the problem while the decoder unwinds.
    fn note(&mut self, record_failure: bool, segment: impl FnOnce() -> String) {
        if let Some(problem) = self.problem.as_mut().filter(|problem| !record_failure && !problem.complete) {
            problem.path.push(segment());
        }
    }

    /// Adds the outermost segment to the path of the problem.
    pub fn leave(&mut self, segment: impl FnOnce() -> String) {
        if let Some(problem) = self.problem.as_mut().filter(|problem| !problem.complete) {
            problem.path.push(segment());
            problem.complete = true;
        }
    }
}

/// Decodes any value within the limits. After the first violation the rest is skipped, which the parser does without
/// recursion.
pub struct Bounded<'l> {
    limits: &'l mut Limits,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.limits.failed() {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'l> Bounded<'l> {
    /// A decoder of a top-level value.
    pub fn of(limits: &'l mut Limits) -> Self {
        Self { limits, depth: 0 }
    }

    /// Whether the value must be skipped.
    fn is_too_deep(&mut self) -> bool {
        if self.depth >= MAX_DEPTH {
            self.limits.fail(|| format!("nested deeper than {MAX_DEPTH} levels: flatten it"));
        }
        self.limits.failed()
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        self.limits.count(5);
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        self.limits.count(8);
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        self.limits.count(8);
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        self.limits.count(8);
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        self.limits.count(4);
        Ok(Value::Null)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        self.limits.count(value.len() + 3);
        Ok(if self.limits.failed() { Value::Null } else { value.into() })
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        if self.is_too_deep() {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        loop {
            self.limits.count(1);
            let before = self.limits.failed();
            let Some(item) = seq.next_element_seed(Bounded { limits: self.limits, depth: self.depth + 1 })? else {
                break;
            };
            let index = items.len();
            self.limits.note(before, || format!("[{index}]"));
            if !before {
                items.push(item);
            }
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        if self.is_too_deep() {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        while let Some(key) = map.next_key::<String>()? {
            let before = self.limits.failed();
            self.limits.count(key.len() + 4);
            let value = map.next_value_seed(Bounded { limits: self.limits, depth: self.depth + 1 })?;
            self.limits.note(before, || key.clone());
            if !before {
                members.insert(key, value);
            }
        }
        Ok(Value::Object(members))
    }
}
