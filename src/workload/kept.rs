//! Deserializers that bound the memory of foreign objects, whatever the server sends: texts are cut, lists keep their
//! first items. The rest is skipped while it is parsed.
//!
//! Not allowed here: a client. No I/O.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Bytes of a text that are kept. A continue token, the longest text that is needed in full, is shorter.
const MAX_TEXT_BYTES: usize = 1024;
/// Items of a list that are kept.
const MAX_ITEMS: usize = 32;
/// Labels or annotations of one object that are kept.
const MAX_ENTRIES: usize = 64;

/// Labels and annotations that decisions depend on: they are kept even after many others.
const PRIORITY_DOMAINS: [&str; 2] = ["eks.amazonaws.com/", "keelson.dev/"];

/// A text, cut to 1 KiB. Reads `null` as empty.
pub fn truncated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(Truncated).map(Option::unwrap_or_default)
}

/// The same for an optional text.
pub fn truncated_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_any(Truncated)
}

struct Truncated;

impl Visitor<'_> for Truncated {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_unit<E>(self) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<String>, E> {
        let end = (0..=MAX_TEXT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        Ok(Some(text[..end].to_owned()))
    }
}

/// A text in a list or a map.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        truncated(deserializer).map(Self)
    }
}

/// The first 32 items of a list. Reads `null` as empty.
pub fn first_items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct FirstItems<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for FirstItems<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            while kept.len() < MAX_ITEMS {
                let Some(item) = items.next_element()? else { return Ok(kept) };
                kept.push(item);
            }
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }
    deserializer.deserialize_any(FirstItems(PhantomData))
}

/// The same for texts.
pub fn first_strings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    first_items::<D, Text>(deserializer).map(|texts| texts.into_iter().map(|Text(text)| text).collect())
}

/// The last item of a list, as a list of at most one.
pub fn last_item<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct LastItem<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for LastItem<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut last_item = None;
            while let Some(item) = items.next_element()? {
                last_item = Some(item);
            }
            Ok(last_item.into_iter().collect())
        }
    }
    deserializer.deserialize_any(LastItem(PhantomData))
}

/// The first 64 labels or annotations, each cut. Reads `null` as none.
pub fn metadata_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    metadata_map_with(deserializer, |_| false)
}

/// The same, and up to 64 more of those with a key that `is_needed`.
pub fn metadata_map_with<'de, D: Deserializer<'de>>(
    deserializer: D,
    is_needed: fn(&str) -> bool,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct MapVisitor(fn(&str) -> bool);
    impl<'de> Visitor<'de> for MapVisitor {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("labels or annotations")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut kept = BTreeMap::new();
            while let Some(Text(key)) = map.next_key()? {
                let is_priority = PRIORITY_DOMAINS.iter().any(|domain| key.contains(domain)) || (self.0)(&key);
                let limit = if is_priority { 2 * MAX_ENTRIES } else { MAX_ENTRIES };
                if kept.len() < limit {
                    let Text(value) = map.next_value()?;
                    kept.insert(key, value);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(kept)
        }
    }
    deserializer.deserialize_any(MapVisitor(is_needed))
}

/// Memory of labels or annotations, in bytes.
pub fn metadata_map_size(metadata_map: &BTreeMap<String, String>) -> usize {
    metadata_map.iter().map(|(key, value)| key.len() + value.len() + 96).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Object {
        #[serde(deserialize_with = "truncated")]
        name: String,
        #[serde(deserialize_with = "metadata_map")]
        labels: BTreeMap<String, String>,
        #[serde(deserialize_with = "first_strings")]
        parts: Vec<String>,
        #[serde(deserialize_with = "last_item")]
        history: Vec<u32>,
    }

    #[test]
    fn size_is_bounded_whatever_is_sent() {
        let labels: BTreeMap<_, _> = (0..500).map(|number| (format!("label-{number:03}"), "v".repeat(5000))).collect();
        let object = serde_json::json!({
            "name": "ü".repeat(5000), "labels": labels, "parts": vec!["p"; 500], "history": [1, 2, 3],
        });
        let read: Object = serde_json::from_str(&object.to_string()).unwrap();
        assert!(read.name.len() <= MAX_TEXT_BYTES && read.name.starts_with('ü'));
        assert_eq!((read.labels.len(), read.parts.len(), read.history), (MAX_ENTRIES, MAX_ITEMS, vec![3]));
        assert!(read.labels.values().all(|value| value.len() == MAX_TEXT_BYTES));
        assert!(metadata_map_size(&read.labels) < 100 << 10);
    }

    #[test]
    fn null_is_read_as_empty() {
        let text = r#"{"name": null, "labels": null, "parts": null, "history": null}"#;
        let read: Object = serde_json::from_str(text).unwrap();
        assert!(read.name.is_empty() && read.labels.is_empty() && read.parts.is_empty() && read.history.is_empty());
    }
}
