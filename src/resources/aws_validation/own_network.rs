//! What must be true in AWS before the spec of a VPC that Keelson creates can be applied. Pure.

use super::claims::{FLOW_LOGS, Requirement, RequirementKind, role};
use crate::api::EksClusterSpec;
use crate::api::flow_logs::LogGroupDestination;
use crate::api::network::{IpFamily, Vpc};
use crate::aws::partitions;
use crate::resources::cloud::AccountSettings;
use crate::resources::iam::role::CNI_IPV6_POLICY;

/// What a cluster's requirements depend on besides its spec.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountContext<'a> {
    /// The AWS account.
    pub account_id: &'a str,
    /// What the AwsAccount says; `None`: nothing.
    pub settings: Option<&'a AccountSettings>,
    /// The VPC that Keelson created for the cluster.
    pub own_vpc: Option<&'a str>,
}

/// The requirements of a VPC. `own_vpc`: its id, once it exists.
pub(super) fn requirements(spec: &Vpc, own_vpc: Option<&str>) -> Vec<Requirement> {
    let vpc = || own_vpc.map(str::to_owned);
    let groups = spec.security_group_ids.iter().filter(|ids| !ids.is_empty()).map(|ids| {
        let kind = RequirementKind::GroupsOfOwnVpc { ids: ids.clone(), vpc: vpc() };
        Requirement::new("spec.network.vpc.securityGroupIds", kind)
    });
    let addresses = Some(&spec.nat_addresses).filter(|ids| !ids.is_empty()).map(|ids| {
        let kind = RequirementKind::Addresses { ids: ids.clone(), vpc: vpc() };
        Requirement::new("spec.network.vpc.natAddresses", kind)
    });
    groups.chain(addresses).chain(flow_log_role(spec)).collect()
}

fn flow_log_role(vpc: &Vpc) -> Option<Requirement> {
    let LogGroupDestination { log_group: _, role_arn } = vpc.flow_logs.as_ref()?.cloud_watch_logs.as_ref()?;
    Some(role("spec.network.vpc.flowLogs.cloudWatchLogs.roleArn", role_arn, Some(FLOW_LOGS)))
}

/// The policy of the account that the role of an IPv6 cluster's nodes gets.
pub(super) fn policy_of_ipv6_nodes(spec: &EksClusterSpec, account_id: &str) -> Option<Requirement> {
    let is_ipv6 = spec.network.vpc.is_some() && spec.kubernetes_network.ip_family == IpFamily::IPv6;
    let arn = format!("arn:{}:iam::{account_id}:policy/{CNI_IPV6_POLICY}", partitions::of_region(&spec.region).id);
    is_ipv6.then(|| Requirement::new("spec.kubernetesNetwork.ipFamily", RequirementKind::Policy(arn)))
}

#[cfg(test)]
#[path = "own_network_tests.rs"]
mod tests;
