//! Preflight checks, before the first write: whether the AWS resources that a spec names exist and fit together.
//!
//! [`claims`] derives the requirements from a spec, [`refusal`] evaluates them against what was read; both are pure.
//! This file reads. Reads are shared by all objects of the account and region and cached for hours; before a spec is
//! refused, the value is read again. If a read is denied (`AccessDenied`), the requirement counts as met and AWS
//! reports the problem later.

pub mod ami;
pub mod claims;
pub mod refusal;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;

use crate::aws::snapshots::named::Template;
use crate::aws::{AwsError, MaxStaleness, Session};
use crate::engine::{Class, Failure};
use claims::{Claim, Places, What};
use refusal::Fact;

pub use claims::{Stage, of_cluster, of_node_group};

/// How long a positive result is cached.
const BELIEVED: Duration = Duration::from_secs(6 * 3600);
/// How long a missing resource is cached: it may just be being created.
const MISSING_BELIEVED: Duration = Duration::from_secs(10);
/// Concurrent reads.
const AT_ONCE: usize = 8;
/// Most problems in one message.
const MOST_TOLD: usize = 5;

/// Checks the requirements against AWS.
///
/// # Errors
/// Class [`Class::Invalid`]: what is wrong, with field, value and valid values. Any other class: AWS could not be read;
/// retry.
pub async fn check(aws: &Session, claims: &[Claim]) -> Result<(), Failure> {
    let (versions, others): (Vec<_>, Vec<_>) = claims.iter().partition(|claim| matches!(claim.what, What::Version(_)));
    // If the version does not exist, no other check is meaningful.
    for some in [versions, others] {
        let reads: Vec<_> = some.into_iter().map(|claim| refuse(aws, claim)).collect();
        let answers: Vec<_> = futures::stream::iter(reads).buffered(AT_ONCE).collect().await;
        let mut wrong: Vec<String> = Vec::new();
        for answer in answers {
            wrong.extend(answer?);
        }
        if !wrong.is_empty() {
            let more = wrong.len().saturating_sub(MOST_TOLD);
            wrong.truncate(MOST_TOLD);
            let more = if more == 0 { String::new() } else { format!("; and {more} more") };
            return Err(Failure::invalid(format!("{}{more}", wrong.join("; "))));
        }
    }
    Ok(())
}

/// The policies that do not exist, as far as the operator may read them.
///
/// # Errors
/// AWS could not be read; retry.
pub async fn missing_policies(aws: &Session, arns: &[String]) -> Result<BTreeSet<String>, Failure> {
    let mut missing = BTreeSet::new();
    for arn in arns {
        let claim = Claim { field: String::new(), what: What::Policy(arn.clone()) };
        if refuse(aws, &claim).await?.is_some() {
            missing.insert(arn.clone());
        }
    }
    Ok(missing)
}

/// What is wrong with one requirement, if anything.
async fn refuse(aws: &Session, claim: &Claim) -> Result<Option<String>, Failure> {
    let mut told = None;
    for age in [BELIEVED, MISSING_BELIEVED] {
        let fact = match look_up(aws, &claim.what, MaxStaleness::within(age)).await {
            Ok(fact) => fact,
            Err(error) if passes(error.class()) => return Err(error.into()),
            Err(error) => {
                tracing::debug!(field = claim.field, %error, "preflight check skipped");
                return Ok(None);
            }
        };
        told = refusal::refusal(claim, &fact, &aws.region);
        if told.is_none() {
            break;
        }
    }
    Ok(told)
}

/// Whether a retry may help.
fn passes(class: Class) -> bool {
    class.is_transient() || matches!(class, Class::CredentialsUnavailable | Class::WrongAccount)
}

async fn look_up(aws: &Session, what: &What, fresh: MaxStaleness) -> Result<Fact, AwsError> {
    let reads = &aws.snapshots;
    Ok(match what {
        What::Version(_) => {
            let offered = reads.cluster_versions(fresh).await?;
            Fact::Versions(offered.iter().map(|one| one.version.clone()).collect())
        }
        What::Role { arn, .. } => match aws.own_iam_name(arn, "role/") {
            Some(name) => Fact::Role((*reads.named_role(name, fresh).await?).clone()),
            None => Fact::Unknown,
        },
        What::User(arn) => match aws.own_iam_name(arn, "user/") {
            Some(name) => Fact::User((*reads.user(name, fresh).await?).clone()),
            None => Fact::Unknown,
        },
        What::Policy(arn) => Fact::Policy(reads.has_policy(arn, fresh).await?),
        What::Addon { name, .. } => Fact::Addon(reads.addon_offers(name, fresh).await?),
        What::SecurityGroups { subnets, vpc, .. } => {
            let vpc = match vpc {
                Some(vpc) => Some(vpc.clone()),
                None => {
                    let all = reads.subnets_by_id(subnets, fresh).await?;
                    all.iter().find(|one| subnets.contains(&one.id)).map(|one| one.vpc_id.clone())
                }
            };
            match vpc {
                Some(vpc) => {
                    let groups = reads.security_groups_of_vpc(&vpc, fresh).await?;
                    Fact::SecurityGroups { ids: groups.iter().map(|group| group.id.clone()).collect(), vpc }
                }
                None => Fact::Unknown,
            }
        }
        What::Vpc { subnets, .. } | What::Subnets(subnets) => {
            let all = reads.subnets_by_id(subnets, fresh).await?;
            Fact::Subnets(all.iter().filter(|one| subnets.contains(&one.id)).cloned().collect())
        }
        What::Template { id, version } => Fact::Template((*reads.launch_template(id, version, fresh).await?).clone()),
        What::Instances { types, places, template, .. } => {
            let mut has_image = false;
            if let Some((id, version)) = template {
                match &*reads.launch_template(id, version, fresh).await? {
                    Template::Missing(_) | Template::Found { has_instance_type: true, .. } => return Ok(Fact::Unknown),
                    Template::Found { has_image: one, .. } => has_image = *one,
                }
            }
            let families: BTreeSet<&str> = types.iter().filter_map(|name| Some(name.split_once('.')?.0)).collect();
            let mut offered = Vec::new();
            for family in families {
                offered.extend(reads.instance_types(family, fresh).await?.iter().cloned());
            }
            let zones = match places {
                Places::Anywhere => BTreeSet::new(),
                Places::Zones(zones) => zones.iter().cloned().collect(),
                Places::Subnets(ids) => {
                    let all = reads.subnets_by_id(ids, fresh).await?;
                    all.iter().filter(|one| ids.contains(&one.id)).map(|one| one.zone.clone()).collect()
                }
            };
            Fact::Instances { offered, zones, has_image }
        }
        // Its name says everything.
        What::AmiType { .. } => Fact::Unknown,
    })
}
