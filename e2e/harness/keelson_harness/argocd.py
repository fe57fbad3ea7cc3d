"""Runs Argo CD's real components as the processes of their pods: application controller, repo server, ApplicationSet controller and Redis.

The operator installs the manifests. These processes start when the pods appear, use the
pods' service accounts, and get the environment and ConfigMaps that their pod specs name.
The pods of argocd-server, dex and notifications run no process: they only report ready.
"""

import base64
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path


from .kubelet import POD, DependencyMissing, HostNetwork, Runner
from .kubernetes import ControlPlane
from .light_http import answers
from .processes import Process, free_port

# `/NAME-kubelet/UID/ask` below the run directory, with a control plane's name of 22 bytes: the repo-server gives Git passwords there.
SOCKET_BYTES = 72
ARGOCD_TOOLS = ("argocd", "redis")
NAMESPACE = "argocd"
# A process and its readiness probe.
Running = tuple[Process, Callable[[], bool]]
COMPONENTS = ("application-controller", "applicationset-controller", "repo-server")


def argocd_runners(
    cluster: ControlPlane, tools: dict[str, Path], logs: Path
) -> dict[str, Runner]:
    return _Installation(cluster, tools, logs).runners()


class _Pod:
    """The environment and mounts that a kubelet derives from a pod's spec."""

    def __init__(self, cluster: ControlPlane, kubeconfig: Path, directory: Path):
        self._api = cluster.api
        self.kubeconfig, self.directory = kubeconfig, directory
        item = json.loads((directory / POD).read_text())
        self.namespace = item["metadata"]["namespace"]
        self._env = item["spec"]["containers"][0].get("env") or []

    def environment(self) -> dict[str, str]:
        """The environment of its first container, from the current ConfigMaps and Secrets."""
        variables = {}
        for entry in self._env:
            value = entry.get("value")
            for source, reference in (entry.get("valueFrom") or {}).items():
                if source in ("configMapKeyRef", "secretKeyRef"):
                    value = self._value(source, reference)
            if value is not None:
                variables[entry["name"]] = value
        return variables

    def _value(self, source: str, reference: dict) -> str | None:
        kind = "Secret" if source == "secretKeyRef" else "ConfigMap"
        value = self._data(kind, reference["name"]).get(reference["key"])
        if value is None and not reference.get("optional"):
            raise DependencyMissing(f"{kind} {reference['name']} has no {reference['key']}")
        if value is None or kind == "ConfigMap":
            return value
        return base64.b64decode(value).decode()

    def config_map(self, name: str) -> dict[str, str]:
        """The files that a mount of it has; empty if it does not exist."""
        return self._data("ConfigMap", name)

    def _data(self, kind: str, name: str) -> dict[str, str]:
        item = self._api.find("v1", kind, name, self.namespace) or {}
        return item.get("data") or {}


class _Installation:
    """One Argo CD installation: its components reach each other at these addresses, instead of through Services."""

    def __init__(self, cluster: ControlPlane, tools: dict[str, Path], logs: Path):
        self._cluster, self._logs = cluster, logs
        self._host = HostNetwork()
        self._redis = f"127.0.0.1:{free_port()}"
        self._repo_server_port = free_port()
        self._redis_binary = tools["redis"]
        # One binary: argv[0] selects the component.
        self._bin = logs / "argocd-bin"
        self._bin.mkdir(exist_ok=True)
        # The last is the plugin for clusters with AWS authentication.
        for name in ("argocd", *(f"argocd-{part}" for part in COMPONENTS), "argocd-k8s-auth"):
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
        # What its init container does: creates the password that all components read.
        completed = subprocess.run(
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
        if completed.returncode:
            raise DependencyMissing(completed.stderr)
        address = self._redis
        if (flags := self._host.flags(pod.directory)) is not None:
            address = f"127.0.0.1:{flags[flags.index('--port') + 1]}"
        process = Process(
            "redis",
            [self._redis_binary, f"--address={address}"],
            self._logs / "argocd-redis.log",
            env=pod.environment(),
        )
        return process, lambda: _is_listening(address)

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
        return self._component(
            "repo-server",
            pod,
            "metrics-port",
            "--disable-tls",
            *self._addresses(
                pod,
                "--address=127.0.0.1",
                f"--port={self._repo_server_port}",
                "--metrics-address=127.0.0.1",
                f"--redis={self._redis}",
            ),
            env={
                "ARGOCD_GPG_ENABLED": "false",
                "ARGOCD_SSH_DATA_PATH": str(directory / "ssh"),
                "ARGOCD_TLS_DATA_PATH": str(directory / "tls"),
                "ARGOCD_ASK_PASS_SOCK": str(directory / "ask"),
            },
        )

    def _run_application_controller(self, pod: _Pod) -> Running:
        return self._component(
            "application-controller",
            pod,
            "metrics-port",
            f"--namespace={pod.namespace}",
            "--repo-server-plaintext",
            *self._addresses(
                pod, f"--repo-server=127.0.0.1:{self._repo_server_port}", f"--redis={self._redis}"
            ),
            # The kubeconfig selects its own cluster: no pod mounts a token.
            env={"ARGOCD_FAKE_IN_CLUSTER": "true"},
        )

    def _run_applicationset_controller(self, pod: _Pod) -> Running:
        addresses = self._addresses(
            pod,
            f"--metrics-addr=127.0.0.1:{free_port()}",
            f"--probe-addr=127.0.0.1:{free_port()}",
            f"--webhook-addr=127.0.0.1:{free_port()}",
            f"--argocd-repo-server=127.0.0.1:{self._repo_server_port}",
        )
        process, _ = self._component(
            "applicationset-controller",
            pod,
            "",
            f"--namespace={pod.namespace}",
            *addresses,
            "--repo-server-plaintext",
        )
        [metrics] = [flag for flag in addresses if flag.startswith("--metrics-addr=")]
        return process, lambda: _is_healthy(int(metrics.rpartition(":")[2]), "metrics")

    def _addresses(self, pod: _Pod, *otherwise: str) -> list[str]:
        """The addresses in the arguments of a pod on the host network."""
        flags = self._host.flags(pod.directory)
        return list(otherwise) if flags is None else [flag for flag in flags if flag.startswith("--")]

    def _component(
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
        for argument in arguments:
            # Of a pod on the host network.
            if port_flag and argument.startswith(f"--{port_flag}="):
                flags, port = [], int(argument.partition("=")[2])
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
        return process, lambda: _is_healthy(port, "healthz")


def _is_healthy(port: int, path: str) -> bool:
    return answers(f"http://127.0.0.1:{port}/{path}")


def _is_listening(address: str) -> bool:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=2):
        return True
