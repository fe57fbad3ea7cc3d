//! `keelson import --name` and `--all`: the manifest of existing clusters, whose plan is to adopt them unchanged.
//! I/O: reads from AWS, with the credentials of the environment; standard output and standard error.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::next_steps::Needs;
use super::{Placing, defaults, names, write};
use crate::aws::{Identity, Session};
use crate::cli::reading;
use crate::controllers::account::named;
use crate::resources::inventory::{self, Inventory, Note, node_group};

/// The clusters to import.
pub enum Which<'a> {
    /// The cluster of that name in EKS.
    Named(&'a str),
    /// Every cluster of the region.
    All,
}

/// Prints the manifest, and on standard error what it leaves out.
pub fn run(region: &str, which: &Which<'_>, placing: &Placing) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clusters = runtime.block_on(read(region, which))?;
    if clusters.is_empty() {
        crate::cli::note(&format!("no clusters to import in {region}"));
        return Ok(());
    }
    let (mut taken, mut needs) = (BTreeSet::new(), Needs::default());
    let manifest: Vec<_> = clusters
        .iter()
        .map(|cluster| manifest(cluster, region, placing, (&mut taken, &mut needs)))
        .collect::<Result<_, _>>()?;
    let manifest = manifest.join("---\n");
    crate::cli::print_document(&manifest)?;
    crate::cli::plan::check(&manifest).context("the manifest is invalid: correct it before you apply it")?;
    // Last, and not in the file, where nobody reads it before applying it.
    crate::cli::note(&needs.describe(placing));
    Ok(())
}

async fn read(region: &str, which: &Which<'_>) -> anyhow::Result<Vec<Inventory>> {
    let aws = reading::session(&Identity::ambient(), region).await?;
    match which {
        Which::Named(name) => {
            let cluster = one(&aws, name).await?;
            if let Some(owner) = cluster.owner() {
                bail!(
                    "cluster {name} belongs to {owner}: it already has a manifest. If that object no longer exists, \
                     apply it again under its name and run keelson recover; or first remove the tags \
                     keelson.dev/owner, keelson.dev/cluster and keelson.dev/resource of the cluster and its resources"
                );
            }
            Ok(vec![cluster])
        }
        Which::All => {
            let mut found = Vec::new();
            for name in inventory::clusters(&aws).await? {
                let cluster = one(&aws, &name).await?;
                match cluster.owner() {
                    Some(owner) => crate::cli::note(&format!("cluster {name} is left out: it belongs to {owner}")),
                    None => found.push(cluster),
                }
            }
            Ok(found)
        }
    }
}

async fn one(aws: &Session, name: &str) -> anyhow::Result<Inventory> {
    inventory::read(aws, name).await.with_context(|| format!("cluster {name} cannot be read"))
}

/// The documents of a cluster and its node groups. `taken`: object names that are already in use; `needs`: what its
/// AwsAccount must allow.
fn manifest(
    of: &Inventory,
    region: &str,
    placing: &Placing,
    (taken, needs): (&mut BTreeSet<(&'static str, String)>, &mut Needs),
) -> anyhow::Result<String> {
    let (spec, mut notes) = inventory::cluster::spec(of, region);
    needs.add_cluster(of.name(), of.vpc());
    needs.add(named::by_cluster(&spec));
    let name = free_name(names::object_name(of.name()), "EksCluster", taken);
    let mut spec = serde_json::to_value(spec)?;
    if name != of.name() {
        spec["clusterName"] = of.name().into();
    }
    if let Some(account) = &placing.account_ref {
        spec["accountRef"] = json!({"name": account});
    }
    let mut objects = vec![object("EksCluster", &name, placing, spec)];
    for group in node_group::convert_all(of, &name) {
        notes.extend(group.notes);
        let Some(spec) = group.spec else { continue };
        needs.add(named::by_node_group(&spec));
        let object_name = free_name(names::node_group_name(&name, &group.name), "NodeGroup", taken);
        let mut spec = serde_json::to_value(spec)?;
        if object_name != group.name {
            spec["nodeGroupName"] = group.name.into();
        }
        objects.push(object("NodeGroup", &object_name, placing, spec));
    }
    for object in &mut objects {
        defaults::remove_defaults(object)?;
    }
    for note in &notes {
        crate::cli::note(&format!("{}: {note}", of.name()));
    }
    write::manifest(&comments(of, &notes), &objects)
}

fn comments(of: &Inventory, notes: &[Note]) -> Vec<String> {
    let about = format!(
        "{}, by `keelson import`. `keelson plan -f FILE --live` shows the result: nothing is created, updated or \
         deleted, only adopted.",
        of.arn()
    );
    let account = "Its AwsAccount must allow that: spec.adoption, with policy: Allow.".to_owned();
    [about, account].into_iter().chain(notes.iter().map(ToString::to_string)).collect()
}

fn object(kind: &str, name: &str, placing: &Placing, spec: Value) -> Value {
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

    #[test]
    fn manifest_of_an_unusual_cluster() {
        let placing = Placing { namespace: Some("team".into()), account_ref: Some("prod".into()) };
        let (mut taken, mut needs) = Default::default();
        let text = manifest(&inventory::odd(), "eu-west-1", &placing, (&mut taken, &mut needs)).unwrap();
        insta::assert_snapshot!(text);
        crate::cli::plan::check(&text).unwrap();
    }
}
