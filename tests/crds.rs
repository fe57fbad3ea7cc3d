//! The files under `crds/` match the types, and the schemas satisfy common rules. `UPDATE_CRDS=1 cargo test --test
//! crds` writes the files.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use keelson::api::{crds, installed_schema};
use regex::Regex;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crds")
}

#[test]
fn files_are_up_to_date() {
    let update = std::env::var_os("UPDATE_CRDS").is_some();
    let mut expected = Vec::new();
    for crd in crds::all() {
        let path = folder().join(crds::file_name(&crd));
        let wanted = crds::to_yaml(&crd).unwrap();
        if update {
            fs::write(&path, &wanted).unwrap();
        }
        let present = fs::read_to_string(&path).unwrap_or_default();
        assert!(present == wanted, "{} is stale: run `UPDATE_CRDS=1 cargo test --test crds`", path.display());
        expected.push(path);
    }
    // `Kustomization` without a suffix is not one of them.
    let mut present: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some())
        .collect();
    present.sort();
    assert_eq!(present, expected, "one file per kind");
}

#[test]
fn parts_by_which_older_crds_are_found_are_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(installed_schema::FILE);
    let wanted = installed_schema::parts().unwrap();
    if std::env::var_os("UPDATE_CRDS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let present = fs::read_to_string(&path).unwrap_or_default();
    assert!(present == wanted, "{} is stale: run `UPDATE_CRDS=1 cargo test --test crds`", path.display());
}

/// An older operator demands what its own version had, also of newer CRDs: without a part, it could not be rolled back to.
/// A release copies `src/api/schema_parts.txt` to this file.
#[test]
fn no_part_of_the_last_release_is_missing() {
    let parts = installed_schema::parts().unwrap();
    let parts: BTreeSet<&str> = parts.lines().collect();
    let released: BTreeSet<&str> = include_str!("released_schema_parts.txt").lines().collect();
    assert!(released.contains("NodeGroup status.deletion.retainedNodeGroups"), "{released:?}");
    let missing: Vec<_> = released.difference(&parts).collect();
    assert!(missing.is_empty(), "put them back, and describe them as unused: {missing:?}");
}

#[test]
fn crd_round_trips_through_yaml() {
    for crd in crds::all() {
        let read: CustomResourceDefinition = serde_saphyr::from_str(&crds::to_yaml(&crd).unwrap()).unwrap();
        assert_eq!(read, crd);
    }
}

/// Calls `visit` with the path and schema of every field of `spec` and `status`, list items and map values included.
fn walk(path: &str, schema: &JSONSchemaProps, visit: &mut dyn FnMut(&str, &JSONSchemaProps)) {
    visit(path, schema);
    for (name, field) in schema.properties.iter().flatten() {
        walk(&format!("{path}.{name}"), field, visit);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(&format!("{path}[]"), items, visit);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        walk(&format!("{path}{{}}"), values, visit);
    }
}

fn violations(check: impl Fn(&str, &JSONSchemaProps) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for crd in crds::all() {
        let schema = crd.spec.versions[0].schema.as_ref().unwrap();
        let root = schema.open_api_v3_schema.as_ref().unwrap();
        for part in ["spec", "status"] {
            let fields = &root.properties.as_ref().unwrap()[part];
            let path = format!("{}.{part}", crd.spec.names.kind);
            walk(&path, fields, &mut |path, schema| {
                found.extend(check(path, schema).map(|violation| format!("{path}: {violation}")));
            });
        }
    }
    found
}

#[test]
fn every_field_is_described() {
    let found = violations(|path, schema| {
        let is_field = !path.ends_with("[]") && !path.ends_with("{}");
        let described = schema.description.as_ref().is_some_and(|text| text.len() > 8);
        (is_field && !described).then(|| "no description".to_owned())
    });
    assert_eq!(found, Vec::<String>::new());
}

/// The names of the types in `src/api`, apart from the kinds: they mean nothing to who writes a manifest.
fn internal_types() -> BTreeSet<String> {
    let types = Regex::new(r"\bpub (?:struct|enum|trait) (\w+)").unwrap();
    let several_words = Regex::new(r"^[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+$").unwrap();
    let kinds = ["EksCluster", "NodeGroup", "AwsAccount", "PlanApproval", "FleetRollout"];
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        found.extend(types.captures_iter(&text).map(|one| one[1].to_owned()));
    }
    // `Version` is a word, and so is `GitOps`.
    // A type of capabilities.
    found.remove("ArgoCd");
    // A value of `gates`.
    found.remove("ControlPlane");
    found.retain(|name| several_words.is_match(name) && !kinds.contains(&name.as_str()) && name != "GitOps");
    found
}

/// What `kubectl explain` shows of a field.
#[test]
fn descriptions_are_sentences_for_users() {
    let types = internal_types();
    assert!(types.len() > 30, "{types:?}");
    let words = Regex::new(r"\w+").unwrap();
    let found = violations(|path, schema| {
        let text = schema.description.as_deref()?;
        let name = path.rsplit('.').next()?;
        let only_name = words.find_iter(text).map(|word| word.as_str().to_lowercase()).collect::<String>();
        let internal = words.find_iter(text).find(|word| types.contains(word.as_str()));
        let has_capital =
            text.starts_with(|first: char| first.is_uppercase() || first == '`' || first.is_ascii_digit());
        if !has_capital {
            Some("does not start with a capital letter".to_owned())
        } else if !text.ends_with('.') {
            Some("does not end with a period".to_owned())
        } else if only_name == name.trim_end_matches(['[', ']', '{', '}']).to_lowercase() {
            Some("says only its name".to_owned())
        } else if text.replace("arn:aws:eks::aws:", "").contains("::") || text.contains("[`") {
            Some("has a path of Rust".to_owned())
        } else {
            internal.map(|word| format!("names the type {}", word.as_str()))
        }
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn descriptions_say_the_default_the_values_and_what_cannot_change() {
    let found = violations(|path, schema| {
        if !path.contains(".spec") {
            return None;
        }
        let text = schema.description.as_deref()?;
        let values = schema.enum_.iter().flatten().filter_map(|value| value.0.as_str());
        let unnamed: Vec<&str> = values.filter(|value| !text.contains(*value)).collect();
        let rules: Vec<&str> =
            schema.x_kubernetes_validations.iter().flatten().map(|rule| rule.rule.as_str()).collect();
        let is_scalar = schema.default.as_ref().is_some_and(|default| !default.0.is_object() && !default.0.is_array());
        if is_scalar && !text.contains(" Default: `") {
            Some("does not say its default".to_owned())
        } else if !unnamed.is_empty() {
            Some(format!("does not name {unnamed:?}"))
        } else if rules.contains(&"self == oldSelf") && !text.contains("mmutable") {
            Some("does not say that it cannot change".to_owned())
        } else {
            let of_parent = schema.properties.iter().flatten().filter(|(name, _)| {
                let same = format!("has(self.{name}) == has(oldSelf.{name})");
                rules.iter().any(|rule| rule.starts_with(&same))
            });
            let silent = of_parent.filter(|(_, field)| {
                let text = field.description.as_deref().unwrap_or_default();
                !["mmutable", "cannot"].iter().any(|word| text.contains(word))
            });
            let silent: Vec<&String> = silent.map(|(name, _)| name).collect();
            (!silent.is_empty()).then(|| format!("does not say that {silent:?} cannot change"))
        }
    });
    assert_eq!(found, Vec::<String>::new());
}

/// The API server rejects rules with unbounded cost, and status must stay small.
#[test]
fn every_field_is_bounded() {
    let found = violations(|_, schema| {
        let has_fixed_length =
            schema.format.as_deref().is_some_and(|format| ["date-time", "date", "duration"].contains(&format));
        let free_form = schema.x_kubernetes_preserve_unknown_fields == Some(true);
        let int_or_string = schema.x_kubernetes_int_or_string == Some(true);
        let unbounded = match schema.type_.as_deref() {
            Some("array") => schema.max_items.is_none(),
            Some("string") => schema.max_length.is_none() && schema.enum_.is_none() && !has_fixed_length,
            Some("object") => (schema.additional_properties.is_some() || free_form) && schema.max_properties.is_none(),
            Some("integer" | "number" | "boolean") => false,
            // A field of any type has no bounds.
            _ => !int_or_string,
        };
        unbounded.then(|| "no upper bound".to_owned())
    });
    assert_eq!(found, Vec::<String>::new());
}

/// Only the admission policy and the operator limit the depth and size of free-form JSON.
#[test]
fn free_form_json_is_only_where_admission_limits_exist() {
    let found = violations(|_, schema| {
        (schema.x_kubernetes_preserve_unknown_fields == Some(true)).then(|| "free-form".to_owned())
    });
    assert_eq!(
        found,
        [
            "EksCluster.spec.addons[].configuration: free-form",
            "EksCluster.spec.addons[].podIdentityRole.policy: free-form",
            "EksCluster.spec.hooks[].job.template.spec: free-form",
            "EksCluster.spec.podIdentities[].role.policy: free-form",
            "NodeGroup.spec.node.nodeConfig: free-form",
        ],
        "deploy/admission-limits.yaml must limit it"
    );
}

#[test]
fn every_list_has_a_list_type() {
    let found = violations(|_, schema| {
        let is_list = schema.type_.as_deref() == Some("array");
        (is_list && schema.x_kubernetes_list_type.is_none()).then(|| "no x-kubernetes-list-type".to_owned())
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_validation_rule_has_a_message() {
    let found = violations(|_, schema| {
        let rules = schema.x_kubernetes_validations.iter().flatten();
        let silent = rules.filter(|rule| rule.message.is_none() && rule.message_expression.is_none());
        let silent: Vec<&str> = silent.map(|rule| rule.rule.as_str()).collect();
        (!silent.is_empty()).then(|| format!("{silent:?}"))
    });
    assert_eq!(found, Vec::<String>::new());
}

/// kstatus treats an object without a status as reconciled.
#[test]
fn new_object_has_observed_generation_minus_one() {
    for crd in crds::all() {
        let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        let status = &schema.properties.as_ref().unwrap()["status"];
        assert_eq!(status.default.as_ref().unwrap().0, serde_json::json!({"observedGeneration": -1}));
    }
}

#[test]
fn descriptions_contain_no_internals() {
    let found = violations(|_, schema| {
        let text = schema.description.as_deref().unwrap_or_default();
        ["TODO", "[`", "super::", "crate::"]
            .iter()
            .find(|mark| text.contains(**mark))
            .map(|mark| format!("{mark:?} in {text:?}"))
    });
    assert_eq!(found, Vec::<String>::new());
}
