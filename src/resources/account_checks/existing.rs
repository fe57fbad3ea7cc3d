//! The EKS cluster that has the name already, if there is one.

use aws_sdk_eks::types::ClusterStatus;

use super::Finding;
use crate::aws::tags::{self, Tags};
use crate::aws::{AwsError, Service, Session};

/// The name of the check.
pub const CHECK: &str = "cluster";

/// A cluster in EKS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// `ACTIVE`.
    pub status: String,
    /// Namespace and name of the object that made it, from its tags.
    pub owner: Option<String>,
    /// URL and certificate authority (PEM in base64), once it has them.
    pub api: Option<(String, String)>,
    /// Problems that EKS reports: code and message.
    pub issues: Vec<String>,
}

/// The cluster of that name.
///
/// # Errors
/// AWS could not be asked.
pub async fn read(aws: &Session, name: &str) -> Result<Option<Existing>, AwsError> {
    let request = aws.eks.describe_cluster().name(name);
    let found = match aws.call(Service::Eks, "DescribeCluster", name, request.send()).await {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?.cluster,
    };
    Ok(found.map(|cluster| {
        let ca = cluster.certificate_authority().and_then(|ca| ca.data());
        let issues = cluster.health().map(|health| health.issues()).unwrap_or_default().iter();
        let issue = |code: Option<&str>, message: Option<&str>| {
            format!("{}: {}", code.unwrap_or("unknown"), message.unwrap_or_default())
        };
        Existing {
            status: cluster.status().map(ClusterStatus::as_str).unwrap_or_default().to_owned(),
            owner: Tags::from_eks(cluster.tags()).get(tags::CLUSTER).map(str::to_owned),
            api: cluster.endpoint().zip(ca).map(|(endpoint, ca)| (endpoint.to_owned(), ca.to_owned())),
            issues: issues.map(|one| issue(one.code().map(|code| code.as_str()), one.message())).collect(),
        }
    }))
}

/// Whether the name is free, or the cluster the object's own. `object`: its namespace and name.
pub fn judge(name: &str, object: &str, adopts: bool, existing: Option<&Existing>) -> Finding {
    let Some(Existing { status, owner, issues, .. }) = existing else {
        return Finding::passed(CHECK, format!("the name {name} is free"));
    };
    match owner.as_deref() {
        Some(owner) if owner == object && issues.is_empty() => Finding::passed(CHECK, format!("{name} is {status}")),
        Some(owner) if owner == object => Finding::failed(
            CHECK,
            format!("{name} is {status}, and EKS reports {}", issues.join("; ")),
            "see docs/troubleshooting.md for the code",
        ),
        Some(owner) => Finding::failed(
            CHECK,
            format!("{name} exists and belongs to {owner}"),
            "use another cluster name, in a new EksCluster if this one is applied already; after a restore see docs/disaster-recovery.md",
        ),
        None if adopts => Finding::passed(CHECK, format!("{name} exists ({status}) and will be adopted")),
        None => Finding::failed(
            CHECK,
            format!("{name} exists and is not Keelson's"),
            "use another cluster name, in a new EksCluster if this one is applied already, or adopt it (docs/import.md)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn name_must_be_free_or_the_objects_own() {
        let of = |owner: Option<&str>, issues: &[&str]| Existing {
            status: "ACTIVE".into(),
            owner: owner.map(str::to_owned),
            api: None,
            issues: issues.iter().map(|&issue| issue.to_owned()).collect(),
        };
        for (adopts, existing, outcome) in [
            (false, None, Outcome::Passed),
            (false, Some(of(Some("default/demo"), &[])), Outcome::Passed),
            (false, Some(of(Some("default/demo"), &["KmsKeyNotFound: gone"])), Outcome::Failed),
            (true, Some(of(Some("other/demo"), &[])), Outcome::Failed),
            (false, Some(of(None, &[])), Outcome::Failed),
            (true, Some(of(None, &[])), Outcome::Passed),
        ] {
            assert_eq!(judge("demo", "default/demo", adopts, existing.as_ref()).outcome, outcome, "{existing:?}");
        }
    }
}
