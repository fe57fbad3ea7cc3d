//! What is in a cluster and the spec does not list: found by EKS's own lists, and deleted where that is asked for.
//!
//! Access entries and add-ons are anybody's, so they are deleted only with `access.prune` and `pruneAddons`. Pod identity
//! associations and Fargate profiles have no such switch: of them only those go that carry our tag, which were made
//! because the spec listed them. All others stay as they are.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::cloud::{Cloud, Intervals, ResourceContext};
use super::role::{self, Purpose};
use super::{access_entry, addon, cluster, fargate_profile, pod_identity_association};
use crate::aws::tags::Tags;
use crate::engine::{
    Action, AllowedTarget, Change, CheckedSweep, Class, Failure, Goal, Graph, Key, Memory, Observation, ObserveOptions,
    Phase, PollPolicy, Presence, Proof, Refs, Resource, Scope, Sweep, Target,
};

/// What can be in a cluster beside what is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With `access.prune`.
    AccessEntries,
    /// With `pruneAddons`.
    Addons,
    /// Those of ours.
    PodIdentities,
    /// Those of ours.
    FargateProfiles,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::AccessEntries, Kind::Addons, Kind::PodIdentities, Kind::FargateProfiles];

    /// Its name in the graph.
    pub fn key(self) -> Key {
        Key::single(match self {
            Kind::AccessEntries => "accessEntryPruning",
            Kind::Addons => "addonPruning",
            Kind::PodIdentities => "podIdentityPruning",
            Kind::FargateProfiles => "fargateProfilePruning",
        })
    }

    /// The kind, in the graph, of one that is listed.
    fn listed(self) -> &'static str {
        match self {
            Kind::AccessEntries => access_entry::KIND,
            Kind::Addons => addon::KIND,
            Kind::PodIdentities => pod_identity_association::KIND,
            Kind::FargateProfiles => fargate_profile::KIND,
        }
    }

    /// The list in the spec.
    fn field(self) -> &'static str {
        match self {
            Kind::AccessEntries => "access.entries",
            Kind::Addons => "addons",
            Kind::PodIdentities => "podIdentities",
            Kind::FargateProfiles => "fargateProfiles",
        }
    }

    /// EKS takes its time to delete it.
    fn takes_time(self) -> bool {
        matches!(self, Kind::Addons | Kind::FargateProfiles)
    }
}

/// One kind of them in one cluster.
pub struct Unlisted {
    pub(super) cluster: String,
    pub(super) kind: Kind,
    /// Names of those that are listed.
    listed: BTreeSet<String>,
    /// Put on what is not ours before it is deleted.
    pub(super) tags: Tags,
    intervals: Intervals,
}

/// One that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As the spec would list it.
    pub name: String,
    /// As EKS knows it.
    pub id: String,
    /// For its tags.
    pub arn: String,
    /// Its tags.
    pub tags: Tags,
    /// What a person is to know of it.
    pub what: String,
    /// It is going already.
    pub deleting: bool,
}

/// What is seen of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    found: Vec<Found>,
    /// Ids of those that stay: they are not described again.
    stay: BTreeSet<String>,
}

/// What becomes of one that is not listed.
pub(super) enum Judged {
    /// It is to go.
    Goes(Found),
    /// It is not ours to delete.
    Stays,
    /// It is gone.
    Gone,
}

impl Unlisted {
    /// All of a kind but those called `listed`.
    pub fn new(making: &ResourceContext<'_>, kind: Kind, listed: impl IntoIterator<Item = String>) -> Self {
        Self {
            cluster: making.cluster_name.into(),
            kind,
            listed: listed.into_iter().collect(),
            tags: making.tags(&kind.key()),
            intervals: making.intervals,
        }
    }

    async fn find(&self, cloud: &Cloud, last: Option<&Observation<Detail>>) -> Result<Detail, Failure> {
        let mut seen = Detail::default();
        for (name, id) in self.list(cloud).await? {
            if self.listed.contains(&name) {
                continue;
            }
            if last.is_some_and(|last| last.detail.stay.contains(&id)) {
                seen.stay.insert(id);
                continue;
            }
            match self.judge(cloud, &name, &id).await? {
                Judged::Goes(found) => seen.found.push(found),
                Judged::Stays => drop(seen.stay.insert(id)),
                Judged::Gone => {}
            }
        }
        Ok(seen)
    }

    /// Those that go now: of Fargate profiles one, as EKS deletes one at a time.
    fn goes_now<'s>(&self, seen: &'s Detail) -> impl Iterator<Item = &'s Found> {
        let most = if self.kind == Kind::FargateProfiles { 1 } else { usize::MAX };
        seen.found.iter().filter(|found| !found.deleting).take(most)
    }

    /// Deletes what the checker let pass.
    async fn remove(&self, cloud: &Cloud, seen: &Detail, allowed: &[AllowedTarget]) -> Result<Detail, Failure> {
        let mut left = Detail { found: Vec::new(), stay: seen.stay.clone() };
        for found in &seen.found {
            let goes_now = allowed.iter().find(|allowed| allowed.id() == found.id);
            if let Some(allowed) = goes_now {
                match self.delete_one(cloud, found, allowed).await {
                    Err(failure) if failure.class == Class::NotFound => continue,
                    other => other?,
                }
            }
            if self.kind.takes_time() || goes_now.is_none() {
                left.found.push(Found { deleting: found.deleting || goes_now.is_some(), ..found.clone() });
            }
        }
        Ok(left)
    }
}

/// Where they stand: nothing more is begun while one is going.
fn observed(seen: Detail, action: Action) -> Observation<Detail> {
    let going: Vec<_> = seen.found.iter().filter(|found| found.deleting).map(|found| found.name.clone()).collect();
    let state = if seen.found.is_empty() { "none" } else { "found" };
    let all = Observation::ready("list", state, seen);
    if going.is_empty() {
        return all;
    }
    all.phase(Phase::Busy { action, since: None, note: format!("deleting {}", going.join(", ")) })
}

/// Whether a key of the graph is of what is only ever cleaned away, and never made.
pub fn is_never_made(key: &Key) -> bool {
    *key == super::leftovers::key() || *key == super::removals::key() || Kind::ALL.iter().any(|kind| kind.key() == *key)
}

/// What was listed when it was seen last and is not any more is looked for now, and its own line is forgotten.
pub fn notice(memory: &mut Memory, graph: &Graph<Cloud>) {
    for kind in Kind::ALL {
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
impl Resource for Unlisted {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        self.kind.key()
    }

    fn after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    /// Not `inside` it: what was absent with the cluster would have to be made.
    fn observed_after(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn deleted_with(&self) -> Option<Key> {
        (self.kind != Kind::FargateProfiles).then(cluster::key)
    }

    /// EKS deletes no cluster that has Fargate profiles.
    fn holds(&self) -> Vec<Key> {
        match self.kind {
            Kind::FargateProfiles => vec![cluster::key(), role::key(Purpose::Fargate)],
            _ => Vec::new(),
        }
    }

    /// One at a time, and those that are listed first.
    fn deleted_after(&self) -> Vec<Key> {
        match self.kind {
            Kind::FargateProfiles => self.listed.iter().map(|name| fargate_profile::key(name)).collect(),
            _ => Vec::new(),
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(match self.kind {
            Kind::FargateProfiles => 90,
            Kind::Addons => 30,
            Kind::AccessEntries | Kind::PodIdentities => 1,
        })
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    fn sweep_scope(&self) -> Option<Scope> {
        let owner = self.tags.owner().unwrap_or_default().to_owned();
        let prunes = matches!(self.kind, Kind::AccessEntries | Kind::Addons);
        Some(Scope { subject: cluster::key(), name: self.cluster.clone(), owner, prunes })
    }

    fn diff(&self, seen: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let to_go = seen.detail.found.iter().filter(|found| !found.deleting && !self.listed.contains(&found.name));
        to_go.map(|found| Change::in_place(format!("{}[{}]", self.kind.field(), found.name), &found.what, "")).collect()
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let nothing = |seen| Ok(Presence::External(observed(seen, Action::Update)));
        let (may_be_there, action) = match options.goal {
            Goal::Present => (true, Action::Update),
            // What is not listed is nobody's to let go of.
            Goal::Retained => (false, Action::Release),
            // All others go with the cluster.
            Goal::Deleted => (self.kind == Kind::FargateProfiles, Action::Delete),
        };
        if !may_be_there || refs.get(&cluster::key()).is_none() {
            return nothing(Detail::default());
        }
        let seen = match self.find(cloud, last).await {
            Err(failure) if failure.class == Class::NotFound => Detail::default(),
            other => other?,
        };
        if seen.found.is_empty() { nothing(seen) } else { Ok(Presence::Ours(observed(seen, action))) }
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid(format!("{} are never made", self.kind.key())))
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Refs,
        _: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid(format!("{} are swept", self.kind.key())))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        Err(Failure::invalid(format!("{} are swept", self.kind.key())))
    }

    async fn list_sweep(&self, _: &Cloud, seen: &Observation<Detail>) -> Result<Sweep, Failure> {
        let target = |found: &Found| {
            let part_of = cluster::key();
            let proof = match found.tags.owner() {
                Some(owner) => Proof::Owned { part_of, owner: owner.to_owned() },
                None => Proof::Pruned { part_of },
            };
            let what = format!("{}[{}]", self.kind.field(), found.name);
            Target { id: found.id.clone(), what, proof, in_use: false, referred_to_by: Vec::new() }
        };
        Ok(Sweep { targets: self.goes_now(&seen.detail).map(target).collect(), ..Sweep::default() })
    }

    async fn sweep(
        &self,
        cloud: &Cloud,
        seen: &Observation<Detail>,
        action: Action,
        swept: &CheckedSweep,
    ) -> Result<Presence<Detail>, Failure> {
        let left = self.remove(cloud, &seen.detail, &swept.allowed).await?;
        let gone = action == Action::Delete && left.found.is_empty();
        Ok(if gone { Presence::Absent } else { Presence::Ours(observed(left, action)) })
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

    fn profiles(listed: &[&str]) -> Unlisted {
        let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
        let making = ResourceContext {
            owner: &owner,
            cluster_name: "demo",
            user_tags: BTreeMap::new(),
            former_tags: BTreeSet::new(),
            intervals: Intervals::default(),
        };
        Unlisted::new(&making, Kind::FargateProfiles, listed.iter().map(|name| (*name).to_owned()))
    }

    fn found(name: &str, deleting: bool) -> Found {
        let (arn, tags, what) = (String::new(), Tags::new(), "present".to_owned());
        Found { name: name.into(), id: name.into(), arn, tags, what, deleting }
    }

    #[test]
    fn what_is_found_and_not_listed_is_to_go_one_at_a_time() {
        let seen = Detail { found: vec![found("a", false), found("b", false)], stay: BTreeSet::new() };
        let fields = |of: &Unlisted, seen: &Observation<Detail>| {
            of.diff(seen, &Refs::default()).into_iter().map(|change| change.field).collect::<Vec<_>>()
        };
        let all = observed(seen.clone(), Action::Update);
        assert_eq!(all.phase, Phase::Ready);
        assert_eq!(fields(&profiles(&[]), &all), ["fargateProfiles[a]", "fargateProfiles[b]"]);
        // Listed again since it was seen.
        assert_eq!(fields(&profiles(&["a"]), &all), ["fargateProfiles[b]"]);
        let going = observed(Detail { found: vec![found("a", true), found("b", false)], ..seen }, Action::Update);
        assert!(matches!(&going.phase, Phase::Busy { note, .. } if note == "deleting a"));
    }

    #[test]
    fn what_is_dropped_from_the_list_is_looked_for_at_once() {
        let now = Timestamp::UNIX_EPOCH;
        let unlisted = Kind::FargateProfiles.key();
        // A gate stands for the cluster.
        let cluster = Gate { key: cluster::key(), open: true, why: String::new(), holds: Vec::new() };
        let graph = Graph::<Cloud>::new(vec![Arc::new(profiles(&[])) as _], vec![cluster]).unwrap();
        let mut memory = Memory::new(now, Duration::ZERO, []);
        let there = || Observation::ready("id", "ACTIVE", Arc::new(()) as Arc<dyn std::any::Any + Send + Sync>);
        memory.record_observation(&unlisted, Presence::External(there()), now);
        memory.entry(&unlisted).due = Some(Timestamp::MAX);
        notice(&mut memory, &graph);
        assert_eq!(memory.entry(&unlisted).due, Some(Timestamp::MAX), "nothing was dropped");
        let dropped = fargate_profile::key("a");
        memory.record_observation(&dropped, Presence::Ours(there()), now);
        notice(&mut memory, &graph);
        assert_eq!(memory.entry(&unlisted).due, None);
        assert!(memory.get(&dropped).is_none(), "its line in status goes");
    }
}
