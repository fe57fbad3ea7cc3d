//! What somebody who looks at the page may see. Every view asks it for each object. Pure.

use std::collections::BTreeSet;

use super::id::Id;

/// Somebody who looks at the page.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// The namespaces; `None`: all.
    namespaces: Option<BTreeSet<String>>,
    /// Whether the objects without a namespace are shown: AwsAccounts and FleetRollouts.
    cluster_scoped: bool,
}

impl Viewer {
    /// Who may see all that the page could read, as with one's own kubeconfig.
    pub fn of_everything() -> Self {
        Self { namespaces: None, cluster_scoped: true }
    }

    /// Who may see what is in these namespaces.
    #[cfg(test)]
    pub fn of_namespaces(namespaces: &[&str]) -> Self {
        let namespaces = namespaces.iter().map(|&namespace| namespace.to_owned()).collect();
        Self { namespaces: Some(namespaces), cluster_scoped: false }
    }

    /// Whether the object is shown.
    pub fn may_see(&self, id: &Id) -> bool {
        if id.kind.is_namespaced() { self.may_see_namespace(&id.namespace) } else { self.cluster_scoped }
    }

    /// Whether objects of the namespace are shown.
    pub fn may_see_namespace(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(namespace))
    }
}
