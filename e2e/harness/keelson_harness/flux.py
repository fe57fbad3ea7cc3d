"""Flux's real source-controller and kustomize-controller, as what the kubelet runs in their pods.

The operator installs the Deployments; these processes start when the pods appear and
carry the pods' service accounts. Helm- and notification-controller pods only look alive.
"""

from collections.abc import Callable
from pathlib import Path

import requests

from .kubelet import Runner
from .processes import Process, free_port

FLUX_TOOLS = ("source-controller", "kustomize-controller")
NAMESPACE = "flux-system"


def flux_runners(tools: dict[str, Path], logs: Path) -> dict[str, Runner]:
    return {
        "source-controller": _runner("source-controller", tools, logs, _storage),
        "kustomize-controller": _runner(
            "kustomize-controller", tools, logs, lambda _: ["--requeue-dependency=2s"]
        ),
    }


def _storage(directory: Path) -> list[str]:
    address = f"127.0.0.1:{free_port()}"
    storage = directory / "storage"
    storage.mkdir(exist_ok=True)
    return [
        f"--storage-path={storage}",
        f"--storage-addr={address}",
        f"--storage-adv-addr={address}",
    ]


def _runner(
    name: str, tools: dict[str, Path], logs: Path, extra: Callable[[Path], list[str]]
) -> Runner:
    def run(kubeconfig: Path, directory: Path) -> tuple[Process, Callable[[], bool]]:
        health = f"127.0.0.1:{free_port()}"
        scratch = directory / "tmp"
        scratch.mkdir(exist_ok=True)
        process = Process(
            name,
            [
                tools[name],
                f"--metrics-addr=127.0.0.1:{free_port()}",
                f"--health-addr={health}",
                *extra(directory),
            ],
            logs / f"{name}.log",
            env={
                "KUBECONFIG": str(kubeconfig),
                "RUNTIME_NAMESPACE": NAMESPACE,
                "TMPDIR": str(scratch),
                "HOME": str(directory),
            },
        )
        return process, lambda: requests.get(f"http://{health}/readyz", timeout=2).ok

    return run
