"""Kills the operator right after chosen AWS writes and restarts it, until its work is done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from keelson_harness.controller import Controller

from .environment import Environment

SIGKILL = 9
# Each question whether all is done reads several objects; whether the operator was killed costs nothing.
DONE_SECONDS = 0.3


@dataclass
class Killings:
    """The result of a run of `killed_at`."""

    # The writes whose response no running operator received, as "service:Action resource".
    points: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    starts: int = 0
    seconds: float = 0

    def summary(self, what: str) -> str:
        kinds = Counter(point.split(" ")[0].partition(":")[2] for point in self.points)
        named = ", ".join(f"{kind} {times}" for kind, times in sorted(kinds.items()))
        return (
            f"{what}: {len(self.points)} of {len(self.writes)} writes were kill points, "
            f"{self.starts} starts, {self.seconds:.0f} s ({named})"
        )


def killed_at(
    environment: Environment,
    account: str,
    done: Callable[[], bool],
    stride: int = 1,
    when: str = "before",
    timeout: float = 300,
    flags: tuple[str, ...] = (),
) -> Killings:
    """Runs operators until `done`, each killed at its `stride`-th write.

    `when="before"` kills after the write is applied and before its response is sent, "after" just
    after the response is sent. With stride 1 the responses of all writes of a process are lost:
    also those in flight concurrently with the first.
    """
    killings = Killings()
    start = environment.mark()
    began = time.monotonic()

    def sum_up() -> Killings:
        # A write that AWS refuses changes nothing, so its response does not matter.
        writes = [call for call in environment.writes(start, account) if call["status"] < 400]
        killings.writes = [named(call) for call in writes]
        killings.points = [named(call) for call in writes if "signal" in call.get("fault", "")]
        killings.seconds = time.monotonic() - began
        return killings

    def in_time() -> None:
        late = time.monotonic() - began > timeout
        assert not late, f"not done: {sum_up().summary('so far')}; last {killings.writes[-3:]}"

    while not done():
        in_time()
        operator = environment.start(*flags, account=account, wait=False)
        killings.starts += 1
        rule = environment.aws.add_fault(
            {"write": True, "account": account, "after_calls": stride - 1},
            {"signal": {"pid": operator.pid, "signal": SIGKILL, "when": when}},
        )
        try:
            while runs_on(operator, done):
                in_time()
        finally:
            # The pid may be reused by another process.
            environment.aws.control("DELETE", "faults", params={"id": rule})
            if operator.alive:
                operator.stop()
    return sum_up()


def runs_on(operator: Controller, done: Callable[[], bool]) -> bool:
    """Returns after DONE_SECONDS, or when the operator exits: whether it still runs and has work to do."""
    until = time.monotonic() + DONE_SECONDS
    while operator.alive:
        if time.monotonic() > until:
            return not done()
        time.sleep(0.02)
    return False


def named(call: dict) -> str:
    return f"{call['service']}:{call['action']} {call['resource']}"
