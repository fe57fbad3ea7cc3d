//! How an add-on differs from the spec. Pure.

use std::collections::BTreeSet;

use super::addon::Addon;
use crate::aws::tags::Tags;
use crate::engine::{Change, Observation, Phase};
use crate::resources::graph::ownership;

/// What Keelson observes of an add-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    pub(crate) version: String,
    pub(crate) configuration: Option<serde_json::Value>,
    pub(crate) service_account_role_arn: Option<String>,
    /// Roles through pod identity; read only if the spec sets one.
    pub(crate) pod_identity_roles: BTreeSet<String>,
    pub(crate) tags: Tags,
    /// The add-on has no owner tag, but the spec lists it in a cluster that this object owns: it gets our tags.
    pub(crate) untagged: bool,
}

impl Addon {
    /// The settings in the spec.
    pub(crate) fn configuration(&self) -> Option<serde_json::Value> {
        self.wanted.configuration.clone().map(serde_json::Value::Object)
    }

    /// All fields that differ.
    pub(crate) fn differences(&self, current: &Detail) -> Vec<Change> {
        let mut changes = ownership::tag_changes_of_listed(&self.tags, &current.tags, current.untagged);
        if let Some(target) = &self.target
            && current.version != *target
        {
            changes.push(Change::in_place("version", &current.version, target));
        }
        if let Some(wanted) = self.configuration()
            && current.configuration.as_ref() != Some(&wanted)
        {
            let current = current.configuration.as_ref().map(ToString::to_string).unwrap_or_default();
            changes.push(Change::in_place("configuration", current, wanted));
        }
        if let Some(wanted) = &self.wanted.service_account_role_arn
            && current.service_account_role_arn.as_ref() != Some(wanted)
        {
            let current = current.service_account_role_arn.clone().unwrap_or_default();
            changes.push(Change::in_place("serviceAccountRoleArn", current, wanted));
        }
        if let Some(wanted) = &self.wanted.pod_identity_role_arn
            && current.pod_identity_roles.iter().ne([wanted])
        {
            let current = current.pod_identity_roles.iter().cloned().collect::<Vec<_>>().join(", ");
            changes.push(Change::in_place("podIdentityRoleArn", current, wanted));
        }
        changes
    }

    /// Treats a failed or degraded add-on as ready if the spec differs from it, so that it is updated: the update may
    /// repair it.
    pub(crate) fn changeable(&self, observed: Observation<Detail>) -> Observation<Detail> {
        let unwell = matches!(observed.state.as_str(), "UPDATE_FAILED" | "DEGRADED");
        if unwell && !self.differences(&observed.detail).is_empty() { observed.phase(Phase::Ready) } else { observed }
    }
}

/// Parses configuration values, which may be JSON or YAML.
pub(crate) fn configuration(text: &str) -> Option<serde_json::Value> {
    serde_json::from_str(text).ok().or_else(|| serde_saphyr::from_str(text).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::engine::Action;
    use crate::resources::cloud::{Intervals, Owner, ResourceContext};

    const ROLE: &str = "arn:aws:iam::123456789012:role/csi";

    fn addon(more: Value, target: Option<&str>) -> Addon {
        let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
        let context = ResourceContext {
            owner: &owner,
            cluster_name: "demo",
            user_tags: BTreeMap::new(),
            former_tags: BTreeSet::new(),
            intervals: Intervals::default(),
        };
        let mut wanted = json!({"name": "vpc-cni"});
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Addon::new(&context, &serde_json::from_value(wanted).unwrap(), target.map(str::to_owned))
    }

    fn current(of: &Addon) -> Detail {
        Detail {
            version: "v1".into(),
            configuration: Some(json!({"env": {"A": "1", "B": "2"}})),
            service_account_role_arn: None,
            pod_identity_roles: BTreeSet::new(),
            tags: of.tags.clone(),
            untagged: false,
        }
    }

    #[test]
    fn only_fields_of_the_spec_are_compared() {
        for (more, target, expected) in [
            (json!({}), None, vec![]),
            (json!({"version": "Latest"}), None, vec![]),
            (json!({}), Some("v1"), vec![]),
            (json!({}), Some("v2"), vec!["version"]),
            (json!({"configuration": {"env": {"B": "2", "A": "1"}}}), None, vec![]),
            (json!({"configuration": {"env": {"A": "1"}}}), None, vec!["configuration"]),
            (json!({"configuration": {}}), None, vec!["configuration"]),
            (json!({"serviceAccountRoleArn": ROLE}), None, vec!["serviceAccountRoleArn"]),
            (json!({"podIdentityRoleArn": ROLE}), Some("v2"), vec!["version", "podIdentityRoleArn"]),
        ] {
            let addon = addon(more.clone(), target);
            let fields: Vec<_> = addon.differences(&current(&addon)).into_iter().map(|change| change.field).collect();
            assert_eq!(fields, expected, "{more} {target:?}");
        }
    }

    #[test]
    fn unhealthy_addon_is_updated_if_it_differs_from_the_spec() {
        for (state, target, changed) in [
            ("UPDATE_FAILED", Some("v2"), true),
            ("UPDATE_FAILED", None, false),
            ("DEGRADED", Some("v2"), true),
            ("DEGRADED", None, false),
            ("CREATE_FAILED", Some("v2"), false),
        ] {
            let addon = addon(json!({}), target);
            let busy = Phase::Busy { action: Action::Create, since: None, note: String::new() };
            let observed = Observation::ready("vpc-cni", state, current(&addon)).phase(busy);
            assert_eq!(addon.changeable(observed).phase == Phase::Ready, changed, "{state} {target:?}");
        }
    }

    #[test]
    fn configuration_is_parsed_as_json_and_yaml() {
        let expected = Some(json!({"env": {"A": "1"}}));
        assert_eq!(configuration(r#"{"env": {"A": "1"}}"#), expected);
        assert_eq!(configuration("env:\n  A: \"1\"\n"), expected);
    }
}
