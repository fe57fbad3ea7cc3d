"""Fault injection: rules that select calls and define how they fail.

Rules are matched before the call is applied, in the order in which they were posted. The effects of all matching rules are
combined, e.g. a delay and an error. If two rules set the same effect, the first one wins.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from . import denials
from .call import Call
from .errors import AwsError

MATCH_KEYS = {"service", "action", "account", "region", "resource", "write", "after_calls", "times"}
THEN_KEYS = {"delay", "deny", "error", "drop", "hang", "signal", "stale", "health_issue", "fail", "cancel", "status", "stored"}


class FaultError(ValueError):
    """An invalid rule."""


@dataclass
class Rule:
    id: int
    match: dict[str, Any]
    then: dict[str, Any]
    seen: int = 0
    used: int = 0

    def matches(self, call: Call) -> bool:
        for name, value in (("service", call.service), ("action", call.action), ("account", call.account),
                            ("region", call.region), ("resource", call.resource)):
            pattern = self.match.get(name)
            if pattern is not None and not fnmatchcase(value, str(pattern)):
                return False
        if "write" in self.match and bool(self.match["write"]) != call.write:
            return False
        times = self.match.get("times")
        if times is not None and self.used >= int(times):
            return False
        self.seen += 1
        if self.seen <= int(self.match.get("after_calls", 0)):
            return False
        self.used += 1
        return True

    def as_dict(self) -> dict[str, Any]:
        return {"id": self.id, "match": self.match, "then": self.then, "seen": self.seen, "used": self.used}


@dataclass
class FaultEffects:
    """The combined effects of the matching rules."""

    delay: float = 0.0
    error: AwsError | None = None
    drop: bool = False
    hang: float | None = None
    stale: float = 0.0
    kill_before: tuple[int, int] | None = None
    kill_after: tuple[int, int] | None = None
    outcome: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


class Faults:
    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._ids = itertools.count(1)

    def add(self, posted: dict[str, Any]) -> Rule:
        match, then = posted.get("match", {}), posted.get("then", {})
        if not isinstance(match, dict) or not isinstance(then, dict) or not then:
            raise FaultError('a rule is {"match": {...}, "then": {...}}')
        for keys, known, where in ((match, MATCH_KEYS, "match"), (then, THEN_KEYS, "then")):
            unknown = set(keys) - known
            if unknown:
                raise FaultError(f"unknown in {where}: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
        if "error" in then and not {"code"} <= set(then["error"]):
            raise FaultError("then.error needs a code")
        if "deny" in then:
            denials.check(then["deny"])
        if "signal" in then and "pid" not in then["signal"]:
            raise FaultError("then.signal needs a pid")
        rule = Rule(next(self._ids), match, then)
        self.rules.append(rule)
        return rule

    def remove(self, rule_id: int | None = None) -> None:
        self.rules = [] if rule_id is None else [rule for rule in self.rules if rule.id != rule_id]

    @property
    def needs_history(self) -> bool:
        return any("stale" in rule.then for rule in self.rules)

    def effects_of(self, call: Call) -> FaultEffects | None:
        if not self.rules:
            return None
        matching = [rule for rule in self.rules if rule.matches(call)]
        if not matching:
            return None
        effects = FaultEffects()
        for rule in matching:
            then = rule.then
            effects.names.extend(name for name in then if name != "status")
            effects.delay += float(then.get("delay", 0))
            effects.stale = max(effects.stale, float(then.get("stale", 0)))
            effects.drop = effects.drop or bool(then.get("drop"))
            if "hang" in then and effects.hang is None:
                effects.hang = float(then["hang"])
            if "error" in then and effects.error is None:
                error = then["error"]
                members = {k: v for k, v in error.items() if k not in ("code", "message", "status")}
                effects.error = AwsError(error["code"], error.get("message", error["code"]), int(error.get("status", 400)), **members)
            if "deny" in then and effects.error is None:
                effects.error = denials.error_of(then["deny"], call)
            if "signal" in then:
                signal = then["signal"]
                target = (int(signal["pid"]), int(signal.get("signal", 9)))
                if signal.get("when", "after") == "before":
                    effects.kill_before = effects.kill_before or target
                else:
                    effects.kill_after = effects.kill_after or target
            for name in ("health_issue", "fail", "cancel", "status", "stored"):
                if name in then:
                    effects.outcome.setdefault(name, then[name])
        return effects


def send_signal(target: tuple[int, int]) -> None:
    try:
        os.kill(*target)
    except ProcessLookupError:
        pass  # The process has already exited.
