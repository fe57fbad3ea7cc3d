//! Properties of the decision: from any state to any goal, following it ends at the goal or at a real block, in a
//! bounded number of steps, and never violates a rule of EKS. [`super::world`] verifies the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::addon_versions::{DesiredVersion, OfferedVersion};
use super::blocks::Block;
use super::world::{End, World, is_compatible, minor, v};
use super::*;
use crate::api::KubernetesVersion;
use crate::api::upgrade::{FollowPolicy, UpgradeWindow};

/// More ticks than any case needs: six minors, each with nodes, add-ons, windows, soaks and failures.
const BOUND: u32 = 3000;

const NAMES: [&str; 5] = ["coredns", "kube-proxy", "vpc-cni", "aws-ebs-csi-driver", "metrics-server"];

fn policy() -> impl Strategy<Value = FollowPolicy> {
    prop_oneof![3 => Just(FollowPolicy::Follow), 1 => Just(FollowPolicy::Manual)]
}

/// The minors that EKS is queried for.
fn minors(base: u16) -> std::ops::RangeInclusive<u16> {
    base - 2..=base + 6
}

/// What EKS offers of an add-on whose versions each run on a range of minors.
fn offered(
    base: u16,
    rows: &[(u16, u16)],
    default: usize,
    unknown: Option<u16>,
) -> BTreeMap<KubernetesVersion, Vec<OfferedVersion>> {
    let at = |minor: u16| {
        let runs = |(first, length): &(u16, u16)| (base - 3 + first..=base - 3 + first + length).contains(&minor);
        let versions: Vec<_> = (1..).zip(rows).filter(|(_, row)| runs(row)).map(|(number, _)| number).collect();
        let offer = |(position, number): (usize, &i32)| OfferedVersion {
            version: format!("v1.{number}.0-eksbuild.1"),
            default: position == default % versions.len(),
        };
        (v(minor), versions.iter().enumerate().map(offer).collect())
    };
    minors(base).filter(|minor| unknown != Some(*minor)).map(at).collect()
}

prop_compose! {
    fn an_addon(base: u16)(
        rows in vec((0u16..7, 0u16..7), 1..8),
        default in 0usize..8,
        unknown in option::weighted(0.1, minors(base)),
        installed in 1usize..8,
        wanted in prop_oneof![
            4 => Just(Some(DesiredVersion::Default)),
            2 => Just(Some(DesiredVersion::Latest)),
            1 => Just(None),
            2 => (1usize..9).prop_map(|number| Some(DesiredVersion::Exact(format!("v1.{number}.0-eksbuild.1")))),
        ],
        failed in prop::bool::weighted(0.05),
    ) -> ObservedAddon {
        let installed = format!("v1.{}.0-eksbuild.1", installed.min(rows.len()));
        let state = if failed { AddonState::Failed } else { AddonState::Settled };
        let offered = offered(base, &rows, default, unknown);
        ObservedAddon { name: String::new(), installed, wanted, state, offered }
    }
}

/// A kubelet version that is compatible with the control plane.
fn kubelet(base: u16) -> impl Strategy<Value = u16> {
    (0u16..=3).prop_map(move |behind| if is_compatible(v(base), v(base - behind)) { base - behind } else { base })
}

prop_compose! {
    fn a_group(base: u16)(
        version in kubelet(base),
        ahead in option::weighted(0.4, 0u16..7),
        read in any::<bool>(),
        suspended in prop::bool::weighted(0.1),
    ) -> ObservedNodeGroup {
        let kubelets = if read { BTreeSet::from([v(version)]) } else { BTreeSet::new() };
        let own = ahead.map(|ahead| v(version + ahead));
        ObservedNodeGroup { name: String::new(), version: v(version), own, kubelets, busy: false, suspended, custom_ami: false }
    }
}

/// The initial state, and the edits of a user during the upgrade.
#[derive(Clone, Debug)]
struct Case {
    goal: Goal,
    edit: Option<(u32, KubernetesVersion)>,
    observed: Observation,
    windows: bool,
    soak: u64,
    failing_preflight: Option<KubernetesVersion>,
    seed: u64,
}

prop_compose! {
    fn a_case()(base in 23u16..33)(
        base in Just(base),
        goal in base - 2..=base + 6,
        edit in option::of((0u32..60, base - 2..=base + 6)),
        (node_groups, addon_policy, allow_rollback) in (policy(), policy(), any::<bool>()),
        addons in vec(an_addon(base), 0..=NAMES.len()),
        groups in vec(a_group(base), 0..4),
        others in vec(kubelet(base), 0..2),
        windows in any::<bool>(),
        soak in prop_oneof![Just(0), Just(600)],
        failing_preflight in option::weighted(0.2, base..=base + 6),
        seed in any::<u64>(),
    ) -> Case {
        let name = |(at, addon): (usize, ObservedAddon)| ObservedAddon { name: NAMES[at].into(), ..addon };
        let group = |(at, group): (usize, ObservedNodeGroup)| ObservedNodeGroup { name: format!("group-{at}"), ..group };
        let node = |(at, version): (usize, u16)| (format!("node-{at}"), v(version));
        Case {
            goal: Goal { version: v(goal), node_groups, addons: addon_policy, allow_rollback },
            edit: edit.map(|(after, goal)| (after, v(goal))),
            observed: Observation {
                control_plane: v(base),
                control_plane_work: ControlPlaneWork::Idle,
                addons: addons.into_iter().enumerate().map(name).collect(),
                node_groups: groups.into_iter().enumerate().map(group).collect(),
                other_kubelets: others.into_iter().enumerate().map(node).collect(),
                unread: None,
                offered: (base - 3..=base + 5).map(v).collect(),
            },
            windows,
            soak,
            failing_preflight: failing_preflight.map(v),
            seed,
        }
    }
}

fn world(case: &Case) -> World {
    let mut world = World::new(case.goal.clone(), case.observed.clone());
    if case.windows {
        let window =
            UpgradeWindow { schedule: "0 2 * * 6".into(), duration: "9m".into(), time_zone: "Europe/Berlin".into() };
        world.windows = Windows::parse(&[window]).unwrap();
    }
    world.soak = Duration::from_secs(case.soak);
    world.failing_preflights = case.failing_preflight.into_iter().collect();
    world.seed = Some(case.seed);
    world
}

/// Follows the case to its end.
fn follow(case: &Case) -> Result<(World, End), TestCaseError> {
    let mut world = world(case);
    if let Some((after, goal)) = case.edit {
        let _ = world.follow(after).map_err(TestCaseError::fail)?;
        world.goal.version = goal;
        world.log_action("the goal is edited");
    }
    let end = world.follow(BOUND).map_err(TestCaseError::fail)?;
    Ok((world, end))
}

fn runs_on(addon: &ObservedAddon, at: KubernetesVersion, version: &str) -> bool {
    addon.offered.get(&at).is_some_and(|offers| offers.iter().any(|offer| offer.version == version))
}

/// Whether the reason of a block exists.
fn is_justified(block: &Block, world: &World) -> bool {
    let (goal, observed) = (&world.goal, &world.observed);
    let is = observed.control_plane;
    let next = if goal.version < is { v(is.minor - 1) } else { is.next() };
    let behind = |name: &String, who: &dyn Fn(&ObservedNodeGroup) -> bool| {
        let group = observed.node_groups.iter().find(|group| group.name == *name);
        group.is_some_and(|group| who(group) && !is_compatible(next, group.version))
    };
    let addon = |name: &String| observed.addons.iter().find(|addon| addon.name == *name);
    match block {
        Block::MajorVersionChange { .. } | Block::Rollout { .. } => false,
        Block::NotOffered { version, .. } => {
            !observed.offered.contains(version) && *version <= goal.version && *version > is
        }
        Block::OwnVersion { name, .. } => behind(name, &|group| group.own.is_some_and(|own| own <= is)),
        Block::ManualNodeGroup { name, .. } => {
            behind(name, &|group| group.own.is_none() && goal.node_groups == FollowPolicy::Manual)
        }
        Block::SuspendedNodeGroup { name, .. } => behind(name, &|group| group.suspended),
        Block::CustomAmi { name, .. } => behind(name, &|group| group.custom_ami),
        Block::OtherNodes { oldest, .. } => !is_compatible(next, *oldest),
        Block::Addon { name, .. } => addon(name).is_some_and(|addon| {
            let none = addon.offered.get(&next).is_some_and(Vec::is_empty);
            let exact = matches!(addon.wanted, Some(DesiredVersion::Exact(_)));
            !runs_on(addon, next, &addon.installed) && (none || exact || goal.addons == FollowPolicy::Manual)
        }),
        Block::AddonNotOffered { name, version, .. } => {
            addon(name).is_some_and(|addon| addon.installed != *version && !runs_on(addon, is, version))
        }
        Block::AddonFailed { name, .. } => addon(name).is_some_and(|addon| addon.state == AddonState::Failed),
        Block::Preflight { .. } => world.failing_preflights.contains(&next),
        Block::RollbackNotAllowed { .. } => goal.version < is && !goal.allow_rollback,
        Block::RollbackTooFar { .. } => minor(is) - minor(goal.version) > 1,
        Block::NewerNodeGroups { names, .. } => names
            .iter()
            .all(|name| observed.node_groups.iter().any(|group| group.name == *name && group.newest() > goal.version)),
        Block::NewerNodes { .. } => observed.other_kubelets.iter().any(|(_, kubelet)| *kubelet > goal.version),
    }
}

/// Whether everything that follows has its target version.
fn has_reached_goal(world: &World) -> bool {
    let (goal, observed) = (&world.goal, &world.observed);
    let follows = |group: &&ObservedNodeGroup| {
        group.own.is_none() && !group.suspended && goal.node_groups == FollowPolicy::Follow
    };
    let moves = |addon: &&ObservedAddon| {
        matches!(addon.wanted, Some(DesiredVersion::Default | DesiredVersion::Latest))
            && goal.addons == FollowPolicy::Follow
            && addon.offered.get(&goal.version).is_some_and(|offers| !offers.is_empty())
    };
    observed.control_plane == goal.version
        && observed.node_groups.iter().filter(follows).all(|group| group.version == goal.version)
        && observed.addons.iter().filter(moves).all(|addon| runs_on(addon, goal.version, &addon.installed))
}

proptest! {
    #[test]
    fn following_decisions_ends_at_the_goal_or_a_justified_block(case in a_case()) {
        let (world, end) = follow(&case)?;
        match &end {
            End::Settled => prop_assert!(has_reached_goal(&world), "{}", world.log.join("\n")),
            End::Blocked(blocks) => {
                for block in blocks {
                    prop_assert!(is_justified(block, &world), "{block}\n{}", world.log.join("\n"));
                }
            }
            End::Unfinished => prop_assert!(false, "it does not end\n{}", world.log.join("\n")),
        }
    }

    #[test]
    fn goal_is_reached_if_nothing_blocks(case in a_case(), ahead in 0u16..=5) {
        let mut case = case;
        let base = case.observed.control_plane;
        let goal = v(base.minor + ahead);
        let follow_all = FollowPolicy::Follow;
        case.goal = Goal { version: goal, node_groups: follow_all, addons: follow_all, allow_rollback: false };
        (case.edit, case.failing_preflight) = (None, None);
        case.observed.other_kubelets.clear();
        for group in &mut case.observed.node_groups {
            group.suspended = false;
            group.own = group.own.map(|own| own.max(goal));
        }
        for addon in &mut case.observed.addons {
            addon.state = AddonState::Settled;
            addon.wanted = Some(DesiredVersion::Default);
            // A version that runs everywhere: the last resort.
            for offers in addon.offered.values_mut() {
                offers.push(OfferedVersion { version: "v1.0.1-eksbuild.1".into(), default: offers.is_empty() });
            }
        }
        let (world, end) = follow(&case)?;
        prop_assert_eq!(end, End::Settled, "{}", world.log.join("\n"));
        prop_assert!(has_reached_goal(&world), "{}", world.log.join("\n"));
        for group in &world.observed.node_groups {
            prop_assert!(group.own.is_none_or(|own| own > goal) || group.version == goal || case.windows);
        }
    }

    #[test]
    fn decision_is_deterministic(case in a_case()) {
        let world = world(&case);
        let clock = Clock { now: world.now, window: world.windows.state(world.now), soaked: Soaked::default(), on_hold: false, wave: WaveState::Free };
        let decision = decide(&world.goal, &world.observed, &clock, None);
        prop_assert_eq!(&decision, &decide(&world.goal, &world.observed, &clock, None));
        // A target is the current version, or the one of the running step.
        let is_running = matches!(decision.state, State::Running(_));
        prop_assert!(is_running || decision.targets.control_plane == world.observed.control_plane);
        prop_assert!(is_running || decision.targets.addons.is_empty());
    }
}
