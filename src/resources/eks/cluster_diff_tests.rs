//! Which edit becomes which change, and which changes are applied together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::aws::tags::OWNER;
use crate::engine::{Correction, Key};
use crate::resources::cloud::{Intervals, Owner, ResourceContext};

const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/1";

fn cluster(more: Value, target: Option<&str>) -> Cluster {
    let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
    let context = ResourceContext {
        owner: &owner,
        cluster_name: "demo",
        user_tags: BTreeMap::new(),
        former_tags: BTreeSet::new(),
        intervals: Intervals::default(),
    };
    let mut spec = json!({"region": "eu-west-1", "version": "1.34"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let network = vec![Key::named("subnet", "private/a")];
    Cluster::new(&context, &serde_json::from_value(spec).unwrap(), network, target.map(str::to_owned))
}

/// What EKS creates from `{}`.
fn current() -> Detail {
    Detail {
        version: "1.34".into(),
        role_arn: "arn:aws:iam::123456789012:role/cluster".into(),
        subnets: ["subnet-a".to_owned()].into(),
        public: true,
        private: true,
        public_cidrs: ["0.0.0.0/0".to_owned()].into(),
        support: "EXTENDED".into(),
        authentication: "API".into(),
        ip_family: "ipv4".into(),
        tier: "standard".into(),
        tags: cluster(json!({}), None).tags,
        ..Detail::default()
    }
}

fn refs() -> Refs {
    let mut refs = Refs::default();
    refs.insert(Key::named("subnet", "private/a"), "subnet-a".into(), BTreeMap::new());
    let arn = [("arn", "arn:aws:iam::123456789012:role/cluster".to_owned())];
    refs.insert(role::key(Purpose::Cluster), "cluster".into(), arn.into());
    refs
}

/// "field: from -> to", with an exclamation mark if it cannot be changed.
fn format_changes(cluster: &Cluster, current: &Detail) -> Vec<String> {
    let mark = |how: &Correction| if *how == Correction::InPlace { "" } else { "!" };
    let all = cluster.differences(current, &refs());
    all.iter().map(|c| format!("{}{}: {} -> {}", mark(&c.how), c.field, c.from, c.to)).collect()
}

#[test]
fn each_spec_field_maps_to_its_change() {
    let view = |pools: &[&str]| json!({"autoMode": {"nodePools": pools}});
    for (more, expected) in [
        (json!({}), vec![]),
        (json!({"deletionProtection": false}), vec![]),
        (json!({"deletionProtection": true}), vec!["deletionProtection: false -> true"]),
        (json!({"endpointAccess": {"public": false}}), vec!["endpointAccess.public: true -> false"]),
        (json!({"endpointAccess": {"private": false}}), vec!["endpointAccess.private: true -> false"]),
        (
            json!({"endpointAccess": {"publicCidrs": ["198.51.100.0/24", "203.0.113.0/24"]}}),
            vec!["endpointAccess.publicCidrs: 0.0.0.0/0 -> 198.51.100.0/24, 203.0.113.0/24"],
        ),
        (json!({"logging": []}), vec![]),
        (json!({"logging": ["audit", "api"]}), vec!["logging:  -> api, audit"]),
        (json!({"supportType": "Standard"}), vec!["supportType: EXTENDED -> STANDARD"]),
        (json!({"controlPlaneScaling": {"tier": "tier-xl"}}), vec!["controlPlaneScaling.tier: standard -> tier-xl"]),
        (json!({"zonalShift": true}), vec!["zonalShift: false -> true"]),
        (view(&[]), vec!["autoMode.nodePools: off -> on"]),
        (view(&["system", "general-purpose"]), vec!["autoMode.nodePools: off -> general-purpose, system"]),
        (
            json!({"secretsEncryption": {"kmsKeyArn": KEY}}),
            vec!["secretsEncryption.kmsKeyArn:  -> arn:aws:kms:eu-west-1:123456789012:key/1"],
        ),
        (
            json!({"access": {"authenticationMode": "ApiAndConfigMap"}}),
            vec!["!access.authenticationMode: API -> API_AND_CONFIG_MAP"],
        ),
        // The upgrade decides when it may start.
        (json!({"version": "1.35"}), vec![]),
    ] {
        assert_eq!(format_changes(&cluster(more.clone(), None), &current()), expected, "{more}");
    }
}

#[test]
fn target_version_counts_and_not_the_spec() {
    for (target, expected) in
        [("1.34", vec![]), ("1.35", vec!["version: 1.34 -> 1.35"]), ("1.36", vec!["!version: 1.34 -> 1.36"])]
    {
        assert_eq!(
            format_changes(&cluster(json!({"version": "1.36"}), Some(target)), &current()),
            expected,
            "{target}"
        );
    }
}

#[test]
fn outdated_target_version_causes_no_rollback() {
    let after = |goal: &str, allowed: bool, target: &str| {
        let spec = json!({"version": goal, "upgrade": {"allowRollback": allowed}});
        format_changes(&cluster(spec, Some(target)), &current())
    };
    assert_eq!(after("1.36", false, "1.33"), [""; 0]);
    assert_eq!(after("1.36", true, "1.33"), [""; 0], "a rollback is allowed, but not requested");
    assert_eq!(after("1.34", true, "1.33"), [""; 0]);
    assert_eq!(after("1.33", false, "1.33"), [""; 0]);
    assert_eq!(after("1.33", true, "1.33"), ["version: 1.34 -> 1.33"]);
    assert_eq!(after("1.32", true, "1.32"), ["!version: 1.34 -> 1.32"]);
}

#[test]
fn external_changes_are_reverted_or_reported() {
    let after = |change: &dyn Fn(&mut Detail), more| {
        let mut observed = current();
        change(&mut observed);
        format_changes(&cluster(more, None), &observed)
    };
    let moved = after(&|observed| observed.subnets = ["subnet-b".to_owned()].into(), json!({}));
    assert_eq!(moved, ["network.subnetIds: subnet-b -> subnet-a"]);
    let key =
        after(&|observed| observed.kms_key = Some("other".into()), json!({"secretsEncryption": {"kmsKeyArn": KEY}}));
    assert_eq!(key, [format!("!secretsEncryption.kmsKeyArn: other -> {KEY}")]);
    let map = after(&|observed| observed.authentication = "CONFIG_MAP".into(), json!({}));
    assert_eq!(map, ["access.authenticationMode: CONFIG_MAP -> API_AND_CONFIG_MAP"], "through both");
    let both = after(&|observed| observed.authentication = "API_AND_CONFIG_MAP".into(), json!({}));
    assert_eq!(both, ["access.authenticationMode: API_AND_CONFIG_MAP -> API"]);
    let config_map = || json!({"access": {"authenticationMode": "ConfigMap"}});
    assert_eq!(after(&|observed| observed.authentication = "CONFIG_MAP".into(), config_map()), [""; 0]);
    let downgrade = after(&|observed| observed.authentication = "API_AND_CONFIG_MAP".into(), config_map());
    assert_eq!(downgrade, ["!access.authenticationMode: API_AND_CONFIG_MAP -> CONFIG_MAP"]);
    let family = after(&|observed| observed.ip_family = "ipv6".into(), json!({}));
    assert_eq!(family, ["!kubernetesNetwork.ipFamily: ipv6 -> ipv4"]);
    // With the public endpoint off, its CIDRs do not matter.
    let closed = json!({"endpointAccess": {"public": false}});
    assert_eq!(after(&|observed| (observed.public, observed.public_cidrs) = (false, BTreeSet::new()), closed), [""; 0]);
    let role = after(&|observed| observed.role_arn = "arn:aws:iam::123456789012:role/other".into(), json!({}));
    assert!(role[0].starts_with("!roleArn"), "{role:?}");
}

#[test]
fn one_type_of_change_per_update_and_the_version_last() {
    let spec = json!({
        "version": "1.35", "zonalShift": true, "logging": ["api"], "deletionProtection": true,
        "endpointAccess": {"private": false, "publicCidrs": ["203.0.113.0/24"]},
    });
    let wanted = cluster(spec, Some("1.35"));
    let mut observed = Detail { tags: Tags::new().with(OWNER, "of an earlier object"), ..current() };
    let mut rounds = Vec::new();
    loop {
        let mut remaining = wanted.differences(&observed, &refs());
        // Drops what an earlier update resolved.
        let applied: Vec<String> = rounds.concat();
        remaining.retain(|change| !applied.contains(&change.field));
        let batch = Part::batch(&remaining);
        if batch.is_empty() {
            break;
        }
        observed.tags = wanted.tags.clone();
        rounds.push(batch.into_iter().map(|change| change.field).collect::<Vec<_>>());
    }
    let tags = ["keelson.dev/cluster", "keelson.dev/owner", "keelson.dev/resource"];
    let first: Vec<_> = tags.iter().map(|tag| format!("tags.{tag}")).chain(["deletionProtection".into()]).collect();
    assert_eq!(rounds[0], first, "tags are no update and are applied together with one");
    assert_eq!(
        rounds[1..],
        [
            vec!["endpointAccess.private".to_owned(), "endpointAccess.publicCidrs".into()],
            vec!["logging".into()],
            vec!["zonalShift".into()],
            vec!["version".into()],
        ]
    );
}

#[test]
fn every_comparable_field_belongs_to_a_part() {
    let all = json!({
        "version": "1.35", "zonalShift": true, "logging": ["api"], "deletionProtection": true, "supportType": "Standard",
        "endpointAccess": {"private": false, "publicCidrs": ["203.0.113.0/24"]}, "autoMode": {},
        "controlPlaneScaling": {"tier": "tier-xl"}, "secretsEncryption": {"kmsKeyArn": KEY},
        "network": {"existing": {"subnetIds": ["subnet-a", "subnet-b"], "securityGroupIds": ["sg-1"]}},
        "controlPlane": {"egressMode": "CustomerRouted"},
    });
    let observed =
        Detail { authentication: "API_AND_CONFIG_MAP".into(), subnets: BTreeSet::new(), public: false, ..current() };
    let fields: BTreeSet<_> =
        cluster(all, Some("1.35")).differences(&observed, &refs()).into_iter().map(|change| change.field).collect();
    let mut known: BTreeSet<_> = PARTS.iter().map(|(field, _)| (*field).to_owned()).collect();
    // Not together with autoMode.nodePools.
    assert!(known.remove("autoMode.enabled"));
    assert_eq!(fields, known);
}

#[test]
fn auto_mode_is_switched_off_and_keeps_its_role_while_it_is_on() {
    let pools = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    let on = Detail { auto_mode: pools(&["system"]), auto_mode_role: Some("arn:role/a".into()), ..current() };
    let changes = |auto: Value, observed: &Detail| {
        let changes = cluster(json!({"autoMode": auto}), None).differences(observed, &refs()).into_iter();
        let of_auto = changes.filter(|change| change.field.starts_with("autoMode"));
        of_auto.map(|change| format!("{}: {} -> {}", change.field, change.from, change.to)).collect::<Vec<_>>()
    };
    assert_eq!(changes(json!({"enabled": false}), &on), ["autoMode.enabled: true -> false"]);
    assert_eq!(changes(json!({"enabled": false}), &current()), Vec::<String>::new());
    assert_eq!(changes(json!({"nodePools": ["system"]}), &on), Vec::<String>::new());
    let other = json!({"nodePools": ["system"], "nodeRoleArn": "arn:role/b"});
    assert_eq!(changes(other.clone(), &on), ["autoMode.nodeRoleArn: arn:role/a -> arn:role/b"]);
    assert_eq!(changes(other, &current()), ["autoMode.nodePools: off -> system"]);
}

#[test]
fn settings_of_components_and_hybrid_networks_are_parts_of_their_own() {
    let spec = json!({
        "controlPlane": {"egressMode": "CustomerRouted", "apiServer": {"eventTtl": "30m"},
            "scheduler": {"nodeResourcesFit": {"scoringStrategy": {"type": "MostAllocated"}}}},
        "remoteNetworks": {"nodeCidrs": ["10.80.0.0/16"]},
    });
    let changes = cluster(spec, None).differences(&current(), &refs());
    let parts: Vec<_> = changes.iter().map(Part::of).collect();
    let (egress, components, networks) = (Some(Part::EgressMode), Some(Part::Components), Some(Part::RemoteNetworks));
    assert_eq!(parts, [components, egress, components, networks]);
    // The routes of the control plane never go back to AWS.
    let routed =
        Detail { control_plane: serde_json::from_value(json!({"egressMode": "CustomerRouted"})).unwrap(), ..current() };
    let back = json!({"controlPlane": {"egressMode": "AwsManaged"}});
    let found = cluster(back.clone(), None).differences(&routed, &refs());
    assert!(matches!(found[0].how, crate::engine::Correction::Forbidden(_)), "{found:?}");
    assert_eq!(cluster(back, None).differences(&current(), &refs()), Vec::new());
}
