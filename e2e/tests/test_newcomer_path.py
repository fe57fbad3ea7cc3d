"""The path of a newcomer with the parts that people use: the chart from a registry, the cluster of the tutorial, an alert that fires and
resolves, an upgrade watched on the command line, its trace, and everything removed again. `-s` prints how long each step takes.

Helm, the registry, the API servers, Git, Flux, and Prometheus with the rules of deploy/monitoring are real; AWS is the emulator, and Pods run
as processes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from charts.cloud import ChartCloud
from charts.rendering import CHART, NAMESPACE, render
from fleet.command_line import Following, output
from fleet.environment import Environment, until
from fleet.manifests import key_of
from keelson_harness.aws import Durations
from keelson_harness.collector import Collector
from keelson_harness.demo import GREETING, greeting, minimal_manifest
from keelson_harness.git import Repository
from keelson_harness.helm import Helm
from keelson_harness.kubeapi import documents
from keelson_harness.load import busy_factor
from keelson_harness.paths import DEPLOY, EXAMPLES, tools
from keelson_harness.prometheus import MONITORING, RULES, Prometheus, prometheus_tools, shortened
from keelson_harness.registry import Registry

BEFORE, AFTER = "1.35", "1.36"
RELEASE = ("keelson", "--namespace", NAMESPACE)
BROKEN = "clusters/demo/broken.yaml"
NO_SUCH_KIND = {BROKEN: "apiVersion: example.com/v1\nkind: Typo\nmetadata: {name: typo, namespace: shop}\n"}
# What lets Prometheus read the metrics.
READER = (DEPLOY / "metrics-reader.yaml", MONITORING / "service-account.yaml")
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")


@dataclass
class Steps:
    """How long each step takes, and how long it may."""

    taken: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, bound: float) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.taken.append((name, seconds, bound))
        assert seconds <= bound * busy_factor(), f"{name}: {seconds:.0f} s, and may take {bound:.0f} s\n{self.table()}"

    def table(self) -> str:
        rows = [*self.taken, ("everything", sum(seconds for _, seconds, _ in self.taken), sum(bound for *_, bound in self.taken))]
        return "\n".join([f"{'step':<48}{'took':>7}{'may':>7}", *(f"{name:<48}{seconds:>5.1f} s{bound:>5.0f} s" for name, seconds, bound in rows)])


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    prometheus_tools()
    durations = Durations(2, 4, 1, 1, 0.5, 0.5)
    with ChartCloud(workload_each=True, management_pods=True, durations=durations) as cloud:
        yield Environment(cloud)


@pytest.fixture(scope="module")
def collector(on: Environment) -> Collector:
    return on.cloud.collector()


@pytest.fixture(scope="module")
def helm(on: Environment) -> Helm:
    return Helm(on.cloud.directory, on.cloud.management.kubeconfig)


@pytest.fixture(scope="module")
def registry(on: Environment) -> Iterator[Registry]:
    started = Registry(tools("registry")["registry"], on.cloud.directory / "registry")
    try:
        started.wait_ready()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def fleet(on: Environment) -> Repository:
    repository = on.cloud.git.repository("fleet")
    repository.commit(greeting("hello from Git"), message="Add clusters/demo")
    return repository


@pytest.fixture
def prometheus(on: Environment) -> Iterator[list[Prometheus]]:
    """Those that the test starts, which end with it."""
    started: list[Prometheus] = []
    yield started
    for one in started:
        one.stop()


def start_prometheus(on: Environment, started: list[Prometheus]) -> Prometheus:
    """Scrapes both replicas with the token of its ServiceAccount; `for` and the ranges of the rules are seconds."""
    for path in READER:
        on.api.apply_all(documents(path))
    token = on.api.service_account_token(NAMESPACE, "keelson-metrics")
    targets = [controller.url.removeprefix("http://") for controller in on.cloud.controllers]
    started.append(Prometheus(on.cloud.directory / "prometheus", targets, token, shortened(RULES.read_text(), "3s", "20s")))
    started[-1].wait_ready()
    return started[-1]


def push_chart(on: Environment, helm: Helm, registry: Registry) -> str:
    """As a release does. Returns the chart's reference in the registry."""
    helm.run("package", CHART, "--destination", on.cloud.directory)
    (package,) = on.cloud.directory.glob("keelson-*.tgz")
    helm.run("push", package, registry.url("charts"), "--plain-http")
    return registry.url("charts/keelson")


def deployed_text(on: Environment) -> str:
    plane = on.cloud.workloads.control_plane("demo")
    return plane.api.get(*GREETING[:3], GREETING[3])["data"]["text"]


def left_of(on: Environment, items: list[dict]) -> list[str]:
    """Which of these objects exist."""
    return [f"{item['kind']}/{item['metadata']['name']}" for item in items if on.api.find(*key_of(item))]


def test_newcomer_installs_creates_is_alerted_upgrades_and_removes_everything(on, collector, helm, registry, fleet, prometheus, capsys):
    steps = Steps()
    values = {"operator": {"otlp": {"endpoint": collector.url}, "driftInterval": "3s", "readAfterWriteWindow": "1s"}}
    demo, nodes = minimal_manifest(fleet.url)
    demo["spec"]["version"] = BEFORE

    with steps.step("chart from a registry, until it is ready", 90):
        chart = push_chart(on, helm, registry)
        waits = ("--create-namespace", "--plain-http", "--wait", "--timeout", "80s")
        printed = helm.run("install", RELEASE[0], chart, *RELEASE[1:], *waits, values=values)
        assert "examples/minimal.yaml" in printed

    with steps.step("cluster of the tutorial, until it follows Git", 120):
        on.apply(*documents(EXAMPLES / "account.yaml"), demo, nodes)
        on.ready(demo, nodes, timeout=110)
        assert re.search(rf"^demo +True +Available +{re.escape(BEFORE)} ", output(on, "get", "-n", "default"), re.MULTILINE)
        assert deployed_text(on) == "hello from Git"
        notes = [event["note"] for event in on.events(demo)]
        assert len(notes) <= 20, "few enough to read"
        assert not [note for note in notes if re.search(r"(?<!\S)([\w-]+) \1(?!\S)", note)], "each name once"

    watching = start_prometheus(on, prometheus)

    def firing() -> list[str]:
        return [alert["name"] for alert in watching.firing("KeelsonGitOpsFailing")]

    until(lambda: watching.query('keelson_condition{type="GitOpsReady", status="True", name="demo"}'), 20, "a scrape")
    # Before its first scrape it misses the operator.
    until(lambda: watching.alerts() == [], 30, "silence")
    with steps.step("a mistake in Git, until its alert fires", 60):
        fleet.commit(NO_SUCH_KIND, message="Add a typing error")
        until(lambda: firing() == ["demo"], 55, "the alert")
        shown = output(on, "status", "demo", "-n", "default")
        assert "SyncFailed" in shown and "correct it in Git" in shown, shown
        assert "Typo" in shown, shown

    with steps.step("the mistake corrected, until the alert resolves", 60):
        fleet.commit(greeting("hello again"), delete=(BROKEN,), message="Correct it")
        until(lambda: deployed_text(on) == "hello again", 30, "the commit")
        on.await_condition(demo, "GitOpsReady")
        until(lambda: firing() == [], 30, "the alert to resolve")

    with steps.step("upgrade, watched until it ends", 120):
        on.ready(demo, nodes)
        watch = Following(on, "status", "demo", "-n", "default", "-w")
        try:
            watch.until(f" EksCluster default/demo Available: Kubernetes {BEFORE}")
            on.api.patch(*key_of(demo)[:3], {"spec": {"version": AFTER}})
            watch.until(" EksCluster default/demo Upgrading")
            watch.until(f" EksCluster default/demo Available: Kubernetes {AFTER}", 110)
        finally:
            watch.stop()
        assert on.status(demo)["version"] == AFTER

    with steps.step("its trace", 30):
        generation = on.api.get(*key_of(demo))["metadata"]["generation"]

        def change() -> list:
            ended = [span for span in collector.changes("Ready") if span.name == "change EksCluster"]
            return [span for span in ended if span["keelson.change.generation"] == generation]

        (ended,) = until(change, 25, "the trace of the upgrade")
        spans = collector.traces()[ended.trace]
        (call,) = [span for span in spans if span["rpc.method"] == "UpdateClusterVersion"]
        assert call["aws.request_id"] and ended.start <= call.start <= ended.end
        assert [span for span in spans if span["rpc.method"] == "UpdateNodegroupVersion"], "the nodes follow in the same trace"

    with steps.step("cluster deleted, until AWS is empty", 120):
        on.delete(nodes, demo, timeout=110)
        assert on.aws.inventory()["empty"]

    with steps.step("uninstalled, until nothing is left", 120):
        items = render(helm, values)
        on.delete(*documents(EXAMPLES / "account.yaml"))
        kept = helm.run("uninstall", *RELEASE, "--wait", "--timeout", "80s")
        assert "kept due to the resource policy" in kept
        crds = [item for item in items if item["kind"] == CRD[1]]
        assert left_of(on, items) == [f"{CRD[1]}/{item['metadata']['name']}" for item in crds]
        for item in crds:
            on.api.delete(*CRD, item["metadata"]["name"])
        for path in READER:
            on.delete(*documents(path))
        on.api.delete("v1", "Namespace", NAMESPACE, None)
        until(lambda: not left_of(on, [*items, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]), 80, "nothing")

    with capsys.disabled():
        print(f"\n{steps.table()}")
