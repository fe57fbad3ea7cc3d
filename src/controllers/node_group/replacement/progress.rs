//! What a replacement looks like: in the graph, in status, and in messages. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::{self, Decision, State, Step};
use super::node_group_names::{Pair, immutable_digest};
use super::passes::PassResult;
use crate::api::NodeGroupSpec;
use crate::api::conditions::bounded;
use crate::api::listing::counted;
use crate::api::node_group::MaxUnavailable;
use crate::api::policy::ReplacementPolicy;
use crate::api::status_cluster::{BlockedPodStatus, MAX_BLOCKED_PODS, ReplacementStatus, ReplacementStep};
use crate::engine::{Action, ExecutionPolicy};
use crate::resources::eks::node_group;
use crate::resources::graph::expand::SecondNodeGroup;
use crate::workload::budgets::{BlockedBy, BlockedPod};
use crate::workload::eviction::{Eviction, Order};

/// Maximum length of a message; the API's limit.
const MAX_MESSAGE: usize = 1024;

/// A replacement, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedReplacement {
    pub decision: Decision,
    /// The last reading of the nodes, if it is of these node groups.
    pub reading: Option<PassResult>,
    /// Size of the node group that is drained.
    pub leaving_size: i32,
}

impl DecidedReplacement {
    /// Whether two node groups exist, or are to exist.
    pub fn is_in_progress(&self) -> bool {
        self.decision.pair.other.is_some()
    }

    /// Pods whose eviction was refused.
    pub fn blocked(&self) -> &[BlockedPod] {
        let found = self.reading.as_ref().and_then(|reading| reading.result.as_ref().ok());
        found.filter(|_| matches!(self.decision.step, Step::Drain(_))).map_or(&[], |found| &found.blocked)
    }

    /// The name of the main node group in the graph, and the other one. `asks`: steps wait for an approval, which covers the whole
    /// replacement.
    pub fn beside(&self, desired: &str, asks: bool) -> (String, SecondNodeGroup) {
        let (stays, Some(leaves)) = (self.decision.stays(), self.decision.leaves()) else {
            return (self.decision.stays().name.clone(), SecondNodeGroup::Nothing);
        };
        let not_yet = match &self.decision.step {
            Step::Create(not_yet) => not_yet.clone(),
            _ => None,
        };
        if let Some(why) = not_yet.clone().filter(|_| !asks) {
            return (leaves.name.clone(), SecondNodeGroup::Planned { name: stays.name.clone(), why });
        }
        let is_unused = matches!(self.decision.step, Step::Delete | Step::DeleteTemplate);
        let in_use = (!is_unused).then(|| self.message());
        let (name, nodes, is_outdated) = (leaves.name.clone(), self.leaving_size, stays.digest != desired);
        (stays.name.clone(), SecondNodeGroup::Replaced { name, nodes, not_yet, is_outdated, in_use })
    }

    /// The step, as a message.
    pub fn message(&self) -> String {
        let stays = &self.decision.stays().name;
        let leaves = self.decision.leaves().map(|group| group.name.as_str()).unwrap_or_default();
        match &self.decision.step {
            Step::Steady => "the node group is as the spec describes it".to_owned(),
            Step::Refused => "replacementPolicy is Refuse: the node group is not replaced".to_owned(),
            Step::Observe => "the node groups are not observed yet".to_owned(),
            Step::NameTaken => format!(
                "node group {stays} exists in EKS and belongs to another owner: nothing is created, drained or \
                 deleted until it is gone, or the edit is taken back"
            ),
            Step::Create(None) => format!("node group {stays} is created beside {leaves}"),
            Step::Create(Some(why)) => format!("the replacement of node group {leaves} {why}"),
            Step::AwaitGroup => format!("node group {stays}, which replaces {leaves}, is not ready"),
            Step::ReadNodes => match self.reading.as_ref().and_then(|reading| reading.result.as_ref().err()) {
                Some(error) => format!(
                    "the nodes cannot be read, so nothing is drained or deleted: {}",
                    bounded(error, MAX_MESSAGE / 2)
                ),
                None => "the nodes are not read yet".to_owned(),
            },
            Step::AwaitNodes { needed: 1, ready: 0 } => format!(
                "node group {stays} has no node that takes Pods: nothing is drained (if its desired size is 0, raise scaling.min)"
            ),
            Step::AwaitNodes { ready, needed } => {
                format!("{ready} of {needed} nodes of node group {stays} take Pods")
            }
            Step::Drain(why) => {
                let found = self.reading.as_ref().and_then(|reading| reading.result.as_ref().ok());
                let (nodes, pods) = found.map(|found| (found.leaving, found.pods)).unwrap_or_default();
                let left = format!(
                    "node group {leaves} is drained: {}, {} left",
                    counted(nodes, "node"),
                    counted(pods, "Pod")
                );
                match (why, self.blocked()) {
                    (Some(why), _) => format!("{left}; this {why}"),
                    (None, []) => left,
                    (None, blocked) => format!("{left}; blocked by: {}", describe_blocked(blocked)),
                }
            }
            Step::Unaccounted { size } => format!(
                "EKS says that node group {leaves} has {}, and the cluster shows none with the label \
                 eks.amazonaws.com/nodegroup={leaves}: nothing is deleted (label them again, or scale the node group to 0)",
                counted(*size, "node")
            ),
            Step::Delete => format!("node group {leaves} is drained, and is deleted"),
            Step::AwaitDeletion => format!("node group {leaves} is being deleted"),
            Step::DeleteTemplate => format!("node group {leaves} is deleted, and its launch template is deleted"),
        }
    }

    /// For status. `previous`: the last one.
    pub fn status(
        &self,
        previous: Option<&ReplacementStatus>,
        (arn, template): (Option<String>, Option<String>),
        now: Timestamp,
    ) -> Option<ReplacementStatus> {
        let other = self.decision.pair.other.as_ref()?;
        let previous = previous.filter(|status| status.node_group_name == other.name || self.was_swapped(status));
        let seconds = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        let drains = matches!(self.decision.step, Step::Drain(None));
        let leaves = self.decision.leaves().map(|group| group.name.clone()).unwrap_or_default();
        let same_drain = previous.filter(|status| status.leaves == leaves);
        let draining_since = same_drain.and_then(|status| status.draining_since.clone());
        let step = match &self.decision.step {
            Step::Steady | Step::Refused | Step::Observe | Step::NameTaken | Step::Create(Some(_)) => {
                ReplacementStep::Waiting
            }
            Step::Create(None) | Step::AwaitGroup => ReplacementStep::Creating,
            Step::ReadNodes | Step::AwaitNodes { .. } | Step::Unaccounted { .. } => ReplacementStep::AwaitingNodes,
            Step::Drain(_) => ReplacementStep::Draining,
            Step::Delete | Step::AwaitDeletion | Step::DeleteTemplate => ReplacementStep::Deleting,
        };
        let blocked = self.blocked().iter().take(MAX_BLOCKED_PODS).map(|BlockedPod { pod, node, by }| {
            let (BlockedBy::Budget { name: by, never: _ } | BlockedBy::Refusal(by)) = by;
            BlockedPodStatus { pod: bounded(pod, 512), node: bounded(node, 253), budget: bounded(by, 512) }
        });
        let of_same_name = previous.filter(|status| status.node_group_name == other.name);
        Some(ReplacementStatus {
            node_group_name: other.name.clone(),
            digest: other.digest.clone(),
            leaves,
            arn: arn.or_else(|| of_same_name.and_then(|status| status.arn.clone())),
            launch_template_id: template.or_else(|| of_same_name.and_then(|status| status.launch_template_id.clone())),
            began: previous.map_or(seconds.clone(), |status| status.began.clone()),
            draining_since: draining_since.or(drains.then_some(seconds)),
            step,
            message: bounded(&self.message(), MAX_MESSAGE),
            blocked_pods: blocked.collect(),
        })
    }

    /// Whether the node group of `status` is the one in use by now.
    fn was_swapped(&self, status: &ReplacementStatus) -> bool {
        status.node_group_name == self.decision.pair.in_use.name
    }

    /// What a pass over the nodes does now; `None`: there is nothing to read.
    pub fn order(&self, owner: String, spec: &NodeGroupSpec, policy: &ExecutionPolicy) -> Option<Order> {
        let leaves = self.decision.leaves()?;
        let drains = match &self.decision.step {
            Step::ReadNodes
            | Step::AwaitNodes { .. }
            | Step::Drain(Some(_))
            | Step::Unaccounted { .. }
            | Step::Delete => false,
            Step::Drain(None) => true,
            Step::Steady
            | Step::Refused
            | Step::Observe
            | Step::NameTaken
            | Step::Create(_)
            | Step::AwaitGroup
            | Step::AwaitDeletion
            | Step::DeleteTemplate => return None,
        };
        let deletion = crate::engine::Step { action: Action::Delete, changes: Vec::new(), reason: None };
        let writes = policy.holds(&node_group::key(&leaves.name), &deletion).is_none();
        let update = spec.update.as_ref();
        let evict = (drains && writes).then(|| Eviction {
            at_once: update.and_then(|update| update.max_unavailable()).unwrap_or(MaxUnavailable::Nodes(1)),
            force: update.is_some_and(|update| update.force),
        });
        Some(Order { owner, stays: self.decision.stays().name.clone(), leaves: leaves.name.clone(), writes, evict })
    }
}

/// What a plan shows of the node groups `recorded`, without having read the nodes: the main one in the graph, and the other one.
/// `first`: the name of the first node group; `exists`: whether the one in use does.
pub fn preview(spec: &NodeGroupSpec, first: &str, recorded: &Pair, exists: bool) -> (String, SecondNodeGroup) {
    let desired = immutable_digest(spec);
    let may_begin = spec.replacement_policy == ReplacementPolicy::MakeBeforeBreak && exists;
    let in_use = if exists { State::Ready(0) } else { State::Unknown };
    let other = State::Unknown;
    let input =
        decide::Input { first, desired: &desired, recorded, in_use, other, nodes: None, may_begin, closed: None };
    let replacing = DecidedReplacement { decision: decide::decide(&input), reading: None, leaving_size: 0 };
    match replacing.beside(&desired, false) {
        (name, SecondNodeGroup::Replaced { name: other, nodes, not_yet, is_outdated, in_use: _ }) => {
            let in_use = Some("its nodes are drained first, within the PodDisruptionBudgets of their Pods".to_owned());
            (name, SecondNodeGroup::Replaced { name: other, nodes, not_yet, is_outdated, in_use })
        }
        other => other,
    }
}

/// Pods that block a drain, for the user: five of them by name.
pub fn describe_blocked(blocked: &[BlockedPod]) -> String {
    crate::api::listing::first_few_joined(blocked, 5, "; ", "; and ")
}

/// The size of a node group in that state.
pub fn size_of(state: State) -> i32 {
    match state {
        State::Ready(size) => size,
        State::Unknown
        | State::Foreign
        | State::Unowned
        | State::Absent
        | State::NotReady
        | State::Deleting
        | State::TemplateLeft => 0,
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
