//! Checks an EksCluster's spec against AWS before the first write. I/O: AWS, through
//! [`crate::resources::aws_validation`].

use kube::ResourceExt;

use super::Reconcile;
use crate::api::conditions::{self, ConditionType};
use crate::api::policy::AdoptionPolicy;
use crate::api::status_cluster::EksClusterStatus;
use crate::aws::Session;
use crate::controllers::account::Grant;
use crate::engine::Failure;
use crate::resources::account_checks::preflight;
use crate::resources::aws_validation::{self, AccountContext, Stage};
use crate::resources::graph::expand::NodeRole;
use crate::resources::network::vpc;

impl Reconcile<'_> {
    /// Checks what the spec references, once per generation. A generation that AWS already matched needs no check,
    /// even in a new process: what disappears later is not a mistake in the spec.
    pub(super) async fn validate_against_aws(
        &mut self,
        aws: &Session,
        grant: &Grant,
        previous: &EksClusterStatus,
    ) -> Result<(), Failure> {
        let generation = self.object.metadata.generation;
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let policies = NodeRole::of(groups.iter().map(|group| &group.spec)).with_only(|one| grant.allows_policy(one));
        let missing = aws_validation::missing_policies(aws, &policies.policies).await?;
        let existing = policies.policies.into_iter().filter(|policy| !missing.contains(policy)).collect();
        self.state.kind.checked.record_policies(existing);
        if self.state.kind.checked.has_passed(generation) || was_in_sync(previous, generation) {
            return Ok(());
        }
        let stage = if previous.arn.is_none() { Stage::New } else { Stage::Edited };
        let own_vpc = self.records().ids().find(|(key, _)| *key == vpc::key()).map(|(_, id)| id);
        let around = AccountContext {
            account_id: &aws.account_id,
            settings: Some(&grant.settings),
            own_vpc: own_vpc.as_deref(),
        };
        aws_validation::check(aws, &aws_validation::of_cluster(&self.object.spec, stage, around)).await?;
        let is_new = stage == Stage::New && self.has_no_record();
        if is_new && self.object.spec.adoption_policy != AdoptionPolicy::Adopt {
            preflight::check(aws, &self.object.spec, &self.object.cluster_name()).await?;
        }
        self.state.kind.checked.record_passed(generation);
        Ok(())
    }
}

/// Whether AWS matched that generation of the spec.
fn was_in_sync(previous: &EksClusterStatus, generation: Option<i64>) -> bool {
    let in_sync = conditions::get(&previous.conditions, ConditionType::InSync);
    in_sync.is_some_and(|one| one.status == "True" && one.observed_generation == generation)
}
