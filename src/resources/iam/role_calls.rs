//! The calls that create, change and delete a role of Keelson's, whatever it is for. I/O: IAM.

use super::role_diff::{BOUNDARY, Content, Detail, POLICIES, TRUST, attached_field, inline_field};
use super::role_name::description;
use crate::aws::{AwsError, Service, Session, snapshots};
use crate::engine::{Change, Class, Failure};
use crate::resources::cloud::{Cloud, changed_tags, changes_field};
use crate::resources::tag_calls::Handle;

/// Creates the role without its policies, and returns its ARN and what it consists of then.
pub(super) async fn create(
    cloud: &Cloud,
    content: &Content<'_>,
    path: Option<&String>,
    purpose: &str,
) -> Result<(String, Detail), Failure> {
    let request = cloud
        .aws
        .iam
        .create_role()
        .role_name(content.name)
        .set_path(path.cloned())
        .description(description(purpose, &cloud.owner.cluster))
        .assume_role_policy_document(&content.trust)
        .set_permissions_boundary(content.boundary.map(str::to_owned))
        .set_tags(Some(content.tags.to_iam()));
    let answer = cloud.aws.call(Service::Iam, "CreateRole", content.name, request.send()).await;
    // Created by an attempt whose response was lost: the next observation shows the owner.
    let answer = match answer {
        Err(error) if error.class() == Class::Conflict => {
            return Err(Failure::of(Class::NoChange, error));
        }
        other => other?,
    };
    let detail = Detail {
        trust: content.trust.clone(),
        permissions_boundary: content.boundary.map(str::to_owned),
        tags: content.tags.clone(),
        ..Detail::default()
    };
    Ok((answer.role.map(|role| role.arn).unwrap_or_default(), detail))
}

/// Applies the changes, except of inline policies that are wanted, and updates `detail`.
pub(super) async fn change(
    cloud: &Cloud,
    content: &Content<'_>,
    detail: &mut Detail,
    changes: &[Change],
) -> Result<(), Failure> {
    let (iam, name) = (&cloud.aws.iam, content.name);
    // Changes thidlerict rights come first.
    if let Some(boundary) = content.boundary.filter(|_| changes_field(changes, BOUNDARY)) {
        let request = iam.put_role_permissions_boundary().role_name(name).permissions_boundary(boundary);
        cloud.aws.call(Service::Iam, "PutRolePermissionsBoundary", name, request.send()).await?;
        detail.permissions_boundary = Some(boundary.to_owned());
    }
    if changes_field(changes, TRUST) {
        let request = iam.update_assume_role_policy().role_name(name).policy_document(&content.trust);
        cloud.aws.call(Service::Iam, "UpdateAssumeRolePolicy", name, request.send()).await?;
        detail.trust.clone_from(&content.trust);
    }
    for policy in detail.attached.clone() {
        if changes_field(changes, &attached_field(&policy)) {
            let request = iam.detach_role_policy().role_name(name).policy_arn(&policy);
            ignore_not_found(cloud.aws.call(Service::Iam, "DetachRolePolicy", name, request.send()).await)?;
            detail.attached.retain(|attached| *attached != policy);
        }
    }
    let extra = detail.inline.keys().filter(|policy| !content.inline.contains_key(*policy));
    for policy in extra.cloned().collect::<Vec<_>>() {
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
    cloud.tag(&Handle::Role(name.to_owned()), name, &mut detail.tags, changed_tags(changes)).await
}

/// Deletes the role. Policies that others attached to it are removed with it: IAM deletes no role with policies.
///
/// # Errors
/// The error of the first call that fails.
pub(super) async fn delete(
    aws: &Session,
    name: &str,
    attached: &[String],
    profiles: &[String],
) -> Result<(), AwsError> {
    let iam = &aws.iam;
    for policy in attached {
        let request = iam.detach_role_policy().role_name(name).policy_arn(policy);
        unless_gone(aws.call(Service::Iam, "DetachRolePolicy", name, request.send()).await)?;
    }
    let request = iam.list_role_policies().role_name(name);
    let inline = aws.call(Service::Iam, "ListRolePolicies", name, request.send()).await?;
    for policy in inline.policy_names() {
        let request = iam.delete_role_policy().role_name(name).policy_name(policy);
        unless_gone(aws.call(Service::Iam, "DeleteRolePolicy", name, request.send()).await)?;
    }
    for profile in profiles {
        let request = iam.remove_role_from_instance_profile().role_name(name).instance_profile_name(profile);
        unless_gone(aws.call(Service::Iam, "RemoveRoleFromInstanceProfile", name, request.send()).await)?;
    }
    let request = iam.delete_role().role_name(name);
    aws.call(Service::Iam, "DeleteRole", name, request.send()).await?;
    Ok(())
}

/// The id under which a role is recorded: users of the id build the ARN from it, which a name alone does not allow for a
/// role with a path.
pub(super) fn recorded_id<'a>(name: &'a str, arn: &'a str) -> &'a str {
    let in_root = arn.is_empty() || arn.ends_with(&format!(":role/{name}"));
    if in_root { name } else { arn }
}

/// The role of that name among those read.
pub(super) fn find<'r>(roles: &'r [snapshots::Role], name: &str) -> Option<&'r snapshots::Role> {
    roles.iter().find(|role| role.name == name)
}

fn unless_gone<T>(answer: Result<T, AwsError>) -> Result<(), AwsError> {
    match answer {
        Err(error) if error.class() != Class::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn ignore_not_found<T>(answer: Result<T, AwsError>) -> Result<(), Failure> {
    unless_gone(answer).map_err(Failure::from)
}
