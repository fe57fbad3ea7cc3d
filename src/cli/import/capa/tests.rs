//! Manifests, remarks and commands for objects in the likeness of real ones. `e2e/tests/test_import_capa.py` shows that applying such
//! manifests only adopts.

use super::*;

const OBJECTS: &str = include_str!("testdata/objects.yaml");
const EXISTING_NETWORK: &str = include_str!("testdata/existing_network.yaml");

fn placing() -> ObjectPlacement {
    ObjectPlacement { namespace: Some("team".into()), account_ref: Some("prod".into()) }
}

fn with_account() -> Options {
    Options { account_id: Some("444455556666".into()), ..Options::default() }
}

fn converted(text: &str, options: &Options) -> Converted {
    let converted = convert(text, &placing(), options).unwrap();
    crate::cli::plan::check(&converted.manifest).unwrap();
    converted
}

fn error(text: &str, options: &Options) -> String {
    format!("{:#}", convert(text, &placing(), options).map(|_| ()).unwrap_err())
}

#[test]
fn objects_of_a_management_cluster_are_converted() {
    let Converted { manifest, remarks, next } = converted(OBJECTS, &Options::default());
    insta::assert_snapshot!("objects", manifest);
    insta::assert_snapshot!("objects_next", format!("{}\n\n{next}", remarks.join("\n")));
}

#[test]
fn objects_in_git_with_an_existing_network_are_converted() {
    let Converted { manifest, remarks, next } = converted(EXISTING_NETWORK, &with_account());
    insta::assert_snapshot!("existing_network", manifest);
    insta::assert_snapshot!("existing_network_next", format!("{}\n\n{next}", remarks.join("\n")));
}

#[test]
fn secrets_are_never_printed() {
    let Converted { manifest, remarks, next } = converted(OBJECTS, &Options::default());
    assert!(!format!("{manifest}{remarks:?}{next}").contains("aHVudGVyMg"));
}

#[test]
fn a_cluster_is_selected_by_its_name_in_eks() {
    let both = format!("{OBJECTS}---\n{EXISTING_NETWORK}");
    let named = |name: &str| Options { name: Some(name.into()), ..with_account() };
    let Converted { manifest, next, .. } = converted(&both, &named("default_shop"));
    assert_eq!(manifest.matches("kind: EksCluster").count(), 1);
    assert!(next.contains("machinepool.cluster.x-k8s.io shop-pool") && !next.contains("payments"), "{next}");
    assert_eq!(converted(&both, &with_account()).manifest.matches("kind: EksCluster").count(), 2);
    let error = error(&both, &named("shop"));
    assert!(error.contains("holds no cluster shop; it holds clusters_payments-control-plane, default_shop"), "{error}");
}

#[test]
fn what_only_the_management_cluster_has_is_asked_for() {
    for (from, to, message) in [
        ("subnet-0e5", "shop-subnet-private-a", "network.subnets[0].id: has no id of a subnet"),
        ("  roleName: shop-cluster\n", "", "AWSManagedControlPlane/shop.spec.roleName: is missing"),
        ("  version: v1.33\n", "", "AWSManagedControlPlane/shop.spec.version: is missing"),
        ("  region: us-gov-west-1\n", "", "AWSManagedControlPlane/shop.spec.region: is missing"),
        ("cluster.x-k8s.io/v1beta1", "cluster.x-k8s.io/v1alpha4", "has version v1alpha4"),
        ("  name: shop-old\n", "  name: 'shop;x'\n", "Kubernetes would not accept: MachinePool \"\" \"shop;x\""),
        (
            "  name: shop-old\n",
            "  name: ${CLUSTER_NAME}-old\n",
            "is a template of clusterctl, such as MachinePool ${CLUSTER_NAME}-old",
        ),
        (
            "kind: AWSManagedControlPlane\nmetadata",
            "kind: AWSCluster\nmetadata",
            "holds no AWSManagedControlPlane: pass that of the node groups",
        ),
    ] {
        assert!(EXISTING_NETWORK.contains(from), "{from}");
        let error = error(&EXISTING_NETWORK.replace(from, to), &with_account());
        assert!(error.contains(message), "{error}");
    }
    assert!(error(EXISTING_NETWORK, &Options::default()).contains("add --account-id"));
}

#[test]
fn node_groups_without_what_they_need_are_left_out_with_the_reason() {
    for (from, to, message) in [
        ("  scaling: {minSize: 2, maxSize: 2}\n", "", "spec.scaling: minSize or maxSize is missing"),
        (
            "  roleName: shop-nodes\n",
            "  roleName: shop-nodes\n  awsLaunchTemplate: {}\n",
            "its id is not in the status",
        ),
    ] {
        let Converted { manifest, remarks, .. } = converted(&EXISTING_NETWORK.replace(from, to), &with_account());
        assert!(!manifest.contains("kind: NodeGroup"));
        assert!(remarks.join("\n").contains(message), "{remarks:?}");
    }
}

#[test]
fn nodes_are_in_the_subnets_that_cluster_api_chooses() {
    let subnets = |type_: &str, zones: &str| {
        let from = "availabilityZoneSubnetType: private";
        let text = OBJECTS.replacen(from, type_, 1).replace("failureDomains: [eu-central-1a]", zones);
        let Converted { manifest, .. } = converted(&text, &Options::default());
        let group =
            manifest.split("kind: NodeGroup").skip(1).find(|part| part.contains("clusters_payments-general")).unwrap();
        let of = |id: &&str| group.contains(id);
        ["subnet-0a1", "subnet-0b2", "subnet-0c3", "subnet-0d4"].into_iter().filter(of).collect::<Vec<_>>()
    };
    let zone = "failureDomains: [eu-central-1a]";
    assert_eq!(subnets("availabilityZoneSubnetType: private", zone), ["subnet-0a1"]);
    assert_eq!(subnets("availabilityZoneSubnetType: public", zone), ["subnet-0c3"]);
    assert_eq!(subnets("availabilityZoneSubnetType: all", zone), ["subnet-0a1", "subnet-0c3"]);
    assert_eq!(subnets("availabilityZoneSubnetType: private", "failureDomains: []"), ["subnet-0a1", "subnet-0b2"]);
    assert_eq!(subnets("subnetIDs: [subnet-0d4]", zone), ["subnet-0d4"]);
}

#[test]
fn account_is_that_of_the_identity_that_the_control_plane_names() {
    let identity = |name: &str, account: &str| {
        format!(
            "---\napiVersion: infrastructure.cluster.x-k8s.io/v1beta2\nkind: AWSClusterRoleIdentity\nmetadata: {{name: {name}}}\n\
             spec: {{roleARN: 'arn:aws-us-gov:iam::{account}:role/capa'}}\n"
        )
    };
    let from = "  region: us-gov-west-1\n";
    let named = format!("{from}  identityRef: {{kind: AWSClusterRoleIdentity, name: shop}}\n");
    let text =
        EXISTING_NETWORK.replace(from, &named) + &identity("other", "777788889999") + &identity("shop", "222233334444");
    let Converted { manifest, .. } = converted(&text, &Options::default());
    assert!(manifest.contains("arn:aws-us-gov:iam::222233334444:role/shop-cluster"), "{manifest}");
}

#[test]
fn file_without_a_cluster_says_what_to_pass() {
    let object = |kind: &str| format!("apiVersion: cluster.x-k8s.io/v1beta1\nkind: {kind}\nmetadata: {{name: a}}\n");
    for (kind, message) in [
        ("ClusterClass", "created from this ClusterClass"),
        ("AWSManagedMachinePool", "pass that of the node groups"),
        ("AWSCluster", "only clusters of EKS"),
    ] {
        let error = error(&object(kind), &Options::default());
        assert!(error.contains("holds no AWSManagedControlPlane") && error.contains(message), "{error}");
    }
}

#[test]
fn identity_provider_is_adopted() {
    let from = "  region: us-gov-west-1\n";
    let to = "  oidcIdentityProviderConfig:\n    identityProviderConfigName: corp\n    issuerUrl: https://login.example.com\n    \
              clientId: k8s\n    groupsClaim: groups\n    tags: {a: b}\n";
    let text = EXISTING_NETWORK.replacen(from, &format!("{from}{to}"), 1);
    let Converted { manifest, remarks, .. } = converted(&text, &with_account());
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&manifest).unwrap();
    let expected = serde_json::json!({
        "name": "corp", "issuerUrl": "https://login.example.com", "clientId": "k8s", "groupsClaim": "groups",
    });
    let cluster = documents.iter().find(|one| one["kind"] == "EksCluster").unwrap();
    assert_eq!(cluster["spec"]["access"]["oidcIdentityProvider"], expected);
    let of_it: Vec<_> =
        remarks.iter().flat_map(|one| one.lines()).filter(|line| line.contains("oidcIdentityProviderConfig")).collect();
    assert!(of_it.len() == 1 && of_it[0].contains("oidcIdentityProviderConfig.tags: "), "{of_it:?}");
}

#[test]
fn other_objects_are_named_with_the_reason() {
    let other = |api: &str, kind: &str| format!("---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: a}}\n");
    let text = EXISTING_NETWORK.to_owned()
        + &other("bootstrap.cluster.x-k8s.io/v1beta2", "NodeadmConfig")
        + &other("addons.cluster.x-k8s.io/v1beta1", "ClusterResourceSet")
        + &other("v1", "ConfigMap");
    let remarks = converted(&text, &with_account()).remarks.join("\n");
    for line in [
        "not converted: NodeadmConfig/a: what nodes of a node group use of it",
        "not converted: ClusterResourceSet/a: Keelson installs nothing but an agent",
        "not converted: ConfigMap/a: is no object of Cluster API",
    ] {
        assert!(remarks.contains(line), "{remarks}");
    }
}
