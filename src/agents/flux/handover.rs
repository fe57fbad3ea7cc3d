//! The owner of Flux: Keelson until Git has adopted it, then Git, and nobody for objects that were removed from Git
//! afterwards.
//!
//! Not allowed here: clients and clocks. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::input::{FluxInput, NAMESPACE, Version};
use super::manifests::Install;
use super::observe::{Controller, FluxObject, Metadata, Observation};
use super::status::VERSION_LABEL;
use super::sync::{OF_KUSTOMIZATION, is_adopted};
use crate::agents::roll_up::Health;
use crate::api::listing::first_few;
use crate::workload::memory::Handover;

/// The desired install: the requested version, or once Git has adopted a controller, that controller's version, so that
/// objects missing in Git match it. `None`: nothing, because the installed version is not built in and may not be
/// upgraded yet.
pub fn desired_install<'a>(input: &'a FluxInput, controllers: &[Controller]) -> Option<Install<'a>> {
    let install = |version, only_if_missing| Install { input, version, only_if_missing };
    match adopted_version(controllers).map(Version::parse) {
        None => {
            let installed = controllers.iter().find_map(|controller| controller.metadata.labels.get(VERSION_LABEL));
            let version = match installed.filter(|_| input.keeps_version) {
                Some(installed) => Version::parse(installed),
                None => input.installs,
            };
            version.map(|version| install(version, false))
        }
        Some(Some(of_git)) => Some(install(of_git, false)),
        Some(None) => Some(install(input.installs.unwrap_or(Version::NEWEST), true)),
    }
}

fn adopted_version(controllers: &[Controller]) -> Option<&str> {
    let adopted = controllers.iter().find(|controller| is_adopted(&controller.metadata.labels))?;
    Some(adopted.metadata.labels.get(VERSION_LABEL).map_or("", String::as_str))
}

/// Hash of what Git has adopted. Until the adoption is complete it includes the revision, since each may adopt more.
pub fn progress(observed: &Observation, before: &Handover) -> u64 {
    if !observed.controllers.iter().any(|controller| is_adopted(&controller.metadata.labels)) {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    for Controller { metadata, .. } in &observed.controllers {
        (&metadata.name, is_adopted(&metadata.labels), metadata.labels.get(VERSION_LABEL)).hash(&mut hasher);
    }
    if !before.complete {
        let root = observed.kustomizations.iter().find(|kustomization| kustomization.is_root());
        root.map(|root| &root.status.last_applied_revision).hash(&mut hasher);
    }
    hasher.finish().max(1)
}

/// Whether Git owns the agent: it has adopted every controller and still contains them.
pub fn is_owned_by_git(observed: &Observation) -> bool {
    let of_git = |controller: &Controller| {
        is_adopted(&controller.metadata.labels) && is_in_inventory(observed, "apps", "Deployment", &controller.metadata)
    };
    !observed.controllers.is_empty() && observed.controllers.iter().all(of_git)
}

/// Notes on the owner for users who change the spec or the repository, for the end of the condition's message.
pub fn describe_ownership(observed: &Observation, input: &FluxInput) -> Option<String> {
    let notes: Vec<_> = [describe_objects_removed_from_git(observed), describe_ignored_version(observed, input)]
        .into_iter()
        .flatten()
        .collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn describe_ignored_version(observed: &Observation, input: &FluxInput) -> Option<String> {
    let requested = input.version?.as_str();
    let has = adopted_version(&observed.controllers).filter(|has| *has != requested)?;
    let at = if has.is_empty() { String::new() } else { format!(", at {has}") };
    Some(format!("spec.gitops.flux.version {requested} has no effect: Git owns Flux here{at}"))
}

/// When a file is removed from Git, Flux neither deletes the agent's object nor removes its label.
fn describe_objects_removed_from_git(observed: &Observation) -> Option<String> {
    let controllers = observed.controllers.iter().map(|controller| ("apps", "Deployment", &controller.metadata));
    let source =
        observed.source.iter().map(|source| ("source.toolkit.fluxcd.io", source.kind.as_str(), &source.metadata));
    let root = observed.kustomizations.iter().filter(|kustomization| kustomization.is_root());
    let root = root.map(|root| ("kustomize.toolkit.fluxcd.io", "Kustomization", &root.metadata));
    let mut left: Vec<_> = controllers
        .chain(source)
        .chain(root)
        .filter(|(group, kind, metadata)| {
            is_adopted(&metadata.labels) && !is_in_inventory(observed, group, kind, metadata)
        })
        .map(|(_, kind, metadata)| format!("{kind} {NAMESPACE}/{}", metadata.name))
        .collect();
    left.sort();
    let (named, label) = (first_few(&left, 1), OF_KUSTOMIZATION.0);
    Some(match left.len() {
        0 => return None,
        1 => format!(
            "{named} is no longer in Git and stays unchanged; remove its label {label} to let Keelson manage it again"
        ),
        _ => format!(
            "{named} are no longer in Git and stay unchanged; remove their label {label} to let Keelson manage them again"
        ),
    })
}

/// Whether the Kustomization in the object's labels still applies it. True while that Kustomization is in progress or
/// failing.
fn is_in_inventory(observed: &Observation, group: &str, kind: &str, object: &Metadata) -> bool {
    let Some(name) = object.labels.get(OF_KUSTOMIZATION.0) else { return true };
    let namespace = object.labels.get(OF_KUSTOMIZATION.1).map_or(NAMESPACE, String::as_str);
    let applied_by = |kustomization: &&FluxObject| {
        kustomization.metadata.name == *name && kustomization.metadata.namespace == namespace
    };
    let Some(kustomization) = observed.kustomizations.iter().find(applied_by) else { return false };
    let is_settled = kustomization.health() == Health::Ready
        && kustomization.status.observed_generation >= kustomization.metadata.generation;
    !is_settled || kustomization.status.inventory.contains(&format!("{NAMESPACE}_{}_{group}_{kind}", object.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::flux::fixture;

    fn of_git(version: &str) -> serde_json::Value {
        json!({VERSION_LABEL: version, OF_KUSTOMIZATION.0: "flux-system", OF_KUSTOMIZATION.1: "flux-system"})
    }

    fn controller(name: &str, labels: &serde_json::Value) -> Controller {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}})).unwrap()
    }

    /// Two controllers adopted by Git, and the root Kustomization with this inventory.
    fn observation(ready: &str, inventory: &[&str]) -> Observation {
        let entries: Vec<_> = inventory.iter().map(|id| json!({"id": id, "v": "v1"})).collect();
        let root = json!({
            "metadata": {"name": NAMESPACE, "namespace": NAMESPACE, "labels": {}},
            "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "inventory": {"entries": entries},
                "lastAppliedRevision": "main@sha1:1",
            },
        });
        let controllers = ["helm-controller", "source-controller"].map(|name| controller(name, &of_git("v2.9.5")));
        Observation {
            kustomizations: vec![serde_json::from_value(root).unwrap()],
            controllers: controllers.into(),
            ..Observation::default()
        }
    }

    const BOTH: [&str; 2] =
        ["flux-system_helm-controller_apps_Deployment", "flux-system_source-controller_apps_Deployment"];

    #[test]
    fn requested_version_is_installed_before_adoption() {
        let mut input = fixture::input();
        let owned = [controller("source-controller", &json!({VERSION_LABEL: "v2.9.5"}))];
        assert_eq!(desired_install(&input, &[]).unwrap().version, Version::NEWEST);
        input.installs = Some(Version::V2_7_5);
        let install = desired_install(&input, &owned).unwrap();
        assert_eq!((install.version, install.only_if_missing), (Version::V2_7_5, false));
        input.installs = None;
        assert!(desired_install(&input, &owned).is_none(), "left unchanged");
    }

    #[test]
    fn installed_version_stays_while_no_record_says_what_was_applied() {
        let mut input = fixture::input();
        input.keeps_version = true;
        let mut old = controller("source-controller", &json!({}));
        assert_eq!(desired_install(&input, &[]).unwrap().version, Version::NEWEST, "a first installation");
        old.metadata.labels.insert(VERSION_LABEL.to_owned(), "v2.7.5".to_owned());
        assert_eq!(desired_install(&input, &[old.clone()]).unwrap().version, Version::V2_7_5);
        old.metadata.labels.insert(VERSION_LABEL.to_owned(), "v2.99.0".to_owned());
        assert!(desired_install(&input, &[old]).is_none(), "not built in");
    }

    #[test]
    fn adopted_version_is_installed_after_adoption() {
        let mut input = fixture::input();
        let at =
            |version| [controller("helm-controller", &json!({})), controller("source-controller", &of_git(version))];
        let older = at("v2.7.5");
        let install = desired_install(&input, &older).unwrap();
        assert_eq!((install.version, install.only_if_missing), (Version::V2_7_5, false));
        input.installs = Some(Version::V2_7_5);
        let unknown = at("v2.99.0");
        let install = desired_install(&input, &unknown).unwrap();
        assert_eq!((install.version, install.only_if_missing), (Version::V2_7_5, true));
    }

    #[test]
    fn progress_changes_with_each_step_of_adoption_until_complete() {
        let of = |observed: &Observation, complete| progress(observed, &Handover { progress: 0, complete });
        let all = observation("True", &BOTH);
        let mut none = observation("True", &[]);
        none.controllers.iter_mut().for_each(|controller| controller.metadata.labels.clear());
        assert_eq!(of(&none, false), 0);
        let mut one = observation("True", &BOTH);
        one.controllers[0].metadata.labels.clear();
        assert_ne!(of(&one, false), 0);
        assert_ne!(of(&one, false), of(&all, false));
        let mut later = observation("True", &BOTH);
        later.kustomizations[0].status.last_applied_revision = Some("main@sha1:2".into());
        assert_ne!(of(&all, false), of(&later, false));
        assert_eq!(of(&all, true), of(&later, true));
    }

    #[test]
    fn git_owns_what_it_has_adopted_and_still_contains() {
        assert!(is_owned_by_git(&observation("True", &BOTH)));
        assert!(!is_owned_by_git(&observation("True", &BOTH[..1])));
        // In progress or failing: the inventory is outdated or empty.
        assert!(is_owned_by_git(&observation("False", &[])));
        let mut without_root = observation("True", &BOTH);
        without_root.kustomizations.clear();
        assert!(!is_owned_by_git(&without_root));
        assert!(!is_owned_by_git(&Observation::default()));
    }

    #[test]
    fn ownership_notes_are_reported() {
        let mut input = fixture::input();
        assert_eq!(describe_ownership(&observation("True", &BOTH), &input), None);
        input.version = Some(Version::V2_9_5);
        assert_eq!(describe_ownership(&observation("True", &BOTH), &input), None);
        input.version = Some(Version::V2_7_5);
        insta::assert_snapshot!(describe_ownership(&observation("True", &BOTH), &input).unwrap(), @"spec.gitops.flux.version v2.7.5 has no effect: Git owns Flux here, at v2.9.5");
        let note = |inventory| describe_ownership(&observation("True", inventory), &fixture::input()).unwrap();
        insta::assert_snapshot!(note(&BOTH[1..]), @"Deployment flux-system/helm-controller is no longer in Git and stays unchanged; remove its label kustomize.toolkit.fluxcd.io/name to let Keelson manage it again");
        insta::assert_snapshot!(note(&[]), @"Deployment flux-system/helm-controller and 1 more are no longer in Git and stay unchanged; remove their label kustomize.toolkit.fluxcd.io/name to let Keelson manage them again");
    }
}
