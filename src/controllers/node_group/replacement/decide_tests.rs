//! The steps of a replacement, one by one; and random interleavings of edits, crashes, stale reads, lost answers and budgets.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::names::UNKNOWN;
use super::*;

const A: &str = "aaaaaaaaaa";
const B: &str = "bbbbbbbbbb";
const C: &str = "cccccccccc";

fn group(name: &str, digest: &str) -> Group {
    Group { name: name.into(), digest: digest.into() }
}

fn pair(in_use: (&str, &str), other: Option<(&str, &str)>) -> Pair {
    Pair { in_use: group(in_use.0, in_use.1), other: other.map(|(name, digest)| group(name, digest)) }
}

fn nodes(stays: &str, leaves: &str, schedulable: i32, (leaving, uncordoned, pods): (i32, i32, i32)) -> Nodes {
    Nodes { stays: stays.into(), schedulable, leaves: leaves.into(), leaving, uncordoned, pods }
}

/// The step, and the node groups after it: in use, other.
fn step(recorded: &Pair, desired: &str, states: (State, State), nodes: Option<&Nodes>, closed: Option<&str>) -> (Step, String) {
    let (in_use, other) = states;
    let input = Input { first: "web", desired, recorded, in_use, other, nodes, may_begin: true, closed };
    let decision = decide(&input);
    let other = decision.pair.other.as_ref().map_or("-", |other| &other.name);
    (decision.step.clone(), format!("{} {other} stays={}", decision.pair.in_use.name, decision.stays().name))
}

const NEW: &str = "web-bbbbbbbbbb";

#[test]
fn edit_is_followed_through_every_step() {
    let (alone, both) = (pair(("web", A), None), pair(("web", A), Some((NEW, B))));
    let ready = State::Ready(2);
    let forward = format!("web {NEW} stays={NEW}");
    assert_eq!(step(&alone, A, (ready, State::Unknown), None, None), (Step::Steady, "web - stays=web".into()));
    assert_eq!(step(&alone, B, (State::Unknown, State::Unknown), None, None).0, Step::Observe);
    assert_eq!(step(&alone, B, (ready, State::Unknown), None, None), (Step::Create(None), forward.clone()));
    let closed = step(&alone, B, (ready, State::Unknown), None, Some("waits"));
    assert_eq!(closed, (Step::Create(Some("waits".into())), forward.clone()));
    assert_eq!(step(&both, B, (ready, State::Unknown), None, None).0, Step::Observe, "a stale read");
    assert_eq!(step(&both, B, (ready, State::NotReady), None, None), (Step::AwaitGroup, forward.clone()));
    assert_eq!(step(&both, B, (ready, ready), None, None), (Step::ReadNodes, forward.clone()));
    let with = |nodes: &Nodes, closed| step(&both, B, (ready, ready), Some(nodes), closed).0;
    let of = |schedulable, leaving| nodes(NEW, "web", schedulable, leaving);
    assert_eq!(with(&of(1, (2, 2, 3)), None), Step::AwaitNodes { ready: 1, needed: 2 });
    assert_eq!(with(&of(2, (2, 2, 3)), None), Step::Drain(None));
    assert_eq!(with(&of(2, (2, 2, 3)), Some("waits")), Step::Drain(Some("waits".into())));
    assert_eq!(with(&of(2, (2, 0, 1)), None), Step::Drain(None), "a Pod is left");
    assert_eq!(with(&of(2, (2, 1, 0)), None), Step::Drain(None), "a Pod may still come");
    assert_eq!(with(&of(1, (2, 0, 0)), None), Step::AwaitNodes { ready: 1, needed: 2 }, "a new node failed meanwhile");
    assert_eq!(with(&of(2, (2, 0, 0)), None), Step::Delete);
    assert_eq!(with(&of(2, (2, 0, 0)), Some("waits")), Step::Delete, "it disrupts nothing any more");
    assert_eq!(with(&nodes("web", NEW, 2, (2, 0, 0)), None), Step::ReadNodes, "of the other way around");
    let deleting = step(&both, B, (State::Deleting, ready), None, None);
    assert_eq!(deleting, (Step::AwaitDeletion, format!("{NEW} web stays={NEW}")));
    let swapped = pair((NEW, B), Some(("web", A)));
    assert_eq!(step(&swapped, B, (ready, State::Absent), None, None), (Step::Steady, format!("{NEW} - stays={NEW}")));
}

#[test]
fn empty_node_group_takes_over_only_from_an_empty_one() {
    let both = pair(("web", A), Some((NEW, B)));
    let with = |leaving| {
        let found = nodes(NEW, "web", 0, leaving);
        step(&both, B, (State::Ready(1), State::Ready(0)), Some(&found), None).0
    };
    assert_eq!(with((1, 1, 0)), Step::AwaitNodes { ready: 0, needed: 1 });
    assert_eq!(with((0, 0, 0)), Step::Delete);
}

#[test]
fn edit_that_is_taken_back_removes_the_other_one() {
    let both = pair(("web", A), Some((NEW, B)));
    let (ready, back) = (State::Ready(2), format!("web {NEW} stays=web"));
    assert_eq!(step(&both, A, (ready, ready), None, None), (Step::ReadNodes, back.clone()));
    let found = nodes("web", NEW, 2, (2, 0, 0));
    assert_eq!(step(&both, A, (ready, ready), Some(&found), None), (Step::Delete, back.clone()));
    assert_eq!(step(&both, A, (ready, State::NotReady), Some(&found), None), (Step::Delete, back.clone()), "it failed");
    assert_eq!(step(&both, A, (ready, State::Absent), None, None), (Step::Steady, "web - stays=web".into()));
    assert_eq!(step(&both, A, (ready, State::Unknown), None, None).0, Step::Observe, "it may have been created");
    // The old one is being deleted already: it is created again, and the new one serves meanwhile.
    let late = step(&both, A, (State::Deleting, ready), None, None);
    assert_eq!(late, (Step::AwaitGroup, format!("{NEW} web stays=web")));
    let swapped = pair((NEW, B), Some(("web", A)));
    assert_eq!(step(&swapped, A, (ready, State::Absent), None, None), (Step::Create(None), format!("{NEW} web stays=web")));
}

#[test]
fn another_edit_removes_the_other_one_before_it_begins() {
    let both = pair(("web", A), Some((NEW, B)));
    let ready = State::Ready(2);
    assert_eq!(step(&both, C, (ready, ready), None, None), (Step::ReadNodes, format!("web {NEW} stays=web")));
    let gone = step(&both, C, (ready, State::Absent), None, None);
    assert_eq!(gone, (Step::Create(None), "web web-cccccccccc stays=web-cccccccccc".into()));
}

#[test]
fn policy_begins_and_never_interrupts() {
    let refused = |recorded: &Pair| {
        let (in_use, other) = (State::Ready(2), State::NotReady);
        let input =
            Input { first: "web", desired: B, recorded, in_use, other, nodes: None, may_begin: false, closed: None };
        decide(&input).step
    };
    assert_eq!(refused(&pair(("web", A), None)), Step::Refused);
    assert_eq!(refused(&pair(("web", A), Some((NEW, B)))), Step::AwaitGroup);
}

#[test]
fn deletion_by_hand_leaves_the_other_one_in_use() {
    let both = pair(("web", A), Some((NEW, B)));
    let forward = step(&both, B, (State::Absent, State::Ready(2)), None, None);
    assert_eq!(forward, (Step::Steady, format!("{NEW} - stays={NEW}")));
    let alone = pair(("web", A), None);
    let missing = step(&alone, B, (State::Absent, State::Unknown), None, Some("waits"));
    assert_eq!(missing.0, Step::Create(None), "there is nothing to disrupt");
}

#[test]
fn node_group_that_no_record_describes_is_replaced_unless_its_name_says_what_it_is() {
    let (unknown, named) = (pair(("web", UNKNOWN), None), pair((NEW, UNKNOWN), None));
    assert_eq!(step(&unknown, B, (State::Ready(1), State::Unknown), None, None).0, Step::Create(None));
    assert_eq!(step(&named, B, (State::Ready(1), State::Unknown), None, None).0, Step::Steady);
}

// Interleavings.

/// How long reads may lag, in ticks; and how long an absence is not certain.
const WINDOW: u32 = 3;
/// How long after its node group a node is ready.
const JOINING: u32 = 6;

#[derive(Clone, Debug, Default, PartialEq)]
struct Made {
    digest: String,
    ready_at: u32,
    deleted_at: Option<u32>,
    cordoned: bool,
    pods: u32,
    foreign: bool,
}

impl Made {
    fn has_nodes(&self, now: u32) -> bool {
        self.ready_at == 0 || self.ready_at + JOINING <= now
    }
}

#[derive(Clone, Debug)]
enum Event {
    Tick,
    Edit(&'static str),
    Crash,
    /// The process dies right after the next write to AWS or to status, or its answer is lost.
    CrashAtWrite(u32),
    Lag(u32),
    Budget(bool),
    Window(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => Just(Event::Tick),
        2 => prop_oneof![Just(A), Just(B), Just(C)].prop_map(Event::Edit),
        1 => Just(Event::Crash),
        1 => (0..3u32).prop_map(Event::CrashAtWrite),
        1 => (0..WINDOW).prop_map(Event::Lag),
        1 => any::<bool>().prop_map(Event::Budget),
        1 => any::<bool>().prop_map(Event::Window),
    ]
}

/// EKS, the workload cluster, the object and the process.
struct World {
    now: u32,
    lag: u32,
    history: Vec<BTreeMap<String, Made>>,
    desired: &'static str,
    status: Pair,
    blocks: bool,
    open: bool,
    // The process.
    since: u32,
    written: BTreeMap<String, u32>,
    reading: Option<(u32, Nodes)>,
    crash_at: Option<u32>,
    writes: u32,
    deletions: Vec<String>,
}

impl World {
    fn new() -> Self {
        let made = |digest: &str, foreign| Made { digest: digest.into(), pods: 2, foreign, ..Made::default() };
        let groups = [("web", made(A, false)), ("web-ffffffffff", made("ffffffffff", true)), ("api", made(B, true))];
        let groups = groups.into_iter().map(|(name, made)| (name.to_owned(), made)).collect();
        Self {
            now: 10,
            lag: 0,
            history: vec![groups; 11],
            desired: A,
            status: pair(("web", A), None),
            blocks: false,
            open: true,
            since: 0,
            written: BTreeMap::new(),
            reading: None,
            crash_at: None,
            writes: 0,
            deletions: Vec::new(),
        }
    }

    fn groups(&mut self) -> &mut BTreeMap<String, Made> {
        self.history.last_mut().expect("there is always a present")
    }

    fn state(&self, name: &str) -> State {
        let at = self.now.saturating_sub(self.lag);
        let Some(made) = self.history[at as usize].get(name) else {
            let certain = self.written.get(name).copied().unwrap_or(0).max(self.since) + WINDOW;
            return if self.now >= certain { State::Absent } else { State::Unknown };
        };
        match made {
            Made { foreign: true, .. } => State::Unknown,
            Made { deleted_at: Some(_), .. } => State::Deleting,
            Made { ready_at, .. } if *ready_at > at => State::NotReady,
            _ => State::Ready(2),
        }
    }

    /// A write; false: the process died, with or without its effect.
    fn write(&mut self, change: impl FnOnce(&mut Self)) -> bool {
        self.writes += 1;
        let dies = self.crash_at == Some(0);
        self.crash_at = self.crash_at.and_then(|left| left.checked_sub(1));
        change(self);
        if dies {
            self.crash();
        }
        !dies
    }

    fn crash(&mut self) {
        (self.since, self.reading, self.crash_at) = (self.now, None, None);
        self.written.clear();
    }

    fn reconcile(&mut self) -> Result<(), String> {
        let other = self.status.other.as_ref().map(|other| self.state(&other.name)).unwrap_or_default();
        let (recorded, in_use) = (self.status.clone(), self.state(&self.status.in_use.name));
        let fresh = self.reading.as_ref().filter(|(at, _)| self.now - at <= 1).map(|(_, nodes)| nodes.clone());
        let closed = (!self.open).then_some("waits");
        let input = Input {
            first: "web",
            desired: self.desired,
            recorded: &recorded,
            in_use,
            other,
            nodes: fresh.as_ref(),
            may_begin: true,
            closed,
        };
        let decision = decide(&input);
        if decision.pair != recorded {
            let pair = decision.pair.clone();
            if !self.write(|world| world.status = pair) {
                return Ok(());
            }
        }
        let stays = decision.stays().clone();
        let leaves = decision.leaves().map(|group| group.name.clone()).unwrap_or_default();
        match decision.step {
            Step::Steady if in_use == State::Absent => self.create(&stays)?,
            Step::Create(None) => self.create(&stays)?,
            Step::ReadNodes | Step::AwaitNodes { .. } => self.pass(&stays.name, &leaves, false),
            Step::Drain(None) => self.pass(&stays.name, &leaves, true),
            Step::Delete => self.delete(&stays.name, &leaves)?,
            _ => {}
        }
        Ok(())
    }

    fn create(&mut self, group: &Group) -> Result<(), String> {
        if self.groups().contains_key(&group.name) {
            // EKS answers that the name is taken.
            return Ok(());
        }
        let (digest, ready_at) = (group.digest.clone(), self.now + 2);
        let ours = self.groups().values().filter(|made| !made.foreign).count();
        if ours >= 2 {
            return Err(format!("a third node group: {}", group.name));
        }
        let name = group.name.clone();
        self.write(|world| {
            world.written.insert(name.clone(), world.now);
            world.groups().insert(name, Made { digest, ready_at, ..Made::default() });
        });
        Ok(())
    }

    /// Uncordons, counts, and evicts: a Pod goes to any node that takes Pods.
    fn pass(&mut self, stays: &str, leaves: &str, drains: bool) {
        let (now, blocks) = (self.now, self.blocks);
        let groups = self.groups();
        if let Some(made) = groups.get_mut(stays).filter(|made| !made.foreign) {
            made.cordoned = false;
        }
        let schedulable = groups.get(stays).filter(|made| made.has_nodes(now)).map_or(0, |_| 2);
        let Some(made) = groups.get_mut(leaves) else {
            self.reading = Some((now, nodes(stays, leaves, schedulable, (0, 0, 0))));
            return;
        };
        let uncordoned = if made.cordoned { 0 } else { 2 };
        let mut evicted = 0;
        if drains {
            made.cordoned = true;
            if made.pods > 0 && !blocks {
                made.pods -= 1;
                evicted = 1;
            }
        }
        let pods = made.pods;
        let leaving = i32::from(made.has_nodes(now)) * 2;
        if let Some(made) = groups.get_mut(stays) {
            made.pods += evicted;
        }
        let pods = i32::try_from(pods).unwrap_or(i32::MAX);
        self.reading = Some((now, nodes(stays, leaves, schedulable, (leaving, uncordoned, pods))));
    }

    fn delete(&mut self, stays: &str, leaves: &str) -> Result<(), String> {
        let now = self.now;
        let groups = self.groups();
        let Some(successor) = groups.get(stays).cloned() else {
            return Err(format!("{leaves} is deleted, and {stays} does not exist"));
        };
        let Some(made) = groups.get_mut(leaves) else { return Ok(()) };
        let is_usable = successor.has_nodes(now) && !successor.cordoned && successor.deleted_at.is_none();
        if made.foreign || successor.foreign || !is_usable || made.pods > 0 || stays == leaves {
            return Err(format!("{leaves} {made:?} is deleted beside {stays} {successor:?}"));
        }
        let name = leaves.to_owned();
        self.deletions.push(name.clone());
        self.write(|world| {
            world.written.insert(name.clone(), now);
            if let Some(made) = world.groups().get_mut(&name) {
                made.deleted_at = Some(now + 2);
            }
        });
        Ok(())
    }

    fn tick(&mut self) -> Result<(), String> {
        self.now += 1;
        let (now, mut next) = (self.now, self.groups().clone());
        next.retain(|_, made| made.deleted_at.is_none_or(|at| at > now));
        self.history.push(next);
        self.reconcile()
    }
}

fn run(events: &[Event]) -> Result<World, String> {
    let mut world = World::new();
    for event in events {
        match event {
            Event::Tick => world.tick()?,
            Event::Edit(to) => world.desired = *to,
            Event::Crash => world.crash(),
            Event::CrashAtWrite(left) => world.crash_at = Some(*left),
            Event::Lag(lag) => world.lag = *lag,
            Event::Budget(blocks) => world.blocks = *blocks,
            Event::Window(open) => world.open = *open,
        }
    }
    (world.lag, world.blocks, world.open, world.crash_at) = (0, false, true, None);
    for _ in 0..120 {
        world.tick()?;
    }
    Ok(world)
}

fn check(world: &mut World) -> Result<(), String> {
    let foreign: Vec<_> = world.groups().iter().filter(|(_, made)| made.foreign).map(|(name, _)| name.clone()).collect();
    if foreign != ["api", "web-ffffffffff"] {
        return Err(format!("foreign: {foreign:?}"));
    }
    let ours: Vec<_> = world.groups().iter().filter(|(_, made)| !made.foreign).collect::<Vec<_>>().into_iter()
        .map(|(name, made)| (name.clone(), made.clone())).collect();
    let [(name, made)] = ours.as_slice() else { return Err(format!("not one node group: {ours:?}")) };
    let status = &world.status;
    if made.digest != world.desired || made.cordoned || made.pods != 2 || status.other.is_some() || status.in_use.name != *name {
        return Err(format!("{name} {made:?} desired {} {status:?}", world.desired));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Nothing is deleted before what replaces it is ready and it is drained, never a third node group is created, nothing foreign
    /// is touched, and when the faults stop there is one node group as the spec says, with all Pods.
    #[test]
    fn any_interleaving_ends_with_one_node_group_and_loses_no_pod(events in prop::collection::vec(event(), 0..60)) {
        let mut world = run(&events).map_err(TestCaseError::fail)?;
        check(&mut world).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn world_replaces_and_takes_back() {
    let edits = |edits: &[(&'static str, u32)]| {
        let mut events = Vec::new();
        for (to, ticks) in edits {
            events.push(Event::Edit(to));
            events.extend((0..*ticks).map(|_| Event::Tick));
        }
        let mut world = run(&events).unwrap();
        check(&mut world).unwrap();
        world.deletions
    };
    assert_eq!(edits(&[(B, 0)]), ["web"]);
    assert_eq!(edits(&[(B, 5), (A, 0)]), ["web-bbbbbbbbbb"]);
    assert_eq!(edits(&[(B, 7), (A, 0)]).last().unwrap(), "web-bbbbbbbbbb");
    assert_eq!(edits(&[(B, 60), (A, 60)]), ["web", "web-bbbbbbbbbb"]);
    assert_eq!(edits(&[(B, 3), (C, 60)]), ["web-bbbbbbbbbb", "web"]);
}
