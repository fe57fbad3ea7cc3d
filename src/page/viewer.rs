//! What somebody who looks at the page may see. Every view asks it for each object. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::id::{Id, Kind};

/// Somebody who looks at the page. Each of their streams has a copy, and all share the sets of namespaces.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// Where EksClusters are shown.
    clusters: Scope,
    /// Where NodeGroups are shown.
    groups: Scope,
    /// Whether AwsAccounts are shown, which have no namespace.
    accounts: bool,
    /// Whether FleetRollouts are shown, which have none either.
    rollouts: bool,
    /// The namespaces that the API server was asked about.
    known: Arc<BTreeSet<String>>,
    /// Who has signed in on the page, and can sign out there.
    session_user: String,
}

/// The namespaces in which objects of a kind are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Of(Arc<BTreeSet<String>>),
}

impl Scope {
    fn of_all(is_allowed: bool) -> Self {
        if is_allowed { Self::All } else { Self::Of(Arc::default()) }
    }

    fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(namespaces) => namespaces.contains(namespace),
        }
    }
}

impl Viewer {
    /// Who may see all that the page could read, as with one's own kubeconfig.
    pub fn of_everything() -> Self {
        Self::with_rights(|_| true)
    }

    /// Who may see the objects of the kinds that `is_allowed` in the whole cluster, and so far nothing else.
    pub fn with_rights(is_allowed: impl Fn(Kind) -> bool) -> Self {
        Self {
            clusters: Scope::of_all(is_allowed(Kind::EksCluster)),
            groups: Scope::of_all(is_allowed(Kind::NodeGroup)),
            accounts: is_allowed(Kind::AwsAccount),
            rollouts: is_allowed(Kind::FleetRollout),
            known: Arc::default(),
            session_user: String::new(),
        }
    }

    /// Who may see what is in these namespaces.
    #[cfg(test)]
    pub fn of_namespaces(namespaces: &[&str]) -> Self {
        let mut viewer = Self::with_rights(|_| false);
        for namespace in namespaces {
            viewer.allow(Kind::EksCluster, namespace);
            viewer.allow(Kind::NodeGroup, namespace);
        }
        viewer
    }

    /// Shows the objects of a kind in a namespace.
    pub fn allow(&mut self, kind: Kind, namespace: &str) {
        let scope = match kind {
            Kind::EksCluster => &mut self.clusters,
            Kind::NodeGroup => &mut self.groups,
            Kind::AwsAccount | Kind::FleetRollout => return,
        };
        if let Scope::Of(namespaces) = scope {
            Arc::make_mut(namespaces).insert(namespace.to_owned());
        }
    }

    /// The API server has said all about that namespace.
    pub fn complete(&mut self, namespace: &str) {
        Arc::make_mut(&mut self.known).insert(namespace.to_owned());
    }

    /// Whether it is known what is shown of the namespace.
    pub fn knows(&self, namespace: &str) -> bool {
        self.missing_kinds().is_empty() || self.known.contains(namespace)
    }

    /// The kinds in namespaces that are not shown in all of them.
    pub fn missing_kinds(&self) -> Vec<Kind> {
        let all = [(Kind::EksCluster, &self.clusters), (Kind::NodeGroup, &self.groups)];
        all.into_iter().filter(|(_, scope)| **scope != Scope::All).map(|(kind, _)| kind).collect()
    }

    /// The same, who has signed in on the page as that user.
    #[must_use]
    pub fn signed_in_as(self, user: &str) -> Self {
        Self { session_user: user.to_owned(), ..self }
    }

    /// Who has signed in on the page; empty: nobody has, or something else did it.
    pub fn session_user(&self) -> &str {
        &self.session_user
    }

    /// Whether the object is shown.
    pub fn may_see(&self, id: &Id) -> bool {
        match id.kind {
            Kind::EksCluster => self.clusters.contains(&id.namespace),
            Kind::NodeGroup => self.groups.contains(&id.namespace),
            Kind::AwsAccount => self.accounts,
            Kind::FleetRollout => self.rollouts,
        }
    }

    /// Whether EksClusters of the namespace are shown.
    pub fn may_see_namespace(&self, namespace: &str) -> bool {
        self.clusters.contains(namespace)
    }

    /// Whether both are shown the same.
    pub fn sees_the_same_as(&self, other: &Self) -> bool {
        let Self { clusters, groups, accounts, rollouts, known: _, session_user: _ } = self;
        (clusters, groups, *accounts, *rollouts) == (&other.clusters, &other.groups, other.accounts, other.rollouts)
    }

    /// Whether nothing at all is shown.
    pub fn sees_nothing(&self) -> bool {
        let is_none = |scope: &Scope| matches!(scope, Scope::Of(namespaces) if namespaces.is_empty());
        is_none(&self.clusters) && is_none(&self.groups) && !self.accounts && !self.rollouts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_rights_of_its_own() {
        let mut viewer = Viewer::with_rights(|kind| kind == Kind::FleetRollout);
        assert!(!viewer.sees_nothing() && !viewer.knows("team-a"));
        viewer.allow(Kind::EksCluster, "team-a");
        viewer.complete("team-a");
        assert!(viewer.knows("team-a") && !viewer.knows("team-b"));
        let sees = |kind, namespace| viewer.may_see(&Id::new(kind, namespace, "x"));
        assert!(sees(Kind::EksCluster, "team-a") && sees(Kind::FleetRollout, ""));
        for (kind, namespace) in [(Kind::NodeGroup, "team-a"), (Kind::EksCluster, "team-b"), (Kind::AwsAccount, "")] {
            assert!(!sees(kind, namespace), "{kind:?} in {namespace}");
        }
        assert_eq!(viewer.missing_kinds(), [Kind::EksCluster, Kind::NodeGroup]);
        let before = viewer.clone();
        viewer.complete("team-b");
        assert!(viewer.sees_the_same_as(&before), "a namespace of others changes nothing");
        viewer.allow(Kind::NodeGroup, "team-a");
        assert!(!viewer.sees_the_same_as(&before));
        assert!(Viewer::of_everything().knows("any") && Viewer::with_rights(|_| false).sees_nothing());
    }
}
