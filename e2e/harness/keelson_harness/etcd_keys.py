"""Reads and writes the keys of an etcd that the API servers store their objects in, with etcd's JSON gateway.

I/O: HTTP requests to etcd.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from . import light_http

# etcd allows 128 operations in a transaction.
OPERATIONS = 100


@dataclass(frozen=True)
class Stored:
    """A value, and the revision of etcd that wrote it."""

    value: bytes
    revision: int


def read(url: str, prefix: str, values: bool = True) -> dict[str, Stored]:
    """All keys with that prefix. values=False: their revisions only."""
    found = call(url, "range", {"key": text(prefix.encode()), "range_end": text(_end(prefix)), "keys_only": not values})
    return {
        base64.b64decode(entry["key"]).decode(): Stored(
            base64.b64decode(entry.get("value", "")), int(entry["mod_revision"])
        )
        for entry in found.get("kvs", [])
    }


def _end(prefix: str) -> bytes:
    """The first key after all keys with this prefix."""
    start = prefix.encode()
    return start[:-1] + bytes([start[-1] + 1])


def put(url: str, values: Mapping[str, bytes]) -> int:
    """Stores the values; returns the revision of the last."""
    return _transact(
        url,
        [{"request_put": {"key": text(key.encode()), "value": text(value)}} for key, value in values.items()],
    )


def delete(url: str, keys: Iterable[str]) -> int:
    return _transact(url, [{"request_delete_range": {"key": text(key.encode())}} for key in keys])


def delete_others(url: str, prefix: str) -> None:
    """Deletes all keys below `/` except those with that prefix."""
    for start, end in ((b"/", prefix.encode()), (_end(prefix), _end("/"))):
        call(url, "deleterange", {"key": text(start), "range_end": text(end)})


def _transact(url: str, operations: list[dict]) -> int:
    revision = 0
    for first in range(0, len(operations), OPERATIONS):
        answer = call(url, "txn", {"success": operations[first : first + OPERATIONS]})
        revision = int(answer["header"]["revision"])
    return revision


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def call(url: str, verb: str, body: dict) -> dict:
    answer = _client(url).request("POST", verb, json=body)
    if not answer.ok:
        raise RuntimeError(f"etcd: {verb}: {answer.status_code} {answer.text[:500]}")
    return answer.json()


@functools.cache
def _client(url: str) -> light_http.Client:
    return light_http.Client(f"{url}/v3/kv/")
