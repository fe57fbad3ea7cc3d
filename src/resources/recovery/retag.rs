//! A resource that is taken over unchanged: only its ownership tags are written. I/O: tags of EC2, IAM, EKS.
//!
//! During a recovery it is part of a separate graph, with the key and id of the actual resource, so that resources
//! taken over appear in the status.

use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::takeover::Item;
use crate::api::SpecError;
use crate::aws::tags::Tags;
use crate::engine::{Change, Failure, Graph, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals};
use crate::resources::eks::cluster;

struct Retag {
    item: Item,
    wanted: Tags,
    /// Resources to retag first, so that an interrupted recovery leaves the object without its cluster.
    adopted_after: Vec<Key>,
    intervals: Intervals,
}

/// The graph of the resources to take over or hand over, each with the tags from `wanted`.
///
/// # Errors
/// None for a valid selection of `items`.
pub fn graph(items: &[Item], cloud: &Cloud, wanted: impl Fn(&Item) -> Tags) -> Result<Graph<Cloud>, SpecError> {
    let keys: Vec<Key> = items.iter().map(|item| item.key.clone()).collect();
    let nodes = items.iter().map(|item| -> Arc<dyn crate::engine::erased::Node<Cloud>> {
        let others = keys.iter().filter(|key| **key != item.key).cloned();
        let adopted_after = if item.key == cluster::key() { others.collect() } else { Vec::new() };
        let (wanted, intervals) = (wanted(item), cloud.intervals);
        Arc::new(Retag { item: item.clone(), wanted, adopted_after, intervals })
    });
    Graph::new(nodes.collect(), Vec::new()).map_err(|error| SpecError::new("spec", error.to_string()))
}

/// Digest of an action on these resources: an approval applies to exactly that.
pub fn digest(items: &[Item], what: &str) -> String {
    let text = items.iter().fold(what.to_owned(), |text, item| format!("{text}\n{} {}", item.key, item.found.id));
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Retag {
    fn to_observation(&self, tags: &Tags) -> Observation<Tags> {
        Observation::ready(&self.item.found.id, "", tags.clone())
    }

    fn presence(&self, tags: &Tags) -> Presence<Tags> {
        let observed = self.to_observation(tags);
        if self.wanted.missing_from(tags).is_empty() { Presence::Ours(observed) } else { Presence::Unowned(observed) }
    }

    fn refuse<T>(&self) -> Result<T, Failure> {
        Err(Failure::invalid(format!("{} {} is taken over unchanged", self.item.key, self.item.found.id)))
    }
}

#[async_trait]
impl Resource for Retag {
    type Cloud = Cloud;
    type Detail = Tags;

    fn key(&self) -> Key {
        self.item.key.clone()
    }

    fn adopted_after(&self) -> Vec<Key> {
        self.adopted_after.clone()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("id", self.item.found.id.clone()), ("owner", self.item.found.tags.owner().unwrap_or_default().to_owned())]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn diff(&self, _: &Observation<Tags>, _: &Refs) -> Vec<Change> {
        Vec::new()
    }

    /// The tags as of the selection, a moment ago.
    async fn observe(
        &self,
        _: &Cloud,
        _: &Refs,
        _: &ObserveOptions,
        last: Option<&Observation<Tags>>,
    ) -> Result<Presence<Tags>, Failure> {
        // Reads may not show yet what this process wrote.
        let written = last.filter(|last| self.wanted.missing_from(&last.detail).is_empty());
        Ok(self.presence(written.map_or(&self.item.found.tags, |last| &last.detail)))
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<Tags>, Failure> {
        self.refuse()
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Refs,
        _: &Observation<Tags>,
        _: &[Change],
    ) -> Result<Observation<Tags>, Failure> {
        self.refuse()
    }

    async fn delete(&self, _: &Cloud, _: &Observation<Tags>) -> Result<Presence<Tags>, Failure> {
        self.refuse()
    }

    async fn adopt(&self, cloud: &Cloud, observed: &Observation<Tags>) -> Result<Observation<Tags>, Failure> {
        let missing = self.wanted.missing_from(&observed.detail);
        for id in &self.item.extra_ids {
            // The security group that EKS created with the cluster's tags.
            cloud.tag_ec2(id, &mut Tags::new(), self.wanted.clone()).await?;
        }
        let mut tags = observed.detail.clone();
        cloud.tag(&self.item.found.handle, &observed.id, &mut tags, missing).await?;
        Ok(self.to_observation(&tags))
    }
}
