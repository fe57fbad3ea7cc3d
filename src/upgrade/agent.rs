//! The version of a cluster's GitOps agent: the target version, and whether a change of it may start now. Pure.
//!
//! A newer Keelson bundles a newer agent, and an edit of the spec may request another version. Both are upgrades, and
//! start like Kubernetes upgrades: inside a maintenance window, if any is configured, and when the wave of a FleetRollout
//! is open, if one selects the cluster. A first installation is not an upgrade and starts at once.

use std::cmp::Ordering;
use std::fmt;

use super::addon_versions::numbers;
use super::blocks::Hold;
use super::observation::WaveState;
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
    /// Whether it lowers the version. That is a remedy and waits for nothing.
    pub fn is_remedy(&self) -> bool {
        numbers(&self.to).cmp(&numbers(&self.from)) == Ordering::Less
    }

    /// Why the change may not start now; `None`: it may, or it already started and must finish. The wave is the last
    /// question: a cluster outside its window keeps no other one waiting.
    pub fn hold(&self, started: bool, window: &WindowState, wave: &WaveState) -> Option<Hold> {
        if started || self.is_remedy() {
            return None;
        }
        match (window, wave) {
            (WindowState::Closed { opens }, _) => Some(Hold::OutsideWindow { opens: opens.clone() }),
            (WindowState::Always | WindowState::Open { .. }, WaveState::Free) => None,
            (_, WaveState::Held { halted, message }) => Some(Hold::Wave { halted: *halted, message: message.clone() }),
            (_, WaveState::Hook { failed, message }) => Some(Hold::Hook { failed: *failed, message: message.clone() }),
            (_, WaveState::Blocked { message }) => Some(Hold::Wave { halted: false, message: message.clone() }),
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
    fn upgrade_waits_for_a_window_and_a_wave_and_finishes_once_started() {
        let opens = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let closed = WindowState::Closed { opens: Some(opens.clone()) };
        let open = WindowState::Open { closes: opens.clone() };
        for named in ["", "v2.9.5"] {
            let upgrade = versions("v2.7.5", named, "v2.9.5").upgrade().unwrap();
            let held = WaveState::Held { halted: false, message: "wave prod is not open yet".into() };
            let hold = |started, window: &WindowState, wave: &WaveState| upgrade.hold(started, window, wave);
            assert_eq!(hold(false, &closed, &held), Some(Hold::OutsideWindow { opens: Some(opens.clone()) }));
            assert_eq!((hold(true, &closed, &held), hold(true, &open, &held)), (None, None));
            for window in [&open, &WindowState::Always] {
                assert_eq!(hold(false, window, &WaveState::Free), None);
                let expected = Hold::Wave { halted: false, message: "wave prod is not open yet".into() };
                assert_eq!(hold(false, window, &held), Some(expected));
                let blocked = WaveState::Blocked { message: "no wave selects it".into() };
                assert!(hold(false, window, &blocked).is_some_and(|hold| hold.to_string().contains("no wave")));
            }
        }
    }

    #[test]
    fn downgrade_in_the_spec_waits_for_nothing() {
        let back = versions("v2.9.5", "v2.7.5", "v2.9.5").upgrade().unwrap();
        let held = WaveState::Held { halted: true, message: String::new() };
        assert!(back.is_remedy());
        assert_eq!(back.hold(false, &WindowState::Closed { opens: None }, &held), None);
    }

    #[test]
    fn upgrade_message_has_versions_and_origin() {
        let text = |named| versions("v2.7.5", named, "v2.9.5").upgrade().unwrap().to_string();
        assert_eq!(text(""), "v2.7.5 -> v2.9.5, bundled with this Keelson");
        assert_eq!(text("v2.8.0"), "v2.7.5 -> v2.8.0, requested by the spec");
    }
}
