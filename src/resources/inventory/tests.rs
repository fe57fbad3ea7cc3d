//! Which settings the spec covers and which become notes. The complete output is in the snapshot of `keelson import`.

use aws_sdk_eks::types::{AccessConfigResponse, AuthenticationMode, CapacityTypes, Nodegroup};
use serde_json::{Value, json};

use super::cluster_fixture::{addon, map, odd, plain, role};
use super::*;
use crate::api::node_group::CapacityType;

/// The spec's value at a JSON pointer, and the notes.
fn convert(inventory: &Inventory, path: &str) -> (Value, String) {
    let (spec, notes) = cluster_spec::spec(inventory, "eu-west-1");
    let value = serde_json::to_value(spec).unwrap().pointer(path).cloned().unwrap_or_default();
    (value, notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn plain_cluster_is_converted_completely() {
    let (spec, notes) = cluster_spec::spec(&plain(), "eu-west-1");
    assert_eq!(notes, []);
    let spec = serde_json::to_value(spec).unwrap();
    for (path, expected) in [
        ("/network", json!({"existing": {"subnetIds": ["subnet-1", "subnet-2"]}})),
        ("/endpointAccess", json!({"public": true, "publicCidrs": ["0.0.0.0/0"], "private": false})),
        ("/access", json!({"authenticationMode": "ConfigMap", "prune": false})),
        ("/addons", json!([])),
        ("/oidcProvider", json!(false)),
        ("/adoptionPolicy", json!("Adopt")),
        ("/deletionPolicy", json!("Retain")),
        ("/roleArn", json!(role("cluster"))),
    ] {
        assert_eq!(spec.pointer(path), Some(&expected), "{path}");
    }
    for absent in
        ["logging", "secretsEncryption", "deletionProtection", "zonalShift", "supportType", "autoMode", "tags"]
    {
        assert!(spec.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn every_unsupported_setting_is_noted() {
    let (_, notes) = convert(&odd(), "");
    for named in [
        "tags of the cluster (Name=odd, team=a)",
        "instances i-1",
        "access entry arn:aws:iam::123456789012:role/nodes because its type is EC2_LINUX",
    ] {
        assert!(notes.contains(named), "{named}: {notes}");
    }
    let groups = node_group_spec::convert_all(&odd(), "odd");
    let notes: Vec<_> = groups[0].notes.iter().map(|note| note.what.as_str()).collect();
    let named = ["remote access", "tags kubernetes.io/cluster/x=owned", "tags owners=a, b of the Auto Scaling group"];
    assert_eq!(notes, named.map(|what| format!("{what} of node group Spot_Nodes")));
}

#[test]
fn settings_that_are_passed_through_are_converted() {
    let manager = json!({"podGcControllerConfig": {"terminatedPodGcThreshold": 1000}});
    let control_plane = json!({
        "egressMode": "CustomerRouted", "apiServer": {"eventTtl": "30m"}, "controllerManager": manager,
    });
    for (path, expected) in [
        ("/controlPlane", control_plane),
        ("/remoteNetworks", json!({"nodeCidrs": ["10.80.0.0/16"], "podCidrs": ["10.85.0.0/16"]})),
        ("/access/entries/1", json!({"principalArn": role("hybrid"), "type": "HybridLinux"})),
        ("/podIdentities/0/disableSessionTags", Value::Null),
        ("/podIdentities/1/disableSessionTags", json!(true)),
    ] {
        assert_eq!(convert(&odd(), path).0, expected, "{path}");
    }
    let group = node_group_spec::convert_all(&odd(), "odd").remove(1);
    let spec = serde_json::to_value(group.spec.unwrap()).unwrap();
    assert!(group.notes.is_empty(), "{:?}", group.notes);
    let pool = json!({
        "enabled": true, "minSize": 1, "maxGroupPreparedCapacity": 4, "poolState": "Running", "reuseOnScaleIn": true,
    });
    let reboot = json!({
        "nodeMonitoringCondition": "KernelReady", "nodeUnhealthyReason": "SoftLockup",
        "minRepairWaitTimeMins": 10, "repairAction": "Reboot",
    });
    assert_eq!((&spec["warmPool"], &spec["repair"]["overrides"]), (&pool, &json!([reboot])));
}

#[test]
fn authentication_modes_are_converted() {
    for (mode, expected) in [
        (AuthenticationMode::Api, "Api"),
        (AuthenticationMode::ApiAndConfigMap, "ApiAndConfigMap"),
        (AuthenticationMode::ConfigMap, "ConfigMap"),
    ] {
        let access = AccessConfigResponse::builder().authentication_mode(mode).build();
        let mut inventory = plain();
        inventory.cluster.access_config = Some(access);
        let (found, _) = convert(&inventory, "/access/authenticationMode");
        assert_eq!(found, expected);
    }
}

#[test]
fn addon_is_converted_with_settings_and_one_role() {
    let found = |addon, is_default, roles: &[&str]| {
        let pod_identity_roles = roles.iter().map(|name| role(name)).collect();
        let addons = vec![FoundAddon { addon, is_default, pod_identity_roles }];
        convert(&Inventory { addons, ..plain() }, "/addons/0")
    };
    let base = |version: &str| json!({"name": "a", "version": version, "conflicts": "Preserve"});
    let with = |version: &str, field: &str, value: Value| {
        let mut addon = base(version);
        addon[field] = value;
        addon
    };
    let exact = "v1.2.3-eksbuild.1";
    assert_eq!(found(addon("a").build(), true, &[]).0, base("Default"));
    assert_eq!(found(addon("a").build(), false, &[]).0, base(exact));
    let values = found(addon("a").configuration_values("replicaCount: 3\n").build(), true, &[]).0;
    assert_eq!(values, with("Default", "configuration", json!({"replicaCount": 3})));
    for nothing in ["", "  ", "null"] {
        assert_eq!(
            found(addon("a").configuration_values(nothing).build(), true, &[]).0,
            base("Default"),
            "{nothing:?}"
        );
    }
    let (odd, notes) = found(addon("a").configuration_values("[1]").build(), true, &[]);
    assert!(odd == base("Default") && notes.contains("the configuration of add-on a"), "{notes}");
    assert_eq!(found(addon("a").build(), true, &["r"]).0, with("Default", "podIdentityRoleArn", json!(role("r"))));
    let (two, notes) = found(addon("a").build(), true, &["r", "s"]);
    assert!(two == base("Default") && notes.contains("pod identity roles"), "{notes}");
    let both = found(addon("a").service_account_role_arn(role("sa")).build(), true, &["r"]);
    assert_eq!(both.0, with("Default", "serviceAccountRoleArn", json!(role("sa"))));
    assert!(both.1.contains("pod identity roles"), "{}", both.1);
}

#[test]
fn unsupported_node_group_is_noted() {
    let group = |capacity| Nodegroup::builder().nodegroup_name("n").version("1.34").capacity_type(capacity).build();
    let found = |capacity| {
        let groups = vec![group(capacity)];
        node_group_spec::convert_all(&Inventory { node_groups: groups, ..plain() }, "plain").remove(0)
    };
    let other = found(CapacityTypes::from("LATER"));
    assert!(other.spec.is_none() && other.notes[0].why.contains("LATER"));
    assert_eq!(found(CapacityTypes::CapacityBlock).spec.unwrap().capacity_type, CapacityType::CapacityBlock);
    let usual = found(CapacityTypes::OnDemand).spec.unwrap();
    assert_eq!(
        (usual.version, usual.release_version.as_str()),
        (None, "Pinned"),
        "the version follows the control plane"
    );
}

#[test]
fn owner_of_a_managed_cluster_is_reported() {
    let mut inventory = plain();
    inventory.cluster.tags = Some(map(&[("keelson.dev/owner", "u"), ("keelson.dev/cluster", "a/b")]));
    assert_eq!(inventory.owner().as_deref(), Some("a/b (UID u)"));
    assert_eq!(plain().owner(), None);
}
