"""The course of `make demo-fleet`. Everything shown is read back from the management API, the workload clusters, or the AWS account.

`--stay` pauses before the deletion and leaves everything running.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import textwrap
import threading
import time
from pathlib import Path

from ..aws import ACCOUNT, Durations
from ..cloud import LocalCloud
from ..controller import Controller
from ..demo import OTLP_ENDPOINT, collect_traces, run_interruptible, show_empty_account
from ..fleet_page import FleetPage
from ..kubeapi import KubeApi, Timeout, conditions
from ..paths import EXAMPLES, keelson_binary
from ..transcript import MESSAGE_WIDTH, POLL_SECONDS, CommandFailed, Kubectl, Transcript
from ..workload_clusters import OwnApiServers
from .files import (
    AFTER,
    API,
    BAD,
    BEFORE,
    CHECKS,
    CLUSTERS,
    GIT_INTERVAL,
    GOOD,
    NEXT,
    SHOP,
    TYPO,
    WITH_WORKLOAD,
    checks,
    cluster,
    cluster_path,
    rollout,
    shop,
    shop_path,
    smoke,
    smoke_path,
)
from .nodes import Nodes, run_web
from .progress import Fleet, Progress

CREATED_SECONDS, WAVE_SECONDS, APPLIED_SECONDS, GONE_SECONDS = 400, 300, 200, 300
# How long nothing may begin after the halt.
HALT_SECONDS = 6
ROLLOUT_PATH = "management/rollout.yaml"
LIST = ((API, "EksCluster"),)
UPDATES = ("UpdateClusterVersion", "UpdateNodegroupVersion")


class FleetDemo:
    def __init__(self, transcript: Transcript, cloud: LocalCloud, controller: Controller):
        self.transcript, self.cloud = transcript, cloud
        self.api = cloud.management.api
        self.kubectl = Kubectl(transcript, cloud.management.kubeconfig, self.api, cloud.directory / "kubectl")
        self.repository = cloud.git.repository("fleet")
        self.progress = Progress(transcript, self.api, controller)

    # Git

    def commit(self, message: str, files: dict[str, str], delete: tuple[str, ...] = ()) -> str:
        commit = self.repository.commit(files, delete, message=message)
        self.transcript.log(f'committed {commit[:8]} "{message}"')
        return commit

    def show_commit(self) -> None:
        """The lines that the last commit changes."""
        self.shell("git show --format= --unified=0 | grep '^[-+]'", cwd=self.repository.work)

    def shell(self, command: str, cwd: Path | None = None) -> None:
        self.transcript.command(command)
        env = {**os.environ, "KUBECONFIG": str(self.cloud.management.kubeconfig), "NO_COLOR": "1"}
        env["PATH"] = f"{keelson_binary().parent}:{env['PATH']}"
        done = subprocess.run(
            ["sh", "-c", command], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise CommandFailed(f"{command}: {done.stdout.strip()}")
        self.transcript.show(done.stdout)

    # Workload clusters

    def workload(self, name: str) -> KubeApi:
        return self.cloud.workloads.control_plane(name).api

    def wait_shop(self, name: str, ready_pods: int, tag: str) -> None:
        """Waits until that many Pods of the shop run, one of them at least from that image."""
        deadline = time.monotonic() + APPLIED_SECONDS

        def holds() -> bool:
            pods = self.workload(name).list("v1", "Pod", SHOP)
            ready = [pod for pod in pods if _pod_is_ready(pod)]
            budget = self.workload(name).find("policy/v1", "PodDisruptionBudget", "web", SHOP) or {}
            counted = budget.get("status", {}).get("currentHealthy") == len(ready)
            return counted and len(pods) == 3 and len(ready) == ready_pods and any(_image(pod).endswith(f":{tag}") for pod in pods)

        while not holds():
            if time.monotonic() > deadline:
                raise Timeout(f"{ready_pods} Pods of the shop with {tag} in {name} not observed in {APPLIED_SECONDS} s")
            time.sleep(POLL_SECONDS)

    # The chapters

    def create(self) -> None:
        transcript, url = self.transcript, self.repository.url
        transcript.chapter("Six clusters in three rings are committed to the fleet repository, and Flux applies them")
        files = {ROLLOUT_PATH: rollout(), "management/account.yaml": (EXAMPLES / "account.yaml").read_text()}
        files |= {"management/checks.yaml": checks(), **{smoke_path(name): smoke() for name in WITH_WORKLOAD}}
        files |= {cluster_path(name): cluster(name, BEFORE, url) for name in CLUSTERS}
        files |= {shop_path(name): shop(GOOD) for name in WITH_WORKLOAD}
        self.commit(f"Six clusters with Kubernetes {BEFORE}", files)
        transcript.command(f"cat {ROLLOUT_PATH}")
        transcript.show(files[ROLLOUT_PATH])
        transcript.command(f"cat {cluster_path('early-1')}")
        transcript.show(files[cluster_path("early-1")])
        self.cloud.bootstrap(self.repository, "management", GIT_INTERVAL)
        self.progress.until(lambda now: all(now.is_ready(name, BEFORE) for name in CLUSTERS), CREATED_SECONDS, "six Ready clusters")
        self.kubectl.get(*LIST)

    def make_mistake(self) -> None:
        transcript = self.transcript
        for name in WITH_WORKLOAD:
            self.wait_shop(name, 3, GOOD)
        transcript.chapter(f"A commit updates the shop in two clusters; in {BAD} with a typo, so one of three Pods does not start")
        self.commit("Update the shop", {shop_path(name): shop(TYPO if name == BAD else NEXT) for name in WITH_WORKLOAD})
        self.show_commit()
        self.wait_shop(BAD, 2, TYPO)
        plane = self.cloud.workloads.control_plane(BAD)
        transcript.log(f"in {BAD}, where two Pods must always run:")
        kubectl = Kubectl(transcript, plane.kubeconfig, plane.api, self.cloud.directory / "kubectl")
        kubectl.get(("v1", "Pod"), ("policy/v1", "PodDisruptionBudget"), namespace=SHOP)

    def upgrade(self) -> None:
        transcript, url = self.transcript, self.repository.url
        transcript.chapter("One commit raises the version of all six clusters")
        self.commit(f"Kubernetes {AFTER}", {cluster_path(name): cluster(name, AFTER, url) for name in CLUSTERS})
        self.show_commit()
        transcript.chapter("The canary goes first; nothing else begins before it was healthy for the soak")
        self.progress.until(lambda now: wave_states(now, "canary") == {"Passed"}, WAVE_SECONDS, "the end of the canary wave")
        plane, job = self.cloud.workloads.control_plane("canary"), ("batch/v1", "Job")
        transcript.log("in canary, the smoke test that a hook ran after its control plane was upgraded:")
        Kubectl(transcript, plane.kubeconfig, plane.api, self.cloud.directory / "kubectl").get(job, namespace=CHECKS)
        transcript.log("on the management cluster, the checks of the wave, after its control planes and after its node groups:")
        self.kubectl.get(job)
        transcript.chapter("The next wave begins; one of its clusters fails, and the rollout halts")
        halted = self.progress.until(lambda now: now.halt is not None, WAVE_SECONDS, "the halt")
        since = self.cloud.aws.last_call()
        self.show_message(f"the rollout halts because of {BAD}:", halted.halt["message"])
        self.show_message("its node group names what is in the way:", self.blocking_pods())
        self.kubectl.get((API, "FleetRollout"))
        self.kubectl.get(*LIST)
        transcript.log(f"watching for {HALT_SECONDS} s whether anything begins")
        self.stay_halted(since)

    def show_message(self, title: str, message: str) -> None:
        self.transcript.log(title)
        self.transcript.show(textwrap.fill(message, MESSAGE_WIDTH, break_on_hyphens=False))

    def blocking_pods(self) -> str:
        """The message of the node group, once it has read the Pods from the cluster's API server."""
        message = lambda item: conditions(item).get("Stalled", {}).get("message", "")  # noqa: E731
        return message(self.api.wait(API, "NodeGroup", f"{BAD}-default", lambda item: f"{SHOP}/web" in message(item), timeout=APPLIED_SECONDS))

    def stay_halted(self, since: int) -> None:
        ends = time.monotonic() + HALT_SECONDS
        self.progress.until(lambda _: time.monotonic() > ends, HALT_SECONDS + 1, "the end of the observation")
        begun = [call for call in self.cloud.aws.writes(since) if call["action"] in UPDATES]
        if begun:
            raise Timeout(f"an update began during the halt: {begun}")
        self.transcript.log("no update began in any wave")

    def correct(self) -> None:
        transcript = self.transcript
        transcript.chapter("A commit corrects the mistake, and the cluster recovers; the rollout stays halted until somebody decides")
        self.commit(f"Correct the shop in {BAD}", {shop_path(BAD): shop(NEXT)})
        self.wait_shop(BAD, 3, NEXT)
        transcript.log("three Pods run, so one may be evicted")
        self.wait_evictions()
        self.shell(f"keelson reconcile {BAD}")
        self.progress.until(lambda now: now.is_ready(BAD, AFTER) and self.nodes_are_ready(), WAVE_SECONDS, f"{BAD} with {AFTER}")
        self.kubectl.get((API, "FleetRollout"))

    def wait_evictions(self) -> None:
        deadline = time.monotonic() + APPLIED_SECONDS
        while Nodes.budget_is_used_up(self.workload(BAD)):
            if time.monotonic() > deadline:
                raise Timeout(f"the budget of {BAD} allows no disruption after {APPLIED_SECONDS} s")
            time.sleep(POLL_SECONDS)

    def nodes_are_ready(self) -> bool:
        group = self.api.get(API, "NodeGroup", f"{BAD}-default")
        return group["status"].get("version") == AFTER and conditions(group)["Ready"]["status"] == "True"

    def retry(self) -> None:
        transcript = self.transcript
        halted = next(release for release in self.progress.read().releases if "halt" in release)
        value = re.search(r"keelson\.dev/retry to (\S+)", halted["message"])[1]
        transcript.chapter("A commit lets the rollout continue: the annotation that its message asks for")
        self.commit("Continue the rollout", {ROLLOUT_PATH: rollout(value)})
        self.show_commit()

        def is_done(now: Fleet) -> bool:
            done = [release["state"] == "Completed" for release in now.releases]
            return all(now.is_ready(name, AFTER) for name in CLUSTERS) and bool(done) and all(done)

        self.progress.until(is_done, WAVE_SECONDS, f"six clusters with {AFTER}")
        self.kubectl.get((API, "FleetRollout"))
        self.kubectl.get(*LIST)

    def show_order(self) -> None:
        self.transcript.chapter("What AWS was asked for, in order; and who wrote the versions")
        calls = [call for call in self.cloud.aws.calls(account=ACCOUNT) if call["action"] in UPDATES]
        for call in calls:
            self.transcript.log(f"{call['time'][11:19]} {call['action']:23} {call['resource']}")
        writers = {writer for name in CLUSTERS for writer in spec_writers(self.api.get(API, "EksCluster", name))}
        self.transcript.log(f"field managers that wrote spec.version: {', '.join(sorted(writers))}")
        if writers != {"kustomize-controller"}:
            raise Timeout("only Flux may write a spec")

    def delete(self) -> None:
        self.transcript.chapter("A commit deletes all clusters")
        self.commit("Delete all clusters", {}, tuple(map(cluster_path, CLUSTERS)))
        self.progress.until(lambda now: not now.clusters, GONE_SECONDS, "the deletion of all clusters", with_waves=False)
        self.transcript.chapter("The AWS account is empty")
        show_empty_account(self.transcript, self.cloud)


def wave_states(now: Fleet, name: str) -> set[str]:
    """The states of that wave in all releases."""
    return {wave["state"] for release in now.releases for wave in release.get("waves", []) if wave["name"] == name}


def spec_writers(item: dict) -> list[str]:
    managed = item["metadata"]["managedFields"]
    return [entry["manager"] for entry in managed if "f:version" in entry.get("fieldsV1", {}).get("f:spec", {})]


def _pod_is_ready(pod: dict) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions", []))


def _image(pod: dict) -> str:
    return pod["spec"]["containers"][0]["image"]


def run(stay: bool) -> None:
    transcript = Transcript()
    keelson_binary()
    transcript.chapter("The local cloud starts: AWS, the management cluster with Flux, Git")
    durations = Durations(cluster_create=4, cluster_update=4, cluster_delete=2, nodegroup=4, addon=0.5, nat=1)
    servers = OwnApiServers(
        clusters=WITH_WORKLOAD,
        controllers=("disruption-controller",),
        namespaces=(SHOP, CHECKS),
        runners={"web": run_web},
    )
    with LocalCloud(durations=durations, workload_each=servers, management_pods=True, log=transcript.log) as cloud:
        cloud.install_crds()
        cloud.install_policies()
        cloud.management_kubelet.namespaces.add("default")
        # All clusters are deleted at the end, and no load balancer is waited for where there is no API server.
        limits = {"KEELSON_MAX_DELETIONS": "6", "KEELSON_MAX_DELETIONS_TOTAL": "6", "KEELSON_LOAD_BALANCER_TIMEOUT": "2s"}
        env = {"KEELSON_ALLOW_AMBIENT_ACCOUNT": "false", **limits}
        more: dict[str, str] = {}
        # Whoever has a collector gets the traces there.
        if stay and OTLP_ENDPOINT not in os.environ:
            more["TRACES"] = str(cloud.directory / "traces.txt")
            env[OTLP_ENDPOINT] = collect_traces(cloud, Path(more["TRACES"]))
        controller = cloud.operator(env=env)
        controller.wait_ready()
        transcript.log(f"keelson runs as process {controller.pid}, log {controller.log}")
        demo = FleetDemo(transcript, cloud, controller)
        nodes = Nodes(cloud)
        nodes.start()
        page = FleetPage(cloud.management, cloud.directory)
        transcript.log(f"the fleet page, to watch in a browser: {page.address}")
        try:
            demo.create()
            demo.make_mistake()
            demo.upgrade()
            demo.correct()
            demo.retry()
            demo.show_order()
            if stay:
                transcript.chapter("Everything keeps running until Ctrl-C")
                print(cloud.describe(demo.repository, more), flush=True)
                print(f"# the fleet page: {page.address}", flush=True)
                threading.Event().wait()
            demo.delete()
        finally:
            page.stop()
            nodes.stop()
        transcript.log("done")


def main() -> None:
    parser = argparse.ArgumentParser(prog="keelson-demo-fleet", description=__doc__.splitlines()[0])
    parser.add_argument("--stay", action="store_true", help="leave everything running until Ctrl-C, before the deletion")
    args = parser.parse_args()
    run_interruptible(lambda: run(args.stay), stays=args.stay)


if __name__ == "__main__":
    main()
