//! Complete upgrades: the snapshot of each scenario lists all decisions, the steps that start, and the actions of
//! users.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::addon_versions::DesiredVersion;
use super::decide::Targets;
use super::world::{End, World, catalogue, v};
use super::*;
use crate::api::KubernetesVersion;
use crate::api::status_cluster::{PreflightCheck, Verdict};
use crate::api::upgrade::{FollowPolicy, UpgradeWindow};

fn goal(minor: u16) -> Goal {
    let (node_groups, addons) = (FollowPolicy::Follow, FollowPolicy::Follow);
    Goal { version: v(minor), node_groups, addons, allow_rollback: false }
}

fn group(name: &str, minor: u16, own: Option<u16>) -> ObservedNodeGroup {
    let kubelets = BTreeSet::from([v(minor)]);
    let (name, own) = (name.into(), own.map(v));
    ObservedNodeGroup { name, version: v(minor), own, kubelets, busy: false, suspended: false, custom_ami: false }
}

fn decide_with_open_window(goal: &Goal, observed: &Observation) -> Decision {
    let clock = Clock {
        now: Timestamp::UNIX_EPOCH,
        window: WindowState::Always,
        soaked: Soaked::default(),
        on_hold: false,
        wave: WaveState::Free,
    };
    decide(goal, observed, &clock, None)
}

#[test]
fn node_group_with_a_custom_ami_is_not_updated_and_blocks_only_on_skew() {
    let custom = |minor| ObservedNodeGroup { custom_ami: true, ..group("gpu", minor, None) };
    // It follows the cluster and cannot be updated: nothing waits for it, and the status says what to do.
    let behind = decide_with_open_window(&goal(34), &cluster(34, &[custom(33)], &[]));
    assert_eq!(behind.state, State::Settled);
    let [due] = &behind.due[..] else { panic!("{:?}", behind.due) };
    assert!(due.to_string().contains("node group gpu is at 1.33 with a custom AMI"), "{due}");
    assert!(due.to_string().contains("spec.launchTemplate.version"), "{due}");
    // If the next step would leave it too old, it blocks that step and is reported at once.
    let decision = decide_with_open_window(&goal(35), &cluster(34, &[custom(31)], &[]));
    let blocks: Vec<_> = decision.ahead.iter().map(ToString::to_string).collect();
    assert!(blocks.iter().any(|block| block.contains("to an AMI of 1.32 or later")), "{blocks:?}");
    assert!(
        decision.remaining_steps.iter().all(|step| !matches!(step, Step::NodeGroups { .. })),
        "{:?}",
        decision.remaining_steps
    );
}

fn addon(name: &str, minor: u16) -> ObservedAddon {
    let offered = match name {
        "vpc-cni" => catalogue(&[("v1.19.0-eksbuild.1", 30..=34, 30..=31), ("v1.20.4-eksbuild.2", 31..=36, 32..=36)]),
        // One per minor.
        "kube-proxy" => catalogue(&[
            ("v1.31.10-eksbuild.2", 31..=31, 31..=31),
            ("v1.32.6-eksbuild.2", 32..=32, 32..=32),
            ("v1.33.3-eksbuild.4", 33..=33, 33..=33),
            ("v1.34.0-eksbuild.2", 34..=34, 34..=34),
            ("v1.35.0-eksbuild.1", 35..=35, 35..=35),
        ]),
        "coredns" => catalogue(&[
            ("v1.11.4-eksbuild.2", 30..=33, 30..=33),
            ("v1.12.4-eksbuild.1", 33..=35, 34..=34),
            ("v1.12.4-eksbuild.10", 34..=36, 35..=36),
        ]),
        _ => catalogue(&[("v1.3.8-eksbuild.2", 28..=36, 28..=36)]),
    };
    let at = &offered[&v(minor)];
    let installed = at.iter().find(|offer| offer.default).unwrap().version.clone();
    ObservedAddon {
        name: name.into(),
        installed,
        wanted: Some(DesiredVersion::Default),
        state: AddonState::Settled,
        offered,
    }
}

fn cluster(minor: u16, node_groups: &[ObservedNodeGroup], addons: &[&str]) -> Observation {
    Observation {
        control_plane: v(minor),
        control_plane_work: ControlPlaneWork::Idle,
        addons: addons.iter().map(|name| addon(name, minor)).collect(),
        node_groups: node_groups.to_vec(),
        other_kubelets: Vec::new(),
        unread: None,
        offered: (28..=35).map(v).collect(),
    }
}

const FIVE_ADDONS: [&str; 5] = ["aws-ebs-csi-driver", "coredns", "eks-pod-identity-agent", "kube-proxy", "vpc-cni"];

impl World {
    /// Follows the decisions to the end, in a bounded number of ticks, and logs the end.
    fn run(&mut self) {
        match self.follow(400).unwrap() {
            End::Settled => self.log.push("-- settled".into()),
            End::Blocked(_) => self.log.push("-- stopped".into()),
            End::Unfinished => self.log.push("-- NOT FINISHED".into()),
        }
    }

    fn user_action(&mut self, action: &str, change: impl FnOnce(&mut Self)) {
        self.log_action(action);
        change(self);
        self.run();
    }

    fn text(&self) -> String {
        self.log.join("\n")
    }
}

#[test]
fn four_minors_with_a_following_and_a_fixed_node_group() {
    let groups = [group("default", 31, None), group("fixed", 31, Some(31))];
    let mut world = World::new(goal(35), cluster(31, &groups, &FIVE_ADDONS));
    world.run();
    world.user_action("the NodeGroup fixed is set to 1.34", |world| world.observed.node_groups[1].own = Some(v(34)));
    insta::assert_snapshot!(world.text());
}

#[test]
fn manual_policy_stops_where_required_and_lists_due_updates() {
    let mut world = World::new(goal(35), cluster(31, &[group("default", 31, None)], &["coredns", "kube-proxy"]));
    (world.goal.node_groups, world.goal.addons) = (FollowPolicy::Manual, FollowPolicy::Manual);
    world.run();
    world.user_action("add-on kube-proxy is set to 1.34's version", |world| {
        world.observed.addons[1].wanted = Some(DesiredVersion::Exact("v1.34.0-eksbuild.2".into()));
    });
    world.user_action("add-on coredns is set to a version that runs on both", |world| {
        world.observed.addons[0].wanted = Some(DesiredVersion::Exact("v1.12.4-eksbuild.1".into()));
    });
    world.user_action("add-ons follow again", |world| {
        world.goal.addons = FollowPolicy::Follow;
        world.observed.addons.iter_mut().for_each(|addon| addon.wanted = Some(DesiredVersion::Default));
    });
    world.user_action("the NodeGroup default is set to 1.34", |world| world.observed.node_groups[0].own = Some(v(34)));
    insta::assert_snapshot!(world.text());
}

#[test]
fn steps_start_only_inside_a_window_and_then_finish() {
    let mut world = World::new(goal(33), cluster(31, &[group("default", 31, None)], &["coredns", "kube-proxy"]));
    let window =
        UpgradeWindow { schedule: "0 2 * * *".into(), duration: "2m".into(), time_zone: "Europe/Berlin".into() };
    world.windows = Windows::parse(&[window]).unwrap();
    world.run();
    insta::assert_snapshot!(world.text());
}

#[test]
fn cluster_soaks_before_the_next_step_and_before_node_groups() {
    let mut world = World::new(goal(33), cluster(31, &[group("default", 31, None)], &["coredns", "kube-proxy"]));
    world.soak = Duration::from_secs(180);
    world.run();
    insta::assert_snapshot!(world.text());
}

#[test]
fn failed_preflight_check_blocks_its_step() {
    let mut world = World::new(goal(34), cluster(32, &[group("default", 30, None)], &["coredns"]));
    world.failing_preflights = vec![v(34)];
    world.run();
    world.user_action("the workloads no longer use what 1.34 drops", |world| {
        world.failing_preflights.clear();
        world.forget_preflight();
    });
    insta::assert_snapshot!(world.text());
}

#[test]
fn rollback_needs_permission_and_no_newer_nodes() {
    let groups = [group("old", 32, None), group("new", 33, None)];
    let mut world = World::new(goal(32), cluster(33, &groups, &["kube-proxy", "vpc-cni"]));
    world.run();
    world.user_action("the spec allows a rollback", |world| world.goal.allow_rollback = true);
    world.user_action("the NodeGroup new is deleted", |world| drop(world.observed.node_groups.pop()));
    world.user_action("two minors at once", |world| world.goal.version = v(30));
    insta::assert_snapshot!(world.text());
}

#[test]
fn unavailable_versions_block_at_once() {
    let mut world = World::new(goal(39), cluster(33, &[group("default", 30, None)], &["coredns", "vpc-cni"]));
    world.run();
    let other = KubernetesVersion { major: 2, minor: 1 };
    world.user_action("another major", |world| world.goal.version = other);
    world.user_action("an add-on version that there is not", |world| {
        world.goal.version = v(33);
        world.observed.addons[1].wanted = Some(DesiredVersion::Exact("v1.99.0-eksbuild.1".into()));
    });
    insta::assert_snapshot!(world.text());
}

#[test]
fn exact_addon_version_blocks_an_incompatible_minor() {
    let mut world = World::new(goal(35), cluster(33, &[], &["coredns", "vpc-cni"]));
    world.observed.addons[0].wanted = Some(DesiredVersion::Exact("v1.11.4-eksbuild.2".into()));
    world.run();
    world.user_action("it is set to one that comes with 1.34", |world| {
        world.observed.addons[0].wanted = Some(DesiredVersion::Exact("v1.12.4-eksbuild.10".into()));
    });
    insta::assert_snapshot!(world.text());
}

#[test]
fn node_group_with_its_own_raised_version_is_updated_along() {
    let groups = [group("own", 31, Some(35)), group("fits", 33, Some(34))];
    let mut world = World::new(goal(35), cluster(31, &groups, &[]));
    world.observed.node_groups[1] = group("fits", 31, Some(34));
    world.run();
    insta::assert_snapshot!(world.text());
}

#[test]
fn other_nodes_and_suspended_node_groups_are_named() {
    let mut world = World::new(goal(34), cluster(33, &[group("paused", 30, None)], &[]));
    world.observed.node_groups[0].suspended = true;
    world.observed.other_kubelets = (1..=7).map(|node| (format!("ip-10-0-0-{node}"), v(30))).collect();
    world.run();
    world.user_action("the nodes are replaced", |world| world.observed.other_kubelets.clear());
    world.user_action("the NodeGroup is not suspended any more", |world| {
        world.observed.node_groups[0].suspended = false
    });
    insta::assert_snapshot!(world.text());
}

#[test]
fn failed_addon_blocks_later_steps() {
    let mut world = World::new(goal(33), cluster(32, &[group("default", 32, None)], &["coredns", "kube-proxy"]));
    world.observed.addons[0].state = AddonState::Failed;
    world.run();
    world.user_action("its configuration is put right", |world| world.observed.addons[0].state = AddonState::Settled);
    insta::assert_snapshot!(world.text());
}

#[test]
fn control_plane_step_waits_while_nodes_are_unread() {
    let failed = UnreadNodes::Failed("the cluster's API server https://a cannot be reached".into());
    for unread in [UnreadNodes::Reading, failed] {
        for (at, to) in [(33, 34), (34, 33)] {
            let mut observed = cluster(at, &[group("default", 33, None)], &[]);
            observed.unread = Some(unread.clone());
            let goal = Goal { allow_rollback: true, ..goal(to) };
            let now = Timestamp::from_second(1_800_000_000).unwrap();
            let clock = Clock {
                now,
                window: WindowState::Always,
                soaked: Soaked::default(),
                on_hold: false,
                wave: WaveState::Free,
            };
            let preflight = Preflight { to: v(34), checks: Vec::new() };
            let decision = decide(&goal, &observed, &clock, Some(&preflight));
            assert_eq!(decision.targets.control_plane, v(at), "{}", decision.state);
            let state = decision.state.to_string();
            let expected = if unread == UnreadNodes::Reading { "being read" } else { "spec.upgrade.unreadableNodes" };
            assert!(state.contains(expected), "{state}");
            observed.unread = None;
            let decision = decide(&goal, &observed, &clock, Some(&preflight));
            assert_eq!(decision.targets.control_plane, v(to), "{}", decision.state);
        }
    }
}

#[test]
fn nothing_begins_on_hold_and_what_is_in_progress_is_finished() {
    let preflight = Preflight { to: v(34), checks: Vec::new() };
    let mut moving = cluster(33, &[group("default", 33, None)], &[]);
    moving.control_plane_work = ControlPlaneWork::Version;
    let mut replacing = cluster(34, &[ObservedNodeGroup { busy: true, ..group("default", 33, None) }], &[]);
    replacing.node_groups.push(group("other", 33, None));
    let rollback = Goal { allow_rollback: true, ..goal(33) };
    let cases = [
        ("control plane", goal(34), cluster(33, &[group("default", 33, None)], &[]), false),
        ("control plane in progress", goal(34), moving, true),
        ("nodes", goal(34), cluster(34, &[group("default", 33, None)], &[]), false),
        ("nodes in progress", goal(34), replacing, true),
        ("add-ons", goal(34), cluster(34, &[], &["kube-proxy"]), false),
        ("rollback", rollback, cluster(34, &[group("default", 33, None)], &[]), false),
    ];
    for (name, goal, mut observed, in_progress) in cases {
        if name == "add-ons" {
            observed.addons[0].installed = "v1.33.3-eksbuild.4".into();
        }
        let decide = |on_hold| {
            let now = Timestamp::from_second(1_800_000_000).unwrap();
            let clock =
                Clock { now, window: WindowState::Always, soaked: Soaked::default(), on_hold, wave: WaveState::Free };
            decide(&goal, &observed, &clock, Some(&preflight))
        };
        assert!(matches!(decide(false).state, State::Running(_)), "{name}: {}", decide(false).state);
        let held = decide(true);
        if in_progress {
            assert!(matches!(held.state, State::Running(_)), "{name}: {}", held.state);
            continue;
        }
        assert!(matches!(held.state, State::Holding { why: Hold::ByUser, .. }), "{name}: {}", held.state);
        let Targets { control_plane, addons, node_groups } = held.targets;
        assert_eq!((control_plane, addons.len(), node_groups), (observed.control_plane, 0, None), "{name}");
    }
}

#[test]
fn nodes_that_are_busy_with_something_else_open_no_wave() {
    // An edit of a label, while the nodes wait for their wave.
    let mut observed = cluster(34, &[ObservedNodeGroup { busy: true, ..group("default", 33, None) }], &[]);
    observed.node_groups.push(group("other", 33, None));
    let decide = |wave: WaveState| {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let clock = Clock { now, window: WindowState::Always, soaked: Soaked::default(), on_hold: false, wave };
        decide(&goal(34), &observed, &clock, None)
    };
    let asked = decide(WaveState::Free);
    assert_eq!(asked.gated.map(|step| step.to), Some(v(34)), "it asks");
    let held = decide(WaveState::Held { halted: false, message: "x".into() });
    assert!(matches!(held.state, State::Holding { why: Hold::Wave { .. }, .. }), "{}", held.state);
    assert_eq!((held.targets.node_groups, held.gated.map(|step| step.to)), (None, Some(v(34))));
}

fn clock(wave: WaveState) -> Clock {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    Clock { now, window: WindowState::Always, soaked: Soaked::default(), on_hold: false, wave }
}

#[test]
fn rollback_asks_for_no_ticket_and_no_wave_holds_it() {
    let observed = cluster(34, &[group("default", 33, None)], &[]);
    let rollback = Goal { allow_rollback: true, ..goal(33) };
    let message = || "x".to_owned();
    let waves = [
        WaveState::Free,
        WaveState::Held { halted: true, message: message() },
        WaveState::Blocked { message: message() },
        WaveState::Hook { failed: true, message: message() },
    ];
    for wave in waves {
        let decision = decide(&rollback, &observed, &clock(wave.clone()), None);
        assert_eq!((decision.gated, decision.targets.control_plane), (None, v(33)), "{wave:?}: {}", decision.state);
        // The same cluster on its way up asks, and waits.
        let up = decide(&goal(34), &observed, &clock(wave.clone()), None);
        assert_eq!(up.gated.map(|step| step.to), Some(v(34)), "{wave:?}: {}", up.state);
        assert_eq!(up.targets.node_groups.is_some(), wave == WaveState::Free, "{wave:?}: {}", up.state);
    }
}

#[test]
fn wave_is_asked_last() {
    let observed = cluster(33, &[group("default", 33, None)], &[]);
    let check = |verdict| PreflightCheck { check: "Insights".into(), verdict, message: None };
    let preflight = |verdict| Some(Preflight { to: v(34), checks: vec![check(verdict)] });
    let soaked = Soaked { remaining: Duration::from_secs(60), unhealthy: None };
    let passed = || preflight(Verdict::Passed);
    // What a FleetRollout would answer plays no part: whoever waits for something else holds no slot.
    for wave in [WaveState::Free, WaveState::Held { halted: false, message: "x".into() }] {
        let free = clock(wave);
        let cases = [
            ("nothing", free.clone(), passed(), Some(v(34))),
            ("no preflight yet", free.clone(), None, None),
            ("a preflight check that failed", free.clone(), preflight(Verdict::Failed), None),
            ("its own soak", Clock { soaked: soaked.clone(), ..free.clone() }, passed(), None),
            ("a closed window", Clock { window: WindowState::Closed { opens: None }, ..free.clone() }, passed(), None),
            ("a hold", Clock { on_hold: true, ..free.clone() }, passed(), None),
        ];
        for (name, clock, preflight, expected) in cases {
            let decision = decide(&goal(34), &observed, &clock, preflight.as_ref());
            assert_eq!(decision.gated.map(|step| step.to), expected, "{name}: {}", decision.state);
        }
    }
}
