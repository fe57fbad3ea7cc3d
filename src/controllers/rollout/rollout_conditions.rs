//! The conditions of a FleetRollout, from its releases. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::Reason;
use crate::api::conditions::bounded;
use crate::api::fleet_rollout_status::{FleetRolloutStatus, ReleaseState, ReleaseStatus};
use crate::controllers::status::conditions::{ConditionValue, Conditions, Overall};

/// The conditions after `status`. `problem`: why the policy cannot be used.
pub fn conditions(
    status: &FleetRolloutStatus,
    generation: Option<i64>,
    problem: Option<&str>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = Conditions::from(&status.conditions, generation, &now);
    all.overall(&overall(status, problem));
    all.into_all()
}

fn overall(status: &FleetRolloutStatus, problem: Option<&str>) -> Overall {
    if let Some(why) = problem {
        return Overall::Stalled(ConditionValue::false_(Reason::InvalidSpec, format!("nothing begins: {why}")));
    }
    // The first one needs most attention.
    let Some(release) = status.releases.first().filter(|release| release.state != ReleaseState::Completed) else {
        let message = match status.members {
            0 => "spec.clusterSelector selects no EksCluster".to_owned(),
            1 => "its EksCluster has the versions that it asks for".to_owned(),
            members => format!("{members} EksClusters have the versions that they ask for"),
        };
        return Overall::Ready(ConditionValue::true_(Reason::Available, message));
    };
    let value = |reason: Reason| ConditionValue::false_(reason, describe(release));
    match release.state {
        ReleaseState::Halted => Overall::Stalled(value(Reason::WaveHalted)),
        ReleaseState::WaitingForApproval => Overall::Stalled(value(Reason::WaitingForApproval)),
        ReleaseState::Blocked => Overall::Stalled(value(Reason::UpgradeBlocked)),
        ReleaseState::Suspended => Overall::Suspended(describe(release)),
        ReleaseState::Progressing | ReleaseState::Soaking | ReleaseState::Completed => {
            Overall::Reconciling(value(Reason::Upgrading))
        }
    }
}

/// Longest message of a condition, in characters: `kubectl get` prints it in a column. The whole message is that of the release.
const MAX_MESSAGE: usize = 160;

/// `control planes to 1.36 (3/9): wave canary waits for ...`: the first sentence of the release's message. One that asks for an approval
/// is never cut: it ends with the value that a person writes.
fn describe(release: &ReleaseStatus) -> String {
    let ReleaseStatus { gate, target, progress, message, .. } = release;
    let sentence = message.as_ref().and_then(|message| message.split("; ").next());
    let sentence = sentence.map(|sentence| format!(": {sentence}")).unwrap_or_default();
    let text = format!("{} to {target} ({progress}){sentence}", gate.describe());
    match release.state {
        ReleaseState::WaitingForApproval => text,
        _ => bounded(&text, MAX_MESSAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::{ConditionType, get};
    use serde_json::json;

    fn ready(state: Option<ReleaseState>, problem: Option<&str>) -> (String, String, String) {
        let releases = state.map(|state| {
            json!([{"gate": "ControlPlane", "target": "1.36", "state": state, "progress": "1/3", "message": "m",
                "since": "2026-11-28T00:00:00Z"}])
        });
        let status: FleetRolloutStatus =
            serde_json::from_value(json!({"members": 3, "releases": releases.unwrap_or(json!([]))})).unwrap();
        let all = conditions(&status, Some(1), problem, Timestamp::UNIX_EPOCH);
        let ready = get(&all, ConditionType::Ready).unwrap();
        let stalled = get(&all, ConditionType::Stalled).unwrap();
        (ready.status.clone(), ready.reason.clone(), stalled.status.clone())
    }

    #[test]
    fn message_is_one_sentence_that_fits_into_a_column() {
        let in_state = |state: &str, text: &str| {
            let release = json!({"gate": "ControlPlane", "target": "1.36", "state": state, "progress": "1/3",
                "message": text, "since": "2026-11-28T00:00:00Z"});
            describe(&serde_json::from_value(release).unwrap())
        };
        let message = |text: &str| in_state("Halted", text);
        let halted = "wave canary has halted: a/b: PodEvictionFailure; correct what is named, then set the annotation";
        assert_eq!(message(halted), "control planes to 1.36 (1/3): wave canary has halted: a/b: PodEvictionFailure");
        let long = message(&"x".repeat(1024));
        assert!(long.chars().count() == MAX_MESSAGE && long.ends_with('…'), "{long}");
        let waits = format!("wave {} waits for an approval: set the annotation to 3f9a1c20d4e5b678", "w".repeat(120));
        assert!(in_state("WaitingForApproval", &waits).ends_with(" 3f9a1c20d4e5b678"));
    }

    #[test]
    fn a_person_is_needed_when_it_is_stalled() {
        let table = [
            (None, None, ("True", "Available", "False")),
            (Some(ReleaseState::Completed), None, ("True", "Available", "False")),
            (Some(ReleaseState::Progressing), None, ("False", "Upgrading", "False")),
            (Some(ReleaseState::Soaking), None, ("False", "Upgrading", "False")),
            (Some(ReleaseState::Halted), None, ("False", "WaveHalted", "True")),
            (Some(ReleaseState::WaitingForApproval), None, ("False", "WaitingForApproval", "True")),
            (Some(ReleaseState::Blocked), None, ("False", "UpgradeBlocked", "True")),
            (None, Some("bad selector"), ("False", "InvalidSpec", "True")),
        ];
        for (state, problem, (status, reason, stalled)) in table {
            let expected = (status.to_owned(), reason.to_owned(), stalled.to_owned());
            assert_eq!(ready(state, problem), expected, "{state:?}");
        }
    }
}
