//! What proves that a resource is ours.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::aws::snapshots::{Address, NatGateway, RouteTable};
use crate::aws::tags::{GIVEN_ADDRESS, Tags};
use crate::engine::InventoryRecord;
use crate::resources::graph::located::LocatedAddress;

const UID: &str = "uid-1";

fn owner() -> Owner {
    let (uid, cluster, object) = (UID.to_owned(), "default/demo".to_owned(), "ekscluster/demo".to_owned());
    Owner { uid, cluster, object, ..Owner::default() }
}

fn tags(key: &str) -> Tags {
    Tags::owned(UID, "default/demo", key, "demo", &Default::default())
}

fn table(id: &str, vpc: &str) -> RouteTable {
    RouteTable {
        id: id.into(),
        vpc_id: vpc.into(),
        routes: Vec::new(),
        associations: Vec::new(),
        tags: tags("routeTable/public"),
    }
}

fn key() -> Key {
    Key::named("routeTable", "public")
}

/// `recorded`: `None`: not recorded; `Some("")`: a create without a known result.
fn options(recorded: Option<&str>, goal: Goal) -> ObserveOptions {
    ObserveOptions {
        max_age: Duration::ZERO,
        goal,
        recorded_id: recorded.filter(|id| !id.is_empty()).map(str::to_owned),
        recorded: recorded.is_some(),
        recorded_operation: None,
    }
}

fn refs(vpc: Option<&str>) -> Refs {
    let mut refs = Refs::default();
    if let Some(vpc) = vpc {
        refs.insert(crate::resources::network::vpc::key(), vpc.into(), Default::default());
    }
    refs
}

/// The id that is found, `none`, or `unproven`.
fn found(all: &[RouteTable], recorded: Option<&str>, vpc: Option<&str>, goal: Goal) -> String {
    match search(&owner(), false, all, &key(), &options(recorded, goal), &refs(vpc)) {
        SearchResult::Ours(table) => table.id.clone(),
        SearchResult::Nothing => "none".into(),
        SearchResult::Unproven(why) => {
            assert!(
                why.contains("kubectl annotate ekscluster/demo -n default --overwrite keelson.dev/recover=uid-1"),
                "{why}"
            );
            "unproven".into()
        }
    }
}

#[test]
fn tags_prove_ownership_only_with_a_record_or_an_owned_vpc() {
    let (ours, elsewhere) = (table("rtb-2", "vpc-1"), table("rtb-1", "vpc-9"));
    let both = [elsewhere.clone(), ours.clone()];
    let present = Goal::Present;
    for (all, recorded, vpc, goal, expected) in [
        (&both[..], Some("rtb-2"), None, present, "rtb-2"),
        (&both[..], None, Some("vpc-1"), present, "rtb-2"),
        (&both[..], Some("rtb-2"), Some("vpc-1"), Goal::Deleted, "rtb-2"),
        // A create without a known result: it made what carries the tags.
        (&both[..1], Some(""), None, present, "rtb-1"),
        // Ours is recorded and deleted: the other one does not replace it.
        (&both[..1], Some("rtb-2"), Some("vpc-1"), present, "none"),
        (&both[..1], Some("rtb-2"), Some("vpc-1"), Goal::Deleted, "none"),
        // Nothing is recorded: a create might make a duplicate, a delete might hit a resource of another owner.
        (&both[..1], None, Some("vpc-1"), present, "unproven"),
        (&both[..1], None, Some("vpc-1"), Goal::Deleted, "none"),
        (&both[..1], None, Some("vpc-1"), Goal::Retained, "none"),
        (&[], None, None, present, "none"),
    ] {
        assert_eq!(found(all, recorded, vpc, goal), expected, "{recorded:?} {vpc:?} {goal:?}");
    }
    let others =
        RouteTable { tags: Tags::owned("uid-2", "a/b", "routeTable/public", "x", &Default::default()), ..ours };
    assert_eq!(found(&[others], None, Some("vpc-1"), present), "none");
    let trusted = search(&owner(), true, &both[..1], &key(), &options(None, present), &refs(None));
    assert!(matches!(trusted, SearchResult::Ours(_)), "read-only commands have no record");
}

#[test]
fn address_belongs_to_the_vpc_of_its_gateway() {
    let address = |id: &str| Address {
        allocation_id: id.into(),
        public_ip: String::new(),
        association_id: None,
        network_interface_id: None,
        border_group: None,
        tags: tags("elasticIp/a"),
    };
    let gateway = NatGateway {
        id: "nat-1".into(),
        vpc_id: "vpc-1".into(),
        subnet_id: String::new(),
        state: None,
        allocation_ids: vec!["eipalloc-1".into()],
        created: None,
        failure_code: None,
        failure_message: None,
        tags: tags("natGateway/a"),
    };
    let addresses = [address("eipalloc-1"), address("eipalloc-2")];
    let located = LocatedAddress::all(&addresses, std::slice::from_ref(&gateway));
    assert_eq!(located.iter().map(Located::vpc).collect::<Vec<_>>(), [Some("vpc-1"), None]);
    let proven = |located: &[LocatedAddress], recorded: Option<&str>| {
        let options = options(recorded, Goal::Deleted);
        let key = Key::named("elasticIp", "a");
        let found = search(&owner(), false, located, &key, &options, &refs(Some("vpc-1")));
        let dynamic: Vec<&dyn Located> = located.iter().map(|one| one as &dyn Located).collect();
        let (ours, _) = Records::default().split(UID, false, &dynamic, &BTreeSet::from(["vpc-1".to_owned()]));
        (matches!(found, SearchResult::Ours(_)), ours.len())
    };
    assert_eq!(proven(&located, None), (true, 1));
    // Of others, given for the gateway by an earlier spec, with our tags: the place proves nothing.
    let given = NatGateway { tags: gateway.tags.clone().with(GIVEN_ADDRESS, "true"), ..gateway };
    let located = LocatedAddress::all(&addresses, &[given]);
    assert_eq!((proven(&located, None), proven(&located, Some("eipalloc-1"))), ((false, 0), (true, 0)));
}

#[test]
fn unproven_resources_are_separated() {
    let recorded = |id: Option<&str>| InventoryRecord {
        id: id.map(str::to_owned),
        operation: None,
        operations: 0,
        at: Timestamp::UNIX_EPOCH,
    };
    let entries = [(key(), recorded(Some("rtb-1"))), (Key::single("internetGateway"), recorded(None))];
    let records = Records::of(&Memory::new(Timestamp::UNIX_EPOCH, Duration::ZERO, entries));
    assert!(records.proves(&key(), "rtb-1") && !records.proves(&key(), "rtb-2"));
    assert!(records.proves(&Key::single("internetGateway"), "igw-1"), "the result of its create is unknown");
    assert!(!records.proves(&Key::single("vpc"), "vpc-1"));
    let all = [table("rtb-1", "vpc-9"), table("rtb-2", "vpc-1"), table("rtb-3", "vpc-9")];
    let (ours, unproven) = records.split(UID, false, &all, &BTreeSet::from(["vpc-1".to_owned()]));
    let ids = |owned: Vec<Owned>| owned.into_iter().map(|(_, id)| id).collect::<Vec<_>>();
    assert_eq!((ids(ours), ids(unproven)), (vec!["rtb-1".into(), "rtb-2".into()], vec!["rtb-3".to_owned()]));
}
