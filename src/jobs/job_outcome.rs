//! How a Job ended, from what the API server shows of it. No I/O.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use crate::api::conditions::bounded;

/// Longest message of a container in status, in characters.
const MAX_MESSAGE: usize = 1000;

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// It has not ended.
    Running,
    /// It is complete.
    Succeeded,
    /// It failed: the last words of its container, or why Kubernetes ended it.
    Failed(String),
    /// It is gone, so nobody knows how it ended. That is not a success.
    Lost(String),
}

/// How the Job with `expected_uid` ended. `job`: what has its name now; `pods`: those of that Job.
pub fn outcome(job: Option<&Job>, pods: &[Pod], expected_uid: &str) -> JobOutcome {
    let Some(job) = job else {
        return JobOutcome::Lost("the Job was deleted before its result was recorded".to_owned());
    };
    if job.metadata.uid.as_deref() != Some(expected_uid) {
        return JobOutcome::Lost("the Job was replaced by another one of the same name".to_owned());
    }
    if condition(job, "Complete").is_some() {
        return JobOutcome::Succeeded;
    }
    if let Some(why) = condition(job, "Failed") {
        return JobOutcome::Failed(last_words(pods).unwrap_or(why));
    }
    if job.metadata.deletion_timestamp.is_some() {
        return JobOutcome::Lost("the Job is being deleted before it has ended".to_owned());
    }
    JobOutcome::Running
}

/// The message of a condition that is true.
fn condition(job: &Job, type_: &str) -> Option<String> {
    let all = job.status.as_ref()?.conditions.as_ref()?;
    let found = all.iter().find(|condition| condition.type_ == type_ && condition.status == "True")?;
    let text = found.message.as_deref().or(found.reason.as_deref()).unwrap_or("the Job failed");
    Some(bounded(text, MAX_MESSAGE))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| status.container_statuses.iter().chain(status.init_container_statuses.iter()).flatten())
}

/// What the container that failed last said.
fn last_words(pods: &[Pod]) -> Option<String> {
    let failed = |container: &ContainerStatus| -> Option<(String, ContainerStateTerminated)> {
        let ended = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
            state.as_ref().and_then(|state| state.terminated.clone()).filter(|ended| ended.exit_code != 0)
        };
        let ended = ended(&container.state).or_else(|| ended(&container.last_state))?;
        Some((container.name.clone(), ended))
    };
    let all = pods.iter().flat_map(containers).filter_map(failed);
    let (name, ended) = all.max_by_key(|(_, ended)| ended.finished_at.as_ref().map(|time| time.0))?;
    let reason = ended.reason.filter(|reason| reason != "Error").map(|reason| format!(" ({reason})"));
    let said = ended.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let said = said.map(|text| format!(": {}", last_part(text))).unwrap_or_default();
    Some(format!("container {name} exited with code {}{}{said}", ended.exit_code, reason.unwrap_or_default()))
}

/// The end of a long text, on one line: what a program says last is why it fails.
fn last_part(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join("; ");
    let length = text.chars().count();
    if length <= MAX_MESSAGE {
        return text;
    }
    format!("…{}", text.chars().skip(length - MAX_MESSAGE + 1).collect::<String>())
}

/// Why a Job that has not ended does not run, as far as its Pods say.
pub fn describe_waiting(pods: &[Pod]) -> Option<String> {
    let waiting = pods.iter().flat_map(containers).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting
            .reason
            .as_deref()
            .filter(|reason| *reason != "ContainerCreating" && *reason != "PodInitializing")?;
        let message = waiting.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        Some(bounded(&format!("container {} waits ({reason}{message})", container.name), MAX_MESSAGE))
    });
    waiting.or_else(|| {
        let conditions =
            |pod: &Pod| pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let mut all = pods.iter().flat_map(conditions);
        let Some(found) = all.find(|one| one.type_ == "PodScheduled" && one.status == "False") else {
            let is_pending = pods.iter().any(is_pending_without_node);
            return is_pending.then(|| "its Pod is Pending: it is not scheduled on a node".to_owned());
        };
        let why = found.message.as_deref().unwrap_or("no node for it");
        Some(bounded(&format!("its Pod is not scheduled: {why}"), MAX_MESSAGE))
    })
}

/// Whether nothing has put it on a node, and nobody has said why.
fn is_pending_without_node(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Pending") && pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(uid: &str, conditions: &Value) -> Job {
        serde_json::from_value(json!({"metadata": {"name": "j", "uid": uid}, "status": {"conditions": conditions}}))
            .unwrap()
    }

    fn pod(state: &Value) -> Pod {
        let container =
            json!({"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}}))
            .unwrap()
    }

    fn ended(code: i32, message: &str, second: u32) -> Pod {
        let finished = format!("2026-01-01T00:00:{second:02}Z");
        pod(&json!({"terminated": {"exitCode": code, "reason": "Error", "message": message, "finishedAt": finished}}))
    }

    #[test]
    fn only_the_jobs_own_condition_is_a_success() {
        let complete =
            json!([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]);
        assert_eq!(outcome(Some(&job("u", &complete)), &[], "u"), JobOutcome::Succeeded);
        for unfinished in [
            json!([]),
            json!([{"type": "SuccessCriteriaMet", "status": "True"}]),
            json!([{"type": "Complete", "status": "False"}]),
        ] {
            assert_eq!(outcome(Some(&job("u", &unfinished)), &[ended(0, "", 1)], "u"), JobOutcome::Running);
        }
        assert!(matches!(outcome(Some(&job("other", &complete)), &[], "u"), JobOutcome::Lost(_)));
        assert!(matches!(outcome(None, &[], "u"), JobOutcome::Lost(_)));
        let mut deleting = job("u", &json!([]));
        deleting.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert!(matches!(outcome(Some(&deleting), &[], "u"), JobOutcome::Lost(_)));
    }

    #[test]
    fn failure_has_the_last_words_of_the_container_that_failed_last() {
        let failed =
            json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}]);
        let of = |pods: &[Pod]| outcome(Some(&job("u", &failed)), pods, "u");
        let pods = [ended(2, " starting\n\n later \n", 20), ended(1, "first", 10), ended(0, "fine", 30)];
        assert_eq!(of(&pods), JobOutcome::Failed("container main exited with code 2: starting; later".into()));
        assert_eq!(of(&[]), JobOutcome::Failed("too often".into()));
        let JobOutcome::Failed(long) = of(&[ended(1, &format!("{}end", "x".repeat(5000)), 1)]) else { panic!() };
        assert!(long.chars().count() < MAX_MESSAGE + 60 && long.ends_with("end"), "{long}");
    }

    #[test]
    fn a_pod_that_cannot_start_says_why() {
        let waiting = pod(&json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}));
        assert_eq!(
            describe_waiting(&[waiting]).as_deref(),
            Some("container main waits (ImagePullBackOff: no such image)")
        );
        assert_eq!(describe_waiting(&[pod(&json!({"waiting": {"reason": "ContainerCreating"}}))]), None);
        let unscheduled: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]}}))
        .unwrap();
        assert_eq!(
            describe_waiting(&[unscheduled]).as_deref(),
            Some("its Pod is not scheduled: 0/3 nodes are available")
        );
        let pending = |node: Option<&str>| -> Pod {
            let spec = json!({"containers": [], "nodeName": node});
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec, "status": {"phase": "Pending"}}))
                .unwrap()
        };
        assert_eq!(
            describe_waiting(&[pending(None)]).as_deref(),
            Some("its Pod is Pending: it is not scheduled on a node")
        );
        assert_eq!(describe_waiting(&[pending(Some("ip-10-0-0-1"))]), None);
    }
}
