"""EBS volumes of PersistentVolumeClaims when their cluster is deleted: named with size and age, and deleted only if the spec asks for it."""

from __future__ import annotations

import datetime
import time

import pytest

from fleet.account import Account, fresh_account
from fleet.environment import environment, until
from fleet.leftovers import tagged
from fleet.manifests import cluster, key_of
from keelson_harness.aws import REGION, Durations


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.2, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


@pytest.fixture(scope="module")
def operator(on, account):
    return on.start("--max-deletions=100", account=account.id)


def volume(account: Account, tags: dict[str, str]) -> str:
    request = {"AvailabilityZone": f"{REGION}a", "Size": 20, "TagSpecifications": tagged("volume", tags)}
    return account.ec2.create_volume(**request)["VolumeId"]


def claim_volume(account: Account, name: str) -> str:
    """As the EBS CSI driver creates it."""
    tags = {
        "ebs.csi.aws.com/cluster": "true", "CSIVolumeName": f"pvc-{name}", f"kubernetes.io/cluster/{name}": "owned",
        "KubernetesCluster": name, "kubernetes.io/created-for/pvc/namespace": "shop", "kubernetes.io/created-for/pvc/name": "data",
    }
    return volume(account, tags)


def volumes(account: Account) -> set[str]:
    return {found["VolumeId"] for found in account.ec2.describe_volumes()["Volumes"]}


def notes(on, item: dict) -> list[str]:
    return [event["note"] for event in on.events(item) if event["reason"] == "LeftAlone"]


def bare(name: str, **spec: object) -> dict:
    return cluster(name, network={"vpc": {"zoneCount": 2, "nat": "None"}}, oidcProvider=False, addons=[], **spec)


def test_volumes_are_retained_and_named_with_size_age_and_claim(on, account, operator):
    item = bare("kept")
    on.apply(item)
    on.ready(item)
    own, root = claim_volume(account, "kept"), volume(account, {"kubernetes.io/cluster/kept": "owned"})
    on.delete(item)
    assert {own, root} <= volumes(account)
    (note,) = notes(on, item)
    assert f"are retained, 20 GiB in all: {own} (20 GiB, 0 minutes old, of claim shop/data)" in note
    assert root not in note, "a node's own volume"


def test_volumes_are_deleted_if_the_spec_asks_for_it_and_nothing_else_is(on, account, operator):
    before = claim_volume(account, "gone")
    created = account.ec2.describe_volumes(VolumeIds=[before])["Volumes"][0]["CreateTime"].timestamp()
    item = bare("gone", persistentVolumes={"deletionPolicy": "Delete"})
    # The API server knows the age of an object to the second only.
    until(lambda: time.time() >= int(created) + 1, 3, "the next second")
    on.apply(item)
    on.ready(item)
    own, other = claim_volume(account, "gone"), claim_volume(account, "another")
    unmarked = volume(account, {"kubernetes.io/cluster/gone": "owned", "CSIVolumeName": "by hand"})
    attached = claim_volume(account, "gone")
    request = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.small"}
    subnet = account.network("a", "10.77.0.0/16")[0]
    instance = account.ec2.run_instances(**request, SubnetId=subnet)["Instances"][0]["InstanceId"]
    account.ec2.attach_volume(VolumeId=attached, InstanceId=instance, Device="/dev/sdf")
    snapshot = account.ec2.create_snapshot(VolumeId=own)["SnapshotId"]
    mark = on.mark()
    on.delete(item)
    deleted = [call["resource"] for call in on.writes(mark, account.id) if call["action"] == "DeleteVolume"]
    assert deleted == [own]
    assert {before, other, unmarked, attached} <= volumes(account)
    assert account.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    (note,) = notes(on, item)
    assert before in note and f"{attached} (20 GiB, 0 minutes old, of claim shop/data, in use)" in note and own not in note


def test_deletion_of_an_object_without_the_cluster_leaves_its_volumes(on, account, operator):
    """Another cluster has the name: it is not this object's, and neither are volumes that are attached to nothing at the moment."""
    role, subnets = account.cluster_role("theirs"), account.network("ab", "10.78.0.0/16")
    account.eks.create_cluster(name="theirs", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    item = bare("theirs", persistentVolumes={"deletionPolicy": "Delete"})
    on.apply(item)
    on.await_condition(item, "Ready", "False", "NotOwned")
    created = datetime.datetime.fromisoformat(on.api.get(*key_of(item))["metadata"]["creationTimestamp"]).timestamp()
    until(lambda: time.time() >= created + 1, 3, "a volume newer than the object")
    theirs = claim_volume(account, "theirs")
    mark = on.mark()
    on.delete(item)
    assert theirs in volumes(account) and notes(on, item) == []
    assert [call["action"] for call in on.writes(mark, account.id) if call["action"].startswith("Delete")] == []


def test_edit_during_the_deletion_deletes_no_more_than_at_its_start(on, account, operator):
    item = bare("begun")
    on.apply(item)
    on.ready(item)
    own = claim_volume(account, "begun")
    on.api.delete(*key_of(item))
    on.await_state(item, lambda found: found["status"].get("deletion", {}).get("began"), 30, "the start of the deletion")
    on.api.patch(*key_of(item)[:3], {"spec": {"persistentVolumes": {"deletionPolicy": "Delete"}}})
    assert on.status(item)["deletion"]["also"] == {"volumes": False, "logGroup": False, "instances": False}
    on.api.wait_gone(*key_of(item), 60)
    assert own in volumes(account)
