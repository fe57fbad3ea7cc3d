"""Small clusters whose upgrade is blocked or held by a gate; `test_upgrade_gates.py` runs them concurrently and checks the results."""

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
    """`first` runs before the cluster is created, `before` when it exists; then its version is set to `to`."""

    name: str
    upgrade: dict = field(default_factory=dict)
    at: str = "1.33"
    to: str = "1.34"
    addons: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    first: Callable[[GateScenario], None] = lambda _: None
    before: Callable[[GateScenario], None] = lambda _: None
    # In existing subnets of sixteen addresses, instead of a network that Keelson creates.
    small_subnets: bool = False
    # Spec fields that are edited together with the version.
    also: Callable[[], dict] = dict
    # Fault rules of the emulator: (match within the account, effect).
    faults: tuple[tuple[dict, dict], ...] = ()


class GateScenario:
    """The cluster of a gate in the test environment."""

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
        """Merges `spec` into the cluster's spec; without arguments, the gate's version."""
        self.mark = self.on.mark()
        version, kind, name, namespace = key_of(self.cluster)
        wanted = spec or {"version": self.gate.to, **self.gate.also()}
        self.on.api.patch(version, kind, name, {"spec": wanted}, namespace)

    def reconcile_now(self, item: dict | None = None) -> None:
        """Requests a reconcile, as a user does after fixing something."""
        version, kind, name, namespace = key_of(item or self.cluster)
        annotations = {"keelson.dev/reconcile-at": datetime.datetime.now().isoformat()}
        patch = {"metadata": {"annotations": annotations}}
        self.on.api.patch(version, kind, name, patch, namespace)

    # Observations

    def found(self, item: dict | None = None) -> dict:
        return self.on.api.get(*key_of(item or self.cluster))

    def conditions(self, item: dict | None = None) -> dict[str, dict]:
        return conditions(self.found(item))

    def upgrade(self) -> dict:
        return self.found()["status"].get("upgrade", {})

    def verdict(self, check: str) -> tuple[str, str]:
        """Verdict and message of a check of the last preflight."""
        for entry in self.upgrade().get("preflight", []):
            if entry["check"] == check:
                return entry["verdict"], entry.get("message", "")
        return "", ""

    def version(self) -> str:
        return self.account.eks.describe_cluster(name=self.name)["cluster"]["version"]

    def calls(self) -> list[dict]:
        """Writes since the edit, including those that AWS refused."""
        return self.on.writes(self.mark, self.account.id)

    def steps(self) -> list[str]:
        return [step(call) for call in self.calls() if call["status"] < 400]

    def blocked(self, *expected: str, item: dict | None = None) -> dict:
        """Waits until it is Stalled and the message contains all of `named`. Returns the Ready condition."""
        waiting = item or self.cluster
        self.on.await_condition(waiting, "Stalled", timeout=60)
        # The state of the workload cluster is read after that.
        deadline = time.monotonic() + 60
        while (ready := self.conditions(waiting)["Ready"]) and not all(t in ready["message"] for t in expected):
            assert time.monotonic() < deadline, f"{expected} not all in: {ready['message']}"
            time.sleep(0.2)
        assert ready["status"] == "False", ready
        return ready

    def messages(self) -> str:
        """The messages of all conditions of the cluster."""
        return "\n".join(c.get("message", "") for c in self.conditions().values())

    def insight(self, name: str, status: str, **more: object) -> None:
        """Adds an EKS upgrade insight about the cluster."""
        insight = {"name": name, "insightStatus": {"status": status, "reason": f"{name} says so"}}
        target = {"account": self.account.id, "region": REGION, "cluster": self.name}
        body = {**target, "insights": [{**insight, **more}]}
        self.on.aws.control("POST", "insights", json=body)
