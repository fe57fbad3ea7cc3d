"""The environment of a test: a local cloud with the CRDs installed, operators, and what can be observed from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from keelson_harness.aws import ACCOUNT, REGION, Durations
from keelson_harness.cloud import LocalCloud
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import KubeApi, Timeout, conditions
from keelson_harness.processes import poll_seconds

from . import API, aws_calls
from .account import Account
from .manifests import key_of

# The shortest durations at which the emulator's states are distinguishable.
QUICK = Durations(1, 1, 1, 1, 0.5, 0.5)
RECONCILE_AT = "keelson.dev/reconcile-at"
# The emulator's reads do not lag its writes, unless a fault makes them.
READ_AFTER_WRITE_WINDOW = "--read-after-write-window=1s"
# What a busy machine may take for anything. A test that passes does not wait for it.
PATIENCE = 60


class Environment:
    """A local cloud and its operators."""

    def __init__(self, cloud: LocalCloud):
        self.cloud = cloud
        self.aws = cloud.aws
        self.api: KubeApi = cloud.management.api
        self._kubeconfig: Path | None = None

    # Operators

    def start(
        self,
        *args: str,
        account: str = ACCOUNT,
        env: dict[str, str] | None = None,
        name: str = "keelson-0",
        window: str = READ_AFTER_WRITE_WINDOW,
        wait: bool = True,
        cluster_wide_secrets: bool = True,
    ) -> Controller:
        """Starts a replica as Pod `name` with the account's own credentials.

        cluster_wide_secrets: may read all Secrets, as `deploy/secrets-cluster-wide` allows; otherwise only where a RoleBinding allows it.
        """
        if self._kubeconfig is None:
            self._kubeconfig = self.cloud.operator_account(cluster_wide_secrets)
        controller = self.cloud.operator(
            window,
            *args,
            # A test deletes more per hour than a user would: the deletion guard has its own test.
            env={
                "AWS_ACCESS_KEY_ID": account,
                "POD_NAME": name,
                "KEELSON_MAX_DELETIONS": "1000",
                "KEELSON_MAX_DELETIONS_TOTAL": "1000",
                **(env or {}),
            },
            kubeconfig=self._kubeconfig,
        )
        if wait:
            self.await_ready(controller)
        return controller

    def await_ready(self, controller: Controller) -> None:
        controller.wait_ready()

    @contextmanager
    def operator(self, *args: str, **options) -> Iterator[Controller]:
        """Runs an operator for a block, and stops it so that the next one finds the lease free."""
        controller = self.start(*args, **options)
        try:
            yield controller
        finally:
            controller.stop()

    # Objects

    def apply(self, *items: dict) -> None:
        self.api.apply_all(list(items))

    def status(self, item: dict) -> dict:
        return self.api.get(*key_of(item)).get("status", {})

    def condition(self, item: dict, kind: str = "Ready") -> dict:
        return conditions(self.api.get(*key_of(item))).get(kind, {})

    def await_condition(
        self,
        item: dict,
        kind: str = "Ready",
        status: str = "True",
        reason: str | None = None,
        timeout: float = 60,
    ) -> dict:
        version, of, name, namespace = key_of(item)
        timeout = max(timeout, PATIENCE)
        try:
            return self.api.wait_condition(
                version, of, name, kind, namespace, timeout, status, reason
            )
        except Timeout:
            wanted = f"{kind}={status}" + (f" ({reason})" if reason else "")
            raise AssertionError(f"no {wanted} in {timeout:.0f} s: {self.describe(item)}") from None

    def await_state(self, item: dict, holds: Callable[[dict], bool], timeout: float = 60, what: str = "the expected state") -> dict:
        """Waits with a watch, which costs less than `until` with reads of the object."""
        version, kind, name, namespace = key_of(item)
        timeout = max(timeout, PATIENCE)
        try:
            return self.api.wait(version, kind, name, holds, namespace, timeout, what)
        except Timeout:
            raise AssertionError(f"{what}: not in {timeout:.0f} s: {self.describe(item)}") from None

    def await_in_sync(self, item: dict, timeout: float = 60, what: str = "InSync") -> dict:
        """Waits until the current spec is in AWS."""
        return self.await_state(item, is_in_sync, timeout, what)

    def describe(self, item: dict) -> str:
        """The conditions and plan steps of an object, for a failed assertion."""
        found = self.api.find(*key_of(item)) or {}
        lines = [f"{item['kind']} {item['metadata']['name']}"]
        lines += [
            f"  {c['type']}={c['status']} {c['reason']}: {c['message']}"
            for c in conditions(found).values()
        ]
        steps = found.get("status", {}).get("plan", {}).get("steps", [])
        lines += [f"  to do: {step}" for step in steps]
        return "\n".join(lines)

    def ready(self, *items: dict, timeout: float = 90) -> None:
        for item in items:
            self.await_condition(item, timeout=timeout)

    def reconcile(self, *items: dict, timeout: float = 60) -> None:
        """Requests a reconcile of each, and waits until it is done: the operator that runs now has read the object."""
        for item in items:
            version, kind, name, namespace = key_of(item)
            at = f"{kind}-{self.mark()}-{time.monotonic()}"
            self.api.patch(version, kind, name, {"metadata": {"annotations": {RECONCILE_AT: at}}}, namespace)
            until(lambda: self.status(item).get("lastHandledReconcileAt") == at, timeout, f"a reconcile of {name}")

    def delete(self, *items: dict, timeout: float = 60) -> None:
        """Deletes, and waits until the objects are gone."""
        for item in items:
            self.api.delete(*key_of(item))
        for item in items:
            self.api.wait_gone(*key_of(item), max(timeout, PATIENCE))

    def force_delete(self, *items: dict) -> None:
        """Removes objects without running their finalizers, so that a failed test leaves none for the next."""
        for item in items:
            if self.api.find(*key_of(item)):
                version, kind, name, namespace = key_of(item)
                self.api.patch(version, kind, name, {"metadata": {"finalizers": None}}, namespace)
                self.api.delete(*key_of(item))

    def events(self, item: dict) -> list[dict]:
        """The events of one object, by name: also after it is deleted."""
        _, kind, name, namespace = key_of(item)
        return [
            event
            for event in self.api.list("events.k8s.io/v1", "Event", namespace)
            if (event["regarding"].get("kind"), event["regarding"].get("name")) == (kind, name)
        ]

    # AWS

    def account(self, account_id: str = ACCOUNT, region: str = REGION) -> Account:
        return Account(self.aws, account_id, region)

    def mark(self) -> int:
        """The current position in the call log."""
        return self.aws.last_call()

    def calls(self, since: int = 0, account: str | None = None) -> list[dict]:
        return self.aws.calls(since, account)

    def writes(self, since: int = 0, account: str | None = None) -> list[dict]:
        return [call for call in self.calls(since, account) if call["write"]]


def is_in_sync(item: dict) -> bool:
    """Ready and InSync are true of the current generation."""
    found, generation = conditions(item), item["metadata"]["generation"]
    return all(
        found.get(kind, {}).get("status") == "True" and found[kind].get("observedGeneration") == generation
        for kind in ("Ready", "InSync")
    )


@contextmanager
def environment(crds: bool = True, own_control_plane: bool = False, **options) -> Iterator[Environment]:
    """An environment with its own cloud. `options` are LocalCloud's; crds=False: does not install the CRDs.

    own_control_plane: for tests that stop the API server, or change what a reset does not restore (`control_plane_pool.py`).
    """
    options.setdefault("durations", QUICK)
    with LocalCloud(**options, pooled=crds and not own_control_plane) as cloud:
        if crds:
            cloud.install_crds()
        try:
            yield Environment(cloud)
        finally:
            for controller in cloud.controllers:
                if controller.alive:
                    controller.stop(5)
            aws_calls.read_log(cloud.aws.call_log)


def actions(calls: list[dict]) -> list[str]:
    """`service:Action resource` of each, for failed assertions."""
    return [f"{c['service']}:{c['action']} {c['resource']}".strip() for c in calls]


def until(holds: Callable[[], object], seconds: float = PATIENCE, what: str = "it") -> object:
    """Polls what cannot be watched: AWS, logs, processes.

    seconds: fewer than `PATIENCE` count as that many, as they say nothing about the product on a busy machine. Where they are what is
    promised, use `within`.
    """
    return within(holds, max(seconds, PATIENCE), what)


def within(holds: Callable[[], object], seconds: float, what: str = "it") -> object:
    """Polls what must hold before that time is over, because afterwards something else would make it so."""
    started = time.monotonic()
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < started + seconds, f"{what}: timed out after {seconds:.0f} s"
        time.sleep(poll_seconds(started))


def stays(holds: Callable[[], object], seconds: float, what: str = "it") -> None:
    """Polls for that long a condition that must hold all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert holds(), f"{what} did not hold for {seconds:.0f} s"
        time.sleep(0.2)


__all__ = [
    "API", "PATIENCE", "QUICK", "READ_AFTER_WRITE_WINDOW", "Environment", "actions", "environment", "is_in_sync", "stays", "until", "within",
]
