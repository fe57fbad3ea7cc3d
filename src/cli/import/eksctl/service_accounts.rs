//! `iam.serviceAccounts` with a role that exists (`attachRoleARN`): by EKS Pod Identity, or still by IRSA. Pure.

use serde_json::{Value, json};

use crate::cli::import::section::Section;

/// How Pods of the cluster get the credentials of a role.
pub struct RoleAccess {
    /// EKS Auto Mode, or the add-on eks-pod-identity-agent.
    pub pod_identity: bool,
    /// `iam.withOIDC`.
    pub oidc_provider: bool,
}

impl RoleAccess {
    /// From the whole file, nothing of which was taken yet.
    pub fn of(document: &Value) -> Self {
        let is_true = |pointer: &str| document.pointer(pointer) == Some(&Value::Bool(true));
        let addons = document.get("addons").and_then(Value::as_array);
        let has_agent =
            addons.is_some_and(|addons| addons.iter().any(|addon| addon["name"] == "eks-pod-identity-agent"));
        Self { pod_identity: has_agent || is_true("/autoModeConfig/enabled"), oidc_provider: is_true("/iam/withOIDC") }
    }
}

/// An entry of `podIdentities`; `None`: it is reported what else becomes of the service account. Its `attachRoleARN`
/// is set.
pub fn with_existing_role(mut item: Section<'_>, access: &RoleAccess) -> Option<Value> {
    let role = item.some_text("attachRoleARN")?;
    let Some(mut metadata) = item.section("metadata") else {
        item.report_mistake("metadata", "is missing");
        return None;
    };
    let namespace = metadata.some_text("namespace").unwrap_or_else(|| "default".to_owned());
    let Some(name) = metadata.some_text("name") else {
        metadata.report_mistake("name", "is missing");
        return None;
    };
    let in_git = "Keelson creates no ServiceAccounts: keep it, with these, in Git";
    metadata.differ("labels", in_git);
    metadata.differ("annotations", in_git);
    for field in ["attachPolicyARNs", "attachPolicy", "wellKnownPolicies", "permissionsBoundary", "roleName"] {
        item.refuse(field, "configures a role that eksctl would create, and a role is already set");
    }
    item.differ("tags", "eksctl sets them on a role that it creates, and a role is already set");
    item.differ("roleOnly", "the role exists, and Keelson creates no ServiceAccounts");
    item.refuse("status", "is a state that eksctl reports, not a setting");
    if access.pod_identity {
        item.report_difference(
            "attachRoleARN",
            format!(
                "{namespace}/{name} gets the role by EKS Pod Identity (podIdentities) in place of IRSA: the role must trust \
                 pods.eks.amazonaws.com; keep the ServiceAccount in Git, without the annotation eks.amazonaws.com/role-arn"
            ),
        );
        return Some(json!({"namespace": namespace, "serviceAccount": name, "roleArn": role}));
    }
    if access.oidc_provider {
        item.report_difference(
            "attachRoleARN",
            format!(
                "{namespace}/{name} keeps IRSA (oidcProvider: true): keep the ServiceAccount in Git, with the annotation \
                 eks.amazonaws.com/role-arn: {role}; the role must trust the OIDC provider of the new cluster"
            ),
        );
        return None;
    }
    item.report_left_out(
        "attachRoleARN",
        format!(
            "{namespace}/{name}: nothing gives its Pods the role: set iam.withOIDC (IRSA), or list the add-on \
             eks-pod-identity-agent (EKS Pod Identity), and convert again"
        ),
    );
    None
}
