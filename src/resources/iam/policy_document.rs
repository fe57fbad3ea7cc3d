//! Whether two IAM policy documents are equivalent, regardless of order and notation. Pure.
//!
//! IAM stores a document as written, so a document that differs only in whitespace or in single-element lists is
//! equivalent. See <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.

use serde_json::{Map, Value};

/// Fields without effect.
const IGNORED_FIELDS: [&str; 2] = ["Id", "Sid"];
/// Fields with case-insensitive values.
const CASE_INSENSITIVE_FIELDS: [&str; 2] = ["Action", "NotAction"];

/// Whether both are equivalent. Text that is not JSON is compared literally.
pub fn is_equivalent(one: &str, other: &str) -> bool {
    let parsed = |text: &str| serde_json::from_str(text).ok().map(canonical);
    match (parsed(one), parsed(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// The document on one line, for messages.
pub fn compact(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |value| value.to_string())
}

/// The canonical form of equivalent documents.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| !IGNORED_FIELDS.contains(&name.as_str()));
            Value::Object(kept.map(field).collect::<Map<_, _>>())
        }
        Value::Array(items) => set(items.into_iter().map(canonical)),
        // Conditions treat "true" and true alike.
        Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
        Value::Null | Value::String(_) => value,
    }
}

fn field((name, value): (String, Value)) -> (String, Value) {
    let value = match value {
        Value::String(all) if name == "Principal" && all == "*" => serde_json::json!({"AWS": "*"}),
        other => other,
    };
    let value = canonical(value);
    let value = if CASE_INSENSITIVE_FIELDS.contains(&name.as_str()) { lower_case(value) } else { value };
    (name, value)
}

fn lower_case(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.to_lowercase()),
        Value::Array(items) => set(items.into_iter().map(lower_case)),
        other => other,
    }
}

/// Every list of a policy is a set, and a single-element list equals its element.
fn set(items: impl Iterator<Item = Value>) -> Value {
    let mut items: Vec<Value> = items.collect();
    items.sort_by_key(Value::to_string);
    items.dedup();
    if items.len() == 1 { items.remove(0) } else { Value::Array(items) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},
        "Action":["sts:AssumeRole","sts:TagSession"]}]}"#;

    #[test]
    fn order_single_element_lists_and_ids_do_not_matter() {
        for other in [
            r#"{"Statement":{"Action":["sts:TagSession","sts:assumerole"],"Effect":"Allow","Sid":"Nodes",
                "Principal":{"Service":["ec2.amazonaws.com"]}},"Version":"2012-10-17","Id":"x"}"#,
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},
                "Action":["sts:AssumeRole","sts:TagSession","sts:AssumeRole"]}]}"#,
        ] {
            assert!(is_equivalent(OURS, other), "{other}");
        }
        let condition =
            |value: &str| format!(r#"{{"Statement":{{"Condition":{{"Bool":{{"aws:SecureTransport":{value}}}}}}}}}"#);
        assert!(is_equivalent(&condition("true"), &condition(r#"["true"]"#)));
        assert!(is_equivalent(r#"{"Principal":"*"}"#, r#"{"Principal":{"AWS":["*"]}}"#));
    }

    #[test]
    fn other_principals_and_actions_are_differences() {
        for other in [
            OURS.replace("ec2.amazonaws.com", "lambda.amazonaws.com"),
            OURS.replace(r#""ec2.amazonaws.com""#, r#"["ec2.amazonaws.com","ssm.amazonaws.com"]"#),
            // What IAM substitutes for a deleted principal.
            OURS.replace(
                r#"{"Service":"ec2.amazonaws.com"}"#,
                r#"{"Service":"ec2.amazonaws.com","AWS":"AROAEXAMPLE"}"#,
            ),
            OURS.replace("sts:AssumeRole", "sts:*"),
            OURS.replace(r#","sts:TagSession""#, ""),
            OURS.replace("Allow", "Deny"),
            OURS.replace("2012-10-17", "2008-10-17"),
            OURS.replace(r#""Effect""#, r#""Condition":{"StringEquals":{"aws:SourceAccount":"1"}},"Effect""#),
            "not JSON".to_owned(),
            String::new(),
        ] {
            assert!(!is_equivalent(OURS, &other), "{other}");
        }
        assert_eq!(compact("{ \"a\" :1}"), r#"{"a":1}"#);
        assert_eq!(compact("not JSON"), "not JSON");
    }
}
