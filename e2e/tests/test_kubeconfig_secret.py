"""`spec.writeKubeconfigToSecretRef`: a kubeconfig without a token in a Secret that only this EksCluster owns."""

from __future__ import annotations

import base64
import json
import re
import shlex

import pytest

from fleet import API
from fleet.environment import Environment, environment, until
from fleet.manifests import key_of, secret
from fleet.manifests import cluster as manifest
from handover.killing import killer
from keelson_harness.aws import Durations

NAME = "written"
FIRST, SECOND, TAKEN = "written-kubeconfig", "renamed-kubeconfig", "taken"
CLAIMED, KILLED, THEIRS = "claimed-kubeconfig", "killed-kubeconfig", "theirs"
CLAIM = "keelson.dev/claimed-by"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.2, 0.5)) as started:
        yield started


def item(**spec: object) -> dict:
    return manifest(NAME, addons=[], **spec)


def named(name: str) -> dict:
    return item(writeKubeconfigToSecretRef={"name": name})


def found(on: Environment, name: str) -> dict | None:
    return on.api.find("v1", "Secret", name)


def content(on: Environment, name: str) -> dict:
    return json.loads(base64.b64decode(on.api.get("v1", "Secret", name)["data"]["kubeconfig"]))


def look_now(on: Environment, at: str) -> None:
    on.api.patch(*key_of(item())[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": at}}})


@pytest.fixture(scope="module")
def denied(on):
    """A cluster whose Secret the operator may not write."""
    on.apply(named(FIRST))
    on.start(cluster_wide_secrets=False)
    return on.await_condition(named(FIRST), status="False", reason="AccessDenied", timeout=120)


def allow(on: Environment, message: str) -> None:
    """Does what the two commands of the message do."""
    role, binding = re.findall(r"kubectl create (role(?:binding)? .*?)(?= and kubectl create|$)", message)
    on.apply(as_object(role), as_object(binding))


def as_object(command: str) -> dict:
    """What `kubectl create role` or `rolebinding` with these arguments creates."""
    kind, name, *flags = shlex.split(command)
    flag = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    created = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name, "namespace": flag.pop("namespace")}}
    if kind == "role":
        verbs, resources, names = (flag.pop(one).split(",") for one in ("verb", "resource", "resource-name"))
        created |= {"kind": "Role", "rules": [{"apiGroups": [""], "resources": resources, "resourceNames": names, "verbs": verbs}]}
    else:
        namespace, account = flag.pop("serviceaccount").split(":")
        created |= {
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": flag.pop("role")},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        }
    assert not flag, flag
    return created


def message_of(on: Environment) -> str:
    return on.condition(item())["message"]


@pytest.fixture(scope="module")
def written(on, denied):
    allow(on, message_of(on))
    look_now(on, "1")
    on.ready(named(FIRST))
    return on.api.get("v1", "Secret", FIRST)


def test_cluster_works_without_permission_and_says_what_to_run(on, denied):
    assert on.account().eks.describe_cluster(name=NAME)["cluster"]["status"] == "ACTIVE"
    assert on.condition(item(), "Stalled")["status"] == "True"
    assert f"--resource-name={FIRST} and" in message_of(on) and "--serviceaccount=keelson-system:keelson" in message_of(on)
    # On record first, so that it is deleted whatever happens afterwards.
    assert on.status(item())["kubeconfigSecret"] == FIRST and found(on, FIRST) is None


def test_commands_of_the_message_allow_to_write_it(on, written):
    described = on.account().eks.describe_cluster(name=NAME)["cluster"]
    config = content(on, FIRST)
    assert config["clusters"][0]["cluster"] == {
        "server": described["endpoint"], "certificate-authority-data": described["certificateAuthority"]["data"],
    }
    assert config["users"][0]["user"]["exec"]["args"][2:6] == ["eks", "get-token", "--cluster-name", NAME]
    assert "token" not in config["users"][0]["user"]
    (owner,) = written["metadata"]["ownerReferences"]
    assert owner["uid"] == on.api.get(API, "EksCluster", NAME)["metadata"]["uid"]


def stop_all(on: Environment) -> None:
    for controller in on.cloud.controllers:
        if controller.alive:
            controller.stop()


def test_edit_of_others_is_put_right_after_a_minute(on, written):
    on.api.patch("v1", "Secret", FIRST, {"data": {"kubeconfig": base64.b64encode(b"{}").decode()}})
    # A new process has not read it yet.
    stop_all(on)
    on.start(cluster_wide_secrets=False)
    until(lambda: "clusters" in content(on, FIRST), 60)


def test_secret_of_others_is_neither_overwritten_nor_deleted(on, written):
    on.apply(secret(TAKEN, token="theirs"))
    before = on.api.get("v1", "Secret", TAKEN)
    on.apply(named(TAKEN))
    on.await_condition(item(), status="False", reason="AccessDenied")
    allow(on, message_of(on))
    look_now(on, "2")
    on.await_condition(item(), status="False", reason="NotOwned")
    assert "exists and is not of this EksCluster: name another one, or delete it" in message_of(on)
    # The one of before is deleted, as it is this object's.
    assert found(on, FIRST) is None
    on.apply(item())
    on.ready(item())
    assert on.api.get("v1", "Secret", TAKEN) == before
    assert "kubeconfigSecret" not in on.status(item())


def claim(on: Environment, name: str) -> None:
    """What the operator does first with a Secret that did not exist when it was read."""
    uid = on.api.get(API, "EksCluster", NAME)["metadata"]["uid"]
    metadata = {"name": name, "namespace": "default", "annotations": {CLAIM: uid}}
    on.api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata}, field_manager="keelson")


def test_operator_that_ended_after_it_created_the_secret_completes_it(on, written):
    on.apply(named(CLAIMED))
    on.await_condition(item(), status="False", reason="AccessDenied")
    claim(on, CLAIMED)
    allow(on, message_of(on))
    look_now(on, "claimed")
    on.ready(named(CLAIMED))
    assert content(on, CLAIMED)["current-context"] == NAME
    metadata = found(on, CLAIMED)["metadata"]
    assert CLAIM not in metadata.get("annotations", {}) and len(metadata["ownerReferences"]) == 1


def test_secret_is_complete_though_the_operator_is_killed_at_each_of_its_writes(on, written):
    on.apply(named(KILLED))
    on.await_condition(item(), status="False", reason="AccessDenied")
    stop_all(on)
    allow(on, message_of(on))

    def is_done() -> bool:
        return bool((found(on, KILLED) or {}).get("data")) and on.condition(item())["status"] == "True"

    with killer(on, on.cloud.management, {"": ["secrets"]}) as operator_killer:
        points = operator_killer.run(on, is_done, cluster_wide_secrets=False)
    assert points == [f"CREATE Secret {KILLED}", f"UPDATE Secret {KILLED}"]
    on.start(cluster_wide_secrets=False)
    on.ready(named(KILLED))
    assert content(on, KILLED)["current-context"] == NAME
    metadata = found(on, KILLED)["metadata"]
    assert CLAIM not in metadata.get("annotations", {}) and len(metadata["ownerReferences"]) == 1


def test_secret_that_others_created_at_the_same_time_is_theirs_again(on, written):
    on.apply(secret(THEIRS, token="theirs"))
    before = found(on, THEIRS)
    on.apply(named(THEIRS))
    on.await_condition(item(), status="False", reason="AccessDenied")
    claim(on, THEIRS)
    allow(on, message_of(on))
    look_now(on, "theirs")
    on.await_condition(item(), status="False", reason="NotOwned")
    after = found(on, THEIRS)
    assert after["data"] == before["data"] and "ownerReferences" not in after["metadata"]
    assert CLAIM not in after["metadata"].get("annotations", {})
    on.apply(item())
    on.ready(item())
    assert found(on, THEIRS)


def test_secret_goes_with_the_field_and_with_the_object(on, written):
    on.apply(named(SECOND))
    on.await_condition(item(), status="False", reason="AccessDenied")
    allow(on, message_of(on))
    look_now(on, "3")
    on.ready(item())
    assert content(on, SECOND)["current-context"] == NAME
    on.apply(item())
    until(lambda: found(on, SECOND) is None, 30)
    on.apply(named(SECOND))
    until(lambda: found(on, SECOND) is not None, 30)
    on.delete(named(SECOND))
    # The API server's garbage collector.
    until(lambda: found(on, SECOND) is None, 60)
