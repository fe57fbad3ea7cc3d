//! What the operator accepts and what may still not work: hints from the fields of a manifest alone, for a cluster that does not exist yet.
//! Pure.

use std::collections::BTreeSet;

use super::planned::ManifestCluster;
use crate::api::access::AuthenticationMode;
use crate::api::network::{Nat, Vpc};
use crate::api::node_group::SubnetTier;
use crate::api::policy::AdoptionPolicy;
use crate::api::{EksClusterSpec, NodeGroup};
use crate::resources::network::private_endpoints;

/// Services that a node needs to join, whatever runs on it.
const NEEDED_BY_NODES: [&str; 4] = ["ec2", "ecr.api", "ecr.dkr", "s3"];
const CNI: &str = "vpc-cni";
const AGENT: &str = "eks-pod-identity-agent";
/// The endpoint of CodeCommit's repositories, and how their hosts start.
const CODECOMMIT: &str = "git-codecommit";

/// A hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What will happen, and why.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// Whether it is a note: what the user has to know, and may have done.
    pub is_note: bool,
}

/// The hints about a cluster and its node groups. One that exists, or is adopted, shows itself what does not work.
pub fn hints(ManifestCluster { cluster, groups, exists, .. }: &ManifestCluster<'_>) -> Vec<Hint> {
    let spec = &cluster.spec;
    if spec.adoption_policy == AdoptionPolicy::Adopt || *exists {
        return Vec::new();
    }
    let all = [
        nodes_without_images(spec, groups),
        no_cni(spec, groups),
        no_pod_identity_agent(spec, groups),
        auto_mode_without_entries(spec),
        agent_out_of_reach(spec, groups),
        private_only(spec),
    ];
    all.into_iter().flatten().collect()
}

fn hint(message: String, advice: &str) -> Hint {
    Hint { message, advice: advice.to_owned(), is_note: false }
}

/// The VPC, if it has nodes without a way to the internet. An egress-only gateway does not help: ECR's registries have IPv4 only.
fn closed_vpc<'s>(spec: &'s EksClusterSpec, groups: &[&NodeGroup]) -> Option<&'s Vpc> {
    let is_private = |group: &&NodeGroup| {
        let subnets = &group.spec.subnets;
        subnets.ids.is_none() && subnets.cidrs.is_none() && subnets.tier != Some(SubnetTier::Public)
    };
    let has_private_nodes = spec.has_auto_mode() || groups.iter().any(is_private);
    spec.network.vpc.as_ref().filter(|vpc| vpc.nat == Nat::None && has_private_nodes)
}

/// Whether Auto Mode, which brings its own CNI and agent of EKS Pod Identity, runs all nodes.
fn is_all_auto_mode(spec: &EksClusterSpec, groups: &[&NodeGroup]) -> bool {
    spec.has_auto_mode() && groups.is_empty()
}

fn nodes_without_images(spec: &EksClusterSpec, groups: &[&NodeGroup]) -> Option<Hint> {
    let vpc = closed_vpc(spec, groups)?;
    let endpoints = private_endpoints::services(vpc, &BTreeSet::new(), &[]);
    let missing: Vec<_> = NEEDED_BY_NODES.into_iter().filter(|service| !endpoints.contains(*service)).collect();
    if missing.is_empty() {
        return None;
    }
    Some(hint(
        format!(
            "private subnets have no NAT gateway, and the VPC has no endpoints of {}: nodes pull no images there, and do not become \
             Ready",
            missing.join(", ")
        ),
        "add private to network.vpc.endpoints, or set network.vpc.nat: Single (docs/how-to/private-cluster.md)",
    ))
}

fn no_cni(spec: &EksClusterSpec, groups: &[&NodeGroup]) -> Option<Hint> {
    let is_installed = spec.addons.iter().any(|addon| addon.name == CNI);
    // AWS runs it outside the cluster, so that it can install a CNI.
    let is_hosted = spec.capabilities.iter().any(|capability| capability.type_.reads_git());
    if is_installed || groups.is_empty() || spec.gitops.is_some() || is_hosted {
        return None;
    }
    Some(hint(
        format!(
            "the add-on {CNI} is not listed, and no agent installs a CNI from Git: nodes stay NotReady until somebody does"
        ),
        "list vpc-cni in addons, or set gitops (docs/how-to/own-cni.md)",
    ))
}

/// With a role that Keelson creates, a spec without the agent is refused.
fn no_pod_identity_agent(spec: &EksClusterSpec, groups: &[&NodeGroup]) -> Option<Hint> {
    if is_all_auto_mode(spec, groups) || spec.addons.iter().any(|addon| addon.name == AGENT) {
        return None;
    }
    let of_pods =
        spec.pod_identities.first().map(|one| format!("podIdentities of {}/{}", one.namespace, one.service_account));
    let of_addon = spec.addons.iter().find(|addon| addon.pod_identity_role_arn.is_some());
    let what = of_pods.or(of_addon.map(|addon| format!("podIdentityRoleArn of the add-on {}", addon.name)))?;
    Some(hint(
        format!("{what}: without the agent of EKS Pod Identity, Pods get no credentials"),
        "list eks-pod-identity-agent in addons, unless you install the agent yourself",
    ))
}

fn auto_mode_without_entries(spec: &EksClusterSpec) -> Option<Hint> {
    let is_config_map = spec.access.authentication_mode == AuthenticationMode::ConfigMap;
    (is_config_map && spec.has_auto_mode()).then(|| {
        hint(
            "nodes of EKS Auto Mode join with an access entry, and authenticationMode: ConfigMap has none".to_owned(),
            "set access.authenticationMode: ApiAndConfigMap or Api",
        )
    })
}

/// The agent of the cluster runs on its nodes: it and its source have to be within their reach.
fn agent_out_of_reach(spec: &EksClusterSpec, groups: &[&NodeGroup]) -> Option<Hint> {
    let vpc = closed_vpc(spec, groups)?;
    let gitops = spec.gitops.as_ref()?;
    let has_codecommit = private_endpoints::services(vpc, &BTreeSet::new(), &[]).contains(CODECOMMIT);
    let is_reached = |url: &str| has_codecommit && url.contains(&format!("//{CODECOMMIT}."));
    if gitops.source()?.git.as_ref().is_some_and(|git| !is_reached(&git.url)) {
        return Some(hint(
            "private subnets have no NAT gateway: the agent reaches its Git repository only by a route of yours"
                .to_owned(),
            "push manifests and images to ECR (docs/how-to/private-cluster.md), or set network.vpc.nat: Single",
        ));
    }
    let registry = gitops.image_registry().filter(|registry| registry.starts_with("ghcr.io/"))?;
    Some(hint(
        format!(
            "private subnets have no NAT gateway: nodes pull the agent's images from {registry} only by a route of yours"
        ),
        "copy the images to ECR and set the registry in gitops (docs/how-to/private-cluster.md), or set network.vpc.nat: Single",
    ))
}

fn private_only(spec: &EksClusterSpec) -> Option<Hint> {
    (!spec.endpoint_access.public && spec.gitops.is_some()).then(|| Hint {
        is_note: true,
        ..hint(
            "the API endpoint is private, and the operator installs the agent through it".to_owned(),
            "run the operator in the VPC or a connected one, or with --workload-proxy (docs/how-to/private-cluster.md)",
        )
    })
}

#[cfg(test)]
#[path = "hints_tests.rs"]
mod tests;
