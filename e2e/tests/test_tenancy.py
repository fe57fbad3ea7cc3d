"""Two accounts, two namespaces, and a tenant who tries everything (faults 47 to 52): denied before any AWS call, and nothing
secret is ever told. An account that cannot be reached is its own clusters' trouble only.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
import yaml

from fleet import API
from fleet.account import Account, fresh_account
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, flux, key_of, namespace, node_group, secret
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import ACCOUNT, Durations
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import ApiError, KubeApi, conditions
from tenancy import Attempt
from tenancy.attempts import CLOSED, OWN, TENANT, THEIRS, VICTIM, accounts, injections, secrets, sources

AT_ADMISSION = [a for a in (*accounts(), *sources(), *secrets(), *injections()) if not a.reason]
BY_CONDITION = [a for a in (*accounts(), *sources(), *secrets()) if a.reason]
SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None", "publicSubnets": False}}, "addons": [{"name": "vpc-cni"}]}
EXTERNAL_ID = "fleet-6f1e2c0a"
DEPLOY_KEY = "the-vaults-own-deploy-key"
# As long as AWS's sessions last here: a fraction of a test.
SESSION_SECONDS = 8


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)) as started:
        yield started


@dataclass
class Tenants:
    """Two namespaces with an account each; `mallory` may what a tenant of `team-search` may."""

    operator: Controller
    search: Account
    vault: Account
    closed: Account
    mallory: KubeApi
    # The place in the call log before the first attempt.
    mark: int


def reach(on: Environment, theirs: Account, name: str, *namespaces: str, **spec: object) -> dict:
    """An AwsAccount that the operator assumes a role in, by external id."""
    role = theirs.role("keelson", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "AdministratorAccess", external_id=EXTERNAL_ID)
    given = {"roleArn": role, "externalId": EXTERNAL_ID, "allowedNamespaces": list(namespaces), **spec}
    return aws_account(name, theirs.id, **given)


@pytest.fixture(scope="module")
def tenants(on: Environment) -> Tenants:
    search, vault, closed = (on.account(fresh_account()) for _ in range(3))
    on.apply(namespace(TENANT), namespace(VICTIM))
    on.apply(
        reach(on, search, OWN, TENANT, allowedRegions=["eu-west-1"]),
        reach(on, vault, THEIRS, VICTIM),
        reach(on, closed, CLOSED),
        secret("deploy-key", VICTIM, username="vault", password=DEPLOY_KEY),
    )
    operator = on.start(env={"KEELSON_ALLOW_HTTP_GIT": "false", "KEELSON_ALLOW_AMBIENT_ACCOUNT": "false"})
    for name in (OWN, THEIRS, CLOSED):
        on.await_condition(aws_account(name, "", allowedNamespaces=[]), timeout=30)
    return Tenants(operator, search, vault, closed, mallory(on), on.mark())


def mallory(on: Environment) -> KubeApi:
    """A person whom deploy/rbac-users.yaml lets edit clusters in `team-search`, and who may make Secrets there."""
    plane = on.cloud.management
    rules = [
        {"apiGroups": ["keelson.dev"], "resources": ["eksclusters", "nodegroups"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]},
    ]
    meta = {"name": "tenant", "namespace": TENANT}
    rbac = "rbac.authorization.k8s.io"
    on.apply(
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "tenant"},
            "subjects": [{"kind": "User", "name": "mallory", "apiGroup": rbac}],
        },
    )
    user = yaml.safe_load(plane.kubeconfig_for("mallory").read_text())["users"][0]["user"]
    return KubeApi(plane.url, plane.ca_file, (user["client-certificate"], user["client-key"]))


def create(api: KubeApi, item: dict) -> None:
    path = api.path(item["apiVersion"], item["kind"], "", item["metadata"].get("namespace", "default"))
    api.request("POST", path, params={"fieldValidation": "Strict"}, json=item)


@pytest.mark.parametrize("attempt", AT_ADMISSION, ids=str)
def test_is_refused_at_admission(tenants, attempt: Attempt):
    with pytest.raises(ApiError) as refused:
        create(tenants.mallory, attempt.item)
    assert refused.value.code in (400, 422), refused.value
    for words in attempt.says:
        assert words in refused.value.message


@pytest.fixture(scope="module")
def tried(tenants) -> Tenants:
    """All that the API server takes, at once."""
    for attempt in BY_CONDITION:
        for item in (*attempt.needs, attempt.item):
            create(tenants.mallory, item)
    return tenants


@pytest.mark.parametrize("attempt", BY_CONDITION, ids=str)
def test_is_denied_by_a_condition(on, tried, attempt: Attempt):
    found = on.await_condition(attempt.item, status="False", reason=attempt.reason, timeout=30)
    message = conditions(found)["Ready"]["message"]
    for words in attempt.says:
        assert words in message


def test_none_of_it_made_a_call_to_the_others_accounts_nor_a_write_anywhere(on, tried):
    for attempt in BY_CONDITION:
        on.await_condition(attempt.item, status="False", reason=attempt.reason, timeout=30)
    for theirs in (tried.vault, tried.closed):
        assert actions(on.calls(tried.mark, theirs.id)) == []
    assert actions(on.writes(tried.mark)) == []
    # Nor was a role of theirs assumed once more.
    assumed = [call["resource"] for call in on.calls(tried.mark) if call["action"] == "AssumeRole"]
    assert not any(theirs.id in arn for arn in assumed for theirs in (tried.vault, tried.closed))


def test_a_tenant_cannot_touch_accounts_nor_another_namespace(tenants):
    api, theirs = tenants.mallory, cluster("vault", VICTIM, accountRef={"name": THEIRS})
    tries = [
        lambda: api.create(aws_account("mine", tenants.vault.id, allowedNamespaces=[TENANT])),
        lambda: api.patch(API, "AwsAccount", THEIRS, {"spec": {"allowedNamespaces": ["*"]}}, None),
        lambda: api.patch(API, "AwsAccount", THEIRS, {"status": {}}, None, "status"),
        lambda: api.get(API, "AwsAccount", THEIRS, None),
        lambda: api.create(theirs),
        lambda: api.list(API, "EksCluster", VICTIM),
        lambda: api.get("v1", "Secret", "deploy-key", VICTIM),
    ]
    for attempt in tries:
        with pytest.raises(ApiError) as refused:
            attempt()
        assert refused.value.code == 403


@pytest.mark.parametrize("given", [{"externalId": "guessed"}, {"externalId": None}], ids=["wrong", "missing"])
def test_a_role_that_asks_for_an_external_id_is_closed_without_it(on, tenants, given):
    """Fault 48: for the account, and for the cluster in it; and nothing but the AssumeRole was tried."""
    theirs = on.account(fresh_account())
    name = "guess" if given["externalId"] else "no-id"
    item = reach(on, theirs, name, TENANT, **given)
    item["spec"] = {key: value for key, value in item["spec"].items() if value is not None}
    mark = on.mark()
    guess = cluster(name, TENANT, accountRef={"name": name}, **SMALL)
    on.apply(item, guess)
    for each in (item, guess):
        found = on.await_condition(each, status="False", reason="AccessDenied", timeout=30)
        message = conditions(found)["Ready"]["message"]
        assert "AssumeRole" in message and "external id" in message
        assert EXTERNAL_ID not in message and "guessed" not in message
    assert actions(on.calls(mark, theirs.id)) == []
    on.delete(guess, item)


@pytest.fixture(scope="module")
def both(on, tenants) -> tuple[dict, dict]:
    """A cluster of each tenant, in an account of its own."""
    made = (
        cluster("search", TENANT, accountRef={"name": OWN}, **SMALL),
        cluster("vault", VICTIM, accountRef={"name": THEIRS}, **SMALL, gitops=flux("https://git.example.com/vault", secretRef={"name": "deploy-key"})),
    )
    on.apply(*made)
    for item in made:
        on.await_condition(item, "InSync", timeout=60)
    return made


def test_each_acts_under_a_session_that_names_its_account(on, tenants, both):
    for name, theirs in ((OWN, tenants.search), (THEIRS, tenants.vault)):
        writes = on.writes(0, theirs.id)
        sessions = {write.get("session") for write in writes if write["action"] == "CreateCluster"}
        assert sessions == {f"keelson/keelson-{name}"}


def test_two_namespaces_of_one_account_cannot_take_each_others_clusters(on, tenants):
    shared = on.account(fresh_account())
    theirs, thief = (
        cluster(name, where, clusterName="till", accountRef={"name": "shared"}, **SMALL)
        for name, where in (("till", VICTIM), ("thief", TENANT))
    )
    on.apply(reach(on, shared, "shared", VICTIM, TENANT), theirs)
    on.await_condition(theirs, "InSync", timeout=60)
    mark, before = on.mark(), shared.inventory()
    create(tenants.mallory, thief)
    found = on.await_condition(thief, status="False", reason="NotOwned", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert "cluster till" in message and VICTIM not in message
    on.delete(thief)
    assert actions(on.writes(mark, shared.id)) == [] and shared.inventory() == before
    on.delete(theirs)


def test_a_closed_account_keeps_nobody_from_deleting_what_was_made_in_it(on, tenants):
    closing = on.account(fresh_account())
    mine = cluster("closing", TENANT, accountRef={"name": "closing"}, **SMALL)
    group = node_group("closing", namespace=TENANT, deletionPolicy="Delete")
    before = reach(on, closing, "closing", TENANT)
    on.apply(before, mine)
    on.await_condition(mine, "InSync", timeout=60)
    on.apply(group)
    on.await_condition(group, "InSync", timeout=60)
    spec = {**before["spec"], "allowedNamespaces": [VICTIM], "allowedRegions": ["us-east-1"]}
    on.apply({**before, "spec": spec})
    on.await_condition(mine, "Stalled", reason="AccessDenied", timeout=30)
    mark = on.mark()
    # Nothing was made for this one: it goes without a call.
    late = cluster("late", TENANT, accountRef={"name": "closing"}, **SMALL)
    on.apply(late)
    on.await_condition(late, "Stalled", reason="AccessDenied", timeout=30)
    on.delete(late)
    # What changed in the account is looked at by itself.
    assert actions([call for call in on.calls(mark, closing.id) if call["service"] != "sts"]) == []
    on.delete(mine, timeout=60)
    assert closing.inventory() == {"roles": ["keelson"]}


def test_an_account_that_is_closed_stalls_its_own_clusters_only(on, tenants, both):
    search, vault = both
    role = {"RoleName": "keelson"}
    trust = tenants.vault.iam.get_role(**role)["Role"]["AssumeRolePolicyDocument"]
    nobody = json.loads(json.dumps(trust).replace(EXTERNAL_ID, "changed"))
    on.aws.control("POST", "settings", json={"sts_max_session_seconds": SESSION_SECONDS})
    try:
        tenants.vault.iam.update_assume_role_policy(**role, PolicyDocument=json.dumps(nobody))
        # A new process holds no session of before.
        tenants.operator.restart()
        on.await_ready(tenants.operator)
        on.await_condition(aws_account(THEIRS, ""), status="False", reason="AccessDenied", timeout=40)
        poke(on, vault)
        on.await_condition(vault, "Stalled", reason="AccessDenied", timeout=40)
        mark = on.mark()
        on.api.patch(*key_of(search)[:3], {"spec": {"tags": {"asked": "meanwhile"}}}, TENANT)
        on.await_condition(search, "InSync", timeout=40)
        tags = tenants.search.eks.describe_cluster(name="search")["cluster"]["tags"]
        assert tags["asked"] == "meanwhile" and actions(on.writes(mark, tenants.vault.id)) == []
    finally:
        tenants.vault.iam.update_assume_role_policy(**role, PolicyDocument=json.dumps(trust))
    poke(on, vault)
    on.await_condition(vault, "InSync", timeout=60)


def poke(on: Environment, item: dict) -> None:
    version, kind, name, where = key_of(item)
    annotation = {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(on.mark())}}}
    on.api.patch(version, kind, name, annotation, where)


def test_sessions_are_renewed_before_they_end(on, tenants, both):
    """They last some seconds here; none of the calls meanwhile was refused for an old one."""
    search = both[0]
    on.aws.control("POST", "settings", json={"sts_max_session_seconds": SESSION_SECONDS})
    tenants.operator.restart()
    on.await_ready(tenants.operator)
    mark = on.mark()

    def renewed() -> bool:
        poke(on, search)
        assumed = [call for call in on.calls(mark) if call["action"] == "AssumeRole" and tenants.search.id in call["resource"]]
        return len(assumed) >= 3

    until(renewed, 6 * SESSION_SECONDS, "the second renewal")
    refused = [call for call in on.calls(mark, tenants.search.id) if "Expired" in call["error"]]
    assert refused == []
    on.await_condition(search, "InSync", timeout=30)


# Beginnings of what grants access: a session's key and token, an EKS token, a signature, a bearer.
TOKENS = re.compile(r"keelson-session-|k8s-aws-v1\.|X-Amz-Signature=[0-9a-f]|X-Amz-Security-Token=|ASIA[A-Z2-7]{16}|Bearer [\w-]{8}")


def test_no_token_secret_or_key_is_in_any_log_event_or_status(on, tenants, tried, both):
    """Fault 52: in all that this file brought about."""
    told = {f"log {c.name}": c.log.read_text() for c in on.cloud.controllers}
    told["events"] = json.dumps(on.api.list("events.k8s.io/v1", "Event", None))
    for kind in ("EksCluster", "NodeGroup", "AwsAccount"):
        told[kind] = json.dumps([item.get("status") for item in on.api.list(API, kind, None)])
    assert len(told["events"]) > 1000 and len(told["EksCluster"]) > 1000
    for where, text in told.items():
        found = TOKENS.search(text)
        assert not found, f"{where}: {text[max(0, found.start() - 80) : found.end()]}"
        assert DEPLOY_KEY not in text, where
        assert EXTERNAL_ID not in text, where


def test_afterwards_each_goes_and_leaves_nothing(on, tenants, tried, both):
    on.delete(*(attempt.item for attempt in BY_CONDITION), timeout=60)
    on.delete(*both, timeout=60)
    for theirs in (tenants.search, tenants.vault, tenants.closed):
        assert theirs.inventory() == {"roles": ["keelson"]}
