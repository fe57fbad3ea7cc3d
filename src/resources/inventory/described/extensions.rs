//! The OIDC identity provider and the capabilities of a described cluster. Pure.

use aws_sdk_eks::types::{
    AckConfigResponse, ArgoCdAwsIdcConfigResponse, ArgoCdConfigResponse, ArgoCdNetworkAccessConfigResponse,
    ArgoCdRoleMapping, Capability, CapabilityConfigurationResponse, OidcIdentityProviderConfig, SsoIdentity,
};
use serde_json::Value;

use super::values::{flag, list, map, part, text, texts};

pub fn identity_provider(of: &Value) -> OidcIdentityProviderConfig {
    OidcIdentityProviderConfig::builder()
        .set_identity_provider_config_name(text(of, "identityProviderConfigName"))
        .set_issuer_url(text(of, "issuerUrl"))
        .set_client_id(text(of, "clientId"))
        .set_username_claim(text(of, "usernameClaim"))
        .set_username_prefix(text(of, "usernamePrefix"))
        .set_groups_claim(text(of, "groupsClaim"))
        .set_groups_prefix(text(of, "groupsPrefix"))
        .set_required_claims(map(of, "requiredClaims").filter(|claims| !claims.is_empty()))
        .build()
}

pub fn capability(of: &Value) -> Capability {
    let configuration = part(of, "configuration", |configuration| {
        CapabilityConfigurationResponse::builder()
            .set_argo_cd(part(configuration, "argoCd", argo_cd))
            .set_ack(part(configuration, "ack", |ack| {
                AckConfigResponse::builder()
                    .set_enable_cross_namespace(flag(ack, "enableCrossNamespace"))
                    .set_disabled_services(texts(ack, "disabledServices"))
                    .build()
            }))
            .build()
    });
    Capability::builder()
        .set_capability_name(text(of, "capabilityName"))
        .set_type(text(of, "type").map(|name| name.as_str().into()))
        .set_role_arn(text(of, "roleArn"))
        .set_configuration(configuration)
        .build()
}

fn argo_cd(of: &Value) -> ArgoCdConfigResponse {
    ArgoCdConfigResponse::builder()
        .set_namespace(text(of, "namespace"))
        .set_aws_idc(part(of, "awsIdc", |idc| {
            ArgoCdAwsIdcConfigResponse::builder()
                .set_idc_instance_arn(text(idc, "idcInstanceArn"))
                .set_idc_region(text(idc, "idcRegion"))
                .build()
        }))
        .set_network_access(part(of, "networkAccess", |access| {
            ArgoCdNetworkAccessConfigResponse::builder().set_vpce_ids(texts(access, "vpceIds")).build()
        }))
        .set_rbac_role_mappings(
            list(of, "rbacRoleMappings", role_mapping).map(|all| all.into_iter().flatten().collect()),
        )
        .set_endpoint_prefix(text(of, "endpointPrefix"))
        .build()
}

/// `None`: it has no role, or an identity has no id or type, which EKS never reports.
fn role_mapping(of: &Value) -> Option<ArgoCdRoleMapping> {
    let identity = |one: &Value| {
        let kind = text(one, "type").map(|name| name.as_str().into());
        SsoIdentity::builder().set_id(text(one, "id")).set_type(kind).build().ok()
    };
    let identities: Option<Vec<_>> = list(of, "identities", identity).unwrap_or_default().into_iter().collect();
    let role = text(of, "role").map(|name| name.as_str().into());
    ArgoCdRoleMapping::builder().set_role(role).set_identities(Some(identities?)).build().ok()
}
