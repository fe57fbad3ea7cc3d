//! Which rollout selects a cluster, by its labels. What cannot be decided selects: it blocks. Pure.

use std::collections::BTreeMap;

use crate::api::fleet_rollout::{FleetRolloutSpec, LabelOperator, LabelRequirement, LabelSelector};
use crate::api::fleet_rollout_status::FleetRolloutStatus;

/// A FleetRollout.
#[derive(Clone, Copy, Debug)]
pub struct Rollout<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its spec.
    pub spec: &'a FleetRolloutSpec,
    /// Its status.
    pub status: &'a FleetRolloutStatus,
}

/// All FleetRollouts.
#[derive(Clone, Debug)]
pub enum Rollouts<'a> {
    /// They are not listed yet.
    Unlisted,
    /// All of them.
    Listed {
        /// Those that can be read.
        readable: Vec<Rollout<'a>>,
        /// The names of those that cannot be read.
        unreadable: Vec<String>,
    },
}

/// What selects a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// No rollout.
    None,
    /// One rollout, by its name.
    One(&'a str),
    /// More than one.
    Several(Vec<&'a str>),
    /// It is not known: why, and what to do.
    Unknown(String),
}

impl<'a> Rollouts<'a> {
    /// The rollout of that name.
    pub fn get(&self, name: &str) -> Option<&Rollout<'a>> {
        match self {
            Self::Unlisted => None,
            Self::Listed { readable, .. } => readable.iter().find(|rollout| rollout.name == name),
        }
    }

    /// What selects a cluster with these labels.
    pub fn selection(&self, labels: &BTreeMap<String, String>) -> Selection<'a> {
        let Self::Listed { readable, unreadable } = self else {
            return Selection::Unknown(super::ask::UNLISTED.to_owned());
        };
        if let Some(name) = unreadable.first() {
            return Selection::Unknown(format!(
                "FleetRollout {name} cannot be read, and may select this cluster: correct it, or delete it"
            ));
        }
        let mut selected = Vec::new();
        for rollout in readable {
            match selects(&rollout.spec.cluster_selector, labels) {
                Ok(true) => selected.push(rollout.name),
                Ok(false) => {}
                Err(why) => {
                    return Selection::Unknown(format!(
                        "FleetRollout {} may select this cluster: its spec.clusterSelector is invalid: {why}",
                        rollout.name
                    ));
                }
            }
        }
        match selected.as_slice() {
            [] => Selection::None,
            [name] => Selection::One(name),
            several => Selection::Several(several.to_vec()),
        }
    }
}

/// Whether a selector selects these labels.
///
/// # Errors
/// The selector has a requirement that Kubernetes does not allow.
pub fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Result<bool, String> {
    let mut all = selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
    for requirement in &selector.match_expressions {
        all &= is_met(requirement, labels)?;
    }
    Ok(all)
}

fn is_met(requirement: &LabelRequirement, labels: &BTreeMap<String, String>) -> Result<bool, String> {
    let LabelRequirement { key, operator, values } = requirement;
    let needs_values = matches!(operator, LabelOperator::In | LabelOperator::NotIn);
    if key.is_empty() || needs_values == values.is_empty() {
        return Err(format!("the requirement of label {key:?} has no key, or {} values", values.len()));
    }
    let value = labels.get(key);
    Ok(match operator {
        LabelOperator::In => value.is_some_and(|value| values.contains(value)),
        LabelOperator::NotIn => value.is_none_or(|value| !values.contains(value)),
        LabelOperator::Exists => value.is_some(),
        LabelOperator::DoesNotExist => value.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn spec(selector: Value) -> FleetRolloutSpec {
        serde_json::from_value(json!({"clusterSelector": selector, "waves": [{"name": "all"}]})).unwrap()
    }

    #[test]
    fn selector_works_as_in_kubernetes() {
        let table = [
            (json!({}), "", true),
            (json!({"matchLabels": {"a": "1"}}), "a=1,b=2", true),
            (json!({"matchLabels": {"a": "1", "b": "1"}}), "a=1,b=2", false),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["0", "1"]}]}), "a=1", true),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["0"]}]}), "a=1", false),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), "b=1", true),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), "a=1", false),
            (json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}), "a=1", true),
            (json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), "a=1", false),
        ];
        for (selector, text, expected) in table {
            let parsed = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(selects(&parsed, &labels(text)), Ok(expected), "{selector} {text}");
        }
    }

    #[test]
    fn what_cannot_be_decided_is_unknown_and_names_the_rollout() {
        let status = FleetRolloutStatus::default();
        let (all, prod) = (spec(json!({})), spec(json!({"matchLabels": {"ring": "prod"}})));
        let broken = spec(json!({"matchExpressions": [{"key": "a", "operator": "In"}]}));
        let rollout = |name, spec| Rollout { name, spec, status: &status };
        let listed = |readable| Rollouts::Listed { readable, unreadable: Vec::new() };
        let of = labels("ring=prod");
        assert_eq!(listed(vec![]).selection(&of), Selection::None);
        assert_eq!(listed(vec![rollout("prod", &prod)]).selection(&of), Selection::One("prod"));
        let both = listed(vec![rollout("all", &all), rollout("prod", &prod)]);
        assert_eq!(both.selection(&of), Selection::Several(vec!["all", "prod"]));
        let unknown = |rollouts: &Rollouts<'_>, word: &str| match rollouts.selection(&of) {
            Selection::Unknown(why) => assert!(why.contains(word), "{why}"),
            other => panic!("{other:?}"),
        };
        unknown(&listed(vec![rollout("prod", &prod), rollout("b", &broken)]), "FleetRollout b");
        unknown(&Rollouts::Listed { readable: Vec::new(), unreadable: vec!["x".into()] }, "FleetRollout x");
        unknown(&Rollouts::Unlisted, "listed");
    }
}
