//! Retries of accepted operations that fail, and polling for changes that are not visible yet.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::execute::{Journal, Run, reconcile};
use super::failure::span;
use super::plan::Action;
use super::report::Outcome;
use super::resource::{ObserveOptions, PollPolicy, Resource};
use super::{
    Change, Class, ExecutionPolicy, Expectations, Failure, Goal, Graph, Key, Memory, Observation, Phase, Presence,
    Refs, Verdict, erased,
};

const SETTLE: Duration = Duration::from_secs(10);

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
    looks: Vec<Timestamp>,
    /// Observations fail because a referenced resource is gone.
    broken: bool,
    oldest: Vec<Duration>,
}

#[derive(Clone, Default)]
struct Played(Arc<Mutex<Script>>);

struct Thing;

#[async_trait]
impl Resource for Thing {
    type Cloud = Played;
    type Detail = u32;

    fn key(&self) -> Key {
        Key::single("thing")
    }
    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    fn poll_policy(&self) -> PollPolicy {
        PollPolicy { interval: Duration::from_secs(600), max_cache_age: Duration::from_secs(300) }
    }
    fn diff(&self, seen: &Observation<u32>, _: &Refs) -> Vec<Change> {
        if seen.detail == 1 { Vec::new() } else { vec![Change::in_place("value", seen.detail, 1)] }
    }
    async fn observe(
        &self,
        played: &Played,
        _: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<u32>>,
    ) -> Result<Presence<u32>, Failure> {
        let mut script = played.0.lock().unwrap();
        let now = script.now;
        script.looks.push(now);
        script.oldest.push(options.max_age);
        if script.broken {
            return Err(Failure::new(Class::NotFound, "GetThing other: it is not there"));
        }
        let shows = script.changed.is_some_and(|at| now >= at + span(script.lag));
        let seen = Observation::ready("thing", "ACTIVE", u32::from(shows));
        let Some(last) = script.deletions.last() else { return Ok(Presence::Ours(seen)) };
        Ok(if now < *last + span(Duration::from_secs(20)) {
            Presence::Ours(seen.phase(Phase::Busy { action: Action::Delete, since: None, note: String::new() }))
        } else if script.deletions.len() <= script.failing {
            Presence::Ours(seen)
        } else {
            Presence::Absent
        })
    }
    async fn create(&self, _: &Played, _: &Refs) -> Result<Observation<u32>, Failure> {
        Err(Failure::invalid("it is there"))
    }
    async fn update(
        &self,
        played: &Played,
        _: &Refs,
        seen: &Observation<u32>,
        _: &[Change],
    ) -> Result<Observation<u32>, Failure> {
        let mut script = played.0.lock().unwrap();
        script.changed = script.changed.or(Some(script.now));
        script.updates += 1;
        Ok(seen.clone())
    }
    async fn delete(&self, played: &Played, seen: &Observation<u32>) -> Result<Presence<u32>, Failure> {
        let mut script = played.0.lock().unwrap();
        let now = script.now;
        script.deletions.push(now);
        Ok(Presence::Ours(seen.clone().phase(Phase::Busy { action: Action::Delete, since: None, note: String::new() })))
    }
}

struct Forgets;

#[async_trait]
impl Journal for Forgets {
    async fn record(&self, _: &Memory) -> Result<(), Failure> {
        Ok(())
    }
}

struct Play {
    played: Played,
    graph: Graph<Played>,
    memory: Memory,
    goal: Goal,
    outcomes: Vec<Outcome>,
    operations: Vec<String>,
    last: Option<Verdict>,
}

impl Play {
    fn new(goal: Goal, script: Script) -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let graph = Graph::new(vec![Arc::new(Thing) as Arc<dyn erased::Node<Played>>], Vec::new()).unwrap();
        let played = Played(Arc::new(Mutex::new(Script { now, ..script })));
        let memory = Memory::new(now - span(Duration::from_secs(100)), SETTLE, []);
        Self { played, graph, memory, goal, outcomes: Vec::new(), operations: Vec::new(), last: None }
    }

    /// Reconciles whenever it is due, for that long.
    fn run_for(&mut self, time: Duration) {
        let until = self.played.0.lock().unwrap().now + span(time);
        loop {
            let clock = || self.played.0.lock().unwrap().now;
            let (policy, expectations) = (ExecutionPolicy::default(), Expectations::default());
            let run = Run {
                graph: &self.graph,
                goal: self.goal,
                policy: &policy,
                cloud: &self.played,
                may_adopt: &|| Ok(()),
                journal: &Forgets,
                expectations: &expectations,
                clock: &clock,
            };
            let report = futures::executor::block_on(reconcile(&run, &mut self.memory));
            assert_eq!(report.violations, []);
            self.outcomes.extend(report.steps.into_iter().map(|steps| steps.outcome));
            self.operations.extend(report.ended.into_iter().map(|ended| ended.operation.kind));
            self.last = report.plan.verdict(&Key::single("thing")).cloned();
            let Some(next) = report.next else { return };
            let mut script = self.played.0.lock().unwrap();
            script.now = next.max(script.now + span(Duration::from_millis(50)));
            if script.now > until {
                return;
            }
        }
    }

    fn deletions(&self) -> usize {
        self.played.0.lock().unwrap().deletions.len()
    }
}

#[test]
fn a_deletion_that_comes_to_nothing_is_tried_ever_more_rarely_and_needs_a_person_soon() {
    let mut play = Play::new(Goal::Deleted, Script { failing: 1000, ..Script::default() });
    play.run_for(Duration::from_secs(300));
    assert!((3..=8).contains(&play.deletions()), "{} in five minutes", play.deletions());
    let failed = play.memory.get(&Key::single("thing")).unwrap().failed.clone().unwrap();
    assert!(failed.requires_intervention(Timestamp::from_second(1_800_000_300).unwrap()));
    assert!(failed.failure.message.contains("came to nothing"), "{}", failed.failure);
    assert!(play.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Begun(_))), "nothing was deleted");
    let in_five_minutes = play.deletions();
    play.run_for(Duration::from_secs(3600));
    let in_an_hour = play.deletions() - in_five_minutes;
    assert!((3..=12).contains(&in_an_hour), "it is not given up: {in_an_hour} in an hour");
}

#[test]
fn a_deletion_that_works_at_last_is_told_once() {
    let mut play = Play::new(Goal::Deleted, Script { failing: 2, ..Script::default() });
    play.run_for(Duration::from_secs(600));
    assert_eq!((play.deletions(), play.last), (3, Some(Verdict::Settled)));
    assert_eq!(play.operations, [super::DELETION]);
}

#[test]
fn a_change_that_does_not_show_yet_is_looked_for_each_second() {
    let mut play = Play::new(Goal::Present, Script { lag: Duration::from_secs(3), ..Script::default() });
    play.run_for(Duration::from_secs(9));
    assert_eq!(play.last, Some(Verdict::Settled), "not only once the window has passed");
    let script = play.played.0.lock().unwrap();
    assert!((4..=6).contains(&script.looks.len()), "{:?}", script.looks);
    assert!(
        script.oldest[1..].iter().all(|age| *age < Duration::from_secs(2)),
        "not from an old list: {:?}",
        script.oldest
    );
}

#[test]
fn a_look_that_failed_is_not_taken_from_an_old_list() {
    let mut play = Play::new(Goal::Present, Script { broken: true, ..Script::default() });
    play.run_for(Duration::from_secs(60));
    let script = play.played.0.lock().unwrap();
    assert!(script.oldest[1..].iter().all(|age| *age < Duration::from_secs(1)), "{:?}", script.oldest);
}

#[test]
fn a_change_that_never_shows_is_made_ever_more_rarely_and_looked_for_no_more_often_than_it_is_worth() {
    let mut play = Play::new(Goal::Present, Script { lag: Duration::from_secs(1_000_000), ..Script::default() });
    play.run_for(Duration::from_secs(3600));
    let script = play.played.0.lock().unwrap();
    assert!((5..=12).contains(&script.updates), "{} in an hour", script.updates);
    assert!(script.looks.len() < 300, "{} looks in an hour", script.looks.len());
    drop(script);
    assert!(matches!(play.last, Some(Verdict::Pending(..))), "{:?}", play.last);
}
