//! Whether an identity may call what Keelson calls, by IAM's simulator: nothing is called for it.
//!
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>. It considers the identity's
//! policies, its permissions boundary, and service control policies without conditions; not session policies, VPC
//! endpoint policies and resource control policies. What a policy requires of a request (tags, names, the boundary of
//! a new role) is passed as Keelson would send it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType};

use super::Finding;
use super::requests::{AccountRegion, Names, SimulatedRequest, simulated_requests};
use crate::api::listing::first_few_joined;
use crate::aws::{AwsError, MaxStaleness, Service, Session};

const CHECK: &str = "permissions";
/// Most actions in one message.
const MAX_NAMED: usize = 6;
/// IAM answers 100 results at once by default.
const MAX_ACTIONS: usize = 50;

/// A principal whose policies IAM can simulate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// ARN of a role or user.
    Known(String),
    /// Why it cannot be simulated.
    Unknown(String),
}

/// The principal of the session: of an assumed role the role, with its path.
///
/// # Errors
/// AWS could not be asked.
pub async fn principal(aws: &Session) -> Result<Principal, AwsError> {
    let arn = &*aws.caller_arn;
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    if let Some(rest) = resource.strip_prefix("assumed-role/") {
        let name = rest.split('/').next().unwrap_or_default();
        let found = aws.snapshots.named_role(name, MaxStaleness::now()).await?;
        return Ok(match &*found {
            Some(role) => Principal::Known(role.arn.clone()),
            None => Principal::Unknown(format!("IAM does not show role {name}")),
        });
    }
    Ok(match resource {
        "root" => {
            Principal::Unknown("it is the root user, which may do everything: do not run Keelson with it".to_owned())
        }
        _ if resource.starts_with("user/") => Principal::Known(arn.to_owned()),
        _ => Principal::Unknown(format!("IAM simulates roles and users only, not {arn}")),
    })
}

/// How the simulation of all actions ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// How many are allowed.
    pub allowed: usize,
    /// Reasons, and the denied actions of each.
    pub denied: BTreeMap<Denial, BTreeSet<String>>,
}

impl Simulation {
    /// Whether the identity may do it.
    pub fn may(&self, action: &str) -> bool {
        !self.denied.values().any(|actions| actions.contains(action))
    }
}

/// What denies an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    ServiceControlPolicy,
    PermissionsBoundary,
    ExplicitDeny,
    NoPolicy,
}

/// Simulates all actions.
///
/// # Errors
/// AWS could not be asked.
pub async fn simulate(
    aws: &Session,
    principal: &str,
    actions: &BTreeSet<&'static str>,
    names: &Names,
) -> Result<Simulation, AwsError> {
    let place = AccountRegion { partition: &aws.partition, region: &aws.region, account: &aws.account_id };
    let mut groups = BTreeMap::<SimulatedRequest, Vec<&str>>::new();
    for action in actions {
        for simulated in simulated_requests(action, &place, names) {
            groups.entry(simulated).or_default().push(action);
        }
    }
    let (mut denied, mut all) = (BTreeMap::<&str, Denial>::new(), BTreeSet::new());
    for (simulated, actions) in &groups {
        for some in actions.chunks(MAX_ACTIONS) {
            for result in request(aws, principal, some, simulated).await? {
                let Some(action) = some.iter().find(|action| **action == result.eval_action_name()) else { continue };
                all.insert(*action);
                if let Some(denial) = denial(&result) {
                    denied.entry(action).or_insert(denial);
                }
            }
        }
    }
    let mut simulation = Simulation { allowed: all.len() - denied.len(), ..Simulation::default() };
    for (action, why) in denied {
        simulation.denied.entry(why).or_default().insert(action.to_owned());
    }
    Ok(simulation)
}

async fn request(
    aws: &Session,
    principal: &str,
    actions: &[&str],
    simulated: &SimulatedRequest,
) -> Result<Vec<EvaluationResult>, AwsError> {
    let (mut all, mut marker) = (Vec::new(), None);
    loop {
        let mut request = aws.iam.simulate_principal_policy().policy_source_arn(principal).set_marker(marker);
        request = request.resource_arns(&simulated.resource);
        for action in actions {
            request = request.action_names(*action);
        }
        for (key, values) in &simulated.context {
            let kind = if *key == "aws:TagKeys" { ContextKeyTypeEnum::StringList } else { ContextKeyTypeEnum::String };
            let entry = ContextEntry::builder().context_key_name(*key).context_key_type(kind);
            request = request.context_entries(entry.set_context_key_values(Some(values.clone())).build());
        }
        let page = aws.call(Service::Iam, "SimulatePrincipalPolicy", principal, request.send()).await?;
        marker = page.marker.filter(|_| page.is_truncated);
        all.extend(page.evaluation_results.unwrap_or_default());
        if marker.is_none() {
            return Ok(all);
        }
    }
}

fn denial(result: &EvaluationResult) -> Option<Denial> {
    let decision = result.eval_decision();
    if *decision == PolicyEvaluationDecisionType::Allowed {
        return None;
    }
    Some(if result.organizations_decision_detail().is_some_and(|detail| !detail.allowed_by_organizations()) {
        Denial::ServiceControlPolicy
    } else if result
        .permissions_boundary_decision_detail()
        .is_some_and(|detail| !detail.allowed_by_permissions_boundary())
    {
        Denial::PermissionsBoundary
    } else if *decision == PolicyEvaluationDecisionType::ExplicitDeny {
        Denial::ExplicitDeny
    } else {
        Denial::NoPolicy
    })
}

/// A line for what is allowed, and one for each reason of a denial.
pub fn judge(principal: &str, simulation: &Simulation) -> Vec<Finding> {
    let Simulation { allowed, denied } = simulation;
    let mut findings = Vec::new();
    if denied.is_empty() {
        findings.push(Finding::passed(CHECK, format!("{principal} may call all {allowed} actions that this needs")));
    }
    for (why, actions) in denied {
        let named = first_few_joined(actions, MAX_NAMED, ", ", ", and ");
        let (why, advice) = match why {
            Denial::ServiceControlPolicy => (
                "a service control policy of the organization denies",
                "ask the administrators of the organization to allow them for this role".to_owned(),
            ),
            Denial::PermissionsBoundary => {
                ("its permissions boundary does not allow", "add them to the boundary".to_owned())
            }
            Denial::ExplicitDeny => ("one of its policies explicitly denies", "remove the Deny".to_owned()),
            Denial::NoPolicy => (
                "no policy of it allows",
                "attach the policies of deploy/ (docs/install.md), or allow them in another way".to_owned(),
            ),
        };
        findings.push(Finding::failed(CHECK, format!("{principal}: {why} {named}"), advice));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn each_reason_of_a_denial_is_a_line_of_its_own() {
        let denied = [
            (Denial::NoPolicy, BTreeSet::from(["ec2:CreateVpc".to_owned()])),
            (Denial::ServiceControlPolicy, BTreeSet::from(["ec2:CreateNatGateway".to_owned()])),
        ];
        let simulation = Simulation { allowed: 3, denied: denied.into() };
        let found = judge("role", &simulation);
        assert!(found.iter().all(|finding| finding.outcome == Outcome::Failed));
        assert!(
            found[0].message.contains("service control policy") && found[1].message.contains("no policy"),
            "{found:?}"
        );
        assert!(!simulation.may("ec2:CreateVpc") && simulation.may("ec2:DeleteVpc"));
        assert_eq!(judge("role", &Simulation { allowed: 9, denied: BTreeMap::new() })[0].outcome, Outcome::Passed);
    }
}
