//! What metrics say of an object, from the status that is written. Pure.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::status_cluster::EksClusterStatus;
use crate::aws::Arn;
use crate::telemetry::objects::{ClusterState, ConditionState};

/// The conditions as they are labelled.
pub fn conditions(conditions: &[Condition]) -> Vec<ConditionState> {
    let state = |one: &Condition| ConditionState {
        condition_type: one.type_.clone(),
        status: one.status.clone(),
        reason: one.reason.clone(),
    };
    conditions.iter().map(state).collect()
}

/// What the cluster is in AWS; `None` before EKS has it.
pub fn cluster(status: &EksClusterStatus) -> Option<ClusterState> {
    // arn:aws:eks:eu-west-1:123456789012:cluster/prod
    let Arn { region, account, resource, .. } = Arn::parse(status.arn.as_deref()?)?;
    let support = status.support.as_ref();
    let ends = [
        ("standard", support.and_then(|support| support.standard_ends.as_deref())),
        ("extended", support.and_then(|support| support.extended_ends.as_deref())),
    ];
    Some(ClusterState {
        name: resource.strip_prefix("cluster/").unwrap_or(resource).to_owned(),
        account: account.to_owned(),
        region: region.to_owned(),
        version: status.version.clone().unwrap_or_default(),
        platform_version: status.platform_version.clone().unwrap_or_default(),
        support_ends: ends.into_iter().filter_map(|(kind, day)| Some((kind, end_of_day(day?)?))).collect(),
    })
}

/// The end of a day in UTC (`YYYY-MM-DD`), in seconds since 1970.
fn end_of_day(day: &str) -> Option<i64> {
    let next = day.parse::<Date>().ok()?.tomorrow().ok()?;
    Some(next.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status_cluster::SupportStatus;

    #[test]
    fn cluster_is_read_from_its_arn_and_support() {
        let support = SupportStatus { standard_ends: Some("2027-01-15".into()), extended_ends: None };
        let status = EksClusterStatus {
            arn: Some("arn:aws-us-gov:eks:us-gov-west-1:123456789012:cluster/prod".into()),
            version: Some("1.36".into()),
            support: Some(support),
            ..EksClusterStatus::default()
        };
        let found = cluster(&status).unwrap();
        assert_eq!((&*found.name, &*found.account, &*found.region), ("prod", "123456789012", "us-gov-west-1"));
        let end: jiff::Timestamp = "2027-01-16T00:00:00Z".parse().unwrap();
        assert_eq!(found.support_ends, [("standard", end.as_second())]);
        assert_eq!(cluster(&EksClusterStatus::default()), None);
    }
}
