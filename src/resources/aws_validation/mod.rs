//! Preflight checks, before the first write: whether the AWS resources that a spec names exist and fit together.
//!
//! [`claims`] derives the requirements from a spec, [`refusal`] evaluates them against what was read; both are pure.
//! This file reads. Reads are shared by all objects of the account and region and cached for hours; before a spec is
//! refused, the value is read again. If a read is denied (`AccessDenied`), the requirement counts as met and AWS
//! reports the problem later.

pub mod ami;
pub mod claims;
mod own_network;
pub mod refusal;
mod requirement;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;

use crate::api::listing::first_few_joined;
use crate::aws::snapshots::named::Template;
use crate::aws::{AwsError, MaxStaleness, Session};
use crate::engine::{Class, Failure};
use crate::resources::network::existing_subnets::Network;
use claims::{NodeLocations, RequirementKind};
use refusal::Fact;

pub use claims::{Requirement, Stage, knows_subnets, of_cluster, of_node_group};
pub use own_network::AccountContext;

/// How long a positive result is cached.
const MAX_AGE: Duration = Duration::from_secs(6 * 3600);
/// How long a missing resource is cached: it may just be being created.
const MISSING_MAX_AGE: Duration = Duration::from_secs(10);
/// Concurrent reads.
const CONCURRENCY: usize = 8;
/// Most problems in one message.
const MAX_PROBLEMS: usize = 5;

/// Checks the requirements against AWS.
///
/// # Errors
/// Class [`Class::Invalid`]: what is wrong, with field, value and valid values. Any other class: AWS could not be read;
/// retry.
pub async fn check(aws: &Session, requirements: &[Requirement]) -> Result<(), Failure> {
    let (versions, others): (Vec<_>, Vec<_>) =
        requirements.iter().partition(|requirement| matches!(requirement.kind, RequirementKind::Version(_)));
    // If the version does not exist, no other check is meaningful.
    for group in [versions, others] {
        let reads: Vec<_> = group.into_iter().map(|requirement| check_requirement(aws, requirement)).collect();
        let answers: Vec<_> = futures::stream::iter(reads).buffered(CONCURRENCY).collect().await;
        let mut wrong: Vec<String> = Vec::new();
        for answer in answers {
            wrong.extend(answer?);
        }
        if !wrong.is_empty() {
            return Err(Failure::invalid(first_few_joined(wrong, MAX_PROBLEMS, "; ", "; and ")));
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
        let requirement = Requirement { field: String::new(), kind: RequirementKind::Policy(arn.clone()) };
        if check_requirement(aws, &requirement).await?.is_some() {
            missing.insert(arn.clone());
        }
    }
    Ok(missing)
}

/// What is wrong with one requirement, if anything.
async fn check_requirement(aws: &Session, requirement: &Requirement) -> Result<Option<String>, Failure> {
    let mut problem = None;
    for age in [MAX_AGE, MISSING_MAX_AGE] {
        let fact = match look_up(aws, &requirement.kind, MaxStaleness::within(age)).await {
            Ok(fact) => fact,
            Err(error) if is_retriable(error.class()) => return Err(error.into()),
            Err(error) => {
                tracing::debug!(field = requirement.field, %error, "preflight check skipped");
                return Ok(None);
            }
        };
        problem = refusal::find_problem(requirement, &fact, &aws.region);
        if problem.is_none() {
            break;
        }
    }
    Ok(problem)
}

/// Whether a retry may help.
fn is_retriable(class: Class) -> bool {
    class.is_transient() || matches!(class, Class::CredentialsUnavailable | Class::WrongAccount)
}

async fn look_up(aws: &Session, kind: &RequirementKind, staleness: MaxStaleness) -> Result<Fact, AwsError> {
    let reads = &aws.snapshots;
    Ok(match kind {
        RequirementKind::Version(_) => {
            let offered = reads.cluster_versions(staleness).await?;
            Fact::Versions(offered.iter().map(|one| one.version.clone()).collect())
        }
        RequirementKind::Role { arn, .. } => match aws.own_iam_name(arn, "role/") {
            Some(name) => Fact::Role((*reads.named_role(name, staleness).await?).clone()),
            None => Fact::Unknown,
        },
        RequirementKind::User(arn) => match aws.own_iam_name(arn, "user/") {
            Some(name) => Fact::User((*reads.user(name, staleness).await?).clone()),
            None => Fact::Unknown,
        },
        RequirementKind::Policy(arn) => Fact::Policy(reads.has_policy(arn, staleness).await?),
        RequirementKind::Addon { name, .. } => Fact::Addon(reads.addon_offers(name, staleness).await?),
        RequirementKind::SecurityGroups { subnets, vpc, .. } => {
            let vpc = match vpc {
                Some(vpc) => Some(vpc.clone()),
                None => {
                    let all = reads.subnets_by_id(subnets, staleness).await?;
                    all.iter().find(|one| subnets.contains(&one.id)).map(|one| one.vpc_id.clone())
                }
            };
            match vpc {
                Some(vpc) => {
                    let groups = reads.security_groups_of_vpc(&vpc, staleness).await?;
                    Fact::SecurityGroups { ids: groups.iter().map(|group| group.id.clone()).collect(), vpc }
                }
                None => Fact::Unknown,
            }
        }
        RequirementKind::GroupsOfOwnVpc { vpc: None, .. } => Fact::NoVpc,
        RequirementKind::GroupsOfOwnVpc { vpc: Some(vpc), .. } => {
            let groups = reads.security_groups_of_vpc(vpc, staleness).await?;
            Fact::SecurityGroups { ids: groups.iter().map(|group| group.id.clone()).collect(), vpc: vpc.clone() }
        }
        RequirementKind::Addresses { ids, vpc } => {
            // Others may have taken one since an earlier read.
            let age = MaxStaleness::within(MISSING_MAX_AGE);
            let (addresses, gateways) = futures::try_join!(reads.addresses_by_id(ids, age), reads.nat_gateways(age))?;
            let ours = gateways.iter().filter(|gateway| vpc.as_ref() == Some(&gateway.vpc_id));
            let used_by_ours = ours.flat_map(|gateway| gateway.allocation_ids.iter().cloned()).collect();
            Fact::Addresses { found: addresses.to_vec(), used_by_ours }
        }
        RequirementKind::Vpc { subnets, .. } | RequirementKind::Subnets(subnets) => {
            let all = reads.subnets_by_id(subnets, staleness).await?;
            Fact::Subnets(all.iter().filter(|one| subnets.contains(&one.id)).cloned().collect())
        }
        RequirementKind::Template { id, version } => {
            Fact::Template((*reads.launch_template(id, version, staleness).await?).clone())
        }
        RequirementKind::Instances { types, locations, template, has_image, .. } => {
            let mut has_image = *has_image;
            if let Some((id, version)) = template {
                match &*reads.launch_template(id, version, staleness).await? {
                    Template::Missing(_) | Template::Found { has_instance_type: true, .. } => {
                        return Ok(Fact::Unknown);
                    }
                    Template::Found { has_image: one, .. } => has_image = *one,
                }
            }
            let families: BTreeSet<&str> = types.iter().filter_map(|name| Some(name.split_once('.')?.0)).collect();
            let mut offered = Vec::new();
            for family in families {
                offered.extend(reads.instance_types(family, staleness).await?.iter().cloned());
            }
            let zones = match locations {
                NodeLocations::Unknown => BTreeSet::new(),
                NodeLocations::Zones(zones) => zones.iter().cloned().collect(),
                NodeLocations::Subnets(ids) => {
                    let all = reads.subnets_by_id(ids, staleness).await?;
                    all.iter().filter(|one| ids.contains(&one.id)).map(|one| one.zone.clone()).collect()
                }
            };
            Fact::Instances { offered, zones, has_image }
        }
        RequirementKind::PrivateSubnets(ids) => {
            let all = reads.subnets_by_id(ids, staleness).await?;
            let found: Vec<_> = all.iter().filter(|one| ids.contains(&one.id)).cloned().collect();
            let Some(vpc) = found.first().map(|one| one.vpc_id.clone()) else { return Ok(Fact::Unknown) };
            let tables = reads.route_tables_of_vpc(&vpc, staleness).await?;
            Fact::Network(Network { subnets: found, tables: Some(tables.to_vec()), ..Network::default() })
        }
        RequirementKind::NodeSubnets { subnets, private_access, .. } => {
            let all = reads.subnets_by_id(subnets, staleness).await?;
            let found: Vec<_> = all.iter().filter(|one| subnets.contains(&one.id)).cloned().collect();
            // What does not exist is reported by its own requirement.
            let Some(vpc) = found.first().map(|one| one.vpc_id.clone()) else { return Ok(Fact::Unknown) };
            let tables = reads.route_tables_of_vpc(&vpc, staleness).await?;
            let endpoints = reads.endpoints_of_vpc(&vpc, staleness).await?;
            let zones = reads.zones(MaxStaleness::within(MAX_AGE)).await?;
            Fact::Network(Network {
                subnets: found,
                zones: zones.iter().map(|zone| (zone.name.clone(), zone.clone())).collect(),
                tables: Some(tables.to_vec()),
                endpoints: Some(endpoints.to_vec()),
                private_access: *private_access,
                ..Network::default()
            })
        }
        RequirementKind::OwnImage { template: None, .. } => Fact::Unknown,
        RequirementKind::OwnImage { template: Some((id, version)), .. } => {
            Fact::Template((*reads.launch_template(id, version, staleness).await?).clone())
        }
        // Their names say everything.
        RequirementKind::AmiType { .. } | RequirementKind::Key(_) => Fact::Unknown,
    })
}
