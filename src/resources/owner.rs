//! The object that owns resources. Pure.

use std::collections::BTreeMap;

use super::iam::role_name::{NAME_PREFIX, purpose};
use crate::engine::Key;

/// The object that owns resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its UID.
    pub uid: String,
    /// `namespace/name` of the EksCluster.
    pub cluster: String,
    /// The object in kubectl's notation, e.g. `nodegroup/demo-default`.
    pub object: String,
    /// The installation of Keelson that the object belongs to; `None` if it has no id.
    pub installation: Option<String>,
    /// Recorded names of its roles: roles created for another UID keep their names.
    pub roles: BTreeMap<Key, String>,
}

impl Owner {
    /// The namespace of the EksCluster.
    pub fn namespace(&self) -> &str {
        namespace_of(&self.cluster)
    }

    /// The recorded name of one of its roles; the record holds the name or the ARN. `None` for a role that the spec
    /// names.
    pub fn role_name(&self, key: &Key) -> Option<String> {
        let id = self.roles.get(key)?;
        let name = id.rsplit('/').next().unwrap_or(id);
        let is_ours = name.starts_with(NAME_PREFIX) && name.ends_with(&format!("-{}", purpose(key)?));
        is_ours.then(|| name.to_owned())
    }
}

/// The namespace in a value of the tag [`crate::aws::tags::CLUSTER`].
pub(crate) fn namespace_of(cluster: &str) -> &str {
    cluster.split_once('/').map_or(cluster, |(namespace, _)| namespace)
}
