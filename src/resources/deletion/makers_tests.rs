//! Who made something, by the marks of services and controllers.

use aws_sdk_ec2::types::{InstanceState, InstanceStateName, InstanceType, Tag};

use super::*;

fn interface(kind: &str, description: &str) -> NetworkInterface {
    let built = aws_sdk_ec2::types::NetworkInterface::builder().network_interface_id("eni-1").description(description);
    NetworkInterface { kind: Some(kind.into()), ..NetworkInterface::from(&built.build()) }
}

#[test]
fn services_are_recognised_by_type_and_description() {
    for (kind, description, maker, remains) in [
        ("transit_gateway", "", "a transit gateway", true),
        ("interface", "Network Interface for Transit Gateway Attachment tgw-attach-1", "a transit gateway", true),
        ("lambda", "AWS Lambda VPC ENI-fn-1", "Lambda", true),
        ("interface", "RDSNetworkInterface", "RDS", true),
        ("interface", "EFS mount target for fs-1 (fsmt-1)", "EFS", true),
        ("interface", "Route 53 Resolver: rslvr-in-1:rni-1", "Route 53 Resolver", true),
        ("interface", "ClientVPN Endpoint resource", "Client VPN", true),
        ("interface", "ELB app/k8s-shop/1", "Elastic Load Balancing", false),
        ("network_load_balancer", "ELB net/k8s-shop/1", "Elastic Load Balancing", false),
    ] {
        let one = interface(kind, description);
        assert_eq!((of_interface(&one).unwrap().name.as_str(), stays(&one)), (maker, remains), "{description}");
    }
    assert!(of_interface(&interface("interface", "of the licence server")).is_none());
}

#[test]
fn instances_are_described_with_who_launched_them() {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let describe = |tags: &[(&str, &str)]| {
        let state = InstanceState::builder().name(InstanceStateName::Running).build();
        let instance = Instance::builder().instance_type(InstanceType::M5Large).state(state);
        let tags = tags.iter().map(|(key, value)| tag(key, value)).collect();
        describe_instance(&instance.set_tags(Some(tags)).build())
    };
    let (text, advice) = describe(&[("karpenter.sh/nodepool", "spot"), ("eks:eks-cluster-name", "demo")]);
    assert_eq!(text, "m5.large, running, launched by Karpenter's node pool spot, of cluster demo");
    let advice = advice.unwrap();
    assert!(advice.contains("terminate-instances") && advice.contains("unless a cluster demo exists"), "{advice}");
    let (text, advice) = describe(&[("aws:autoscaling:groupName", "workers"), ("Name", "worker")]);
    assert_eq!(text, "m5.large, running, launched by Auto Scaling group workers, \"worker\"");
    assert!(advice.unwrap().contains("delete the group"));
    assert_eq!(describe(&[]), ("m5.large, running".to_owned(), None));
}

#[test]
fn nodes_of_another_clusters_karpenter_are_reported_without_advice_to_terminate_them() {
    let of = |tags: &[(&str, &str)]| {
        let tags: Tags = tags.iter().copied().chain([("karpenter.sh/nodepool", "spot")]).collect();
        of_instance_beside(&tags, "demo").unwrap().advice.unwrap().into_owned()
    };
    for tag in [
        ("eks:eks-cluster-name", "other"),
        ("karpenter.sh/managed-by", "other"),
        ("kubernetes.io/cluster/other", "owned"),
    ] {
        let advice = of(&[tag]);
        assert!(advice.contains("cluster other runs them") && !advice.contains("terminate-instances"), "{advice}");
    }
    assert!(of(&[("eks:eks-cluster-name", "demo")]).contains("terminate-instances"));
    assert!(of(&[]).contains("terminate-instances"));
    // Of a node group, there is nothing else to do than with any instance.
    let group = Tags::new().with("eks:nodegroup-name", "system").with("eks:cluster-name", "other");
    assert_eq!(of_instance_beside(&group, "demo").unwrap().advice, None);
}

#[test]
fn what_guard_duty_made_is_recognised_by_tag_service_and_name() {
    let endpoint = |service: &str| VpcEndpoint::builder().service_name(service).build();
    assert!(of_endpoint(&endpoint("com.amazonaws.eu-west-1.guardduty-data")).is_some());
    assert!(of_endpoint(&endpoint("com.amazonaws.eu-west-1.ec2")).is_none());
    let group =
        |name: &str| SecurityGroup::from(&aws_sdk_ec2::types::SecurityGroup::builder().group_name(name).build());
    assert!(
        of_group(&group("GuardDutyManagedSecurityGroup-vpc-1")).is_some() && of_group(&group("databases")).is_none()
    );
    let tags = Tags::new().with("GuardDutyManaged", "true");
    assert!(of_group(&SecurityGroup { tags, ..group("any") }).is_some());
}
