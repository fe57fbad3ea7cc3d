"""An operator that is newer than the installed CRDs: people see it without reading its log."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from fleet.command_line import output, run
from fleet.environment import Environment, environment, until
from fleet.manifests import cluster
from keelson_harness.aws import Durations
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import documents
from keelson_harness.paths import CRDS

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "eksclusters.keelson.dev", None)
LACKS = "lack EksCluster status.synced"


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False, durations=Durations(0.5, 0.5, 0.5, 0.5, 0.2, 0.2)) as started:
        yield started


@contextmanager
def older_crds(on: Environment) -> Iterator[None]:
    """The CRD of EksClusters is of a version whose status has no `synced`."""
    (now,) = documents(CRDS / "eksclusters.yaml")
    older = copy.deepcopy(now)
    del older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["synced"]
    replace(on, older)
    # The API server publishes its schema after a moment.
    until(lambda: LACKS in output(on, "version"), 30, "the schema")
    try:
        yield
    finally:
        replace(on, now)


def replace(on: Environment, crd: dict) -> None:
    version = on.api.get(*CRD)["metadata"]["resourceVersion"]
    body = {**crd, "metadata": {**crd["metadata"], "resourceVersion": version}}
    on.api.request("PUT", on.api.path_of(crd), data=json.dumps(body), headers={"Content-Type": "application/json"})


def readyz(operator: Controller) -> str:
    """The response of the probe; empty while the port is closed."""
    try:
        return requests.get(f"{operator.url}/readyz", timeout=5).text
    except requests.ConnectionError:
        return ""


def test_replica_is_not_ready_and_the_commands_name_what_is_missing(on):
    item = cluster("older", addons=[], changePolicy="Observe")
    on.apply(item)
    with older_crds(on), on.operator("--leader-election", wait=False) as started:
        until(lambda: LACKS in readyz(started), 30, "the reason of /readyz")
        until(lambda: "keelson_leader 1" in started.metrics(), 40, "the lease")
        until(lambda: LACKS in readyz(started), 30, "the reason of the leader's /readyz")
        assert json.loads(output(on, "version", "-o", "json"))["operator"]["missingInCrds"] == ["EksCluster status.synced"]
        report = run(on, "doctor", "older", "-o", "json")
        (finding,) = [one for one in json.loads(report.stdout)[0]["findings"] if one["check"] == "CRDs"]
        assert finding["outcome"] == "failed" and LACKS in finding["message"], finding
        assert report.returncode == 1
    until(lambda: "CRDs" not in output(on, "version"), 30, "the schema of this version")
    on.force_delete(item)


def test_rejected_status_is_an_event_and_a_metric_until_the_crds_are_upgraded(on):
    item = cluster("rejected", addons=[], network={"vpc": {"zoneCount": 2}})
    with on.operator() as started:
        with older_crds(on):
            on.apply(item)

            def rejected() -> list[dict]:
                return [event for event in on.events(item) if event["reason"] == "StatusRejected"]

            events = until(rejected, 60, "the event")
            assert len(events) == 1 and events[0]["type"] == "Warning" and "synced" in events[0]["note"], events
            counted = 'keelson_reconciles_total{kind="EksCluster",result="status_rejected"}'
            until(lambda: counted in started.metrics(), 30, "the metric")
        # It recovers by itself.
        until(lambda: on.condition(item).get("status") == "True" and on.status(item).get("synced"), 90, "Ready")
        on.delete(item)
