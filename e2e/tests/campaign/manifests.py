"""The specs that the campaign edits: together they set every field of the schema to a valid value."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from fleet.manifests import VERSION
from keelson_harness.aws import REGION

from .schema import fields, spec_schema

POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKS"
SSM = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
PROXY = "gitops.flux.source.git.proxySecretRef"
VERIFY = "gitops.flux.source.git.verify"
# Flux's alone: with Argo CD, admission refuses them.
FETCH = {"timeout": "2m", "sparseCheckout": ["clusters/shop"], "recurseSubmodules": True}
ROLES = ("admins", "viewers", "dns", "csi", "cluster", "node", "keelson")


@dataclass(frozen=True)
class World:
    """Resources of the account that a spec references. The default values only have a valid form; no operator uses them."""

    account: str = "123456789012"
    name: str = "shop"
    vpc: str = "vpc-0a"
    subnets: tuple[str, ...] = ("subnet-0a", "subnet-0b", "subnet-0c")
    groups: tuple[str, ...] = ("sg-0a", "sg-0b")
    template: str = "lt-0a"
    key: str = "arn:aws:kms:eu-west-1:123456789012:key/1234"

    def role(self, name: str) -> str:
        return f"arn:aws:iam::{self.account}:role/{name}"

    @property
    def boundary(self) -> str:
        return f"arn:aws:iam::{self.account}:policy/boundary"

    @property
    def bucket(self) -> str:
        return f"flow-logs-{self.account}"

    @property
    def other_key(self) -> str:
        return f"arn:aws:kms:{REGION}:{self.account}:key/5678"


@dataclass(frozen=True)
class Base:
    """A spec, and which of its fields are edited."""

    kind: str
    name: str
    spec: dict
    samples: dict[str, list]
    # Empty: all fields. Otherwise the fields of these names and below.
    only: tuple[str, ...] = ()
    # Whether the operator applies accepted edits; otherwise only admission is asked.
    played: bool = True

    def edits(self, name: str) -> bool:
        def within(of: str) -> bool:
            return name == of or name.startswith((f"{of}.", f"{of}[", of + "{"))

        return not self.only or any(within(of) for of in self.only)


def bases(world: World) -> list[Base]:
    """All bases, for objects in that account."""
    specs = [*account_specs(world), *cluster_specs(world), *node_group_specs(world)]
    samples: dict[str, dict[str, list]] = {}
    for kind, _, spec, _ in specs:
        for found in fields(spec_schema(kind), spec):
            values = samples.setdefault(kind, {}).setdefault(found.name, [])
            if found.is_set and found.value not in values and not found.name.endswith(("[]", "{}")):
                values.append(copy.deepcopy(found.value))
    for (kind, name), others in other_values(world).items():
        samples[kind].setdefault(name, []).extend(others)
    return [Base(kind, name, spec, samples[kind], **options) for kind, name, spec, options in specs]


Specs = list[tuple[str, str, dict, dict]]


def account_specs(world: World) -> Specs:
    spec = {
        "accountId": world.account,
        "roleArn": world.role("keelson"),
        "externalId": "fleet-6f1e",
        "allowedNamespaces": ["default", "team-payments"],
        "allowedRegions": [REGION, "eu-central-1"],
        "permissionsBoundaryArn": world.boundary,
        "allowedRoleArns": [world.role("*")],
        "workloadPermissionsBoundaryArn": world.boundary,
        "allowedWorkloadPolicies": ["*"],
        "allowInlinePolicies": True,
        "allowedPolicyArns": ["arn:aws:iam::aws:policy/*"],
        "allowedVpcIds": [world.vpc],
        "allowedSecurityGroupIds": list(world.groups),
        "allowedKmsKeyArns": [f"arn:aws:kms:{REGION}:{world.account}:key/*"],
        "allowedLaunchTemplateIds": [world.template],
        "allowedImageOwners": ["amazon"],
        "allowedImageIds": ["ami-0*"],
        "allowedCapacityReservationIds": ["cr-0*"],
        "allowedPlacementGroups": ["near", "far"],
        "allowedElasticIpAllocationIds": [ADDRESS],
        "rolePath": "/keelson/",
        "enforcedTags": {"owner": "platform"},
        "tags": {"cost-center": "4711"},
        "adoption": {"policy": "Allow", "clusterNames": ["legacy-*"], "namespaces": ["default"]},
    }
    return [("AwsAccount", "whole", spec, {})]


def cluster_specs(world: World) -> Specs:
    subnets, account = list(world.subnets), {"name": world.name}
    defaults = {"region": REGION, "version": VERSION, "accountRef": account}
    addons = [
        {"name": "vpc-cni", "version": "Default", "configuration": {"env": {"WARM_IP_TARGET": "2"}}, "conflicts": "Preserve"},
        {"name": "kube-proxy"},
        {"name": "coredns"},
        {"name": "aws-ebs-csi-driver", "podIdentityRoleArn": world.role("csi")},
    ]
    recorded = {"traffic": "All", "aggregationSeconds": 600, "format": "${version} ${srcaddr} ${dstaddr} ${action}"}
    flow_logs = {"s3": {"bucketArn": f"arn:aws:s3:::{world.bucket}", "prefix": "vpc"}, **recorded}
    to_log_group = {"cloudWatchLogs": {"logGroup": LOG_GROUP, "roleArn": world.role("flow-logs")}}
    own_network = {
        **defaults,
        "clusterName": world.name,
        "tags": {"team": "payments", "stage": "prod"},
        "changePolicy": "Automatic",
        "driftPolicy": "Correct",
        "deletionPolicy": "Delete",
        "adoptionPolicy": "Refuse",
        "suspend": False,
        "network": {"vpc": {"cidr": "10.0.0.0/16", "zoneCount": 2, "nat": "Single", "publicSubnets": True, "endpoints": ["s3"], "podCidrs": ["100.64.0.0/16"], "flowLogs": flow_logs}},
        "kubernetesNetwork": {"ipFamily": "IPv4", "serviceCidr": "172.20.0.0/16"},
        "oidcProvider": True,
        "pruneAddons": False,
        "pruneCoreAddons": "Keep",
        "persistentVolumes": {"deletionPolicy": "Retain"},
        "upgrade": {
            "insights": "Block",
            "windows": [{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"}],
            "soak": "1s",
            "nodeGroups": "Follow",
            "addons": "Follow",
            "unreadableNodes": "Ignore",
            "allowRollback": False,
            "rollout": "main",
        },
        "addons": [{"name": "vpc-cni"}, {"name": "kube-proxy"}],
    }
    entries = [
        {
            "principalArn": world.role("admins"),
            "policies": [{"policyArn": f"{POLICY}ViewPolicy", "scope": {"type": "Namespace", "namespaces": ["shop"]}}],
            "kubernetesGroups": ["viewers"],
        },
        {"principalArn": world.role("viewers"), "kubernetesGroups": ["viewers", "readers"]},
    ]
    own_control_plane = {
        **defaults,
        "network": {"existing": {"subnetIds": subnets[:2], "vpcId": world.vpc, "securityGroupIds": [world.groups[0]]}},
        "endpointAccess": {"public": True, "publicCidrs": ["203.0.113.0/24"], "private": True},
        "logging": ["api", "audit"],
        "logGroup": {"retentionDays": 30, "kmsKeyArn": world.key, "deletionPolicy": "Delete"},
        "secretsEncryption": {"kmsKeyArn": world.key},
        "roleArn": world.role("cluster"),
        "supportType": "Standard",
        "controlPlaneScaling": {"tier": "standard"},
        "zonalShift": True,
        "deletionProtection": False,
        "autoMode": {"enabled": True, "nodePools": ["general-purpose", "system"], "nodeRoleArn": world.role("node")},
        "controlPlane": {
            "egressMode": "CustomerRouted",
            "apiServer": {"eventTtl": "30m", "serviceNodePortRange": {"minPort": 30000, "maxPort": 32000}},
            "controllerManager": {"podGcControllerConfig": {"terminatedPodGcThreshold": 1000}},
            "scheduler": {
                "nodeResourcesFit": {"scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 5}]}},
            },
        },
        "remoteNetworks": {"nodeCidrs": ["10.80.0.0/16"], "podCidrs": ["10.85.0.0/16"]},
        "addons": [{"name": "vpc-cni"}, {"name": "kube-proxy"}],
    }
    contents = {
        **defaults,
        "network": {"existing": {"subnetIds": subnets[:2]}},
        "access": {"authenticationMode": "ApiAndConfigMap", "prune": False, "entries": entries},
        "podIdentities": [{"namespace": "kube-system", "serviceAccount": "external-dns", "roleArn": world.role("dns")}],
        "addons": addons,
        "fargateProfiles": [{"name": "batch", "selectors": [{"namespace": "batch", "labels": {"fargate": "true"}}]}],
    }
    selector = {
        **defaults,
        "network": {"existing": {"vpcId": world.vpc, "subnetSelector": {"tags": {"tier": "private"}}}},
        "addons": [{"name": "vpc-cni"}],
    }
    references = [{"id": subnets[0]}, {"cidr": "10.0.1.0/24"}, {"zone": f"{REGION}b"}]
    listed = {**defaults, "network": {"existing": {"vpcId": world.vpc, "subnets": references}}, "addons": [{"name": "vpc-cni"}]}
    small = {**defaults, "network": {"existing": {"subnetIds": subnets[:2]}}, "addons": [{"name": "vpc-cni"}]}
    control_plane_fields = ("endpointAccess", "logging", "logGroup", "secretsEncryption", "roleArn", "supportType", "controlPlaneScaling")
    control_plane_fields += ("zonalShift", "deletionProtection", "autoMode", "controlPlane", "remoteNetworks", "network.existing", "network")
    contents_fields = ("access", "podIdentities", "addons", "fargateProfiles")
    zones = {"only": ("network.vpc.zones",), "played": False}
    statement = {"Effect": "Allow", "Action": ["route53:ListHostedZones"], "Resource": "*"}
    pod_role = {"policyArns": [SSM], "policies": ["ExternalDNS"], "policy": {"Version": "2012-10-17", "Statement": [statement]}}
    sync = {"horizontalPodAutoscalerSyncPeriod": "10s"}
    return [
        ("EksCluster", "own network", own_network, {}),
        ("EksCluster", "control plane", own_control_plane, {"only": control_plane_fields}),
        ("EksCluster", "contents", contents, {"only": contents_fields}),
        ("EksCluster", "subnets by tags", selector, {"only": ("network",)}),
        ("EksCluster", "subnets listed", listed, {"only": ("network.existing.subnets",), "played": False}),
        ("EksCluster", "flux", {**small, "gitops": git_source(world)}, {"only": ("gitops",)}),
        ("EksCluster", "flux by oci", {**small, "gitops": oci_source()}, {"only": ("gitops",), "played": False}),
        ("EksCluster", "argocd", {**small, "gitops": argocd()}, {"only": ("gitops",), "played": False}),
        ("EksCluster", "argocd by oci", {**small, "gitops": argocd_by_oci()}, {"only": ("gitops.argocd.source",), "played": False}),
        ("EksCluster", "proxy", {**small, "gitops": by_proxy(world)}, {"only": (PROXY, VERIFY, *fetch_fields("flux")), "played": False}),
        *(
            ("EksCluster", f"{agent} by keyless oci", {**small, "gitops": keyless(gitops)}, {"only": (f"gitops.{agent}.source.oci.verify",), "played": False})
            for agent, gitops in (("flux", oci_source()), ("argocd", argocd_by_oci()))
        ),
        (
            "EksCluster",
            "flow logs",
            {**defaults, "network": {"vpc": {"flowLogs": to_log_group}}},
            {"only": ("network.vpc.flowLogs.cloudWatchLogs",), "played": False},
        ),
        (
            "EksCluster",
            "addresses and groups",
            {**defaults, "network": {"vpc": {"natAddresses": [ADDRESS], "securityGroupIds": list(world.groups)}}},
            {"only": ("network.vpc.natAddresses", "network.vpc.securityGroupIds"), "played": False},
        ),
        (
            "EksCluster",
            "karpenter",
            {
                **small,
                "addons": [{"name": "vpc-cni"}, {"name": "eks-pod-identity-agent"}],
                "karpenter": {"namespace": "kube-system", "serviceAccount": "karpenter", "interruptionQueue": True},
            },
            {"only": ("karpenter",), "played": False},
        ),
        (
            "EksCluster",
            "roles of Pods",
            {
                **small,
                "addons": [{"name": "vpc-cni", "podIdentityRole": pod_role}, {"name": "eks-pod-identity-agent"}],
                "podIdentities": [{"namespace": "kube-system", "serviceAccount": "external-dns", "role": pod_role}],
            },
            {"only": ("addons", "podIdentities"), "played": False},
        ),
        (
            "EksCluster",
            "certificate authority",
            {**small, "controlPlane": {"certificateAuthority": {"createdAfter": "2026-01-01T00:00:00Z", "activeId": "b", "deletedId": "a"}}},
            {"only": ("controlPlane.certificateAuthority",), "played": False},
        ),
        (
            "EksCluster",
            "provisioned control plane",
            {**small, "controlPlaneScaling": {"tier": "tier-xl"}, "controlPlane": {"controllerManager": {"horizontalPodAutoscalerControllerConfig": sync}}},
            {"only": ("controlPlane.controllerManager",), "played": False},
        ),
        (
            "EksCluster",
            "own Fargate",
            {**small, "fargateProfiles": [{"name": "batch", "selectors": [{"namespace": "batch"}], "subnetIds": subnets[:2]}]},
            {"only": ("fargateProfiles",), "played": False},
        ),
        (
            "EksCluster",
            "identity provider",
            {**small, "access": {"oidcIdentityProvider": IDENTITY_PROVIDER}},
            {"only": ("access.oidcIdentityProvider",), "played": False},
        ),
        *(
            ("EksCluster", f"capability {one['name']}", {**small, "capabilities": [one]}, {"only": ("capabilities",), "played": False})
            for one in capabilities(world)
        ),
        ("EksCluster", "named zones", {**defaults, "network": {"vpc": {"zones": [f"{REGION}a", f"{REGION}b"]}}}, zones),
        (
            "EksCluster",
            "kubeconfig",
            {**small, "writeKubeconfigToSecretRef": {"name": "kubeconfig"}},
            {"only": ("writeKubeconfigToSecretRef",), "played": False},
        ),
        (
            "EksCluster",
            "registration",
            {**small, "registerWith": "ArgoCd", "registration": {"roleArn": world.role("csi"), "labels": {"team": "payments"}}},
            {"only": ("registerWith", "registration"), "played": False},
        ),
        ("EksCluster", "hooks", {**small, "hooks": HOOKS}, {"only": ("hooks",), "played": False}),
        # Of a list, only the first item is edited in depth.
        ("EksCluster", "hook with a template", {**small, "hooks": HOOKS[1:]}, {"only": ("hooks",), "played": False}),
    ]


JOB = {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "backup"}]}}}
HOOKS = [
    {"name": "backup", "at": ["BeforeControlPlane"], "job": {"cronJob": {"name": "backup"}}, "timeout": "30m", "onFailure": "Stop"},
    {"name": "smoke", "at": ["AfterCreate", "AfterUpgrade"], "in": "Workload", "namespace": "checks", "job": {"template": {"metadata": {"labels": {"team": "shop"}, "annotations": {"team": "shop"}}, "spec": JOB}}},
]
IDENTITY_PROVIDER = {
    **{"name": "corp", "issuerUrl": "https://id.example.com", "clientId": "kubernetes", "usernameClaim": "email", "usernamePrefix": "corp:"},
    **{"groupsClaim": "groups", "groupsPrefix": "corp:", "requiredClaims": {"hd": "example.com"}},
}


def capabilities(world: World) -> list[dict]:
    argo = {
        "namespace": "argocd",
        "awsIdc": {"idcInstanceArn": "arn:aws:sso:::instance/ssoins-0123456789abcdef", "idcRegion": REGION},
        "rbacRoleMappings": [{"role": "Admin", "identities": [{"id": "g-1", "type": "SsoGroup"}]}],
        "networkAccess": {"vpceIds": ["vpce-0a"]},
        "endpointPrefix": "demo",
    }
    return [
        {"name": "argocd", "type": "ArgoCd", "roleArn": world.role("csi"), "configuration": {"argoCd": argo}, "deletePropagationPolicy": "Retain"},
        {
            **{"name": "ack", "type": "Ack", "roleArn": world.role("dns"), "deletePropagationPolicy": "Retain"},
            "configuration": {"ack": {"enableCrossNamespace": False, "disabledServices": ["iam"]}},
        },
    ]


def git_source(world: World) -> dict:
    git = {"url": "https://git.example.com/fleet", "ref": {"branch": "main"}, "interval": "1m"}
    return {
        "flux": {
            "version": "v2.9.5",
            "registry": "ghcr.io/fluxcd",
            "components": ["source-controller", "kustomize-controller", "helm-controller", "notification-controller"],
            "source": {"git": {**git, "secretRef": {"name": "fleet"}}},
            "path": "clusters/shop",
            "interval": "10m",
            "prune": True,
            "facts": True,
        }
    }


def by_proxy(world: World) -> dict:
    source = git_source(world)
    source["flux"]["source"]["git"] |= {"proxySecretRef": {"name": "proxy"}, "verify": AUTHORS, **FETCH}
    return source


def fetch_fields(agent: str) -> tuple[str, ...]:
    return tuple(f"gitops.{agent}.source.git.{field}" for field in FETCH)


# An existing one, in every account.
ADDRESS = "eipalloc-0a"
LOG_GROUP = "/vpc/flow-logs"
AUTHORS = {"mode": "HEAD", "secretRef": {"name": "authors"}}
OCI = {
    "url": "oci://ghcr.io/acme/fleet",
    "ref": {"tag": "prod"},
    "interval": "1m",
    "provider": "generic",
    "secretRef": {"name": "pull"},
    "certSecretRef": {"name": "registry-ca"},
    "proxySecretRef": {"name": "proxy"},
    "verify": {"provider": "cosign", "secretRef": {"name": "signers"}},
}


def oci_source() -> dict:
    return {
        "flux": {
            "imagePullSecretRef": {"name": "mirror"},
            "source": {"oci": {**OCI, "timeout": FETCH["timeout"]}},
            "path": "clusters/shop",
            "decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}},
        }
    }


def keyless(gitops: dict) -> dict:
    identity = {"issuer": "https://token.actions.githubusercontent.com", "subject": "https://github.com/acme/.*"}
    verify = {"provider": "cosign", "matchOIDCIdentity": [identity]}
    ((agent, of),) = gitops.items()
    return {agent: {**of, "source": {"oci": {**OCI, "verify": verify}}}}


def argocd() -> dict:
    secrets = {"secretRef": {"name": "fleet"}, "proxySecretRef": {"name": "proxy"}, "verify": AUTHORS}
    git = {"url": "https://git.example.com/fleet", "ref": {"branch": "main"}, **secrets}
    return {"argocd": {"version": "v3.2.11", "namespace": "argocd", "source": {"git": git}, "path": "clusters/shop"}}


def argocd_by_oci() -> dict:
    return {"argocd": {**argocd()["argocd"], "source": {"oci": OCI}}}


def node_group_specs(world: World) -> Specs:
    reference = {"clusterRef": {"name": world.name}}
    whole = {
        **reference,
        "nodeGroupName": "web",
        "version": VERSION,
        "releaseVersion": "Latest",
        "amiType": "AL2023_x86_64_STANDARD",
        "instanceTypes": ["m7i.large", "m7a.large"],
        "capacityType": "OnDemand",
        "diskSizeGiB": 50,
        "scaling": {"min": 1, "max": 4, "desired": 2, "desiredPolicy": "Initial"},
        "subnets": {"tier": "Private", "zones": [f"{REGION}a"]},
        "labels": {"workload": "batch", "tier": "back"},
        "taints": [{"key": "spot", "value": "true", "effect": "NoSchedule"}, {"key": "gpu", "effect": "NoExecute"}],
        "additionalRolePolicies": [SSM],
        "update": {"maxUnavailable": 1, "strategy": "Default", "force": False},
        "repair": {
            "enabled": True,
            "maxUnhealthyPercentage": 30,
            "maxParallelRepairedCount": 2,
            "overrides": [
                {
                    "nodeMonitoringCondition": "KernelReady", "nodeUnhealthyReason": "SoftLockup", "minRepairWaitTimeMins": 10,
                    "repairAction": "Reboot",
                },
            ],
        },
        "warmPool": {"enabled": True, "minSize": 1, "maxGroupPreparedCapacity": 5, "poolState": "Stopped", "reuseOnScaleIn": False},
        "replacementPolicy": "Refuse",
        "deletionPolicy": "Delete",
        "suspend": False,
        "tags": {"team": "payments"},
        "autoScalingGroupTags": {"k8s.io/cluster-autoscaler/node-template/label/workload": "batch", "cost-center": "4711"},
    }
    template = {
        **reference,
        "scaling": {"min": 0, "max": 2},
        "subnets": {"ids": list(world.subnets[:2])},
        "launchTemplate": {"id": world.template, "version": "1"},
        "roleArn": world.role("node"),
        "update": {"maxUnavailablePercentage": 50},
    }
    only = ("launchTemplate", "roleArn", "subnets", "update", "scaling.min", "scaling.desired")
    tuned = {
        **reference,
        "scaling": {"min": 0, "max": 2},
        "node": {
            "nodeConfig": {"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": {"kubelet": {"config": {"maxPods": 58}}}},
            "volumes": [
                {
                    "deviceName": "/dev/xvda", "sizeGiB": 80, "type": "gp3", "iops": 3000, "throughput": 125, "kmsKeyArn": world.key,
                    "encrypted": True,
                },
            ],
            "metadata": {"httpPutResponseHopLimit": 1, "httpTokens": "required"},
            "securityGroupIds": [world.groups[0]],
            "capacityReservationId": "cr-0a",
            "placementGroup": "near",
            "efa": False,
        },
    }
    by_range = {**reference, "scaling": {"min": 0, "max": 2}, "subnets": {"ids": [world.subnets[0]], "cidrs": ["10.0.1.0/24"]}}
    own_image = {**reference, "scaling": {"min": 0, "max": 2}, "node": {"imageId": "ami-0a", "userData": "#!/bin/sh"}}
    return [
        ("NodeGroup", "whole", whole, {}),
        ("NodeGroup", "template and role", template, {"only": only}),
        ("NodeGroup", "node", tuned, {"only": ("node",), "played": False}),
        ("NodeGroup", "subnets by range", by_range, {"only": ("subnets.cidrs",), "played": False}),
        ("NodeGroup", "own image", own_image, {"only": ("node.imageId", "node.userData"), "played": False}),
    ]


def other_values(world: World) -> dict[tuple[str, str], list]:
    """Further valid values: to replace a value of the specs, or to set a field that no spec sets."""
    cluster_values = {
        "region": ["eu-central-1"],
        "version": ["1.33", "1.35", "1.37"],
        "accountRef": [{"name": "other"}],
        "clusterName": ["another"],
        "roleArn": [world.role("admins")],
        "network.vpc.cidr": ["10.1.0.0/16", "192.168.0.0/24"],
        "network.vpc.zoneCount": [3],
        "network.vpc.zones": [[f"{REGION}a", f"{REGION}b"], [f"{REGION}b", f"{REGION}a"]],
        "network.vpc.endpoints": [["s3", "ecr.api"], ["sts"]],
        "network.vpc.flowLogs.s3.prefix": ["vpc/other"],
        "network.existing.subnetIds": [list(world.subnets), list(world.subnets[1:])],
        "network.existing.securityGroupIds": [list(world.groups)],
        "network.existing.vpcId": ["vpc-0f"],
        "kubernetesNetwork.serviceCidr": ["172.21.0.0/16"],
        "endpointAccess.publicCidrs": [["198.51.100.0/24", "203.0.113.0/24"]],
        "logging": [["api", "audit", "scheduler"]],
        "logGroup.retentionDays": [90, 31],
        "logGroup.kmsKeyArn": [world.other_key],
        "secretsEncryption.kmsKeyArn": [world.other_key],
        "supportType": ["Extended"],
        "controlPlaneScaling.tier": ["tier-xl"],
        "autoMode.nodePools": [["system"], ["system", "general-purpose"]],
        "controlPlane.apiServer.eventTtl": ["20m"],
        "controlPlane.certificateAuthority.createdAfter": ["2026-02-01T00:00:00Z"],
        "controlPlane.scheduler.nodeResourcesFit.scoringStrategy.resources[].name": ["memory"],
        "remoteNetworks.nodeCidrs": [["10.80.0.0/16", "10.81.0.0/16"]],
        "remoteNetworks.podCidrs": [["10.86.0.0/16"], []],
        "access.entries[].kubernetesGroups": [["viewers", "writers"]],
        "access.entries[].policies[].policyArn": [f"{POLICY}EditPolicy"],
        "access.entries[].policies[].scope": [{"type": "Cluster"}],
        "access.entries[].policies[].scope.namespaces": [["shop", "batch"]],
        "podIdentities": [
            [
                {"namespace": "kube-system", "serviceAccount": "external-dns", "roleArn": world.role("dns")},
                {"namespace": "shop", "serviceAccount": "till", "roleArn": world.role("dns")},
            ]
        ],
        "access.oidcIdentityProvider.issuerUrl": ["https://id.example.org"],
        "access.oidcIdentityProvider.requiredClaims": [{"hd": "example.org"}],
        "capabilities[].roleArn": [world.role("csi")],
        "capabilities[].name": ["other"],
        "capabilities[].configuration.argoCd.awsIdc.idcInstanceArn": ["arn:aws:sso:::instance/ssoins-fedcba9876543210"],
        "capabilities[].configuration.argoCd.awsIdc.idcRegion": ["us-east-1"],
        "capabilities[].configuration.argoCd.networkAccess.vpceIds": [["vpce-1"], []],
        "capabilities[].configuration.ack.disabledServices": [["s3"], ["iam", "s3"]],
        "podIdentities[].roleArn": [world.role("csi")],
        "podIdentities[].targetRoleArn": [world.role("csi")],
        "karpenter.namespace": ["karpenter"],
        "karpenter.serviceAccount": ["karpenter-2"],
        "access.entries[].username": ["sso:{{SessionName}}"],
        "addons": [[{"name": "vpc-cni"}, {"name": "kube-proxy"}, {"name": "snapshot-controller"}]],
        "addons[].version": ["Latest", "v1.21.1-eksbuild.3"],
        "addons[].configuration": [{"env": {"WARM_IP_TARGET": "3"}}],
        "addons[].serviceAccountRoleArn": [world.role("csi")],
        "addons[].podIdentityRoleArn": [world.role("csi")],
        "fargateProfiles": [
            [
                {"name": "batch", "selectors": [{"namespace": "batch", "labels": {"fargate": "true"}}]},
                {"name": "jobs", "selectors": [{"namespace": "jobs"}]},
            ]
        ],
        "fargateProfiles[].name": ["nightly"],
        "upgrade.soak": ["0s", "10m"],
        "upgrade.rollout": ["other"],
        "upgrade.windows": [
            [
                {"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"},
                {"schedule": "0 2 * * 0", "duration": "2h"},
            ]
        ],
        "gitops.flux.path": ["clusters/other"],
        "gitops.flux.interval": ["5m"],
        "gitops.flux.source.git.url": ["https://git.example.com/other", "http://169.254.169.254/latest", "file:///etc/passwd"],
        "gitops.flux.source.git.interval": ["2m"],
        "gitops.flux.source.git.ref": [{"tag": "v1"}, {"branch": "main", "tag": "v1"}],
        "gitops.flux.source.git.ref.semver": [">=1.0.0"],
        "gitops.flux.source.git.ref.commit": ["0" * 40],
        "gitops.flux.source.git.ref.name": ["refs/heads/main"],
        **{name: [value] for name, value in zip(fetch_fields("argocd"), FETCH.values(), strict=True)},
        "gitops.argocd.source.oci.timeout": [FETCH["timeout"]],
        **{
            f"gitops.{agent}.source.{field}": [value]
            for agent in ("flux", "argocd")
            for field, value in (("oci.ref.semver", ">=1.0.0"), ("oci.ref.digest", "sha256:" + "0" * 64))
        },
    }
    node_group_values = {
        "version": ["1.33", "1.35"],
        "nodeGroupName": ["other"],
        "releaseVersion": ["Pinned"],
        "amiType": ["BOTTLEROCKET_x86_64"],
        "scaling.desired": [1],
        "labels": [{"workload": "web"}],
        "taints": [[{"key": "slow", "effect": "PreferNoSchedule"}]],
        "taints[].value": ["false"],
        "launchTemplate.version": ["2"],
        "node.imageId": ["ami-0b"],
        "node.userData": ["#!/bin/bash"],
        "node.nodeConfig": [{"spec": {"kubelet": {"flags": ["--v=2"]}}}],
        "node.volumes[].deviceName": ["/dev/xvdb"],
        "node.volumes[].type": ["gp2"],
        "node.volumes[].iops": [6000],
        "node.volumes[].throughput": [250],
        "node.volumes[].kmsKeyArn": [world.other_key],
        "node.securityGroupIds": [list(world.groups)],
        "node.capacityReservationId": ["cr-0b"],
        "node.placementGroup": ["far"],
        "node.metadata.httpTokens": ["optional"],
        "roleArn": [world.role("admins")],
        "additionalRolePolicies": [[SSM, "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy"]],
        "update.maxUnavailable": [2],
        "update.maxUnavailablePercentage": [25],
    }
    account_values = {
        "accountId": ["210987654321"],
        "roleArn": [world.role("admins")],
        "externalId": ["guessed"],
        "allowedNamespaces": [["*"]],
        "allowedRegions": [["eu-central-1"]],
        "permissionsBoundaryArn": ["arn:aws:iam::aws:policy/PowerUserAccess"],
        "adoption.policy": ["Forbid"],
        "adoption.clusterNames": [["*"]],
        "adoption.namespaces": [["team-payments"]],
        "allowedRoleArns": [[world.role("admins")]],
        "allowedPolicyArns": [[SSM]],
        "allowedVpcIds": [["vpc-0b"], ["*"]],
        "allowedSecurityGroupIds": [["sg-0c"]],
        "allowedKmsKeyArns": [[f"arn:aws:kms:{REGION}:{world.account}:key/9876"]],
        "allowedLaunchTemplateIds": [["lt-0b"]],
        "allowedImageOwners": [["amazon", "099720109477"], []],
        "allowedImageIds": [["ami-0b"]],
        "allowedCapacityReservationIds": [["cr-0b"]],
        "allowedPlacementGroups": [["far"]],
        "allowedElasticIpAllocationIds": [["eipalloc-0b"]],
        "rolePath": ["/"],
        "enforcedTags": [{"owner": "others"}],
    }
    return {
        (kind, name): values
        for kind, of in (("EksCluster", cluster_values), ("NodeGroup", node_group_values), ("AwsAccount", account_values))
        for name, values in of.items()
    }