//! ARNs of the roles that Cluster API names. Pure.

use serde_json::Value;

use super::object::Object;
use crate::cli::import::section::Section;

const NO_ROLE: &str = "is missing: pass the objects as they are in the management cluster (kubectl get -o yaml), where Cluster API \
                       has written the name of the role";

/// The account and partition of a cluster's roles.
#[derive(Clone, Debug)]
pub struct Roles {
    partition: String,
    account: Option<String>,
}

impl Roles {
    /// `account`: of the user; without it, it is that of an ARN in the objects.
    pub fn new(account: Option<&str>, region: &str, control_plane: &Object, others: &[&Object]) -> Self {
        let partition = match region.split('-').next() {
            Some("cn") => "aws-cn",
            _ if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let named = control_plane.text("/partition");
        let partition = if named.is_empty() { partition } else { named };
        let arns = [
            control_plane.status.pointer("/oidcProvider/arn"),
            control_plane.status.pointer("/addons/0/arn"),
            control_plane.spec.get("encryptionConfig").and_then(|config| config.get("provider")),
        ];
        let of_identities = others.iter().map(|one| one.text("/roleARN"));
        let found = arns.into_iter().flatten().filter_map(Value::as_str).chain(of_identities).find_map(account_of);
        Self { partition: partition.to_owned(), account: account.map(str::to_owned).or(found) }
    }

    /// The ARN of the cluster.
    pub fn cluster_arn(&self, region: &str, name: &str) -> Option<String> {
        Some(format!("arn:{}:eks:{region}:{}:cluster/{name}", self.partition, self.account.as_ref()?))
    }

    /// Takes `roleName` and `rolePath` of a spec; the ARN.
    pub fn take(&self, spec: &mut Section<'_>) -> Option<String> {
        let path = spec.some_text("rolePath");
        let Some(name) = spec.some_text("roleName") else {
            spec.report_mistake("roleName", NO_ROLE);
            return None;
        };
        let Some(account) = &self.account else {
            spec.report_mistake("roleName", "is no ARN, and no ARN in the file has the account's id: add --account-id");
            return None;
        };
        Some(format!("arn:{}:iam::{account}:role{}{name}", self.partition, path.as_deref().unwrap_or("/")))
    }
}

fn account_of(arn: &str) -> Option<String> {
    let account = arn.split(':').nth(4)?;
    (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())).then(|| account.to_owned())
}
