"""Small clusters whose upgrade something stands in the way of; `test_upgrade_gates.py` plays and judges them, all at once."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.account import Account, fresh_account
from fleet.manifests import cluster, existing, key_of, node_group
from fleet.environment import Environment
from fleet.upgrading import SMALL, reach, step
from keelson_harness.aws import REGION
from keelson_harness.kubeapi import conditions


@dataclass(frozen=True)
class Gate:
    """`first` is done to the account before the cluster is made, `before` when it is there; then the edit to `to` is made."""

    name: str
    upgrade: dict = field(default_factory=dict)
    at: str = "1.33"
    to: str = "1.34"
    addons: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    first: Callable[[Played], None] = lambda _: None
    before: Callable[[Played], None] = lambda _: None
    # In subnets of sixteen addresses that somebody else made, instead of a network of its own.
    small_subnets: bool = False
    # What is edited beside the version.
    also: Callable[[], dict] = dict
    # Rules of the emulator's faults: match beside the account, then.
    faults: tuple[tuple[dict, dict], ...] = ()


class Played:
    """A gate on the stage."""

    def __init__(self, on: Environment, gate: Gate):
        self.on, self.gate = on, gate
        self.account: Account = on.account(fresh_account())
        self.name = gate.name
        spec = {**SMALL, "addons": [{"name": name} for name in gate.addons]}
        spec["accountRef"] = {"name": self.name}
        if gate.small_subnets:
            spec["network"] = existing(*self.account.network("ab", bits=28))
        if gate.upgrade:
            spec["upgrade"] = gate.upgrade
        self.cluster = cluster(self.name, version=gate.at, **spec)
        self.groups = [self._group(name) for name in gate.groups]
        self.items = [self.cluster, *self.groups]
        self.mark = 0
        gate.first(self)
        on.apply(*reach(on, self.account, self.name), *self.items)

    def _group(self, name: str) -> dict:
        scaling = {"min": 2, "max": 3}
        return node_group(self.name, f"{self.name}-{name}", nodeGroupName=name, scaling=scaling)

    def edit(self, **spec: object) -> None:
        """Merged into the cluster's spec; the version of the gate when nothing is named."""
        self.mark = self.on.mark()
        version, kind, name, namespace = key_of(self.cluster)
        wanted = spec or {"version": self.gate.to, **self.gate.also()}
        self.on.api.patch(version, kind, name, {"spec": wanted}, namespace)

    def look_now(self, item: dict | None = None) -> None:
        """As a person does who has put something right."""
        version, kind, name, namespace = key_of(item or self.cluster)
        asked = {"keelson.dev/reconcile-at": datetime.datetime.now().isoformat()}
        patch = {"metadata": {"annotations": asked}}
        self.on.api.patch(version, kind, name, patch, namespace)

    # What is seen

    def found(self, item: dict | None = None) -> dict:
        return self.on.api.get(*key_of(item or self.cluster))

    def conditions(self, item: dict | None = None) -> dict[str, dict]:
        return conditions(self.found(item))

    def upgrade(self) -> dict:
        return self.found()["status"].get("upgrade", {})

    def verdict(self, check: str) -> tuple[str, str]:
        """Of the last preflight: verdict and message."""
        for entry in self.upgrade().get("preflight", []):
            if entry["check"] == check:
                return entry["verdict"], entry.get("message", "")
        return "", ""

    def version(self) -> str:
        return self.account.eks.describe_cluster(name=self.name)["cluster"]["version"]

    def calls(self) -> list[dict]:
        """Writes since the edit, also those that AWS refused."""
        return self.on.writes(self.mark, self.account.id)

    def steps(self) -> list[str]:
        return [step(call) for call in self.calls() if call["status"] < 400]

    def blocked(self, *named: str, item: dict | None = None) -> dict:
        """Waits until a person is called; the message names all that they need. Returns the Ready condition."""
        it = item or self.cluster
        self.on.await_condition(it, "Stalled", timeout=40)
        # What the workload cluster says of it is read after that.
        deadline = time.monotonic() + 15
        while (ready := self.conditions(it)["Ready"]) and not all(t in ready["message"] for t in named):
            assert time.monotonic() < deadline, f"{named} not all in: {ready['message']}"
            time.sleep(0.2)
        assert ready["status"] == "False", ready
        return ready

    def messages(self) -> str:
        """All that the conditions of the cluster say."""
        return "\n".join(c.get("message", "") for c in self.conditions().values())

    def insight(self, name: str, status: str, **more: str) -> None:
        """What EKS says of the cluster's readiness for its next minor."""
        insight = {"name": name, "insightStatus": {"status": status, "reason": f"{name} says so"}}
        where = {"account": self.account.id, "region": REGION, "cluster": self.name}
        body = {**where, "insights": [{**insight, **more}]}
        self.on.aws.control("POST", "insights", json=body)
