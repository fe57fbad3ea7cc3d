//! A role that Keelson creates for Pods: those of a service account (`podIdentities[].role`), or those of an add-on
//! (`addons[].podIdentityRole`). EKS Pod Identity assumes it.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html>. [`crate::resources::deletion::removed_roles`] deletes
//! roles that the spec no longer asks for.

use async_trait::async_trait;

use super::principal_tags::{self, SESSION_TAGS};
use super::role::{self, Purpose};
use super::role_calls;
use super::role_diff::{Content, Detail, inline_field};
use super::role_name;
use super::workload_content::{self, RoleRequest};
use super::workload_policy::Placeholders;
use crate::api::EksClusterSpec;
use crate::aws::tags::Tags;
use crate::aws::{Arn, MaxStaleness, Service, Session};
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{
    AccountSettings, Cloud, Intervals, ResourceContext, arn as observed_arn, changes_field, max_staleness,
};
use crate::resources::eks::cluster;
use crate::resources::graph::kind::{Area, Kind, Removal};
use crate::resources::graph::ownership;
use crate::resources::tag_calls::{Handle, OwnerTags};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("workloadRole", "IAM role of Pods", Area::ControlPlane)
    .in_iam()
    .after_nodes()
    .removed_by(Removal {
        field: "podIdentities",
        can_coexist: |_, _| true,
        delete: |aws, _, id| Box::pin(delete_unwanted(aws, id)),
    })
    .with_actions(&[
        "iam:AttachRolePolicy",
        "iam:CreateRole",
        "iam:DeleteRole",
        "iam:DeleteRolePolicy",
        "iam:DetachRolePolicy",
        "iam:GetAccountAuthorizationDetails",
        "iam:ListRolePolicies",
        "iam:PutRolePermissionsBoundary",
        "iam:PutRolePolicy",
        "iam:RemoveRoleFromInstanceProfile",
        "iam:TagRole",
        "iam:UntagRole",
        "iam:UpdateAssumeRolePolicy",
    ]);

/// The beginning of a key of the role of an add-on; no namespace has such a name.
const ADDON: &str = "addon:";
/// The output of a role with all its policies.
const USABLE_ARN: &str = "usableArn";

/// A role for Pods.
pub struct WorkloadRole {
    key: Key,
    pub(crate) name: String,
    purpose: String,
    /// `None` for one of an earlier spec: it is deleted with the cluster.
    wanted: Option<RoleRequest>,
    cluster: String,
    /// The name of the cluster's node role.
    node_role: String,
    region: String,
    permissions_boundary: Option<String>,
    /// The path of a new role: IAM cannot change it.
    path: Option<String>,
    tags: Tags,
    intervals: Intervals,
}

/// The key in the graph of the role of a service account.
pub fn key_of_pods(namespace: &str, service_account: &str) -> Key {
    KIND.named(format!("{namespace}/{service_account}"))
}

/// The key in the graph of the role of an add-on.
pub fn key_of_addon(addon: &str) -> Key {
    KIND.named(format!("{ADDON}{addon}"))
}

/// The add-on that a role is for, by its key.
pub(crate) fn addon_of(key: &Key) -> Option<&str> {
    key.name().strip_prefix(ADDON)
}

/// The ARN of the role with that key, once it has all its policies: Pods never get a role that lacks some.
///
/// # Errors
/// It is not known yet.
pub(crate) fn arn<'r>(refs: &'r Refs, key: &Key) -> Result<&'r str, Failure> {
    refs.need(key, if KIND.is_of(key) { USABLE_ARN } else { "arn" })
}

/// The name of the role with that key.
pub(crate) fn name_of(context: &ResourceContext<'_>, key: &Key) -> String {
    let new =
        || role_name::name(context.cluster_name, &context.owner.uid, &role_name::purpose(key).unwrap_or_default());
    context.owner.role_name(key).unwrap_or_else(new)
}

/// The roles that the spec asks for and, if the cluster is deleted (`removes` is false), those of earlier specs.
pub(crate) fn all(
    context: &ResourceContext<'_>,
    spec: &EksClusterSpec,
    account: &AccountSettings,
    owned: &[Key],
    removes: bool,
) -> Vec<WorkloadRole> {
    let mut all: Vec<WorkloadRole> = workload_content::desired(spec, context.cluster_name)
        .map(|(key, wants)| WorkloadRole::new(context, spec, account, key, Some(wants)))
        .collect();
    for key in owned.iter().filter(|key| KIND.is_of(key) && !removes) {
        if all.iter().all(|role| role.key != *key) {
            all.push(WorkloadRole::new(context, spec, account, key.clone(), None));
        }
    }
    all
}

impl WorkloadRole {
    fn new(
        context: &ResourceContext<'_>,
        spec: &EksClusterSpec,
        account: &AccountSettings,
        key: Key,
        wanted: Option<RoleRequest>,
    ) -> Self {
        Self {
            name: name_of(context, &key),
            purpose: role_name::purpose(&key).unwrap_or_default(),
            wanted,
            cluster: context.cluster_name.to_owned(),
            node_role: name_of(context, &role::key(Purpose::Node)),
            region: spec.region.clone(),
            permissions_boundary: account.workload_boundary().map(str::to_owned),
            path: account.role_path.clone(),
            tags: tags(context, &key),
            intervals: context.intervals,
            key,
        }
    }

    /// What it consists of, in the partition and account of the role with that ARN.
    fn content(&self, partition: &str, account: &str) -> Content<'_> {
        let (region, cluster, node_role) = (&self.region, &self.cluster, &self.node_role);
        let placeholders = Placeholders { partition, region, account, cluster, node_role };
        let wanted = self.wanted.as_ref();
        Content {
            name: &self.name,
            trust: wanted.map(|wanted| wanted.trust(&placeholders)).unwrap_or_default(),
            policies: wanted.map(|wanted| wanted.managed(partition)).unwrap_or_default(),
            inline: wanted.map(|wanted| wanted.inline(&placeholders)).unwrap_or_default(),
            boundary: self.permissions_boundary.as_deref(),
            tags: &self.tags,
        }
    }

    fn content_at(&self, arn: &str) -> Content<'_> {
        let arn = Arn::parse(arn);
        self.content(arn.as_ref().map_or("aws", |arn| arn.partition), arn.as_ref().map_or("", |arn| arn.account))
    }

    fn to_observation(&self, arn: &str, detail: Detail) -> Observation<Detail> {
        let is_complete = self.content_at(arn).is_complete(&detail);
        let observed =
            Observation::ready(role_calls::recorded_id(&self.name, arn), "available", detail).output("arn", arn);
        if is_complete { observed.output(USABLE_ARN, arn) } else { observed.phase(Phase::Incomplete) }
    }
}

/// The tags of a role. Policies tell clusters and service accounts apart by the tags that EKS gives to sessions, and sessions without
/// them have those of the role: so they are Keelson's to write, and no tag of the spec takes their place.
fn tags(context: &ResourceContext<'_>, key: &Key) -> Tags {
    let mut own = context.clone();
    // Those of these keys are never removed: they are Keelson's.
    own.former_tags.retain(|name| !principal_tags::is_of_sessions(name));
    let tags = principal_tags::of_role(&own, key).with(SESSION_TAGS[0], context.cluster_name);
    match key.name().split_once('/') {
        Some((namespace, account)) => tags.with(SESSION_TAGS[1], namespace).with(SESSION_TAGS[2], account),
        None => tags,
    }
}

/// Deletes a role that the spec no longer asks for, by its recorded id.
async fn delete_unwanted(aws: &Session, id: &str) -> Result<(), crate::aws::AwsError> {
    let name = id.rsplit('/').next().unwrap_or(id);
    let roles = aws.snapshots.roles(MaxStaleness::now()).await?;
    match role_calls::find(&roles, name) {
        Some(role) => role_calls::delete(aws, name, &role.attached, &role.instance_profiles).await,
        None => Ok(()),
    }
}

#[async_trait]
impl Resource for WorkloadRole {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        self.key.clone()
    }

    /// Pods may need it until they are deleted: the load balancer controller deletes load balancers.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let Some(RoleRequest { role, target, .. }) = &self.wanted else { return vec![("name", self.name.clone())] };
        let named = role.policy_arns.iter().map(|arn| arn.rsplit('/').next().unwrap_or(arn).to_owned());
        let included = role.policies.iter().map(|policy| policy.as_str().to_owned());
        let own = role.policy.as_ref().map(|_| "a document of its own".to_owned());
        let policies: Vec<_> = named.chain(included).chain(own).collect();
        let target = target.iter().map(|arn| ("targetRoleArn", arn.clone()));
        [("name", self.name.clone()), ("policies", policies.join(", "))].into_iter().chain(target).collect()
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    /// A role that the spec drops before the answer of its creation is known is on record as ours.
    fn records_create(&self) -> bool {
        true
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::new(Handle::Role(self.name.clone()), &observed.id, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        if self.wanted.is_none() {
            return Vec::new();
        }
        self.content_at(observed_arn(observed)).differences(&observed.detail, |_| false)
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let roles = cloud.aws.snapshots.roles(max_staleness(options)).await?;
        let Some(role) = role_calls::find(&roles, &self.name) else { return Ok(Presence::Absent) };
        let observed = self.to_observation(&role.arn, Detail::from(role));
        Ok(ownership::presence(cloud, &role.tags, observed, || format!("role {}", role.arn)))
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        let content = self.content(&cloud.aws.partition, &cloud.aws.account_id);
        let (arn, detail) = role_calls::create(cloud, &content, self.path.as_ref(), &self.purpose).await?;
        Ok(self.to_observation(&arn, detail))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let (arn, mut detail) = (observed_arn(observed), observed.detail.clone());
        let content = self.content_at(arn);
        // The boundary first.
        role_calls::change(cloud, &content, &mut detail, changes).await?;
        for (policy, document) in &content.inline {
            if changes_field(changes, &inline_field(policy)) {
                let request = cloud.aws.iam.put_role_policy().role_name(&self.name).policy_name(policy);
                let request = request.policy_document(document);
                cloud.aws.call(Service::Iam, "PutRolePolicy", &self.name, request.send()).await?;
                detail.inline.insert(policy.clone(), document.clone());
            }
        }
        Ok(self.to_observation(arn, detail))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let Detail { attached, instance_profiles, .. } = &observed.detail;
        role_calls::delete(&cloud.aws, &self.name, attached, instance_profiles).await?;
        Ok(Presence::Absent)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::resources::cloud::Owner;

    #[test]
    fn tags_of_the_spec_never_pass_for_those_of_sessions() {
        let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
        let object = "keelson.dev/cluster";
        let user =
            [("EKS-Cluster-Name", "victim"), ("kubernetes-pod-uid", "x"), (object, "other/victim"), ("team", "a")];
        let context = ResourceContext {
            owner: &owner,
            cluster_name: "demo",
            user_tags: user.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            former_tags: BTreeSet::from(["eks-cluster-name", object, "Keelson.dev/Cluster", "old"].map(str::to_owned)),
            intervals: Intervals::default(),
        };
        let of =
            |key: Key| tags(&context, &key).iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let pods: BTreeMap<String, String> = of(key_of_pods("dns", "external-dns"));
        assert!(!pods.contains_key("EKS-Cluster-Name") && !pods.contains_key("kubernetes-pod-uid"));
        assert_eq!((pods["eks-cluster-name"].as_str(), pods["team"].as_str()), ("demo", "a"));
        assert_eq!(pods["kubernetes-service-account"], "external-dns");
        assert_eq!(pods[object], "default/demo", "secrets are allowed by it");
        let addon: BTreeMap<String, String> = of(key_of_addon("aws-ebs-csi-driver"));
        assert!(addon["eks-cluster-name"] == "demo" && !addon.contains_key("kubernetes-namespace"));
        let removed: Vec<String> = tags(&context, &key_of_addon("x")).removed().map(str::to_owned).collect();
        assert_eq!(removed, ["old"]);
    }
}
