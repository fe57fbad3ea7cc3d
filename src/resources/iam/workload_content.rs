//! What a role of Pods consists of, as the spec asks for it: who can assume it, and its policies. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::role_name;
use super::workload_policy::{self, Placeholders};
use super::workload_role::{addon_of, key_of_addon, key_of_pods};
use crate::api::access::PodIdentity;
use crate::api::addons::Addon;
use crate::api::karpenter::Karpenter;
use crate::api::workload_role::{WorkloadPolicy, WorkloadRole};
use crate::api::{EksClusterSpec, SpecError};
use crate::engine::Key;
use crate::resources::karpenter::names;

/// Characters of all inline policies of a role, without white space:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>.
const MAX_INLINE: usize = 10_240;
/// The inline policy with the document of the spec.
const OWN: &str = "policy";
/// The inline policy that allows a second role to be assumed.
const TARGET: &str = "target-role";
/// What a role is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RoleRequest {
    pub role: WorkloadRole,
    /// Namespace and service account; `None`: those of an add-on, or sessions without tags.
    pub service_account: Option<(String, String)>,
    /// Sessions carry tags that name the cluster.
    pub has_session_tags: bool,
    pub target: Option<String>,
    /// For Karpenter's own role: the name of its queue.
    pub queue: Option<String>,
}

/// The keys of the roles that the spec asks for, and what each is for.
pub(super) fn desired(spec: &EksClusterSpec, cluster: &str) -> impl Iterator<Item = (Key, RoleRequest)> {
    let of_pods = spec.pod_identities.iter().filter_map(|one| {
        let PodIdentity { namespace, service_account, role_arn: _, role, target_role_arn, disable_session_tags } = one;
        let has_session_tags = *disable_session_tags != Some(true);
        let service_account = (namespace.clone(), service_account.clone());
        let key = key_of_pods(&service_account.0, &service_account.1);
        let service_account = Some(service_account).filter(|_| has_session_tags);
        let target = target_role_arn.clone();
        Some((key, RoleRequest { role: role.clone()?, service_account, has_session_tags, target, queue: None }))
    });
    let of_addons = spec.addons.iter().filter_map(|Addon { name, pod_identity_role, .. }| {
        let role = pod_identity_role.clone()?;
        let wants = RoleRequest { role, service_account: None, has_session_tags: true, target: None, queue: None };
        Some((key_of_addon(name), wants))
    });
    let queue = names::queue(cluster);
    let of_karpenter =
        spec.karpenter.iter().map(move |Karpenter { namespace, service_account, interruption_queue: _ }| {
            let role = WorkloadRole { policies: vec![WorkloadPolicy::Karpenter], ..WorkloadRole::default() };
            let (key, service_account) =
                (key_of_pods(namespace, service_account), Some((namespace.clone(), service_account.clone())));
            (
                key,
                RoleRequest { role, service_account, has_session_tags: true, target: None, queue: Some(queue.clone()) },
            )
        });
    of_pods.chain(of_addons).chain(of_karpenter)
}

/// Whether the spec asks for any.
pub(crate) fn is_wanted(spec: &EksClusterSpec) -> bool {
    desired(spec, "").next().is_some()
}

/// Refuses documents that IAM would refuse, before anything is created.
///
/// # Errors
/// The first field with such a document.
pub fn check(spec: &EksClusterSpec, cluster: &str) -> Result<(), SpecError> {
    for (key, wants) in desired(spec, cluster) {
        let field = match addon_of(&key) {
            _ if wants.queue.is_some() => "spec.karpenter".to_owned(),
            Some(addon) => format!("spec.addons[{addon}].podIdentityRole"),
            None => format!("spec.podIdentities[{}].role", key.name()),
        };
        if let Some(document) = &wants.role.policy {
            check_document(document).map_err(|why| SpecError::new(format!("{field}.policy"), why))?;
        }
        // Accounts have ids of the same length, and partitions names of about the same.
        let (account, node_role) = ("000000000000", &role_name::name(cluster, "", "node"));
        let placeholders = Placeholders { partition: "aws", region: &spec.region, account, cluster, node_role };
        let length: usize =
            wants.inline(&placeholders).values().map(|document| workload_policy::length(document)).sum();
        if length > MAX_INLINE {
            let why = format!(
                "its documents take {length} characters, and IAM takes {MAX_INLINE} in all inline policies of a role: create a \
                 managed policy for some of them and list it in policyArns"
            );
            return Err(SpecError::new(field, why));
        }
    }
    Ok(())
}

/// Whether the document can be one of a role; IAM checks the rest.
fn check_document(document: &Map<String, Value>) -> Result<(), String> {
    let advice = "write a policy document of IAM with Version \"2012-10-17\" and a list Statement";
    if let Some(other) = document.keys().find(|key| !["Version", "Id", "Statement"].contains(&key.as_str())) {
        return Err(format!("{other} is no element of a policy document: {advice}"));
    }
    let statements = match document.get("Statement") {
        Some(Value::Array(list)) if !list.is_empty() => list.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => return Err(format!("it has no Statement: {advice}")),
    };
    for (n, statement) in statements.into_iter().enumerate() {
        let has = |element: &str| statement.get(element).is_some();
        let wrong = if !statement.is_object() {
            "is not a mapping"
        } else if has("Principal") || has("NotPrincipal") {
            "names a principal: a policy of a role applies to the role itself, so leave Principal out"
        } else if !matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) {
            "needs Effect: Allow or Deny"
        } else if has("Action") == has("NotAction") {
            "needs either Action or NotAction"
        } else if has("Resource") == has("NotResource") {
            "needs either Resource or NotResource"
        } else {
            continue;
        };
        return Err(format!("Statement[{n}] {wrong}"));
    }
    Ok(())
}

impl RoleRequest {
    /// Inline policies by name, as JSON.
    pub(super) fn inline(&self, placeholders: &Placeholders<'_>) -> BTreeMap<String, String> {
        let included = self.role.policies.iter().filter_map(|policy| {
            let document = match &self.queue {
                Some(queue) => workload_policy::karpenter_document(placeholders, queue),
                None => workload_policy::document(*policy, placeholders)?,
            };
            Some((format!("keelson-{}", policy.as_str()), document))
        });
        let own = self.role.policy.clone().map(|document| (OWN.to_owned(), Value::Object(document).to_string()));
        let target = self.target.as_ref().map(|target| {
            let statement =
                json!({"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Resource": target});
            (TARGET.to_owned(), json!({"Version": "2012-10-17", "Statement": [statement]}).to_string())
        });
        included.chain(own).chain(target).collect()
    }

    /// ARNs of the managed policies.
    pub(super) fn managed(&self, partition: &str) -> Vec<String> {
        let mut all = self.role.policy_arns.clone();
        for arn in self.role.policies.iter().flat_map(|policy| workload_policy::managed_arns(*policy, partition)) {
            if !all.contains(&arn) {
                all.push(arn);
            }
        }
        all
    }

    pub(super) fn trust(&self, placeholders: &Placeholders<'_>) -> String {
        let Placeholders { partition, region, account, cluster, node_role: _ } = placeholders;
        let mut equal = json!({"aws:SourceAccount": account});
        if self.has_session_tags {
            // What EKS names in each session: no Pod of another cluster, and of no other service account, gets the role.
            equal["aws:RequestTag/eks-cluster-arn"] =
                json!(format!("arn:{partition}:eks:{region}:{account}:cluster/{cluster}"));
        }
        if let Some((namespace, service_account)) = &self.service_account {
            equal["aws:RequestTag/kubernetes-namespace"] = json!(namespace);
            equal["aws:RequestTag/kubernetes-service-account"] = json!(service_account);
        }
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Condition": {"StringEquals": equal},
            }],
        })
        .to_string()
    }
}

#[cfg(test)]
#[path = "workload_content_tests.rs"]
mod tests;
