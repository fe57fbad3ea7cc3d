//! `keelson plan`: previews the plan of a manifest, from nothing, or with `--live` from the state of AWS.

pub mod live;
pub mod manifest;
pub mod print;
mod rules;
mod schema;
pub mod style;
mod timeline;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::agents::validate::SourcePolicy;
use crate::api::network::{NetworkKind, Zones};
use crate::api::policy::AdoptionPolicy;
use crate::api::{EksCluster, NodeGroup};
use crate::controllers::account::{self, Grant, Request, named, owned};
use crate::controllers::cluster::agent::steps;
use crate::controllers::cluster::validate;
use crate::controllers::node_group;
use crate::engine::{
    Action, ExecutionPolicy, Expectations, Goal, Graph, Item, Key, Memory, Observation, Plan, Presence, Verdict, plan,
};
use crate::resources::cloud::{Cloud, Intervals, Owner};
use crate::resources::deletion::prune;
use crate::resources::eks::node_group::Target;
use crate::resources::graph::adoption::Adoption;
use crate::resources::graph::expand::{
    self, ClusterInput, ClusterView, NodeGroupInput, NodeRole, Nodes, SubnetView, Versions,
};
use crate::resources::inventory::survey::Survey;
use crate::resources::inventory::zones::{self, RegionZones};
use manifest::Manifest;

/// Flags of `keelson plan`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The manifest: YAML documents of EksCluster, NodeGroup and AwsAccount; `-` reads standard input.
    #[arg(short, long)]
    filename: PathBuf,
    /// Compare with AWS, read-only: with the credentials of the environment, or the AwsAccount in the file.
    #[arg(long)]
    live: bool,
    /// Allow http:// and loopback Git sources, like the operator's flag of the same name.
    #[arg(long, env = "KEELSON_ALLOW_HTTP_GIT")]
    allow_http_git: bool,
}

/// A cluster with its node groups, from the manifest.
pub struct Wanted<'m> {
    /// The EksCluster.
    pub cluster: &'m EksCluster,
    /// The NodeGroups that refer to it.
    pub groups: Vec<&'m NodeGroup>,
    /// The access to its account.
    pub grant: Grant,
}

/// A graph and its plan.
pub struct Planned {
    /// `EksCluster default/demo`.
    pub title: String,
    /// A one-line description.
    pub about: String,
    /// The resources that must exist.
    pub graph: Graph<Cloud>,
    /// The remaining steps.
    pub plan: Plan,
    /// The steps of an upgrade, in order: each starts when those before it are done.
    pub upgrade: Vec<String>,
    /// What stops nothing and is worth knowing.
    pub notices: Vec<String>,
}

/// Prints the plan.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let text = super::read(&args.filename)?;
    let manifest = Manifest::parse(&text)?;
    let sources = SourcePolicy { allow_http: args.allow_http_git };
    let wanted = wanted(&manifest, sources)?;
    let mut out = String::new();
    for note in &manifest.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    if args.live {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for cluster in &wanted {
            let planned = runtime.block_on(live::plan(cluster))?;
            print::cluster(&mut out, &planned, true);
        }
    } else {
        for cluster in &wanted {
            print::cluster(&mut out, &from_nothing(cluster)?, false);
        }
    }
    super::print(&out)
}

/// Whether the operator would accept the objects, as far as that can be decided without AWS and the API server.
pub fn check(manifest: &str) -> anyhow::Result<()> {
    wanted(&Manifest::parse(manifest)?, SourcePolicy::default()).map(drop)
}

/// The clusters of the manifest, each validated as the operator would.
pub fn wanted(manifest: &Manifest, sources: SourcePolicy) -> anyhow::Result<Vec<Wanted<'_>>> {
    anyhow::ensure!(!manifest.clusters.is_empty(), "there is no EksCluster in the manifest");
    let mut all = Vec::new();
    for cluster in &manifest.clusters {
        let name = named("EksCluster", cluster);
        let refused = |refusal: account::Refusal| anyhow::anyhow!("{name}: {}", refusal.message);
        validate::validate(&cluster.spec, sources).map_err(refused)?;
        let find = |name: &str| manifest.account(name).map(|account| account.spec.clone());
        let request = Request::of(cluster);
        let grant = if manifest.account(cluster.spec.account_name()).is_some() {
            let grant = account::grant(&request, false, find).map_err(refused)?;
            grant.check_adoption(&request).map_err(refused)?;
            grant
        } else {
            // The limits of its AwsAccount are unknown here.
            let adopt = cluster.spec.adoption_policy == AdoptionPolicy::Adopt;
            let adoption = if adopt { Adoption::AllowedWithRetained } else { Adoption::Forbidden };
            Grant { adoption, ..Grant::ambient() }
        };
        // Who owns the other resources that they name, only AWS shows.
        owned::check(&grant, &named::by_cluster(&cluster.spec)).map_err(refused)?;
        let refers = |group: &&NodeGroup| {
            group.namespace() == cluster.namespace() && group.spec.cluster_ref.name == cluster.name_any()
        };
        let groups: Vec<_> = manifest.groups.iter().filter(refers).collect();
        for group in &groups {
            let name = named("NodeGroup", *group);
            let refused = |refusal: account::Refusal| anyhow::anyhow!("{name}: {}", refusal.message);
            node_group::valid(group).map_err(refused)?;
            owned::check(&grant, &named::by_node_group(&group.spec)).map_err(refused)?;
        }
        all.push(Wanted { cluster, groups, grant });
    }
    Ok(all)
}

/// `EksCluster default/demo`.
pub fn named<K: ResourceExt>(kind: &str, object: &K) -> String {
    format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// The UID of an object that does not exist yet.
const NOT_THERE: &str = "not-there-yet";

/// The plans of a cluster and its node groups when none of them exists.
pub fn from_nothing(wanted: &Wanted<'_>) -> anyhow::Result<Vec<Planned>> {
    let Wanted { cluster, groups, grant } = wanted;
    let spec = &cluster.spec;
    let survey = Survey { zones: placeholder_zones(spec), ..Survey::default() };
    let owner = owner(cluster, NOT_THERE);
    let graph = cluster_graph(wanted, &owner, &survey)?;
    let plan = with_agent(plan_from_nothing(&graph, spec.role_arn.is_some()), spec);
    let view = placeholder_view(cluster, &graph);
    let (title, upgrade) = (named("EksCluster", *cluster), Vec::new());
    let mut all = vec![Planned { title, about: about(cluster), graph, plan, upgrade, notices: Vec::new() }];
    for group in groups {
        let graph = node_group_graph(group, grant, &owner, &view)?;
        let plan = plan_from_nothing(&graph, false);
        let (title, about, upgrade) = (named("NodeGroup", *group), String::new(), Vec::new());
        all.push(Planned { title, about, graph, plan, upgrade, notices: Vec::new() });
    }
    Ok(all)
}

/// The plan with the agent's step, if the cluster is created too: only the status of its object shows what an
/// existing agent was brought to.
fn with_agent(mut plan: Plan, spec: &crate::api::EksClusterSpec) -> Plan {
    let is_made = plan.steps().any(|(key, step)| *key == Key::single("cluster") && step.action == Action::Create);
    let step = steps::step(&steps::wanted(spec.gitops.as_ref(), None, false).fields, None).filter(|_| is_made);
    let item =
        |step| Item { key: steps::key(), verdict: Verdict::Step(step), forbidden: Vec::new(), drift: Vec::new() };
    plan.items.extend(step.map(item));
    plan
}

pub fn about(cluster: &EksCluster) -> String {
    let name = cluster.cluster_name();
    format!("{name} in {}, Kubernetes {}", cluster.spec.region, cluster.spec.version)
}

fn owner(cluster: &EksCluster, uid: &str) -> Owner {
    let name = format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
    Owner { uid: uid.to_owned(), cluster: name, ..Owner::default() }
}

/// An account's zones are known only in AWS; nearly everywhere they have these names.
fn placeholder_zones(spec: &crate::api::EksClusterSpec) -> RegionZones {
    if let Ok(NetworkKind::Vpc(vpc)) = spec.network.kind()
        && let Zones::Named(names) = vpc.zones()
    {
        return RegionZones { available: names.to_vec(), ..RegionZones::default() };
    }
    let available = ('a'..='f').map(|letter| format!("{}{letter}", spec.region)).collect();
    RegionZones { available, ..RegionZones::default() }
}

/// The graph that the operator would build.
pub fn cluster_graph(wanted: &Wanted<'_>, owner: &Owner, survey: &Survey) -> anyhow::Result<Graph<Cloud>> {
    let Wanted { cluster, groups, grant } = wanted;
    let spec = &cluster.spec;
    let zones = match spec.network.kind()? {
        NetworkKind::Vpc(vpc) => zones::choose_zones(vpc, &survey.zones, &survey.owned)?,
        NetworkKind::Existing(_) => Vec::new(),
    };
    let nodes = if groups.is_empty() {
        Nodes::NoneExpected("it needs nodes, and no NodeGroup in the manifest refers to this cluster".to_owned())
    } else {
        Nodes::Ready
    };
    let graph = expand::cluster(&ClusterInput {
        spec,
        cluster_name: &cluster.cluster_name(),
        owner,
        account: &grant.settings,
        zones: &zones,
        node_role: &NodeRole::of(groups.iter().map(|group| &group.spec)),
        nodes,
        node_groups_left: &[],
        owned: &survey.owned,
        tag_keys: &[],
        used_roles: &[],
        removes: Some(&survey.owned_ids),
        volumes_since: None,
        versions: &Versions::default(),
        intervals: Intervals::default(),
    });
    graph.with_context(|| named("EksCluster", *cluster))
}

/// The graph that the operator would build for a node group.
pub fn node_group_graph(
    group: &NodeGroup,
    grant: &Grant,
    owner: &Owner,
    view: &ClusterView,
) -> anyhow::Result<Graph<Cloud>> {
    let tags = expand::check_tag_count(&expand::node_group_tags(&group.spec, view, &grant.settings));
    let input = NodeGroupInput {
        spec: &group.spec,
        node_group_name: &group.node_group_name(),
        owner,
        account: &grant.settings,
        cluster: view,
        target: Target::at_once(&group.spec),
        exists: owner.uid != NOT_THERE,
        tag_keys: &[],
        intervals: Intervals::default(),
    };
    tags.and_then(|()| expand::node_group(&input)).with_context(|| named("NodeGroup", group))
}

/// What node groups would see of the cluster once it exists, with ids unknown.
fn placeholder_view(cluster: &EksCluster, graph: &Graph<Cloud>) -> ClusterView {
    use crate::api::node_group::SubnetTier;
    let subnets = graph.nodes().iter().map(|node| node.key()).filter(|key| key.kind() == "subnet");
    let subnet = |key: Key| {
        let (tier, zone) = key.name().split_once('/')?;
        let tier = if tier == "public" { SubnetTier::Public } else { SubnetTier::Private };
        Some(SubnetView { id: key.to_string(), zone: zone.to_owned(), tier })
    };
    ClusterView {
        cluster_name: cluster.cluster_name(),
        version: Some(cluster.spec.version.clone()),
        subnets: subnets.filter_map(subnet).collect(),
        node_role_arn: Some("role/node".to_owned()),
        not_ready: None,
        tags: cluster.spec.tags.clone(),
    }
}

/// What node groups would see of the cluster once it exists.
///
/// # Errors
/// Its graph cannot be built.
pub fn view_from_nothing(wanted: &Wanted<'_>) -> anyhow::Result<ClusterView> {
    let spec = &wanted.cluster.spec;
    let survey = Survey { zones: placeholder_zones(spec), ..Survey::default() };
    let owner = owner(wanted.cluster, "not-there-yet");
    Ok(placeholder_view(wanted.cluster, &cluster_graph(wanted, &owner, &survey)?))
}

/// The plan when nothing exists except what the spec says exists.
fn plan_from_nothing(graph: &Graph<Cloud>, external_role: bool) -> Plan {
    let now = Timestamp::now();
    let mut memory = Memory::new(now, Duration::ZERO, []);
    for node in graph.nodes() {
        let key = node.key();
        let external = key.kind() == "existingNetwork" || (external_role && key == Key::named("role", "cluster"));
        let presence = if external || prune::is_never_created(&key) {
            Presence::External(Observation::ready("given", "given", Arc::new(()) as _))
        } else {
            Presence::Absent
        };
        memory.record_observation(&key, presence, now);
    }
    plan(graph, &memory, Goal::Present, &ExecutionPolicy::default(), &Expectations::default(), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(path: &str) -> String {
        let text = std::fs::read_to_string(format!("{}/examples/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let manifest = Manifest::parse(&text).unwrap();
        let mut out = String::new();
        for cluster in wanted(&manifest, SourcePolicy::default()).unwrap() {
            print::cluster(&mut out, &from_nothing(&cluster).unwrap(), false);
        }
        anstream::adapter::strip_str(&out).to_string()
    }

    #[test]
    fn plan_of_the_minimal_manifest() {
        insta::assert_snapshot!(planned("minimal.yaml"));
    }

    #[test]
    fn plan_on_an_existing_network_creates_no_network() {
        let text = planned("existing-network.yaml");
        assert!(!text.contains("VPC") && text.contains("control plane"), "{text}");
    }

    #[test]
    fn every_example_cluster_has_a_plan() {
        fn manifests(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    manifests(&path, found);
                } else if path.extension().is_some_and(|extension| extension == "yaml") {
                    found.push(path);
                }
            }
        }
        let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"));
        let mut found = Vec::new();
        manifests(folder, &mut found);
        let has_cluster = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path).unwrap().lines().any(|line| line == "kind: EksCluster")
        };
        found.retain(has_cluster);
        assert!(found.len() >= 7, "{found:?}");
        for path in found {
            let text = planned(path.strip_prefix(folder).unwrap().to_str().unwrap());
            assert!(text.contains("control plane"), "{}: {text}", path.display());
        }
    }

    #[test]
    fn specs_that_the_operator_refuses_are_refused() {
        let manifest = |change: fn(&str) -> String| {
            let text =
                std::fs::read_to_string(format!("{}/examples/minimal.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap();
            Manifest::parse(&change(&text)).and_then(|m| wanted(&m, SourcePolicy::default()).map(drop))
        };
        let refused = |change| manifest(change).unwrap_err().to_string();
        let url = refused(|text| text.replace("https://github.com/acme/fleet", "file:///etc"));
        assert!(url.contains("spec.gitops.flux.source.git.url"), "{url}");
        let scaling = refused(|text| text.replace("min: 2, max: 4", "min: 5, max: 4"));
        assert!(scaling.contains("NodeGroup default/demo-default: spec.scaling"), "{scaling}");
        let unsupported =
            refused(|text| text.replace("  version:", "  writeKubeconfigToSecretRef: {name: x}\n  version:"));
        assert!(unsupported.contains("spec.writeKubeconfigToSecretRef"), "{unsupported}");
    }
}
