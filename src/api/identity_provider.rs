//! The OIDC identity provider whose tokens the cluster's API accepts. No I/O.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{rules, schema};

/// An OIDC identity provider of people, such as Okta, Entra ID or Dex.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcIdentityProvider {
    /// Name of the association in EKS.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = rules::eks_name())]
    pub name: String,
    /// URL of the issuer, as in the tokens' claim `iss`, such as `https://example.okta.com`; EKS must reach it from the internet.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = rules::issuer_url())]
    pub issuer_url: String,
    /// Id of the client that the tokens are issued for: their claim `aud`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::without_spaces())]
    pub client_id: String,
    /// Claim with the name of the user, such as `email`; absent: EKS's default, `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::without_spaces())]
    pub username_claim: Option<String>,
    /// Prefix of the names of users, `-` for none; absent: EKS's default, the issuer and `#`, except for `email`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::prefix_outside_system())]
    #[x_kube(validation = rules::without_spaces())]
    pub username_prefix: Option<String>,
    /// Claim with the groups of the user; absent: users have no groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::without_spaces())]
    pub groups_claim: Option<String>,
    /// Prefix of the names of groups, such as `oidc:`; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::prefix_outside_system())]
    #[x_kube(validation = rules::without_spaces())]
    pub groups_prefix: Option<String>,
    /// Claims that a token must have, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::required_claims")]
    #[x_kube(validation = rules::required_claims())]
    pub required_claims: BTreeMap<String, String>,
}
