//! Manifests, remarks and commands for states in the likeness of real ones. `e2e/tests/test_import_terraform.py` shows that applying such
//! manifests only adopts.

use serde_json::{Value, json};

use super::*;

const MODULE: &str = include_str!("testdata/module.json");
const STATE_FILE: &str = include_str!("testdata/state_file.json");
const FLEET: &str = include_str!("testdata/fleet.json");

fn placing() -> ObjectPlacement {
    ObjectPlacement { namespace: Some("team".into()), account_ref: Some("prod".into()) }
}

fn converted(text: &str, name: Option<&str>) -> Converted {
    let converted = convert(text, name, &placing()).unwrap();
    crate::cli::plan::check(&converted.manifest).unwrap();
    converted
}

fn error(text: &str, name: Option<&str>) -> String {
    format!("{:#}", convert(text, name, &placing()).map(|_| ()).unwrap_err())
}

/// The state with one change.
fn edited(text: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut state: Value = serde_json::from_str(text).unwrap();
    edit(&mut state);
    state.to_string()
}

/// The addresses that Terraform is to forget, as the shell passes them.
fn forgotten(next: &str) -> Vec<String> {
    let command = next.split("terraform state rm \\\n").nth(1).unwrap().split("\n4. ").next().unwrap();
    let script = format!("for one in {command}\ndo printf '%s\\n' \"$one\"; done");
    let shown = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    String::from_utf8(shown.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn state_of_the_eks_module_is_converted() {
    let Converted { manifest, remarks, next } = converted(MODULE, None);
    insta::assert_snapshot!("module", manifest);
    insta::assert_snapshot!("module_next", format!("{}\n\n{next}", remarks.join("\n")));
}

#[test]
fn state_file_with_other_resources_is_converted() {
    let Converted { manifest, remarks, next } = converted(STATE_FILE, None);
    insta::assert_snapshot!("state_file", manifest);
    insta::assert_snapshot!("state_file_next", format!("{}\n\n{next}", remarks.join("\n")));
}

#[test]
fn several_clusters_are_converted_or_one_by_its_name() {
    let Converted { manifest, next, .. } = converted(FLEET, None);
    insta::assert_snapshot!("fleet", manifest);
    assert_eq!(forgotten(&next).len(), 6);
    let Converted { manifest, next, .. } = converted(FLEET, Some("shop-green"));
    assert_eq!(manifest.matches("kind: EksCluster").count(), 1);
    assert_eq!(
        forgotten(&next),
        [
            r#"module.fleet["green"].module.eks.aws_eks_addon.this["coredns"]"#,
            r#"module.fleet["green"].module.eks.module.nodes["a.b"].aws_eks_node_group.this[0]"#,
            r#"module.fleet["green"].module.eks.aws_eks_cluster.this[0]"#,
        ]
    );
    // What its block declares for the other cluster would be destroyed.
    assert!(next.contains("module.fleet: keep its block. It also holds 3 resources"), "{next}");
    assert!(error(FLEET, Some("shop")).contains("holds no cluster shop; it holds shop-blue, shop-green"));
}

#[test]
fn terraform_forgets_only_what_the_manifest_has() {
    let addresses = forgotten(&converted(STATE_FILE, None).next);
    for kept in
        ["aws_eks_access_entry.nodes", "aws_eks_access_policy_association.creator", "aws_cloudwatch_log_group.eks"]
    {
        assert!(!addresses.iter().any(|address| address == kept), "{kept}");
    }
    assert!(addresses.contains(&r#"aws_eks_node_group.batch["it's \"spot\""]"#.to_owned()), "{addresses:?}");
    assert_eq!(
        addresses.last().map(String::as_str),
        Some("aws_eks_cluster.batch"),
        "nothing refers to what comes last"
    );
}

#[test]
fn secrets_of_the_state_are_never_printed() {
    for text in [MODULE, STATE_FILE] {
        let Converted { manifest, remarks, next } = converted(text, None);
        assert!(text.contains("hunter2"));
        assert!(!format!("{manifest}{remarks:?}{next}").contains("hunter2"));
    }
    let text = edited(MODULE, |state| {
        let group = state.pointer_mut("/values/root_module/child_modules/0/resources/0").unwrap();
        group["sensitive_values"] = json!({"vpc_config": [{"subnet_ids": true}]});
    });
    let error = error(&text, None);
    assert!(error.contains("vpc_config: is marked as sensitive") && error.contains("keelson import --name"), "{error}");
}

#[test]
fn other_states_are_refused_with_what_to_do() {
    let no_cluster = json!({"format_version": "1.0", "values": {"root_module": {"resources": []}}}).to_string();
    assert!(error(&no_cluster, None).contains("holds no aws_eks_cluster"));
    let same = FLEET.replace("shop-green", "shop-blue");
    assert!(error(&same, None).contains("two clusters named shop-blue"));
    let owned =
        MODULE.replace("\"team\": \"payments\"", "\"keelson.dev/owner\": \"u\", \"keelson.dev/cluster\": \"a/b\"");
    assert!(error(&owned, None).contains("belongs to a/b (UID u)"));
    let half = edited(MODULE, |state| {
        let cluster = state.pointer_mut("/values/root_module/child_modules/0/resources/0/values").unwrap();
        cluster["role_arn"] = json!(null);
    });
    assert!(error(&half, None).contains("role_arn: is missing in the state"));
}

/// The resources of the module.
fn resources(state: &mut Value) -> &mut Vec<Value> {
    state.pointer_mut("/values/root_module/child_modules/0/resources").and_then(Value::as_array_mut).unwrap()
}

/// The state of the module with one more resource of its cluster.
fn with_resource(type_: &str, values: &Value) -> String {
    edited(MODULE, |state| {
        let address = format!("module.eks.{type_}.this[0]");
        let mut values = values.clone();
        values["cluster_name"] = json!("payments");
        resources(state).push(json!({"address": address, "mode": "managed", "type": type_, "values": values}));
    })
}

fn spec_of_cluster(manifest: &str) -> Value {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).unwrap();
    documents.into_iter().find(|one| one["kind"] == "EksCluster").unwrap()["spec"].take()
}

#[test]
fn cluster_of_an_older_provider_keeps_its_config_map() {
    let text = edited(MODULE, |state| {
        resources(state).retain(|one| !one["type"].as_str().unwrap().starts_with("aws_eks_access_"));
        resources(state)[0]["values"]["access_config"] = json!([]);
    });
    let Converted { manifest, remarks, .. } = converted(&text, None);
    assert_eq!(spec_of_cluster(&manifest)["access"]["authenticationMode"], "ConfigMap");
    assert!(remarks.join("\n").contains("access_config: is not in the state"), "{remarks:?}");
    assert!(!converted(MODULE, None).remarks.join("\n").contains("access_config"));
}

#[test]
fn cluster_with_entries_and_no_mode_in_the_state_keeps_both() {
    let text = edited(MODULE, |state| resources(state)[0]["values"]["access_config"] = json!([]));
    let Converted { manifest, remarks, .. } = converted(&text, None);
    assert_eq!(spec_of_cluster(&manifest)["access"]["authenticationMode"], "ApiAndConfigMap");
    assert!(remarks.join("\n").contains("ApiAndConfigMap, as the state has access entries"), "{remarks:?}");
}

#[test]
fn mapping_without_the_type_of_an_identity_is_reported() {
    let argo = json!({
        "namespace": "argocd",
        "aws_idc": [{"idc_instance_arn": "arn:aws:sso:::instance/ssoins-0123456789abcdef"}],
        "rbac_role_mapping": [{"role": "ADMIN", "identity": [{"id": "0a-1"}]}],
    });
    let values = json!({"capability_name": "argocd", "type": "ARGOCD", "configuration": [{"argo_cd": [argo]}],
                        "role_arn": "arn:aws:iam::111122223333:role/argocd"});
    let remarks = converted(&with_resource("aws_eks_capability", &values), None).remarks.join("\n");
    assert!(remarks.contains("rbac_role_mapping[0]: lacks a role, or an identity's id or type"), "{remarks}");
}

#[test]
fn identity_provider_and_capability_are_adopted() {
    let oidc = json!({"identity_provider_config_name": "corp", "issuer_url": "https://login.example.com", "client_id": "k8s",
                      "groups_claim": "groups", "groups_prefix": "", "required_claims": {"tenant": "a"}});
    let Converted { manifest, remarks, next } =
        converted(&with_resource("aws_eks_identity_provider_config", &json!({"oidc": [oidc]})), None);
    assert_eq!(
        spec_of_cluster(&manifest)["access"]["oidcIdentityProvider"],
        json!({"name": "corp", "issuerUrl": "https://login.example.com", "clientId": "k8s", "groupsClaim": "groups",
               "requiredClaims": {"tenant": "a"}})
    );
    assert!(!remarks.join("\n").contains("oidc"), "{remarks:?}");
    assert!(forgotten(&next).contains(&"module.eks.aws_eks_identity_provider_config.this[0]".to_owned()), "{next}");

    let center = "arn:aws:sso:::instance/ssoins-0123456789abcdef";
    let argo = json!({
        "namespace": "argocd", "server_url": "https://x", "network_access": [],
        "aws_idc": [{"idc_instance_arn": center, "idc_region": "eu-west-1", "idc_managed_application_arn": "x"}],
        "rbac_role_mapping": [{"role": "ADMIN", "identity": [{"id": "0a-1", "type": "SSO_GROUP"}]}],
    });
    let values = json!({
        "arn": "x", "capability_name": "argocd", "type": "ARGOCD", "version": "v3", "delete_propagation_policy": "RETAIN",
        "role_arn": "arn:aws:iam::111122223333:role/argocd", "configuration": [{"argo_cd": [argo]}],
    });
    let Converted { manifest, remarks, next } = converted(&with_resource("aws_eks_capability", &values), None);
    let capability = &spec_of_cluster(&manifest)["capabilities"][0];
    assert_eq!((&capability["name"], &capability["type"]), (&json!("argocd"), &json!("ArgoCd")));
    let argo = &capability["configuration"]["argoCd"];
    assert_eq!(argo["awsIdc"], json!({"idcInstanceArn": center, "idcRegion": "eu-west-1"}));
    let mapping = json!({"role": "Admin", "identities": [{"id": "0a-1", "type": "SsoGroup"}]});
    assert_eq!(argo["rbacRoleMappings"], json!([mapping]));
    assert!(!remarks.join("\n").contains("aws_eks_capability"), "{remarks:?}");
    assert!(forgotten(&next).contains(&"module.eks.aws_eks_capability.this[0]".to_owned()), "{next}");
}

#[test]
fn tags_of_parts_are_named_unless_the_cluster_has_them() {
    let identity = |tags: Value| {
        let role = "arn:aws:iam::111122223333:role/a";
        json!({"namespace": "a", "service_account": "b", "role_arn": role, "association_id": "a-1", "tags_all": tags})
    };
    let remarks = |tags| {
        let text = with_resource("aws_eks_pod_identity_association", &identity(tags));
        converted(&text, None).remarks.join("\n")
    };
    assert!(remarks(json!({"cost": "7"})).contains("this[0].tags: cost=7 stay as they are"));
    assert!(!remarks(json!({"team": "payments"})).contains("aws_eks_pod_identity_association"));
}
