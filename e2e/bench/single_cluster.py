"""One cluster: how long until it is Ready, what that costs in calls, what it costs at rest."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fleet.account import fresh_account
from fleet.manifests import cluster, node_group
from fleet.environment import Environment, environment
from keelson_harness.aws import Durations
from keelson_harness.controller import Controller

from .figures import Figure, by_action, by_service
from .resource_usage import memory_mb, peak_mb

# EKS control plane, then node group, then the add-on that needs nodes; NAT hides under the first.
DURATIONS = Durations(
    cluster_create=60, cluster_update=2, cluster_delete=2, nodegroup=12, addon=1.5, nat=10.5
)
CRITICAL_PATH = DURATIONS.cluster_create + DURATIONS.nodegroup + DURATIONS.addon
DEFAULT_DRIFT_SECONDS = 600


@dataclass
class Creation:
    seconds: float
    calls: list[dict]

    @property
    def over(self) -> float:
        return self.seconds - CRITICAL_PATH

    @property
    def writes(self) -> int:
        return sum(call["write"] for call in self.calls)


def pair(name: str) -> tuple[dict, dict]:
    """Three zones, one NAT gateway, four add-ons, no GitOps: all of it by default."""
    return cluster(name), node_group(name)


def create(on: Environment, account: str, name: str) -> Creation:
    items = pair(name)
    mark = on.mark()
    began = time.monotonic()
    on.apply(*items)
    on.ready(*items, timeout=CRITICAL_PATH + 120)
    seconds = time.monotonic() - began
    return Creation(seconds, on.calls(mark, account))


def rows(wanted: set[str], rest_seconds: float, rest_scale: float, say) -> list[Figure]:
    figures: list[Figure] = []
    with environment(workload=False, git=False, durations=DURATIONS) as on:
        account = fresh_account()
        # As in production: no flag but where it listens.
        operator = on.start(account=account, window="--read-after-write-window=10s")
        say(f"one cluster, cold operator: about {CRITICAL_PATH:.0f} s")
        cold = create(on, account, "cold")
        say(f"Ready after {cold.seconds:.1f} s with {len(cold.calls)} calls")
        at_rest = settled_memory(operator)
        learned = None
        if "create" in wanted:
            on.delete(*pair("cold"), timeout=120)
            say(f"one cluster, operator that has made one: about {CRITICAL_PATH:.0f} s")
            learned = create(on, account, "learned")
            say(f"Ready after {learned.seconds:.1f} s with {len(learned.calls)} calls")
        if "memory" in wanted:
            figures.append(memory_figure(at_rest, operator))
        operator.stop()
        if "create" in wanted:
            say(f"one cluster, operator that was just started again: about {CRITICAL_PATH:.0f} s")
            with on.operator(account=account, window="--read-after-write-window=10s"):
                # Its first looks at the cluster that is there are none of the new one's.
                time.sleep(5)
                restarted = create(on, account, "restarted")
                say(f"Ready after {restarted.seconds:.1f} s with {len(restarted.calls)} calls")
                on.delete(*pair("restarted"), timeout=120)
            figures[:0] = creation_figures({"cold": cold, "learned": learned, "restarted": restarted})
        if "rest" in wanted:
            figures.append(rest_figure(on, account, rest_seconds, rest_scale, say))
    return figures


def creation_figures(runs: dict[str, Creation]) -> list[Figure]:
    times = Figure(
        "apply to Ready, over the critical path",
        ", ".join(f"+{run.over:.1f} s {name}" for name, run in runs.items()),
        "<= 3 s",
        all(run.over <= 3 for run in runs.values()),
        ("+34 s", "+99 s", "+122 s"),
        f"critical path {CRITICAL_PATH} s; cold: an operator that never saw a cluster made; learned: its second; "
        "restarted: a new process after it",
        {name: {"seconds": run.seconds, "over": run.over} for name, run in runs.items()},
    )
    calls = Figure(
        "AWS calls until Ready (of them writes)",
        ", ".join(f"{len(run.calls)} ({run.writes}) {name}" for name, run in runs.items()),
        "< 90",
        all(len(run.calls) < 90 for run in runs.values()),
        ("161", "212", "180"),
        f"cold, by service: {by_service(runs['cold'].calls)}",
        {name: {"calls": by_action(run.calls), "writes": run.writes} for name, run in runs.items()},
    )
    return [times, calls]


def settled_memory(operator: Controller) -> float:
    time.sleep(5)
    return memory_mb(operator.process)


def memory_figure(at_rest: float, operator: Controller) -> Figure:
    peak = peak_mb(operator.process)
    return Figure(
        "resident memory, 1 cluster",
        f"{at_rest:.0f} MB (peak {peak:.0f})",
        "<= 60 MB",
        at_rest <= 60,
        ("821 MiB", "191 MiB", "194 MiB"),
        f"VmRSS 5 s after Ready, VmHWM at the end, of {operator.process.name}'s process; MB = 10^6 bytes",
        {"restMb": at_rest, "peakMb": peak},
    )


def rest_figure(on: Environment, account: str, seconds: float, scale: float, say) -> Figure:
    """Counts over a window in which all intervals are `scale` times shorter, and reckons it up to an hour."""
    drift = DEFAULT_DRIFT_SECONDS / scale
    args = () if scale == 1 else (f"--drift-interval={drift:g}s",)
    with on.operator(*args, account=account):
        on.ready(*pair("learned"), timeout=60)
        # The looks of a fresh process, and one round more.
        time.sleep(min(2 * drift, 60))
        say(f"at rest: counting for {seconds:.0f} s at intervals of {drift:g} s")
        mark = on.mark()
        time.sleep(seconds)
        calls = on.calls(mark, account)
    hours = seconds * scale / 3600
    hourly = {service: count / hours for service, count in by_service(calls).items()}
    eks = hourly.get("eks", 0)
    others = sum(count for service, count in hourly.items() if service != "eks")
    window = "a real window" if scale == 1 else f"intervals {scale:g} times shorter, reckoned up"
    return Figure(
        "AWS calls an hour at rest: to EKS; EC2 and IAM",
        f"{eks:.0f}; {others:.0f}",
        "<= 20 to EKS",
        eks <= 20 and not any(call["write"] for call in calls),
        ("48 a plan", ">= 225", "0, drift unseen for 10 h"),
        f"one node group, four add-ons, {seconds:.0f} s: {window}; EC2's and IAM's are for all clusters of the account",
        {"perHour": hourly, "calls": by_action(calls), "windowSeconds": seconds, "scale": scale},
    )
