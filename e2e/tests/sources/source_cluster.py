"""The cluster whose source changes, and what its sources serve."""

from __future__ import annotations

import contextlib
import time

import yaml

from fleet.environment import Environment, until
from fleet.manifests import cluster, key_of
from keelson_harness.kubeapi import ApiError

FLUX = "flux-system"
SOURCE = "source.toolkit.fluxcd.io/v1"
KUSTOMIZE = "kustomize.toolkit.fluxcd.io/v1"
PATH = "clusters/sources"
COMPONENTS = ["source-controller", "kustomize-controller"]


class SourceCluster:
    """The cluster whose source is changed."""

    def __init__(self, on: Environment):
        self.on = on
        self.item = self.with_source({})
        self._requested_at = time.monotonic()

    def with_source(self, source: dict, addons: list | None = None, **flux: object) -> dict:
        for kind in source.values():
            kind.setdefault("interval", "2s")
        agent = {"components": COMPONENTS, "source": source, "path": PATH, **flux}
        item = cluster("sources", addons=addons or [{"name": "vpc-cni"}], gitops={"flux": agent})
        self.item = item
        return item

    def sync_from(self, source: dict, revision: str, *secrets: dict, **flux: object) -> dict:
        """Waits until that revision is applied from that source; returns status.gitops."""
        self.on.apply(*secrets, self.with_source(source, **flux))
        url = next(iter(source.values()))["url"]

        def applied() -> dict | None:
            self.request_reconcile()
            found = self.on.status(self.item).get("gitops", {})
            at = found.get("lastAppliedRevision", "")
            return found if found.get("url") == url and revision in at else None

        try:
            return until(applied, 40, f"{revision} of {url}")
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.on.describe(self.item)}") from None

    def fails(
        self, source: dict, *words: str, secrets: tuple[dict, ...] = (), **flux: object
    ) -> str:
        """Waits until GitOpsReady is SyncFailed with these words; returns the message."""
        self.on.apply(*secrets)
        self.with_source(source, **flux)
        return self.fails_unchanged(*words)

    def fails_unchanged(self, *words: str) -> str:
        self.on.apply(self.item)

        def failure() -> str:
            self.request_reconcile()
            found = self.on.condition(self.item, "GitOpsReady")
            message = found.get("message", "")
            failed = found.get("reason") == "SyncFailed" and all(text in message for text in words)
            return message if failed else ""

        try:
            return until(failure, 40, f"SyncFailed with {words}")
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.on.describe(self.item)}") from None

    def request_reconcile(self) -> None:
        """Requests a reconcile of Keelson and of Flux (as `flux reconcile source` does): after failures both back off."""
        now = time.monotonic()
        if now - self._requested_at < 2:
            return
        self._requested_at = now
        self.on.api.patch(*key_of(self.item)[:3], annotation("keelson.dev/reconcile-at", now))
        for kind in ("GitRepository", "OCIRepository"):
            if self.source(kind):
                requested = annotation("reconcile.fluxcd.io/requestedAt", now)
                # It may be deleted by now, in favour of one of the other kind.
                with contextlib.suppress(ApiError):
                    self.on.cloud.workload.api.patch(SOURCE, kind, FLUX, requested, FLUX)

    def workload(self, kind: str, name: str = FLUX, version: str = "v1") -> dict | None:
        return self.on.cloud.workload.api.find(version, kind, name, FLUX)

    def source(self, kind: str = "GitRepository") -> dict | None:
        return self.workload(kind, version=SOURCE)

    def kustomization(self) -> dict:
        return self.workload("Kustomization", version=KUSTOMIZE)

    def text(self) -> str:
        """The text of the ConfigMap that the source's manifests create in the cluster."""
        found = self.on.cloud.workload.api.find("v1", "ConfigMap", "word", "default")
        return found["data"]["word"] if found else ""


def annotation(name: str, value: object) -> dict:
    return {"metadata": {"annotations": {name: str(value)}}}


def manifests(text: str) -> dict[str, str]:
    item = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "word", "namespace": "default"},
        "data": {"word": text},
    }
    return {f"{PATH}/word.yaml": yaml.safe_dump(item)}
