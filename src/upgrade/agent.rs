//! The version of a cluster's GitOps agent: which one it is to have, and whether a change of it may begin now. Pure.
//!
//! A newer Keelson brings a newer agent, and an edit of the spec may ask for another one. Both are upgrades, and begin as those of
//! Kubernetes do: in a maintenance window where there are any. A first installation is none, and goes at once.

use std::cmp::Ordering;
use std::fmt;

use super::addons::numbers;
use super::blocks::Hold;
use super::windows::WindowState;

/// The versions that there are of one cluster's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentVersions {
    /// The one that it was last brought to; `None`: there is no agent of this kind yet.
    pub current: Option<String>,
    /// The one that the spec names.
    pub named: Option<String>,
    /// The newest that this Keelson brings.
    pub bundled: String,
    /// Git owns the agent: its version is Git's.
    pub of_git: bool,
}

/// Who asks for another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The spec names it.
    Spec,
    /// The spec names none, and this Keelson brings it.
    Keelson,
}

/// A change of the agent's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentUpgrade {
    /// What it has.
    pub from: String,
    /// What it is to have.
    pub to: String,
    /// Who asks for it.
    pub asker: Asker,
}

impl AgentVersions {
    /// The version that it is to have. One that nobody names is never lowered: an older Keelson, put back in place of a newer one,
    /// leaves what that brought.
    pub fn goal(&self) -> &str {
        match (&self.current, &self.named) {
            (Some(current), _) if self.of_git => current,
            (_, Some(named)) => named,
            (Some(current), None) if numbers(current) > numbers(&self.bundled) => current,
            _ => &self.bundled,
        }
    }

    /// The change that is to be made; `None`: there is none, or it is a first installation.
    pub fn upgrade(&self) -> Option<AgentUpgrade> {
        let (from, to) = (self.current.as_ref()?, self.goal());
        let asker = if self.named.is_some() { Asker::Spec } else { Asker::Keelson };
        (from != to).then(|| AgentUpgrade { from: from.clone(), to: to.to_owned(), asker })
    }
}

impl AgentUpgrade {
    /// Why it may not begin now; `None`: it may, or has begun and is finished. A lower version that the spec names is a remedy, and waits
    /// for nothing. What else is to hold back the upgrade of one cluster among many, as a wave does, belongs here.
    pub fn hold(&self, begun: bool, window: &WindowState) -> Option<Hold> {
        let is_remedy = numbers(&self.to).cmp(&numbers(&self.from)) == Ordering::Less;
        match window {
            _ if begun || is_remedy => None,
            WindowState::Closed { opens } => Some(Hold::OutsideWindow { opens: opens.clone() }),
            WindowState::Always | WindowState::Open { .. } => None,
        }
    }
}

impl fmt::Display for AgentUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, asker } = self;
        match asker {
            Asker::Spec => write!(f, "{from} -> {to}, which the spec names"),
            Asker::Keelson => write!(f, "{from} -> {to}, which this Keelson brings"),
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
    fn the_goal_is_what_the_spec_names_and_else_the_newest_there_is() {
        let table = [
            // current, named, bundled, goal
            ("", "", "v2.9.5", "v2.9.5"),
            ("", "v2.7.5", "v2.9.5", "v2.7.5"),
            ("v2.7.5", "", "v2.9.5", "v2.9.5"),
            ("v2.9.5", "v2.7.5", "v2.9.5", "v2.7.5"),
            // An older Keelson was put back.
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
    fn what_git_owns_is_upgraded_by_git_alone() {
        let of_git = AgentVersions { of_git: true, ..versions("v2.7.5", "v2.9.5", "v2.9.5") };
        assert_eq!((of_git.goal(), of_git.upgrade()), ("v2.7.5", None));
    }

    #[test]
    fn an_upgrade_waits_for_a_window_whoever_asks_and_is_finished_once_begun() {
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
    fn back_to_a_version_that_the_spec_names_waits_for_nothing() {
        let back = versions("v2.9.5", "v2.7.5", "v2.9.5").upgrade().unwrap();
        assert_eq!(back.hold(false, &WindowState::Closed { opens: None }), None);
    }

    #[test]
    fn a_person_reads_from_where_to_where_and_who_asks() {
        let told = |named| versions("v2.7.5", named, "v2.9.5").upgrade().unwrap().to_string();
        assert_eq!(told(""), "v2.7.5 -> v2.9.5, which this Keelson brings");
        assert_eq!(told("v2.8.0"), "v2.7.5 -> v2.8.0, which the spec names");
    }
}
