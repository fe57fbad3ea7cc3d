//! Service quotas that a plan needs: what the account may have, what it has, and what the plan adds.
//!
//! Codes: <https://docs.aws.amazon.com/general/latest/gr/eks.html>, `vpc-service.html`, and
//! <https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html>.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, InstanceLifecycleType};

use super::Finding;
use crate::aws::{AwsError, Service, Session};
use crate::resources::eks::lists;

const CHECK: &str = "quota";

/// A quota of Service Quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quota {
    pub service: &'static str,
    pub code: &'static str,
    /// For people.
    pub name: &'static str,
    /// What every account has: AWS's default. 0 for the quotas of vCPUs, which AWS sets lower for some new accounts.
    pub least: u32,
}

const fn quota(service: &'static str, code: &'static str, name: &'static str, least: u32) -> Quota {
    Quota { service, code, name, least }
}

const fn of_vcpus(code: &'static str, name: &'static str) -> Quota {
    quota("ec2", code, name, 0)
}

pub const VPCS: Quota = quota("vpc", "L-F678F1CE", "VPCs", 5);
pub const INTERNET_GATEWAYS: Quota = quota("vpc", "L-A4707A72", "internet gateways", 5);
/// In each zone.
pub const NAT_GATEWAYS: Quota = quota("vpc", "L-FE5A380F", "NAT gateways in a zone", 5);
pub const ADDRESSES: Quota = quota("ec2", "L-0263D0A3", "elastic IPs", 5);
pub const CLUSTERS: Quota = quota("eks", "L-1194D53C", "EKS clusters", 100);
/// Of one cluster.
pub const NODE_GROUPS: Quota = quota("eks", "L-6D54EA21", "node groups of a cluster", 30);

/// vCPUs by the class of instance types, on demand and spot; the families that count for the class.
const VCPUS: &[(&[&str], Quota, Quota)] = &[
    (
        &["a", "c", "d", "h", "i", "m", "r", "t", "z"],
        of_vcpus("L-1216C47A", "vCPUs of on-demand standard instances"),
        of_vcpus("L-34B43A08", "vCPUs of spot standard instances"),
    ),
    (
        &["g", "vt"],
        of_vcpus("L-DB2E81BA", "vCPUs of on-demand G and VT instances"),
        of_vcpus("L-3819A6DF", "vCPUs of spot G and VT instances"),
    ),
    (
        &["p"],
        of_vcpus("L-417A185B", "vCPUs of on-demand P instances"),
        of_vcpus("L-7212CCBC", "vCPUs of spot P instances"),
    ),
];

/// The vCPU quota that an instance type counts for; `None`: one that is not checked.
pub fn of_instance_type(name: &str, is_spot: bool) -> Option<Quota> {
    let letters = name.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
    let (_, on_demand, spot) = VCPUS.iter().find(|(families, ..)| families.contains(&letters))?;
    Some(if is_spot { *spot } else { *on_demand })
}

/// What a plan needs of a quota, in addition to what exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs(pub BTreeMap<Quota, u32>);

impl Needs {
    /// Adds to what is needed.
    pub fn add(&mut self, quota: Quota, count: u32) {
        if count > 0 {
            *self.0.entry(quota).or_default() += count;
        }
    }
}

/// Which limits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// All: the report tells them.
    All,
    /// Those that the plan could reach: not where it stays within what every account has.
    Reachable,
}

/// Checks the quotas that the plan needs; a line for each whose limit is read.
pub async fn check(aws: &Session, needs: &Needs, cluster: &str, limits: Limits) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (quota, needed) in &needs.0 {
        let used = match used(aws, *quota, cluster).await {
            Ok(used) => used,
            Err(error) => {
                findings.push(Finding::not_checked(CHECK, &format!("the use of {}", quota.name), &error));
                continue;
            }
        };
        if limits == Limits::Reachable && used + needed <= quota.least {
            continue;
        }
        findings.push(match limit(aws, *quota).await {
            Ok(Some(limit)) => judge(&aws.region, *quota, limit, used, *needed),
            Ok(None) => Finding::warning(
                CHECK,
                format!("{}: {used} used, {needed} needed; Service Quotas does not tell the limit", quota.name),
                "look at the console",
            ),
            Err(error) => Finding::not_checked(CHECK, &format!("the limit of {}", quota.name), &error),
        });
    }
    findings
}

fn judge(region: &str, quota: Quota, limit: u32, used: u32, needed: u32) -> Finding {
    let Quota { service, code, name, .. } = quota;
    let message = format!("{name}: {used} of {limit} used, {needed} needed");
    if used + needed <= limit {
        return Finding::passed(CHECK, message);
    }
    let wanted = used + needed;
    Finding::failed(
        CHECK,
        message,
        format!(
            "delete what is unused, or request an increase: `aws service-quotas request-service-quota-increase --service-code {service} \
             --quota-code {code} --desired-value {wanted} --region {region}`"
        ),
    )
}

/// The value that applies to the account, else AWS's default.
async fn limit(aws: &Session, quota: Quota) -> Result<Option<u32>, AwsError> {
    let quotas = aws.service_quotas();
    let (service, code) = (quota.service, quota.code);
    let applied = quotas.get_service_quota().service_code(service).quota_code(code);
    let value = match aws.call(Service::ServiceQuotas, "GetServiceQuota", code, applied.send()).await {
        // Service Quotas has no applied value of a quota that was never changed.
        Err(error) if error.code.as_deref() == Some("NoSuchResourceException") => {
            let default = quotas.get_aws_default_service_quota().service_code(service).quota_code(code);
            let found = aws.call(Service::ServiceQuotas, "GetAWSDefaultServiceQuota", code, default.send()).await?;
            found.quota.and_then(|quota| quota.value)
        }
        other => other?.quota.and_then(|quota| quota.value),
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "quotas are small whole numbers")]
    Ok(value.map(|value| value.max(0.0) as u32))
}

/// All items of all pages of one of EC2's lists.
macro_rules! listed {
    ($aws:expr, $action:literal, $request:expr, $items:ident) => {{
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let request = $request.set_next_token(next);
            let page = $aws.call(Service::Ec2, $action, "the account", request.send()).await?;
            all.extend(page.$items().iter().cloned());
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break all;
            }
        }
    }};
}

/// How much of the quota the account uses.
async fn used(aws: &Session, quota: Quota, cluster: &str) -> Result<u32, AwsError> {
    let count = match quota {
        VPCS => listed!(aws, "DescribeVpcs", aws.ec2.describe_vpcs(), vpcs).len(),
        INTERNET_GATEWAYS => {
            listed!(aws, "DescribeInternetGateways", aws.ec2.describe_internet_gateways(), internet_gateways).len()
        }
        NAT_GATEWAYS => nat_gateways_in_fullest_zone(aws).await?,
        ADDRESSES => {
            let answer =
                aws.call(Service::Ec2, "DescribeAddresses", "the account", aws.ec2.describe_addresses().send());
            answer.await?.addresses().len()
        }
        CLUSTERS => lists::cluster_names(aws).await?.len(),
        NODE_GROUPS => match lists::node_group_names(aws, cluster).await {
            Err(error) if error.is_not_found() => 0,
            other => other?.len(),
        },
        _ => return vcpus(aws, quota).await,
    };
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The quota counts in each zone, and where the plan puts its gateways is decided later.
async fn nat_gateways_in_fullest_zone(aws: &Session) -> Result<usize, AwsError> {
    let live = Filter::builder().name("state").values("pending").values("available").values("deleting").build();
    let request = || aws.ec2.describe_nat_gateways().filter(live.clone());
    let gateways = listed!(aws, "DescribeNatGateways", request(), nat_gateways);
    if gateways.is_empty() {
        return Ok(0);
    }
    let subnets = listed!(aws, "DescribeSubnets", aws.ec2.describe_subnets(), subnets);
    let zones = subnets.iter().filter_map(|subnet| Some((subnet.subnet_id()?, subnet.availability_zone()?)));
    let zones: BTreeMap<&str, &str> = zones.collect();
    let mut counts = BTreeMap::<&str, usize>::new();
    for zone in gateways.iter().filter_map(|gateway| zones.get(gateway.subnet_id()?)) {
        *counts.entry(zone).or_default() += 1;
    }
    Ok(counts.into_values().max().unwrap_or_default())
}

/// The vCPUs of the instances that count for the quota.
async fn vcpus(aws: &Session, quota: Quota) -> Result<u32, AwsError> {
    let live = Filter::builder().name("instance-state-name").values("pending").values("running").build();
    let request = || aws.ec2.describe_instances().filters(live.clone());
    let reservations = listed!(aws, "DescribeInstances", request(), reservations);
    let counted = reservations.iter().flat_map(|reservation| reservation.instances()).filter(|instance| {
        let is_spot = instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot);
        let name = instance.instance_type().map(|name| name.as_str()).unwrap_or_default();
        of_instance_type(name, is_spot) == Some(quota)
    });
    let each = counted.filter_map(|instance| instance.cpu_options());
    let each = each.map(|cpu| cpu.core_count().unwrap_or_default() * cpu.threads_per_core().unwrap_or(1));
    Ok(each.map(|count| u32::try_from(count).unwrap_or_default()).sum())
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn instance_types_count_for_the_quota_of_their_class() {
        let code = |name: &str, is_spot| of_instance_type(name, is_spot).map(|quota| quota.code);
        assert_eq!(code("m7i.large", false), Some("L-1216C47A"));
        assert_eq!(code("t3.micro", true), Some("L-34B43A08"));
        assert_eq!(code("g5.xlarge", false), Some("L-DB2E81BA"));
        assert_eq!(code("p5.48xlarge", true), Some("L-7212CCBC"));
        assert_eq!(code("trn1.2xlarge", false), None, "not checked");
    }

    #[test]
    fn what_is_used_and_needed_must_fit() {
        for (limit, used, needed, outcome) in
            [(5, 4, 1, Outcome::Passed), (5, 5, 1, Outcome::Failed), (5, 3, 3, Outcome::Failed)]
        {
            let found = judge("eu-west-1", VPCS, limit, used, needed);
            assert_eq!(found.outcome, outcome, "{}", found.message);
        }
        let advice = judge("eu-west-1", ADDRESSES, 5, 4, 3).advice.unwrap();
        assert!(advice.contains("--quota-code L-0263D0A3 --desired-value 7 --region eu-west-1"), "{advice}");
    }

    #[test]
    fn needs_add_up() {
        let mut needs = Needs::default();
        needs.add(VPCS, 1);
        needs.add(VPCS, 2);
        needs.add(ADDRESSES, 0);
        assert_eq!(needs.0, [(VPCS, 3)].into());
    }
}
