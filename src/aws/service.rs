//! The AWS services in use, what their actions do, and the priority of calls. Pure.

use std::fmt;

/// The region for IAM's rate limits and metrics.
pub const GLOBAL: &str = "global";

/// The AWS services in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    AutoScaling,
    Ec2,
    Eks,
    Events,
    Iam,
    Kms,
    Logs,
    #[expect(clippy::enum_variant_names, reason = "the name of the service")]
    ServiceQuotas,
    Sqs,
    Ssm,
    Sts,
}

impl Service {
    /// Name in IAM policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Service::AutoScaling => "autoscaling",
            Service::Ec2 => "ec2",
            Service::Eks => "eks",
            Service::Events => "events",
            Service::Iam => "iam",
            Service::Kms => "kms",
            Service::Logs => "logs",
            Service::ServiceQuotas => "servicequotas",
            Service::Sqs => "sqs",
            Service::Ssm => "ssm",
            Service::Sts => "sts",
        }
    }

    /// One endpoint and one set of limits for all regions of a partition.
    pub fn is_global(self) -> bool {
        self == Service::Iam
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether an action changes anything in AWS, judged by its name and AWS's naming rules.
pub fn is_write(service: Service, action: &str) -> bool {
    // A refresh of EKS's insights changes nothing but them.
    let reads = ["Describe", "List", "Get", "Search", "Simulate", "Receive", "StartInsightsRefresh"];
    // STS issues credentials and changes nothing.
    service != Service::Sts && !reads.iter().any(|verb| action.starts_with(verb))
}

/// Whether an action removes something, by its name: if that does not exist, nothing is left to do.
pub fn is_removal(action: &str) -> bool {
    let verbs = ["Delete", "Detach", "Disassociate", "Release", "Remove", "Revoke", "Terminate", "Untag"];
    verbs.iter().any(|verb| action.starts_with(verb))
}

/// Priority of calls when tokens are short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Drift checks: they leave a part of each bucket to the others.
    Background,
    /// Work in progress.
    Foreground,
}

/// Action name in errors when credentials were resolved without a call of our own.
pub const NO_CALL: &str = "Credentials";
/// Account name in errors while the account of the operator's own credentials is unknown.
pub const OPERATOR: &str = "operator";
