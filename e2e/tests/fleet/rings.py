"""Several small clusters of one account in rings, and the FleetRollout that upgrades them ring by ring."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter

from keelson_harness.kubeapi import conditions

from . import API
from .account import fresh_account
from .environment import Environment, until
from .manifests import cluster, key_of, node_group

START, GOAL = "1.33", "1.34"
# The smallest cluster: these tests upgrade nothing but the control plane.
SMALLEST = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False, "addons": []}
_fleets = itertools.count(1)


def wave(ring: str, **spec: object) -> dict:
    return {"name": ring, "selector": {"matchLabels": {"ring": ring}}, **spec}


class Rings:
    """rings: how many clusters there are in each ring, in the order of the waves; waves: further fields of each.

    nodes: each cluster has a node group; each: further fields of each cluster's spec.
    """

    def __init__(
        self,
        on: Environment,
        rings: dict[str, int],
        waves: dict[str, dict] | None = None,
        upgrade: dict | None = None,
        nodes: bool = False,
        each: dict | None = None,
        **spec: object,
    ):
        self.on = on
        self.account = on.account(fresh_account())
        self.name = f"fleet-{next(_fleets)}"
        self._each = {**SMALLEST, **(each or {})}
        self.rings = {ring: [self._cluster(ring, number, upgrade or {}) for number in range(count)] for ring, count in rings.items()}
        self.groups = [node_group(item["metadata"]["name"], scaling={"min": 1, "max": 1}) for item in self.clusters] if nodes else []
        selector = {"matchLabels": {"fleet": self.name}}
        made = [wave(ring, **(waves or {}).get(ring, {})) for ring in rings]
        self.rollout = {
            "apiVersion": API,
            "kind": "FleetRollout",
            "metadata": {"name": self.name},
            "spec": {"clusterSelector": selector, "waves": made, **spec},
        }

    def _cluster(self, ring: str, number: int, upgrade: dict) -> dict:
        item = cluster(f"{self.name}-{ring}-{number}", version=START, upgrade=upgrade, **self._each)
        item["metadata"]["labels"] = {"fleet": self.name, "ring": ring}
        return item

    @property
    def clusters(self) -> list[dict]:
        return [item for ring in self.rings.values() for item in ring]

    def make(self) -> None:
        self.on.apply(self.rollout, *self.clusters, *self.groups)
        # With an API server for each, on a busy machine.
        self.on.ready(*self.clusters, *self.groups, timeout=240)

    # What people do

    def upgrade(self, *items: dict) -> None:
        """One commit raises the version of all."""
        for item in items or self.clusters:
            self.edit(item, version=GOAL)

    def edit(self, item: dict, **spec: object) -> None:
        version, kind, name, namespace = key_of(item)
        self.on.api.patch(version, kind, name, {"spec": spec}, namespace)

    def label(self, item: dict, **labels: str | None) -> None:
        version, kind, name, namespace = key_of(item)
        self.on.api.patch(version, kind, name, {"metadata": {"labels": labels}}, namespace)

    def annotate(self, **annotations: str) -> None:
        named = {f"keelson.dev/{name}": value for name, value in annotations.items()}
        self.on.api.patch(API, "FleetRollout", self.name, {"metadata": {"annotations": named}})

    def go_away(self) -> None:
        self.on.force_delete(self.rollout, *self.groups, *self.clusters)
        self.on.aws.reset_account(self.account.id)

    # What happens

    def found(self) -> dict:
        return self.on.api.get(API, "FleetRollout", self.name)

    def release(self) -> dict:
        return (self.found().get("status", {}).get("releases") or [{}])[0]

    def await_state(self, state: str, seconds: float = 30) -> dict:
        until(lambda: self.release().get("state") == state, seconds, f"{state}, and not {self.release()}")
        return self.release()

    def version(self, item: dict) -> str:
        return self.account.eks.describe_cluster(name=item["metadata"]["name"])["cluster"]["version"]

    def has_arrived(self, *items: dict) -> bool:
        """Whether both the operator and EKS report the version."""

        def one(item: dict) -> bool:
            ready = conditions(self.on.api.get(*key_of(item))).get("Ready", {})
            return ready.get("status") == "True" and self.version(item) == GOAL

        return all(one(item) for item in items or self.clusters)

    def node_version(self, item: dict) -> str:
        cluster_name = item["metadata"]["name"]
        return self.account.eks.describe_nodegroup(clusterName=cluster_name, nodegroupName=f"{cluster_name}-default")["nodegroup"]["version"]

    def updates(self, since: int = 0) -> list[str]:
        """The names of the clusters whose update EKS has accepted, in order."""
        calls = [c for c in self.on.writes(since, self.account.id) if c["action"] == "UpdateClusterVersion" and c["status"] < 400]
        return [call["resource"].split("/")[-1] for call in calls]

    def rings_of_updates(self, since: int = 0) -> list[str]:
        return [name.removeprefix(f"{self.name}-").rpartition("-")[0] for name in self.updates(since)]

    def periods(self) -> dict[str, list[tuple[datetime.datetime, datetime.datetime]]]:
        """When each cluster of a ring was updated, as EKS shows it: from the update until the cluster reports its end."""
        found: dict[str, list] = {}
        for ring, items in self.rings.items():
            for item in items:
                (step,) = self.on.status(item)["upgrade"]["history"]
                began = datetime.datetime.fromisoformat(step["startedAt"])
                found.setdefault(ring, []).append((began, began + datetime.timedelta(seconds=step["seconds"])))
        return found

    def assert_each_was_updated_once(self, since: int) -> None:
        assert Counter(self.updates(since)) == Counter(item["metadata"]["name"] for item in self.clusters)

    def assert_waves_followed_one_another(self, since: int) -> None:
        order = list(self.rings)
        updated = [order.index(ring) for ring in self.rings_of_updates(since)]
        assert updated == sorted(updated), self.rings_of_updates(since)
        periods = self.periods()
        for earlier, later in itertools.pairwise(order):
            assert max(end for _, end in periods[earlier]) <= min(begin for begin, _ in periods[later]), periods
