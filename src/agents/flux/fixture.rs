//! Inputs for tests of the builders.

use std::time::Duration;

use k8s_openapi::ByteString;

use super::input::{Component, Decryption, FluxInput, REGISTRY, Version};
use super::source::{GitSource, GitVerification, OciSource, OciVerification, Source, SourceKind};
use crate::agents::shared_input::{Facts, GitRef, KarpenterFacts, OciRef, SecretCopy, SecretData};
use crate::agents::validate_source::{self, SourcePolicy};

pub const SECRET_TEXT: &str = "s3cr3t-t3xt";

pub fn input() -> FluxInput {
    FluxInput {
        version: None,
        installs: Some(Version::NEWEST),
        keeps_version: false,
        takes_over: false,
        components: Component::ALL.into(),
        registry: REGISTRY.into(),
        image_pull_secret: None,
        source: git(|_| ()),
        path: "clusters/demo".into(),
        interval: Duration::from_secs(600),
        prune: true,
        decryption: None,
        facts: None,
        source_identity: None,
        host_network: None,
        source_leaves_first: false,
    }
}

/// A Git source with a change.
pub fn git(change: impl FnOnce(&mut GitSource)) -> Source {
    let mut git = GitSource {
        url: validate_source::url("https://github.com/acme/fleet", SourcePolicy::default()).unwrap(),
        reference: GitRef::Branch("main".into()),
        secret: None,
        verify: None,
        sparse_checkout: Vec::new(),
        recurse_submodules: false,
    };
    change(&mut git);
    Source {
        interval: Duration::from_secs(60),
        timeout: None,
        proxy_secret: None,
        kind: SourceKind::Git(git),
        held_at: None,
    }
}

/// An OCI source with a change.
pub fn oci(change: impl FnOnce(&mut OciSource)) -> Source {
    let mut oci = OciSource {
        url: validate_source::oci_url("oci://ghcr.io/acme/fleet", SourcePolicy::default()).unwrap(),
        reference: OciRef::Tag("prod".into()),
        aws: false,
        secret: None,
        cert_secret: None,
        verify: None,
    };
    change(&mut oci);
    Source {
        interval: Duration::from_secs(60),
        timeout: None,
        proxy_secret: None,
        kind: SourceKind::Oci(oci),
        held_at: None,
    }
}

/// An OCI source with a Secret of every kind.
pub fn full_oci() -> Source {
    let mut source = oci(|oci| {
        oci.secret = Some(SecretCopy { kind: "kubernetes.io/dockerconfigjson".into(), ..secret("registry") });
        oci.cert_secret = Some(secret("registry-ca"));
        oci.verify =
            Some(OciVerification { provider: "cosign".into(), keys: Some(secret("signers")), identities: Vec::new() });
    });
    source.proxy_secret = Some(secret("egress-proxy"));
    source
}

pub fn full_input() -> FluxInput {
    let known = |text: &str| Some(text.to_owned());
    let mut input = input();
    input.image_pull_secret =
        Some(SecretCopy { kind: "kubernetes.io/dockerconfigjson".into(), ..secret("mirror-credentials") });
    input.source = git(|git| {
        git.url = validate_source::url("ssh://git@github.com/acme/fleet", SourcePolicy::default()).unwrap();
        git.secret = Some(data(&["identity", "known_hosts"]));
        git.verify = Some(GitVerification { mode: "HEAD", keys: secret("authors") });
    });
    input.source.proxy_secret = Some(secret("egress-proxy"));
    input.decryption = Some(Decryption { provider: "sops".into(), secret: Some(secret("sops-age")) });
    input.facts = Some(Facts {
        cluster_name: "demo".into(),
        aws_region: "eu-west-1".into(),
        aws_account_id: "123456789012".into(),
        vpc_id: known("vpc-1"),
        private_subnet_ids: vec!["subnet-1".into(), "subnet-2".into()],
        public_subnet_ids: vec!["subnet-3".into()],
        pod_subnet_ids: vec!["subnet-4".into()],
        pod_subnet_zones: vec!["eu-west-1a".into()],
        oidc_issuer: known("https://oidc.eks.eu-west-1.amazonaws.com/id/ABC"),
        oidc_provider_arn: known("arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"),
        cluster_endpoint: known("https://ABC.gr7.eu-west-1.eks.amazonaws.com"),
        cluster_security_group_id: known("sg-1"),
        node_role_arn: known("arn:aws:iam::123456789012:role/demo-node"),
        kubernetes_version: known("1.34"),
        karpenter: Some(KarpenterFacts {
            node_role_name: known("demo-node"),
            subnet_selector_terms: known(r#"[{"id":"subnet-1"},{"id":"subnet-2"}]"#),
            interruption_queue: "keelson-demo-karpenter".into(),
        }),
    });
    input
}

pub fn data(keys: &[&str]) -> SecretData {
    SecretData(keys.iter().map(|key| ((*key).to_owned(), ByteString(SECRET_TEXT.as_bytes().to_vec()))).collect())
}

pub fn secret(name: &str) -> SecretCopy {
    SecretCopy { name: name.into(), kind: "Opaque".into(), data: data(&["key"]) }
}
