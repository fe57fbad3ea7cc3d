"""Many clusters at once on subnets that are there: how long, what bounds it, how much memory, what it costs at rest."""

from __future__ import annotations

import time

from fleet.account import Account, fresh_account
from fleet.manifests import cluster, existing, node_group
from fleet.environment import Environment, environment
from keelson_harness.aws import Durations
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import conditions

from .figures import Figure, by_action, by_service
from .resource_usage import Busy, memory_mb, metrics, peak_mb, total

DURATIONS = Durations(
    cluster_create=5, cluster_update=2, cluster_delete=1, nodegroup=3, addon=1, nat=1
)
SCALE = 30
REST_SECONDS = 60


def items(count: int, subnets: list[str]) -> list[dict]:
    made = []
    for number in range(count):
        name = f"fleet-{number:03}"
        made.append(cluster(name, network=existing(*subnets)))
        nodes = {"subnets": {"ids": subnets}, "scaling": {"min": 1, "max": 2}}
        made.append(node_group(name, **nodes))
    return made


def ready(on: Environment, kind: str) -> int:
    found = on.api.list("keelson.dev/v1alpha1", kind)
    return sum(conditions(item).get("Ready", {}).get("status") == "True" for item in found)


def rows(wanted: set[str], count: int, say) -> list[Figure]:
    with environment(workload=False, git=False, durations=DURATIONS) as on:
        account = on.account(fresh_account())
        subnets = account.network("abc", "10.0.0.0/16", bits=18)
        operator = on.start(account=account.id, window="--read-after-write-window=10s")
        figures = [at_once(on, account, operator, items(count, subnets), count, say)]
        time.sleep(10)
        memory = memory_figure(operator, count)
        if "memory" in wanted:
            figures.insert(0, memory)
        if "rest" in wanted:
            operator.stop()
            figures.append(rest(on, account, count, say))
    return figures


def at_once(
    on: Environment, account: Account, operator: Controller, made: list[dict], count: int, say
) -> Figure:
    mark = on.mark()
    emulator, process = Busy(on.aws.process), Busy(operator.process)
    began = time.monotonic()
    for item in made:
        on.api.create(item)
    applied = time.monotonic() - began
    say(f"{count} clusters and their node groups applied in {applied:.0f} s")
    deadline = began + 900
    told = 0.0
    while (clusters := ready(on, "EksCluster")) < count or ready(on, "NodeGroup") < count:
        if time.monotonic() > deadline:
            break
        if time.monotonic() - told > 15:
            told = time.monotonic()
            say(f"{clusters} of {count} Ready after {told - began:.0f} s")
        time.sleep(0.5)
    seconds = time.monotonic() - began
    busy = {"emulator": emulator.share(), "operator": process.share()}
    calls = on.calls(mark, account.id)
    waited = total(operator, "keelson_aws_bucket_wait_seconds_total")
    put_off = total(operator, "keelson_aws_deferrals_total")
    throttled = total(operator, "keelson_aws_throttles_total")
    writes = by_action([call for call in calls if call["write"]])
    bound = bound_by(busy, put_off)
    return Figure(
        f"{count} clusters at once: time to all Ready, calls",
        f"{seconds:.0f} s, {len(calls)} calls" + ("" if clusters == count else f", only {clusters} Ready"),
        "bound by the emulator or the rate limits",
        clusters == count and bound != "us",
        note=(
            f"bound by {bound}: {len(calls) / seconds:.0f} calls/s; the emulator (one thread) was busy for "
            f"{busy['emulator']:.0%}, the operator for {busy['operator']:.0%} of a processor; own rate limits put "
            f"{put_off:.0f} calls off and let others wait {waited:.0f} s in all; AWS throttled {throttled:.0f}; "
            f"most frequent writes {dict(list(writes.items())[:4])}"
        ),
        numbers={
            "seconds": seconds,
            "applySeconds": applied,
            "ready": clusters,
            "calls": by_action(calls),
            "callsPerSecond": len(calls) / seconds,
            "busy": busy,
            "deferrals": metrics(operator, "keelson_aws_deferrals_total"),
            "bucketWaitSeconds": metrics(operator, "keelson_aws_bucket_wait_seconds_total"),
            "throttles": throttled,
            "boundBy": bound,
        },
    )


def bound_by(busy: dict[str, float], put_off: float) -> str:
    """Whoever has nothing left to give: the emulator its one thread, the rate limits their tokens."""
    if busy["emulator"] > 0.85:
        return "the emulator"
    return "the rate limits" if put_off > 0 else "us"


def memory_figure(operator: Controller, count: int) -> Figure:
    now, peak = memory_mb(operator.process), peak_mb(operator.process)
    return Figure(
        f"resident memory, {count} clusters on existing subnets",
        f"{now:.0f} MB (peak {peak:.0f})",
        "<= 100 MB",
        now <= 100,
        note="VmRSS 10 s after the last was Ready, VmHWM of the whole creation",
        numbers={"restMb": now, "peakMb": peak},
    )


def rest(on: Environment, account: Account, count: int, say) -> Figure:
    drift = 600 / SCALE
    with on.operator(f"--drift-interval={drift:g}s", account=account.id) as operator:
        time.sleep(2 * drift + 20)
        say(f"{count} clusters at rest: counting for {REST_SECONDS} s at intervals of {drift:g} s")
        mark, busy = on.mark(), Busy(operator.process)
        time.sleep(REST_SECONDS)
        calls = on.calls(mark, account.id)
        share = busy.share()
    hours = REST_SECONDS * SCALE / 3600
    hourly = {service: n / hours for service, n in by_service(calls).items()}
    others = sum(n for service, n in hourly.items() if service != "eks")
    each = hourly.get("eks", 0) / count
    return Figure(
        f"the same with {count} clusters: to EKS a cluster; EC2 and IAM in all",
        f"{each:.1f}; {others:.0f}",
        "<= 20; not growing with the clusters",
        each <= 20 and others < 10 * count,
        note=f"intervals {SCALE} times shorter over {REST_SECONDS} s, reckoned up; the operator used {share:.0%} of a processor",
        numbers={"perHour": hourly, "eksPerCluster": each, "busy": share, "calls": by_action(calls)},
    )
