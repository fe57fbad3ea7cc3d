//! CEL rules of an EksCluster's control plane, of who may enter it, and of its capabilities: what EKS would refuse. No I/O.

use kube::core::{Reason, Rule};

use super::rules::{each, immutable, matches, same_member};

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

// Access entries.

/// An entry without a type is a standard one.
pub(super) fn entry_type_immutable() -> Rule {
    rule(
        "(has(self.type) ? self.type : 'Standard') == (has(oldSelf.type) ? oldSelf.type : 'Standard')",
        "EKS does not change the type of an access entry: put the old value back, or take the entry off the list, delete it (aws eks \
         delete-access-entry), and list it again",
    )
    .reason(Reason::FieldValueForbidden)
    .field_path(".type")
}

// The OIDC identity provider.

pub(super) fn identity_provider_immutable() -> Rule {
    immutable(
        "EKS does not change an identity provider: put the old values back, or remove oidcIdentityProvider, wait until status.resources \
         has no identityProvider (about 20 minutes, in which nobody logs in with it), and add it again",
    )
}

pub(super) fn issuer_url() -> Rule {
    matches(
        r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^?#\s]*)?$",
        "must be the URL of an issuer that begins with https://, without a query, such as https://example.okta.com",
    )
}

pub(super) fn without_spaces() -> Rule {
    matches(r"^\S+$", "must be one word, without spaces")
}

pub(super) fn required_claims() -> Rule {
    rule(
        r"self.all(key, key.matches(r'^\S+$') && self[key].matches(r'^\P{Cc}+$'))",
        "each claim must be one word, without spaces, and its value one line of text",
    )
}

pub(super) fn identity_id() -> Rule {
    matches("^[A-Za-z0-9-]+$", "must be the id of a user or group of IAM Identity Center: letters, digits and '-'")
}

pub(super) fn prefix_outside_system() -> Rule {
    rule(
        "!self.contains('system:')",
        "EKS refuses prefixes that contain system:, which is reserved for Kubernetes: choose another one, such as oidc:",
    )
}

// Capabilities.

pub(super) fn one_capability_of_each_type() -> Rule {
    rule(
        "self.all(item, self.exists_one(other, other.type == item.type))",
        "EKS runs one capability of each type in a cluster: remove the others of that type",
    )
}

pub(super) fn argocd_needs_its_configuration() -> Rule {
    rule(
        "self.type != 'ArgoCd' || (has(self.configuration) && has(self.configuration.argoCd))",
        "users of Argo CD log in with IAM Identity Center: set configuration.argoCd.awsIdc.idcInstanceArn",
    )
    .field_path(".configuration")
}

pub(super) fn configuration_is_of_the_type() -> Rule {
    rule(
        "!has(self.configuration) || ((!has(self.configuration.argoCd) || self.type == 'ArgoCd') \
         && (!has(self.configuration.ack) || self.type == 'Ack'))",
        "the configuration is of another type of capability: argoCd is for type: ArgoCd, ack for type: Ack",
    )
    .field_path(".configuration")
}

pub(super) fn capabilities_need_entries() -> Rule {
    rule(
        "!has(self.capabilities) || self.capabilities.size() == 0 || self.access.authenticationMode != 'ConfigMap'",
        "EKS gives the roles of capabilities access entries: set access.authenticationMode: ApiAndConfigMap or Api",
    )
    .field_path(".capabilities")
}

pub(super) fn hook_name() -> Rule {
    matches("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "must be a name of lower case letters, digits and '-'")
}

/// Who may write the EksCluster need not be allowed to run anything in another namespace.
pub(super) fn hook_job_in_own_namespace() -> Rule {
    rule(
        "!has(self.job.cronJob) || !has(self.job.cronJob.__namespace__)",
        "a hook uses a CronJob of the EksCluster's own namespace, or with `in: Workload` of the hook's namespace: remove cronJob.namespace",
    )
    .field_path(".job.cronJob.namespace")
}

/// In CEL, `in` is an operator.
pub(super) fn hook_in_workload_needs_a_cluster() -> Rule {
    rule(
        "!has(self.__in__) || self.__in__ != 'Workload' || !self.at.exists(point, point == 'BeforeCreate')",
        "before its creation the EKS cluster has no API server that could run a Job: remove BeforeCreate from `at`, or set in: Management",
    )
    .field_path(".at")
}

/// In the management cluster, who may create Jobs in the EksCluster's namespace is asked at admission, and nowhere else.
pub(super) fn hook_namespace_in_workload() -> Rule {
    rule(
        "!has(self.__namespace__) || (has(self.__in__) && self.__in__ == 'Workload')",
        "in the management cluster a hook runs in the namespace of its EksCluster: remove namespace, or set in: Workload",
    )
    .field_path(".namespace")
}

/// In CEL, `namespace` is reserved.
pub(super) fn argocd_namespace_immutable() -> Rule {
    rule(
        same_member("__namespace__"),
        "EKS does not change the namespace of Argo CD: put the old value back, or remove the capability, wait until it is gone, and add \
         it again",
    )
    .reason(Reason::FieldValueForbidden)
    .field_path(".namespace")
}

pub(super) fn identity_center_arn() -> Rule {
    matches(
        "^arn:aws[a-z-]*:sso:::instance/(sso)?ins-[A-Za-z0-9.-]{16}$",
        "must be the ARN of an instance of IAM Identity Center, arn:aws:sso:::instance/ssoins-<16 characters>; `aws sso-admin \
         list-instances` shows it",
    )
}

pub(super) fn vpc_endpoint_ids() -> Rule {
    each("^vpce-[0-9a-z]+$", "each entry must be the id of a VPC endpoint, vpce-...")
}

pub(super) fn ack_services() -> Rule {
    each("^[a-z][a-z0-9]*$", "each entry must be the name of a service in ACK, such as s3")
}

/// A second step of the rotation takes nothing from the first one.
pub(super) fn active_authority_stays() -> Rule {
    rule(
        "!has(self.activeId) || !has(self.deletedId) || self.activeId != self.deletedId",
        "the certificate authority that signs is not deleted: put the id of the other one in deletedId",
    )
    .field_path(".deletedId")
}

pub(super) fn utc_time() -> Rule {
    rule(
        r"self.matches(r'^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$')",
        "must be a time in UTC, such as 2026-11-30T12:00:00Z",
    )
}
