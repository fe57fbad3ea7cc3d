//! `karpenter`: eksctl creates its roles and installs it; Keelson creates its roles, and it comes from Git. Pure.

use serde_json::{Value, json};

use super::section::Section;

/// Where eksctl installs it.
const NAMESPACE: &str = "karpenter";

/// `spec.karpenter`, if the file has a Karpenter.
pub fn karpenter(file: &mut Section<'_>) -> Option<Value> {
    let mut section = file.section("karpenter")?;
    let queue = section.flag("withSpotInterruptionQueue").unwrap_or_default();
    section.differ(
        "version",
        "Keelson creates what Karpenter needs in AWS, and installs no Karpenter: keep it in Git (docs/how-to/karpenter.md); the \
         AwsAccount has to allow its policy (allowedWorkloadPolicies)",
    );
    section.differ(
        "createServiceAccount",
        "karpenter/karpenter gets its role by EKS Pod Identity: keep the ServiceAccount in Git, without the annotation \
         eks.amazonaws.com/role-arn",
    );
    section.refuse(
        "defaultInstanceProfile",
        "Karpenter creates instance profiles itself: set spec.role of each EC2NodeClass to the role of the nodes",
    );
    Some(json!({"namespace": NAMESPACE, "interruptionQueue": queue}))
}
