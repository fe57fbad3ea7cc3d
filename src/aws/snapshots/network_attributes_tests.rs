//! Conversion of the SDK's types.

use super::*;

fn route() -> sdk::builders::RouteBuilder {
    sdk::Route::builder()
}

#[test]
fn route_has_one_destination_and_one_target() {
    let table = [
        (route().destination_cidr_block("10.0.0.0/16").gateway_id("local"), "10.0.0.0/16", RouteTarget::Local),
        (
            route().destination_cidr_block("0.0.0.0/0").gateway_id("igw-1"),
            "0.0.0.0/0",
            RouteTarget::InternetGateway("igw-1".into()),
        ),
        (
            route().destination_cidr_block("0.0.0.0/0").nat_gateway_id("nat-1"),
            "0.0.0.0/0",
            RouteTarget::NatGateway("nat-1".into()),
        ),
        (
            route().destination_ipv6_cidr_block("::/0").egress_only_internet_gateway_id("eigw-1"),
            "::/0",
            RouteTarget::EgressOnlyInternetGateway("eigw-1".into()),
        ),
        (
            route().destination_prefix_list_id("pl-1").gateway_id("vpce-1"),
            "pl-1",
            RouteTarget::VpcEndpoint("vpce-1".into()),
        ),
        (
            route().destination_cidr_block("10.1.0.0/16").transit_gateway_id("tgw-1"),
            "10.1.0.0/16",
            RouteTarget::Other("tgw-1".into()),
        ),
        (
            route().destination_cidr_block("10.2.0.0/16").gateway_id("vgw-1"),
            "10.2.0.0/16",
            RouteTarget::Other("vgw-1".into()),
        ),
    ];
    for (given, destination, target) in table {
        let read = Route::from(&given.build());
        assert_eq!((read.destination.as_str(), read.target), (destination, target));
    }
}

#[test]
fn gateway_without_attachment_has_no_vpc() {
    let gateway = |vpc: Option<&str>| {
        let attachment = vpc.map(|vpc| vec![sdk::InternetGatewayAttachment::builder().vpc_id(vpc).build()]);
        InternetGateway::from(
            &sdk::InternetGateway::builder().internet_gateway_id("igw-1").set_attachments(attachment).build(),
        )
    };
    assert_eq!(gateway(None).vpc_id, None);
    assert_eq!(gateway(Some("vpc-1")).vpc_id.as_deref(), Some("vpc-1"));
}

#[test]
fn empty_ids_are_absent() {
    let address = sdk::Address::builder().allocation_id("eipalloc-1").association_id("").build();
    assert_eq!(Address::from(&address).association_id, None);
}
