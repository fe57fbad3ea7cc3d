//! The types that the inputs of all agents share.
//!
//! Not allowed here: the API's types, so that the builders can be tested without an EksCluster. No I/O.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;

/// The revision of the repository; [`super::validate_source::reference`] checks each text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitRef {
    Branch(String),
    Tag(String),
    Semver(String),
    Commit(String),
    Name(String),
}

impl GitRef {
    /// The field of GitRepository's `spec.ref`, and its value.
    pub fn field(&self) -> (&'static str, &str) {
        match self {
            Self::Branch(value) => ("branch", value),
            Self::Tag(value) => ("tag", value),
            Self::Semver(value) => ("semver", value),
            Self::Commit(value) => ("commit", value),
            Self::Name(value) => ("name", value),
        }
    }
}

/// The version of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OciRef {
    Tag(String),
    Semver(String),
    Digest(String),
}

impl OciRef {
    /// The field of OCIRepository's `spec.ref`, and its value.
    pub fn field(&self) -> (&'static str, &str) {
        match self {
            Self::Tag(value) => ("tag", value),
            Self::Semver(value) => ("semver", value),
            Self::Digest(value) => ("digest", value),
        }
    }
}

/// The data of a Secret of the management cluster. `Debug` prints the keys only.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretData(pub BTreeMap<String, ByteString>);

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A Secret that is copied under its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCopy {
    pub name: String,
    /// The Secret's type: that of image pull secrets, or `Opaque`.
    pub kind: String,
    pub data: SecretData,
}

/// Values that manifests in Git may refer to as `${NAME}`. An unknown value is empty, not missing: Flux fails on an
/// unset variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub cluster_name: String,
    pub aws_region: String,
    pub aws_account_id: String,
    pub vpc_id: Option<String>,
    pub private_subnet_ids: Vec<String>,
    pub public_subnet_ids: Vec<String>,
    pub pod_subnet_ids: Vec<String>,
    /// Of each of them.
    pub pod_subnet_zones: Vec<String>,
    pub oidc_issuer: Option<String>,
    pub oidc_provider_arn: Option<String>,
    pub cluster_endpoint: Option<String>,
    pub cluster_security_group_id: Option<String>,
    pub node_role_arn: Option<String>,
    pub kubernetes_version: Option<String>,
    /// `None`: the spec does not ask for it.
    pub karpenter: Option<KarpenterFacts>,
}

/// What Karpenter's manifests refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KarpenterFacts {
    /// For `spec.role` of an EC2NodeClass.
    pub node_role_name: Option<String>,
    /// For `spec.subnetSelectorTerms` of an EC2NodeClass: JSON, which is YAML.
    pub subnet_selector_terms: Option<String>,
    /// Empty: none.
    pub interruption_queue: String,
}

impl Facts {
    /// Each fact and its name in manifests; an unknown value is empty. Those of subnets for Pods are absent without such subnets, and
    /// those of Karpenter without `spec.karpenter`: a newer operator must not change what clusters have.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let text = |fact: &Option<String>| fact.clone().unwrap_or_default();
        // Destructured, so that the compiler reports a missing fact.
        let Self {
            cluster_name,
            aws_region,
            aws_account_id,
            vpc_id,
            private_subnet_ids,
            public_subnet_ids,
            pod_subnet_ids,
            pod_subnet_zones,
            oidc_issuer,
            oidc_provider_arn,
            cluster_endpoint,
            cluster_security_group_id,
            node_role_arn,
            kubernetes_version,
            karpenter,
        } = self;
        let all = [
            ("CLUSTER_NAME", cluster_name.clone()),
            ("AWS_REGION", aws_region.clone()),
            ("AWS_ACCOUNT_ID", aws_account_id.clone()),
            ("VPC_ID", text(vpc_id)),
            ("PRIVATE_SUBNET_IDS", private_subnet_ids.join(",")),
            ("PUBLIC_SUBNET_IDS", public_subnet_ids.join(",")),
            ("POD_SUBNET_IDS", pod_subnet_ids.join(",")),
            ("POD_SUBNET_ZONES", pod_subnet_zones.join(",")),
            ("OIDC_ISSUER", text(oidc_issuer)),
            ("OIDC_PROVIDER_ARN", text(oidc_provider_arn)),
            ("CLUSTER_ENDPOINT", text(cluster_endpoint)),
            ("CLUSTER_SECURITY_GROUP_ID", text(cluster_security_group_id)),
            ("NODE_ROLE_ARN", text(node_role_arn)),
            ("KUBERNETES_VERSION", text(kubernetes_version)),
        ];
        let of_karpenter = karpenter.iter().flat_map(|facts| {
            let KarpenterFacts { node_role_name, subnet_selector_terms, interruption_queue } = facts;
            [
                ("KARPENTER_NODE_ROLE_NAME", text(node_role_name)),
                ("KARPENTER_SUBNET_SELECTOR_TERMS", text(subnet_selector_terms)),
                ("KARPENTER_INTERRUPTION_QUEUE", interruption_queue.clone()),
            ]
        });
        let is_there = |(name, value): &(&str, String)| !name.starts_with("POD_SUBNET_") || !value.is_empty();
        all.into_iter().filter(is_there).chain(of_karpenter).collect()
    }
}
