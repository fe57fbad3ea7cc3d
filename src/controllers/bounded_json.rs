//! Reads JSON of any shape within limits of depth and size. Pure.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::gitops::error::bounded;

/// Levels of nesting in `spec` or `status`. Less than what the JSON parser stands (128), and more than a sensible spec needs.
pub const MAX_DEPTH: usize = 32;
/// Bytes of `spec`, and of `status`, as they are counted here: about what compact JSON takes. `deploy/admission-limits.yaml` stops at half.
pub const MAX_SIZE: usize = 256 * 1024;
/// Segments of a path that are named.
const NAMED_SEGMENTS: usize = 8;

/// How much was read, and the first limit that was met.
#[derive(Debug, Default)]
pub struct Limits {
    size: usize,
    problem: Option<Problem>,
}

#[derive(Debug)]
struct Problem {
    what: String,
    /// From the innermost to the outermost.
    path: Vec<String>,
    /// The outermost was noted.
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
    /// What is beyond the limits, and where.
    pub fn problem(&self) -> Option<String> {
        self.problem.as_ref().map(Problem::describe)
    }

    fn count(&mut self, bytes: usize) {
        self.size = self.size.saturating_add(bytes);
        if self.size > MAX_SIZE {
            self.fail(|| {
                format!("everything up to here takes more than {} KiB, which is the limit: write less", MAX_SIZE / 1024)
            });
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

    /// Notes the way to the problem while the decoder returns from it.
    fn note(&mut self, failed_before: bool, segment: impl FnOnce() -> String) {
        if let Some(problem) = self.problem.as_mut().filter(|problem| !failed_before && !problem.complete) {
            problem.path.push(segment());
        }
    }

    /// Ends the way to the problem.
    pub fn leave(&mut self, segment: impl FnOnce() -> String) {
        if let Some(problem) = self.problem.as_mut().filter(|problem| !problem.complete) {
            problem.path.push(segment());
            problem.complete = true;
        }
    }
}

/// Reads any value within the limits. Behind the first limit that is met everything is skipped, which the parser does without recursion.
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
    /// A value at the top.
    pub fn of(limits: &'l mut Limits) -> Self {
        Self { limits, depth: 0 }
    }

    /// True: it may not be entered.
    fn is_too_deep(&mut self) -> bool {
        if self.depth >= MAX_DEPTH {
            self.limits.fail(|| format!("nested deeper than {MAX_DEPTH} levels, which is the limit: write it flatter"));
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
