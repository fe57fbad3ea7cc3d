//! Which resources of which object an event affects.

use serde_json::{Value, json};

use super::*;
use crate::controllers::drift::pending_changes::{ExternalChange, PendingChanges};
use crate::resources::eks::launch_template;

fn cluster() -> EksCluster {
    let resource = |key: &str, id: &str| json!({"key": key, "id": id});
    let object = json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
        "metadata": {"name": "shop", "namespace": "default", "uid": "u"},
        "spec": {"region": "eu-west-1", "version": "1.34", "clusterName": "prod"},
        "status": {
            "accountId": "111122223333",
            "network": {"vpcId": "vpc-0a", "subnets": [{"id": "subnet-0a", "zone": "eu-west-1a", "tier": "Private"}]},
            "resources": [
                resource("vpc", "vpc-0a"),
                resource("subnet/private/eu-west-1a", "subnet-0a"),
                resource("routeTable/public", "rtb-0a"),
                resource("route/public", "rtb-0a:0.0.0.0/0"),
                resource("role/node", "keelson-prod-node"),
                resource("role/fargate", "arn:aws:iam::111122223333:role/keelson/keelson-prod-fargate"),
                resource("oidcProvider", "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/A"),
                resource("cluster", "prod"),
                resource("addon/vpc-cni", "vpc-cni"),
                resource("accessEntry/arn:aws:iam::111122223333:role/admins", "arn:aws:iam::111122223333:role/admins"),
                resource("podIdentity/kube-system/csi", "a-0b1c"),
            ],
        },
    });
    serde_json::from_value(object).unwrap()
}

fn group(name: &str) -> NodeGroup {
    let object = json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"clusterRef": {"name": "shop"}, "scaling": {"min": 1, "max": 2}},
    });
    serde_json::from_value(object).unwrap()
}

/// An event from the cluster's account; IAM events come from IAM's home region.
fn event(source: &str, action: &str, parameters: Value) -> Event {
    let region = if source == "aws.iam" { "us-east-1" } else { "eu-west-1" };
    let body = json!({
        "detail-type": "AWS API Call via CloudTrail", "source": source, "account": "111122223333", "region": region,
        "detail": {"eventName": action, "requestParameters": parameters},
    });
    match Message::read(&body.to_string()) {
        Ok(Message::Change(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn affected_keys(event: &Event) -> Vec<String> {
    let cluster = cluster();
    assert!(is_in_account_and_region(event, &cluster));
    affected_cluster_keys(event, &cluster).iter().map(ToString::to_string).collect()
}

#[test]
fn event_affects_exactly_the_named_resources() {
    let role = "arn:aws:iam::111122223333:role/admins";
    let entry = format!("accessEntry/{role}");
    let entry_arn = "arn:aws:eks:eu-west-1:111122223333:access-entry/prod/role/111122223333/admins/0a";
    let cases: Vec<(&str, &str, Value, Vec<&str>)> = vec![
        ("aws.ec2", "CreateTags", json!({"resourcesSet": {"items": [{"resourceId": "vpc-0a"}]}}), vec!["vpc"]),
        ("aws.ec2", "DeleteRoute", json!({"routeTableId": "rtb-0a"}), vec!["route/public", "routeTable/public"]),
        ("aws.ec2", "DeleteSubnet", json!({"subnetId": "subnet-0a"}), vec!["subnet/private/eu-west-1a"]),
        ("aws.ec2", "DeleteSubnet", json!({"subnetId": "subnet-0b"}), vec![]),
        ("aws.iam", "DetachRolePolicy", json!({"roleName": "keelson-prod-node"}), vec!["role/node"]),
        ("aws.iam", "DetachRolePolicy", json!({"roleName": "keelson-prod-fargate"}), vec!["role/fargate"]),
        ("aws.iam", "DetachRolePolicy", json!({"roleName": "admins"}), vec![]),
        ("aws.eks", "UpdateClusterConfig", json!({"name": "prod", "logging": {}}), vec!["cluster"]),
        ("aws.eks", "UpdateClusterConfig", json!({"name": "shop"}), vec![]),
        ("aws.eks", "DeleteAddon", json!({"clusterName": "prod", "addonName": "vpc-cni"}), vec!["addon/vpc-cni"]),
        ("aws.eks", "DeleteAddon", json!({"clusterName": "test", "addonName": "vpc-cni"}), vec![]),
        ("aws.eks", "CreateAddon", json!({"clusterName": "prod", "addonName": "x"}), vec!["addon/x", "addonPruning"]),
        ("aws.eks", "UpdateAccessEntry", json!({"clusterName": "prod", "principalArn": role}), vec![&entry]),
        ("aws.eks", "TagResource", json!({"resourceArn": entry_arn}), vec![&entry]),
        (
            "aws.eks",
            "TagResource",
            json!({"resourceArn": "arn:aws:eks:eu-west-1:111122223333:cluster/prod"}),
            vec!["cluster"],
        ),
        (
            "aws.eks",
            "DeletePodIdentityAssociation",
            json!({"clusterName": "prod", "associationId": "a-0b1c"}),
            vec!["podIdentity/kube-system/csi"],
        ),
        (
            "aws.eks",
            "AssociateIdentityProviderConfig",
            json!({"name": "prod", "oidc": {"identityProviderConfigName": "corp", "issuerUrl": "https://id"}}),
            vec!["identityProvider/corp"],
        ),
        (
            "aws.eks",
            "DisassociateIdentityProviderConfig",
            json!({"clusterName": "prod", "identityProviderConfig": {"type": "oidc", "name": "corp"}}),
            vec!["identityProvider/corp"],
        ),
        (
            "aws.eks",
            "TagResource",
            json!({"resourceArn": "arn:aws:eks:eu-west-1:111122223333:identityproviderconfig/prod/oidc/corp/0c"}),
            vec!["identityProvider/corp"],
        ),
        (
            "aws.eks",
            "DeleteCapability",
            json!({"clusterName": "prod", "capabilityName": "kro"}),
            vec!["capability/kro"],
        ),
        (
            "aws.eks",
            "UntagResource",
            json!({"resourceArn": "arn:aws:eks:eu-west-1:111122223333:capability/prod/kro/mine/0c"}),
            vec!["capability/mine"],
        ),
        ("aws.eks", "UpdateNodegroupConfig", json!({"clusterName": "prod", "nodegroupName": "workers"}), vec![]),
        // Nodes come and go, and change no resource of the cluster.
        ("aws.ec2", "RunInstances", json!({"subnetId": "subnet-0a"}), vec![]),
        ("aws.ec2", "CreateNetworkInterface", json!({"subnetId": "subnet-0a"}), vec![]),
    ];
    for (source, action, parameters, expected) in cases {
        assert_eq!(affected_keys(&event(source, action, parameters.clone())), expected, "{action} {parameters}");
    }
}

fn affected_group_keys(event: &Event, group: &NodeGroup) -> Vec<String> {
    affected_node_group_keys(event, group, &cluster()).iter().map(ToString::to_string).collect()
}

#[test]
fn node_group_event_matches_by_cluster_and_name() {
    let parameters = json!({"clusterName": "prod", "nodegroupName": "workers", "scalingConfig": {"maxSize": 9}});
    let change = event("aws.eks", "UpdateNodegroupConfig", parameters);
    assert_eq!(affected_group_keys(&change, &group("workers")), ["nodeGroup/workers"]);
    assert_eq!(affected_group_keys(&change, &group("others")), [""; 0]);
    let tagged = "arn:aws:eks:eu-west-1:111122223333:nodegroup/prod/workers/0c";
    let untagged = event("aws.eks", "UntagResource", json!({"resourceArn": tagged}));
    assert_eq!(affected_group_keys(&untagged, &group("workers")), ["nodeGroup/workers"]);
    let elsewhere = json!({"clusterName": "test", "nodegroupName": "workers"});
    let elsewhere = event("aws.eks", "UpdateNodegroupConfig", elsewhere);
    assert_eq!(affected_group_keys(&elsewhere, &group("workers")), [""; 0]);
}

#[test]
fn event_of_a_launch_template_affects_the_node_group_that_it_was_created_for() {
    let mut workers = group("workers");
    workers.status = serde_json::from_value(json!({"launchTemplate": {"id": "lt-0a", "version": "2"}})).unwrap();
    let name = launch_template::name("prod", "workers");
    let by_id = json!({"LaunchTemplateId": "lt-0a"});
    let cases = [
        ("CreateLaunchTemplateVersion", json!({"CreateLaunchTemplateVersionRequest": by_id}), true),
        ("DeleteLaunchTemplateVersions", json!({"DeleteLaunchTemplateVersionsRequest": by_id}), true),
        ("ModifyLaunchTemplate", json!({"ModifyLaunchTemplateRequest": by_id}), true),
        ("DeleteLaunchTemplate", json!({"DeleteLaunchTemplateRequest": by_id}), true),
        ("DeleteLaunchTemplate", json!({"DeleteLaunchTemplateRequest": {"LaunchTemplateName": name}}), true),
        ("DeleteLaunchTemplate", json!({"DeleteLaunchTemplateRequest": {"LaunchTemplateId": "lt-0b"}}), false),
        ("DeleteTags", json!({"resourcesSet": {"items": [{"resourceId": "lt-0a"}]}}), true),
        // By EKS, for each node.
        ("RunInstances", json!({"launchTemplate": {"launchTemplateId": "lt-0a"}}), false),
    ];
    for (action, parameters, is_affected) in cases {
        let change = event("aws.ec2", action, parameters.clone());
        let expected = if is_affected { vec!["launchTemplate/workers", "nodeGroup/workers"] } else { Vec::new() };
        assert_eq!(affected_group_keys(&change, &workers), expected, "{action} {parameters}");
        assert_eq!(affected_group_keys(&change, &group("others")), [""; 0]);
        let index =
            EventIndex::new(vec![Arc::new(cluster())], vec![Arc::new(workers.clone()), Arc::new(group("others"))]);
        let woken: Vec<_> =
            affected(&index, &change).into_iter().map(|one| matches!(one, Affected::NodeGroup(..))).collect();
        assert_eq!(woken, vec![true; usize::from(is_affected)], "{action} {parameters}");
    }
}

#[test]
fn events_of_another_account_or_region_are_ignored() {
    let change = event("aws.eks", "UpdateClusterConfig", json!({"name": "prod"}));
    let there = |account: &str, region: &str| {
        let mut there = change.clone();
        (there.account, there.region) = (account.into(), region.into());
        there
    };
    assert!(is_in_account_and_region(&there("111122223333", "eu-west-1"), &cluster()));
    assert!(!is_in_account_and_region(&there("111122223334", "eu-west-1"), &cluster()));
    assert!(!is_in_account_and_region(&there("111122223333", "eu-west-2"), &cluster()));
    let role = event("aws.iam", "DeleteRole", json!({"roleName": "keelson-prod-node"}));
    assert!(is_in_account_and_region(&role, &cluster()), "IAM has no region");
    let unknown = EksCluster { status: None, ..cluster() };
    assert!(!is_in_account_and_region(&change, &unknown), "nothing is created yet");
}

#[test]
fn subnet_event_affects_an_existing_network() {
    let mut external = cluster();
    let status = external.status.as_mut().unwrap();
    status.resources.retain(|resource| !["vpc", "subnet/private/eu-west-1a"].contains(&resource.key.as_str()));
    let change = event("aws.ec2", "DeleteSubnet", json!({"subnetId": "subnet-0a"}));
    assert_eq!(affected_cluster_keys(&change, &external), BTreeSet::from([Key::single("existingNetwork")]));
}

#[test]
fn pending_changes_accumulate_until_taken() {
    let (pending, start) = (PendingChanges::default(), Timestamp::UNIX_EPOCH);
    let later = start + jiff::SignedDuration::from_secs(1);
    pending.add("u".into(), BTreeSet::from([Key::single("vpc")]), start);
    pending.add("u".into(), BTreeSet::from([Key::single("cluster")]), later);
    let keys = BTreeSet::from([Key::single("vpc"), Key::single("cluster")]);
    assert_eq!(pending.take("u"), Some(ExternalChange { at: later, keys }));
    assert_eq!(pending.take("u"), None);
}

fn numbered(number: usize, account: &str) -> Arc<EksCluster> {
    let mut one = cluster();
    one.metadata.name = Some(format!("shop-{number}"));
    one.metadata.uid = Some(format!("u-{number}"));
    one.spec.cluster_name = Some(format!("prod-{number}"));
    let status = one.status.as_mut().unwrap();
    status.account_id = Some(account.to_owned());
    for resource in &mut status.resources {
        if resource.key != "role/node" {
            resource.id = resource.id.as_ref().map(|id| format!("{id}-{number}"));
        }
    }
    Arc::new(one)
}

fn matching_clusters(index: &EventIndex, event: &Event) -> Vec<String> {
    index.clusters_of(event).into_iter().map(|cluster| cluster.name_any()).collect()
}

#[test]
fn event_index_finds_clusters_by_name_and_resource_id() {
    let clusters = (0..100).map(|number| numbered(number, "111122223333")).collect();
    let index = EventIndex::new(clusters, vec![Arc::new(group("workers"))]);
    let eks = event("aws.eks", "UpdateClusterConfig", json!({"name": "prod-7"}));
    assert_eq!(matching_clusters(&index, &eks), ["shop-7"]);
    assert_eq!(
        matching_clusters(&index, &event("aws.ec2", "DeleteSubnet", json!({"subnetId": "subnet-0a-9"}))),
        ["shop-9"]
    );
    assert_eq!(matching_clusters(&index, &event("aws.ec2", "DeleteSubnet", json!({"subnetId": "subnet-0a"}))), [""; 0]);
    let mut elsewhere = eks;
    elsewhere.region = "eu-west-2".into();
    assert_eq!(matching_clusters(&index, &elsewhere), [""; 0]);
    assert_eq!(index.node_groups_of(&cluster()).len(), 1);
}

#[test]
fn forged_event_of_another_account_affects_nothing() {
    let index = EventIndex::new(vec![numbered(1, "111122223333")], Vec::new());
    for mut forged in [
        event("aws.ec2", "DeleteSubnet", json!({"subnetId": "subnet-0a-1"})),
        event("aws.iam", "DeleteRole", json!({"roleName": "keelson-prod-node"})),
        event("aws.eks", "DeleteAddon", json!({"clusterName": "prod-1", "addonName": "vpc-cni"})),
    ] {
        forged.account = "999988887777".into();
        assert!(
            index.clusters_of(&forged).into_iter().all(|cluster| !is_in_account_and_region(&forged, cluster)),
            "{forged:?}"
        );
    }
}

#[test]
fn sender_is_matched_by_role_id_not_session_name() {
    let allowed = ["AIDAEVENTS".to_owned(), "AROARULE".to_owned()];
    assert!(is_trusted(Some("AIDAEVENTS"), &allowed) && is_trusted(Some("AROARULE:session"), &allowed));
    for sender in [None, Some(""), Some("AIDAOTHER"), Some("AROAOTHER:AROARULE"), Some("AIDAEVENTS2")] {
        assert!(!is_trusted(sender, &allowed), "{sender:?}");
        assert!(is_trusted(sender, &[]));
    }
}

#[test]
fn one_message_affects_a_bounded_number_of_objects_and_resources() {
    let index = EventIndex::new((0..50).map(|number| numbered(number, "111122223333")).collect(), Vec::new());
    // All clusters share a role name.
    let role = event("aws.iam", "DeleteRole", json!({"roleName": "keelson-prod-node"}));
    assert_eq!(index.clusters_of(&role).len(), 50);
    assert_eq!(affected(&index, &role).len(), MAX_OBJECTS);
    let all: Vec<_> = (0..50).map(|number| json!({"resourceId": format!("vpc-0a-{number}")})).collect();
    let tags = event("aws.ec2", "CreateTags", json!({"resourcesSet": {"items": all}}));
    assert_eq!(affected(&index, &tags).len(), MAX_OBJECTS);
    let mut large = (*numbered(1, "111122223333")).clone();
    let subnets =
        (0..200).map(|number| json!({"key": format!("subnet/private/{number}"), "id": format!("subnet-{number}")}));
    let status = large.status.as_mut().unwrap();
    status.resources = subnets.map(|one| serde_json::from_value(one).unwrap()).collect();
    let all: Vec<_> = (0..200).map(|number| json!({"resourceId": format!("subnet-{number}")})).collect();
    let tags = event("aws.ec2", "CreateTags", json!({"resourcesSet": {"items": all}}));
    let index = EventIndex::new(vec![Arc::new(large)], Vec::new());
    match affected(&index, &tags).as_slice() {
        [Affected::Cluster(_, keys)] => assert_eq!(keys.len(), MAX_RESOURCES),
        other => panic!("{}", other.len()),
    }
}
