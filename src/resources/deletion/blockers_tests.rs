//! Tests of the descriptions of blockers.

use aws_sdk_ec2::types::{VpcEndpointType, VpcPeeringConnectionVpcInfo};

use super::*;

#[test]
fn message_lists_a_few_blockers_and_counts_the_rest() {
    let busy = Failure::new(Class::Busy, "ec2:DeleteVpc: DependencyViolation.");
    let blockers: Vec<_> = (0..7).map(|n| format!("eni-{n}")).collect();
    let text = add_blockers(busy.clone(), &blockers).message;
    assert!(text.contains("Blocked by eni-0; eni-1; eni-2; eni-3; eni-4 and 2 more"), "{text}");
    assert_eq!(add_blockers(busy.clone(), &[]), busy);
}

#[test]
fn description_has_id_type_owner_and_name() {
    let name = Tag::builder().key("Name").value("to the data centre").build();
    let endpoint = VpcEndpoint::builder()
        .vpc_endpoint_id("vpce-1")
        .vpc_endpoint_type(VpcEndpointType::Interface)
        .service_name("com.amazonaws.eu-west-1.ec2")
        .owner_id("111122223333")
        .build();
    let text = "VPC endpoint vpce-1 (Interface, com.amazonaws.eu-west-1.ec2, owner 111122223333)";
    assert_eq!(vpc_endpoint(&endpoint).description, text);
    let side = |vpc: &str, owner: &str| VpcPeeringConnectionVpcInfo::builder().vpc_id(vpc).owner_id(owner).build();
    let peering = VpcPeeringConnection::builder()
        .vpc_peering_connection_id("pcx-1")
        .requester_vpc_info(side("vpc-2", "444455556666"))
        .accepter_vpc_info(side("vpc-1", "111122223333"))
        .tags(name.clone())
        .build();
    let text =
        "VPC peering connection pcx-1 (with vpc-2 of account 444455556666, owner 444455556666, \"to the data centre\")";
    assert_eq!(peering_connection(&peering, "vpc-1").description, text);
    let gateway = VpnGateway::builder().vpn_gateway_id("vgw-1").tags(name).build();
    assert_eq!(vpn_gateway(&gateway).description, "virtual private gateway vgw-1 (\"to the data centre\")");
    let bare = NatGateway::builder().nat_gateway_id("nat-1").build();
    assert_eq!(nat_gateway(&bare).description, "NAT gateway nat-1");
}

#[test]
fn only_interfaces_with_a_public_address_block_the_internet_gateway() {
    let interface = |public_ip: &str| {
        let association = aws_sdk_ec2::types::NetworkInterfaceAssociation::builder().public_ip(public_ip).build();
        let bare = aws_sdk_ec2::types::NetworkInterface::builder().network_interface_id("eni-1").subnet_id("subnet-1");
        let bare = if public_ip.is_empty() { bare } else { bare.association(association) };
        NetworkInterface::from(&bare.build())
    };
    let (public, private) = (interface("203.0.113.7"), interface(""));
    assert!(uses(&public, Part::InternetGateway) && !uses(&private, Part::InternetGateway));
    assert!(uses(&private, Part::Subnet("subnet-1")) && uses(&private, Part::Vpc));
    assert!(describe_interface(&public).contains("public address 203.0.113.7"));
}

#[test]
fn interface_of_a_listed_blocker_is_omitted() {
    let blockers = vec![
        Blocker::new("VPC endpoint", "vpce-1", [Some("Interface")]),
        Blocker::new("network interface", "eni-1", [Some("\"VPC Endpoint Interface vpce-1\"")]),
        Blocker::new("network interface", "eni-2", [Some("\"ELB net/web\"")]),
    ];
    let text = without_named_interfaces(blockers);
    assert_eq!(text, ["VPC endpoint vpce-1 (Interface)", "network interface eni-2 (\"ELB net/web\")"]);
}
