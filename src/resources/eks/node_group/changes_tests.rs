//! Each field that can change: the differences and the calls to EKS.

use serde_json::{Value, json};

use aws_sdk_eks::types::{Taint, WarmPoolConfig};

use super::super::observed_node_group::LaunchTemplate;
use super::super::settings::{Config, config};
use super::*;

/// A node group that matches `spec(json!({}))`.
fn current() -> Detail {
    Detail {
        version: "1.33".into(),
        release: "1.33.7-20260923".into(),
        newest_release: Some("1.33.7-20260923".into()),
        min: 2,
        max: 5,
        desired: 3,
        instance_types: vec!["m7i.large".into()],
        capacity: "ON_DEMAND".into(),
        ami_type: "AL2023_x86_64_STANDARD".into(),
        disk_size: Some(20),
        role_arn: "arn:aws:iam::123456789012:role/node".into(),
        labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]),
        taints: BTreeMap::from([(("spot".to_owned(), "NO_SCHEDULE".to_owned()), "true".to_owned())]),
        max_unavailable: Some(1),
        ..Detail::default()
    }
}

fn repaired() -> repair::Repair {
    let overrides = BTreeMap::from([(("KernelReady".to_owned(), "Hung".to_owned()), (5, "Reboot".to_owned()))]);
    let (max_unhealthy, max_parallel) = (Some(repair::Limit::Count(3)), Some(repair::Limit::Percentage(50)));
    repair::Repair { enabled: true, max_unhealthy, max_parallel, overrides }
}

fn warm() -> warm_pool::ObservedWarmPool {
    warm_pool::ObservedWarmPool::from(
        &WarmPoolConfig::builder().enabled(true).min_size(1).max_group_prepared_capacity(8).build(),
    )
}

fn spec(more: Value) -> NodeGroupSpec {
    let mut spec = json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 2, "max": 5}});
    let (Some(all), Value::Object(more)) = (spec.as_object_mut(), more) else { panic!("an object") };
    all.extend(more);
    serde_json::from_value(spec).unwrap()
}

fn now(version: Option<&str>) -> Target {
    let control_plane = Some("1.35".to_owned());
    Target { version: version.map(str::to_owned), replace: true, control_plane, ..Target::default() }
}

fn outside_window() -> Target {
    Target { replace: false, ..now(None) }
}

#[test]
fn only_changes_that_replace_nodes_say_so_and_how_fast() {
    let disruptions = |more: Value, current: &Detail| -> Vec<(String, Option<String>)> {
        let found = changes(&spec(more), &now(Some("1.34")), current);
        found.into_iter().map(|change| (change.field, change.disruption)).collect()
    };
    let replaces = |pace: &str| ("version".to_owned(), Some(format!("replaces its nodes, {pace}")));
    let label = ("labels.team".to_owned(), None);
    assert_eq!(
        disruptions(json!({"labels": {"team": "pay"}}), &current()),
        [label, replaces("at most 1 at a time")],
        "as EKS has it"
    );
    let percentage = Detail { max_unavailable: None, max_unavailable_percentage: Some(33), ..current() };
    assert_eq!(disruptions(json!({}), &percentage), [replaces("at most 33 % of them at a time")]);
    let wanted = disruptions(json!({"update": {"maxUnavailable": 2}}), &percentage);
    assert_eq!(wanted.last(), Some(&replaces("at most 2 at a time")), "as the spec has it");
    let block = Detail { capacity: CAPACITY_BLOCK.into(), ..current() };
    let waits = disruptions(json!({"capacityType": "CapacityBlock"}), &block);
    assert_eq!(waits, [("version".to_owned(), None)], "not while it has nodes");
}

/// The differences and the calls that resolve them, as text.
fn describe(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> String {
    let mut lines: Vec<String> = Vec::new();
    for Change { field, from, to, how, .. } in changes(spec, target, current) {
        lines.push(match how {
            crate::engine::Correction::InPlace => format!("  {field}: {from} -> {to}"),
            crate::engine::Correction::Forbidden(why) => format!("  REFUSED {field}: {from} -> {to}: {why}"),
            crate::engine::Correction::Reported(why) => format!("  REPORTED {field}: {from} -> {to}: {why}"),
        });
    }
    if let Some(Config { scaling, labels, taints, update, repair, warm_pool }) = config(spec, current) {
        lines.push("  UpdateNodegroupConfig".into());
        let mut part = |part: Option<String>| lines.extend(part.map(|part| format!("    {part}")));
        part(
            scaling.map(|s| format!("scaling min {:?} max {:?} desired {:?}", s.min_size, s.max_size, s.desired_size)),
        );
        part(labels.map(|l| {
            let set = l.add_or_update_labels.map(|set| set.into_iter().collect::<BTreeMap<_, _>>());
            format!("labels set {set:?} remove {:?}", l.remove_labels)
        }));
        let one =
            |t: &Taint| format!("{}={}:{:?}", t.key().unwrap(), t.value().unwrap_or("(none)"), t.effect().unwrap());
        let all = |taints: &[Taint]| taints.iter().map(one).collect::<Vec<_>>().join(" ");
        part(
            taints
                .map(|t| format!("taints set [{}] remove [{}]", all(t.add_or_update_taints()), all(t.remove_taints()))),
        );
        part(update.map(|u| {
            format!("update {:?} {:?} {:?}", u.max_unavailable, u.max_unavailable_percentage, u.update_strategy)
        }));
        part(repair.map(|repair| {
            let limits = [
                repair.max_unhealthy_node_threshold_count,
                repair.max_unhealthy_node_threshold_percentage,
                repair.max_parallel_nodes_repaired_count,
                repair.max_parallel_nodes_repaired_percentage,
            ];
            let overrides: Option<Vec<_>> = repair.node_repair_config_overrides.as_ref().map(|all| {
                all.iter().map(|one| (one.node_unhealthy_reason(), one.min_repair_wait_time_mins)).collect()
            });
            format!("repair {:?} {limits:?} {overrides:?}", repair.enabled)
        }));
        part(warm_pool.map(|pool| {
            let sizes = (pool.min_size, pool.max_group_prepared_capacity);
            format!("warmPool {:?} {sizes:?} {:?} {:?}", pool.enabled, pool.pool_state, pool.reuse_on_scale_in)
        }));
    }
    if let Some(Replacement { version, release, launch_template }) = replacement(spec, target, current) {
        let template = launch_template.map(|template| match template {
            NextTemplate::Version(template) => format!("{:?}/{:?}", template.id, template.version),
            NextTemplate::Contents(fields) => fields.join(", "),
        });
        lines.push(format!("  UpdateNodegroupVersion {version:?} {release:?} {template:?}"));
    }
    lines.extend(waits_for_window(spec, target, current).map(|waits| format!("  {waits}")));
    if lines.is_empty() { "  nothing".into() } else { lines.join("\n") }
}

/// A case: its name, the spec in addition to the minimal one, the target, and how the current state differs from
/// [`current`].
type Case = (&'static str, Value, Target, fn(&mut Detail));

fn table(cases: Vec<Case>) -> String {
    let case = |(name, more, target, change): Case| {
        let mut current = current();
        change(&mut current);
        format!("{name}\n{}", describe(&spec(more), &target, &current))
    };
    cases.into_iter().map(case).collect::<Vec<_>>().join("\n")
}

fn unchanged(_: &mut Detail) {}

#[test]
fn settings_are_sent_in_one_call_with_only_the_differences() {
    let size = |min: i32, max: i32| json!({"scaling": {"min": min, "max": max}});
    let enforced =
        |desired: i32| json!({"scaling": {"min": 2, "max": 5, "desired": desired, "desiredPolicy": "Enforce"}});
    let label = |labels: Value| json!({"labels": labels});
    let taint = |taints: Value| json!({"taints": taints});
    let update = |update: Value| json!({"update": update});
    let output = table(vec![
        ("as specified", json!({}), now(None), unchanged),
        ("larger maximum", size(2, 8), now(None), unchanged),
        ("an autoscaler's size is kept", size(1, 9), now(None), |t| t.desired = 5),
        ("minimum above the size: it is raised to the minimum", size(4, 8), now(None), unchanged),
        ("maximum below the size: it is lowered to the maximum", size(0, 2), now(None), unchanged),
        (
            "kubectl scale does not change an autoscaler's size",
            json!({"scaling": {"min": 2, "max": 5, "desired": 5}}),
            now(None),
            unchanged,
        ),
        ("enforced", enforced(4), now(None), unchanged),
        ("enforced and equal", enforced(3), now(None), unchanged),
        ("labels that are not managed", json!({}), now(None), unchanged),
        ("labels", label(json!({"team": "bank", "tier": "web"})), now(None), unchanged),
        ("labels removed", label(json!({"tier": "web"})), now(None), unchanged),
        ("all labels removed", label(json!({})), now(None), unchanged),
        (
            "taint with another value",
            taint(json!([{"key": "spot", "value": "no", "effect": "NoSchedule"}])),
            now(None),
            unchanged,
        ),
        (
            "taint with another effect",
            taint(json!([{"key": "spot", "value": "true", "effect": "NoExecute"}])),
            now(None),
            unchanged,
        ),
        ("taint without a value", taint(json!([{"key": "spot", "effect": "NoSchedule"}])), now(None), |t| {
            t.taints.values_mut().for_each(String::clear)
        }),
        ("taints removed", taint(json!([])), now(None), unchanged),
        ("nodes at a time", update(json!({"maxUnavailable": 3})), now(None), unchanged),
        ("percentage at a time", update(json!({"maxUnavailablePercentage": 33})), now(None), unchanged),
        ("strategy, merged into the current settings", update(json!({"strategy": "Minimal"})), now(None), unchanged),
        ("the default strategy, which EKS omits", update(json!({"strategy": "Default"})), now(None), unchanged),
        ("force alone", update(json!({"force": true})), now(None), unchanged),
        ("repair", json!({"repair": {"enabled": true}}), now(None), unchanged),
        ("no repair", json!({"repair": {"enabled": false}}), now(None), unchanged),
        (
            "limits of repair, which keep what the spec does not set",
            json!({"repair": {"enabled": true, "maxUnhealthyPercentage": 10}}),
            now(None),
            |t| t.repair = repaired(),
        ),
        ("overrides of repair removed", json!({"repair": {"enabled": true, "overrides": []}}), now(None), |t| {
            t.repair = repaired();
        }),
        ("warm pool", json!({"warmPool": {"enabled": true, "minSize": 2}}), now(None), unchanged),
        (
            "warm pool changed, keeping what the spec does not set",
            json!({"warmPool": {"enabled": true, "poolState": "Running"}}),
            now(None),
            |t| {
                t.warm_pool = warm();
            },
        ),
        ("warm pool as specified", json!({"warmPool": {"enabled": true, "minSize": 1}}), now(None), |t| {
            t.warm_pool = warm()
        }),
        ("warm pool removed", json!({"warmPool": {"enabled": false}}), now(None), |t| t.warm_pool = warm()),
        ("no warm pool", json!({"warmPool": {"enabled": false, "minSize": 3}}), now(None), unchanged),
        ("warm pool that is not managed", json!({}), now(None), |t| t.warm_pool = warm()),
        (
            "all at once",
            json!({"scaling": {"min": 4, "max": 8}, "labels": {"team": "shop", "a": "b"}, "taints": [],
                "update": {"maxUnavailable": 2}, "repair": {"enabled": true}}),
            now(None),
            unchanged,
        ),
    ]);
    insta::assert_snapshot!(output);
}

#[test]
fn node_replacements_use_a_separate_call_and_never_downgrade() {
    let release = |release: &str| json!({"releaseVersion": release});
    let template = |version: &str| json!({"launchTemplate": {"id": "lt-1", "version": version}});
    let newer = |t: &mut Detail| t.newest_release = Some("1.33.7-20261106".into());
    let with_template =
        |t: &mut Detail| t.launch_template = Some(LaunchTemplate { id: "lt-1".into(), version: "3".into() });
    let own_ami = |t: &mut Detail| {
        t.ami_type = "CUSTOM".into();
        t.release = "ami-1".into();
        t.newest_release = None;
        t.launch_template = Some(LaunchTemplate { id: "lt-1".into(), version: "3".into() });
    };
    let output = table(vec![
        ("version: EKS takes its newest release", json!({}), now(Some("1.34")), newer),
        ("two versions ahead", json!({}), now(Some("1.35")), unchanged),
        ("version beyond the control plane's", json!({"version": "1.36"}), now(Some("1.36")), unchanged),
        ("version behind", json!({}), now(Some("1.32")), unchanged),
        ("own version behind", json!({"version": "1.32"}), now(Some("1.32")), unchanged),
        ("newer release", json!({}), now(None), newer),
        ("newer release outside a window", json!({}), outside_window(), newer),
        ("older release read before", json!({}), now(None), |t| t.newest_release = Some("1.33.6-20260801".into())),
        ("newest release not known", json!({}), now(None), |t| t.newest_release = None),
        ("pinned", release("Pinned"), now(None), newer),
        ("pinned with a new version", release("Pinned"), now(Some("1.34")), newer),
        ("exact", release("1.33.7-20261106"), now(None), unchanged),
        ("exact outside a window", release("1.33.7-20261106"), outside_window(), unchanged),
        ("exact and equal", release("1.33.7-20260923"), now(None), newer),
        ("exact and older", release("1.33.6-20260801"), now(None), unchanged),
        ("exact of the next version", release("1.34.4-20261106"), now(Some("1.34")), unchanged),
        ("exact of this version blocks the next", release("1.33.7-20260923"), now(Some("1.34")), unchanged),
        ("exact of another version", release("1.34.4-20261106"), now(None), unchanged),
        ("version of the launch template", template("4"), now(None), with_template),
        ("version of the launch template outside a window", template("4"), outside_window(), with_template),
        ("version of the launch template with Kubernetes'", template("4"), now(Some("1.34")), with_template),
        (
            "version of the launch template not managed",
            json!({"launchTemplate": {"id": "lt-1"}}),
            now(None),
            with_template,
        ),
        (
            "version of the launch template, whose name has no id any more",
            json!({"launchTemplate": {"name": "base", "version": "4"}}),
            now(None),
            with_template,
        ),
        ("Capacity Block with nodes", json!({"capacityType": "CapacityBlock"}), now(Some("1.34")), |t| {
            t.capacity = CAPACITY_BLOCK.into();
        }),
        (
            "Capacity Block without nodes",
            json!({"capacityType": "CapacityBlock", "scaling": {"min": 0, "max": 5}}),
            now(Some("1.34")),
            |t| {
                (t.capacity, t.min, t.desired) = (CAPACITY_BLOCK.into(), 0, 0);
            },
        ),
        ("own AMI", template("4"), now(Some("1.34")), own_ami),
        ("own AMI and a version", template("3"), now(Some("1.34")), own_ami),
        (
            "own AMI and a release",
            json!({"launchTemplate": {"id": "lt-1"}, "releaseVersion": "1.33.7-20260923"}),
            now(None),
            own_ami,
        ),
    ]);
    insta::assert_snapshot!(output);
}

#[test]
fn immutable_fields_are_rejected_with_advice() {
    let output = table(vec![
        ("instance types", json!({"instanceTypes": ["m7a.large"]}), now(None), unchanged),
        ("capacity", json!({"capacityType": "Spot"}), now(None), unchanged),
        ("AMI type", json!({"amiType": "BOTTLEROCKET_x86_64"}), now(None), unchanged),
        ("disk", json!({"diskSizeGiB": 50}), now(None), unchanged),
        ("role", json!({"roleArn": "arn:aws:iam::123456789012:role/other"}), now(None), unchanged),
        ("launch template added", json!({"launchTemplate": {"id": "lt-1"}}), now(None), unchanged),
        ("launch template removed", json!({}), now(None), |t| {
            t.launch_template = Some(LaunchTemplate { id: "lt-1".into(), version: "1".into() });
        }),
        ("instance type in the launch template", json!({"launchTemplate": {"id": "lt-1"}}), now(None), |t| {
            t.launch_template = Some(LaunchTemplate { id: "lt-1".into(), version: "1".into() });
            t.instance_types.clear();
        }),
    ]);
    insta::assert_snapshot!(output);
}
