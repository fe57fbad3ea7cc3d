//! Who may use which account: decided before any AWS call. Pure.

use std::collections::BTreeMap;

use crate::api::reference::AccountReference;
use crate::api::{AwsAccountSpec, Reason};
use crate::aws::{Identity, Role};
use crate::resources::cloud::AccountSettings;

/// How an object reaches its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// As whom.
    pub identity: Identity,
    /// What the account adds to what is made in it.
    pub settings: AccountSettings,
}

/// Why it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the condition.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// How an object of `namespace` in `region` reaches the account it refers to. `find` looks an AwsAccount up.
pub fn grant(
    reference: Option<&AccountReference>,
    namespace: &str,
    region: &str,
    require_account: bool,
    find: impl FnOnce(&str) -> Option<AwsAccountSpec>,
) -> Result<Grant, Refusal> {
    let Some(AccountReference { name }) = reference else {
        if require_account {
            let message = "spec.accountRef is not set, and the operator was started with --require-account: \
                           delete this object, and create it again with an AwsAccount that allows this namespace";
            return Err(Refusal::new(Reason::AccessDenied, message));
        }
        return Ok(Grant { identity: Identity::ambient(), settings: AccountSettings::default() });
    };
    let Some(account) = find(name) else {
        let message = format!(
            "AwsAccount {name:?} does not exist: create it, or delete this object and create it again with another \
             spec.accountRef, which cannot be changed"
        );
        return Err(Refusal::new(Reason::AccessDenied, message));
    };
    if !account.allows_namespace(namespace) {
        let message = format!(
            "AwsAccount {name:?} may not be used from namespace {namespace:?}: \
             whoever owns it has to add the namespace to its allowedNamespaces"
        );
        return Err(Refusal::new(Reason::AccessDenied, message));
    }
    if !account.allows_region(region) {
        let allowed = account.allowed_regions.unwrap_or_default().join(", ");
        let message = format!(
            "AwsAccount {name:?} may not be used in region {region:?}: \
             whoever owns it has to add the region to its allowedRegions, now [{allowed}]"
        );
        return Err(Refusal::new(Reason::AccessDenied, message));
    }
    Ok(Grant { identity: identity(name, &account), settings: settings(&account) })
}

/// As whom the operator acts in an account. The same for all its objects, so that they share sessions and reads.
pub fn identity(name: &str, account: &AwsAccountSpec) -> Identity {
    let role = account.role_arn.clone().map(|arn| Role {
        arn,
        external_id: account.external_id.clone(),
        session_name: session_name(name),
    });
    Identity { account_id: Some(account.account_id.clone()), role }
}

/// The characters of a Kubernetes name are allowed in one; 64 of them at most.
fn session_name(name: &str) -> String {
    format!("keelson-{name}").chars().take(64).collect()
}

fn settings(account: &AwsAccountSpec) -> AccountSettings {
    let tags: BTreeMap<_, _> = account.tags.clone();
    AccountSettings { tags, permissions_boundary: account.permissions_boundary_arn.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AwsAccountSpec {
        AwsAccountSpec {
            account_id: "123456789012".into(),
            role_arn: Some("arn:aws:iam::123456789012:role/keelson".into()),
            external_id: Some("fleet".into()),
            allowed_namespaces: vec!["team".into()],
            allowed_regions: Some(vec!["eu-west-1".into()]),
            permissions_boundary_arn: Some("arn:aws:iam::123456789012:policy/boundary".into()),
            tags: BTreeMap::from([("cost".into(), "1".into())]),
        }
    }

    fn asked(name: Option<&str>, namespace: &str, region: &str, require: bool) -> Result<Grant, Refusal> {
        let reference = name.map(|name| AccountReference { name: name.into() });
        grant(reference.as_ref(), namespace, region, require, |name| (name == "prod").then(account))
    }

    #[test]
    fn only_allowed_namespaces_and_regions_reach_an_account() {
        let granted = asked(Some("prod"), "team", "eu-west-1", true).unwrap();
        assert_eq!(granted.identity.account_id.as_deref(), Some("123456789012"));
        let role = granted.identity.role.unwrap();
        assert_eq!((role.external_id.as_deref(), role.session_name.as_str()), (Some("fleet"), "keelson-prod"));
        assert!(granted.settings.permissions_boundary.is_some() && granted.settings.tags.contains_key("cost"));
        for (name, namespace, region, names) in [
            (Some("prod"), "other", "eu-west-1", "allowedNamespaces"),
            (Some("prod"), "team", "us-east-1", "us-east-1"),
            (Some("missing"), "team", "eu-west-1", "does not exist"),
            (None, "team", "eu-west-1", "--require-account"),
        ] {
            let refusal = asked(name, namespace, region, true).unwrap_err();
            assert_eq!(refusal.reason, Reason::AccessDenied);
            assert!(refusal.message.contains(names), "{}", refusal.message);
        }
        assert_eq!(asked(None, "team", "eu-west-1", false).unwrap().identity, Identity::ambient());
    }

    #[test]
    fn nobody_may_use_an_account_that_allows_none_and_all_one_that_allows_all() {
        let with = |allowed: &[&str]| AwsAccountSpec {
            allowed_namespaces: allowed.iter().map(|s| (*s).to_owned()).collect(),
            ..account()
        };
        let reference = AccountReference { name: "prod".into() };
        assert!(grant(Some(&reference), "team", "eu-west-1", false, |_| Some(with(&[]))).is_err());
        assert!(grant(Some(&reference), "any", "eu-west-1", false, |_| Some(with(&["*"]))).is_ok());
    }

    #[test]
    fn all_objects_of_an_account_share_one_identity() {
        assert_eq!(identity("prod", &account()), identity("prod", &account()));
        assert_eq!(session_name(&"x".repeat(100)).len(), 64);
    }
}
