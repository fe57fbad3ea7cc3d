//! With which revision new clusters begin, and what follows when nobody leads any more.

use super::*;

/// With which revision a new cluster of each wave begins; 0: it waits.
fn first(fleet: &Fleet) -> Vec<u8> {
    let number = |first: &Option<String>| first.as_ref().map_or(0, |first| first.as_bytes()["main@sha1:".len()] - b'0');
    fleet.plans.first().map(|plan| plan.first.iter().map(number).collect()).unwrap_or_default()
}

fn follows(fleet: &Fleet, name: &str) -> Follow {
    let rollout = Rollout { name: "main", spec: &fleet.spec, status: &fleet.status };
    let is_held = fleet.clusters[name].source.as_ref().is_some_and(|source| source.held);
    let question = Question {
        uid: name,
        labels: &fleet.clusters[name].labels,
        rollout: None,
        request: Request::default(),
        wants: None,
        claim: ClaimedStep::Ongoing,
        has_begun: true,
        rollouts: &Rollouts::Listed { readable: vec![rollout], unreadable: Vec::new() },
        term: 1,
        now: fleet.now,
    };
    follow(&question, (main(), is_held), |_| Some(fleet.plans.as_slice()))
}

#[test]
fn new_cluster_begins_with_what_is_good_and_never_with_what_has_halted() {
    let mut fleet = Fleet::new(json!({}));
    for name in ["a", "b", "c", "d"] {
        (fleet.source(name).fetched, fleet.source(name).runs) = (None, None);
    }
    fleet.advance();
    assert_eq!(first(&fleet), [0, 0, 0], "nothing is known");
    fleet.fetches("a", 1);
    fleet.advance();
    assert_eq!(first(&fleet), [1, 1, 1], "nothing is good yet, and this is the first wave's");
    fleet.now += SignedDuration::from_mins(10);
    fleet.advance();
    assert_eq!((fleet.release(1).unwrap().state, first(&fleet)), (ReleaseState::Halted, vec![0, 0, 0]));
    assert_eq!(fleet.plans[0].halted.map(|step| step.target), Some(Target::Revision(revision(1))));
    fleet.runs("a", 2);
    fleet.advance();
    assert_eq!(first(&fleet), [2, 2, 2]);
    // The next one fails: what the wave before has run is what a new cluster gets.
    fleet.follow(&["b"], 2);
    fleet.fetches("a", 3);
    fleet.now += SignedDuration::from_mins(10);
    fleet.advance();
    fleet.now += SignedDuration::from_mins(10);
    fleet.advance();
    assert_eq!((fleet.release(3).unwrap().state, first(&fleet)), (ReleaseState::Halted, vec![0, 2, 2]));
}

#[test]
fn waves_stay_at_their_revisions_when_the_first_wave_loses_its_last_cluster() {
    let mut fleet = Fleet::new(json!({}));
    fleet.advance();
    for name in ["b", "c", "d"] {
        fleet.source(name).held = true;
    }
    fleet.clusters.remove("a");
    fleet.advance();
    assert_eq!((fleet.plans[0].leading, fleet.plans[0].is_leaderless), (1, true));
    let Follow::Held { candidate: None, note: Some(note), .. } = follows(&fleet, "b") else { panic!("it is held") };
    assert!(note.contains("no cluster of a wave before early has this source any more"), "{note}");
    // Git has adopted the source of a canary, which no longer counts: the next wave is the first.
    let adopted = Member { adopted_source: Some(main()), source: None, ..fleet.clusters["b"].clone() };
    let labels = BTreeMap::from([("ring".to_owned(), "0".to_owned())]);
    fleet.clusters.insert("z", Member { uid: "z".into(), labels, ..adopted });
    fleet.advance();
    assert!(!fleet.plans[0].is_leaderless && matches!(follows(&fleet, "b"), Follow::Leading(_)));
    fleet.clusters.remove("z");
    // One that never was held leads.
    fleet.source("b").held = false;
    fleet.source("b").applied = Some(revision(1));
    fleet.advance();
    assert!(!fleet.plans[0].is_leaderless && matches!(follows(&fleet, "b"), Follow::Leading(_)));
    // Without the waves before it, it is the first wave.
    fleet.source("b").held = true;
    fleet.spec.waves.remove(0);
    fleet.advance();
    assert_eq!((fleet.plans[0].leading, fleet.plans[0].is_leaderless), (0, false));
    assert!(matches!(follows(&fleet, "b"), Follow::Leading(_)));
}

#[test]
fn rollouts_that_hold_no_source_delay_no_new_agent() {
    let mut fleet = Fleet::new(json!({"gates": ["ControlPlane"]}));
    let other = fleet.spec.clone();
    let of = |fleet: &Fleet, named: Option<&str>| {
        let rollout = |name, spec| Rollout { name, spec, status: &fleet.status };
        let question = Question {
            uid: "c",
            labels: &fleet.clusters["c"].labels,
            rollout: named,
            request: Request::default(),
            wants: None,
            claim: ClaimedStep::Ongoing,
            has_begun: true,
            // Both select it, which blocks its upgrades.
            rollouts: &Rollouts::Listed {
                readable: vec![rollout("main", &fleet.spec), rollout("other", &other)],
                unreadable: Vec::new(),
            },
            term: 1,
            now: fleet.now,
        };
        follow(&question, (main(), false), |_| None)
    };
    assert_eq!(of(&fleet, None), Follow::Freely);
    assert!(matches!(of(&fleet, Some("gone")), Follow::Unchanged { .. }), "it may hold sources once it exists");
    fleet.spec.gates.push(Gate::Revision);
    assert!(matches!(of(&fleet, None), Follow::Unchanged { first: FirstRevision::Wait(_), .. }));
}

#[test]
fn wave_that_was_held_gets_what_a_cluster_runs_that_follows_the_source_in_it() {
    let mut fleet = Fleet::new(json!({}));
    fleet.advance();
    for name in ["b", "c", "d"] {
        fleet.source(name).held = true;
    }
    fleet.clusters.remove("a");
    // One that follows freely is labelled into the wave.
    fleet.clusters.get_mut("c").unwrap().labels = BTreeMap::from([("ring".to_owned(), "1".to_owned())]);
    fleet.source("c").held = false;
    fleet.fetches("c", 2);
    fleet.advance();
    assert_eq!((fleet.plans[0].leading, fleet.plans[0].is_leaderless, fleet.plans[0].may_lead), (1, false, false));
    assert!(matches!(follows(&fleet, "c"), Follow::Leading(_)));
    let candidate = |fleet: &Fleet| match follows(fleet, "b") {
        Follow::Held { candidate, .. } => candidate.map(|candidate| candidate.revision),
        other => panic!("it is held, and not {other:?}"),
    };
    assert_eq!(candidate(&fleet), None, "it has only been fetched");
    fleet.runs("c", 2);
    fleet.advance();
    assert_eq!(candidate(&fleet), Some(full(2)));
    fleet.follow(&["b"], 2);
}

#[test]
fn reason_why_a_new_cluster_of_the_first_wave_waits_says_what_helps() {
    let mut fleet = Fleet::new(json!({}));
    fleet.advance();
    fleet.fetches("a", 2);
    fleet.advance();
    fleet.now += SignedDuration::from_mins(10);
    fleet.advance();
    let wait = |fleet: &Fleet| match follows(fleet, "a") {
        Follow::Unchanged { why, first: FirstRevision::Wait(first) } => (why, first),
        other => panic!("it has halted: {other:?}"),
    };
    assert!(wait(&fleet).1.contains("commit a correction, or continue it"), "{:?}", wait(&fleet));
    // The only cluster that would fetch a correction is created again.
    let source = fleet.source("a");
    (source.fetched, source.applied, source.runs) = (None, None, None);
    fleet.advance();
    let (_, first) = wait(&fleet);
    let text = format!(
        "no cluster of the first wave is left that would fetch a correction: commit it, then continue (keelson rollout retry main {})",
        revision(2)
    );
    assert!(first.contains(&text), "{first}");
    fleet.spec.suspend = true;
    fleet.advance();
    let (why, first) = wait(&fleet);
    assert_eq!((why.as_str(), first.as_str()), ("FleetRollout main is suspended", why.as_str()));
}
