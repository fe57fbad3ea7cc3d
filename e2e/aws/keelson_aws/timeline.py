"""Scheduled steps: the ends of EKS and EC2 operations.

Due steps run before each call is answered, and from a timer of the server, always in order of their due time.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Timeline:
    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, step: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now() + seconds, next(self._order), step))

    def run_due(self) -> None:
        if not self._heap:
            return
        now = self.now()
        while self._heap and self._heap[0][0] <= now:
            _, _, step = heapq.heappop(self._heap)
            try:
                step()
            except Exception:
                # A failed step must not block later ones.
                log.exception("a step of the timeline failed")

    def is_busy(self) -> bool:
        """Whether steps are pending."""
        return bool(self._heap)

    def clear(self) -> None:
        self._heap.clear()
