//! The kinds that the page shows, how an object is named, and its address on the page. Pure.

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    FleetRollout,
    EksCluster,
    NodeGroup,
    AwsAccount,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::FleetRollout, Self::EksCluster, Self::NodeGroup, Self::AwsAccount];

    /// The kind as written in manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FleetRollout => "FleetRollout",
            Self::EksCluster => "EksCluster",
            Self::NodeGroup => "NodeGroup",
            Self::AwsAccount => "AwsAccount",
        }
    }

    /// The first segment of its objects' paths.
    const fn segment(self) -> &'static str {
        match self {
            Self::FleetRollout => "rollouts",
            Self::EksCluster => "clusters",
            Self::NodeGroup => "nodegroups",
            Self::AwsAccount => "accounts",
        }
    }

    /// Its resource, as in rules of RBAC.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::FleetRollout => "fleetrollouts",
            Self::EksCluster => "eksclusters",
            Self::NodeGroup => "nodegroups",
            Self::AwsAccount => "awsaccounts",
        }
    }

    /// Whether its objects are in namespaces.
    pub const fn is_namespaced(self) -> bool {
        matches!(self, Self::EksCluster | Self::NodeGroup)
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Namespace (empty if the kind has none) and name.
pub type NamespacedName = (String, String);

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl Id {
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub fn place(&self) -> NamespacedName {
        (self.namespace.clone(), self.name.clone())
    }

    /// `team-a/demo`, or the name alone.
    pub fn title(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }

    /// Its address on the page.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.kind.segment(), self.title())
    }

    /// The object with that address; `None`: no object can have it.
    pub fn of_path(path: &str) -> Option<Self> {
        let (segment, rest) = path.strip_prefix('/')?.split_once('/')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.segment() == segment)?;
        let (namespace, name) = match (kind.is_namespaced(), rest.split_once('/')) {
            (true, Some(parts)) => parts,
            (false, None) => ("", rest),
            _ => return None,
        };
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c))
        };
        let is_valid = is_name(name) && (is_name(namespace) || !kind.is_namespaced());
        is_valid.then(|| Self::new(kind, namespace, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_objects() {
        for id in [Id::new(Kind::EksCluster, "team-a", "demo"), Id::new(Kind::AwsAccount, "", "prod.eu")] {
            assert_eq!(Id::of_path(&id.path()), Some(id));
        }
        for path in [
            "/",
            "/clusters",
            "/clusters/a",
            "/clusters/a/b/c",
            "/accounts/a/b",
            "/clusters/A/b",
            "/x/a/b",
            "/clusters//b",
        ] {
            assert_eq!(Id::of_path(path), None, "{path}");
        }
    }
}
