//! `keelson import --capa`: the manifest of clusters that Cluster API for AWS manages, whose plan is to adopt them unchanged; and how Cluster
//! API releases them. I/O: the file, standard output and standard error.
//!
//! AWS is not asked: the objects say what there is. They become descriptions in EKS's notation, and these the same objects that
//! `keelson import --name` writes.

mod control_plane;
mod eks_names;
mod machine_pool;
mod next;
mod object;
mod own_fields;
mod roles;
mod subnets;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::ObjectPlacement;
use super::adopted::{self, Shared};
use super::converted::Converted;
use super::section::{self, Report, Section};
use crate::resources::inventory::described::{self, Description};
use object::Object;
use own_fields::CLUSTER_API;
use roles::Roles;

/// What the user decides beside the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only the cluster of that name in EKS.
    pub name: Option<String>,
    /// The id of the AWS account, if no ARN in the file has it.
    pub account_id: Option<String>,
}

/// Prints the manifest, and on standard error what is not converted and what to do next.
pub fn run(path: &Path, placing: &ObjectPlacement, options: &Options) -> anyhow::Result<()> {
    let text = crate::cli::read(path)?;
    let converted = convert(&text, placing, options).with_context(|| path.display().to_string())?;
    converted.print()
}

fn convert(text: &str, placing: &ObjectPlacement, options: &Options) -> anyhow::Result<Converted> {
    let (objects, others) = object::read(text)?;
    let planes: Vec<_> = objects.iter().filter(|object| object.kind == "AWSManagedControlPlane").collect();
    if planes.is_empty() {
        bail!("holds no AWSManagedControlPlane: {}", why_no_cluster(&objects));
    }
    let (mut shared, mut converted, mut used) = (Shared::default(), Converted::default(), Vec::new());
    let wanted = |plane: &&&Object| options.name.as_deref().is_none_or(|name| name_of(plane).as_deref() == Some(name));
    for plane in planes.iter().filter(wanted) {
        let report = RefCell::new(Report::default());
        let parts = Parts::of(plane, &objects);
        let (description, region) = describe(&parts, options, &report);
        let report = report.into_inner();
        if !report.wrong.is_empty() {
            bail!("nothing is converted:\n{}", section::describe(&report.wrong));
        }
        let inventory = described::inventory(&description);
        let adopted = adopted::objects(&inventory, &region, placing, &mut shared)?;
        converted.add(&inventory, &adopted, &report, "from objects of Cluster API, by `keelson import --capa`")?;
        used.extend(parts.all());
    }
    if converted.manifest.is_empty() {
        let names: Vec<_> = planes.iter().filter_map(|plane| name_of(plane)).collect();
        bail!("holds no cluster {}; it holds {}", options.name.as_deref().unwrap_or_default(), names.join(", "));
    }
    converted.remarks.extend(left(&objects, &others, &used, options));
    converted.next = next::describe(&used, &shared.needs, placing);
    Ok(converted)
}

/// Why a file without a control plane of EKS is not converted, and what to do.
fn why_no_cluster(objects: &[Object]) -> &'static str {
    let has = |kind: &str| objects.iter().any(|object| object.kind == kind);
    if has("ClusterClass") || has("AWSManagedControlPlaneTemplate") {
        "pass the objects that Cluster API created from this ClusterClass, as kubectl get -o yaml prints them"
    } else if has("AWSManagedMachinePool") {
        "pass that of the node groups in the same file"
    } else {
        "only clusters of EKS can be converted, not those on EC2 (AWSCluster)"
    }
}

/// The objects of a cluster.
struct Parts<'o> {
    plane: &'o Object,
    cluster: Option<&'o Object>,
    infrastructure: Option<&'o Object>,
    /// Each with its MachinePool.
    pools: Vec<(&'o Object, Option<&'o Object>)>,
    profiles: Vec<&'o Object>,
    identities: Vec<&'o Object>,
}

impl<'o> Parts<'o> {
    fn of(plane: &'o Object, objects: &'o [Object]) -> Self {
        let here =
            |kind: &'static str| objects.iter().filter(move |one| one.kind == kind && one.namespace == plane.namespace);
        let cluster = here("Cluster").find(|one| one.text("/controlPlaneRef/name") == plane.name);
        let name = cluster.map_or(plane.cluster_name(), |cluster| cluster.name.as_str());
        // With one control plane, whatever does not say its cluster belongs to it.
        let alone = here("AWSManagedControlPlane").count() == 1;
        let belongs =
            |one: &Object| one.cluster_name() == name && !name.is_empty() || alone && one.cluster_name().is_empty();
        let pool_of = |one: &Object| {
            here("MachinePool").find(|pool| {
                pool.text("/template/spec/infrastructureRef/name") == one.name
                    && pool.text("/template/spec/infrastructureRef/kind") == one.kind
            })
        };
        let pools = here("AWSManagedMachinePool").map(|one| (one, pool_of(one)));
        let pools = pools.filter(|(one, pool)| pool.map_or_else(|| belongs(one), belongs)).collect();
        let infrastructure = here("AWSManagedCluster");
        let named = cluster.map_or("", |cluster| cluster.text("/infrastructureRef/name"));
        Self {
            plane,
            cluster,
            infrastructure: infrastructure
                .into_iter()
                .find(|one| one.name == named || named.is_empty() && belongs(one)),
            pools,
            profiles: here("AWSFargateProfile").filter(|one| belongs(one)).collect(),
            identities: objects
                .iter()
                .filter(|one| one.kind == "AWSClusterRoleIdentity" && one.name == plane.text("/identityRef/name"))
                .collect(),
        }
    }

    fn all(&self) -> Vec<&'o Object> {
        let pools = self.pools.iter().flat_map(|(one, pool)| [Some(*one), *pool]).flatten();
        let single = [Some(self.plane), self.cluster, self.infrastructure].into_iter().flatten();
        single.chain(pools).chain(self.profiles.iter().copied()).collect()
    }
}

/// The name in EKS.
fn name_of(plane: &Object) -> Option<String> {
    match plane.text("/eksClusterName") {
        "" => eks_names::in_eks(plane, eks_names::CLUSTER),
        name => Some(name.to_owned()),
    }
}

/// A cluster in EKS's notation, and its region.
fn describe(parts: &Parts<'_>, options: &Options, report: &RefCell<Report>) -> (Description, String) {
    let root = |of: &Object| {
        // Longer paths name the member of the spec.
        Section::root(&format!("{}.spec", of.path()), of.spec.clone(), report, &CLUSTER_API)
    };
    let plane = parts.plane;
    let region = plane.text("/region").to_owned();
    let spec = root(plane);
    if region.is_empty() {
        spec.report_mistake("region", "is missing");
    }
    let name = name_of(plane).unwrap_or_else(|| {
        spec.report_mistake("eksClusterName", eks_names::HASHED);
        String::new()
    });
    let roles = Roles::new(options.account_id.as_deref(), &region, plane, &parts.identities);
    let (mut description, network) = control_plane::describe(spec, (plane, parts.cluster), (&name, &region), &roles);
    let groups = parts
        .pools
        .iter()
        .filter_map(|(one, pool)| machine_pool::node_group(root(one), (one, *pool), &network, &roles));
    description.node_groups = groups.collect();
    let profiles = parts.profiles.iter().map(|one| machine_pool::fargate_profile(root(one), one, &network, &roles));
    description.fargate_profiles = profiles.collect();
    (description, region)
}

/// What is in the file and in no cluster that is converted.
fn left(objects: &[Object], others: &[String], used: &[&Object], options: &Options) -> Vec<String> {
    let is_used = |one: &Object| used.iter().any(|used| used.path() == one.path() && used.namespace == one.namespace);
    let why = |one: &Object| match one.kind.as_str() {
        "AWSMachinePool" | "AWSMachine" | "MachineDeployment" | "MachineSet" | "Machine" | "AWSMachineTemplate" => {
            "its nodes are self-managed: replace them with a NodeGroup"
        }
        "MachinePool" => "its nodes are self-managed, or its AWSManagedMachinePool is not in the file",
        "AWSClusterRoleIdentity" | "AWSClusterStaticIdentity" | "AWSClusterControllerIdentity" => {
            "an AwsAccount says which credentials Keelson uses"
        }
        _ => "belongs to no cluster that is converted",
    };
    let mut lines: Vec<_> = objects
        .iter()
        .filter(|one| !is_used(one) && options.name.is_none())
        .map(|one| format!("not converted: {}: {}", one.path(), why(one)))
        .collect();
    lines.extend(others.iter().map(|other| format!("not converted: {other}")));
    lines
}
