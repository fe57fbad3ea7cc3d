//! Which policy denied a call, as AWS's message says, and who can change it. Pure.
//!
//! The phrases are of <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>: "with an explicit
//! deny in a ... policy" and "because no ... policy allows the ... action".

/// The kind of policy that denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    ServiceControl,
    ResourceControl,
    Boundary,
    Session,
    VpcEndpoint,
    Trust,
    Resource,
    Identity,
}

/// A denial, as far as the message describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub policy: Policy,
    /// A `Deny` statement; otherwise no statement allows it.
    pub explicit: bool,
    /// The denied action: AWS checks others than the one called, such as `iam:PassRole`.
    pub action: Option<String>,
}

/// A phrase of the message for each kind, the organization's first: its policies also act through others
/// ("in a VPC endpoint policy transitively through a service control policy").
const PHRASES: [(&str, Policy); 9] = [
    ("service control policy", Policy::ServiceControl),
    ("resource control policy", Policy::ResourceControl),
    ("permissions boundary", Policy::Boundary),
    ("session policy", Policy::Session),
    ("sessions policy", Policy::Session),
    ("vpc endpoint policy", Policy::VpcEndpoint),
    ("role trust policy", Policy::Trust),
    ("resource-based policy", Policy::Resource),
    ("identity-based policy", Policy::Identity),
];

/// Reads the message; `None` if it names no policy.
pub fn read(message: &str) -> Option<Denial> {
    let lower = message.to_lowercase();
    let explicit = lower.find("with an explicit deny in");
    // From the reason on: names of resources before it may contain anything.
    let reason = &lower[explicit.or_else(|| lower.find("because no "))?..];
    let (_, policy) = PHRASES.iter().find(|(phrase, _)| reason.contains(phrase))?;
    Some(Denial { policy: *policy, explicit: explicit.is_some(), action: action(message) })
}

/// The action in "is not authorized to perform: ACTION on resource: ...".
pub fn action(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("not authorized to perform: ")?;
    let action = rest.split_whitespace().next()?.trim_end_matches(['.', ',']);
    action.contains(':').then(|| action.to_owned())
}

impl Denial {
    /// Who can change it, and what.
    pub fn advice(&self, permission: &str, account: &str) -> String {
        let permission = self.action.as_deref().unwrap_or(permission);
        let how = if self.explicit { "denies it explicitly" } else { "does not allow it" };
        let identity = format!("the identity the operator uses in account {account}");
        match (self.policy, self.explicit) {
            (Policy::ServiceControl, _) => format!(
                "A service control policy of the AWS organization {how}: only who administers the organization can \
                 change that, for {permission} in account {account}; no policy of the account can"
            ),
            (Policy::ResourceControl, _) => format!(
                "A resource control policy of the AWS organization {how}: only who administers the organization can \
                 change that, for {permission} on this resource"
            ),
            (Policy::Boundary, _) => format!(
                "The permissions boundary of {identity} {how}: who administers the account's IAM can allow \
                 {permission} there; the identity's own policies are not enough"
            ),
            (Policy::Session, _) => format!(
                "The session policy of the operator's credentials {how}: what issues these credentials can allow \
                 {permission}"
            ),
            (Policy::VpcEndpoint, _) => format!(
                "The policy of the VPC endpoint through which the operator calls AWS {how}: who owns that VPC can \
                 allow {permission} in it"
            ),
            (Policy::Trust, _) => {
                format!("The role's trust policy {how}: who administers account {account} can change it")
            }
            (Policy::Resource, _) => {
                format!("The policy of the resource itself {how}: its owner can allow {permission} for {identity}")
            }
            (Policy::Identity, true) => format!(
                "A policy of {identity} denies {permission} explicitly: who administers the account's IAM can remove \
                 that Deny"
            ),
            (Policy::Identity, false) => {
                format!(
                    "Allow {permission} for {identity}: none of its policies does (docs/install.md, AWS permissions)"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS's examples on the page above.
    #[test]
    fn policy_that_denied_is_read_from_each_of_the_documented_messages() {
        let user =
            "User: arn:aws:sts::111122223333:assumed-role/keelson/s is not authorized to perform: eks:CreateCluster";
        for (reason, policy, explicit) in [
            ("because no service control policy allows the eks:CreateCluster action", Policy::ServiceControl, false),
            ("with an explicit deny in a service control policy", Policy::ServiceControl, true),
            (
                "with an explicit deny in a service control policy: arn:aws:organizations::1:policy/o-1/service_control_policy/p-1",
                Policy::ServiceControl,
                true,
            ),
            ("with an explicit deny in a resource control policy", Policy::ResourceControl, true),
            ("because no VPC endpoint policy allows the eks:CreateCluster action", Policy::VpcEndpoint, false),
            ("with an explicit deny in a VPC endpoint policy", Policy::VpcEndpoint, true),
            (
                "with an explicit deny in a VPC endpoint policy transitively through a service control policy",
                Policy::ServiceControl,
                true,
            ),
            ("because no permissions boundary allows the eks:CreateCluster action", Policy::Boundary, false),
            ("with an explicit deny in a permissions boundary", Policy::Boundary, true),
            ("because no session policy allows the eks:CreateCluster action", Policy::Session, false),
            ("with an explicit deny in a sessions policy", Policy::Session, true),
            ("because no resource-based policy allows the eks:CreateCluster action", Policy::Resource, false),
            ("with an explicit deny in a resource-based policy", Policy::Resource, true),
            ("because no role trust policy allows the sts:AssumeRole action", Policy::Trust, false),
            ("with an explicit deny in the role trust policy", Policy::Trust, true),
            ("because no identity-based policy allows the eks:CreateCluster action", Policy::Identity, false),
            ("with an explicit deny in an identity-based policy", Policy::Identity, true),
        ] {
            let found = read(&format!("{user} on resource: arn:aws:eks:eu-west-1:1:cluster/identity-based {reason}"));
            let action = Some("eks:CreateCluster".to_owned());
            assert_eq!(found, Some(Denial { policy, explicit, action }), "{reason}");
        }
        assert_eq!(read("You are not authorized to perform this operation."), None);
        assert_eq!(read(&format!("{user} on resource: arn:aws:eks:eu-west-1:1:cluster/session policy")), None);
    }

    #[test]
    fn advice_names_the_action_that_was_denied_and_who_can_allow_it() {
        let message = "User: u is not authorized to perform: iam:PassRole on resource: r because no identity-based \
                       policy allows the iam:PassRole action";
        let advice = read(message).unwrap().advice("eks:CreateCluster", "111122223333");
        assert!(advice.starts_with("Allow iam:PassRole for the identity"), "{advice}");
        let by_organization = read("x with an explicit deny in a service control policy").unwrap();
        let advice = by_organization.advice("eks:CreateCluster", "111122223333");
        assert!(advice.contains("only who administers the organization"), "{advice}");
        assert!(advice.contains("eks:CreateCluster in account 111122223333"), "{advice}");
    }
}
