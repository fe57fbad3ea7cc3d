//! What is removed when, and which records are kept. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::engine::Gate;
use crate::resources::cloud::Owner;
use crate::resources::eks::cluster;
use crate::resources::iam::oidc_provider;
use crate::resources::network::{elastic_ip, nat_gateway, security_group, vpc, vpc_endpoint};

fn removals(existing: &[Key], nodes: &[Key]) -> Option<Removals> {
    let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
    let context = ResourceContext {
        owner: &owner,
        cluster_name: "demo",
        user_tags: BTreeMap::new(),
        former_tags: std::collections::BTreeSet::new(),
        intervals: Intervals::default(),
    };
    let existing: Vec<Owned> = existing.iter().map(|key| (key.clone(), format!("id of {key}"))).collect();
    Removals::new(&context, &existing, &nodes.iter().cloned().collect())
}

fn found(key: &Key, id: &str) -> Found {
    let place = Some((vpc::key(), "vpc-1".to_owned()));
    let (key, id, owner) = (key.clone(), id.to_owned(), "uid".to_owned());
    Found { key, id, owner, place, deleting: false, used_by: Vec::new(), blocked_by: None }
}

fn route(zone: &str) -> Key {
    super::route::key(&Table::Private(zone.into()))
}

#[test]
fn only_resources_that_left_the_graph_are_removed() {
    let all = [
        nat_gateway::key("b"),
        elastic_ip::key("b"),
        vpc_endpoint::key("sqs"),
        security_group::key(),
        oidc_provider::key(),
    ];
    let keys = |removals: Removals| removals.resources.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let subnet = Key::named("subnet", "private/b");
    let existing: Vec<_> = all.iter().chain([&subnet, &vpc::key()]).cloned().collect();
    assert_eq!(keys(removals(&existing, &[vpc::key(), subnet.clone()]).unwrap()), all);
    assert_eq!(
        keys(removals(&existing, &[vpc::key(), oidc_provider::key(), nat_gateway::key("b")]).unwrap()),
        all[1..4]
    );
    assert!(removals(&existing, &existing).is_none());
    // Other kinds stay until the cluster is deleted.
    assert!(removals(&[subnet, vpc::key()], &[]).is_none());
}

#[test]
fn routes_are_removed_before_their_gateway_and_its_address_afterwards() {
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
    let sweep = plan_sweep(&all);
    assert_eq!(ids(&sweep), ["rtb-a:0.0.0.0/0", "nat-a", "vpce-a"]);
    assert!(sweep.pending.unwrap().contains("eipalloc-a is used by nat-a"));
    // While the gateway is deleted, nothing else is.
    let deleting = vec![Found { deleting: true, ..all[1].clone() }, all[2].clone()];
    assert_eq!((ids(&plan_sweep(&deleting)), plan_sweep(&deleting).blocked), (vec![], None));
    let phase = to_observation(Detail { found: deleting, ..Detail::default() }, false).phase;
    assert!(matches!(&phase, Phase::Busy { note, .. } if note.contains("nat-a")));
    assert_eq!(ids(&plan_sweep(&[Found { used_by: Vec::new(), ..all[2].clone() }])), ["eipalloc-a"]);
}

#[test]
fn gateway_in_use_stays_and_its_user_is_reported() {
    // The route moves to another gateway: it is not among the removals and is updated on its own.
    let moved = Found { used_by: vec!["rtb-b:0.0.0.0/0".into()], ..found(&nat_gateway::key("b"), "nat-b") };
    let sweep = plan_sweep(std::slice::from_ref(&moved));
    assert!(sweep.targets.is_empty() && sweep.pending.unwrap().contains("rtb-b"));
    let blocked = Found { used_by: Vec::new(), blocked_by: Some("route table rtb-x uses it".into()), ..moved };
    let blocked = plan_sweep(&[blocked]).blocked.unwrap();
    assert_eq!(blocked.class, Class::Conflict);
    assert!(blocked.message.contains("natGateway/b nat-b") && blocked.message.contains("rtb-x"), "{}", blocked.message);
}

#[test]
fn each_removal_is_a_change_of_the_field_that_requested_it() {
    let removals_resource = removals(&[nat_gateway::key("a")], &[]).unwrap();
    let all = [
        found(&route("a"), "rtb-a:0.0.0.0/0"),
        found(&nat_gateway::key("a"), "nat-a"),
        found(&vpc_endpoint::key("ecr.api"), "vpce-a"),
        found(&oidc_provider::key(), "arn"),
        Found { deleting: true, ..found(&nat_gateway::key("b"), "nat-b") },
    ];
    let observed = to_observation(Detail { found: all.to_vec(), ..Detail::default() }, false);
    let text: Vec<_> = removals_resource
        .diff(&observed, &Refs::default())
        .iter()
        .map(|one| format!("{}: {} -> {:?}", one.field, one.from, one.to))
        .collect();
    let expected = [
        "network.vpc.nat[route/private/a]: rtb-a:0.0.0.0/0 -> \"\"",
        "network.vpc.nat[natGateway/a]: nat-a -> \"\"",
        "network.vpc.endpoints[ecr.api]: vpce-a -> \"\"",
        "oidcProvider: arn -> \"\"",
    ];
    assert_eq!(text, expected);
}

#[test]
fn record_is_kept_until_the_resource_is_certainly_gone() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let (eip, nat, intent) = (elastic_ip::key("a"), nat_gateway::key("a"), elastic_ip::key("b"));
    let any = |detail: Detail| {
        to_observation(detail, false).map(|observed| Arc::new(observed) as Arc<dyn std::any::Any + Send + Sync>)
    };
    let gate = || Gate { key: cluster::key(), open: true, why: String::new(), holds: Vec::new() };
    let without = Graph::<Cloud>::new(Vec::new(), vec![gate()]).unwrap();
    let removals_resource = removals(&[eip.clone(), nat.clone()], &[]).unwrap();
    let with = Graph::<Cloud>::new(vec![Arc::new(removals_resource) as _], vec![gate()]).unwrap();
    let age = Duration::from_secs(600);
    let mut memory = Memory::new(at(0), Duration::from_secs(10), []);
    for key in [&eip, &nat, &vpc::key(), &route("a")] {
        memory.record_observation(key, Presence::Ours(any(Detail::default())), at(100));
    }
    memory.record_intent(&intent, at(100));
    let recorded = |memory: &Memory| {
        let lines = memory.iter().filter(|(_, entry)| entry.recorded.is_some());
        lines.map(|(key, _)| key.to_string()).collect::<Vec<_>>().join(" ")
    };
    // An observation that started just after the creation may have missed it.
    let observe = |memory: &mut Memory, second| {
        let detail = Detail {
            found: vec![found(&eip, "id"), found(&route("a"), "id")],
            deleted: vec![nat.clone()],
            ..Detail::default()
        };
        memory.record_observation(&key(), Presence::Ours(any(detail)), at(second));
        forget_deleted(memory, &with, age, at(second));
    };
    observe(&mut memory, 105);
    assert_eq!(recorded(&memory), "elasticIp/a elasticIp/b natGateway/a removals route/private/a vpc");
    observe(&mut memory, 110);
    assert_eq!(recorded(&memory), "elasticIp/a elasticIp/b removals route/private/a vpc");
    // Without an observation, no record with an id is dropped; a route is found in its table anyway.
    forget_deleted(&mut memory, &without, age, at(709));
    assert_eq!(recorded(&memory), "elasticIp/a elasticIp/b vpc");
    forget_deleted(&mut memory, &without, age, at(710));
    assert_eq!(recorded(&memory), "elasticIp/a vpc", "no survey found it");
}

#[test]
fn additional_removals_trigger_a_new_observation() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let (eip, nat) = (elastic_ip::key("a"), nat_gateway::key("a"));
    let any = |detail: Detail| {
        to_observation(detail, false).map(|observed| Arc::new(observed) as Arc<dyn std::any::Any + Send + Sync>)
    };
    let gate = Gate { key: cluster::key(), open: true, why: String::new(), holds: Vec::new() };
    let removals_resource = removals(&[eip.clone(), nat.clone()], &[]).unwrap();
    let graph = Graph::<Cloud>::new(vec![Arc::new(removals_resource) as _], vec![gate]).unwrap();
    let mut memory = Memory::new(at(0), Duration::ZERO, []);
    memory.record_observation(&eip, Presence::Ours(any(Detail::default())), at(1));
    memory.record_observation(
        &key(),
        Presence::Ours(any(Detail { found: vec![found(&eip, "id")], ..Detail::default() })),
        at(1),
    );
    invalidate_dropped(&mut memory, &graph, at(2));
    assert!(memory.get(&key()).is_some(), "it covers all resources");
    let entry = memory.get(&eip).unwrap();
    assert!(entry.presence.is_none() && entry.recorded.is_some() && entry.written_at == Some(at(2)));
    memory.record_observation(&nat, Presence::Ours(any(Detail::default())), at(3));
    invalidate_dropped(&mut memory, &graph, at(4));
    assert!(memory.get(&key()).is_none());
}

#[test]
fn removal_that_something_waits_for_is_incomplete_until_it_is_done() {
    let flow_log = |name: &str| Key::named("flowLog", name);
    let earlier = [flow_log("s3-a/1"), oidc_provider::key()];
    let same_destination = removals(&earlier, &[vpc::key(), flow_log("s3-a/2")]).unwrap();
    assert_eq!((same_destination.is_awaited, same_destination.after), (true, vec![vpc::key()]));
    let other_destination = removals(&earlier, &[vpc::key(), flow_log("s3-b/2")]).unwrap();
    let after = vec![flow_log("s3-b/2"), vpc::key()];
    assert_eq!((other_destination.is_awaited, other_destination.after), (false, after), "the new one exists first");
    let phase = |found: Vec<Found>, is_awaited| to_observation(Detail { found, ..Detail::default() }, is_awaited).phase;
    let log = || vec![found(&earlier[0], "fl-1")];
    assert_eq!((phase(log(), true), phase(log(), false)), (Phase::Incomplete, Phase::Ready));
    assert_eq!(phase(vec![found(&earlier[1], "arn")], true), Phase::Ready, "nothing waits for the others");
}

#[test]
fn resources_of_two_kinds_with_one_id_are_distinguished() {
    let (provider, capability) = (Key::named("identityProvider", "corp"), Key::named("capability", "corp"));
    let found = |key: &Key| Found { place: None, ..found(key, "corp") };
    // Nothing of the provider's is deleted for the capability, though it comes first in every list.
    let sweep = plan_sweep(&[Found { deleting: true, ..found(&provider) }, found(&capability)]);
    let [target] = sweep.targets.as_slice() else { panic!("{sweep:?}") };
    assert_eq!((target.id.as_str(), target.key.as_ref()), ("corp", Some(&capability)));
    let both = plan_sweep(&[found(&provider), found(&capability)]);
    let keys: Vec<_> = both.targets.iter().filter_map(|target| target.key.clone()).collect();
    assert_eq!(keys, [provider, capability]);
}

#[test]
fn each_removable_kind_has_a_deletion() {
    let without: BTreeSet<&str> =
        kinds::ALL.iter().filter(|kind| kind.is_removable && kind.removal.is_none()).map(|kind| kind.name).collect();
    let in_removal_calls = ["elasticIp", "natGateway", "oidcProvider", "route", "securityGroup", "vpcEndpoint"];
    assert_eq!(without, in_removal_calls.into());
}

#[test]
fn what_exists_in_the_cluster_is_removed_by_its_owner_tag_and_nothing_replaces_it_before() {
    let (provider, capability) = (Key::named("identityProvider", "corp"), Key::named("capability", "kro"));
    let both = removals(&[provider.clone(), capability.clone()], &[Key::named("capability", "ack")]).unwrap();
    assert!(both.is_awaited && both.after.is_empty());
    assert_eq!(both.expected(Action::Update), identity_provider::EXPECTED);
    let found = |key: &Key| Found { place: None, ..found(key, key.name()) };
    let sweep = plan_sweep(&[found(&provider), Found { deleting: true, ..found(&capability) }]);
    let [target] = sweep.targets.as_slice() else { panic!("{sweep:?}") };
    // Its name may be that of another resource: the record alone would not prove it.
    assert_eq!(target.proof, Proof::Owned { part_of: cluster::key(), owner: "uid".into() });
    let observed =
        to_observation(Detail { found: vec![found(&provider), found(&capability)], ..Detail::default() }, true);
    let fields: Vec<_> = both.diff(&observed, &Refs::default()).into_iter().map(|change| change.field).collect();
    assert_eq!(fields, ["access.oidcIdentityProvider[corp]", "capabilities[kro]"]);
}
