//! Tests of the descriptions of blockers.

use super::*;

#[test]
fn message_lists_a_few_blockers_and_counts_the_rest() {
    let busy = Failure::new(Class::Busy, "ec2:DeleteVpc: DependencyViolation.");
    let blockers: Vec<_> = (0..7).map(|n| Blocker::new("x", &format!("eni-{n}"), [])).collect();
    let text = add_blockers(busy.clone(), &blockers).message;
    assert!(text.contains("Blocked by x eni-0; x eni-1; x eni-2; x eni-3; x eni-4 and 2 more"), "{text}");
    assert_eq!(add_blockers(busy.clone(), &[]), busy);
}

#[test]
fn advice_follows_once_for_all_blockers_of_a_kind() {
    let advised = |id: &str| Blocker { advice: Some("do this".into()), ..Blocker::new("x", id, []) };
    let blockers = [advised("a"), Blocker::new("x", "b", []), advised("c")];
    let text = add_blockers(Failure::new(Class::Busy, "no."), &blockers).message;
    assert_eq!(text, "no. Blocked by x a; x b; x c: delete what Keelson does not own by hand (do this).");
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
    let text: Vec<_> = without_named_interfaces(blockers).into_iter().map(|one| one.description).collect();
    assert_eq!(text, ["VPC endpoint vpce-1 (Interface)", "network interface eni-2 (\"ELB net/web\")"]);
}
