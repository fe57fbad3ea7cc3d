//! The answer of `keelson status` for node groups: a change that waits for a maintenance window, nodes that are replaced, what an
//! AwsAccount does not allow.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::overview::{Overview, overview};
use super::print;
use crate::api::NodeGroup;
use crate::cli::subject::Subject;

const WINDOW: &str = "a new version of the launch template (node.tags.service) waits for a maintenance window";

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    let time = "2026-11-29T14:00:12Z";
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time})
}

fn now() -> Timestamp {
    "2026-11-29T14:06:15Z".parse().unwrap()
}

fn answer(status: Value) -> Overview {
    let mut object = json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
        "metadata": {"name": "web", "namespace": "team", "generation": 1},
        "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 2, "max": 4}, "node": {}},
        "status": {"observedGeneration": 1},
    });
    object["status"].as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
    let group: NodeGroup = serde_json::from_value(object).unwrap();
    overview(&Subject::from(&group), &[], Vec::new(), now())
}

fn waiting(next: &str) -> Overview {
    answer(json!({"conditions": [
        condition("Ready", "True", "Available", "2 of 2 nodes ready"),
        condition("Reconciling", "False", "Reconciled", ""),
        condition("InSync", "False", "OutsideMaintenanceWindow", &format!("{WINDOW}: {next}")),
    ]}))
}

#[test]
fn change_that_waits_for_a_window_is_in_the_way_with_the_time_it_opens() {
    let shown = waiting("the next opens 2026-12-05T02:00:00+01:00; AMI release 1 is pending");
    assert!(shown.ready);
    let [problem] = &shown.problems[..] else { panic!("{:?}", shown.problems) };
    assert!(problem.reason == "OutsideMaintenanceWindow" && problem.message.starts_with(WINDOW));
    let advice =
        "wait until the window opens (2026-12-05T02:00:00+01:00), or change its EksCluster's spec.upgrade.windows";
    assert_eq!(shown.actions, [advice]);
    let text = anstream::adapter::strip_str(&print::text(&shown, now(), &TimeZone::UTC)).to_string();
    assert!(text.contains(WINDOW) && text.contains(advice), "{text}");
    assert_eq!(waiting("none opens again").actions, ["change its EksCluster's spec.upgrade.windows"]);
}

#[test]
fn replacement_of_nodes_says_how_far_it_is() {
    let running = |upgrading: &str| {
        let time = "node group web: updating for 1 min, about 8 min remaining";
        let progress = "2 of 4 nodes on v1.34, 1 cordoned, 1 not ready; EKS update u-1";
        let step = json!({"action": "Update", "resource": "nodeGroup/web", "state": "Running"});
        let shown = answer(json!({
            "conditions": [
                condition("Ready", "False", "Upgrading", time),
                condition("Upgrading", upgrading, "Upgrading", &format!("{time}; {progress}")),
            ],
            "plan": {"steps": [step]},
        }));
        shown.doing.into_iter().map(|one| one.what).collect::<Vec<_>>()
    };
    assert_eq!(running("True"), ["nodes are replaced: 2 of 4 nodes on v1.34, 1 cordoned, 1 not ready; EKS update u-1"]);
    assert_eq!(running("False"), ["updating"]);
}

#[test]
fn what_the_account_does_not_list_is_no_matter_of_the_doctor() {
    let actions = |message: &str| {
        answer(json!({"conditions": [
            condition("Ready", "False", "AccessDenied", message),
            condition("Stalled", "True", "AccessDenied", message),
        ]}))
        .actions
    };
    let spec = serde_json::from_value(json!({
        "accountId": "111122223333", "allowedNamespaces": ["team"], "allowedRegions": ["eu-west-1"],
        "allowedImageOwners": [], "allowedImageIds": [],
    }))
    .unwrap();
    let lists = crate::controllers::account::allowlist::Allowlists::of("default", &spec, "team");
    let group = serde_json::from_value(json!({
        "clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}, "node": {"imageId": "ami-1", "userData": "x"},
    }))
    .unwrap();
    let named = crate::controllers::account::named::by_node_group(&group);
    let refused = lists.check(&named).unwrap_err().message;
    assert!(refused.contains("allowedImageIds"), "{refused}");
    assert_eq!(actions(&refused), [""; 0]);
    assert_eq!(actions("CreateRole demo: AccessDenied"), ["see what the account lacks: keelson doctor demo -n team"]);
}

#[test]
fn creation_that_failed_is_named_once_since_then_and_with_what_to_run() {
    let why = "node group web: CREATE_FAILED: Ec2SubnetNotFound: subnet-1 is gone. EKS does not finish it any more: once the \
               cause is removed, delete this NodeGroup and apply it again";
    let shown = answer(json!({
        "change": {"type": "Create", "generation": 1, "startedAt": "2026-11-29T13:58:00Z", "waiting": {
            "reason": "Failed", "since": "2026-11-29T14:02:00Z",
        }},
        "conditions": [
            condition("Ready", "False", "Failed", why),
            condition("Stalled", "True", "Failed", why),
            condition("InSync", "False", "Drifted", "node group web: cannot be reconciled to the spec"),
        ],
        "healthIssues": [{"code": "Ec2SubnetNotFound", "message": "subnet-1 is gone", "resourceIds": []}],
    }));
    let [problem] = &shown.problems[..] else { panic!("{:?}", shown.problems) };
    assert_eq!(problem.since, "2026-11-29T14:02:00Z".parse().ok());
    assert_eq!(shown.since, problem.since);
    let advice = "once the cause is removed: kubectl delete nodegroup web -n team, and apply it again";
    assert_eq!(shown.actions, [advice]);
    let text = anstream::adapter::strip_str(&print::text(&shown, now(), &TimeZone::UTC)).to_string();
    assert!(text.contains("create (generation 1), in progress for 8 min"), "{text}");
    assert!(text.contains("waiting for 4 min 15 s (since 14:02:00): Failed"), "{text}");
}
