"""Rate limits like AWS's: a token bucket for each account, region and action. Off by default."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import Any

from .call import Call
from .errors import AwsError


class Rates:
    def __init__(self) -> None:
        self.limits: list[dict[str, Any]] = []
        self._buckets: dict[tuple[str, str, str, str], tuple[float, float]] = {}

    def set(self, limits: list[dict[str, Any]]) -> None:
        """Each limit: service (glob), action (glob), burst, refill (tokens a second). The first match applies."""
        for limit in limits:
            float(limit["burst"]), float(limit["refill"])
        self.limits = limits
        self._buckets.clear()

    def check(self, call: Call) -> AwsError | None:
        for limit in self.limits:
            if fnmatchcase(call.service, limit.get("service", "*")) and fnmatchcase(call.action, limit.get("action", "*")):
                break
        else:
            return None
        key = (call.account, call.region, call.service, call.action)
        now = time.monotonic()
        tokens, then = self._buckets.get(key, (float(limit["burst"]), now))
        tokens = min(float(limit["burst"]), tokens + (now - then) * float(limit["refill"]))
        if tokens >= 1:
            self._buckets[key] = (tokens - 1, now)
            return None
        self._buckets[key] = (tokens, now)
        return throttled(call.service)


def throttled(service: str) -> AwsError:
    if service == "ec2":
        return AwsError("RequestLimitExceeded", "Request limit exceeded.", 503)
    if service in ("iam", "sts", "autoscaling", "elasticloadbalancing"):
        return AwsError("Throttling", "Rate exceeded", 400)
    return AwsError("ThrottlingException", "Rate exceeded", 429)
