"""What people run into on EKS, and how an object gets out of it: failed add-ons, nodes that nothing announces, own images, AMI types that
end, an agent that is there already."""

from __future__ import annotations

import datetime
import json

import pytest

from fleet.account import Account, fresh_account
from fleet.environment import Environment, environment, stays, until
from fleet.manifests import cluster, flux, key_of, node_group
from fleet.upgrading import SMALL, reach
from keelson_harness.aws import REGION

SYSTEM = [{"name": "system", "selectors": [{"namespace": "kube-system"}]}]
COREDNS = [{"name": "coredns"}]
FLUX_SYSTEM = "flux-system"


@pytest.fixture(scope="module")
def on():
    with environment(git=False, flux=False) as started:
        started.start("--drift-interval=3s")
        yield started


class Tenant:
    """A cluster in an account of its own."""

    def __init__(self, on: Environment, name: str, *groups: dict, **spec: object):
        self.on, self.name = on, name
        self.account: Account = on.account(fresh_account())
        self.cluster = cluster(name, **{**SMALL, "accountRef": {"name": name}, "addons": [], **spec})
        self.groups = list(groups)
        on.apply(*reach(on, self.account, name), self.cluster, *groups)

    def control(self, verb: str, **more: object) -> None:
        target = {"account": self.account.id, "region": REGION, "cluster": self.name}
        self.on.aws.control("POST", verb, json={**target, **more})

    def calls(self, part: str = "Addon") -> list[str]:
        calls = [call for call in self.on.writes(0, self.account.id) if part in call["action"] and call["status"] < 400]
        return [call["action"] for call in calls]

    def edit(self, item: dict | None = None, **spec: object) -> None:
        self.on.api.patch(*key_of(item or self.cluster)[:3], {"spec": spec})

    def reconcile_now(self) -> None:
        annotations = {"keelson.dev/reconcile-at": datetime.datetime.now().isoformat()}
        self.on.api.patch(*key_of(self.cluster)[:3], {"metadata": {"annotations": annotations}})

    def message(self, kind: str = "Ready", item: dict | None = None) -> str:
        return self.on.condition(item or self.cluster, kind).get("message", "")

    def exists(self) -> bool:
        return self.name in self.account.eks.list_clusters()["clusters"]

    def addon(self, name: str) -> dict:
        return self.account.eks.describe_addon(clusterName=self.name, addonName=name)["addon"]


def test_conflicting_addon_is_recreated_once_the_spec_overwrites(on):
    tenant = Tenant(on, "conflict", addons=[{"name": "kube-proxy"}])
    until(tenant.exists, 60, "the cluster")
    tenant.control("conflicts", addon="kube-proxy")
    on.await_condition(tenant.cluster, "Stalled", reason="Failed", timeout=60)
    message = tenant.message("Stalled")
    for part in ("add-on kube-proxy", "ConfigurationConflict", "conflicts: Overwrite"):
        assert part in message, message
    stays(lambda: tenant.calls() == ["CreateAddon"], 4, "one attempt")
    tenant.edit(addons=[{"name": "kube-proxy", "conflicts": "Overwrite"}])
    on.ready(tenant.cluster)
    assert tenant.calls() == ["CreateAddon", "DeleteAddon", "CreateAddon"]


def test_conflict_of_a_running_addon_is_overwritten_by_an_update(on):
    tenant = Tenant(on, "edited", addons=[{"name": "kube-proxy"}])
    on.ready(tenant.cluster)
    tenant.control("conflicts", addon="kube-proxy")
    tenant.edit(addons=[{"name": "kube-proxy", "conflicts": "None", "configuration": {"mode": "ipvs"}}])
    on.await_condition(tenant.cluster, "Stalled", reason="Failed", timeout=60)
    tenant.edit(addons=[{"name": "kube-proxy", "conflicts": "Overwrite", "configuration": {"mode": "ipvs"}}])
    on.ready(tenant.cluster)
    assert json.loads(tenant.addon("kube-proxy")["configurationValues"]) == {"mode": "ipvs"}
    assert "DeleteAddon" not in tenant.calls()


def test_addon_whose_cause_is_fixed_elsewhere_is_recreated_on_request(on):
    tenant = Tenant(on, "denied", addons=[{"name": "kube-proxy"}])
    issue = {"code": "AdmissionRequestDenied", "message": "a webhook denied it"}
    on.aws.add_fault({"account": tenant.account.id, "action": "CreateAddon", "times": 1}, {"health_issue": issue})
    on.await_condition(tenant.cluster, "Stalled", reason="AccessDenied", timeout=60)
    assert "a webhook denied it" in tenant.message("Stalled")
    tenant.reconcile_now()
    on.ready(tenant.cluster)
    assert tenant.calls() == ["CreateAddon", "DeleteAddon", "CreateAddon"]


def test_coredns_runs_on_fargate_where_there_is_nothing_else(on):
    tenant = Tenant(on, "fargate", addons=[*COREDNS, {"name": "metrics-server"}], fargateProfiles=SYSTEM)
    on.ready(tenant.cluster)
    assert json.loads(tenant.addon("coredns")["configurationValues"]) == {"computeType": "Fargate"}
    assert "configurationValues" not in tenant.addon("metrics-server")
    # It stays there, although the spec has settings without it.
    tenant.edit(addons=[{"name": "coredns", "configuration": {"replicaCount": 3}}, {"name": "metrics-server"}])
    until(lambda: "UpdateAddon" in tenant.calls(), 20, "the edit")
    on.ready(tenant.cluster)
    assert json.loads(tenant.addon("coredns")["configurationValues"]) == {"computeType": "Fargate", "replicaCount": 3}


def node(name: str, **labels: str) -> dict:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def set_ready(on: Environment, name: str) -> None:
    condition = {"type": "Ready", "status": "True", "reason": "x", "message": "x"}
    on.cloud.workload.api.patch("v1", "Node", name, {"status": {"conditions": [condition]}}, "", subresource="status")


def test_coredns_is_created_once_nodes_of_karpenter_are_ready(on):
    workload = on.cloud.workload.api
    tenant = Tenant(on, "karpenter", addons=COREDNS)
    until(lambda: "no other node is ready" in json.dumps(on.status(tenant.cluster)), 60, "the wait")
    workload.apply_all([node("fargate-1", **{"eks.amazonaws.com/compute-type": "fargate"})])
    set_ready(on, "fargate-1")
    # The second begins after the node was ready.
    for _ in range(2):
        on.reconcile(tenant.cluster)
    stays(lambda: tenant.calls() == [], 2, "no add-on on a node of Fargate")
    tenant.control("nodes", others=1)
    workload.apply_all([node("karpenter-1", **{"karpenter.sh/nodepool": "default"})])
    set_ready(on, "karpenter-1")
    on.ready(tenant.cluster)
    assert tenant.addon("coredns")["status"] == "ACTIVE" and "configurationValues" not in tenant.addon("coredns")
    for name in ("fargate-1", "karpenter-1"):
        workload.delete("v1", "Node", name)


def ended_at_1_32(on: Environment, name: str, **group: object) -> Tenant:
    nodes = node_group(name, amiType="AL2_x86_64", **group)
    tenant = Tenant(on, name, nodes, version="1.32")
    on.ready(tenant.cluster, nodes)
    tenant.edit(version="1.33")
    return tenant


def test_amazon_linux_2_stops_the_upgrade_before_the_control_plane(on):
    tenant = ended_at_1_32(on, "linux-2")
    on.await_condition(tenant.cluster, "Stalled", reason="UpgradeBlocked", timeout=60)
    message = tenant.message("Stalled")
    for part in ("AmiTypes", "linux-2-default (AL2_x86_64)", "AL2023_x86_64_STANDARD"):
        assert part in message, message
    assert "UpdateClusterVersion" not in tenant.calls("Update")
    # Its nodes are kept for now, as the message says.
    tenant.edit(tenant.groups[0], version="1.32")
    on.ready(tenant.cluster, timeout=60)
    assert on.status(tenant.cluster)["version"] == "1.33" and "UpdateNodegroupVersion" not in tenant.calls("Update")


def test_own_image_without_a_version_in_eks_ends_the_upgrade_and_is_named(on):
    on.aws.control("POST", "settings", json={"CUSTOM_AMI_VERSION": "hidden"})
    try:
        image = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m5.large"}
        tenant = Tenant(on, "own-image", version="1.33", upgrade={"unreadableNodes": "Block"})
        template = tenant.account.ec2.create_launch_template(LaunchTemplateName="own", LaunchTemplateData=image)["LaunchTemplate"]
        group = node_group("own-image", launchTemplate={"id": template["LaunchTemplateId"], "version": "1"})
        on.apply(group)
        on.ready(tenant.cluster, group)
        assert "version" not in on.status(group) and on.status(group)["amiType"] == "CUSTOM"
        tenant.edit(version="1.34")
        until(lambda: on.status(tenant.cluster).get("version") == "1.34", 60, "the control plane")
        on.ready(tenant.cluster)
        advice = "put an AMI of Kubernetes 1.34 into a new version of the launch template"
        until(lambda: advice in tenant.message("InSync", group), 30, "the advice")
        assert on.condition(group, "InSync")["status"] == "False"
    finally:
        on.aws.control("POST", "settings", json={"CUSTOM_AMI_VERSION": ""})


def test_tags_that_a_policy_demands_reach_instances_through_a_launch_template(on):
    keys = "cost-center"
    on.aws.control("POST", "settings", json={"REQUIRED_TAGS": keys})
    try:
        tenant = Tenant(on, "scp", tags={keys: "4711"})
        tags = [{"Key": keys, "Value": "4711"}]
        data = {"TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "network-interface")]}
        template = tenant.account.ec2.create_launch_template(LaunchTemplateName="tags", LaunchTemplateData=data)["LaunchTemplate"]
        plain = node_group("scp", "scp-plain")
        tagged = node_group("scp", "scp-tagged", launchTemplate={"id": template["LaunchTemplateId"], "version": "1"})
        on.apply(plain, tagged)
        on.ready(tagged)
        on.await_condition(plain, "Stalled", timeout=60)
        assert "with an explicit deny in a service control policy" in tenant.message("Stalled", plain)
        reservations = tenant.account.ec2.describe_instances()["Reservations"]
        instances = [instance for found in reservations for instance in found["Instances"]]
        assert instances and all(tags[0] in instance["Tags"] for instance in instances)
    finally:
        on.aws.control("POST", "settings", json={"REQUIRED_TAGS": ""})


def deployment(name: str, **labels: str) -> dict:
    pod = {"containers": [{"name": "manager", "image": "example.invalid/flux"}]}
    app = {"app": name}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": name, "namespace": FLUX_SYSTEM, "labels": {"app.kubernetes.io/part-of": "flux", **labels},
            "annotations": {"meta.helm.sh/release-name": "gitops"},
        },
        "spec": {
            "strategy": {"type": "Recreate"}, "selector": {"matchLabels": app}, "template": {"metadata": {"labels": app}, "spec": pod},
        },
    }


def test_flux_of_helm_is_left_alone_until_the_spec_takes_it_over(on):
    workload = on.cloud.workload.api
    theirs = deployment("source-controller", **{"app.kubernetes.io/managed-by": "Helm"})
    workload.apply_all([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": FLUX_SYSTEM}}, theirs])
    key = ("apps/v1", "Deployment", "source-controller", FLUX_SYSTEM)
    before = workload.get(*key)["metadata"]["generation"]
    tenant = Tenant(on, "helm", gitops=flux("https://git.example.invalid/fleet"))
    on.await_condition(tenant.cluster, "GitOpsReady", status="False", reason="NotOwned", timeout=90)
    message = tenant.message("GitOpsReady")
    for part in ("Flux is installed already, in namespace flux-system, by Helm (release gitops)", "spec.gitops.flux.takeOver: true"):
        assert part in message, message
    assert workload.get(*key)["metadata"]["generation"] == before
    names = {found["metadata"]["name"] for found in workload.list("apps/v1", "Deployment", FLUX_SYSTEM)}
    assert names == {"source-controller"} and not workload.find("v1", "ServiceAccount", "source-controller", FLUX_SYSTEM)
    # An operator would put back what is changed.
    operated = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "flux-operator"}}}
    workload.patch(*key[:3], operated, FLUX_SYSTEM)
    tenant.edit(gitops={"flux": {"takeOver": True}})
    until(lambda: "flux-operator (release gitops) would undo a takeover" in tenant.message("GitOpsReady"), 90, "the refusal")
    assert workload.get(*key)["metadata"]["generation"] == before
    workload.patch(*key[:3], {"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}}, FLUX_SYSTEM)
    tenant.reconcile_now()
    try:
        until(lambda: workload.get(*key)["metadata"]["generation"] > before, 60, "the takeover")
    except AssertionError:
        raise AssertionError(on.describe(tenant.cluster)) from None
