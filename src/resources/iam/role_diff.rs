//! How a role that Keelson created differs from the spec, and the calls that correct it. The diff is pure.
//!
//! Keelson manages its roles completely: an unlisted policy is as much a difference as a missing one, because it
//! changes the rights of every node or of the control plane. A boundary is compared only if the account sets one:
//! otherwise a user may have set one, and it only restricts.

use std::collections::BTreeMap;

use super::policy_document;
use super::role::{AUTO_MODE, Purpose, Role, ignore_not_found};
use crate::aws::tags::Tags;
use crate::aws::{Service, snapshots};
use crate::engine::{Change, Failure};
use crate::resources::cloud::{Cloud, changed_tags, changes_field, tag_changes};
use crate::resources::tag_calls::Handle;

/// The IAM actions of a role's calls, here and in [`super::role`].
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

const TRUST: &str = "trustPolicy";
const BOUNDARY: &str = "permissionsBoundary";
/// The field of missing policies.
const POLICIES: &str = "policies";

fn attached_field(arn: &str) -> String {
    format!("{POLICIES}[{arn}]")
}

fn inline_field(name: &str) -> String {
    format!("inlinePolicies[{name}]")
}

impl Role {
    /// All fields that differ. `arn` is the role's own.
    pub(crate) fn differences(&self, current: &Detail, arn: &str) -> Vec<Change> {
        let Detail { trust, attached, inline, permissions_boundary, instance_profiles: _, tags, unmanaged_groups } =
            current;
        let mut changes = Vec::new();
        if let Some(wanted) = &self.permissions_boundary
            && permissions_boundary.as_ref() != Some(wanted)
        {
            changes.push(Change::in_place(BOUNDARY, permissions_boundary.as_deref().unwrap_or_default(), wanted));
        }
        let wanted = self.trust();
        if !policy_document::is_equivalent(trust, &wanted) {
            changes.push(Change::in_place(TRUST, policy_document::compact(trust), wanted));
        }
        let wanted = self.policies(arn);
        let missing = wanted.iter().filter(|policy| !attached.contains(policy));
        changes.extend(missing.map(|policy| Change::in_place(POLICIES, "", policy)));
        // Running nodes may need policies that their NodeGroup requests once it is here.
        if unmanaged_groups.is_empty() {
            for policy in attached.iter().filter(|policy| !self.is_wanted_or_kept(policy, &wanted)) {
                changes.push(Change::in_place(attached_field(policy), "attached", "not attached"));
            }
            for (name, document) in inline {
                changes.push(Change::in_place(inline_field(name), policy_document::compact(document), ""));
            }
        }
        changes.extend(tag_changes(&self.tags, tags));
        changes
    }

    fn is_wanted_or_kept(&self, policy: &String, wanted: &[String]) -> bool {
        wanted.contains(policy) || self.is_kept(policy)
    }

    /// Whether an attached or inline policy would be removed.
    pub(crate) fn has_extra_policies(&self, current: &Detail, arn: &str) -> bool {
        let wanted = self.policies(arn);
        !current.inline.is_empty() || current.attached.iter().any(|policy| !self.is_wanted_or_kept(policy, &wanted))
    }

    /// Whether an attached policy stays although it is not wanted: NodeGroups request it but the account does not allow
    /// it (any more), or Auto Mode needs it, which stays on after the spec no longer sets it.
    fn is_kept(&self, policy: &str) -> bool {
        let name = policy.rsplit('/').next().unwrap_or_default();
        let auto_mode = self.purpose == Purpose::Cluster && policy.contains(":iam::aws:") && AUTO_MODE.contains(&name);
        auto_mode || self.kept_policies.iter().any(|kept| kept == policy)
    }

    /// Applies the changes, and updates `detail`.
    pub(crate) async fn change(&self, cloud: &Cloud, detail: &mut Detail, changes: &[Change]) -> Result<(), Failure> {
        let (iam, name) = (&cloud.aws.iam, &self.name);
        // Changes that restrict rights come first.
        if let Some(boundary) = self.permissions_boundary.as_ref().filter(|_| changes_field(changes, BOUNDARY)) {
            let request = iam.put_role_permissions_boundary().role_name(name).permissions_boundary(boundary);
            cloud.aws.call(Service::Iam, "PutRolePermissionsBoundary", name, request.send()).await?;
            detail.permissions_boundary = Some(boundary.clone());
        }
        if changes_field(changes, TRUST) {
            let request = iam.update_assume_role_policy().role_name(name).policy_document(self.trust());
            cloud.aws.call(Service::Iam, "UpdateAssumeRolePolicy", name, request.send()).await?;
            detail.trust = self.trust();
        }
        for policy in detail.attached.clone() {
            if changes_field(changes, &attached_field(&policy)) {
                let request = iam.detach_role_policy().role_name(name).policy_arn(&policy);
                ignore_not_found(cloud.aws.call(Service::Iam, "DetachRolePolicy", name, request.send()).await)?;
                detail.attached.retain(|attached| *attached != policy);
            }
        }
        for policy in detail.inline.keys().cloned().collect::<Vec<_>>() {
            if changes_field(changes, &inline_field(&policy)) {
                let request = iam.delete_role_policy().role_name(name).policy_name(&policy);
                ignore_not_found(cloud.aws.call(Service::Iam, "DeleteRolePolicy", name, request.send()).await)?;
                detail.inline.remove(&policy);
            }
        }
        for change in changes.iter().filter(|change| change.field == POLICIES) {
            let request = iam.attach_role_policy().role_name(name).policy_arn(&change.to);
            cloud.aws.call(Service::Iam, "AttachRolePolicy", name, request.send()).await?;
            detail.attached.push(change.to.clone());
        }
        cloud.tag(&Handle::Role(self.name.clone()), &self.name, &mut detail.tags, changed_tags(changes)).await
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
