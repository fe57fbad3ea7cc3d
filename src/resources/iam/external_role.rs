//! A role that the spec names: used, never changed.

use async_trait::async_trait;

use super::role::{Purpose, key};
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext};

/// A role that the user manages.
pub struct ExternalRole {
    purpose: Purpose,
    arn: String,
    intervals: Intervals,
}

impl ExternalRole {
    /// Creates the resource for a role named in the spec.
    pub fn new(context: &ResourceContext<'_>, purpose: Purpose, arn: &str) -> Self {
        Self { purpose, arn: arn.into(), intervals: context.intervals }
    }
}

#[async_trait]
impl Resource for ExternalRole {
    type Cloud = Cloud;
    type Detail = ();

    fn key(&self) -> Key {
        key(self.purpose)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("arn", self.arn.clone())]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    fn diff(&self, _: &Observation<()>, _: &Refs) -> Vec<Change> {
        Vec::new()
    }

    /// Not read: the operator may lack the permission, and EKS validates the role.
    async fn observe(
        &self,
        _: &Cloud,
        _: &Refs,
        _: &ObserveOptions,
        _: Option<&Observation<()>>,
    ) -> Result<Presence<()>, Failure> {
        let name = self.arn.rsplit('/').next().unwrap_or(&self.arn);
        Ok(Presence::External(Observation::ready(name, "given", ()).output("arn", &self.arn)))
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<()>, Failure> {
        Err(read_only_error(&self.arn))
    }

    async fn update(&self, _: &Cloud, _: &Refs, _: &Observation<()>, _: &[Change]) -> Result<Observation<()>, Failure> {
        Err(read_only_error(&self.arn))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<()>) -> Result<Presence<()>, Failure> {
        Err(read_only_error(&self.arn))
    }
}

fn read_only_error(what: &str) -> Failure {
    Failure::invalid(format!("{what} is not managed by Keelson"))
}
