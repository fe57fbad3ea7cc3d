//! What needs a person, from the status of the objects. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use sha2::{Digest, Sha256};

use crate::api::conditions::{self, ConditionType};
use crate::api::fleet_rollout_status::ReleaseStatus;
use crate::api::status_cluster::{DeletionStatus, PlanStatus};
use crate::api::{AwsAccount, EksCluster, FleetRollout, KubernetesVersion, NodeGroup, Reason};
use crate::upgrade::support::{self, SupportDates, SupportWarning};

/// How long an object is Stalled before that is sent: one that is corrected at once, such as a rollout while a commit
/// reaches its clusters one by one, needs nobody.
pub const SETTLE: SignedDuration = SignedDuration::from_secs(60);
/// Bytes of an id.
const ID_BYTES: usize = 16;
/// `Stalled` with these reasons is no need of its own: an approval is, a hold is a decision, and a wave is the rollout's.
const NOT_STALLED: [Reason; 5] =
    [Reason::WaitingForApproval, Reason::OnHold, Reason::WaitingForWave, Reason::WaveHalted, Reason::Suspended];

/// What a person is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeedKind {
    /// A release of a FleetRollout has halted.
    RolloutHalted,
    /// A plan, a deletion or a wave waits for an approval.
    ApprovalNeeded,
    /// An object does not go on by itself.
    ObjectStalled,
    /// AWS's support of a version ends soon, or has ended.
    SupportEnding,
}

impl NeedKind {
    /// All kinds.
    #[cfg(test)]
    const ALL: [Self; 4] = [Self::RolloutHalted, Self::ApprovalNeeded, Self::ObjectStalled, Self::SupportEnding];

    /// Type of its event, in the format of CloudEvents.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::RolloutHalted => "dev.keelson.rollout.halted",
            Self::ApprovalNeeded => "dev.keelson.approval.needed",
            Self::ObjectStalled => "dev.keelson.object.stalled",
            Self::SupportEnding => "dev.keelson.support.ending",
        }
    }
}

/// The object that a person is needed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedObject {
    /// Its kind, such as `EksCluster`.
    pub kind: &'static str,
    /// Its namespace; `None`: it is cluster-scoped.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl AffectedObject {
    fn of(kind: &'static str, metadata: &ObjectMeta) -> Self {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Self { kind, namespace: metadata.namespace.clone(), name: text(&metadata.name), uid: text(&metadata.uid) }
    }
}

/// Something that needs a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The object.
    pub about: AffectedObject,
    /// What for.
    pub kind: NeedKind,
    /// What tells it apart from the object's other needs of this kind, earlier ones included: with the time at which it began, as
    /// status has it.
    pub detail: String,
    /// Reason, as in conditions.
    pub reason: String,
    /// What a person reads.
    pub message: String,
    /// Since when, if the object says so.
    pub since: Option<Timestamp>,
}

impl Need {
    /// The same in each process: it depends on nothing but the object's status.
    pub fn id(&self) -> String {
        let text = format!("{} {} {}", self.about.uid, self.kind.event_type(), self.detail);
        Sha256::digest(text.as_bytes()).iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a FleetRollout needs a person for. `settle`: how long it must have been Stalled.
pub fn of_rollout(rollout: &FleetRollout, settle: SignedDuration, now: Timestamp) -> Vec<Need> {
    let about = AffectedObject::of("FleetRollout", &rollout.metadata);
    let Some(status) = rollout.status.as_ref().filter(|_| rollout.metadata.deletion_timestamp.is_none()) else {
        return Vec::new();
    };
    let mut found: Vec<Need> = status.releases.iter().flat_map(|release| of_release(&about, release)).collect();
    // What is Stalled for a halt or an approval is above.
    found.extend(stalled(&about, &status.conditions, settle, now));
    found
}

fn of_release(about: &AffectedObject, release: &ReleaseStatus) -> Vec<Need> {
    let step = format!("{}/{}", release.gate.as_str(), release.target);
    let what = format!("{} to {}", release.gate.describe(), release.target);
    let halt = release.halt.as_ref().map(|halt| Need {
        about: about.clone(),
        kind: NeedKind::RolloutHalted,
        detail: format!("{step}/{}", halt.since.0.as_second()),
        reason: Reason::WaveHalted.as_str().to_owned(),
        message: format!("{what}: wave {} has halted: {}", halt.wave, halt.message),
        since: Some(halt.since.0),
    });
    let approvals = release.waves.iter().filter_map(|wave| {
        let hash = wave.approval_hash.as_ref()?;
        Some(Need {
            about: about.clone(),
            kind: NeedKind::ApprovalNeeded,
            detail: format!("{step}/{}/{}/{hash}", release.since.0.as_second(), wave.name),
            reason: Reason::WaitingForApproval.as_str().to_owned(),
            message: format!("{what}: wave {} waits for an approval (hash {hash})", wave.name),
            since: None,
        })
    });
    halt.into_iter().chain(approvals).collect()
}

/// What an EksCluster needs a person for.
pub fn of_cluster(cluster: &EksCluster, settle: SignedDuration, now: Timestamp) -> Vec<Need> {
    let about = AffectedObject::of("EksCluster", &cluster.metadata);
    let Some(status) = &cluster.status else { return Vec::new() };
    let mut found: Vec<Need> = stalled(&about, &status.conditions, settle, now).into_iter().collect();
    found.extend(approval(&about, &status.conditions, status.plan.as_ref(), status.deletion.as_ref()));
    if cluster.metadata.deletion_timestamp.is_none() {
        found.extend(support_ending(&about, cluster, now).unwrap_or_default());
    }
    found
}

/// What a NodeGroup needs a person for.
pub fn of_node_group(group: &NodeGroup, settle: SignedDuration, now: Timestamp) -> Vec<Need> {
    let about = AffectedObject::of("NodeGroup", &group.metadata);
    let Some(status) = &group.status else { return Vec::new() };
    let mut found: Vec<Need> = stalled(&about, &status.conditions, settle, now).into_iter().collect();
    let deletion = status.deletion.clone().map(DeletionStatus::from);
    found.extend(approval(&about, &status.conditions, status.plan.as_ref(), deletion.as_ref()));
    found
}

/// What an AwsAccount needs a person for.
pub fn of_account(account: &AwsAccount, settle: SignedDuration, now: Timestamp) -> Vec<Need> {
    let about = AffectedObject::of("AwsAccount", &account.metadata);
    let conditions = account.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    stalled(&about, conditions, settle, now).into_iter().collect()
}

fn stalled(about: &AffectedObject, all: &[Condition], settle: SignedDuration, now: Timestamp) -> Option<Need> {
    let found = conditions::get(all, ConditionType::Stalled).filter(|found| found.status == "True")?;
    let since = found.last_transition_time.0;
    let is_other = NOT_STALLED.iter().any(|reason| found.reason == reason.as_str());
    (!is_other && now.duration_since(since) >= settle).then(|| Need {
        about: about.clone(),
        kind: NeedKind::ObjectStalled,
        detail: format!("{}/{}", found.reason, since.as_second()),
        reason: found.reason.clone(),
        message: found.message.clone(),
        since: Some(since),
    })
}

/// The approval of a plan, or the release of a held deletion, that nobody has given yet.
fn approval(
    about: &AffectedObject,
    all: &[Condition],
    plan: Option<&PlanStatus>,
    deletion: Option<&DeletionStatus>,
) -> Option<Need> {
    let waits = |one: &&Condition| one.reason == Reason::WaitingForApproval.as_str();
    let found = conditions::get(all, ConditionType::Ready).filter(waits).or_else(|| all.iter().find(waits))?;
    if deletion.is_some_and(|deletion| deletion.began.is_some()) {
        return None;
    }
    let detail = match deletion.and_then(|deletion| deletion.release.as_ref()) {
        Some(release) => format!("deletion/{release}"),
        // Without a hash, it was given and is processed.
        None => {
            let hash = plan.map(|plan| &plan.hash).filter(|hash| !hash.is_empty())?;
            let stalled = conditions::get(all, ConditionType::Stalled).filter(|one| one.status == "True");
            let began = stalled.filter(waits).unwrap_or(found).last_transition_time.0;
            format!("plan/{hash}/{}", began.as_second())
        }
    };
    Some(Need {
        about: about.clone(),
        kind: NeedKind::ApprovalNeeded,
        detail,
        reason: found.reason.clone(),
        message: found.message.clone(),
        since: None,
    })
}

/// One need for each end of support that is near or has come: it ends with the version.
fn support_ending(about: &AffectedObject, cluster: &EksCluster, now: Timestamp) -> Option<Vec<Need>> {
    let status = cluster.status.as_ref()?;
    let ends = status.support.as_ref()?;
    let date = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    let dates = SupportDates { standard: date(&ends.standard_ends), extended: date(&ends.extended_ends) };
    let version: KubernetesVersion = status.version.as_deref()?.parse().ok()?;
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let need = |warning: SupportWarning| Need {
        about: about.clone(),
        kind: NeedKind::SupportEnding,
        // Once for each end: the message counts the days.
        detail: format!("{version}/{:?}/{}", warning.notice.support, warning.ends),
        reason: Reason::SupportEnding.as_str().to_owned(),
        message: warning.to_string(),
        since: None,
    };
    Some(support::ending(version, dates, cluster.spec.support_type, today).into_iter().map(need).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-28T12:00:00Z";

    fn object<K: serde::de::DeserializeOwned>(kind: &str, spec: Value, status: Value) -> K {
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": kind,
            "metadata": {"name": "demo", "namespace": "team", "uid": "u-1"}, "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn cluster(status: Value) -> EksCluster {
        object("EksCluster", json!({"region": "eu-west-1", "version": "1.34"}), status)
    }

    fn of(status: Value) -> Vec<(NeedKind, String)> {
        let found = of_cluster(&cluster(status), SETTLE, NOW.parse().unwrap());
        found.into_iter().map(|need| (need.kind, need.detail)).collect()
    }

    fn condition(type_: &str, status: &str, reason: &str, at: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": "m", "lastTransitionTime": at})
    }

    #[test]
    fn page_names_every_type() {
        let page = include_str!("../../docs/how-to/notifications.md");
        for kind in NeedKind::ALL {
            assert!(page.contains(&format!("`{}`", kind.event_type())), "{kind:?}");
        }
    }

    #[test]
    fn stalled_object_needs_a_person_once_it_has_been_for_a_minute() {
        let stalled = |reason: &str, at: &str| of(json!({"conditions": [condition("Stalled", "True", reason, at)]}));
        let expected = vec![(NeedKind::ObjectStalled, "QuotaExceeded/1795867140".to_owned())];
        assert_eq!(stalled("QuotaExceeded", "2026-11-28T11:59:00Z"), expected);
        assert!(stalled("QuotaExceeded", "2026-11-28T11:59:01Z").is_empty());
        for reason in NOT_STALLED {
            assert!(stalled(reason.as_str(), "2026-11-28T10:00:00Z").is_empty(), "{reason:?}");
        }
        assert!(
            of(json!({"conditions": [condition("Stalled", "False", "Failed", "2026-11-28T10:00:00Z")]})).is_empty()
        );
    }

    #[test]
    fn approval_is_bound_to_its_plan_or_to_the_deletion() {
        let waits = condition("Ready", "False", "WaitingForApproval", "2026-11-28T10:00:00Z");
        let plan = |hash: &str| json!({"hash": hash, "generation": 1, "summary": "s"});
        let of_plan = |hash: &str| of(json!({"conditions": [waits.clone()], "plan": plan(hash)}));
        assert_eq!(of_plan("3f9a"), [(NeedKind::ApprovalNeeded, "plan/3f9a/1795860000".to_owned())]);
        assert!(of_plan("").is_empty(), "it was given, and is processed");
        let since = |at: &str| {
            let stalled = condition("Stalled", "True", "WaitingForApproval", at);
            of(json!({"conditions": [waits.clone(), stalled], "plan": plan("3f9a")}))
        };
        // The same plan again, later: another process would have another id, too.
        for (at, began) in [("2026-11-28T11:00:00Z", 1_795_863_600), ("2026-11-28T11:00:01Z", 1_795_863_601)] {
            assert_eq!(since(at), [(NeedKind::ApprovalNeeded, format!("plan/3f9a/{began}"))]);
        }
        let deletion =
            |deletion: Value| of(json!({"conditions": [waits.clone()], "plan": plan("3f9a"), "deletion": deletion}));
        assert_eq!(deletion(json!({"release": "r"})), [(NeedKind::ApprovalNeeded, "deletion/r".to_owned())]);
        assert!(deletion(json!({"release": "r", "began": "2026-11-28T10:00:00Z"})).is_empty());
    }

    #[test]
    fn end_of_support_is_one_need_from_90_days_before_until_the_version_is_another_one() {
        let of_version = |version: &str, now: &str| {
            let status =
                json!({"version": version, "support": {"standardEnds": "2026-12-31", "extendedEnds": "2027-12-31"}});
            let found = of_cluster(&cluster(status), SETTLE, now.parse().unwrap());
            found.into_iter().map(|need| need.detail).collect::<Vec<_>>()
        };
        let at = |now: &str| of_version("1.33", now);
        assert!(at("2026-09-01T00:00:00Z").is_empty());
        let expected = ["1.33/Standard/2026-12-31"];
        assert_eq!(
            (at("2026-10-05T00:00:00Z"), at("2026-12-30T00:00:00Z")),
            (expected.map(str::to_owned).into(), expected.map(str::to_owned).into())
        );
        // It has ended, which removes nothing that a person has to do.
        assert_eq!(at("2027-02-01T00:00:00Z"), expected);
        assert_eq!(at("2027-11-01T00:00:00Z"), ["1.33/Standard/2026-12-31", "1.33/Extended/2027-12-31"]);
        assert_eq!(of_version("1.34", "2027-02-01T00:00:00Z"), ["1.34/Standard/2026-12-31"], "of another version");
    }

    #[test]
    fn blocked_rollout_needs_a_person_once_it_has_been_for_a_minute() {
        let of = |state: &str, stalled: Value| {
            let release = json!({"gate": "ControlPlane", "target": "1.36", "state": state, "since": "2026-11-28T00:00:00Z",
                "waves": [{"name": "canary", "state": "Pending"}]});
            let status = json!({"conditions": [stalled], "releases": [release]});
            let rollout: FleetRollout =
                object("FleetRollout", json!({"clusterSelector": {}, "waves": [{"name": "canary"}]}), status);
            let found = of_rollout(&rollout, SETTLE, NOW.parse().unwrap());
            found.into_iter().map(|need| (need.kind, need.detail)).collect::<Vec<_>>()
        };
        let blocked = |at: &str| of("Blocked", condition("Stalled", "True", "UpgradeBlocked", at));
        let expected = vec![(NeedKind::ObjectStalled, "UpgradeBlocked/1795860000".to_owned())];
        assert_eq!(blocked("2026-11-28T10:00:00Z"), expected);
        assert!(blocked("2026-11-28T11:59:30Z").is_empty(), "a commit reaches its clusters one by one");
        let idle = condition("Stalled", "False", "Available", "2026-11-28T10:00:00Z");
        assert!(of("Completed", idle).is_empty());
    }

    #[test]
    fn rollout_needs_a_person_for_each_halt_and_each_approval() {
        let status = json!({
            "conditions": [condition("Stalled", "True", "WaveHalted", "2026-11-28T10:00:00Z")],
            "releases": [
                {"gate": "ControlPlane", "target": "1.36", "state": "Halted", "since": "2026-11-28T00:00:00Z",
                 "halt": {"wave": "canary", "message": "EksCluster team/a: no capacity", "since": "2026-11-28T10:00:00Z"},
                 "waves": [{"name": "canary", "state": "Failed"}]},
                {"gate": "NodeGroups", "target": "1.35", "state": "WaitingForApproval", "since": "2026-11-28T00:00:00Z",
                 "waves": [{"name": "prod", "state": "WaitingForApproval", "approvalHash": "0a1b"}]},
            ],
        });
        let rollout: FleetRollout =
            object("FleetRollout", json!({"clusterSelector": {}, "waves": [{"name": "canary"}]}), status);
        let found = of_rollout(&rollout, SETTLE, NOW.parse().unwrap());
        let details: Vec<_> = found.iter().map(|need| (need.kind, need.detail.as_str())).collect();
        assert_eq!(
            details,
            [
                (NeedKind::RolloutHalted, "ControlPlane/1.36/1795860000"),
                (NeedKind::ApprovalNeeded, "NodeGroups/1.35/1795824000/prod/0a1b")
            ]
        );
        assert_eq!(found[0].message, "control planes to 1.36: wave canary has halted: EksCluster team/a: no capacity");
        let ids: std::collections::BTreeSet<_> = found.iter().map(Need::id).collect();
        assert!(ids.len() == 2 && ids.iter().all(|id| id.len() == 2 * ID_BYTES), "{ids:?}");
        let again = of_rollout(&rollout, SETTLE, "2026-12-28T12:00:00Z".parse().unwrap());
        assert!(again.iter().all(|need| ids.contains(&need.id())), "the same in another process, later");
    }
}
