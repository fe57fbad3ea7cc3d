//! Argo CD's install manifest: `deploy/argocd`, embedded compressed, with namespace, interval and known hosts written in.
//!
//! May not enter: a client. No I/O. It is read as a stream, a line an object: what is not asked for is never parsed, and an object lives
//! as long as its caller keeps it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead as _, BufReader};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Value, json};

use super::input::{ArgoCdInput, VERSION};
use super::sync::{CERTIFICATES, MARKER, is_synced, protect, seconds};
use crate::gitops::adoption::AdoptionMarker;
use crate::gitops::apply::OwnershipPolicy;
use crate::gitops::install::{Manifests, Phase};
use crate::gitops::object::{Object, ObjectId};

const INSTALL: &[u8] = include_bytes!("../../../deploy/argocd/install.jsonl.gz");
const CONTROLLER: &str = "argocd-application-controller";
const REPO_SERVER: &str = "argocd-repo-server";

/// What runs: the Deployments and the StatefulSet of the manifest.
pub const COMPONENTS: [&str; 7] = [
    CONTROLLER,
    "argocd-applicationset-controller",
    "argocd-dex-server",
    "argocd-notifications-controller",
    "argocd-redis",
    REPO_SERVER,
    "argocd-server",
];

/// What is to be installed in one cluster.
#[derive(Debug, Clone, Copy)]
pub struct Install<'a> {
    pub input: &'a ArgoCdInput,
    /// Git has adopted one of the parts. Argo CD does not track definitions, so that of these nothing shows whose they are: what Git
    /// does not hold is left as it is from then on, as it goes with the version that Git has.
    pub of_git: bool,
}

/// Differs when other manifests would be applied.
pub fn key(input: &ArgoCdInput) -> u64 {
    let mut hasher = DefaultHasher::new();
    let ArgoCdInput { installs, namespace, repository, path: _, facts: _ } = input;
    (VERSION, installs, namespace, repository.interval, &repository.credentials.known_hosts).hash(&mut hasher);
    hasher.finish()
}

impl Manifests for Install<'_> {
    fn agent(&self) -> String {
        format!("Argo CD {VERSION}")
    }

    fn key(&self) -> u64 {
        key(self.input)
    }

    fn objects(&self, phase: Phase) -> Box<dyn Iterator<Item = Object> + Send + '_> {
        match phase {
            Phase::Namespace => Box::new(namespace(self.input).into_iter()),
            _ => Box::new(objects(self.input, phase)),
        }
    }

    fn policy(&self) -> OwnershipPolicy {
        if self.of_git { OwnershipPolicy::IfMissing(MARKER) } else { OwnershipPolicy::UntilAdopted(MARKER) }
    }

    fn is_synced(&self, id: &ObjectId) -> bool {
        is_synced(id)
    }

    fn marker(&self) -> AdoptionMarker {
        MARKER
    }
}

/// Not part of the manifest, which is written for one that is there.
fn namespace(input: &ArgoCdInput) -> Option<Object> {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": input.namespace}});
    Object::of(body).map(protect)
}

fn objects(input: &ArgoCdInput, phase: Phase) -> impl Iterator<Item = Object> + '_ {
    BufReader::new(GzDecoder::new(INSTALL))
        .lines()
        .map_while(Result::ok)
        .filter(move |line| phase_of(line) == Some(phase))
        .filter_map(|line| serde_json::from_str(&line).ok())
        .filter_map(|body| customize(body, input))
}

/// Told without building what is perhaps not asked for: two of the definitions are most of the manifest.
fn phase_of(line: &str) -> Option<Phase> {
    #[derive(Deserialize)]
    struct Head<'a> {
        kind: &'a str,
    }
    match serde_json::from_str::<Head<'_>>(line).ok()?.kind {
        "CustomResourceDefinition" => Some(Phase::Definitions),
        _ => Some(Phase::Agent),
    }
}

/// `None` for what every pass looks at, and the install does not.
fn customize(mut body: Value, input: &ArgoCdInput) -> Option<Object> {
    let kind = body["kind"].as_str().unwrap_or_default().to_owned();
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    match (kind.as_str(), name.as_str()) {
        ("ConfigMap", CERTIFICATES) => return None,
        ("ClusterRoleBinding", _) => set_subjects(&mut body, &input.namespace),
        ("ConfigMap", "argocd-cm") => set_interval(&mut body["data"], input),
        ("ConfigMap", "argocd-cmd-params-cm") => set_error_grace_period(&mut body["data"], input),
        ("ConfigMap", "argocd-ssh-known-hosts-cm") => add_known_hosts(&mut body["data"]["ssh_known_hosts"], input),
        (_, CONTROLLER | REPO_SERVER) if matches!(kind.as_str(), "StatefulSet" | "Deployment") => {
            // Both read the interval when they start.
            body["spec"]["template"]["metadata"]["annotations"]["keelson.dev/interval"] =
                seconds(input.repository.interval).into();
        }
        _ => {}
    }
    if !matches!(kind.as_str(), "CustomResourceDefinition" | "ClusterRole" | "ClusterRoleBinding") {
        body["metadata"]["namespace"] = input.namespace.as_str().into();
    }
    Object::of(body).map(protect)
}

fn set_subjects(binding: &mut Value, namespace: &str) {
    for subject in binding["subjects"].as_array_mut().into_iter().flatten() {
        subject["namespace"] = namespace.into();
    }
}

/// Argo CD has one interval for all that it follows. Without the time it adds at random, which is for installations of thousands.
fn set_interval(data: &mut Value, input: &ArgoCdInput) {
    data["timeout.reconciliation"] = seconds(input.repository.interval).into();
    data["timeout.reconciliation.jitter"] = "0s".into();
}

/// A repository that cannot be read is told of when the next try fails too, not after three minutes.
fn set_error_grace_period(data: &mut Value, input: &ArgoCdInput) {
    // With its unit, in spite of the name: a plain number is not understood, and three minutes it is.
    data["controller.repo.error.grace.period.seconds"] = seconds(input.repository.interval).into();
}

/// Beside those of the public forges that Argo CD ships: other repositories may be there.
fn add_known_hosts(shipped: &mut Value, input: &ArgoCdInput) {
    if let Some(added) = &input.repository.credentials.known_hosts {
        let before = shipped.as_str().unwrap_or_default().trim_end();
        *shipped = format!("{before}\n{}\n", added.trim()).into();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gitops::argocd::fixture;

    fn all(input: &ArgoCdInput) -> Vec<Object> {
        [Phase::Namespace, Phase::Definitions, Phase::Agent]
            .into_iter()
            .flat_map(|phase| Install { input, of_git: false }.objects(phase).collect::<Vec<_>>())
            .collect()
    }

    fn named<'a>(objects: &'a [Object], kind: &str, name: &str) -> &'a Value {
        &objects.iter().find(|object| object.id.kind == kind && object.id.name == name).unwrap().body
    }

    #[test]
    fn the_whole_manifest_is_installed() {
        let ids: Vec<_> = all(&fixture::input()).into_iter().map(|object| object.id.to_string()).collect();
        insta::assert_yaml_snapshot!(ids);
    }

    #[test]
    fn what_runs_is_what_is_looked_for_in_the_version_that_is_named() {
        let objects = all(&fixture::input());
        let runs = objects.iter().filter(|object| matches!(object.id.kind.as_str(), "Deployment" | "StatefulSet"));
        let runs: BTreeSet<_> = runs.map(|object| object.id.name.as_str()).collect();
        assert_eq!(runs, COMPONENTS.into());
        let controller = named(&objects, "StatefulSet", CONTROLLER);
        let image = controller["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
        assert_eq!(image, format!("quay.io/argoproj/argocd:{VERSION}"));
    }

    #[test]
    fn another_namespace_is_written_in_wherever_one_is_named() {
        let mut input = fixture::input();
        input.namespace = "delivery".into();
        for object in all(&input) {
            let cluster_wide = ["Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"];
            if cluster_wide.contains(&object.id.kind.as_str()) {
                assert_eq!(object.id.namespace, None, "{object:?}");
            } else {
                assert_eq!(object.id.namespace.as_deref(), Some("delivery"), "{object:?}");
            }
            for subject in object.body["subjects"].as_array().into_iter().flatten() {
                assert!(subject["namespace"].as_str().is_none_or(|namespace| namespace == "delivery"), "{object:?}");
            }
        }
    }

    #[test]
    fn argo_cd_deletes_none_of_it() {
        for object in all(&fixture::input()) {
            let options = &object.body["metadata"]["annotations"]["argocd.argoproj.io/sync-options"];
            assert_eq!(options, "Prune=false,Delete=false", "{object:?}");
        }
    }

    #[test]
    fn the_interval_is_where_argo_cd_reads_it_and_restarts_who_reads_it() {
        let objects = all(&fixture::input());
        let settings = &named(&objects, "ConfigMap", "argocd-cm")["data"];
        assert_eq!(settings["timeout.reconciliation"], "60s");
        assert!(settings.as_object().unwrap().len() > 2, "what Argo CD ships is kept");
        let patience = &named(&objects, "ConfigMap", "argocd-cmd-params-cm")["data"];
        assert_eq!(patience["controller.repo.error.grace.period.seconds"], "60s");
        for (kind, name) in [("StatefulSet", CONTROLLER), ("Deployment", REPO_SERVER)] {
            let template = &named(&objects, kind, name)["spec"]["template"]["metadata"];
            assert_eq!(template["annotations"]["keelson.dev/interval"], "60s");
        }
    }

    #[test]
    fn known_hosts_are_added_to_those_that_are_shipped() {
        let hosts = |input: &ArgoCdInput| {
            named(&all(input), "ConfigMap", "argocd-ssh-known-hosts-cm")["data"]["ssh_known_hosts"].to_string()
        };
        let shipped = hosts(&fixture::input());
        assert!(shipped.contains("github.com"));
        let known = hosts(&fixture::full_input());
        assert!(known.contains("github.com") && known.contains(fixture::KNOWN_HOST));
    }

    #[test]
    fn only_what_changes_the_manifests_changes_their_key() {
        let before = key(&fixture::input());
        let mut input = fixture::input();
        input.path = "clusters/other".into();
        input.facts = fixture::full_input().facts;
        assert_eq!(key(&input), before);
        assert_ne!(key(&fixture::full_input()), before);
        input.namespace = "delivery".into();
        assert_ne!(key(&input), before);
    }
}
