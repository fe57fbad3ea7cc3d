//! Random interleavings of edits, crashes, stale reads, lost answers, windows and budgets during a replacement.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const A: &str = "aaaaaaaaaa";
const B: &str = "bbbbbbbbbb";
const C: &str = "cccccccccc";

fn read(stays: &str, leaves: &str, schedulable: i32, (leaving, uncordoned, pods): (i32, i32, i32)) -> Nodes {
    Nodes { stays: stays.into(), schedulable, leaves: leaves.into(), leaving, uncordoned, pods }
}

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
            status: Pair { in_use: Group { name: "web".into(), digest: A.into() }, other: None },
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
            Made { foreign: true, .. } => State::Foreign,
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
            Step::ReadNodes | Step::AwaitNodes { .. } | Step::Unaccounted { .. } => {
                self.pass(&stays.name, &leaves, false);
            }
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
            self.reading = Some((now, read(stays, leaves, schedulable, (0, 0, 0))));
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
        self.reading = Some((now, read(stays, leaves, schedulable, (leaving, uncordoned, pods))));
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
    let foreign: Vec<_> =
        world.groups().iter().filter(|(_, made)| made.foreign).map(|(name, _)| name.clone()).collect();
    if foreign != ["api", "web-ffffffffff"] {
        return Err(format!("foreign: {foreign:?}"));
    }
    let ours: Vec<_> = world
        .groups()
        .iter()
        .filter(|(_, made)| !made.foreign)
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(name, made)| (name.clone(), made.clone()))
        .collect();
    let [(name, made)] = ours.as_slice() else { return Err(format!("not one node group: {ours:?}")) };
    let status = &world.status;
    if made.digest != world.desired
        || made.cordoned
        || made.pods != 2
        || status.other.is_some()
        || status.in_use.name != *name
    {
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
