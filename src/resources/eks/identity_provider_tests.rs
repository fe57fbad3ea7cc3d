//! What is compared, what cannot change, and what comes before an association.

use serde_json::{Value, json};

use super::*;
use crate::engine::Correction;
use crate::resources::cloud::Owner;

fn spec(value: Value) -> DesiredProvider {
    serde_json::from_value(value).unwrap()
}

fn corp() -> Value {
    json!({"name": "corp", "issuerUrl": "https://id.example.com", "clientId": "kubernetes"})
}

fn provider(value: Value, after: &[Key], removal: Option<Key>) -> IdentityProvider {
    let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
    let context = ResourceContext {
        owner: &owner,
        cluster_name: "demo",
        user_tags: BTreeMap::new(),
        former_tags: std::collections::BTreeSet::new(),
        intervals: Intervals::default(),
    };
    IdentityProvider::new(&context, &spec(value), after.to_vec(), removal)
}

fn observed(value: Value, status: ConfigStatus) -> Observation<Detail> {
    let asked = settings::request(&spec(value)).unwrap();
    let claims = asked.required_claims().cloned();
    let config = Config::builder()
        .identity_provider_config_name(asked.identity_provider_config_name())
        .issuer_url(asked.issuer_url())
        .client_id(asked.client_id())
        .set_username_claim(asked.username_claim().or(Some("sub")).map(str::to_owned))
        .set_groups_claim(asked.groups_claim().map(str::to_owned))
        .set_required_claims(claims)
        .set_tags(Some(provider(corp(), &[], None).tags.to_eks()));
    to_observation(&config.status(status).build())
}

#[test]
fn only_what_the_spec_names_is_compared_and_none_of_it_changes() {
    let active = observed(corp(), ConfigStatus::Active);
    assert_eq!(active.phase, Phase::Ready);
    let changes = |value: Value| provider(value, &[], None).diff(&active, &Refs::default());
    assert_eq!(changes(corp()), [], "a claim that EKS chose is not managed");
    for (field, value, from, to) in [
        ("issuerUrl", json!("https://other"), "https://id.example.com", "https://other"),
        ("clientId", json!("other"), "kubernetes", "other"),
        ("usernameClaim", json!("email"), "sub", "email"),
        ("usernamePrefix", json!("a:"), "", "a:"),
        ("groupsClaim", json!("groups"), "", "groups"),
        ("groupsPrefix", json!("a:"), "", "a:"),
        ("requiredClaims", json!({"b": "2", "a": "1"}), "", "a=1, b=2"),
    ] {
        let mut wanted = corp();
        wanted[field] = value;
        let found = changes(wanted);
        let [change] = found.as_slice() else { panic!("{field}: {found:?}") };
        assert_eq!(
            (change.field.as_str(), change.from.as_str(), change.to.as_str()),
            (format!("access.oidcIdentityProvider.{field}").as_str(), from, to)
        );
        assert!(matches!(&change.how, Correction::Forbidden(why) if why.contains("add it again")), "{change:?}");
    }
}

#[test]
fn import_of_what_was_requested_changes_nothing() {
    let whole = json!({
        "name": "corp", "issuerUrl": "https://id.example.com", "clientId": "kubernetes", "usernameClaim": "email",
        "groupsClaim": "groups", "requiredClaims": {"hd": "example.com"},
    });
    let config = settings::request(&spec(whole.clone())).unwrap();
    let described = Config::builder()
        .identity_provider_config_name(config.identity_provider_config_name())
        .issuer_url(config.issuer_url())
        .client_id(config.client_id())
        .set_username_claim(config.username_claim().map(str::to_owned))
        .set_groups_claim(config.groups_claim().map(str::to_owned))
        .username_prefix("")
        .set_required_claims(config.required_claims().cloned());
    assert_eq!(settings::imported(&described.build()), spec(whole));
}

#[test]
fn states_of_eks_are_phases() {
    let phase = |status| observed(corp(), status).phase;
    assert!(matches!(phase(ConfigStatus::Creating), Phase::Busy { action: Action::Create, .. }));
    assert!(matches!(phase(ConfigStatus::Deleting), Phase::Busy { action: Action::Delete, .. }));
}

#[test]
fn association_waits_for_the_rest_of_the_cluster_and_for_the_removal_of_another_and_adoption_does_not() {
    let (addon, removal) = (Key::named("addon", "coredns"), Key::single("removals"));
    let one = provider(corp(), std::slice::from_ref(&addon), Some(removal.clone()));
    assert_eq!(one.after(), [cluster::key(), removal, addon]);
    assert_eq!(one.adopted_after(), [cluster::key()]);
}
