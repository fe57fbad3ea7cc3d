//! The updates of a node group: of its settings, and of its nodes. I/O: EKS.

use aws_sdk_eks::types::NodegroupStatus;

use super::observed_node_group::Detail;
use super::{NodeGroup, ami_release, changes, settings};
use crate::aws::Service;
use crate::engine::{Class, Failure, Observation, Refs};
use crate::resources::cloud::Cloud;
use crate::resources::eks::updates;

impl NodeGroup {
    /// Reads the current state. The last observation may be minutes old: an autoscaler may have changed the size since,
    /// and a write based on the old size would remove nodes.
    pub(super) async fn read_current(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Detail, Failure> {
        let Some(group) = self.describe(cloud).await? else {
            return Err(Failure::new(Class::NotFound, format!("node group {} no longer exists", self.name)));
        };
        if group.status() == Some(&NodegroupStatus::Updating) {
            let message = format!("node group {} is being updated: its settings wait for that", self.name);
            return Err(Failure::new(Class::Busy, message));
        }
        let Detail { newest_release, pending_release, own_template, efa_cards, .. } = observed.detail.clone();
        Ok(Detail { newest_release, pending_release, own_template, efa_cards, ..Detail::from(&group) })
    }

    /// Sends all settings that differ in one call.
    pub(super) async fn configure(
        &self,
        cloud: &Cloud,
        mut observed: Observation<Detail>,
    ) -> Result<Observation<Detail>, Failure> {
        observed.detail = self.read_current(cloud, &observed).await?;
        let Some(config) = settings::config(&self.spec, &observed.detail) else { return Ok(observed) };
        let step = format!("{config:?}");
        let settings::Config { scaling, labels, taints, update, repair, warm_pool } = config;
        let request = cloud
            .aws
            .eks
            .update_nodegroup_config()
            .cluster_name(&self.cluster)
            .nodegroup_name(&self.name)
            .set_scaling_config(scaling)
            .set_labels(labels)
            .set_taints(taints)
            .set_update_config(update)
            .set_node_repair_config(repair)
            .set_warm_pool_config(warm_pool)
            .client_request_token(self.token(cloud, &observed, &step));
        let answer = cloud.aws.call(Service::Eks, "UpdateNodegroupConfig", &self.name, request.send()).await?;
        Ok(updates::record_start(observed, self.update_target(), answer.update))
    }

    /// Starts the replacement of the nodes.
    pub(super) async fn replace(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: Observation<Detail>,
    ) -> Result<Observation<Detail>, Failure> {
        let Some(nodes) = changes::replacement(&self.spec, &self.target, &observed.detail) else { return Ok(observed) };
        let template = self.next_template(cloud, refs, &nodes, &observed).await?;
        let force = self.spec.update.as_ref().is_some_and(|update| update.force);
        let changes::Replacement { version, release, launch_template: _ } = &nodes;
        let step = format!("version {version:?} {release:?} {template:?} {force}");
        let newest = observed.detail.newest_release.clone().filter(|newest| nodes.release.as_ref() == Some(newest));
        let request = cloud
            .aws
            .eks
            .update_nodegroup_version()
            .cluster_name(&self.cluster)
            .nodegroup_name(&self.name)
            .set_version(nodes.version)
            .set_release_version(nodes.release)
            .set_launch_template(template)
            .set_force(force.then_some(true))
            .client_request_token(self.token(cloud, &observed, &step));
        let answer = match cloud.aws.call(Service::Eks, "UpdateNodegroupVersion", &self.name, request.send()).await {
            Err(error) if newest.as_ref().is_some_and(|newest| ami_release::is_release_rejected(&error, newest)) => {
                // The user did not choose this release: the nodes are as specified, and the next observation reports
                // the pending release.
                let (ami_type, newest) = (&observed.detail.ami_type, newest.unwrap_or_default());
                cloud.aws.snapshots.refused_releases().record(ami_type, &newest, error.to_string());
                return Err(Failure::of(Class::NoChange, error));
            }
            other => other.map_err(|error| self.maybe_not_visible(error))?,
        };
        Ok(updates::record_start(observed, self.update_target(), answer.update))
    }

    /// The token of an update: it changes with every modification of the node group, so that the same size can be
    /// restored twice.
    fn token(&self, cloud: &Cloud, observed: &Observation<Detail>, step: &str) -> String {
        updates::token(cloud, observed, &format!("nodeGroup/{} {step} {:?}", self.name, observed.detail.modified))
    }
}
