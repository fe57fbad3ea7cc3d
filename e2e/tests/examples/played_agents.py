"""What the controllers of Flux and Argo CD would report: that each source is fetched and applied.

Keelson installs the agents into real API servers, where no controller runs: sources that do not exist cannot be fetched.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import KubeApi

COMMIT = "76087da78cdcec69b25c1392f6c5948b0bd320f5"
REVISION = f"main@sha1:{COMMIT}"
NOW = "2026-01-01T00:00:00Z"
ARTIFACT = {"revision": REVISION, "path": "p", "url": "http://source/p", "digest": f"sha256:{'0' * 64}", "lastUpdateTime": NOW}
APPLIED = {"lastAppliedRevision": REVISION, "lastAttemptedRevision": REVISION}
SOURCE, SYNC = "source.toolkit.fluxcd.io/v1", "kustomize.toolkit.fluxcd.io/v1"
FLUX = ((SOURCE, "GitRepository", {"artifact": ARTIFACT}), (SOURCE, "OCIRepository", {"artifact": ARTIFACT}), (SYNC, "Kustomization", APPLIED))
APPLICATION = ("argoproj.io/v1alpha1", "Application")
POLL_SECONDS = 0.5


def report_flux(api: KubeApi) -> None:
    for version, kind, status in FLUX:
        for item in api.list(version, kind, "flux-system"):
            generation = item["metadata"]["generation"]
            if item.get("status", {}).get("observedGeneration") == generation:
                continue
            ready = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "played", "lastTransitionTime": NOW, "observedGeneration": generation}
            body = {"status": {**status, "observedGeneration": generation, "conditions": [ready]}}
            api.patch(version, kind, item["metadata"]["name"], body, "flux-system", subresource="status")


def report_argocd(api: KubeApi) -> None:
    for item in api.list(*APPLICATION, "argocd"):
        source = {"source": item["spec"]["source"], "destination": item["spec"]["destination"]}
        if item.get("status", {}).get("sync", {}).get("comparedTo", {}).get("source") == source["source"]:
            continue
        status = {"sync": {"status": "Synced", "revision": COMMIT, "comparedTo": source}, "health": {"status": "Healthy"}}
        api.patch(*APPLICATION, item["metadata"]["name"], {"status": status}, "argocd")


@contextlib.contextmanager
def played_agents(cloud: LocalCloud) -> Iterator[None]:
    """Reports in every workload cluster, as long as the block runs."""
    stopping = threading.Event()

    def report() -> None:
        while not stopping.wait(POLL_SECONDS):
            for plane in cloud.workloads.control_planes():
                for agent in (report_flux, report_argocd):
                    # Not started yet, or without the agent's kinds.
                    with contextlib.suppress(Exception):
                        agent(plane.api)

    thread = threading.Thread(target=report, name="played agents", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
