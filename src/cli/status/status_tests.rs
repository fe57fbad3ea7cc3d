//! The answer of `keelson status` for clusters in typical states, and the table and tree of `keelson get` for the same.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{overview, print};
use crate::api::hold::HoldStatus;
use crate::api::{EksCluster, NodeGroup, Reason};
use crate::cli::events::EventLine;
use crate::cli::subject::{self, Subject};

fn now() -> Timestamp {
    at("14:06:15").parse().unwrap()
}

fn at(time: &str) -> String {
    format!("2026-11-29T{time}Z")
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    let time = at("14:00:12");
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time})
}

fn cluster(spec: Value, status: Value) -> EksCluster {
    let mut object = json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
        "metadata": {"name": "demo", "namespace": "team", "generation": 2, "creationTimestamp": at("13:55:00")},
        "spec": {"region": "eu-west-1", "version": "1.34"}, "status": {"observedGeneration": 2},
    });
    for (part, values) in [("spec", spec), ("status", status)] {
        object[part].as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
    }
    serde_json::from_value(object).unwrap()
}

fn group(reason: &str) -> NodeGroup {
    serde_json::from_value(json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
        "metadata": {"name": "demo-default", "namespace": "team", "generation": 1, "creationTimestamp": at("13:55:00")},
        "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 2, "max": 4}, "instanceTypes": ["m7i.large"]},
        "status": {"observedGeneration": 1, "replicas": 2, "readyNodes": 1, "plan": {"hash": "3f9a1c20"}, "conditions": [
            condition("Ready", "False", reason, "waiting for the cluster"),
            condition("Reconciling", "True", reason, ""),
        ]},
    }))
    .unwrap()
}

/// During creation: one step runs, others wait.
fn creating() -> EksCluster {
    let doing = "control plane: creating for 6 min, about 2 min remaining";
    let step = |action: &str, resource: &str, state: &str, more: Value| {
        let mut step = json!({"action": action, "resource": resource, "state": state});
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    };
    let status = json!({
        "accountId": "111122223333",
        "change": {"type": "Create", "generation": 1, "startedAt": at("13:55:00")},
        "conditions": [
            condition("Ready", "False", "Creating", doing),
            condition("Reconciling", "True", "Creating", doing),
            condition("Stalled", "False", "Creating", ""),
            condition("NetworkReady", "True", "Available", "10 subnets"),
            condition("ControlPlaneReady", "False", "Creating", doing),
            condition("Available", "False", "Creating", doing),
        ],
        "waits": [{"on": "control plane: creating", "since": at("14:00:15"), "deadline": at("14:45:15")}],
        "resources": [
            {"key": "vpc", "id": "vpc-1", "state": "available"},
            {"key": "cluster", "id": "demo", "state": "CREATING"},
        ],
        "plan": {"summary": "5 to create", "steps": [
            step("Create", "cluster", "Running", json!({"since": at("14:00:15"), "expectedSeconds": 540})),
            step("Create", "addon/vpc-cni", "Pending", json!({"after": "cluster", "expectedSeconds": 30})),
            step("Create", "addon/coredns", "Pending", json!({"after": "cluster", "expectedSeconds": 60})),
            step("Create", "addon/kube-proxy", "Pending", json!({"after": "cluster", "expectedSeconds": 30})),
            step("Create", "oidcProvider", "Pending", json!({"after": "cluster", "expectedSeconds": 1})),
        ]},
    });
    cluster(json!({}), status)
}

/// Ready and in use, with an upgrade that waits for its window, an unhealthy add-on and a failing object of the agent.
fn waiting() -> EksCluster {
    let why = "1.34 -> 1.35 waits for the maintenance window";
    let status = json!({
        "accountId": "111122223333", "version": "1.34", "endpoint": "https://demo.eks.amazonaws.com",
        "change": {"type": "Update", "generation": 2, "startedAt": at("14:00:05"), "waiting": {
            "reason": "OutsideMaintenanceWindow", "since": at("14:02:00"),
        }},
        "conditions": [
            condition("Ready", "False", "OutsideMaintenanceWindow", why),
            condition("Reconciling", "True", "OutsideMaintenanceWindow", why),
            condition("Upgrading", "False", "OutsideMaintenanceWindow", why),
            condition("GitOpsReady", "False", "SyncFailed", "Kustomization flux-system/apps: path not found"),
            condition("Available", "True", "Available", ""),
        ],
        "upgrade": {
            "from": "1.34", "to": "1.35", "step": 1, "steps": 3, "message": "control plane to 1.35",
            "nextWindow": "2026-12-05T22:00:00+01:00",
            "preflight": [{"check": "Insights", "verdict": "Failed", "message": "a removed API is in use"}],
        },
        "addons": [{"name": "coredns", "version": "v1", "state": "DEGRADED", "issues": [
            {"code": "InsufficientNumberOfReplicas", "message": "no node has room", "resourceIds": ["coredns"]},
        ]}],
        "gitops": {
            "agent": "flux", "version": "v2.7.0", "lastAppliedRevision": "main@sha1:abc", "revision": "abc",
            "components": [{"name": "source-controller", "ready": true}],
            "failing": [{"kind": "Kustomization", "name": "flux-system/apps", "reason": "ArtifactFailed",
                "message": "path not found"}],
        },
    });
    cluster(json!({"version": "1.35"}), status)
}

fn text(clusters: &[EksCluster], groups: &[NodeGroup], events: Vec<EventLine>) -> String {
    let all = subject::sorted(clusters, groups);
    let answer = overview::overview(&all[0], &all[1..], events, now());
    anstream::adapter::strip_str(&print::text(&answer, now(), &TimeZone::UTC)).to_string()
}

fn created() -> EventLine {
    EventLine {
        at: at("14:00:14").parse().ok(),
        warning: false,
        object: "EksCluster team/demo".into(),
        reason: "Created".into(),
        message: "VPC vpc-1".into(),
        count: 1,
    }
}

#[test]
fn cluster_that_is_created() {
    insta::assert_snapshot!(text(&[creating()], &[group("WaitingForCluster")], vec![created()]));
}

#[test]
fn cluster_says_which_group_waits_for_an_addon() {
    let mut waits = group("WaitingForCluster");
    let message = "waiting for add-on vpc-cni (CREATING)";
    waits.status.as_mut().unwrap().conditions[0].message = message.to_owned();
    let shown = text(&[creating()], &[waits], Vec::new());
    assert!(shown.contains(&format!("NodeGroup team/demo-default: {message}")), "{shown}");
}

#[test]
fn cluster_whose_upgrade_waits() {
    insta::assert_snapshot!(text(&[waiting()], &[], Vec::new()));
}

#[test]
fn cluster_that_was_not_observed_and_one_that_is_ready() {
    let new = cluster(json!({}), json!({"observedGeneration": null}));
    let change = json!({"type": "Update", "generation": 2, "startedAt": at("13:58:00"), "endedAt": at("14:00:12")});
    let ready = json!({"version": "1.34", "change": change, "conditions": [
        condition("Ready", "True", "Available", "everything in the spec exists"),
        condition("Reconciling", "False", "Reconciled", ""),
        condition("InSync", "False", "Drifted", "one difference is reported: control plane: logging"),
    ]});
    let texts = [new, cluster(json!({"driftPolicy": "Report"}), ready)].map(|one| text(&[one], &[], Vec::new()));
    insta::assert_snapshot!(texts.join("\n---\n"));
}

#[test]
fn answer_for_programs() {
    let all = subject::sorted(&[creating()], &[group("WaitingForApproval")]);
    let answer = overview::overview(&all[0], &all[1..], vec![created()], now());
    insta::assert_snapshot!(serde_json::to_string_pretty(&answer).unwrap());
}

#[test]
fn every_state_that_needs_a_user_names_a_command_or_an_edit() {
    let mut reporting = creating();
    reporting.spec.drift_policy = crate::api::policy::DriftPolicy::Report;
    let hold = HoldStatus { name: "freeze".into(), ..HoldStatus::default() };
    reporting.status.get_or_insert_default().holds = vec![hold];
    let subject = Subject::from(&reporting);
    let silent = |reason: &&Reason| super::problems::advice(reason.as_str(), &subject).is_none();
    let named: Vec<_> = Reason::ALL.iter().filter(|reason| !silent(reason)).map(|reason| reason.as_str()).collect();
    insta::assert_snapshot!(named.join("\n"));
    assert_eq!(super::problems::advice("OfAnotherVersion", &subject), None);
}

/// The problems' reasons and the actions of a cluster in that state.
fn problems_of(spec: Value, status: Value, deleted: bool) -> (Vec<String>, Vec<String>) {
    let mut object = cluster(spec, status);
    object.metadata.deletion_timestamp =
        deleted.then(|| serde_json::from_value(json!(at("14:00:00"))).expect("is a time"));
    let answer = overview::overview(&Subject::from(&object), &[], Vec::new(), now());
    (answer.problems.into_iter().map(|problem| problem.reason).collect(), answer.actions)
}

#[test]
fn approval_of_a_deletion_is_asked_for_until_it_is_given() {
    let why = "not observed while the deletion waits; it was True (Synced): AWS matches the spec";
    let waits = |began: Value| {
        json!({
            "conditions": [
                condition("Ready", "False", "WaitingForApproval", "the deletion waits"),
                condition("InSync", "Unknown", "WaitingForApproval", why),
                condition("AddonsReady", "Unknown", "DeletionBlocked", why),
            ],
            "plan": {"hash": "3f9a1c20"}, "deletion": {"began": began},
        })
    };
    let (problems, actions) = problems_of(json!({}), waits(Value::Null), true);
    assert_eq!(problems, ["WaitingForApproval"]);
    assert_eq!(actions, ["read the plan and approve it: keelson approve demo -n team"]);
    assert_eq!(problems_of(json!({}), waits(json!(at("14:05:00"))), true), (vec![], vec![]));
}

#[test]
fn an_edit_that_waits_is_no_drift() {
    let in_sync = condition("InSync", "False", "Drifted", "control plane: logging");
    let plan = json!({"hash": "3f9a1c20", "steps": [{"action": "Update", "resource": "cluster", "state": "Pending"}]});
    let waits = condition("Ready", "False", "WaitingForApproval", "plan 3f9a1c20 waits");
    let edited = json!({"conditions": [waits, in_sync], "plan": plan});
    let approve = "read the plan and approve it: keelson approve demo -n team";
    for policy in ["Correct", "Report"] {
        let (problems, actions) = problems_of(json!({"driftPolicy": policy}), edited.clone(), false);
        assert_eq!((problems, actions), (vec!["WaitingForApproval".into()], vec![approve.into()]), "{policy}");
    }
    let unobserved = json!({"conditions": [in_sync], "observedGeneration": 1});
    assert_eq!(problems_of(json!({"driftPolicy": "Report"}), unobserved, false).0, Vec::<String>::new());
    let drift = json!([{"resource": "cluster", "field": "logging", "since": at("14:00:00")}]);
    let mut drifted = edited;
    drifted["drift"] = drift.clone();
    let (problems, actions) = problems_of(json!({"driftPolicy": "Correct"}), drifted, false);
    assert_eq!((problems, actions), (vec!["WaitingForApproval".into(), "Drifted".into()], vec![approve.into()]));
    let reported = json!({"conditions": [in_sync], "drift": drift});
    let (_, actions) = problems_of(json!({"driftPolicy": "Report"}), reported.clone(), false);
    assert_eq!(actions, ["take it into the spec, or set spec.driftPolicy to Correct"]);
    let (_, actions) = problems_of(json!({"driftPolicy": "Correct"}), reported, false);
    assert_eq!(actions, Vec::<String>::new());
}

#[test]
fn cluster_without_node_groups_waits_for_the_user() {
    let waiting = |message: &str| json!({"conditions": [condition("Ready", "False", "WaitingForNodes", message)]});
    let (problems, actions) =
        problems_of(json!({}), waiting("it needs nodes: no NodeGroup refers to this cluster yet"), false);
    assert_eq!(problems, ["WaitingForNodes"]);
    assert_eq!(actions, ["create a NodeGroup in namespace team whose spec.clusterRef.name is demo"]);
    assert_eq!(problems_of(json!({}), waiting("1 of 2 nodes are Ready"), false).0, Vec::<String>::new());
}

#[test]
fn no_end_is_expected_of_what_is_held_or_late() {
    let until = |status: &str, reason: &str, since: &str| {
        let step = json!({"action": "Create", "resource": "cluster", "state": "Running", "since": at(since),
            "expectedSeconds": 540});
        let conditions = json!([
            condition("Ready", "False", reason, ""),
            condition("Reconciling", "True", reason, ""),
            condition("Stalled", status, reason, ""),
        ]);
        let object = cluster(json!({}), json!({"conditions": conditions, "plan": {"steps": [step]}}));
        let answer = overview::overview(&Subject::from(&object), &[], Vec::new(), now());
        serde_json::to_value(&answer).unwrap().get("until").is_some()
    };
    assert!(until("False", "Creating", "14:00:15"));
    assert!(!until("False", "Creating", "13:00:15"), "it takes longer than expected");
    assert!(!until("True", "Creating", "14:00:15"), "it is stalled");
    assert!(!until("False", "WaitingForApproval", "14:00:15"));
    assert!(!until("False", "DeletionBlocked", "14:00:15"));
}

#[test]
fn text_of_objects_and_events_cannot_act_on_the_terminal() {
    let evil = "\x1b]0;title\x07\x1b[2J\u{9b}1A\u{202e}\n::error::forged";
    let status = json!({"conditions": [condition("Ready", "False", "Failed", evil)]});
    let object = cluster(json!({}), status);
    let event = EventLine { message: evil.into(), reason: evil.into(), ..created() };
    let all = [Subject::from(&object)];
    let answer = overview::overview(&all[0], &[], vec![event], now());
    let tables = [
        print::text(&answer, now(), &TimeZone::UTC),
        print::line(&answer, now(), &TimeZone::UTC),
        crate::cli::get::table(&all, true, true, now()),
        crate::cli::get::tree(&all, now()),
    ];
    for text in tables {
        let shown = anstream::adapter::strip_str(&crate::cli::terminal::safe(&text)).to_string();
        assert!(!shown.contains(|c| c != '\n' && crate::cli::terminal::is_control(c)), "{shown:?}");
        assert!(!shown.lines().any(|line| line.trim_start().starts_with("::")), "{shown}");
        assert!(!text.contains("forged") || shown.contains("::error::forged"), "it is still readable: {shown}");
    }
}

#[test]
fn rotation_names_the_state_of_each_authority_and_the_next_edit() {
    let authority = |id: &str, state: &str, message: &str| json!({"id": id, "state": state, "since": at("14:01:15"), "message": message});
    let shown = |spec: Value, second: Value| {
        let ready = condition("Ready", "True", "Available", "everything in the spec exists");
        let status =
            json!({"conditions": [ready], "certificateAuthorities": [authority("ca-1", "Active", ""), second]});
        text(&[cluster(json!({"controlPlane": {"certificateAuthority": spec}}), status)], &[], Vec::new())
    };
    let begun = json!({"createdAfter": at("14:00:00")});
    let successor = || authority("ca-2", "Successor", "the cluster trusts it");
    let waits = shown(begun.clone(), successor());
    assert!(waits.contains("Rotation    certificate authority ca-1: Active, for 5 min (since 14:01:15)"), "{waits}");
    assert!(waits.contains("ca-2: Successor, for 5 min (since 14:01:15): the cluster trusts it"), "{waits}");
    assert!(waits.contains("set spec.controlPlane.certificateAuthority.activeId: ca-2"), "{waits}");
    let retired = shown(begun.clone(), authority("ca-2", "Retired", ""));
    assert!(retired.contains("set spec.controlPlane.certificateAuthority.deletedId: ca-2"), "{retired}");
    let mut edited = begun.clone();
    edited["activeId"] = json!("ca-2");
    for (spec, second) in [(edited, successor()), (begun, authority("ca-2", "Distributing", ""))] {
        let text = shown(spec, second);
        assert!(text.contains("You can     nothing to do"), "{text}");
    }
}

#[test]
fn table_and_tree() {
    let mut other = waiting();
    other.metadata.name = Some("other".into());
    let all = subject::sorted(&[other.clone(), creating()], &[group("WaitingForCluster")]);
    let tree = |all: &[Subject]| crate::cli::get::tree(all, now());
    let texts = [
        crate::cli::get::table(&all, false, false, now()),
        crate::cli::get::table(&all, true, true, now()),
        tree(&all[..2]),
        tree(&[Subject::from(&other)]),
    ];
    insta::assert_snapshot!(anstream::adapter::strip_str(&texts.join("\n")));
}

#[test]
fn wait_for_a_wave_has_one_advice() {
    let waits = |reason: &str, message: &str| {
        json!({"conditions": [
            condition("Ready", "False", reason, message),
            condition("Upgrading", "True", reason, message),
            condition("InSync", "False", reason, "control plane 1.33 -> 1.34"),
        ]})
    };
    let status = "see the waves, and what holds them: keelson rollout status main";
    let approve = "see the clusters that wait, and approve them: keelson rollout approve main --wave prod";
    for (reason, message, advice) in [
        ("WaitingForWave", "FleetRollout main: wave prod is not open yet: wave canary of 1.34 has not passed", status),
        ("WaitingForWave", "FleetRollout main is suspended", status),
        ("WaveHalted", "FleetRollout main has halted in wave canary: keelson rollout status main says why", status),
        (
            "WaitingForWave",
            "FleetRollout main: wave prod waits for an approval: set the annotation keelson.dev/approve to 3f9a",
            approve,
        ),
    ] {
        let (problems, actions) = problems_of(json!({}), waits(reason, message), false);
        assert_eq!((problems, actions), (vec![reason.to_owned()], vec![advice.to_owned()]), "{message}");
    }
}

#[test]
fn hook_that_holds_can_be_passed() {
    let answer = |state: &str, reason: &str, message: &str| {
        let hook = json!({"name": "backup", "at": "BeforeControlPlane", "step": "1.33->1.34", "state": state, "attempt": 1,
            "job": "demo-backup-5f2a"});
        problems_of(
            json!({}),
            json!({"conditions": [condition("Ready", "False", reason, message)], "hooks": [hook]}),
            false,
        )
        .1
    };
    let of = "1.33 -> 1.34: hook backup (BeforeControlPlane, 1.33->1.34)";
    let skip = "kubectl annotate --overwrite ekscluster demo -n team keelson.dev/skip-hook=backup";
    assert_eq!(
        answer("Running", "WaitingForHook", &format!("{of}: Job demo-backup-5f2a runs")),
        [format!("wait until its Job ends, or pass hook backup: {skip}")]
    );
    assert_eq!(
        answer("Failed", "HookFailed", &format!("{of} failed: exit 1")),
        [
            "once it is corrected, try it again: keelson reconcile demo -n team".to_owned(),
            format!("pass hook backup without success: {skip}"),
        ]
    );
}

#[test]
fn node_groups_hang_from_their_cluster() {
    let mut other = group("Available");
    other.metadata.name = Some("demo-spot".to_owned());
    let all = subject::sorted(&[creating()], &[group("Available"), other]);
    let table = anstream::adapter::strip_str(&crate::cli::get::table(&all, false, false, now())).to_string();
    assert!(table.contains("\n├─ demo-default") && table.contains("\n└─ demo-spot"), "{table}");
}
