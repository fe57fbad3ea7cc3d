//! Members of a description. A missing one, and one of another type, is `None`. Pure.

use std::collections::HashMap;

use serde_json::Value;

/// A text that is not empty.
pub fn text(of: &Value, field: &str) -> Option<String> {
    of[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

pub fn texts(of: &Value, field: &str) -> Option<Vec<String>> {
    Some(of[field].as_array()?.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect())
}

pub fn flag(of: &Value, field: &str) -> Option<bool> {
    of[field].as_bool()
}

pub fn number(of: &Value, field: &str) -> Option<i32> {
    of[field].as_i64()?.try_into().ok()
}

pub fn map(of: &Value, field: &str) -> Option<HashMap<String, String>> {
    let pairs = of[field].as_object()?.iter();
    Some(pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect())
}

pub fn list<T>(of: &Value, field: &str, convert: impl Fn(&Value) -> T) -> Option<Vec<T>> {
    Some(of[field].as_array()?.iter().map(convert).collect())
}

/// A member that is a structure.
pub fn part<T>(of: &Value, field: &str, convert: impl Fn(&Value) -> T) -> Option<T> {
    of.get(field).filter(|value| value.is_object()).map(convert)
}
