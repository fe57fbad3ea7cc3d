//! Pruning: finds resources in a cluster that the spec does not list, and deletes them if the spec asks for it.
//!
//! Access entries and add-ons may belong to anybody, so they are deleted only with `access.prune` and `pruneAddons`.
//! Pod identity associations and Fargate profiles have no such switch: only those with our tag are deleted, which
//! Keelson created when the spec listed them. All others stay.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::prune_limits::Limits;
use super::pruned_kind::PrunedKind;
use crate::api::addons::PruneCoreAddons;
use crate::aws::tags::Tags;
use crate::engine::{
    Action, AllowedTarget, Change, CheckedSweep, Class, Failure, Goal, Graph, Key, Memory, Observation, ObserveOptions,
    Phase, PollPolicy, Presence, Proof, Refs, Resource, Scope, Sweep, Target,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext};
use crate::resources::eks::{certificate_authority, cluster, fargate_profile};
use crate::resources::iam::role::{self, Purpose};

/// Prunes one kind of resource in one cluster.
pub struct Pruning {
    pub(crate) cluster: String,
    pub(crate) kind: PrunedKind,
    listed: BTreeSet<String>,
    /// Tags for unowned resources, written before their deletion.
    pub(crate) tags: Tags,
    /// What happens to core add-ons.
    pub(crate) core: PruneCoreAddons,
    intervals: Intervals,
}

/// A resource to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name as in the spec.
    pub name: String,
    /// The id in EKS.
    pub id: String,
    /// The ARN, for tagging.
    pub arn: String,
    /// The tags.
    pub tags: Tags,
    /// Details for messages.
    pub what: String,
    /// Whether the deletion is in progress.
    pub deleting: bool,
}

/// What Keelson observes of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    found: Vec<Found>,
    /// Ids of those to keep: they are not described again.
    kept: BTreeSet<String>,
    /// What stays although it would be deleted.
    limits: Limits,
}

/// The decision about a resource that the spec does not list.
pub(crate) enum Decision {
    Delete(Found),
    /// Keep it: it is not ours to delete.
    Keep,
    NotFound,
}

impl Pruning {
    /// Creates the resource that prunes everything of a kind except `listed`.
    pub fn new(context: &ResourceContext<'_>, kind: PrunedKind, listed: impl IntoIterator<Item = String>) -> Self {
        Self {
            cluster: context.cluster_name.into(),
            kind,
            listed: listed.into_iter().collect(),
            tags: context.tags(&kind.key()),
            core: PruneCoreAddons::default(),
            intervals: context.intervals,
        }
    }

    /// The same, with what happens to core add-ons.
    pub fn with_core_addons(self, core: PruneCoreAddons) -> Self {
        Self { core, ..self }
    }

    async fn find(&self, cloud: &Cloud, last: Option<&Observation<Detail>>) -> Result<Detail, Failure> {
        let limits = last.map(|last| last.detail.limits.next()).unwrap_or_default();
        let mut detail = Detail { limits, ..Detail::default() };
        for (name, id) in self.list(cloud).await? {
            if self.listed.contains(&name) {
                continue;
            }
            if last.is_some_and(|last| last.detail.kept.contains(&id)) {
                detail.kept.insert(id);
                continue;
            }
            match self.decide(cloud, &name, &id).await? {
                Decision::Delete(found) if !found.deleting && detail.limits.spares(self.kind, &name, self.core) => {}
                Decision::Delete(found) => detail.found.push(found),
                Decision::Keep => drop(detail.kept.insert(id)),
                Decision::NotFound => {}
            }
        }
        Ok(detail)
    }

    /// The resources to delete now. EKS deletes one Fargate profile at a time.
    fn to_delete_now<'s>(&self, observed: &'s Detail) -> impl Iterator<Item = &'s Found> {
        let limit = if self.kind == PrunedKind::FargateProfiles { 1 } else { usize::MAX };
        observed.found.iter().filter(|found| !found.deleting).take(limit)
    }

    async fn remove(&self, cloud: &Cloud, observed: &Detail, allowed: &[AllowedTarget]) -> Result<Detail, Failure> {
        let (kept, limits) = (observed.kept.clone(), observed.limits.clone());
        let mut left = Detail { found: Vec::new(), kept, limits };
        for found in &observed.found {
            let allowed = allowed.iter().find(|allowed| allowed.id() == found.id);
            if let Some(allowed) = allowed {
                match self.delete_one(cloud, found, allowed).await {
                    Err(failure) if failure.class == Class::NotFound => continue,
                    other => other?,
                }
                left.limits.record_deletion(&found.name);
            }
            if self.kind.is_deleted_asynchronously() || allowed.is_none() {
                left.found.push(Found { deleting: found.deleting || allowed.is_some(), ..found.clone() });
            }
        }
        Ok(left)
    }
}

/// Builds the observation; it is busy while a deletion is in progress.
fn to_observation(detail: Detail, action: Action) -> Observation<Detail> {
    let deleting: Vec<_> = detail.found.iter().filter(|found| found.deleting).map(|found| found.name.clone()).collect();
    let state = if detail.found.is_empty() { "none" } else { "found" };
    let all = Observation::ready("list", state, detail);
    if deleting.is_empty() {
        return all;
    }
    all.phase(Phase::Busy { action, since: None, note: format!("deleting {}", deleting.join(", ")) })
}

/// What pruning leaves although the spec does not list it, each described for an event.
pub fn left_alone(memory: &Memory) -> Vec<String> {
    let of_kind = |kind: PrunedKind| {
        let observed = memory.get(&kind.key()).and_then(|entry| entry.presence.as_ref()?.observed());
        observed.and_then(|observed| Some((kind, observed.detail.downcast_ref::<Detail>()?)))
    };
    let all = PrunedKind::ALL.into_iter().filter_map(of_kind);
    all.flat_map(|(kind, detail)| detail.limits.messages(kind)).collect()
}

/// Whether resources with this key are never created: they are only deleted, or EKS creates them with the cluster.
pub fn is_never_created(key: &Key) -> bool {
    let keys =
        [super::leftovers::key(), super::removals::key(), super::claim_volumes::key(), certificate_authority::key()];
    keys.contains(key) || PrunedKind::ALL.map(PrunedKind::key).contains(key)
}

/// Schedules pruning now for resources that were removed from the spec, and drops their own entries.
pub fn schedule_pruning(memory: &mut Memory, graph: &Graph<Cloud>) {
    for kind in PrunedKind::ALL {
        let of_kind = memory.iter().map(|(key, _)| key).filter(|key| key.kind() == kind.listed());
        let dropped: Vec<Key> = of_kind.filter(|key| graph.node(key).is_none()).cloned().collect();
        for key in &dropped {
            memory.forget(key);
        }
        if !dropped.is_empty() && graph.node(&kind.key()).is_some() {
            memory.entry(&kind.key()).due = None;
        }
    }
}

#[async_trait]
impl Resource for Pruning {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        self.kind.key()
    }

    fn after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    /// Not `inside` the cluster: an absent resource would then have to be created.
    fn observed_after(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn deleted_with(&self) -> Option<Key> {
        (self.kind != PrunedKind::FargateProfiles).then(cluster::key)
    }

    /// EKS does not delete a cluster that has Fargate profiles.
    fn holds(&self) -> Vec<Key> {
        match self.kind {
            PrunedKind::FargateProfiles => vec![cluster::key(), role::key(Purpose::Fargate)],
            _ => Vec::new(),
        }
    }

    /// One at a time, after the listed ones.
    fn deleted_after(&self) -> Vec<Key> {
        match self.kind {
            PrunedKind::FargateProfiles => self.listed.iter().map(|name| fargate_profile::key(name)).collect(),
            _ => Vec::new(),
        }
    }

    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(match self.kind {
            PrunedKind::FargateProfiles => 90,
            PrunedKind::Addons => 30,
            PrunedKind::AccessEntries | PrunedKind::PodIdentities => 1,
        })
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    fn sweep_scope(&self) -> Option<Scope> {
        let owner = self.tags.owner().unwrap_or_default().to_owned();
        let prunes = matches!(self.kind, PrunedKind::AccessEntries | PrunedKind::Addons);
        Some(Scope { subject: cluster::key(), name: self.cluster.clone(), owner, prunes })
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let due = observed.detail.found.iter().filter(|found| !found.deleting && !self.listed.contains(&found.name));
        due.map(|found| Change::in_place(format!("{}[{}]", self.kind.field(), found.name), &found.what, "")).collect()
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let external = |detail| Ok(Presence::External(to_observation(detail, Action::Update)));
        let (may_exist, action) = match options.goal {
            Goal::Present => (true, Action::Update),
            // Unlisted resources are not released.
            Goal::Retained => (false, Action::Release),
            // All others are deleted with the cluster.
            Goal::Deleted => (self.kind == PrunedKind::FargateProfiles, Action::Delete),
        };
        if !may_exist || refs.get(&cluster::key()).is_none() {
            return external(Detail::default());
        }
        let detail = match self.find(cloud, last).await {
            Err(failure) if failure.class == Class::NotFound => Detail::default(),
            other => other?,
        };
        if detail.found.is_empty() { external(detail) } else { Ok(Presence::Ours(to_observation(detail, action))) }
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid(format!("{} resources are never created", self.kind.key())))
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Refs,
        _: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid(format!("{} resources are deleted by a sweep", self.kind.key())))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        Err(Failure::invalid(format!("{} resources are deleted by a sweep", self.kind.key())))
    }

    async fn list_sweep(&self, _: &Cloud, observed: &Observation<Detail>) -> Result<Sweep, Failure> {
        let target = |found: &Found| {
            let part_of = cluster::key();
            let proof = match found.tags.owner() {
                Some(owner) => Proof::Owned { part_of, owner: owner.to_owned() },
                None => Proof::Pruned { part_of },
            };
            let what = format!("{}[{}]", self.kind.field(), found.name);
            Target { id: found.id.clone(), key: None, what, proof, in_use: false, referred_to_by: Vec::new() }
        };
        Ok(Sweep { targets: self.to_delete_now(&observed.detail).map(target).collect(), ..Sweep::default() })
    }

    async fn sweep(
        &self,
        cloud: &Cloud,
        observed: &Observation<Detail>,
        action: Action,
        swept: &CheckedSweep,
    ) -> Result<Presence<Detail>, Failure> {
        let left = self.remove(cloud, &observed.detail, &swept.allowed).await?;
        let gone = action == Action::Delete && left.found.is_empty();
        Ok(if gone { Presence::Absent } else { Presence::Ours(to_observation(left, action)) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::engine::Gate;
    use crate::resources::cloud::Owner;

    fn profiles(listed: &[&str]) -> Pruning {
        let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
        let context = ResourceContext {
            owner: &owner,
            cluster_name: "demo",
            user_tags: BTreeMap::new(),
            former_tags: BTreeSet::new(),
            intervals: Intervals::default(),
        };
        Pruning::new(&context, PrunedKind::FargateProfiles, listed.iter().map(|name| (*name).to_owned()))
    }

    fn found(name: &str, deleting: bool) -> Found {
        let (arn, tags, what) = (String::new(), Tags::new(), "present".to_owned());
        Found { name: name.into(), id: name.into(), arn, tags, what, deleting }
    }

    #[test]
    fn unlisted_profiles_are_deleted_one_at_a_time() {
        let detail = Detail { found: vec![found("a", false), found("b", false)], ..Detail::default() };
        let fields = |of: &Pruning, observed: &Observation<Detail>| {
            of.diff(observed, &Refs::default()).into_iter().map(|change| change.field).collect::<Vec<_>>()
        };
        let all = to_observation(detail.clone(), Action::Update);
        assert_eq!(all.phase, Phase::Ready);
        assert_eq!(fields(&profiles(&[]), &all), ["fargateProfiles[a]", "fargateProfiles[b]"]);
        // Listed again since the observation.
        assert_eq!(fields(&profiles(&["a"]), &all), ["fargateProfiles[b]"]);
        let busy =
            to_observation(Detail { found: vec![found("a", true), found("b", false)], ..detail }, Action::Update);
        assert!(matches!(&busy.phase, Phase::Busy { note, .. } if note == "deleting a"));
    }

    #[test]
    fn removed_list_entry_schedules_pruning_immediately() {
        let now = Timestamp::UNIX_EPOCH;
        let pruning = PrunedKind::FargateProfiles.key();
        // A gate stands in for the cluster.
        let cluster = Gate { key: cluster::key(), open: true, why: String::new(), holds: Vec::new() };
        let graph = Graph::<Cloud>::new(vec![Arc::new(profiles(&[])) as _], vec![cluster]).unwrap();
        let mut memory = Memory::new(now, Duration::ZERO, []);
        let observation = || Observation::ready("id", "ACTIVE", Arc::new(()) as Arc<dyn std::any::Any + Send + Sync>);
        memory.record_observation(&pruning, Presence::External(observation()), now);
        memory.entry(&pruning).due = Some(Timestamp::MAX);
        schedule_pruning(&mut memory, &graph);
        assert_eq!(memory.entry(&pruning).due, Some(Timestamp::MAX), "nothing was dropped");
        let dropped = fargate_profile::key("a");
        memory.record_observation(&dropped, Presence::Ours(observation()), now);
        schedule_pruning(&mut memory, &graph);
        assert_eq!(memory.entry(&pruning).due, None);
        assert!(memory.get(&dropped).is_none(), "its status entry is removed");
    }
}
