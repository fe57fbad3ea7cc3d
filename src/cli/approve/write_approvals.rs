//! The objects of one namespace: reads their plans and writes approvals. I/O: the management cluster's API.

use anyhow::{Context as _, bail};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde_json::{Value, json};

use super::pending_plans::{ApprovalAnnotation, Kind, Planned, Target};
use crate::api::reference::{ClusterReference, NodeGroupReference};
use crate::api::{EksCluster, NodeGroup, PlanApproval, PlanApprovalSpec};
use crate::cli::connection::found;
use crate::cli::output;

/// An object that approves: a PlanApproval, or the annotated one.
#[derive(Debug)]
pub struct Written {
    /// The object.
    pub object: Value,
    /// Its name, with its type.
    pub name: String,
}

impl Written {
    pub fn of<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> anyhow::Result<Self> {
        Ok(Self { object: output::object(object)?, name: output::name(object) })
    }
}

/// The objects of one namespace.
pub struct Objects {
    pub client: Client,
    pub namespace: String,
}

impl Objects {
    fn clusters(&self) -> Api<EksCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn groups(&self) -> Api<NodeGroup> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn approvals(&self) -> Api<PlanApproval> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The plans of the target, with their undecided approvals.
    pub async fn read(&self, target: &Target) -> anyhow::Result<Vec<Planned>> {
        let mut found = self.read_plans(target).await?;
        // Users who may approve only by annotation may have no permission to list them.
        let approvals = self.approvals().list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        for planned in &mut found {
            planned.note_approvals(&approvals);
        }
        Ok(found)
    }

    async fn read_plans(&self, target: &Target) -> anyhow::Result<Vec<Planned>> {
        let name = &target.name;
        if target.kind == Kind::NodeGroup {
            return Ok(vec![found(self.groups().get(name).await, target.kind, &self.namespace, name)?.into()]);
        }
        let cluster = found(self.clusters().get(name).await, target.kind, &self.namespace, name)?;
        let of_cluster = ListParams::default().fields(&format!("spec.clusterRef.name={name}"));
        let groups = self.groups().list(&of_cluster).await.with_context(|| format!("the NodeGroups of {name}"))?;
        Ok(std::iter::once(cluster.into()).chain(groups.items.into_iter().map(Planned::from)).collect())
    }

    /// This client's user name at the API server.
    pub async fn approver(&self) -> Option<String> {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok()?;
        review.status?.user_info?.username
    }

    /// Creates a PlanApproval of the plan that was shown, owned by the plan's object. Returns it.
    pub async fn approve(&self, object: &Planned, by: Option<&str>) -> anyhow::Result<Written> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let (cluster_ref, node_group_ref) = match object.kind {
            Kind::EksCluster => (Some(ClusterReference { name: name.clone() }), None),
            Kind::NodeGroup => (None, Some(NodeGroupReference { name: name.clone() })),
        };
        let approval = PlanApproval {
            metadata: ObjectMeta {
                generate_name: Some(format!("{name}-")),
                owner_references: Some(vec![owner(object, &name)]),
                ..ObjectMeta::default()
            },
            spec: PlanApprovalSpec {
                cluster_ref,
                node_group_ref,
                hash: object.hash().to_owned(),
                approved_by: by.map(str::to_owned),
            },
            status: None,
        };
        match self.approvals().create(&PostParams::default(), &approval).await {
            Ok(created) => Written::of(&created),
            Err(kube::Error::Api(status)) if status.code == 403 && is_terminating(&status) => {
                bail!(
                    "{}: no PlanApproval can be created in a namespace that is being deleted: approve with --annotation",
                    object.title()
                )
            }
            Err(kube::Error::Api(status)) if status.code == 403 => bail!(
                "{}: {}; ask for the ClusterRole keelson-approve, or approve with --annotation where the operator \
                 accepts annotations",
                object.title(),
                status.message
            ),
            Err(error) => Err(error).with_context(|| object.title()),
        }
    }

    /// Writes the annotation on the object that was shown, and returns it. `None`: the object has changed.
    pub async fn annotate(&self, object: &Planned, annotation: &ApprovalAnnotation) -> anyhow::Result<Option<Written>> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let metadata = json!({
            "resourceVersion": object.metadata.resource_version,
            "annotations": {annotation.key: annotation.value},
        });
        let (params, patch) = (PatchParams::default(), Patch::Merge(json!({"metadata": metadata})));
        let written = match object.kind {
            Kind::EksCluster => self.clusters().patch(&name, &params, &patch).await.map(|object| Written::of(&object)),
            Kind::NodeGroup => self.groups().patch(&name, &params, &patch).await.map(|object| Written::of(&object)),
        };
        match written {
            Ok(written) => written.map(Some),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error).with_context(|| object.title()),
        }
    }
}

fn owner(object: &Planned, name: &str) -> OwnerReference {
    let api_version = match object.kind {
        Kind::EksCluster => EksCluster::api_version(&()),
        Kind::NodeGroup => NodeGroup::api_version(&()),
    };
    OwnerReference {
        api_version: api_version.into_owned(),
        kind: object.kind.to_string(),
        name: name.to_owned(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }
}

/// Whether the API server rejects a new object because its namespace is being deleted: it names the cause by a word of
/// its API, next to a 403 that is a missing permission otherwise.
fn is_terminating(status: &Status) -> bool {
    let details = status.details.as_ref();
    details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminating_namespace_is_recognised_by_its_cause() {
        let answer = |causes: serde_json::Value| -> Status {
            serde_json::from_value(json!({
                "status": "Failure", "reason": "Forbidden", "code": 403,
                "message": "unable to create new content in namespace shop because it is being terminated",
                "details": {"name": "demo", "kind": "planapprovals", "causes": causes},
            }))
            .unwrap()
        };
        assert!(is_terminating(&answer(json!([{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]))));
        assert!(!is_terminating(&answer(json!([]))), "a missing permission has no cause");
        assert!(!is_terminating(&Status::default()));
    }
}
