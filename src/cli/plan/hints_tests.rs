//! Tests of the hints.

use super::*;
use crate::cli::plan::manifest::Manifest;
use crate::controllers::account::Grant;

const GROUP: &str = "---\napiVersion: keelson.dev/v1alpha1\nkind: NodeGroup\nmetadata: {name: g}\nspec: {clusterRef: {name: demo}, \
                     scaling: {min: 1, max: 2}";
const GIT: &str = "gitops: {flux: {path: a, source: {git: {url: 'https://example.com/a', ref: {branch: main}}}}}";

fn of_manifest(spec: &str, rest: &str) -> Vec<Hint> {
    let cluster = format!(
        "apiVersion: keelson.dev/v1alpha1\nkind: EksCluster\nmetadata: {{name: demo}}\nspec: {{region: eu-west-1, version: \
         \"1.34\"{spec}}}\n"
    );
    let manifest = Manifest::parse(&format!("{cluster}{rest}")).unwrap();
    let (cluster, groups) = (&manifest.clusters[0], manifest.groups.iter().collect());
    hints(&ManifestCluster { cluster, groups, grant: Grant::ambient(), exists: manifest.exists(cluster) })
}

fn texts(hints: Vec<Hint>) -> Vec<String> {
    hints.into_iter().map(|hint| format!("{}: {}", hint.message, hint.advice)).collect()
}

fn of(spec: &str, group: &str) -> Vec<String> {
    texts(of_manifest(spec, &format!("{GROUP}{group}}}\n")))
}

fn oci(fields: &str) -> String {
    format!("gitops: {{flux: {{path: a, {fields}source: {{oci: {{url: 'oci://example.com/a', ref: {{tag: a}}}}}}}}}}")
}

const CODE: &str = "gitops: {flux: {path: a, registry: example.com/flux, source: {git: {url: \
                    'https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/a', ref: {branch: main}}}}}";

#[test]
fn usual_clusters_get_no_hints() {
    let closed = "network: {vpc: {nat: None, endpoints: [private]}}";
    let public = "network: {vpc: {nat: None, publicSubnets: true}}";
    let mirrored = oci("registry: example.com/flux, ");
    for (spec, group) in [
        ("", ""),
        (format!(", {GIT}").as_str(), ""),
        (format!(", {public}").as_str(), ", subnets: {tier: Public}"),
        (format!(", {public}, {GIT}").as_str(), ", subnets: {tier: Public}"),
        (format!(", {closed}").as_str(), ""),
        (", network: {vpc: {nat: None, endpoints: [ec2, ecr.api, ecr.dkr, s3]}}", ""),
        (", endpointAccess: {public: false}", ""),
        (format!(", {closed}, {mirrored}").as_str(), ""),
        (format!(", network: {{vpc: {{nat: None, endpoints: [private, git-codecommit]}}}}, {CODE}").as_str(), ""),
        (format!(", {GIT}, addons: [{{name: coredns}}]").as_str(), ""),
        (
            ", addons: [{name: coredns}], capabilities: [{name: argocd, type: ArgoCd, roleArn: \
             'arn:aws:iam::111122223333:role/argocd', configuration: {argoCd: {awsIdc: {idcInstanceArn: \
             'arn:aws:sso:::instance/ssoins-0123456789abcdef'}}}}]",
            "",
        ),
    ] {
        assert_eq!(of(spec, group), Vec::<String>::new(), "{spec}");
    }
    let auto = ", addons: [], autoMode: {nodePools: [system]}";
    assert_eq!(texts(of_manifest(auto, "")), Vec::<String>::new());
}

#[test]
fn what_will_not_work_is_named_with_what_to_do() {
    let identity = "podIdentities: [{namespace: a, serviceAccount: b, roleArn: 'arn:aws:iam::111122223333:role/x'}]";
    let closed = "network: {vpc: {nat: None, endpoints: [private]}}";
    let auto = "autoMode: {nodePools: [system]}";
    let by_route = "the agent reaches its Git repository only by a route of yours";
    for (spec, words) in [
        (
            ", network: {vpc: {nat: None, endpoints: [s3]}}",
            "no endpoints of ec2, ecr.api, ecr.dkr: nodes pull no images",
        ),
        (", network: {vpc: {nat: None}}, kubernetesNetwork: {ipFamily: IPv6}", "nodes pull no images"),
        (", addons: [{name: coredns}]", "nodes stay NotReady"),
        (format!(", addons: [{{name: coredns}}], {auto}").as_str(), "nodes stay NotReady"),
        (format!(", addons: [{{name: vpc-cni}}], {identity}").as_str(), "podIdentities of a/b: without the agent"),
        (
            format!(", addons: [{{name: vpc-cni}}], {auto}, {identity}").as_str(),
            "podIdentities of a/b: without the agent",
        ),
        (
            format!(", {auto}, access: {{authenticationMode: ConfigMap}}").as_str(),
            "nodes of EKS Auto Mode join with an access entry",
        ),
        (format!(", endpointAccess: {{public: false}}, {GIT}").as_str(), "the operator installs the agent through it"),
        (format!(", {closed}, {GIT}").as_str(), by_route),
        (format!(", {closed}, {CODE}").as_str(), by_route),
        (format!(", {closed}, {}", oci("")).as_str(), "nodes pull the agent's images from ghcr.io/fluxcd only by"),
    ] {
        let found = of(spec, "");
        assert!(found.len() == 1 && found[0].contains(words), "{spec}: {found:?}");
    }
}

#[test]
fn private_endpoint_is_a_note() {
    let found = of_manifest(&format!(", endpointAccess: {{public: false}}, {GIT}"), "");
    assert!(found.len() == 1 && found[0].is_note, "{found:?}");
}

#[test]
fn clusters_that_exist_or_are_adopted_get_no_hints() {
    let adopted = ", adoptionPolicy: Adopt, addons: [{name: coredns}]";
    assert_eq!(of(adopted, ""), Vec::<String>::new());
    let existing = format!("status: {{version: \"1.34\"}}\n{GROUP}}}\n");
    assert_eq!(texts(of_manifest(", addons: [{name: coredns}]", &existing)), Vec::<String>::new());
}
