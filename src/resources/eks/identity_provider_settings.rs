//! The settings of an OIDC identity provider: as the spec has them, as EKS reports them, and as EKS takes them. Pure.

use std::collections::BTreeMap;

use aws_sdk_eks::types::{OidcIdentityProviderConfig as Config, OidcIdentityProviderConfigRequest};

use crate::api::identity_provider::OidcIdentityProvider as DesiredProvider;
use crate::engine::Failure;

/// The settings by the field of the spec.
pub(super) type Settings = BTreeMap<&'static str, String>;

/// What is not set is missing.
fn settings(values: [(&'static str, Option<&str>); 7]) -> Settings {
    values.into_iter().filter_map(|(field, value)| Some((field, value?.to_owned()))).collect()
}

fn format_claims<'c>(claims: impl IntoIterator<Item = (&'c String, &'c String)>) -> Option<String> {
    let sorted: BTreeMap<_, _> = claims.into_iter().collect();
    let all: Vec<_> = sorted.into_iter().map(|(claim, value)| format!("{claim}={value}")).collect();
    Some(all.join(", ")).filter(|all| !all.is_empty())
}

/// Those that the spec names.
pub(super) fn desired(wanted: &DesiredProvider) -> Settings {
    settings([
        ("issuerUrl", Some(&wanted.issuer_url)),
        ("clientId", Some(&wanted.client_id)),
        ("usernameClaim", wanted.username_claim.as_deref()),
        ("usernamePrefix", wanted.username_prefix.as_deref()),
        ("groupsClaim", wanted.groups_claim.as_deref()),
        ("groupsPrefix", wanted.groups_prefix.as_deref()),
        ("requiredClaims", format_claims(&wanted.required_claims).as_deref()),
    ])
}

/// Those that EKS reports.
pub(super) fn observed(config: &Config) -> Settings {
    settings([
        ("issuerUrl", config.issuer_url()),
        ("clientId", config.client_id()),
        ("usernameClaim", config.username_claim()),
        ("usernamePrefix", config.username_prefix()),
        ("groupsClaim", config.groups_claim()),
        ("groupsPrefix", config.groups_prefix()),
        ("requiredClaims", config.required_claims().and_then(format_claims).as_deref()),
    ])
}

/// The spec as EKS reports it when it is associated: for a manifest of a cluster that others created.
pub(crate) fn imported(config: &Config) -> DesiredProvider {
    let owned = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
    DesiredProvider {
        name: owned(config.identity_provider_config_name()).unwrap_or_default(),
        issuer_url: owned(config.issuer_url()).unwrap_or_default(),
        client_id: owned(config.client_id()).unwrap_or_default(),
        username_claim: owned(config.username_claim()),
        username_prefix: owned(config.username_prefix()),
        groups_claim: owned(config.groups_claim()),
        groups_prefix: owned(config.groups_prefix()),
        required_claims: config.required_claims().cloned().unwrap_or_default().into_iter().collect(),
    }
}

/// The request that associates it.
///
/// # Errors
/// Never: all that EKS requires is set.
pub(super) fn request(wanted: &DesiredProvider) -> Result<OidcIdentityProviderConfigRequest, Failure> {
    let DesiredProvider {
        name,
        issuer_url,
        client_id,
        username_claim,
        username_prefix,
        groups_claim,
        groups_prefix,
        required_claims,
    } = wanted;
    let claims = required_claims.iter().map(|(claim, value)| (claim.clone(), value.clone())).collect();
    let request = OidcIdentityProviderConfigRequest::builder()
        .identity_provider_config_name(name)
        .issuer_url(issuer_url)
        .client_id(client_id)
        .set_username_claim(username_claim.clone())
        .set_username_prefix(username_prefix.clone())
        .set_groups_claim(groups_claim.clone())
        .set_groups_prefix(groups_prefix.clone())
        .set_required_claims((!required_claims.is_empty()).then_some(claims));
    request.build().map_err(|error| Failure::invalid(error.to_string()))
}
