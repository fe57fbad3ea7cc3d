//! Whether the account may use a region.

use super::Finding;
use crate::aws::{AwsError, Service, Session};

const CHECK: &str = "region";

/// Whether the account may use `region`, asked in the region of the session, which may be another: in a region that is
/// not enabled AWS rejects the credentials.
///
/// # Errors
/// AWS could not be asked.
pub async fn check(aws: &Session, region: &str) -> Result<Finding, AwsError> {
    let request = aws.ec2.describe_regions().all_regions(true).region_names(region);
    let found = match aws.call(Service::Ec2, "DescribeRegions", region, request.send()).await {
        // EC2 answers InvalidParameterValue for a name that it does not know.
        Err(error) if error.code.as_deref() == Some("InvalidParameterValue") => return Ok(judge(region, None)),
        other => other?,
    };
    Ok(judge(region, found.regions().iter().find_map(|one| one.opt_in_status())))
}

fn judge(region: &str, opt_in: Option<&str>) -> Finding {
    match opt_in {
        Some("not-opted-in") => Finding::failed(
            CHECK,
            format!("{region} is not enabled in this account"),
            format!("enable it: `aws account enable-region --region-name {region}`; it can take hours"),
        ),
        Some(_) => Finding::passed(CHECK, format!("{region} is enabled")),
        None => Finding::failed(CHECK, format!("AWS knows no region {region}"), "correct spec.region"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn region_must_be_enabled() {
        for (opt_in, outcome) in [
            (Some("opt-in-not-required"), Outcome::Passed),
            (Some("opted-in"), Outcome::Passed),
            (Some("not-opted-in"), Outcome::Failed),
            (None, Outcome::Failed),
        ] {
            assert_eq!(judge("ap-east-1", opt_in).outcome, outcome, "{opt_in:?}");
        }
    }
}
