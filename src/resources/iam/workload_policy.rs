//! The policies that Keelson includes for roles of Pods: AWS's managed ones where they exist, and otherwise statements of
//! our own (`workload_policies/`), limited to the cluster where the actions support that. Pure.
//!
//! `e2e/tests/test_workload_policies.py` holds their actions against AWS's service models.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::workload_role::WorkloadPolicy;
use crate::aws::tags::OWNER;

/// What its file says of it, apart from what the documentation needs.
#[derive(Clone, Debug, Deserialize)]
struct PolicyFile {
    /// Names of AWS managed policies, with their path.
    managed: Vec<String>,
    /// Statements with placeholders.
    statements: Vec<Value>,
}

/// What the placeholders stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholders<'a> {
    /// E.g. `aws`.
    pub partition: &'a str,
    /// The cluster's region.
    pub region: &'a str,
    /// The account of the cluster and of the role.
    pub account: &'a str,
    /// The cluster's name in EKS.
    pub cluster: &'a str,
    /// The name of the cluster's node role.
    pub node_role: &'a str,
}

fn text_of(policy: WorkloadPolicy) -> &'static str {
    macro_rules! files {
        ($($name:ident),* $(,)?) => {
            match policy {
                $(WorkloadPolicy::$name => include_str!(concat!("workload_policies/", stringify!($name), ".json")),)*
            }
        };
    }
    files!(
        AWSLoadBalancerController,
        CertManager,
        CloudWatchAgent,
        ClusterAutoscaler,
        EBSCSIDriver,
        EFSCSIDriver,
        ExternalDNS,
        ExternalSecrets,
        Karpenter,
        PrometheusRemoteWrite,
        S3CSIDriver,
        VPCCNI,
    )
}

/// The policy's file.
fn included(policy: WorkloadPolicy) -> PolicyFile {
    serde_json::from_str(text_of(policy)).expect("a test reads each file")
}

/// ARNs of the AWS managed policies that it stands for.
pub fn managed_arns(policy: WorkloadPolicy, partition: &str) -> Vec<String> {
    included(policy).managed.iter().map(|name| format!("arn:{partition}:iam::aws:policy/{name}")).collect()
}

/// Its own document for the cluster; `None` if AWS maintains all of it.
pub fn document(policy: WorkloadPolicy, placeholders: &Placeholders<'_>) -> Option<String> {
    let PolicyFile { statements, .. } = included(policy);
    (!statements.is_empty()).then(|| fill(&statements, placeholders))
}

/// That of the role that `spec.karpenter` asks for. Of queues, it reads the one with that name, and only if it belongs to the same object:
/// a tenant chooses the name of its cluster, and so that of the queue, but neither of the tags.
pub fn karpenter_document(placeholders: &Placeholders<'_>, queue: &str) -> String {
    let PolicyFile { mut statements, .. } = included(WorkloadPolicy::Karpenter);
    statements.retain(|statement| !statement.to_string().contains("\"sqs:"));
    let Placeholders { partition, region, account, .. } = placeholders;
    statements.push(json!({
        "Effect": "Allow",
        "Action": ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage"],
        "Resource": format!("arn:{partition}:sqs:{region}:{account}:{queue}"),
        "Condition": {"StringEquals": {format!("aws:ResourceTag/{OWNER}"): format!("${{aws:PrincipalTag/{OWNER}}}")}},
    }));
    fill(&statements, placeholders)
}

/// The document with its placeholders filled.
fn fill(statements: &[Value], placeholders: &Placeholders<'_>) -> String {
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let Placeholders { partition, region, account, cluster, node_role } = placeholders;
    let values = [
        ("{{partition}}", *partition),
        ("{{region}}", region),
        ("{{account}}", account),
        ("{{cluster}}", cluster),
        ("{{nodeRole}}", node_role),
    ];
    values.iter().fold(document, |text, (placeholder, value)| text.replace(placeholder, value))
}

/// Characters of a document as IAM counts them for its quotas: without white space.
pub fn length(document: &str) -> usize {
    document.chars().filter(|character| !character.is_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE_ROLE: &str = "keelson-payments-0a1b2c3d-node";
    const PLACE: Placeholders<'_> = Placeholders {
        partition: "aws-cn",
        region: "cn-north-1",
        account: "123456789012",
        cluster: "payments",
        node_role: NODE_ROLE,
    };

    #[test]
    fn each_included_policy_is_a_document_or_managed_by_aws() {
        for policy in WorkloadPolicy::ALL {
            let PolicyFile { managed, statements } = included(policy);
            assert_eq!(managed.is_empty(), !statements.is_empty(), "{policy:?}: one of both");
            let Some(document) = document(policy, &PLACE) else { continue };
            assert!(!document.contains("{{") && serde_json::from_str::<Value>(&document).is_ok(), "{policy:?}");
            assert!(!document.contains("arn:aws:"), "{policy:?}: other partitions");
            let (cluster, node_role) = ("c".repeat(100), "r".repeat(64));
            let longest = Placeholders { cluster: &cluster, node_role: &node_role, region: "ap-southeast-1", ..PLACE };
            let length = length(&super::document(policy, &longest).unwrap());
            assert!(length <= 8_000, "{policy:?}: {length} characters leave no room in a role");
        }
    }

    #[test]
    fn page_lists_each_included_policy() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/how-to/workload-roles.md");
        let text = std::fs::read_to_string(page).unwrap();
        let (head, rest) = text.split_once("|---|---|---|\n").expect("the table");
        let tail = rest.split_once("\n\n").map(|(_, tail)| tail).unwrap_or_default();
        let rows = WorkloadPolicy::ALL.map(|policy| {
            let file: Value = serde_json::from_str(text_of(policy)).unwrap();
            let of = |field: &str| file[field].as_str().unwrap().to_owned();
            let managed = managed_arns(policy, "aws");
            let managed = managed.first().map(|arn| format!(" (`{}`)", arn.rsplit('/').next().unwrap_or(arn)));
            let purpose = format!("[{}]({})", of("for"), of("documentation"));
            format!("| `{}` | {purpose} | {}{} |", policy.as_str(), of("limits"), managed.unwrap_or_default())
        });
        let wanted = format!("{head}|---|---|---|\n{}\n\n{tail}", rows.join("\n"));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(page, &wanted).unwrap();
        }
        assert!(
            std::fs::read_to_string(page).unwrap() == wanted,
            "{page} is stale: UPDATE_DOCS=1 cargo test --lib workload_policy"
        );
    }

    #[test]
    fn names_in_the_spec_are_those_of_the_files() {
        for policy in WorkloadPolicy::ALL {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
        }
    }

    #[test]
    fn statements_are_limited_to_the_cluster() {
        let controller = document(WorkloadPolicy::AWSLoadBalancerController, &PLACE).unwrap();
        assert!(controller.contains(r#""aws:ResourceTag/elbv2.k8s.aws/cluster":"payments""#), "{controller}");
        let karpenter = document(WorkloadPolicy::Karpenter, &PLACE).unwrap();
        assert!(karpenter.contains(&format!("role/{NODE_ROLE}\"")), "{karpenter}");
        assert!(!karpenter.contains("????") && !karpenter.contains("KarpenterNodeRole"), "{karpenter}");
        let own = karpenter_document(&PLACE, "keelson-payments-karpenter");
        assert!(
            own.contains("sqs:cn-north-1:123456789012:keelson-payments-karpenter\"") && !own.contains("{{"),
            "{own}"
        );
        assert!(
            own.contains("${aws:PrincipalTag/keelson.dev/owner}") && !own.contains(":123456789012:payments\""),
            "{own}"
        );
        assert!(length(&own) <= 8_000, "{}", length(&own));
        let secrets = document(WorkloadPolicy::ExternalSecrets, &PLACE).unwrap();
        assert!(secrets.contains("secret:${aws:PrincipalTag/keelson.dev/cluster}/*"), "{secrets}");
        assert!(!secrets.contains("payments"), "a tenant chooses that name: {secrets}");
    }
}
