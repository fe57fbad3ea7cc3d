//! How a role that Keelson created differs from the spec. Pure; the calls are in [`super::role_calls`].
//!
//! Keelson manages its roles completely: an unlisted policy is as much a difference as a missing one, because it
//! changes the rights of every node or of the control plane. A boundary is compared only if the account sets one:
//! otherwise a user may have set one, and it only restricts.

use std::collections::BTreeMap;

use super::policy_document;
use super::role::{AUTO_MODE, Purpose, Role};
use crate::aws::snapshots;
use crate::aws::tags::Tags;
use crate::engine::Change;
use crate::resources::cloud::tag_changes;

/// The IAM actions of a role's calls, in [`super::role`] and [`super::role_calls`].
pub(super) const ACTIONS: &[&str] = &[
    "eks:ListNodegroups",
    "iam:AttachRolePolicy",
    "iam:CreateRole",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:GetAccountAuthorizationDetails",
    "iam:ListRolePolicies",
    "iam:PutRolePermissionsBoundary",
    "iam:RemoveRoleFromInstanceProfile",
    "iam:TagRole",
    "iam:UntagRole",
    "iam:UpdateAssumeRolePolicy",
];

/// What Keelson observes of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// JSON.
    pub(crate) trust: String,
    pub(crate) attached: Vec<String>,
    /// Inline policies by name, as JSON.
    pub(crate) inline: BTreeMap<String, String>,
    pub(crate) permissions_boundary: Option<String>,
    pub(crate) instance_profiles: Vec<String>,
    pub(crate) tags: Tags,
    /// Running node groups of the cluster whose requirements are unknown, because no NodeGroup here describes them.
    pub(crate) unmanaged_groups: Vec<String>,
}

impl From<&snapshots::Role> for Detail {
    fn from(role: &snapshots::Role) -> Self {
        Self {
            trust: role.trust_policy.clone(),
            attached: role.attached.clone(),
            inline: role.inline.clone(),
            permissions_boundary: role.permissions_boundary.clone(),
            instance_profiles: role.instance_profiles.clone(),
            tags: role.tags.clone(),
            unmanaged_groups: Vec::new(),
        }
    }
}

/// The fields of differences.
pub(super) const TRUST: &str = "trustPolicy";
pub(super) const BOUNDARY: &str = "permissionsBoundary";
/// The field of missing policies.
pub(super) const POLICIES: &str = "policies";

pub(super) fn attached_field(arn: &str) -> String {
    format!("{POLICIES}[{arn}]")
}

pub(super) fn inline_field(name: &str) -> String {
    format!("inlinePolicies[{name}]")
}

/// What a role of Keelson's consists of.
pub(super) struct Content<'a> {
    pub name: &'a str,
    /// JSON.
    pub trust: String,
    /// ARNs of all managed policies.
    pub policies: Vec<String>,
    /// Inline policies by name, as JSON.
    pub inline: BTreeMap<String, String>,
    /// `None`: not managed.
    pub boundary: Option<&'a str>,
    pub tags: &'a Tags,
}

impl Content<'_> {
    /// Whether all policies are there.
    pub fn is_complete(&self, current: &Detail) -> bool {
        self.policies.iter().all(|policy| current.attached.contains(policy))
            && self.inline.keys().all(|name| current.inline.contains_key(name))
    }

    /// All fields that differ. `keeps`: whether an attached policy stays although it is not wanted.
    pub fn differences(&self, current: &Detail, keeps: impl Fn(&str) -> bool) -> Vec<Change> {
        let Detail { trust, attached, inline, permissions_boundary, instance_profiles: _, tags, unmanaged_groups } =
            current;
        let mut changes = Vec::new();
        if let Some(wanted) = self.boundary
            && permissions_boundary.as_deref() != Some(wanted)
        {
            changes.push(Change::in_place(BOUNDARY, permissions_boundary.as_deref().unwrap_or_default(), wanted));
        }
        if !policy_document::is_equivalent(trust, &self.trust) {
            changes.push(Change::in_place(TRUST, policy_document::compact(trust), &self.trust));
        }
        let missing = self.policies.iter().filter(|policy| !attached.contains(policy));
        changes.extend(missing.map(|policy| Change::in_place(POLICIES, "", policy)));
        for (name, wanted) in &self.inline {
            let current = inline.get(name).map(String::as_str).unwrap_or_default();
            if !policy_document::is_equivalent(current, wanted) {
                changes.push(Change::in_place(inline_field(name), policy_document::compact(current), wanted));
            }
        }
        // Running nodes may need policies that their NodeGroup requests once it is here.
        if unmanaged_groups.is_empty() {
            for policy in attached.iter().filter(|policy| !self.policies.contains(policy) && !keeps(policy)) {
                changes.push(Change::in_place(attached_field(policy), "attached", "not attached"));
            }
            for (name, document) in inline.iter().filter(|(name, _)| !self.inline.contains_key(*name)) {
                changes.push(Change::in_place(inline_field(name), policy_document::compact(document), ""));
            }
        }
        changes.extend(tag_changes(self.tags, tags));
        changes
    }
}

impl Role {
    /// `arn` is the role's own.
    pub(super) fn content(&self, arn: &str) -> Content<'_> {
        Content {
            name: &self.name,
            trust: self.trust(),
            policies: self.policies(arn),
            inline: BTreeMap::new(),
            boundary: self.permissions_boundary.as_deref(),
            tags: &self.tags,
        }
    }

    /// All fields that differ. `arn` is the role's own.
    pub(crate) fn differences(&self, current: &Detail, arn: &str) -> Vec<Change> {
        self.content(arn).differences(current, |policy| self.is_kept(policy))
    }

    /// Whether an attached or inline policy would be removed.
    pub(crate) fn has_extra_policies(&self, current: &Detail, arn: &str) -> bool {
        let wanted = self.policies(arn);
        let is_extra = |policy: &String| !wanted.contains(policy) && !self.is_kept(policy);
        !current.inline.is_empty() || current.attached.iter().any(is_extra)
    }

    /// Whether an attached policy stays although it is not wanted: NodeGroups request it but the account does not allow
    /// it (any more), or Auto Mode needs it, which stays on after the spec no longer sets it.
    fn is_kept(&self, policy: &str) -> bool {
        let name = policy.rsplit('/').next().unwrap_or_default();
        let auto_mode = self.purpose == Purpose::Cluster && policy.contains(":iam::aws:") && AUTO_MODE.contains(&name);
        auto_mode || self.kept_policies.iter().any(|kept| kept == policy)
    }
}

pub(super) fn partition_of(arn: &str) -> &str {
    arn.split(':').nth(1).unwrap_or("aws")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::cloud::{AccountSettings, Intervals, Owner, ResourceContext};

    const BOUNDARY_ARN: &str = "arn:aws:iam::123456789012:policy/keelson-boundary";
    const MORE: &str = "arn:aws:iam::123456789012:policy/more";

    fn aws(name: &str) -> String {
        format!("arn:aws:iam::aws:policy/{name}")
    }

    fn role(purpose: Purpose, boundary: Option<&str>) -> Role {
        let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
        let context = ResourceContext {
            owner: &owner,
            cluster_name: "demo",
            user_tags: BTreeMap::new(),
            former_tags: ["env".to_owned()].into(),
            intervals: Intervals::default(),
        };
        let account =
            AccountSettings { permissions_boundary: boundary.map(str::to_owned), ..AccountSettings::default() };
        let more = if purpose == Purpose::Node { vec![MORE.to_owned()] } else { Vec::new() };
        Role::new(&context, purpose, &more, &account)
    }

    fn as_specified(role: &Role) -> Detail {
        Detail {
            trust: role.trust(),
            attached: role.policies("aws"),
            permissions_boundary: role.permissions_boundary.clone(),
            tags: role.tags.clone().without([]),
            ..Detail::default()
        }
    }

    fn changes_after(role: &Role, change: impl FnOnce(&mut Detail)) -> Vec<String> {
        let mut current = as_specified(role);
        change(&mut current);
        let format_change = |Change { field, from, to, .. }: Change| format!("{field}: {from} -> {to}");
        role.differences(&current, "aws").into_iter().map(format_change).collect()
    }

    #[test]
    fn every_part_of_an_owned_role_is_compared() {
        let node = role(Purpose::Node, Some(BOUNDARY_ARN));
        assert_eq!(changes_after(&node, |_| ()), Vec::<String>::new());
        let admin = aws("AdministratorAccess");
        let changes = changes_after(&node, |current| {
            current.attached.push(admin.clone());
            current.attached.retain(|policy| policy != MORE);
            current.inline.insert("by-hand".into(), "{ \"Statement\": [] }".into());
            current.permissions_boundary = None;
            current.tags.apply(Tags::new().with("env", "prod").with("theirs", "x"));
        });
        let expected = [
            format!("permissionsBoundary:  -> {BOUNDARY_ARN}"),
            format!("policies:  -> {MORE}"),
            format!("policies[{admin}]: attached -> not attached"),
            "inlinePolicies[by-hand]: {\"Statement\":[]} -> ".to_owned(),
            "tags.env: prod -> (none)".to_owned(),
        ];
        assert_eq!(changes, expected);
        let changes = changes_after(&node, |current| {
            current.trust = current.trust.replace("ec2.amazonaws.com", "lambda.amazonaws.com")
        });
        assert!(changes[0].starts_with("trustPolicy: ") && changes[0].contains("lambda") && changes.len() == 1);
    }

    #[test]
    fn boundary_is_compared_only_if_the_account_sets_one() {
        let other = |current: &mut Detail| current.permissions_boundary = Some(aws("PowerUserAccess"));
        assert_eq!(changes_after(&role(Purpose::Node, None), other), Vec::<String>::new());
        let changes = changes_after(&role(Purpose::Node, Some(BOUNDARY_ARN)), other);
        assert_eq!(changes, [format!("permissionsBoundary: {} -> {BOUNDARY_ARN}", aws("PowerUserAccess"))]);
    }

    #[test]
    fn auto_mode_policies_and_disallowed_requested_policies_are_kept() {
        let attach = |policy: String| move |current: &mut Detail| current.attached.push(policy);
        let compute = aws("AmazonEKSComputePolicy");
        let cluster = role(Purpose::Cluster, None);
        assert_eq!(changes_after(&cluster, attach(compute.clone())), Vec::<String>::new());
        let same_name = "arn:aws:iam::123456789012:policy/AmazonEKSComputePolicy".to_owned();
        assert_eq!(changes_after(&cluster, attach(same_name)).len(), 1);
        assert_eq!(changes_after(&role(Purpose::Node, None), attach(compute)).len(), 1, "not for node roles");
        let foreign = "arn:aws:iam::123456789012:policy/theirs".to_owned();
        let node = role(Purpose::Node, None).with_kept_policies(std::slice::from_ref(&foreign));
        assert_eq!(changes_after(&node, attach(foreign)), Vec::<String>::new());
    }

    #[test]
    fn no_policy_is_removed_while_unmanaged_groups_exist() {
        let role = role(Purpose::Node, None);
        let mut current = as_specified(&role);
        current.attached.push("arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore".to_owned());
        current.inline.insert("more".to_owned(), "{}".to_owned());
        assert_eq!(role.differences(&current, "aws").len(), 2);
        current.unmanaged_groups.push("restored-later".to_owned());
        assert_eq!(role.differences(&current, "aws"), []);
    }
}
