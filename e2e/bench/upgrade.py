"""An upgrade by two minor versions with two node groups: time beyond AWS's own, and calls."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fleet.account import fresh_account
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, environment, until
from fleet.upgrading import current, step
from keelson_harness.aws import Durations

from .figures import Figure, by_action

DURATIONS = Durations(
    cluster_create=3, cluster_update=20, cluster_delete=1, nodegroup=10, addon=1.5, nat=1
)
FROM, TO = "1.32", "1.34"
# Sequential, except the two node groups at the end, which run concurrently.
STEPS = [
    "UpdateClusterVersion 1.33",
    "UpdateAddon kube-proxy v1.33.3-eksbuild.10",
    "UpdateAddon coredns v1.12.1-eksbuild.2",
    "UpdateClusterVersion 1.34",
    "UpdateAddon kube-proxy v1.34.0-eksbuild.4",
    "UpdateAddon coredns v1.12.4-eksbuild.1",
    "UpdateNodegroupVersion blue 1.34",
    "UpdateNodegroupVersion green 1.34",
]
SEQUENTIAL_STEPS = 7
CRITICAL_PATH = 2 * DURATIONS.cluster_update + 4 * DURATIONS.addon + DURATIONS.nodegroup
GOAL_SECONDS = 2


@dataclass
class Upgrade:
    seconds: float
    calls: list[dict]

    @property
    def over(self) -> float:
        return self.seconds - CRITICAL_PATH

    @property
    def each(self) -> float:
        return self.over / SEQUENTIAL_STEPS


def rows(log) -> list[Figure]:
    with environment(git=False, flux=False, durations=DURATIONS) as on:
        account = fresh_account()
        on.start(account=account, window="--read-after-write-window=10s")
        runs = {}
        for name in ("first", "learned"):
            log(f"an upgrade from {FROM} to {TO}, {name}: about {CRITICAL_PATH:.0f} s")
            runs[name] = upgrade(on, account, name)
            log(f"upgraded after {runs[name].seconds:.1f} s with {len(runs[name].calls)} calls")
    return [figure(runs)]


def upgrade(on: Environment, account: str, name: str) -> Upgrade:
    item = cluster(name, version=FROM)
    groups = [node_group(name, f"{name}-{group}", nodeGroupName=group) for group in ("blue", "green")]
    on.apply(item, *groups)
    on.ready(item, *groups, timeout=120)
    mark = on.mark()
    began = time.monotonic()
    on.api.patch(*key_of(item)[:3], {"spec": {"version": TO}})

    def upgraded() -> bool:
        found = [on.api.get(*key_of(each)) for each in (item, *groups)]
        return all(current(each) and each["status"].get("version") == TO for each in found)

    until(upgraded, CRITICAL_PATH + 120, f"{TO}: {on.describe(item)}")
    seconds = time.monotonic() - began
    calls = on.calls(mark, account)
    steps = [step(call) for call in calls if call["write"]]
    assert steps[:6] == STEPS[:6] and sorted(steps) == sorted(STEPS), f"unexpected steps: {steps}"
    # Otherwise its nodes would stay in the shared workload cluster.
    on.delete(*groups, item, timeout=120)
    return Upgrade(seconds, calls)


def figure(runs: dict[str, Upgrade]) -> Figure:
    return Figure(
        "upgrade by two minor versions, two node groups: beyond AWS's own time, per step",
        ", ".join(f"+{run.each:.1f} s {name}" for name, run in runs.items()),
        f"<= {GOAL_SECONDS} s",
        max(run.each for run in runs.values()) <= GOAL_SECONDS,
        note=(
            f"{SEQUENTIAL_STEPS} sequential steps, critical path {CRITICAL_PATH:.0f} s, in all "
            + ", ".join(f"+{run.over:.1f} s with {len(run.calls)} calls {name}" for name, run in runs.items())
        ),
        numbers={
            name: {"seconds": run.seconds, "over": run.over, "calls": by_action(run.calls)}
            for name, run in runs.items()
        },
    )
