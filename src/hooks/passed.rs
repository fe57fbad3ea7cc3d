//! Whether hooks have passed, from what status says of them. Pure.

use super::moment::is_after;
use crate::api::KubernetesVersion;
use crate::api::fleet_rollout::Gate;
use crate::api::hook::{Hook, HookFailurePolicy, HookPoint, HookState, HookStatus};

/// Whether an entry keeps nothing from beginning. One whose hook was removed does not.
pub fn passes(hooks: &[Hook], entry: &HookStatus) -> bool {
    let hook = hooks.iter().find(|hook| hook.name == entry.name && hook.at.contains(&entry.at));
    let Some(hook) = hook else { return true };
    match entry.state {
        HookState::Succeeded | HookState::Skipped => true,
        HookState::Failed | HookState::Lost => hook.on_failure == HookFailurePolicy::Continue,
        HookState::Pending | HookState::Intended | HookState::Running => false,
    }
}

/// Whether all hooks before the step of `gate` to `to` have passed, and those after earlier ones, which come first. One before the
/// step that has no entry has not: it has not run yet.
pub fn has_passed_before(hooks: &[Hook], entries: &[HookStatus], gate: Gate, to: KubernetesVersion) -> bool {
    let point = match gate {
        Gate::ControlPlane => HookPoint::BeforeControlPlane,
        Gate::NodeGroups => HookPoint::BeforeNodeGroups,
        Gate::Agent | Gate::Revision => return true,
    };
    let to = to.to_string();
    let is_of_step = |entry: &HookStatus| entry.at == point && entry.step.rsplit("->").next() == Some(to.as_str());
    let open = || entries.iter().filter(|entry| !entry.closed);
    let has_run = |hook: &Hook| open().any(|entry| entry.name == hook.name && is_of_step(entry));
    let have_all_run = hooks.iter().filter(|hook| hook.at.contains(&point)).all(has_run);
    let mut before = open().filter(|entry| match is_after(entry.at) {
        true => entry.state != HookState::Pending,
        false => entry.at == HookPoint::BeforeUpgrade || is_of_step(entry),
    });
    have_all_run && before.all(|entry| passes(hooks, entry))
}

/// Whether a hook before the step of `gate` to `to` has an entry that never let the step begin. One that has failed may have: with
/// `onFailure: Continue`, before that was edited.
pub fn is_waited_for_before(hooks: &[Hook], entries: &[HookStatus], gate: Gate, to: KubernetesVersion) -> bool {
    let point = match gate {
        Gate::ControlPlane => HookPoint::BeforeControlPlane,
        Gate::NodeGroups => HookPoint::BeforeNodeGroups,
        Gate::Agent | Gate::Revision => return false,
    };
    let to = to.to_string();
    let is_of_step = |entry: &HookStatus| entry.at == point && entry.step.rsplit("->").next() == Some(to.as_str());
    let may_have_passed = |entry: &HookStatus| matches!(entry.state, HookState::Failed | HookState::Lost);
    let mut open = entries.iter().filter(|entry| !entry.closed && is_of_step(entry));
    open.any(|entry| !may_have_passed(entry) && !passes(hooks, entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::entry::tests::{entry, hook};

    #[test]
    fn hook_before_a_step_has_passed_only_with_a_success_of_that_step() {
        use HookPoint::{BeforeControlPlane, BeforeNodeGroups, BeforeUpgrade};
        let has_passed = |hooks: &[Hook], entries: &[HookStatus], gate| {
            has_passed_before(hooks, entries, gate, "1.34".parse().unwrap())
        };
        let hooks = [hook("a", &[BeforeUpgrade, BeforeControlPlane])];
        let of = |at, step: &str, state| entry("a", at, step, state);
        let table = [
            (BeforeControlPlane, "1.33->1.34", HookState::Running, false),
            (BeforeControlPlane, "1.33->1.34", HookState::Failed, false),
            (BeforeControlPlane, "1.33->1.34", HookState::Succeeded, true),
            (BeforeControlPlane, "1.33->1.34", HookState::Skipped, true),
            (BeforeControlPlane, "1.32->1.33", HookState::Succeeded, false),
            (BeforeUpgrade, "1.33->1.34", HookState::Succeeded, false),
        ];
        for (at, step, state, expected) in table {
            let found = has_passed(&hooks, &[of(at, step, state)], Gate::ControlPlane);
            assert_eq!(found, expected, "{at} {step} {state:?}");
        }
        let done = of(BeforeControlPlane, "1.33->1.34", HookState::Succeeded);
        let running = of(BeforeUpgrade, "1.33->1.34", HookState::Running);
        assert!(!has_passed(&hooks, &[running, done], Gate::ControlPlane));
        assert!(has_passed(&hooks, &[], Gate::NodeGroups), "it has no hook there");
        let after = [hook("b", &[HookPoint::AfterControlPlane])];
        for (state, expected) in [(HookState::Pending, true), (HookState::Failed, false)] {
            let entry = entry("b", HookPoint::AfterControlPlane, "1.32->1.33", state);
            assert_eq!(has_passed(&after, &[entry], Gate::ControlPlane), expected, "{state:?} after the step before");
        }
        assert!(has_passed(&[], &[], Gate::ControlPlane));
        let groups = [hook("a", &[BeforeNodeGroups])];
        assert!(!has_passed(&groups, &[], Gate::NodeGroups), "it has not run yet");
        assert!(has_passed(&groups, &[of(BeforeNodeGroups, "1.34", HookState::Succeeded)], Gate::NodeGroups));
        let continues = [Hook { on_failure: HookFailurePolicy::Continue, ..groups[0].clone() }];
        assert!(has_passed(&continues, &[of(BeforeNodeGroups, "1.34", HookState::Failed)], Gate::NodeGroups));
    }

    #[test]
    fn step_has_not_begun_while_a_hook_before_it_has_an_entry_that_never_let_it() {
        use HookPoint::{BeforeControlPlane, BeforeNodeGroups};
        let hooks = [hook("a", &[BeforeControlPlane])];
        let waits = |entries: &[HookStatus], gate| is_waited_for_before(&hooks, entries, gate, "1.34".parse().unwrap());
        let of = |at, step: &str, state| entry("a", at, step, state);
        let table = [
            (BeforeControlPlane, "1.33->1.34", HookState::Pending, true),
            (BeforeControlPlane, "1.33->1.34", HookState::Intended, true),
            (BeforeControlPlane, "1.33->1.34", HookState::Running, true),
            // It may have been passed with onFailure: Continue.
            (BeforeControlPlane, "1.33->1.34", HookState::Failed, false),
            (BeforeControlPlane, "1.33->1.34", HookState::Lost, false),
            (BeforeControlPlane, "1.33->1.34", HookState::Succeeded, false),
            (BeforeControlPlane, "1.32->1.33", HookState::Running, false),
            (BeforeNodeGroups, "1.34", HookState::Running, false),
        ];
        for (at, step, state, expected) in table {
            assert_eq!(waits(&[of(at, step, state)], Gate::ControlPlane), expected, "{at} {step} {state:?}");
        }
        // Nothing is known of it: it may be over.
        assert!(!waits(&[], Gate::ControlPlane));
        let closed = HookStatus { closed: true, ..of(BeforeControlPlane, "1.33->1.34", HookState::Running) };
        assert!(!waits(&[closed], Gate::ControlPlane));
    }
}
