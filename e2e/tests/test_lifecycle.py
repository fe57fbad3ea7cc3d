"""From the minimal manifest to a cluster that syncs its Git path, and its deletion. Real Flux, real API servers."""

from __future__ import annotations

import base64
import json
import time

import pytest
import requests
import yaml

from fleet import API, cluster_checks
from fleet.account import EC2_ID, OWNER
from fleet.manifests import DEFAULT_ADDONS, key_of, secret
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import ACCOUNT, REGION
from keelson_harness.kubeapi import documents
from keelson_harness.paths import EXAMPLES

CLUSTER = (API, "EksCluster", "demo")
GREETING = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "greeting", "namespace": "default"},
    "data": {"text": "hello from Git", "where": "${CLUSTER_NAME} in ${AWS_ACCOUNT_ID}"},
}
# None of these may appear in any output.
PASSWORD = "git-password-5fb1d"
AWS_SECRET = "aws-secret-key-93c77"
TOKENS = ("k8s-aws-v1.", "keelson-session-", "X-Amz-Signature=")
ALL_RESOURCES = {
    *("vpc", "internetGateway", "cluster", "role/cluster", "role/node", "routeTable/public"),
    *(f"subnet/{tier}/{REGION}{zone}" for tier in ("private", "public") for zone in "abc"),
    *(f"routeTable/private/{REGION}{zone}" for zone in "abc"),
    *(f"natGateway/{REGION}a", f"elasticIp/{REGION}a"),
    *(f"addon/{name}" for name in DEFAULT_ADDONS),
    "nodeGroup/demo-default",
}


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        yield started


@pytest.fixture(scope="module")
def operator(on):
    # Everything is observed every few seconds, so that a test can check what the operator does when steady.
    return on.start(
        "--drift-interval=2s",
        "--log-level=debug",
        env={"AWS_SECRET_ACCESS_KEY": AWS_SECRET, "KEELSON_ALLOW_AMBIENT_ACCOUNT": "false"},
    )


@pytest.fixture(scope="module")
def fleet(on):
    repository = on.cloud.git.repository("fleet")
    repository.commit({"clusters/demo/greeting.yaml": yaml.safe_dump(GREETING)})
    return repository


@pytest.fixture(scope="module")
def manifest(on, fleet) -> list[dict]:
    """`examples/minimal.yaml` with the test's repository and its Secret. Also applies the account that it needs."""
    on.apply(*documents(EXAMPLES / "account.yaml"))
    items = documents(EXAMPLES / "minimal.yaml")
    git = items[0]["spec"]["gitops"]["flux"]["source"]["git"]
    git.update(url=fleet.url, interval="2s", secretRef={"name": "fleet"})
    return items


@pytest.fixture(scope="module")
def demo(on: Environment, operator, manifest) -> dict:
    """The cluster of the manifest, Ready."""
    on.apply(secret("fleet", username="keelson", password=PASSWORD), *manifest)
    on.ready(*manifest)
    return on.api.get(*CLUSTER)


def test_minimal_manifest_becomes_ready_and_syncs_from_git(on, fleet, demo):
    head = fleet.commit()  # without changes
    revision = f"main@sha1:{head}"
    on.api.wait(
        *CLUSTER,
        lambda item: item["status"]["gitops"].get("lastAppliedRevision") == revision,
        timeout=30,
        what="the new revision",
    )
    greeting = on.cloud.workload.api.get("v1", "ConfigMap", "greeting")
    assert greeting["data"] == {"text": "hello from Git", "where": f"demo in {ACCOUNT}"}


def test_every_resource_exists_once_in_the_account(on, demo):
    account = on.account()
    assert set(account.resources()) == ALL_RESOURCES
    counts = account.counts()
    assert {kind: counts.get(kind) for kind in ("vpcs", "subnets", "addresses", "natGateways")} == {
        "vpcs": 1,
        "subnets": 6,
        "addresses": 1,
        "natGateways": 1,
    }
    assert counts["roles"] == 2 and counts["oidcProviders"] == 1


def test_ec2_and_iam_resources_are_tagged_with_their_owner(on, demo):
    account = on.account()
    # Nothing in this account is anybody else's.
    assert all(OWNER in tags for tags in account.roles().values())
    cluster_checks.assert_everything_is_tagged_with_its_owner(account, demo)
    cluster_checks.assert_subnets_are_tagged_for_load_balancers(account, demo, "demo")


def test_subnets_route_to_the_internet_through_their_gateway(on, demo):
    cluster_checks.assert_subnets_route_through_their_gateway(on.account(), demo)


def test_status_matches_aws(on, demo):
    item = on.api.get(*CLUSTER)
    cluster_checks.assert_status_matches_aws(on.account(), item, "demo")
    status = item["status"]
    assert {(addon["name"], addon["state"]) for addon in status["addons"]} == {
        (name, "ACTIVE") for name in DEFAULT_ADDONS
    }
    assert status["nodeGroups"] == {"ready": 1, "total": 1, "nodes": 2}
    assert status["gitops"]["agent"] == "flux" and status["gitops"]["objects"]["failing"] == 0


def test_status_resources_match_aws(on, demo):
    cluster_checks.assert_status_lists_every_resource(on.account(), on.api.get(*CLUSTER), ["nodeGroup/demo-default"])


def test_plan_of_a_ready_cluster_is_empty(on, demo):
    cluster_checks.assert_plan_is_empty(on.api.get(*CLUSTER))


def test_conditions_follow_the_contract(on, demo):
    parts = (*cluster_checks.PARTS, "GitOpsReady")
    nodes = on.api.get(API, "NodeGroup", "demo-default")
    cluster_checks.assert_conditions_follow_the_contract(on.api.get(*CLUSTER), nodes, parts)


def test_kubectl_get_columns(on, demo):
    row = on.api.table(*CLUSTER[:2], name="demo").splitlines()[1].split()
    assert row[:5] == ["demo", "True", "Available", "1.36", "1.36"]
    applied = on.status(demo)["gitops"]["lastAppliedRevision"]
    assert row[5] == applied.removeprefix("main@sha1:")[:7]
    wide = on.api.table(*CLUSTER[:2], name="demo", wide=True).splitlines()[1].split()
    assert wide[-3:] == [REGION, ACCOUNT, on.cloud.workload.url]
    row = on.api.table(API, "NodeGroup", name="demo-default", wide=True).splitlines()[1].split()
    assert row[:4] == ["demo-default", "demo", "True", "Available"]
    assert row[4:8] == ["1.36", "2", "2", "4"]
    release = on.account().eks.describe_nodegroup(clusterName="demo", nodegroupName="demo-default")
    assert row[-1] == release["nodegroup"]["releaseVersion"]


def test_every_create_has_an_event(on, demo, manifest):
    cluster_checks.assert_every_create_has_an_event(on, on.account(), manifest)


def test_steady_operator_observes_and_writes_nothing(on, demo):
    mark = on.mark()
    version = on.api.get(*CLUSTER)["metadata"]["resourceVersion"]
    read_actions = {"eks:DescribeCluster", "eks:DescribeNodegroup", "ec2:DescribeVpcs"}

    def calls() -> list[dict]:
        return [c for c in on.calls(mark) if c["service"] != "sts"]

    # Two observations of each: a write that follows the first would have happened.
    until(lambda: all(actions_of(calls()).count(a) > 1 for a in read_actions), 30, "two observations of each")
    assert actions(c for c in calls() if c["write"]) == []
    assert on.api.get(*CLUSTER)["metadata"]["resourceVersion"] == version, "status is written when steady"


def actions_of(calls: list[dict]) -> list[str]:
    return [f"{call['service']}:{call['action']}" for call in calls]


def test_suspended_cluster_causes_no_aws_calls(on, demo):
    on.api.patch(*CLUSTER, {"spec": {"suspend": True}})
    on.await_condition(demo, reason="Suspended", timeout=20)
    time.sleep(1)  # for calls in progress
    mark = on.mark()
    on.api.patch(*CLUSTER, {"spec": {"tags": {"team": "shop"}}})
    on.api.wait(
        *CLUSTER,
        lambda i: i["status"].get("observedGeneration") == i["metadata"]["generation"],
        timeout=20,
    )
    time.sleep(3)  # more than the drift interval
    assert actions(on.calls(mark)) == []
    on.api.patch(*CLUSTER, {"spec": {"suspend": False}})
    on.ready(demo)
    tags = on.account().eks.describe_cluster(name="demo")["cluster"]["tags"]
    assert tags["team"] == "shop"


def test_probes_and_metrics(on, operator, demo):
    url = operator.url
    for probe in ("healthz", "readyz"):
        assert requests.get(f"{url}/{probe}", timeout=2).status_code == 200
    answer = requests.get(f"{url}/metrics", timeout=2)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    samples = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    assert samples["keelson_leader"] == 1
    create_vpc_samples = [k for k in samples if k.startswith("keelson_aws_calls") and 'action="CreateVpc"' in k]
    assert [samples[k] for k in create_vpc_samples if 'outcome="ok"' in k] == [1], create_vpc_samples


def test_log_lines_are_json(operator, demo):
    lines = operator.log.read_text().splitlines()
    assert len(lines) > 10
    for line in lines:
        entry = json.loads(line)
        assert entry["level"] and entry["timestamp"] and entry["message"], line


def test_source_credentials_are_copied_and_updated(on, demo):
    def copied() -> list[str]:
        found = on.cloud.workload.api.list("v1", "Secret", "flux-system")
        return [base64.b64decode(v).decode() for s in found for v in (s.get("data") or {}).values()]

    assert PASSWORD in copied()
    on.apply(secret("fleet", username="keelson", password=f"{PASSWORD}-renewed"))
    annotation = {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}}
    on.api.patch(*CLUSTER, annotation)
    until(lambda: f"{PASSWORD}-renewed" in copied(), 30, "the renewed password")


def test_deletion_leaves_an_empty_account_and_no_objects(on, demo, manifest):
    ids = set(on.account().resources().values())
    on.delete(*manifest, timeout=90)
    assert on.account().inventory() == {}
    event_notes = " ".join(e["note"] for i in manifest for e in on.events(i) if e["reason"] == "Deleted")
    in_ec2 = {i for i in ids if EC2_ID.fullmatch(i)}
    assert len(in_ec2) > 10 and {i for i in in_ec2 if i not in event_notes} == set()
    assert on.writes(), "the call log is empty"
    assert [c for c in on.writes() if c["action"].startswith("Delete")]


def test_no_secret_is_in_logs_events_or_objects(on, operator, demo):
    """Last, so that everything above is in the output; at level debug."""
    output = operator.log.read_text()
    output += json.dumps(on.api.list("events.k8s.io/v1", "Event"))
    output += json.dumps([demo, on.api.list(API, "EksCluster"), on.api.list(API, "NodeGroup")])
    assert "demo" in output and len(output) > 10_000
    leaked = [word for word in (PASSWORD, AWS_SECRET, *TOKENS) if word in output]
    assert leaked == []
    assert key_of(demo)[2] in output
