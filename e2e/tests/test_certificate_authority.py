"""`controlPlane.certificateAuthority`: a successor is created, activated and the outgoing authority deleted, each when the spec says so, and
nothing happens twice or by itself."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator

import pytest

from fleet.account import Account, fresh_account
from fleet.command_line import output
from fleet.environment import Environment, actions, environment, stays, until
from fleet.killing import killed_at
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, key_of, namespace
from keelson_harness.aws import REGION, Durations
from keelson_harness.kubeapi import conditions, documents
from keelson_harness.paths import DEPLOY

SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False, "addons": []}
FLAGS = ("--drift-interval=1s", "--max-deletions=100")
CREATE, ACTIVATE, DELETE = "eks:CreateCertificateAuthority", "eks:ActivateCertificateAuthority", "eks:DeleteCertificateAuthority"
STEPS = (CREATE, ACTIVATE, DELETE)
ARGOCD = "argocd"
WRITTEN = "follows-kubeconfig"
CLIENTS = {"writeKubeconfigToSecretRef": {"name": WRITTEN}, "registerWith": "ArgoCd"}


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.4, 0.5)) as started:
        yield started


class Shop:
    """A cluster whose spec rotates its certificate authority from some time on."""

    def __init__(self, on: Environment, name: str, **spec: object):
        self.on, self.name = on, name
        self.account: Account = on.account(fresh_account())
        self.eks = self.account.eks
        access = aws_account(f"account-{self.account.id}", self.account.id)
        self.item = cluster(name, accountRef={"name": access["metadata"]["name"]}, **SMALL, **spec)
        self.items = [access, self.item]
        on.apply(*self.items)

    def rotate(self, **fields: str | None) -> None:
        self.on.api.patch(*key_of(self.item)[:3], {"spec": {"controlPlane": {"certificateAuthority": fields}}})

    def begin(self) -> None:
        """A time that is newer than the cluster, and as long ago as clocks may differ."""
        created = min(one["createdAt"] for one in self.authorities()).timestamp()
        # The clock of the emulator is ours: the operator waits a minute longer.
        self.rotate(createdAfter=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created + 1)))

    def authorities(self) -> list[dict]:
        return self.eks.list_certificate_authorities(clusterName=self.name)["certificateAuthorities"]

    def states(self) -> dict[str, str]:
        """By id, as in status."""
        return {one["id"]: one["state"] for one in self.status().get("certificateAuthorities", [])}

    def status(self) -> dict:
        return (self.on.api.find(*key_of(self.item)) or {}).get("status", {})

    def message_of(self, authority: str) -> str:
        return next(one.get("message", "") for one in self.status()["certificateAuthorities"] if one["id"] == authority)

    def is_ready(self) -> bool:
        item = self.on.api.find(*key_of(self.item)) or {}
        ready = conditions(item).get("Ready", {})
        return (ready.get("status"), ready.get("observedGeneration")) == ("True", item["metadata"]["generation"])

    def steps(self, mark: int = 0) -> list[str]:
        calls = [call for call in self.on.writes(mark, self.account.id) if call["status"] < 400]
        return [action for action in (one.split(" ")[0] for one in actions(calls)) if action in STEPS]

    def certificates(self, data: str) -> int:
        return base64.b64decode(data).count(b"BEGIN CERTIFICATE")

    def handed_out(self) -> list[int]:
        """How many certificates clients get: from status, from the kubeconfig's Secret, and from Argo CD's."""
        kubeconfig = json.loads(self._secret(WRITTEN, "default", "kubeconfig"))
        full = f"default.{self.name}"
        argocd = f"keelson-{full}-{hashlib.sha256(full.encode()).hexdigest()[:16]}"
        access = json.loads(self._secret(argocd, ARGOCD, "config"))
        (entry,) = kubeconfig["clusters"]
        data = (self.status()["certificateAuthority"], entry["cluster"]["certificate-authority-data"], access["tlsClientConfig"]["caData"])
        return [self.certificates(one) for one in data]

    def _secret(self, name: str, space: str, key: str) -> bytes:
        return base64.b64decode(self.on.api.get("v1", "Secret", name, space)["data"][key])


def permissions() -> list[dict]:
    """What lets the operator write both Secrets."""
    argocd = documents(DEPLOY / "argocd-registration" / "rbac.yaml")
    for one in argocd:
        one["metadata"]["namespace"] = ARGOCD
    version, group, meta = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io", {"name": WRITTEN, "namespace": "default"}
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [WRITTEN], "verbs": ["get", "create", "patch", "delete"]}
    operator = {"kind": "ServiceAccount", "name": "keelson", "namespace": "keelson-system"}
    binding = {"roleRef": {"apiGroup": group, "kind": "Role", "name": WRITTEN}, "subjects": [operator]}
    return [
        *argocd,
        {"apiVersion": version, "kind": "Role", "metadata": meta, "rules": [rule]},
        {"apiVersion": version, "kind": "RoleBinding", "metadata": meta, **binding},
    ]


def older(on: Environment, name: str, *flags: str, **spec: object) -> Shop:
    """A cluster of two minutes ago, as far as its certificate authority says."""
    shop = Shop(on, name, **spec)
    with on.operator(*FLAGS, *flags, account=shop.account.id):
        on.ready(shop.item)
    on.aws.control("POST", "certificate-authorities", json={**where(shop), "olderSeconds": 120})
    return shop


def where(shop: Shop) -> dict[str, str]:
    return {"account": shop.account.id, "region": REGION, "cluster": shop.name}


def test_rotation_goes_on_step_by_step_though_the_operator_is_killed_at_every_write(on: Environment, capsys) -> None:
    shop = older(on, "crash")
    (first,) = (one["id"] for one in shop.authorities())
    shop.begin()
    created = killed_at(on, shop.account.id, lambda: len(shop.states()) == 2 and "Successor" in shop.states().values() and shop.is_ready(), flags=FLAGS, timeout=120)
    (second,) = shop.states().keys() - {first}
    assert shop.states() == {first: "Active", second: "Successor"}
    assert f"activeId: {second}" in shop.message_of(second)
    with on.operator(*FLAGS, account=shop.account.id):
        stays(lambda: shop.steps() == [CREATE], 4, "activated only when the spec says so")
        # Its own clients trust both.
        assert shop.certificates(shop.status()["certificateAuthority"]) == 2
    shop.rotate(activeId=second)
    activated = killed_at(on, shop.account.id, lambda: shop.states() == {first: "Retired", second: "Active"} and shop.is_ready(), flags=FLAGS, timeout=120)
    assert shop.steps() == [CREATE, ACTIVATE] and f"deletedId: {first}" in shop.message_of(first)
    shop.rotate(deletedId=first)
    deleted = killed_at(on, shop.account.id, lambda: shop.states() == {second: "Active"} and shop.is_ready(), flags=FLAGS, timeout=120)
    with on.operator(*FLAGS, account=shop.account.id):
        on.reconcile(shop.item)
        stays(lambda: shop.steps() == [CREATE, ACTIVATE, DELETE], 3, "the same manifest begins no second rotation")
        assert shop.certificates(shop.status()["certificateAuthority"]) == 1
        mark = on.mark()
        on.delete(shop.item)
        assert shop.steps(mark) == []
    with capsys.disabled():
        print(f"\n  {created.summary('create')}\n  {activated.summary('activate')}\n  {deleted.summary('delete')}")


def test_each_step_waits_for_its_approval(on: Environment) -> None:
    shop = older(on, "asks")
    (first,) = (one["id"] for one in shop.authorities())
    with on.operator(*FLAGS, account=shop.account.id):
        on.api.patch(*key_of(shop.item)[:3], {"spec": {"changePolicy": "Approval"}})

        def approve(text: str) -> None:
            plan = until(lambda: (found := shop.status().get("plan", {})) and found.get("hash") and text in str(found.get("steps")) and found, 30, text)
            on.api.patch(*key_of(shop.item)[:3], {"metadata": {"annotations": {"keelson.dev/approve": plan["hash"]}}})

        shop.begin()
        approve("createdAfter")
        until(lambda: "Successor" in shop.states().values(), 30, "the successor")
        (second,) = shop.states().keys() - {first}
        shop.rotate(activeId=second)
        approve("disconnects nodes and clients that do not trust")
        until(lambda: shop.states() == {first: "Retired", second: "Active"}, 30, "the activation")
        shop.rotate(deletedId=first)
        approve("deletedId")
        until(lambda: shop.states() == {second: "Active"}, 30, "the deletion")
    on.force_delete(*shop.items)


def test_what_eks_activates_by_itself_is_reported_and_not_undone(on: Environment) -> None:
    shop = older(on, "expires")
    (first,) = (one["id"] for one in shop.authorities())
    shop.rotate(activeId=first)
    with on.operator(*FLAGS, account=shop.account.id):
        on.ready(shop.item)
        second = on.aws.control("POST", "certificate-authorities", json={**where(shop), "activate": True})["id"]
        until(lambda: shop.states() == {first: "Retired", second: "Active"}, 30, "the state in status")
        until(lambda: f"EKS activated {second} since: set activeId: {second}" in str(shop.status()), 30, "the report")
        stays(lambda: shop.steps() == [], 3, "nothing is written")
        shop.rotate(activeId=second)
        on.await_in_sync(shop.item)
    on.force_delete(*shop.items)


def test_failed_distribution_is_reported_deleted_and_tried_again(on: Environment) -> None:
    shop = older(on, "fails")
    (first,) = (one["id"] for one in shop.authorities())
    rule = on.aws.add_fault({"action": "CreateCertificateAuthority", "account": shop.account.id}, {"fail": "no capacity"})
    with on.operator(*FLAGS, account=shop.account.id):
        shop.begin()
        until(lambda: "Failed" in shop.states().values(), 30, "the failure")
        (second,) = shop.states().keys() - {first}
        assert f"deletedId: {second}" in shop.message_of(second)
        expected = f"EKS could not distribute it: set controlPlane.certificateAuthority.deletedId: {second}"
        conditions_of = lambda: str(on.status(shop.item).get("conditions"))  # noqa: E731
        until(lambda: expected in conditions_of() and "no capacity" in conditions_of(), 30, "what to do and why, in a condition")
        failed = lambda event: event["reason"] == "Failed" and "no capacity" in event["note"]  # noqa: E731
        until(lambda: any(failed(event) for event in on.events(shop.item)), 60, "why, in an event")
        on.aws.control("DELETE", "faults", params={"id": rule})
        shop.rotate(deletedId=second)
        until(lambda: "Successor" in shop.states().values() and second not in shop.states(), 60, "another successor")
        on.ready(shop.item)
    on.force_delete(*shop.items)


def test_clients_follow_as_soon_as_each_step_ends(on: Environment) -> None:
    on.apply(namespace(ARGOCD), *permissions())
    flag = f"--argocd-namespace={ARGOCD}"
    shop = older(on, "follows", flag, **CLIENTS)
    (first,) = (one["id"] for one in shop.authorities())
    # AWS is not compared with the spec meanwhile.
    with on.operator("--drift-interval=1h", "--max-deletions=100", flag, account=shop.account.id):
        on.ready(shop.item)
        assert shop.handed_out() == [1, 1, 1]
        shop.begin()
        until(lambda: "Successor" in shop.states().values() and shop.handed_out() == [2, 2, 2], 30, "the successor is trusted")
        (second,) = shop.states().keys() - {first}
        answer = output(on, "status", shop.name, "-n", "default")
        assert f"certificate authority {second}: Successor, for " in answer, answer
        assert f"set spec.controlPlane.certificateAuthority.activeId: {second}" in answer, answer
        shop.rotate(activeId=second)
        until(lambda: shop.states() == {first: "Retired", second: "Active"}, 30, "the activation, without another request")
        assert f"deletedId: {first}" in output(on, "status", shop.name, "-n", "default")
        shop.rotate(deletedId=first)
        until(lambda: shop.states() == {second: "Active"} and shop.handed_out() == [1, 1, 1], 30, "only the new one is trusted")
        assert "Rotation" not in output(on, "status", shop.name, "-n", "default")
    on.force_delete(*shop.items)


def test_mistakes_are_refused_and_change_nothing(on: Environment) -> None:
    shop = older(on, "typo")
    (first,) = (one["id"] for one in shop.authorities())
    with on.operator(*FLAGS, account=shop.account.id):
        for fields, text in (
            ({"activeId": "never"}, f"the cluster has no such certificate authority, only {first}"),
            ({"activeId": None, "deletedId": first}, "activate its successor first"),
        ):
            shop.rotate(**fields)
            until(lambda text=text: text in str(shop.status()), 30, text)
        assert shop.steps() == []
    on.force_delete(*shop.items)
