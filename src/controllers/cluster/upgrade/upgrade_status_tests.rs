//! What the user reads of an upgrade at each of its stages.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::api::EksClusterSpec;
use crate::engine::{Action, Goal, Item, Operation};
use crate::upgrade::{Clock, ControlPlaneWork, Observation, ObservedNodeGroup, Soaked, Windows, decide};

fn version(text: &str) -> KubernetesVersion {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn spec(upgrade: serde_json::Value) -> EksClusterSpec {
    serde_json::from_value(json!({"region": "eu-west-1", "version": "1.34", "upgrade": upgrade})).unwrap()
}

fn observation(control_plane: &str, nodes: &str, own: Option<&str>) -> Observation {
    Observation {
        control_plane: version(control_plane),
        control_plane_work: ControlPlaneWork::Idle,
        addons: Vec::new(),
        node_groups: vec![ObservedNodeGroup {
            name: "apps".into(),
            version: version(nodes),
            own: own.map(version),
            kubelets: BTreeSet::new(),
            busy: false,
            suspended: false,
            custom_ami: false,
        }],
        other_kubelets: Vec::new(),
        unread: None,
        offered: ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35"].map(version).into(),
    }
}

/// The cluster's part of a plan, with or without a running update of the control plane.
fn plan(running: Option<&str>) -> Plan {
    let verdict = running.map_or(Verdict::Settled, |id| Verdict::Waiting {
        action: Action::Update,
        since: at("2026-11-22T11:54:00Z"),
        until: at("2026-11-22T12:03:00Z"),
        note: String::new(),
        operation: Some(Operation { id: id.into(), kind: "VersionUpdate".into(), since: None }),
    });
    Plan {
        goal: Goal::Present,
        items: vec![Item { key: cluster_key(), verdict, forbidden: Vec::new(), drift: Vec::new() }],
    }
}

/// Conditions and status as the user reads them.
fn format_upgrade(
    spec: &EksClusterSpec,
    observed: &Observation,
    plan: &Plan,
    remaining: u64,
    previous: Option<&UpgradeStatus>,
) -> String {
    let now = at("2026-11-22T12:00:00Z");
    let goal = crate::upgrade::Goal::of(spec).unwrap();
    let window = Windows::parse(&spec.upgrade.windows).unwrap().state(now);
    let soaked = Soaked { remaining: Duration::from_secs(remaining), unhealthy: None };
    let clock = Clock { now, window: window.clone(), soaked, on_hold: false, wave: crate::upgrade::WaveState::Free };
    let to = remaining_steps::path(observed.control_plane, goal.version).first().copied();
    let checks = Vec::new();
    let made = to.map(|to| Preflight { to, checks });
    let decision = decide(&goal, observed, &clock, made.as_ref());
    let input = Input {
        previous,
        version_before: None,
        decision: &decision,
        goal: goal.version,
        control_plane: observed.control_plane,
        plan,
        ended: &[],
        preflight: made.as_ref(),
        window: &window,
        soak: None,
        now,
    };
    let (status, message) = (input.status(), input.message());
    let overall =
        overall(Overall::Ready(ConditionValue::true_(Reason::Available, "Kubernetes")), &decision, message.as_deref());
    let (kind, condition) = match overall {
        Overall::Ready(condition) => ("Ready", condition),
        Overall::Reconciling(condition) => ("Reconciling", condition),
        Overall::Stalled(condition) => ("Stalled", condition),
        Overall::Observed(_) | Overall::Suspended(_) => unreachable!(),
    };
    let upgrading = upgrading(&decision, message.as_deref());
    let sync = in_sync(ConditionValue::true_(Reason::Synced, "AWS matches the spec"), &decision);
    let ahead: Vec<_> = ahead(&decision, |_| None).steps.into_iter().map(|(key, _)| key.to_string()).collect();
    let status = serde_json::to_string(&status).unwrap();
    format!(
        "{kind} {}: {}\nUpgrading {} {}\nInSync {} {}: {}\nplan ahead: {}\n{status}\n",
        condition.reason,
        condition.message,
        upgrading.status.as_str(),
        upgrading.reason,
        sync.status.as_str(),
        sync.reason,
        sync.message,
        ahead.join(", "),
    )
}

#[test]
fn status_and_messages_at_each_stage() {
    let any_time = spec(json!({}));
    let saturdays =
        spec(json!({"windows": [{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"}]}));
    let started = UpgradeStatus {
        from: Some("1.32".into()),
        to: Some("1.34".into()),
        path: vec!["1.33".into(), "1.34".into()],
        step: Some(1),
        steps: Some(3),
        ..UpgradeStatus::default()
    };
    let working = Observation { control_plane_work: ControlPlaneWork::Version, ..observation("1.33", "1.32", None) };
    let stages = [
        ("steady", format_upgrade(&any_time, &observation("1.34", "1.34", None), &plan(None), 0, None)),
        ("outside the window", format_upgrade(&saturdays, &observation("1.32", "1.32", None), &plan(None), 0, None)),
        ("may start", format_upgrade(&any_time, &observation("1.32", "1.32", None), &plan(None), 0, None)),
        ("the second minor runs", format_upgrade(&any_time, &working, &plan(Some("update-2")), 0, Some(&started))),
        ("soaks", format_upgrade(&any_time, &observation("1.34", "1.32", None), &plan(None), 300, Some(&started))),
        ("nodes follow", format_upgrade(&any_time, &observation("1.34", "1.32", None), &plan(None), 0, Some(&started))),
        (
            "a group with its own version",
            format_upgrade(&any_time, &observation("1.33", "1.30", Some("1.30")), &plan(None), 0, Some(&started)),
        ),
    ];
    let text: Vec<_> = stages.iter().map(|(name, text)| format!("== {name}\n{text}")).collect();
    insta::assert_snapshot!(text.join("\n"));
}
