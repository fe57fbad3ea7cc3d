"""deploy/monitoring with the real Prometheus: each alert is raised by a real fault and resolves when it is mended, and each panel has data.

All faults of objects and AWS occur at once, under one operator; then those of the operator itself, one after the other. `for` and the
ranges of the rules are seconds here; rules_test.yaml checks the real ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import requests

from fleet.environment import Environment, environment, stays, until
from fleet.manifests import cluster, key_of
from keelson_harness.aws import ACCOUNT, Durations
from keelson_harness.cloud import NAMESPACE
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import documents
from keelson_harness.paths import DEPLOY
from keelson_harness.prometheus import MONITORING, RULES, Prometheus, prometheus_tools, shortened
from keelson_harness.webhook import Webhook
from faults import SMALL
from faults.scenes import OUTAGE
from monitoring import Metric, alert_rules, documented_metrics, exposed_metrics, queries
from monitoring.faults import Faults

HOLD, WINDOW = "3s", "20s"
FLAGS = ("--drift-interval=3s", "--retry-period=1s")
LEASE = ("coordination.k8s.io/v1", "Lease", "keelson", NAMESPACE)
# A label that names what an alert is about: the first of these that it has.
SUBJECT = ("name", "account", "kind", "job")

# Which alert fires for what, while all faults of objects and AWS last.
FIRING = {
    "KeelsonClusterUnavailable": {"empty", "remote"},
    "KeelsonClusterNotReady": {"quota", "denied", "throttled", "secretless", "keyless"},
    "KeelsonObjectStalled": {"quota", "blocked", "canary"},
    "KeelsonUpgradeBlocked": {"blocked"},
    "KeelsonRolloutHalted": {"fleet"},
    "KeelsonGitOpsFailing": {"secretless"},
    "KeelsonClusterOutOfContact": {"remote"},
    "KeelsonApprovalPending": {"asks"},
    "KeelsonStandardSupportEndsSoon": {"aging"},
    "KeelsonExtendedSupportEndsSoon": {"aged"},
    "KeelsonCredentialsUnavailable": {"keyless"},
    "KeelsonAccessDenied": {"denied"},
    "KeelsonObjectUnreadable": {"EksCluster"},
    "KeelsonEventQueueUnreachable": {"keelson"},
    "KeelsonNotificationsFailing": {"keelson"},
}
# After all are mended: no Flux runs here, so these two never apply a revision.
REMAINING = {"KeelsonClusterUnavailable": {"remote", "secretless"}}
OF_THE_OPERATOR = ("KeelsonAwsThrottled", "KeelsonReconcileErrors", "KeelsonNoLeader", "KeelsonDown", "KeelsonReconcilePanicked")


@dataclass
class Watched:
    """An operator that Prometheus scrapes with its own token."""

    on: Environment
    operator: Controller
    prometheus: Prometheus
    token: str
    started: float = field(default_factory=time.time)

    def subjects(self, alert: str) -> set[str]:
        """What a firing alert is about; an alert about an absence has no such label."""
        return {next((labels[name] for name in SUBJECT if name in labels), "nothing") for labels in self.prometheus.firing(alert)}

    def await_firing(self, alert: str, subjects: set[str] | None = None, seconds: float = 60) -> None:
        try:
            until(lambda: (found := self.subjects(alert)) and subjects in (None, found), seconds, alert)
        except AssertionError as error:
            raise AssertionError(f"{error}: fires for {self.subjects(alert)}, expected {subjects}") from None

    def await_resolved(self, alert: str, seconds: float = 60) -> None:
        remaining = REMAINING.get(alert, set())
        until(lambda: self.subjects(alert) == remaining, seconds, f"{alert} to resolve, which fires for {self.subjects(alert)}")

    def metrics(self) -> str:
        answer = requests.get(f"{self.operator.url}/metrics", headers={"Authorization": f"Bearer {self.token}"}, timeout=5)
        answer.raise_for_status()
        return answer.text


@pytest.fixture(scope="module")
def on():
    prometheus_tools()
    with environment(flux=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def queue_url(on) -> str:
    url = on.account(ACCOUNT).client("sqs").create_queue(QueueName="keelson-events")["QueueUrl"]
    on.aws.control("POST", "settings", json={"EVENT_QUEUE_URL": url})
    return url


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    started = Webhook()
    yield started
    started.close()


@pytest.fixture(scope="module")
def watched(on, queue_url, webhook) -> Iterator[Watched]:
    key = on.cloud.directory / "notification-key"
    key.write_text(f"{webhook.key}\n")
    env = {"KEELSON_METRICS_AUTH": "true", "KEELSON_NOTIFY_URL": webhook.url, "KEELSON_NOTIFY_SECRET_FILE": str(key)}
    operator = on.start(*FLAGS, f"--event-queue-url={queue_url}", env=env)
    for path in (DEPLOY / "metrics-reader.yaml", MONITORING / "service-account.yaml"):
        on.api.apply_all(documents(path))
    token = on.api.service_account_token(NAMESPACE, "keelson-metrics")
    rules = shortened(RULES.read_text(), HOLD, WINDOW)
    prometheus = Prometheus(on.cloud.directory / "prometheus", [operator.url.removeprefix("http://")], token, rules)
    try:
        prometheus.wait_ready()
        yield Watched(on, operator, prometheus, token)
    finally:
        prometheus.stop()


@pytest.fixture(scope="module")
def prepared(watched, webhook) -> Faults:
    """Ready clusters, which no alert is about."""
    queue_url = watched.on.account(ACCOUNT).client("sqs").get_queue_url(QueueName="keelson-events")["QueueUrl"]
    found = Faults(watched.on, queue_url, webhook)
    found.prepare()
    return found


@pytest.fixture(scope="module")
def faults(watched, prepared) -> Faults:
    prepared.provoke()
    return prepared


def test_prometheus_scrapes_the_operator_with_the_token_of_its_service_account(watched):
    (target,) = until(lambda: [t for t in watched.prometheus.targets() if t["health"] != "unknown"], 10, "a scrape")
    assert (target["health"], target["lastError"]) == ("up", "")
    assert requests.get(f"{watched.operator.url}/metrics", timeout=5).status_code == 401
    (leader,) = until(lambda: watched.prometheus.query("keelson_leader == 1"), 20, "the leader")
    assert leader["metric"]["job"] == "keelson"


def test_healthy_cluster_that_is_created_changed_and_suspended_raises_no_alert(watched, prepared):
    on, item = watched.on, prepared.ready["blocked"].cluster
    version, kind, name, namespace = key_of(item)
    for spec in ({"tags": {"team": "a"}}, {"suspend": True}, {"suspend": False, "tags": {"team": "b"}}):
        generation = on.api.patch(version, kind, name, {"spec": spec}, namespace)["metadata"]["generation"]
        until(lambda: on.status(item).get("observedGeneration") == generation, 30, f"the reconcile of {spec}")  # noqa: B023
    on.await_condition(item, "InSync", timeout=30)

    def unexpected() -> list[dict]:
        alerts = [alert["labels"] for alert in watched.prometheus.alerts()]
        return [labels for labels in alerts if labels.get("name") not in REMAINING.get(labels["alertname"], ())]

    until(lambda: not unexpected(), 20, "alerts of the creation to resolve")
    stays(lambda: not unexpected(), 4, "silence")
    # Neither while it was created and changed.
    raised = watched.prometheus.query('count by (alertname, name) (max_over_time(ALERTS{alertstate="firing", name="blocked"}[10m]))')
    assert raised == []


@pytest.mark.parametrize("alert", FIRING)
def test_alert_fires_for_its_fault_and_nothing_else(watched, faults, alert):
    watched.await_firing(alert, FIRING[alert], 90)


def test_throttling_names_service_account_and_region(watched, faults):
    watched.await_firing("KeelsonAwsThrottled")
    account = watched.on.api.get("keelson.dev/v1alpha1", "AwsAccount", "throttled", None)["spec"]["accountId"]
    found = watched.prometheus.firing("KeelsonAwsThrottled")
    assert [(one["service"], one["account"], one["region"]) for one in found] == [("ec2", account, "eu-west-1")]


def test_alert_has_the_namespace_of_its_object_not_of_the_operator(watched, faults):
    watched.await_firing("KeelsonCredentialsUnavailable", {"keyless"})
    found = watched.prometheus.firing("KeelsonCredentialsUnavailable")
    assert {one["kind"]: one.get("namespace") for one in found} == {"AwsAccount": None, "EksCluster": "default"}


def test_annotations_name_the_object_and_the_runbook(watched, faults):
    watched.await_firing("KeelsonObjectStalled", FIRING["KeelsonObjectStalled"])
    (alert,) = [
        a for a in watched.prometheus.alerts() if (a["labels"]["alertname"], a["labels"].get("name")) == ("KeelsonObjectStalled", "quota")
    ]
    assert alert["annotations"]["description"].startswith("EksCluster default/quota has been Stalled")
    assert alert["annotations"]["runbook_url"].endswith("docs/runbooks.md#keelsonobjectstalled")


@pytest.fixture(scope="module")
def mended(watched, faults) -> Faults:
    for alert, subjects in FIRING.items():
        watched.await_firing(alert, subjects)
    watched.await_firing("KeelsonAwsThrottled")
    faults.retry_while_throttled()
    until(lambda: watched.prometheus.query("keelson_aws_deferrals_total"), 20, "a deferred call")
    faults.mend()
    return faults


@pytest.mark.parametrize("alert", [*FIRING, "KeelsonAwsThrottled"])
def test_alert_resolves_when_the_fault_is_mended(watched, mended, alert):
    watched.await_resolved(alert, 90)


# The operator itself.


def test_outage_of_aws_raises_reconcile_errors(watched, mended):
    rule = watched.on.aws.add_fault({}, OUTAGE)
    watched.await_firing("KeelsonReconcileErrors")
    watched.on.aws.control("DELETE", "faults", params={"id": rule})
    watched.await_resolved("KeelsonReconcileErrors")


def test_lease_of_another_raises_no_leader(watched, mended):
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": "elsewhere", "leaseDurationSeconds": 3600, "renewTime": now}
    watched.on.api.patch(*LEASE[:3], {"spec": spec}, NAMESPACE)
    watched.await_firing("KeelsonNoLeader")
    assert not watched.subjects("KeelsonDown")
    watched.on.api.delete(*LEASE)
    watched.await_resolved("KeelsonNoLeader")


def test_operator_that_does_not_run_raises_down_and_one_that_panics_is_reported(watched, mended):
    """The second process has a fault of debug builds: each reconcile panics after its first write."""
    on, operator = watched.on, watched.operator
    operator.kill()
    watched.await_firing("KeelsonDown")
    operator.env["KEELSON_FAULT_PANIC_AFTER_WRITE"] = "1"
    operator.restart()
    on.await_ready(operator)
    watched.await_resolved("KeelsonDown")
    item = cluster("panics", accountRef={"name": "remote"}, **SMALL)
    on.apply(item)
    watched.await_firing("KeelsonReconcilePanicked")
    del operator.env["KEELSON_FAULT_PANIC_AFTER_WRITE"]
    operator.restart()
    on.await_ready(operator)
    watched.await_resolved("KeelsonReconcilePanicked")
    on.ready(item)


def test_every_alert_was_raised(watched):
    assert {*FIRING, *OF_THE_OPERATOR} == set(alert_rules())


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: f"{query.dashboard}-{query.panel}")
def test_every_panel_has_data(watched, mended, query):
    expression = query.filled(namespace="default", name="remote")
    found = watched.prometheus.query_range(expression, watched.started, time.time())
    assert found, f"{query.panel}: no data for {expression}"


@pytest.fixture(scope="module")
def exposed(watched, mended) -> dict[str, Metric]:
    return exposed_metrics(watched.metrics())


def test_exposed_metrics_are_documented_with_their_labels(exposed):
    documented = documented_metrics()
    assert set(exposed) - set(documented) == set(), "metrics without a line in docs/monitoring.md"
    wrong = {name: (metric, documented[name]) for name, metric in exposed.items() if metric != documented[name]}
    assert not wrong
