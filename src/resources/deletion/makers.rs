//! Who made what blocks a deletion, as AWS services and controllers mark it, and what to do about it. Pure.
//!
//! Keelson deletes none of this: it names it, so that nobody has to find out what an interface or an instance belongs to.

use std::borrow::Cow;

use aws_sdk_ec2::types::{Instance, VpcEndpoint};

use crate::aws::snapshots::{NetworkInterface, SecurityGroup};
use crate::aws::tags::Tags;

/// What to do about something.
pub type Advice = Cow<'static, str>;

/// Who made a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    /// For the description.
    pub name: String,
    /// What to do; `None`: delete it by hand.
    pub advice: Option<Advice>,
}

impl Maker {
    fn new(name: impl Into<String>, advice: Option<&'static str>) -> Self {
        Self { name: name.into(), advice: advice.map(Cow::Borrowed) }
    }
}

/// See <https://docs.aws.amazon.com/guardduty/latest/ug/using-iac-with-gdu-automated-agents-runtime-monitoring.html>:
/// GuardDuty deletes its endpoint and its group only when Runtime Monitoring is disabled, and does so for the account.
const GUARD_DUTY: &str = "GuardDuty keeps its endpoint and its security group until Runtime Monitoring is disabled in \
                          the account: disable its automated agent configuration, then delete both by hand";
const KARPENTER: &str =
    "Karpenter's instances outlive the cluster: terminate them by hand (aws ec2 terminate-instances)";
/// Tags that hold the name of an instance's cluster: EKS, Karpenter since and before v1, eksctl.
pub const CLUSTER_TAGS: [&str; 5] = [
    "aws:eks:cluster-name",
    "eks:cluster-name",
    "eks:eks-cluster-name",
    "karpenter.sh/managed-by",
    "alpha.eksctl.io/cluster-name",
];
/// Tags of instances that Karpenter launched, since and before its v0.32.
const KARPENTER_TAGS: [&str; 2] = ["karpenter.sh/nodepool", "karpenter.sh/provisioner-name"];
/// Begins the tag of what belongs to a cluster, whatever made that; its name follows.
const CLUSTER_KEY: &str = "kubernetes.io/cluster/";
const AUTO_SCALING: &str = "an Auto Scaling group replaces instances that are terminated: delete the group by hand";
const LOAD_BALANCER: &str = "a load balancer goes with its listeners: delete it by hand (aws elbv2 delete-load-balancer), \
                             after its deletion protection is disabled";
const LAMBDA: &str = "Lambda releases an interface up to 40 minutes after the last function that uses it is deleted, or \
                      no longer attached to the VPC";
const TRANSIT_GATEWAY: &str =
    "delete the attachment of the transit gateway by hand (aws ec2 delete-transit-gateway-vpc-attachment)";
const CLIENT_VPN: &str =
    "disassociate the Client VPN endpoint by hand (aws ec2 disassociate-client-vpn-target-network)";
const RESOLVER: &str =
    "delete the endpoint of Route 53 Resolver by hand (aws route53resolver delete-resolver-endpoint)";
const MOUNT_TARGET: &str =
    "delete the mount target by hand (aws efs delete-mount-target); the file system and its data stay";

/// How services describe the interfaces that they create, before a name: who they are, and what to do.
const DESCRIPTIONS: [(&str, &str, Option<&str>); 21] = [
    ("ELB ", "Elastic Load Balancing", Some(LOAD_BALANCER)),
    ("RDSNetworkInterface", "RDS", None),
    ("ElastiCache ", "ElastiCache", None),
    ("ElastiCache+", "ElastiCache", None),
    ("AWS Lambda VPC ENI", "Lambda", Some(LAMBDA)),
    ("EFS mount target", "EFS", Some(MOUNT_TARGET)),
    ("Network Interface for Transit Gateway Attachment", "a transit gateway", Some(TRANSIT_GATEWAY)),
    ("AWS created network interface for directory", "Directory Service", None),
    ("AWS created network interface for fs-", "FSx", None),
    ("Route 53 Resolver", "Route 53 Resolver", Some(RESOLVER)),
    ("ClientVPN Endpoint", "Client VPN", Some(CLIENT_VPN)),
    ("DMSNetworkInterface", "Database Migration Service", None),
    ("RedshiftNetworkInterface", "Redshift", None),
    ("ES ", "OpenSearch Service", None),
    ("Attached to Glue", "Glue", None),
    ("Amazon MSK network interface", "MSK", None),
    ("AmazonMQ network interface", "Amazon MQ", None),
    ("DAX ", "DynamoDB Accelerator", None),
    ("Created By Amazon Workspaces", "WorkSpaces", None),
    ("arn:aws:ecs:", "ECS", None),
    ("CloudHSM ", "CloudHSM", None),
];
/// Services whose interfaces go when the cluster's own resources are deleted.
const GO_WITH_THE_CLUSTER: [&str; 1] = ["Elastic Load Balancing"];

/// Who made an interface, by its type and its description.
pub fn of_interface(interface: &NetworkInterface) -> Option<Maker> {
    let by_kind = match interface.kind.as_deref() {
        Some("transit_gateway") => Some(Maker::new("a transit gateway", Some(TRANSIT_GATEWAY))),
        Some("lambda") => Some(Maker::new("Lambda", Some(LAMBDA))),
        Some("network_load_balancer" | "load_balancer" | "gateway_load_balancer") => {
            Some(Maker::new("Elastic Load Balancing", Some(LOAD_BALANCER)))
        }
        Some("api_gateway_managed") => Some(Maker::new("API Gateway", None)),
        Some("quicksight") => Some(Maker::new("QuickSight", None)),
        _ => None,
    };
    let by_description = || {
        let found = DESCRIPTIONS.iter().find(|(text, ..)| interface.description.starts_with(text));
        found.map(|(_, name, advice)| Maker::new(*name, *advice))
    };
    by_kind.or_else(by_description)
}

/// Whether a service made it that stays when the cluster is deleted.
pub fn stays(interface: &NetworkInterface) -> bool {
    of_interface(interface).is_some_and(|maker| !GO_WITH_THE_CLUSTER.contains(&maker.name.as_str()))
}

/// The name of the cluster that an instance belongs to, by its tags.
pub fn cluster_of(tags: &Tags) -> Option<&str> {
    let named = CLUSTER_TAGS.iter().find_map(|tag| tags.get(tag));
    named.or_else(|| tags.iter().find_map(|(key, _)| key.strip_prefix(CLUSTER_KEY)))
}

/// Who launched an instance that the cluster `cluster` does not own, by its tags. What another cluster's Karpenter launched is that
/// cluster's node: Karpenter would only replace it.
pub fn of_instance_beside(tags: &Tags, cluster: &str) -> Option<Maker> {
    let maker = of_instance(tags)?;
    let advice = match cluster_of(tags) {
        Some(other) if other != cluster && is_of_karpenter(tags) => Some(Cow::Owned(format!(
            "cluster {other} runs them as its nodes: not yours to terminate; whoever runs it deletes its NodePools, or moves it to \
             another network"
        ))),
        _ => maker.advice,
    };
    Some(Maker { advice, ..maker })
}

fn is_of_karpenter(tags: &Tags) -> bool {
    KARPENTER_TAGS.iter().any(|tag| tags.get(tag).is_some())
}

/// Who launched an instance, by its tags.
pub fn of_instance(tags: &Tags) -> Option<Maker> {
    let named = |what: &str, tag: &str| tags.get(tag).map(|name| format!("{what} {name}"));
    let karpenter = KARPENTER_TAGS.iter().find_map(|tag| named("Karpenter's node pool", tag));
    if let Some(name) = karpenter {
        let unless = cluster_of(tags).map(|name| format!("{KARPENTER}, unless a cluster {name} exists and runs them"));
        return Some(Maker { name, advice: unless.map(Cow::Owned).or(Some(Cow::Borrowed(KARPENTER))) });
    }
    if let Some(name) = named("node group", "eks:nodegroup-name") {
        return Some(Maker::new(name, None));
    }
    named("Auto Scaling group", "aws:autoscaling:groupName").map(|name| Maker::new(name, Some(AUTO_SCALING)))
}

/// An instance as a user finds it: its type, state, name and who launched it; and what to do about it.
pub fn describe_instance(instance: &Instance) -> (String, Option<Advice>) {
    let tags = Tags::from_ec2(instance.tags());
    let maker = of_instance(&tags);
    let kind = instance.instance_type().map(|kind| kind.as_str().to_owned());
    let state = instance.state().and_then(|state| state.name()).map(|state| state.as_str().to_owned());
    let cluster = cluster_of(&tags).map(|name| format!("of cluster {name}"));
    let name = tags.get("Name").map(|name| format!("{name:?}"));
    let by = maker.as_ref().map(|maker| format!("launched by {}", maker.name));
    let about: Vec<_> = [kind, state, by, cluster, name].into_iter().flatten().collect();
    (about.join(", "), maker.and_then(|maker| maker.advice))
}

/// GuardDuty's endpoint, by its tag or its service.
pub fn of_endpoint(endpoint: &VpcEndpoint) -> Option<Maker> {
    let of_service = endpoint.service_name().is_some_and(|name| name.ends_with(".guardduty-data"));
    let is_managed = is_of_guard_duty(&Tags::from_ec2(endpoint.tags()));
    (is_managed || of_service).then(|| Maker::new("GuardDuty", Some(GUARD_DUTY)))
}

/// GuardDuty's security group, by its tag or its name.
pub fn of_group(group: &SecurityGroup) -> Option<Maker> {
    let is_managed = is_of_guard_duty(&group.tags) || group.name.starts_with("GuardDutyManagedSecurityGroup-");
    is_managed.then(|| Maker::new("GuardDuty", Some(GUARD_DUTY)))
}

fn is_of_guard_duty(tags: &Tags) -> bool {
    tags.get("GuardDutyManaged") == Some("true")
}

#[cfg(test)]
#[path = "makers_tests.rs"]
mod tests;
