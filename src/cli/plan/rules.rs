//! The CRDs' CEL rules that have a simple form: a pattern for a text or for each item of a list, uniqueness in a
//! list, and how many of some fields are set. They are most of the rules on single fields. Rules that compare fields,
//! or old with new, are left to the API server: a CEL interpreter would add a second time library and a parser
//! generator to the operator. Pure.

use regex::Regex;
use serde_json::Value;

/// The messages of the simple rules of `schema` that `value` breaks.
pub fn broken<'s>(schema: &'s Value, value: &Value) -> Vec<&'s str> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let broken = rules.filter(|rule| rule["rule"].as_str().and_then(|cel| holds(cel, value)) == Some(false));
    broken.map(|rule| rule["message"].as_str().unwrap_or("is refused by the API server")).collect()
}

/// Whether the rule holds; `None`: it is not a simple one, or not for such a value.
fn holds(cel: &str, value: &Value) -> Option<bool> {
    if let Some(pattern) = between(cel, "self.matches(r'", "')") {
        return Some(Regex::new(pattern).ok()?.is_match(value.as_str()?));
    }
    if let Some(pattern) = between(cel, "self.all(item, item.matches(r'", "'))") {
        let pattern = Regex::new(pattern).ok()?;
        return Some(value.as_array()?.iter().filter_map(Value::as_str).all(|item| pattern.is_match(item)));
    }
    if cel == "self.all(item, self.exists_one(other, other == item))" {
        return Some(all_differ(value.as_array()?.iter()));
    }
    if let Some(field) = between(cel, "self.all(item, self.exists_one(other, other.", "))") {
        // The same field of both items.
        let (of_one, of_other) = field.split_once(" == item.")?;
        let items = value.as_array()?.iter();
        return (of_one == of_other).then(|| all_differ(items.filter_map(|item| item.get(of_one))));
    }
    let (fields, count) = cel.strip_prefix('[')?.split_once("].filter(set, set).size() ")?;
    let mut set = 0;
    for field in fields.split(", ") {
        set += usize::from(value.as_object()?.contains_key(between(field, "has(self.", ")")?));
    }
    match count {
        "== 1" => Some(set == 1),
        "<= 1" => Some(set <= 1),
        _ => None,
    }
}

fn all_differ<'v>(values: impl Iterator<Item = &'v Value>) -> bool {
    let values: Vec<_> = values.collect();
    values.iter().enumerate().all(|(at, value)| !values[..at].contains(value))
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    // A quote inside ends the pattern earlier: the rule has more to it.
    text.strip_prefix(before)?.strip_suffix(after).filter(|inner| !inner.contains('\''))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn simple_rules_are_evaluated_and_others_skipped() {
        let cases = [
            ("self.matches(r'^[a-z]+$')", json!("abc"), Some(true)),
            ("self.matches(r'^[a-z]+$')", json!("ABC"), Some(false)),
            ("self.matches(r'^[a-z]+$') && isURL(self)", json!("ABC"), None),
            ("self.matches(r'^a$') || self.matches(r'^b$')", json!("c"), None),
            ("self.all(item, item.matches(r'^(a|b)$'))", json!(["a", "b"]), Some(true)),
            ("self.all(item, item.matches(r'^(a|b)$'))", json!(["a", "c"]), Some(false)),
            ("[has(self.a), has(self.b)].filter(set, set).size() == 1", json!({"a": 1, "c": 1}), Some(true)),
            ("[has(self.a), has(self.b)].filter(set, set).size() == 1", json!({}), Some(false)),
            ("[has(self.a), has(self.b)].filter(set, set).size() <= 1", json!({"a": 1, "b": 1}), Some(false)),
            ("self.all(item, self.exists_one(other, other == item))", json!(["a", "b"]), Some(true)),
            ("self.all(item, self.exists_one(other, other == item))", json!(["a", "a"]), Some(false)),
            (
                "self.all(item, self.exists_one(other, other.name == item.name))",
                json!([{"name": "a"}, {"name": "b"}]),
                Some(true),
            ),
            (
                "self.all(item, self.exists_one(other, other.name == item.name))",
                json!([{"name": "a", "x": 1}, {"name": "a"}]),
                Some(false),
            ),
            ("self.min <= self.max", json!({"min": 2, "max": 1}), None),
            ("self == oldSelf", json!("a"), None),
        ];
        for (cel, value, expected) in cases {
            assert_eq!(holds(cel, &value), expected, "{cel} of {value}");
        }
    }

    #[test]
    fn most_single_field_rules_are_simple() {
        let (mut plain, mut all) = (0, 0);
        for crd in crate::api::crds::all() {
            let text = serde_json::to_value(crd).unwrap();
            count(&text, &mut |cel| {
                all += 1;
                let samples = [json!(""), json!([]), json!({})];
                plain += usize::from(samples.iter().any(|sample| holds(cel, sample).is_some()));
            });
        }
        assert!(plain * 2 > all, "{plain} of {all}");
    }

    fn count(value: &Value, see: &mut dyn FnMut(&str)) {
        let rules = value["x-kubernetes-validations"].as_array().into_iter().flatten();
        rules.filter_map(|rule| rule["rule"].as_str()).filter(|cel| !cel.contains("oldSelf")).for_each(&mut *see);
        let children: Vec<&Value> = match value {
            Value::Object(fields) => fields.values().collect(),
            Value::Array(items) => items.iter().collect(),
            _ => Vec::new(),
        };
        children.into_iter().for_each(|child| count(child, see));
    }
}
