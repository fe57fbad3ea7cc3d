//! CEL rules of an EksCluster's settings of the control plane: what EKS would refuse. No I/O.

use kube::core::{Reason, Rule};

use super::rules::matches;

fn rule(cel: impl Into<String>, message: &str) -> Rule {
    Rule::new(cel).message(message)
}

// Auto Mode.

pub(super) fn auto_mode_off_has_no_pools() -> Rule {
    rule(
        "self.enabled || self.nodePools.size() == 0",
        "without Auto Mode there are no node pools: remove nodePools, or set enabled: true",
    )
    .field_path(".nodePools")
}

pub(super) fn auto_mode_role_needs_pools() -> Rule {
    rule(
        "!has(self.nodeRoleArn) || self.nodePools.size() > 0",
        "EKS takes the role of the nodes only together with nodePools: set nodePools, or remove nodeRoleArn",
    )
    .field_path(".nodeRoleArn")
}

// Control plane.

pub(super) fn egress_mode() -> Rule {
    rule(
        "self == oldSelf || self != 'AwsManaged'",
        "EKS never gives the routes of the control plane back to AWS: put the old egressMode back",
    )
    .reason(Reason::FieldValueForbidden)
}

/// As Go writes durations, of one unit only.
pub(super) fn single_unit_duration() -> Rule {
    matches("^[1-9][0-9]{0,5}(s|m|h)$", "must be a duration of one unit, such as 30m")
}

pub(super) fn ports_in_order() -> Rule {
    rule("self.minPort <= self.maxPort", "minPort must not be above maxPort").field_path(".minPort")
}

/// <https://docs.aws.amazon.com/eks/latest/userguide/control-plane-configuration.html>
pub(super) fn sync_period_needs_a_tier() -> Rule {
    rule(
        "!has(self.controlPlane) || !has(self.controlPlane.controllerManager) \
         || !has(self.controlPlane.controllerManager.horizontalPodAutoscalerControllerConfig) \
         || (has(self.controlPlaneScaling) && self.controlPlaneScaling.tier != 'standard')",
        "EKS changes horizontalPodAutoscalerSyncPeriod only for a provisioned control plane: set controlPlaneScaling.tier, such as \
         tier-xl, or remove it",
    )
    .field_path(".controlPlane.controllerManager")
}

// Hybrid nodes.

const REMOTE: &str = "['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10']";

pub(super) fn remote_cidrs() -> Rule {
    rule(
        format!(
            "self.all(item, isCIDR(item) && cidr(item).ip().family() == 4 && cidr(item) == cidr(item).masked() \
             && {REMOTE}.exists(block, cidr(block).containsCIDR(item)))"
        ),
        "each entry must be an IPv4 range inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10, such as 10.80.0.0/16, with \
         no host bits set",
    )
}

const VALID: &str = "isCIDR(a) && isCIDR(b)";
const OVERLAP: &str = "(cidr(a).containsCIDR(b) || cidr(b).containsCIDR(a))";

pub(super) fn remote_pods_need_nodes() -> Rule {
    rule(
        "!has(self.podCidrs) || self.podCidrs.size() == 0 || (has(self.nodeCidrs) && self.nodeCidrs.size() > 0)",
        "hybrid nodes have addresses, too: set nodeCidrs, or remove podCidrs",
    )
    .field_path(".podCidrs")
}

pub(super) fn remote_networks_apart() -> Rule {
    rule(
        format!(
            "!has(self.podCidrs) || !has(self.nodeCidrs) || self.podCidrs.all(a, self.nodeCidrs.all(b, !({VALID}) || !{OVERLAP}))"
        ),
        "the ranges of hybrid nodes and of their Pods overlap: choose other ranges",
    )
    .field_path(".podCidrs")
}

/// Both lists of the cluster against one of its ranges, if that is set.
fn outside(range: &str, is_set: &str) -> String {
    let list = |name: &str| {
        let path = format!("self.remoteNetworks.{name}");
        let overlap = OVERLAP.replace("(b)", &format!("({range})")).replace("cidr(b)", &format!("cidr({range})"));
        format!("(!has({path}) || {path}.all(a, !isCIDR(a) || !{overlap}))")
    };
    format!(
        "!has(self.remoteNetworks) || !({is_set}) || !isCIDR({range}) || ({} && {})",
        list("nodeCidrs"),
        list("podCidrs")
    )
}

pub(super) fn remote_networks_outside_vpc() -> Rule {
    rule(
        outside("self.network.vpc.cidr", "has(self.network.vpc)"),
        "remote networks and the VPC overlap: choose other ranges, or another network.vpc.cidr",
    )
    .field_path(".remoteNetworks")
}

pub(super) fn remote_networks_outside_services() -> Rule {
    rule(
        outside("self.kubernetesNetwork.serviceCidr", "has(self.kubernetesNetwork.serviceCidr)"),
        "remote networks and the range of Services overlap: choose other ranges",
    )
    .field_path(".remoteNetworks")
}

pub(super) fn remote_networks_need_entries() -> Rule {
    rule(
        "!has(self.remoteNetworks) || !has(self.remoteNetworks.nodeCidrs) || self.remoteNetworks.nodeCidrs.size() == 0 \
         || self.access.authenticationMode != 'ConfigMap'",
        "hybrid nodes join with access entries: set access.authenticationMode: ApiAndConfigMap or Api",
    )
    .field_path(".remoteNetworks")
}

pub(super) fn remote_networks_are_ipv4() -> Rule {
    rule(
        "!has(self.remoteNetworks) || !has(self.remoteNetworks.nodeCidrs) || self.remoteNetworks.nodeCidrs.size() == 0 \
         || self.kubernetesNetwork.ipFamily == 'IPv4'",
        "EKS has hybrid nodes in IPv4 clusters only: remove remoteNetworks",
    )
    .field_path(".remoteNetworks")
}

pub(super) fn before_nodes_without_nodes(with_deployments: &[&str]) -> Rule {
    let names = with_deployments.join("', '");
    Rule::new(format!("!has(self.beforeNodes) || !self.beforeNodes || !(self.name in ['{names}'])"))
        .message(
            "its Pods need nodes to run on, so nodes that wait for it would never be created: remove beforeNodes from this \
             add-on; it is created as soon as nodes exist",
        )
        .field_path(".beforeNodes")
}
