//! A graph with a cycle in any relation is rejected when it is built.

use std::time::Duration;

use async_trait::async_trait;
use futures::executor::block_on;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::engine::execute::{Journal, Run, reconcile};
use crate::engine::{
    Change, ExecutionPolicy, Expectations, Failure, Goal, Memory, Observation, ObserveOptions, PollPolicy, Presence,
    Refs, Resource,
};

/// An existing resource, with the relations of a test.
#[derive(Clone, Debug, Default)]
struct Related {
    number: usize,
    holds: Vec<usize>,
    deleted_after: Vec<usize>,
    observed_after: Option<usize>,
    deleted_with: Option<usize>,
}

fn key(number: usize) -> Key {
    Key::named("related", number.to_string())
}

#[async_trait]
impl Resource for Related {
    type Cloud = ();
    type Detail = ();

    fn key(&self) -> Key {
        key(self.number)
    }
    fn holds(&self) -> Vec<Key> {
        self.holds.iter().copied().map(key).collect()
    }
    fn deleted_after(&self) -> Vec<Key> {
        self.deleted_after.iter().copied().map(key).collect()
    }
    fn observed_after(&self) -> Option<Key> {
        self.observed_after.map(key)
    }
    fn deleted_with(&self) -> Option<Key> {
        self.deleted_with.map(key)
    }
    fn poll_policy(&self) -> PollPolicy {
        PollPolicy { interval: Duration::from_secs(60), max_cache_age: Duration::ZERO }
    }
    fn diff(&self, _: &Observation<()>, _: &Refs) -> Vec<Change> {
        Vec::new()
    }
    async fn observe(
        &self,
        (): &(),
        _: &Refs,
        _: &ObserveOptions,
        _: Option<&Observation<()>>,
    ) -> Result<Presence<()>, Failure> {
        Ok(Presence::Ours(Observation::ready(self.number.to_string(), "there", ())))
    }
    async fn create(&self, (): &(), _: &Refs) -> Result<Observation<()>, Failure> {
        Err(Failure::invalid("nothing is created here"))
    }
    async fn update(&self, (): &(), _: &Refs, _: &Observation<()>, _: &[Change]) -> Result<Observation<()>, Failure> {
        Err(Failure::invalid("nothing is updated here"))
    }
    async fn delete(&self, (): &(), _: &Observation<()>) -> Result<Presence<()>, Failure> {
        Ok(Presence::Absent)
    }
}

struct NoJournal;

#[async_trait]
impl Journal for NoJournal {
    async fn record(&self, _: &Memory) -> Result<(), Failure> {
        Ok(())
    }
}

fn build(all: &[Related]) -> Result<Graph<()>, GraphError> {
    Graph::new(all.iter().map(|one| Arc::new(one.clone()) as Arc<dyn Node<()>>).collect(), Vec::new())
}

fn pair(change: impl Fn(usize, &mut Related)) -> Vec<Related> {
    let one = |number| {
        let mut one = Related { number, ..Related::default() };
        change(number, &mut one);
        one
    };
    (0..2).map(one).collect()
}

#[test]
fn cycle_in_any_relation_is_rejected() {
    let cycles = [
        pair(|number, one| one.holds = vec![1 - number]),
        pair(|number, one| one.deleted_after = vec![1 - number]),
        pair(|number, one| one.observed_after = Some(1 - number)),
        pair(|number, one| one.deleted_with = Some(1 - number)),
        vec![
            Related { number: 0, holds: vec![1], deleted_after: vec![1], ..Related::default() },
            Related { number: 1, ..Related::default() },
        ],
        vec![Related { holds: vec![0], ..Related::default() }],
    ];
    for cycle in cycles {
        assert!(matches!(build(&cycle), Err(GraphError::Cycle(_))), "{cycle:?}");
    }
    let chain = pair(|number, one| one.holds = (number == 0).then_some(1).into_iter().collect());
    assert!(build(&chain).is_ok());
}

fn relations() -> impl Strategy<Value = Vec<Related>> {
    let number = || prop::option::weighted(0.3, 0..6usize);
    let numbers = || prop::collection::vec(0..6usize, 0..2);
    prop::collection::vec((numbers(), numbers(), number(), number()), 1..6).prop_map(|all| {
        let one = |(number, (holds, deleted_after, observed_after, deleted_with))| Related {
            number,
            holds,
            deleted_after,
            observed_after,
            deleted_with,
        };
        all.into_iter().enumerate().map(one).collect()
    })
}

proptest! {
    #[test]
    fn every_valid_graph_can_be_deleted(all in relations()) {
        // A cycle that is not rejected overflows the stack or never ends.
        if let Ok(graph) = build(&all) {
            let (policy, expectations) = (ExecutionPolicy::default(), Expectations::default());
            let clock = || Timestamp::from_second(1_800_000_000).unwrap();
            let mut memory = Memory::new(Timestamp::UNIX_EPOCH, Duration::ZERO, []);
            let run = Run {
                graph: &graph,
                goal: Goal::Deleted,
                policy: &policy,
                cloud: &(),
                may_adopt: &|| Ok(()),
                journal: &NoJournal,
                expectations: &expectations,
                clock: &clock,
            };
            let report = block_on(reconcile(&run, &mut memory));
            prop_assert!(report.violations.is_empty(), "{:?}", report.violations);
        }
    }
}
