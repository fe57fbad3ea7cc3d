"""The newest version of every Keelson object, by one watch per kind: many threads wait for their objects without polling."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fleet import API
from keelson_harness.kubeapi import KubeApi

KINDS = ("EksCluster", "NodeGroup", "AwsAccount")


class ObjectCache:
    def __init__(self, api: KubeApi):
        self._api = api
        self._newest: dict[tuple[str, str], dict] = {}
        self._changed = threading.Condition()
        self._closed = False
        for kind in KINDS:
            threading.Thread(target=self._watch, args=(kind,), daemon=True).start()

    def close(self) -> None:
        """The API server may stop from now on, which ends the watches."""
        self._closed = True

    def _watch(self, kind: str) -> None:
        try:
            for _, item in self._api.watch(API, kind, None, timeout=3600):
                with self._changed:
                    self._newest[kind, item["metadata"]["name"]] = {**item, "kind": kind}
                    self._changed.notify_all()
        except Exception:
            if not self._closed:
                raise

    def wait(self, item: dict, generation: int, evaluate: Callable[[dict], object], seconds: float, steady: Callable) -> object:
        """The result of `evaluate` for the object at that generation or a newer one, once it is constant for `steady(result)` seconds.
        None if that does not happen in time."""
        key = item["kind"], item["metadata"]["name"]
        deadline = time.monotonic() + seconds
        since, last = time.monotonic(), None
        with self._changed:
            while (now := time.monotonic()) < deadline:
                found = self._newest.get(key)
                result = evaluate(found) if found and found["metadata"]["generation"] >= generation else None
                if result != last:
                    since, last = now, result
                left = since + steady(result) - now if result else deadline - now
                if result and left <= 0:
                    return result
                self._changed.wait(min(left, deadline - now))
        return None
