//! How an add-on differs from the spec. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::addon::{Addon, PRESERVE};
use super::addon_fargate::{COMPUTE_TYPE, COREDNS};
use crate::api::addons::Conflicts;
use crate::aws::tags::Tags;
use crate::engine::{Change, Observation, Phase, Recreate};
use crate::resources::cloud::is_tag;
use crate::resources::graph::ownership;

/// What Keelson observes of an add-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    pub(crate) version: String,
    pub(crate) configuration: Option<Value>,
    pub(crate) service_account_role_arn: Option<String>,
    pub(crate) namespace: Option<String>,
    /// Roles through pod identity.
    pub(crate) pod_identity_roles: BTreeSet<String>,
    /// Others have changed or installed what it consists of, and EKS does not overwrite that.
    pub(crate) conflicting: bool,
    pub(crate) tags: Tags,
    /// The add-on has no owner tag, but the spec lists it in a cluster that this object owns: it gets our tags.
    pub(crate) untagged: bool,
}

/// The state of an add-on that never worked.
pub(crate) const CREATE_FAILED: &str = "CREATE_FAILED";
/// The field of the role through pod identity.
pub(crate) const POD_ROLE: &str = "podIdentityRoleArn";
/// The field of a role that Keelson created and the spec no longer asks for.
pub(crate) const UNWANTED_ROLE: &str = "podIdentityRole";
pub(crate) const NAMESPACE: &str = "namespace";
/// The field of conflicts that the spec resolves.
pub(crate) const CONFLICTS: &str = "conflicts";

impl Addon {
    /// The settings in the spec. CoreDNS keeps running on what it was created for: that is managed only if the spec sets
    /// it.
    pub(crate) fn configuration(&self, current: &Option<Value>) -> Option<Value> {
        let mut wanted = self.wanted.configuration.clone()?;
        if self.wanted.name == COREDNS
            && let Some(compute_type) = current.as_ref().and_then(|values| values.get(COMPUTE_TYPE))
        {
            wanted.entry(COMPUTE_TYPE).or_insert_with(|| compute_type.clone());
        }
        Some(Value::Object(wanted))
    }

    /// Whether the spec gives it a role through pod identity.
    pub(crate) fn wants_pod_identity(&self) -> bool {
        self.wanted.pod_identity_role_arn.is_some() || self.wanted.pod_identity_role.is_some()
    }

    /// All fields that differ. `pod_role`: the role through pod identity, once it is known.
    pub(crate) fn differences(&self, current: &Detail, pod_role: Option<&str>) -> Vec<Change> {
        let mut changes = ownership::tag_changes_of_listed(&self.tags, &current.tags, current.untagged);
        if !self.wanted.preserve_on_delete && current.tags.get(PRESERVE) == Some("true") {
            changes.push(Change::in_place(format!("tags.{PRESERVE}"), "true", "false"));
        }
        if let Some(target) = &self.target
            && current.version != *target
        {
            changes.push(Change::in_place("version", &current.version, target));
        }
        if let Some(wanted) = self.configuration(&current.configuration)
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
        if let Some(wanted) = pod_role
            && current.pod_identity_roles.iter().ne([wanted])
        {
            let current = current.pod_identity_roles.iter().cloned().collect::<Vec<_>>().join(", ");
            changes.push(Change::in_place(POD_ROLE, current, wanted));
        }
        // Other roles are not managed, but one that Keelson created is deleted once nothing uses it.
        let is_created_here = |arn: &&String| arn.ends_with(&format!("/{}", self.role_name));
        if let Some(created) =
            current.pod_identity_roles.iter().find(is_created_here).filter(|_| !self.wants_pod_identity())
        {
            changes.push(Change::in_place(UNWANTED_ROLE, created, ""));
        }
        if let Some(wanted) = &self.wanted.namespace
            && let Some(current) = current.namespace.as_ref().filter(|current| *current != wanted)
        {
            let why = "EKS does not move an add-on to another namespace: put the old value back, or take the add-on off the list, \
                       with pruneAddons: true, and list it again once it is deleted";
            changes.push(Change::forbidden(NAMESPACE, current, wanted, why));
        }
        if current.conflicting && self.wanted.conflicts == Conflicts::Overwrite {
            changes.push(Change::in_place(CONFLICTS, "ConfigurationConflict", "Overwrite"));
        }
        changes
    }

    /// Treats a failed or degraded add-on as ready if the spec differs from it, so that it is updated: the update may
    /// repair it. One that never worked cannot be updated: it is recreated with what the spec says now. That resolves
    /// differences, so it happens once; resolving conflicts it waits for a request, as it may not succeed.
    pub(crate) fn changeable(&self, observed: Observation<Detail>, pod_role: Option<&str>) -> Observation<Detail> {
        let changes = self.differences(&observed.detail, pod_role);
        let state = observed.state.as_str();
        match observed.phase.clone() {
            _ if matches!(state, "UPDATE_FAILED" | "DEGRADED") && !changes.is_empty() => observed.phase(Phase::Ready),
            Phase::Failed { reason, class, .. }
                if state == CREATE_FAILED
                    && changes.iter().any(|change| !is_tag(change) && change.field != CONFLICTS) =>
            {
                observed.phase(Phase::Failed { reason, class, recreate: Recreate::Now })
            }
            _ => observed,
        }
    }
}

/// Parses configuration values, which may be JSON or YAML.
pub(crate) fn configuration(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| serde_saphyr::from_str(text).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::engine::{Action, Refs};
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
            namespace: Some("kube-system".to_owned()),
            pod_identity_roles: BTreeSet::new(),
            conflicting: false,
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
            (json!({"namespace": "kube-system"}), None, vec![]),
            (json!({"namespace": "storage"}), None, vec!["namespace"]),
        ] {
            let addon = addon(more.clone(), target);
            let fields: Vec<_> = addon
                .differences(&current(&addon), addon.pod_role(&Refs::default()))
                .into_iter()
                .map(|change| change.field)
                .collect();
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
            ("DELETE_FAILED", Some("v2"), false),
        ] {
            let addon = addon(json!({}), target);
            let busy = Phase::Busy { action: Action::Create, since: None, note: String::new() };
            let observed = Observation::ready("vpc-cni", state, current(&addon)).phase(busy);
            assert_eq!(addon.changeable(observed, None).phase == Phase::Ready, changed, "{state} {target:?}");
        }
    }

    #[test]
    fn addon_that_never_worked_is_recreated_if_it_differs_and_otherwise_on_request() {
        let recreate = |more: Value, target: Option<&str>, conflicting: bool| {
            let addon = addon(more, target);
            let phase = Phase::Failed {
                reason: String::new(),
                class: crate::engine::Class::Unknown,
                recreate: Recreate::OnRequest,
            };
            let detail = Detail { conflicting, tags: Tags::new(), ..current(&addon) };
            let observed = addon.changeable(Observation::ready("vpc-cni", CREATE_FAILED, detail).phase(phase), None);
            let Phase::Failed { recreate, .. } = observed.phase else { panic!("{:?}", observed.phase) };
            recreate
        };
        assert_eq!(recreate(json!({}), None, false), Recreate::OnRequest, "only tags differ");
        assert_eq!(recreate(json!({}), Some("v2"), false), Recreate::Now);
        assert_eq!(recreate(json!({"configuration": {}}), None, false), Recreate::Now);
        assert_eq!(recreate(json!({"conflicts": "Overwrite"}), None, true), Recreate::OnRequest);
    }

    #[test]
    fn compute_type_of_coredns_is_managed_only_if_the_spec_sets_it() {
        for (configuration, expected) in [
            (json!({"replicaCount": 2}), vec![]),
            (json!({"replicaCount": 3}), vec!["configuration"]),
            (json!({"replicaCount": 2, "computeType": "ec2"}), vec!["configuration"]),
        ] {
            let addon = addon(json!({"name": "coredns", "configuration": configuration}), None);
            let values = Some(json!({"replicaCount": 2, "computeType": "Fargate"}));
            let detail = Detail { configuration: values.clone(), ..current(&addon) };
            let fields: Vec<_> = addon.differences(&detail, None).into_iter().map(|change| change.field).collect();
            assert_eq!(fields, expected, "{configuration}");
            let compute_type = addon.configuration(&values).unwrap()["computeType"].clone();
            assert_eq!(compute_type, configuration.get("computeType").cloned().unwrap_or("Fargate".into()));
        }
    }

    #[test]
    fn conflicts_are_a_difference_once_the_spec_overwrites_them() {
        for (conflicts, conflicting, expected) in [
            ("Overwrite", true, vec![CONFLICTS]),
            ("Overwrite", false, vec![]),
            ("Preserve", true, vec![]),
            ("None", true, vec![]),
        ] {
            let addon = addon(json!({"conflicts": conflicts}), None);
            let detail = Detail { conflicting, ..current(&addon) };
            let fields: Vec<_> = addon.differences(&detail, None).into_iter().map(|change| change.field).collect();
            assert_eq!(fields, expected, "{conflicts} {conflicting}");
        }
    }

    #[test]
    fn configuration_is_parsed_as_json_and_yaml() {
        let expected = Some(json!({"env": {"A": "1"}}));
        assert_eq!(configuration(r#"{"env": {"A": "1"}}"#), expected);
        assert_eq!(configuration("env:\n  A: \"1\"\n"), expected);
    }

    #[test]
    fn software_that_stays_is_marked_until_the_spec_says_otherwise() {
        let fields = |preserve: bool, tags: Tags| {
            let addon = addon(json!({"preserveOnDelete": preserve}), None);
            let detail = Detail { tags, ..current(&addon) };
            let change = |change: Change| format!("{} {} -> {}", change.field, change.from, change.to);
            addon.differences(&detail, None).into_iter().map(change).collect::<Vec<_>>()
        };
        let tags = || addon(json!({}), None).tags;
        assert_eq!(fields(true, tags()), ["tags.keelson.dev/preserve-on-delete  -> true"]);
        assert_eq!(fields(true, tags().with(PRESERVE, "true")), Vec::<String>::new());
        assert_eq!(fields(false, tags().with(PRESERVE, "true")), ["tags.keelson.dev/preserve-on-delete true -> false"]);
        assert_eq!(fields(false, tags().with(PRESERVE, "false")), Vec::<String>::new());
    }

    #[test]
    fn role_that_the_spec_drops_is_taken_away_only_if_keelson_created_it() {
        for (role, more, expected) in [
            (None, json!({}), vec![UNWANTED_ROLE]),
            (Some(ROLE), json!({}), vec![]),
            (None, json!({"podIdentityRoleArn": ROLE}), vec![POD_ROLE]),
        ] {
            let addon = addon(more, None);
            let own = format!("arn:aws:iam::123456789012:role/keelson/{}", addon.role_name);
            let pod_identity_roles = BTreeSet::from([role.map_or(own, str::to_owned)]);
            let detail = Detail { pod_identity_roles, ..current(&addon) };
            let changes = addon.differences(&detail, addon.pod_role(&Refs::default()));
            let fields: Vec<_> = changes.into_iter().map(|change| change.field).collect();
            assert_eq!(fields, expected, "{role:?}");
        }
    }
}
