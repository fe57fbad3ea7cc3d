//! The same agent, installed in a cluster by somebody else before the spec asked for it: by Helm, an operator, its own
//! command line. Keelson changes nothing of it unless the spec says so.
//!
//! Not allowed here: which agent. I/O: reads of the workload cluster's API.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::core::params::ListParams;
use serde::Deserialize;

use super::adoption::{AdoptionMarker, MetadataMap, is_applied_by_keelson, metadata_map};
use super::agent::{Agent, Installation};
use super::gitops_condition::Verdict;
use crate::api::conditions::Reason;
use crate::workload::client::Workload;
use crate::workload::error::CallError;
use crate::workload::kept::{first_items, truncated};
use crate::workload::list::{ListFlow, for_each};

/// Objects of an agent in a page: one of each controller.
const PAGE: u32 = 20;
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const HELM_RELEASE: &str = "meta.helm.sh/release-name";

/// An installation that is not Keelson's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherInstallation {
    namespace: String,
    /// What installed it, in the words of its labels or field managers.
    installer: String,
    /// Whether that would undo a takeover.
    is_reconciled: bool,
}

#[derive(Debug, Deserialize)]
struct Found {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default, deserialize_with = "truncated")]
    namespace: String,
    #[serde(default, deserialize_with = "metadata_map")]
    labels: MetadataMap,
    #[serde(default, deserialize_with = "metadata_map")]
    annotations: MetadataMap,
    #[serde(default, deserialize_with = "first_items")]
    managed_fields: Vec<ManagedFieldsEntry>,
}

impl Metadata {
    /// Keelson installed it, or Git has adopted it.
    fn is_known(&self, marker: AdoptionMarker) -> bool {
        self.managed_fields.iter().any(is_applied_by_keelson) || (marker.is_adopted)(&self.labels, &self.annotations)
    }

    fn installer(&self) -> String {
        let by = self.labels.get(MANAGED_BY).cloned();
        match (by, self.annotations.get(HELM_RELEASE)) {
            (Some(by), Some(release)) => format!("{by} (release {release})"),
            (Some(by), None) => by,
            (None, _) => self.field_manager().map_or("somebody else".to_owned(), |manager| format!("{manager:?}")),
        }
    }

    /// The manager of its spec.
    fn field_manager(&self) -> Option<&str> {
        let of_spec = |entry: &&ManagedFieldsEntry| entry.subresource.as_deref().unwrap_or_default().is_empty();
        self.managed_fields.iter().find(of_spec)?.manager.as_deref()
    }
}

/// Finds an installation of `agent` that is neither Keelson's nor Git's. `None` if there is none, or also one of them.
pub async fn find(
    workload: &Workload,
    agent: &dyn Agent,
    marker: AdoptionMarker,
) -> Result<Option<OtherInstallation>, CallError> {
    let Installation { kind, selector, .. } = agent.installation();
    let (mut other, mut is_known) = (None, false);
    let parameters = ListParams::default().labels(selector);
    for_each(&workload.client, kind, None, &parameters, PAGE, |Found { metadata }| {
        if metadata.is_known(marker) {
            is_known = true;
            return ListFlow::Stop;
        }
        let by = metadata.labels.get(MANAGED_BY).map(String::as_str);
        let is_reconciled = by.is_some_and(|by| agent.installers().contains(&by));
        let installer = metadata.installer();
        other.get_or_insert(OtherInstallation { namespace: metadata.namespace, installer, is_reconciled });
        ListFlow::Continue
    })
    .await?;
    Ok(other.filter(|_| !is_known))
}

impl OtherInstallation {
    /// Whether Keelson may take it over in `namespace`, if the spec asks for that.
    pub fn yields(&self, takes_over: bool, namespace: &str) -> bool {
        takes_over && !self.is_reconciled && self.namespace == namespace
    }

    /// The GitOpsReady condition while it stays as it is.
    pub fn verdict(&self, agent: &dyn Agent, namespace: &str) -> Verdict {
        let Self { namespace: at, installer, is_reconciled } = self;
        let found = format!(
            "{} is installed already, in namespace {at}, by {installer}: nothing of it is changed",
            agent.label()
        );
        let field = format!("spec.gitops.{}", agent.name());
        let todo = match is_reconciled {
            true => format!(
                "{installer} would undo a takeover, so remove it there first, without its controllers, and set {field}.takeOver: true"
            ),
            false if at != namespace => {
                format!("uninstall it there, as Keelson installs it in {namespace}, or remove {field}")
            }
            false => format!(
                "set {field}.takeOver: true to let Keelson manage it from now on, after which {installer} must not be used for it; or remove {field}"
            ),
        };
        Verdict::not_ready(Reason::NotOwned, format!("{found}. To go on, {todo}"))
    }
}
