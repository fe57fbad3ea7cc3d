//! What the operator accepts and what may still not work: hints from the fields of a manifest alone, for a cluster that does not exist yet.
//! Pure.

use std::collections::BTreeSet;

use crate::api::access::AuthenticationMode;
use crate::api::network::{IpFamily, Nat, Vpc};
use crate::api::node_group::SubnetTier;
use crate::api::policy::AdoptionPolicy;
use crate::api::{EksCluster, EksClusterSpec, NodeGroup};
use crate::resources::network::private_endpoints;

/// Services that a node needs to join, whatever runs on it.
const NEEDED_BY_NODES: [&str; 4] = ["ec2", "ecr.api", "ecr.dkr", "s3"];
const CNI: &str = "vpc-cni";
const AGENT: &str = "eks-pod-identity-agent";

/// A hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What will happen, and why.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// The hints about a cluster and its node groups. One that exists, or is adopted, shows itself what does not work.
pub fn hints(cluster: &EksCluster, groups: &[&NodeGroup]) -> Vec<Hint> {
    let spec = &cluster.spec;
    if spec.adoption_policy == AdoptionPolicy::Adopt || cluster.status.is_some() {
        return Vec::new();
    }
    let all = [
        nodes_without_images(spec, groups),
        no_cni(spec, groups),
        no_pod_identity_agent(spec),
        auto_mode_without_entries(spec),
        git_out_of_reach(spec),
        private_only(spec),
    ];
    all.into_iter().flatten().collect()
}

fn hint(message: String, advice: &str) -> Hint {
    Hint { message, advice: advice.to_owned() }
}

/// The VPC without a way to the internet, if the cluster has one. With IPv6, subnets have an egress-only gateway.
fn closed_vpc(spec: &EksClusterSpec) -> Option<&Vpc> {
    let is_ipv6 = spec.kubernetes_network.ip_family == IpFamily::IPv6;
    spec.network.vpc.as_ref().filter(|vpc| vpc.nat == Nat::None && !is_ipv6)
}

fn nodes_without_images(spec: &EksClusterSpec, groups: &[&NodeGroup]) -> Option<Hint> {
    let vpc = closed_vpc(spec)?;
    let is_private = |group: &&NodeGroup| {
        let subnets = &group.spec.subnets;
        subnets.ids.is_none() && subnets.cidrs.is_none() && subnets.tier != Some(SubnetTier::Public)
    };
    if !spec.has_auto_mode() && !groups.iter().any(is_private) {
        return None;
    }
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
    let is_installed = spec.has_auto_mode() || spec.addons.iter().any(|addon| addon.name == CNI);
    if is_installed || groups.is_empty() || spec.gitops.is_some() {
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
fn no_pod_identity_agent(spec: &EksClusterSpec) -> Option<Hint> {
    if spec.has_auto_mode() || spec.addons.iter().any(|addon| addon.name == AGENT) {
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

/// The agent of the cluster runs on its nodes.
fn git_out_of_reach(spec: &EksClusterSpec) -> Option<Hint> {
    closed_vpc(spec)?;
    let gitops = spec.gitops.as_ref()?;
    gitops.reads_git().then(|| {
        hint(
            "private subnets have no NAT gateway: the agent reaches its Git repository only by a route of yours"
                .to_owned(),
            "push manifests and images to ECR (docs/how-to/private-cluster.md), or set network.vpc.nat: Single",
        )
    })
}

fn private_only(spec: &EksClusterSpec) -> Option<Hint> {
    (!spec.endpoint_access.public && spec.gitops.is_some()).then(|| {
        hint(
            "the API endpoint is private, and the operator installs the agent through it".to_owned(),
            "run the operator in the VPC or a connected one, or with --workload-proxy (docs/how-to/private-cluster.md)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::manifest::Manifest;

    const GROUP: &str = "---\napiVersion: keelson.dev/v1alpha1\nkind: NodeGroup\nmetadata: {name: g}\nspec: {clusterRef: {name: demo}, \
                         scaling: {min: 1, max: 2}";

    fn of(spec: &str, group: &str) -> Vec<String> {
        let cluster = format!(
            "apiVersion: keelson.dev/v1alpha1\nkind: EksCluster\nmetadata: {{name: demo}}\nspec: {{region: eu-west-1, version: \
             \"1.34\"{spec}}}\n"
        );
        let manifest = Manifest::parse(&format!("{cluster}{GROUP}{group}}}\n")).unwrap();
        let groups: Vec<_> = manifest.groups.iter().collect();
        hints(&manifest.clusters[0], &groups)
            .into_iter()
            .map(|hint| format!("{}: {}", hint.message, hint.advice))
            .collect()
    }

    #[test]
    fn usual_clusters_get_no_hints() {
        let flux = ", gitops: {flux: {path: a, source: {git: {url: 'https://example.com/a', ref: {branch: main}}}}}";
        for (spec, group) in [
            ("", ""),
            (flux, ""),
            (", network: {vpc: {nat: None, publicSubnets: true}}", ", subnets: {tier: Public}"),
            (", network: {vpc: {nat: None, endpoints: [private]}}", ""),
            (", network: {vpc: {nat: None, endpoints: [ec2, ecr.api, ecr.dkr, s3]}}", ""),
            (", network: {vpc: {nat: None}}, kubernetesNetwork: {ipFamily: IPv6}", ""),
            (", addons: [], autoMode: {nodePools: [system]}", ""),
            (", endpointAccess: {public: false}", ""),
            (
                ", network: {vpc: {nat: None, endpoints: [private]}}, gitops: {flux: {path: a, source: {oci: {url: 'oci://example.com/a', \
                 ref: {tag: a}}}}}",
                "",
            ),
            (format!("{flux}, addons: [{{name: coredns}}]").as_str(), ""),
        ] {
            assert_eq!(of(spec, group), Vec::<String>::new(), "{spec}");
        }
    }

    #[test]
    fn what_will_not_work_is_named_with_what_to_do() {
        let flux = "gitops: {flux: {path: a, source: {git: {url: 'https://example.com/a', ref: {branch: main}}}}}";
        let identity =
            "podIdentities: [{namespace: a, serviceAccount: b, roleArn: 'arn:aws:iam::111122223333:role/x'}]";
        let closed = "network: {vpc: {nat: None, endpoints: [private]}}";
        for (spec, words) in [
            (
                ", network: {vpc: {nat: None, endpoints: [s3]}}",
                "no endpoints of ec2, ecr.api, ecr.dkr: nodes pull no images",
            ),
            (", addons: [{name: coredns}]", "nodes stay NotReady"),
            (format!(", addons: [{{name: vpc-cni}}], {identity}").as_str(), "podIdentities of a/b: without the agent"),
            (
                ", autoMode: {nodePools: [system]}, access: {authenticationMode: ConfigMap}",
                "nodes of EKS Auto Mode join with an access entry",
            ),
            (
                format!(", endpointAccess: {{public: false}}, {flux}").as_str(),
                "the operator installs the agent through it",
            ),
            (format!(", {closed}, {flux}").as_str(), "the agent reaches its Git repository only by a route of yours"),
        ] {
            let found = of(spec, "");
            assert!(found.len() == 1 && found[0].contains(words), "{spec}: {found:?}");
        }
        let adopted = ", adoptionPolicy: Adopt, addons: [{name: coredns}]";
        assert_eq!(of(adopted, ""), Vec::<String>::new());
    }
}
