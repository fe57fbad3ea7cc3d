"""An upgrade of Keelson over the same objects: the state that the older version left, and what the newer one must not change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from keelson_harness.kubeapi import ApiError, KubeApi
from keelson_harness.snapshot import Snapshot

# The state that the previous version left: written by `python -m operator_upgrade.record`.
BEFORE = Snapshot(Path(__file__).parent / "before")
# Fields that others write all the time.
IGNORED_FIELDS = ("status",)
FIELD_MANAGER_PREFIX = "keelson"


def kinds(api: KubeApi) -> Iterator[tuple[str, str]]:
    """Every kind that can be listed, in the server's preferred versions."""
    groups = api.request("GET", "/apis").json()["groups"]
    versions = ["v1", *(group["preferredVersion"]["groupVersion"] for group in groups)]
    for version in versions:
        root = "/api/" if "/" not in version else "/apis/"
        for found in api.request("GET", root + version).json()["resources"]:
            if "list" in found["verbs"] and "/" not in found["name"]:
                yield version, found["kind"]


def is_written_by_keelson(item: dict) -> bool:
    managers = [entry["manager"] for entry in item["metadata"].get("managedFields", [])]
    return any(manager.startswith(FIELD_MANAGER_PREFIX) for manager in managers)


def content(item: dict) -> dict:
    """The fields of an object that a user or an operator writes. Includes Keelson's managedFields with their times."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    written = [entry for entry in item["metadata"].get("managedFields", []) if not entry.get("subresource")]
    metadata["managedFields"] = [entry for entry in written if entry["manager"].startswith(FIELD_MANAGER_PREFIX)]
    return {**{key: value for key, value in item.items() if key not in IGNORED_FIELDS}, "metadata": metadata}


def objects_of_keelson(api: KubeApi) -> dict[str, dict]:
    """The objects that Keelson has written in a cluster, by kind and name."""
    found = {}
    for version, kind in kinds(api):
        try:
            items = api.list(version, kind)
        except ApiError as error:
            # Some kinds are served but cannot be listed.
            if error.code not in (404, 405):
                raise
            continue
        for item in filter(is_written_by_keelson, items):
            meta = item["metadata"]
            found[f"{version} {kind} {meta.get('namespace', '')}/{meta['name']}"] = content(item)
    return found


def changed(before: dict[str, dict], after: dict[str, dict]) -> list[str]:
    """What was created, changed or deleted in between."""
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
