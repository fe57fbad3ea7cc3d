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
