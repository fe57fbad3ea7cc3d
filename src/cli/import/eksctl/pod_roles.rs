//! The roles that eksctl creates for Pods, as roles that Keelson creates for them: of `iam.podIdentityAssociations`,
//! `iam.serviceAccounts` and add-ons. Pure.

use serde_json::{Map, Value, json};

use crate::aws::partitions;
use crate::cli::import::section::Section;

/// eksctl's names of policies, and Keelson's.
const WELL_KNOWN: [(&str, &str); 6] = [
    ("autoScaler", "ClusterAutoscaler"),
    ("awsLoadBalancerController", "AWSLoadBalancerController"),
    ("certManager", "CertManager"),
    ("ebsCSIController", "EBSCSIDriver"),
    ("efsCSIController", "EFSCSIDriver"),
    ("externalDNS", "ExternalDNS"),
];
/// eksctl's name of a policy that AWS manages.
const IMAGE_BUILDER: (&str, &str) = ("imageBuilder", "AmazonEC2ContainerRegistryPowerUser");

/// eksctl's names of the fields: they differ by where the role is.
pub struct Fields {
    arns: &'static str,
    document: &'static str,
}

/// Of a pod identity association.
pub const OF_ASSOCIATION: Fields = Fields { arns: "permissionPolicyARNs", document: "permissionPolicy" };
/// Of a service account with IRSA, or of an add-on.
pub const OF_SERVICE_ACCOUNT: Fields = Fields { arns: "attachPolicyARNs", document: "attachPolicy" };

/// The role, if the section asks for one.
pub fn role(item: &mut Section<'_>, fields: &Fields, region: &str) -> Option<Value> {
    let mut role = json!({});
    let mut arns = item.texts(fields.arns).unwrap_or_default();
    let mut policies = Vec::new();
    if let Some(mut known) = item.section("wellKnownPolicies") {
        policies.extend(WELL_KNOWN.iter().filter(|(name, _)| known.flag(name) == Some(true)).map(|(_, ours)| *ours));
        if known.flag(IMAGE_BUILDER.0) == Some(true) {
            arns.push(format!("arn:{}:iam::aws:policy/{}", partitions::of_region(region).id, IMAGE_BUILDER.1));
        }
    }
    if !arns.is_empty() {
        role["policyArns"] = json!(arns);
    }
    if !policies.is_empty() {
        role["policies"] = json!(policies);
    }
    match item.value(fields.document) {
        Some(Value::Object(document)) => role["policy"] = Value::Object(document),
        Some(_) => item.report_mistake(fields.document, "is not a mapping"),
        None => {}
    }
    if role.as_object().is_none_or(Map::is_empty) {
        return None;
    }
    item.report_difference(
        if arns.is_empty() && policies.is_empty() { fields.document } else { fields.arns },
        "became a role that Keelson creates; the AwsAccount has to allow its policies (allowedPolicyArns, \
         allowedWorkloadPolicies, allowInlinePolicies)",
    );
    refuse_its_settings(item);
    Some(role)
}

/// What eksctl lets you say of a role that it creates, and Keelson decides itself.
fn refuse_its_settings(item: &mut Section<'_>) {
    const BOUNDARY: &str =
        "workloadPermissionsBoundaryArn of an AwsAccount applies to every role that Keelson creates for Pods";
    const NAMES: &str =
        "Keelson names the roles that it creates, and status shows the names: change what refers to this one";
    item.refuse_each(&[("permissionsBoundaryARN", BOUNDARY), ("permissionsBoundary", BOUNDARY)]);
    for field in ["roleName", "permissionPolicyName"] {
        item.differ(field, NAMES);
    }
}

/// A service account with IRSA as an entry of `podIdentities`, if eksctl would create its role.
pub fn service_account(mut item: Section<'_>, region: &str) -> Option<Value> {
    let Some(mut metadata) = item.section("metadata") else {
        item.report_mistake("metadata", "is missing");
        return None;
    };
    let namespace = metadata.some_text("namespace").unwrap_or_else(|| "default".to_owned());
    let Some(name) = metadata.some_text("name") else {
        metadata.report_mistake("name", "is missing");
        return None;
    };
    for field in ["labels", "annotations"] {
        metadata.differ(field, "Keelson creates no ServiceAccounts: keep it, with these, in Git");
    }
    let existing = item.some_text("attachRoleARN");
    let role = match existing {
        Some(_) => None,
        None => role(&mut item, &OF_SERVICE_ACCOUNT, region),
    };
    let Some(role) = role else {
        item.leave(&format!(
            "{namespace}/{name}: Keelson creates no ServiceAccounts: keep it in Git, and give it its role under podIdentities, which \
             needs no annotation; the role must trust pods.eks.amazonaws.com"
        ));
        return None;
    };
    item.report_difference(
        "metadata",
        format!(
            "{namespace}/{name} gets its role by EKS Pod Identity in place of IRSA: keep the ServiceAccount in Git, without the \
             annotation eks.amazonaws.com/role-arn; its Pods need a version of the AWS SDK that supports Pod Identity"
        ),
    );
    item.differ_unless("roleOnly", true, "Keelson creates no ServiceAccounts: keep it in Git");
    item.refuse_each(&[
        ("tags", "roles get the cluster's tags"),
        ("status", "is a state that eksctl reports, not a setting"),
        ("attachRoleARN", "a role is created already"),
    ]);
    Some(json!({"namespace": namespace, "serviceAccount": name, "role": role}))
}
