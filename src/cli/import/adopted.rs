//! The objects that adopt a cluster as it is: an EksCluster, and a NodeGroup for each managed node group. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::next_steps::Needs;
use super::{ObjectPlacement, defaults, object_names};
use crate::controllers::account::named;
use crate::resources::inventory::{self, Inventory, Note, node_group_spec};

/// What several clusters share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Kinds and names of objects that exist already.
    taken: BTreeSet<(&'static str, String)>,
    /// What the AwsAccount must allow.
    pub needs: Needs,
}

/// The objects of a cluster.
pub struct Adopted {
    /// The EksCluster, then its NodeGroups.
    pub objects: Vec<Value>,
    /// Names in EKS of the node groups that have an object.
    pub node_groups: BTreeSet<String>,
    /// What the objects do not cover.
    pub notes: Vec<Note>,
}

/// The objects of a cluster and its node groups, without the API's defaults.
///
/// # Errors
/// An object that is no JSON.
pub fn objects(
    of: &Inventory,
    region: &str,
    placing: &ObjectPlacement,
    shared: &mut Shared,
) -> anyhow::Result<Adopted> {
    let (spec, mut notes) = inventory::cluster_spec::spec(of, region);
    let Shared { taken, needs } = shared;
    needs.add_cluster(of.name(), of.vpc());
    needs.add(named::by_cluster(&spec));
    let name = free_name(object_names::object_name(of.name()), "EksCluster", taken);
    let mut spec = serde_json::to_value(spec)?;
    if name != of.name() {
        spec["clusterName"] = of.name().into();
    }
    if let Some(account) = &placing.account_ref {
        spec["accountRef"] = json!({"name": account});
    }
    let mut objects = vec![object("EksCluster", &name, placing, spec)];
    let mut node_groups = BTreeSet::new();
    for group in node_group_spec::convert_all(of, &name) {
        notes.extend(group.notes);
        let Some(spec) = group.spec else { continue };
        needs.add(named::by_node_group(&spec));
        let object_name = free_name(object_names::node_group_name(&name, &group.name), "NodeGroup", taken);
        let mut spec = serde_json::to_value(spec)?;
        if object_name != group.name {
            spec["nodeGroupName"] = group.name.as_str().into();
        }
        objects.push(object("NodeGroup", &object_name, placing, spec));
        node_groups.insert(group.name);
    }
    for object in &mut objects {
        defaults::remove_defaults(object)?;
    }
    Ok(Adopted { objects, node_groups, notes })
}

/// The first comments above the objects: `source` says where they are from.
pub fn comments(of: &Inventory, source: &str) -> Vec<String> {
    let about = format!(
        "{}, {source}. `keelson plan -f FILE --live` shows the result: nothing is created, updated or deleted, only \
         adopted.",
        of.arn()
    );
    vec![about, "Its AwsAccount must allow that: spec.adoption, with policy: Allow.".to_owned()]
}

fn object(kind: &str, name: &str, placing: &ObjectPlacement, spec: Value) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = &placing.namespace {
        metadata["namespace"] = namespace.as_str().into();
    }
    json!({"apiVersion": "keelson.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// The name, or a similar free one: EKS distinguishes `Demo` from `demo`, and Kubernetes accepts only one of them.
fn free_name(name: String, kind: &'static str, taken: &mut BTreeSet<(&'static str, String)>) -> String {
    let candidates = (2..).map(|number| format!("{name}-{number}"));
    let name = [name.clone()].into_iter().chain(candidates).find(|name| !taken.contains(&(kind, name.clone())));
    let name = name.unwrap_or_default();
    taken.insert((kind, name.clone()));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_names_are_unique() {
        let mut taken = BTreeSet::new();
        let names: Vec<_> =
            ["demo", "demo", "demo-2"].map(|name| free_name(name.into(), "EksCluster", &mut taken)).into();
        assert_eq!(names, ["demo", "demo-2", "demo-2-2"]);
        assert_eq!(free_name("demo".into(), "NodeGroup", &mut taken), "demo");
    }
}
