//! Writes objects as a readable manifest: comments at the top, and the identity of an object before its other fields.
//! Pure.

use anyhow::Context as _;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

use crate::cli::terminal;

/// The fields that come first, in this order; the others follow by name.
const FIRST: [&str; 19] = [
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "name",
    "namespace",
    "accountRef",
    "clusterRef",
    "clusterName",
    "nodeGroupName",
    "region",
    "version",
    "id",
    "key",
    "principalArn",
    "policyArn",
    "type",
    "min",
    "max",
];

/// The objects as YAML documents, below `comments`, each of which may have several lines.
pub fn manifest(comments: &[String], objects: &[Value]) -> anyhow::Result<String> {
    let mut text = String::new();
    for line in comments.iter().flat_map(|comment| comment.split('\n')) {
        text.push_str(format!("# {}", plain(line)).trim_end());
        text.push('\n');
    }
    for (n, object) in objects.iter().enumerate() {
        if n > 0 || !comments.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&serde_saphyr::to_string(&Ordered(object)).context("the objects cannot be written as YAML")?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

/// Without YAML's line breaks: no comment may become part of the manifest.
fn plain(line: &str) -> String {
    terminal::one_line(line)
}

/// A value whose fields are in the order of [`FIRST`].
struct Ordered<'v>(&'v Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                let place = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(name, _)| place(name));
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, &Ordered(value))?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Ordered(item))?;
                }
                list.end()
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn identity_fields_come_first() {
        let object = json!({
            "apiVersion": "v1", "kind": "X", "metadata": {"namespace": "ns", "name": "x"},
            "spec": {"addons": [{"configuration": {}, "name": "a"}], "region": "eu-west-1", "version": "1.34"},
        });
        let text = manifest(&["one\ntwo".to_owned()], &[object.clone(), object]).unwrap();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn written_objects_are_read_back_unchanged() {
        let odd = json!({"a": "1.34", "b": "true", "c": "a: b # c", "d": "x\ny\n", "e": [], "f": {}, "g": 5, "h": "no",
                         "i": null, "j": "- k", "k": "0123", "l": "", "m": "ö\u{2028}", "n": "1e3", "o": "~"});
        let text = manifest(&[], std::slice::from_ref(&odd)).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), odd);
    }

    #[test]
    fn comments_contain_no_line_breaks() {
        let comments = ["evil\r\nkind: X\u{2028}kind: Y\u{85}kind: Z\rkind: W".to_owned()];
        let text = manifest(&comments, &[json!({"kind": "Good"})]).unwrap();
        assert!(text.lines().filter(|line| !line.starts_with('#')).eq(["---", "kind: Good"]), "{text}");
    }
}
