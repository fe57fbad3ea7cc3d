"""Messages that advise an edit, and that edit: `test_advice.py` applies each on a real API server.

`advice` finds the messages in the source, so a new one fails the test until one of the tables here contains it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from admission import account, cluster, gitops, node_group
from admission import at, merged
from keelson_harness.paths import CHECKOUT

SOURCE = CHECKOUT / "src"
# Messages of admission rules: `test_admission.py` has their tables.
ADMISSION = "api/rules"
RULE = "x_kube("
VERBS = (
    "set|name|leave|put|remove|add|make|raise|lower|change|write|choose|list|use|give|take|delete|move|stay|replace|shorten|create|apply|"
    "grant|allow|fix|recreate"
)
ADVISES = re.compile(rf"(?:^|[:;,] |(?:^| )(?:or|and|first|instead|has to) )(?:{VERBS})(?![\w-])")
# Tables of what to do in AWS. Where they advise an edit of a Keelson object, they name the field with this prefix.
OF_AWS = re.compile(r"^(?:aws/errors/(?:codes/|health\.rs|denial\.rs)|resources/account_checks/)")
FIELD = "spec."
# A text with fewer words is a name.
MIN_WORDS = 3
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
NO_MESSAGES = re.compile(r"(?:tests?(?:_\w+)?|toy_world|world|fixture|aws_errors_page)\.rs$|/tests/|wire_tests/|^cli/|^telemetry/")


def advice() -> Iterator[tuple[str, str]]:
    """File and text of each message that advises an action."""
    for path in sorted(SOURCE.rglob("*.rs")):
        name = str(path.relative_to(SOURCE))
        if NO_MESSAGES.search(name) or name.startswith(ADMISSION):
            continue
        text = path.read_text().partition("#[cfg(test)]\nmod tests {")[0]
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("//") and RULE not in line]
        for found in LITERAL.finditer("\n".join(lines)):
            message = re.sub(r"\\\n\s*", "", found[1])
            if OF_AWS.match(name) and FIELD not in message:
                continue
            if ADVISES.search(message) and len(message.split()) >= MIN_WORDS:
                yield name, message


@dataclass(frozen=True)
class Cure:
    """A message that contains `message` advises `edits`, each by itself, of an object created with `start`."""

    message: str
    edits: tuple[dict, ...]
    kind: str = "EksCluster"
    start: dict = field(default_factory=dict)
    status: dict = field(default_factory=dict)
    # The object is being deleted, and a finalizer keeps it.
    deleted: bool = False

    def __str__(self) -> str:
        return self.message[:80]


FLEET = {"clusterSelector": {"matchLabels": {"fleet": "main"}}, "waves": [{"name": "canary", "selector": {"matchLabels": {"ring": "0"}}}]}
BASES = {"EksCluster": cluster.BASE, "NodeGroup": node_group.BASE, "AwsAccount": account.BASE, "FleetRollout": FLEET}
BY_ZONE = {"network": {"existing": {"vpcId": "vpc-1", "subnets": [{"zone": "eu-west-1a"}, {"id": "subnet-2"}]}}}
EXISTING = {"network": {"existing": {"subnetIds": ["subnet-1", "subnet-2"], "vpcId": "vpc-1", "securityGroupIds": ["sg-1"]}}}
ROLE = "arn:aws:iam::123456789012:role/other"
FLUX = {"gitops": gitops.BASE["gitops"]}
# Sources and Secrets of an agent.
OTHER_GIT = {"url": "https://github.com/acme/other", "ref": {"branch": "main"}, "secretRef": {"name": "other"}}
OCI = {"url": "oci://ghcr.io/acme/fleet", "ref": {"tag": "prod"}, "provider": "generic"}


def argocd(source: dict) -> dict:
    return {"gitops": {"argocd": {"source": source, "path": "clusters/demo"}}}


def flux(**fields: object) -> dict:
    return {"gitops": {"flux": fields}}


def version(to: str | None, **upgrade: object) -> dict:
    return {"version": to, **({"upgrade": upgrade} if upgrade else {})}


def addons(*items: dict) -> dict:
    return {"addons": list(items)}


def pods(**role: object) -> dict:
    return {"podIdentities": [{"namespace": "dns", "serviceAccount": "dns", "role": role}]}


ADDON = {"name": "vpc-cni"}
AT_34 = {"version": "1.34"}
ROTATION = at("controlPlane.certificateAuthority.createdAfter", "2026-11-30T12:00:00Z")
TEMPLATE = {"launchTemplate": {"id": "lt-1", "version": "3"}}
OWN_AMI = {"node": {"imageId": "ami-1", "userData": "#!/bin/sh"}}

FARGATE = {"name": "jobs", "selectors": [{"namespace": "jobs"}], "subnetIds": ["subnet-1"]}

CURES = [
    # Accounts
    Cure("its owner has to set allowInlinePolicies and workloadPermissionsBoundaryArn", (
        {"allowInlinePolicies": True, "workloadPermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/pods"},
    ), "AwsAccount"),
    Cure("or use policyArns or policies", (pods(policyArns=["arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"]), pods(policies=["ExternalDNS"])),
         start=pods(policy={"Statement": []})),
    Cure("have one of that name created", ({"allowedNamespaces": ["*"]},), "AwsAccount"),
    Cure("its owner has to allow that in spec.adoption", ({"adoption": {"policy": "Allow"}},), "AwsAccount"),
    Cure("its owner has to allow that in spec.adoption", ({"adoptionPolicy": None},), start={"adoptionPolicy": "Adopt"}),
    Cure("the operator's own credentials adopt nothing", ({"adoptionPolicy": None},), start={"adoptionPolicy": "Adopt"}),
    Cure("the owner of the AwsAccount has to add it there", ({"allowedRoleArns": [ROLE]}, {"allowedVpcIds": ["vpc-2"]}), "AwsAccount"),
    Cure("or use another", ({"additionalRolePolicies": ["arn:aws:iam::aws:policy/Other"]},), "NodeGroup",
         {"additionalRolePolicies": ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]}),
    Cure("or use another", (at("network.existing.subnetIds", ["subnet-3", "subnet-4"]), at("network.existing.securityGroupIds", ["sg-2"])),
         start=EXISTING),
    Cure("or name another", (addons({**ADDON, "podIdentityRoleArn": ROLE}),), start=addons({**ADDON, "podIdentityRoleArn": ROLE + "-1"})),
    Cure("add the namespace to allowedNamespaces", ({"allowedNamespaces": ["a", "b"]},), "AwsAccount", {"allowedNamespaces": ["a"]}),
    Cure("add the region to allowedRegions", ({"allowedRegions": ["eu-west-1", "eu-west-2"]}, {"allowedRegions": None}), "AwsAccount",
         {"allowedRegions": ["eu-west-1"]}),
    Cure("set permissionsBoundaryArn of the AwsAccount", ({"permissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary"},), "AwsAccount"),
    # Policies
    Cure("set it to Correct to create it again", ({"driftPolicy": "Correct"},), start={"driftPolicy": "Report"}),
    Cure("set spec.deletionPolicy to Retain", ({"deletionPolicy": "Retain"},), deleted=True),
    Cure("To delete this object alone, set spec.deletionPolicy: Retain", ({"deletionPolicy": "Retain"},), "NodeGroup", deleted=True),
    Cure("deletionPolicy: Retain, which deletes nothing in AWS", ({"deletionPolicy": "Retain"},), deleted=True),
    Cure("delete that object with deletionPolicy: Retain", ({"deletionPolicy": "Retain"},)),
    Cure("delete this EksCluster with deletionPolicy: Retain", ({"deletionPolicy": "Retain"},)),
    Cure("this one with deletionPolicy: Retain", ({"deletionPolicy": "Retain"},), "NodeGroup"),
    Cure("set adoptionPolicy: Adopt on the EksCluster", ({"adoptionPolicy": "Adopt"},)),
    Cure("remove spec.logGroup, or, to adopt it with its logs", ({"logGroup": None}, {"adoptionPolicy": "Adopt"}), start={"logGroup": {"retentionDays": 30}}),
    Cure("its AwsAccount has to allow that (spec.adoption)", ({"adoption": {"policy": "Allow", "clusterNames": ["demo"]}},), "AwsAccount"),
    # The agent
    Cure("Argo CD requires signatures", (argocd({"git": {"verify": None}}),),
         start=argocd({"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}, "verify": {"secretRef": {"name": "keys"}}}})),
    Cure("Argo CD cannot log in to ECR by itself",
         (argocd({"oci": {"provider": "generic", "secretRef": {"name": "login"}}}), argocd({"oci": None, "git": OTHER_GIT}),
          {"gitops": {"argocd": None, "flux": gitops.BASE["gitops"]["flux"]}}),
         start=argocd({"oci": {**OCI, "url": "oci://123456789012.dkr.ecr.eu-west-1.amazonaws.com/fleet", "provider": "aws"}})),
    Cure("Argo CD does not verify artifacts", (argocd({"oci": {"verify": None}}),),
         start=argocd({"oci": {**OCI, "verify": {"provider": "cosign", "secretRef": {"name": "keys"}}}})),
    # Admission refuses the fields that it is about.
    Cure("Argo CD has no such field of a repository: remove it, or use Flux",
         (argocd({"git": {"timeout": None}}), {"gitops": {"argocd": None, "flux": gitops.BASE["gitops"]["flux"]}}), start=argocd({"git": OTHER_GIT})),
    Cure("Flux reserves the Secret name {NAME}", (flux(imagePullSecretRef={"name": "other"}),),
         start=merged(FLUX, flux(imagePullSecretRef={"name": "flux-system"}))),
    Cure("is not built in: use one of", (flux(version="v2.9.5"), flux(version=None)), start=merged(FLUX, flux(version="v1.0.0"))),
    Cure("is not built in: use any of", (flux(components=["source-controller", "kustomize-controller"]),), start=FLUX),
    Cure("and is never copied into a cluster, or sent to a server; name another one", (flux(imagePullSecretRef={"name": "other"}),),
         start=merged(FLUX, flux(imagePullSecretRef={"name": "default-token"}))),
    Cure("and not for {wanted}: name another one", (flux(source={"git": {"secretRef": {"name": "other"}}}),),
         start=merged(FLUX, flux(source={"git": {"secretRef": {"name": "theirs"}}}))),
    Cure("not found: create it, or name another", (flux(imagePullSecretRef={"name": "other"}),),
         start=merged(FLUX, flux(imagePullSecretRef={"name": "missing"}))),
    Cure("and url is not one: set provider: generic", (flux(source={"oci": {"provider": "generic"}}),),
         start=merged(FLUX, flux(source={"git": None, "oci": {**OCI, "provider": "aws"}}))),
    Cure("would replace the provider's login", (flux(source={"oci": {"certSecretRef": None}}), flux(source={"oci": {"provider": "generic"}})),
         start=merged(FLUX, flux(source={"git": None, "oci": {**OCI, "provider": "aws", "certSecretRef": {"name": "ca"}}}))),
    Cure("is an address written in an unusual way", (flux(source={"git": OTHER_GIT}),), start=FLUX),
    Cure("the Git URL is not a URL", (flux(source={"git": OTHER_GIT}),), start=FLUX),
    Cure("the artifact's URL", (flux(source={"oci": {"url": "oci://ghcr.io/acme/other"}}),), start=merged(FLUX, flux(source={"git": None, "oci": OCI}))),
    Cure("the Git URL is unencrypted http", (flux(source={"git": {"url": "https://git.acme.example/fleet"}}),),
         start=merged(FLUX, flux(source={"git": {"url": "http://git.acme.example/fleet"}}))),
    Cure("the Git URL holds a password or a user", (flux(source={"git": OTHER_GIT}),), start=FLUX),
    Cure("the Git URL has a {0}", (flux(source={"git": OTHER_GIT}),), start=FLUX),
    Cure("name it in secretRef", (flux(source={"git": {"secretRef": {"name": "keys"}}}),),
         start=merged(FLUX, flux(source={"git": {"url": "ssh://git@github.com/acme/fleet"}}))),
    Cure("write it from the repository's root", (flux(path="clusters/other"),), start=FLUX),
    Cure("is not a full SHA-1", (flux(source={"git": {"ref": {"branch": None, "commit": "a" * 40}}}),), start=FLUX),
    Cure("is not a full ref name", (flux(source={"git": {"ref": {"branch": None, "name": "refs/heads/main"}}}),), start=FLUX),
    Cure("or set the previous version", (flux(version="v2.7.5"),), start=FLUX),
    Cure("as Argo CD looks up certificates by host name", (argocd({"git": {"url": "https://git.acme.example/fleet"}}),), start=argocd({"git": OTHER_GIT})),
    # The spec as a whole
    Cure("aws needs the add-on {ADDON}", (addons({"name": "eks-pod-identity-agent"}), {"autoMode": {"nodePools": ["system"]}}),
         start=merged(FLUX, addons(ADDON))),
    Cure("set authenticationMode to the actual value", (at("access.authenticationMode", "ApiAndConfigMap"), at("access.authenticationMode", "Api")),
         start=at("access.authenticationMode", "ConfigMap")),
    Cure("set pruneCoreAddons to Preserve or Delete", ({"pruneCoreAddons": "Preserve"}, {"pruneCoreAddons": "Delete"}), start={"pruneAddons": True}),
    Cure("disable the automated agent configuration of Runtime Monitoring, set the tag", ({"tags": {"GuardDutyManaged": "false"}},)),
    Cure("set version to the actual value", (version("1.34"),), start=version("1.35"), status=AT_34),
    Cure("set nat: None, or publicSubnets: true", (at("network.vpc.nat", "None"), at("network.vpc.publicSubnets", True)),
         start=at("network.vpc", {"publicSubnets": False, "nat": "None"})),
    Cure("it needs the add-on {ADDON}: list it in spec.addons, or set spec.autoMode",
         (addons(ADDON, {"name": "eks-pod-identity-agent"}), {"autoMode": {}}), start={**addons(ADDON), **pods()}),
    Cure("put the old value back, or take the add-on off the list, with pruneAddons: true", (
        addons({**ADDON, "namespace": "kube-system"}), {**addons(), "pruneAddons": True},
    ), start=addons({**ADDON, "namespace": "other"})),
    Cure("create a managed policy for some of them and list it in policyArns", (pods(policyArns=["arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"]),),
         start=pods(policy={"Statement": []})),
    Cure("write a policy document of IAM", (
        pods(policy={"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}),
    ), start=pods(policy={"Statements": []})),
    Cure("or take it off the list, and list it again with its type", ({"access": {"entries": []}},),
         start={"access": {"entries": [{"principalArn": ROLE}]}}),
    Cure("remove podIdentityRole and podIdentityRoleArn, or use serviceAccountRoleArn",
         (addons(ADDON), addons({**ADDON, "serviceAccountRoleArn": ROLE})), start=addons({**ADDON, "podIdentityRoleArn": ROLE})),
    Cure("add one, or remove the profile", ({"fargateProfiles": []}, at("network.existing.subnetIds", ["subnet-1", "subnet-2", "subnet-3"])),
         start={**EXISTING, "fargateProfiles": [{"name": "a", "selectors": [{"namespace": "a"}]}]}),
    Cure("add a profile with a new name", ({"fargateProfiles": [{"name": "b", "selectors": [{"namespace": "b"}]}]},),
         start={"fargateProfiles": [{"name": "a", "selectors": [{"namespace": "a"}]}]}),
    Cure("set the add-on's podIdentityRole or podIdentityRoleArn", ({"podIdentities": [], **addons({**ADDON, "podIdentityRoleArn": ROLE})},),
         start={"podIdentities": [{"namespace": "kube-system", "serviceAccount": "aws-node", "roleArn": ROLE}], **addons(ADDON)}),
    Cure("list the tags there if you want that", ({"tags": {"team": "shop"}},)),
    Cure("remove them from network.existing.subnetIds", (at("network.existing.subnetIds", ["subnet-2", "subnet-3"]),), start=EXISTING),
    Cure("remove some", ({},)),
    # Networks of the user
    Cure("remove it, and name subnets in other zones", (at("network.existing.subnetIds", ["subnet-2", "subnet-3"]),), start=EXISTING),
    Cure("does not exist any more: list another subnet instead", (at("network.existing.subnetIds", ["subnet-2", "subnet-3"]),), start=EXISTING),
    Cure("on private clusters and set endpointAccess.private: true", (at("endpointAccess.private", True),), start=EXISTING),
    Cure("in one of the available zones, or remove the profile", ({"fargateProfiles": []},),
         start={"fargateProfiles": [{"name": "a", "selectors": [{"namespace": "a"}]}]}),
    Cure("in larger subnets, or lower spec.scaling", ({"scaling": {"min": 1, "max": 1}},), "NodeGroup"),
    Cure("set launchTemplate.version to one with an AMI", (at("launchTemplate.version", "4"),), "NodeGroup", {**TEMPLATE, "amiType": "CUSTOM"}),
    Cure("set launchTemplate.version to one without an AMI", (at("launchTemplate.version", "4"),), "NodeGroup", TEMPLATE),
    Cure("releaseVersion is {release}: set releaseVersion: Latest", ({"releaseVersion": "Latest"}, at("launchTemplate.version", "4")), "NodeGroup",
         {**TEMPLATE, "releaseVersion": "1.34.1-20261101"}),
    Cure("shorten or remove them", ({},)),
    # What AWS reports
    Cure("change it in spec.tags of the object or of its AwsAccount", ({"tags": {"team": "shop"}},)),
    Cure("change it in spec.tags of the object or of its AwsAccount", ({"tags": {"team": "shop"}},), "AwsAccount"),
    Cure("remove these keys from {field}", ({"tags": None},), start={"tags": {"team": "shop"}}),
    Cure("remove these keys from {field}", ({"autoScalingGroupTags": None},), "NodeGroup", {"autoScalingGroupTags": {"team": "shop"}}),
    Cure("then set controlPlane.certificateAuthority.activeId", (at("controlPlane.certificateAuthority.activeId", "ca-2"),), start=ROTATION),
    Cure("set activeId: {}", (at("controlPlane.certificateAuthority.activeId", "ca-2"),),
         start=at("controlPlane.certificateAuthority.activeId", "ca-1")),
    Cure("set controlPlane.certificateAuthority.deletedId", (at("controlPlane.certificateAuthority.deletedId", "ca-1"),), start=ROTATION),
    Cure("if nothing needs {} any more, delete it first (deletedId: {})", (at("controlPlane.certificateAuthority.deletedId", "ca-1"),), start=ROTATION),
    Cure("were created: remove createdAfter", (at("controlPlane.certificateAuthority.createdAfter", None),), start=ROTATION),
    Cure("remove createdAfter as well to give up the rotation", (at("controlPlane.certificateAuthority.createdAfter", None),),
         start=merged(ROTATION, at("controlPlane.certificateAuthority.deletedId", "ca-2"))),
    Cure("once {when}, set spec.controlPlane.certificateAuthority.{field}",
         (at("controlPlane.certificateAuthority.activeId", "ca-2"), at("controlPlane.certificateAuthority.deletedId", "ca-1")), start=ROTATION),
    Cure("has no subnet {what}: correct it, or name another one",
         (at("network.existing.subnets", [{"zone": "eu-west-1b"}, {"id": "subnet-2"}]),), start=BY_ZONE),
    Cure("name one by its id or its cidr",
         tuple(at("network.existing.subnets", [one, {"id": "subnet-2"}]) for one in ({"id": "subnet-1"}, {"cidr": "10.0.64.0/19"})),
         start=BY_ZONE),
    Cure("or change spec.upgrade.rollout", (at("upgrade.rollout", "other"), at("upgrade.rollout", None)), start=at("upgrade.rollout", "main")),
    Cure("and spec.upgrade.rollout names {name}: change one of them", (at("upgrade.rollout", "other"),), start=at("upgrade.rollout", "main")),
    Cure("add a label, or set spec.unmatched", ({"unmatched": "Last"}, {"unmatched": "Ungated"}), "FleetRollout"),
    Cure("and keeps its slot: set spec.suspend to false", ({"suspend": False},), start={"suspend": True}),
    Cure("or a spec.clusterSelector", (at("clusterSelector.matchLabels", {"fleet": "other"}),), "FleetRollout"),
    Cure("remove some of spec.tags", ({"tags": None},), start={"tags": {"team": "shop"}}),
    Cure("remove the others from spec.network.vpc.endpoints", (at("network.vpc.endpoints", ["s3"]),), start=at("network.vpc.endpoints", ["s3", "ecr.api"])),
    Cure("name one private subnet of each zone in spec.network.existing.subnetIds",
         (at("network.existing.subnetIds", ["subnet-1", "subnet-3"]),), start=EXISTING),
    Cure("name other subnets of the VPC in spec.network.existing.subnetIds", (at("network.existing.subnetIds", ["subnet-2", "subnet-3"]),), start=EXISTING),
    Cure("or name other subnets in spec.network.existing.subnetIds", (at("network.existing.subnetIds", ["subnet-2", "subnet-3"]),), start=EXISTING),
    Cure("name another one in spec.network.existing.securityGroupIds, or remove it there",
         (at("network.existing.securityGroupIds", ["sg-2"]), at("network.existing.securityGroupIds", [])), start=EXISTING),
    Cure("put natAddresses back, or set nat: None",
         (at("network.vpc.natAddresses", ["eipalloc-1"]), at("network.vpc", {"nat": "None", "natAddresses": None})),
         start=at("network.vpc.natAddresses", ["eipalloc-2"])),
    Cure("or set nat: None, then list another address",
         (at("network.vpc", {"nat": "None", "natAddresses": None}),), start=at("network.vpc.natAddresses", ["eipalloc-2"])),
    Cure("allocate it, or list another", (at("network.vpc.natAddresses", ["eipalloc-1"]),), start=at("network.vpc.natAddresses", ["eipalloc-2"])),
    Cure("disassociate it there, or list another", (at("network.vpc.natAddresses", ["eipalloc-1"]),), start=at("network.vpc.natAddresses", ["eipalloc-2"])),
    Cure("and the NAT gateways are in {region}: list one of", (at("network.vpc.natAddresses", ["eipalloc-1"]),),
         start=at("network.vpc.natAddresses", ["eipalloc-2"])),
    Cure("NAT gateways: list one for each", (at("network.vpc.natAddresses", ["eipalloc-1"]),), start=at("network.vpc.natAddresses", ["eipalloc-2"])),
    Cure("leave the field out, create the groups in status.network.vpcId",
         (at("network.vpc.securityGroupIds", None), at("network.vpc.securityGroupIds", ["sg-2"])), start=at("network.vpc.securityGroupIds", ["sg-1"])),
    Cure("or name another one in spec.network.vpc.flowLogs", (at("network.vpc.flowLogs", {"s3": {"bucketArn": "arn:aws:s3:::other"}}),),
         start=at("network.vpc.flowLogs", {"s3": {"bucketArn": "arn:aws:s3:::logs"}})),
    Cure("no longer supports the cluster's version: raise spec.version", (version("1.35"),), status=AT_34),
    Cure("and name that in spec.launchTemplate.version", (at("launchTemplate.version", "4"),), "NodeGroup", TEMPLATE),
    Cure("set conflicts: Overwrite of its entry in spec.addons, or Preserve",
         (addons({**ADDON, "conflicts": "Overwrite"}), addons({**ADDON, "conflicts": "Preserve"})), start=addons({**ADDON, "conflicts": "None"})),
    Cure("give it a role with podIdentityRoleArn or serviceAccountRoleArn of its entry in spec.addons",
         (addons({**ADDON, "podIdentityRoleArn": ROLE}), addons({**ADDON, "serviceAccountRoleArn": ROLE})), start=addons(ADDON)),
    Cure("change its version or configuration in spec.addons", (addons({**ADDON, "version": "v1.2.3-eksbuild.1"}),
         addons({**ADDON, "configuration": {"env": {"A": "b"}}})), start=addons(ADDON)),
    # Node groups
    Cure('nodes are never downgraded: set version: \\"{observed}\\"', (version("1.34"),), "NodeGroup", version("1.34"), AT_34),
    Cure("set releaseVersion: Latest, and choose the AMI there", ({"releaseVersion": "Latest"},), "NodeGroup", {"releaseVersion": "1.34.1-20261101"}),
    Cure("set a release for {nodes}, or Latest", ({"releaseVersion": "1.34.1-20261101"}, {"releaseVersion": "Latest"}), "NodeGroup",
         {"releaseVersion": "1.33.1-20261101"}),
    Cure("or a newer release, or Latest", ({"releaseVersion": "1.34.2-20261115"}, {"releaseVersion": "Latest"}), "NodeGroup",
         {"releaseVersion": "1.34.1-20261101"}),
    Cure("put an AMI of Kubernetes {wanted} into a new version of the launch template", (at("launchTemplate.version", "4"),), "NodeGroup", TEMPLATE),
    Cure("create a template version with an AMI for {wanted}", (at("launchTemplate.version", "4"),), "NodeGroup", TEMPLATE),
    Cure("set spec.launchTemplate.version of its NodeGroup", (at("launchTemplate.version", "4"),), "NodeGroup", TEMPLATE),
    Cure("set node.imageId to an AMI of Kubernetes {wanted}", (at("node.imageId", "ami-2"),), "NodeGroup", OWN_AMI),
    Cure("set node.imageId to an AMI for {wanted}", (at("node.imageId", "ami-2"),), "NodeGroup", OWN_AMI),
    Cure("set spec.node.imageId of its NodeGroup to an AMI of", (at("node.imageId", "ami-2"),), "NodeGroup", OWN_AMI),
    Cure("name another one in spec.node.imageId", (at("node.imageId", "ami-2"),), "NodeGroup", OWN_AMI),
    Cure("name a key in {region}", (at("node.volumes", [{"deviceName": "/dev/xvda"}]),), "NodeGroup", {"node": {}}),
    Cure("Correct spec.node", (at("node.userData", "#!/bin/bash"),), "NodeGroup", OWN_AMI),
    Cure("remove node.efa, or create a new NodeGroup of other instance types", (at("node.efa", None),), "NodeGroup", {"node": {"efa": True}}),
    Cure("set these fields of spec.node to what EC2 stores", (at("node.placementGroup", "NEAR"),), "NodeGroup", at("node.placementGroup", "near")),
    Cure("and EC2 allows {MAX_BYTES}: shorten it", (at("node.userData", "#!/bin/bash"),), "NodeGroup", OWN_AMI),
    Cure("is not that of a NodeConfig of {GROUP}: correct it, or remove it",
         (at("node.nodeConfig", {"kind": "NodeConfig"}), at("node.nodeConfig", {"kind": None})), "NodeGroup",
         {"node": {"nodeConfig": {"kind": "Node"}}}),
    Cure("put its settings into spec, as in", (at("node.nodeConfig", {"kubelet": None, "spec": {"kubelet": {}}}),), "NodeGroup",
         {"node": {"nodeConfig": {"kubelet": {}}}}),
    Cure("create a NodeGroup with spec.node and these tags", (at("tags", {"team": "shop"}),), "NodeGroup", {"node": {}}),
    Cure("set spec.version of its EksCluster to that version", (version("1.35"),), status=AT_34),
    Cure("or lower its own", (version("1.34"),), "NodeGroup", version("1.35")),
    # Missing resources that the spec names
    Cure("IAM policy {arn} does not exist", ({"additionalRolePolicies": ["arn:aws:iam::aws:policy/Other"]},), "NodeGroup",
         {"additionalRolePolicies": ["arn:aws:iam::aws:policy/Missing"]}),
    Cure("IAM {kind} {arn} does not exist", (at("access.entries", [{"principalArn": ROLE}]), {"podIdentities": []}),
         start={**at("access.entries", [{"principalArn": ROLE + "-1"}]),
                "podIdentities": [{"namespace": "a", "serviceAccount": "a", "roleArn": ROLE + "-1"}]}),
    Cure("Fargate runs in private subnets only", ({"fargateProfiles": [{**FARGATE, "name": "other", "subnetIds": ["subnet-2"]}]},),
         start={"fargateProfiles": [FARGATE]}),
    Cure("EKS never gives the routes of the control plane back", (at("controlPlane.egressMode", "CustomerRouted"),),
         start=at("controlPlane.egressMode", "AwsManaged")),
    Cure("EKS cannot change the role of Auto Mode's nodes", (at("autoMode.nodeRoleArn", ROLE + "-1"),),
         start={"autoMode": {"nodePools": ["system"], "nodeRoleArn": ROLE}}),
    Cure("EKS updates a node group of a Capacity Block only without nodes",
         ({"scaling": {"min": 0, "desired": 0, "desiredPolicy": "Enforce"}},), "NodeGroup", node_group.CAPACITY_BLOCK),
    Cure("to run add-ons on Fargate", ({"fargateProfiles": [{"name": "a", "selectors": [{"namespace": "kube-system"}]}]},),
         start=addons({"name": "coredns"})),
    Cure("conflicts: Overwrite replaces what is installed", (addons({**ADDON, "conflicts": "Overwrite"}),), start=addons(ADDON)),
    Cure("takeOver: true to let Keelson manage it from now on", (flux(takeOver=True), {"gitops": None}), start=FLUX),
    Cure("would undo a takeover", (flux(takeOver=True),), start=FLUX),
    Cure("AWS has no AMI of Kubernetes {to} for node groups {}, so their nodes could not follow", (version("1.32"),), "NodeGroup",
         {"amiType": "AL2_x86_64"}, {"version": "1.32"}),
    Cure("The owner of the AWS account has to allow it, in spec.adoption", ({"adoption": {"policy": "Allow", "clusterNames": ["demo"]}},), "AwsAccount"),
    # Versions
    Cure("set spec.version to a minor of the same major", (version("1.35"),), start=version("2.0"), status=AT_34),
    Cure("set spec.version to one that `aws eks describe-cluster-versions` lists", (version("1.35"), version("1.34")),
         start=version("1.63"), status=AT_34),
    Cure("set spec.suspend of its NodeGroup to false", ({"suspend": False},), "NodeGroup", {"suspend": True}),
    Cure("set spec.version of its NodeGroup", (version("1.34"), version(None)), "NodeGroup", version("1.30"), {"version": "1.30"}),
    Cure("remove the add-on from spec.addons", ({"addons": []},), start=addons(ADDON)),
    Cure("the newest are {offered}: set its version to one of these", (addons({**ADDON, "version": "v1.2.3-eksbuild.1"}), addons(ADDON)),
         start=addons({**ADDON, "version": "v9.9.9-eksbuild.9"})),
    Cure("its entry in spec.addons", (addons({**ADDON, "configuration": {"env": {"A": "b"}}}),), start=addons(ADDON)),
    Cure("set spec.version to {from}, or roll back with spec.upgrade.allowRollback: true",
         (version("1.34"), version("1.33", allowRollback=True)), start=version("1.35"), status=AT_34),
    Cure("set it to {from} or the minor before", (version("1.34"), version("1.33", allowRollback=True)), start=version("1.35"), status=AT_34),
    Cure("remove {name} from spec.addons and from the cluster", ({"addons": []},), start=addons(ADDON)),
    Cure("set it to {instead}, which runs on both", (addons({**ADDON, "version": "v1.2.3-eksbuild.1"}), addons({**ADDON, "version": "Default"})),
         start=addons({**ADDON, "version": "v1.1.1-eksbuild.1"})),
    Cure("set it to Default, which updates it right after the control plane", (addons({**ADDON, "version": "Default"}),), start=addons({**ADDON, "version": "v1.1.1-eksbuild.1"})),
    Cure("set its version to {instead}", (addons({**ADDON, "version": "v1.2.3-eksbuild.1"}),), start={**addons(ADDON), **at("upgrade.addons", "Manual")}),
    Cure("set its version to one offered for {to}", (addons({**ADDON, "version": "v1.2.3-eksbuild.1"}),),
         start={**addons(ADDON), **at("upgrade.addons", "Manual")}),
    Cure("change spec.upgrade.windows", (at("upgrade.windows", [{"schedule": "0 2 * * 6", "duration": "4h"}]), at("upgrade.windows", None)),
         start=at("upgrade.windows", [{"schedule": "0 2 29 2 *", "duration": "4h"}])),
    Cure("set spec.upgrade.unreadableNodes to Ignore", (at("upgrade.unreadableNodes", "Ignore"), at("endpointAccess.public", True))),
    Cure("set spec.upgrade.insights to Warn", (at("upgrade.insights", "Warn"),)),
    Cure("write major and minor only", (version("1.35"),)),
    Cure("remove them, or put them back to their defaults", ({"additionalRolePolicies": None},), kind="NodeGroup",
         start={"roleArn": ROLE, "additionalRolePolicies": ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]}),
    Cure("if its desired size is 0, raise scaling.min", (at("scaling.min", 2),), "NodeGroup"),
    Cure("list it under that name, with adoptionPolicy: Adopt", ({"adoptionPolicy": "Adopt"},)),
    Cure("or remove capability {name}", ({"capabilities": None},), start={"capabilities": [{"name": "ack", "type": "Ack", "roleArn": ROLE}]}),
    Cure("remove access.oidcIdentityProvider", (at("access.oidcIdentityProvider", None),), start=at(
        "access.oidcIdentityProvider", {"name": "corp", "issuerUrl": "https://login.acme.example", "clientId": "kubernetes"})),
    Cure("name another one, or delete it", ({"writeKubeconfigToSecretRef": {"name": "other"}}, {"writeKubeconfigToSecretRef": None}),
         start={"writeKubeconfigToSecretRef": {"name": "taken"}}),
    Cure("set registerWith: ArgoCd, or remove registration", ({"registerWith": "ArgoCd"}, {"registration": None}),
         start={"registerWith": "ArgoCd", "registration": {"labels": {"team": "shop"}}}),
    Cure("or set operator.argocd.namespace of its chart; or remove registerWith", ({"registerWith": None},), start={"registerWith": "ArgoCd"}),
    Cure("remove the label, or ask a cluster administrator to allow it", (at("registration.labels", None),),
         start={"registerWith": "ArgoCd", "registration": {"labels": {"team": "shop"}}}),
    Cure("is not of this EksCluster: delete it, or remove registerWith", ({"registerWith": None},), start={"registerWith": "ArgoCd"}),
    Cure("raise spec.version before", (version("1.35"),), status=AT_34),
    Cure("write an IANA name such as Europe/Berlin", (at("upgrade.windows", [{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"}]),),
         start=at("upgrade.windows", [{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Nowhere"}])),
]

# Advice that is not an edit of a Keelson object: an action in AWS or Git, on the operator's flags and RBAC, on another object, or to
# delete the object and apply it again. A part of each message.
NO_EDIT = [
    "does not exist: create it, usually with `suspend: true`",
    "Keelson did not create it like this: delete it",
    "a hook uses a CronJob of the EksCluster's own namespace, or with `in: Workload` of the hook's namespace: remove cronJob.namespace",
    "before its creation the EKS cluster has no API server that could run a Job: remove BeforeCreate from `at`, or set in: Management",
    "in the management cluster a hook runs in the namespace of its EksCluster: remove namespace, or set in: Workload",
    "support of Kubernetes {version} has ended on {ends}: {now}; raise spec.version",
    "is no time: write 2026-11-30T12:00:00Z",
    "was created by somebody else at the same time",
    "does not select this cluster: change the labels of the EksCluster",
    "has this source any more, so no commit follows: give a cluster",
    "cannot be read, and may select this cluster: correct it, or delete it",
    "waits for an approval: set the annotation keelson.dev/approve",
    ": set the annotation keelson.dev/approve to {hash}",
    "This token is too long for a cookie of your browser: use one with fewer claims",
    "is no label key: write one such as",
    "are set by Argo CD, Kubernetes or Keelson: choose others",
    "and the cluster stays registered: delete it",
    "which Keelson did not create, uses it: delete it or give it another role",
    "create a new NodeGroup in other subnets",
    "the zones of a VPC are fixed once it exists",
    "selects none of the cluster's subnets: change it in a new NodeGroup",
    "is public, as its routes lead to an internet gateway",
    "undo the move with keelson move --abort",
    "tag it with {OWNER}={uid}",
    "Keelson needs {} of them: remove {excess}",
    "somebody tagged another one as this: delete it by hand",
    "to the EKS cluster or to its VPC",
    "delete this object and apply it again with those",
    "once the cause is removed, delete this NodeGroup and apply it again",
    "delete this NodeGroup and apply it again",
    "delete unused resources",
    "and create it again with another spec.accountRef",
    "or delete this object and create it again with another",
    "grant it to the operator's service account",
    "recreate it with type",
    "not deleted; remove its keelson.dev tags",
    "delete it to reset the count",
    "set a positive duration",
    "set KUBECONFIG, or run in a cluster",
    "choose another address with --listen",
    "Create an AwsAccount named default and remove the flag",
    "see which resource blocks it in AWS, and delete that",
    "Argo CD supports no key with a passphrase",
    "or a GitHub App: add one",
    "write http://HOST:PORT",
    "is no proxy that can be used",
    "to let Keelson manage",
    "delete what Keelson does not own by hand",
    "remove those rules by hand, not their group",
    "delete those that nobody needs (aws ec2 delete-volume)",
    "delete it if nobody needs them (aws logs delete-log-group",
    "replaces instances that are terminated: delete the group by hand",
    "delete it by hand (aws elbv2 delete-load-balancer)",
    "delete the attachment of the transit gateway by hand",
    "delete the endpoint of Route 53 Resolver by hand",
    "delete the mount target by hand",
    "list it, or stop whoever creates it, and set the annotation",
    "has no ready Pod: start it",
    "delete this EksCluster to remove what is left",
    "delete this EksCluster, which owns nothing yet, and apply it again",
    "Keelson recreates the profile",
    "uninstall it there, as Keelson installs it in",
    "which Keelson rejects: write it without them",
    "choose ranges that do not",
    "has host bits set: write",
    "record the resources with this UID",
    "remove the tags {OWNER}",
    "remove that route",
    "remove the annotation {RECOVER_ANNOTATION}",
    "Choose another spec.clusterName in a new EksCluster",
    "Choose another spec.nodeGroupName in a new NodeGroup",
    "fix what is named",
    "fix what the message names",
    "fix in Git what the message names",
    "fix what AWS reports",
    "fix what its NodeGroup reports",
    "drain and delete them",
    "check the NodeGroups of this cluster, or create one",
    "remove what the message names, and what blocks it",
    # Immutable fields: these messages end with the advice to create a new object.
    "use an AMI type of Amazon Linux 2023",
    "set an AMI type for {is}",
    "set instance types with one",
    "create a new object with another value",
    "EKS gives an existing node group no other one: create a new NodeGroup",
    "EKS gives a node group no other launch template: create a new NodeGroup",
    "spec.node has no field for node.others: create a new NodeGroup with a launch template of your own",
    "create a new cluster in a new VPC",
    "replace or remove those older than",
    "create NodeGroups at {control_plane} for their workloads",
    "replace or remove them",
    "fix the cause, or delete its NodeGroup",
    # Messages of admission rules: `test_admission.py` has them.
    "Karpenter's nodes join with an access entry",
    "karpenter gives this service account its role",
    "cannot change: put the old",
    "relax the PodDisruptionBudget, add replicas",
    "Keelson recreates the capability",
    "check that it reaches issuerUrl from the internet",
    "Secret {namespace}/{name} not found: create it",
    # Not advice; they only match the pattern.
    "write rejected: the lease is lost",
    "has apiVersion, kind and name",
    "exactly one of branch, tag",
]
