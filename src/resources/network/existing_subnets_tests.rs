//! Subnets of others, as EKS, nodes and load balancers judge them.

use super::*;
use crate::aws::snapshots::catalogue::{AvailabilityZoneState, OptedIn};
use crate::aws::snapshots::network_attributes::{Route, RouteTableAssociation, VpcEndpointType};
use crate::aws::tags::Tags;

pub(in super::super) fn subnet(id: &str, vpc: &str, zone: &str, free: i32) -> Subnet {
    Subnet {
        id: id.into(),
        vpc_id: vpc.into(),
        state: None,
        zone: zone.into(),
        zone_id: String::new(),
        cidr: "10.0.0.0/24".into(),
        ipv6_cidrs: Vec::new(),
        free_addresses: free,
        map_public_ip_on_launch: false,
        assign_ipv6_address_on_creation: false,
        on_outpost: false,
        tags: Tags::new(),
    }
}

fn zone(name: &str, id: &str, kind: &str) -> (String, Zone) {
    let state = Some(AvailabilityZoneState::Available);
    (name.into(), Zone { name: name.into(), id: id.into(), kind: kind.into(), opted_in: OptedIn::Yes, state })
}

/// A route table of VPC v: of a subnet, or the main one.
fn table(id: &str, subnet: Option<&str>, routes: &[(&str, RouteTarget)]) -> RouteTable {
    let association = RouteTableAssociation {
        id: String::new(),
        subnet_id: subnet.map(str::to_owned),
        main: subnet.is_none(),
        state: None,
    };
    let route = |(destination, target): &(&str, RouteTarget)| Route {
        destination: (*destination).to_owned(),
        target: target.clone(),
        state: None,
    };
    let local = Route { destination: "10.0.0.0/16".into(), target: RouteTarget::Local, state: None };
    RouteTable {
        id: id.into(),
        vpc_id: "v".into(),
        routes: std::iter::once(local).chain(routes.iter().map(route)).collect(),
        associations: vec![association],
        tags: Tags::new(),
    }
}

fn endpoint(service: &str, tables: &[&str]) -> VpcEndpoint {
    VpcEndpoint {
        id: format!("vpce-{service}"),
        vpc_id: "v".into(),
        service_name: format!("com.amazonaws.eu-west-1.{service}"),
        kind: Some(VpcEndpointType::Interface),
        state: None,
        route_table_ids: tables.iter().map(|id| (*id).to_owned()).collect(),
        subnet_ids: Vec::new(),
        security_group_ids: Vec::new(),
        private_dns: true,
        failure: None,
        tags: Tags::new(),
    }
}

fn internet() -> RouteTarget {
    RouteTarget::InternetGateway("igw-1".into())
}

fn nat() -> RouteTarget {
    RouteTarget::NatGateway("nat-1".into())
}

fn network(subnets: &[Subnet], tables: Vec<RouteTable>) -> Network {
    Network {
        subnets: subnets.to_vec(),
        requested: subnets.iter().map(|subnet| subnet.id.clone()).collect(),
        tables: Some(tables),
        endpoints: Some(Vec::new()),
        dns: Some(VpcDns { support: true, hostnames: true }),
        ..Network::default()
    }
}

#[test]
fn tier_is_that_of_the_routes_whatever_the_subnet_assigns() {
    let own = subnet("s-a", "v", "z1", 99);
    let assigning = Subnet { map_public_ip_on_launch: true, ..own.clone() };
    let of = |subnet: &Subnet, tables: Vec<RouteTable>| network(std::slice::from_ref(subnet), tables).routing(subnet);
    let main_to_internet = || table("rtb-m", None, &[("0.0.0.0/0", internet())]);
    assert_eq!(of(&own, vec![main_to_internet()]), Routing::Public, "by the VPC's main table");
    assert_eq!(
        of(&own, vec![main_to_internet(), table("rtb-1", Some("s-a"), &[("0.0.0.0/0", nat())])]),
        Routing::Private
    );
    assert_eq!(of(&assigning, vec![table("rtb-1", Some("s-a"), &[("0.0.0.0/0", nat())])]), Routing::Private);
    assert_eq!(of(&own, vec![table("rtb-m", None, &[])]), Routing::Isolated);
    let s3 = ("pl-1", RouteTarget::VpcEndpoint("vpce-1".into()));
    assert_eq!(of(&own, vec![table("rtb-m", None, &[s3])]), Routing::Isolated, "S3 alone is no way out");
    let firewall = ("0.0.0.0/0", RouteTarget::VpcEndpoint("vpce-2".into()));
    assert_eq!(of(&own, vec![table("rtb-m", None, &[firewall])]), Routing::Private);
    let mut gone = table("rtb-m", None, &[("0.0.0.0/0", internet())]);
    gone.routes[1].state = Some(RouteState::Blackhole);
    assert_eq!(of(&own, vec![gone]), Routing::Isolated);
    let unread = Network { tables: None, ..network(std::slice::from_ref(&assigning), Vec::new()) };
    assert!(unread.is_public(&assigning) && unread.routing(&assigning) == Routing::Unknown);
}

#[test]
fn certain_failures_are_refused_with_field_and_reason() {
    let (a, b) = (subnet("s-a", "v", "z1", 100), subnet("s-b", "v", "z2", 100));
    let good = network(&[a.clone(), b.clone()], vec![table("rtb-m", None, &[("0.0.0.0/0", nat())])]);
    assert_eq!(good.find_problem(), None);
    let with = |subnets: Vec<Subnet>| Network { subnets, requested: Vec::new(), ..good.clone() };
    let zones = || BTreeMap::from([zone("z1", "x-az1", "availability-zone"), zone("l1", "x-lax-az1", "local-zone")]);
    let listed = |one: Subnet| Network { zones: zones(), ..network(&[a.clone(), b.clone(), one], Vec::new()) };
    let dns = |support, hostnames| Network { dns: Some(VpcDns { support, hostnames }), ..good.clone() };
    for (network, expected) in [
        (
            Network { requested: vec!["s-a".into(), "s-x".into()], ..good.clone() },
            "subnetIds: subnet s-x does not exist",
        ),
        (with(vec![]), "subnetSelector: no subnet"),
        (with(vec![a.clone(), subnet("s-c", "w", "z2", 100)]), "several VPCs (v, w)"),
        (with(vec![a.clone(), subnet("s-c", "v", "z1", 100)]), "one availability zone (z1)"),
        (with(vec![a.clone(), subnet("s-c", "v", "z2", 5)]), "s-c has 5; EKS needs 6"),
        (listed(subnet("s-l", "v", "l1", 100)), "subnetIds: s-l is in l1 (x-lax-az1: a local-zone"),
        (listed(Subnet { on_outpost: true, ..subnet("s-o", "v", "z1", 100) }), "s-o is on an Outpost"),
        (dns(true, false), "vpcId: nodes cannot register in v: turn on enableDnsHostnames"),
        (dns(false, false), "enableDnsSupport and enableDnsHostnames"),
    ] {
        let why = network.find_problem().unwrap_or_default();
        assert!(why.contains(expected), "{expected}: {why}");
    }
    // Selected by tags: left out, as long as enough remain.
    let selected = Network { requested: Vec::new(), ..listed(subnet("s-l", "v", "l1", 100)) };
    assert_eq!(selected.find_problem(), None);
    assert_eq!(selected.suitable().len(), 2);
    assert!(
        selected.notices()[0].starts_with("left out of the control plane: s-l is in l1"),
        "{:?}",
        selected.notices()
    );
}

#[test]
fn nodes_need_public_addresses_or_a_route_out_or_endpoints() {
    let one = subnet("s-a", "v", "z1", 99);
    let of = |tables: Vec<RouteTable>| network(std::slice::from_ref(&one), tables);
    let why = |network: &Network| network.why_no_nodes(&one).unwrap_or_default();
    let public = of(vec![table("rtb-m", None, &[("0.0.0.0/0", internet())])]);
    assert!(why(&public).contains("Ec2SubnetInvalidConfiguration"), "{}", why(&public));
    let assigning = Subnet { map_public_ip_on_launch: true, ..one.clone() };
    assert_eq!(public.why_no_nodes(&assigning), None);
    assert_eq!(of(vec![table("rtb-m", None, &[("0.0.0.0/0", nat())])]).why_no_nodes(&one), None);
    let isolated = of(vec![table("rtb-m", None, &[])]);
    assert!(why(&isolated).contains("no endpoint of ec2, ecr.api, ecr.dkr, s3 and endpointAccess.private is false"));
    let endpoints = |tables: &[&str]| {
        let three = ["ec2", "ecr.api", "ecr.dkr"].map(|service| endpoint(service, &[]));
        Some(three.into_iter().chain([endpoint("s3", tables)]).collect())
    };
    let private = Network { endpoints: endpoints(&["rtb-m"]), private_access: true, ..isolated.clone() };
    assert_eq!(private.why_no_nodes(&one), None);
    let elsewhere = Network { endpoints: endpoints(&["rtb-2"]), ..private.clone() };
    assert!(why(&elsewhere).contains("it reaches no endpoint of s3:"), "S3's gateway is in another route table");
    assert!(
        private.notices().iter().any(|text| text.contains("no endpoint of eks, eks-auth")),
        "{:?}",
        private.notices()
    );
}

#[test]
fn load_balancers_need_tags_of_the_tier() {
    let (public, private) = (subnet("s-a", "v", "z1", 99), subnet("s-b", "v", "z2", 99));
    let tables = || {
        let to = |id: &str, target| table(&format!("rtb-{id}"), Some(id), &[("0.0.0.0/0", target)]);
        vec![to("s-a", internet()), to("s-b", nat())]
    };
    let notices = network(&[public.clone(), private.clone()], tables()).notices().join("; ");
    assert!(
        notices.contains("internet-facing load balancers do not find s-a without the tag kubernetes.io/role/elb: 1")
    );
    assert!(notices.contains("internal load balancers do not find s-b without"), "{notices}");
    let tagged = |one: Subnet, tag: &str| Subnet { tags: Tags::new().with(tag, "1"), ..one };
    let public = Subnet { map_public_ip_on_launch: true, ..tagged(public, "kubernetes.io/role/elb") };
    let private = tagged(private, "kubernetes.io/role/internal-elb");
    assert_eq!(network(&[public, private], tables()).notices(), Vec::<String>::new());
}

#[test]
fn each_reference_is_one_subnet_of_the_vpc() {
    let of = |id: &str, zone: &str, cidr: &str| Subnet { cidr: cidr.into(), ..subnet(id, "v", zone, 99) };
    let all = [
        of("s-a", "z1", "10.0.0.0/24"),
        of("s-b", "z2", "10.0.1.0/24"),
        of("s-c", "z3", "10.0.2.0/24"),
        of("s-d", "z3", "10.0.3.0/24"),
    ];
    let listed = |wanted: serde_json::Value| {
        let wanted: Vec<SubnetReference> = serde_json::from_value(wanted).unwrap();
        Network::of_list("v", &all, &wanted, &BTreeSet::new())
    };
    let ids = |network: &Network| network.subnets.iter().map(|subnet| subnet.id.clone()).collect::<Vec<_>>();
    let found = listed(serde_json::json!([{"cidr": "10.0.1.0/24"}, {"id": "s-c"}, {"zone": "z1"}, {"id": "s-b"}]));
    assert_eq!(ids(&found), ["s-b", "s-c", "s-a"], "none of them twice");
    assert!(found.unresolved.is_empty() && found.missing().is_empty() && !found.is_selected());
    let unknown = listed(serde_json::json!([{"cidr": "10.9.0.0/24"}, {"zone": "z3"}, {"id": "s-x"}, {"id": "s-a"}]));
    assert_eq!(ids(&unknown), ["s-a"]);
    assert_eq!(unknown.missing(), ["s-x"]);
    assert_eq!(
        unknown.unresolved,
        [
            "v has no subnet of 10.9.0.0/24: correct it, or name another one",
            "v has several subnets in z3 (s-c, s-d): name one by its id or its cidr",
        ]
    );
    assert_eq!(unknown.find_problem().unwrap(), format!("subnets: {}", unknown.unresolved[0]));
    let none = listed(serde_json::json!([{"zone": "z9"}, {"zone": "z8"}]));
    assert!(none.find_problem().unwrap().contains("v has no subnet in z9"), "it is no selection by tags");
}

#[test]
fn subnet_of_the_cluster_remains_after_others_add_one_to_its_zone() {
    let all = [subnet("s-a", "v", "z1", 99), subnet("s-b", "v", "z2", 99), subnet("s-other", "v", "z1", 99)];
    let wanted: Vec<SubnetReference> =
        serde_json::from_value(serde_json::json!([{"zone": "z1"}, {"zone": "z2"}])).unwrap();
    let with = |have: &[&str]| {
        let network = Network::of_list("v", &all, &wanted, &have.iter().copied().collect());
        assert_eq!(
            network.unresolved,
            ["v has several subnets in z1 (s-a, s-other): name one by its id or its cidr"],
            "{have:?}"
        );
        network.subnets.into_iter().map(|subnet| subnet.id).collect::<Vec<_>>()
    };
    assert_eq!(with(&["s-a", "s-b"]), ["s-a", "s-b"]);
    assert_eq!(with(&["s-a", "s-other", "s-b"]), ["s-b"], "it has both");
    assert_eq!(with(&[]), ["s-b"], "it does not exist yet");
}
