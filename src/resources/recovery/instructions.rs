//! How a user asks for a takeover, in messages about resources of an earlier object. Pure.

use crate::api::RECOVER_ANNOTATION;
use crate::aws::tags::INSTALLATION;
use crate::resources::graph::existing::Existing;
use crate::resources::owner::Owner;

/// The command that requests the takeover.
pub fn command(owner: &Owner, uid: &str) -> String {
    let (object, namespace) = (&owner.object, owner.namespace());
    format!("kubectl annotate {object} -n {namespace} --overwrite {RECOVER_ANNOTATION}={uid}")
}

/// The message after "carries the tags of ... with UID `uid`", for resources of an earlier object with this name.
/// `None` if that object exists.
pub fn instructions(uid: &str, installation: Option<&str>, owner: &Owner, existing: &Existing) -> Option<String> {
    if let Some(why) = other_installation(installation, owner) {
        return Some(why);
    }
    if existing.has(uid) {
        return None;
    }
    if installation.is_none() && owner.installation.is_some() {
        return Some(format!(
            ", no object with that UID exists in this management cluster, and the tag {INSTALLATION} is missing, so that \
             another installation may own it: keelson recover --dry-run lists its resources, those of other \
             installations too (docs/disaster-recovery.md)"
        ));
    }
    Some(format!(
        ", and no object with that UID exists in this management cluster, as after a restore. To take over its \
         resources: {}. Only tags are written; keelson recover --dry-run lists the resources \
         (docs/disaster-recovery.md)",
        command(owner, uid)
    ))
}

/// Why resources with the tag of `installation` are not this installation's; `None` if they are.
pub(super) fn other_installation(installation: Option<&str>, owner: &Owner) -> Option<String> {
    let other = installation.filter(|id| owner.installation.as_deref() != Some(*id))?;
    let this = owner.installation.as_ref().map_or("has no id".to_owned(), |id| format!("is {id}"));
    Some(format!(
        " of installation {other}, and this one {this}: while that one runs, it owns these resources. If it is lost \
         for good, start Keelson here with --installation-id {other}, or restore its ConfigMap keelson-installation"
    ))
}
