//! Decides who may use which account, before any AWS call. Pure.

use super::allowlist::Allowlists;
use super::refusal::Refusal;
use crate::api::account::DEFAULT_ACCOUNT;
use crate::api::policy::AdoptionPolicy;
use crate::api::{AwsAccountSpec, EksCluster, EksClusterSpec};
use crate::aws::{Identity, Role};
use crate::resources::cloud::AccountSettings;
use crate::resources::graph::adoption::Adoption;

/// A request for account access by an EksCluster, or by one of its NodeGroups.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Their namespace.
    pub namespace: String,
    /// Name of the cluster in EKS.
    pub cluster_name: String,
    /// The EksCluster's spec.
    pub spec: &'a EksClusterSpec,
}

impl<'a> Request<'a> {
    /// The request of an EksCluster.
    pub fn of(cluster: &'a EksCluster) -> Self {
        Self {
            namespace: cluster.metadata.namespace.clone().unwrap_or_default(),
            cluster_name: cluster.cluster_name(),
            spec: &cluster.spec,
        }
    }
}

/// How an object accesses its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The identity to use.
    pub identity: Identity,
    /// What the account adds to resources created in it.
    pub settings: AccountSettings,
    /// Name of the AwsAccount; `None`: the operator's own credentials.
    pub account: Option<String>,
    /// Which resources may be adopted.
    pub adoption: Adoption,
    /// Whether an object may take over resources for which only tags show that they belonged to an earlier object of
    /// its name.
    pub recovers_by_tags: bool,
    /// Which resources of others the object may refer to; `None`: any. The operator's own credentials have no
    /// AwsAccount to restrict them, and with them the whole installation is one tenant.
    pub allowlists: Option<Allowlists>,
}

impl Grant {
    /// The operator's own credentials, whichever account they belong to. They adopt nothing, and that they can be used
    /// is no consent of the account's owner to anything.
    pub fn ambient() -> Self {
        Self {
            identity: Identity::ambient(),
            settings: AccountSettings::default(),
            account: None,
            adoption: Adoption::Forbidden,
            recovers_by_tags: false,
            allowlists: None,
        }
    }

    fn of(request: &Request<'_>, name: &str, account: &AwsAccountSpec) -> Self {
        Self {
            identity: identity(name, account),
            settings: settings(account),
            account: Some(name.to_owned()),
            adoption: adoption(request, account),
            recovers_by_tags: account.adoption.allows(&request.namespace, &request.cluster_name),
            allowlists: Some(Allowlists::of(name, account, &request.namespace)),
        }
    }

    /// Whether NodeGroups may attach the policy to the role of their nodes.
    pub fn allows_policy(&self, arn: &str) -> bool {
        self.allowlists.as_ref().is_none_or(|lists| lists.allows_policy(arn))
    }

    /// Checks `adoptionPolicy: Adopt` against the account.
    ///
    /// # Errors
    /// The spec requests an adoption that the account does not allow.
    pub fn check_adoption(&self, request: &Request<'_>) -> Result<(), Refusal> {
        if request.spec.adoption_policy != AdoptionPolicy::Adopt || self.adoption != Adoption::Forbidden {
            return Ok(());
        }
        let Request { namespace, cluster_name, .. } = request;
        Err(Refusal::denied(match &self.account {
            Some(name) => format!(
                "adoptionPolicy: Adopt: AwsAccount {name:?} does not allow namespace {namespace:?} to adopt a cluster called \
                 {cluster_name:?}: its owner has to allow that in spec.adoption, or remove adoptionPolicy"
            ),
            None => "adoptionPolicy: Adopt: the operator's own credentials adopt nothing: remove adoptionPolicy, or delete this object \
                     and create it again with spec.accountRef, which cannot be changed, naming an AwsAccount whose spec.adoption allows it"
                .to_owned(),
        }))
    }
}

/// Grants access to the account that the object refers to, or to the one named `default`. `find` looks up an
/// AwsAccount. `allow_ambient`: use the operator's own credentials if there is neither.
///
/// # Errors
/// Why access is refused, and what to do.
pub fn grant(
    request: &Request<'_>,
    allow_ambient: bool,
    find: impl FnOnce(&str) -> Option<AwsAccountSpec>,
) -> Result<Grant, Refusal> {
    let Some((name, account)) = find_account(request, allow_ambient, find)? else { return Ok(Grant::ambient()) };
    let Request { namespace, spec, .. } = request;
    let region = &spec.region;
    if !account.allows_namespace(namespace) {
        return Err(Refusal::denied(format!(
            "AwsAccount {name:?} may not be used from namespace {namespace:?}: \
             its owner has to add the namespace to allowedNamespaces"
        )));
    }
    if !account.allows_region(region) {
        let allowed = account.allowed_regions.unwrap_or_default().join(", ");
        return Err(Refusal::denied(format!(
            "AwsAccount {name:?} may not be used in region {region:?}: \
             its owner has to add the region to allowedRegions (currently [{allowed}])"
        )));
    }
    Ok(Grant::of(request, &name, &account))
}

/// Grants a deleted object access to the account in which it was created, even if the account no longer allows its
/// namespace or region. `made_in`: the account id in status; an object without one has nothing to delete.
///
/// # Errors
/// The account does not exist any more, or is a different one.
pub fn grant_to_delete(
    request: &Request<'_>,
    made_in: Option<&str>,
    allow_ambient: bool,
    find: impl Fn(&str) -> Option<AwsAccountSpec>,
) -> Result<Grant, Refusal> {
    let refusal = match grant(request, allow_ambient, &find) {
        Err(refusal) => refusal,
        granted => return granted,
    };
    match find_account(request, false, find) {
        Ok(Some((name, account))) if made_in == Some(account.account_id.as_str()) => {
            Ok(Grant { adoption: Adoption::Forbidden, ..Grant::of(request, &name, &account) })
        }
        _ => Err(refusal),
    }
}

/// Finds the AwsAccount of the request; `None`: the operator's own credentials.
fn find_account(
    request: &Request<'_>,
    allow_ambient: bool,
    find: impl FnOnce(&str) -> Option<AwsAccountSpec>,
) -> Result<Option<(String, AwsAccountSpec)>, Refusal> {
    let name = request.spec.account_name();
    match (find(name), &request.spec.account_ref) {
        (Some(account), _) => Ok(Some((name.to_owned(), account))),
        (None, None) if allow_ambient => Ok(None),
        (None, None) => Err(Refusal::denied(format!(
            "spec.accountRef is not set, and there is no AwsAccount {DEFAULT_ACCOUNT:?}: have one of that name \
             created; or, as long as nothing exists in AWS for this object, delete this object and create it again with spec.accountRef, \
             which cannot be changed, naming one that allows this namespace"
        ))),
        (None, Some(_)) => Err(Refusal::denied(format!(
            "AwsAccount {name:?} does not exist: create it; or, as long as nothing exists in AWS for this object, delete this object and \
             create it again with another spec.accountRef, which cannot be changed"
        ))),
    }
}

fn adoption(request: &Request<'_>, account: &AwsAccountSpec) -> Adoption {
    let Request { namespace, cluster_name, spec } = request;
    if spec.adoption_policy != AdoptionPolicy::Adopt || !account.adoption.allows(namespace, cluster_name) {
        Adoption::Forbidden
    } else if account.adoption.lists_namespace(namespace) {
        Adoption::AllowedWithRetained
    } else {
        Adoption::Allowed
    }
}

/// The identity of the operator in an account. It is the same for all objects of the account, so that they share
/// sessions and reads.
pub fn identity(name: &str, account: &AwsAccountSpec) -> Identity {
    let role = account.role_arn.clone().map(|arn| Role {
        arn,
        external_id: account.external_id.clone(),
        session_name: session_name(name),
    });
    Identity { account_id: Some(account.account_id.clone()), role }
}

/// All characters of Kubernetes names are allowed; the length is limited to 64.
fn session_name(name: &str) -> String {
    format!("keelson-{name}").chars().take(64).collect()
}

fn settings(account: &AwsAccountSpec) -> AccountSettings {
    AccountSettings {
        tags: account.tags.clone(),
        permissions_boundary: account.permissions_boundary_arn.clone(),
        workload_permissions_boundary: account.workload_permissions_boundary_arn.clone(),
        role_path: account.role_path.clone(),
        enforced_tags: account.enforced_tags.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::api::account_adoption::{AccountAdoption, AccountAdoptionPolicy};
    use crate::api::reference::AccountReference;

    fn account() -> AwsAccountSpec {
        let spec = serde_json::json!({
            "accountId": "123456789012",
            "roleArn": "arn:aws:iam::123456789012:role/keelson",
            "externalId": "fleet",
            "allowedNamespaces": ["team"],
            "allowedRegions": ["eu-west-1"],
            "permissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary",
            "rolePath": "/keelson/",
            "enforcedTags": {"cost-center": "4711"},
            "tags": {"cost": "1"},
        });
        serde_json::from_value(spec).unwrap()
    }

    fn spec(account: Option<&str>, region: &str) -> EksClusterSpec {
        let spec = serde_json::json!({"region": region, "version": "1.34"});
        let account_ref = account.map(|name| AccountReference { name: name.into() });
        EksClusterSpec { account_ref, ..serde_json::from_value(spec).unwrap() }
    }

    fn request<'a>(spec: &'a EksClusterSpec, namespace: &str) -> Request<'a> {
        Request { namespace: namespace.into(), cluster_name: "demo".into(), spec }
    }

    fn request_grant(name: Option<&str>, namespace: &str, region: &str) -> Result<Grant, Refusal> {
        grant(&request(&spec(name, region), namespace), false, |name| (name == "prod").then(account))
    }

    #[test]
    fn account_is_limited_to_its_namespaces_and_regions() {
        let granted = request_grant(Some("prod"), "team", "eu-west-1").unwrap();
        assert_eq!(granted.identity.account_id.as_deref(), Some("123456789012"));
        let role = granted.identity.role.unwrap();
        assert_eq!((role.external_id.as_deref(), role.session_name.as_str()), (Some("fleet"), "keelson-prod"));
        assert!(granted.settings.permissions_boundary.is_some() && granted.settings.tags.contains_key("cost"));
        assert_eq!(granted.settings.role_path.as_deref(), Some("/keelson/"));
        assert_eq!(granted.settings.enforced_tags["cost-center"], "4711");
        for (name, namespace, region, fragment) in [
            (Some("prod"), "other", "eu-west-1", "allowedNamespaces"),
            (Some("prod"), "team", "us-east-1", "us-east-1"),
            (Some("missing"), "team", "eu-west-1", "does not exist"),
            (None, "team", "eu-west-1", "again with spec.accountRef"),
        ] {
            let refusal = request_grant(name, namespace, region).unwrap_err();
            assert_eq!(refusal.reason, Reason::AccessDenied);
            assert!(refusal.message.contains(fragment), "{}", refusal.message);
        }
    }

    #[test]
    fn default_account_applies_without_account_ref() {
        let default = |name: &str| (name == "default").then(account);
        let request_grant = |namespace: &str, region: &str, allow_ambient| {
            grant(&request(&spec(None, region), namespace), allow_ambient, default)
        };
        for allow_ambient in [true, false] {
            let granted = request_grant("team", "eu-west-1", allow_ambient).unwrap();
            assert_eq!(granted.account.as_deref(), Some("default"));
            // The flag does not bypass the account's limits.
            let refusal = request_grant("other", "eu-west-1", allow_ambient).unwrap_err();
            assert!(refusal.message.contains("AwsAccount \"default\" may not be used from namespace"));
            assert!(request_grant("team", "us-east-1", allow_ambient).is_err());
        }
    }

    #[test]
    fn ambient_credentials_require_the_flag_and_no_account() {
        let none = spec(None, "eu-west-1");
        assert_eq!(grant(&request(&none, "team"), true, |_| None), Ok(Grant::ambient()));
        assert!(grant(&request(&none, "team"), false, |_| None).is_err());
        assert!(grant(&request(&spec(Some("missing"), "eu-west-1"), "team"), true, |_| None).is_err());
    }

    #[test]
    fn allowed_namespaces_may_be_empty_or_a_wildcard() {
        let with = |allowed: &[&str]| AwsAccountSpec {
            allowed_namespaces: allowed.iter().map(|s| (*s).to_owned()).collect(),
            ..account()
        };
        let spec = spec(Some("prod"), "eu-west-1");
        assert!(grant(&request(&spec, "team"), false, |_| Some(with(&[]))).is_err());
        assert!(grant(&request(&spec, "any"), false, |_| Some(with(&["*"]))).is_ok());
    }

    #[test]
    fn closed_account_can_still_be_used_for_deletion() {
        let closed = || AwsAccountSpec { allowed_namespaces: vec!["other".into()], ..account() };
        let to_delete = |spec: &EksClusterSpec, made_in: Option<&str>| {
            grant_to_delete(&request(spec, "team"), made_in, false, |name| (name == "prod").then(closed))
        };
        let spec_of = |region| spec(Some("prod"), region);
        for region in ["eu-west-1", "us-east-1"] {
            let granted = to_delete(&spec_of(region), Some("123456789012")).unwrap();
            assert_eq!(granted.identity.account_id.as_deref(), Some("123456789012"));
        }
        // Nothing was created, or in another account: access stays refused.
        assert!(to_delete(&spec_of("eu-west-1"), None).is_err());
        assert!(to_delete(&spec_of("eu-west-1"), Some("210987654321")).is_err());
        assert!(to_delete(&spec(Some("missing"), "eu-west-1"), Some("123456789012")).is_err());
        assert!(to_delete(&spec(None, "eu-west-1"), Some("123456789012")).is_err());
    }

    #[test]
    fn adoption_requires_both_spec_and_account() {
        let allowing = |names: Option<&str>, namespaces: Option<&str>| AccountAdoption {
            policy: AccountAdoptionPolicy::Allow,
            cluster_names: names.map(|name| vec![name.to_owned()]),
            namespaces: namespaces.map(|name| vec![name.to_owned()]),
        };
        let adopt = EksClusterSpec { adoption_policy: AdoptionPolicy::Adopt, ..spec(Some("prod"), "eu-west-1") };
        let refuse = spec(Some("prod"), "eu-west-1");
        for (spec, adoption, expected) in [
            (&adopt, AccountAdoption::default(), Adoption::Forbidden),
            (&refuse, allowing(None, Some("team")), Adoption::Forbidden),
            (&adopt, allowing(Some("legacy-*"), None), Adoption::Forbidden),
            (&adopt, allowing(None, Some("other")), Adoption::Forbidden),
            (&adopt, allowing(None, None), Adoption::Allowed),
            (&adopt, allowing(Some("d*"), None), Adoption::Allowed),
            (&adopt, allowing(None, Some("team")), Adoption::AllowedWithRetained),
        ] {
            let account = AwsAccountSpec { adoption: adoption.clone(), ..account() };
            let request = request(spec, "team");
            let granted = grant(&request, false, |_| Some(account)).unwrap();
            assert_eq!(granted.adoption, expected, "{adoption:?}");
            let requests_adoption = spec.adoption_policy == AdoptionPolicy::Adopt;
            assert_eq!(granted.check_adoption(&request).is_err(), requests_adoption && expected == Adoption::Forbidden);
        }
    }

    #[test]
    fn ambient_credentials_adopt_nothing() {
        let adopt = EksClusterSpec { adoption_policy: AdoptionPolicy::Adopt, ..spec(None, "eu-west-1") };
        let request = request(&adopt, "team");
        let granted = grant(&request, true, |_| None).unwrap();
        assert_eq!(granted.adoption, Adoption::Forbidden);
        assert!(granted.check_adoption(&request).unwrap_err().message.contains("naming an AwsAccount"));
    }

    #[test]
    fn only_an_account_that_allows_the_adoption_consents_to_a_recovery_by_tags() {
        let none = spec(None, "eu-west-1");
        assert!(!grant(&request(&none, "team"), true, |_| None).unwrap().recovers_by_tags, "the operator's own");
        let with = |policy| AwsAccountSpec {
            adoption: AccountAdoption { policy, cluster_names: Some(vec!["demo".into()]), namespaces: None },
            ..account()
        };
        for (policy, consents) in [(AccountAdoptionPolicy::Forbid, false), (AccountAdoptionPolicy::Allow, true)] {
            // The AwsAccount `default` takes the place of the operator's own credentials.
            let granted = grant(&request(&none, "team"), true, |name| (name == "default").then(|| with(policy)));
            assert_eq!(granted.unwrap().recovers_by_tags, consents);
        }
    }

    #[test]
    fn objects_of_an_account_share_one_identity() {
        assert_eq!(identity("prod", &account()), identity("prod", &account()));
        assert_eq!(session_name(&"x".repeat(100)).len(), 64);
    }
}
