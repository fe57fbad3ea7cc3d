//! Which resources of an object an AWS event affects, by the ids in status. Pure.

use std::collections::BTreeSet;

use crate::api::{EksCluster, NodeGroup};
use crate::aws::events::Event;
use crate::aws::{Arn, Service};
use crate::controllers::cluster::status::facts::cluster_key;
use crate::engine::Key;
use crate::resources::eks::{
    access_entry, capability, identity_provider, launch_template, node_group, pod_identity_association,
};
use crate::resources::graph::kind::{self, InCluster};
use crate::resources::graph::kinds;
use crate::resources::iam::role_name;
use crate::resources::network::{existing_network, vpc};

/// Calls that only place something in a network and change nothing of Keelson's. (Nodes come and go all day.)
const USES: &[&str] = &["Run", "CreateFleet", "Request", "CreateNetworkInterface", "AttachNetworkInterface"];

/// Whether the call places something in a network, or launches from a template.
fn is_use(event: &Event) -> bool {
    USES.iter().any(|verb| event.action.starts_with(verb))
}

/// Whether the event is from the cluster's account and region.
pub(super) fn is_in_account_and_region(event: &Event, cluster: &EksCluster) -> bool {
    let account = cluster.status.as_ref().and_then(|status| status.account_id.as_deref());
    // IAM is global: its events come from its home region.
    account == Some(event.account.as_str()) && (event.service.is_global() || event.region == cluster.spec.region)
}

/// The resources of a cluster that an event of its account and region affects.
pub(super) fn affected_cluster_keys(event: &Event, cluster: &EksCluster) -> BTreeSet<Key> {
    match event.service {
        Service::Eks => affected_by_eks_call(event, cluster),
        Service::Ec2 if is_use(event) => BTreeSet::new(),
        _ => inventory(cluster)
            .filter(|(key, id)| parts(key, id).any(|part| event.names(part)))
            .map(|(key, _)| key)
            .collect(),
    }
}

/// The keys and ids in a cluster's status; for an external network, its key with the ids of VPC and subnets.
pub(super) fn inventory(cluster: &EksCluster) -> impl Iterator<Item = (Key, &str)> {
    cluster.status.iter().flat_map(|status| {
        let external = status.resources.iter().all(|resource| resource.key != vpc::KIND.name);
        let network = status.network.iter().filter(move |_| external);
        let external =
            network.flat_map(|network| network.vpc_id.iter().chain(network.subnets.iter().map(|subnet| &subnet.id)));
        let resources = status.resources.iter().filter_map(|one| Some((Key::parse(&one.key), one.id.as_deref()?)));
        resources.chain(external.map(|id| (existing_network::key(), id.as_str())))
    })
}

/// The names that identify a resource in events. A route's id starts with its table's, a role's ARN ends with its name.
pub(super) fn parts<'i>(key: &Key, id: &'i str) -> impl Iterator<Item = &'i str> {
    let table = id.split_once(':').map(|(first, _)| first).filter(|_| !id.starts_with("arn:"));
    let role = id.rsplit_once('/').map(|(_, name)| name).filter(|_| role_name::purpose(key).is_some());
    std::iter::once(id).chain(table).chain(role)
}

/// What an EKS API call affects.
#[derive(Debug, Default, PartialEq, Eq)]
struct EksTarget {
    /// Clusters by name.
    clusters: BTreeSet<String>,
    /// Resources in them, as graph keys.
    parts: BTreeSet<Key>,
    /// Ids that only EKS assigns.
    ids: BTreeSet<String>,
}

impl EksTarget {
    fn of(event: &Event) -> Self {
        let mut target = EksTarget::default();
        let clusters = ["clusterName", "name"].into_iter().flat_map(|field| event.field(field));
        target.clusters.extend(clusters.map(str::to_owned));
        for (kind, in_cluster) in kinds_in_clusters() {
            let names = in_cluster.parameter.into_iter().flat_map(|parameter| event.field(parameter));
            target.parts.extend(names.map(|name| kind.named(name)));
        }
        target.ids.extend(event.field("associationId").map(str::to_owned));
        for namespace in event.field("namespace") {
            let names = event.field("serviceAccount").map(|account| format!("{namespace}/{account}"));
            target.parts.extend(names.map(|name| pod_identity_association::KIND.named(name)));
        }
        if event.action == "DisassociateIdentityProviderConfig" {
            target.parts.extend(event.field("name").map(|name| identity_provider::KIND.named(name)));
        }
        event.field("resourceArn").for_each(|arn| target.arn(arn));
        target
    }

    /// The ARN of a tagged resource: `arn:aws:eks:REGION:ACCOUNT:KIND/CLUSTER/NAME/...`.
    fn arn(&mut self, arn: &str) {
        let Some(Arn { partition, resource, .. }) = Arn::parse(arn) else { return };
        let path: Vec<&str> = resource.split('/').collect();
        let [kind, cluster, rest @ ..] = path.as_slice() else { return };
        self.clusters.insert((*cluster).to_owned());
        let found =
            kinds_in_clusters().find(|(_, in_cluster)| in_cluster.arn_type == *kind && in_cluster.parameter.is_some());
        match (found.map(|(kind, _)| kind), rest) {
            (Some(known), [kind, account, name, ..]) if known.name == access_entry::KIND.name => {
                let principal = format!("arn:{partition}:iam::{account}:{kind}/{name}");
                self.parts.extend([access_entry::KIND.named(principal)]);
            }
            // `identityproviderconfig/CLUSTER/oidc/NAME/ID`, `capability/CLUSTER/TYPE/NAME/ID`
            (Some(known), [_, name, ..])
                if [identity_provider::KIND.name, capability::KIND.name].contains(&known.name) =>
            {
                self.parts.extend([known.named(*name)]);
            }
            (Some(known), [name, ..]) => self.parts.extend([known.named(*name)]),
            (_, [id, ..]) => self.ids.extend([(*id).to_owned()]),
            (_, []) => {}
        }
    }
}

/// The names of the clusters that an EKS API call affects.
pub(super) fn clusters_of_eks_call(event: &Event) -> BTreeSet<String> {
    EksTarget::of(event).clusters
}

fn affected_by_eks_call(event: &Event, cluster: &EksCluster) -> BTreeSet<Key> {
    let EksTarget { clusters, mut parts, ids } = EksTarget::of(event);
    if !clusters.contains(&cluster.cluster_name()) {
        return BTreeSet::new();
    }
    if parts.is_empty() && ids.is_empty() {
        return BTreeSet::from([cluster_key()]);
    }
    parts.retain(|key| !node_group::KIND.is_of(key));
    parts.extend(inventory(cluster).filter(|(_, id)| ids.contains(*id)).map(|(key, _)| key));
    parts.extend(pruning_key(&event.action));
    parts
}

/// What is created manually may have to be pruned.
fn pruning_key(action: &str) -> Option<Key> {
    let mut pruning = kinds_in_clusters().filter_map(|(_, in_cluster)| in_cluster.pruning);
    pruning.find(|(create, _)| *create == action).map(|(_, kind)| kind.key())
}

/// The kinds that exist within a cluster.
fn kinds_in_clusters() -> impl Iterator<Item = (&'static kind::Kind, &'static InCluster)> {
    kinds::ALL.iter().filter_map(|kind| Some((*kind, kind.in_eks()?)))
}

/// The resources of a node group that an event affects. What happens to its launch template also shows in the node group, which has a
/// version of it.
pub(super) fn affected_node_group_keys(event: &Event, group: &NodeGroup, cluster: &EksCluster) -> BTreeSet<Key> {
    match event.service {
        Service::Eks => {
            let target = EksTarget::of(event);
            let is_in_cluster = target.clusters.contains(&cluster.cluster_name());
            let keys = group.node_group_names().into_iter().map(|name| node_group::key(&name));
            keys.filter(|key| is_in_cluster && target.parts.contains(key)).collect()
        }
        Service::Ec2 if !is_use(event) => {
            let of_event = launch_templates(group, cluster);
            let of_event = of_event.into_iter().filter(|(_, names)| names.iter().any(|name| event.names(name)));
            of_event.flat_map(|(group, _)| [launch_template::key(&group), node_group::key(&group)]).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// The ids and the names of the launch templates that Keelson created for the node groups, by which events name them.
pub(super) fn launch_template_names(group: &NodeGroup, cluster: &EksCluster) -> Vec<String> {
    launch_templates(group, cluster).into_iter().flat_map(|(_, names)| names).collect()
}

/// The names of its node groups, each with the id and the name of the launch template that Keelson created for it.
fn launch_templates(group: &NodeGroup, cluster: &EksCluster) -> Vec<(String, Vec<String>)> {
    let status = group.status.as_ref();
    let in_use = status.and_then(|status| status.launch_template.as_ref()).map(|template| &template.id);
    let replacement = status.and_then(|status| status.replacement.as_ref());
    let other = replacement.map(|other| (other.node_group_name.clone(), other.launch_template_id.as_ref()));
    let all = std::iter::once((group.node_group_name(), in_use)).chain(other);
    let with_template = all.filter(|(_, id)| id.is_some() || group.spec.node.is_some());
    let names = |(name, id): (String, Option<&String>)| {
        let in_ec2 = launch_template::name(&cluster.cluster_name(), &name);
        (name, id.cloned().into_iter().chain([in_ec2]).collect())
    };
    with_template.map(names).collect()
}
