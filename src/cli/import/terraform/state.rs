//! The resources of a state: as `terraform show -json` prints it, or the file `terraform.tfstate` itself. Pure.
//!
//! What the state marks as sensitive is removed at once: nothing that follows can print it.

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use super::address;

const SHOW: &str = "terraform show -json > state.json";

/// An instance of a resource.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its address, as `terraform state list` prints it.
    pub address: String,
    /// Such as `aws_eks_cluster`.
    pub type_: String,
    /// The attributes that are not sensitive and not empty.
    pub values: Map<String, Value>,
    /// Names of the attributes that are sensitive, or have a sensitive part.
    pub sensitive: Vec<String>,
}

impl Instance {
    /// An attribute that is a text.
    pub fn text(&self, attribute: &str) -> &str {
        self.values.get(attribute).and_then(Value::as_str).unwrap_or_default()
    }
}

/// The managed resources of a state; data sources are not in it.
///
/// # Errors
/// A text that is no state, or that cannot be read without Terraform; the error message what to do.
pub fn read(text: &str) -> anyhow::Result<Vec<Instance>> {
    let state: Value = serde_json::from_str(text).with_context(|| {
        format!("is not JSON: pass what `{SHOW}` writes; without -json, Terraform prints its state for people")
    })?;
    let mut found = Vec::new();
    if state.get("planned_values").is_some() {
        bail!("is a plan, which holds what does not exist yet: pass the state, as `{SHOW}` writes it");
    } else if state.get("encrypted_data").is_some() {
        bail!("is encrypted: pass what `tofu show -json` writes, which decrypts it");
    } else if state.get("format_version").is_some() {
        let Some(root) = state.pointer("/values/root_module") else { bail!("holds no resources: the state is empty") };
        of_module(root, &mut found)?;
    } else if state.get("lineage").is_some() || state.get("serial").is_some() {
        if state["version"] != 4 {
            bail!("is a state file of version {}, and 4 can be read: pass what `{SHOW}` writes", state["version"]);
        }
        of_file(&state, &mut found)?;
    } else {
        bail!("is no state of Terraform: pass what `{SHOW}` writes");
    }
    Ok(found)
}

/// Adds the resources of a module and of those below it, as `terraform show -json` prints them.
fn of_module(module: &Value, found: &mut Vec<Instance>) -> anyhow::Result<()> {
    for resource in module["resources"].as_array().into_iter().flatten() {
        // A deposed one is about to be destroyed; the one in its place has the same address.
        if resource["mode"] != "managed" || resource.get("deposed_key").is_some() {
            continue;
        }
        let address = text(resource, "address")?.to_owned();
        let mut values = resource["values"].as_object().cloned().unwrap_or_default();
        let mut sensitive = Vec::new();
        if let Some(marks) = resource["sensitive_values"].as_object() {
            for (name, mark) in marks.iter().filter(|(_, mark)| is_marked(mark)) {
                remove_marked(&mut values, name, mark);
                sensitive.push(name.clone());
            }
        }
        found.push(Instance { address, type_: text(resource, "type")?.to_owned(), values: filled(values), sensitive });
    }
    for child in module["child_modules"].as_array().into_iter().flatten() {
        of_module(child, found)?;
    }
    Ok(())
}

/// Whether the mark, `true` or a structure with one, marks anything.
fn is_marked(mark: &Value) -> bool {
    match mark {
        Value::Bool(marked) => *marked,
        Value::Array(items) => items.iter().any(is_marked),
        Value::Object(fields) => fields.values().any(is_marked),
        _ => false,
    }
}

/// Removes the attribute, or the members of a mapping that are marked.
fn remove_marked(values: &mut Map<String, Value>, name: &str, mark: &Value) {
    match (values.get_mut(name), mark) {
        (Some(Value::Object(fields)), Value::Object(marks)) => {
            marks.iter().filter(|(_, mark)| is_marked(mark)).for_each(|(name, mark)| remove_marked(fields, name, mark));
        }
        _ => {
            values.remove(name);
        }
    }
}

/// Adds the resources of a state file.
fn of_file(state: &Value, found: &mut Vec<Instance>) -> anyhow::Result<()> {
    for resource in state["resources"].as_array().into_iter().flatten() {
        if resource["mode"] != "managed" {
            continue;
        }
        let (type_, name) = (text(resource, "type")?, text(resource, "name")?);
        for instance in resource["instances"].as_array().into_iter().flatten() {
            if instance.get("deposed").is_some() {
                continue;
            }
            let address = address::of(resource["module"].as_str(), type_, name, instance.get("index_key"));
            let Some(mut values) = instance["attributes"].as_object().cloned() else {
                bail!("{address} was written by a version of Terraform before 0.12: pass what `{SHOW}` writes");
            };
            let mut sensitive = Vec::new();
            for path in instance["sensitive_attributes"].as_array().into_iter().flatten() {
                // A path of steps; older versions wrote the first step alone.
                let step = path.get(0).unwrap_or(path);
                if let Some(name) = step["value"].as_str() {
                    values.remove(name);
                    sensitive.push(name.to_owned());
                }
            }
            found.push(Instance { address, type_: type_.to_owned(), values: filled(values), sensitive });
        }
    }
    Ok(())
}

fn text<'v>(of: &'v Value, field: &str) -> anyhow::Result<&'v str> {
    of[field].as_str().with_context(|| format!("holds a resource without {field}: it is no state of Terraform"))
}

/// Without attributes that are not set: a state lists all of them.
fn filled(values: Map<String, Value>) -> Map<String, Value> {
    values.into_iter().filter_map(|(name, value)| Some((name, set(value)?))).collect()
}

fn set(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Value::String(text)).filter(|text| *text != ""),
        Value::Array(items) => {
            let block = |item| match item {
                Value::Object(fields) => Some(filled(fields)).filter(|fields| !fields.is_empty()).map(Value::Object),
                other => Some(other).filter(|other| !other.is_null()),
            };
            let items: Vec<_> = items.into_iter().filter_map(block).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        // A map, such as labels: an empty value is one.
        Value::Object(fields) => {
            let fields: Map<_, _> = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(state: &Value) -> String {
        format!("{:#}", read(&state.to_string()).unwrap_err())
    }

    #[test]
    fn other_texts_are_refused_with_what_to_do() {
        assert!(format!("{:#}", read("# aws_eks_cluster.this:").unwrap_err()).contains("terraform show -json"));
        for (state, message) in [
            (json!({"format_version": "1.2", "planned_values": {}}), "is a plan"),
            (json!({"format_version": "1.0", "terraform_version": "1.9.0"}), "the state is empty"),
            (json!({"version": 3, "serial": 1, "modules": []}), "a state file of version 3"),
            (json!({"encrypted_data": "x", "serial": 1}), "tofu show -json"),
            (json!({"apiVersion": "v1"}), "no state of Terraform"),
            (
                json!({"version": 4, "serial": 1, "resources": [{"mode": "managed", "type": "a", "name": "b",
                    "instances": [{"attributes_flat": {"id": "x"}}]}]}),
                "a.b was written by a version of Terraform before 0.12",
            ),
        ] {
            let error = error(&state);
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn both_forms_hold_the_same_resources() {
        let values = json!({"name": "a", "empty": "", "none": null, "blocks": [{"x": null}], "secret": "s3cret",
                            "labels": {"plain": "", "hidden": "s3cret"}});
        let shown = json!({"format_version": "1.0", "values": {"root_module": {"child_modules": [{
        "address": "module.m", "resources": [
            {"address": "module.m.data.t.x", "mode": "data", "type": "t", "name": "x", "values": {}},
            {"address": "module.m.t.n[\"k\"]", "mode": "managed", "type": "t", "name": "n", "index": "k", "values": values,
             "sensitive_values": {"secret": true, "labels": {"hidden": true}, "blocks": [{}]}},
            {"address": "module.m.t.n[\"k\"]", "mode": "managed", "type": "t", "name": "n", "deposed_key": "1", "values": {}},
        ]}]}}});
        let file = json!({"version": 4, "serial": 1, "lineage": "l", "resources": [
            {"module": "module.m", "mode": "data", "type": "t", "name": "x", "instances": [{"attributes": {}}]},
            {"module": "module.m", "mode": "managed", "type": "t", "name": "n", "instances": [
                {"index_key": "k", "attributes": values, "sensitive_attributes": [
                    [{"type": "get_attr", "value": "secret"}],
                    [{"type": "get_attr", "value": "labels"}, {"type": "index", "value": {"value": "hidden", "type": "string"}}],
                ]},
                {"index_key": "k", "deposed": "1", "attributes": {}},
            ]},
        ]});
        for (state, rest) in [(&shown, json!({"name": "a", "labels": {"plain": ""}})), (&file, json!({"name": "a"}))] {
            let found = read(&state.to_string()).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].address, r#"module.m.t.n["k"]"#);
            assert_eq!(Value::Object(found[0].values.clone()), rest);
            let mut sensitive = found[0].sensitive.clone();
            sensitive.sort();
            assert_eq!(sensitive, ["labels", "secret"]);
        }
    }
}
