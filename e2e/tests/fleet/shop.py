"""A small cluster in its own account, with a change policy: for the tests of plans, approvals and drift."""

from __future__ import annotations

import itertools
import time

from keelson_harness.kubeapi import conditions

from .account import Account, fresh_account
from .manifests import cluster, existing, key_of, node_group
from .environment import Environment, actions, until
from .upgrading import current, reach

APPROVE = "keelson.dev/approve"
RELEASE = "keelson.dev/release-deletion"
LOOK_NOW = "keelson.dev/reconcile-at"
# Time in which a write that follows an observation would have happened.
A_MOMENT = 0.7
ONE_ADDON = [{"name": "vpc-cni"}]
_numbers = itertools.count(1)


class Shop:
    """A cluster in its own account, in an existing network; optionally with a node group."""

    def __init__(self, on: Environment, nodes: bool = False, by_role: bool = True, **spec: object):
        """by_role: the operator runs in another account and assumes a role in this one."""
        self.on = on
        self.account: Account = on.account(fresh_account())
        self.name = f"shop-{next(_numbers)}"
        self.reference = reach(on, self.account, self.name) if by_role else []
        if by_role:
            spec["accountRef"] = {"name": self.name}
        spec.setdefault("network", existing(*self.account.network()[:2]))
        spec.setdefault("addons", ONE_ADDON)
        self.cluster = cluster(self.name, **spec)
        self.nodes = node_group(self.name, f"{self.name}-nodes", scaling={"min": 1, "max": 2})
        self.items = [self.cluster, self.nodes] if nodes else [self.cluster]
        self.mark = on.mark()

    def apply(self) -> None:
        self.on.apply(*self.reference, *self.items)

    def make(self) -> None:
        """Creates it under policy Automatic, then sets its own policy."""
        policy = self.cluster["spec"].get("changePolicy", "Automatic")
        automatic = {**self.cluster, "spec": {**self.cluster["spec"], "changePolicy": "Automatic"}}
        self.on.apply(*self.reference, automatic, *self.items[1:])
        self.on.ready(*self.items)
        if policy != "Automatic":
            self.edit(changePolicy=policy)
            self.on.await_condition(self.cluster, "InSync")
        self.mark = self.on.mark()

    def edit(self, item: dict | None = None, **spec: object) -> None:
        self.on.api.patch(*key_of(item or self.cluster)[:3], {"spec": spec})

    def found(self, item: dict | None = None) -> dict:
        return self.on.api.get(*key_of(item or self.cluster))

    def plan(self, item: dict | None = None) -> dict:
        return self.found(item).get("status", {}).get("plan", {})

    def writes(self, since: int | None = None) -> list[dict]:
        since = self.mark if since is None else since
        return [call for call in self.on.writes(since, self.account.id) if call["status"] < 400]

    def asks(self, item: dict | None = None, other_than: str = "") -> dict:
        """Waits until the object waits for the approval of a plan of its newest generation. Returns its status."""
        item = item or self.cluster

        def asked() -> dict | None:
            found = self.found(item)
            ready = conditions(found).get("Ready", {})
            generation = found["metadata"]["generation"]
            newest = ready.get("observedGeneration") == generation and found["status"]["plan"].get("generation") == generation
            hash_ = found.get("status", {}).get("plan", {}).get("hash")
            waits = ready.get("reason") == "WaitingForApproval" and newest and hash_ != other_than
            return found["status"] if waits and hash_ in ready["message"] else None

        try:
            return until(asked, 40, "WaitingForApproval")
        except AssertionError:
            raise AssertionError(f"does not ask for approval: {self.on.describe(item)}") from None

    def approve(self, hash_: str, item: dict | None = None) -> None:
        annotation = {"metadata": {"annotations": {APPROVE: hash_}}}
        self.on.api.patch(*key_of(item or self.cluster)[:3], annotation)

    def nothing_is_written(self, since: int | None = None) -> None:
        """Asserts that another observation of all objects leads to no write."""
        self.reconcile_all()
        assert actions(self.writes(since)) == []

    def reconcile_all(self) -> None:
        """Triggers a reconcile of all its objects, and waits for writes that would follow."""
        mark = self.on.mark()
        for item in self.items:
            self.on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {LOOK_NOW: str(mark)}}})
        until(lambda: self.on.calls(mark, self.account.id), 30, "an observation")
        time.sleep(A_MOMENT)

    def in_sync(self) -> bool:
        return all(current(self.found(item)) for item in self.items)

    def go_away(self) -> None:
        """Without waiting for AWS."""
        self.on.force_delete(*reversed(self.items), *self.reference)
