//! The steps of a replacement, one by one.

use super::super::node_group_names::UNKNOWN;
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
fn step(
    recorded: &Pair,
    desired: &str,
    states: (State, State),
    nodes: Option<&Nodes>,
    closed: Option<&str>,
) -> (Step, String) {
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
fn launch_template_is_deleted_after_its_node_group() {
    let ready = State::Ready(2);
    let swapped = pair((NEW, B), Some(("web", A)));
    let stays = format!("{NEW} web stays={NEW}");
    assert_eq!(step(&swapped, B, (ready, State::TemplateLeft), None, None), (Step::DeleteTemplate, stays.clone()));
    assert_eq!(step(&swapped, B, (State::NotReady, State::TemplateLeft), None, None).0, Step::AwaitGroup);
    // The node group was deleted by hand, or its deletion was not recorded.
    let both = pair(("web", A), Some((NEW, B)));
    assert_eq!(step(&both, B, (State::TemplateLeft, ready), None, None), (Step::DeleteTemplate, stays));
    assert_eq!(step(&both, B, (State::TemplateLeft, State::Absent), None, Some("closed")).0, Step::Create(None));
    // The edit was taken back after the launch template of the new one was made.
    let back = step(&both, A, (ready, State::TemplateLeft), None, None);
    assert_eq!(back, (Step::DeleteTemplate, format!("web {NEW} stays=web")));
    assert_eq!(step(&both, A, (ready, State::Absent), None, None), (Step::Steady, "web - stays=web".into()));
    // With none left, nothing waits.
    assert_eq!(step(&both, C, (State::TemplateLeft, State::TemplateLeft), None, None).0, Step::Create(None));
    // The one in use, which the spec describes, is gone, too: it is created again, and the template is not forgotten.
    let again = step(&swapped, B, (State::Absent, State::TemplateLeft), None, Some("closed"));
    assert_eq!(again, (Step::Create(None), format!("{NEW} web stays={NEW}")));
    assert_eq!(step(&swapped, B, (State::NotReady, State::TemplateLeft), None, None).0, Step::AwaitGroup);
}

#[test]
fn empty_node_group_takes_over_only_from_an_empty_one() {
    let both = pair(("web", A), Some((NEW, B)));
    let with = |size, leaving| {
        let found = nodes(NEW, "web", 0, leaving);
        step(&both, B, (State::Ready(size), State::Ready(0)), Some(&found), None).0
    };
    assert_eq!(with(1, (1, 1, 0)), Step::AwaitNodes { ready: 0, needed: 1 });
    assert_eq!(with(0, (0, 0, 0)), Step::Delete);
}

#[test]
fn node_group_in_use_whose_nodes_are_not_found_is_not_deleted() {
    let (both, ready) = (pair(("web", A), Some((NEW, B))), State::Ready(2));
    let found = nodes(NEW, "web", 2, (0, 0, 0));
    let with = |in_use| step(&both, B, (in_use, ready), Some(&found), None).0;
    assert_eq!(with(State::Ready(3)), Step::Unaccounted { size: 3 });
    assert_eq!((with(State::Ready(0)), with(State::NotReady)), (Step::Delete, Step::Delete));
    // The one that was begun may have no node yet.
    let found = nodes("web", NEW, 2, (0, 0, 0));
    assert_eq!(step(&both, A, (ready, ready), Some(&found), None).0, Step::Delete);
}

#[test]
fn record_of_a_node_group_that_is_not_adopted_follows_the_spec() {
    let alone = pair(("web", A), None);
    for may_begin in [true, false] {
        let (in_use, other) = (State::Unowned, State::Unknown);
        let input =
            Input { first: "web", desired: B, recorded: &alone, in_use, other, nodes: None, may_begin, closed: None };
        let decision = decide(&input);
        assert_eq!((decision.step, decision.pair), (Step::Steady, pair(("web", B), None)));
    }
    let both = pair(("web", A), Some((NEW, B)));
    assert_eq!(step(&both, B, (State::Unowned, State::Ready(2)), None, None).0, Step::Observe);
}

#[test]
fn name_of_another_owner_is_never_used_and_is_dropped_with_the_edit() {
    let (both, ready) = (pair(("web", A), Some((NEW, B))), State::Ready(2));
    let taken = step(&both, B, (ready, State::Foreign), None, None);
    assert_eq!(taken, (Step::NameTaken, format!("web {NEW} stays={NEW}")));
    assert_eq!(step(&both, A, (ready, State::Foreign), None, None), (Step::Steady, "web - stays=web".into()));
    let another = step(&both, C, (ready, State::Foreign), None, None);
    assert_eq!(another, (Step::Create(None), "web web-cccccccccc stays=web-cccccccccc".into()));
    let alone = pair(("web", A), None);
    assert_eq!(step(&alone, B, (State::Foreign, State::Unknown), None, None).0, Step::Observe);
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
    assert_eq!(
        step(&swapped, A, (ready, State::Absent), None, None),
        (Step::Create(None), format!("{NEW} web stays=web"))
    );
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
