//! A role that the spec names: looked up, never changed.

use async_trait::async_trait;

use super::cloud::{Cloud, Intervals, Making};
use super::role::{Purpose, key};
use crate::engine::{Change, Failure, Key, Look, Observed, Presence, Refs, Resource, Rest};

/// A role that the user names: used as it is.
pub struct GivenRole {
    purpose: Purpose,
    arn: String,
    intervals: Intervals,
}

impl GivenRole {
    /// A role named in the spec.
    pub fn new(making: &Making<'_>, purpose: Purpose, arn: &str) -> Self {
        Self { purpose, arn: arn.into(), intervals: making.intervals }
    }
}

#[async_trait]
impl Resource for GivenRole {
    type Cloud = Cloud;
    type Seen = ();

    fn key(&self) -> Key {
        key(self.purpose)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("arn", self.arn.clone())]
    }

    fn rest(&self) -> Rest {
        self.intervals.slow()
    }

    fn diff(&self, _: &Observed<()>, _: &Refs) -> Vec<Change> {
        Vec::new()
    }

    /// Taken at the user's word: the operator may not be allowed to look at it, and EKS checks it.
    async fn observe(&self, _: &Cloud, _: &Refs, _: &Look, _: Option<&Observed<()>>) -> Result<Presence<()>, Failure> {
        let name = self.arn.rsplit('/').next().unwrap_or(&self.arn);
        Ok(Presence::Borrowed(Observed::ready(name, "given", ()).output("arn", &self.arn)))
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observed<()>, Failure> {
        Err(never(&self.arn))
    }

    async fn update(&self, _: &Cloud, _: &Refs, _: &Observed<()>, _: &[Change]) -> Result<Observed<()>, Failure> {
        Err(never(&self.arn))
    }

    async fn delete(&self, _: &Cloud, _: &Observed<()>) -> Result<Presence<()>, Failure> {
        Err(never(&self.arn))
    }
}

fn never(what: &str) -> Failure {
    Failure::invalid(format!("{what} is not ours to change"))
}
