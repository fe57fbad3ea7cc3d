//! A resource that another one replaces: when the planner deletes it, and what the checker demands.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::check::check;
use super::resource::Succession;
use super::toy_world::ToyWorld;
use super::*;

/// A resource, replaced by another one or not.
struct Replaced {
    name: &'static str,
    by: Option<&'static str>,
    holds: Option<&'static str>,
}

fn key(name: &str) -> Key {
    Key::named("thing", name)
}

fn unused() -> Key {
    Key::single("unused")
}

#[async_trait]
impl Resource for Replaced {
    type Cloud = ToyWorld;
    type Detail = u32;

    fn key(&self) -> Key {
        key(self.name)
    }

    fn succession(&self) -> Option<Succession> {
        Some(Succession { successor: key(self.by?), unused: unused() })
    }

    fn holds(&self) -> Vec<Key> {
        self.holds.map(key).into_iter().collect()
    }

    fn deletable_while(&self, action: Action) -> bool {
        action != Action::Update
    }

    fn poll_policy(&self) -> PollPolicy {
        PollPolicy { interval: Duration::from_secs(600), max_cache_age: Duration::from_secs(300) }
    }

    fn diff(&self, observed: &Observation<u32>, _: &Refs) -> Vec<Change> {
        vec![Change::forbidden("value", observed.detail, 1, "it cannot change")]
    }

    async fn observe(
        &self,
        _: &ToyWorld,
        _: &Refs,
        _: &ObserveOptions,
        _: Option<&Observation<u32>>,
    ) -> Result<Presence<u32>, Failure> {
        Ok(Presence::Absent)
    }

    async fn create(&self, _: &ToyWorld, _: &Refs) -> Result<Observation<u32>, Failure> {
        Ok(Observation::ready(self.name, "there", 1))
    }

    async fn update(
        &self,
        _: &ToyWorld,
        _: &Refs,
        observed: &Observation<u32>,
        _: &[Change],
    ) -> Result<Observation<u32>, Failure> {
        Ok(observed.clone())
    }

    async fn delete(&self, _: &ToyWorld, _: &Observation<u32>) -> Result<Presence<u32>, Failure> {
        Ok(Presence::Absent)
    }
}

/// Old is replaced by new; `new_by`: new is itself replaced.
fn graph(new_by: Option<&'static str>, is_unused: bool) -> Graph<ToyWorld> {
    let gate = Gate { key: unused(), open: is_unused, why: "in use".into(), holds: Vec::new() };
    Graph::new(vec![node("new", new_by, None), node("old", Some("new"), None)], vec![gate]).unwrap()
}

fn node(
    name: &'static str,
    by: Option<&'static str>,
    holds: Option<&'static str>,
) -> std::sync::Arc<dyn erased::Node<ToyWorld>> {
    std::sync::Arc::new(Replaced { name, by, holds })
}

fn thing(phase: Phase) -> Presence<u32> {
    Presence::Ours(Observation::ready("id", "there", 7).phase(phase))
}

fn busy(action: Action) -> Presence<u32> {
    thing(Phase::Busy { action, since: None, note: String::new() })
}

fn memory(old: Presence<u32>, new: Presence<u32>) -> Memory {
    let mut memory = Memory::new(Timestamp::UNIX_EPOCH, Duration::ZERO, []);
    for (name, presence) in [("old", old), ("new", new)] {
        memory.record_observation(&key(name), ToyWorld::any(presence), Timestamp::UNIX_EPOCH);
    }
    memory
}

/// What is planned for the old one.
fn planned(old: Presence<u32>, new: Presence<u32>, is_unused: bool) -> Verdict {
    let (graph, memory) = (graph(None, is_unused), memory(old, new));
    let policy = ExecutionPolicy::default();
    let now = Timestamp::from_second(100).unwrap();
    let plan = plan(&graph, &memory, Goal::Present, &policy, &Expectations::default(), now);
    let verdict = plan.verdict(&key("old")).unwrap().clone();
    assert!(check(plan, &graph, &memory, &policy).is_ok(), "the checker agrees: {verdict:?}");
    verdict
}

#[test]
fn replaced_resource_is_deleted_once_its_successor_is_ready_and_nothing_uses_it() {
    let ready = || thing(Phase::Ready);
    let waits = |verdict: Verdict| match verdict {
        Verdict::Pending(Step { action: Action::Delete, .. }, waits) => waits,
        other => panic!("{other:?}"),
    };
    assert_eq!(waits(planned(ready(), Presence::Absent, true)), [WaitingOn::Resource(key("new"))]);
    assert_eq!(waits(planned(ready(), busy(Action::Create), true)), [WaitingOn::Resource(key("new"))]);
    assert_eq!(waits(planned(ready(), ready(), false)), [WaitingOn::Gate(unused(), "in use".into())]);
    let step = planned(ready(), ready(), true);
    assert!(matches!(&step, Verdict::Step(Step { action: Action::Delete, .. })), "{step:?}");
    assert!(matches!(planned(busy(Action::Delete), ready(), true), Verdict::Waiting { action: Action::Delete, .. }));
    assert!(matches!(planned(busy(Action::Update), ready(), true), Verdict::Waiting { action: Action::Update, .. }));
    assert_eq!(planned(Presence::Absent, ready(), true), Verdict::Settled);
    let foreign = planned(Presence::Foreign("another".into()), ready(), true);
    assert!(matches!(foreign, Verdict::Blocked(_)), "{foreign:?}");
    let unowned = planned(Presence::Unowned(Observation::ready("id", "there", 7)), ready(), true);
    assert!(matches!(unowned, Verdict::Blocked(_)), "{unowned:?}");
}

#[test]
fn deletion_without_proof_of_succession_is_rejected() {
    let ready = || thing(Phase::Ready);
    let violation = |graph: &Graph<ToyWorld>, memory: &Memory| {
        let step = Step { action: Action::Delete, changes: Vec::new(), reason: None };
        let item = Item { key: key("old"), verdict: Verdict::Step(step), forbidden: Vec::new(), drift: Vec::new() };
        let plan = Plan { goal: Goal::Present, items: vec![item] };
        check(plan, graph, memory, &ExecutionPolicy::default()).err().map(|all| all[0].why)
    };
    assert_eq!(violation(&graph(None, true), &memory(ready(), ready())), None);
    let table = [
        (graph(None, false), memory(ready(), ready()), "it may still be in use"),
        (graph(None, true), memory(ready(), Presence::Absent), "what replaces it is not ready"),
        (graph(None, true), memory(ready(), busy(Action::Create)), "what replaces it is not ready"),
        (graph(None, true), memory(ready(), busy(Action::Delete)), "what replaces it is not ready"),
        (graph(None, true), memory(ready(), Presence::Foreign("x".into())), "what replaces it is not ready"),
        (graph(Some("old"), true), memory(ready(), ready()), "what replaces it is to be deleted itself"),
        (graph(None, true), memory(Presence::Foreign("x".into()), ready()), "it is not owned by this object"),
    ];
    for (graph, memory, why) in table {
        assert_eq!(violation(&graph, &memory), Some(why));
    }
    let mut unread = memory(ready(), ready());
    unread.observe_failed(&key("new"), Failure::new(Class::Unavailable, "x"), Timestamp::UNIX_EPOCH);
    assert_eq!(violation(&graph(None, true), &unread), Some("what replaces it is not ready"));
    let alone = Graph::new(vec![node("old", Some("new"), None)], Vec::new());
    assert_eq!(violation(&alone.unwrap(), &memory(ready(), ready())), Some("what replaces it is not in the graph"));
}

/// As a launch template, which EC2 would delete under the node group that has it.
#[test]
fn what_the_replaced_resource_holds_is_deleted_after_it() {
    let gate = Gate { key: unused(), open: true, why: String::new(), holds: Vec::new() };
    let nodes = vec![node("new", None, None), node("held", Some("new"), None), node("old", Some("new"), Some("held"))];
    let graph = Graph::new(nodes, vec![gate]).unwrap();
    let (policy, now) = (ExecutionPolicy::default(), Timestamp::from_second(100).unwrap());
    let verdict_of_held = |old: Presence<u32>| {
        let mut memory = memory(old, thing(Phase::Ready));
        memory.record_observation(&key("held"), ToyWorld::any(thing(Phase::Ready)), Timestamp::UNIX_EPOCH);
        let plan = plan(&graph, &memory, Goal::Present, &policy, &Expectations::default(), now);
        let verdict = plan.verdict(&key("held")).unwrap().clone();
        assert!(check(plan, &graph, &memory, &policy).is_ok());
        let step = Step { action: Action::Delete, changes: Vec::new(), reason: None };
        let item = Item { key: key("held"), verdict: Verdict::Step(step), forbidden: Vec::new(), drift: Vec::new() };
        let forced = Plan { goal: Goal::Present, items: vec![item] };
        (verdict, check(forced, &graph, &memory, &policy).err().map(|all| all[0].why))
    };
    for old in [thing(Phase::Ready), busy(Action::Delete)] {
        let (verdict, rejected) = verdict_of_held(old);
        assert!(
            matches!(&verdict, Verdict::Pending(_, waits) if *waits == [WaitingOn::Resource(key("old"))]),
            "{verdict:?}"
        );
        assert_eq!(rejected, Some("a resource that must be deleted first still exists"));
    }
    let (verdict, rejected) = verdict_of_held(Presence::Absent);
    assert!(matches!(verdict, Verdict::Step(_)), "{verdict:?}");
    assert_eq!(rejected, None);
}
