//! The requests by which IAM's simulator judges an action: resource, tags, names, as Keelson would send them. Pure.

use crate::aws::tags;
use crate::resources::karpenter::names as karpenter;

/// What the simulated requests name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub cluster: String,
    /// Its Kubernetes version.
    pub version: String,
    /// Roles that Keelson creates.
    pub roles: Vec<RoleName>,
    /// The boundary of those roles.
    pub permissions_boundary: Option<String>,
    /// That of the roles of Pods.
    pub workload_permissions_boundary: Option<String>,
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
    /// It is a role of Pods.
    pub is_of_pods: bool,
}

/// A simulated request, apart from its action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SimulatedRequest {
    pub resource: String,
    pub context: Vec<(&'static str, Vec<String>)>,
}

/// Where the requests are simulated.
pub(super) struct AccountRegion<'a> {
    pub partition: &'a str,
    pub region: &'a str,
    pub account: &'a str,
}

impl AccountRegion<'_> {
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

/// What is in the name of EC2's actions, the resource type in ARNs, and the prefix of ids. The first match counts. A test holds the
/// actions of all kinds against it.
const EC2_KINDS: &[(&str, &str, &str)] = &[
    ("VpcEndpoint", "vpc-endpoint", "vpce"),
    ("FlowLogs", "vpc-flow-log", "fl"),
    ("LaunchTemplate", "launch-template", "lt"),
    ("Subnet", "subnet", "subnet"),
    ("EgressOnlyInternetGateway", "egress-only-internet-gateway", "eigw"),
    ("InternetGateway", "internet-gateway", "igw"),
    ("NatGateway", "natgateway", "nat"),
    ("SecurityGroup", "security-group", "sg"),
    ("NetworkInterface", "network-interface", "eni"),
    ("Address", "elastic-ip", "eipalloc"),
    ("Route", "route-table", "rtb"),
    ("Instances", "instance", "i"),
    ("Volume", "volume", "vol"),
    ("Vpc", "vpc", "vpc"),
    // Of what else carries them, the policies require the same.
    ("Tags", "vpc", "vpc"),
];

/// The id of a resource in ARNs of EKS.
const ID: &str = "00000000-0000-0000-0000-000000000000";

/// A type of resource in ARNs of EKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EksType {
    name: &'static str,
    /// What follows the cluster's name, where `ACCOUNT` and `ID` stand for those.
    rest: &'static str,
}

impl EksType {
    const fn new(name: &'static str, rest: &'static str) -> Self {
        Self { name, rest }
    }
}

const CLUSTER: EksType = EksType::new("cluster", "");

/// What is in the name of EKS's actions, and the resource type in ARNs. The first match counts. A test as above.
const EKS_KINDS: &[(&str, EksType)] = &[
    ("IdentityProviderConfig", EksType::new("identityproviderconfig", "/x/x/ID")),
    ("Capability", EksType::new("capability", "/x/x/ID")),
    ("Nodegroup", EksType::new("nodegroup", "/x/ID")),
    ("Addon", EksType::new("addon", "/x/ID")),
    ("FargateProfile", EksType::new("fargateprofile", "/x/ID")),
    ("Access", EksType::new("access-entry", "/role/ACCOUNT/x/ID")),
    ("PodIdentity", EksType::new("podidentityassociation", "/a-x")),
    ("Cluster", CLUSTER),
    ("CertificateAuthority", CLUSTER),
    ("EncryptionConfig", CLUSTER),
    ("UntagResource", CLUSTER),
];

fn ec2_kind(action: &str) -> Option<&'static str> {
    EC2_KINDS.iter().find(|(part, ..)| action.contains(part)).map(|(_, kind, _)| *kind)
}

fn eks_kind(action: &str) -> Option<EksType> {
    // In EKS, what is created is created within the cluster.
    if action.starts_with("Create") || action == "AssociateIdentityProviderConfig" {
        return Some(CLUSTER);
    }
    EKS_KINDS.iter().find(|(part, _)| action.contains(part)).map(|(_, kind)| *kind)
}

/// The requests by which an action is simulated: what Keelson would send.
pub(super) fn simulated_requests(action: &str, place: &AccountRegion<'_>, names: &Names) -> Vec<SimulatedRequest> {
    let (service, name) = action.split_once(':').unwrap_or_default();
    let is_read = ["Describe", "List", "Get"].iter().any(|verb| name.starts_with(verb));
    let one = |resource: String, context| vec![SimulatedRequest { resource, context }];
    let tagging = || vec![(REQUEST_TAG, vec!["doctor".to_owned()]), ("aws:TagKeys", vec![tags::OWNER.to_owned()])];
    let marked = |key| vec![(key, vec!["doctor".to_owned()])];
    let owned = || marked(RESOURCE_TAG);
    match (service, name) {
        ("ssm", "GetParameter") => one(
            format!(
                "arn:{}:ssm:{}::parameter/aws/service/eks/optimized-ami/{}/amazon-linux-2023/x86_64/standard/recommended/release_version",
                place.partition, place.region, names.version
            ),
            Vec::new(),
        ),
        ("iam", "ListRolePolicies") => of_roles(place, names, |_| vec![Vec::new()]),
        ("sqs" | "events", _) => {
            let AccountRegion { partition, region, account } = place;
            let resource = match service {
                "sqs" => format!("arn:{partition}:sqs:{region}:{account}:{}", karpenter::queue(&names.cluster)),
                _ => format!("arn:{partition}:events:{region}:{account}:rule/{}", karpenter::rule(&names.cluster)),
            };
            let context = match name {
                _ if is_read => Vec::new(),
                "CreateQueue" | "PutRule" | "TagQueue" | "TagResource" => tagging(),
                _ => owned(),
            };
            one(resource, context)
        }
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
        // Karpenter launches them, with its tags.
        ("ec2", "TerminateInstances") => one(place.ec2("instance"), marked(OF_KARPENTER)),
        // The driver creates them, with its tags.
        ("ec2", "DeleteVolume") => one(place.ec2("volume"), marked(OF_CLAIMS)),
        // EKS creates them, with its tags.
        ("autoscaling", _) => {
            let AccountRegion { partition, region, account } = place;
            let group = "autoScalingGroup:00000000-0000-0000-0000-000000000000:autoScalingGroupName/eks-x";
            one(format!("arn:{partition}:autoscaling:{region}:{account}:{group}"), marked(OF_NODE_GROUP))
        }
        // As EKS tries a launch from the template when a node group is created with it.
        ("ec2", "RunInstances") => one(place.ec2("launch-template"), owned()),
        ("ec2", _) => {
            let Some(kind) = ec2_kind(name) else { return one("*".to_owned(), Vec::new()) };
            let changes = ["CreateRoute", "CreateLaunchTemplateVersion"].contains(&name);
            let creates = name == "AllocateAddress" || name.starts_with("Create") && !changes;
            one(place.ec2(kind), if creates { tagging() } else { owned() })
        }
        ("eks", "CreateCluster") => one(place.eks(&format!("cluster/{}", names.cluster)), tagging()),
        ("eks", "TagResource") => one(place.eks(&format!("cluster/{}", names.cluster)), tagging()),
        ("eks", _) => {
            let Some(EksType { name, rest }) = eks_kind(name) else { return one("*".to_owned(), Vec::new()) };
            let rest = rest.replace("ACCOUNT", place.account).replace("ID", ID);
            one(place.eks(&format!("{name}/{}{rest}", names.cluster)), owned())
        }
        ("logs", _) => {
            let AccountRegion { partition, region, account } = place;
            let group = crate::resources::eks::log_group::name(&names.cluster);
            let resource = format!("arn:{partition}:logs:{region}:{account}:log-group:{group}");
            one(resource, if name.starts_with("Create") || name == "TagResource" { tagging() } else { owned() })
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
        ("iam", "CreateRole") => of_roles(place, names, |role| vec![boundary(names, role, tagging())]),
        ("iam", "TagRole") => of_roles(place, names, |_| vec![tagging()]),
        ("iam", "PutRolePermissionsBoundary") => of_roles(place, names, |role| vec![boundary(names, role, owned())]),
        // Only roles of Pods have documents.
        ("iam", "PutRolePolicy") => {
            of_roles(place, names, |role| role.is_of_pods.then(|| boundary(names, role, owned())).into_iter().collect())
        }
        ("iam", "AttachRolePolicy") => of_roles(place, names, |role| {
            let own = || if role.is_of_pods { boundary(names, role, owned()) } else { owned() };
            let with = |policy: &String| own().into_iter().chain([("iam:PolicyARN", vec![policy.clone()])]).collect();
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
/// Karpenter's tag on its instances.
const OF_KARPENTER: &str = "aws:ResourceTag/karpenter.sh/nodepool";
/// The EBS driver's tag on the volumes of claims.
const OF_CLAIMS: &str = "aws:ResourceTag/ebs.csi.aws.com/cluster";
/// EKS's tag on the Auto Scaling groups of node groups.
const OF_NODE_GROUP: &str = "aws:ResourceTag/eks:nodegroup-name";

type Context = Vec<(&'static str, Vec<String>)>;

fn of_roles(
    place: &AccountRegion<'_>,
    names: &Names,
    contexts: impl Fn(&RoleName) -> Vec<Context>,
) -> Vec<SimulatedRequest> {
    let of_role = |role: &RoleName| {
        let resource = place.iam(&format!("role/{}", role.name));
        contexts(role).into_iter().map(move |context| SimulatedRequest { resource: resource.clone(), context })
    };
    names.roles.iter().flat_map(|role| of_role(role).collect::<Vec<_>>()).collect()
}

fn boundary(names: &Names, role: &RoleName, mut context: Context) -> Context {
    let of_role = if role.is_of_pods { &names.workload_permissions_boundary } else { &names.permissions_boundary };
    context.extend(of_role.iter().map(|arn| ("iam:PermissionsBoundary", vec![arn.clone()])));
    context
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::graph::kinds;

    const PLACE: AccountRegion<'_> = AccountRegion { partition: "aws", region: "eu-west-1", account: "111122223333" };

    fn names() -> Names {
        let role = RoleName {
            name: "keelson-demo-0a1b2c3d-node".into(),
            policies: vec!["arn:p1".into(), "arn:p2".into()],
            passed_to: vec!["ec2.amazonaws.com"],
            is_of_pods: false,
        };
        let of_pods = RoleName {
            name: "keelson-demo-0a1b2c3d-pod0123456789".into(),
            policies: Vec::new(),
            passed_to: vec!["pods.eks.amazonaws.com"],
            is_of_pods: true,
        };
        Names {
            cluster: "demo".into(),
            version: "1.36".into(),
            roles: vec![role, of_pods],
            permissions_boundary: Some("arn:boundary".into()),
            workload_permissions_boundary: Some("arn:pods".into()),
        }
    }

    fn resources(action: &str) -> Vec<String> {
        simulated_requests(action, &PLACE, &names()).into_iter().map(|one| one.resource).collect()
    }

    #[test]
    fn each_action_is_simulated_on_the_resource_that_aws_checks() {
        let ec2 = "arn:aws:ec2:eu-west-1:111122223333";
        for (action, resource) in [
            ("ec2:DescribeVpcs", "*".to_owned()),
            ("ec2:CreateVpc", format!("{ec2}:vpc/vpc-0123456789abcdef0")),
            ("ec2:DeleteVpcEndpoints", format!("{ec2}:vpc-endpoint/vpce-0123456789abcdef0")),
            ("ec2:AllocateAddress", format!("{ec2}:elastic-ip/eipalloc-0123456789abcdef0")),
            ("ec2:CreateLaunchTemplateVersion", format!("{ec2}:launch-template/lt-0123456789abcdef0")),
            ("ec2:RunInstances", format!("{ec2}:launch-template/lt-0123456789abcdef0")),
            ("ec2:ReplaceRouteTableAssociation", format!("{ec2}:route-table/rtb-0123456789abcdef0")),
            ("eks:CreateAddon", "arn:aws:eks:eu-west-1:111122223333:cluster/demo".to_owned()),
            ("logs:DeleteLogGroup", "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/eks/demo/cluster".to_owned()),
            ("sqs:GetQueueUrl", "arn:aws:sqs:eu-west-1:111122223333:keelson-demo-karpenter".to_owned()),
            ("events:PutRule", "arn:aws:events:eu-west-1:111122223333:rule/keelson-demo-interruptions".to_owned()),
            ("ec2:TerminateInstances", format!("{ec2}:instance/i-0123456789abcdef0")),
            ("iam:PutRolePolicy", "arn:aws:iam::111122223333:role/keelson-demo-0a1b2c3d-pod0123456789".to_owned()),
        ] {
            assert_eq!(resources(action), [resource], "{action}");
        }
    }

    #[test]
    fn each_action_of_each_kind_has_its_resource() {
        let actions = kinds::ALL.iter().flat_map(|kind| kind.actions.iter().map(|action| (kind.name, *action)));
        for (kind, action) in actions {
            let (service, name) = action.split_once(':').unwrap();
            let is_known = match service {
                _ if ["Describe", "List", "Get"].iter().any(|verb| name.starts_with(verb)) => true,
                "ec2" => ec2_kind(name).is_some(),
                "eks" => name == "TagResource" || eks_kind(name).is_some(),
                _ => ["autoscaling", "events", "iam", "logs", "sqs"].contains(&service),
            };
            assert!(is_known, "{kind}: {action} is simulated on every resource, which no policy allows");
        }
        assert_eq!((ec2_kind("DeleteFleet"), eks_kind("DeleteFleet")), (None, None), "the test can fail");
    }

    #[test]
    fn what_others_create_is_simulated_with_their_tags() {
        for (action, resource, key) in [
            ("ec2:DeleteVolume", "volume/vol-0123456789abcdef0", OF_CLAIMS),
            ("autoscaling:DeleteTags", "autoScalingGroupName/eks-x", OF_NODE_GROUP),
        ] {
            let found = simulated_requests(action, &PLACE, &names());
            assert!(found[0].resource.ends_with(resource), "{}", found[0].resource);
            assert_eq!(found[0].context[0].0, key, "{action}");
        }
    }

    #[test]
    fn the_image_is_that_of_the_clusters_version() {
        assert!(resources("ssm:GetParameter")[0].contains("/optimized-ami/1.36/"));
    }

    #[test]
    fn versions_are_created_of_what_carries_the_owner_tag() {
        for (action, key) in [
            ("ec2:CreateLaunchTemplate", REQUEST_TAG),
            ("ec2:CreateLaunchTemplateVersion", RESOURCE_TAG),
            ("ec2:RunInstances", RESOURCE_TAG),
            ("ec2:CreateRoute", RESOURCE_TAG),
            ("ec2:CreateSubnet", REQUEST_TAG),
        ] {
            assert_eq!(simulated_requests(action, &PLACE, &names())[0].context[0].0, key, "{action}");
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
        let created = simulated_requests("iam:CreateRole", &PLACE, &names());
        let keys: Vec<&str> = created[0].context.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [REQUEST_TAG, "aws:TagKeys", "iam:PermissionsBoundary"]);
        let boundaries: Vec<_> = created.iter().map(|one| one.context.last().unwrap().1[0].as_str()).collect();
        assert_eq!(boundaries, ["arn:boundary", "arn:pods"], "roles of Pods have their own");
    }
}
