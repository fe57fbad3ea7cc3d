//! The plan of a cluster and its node groups when none of them exists: without access to AWS. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::hints::{Hint, hints};
use super::planned::{ManifestCluster, NOT_THERE, Planned, about, cluster_graph, named, node_group_graph, owner};
use crate::api::network::{NetworkKind, Zones};
use crate::api::node_group::SubnetTier;
use crate::api::{EksCluster, EksClusterSpec};
use crate::controllers::cluster::agent::steps;
use crate::controllers::cluster::status::view;
use crate::engine::{
    Action, ExecutionPolicy, Expectations, Goal, Graph, Item, Key, Memory, Observation, Plan, Presence, Verdict, plan,
};
use crate::resources::cloud::Cloud;
use crate::resources::deletion::prune;
use crate::resources::eks::cluster;
use crate::resources::eks::node_template;
use crate::resources::graph::expand::{ClusterView, SecondNodeGroup, SubnetView};
use crate::resources::iam::role::{self, Purpose};
use crate::resources::inventory::survey::Survey;
use crate::resources::inventory::zones::RegionZones;
use crate::resources::network::{existing_network, subnet};

/// The plans of a cluster and its node groups when none of them exists.
pub fn from_nothing(wanted: &ManifestCluster<'_>) -> anyhow::Result<Vec<Planned>> {
    let ManifestCluster { cluster, groups, grant, .. } = wanted;
    let spec = &cluster.spec;
    let survey = Survey { zones: placeholder_zones(spec), ..Survey::default() };
    let owner = owner(cluster, NOT_THERE);
    let graph = cluster_graph(wanted, &owner, &survey)?;
    let plan = with_agent(plan_from_nothing(&graph, spec.role_arn.is_some()), cluster);
    // A cluster that exists already has its own subnets and version.
    let view = known_view(cluster).unwrap_or_else(|| placeholder_view(cluster, &graph));
    let planned = Planned::new(named("EksCluster", *cluster), about(cluster), graph, plan);
    let mut planned = planned.with_addons_of(spec).with_tags_of(grant, &spec.tags);
    planned
        .notices
        .extend(hints(wanted).into_iter().map(|Hint { message, advice, .. }| format!("{message}: {advice}")));
    let mut all = vec![planned];
    for group in groups {
        let graph =
            node_group_graph(group, grant, &owner, &view, (&group.node_group_name(), SecondNodeGroup::Nothing))?;
        let plan = plan_from_nothing(&graph, false);
        let planned = Planned::new(named("NodeGroup", *group), String::new(), graph, plan);
        all.push(planned.with_tags_of_group(grant, &group.spec));
    }
    Ok(all)
}

/// The plan with the agent's step, if the cluster is created too, or if the status of its object shows what an existing
/// agent was brought to.
pub fn with_agent(mut plan: Plan, cluster: &EksCluster) -> Plan {
    let is_made = plan.steps().any(|(key, step)| *key == cluster::key() && step.action == Action::Create);
    let gitops = cluster.spec.gitops.as_ref();
    let step = match &cluster.status {
        _ if is_made => steps::step(&steps::desired(gitops, None, false).fields, None),
        None => None,
        Some(status) => {
            let applied = steps::applied(status);
            let of_git = status.gitops.as_ref().is_some_and(|gitops| gitops.adopted);
            steps::step(&steps::desired(gitops, applied.as_ref(), of_git).fields, applied.as_ref())
        }
    };
    let step = step.filter(|step| step.action != Action::Update || !step.changes.is_empty());
    let item =
        |step| Item { key: steps::key(), verdict: Verdict::Step(step), forbidden: Vec::new(), drift: Vec::new() };
    plan.items.extend(step.map(item));
    plan
}

/// What node groups see of a cluster that exists, from its status.
fn known_view(cluster: &EksCluster) -> Option<ClusterView> {
    cluster.status.as_ref()?;
    Some(view::view(cluster)).filter(|view| !view.subnets.is_empty())
}

/// An account's zones are known only in AWS; nearly everywhere they have these names.
fn placeholder_zones(spec: &EksClusterSpec) -> RegionZones {
    if let Ok(NetworkKind::Vpc(vpc)) = spec.network.kind()
        && let Zones::Named(names) = vpc.zones()
    {
        return RegionZones { available: names.to_vec(), ..RegionZones::default() };
    }
    let available = ('a'..='f').map(|letter| format!("{}{letter}", spec.region)).collect();
    RegionZones { available, ..RegionZones::default() }
}

/// What node groups would see of the cluster once it exists, with ids unknown.
fn placeholder_view(cluster: &EksCluster, graph: &Graph<Cloud>) -> ClusterView {
    let subnets =
        graph.nodes().iter().map(|node| node.key()).filter(|key| subnet::KIND.is_of(key) && !subnet::is_for_pods(key));
    let subnet = |key: Key| {
        let (tier, zone) = key.name().split_once('/')?;
        let tier = if tier == "public" { SubnetTier::Public } else { SubnetTier::Private };
        Some(SubnetView { id: key.to_string(), zone: zone.to_owned(), tier, cidr: None })
    };
    ClusterView {
        cluster_name: cluster.cluster_name(),
        version: Some(cluster.spec.version.clone()),
        subnets: subnets.filter_map(subnet).collect(),
        node_role_arn: Some("role/node".to_owned()),
        node_template: node_template::Cluster::new(
            cluster.cluster_name(),
            Some("the cluster's".to_owned()),
            (Some(String::new()), Some(String::new()), Some(String::new())),
        ),
        not_ready: None,
        tags: cluster.spec.tags.clone(),
    }
}

/// What node groups would see of the cluster once it exists.
///
/// # Errors
/// Its graph cannot be built.
pub fn view_from_nothing(wanted: &ManifestCluster<'_>) -> anyhow::Result<ClusterView> {
    let spec = &wanted.cluster.spec;
    let survey = Survey { zones: placeholder_zones(spec), ..Survey::default() };
    let owner = owner(wanted.cluster, NOT_THERE);
    Ok(placeholder_view(wanted.cluster, &cluster_graph(wanted, &owner, &survey)?))
}

/// The plan when nothing exists except what the spec says exists.
fn plan_from_nothing(graph: &Graph<Cloud>, external_role: bool) -> Plan {
    let now = Timestamp::now();
    let mut memory = Memory::new(now, Duration::ZERO, []);
    for node in graph.nodes() {
        let key = node.key();
        let external = key == existing_network::key() || (external_role && key == role::key(Purpose::Cluster));
        let presence = if external || prune::is_never_created(&key) {
            Presence::External(Observation::ready("given", "given", Arc::new(()) as _))
        } else {
            Presence::Absent
        };
        memory.record_observation(&key, presence, now);
    }
    plan(graph, &memory, Goal::Present, &ExecutionPolicy::default(), &Expectations::default(), now)
}
