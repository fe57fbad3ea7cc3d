//! The checks before a control plane upgrade by one minor, from data read for them. Pure.
//!
//! Data that could not be read yields `Unknown` and blocks nothing: EKS itself rejects upgrades against its insights.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;

use super::addon_versions::{self, Obstacle};
use super::blocks::Block;
use super::observation::ObservedAddon;
use super::support::SupportDates;
use crate::api::KubernetesVersion;
use crate::api::conditions::bounded;
use crate::api::listing::{counted, first_few};
use crate::api::status_cluster::{PreflightCheck, Verdict};
use crate::api::upgrade::{FollowPolicy, InsightsPolicy};

/// Maximum length of a check's message in status.
const MAX_MESSAGE: usize = 1024;
/// Maximum number of names in a message.
const MAX_NAMES: usize = 5;
/// Free addresses that EKS needs in each control plane subnet to replace the control plane.
const FREE_ADDRESSES: i32 = 5;

/// The checks for a step, in display order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// The target version of the control plane.
    pub to: KubernetesVersion,
    /// The verdict of each check.
    pub checks: Vec<PreflightCheck>,
}

impl Preflight {
    /// The failed checks, as blocks.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Block> {
        let failed = self.checks.iter().filter(|check| check.verdict == Verdict::Failed);
        failed.map(|check| Block::Preflight {
            check: check.check.clone(),
            message: check.message.clone().unwrap_or_default(),
        })
    }
}

fn check(name: &str, verdict: Verdict, message: impl AsRef<str>) -> PreflightCheck {
    let message = Some(bounded(message.as_ref(), MAX_MESSAGE));
    PreflightCheck { check: name.to_owned(), verdict, message }
}

/// At most five of `all`, and the number of the others.
fn join_bounded(all: &[String]) -> String {
    first_few(all, MAX_NAMES)
}

/// An upgrade insight of EKS (category UPGRADE_READINESS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insight {
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: InsightStatus,
    /// The reason, as EKS reports it.
    pub reason: String,
    /// The version that it applies to; `None`: any.
    pub version: Option<KubernetesVersion>,
    /// When EKS evaluated it last.
    pub refreshed: Option<Timestamp>,
}

impl Insight {
    /// Whether it concerns an upgrade to `to`.
    fn concerns(&self, to: KubernetesVersion) -> bool {
        self.version.is_none_or(|version| version == to)
    }
}

/// Whether an insight blocks the step and is from before `since`: EKS evaluates them once a day, and its cause may be
/// fixed.
pub fn has_outdated_block(
    policy: InsightsPolicy,
    to: KubernetesVersion,
    insights: &[Insight],
    since: Timestamp,
) -> bool {
    let blocks = |one: &&Insight| one.status == InsightStatus::Error && one.concerns(to);
    policy == InsightsPolicy::Block
        && insights.iter().filter(blocks).any(|one| one.refreshed.is_none_or(|refreshed| refreshed < since))
}

/// Status of an insight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsightStatus {
    Passing,
    Warning,
    Error,
    Unknown,
}

/// EKS's own insights for the step, by the policy in the spec. `None`: they could not be read.
pub fn insights(policy: InsightsPolicy, to: KubernetesVersion, insights: Option<&[Insight]>) -> PreflightCheck {
    const NAME: &str = "Insights";
    if policy == InsightsPolicy::Ignore {
        return check(NAME, Verdict::Passed, "not checked (spec.upgrade.insights: Ignore)");
    }
    let Some(insights) = insights else {
        return check(NAME, Verdict::Unknown, "the insights of EKS could not be read");
    };
    let ours: Vec<_> = insights.iter().filter(|one| one.concerns(to)).collect();
    let of = |status| -> Vec<String> {
        let of = ours.iter().filter(|one| one.status == status);
        of.map(|one| format!("{}: {}", one.name, one.reason)).collect()
    };
    let (errors, warnings, unknown) =
        (of(InsightStatus::Error), of(InsightStatus::Warning), of(InsightStatus::Unknown));
    if !errors.is_empty() {
        let verdict = if policy == InsightsPolicy::Block { Verdict::Failed } else { Verdict::Warning };
        let todo = "see `aws eks describe-insight`, fix the cause, or set spec.upgrade.insights to Warn";
        return check(
            NAME,
            verdict,
            format!("{} of {} report ERROR: {}; {todo}", errors.len(), ours.len(), join_bounded(&errors)),
        );
    }
    if !warnings.is_empty() {
        return check(
            NAME,
            Verdict::Warning,
            format!("{} of {} report WARNING: {}", warnings.len(), ours.len(), join_bounded(&warnings)),
        );
    }
    if !unknown.is_empty() {
        return check(
            NAME,
            Verdict::Unknown,
            format!("{} of {} report UNKNOWN: {}", unknown.len(), ours.len(), join_bounded(&unknown)),
        );
    }
    check(NAME, Verdict::Passed, format!("{} insights, all PASSING", ours.len()))
}

/// Whether EKS offers the version in the region, and still supports it at the standard price. `None`: unknown.
pub fn version_offered(
    to: KubernetesVersion,
    offered: Option<&BTreeMap<KubernetesVersion, SupportDates>>,
    today: Date,
) -> PreflightCheck {
    const NAME: &str = "Version";
    let Some(offered) = offered else {
        return check(NAME, Verdict::Unknown, "the versions that EKS offers could not be read");
    };
    let Some(dates) = offered.get(&to) else {
        let all: Vec<_> = offered.keys().rev().map(ToString::to_string).collect();
        return check(NAME, Verdict::Failed, format!("EKS does not offer {to} here; it offers {}", join_bounded(&all)));
    };
    match dates.standard {
        Some(ended) if ended < today => check(
            NAME,
            Verdict::Warning,
            format!("standard support of {to} ended on {ended}: upgrade to a later version soon"),
        ),
        Some(ends) => check(NAME, Verdict::Passed, format!("{to} is offered, in standard support until {ends}")),
        None => check(NAME, Verdict::Passed, format!("{to} is offered")),
    }
}

/// Whether the add-ons run on the next version, or are updated to one that does. Add-ons outside the spec only warn.
pub fn addon_compatibility(
    observed: &[ObservedAddon],
    policy: FollowPolicy,
    from: KubernetesVersion,
    to: KubernetesVersion,
) -> PreflightCheck {
    const NAME: &str = "AddonCompatibility";
    let named = |addon: &ObservedAddon| format!("{} {}", addon.name, addon.installed);
    let (mut failed, mut foreign, mut moved, mut unknown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for addon in observed {
        let Some(offers) = addon.offered.get(&to) else {
            unknown.push(addon.name.clone());
            continue;
        };
        if offers.iter().any(|offer| offer.version == addon.installed) {
            continue;
        }
        if addon.wanted.is_none() {
            foreign.push(named(addon));
        } else if addon_versions::before(addon, policy, from, to).is_some() {
            moved.push(named(addon));
        } else {
            match addon_versions::obstacle(addon, policy, from, to) {
                Some(Obstacle::NotOffered) => failed.push(format!("{} (no version does)", named(addon))),
                Some(_) => failed.push(named(addon)),
                None => moved.push(named(addon)),
            }
        }
    }
    if !failed.is_empty() {
        return check(
            NAME,
            Verdict::Failed,
            format!("these do not run on {to}, and are not updated: {}", join_bounded(&failed)),
        );
    }
    if !foreign.is_empty() {
        let todo = "spec.addons does not list them, so the operator does not update them";
        return check(NAME, Verdict::Warning, format!("these do not run on {to}: {}; {todo}", join_bounded(&foreign)));
    }
    if !unknown.is_empty() {
        let text = format!("which versions run on {to} could not be read: {}", join_bounded(&unknown));
        return check(NAME, Verdict::Unknown, text);
    }
    let moved = if moved.is_empty() { String::new() } else { format!("; updated for it: {}", join_bounded(&moved)) };
    check(NAME, Verdict::Passed, format!("{}{moved}", counted(observed.len(), "add-on")))
}

/// Whether the control plane subnets have the free addresses that EKS needs to replace it. `None`: unknown.
pub fn free_addresses(subnets: Option<&[(String, i32)]>) -> PreflightCheck {
    const NAME: &str = "FreeAddresses";
    let Some(subnets) = subnets else {
        return check(NAME, Verdict::Unknown, "the subnets could not be read");
    };
    let short: Vec<_> = subnets.iter().filter(|(_, free)| *free < FREE_ADDRESSES).collect();
    let short: Vec<_> = short.iter().map(|(id, free)| format!("{id} has {free}")).collect();
    if short.is_empty() {
        let least = subnets.iter().map(|(_, free)| *free).min().unwrap_or_default();
        return check(
            NAME,
            Verdict::Passed,
            format!("{}, at least {least} addresses free in each", counted(subnets.len(), "subnet")),
        );
    }
    let text = format!(
        "EKS needs {FREE_ADDRESSES} free addresses in each subnet of the cluster: {}; free some",
        join_bounded(&short)
    );
    check(NAME, Verdict::Failed, text)
}

/// Whether the control plane is healthy. `issues`: what EKS reports of it, and whether all of that passes by itself. EKS may be
/// unable to update a cluster with an issue, and reports one up to three hours late.
pub fn control_plane(issues: Option<(&str, bool)>) -> PreflightCheck {
    const NAME: &str = "ControlPlane";
    match issues {
        None => check(NAME, Verdict::Passed, "EKS reports no health issue"),
        Some((why, true)) => check(NAME, Verdict::Warning, why),
        Some((why, false)) => check(NAME, Verdict::Failed, why),
    }
}

/// Health of a node group, as EKS reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeGroupHealth {
    Healthy,
    /// DEGRADED, or health issues.
    Degraded(String),
    /// CREATE_FAILED or DELETE_FAILED.
    Failed(String),
}

/// Whether the node groups are healthy.
pub fn node_groups(groups: &[(String, NodeGroupHealth)]) -> PreflightCheck {
    const NAME: &str = "NodeGroups";
    let of = |wanted: fn(&NodeGroupHealth) -> Option<&String>| -> Vec<String> {
        groups.iter().filter_map(|(name, health)| Some(format!("{name}: {}", wanted(health)?))).collect()
    };
    let failed = of(|health| if let NodeGroupHealth::Failed(why) = health { Some(why) } else { None });
    if !failed.is_empty() {
        return check(
            NAME,
            Verdict::Failed,
            format!("{}; fix the cause, or delete its NodeGroup", join_bounded(&failed)),
        );
    }
    let degraded = of(|health| if let NodeGroupHealth::Degraded(why) = health { Some(why) } else { None });
    if !degraded.is_empty() {
        return check(NAME, Verdict::Warning, join_bounded(&degraded));
    }
    check(NAME, Verdict::Passed, format!("{} node groups, all healthy", groups.len()))
}

/// A node group with an AMI type for which AWS has no AMI of the next version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedAmi {
    pub node_group: String,
    pub ami_type: String,
    /// Its nodes would move to that version by themselves.
    pub moves: bool,
}

/// Whether node groups can follow: their AMI type never changes. `checked`: the number of node groups whose AMI type is
/// known.
pub fn ami_types(checked: usize, unsupported: &[UnsupportedAmi], to: KubernetesVersion) -> PreflightCheck {
    const NAME: &str = "AmiTypes";
    let of = |moves: bool| -> Vec<String> {
        let of = unsupported.iter().filter(|one| one.moves == moves);
        of.map(|one| format!("{} ({})", one.node_group, one.ami_type)).collect()
    };
    let (stuck, kept) = (of(true), of(false));
    if !stuck.is_empty() {
        let text = format!(
            "AWS has no AMI of Kubernetes {to} for node groups {}, so their nodes could not follow: create NodeGroups \
             with another amiType, such as AL2023_x86_64_STANDARD, for their workloads and delete these; or, to keep \
             the nodes for now, set spec.version of each to its current version",
            join_bounded(&stuck)
        );
        return check(NAME, Verdict::Failed, text);
    }
    if !kept.is_empty() {
        let text =
            format!("AWS has no AMI of Kubernetes {to} for node groups {}, which stay behind", join_bounded(&kept));
        return check(NAME, Verdict::Warning, text);
    }
    check(NAME, Verdict::Passed, format!("{checked} node groups have one for which AWS has AMIs of {to}"))
}

/// A PodDisruptionBudget of the cluster that allows no disruption now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Namespace and name.
    pub name: String,
    /// Whether it can never allow one, because it requires all of its Pods.
    pub never: bool,
}

/// Whether nodes can be drained. `budgets`: those that allow no disruption now; `None`: they could not be read.
/// `replaced`: whether the upgrade replaces nodes and respects the budgets.
pub fn disruption_budgets(budgets: Option<&[Budget]>, replaced: bool) -> PreflightCheck {
    const NAME: &str = "PodDisruptionBudgets";
    if !replaced {
        return check(NAME, Verdict::Passed, "no nodes are drained, or only by force");
    }
    let Some(budgets) = budgets else {
        return check(NAME, Verdict::Unknown, "the workload cluster could not be read");
    };
    let of = |never: bool| -> Vec<String> {
        budgets.iter().filter(|budget| budget.never == never).map(|budget| budget.name.clone()).collect()
    };
    let (never, now) = (of(true), of(false));
    if !never.is_empty() {
        let todo = "nodes with their Pods could not be drained; let each allow one disruption";
        return check(
            NAME,
            Verdict::Failed,
            format!("these can never allow a disruption: {}; {todo}", join_bounded(&never)),
        );
    }
    if !now.is_empty() {
        return check(NAME, Verdict::Warning, format!("these allow no disruption now: {}", join_bounded(&now)));
    }
    check(NAME, Verdict::Passed, "all allow a disruption")
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
