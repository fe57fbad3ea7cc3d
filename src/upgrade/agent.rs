//! The version of a cluster's GitOps agent: the target version, and whether a change of it may start now. Pure.
//!
//! A newer Keelson bundles a newer agent, and an edit of the spec may request another version. Both are upgrades, and
//! start like Kubernetes upgrades: inside a maintenance window, if any is configured. A first installation is not an
//! upgrade and starts at once.

use std::cmp::Ordering;
use std::fmt;

use super::addons::numbers;
use super::blocks::Hold;
use super::windows::WindowState;

/// The relevant versions of a cluster's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentVersions {
    /// The last version that was applied; `None`: this kind of agent is not installed.
    pub current: Option<String>,
    /// The version in the spec.
    pub named: Option<String>,
    /// The newest version that this Keelson bundles.
    pub bundled: String,
    /// Git owns the agent and its version.
    pub of_git: bool,
}

/// The origin of a version change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOrigin {
    /// The spec requests the version.
    Spec,
    /// The spec requests none, and this Keelson bundles it.
    Keelson,
}

/// A change of the agent's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentUpgrade {
    /// The current version.
    pub from: String,
    /// The target version.
    pub to: String,
    /// The origin of the change.
    pub origin: ChangeOrigin,
}

impl AgentVersions {
    /// The target version. Without a version in the spec it is never lowered: a downgraded Keelson leaves the agent of
    /// the newer one in place.
    pub fn goal(&self) -> &str {
        match (&self.current, &self.named) {
            (Some(current), _) if self.of_git => current,
            (_, Some(named)) => named,
            (Some(current), None) if numbers(current) > numbers(&self.bundled) => current,
            _ => &self.bundled,
        }
    }

    /// The pending change; `None`: there is none, or it is a first installation.
    pub fn upgrade(&self) -> Option<AgentUpgrade> {
        let (from, to) = (self.current.as_ref()?, self.goal());
        let origin = if self.named.is_some() { ChangeOrigin::Spec } else { ChangeOrigin::Keelson };
        (from != to).then(|| AgentUpgrade { from: from.clone(), to: to.to_owned(), origin })
    }
}

impl AgentUpgrade {
    /// Why the change may not start now; `None`: it may, or it already started and must finish. A lower version in the
    /// spec is a remedy and waits for nothing. Other holds on one cluster of a fleet, for example waves, belong here.
    pub fn hold(&self, started: bool, window: &WindowState) -> Option<Hold> {
        let is_remedy = numbers(&self.to).cmp(&numbers(&self.from)) == Ordering::Less;
        match window {
            _ if started || is_remedy => None,
            WindowState::Closed { opens } => Some(Hold::OutsideWindow { opens: opens.clone() }),
            WindowState::Always | WindowState::Open { .. } => None,
        }
    }
}

impl fmt::Display for AgentUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, origin } = self;
        match origin {
            ChangeOrigin::Spec => write!(f, "{from} -> {to}, requested by the spec"),
            ChangeOrigin::Keelson => write!(f, "{from} -> {to}, bundled with this Keelson"),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;

    fn versions(current: &str, named: &str, bundled: &str) -> AgentVersions {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        AgentVersions { current: some(current), named: some(named), bundled: bundled.into(), of_git: false }
    }

    #[test]
    fn goal_is_the_spec_version_or_the_newest() {
        let table = [
            // current, named, bundled, goal
            ("", "", "v2.9.5", "v2.9.5"),
            ("", "v2.7.5", "v2.9.5", "v2.7.5"),
            ("v2.7.5", "", "v2.9.5", "v2.9.5"),
            ("v2.9.5", "v2.7.5", "v2.9.5", "v2.7.5"),
            // An older Keelson was installed again.
            ("v2.10.0", "", "v2.9.5", "v2.10.0"),
            ("v2.10.0", "v2.9.5", "v2.9.5", "v2.9.5"),
            ("unknown", "", "v2.9.5", "v2.9.5"),
        ];
        for (current, named, bundled, goal) in table {
            let versions = versions(current, named, bundled);
            assert_eq!(versions.goal(), goal, "{versions:?}");
            assert_eq!(versions.upgrade().is_some(), !current.is_empty() && current != goal, "{versions:?}");
        }
    }

    #[test]
    fn adopted_agent_is_upgraded_by_git_only() {
        let of_git = AgentVersions { of_git: true, ..versions("v2.7.5", "v2.9.5", "v2.9.5") };
        assert_eq!((of_git.goal(), of_git.upgrade()), ("v2.7.5", None));
    }

    #[test]
    fn upgrade_waits_for_a_window_and_finishes_once_started() {
        let opens = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let closed = WindowState::Closed { opens: Some(opens.clone()) };
        let open = WindowState::Open { closes: opens.clone() };
        for named in ["", "v2.9.5"] {
            let upgrade = versions("v2.7.5", named, "v2.9.5").upgrade().unwrap();
            assert_eq!(upgrade.hold(false, &closed), Some(Hold::OutsideWindow { opens: Some(opens.clone()) }));
            assert_eq!(upgrade.hold(true, &closed), None);
            assert_eq!((upgrade.hold(false, &open), upgrade.hold(false, &WindowState::Always)), (None, None));
        }
    }

    #[test]
    fn downgrade_in_the_spec_waits_for_nothing() {
        let back = versions("v2.9.5", "v2.7.5", "v2.9.5").upgrade().unwrap();
        assert_eq!(back.hold(false, &WindowState::Closed { opens: None }), None);
    }

    #[test]
    fn upgrade_message_has_versions_and_origin() {
        let text = |named| versions("v2.7.5", named, "v2.9.5").upgrade().unwrap().to_string();
        assert_eq!(text(""), "v2.7.5 -> v2.9.5, bundled with this Keelson");
        assert_eq!(text("v2.8.0"), "v2.7.5 -> v2.8.0, requested by the spec");
    }
}
