//! CEL rules of one struct only: between its fields, between its old and new value, or on a field whose rule no other
//! field shares. No I/O.

use kube::core::{Reason, Rule};

use super::rules::{each, matches, same_member};

fn rule(cel: impl Into<String>, message: &str) -> Rule {
    Rule::new(cel).message(message)
}

fn refuse(cel: impl Into<String>, message: &str) -> Rule {
    rule(cel, message).reason(Reason::FieldValueForbidden)
}

// EksCluster.

const EKS_CLUSTER_NAME: &str = "(has(self.spec.clusterName) ? self.spec.clusterName : self.metadata.name)";

pub(super) fn cluster_name_fits_eks() -> Rule {
    rule(
        format!("{EKS_CLUSTER_NAME}.matches(r'^[0-9A-Za-z][A-Za-z0-9_-]{{0,99}}$')"),
        "the name of an EKS cluster has up to 100 letters, digits, '-' and '_', and metadata.name does not fit: set spec.clusterName, or \
         choose another metadata.name",
    )
}

pub(super) fn cluster_name_immutable() -> Rule {
    let old = EKS_CLUSTER_NAME.replace("self.", "oldSelf.");
    refuse(
        format!("{EKS_CLUSTER_NAME} == {old}"),
        "the name in EKS cannot change: put the old value of clusterName back, or create a new EksCluster of the other name, move \
         the workloads, and delete this one",
    )
    .field_path(".spec.clusterName")
}

pub(super) fn account_immutable() -> Rule {
    refuse(
        same_member("accountRef"),
        "a cluster cannot move to another account: put the old value back, or create a new EksCluster with the other account, move \
         the workloads, and delete this one",
    )
    .field_path(".accountRef")
}

pub(super) fn encryption_only_added() -> Rule {
    refuse(
        // What EKS never had can be corrected.
        "!has(oldSelf.status) || !has(oldSelf.status.arn) || !has(oldSelf.spec.secretsEncryption) \
         || (has(self.spec.secretsEncryption) && self.spec.secretsEncryption == oldSelf.spec.secretsEncryption)",
        "EKS can add the encryption of Secrets, but neither remove it nor change its key: put the old value back",
    )
    .field_path(".spec.secretsEncryption")
}

pub(super) fn key_in_region() -> Rule {
    rule(
        "!has(self.secretsEncryption) || !self.secretsEncryption.kmsKeyArn.matches('^([^:]*:){5}') \
         || self.secretsEncryption.kmsKeyArn.split(':')[3] == self.region",
        "the KMS key must be in the cluster's region: name a key of that region",
    )
    .field_path(".secretsEncryption.kmsKeyArn")
}

pub(super) fn log_group_key_in_region() -> Rule {
    rule(
        "!has(self.logGroup) || !has(self.logGroup.kmsKeyArn) || !self.logGroup.kmsKeyArn.matches('^([^:]*:){5}') \
         || self.logGroup.kmsKeyArn.split(':')[3] == self.region",
        "the KMS key of the log group must be in the cluster's region: name a key of that region",
    )
    .field_path(".logGroup.kmsKeyArn")
}

pub(super) fn zones_in_region() -> Rule {
    rule(
        "!has(self.network.vpc) || !has(self.network.vpc.zones) \
         || self.network.vpc.zones.all(zone, zone.startsWith(self.region) && zone.size() == self.region.size() + 1)",
        "the availability zones must be in the cluster's region, such as eu-west-1a in eu-west-1",
    )
    .field_path(".network.vpc.zones")
}

pub(super) fn service_cidr_outside_vpc() -> Rule {
    rule(
        "!has(self.network.vpc) || !has(self.kubernetesNetwork.serviceCidr) || !isCIDR(self.network.vpc.cidr) \
         || !isCIDR(self.kubernetesNetwork.serviceCidr) \
         || !(cidr(self.network.vpc.cidr).containsCIDR(self.kubernetesNetwork.serviceCidr) \
         || cidr(self.kubernetesNetwork.serviceCidr).containsCIDR(self.network.vpc.cidr))",
        "the ranges of Services and of the VPC overlap: choose a serviceCidr outside network.vpc.cidr, or leave it out for EKS \
         to choose",
    )
    .field_path(".kubernetesNetwork.serviceCidr")
}

pub(super) fn endpoint_reachable() -> Rule {
    rule(
        "(self.public || self.private) && (!self.public || self.publicCidrs.size() > 0)",
        "at least one of public, private must be true, and public needs at least one range in publicCidrs",
    )
}

// Network.

pub(super) fn network_kind_immutable() -> Rule {
    refuse(
        "has(self.vpc) == has(oldSelf.vpc)",
        "a cluster cannot move to another network: put the old value back, or create a new EksCluster with the other network, move \
         the workloads, and delete this one",
    )
}

pub(super) fn zone_count() -> Rule {
    rule("self >= 2 && self <= 6", "must be 2 to 6: EKS needs subnets in at least two availability zones")
}

pub(super) fn two_zones() -> Rule {
    rule("self.size() >= 2", "must name at least two availability zones: EKS needs subnets in two")
}

pub(super) fn two_subnets() -> Rule {
    rule("self.size() >= 2", "must name at least two subnets, in two availability zones: EKS needs them")
}

pub(super) fn zones_or_count() -> Rule {
    // The default of zoneCount cannot depend on zones, so it is accepted with them.
    rule(
        "!has(self.zones) || self.zoneCount == 3 || self.zoneCount == self.zones.size()",
        "zoneCount differs from the number of zones: leave zoneCount out when zones is set",
    )
    .field_path(".zoneCount")
}

pub(super) fn zones_immutable() -> Rule {
    refuse(
        format!("self.zoneCount == oldSelf.zoneCount && ({})", same_member("zones")),
        "the availability zones cannot change: put the old zones and zoneCount back, or create a new EksCluster with the others, \
         move the workloads, and delete this one",
    )
}

pub(super) fn public_subnets_not_removed() -> Rule {
    refuse(
        "self || !oldSelf",
        "public subnets cannot be removed, because load balancers and NAT gateways use them: put publicSubnets: true back",
    )
}

pub(super) fn nat_needs_public_subnets() -> Rule {
    rule(
        "self.publicSubnets || self.nat == 'None'",
        "NAT gateways need public subnets: set publicSubnets: true, or nat: None with the endpoints that the nodes need",
    )
    .field_path(".nat")
}

pub(super) fn selector_needs_vpc() -> Rule {
    rule(
        "(!has(self.subnetSelector) && !has(self.subnets)) || has(self.vpcId)",
        "subnetSelector and subnets select subnets of one VPC: set vpcId",
    )
    .field_path(".vpcId")
}

pub(super) fn vpc_id_immutable() -> Rule {
    refuse(
        format!("!has(oldSelf.vpcId) || ({})", same_member("vpcId")),
        "a cluster cannot move to another VPC: put the old vpcId back, or create a new EksCluster in the other, move the workloads, \
         and delete this one",
    )
    .field_path(".vpcId")
}

pub(super) fn service_cidr_is_ipv4() -> Rule {
    rule(
        "self.ipFamily == 'IPv4' || !has(self.serviceCidr)",
        "EKS itself chooses the range of Services of an IPv6 cluster: leave serviceCidr out",
    )
    .field_path(".serviceCidr")
}

// Access, Fargate.

pub(super) fn authentication_mode() -> Rule {
    refuse(
        "self == oldSelf || self == 'Api' || oldSelf == 'ConfigMap'",
        "EKS changes authenticationMode only from ConfigMap to ApiAndConfigMap to Api: put the old authenticationMode back",
    )
}

pub(super) fn entries_need_the_api() -> Rule {
    rule(
        "self.authenticationMode != 'ConfigMap' || (!self.prune && (!has(self.entries) || self.entries.size() == 0))",
        "with authenticationMode: ConfigMap a cluster has no access entries: set authenticationMode: ApiAndConfigMap first (it \
         cannot be reverted), or leave entries and prune out",
    )
    .field_path(".entries")
}

pub(super) fn kubernetes_groups() -> Rule {
    rule(
        "self.all(group, group.matches(r'^[^\\s]+$') && !group.startsWith('system:'))",
        "each entry must be a group without spaces, and EKS refuses system: groups; instead of system:masters, list the access \
         policy arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy in policies",
    )
}

pub(super) fn entry_username() -> Rule {
    rule(
        "!self.matches('^(system:|eks:|aws:|amazon:|iam:)') && (!self.contains('{{SessionName') || self.split('{{SessionName')[0].contains(':'))",
        "EKS refuses names that begin with system:, eks:, aws:, amazon: or iam:, and needs a colon before {{SessionName}}: choose another \
         name, such as sso:{{SessionName}}, or leave it out",
    )
}

pub(super) fn node_entries_have_no_identity() -> Rule {
    rule(
        "!has(self.type) || self.type == 'Standard' || (!has(self.kubernetesGroups) && !has(self.username))",
        "EKS sets the user name and the groups of nodes: leave username and kubernetesGroups out, or set type: Standard",
    )
}

pub(super) fn node_entries_are_of_roles() -> Rule {
    rule(
        "!has(self.type) || self.type == 'Standard' || !self.principalArn.contains(':user/')",
        "nodes join with a role: set principalArn to the ARN of their role, or set type: Standard",
    )
    .field_path(".principalArn")
}

pub(super) fn node_entries_have_no_policies() -> Rule {
    rule(
        "!has(self.policies) || !has(self.type) || self.type == 'Standard' || self.type == 'Ec2'",
        "EKS gives nodes their rights: leave policies out, or set type: Standard; only type: Ec2 has policies",
    )
    .field_path(".policies")
}

pub(super) fn access_scope() -> Rule {
    rule(
        "(self.type == 'Namespace') == (has(self.namespaces) && self.namespaces.size() > 0)",
        "type: Namespace needs namespaces, and type: Cluster has none",
    )
    .field_path(".namespaces")
}

pub(super) fn fargate_labels() -> Rule {
    rule(
        "self.all(key, key.size() <= 317 && key.matches(r'^([a-z0-9*?]([-a-z0-9.*?]*[a-z0-9*?])?/)?[A-Za-z0-9*?]([-A-Za-z0-9_.*?]*[A-Za-z0-9*?])?$') \
         && self[key].matches(r'^([A-Za-z0-9*?]([-A-Za-z0-9_.*?]*[A-Za-z0-9*?])?)?$'))",
        "each must be a Kubernetes label, in whose key and value * and ? stand for any characters",
    )
}

pub(super) fn fargate_namespace() -> Rule {
    matches(
        "^[a-z0-9*?]([-a-z0-9*?]*[a-z0-9*?])?$",
        "must be the name of a namespace, in which * and ? stand for any characters",
    )
}

// NodeGroup.

const EKS_NODE_GROUP_NAME: &str = "(has(self.spec.nodeGroupName) ? self.spec.nodeGroupName : self.metadata.name)";

pub(super) fn node_group_name_fits_eks() -> Rule {
    rule(
        format!("{EKS_NODE_GROUP_NAME}.matches(r'^[0-9A-Za-z][A-Za-z0-9_-]{{0,62}}$')"),
        "the name of an EKS node group has up to 63 letters, digits, '-' and '_', and metadata.name does not fit: set \
         spec.nodeGroupName, or choose another metadata.name",
    )
}

pub(super) fn node_group_name_immutable() -> Rule {
    let old = EKS_NODE_GROUP_NAME.replace("self.", "oldSelf.");
    refuse(
        format!("{EKS_NODE_GROUP_NAME} == {old}"),
        "the name in EKS cannot change: put the old value of nodeGroupName back, or create a new NodeGroup of the other name and \
         delete this one",
    )
    .field_path(".spec.nodeGroupName")
}

pub(super) fn min_at_most_max() -> Rule {
    rule("self.min <= self.max", "min must not be above max").field_path(".min")
}

pub(super) fn desired_in_bounds() -> Rule {
    rule(
        "!has(self.desired) || (self.min <= self.desired && self.desired <= self.max)",
        "desired must be between min and max: change min or max too, or leave desired out to use min",
    )
    .field_path(".desired")
}

pub(super) fn enforced_size_is_set() -> Rule {
    rule(
        "self.desiredPolicy != 'Enforce' || has(self.desired)",
        "desiredPolicy: Enforce keeps the size at desired, and without desired it would remove all nodes above min: set desired, or \
         leave desiredPolicy out",
    )
    .field_path(".desired")
}

/// Rejects a `desired` that would have no effect. The present size is accepted, for example when a commit that removed
/// it is reverted. If new bounds exclude the old value, AWS moves the size to the nearer bound as well.
pub(super) fn size_owned_by_autoscaler() -> Rule {
    let (new, old) = ("self.spec.scaling", "oldSelf.spec.scaling");
    let moved = format!(
        "({old}.desired < {new}.min && {new}.desired == {new}.min) || ({old}.desired > {new}.max && {new}.desired == {new}.max)"
    );
    refuse(
        format!(
            "!has(self.status) || !has(self.status.arn) || {new}.desiredPolicy == 'Enforce' || !has({new}.desired) \
             || (has(self.status.replicas) && {new}.desired == self.status.replicas) || (has({old}.desired) && ({new}.desired == {old}.desired || {moved}))"
        ),
        "with desiredPolicy: Initial an autoscaler owns the size of an existing node group, and a change of desired (also by \
         kubectl scale) has no effect: change min and max, set desiredPolicy: Enforce together with desired, or put the old \
         value back",
    )
    .field_path(".spec.scaling.desired")
}

pub(super) fn instance_types() -> Rule {
    each(r"^[a-z0-9-]+\.[a-z0-9-]+$", "each entry must be an EC2 instance type, such as m7i.large")
}

pub(super) fn tier_or_ids() -> Rule {
    rule(
        "(!has(self.ids) && !has(self.cidrs)) || (!has(self.tier) && !has(self.zones))",
        "ids and cidrs cannot be combined with tier or zones: leave out tier and zones, or leave out ids and cidrs",
    )
}

/// Characters as in EC2's CreateLaunchTemplate.
pub(super) fn launch_template_name() -> Rule {
    matches("^[A-Za-z0-9()./_-]+$", "must be the name of a launch template: letters, digits and ().-/_")
}

pub(super) fn launch_template_version() -> Rule {
    matches("^[1-9][0-9]*$", "must be the number of a version of the launch template, in quotes, such as \"3\"")
}

// AwsAccount.

pub(super) fn external_id() -> Rule {
    matches("^[A-Za-z0-9_+=,.@:/-]+$", "must be 2 to 1224 letters, digits or _+=,.@:/-, as AssumeRole takes them")
}

pub(super) fn external_id_needs_role() -> Rule {
    rule(
        "!has(self.externalId) || has(self.roleArn)",
        "externalId is sent with AssumeRole: set roleArn, or leave externalId out",
    )
    .field_path(".externalId")
}

pub(super) fn role_is_in_account() -> Rule {
    rule(
        "!has(self.roleArn) || !self.roleArn.matches('^([^:]*:){5}') || self.roleArn.split(':')[4] == self.accountId",
        "the role is in another account than accountId: name a role of accountId, or set accountId to the role's account",
    )
    .field_path(".roleArn")
}

pub(super) fn allowed_namespaces() -> Rule {
    each(
        r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$",
        "each entry must be the name of a namespace; a single \"*\" allows all",
    )
}

// Roles of Pods.

pub(super) fn role_needs_short_names() -> Rule {
    rule(
        "!has(self.role) || self.namespace.size() + self.serviceAccount.size() <= 140",
        "namespace and serviceAccount of a role may have 140 characters together, as tags of the role name them: shorten one, or create \
         the role yourself and set roleArn",
    )
}
