//! `keelson plan --live`: the plan against the state of AWS, without the ability to write. I/O: reads from AWS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use super::{NOT_THERE, Planned, Wanted, about, cluster_graph, named, node_group_graph, owner, with_agent};
use crate::api::conditions::ConditionType;
use crate::api::status::NodeGroupStatus;
use crate::api::{EksCluster, NodeGroup};
use crate::cli::reading;
use crate::controllers::cluster::status::facts::Facts;
use crate::controllers::cluster::status::notices;
use crate::controllers::cluster::upgrade::observation::{self, Read};
use crate::controllers::status::journal::NoJournal;
use crate::engine::execute::{Run, preview};
use crate::engine::{ExecutionPolicy, Expectations, Goal, Graph, Memory, Plan};
use crate::resources::aws_validation::{self, Stage};
use crate::resources::cloud::{Cloud, Intervals, Owner};
use crate::resources::eks::{node_group, upgrade_data};
use crate::resources::graph::adoption::Existing;
use crate::resources::graph::expand::{ClusterView, SubnetView};
use crate::resources::graph::proof::Records;
use crate::resources::inventory::survey;
use crate::upgrade::{Clock, Decision, Soaked, WindowState, decide, remaining_steps};

/// The plans of a cluster and its node groups against the state of AWS.
pub async fn plan(wanted: &Wanted<'_>) -> anyhow::Result<Vec<Planned>> {
    let Wanted { cluster, groups, grant } = wanted;
    let aws = reading::session(&grant.identity, &cluster.spec.region).await?;
    let unknown = owner(cluster, NOT_THERE);
    let (intervals, client_token_seed, adoption) = (Intervals::default(), String::new(), grant.adoption);
    // It never writes, and knows no status.
    let existing = Existing::default();
    let mut cloud = Cloud { aws, owner: unknown, intervals, client_token_seed, adoption, trusts_tags: true, existing };
    let owner_uid = survey::find_owner(&cloud.aws, &cloud.owner.cluster, &cluster.cluster_name()).await?;
    let stage = if owner_uid.is_some() { Stage::Edited } else { Stage::New };
    if let Some(uid) = owner_uid {
        cloud.owner.roles = survey::find_roles(&cloud.aws, &uid).await?;
        cloud.owner.uid = uid;
    }
    let boundary = grant.settings.permissions_boundary.as_deref();
    let claims = aws_validation::of_cluster(&cluster.spec, stage, boundary);
    aws_validation::check(&cloud.aws, &claims).await.with_context(|| named("EksCluster", *cluster))?;
    let survey = survey::survey(&cloud, Duration::ZERO, &Records::default()).await?;
    let graph = cluster_graph(wanted, &cloud.owner, &survey)?;
    let (plan, memory) = options(&graph, &cloud).await;
    let plan = with_agent(plan, &cluster.spec);
    let view = view(cluster, &memory);
    let (mut observed, mut of_groups) = (Vec::new(), Vec::new());
    for group in groups {
        let name = group.node_group_name();
        let uid = survey::find_node_group_owner(&cloud.aws, &view.cluster_name, &name, &cloud.owner.cluster).await?;
        let stage = Stage::of_node_group(uid.is_some(), &cluster.spec);
        let claims = aws_validation::of_node_group(&group.spec, stage, &cluster.spec, &view);
        aws_validation::check(&cloud.aws, &claims).await.with_context(|| named("NodeGroup", *group))?;
        let uid = uid.unwrap_or_else(|| NOT_THERE.to_owned());
        let owner = Owner { uid, cluster: cloud.owner.cluster.clone(), ..Owner::default() };
        let graph = node_group_graph(group, grant, &owner, &view)?;
        let (plan, memory) = options(&graph, &Cloud { owner, ..cloud.clone() }).await;
        observed.push(Arc::new(with_observed_version(group, &memory)));
        let (title, about) = (named("NodeGroup", *group), String::new());
        of_groups.push(Planned { title, about, graph, plan, upgrade: Vec::new(), notices: Vec::new() });
    }
    let decision = upgrade(cluster, &cloud, &memory, &observed).await?;
    let upgrade = decision.iter().flat_map(|decision| &decision.remaining_steps).map(ToString::to_string).collect();
    let (title, about) = (named("EksCluster", *cluster), about(cluster));
    let notices = [ConditionType::NetworkReady, ConditionType::ControlPlaneReady];
    let notices = notices.into_iter().flat_map(|part| notices::notices(&memory, part)).collect();
    let planned = Planned { title, about, graph, plan, upgrade, notices };
    Ok(std::iter::once(planned).chain(of_groups).collect())
}

/// The node group with its version in AWS.
fn with_observed_version(group: &NodeGroup, memory: &Memory) -> NodeGroup {
    let version = Facts(memory).output(&node_group::key(&group.node_group_name()), "version");
    let status = NodeGroupStatus { version, ..NodeGroupStatus::default() };
    NodeGroup { status: Some(status), ..group.clone() }
}

/// The operator's steps to the requested versions; windows and checks are not applied.
async fn upgrade(
    cluster: &EksCluster,
    cloud: &Cloud,
    memory: &Memory,
    groups: &[Arc<NodeGroup>],
) -> anyhow::Result<Option<Decision>> {
    let goal = crate::upgrade::Goal::of(&cluster.spec)?;
    let Some(at) = Facts(memory).of_cluster("version").and_then(|version| version.parse().ok()) else {
        return Ok(None);
    };
    let on: Vec<_> = [at].into_iter().chain(remaining_steps::path(at, goal.version)).collect();
    let mut read =
        Read { offered: upgrade_data::versions(cloud, Duration::MAX).await?.into_keys().collect(), ..Read::default() };
    for addon in &cluster.spec.addons {
        let offers = upgrade_data::addon_offers(cloud, &addon.name, &on, Duration::MAX).await?;
        read.offers.insert(addon.name.clone(), offers);
    }
    let Some(observed) = observation::observe(memory, &cluster.spec, groups, &read) else { return Ok(None) };
    let clock = Clock { now: Timestamp::now(), window: WindowState::Always, soaked: Soaked::default() };
    Ok(Some(decide(&goal, &observed, &clock, None)))
}

async fn options(graph: &Graph<Cloud>, cloud: &Cloud) -> (Plan, Memory) {
    let mut memory = Memory::new(Timestamp::now(), Duration::ZERO, []);
    let expectations = Expectations::default();
    let clock = Timestamp::now;
    let run = Run {
        graph,
        goal: Goal::Present,
        policy: &ExecutionPolicy::default(),
        cloud,
        may_adopt: &|| Ok(()),
        journal: &NoJournal,
        expectations: &expectations,
        clock: &clock,
    };
    let plan = preview(&run, &mut memory).await;
    (plan, memory)
}

/// What node groups see of the cluster.
fn view(cluster: &EksCluster, memory: &Memory) -> ClusterView {
    let facts = Facts(memory);
    let subnets = facts.subnets().into_iter().map(|s| SubnetView { id: s.id, zone: s.zone, tier: s.tier });
    ClusterView {
        cluster_name: cluster.cluster_name(),
        version: facts.of_cluster("version"),
        subnets: subnets.collect(),
        node_role_arn: facts.node_role_arn(),
        not_ready: (!facts.has_api()).then(|| "the control plane does not exist yet".to_owned()),
        tags: cluster.spec.tags.clone(),
    }
}
