"""A tenant stores an object that the operator cannot read: it is isolated and reported, all others are reconciled, nothing is deleted.

First on a management cluster without the admission policies, as on Kubernetes before 1.30; then with them.
"""

from __future__ import annotations

import itertools
import time

import pytest

from attacks.tenant import Tenant, install_admission, tenant
from fleet.account import fresh_account
from fleet.manifests import account as aws_account
from fleet.manifests import key_of
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import REGION, Durations
from keelson_harness.kubeapi import ApiError

SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None", "publicSubnets": False}}}
MALLORY, SHOP = "team-mallory", "team-shop"
GAUGE = 'keelson_objects_unreadable{kind="EksCluster"} '


@pytest.fixture(scope="module")
def on():
    with environment(own_control_plane=True, workload=False, git=False, durations=Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> str:
    account = fresh_account()
    on.apply(aws_account("shared", account))
    return account


@pytest.fixture(scope="module")
def operator(on, account):
    return on.start(account=account)


@pytest.fixture(scope="module")
def mallory(on) -> Tenant:
    return tenant(on, MALLORY)


@pytest.fixture(scope="module")
def shop(on) -> Tenant:
    return tenant(on, SHOP)


def nested(depth: int) -> dict:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return {"x": value}


def cluster(owner: Tenant, name: str, configuration: dict | None = None, **spec) -> dict:
    addon = {"name": "vpc-cni", **({"configuration": configuration} if configuration else {})}
    full_spec = {"region": REGION, "version": "1.34", "accountRef": {"name": "shared"}, "addons": [addon], **SMALL, **spec}
    return owner.object("EksCluster", name, full_spec)


def apply(owner: Tenant, item: dict) -> dict:
    error = owner.apply_error(item)
    assert error is None, error
    return item


def gauge(operator) -> str:
    return next((line.removeprefix(GAUGE) for line in operator.metrics().splitlines() if line.startswith(GAUGE)), "")


def await_isolated(on: Environment, item: dict, text: str) -> None:
    on.await_condition(item, "Stalled", reason="InvalidSpec", timeout=20)
    message = on.condition(item, "Ready")["message"]
    assert "cannot be read" in message and text in message, message


def test_unreadable_object_is_isolated_also_after_a_restart(on, operator, mallory, shop):
    poison = apply(mallory, cluster(mallory, "poison", nested(150)))
    await_isolated(on, poison, "spec.addons[0].configuration.x.a")
    first = apply(shop, cluster(shop, "first"))
    on.await_condition(first, "InSync")
    assert gauge(operator) == "1"
    operator.restart()
    on.await_ready(operator)
    apply(shop, cluster(shop, "first", tags={"after": "restart"}))
    until(lambda: "after" in on.account(operator.env["AWS_ACCESS_KEY_ID"]).eks.describe_cluster(name="first")["cluster"]["tags"], 30, "the tag")
    await_isolated(on, poison, "deeper than 32")
    # Once per operator process, however many watch events the object causes.
    assert operator.log.read_text().count("an object cannot be read") == 2
    on.delete(first)


def test_object_that_becomes_unreadable_keeps_its_aws_resources(on, operator, mallory, account):
    own = apply(mallory, cluster(mallory, "mine"))
    on.await_condition(own, "InSync")
    before, mark = on.account(account).inventory(), on.mark()
    apply(mallory, cluster(mallory, "mine", nested(150)))
    await_isolated(on, own, "deeper than 32")
    version, kind, name, namespace = key_of(own)
    assert on.status(own)["arn"], "status keeps the last observation"
    # Even a deletion of the unreadable object deletes nothing: it waits for a correction.
    mallory.api.delete(version, kind, name, namespace)
    time.sleep(2)
    assert actions(on.writes(mark, account)) == [] and on.account(account).inventory() == before
    assert on.api.find(version, kind, name, namespace)
    apply(mallory, cluster(mallory, "mine"))
    on.api.wait_gone(version, kind, name, namespace, 60)
    until(lambda: gauge(operator) == "1", 10, "the gauge")


def test_unreadable_node_group_blocks_deletion_of_its_cluster(on, operator, mallory, account):
    """The API server keeps objects that an earlier CRD version allowed; here the test loosens the schema."""
    pair = apply(mallory, cluster(mallory, "held"))
    group = mallory.object("NodeGroup", "held-default", {"clusterRef": {"name": "held"}, "scaling": {"min": 1, "max": 1}})
    apply(mallory, group)
    on.await_condition(group, timeout=90)
    crd = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "nodegroups.keelson.dev")
    versions = on.api.get(*crd)["spec"]["versions"]
    loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    reference = {"type": "object", "properties": {"name": {"type": "string"}}}
    spec = {**loose, "properties": {"clusterRef": reference}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": loose}}}
    on.api.patch(*crd, {"spec": {"versions": [{**versions[0], "schema": schema}]}}, None)
    try:
        version, kind, name, namespace = key_of(group)
        until(lambda: store_invalid_labels(on, group), 20, "the loose schema")
        on.await_condition(group, "Stalled", reason="InvalidSpec", timeout=20)
        on.await_condition(pair, "Stalled", reason="InvalidSpec", timeout=20)
        before = on.account(account).eks.list_nodegroups(clusterName="held")["nodegroups"]
        mallory.api.delete(*key_of(pair))
        time.sleep(3)
        assert on.account(account).eks.list_nodegroups(clusterName="held")["nodegroups"] == before != []
        on.api.patch(version, kind, name, {"spec": {"labels": None}}, namespace)
    finally:
        on.api.patch(*crd, {"spec": {"versions": versions}}, None)
    on.api.wait_gone(*key_of(pair), 90)
    assert "held" not in on.account(account).eks.list_clusters()["clusters"]


def store_invalid_labels(on: Environment, group: dict) -> bool:
    version, kind, name, namespace = key_of(group)
    try:
        on.api.patch(version, kind, name, {"spec": {"labels": "none"}}, namespace)
    except ApiError:
        # The previous schema is still in force.
        return False
    return True


def with_metadata(item: dict, **metadata: dict) -> dict:
    return {**item, "metadata": {**item["metadata"], **metadata}}


OVERSIZED = {"annotations": {"example.com/fat": "x" * 17_000}, "labels": {f"l{n}": "v" for n in range(70)}}


@pytest.fixture(scope="module")
def oversized(on, mallory) -> dict:
    """Stored before the policies are installed."""
    return apply(mallory, with_metadata(cluster(mallory, "fat", suspend=True), **OVERSIZED))


@pytest.fixture(scope="module")
def admission(on, mallory, oversized):
    install_admission(on)
    tries = itertools.count()

    def rejected() -> bool:
        # A different object each time: an object that is already stored is not rejected again.
        return mallory.apply_error(cluster(mallory, "probe", {**nested(150), "try": next(tries)})) is not None

    # Policies take effect some moments after they are stored.
    until(rejected, 20, "the admission policy")
    on.delete(cluster(mallory, "probe"))


@pytest.mark.parametrize(
    ("configuration", "text"),
    [
        (nested(20), "nested deeper than 16 levels"),
        (nested(150), "nested deeper than 16 levels"),
        ({"values": {f"k{n}": "v" * 90 for n in range(1500)}}, "more than 128 KiB"),
        ({"values": {f"k{n}": "v" * 90 for n in range(10000)}}, "more than 128 KiB"),
        ({f"k{n}": n for n in range(500)}, "must have at most 200 items"),
    ],
    ids=["deep", "very deep", "large", "very large", "many"],
)
def test_unreadable_configuration_is_rejected_at_admission(on, mallory, admission, configuration, text):
    error = mallory.apply_error(cluster(mallory, "refused", configuration))
    assert error and text in error, error


@pytest.mark.parametrize("depth", [20, 100])
def test_deep_node_config_is_rejected_at_admission(on, mallory, admission, depth):
    nodes = {"clusterRef": {"name": "none"}, "scaling": {"min": 1, "max": 1}, "suspend": True}
    deep = mallory.object("NodeGroup", "deep", {**nodes, "node": {"nodeConfig": nested(depth)}})
    error = mallory.apply_error(deep)
    assert error and "spec.node.nodeConfig: it is nested deeper than 16 levels" in error, error
    flat = mallory.object("NodeGroup", "flat", {**nodes, "node": {"nodeConfig": nested(10)}})
    assert mallory.apply_error(flat) is None
    on.delete(flat)


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"annotations": {"keelson.dev/note": "x" * 17_000}}, "metadata.annotations: they take 17016 bytes, and 16384 is the limit"),
        ({"annotations": {f"example.com/n{n}": "x" * 1_000 for n in range(20)}}, "metadata.annotations: they take"),
        ({"annotations": {"example.com/wide": "\u00e4" * 9_000}}, "metadata.annotations: they take 18016 bytes"),
        ({"labels": {f"l{n}": "v" for n in range(65)}}, "metadata.labels: there are 65, and 64 is the limit"),
    ],
    ids=["one annotation", "many annotations", "wide characters", "many labels"],
)
@pytest.mark.parametrize("kind", ["EksCluster", "NodeGroup"])
def test_excess_metadata_is_rejected_at_admission(on, mallory, admission, kind, metadata, text):
    item = cluster(mallory, "metadata", suspend=True)
    if kind == "NodeGroup":
        nodes = {"clusterRef": {"name": "none"}, "scaling": {"min": 1, "max": 1}, "suspend": True}
        item = mallory.object("NodeGroup", "metadata", nodes)
    error = mallory.apply_error(with_metadata(item, **metadata))
    assert error and text in error, error
    # Nor as a later edit that leaves the spec unchanged.
    apply(mallory, item)
    with pytest.raises(ApiError, match=text):
        mallory.api.patch(*key_of(item)[:3], {"metadata": metadata}, MALLORY)
    # kubectl's last-applied-configuration of an accepted manifest is allowed.
    applied = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x" * 40_000}, "labels": {f"l{n}": "v" for n in range(60)}}
    mallory.api.patch(*key_of(item)[:3], {"metadata": applied}, MALLORY)
    on.delete(item)


def test_object_with_preexisting_excess_metadata_can_be_edited_and_deleted(on, mallory, admission, oversized):
    mallory.api.patch(*key_of(oversized)[:3], {"spec": {"tags": {"team": "mallory"}}}, MALLORY)
    with pytest.raises(ApiError, match="metadata.annotations: they take 17028 bytes"):
        mallory.api.patch(*key_of(oversized)[:3], {"metadata": {"annotations": {"example.com/x": ""}}}, MALLORY)
    reduced = {"annotations": {"example.com/fat": "x" * 16_900}, "labels": {"l0": None}}
    mallory.api.patch(*key_of(oversized)[:3], {"metadata": reduced}, MALLORY)
    on.delete(oversized)


def test_normal_configuration_is_accepted_and_preexisting_unreadable_object_can_be_deleted(on, operator, mallory, admission):
    sensible = {"env": {"WARM_IP_TARGET": "2"}, "tolerations": [{"key": "a", "operator": "Exists"}], "x": nested(10)}
    item = apply(mallory, cluster(mallory, "sensible", sensible, suspend=True))
    on.delete(item)
    poison = cluster(mallory, "poison")
    on.delete(poison)
    until(lambda: gauge(operator) == "0", 10, "the gauge")
