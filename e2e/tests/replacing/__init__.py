"""One version of Keelson in place of another, over the same objects: what the older one left, and what the newer one may not touch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from keelson_harness.kubeapi import ApiError, KubeApi
from keelson_harness.snapshot import Snapshot

# What the version before left: `python -m replacing.record` writes it.
BEFORE = Snapshot(Path(__file__).parent / "before")
# What others write all the time.
LEFT_OUT = ("status",)
OURS = "keelson"


def kinds(api: KubeApi) -> Iterator[tuple[str, str]]:
    """Every kind that can be listed, at the versions that the server prefers."""
    groups = api.request("GET", "/apis").json()["groups"]
    versions = ["v1", *(group["preferredVersion"]["groupVersion"] for group in groups)]
    for version in versions:
        root = "/api/" if "/" not in version else "/apis/"
        for found in api.request("GET", root + version).json()["resources"]:
            if "list" in found["verbs"] and "/" not in found["name"]:
                yield version, found["kind"]


def is_ours(item: dict) -> bool:
    managers = [entry["manager"] for entry in item["metadata"].get("managedFields", [])]
    return any(manager.startswith(OURS) for manager in managers)


def content(item: dict) -> dict:
    """All of an object that a person or an operator writes. What we own of it counts, with when we wrote it."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    written = [entry for entry in item["metadata"].get("managedFields", []) if not entry.get("subresource")]
    metadata["managedFields"] = [entry for entry in written if entry["manager"].startswith(OURS)]
    return {**{key: value for key, value in item.items() if key not in LEFT_OUT}, "metadata": metadata}


def ours(api: KubeApi) -> dict[str, dict]:
    """What Keelson has written into a cluster, by kind and name."""
    found = {}
    for version, kind in kinds(api):
        try:
            items = api.list(version, kind)
        except ApiError as error:
            # What is served and cannot be listed is nobody's here.
            if error.code not in (404, 405):
                raise
            continue
        for item in filter(is_ours, items):
            meta = item["metadata"]
            found[f"{version} {kind} {meta.get('namespace', '')}/{meta['name']}"] = content(item)
    return found


def changed(before: dict[str, dict], after: dict[str, dict]) -> list[str]:
    """What was made, written or deleted in between."""
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
