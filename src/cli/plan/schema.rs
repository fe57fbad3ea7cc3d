//! Validates an object against its CRD's schema like the API server at its creation: unknown fields, types, bounds,
//! defaults, and the CEL rules ([`super::rules`]). Pure.

use regex::Regex;
use serde_json::Value;

use super::rules;
use crate::cli::terminal::one_line;

/// Applies defaults to `object` and returns its errors, each with its field.
pub fn check_object(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut errors = Vec::new();
    if let Some(fields) = object.as_object_mut() {
        // Validated by the API server itself, and irrelevant here.
        let metadata = fields.remove("metadata");
        let status = fields.remove("status");
        check(schema, object, "", &mut errors);
        if let (Some(fields), Some(metadata)) = (object.as_object_mut(), metadata) {
            fields.insert("metadata".to_owned(), metadata);
        }
        drop(status);
        // These rules refer to metadata.name.
        if errors.is_empty() {
            errors.extend(rules::broken(schema, object).into_iter().map(|message| format!("the object: {message}")));
        }
    }
    errors
}

fn check(schema: &Value, value: &mut Value, path: &str, errors: &mut Vec<String>) {
    if schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true) && schema["properties"].is_null() {
        return;
    }
    let field = if path.is_empty() { "the object" } else { path };
    let before = errors.len();
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        errors.push(format!("{field}: {value} is not one of {}{}", allowed.join(", "), spelling(value, &allowed)));
        return;
    }
    match (schema["type"].as_str().unwrap_or_default(), &mut *value) {
        ("object", Value::Object(_)) => check_fields(schema, value, path, errors),
        ("array", Value::Array(_)) => check_items(schema, value, path, errors),
        ("string", Value::String(text)) => {
            let length = text.chars().count() as u64;
            bounds(length, &schema["minLength"], &schema["maxLength"], "characters", field, errors);
            if let Some(pattern) = schema["pattern"].as_str()
                && Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
            {
                errors.push(format!("{field}: {text:?} does not match {pattern}"));
            }
        }
        ("integer", Value::Number(number)) if number.is_i64() => {
            range(number.as_f64(), &schema["minimum"], &schema["maximum"], field, errors);
        }
        ("number", Value::Number(number)) => {
            range(number.as_f64(), &schema["minimum"], &schema["maximum"], field, errors);
        }
        ("boolean", Value::Bool(_)) | ("", _) => {}
        (wanted, other) => {
            errors.push(format!("{field}: {other} is not of type {wanted}{}", hint(wanted, other)));
            return;
        }
    }
    // Like the API server: the rules expect values that match the schema.
    if errors.len() == before && !path.is_empty() {
        errors.extend(rules::broken(schema, value).into_iter().map(|message| format!("{field}: {message}")));
    }
}

/// YAML reads 1.34 as a number.
fn hint(wanted: &str, value: &Value) -> &'static str {
    if wanted == "string" && (value.is_number() || value.is_boolean()) { ": put it in quotes" } else { "" }
}

fn check_fields(schema: &Value, value: &mut Value, path: &str, errors: &mut Vec<String>) {
    let Some(fields) = value.as_object_mut() else { return };
    let at = |name: &str| if path.is_empty() { one_line(name) } else { format!("{path}.{}", one_line(name)) };
    // A null field is not set.
    fields.retain(|_, value| !value.is_null());
    let count = fields.len() as u64;
    if let Some(each) = schema["additionalProperties"].as_object() {
        let each = Value::Object(each.clone());
        bounds(count, &schema["minProperties"], &schema["maxProperties"], "entries", path, errors);
        for (name, value) in fields.iter_mut() {
            check(&each, value, &format!("{path}[{}]", one_line(name)), errors);
        }
        return;
    }
    let Some(known) = schema["properties"].as_object() else { return };
    for name in fields.keys().filter(|name| !known.contains_key(*name)) {
        if !(path.is_empty() && ["apiVersion", "kind"].contains(&name.as_str())) {
            errors.push(format!("{}: unknown field{}", at(name), suggestion(name, known)));
        }
    }
    for (name, schema) in known {
        if !fields.contains_key(name) && !schema["default"].is_null() {
            fields.insert(name.clone(), schema["default"].clone());
        }
        if let Some(value) = fields.get_mut(name) {
            check(schema, value, &at(name), errors);
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !(fields.contains_key(name) || path.is_empty() && name == "metadata") {
            errors.push(format!("{}: is required", at(name)));
        }
    }
}

/// AWS and other tools write the same values as `ON_DEMAND` or `onDemand`.
fn spelling(value: &Value, allowed: &[&str]) -> String {
    fn letters(text: &str) -> String {
        text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
    }
    let wanted = value.as_str().map(letters);
    let found = allowed.iter().find(|one| Some(letters(one)) == wanted);
    found.map(|one| format!("; did you mean {one:?}?")).unwrap_or_default()
}

/// The most similar known field, or all of them if there are few.
fn suggestion(name: &str, known: &serde_json::Map<String, Value>) -> String {
    let near = known.keys().map(|field| (distance(name, field), field)).min();
    match near {
        Some((distance, field)) if distance <= 3 => format!("; did you mean {field:?}?"),
        _ if known.len() <= 12 => {
            format!("; known fields: {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
        }
        _ => String::new(),
    }
}

/// Edit distance: letters to insert, remove or replace, ignoring case.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

fn check_items(schema: &Value, value: &mut Value, path: &str, errors: &mut Vec<String>) {
    let Some(items) = value.as_array_mut() else { return };
    bounds(items.len() as u64, &schema["minItems"], &schema["maxItems"], "entries", path, errors);
    for (n, item) in items.iter_mut().enumerate() {
        check(&schema["items"], item, &format!("{path}[{n}]"), errors);
    }
    let keys: Vec<&str> =
        schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_set = schema["x-kubernetes-list-type"] == "set";
    if !is_set && keys.is_empty() {
        return;
    }
    let identity = |item: &Value| {
        let parts: Vec<String> = keys.iter().map(|key| item[*key].to_string()).collect();
        if is_set { item.to_string() } else { parts.join(" ") }
    };
    for (n, item) in items.iter().enumerate() {
        if items[..n].iter().any(|before| identity(before) == identity(item)) {
            errors.push(format!("{path}[{n}]: {} is a duplicate", identity(item)));
        }
    }
}

fn bounds(count: u64, least: &Value, most: &Value, of: &str, field: &str, errors: &mut Vec<String>) {
    if least.as_u64().is_some_and(|least| count < least) {
        errors.push(format!("{field}: has {count} {of}, at least {least} are needed"));
    }
    if most.as_u64().is_some_and(|most| count > most) {
        errors.push(format!("{field}: has {count} {of}, at most {most} are allowed"));
    }
}

fn range(number: Option<f64>, least: &Value, most: &Value, field: &str, errors: &mut Vec<String>) {
    let Some(number) = number else { return };
    if least.as_f64().is_some_and(|least| number < least) {
        errors.push(format!("{field}: {number} is less than {least}"));
    }
    if most.as_f64().is_some_and(|most| number > most) {
        errors.push(format!("{field}: {number} is more than {most}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_in_the_spelling_of_other_tools_are_recognised() {
        let schema = json!({"type": "string", "enum": ["OnDemand", "Spot", "CapacityBlock"]});
        for (value, ending) in [
            (json!("ON_DEMAND"), "; did you mean \"OnDemand\"?"),
            (json!("spot"), "; did you mean \"Spot\"?"),
            (json!("Sometimes"), "of OnDemand, Spot, CapacityBlock"),
            (json!(1), "of OnDemand, Spot, CapacityBlock"),
        ] {
            let mut errors = Vec::new();
            check(&schema, &mut value.clone(), "spec.capacityType", &mut errors);
            assert!(errors.len() == 1 && errors[0].ends_with(ending), "{errors:?}");
        }
    }
}
