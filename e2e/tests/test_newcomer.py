"""The path of a newcomer with the parts that people use: the chart from a registry, a cluster, an alert that fires and resolves, an upgrade
watched on the command line, its trace, and the end. Prints how long each part takes.

Helm, the registry, the API server, and Prometheus with the rules of deploy/monitoring are real; AWS is the emulator, and Pods run as processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from charts.cloud import ChartCloud
from charts.rendering import CHART, NAMESPACE
from fleet.command_line import Following, output
from fleet.environment import Environment, until
from fleet.manifests import account, cluster, key_of, node_group
from keelson_harness.aws import ACCOUNT, Durations
from keelson_harness.collector import Collector
from keelson_harness.helm import Helm
from keelson_harness.kubeapi import documents
from keelson_harness.paths import DEPLOY, tools
from keelson_harness.prometheus import MONITORING, RULES, Prometheus, prometheus_tools, shortened
from keelson_harness.registry import Registry

BEFORE, AFTER = "1.35", "1.36"


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    prometheus_tools()
    durations = Durations(2, 4, 1, 1, 0.5, 0.5)
    with ChartCloud(workload=False, git=False, flux=False, management_pods=True, durations=durations) as cloud:
        cloud.management.api.apply_all(documents(DEPLOY / "namespace.yaml"))
        yield Environment(cloud)


@pytest.fixture(scope="module")
def collector(on: Environment) -> Collector:
    return on.cloud.collector()


@pytest.fixture(scope="module")
def helm(on: Environment) -> Helm:
    return Helm(on.cloud.directory, on.cloud.management.kubeconfig)


@pytest.fixture(scope="module")
def chart(on: Environment, helm: Helm) -> Iterator[str]:
    """The chart's reference in a registry of this machine."""
    registry = Registry(tools("registry")["registry"], on.cloud.directory / "registry")
    try:
        registry.wait_ready()
        helm.run("package", CHART, "--destination", on.cloud.directory)
        (package,) = on.cloud.directory.glob("keelson-*.tgz")
        helm.run("push", package, registry.url("charts"), "--plain-http")
        yield registry.url("charts/keelson")
    finally:
        registry.stop()


@pytest.fixture
def prometheus(on: Environment) -> Iterator[Callable[[], Prometheus]]:
    started: list[Prometheus] = []

    def start() -> Prometheus:
        for path in (DEPLOY / "metrics-reader.yaml", MONITORING / "service-account.yaml"):
            on.api.apply_all(documents(path))
        token = on.api.service_account_token(NAMESPACE, "keelson-metrics")
        targets = [controller.url.removeprefix("http://") for controller in on.cloud.controllers]
        started.append(Prometheus(on.cloud.directory / "prometheus", targets, token, shortened(RULES.read_text(), "3s", "20s")))
        started[-1].wait_ready()
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_path_from_the_chart_to_the_end(on, collector, helm, chart, prometheus, capsys):
    seconds: dict[str, float] = {}
    began = time.monotonic()

    def done(part: str) -> None:
        nonlocal began
        seconds[part] = time.monotonic() - began
        began = time.monotonic()

    release = ("keelson", "--namespace", NAMESPACE)
    values = {"operator": {"otlp": {"endpoint": collector.url}, "driftInterval": "3s", "readAfterWriteWindow": "1s"}}
    notes = helm.run("install", release[0], chart, *release[1:], "--plain-http", "--wait", "--timeout", "90s", values=values)
    assert "examples/minimal.yaml" in notes
    done("install")

    demo, nodes = cluster("demo", version=BEFORE, accountRef={"name": "main"}), node_group("demo")
    on.apply(account("main", ACCOUNT), demo, nodes)
    on.ready(demo, nodes)
    assert f" {BEFORE} " in output(on, "get", "-n", "default")
    done("cluster")

    # A name that nobody has created yet.
    watching = prometheus()
    broken = cluster("broken", version=AFTER, accountRef={"name": "other"}, changePolicy="Observe")
    on.apply(broken)
    firing = lambda: [alert["name"] for alert in watching.firing("KeelsonClusterNotReady")]  # noqa: E731
    until(lambda: firing() == ["broken"], 30, "the alert")
    done("alert fires")
    assert "other" in output(on, "status", "broken", "-n", "default")
    on.delete(broken)
    until(lambda: firing() == [], 30, "the alert to resolve")
    done("alert resolves")

    watch = Following(on, "status", "demo", "-n", "default", "-w")
    try:
        watch.until("Available")
        on.api.patch(*key_of(demo)[:3], {"spec": {"version": AFTER}})
        watch.until("Upgrading")
        on.await_state(demo, lambda item: item["status"].get("version") == AFTER, 60, "the upgrade")
        on.ready(demo, nodes)
        watch.until("Available", times=watch.text.count("Available") + 1)
    finally:
        watch.stop()
    done("upgrade")

    generation = on.api.get(*key_of(demo))["metadata"]["generation"]
    change = until(
        lambda: [span for span in collector.changes("Ready") if span["keelson.change.generation"] == generation and span.name == "change EksCluster"],
        20, "the trace of the upgrade",
    )[0]
    calls = [span for span in collector.traces()[change.trace] if span["rpc.method"] == "UpdateClusterVersion"]
    assert len(calls) == 1 and calls[0]["aws.request_id"]
    done("trace")

    on.delete(nodes, demo)
    kept = helm.run("uninstall", *release, "--wait", "--timeout", "60s")
    assert "kept due to the resource policy" in kept
    assert on.aws.inventory()["empty"]
    done("deletion and uninstall")
    with capsys.disabled():
        print("\n  " + ", ".join(f"{part} {taken:.0f} s" for part, taken in seconds.items()))
