//! Which points of its life a cluster has reached. Pure.

use crate::api::KubernetesVersion;
use crate::api::fleet_rollout::Gate;
use crate::api::hook::{HookPoint, HookState, HookStatus};

/// A point of the cluster's life that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The point.
    pub point: HookPoint,
    /// The step before or after which it is.
    pub step: String,
}

impl Moment {
    /// The point of a step.
    pub fn new(point: HookPoint, step: impl Into<String>) -> Self {
        Self { point, step: step.into() }
    }

    /// The versions from which and to which the step leads, as far as it has any.
    pub fn versions(&self) -> (Option<&str>, Option<&str>) {
        match self.step.split_once("->") {
            Some((from, to)) => (Some(from), Some(to)),
            None if self.step.starts_with(|c: char| c.is_ascii_digit()) => (None, Some(self.step.as_str())),
            None => (None, None),
        }
    }

    /// Whether `entry` is of this point and step, and counts.
    pub fn is_of(&self, entry: &HookStatus) -> bool {
        !entry.closed && entry.at == self.point && entry.step == self.step
    }
}

/// What is known of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeFacts {
    /// Version of the control plane.
    pub version: KubernetesVersion,
    /// Version in the spec.
    pub goal: KubernetesVersion,
    /// Whether EKS is changing the control plane's version.
    pub is_changing: bool,
    /// The versions of node group steps that remain.
    pub node_groups_to: Vec<KubernetesVersion>,
    /// Whether any step remains, also one of add-ons.
    pub has_steps: bool,
    /// The step that begins next, if nothing but hooks holds it.
    pub next: Option<(Gate, KubernetesVersion)>,
}

fn parse(step: &str) -> Option<(KubernetesVersion, KubernetesVersion)> {
    let (from, to) = step.split_once("->")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// What has become of the step of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepState {
    /// It has not begun, or is in progress.
    Ahead,
    /// It is done.
    Reached,
    /// It will not be done.
    Abandoned,
}

impl UpgradeFacts {
    /// `None`: the entry is not of an upgrade.
    fn state_of(&self, entry: &HookStatus) -> Option<StepState> {
        Some(match entry.at {
            HookPoint::BeforeControlPlane | HookPoint::AfterControlPlane => {
                let Some((from, to)) = parse(&entry.step) else { return Some(StepState::Abandoned) };
                match self.version {
                    _ if self.version >= to => StepState::Reached,
                    at if at == from && (self.goal >= to || self.is_changing) => StepState::Ahead,
                    _ => StepState::Abandoned,
                }
            }
            HookPoint::BeforeUpgrade | HookPoint::AfterUpgrade => {
                let Some((_, to)) = parse(&entry.step) else { return Some(StepState::Abandoned) };
                // What has begun after an upgrade is not given up for the next edit, which waits for it.
                let has_begun = entry.at == HookPoint::AfterUpgrade && entry.state != HookState::Pending;
                let is_there = self.version == to;
                match self.goal == to {
                    true if is_there && (has_begun || !self.has_steps) => StepState::Reached,
                    true => StepState::Ahead,
                    false if has_begun && is_there && self.goal > to => StepState::Reached,
                    false => StepState::Abandoned,
                }
            }
            HookPoint::BeforeNodeGroups | HookPoint::AfterNodeGroups => {
                let Ok(to) = entry.step.parse::<KubernetesVersion>() else { return Some(StepState::Abandoned) };
                match self.node_groups_to.contains(&to) {
                    true => StepState::Ahead,
                    false if self.version >= to => StepState::Reached,
                    false => StepState::Abandoned,
                }
            }
            HookPoint::BeforeCreate | HookPoint::AfterCreate | HookPoint::BeforeDelete => return None,
        })
    }
}

/// Whether the point is one of an upgrade.
pub fn is_of_upgrade(point: HookPoint) -> bool {
    !matches!(point, HookPoint::BeforeCreate | HookPoint::AfterCreate | HookPoint::BeforeDelete)
}

/// Whether the point comes after a step.
pub(super) fn is_after(point: HookPoint) -> bool {
    matches!(
        point,
        HookPoint::AfterCreate | HookPoint::AfterUpgrade | HookPoint::AfterControlPlane | HookPoint::AfterNodeGroups
    )
}

/// Closes the entries of an upgrade whose step is over, and drops those whose point will not come. `passes`: whether an entry keeps
/// nothing from beginning.
pub fn settle(entries: &[HookStatus], facts: &UpgradeFacts, passes: impl Fn(&HookStatus) -> bool) -> Vec<HookStatus> {
    let settled = entries.iter().filter_map(|entry| {
        let mut entry = entry.clone();
        if entry.closed {
            return Some(entry);
        }
        match (facts.state_of(&entry), is_after(entry.at)) {
            (None | Some(StepState::Ahead), _) => {}
            (Some(StepState::Reached), true) => entry.closed = passes(&entry),
            // A running Job belongs to a step that is over: it is observed to its end, or deleted with the entry.
            (Some(StepState::Abandoned), _) if entry.state == HookState::Pending => return None,
            (Some(StepState::Reached), false) | (Some(StepState::Abandoned), _) => entry.closed = true,
        }
        Some(entry)
    });
    settled.collect()
}

/// The points of an upgrade that the cluster has reached, in the order in which their hooks run.
pub fn moments(entries: &[HookStatus], facts: &UpgradeFacts) -> Vec<Moment> {
    let mut all: Vec<Moment> = Vec::new();
    // What comes after a step comes before the next one.
    for point in [HookPoint::AfterControlPlane, HookPoint::AfterNodeGroups, HookPoint::AfterUpgrade] {
        let due = entries
            .iter()
            .filter(|entry| !entry.closed && entry.at == point && facts.state_of(entry) == Some(StepState::Reached));
        for entry in due {
            let moment = Moment::new(point, entry.step.clone());
            if !all.contains(&moment) {
                all.push(moment);
            }
        }
    }
    match facts.next {
        Some((Gate::ControlPlane, to)) => {
            all.push(before_upgrade(entries, facts));
            all.push(Moment::new(HookPoint::BeforeControlPlane, format!("{}->{to}", facts.version)));
        }
        Some((Gate::NodeGroups, to)) => {
            // Node groups that are too old for the next control plane are the first step of an edit.
            if facts.goal > facts.version {
                all.push(before_upgrade(entries, facts));
            }
            all.push(Moment::new(HookPoint::BeforeNodeGroups, to.to_string()));
        }
        #[allow(unreachable_patterns, reason = "gates of other kinds have no hooks")]
        Some(_) | None => {}
    }
    all
}

/// The point before the first step of this edit of the version: the one that is recorded, also once some of its steps are done.
fn before_upgrade(entries: &[HookStatus], facts: &UpgradeFacts) -> Moment {
    let of = |point: HookPoint| entries.iter().filter(move |entry| !entry.closed && entry.at == point);
    let mut known = of(HookPoint::AfterUpgrade).chain(of(HookPoint::BeforeUpgrade)).map(|entry| entry.step.clone());
    let step = known.find(|step| parse(step).is_some_and(|(_, to)| to == facts.goal));
    Moment::new(HookPoint::BeforeUpgrade, step.unwrap_or_else(|| format!("{}->{}", facts.version, facts.goal)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::entry::tests::entry;

    fn version(text: &str) -> KubernetesVersion {
        text.parse().unwrap()
    }

    fn facts(at: &str, goal: &str) -> UpgradeFacts {
        let next = (at != goal).then(|| (Gate::ControlPlane, version(at).next()));
        UpgradeFacts {
            version: version(at),
            goal: version(goal),
            is_changing: false,
            node_groups_to: Vec::new(),
            has_steps: at != goal,
            next,
        }
    }

    fn steps(entries: &[HookStatus], facts: &UpgradeFacts) -> Vec<String> {
        moments(entries, facts).iter().map(|moment| format!("{} {}", moment.point, moment.step)).collect()
    }

    #[test]
    fn upgrade_by_two_comes_to_each_point_once_a_minor() {
        let upgrade = [entry("a", HookPoint::BeforeUpgrade, "1.33->1.35", HookState::Succeeded)];
        assert_eq!(steps(&[], &facts("1.33", "1.35")), ["BeforeUpgrade 1.33->1.35", "BeforeControlPlane 1.33->1.34"]);
        let after = entry("a", HookPoint::AfterControlPlane, "1.33->1.34", HookState::Pending);
        let all = [upgrade.as_slice(), &[after]].concat();
        assert_eq!(steps(&all, &facts("1.33", "1.35"))[..1], ["BeforeUpgrade 1.33->1.35"], "not there yet");
        assert_eq!(
            steps(&all, &facts("1.34", "1.35")),
            ["AfterControlPlane 1.33->1.34", "BeforeUpgrade 1.33->1.35", "BeforeControlPlane 1.34->1.35"]
        );
    }

    #[test]
    fn entries_of_a_step_that_is_over_no_longer_count() {
        let settled = |entry: &HookStatus, facts: &UpgradeFacts| {
            settle(std::slice::from_ref(entry), facts, |entry| entry.state == HookState::Succeeded)
        };
        let before = entry("a", HookPoint::BeforeControlPlane, "1.33->1.34", HookState::Succeeded);
        assert!(!settled(&before, &facts("1.33", "1.35"))[0].closed);
        assert!(settled(&before, &facts("1.34", "1.35"))[0].closed);
        assert!(settled(&before, &facts("1.33", "1.33"))[0].closed, "the edit was reverted");
        let after = entry("a", HookPoint::AfterControlPlane, "1.33->1.34", HookState::Pending);
        assert_eq!(settled(&after, &facts("1.34", "1.35")), std::slice::from_ref(&after), "it is due");
        assert_eq!(settled(&after, &facts("1.33", "1.33")), [], "it will not come");
        let changing = UpgradeFacts { is_changing: true, ..facts("1.33", "1.33") };
        assert_eq!(settled(&after, &changing), std::slice::from_ref(&after), "EKS is at it");
        let failed = HookStatus { state: HookState::Failed, ..after.clone() };
        assert!(!settled(&failed, &facts("1.34", "1.34"))[0].closed, "what failed holds the next step");
        assert!(settled(&failed, &facts("1.33", "1.33"))[0].closed, "it was rolled back");
        let done = HookStatus { state: HookState::Succeeded, ..after };
        assert!(settled(&done, &facts("1.34", "1.34"))[0].closed);
    }

    #[test]
    fn another_goal_is_another_upgrade() {
        let before = entry("a", HookPoint::BeforeUpgrade, "1.33->1.34", HookState::Succeeded);
        let other = facts("1.33", "1.35");
        let settled = settle(&[before], &other, |_| true);
        assert!(settled[0].closed);
        assert_eq!(steps(&settled, &other)[0], "BeforeUpgrade 1.33->1.35");
    }

    #[test]
    fn node_groups_have_their_own_points() {
        let to = version("1.34");
        let ahead = UpgradeFacts {
            node_groups_to: vec![to],
            has_steps: true,
            next: Some((Gate::NodeGroups, to)),
            ..facts("1.34", "1.34")
        };
        assert_eq!(steps(&[], &ahead), ["BeforeNodeGroups 1.34"]);
        let after = entry("a", HookPoint::AfterNodeGroups, "1.34", HookState::Pending);
        assert_eq!(steps(std::slice::from_ref(&after), &ahead), ["BeforeNodeGroups 1.34"]);
        assert_eq!(steps(&[after], &facts("1.34", "1.34")), ["AfterNodeGroups 1.34"]);
    }

    #[test]
    fn what_has_begun_after_an_upgrade_holds_the_next_edit() {
        let table = [
            (HookState::Pending, "dropped"),
            (HookState::Running, "AfterUpgrade 1.33->1.34"),
            (HookState::Failed, "AfterUpgrade 1.33->1.34"),
            (HookState::Succeeded, "closed"),
        ];
        let next = facts("1.34", "1.35");
        for (state, expected) in table {
            let after = entry("a", HookPoint::AfterUpgrade, "1.33->1.34", state);
            let settled = settle(&[after], &next, |entry| entry.state == HookState::Succeeded);
            let found = match settled.as_slice() {
                [] => "dropped".to_owned(),
                [entry] if entry.closed => "closed".to_owned(),
                all => steps(all, &next)[0].clone(),
            };
            assert_eq!(found, expected, "{state:?}");
        }
        let failed = entry("a", HookPoint::AfterUpgrade, "1.33->1.34", HookState::Failed);
        assert!(settle(&[failed], &facts("1.34", "1.33"), |_| false)[0].closed, "it is rolled back");
    }

    #[test]
    fn upgrade_that_begins_with_node_groups_has_its_point_before_them() {
        let to = version("1.33");
        let old =
            UpgradeFacts { node_groups_to: vec![to], next: Some((Gate::NodeGroups, to)), ..facts("1.33", "1.34") };
        assert_eq!(steps(&[], &old), ["BeforeUpgrade 1.33->1.34", "BeforeNodeGroups 1.33"]);
    }

    #[test]
    fn step_says_its_versions() {
        let of = |step: &str| {
            let moment = Moment::new(HookPoint::BeforeCreate, step);
            let (from, to) = moment.versions();
            (from.map(str::to_owned), to.map(str::to_owned))
        };
        assert_eq!(of("1.33->1.34"), (Some("1.33".into()), Some("1.34".into())));
        assert_eq!(of("1.34"), (None, Some("1.34".into())));
        assert_eq!(of("create"), (None, None));
    }
}
