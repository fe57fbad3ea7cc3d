//! What goes when, and what is remembered of it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::engine::Gate;
use crate::resources::cloud::Owner;
use crate::resources::{cluster, elastic_ip, nat_gateway, oidc_provider, security_group, vpc, vpc_endpoint};

fn removals(made: &[Key], nodes: &[Key]) -> Option<Removals> {
    let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
    let making = ResourceContext {
        owner: &owner,
        cluster_name: "demo",
        user_tags: BTreeMap::new(),
        former_tags: std::collections::BTreeSet::new(),
        intervals: Intervals::default(),
    };
    let made: Vec<Owned> = made.iter().map(|key| (key.clone(), format!("id of {key}"))).collect();
    Removals::new(&making, &made, &nodes.iter().cloned().collect())
}

fn found(key: &Key, id: &str) -> Found {
    let place = Some((vpc::key(), "vpc-1".to_owned()));
    let (key, id, owner) = (key.clone(), id.to_owned(), "uid".to_owned());
    Found { key, id, owner, place, deleting: false, used_by: Vec::new(), held_by: None }
}

fn route(zone: &str) -> Key {
    super::route::key(&Table::Private(zone.into()))
}

#[test]
fn what_was_made_and_is_in_the_graph_no_more_is_to_go_and_nothing_else() {
    let all = [
        nat_gateway::key("b"),
        elastic_ip::key("b"),
        vpc_endpoint::key("sqs"),
        security_group::key(),
        oidc_provider::key(),
    ];
    let keys = |removals: Removals| removals.things.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let subnet = Key::named("subnet", "private/b");
    let made: Vec<_> = all.iter().chain([&subnet, &vpc::key()]).cloned().collect();
    assert_eq!(keys(removals(&made, &[vpc::key(), subnet.clone()]).unwrap()), all);
    assert_eq!(keys(removals(&made, &[vpc::key(), oidc_provider::key(), nat_gateway::key("b")]).unwrap()), all[1..4]);
    assert!(removals(&made, &made).is_none());
    // Other kinds stay until the cluster goes.
    assert!(removals(&[subnet, vpc::key()], &[]).is_none());
}

#[test]
fn routes_go_with_their_gateway_and_its_address_once_it_is_gone() {
    let used = |key: &Key, id: &str, by: &[&str]| Found {
        used_by: by.iter().map(|id| (*id).to_owned()).collect(),
        ..found(key, id)
    };
    let all = vec![
        found(&route("a"), "rtb-a:0.0.0.0/0"),
        used(&nat_gateway::key("a"), "nat-a", &["rtb-a:0.0.0.0/0"]),
        used(&elastic_ip::key("a"), "eipalloc-a", &["nat-a"]),
        found(&vpc_endpoint::key("sqs"), "vpce-a"),
        used(&security_group::key(), "sg-a", &["vpce-a"]),
    ];
    let ids = |sweep: &Sweep| sweep.targets.iter().map(|target| target.id.clone()).collect::<Vec<_>>();
    let sweep = list(&all);
    assert_eq!(ids(&sweep), ["rtb-a:0.0.0.0/0", "nat-a", "vpce-a"]);
    assert!(sweep.pending.unwrap().contains("eipalloc-a is used by nat-a"));
    // While the gateway is going nothing more is.
    let going = vec![Found { deleting: true, ..all[1].clone() }, all[2].clone()];
    assert_eq!((ids(&list(&going)), list(&going).blocked), (vec![], None));
    assert!(
        matches!(&observed(Detail { found: going, gone: Vec::new() }).phase, Phase::Busy { note, .. } if note.contains("nat-a"))
    );
    assert_eq!(ids(&list(&[Found { used_by: Vec::new(), ..all[2].clone() }])), ["eipalloc-a"]);
}

#[test]
fn a_gateway_that_something_else_leads_to_stays_and_what_that_is_is_told() {
    // Of one that is moved to another gateway: it is not in what is found, and goes on its own.
    let moved = Found { used_by: vec!["rtb-b:0.0.0.0/0".into()], ..found(&nat_gateway::key("b"), "nat-b") };
    let sweep = list(std::slice::from_ref(&moved));
    assert!(sweep.targets.is_empty() && sweep.pending.unwrap().contains("rtb-b"));
    let held = Found { used_by: Vec::new(), held_by: Some("route table rtb-x leads to it".into()), ..moved };
    let blocked = list(&[held]).blocked.unwrap();
    assert_eq!(blocked.class, Class::Conflict);
    assert!(blocked.message.contains("natGateway/b nat-b") && blocked.message.contains("rtb-x"), "{}", blocked.message);
}

#[test]
fn each_is_a_difference_of_the_field_that_asked_for_it() {
    let of = removals(&[nat_gateway::key("a")], &[]).unwrap();
    let all = [
        found(&route("a"), "rtb-a:0.0.0.0/0"),
        found(&nat_gateway::key("a"), "nat-a"),
        found(&vpc_endpoint::key("ecr.api"), "vpce-a"),
        found(&oidc_provider::key(), "arn"),
        Found { deleting: true, ..found(&nat_gateway::key("b"), "nat-b") },
    ];
    let seen = observed(Detail { found: all.to_vec(), gone: Vec::new() });
    let told: Vec<_> = of
        .diff(&seen, &Refs::default())
        .iter()
        .map(|one| format!("{}: {} -> {:?}", one.field, one.from, one.to))
        .collect();
    let expected = [
        "network.vpc.nat[route/private/a]: rtb-a:0.0.0.0/0 -> \"\"",
        "network.vpc.nat[natGateway/a]: nat-a -> \"\"",
        "network.vpc.endpoints[ecr.api]: vpce-a -> \"\"",
        "oidcProvider: arn -> \"\"",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_line_is_kept_until_it_is_certain_that_nothing_stands_behind_it() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let (eip, nat, intent) = (elastic_ip::key("a"), nat_gateway::key("a"), elastic_ip::key("b"));
    let any = |detail: Detail| observed(detail).map(|seen| Arc::new(seen) as Arc<dyn std::any::Any + Send + Sync>);
    let gate = || Gate { key: cluster::key(), open: true, why: String::new(), holds: Vec::new() };
    let without = Graph::<Cloud>::new(Vec::new(), vec![gate()]).unwrap();
    let of = removals(&[eip.clone(), nat.clone()], &[]).unwrap();
    let with = Graph::<Cloud>::new(vec![Arc::new(of) as _], vec![gate()]).unwrap();
    let age = Duration::from_secs(600);
    let mut memory = Memory::new(at(0), Duration::from_secs(10), []);
    for key in [&eip, &nat, &vpc::key(), &route("a")] {
        memory.record_observation(key, Presence::Ours(any(Detail::default())), at(100));
    }
    memory.record_intent(&intent, at(100));
    let left = |memory: &Memory| {
        let lines = memory.iter().filter(|(_, entry)| entry.recorded.is_some());
        lines.map(|(key, _)| key.to_string()).collect::<Vec<_>>().join(" ")
    };
    // A look that began a moment after it was made may have missed it.
    let looked = |memory: &mut Memory, second| {
        let detail = Detail { found: vec![found(&eip, "id"), found(&route("a"), "id")], gone: vec![nat.clone()] };
        memory.record_observation(&key(), Presence::Ours(any(detail)), at(second));
        forget_gone(memory, &with, age, at(second));
    };
    looked(&mut memory, 105);
    assert_eq!(left(&memory), "elasticIp/a elasticIp/b natGateway/a removals route/private/a vpc");
    looked(&mut memory, 110);
    assert_eq!(left(&memory), "elasticIp/a elasticIp/b removals route/private/a vpc");
    // Without a look nothing with an id is dropped; a route is found in its table anyway.
    forget_gone(&mut memory, &without, age, at(709));
    assert_eq!(left(&memory), "elasticIp/a elasticIp/b vpc");
    forget_gone(&mut memory, &without, age, at(710));
    assert_eq!(left(&memory), "elasticIp/a vpc", "no survey showed a trace of it");
}

#[test]
fn what_was_looked_for_last_is_looked_for_anew_when_there_is_more_of_it() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let (eip, nat) = (elastic_ip::key("a"), nat_gateway::key("a"));
    let any = |detail: Detail| observed(detail).map(|seen| Arc::new(seen) as Arc<dyn std::any::Any + Send + Sync>);
    let gate = Gate { key: cluster::key(), open: true, why: String::new(), holds: Vec::new() };
    let of = removals(&[eip.clone(), nat.clone()], &[]).unwrap();
    let graph = Graph::<Cloud>::new(vec![Arc::new(of) as _], vec![gate]).unwrap();
    let mut memory = Memory::new(at(0), Duration::ZERO, []);
    memory.record_observation(&eip, Presence::Ours(any(Detail::default())), at(1));
    memory.record_observation(
        &key(),
        Presence::Ours(any(Detail { found: vec![found(&eip, "id")], gone: Vec::new() })),
        at(1),
    );
    notice(&mut memory, &graph, at(2));
    assert!(memory.get(&key()).is_some(), "it covers all there is");
    let entry = memory.get(&eip).unwrap();
    assert!(entry.presence.is_none() && entry.recorded.is_some() && entry.written_at == Some(at(2)));
    memory.record_observation(&nat, Presence::Ours(any(Detail::default())), at(3));
    notice(&mut memory, &graph, at(4));
    assert!(memory.get(&key()).is_none());
}
