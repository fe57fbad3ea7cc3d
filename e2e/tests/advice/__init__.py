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
    "grant|allow"
)
ADVISES = re.compile(rf"(?:^|[:;,] |(?:^| )(?:or|and|first|instead|has to) )(?:{VERBS})(?![\w-])")
# A text with fewer words is a name.
MIN_WORDS = 3
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
NO_MESSAGES = re.compile(r"(?:tests?(?:_\w+)?|toy_world|world|fixture)\.rs$|/tests/|wire_tests/|^cli/|^telemetry/")


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


BASES = {"EksCluster": cluster.BASE, "NodeGroup": node_group.BASE, "AwsAccount": account.BASE}
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


ADDON = {"name": "vpc-cni"}
AT_34 = {"version": "1.34"}
TEMPLATE = {"launchTemplate": {"id": "lt-1", "version": "3"}}

CURES = [
    # Accounts
    Cure("have one of that name created", ({"allowedNamespaces": ["*"]},), "AwsAccount"),
    Cure("whoever owns it has to allow that in its spec.adoption", ({"adoption": {"policy": "Allow"}},), "AwsAccount"),
    Cure("whoever owns it has to allow that in its spec.adoption", ({"adoptionPolicy": None},), start={"adoptionPolicy": "Adopt"}),
    Cure("the operator's own credentials adopt nothing", ({"adoptionPolicy": None},), start={"adoptionPolicy": "Adopt"}),
    Cure("whoever owns the AwsAccount has to add it there", ({"allowedRoleArns": [ROLE]}, {"allowedVpcIds": ["vpc-2"]}), "AwsAccount"),
    Cure("or name another", ({"additionalRolePolicies": ["arn:aws:iam::aws:policy/Other"]},), "NodeGroup",
         {"additionalRolePolicies": ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]}),
    Cure("or name another", (at("network.existing.subnetIds", ["subnet-3", "subnet-4"]), at("network.existing.securityGroupIds", ["sg-2"])),
         start=EXISTING),
    Cure("or name another", (addons({**ADDON, "podIdentityRoleArn": ROLE}),), start=addons({**ADDON, "podIdentityRoleArn": ROLE + "-1"})),
    Cure("add the namespace to its allowedNamespaces", ({"allowedNamespaces": ["a", "b"]},), "AwsAccount", {"allowedNamespaces": ["a"]}),
    Cure("add the region to its allowedRegions", ({"allowedRegions": ["eu-west-1", "eu-west-2"]}, {"allowedRegions": None}), "AwsAccount",
         {"allowedRegions": ["eu-west-1"]}),
    Cure("set permissionsBoundaryArn of the AwsAccount", ({"permissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary"},), "AwsAccount"),
    # Policies
    Cure("set it to Correct to make it again", ({"driftPolicy": "Correct"},), start={"driftPolicy": "Report"}),
    Cure("set spec.deletionPolicy to Retain", ({"deletionPolicy": "Retain"},), deleted=True),
    Cure("delete that object with deletionPolicy: Retain", ({"deletionPolicy": "Retain"},)),
    Cure("delete this EksCluster with deletionPolicy: Retain", ({"deletionPolicy": "Retain"},)),
    Cure("this one with deletionPolicy: Retain", ({"deletionPolicy": "Retain"},), "NodeGroup"),
    Cure("set adoptionPolicy: Adopt on the EksCluster", ({"adoptionPolicy": "Adopt"},)),
    Cure("its AwsAccount has to allow that (spec.adoption)", ({"adoption": {"policy": "Allow", "clusterNames": ["demo"]}},), "AwsAccount"),
    # The agent
    Cure("Argo CD asks for signatures", (argocd({"git": {"verify": None}}),),
         start=argocd({"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}, "verify": {"secretRef": {"name": "keys"}}}})),
    Cure("Argo CD has no login of its own for ECR",
         (argocd({"oci": {"provider": "generic", "secretRef": {"name": "login"}}}), argocd({"oci": None, "git": OTHER_GIT}),
          {"gitops": {"argocd": None, "flux": gitops.BASE["gitops"]["flux"]}}),
         start=argocd({"oci": {**OCI, "url": "oci://123456789012.dkr.ecr.eu-west-1.amazonaws.com/fleet", "provider": "aws"}})),
    Cure("Argo CD does not verify artifacts", (argocd({"oci": {"verify": None}}),),
         start=argocd({"oci": {**OCI, "verify": {"provider": "cosign", "secretRef": {"name": "keys"}}}})),
    Cure("a Secret of the name {NAME} is Flux's own", (flux(imagePullSecretRef={"name": "other"}),),
         start=merged(FLUX, flux(imagePullSecretRef={"name": "flux-system"}))),
    Cure("is not built in: write one of", (flux(version="v2.9.5"), flux(version=None)), start=merged(FLUX, flux(version="v1.0.0"))),
    Cure("is not built in; write of", (flux(components=["source-controller", "kustomize-controller"]),), start=FLUX),
    Cure("and is never copied into a cluster; name another one", (flux(imagePullSecretRef={"name": "other"}),),
         start=merged(FLUX, flux(imagePullSecretRef={"name": "default-token"}))),
    Cure("and not for {wanted}: name another one", (flux(source={"git": {"secretRef": {"name": "other"}}}),),
         start=merged(FLUX, flux(source={"git": {"secretRef": {"name": "theirs"}}}))),
    Cure("not found: create it, or name another one", (flux(imagePullSecretRef={"name": "other"}),),
         start=merged(FLUX, flux(imagePullSecretRef={"name": "missing"}))),
    Cure("and url names none: set provider: generic", (flux(source={"oci": {"provider": "generic"}}),),
         start=merged(FLUX, flux(source={"git": None, "oci": {**OCI, "provider": "aws"}}))),
    Cure("would take the place of the provider's login", (flux(source={"oci": {"certSecretRef": None}}), flux(source={"oci": {"provider": "generic"}})),
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
    Cure("or ask for the version of before", (flux(version="v2.7.5"),), start=FLUX),
    Cure("is kept by host name in Argo CD", (argocd({"git": {"url": "https://git.acme.example/fleet"}}),), start=argocd({"git": OTHER_GIT})),
    # The spec as a whole
    Cure("aws needs the add-on {ADDON}", (addons({"name": "eks-pod-identity-agent"}), {"autoMode": {"nodePools": ["system"]}}),
         start=merged(FLUX, addons(ADDON))),
    Cure("set the authenticationMode that is there", (at("access.authenticationMode", "ApiAndConfigMap"), at("access.authenticationMode", "Api")),
         start=at("access.authenticationMode", "ConfigMap")),
    Cure("set version to what is there", (version("1.34"),), start=version("1.35"), status=AT_34),
    Cure("set nat: None, or publicSubnets: true", (at("network.vpc.nat", "None"), at("network.vpc.publicSubnets", True)),
         start=at("network.vpc", {"publicSubnets": False, "nat": "None"})),
    Cure("remove podIdentityRoleArn, or use serviceAccountRoleArn",
         (addons(ADDON), addons({**ADDON, "serviceAccountRoleArn": ROLE})), start=addons({**ADDON, "podIdentityRoleArn": ROLE})),
    Cure("add one, or remove the profile", ({"fargateProfiles": []}, at("network.existing.subnetIds", ["subnet-1", "subnet-2", "subnet-3"])),
         start={**EXISTING, "fargateProfiles": [{"name": "a", "selectors": [{"namespace": "a"}]}]}),
    Cure("list a profile under a new name", ({"fargateProfiles": [{"name": "b", "selectors": [{"namespace": "b"}]}]},),
         start={"fargateProfiles": [{"name": "a", "selectors": [{"namespace": "a"}]}]}),
    Cure("set the add-on's podIdentityRoleArn", ({"podIdentities": [], **addons({**ADDON, "podIdentityRoleArn": ROLE})},),
         start={"podIdentities": [{"namespace": "kube-system", "serviceAccount": "aws-node", "roleArn": ROLE}], **addons(ADDON)}),
    Cure("list them there if they are to be", ({"tags": {"team": "shop"}},)),
    Cure("take them out of network.existing.subnetIds", (at("network.existing.subnetIds", ["subnet-2", "subnet-3"]),), start=EXISTING),
    Cure("remove some", ({},)),
    Cure("shorten or remove them", ({},)),
    # Node groups
    Cure('nodes are never taken back: set version: \\"{seen}\\"', (version("1.34"),), "NodeGroup", version("1.34"), AT_34),
    Cure("set releaseVersion: Latest, and choose the AMI there", ({"releaseVersion": "Latest"},), "NodeGroup", {"releaseVersion": "1.34.1-20261101"}),
    Cure("name one of {nodes}, or Latest", ({"releaseVersion": "1.34.1-20261101"}, {"releaseVersion": "Latest"}), "NodeGroup",
         {"releaseVersion": "1.33.1-20261101"}),
    Cure("or a newer one, or Latest", ({"releaseVersion": "1.34.2-20261115"}, {"releaseVersion": "Latest"}), "NodeGroup",
         {"releaseVersion": "1.34.1-20261101"}),
    Cure("put an AMI of Kubernetes {wanted} into a new version of the launch template", (at("launchTemplate.version", "4"),), "NodeGroup", TEMPLATE),
    Cure("make a version of that with an AMI of {wanted}", (at("launchTemplate.version", "4"),), "NodeGroup", TEMPLATE),
    Cure("set spec.launchTemplate.version of its NodeGroup", (at("launchTemplate.version", "4"),), "NodeGroup", TEMPLATE),
    Cure("set spec.version of its EksCluster to that version", (version("1.35"),), status=AT_34),
    Cure("or lower its own", (version("1.34"),), "NodeGroup", version("1.35")),
    # Missing resources that the spec names
    Cure("there is no IAM policy {arn}", ({"additionalRolePolicies": ["arn:aws:iam::aws:policy/Other"]},), "NodeGroup",
         {"additionalRolePolicies": ["arn:aws:iam::aws:policy/Missing"]}),
    Cure("there is no IAM {kind} {arn}", (at("access.entries", [{"principalArn": ROLE}]), {"podIdentities": []}),
         start={**at("access.entries", [{"principalArn": ROLE + "-1"}]),
                "podIdentities": [{"namespace": "a", "serviceAccount": "a", "roleArn": ROLE + "-1"}]}),
    Cure("to run CoreDNS on Fargate",
         ({**addons({"name": "coredns", "configuration": {"computeType": "Fargate"}}),
           "fargateProfiles": [{"name": "a", "selectors": [{"namespace": "kube-system"}]}]},), start=addons({"name": "coredns"})),
    Cure("Whoever owns the AWS account has to allow it, in spec.adoption", ({"adoption": {"policy": "Allow", "clusterNames": ["demo"]}},), "AwsAccount"),
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
    Cure("remove them, or put them back to their defaults", ({"writeKubeconfigToSecretRef": None},),
         start={"writeKubeconfigToSecretRef": {"name": "kubeconfig"}}),
    Cure("raise spec.version before", (version("1.35"),), status=AT_34),
    Cure("write an IANA name such as Europe/Berlin", (at("upgrade.windows", [{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"}]),),
         start=at("upgrade.windows", [{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Nowhere"}])),
]

# Advice that is not an edit of a Keelson object: an action in AWS or Git, on the operator's flags and RBAC, on another object, or to
# delete the object and apply it again. A part of each message.
NO_EDIT = [
    "delete unused resources",
    "use letters, digits, spaces",
    "and create it again with another spec.accountRef",
    "or delete this object and create it again with another",
    "grant it to the operator's service account",
    "which is the limit: write",
    "make it anew as one of type",
    "left as it is; remove its keelson.dev tags",
    "delete it to count anew",
    "give a positive duration",
    "set KUBECONFIG, or run in a cluster",
    "choose another address with --listen",
    "Create an AwsAccount named default and remove the flag",
    "see which resource blocks it in AWS, and delete that",
    "Argo CD takes no key that has one",
    "or a GitHub App: add one",
    "write http://HOST:PORT",
    "is no proxy that can be used",
    "delete what is not Keelson's by hand",
    "delete this EksCluster to clear away what is left",
    "delete this EksCluster, which owns nothing yet, and apply it again",
    "delete the profile (aws eks delete-fargate-profile)",
    "which Keelson refuses: write it without them",
    "choose ranges that do not",
    "has bits set behind its prefix: write",
    "put on record what carries the UID",
    "remove the tags {OWNER}",
    "remove that route",
    "remove the annotation {HAND_OVER_ANNOTATION}",
    "remove the annotation {RECOVER_ANNOTATION}",
    "Choose another spec.clusterName in a new EksCluster",
    "Choose another spec.nodeGroupName in a new NodeGroup",
    "put right what",
    "put right in Git",
    "drain and delete them",
    "see the NodeGroups of this cluster, or make one",
    "remove what is named, and what holds it",
    # Immutable fields: these messages end with the advice to create a new object.
    "take an AMI type of Amazon Linux 2023",
    "name an AMI type for {is}",
    "name instance types that have one",
    "write another value into a new object",
    "make a new cluster in a new VPC",
    "replace or remove those older than",
    "create NodeGroups at {control_plane} for their workloads",
    "replace or remove them",
    "fix the cause, or delete its NodeGroup",
    "of which nothing is in AWS, and apply it again without",
    # Not advice; they only match the pattern.
    "write rejected: the lease is lost",
    "has apiVersion, kind and name",
    "no longer in Git and stay as they are",
    "exactly one of branch, tag",
]
