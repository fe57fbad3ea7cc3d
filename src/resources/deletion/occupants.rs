//! What others run in a VPC that would be deleted: EKS clusters, instances and services that are not the cluster's. I/O:
//! reads of EC2.
//!
//! EC2 refuses to delete a subnet that is in use, but not the gateways and endpoints that its users need. So this is read
//! before the first write of a deletion, and again before those are deleted. What goes with the cluster (its nodes, load balancers, Pods) does not
//! count; neither does what only EC2 can tell apart, which blocks the deletion later ([`super::blockers`]).

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, NetworkInterfaceStatus};

use super::blockers;
use super::makers::{self, CLUSTER_TAGS};
use super::marks::{self, Network};
use crate::aws::snapshots::NetworkInterface;
use crate::aws::tags::Tags;
use crate::aws::{AwsError, MaxStaleness, Service, Session};
use crate::engine::Failure;
use crate::resources::cloud::Cloud;

/// How EKS describes the interfaces of a control plane, before its name.
const CONTROL_PLANE: &str = "Amazon EKS ";

/// What others than `cluster` run in the VPC, each described so that a user can find it.
///
/// # Errors
/// Those of the reads.
pub async fn find_occupants(cloud: &Cloud, vpc: &str, cluster: &str) -> Result<Vec<String>, Failure> {
    let reads = &cloud.aws.snapshots;
    let interfaces = reads.network_interfaces_of_vpc(vpc, MaxStaleness::now()).await?;
    if !interfaces.iter().any(may_stay) {
        // As usual once the nodes are gone: nothing is left to tell apart.
        return Ok(occupants(&interfaces, &BTreeSet::new(), &BTreeMap::new(), cluster));
    }
    let groups = reads.security_groups_of_vpc(vpc, MaxStaleness::now()).await?;
    let groups = groups.iter().filter(|group| {
        marks::group_mark(group, cluster, Network::Own).is_some() || marks::names_cluster(&group.tags, cluster)
    });
    let groups = groups.map(|group| group.id.clone()).collect();
    let ids: BTreeSet<&str> = interfaces.iter().filter_map(|one| one.instance_id.as_deref()).collect();
    let instances = instances(cloud, &ids.into_iter().collect::<Vec<_>>()).await?;
    Ok(occupants(&interfaces, &groups, &instances, cluster))
}

/// Whether anything but gateways and endpoints runs in the VPC.
///
/// # Errors
/// Those of the read.
pub async fn is_in_use(aws: &Session, vpc: &str) -> Result<bool, Failure> {
    let interfaces = aws.snapshots.network_interfaces_of_vpc(vpc, MaxStaleness::now()).await?;
    let is_used =
        |one: &NetworkInterface| one.status == Some(NetworkInterfaceStatus::InUse) && !is_part_of_network(one);
    Ok(interfaces.iter().any(|one| is_used(one) || one.description.starts_with(CONTROL_PLANE)))
}

/// Of a NAT gateway, an endpoint or a load balancer: these serve what runs in the VPC. The others are of instances (also
/// `efa` and `trunk`), of Pods (`branch`), or of services that run in it (`lambda`, `transit_gateway`, `quicksight`...).
/// See `InterfaceType` in <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html>.
fn is_part_of_network(interface: &NetworkInterface) -> bool {
    const KINDS: [&str; 7] = [
        "nat_gateway",
        "vpc_endpoint",
        "load_balancer",
        "network_load_balancer",
        "gateway_load_balancer",
        "gateway_load_balancer_endpoint",
        "ec2_instance_connect_endpoint",
    ];
    interface.kind.as_deref().is_some_and(|kind| KINDS.contains(&kind))
}

/// Whether an interface may be of others, before the tags of its instance and its groups are known.
fn may_stay(interface: &NetworkInterface) -> bool {
    !interface.description.starts_with(CONTROL_PLANE)
        && !is_part_of_network(interface)
        && match (&interface.instance_id, interface.requester_managed) {
            (Some(_), _) => true,
            (None, true) => makers::stays(interface),
            (None, false) => interface.status == Some(NetworkInterfaceStatus::InUse),
        }
}

/// Names and tags of the instances that exist and are not terminating.
async fn instances(cloud: &Cloud, ids: &[&str]) -> Result<BTreeMap<String, Tags>, AwsError> {
    const MAX_FILTER_VALUES: usize = 200;
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(MAX_FILTER_VALUES) {
        let filter = |name: &str, values: &[&str]| {
            Filter::builder().name(name).set_values(Some(values.iter().map(|id| (*id).to_owned()).collect())).build()
        };
        let states = filter("instance-state-name", &["pending", "running", "stopping", "stopped"]);
        let mut next = None;
        loop {
            let request = cloud.aws.ec2.describe_instances().filters(filter("instance-id", chunk));
            let request = request.filters(states.clone()).set_next_token(next);
            let answer = cloud.aws.call(Service::Ec2, "DescribeInstances", "instances", request.send()).await?;
            let instances = answer.reservations().iter().flat_map(|reservation| reservation.instances());
            found.extend(instances.filter_map(|one| Some((one.instance_id()?.to_owned(), Tags::from_ec2(one.tags())))));
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// `groups`: security groups of the cluster. Whatever has one of them goes with the cluster.
fn occupants(
    interfaces: &[NetworkInterface],
    groups: &BTreeSet<String>,
    instances: &BTreeMap<String, Tags>,
    cluster: &str,
) -> Vec<String> {
    let mut found = BTreeSet::new();
    for one in interfaces {
        if let Some(name) = one.description.strip_prefix(CONTROL_PLANE) {
            if name != cluster {
                found.insert(format!("EKS cluster {name}"));
            }
            continue;
        }
        let is_of_cluster = one.security_group_ids.iter().any(|id| groups.contains(id))
            || marks::interface_mark(one, cluster, Network::Own).is_some()
            || marks::names_cluster(&one.tags, cluster);
        let stays = !is_of_cluster
            && may_stay(one)
            && match &one.instance_id {
                Some(id) => instances.get(id).is_some_and(|tags| !is_node(tags, cluster)),
                None => one.requester_managed || one.tags.get("eks:eni:owner").is_none(),
            };
        if stays {
            let tags = one.instance_id.as_ref().and_then(|id| instances.get(id));
            let launched = tags.and_then(|tags| makers::of_instance_beside(tags, cluster));
            let of = tags.and_then(makers::cluster_of).map(|name| format!(", of cluster {name}")).unwrap_or_default();
            let by = launched.as_ref().map(|maker| format!(", launched by {}", maker.name)).unwrap_or_default();
            let advice = launched.or_else(|| makers::of_interface(one)).and_then(|maker| maker.advice);
            let advice = advice.map(|advice| format!(" ({advice})")).unwrap_or_default();
            found.insert(format!("{}{by}{of}{advice}", blockers::describe_interface(one)));
        }
    }
    found.into_iter().collect()
}

/// Whether an instance's tags name the cluster.
fn is_node(tags: &Tags, cluster: &str) -> bool {
    CLUSTER_TAGS.iter().any(|tag| tags.get(tag) == Some(cluster))
        || tags.get(&format!("kubernetes.io/cluster/{cluster}")).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(id: &str, description: &str) -> NetworkInterface {
        let built = aws_sdk_ec2::types::NetworkInterface::builder().network_interface_id(id).description(description);
        let built = built.vpc_id("vpc-1").status(NetworkInterfaceStatus::InUse);
        let built = built.interface_type(aws_sdk_ec2::types::NetworkInterfaceType::Interface);
        NetworkInterface::from(&built.build())
    }

    fn of_instance(id: &str, instance: &str) -> NetworkInterface {
        NetworkInterface { instance_id: Some(instance.into()), ..interface(id, "Primary network interface") }
    }

    #[test]
    fn clusters_instances_and_services_of_others_are_named_and_the_clusters_own_are_not() {
        let group = "sg-eks".to_owned();
        let service = |id, text| NetworkInterface { requester_managed: true, ..interface(id, text) };
        let interfaces = [
            interface("eni-own", "Amazon EKS demo"),
            interface("eni-guest", "Amazon EKS guest"),
            interface("eni-guest2", "Amazon EKS guest"),
            of_instance("eni-node", "i-node"),
            of_instance("eni-eksctl", "i-eksctl"),
            NetworkInterface { security_group_ids: vec![group.clone()], ..of_instance("eni-self", "i-self") },
            of_instance("eni-bastion", "i-bastion"),
            of_instance("eni-theirs", "i-theirs"),
            of_instance("eni-terminating", "i-gone"),
            of_instance("eni-karpenter", "i-karpenter"),
            service("eni-elb", "ELB app/k8s-shop/1"),
            service("eni-rds", "RDSNetworkInterface"),
            NetworkInterface { security_group_ids: vec![group.clone()], ..interface("eni-fargate", "") },
            NetworkInterface { kind: Some("nat_gateway".into()), ..interface("eni-nat", "") },
            NetworkInterface { kind: Some("lambda".into()), ..service("eni-lambda", "AWS Lambda VPC ENI-shop-1") },
            NetworkInterface {
                kind: Some("transit_gateway".into()),
                ..service("eni-tgw", "Network Interface for Transit Gateway Attachment x")
            },
            NetworkInterface { kind: Some("efa".into()), ..of_instance("eni-efa", "i-theirs") },
            NetworkInterface { kind: Some("efa".into()), ..of_instance("eni-own-efa", "i-node") },
            NetworkInterface { status: Some(NetworkInterfaceStatus::Available), ..interface("eni-free", "spare") },
            interface("eni-licence", "of the licence server"),
        ];
        let instances = [
            ("i-node", Tags::new().with("eks:cluster-name", "demo")),
            ("i-eksctl", Tags::new().with("kubernetes.io/cluster/demo", "shared")),
            ("i-self", Tags::new()),
            ("i-bastion", Tags::new().with("Name", "bastion")),
            ("i-theirs", Tags::new().with("eks:cluster-name", "guest")),
            (
                "i-karpenter",
                Tags::new().with("karpenter.sh/nodepool", "spot").with("eks:eks-cluster-name", "neighbour"),
            ),
        ]
        .map(|(id, tags)| (id.to_owned(), tags));
        let found = occupants(&interfaces, &[group].into(), &instances.into(), "demo").join("\n");
        let services = ["eni-rds", "eni-lambda", "eni-tgw"];
        for named in
            ["EKS cluster guest", "eni-bastion", "eni-theirs", "eni-efa", "eni-licence"].into_iter().chain(services)
        {
            assert!(found.contains(named), "{named}: {found}");
        }
        assert_eq!(found.lines().count(), 9, "{found}");
        let node = found.lines().find(|line| line.contains("eni-karpenter")).unwrap();
        let launched =
            "launched by Karpenter's node pool spot, of cluster neighbour (cluster neighbour runs them as its nodes";
        assert!(node.contains(launched) && !node.contains("terminate-instances"), "{node}");
    }
}
