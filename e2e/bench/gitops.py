"""The GitOps agent: time until it syncs, time from a commit to status, memory per watched cluster."""

from __future__ import annotations

import statistics
import threading
import time

import yaml

from fleet.account import fresh_account
from fleet.manifests import cluster, existing, flux
from fleet.environment import Environment, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

from .figures import Figure
from .resource_usage import memory_mb

DURATIONS = Durations(
    cluster_create=8, cluster_update=2, cluster_delete=1, nodegroup=2, addon=1, nat=1
)
AGENT = "flux-system"
KUSTOMIZATION = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization", AGENT, AGENT)
BOOTSTRAP_GOAL = 10
INTERVAL = 5
# Allowed time beyond the polling interval of the agent.
COMMIT_GOAL = 2
COMMITS = 8
WATCHED = 50
WATCHED_GOAL_MB = 2


def rows(log) -> list[Figure]:
    with environment(durations=DURATIONS) as on:
        account = on.account(fresh_account())
        subnets = account.network("abc", "10.0.0.0/16", bits=18)
        repository = on.cloud.git.repository("bench")
        commit(repository, 0)
        operator = on.start(account=account.id, window="--read-after-write-window=10s")
        item = agent_of("bench", repository, subnets)
        log("creating a cluster with Flux")
        figures = [bootstrap(on, item), commits(on, item, repository, log)]
        operator.stop()
        figures.append(watched(on, account.id, repository, subnets, log))
    return figures


def agent_of(name: str, repository, subnets: list[str]) -> dict:
    gitops = flux(repository.url, "clusters/bench", interval=f"{INTERVAL}s")
    # All share one workload cluster: facts would overwrite each other in one ConfigMap.
    gitops["flux"]["facts"] = False
    return cluster(name, network=existing(*subnets), addons=[{"name": "vpc-cni"}], gitops=gitops)


def commit(repository, number: int) -> str:
    greeting = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "bench", "namespace": "default"},
        "data": {"number": str(number)},
    }
    return repository.commit({"clusters/bench/greeting.yaml": yaml.safe_dump(greeting)})


class FirstTime:
    """Polls in a thread for the time at which a condition first holds."""

    def __init__(self, holds) -> None:
        self.at: float | None = None
        self._holds = holds
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                if self._holds():
                    self.at = time.monotonic()
                    return
            except Exception:  # the namespace, the kind or the API server may not exist yet
                pass
            time.sleep(0.05)

    def wait(self) -> float:
        self._thread.join()
        if self.at is None:
            raise TimeoutError("condition not met in 180 s")
        return self.at


def bootstrap(on: Environment, item: dict) -> Figure:
    name = item["metadata"]["name"]
    workload = on.cloud.workload.api

    def root() -> dict:
        version, kind, of, namespace = KUSTOMIZATION
        return workload.get(version, kind, of, namespace)

    on.apply(item)
    get_cluster = lambda: on.api.get(item["apiVersion"], "EksCluster", name)  # noqa: E731
    control_plane = FirstTime(
        lambda: conditions(get_cluster()).get("ControlPlaneReady", {}).get("status") == "True"
    )
    seeded = FirstTime(root)
    applied = FirstTime(lambda: root()["status"]["lastAppliedRevision"])
    shown = FirstTime(lambda: get_cluster()["status"]["gitops"]["lastAppliedRevision"])
    began, seeded_at, applied_at, shown_at = (event.wait() for event in (control_plane, seeded, applied, shown))
    own = (seeded_at - began) + (shown_at - applied_at)
    return Figure(
        "ControlPlaneReady to the first applied revision, beyond Flux's own time",
        f"+{own:.1f} s ({shown_at - began:.1f} s in all)",
        f"<= {BOOTSTRAP_GOAL} s",
        own <= BOOTSTRAP_GOAL,
        note=(
            f"{seeded_at - began:.1f} s until Flux is installed and configured, {applied_at - seeded_at:.1f} s until it has applied the revision (pods, "
            f"clone, build), {shown_at - applied_at:.1f} s until status shows it"
        ),
        numbers={"install": seeded_at - began, "agent": applied_at - seeded_at, "shown": shown_at - applied_at},
    )


def commits(on: Environment, item: dict, repository, log) -> Figure:
    on.ready(item, timeout=60)
    took = []
    for number in range(1, COMMITS + 1):
        # Spread over the interval.
        time.sleep(1 + number * 0.7)
        revision = commit(repository, number)
        began = time.monotonic()
        until(
            lambda wanted=revision: on.status(item)["gitops"]["lastAppliedRevision"].endswith(wanted),
            60,
            "the commit in status.gitops",
        )
        took.append(time.monotonic() - began)
    log(f"{COMMITS} commits")
    return Figure(
        f"commit to status.gitops, with Flux polling every {INTERVAL} s",
        f"at most {max(took):.1f} s (median {statistics.median(took):.1f} s)",
        f"<= interval + {COMMIT_GOAL} s",
        max(took) <= INTERVAL + COMMIT_GOAL,
        note=f"{COMMITS} commits at different times of the interval; includes Flux's fetch, build and apply",
        numbers={"seconds": took},
    )


def watched(on: Environment, account: str, repository, subnets: list[str], log) -> Figure:
    items = [agent_of(f"watched-{number:02}", repository, subnets) for number in range(WATCHED)]
    with on.operator(account=account, window="--read-after-write-window=10s", name="keelson-creating"):
        on.apply(*items)
        on.ready(*items, timeout=300)
    log(f"{WATCHED} clusters with Flux are Ready")
    steady = {}
    # Two operator processes with the same runtime and the same clusters.
    for name, most in (("polled", 0), ("watched", WATCHED + 1)):
        args = (f"--max-watches={most}",)
        with on.operator(*args, account=account, window="--read-after-write-window=10s", name=f"keelson-{name}") as operator:
            on.ready(*items, timeout=120)
            time.sleep(30)
            steady[name] = memory_mb(operator.process)
    each = (steady["watched"] - steady["polled"]) / WATCHED
    return Figure(
        f"memory per watched workload cluster, of {WATCHED}",
        f"{each:.2f} MB",
        f"<= {WATCHED_GOAL_MB} MB",
        each <= WATCHED_GOAL_MB,
        note=(
            f"VmRSS after 30 s in the steady state: {steady['watched']:.0f} MB with every cluster watched, "
            f"{steady['polled']:.0f} MB with --max-watches=0"
        ),
        numbers=steady,
    )
