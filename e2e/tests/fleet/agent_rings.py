"""Rings of clusters with a GitOps agent, for the gates Agent and Revision. Each cluster has an API server of its own."""

from __future__ import annotations

import yaml

from handover import FLUX, NEWER, OLDER, SOURCE, components
from keelson_harness.registry import Registry

from .environment import Environment
from .manifests import flux
from .rings import Rings

CONTROLLER = "source-controller"
PATH = "clusters/all"


def image_of(version: str) -> str:
    found = next(i for i in components(version) if (i["kind"], i["metadata"]["name"]) == ("Deployment", CONTROLLER))
    return found["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]


IMAGES = {image_of(version): version for version in (OLDER, NEWER)}


class Agents(Rings):
    """Rings whose clusters run an older Flux."""

    def __init__(self, on: Environment, rings: dict[str, int], waves: dict[str, dict] | None = None, **spec: object):
        gitops = flux("https://git.example.com/fleet", "clusters/all")
        gitops["flux"]["version"] = OLDER
        super().__init__(on, rings, waves, each={"addons": [{"name": "vpc-cni"}], "gitops": gitops}, **spec)

    def set_version(self, version: str, *items: dict) -> None:
        for item in items or self.clusters:
            self.edit(item, gitops={"flux": {"version": version}})

    def workload(self, item: dict):
        return self.on.cloud.workloads.control_plane(item["metadata"]["name"], self.account.id).api

    def installed(self, item: dict) -> str:
        """The version whose Deployment the operator has applied."""
        found = self.workload(item).find("apps/v1", "Deployment", CONTROLLER, FLUX)
        return IMAGES[found["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]]

    def all_at(self, version: str, *items: dict) -> bool:
        return all(self.installed(item) == version for item in items or self.clusters)

    def agent_status(self, item: dict) -> dict:
        return self.on.status(item).get("upgrade", {}).get("agentWave", {})

    def message(self, item: dict) -> str:
        return self.on.condition(item, "GitOpsReady").get("message", "")


def greeting(text: str) -> dict[str, str]:
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "greeting", "namespace": "default"}, "data": {"text": text}}
    return {f"{PATH}/greeting.yaml": yaml.safe_dump(item)}


class Followers(Rings):
    """Rings whose clusters follow the same source with the gate Revision: a canary, and one or more of the second ring."""

    # Where the agent has its source, and in which field.
    SOURCE = (*SOURCE, FLUX, FLUX)

    def __init__(self, on: Environment, gitops: dict, prod: int = 1):
        each = {"addons": [{"name": "vpc-cni"}], "gitops": gitops}
        super().__init__(on, {"canary": 1, "prod": prod}, {"canary": {"soak": "2s"}}, each=each, gates=["Revision"])
        (self.canary,), (self.prod, *_) = self.rings.values()

    def workload(self, item: dict):
        return self.on.cloud.workloads.control_plane(item["metadata"]["name"], self.account.id).api

    def text(self, item: dict) -> str:
        """What the cluster has of the revisions."""
        found = self.workload(item).find("v1", "ConfigMap", "greeting", "default")
        return found["data"]["text"] if found else ""

    def reference(self, item: dict) -> dict:
        return self.workload(item).get(*self.SOURCE)["spec"]["ref"]

    def held(self, item: dict) -> dict:
        return self.on.status(item).get("gitops", {}).get("heldRevision", {})

    def message(self, item: dict) -> str:
        return self.on.condition(item, "GitOpsReady").get("message", "")


SMALL_FLUX = {"interval": "5s", "components": ["source-controller", "kustomize-controller"]}


class Sources(Followers):
    """With Flux, from a Git repository."""

    def __init__(self, on: Environment, repository: str = "revisions", prod: int = 1):
        self.repository = on.cloud.git.repository(repository)
        self.first = self.repository.commit(greeting("first"))
        gitops = flux(self.repository.url, PATH, interval="1s")
        gitops["flux"] |= SMALL_FLUX
        super().__init__(on, gitops, prod)


class Artifacts(Followers):
    """With Flux, from a tag of a registry."""

    SOURCE = (SOURCE[0], "OCIRepository", FLUX, FLUX)

    def __init__(self, on: Environment, registry: Registry):
        self.registry = registry
        self.first = self.push("first")
        source = {"oci": {"url": registry.url("revisions"), "ref": {"tag": "prod"}, "interval": "1s"}}
        super().__init__(on, {"flux": {"source": source, "path": PATH, **SMALL_FLUX}})

    def push(self, text: str) -> str:
        return self.registry.push("revisions", "prod", greeting(text))


class Applications(Followers):
    """With Argo CD, from a Git repository."""

    SOURCE = ("argoproj.io/v1alpha1", "Application", "keelson", "argocd")

    def __init__(self, on: Environment, repository: str):
        self.repository = on.cloud.git.repository(repository)
        self.first = self.repository.commit(greeting("first"))
        source = {"git": {"url": self.repository.url, "ref": {"branch": "main"}, "interval": "2s"}}
        super().__init__(on, {"argocd": {"source": source, "path": PATH}})

    def reference(self, item: dict) -> str:
        return self.workload(item).get(*self.SOURCE)["spec"]["source"]["targetRevision"]
