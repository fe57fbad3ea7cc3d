//! The policy of a rollout, checked: waves with their limits and times, and the wave of each cluster. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check_policy::CheckPolicy;
use super::membership::selects;
use crate::api::duration;
use crate::api::fleet_rollout::{
    FleetRolloutSpec, Gate, LabelSelector, NotAskedPolicy, Share, UNMATCHED_WAVE, UnmatchedPolicy, Wave, WaveApproval,
};

/// The policy of a rollout.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The steps that wait for their wave.
    pub gates: Vec<Gate>,
    /// Whether nothing new begins.
    pub suspended: bool,
    /// The waves, in order; with `unmatched: Last` one more.
    pub waves: Vec<WavePolicy>,
    /// Clusters that no wave selects.
    pub unmatched: UnmatchedPolicy,
    /// Clusters that do not ask for the version yet.
    pub not_asked: NotAskedPolicy,
}

/// The policy of a wave.
#[derive(Clone, Debug)]
pub struct WavePolicy {
    /// Its name.
    pub name: String,
    selector: Option<LabelSelector>,
    max_concurrent: Limit,
    /// How many clusters may fail.
    pub max_failed: usize,
    /// How long the step of a cluster may take.
    pub deadline: Duration,
    /// How long its clusters must have been healthy.
    pub soak: Duration,
    /// Whether its clusters need an approval.
    pub needs_approval: bool,
    /// What must be good, besides their health.
    pub checks: Vec<CheckPolicy>,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Number(usize),
    Percentage(usize),
}

/// Where a cluster belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the wave of this index.
    Wave(usize),
    /// In no wave, and it waits for none.
    Ungated,
    /// In no wave, so that it is blocked.
    Unmatched,
}

impl Policy {
    /// The policy of a spec.
    ///
    /// # Errors
    /// What is invalid: the schema should have rejected it.
    pub fn of(spec: &FleetRolloutSpec) -> Result<Self, String> {
        // What it selects is checked with no labels: the result does not matter.
        selects(&spec.cluster_selector, &BTreeMap::new()).map_err(|why| format!("spec.clusterSelector: {why}"))?;
        let mut waves = spec.waves.iter().map(WavePolicy::of).collect::<Result<Vec<_>, _>>()?;
        if waves.is_empty() || spec.gates.is_empty() {
            return Err("spec.waves and spec.gates need an entry each".to_owned());
        }
        for (at, wave) in waves.iter().enumerate() {
            if waves.iter().take(at).any(|other| other.name == wave.name) || wave.name == UNMATCHED_WAVE {
                return Err(format!("spec.waves: the name {} is used twice or reserved", wave.name));
            }
        }
        if spec.unmatched == UnmatchedPolicy::Last {
            waves.push(WavePolicy::unmatched());
        }
        Ok(Self {
            gates: spec.gates.clone(),
            suspended: spec.suspend,
            waves,
            unmatched: spec.unmatched,
            not_asked: spec.not_asked,
        })
    }

    /// Where a cluster with these labels belongs.
    pub fn placement(&self, labels: &BTreeMap<String, String>) -> Placement {
        let selected = |wave: &WavePolicy| match &wave.selector {
            // It was checked with the policy.
            Some(selector) => selects(selector, labels).unwrap_or(false),
            None => true,
        };
        match (self.waves.iter().position(selected), self.unmatched) {
            (Some(index), _) => Placement::Wave(index),
            (None, UnmatchedPolicy::Ungated) => Placement::Ungated,
            (None, UnmatchedPolicy::Block | UnmatchedPolicy::Last) => Placement::Unmatched,
        }
    }

    /// Whether there is a wave of that name.
    pub fn has_wave(&self, name: &str) -> bool {
        self.waves.iter().any(|wave| wave.name == name)
    }
}

impl WavePolicy {
    fn of(wave: &Wave) -> Result<Self, String> {
        let name = &wave.name;
        let time = |field: &str, text: &str| {
            duration::parse(text).ok_or_else(|| format!("spec.waves: {field} of {name}: {}", duration::refusal(text)))
        };
        selects(&wave.selector, &BTreeMap::new()).map_err(|why| format!("spec.waves: selector of {name}: {why}"))?;
        let max_concurrent = Limit::of(&wave.max_concurrent)
            .ok_or_else(|| format!("spec.waves: maxConcurrent of {name} must be a number from 1, or a percentage"))?;
        Ok(Self {
            name: name.clone(),
            selector: Some(wave.selector.clone()),
            max_concurrent,
            max_failed: usize::try_from(wave.max_failed).unwrap_or_default(),
            deadline: time("progressDeadline", &wave.progress_deadline)?,
            soak: time("soak", &wave.soak)?,
            needs_approval: wave.approval == WaveApproval::Required,
            checks: WavePolicy::checks(wave)?,
        })
    }

    /// The wave of clusters that no other one selects: with the defaults of a wave.
    fn unmatched() -> Self {
        Self {
            name: UNMATCHED_WAVE.to_owned(),
            selector: None,
            max_concurrent: Limit::Number(1),
            max_failed: 0,
            deadline: Duration::from_secs(3 * 3600),
            soak: Duration::ZERO,
            needs_approval: false,
            checks: Vec::new(),
        }
    }

    fn checks(wave: &Wave) -> Result<Vec<CheckPolicy>, String> {
        let name = &wave.name;
        let checks: Result<Vec<_>, _> = wave.checks.iter().map(CheckPolicy::of).collect();
        let checks = checks.map_err(|why| format!("spec.waves: checks of {name}: {why}"))?;
        for (at, check) in checks.iter().enumerate() {
            if checks.iter().take(at).any(|other| other.name == check.name) {
                return Err(format!("spec.waves: checks of {name}: the name {} is used twice", check.name));
            }
        }
        Ok(checks)
    }

    /// How many of `members` clusters may be upgraded at the same time.
    pub fn max_concurrent(&self, members: usize) -> usize {
        match self.max_concurrent {
            Limit::Number(number) => number,
            Limit::Percentage(percentage) => (members * percentage / 100).max(1),
        }
    }
}

impl Limit {
    fn of(share: &Share) -> Option<Self> {
        match share {
            Share::Number(number) => Some(Self::Number(usize::try_from(*number).ok()?)),
            Share::Percentage(text) => Some(Self::Percentage(text.strip_suffix('%')?.parse().ok()?)),
        }
        .filter(|limit| match limit {
            Self::Number(number) => *number >= 1,
            Self::Percentage(percentage) => (1..=100).contains(percentage),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(waves: Value) -> Result<Policy, String> {
        let spec = json!({"clusterSelector": {}, "waves": waves, "unmatched": "Last"});
        Policy::of(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn percentage_is_rounded_down_to_at_least_one() {
        let limit = |share: Value, members| {
            policy(json!([{"name": "a", "maxConcurrent": share}])).unwrap().waves[0].max_concurrent(members)
        };
        assert_eq!(limit(json!("10%"), 39), 3);
        assert_eq!(limit(json!("10%"), 9), 1);
        assert_eq!(limit(json!("10%"), 0), 1);
        assert_eq!(limit(json!(7), 3), 7);
        for bad in [json!(0), json!("0%"), json!("101%"), json!("5"), json!("-1%")] {
            assert!(policy(json!([{"name": "a", "maxConcurrent": bad}])).is_err(), "{bad}");
        }
    }

    #[test]
    fn first_wave_that_selects_a_cluster_is_its_own() {
        let policy = policy(json!([
            {"name": "canary", "selector": {"matchLabels": {"ring": "0"}}},
            {"name": "early", "selector": {"matchExpressions": [{"key": "ring", "operator": "In", "values": ["0", "1"]}]}},
        ]))
        .unwrap();
        let place = |ring: &str| policy.placement(&BTreeMap::from([("ring".to_owned(), ring.to_owned())]));
        assert_eq!(place("0"), Placement::Wave(0));
        assert_eq!(place("1"), Placement::Wave(1));
        assert_eq!(place("2"), Placement::Wave(2), "unmatched: Last");
    }

    #[test]
    fn invalid_policy_is_refused_with_its_field() {
        let refused = |waves: Value, word: &str| {
            let why = policy(waves).unwrap_err();
            assert!(why.contains(word), "{why}");
        };
        refused(json!([]), "spec.waves");
        refused(json!([{"name": "a"}, {"name": "a"}]), "used twice");
        refused(json!([{"name": "unmatched"}]), "reserved");
        refused(json!([{"name": "a", "soak": "soon"}]), "soak of a");
        refused(
            json!([{"name": "a", "selector": {"matchExpressions": [{"key": "x", "operator": "In"}]}}]),
            "selector of a",
        );
    }
}
