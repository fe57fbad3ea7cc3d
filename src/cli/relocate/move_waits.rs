//! What a move waits for, object by object: an operator that does its part, or a person that the object itself names. A
//! cluster that waits for a person is put aside while the others are moved. I/O: the APIs of both management clusters.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::{Movable, Move, POLL, title};
use crate::api::EksCluster;
use crate::api::conditions::{self, ConditionType};

/// From then on the conditions of an object count: before, they may be older than the request.
const CONDITIONS_COUNT_AFTER: Duration = Duration::from_secs(5);

/// The management cluster to move from, and the one to move to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// From.
    Here,
    /// To.
    There,
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Here => "here",
            Self::There => "there",
        })
    }
}

/// An operator that has not done its part for an object yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// `EksCluster default/demo`.
    object: String,
    side: Side,
    /// What the operator is to do.
    action: &'static str,
    /// Reason and message of the object's condition.
    condition: Option<(String, String)>,
    /// Only a person can end it.
    is_stalled: bool,
}

impl Wait {
    /// The wait for the operator of `side` to do something with the object.
    pub fn of<K: Movable>(object: &K, side: Side, action: &'static str) -> Self {
        let condition = telling_condition(object.conditions());
        Self {
            object: title(object),
            side,
            action,
            is_stalled: condition.is_some_and(|one| one.type_ == ConditionType::Stalled.as_str()),
            condition: condition.map(|one| (one.reason.clone(), one.message.clone())),
        }
    }

    /// What is waited for. It changes as the move progresses, and a condition does not change it.
    fn key(&self) -> (String, Side) {
        (self.object.clone(), self.side)
    }

    /// The object, what it waits for, and why. `missing`: why no operator runs on that side.
    fn describe(&self, missing: Option<&str>) -> String {
        let Self { object, side, action, condition, .. } = self;
        let why = match (missing, condition) {
            (Some(missing), _) => missing.to_owned(),
            (None, Some((reason, message))) => format!("{reason}: {message}"),
            (None, None) => "the operator has not reported on it yet".to_owned(),
        };
        let place = if *side == Side::There { " (in the management cluster of --to)" } else { "" };
        format!("{object} waits for the operator {side} to {action}{place}: {why}")
    }
}

/// The condition that says why an object does not go on: Stalled if it is, else Ready.
fn telling_condition(all: &[Condition]) -> Option<&Condition> {
    let stalled = conditions::get(all, ConditionType::Stalled).filter(|one| one.status == "True");
    stalled.or_else(|| conditions::get(all, ConditionType::Ready))
}

/// A cluster that is not moved yet.
struct Pending<'c> {
    cluster: &'c EksCluster,
    waits: Vec<Wait>,
    /// When it was started, or came one step further; `None`: not started.
    since: Option<Instant>,
}

impl Pending<'_> {
    fn has_waited(&self, at_least: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= at_least)
    }

    /// Whether the others need not wait for it: a person must act, or its time is up.
    fn is_put_aside(&self, timeout: Duration) -> bool {
        let is_stalled = self.waits.iter().any(|wait| wait.is_stalled);
        self.has_waited(timeout) || is_stalled && self.has_waited(CONDITIONS_COUNT_AFTER)
    }
}

impl Move {
    /// Moves the clusters one after the other. One that is put aside is continued when it can go on.
    ///
    /// # Errors
    /// Some could not be moved in time. Names all objects that wait, and for what.
    pub(super) async fn move_all(&self, clusters: &[EksCluster]) -> anyhow::Result<()> {
        let of = |cluster| Pending { cluster, waits: Vec::new(), since: None };
        let mut all: Vec<Pending<'_>> = clusters.iter().map(of).collect();
        loop {
            let mut is_busy = false;
            for one in &mut all {
                if is_busy && one.since.is_none() {
                    continue;
                }
                self.continue_with(one).await.with_context(|| title(one.cluster))?;
                is_busy = is_busy || !one.waits.is_empty() && !one.is_put_aside(self.timeout);
            }
            all.retain(|one| one.since.is_none() || !one.waits.is_empty());
            if all.is_empty() {
                return Ok(());
            }
            if all.iter().all(|one| one.has_waited(self.timeout)) {
                let waits: Vec<&Wait> = all.iter().flat_map(|one| &one.waits).collect();
                return self.give_up(&waits).await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn continue_with(&self, one: &mut Pending<'_>) -> anyhow::Result<()> {
        if one.since.is_none() {
            self.start(one.cluster).await?;
            one.since = Some(Instant::now());
        }
        let waits = self.advance(one.cluster).await?;
        let keys = |waits: &[Wait]| waits.iter().map(Wait::key).collect::<BTreeSet<_>>();
        if keys(&waits) != keys(&one.waits) {
            one.since = Some(Instant::now());
        }
        one.waits = waits;
        if one.has_waited(CONDITIONS_COUNT_AFTER) {
            for wait in one.waits.iter().filter(|wait| wait.is_stalled) {
                self.say(&wait.describe(None))?;
            }
        }
        Ok(())
    }

    /// Waits until `holds` of the object on that side.
    pub(super) async fn until<K: Movable>(
        &self,
        object: &K,
        side: Side,
        action: &'static str,
        holds: impl Fn(&K) -> bool,
    ) -> anyhow::Result<()> {
        let (api, name) = (K::in_namespace(self.client(side), object), object.name_any());
        let started = Instant::now();
        loop {
            let now = api.get(&name).await?;
            if holds(&now) {
                return Ok(());
            }
            if started.elapsed() > self.timeout {
                return self.give_up(&[&Wait::of(&now, side, action)]).await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn give_up(&self, waits: &[&Wait]) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for wait in waits {
            let missing = self.operator_missing(wait.side).await.ok().flatten();
            lines.push(wait.describe(missing.as_deref()));
        }
        bail!(
            "not done after {} s:\n  {}\nRun this again once they can go on, or undo the move with --abort",
            self.timeout.as_secs(),
            lines.join("\n  ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::NodeGroup;
    use serde_json::json;

    fn group(conditions: serde_json::Value) -> NodeGroup {
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
            "metadata": {"name": "nodes", "namespace": "team", "uid": "uid-1"},
            "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 1}},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> serde_json::Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
               "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn wait_names_the_condition_that_holds_the_object() {
        let ready = condition("Ready", "False", "Suspended", "spec.suspend is true");
        let stalled =
            |status| condition("Stalled", status, "WaitingForApproval", "plan 1a waits: keelson approve demo");
        let held = Wait::of(&group(json!([ready, stalled("True")])), Side::There, "take it over");
        assert!(held.is_stalled);
        assert_eq!(
            held.describe(None),
            "NodeGroup team/nodes waits for the operator there to take it over (in the management cluster of --to): \
             WaitingForApproval: plan 1a waits: keelson approve demo"
        );
        let moving = Wait::of(&group(json!([ready, stalled("False")])), Side::Here, "hand it over");
        assert!(!moving.is_stalled);
        let text = moving.describe(None);
        assert!(text.ends_with("the operator here to hand it over: Suspended: spec.suspend is true"), "{text}");
        // Its conditions are from before the operator stopped.
        let missing = moving.describe(Some("no operator runs here: its Lease keelson-system/keelson is not held"));
        assert!(missing.contains("no operator runs here") && !missing.contains("Suspended"), "{missing}");
        assert!(Wait::of(&group(json!([])), Side::Here, "hand it over").describe(None).contains("not reported on it"));
    }

    #[test]
    fn cluster_that_waits_for_a_person_does_not_hold_up_the_others() {
        let cluster: EksCluster = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.34"},
        }))
        .unwrap();
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        let waits = |stalled: &str| {
            vec![Wait::of(&group(json!([condition("Stalled", stalled, "NotOwned", "")])), Side::Here, "hand it over")]
        };
        let timeout = Duration::from_secs(60);
        let is_put_aside = |waits, since| Pending { cluster: &cluster, waits, since }.is_put_aside(timeout);
        assert!(!is_put_aside(waits("True"), ago(1)), "the condition may be older than the request");
        assert!(is_put_aside(waits("True"), ago(6)));
        assert!(!is_put_aside(waits("False"), ago(6)));
        assert!(is_put_aside(waits("False"), ago(61)));
        assert!(!is_put_aside(waits("True"), None));
    }
}
