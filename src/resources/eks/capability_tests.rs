//! What differs from the spec, and what is sent to change it.

use aws_sdk_eks::types::{
    AckConfigResponse, ArgoCdAwsIdcConfigResponse, ArgoCdConfigResponse, CapabilityConfigurationResponse,
    CapabilityDeletePropagationPolicy, CapabilityType as Kind,
};
use serde_json::{Value, json};

use super::*;
use crate::engine::Correction;

const CENTER: &str = "arn:aws:sso:::instance/ssoins-0123456789abcdef";

fn spec(value: Value) -> DesiredCapability {
    serde_json::from_value(value).unwrap()
}

fn argo(mappings: Value) -> Value {
    json!({
        "name": "argocd", "type": "ArgoCd", "roleArn": "arn:aws:iam::123456789012:role/argocd",
        "configuration": {"argoCd": {"awsIdc": {"idcInstanceArn": CENTER}, "rbacRoleMappings": mappings}},
    })
}

/// What EKS reports of a capability of that spec.
fn described(wanted: &DesiredCapability) -> Capability {
    let asked = request(wanted).unwrap();
    let argo = asked.as_ref().and_then(|all| all.argo_cd()).map(|argo| {
        let idc = ArgoCdAwsIdcConfigResponse::builder()
            .idc_instance_arn(argo.aws_idc().unwrap().idc_instance_arn())
            .idc_region("eu-west-1");
        ArgoCdConfigResponse::builder()
            .namespace(argo.namespace().unwrap_or("argocd"))
            .aws_idc(idc.build())
            .set_rbac_role_mappings(Some(argo.rbac_role_mappings().to_vec()))
            .build()
    });
    let ack = asked.as_ref().and_then(|all| all.ack()).map(|ack| {
        let builder = AckConfigResponse::builder().set_enable_cross_namespace(ack.enable_cross_namespace());
        builder.set_disabled_services(Some(ack.disabled_services().to_vec())).build()
    });
    Capability::builder()
        .capability_name(&wanted.name)
        .r#type(Kind::from(wanted.type_.in_eks()))
        .role_arn(&wanted.role_arn)
        .configuration(CapabilityConfigurationResponse::builder().set_argo_cd(argo).set_ack(ack).build())
        .delete_propagation_policy(CapabilityDeletePropagationPolicy::Retain)
        .build()
}

fn changes(from: Value, to: Value) -> Vec<Change> {
    Settings::of(&described(&spec(from))).differences(&spec(to))
}

fn admin(ids: &[&str]) -> Value {
    let identities: Vec<_> = ids.iter().map(|id| json!({"id": id, "type": "SsoUser"})).collect();
    json!([{"role": "Admin", "identities": identities}])
}

#[test]
fn what_the_spec_does_not_name_is_not_compared() {
    assert_eq!(changes(argo(admin(&["a"])), argo(admin(&["a"]))), []);
    let mut less = argo(json!([]));
    less["configuration"]["argoCd"].as_object_mut().unwrap().remove("rbacRoleMappings");
    assert_eq!(changes(argo(admin(&["a"])), less), []);
}

#[test]
fn what_eks_does_not_change_is_forbidden_with_what_to_do() {
    let mut other = argo(admin(&["a"]));
    other["configuration"]["argoCd"]["namespace"] = json!("other");
    other["configuration"]["argoCd"]["awsIdc"]["idcRegion"] = json!("us-east-1");
    other["configuration"]["argoCd"]["endpointPrefix"] = json!("demo");
    let found = changes(argo(admin(&["a"])), other);
    let fields: Vec<_> = found.iter().map(|change| change.field.as_str()).collect();
    let of = |name| format!("configuration.argoCd.{name}");
    assert_eq!(fields, [of("awsIdc.idcRegion"), of("endpointPrefix"), of("namespace")]);
    assert!(
        found.iter().all(|one| matches!(&one.how, Correction::Forbidden(why) if why.contains("add it again"))),
        "{found:?}"
    );
    let mut kind = argo(admin(&["a"]));
    kind["type"] = json!("Kro");
    assert!(matches!(changes(argo(admin(&["a"])), kind)[0].how, Correction::Forbidden(_)));
}

#[test]
fn identities_are_added_in_full_and_removed_only_when_none_is_missing() {
    let update = |from: &[&str], to: &[&str]| {
        let (before, wanted) = (spec(argo(admin(from))), spec(argo(admin(to))));
        let current = Settings::of(&described(&before));
        let changes = current.differences(&wanted);
        let update = current.update(&wanted, &changes).unwrap().unwrap();
        let mappings = update.argo_cd().unwrap().rbac_role_mappings().unwrap().clone();
        let ids = |all: &[ArgoCdRoleMapping]| {
            let of =
                |one: &ArgoCdRoleMapping| one.identities().iter().map(|who| who.id().to_owned()).collect::<Vec<_>>();
            all.iter().flat_map(of).collect::<Vec<_>>().join(" ")
        };
        (ids(mappings.add_or_update_role_mappings()), ids(mappings.remove_role_mappings()))
    };
    let text = |add: &str, remove: &str| (add.to_owned(), remove.to_owned());
    assert_eq!(update(&["a"], &["a", "b"]), text("a b", ""));
    assert_eq!(update(&["a", "b"], &["b"]), text("", "a"));
    // Where EKS merges, the next update removes `a`.
    assert_eq!(update(&["a"], &["b"]), text("b", ""));
}

#[test]
fn role_that_is_no_longer_listed_loses_its_identities() {
    let current = Settings::of(&described(&spec(argo(admin(&["a"])))));
    let wanted = spec(argo(json!([])));
    let changes = current.differences(&wanted);
    assert_eq!(changes, [Change::in_place("configuration.argoCd.rbacRoleMappings[ADMIN]", "SSO_USER a", "")]);
    let update = current.update(&wanted, &changes).unwrap().unwrap();
    assert_eq!(update.argo_cd().unwrap().rbac_role_mappings().unwrap().remove_role_mappings().len(), 1);
}

#[test]
fn only_changed_settings_are_sent() {
    let ack = |role: &str, cross: bool, disabled: &[&str]| {
        json!({
            "name": "ack", "type": "Ack", "roleArn": format!("arn:aws:iam::123456789012:role/{role}"),
            "configuration": {"ack": {"enableCrossNamespace": cross, "disabledServices": disabled}},
        })
    };
    let current = Settings::of(&described(&spec(ack("a", false, &["s3", "iam"]))));
    let sent = |to: Value| {
        let wanted = spec(to);
        let changes = current.differences(&wanted);
        let update = current.update(&wanted, &changes).unwrap();
        let ack = update.as_ref().and_then(|update| update.ack()).cloned();
        let ack = ack.map(|ack| (ack.enable_cross_namespace(), ack.disabled_services().to_vec()));
        (changes.iter().any(|change| change.field == ROLE), ack)
    };
    assert_eq!(sent(ack("a", false, &["iam", "s3"])), (false, None), "the order does not matter");
    assert_eq!(sent(ack("b", false, &["s3", "iam"])), (true, None));
    assert_eq!(sent(ack("a", true, &["s3", "iam"])), (false, Some((Some(true), Vec::new()))));
    assert_eq!(sent(ack("a", false, &["s3"])), (false, Some((None, vec!["s3".to_owned()]))));
}

#[test]
fn import_of_what_exists_changes_nothing() {
    for value in [
        argo(admin(&["a"])),
        json!({"name": "kro", "type": "Kro", "roleArn": "arn:aws:iam::123456789012:role/kro"}),
        json!({
            "name": "ack", "type": "Ack", "roleArn": "arn:aws:iam::123456789012:role/ack",
            "configuration": {"ack": {"disabledServices": ["iam"]}},
        }),
    ] {
        let found = described(&spec(value.clone()));
        let imported = imported(&found).unwrap();
        assert_eq!(Settings::of(&found).differences(&imported), [], "{value}");
    }
    let unknown = Capability::builder().capability_name("x").r#type(Kind::from("LATER")).role_arn("arn").build();
    assert!(imported(&unknown).is_none());
}
