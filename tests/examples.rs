//! The types parse the examples, and fields that this version does not act on are listed.

use keelson::api::gitops::{Agent, GitReference, OciReference, SourceKind};
use keelson::api::network::{ExistingSubnets, NetworkKind, Zones};
use keelson::api::{AwsAccount, EksCluster, NodeGroup, unsupported};
use serde::de::DeserializeOwned;

/// The objects of type `T` in an example; unknown fields fail the test.
fn objects<T: DeserializeOwned + serde::Serialize>(file: &str, kind: &str) -> Vec<T> {
    let text = std::fs::read_to_string(format!("{}/examples/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut found = Vec::new();
    for document in documents.into_iter().filter(|document| document["kind"] == kind) {
        let object: T = serde_json::from_value(document.clone()).unwrap();
        assert_preserved("", &document, &serde_json::to_value(&object).unwrap());
        found.push(object);
    }
    found
}

/// Parsing and serializing preserves all fields: none was skipped.
fn assert_preserved(path: &str, written: &serde_json::Value, read: &serde_json::Value) {
    match (written, read) {
        (serde_json::Value::Object(written), serde_json::Value::Object(read)) => {
            for (key, value) in written {
                let path = format!("{path}.{key}");
                let preserved = read.get(key).unwrap_or_else(|| panic!("{path} is not parsed"));
                assert_preserved(&path, value, preserved);
            }
        }
        (serde_json::Value::Array(written), serde_json::Value::Array(read)) => {
            assert_eq!(written.len(), read.len(), "{path}");
            for (index, (written, read)) in written.iter().zip(read).enumerate() {
                assert_preserved(&format!("{path}[{index}]"), written, read);
            }
        }
        _ => assert_eq!(written, read, "{path}"),
    }
}

#[test]
fn minimal_example_has_a_vpc_default_addons_and_flux() {
    let [cluster]: [EksCluster; 1] = objects("minimal.yaml", "EksCluster").try_into().unwrap();
    assert_eq!(cluster.cluster_name(), "demo");
    assert_eq!(cluster.spec.version().unwrap().to_string(), "1.36");
    let NetworkKind::Vpc(vpc) = cluster.spec.network.kind().unwrap() else {
        panic!("no VPC");
    };
    assert_eq!((vpc.cidr.as_str(), vpc.zones()), ("10.0.0.0/16", Zones::Count(3)));
    assert_eq!(cluster.spec.addons.len(), 4);
    let Some(Agent::Flux(flux)) = cluster.spec.gitops.as_ref().unwrap().agent().unwrap() else {
        panic!("no Flux");
    };
    let SourceKind::Git(git) = flux.source.kind().unwrap() else {
        panic!("no Git source");
    };
    assert_eq!(git.reference.kind().unwrap(), GitReference::Branch("main"));
    assert_eq!(unsupported::of_cluster(&cluster.spec).unwrap().message(), None);

    let [nodes]: [NodeGroup; 1] = objects("minimal.yaml", "NodeGroup").try_into().unwrap();
    assert_eq!((nodes.node_group_name().as_str(), nodes.spec.scaling.initial()), ("demo-default", 2));
    assert_eq!(unsupported::of_node_group(&nodes.spec).message(), None);
}

#[test]
fn example_clusters_may_use_the_default_account() {
    for (account, manifest) in [
        ("account.yaml", "minimal.yaml"),
        ("account.yaml", "existing-network.yaml"),
        ("fleet/management/accounts/default.yaml", "fleet/management/clusters/staging/cluster.yaml"),
        ("fleet/management/accounts/default.yaml", "fleet/management/clusters/production/cluster.yaml"),
    ] {
        let [account]: [AwsAccount; 1] = objects(account, "AwsAccount").try_into().unwrap();
        let [cluster]: [EksCluster; 1] = objects(manifest, "EksCluster").try_into().unwrap();
        assert_eq!(account.metadata.name.as_deref(), Some(cluster.spec.account_name()), "{manifest}");
        let namespace = cluster.metadata.namespace.as_deref().unwrap();
        assert!(account.spec.allows_namespace(namespace) && account.spec.allows_region(&cluster.spec.region));
    }
}

#[test]
fn existing_network_example_has_subnet_ids() {
    let [cluster]: [EksCluster; 1] = objects("existing-network.yaml", "EksCluster").try_into().unwrap();
    let NetworkKind::Existing(existing) = cluster.spec.network.kind().unwrap() else {
        panic!("no existing network");
    };
    assert!(matches!(existing.subnets().unwrap(), ExistingSubnets::Ids(ids) if ids.len() == 2));
    assert_eq!(unsupported::of_cluster(&cluster.spec).unwrap().message(), None);
    let [nodes]: [NodeGroup; 1] = objects("existing-network.yaml", "NodeGroup").try_into().unwrap();
    assert_eq!(unsupported::of_node_group(&nodes.spec).message(), None);
}

#[test]
fn fleet_clusters_have_their_own_path_and_only_supported_fields() {
    for name in ["staging", "production"] {
        let file = format!("fleet/management/clusters/{name}/cluster.yaml");
        let [cluster]: [EksCluster; 1] = objects(&file, "EksCluster").try_into().unwrap();
        assert_eq!(cluster.cluster_name(), name);
        assert_eq!(unsupported::of_cluster(&cluster.spec).unwrap().message(), None);
        let Some(Agent::Flux(flux)) = cluster.spec.gitops.as_ref().unwrap().agent().unwrap() else {
            panic!("no Flux");
        };
        assert_eq!(flux.path, format!("clusters/{name}"));
        let [nodes]: [NodeGroup; 1] = objects(&file, "NodeGroup").try_into().unwrap();
        assert_eq!(nodes.spec.cluster_ref.name, name);
        assert_eq!(unsupported::of_node_group(&nodes.spec).message(), None);
    }
}

#[test]
fn oci_example_uses_a_signed_artifact_in_ecr() {
    let [cluster]: [EksCluster; 1] = objects("oci.yaml", "EksCluster").try_into().unwrap();
    let gitops = cluster.spec.gitops.as_ref().unwrap();
    assert!(gitops.aws_identity().is_some());
    let Some(Agent::Flux(flux)) = gitops.agent().unwrap() else { panic!("no Flux") };
    let SourceKind::Oci(oci) = flux.source.kind().unwrap() else { panic!("no artifact") };
    assert_eq!(oci.reference.kind().unwrap(), OciReference::Tag("prod"));
    assert_eq!(oci.verify.as_ref().unwrap().provider, "cosign");
    assert_eq!(unsupported::of_cluster(&cluster.spec).unwrap().message(), None);
}

#[test]
fn argocd_example_uses_the_cluster_path_and_a_secret() {
    let [cluster]: [EksCluster; 1] = objects("argocd.yaml", "EksCluster").try_into().unwrap();
    let Some(Agent::ArgoCd(argocd)) = cluster.spec.gitops.as_ref().unwrap().agent().unwrap() else {
        panic!("no Argo CD");
    };
    assert_eq!((argocd.namespace.as_str(), argocd.path.as_str()), ("argocd", "clusters/demo"));
    let SourceKind::Git(git) = argocd.source.kind().unwrap() else {
        panic!("no Git source");
    };
    assert_eq!(git.secret_ref.as_ref().unwrap().name, "fleet");
    assert_eq!(unsupported::of_cluster(&cluster.spec).unwrap().message(), None);
}

#[test]
fn full_example_has_only_supported_fields_and_others_are_listed() {
    let [cluster]: [EksCluster; 1] = objects("full.yaml", "EksCluster").try_into().unwrap();
    assert!(cluster.spec.write_kubeconfig_to_secret_ref.is_some());
    assert_eq!(unsupported::of_cluster(&cluster.spec).unwrap().message(), None);
    let [mut spot, tuned, own_role]: [NodeGroup; 3] = objects("full.yaml", "NodeGroup").try_into().unwrap();
    for nodes in [&spot, &tuned, &own_role] {
        assert_eq!(unsupported::of_node_group(&nodes.spec).message(), None);
    }
    spot.spec.role_arn.clone_from(&own_role.spec.role_arn);
    assert_eq!(
        unsupported::of_node_group(&spot.spec).fields(),
        ["spec.additionalRolePolicies together with spec.roleArn"]
    );
}

#[test]
fn account_rejects_unlisted_namespaces_and_regions() {
    let [account]: [AwsAccount; 1] = objects("full.yaml", "AwsAccount").try_into().unwrap();
    assert!(account.spec.allows_namespace("team-payments"));
    assert!(!account.spec.allows_namespace("team"));
    assert!(account.spec.allows_region("eu-west-1"));
    assert!(!account.spec.allows_region("us-east-1"));
}
