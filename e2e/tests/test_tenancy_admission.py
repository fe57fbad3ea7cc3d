"""The admission policy of deploy/: a tenant's cluster in an account that it may not use is never stored.

No operator runs: the API server makes these decisions.
"""

import time
from collections.abc import Callable, Iterator

import pytest

import kustomize
from fleet import API
from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import ApiError, KubeApi
from keelson_harness.paths import CHECKOUT

POLICY = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
NUMBER = "123456789012"
# Accounts, and who may use them.
ACCOUNTS = {
    "team": {"allowedNamespaces": ["team"]},
    "everyone": {"allowedNamespaces": ["*"]},
    "nobody": {},
    # For clusters without accountRef.
    "default": {"allowedNamespaces": ["team"], "allowedRegions": ["eu-west-1"]},
    "adopting": {"allowedNamespaces": ["team", "other"], "adoption": {"policy": "Allow"}},
    "legacy": {
        "allowedNamespaces": ["team", "other"],
        "adoption": {"policy": "Allow", "clusterNames": ["old", "legacy-*"], "namespaces": ["team"]},
    },
    "forbidding": {"allowedNamespaces": ["team"], "adoption": {"clusterNames": ["*"], "namespaces": ["team"]}},
    "europe": {"allowedNamespaces": ["team"], "allowedRegions": ["eu-west-1", "eu-central-1"]},
}


def objects() -> list[dict]:
    return [item for item in kustomize.build(CHECKOUT / "deploy") if item["kind"] in POLICY]


def account(name: str, spec: dict) -> dict:
    return {
        "apiVersion": API,
        "kind": "AwsAccount",
        "metadata": {"name": name},
        "spec": {"accountId": NUMBER, **spec},
    }


def cluster(
    name: str | None, namespace: str = "team", region: str = "eu-west-1", cluster_object_name: str = "demo", **more: object
) -> dict:
    reference = {"accountRef": {"name": name}} if name else {}
    return {
        "apiVersion": API,
        "kind": "EksCluster",
        "metadata": {"name": cluster_object_name, "namespace": namespace},
        "spec": {"region": region, "version": "1.34", **reference, **more},
    }


def adopting(account: str | None, cluster_object_name: str, namespace: str = "team", **more: object) -> dict:
    return cluster(account, namespace, cluster_object_name=cluster_object_name, adoptionPolicy="Adopt", **more)


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    with LocalCloud(aws=False, git=False, pooled=True) as cloud:
        cloud.install_crds()
        found = cloud.management.api
        found.apply_all(objects())
        for namespace in ("team", "other"):
            found.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        for name, spec in ACCOUNTS.items():
            found.apply(account(name, spec))
        await_cached(found, *ACCOUNTS)
        yield found


def await_cached(api: KubeApi, *accounts: str) -> None:
    """The API server watches policies and accounts: until it has them in its cache, it allows everything."""
    deadline = time.monotonic() + 60
    for name in accounts:
        probe = cluster(name, namespace="default", region="us-east-1")
        while name != "everyone" and rejection_message(api, probe) is None:
            assert time.monotonic() < deadline, f"the policy does not know account {name}"
            time.sleep(0.1)


def await_answer(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def rejection_message(api: KubeApi, item: dict) -> str | None:
    """The API server's rejection message, or None; nothing is stored."""
    path = api.path(item["apiVersion"], item["kind"], "", item["metadata"]["namespace"])
    try:
        api.request("POST", path, params={"dryRun": "All"}, json=item)
    except ApiError as error:
        assert error.code == 403, error
        return error.message
    return None


@pytest.mark.parametrize(
    ("item", "expected_message"),
    [
        pytest.param(cluster("team"), None, id="a namespace that is listed"),
        pytest.param(cluster("everyone", "other"), None, id="open to all"),
        pytest.param(cluster(None), None, id="no account, in a namespace that the default account allows"),
        pytest.param(
            cluster(None, "other"),
            'spec.accountRef is not set: AwsAccount "default" may not be used from namespace "other"',
            id="no account, in another namespace",
        ),
        pytest.param(
            cluster(None, region="us-east-1"),
            'AwsAccount "default" may not be used in region "us-east-1"; allowed: eu-west-1',
            id="no account, in another region",
        ),
        pytest.param(cluster("not-there-yet"), None, id="an account that does not exist yet"),
        pytest.param(cluster("europe", region="eu-central-1"), None, id="a region that is listed"),
        pytest.param(
            cluster("team", "other"),
            'AwsAccount "team" may not be used from namespace "other": its owner has to add',
            id="another namespace",
        ),
        pytest.param(
            cluster("nobody"), 'AwsAccount "nobody" may not be used from namespace "team"', id="open to no namespace"
        ),
        pytest.param(
            cluster("europe", region="us-east-1"),
            'AwsAccount "europe" may not be used in region "us-east-1"; allowed: eu-west-1, eu-central-1; choose',
            id="another region",
        ),
        pytest.param(
            cluster("europe", "other", "us-east-1"), "may not be used from namespace", id="both"
        ),
    ],
)
def test_account_is_usable_by_listed_namespaces_and_regions(api, item, expected_message):
    message = rejection_message(api, item)
    if expected_message is None:
        assert message is None
    else:
        assert message is not None and expected_message in message


@pytest.mark.parametrize(
    ("item", "allowed"),
    [
        pytest.param(adopting("adopting", "any"), True, id="all names"),
        pytest.param(adopting("adopting", "any", "other"), True, id="all namespaces"),
        pytest.param(adopting("legacy", "old"), True, id="a name"),
        pytest.param(adopting("legacy", "legacy-1"), True, id="a pattern"),
        pytest.param(adopting("legacy", "shop", clusterName="legacy-1"), True, id="the name in EKS"),
        pytest.param(adopting("legacy", "older"), False, id="a longer name"),
        pytest.param(adopting("legacy", "my-legacy-1"), False, id="a name that a pattern is a part of"),
        pytest.param(adopting("legacy", "old", clusterName="shop"), False, id="another name in EKS"),
        pytest.param(adopting("legacy", "old", "other"), False, id="a namespace that is not listed"),
        pytest.param(adopting("forbidding", "any"), False, id="Forbid is the default of policy"),
        pytest.param(adopting("team", "any"), False, id="no adoption at all"),
        pytest.param(adopting(None, "any"), False, id="the default account"),
    ],
)
def test_account_allows_adoption(api, item, allowed):
    # The rules that the API server caches last.
    await_adoption(api)
    message = rejection_message(api, item)
    if allowed:
        assert message is None
    else:
        assert message is not None and "to adopt a cluster called" in message and "spec.adoption" in message


def await_adoption(api: KubeApi) -> None:
    deadline = time.monotonic() + 60
    while rejection_message(api, adopting("forbidding", "any")) is None or rejection_message(api, adopting("legacy", "old")):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_adopted_cluster_keeps_its_adoption_policy_when_account_forbids_adoption(api):
    api.apply(account("passing", {"allowedNamespaces": ["team"], "adoption": {"policy": "Allow"}}))
    item = adopting("passing", "adopted")
    deadline = time.monotonic() + 60
    while rejection_message(api, item) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    api.create(item)
    api.apply(account("passing", {"allowedNamespaces": ["team"]}))
    while rejection_message(api, adopting("passing", "another")) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert api.patch(API, "EksCluster", "adopted", {"spec": {"tags": {"a": "b"}}}, "team")
    api.patch(API, "EksCluster", "adopted", {"spec": {"adoptionPolicy": "Refuse"}}, "team")
    with pytest.raises(ApiError, match="to adopt a cluster called"):
        api.patch(API, "EksCluster", "adopted", {"spec": {"adoptionPolicy": "Adopt"}}, "team")
    api.delete(API, "EksCluster", "adopted", "team")


@pytest.fixture
def closed(api) -> Iterator[dict]:
    """A cluster with Keelson's finalizer whose account was closed to its namespace after creation."""
    api.apply(account("closing", {"allowedNamespaces": ["team"]}))
    await_cached(api, "closing")
    # Nor has it the account as another test closed it.
    await_answer(lambda: rejection_message(api, cluster("closing")) is None)
    item = cluster("closing", cluster_object_name="closed")
    item["metadata"]["finalizers"] = ["keelson.dev/aws"]
    api.create(item)
    api.apply(account("closing", {"allowedNamespaces": ["other"]}))
    await_answer(lambda: rejection_message(api, cluster("closing")) is not None)
    yield item
    api.patch(API, "EksCluster", "closed", {"metadata": {"finalizers": None}}, "team")
    api.delete(API, "EksCluster", "closed", "team")
    api.wait_gone(API, "EksCluster", "closed", "team")


def test_edit_is_rejected_when_account_is_closed(api, closed):
    with pytest.raises(ApiError, match="may not be used from namespace"):
        api.patch(API, "EksCluster", "closed", {"spec": {"tags": {"a": "b"}}}, "team")
    patch = {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}}
    assert api.patch(API, "EksCluster", "closed", patch, "team")


def test_closed_account_allows_deletion(api, closed):
    api.delete(API, "EksCluster", "closed", "team")
    api.patch(API, "EksCluster", "closed", {"metadata": {"finalizers": None}}, "team")
    api.wait_gone(API, "EksCluster", "closed", "team")
    api.create({**closed, "metadata": {"name": "closed", "namespace": "team"}, "spec": cluster(None)["spec"]})


def test_deploy_base_contains_policies_and_bindings():
    policies, bindings = ([item for item in objects() if item["kind"] == kind] for kind in POLICY)
    names = [policy["metadata"]["name"] for policy in policies]
    assert [binding["spec"]["policyName"] for binding in bindings] == names
    assert {"keelson-accounts", "keelson-allowlists"} <= set(names)
