//! Which Secrets are copied to the other management cluster, and which of their keys: what the operator would read for
//! the fields that name them. The user who moves may have more permissions than the spec's author. Pure, except for the
//! methods of [`Move`], whose I/O are the APIs of both management clusters.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use super::{Move, checks, copies};
use crate::agents::secret_keys::{Keys, git_keys};
use crate::agents::validate_source::{self, SourcePolicy};
use crate::api::EksClusterSpec;
use crate::api::gitops::{ArgoCd, Decryption, Flux, GitOps, GitSource, OciSource, Source};
use crate::api::reference::SecretReference;
use crate::api::secret_use::{self, SecretUse};
use crate::cli::errors::format_error;

/// A field that names a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    path: String,
    wanted: RequiredKeys,
}

/// What the operator reads of the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RequiredKeys {
    /// The credentials of the Git repository with that URL.
    Git(String),
    /// The keys of that purpose.
    Keys(Keys),
}

impl RequiredKeys {
    fn secret_use(&self) -> SecretUse {
        match self {
            Self::Git(_) => SecretUse::Git,
            Self::Keys(keys) => keys.secret_use(),
        }
    }

    fn keys_of(&self, data: BTreeMap<String, ByteString>) -> Result<BTreeMap<String, ByteString>, String> {
        match self {
            Self::Git(url) => {
                let url =
                    validate_source::url(url, SourcePolicy { allow_http: true }).map_err(|why| why.to_string())?;
                Ok(git_keys(&url, data))
            }
            Self::Keys(keys) => Ok(keys.of(data)),
        }
    }
}

/// The Secrets that a spec names, each with the fields that name it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References(BTreeMap<String, Vec<Field>>);

impl References {
    /// Those of an EksCluster.
    pub fn of(spec: &EksClusterSpec) -> Self {
        let mut found = Self::default();
        let gitops = spec.gitops.as_ref();
        // Destructured, so that the compiler reports an agent whose Secrets are missing here.
        let GitOps { flux, argocd } = gitops.cloned().unwrap_or_default();
        if let Some(flux) = &flux {
            found.flux(flux);
        }
        if let Some(ArgoCd { source, .. }) = &argocd {
            found.source("spec.gitops.argocd.source", source);
        }
        found
    }

    /// How many Secrets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of the first.
    pub fn first(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }

    fn add(&mut self, path: String, reference: Option<&SecretReference>, wanted: RequiredKeys) {
        if let Some(SecretReference { name }) = reference {
            self.0.entry(name.clone()).or_default().push(Field { path, wanted });
        }
    }

    fn add_keys(&mut self, path: String, reference: Option<&SecretReference>, keys: Keys) {
        self.add(path, reference, RequiredKeys::Keys(keys));
    }

    fn flux(&mut self, flux: &Flux) {
        const AT: &str = "spec.gitops.flux";
        self.add_keys(format!("{AT}.imagePullSecretRef"), flux.image_pull_secret_ref.as_ref(), Keys::DockerConfig);
        if let Some(Decryption { provider: _, secret_ref }) = &flux.decryption {
            self.add_keys(format!("{AT}.decryption.secretRef"), secret_ref.as_ref(), Keys::Decryption);
        }
        self.source(&format!("{AT}.source"), &flux.source);
    }

    /// Destructured, so that no field can be forgotten.
    fn source(&mut self, at: &str, source: &Source) {
        let Source { git, oci } = source;
        if let Some(git) = git {
            let GitSource {
                url,
                reference: _,
                interval: _,
                timeout: _,
                sparse_checkout: _,
                recurse_submodules: _,
                secret_ref,
                proxy_secret_ref,
                verify,
            } = git;
            self.add(format!("{at}.git.secretRef"), secret_ref.as_ref(), RequiredKeys::Git(url.clone()));
            self.add_keys(format!("{at}.git.proxySecretRef"), proxy_secret_ref.as_ref(), Keys::Proxy);
            let authors = verify.as_ref().map(|verify| &verify.secret_ref);
            self.add_keys(format!("{at}.git.verify.secretRef"), authors, Keys::Authors);
        }
        if let Some(oci) = oci {
            let OciSource {
                url: _,
                reference: _,
                provider: _,
                interval: _,
                timeout: _,
                secret_ref,
                cert_secret_ref,
                proxy_secret_ref,
                verify,
            } = oci;
            self.add_keys(format!("{at}.oci.secretRef"), secret_ref.as_ref(), Keys::DockerConfig);
            self.add_keys(format!("{at}.oci.certSecretRef"), cert_secret_ref.as_ref(), Keys::Certificates);
            self.add_keys(format!("{at}.oci.proxySecretRef"), proxy_secret_ref.as_ref(), Keys::Proxy);
            if let Some(verify) = verify {
                let signers = if verify.provider == "notation" { Keys::Notation } else { Keys::Cosign };
                self.add_keys(format!("{at}.oci.verify.secretRef"), verify.secret_ref.as_ref(), signers);
            }
        }
    }
}

/// The copy of a Secret with the keys that `fields` use, if its owner allows any of their uses; and what is left out,
/// with the reason.
fn copy(here: &Secret, fields: &[Field]) -> (Option<Secret>, Vec<String>) {
    let (namespace, name) = (here.namespace().unwrap_or_default(), here.name_any());
    let (labels, kind) = (here.metadata.labels.as_ref(), here.type_.as_deref());
    let all = here.data.clone().unwrap_or_default();
    let (mut data, mut left) = (BTreeMap::new(), Vec::new());
    for Field { path, wanted } in fields {
        let allowed = secret_use::check((&namespace, &name), labels, kind, wanted.secret_use());
        match allowed.map_err(|why| why.to_string()).and_then(|()| wanted.keys_of(all.clone())) {
            Ok(keys) => data.extend(keys),
            Err(why) => left.push(format!("not copied for {path}: {why}")),
        }
    }
    let other: Vec<_> = all.keys().filter(|key| !data.contains_key(*key)).map(String::as_str).collect();
    if left.len() < fields.len() && !other.is_empty() {
        left.push(format!("its keys {} are not copied: the fields that name it do not use them", other.join(", ")));
    }
    if data.is_empty() {
        return (None, left);
    }
    // The API server requires keys of some types.
    let is_whole = other.is_empty() || data.contains_key(".dockerconfigjson");
    let type_ = here.type_.clone().filter(|_| is_whole);
    // Annotations may hold the other keys, such as those of the tool that applied it.
    let mut metadata = copies::meta(&name, here.namespace());
    metadata.labels.clone_from(&here.metadata.labels);
    (Some(Secret { metadata, type_, data: Some(data), immutable: here.immutable, string_data: None }), left)
}

impl Move {
    /// Copies the Secrets that a spec names.
    pub(super) async fn secrets(&self, namespace: &str, all: &References, dry_run: bool) -> anyhow::Result<()> {
        for (name, fields) in &all.0 {
            self.secret(namespace, name, fields, dry_run).await?;
        }
        match all.first() {
            Some(name) => self.secret_access(namespace, name).await,
            None => Ok(()),
        }
    }

    /// Copies a Secret. An existing one stays as it is: it may be newer.
    async fn secret(&self, namespace: &str, name: &str, fields: &[Field], dry_run: bool) -> anyhow::Result<()> {
        let at = |client: &kube::Client| Api::<Secret>::namespaced(client.clone(), namespace);
        if at(&self.to).get_opt(name).await?.is_some() {
            return self.say(&format!("Secret {namespace}/{name}: exists"));
        }
        let Some(secret) = at(&self.from).get_opt(name).await? else {
            return self.say(&format!("Secret {namespace}/{name}: does not exist here, so it is not copied"));
        };
        let (copy, left) = copy(&secret, fields);
        for why in left {
            self.say(&format!("Secret {namespace}/{name}: {why}"))?;
        }
        let Some(copy) = copy else { return Ok(()) };
        self.say(&format!("Secret {namespace}/{name}: created there"))?;
        if !dry_run {
            at(&self.to).create(&PostParams::default(), &copy).await?;
        }
        Ok(())
    }

    /// Prints how to permit the operator there to read the Secrets, if it is not permitted.
    async fn secret_access(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        match checks::missing_secret_access(&self.to, &self.operator_namespace, namespace, name).await {
            Ok(None) => Ok(()),
            Ok(Some(command)) => self.say(&format!(
                "Secrets of {namespace}: the operator there may not read them, and the cluster waits until it may. There, \
                 run: {command}"
            )),
            Err(error) => {
                let error = format_error(&error);
                self.say(&format!("Secrets of {namespace}: whether the operator there may read them is unknown: {error}"))
            }
        }
    }
}

#[cfg(test)]
#[path = "copied_secrets_tests.rs"]
mod tests;
