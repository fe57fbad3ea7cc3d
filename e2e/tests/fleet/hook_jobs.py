"""Hooks of a cluster: what they run, what status says of them, and an operator that is killed while it writes them."""

from __future__ import annotations

import base64
import json
import signal
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from keelson_harness.controller import Controller
from keelson_harness.kubeapi import conditions
from keelson_harness.kubernetes import ControlPlane
from keelson_harness.pki import Authority

from .environment import Environment, until
from .manifests import key_of
from .shop import A_MOMENT, LOOK_NOW, Shop

SKIP = "keelson.dev/skip-hook"
OPERATOR = "system:serviceaccount:keelson-system:keelson"
UPGRADE = "UpdateClusterVersion"
RBAC = "rbac.authorization.k8s.io/v1"
KILLER = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "killer")
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


def await_state(shop: Shop, name: str, state: str, at: str = "BeforeControlPlane") -> dict:
    shop.on.await_state(
        shop.cluster,
        lambda found: state in [one["state"] for one in found.get("status", {}).get("hooks", []) if (one["name"], one["at"]) == (name, at)],
        40,
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


def upgrading(on: Environment, *hooks: dict, version: str = "1.33", **spec: object) -> Shop:
    """A cluster at 1.33 with these hooks, that is about to be upgraded."""
    shop = Shop(on, version=version, **spec)
    shop.make()
    shop.edit(hooks=list(hooks))
    on.reconcile(shop.cluster)
    return shop


class Killer:
    """A webhook of API servers that kills an operator while it writes hooks: the write is stored, and the operator never sees its answer.

    plane: the cluster in which the Jobs run.
    """

    def __init__(self, on: Environment, directory: Path, plane: ControlPlane):
        self.victim: Controller | None = None
        self.killed: list[str] = []
        self.jobs: set[tuple[str, str]] = set()
        authority = Authority(directory / "killer", "killer-ca")
        pair = authority.serving("killer", ("127.0.0.1",))
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(pair.cert, pair.key)
        killer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
                killer.called(request)
                answer = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": request["uid"], "allowed": True}}
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        bundle = base64.b64encode(authority.cert_file.read_bytes()).decode()
        client = {"url": f"https://127.0.0.1:{self.server.server_port}/", "caBundle": bundle}
        jobs = {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["CREATE", "DELETE"]}
        status = {"apiGroups": ["keelson.dev"], "apiVersions": ["*"], "resources": ["eksclusters/status"], "operations": ["UPDATE"]}
        self._installed = [(on.cloud.management, [status])]
        if plane is on.cloud.management:
            self._installed[0][1].append(jobs)
        else:
            self._installed.append((plane, [jobs]))
        for at, rules in self._installed:
            at.api.apply({
                "apiVersion": KILLER[0],
                "kind": KILLER[1],
                "metadata": {"name": KILLER[2]},
                "webhooks": [{
                    "name": "killer.example.com", "rules": rules, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                    "failurePolicy": "Ignore", "clientConfig": client,
                }],
            })

    def remove(self) -> None:
        for at, _ in self._installed:
            at.api.delete(*KILLER, None)

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


def kill_at_every_write(on: Environment, directory: Path, is_done: Callable[[], bool], plane: ControlPlane | None = None) -> list[str]:
    """Runs operators until `is_done`, each killed at its first write of hooks. Returns the writes. plane: as for `Killer`."""
    killer = Killer(on, directory, plane or on.cloud.management)
    deadline = time.monotonic() + 200
    while not is_done():
        assert time.monotonic() < deadline, killer.killed
        killer.victim = on.start(*FLAGS, wait=False)
        try:
            until(lambda: not killer.victim.alive or is_done(), 60, f"a write after {killer.killed}")
        finally:
            victim, killer.victim = killer.victim, None
            victim.stop()
    killer.remove()
    return killer.killed
