"""`--otlp-endpoint`: a change of an object is one trace, from the edit until the object is Ready, whatever processes work on it.

What a change waits for, and how it fails: `test_trace_waits.py`.

The collector is a sink of the harness (`keelson_harness/collector.py`), which reads OTLP as its specification has it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fleet import leaks
from fleet.environment import Environment, environment, stays, until
from fleet.killing import killed_at
from fleet.manifests import key_of
from fleet.shop import Shop
from keelson_harness.collector import CLIENT, INTERNAL, Collector, Span
from keelson_harness.controller import Controller
from keelson_harness.load import busy_factor

# Steady objects are compared with AWS all the time.
DRIFT_SECONDS = 1
# Longer than a batch waits, and than several drift intervals.
STEADY_SECONDS = 4
EXPORT_SECONDS = 15
# The value is quoted by nothing that Keelson prints.
CANARY = "canary-external-id-4711"
REMOVALS = ("Delete", "Detach", "Disassociate", "Release", "Remove", "Revoke", "Terminate", "Untag")
OBJECT = ("keelson.object.kind", "k8s.namespace.name", "keelson.object.name")


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False) as started:
        yield started


def flags(collector: Collector) -> tuple[str, ...]:
    return (f"--otlp-endpoint={collector.url}", f"--drift-interval={DRIFT_SECONDS}s", "--log-format=json")


def next_minor(version: str) -> str:
    major, minor = version.split(".")
    return f"{major}.{int(minor) + 1}"


def upgrade(shop: Shop) -> str:
    version = next_minor(shop.cluster["spec"]["version"])
    shop.edit(version=version)
    until(lambda: upgraded(shop, version), 90, f"the upgrade to {version}")
    return version


def upgraded(shop: Shop, version: str) -> bool:
    """Whether the cluster reports the end of the change, and the nodes followed."""
    status, nodes = shop.found().get("status", {}), shop.found(shop.nodes).get("status", {})
    change = status.get("change", {})
    return (status.get("version"), nodes.get("version"), change.get("type")) == (version, version, "Update") and "endedAt" in change


@dataclass
class Story:
    """The life of a cluster with a node group, and what was exported of it."""

    on: Environment
    shop: Shop
    operator: Controller
    collector: Collector
    writes: list[dict]
    # Spans at the end of each time without work: right after its beginning, and after it.
    steady_periods: list[tuple[int, int]]
    # When it was edited.
    edited: float

    def root(self, name: str) -> Span:
        (found,) = [span for span in self.collector.roots() if span.name == name]
        return found

    def change(self, name: str) -> Span:
        """The whole change of the trace with that root."""
        (found,) = [span for span in self.trace(name) if span.name.startswith("change ")]
        return found

    def trace(self, name: str) -> list[Span]:
        return self.collector.traces()[self.root(name).trace]


@pytest.fixture(scope="module")
def story(on) -> Iterator[Story]:
    collector = on.cloud.collector()
    shop = Shop(on, nodes=True)
    for item in shop.reference:
        item["spec"]["externalId"] = CANARY
    operator = on.start(*flags(collector))
    steady_periods = []

    def wait_steady() -> None:
        until(lambda: unexported(on, shop, collector) == [], EXPORT_SECONDS, "the export")
        time.sleep(2 * DRIFT_SECONDS)
        before = len(collector.spans())
        time.sleep(STEADY_SECONDS)
        steady_periods.append((before, len(collector.spans())))

    shop.make()
    until(lambda: all("endedAt" in shop.found(item)["status"]["change"] for item in shop.items), 30, "the end of the creation")
    wait_steady()
    edited = time.time()
    upgrade(shop)
    wait_steady()
    on.delete(shop.nodes, shop.cluster)
    until(lambda: unexported(on, shop, collector) == [], EXPORT_SECONDS, "the export")
    until(lambda: len(collector.changes("Deleted")) == 2, EXPORT_SECONDS, "the deletions")
    yield Story(on, shop, operator, collector, on.writes(shop.mark, shop.account.id), steady_periods, edited)
    on.aws.reset_account(shop.account.id)


def unexported(on: Environment, shop: Shop, collector: Collector) -> list[dict]:
    """The writes of the call log without a span of the same request id."""
    exported = {span["aws.request_id"] for span in collector.spans()}
    return [call for call in operators(on.writes(shop.mark, shop.account.id)) if call["requestId"] not in exported]


def operators(calls: list[dict]) -> list[dict]:
    """The calls of the operator, which assumes a role; the tests call AWS too."""
    return [call for call in calls if call.get("session")]


def test_each_change_is_one_trace_with_one_root(story):
    roots = sorted(span.name for span in story.collector.roots())
    assert roots == ["Create EksCluster", "Create NodeGroup", "Delete EksCluster", "Delete NodeGroup", "Update EksCluster"]
    assert len(story.collector.traces()) == len(roots)
    for root in story.collector.roots():
        change = story.change(root.name)
        assert change.parent == root.id and change.start == root.start and root.end - root.start < 0.01
        outcome = "Deleted" if root.name.startswith("Delete") else "Ready"
        assert (change["keelson.change.outcome"], change.error) == (outcome, "")
        for span in (root, change):
            assert span["keelson.object.uid"] and span["keelson.change.type"] == root.name.split()[0]


def test_upgrade_lasts_from_the_edit_until_ready(story):
    change = story.change("Update EksCluster")
    # Status has whole seconds.
    assert story.edited - 1 <= change.start <= story.edited + 3
    spans = story.trace("Update EksCluster")
    assert {span["keelson.object.kind"] for span in spans} >= {"EksCluster", "NodeGroup"}, "its nodes follow it"
    assert max(span.end for span in spans) <= change.end + 2
    operations = {(span["keelson.operation"], span["keelson.resource"]) for span in spans if span["keelson.operation"]}
    assert ("VersionUpdate", "cluster") in operations, operations


def test_every_span_has_its_parent(story):
    for spans in story.collector.traces().values():
        known = {span.id for span in spans}
        assert [span for span in spans if span.parent and span.parent not in known] == []


def test_every_write_is_a_span_with_its_request_id(story):
    assert len(operators(story.writes)) > 10
    by_request = {span["aws.request_id"]: span for span in story.collector.spans()}
    for call in operators(story.writes):
        span = by_request[call["requestId"]]
        assert span.name == f"{call['service']}/{call['action']}" and span.kind == CLIENT, span
        assert (span["rpc.system"], span["rpc.service"], span["rpc.method"]) == ("aws-api", call["service"], call["action"])
        assert (span["cloud.account.id"], span["keelson.write"]) == (story.shop.account.id, True)
        failed = call["status"] >= 400
        # What is to be deleted is gone.
        is_expected = failed and call["action"].startswith(REMOVALS) and span["keelson.call.outcome"] == "not_found"
        assert bool(span.error) == (failed and not is_expected), span
        assert (span["http.response.status_code"] == call["status"]) == failed, span


def test_answers_that_keelson_expects_are_no_errors(story):
    """It reads what it is about to create, and deletes until nothing is there."""
    spans = story.collector.spans()
    absent = [span for span in spans if span["keelson.call.outcome"] == "not_found"]
    assert {"eks/DescribeCluster", "eks/DescribeNodegroup"} <= {span.name for span in absent}
    for span in absent:
        assert (span.error, span["error.type"]) == ("", None) and 400 <= span["http.response.status_code"] < 500, span
    creation = {span.id: span for span in story.trace("Create EksCluster")}
    assert [span for span in creation.values() if span.error and span["http.response.status_code"] == 404] == []


def test_reconciles_say_why_they_ran(story):
    triggers = {name: [span["keelson.reconcile.trigger"] for span in story.trace(name) if span.name == "reconcile EksCluster"]
                for name in ("Create EksCluster", "Update EksCluster", "Delete EksCluster")}
    assert [of[0] for of in triggers.values()] == ["Created", "SpecEdited", "DeletionRequested"], triggers
    assert {"Poll"} <= set(triggers["Create EksCluster"]), triggers
    assert not {None, "Created", "SpecEdited", "DeletionRequested"} & {one for of in triggers.values() for one in of[1:]}, triggers
    last = [span for span in story.trace("Create EksCluster") if span.name == "reconcile EksCluster"][-1]
    assert last["keelson.ready.reason"] == "Available" and last["keelson.ready.message"], last


def test_steps_contain_their_calls_and_reconciles_their_steps(story):
    spans = {span.id: span for span in story.trace("Create EksCluster")}
    (create,) = [span for span in spans.values() if span.name == "eks/CreateCluster"]
    step = spans[create.parent]
    assert (step.name, step["keelson.action"], step["keelson.resource"], step.kind) == ("Create cluster", "Create", "cluster", INTERNAL)
    reconcile = spans[step.parent]
    assert reconcile.name == "reconcile EksCluster"
    assert [reconcile[name] for name in OBJECT] == ["EksCluster", "default", story.shop.name]
    assert reconcile.parent == story.root("Create EksCluster").id


def test_nothing_is_exported_of_steady_objects(story):
    assert len(story.steady_periods) == 2
    for before, after in story.steady_periods:
        assert before == after


def test_spans_name_the_process(story):
    for span in story.collector.spans():
        assert span.resource["service.name"] == "keelson" and span.resource["k8s.pod.name"] == "keelson-0"
        assert span.resource["service.version"] and span.resource["keelson.installation.id"]


def test_no_attribute_contains_a_secret(story):
    words = {CANARY, *story.on.aws.control("GET", "confidential")["confidential"]}
    text = "\n".join(story.collector.bodies)
    forms = {form for word in words for form in leaks.forms(word)}
    assert len(forms) > 10
    assert [form for form in forms if form in text] == []
    assert [pattern for pattern in leaks.TOKENS if re.search(pattern, text)] == []
    # The search finds what is there.
    assert story.shop.account.id in text


def test_log_lines_carry_the_ids_of_their_trace(story):
    lines = [json.loads(line) for line in story.operator.log.read_text().splitlines() if line.startswith("{")]
    spans = {(span.trace, span.id) for span in story.collector.spans()}
    writes = [line for line in lines if line.get("message") == "AWS call" and line.get("outcome") == "ok" and line["account"] == story.shop.account.id]
    written = [line for line in writes if re.match("Create|Delete|Update|Tag", line["action"])]
    assert len(written) > 10
    for line in written:
        assert (line["trace_id"], line["span_id"]) in spans, line
    (created,) = [line for line in written if line["action"] == "CreateCluster"]
    assert created["trace_id"] == story.root("Create EksCluster").trace


def test_killed_operators_continue_the_trace(on):
    """Each is killed at its third write; the last one brings the cluster to Ready."""
    collector = on.cloud.collector()
    shop = Shop(on, by_role=False)
    shop.apply()
    done = lambda: "endedAt" in shop.found().get("status", {}).get("change", {})  # noqa: E731
    killings = killed_at(on, shop.account.id, done, stride=3, when="after", flags=flags(collector))
    assert killings.starts > 1
    until(lambda: collector.changes("Ready"), EXPORT_SECONDS, "the end of the change")
    traces = collector.traces()
    assert len(traces) == 1, {span.name for spans in traces.values() for span in spans}
    ((root,), (change,)) = collector.roots(), collector.changes()
    reconciles = [span for span in collector.spans() if span.name == "reconcile EksCluster"]
    # What a killed process had not exported yet is missing.
    assert reconciles and change.parent == root.id
    assert "LeaderStarted" in {span["keelson.reconcile.trigger"] for span in reconciles}
    on.force_delete(shop.cluster)


def test_edit_in_the_middle_ends_the_trace_and_starts_another(on):
    collector = on.cloud.collector()
    shop = Shop(on, by_role=False)
    with on.operator(*flags(collector), account=shop.account.id):
        shop.apply()
        on.await_condition(shop.cluster, "Ready", "False")
        shop.edit(tags={"team": "payments"})
        on.ready(shop.cluster)
        until(lambda: len(collector.changes()) == 2, EXPORT_SECONDS, "the ends of both changes")
        by_type = {span["keelson.change.type"]: span for span in collector.changes()}
        created, edited = by_type["Create"], by_type["Update"]
        assert (created["keelson.change.outcome"], edited["keelson.change.outcome"]) == ("Superseded", "Ready")
        assert created.trace != edited.trace and not created.error
        on.delete(shop.cluster)


def test_correction_of_drift_is_a_trace_of_its_own(on):
    collector = on.cloud.collector()
    shop = Shop(on, by_role=False, tags={"team": "payments"})
    with on.operator(*flags(collector), account=shop.account.id):
        shop.apply()
        until(lambda: "endedAt" in shop.found().get("status", {}).get("change", {}), 60, "the end of the creation")
        arn = shop.account.eks.describe_cluster(name=shop.name)["cluster"]["arn"]
        shop.account.eks.untag_resource(resourceArn=arn, tagKeys=["team"])
        until(lambda: "reconcile EksCluster" in {span.name for span in collector.roots()}, 30, "the correction")
        (correction,) = [span for span in collector.roots() if span.name == "reconcile EksCluster"]
        spans = collector.traces()[correction.trace]
        assert "eks/TagResource" in {span.name for span in spans}
        assert correction["keelson.reconcile.trigger"] == "DriftInterval"
        on.delete(shop.cluster)


DOWN = "traces: the collector does not take spans"


def spans_metric(operator: Controller, result: str) -> int:
    (found,) = re.findall(rf'^keelson_trace_spans_total\{{result="{result}"\}} (\d+)', operator.metrics(), re.MULTILINE)
    return int(found)


def test_collector_that_is_down_affects_no_reconcile(on):
    collector = on.cloud.collector()
    collector.close()
    shop = Shop(on, by_role=False)
    with on.operator(*flags(collector), account=shop.account.id) as operator:
        started = time.monotonic()
        shop.apply()
        on.ready(shop.cluster)
        seconds = time.monotonic() - started
        until(lambda: spans_metric(operator, "dropped") > 0, 30, "dropped spans")
        assert spans_metric(operator, "exported") == 0
        collector.open()
        shop.edit(tags={"team": "payments"})
        until(lambda: collector.changes("Ready"), 30, "the next change")
        # Counted once the collector's answer has arrived.
        until(lambda: spans_metric(operator, "exported") > 0, 10, "exported spans")
        log = operator.log.read_text()
        assert log.count(DOWN) == 1 and "takes spans again" in log
        on.delete(shop.cluster)
    # The emulator's durations add up to about four seconds.
    assert seconds < 30 * busy_factor()


@pytest.mark.parametrize("status", [400, 503])
def test_collector_that_refuses_affects_no_reconcile(on, status):
    collector = on.cloud.collector()
    collector.status = status
    shop = Shop(on, by_role=False)
    with on.operator(*flags(collector), account=shop.account.id) as operator:
        shop.apply()
        on.ready(shop.cluster)
        until(lambda: spans_metric(operator, "dropped") > 0, 30, "dropped spans")
        assert f"HTTP status {status}" in operator.log.read_text()
        # The process does not wait for the collector at its end.
        on.force_delete(shop.cluster)
        stopped = time.monotonic()
        assert operator.stop() == 0
        assert time.monotonic() - stopped < 20 * busy_factor()
    on.aws.reset_account(shop.account.id)


def test_last_spans_are_exported_at_the_end_of_the_process(on):
    collector = on.cloud.collector()
    shop = Shop(on, by_role=False)
    with on.operator(*flags(collector), account=shop.account.id) as operator:
        shop.apply()
        until(lambda: "endedAt" in shop.found().get("status", {}).get("change", {}), 60, "the end of the creation")
        assert operator.stop() == 0
    assert len(collector.changes("Ready")) == 1
    on.force_delete(shop.cluster)
    on.aws.reset_account(shop.account.id)


def test_without_the_flag_there_are_no_traces_and_no_ids_in_the_log(on):
    shop = Shop(on, by_role=False)
    with on.operator("--log-format=json", account=shop.account.id) as operator:
        shop.apply()
        on.ready(shop.cluster)
        assert spans_metric(operator, "exported") == spans_metric(operator, "dropped") == 0
        assert "trace_id" not in operator.log.read_text()
        stays(lambda: on.api.get(*key_of(shop.cluster))["status"]["change"]["type"] == "Create", 1)
        on.delete(shop.cluster)
