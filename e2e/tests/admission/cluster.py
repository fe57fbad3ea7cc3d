"""EksCluster: values and edits."""

from . import (
    Accepted,
    Rejected,
    at,
    change,
    edit,
    merged,
    version_accepted,
    version_rejected,
    invalid,
)

BASE = {"region": "eu-west-1", "version": "1.34"}

ROLE = "arn:aws:iam::123456789012:role/"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234"
ENCRYPTED = at("secretsEncryption", {"kmsKeyArn": KEY})
# Status of a cluster that EKS has.
RUNNING = {"arn": "arn:aws:eks:eu-west-1:123456789012:cluster/demo"}
WITH_POD_SUBNETS = {**RUNNING, "network": {"podSubnets": [{"id": "subnet-1", "zone": "eu-west-1a", "cidr": "100.64.0.0/19"}]}}
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
EXISTING = {"network": {"existing": {"subnetIds": ["subnet-1", "subnet-2"]}}}
NEW_CLUSTER = "create a new EksCluster"


def existing(**fields: object) -> dict:
    return {"network": {"existing": fields}}


def existing_invalid(where: str, advice: str, **fields: object) -> Rejected:
    return Rejected(existing(**fields), f"spec.network.existing{where}", advice)


def entry(**fields: object) -> dict:
    return at("access.entries", [{"principalArn": ROLE + "admins", **fields}])


def policy(scope: dict, arn: str = ADMIN) -> dict:
    return entry(policies=[{"policyArn": arn, "scope": scope}])


def addon(**fields: object) -> dict:
    return {"addons": [{"name": "vpc-cni", **fields}]}


def fargate(*selectors: dict, name: str = "serverless") -> dict:
    return {"fargateProfiles": [{"name": name, "selectors": list(selectors)}]}


def pods_on_fargate(**fields: object) -> dict:
    return {"fargateProfiles": [{"name": "serverless", "selectors": [{"namespace": "batch"}], **fields}]}


HOOK = {"name": "backup", "at": ["BeforeControlPlane"], "job": {"cronJob": {"name": "backup"}}}


def hook(**fields: object) -> dict:
    return {"hooks": [{**HOOK, **fields}]}


IDENTITY_PROVIDER = {"name": "corp", "issuerUrl": "https://id.example.com", "clientId": "kubernetes"}


def provider(**fields: object) -> dict:
    return at("access.oidcIdentityProvider", {**IDENTITY_PROVIDER, **fields})


IDENTITY_CENTER = "arn:aws:sso:::instance/ssoins-0123456789abcdef"


def capability(**fields: object) -> dict:
    return {"capabilities": [{"name": "one", "type": "Kro", "roleArn": ROLE + "one", **fields}]}


def argo_cd(**fields: object) -> dict:
    return capability(type="ArgoCd", configuration={"argoCd": {"awsIdc": {"idcInstanceArn": IDENTITY_CENTER}, **fields}})


def weights(*resources: dict) -> dict:
    strategy = {"type": "MostAllocated", "resources": list(resources)}
    return at("controlPlane.scheduler.nodeResourcesFit.scoringStrategy", strategy)


def remote(nodes: list[str], pods: list[str] | None = None) -> dict:
    return {"remoteNetworks": {"nodeCidrs": nodes, **({"podCidrs": pods} if pods else {})}}


SYNC_PERIOD = at("controlPlane.controllerManager.horizontalPodAutoscalerControllerConfig.horizontalPodAutoscalerSyncPeriod", "10s")


def window(**fields: str) -> dict:
    usual = {"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"}
    return at("upgrade.windows", [{**usual, **fields}])


INVALID = [
    Rejected(hook(name="Backup"), "spec.hooks[0].name", "must be a name of lower case letters, digits and '-'"),
    Rejected(hook(at=[]), "spec.hooks[0].at", "should have at least 1 items"),
    Rejected(hook(at=["BeforeControlPlane", "BeforeControlPlane"]), "spec.hooks[0].at", "Duplicate value"),
    Rejected(hook(at=["BeforeLunch"]), "spec.hooks[0].at[0]", "supported values"),
    Rejected(hook(job={}), "spec.hooks[0].job", "exactly one of cronJob, template must be set"),
    Rejected(hook(job={"template": {"metadata": {"labels": {"a b": "c"}}, "spec": {}}}), "spec.hooks[0].job.template.metadata.labels", "each key must be a Kubernetes label key"),
    Rejected(hook(job={"template": {"metadata": {"labels": {"a": "b c"}}, "spec": {}}}), "spec.hooks[0].job.template.metadata.labels", "each value must be a Kubernetes label value"),
    Rejected(hook(job={"template": {"metadata": {"annotations": {"$(id)": "c"}}, "spec": {}}}), "spec.hooks[0].job.template.metadata.annotations", "each key must be a Kubernetes label key"),
    Rejected(hook(job={"cronJob": {"name": "a"}, "template": {"spec": {}}}), "spec.hooks[0].job", "exactly one of cronJob, template must be set"),
    Rejected(hook(job={"cronJob": {"name": "a", "namespace": "other"}}), "spec.hooks[0].job.cronJob.namespace", "remove cronJob.namespace"),
    Rejected(hook(job={"cronJob": {"name": "A"}}), "spec.hooks[0].job.cronJob.name", "must be the name of a Kubernetes object"),
    Rejected(hook(at=["AfterCreate", "BeforeCreate"], **{"in": "Workload"}), "spec.hooks[0].at", "before its creation the EKS cluster has no API server that could run a Job: remove BeforeCreate from `at`, or set in: Management"),
    Rejected(hook(namespace="other"), "spec.hooks[0].namespace", "in the management cluster a hook runs in the namespace of its EksCluster: remove namespace, or set in: Workload"),
    Rejected(hook(namespace="Other", **{"in": "Workload"}), "spec.hooks[0].namespace", "must be the name of a namespace"),
    Rejected(hook(job={"cronJob": {"name": "a", "namespace": "other"}}, **{"in": "Workload"}), "spec.hooks[0].job.cronJob.namespace", "remove cronJob.namespace"),
    Rejected(hook(**{"in": "Elsewhere"}), "spec.hooks[0].in", 'supported values: "Management", "Workload"'),
    Rejected(hook(timeout="soon"), "spec.hooks[0].timeout", "must be a duration"),
    Rejected(hook(timeout="0s"), "spec.hooks[0].timeout", "must be at least 1s"),
    Rejected(hook(onFailure="Ignore"), "spec.hooks[0].onFailure", 'supported values: "Stop", "Continue"'),
    Rejected({"hooks": [HOOK, HOOK]}, "spec.hooks", "each name may be listed once only"),
    Rejected({"hooks": [{**HOOK, "name": f"h{n}"} for n in range(11)]}, "spec.hooks", "must have at most 10 items"),
    Rejected({"region": None}, "spec.region", "Required value"),
    Rejected({"version": None}, "spec.version", "Required value"),
    invalid("region", "Europe", "such as eu-west-1"),
    invalid("region", "eu-west-1; rm -rf /", "such as eu-west-1"),
    invalid("version", "1.34.2", "major and minor only"),
    invalid("version", "v1.34", "major and minor only"),
    invalid("version", "latest", "major and minor only"),
    invalid("clusterName", "-demo", "beginning with a letter or digit"),
    invalid("clusterName", "de.mo", "letters, digits, '-' and '_'"),
    invalid("clusterName", "a" * 101, "Too long"),
    Rejected({}, "EksCluster", "set spec.clusterName", name="demo.eu"),
    Rejected({}, "EksCluster", "set spec.clusterName", name="d" * 101),
    invalid("accountRef", {"name": "Prod/../x"}, "name of a Kubernetes object"),
    invalid("changePolicy", "automatic", 'supported values: "Automatic", "Approval", "Observe"'),
    invalid("tags", {"Name": "x"}, "choose another key"),
    invalid("tags", {"name": "x"}, "choose another key"),
    invalid("tags", {"aws:created": "x"}, "choose another key"),
    invalid("tags", {"AWS:created": "x"}, "choose another key"),
    invalid("tags", {"keelson.dev/owner": "someone"}, "choose another key"),
    invalid("tags", {"kubernetes.io/cluster/demo": "owned"}, "choose another key"),
    invalid("tags", {"k" * 129: "x"}, "1 to 128"),
    invalid("tags", {"Team": "a", "team": "b"}, "differ only in case"),
    invalid("tags", {"a\nb": "x"}, "each key must be"),
    invalid("tags", {"team": "a\nb"}, "each value must be"),
    invalid("tags", {f"k{n}": "" for n in range(41)}, "Too many"),
    # Network
    invalid("network", {}, "exactly one of vpc, existing must be set"),
    Rejected(
        merged(EXISTING, at("network.vpc", {})), "spec.network", "exactly one of vpc, existing"
    ),
    invalid("network.vpc.cidr", "10.0.0.0", "network from /16 to /24"),
    invalid("network.vpc.cidr", "10.0.0.0/28", "network from /16 to /24"),
    invalid("network.vpc.cidr", "10.0.0.0/8", "network from /16 to /24"),
    invalid("network.vpc.cidr", "10.0.5.0/16", "no host bits set"),
    invalid("network.vpc.cidr", "fd00::/16", "IPv4"),
    invalid("network.vpc.cidr", "169.254.0.0/16", "network from /16 to /24"),
    invalid("network.vpc.zoneCount", 1, "at least two availability zones"),
    invalid("network.vpc.zoneCount", 7, "must be 2 to 6"),
    invalid("network.vpc.zones", ["eu-west-1a"], "at least two availability zones"),
    invalid("network.vpc.zones", ["eu-west-1a", "eu-west-1a"], "once only"),
    invalid("network.vpc.zones", ["eu-west-1a", "b"], "such as eu-west-1a"),
    invalid("network.vpc.zones", ["eu-west-1a", "eu-west-2b"], "in the cluster's region"),
    Rejected(
        at("network.vpc", {"zones": ["eu-west-1a", "eu-west-1b"], "zoneCount": 4}),
        "spec.network.vpc.zoneCount",
        "leave zoneCount out",
    ),
    invalid("network.vpc.nat", "Double", 'supported values: "Single", "PerZone", "None"'),
    Rejected(at("network.vpc.publicSubnets", False), "spec.network.vpc.nat", "publicSubnets: true"),
    invalid("network.vpc.endpoints", ["com/s3"], "valid AWS name"),
    invalid("network.vpc.endpoints", ["s3", "s3"], "Duplicate value"),
    invalid("network.vpc.natAddresses", ["203.0.113.1"], "allocation id of an Elastic IP address"),
    invalid("network.vpc.natAddresses", ["eipalloc-1", "eipalloc-2"], "each NAT gateway needs one address"),
    Rejected(
        at("network.vpc", {"nat": "PerZone", "natAddresses": ["eipalloc-1", "eipalloc-1", "eipalloc-2"]}),
        "spec.network.vpc.natAddresses",
        "once only",
    ),
    Rejected(
        at("network.vpc", {"nat": "None", "natAddresses": ["eipalloc-1"]}),
        "spec.network.vpc.natAddresses",
        "each NAT gateway needs one address",
    ),
    Rejected(
        at("network.vpc", {"nat": "PerZone", "zones": ["eu-west-1a", "eu-west-1b"], "natAddresses": ["eipalloc-1"]}),
        "spec.network.vpc.natAddresses",
        "one for each zone",
    ),
    invalid("network.vpc.securityGroupIds", ["default"], "id of a security group"),
    invalid("network.vpc.securityGroupIds", [f"sg-{n}" for n in range(6)], "Too many"),
    invalid("network.vpc.podCidrs", ["100.64.0.0/10"], "network from /16 to /24"),
    invalid("network.vpc.podCidrs", ["100.64.0.0/25"], "network from /16 to /24"),
    invalid("network.vpc.podCidrs", ["100.64.0.1/16"], "no host bits set"),
    invalid("network.vpc.podCidrs", ["fd00::/16"], "IPv4 range"),
    invalid("network.vpc.podCidrs", ["198.19.1.0/24"], "which EC2 reserves"),
    invalid("network.vpc.podCidrs", ["169.254.0.0/16"], "IPv4 range"),
    invalid("network.vpc.podCidrs", ["240.0.0.0/16"], "IPv4 range"),
    invalid("network.vpc.podCidrs", [f"100.{n}.0.0/16" for n in range(64, 69)], "Too many"),
    invalid("network.vpc.podCidrs", ["100.64.0.0/16", "100.64.1.0/24"], "overlap each other or cidr"),
    invalid("network.vpc.podCidrs", ["10.0.1.0/24"], "overlap each other or cidr"),
    # AWS's table of restrictions.
    invalid("network.vpc.podCidrs", ["172.16.0.0/16"], "choose one of 100.64.0.0/10"),
    invalid("network.vpc.podCidrs", ["192.168.0.0/16"], "choose one of 100.64.0.0/10"),
    *[
        Rejected(at("network.vpc", {"cidr": vpc, "podCidrs": [pods]}), "spec.network.vpc.podCidrs", "choose one of 100.64.0.0/10")
        for vpc, pods in (
            ("10.1.0.0/16", "10.0.0.0/16"),
            ("172.16.0.0/16", "172.31.0.0/16"),
            ("172.16.0.0/16", "10.0.0.0/16"),
            ("192.168.0.0/24", "10.0.0.0/16"),
            ("100.64.0.0/16", "10.0.0.0/16"),
        )
    ],
    Rejected(
        merged(at("network.vpc.podCidrs", ["10.100.0.0/16"]), at("kubernetesNetwork.serviceCidr", "10.100.0.0/16")),
        "spec.network.vpc.podCidrs",
        "ranges of Services and of Pods overlap",
    ),
    invalid("network.vpc.podCidrs", ["10.100.1.0/24"], "EKS chooses 10.100.0.0/16 or 172.20.0.0/16"),
    Rejected(
        merged(at("network.vpc.podCidrs", ["100.64.0.0/16"]), at("kubernetesNetwork.ipFamily", "IPv6")),
        "spec.network.vpc.podCidrs",
        "Pods of an IPv6 cluster have IPv6 addresses",
    ),
    invalid("network.vpc.flowLogs", {}, "exactly one of s3, cloudWatchLogs"),
    Rejected(
        at("network.vpc.flowLogs", {"s3": {"bucketArn": "my-bucket"}}),
        "spec.network.vpc.flowLogs.s3.bucketArn",
        "must be the ARN of an S3 bucket",
    ),
    Rejected(
        at("network.vpc.flowLogs", {"s3": {"bucketArn": "arn:aws:s3:::flow-logs", "prefix": "AWSLogs/x"}}),
        "spec.network.vpc.flowLogs.s3.prefix",
        "must be a folder in the bucket",
    ),
    Rejected(
        at("network.vpc.flowLogs", {"s3": {"bucketArn": "arn:aws:s3:::flow-logs"}, "aggregationSeconds": 100}),
        "spec.network.vpc.flowLogs.aggregationSeconds",
        "must be 60 or 600",
    ),
    Rejected(
        at("network.vpc.flowLogs", {"s3": {"bucketArn": "arn:aws:s3:::flow-logs"}, "format": "version,srcaddr"}),
        "spec.network.vpc.flowLogs.format",
        "fields of EC2's flow log records",
    ),
    Rejected(
        at("network.vpc.flowLogs", {"cloudWatchLogs": {"logGroup": "a group", "roleArn": "arn:aws:iam::123456789012:role/flow-logs"}}),
        "spec.network.vpc.flowLogs.cloudWatchLogs.logGroup",
        "name or the ARN of a log group",
    ),
    existing_invalid("", "exactly one of subnetIds, subnetSelector"),
    existing_invalid(
        "",
        "exactly one of",
        subnetIds=["subnet-1", "subnet-2"],
        subnetSelector={"tags": {"a": "b"}},
        vpcId="vpc-1",
    ),
    existing_invalid(".vpcId", "set vpcId", subnetSelector={"tags": {"tier": "private"}}),
    existing_invalid(
        ".subnetSelector.tags", "at least 1", vpcId="vpc-1", subnetSelector={"tags": {}}
    ),
    existing_invalid(
        ".subnetSelector.tags", "as AWS allows them", vpcId="vpc-1", subnetSelector={"tags": {"a": "$(id)"}}
    ),
    existing_invalid("", "exactly one of", subnetIds=["subnet-1", "subnet-2"], subnets=[{"id": "subnet-1"}, {"id": "subnet-2"}], vpcId="vpc-1"),
    existing_invalid(".vpcId", "set vpcId", subnets=[{"id": "subnet-1"}, {"zone": "eu-west-1b"}]),
    existing_invalid(".subnets", "at least two subnets", vpcId="vpc-1", subnets=[{"id": "subnet-1"}]),
    existing_invalid(".subnets[1]", "exactly one of id, cidr, zone", vpcId="vpc-1", subnets=[{"id": "subnet-1"}, {}]),
    existing_invalid(
        ".subnets[0]", "exactly one of id, cidr, zone", vpcId="vpc-1", subnets=[{"id": "subnet-1", "zone": "eu-west-1a"}, {"id": "subnet-2"}]
    ),
    existing_invalid(".subnets[0].id", "subnet-...", vpcId="vpc-1", subnets=[{"id": "sg-1"}, {"id": "subnet-2"}]),
    existing_invalid(".subnets[0].cidr", "no host bits set", vpcId="vpc-1", subnets=[{"cidr": "10.0.64.1/19"}, {"id": "subnet-2"}]),
    existing_invalid(".subnets[0].zone", "such as eu-west-1a", vpcId="vpc-1", subnets=[{"zone": "a"}, {"id": "subnet-2"}]),
    existing_invalid(".subnetIds", "at least two subnets", subnetIds=["subnet-1"]),
    existing_invalid(".subnetIds", "subnet-...", subnetIds=["subnet-1", "sg-2"]),
    existing_invalid(".subnetIds", "Duplicate value", subnetIds=["subnet-1", "subnet-1"]),
    existing_invalid(".vpcId", "vpc-...", subnetIds=["subnet-1", "subnet-2"], vpcId="10"),
    existing_invalid(
        ".securityGroupIds", "sg-...", subnetIds=["subnet-1", "subnet-2"], securityGroupIds=["x"]
    ),
    invalid("kubernetesNetwork.serviceCidr", "8.8.0.0/16", "172.16.0.0/12"),
    invalid("kubernetesNetwork.serviceCidr", "172.20.0.0/25", "/12 to /24"),
    invalid("kubernetesNetwork.serviceCidr", "172.20.0.1/16", "no host bits set"),
    invalid("kubernetesNetwork.serviceCidr", "10.0.128.0/20", "overlap"),
    invalid("kubernetesNetwork.serviceCidr", "10.0.0.0/12", "overlap"),
    Rejected(
        at("kubernetesNetwork", {"ipFamily": "IPv6", "serviceCidr": "172.20.0.0/16"}),
        "spec.kubernetesNetwork.serviceCidr",
        "leave serviceCidr out",
    ),
    # Control plane
    invalid("endpointAccess", {"public": False, "private": False}, "at least one of public, private"),
    invalid("endpointAccess", {"publicCidrs": []}, "at least one range"),
    invalid("endpointAccess.publicCidrs", ["203.0.113.7/24"], "no host bits set"),
    invalid("endpointAccess.publicCidrs", ["203.0.113.7"], "203.0.113.7/32"),
    *[
        invalid("endpointAccess.publicCidrs", [cidr], "a range of public addresses")
        for cidr in ("10.0.0.0/8", "172.31.0.0/16", "192.168.1.0/24", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4")
    ],
    invalid("endpointAccess.publicCidrs", ["203.0.113.0/24"] * 2, "each entry may be listed once only"),
    invalid("endpointAccess.publicCidrs", [f"203.0.113.{n}/32" for n in range(41)], "Too many"),
    invalid("logging", ["a b"], "valid AWS name"),
    Rejected(at("logGroup", {"retentionDays": 31}), "spec.logGroup.retentionDays", "one of the periods that CloudWatch Logs offers"),
    Rejected(at("logGroup", {"retentionDays": 30, "kmsKeyArn": "alias/my-key"}), "spec.logGroup.kmsKeyArn", "not of an alias"),
    Rejected(at("logGroup", {"retentionDays": 30, "kmsKeyArn": KEY.replace("west", "north")}), "spec.logGroup.kmsKeyArn", "in the cluster's region"),
    Rejected(at("logGroup", {"kmsKeyArn": KEY}), "spec.logGroup.retentionDays", "Required"),
    invalid("secretsEncryption.kmsKeyArn", "alias/my-key", "not of an alias"),
    invalid("secretsEncryption.kmsKeyArn", KEY.replace("west", "north"), "in the cluster's region"),
    invalid("roleArn", "arn:aws:iam::123456789012:user/me", "ARN of an IAM role"),
    invalid("supportType", "Forever", 'supported values: "Standard", "Extended"'),
    invalid("controlPlaneScaling.tier", "$(id)", "valid AWS name"),
    invalid("autoMode.nodePools", ["a/b"], "valid AWS name"),
    Rejected({"autoMode": {"enabled": False, "nodePools": ["system"]}}, "spec.autoMode.nodePools", "remove nodePools, or set enabled: true"),
    Rejected({"autoMode": {"nodeRoleArn": ROLE + "nodes"}}, "spec.autoMode.nodeRoleArn", "set nodePools, or remove nodeRoleArn"),
    Rejected({"autoMode": {"nodePools": ["system"], "nodeRoleArn": "nodes"}}, "spec.autoMode.nodeRoleArn", "ARN of an IAM role"),
    invalid("controlPlane.egressMode", "CUSTOMER_ROUTED", 'supported values: "AwsManaged", "CustomerRouted", "CustomerIsolated"'),
    invalid("controlPlane.apiServer.eventTtl", "1h30m", "duration of one unit"),
    invalid("controlPlane.certificateAuthority.createdAfter", "2026-11-30", "such as 2026-11-30T12:00:00Z"),
    invalid("controlPlane.certificateAuthority.createdAfter", "2026-13-30T12:00:00Z", "such as 2026-11-30T12:00:00Z"),
    invalid("controlPlane.certificateAuthority.activeId", "no id", "valid AWS name"),
    invalid("controlPlane.certificateAuthority", {"activeId": "a", "deletedId": "a"}, "put the id of the other one in deletedId"),
    invalid("controlPlane.apiServer.serviceNodePortRange", {"minPort": 31000, "maxPort": 30000}, "must not be above maxPort"),
    Rejected(SYNC_PERIOD, "spec.controlPlane.controllerManager", "set controlPlaneScaling.tier"),
    Rejected({**SYNC_PERIOD, "controlPlaneScaling": {"tier": "standard"}}, "spec.controlPlane.controllerManager", "set controlPlaneScaling.tier"),
    invalid("controlPlane.controllerManager.podGcControllerConfig.terminatedPodGcThreshold", 0, "greater than or equal to 1"),
    Rejected(weights({"name": "a b", "weight": 1}), "scoringStrategy.resources[0].name", "Kubernetes label key"),
    Rejected(weights({"name": "cpu", "weight": 101}), "scoringStrategy.resources[0].weight", "less than or equal to 100"),
    Rejected(weights({"name": "cpu", "weight": 1}, {"name": "cpu", "weight": 2}), "scoringStrategy.resources[1]", "Duplicate value"),
    invalid("remoteNetworks.nodeCidrs", ["203.0.113.0/24"], "inside 10.0.0.0/8"),
    invalid("remoteNetworks.nodeCidrs", ["10.80.0.1/16"], "no host bits set"),
    invalid("remoteNetworks.podCidrs", ["10.85.0.0/16"], "set nodeCidrs, or remove podCidrs"),
    Rejected(remote(["10.80.0.0/16"], ["10.80.1.0/24"]), "spec.remoteNetworks.podCidrs", "overlap: choose other ranges"),
    Rejected(remote(["10.0.128.0/17"]), "spec.remoteNetworks", "remote networks and the VPC overlap"),
    Rejected(
        {**remote(["172.20.1.0/24"]), "kubernetesNetwork": {"serviceCidr": "172.20.0.0/16"}}, "spec.remoteNetworks",
        "remote networks and the range of Services overlap",
    ),
    Rejected({**remote(["10.80.0.0/16"]), "access": {"authenticationMode": "ConfigMap"}}, "spec.remoteNetworks", "set access.authenticationMode"),
    Rejected(
        {**remote(["10.80.0.0/16"]), **EXISTING, "kubernetesNetwork": {"ipFamily": "IPv6"}}, "spec.remoteNetworks", "IPv4 clusters only"
    ),
    # Access
    Rejected(
        entry(principalArn="arn:aws:sts::123456789012:assumed-role/a/b"),
        "principalArn",
        "that of the role",
    ),
    Rejected(
        at("access.entries", [{"principalArn": ROLE + "a"}] * 2),
        "spec.access.entries[1]",
        "Duplicate value",
    ),
    Rejected(
        entry(kubernetesGroups=["system:masters"]),
        "kubernetesGroups",
        "AmazonEKSClusterAdminPolicy",
    ),
    Rejected(policy({"type": "Namespace"}), "scope.namespaces", "type: Namespace needs namespaces"),
    Rejected(policy({"namespaces": ["shop"]}), "scope.namespaces", "type: Cluster has none"),
    Rejected(
        policy({"type": "Namespace", "namespaces": ["shop $(id)"]}),
        "scope.namespaces",
        "should match '^[a-z0-9*]",
    ),
    Rejected(policy({}, "arn:aws:iam::aws:policy/Admin"), "policyArn", "list-access-policies"),
    Rejected(
        merged(policy({}), at("access.authenticationMode", "ConfigMap")),
        "spec.access.entries",
        "set authenticationMode: ApiAndConfigMap first",
    ),
    Rejected(
        at("access", {"authenticationMode": "ConfigMap", "prune": True}),
        "spec.access.entries",
        "leave entries and prune out",
    ),
    Rejected(provider(issuerUrl="http://id.example.com"), "oidcIdentityProvider.issuerUrl", "begins with https://"),
    Rejected(provider(issuerUrl="https://id.example.com?tenant=a"), "oidcIdentityProvider.issuerUrl", "without a query"),
    Rejected(provider(name="a b"), "oidcIdentityProvider.name", "valid EKS name"),
    Rejected(provider(clientId=""), "oidcIdentityProvider.clientId", "at least 1 chars"),
    Rejected(provider(usernamePrefix="system:"), "oidcIdentityProvider.usernamePrefix", "reserved for Kubernetes"),
    Rejected(provider(groupsPrefix="my-system:"), "oidcIdentityProvider.groupsPrefix", "reserved for Kubernetes"),
    Rejected(provider(clientId="a b"), "oidcIdentityProvider.clientId", "without spaces"),
    Rejected(provider(usernameClaim="a b"), "oidcIdentityProvider.usernameClaim", "without spaces"),
    Rejected(provider(groupsClaim="a\n"), "oidcIdentityProvider.groupsClaim", "without spaces"),
    Rejected(provider(usernamePrefix="a "), "oidcIdentityProvider.usernamePrefix", "without spaces"),
    Rejected(provider(groupsPrefix="a "), "oidcIdentityProvider.groupsPrefix", "without spaces"),
    Rejected(provider(requiredClaims={"a b": "c"}), "oidcIdentityProvider.requiredClaims", "one word"),
    Rejected(provider(requiredClaims={"a": "c\n"}), "oidcIdentityProvider.requiredClaims", "one line of text"),
    Rejected(capability(name="a b"), "spec.capabilities[0].name", "valid EKS name"),
    Rejected(capability(type="Flux"), "spec.capabilities[0].type", "supported values"),
    Rejected(capability(roleArn="kro"), "spec.capabilities[0].roleArn", "ARN of an IAM role"),
    Rejected(capability(deletePropagationPolicy="Delete"), "deletePropagationPolicy", "supported values"),
    Rejected(capability(type="ArgoCd"), "spec.capabilities[0].configuration", "log in with IAM Identity Center"),
    Rejected(capability(configuration={"ack": {}}), "spec.capabilities[0].configuration", "ack for type: Ack"),
    Rejected(
        capability(type="Ack", configuration={"ack": {"disabledServices": ["S3"]}}),
        "configuration.ack.disabledServices", "name of a service in ACK",
    ),
    Rejected(
        capability(type="Ack", configuration={"ack": {}, "argoCd": {"awsIdc": {"idcInstanceArn": IDENTITY_CENTER}}}),
        "spec.capabilities[0].configuration", "at most one of argoCd, ack",
    ),
    Rejected(argo_cd(awsIdc={"idcInstanceArn": "ssoins-1"}), "awsIdc.idcInstanceArn", "instance of IAM Identity Center"),
    Rejected(argo_cd(rbacRoleMappings=[{"role": "Admin", "identities": [{"id": "a b", "type": "SsoUser"}]}]), "identities[0].id", "IAM Identity Center"),
    Rejected(argo_cd(namespace="Argo"), "argoCd.namespace", "name of a namespace"),
    Rejected(argo_cd(networkAccess={"vpceIds": ["eni-1"]}), "networkAccess.vpceIds", "vpce-..."),
    Rejected(
        {"capabilities": [{"name": name, "type": "Kro", "roleArn": ROLE + name} for name in ("a", "b")]},
        "spec.capabilities", "one capability of each type",
    ),
    Rejected(
        merged(capability(), at("access.authenticationMode", "ConfigMap")), "spec.capabilities", "set access.authenticationMode",
    ),
    Rejected(entry(type="Node"), "type", "supported values"),
    Rejected(entry(type="Ec2Linux", kubernetesGroups=["a"]), "spec.access.entries[0]", "leave username and kubernetesGroups out"),
    Rejected(entry(type="HybridLinux", username="a"), "spec.access.entries[0]", "leave username and kubernetesGroups out"),
    Rejected(entry(type="Ec2Windows", policies=[]), "policies", "only type: Ec2 has policies"),
    Rejected(entry(type="Ec2", principalArn="arn:aws:iam::123456789012:user/ann"), "principalArn", "nodes join with a role"),
    Rejected(entry(username="system:admin"), "username", "such as sso:{{SessionName}}"),
    Rejected(entry(username="{{SessionName}}"), "username", "such as sso:{{SessionName}}"),
    invalid(
        "podIdentities",
        [{"namespace": "Kube", "serviceAccount": "a", "roleArn": ROLE + "a"}],
        "name of a namespace",
    ),
    invalid(
        "podIdentities",
        [{"namespace": "a", "serviceAccount": "a", "roleArn": ROLE + "a"}] * 2,
        "Duplicate value",
    ),
    invalid(
        "podIdentities",
        [{"namespace": "a", "serviceAccount": "a"}],
        "exactly one of role, roleArn must be set",
    ),
    invalid(
        "podIdentities",
        [{"namespace": "a", "serviceAccount": "a", "role": {}, "roleArn": ROLE + "a"}],
        "exactly one of role, roleArn must be set",
    ),
    invalid(
        "podIdentities",
        [{"namespace": "a" * 60, "serviceAccount": "b" * 81, "role": {}}],
        "create the role yourself and set roleArn",
    ),
    invalid("podIdentities", [{"namespace": "a", "serviceAccount": "a", "role": {"policyArns": ["x"]}}], "ARN of an IAM policy"),
    invalid("podIdentities", [{"namespace": "a", "serviceAccount": "a", "role": {"policies": ["x"]}}], "supported values"),
    invalid("podIdentities", [{"namespace": "a", "serviceAccount": "a", "role": {"policies": ["Karpenter"] * 2}}], "Duplicate value"),
    invalid("podIdentities", [{"namespace": "a", "serviceAccount": "a", "role": {"policy": "x"}}], "must be of type object"),
    invalid("karpenter.namespace", "Kube", "name of a namespace"),
    invalid("karpenter.serviceAccount", "my account", "name of a Kubernetes object"),
    invalid("karpenter.serviceAccount", "a" * 78, "Too long"),
    Rejected({"karpenter": {}, "access": {"authenticationMode": "ConfigMap"}}, "spec.karpenter", "join with an access entry"),
    Rejected(
        {"karpenter": {}, "podIdentities": [{"namespace": "kube-system", "serviceAccount": "karpenter", "roleArn": ROLE + "a"}]},
        "spec.karpenter",
        "remove it from podIdentities",
    ),
    invalid(
        "podIdentities",
        [{"namespace": "a", "serviceAccount": "a", "roleArn": ROLE + "a", "targetRoleArn": "theirs"}],
        "ARN of an IAM role",
    ),
    # Add-ons, Fargate
    Rejected(
        {"addons": [{"name": "coredns"}, {"name": "coredns"}]},
        "spec.addons",
        "each name may be listed once only",
    ),
    Rejected(addon(version="1 2"), "spec.addons[0].version", "valid AWS name"),
    Rejected(addon(conflicts="Ignore"), "spec.addons[0].conflicts", "supported values"),
    *(
        Rejected({"addons": [{"name": name, "beforeNodes": True}]}, "spec.addons[0]", "remove beforeNodes from this add-on")
        for name in ("coredns", "aws-ebs-csi-driver", "metrics-server")
    ),
    Rejected(addon(beforeNodes="yes"), "spec.addons[0].beforeNodes", "must be of type boolean"),
    Rejected(addon(configuration="{}"), "spec.addons[0].configuration", "must be of type object"),
    Rejected(
        addon(serviceAccountRoleArn=ROLE + "a", podIdentityRoleArn=ROLE + "a"),
        "spec.addons[0]",
        "at most one of serviceAccountRoleArn, podIdentityRoleArn, podIdentityRole may be set",
    ),
    Rejected(
        addon(podIdentityRole={}, podIdentityRoleArn=ROLE + "a"),
        "spec.addons[0]",
        "at most one of serviceAccountRoleArn, podIdentityRoleArn, podIdentityRole may be set",
    ),
    Rejected(addon(namespace="Storage"), "spec.addons[0].namespace", "name of a namespace"),
    Rejected(fargate(), "spec.fargateProfiles[0].selectors", "at least 1 items"),
    Rejected(pods_on_fargate(podExecutionRoleArn="pods"), "spec.fargateProfiles[0].podExecutionRoleArn", "ARN of an IAM role"),
    Rejected(pods_on_fargate(subnetIds=["private"]), "spec.fargateProfiles[0].subnetIds", "subnet-..."),
    Rejected(fargate({"namespace": "A"}), "selectors[0].namespace", "* and ? stand for"),
    Rejected(
        fargate({"namespace": "a", "labels": {"fargate": "$(id)"}}),
        "selectors[0].labels",
        "in whose key and value * and ? stand for",
    ),
    # Upgrade
    invalid("upgrade.soak", "10 minutes", "such as 30s"),
    invalid("upgrade.rollout", "Main", "must be the name of a Kubernetes object"),
    Rejected(
        window(schedule="every day at 2"), "spec.upgrade.windows[0].schedule", "five cron fields"
    ),
    Rejected(window(duration="4"), "spec.upgrade.windows[0].duration", "such as 30s"),
    Rejected(window(timeZone="../etc/passwd"), "spec.upgrade.windows[0].timeZone", "IANA time zone"),
    invalid("registerWith", "Flux", "supported values"),
    Rejected({"registration": {"roleArn": ROLE + "a"}}, "spec.registration", "set registerWith: ArgoCd"),
    Rejected({"registerWith": "ArgoCd", "registration": {"roleArn": "argocd"}}, "spec.registration.roleArn", "ARN of an IAM role"),
    Rejected({"registerWith": "ArgoCd", "registration": {"labels": {"a b": "c"}}}, "spec.registration.labels", "Kubernetes label key"),
    Rejected({"registerWith": "ArgoCd", "registration": {"labels": {"team": "a b"}}}, "spec.registration.labels", "Kubernetes label value"),
    # Secrets must be in the object's own namespace.
    invalid("writeKubeconfigToSecretRef", {"name": "other/secret"}, "name of a Kubernetes object"),
]

IMMUTABLE = [
    Rejected(entry(type="Ec2"), "spec.access.entries[0].type", "EKS does not change the type of an access entry", entry()),
    Rejected(entry(), "spec.access.entries[0].type", "EKS does not change the type of an access entry", entry(type="Ec2")),
    Rejected(provider(clientId="other"), "spec.access.oidcIdentityProvider", "remove oidcIdentityProvider, wait", provider()),
    Rejected(provider(requiredClaims={"hd": "b"}), "spec.access.oidcIdentityProvider", "wait", provider(requiredClaims={"hd": "a"})),
    Rejected(capability(type="Ack"), "spec.capabilities[0].type", "add a capability with a new name", capability()),
    Rejected(argo_cd(namespace="b"), "argoCd.namespace", "put the old value back", argo_cd(namespace="a")),
    Rejected(argo_cd(endpointPrefix="b"), "argoCd.endpointPrefix", "put the old value back", argo_cd()),
    Rejected(
        argo_cd(awsIdc={"idcInstanceArn": IDENTITY_CENTER, "idcRegion": "us-east-1"}), "argoCd.awsIdc", "put the old value back",
        argo_cd(),
    ),
    edit(
        "access.entries",
        [{"principalArn": ROLE + "a", "type": "Standard"}],
        [{"principalArn": ROLE + "a", "type": "Ec2"}],
        "EKS does not change the type of an access entry",
    ),
    edit("region", "eu-west-1", "eu-central-1", NEW_CLUSTER),
    edit("clusterName", "one", "two", NEW_CLUSTER),
    edit("clusterName", None, "two", NEW_CLUSTER),
    edit("clusterName", "one", None, NEW_CLUSTER),
    edit("accountRef", {"name": "one"}, {"name": "two"}, "cannot move to another account"),
    edit("accountRef", None, {"name": "two"}, "cannot move to another account"),
    edit("accountRef", {"name": "one"}, None, "cannot move to another account"),
    edit("roleArn", ROLE + "one", ROLE + "two", NEW_CLUSTER),
    edit("roleArn", None, ROLE + "two", NEW_CLUSTER),
    edit("roleArn", ROLE + "one", None, NEW_CLUSTER),
    edit("network.vpc.cidr", None, "10.1.0.0/16", NEW_CLUSTER),
    Rejected(
        at("network.vpc.zoneCount", 2), "spec.network.vpc", "availability zones cannot change", {}
    ),
    Rejected(
        at("network.vpc.zones", ["eu-west-1a", "eu-west-1b"]),
        "spec.network.vpc",
        "availability zones cannot change",
        {},
    ),
    Rejected(
        at("network.vpc.zones", ["eu-west-1b", "eu-west-1a"]),
        "spec.network.vpc",
        "availability zones cannot change",
        at("network.vpc.zones", ["eu-west-1a", "eu-west-1b"]),
    ),
    Rejected(
        at("network.vpc", {"publicSubnets": False, "nat": "None"}),
        "spec.network.vpc.publicSubnets",
        "put publicSubnets: true back",
        {},
    ),
    Rejected(
        at("network", {"vpc": None, **EXISTING["network"]}),
        "spec.network",
        "cannot move to another network",
        {},
    ),
    Rejected(
        at("network", {"existing": None, "vpc": {}}),
        "spec.network",
        "cannot move to another network",
        EXISTING,
    ),
    Rejected(
        existing(vpcId="vpc-2"),
        "spec.network.existing.vpcId",
        "cannot move to another VPC",
        existing(vpcId="vpc-1", subnetIds=["subnet-1", "subnet-2"]),
    ),
    edit("kubernetesNetwork.ipFamily", None, "IPv6", NEW_CLUSTER),
    edit("kubernetesNetwork.serviceCidr", "172.20.0.0/16", "172.21.0.0/16", NEW_CLUSTER),
    edit("kubernetesNetwork.serviceCidr", None, "172.21.0.0/16", NEW_CLUSTER),
    edit("kubernetesNetwork.serviceCidr", "172.20.0.0/16", None, NEW_CLUSTER),
    *[
        Rejected(at("secretsEncryption", new), "spec.secretsEncryption", "neither remove it nor change its key", ENCRYPTED, status=RUNNING)
        for new in (None, {"kmsKeyArn": KEY + "5"})
    ],
    *[
        Rejected(at("network.vpc", new), "spec.network.vpc.natAddresses", "a NAT gateway keeps its address", at("network.vpc", old), status=RUNNING)
        for old, new in (
            ({"natAddresses": ["eipalloc-1"]}, {"natAddresses": ["eipalloc-2"]}),
            ({"natAddresses": ["eipalloc-1"]}, {"natAddresses": None}),
            ({}, {"natAddresses": ["eipalloc-1"]}),
            ({"natAddresses": ["eipalloc-1"]}, {"nat": "PerZone", "natAddresses": ["eipalloc-2", "eipalloc-1", "eipalloc-3"]}),
        )
    ],
    Rejected(
        at("network.vpc.podCidrs", ["100.65.0.0/16"]),
        "spec.network.vpc.podCidrs",
        "cannot be removed",
        at("network.vpc.podCidrs", ["100.64.0.0/16", "100.65.0.0/16"]),
        status=WITH_POD_SUBNETS,
    ),
    Rejected(
        at("network.vpc.podCidrs", None),
        "spec.network.vpc.podCidrs",
        "cannot be removed",
        at("network.vpc.podCidrs", ["100.64.0.0/16"]),
        status=WITH_POD_SUBNETS,
    ),
    edit("access.authenticationMode", "Api", "ApiAndConfigMap", "put the old authenticationMode back"),
    edit("access.authenticationMode", "ApiAndConfigMap", "ConfigMap", "put the old authenticationMode back"),
    version_rejected("1.34", "1.34", "1.33", "set upgrade.allowRollback: true"),
    version_rejected("1.10", "1.10", "1.9", "set upgrade.allowRollback: true"),
    version_rejected("2.0", "2.0", "1.34", "set upgrade.allowRollback: true"),
    # During an upgrade the running version counts, not the requested one.
    version_rejected("1.34", "1.35", "1.33", "name that or a later one"),
    Rejected(
        merged({"version": "1.32"}, at("upgrade.allowRollback", True)),
        "spec.version",
        "one minor version only",
        {"version": "1.34"},
        status={"version": "1.34"},
    ),
    Rejected(
        existing(vpcId=None),
        "spec.network.existing.vpcId",
        "cannot move to another VPC",
        existing(vpcId="vpc-1", subnetIds=["subnet-1", "subnet-2"]),
    ),
    Rejected(
        at("network.vpc.zoneCount", 3),
        "spec.network.vpc",
        "availability zones cannot change",
        at("network.vpc.zoneCount", 2),
    ),
    Rejected(
        at("network.vpc.zones", None),
        "spec.network.vpc",
        "availability zones cannot change",
        at("network.vpc.zones", ["eu-west-1a", "eu-west-1b"]),
    ),
    edit("kubernetesNetwork.ipFamily", "IPv6", "IPv4", NEW_CLUSTER),
    Rejected(
        merged({"version": "1.32"}, at("upgrade.allowRollback", True)),
        "spec.version",
        "one minor version only",
        merged({"version": "1.34"}, at("upgrade.allowRollback", True)),
        status={"version": "1.34"},
    ),
    Rejected(
        pods_on_fargate(podExecutionRoleArn=ROLE + "pods"), "spec.fargateProfiles[0].podExecutionRoleArn", "add a profile under a new name",
        pods_on_fargate(),
    ),
    Rejected(
        pods_on_fargate(subnetIds=["subnet-2"]), "spec.fargateProfiles[0].subnetIds", "add a profile under a new name",
        pods_on_fargate(subnetIds=["subnet-1"]),
    ),
    edit("controlPlane.egressMode", "CustomerRouted", "AwsManaged", "put the old egressMode back"),
    Rejected(
        fargate({"namespace": "batch"}, {"namespace": "other"}),
        "spec.fargateProfiles[0].selectors",
        "add a profile under a new name",
        fargate({"namespace": "batch"}),
    ),
    Rejected(
        fargate({"namespace": "other"}),
        "spec.fargateProfiles[0].selectors",
        "add a profile under a new name",
        fargate({"namespace": "batch"}),
    ),
]

CHANGEABLE = [
    change("version", "1.31", "1.34"),
    change("version", "1.9", "1.10"),
    # A typo that was never applied can be corrected: on a new object, and with a running cluster.
    change("version", "1.63", "1.34"),
    version_accepted("1.35", "1.53", "1.35"),
    version_accepted("1.34", "1.35", "1.34"),
    # An automatic upgrade by EKS at the end of support is not an edit of the version.
    Accepted({"tags": {"team": "payments"}}, {"version": "1.30"}, {"version": "1.31"}),
    Accepted(
        merged({"version": "1.33"}, at("upgrade.allowRollback", True)),
        {"version": "1.34"},
        {"version": "1.34"},
    ),
    change("clusterName", None, "demo"),
    change("secretsEncryption", None, {"kmsKeyArn": KEY}),
    # As long as EKS has no such cluster, a wrong key can be corrected.
    change("secretsEncryption", {"kmsKeyArn": KEY}, {"kmsKeyArn": KEY + "5"}),
    change("secretsEncryption", {"kmsKeyArn": KEY}, None),
    change("access.authenticationMode", "ApiAndConfigMap", "Api"),
    change("access.authenticationMode", "ConfigMap", "ApiAndConfigMap"),
    change("access.authenticationMode", "ConfigMap", "Api"),
    change("network.vpc.nat", "Single", "PerZone"),
    # The gateway of the first zone keeps its address; without gateways, any can be listed.
    Accepted(
        at("network.vpc", {"nat": "PerZone", "natAddresses": ["eipalloc-1", "eipalloc-2", "eipalloc-3"]}),
        at("network.vpc.natAddresses", ["eipalloc-1"]),
        RUNNING,
    ),
    Accepted(at("network.vpc", {"nat": "None", "natAddresses": None}), at("network.vpc.natAddresses", ["eipalloc-1"]), RUNNING),
    Accepted(at("network.vpc", {"nat": "Single", "natAddresses": ["eipalloc-2"]}), at("network.vpc.nat", "None"), RUNNING),
    # What EC2 refused, before the cluster exists.
    change("network.vpc.natAddresses", ["eipalloc-1"], ["eipalloc-2"]),
    # One without subnets, which EC2 refused, can be corrected.
    Accepted(
        at("network.vpc.podCidrs", ["100.64.0.0/16", "100.65.0.0/16"]),
        at("network.vpc.podCidrs", ["100.64.0.0/16", "8.8.0.0/16"]),
        WITH_POD_SUBNETS,
    ),
    change("network.vpc.podCidrs", None, ["100.64.0.0/16", "10.1.0.0/16"]),
    Accepted(at("network.vpc.podCidrs", ["10.100.0.0/16"]), at("kubernetesNetwork.serviceCidr", "172.20.0.0/16")),
    change("network.vpc.securityGroupIds", None, ["sg-1"]),
    change("network.vpc.endpoints", ["s3"], ["private", "kms"]),
    Accepted({"suspend": True}, at("kubernetesNetwork.ipFamily", "IPv6")),
    Accepted(
        at("network.vpc.publicSubnets", True),
        at("network.vpc", {"publicSubnets": False, "nat": "None"}),
    ),
    change("network.vpc.endpoints", ["s3"], ["s3", "ecr.api"]),
    change("network.existing.subnetIds", ["subnet-1", "subnet-2"], ["subnet-1", "subnet-3"]),
    change("endpointAccess.publicCidrs", None, ["203.0.113.0/24", "2001:db8::/32"]),
    change("logging", ["api"], []),
    change("controlPlane.egressMode", "AwsManaged", "CustomerRouted"),
    change("controlPlane.certificateAuthority", None, {"createdAfter": "2026-11-30T12:00:00Z"}),
    change("controlPlane.certificateAuthority", {"createdAfter": "2026-11-30T12:00:00Z"}, {"activeId": "b", "deletedId": "a"}),
    change("controlPlane.egressMode", "CustomerRouted", None),
    change("controlPlane", None, {"apiServer": {"eventTtl": "30m", "serviceNodePortRange": {"minPort": 20000, "maxPort": 32767}}}),
    Accepted({**SYNC_PERIOD, "controlPlaneScaling": {"tier": "tier-xl"}}),
    Accepted(weights({"name": "cpu", "weight": 5}, {"name": "nvidia.com/gpu", "weight": 1})),
    change("remoteNetworks", None, {"nodeCidrs": ["10.80.0.0/16", "100.64.0.0/10"], "podCidrs": ["192.168.0.0/16"]}),
    change("remoteNetworks", {"nodeCidrs": ["10.80.0.0/16"]}, {"nodeCidrs": []}),
    # What does not use it is not concerned.
    Accepted({}, {"remoteNetworks": {"nodeCidrs": []}, "access": {"authenticationMode": "ConfigMap"}}),
    change("autoMode", {"nodePools": ["system"], "nodeRoleArn": ROLE + "nodes"}, {"enabled": False, "nodePools": [], "nodeRoleArn": None}),
    Accepted(pods_on_fargate(podExecutionRoleArn=ROLE + "pods", subnetIds=["subnet-1"])),
    Accepted(entry(type="Standard"), entry()),
    Accepted(provider(issuerUrl="https://id.example.com:8443/realms/corp", usernamePrefix="-", groupsClaim="groups", groupsPrefix="oidc:")),
    # Removed, and added again later.
    Accepted(at("access.oidcIdentityProvider", None), provider()),
    Accepted(provider(name="other"), {}),
    Accepted(capability(roleArn=ROLE + "other"), capability()),
    Accepted(capability(type="Ack", configuration={"ack": {"enableCrossNamespace": True, "disabledServices": ["iam", "s3"]}})),
    Accepted(
        argo_cd(
            networkAccess={"vpceIds": ["vpce-1"]},
            rbacRoleMappings=[{"role": "Admin", "identities": [{"id": "a-1", "type": "SsoUser"}, {"id": "g-1", "type": "SsoGroup"}]}],
        ),
        argo_cd(),
    ),
    change("supportType", "Standard", "Extended"),
    change("deletionProtection", True, None),
    change("suspend", None, True),
    change("tags", {"team": "a"}, {"team": "ü b", "cost-center": ""}),
    Accepted(
        {
            "addons": [
                {"name": "coredns", "configuration": {"replicaCount": 3, "deep": [{"er": None}]}}
            ]
        }
    ),
    Accepted({"addons": []}),
    Accepted(
        {
            "addons": [
                {"name": "vpc-cni", "beforeNodes": False},
                {"name": "coredns", "beforeNodes": False},
                {"name": "aws-guardduty-agent", "beforeNodes": True},
            ]
        }
    ),
    Accepted(policy({"type": "Namespace", "namespaces": ["shop", "team-*"]})),
    Accepted(fargate({"namespace": "other"}, name="second"), fargate({"namespace": "batch"})),
    Accepted({"roleArn": None, "logging": None, "network": {"vpc": {"zones": None}}}),
    Accepted(window(schedule="*/5 2-4 1,15 * MON-FRI", timeZone="UTC")),
    Accepted(hook(timeout="1h", onFailure="Continue"), hook()),
    Accepted(hook(at=["BeforeCreate", "AfterCreate", "BeforeDelete"], job={"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"backoffLimit": 0}}})),
    Accepted({"hooks": []}, hook()),
    Accepted(hook(at=["AfterCreate", "BeforeDelete"], namespace="checks", **{"in": "Workload"}), hook(at=["BeforeCreate"], **{"in": "Management"})),
]
