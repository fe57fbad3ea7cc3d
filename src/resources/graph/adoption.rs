//! Which existing resources an object may adopt, and the message if it may not. Pure.

pub use super::existing::Existing;
use crate::aws::tags::{CLUSTER, OWNERSHIP, Ownership, Tags};
use crate::resources::owner::{Owner, namespace_of};
use crate::resources::recovery::instructions;

/// What may be adopted, according to the spec and the AwsAccount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Adoption {
    /// Nothing.
    #[default]
    Forbidden,
    /// Resources without an owner, except those that another namespace retained.
    Allowed,
    /// Resources without an owner, whoever retained them.
    AllowedWithRetained,
}

impl Adoption {
    /// Whether an object of `owner` may adopt a resource with `tags`. A retained resource keeps the tag that names its
    /// former EksCluster.
    pub fn allows(self, owner: &Owner, tags: &Tags) -> bool {
        let retained_by_another = tags.get(CLUSTER).is_some_and(|cluster| namespace_of(cluster) != owner.namespace());
        match self {
            _ if tags.owner().is_some() => false,
            Adoption::Forbidden => false,
            Adoption::Allowed => !retained_by_another,
            Adoption::AllowedWithRetained => true,
        }
    }
}

/// Says what to do about an existing resource that may not be adopted. It reveals nothing about the resource or its
/// owner, unless the owner is an object of the same namespace.
pub fn describe_foreign(what: &str, tags: &Tags, owner: &Owner, existing: &Existing) -> String {
    if let Ownership::Other { owner: uid, cluster: Some(cluster) } = Ownership::of(tags, &owner.uid)
        && namespace_of(&cluster) == owner.namespace()
    {
        if cluster == owner.cluster
            && let Some(how) = instructions::instructions(&uid, tags.installation(), owner, existing)
        {
            return format!("{what} carries the tags of {cluster} with UID {uid}{how}");
        }
        return format!(
            "{what} belongs to {cluster} (UID {uid}): delete that object with deletionPolicy: Retain, which releases \
             it, or, where that object no longer exists, remove the tags {} by hand",
            OWNERSHIP.join(", ")
        );
    }
    format!(
        "{what} already exists and does not belong to this object: create an object with another name instead of \
         this one, or, to adopt it as it is, set adoptionPolicy: Adopt on the EksCluster; its AwsAccount has to allow \
         that (spec.adoption), which whoever owns the AWS account decides"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tags::OWNER;

    fn owner() -> Owner {
        let installation = Some("here".to_owned());
        let object = "ekscluster/demo".to_owned();
        Owner { uid: "uid-1".into(), cluster: "team/demo".into(), object, installation, ..Owner::default() }
    }

    #[test]
    fn resource_retained_by_another_namespace_needs_explicit_permission() {
        let nobodys = Tags::new();
        let own = Tags::new().with(CLUSTER, "team/before");
        let others = Tags::new().with(CLUSTER, "other/demo");
        for (adoption, expected) in [
            (Adoption::Forbidden, [false, false, false]),
            (Adoption::Allowed, [true, true, false]),
            (Adoption::AllowedWithRetained, [true, true, true]),
        ] {
            let allowed = [&nobodys, &own, &others].map(|tags| adoption.allows(&owner(), tags));
            assert_eq!(allowed, expected, "{adoption:?}");
        }
    }

    #[test]
    fn owned_resource_is_never_adopted() {
        for cluster in ["team/demo", "other/demo"] {
            let owned = Tags::new().with(OWNER, "uid-2").with(CLUSTER, cluster);
            assert!(!Adoption::AllowedWithRetained.allows(&owner(), &owned));
        }
    }

    #[test]
    fn message_reveals_nothing_about_other_namespaces() {
        let tags = Tags::new().with(OWNER, "uid-2").with(CLUSTER, "vault/secret-name").with("team", "secret-team");
        let nobodys = Tags::new().with("team", "secret-team");
        let text = describe_foreign("cluster demo", &tags, &owner(), &Existing::default());
        assert!(!text.contains("vault") && !text.contains("secret") && !text.contains("uid-2"), "{text}");
        assert_eq!(text, describe_foreign("cluster demo", &nobodys, &owner(), &Existing::default()));
    }

    #[test]
    fn message_has_the_recover_command_if_the_previous_object_is_gone() {
        use crate::aws::tags::INSTALLATION;
        let untagged = Tags::new().with(OWNER, "uid-0").with(CLUSTER, "team/demo");
        let tags = untagged.clone().with(INSTALLATION, "here");
        let gone = Existing::new(|uid| uid != "uid-0");
        let text = describe_foreign("cluster demo", &tags, &owner(), &gone);
        assert!(
            text.contains("kubectl annotate ekscluster/demo -n team --overwrite keelson.dev/recover=uid-0"),
            "{text}"
        );
        // Without the tag, the other resources may show that it is another installation's.
        let text = describe_foreign("cluster demo", &untagged, &owner(), &gone);
        assert!(text.contains("keelson recover --dry-run") && !text.contains("recover="), "{text}");
        // Not if the owner exists, nor if it belongs to another installation, which the message names.
        let text = describe_foreign("cluster demo", &tags, &owner(), &Existing::default());
        assert!(!text.contains("recover="), "{text}");
        let elsewhere = tags.with(INSTALLATION, "there");
        let text = describe_foreign("cluster demo", &elsewhere, &owner(), &gone);
        assert!(text.contains("installation there") && text.contains("--installation-id there"), "{text}");
        assert!(!text.contains("recover="), "{text}");
    }

    #[test]
    fn message_names_an_owner_in_the_same_namespace() {
        let tags = Tags::new().with(OWNER, "uid-2").with(CLUSTER, "team/other");
        let text = describe_foreign("cluster demo", &tags, &owner(), &Existing::default());
        for part in ["team/other (UID uid-2)", "deletionPolicy: Retain", "keelson.dev/owner, keelson.dev/cluster"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
