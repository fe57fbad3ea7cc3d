"""EksCluster: values and edits."""

from . import (
    Accepted,
    Refused,
    at,
    change,
    edit,
    merged,
    version_accepted,
    version_refused,
    wrong,
)

BASE = {"region": "eu-west-1", "version": "1.34"}

ROLE = "arn:aws:iam::123456789012:role/"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234"
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
EXISTING = {"network": {"existing": {"subnetIds": ["subnet-1", "subnet-2"]}}}
NEW_CLUSTER = "make a new EksCluster"


def existing(**fields: object) -> dict:
    return {"network": {"existing": fields}}


def existing_wrong(where: str, advice: str, **fields: object) -> Refused:
    return Refused(existing(**fields), f"spec.network.existing{where}", advice)


def entry(**fields: object) -> dict:
    return at("access.entries", [{"principalArn": ROLE + "admins", **fields}])


def policy(scope: dict, arn: str = ADMIN) -> dict:
    return entry(policies=[{"policyArn": arn, "scope": scope}])


def addon(**fields: object) -> dict:
    return {"addons": [{"name": "vpc-cni", **fields}]}


def fargate(*selectors: dict, name: str = "serverless") -> dict:
    return {"fargateProfiles": [{"name": name, "selectors": list(selectors)}]}


def window(**fields: str) -> dict:
    usual = {"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"}
    return at("upgrade.windows", [{**usual, **fields}])


WRONG = [
    Refused({"region": None}, "spec.region", "Required value"),
    Refused({"version": None}, "spec.version", "Required value"),
    wrong("region", "Europe", "such as eu-west-1"),
    wrong("region", "eu-west-1; rm -rf /", "such as eu-west-1"),
    wrong("version", "1.34.2", "major and minor only"),
    wrong("version", "v1.34", "major and minor only"),
    wrong("version", "latest", "major and minor only"),
    wrong("clusterName", "-demo", "beginning with a letter or digit"),
    wrong("clusterName", "de.mo", "letters, digits, '-' and '_'"),
    wrong("clusterName", "a" * 101, "Too long"),
    Refused({}, "EksCluster", "set spec.clusterName", name="demo.eu"),
    Refused({}, "EksCluster", "set spec.clusterName", name="d" * 101),
    wrong("accountRef", {"name": "Prod/../x"}, "name of a Kubernetes object"),
    wrong("changePolicy", "automatic", 'supported values: "Automatic", "Approval", "Observe"'),
    wrong("tags", {"Name": "x"}, "choose another key"),
    wrong("tags", {"aws:created": "x"}, "choose another key"),
    wrong("tags", {"keelson.dev/owner": "someone"}, "choose another key"),
    wrong("tags", {"kubernetes.io/cluster/demo": "owned"}, "choose another key"),
    wrong("tags", {"k" * 129: "x"}, "1 to 128"),
    wrong("tags", {"Team": "a", "team": "b"}, "which IAM takes for the same"),
    wrong("tags", {"a\nb": "x"}, "each key must be"),
    wrong("tags", {"team": "a\nb"}, "each value must be"),
    wrong("tags", {f"k{n}": "" for n in range(41)}, "Too many"),
    # Network
    wrong("network", {}, "exactly one of vpc, existing must be set"),
    Refused(
        merged(EXISTING, at("network.vpc", {})), "spec.network", "exactly one of vpc, existing"
    ),
    wrong("network.vpc.cidr", "10.0.0.0", "network from /16 to /24"),
    wrong("network.vpc.cidr", "10.0.0.0/28", "network from /16 to /24"),
    wrong("network.vpc.cidr", "10.0.0.0/8", "network from /16 to /24"),
    wrong("network.vpc.cidr", "10.0.5.0/16", "no bits set behind the prefix"),
    wrong("network.vpc.cidr", "fd00::/16", "IPv4"),
    wrong("network.vpc.cidr", "169.254.0.0/16", "network from /16 to /24"),
    wrong("network.vpc.zoneCount", 1, "at least two availability zones"),
    wrong("network.vpc.zoneCount", 7, "must be 2 to 6"),
    wrong("network.vpc.zones", ["eu-west-1a"], "at least two availability zones"),
    wrong("network.vpc.zones", ["eu-west-1a", "eu-west-1a"], "once only"),
    wrong("network.vpc.zones", ["eu-west-1a", "b"], "such as eu-west-1a"),
    wrong("network.vpc.zones", ["eu-west-1a", "eu-west-2b"], "in the cluster's region"),
    Refused(
        at("network.vpc", {"zones": ["eu-west-1a", "eu-west-1b"], "zoneCount": 4}),
        "spec.network.vpc.zoneCount",
        "leave zoneCount out",
    ),
    wrong("network.vpc.nat", "Double", 'supported values: "Single", "PerZone", "None"'),
    Refused(at("network.vpc.publicSubnets", False), "spec.network.vpc.nat", "publicSubnets: true"),
    wrong("network.vpc.endpoints", ["com/s3"], "as AWS writes them"),
    wrong("network.vpc.endpoints", ["s3", "s3"], "Duplicate value"),
    existing_wrong("", "exactly one of subnetIds, subnetSelector"),
    existing_wrong(
        "",
        "exactly one of",
        subnetIds=["subnet-1", "subnet-2"],
        subnetSelector={"tags": {"a": "b"}},
        vpcId="vpc-1",
    ),
    existing_wrong(".vpcId", "set vpcId", subnetSelector={"tags": {"tier": "private"}}),
    existing_wrong(
        ".subnetSelector.tags", "at least 1", vpcId="vpc-1", subnetSelector={"tags": {}}
    ),
    existing_wrong(
        ".subnetSelector.tags", "as AWS allows them", vpcId="vpc-1", subnetSelector={"tags": {"a": "$(id)"}}
    ),
    existing_wrong(".subnetIds", "at least two subnets", subnetIds=["subnet-1"]),
    existing_wrong(".subnetIds", "subnet-...", subnetIds=["subnet-1", "sg-2"]),
    existing_wrong(".subnetIds", "Duplicate value", subnetIds=["subnet-1", "subnet-1"]),
    existing_wrong(".vpcId", "vpc-...", subnetIds=["subnet-1", "subnet-2"], vpcId="10"),
    existing_wrong(
        ".securityGroupIds", "sg-...", subnetIds=["subnet-1", "subnet-2"], securityGroupIds=["x"]
    ),
    wrong("kubernetesNetwork.serviceCidr", "8.8.0.0/16", "172.16.0.0/12"),
    wrong("kubernetesNetwork.serviceCidr", "172.20.0.0/25", "/12 to /24"),
    wrong("kubernetesNetwork.serviceCidr", "172.20.0.1/16", "no bits set behind the prefix"),
    wrong("kubernetesNetwork.serviceCidr", "10.0.128.0/20", "overlap"),
    wrong("kubernetesNetwork.serviceCidr", "10.0.0.0/12", "overlap"),
    Refused(
        at("kubernetesNetwork", {"ipFamily": "IPv6", "serviceCidr": "172.20.0.0/16"}),
        "spec.kubernetesNetwork.serviceCidr",
        "leave serviceCidr out",
    ),
    # Control plane
    wrong("endpointAccess", {"public": False, "private": False}, "at least one of public, private"),
    wrong("endpointAccess", {"publicCidrs": []}, "at least one range"),
    wrong("endpointAccess.publicCidrs", ["203.0.113.7/24"], "no bits set behind the prefix"),
    wrong("endpointAccess.publicCidrs", ["203.0.113.7"], "203.0.113.7/32"),
    wrong("endpointAccess.publicCidrs", ["203.0.113.0/24"] * 2, "each entry may be listed once only"),
    wrong("endpointAccess.publicCidrs", [f"203.0.113.{n}/32" for n in range(41)], "Too many"),
    wrong("logging", ["a b"], "as AWS writes them"),
    wrong("secretsEncryption.kmsKeyArn", "alias/my-key", "not of an alias"),
    wrong("secretsEncryption.kmsKeyArn", KEY.replace("west", "north"), "in the cluster's region"),
    wrong("roleArn", "arn:aws:iam::123456789012:user/me", "ARN of an IAM role"),
    wrong("supportType", "Forever", 'supported values: "Standard", "Extended"'),
    wrong("controlPlaneScaling.tier", "$(id)", "as AWS writes them"),
    wrong("autoMode.nodePools", ["a/b"], "as AWS writes them"),
    # Access
    Refused(
        entry(principalArn="arn:aws:sts::123456789012:assumed-role/a/b"),
        "principalArn",
        "that of the role",
    ),
    Refused(
        at("access.entries", [{"principalArn": ROLE + "a"}] * 2),
        "spec.access.entries[1]",
        "Duplicate value",
    ),
    Refused(
        entry(kubernetesGroups=["system:masters"]),
        "kubernetesGroups",
        "AmazonEKSClusterAdminPolicy",
    ),
    Refused(policy({"type": "Namespace"}), "scope.namespaces", "type: Namespace needs namespaces"),
    Refused(policy({"namespaces": ["shop"]}), "scope.namespaces", "type: Cluster has none"),
    Refused(
        policy({"type": "Namespace", "namespaces": ["shop $(id)"]}),
        "scope.namespaces",
        "should match '^[a-z0-9*]",
    ),
    Refused(policy({}, "arn:aws:iam::aws:policy/Admin"), "policyArn", "list-access-policies"),
    Refused(
        merged(policy({}), at("access.authenticationMode", "ConfigMap")),
        "spec.access.entries",
        "set authenticationMode: ApiAndConfigMap first",
    ),
    Refused(
        at("access", {"authenticationMode": "ConfigMap", "prune": True}),
        "spec.access.entries",
        "leave entries and prune out",
    ),
    wrong(
        "podIdentities",
        [{"namespace": "Kube", "serviceAccount": "a", "roleArn": ROLE + "a"}],
        "name of a namespace",
    ),
    wrong(
        "podIdentities",
        [{"namespace": "a", "serviceAccount": "a", "roleArn": ROLE + "a"}] * 2,
        "Duplicate value",
    ),
    # Add-ons, Fargate
    Refused(
        {"addons": [{"name": "coredns"}, {"name": "coredns"}]},
        "spec.addons",
        "each name may be listed once only",
    ),
    Refused(addon(version="1 2"), "spec.addons[0].version", "as AWS writes them"),
    Refused(addon(conflicts="Ignore"), "spec.addons[0].conflicts", "supported values"),
    Refused(addon(configuration="{}"), "spec.addons[0].configuration", "must be of type object"),
    Refused(
        addon(serviceAccountRoleArn=ROLE + "a", podIdentityRoleArn=ROLE + "a"),
        "spec.addons[0]",
        "at most one of serviceAccountRoleArn, podIdentityRoleArn may be set",
    ),
    Refused(fargate(), "spec.fargateProfiles[0].selectors", "at least 1 items"),
    Refused(fargate({"namespace": "A"}), "selectors[0].namespace", "* and ? stand for"),
    Refused(
        fargate({"namespace": "a", "labels": {"fargate": "$(id)"}}),
        "selectors[0].labels",
        "in whose key and value * and ? stand for",
    ),
    # Upgrade
    wrong("upgrade.soak", "10 minutes", "such as 30s"),
    Refused(
        window(schedule="every day at 2"), "spec.upgrade.windows[0].schedule", "five cron fields"
    ),
    Refused(window(duration="4"), "spec.upgrade.windows[0].duration", "such as 30s"),
    Refused(window(timeZone="../etc/passwd"), "spec.upgrade.windows[0].timeZone", "IANA time zone"),
    # Secrets are of the object's own namespace.
    wrong("writeKubeconfigToSecretRef", {"name": "other/secret"}, "name of a Kubernetes object"),
]

IMMUTABLE = [
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
    Refused(
        at("network.vpc.zoneCount", 2), "spec.network.vpc", "availability zones cannot change", {}
    ),
    Refused(
        at("network.vpc.zones", ["eu-west-1a", "eu-west-1b"]),
        "spec.network.vpc",
        "availability zones cannot change",
        {},
    ),
    Refused(
        at("network.vpc.zones", ["eu-west-1b", "eu-west-1a"]),
        "spec.network.vpc",
        "availability zones cannot change",
        at("network.vpc.zones", ["eu-west-1a", "eu-west-1b"]),
    ),
    Refused(
        at("network.vpc", {"publicSubnets": False, "nat": "None"}),
        "spec.network.vpc.publicSubnets",
        "put publicSubnets: true back",
        {},
    ),
    Refused(
        at("network", {"vpc": None, **EXISTING["network"]}),
        "spec.network",
        "cannot move to another network",
        {},
    ),
    Refused(
        at("network", {"existing": None, "vpc": {}}),
        "spec.network",
        "cannot move to another network",
        EXISTING,
    ),
    Refused(
        existing(vpcId="vpc-2"),
        "spec.network.existing.vpcId",
        "cannot move to another VPC",
        existing(vpcId="vpc-1", subnetIds=["subnet-1", "subnet-2"]),
    ),
    edit("kubernetesNetwork.ipFamily", None, "IPv6", NEW_CLUSTER),
    edit("kubernetesNetwork.serviceCidr", "172.20.0.0/16", "172.21.0.0/16", NEW_CLUSTER),
    edit("kubernetesNetwork.serviceCidr", None, "172.21.0.0/16", NEW_CLUSTER),
    edit("kubernetesNetwork.serviceCidr", "172.20.0.0/16", None, NEW_CLUSTER),
    edit("secretsEncryption", {"kmsKeyArn": KEY}, None, "neither remove it nor change its key"),
    edit("secretsEncryption", {"kmsKeyArn": KEY}, {"kmsKeyArn": KEY + "5"}, "neither remove it"),
    edit("access.authenticationMode", "Api", "ApiAndConfigMap", "put the old authenticationMode back"),
    edit("access.authenticationMode", "ApiAndConfigMap", "ConfigMap", "put the old authenticationMode back"),
    version_refused("1.34", "1.34", "1.33", "set upgrade.allowRollback: true"),
    version_refused("1.10", "1.10", "1.9", "set upgrade.allowRollback: true"),
    version_refused("2.0", "2.0", "1.34", "set upgrade.allowRollback: true"),
    # An upgrade under way: what runs counts, not what was asked for.
    version_refused("1.34", "1.35", "1.33", "name that or a later one"),
    Refused(
        merged({"version": "1.32"}, at("upgrade.allowRollback", True)),
        "spec.version",
        "one minor version only",
        {"version": "1.34"},
        status={"version": "1.34"},
    ),
    Refused(
        existing(vpcId=None),
        "spec.network.existing.vpcId",
        "cannot move to another VPC",
        existing(vpcId="vpc-1", subnetIds=["subnet-1", "subnet-2"]),
    ),
    Refused(
        at("network.vpc.zoneCount", 3),
        "spec.network.vpc",
        "availability zones cannot change",
        at("network.vpc.zoneCount", 2),
    ),
    Refused(
        at("network.vpc.zones", None),
        "spec.network.vpc",
        "availability zones cannot change",
        at("network.vpc.zones", ["eu-west-1a", "eu-west-1b"]),
    ),
    edit("kubernetesNetwork.ipFamily", "IPv6", "IPv4", NEW_CLUSTER),
    Refused(
        merged({"version": "1.32"}, at("upgrade.allowRollback", True)),
        "spec.version",
        "one minor version only",
        merged({"version": "1.34"}, at("upgrade.allowRollback", True)),
        status={"version": "1.34"},
    ),
    Refused(
        fargate({"namespace": "batch"}, {"namespace": "other"}),
        "spec.fargateProfiles[0].selectors",
        "add a profile under a new name",
        fargate({"namespace": "batch"}),
    ),
    Refused(
        fargate({"namespace": "other"}),
        "spec.fargateProfiles[0].selectors",
        "add a profile under a new name",
        fargate({"namespace": "batch"}),
    ),
]

CHANGEABLE = [
    change("version", "1.31", "1.34"),
    change("version", "1.9", "1.10"),
    # A typo that was never carried out is taken back: on a new object, and where something runs.
    change("version", "1.63", "1.34"),
    version_accepted("1.35", "1.53", "1.35"),
    version_accepted("1.34", "1.35", "1.34"),
    # What EKS upgraded by itself at the end of support is no edit of the version.
    Accepted({"tags": {"team": "payments"}}, {"version": "1.30"}, {"version": "1.31"}),
    Accepted(
        merged({"version": "1.33"}, at("upgrade.allowRollback", True)),
        {"version": "1.34"},
        {"version": "1.34"},
    ),
    change("clusterName", None, "demo"),
    change("secretsEncryption", None, {"kmsKeyArn": KEY}),
    change("access.authenticationMode", "ApiAndConfigMap", "Api"),
    change("access.authenticationMode", "ConfigMap", "ApiAndConfigMap"),
    change("access.authenticationMode", "ConfigMap", "Api"),
    change("network.vpc.nat", "Single", "PerZone"),
    Accepted(
        at("network.vpc.publicSubnets", True),
        at("network.vpc", {"publicSubnets": False, "nat": "None"}),
    ),
    change("network.vpc.endpoints", ["s3"], ["s3", "ecr.api"]),
    change("network.existing.subnetIds", ["subnet-1", "subnet-2"], ["subnet-1", "subnet-3"]),
    change("endpointAccess.publicCidrs", None, ["203.0.113.0/24", "2001:db8::/32"]),
    change("logging", ["api"], []),
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
    Accepted(policy({"type": "Namespace", "namespaces": ["shop", "team-*"]})),
    Accepted(fargate({"namespace": "other"}, name="second"), fargate({"namespace": "batch"})),
    Accepted({"roleArn": None, "logging": None, "network": {"vpc": {"zones": None}}}),
    Accepted(window(schedule="*/5 2-4 1,15 * MON-FRI", timeZone="UTC")),
]
