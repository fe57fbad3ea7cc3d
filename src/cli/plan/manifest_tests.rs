//! Tests of the parsing of manifests.

use super::*;

const CLUSTER: &str = "apiVersion: keelson.dev/v1alpha1\nkind: EksCluster\nmetadata: {name: demo}\nspec:\n  \
                       region: eu-west-1\n  version: \"1.34\"\n";

fn refused(text: &str) -> String {
    format!("{:#}", Manifest::parse(text).err().expect("is refused"))
}

#[test]
fn schema_defaults_are_applied() {
    let manifest = Manifest::parse(CLUSTER).unwrap();
    let spec = &manifest.clusters[0].spec;
    assert_eq!(spec.addons.len(), 4);
    assert_eq!(spec.network.vpc.as_ref().unwrap().cidr, "10.0.0.0/16");
    assert_eq!(manifest.clusters[0].namespace().as_deref(), Some("default"));
}

#[test]
fn errors_name_document_and_field() {
    let table: Vec<String> = [
        CLUSTER.replace("region:", "regoin:"),
        CLUSTER.replace("\"1.34\"", "1.34"),
        format!("{CLUSTER}  network: {{vpc: {{zoneCount: many}}}}\n"),
        format!("{CLUSTER}  changePolicy: Sometimes\n"),
        format!("{CLUSTER}  addons: [{{name: coredns}}, {{name: coredns}}]\n"),
        CLUSTER.replace("eu-west-1", "Ireland"),
        format!("{CLUSTER}  network: {{vpc: {{zones: [eu-west-1a, west]}}}}\n"),
        format!("{CLUSTER}  network: {{vpc: {{}}, existing: {{subnetIds: [subnet-1, subnet-2]}}}}\n"),
        format!(
            "{CLUSTER}  access: {{entries: [{{principalArn: \"arn:aws:iam::123456789012:role/a\", policies: \
                 [{{policyArn: \"arn:aws:eks::aws:cluster-access-policy/A\", scope: {{type: Namespace, namespaces: \
                 [\"a b\"]}}}}]}}]}}\n"
        ),
        format!("{CLUSTER}---\napiVersion: keelson.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: x}}\n"),
        format!("{CLUSTER}---\napiVersion: keelson.dev/v1\nkind: EksCluster\nmetadata: {{name: x}}\n"),
        CLUSTER.replace("name: demo", ""),
    ]
    .iter()
    .map(|text| refused(text))
    .collect();
    insta::assert_snapshot!(table.join("\n---\n"));
}

#[test]
fn mistakes_of_all_documents_are_reported_at_once() {
    let typo = CLUSTER.replace("region:", "regoin:");
    let text = format!("{typo}---\n{}---\n{typo}", CLUSTER.replace("demo", "right").replace("eu-west-1", "Ireland"));
    let refused = refused(&text);
    let places: Vec<&str> = refused.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        places,
        [
            "document 1, EksCluster demo:",
            "document 2, EksCluster right:",
            "document 3, EksCluster demo is also in document 1: keep one of them",
        ],
        "{refused}"
    );
    assert!(refused.contains("did you mean \"region\"?"), "{refused}");
}

#[test]
fn objects_of_several_files_belong_together() {
    let group = "apiVersion: keelson.dev/v1alpha1\nkind: NodeGroup\nmetadata: {name: g}\nspec:\n  clusterRef: {name: \
                 demo}\n  scaling: {min: 1, max: 2}\n";
    let mut manifest = Manifest::in_namespace(Some("team"));
    manifest.add_text("a.yaml, ", group, false).unwrap();
    assert_eq!(manifest.missing_clusters(), [("team".to_owned(), "demo".to_owned())].into());
    manifest.add_text("b.yaml, ", CLUSTER, false).unwrap();
    assert!(manifest.missing_clusters().is_empty());
    assert_eq!(manifest.missing_accounts(), ["default".to_owned()].into());
    let twice = manifest.add_text("c.yaml, ", CLUSTER, false).unwrap_err().to_string();
    assert_eq!(twice, "c.yaml, document 1, EksCluster demo is also in b.yaml, document 1: keep one of them");
}

#[test]
fn names_in_messages_are_on_one_line() {
    let text = CLUSTER.replace("name: demo", "name: \"x\\n::error::evil\\e[2J\"");
    let text = text.replace("region:", "\"re\\n::stop-commands::x\":");
    let refused = refused(&text);
    assert!(
        refused.contains("EksCluster x ::error::evil") && refused.contains("re ::stop-commands::x: unknown"),
        "{refused}"
    );
    assert!(!refused.contains('\u{1b}') && !refused.lines().any(|line| line.trim_start().starts_with("::")));
}

#[test]
fn comment_quotes_no_lines_of_a_file() {
    let error = Manifest::parse("root:x:0:0: [password").err().expect("is refused");
    assert!(format!("{error:#}").contains("password"), "the excerpt is for the user who reads the file: {error:#}");
    let text = without_source(&error);
    assert!(text.starts_with("the manifest is not YAML: ") && !text.contains("password"), "{text}");
}

#[test]
fn comment_shows_nothing_that_a_command_for_credentials_prints() {
    let broken = serde_saphyr::from_str::<u8>("token SECRET").unwrap_err();
    let broken = kube::client::AuthError::AuthExecParse(Box::new(broken));
    let error = anyhow::Error::from(kube::Error::Auth(broken)).context("EksCluster default/demo");
    let text = without_source(&error);
    assert!(text.starts_with("EksCluster default/demo: the command that the kubeconfig runs"), "{text}");
    assert!(!text.contains("SECRET"), "{text}");
}

#[test]
fn list_inside_a_list_is_refused() {
    let inner = "{apiVersion: v1, kind: List, items: []}";
    let text = refused(&format!("apiVersion: v1\nkind: List\nitems: [{inner}]\n"));
    assert_eq!(text, "document 1, item 1 is a List inside a List: move its items to the outer one");
}

#[test]
fn other_kinds_are_skipped_with_a_note() {
    let manifest =
        Manifest::parse(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: x}}\n---\n{CLUSTER}")).unwrap();
    assert_eq!(manifest.clusters.len(), 1);
    assert!(manifest.notes[0].contains("Namespace"));
}
