//! Nothing is dropped silently: every leaf of a file has an effect, which shows when it is removed, or is reported.

use super::*;
use crate::cli::import::section::leaves_of;
use proptest::prelude::*;
use serde_json::json;

pub(super) const FILES: [(&str, &str); 6] = [
    ("usual", include_str!("testdata/usual.yaml")),
    ("existing_vpc", include_str!("testdata/existing_vpc.yaml")),
    ("private", include_str!("testdata/private.yaml")),
    ("auto_mode", include_str!("testdata/auto_mode.yaml")),
    ("differences", include_str!("testdata/differences.yaml")),
    ("self_managed", include_str!("testdata/self_managed.yaml")),
];

/// These repeat another field, or request a default.
const TWICE: [&str; 9] = [
    ".cidr",
    "metadata.tags.Name",
    "privateCluster.enabled",
    "noDuplicateARNs",
    "subnets.private.data.az",
    "flags.branch",
    "accessScope.type",
    "privateNetworking",
    "publicAccess",
];

fn parsed(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The result as text; `Err`: the mistakes.
fn outcome(document: &Value) -> Result<(String, Report), String> {
    let converted = converted(document.clone(), &ObjectPlacement::default(), &Options::default())
        .map_err(|error| format!("{error:#}"))?;
    let Converted { objects, report } = converted;
    Ok((json!(objects).to_string() + &format!("{report:?}"), report))
}

/// The document without the leaf at `path`.
fn without(document: &Value, path: &str) -> Value {
    let pointer =
        format!("/{}", path.replace('.', "\u{0}").replace("[", "\u{0}").replace("]", "")).replace('\u{0}', "/");
    let mut document = document.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.remove(name).expect(path)),
        Some(Value::Array(items)) => drop(items.remove(name.parse().expect(path))),
        _ => panic!("{path}"),
    }
    document
}

#[test]
fn every_leaf_has_an_effect_or_is_reported() {
    for (name, text) in FILES {
        let document = parsed(text);
        let whole = outcome(&document).unwrap().0;
        let mut leaves = Vec::new();
        leaves_of("", &document, &mut leaves);
        for leaf in leaves.iter().filter(|leaf| !leaf.contains("example.com/")) {
            let silent = outcome(&without(&document, leaf)).is_ok_and(|(other, _)| other == whole);
            let (_, report) = outcome(&document).unwrap();
            let named = report.left_out.iter().any(|remark| leaf.starts_with(&remark.path));
            let twice = TWICE.iter().any(|end| leaf.ends_with(end));
            assert!(!silent || named || twice, "{name}: {leaf} has no effect and is not reported");
        }
    }
}

fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!({})),
        Just(json!([])),
        any::<bool>().prop_map(|flag| json!(flag)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(|text| json!(text)),
        Just(json!({"a": [{"b": 1}, 2]})),
        Just(json!([[1], {"a": null}])),
    ]
}

/// The mappings of the document, as pointers.
fn mappings(pointer: &str, value: &Value, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            all.push(pointer.to_owned());
            fields.iter().for_each(|(name, value)| {
                mappings(&format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), value, all);
            });
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| mappings(&format!("{pointer}/{n}"), item, all));
        }
        _ => {}
    }
}

#[test]
fn unknown_fields_are_reported() {
    let odd = [json!(null), json!({}), json!([]), json!("x"), json!(1), json!({"a": [{"b": null}, 2]}), json!([[1]])];
    for (name, text) in FILES {
        let document = parsed(text);
        let before = outcome(&document).unwrap().0;
        let mut all = Vec::new();
        mappings("", &document, &mut all);
        for (place, value) in all.iter().flat_map(|place| odd.iter().map(move |value| (place, value))) {
            let mut document = document.clone();
            document.pointer_mut(place).unwrap()["zzUnknown"] = value.clone();
            // Mistakes are reported; a mapping of texts takes any name; an omitted section is reported as a whole.
            let Ok((after, report)) = outcome(&document) else { continue };
            let whole = |path: &str| format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
            let names = |path: &str| path.contains("zzUnknown") || place.starts_with(&whole(path));
            // A mapping that Keelson sets in another way.
            let whole_differs = report.differs.iter().any(|remark| *place == whole(&remark.path));
            let named = whole_differs || report.left_out.iter().any(|remark| names(&remark.path));
            assert!(named || after != before, "{name}: {value} in {place}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_causes_a_panic(file in 0..FILES.len(), leaf in any::<prop::sample::Index>(), value in odd()) {
        let document = parsed(FILES[file].1);
        let mut leaves = Vec::new();
        leaves_of("", &document, &mut leaves);
        let leaf = leaf.get(&leaves);
        prop_assume!(!leaf.contains("example.com/"));
        let pointer = format!("/{}", leaf.replace(['.', '['], "/").replace(']', ""));
        let mut document = document.clone();
        *document.pointer_mut(&pointer).unwrap() = value;
        if let Err(message) = outcome(&document) {
            prop_assert!(!message.is_empty());
        }
    }
}
