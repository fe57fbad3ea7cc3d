//! Checks a NodeGroup's spec against AWS before the first write. I/O: AWS, through [`crate::resources::aws_validation`].

use super::Reconcile;
use super::apply_spec::ValidGroup;
use super::replacement::node_group_names::immutable_digest;
use crate::api::conditions::{self, ConditionType};
use crate::api::status_cluster::NodeGroupStatus;
use crate::aws::Session;
use crate::engine::Failure;
use crate::resources::aws_validation::{self, Stage};

impl Reconcile<'_> {
    /// Checks what the spec references, once per generation, even while the cluster is being created. A generation
    /// that AWS already matched needs no check.
    pub(super) async fn validate_against_aws(
        &mut self,
        aws: &Session,
        previous: &NodeGroupStatus,
        own: &ValidGroup,
    ) -> Result<(), Failure> {
        let ValidGroup { cluster, view, .. } = own;
        let generation = self.object.metadata.generation;
        let in_sync = conditions::get(&previous.conditions, ConditionType::InSync);
        let matched = in_sync.is_some_and(|one| one.status == "True" && one.observed_generation == generation);
        if self.state.kind.checked == generation || matched {
            return Ok(());
        }
        // A node group that is made beside it is a new one.
        let made_with = previous.immutable_digest.as_ref();
        let is_replaced = made_with.is_some_and(|digest| *digest != immutable_digest(&self.object.spec));
        let stage = Stage::of_node_group(previous.arn.is_some() && !is_replaced, &cluster.spec);
        aws_validation::check(aws, &aws_validation::of_node_group(&self.object.spec, stage, &cluster.spec, view))
            .await?;
        // While the subnets are not known, what depends on them is checked later.
        if aws_validation::knows_subnets(&self.object.spec, view) {
            self.state.kind.checked = generation;
        }
        Ok(())
    }
}
