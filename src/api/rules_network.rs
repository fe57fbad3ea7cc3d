//! The CEL rules of what a VPC of Keelson's can have besides its own range: addresses of NAT gateways and ranges for Pods. No I/O.

use kube::core::{Reason, Rule};

use super::rules::{NETWORK_V4, each, matches};

fn rule(cel: impl Into<String>, message: &str) -> Rule {
    Rule::new(cel).message(message)
}

fn refuse(cel: impl Into<String>, message: &str) -> Rule {
    rule(cel, message).reason(Reason::FieldValueForbidden)
}

pub(super) fn allocation_ids() -> Rule {
    each("^eipalloc-[0-9a-z]+$", "each entry must be the allocation id of an Elastic IP address, eipalloc-...")
}

/// NAT gateways of a VPC with `self`.
const GATEWAYS: &str =
    "(self.nat == 'None' ? 0 : self.nat == 'Single' ? 1 : has(self.zones) ? self.zones.size() : self.zoneCount)";

pub(super) fn address_for_each_nat_gateway() -> Rule {
    rule(
        format!("!has(self.natAddresses) || self.natAddresses.size() == 0 || self.natAddresses.size() == {GATEWAYS}"),
        "each NAT gateway needs one address: list one with nat: Single, one for each zone with nat: PerZone, and none with \
         nat: None, or leave natAddresses out for Keelson to allocate them",
    )
    .field_path(".natAddresses")
}

/// The condition that the rule cannot say anything: no cluster in EKS yet, or no VPC of Keelson's.
fn unless_running_in_vpc(cel: &str) -> String {
    format!(
        "!has(oldSelf.status) || !has(oldSelf.status.arn) || !has(self.spec.network) || !has(oldSelf.spec.network) \
         || !has(self.spec.network.vpc) || !has(oldSelf.spec.network.vpc) || {cel}"
    )
}

/// A gateway keeps its address as long as it exists. The order is that of the zones, and `Single` is the gateway of the first.
pub(super) fn nat_gateways_keep_their_address() -> Rule {
    let list = |of: &str| {
        let field = format!("{of}.spec.network.vpc.natAddresses");
        format!("(has({field}) ? {field} : [])")
    };
    let (new, old) = (list("self"), list("oldSelf"));
    let cel = format!(
        "self.spec.network.vpc.nat == 'None' || oldSelf.spec.network.vpc.nat == 'None' \
         || (({new}.size() == 0) == ({old}.size() == 0) \
         && [0, 1, 2, 3, 4, 5].all(n, n >= {new}.size() || n >= {old}.size() || {new}[n] == {old}[n]))"
    );
    refuse(
        unless_running_in_vpc(&cel),
        "a NAT gateway keeps its address: put the old natAddresses back, or set nat: None, wait until the gateways are deleted \
         (nodes have no internet access meanwhile), and set nat and natAddresses again",
    )
    .field_path(".spec.network.vpc.natAddresses")
}

pub(super) fn pod_cidrs() -> Rule {
    let network = NETWORK_V4.replace("self", "item");
    rule(
        format!(
            "self.all(item, {network} && cidr(item).prefixLength() >= 16 && cidr(item).prefixLength() <= 24 \
             && cidr(item).ip().isGlobalUnicast() && !item.matches('^(0|24[0-9]|25[0-5])[.]') \
             && !cidr('198.19.0.0/16').containsCIDR(item))"
        ),
        "each entry must be the IPv4 range of a network from /16 to /24, such as 100.64.0.0/16, with no host bits set, outside \
         198.19.0.0/16, which EC2 reserves",
    )
}

/// The ranges are valid, as other rules say if not.
const VALID: &str = "!has(self.podCidrs) || !isCIDR(self.cidr) || !self.podCidrs.all(item, isCIDR(item))";

pub(super) fn pod_ranges_outside_vpc() -> Rule {
    rule(
        format!(
            "{VALID} || self.podCidrs.all(item, !cidr(item).containsCIDR(self.cidr) && !cidr(self.cidr).containsCIDR(item) \
             && self.podCidrs.exists_one(other, cidr(item).containsCIDR(other) || cidr(other).containsCIDR(item)))"
        ),
        "the ranges of podCidrs overlap each other or cidr: choose ranges that do not",
    )
    .field_path(".podCidrs")
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html#add-cidr-block-restrictions>
pub(super) fn pod_ranges_that_ec2_adds() -> Rule {
    rule(
        format!(
            "{VALID} || self.podCidrs.all(item, ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'].all(block, \
             !cidr(block).containsCIDR(item) || cidr(block).containsCIDR(self.cidr)) \
             && !cidr('172.31.0.0/16').containsCIDR(item) \
             && !(cidr('10.0.0.0/16').containsCIDR(item) && (cidr('10.0.0.0/15').containsCIDR(self.cidr) \
             || self.podCidrs.exists(other, other != item && cidr('10.0.0.0/15').containsCIDR(other)))))"
        ),
        "EC2 does not add such a range to a VPC with this cidr: a private range must be in the same one of 10.0.0.0/8, 172.16.0.0/12 \
         and 192.168.0.0/16 as cidr, not in 172.31.0.0/16, nor in 10.0.0.0/16 beside 10.0.0.0/15; choose one of 100.64.0.0/10",
    )
    .field_path(".podCidrs")
}

/// A range with subnets. One that EC2 refused has none, and can be corrected.
pub(super) fn pod_ranges_not_removed() -> Rule {
    let cel = "!has(oldSelf.status.network) || !has(oldSelf.status.network.podSubnets) \
               || oldSelf.status.network.podSubnets.all(subnet, !has(subnet.cidr) || !isCIDR(subnet.cidr) \
               || (has(self.spec.network.vpc.podCidrs) && self.spec.network.vpc.podCidrs.exists(item, isCIDR(item) \
               && cidr(item).containsCIDR(subnet.cidr))))";
    refuse(
        unless_running_in_vpc(&format!("({cel})")),
        "a range with subnets of Pods cannot be removed: put it back; Pods stop using it when the CNI is configured for other subnets",
    )
    .field_path(".spec.network.vpc.podCidrs")
}

/// Without a range of Services, EKS chooses one of two when it creates the cluster.
pub(super) fn service_cidr_outside_pod_ranges() -> Rule {
    let services = "(has(self.kubernetesNetwork.serviceCidr) ? [self.kubernetesNetwork.serviceCidr] \
                    : ['10.100.0.0/16', '172.20.0.0/16'])";
    rule(
        format!(
            "!has(self.network.vpc) || !has(self.network.vpc.podCidrs) || self.network.vpc.podCidrs.all(item, !isCIDR(item) \
             || {services}.all(services, !isCIDR(services) || !(cidr(item).containsCIDR(services) \
             || cidr(services).containsCIDR(item))))"
        ),
        "the ranges of Services and of Pods overlap: choose other podCidrs, or a serviceCidr outside them when the cluster is created; \
         without one, EKS chooses 10.100.0.0/16 or 172.20.0.0/16",
    )
    .field_path(".network.vpc.podCidrs")
}

pub(super) fn pod_ranges_are_for_ipv4() -> Rule {
    rule(
        "!has(self.network.vpc) || !has(self.network.vpc.podCidrs) || self.network.vpc.podCidrs.size() == 0 \
         || self.kubernetesNetwork.ipFamily == 'IPv4'",
        "Pods of an IPv6 cluster have IPv6 addresses: leave podCidrs out, or set ipFamily: IPv4",
    )
    .field_path(".network.vpc.podCidrs")
}

const SUBNET_RANGE: &str = "the IPv4 range of a subnet, such as 10.0.64.0/19, with no host bits set";

pub(super) fn subnet_range() -> Rule {
    rule(NETWORK_V4, &format!("must be {SUBNET_RANGE}"))
}

pub(super) fn subnet_ranges() -> Rule {
    let network = NETWORK_V4.replace("self", "item");
    rule(format!("self.all(item, {network})"), &format!("each entry must be {SUBNET_RANGE}"))
}

pub(super) fn subnet_id() -> Rule {
    matches("^subnet-[0-9a-z]+$", "must be the id of a subnet, subnet-...")
}

pub(super) fn zone() -> Rule {
    matches("^[a-z]{2,6}(-[a-z]+)+-[0-9]+[a-z]$", "must be the name of an availability zone, such as eu-west-1a")
}
