//! Whether an identity may call what Keelson calls, by IAM's simulator: nothing is called for it.
//!
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>. It considers the identity's
//! policies, its permissions boundary, and service control policies without conditions; not session policies, VPC
//! endpoint policies and resource control policies. What a policy requires of a request (tags, names, the boundary of
//! a new role) is passed as Keelson would send it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType};

use super::Finding;
use crate::api::listing::first_few_joined;
use crate::aws::{AwsError, MaxStaleness, Service, Session, tags};

const CHECK: &str = "permissions";
/// Most actions in one message.
const MAX_NAMED: usize = 6;
/// IAM answers 100 results at once by default.
const MAX_ACTIONS: usize = 50;

/// What the simulated requests name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub cluster: String,
    /// Roles that Keelson creates.
    pub roles: Vec<RoleName>,
    /// The boundary of those roles.
    pub permissions_boundary: Option<String>,
}

/// A role that Keelson creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName {
    /// With its path, without a leading slash: `keelson-demo-0a1b2c3d-node`.
    pub name: String,
    /// ARNs of its policies.
    pub policies: Vec<String>,
    /// The services that it is passed to.
    pub passed_to: Vec<&'static str>,
}

/// A simulated request, apart from its action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Circumstances {
    resource: String,
    context: Vec<(&'static str, Vec<String>)>,
}

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
    let place = Place { partition: &aws.partition, region: &aws.region, account: &aws.account_id };
    let mut groups = BTreeMap::<Circumstances, Vec<&str>>::new();
    for action in actions {
        for circumstances in circumstances(action, &place, names) {
            groups.entry(circumstances).or_default().push(action);
        }
    }
    let (mut denied, mut all) = (BTreeMap::<&str, Denial>::new(), BTreeSet::new());
    for (circumstances, actions) in &groups {
        for some in actions.chunks(MAX_ACTIONS) {
            for result in request(aws, principal, some, circumstances).await? {
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
    circumstances: &Circumstances,
) -> Result<Vec<EvaluationResult>, AwsError> {
    let (mut all, mut marker) = (Vec::new(), None);
    loop {
        let mut request = aws.iam.simulate_principal_policy().policy_source_arn(principal).set_marker(marker);
        request = request.resource_arns(&circumstances.resource);
        for action in actions {
            request = request.action_names(*action);
        }
        for (key, values) in &circumstances.context {
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

struct Place<'a> {
    partition: &'a str,
    region: &'a str,
    account: &'a str,
}

impl Place<'_> {
    fn ec2(&self, kind: &str) -> String {
        let Self { partition, region, account } = self;
        let prefix = EC2_KINDS.iter().find(|(_, name, _)| *name == kind).map_or("x", |(.., prefix)| prefix);
        format!("arn:{partition}:ec2:{region}:{account}:{kind}/{prefix}-0123456789abcdef0")
    }

    fn eks(&self, resource: &str) -> String {
        let Self { partition, region, account } = self;
        format!("arn:{partition}:eks:{region}:{account}:{resource}")
    }

    fn iam(&self, resource: &str) -> String {
        let Self { partition, account, .. } = self;
        format!("arn:{partition}:iam::{account}:{resource}")
    }
}

/// What is in the name of EC2's actions, the resource type in ARNs, and the prefix of ids. The first match counts.
const EC2_KINDS: &[(&str, &str, &str)] = &[
    ("VpcEndpoint", "vpc-endpoint", "vpce"),
    ("FlowLogs", "vpc-flow-log", "fl"),
    ("Subnet", "subnet", "subnet"),
    ("InternetGateway", "internet-gateway", "igw"),
    ("NatGateway", "natgateway", "nat"),
    ("SecurityGroup", "security-group", "sg"),
    ("NetworkInterface", "network-interface", "eni"),
    ("Address", "elastic-ip", "eipalloc"),
    ("Route", "route-table", "rtb"),
    ("", "vpc", "vpc"),
];

/// The requests by which an action is simulated: what Keelson would send.
fn circumstances(action: &str, place: &Place<'_>, names: &Names) -> Vec<Circumstances> {
    let (service, name) = action.split_once(':').unwrap_or_default();
    let is_read = ["Describe", "List", "Get"].iter().any(|verb| name.starts_with(verb));
    let one = |resource: String, context| vec![Circumstances { resource, context }];
    let tagging = || vec![(REQUEST_TAG, vec!["doctor".to_owned()]), ("aws:TagKeys", vec![tags::OWNER.to_owned()])];
    let marked = |key| vec![(key, vec!["doctor".to_owned()])];
    let owned = || marked(RESOURCE_TAG);
    match (service, name) {
        ("ssm", "GetParameter") => one(
            format!(
                "arn:{}:ssm:{}::parameter/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/release_version",
                place.partition, place.region
            ),
            Vec::new(),
        ),
        ("iam", "ListRolePolicies") => of_roles(place, names, |_| vec![Vec::new()]),
        _ if is_read => one("*".to_owned(), Vec::new()),
        ("ec2", "CreateTags") => {
            let created = [("ec2:CreateAction", vec!["CreateVpc".to_owned()])];
            one(place.ec2("vpc"), tagging().into_iter().chain(created).collect())
        }
        // Leftovers of controllers in the cluster carry their tags, not ours.
        ("ec2", "DeleteNetworkInterface") => one(place.ec2("network-interface"), marked(OF_NODES)),
        ("ec2", "RevokeSecurityGroupIngress" | "RevokeSecurityGroupEgress") => {
            one(place.ec2("security-group"), marked(OF_LOAD_BALANCERS))
        }
        ("ec2", _) => {
            let kind = EC2_KINDS.iter().find(|(part, ..)| name.contains(part)).map_or("vpc", |(_, kind, _)| kind);
            let creates = name == "AllocateAddress" || name.starts_with("Create") && name != "CreateRoute";
            one(place.ec2(kind), if creates { tagging() } else { owned() })
        }
        ("eks", "CreateCluster") => one(place.eks(&format!("cluster/{}", names.cluster)), tagging()),
        ("eks", "TagResource") => one(place.eks(&format!("cluster/{}", names.cluster)), tagging()),
        ("eks", _) => {
            let id = "00000000-0000-0000-0000-000000000000";
            let kind = match name {
                _ if name.starts_with("Create") => "cluster",
                _ if name.contains("Nodegroup") => "nodegroup",
                _ if name.contains("Addon") => "addon",
                _ if name.contains("FargateProfile") => "fargateprofile",
                _ if name.contains("Access") => "access-entry",
                _ if name.contains("PodIdentity") => "podidentityassociation",
                _ => "cluster",
            };
            let cluster = &names.cluster;
            let resource = match kind {
                "cluster" => format!("cluster/{cluster}"),
                "access-entry" => format!("access-entry/{cluster}/role/{}/x/{id}", place.account),
                "podidentityassociation" => format!("podidentityassociation/{cluster}/a-x"),
                kind => format!("{kind}/{cluster}/x/{id}"),
            };
            one(place.eks(&resource), owned())
        }
        ("iam", _) if name.contains("OpenIDConnectProvider") => {
            let provider = format!("oidc-provider/oidc.eks.{}.amazonaws.com/id/EXAMPLE", place.region);
            one(
                place.iam(&provider),
                if name.starts_with("Create") || name.starts_with("Tag") { tagging() } else { owned() },
            )
        }
        ("iam", "RemoveRoleFromInstanceProfile") => one(place.iam("instance-profile/eks-x"), Vec::new()),
        ("iam", "CreateServiceLinkedRole") => one(
            place.iam("role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS"),
            vec![("iam:AWSServiceName", vec!["eks.amazonaws.com".to_owned()])],
        ),
        ("iam", "CreateRole") => of_roles(place, names, |_| vec![boundary(names, tagging())]),
        ("iam", "TagRole") => of_roles(place, names, |_| vec![tagging()]),
        ("iam", "PutRolePermissionsBoundary") => of_roles(place, names, |_| vec![boundary(names, owned())]),
        ("iam", "AttachRolePolicy") => of_roles(place, names, |role| {
            let with = |policy: &String| owned().into_iter().chain([("iam:PolicyARN", vec![policy.clone()])]).collect();
            role.policies.iter().map(with).collect()
        }),
        ("iam", "PassRole") => of_roles(place, names, |role| {
            role.passed_to.iter().map(|service| vec![("iam:PassedToService", vec![(*service).to_owned()])]).collect()
        }),
        ("iam", _) => of_roles(place, names, |_| vec![owned()]),
        _ => one("*".to_owned(), Vec::new()),
    }
}

const REQUEST_TAG: &str = "aws:RequestTag/keelson.dev/owner";
const RESOURCE_TAG: &str = "aws:ResourceTag/keelson.dev/owner";
/// The VPC CNI's tag on interfaces of nodes.
const OF_NODES: &str = "aws:ResourceTag/node.k8s.amazonaws.com/instance_id";
/// The load balancer controller's tag on its security groups.
const OF_LOAD_BALANCERS: &str = "aws:ResourceTag/elbv2.k8s.aws/cluster";

type Context = Vec<(&'static str, Vec<String>)>;

fn of_roles(place: &Place<'_>, names: &Names, contexts: impl Fn(&RoleName) -> Vec<Context>) -> Vec<Circumstances> {
    let of_role = |role: &RoleName| {
        let resource = place.iam(&format!("role/{}", role.name));
        contexts(role).into_iter().map(move |context| Circumstances { resource: resource.clone(), context })
    };
    names.roles.iter().flat_map(|role| of_role(role).collect::<Vec<_>>()).collect()
}

fn boundary(names: &Names, mut context: Context) -> Context {
    context.extend(names.permissions_boundary.iter().map(|arn| ("iam:PermissionsBoundary", vec![arn.clone()])));
    context
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    const PLACE: Place<'_> = Place { partition: "aws", region: "eu-west-1", account: "111122223333" };

    fn names() -> Names {
        let role = RoleName {
            name: "keelson-demo-0a1b2c3d-node".into(),
            policies: vec!["arn:p1".into(), "arn:p2".into()],
            passed_to: vec!["ec2.amazonaws.com"],
        };
        Names { cluster: "demo".into(), roles: vec![role], permissions_boundary: Some("arn:boundary".into()) }
    }

    fn resources(action: &str) -> Vec<String> {
        circumstances(action, &PLACE, &names()).into_iter().map(|one| one.resource).collect()
    }

    #[test]
    fn each_action_is_simulated_on_the_resource_that_aws_checks() {
        let ec2 = "arn:aws:ec2:eu-west-1:111122223333";
        for (action, resource) in [
            ("ec2:DescribeVpcs", "*".to_owned()),
            ("ec2:CreateVpc", format!("{ec2}:vpc/vpc-0123456789abcdef0")),
            ("ec2:DeleteVpcEndpoints", format!("{ec2}:vpc-endpoint/vpce-0123456789abcdef0")),
            ("ec2:AllocateAddress", format!("{ec2}:elastic-ip/eipalloc-0123456789abcdef0")),
            ("ec2:ReplaceRouteTableAssociation", format!("{ec2}:route-table/rtb-0123456789abcdef0")),
            ("eks:CreateAddon", "arn:aws:eks:eu-west-1:111122223333:cluster/demo".to_owned()),
            ("iam:CreateRole", "arn:aws:iam::111122223333:role/keelson-demo-0a1b2c3d-node".to_owned()),
        ] {
            assert_eq!(resources(action), [resource], "{action}");
        }
    }

    #[test]
    fn condition_keys_name_the_owner_tag() {
        assert_eq!(REQUEST_TAG, format!("aws:RequestTag/{}", tags::OWNER));
        assert_eq!(RESOURCE_TAG, format!("aws:ResourceTag/{}", tags::OWNER));
    }

    #[test]
    fn a_policy_is_attached_to_each_role_in_a_request_of_its_own() {
        assert_eq!(resources("iam:AttachRolePolicy").len(), 2);
        let created = circumstances("iam:CreateRole", &PLACE, &names());
        let keys: Vec<&str> = created[0].context.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [REQUEST_TAG, "aws:TagKeys", "iam:PermissionsBoundary"]);
    }

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
