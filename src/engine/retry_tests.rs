//! Retries of accepted operations that fail, and polling for changes that are not visible yet.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::action::Action;
use super::execute::{Journal, Run, reconcile};
use super::failure::span;
use super::report::Outcome;
use super::resource::{ObserveOptions, PollPolicy, Resource};
use super::{
    Change, Class, ExecutionPolicy, Expectations, Failure, Goal, Graph, Key, MarkOwner, Memory, Observation, Phase,
    Presence, Recreate, Refs, Verdict, erased,
};

const WINDOW: Duration = Duration::from_secs(10);

/// A resource, and the calls on it with their times.
#[derive(Default)]
struct Script {
    now: Timestamp,
    /// Accepted deletions; each ends after twenty seconds.
    deletions: Vec<Timestamp>,
    /// This many of them fail.
    failing: usize,
    changed: Option<Timestamp>,
    updates: usize,
    /// How long a change stays invisible.
    lag: Duration,
    observations: Vec<Timestamp>,
    /// Observations fail because a referenced resource is gone.
    fails: bool,
    max_ages: Vec<Duration>,
}

#[derive(Clone, Default)]
struct SimulatedCloud(Arc<Mutex<Script>>);

#[async_trait]
impl MarkOwner for SimulatedCloud {
    type Marker = ();

    async fn mark(&self, (): &()) -> Result<(), Failure> {
        Err(Failure::invalid("not part of this test"))
    }

    async fn unmark(&self, (): &()) -> Result<(), Failure> {
        Err(Failure::invalid("not part of this test"))
    }
}

struct Thing;

#[async_trait]
impl Resource for Thing {
    type Cloud = SimulatedCloud;
    type Detail = u32;

    fn key(&self) -> Key {
        Key::single("thing")
    }
    fn poll_policy(&self) -> PollPolicy {
        PollPolicy { interval: Duration::from_secs(600), max_cache_age: Duration::from_secs(300) }
    }
    fn diff(&self, observed: &Observation<u32>, _: &Refs) -> Vec<Change> {
        if observed.detail == 1 { Vec::new() } else { vec![Change::in_place("value", observed.detail, 1)] }
    }
    async fn observe(
        &self,
        cloud: &SimulatedCloud,
        _: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<u32>>,
    ) -> Result<Presence<u32>, Failure> {
        let mut script = cloud.0.lock().unwrap();
        let now = script.now;
        script.observations.push(now);
        script.max_ages.push(options.max_age);
        if script.fails {
            return Err(Failure::new(Class::NotFound, "GetThing other: it is not there"));
        }
        let shows = script.changed.is_some_and(|at| now >= at + span(script.lag));
        let observed = Observation::ready("thing", "ACTIVE", u32::from(shows));
        let Some(last) = script.deletions.last() else { return Ok(Presence::Ours(observed)) };
        Ok(if now < *last + span(Duration::from_secs(20)) {
            Presence::Ours(observed.phase(Phase::Busy { action: Action::Delete, since: None, note: String::new() }))
        } else if script.deletions.len() <= script.failing {
            Presence::Ours(observed)
        } else {
            Presence::Absent
        })
    }
    async fn create(&self, _: &SimulatedCloud, _: &Refs) -> Result<Observation<u32>, Failure> {
        Err(Failure::invalid("it is there"))
    }
    async fn update(
        &self,
        cloud: &SimulatedCloud,
        _: &Refs,
        observed: &Observation<u32>,
        _: &[Change],
    ) -> Result<Observation<u32>, Failure> {
        let mut script = cloud.0.lock().unwrap();
        script.changed = script.changed.or(Some(script.now));
        script.updates += 1;
        Ok(observed.clone())
    }
    async fn delete(&self, cloud: &SimulatedCloud, observed: &Observation<u32>) -> Result<Presence<u32>, Failure> {
        let mut script = cloud.0.lock().unwrap();
        let now = script.now;
        script.deletions.push(now);
        Ok(Presence::Ours(observed.clone().phase(Phase::Busy {
            action: Action::Delete,
            since: None,
            note: String::new(),
        })))
    }
}

struct NoJournal;

#[async_trait]
impl Journal for NoJournal {
    async fn record(&self, _: &Memory) -> Result<(), Failure> {
        Ok(())
    }
}

struct Simulation {
    cloud: SimulatedCloud,
    graph: Graph<SimulatedCloud>,
    memory: Memory,
    goal: Goal,
    outcomes: Vec<Outcome>,
    operations: Vec<String>,
    last: Option<Verdict>,
}

impl Simulation {
    fn new(goal: Goal, script: Script) -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let graph = Graph::new(vec![Arc::new(Thing) as Arc<dyn erased::Node<SimulatedCloud>>], Vec::new()).unwrap();
        let cloud = SimulatedCloud(Arc::new(Mutex::new(Script { now, ..script })));
        let memory = Memory::new(now - span(Duration::from_secs(100)), WINDOW, []);
        Self { cloud, graph, memory, goal, outcomes: Vec::new(), operations: Vec::new(), last: None }
    }

    /// Reconciles whenever it is due, for that long.
    fn run_for(&mut self, time: Duration) {
        let until = self.cloud.0.lock().unwrap().now + span(time);
        loop {
            let clock = || self.cloud.0.lock().unwrap().now;
            let (policy, expectations) = (ExecutionPolicy::default(), Expectations::default());
            let run = Run {
                graph: &self.graph,
                goal: self.goal,
                policy: &policy,
                cloud: &self.cloud,
                may_adopt: &|| Ok(()),
                journal: &NoJournal,
                expectations: &expectations,
                clock: &clock,
            };
            let report = futures::executor::block_on(reconcile(&run, &mut self.memory));
            assert_eq!(report.violations, []);
            self.outcomes.extend(report.steps.into_iter().map(|steps| steps.outcome));
            self.operations.extend(report.finished_operations.into_iter().map(|finished| finished.operation.kind));
            self.last = report.plan.verdict(&Key::single("thing")).cloned();
            let Some(next) = report.next else { return };
            let mut script = self.cloud.0.lock().unwrap();
            script.now = next.max(script.now + span(Duration::from_millis(50)));
            if script.now > until {
                return;
            }
        }
    }

    fn deletions(&self) -> usize {
        self.cloud.0.lock().unwrap().deletions.len()
    }
}

#[test]
fn failing_deletion_is_retried_with_backoff_and_requires_intervention() {
    let mut simulation = Simulation::new(Goal::Deleted, Script { failing: 1000, ..Script::default() });
    simulation.run_for(Duration::from_secs(300));
    assert!((3..=8).contains(&simulation.deletions()), "{} in five minutes", simulation.deletions());
    let failed = simulation.memory.get(&Key::single("thing")).unwrap().failed.clone().unwrap();
    assert!(failed.requires_intervention(Timestamp::from_second(1_800_000_300).unwrap()));
    assert!(failed.failure.message.contains("was started and failed"), "{}", failed.failure);
    assert!(simulation.outcomes.iter().all(|outcome| matches!(outcome, Outcome::InProgress(_))), "nothing was deleted");
    let in_five_minutes = simulation.deletions();
    simulation.run_for(Duration::from_secs(3600));
    let in_an_hour = simulation.deletions() - in_five_minutes;
    assert!((3..=12).contains(&in_an_hour), "it is not given up: {in_an_hour} in an hour");
}

#[test]
fn retried_deletion_is_reported_once() {
    let mut simulation = Simulation::new(Goal::Deleted, Script { failing: 2, ..Script::default() });
    simulation.run_for(Duration::from_secs(600));
    assert_eq!((simulation.deletions(), simulation.last), (3, Some(Verdict::Settled)));
    assert_eq!(simulation.operations, [super::DELETION]);
}

#[test]
fn invisible_change_is_polled_every_second() {
    let mut simulation = Simulation::new(Goal::Present, Script { lag: Duration::from_secs(3), ..Script::default() });
    simulation.run_for(Duration::from_secs(9));
    assert_eq!(simulation.last, Some(Verdict::Settled), "not only once the window has passed");
    let script = simulation.cloud.0.lock().unwrap();
    assert!((4..=6).contains(&script.observations.len()), "{:?}", script.observations);
    assert!(
        script.max_ages[1..].iter().all(|age| *age < Duration::from_secs(2)),
        "not from an old list: {:?}",
        script.max_ages
    );
}

#[test]
fn failed_observation_is_not_repeated_from_an_old_cache() {
    let mut simulation = Simulation::new(Goal::Present, Script { fails: true, ..Script::default() });
    simulation.run_for(Duration::from_secs(60));
    let script = simulation.cloud.0.lock().unwrap();
    assert!(script.max_ages[1..].iter().all(|age| *age < Duration::from_secs(1)), "{:?}", script.max_ages);
}

#[test]
fn change_that_never_becomes_visible_is_repeated_with_backoff() {
    let mut simulation =
        Simulation::new(Goal::Present, Script { lag: Duration::from_secs(1_000_000), ..Script::default() });
    simulation.run_for(Duration::from_secs(3600));
    let script = simulation.cloud.0.lock().unwrap();
    assert!((5..=12).contains(&script.updates), "{} in an hour", script.updates);
    assert!(script.observations.len() < 300, "{} looks in an hour", script.observations.len());
    drop(script);
    assert!(matches!(simulation.last, Some(Verdict::Pending(..))), "{:?}", simulation.last);
}

#[test]
fn writes_are_visible_a_window_after_the_last_one() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut memory = Memory::new(at(0), Duration::from_secs(10), []);
    assert_eq!(memory.writes_visible_at(), None);
    for (name, second) in [("a", 5), ("b", 20), ("c", 7)] {
        memory.entry(&Key::named("thing", name)).written_at = Some(at(second));
    }
    assert_eq!(memory.writes_visible_at(), Some(at(30)));
}

#[test]
fn what_never_worked_is_recreated_once_when_a_user_asks() {
    let (key, now) = (Key::single("thing"), Timestamp::UNIX_EPOCH);
    let graph = Graph::new(vec![Arc::new(Thing) as Arc<dyn erased::Node<SimulatedCloud>>], Vec::new()).unwrap();
    let present = |phase: Phase| -> super::memory::AnyPresence {
        let detail: Arc<dyn std::any::Any + Send + Sync> = Arc::new(1_u32);
        Presence::Ours(Observation::ready("thing", "CREATE_FAILED", detail).phase(phase))
    };
    let failed = |recreate| Phase::Failed { reason: "it conflicts".into(), class: Class::Unknown, recreate };
    let action = |memory: &Memory| {
        let (policy, expectations) = (ExecutionPolicy::default(), Expectations::default());
        let plan = super::plan(&graph, memory, Goal::Present, &policy, &expectations, now);
        let step = plan.steps().next().map(|(_, step)| step.action);
        assert!(super::check::check(plan, &graph, memory, &policy).is_ok() || step.is_none());
        step
    };
    let mut memory = Memory::new(now, WINDOW, []);
    memory.record_observation(&key, present(failed(Recreate::OnRequest)), now);
    assert_eq!(action(&memory), None);
    memory.retry_failures(now);
    assert_eq!(action(&memory), Some(Action::Delete));
    let deleting = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
    memory.record_observation(&key, present(deleting), now);
    memory.record_observation(&key, present(failed(Recreate::OnRequest)), now);
    assert_eq!(action(&memory), None, "it failed again");
    memory.record_observation(&key, present(failed(Recreate::Now)), now);
    assert_eq!(action(&memory), Some(Action::Delete));
    memory.record_observation(&key, present(failed(Recreate::Never)), now);
    memory.retry_failures(now);
    assert_eq!(action(&memory), None);
}
