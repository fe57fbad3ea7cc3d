//! Table tests of the preflight checks.

use jiff::civil::date;

use super::*;
use crate::upgrade::addon_versions::{DesiredVersion, OfferedVersion};
use crate::upgrade::observation::AddonState;

fn minor(text: &str) -> KubernetesVersion {
    text.parse().unwrap()
}

#[track_caller]
fn assert_check(check: &PreflightCheck, verdict: Verdict, part: &str) {
    let message = check.message.as_deref().unwrap_or_default();
    assert!(check.verdict == verdict && message.contains(part), "{check:?}");
}

fn insight(status: InsightStatus, version: Option<&str>) -> Insight {
    let (name, reason) = (format!("{status:?} insight"), "flowcontrol v1beta3 is used".into());
    Insight { name, status, reason, version: version.map(minor), refreshed: None }
}

#[test]
fn insights_for_the_target_version_count_by_policy() {
    use InsightStatus::{Error, Passing, Unknown, Warning};
    use InsightsPolicy::{Block, Ignore, Warn};
    let error = [insight(Passing, Some("1.34")), insight(Error, Some("1.34")), insight(Warning, None)];
    let table = [
        (Block, &error[..], Verdict::Failed, "1 of 3 report ERROR: Error insight: flowcontrol v1beta3 is used"),
        (Warn, &error, Verdict::Warning, "1 of 3 report ERROR"),
        (Ignore, &error, Verdict::Passed, "Ignore"),
        (Block, &[insight(Error, Some("1.35"))], Verdict::Passed, "0 insights, all PASSING"),
        (Block, &[insight(Error, None)], Verdict::Failed, "1 of 1 report ERROR"),
        (Block, &[insight(Warning, Some("1.34"))], Verdict::Warning, "1 of 1 report WARNING"),
        (Block, &[insight(Unknown, Some("1.34")), insight(Passing, None)], Verdict::Unknown, "1 of 2 report UNKNOWN"),
        (Block, &[insight(Passing, Some("1.34")), insight(Passing, None)], Verdict::Passed, "2 insights, all PASSING"),
    ];
    for (policy, all, verdict, part) in table {
        assert_check(&insights(policy, minor("1.34"), Some(all)), verdict, part);
    }
    assert_check(&insights(Block, minor("1.34"), None), Verdict::Unknown, "could not be read");
}

#[test]
fn version_must_be_offered_and_warns_after_standard_support() {
    let until = |standard| SupportDates { standard: Some(standard), extended: None };
    let offered = BTreeMap::from([
        (minor("1.32"), until(date(2026, 3, 23))),
        (minor("1.33"), until(date(2026, 7, 29))),
        (minor("1.34"), until(date(2026, 12, 2))),
    ]);
    let at = |version: &str| version_offered(minor(version), Some(&offered), date(2026, 11, 22));
    assert_check(&at("1.34"), Verdict::Passed, "1.34 is offered, in standard support until 2026-12-02");
    assert_check(&at("1.33"), Verdict::Warning, "standard support of 1.33 ended on 2026-07-29");
    assert_check(&at("1.35"), Verdict::Failed, "EKS does not offer 1.35 here; it offers 1.34, 1.33, 1.32");
    assert_check(&version_offered(minor("1.34"), None, date(2026, 11, 22)), Verdict::Unknown, "could not be read");
}

fn addon(name: &str, wanted: Option<DesiredVersion>, at_34: Option<&[&str]>) -> ObservedAddon {
    let offers = |versions: &[&str]| -> Vec<OfferedVersion> {
        versions.iter().map(|version| OfferedVersion { version: (*version).into(), default: false }).collect()
    };
    let mut offered = BTreeMap::from([(minor("1.33"), offers(&["v1", "v2"]))]);
    offered.extend(at_34.map(|versions| (minor("1.34"), offers(versions))));
    ObservedAddon { name: name.into(), installed: "v1".into(), wanted, state: AddonState::Settled, offered }
}

#[test]
fn incompatible_addon_without_an_update_fails() {
    let default = || Some(DesiredVersion::Default);
    let table = [
        (addon("runs", default(), Some(&["v1", "v2"])), Verdict::Passed, "1 add-on"),
        (addon("before", default(), Some(&["v2"])), Verdict::Passed, "updated for it: before v1"),
        (addon("after", default(), Some(&["v3"])), Verdict::Passed, "updated for it: after v1"),
        (addon("exact", Some(DesiredVersion::Exact("v1".into())), Some(&["v2"])), Verdict::Failed, "exact v1"),
        (addon("gone", default(), Some(&[])), Verdict::Failed, "gone v1 (no version does)"),
        (addon("foreign", None, Some(&["v2"])), Verdict::Warning, "foreign v1; spec.addons does not list them"),
        (addon("unread", default(), None), Verdict::Unknown, "could not be read: unread"),
    ];
    for (addon, verdict, part) in table {
        let check = addon_compatibility(&[addon], FollowPolicy::Follow, minor("1.33"), minor("1.34"));
        assert_check(&check, verdict, part);
    }
    let manual = [addon("coredns", default(), Some(&["v2"]))];
    let check = addon_compatibility(&manual, FollowPolicy::Manual, minor("1.33"), minor("1.34"));
    assert_check(&check, Verdict::Failed, "these do not run on 1.34, and are not updated: coredns v1");
}

#[test]
fn subnet_with_fewer_than_five_free_addresses_fails() {
    let subnet = |id: &str, free| (id.to_owned(), free);
    assert_check(
        &free_addresses(Some(&[subnet("subnet-1", 5), subnet("subnet-2", 90)])),
        Verdict::Passed,
        "at least 5 addresses",
    );
    assert_check(
        &free_addresses(Some(&[subnet("subnet-1", 4), subnet("subnet-2", 90)])),
        Verdict::Failed,
        "subnet-1 has 4; free some",
    );
    assert_check(&free_addresses(None), Verdict::Unknown, "could not be read");
}

#[test]
fn health_issue_of_the_control_plane_fails_unless_it_passes_by_itself() {
    assert_check(&control_plane(None), Verdict::Passed, "no health issue");
    assert_check(&control_plane(Some(("InternalFailure", true))), Verdict::Warning, "InternalFailure");
    assert_check(&control_plane(Some(("KmsKeyDisabled: x", false))), Verdict::Failed, "KmsKeyDisabled");
}

#[test]
fn failed_node_group_fails_and_degraded_one_warns() {
    use NodeGroupHealth::{Degraded, Failed, Healthy};
    let group = |name: &str, health| (name.to_owned(), health);
    assert_check(
        &node_groups(&[group("a", Healthy), group("b", Healthy)]),
        Verdict::Passed,
        "2 node groups, all healthy",
    );
    let degraded = group("b", Degraded("AsgInstanceLaunchFailures".into()));
    assert_check(
        &node_groups(&[group("a", Healthy), degraded.clone()]),
        Verdict::Warning,
        "b: AsgInstanceLaunchFailures",
    );
    assert_check(
        &node_groups(&[degraded, group("c", Failed("CREATE_FAILED".into()))]),
        Verdict::Failed,
        "c: CREATE_FAILED",
    );
}

#[test]
fn budget_that_never_allows_a_disruption_fails_if_nodes_are_drained() {
    let budget = |name: &str, never| Budget { name: name.into(), never };
    let (now, never) = (budget("shop/web", false), budget("shop/redis", true));
    assert_check(&disruption_budgets(Some(&[]), true), Verdict::Passed, "all allow");
    assert_check(&disruption_budgets(Some(std::slice::from_ref(&now)), true), Verdict::Warning, "now: shop/web");
    assert_check(
        &disruption_budgets(Some(&[now, never.clone()]), true),
        Verdict::Failed,
        "never allow a disruption: shop/redis;",
    );
    assert_check(&disruption_budgets(Some(&[never]), false), Verdict::Passed, "no nodes are drained");
    assert_check(&disruption_budgets(None, true), Verdict::Unknown, "could not be read");
}

#[test]
fn messages_fit_into_status() {
    let long: Vec<_> = (0..40).map(|_| insight(InsightStatus::Error, None)).collect();
    let message = insights(InsightsPolicy::Block, minor("1.34"), Some(&long)).message.unwrap();
    assert!(message.contains("and 35 more"), "{message}");
    let reason = "x".repeat(5000);
    let check = insights(InsightsPolicy::Block, minor("1.34"), Some(&[Insight { reason, ..long[0].clone() }]));
    assert_eq!(check.message.unwrap().chars().count(), MAX_MESSAGE);
}

#[test]
fn only_blocking_insights_from_before_are_refreshed() {
    let (since, to) = (Timestamp::from_second(1000).unwrap(), minor("1.34"));
    let at = |second: i64, status| Insight { refreshed: Timestamp::from_second(second).ok(), ..insight(status, None) };
    let outdated = |policy, insights: &[Insight]| has_outdated_block(policy, to, insights, since);
    let error = InsightStatus::Error;
    assert!(outdated(InsightsPolicy::Block, &[at(1001, error), at(999, error)]));
    assert!(outdated(InsightsPolicy::Block, &[insight(error, None)]), "EKS does not say when");
    assert!(!outdated(InsightsPolicy::Block, &[at(1001, error), at(999, InsightStatus::Warning)]));
    assert!(!outdated(InsightsPolicy::Warn, &[at(999, error)]));
    let later = Insight { refreshed: Timestamp::from_second(999).ok(), ..insight(error, Some("1.35")) };
    assert!(!outdated(InsightsPolicy::Block, &[later]), "about another version");
}

#[test]
fn ami_types_that_end_block_nodes_that_would_follow() {
    let of = |node_group: &str, moves| UnsupportedAmi {
        node_group: node_group.into(),
        ami_type: "AL2_x86_64".into(),
        moves,
    };
    let to = minor("1.33");
    assert_check(&ami_types(2, &[], to), Verdict::Passed, "2 node groups");
    assert_check(&ami_types(2, &[of("old", false)], to), Verdict::Warning, "old (AL2_x86_64), which stay behind");
    let check = ami_types(2, &[of("a", true), of("b", false)], to);
    assert_check(&check, Verdict::Failed, "no AMI of Kubernetes 1.33 for node groups a (AL2_x86_64), so");
    assert_check(&check, Verdict::Failed, "another amiType, such as AL2023_x86_64_STANDARD");
}
