//! `keelson plan --live`: the plan against the state of AWS, without the ability to write. I/O: reads from AWS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use super::from_nothing::with_agent;
use super::images;
use super::planned::{
    ClosedWindow, ManifestCluster, NOT_THERE, Planned, about, cluster_graph, named, node_group_graph, owner,
};
use crate::api::addons::Addon;
use crate::api::conditions::ConditionType;
use crate::api::status_cluster::NodeGroupStatus;
use crate::api::{EksCluster, NodeGroup};
use crate::cli::reading;
use crate::controllers::cluster::status::facts::Facts;
use crate::controllers::cluster::status::notices;
use crate::controllers::cluster::upgrade::observation::{self, UpgradeReads};
use crate::controllers::node_group::replacement::discovery;
use crate::controllers::node_group::replacement::node_group_names::{Pair, immutable_digest, is_name_of};
use crate::controllers::node_group::replacement::progress;
use crate::controllers::status::journal::NoJournal;
use crate::engine::execute::{Run, preview};
use crate::engine::{ExecutionPolicy, Expectations, Goal, Graph, Memory, Plan};
use crate::resources::aws_validation::{self, AccountContext, Stage};
use crate::resources::cloud::{Cloud, Intervals, Owner};
use crate::resources::eks::node_template;
use crate::resources::eks::{lists, node_group, upgrade_data};
use crate::resources::graph::adoption::Existing;
use crate::resources::graph::expand::{ClusterView, SubnetView};
use crate::resources::graph::proof::Records;
use crate::resources::inventory::survey;
use crate::resources::network::private_endpoints;
use crate::upgrade::{Clock, Decision, Soaked, State, WindowState, addon_versions, decide, remaining_steps};

/// The plans of a cluster and its node groups against the state of AWS.
pub async fn plan(wanted: &ManifestCluster<'_>) -> anyhow::Result<Vec<Planned>> {
    let ManifestCluster { cluster, groups, grant, .. } = wanted;
    let aws = reading::session(&grant.identity, &cluster.spec.region).await?;
    let unknown = owner(cluster, NOT_THERE);
    let (intervals, client_token_seed, adoption) = (Intervals::default(), String::new(), grant.adoption);
    // It never writes, and knows no status.
    let existing = Existing::default();
    let mut cloud = Cloud { aws, owner: unknown, intervals, client_token_seed, adoption, trusts_tags: true, existing };
    let owner_uid = survey::find_owner(&cloud.aws, &cloud.owner.cluster, &cluster.cluster_name()).await?;
    let owner_exists = owner_uid.is_some();
    let stage = if owner_exists { Stage::Edited } else { Stage::New };
    if let Some(uid) = owner_uid {
        cloud.owner.roles = survey::find_roles(&cloud.aws, &uid).await?;
        cloud.owner.uid = uid;
    }
    let own_vpc = survey::find_vpc(&cloud.aws, &cloud.owner.cluster).await?;
    let around = AccountContext {
        account_id: &cloud.aws.account_id,
        settings: Some(&grant.settings),
        own_vpc: own_vpc.as_deref(),
    };
    let claims = aws_validation::of_cluster(&cluster.spec, stage, around);
    aws_validation::check(&cloud.aws, &claims).await.with_context(|| named("EksCluster", *cluster))?;
    let mut survey = survey::survey(&cloud, Duration::ZERO, &Records::default()).await?;
    if let Some(vpc) = &wanted.cluster.spec.network.vpc {
        survey.missing_services = private_endpoints::missing(&cloud.aws, vpc).await?;
    }
    let graph = cluster_graph(wanted, &cloud.owner, &survey)?;
    let (plan, memory) = options(&graph, &cloud).await;
    let plan = with_agent(plan, cluster);
    let view = view(cluster, &memory);
    let (mut observed, mut of_groups) = (Vec::new(), Vec::new());
    let window = ClosedWindow::of(cluster, Timestamp::now())?;
    for group in groups {
        let pair = recorded_groups(&cloud, group, &view.cluster_name).await?;
        let name = pair.in_use.name.clone();
        let uid = survey::find_node_group_owner(&cloud.aws, &view.cluster_name, &name, &cloud.owner.cluster).await?;
        let (main, beside) = progress::preview(&group.spec, &group.first_node_group_name(), &pair, uid.is_some());
        let is_replaced = main != name;
        let stage = Stage::of_node_group(uid.is_some() && !is_replaced, &cluster.spec);
        let claims = aws_validation::of_node_group(&group.spec, stage, &cluster.spec, &view);
        aws_validation::check(&cloud.aws, &claims).await.with_context(|| named("NodeGroup", *group))?;
        images::check(&cloud.aws, grant, group).await.with_context(|| named("NodeGroup", *group))?;
        let uid = uid.unwrap_or_else(|| NOT_THERE.to_owned());
        let owner = Owner { uid, cluster: cloud.owner.cluster.clone(), ..Owner::default() };
        let graph = node_group_graph(group, grant, &owner, &view, (&main, beside))?;
        let (plan, memory) = options(&graph, &Cloud { owner, ..cloud.clone() }).await;
        observed.push(Arc::new(with_observed_version(group, &name, &memory)));
        let planned = Planned::new(named("NodeGroup", *group), String::new(), graph, plan);
        let planned = Planned { window: window.clone(), ..planned };
        of_groups.push(planned.with_tags_of_group(grant, &group.spec));
    }
    let read = read_offers(cluster, &cloud, &memory).await?;
    let decision = upgrade(cluster, &memory, &observed, &read)?;
    let mut planned = Planned::new(named("EksCluster", *cluster), about(cluster), graph, plan);
    planned = planned.with_addons_of(&cluster.spec).with_tags_of(grant, &cluster.spec.tags);
    let parts = [ConditionType::NetworkReady, ConditionType::ControlPlaneReady];
    planned.notices.extend(parts.into_iter().flat_map(|part| notices::notices(&memory, part)));
    if cluster.spec.gitops.is_some() && cluster.status.is_none() && owner_exists {
        let notice = "the GitOps agent is not compared: its record is in the management cluster (pass --context or --kubeconfig)";
        planned.notices.push(notice.to_owned());
    }
    planned.problems = match &decision {
        Some(decision) => blocked(decision),
        None => not_offered(cluster, &read),
    };
    planned.upgrade = decision.iter().flat_map(|decision| &decision.remaining_steps).map(ToString::to_string).collect();
    Ok(std::iter::once(planned).chain(of_groups).collect())
}

/// Why the upgrade cannot begin, if a user has to change something first.
fn blocked(decision: &Decision) -> Vec<String> {
    match &decision.state {
        state @ State::Blocked { .. } => vec![state.to_string()],
        State::Settled | State::Running(_) | State::Holding { .. } => Vec::new(),
    }
}

/// The versions of a new cluster that EKS does not offer.
fn not_offered(cluster: &EksCluster, read: &UpgradeReads) -> Vec<String> {
    let spec = &cluster.spec;
    let Ok(version) = spec.version() else { return Vec::new() };
    if !read.offered.contains(&version) {
        let offered = read.offered.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return vec![format!("spec.version: EKS offers no Kubernetes {version} in {}, but {offered}", spec.region)];
    }
    let of_addon = |addon: &Addon| {
        let offers = read.offers.get(&addon.name)?.get(&version)?;
        let refused = addon_versions::choose(&addon.version().into(), offers).err()?;
        Some(format!("spec.addons: add-on {}: {refused}", addon.name))
    };
    spec.addons.iter().filter_map(of_addon).collect()
}

/// The node groups of a NodeGroup: those on record, or, without the management cluster, those that carry the tag of its owner.
async fn recorded_groups(cloud: &Cloud, group: &NodeGroup, cluster: &str) -> anyhow::Result<Pair> {
    let (first, desired) = (group.first_node_group_name(), immutable_digest(&group.spec));
    let recorded = Pair::recorded(&group.status.clone().unwrap_or_default(), &first, &desired);
    if group.status.as_ref().is_some_and(|status| status.immutable_digest.is_some()) {
        return Ok(recorded);
    }
    let mut uid = None;
    for name in lists::node_group_names_if_any(&cloud.aws, cluster).await? {
        if uid.is_none() && is_name_of(&first, &name) {
            uid = survey::find_node_group_owner(&cloud.aws, cluster, &name, &cloud.owner.cluster).await?;
        }
    }
    let Some(uid) = uid else { return Ok(recorded) };
    let owner = Owner { uid, cluster: cloud.owner.cluster.clone(), ..Owner::default() };
    let cloud = Cloud { owner, ..cloud.clone() };
    let found = discovery::find(&cloud, cluster, &first, &desired, &group.spec).await?;
    Ok(found.unwrap_or(recorded))
}

/// The node group with its version in AWS.
fn with_observed_version(group: &NodeGroup, name: &str, memory: &Memory) -> NodeGroup {
    let version = Facts(memory).output(&node_group::key(name), "version");
    let node_group_name = Some(name.to_owned());
    let status = NodeGroupStatus { version, node_group_name, ..NodeGroupStatus::default() };
    NodeGroup { status: Some(status), ..group.clone() }
}

/// The versions that EKS offers of Kubernetes, and of each add-on on the versions that the cluster takes.
async fn read_offers(cluster: &EksCluster, cloud: &Cloud, memory: &Memory) -> anyhow::Result<UpgradeReads> {
    let target = cluster.spec.version()?;
    let present = Facts(memory).of_cluster("version").and_then(|version| version.parse().ok());
    let on: Vec<_> = match present {
        Some(at) => [at].into_iter().chain(remaining_steps::path(at, target)).collect(),
        None => vec![target],
    };
    let mut read = UpgradeReads {
        offered: upgrade_data::versions(cloud, Duration::MAX).await?.into_keys().collect(),
        ..UpgradeReads::default()
    };
    for addon in &cluster.spec.addons {
        let offers = upgrade_data::addon_offers(cloud, &addon.name, &on, Duration::MAX).await?;
        read.offers.insert(addon.name.clone(), offers);
    }
    Ok(read)
}

/// The operator's steps to the requested versions; windows and checks are not applied. `None`: there is no control plane.
fn upgrade(
    cluster: &EksCluster,
    memory: &Memory,
    groups: &[Arc<NodeGroup>],
    read: &UpgradeReads,
) -> anyhow::Result<Option<Decision>> {
    let goal = crate::upgrade::Goal::of(&cluster.spec)?;
    let Some(observed) = observation::observe(memory, &cluster.spec, groups, read) else { return Ok(None) };
    let clock = Clock {
        now: Timestamp::now(),
        window: WindowState::Always,
        soaked: Soaked::default(),
        on_hold: false,
        wave: crate::upgrade::WaveState::Free,
    };
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
    let subnets =
        facts.subnets().into_iter().map(|s| SubnetView { id: s.id, zone: s.zone, tier: s.tier, cidr: s.cidr });
    ClusterView {
        cluster_name: cluster.cluster_name(),
        version: facts.of_cluster("version"),
        subnets: subnets.collect(),
        node_role_arn: facts.node_role_arn(),
        node_template: node_template::Cluster::new(
            cluster.cluster_name(),
            facts.of_cluster("securityGroupId"),
            (facts.of_cluster("endpoint"), facts.of_cluster("certificateAuthority"), facts.of_cluster("serviceCidr")),
        ),
        not_ready: (!facts.has_api()).then(|| "the control plane does not exist yet".to_owned()),
        tags: cluster.spec.tags.clone(),
    }
}
