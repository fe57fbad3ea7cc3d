//! The endpoints that `private` stands for: those of a cluster without internet access. The list is pure; I/O: EC2's services.
//!
//! Follows <https://docs.aws.amazon.com/eks/latest/userguide/private-clusters.html>, with `autoscaling` for the Cluster Autoscaler and
//! `ssm` for the nodes' agent.

use std::collections::BTreeSet;
use std::time::Duration;

use super::vpc_endpoint::{KIND, service_names};
use crate::api::network::Vpc;
use crate::aws::{MaxStaleness, Session};
use crate::engine::{Failure, Key};

/// The name in the spec.
pub const PRIVATE: &str = "private";

/// What it stands for.
pub const SERVICES: [&str; 11] =
    ["autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "elasticloadbalancing", "logs", "s3", "ssm", "sts"];

/// How long the region's services are cached: new ones come once in months.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The services that a spec asks for, without those of `private` that the region does not have. One that exists stays, whatever
/// EC2 lists.
pub fn services(spec: &Vpc, missing: &BTreeSet<String>, owned: &[Key]) -> BTreeSet<String> {
    let exists = |service: &str| owned.iter().any(|key| KIND.is_of(key) && key.name() == service);
    let is_offered = |service: &&str| !missing.contains(*service) || exists(service);
    let listed = spec.endpoints.iter().filter(|name| *name != PRIVATE).cloned();
    let implied = SERVICES.into_iter().filter(|_| asks(spec)).filter(is_offered).map(str::to_owned);
    listed.chain(implied).collect()
}

/// What to say of the services that are left out; `None` if none is.
pub fn notice(spec: &Vpc, services: &BTreeSet<String>) -> Option<String> {
    let left_out: Vec<_> = SERVICES.into_iter().filter(|one| asks(spec) && !services.contains(*one)).collect();
    (!left_out.is_empty()).then(|| {
        format!(
            "endpoints of {} are left out, as the region does not have these services: without a NAT gateway, nothing reaches them",
            left_out.join(", ")
        )
    })
}

fn asks(spec: &Vpc) -> bool {
    spec.endpoints.iter().any(|name| name == PRIVATE)
}

/// Those of `private` that the region does not have. Without permission to ask, all count as existing: EC2 refuses others.
///
/// # Errors
/// EC2 could not be read; retry.
pub async fn missing(aws: &Session, spec: &Vpc) -> Result<BTreeSet<String>, Failure> {
    if !asks(spec) {
        return Ok(BTreeSet::new());
    }
    let offered = match aws.snapshots.endpoint_services(MaxStaleness::within(MAX_AGE)).await {
        Err(error) if !error.class().is_transient() => {
            tracing::debug!(%error, "check of endpoint services skipped");
            return Ok(BTreeSet::new());
        }
        other => other?,
    };
    let is_missing = |service: &&str| !service_names(&aws.region, service).any(|name| offered.contains(&name));
    Ok(SERVICES.into_iter().filter(is_missing).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::super::vpc_endpoint;
    use super::*;

    fn spec(endpoints: &[&str]) -> Vpc {
        Vpc { endpoints: endpoints.iter().map(|name| (*name).to_owned()).collect(), ..Vpc::default() }
    }

    #[test]
    fn private_stands_for_the_services_of_the_region_and_keeps_what_exists() {
        let none = BTreeSet::new();
        assert_eq!(services(&spec(&["sts"]), &none, &[]), ["sts".to_owned()].into());
        let all = services(&spec(&["private", "kms", "s3"]), &none, &[]);
        assert!(SERVICES.iter().all(|one| all.contains(*one)) && all.contains("kms") && all.len() == 12);
        let missing: BTreeSet<String> = ["eks-auth".to_owned(), "ssm".to_owned()].into();
        let private = spec(&["private"]);
        let offered = services(&private, &missing, &[vpc_endpoint::key("ssm")]);
        assert!(!offered.contains("eks-auth") && offered.contains("ssm"), "{offered:?}");
        let text = notice(&private, &offered).unwrap();
        assert!(text.starts_with("endpoints of eks-auth are left out"), "{text}");
        assert_eq!(notice(&private, &services(&private, &none, &[])), None);
        // What the spec names itself is asked of EC2.
        assert!(services(&spec(&["private", "eks-auth"]), &missing, &[]).contains("eks-auth"));
    }
}
