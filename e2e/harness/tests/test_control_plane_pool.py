"""The pool of control planes: what a client left is gone for the next one, and what cannot be reset is not used again."""

import time

import pytest

from keelson_harness.control_plane_pool import NotReset, Plane, Pool
from keelson_harness.kubeapi import ApiError, KubeApi, documents
from keelson_harness.paths import CRDS, EXAMPLES
from keelson_harness.pooled import Pooled

API = "keelson.dev/v1alpha1"
RBAC = "rbac.authorization.k8s.io/v1"


@pytest.fixture(scope="module")
def plane():
    started = Plane()
    yield started
    started.stop()


@pytest.fixture
def api(plane) -> KubeApi:
    return plane.control_plane.api


def everything(api: KubeApi) -> dict[str, str]:
    """The content of all objects that a test file may leave, by kind and name."""
    kinds = [
        (API, "EksCluster"),
        (API, "NodeGroup"),
        ("v1", "Namespace"),
        ("v1", "Secret"),
        ("v1", "ConfigMap"),
        ("v1", "ServiceAccount"),
        (RBAC, "ClusterRole"),
        (RBAC, "ClusterRoleBinding"),
        (RBAC, "RoleBinding"),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
        ("coordination.k8s.io/v1", "Lease"),
    ]
    found = {}
    for version, kind in kinds:
        for item in api.list(version, kind):
            meta = item["metadata"]
            if not meta["name"].startswith("apiserver-"):
                volatile = ("resourceVersion", "managedFields")
                kept = {key: value for key, value in meta.items() if key not in volatile}
                found[f"{kind} {meta.get('namespace')} {meta['name']}"] = str({**item, "metadata": kept})
    return found


def test_reset_removes_objects_with_finalizers_and_restores_changed_and_deleted_ones(plane, api):
    before = everything(api)
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    for item in documents(EXAMPLES / "minimal.yaml"):
        api.apply({**item, "metadata": {**item["metadata"], "namespace": "team", "finalizers": ["keelson.dev/test"]}})
    api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "left", "namespace": "default"}})
    # Aggregated into `admin`, which a controller then changes.
    labels = {"rbac.authorization.k8s.io/aggregate-to-admin": "true"}
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}
    api.apply({"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": "more", "labels": labels}, "rules": [rule]})
    api.wait(RBAC, "ClusterRole", "admin", lambda role: rule in role["rules"], None)
    api.patch(RBAC, "ClusterRole", "view", {"metadata": {"annotations": {"changed": "yes"}}}, None)
    api.delete(RBAC, "ClusterRole", "system:node-bootstrapper", None)
    assert everything(api) != before
    plane.reset()
    assert everything(api) == before
    assert api.find("v1", "ServiceAccount", "default", "team") is None


def test_admission_policies_of_the_previous_client_do_not_apply_after_reset(plane, api):
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "denied"}}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "deny"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["namespaces"]}
                ]
            },
            "validations": [{"expression": "object.metadata.name != 'denied'"}],
        },
    }
    binding = {
        "apiVersion": policy["apiVersion"],
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "deny"},
        "spec": {"policyName": "deny", "validationActions": ["Deny"]},
    }
    api.apply_all([policy, binding])
    for _ in range(100):
        try:
            api.apply(namespace, dry_run=True)
        except ApiError as denied:
            assert "denied" in denied.message
            break
        time.sleep(0.1)
    else:
        pytest.fail("the policy does not apply")
    plane.reset()
    api.apply(namespace)
    plane.reset()
    assert api.find("v1", "Namespace", "denied", None) is None


def test_control_plane_with_a_changed_crd_is_not_used_again(plane, api):
    crd = next(item for item in documents(CRDS / "awsaccounts.yaml") if item["kind"] == "CustomResourceDefinition")
    name = crd["metadata"]["name"]
    api.patch(crd["apiVersion"], crd["kind"], name, {"metadata": {"labels": {"changed": "yes"}}}, None)
    with pytest.raises(NotReset, match=name):
        plane.reset()


class FakePlane:
    """A control plane without processes."""

    def __init__(self) -> None:
        self.uses = 0
        self.stopped = False
        self.broken = False

    def describe(self) -> Pooled:
        return Pooled("management", "http://127.0.0.1:1", 2, "none")

    def reset(self) -> None:
        if self.broken:
            raise NotReset("a key")

    def stop(self) -> None:
        self.stopped = True


def test_pool_gives_a_control_plane_to_one_client_at_a_time_and_reuses_it():
    pool = Pool(FakePlane)
    one, two = pool.acquire(), pool.acquire()
    assert one is not two
    pool.release(one)
    assert pool.acquire() is one


def test_pool_stops_a_control_plane_that_cannot_be_reset():
    pool = Pool(FakePlane)
    plane = pool.acquire()
    plane.broken = True
    pool.release(plane)
    assert plane.stopped and pool.acquire() is not plane
