//! One reconcile: observe what is due, plan, check, run all ready steps concurrently, plan again as each step ends.
//!
//! It makes no decisions beyond the plan and never sleeps: long operations are in the report as a requeue time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::action::{Action, Goal};
use super::check::check;
use super::erased::{AnyObservation, Node};
use super::execution_policy::{ExecutionPolicy, Facts};
use super::expect::Expectations;
use super::failure::{Class, Failure, span};
use super::graph::Graph;
use super::key::Key;
use super::memory::{AnyPresence, Memory};
use super::plan::{Item, Plan, Step, Verdict};
use super::planner::plan;
use super::report::{FinishedOperation, Report};
use super::resource::{ObserveOptions, Phase, Presence};
use super::sweep::check::SweepCheck;

/// Persists ids and intents beyond the process.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Persists the inventory of `memory`. If this fails, no create that needs a recorded intent is sent.
    async fn record(&self, memory: &Memory) -> Result<(), Failure>;
}

/// A graph, its goal, and the inputs of a reconcile.
pub struct Run<'a, C> {
    /// The desired resources.
    pub graph: &'a Graph<C>,
    /// The goal.
    pub goal: Goal,
    /// Which steps may run.
    pub policy: &'a ExecutionPolicy,
    /// The client for the resources' I/O.
    pub cloud: &'a C,
    /// Called before each write to an unowned resource: the permission may be withdrawn after the observation.
    pub may_adopt: &'a (dyn Fn() -> Result<(), Failure> + Sync),
    /// Persists ids.
    pub journal: &'a dyn Journal,
    /// Expected durations.
    pub expectations: &'a Expectations,
    /// The time.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
}

/// After this many steps in one reconcile, a resource waits for the next reconcile.
const MAX_STEPS_PER_RESOURCE: u32 = 4;
/// Concurrent observations: enough to hide latency, few enough for a shared connection pool.
const CONCURRENT_OBSERVATIONS: usize = 16;

/// Reconciles once.
pub async fn reconcile<C: Sync>(run: &Run<'_, C>, memory: &mut Memory) -> Report {
    let mut finished_operations = run.observe(memory).await;
    let (mut steps, mut skipped) = (Vec::new(), Vec::new());
    let mut steps_of: BTreeMap<Key, u32> = BTreeMap::new();
    let mut in_flight: BTreeSet<Key> = BTreeSet::new();
    let mut running = FuturesUnordered::new();
    loop {
        let plan = run.plan(memory);
        let checked = match check(plan, run.graph, memory, run.policy) {
            Ok(checked) => checked,
            Err(violations) => {
                while let Some(done) = running.next().await {
                    finished_operations.extend(run.record_step(memory, done, &mut steps));
                }
                let plan = run.plan(memory);
                let next = (run.clock)().saturating_add(span(Duration::from_secs(60))).ok();
                let expected = run.expected(&plan);
                let facts = run.facts(&plan);
                return Report { plan, next, steps, finished_operations, skipped, violations, expected, facts };
            }
        };
        let mut start: Vec<(Arc<dyn Node<C>>, Step)> = Vec::new();
        for (key, step) in checked.plan().ready_steps() {
            let count = steps_of.get(key).copied().unwrap_or(0);
            if count < MAX_STEPS_PER_RESOURCE
                && !in_flight.contains(key)
                && let Some(node) = run.graph.node(key)
            {
                start.push((node.clone(), step.clone()));
            }
        }
        if run.record_intents(memory, &mut start).await.is_err() {
            start.retain(|(node, step)| step.action != Action::Create || !node.records_create());
        }
        for (node, step) in start {
            *steps_of.entry(node.key()).or_default() += 1;
            in_flight.insert(node.key());
            running.push(run.step(memory, node, step));
        }
        let Some(done) = running.next().await else {
            let plan = checked.into_plan();
            let next = run.requeue_after(memory, &plan);
            let expected = run.expected(&plan);
            let facts = run.facts(&plan);
            return Report { plan, next, steps, finished_operations, skipped, violations: Vec::new(), expected, facts };
        };
        in_flight.remove(&done.key);
        skipped.extend(done.skipped.iter().cloned());
        let persist_at_once = done.must_be_persisted();
        finished_operations.extend(run.record_step(memory, done, &mut steps));
        if persist_at_once && let Err(failure) = run.journal.record(memory).await {
            // The intent is recorded, so nothing is lost: the tag leads back to it.
            tracing::warn!(%failure, "an id could not be stored in status yet");
        }
    }
}

/// Observes and returns the plan without writes. A resource whose lookup needs another resource's outputs is observed
/// after that resource.
pub async fn preview<C: Sync>(run: &Run<'_, C>, memory: &mut Memory) -> Plan {
    run.observe(memory).await;
    let existing: Vec<Key> =
        run.graph.nodes().iter().map(|node| node.key()).filter(|key| !memory.is_absent(key)).collect();
    for key in existing {
        memory.entry(&key).due = Some(Timestamp::MAX);
    }
    run.observe(memory).await;
    run.plan(memory)
}

/// A step that ended.
pub(super) struct FinishedStep {
    pub(super) key: Key,
    pub(super) step: Step,
    persist_at_once: bool,
    skipped: Vec<String>,
    pub(super) result: Result<AnyPresence, Failure>,
}

impl FinishedStep {
    /// Whether the result must be persisted before anything else happens.
    fn must_be_persisted(&self) -> bool {
        let has_operation =
            self.result.as_ref().ok().and_then(Presence::observed).is_some_and(|observed| observed.operation.is_some());
        self.persist_at_once || has_operation
    }
}

impl<C: Sync> Run<'_, C> {
    fn plan(&self, memory: &Memory) -> Plan {
        plan(self.graph, memory, self.goal, self.policy, self.expectations, (self.clock)())
    }

    fn expected(&self, plan: &Plan) -> BTreeMap<Key, Duration> {
        let of = |(key, step): (&Key, &Step)| {
            let node = self.graph.node(key)?;
            Some((key.clone(), self.expectations.of(node.as_ref(), step.action, None).typical))
        };
        plan.steps().filter_map(of).collect()
    }

    fn facts(&self, plan: &Plan) -> Facts {
        let has_facts = |item: &Item| match &item.verdict {
            Verdict::DeletedWith(_) => true,
            Verdict::Step(step) | Verdict::Pending(step, _) | Verdict::Held(step, _) => step.changes.is_empty(),
            _ => false,
        };
        let of = |item: &Item| Some((item.key.clone(), self.graph.node(&item.key)?.facts()));
        plan.items.iter().filter(|item| has_facts(item)).filter_map(of).collect()
    }

    /// Observes all resources that are due, contained resources after their container. Returns the finished operations.
    async fn observe(&self, memory: &mut Memory) -> Vec<FinishedOperation> {
        let mut finished_operations = Vec::new();
        let now = (self.clock)();
        let due = |memory: &Memory, key: &Key| {
            memory.get(key).is_none_or(|e| {
                e.presence.is_none() && e.last_observe_error.is_none() || e.due.is_none_or(|at| at <= now)
            })
        };
        let mut pending: Vec<_> = self.graph.nodes().iter().filter(|node| due(memory, &node.key())).cloned().collect();
        while !pending.is_empty() {
            let unobserved: BTreeSet<Key> = pending.iter().map(|node| node.key()).collect();
            let (ready, later): (Vec<_>, Vec<_>) = pending
                .into_iter()
                .partition(|node| node.observed_after().is_none_or(|host| !unobserved.contains(&host)));
            pending = later;
            let refs = memory.refs();
            let mut requests = Vec::new();
            for node in ready {
                if node.inside().is_some_and(|host| cannot_hold_anything(memory, &host)) {
                    memory.record_observation(&node.key(), Presence::Absent, now);
                } else {
                    let options = self.options(memory, node.as_ref(), now);
                    // The last observation may contain what has changed.
                    let changed_externally =
                        memory.get(&node.key()).is_some_and(|entry| entry.changed_externally_at > entry.observed_at);
                    let last = memory.observed(&node.key()).filter(|_| !changed_externally).cloned();
                    requests.push((node, options, last));
                }
            }
            let refs = &refs;
            let observations = requests.into_iter().map(|(node, options, last)| -> BoxFuture<'_, _> {
                Box::pin(async move {
                    let result = node.observe(self.cloud, refs, &options, last.as_ref()).await;
                    (node, result)
                })
            });
            // Collected and boxed first: the compiler cannot prove that a closure in the stream is `Send`.
            let observations: Vec<_> = observations.collect();
            let results: Vec<_> =
                futures::stream::iter(observations).buffer_unordered(CONCURRENT_OBSERVATIONS).collect().await;
            for (node, result) in results {
                match result {
                    Ok(presence) => {
                        finished_operations.extend(self.record_observation(memory, node.as_ref(), presence, false))
                    }
                    Err(failure) => memory.observe_failed(&node.key(), failure, (self.clock)()),
                }
            }
        }
        finished_operations
    }

    /// Maximum age of a read: not older than the last change, own or external; in steady state as old as the poll
    /// policy allows.
    fn options(&self, memory: &Memory, node: &dyn Node<C>, now: Timestamp) -> ObserveOptions {
        let key = node.key();
        let entry = memory.get(&key);
        let [written_at, changed_externally_at] =
            [entry.and_then(|e| e.written_at), entry.and_then(|e| e.changed_externally_at)];
        let changed = written_at.max(changed_externally_at).unwrap_or(memory.since).max(memory.since);
        let changing = memory.open_window_end(&key, now).is_some()
            || entry.is_some_and(|e| e.running.is_some() || e.failed.is_some());
        // After a recent change or a failed read, old cached lists do not count.
        let uncertain = entry.is_some_and(|e| e.last_observe_error.is_some()) || memory.has_recent_change(&key, now);
        let max_cache_age =
            if changing || uncertain { Duration::from_millis(500) } else { node.poll_policy().max_cache_age };
        let since_change = now.duration_since(changed).max(jiff::SignedDuration::ZERO).unsigned_abs();
        let since_window = memory.time_since_window(&key, now).unwrap_or(Duration::MAX);
        let recorded = entry.and_then(|e| e.recorded.as_ref());
        ObserveOptions {
            max_age: max_cache_age.min(since_change).min(since_window),
            goal: self.goal,
            recorded_id: recorded.and_then(|r| r.id.clone()),
            recorded: recorded.is_some(),
            recorded_operation: recorded.and_then(|r| r.operation.clone()),
        }
    }

    /// Records the intent of every create that could be duplicated or mistaken for another's, before any is sent.
    async fn record_intents(&self, memory: &mut Memory, start: &mut [(Arc<dyn Node<C>>, Step)]) -> Result<(), Failure> {
        let now = (self.clock)();
        let keys: Vec<Key> = start
            .iter()
            .filter(|(node, step)| step.action == Action::Create && node.records_create())
            .map(|(node, _)| node.key())
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        for key in &keys {
            memory.record_intent(key, now);
        }
        let persisted = self.journal.record(memory).await;
        if let Err(failure) = &persisted {
            for key in &keys {
                memory.entry(key).recorded = None;
                memory.step_failed(key, failure.clone(), now);
            }
        }
        persisted
    }

    fn step<'f>(&'f self, memory: &Memory, node: Arc<dyn Node<C>>, step: Step) -> BoxFuture<'f, FinishedStep> {
        let refs = memory.refs();
        let observed = memory.observed(&node.key()).cloned();
        let is_unowned =
            matches!(memory.get(&node.key()).and_then(|e| e.presence.as_ref()), Some(Presence::Unowned(_)));
        let persist_at_once = step.action == Action::Create && node.records_create();
        let step = Step { changes: node.batch(&step.changes), ..step };
        let grounds = node.sweep_scope().map(|scope| SweepCheck::of(self.graph, memory, &node.key(), scope));
        let action = step.action.as_str();
        let traced = tracing::info_span!(target: "keelson::trace", "step",
            otel.name = format!("{action} {}", node.key().kind()), keelson.action = action,
            keelson.resource = %node.key(), error.type = Empty, keelson.error.code = Empty, error = Empty);
        let span = traced.clone();
        let work = async move {
            let key = node.key();
            let allowed = if step.action == Action::Adopt || is_unowned { (self.may_adopt)() } else { Ok(()) };
            if let Err(failure) = allowed {
                return FinishedStep { key, step, persist_at_once, skipped: Vec::new(), result: Err(failure) };
            }
            let mut skipped = Vec::new();
            let result = match (step.action, observed, grounds) {
                (Action::Create, ..) => node.create(self.cloud, &refs).await.map(Presence::Ours),
                (Action::Update | Action::Delete, Some(observed), Some(grounds)) => {
                    self.sweep(node.as_ref(), step.action, &observed, &grounds, &mut skipped).await
                }
                (Action::Update, Some(observed), None) => {
                    let update = node.update(self.cloud, &refs, &observed, &step.changes);
                    update.await.map(if is_unowned { Presence::Unowned } else { Presence::Ours })
                }
                (Action::Adopt, Some(observed), _) => node.adopt(self.cloud, &observed).await.map(Presence::Ours),
                (Action::Release, Some(observed), _) => {
                    node.release(self.cloud, &observed).await.map(|()| Presence::Unowned(observed))
                }
                (Action::Delete, Some(observed), None) => node.delete(self.cloud, &observed).await,
                (Action::Update | Action::Adopt | Action::Delete | Action::Release, None, _) => {
                    Err(Failure::new(Class::NotFound, format!("{key} does not exist")))
                }
            };
            if let Err(failure) = &result
                && !is_absent(step.action, failure.class)
                && failure.class != Class::NoChange
            {
                span.record("error.type", failure.class.as_str()).record("error", failure.message.as_str());
                span.record("keelson.error.code", failure.code.as_deref());
            }
            FinishedStep { key, step, persist_at_once, skipped, result }
        };
        Box::pin(work.instrument(traced))
    }

    /// Deletes resources outside the graph: only targets that pass the check.
    async fn sweep(
        &self,
        node: &dyn Node<C>,
        action: Action,
        observed: &AnyObservation,
        grounds: &SweepCheck,
        skipped: &mut Vec<String>,
    ) -> Result<AnyPresence, Failure> {
        let mut listed = node.list_sweep(self.cloud, observed).await?;
        skipped.append(&mut listed.skipped);
        node.sweep(self.cloud, observed, action, &grounds.check(listed)?).await
    }
}

/// Whether that failure of a step means that what it was to remove is absent.
pub(super) fn is_absent(action: Action, class: Class) -> bool {
    class == Class::NotFound && matches!(action, Action::Delete | Action::Release)
}

/// True when `host` cannot contain anything: it is absent, foreign, or still being created or deleted.
fn cannot_hold_anything(memory: &Memory, host: &Key) -> bool {
    let Some(entry) = memory.get(host) else {
        return false;
    };
    if entry.last_observe_error.is_some() {
        return false;
    }
    match &entry.presence {
        Some(Presence::Absent | Presence::Foreign(_)) => true,
        Some(Presence::Ours(observed) | Presence::External(observed) | Presence::Unowned(observed)) => {
            matches!(observed.phase, Phase::Busy { action: Action::Create | Action::Delete, .. })
        }
        None => false,
    }
}
