//! Data from AWS for an upgrade: versions and add-ons on offer, insights, free addresses. I/O: reads through
//! [`crate::aws`], shared by all clusters of the region where the data is regional.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_eks::types::{Category, InsightStatusValue, InsightSummary, InsightsFilter, InsightsRefreshStatus};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::api::KubernetesVersion;
use crate::aws::{MaxStaleness, Service};
use crate::engine::{Class, Failure};
use crate::resources::aws_validation::ami::AmiType;
use crate::resources::cloud::Cloud;
use crate::upgrade::addon_versions::OfferedVersion;
use crate::upgrade::preflight::{Insight, InsightStatus};
use crate::upgrade::support::SupportDates;

/// How long offers are cached: versions appear a few times a month.
const OFFERS_MAX_AGE: Duration = Duration::from_secs(6 * 3600);

/// The Kubernetes versions that EKS offers in the region, with the end of their support. `age` limits how old the data
/// may be.
pub async fn versions(cloud: &Cloud, age: Duration) -> Result<BTreeMap<KubernetesVersion, SupportDates>, Failure> {
    let offered = cloud.aws.snapshots.cluster_versions(MaxStaleness::within(OFFERS_MAX_AGE.min(age))).await?;
    let day = |time: Option<Timestamp>| time.map(|time| time.to_zoned(TimeZone::UTC).date());
    let dates = offered.iter().filter_map(|one| {
        let dates = SupportDates { standard: day(one.standard_ends), extended: day(one.extended_ends) };
        Some((one.version.parse().ok()?, dates))
    });
    Ok(dates.collect())
}

/// The versions of an add-on that EKS offers, by Kubernetes version. For `age` see [`versions`].
pub async fn addon_offers(
    cloud: &Cloud,
    addon: &str,
    on: &[KubernetesVersion],
    age: Duration,
) -> Result<BTreeMap<KubernetesVersion, Vec<OfferedVersion>>, Failure> {
    let offers = cloud.aws.snapshots.addon_offers(addon, MaxStaleness::within(OFFERS_MAX_AGE.min(age))).await?;
    let of = |kubernetes: &KubernetesVersion| {
        let name = kubernetes.to_string();
        let available = offers.iter().filter_map(|offer| offer.for_kubernetes(&name));
        available.map(|offer| OfferedVersion { version: offer.version, default: offer.default }).collect()
    };
    Ok(on.iter().map(|kubernetes| (*kubernetes, of(kubernetes))).collect())
}

/// EKS's upgrade insights for the cluster; errors include the affected resources.
pub async fn insights(cloud: &Cloud, cluster: &str) -> Result<Vec<Insight>, Failure> {
    let mut all = Vec::new();
    let mut next = None;
    loop {
        let filter = InsightsFilter::builder().categories(Category::UpgradeReadiness).build();
        let request = cloud.aws.eks.list_insights().cluster_name(cluster).filter(filter).set_next_token(next);
        let answer = cloud.aws.call(Service::Eks, "ListInsights", cluster, request.send()).await?;
        for one in answer.insights() {
            let mut insight = insight(one);
            if insight.status == InsightStatus::Error
                && let Some(id) = one.id()
            {
                let resources_named = affected_resources(cloud, cluster, id).await?;
                if !resources_named.is_empty() {
                    insight.reason = format!("{} ({})", insight.reason, resources_named.join(", "));
                }
            }
            all.push(insight);
        }
        next = answer.next_token;
        if next.is_none() {
            return Ok(all);
        }
    }
}

fn insight(one: &InsightSummary) -> Insight {
    let status = one.insight_status();
    Insight {
        name: one.name().unwrap_or_default().to_owned(),
        status: match status.and_then(|status| status.status()) {
            Some(InsightStatusValue::Passing) => InsightStatus::Passing,
            Some(InsightStatusValue::Warning) => InsightStatus::Warning,
            Some(InsightStatusValue::Error) => InsightStatus::Error,
            _ => InsightStatus::Unknown,
        },
        reason: status.and_then(|status| status.reason()).unwrap_or_default().to_owned(),
        version: one.kubernetes_version().and_then(|version| version.parse().ok()),
        refreshed: one.last_refresh_time().and_then(|at| Timestamp::from_second(at.secs()).ok()),
    }
}

/// Whether AWS has AMIs of that type for the next Kubernetes version. `None`: unknown, as for types that AWS does not
/// list for the current version either.
pub async fn ami_exists(
    cloud: &Cloud,
    ami_type: &str,
    (from, to): (KubernetesVersion, KubernetesVersion),
    age: Duration,
) -> Option<bool> {
    if AmiType::parse(ami_type)?.last.is_some_and(|last| to > last) {
        return Some(false);
    }
    for (version, exists) in [(to, true), (from, false)] {
        let staleness = MaxStaleness::within(OFFERS_MAX_AGE.min(age));
        match cloud.aws.snapshots.newest_release(&version.to_string(), ami_type, staleness).await {
            Ok(Some(_)) => return Some(exists),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, ami_type, "cannot read whether AWS has AMIs of the next version");
                return None;
            }
        }
    }
    None
}

/// Lets EKS evaluate the insights of a cluster now, which it does by itself once a day.
pub async fn start_insights_refresh(cloud: &Cloud, cluster: &str) -> Result<(), Failure> {
    let request = cloud.aws.eks.start_insights_refresh().cluster_name(cluster);
    cloud.aws.call(Service::Eks, "StartInsightsRefresh", cluster, request.send()).await?;
    Ok(())
}

/// Whether EKS is evaluating the insights of a cluster.
pub async fn insights_are_refreshed(cloud: &Cloud, cluster: &str) -> Result<bool, Failure> {
    let request = cloud.aws.eks.describe_insights_refresh().cluster_name(cluster);
    let answer = cloud.aws.call(Service::Eks, "DescribeInsightsRefresh", cluster, request.send()).await?;
    if answer.status() == Some(&InsightsRefreshStatus::Failed) {
        let why = answer.message().unwrap_or_default();
        tracing::warn!(cluster, why, "EKS could not refresh the insights");
    }
    Ok(answer.status() == Some(&InsightsRefreshStatus::InProgress))
}

/// Some of the resources that an insight lists.
async fn affected_resources(cloud: &Cloud, cluster: &str, id: &str) -> Result<Vec<String>, Failure> {
    const MAX_NAMED: usize = 5;
    let request = cloud.aws.eks.describe_insight().cluster_name(cluster).id(id);
    let insight = match cloud.aws.call(Service::Eks, "DescribeInsight", id, request.send()).await {
        // The insight was removed after the list was read.
        Err(error) if error.class() == Class::NotFound => return Ok(Vec::new()),
        other => other?.insight,
    };
    let resources = insight.as_ref().map_or(&[][..], |insight| insight.resources());
    let resources_named = resources.iter().filter_map(|one| one.kubernetes_resource_uri().or(one.arn()));
    Ok(resources_named.take(MAX_NAMED).map(str::to_owned).collect())
}

/// Free addresses of subnets, by id.
pub async fn free_addresses(cloud: &Cloud, subnets: &[String]) -> Result<Vec<(String, i32)>, Failure> {
    let observed = cloud.aws.snapshots.subnets_by_id(subnets, MaxStaleness::now()).await?;
    let ours = observed.iter().filter(|subnet| subnets.contains(&subnet.id));
    Ok(ours.map(|subnet| (subnet.id.clone(), subnet.free_addresses)).collect())
}
