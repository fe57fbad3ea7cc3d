//! Whether a person has approved what a cluster begins when it gets its turn. Pure.

use super::upgrade_status::steps_of;
use crate::api::KubernetesVersion;
use crate::api::status_cluster::PlanStatus;
use crate::controllers::approvals::execution_policy::parse_step;
use crate::engine::ExecutionPolicy;
use crate::engine::execution_policy::Approved;
use crate::upgrade::{Decision, Step};

/// Whether the next control plane step is approved, with the add-on updates before it: they are one step of a FleetRollout, and one that
/// waits for a person in its middle would keep its slot. Node groups have plans of their own. `plan`: the last one in status.
pub fn is_control_plane_approved(decision: &Decision, plan: Option<&PlanStatus>) -> bool {
    let approved = approved_steps(plan);
    let mut needed = Approved::default();
    for step in &decision.remaining_steps {
        needed.extend(ids_of(step));
        match step {
            Step::Addons { .. } => {}
            Step::ControlPlane { .. } | Step::Rollback { .. } => return needed.is_subset(&approved),
            Step::NodeGroups { .. } => return true,
        }
    }
    true
}

/// Whether the next step is one of the control plane's step to `to`, which a cluster has claimed: it, or an add-on update before it.
pub fn begins_with(decision: &Decision, to: KubernetesVersion) -> bool {
    match decision.remaining_steps.first() {
        Some(Step::Addons { minor, .. }) => *minor == to,
        Some(Step::ControlPlane { to: next, .. }) => *next == to,
        Some(Step::Rollback { .. } | Step::NodeGroups { .. }) | None => false,
    }
}

/// Whether the control plane's step to `to`, and what of the cluster itself comes before it, is approved. Node groups have plans of their
/// own.
pub fn is_approved_up_to(decision: &Decision, to: KubernetesVersion, plan: Option<&PlanStatus>) -> bool {
    let steps = &decision.remaining_steps;
    let of_step = |step: &Step| matches!(step, Step::ControlPlane { to: next, .. } if *next == to);
    let Some(last) = steps.iter().position(of_step) else { return true };
    let own = steps[..=last].iter().filter(|step| !matches!(step, Step::NodeGroups { .. }));
    let needed: Approved = own.flat_map(ids_of).collect();
    needed.is_subset(&approved_steps(plan))
}

fn approved_steps(plan: Option<&PlanStatus>) -> Approved {
    plan.iter().flat_map(|plan| &plan.approved).map(parse_step).collect()
}

/// What an approval of `step` contains. No version of a node group is needed: these steps are of the cluster itself.
fn ids_of(step: &Step) -> Approved {
    let mut ids = Approved::default();
    for (key, step) in steps_of(step, &|_: &str| None) {
        ids.extend(ExecutionPolicy::default().ids(&key, &step).into_iter().map(|id| (key.clone(), id)));
    }
    ids
}

/// Whether an add-on update that would begin now is approved: it needs a turn, whatever else of its step waits for a person. `decision`:
/// the one in which no wave holds it.
pub fn may_begin(decision: &Decision, plan: Option<&PlanStatus>) -> bool {
    let Some(step @ Step::Addons { .. }) = decision.remaining_steps.first() else { return false };
    let approved = approved_steps(plan);
    let steps = steps_of(step, &|_: &str| None);
    let mut due = steps.iter().filter(|(key, _)| decision.targets.addons.contains_key(key.name()));
    due.any(|(key, step)| {
        let mut ids = ExecutionPolicy::default().ids(key, step).into_iter();
        ids.all(|id| approved.contains(&(key.clone(), id)))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::status_cluster::ApprovedStep;
    use crate::engine::{Action, Change, Key};
    use crate::upgrade::State;
    use crate::upgrade::decide::Targets;
    use crate::upgrade::remaining_steps::AddonStep;

    fn addons() -> Step {
        let one = |name: &str| AddonStep { name: name.into(), from: "v1".into(), to: "v2".into() };
        Step::Addons { minor: "1.34".parse().unwrap(), moves: vec![one("coredns"), one("vpc-cni")] }
    }

    fn control_plane() -> Step {
        Step::ControlPlane { from: "1.33".parse().unwrap(), to: "1.34".parse().unwrap() }
    }

    fn groups(to: &str) -> Step {
        Step::NodeGroups { to: to.parse().unwrap(), names: vec!["apps".into()] }
    }

    fn decision(remaining_steps: Vec<Step>) -> Decision {
        let at = "1.33".parse().unwrap();
        Decision {
            targets: Targets { control_plane: at, addons: BTreeMap::new(), node_groups: None },
            state: State::Settled,
            path: Vec::new(),
            remaining_steps,
            ahead: Vec::new(),
            due: Vec::new(),
            gated: None,
        }
    }

    #[test]
    fn approved_add_on_that_would_begin_now_needs_a_turn() {
        let coredns = || (Key::named("addon", "coredns"), "v1", "v2");
        let newer = || (Key::named("addon", "vpc-cni"), "v1", "v3");
        let both = || vec![addons(), control_plane()];
        let table = [
            // The plan is approved, and another version of vpc-cni was released since.
            (both(), vec!["coredns"], vec![coredns(), newer()], true),
            (both(), vec!["vpc-cni"], vec![coredns(), newer()], false),
            (both(), vec![], vec![coredns()], false),
            (both(), vec!["coredns", "vpc-cni"], vec![], false),
            // Only what is next begins.
            (vec![control_plane(), addons()], vec!["coredns"], vec![coredns()], false),
        ];
        for (steps, due, approved, expected) in table {
            let mut decision = decision(steps);
            decision.targets.addons = due.iter().map(|name| ((*name).to_owned(), "v2".to_owned())).collect();
            assert_eq!(may_begin(&decision, Some(&plan(&approved))), expected, "{due:?} {approved:?}");
        }
    }

    /// A plan in which these changes of versions are approved.
    fn plan(approved: &[(Key, &str, &str)]) -> PlanStatus {
        let one = |(key, from, to): &(Key, &str, &str)| {
            let changes = vec![Change::in_place("version", *from, *to)];
            let step = crate::engine::Step { action: Action::Update, changes, reason: None };
            let ids = ExecutionPolicy::default().ids(key, &step);
            ids.into_iter().map(|id| ApprovedStep { resource: key.to_string(), id: id.to_string() }).collect::<Vec<_>>()
        };
        PlanStatus { approved: approved.iter().flat_map(one).collect(), ..PlanStatus::default() }
    }

    #[test]
    fn claimed_step_needs_its_own_approval_behind_node_groups_and_add_ons_of_the_same_version() {
        let same_minor = || Step::Addons {
            minor: "1.33".parse().unwrap(),
            moves: vec![AddonStep { name: "coredns".into(), from: "v1".into(), to: "v2".into() }],
        };
        let coredns = || (Key::named("addon", "coredns"), "v1", "v2");
        let cluster = |from, to| (Key::single("cluster"), from, to);
        let later = || Step::ControlPlane { from: "1.34".parse().unwrap(), to: "1.35".parse().unwrap() };
        let all = || vec![same_minor(), groups("1.33"), control_plane(), groups("1.34"), later()];
        let table = [
            (all(), vec![coredns()], false),
            (all(), vec![cluster("1.33", "1.34")], false),
            (all(), vec![coredns(), cluster("1.33", "1.34")], true),
            (vec![groups("1.33"), control_plane()], vec![], false),
            (vec![groups("1.33"), control_plane()], vec![cluster("1.33", "1.34")], true),
            (vec![groups("1.34"), later()], vec![], true),
        ];
        let to = "1.34".parse().unwrap();
        for (steps, approved, expected) in table {
            let found = is_approved_up_to(&decision(steps.clone()), to, Some(&plan(&approved)));
            assert_eq!(found, expected, "{steps:?} {approved:?}");
        }
        let begins = |steps| begins_with(&decision(steps), to);
        assert!(begins(vec![addons(), control_plane()]) && begins(vec![control_plane()]));
        assert!(!begins(all()) && !begins(vec![groups("1.34")]) && !begins(vec![later()]) && !begins(vec![]));
    }

    #[test]
    fn add_ons_and_control_plane_are_approved_together_before_the_turn() {
        let cluster = || (Key::single("cluster"), "1.33", "1.34");
        let addon = |name: &str| (Key::named("addon", name), "v1", "v2");
        let both = || vec![addons(), control_plane(), groups("1.34")];
        let table = [
            (both(), vec![], false),
            (both(), vec![cluster()], false),
            (both(), vec![addon("coredns"), addon("vpc-cni")], false),
            (both(), vec![addon("coredns"), cluster()], false),
            (both(), vec![addon("coredns"), addon("vpc-cni"), cluster()], true),
            // The add-ons are updated, and their approvals used.
            (vec![control_plane()], vec![cluster()], true),
            (vec![control_plane()], vec![(Key::single("cluster"), "1.32", "1.33")], false),
            // Another version of an add-on was released since.
            (both(), vec![addon("coredns"), (Key::named("addon", "vpc-cni"), "v1", "v3"), cluster()], false),
            // Their own plans are approved.
            (vec![groups("1.33"), addons(), control_plane()], vec![], true),
            (vec![groups("1.34")], vec![], true),
        ];
        for (steps, approved, expected) in table {
            let found = is_control_plane_approved(&decision(steps.clone()), Some(&plan(&approved)));
            assert_eq!(found, expected, "{steps:?} {approved:?}");
        }
        assert!(!is_control_plane_approved(&decision(both()), None));
    }
}
