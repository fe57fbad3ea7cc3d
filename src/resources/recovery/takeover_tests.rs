//! What is taken over, and what never is.

use super::*;
use crate::resources::graph::existing::Existing;

const OLD: &str = "old";

fn owner() -> Owner {
    Owner {
        uid: "new".into(),
        cluster: "team/demo".into(),
        object: "ekscluster/demo".into(),
        installation: Some("here".into()),
        ..Owner::default()
    }
}

fn tags(key: &str) -> Tags {
    Tags::owned(OLD, "team/demo", key, "demo", &Default::default()).with(INSTALLATION, "here")
}

fn found(key: &str, id: &str, handle: Handle, location: Location) -> TaggedResource {
    TaggedResource { id: id.into(), handle, tags: tags(key), location }
}

fn in_vpc(key: &str, id: &str, vpc: &str) -> TaggedResource {
    found(key, id, Handle::Ec2, Location::Vpc(vpc.into()))
}

fn role(name: &str, purpose: &str) -> TaggedResource {
    found(&format!("role/{purpose}"), name, Handle::Role(name.into()), Location::Itself)
}

fn in_cluster(key: &str, id: &str) -> TaggedResource {
    found(key, id, Handle::Eks(format!("arn:{id}")), Location::Cluster("demo".into()))
}

/// Name and description of a role.
fn describes(purpose: &str, of: &str) -> (String, String) {
    (format!("keelson-demo-00000000-{purpose}"), format!("EKS {purpose} role of {of}, made by Keelson"))
}

fn inventory() -> Inventory {
    let control_plane = ControlPlane {
        tags: tags("cluster"),
        vpc: Some("vpc-1".into()),
        role_arn: Some("arn:aws:iam::1:role/keelson-demo-00000000-cluster".into()),
        role_description: Some("EKS cluster role of team/demo, made by Keelson".into()),
        security_group: Some("sg-eks".into()),
    };
    Inventory {
        cluster_name: "demo".into(),
        control_plane: Some(control_plane),
        own_network: true,
        found: vec![
            found("vpc", "vpc-1", Handle::Ec2, Location::Itself),
            in_vpc("subnet/private/a", "subnet-1", "vpc-1"),
            in_vpc("natGateway/a", "nat-1", "vpc-1"),
            found("elasticIp/a", "eip-1", Handle::Ec2, Location::Vpc("vpc-1".into())),
            in_vpc("cluster", "sg-eks", "vpc-1"),
            role("keelson-demo-00000000-cluster", "cluster"),
            role("keelson-demo-00000000-node", "node"),
            in_cluster("cluster", "demo"),
            in_cluster("addon/coredns", "coredns"),
            found("oidcProvider", "arn:oidc", Handle::OidcProvider("arn:oidc".into()), Location::Itself),
        ],
        role_descriptions: ["cluster", "node"].map(|purpose| describes(purpose, "team/demo")).into(),
        vpcs_in_use: BTreeSet::new(),
        untagged: None,
    }
}

/// "key id" of what is taken over, or why nothing is.
fn selected(all: &Inventory) -> Result<Vec<String>, String> {
    let selection = select(all, &owner(), OLD, Evidence::Role)?;
    Ok(selection.items.iter().map(|item| format!("{} {}", item.key, item.found.id)).collect())
}

fn left(all: &Inventory) -> Vec<String> {
    select(all, &owner(), OLD, Evidence::Role).unwrap().left
}

#[test]
fn all_resources_of_the_earlier_object_are_taken_over() {
    let selection = select(&inventory(), &owner(), OLD, Evidence::Role).unwrap();
    assert_eq!((selection.items.len(), selection.left.len()), (9, 0));
    let cluster = selection.items.iter().find(|item| item.key == crate::resources::eks::cluster::key()).unwrap();
    assert_eq!((cluster.found.id.as_str(), cluster.extra_ids.as_slice()), ("demo", &["sg-eks".to_owned()][..]));
    let wanted = cluster.wanted(&owner());
    let missing = wanted.missing_from(&cluster.found.tags);
    assert_eq!(missing, Tags::new().with(OWNER, "new"), "only the ownership tags");
}

#[test]
fn role_with_copied_tags_is_not_taken_over() {
    let mut all = inventory();
    all.role_descriptions.extend([describes("node", "victim/demo")]);
    assert!(selected(&all).unwrap().iter().all(|one| !one.starts_with("role/node")));
    assert!(left(&all)[0].contains("keelson-demo-00000000-node (its description is not"), "{:?}", left(&all));
    all.role_descriptions.remove("keelson-demo-00000000-node");
    assert_eq!(left(&all).len(), 1, "nor one without a description");
    // The owner of the account accepts tags as the only evidence.
    let allowed = select(&all, &owner(), OLD, Evidence::Tags).unwrap();
    assert_eq!(allowed.left, [""; 0]);
}

#[test]
fn resources_of_other_objects_are_never_taken_over() {
    for cluster in ["other/demo", "team/other", "team/demo2", "demo"] {
        let mut all = inventory();
        all.control_plane = None;
        for one in &mut all.found {
            one.tags = one.tags.clone().with(CLUSTER, cluster);
        }
        assert!(select(&all, &owner(), OLD, Evidence::Tags).unwrap().items.is_empty(), "{cluster}");
        let mut all = inventory();
        all.control_plane.as_mut().unwrap().tags = tags("cluster").with(CLUSTER, cluster);
        let why = selected(&all).unwrap_err();
        assert!(!why.contains(cluster) || cluster == "demo", "reveals nothing about others: {why}");
    }
    let mut all = inventory();
    all.found[1].tags = tags("subnet/private/a").with(OWNER, "another");
    assert_eq!(selected(&all).unwrap().len(), 8);
}

#[test]
fn foreign_or_unowned_cluster_stops_the_recovery() {
    for tags in [Tags::new(), tags("cluster").with(OWNER, "another")] {
        let mut all = inventory();
        all.control_plane.as_mut().unwrap().tags = tags;
        assert!(selected(&all).unwrap_err().contains("nothing is taken over"));
    }
}

#[test]
fn other_installation_is_rejected_and_a_missing_one_needs_consent() {
    let mut all = inventory();
    all.found[2].tags = tags("natGateway/a").with(INSTALLATION, "there");
    let why = selected(&all).unwrap_err();
    assert!(why.contains("installation there") && why.contains("--installation-id there"), "{why}");
    // The security group of the cluster keeps the id that the cluster had when EKS created it.
    let mut all = inventory();
    all.found[4].tags = tags("cluster").with(INSTALLATION, "lost");
    assert_eq!(selected(&all).unwrap().len(), 9);
    let older = |one: &TaggedResource| one.tags.iter().filter(|(key, _)| *key != INSTALLATION).collect();
    let mut all = inventory();
    for one in &mut all.found {
        one.tags = older(one);
    }
    let why = selected(&all).unwrap_err();
    assert!(why.contains("keelson.dev/installation=here") && why.contains("spec.adoption"), "{why}");
    assert_eq!(select(&all, &owner(), OLD, Evidence::Tags).unwrap().items.len(), 9);
    // One that has it proves it for the others.
    all.found[0].tags = tags("vpc");
    assert_eq!(selected(&all).unwrap().len(), 9);
    // An installation without an id cannot be the named one.
    let without_id = Owner { installation: None, ..owner() };
    assert!(select(&inventory(), &without_id, OLD, Evidence::Role).is_err());
}

#[test]
fn tagged_resources_elsewhere_are_skipped_and_listed() {
    let mut all = inventory();
    all.found.push(found("vpc", "vpc-theirs", Handle::Ec2, Location::Itself));
    all.found.push(in_vpc("subnet/private/b", "subnet-theirs", "vpc-theirs"));
    all.found.push(role("admin", "node2"));
    all.found.push(role("keelson-demo-ffffffff-cluster", "cluster"));
    all.found.push(found("elasticIp/b", "eip-used", Handle::Ec2, Location::Itself));
    all.found.push(TaggedResource { location: Location::Cluster("other".into()), ..in_cluster("addon/x", "x") });
    assert_eq!(selected(&all).unwrap().len(), 9);
    let left = left(&all).join("\n");
    for id in ["vpc-theirs", "subnet-theirs", "admin", "keelson-demo-ffffffff-cluster", "eip-used", "addon/x"] {
        assert!(left.contains(id), "{id}: {left}");
    }
}

#[test]
fn external_network_is_never_taken_over() {
    let all = Inventory { own_network: false, ..inventory() };
    assert_eq!(selected(&all).unwrap().len(), 5);
    assert!(left(&all).join("\n").contains("vpc-1"));
}

#[test]
fn unused_address_is_skipped() {
    let mut all = inventory();
    all.found.push(found("elasticIp/b", "eip-unused", Handle::Ec2, Location::Unused));
    assert!(left(&all).join("\n").contains("eip-unused"));
    assert_eq!(select(&all, &owner(), OLD, Evidence::Tags).unwrap().items.len(), 10);
}

#[test]
fn duplicate_keys_stop_the_recovery() {
    let mut all = inventory();
    all.found.push(in_vpc("natGateway/a", "nat-2", "vpc-1"));
    let why = selected(&all).unwrap_err();
    assert!(why.contains("nat-1 and nat-2") && why.contains("natGateway/a"), "{why}");
    let mut all = inventory();
    all.control_plane = None;
    all.found.push(found("vpc", "vpc-2", Handle::Ec2, Location::Itself));
    assert!(select(&all, &owner(), OLD, Evidence::Tags).unwrap_err().contains("vpc-1 and vpc-2"));
}

#[test]
fn existing_network_recovers_only_resources_of_the_cluster() {
    let mut all = inventory();
    all.found.retain(|one| one.handle != Handle::Ec2 || one.id == "sg-eks");
    all.found.push(in_vpc("securityGroup", "sg-x", "vpc-1"));
    assert!(!selected(&all).unwrap().iter().any(|one| one.contains("sg-x")));
    assert_eq!(selected(&all).unwrap().len(), 5);
}

#[test]
fn interrupted_recovery_is_resumed() {
    let all_selected = selected(&inventory()).unwrap();
    for number in 0..inventory().found.len() {
        let mut all = inventory();
        for one in all.found.iter_mut().take(number) {
            one.tags = one.tags.clone().with(OWNER, "new");
        }
        assert_eq!(selected(&all).unwrap(), all_selected);
    }
}

#[test]
fn tags_alone_need_consent_of_the_account_owner() {
    let cases: [(&str, Option<&str>); 3] = [
        ("a role of others", None),
        ("created for another object", Some("EKS cluster role of vault/demo, made by Keelson")),
        ("another role", Some("EKS node role of team/demo, made by Keelson")),
    ];
    for (what, description) in cases {
        let mut all = inventory();
        all.control_plane.as_mut().unwrap().role_description = description.map(str::to_owned);
        assert!(selected(&all).unwrap_err().contains("spec.adoption of the AwsAccount"), "{what}");
        assert_eq!(select(&all, &owner(), OLD, Evidence::Tags).unwrap().items.len(), 9, "{what}");
    }
    // Without a cluster, a role proves nothing about the network.
    let mut all = inventory();
    all.control_plane = None;
    all.found.retain(|one| !matches!(one.handle, Handle::Eks(_)));
    assert!(selected(&all).is_err());
    let selection = select(&all, &owner(), OLD, Evidence::Tags).unwrap();
    let ids: Vec<_> = selection.items.iter().map(|item| item.found.id.as_str()).collect();
    assert_eq!(ids, ["eip-1", "nat-1", "subnet-1", "vpc-1"]);
}

/// The object has another region than the earlier one: IAM is the same in all regions.
#[test]
fn roles_and_providers_without_their_cluster_are_left_and_named() {
    let mut all = inventory();
    all.control_plane = None;
    all.found.retain(|one| matches!(one.handle, Handle::Role(_) | Handle::OidcProvider(_)));
    for (by_tags, evidence) in [(true, Evidence::Tags), (false, Evidence::Role)] {
        let selection = select(&all, &owner(), OLD, evidence);
        assert!(selection.is_ok_and(|selection| selection.items.is_empty()) || !by_tags);
    }
    let left = select(&all, &owner(), OLD, Evidence::Tags).unwrap().left.join("\n");
    for id in ["keelson-demo-00000000-cluster", "keelson-demo-00000000-node", "arn:oidc"] {
        assert!(left.contains(id) && left.contains("no cluster demo exists here"), "{left}");
    }
}

#[test]
fn nothing_of_a_cluster_with_another_name_is_taken_over() {
    let mut all = inventory();
    all.control_plane = None;
    all.found.retain(|one| !matches!(one.handle, Handle::Eks(_)));
    let renamed = Inventory { cluster_name: "demo-b".into(), ..all.clone() };
    let why = select(&renamed, &owner(), OLD, Evidence::Tags).unwrap_err();
    assert!(why.contains("keelson-demo-00000000-cluster") && why.contains("spec.clusterName"), "{why}");
    // The earlier cluster's name continues this one's.
    let shorter = Inventory { cluster_name: "dem".into(), ..all.clone() };
    assert!(select(&shorter, &owner(), OLD, Evidence::Tags).is_err());
    // Its roles were external: something runs in the VPC.
    all.found.retain(|one| !matches!(one.handle, Handle::Role(_)));
    all.vpcs_in_use = ["vpc-1".to_owned()].into();
    let why = select(&all, &owner(), OLD, Evidence::Tags).unwrap_err();
    assert!(why.contains("something runs in vpc-1"), "{why}");
}

#[test]
fn object_that_created_its_cluster_takes_no_role_of_an_earlier_one() {
    use sha2::{Digest as _, Sha256};
    let hash: String = Sha256::digest("new").iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut all = inventory();
    all.found.push(role("keelson-demo-00000000-fargate", "fargate"));
    let control_plane = all.control_plane.as_mut().unwrap();
    control_plane.tags = tags("cluster").with(OWNER, "new");
    control_plane.role_arn = Some(format!("arn:aws:iam::1:role/keelson-demo-{hash}-cluster"));
    let selection = select(&all, &owner(), OLD, Evidence::Tags).unwrap();
    assert!(selection.items.iter().all(|item| item.key.kind() != "role"), "{:?}", selection.items);
    assert!(selection.left.iter().any(|left| left.contains("fargate") && left.contains("with other roles")));
    // Moved to another object and back: the control plane is still that one's, and named for this one.
    all.control_plane.as_mut().unwrap().tags = tags("cluster");
    assert!(select(&all, &owner(), OLD, Evidence::Tags).unwrap().items.iter().any(|item| item.key.name() == "fargate"));
}

#[test]
fn resources_that_lost_a_tag_and_those_of_others_in_the_vpc_are_named() {
    let without = |one: &TaggedResource, tag: &str| one.tags.iter().filter(|(key, _)| *key != tag).collect();
    for (tag, number) in [(RESOURCE, 2), (CLUSTER, 3)] {
        let mut all = inventory();
        all.found[number].tags = without(&all.found[number], tag);
        let (left, id) = (left(&all).join("\n"), &all.found[number].id);
        assert!(left.contains(id) && left.contains(tag), "{left}");
    }
    let mut all = inventory();
    all.found[1].tags = tags("subnet/private/a").with(OWNER, "another").with(CLUSTER, "other/secret");
    assert_eq!(left(&all), ["subnet-1 (it is in the cluster's VPC with another UID)"]);
}

#[test]
fn own_resources_are_selected_whatever_installation_their_tags_name() {
    let own = Owner { uid: OLD.into(), ..owner() };
    for number in 0..inventory().found.len() {
        let mut all = inventory();
        for one in all.found.iter_mut().take(number) {
            one.tags = one.tags.clone().with(INSTALLATION, "lost");
        }
        assert_eq!(select(&all, &own, OLD, Evidence::Own(None)).unwrap().items.len(), 9);
        assert_eq!(select(&all, &own, OLD, Evidence::Tags).is_err(), number > 0, "{number}");
    }
}

/// The record of the object that handed its resources over.
fn records(all: &Inventory) -> Records {
    let line = |one: &TaggedResource| (one.key().unwrap(), one.id.clone());
    Records::from_ids(all.found.iter().filter(|one| one.id != "sg-eks").map(line))
}

#[test]
fn resources_on_record_are_taken_back_until_the_cluster_is_taken_over() {
    let own = Owner { uid: OLD.into(), ..owner() };
    let recorded = records(&inventory());
    let mut all = inventory();
    for one in all.found.iter_mut().filter(|one| !matches!(one.handle, Handle::Eks(_))) {
        one.tags = one.tags.clone().with(OWNER, "target").with(INSTALLATION, "there");
    }
    assert_eq!(select(&all, &own, OLD, Evidence::Own(Some(&recorded))).unwrap().items.len(), 9);
    assert!(select(&all, &own, OLD, Evidence::Own(None)).unwrap().items.len() < 9, "a hand-over takes nothing back");
    // Not on record, or tagged for another object.
    assert!(select(&all, &own, OLD, Evidence::Own(Some(&Records::default()))).unwrap().items.len() < 9);
    all.found[1].tags = all.found[1].tags.clone().with(CLUSTER, "team/other");
    assert_eq!(select(&all, &own, OLD, Evidence::Own(Some(&recorded))).unwrap().items.len(), 8);
    // The cluster is tagged last: from then on it is the other object's.
    all.control_plane.as_mut().unwrap().tags = tags("cluster").with(OWNER, "target").with(INSTALLATION, "there");
    let why = select(&all, &own, OLD, Evidence::Own(Some(&recorded))).unwrap_err();
    assert!(why.contains("UID target of installation there") && why.contains("deletes nothing in AWS"), "{why}");
}

#[test]
fn wrong_uid_is_answered_with_the_right_one() {
    let why = select(&inventory(), &owner(), "not-a-uid", Evidence::Role).unwrap_err();
    let command = "kubectl annotate ekscluster/demo -n team --overwrite keelson.dev/recover=old";
    assert!(why.contains("with UID old, not not-a-uid") && why.ends_with(command), "{why}");
    // Not if it belongs to another installation, which the message names.
    let mut all = inventory();
    all.control_plane.as_mut().unwrap().tags = tags("cluster").with(INSTALLATION, "there");
    let why = select(&all, &owner(), "not-a-uid", Evidence::Role).unwrap_err();
    assert!(why.contains("--installation-id there") && !why.contains("recover="), "{why}");
    // Another object's cluster: its UID is not revealed.
    all.control_plane.as_mut().unwrap().tags = tags("cluster").with(CLUSTER, "vault/demo").with(OWNER, "secret");
    let why = select(&all, &owner(), "not-a-uid", Evidence::Role).unwrap_err();
    assert!(!why.contains("secret") && !why.contains("vault") && why.contains("Remove the annotation"), "{why}");
}

#[test]
fn incomplete_recovery_is_recognised_by_the_control_plane_of_the_earlier_object() {
    let mut all = inventory();
    for one in all.found.iter_mut().take(4) {
        one.tags = one.tags.clone().with(OWNER, "new");
    }
    let gone = Existing::new(|_| false);
    let (uid, items) = evidence::incomplete_recovery(&all, &owner(), &gone).unwrap();
    let ids: Vec<_> = items.iter().map(|item| item.found.id.as_str()).collect();
    assert_eq!((uid.as_str(), ids), (OLD, vec!["vpc-1", "subnet-1", "nat-1", "eip-1"]));
    let given =
        items.iter().all(|item| evidence::earlier_owner(OLD).missing_from(&item.found.tags).owner() == Some(OLD));
    assert!(given, "only the owner tag is written");
    // Not if the earlier object exists, or the control plane is another object's, another installation's or this one's.
    assert!(evidence::incomplete_recovery(&all, &owner(), &Existing::default()).is_none());
    for other in [
        tags("cluster").with(CLUSTER, "team/other"),
        tags("cluster").with(INSTALLATION, "there"),
        tags("cluster").with(OWNER, "new"),
        Tags::new(),
    ] {
        all.control_plane.as_mut().unwrap().tags = other;
        assert!(evidence::incomplete_recovery(&all, &owner(), &gone).is_none());
    }
}

#[test]
fn log_group_is_taken_over_with_its_cluster() {
    let mut all = inventory();
    all.found.push(found("logGroup", "logs", Handle::LogGroup("arn:logs".into()), Location::Itself));
    assert!(selected(&all).unwrap().contains(&"logGroup logs".to_owned()));
}
