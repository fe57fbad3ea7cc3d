"""A tenant stores an object that the operator cannot read: it is isolated and says so, everybody else goes on, nothing is deleted.

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
    with environment(workload=False, git=False, durations=Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)) as started:
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
    wanted = {"region": REGION, "version": "1.34", "accountRef": {"name": "shared"}, "addons": [addon], **SMALL, **spec}
    return owner.object("EksCluster", name, wanted)


def stored(owner: Tenant, item: dict) -> dict:
    refusal = owner.refusal(item)
    assert refusal is None, refusal
    return item


def gauge(operator) -> str:
    return next((line.removeprefix(GAUGE) for line in operator.metrics().splitlines() if line.startswith(GAUGE)), "")


def isolated(on: Environment, item: dict, words: str) -> None:
    on.await_condition(item, "Stalled", reason="InvalidSpec", timeout=20)
    message = on.condition(item, "Ready")["message"]
    assert "cannot be read" in message and words in message, message


def test_object_that_cannot_be_read_says_so_and_the_others_go_on_also_after_a_restart(on, operator, mallory, shop):
    poison = stored(mallory, cluster(mallory, "poison", nested(150)))
    isolated(on, poison, "spec.addons[0].configuration.x.a")
    first = stored(shop, cluster(shop, "first"))
    on.await_condition(first, "InSync")
    assert gauge(operator) == "1"
    operator.restart()
    on.await_ready(operator)
    stored(shop, cluster(shop, "first", tags={"after": "restart"}))
    until(lambda: "after" in on.account(operator.env["AWS_ACCESS_KEY_ID"]).eks.describe_cluster(name="first")["cluster"]["tags"], 30, "the tag")
    isolated(on, poison, "deeper than 32")
    # Once for each life of the operator, however often the object is told of.
    assert operator.log.read_text().count("an object cannot be read") == 2
    on.delete(first)


def test_object_that_becomes_unreadable_keeps_what_it_has_in_aws(on, operator, mallory, account):
    mine = stored(mallory, cluster(mallory, "mine"))
    on.await_condition(mine, "InSync")
    before, mark = on.account(account).inventory(), on.mark()
    stored(mallory, cluster(mallory, "mine", nested(150)))
    isolated(on, mine, "deeper than 32")
    version, kind, name, namespace = key_of(mine)
    assert on.status(mine)["arn"], "what was known of it stays in status"
    # Not even its deletion is taken for one by what cannot be read: it waits to be corrected.
    mallory.api.delete(version, kind, name, namespace)
    time.sleep(2)
    assert actions(on.writes(mark, account)) == [] and on.account(account).inventory() == before
    assert on.api.find(version, kind, name, namespace)
    stored(mallory, cluster(mallory, "mine"))
    on.api.wait_gone(version, kind, name, namespace, 60)
    until(lambda: gauge(operator) == "1", 10, "the gauge")


def test_node_group_that_cannot_be_read_holds_the_deletion_of_its_cluster(on, operator, mallory, account):
    """The API server stores what the CRDs of an earlier version allowed; here a field is taken from the schema's care."""
    pair = stored(mallory, cluster(mallory, "held"))
    group = mallory.object("NodeGroup", "held-default", {"clusterRef": {"name": "held"}, "scaling": {"min": 1, "max": 1}})
    stored(mallory, group)
    on.await_condition(group, timeout=90)
    crd = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "nodegroups.keelson.dev")
    kept = on.api.get(*crd)["spec"]["versions"]
    loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    reference = {"type": "object", "properties": {"name": {"type": "string"}}}
    spec = {**loose, "properties": {"clusterRef": reference}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": loose}}}
    on.api.patch(*crd, {"spec": {"versions": [{**kept[0], "schema": schema}]}}, None)
    try:
        version, kind, name, namespace = key_of(group)
        until(lambda: broken(on, group), 20, "the loose schema")
        on.await_condition(group, "Stalled", reason="InvalidSpec", timeout=20)
        on.await_condition(pair, "Stalled", reason="InvalidSpec", timeout=20)
        before = on.account(account).eks.list_nodegroups(clusterName="held")["nodegroups"]
        mallory.api.delete(*key_of(pair))
        time.sleep(3)
        assert on.account(account).eks.list_nodegroups(clusterName="held")["nodegroups"] == before != []
        on.api.patch(version, kind, name, {"spec": {"labels": None}}, namespace)
    finally:
        on.api.patch(*crd, {"spec": {"versions": kept}}, None)
    on.api.wait_gone(*key_of(pair), 90)
    assert "held" not in on.account(account).eks.list_clusters()["clusters"]


def broken(on: Environment, group: dict) -> bool:
    version, kind, name, namespace = key_of(group)
    try:
        on.api.patch(version, kind, name, {"spec": {"labels": "none"}}, namespace)
    except ApiError:
        # The schema of before is still in force.
        return False
    return True


def with_metadata(item: dict, **metadata: dict) -> dict:
    return {**item, "metadata": {**item["metadata"], **metadata}}


FAT = {"annotations": {"example.com/fat": "x" * 17_000}, "labels": {f"l{n}": "v" for n in range(70)}}


@pytest.fixture(scope="module")
def fat(on, mallory) -> dict:
    """Of before the policies."""
    return stored(mallory, with_metadata(cluster(mallory, "fat", suspend=True), **FAT))


@pytest.fixture(scope="module")
def admission(on, mallory, fat):
    install_admission(on)
    tries = itertools.count()

    def refused() -> bool:
        # Another one each time: what is stored already is not refused again.
        return mallory.refusal(cluster(mallory, "probe", {**nested(150), "try": next(tries)})) is not None

    # Policies take effect some moments after they are stored.
    until(refused, 20, "the admission policy")
    on.delete(cluster(mallory, "probe"))


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (nested(20), "nested deeper than 16 levels"),
        (nested(150), "nested deeper than 16 levels"),
        ({"values": {f"k{n}": "v" * 90 for n in range(1500)}}, "more than 128 KiB"),
        ({"values": {f"k{n}": "v" * 90 for n in range(10000)}}, "more than 128 KiB"),
        ({f"k{n}": n for n in range(500)}, "must have at most 200 items"),
    ],
    ids=["deep", "very deep", "large", "very large", "many"],
)
def test_what_could_not_be_read_is_refused_at_admission(on, mallory, admission, configuration, words):
    refusal = mallory.refusal(cluster(mallory, "refused", configuration))
    assert refusal and words in refusal, refusal


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"annotations": {"keelson.dev/note": "x" * 17_000}}, "metadata.annotations: they take 17016 bytes, and 16384 is the limit"),
        ({"annotations": {f"example.com/n{n}": "x" * 1_000 for n in range(20)}}, "metadata.annotations: they take"),
        ({"annotations": {"example.com/wide": "\u00e4" * 9_000}}, "metadata.annotations: they take 18016 bytes"),
        ({"labels": {f"l{n}": "v" for n in range(65)}}, "metadata.labels: there are 65, and 64 is the limit"),
    ],
    ids=["one annotation", "many annotations", "wide characters", "many labels"],
)
@pytest.mark.parametrize("kind", ["EksCluster", "NodeGroup"])
def test_more_metadata_than_is_read_is_refused_at_admission(on, mallory, admission, kind, metadata, words):
    item = cluster(mallory, "metadata", suspend=True)
    if kind == "NodeGroup":
        nodes = {"clusterRef": {"name": "none"}, "scaling": {"min": 1, "max": 1}, "suspend": True}
        item = mallory.object("NodeGroup", "metadata", nodes)
    refusal = mallory.refusal(with_metadata(item, **metadata))
    assert refusal and words in refusal, refusal
    # Nor later, when the spec stays as it is.
    stored(mallory, item)
    with pytest.raises(ApiError, match=words):
        mallory.api.patch(*key_of(item)[:3], {"metadata": metadata}, MALLORY)
    # What kubectl keeps of a manifest that is admitted is.
    applied = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x" * 40_000}, "labels": {f"l{n}": "v" for n in range(60)}}
    mallory.api.patch(*key_of(item)[:3], {"metadata": applied}, MALLORY)
    on.delete(item)


def test_what_had_more_metadata_before_can_be_edited_and_deleted(on, mallory, admission, fat):
    mallory.api.patch(*key_of(fat)[:3], {"spec": {"tags": {"team": "mallory"}}}, MALLORY)
    with pytest.raises(ApiError, match="metadata.annotations: they take 17028 bytes"):
        mallory.api.patch(*key_of(fat)[:3], {"metadata": {"annotations": {"example.com/x": ""}}}, MALLORY)
    fewer = {"annotations": {"example.com/fat": "x" * 16_900}, "labels": {"l0": None}}
    mallory.api.patch(*key_of(fat)[:3], {"metadata": fewer}, MALLORY)
    on.delete(fat)


def test_sensible_configuration_is_admitted_and_poison_of_before_can_be_deleted(on, operator, mallory, admission):
    sensible = {"env": {"WARM_IP_TARGET": "2"}, "tolerations": [{"key": "a", "operator": "Exists"}], "x": nested(10)}
    made = stored(mallory, cluster(mallory, "sensible", sensible, suspend=True))
    on.delete(made)
    poison = cluster(mallory, "poison")
    on.delete(poison)
    until(lambda: gauge(operator) == "0", 10, "the gauge")
