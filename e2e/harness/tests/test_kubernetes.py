"""The control plane behaves like a real one: admission, RBAC, garbage collection, tokens."""

import pytest

from keelson_harness.kubeapi import ApiError, KubeApi, Timeout

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.harness.keelson.dev"},
    "spec": {
        "group": "harness.keelson.dev",
        "scope": "Namespaced",
        "names": {"kind": "Boat", "plural": "boats", "singular": "boat"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Masts", "type": "integer", "jsonPath": ".spec.masts"},
                    {"name": "Hull", "type": "string", "jsonPath": ".spec.hull", "priority": 1},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "masts": {"type": "integer", "maximum": 5},
                                    "hull": {"type": "string", "default": "oak"},
                                },
                            },
                            "status": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                            },
                        },
                    }
                },
            }
        ],
    },
}
BOAT = ("harness.keelson.dev/v1", "Boat")


def boat(name: str, **spec) -> dict:
    return {
        "apiVersion": BOAT[0],
        "kind": BOAT[1],
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def config_map(name: str, namespace: str = "default", **data: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def test_crd_is_served_with_schema_defaults_and_printer_columns(cluster):
    cluster.api.apply_all([CRD, boat("sloop", masts=1)])
    assert cluster.api.get(*BOAT, "sloop")["spec"]["hull"] == "oak"
    with pytest.raises(ApiError) as refused:
        cluster.api.apply(boat("fantasy", masts=9))
    assert refused.value.code == 422 and "less than or equal to 5" in refused.value.message
    header, row = cluster.api.table(*BOAT).splitlines()
    assert header.split() == ["NAME", "MASTS"] and row.split() == ["sloop", "1"]
    assert cluster.api.table(*BOAT, wide=True).splitlines()[1].split() == ["sloop", "1", "oak"]


def test_wait_condition_ignores_conditions_of_an_older_generation(cluster):
    cluster.api.apply_all([CRD, boat("yawl", masts=2)])
    old = {"type": "Ready", "status": "True", "reason": "Afloat", "observedGeneration": 1}
    cluster.api.patch(*BOAT, "yawl", {"status": {"conditions": [old]}}, subresource="status")
    cluster.api.wait_condition(*BOAT, "yawl", "Ready", timeout=5)
    cluster.api.apply(boat("yawl", masts=3))
    with pytest.raises(Timeout, match="Ready=True"):
        cluster.api.wait_condition(*BOAT, "yawl", "Ready", timeout=1)


def test_deleting_a_namespace_deletes_its_objects(cluster):
    cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "brief"}})
    cluster.api.apply(config_map("note", "brief"))
    cluster.api.delete("v1", "Namespace", "brief")
    cluster.api.wait_gone("v1", "Namespace", "brief", timeout=30)


def test_owned_objects_are_garbage_collected_with_their_owner(cluster):
    owner = cluster.api.apply(config_map("owner"))
    owned = config_map("owned")
    owned["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    ]
    cluster.api.apply(owned)
    cluster.api.delete("v1", "ConfigMap", "owner")
    cluster.api.wait_gone("v1", "ConfigMap", "owned", timeout=30)


def test_webhook_authenticates_a_token_and_rbac_authorizes_it(cluster, reviewer):
    reviewer.known["k8s-aws-v1.sailor"] = ("arn:aws:iam::123456789012:role/sailor", ["sailors"])
    api = KubeApi(cluster.url, cluster.ca_file, token="k8s-aws-v1.sailor")
    with pytest.raises(ApiError) as refused:
        api.list("v1", "ConfigMap", "default")
    assert refused.value.code == 403 and "role/sailor" in refused.value.message
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    cluster.api.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "sailors"},
            "roleRef": role,
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "sailors"}
            ],
        }
    )
    cluster.api.wait("rbac.authorization.k8s.io/v1", "ClusterRole", "view", lambda r: r.get("rules"))
    assert_soon(lambda: api.list("v1", "ConfigMap", "default") is not None)
    assert reviewer.reviews[0]["apiVersion"] == "authentication.k8s.io/v1"


def test_unknown_token_is_rejected(cluster):
    api = KubeApi(cluster.url, cluster.ca_file, token="k8s-aws-v1.stowaway")
    with pytest.raises(ApiError) as refused:
        api.list("v1", "ConfigMap", "default")
    assert refused.value.code == 401


def test_watch_continues_after_a_restart_of_the_api_server(cluster):
    def is_second(item: dict) -> bool:
        return item.get("data", {}).get("turn") == "second"

    cluster.api.apply(config_map("watched", turn="first"))
    etcd = next(a for a in cluster.apiserver._child.args if a.startswith("--etcd-servers="))
    stream = cluster.api.watch("v1", "ConfigMap", "default", "watched", timeout=60)
    assert next(stream)[1]["data"]["turn"] == "first"
    cluster.apiserver.kill()
    cluster.start_apiserver(etcd.split("=", 1)[1])
    cluster.wait_apiserver()
    cluster.api.apply(config_map("watched", turn="second"))
    assert any(is_second(item) for _, item in stream)


def assert_soon(holds, seconds: float = 10) -> None:
    import time

    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except ApiError:
            pass
        assert time.monotonic() < deadline, "did not become true"
        time.sleep(0.1)
