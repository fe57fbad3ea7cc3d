"""One cluster: time until Ready, calls until Ready, memory, and calls in the steady state."""

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

# Critical path: EKS control plane, the add-ons that nodes need, node group, the add-on that needs nodes. NAT gateways run in parallel with the control plane.
DURATIONS = Durations(
    cluster_create=60, cluster_update=2, cluster_delete=2, nodegroup=12, addon=1.5, nat=10.5
)
CRITICAL_PATH = DURATIONS.cluster_create + DURATIONS.addon + DURATIONS.nodegroup + DURATIONS.addon
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
    """The defaults: three zones, one NAT gateway, four add-ons, no GitOps."""
    return cluster(name), node_group(name)


def create(on: Environment, account: str, name: str) -> Creation:
    items = pair(name)
    mark = on.mark()
    began = time.monotonic()
    on.apply(*items)
    on.ready(*items, timeout=CRITICAL_PATH + 120)
    seconds = time.monotonic() - began
    return Creation(seconds, on.calls(mark, account))


def rows(wanted: set[str], steady_seconds: float, steady_scale: float, log) -> list[Figure]:
    figures: list[Figure] = []
    with environment(workload=False, git=False, durations=DURATIONS) as on:
        account = fresh_account()
        # As in production: default flags except the listen address.
        operator = on.start(account=account, window="--read-after-write-window=10s")
        log(f"first cluster: about {CRITICAL_PATH:.0f} s")
        first = create(on, account, "first")
        log(f"Ready after {first.seconds:.1f} s with {len(first.calls)} calls")
        steady = steady_memory(operator)
        learned = None
        if "create" in wanted:
            on.delete(*pair("first"), timeout=120)
            log(f"second cluster, with durations learned: about {CRITICAL_PATH:.0f} s")
            learned = create(on, account, "learned")
            log(f"Ready after {learned.seconds:.1f} s with {len(learned.calls)} calls")
        if "memory" in wanted:
            figures.append(memory_figure(steady, operator))
        operator.stop()
        if "create" in wanted:
            log(f"another cluster, after a restart of the operator: about {CRITICAL_PATH:.0f} s")
            with on.operator(account=account, window="--read-after-write-window=10s"):
                # Its first reads of the existing cluster must not count for the new one.
                time.sleep(5)
                restarted = create(on, account, "restarted")
                log(f"Ready after {restarted.seconds:.1f} s with {len(restarted.calls)} calls")
                on.delete(*pair("restarted"), timeout=120)
            figures[:0] = creation_figures({"first": first, "learned": learned, "restarted": restarted})
        if "steady" in wanted:
            figures.append(steady_figure(on, account, steady_seconds, steady_scale, log))
    return figures


def creation_figures(runs: dict[str, Creation]) -> list[Figure]:
    times = Figure(
        "apply to Ready, beyond the critical path",
        ", ".join(f"+{run.over:.1f} s {name}" for name, run in runs.items()),
        "<= 3 s",
        all(run.over <= 3 for run in runs.values()),
        ("+34 s", "+99 s", "+122 s"),
        f"critical path {CRITICAL_PATH} s; first: no duration is known yet; learned: the second cluster; "
        "restarted: after a restart of the operator",
        {name: {"seconds": run.seconds, "over": run.over} for name, run in runs.items()},
    )
    calls = Figure(
        "AWS calls until Ready (of these, writes)",
        ", ".join(f"{len(run.calls)} ({run.writes}) {name}" for name, run in runs.items()),
        "< 90",
        all(len(run.calls) < 90 for run in runs.values()),
        ("161", "212", "180"),
        f"first, by service: {by_service(runs['first'].calls)}",
        {name: {"calls": by_action(run.calls), "writes": run.writes} for name, run in runs.items()},
    )
    return [times, calls]


def steady_memory(operator: Controller) -> float:
    time.sleep(5)
    return memory_mb(operator.process)


def memory_figure(steady: float, operator: Controller) -> Figure:
    peak = peak_mb(operator.process)
    return Figure(
        "resident memory, 1 cluster",
        f"{steady:.0f} MB (peak {peak:.0f})",
        "<= 60 MB",
        steady <= 60,
        ("821 MiB", "191 MiB", "194 MiB"),
        f"VmRSS 5 s after Ready and VmHWM at the end, of {operator.process.name}; MB = 10^6 bytes",
        {"steadyMb": steady, "peakMb": peak},
    )


def steady_figure(on: Environment, account: str, seconds: float, scale: float, log) -> Figure:
    """Counts calls while all intervals are `scale` times shorter, and extrapolates to an hour."""
    drift = DEFAULT_DRIFT_SECONDS / scale
    args = () if scale == 1 else (f"--drift-interval={drift:g}s",)
    with on.operator(*args, account=account):
        on.ready(*pair("learned"), timeout=60)
        # Skips the reads of a new process, and one more interval.
        time.sleep(min(2 * drift, 60))
        log(f"steady state: counting for {seconds:.0f} s with a drift interval of {drift:g} s")
        mark = on.mark()
        time.sleep(seconds)
        calls = on.calls(mark, account)
    hours = seconds * scale / 3600
    hourly = {service: count / hours for service, count in by_service(calls).items()}
    eks = hourly.get("eks", 0)
    others = sum(count for service, count in hourly.items() if service != "eks")
    window = "default intervals" if scale == 1 else f"extrapolated from intervals {scale:g} times shorter"
    return Figure(
        "AWS calls per hour in the steady state: to EKS; to EC2 and IAM",
        f"{eks:.0f}; {others:.0f}",
        "<= 20 to EKS",
        eks <= 20 and not any(call["write"] for call in calls),
        ("48 a plan", ">= 225", "0, drift undetected for 10 h"),
        f"one node group, four add-ons, {seconds:.0f} s: {window}; calls to EC2 and IAM are shared by all clusters of the account",
        {"perHour": hourly, "calls": by_action(calls), "windowSeconds": seconds, "scale": scale},
    )
