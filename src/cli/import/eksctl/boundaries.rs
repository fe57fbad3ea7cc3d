//! Permissions boundaries of the roles that eksctl creates. In Keelson an AwsAccount has one for the roles of clusters and
//! nodes, and one for those of Pods, so one ARN for all roles of a kind is a setting of the AwsAccount. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cli::import::section::{Remark, Report};

/// Fields of eksctl that hold a boundary: paths without the indexes of lists. Elsewhere such a name is a label or a tag.
const FIELDS: [&str; 10] = [
    "addons.permissionsBoundary",
    "addons.podIdentityAssociations.permissionsBoundaryARN",
    "autoModeConfig.permissionsBoundaryARN",
    "capabilities.permissionsBoundary",
    "iam.fargatePodExecutionRolePermissionsBoundary",
    "iam.podIdentityAssociations.permissionsBoundaryARN",
    "iam.serviceAccounts.permissionsBoundary",
    "iam.serviceRolePermissionsBoundary",
    "managedNodeGroups.iam.instanceRolePermissionsBoundary",
    "nodeGroups.iam.instanceRolePermissionsBoundary",
];

/// A boundary of the file.
struct Boundary {
    /// As a JSON pointer.
    pointer: String,
    path: String,
    arn: String,
}

/// Takes the boundaries out of the document, if all for the same field of the AwsAccount have one ARN, and reports them. `account`:
/// name of the AwsAccount.
pub fn take(document: &mut Value, report: &mut Report, account: &str) {
    let mut all = Vec::new();
    collect("", "", document, &mut all);
    let arns: BTreeSet<_> = all.iter().map(|one| (is_of_the_cluster(&one.path), one.arn.clone())).collect();
    for Boundary { pointer, path, arn } in all {
        let of_the_cluster = is_of_the_cluster(&path);
        if arns.iter().filter(|(other, _)| *other == of_the_cluster).count() > 1 {
            continue;
        }
        let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
        let Some(fields) = document.pointer_mut(parent).and_then(Value::as_object_mut) else { continue };
        fields.remove(name);
        let (field, roles) = if of_the_cluster {
            ("permissionsBoundaryArn", "every role that Keelson creates for clusters and nodes")
        } else {
            ("workloadPermissionsBoundaryArn", "every role that Keelson creates for Pods and add-ons")
        };
        let what = format!("set {field}: {arn} in the AwsAccount {account}: it applies to {roles} in the account");
        report.differs.push(Remark { path, what });
    }
}

/// Whether the role is one of the cluster and its nodes, rather than of Pods or add-ons.
fn is_of_the_cluster(path: &str) -> bool {
    let of_iam = path.strip_prefix("iam.").is_some_and(|name| !name.contains('.'));
    of_iam || path == "autoModeConfig.permissionsBoundaryARN" || path.ends_with(".instanceRolePermissionsBoundary")
}

fn is_boundary(path: &str) -> bool {
    let parts = path.split('.').map(|part| part.split('[').next().unwrap_or_default());
    FIELDS.contains(&parts.collect::<Vec<_>>().join(".").as_str())
}

fn collect(pointer: &str, path: &str, value: &Value, all: &mut Vec<Boundary>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match value {
                    Value::String(arn) if is_boundary(&path) && !arn.is_empty() => {
                        all.push(Boundary { pointer, path, arn: arn.clone() });
                    }
                    other => collect(&pointer, &path, other, all),
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                collect(&format!("{pointer}/{n}"), &format!("{path}[{n}]"), item, all);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_tags_with_the_name_of_a_boundary_stay() {
        let labels = json!({"permissionsBoundary": "x"});
        let group = json!({"labels": labels, "tags": labels, "iam": {"instanceRolePermissionsBoundary": "nodes"}});
        let account = json!({"permissionsBoundary": "pods", "metadata": {"labels": labels}});
        let mut document = json!({"managedNodeGroups": [group], "iam": {"serviceAccounts": [account]}});
        let mut report = Report::default();
        take(&mut document, &mut report, "default");
        let mut paths: Vec<_> = report.differs.iter().map(|remark| remark.path.as_str()).collect();
        paths.sort_unstable();
        let fields =
            ["iam.serviceAccounts[0].permissionsBoundary", "managedNodeGroups[0].iam.instanceRolePermissionsBoundary"];
        assert_eq!(paths, fields);
        assert_eq!(document["managedNodeGroups"][0], json!({"labels": labels, "tags": labels, "iam": {}}));
        assert_eq!(document["iam"]["serviceAccounts"][0], json!({"metadata": {"labels": labels}}));
    }
}
