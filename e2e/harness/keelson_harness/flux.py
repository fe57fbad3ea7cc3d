"""Runs Flux's real source-controller and kustomize-controller, and helm-controller where asked for, as the processes of their pods.

The operator installs the Deployments. These processes start when the pods appear and use the
pods' service accounts. Other pods run no process: they only report ready.
"""

import json
from collections.abc import Callable
from pathlib import Path

import yaml

from .git import BRANCH, Repository
from .kubeapi import documents
from .kubelet import POD, HostNetwork, Runner
from .kubernetes import ControlPlane
from .light_http import answers
from .paths import DEPLOY
from .processes import Process, free_port

FLUX_TOOLS = ("source-controller", "kustomize-controller")
HELM_CONTROLLER = "helm-controller"
NAMESPACE = "flux-system"


def flux_runners(
    tools: dict[str, Path], logs: Path, identity: Callable[[], dict[str, str]] = dict
) -> dict[str, Runner]:
    """`identity`: the environment that EKS Pod Identity adds to a new Pod of source-controller."""
    # Fixed across pod restarts, like the Service name in a cluster: artifact URLs contain it.
    address = f"localhost:{free_port()}"
    host = HostNetwork()

    def storage(directory: Path) -> list[str]:
        return _storage(directory, address, host)

    def soon(_: Path) -> list[str]:
        return ["--requeue-dependency=2s"]

    runners = {
        "source-controller": _runner("source-controller", tools, logs, host, storage, identity),
        "kustomize-controller": _runner("kustomize-controller", tools, logs, host, soon),
    }
    if HELM_CONTROLLER in tools:
        runners[HELM_CONTROLLER] = _runner(HELM_CONTROLLER, tools, logs, host, soon)
    return runners


def _storage(directory: Path, address: str, host: HostNetwork) -> list[str]:
    storage = directory / "storage"
    storage.mkdir(exist_ok=True)
    own = [flag for flag in host.flags(directory) or [] if flag.startswith(("--storage-addr=", "--storage-adv-addr="))]
    return [
        f"--storage-path={storage}",
        *(own or (f"--storage-addr={address}", f"--storage-adv-addr={address}")),
    ]


def _feature_gates(directory: Path) -> list[str]:
    """The feature gates of the Deployment; its addresses do not apply here."""
    [container] = json.loads((directory / POD).read_text())["spec"]["containers"]
    return [arg for arg in container.get("args", []) if arg.startswith("--feature-gates=")]


def _runner(
    name: str,
    tools: dict[str, Path],
    logs: Path,
    host: HostNetwork,
    extra: Callable[[Path], list[str]],
    identity: Callable[[], dict[str, str]] = dict,
) -> Runner:
    def run(kubeconfig: Path, directory: Path) -> tuple[Process, Callable[[], bool]]:
        health, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        if (flags := host.flags(directory)) is not None:
            own = dict(flag.partition("=")[::2] for flag in flags)
            health, metrics = own["--health-addr"], own["--metrics-addr"]
        scratch = directory / "tmp"
        scratch.mkdir(exist_ok=True)
        process = Process(
            name,
            [
                tools[name],
                f"--metrics-addr={metrics}",
                f"--health-addr={health}",
                *_feature_gates(directory),
                *extra(directory),
            ],
            logs / f"{name}.log",
            env={
                "KUBECONFIG": str(kubeconfig),
                "RUNTIME_NAMESPACE": NAMESPACE,
                "TMPDIR": str(scratch),
                "HOME": str(directory),
                **identity(),
            },
        )
        return process, lambda: answers(f"http://{health}/readyz")

    return run


def bootstrap_flux(plane: ControlPlane, repository: Repository, path: str, interval: str) -> None:
    """Does what `flux bootstrap --path` does: commits Flux's manifests to the repository and applies them once.

    An existing kustomization.yaml stays unchanged; Flux applies its patches later.
    """
    meta = {"name": NAMESPACE, "namespace": NAMESPACE}
    sync = [
        {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": meta,
            "spec": {"url": repository.url, "ref": {"branch": BRANCH}, "interval": interval},
        },
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": meta,
            "spec": {
                "sourceRef": {"kind": "GitRepository", "name": NAMESPACE},
                "path": f"./{path}",
                "interval": "10m",
                "retryInterval": "1m",
                "prune": True,
            },
        },
    ]
    components = [item for file in _manifests() for item in documents(file)]
    written = {"gotk-components.yaml": components, "gotk-sync.yaml": sync}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(written),
    }
    folder = f"{path}/{NAMESPACE}"
    files = {name: yaml.safe_dump_all(items) for name, items in written.items()}
    if not (repository.work / folder / "kustomization.yaml").exists():
        files["kustomization.yaml"] = yaml.safe_dump(kustomization)
    repository.commit({f"{folder}/{name}": text for name, text in files.items()}, message="Flux")
    for items in (components, sync):
        plane.api.apply_all(items)


def _manifests() -> list[Path]:
    """Manifests of the newest Flux in deploy/, only those of the controllers that run here."""
    names = (NAMESPACE, *FLUX_TOOLS)
    return [sorted(DEPLOY.glob(f"flux/**/{name}.yaml"))[-1] for name in names]
