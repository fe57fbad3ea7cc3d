"""The stage of a test: a local cloud with the CRDs in it, operators on it, and what is seen from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from keelson_harness.aws import ACCOUNT, REGION, Durations
from keelson_harness.cloud import LocalCloud
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import KubeApi, Timeout, conditions

from . import API, called
from .account import Account
from .manifests import key_of

# As short as the emulator's states can be told apart.
QUICK = Durations(1, 1, 1, 1, 0.5, 0.5)
# The emulator's reads do not lag its writes unless a fault says so.
READ_AFTER_WRITE_WINDOW = "--read-after-write-window=1s"


class Environment:
    """A local cloud and the operators on it."""

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
        """A replica that is the Pod `name` with the account's own credentials.

        cluster_wide_secrets: as `deploy/secrets-cluster-wide` lets it; otherwise it reads Secrets where a RoleBinding lets it.
        """
        if self._kubeconfig is None:
            self._kubeconfig = self.cloud.operator_account(cluster_wide_secrets)
        controller = self.cloud.operator(
            window,
            *args,
            # A test deletes more in an hour than anybody should: the guard has a test of its own.
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
        url = f"{controller.url}/readyz"
        controller.process.wait_ready(lambda: requests.get(url, timeout=2).ok, 30)

    @contextmanager
    def operator(self, *args: str, **options) -> Iterator[Controller]:
        """An operator for a block: the next one finds the lease free."""
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
        try:
            return self.api.wait_condition(
                version, of, name, kind, namespace, timeout, status, reason
            )
        except Timeout:
            wanted = f"{kind}={status}" + (f" ({reason})" if reason else "")
            raise AssertionError(f"no {wanted} in {timeout:.0f} s: {self.describe(item)}") from None

    def describe(self, item: dict) -> str:
        """What an object says of itself, for a failed assertion."""
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

    def delete(self, *items: dict, timeout: float = 60) -> None:
        """Deletes, and waits until the last finalizer is gone."""
        for item in items:
            self.api.delete(*key_of(item))
        for item in items:
            self.api.wait_gone(*key_of(item), timeout)

    def force_delete(self, *items: dict) -> None:
        """Takes objects away without their finalizers' work, so that a test that failed leaves none to the next."""
        for item in items:
            if self.api.find(*key_of(item)):
                version, kind, name, namespace = key_of(item)
                self.api.patch(version, kind, name, {"metadata": {"finalizers": None}}, namespace)
                self.api.delete(*key_of(item))

    def events(self, item: dict) -> list[dict]:
        """Of one object, by name: also after it is gone."""
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
        """A place in the call log."""
        return self.aws.last_call()

    def calls(self, since: int = 0, account: str | None = None) -> list[dict]:
        return self.aws.calls(since, account)

    def writes(self, since: int = 0, account: str | None = None) -> list[dict]:
        return [call for call in self.calls(since, account) if call["write"]]


@contextmanager
def environment(crds: bool = True, **options) -> Iterator[Environment]:
    """A stage on a cloud of its own. `options` are LocalCloud's; crds=False: the CRDs come another way."""
    options.setdefault("durations", QUICK)
    with LocalCloud(**options) as cloud:
        if crds:
            cloud.install_crds()
        try:
            yield Environment(cloud)
        finally:
            for controller in cloud.controllers:
                if controller.alive:
                    controller.stop(5)
            called.read_log(cloud.aws.call_log)


def actions(calls: list[dict]) -> list[str]:
    """`service:Action resource` of each, to read in a failed assertion."""
    return [f"{c['service']}:{c['action']} {c['resource']}".strip() for c in calls]


def until(holds: Callable[[], object], seconds: float = 30, what: str = "it") -> object:
    """Polls what can only be asked: AWS, logs, processes."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not come about in {seconds:.0f} s"
        time.sleep(0.05)


def stays(holds: Callable[[], object], seconds: float, what: str = "it") -> None:
    """Polls for that long what must hold all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert holds(), f"{what} did not stay for {seconds:.0f} s"
        time.sleep(0.2)


__all__ = ["API", "QUICK", "READ_AFTER_WRITE_WINDOW", "Environment", "actions", "environment", "stays", "until"]
