//! `gitops.flux`: the flags of `flux bootstrap` as `spec.gitops.flux`. Pure.

use serde_json::{Value, json};

use crate::api::gitops::{FLUX_COMPONENTS, flux_components};
use crate::cli::import::section::Section;

/// Default of `flux bootstrap`.
const DEFAULT_BRANCH: &str = "main";

/// Flags of what `flux bootstrap` does in Git or at its host, once, and what Keelson does instead.
const OF_BOOTSTRAP: [(&[&str], &str); 3] = [
    (
        &["team", "personal", "visibility", "reconcile", "read-write-key"],
        "configures the repository that `flux bootstrap` creates at its host, and who may use it: the repository must exist, as \
         Keelson creates none; nothing of the cluster depends on it",
    ),
    (
        &[
            "author-name",
            "author-email",
            "commit-message-appendix",
            "gpg-key-id",
            "gpg-key-ring",
            "gpg-passphrase",
            "force",
            "timeout",
            "verbose",
            "kubeconfig",
            "context",
        ],
        "configures the run of `flux bootstrap` and its commits: Keelson runs no bootstrap, and writes nothing to Git",
    ),
    (
        &[
            "token-auth",
            "deploy-token-auth",
            "username",
            "password",
            "private-key-file",
            "secret-name",
            "ssh-key-algorithm",
            "ssh-ecdsa-curve",
            "ssh-rsa-bits",
        ],
        "configures the credentials that `flux bootstrap` creates: in Keelson they are a Secret of yours, which \
         gitops.flux.source.git.secretRef names",
    ),
];
/// Flags of how Flux runs.
/// With the default, which is the same in Keelson.
const OF_CONTROLLERS: [(&str, &str, &str); 9] = [
    ("network-policy", "true", "Keelson installs Flux with network policies: change them in Git"),
    ("watch-all-namespaces", "true", "Flux watches all namespaces"),
    ("log-level", "info", "Flux runs with its default: change it in Git, with a patch of Flux's manifests"),
    (
        "cluster-domain",
        "cluster.local",
        "Flux runs with cluster.local: change it in Git, with a patch of Flux's manifests",
    ),
    ("toleration-keys", "", "change the tolerations in Git, with a patch of Flux's manifests"),
    ("recurse-submodules", "false", "the source has no Git submodules: define a GitRepository of your own in Git"),
    ("registry-creds", "", "name a Secret with them in gitops.flux.imagePullSecretRef"),
    ("ca-file", "", "name a Secret with the CA in gitops.flux.source.git.secretRef"),
    ("ssh-hostname", "", "the source is read by HTTPS: set its URL in gitops.flux.source.git.url"),
];

/// `spec.gitops`.
pub fn gitops(file: &mut Section<'_>) -> Option<Value> {
    let mut gitops = file.section("gitops")?;
    let mut flux = gitops.section("flux")?;
    let provider = flux.some_text("gitProvider").unwrap_or_default();
    let host = match provider.as_str() {
        "github" => "github.com",
        "gitlab" => "gitlab.com",
        _ => {
            flux.leave(&format!(
                "gitProvider {provider:?}: repository URLs are known for github and gitlab only; set gitops.flux.source"
            ));
            return None;
        }
    };
    let Some(mut flags) = flux.section("flags") else {
        flux.report_mistake("flags", "is missing: owner and repository define the source");
        return None;
    };
    let (Some(owner), Some(repository)) = (flags.some_text("owner"), flags.some_text("repository")) else {
        flags.report_mistake("owner", "owner and repository must both be set");
        return None;
    };
    let host = flags.some_text("hostname").unwrap_or_else(|| host.to_owned());
    let branch = flags.some_text("branch").unwrap_or_else(|| DEFAULT_BRANCH.to_owned());
    let url = format!("https://{host}/{owner}/{repository}");
    let mut source = json!({"url": url, "ref": {"branch": branch}});
    if let Some(interval) = flags.some_text("interval") {
        source["interval"] = json!(interval);
    }
    let private = flags.some_text("private").is_none_or(|private| private != "false");
    if private {
        flags.report_difference(
            "private",
            "bootstrap creates a deploy key; Keelson has no write access to Git: for a private repository, set a \
             Secret with credentials in gitops.flux.source.git.secretRef",
        );
    }
    let path = flags.some_text("path").unwrap_or_default();
    let path = path.trim_start_matches("./").trim_matches('/');
    let path = if path.is_empty() { "." } else { path };
    if flags.has("namespace") && flags.text("namespace").is_some_and(|namespace| namespace != "flux-system") {
        flags.report_left_out("namespace", "Keelson installs Flux in flux-system");
    }
    let mut agent = json!({"source": {"git": source}, "path": path});
    if let Some(registry) = flags.some_text("registry") {
        agent["registry"] = json!(registry);
    }
    if let Some(secret) = flags.some_text("image-pull-secret") {
        agent["imagePullSecretRef"] = json!({"name": secret});
        flags.report_difference(
            "image-pull-secret",
            "is read from the EksCluster's own namespace, and copied to the cluster",
        );
    }
    if let Some(components) = components(&mut flags) {
        agent["components"] = json!(components);
    }
    flags.refuse(
        "version",
        "Keelson installs one of its built-in versions of Flux (gitops.flux.version), until Git owns Flux's manifests",
    );
    for (fields, how) in OF_BOOTSTRAP {
        fields.iter().for_each(|field| flags.differ(field, how));
    }
    for (field, same, why) in OF_CONTROLLERS {
        flags.refuse_unless(field, same, why);
    }
    Some(json!({"flux": agent}))
}

/// The controllers that the flags name, if any, limited to those that Keelson supports.
fn components(flags: &mut Section<'_>) -> Option<Vec<String>> {
    let listed = |text: String| text.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>();
    let (named, extra) = (flags.some_text("components").map(listed), flags.some_text("components-extra").map(listed));
    if named.is_none() && extra.is_none() {
        return None;
    }
    let of_flags =
        [("components", named.unwrap_or_else(flux_components)), ("components-extra", extra.unwrap_or_default())];
    // Flux needs these two to follow any source.
    let mut components = vec!["source-controller".to_owned(), "kustomize-controller".to_owned()];
    for (field, names) in of_flags {
        for name in names {
            if !FLUX_COMPONENTS.contains(&name.as_str()) {
                flags.report_left_out(field, format!("{name}: Keelson installs {} only", FLUX_COMPONENTS.join(", ")));
            } else if !components.contains(&name) {
                components.push(name);
            }
        }
    }
    Some(components)
}
