//! All checks of one cluster, in order: what later ones need comes first. I/O: as the parts.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;

use super::super::plan::{self, ManifestCluster, Obstacle, Planned, live};
use super::super::reading;
use super::report::Report;
use super::{MANIFEST, needs, reach};
use crate::api::listing::counted;
use crate::api::network::NetworkKind;
use crate::api::policy::AdoptionPolicy;
use crate::aws::{Identity, MaxStaleness, Session};
use crate::resources::account_checks::permissions::{self, Principal};
use crate::resources::account_checks::{
    Finding, Outcome, encryption_key, existing,
    quotas::{self, Limits},
    region, service_roles,
};
use crate::resources::aws_validation::{self, AccountContext, Requirement, Stage};
use crate::resources::inventory::survey;
use crate::workload::proxy::Proxy;

const SPEC: &str = "spec";
const PLAN: &str = "plan";
const CREDENTIALS: &str = "credentials";

/// The report on one cluster. `live`: also of AWS and the agent's source.
pub async fn examine(wanted: &ManifestCluster<'_>, live: bool, proxy: Option<&Proxy>) -> Report {
    let mut findings = vec![Finding::passed(MANIFEST, "the operator accepts it")];
    findings.extend(plan::hints(wanted).into_iter().map(|plan::Hint { message, advice, is_note }| {
        if is_note {
            Finding { advice: Some(advice), ..Finding::passed(MANIFEST, message) }
        } else {
            Finding::warning(MANIFEST, message, advice)
        }
    }));
    if live {
        findings.extend(check_aws(wanted, proxy).await);
        if let Some(gitops) = &wanted.cluster.spec.gitops {
            findings.extend(reach::check_sources(gitops, proxy).await);
        }
    }
    Report { object: plan::named("EksCluster", wanted.cluster), about: plan::about(wanted.cluster), findings }
}

async fn check_aws(wanted: &ManifestCluster<'_>, proxy: Option<&Proxy>) -> Vec<Finding> {
    let (spec, identity) = (&wanted.cluster.spec, &wanted.grant.identity);
    let aws = match reading::session(identity, &spec.region).await {
        Ok(aws) => aws,
        Err(error) => return explain_no_session(&error, identity, &spec.region).await,
    };
    let mut findings = vec![Finding::passed(CREDENTIALS, format!("account {}, as {}", aws.account_id, aws.caller_arn))];
    if wanted.grant.account.is_none() {
        findings.push(Finding::warning(
            CREDENTIALS,
            format!("these are the credentials of the environment: there is no AwsAccount {}", spec.account_name()),
            "create the AwsAccount, or add it to the manifest: without one the operator acts only with --allow-ambient-account",
        ));
    }
    findings.push(match region::check(&aws, &spec.region).await {
        Ok(finding) => finding,
        Err(error) => Finding::not_checked("region", &spec.region, &error),
    });
    let existing = check_existing(&aws, wanted, proxy, &mut findings).await;
    check_spec(&aws, wanted, existing, &mut findings).await;
    if let Some(encryption) = &spec.secrets_encryption {
        let arn = &encryption.kms_key_arn;
        findings.push(match encryption_key::read(&aws, arn).await {
            Ok(key) => encryption_key::judge(arn, key.as_ref()),
            Err(error) => Finding::not_checked("encryption key", arn, &error),
        });
    }
    if let Some(plans) = check_plan(wanted, &mut findings).await {
        check_permissions(&aws, wanted, &plans, &mut findings).await;
        let created = needs::created(&plans);
        let needs = needs::quotas(&created, wanted, &vcpus(&aws, wanted).await);
        findings.extend(quotas::check(&aws, &needs, &wanted.cluster.cluster_name(), Limits::All).await);
    }
    findings
}

/// AWS rejects good credentials in a region that the account has not enabled.
async fn explain_no_session(error: &anyhow::Error, identity: &Identity, name: &str) -> Vec<Finding> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let home =
        variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).unwrap_or_else(|| "us-east-1".to_owned());
    if home != name
        && let Ok(aws) = reading::session(identity, &home).await
    {
        let account =
            Finding::passed(CREDENTIALS, format!("account {}, as {}, in {home}", aws.account_id, aws.caller_arn));
        let refused = Finding::failed(CREDENTIALS, format!("{name} rejects them: {error:#}"), "see the region");
        return match region::check(&aws, name).await {
            Ok(finding) => vec![account, refused, finding],
            Err(error) => vec![account, refused, Finding::not_checked("region", name, &error)],
        };
    }
    let advice = "set credentials of the environment, or correct the AwsAccount (docs/install.md)";
    vec![Finding::failed(CREDENTIALS, format!("{error:#}"), advice)]
}

/// Whether the cluster's name is taken; returns whether the cluster exists.
async fn check_existing(
    aws: &Session,
    wanted: &ManifestCluster<'_>,
    proxy: Option<&Proxy>,
    findings: &mut Vec<Finding>,
) -> bool {
    let cluster = wanted.cluster;
    let name = cluster.cluster_name();
    let found = match existing::read(aws, &name).await {
        Ok(found) => found,
        Err(error) => {
            findings.push(Finding::not_checked(existing::CHECK, &name, &error));
            return false;
        }
    };
    let object = format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
    let adopts = cluster.spec.adoption_policy == AdoptionPolicy::Adopt;
    findings.push(existing::judge(&name, &object, adopts, found.as_ref()));
    if let Some((endpoint, certificate_authority)) = found.as_ref().and_then(|found| found.api.as_ref()) {
        findings.push(reach::check_endpoint(endpoint, certificate_authority, proxy).await);
    }
    found.is_some()
}

/// What the spec names in AWS: a line each.
async fn check_spec(aws: &Session, wanted: &ManifestCluster<'_>, exists: bool, findings: &mut Vec<Finding>) {
    let ManifestCluster { cluster, groups, grant, .. } = wanted;
    let stage = if exists { Stage::Edited } else { Stage::New };
    let object = format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
    // What cannot be read then is said by the checks that read it.
    let own_vpc = survey::find_vpc(aws, &object).await.unwrap_or_default();
    let around =
        AccountContext { account_id: &aws.account_id, settings: Some(&grant.settings), own_vpc: own_vpc.as_deref() };
    let mut requirements = aws_validation::of_cluster(&cluster.spec, stage, around);
    let view = plan::view_from_nothing(wanted);
    for group in groups {
        // What is wrong then is wrong with the cluster, and has its line.
        let Ok(view) = &view else { break };
        let of_group = aws_validation::of_node_group(&group.spec, stage, &cluster.spec, view);
        let of = |field| format!("{field} of NodeGroup {}", group.name_any());
        let named = |one: Requirement| Requirement { field: of(one.field), ..one };
        requirements.extend(of_group.into_iter().map(named));
    }
    for requirement in &requirements {
        match aws_validation::check(aws, std::slice::from_ref(requirement)).await {
            Ok(()) => {}
            Err(failure) => findings.push(Finding::failed(SPEC, failure.message, "correct the field")),
        }
    }
    if !findings.iter().any(|finding| finding.check == SPEC) {
        let message =
            format!("what it names in AWS exists and fits together ({})", counted(requirements.len(), "check"));
        findings.push(Finding::passed(SPEC, message));
    }
}

/// The plan, from the state of AWS if that can be read.
async fn check_plan(wanted: &ManifestCluster<'_>, findings: &mut Vec<Finding>) -> Option<Vec<Planned>> {
    let plans = match live::plan(wanted).await {
        Ok(plans) => plans,
        Err(error) => {
            // What is wrong with the spec has its lines already.
            if !findings.iter().any(|finding| finding.check == SPEC && finding.advice.is_some()) {
                findings.push(Finding::failed(PLAN, format!("{error:#}"), "correct the spec"));
            }
            return plan::from_nothing(wanted).ok();
        }
    };
    for planned in &plans {
        let is_known = findings.iter().any(|one| one.check == existing::CHECK && one.outcome == Outcome::Failed);
        let mut seen = BTreeSet::new();
        for Obstacle { key, message, advice } in plan::obstacles(planned) {
            // That the cluster is of others has its line already.
            let is_cluster = key.is_some_and(|key| key == crate::resources::eks::cluster::key());
            if !(is_cluster && is_known) && seen.insert(message.clone()) {
                findings.push(Finding::failed(PLAN, format!("{}: {message}", planned.title), advice));
            }
        }
        if seen.is_empty() {
            findings.push(Finding::passed(PLAN, format!("{}: {}", planned.title, planned.plan.summary())));
        }
    }
    if let Ok(NetworkKind::Vpc(_)) = wanted.cluster.spec.network.kind() {
        let zones: BTreeSet<String> = plans
            .iter()
            .flat_map(|planned| planned.graph.nodes())
            .filter_map(|node| Some(crate::resources::network::subnet::zone_of(&node.key())?.1.to_owned()))
            .collect();
        if !zones.is_empty() {
            let zones: Vec<String> = zones.into_iter().collect();
            findings.push(Finding::passed("zones", zones.join(", ")));
        }
    }
    Some(plans)
}

async fn check_permissions(
    aws: &Session,
    wanted: &ManifestCluster<'_>,
    plans: &[Planned],
    findings: &mut Vec<Finding>,
) {
    const CHECK: &str = "permissions";
    let mut may_create_roles = None;
    match permissions::principal(aws).await {
        Ok(Principal::Known(principal)) => {
            let (actions, names) = (needs::actions(plans), needs::names(plans, wanted, &aws.partition));
            match permissions::simulate(aws, &principal, &actions, &names).await {
                Ok(simulation) => {
                    may_create_roles = Some(simulation.may("iam:CreateServiceLinkedRole"));
                    findings.extend(permissions::judge(&principal, &simulation));
                }
                Err(error) => {
                    findings.push(Finding::not_checked(CHECK, &format!("the policies of {principal}"), &error))
                }
            }
        }
        Ok(Principal::Unknown(why)) => findings.push(Finding::warning(CHECK, why, "check its policies by hand")),
        Err(error) => findings.push(Finding::not_checked(CHECK, "the identity", &error)),
    }
    for role in needs::service_roles(plans, wanted) {
        findings.push(match service_roles::exists(aws, role).await {
            Ok(exists) => service_roles::judge(role, exists, may_create_roles),
            Err(error) => Finding::not_checked("service role", role.role, &error),
        });
    }
}

/// vCPUs of the instance types of the node groups; unknown ones are left out: the spec's checks name them.
async fn vcpus(aws: &Session, wanted: &ManifestCluster<'_>) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for name in wanted.groups.iter().flat_map(|group| &group.spec.instance_types) {
        let family = name.split('.').next().unwrap_or_default();
        if let Ok(types) = aws.snapshots.instance_types(family, MaxStaleness::any()).await {
            found.extend(types.iter().map(|one| (one.name.clone(), one.vcpus)));
        }
    }
    found
}
