//! Tests of the steps of a rotation.

use super::*;

const T1: i64 = 1_000_000;
const T2: i64 = 2_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn one(id: &str, created: i64, state: AuthorityState) -> Authority {
    let (id, created) = (id.to_owned(), Some(at(created)));
    Authority { id, created, state, since: None, reason: None, by_eks: false, is_shown: true }
}

fn detail(authorities: &[Authority]) -> Detail {
    Detail { authorities: authorities.to_vec(), at: Some(at(T2 + 100)), ..Detail::default() }
}

fn rotation(created_after: Option<i64>, active_id: &str, deleted_id: &str) -> Rotation {
    let text = |id: &str| Some(id.to_owned()).filter(|id| !id.is_empty());
    let created_after = created_after.map(at);
    Rotation { cluster: "demo".into(), created_after, active_id: text(active_id), deleted_id: text(deleted_id) }
}

fn changes(rotation: &Rotation, authorities: &[Authority]) -> Vec<String> {
    let short = |field: &str| field.rsplit('.').next().unwrap_or_default().to_owned();
    let text = |change: &Change| {
        let how = match &change.how {
            crate::engine::Correction::InPlace => "",
            crate::engine::Correction::Forbidden(_) => " forbidden",
            crate::engine::Correction::Reported(_) => " reported",
        };
        format!("{}{how}", short(&change.field))
    };
    rotation.changes(&detail(authorities)).iter().map(text).collect()
}

use AuthorityState::{Activating, Active, Distributing, Failed, Retired, Successor};

#[test]
fn successor_is_created_once_for_a_time_that_has_come() {
    let old = one("a", T1, Active);
    let wants = |after| rotation(Some(after), "", "");
    assert_eq!(changes(&wants(T2), std::slice::from_ref(&old)), ["createdAfter"]);
    assert_eq!(changes(&wants(T1), std::slice::from_ref(&old)), [""; 0], "it is not older");
    assert_eq!(changes(&wants(T2 + 90), std::slice::from_ref(&old)), [""; 0], "clocks differ");
    for state in [Distributing, Successor, Activating] {
        assert_eq!(changes(&wants(T2), &[old.clone(), one("b", T2, state)]), [""; 0], "{state:?}");
    }
    let failed = [old.clone(), one("b", T2, Failed)];
    assert_eq!(changes(&wants(T2), &failed), ["createdAfter forbidden"]);
    let done = [one("a", T1, Retired), one("b", T2, Active)];
    assert_eq!(changes(&wants(T2), &done), [""; 0], "the same manifest begins no second rotation");
    assert_eq!(changes(&wants(T2 + 10), &done), ["createdAfter forbidden"], "the retired one is deleted first");
    let undated = Authority { created: None, ..old };
    assert_eq!(changes(&wants(T2), std::slice::from_ref(&undated)), ["createdAfter forbidden"], "its age is unknown");
    assert_eq!(changes(&wants(T2 + 90), &[undated]), [""; 0], "not yet");
}

#[test]
fn only_a_successor_that_everything_of_eks_trusts_is_activated() {
    let of = |state| [one("a", T1, Active), one("b", T2, state)];
    let wants = rotation(Some(T2), "b", "");
    assert_eq!(changes(&wants, &of(Successor)), ["activeId"]);
    for state in [Distributing, Activating] {
        assert_eq!(changes(&wants, &of(state)), [""; 0], "{state:?}");
    }
    assert_eq!(changes(&wants, &of(Failed)), ["createdAfter forbidden", "activeId forbidden"]);
    let hidden = Authority { is_shown: false, ..one("b", T2, Successor) };
    assert_eq!(changes(&wants, &[one("a", T1, Active), hidden]), ["activeId reported"]);
    assert_eq!(changes(&rotation(None, "c", ""), &of(Successor)), ["activeId forbidden"], "unknown");
    assert_eq!(changes(&rotation(None, "a", ""), &of(Successor)), [""; 0]);
}

#[test]
fn one_that_has_signed_before_is_never_activated_again() {
    let by_eks = Authority { by_eks: true, ..one("b", T2, Active) };
    let found = rotation(Some(T1), "a", "").changes(&detail(&[one("a", T1, Retired), by_eks]));
    let [Change { how: crate::engine::Correction::Reported(why), .. }] = found.as_slice() else { panic!("{found:?}") };
    assert!(why.contains("EKS activated b since: set activeId: b"), "{why}");
    assert!(why.contains("--cluster-name demo --certificate-authority-id a"), "{why}");
}

#[test]
fn one_that_signs_or_is_asked_for_is_not_deleted() {
    let done = [one("a", T1, Retired), one("b", T2, Active)];
    assert_eq!(changes(&rotation(Some(T2), "b", "a"), &done), ["deletedId"]);
    assert_eq!(changes(&rotation(Some(T2), "", "b"), &done), ["deletedId forbidden"]);
    assert_eq!(changes(&rotation(Some(T2), "b", "never"), &done), [""; 0], "it is gone");
    let begun = [one("a", T1, Active), one("b", T2, Successor)];
    assert_eq!(changes(&rotation(Some(T2), "", "b"), &begun), ["deletedId forbidden"], "it would be created again");
    assert_eq!(changes(&rotation(None, "", "b"), &begun), ["deletedId"], "the rotation is given up");
    assert_eq!(changes(&rotation(None, "", "b"), &[one("a", T1, Active), one("b", T2, Failed)]), ["deletedId"]);
}

#[test]
fn an_approval_to_delete_one_names_it() {
    let deletion = |id: &str| {
        let all = [one("a", T1, Retired), one("b", T2, Successor), one("c", T2, Active)];
        rotation(None, "", id).changes(&detail(&all)).pop().map(|change| (change.from, change.to))
    };
    for id in ["a", "b", "c"] {
        assert_eq!(deletion(id), Some((id.to_owned(), "deleted".to_owned())));
    }
}

#[test]
fn states_are_those_of_eks_and_each_says_what_is_next() {
    let found = |signing: Signing, distribution: Distribution, activated: bool| {
        let at = aws_smithy_types::DateTime::from_secs(T1);
        let summary = CertificateAuthoritySummary::builder().id("a").created_at(at);
        let summary = summary.signing_status(signing).distribution_status(distribution);
        let found = Authority::from(&summary.set_activated_at(activated.then_some(at)).build());
        assert_eq!(found.message().is_none(), found.state == Active);
        found.state
    };
    assert_eq!(found(Signing::InUse, Distribution::Complete, true), Active);
    assert_eq!(found(Signing::Activating, Distribution::Complete, false), Activating);
    assert_eq!(found(Signing::NotUsed, Distribution::Complete, false), Successor);
    assert_eq!(found(Signing::NotUsed, Distribution::Complete, true), Retired);
    assert_eq!(found(Signing::NotUsed, Distribution::InProgress, false), Distributing);
    assert_eq!(found(Signing::NotUsed, Distribution::Failed, false), Failed);
    assert_eq!(found(Signing::NotUsed, Distribution::Deleting, true), AuthorityState::Deleting);
}

#[test]
fn certificate_is_found_in_a_bundle_whatever_its_line_breaks() {
    let encode = |text: &str| STANDARD.encode(text);
    let bundle = encode("-----BEGIN-----\nAAAA\nBBBB\n-----END-----\n-----BEGIN-----\nCCCC\n-----END-----\n");
    assert!(is_in(&encode("-----BEGIN-----\r\nAAAABBBB\r\n-----END-----"), &bundle));
    assert!(!is_in(&encode("-----BEGIN-----\nDDDD\n-----END-----"), &bundle));
    assert!(!is_in("", &bundle) && !is_in("no base64", &bundle));
}

#[test]
fn successor_is_shown_once_the_cluster_returns_its_certificate() {
    let encoded = |text: &str| STANDARD.encode(text);
    let certificates = [("b".to_owned(), encoded("-----BEGIN-----\nb\n-----END-----\n"))].into();
    let detail = Detail { certificates, ..detail(&[one("a", T1, Active), one("b", T2, Successor)]) };
    let shown = |bundle: Option<&str>| detail.shown_in(bundle).authorities[1].is_shown;
    assert!(!shown(None));
    assert!(!shown(Some(&encoded("-----BEGIN-----\na\n-----END-----"))));
    assert!(shown(Some(&encoded("-----BEGIN-----\na\n-----END-----\n-----BEGIN-----\nb\n-----END-----"))));
}

#[test]
fn state_counts_from_its_first_observation_until_it_changes() {
    let observed = |now: i64, state| Detail { at: Some(at(now)), ..detail(&[one("b", T2, state)]) };
    let first = observed(T2, Distributing).since(None);
    let same = observed(T2 + 10, Distributing).since(Some(&first));
    assert_eq!(same.authorities[0].since, Some(at(T2)));
    let other = observed(T2 + 20, Successor).since(Some(&same));
    assert_eq!(other.authorities[0].since, Some(at(T2 + 20)));
}

#[test]
fn what_eks_says_of_the_failure_is_in_the_message_and_in_the_difference() {
    let mut failed = one("b", T2, Failed);
    failed.reason = Some("EKS update u-1 failed: no capacity".into());
    let message = failed.message().unwrap();
    assert!(message.contains("deletedId: b") && message.ends_with("no capacity"), "{message}");
    let change = rotation(Some(T2), "", "").changes(&detail(&[one("a", T1, Active), failed])).remove(0);
    assert!(matches!(&change.how, crate::engine::Correction::Forbidden(why) if *why == message), "{change:?}");
}
