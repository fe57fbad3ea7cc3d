"""The newest of every object of ours, by one watch for each kind: many wait for their own without asking again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fleet import API
from keelson_harness.kubeapi import KubeApi

KINDS = ("EksCluster", "NodeGroup", "AwsAccount")


class Board:
    def __init__(self, api: KubeApi):
        self._api = api
        self._newest: dict[tuple[str, str], dict] = {}
        self._changed = threading.Condition()
        self._closed = False
        for kind in KINDS:
            threading.Thread(target=self._watch, args=(kind,), daemon=True).start()

    def close(self) -> None:
        """The API server may go: the watches end with it."""
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

    def wait(self, item: dict, generation: int, end: Callable[[dict], object], seconds: float, steady: Callable) -> object:
        """What `end` says of the object, of that generation or a newer one, once it says the same for `steady(end)`
        seconds. None when that does not come in time."""
        key = item["kind"], item["metadata"]["name"]
        deadline = time.monotonic() + seconds
        since, last = time.monotonic(), None
        with self._changed:
            while (now := time.monotonic()) < deadline:
                found = self._newest.get(key)
                said = end(found) if found and found["metadata"]["generation"] >= generation else None
                if said != last:
                    since, last = now, said
                left = since + steady(said) - now if said else deadline - now
                if said and left <= 0:
                    return said
                self._changed.wait(min(left, deadline - now))
        return None
