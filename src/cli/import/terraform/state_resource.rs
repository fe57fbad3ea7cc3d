//! The resources of a state that a manifest can own. Pure.

use serde_json::Value;

use super::state::Instance;
use crate::cli::import::adopted::Adopted;

/// What a resource is in a cluster. The order is that in which they leave the state: what refers to others first. Were a
/// cluster forgotten before its node groups, Terraform would plan to replace those.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    AccessPolicy { principal: String },
    AccessEntry { principal: String },
    PodIdentity { namespace: String, service_account: String },
    Addon { name: String },
    FargateProfile { name: String },
    Capability { name: String },
    IdentityProvider,
    NodeGroup { name: String },
    OidcProvider,
    Cluster,
    LogGroup,
}

impl Member {
    /// What the instance is in the cluster of that name, whose issuer has that URL; `None`: it is not in the cluster.
    pub fn of(instance: &Instance, cluster: &str, issuer: &str) -> Option<Self> {
        let text = |attribute: &str| instance.text(attribute).to_owned();
        let member = match instance.type_.as_str() {
            "aws_iam_openid_connect_provider" => {
                let url = instance.text("url").trim_start_matches("https://");
                return (!issuer.is_empty() && url == issuer).then_some(Self::OidcProvider);
            }
            "aws_cloudwatch_log_group" => {
                return (instance.text("name") == format!("/aws/eks/{cluster}/cluster")).then_some(Self::LogGroup);
            }
            "aws_eks_cluster" => return (instance.text("name") == cluster).then_some(Self::Cluster),
            "aws_eks_access_policy_association" => Self::AccessPolicy { principal: text("principal_arn") },
            "aws_eks_access_entry" => Self::AccessEntry { principal: text("principal_arn") },
            "aws_eks_pod_identity_association" => {
                Self::PodIdentity { namespace: text("namespace"), service_account: text("service_account") }
            }
            "aws_eks_addon" => Self::Addon { name: text("addon_name") },
            "aws_eks_fargate_profile" => Self::FargateProfile { name: text("fargate_profile_name") },
            "aws_eks_capability" => Self::Capability { name: text("capability_name") },
            "aws_eks_identity_provider_config" => Self::IdentityProvider,
            "aws_eks_node_group" => Self::NodeGroup { name: text("node_group_name") },
            _ => return None,
        };
        (instance.text("cluster_name") == cluster).then_some(member)
    }

    /// Whether the manifest has it, so that Keelson owns it once the manifest is applied.
    pub fn is_owned(&self, adopted: &Adopted) -> bool {
        let spec = adopted.objects.first().map(|object| &object["spec"]).unwrap_or(&Value::Null);
        let has = |pointer: &str, matches: &dyn Fn(&Value) -> bool| {
            spec.pointer(pointer).and_then(Value::as_array).is_some_and(|all| all.iter().any(matches))
        };
        match self {
            Self::Cluster => true,
            Self::LogGroup => !spec["logGroup"].is_null(),
            Self::OidcProvider => spec["oidcProvider"] != false,
            Self::NodeGroup { name } => adopted.node_groups.contains(name),
            Self::Addon { name } => has("/addons", &|one| one["name"] == **name),
            Self::FargateProfile { name } => has("/fargateProfiles", &|one| one["name"] == **name),
            Self::Capability { name } => has("/capabilities", &|one| one["name"] == **name),
            Self::IdentityProvider => !spec["access"]["oidcIdentityProvider"].is_null(),
            Self::PodIdentity { namespace, service_account } => has("/podIdentities", &|one| {
                one["namespace"] == **namespace && one["serviceAccount"] == **service_account
            }),
            Self::AccessEntry { principal } => has("/access/entries", &|one| one["principalArn"] == **principal),
            Self::AccessPolicy { principal } => {
                has("/access/entries", &|one| one["principalArn"] == **principal && !one["policies"].is_null())
            }
        }
    }
}
