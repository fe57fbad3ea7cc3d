//! The cluster in which the Job of a hook runs. I/O: DescribeCluster of a cluster that is deleted, credentials.
//!
//! In the workload cluster, Jobs are created as everything else there: with a token of the operator's role, which the cluster's access entry
//! makes an administrator. The Job itself gets no credentials.

use kube::ResourceExt;

use crate::api::hook::{HookPlace, HookStatus};
use crate::controllers::cluster::status::facts::Facts;
use crate::controllers::cluster::{Reconcile, agent};
use crate::jobs::{JobError, JobRunner};
use crate::resources::cloud::Cloud;
use crate::resources::eks::{cluster, kubernetes_api};
use crate::workload::client::{Access, Location};

impl Reconcile<'_> {
    /// What runs Jobs at `place`, and the namespace there.
    ///
    /// # Errors
    /// The workload cluster has no API that is known and this object's.
    pub(super) async fn job_runner(&self, place: &HookPlace, cloud: &Cloud) -> Result<(JobRunner, String), JobError> {
        match place {
            HookPlace::Management => Ok((JobRunner::new(self.ctx.client.clone()), self.namespace.clone())),
            HookPlace::Workload { namespace } => {
                let access = self.workload_access(cloud).await.map_err(JobError::NoApi)?;
                let uid = self.object.uid().unwrap_or_default();
                Ok((JobRunner::in_workload(self.ctx.workloads.clone(), uid, access), namespace.clone()))
            }
        }
    }

    /// Deletes the Job of an entry.
    pub(super) async fn delete_job(&self, place: &HookPlace, job: (&str, &str), cloud: &Cloud) -> Result<(), JobError> {
        let (name, uid) = job;
        let (runner, namespace) = self.job_runner(place, cloud).await?;
        runner.delete(&namespace, name, uid).await
    }

    /// The namespace of the Job of `entry`.
    pub(super) fn job_namespace(&self, entry: &HookStatus) -> String {
        match entry.place() {
            HookPlace::Management => self.namespace.clone(),
            HookPlace::Workload { namespace } => namespace,
        }
    }

    /// The way to the API of the control plane, if that is proven to be this object's: another one's cluster may have its name.
    async fn workload_access(&self, cloud: &Cloud) -> Result<Access, String> {
        const NONE: &str = "in EKS it has no control plane that is this object's and that is ACTIVE or UPDATING";
        let name = self.object.cluster_name();
        if self.object.metadata.deletion_timestamp.is_none() {
            let observed = Facts(&self.state.memory);
            if !observed.is_ours() || !observed.has_api() {
                return Err(NONE.to_owned());
            }
            let sts = self.ctx.settings.sts_endpoint.as_deref();
            let access = agent::access(&self.state.memory, &name, &cloud.aws, sts).await;
            return access.map_err(|verdict| verdict.message)?.ok_or_else(|| NONE.to_owned());
        }
        // Before a deletion starts, nothing is observed. A tag alone does not say that the cluster is this object's.
        if !cloud.proves(self.records().proves(&cluster::key(), &name)) {
            return Err(NONE.to_owned());
        }
        let api = kubernetes_api::api(cloud, &name).await.map_err(|failure| failure.to_string())?;
        let kubernetes_api::Api { arn, endpoint, certificate_authority } = api.ok_or(NONE)?;
        let location = Location { arn, endpoint, certificate_authority };
        let access = agent::access_at(self.ctx, self.object, &cloud.aws, location).await;
        access.ok_or_else(|| "there are no credentials for it".to_owned())
    }
}
