//! The resources of a state that stay with Terraform, and why. Pure.

use std::collections::BTreeMap;

use super::state::Instance;

/// Reasons by the beginning of a resource's type; the first that fits counts.
const REASONS: [(&str, &str); 24] = [
    ("aws_iam_", "roles and policies: Keelson refers to roles by ARN, and does not change or delete them"),
    ("aws_launch_template", "launch templates: the NodeGroups refer to them (launchTemplate), and new nodes need them"),
    ("aws_security_group", SECURITY_GROUPS),
    ("aws_vpc_security_group_", SECURITY_GROUPS),
    ("aws_kms_", "keys: Keelson refers to them by ARN"),
    ("aws_vpc", NETWORK),
    ("aws_subnet", NETWORK),
    ("aws_route", NETWORK),
    ("aws_nat_gateway", NETWORK),
    ("aws_internet_gateway", NETWORK),
    ("aws_egress_only_internet_gateway", NETWORK),
    ("aws_eip", NETWORK),
    ("aws_default_", NETWORK),
    ("aws_network_", NETWORK),
    ("aws_flow_log", NETWORK),
    (
        "aws_autoscaling_group_tag",
        "tags of Auto Scaling groups: autoScalingGroupTags of the NodeGroup takes them over, and `keelson import --name` writes it",
    ),
    ("aws_autoscaling_", "self-managed nodes: they have no NodeGroup"),
    ("aws_eks_identity_provider_config", "identity providers: a cluster that is converted here has no other"),
    ("aws_eks_capability", "EKS capabilities that the manifest does not have: a remark says why"),
    (
        "aws_eks_access_",
        "access of nodes and services, which EKS arranges itself, and policies whose access entry is not in the state",
    ),
    (
        "aws_cloudwatch_log_group",
        "log groups: the manifest has that of the control plane only if its logs end (retention_in_days)",
    ),
    ("aws_ec2_tag", "tags of resources that Keelson does not own"),
    ("kubernetes_", WORKLOADS),
    ("helm_", WORKLOADS),
];
const NETWORK: &str = "the network: network.existing refers to it by id, and Keelson does not change or delete it";
const SECURITY_GROUPS: &str = "security groups: Keelson refers to them by id";
const WORKLOADS: &str = "objects in the cluster: Keelson does not touch them";
const OF_A_CLUSTER: &str = "parts of a cluster that is not converted here, or of none in this state";
/// Types of providers that create nothing.
const NOTHING: [&str; 6] = ["null_", "time_", "random_", "terraform_data", "tls_", "local_"];
const OTHER: &str = "everything else: the manifest does not refer to it";

/// What stays, as lines: a reason, and below it the addresses without their indexes.
pub fn describe(kept: &[&Instance]) -> Vec<String> {
    let mut of_reasons: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for instance in kept.iter().filter(|one| !NOTHING.iter().any(|prefix| one.type_.starts_with(prefix))) {
        let address = without_index(&instance.address);
        *of_reasons.entry(reason(&instance.type_)).or_default().entry(address).or_default() += 1;
    }
    let mut lines = Vec::new();
    for (reason, addresses) in of_reasons {
        lines.push(format!("  {reason}"));
        lines.extend(addresses.iter().map(|(address, count)| match count {
            1 => format!("    {address}"),
            several => format!("    {address} ({several})"),
        }));
    }
    lines
}

fn reason(type_: &str) -> &'static str {
    let fits = REASONS.iter().find(|(prefix, _)| type_.starts_with(prefix));
    let other = if type_.starts_with("aws_eks_") { OF_A_CLUSTER } else { OTHER };
    fits.map_or(other, |(_, reason)| reason)
}

/// Without the index of the resource itself; those of modules stay.
pub(super) fn without_index(address: &str) -> &str {
    let Some(inner) = address.strip_suffix(']') else { return address };
    let start = match inner.strip_suffix('"') {
        Some(key) => key.rfind("[\""),
        None => inner.rfind('['),
    };
    start.map_or(address, |start| &address[..start])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_counted_per_resource() {
        let instance = |address: &str, type_: &str| Instance {
            address: address.to_owned(),
            type_: type_.to_owned(),
            values: Default::default(),
            sensitive: Vec::new(),
        };
        let all = [
            instance("module.vpc.aws_subnet.private[0]", "aws_subnet"),
            instance("module.vpc.aws_subnet.private[1]", "aws_subnet"),
            instance(r#"module.eks.module.ng["a[0]"].aws_iam_role.this["x]"]"#, "aws_iam_role"),
            instance("aws_db_instance.db", "aws_db_instance"),
            instance("module.eks.time_sleep.this[0]", "time_sleep"),
            instance("aws_vpc_security_group_ingress_rule.a", "aws_vpc_security_group_ingress_rule"),
        ];
        let lines = describe(&all.iter().collect::<Vec<_>>());
        insta::assert_snapshot!(lines.join("\n"), @r#"
        everything else: the manifest does not refer to it
          aws_db_instance.db
        roles and policies: Keelson refers to roles by ARN, and does not change or delete them
          module.eks.module.ng["a[0]"].aws_iam_role.this
        security groups: Keelson refers to them by id
          aws_vpc_security_group_ingress_rule.a
        the network: network.existing refers to it by id, and Keelson does not change or delete it
          module.vpc.aws_subnet.private (2)
        "#);
    }
}
