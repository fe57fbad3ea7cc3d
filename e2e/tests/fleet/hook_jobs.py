"""Hooks of a cluster: what they run, what status says of them, and an operator that is killed while it writes them."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from keelson_harness.controller import Controller
from keelson_harness.kubeapi import conditions
from keelson_harness.kubernetes import ControlPlane

from .admission_webhook import shown_writes
from .environment import Environment, until
from .manifests import key_of
from .shop import A_MOMENT, LOOK_NOW, Shop

SKIP = "keelson.dev/skip-hook"
# What is corrected counts within half a minute, and then a Job runs.
CORRECTED_SECONDS = 45
# All points of an upgrade.
OF_UPGRADE = ["BeforeUpgrade", "AfterUpgrade", "BeforeControlPlane", "AfterControlPlane", "BeforeNodeGroups", "AfterNodeGroups"]
# What a Job at each point says of an upgrade from 1.33 to 1.35: the point, from, to, the attempt.
UPGRADE_BY_TWO = [
    "BeforeUpgrade 1.33 1.35 1",
    "BeforeControlPlane 1.33 1.34 1",
    "AfterControlPlane 1.33 1.34 1",
    "BeforeControlPlane 1.34 1.35 1",
    "AfterControlPlane 1.34 1.35 1",
    "BeforeNodeGroups  1.35 1",
    "AfterNodeGroups  1.35 1",
    "AfterUpgrade 1.33 1.35 1",
]
OPERATOR = "system:serviceaccount:keelson-system:keelson"
UPGRADE = "UpdateClusterVersion"
RBAC = "rbac.authorization.k8s.io/v1"
FLAGS = ("--drift-interval=2s",)
BINDING = {
    "apiVersion": RBAC,
    "kind": "RoleBinding",
    "metadata": {"name": "keelson-jobs", "namespace": "default"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keelson-jobs"},
    "subjects": [{"kind": "ServiceAccount", "name": "keelson", "namespace": "keelson-system"}],
}


def template(command: str, **spec: object) -> dict:
    container = {"name": "main", "image": "local", "command": ["sh", "-c", command]}
    return {"spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}, **spec}}


def hook(name: str, at: list[str], command: str, **more: object) -> dict:
    return {"name": name, "at": at, "job": {"template": template(command)}, **more}


def tells(said: Path) -> str:
    """A command that writes down where it runs."""
    return f'echo "$KEELSON_POINT $KEELSON_FROM $KEELSON_TO $KEELSON_ATTEMPT" >> {said}'


def lines(said: Path) -> list[str]:
    return said.read_text().splitlines() if said.exists() else []


def hooks(shop: Shop) -> list[dict]:
    return shop.found().get("status", {}).get("hooks", [])


def entry(shop: Shop, name: str, at: str = "BeforeControlPlane") -> dict:
    """The newest of that hook at that point."""
    found = [one for one in hooks(shop) if (one["name"], one["at"]) == (name, at)]
    return found[-1] if found else {}


def await_state(shop: Shop, name: str, state: str, at: str = "BeforeControlPlane", seconds: float = 40) -> dict:
    shop.on.await_state(
        shop.cluster,
        lambda found: state in [one["state"] for one in found.get("status", {}).get("hooks", []) if (one["name"], one["at"]) == (name, at)],
        seconds,
        f"hook {name} {state}",
    )
    return entry(shop, name, at)


def await_version(shop: Shop, version: str, timeout: float = 60) -> None:
    until(lambda: shop.in_sync() and shop.found()["status"].get("version") == version, timeout, version)


def failed(shop: Shop) -> str:
    return conditions(shop.on.await_condition(shop.cluster, "Ready", "False", "HookFailed", 40))["Ready"]["message"]


def annotate(shop: Shop, **annotations: str | None) -> None:
    keys = {"skip": SKIP, "again": LOOK_NOW}
    shop.on.api.patch(*key_of(shop.cluster)[:3], {"metadata": {"annotations": {keys[name]: value for name, value in annotations.items()}}})


def upgrades(shop: Shop) -> int:
    return [write["action"] for write in shop.writes()].count(UPGRADE)


def jobs(on: Environment, shop: Shop, plane: ControlPlane | None = None) -> dict[str, dict]:
    """The Jobs of its hooks, by name. plane: the cluster in which they run; the management cluster unless it is given."""
    found = (plane or on.cloud.management).api.list("batch/v1", "Job")
    return {job["metadata"]["name"]: job for job in found if job["metadata"].get("labels", {}).get("keelson.dev/cluster") == shop.name}


def assert_no_credentials(found: dict[str, dict]) -> None:
    """Of Jobs, by name: no variable, volume or ServiceAccount but those of the template."""
    assert found
    for job in found.values():
        pod = job["spec"]["template"]["spec"]
        [container] = pod["containers"]
        words = ("SECRET", "TOKEN", "ACCESS_KEY", "PASSWORD", "KUBECONFIG", "CREDENTIALS")
        names = {one["name"] for one in container["env"]}
        assert not {name for name in names if any(word in name for word in words)}, names
        assert all("valueFrom" not in one for one in container["env"]) and "envFrom" not in container, container
        mounted = [*pod.get("volumes", []), *container.get("volumeMounts", [])]
        assert not mounted and "serviceAccountName" not in pod, pod


def upgrading(on: Environment, *hooks: dict, version: str = "1.33", **spec: object) -> Shop:
    """A cluster at 1.33 with these hooks, that is about to be upgraded."""
    shop = Shop(on, version=version, **spec)
    shop.make()
    shop.edit(hooks=list(hooks))
    on.reconcile(shop.cluster)
    return shop


class Killer:
    """Kills an operator while it writes hooks: the write is stored, and the operator never sees its answer."""

    def __init__(self) -> None:
        self.victim: Controller | None = None
        self.killed: list[str] = []
        self.jobs: set[tuple[str, str]] = set()

    @contextmanager
    def installed(self, on: Environment, plane: ControlPlane) -> Iterator[None]:
        """For a block. plane: the cluster in which the Jobs run."""
        jobs = {"apiGroups": ["batch"], "resources": ["jobs"], "operations": ["CREATE", "DELETE"]}
        status = {"apiGroups": ["keelson.dev"], "resources": ["eksclusters/status"], "operations": ["UPDATE"]}
        with ExitStack() as stack:
            if plane is on.cloud.management:
                stack.enter_context(shown_writes(plane, "killer", [status, jobs], self.called))
            else:
                stack.enter_context(shown_writes(on.cloud.management, "killer", [status], self.called))
                stack.enter_context(shown_writes(plane, "killer", [jobs], self.called))
            yield

    def called(self, request: dict) -> None:
        manager = (request.get("options") or {}).get("fieldManager")
        is_of_hooks = request["resource"]["resource"] == "jobs" or manager == "keelson-hooks"
        # In a workload cluster it is who the access entry says.
        user = request["userInfo"]["username"]
        is_operator = user == OPERATOR or not user.startswith(("system:", "admin"))
        victim = self.victim
        job = {(request["operation"], request["name"])} if request["resource"]["resource"] == "jobs" else set()
        # To create a Job that exists is refused after this, and changes nothing.
        if victim and is_of_hooks and is_operator and victim.alive and not job & self.jobs:
            self.jobs |= job
            # A request whose client is gone may be given up: the operator is frozen until the write is stored.
            victim.process.signal(signal.SIGSTOP)
            self.killed.append(f"{request['operation']} {request['resource']['resource']}")
            threading.Timer(A_MOMENT / 2, victim.process.kill).start()


def kill_at_every_write(on: Environment, is_done: Callable[[], bool], plane: ControlPlane | None = None, seconds: float = 200) -> list[str]:
    """Runs operators until `is_done`, each killed at its first write of hooks. Returns the writes. plane: in which the Jobs run; the
    management cluster unless it is given."""
    killer = Killer()
    deadline = time.monotonic() + seconds
    with killer.installed(on, plane or on.cloud.management):
        while not is_done():
            assert time.monotonic() < deadline, killer.killed
            killer.victim = on.start(*FLAGS, wait=False)
            try:
                until(lambda: not killer.victim.alive or is_done(), 60, f"a write after {killer.killed}")
            finally:
                victim, killer.victim = killer.victim, None
                victim.stop()
    return killer.killed
