//! Who may use which account: decided before any AWS call. Pure.

use super::allowlist::Allowlists;
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
    /// What the object may name in it that it did not make; `None`: anything, as the operator's own credentials have no account
    /// object that could say, and with them the whole installation is one tenant.
    pub allowlists: Option<Allowlists>,
}

impl Grant {
    /// Whether NodeGroups may add the policy to the role of their nodes.
    pub fn allows_policy(&self, arn: &str) -> bool {
        self.allowlists.as_ref().is_none_or(|lists| lists.allows_policy(arn))
    }
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
                           name an AwsAccount that allows this namespace";
            return Err(Refusal::new(Reason::AccessDenied, message));
        }
        let settings = AccountSettings::default();
        return Ok(Grant { identity: Identity::ambient(), settings, allowlists: None });
    };
    let Some(account) = find(name) else {
        let message = format!("AwsAccount {name:?} does not exist: create it, or name another one in spec.accountRef");
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
    let allowlists = Some(Allowlists::of(name, &account, namespace));
    Ok(Grant { identity: identity(name, &account), settings: settings(&account), allowlists })
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
    AccountSettings {
        tags: account.tags.clone(),
        permissions_boundary: account.permissions_boundary_arn.clone(),
        role_path: account.role_path.clone(),
        enforced_tags: account.enforced_tags.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(granted.settings.role_path.as_deref(), Some("/keelson/"));
        assert_eq!(granted.settings.enforced_tags["cost-center"], "4711");
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
