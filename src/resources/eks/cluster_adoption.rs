//! Whether an existing control plane can be adopted with this spec. I/O: reads of EC2 and IAM.
//!
//! A cluster keeps its network and its role for life. If the spec asks for its own, they would be created and never
//! used, so nothing is created.

use super::cluster::Cluster;
use super::cluster_diff::Detail;
use crate::engine::{Failure, Observation, ObserveOptions};
use crate::resources::cloud::{Cloud, max_staleness};

impl Cluster {
    /// # Errors
    /// What to set in the spec.
    pub(crate) async fn check_adoptable(
        &self,
        cloud: &Cloud,
        options: &ObserveOptions,
        observed: &Observation<Detail>,
    ) -> Result<(), Failure> {
        let mut missing_fields = Vec::new();
        if self.spec.network.existing.is_none() {
            let vpc = observed.outputs.get("vpcId").map_or("", String::as_str);
            let ours = cloud.aws.snapshots.vpcs(max_staleness(options)).await?;
            let ours = ours.iter().any(|one| one.id == vpc && one.tags.is_owned_by(&cloud.owner.uid));
            if !ours {
                missing_fields.push(network(&observed.detail));
            }
        }
        if self.spec.role_arn.is_none() {
            let roles = cloud.aws.snapshots.roles(max_staleness(options)).await?;
            let role = &observed.detail.role_arn;
            let ours = roles.iter().any(|one| one.arn == *role && one.tags.is_owned_by(&cloud.owner.uid));
            if !ours {
                missing_fields.push(format!("roleArn: {role}"));
            }
        }
        if missing_fields.is_empty() {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "cluster {} exists and keeps its network and its role, so it cannot be adopted with others, and these \
             fields of an object cannot change: delete this EksCluster, which owns nothing yet, and apply it again \
             with {} (keelson import writes the complete spec)",
            self.name,
            missing_fields.join(", ")
        )))
    }
}

/// In the notation of the spec.
fn network(current: &Detail) -> String {
    let list = |ids: &std::collections::BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(", ");
    let mut existing = format!("subnetIds: [{}]", list(&current.subnets));
    if !current.security_groups.is_empty() {
        existing.push_str(&format!(", securityGroupIds: [{}]", list(&current.security_groups)));
    }
    format!("network: {{existing: {{{existing}}}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_network_is_formatted_like_the_spec() {
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let mut observed = Detail { subnets: set(&["subnet-2", "subnet-1"]), ..Detail::default() };
        assert_eq!(network(&observed), "network: {existing: {subnetIds: [subnet-1, subnet-2]}}");
        observed.security_groups = set(&["sg-1"]);
        let with_groups = "network: {existing: {subnetIds: [subnet-1, subnet-2], securityGroupIds: [sg-1]}}";
        assert_eq!(network(&observed), with_groups);
    }
}
