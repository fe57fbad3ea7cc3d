//! What is planned: the clusters of a manifest with their node groups, validated as the operator would, and their graphs.
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::ResourceExt;

use super::manifest::Manifest;
use crate::agents::validate_source::SourcePolicy;
use crate::api::listing::first_few;
use crate::api::network::NetworkKind;
use crate::api::policy::AdoptionPolicy;
use crate::api::{EksCluster, EksClusterSpec, NodeGroup, NodeGroupSpec};
use crate::cli::time;
use crate::controllers::account::{self, Grant, Request, named, owned};
use crate::controllers::cluster::validate;
use crate::controllers::node_group;
use crate::controllers::status::plan_status;
use crate::controllers::tag_keys;
use crate::engine::{Graph, Key, Plan, Step};
use crate::resources::cloud::{Cloud, Intervals, Owner};
use crate::resources::eks::addon;
use crate::resources::eks::node_group::Target;
use crate::resources::graph::adoption::Adoption;
use crate::resources::graph::expand::{
    self, ClusterInput, ClusterView, NodeGroupInput, NodeRole, Nodes, SecondNodeGroup, Versions,
};
use crate::resources::inventory::survey::Survey;
use crate::resources::inventory::zones;
use crate::upgrade::{WindowState, Windows};

/// A cluster with its node groups, from the manifest.
pub struct ManifestCluster<'m> {
    /// The EksCluster.
    pub cluster: &'m EksCluster,
    /// The NodeGroups that refer to it.
    pub groups: Vec<&'m NodeGroup>,
    /// The access to its account.
    pub grant: Grant,
    /// Whether the file or the management cluster shows that it exists.
    pub exists: bool,
}

/// A maintenance window that is not open.
#[derive(Clone, Debug)]
pub struct ClosedWindow {
    /// When it opens, as a message.
    pub next: String,
    /// Until it opens; `None`: none opens again.
    pub delay: Option<Duration>,
}

impl ClosedWindow {
    /// The next window of the cluster; `None`: steps may start now.
    pub fn of(cluster: &EksCluster, now: Timestamp) -> anyhow::Result<Option<Self>> {
        let state = Windows::parse(&cluster.spec.upgrade.windows)?.state(now);
        let delay = match &state {
            WindowState::Closed { opens } => opens.as_ref().map(|opens| time::between(now, opens.timestamp())),
            WindowState::Always | WindowState::Open { .. } => None,
        };
        Ok(state.describe_next().map(|next| Self { next, delay }))
    }
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
    /// What cannot be done, apart from the items of the plan.
    pub problems: Vec<String>,
    /// The add-ons of a cluster that new node groups wait for.
    pub before_nodes: Vec<Key>,
    /// The maintenance window that a replacement of nodes waits for; `None`: none.
    pub window: Option<ClosedWindow>,
    /// It is in no file and not part of the answer: its node groups are.
    pub is_context: bool,
}

impl Planned {
    /// A graph with its plan.
    pub fn new(title: String, about: String, graph: Graph<Cloud>, plan: Plan) -> Self {
        let (upgrade, notices, problems) = Default::default();
        let (window, before_nodes, is_context) = (None, Vec::new(), false);
        Self { title, about, graph, plan, upgrade, notices, problems, before_nodes, window, is_context }
    }

    /// The same of a cluster, with the add-ons that new node groups wait for.
    pub fn with_addons_of(mut self, spec: &EksClusterSpec) -> Self {
        let needed = spec.addons.iter().filter(|addon| addon.is_before_nodes());
        self.before_nodes = needed.map(|addon| addon::key(&addon.name)).collect();
        self
    }

    /// The same, with a notice if the account replaces some of the object's own tags.
    pub fn with_tags_of(mut self, grant: &Grant, own: &BTreeMap<String, String>) -> Self {
        self.notices.extend(tag_keys::describe_overridden(grant, "spec.tags", own));
        self
    }

    /// The same of a NodeGroup.
    pub fn with_tags_of_group(mut self, grant: &Grant, spec: &NodeGroupSpec) -> Self {
        self.notices.extend(tag_keys::describe_overridden_of(grant, spec));
        self
    }

    /// The window that the step waits for; `None`: it starts as soon as it can.
    pub fn window_of(&self, step: &Step) -> Option<&ClosedWindow> {
        self.window.as_ref().filter(|_| plan_status::disruption(step).is_some())
    }

    /// The same as context: nothing of it is planned.
    pub fn into_context(self) -> Self {
        let plan = Plan { items: Vec::new(), ..self.plan };
        Self { is_context: true, ..Self::new(self.title, self.about, self.graph, plan) }
    }
}

/// The clusters of the manifest, each validated as the operator would.
pub fn manifest_clusters(manifest: &Manifest, sources: SourcePolicy) -> anyhow::Result<Vec<ManifestCluster<'_>>> {
    if let Some(account) = manifest.accounts.first().filter(|_| manifest.clusters.is_empty()) {
        anyhow::bail!(
            "AwsAccount {} alone has no plan: its tags and limits change the clusters that use it. Add the files of those \
             EksClusters and their NodeGroups: -f FILE -f FILE",
            account.name_any()
        );
    }
    if manifest.clusters.is_empty() {
        let others = first_few(&manifest.notes, 3);
        let others = if others.is_empty() { others } else { format!(": {others}") };
        anyhow::bail!("there is no EksCluster and no NodeGroup in the manifest{others}");
    }
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
        // Who owns the other resources that they name, only AWS shows; and what an account allows that is not here, a note says.
        let is_unknown = manifest.is_account_unknown(cluster);
        if !is_unknown {
            owned::check(&grant, &named::by_cluster(&cluster.spec)).map_err(refused)?;
        }
        let refers = |group: &&NodeGroup| {
            group.namespace() == cluster.namespace() && group.spec.cluster_ref.name == cluster.name_any()
        };
        let groups: Vec<_> = manifest.groups.iter().filter(refers).collect();
        for group in &groups {
            let name = named("NodeGroup", *group);
            let refused = |refusal: account::Refusal| anyhow::anyhow!("{name}: {}", refusal.message);
            node_group::valid(group).map_err(refused)?;
            if !is_unknown {
                owned::check(&grant, &named::by_node_group(&group.spec)).map_err(refused)?;
            }
        }
        all.push(ManifestCluster { cluster, groups, grant, exists: manifest.exists(cluster) });
    }
    Ok(all)
}

/// `EksCluster default/demo`.
pub fn named<K: ResourceExt>(kind: &str, object: &K) -> String {
    format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// The UID of an object that does not exist yet.
pub const NOT_THERE: &str = "not-there-yet";

pub fn about(cluster: &EksCluster) -> String {
    let name = cluster.cluster_name();
    format!("{name} in {}, Kubernetes {}", cluster.spec.region, cluster.spec.version)
}

pub fn owner(cluster: &EksCluster, uid: &str) -> Owner {
    let name = format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
    Owner { uid: uid.to_owned(), cluster: name, ..Owner::default() }
}

/// The graph that the operator would build.
pub fn cluster_graph(wanted: &ManifestCluster<'_>, owner: &Owner, survey: &Survey) -> anyhow::Result<Graph<Cloud>> {
    let ManifestCluster { cluster, groups, grant, .. } = wanted;
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
        missing_services: &survey.missing_services,
        node_role: &NodeRole::of(groups.iter().map(|group| &group.spec)),
        nodes,
        node_groups_left: &[],
        owned: &survey.owned,
        tag_keys: &[],
        used_roles: &[],
        removes: Some(&survey.owned_ids),
        volumes_since: None,
        instances_since: None,
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
    (name, beside): (&str, SecondNodeGroup),
) -> anyhow::Result<Graph<Cloud>> {
    let tags = expand::node_group_tags(&group.spec, view, &grant.settings);
    let node = expand::check_tag_count(&tags).and_then(|()| expand::node_content(&group.spec, view, name, &tags));
    let node = node.with_context(|| named("NodeGroup", group))?;
    let of_status = group.status.as_ref().map(|status| status.names_with_own_template(&group.node_group_name()));
    let with_template = of_status.unwrap_or_default();
    let input = NodeGroupInput {
        spec: &group.spec,
        node_group_name: name,
        owner,
        account: &grant.settings,
        cluster: view,
        target: Target { node, ..Target::at_once(&group.spec) },
        exists: owner.uid != NOT_THERE,
        with_template,
        beside,
        tag_keys: &[],
        group_tag_keys: &[],
        intervals: Intervals::default(),
    };
    expand::node_group(&input).with_context(|| named("NodeGroup", group))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "apiVersion: keelson.dev/v1alpha1\nkind: EksCluster\nmetadata: {name: demo}\nspec: {region: eu-west-1, version: \
                           \"1.34\", podIdentities: [{namespace: a, serviceAccount: b, role: {policy: {Version: \"2012-10-17\"}}}]}\n";
    const ACCOUNT: &str = "---\napiVersion: keelson.dev/v1alpha1\nkind: AwsAccount\nmetadata: {name: default}\nspec: {accountId: \
                           \"111122223333\", allowedNamespaces: [default]}\n";

    fn refusal(manifest: &Manifest) -> Option<String> {
        manifest_clusters(manifest, SourcePolicy::default()).err().map(|error| error.to_string())
    }

    #[test]
    fn what_an_unknown_account_has_to_allow_is_a_note() {
        let manifest = Manifest::parse(CLUSTER).unwrap();
        assert_eq!(refusal(&manifest), None);
        let note = "for spec.podIdentities[a/b].role.policy of EksCluster demo it has to set allowInlinePolicies";
        assert!(manifest.notes.iter().any(|one| one.contains(note)), "{:?}", manifest.notes);
        // One that is known has to allow it, and without any the operator's own credentials do not.
        let known = Manifest::parse(&format!("{CLUSTER}{ACCOUNT}")).unwrap();
        assert!(refusal(&known).unwrap().contains("does not allow policy documents"));
        assert!(known.notes.is_empty(), "{:?}", known.notes);
        let none = Manifest::of(Manifest::parse(CLUSTER).unwrap().clusters, Vec::new(), Vec::new());
        assert!(refusal(&none).unwrap().contains("without an AwsAccount, does not allow policy documents"));
    }

    #[test]
    fn items_of_a_list_are_objects() {
        let item = CLUSTER.replace('\n', "\n  ");
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {item}\n- {}\n", item.replace("demo", "other"));
        let manifest = Manifest::parse(&list).unwrap();
        assert_eq!(manifest.clusters.len(), 2);
        let wrong = list.replacen("eu-west-1", "Ireland", 1);
        let error = Manifest::parse(&wrong).err().unwrap().to_string();
        assert!(error.starts_with("document 1, item 1, EksCluster demo:"), "{error}");
    }

    #[test]
    fn manifest_without_objects_says_what_it_holds() {
        let refused = |text: &str| refusal(&Manifest::parse(text).unwrap()).unwrap();
        let other = refused("apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata: {name: a}\n");
        assert!(
            other.ends_with(": document 1 is left out: eksctl.io/v1alpha5 ClusterConfig is not Keelson's"),
            "{other}"
        );
        assert!(refused("just text").ends_with("document 1 is left out: it has no kind"));
        assert!(refused("---\n").ends_with("in the manifest"));
    }
}
