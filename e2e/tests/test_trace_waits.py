"""Traces of changes that fail or wait: the failed step with AWS's code, how the change ended, and each wait, over restarts of the operator."""

from __future__ import annotations

import datetime
import itertools
import time

import pytest

from fleet.environment import Environment, environment, stays, until
from fleet.manifests import cluster, key_of, node_group
from fleet.shop import Shop
from fleet.upgrading import SMALL, far_window
from gates.scenes import opens_soon
from keelson_harness.collector import Collector, Span
from test_traces import EXPORT_SECONDS, flags, next_minor

MISSING_SUBNET = {"code": "Ec2SubnetNotFound", "message": "subnet-1 is gone"}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False) as started:
        yield started


def await_span(collector: Collector, what: str, **attributes: object) -> Span:
    """Waits for a span with that name and attributes, whose names have `_` for dots."""
    wanted = {name.replace("__", "."): value for name, value in attributes.items()}

    def found() -> list[Span]:
        return [span for span in collector.spans() if span.name == what and all(span[name] == value for name, value in wanted.items())]

    return until(found, EXPORT_SECONDS, f"the span {what} with {wanted}")[0]


def steady_wait(shop: Shop) -> dict:
    """What its change waits for, once that stays: checks before an upgrade may come first."""
    before: dict = {}
    while True:
        waiting = until(lambda: shop.found()["status"]["change"].get("waiting"), 20, "the wait in status")
        if waiting == before:
            return waiting
        before = waiting
        time.sleep(2)


def has_all_parents(collector: Collector) -> bool:
    return all({span.parent for span in spans} <= {"", *(span.id for span in spans)} for spans in collector.traces().values())


# Failures


def test_creation_that_fails_in_eks_is_an_error_with_the_code_of_eks(on: Environment):
    collector = on.cloud.collector()
    shop = Shop(on, nodes=True, by_role=False)
    fault = {"account": shop.account.id, "action": "CreateNodegroup"}
    on.aws.add_fault(fault, {"health_issue": MISSING_SUBNET})
    with on.operator(*flags(collector), account=shop.account.id):
        shop.apply()
        on.await_condition(shop.nodes, "Stalled", reason="Failed")
        failed = await_span(collector, "Creation nodeGroup", keelson__error__code="Ec2SubnetNotFound")
        assert "CREATE_FAILED" in failed.error and failed["error.message"] == failed.error
        assert failed["keelson.resource"].startswith("nodeGroup/") and failed["error.type"]
        assert failed.end - failed.start > 0.3, "it lasted from its start in EKS"
        reconcile = await_span(collector, "reconcile NodeGroup", keelson__ready__reason="Failed")
        assert "subnet-1 is gone" in reconcile["keelson.ready.message"]
        # In progress: nothing has ended, and no span is an orphan.
        created = [span for span in collector.roots() if span.name == "Create NodeGroup"]
        assert len(created) == 1 and failed.parent == created[0].id and has_all_parents(collector)
        assert [span for span in collector.changes() if span.trace == failed.trace] == []
        on.aws.clear_faults()
        on.delete(shop.nodes)
        until(lambda: collector.changes("Failed"), EXPORT_SECONDS, "the end of the creation")
        (change,) = collector.changes("Failed")
        assert (change.trace, change["error.type"]) == (failed.trace, "Failed") and "subnet-1 is gone" in change.error
        wait = await_span(collector, "wait Failed")
        assert wait.trace == failed.trace and "subnet-1 is gone" in wait.error and wait.end <= change.end + 1
        on.delete(shop.cluster)


def test_refused_call_fails_its_step_with_the_code_of_aws(on: Environment):
    collector = on.cloud.collector()
    shop = Shop(on, by_role=False)
    fault = {"account": shop.account.id, "action": "CreateCluster"}
    on.aws.add_fault(fault, {"error": {"code": "ResourceLimitExceededException", "message": "Cluster limit exceeded"}})
    with on.operator(*flags(collector), account=shop.account.id):
        shop.apply()
        on.await_condition(shop.cluster, status="False", reason="QuotaExceeded")
        step = await_span(collector, "Create cluster", error__type="quota")
        assert step["keelson.error.code"] == "ResourceLimitExceededException" and "Cluster limit exceeded" in step["error.message"]
        (call,) = [span for span in collector.spans() if span.parent == step.id]
        assert (call.name, call["error.type"]) == ("eks/CreateCluster", "ResourceLimitExceededException")
        assert call["aws.request_id"] and call["http.response.status_code"] == 400 and "Cluster limit exceeded" in call.error
        on.aws.clear_faults()
        on.force_delete(shop.cluster)
    on.aws.reset_account(shop.account.id)


# Waits


def test_wait_for_an_approval_survives_a_restart_and_the_change_ends_after_it(on: Environment):
    collector = on.cloud.collector()
    shop = Shop(on, by_role=False, changePolicy="Approval")
    operator = on.start(*flags(collector), account=shop.account.id)
    shop.make()
    version = next_minor(shop.cluster["spec"]["version"])
    shop.edit(version=version)
    hash_ = shop.asks()["plan"]["hash"]
    waiting = steady_wait(shop)
    assert waiting["reason"] == "WaitingForApproval"
    reconcile = await_span(collector, "reconcile EksCluster", keelson__ready__reason="WaitingForApproval")
    root = {span.trace: span for span in collector.roots()}[reconcile.trace]
    assert root.name == "Update EksCluster" and has_all_parents(collector)
    operator.process.kill()
    with on.operator(*flags(collector), account=shop.account.id):
        stays(lambda: root.trace not in {span.trace for span in collector.changes()}, 2)
        # The new leader repeats the checks of an upgrade, and then waits again: two spans of one wait.
        waiting = steady_wait(shop)
        assert waiting["reason"] == "WaitingForApproval"
        shop.approve(hash_)
        change = until(lambda: [span for span in collector.changes("Ready") if span.trace == root.trace], 90, "the end")[0]
        await_span(collector, "wait WaitingForApproval")
        wait = max((span for span in collector.traces()[root.trace] if span.name == "wait WaitingForApproval"), key=lambda span: span.start)
        assert wait.start == datetime.datetime.fromisoformat(waiting["since"]).timestamp()
        assert (wait.parent, wait.error) == (root.id, "") and hash_ in wait["keelson.wait.message"]
        assert change.start <= wait.start and wait.end < change.end and wait.end - wait.start >= 2
        assert "AnnotationChanged" in {span["keelson.reconcile.trigger"] for span in collector.traces()[root.trace]}
        assert "waiting" not in shop.found()["status"]["change"]
        # Its deletion would wait for an approval as well.
        on.force_delete(shop.cluster)
    on.aws.reset_account(shop.account.id)


def test_upgrade_that_waits_for_its_window_and_soaks_is_one_trace_over_restarts(on: Environment):
    collector = on.cloud.collector()
    shop = Shop(on, by_role=False, version="1.32")
    operator = on.start(*flags(collector), account=shop.account.id)
    shop.make()
    shop.edit(version="1.34", upgrade={"windows": [opens_soon(8)], "soak": "4s"})
    waiting = until(lambda: shop.found()["status"]["change"].get("waiting"), 20, "the wait in status")
    assert waiting["reason"] == "OutsideMaintenanceWindow"
    generation = shop.found()["metadata"]["generation"]
    operator.process.kill()
    with on.operator(*flags(collector), account=shop.account.id):
        stays(lambda: generation not in {span["keelson.change.generation"] for span in collector.changes()}, 2)
        change = until(lambda: [span for span in collector.changes("Ready") if span["keelson.change.generation"] == generation], 180, "the end")[0]
        trace = collector.traces()[change.trace]
        waits = [span for span in trace if span.name.startswith("wait ") and not span.error]
        # Each leader has a span of its own for one wait.
        names = [name for name, _ in itertools.groupby(span.name for span in sorted(waits, key=lambda span: span.start))]
        assert names[:2] == ["wait OutsideMaintenanceWindow", "wait Soaking"], waits
        windows = sorted((span for span in waits if span.name == names[0]), key=lambda span: span.start)
        window = windows[-1]
        assert "window opens" in window["keelson.wait.message"] and change.start <= windows[0].start < window.end < change.end
        updates = [span for span in trace if span.name == "VersionUpdate cluster"]
        assert len(updates) == 2 and all(span.start >= window.end - 2 for span in updates), "nothing started before the window"
        assert {span.parent for span in waits + updates} == {change.parent} and has_all_parents(collector)
        on.delete(shop.cluster)


def test_change_that_waits_for_a_window_stays_open_until_the_next_edit(on: Environment):
    """An upgrade, and a version of an add-on for which a cluster stays Ready."""
    collector = on.cloud.collector()
    shop = Shop(on, by_role=False, version="1.33", addons=[{"name": "kube-proxy"}], upgrade={"windows": [far_window()]})
    with on.operator(*flags(collector), account=shop.account.id):
        shop.make()
        installed = shop.found()["status"]["addons"][0]["version"]
        versions = shop.account.eks.describe_addon_versions(addonName="kube-proxy", kubernetesVersion="1.33")["addons"][0]["addonVersions"]
        other = next(offer["addonVersion"] for offer in versions if offer["addonVersion"] != installed)
        shop.edit(addons=[{"name": "kube-proxy", "version": other}])
        waiting = until(lambda: shop.found()["status"]["change"].get("waiting"), 30, "the wait for a window")
        assert waiting["reason"] == "OutsideMaintenanceWindow"
        assert on.condition(shop.cluster)["status"] == "True"
        generation = shop.found()["metadata"]["generation"]
        stays(lambda: "endedAt" not in shop.found()["status"]["change"], 2)
        shop.edit(version="1.34", addons=[{"name": "kube-proxy"}])
        until(lambda: [span for span in collector.changes("Superseded") if span["keelson.change.generation"] == generation], EXPORT_SECONDS, "the end")
        on.await_condition(shop.cluster, status="False", reason="OutsideMaintenanceWindow", timeout=30)
        shop.edit(version="1.33")
        until(lambda: [span for span in collector.changes("Superseded") if span["keelson.change.generation"] == generation + 1], EXPORT_SECONDS, "the next end")
        waits = [span for span in collector.spans() if span.name == "wait OutsideMaintenanceWindow"]
        assert {span["keelson.change.generation"] for span in waits} == {generation, generation + 1}
        assert all("window" in span["keelson.wait.message"] and not span.error for span in waits)
        on.ready(shop.cluster)
        on.delete(shop.cluster)


def test_replacement_of_nodes_that_waits_for_a_window_keeps_the_change_open(on: Environment):
    collector = on.cloud.collector()
    item = cluster("trace-window", upgrade={"windows": [far_window()]}, **SMALL)
    nodes = node_group("trace-window", "trace-window-nodes", node={"metadata": {"httpPutResponseHopLimit": 2}})
    with on.operator(*flags(collector)):
        on.apply(item, nodes)
        on.ready(item, nodes)
        on.api.patch(*key_of(nodes)[:3], {"spec": {"node": {"metadata": {"httpPutResponseHopLimit": 3}}}})
        status = on.await_state(nodes, lambda found: found["status"]["change"].get("waiting"), 30, "the wait")["status"]
        assert status["change"]["waiting"]["reason"] == "OutsideMaintenanceWindow" and "endedAt" not in status["change"]
        assert on.condition(nodes)["status"] == "True"
        on.delete(nodes, item)
