"""The GitOps agent: how long until it follows Git, how soon a commit shows, what a watched cluster costs in memory."""

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
# Over the interval at which the agent asks the repository.
COMMIT_GOAL = 2
COMMITS = 8
WATCHED = 50
WATCHED_GOAL_MB = 2


def rows(say) -> list[Figure]:
    with environment(durations=DURATIONS) as on:
        account = on.account(fresh_account())
        subnets = account.network("abc", "10.0.0.0/16", bits=18)
        repository = on.cloud.git.repository("bench")
        commit(repository, 0)
        operator = on.start(account=account.id, window="--read-after-write-window=10s")
        item = agent_of("bench", repository, subnets)
        say("a cluster with Flux, from nothing")
        figures = [bootstrap(on, item), commits(on, item, repository, say)]
        operator.stop()
        figures.append(watched(on, account.id, repository, subnets, say))
    return figures


def agent_of(name: str, repository, subnets: list[str]) -> dict:
    gitops = flux(repository.url, "clusters/bench", interval=f"{INTERVAL}s")
    # All share one workload cluster: with facts each would write its own into the same ConfigMap.
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


class First:
    """The moment at which something first holds, looked for beside everything else."""

    def __init__(self, holds) -> None:
        self.at: float | None = None
        self._holds = holds
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                if self._holds():
                    self.at = time.monotonic()
                    return
            except Exception:  # not there yet: the namespace, the kind, the API server's answer
                pass
            time.sleep(0.05)

    def wait(self) -> float:
        self._thread.join()
        if self.at is None:
            raise TimeoutError("did not come about in 180 s")
        return self.at


def bootstrap(on: Environment, item: dict) -> Figure:
    name = item["metadata"]["name"]
    workload = on.cloud.workload.api

    def root() -> dict:
        version, kind, of, namespace = KUSTOMIZATION
        return workload.get(version, kind, of, namespace)

    on.apply(item)
    said = lambda: on.api.get(item["apiVersion"], "EksCluster", name)  # noqa: E731
    control_plane = First(
        lambda: conditions(said()).get("ControlPlaneReady", {}).get("status") == "True"
    )
    seeded = First(root)
    applied = First(lambda: root()["status"]["lastAppliedRevision"])
    shown = First(lambda: said()["status"]["gitops"]["lastAppliedRevision"])
    began, seed, done, told = (moment.wait() for moment in (control_plane, seeded, applied, shown))
    ours = (seed - began) + (told - done)
    return Figure(
        "ControlPlaneReady to the first applied revision, over Flux's own time",
        f"+{ours:.1f} s ({told - began:.1f} s in all)",
        f"<= {BOOTSTRAP_GOAL} s",
        ours <= BOOTSTRAP_GOAL,
        note=(
            f"{seed - began:.1f} s until Flux is installed and seeded, {done - seed:.1f} s until it has applied (its pods, "
            f"clone, build), {told - done:.1f} s until status shows it"
        ),
        numbers={"install": seed - began, "agent": done - seed, "shown": told - done},
    )


def commits(on: Environment, item: dict, repository, say) -> Figure:
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
    say(f"{COMMITS} commits")
    return Figure(
        f"commit to status.gitops, Flux asking every {INTERVAL} s",
        f"at most {max(took):.1f} s (median {statistics.median(took):.1f} s)",
        f"<= interval + {COMMIT_GOAL} s",
        max(took) <= INTERVAL + COMMIT_GOAL,
        note=f"{COMMITS} commits at different times of the interval; Flux's fetch, build and apply are in it",
        numbers={"seconds": took},
    )


def watched(on: Environment, account: str, repository, subnets: list[str], say) -> Figure:
    items = [agent_of(f"watched-{number:02}", repository, subnets) for number in range(WATCHED)]
    with on.operator(account=account, window="--read-after-write-window=10s", name="keelson-making"):
        on.apply(*items)
        on.ready(*items, timeout=300)
    say(f"{WATCHED} clusters with Flux are Ready")
    at_rest = {}
    # One life of the operator as long as the other, and of the same clusters.
    for name, most in (("polled", 0), ("watched", WATCHED + 1)):
        args = (f"--max-watches={most}",)
        with on.operator(*args, account=account, window="--read-after-write-window=10s", name=f"keelson-{name}") as operator:
            on.ready(*items, timeout=120)
            time.sleep(30)
            at_rest[name] = memory_mb(operator.process)
    each = (at_rest["watched"] - at_rest["polled"]) / WATCHED
    return Figure(
        f"memory of a watched workload cluster, of {WATCHED}",
        f"{each:.2f} MB",
        f"<= {WATCHED_GOAL_MB} MB",
        each <= WATCHED_GOAL_MB,
        note=(
            f"VmRSS after half a minute at rest: {at_rest['watched']:.0f} MB with every cluster watched, "
            f"{at_rest['polled']:.0f} MB with --max-watches=0"
        ),
        numbers=at_rest,
    )
