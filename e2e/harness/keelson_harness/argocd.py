"""Argo CD's real parts, as what the kubelet runs in their pods: what applies, what renders, what generates, and what they share.

The operator installs the manifests; these processes start when the pods appear, carry the
pods' service accounts, and get the environment and ConfigMaps that their pod specs name.
The pods of argocd-server, dex and notifications only look alive: they serve people.
"""

import base64
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import requests

from .kubelet import POD, NotYet, Runner
from .kubernetes import ControlPlane
from .processes import Process, free_port

ARGOCD_TOOLS = ("argocd", "redis")
NAMESPACE = "argocd"
# A process, and whether it is ready.
Running = tuple[Process, Callable[[], bool]]
PARTS = ("application-controller", "applicationset-controller", "repo-server")


def argocd_runners(
    cluster: ControlPlane, tools: dict[str, Path], logs: Path
) -> dict[str, Runner]:
    return _Installation(cluster, tools, logs).runners()


class _Pod:
    """What a kubelet would make of a pod's spec."""

    def __init__(self, cluster: ControlPlane, kubeconfig: Path, directory: Path):
        self._api = cluster.api
        self.kubeconfig, self.directory = kubeconfig, directory
        item = json.loads((directory / POD).read_text())
        self.namespace = item["metadata"]["namespace"]
        self._env = item["spec"]["containers"][0].get("env") or []

    def environment(self) -> dict[str, str]:
        """What its first container asks for, from ConfigMaps and Secrets as they are now."""
        found = {}
        for entry in self._env:
            value = entry.get("value")
            for source, reference in (entry.get("valueFrom") or {}).items():
                if source in ("configMapKeyRef", "secretKeyRef"):
                    value = self._value(source, reference)
            if value is not None:
                found[entry["name"]] = value
        return found

    def _value(self, source: str, reference: dict) -> str | None:
        kind = "Secret" if source == "secretKeyRef" else "ConfigMap"
        value = self._data(kind, reference["name"]).get(reference["key"])
        if value is None and not reference.get("optional"):
            raise NotYet(f"{kind} {reference['name']} has no {reference['key']}")
        if value is None or kind == "ConfigMap":
            return value
        return base64.b64decode(value).decode()

    def config_map(self, name: str) -> dict[str, str]:
        """What would be mounted from it; nothing when it is not there."""
        return self._data("ConfigMap", name)

    def _data(self, kind: str, name: str) -> dict[str, str]:
        item = self._api.find("v1", kind, name, self.namespace) or {}
        return item.get("data") or {}


class _Installation:
    """One Argo CD: its parts know each other by these addresses, as elsewhere by Services."""

    def __init__(self, cluster: ControlPlane, tools: dict[str, Path], logs: Path):
        self._cluster, self._logs = cluster, logs
        self._redis = f"127.0.0.1:{free_port()}"
        self._repo_server_port = free_port()
        self._redis_binary = tools["redis"]
        # One binary: the name that it is called by says which part it is.
        self._bin = logs / "argocd-bin"
        self._bin.mkdir(exist_ok=True)
        for name in ("argocd", *(f"argocd-{part}" for part in PARTS)):
            (self._bin / name).symlink_to(tools["argocd"])

    def runners(self) -> dict[str, Runner]:
        runs = {
            "argocd-redis": self._run_redis,
            "argocd-repo-server": self._run_repo_server,
            "argocd-application-controller": self._run_application_controller,
            "argocd-applicationset-controller": self._run_applicationset_controller,
        }
        return {app: self._runner(run) for app, run in runs.items()}

    def _runner(self, run: Callable[[_Pod], Running]) -> Runner:
        return lambda kubeconfig, directory: run(_Pod(self._cluster, kubeconfig, directory))

    def _run_redis(self, pod: _Pod) -> Running:
        # Its init container's work: the password that all parts read.
        made = subprocess.run(
            [
                self._bin / "argocd",
                "admin",
                "redis-initial-password",
                f"--namespace={pod.namespace}",
            ],
            env={**os.environ, "KUBECONFIG": str(pod.kubeconfig), "HOME": str(pod.directory)},
            check=False,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise NotYet(made.stderr)
        address = self._redis
        process = Process(
            "redis",
            [self._redis_binary, f"--address={address}"],
            self._logs / "argocd-redis.log",
            env=pod.environment(),
        )
        return process, lambda: _listens(address)

    def _run_repo_server(self, pod: _Pod) -> Running:
        directory = pod.directory
        for name, config_map in (
            ("ssh", "argocd-ssh-known-hosts-cm"),
            ("tls", "argocd-tls-certs-cm"),
            ("gpg", "argocd-gpg-keys-cm"),
        ):
            (directory / name).mkdir(exist_ok=True)
            for key, text in pod.config_map(config_map).items():
                (directory / name / key).write_text(text)
        return self._part(
            "repo-server",
            pod,
            "metrics-port",
            "--address=127.0.0.1",
            f"--port={self._repo_server_port}",
            "--metrics-address=127.0.0.1",
            "--disable-tls",
            f"--redis={self._redis}",
            env={
                "ARGOCD_GPG_ENABLED": "false",
                "ARGOCD_SSH_DATA_PATH": str(directory / "ssh"),
                "ARGOCD_TLS_DATA_PATH": str(directory / "tls"),
                "ARGOCD_ASK_PASS_SOCK": str(directory / "ask"),
            },
        )

    def _run_application_controller(self, pod: _Pod) -> Running:
        return self._part(
            "application-controller",
            pod,
            "metrics-port",
            f"--namespace={pod.namespace}",
            f"--repo-server=127.0.0.1:{self._repo_server_port}",
            "--repo-server-plaintext",
            f"--redis={self._redis}",
            # Its own cluster is where its kubeconfig leads: there is no pod with a token mounted.
            env={"ARGOCD_FAKE_IN_CLUSTER": "true"},
        )

    def _run_applicationset_controller(self, pod: _Pod) -> Running:
        metrics = free_port()
        process, _ = self._part(
            "applicationset-controller",
            pod,
            "",
            f"--namespace={pod.namespace}",
            f"--metrics-addr=127.0.0.1:{metrics}",
            f"--probe-addr=127.0.0.1:{free_port()}",
            f"--webhook-addr=127.0.0.1:{free_port()}",
            f"--argocd-repo-server=127.0.0.1:{self._repo_server_port}",
            "--repo-server-plaintext",
        )
        return process, lambda: _healthy(metrics, "metrics")

    def _part(
        self,
        name: str,
        pod: _Pod,
        port_flag: str,
        *arguments: str,
        env: dict[str, str] | None = None,
    ) -> Running:
        port = free_port()
        scratch = pod.directory / "tmp"
        scratch.mkdir(exist_ok=True)
        flags = [f"--{port_flag}={port}"] if port_flag else []
        process = Process(
            f"argocd {name}",
            [self._bin / f"argocd-{name}", *flags, *arguments],
            self._logs / f"argocd-{name}.log",
            env={
                **pod.environment(),
                "KUBECONFIG": str(pod.kubeconfig),
                "TMPDIR": str(scratch),
                "HOME": str(pod.directory),
                # Git asks the binary `argocd` for passwords.
                "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}",
                **(env or {}),
            },
        )
        return process, lambda: _healthy(port, "healthz")


def _healthy(port: int, path: str) -> bool:
    return requests.get(f"http://127.0.0.1:{port}/{path}", timeout=2).ok


def _listens(address: str) -> bool:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=2):
        return True
