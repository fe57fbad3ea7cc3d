"""`spec.registerWith: ArgoCd`: a cluster Secret in Argo CD's namespace, which is not the EksCluster's.

The API server, its RBAC and the operator's service account are the real ones. What Argo CD makes of the Secret is in `test_argocd_hub.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator

import pytest

from fleet import API
from fleet.account import Account, fresh_account
from fleet.environment import Environment, environment, stays, until
from fleet.existing_clusters import Others
from fleet.killing import SIGKILL, killed_at
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, key_of, namespace
from keelson_harness.aws import ACCOUNT, Durations
from keelson_harness.kubeapi import documents
from keelson_harness.paths import DEPLOY

ARGOCD, OTHER = "argocd", "gitops"
FLAGS = (f"--argocd-namespace={ARGOCD}", "--argocd-cluster-labels=team,acme.example/*")
BINDING = ("rbac.authorization.k8s.io/v1", "RoleBinding", "keelson-argocd-registration")
ROLE = f"arn:aws:iam::{ACCOUNT}:role/argocd"
OWNER, CLUSTER = "keelson.dev/owner", "keelson.dev/cluster"


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.2, 0.5)) as started:
        yield started


def item(name: str, space: str = "default", **spec: object) -> dict:
    return cluster(name, space, addons=[], registerWith="ArgoCd", **spec)


def labelled(name: str, **labels: str) -> dict:
    return item(name, registration={"labels": labels})


def secret_name(of: dict) -> str:
    full = f"{of['metadata']['namespace']}.{of['metadata']['name']}"
    return f"keelson-{full}-{hashlib.sha256(full.encode()).hexdigest()[:16]}"


def found(on: Environment, of: dict, space: str = ARGOCD) -> dict | None:
    return on.api.find("v1", "Secret", secret_name(of), space)


def all_names(on: Environment) -> set[str]:
    return {secret["metadata"]["name"] for secret in on.api.list("v1", "Secret", ARGOCD)}


def content(secret: dict) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}


def permissions(space: str = ARGOCD) -> list[dict]:
    items = documents(DEPLOY / "argocd-registration" / "rbac.yaml")
    for one in items:
        one["metadata"]["namespace"] = space
    return items


def await_permission(on: Environment, allowed: bool) -> None:
    """The API server's authorizer follows Roles and RoleBindings a moment later."""
    asked = {"verb": "delete", "resource": "secrets", "namespace": ARGOCD}
    review = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "system:serviceaccount:keelson-system:keelson", "resourceAttributes": asked},
    }
    answer = lambda: on.api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review).json()["status"]["allowed"]  # noqa: E731
    until(lambda: answer() is allowed, 10, f"the permission to be {allowed}")


def reconcile_now(on: Environment, of: dict) -> None:
    version, kind, name, space = key_of(of)
    on.api.patch(version, kind, name, {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(time.monotonic())}}}, space)


def edit_secret(on: Environment, of: dict, change: dict) -> None:
    on.api.patch("v1", "Secret", secret_name(of), change, ARGOCD)


def delete_secret(on: Environment, of: dict) -> None:
    on.api.delete("v1", "Secret", secret_name(of), ARGOCD)


DEMO = item("demo")


@pytest.fixture(scope="module")
def refused(on) -> dict:
    """An operator that does not know of Argo CD."""
    on.apply(DEMO)
    with on.operator():
        return on.await_condition(DEMO, status="False", reason="InvalidSpec", timeout=120)


@pytest.fixture(scope="module")
def denied(on, refused) -> dict:
    """An operator that may not write in Argo CD's namespace."""
    on.apply(namespace(ARGOCD))
    with on.operator(*FLAGS):
        return on.await_condition(DEMO, status="False", reason="AccessDenied", timeout=60)


@pytest.fixture(scope="module")
def registered(on, denied) -> dict:
    """The Secret of `DEMO`; the operator keeps running."""
    on.apply(*permissions())
    on.start(*FLAGS)
    on.ready(DEMO)
    return found(on, DEMO)


def test_cluster_works_without_argo_cd_and_says_what_to_add(on, refused):
    assert on.account().eks.describe_cluster(name="demo")["cluster"]["status"] == "ACTIVE"
    message = next(c["message"] for c in refused["status"]["conditions"] if c["type"] == "Ready")
    assert "deploy/argocd-registration" in message and "operator.argocd.namespace" in message


def test_missing_permission_names_the_component(on, denied):
    message = next(c["message"] for c in denied["status"]["conditions"] if c["type"] == "Ready")
    assert f"Secret {ARGOCD}/{secret_name(DEMO)}" in message and "deploy/argocd-registration" in message
    # On record first, so that it is deleted whatever happens afterwards.
    assert denied["status"]["registration"] == {"namespace": ARGOCD, "secret": secret_name(DEMO)}


def test_secret_authenticates_with_aws_and_has_labels_to_select(on, registered):
    described = on.account().eks.describe_cluster(name="demo")["cluster"]
    data = content(registered)
    assert data.keys() == {"name", "server", "config"}
    assert (data["name"], data["server"]) == ("default.demo", described["endpoint"])
    authority = described["certificateAuthority"]["data"]
    assert json.loads(data["config"]) == {
        "awsAuthConfig": {"clusterName": "demo"},
        "tlsClientConfig": {"caData": authority, "insecure": False},
    }
    assert registered["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "keelson",
        "argocd.argoproj.io/secret-type": "cluster",
        "keelson.dev/account-id": ACCOUNT,
        "keelson.dev/cluster": "default.demo",
        "keelson.dev/namespace": "default",
        "keelson.dev/region": "eu-west-1",
        "keelson.dev/version": "1.34",
    }
    annotations = registered["metadata"]["annotations"]
    assert annotations["vpc_id"] == on.status(DEMO)["network"]["vpcId"]
    assert annotations[OWNER] == on.api.get(*key_of(DEMO))["metadata"]["uid"]
    assert "ownerReferences" not in registered["metadata"], "owners in another namespace count as deleted"


def test_edits_and_deletions_of_the_secret_are_put_right_at_once(on, registered):
    # The drift interval is 10 minutes: a watch reports them.
    evil = base64.b64encode(b"https://evil.example").decode()
    edit_secret(on, DEMO, {"data": {"server": evil}})
    until(lambda: content(found(on, DEMO))["server"] == content(registered)["server"], 30, "the server")
    edit_secret(on, DEMO, {"metadata": {"labels": {"argocd.argoproj.io/secret-type": None, "keelson.dev/namespace": "platform"}}})
    until(lambda: found(on, DEMO)["metadata"]["labels"] == registered["metadata"]["labels"], 30, "the labels")
    delete_secret(on, DEMO)
    # It is created empty, so that an existing one of another owner is detected, and then applied.
    until(lambda: content(found(on, DEMO) or {}) == content(registered), 30, "the Secret")
    on.ready(DEMO)


def test_labels_and_role_of_the_spec_are_kept_in_step(on, registered):
    labels = {"team": "shop", "acme.example/tier": "gold"}
    on.apply(item("demo", registration={"labels": labels, "roleArn": ROLE}))
    until(lambda: labels.items() <= found(on, DEMO)["metadata"]["labels"].items(), 30, "the labels")
    until(lambda: json.loads(content(found(on, DEMO))["config"])["awsAuthConfig"].get("roleARN") == ROLE, 30, "the role")
    # A label that somebody else sets stays.
    edit_secret(on, DEMO, {"metadata": {"labels": {"shard": "1"}}})
    on.apply(labelled("demo", team="shop"))
    until(lambda: "acme.example/tier" not in found(on, DEMO)["metadata"]["labels"], 30, "its removal")
    secret = found(on, DEMO)
    assert (secret["metadata"]["labels"]["team"], secret["metadata"]["labels"]["shard"]) == ("shop", "1")
    assert "roleARN" not in content(secret)["config"]
    on.apply(DEMO)
    until(lambda: "team" not in found(on, DEMO)["metadata"]["labels"], 30, "the removal of the rest")


def test_clusters_whose_names_run_together_have_secrets_of_their_own(on, registered):
    for space in ("a", "a-b"):
        on.apply(namespace(space))
    one, other = item("b-c", "a", clusterName="a-b-c"), item("c", "a-b", clusterName="ab-c")
    on.apply(one, other)
    on.ready(one, other, timeout=120)
    names = {content(found(on, of))["name"] for of in (one, other)}
    assert names == {"a.b-c", "a-b.c"} and secret_name(one) != secret_name(other)
    assert content(found(on, one))["server"] and found(on, one)["metadata"]["uid"] != found(on, other)["metadata"]["uid"]
    on.delete(one, other, timeout=120)
    until(lambda: not {secret_name(one), secret_name(other)} & all_names(on), 10, "their Secrets' deletion")


# What a tenant tries


def test_secret_of_others_is_neither_overwritten_nor_deleted(on, registered):
    taken = item("taken")
    metadata = {"name": secret_name(taken), "namespace": ARGOCD, "labels": {"argocd.argoproj.io/secret-type": "repository"}}
    on.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": "theirs"}})
    before = found(on, taken)
    on.apply(taken)
    on.await_condition(taken, status="False", reason="NotOwned", timeout=120)
    assert "exists and is not of this EksCluster" in on.condition(taken)["message"]
    assert found(on, taken) == before
    on.delete(taken, timeout=120)
    assert found(on, taken) == before
    delete_secret(on, taken)


def test_cluster_of_somebody_else_is_not_registered(on, registered):
    Others(on.account()).cluster("theirs")
    mine = item("mine", clusterName="theirs")
    on.apply(mine)
    on.await_condition(mine, status="False", reason="NotOwned", timeout=60)
    stays(lambda: found(on, mine) is None, 3, "no Secret")
    assert "registration" not in on.status(mine)
    on.delete(mine)


@pytest.mark.parametrize("label", ["env", "keelson.dev/namespace", "keelson.dev/account", "argocd.argoproj.io/secret-type"])
def test_label_that_is_not_allowed_is_refused(on, registered, label):
    on.apply(labelled("demo", **{label: "platform"}))
    on.await_condition(DEMO, status="False", reason="AccessDenied")
    message = on.condition(DEMO)["message"]
    assert f"does not allow the label {label} (it allows team, acme.example/*)" in message
    assert found(on, DEMO)["metadata"]["labels"].get(label) == registered["metadata"]["labels"].get(label)
    on.apply(DEMO)
    on.ready(DEMO)


def test_role_that_the_account_does_not_allow_is_refused(on, registered):
    limited = aws_account("limited", ACCOUNT, allowedRoleArns=[ROLE])
    mine = {"accountRef": {"name": "limited"}, "registration": {"roleArn": ROLE}}
    on.apply(limited, item("limited", **mine))
    on.ready(item("limited"), timeout=120)
    assert found(on, item("limited"))["metadata"]["labels"]["keelson.dev/account"] == "limited"
    admin = {**mine, "registration": {"roleArn": f"arn:aws:iam::{ACCOUNT}:role/admin"}}
    on.apply(item("limited", **admin))
    on.await_condition(item("limited"), status="False", reason="AccessDenied")
    assert "spec.registration.roleArn" in on.condition(item("limited"))["message"]
    assert ROLE in content(found(on, item("limited")))["config"]
    on.delete(item("limited"), timeout=120)
    assert found(on, item("limited")) is None


def test_project_and_namespaces_cannot_be_set(on, registered):
    for key in ("project", "namespaces", "name", "server", "config"):
        edited = item("demo", registration={key: "x"})
        strict = {"fieldManager": "test", "force": "true", "dryRun": "All", "fieldValidation": "Strict"}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        with pytest.raises(Exception, match="field not declared|unknown field"):
            on.api.request("PATCH", on.api.path_of(edited), params=strict, data=json.dumps(edited), headers=headers)


# Ends


def test_suspended_and_observed_clusters_write_nothing_and_deletion_removes_the_secret(on, registered):
    quiet = labelled("quiet", team="one")
    on.apply(quiet)
    on.ready(quiet, timeout=120)
    for held in ({"suspend": True}, {"changePolicy": "Observe"}):
        on.apply(item("quiet", registration={"labels": {"team": "two"}}, **held))
        on.reconcile(quiet)
        assert found(on, quiet)["metadata"]["labels"]["team"] == "one", held
    on.delete(quiet)
    assert found(on, quiet) is None
    assert on.account().eks.describe_cluster(name="quiet")["cluster"]["status"] == "ACTIVE"


def test_secret_goes_with_the_field(on, registered):
    asked, not_asked = item("field"), cluster("field", addons=[])
    on.apply(asked)
    on.ready(asked, timeout=120)
    assert found(on, asked)
    on.apply(not_asked)
    until(lambda: found(on, asked) is None, 30, "the deletion of the Secret")
    until(lambda: "registration" not in on.status(asked), 30, "status")
    on.delete(not_asked, timeout=120)


def test_nothing_is_deleted_in_aws_while_the_cluster_is_registered(on, registered):
    last = item("last")
    on.apply(last)
    on.ready(last, timeout=120)
    on.api.delete(*BINDING, ARGOCD)
    await_permission(on, allowed=False)
    mark = on.mark()
    on.api.delete(*key_of(last))
    on.await_condition(last, status="False", reason="DeletionBlocked", timeout=60)
    assert "nothing is deleted in AWS while the cluster is registered" in on.condition(last)["message"]
    assert on.writes(mark) == [] and found(on, last)
    on.apply(*permissions())
    await_permission(on, allowed=True)
    reconcile_now(on, last)
    until(lambda: found(on, last) is None, 30, "the deletion of the Secret")
    on.api.wait_gone(*key_of(last), 120)


def test_secret_whose_cluster_is_gone_is_deleted(on, registered):
    stop_all(on)
    gone = item("gone")
    strangers = [item("renamed"), item("unmarked")]
    for of in (gone, *strangers):
        metadata = {"name": secret_name(of), "namespace": ARGOCD, "labels": dict(registered["metadata"]["labels"])}
        metadata["annotations"] = {OWNER: "00000000-0000-0000-0000-000000000000", CLUSTER: f"default/{of['metadata']['name']}"}
        on.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"server": "https://gone"}})
    # Not as Keelson writes them: of somebody who copied one.
    edit_secret(on, strangers[0], {"metadata": {"annotations": {CLUSTER: "default/other"}}})
    edit_secret(on, strangers[1], {"metadata": {"labels": {"app.kubernetes.io/managed-by": "helm"}}})
    on.start(*FLAGS)
    until(lambda: found(on, gone) is None, 30, "the deletion of the Secret")
    assert all(found(on, of) for of in strangers) and found(on, DEMO)
    for of in strangers:
        delete_secret(on, of)


def test_secret_of_a_restored_cluster_is_taken_over(on, registered):
    stop_all(on)
    before = found(on, DEMO)["metadata"]["uid"]
    # A restore gives the EksCluster another UID.
    edit_secret(on, DEMO, {"metadata": {"annotations": {OWNER: "00000000-0000-0000-0000-000000000000"}}})
    on.start(*FLAGS)
    uid = on.api.get(*key_of(DEMO))["metadata"]["uid"]
    until(lambda: found(on, DEMO)["metadata"]["annotations"][OWNER] == uid, 30, "the takeover")
    assert found(on, DEMO)["metadata"]["uid"] == before, "it was never deleted"
    on.ready(DEMO)


def test_secret_of_a_cluster_whose_finalizer_was_removed_is_deleted(on, registered):
    stop_all(on)
    forced = item("forced")
    with on.operator(*FLAGS):
        on.apply(forced)
        on.ready(forced, timeout=120)
    on.force_delete(forced)
    on.api.wait_gone(*key_of(forced))
    assert found(on, forced)
    on.start(*FLAGS)
    until(lambda: found(on, forced) is None, 30, "the deletion of the Secret")


def test_secret_moves_with_argo_cd(on, registered):
    stop_all(on)
    on.apply(namespace(OTHER), *permissions(OTHER))
    with on.operator(f"--argocd-namespace={OTHER}"):
        until(lambda: found(on, DEMO, OTHER) and not found(on, DEMO), 60, "the Secret in the other namespace")
        on.ready(DEMO)
    on.start(*FLAGS)
    until(lambda: found(on, DEMO) and not found(on, DEMO, OTHER), 60, "the Secret in its first namespace")


# Crashes


@pytest.fixture
def account(on) -> Account:
    return on.account(fresh_account())


def stop_all(on: Environment) -> None:
    for controller in on.cloud.controllers:
        if controller.alive:
            controller.stop()


def killed_when(on: Environment, account: Account, holds: Callable[[], object]) -> None:
    """Kills an operator at the moment that something holds."""
    operator = on.start(*FLAGS, account=account.id, wait=False)
    deadline = time.monotonic() + 90
    while not holds():
        assert operator.alive and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(operator.pid, SIGKILL)
    until(lambda: not operator.alive, 10, "the end of the operator")


def test_one_secret_is_left_or_none_however_the_operator_is_killed(on, registered, account):
    stop_all(on)
    killed = item("killed")
    on.apply(killed)
    is_there = lambda: found(on, killed) is not None  # noqa: E731
    is_ready = lambda: on.condition(killed).get("status") == "True"  # noqa: E731
    killed_at(on, account.id, lambda: is_there() and is_ready(), stride=5, flags=FLAGS)
    # Between the writes of the Secret and of status.
    on.apply(cluster("killed", addons=[]))
    killed_when(on, account, lambda: not is_there())
    on.apply(killed)
    killed_when(on, account, lambda: "registration" in on.status(killed))
    killed_when(on, account, is_there)
    with on.operator(*FLAGS, account=account.id):
        on.ready(killed)
    assert content(found(on, killed))["name"] == "default.killed"
    on.api.delete(*key_of(killed))
    killed_when(on, account, lambda: not is_there())
    assert account.eks.describe_cluster(name="killed")["cluster"]["status"] == "ACTIVE", "it left Argo CD first"
    killed_at(on, account.id, lambda: on.api.find(API, "EksCluster", "killed") is None, stride=5, flags=FLAGS)
    assert not is_there()
