"""Clusters with a CNI of their own, which Git installs: nodes come up NotReady, and the agent installs the CNI from the host network.

The played kubelet runs Pods as nodes do: until a CNI's DaemonSet exists, only those on the host network that tolerate NotReady nodes. Flux's and
Argo CD's controllers are real, with the addresses of their Pods' arguments. The CNI is a DaemonSet named `cilium`, which plays one: in Git itself, or
in a chart that real helm-controller installs. One such cluster also gets Karpenter from Git, as `examples/fleet` has it: it needs the same helm-controller.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fleet.environment import Environment, environment, until
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, flux, node_group
from handover import ADOPTION_LABEL, FLUX, RETAINED_FIELDS, components, owned_fields, repository_files, sync
from handover.killing import killer
from keelson_harness.aws import ACCOUNT, Durations
from keelson_harness.helm import Helm
from keelson_harness.kubeapi import conditions
from keelson_harness.paths import CHECKOUT, EXAMPLES, tools
from keelson_harness.registry import Registry
from test_load_balancers import definition

PATH = "clusters/own"
# Without vpc-cni, and without kube-proxy, which Cilium replaces.
OWN = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False, "addons": [{"name": "coredns"}]}
OTHERS = ("helm-controller", "notification-controller", "webhook-receiver")
LEFT_OUT = ("helm.toolkit.fluxcd.io", "notification.toolkit.fluxcd.io")
CONTROLLERS = ("source-controller", "kustomize-controller")
WITH_HELM = (*CONTROLLERS, "helm-controller")
# Served by the documented HelmRelease's `1.18.x`.
CHART = "1.18.3"
HOST_NOTE = "it runs on the host network until a CNI makes nodes Ready and the cluster's DNS runs"
DEPLOYMENT = ("apps/v1", "Deployment")
# The kinds of Karpenter's chart, without their schemas.
KARPENTERS = [
    definition(group, plural, kind, namespaced=False)
    for group, plural, kind in (
        ("karpenter.sh", "nodepools", "NodePool"), ("karpenter.sh", "nodeclaims", "NodeClaim"), ("karpenter.k8s.aws", "ec2nodeclasses", "EC2NodeClass"),
    )
]
WORKLOADS = {
    "flux": [(*DEPLOYMENT, name, FLUX) for name in CONTROLLERS],
    "argocd": [
        ("apps/v1", "StatefulSet", "argocd-application-controller", "argocd"),
        *((*DEPLOYMENT, f"argocd-{name}", "argocd") for name in ("repo-server", "redis", "applicationset-controller")),
    ],
}


def cni() -> str:
    """A DaemonSet that plays Cilium's."""
    labels = {"k8s-app": "cilium"}
    pod = {
        "hostNetwork": True,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "cilium-agent", "image": "quay.io/cilium/cilium:local"}],
    }
    item = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "cilium", "namespace": "kube-system"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    return yaml.safe_dump(item)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def helm_repository(directory: Path) -> Iterator[str]:
    """The address of a Helm repository with a chart `cilium`: its DaemonSet has the API server's address from the values."""
    source, served = directory / "cilium", directory / "served"
    (source / "templates").mkdir(parents=True)
    served.mkdir()
    (source / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "cilium", "version": CHART}))
    item = yaml.safe_load(cni())
    item["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "API_SERVER", "value": "{{ .Values.k8sServiceHost }}"}]
    (source / "templates" / "agent.yaml").write_text(yaml.safe_dump(item))
    helm = Helm(directory)
    helm.run("package", source, "--destination", served)
    helm.run("repo", "index", served)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@contextlib.contextmanager
def karpenter_registry(directory: Path) -> Iterator[Registry]:
    """A registry with a chart `karpenter`: its kinds, and a ConfigMap with the settings that it got."""
    chart = directory / "karpenter"
    for folder in ("crds", "templates"):
        (chart / folder).mkdir(parents=True)
    (chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "karpenter", "version": "1.9.0"}))
    (chart / "crds" / "kinds.yaml").write_text(yaml.safe_dump_all(KARPENTERS))
    settings = "{{ toYaml .Values.settings | nindent 2 }}"
    metadata = "metadata: {name: settings-of-{{ .Values.serviceAccount.name }}, namespace: {{ .Release.Namespace }}}"
    (chart / "templates" / "settings.yaml").write_text(f"apiVersion: v1\nkind: ConfigMap\n{metadata}\ndata:{settings}\n")
    helm = Helm(directory)
    helm.run("package", chart, "--destination", directory)
    registry = Registry(tools("registry")["registry"], directory / "registry")
    try:
        registry.wait_ready()
        helm.run("push", directory / "karpenter-1.9.0.tgz", registry.url("karpenter"), "--plain-http")
        yield registry
    finally:
        registry.stop()


def files_with_karpenter(registry: Registry) -> dict[str, str]:
    """What `examples/fleet` has for a cluster with Karpenter, from another registry and with shorter intervals."""
    fleet = EXAMPLES / "fleet"
    found = {str(path.relative_to(fleet)): path.read_text() for folder in ("infrastructure", "karpenter") for path in (fleet / folder).rglob("*.yaml")}
    found |= {f"{PATH}/{name}": (fleet / "clusters" / "pilot" / name).read_text() for name in ("infrastructure.yaml", "karpenter.yaml")}
    release = found["karpenter/controller/release.yaml"]
    assert release.count("oci://public.ecr.aws/karpenter/karpenter") == 1, release
    found["karpenter/controller/release.yaml"] = release.replace("oci://public.ecr.aws/karpenter/karpenter", registry.url("karpenter/karpenter"))
    return {name: text.replace("retryInterval: 1m", "retryInterval: 2s") for name, text in found.items()}


def documented_release(repository: str) -> str:
    """The file with Cilium's HelmRelease in the guide, with another repository."""
    text = (CHECKOUT / "docs" / "how-to" / "own-cni.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (block,) = (block for block in blocks if "HelmRelease" in block)
    assert block.count('"https://helm.cilium.io"') == 1, block
    return block.replace("https://helm.cilium.io", repository)


def argocd(url: str, path: str) -> dict:
    return {"argocd": {"source": {"git": {"url": url, "ref": {"branch": "main"}, "interval": "2s"}}, "path": path}}


def small_flux(url: str, path: str, components: tuple[str, ...] = CONTROLLERS) -> dict:
    gitops = flux(url, path, interval="2s")
    gitops["flux"] |= {"interval": "5s", "components": list(components)}
    return gitops


@pytest.fixture(scope="module")
def on():
    durations = Durations(cluster_create=2, nodegroup=2, addon=0.5, nat=0.5)
    with environment(workload_each=True, argocd=True, helm=True, nodes_need_cni=True, durations=durations) as started:
        yield started


class Own:
    """A cluster without a CNI of AWS, whose path in Git holds another."""

    def __init__(self, on: Environment, name: str, agent: str, with_cni: bool = True):
        self.on, self.name, self.agent = on, name, agent
        self.repository = on.cloud.git.repository(name)
        self.commit("greeting", "early")
        if with_cni:
            self.repository.commit({f"{PATH}/cilium.yaml": cni()})
        gitops = {"flux": small_flux, "argocd": argocd}[agent](self.repository.url, PATH)
        self.cluster = cluster(name, **OWN, gitops=gitops)
        self.nodes = node_group(name)

    def commit(self, name: str, text: str) -> None:
        item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"text": text}}
        self.repository.commit({f"{PATH}/{name}.yaml": yaml.safe_dump(item)})

    def greeting(self) -> str | None:
        found = self.api.find("v1", "ConfigMap", "greeting")
        return found and found["data"]["text"]

    @property
    def plane(self):
        return self.on.cloud.workloads.control_plane(self.name)

    @property
    def api(self):
        return self.plane.api

    def api_exists(self) -> bool:
        return self.condition("ControlPlaneReady").get("status") == "True"

    @staticmethod
    def host_fields(template: dict) -> list[str]:
        """What a Pod template has only for the host network."""
        pod, container = template["spec"], template["spec"]["containers"][0]
        found = [field for field in ("hostNetwork", "tolerations") if field in pod]
        found += [label for label in template["metadata"]["labels"] if "host-network" in label]
        found += ["dnsPolicy"] if pod.get("dnsPolicy") != "ClusterFirst" else []
        found += ["podAffinity"] if "podAffinity" in pod.get("affinity", {}) else []
        found += [flag for flag in container.get("args", []) if "127.0.0.1" in flag]
        return found + [entry["name"] for entry in container.get("env", []) if entry["name"].startswith("KUBERNETES_SERVICE")]

    def on_host(self) -> list[bool]:
        """Of each workload that installs a CNI."""
        found = [self.api.find(*key) for key in WORKLOADS[self.agent]]
        return [item["spec"]["template"]["spec"].get("hostNetwork", False) for item in found if item]

    def condition(self, kind: str) -> dict:
        return self.on.condition(self.cluster, kind)

    def remove(self) -> None:
        self.on.delete(self.nodes, self.cluster)


@pytest.mark.parametrize("agent", ["flux", "argocd"])
def test_git_installs_the_cni_and_the_agent_leaves_the_host_network(on: Environment, agent: str):
    own = Own(on, f"own-{agent}", agent, with_cni=False)
    with on.operator("--drift-interval=2s"):
        on.apply(own.cluster)
        until(own.api_exists, 60, "the control plane")
        until(lambda: own.on_host() and all(own.on_host()), 40, "the agent on the host network")
        assert not own.api.list("apps/v1", "DaemonSet"), "no CNI of AWS"
        on.apply(own.nodes)
        until(lambda: HOST_NOTE in own.condition("GitOpsReady").get("message", ""), 40, "the note")
    own.repository.commit({f"{PATH}/cilium.yaml": cni()})
    if agent == "argocd":
        # Flux has a test of its own.
        with killer(on, own.plane, {"apps": ["deployments", "statefulsets"]}) as operator_killer:
            points = operator_killer.run(on, lambda: bool(own.on_host()) and not any(own.on_host()))
        assert points and {point.split()[0] for point in points} == {"UPDATE"}, points
    with on.operator("--drift-interval=2s"):
        on.ready(own.cluster, own.nodes, timeout=120)
        # CoreDNS runs once nodes are Ready; then the agent is like any other.
        until(lambda: not any(own.on_host()), 60, "the agent to leave the host network")
        until(lambda: HOST_NOTE not in own.condition("GitOpsReady").get("message", ""), 20, "no note")
        for key in WORKLOADS[agent]:
            found = own.api.get(*key)
            assert not own.host_fields(found["spec"]["template"]), (key, found)
        # It still follows Git.
        own.commit("greeting", "next")
        until(lambda: own.greeting() == "next", 60, "the next commit")
        on.ready(own.cluster)
        own.remove()


def test_documented_helm_release_of_cilium_makes_nodes_ready(on: Environment, tmp_path: Path):
    own = Own(on, "own-helm", "flux", with_cni=False)
    own.cluster["spec"]["gitops"] = small_flux(own.repository.url, PATH, WITH_HELM)
    helm_controller = (*DEPLOYMENT, "helm-controller", FLUX)
    with helm_repository(tmp_path) as repository, on.operator("--drift-interval=2s"):
        own.repository.commit({f"{PATH}/cilium.yaml": documented_release(repository)})
        on.apply(own.cluster, own.nodes)
        until(own.api_exists, 60, "the control plane")
        on.ready(own.cluster, own.nodes, timeout=180)
        release = own.api.get("helm.toolkit.fluxcd.io/v2", "HelmRelease", "cilium", "kube-system")
        assert conditions(release)["Ready"]["status"] == "True", release["status"]
        daemon_set = own.api.get("apps/v1", "DaemonSet", "cilium", "kube-system")
        assert daemon_set["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        # A fact of the cluster: without kube-proxy the CNI has no other way to the API server.
        (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
        assert container["env"] == [{"name": "API_SERVER", "value": on.status(own.cluster)["endpoint"].removeprefix("https://")}]
        until(lambda: not any(own.on_host()), 60, "the agent to leave the host network")
        until(lambda: not own.host_fields(own.api.get(*helm_controller)["spec"]["template"]), 60, "helm-controller to leave it, too")
        on.ready(own.cluster)
        own.remove()


def test_karpenter_of_the_example_fleet_is_installed_with_its_nodes(on: Environment, tmp_path: Path):
    own = Own(on, "own-karpenter", "flux")
    own.cluster["spec"] |= {
        "gitops": small_flux(own.repository.url, PATH, WITH_HELM),
        "accountRef": {"name": "own-karpenter"},
        "addons": [*OWN["addons"], {"name": "eks-pod-identity-agent"}],
        "karpenter": {},
    }
    with karpenter_registry(tmp_path) as registry, on.operator("--drift-interval=2s"):
        own.repository.commit(files_with_karpenter(registry))
        on.apply(aws_account("own-karpenter", ACCOUNT), own.cluster, own.nodes)
        on.ready(own.cluster, own.nodes, timeout=180)
        node_class = until(lambda: own.api.find("karpenter.k8s.aws/v1", "EC2NodeClass", "default"), 90, "the EC2NodeClass")["spec"]
        facts = own.api.get("v1", "ConfigMap", "keelson-cluster-facts", FLUX)["data"]
        assert node_class["role"] == facts["KARPENTER_NODE_ROLE_NAME"] != ""
        subnets = {one["id"] for one in on.status(own.cluster)["network"]["subnets"] if one["tier"] == "Private"}
        assert {term["id"] for term in node_class["subnetSelectorTerms"]} == subnets and len(subnets) == 2
        assert json.loads(facts["KARPENTER_SUBNET_SELECTOR_TERMS"]) == node_class["subnetSelectorTerms"]
        assert node_class["securityGroupSelectorTerms"] == [{"id": facts["CLUSTER_SECURITY_GROUP_ID"]}]
        pool = own.api.get("karpenter.sh/v1", "NodePool", "default")["spec"]
        assert pool["template"]["spec"]["nodeClassRef"] == {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}
        settings = {
            "clusterName": "own-karpenter", "clusterEndpoint": on.status(own.cluster)["endpoint"], "interruptionQueue": "keelson-own-karpenter-karpenter",
        }

        def installed() -> bool:
            found = own.api.find("v1", "ConfigMap", "settings-of-karpenter", "kube-system")
            return bool(found) and found["data"] == settings

        until(installed, 60, "the settings of the chart")
        own.remove()


def test_agent_reaches_and_leaves_the_host_network_when_killed_at_each_write(on: Environment):
    own = Own(on, "own-kill", "flux", with_cni=False)
    # The agent is asked for only once its writes are watched.
    bare = {**own.cluster, "spec": {key: value for key, value in own.cluster["spec"].items() if key != "gitops"}}
    with on.operator("--drift-interval=2s"):
        on.apply(bare, own.nodes)
        until(lambda: own.api_exists() and own.api.list("v1", "Node"), 60, "the control plane and nodes")
    on.apply(own.cluster)
    with killer(on, own.plane, {"apps": ["deployments"]}) as operator_killer:
        points = operator_killer.run(on, lambda: own.greeting() == "early")
        assert all(own.on_host()), "no CNI yet"
        own.repository.commit({f"{PATH}/cilium.yaml": cni()})
        points += operator_killer.run(on, lambda: len(own.on_host()) == 2 and not any(own.on_host()))
    # Two of them are written concurrently.
    assert {point.split()[0] for point in points} == {"CREATE", "UPDATE"} and len(points) == len(set(points)), points
    with on.operator("--drift-interval=2s"):
        on.ready(own.cluster, own.nodes, timeout=120)
        own.remove()


def test_agent_that_git_adopts_on_the_host_network_is_released_from_it(on: Environment):
    own = Own(on, "own-adopted", "flux", with_cni=False)
    with on.operator("--drift-interval=2s"):
        on.apply(own.cluster, own.nodes)
        until(lambda: own.api_exists() and own.greeting() == "early", 90, "the first commit")
        # The agent's own manifests arrive together with the CNI.
        installed = [item for item in components() if item["metadata"]["name"] not in OTHERS and item.get("spec", {}).get("group") not in LEFT_OUT]
        source, root = sync(own.repository.url, PATH)
        del source["spec"]["secretRef"]
        files = repository_files(PATH, installed, [source, root])
        own.repository.commit({**files, f"{PATH}/cilium.yaml": cni()})
        on.ready(own.cluster, own.nodes, timeout=120)
        until(lambda: on.status(own.cluster)["gitops"].get("adopted"), 60, "the adoption")
        until(lambda: not any(own.on_host()), 30, "the agent to leave the host network")
        for key in WORKLOADS["flux"]:
            found = own.api.get(*key)
            assert ADOPTION_LABEL in found["metadata"]["labels"] and not own.host_fields(found["spec"]["template"]), found
            assert owned_fields(found) <= RETAINED_FIELDS, owned_fields(found)
        own.commit("greeting", "next")
        until(lambda: own.greeting() == "next", 60, "the next commit")
        own.remove()
