"""Many clusters created at once on existing subnets: time, limiting factor, memory, and calls in the steady state."""

from __future__ import annotations

import time

from fleet.account import Account, fresh_account
from fleet.manifests import cluster, existing, node_group
from fleet.environment import Environment, environment
from keelson_harness.aws import Durations
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import conditions

from .figures import Figure, by_action, by_service
from .resource_usage import CpuUsage, memory_mb, metrics, peak_mb, total

DURATIONS = Durations(
    cluster_create=5, cluster_update=2, cluster_delete=1, nodegroup=3, addon=1, nat=1
)
SCALE = 30
STEADY_SECONDS = 60
API = "keelson.dev/v1alpha1"
ROLLOUT = {"apiVersion": API, "kind": "FleetRollout", "metadata": {"name": "all"}, "spec": {"clusterSelector": {}, "waves": [{"name": "all"}]}}


def items(count: int, subnets: list[str]) -> list[dict]:
    manifests = []
    for number in range(count):
        name = f"fleet-{number:03}"
        manifests.append(cluster(name, network=existing(*subnets)))
        nodes = {"subnets": {"ids": subnets}, "scaling": {"min": 1, "max": 2}}
        manifests.append(node_group(name, **nodes))
    return manifests


def count_ready(on: Environment, kind: str) -> int:
    found = on.api.list(API, kind)
    return sum(conditions(item).get("Ready", {}).get("status") == "True" for item in found)


def rows(wanted: set[str], count: int, log) -> list[Figure]:
    with environment(workload=False, git=False, durations=DURATIONS) as on:
        account = on.account(fresh_account())
        subnets = account.network("abc", "10.0.0.0/16", bits=18)
        operator = on.start(account=account.id, window="--read-after-write-window=10s")
        figures = [create_all(on, account, operator, items(count, subnets), count, log)]
        time.sleep(10)
        memory = memory_figure(operator, count)
        if "memory" in wanted:
            figures.insert(0, memory)
        if "steady" in wanted:
            operator.stop()
            figures += steady_calls(on, account, count, log)
    return figures


def create_all(
    on: Environment, account: Account, operator: Controller, manifests: list[dict], count: int, log
) -> Figure:
    mark = on.mark()
    emulator, process = CpuUsage(on.aws.process), CpuUsage(operator.process)
    began = time.monotonic()
    for item in manifests:
        on.api.create(item)
    applied = time.monotonic() - began
    log(f"{count} clusters and their node groups applied in {applied:.0f} s")
    deadline = began + 900
    reported_at = 0.0
    while (clusters := count_ready(on, "EksCluster")) < count or count_ready(on, "NodeGroup") < count:
        if time.monotonic() > deadline:
            break
        if time.monotonic() - reported_at > 15:
            reported_at = time.monotonic()
            log(f"{clusters} of {count} Ready after {reported_at - began:.0f} s")
        time.sleep(0.5)
    seconds = time.monotonic() - began
    busy = {"emulator": emulator.share(), "operator": process.share()}
    calls = on.calls(mark, account.id)
    waited = total(operator, "keelson_aws_bucket_wait_seconds_total")
    deferred = total(operator, "keelson_aws_deferrals_total")
    throttled = total(operator, "keelson_aws_throttles_total")
    writes = by_action([call for call in calls if call["write"]])
    limited_by = limiting_factor(busy, deferred)
    return Figure(
        f"{count} clusters at once: time until all are Ready, calls",
        f"{seconds:.0f} s, {len(calls)} calls" + ("" if clusters == count else f", only {clusters} Ready"),
        "bound by the emulator or the rate limits",
        clusters == count and limited_by != "the operator",
        note=(
            f"bound by {limited_by}: {len(calls) / seconds:.0f} calls/s; the emulator (one thread) used "
            f"{busy['emulator']:.0%}, the operator {busy['operator']:.0%} of a CPU; the operator's rate limits deferred "
            f"{deferred:.0f} calls and delayed others by {waited:.0f} s in all; AWS throttled {throttled:.0f}; "
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
            "boundBy": limited_by,
        },
    )


def limiting_factor(busy: dict[str, float], deferred: float) -> str:
    """The limiting factor: the emulator's one thread, the rate limits, or the operator."""
    if busy["emulator"] > 0.85:
        return "the emulator"
    return "the rate limits" if deferred > 0 else "the operator"


def memory_figure(operator: Controller, count: int) -> Figure:
    now, peak = memory_mb(operator.process), peak_mb(operator.process)
    return Figure(
        f"resident memory, {count} clusters on existing subnets",
        f"{now:.0f} MB (peak {peak:.0f})",
        "<= 100 MB",
        now <= 100,
        note="VmRSS 10 s after all are Ready; VmHWM includes the creation",
        numbers={"steadyMb": now, "peakMb": peak},
    )


def versions(on: Environment) -> dict[str, str]:
    """The resourceVersion of each object, by UID."""
    found = [item["metadata"] for kind in ("FleetRollout", "EksCluster", "NodeGroup") for item in on.api.list(API, kind)]
    return {metadata["uid"]: metadata["resourceVersion"] for metadata in found}


def steady_calls(on: Environment, account: Account, count: int, log) -> list[Figure]:
    drift = 600 / SCALE
    on.api.create(ROLLOUT)
    with on.operator(f"--drift-interval={drift:g}s", account=account.id) as operator:
        time.sleep(2 * drift + 20)
        log(f"{count} clusters in the steady state: counting for {STEADY_SECONDS} s with a drift interval of {drift:g} s")
        before, mark, busy = versions(on), on.mark(), CpuUsage(operator.process)
        time.sleep(STEADY_SECONDS)
        calls = on.calls(mark, account.id)
        share = busy.share()
        after = versions(on)
        members = on.api.get(API, "FleetRollout", ROLLOUT["metadata"]["name"])["status"]["members"]
    written = sum(after.get(uid) != version for uid, version in before.items())
    rollout = Figure(
        f"a FleetRollout over {members} clusters, idle: objects written in {STEADY_SECONDS} s",
        f"{written}",
        "0",
        written == 0 and members == count,
        note=f"of the FleetRollout, {count} EksClusters and {count} NodeGroups; it is evaluated every second; the operator used {share:.0%} of a CPU",
        numbers={"written": written, "members": members, "busy": share},
    )
    hours = STEADY_SECONDS * SCALE / 3600
    hourly = {service: n / hours for service, n in by_service(calls).items()}
    others = sum(n for service, n in hourly.items() if service != "eks")
    each = hourly.get("eks", 0) / count
    calls_figure = Figure(
        f"the same with {count} clusters: to EKS per cluster; to EC2 and IAM in all",
        f"{each:.1f}; {others:.0f}",
        "<= 20; independent of the number of clusters",
        each <= 20 and others < 10 * count,
        note=f"extrapolated from {STEADY_SECONDS} s with intervals {SCALE} times shorter; the operator used {share:.0%} of a CPU",
        numbers={"perHour": hourly, "eksPerCluster": each, "busy": share, "calls": by_action(calls)},
    )
    return [calls_figure, rollout]
