//! An EKS add-on. Add-ons that nodes need are created before nodes, and new node groups wait for them (`beforeNodes`).
//! The others (CoreDNS and everything else that runs as a Deployment) wait for nodes, because they stay DEGRADED
//! without them.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/eks-add-ons.html>.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eks::types::{AddonNamespaceConfigRequest, AddonStatus, ResolveConflicts};
use jiff::Timestamp;

use super::addon_diff::{CONFLICTS, CREATE_FAILED, Detail, NAMESPACE, POD_ROLE, UNWANTED_ROLE, configuration};
use super::addon_fargate;
use super::cluster;
use super::health_issues;
use super::lists::create_failure;
use super::updates::{self, UpdateTarget};
use crate::api::addons::{Addon as DesiredAddon, Conflicts};
use crate::aws::errors::health::{Subject, explain, failed_class};
use crate::aws::tags::Tags;
use crate::aws::{MaxStaleness, Service, snapshots};
use crate::engine::{
    Action, Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Recreate, Refs,
    Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, arn, changed_tags, changes_field};
use crate::resources::deletion::pruning;
use crate::resources::graph::kind::{Area, InCluster, Kind};
use crate::resources::graph::ownership::{self, untagged};
use crate::resources::iam::workload_role;
use crate::resources::tag_calls::OwnerTags;
use crate::upgrade::addon_versions::{OfferedVersion, choose};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("addon", "add-on", Area::Addons)
    .in_cluster(InCluster {
        parameter: Some("addonName"),
        arn_type: "addon",
        pruning: Some(("CreateAddon", &pruning::ADDONS)),
    })
    .with_actions(&[
        "eks:CreateAddon",
        "eks:DeleteAddon",
        "eks:DescribeAddon",
        "eks:DescribeAddonConfiguration",
        "eks:DescribeAddonVersions",
        "eks:DescribePodIdentityAssociation",
        "eks:DescribeUpdate",
        "eks:ListUpdates",
        "eks:TagResource",
        "eks:UntagResource",
        "eks:UpdateAddon",
    ]);

/// The issue of an add-on whose objects in the cluster others have changed or installed.
const CONFLICT: &str = "ConfigurationConflict";

/// The tag of an add-on whose software stays when it is pruned.
pub(crate) const PRESERVE: &str = "keelson.dev/preserve-on-delete";

/// How long the list of add-on versions is cached: EKS changes it a few times a month.
const CATALOGUE_MAX_AGE: Duration = Duration::from_secs(6 * 3600);

/// An add-on from the spec.
pub struct Addon {
    pub(super) cluster: String,
    pub(crate) wanted: DesiredAddon,
    /// The version to install now.
    pub(crate) target: Option<String>,
    pub(crate) tags: Tags,
    /// The name of the role that Keelson creates for it, if the spec asks for one.
    pub(crate) role_name: String,
    /// The Fargate profile that it runs on, if it needs no nodes.
    fargate: Option<Key>,
    intervals: Intervals,
}

/// The key in the graph.
pub fn key(name: &str) -> Key {
    KIND.named(name)
}

/// The gate that opens when nodes exist.
pub fn nodes_gate() -> Key {
    Key::single("nodes")
}

impl Addon {
    /// Creates the resource for an add-on of the cluster. `target` is the version to install now. `None` keeps the
    /// current version; a new add-on gets the version of the spec.
    pub fn new(context: &ResourceContext<'_>, wanted: &DesiredAddon, target: Option<String>) -> Self {
        let tags = context.tags(&key(&wanted.name));
        // Read when it is pruned: then the spec no longer says it.
        let tags = if wanted.preserve_on_delete { tags.with(PRESERVE, "true") } else { tags };
        let role_name = workload_role::name_of(context, &workload_role::key_of_addon(&wanted.name));
        let (cluster, wanted, intervals) = (context.cluster_name.into(), wanted.clone(), context.intervals);
        Self { cluster, wanted, target, tags, role_name, fargate: None, intervals }
    }

    /// Sets the Fargate profile that the add-on runs on.
    pub fn on_fargate(self, profile: Option<Key>) -> Self {
        Self { fargate: profile, ..self }
    }

    fn update_target(&self) -> UpdateTarget<'_> {
        UpdateTarget::Addon(&self.cluster, &self.wanted.name)
    }

    fn conflicts(&self, action: Action) -> ResolveConflicts {
        match self.wanted.conflicts {
            // The same on creation, where EKS has refused `Preserve` (eksctl-io/eksctl#5880).
            Conflicts::Preserve if action == Action::Create => ResolveConflicts::None,
            Conflicts::Preserve => ResolveConflicts::Preserve,
            Conflicts::Overwrite => ResolveConflicts::Overwrite,
            Conflicts::None => ResolveConflicts::None,
        }
    }

    async fn version(&self, cloud: &Cloud, kubernetes: &str) -> Result<String, Failure> {
        let name = &self.wanted.name;
        if let Some(target) = &self.target {
            return Ok(target.clone());
        }
        let staleness = MaxStaleness::within(CATALOGUE_MAX_AGE);
        let offered = cloud.aws.snapshots.addon_versions(name, kubernetes, staleness).await?;
        let offered: Vec<_> = offered.iter().map(offer).collect();
        choose(&self.wanted.version().into(), &offered).map_err(|why| {
            Failure::invalid(format!("add-on {name} for Kubernetes {kubernetes} in {}: {why}", cloud.aws.region))
        })
    }
}

fn offer(offered: &snapshots::AddonVersion) -> OfferedVersion {
    OfferedVersion { version: offered.version.clone(), default: offered.default }
}

fn to_observation(addon: &aws_sdk_eks::types::Addon) -> Observation<Detail> {
    let status = addon.status().map_or("CREATING", AddonStatus::as_str);
    let since = addon.created_at().and_then(|at| Timestamp::from_second(at.secs()).ok());
    let issues = addon.health().map(|found| health_issues::reported(found.issues())).unwrap_or_default();
    let explained = explain(Subject::Addon, &issues);
    let busy = |action, since| Phase::Busy { action, since, note: explained.trim_end_matches('.').to_owned() };
    let phase = match addon.status() {
        Some(AddonStatus::Active) => Phase::Ready,
        Some(AddonStatus::Updating) => busy(Action::Update, None),
        Some(AddonStatus::Deleting) => busy(Action::Delete, None),
        Some(AddonStatus::CreateFailed) => Phase::Failed {
            reason: format!(
                "{status}: {}; fix the cause, or change its entry in spec.addons (conflicts: Overwrite replaces what \
                 is installed): Keelson then recreates it",
                explained.trim_end_matches('.')
            ),
            class: failed_class(Subject::Addon, &issues),
            // See aws/containers-roadmap#1411: an update does not repair it.
            recreate: Recreate::OnRequest,
        },
        Some(AddonStatus::UpdateFailed | AddonStatus::DeleteFailed) => Phase::Failed {
            reason: format!("{status}: {explained}"),
            class: failed_class(Subject::Addon, &issues),
            recreate: Recreate::Never,
        },
        // Often resolves by itself (no node yet); the issues say why. The add-on was created long ago, so it has no
        // start time.
        Some(AddonStatus::Degraded) => busy(Action::Create, None),
        _ => busy(Action::Create, since),
    };
    let detail = Detail {
        version: addon.addon_version().unwrap_or_default().into(),
        configuration: addon.configuration_values().and_then(configuration),
        service_account_role_arn: addon.service_account_role_arn().map(str::to_owned),
        namespace: addon.namespace_config().and_then(|config| config.namespace()).map(str::to_owned),
        pod_identity_roles: BTreeSet::new(),
        conflicting: issues.iter().any(|issue| issue.code == CONFLICT),
        tags: Tags::from_eks(addon.tags()),
        untagged: false,
    };
    let observed = Observation::ready(addon.addon_name().unwrap_or_default(), status, detail.clone())
        .phase(phase)
        .output("arn", addon.addon_arn().unwrap_or_default())
        .output("version", detail.version)
        .output("issues", health_issues::to_json(&issues));
    Observation { issue_code: health_issues::first_code(&issues), ..observed }
}

#[async_trait]
impl Resource for Addon {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.wanted.name)
    }

    fn after(&self) -> Vec<Key> {
        let nodes = self.wanted.needs_nodes().then(|| self.fargate.clone().unwrap_or_else(nodes_gate));
        let role = self.wanted.pod_identity_role.as_ref().map(|_| workload_role::key_of_addon(&self.wanted.name));
        [cluster::key()].into_iter().chain(nodes).chain(role).collect()
    }

    /// Adoption does not depend on nodes.
    fn adopted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn inside(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let DesiredAddon { version, namespace, pod_identity_role, preserve_on_delete, name, .. } = &self.wanted;
        let namespace = namespace.iter().map(|namespace| (NAMESPACE, namespace.clone()));
        let role = pod_identity_role.iter().map(|_| ("role", workload_role::key_of_addon(name).to_string()));
        let preserved = preserve_on_delete.then(|| ("preserveOnDelete", "true".to_owned()));
        [("version", version.clone())].into_iter().chain(namespace).chain(role).chain(preserved).collect()
    }

    /// 8 to 56 s according to published measurements.
    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(30)
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_eks(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        self.differences(&observed.detail, self.pod_role(refs))
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let name = &self.wanted.name;
        let request = cloud.aws.eks.describe_addon().cluster_name(&self.cluster).addon_name(name);
        let answer = match cloud.aws.call(Service::Eks, "DescribeAddon", name, request.send()).await {
            Err(error) if error.class() == Class::NotFound => return Ok(Presence::Absent),
            other => other?,
        };
        let Some(addon) = answer.addon else { return Ok(Presence::Absent) };
        let mut observed = to_observation(&addon);
        observed.detail.untagged = untagged(cloud, addon.tags());
        observed.detail.pod_identity_roles = self.pod_identity_roles(cloud, &addon).await?;
        let observed = self.changeable(observed, self.pod_role(refs));
        let observed = updates::follow(cloud, self.update_target(), observed, options, last).await?;
        let tags = observed.detail.tags.clone();
        Ok(ownership::presence_of_listed(cloud, &tags, observed, || {
            format!("add-on {name} of cluster {}", self.cluster)
        }))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let version = self.version(cloud, refs.need(&cluster::key(), "version")?).await?;
        let pod_identity = self.pod_identity(cloud, refs, &version).await?;
        let name = &self.wanted.name;
        let values = addon_fargate::configuration(&self.wanted, self.fargate.as_ref());
        let values = values.map(|values| serde_json::Value::Object(values).to_string());
        let namespace = self.wanted.namespace.as_ref();
        let namespace = namespace.map(|name| AddonNamespaceConfigRequest::builder().namespace(name).build());
        let request = cloud
            .aws
            .eks
            .create_addon()
            .cluster_name(&self.cluster)
            .addon_name(name)
            .addon_version(&version)
            .resolve_conflicts(self.conflicts(Action::Create))
            .set_service_account_role_arn(self.wanted.service_account_role_arn.clone())
            .set_pod_identity_associations(pod_identity)
            .set_configuration_values(values)
            .set_namespace_config(namespace)
            .set_tags(Some(self.tags.to_eks()));
        let answer = cloud.aws.call(Service::Eks, "CreateAddon", name, request.send()).await;
        let answer = answer.map_err(create_failure)?;
        let addon = answer.addon.unwrap_or_else(|| aws_sdk_eks::types::Addon::builder().addon_name(name).build());
        Ok(to_observation(&addon))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut observed = observed.clone();
        let arn = arn(&observed).to_owned();
        cloud.tag_eks(&arn, &mut observed.detail.tags, changed_tags(changes)).await?;
        let changed = |field| changes_field(changes, field);
        let fields = ["version", "configuration", "serviceAccountRoleArn", POD_ROLE, UNWANTED_ROLE, CONFLICTS];
        if !fields.into_iter().any(changed) {
            return Ok(observed);
        }
        let (name, current) = (&self.wanted.name, &observed.detail);
        let version = self.target.as_ref().unwrap_or(&current.version);
        let pod_identity = if changed(POD_ROLE) {
            self.pod_identity(cloud, refs, version).await?
        } else {
            // An empty list takes the role away.
            changed(UNWANTED_ROLE).then(Vec::new)
        };
        // EKS removes the role if the request omits it, so it is always sent.
        let role = self.wanted.service_account_role_arn.as_ref().or(current.service_account_role_arn.as_ref());
        let configuration = self.configuration(&current.configuration).filter(|_| changed("configuration"));
        let descriptions: Vec<_> = changes.iter().map(|c| format!("{} {} -> {}", c.field, c.from, c.to)).collect();
        let token = updates::token(cloud, &observed, &format!("addon {name} {}", descriptions.join(", ")));
        let request = cloud
            .aws
            .eks
            .update_addon()
            .cluster_name(&self.cluster)
            .addon_name(name)
            .set_addon_version(changed("version").then(|| version.clone()))
            .resolve_conflicts(self.conflicts(Action::Update))
            .set_service_account_role_arn(role.filter(|_| !self.wants_pod_identity()).cloned())
            .set_pod_identity_associations(pod_identity)
            .set_configuration_values(configuration.map(|values| values.to_string()))
            .client_request_token(token);
        let update = cloud.aws.call(Service::Eks, "UpdateAddon", name, request.send()).await?.update;
        Ok(updates::record_start(observed, self.update_target(), update))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let name = &self.wanted.name;
        // What is installed is not the add-on's.
        let preserve = observed.state == CREATE_FAILED;
        if preserve && observed.detail.untagged {
            // The operator's IAM policy allows deletion only of tagged add-ons.
            cloud.tag_eks(arn(observed), &mut observed.detail.tags.clone(), self.tags.ownership()).await?;
        }
        let request = cloud.aws.eks.delete_addon().cluster_name(&self.cluster).addon_name(name).preserve(preserve);
        cloud.aws.call(Service::Eks, "DeleteAddon", name, request.send()).await?;
        let phase = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
        Ok(Presence::Ours(observed.clone().phase(phase)))
    }
}
