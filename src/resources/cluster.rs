//! The EKS control plane.
//!
//! Follows <https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html>. Made without EKS's self-managed
//! add-ons: ours are EKS add-ons, and the two would be in each other's way.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eks::types::{
    AuthenticationMode, ClusterStatus, CreateAccessConfigRequest, EncryptionConfig, KubernetesNetworkConfigRequest,
    LogSetup, LogType, Logging, Provider, SupportType, UpgradePolicyRequest, VpcConfigRequest,
};
use jiff::Timestamp;

use super::cloud::{Cloud, Intervals, Making, changes_tags, not_yet, tag_changes};
use super::role::{self, Purpose};
use super::survey;
use crate::api::access::AuthenticationMode as WantedMode;
use crate::api::cluster::{EksClusterSpec, SupportType as WantedSupport};
use crate::aws::Service;
use crate::aws::tags::{Ownership, Tags};
use crate::aws::tokens::client_token;
use crate::engine::{Action, Change, Class, Failure, Goal, Key, Look, Observed, Phase, Presence, Refs, Resource, Rest};

/// The control plane of a cluster.
pub struct Cluster {
    name: String,
    spec: Box<EksClusterSpec>,
    /// What says in which subnets it is: subnets of ours, or the existing network.
    network: Vec<Key>,
    /// The version to be at now; `None`: the one it has.
    version: Option<String>,
    tags: Tags,
    intervals: Intervals,
}

/// What is seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    version: String,
    role_arn: String,
    public: bool,
    private: bool,
    public_cidrs: BTreeSet<String>,
    logging: BTreeSet<String>,
    support: Option<String>,
    deletion_protection: bool,
    authentication: String,
    kms_key: Option<String>,
    service_cidr: Option<String>,
    tags: Tags,
}

/// Its name in the graph.
pub fn key() -> Key {
    Key::single("cluster")
}

/// The name of the output that lists subnets of an existing network.
pub const SUBNET_IDS: &str = "subnetIds";

impl Cluster {
    /// The control plane that `spec` asks for, in the subnets that `network` names. `version`: that it is to be at now, on its
    /// way to the spec's; `None`: the one it has.
    pub fn new(making: &Making<'_>, spec: &EksClusterSpec, network: Vec<Key>, version: Option<String>) -> Self {
        let spec = EksClusterSpec { gitops: None, addons: Vec::new(), ..spec.clone() };
        Self {
            name: making.cluster_name.into(),
            spec: Box::new(spec),
            network,
            version,
            tags: making.tags(&key()),
            intervals: making.intervals,
        }
    }

    fn subnet_ids(&self, refs: &Refs) -> Result<Vec<String>, Failure> {
        let mut ids = Vec::new();
        for place in &self.network {
            match refs.output(place, SUBNET_IDS) {
                Some(several) => ids.extend(several.split(',').map(str::to_owned)),
                None => ids.push(refs.id(place)?.to_owned()),
            }
        }
        Ok(ids)
    }

    fn security_groups(&self) -> Option<Vec<String>> {
        self.spec.network.existing.as_ref().and_then(|existing| existing.security_group_ids.clone())
    }

    fn vpc_config(&self, refs: &Refs) -> Result<VpcConfigRequest, Failure> {
        let access = &self.spec.endpoint_access;
        Ok(VpcConfigRequest::builder()
            .set_subnet_ids(Some(self.subnet_ids(refs)?))
            .set_security_group_ids(self.security_groups())
            .endpoint_public_access(access.public)
            .endpoint_private_access(access.private)
            .set_public_access_cidrs(access.public.then(|| access.public_cidrs.clone()))
            .build())
    }

    fn observed(&self, cluster: &aws_sdk_eks::types::Cluster) -> Observed<Seen> {
        let status = cluster.status().map_or("CREATING", ClusterStatus::as_str);
        let since = cluster.created_at().and_then(|at| Timestamp::from_second(at.secs()).ok());
        let busy = |action, since| Phase::Busy { action, since, note: String::new() };
        let phase = match cluster.status() {
            Some(ClusterStatus::Active) => Phase::Ready,
            Some(ClusterStatus::Updating) => busy(Action::Update, None),
            Some(ClusterStatus::Deleting) => busy(Action::Delete, None),
            Some(ClusterStatus::Failed) => {
                Phase::Failed { reason: health(cluster), class: Class::Unknown, make_again: false }
            }
            _ => busy(Action::Create, since),
        };
        let vpc = cluster.resources_vpc_config();
        let mut seen = Observed::ready(&self.name, status, seen(cluster)).phase(phase);
        let outputs = [
            ("arn", cluster.arn()),
            ("endpoint", cluster.endpoint()),
            ("certificateAuthority", cluster.certificate_authority().and_then(|ca| ca.data())),
            ("oidcIssuer", cluster.identity().and_then(|i| i.oidc()).and_then(|oidc| oidc.issuer())),
            ("version", cluster.version()),
            ("platformVersion", cluster.platform_version()),
            ("securityGroupId", vpc.and_then(|vpc| vpc.cluster_security_group_id())),
            ("vpcId", vpc.and_then(|vpc| vpc.vpc_id())),
        ];
        for (name, value) in outputs {
            if let Some(value) = value {
                seen = seen.output(name, value);
            }
        }
        if let Some(since) = since {
            seen = seen.output("createdAt", since.to_string());
        }
        seen
    }
}

fn seen(cluster: &aws_sdk_eks::types::Cluster) -> Seen {
    let vpc = cluster.resources_vpc_config();
    let on = cluster.logging().map_or(&[][..], |logging| logging.cluster_logging());
    let on = on.iter().filter(|setup| setup.enabled() == Some(true));
    Seen {
        version: cluster.version().unwrap_or_default().into(),
        role_arn: cluster.role_arn().unwrap_or_default().into(),
        public: vpc.is_some_and(|vpc| vpc.endpoint_public_access()),
        private: vpc.is_some_and(|vpc| vpc.endpoint_private_access()),
        public_cidrs: vpc.map(|vpc| vpc.public_access_cidrs().iter().cloned().collect()).unwrap_or_default(),
        logging: on.flat_map(|setup| setup.types()).map(|log| log.as_str().to_owned()).collect(),
        support: cluster.upgrade_policy().and_then(|p| p.support_type()).map(|s| s.as_str().to_owned()),
        deletion_protection: cluster.deletion_protection().unwrap_or(false),
        authentication: cluster
            .access_config()
            .and_then(|access| access.authentication_mode())
            .map_or(String::new(), |mode| mode.as_str().to_owned()),
        kms_key: cluster
            .encryption_config()
            .first()
            .and_then(|config| config.provider())
            .and_then(|provider| provider.key_arn())
            .map(str::to_owned),
        service_cidr: cluster.kubernetes_network_config().and_then(|n| n.service_ipv4_cidr()).map(str::to_owned),
        tags: Tags::from_eks(cluster.tags()),
    }
}

fn health(cluster: &aws_sdk_eks::types::Cluster) -> String {
    let issues = cluster.health().map_or(&[][..], |health| health.issues());
    let told: Vec<_> = issues
        .iter()
        .map(|issue| {
            let code = issue.code().map_or("", |code| code.as_str());
            format!("{code}: {}", issue.message().unwrap_or_default())
        })
        .collect();
    if told.is_empty() { "EKS gives no reason".into() } else { told.join("; ") }
}

fn mode(mode: WantedMode) -> AuthenticationMode {
    match mode {
        WantedMode::Api => AuthenticationMode::Api,
        WantedMode::ApiAndConfigMap => AuthenticationMode::ApiAndConfigMap,
    }
}

fn support(support: WantedSupport) -> SupportType {
    match support {
        WantedSupport::Standard => SupportType::Standard,
        WantedSupport::Extended => SupportType::Extended,
    }
}

fn list(set: &BTreeSet<String>) -> String {
    set.iter().cloned().collect::<Vec<_>>().join(", ")
}

#[async_trait]
impl Resource for Cluster {
    type Cloud = Cloud;
    type Seen = Seen;

    fn key(&self) -> Key {
        key()
    }

    fn after(&self) -> Vec<Key> {
        self.network.iter().cloned().chain([role::key(Purpose::Cluster)]).collect()
    }

    fn deletable_while(&self, _: Action) -> bool {
        false
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let access = match (self.spec.endpoint_access.public, self.spec.endpoint_access.private) {
            (true, true) => "public and private",
            (true, false) => "public",
            _ => "private",
        };
        vec![("version", self.spec.version.clone()), ("endpoint", access.into())]
    }

    /// 8 to 13 min to create, as measured by others.
    fn expected(&self, action: Action) -> Duration {
        Duration::from_secs(match action {
            Action::Create => 560,
            Action::Update => 480,
            Action::Delete => 180,
        })
    }

    fn rest(&self) -> Rest {
        self.intervals.single()
    }

    fn irreplaceable(&self) -> Option<String> {
        Some(format!(
            "cluster {} was deleted outside Keelson, with everything that ran in it, and is not made again by itself: \
             delete this EksCluster to clear away what is left, and apply it again",
            self.name
        ))
    }

    fn diff(&self, seen: &Observed<Seen>, refs: &Refs) -> Vec<Change> {
        let there = &seen.detail;
        let mut changes = tag_changes(&self.tags, &there.tags);
        let mut differs = |field: &str, from: String, to: String| {
            if from != to {
                changes.push(not_yet(field, from, to));
            }
        };
        let spec = &self.spec;
        if let Some(version) = &self.version {
            differs("version", there.version.clone(), version.clone());
        }
        differs("endpointAccess.public", there.public.to_string(), spec.endpoint_access.public.to_string());
        differs("endpointAccess.private", there.private.to_string(), spec.endpoint_access.private.to_string());
        if there.public && spec.endpoint_access.public {
            let wanted = spec.endpoint_access.public_cidrs.iter().cloned().collect();
            differs("endpointAccess.publicCidrs", list(&there.public_cidrs), list(&wanted));
        }
        if let Some(logging) = &spec.logging {
            differs("logging", list(&there.logging), list(&logging.iter().cloned().collect()));
        }
        if let Some(wanted) = spec.support_type {
            differs("supportType", there.support.clone().unwrap_or_default(), support(wanted).as_str().into());
        }
        if let Some(wanted) = spec.deletion_protection {
            differs("deletionProtection", there.deletion_protection.to_string(), wanted.to_string());
        }
        let wanted = mode(spec.access.authentication_mode);
        differs("access.authenticationMode", there.authentication.clone(), wanted.as_str().into());
        if let Some(wanted) = &spec.secrets_encryption {
            let key = there.kms_key.clone().unwrap_or_default();
            differs("secretsEncryption.kmsKeyArn", key, wanted.kms_key_arn.clone());
        }
        if let (Some(wanted), Some(there)) = (&spec.kubernetes_network.service_cidr, &there.service_cidr) {
            differs("kubernetesNetwork.serviceCidr", there.clone(), wanted.clone());
        }
        if let Some(arn) = refs.output(&role::key(Purpose::Cluster), "arn") {
            differs("roleArn", there.role_arn.clone(), arn.to_owned());
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        look: &Look,
        _: Option<&Observed<Seen>>,
    ) -> Result<Presence<Seen>, Failure> {
        let request = cloud.aws.eks.describe_cluster().name(&self.name);
        let answer = match cloud.aws.call(Service::Eks, "DescribeCluster", &self.name, request.send()).await {
            Err(error) if error.class() == Class::Gone => {
                if look.goal == Goal::Present {
                    // Before the network is made that it would go into.
                    survey::offered(cloud, &self.spec.version).await?;
                }
                return Ok(Presence::Absent);
            }
            other => other?,
        };
        let Some(cluster) = answer.cluster else { return Ok(Presence::Absent) };
        let foreign = |whose: String| {
            Presence::Foreign(format!(
                "cluster {} in account {}, {} {whose}",
                self.name, cloud.aws.account_id, cloud.aws.region
            ))
        };
        Ok(match Ownership::of(&Tags::from_eks(cluster.tags()), &cloud.owner.uid) {
            Ownership::Ours => Presence::Ours(self.observed(&cluster)),
            Ownership::Nobody => foreign("exists and was not made by Keelson".into()),
            Ownership::Other { owner, cluster } => foreign(format!("belongs to {}", cluster.unwrap_or(owner))),
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observed<Seen>, Failure> {
        let spec = &self.spec;
        let network = spec.kubernetes_network.service_cidr.as_ref();
        let logging = spec.logging.as_ref().filter(|types| !types.is_empty()).map(|types| {
            let types = types.iter().map(|log| LogType::from(log.as_str())).collect();
            Logging::builder().cluster_logging(LogSetup::builder().set_types(Some(types)).enabled(true).build()).build()
        });
        let encryption = spec.secrets_encryption.as_ref().map(|encryption| {
            let provider = Provider::builder().key_arn(&encryption.kms_key_arn).build();
            // EKS encrypts all of the API's data by now and ignores the value, but still takes it; older regions ask for it.
            #[allow(deprecated)]
            let config = EncryptionConfig::builder().resources("secrets").provider(provider).build();
            vec![config]
        });
        let access = CreateAccessConfigRequest::builder()
            .authentication_mode(mode(spec.access.authentication_mode))
            // The operator's own way in, to bootstrap the GitOps agent.
            .bootstrap_cluster_creator_admin_permissions(true)
            .build();
        let role = refs.need(&role::key(Purpose::Cluster), "arn")?;
        let subnets = self.subnet_ids(refs)?.join(",");
        // An edit between two tries is another request: EKS refuses a token with other parameters.
        let step = format!("cluster {spec:?} {role} {subnets}");
        let request = cloud
            .aws
            .eks
            .create_cluster()
            .name(&self.name)
            .version(&spec.version)
            .role_arn(role)
            .resources_vpc_config(self.vpc_config(refs)?)
            .set_kubernetes_network_config(
                network.map(|cidr| KubernetesNetworkConfigRequest::builder().service_ipv4_cidr(cidr).build()),
            )
            .set_logging(logging)
            .set_encryption_config(encryption)
            .access_config(access)
            .bootstrap_self_managed_addons(false)
            .set_upgrade_policy(
                spec.support_type.map(|wanted| UpgradePolicyRequest::builder().support_type(support(wanted)).build()),
            )
            .set_deletion_protection(spec.deletion_protection)
            .client_request_token(client_token(&cloud.owner.uid, 0, &step))
            .set_tags(Some(self.tags.to_eks()));
        let answer = cloud.aws.call(Service::Eks, "CreateCluster", &self.name, request.send()).await?;
        let cluster = answer.cluster.unwrap_or_else(|| aws_sdk_eks::types::Cluster::builder().build());
        Ok(self.observed(&cluster))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        seen: &Observed<Seen>,
        changes: &[Change],
    ) -> Result<Observed<Seen>, Failure> {
        let mut detail = seen.detail.clone();
        if changes_tags(changes) {
            let arn = seen.outputs.get("arn").map_or("", String::as_str);
            cloud.tag_eks(arn, &self.tags, &detail.tags).await?;
            detail.tags = self.tags.clone();
        }
        Ok(Observed { detail, ..seen.clone() })
    }

    async fn delete(&self, cloud: &Cloud, seen: &Observed<Seen>) -> Result<Presence<Seen>, Failure> {
        let busy = |action| Phase::Busy { action, since: None, note: String::new() };
        if seen.detail.deletion_protection {
            // The object is being deleted, and its deletionPolicy says that the cluster goes: lift EKS's own guard first.
            let request = cloud.aws.eks.update_cluster_config().name(&self.name).deletion_protection(false);
            cloud.aws.call(Service::Eks, "UpdateClusterConfig", &self.name, request.send()).await?;
            return Ok(Presence::Ours(seen.clone().phase(busy(Action::Update))));
        }
        let request = cloud.aws.eks.delete_cluster().name(&self.name);
        cloud.aws.call(Service::Eks, "DeleteCluster", &self.name, request.send()).await?;
        let deleting = Observed { state: "DELETING".into(), ..seen.clone() };
        Ok(Presence::Ours(deleting.phase(busy(Action::Delete))))
    }
}
