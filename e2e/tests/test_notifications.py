"""`--notify-url`: what needs a person is sent to an endpoint, signed and at least once, and so is its end.

The endpoint is `keelson_harness/webhook.py`, which verifies each request as Standard Webhooks and CloudEvents specify.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.account import fresh_account
from fleet.command_line import output
from fleet.environment import Environment, environment, stays, until
from fleet.manifests import cluster
from fleet.page_examples import page_examples
from fleet.rings import GOAL, Rings
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import ApiError, documents
from keelson_harness.paths import DEPLOY
from keelson_harness.pki import Authority
from keelson_harness.webhook import TOKEN, Webhook, new_key

HALTED, APPROVAL, SUPPORT = "dev.keelson.rollout.halted", "dev.keelson.approval.needed", "dev.keelson.support.ending"
STALLED = "dev.keelson.object.stalled"
# A pass, and a bit.
A_MOMENT = 3


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.8, 0.2, 0.5)) as started:
        yield started


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    started = Webhook()
    yield started
    started.close()


def settings(webhook: Webhook, directory: Path, **more: str) -> dict[str, str]:
    """As a chart sets them: the address may contain a token."""
    key = directory / "key"
    key.write_text(f"{webhook.key}\n")
    return {"KEELSON_NOTIFY_URL": webhook.url, "KEELSON_NOTIFY_SECRET_FILE": str(key), **more}


def count(operator, result: str) -> float:
    found = re.search(rf'^keelson_notifications_total\{{result="{result}"\}} (\S+)$', operator.metrics(), re.MULTILINE)
    assert found, result
    return float(found[1])


def pending(operator) -> str:
    return re.search(r"^keelson_notifications_pending (\S+)$", operator.metrics(), re.MULTILINE)[1]


def waiting(on: Environment, name: str) -> dict:
    """A cluster that waits for the approval of its creation."""
    item = cluster(name, changePolicy="Approval", addons=[])
    on.apply(item)
    return item


def test_rollout_that_waits_and_halts_is_reported_until_somebody_has_acted(on, webhook, tmp_path):
    fleet = Rings(on, {"canary": 1}, {"canary": {"approval": "Required"}}, gates=["ControlPlane"])
    (canary,) = fleet.clusters
    match = {"account": fleet.account.id, "action": "UpdateClusterVersion", "resource": f"*{canary['metadata']['name']}"}
    fault = on.aws.add_fault(match, {"health_issue": {"code": "Unknown", "message": "an internal failure"}})
    with on.operator(account=fleet.account.id, env=settings(webhook, tmp_path)):
        fleet.make()
        assert not webhook.events(name=fleet.name)
        fleet.upgrade()
        until(lambda: webhook.events(APPROVAL, fleet.name), 30, "the approval")
        (asked,) = webhook.events(name=fleet.name)
        assert (asked["type"], asked["subject"]) == (APPROVAL, f"FleetRollout/{fleet.name}")
        assert asked["source"].startswith("urn:keelson:") and asked["data"]["state"] == "Open"
        assert fleet.release()["waves"][0]["approvalHash"] in asked["data"]["message"]
        output(on, "rollout", "approve", fleet.name, "--yes")
        until(lambda: webhook.events(f"{APPROVAL}.resolved", fleet.name), 30, "the end of the wait")
        (_, answered) = webhook.events(APPROVAL, fleet.name)
        assert answered["data"]["state"] == "Resolved" and answered["data"]["need"] == asked["data"]["need"] == asked["id"]
        until(lambda: webhook.events(HALTED, fleet.name), 60, "the halt")
        (halted,) = webhook.events(HALTED, fleet.name)
        assert f"default/{canary['metadata']['name']}" in halted["data"]["message"] and "an internal failure" in halted["data"]["message"]
        on.aws.control("DELETE", "faults", params={"id": fault})
        on.reconcile(canary)
        output(on, "rollout", "retry", fleet.name, "--yes")
        until(lambda: webhook.events(f"{HALTED}.resolved", fleet.name), 30, "the end of the halt")
        until(fleet.has_arrived, 60, "the version")
        stays(lambda: len(webhook.events(name=fleet.name)) == 4, A_MOMENT, "each event once")
    ids = [event["id"] for event in webhook.events()]
    assert len(ids) == len(set(ids))
    fleet.go_away()


def test_endpoint_that_fails_gets_every_event_later_and_a_new_process_sends_it_again(on, webhook, tmp_path):
    account = fresh_account()
    webhook.status = 500
    env = settings(webhook, tmp_path)
    with on.operator(account=account, env=env) as operator:
        first, second = waiting(on, "refused-1"), waiting(on, "refused-2")
        until(lambda: webhook.refused() >= 3, 30, "attempts")
        # A redirect is not followed: the endpoint would not know the path.
        webhook.status = 307
        before = webhook.refused()
        until(lambda: webhook.refused() > before, 30, "an attempt that is redirected")
        assert count(operator, "failed") >= 4 and pending(operator) != "0"
        webhook.status = 200
        until(lambda: webhook.events(APPROVAL, "refused-1") and webhook.events(APPROVAL, "refused-2"), 90, "both events")
        until(lambda: pending(operator) == "0", 10, "nothing pending")
        (event,) = webhook.events(APPROVAL, "refused-1")
        # The answer to the next one is lost, with the process.
        webhook.hangs = True
        third = waiting(on, "refused-3")
        until(lambda: webhook.events(APPROVAL, "refused-3"), 30, "the event whose answer is lost")
        operator.restart()
        webhook.hangs = False
        operator.wait_ready()
        until(lambda: len(webhook.events(APPROVAL, "refused-3")) >= 2, 60, "the event again")
        until(lambda: len(webhook.events(APPROVAL, "refused-1")) == 2, 30, "what still needs a person, once by each process")
        assert {one["id"] for one in webhook.events(APPROVAL, "refused-1")} == {event["id"]}
        assert len({one["id"] for one in webhook.events(APPROVAL, "refused-3")}) == 1
        assert count(operator, "rejected") == 0
        on.force_delete(first)
        until(lambda: webhook.events(f"{APPROVAL}.resolved", "refused-1"), 30, "the end, as the object is gone")
        log = operator.log.read_text()
        assert "the endpoint does not take events" in log and "the endpoint takes events again" in log
        assert TOKEN not in log and webhook.key not in log
    on.force_delete(second, third)


def test_event_that_the_endpoint_rejects_is_given_up_and_is_in_the_log(on, webhook, tmp_path):
    webhook.status = 422
    with on.operator(account=fresh_account(), env=settings(webhook, tmp_path)) as operator:
        item = waiting(on, "rejected")
        until(lambda: webhook.refused("rejected"), 30, "the rejection")
        stays(lambda: webhook.refused("rejected") == 1, A_MOMENT, "one attempt")
        assert count(operator, "rejected") >= 1
        assert "the endpoint rejects an event" in operator.log.read_text()
    on.force_delete(item)


def test_endpoint_with_a_private_authority_and_a_key_that_is_replaced(on, tmp_path):
    authority = Authority(tmp_path / "pki", "ca")
    served = authority.serving("localhost")
    webhook = Webhook(tls=(served.cert, served.key))
    env = settings(webhook, tmp_path, KEELSON_NOTIFY_CA_FILE=str(authority.cert_file))
    with on.operator(account=fresh_account(), env=env):
        first = waiting(on, "tls-1")
        until(lambda: webhook.events(APPROVAL, "tls-1"), 30, "an event by TLS")
        # The receiver changes to the new key while both sign.
        old, webhook.key = webhook.key, new_key()
        (tmp_path / "key").write_text(f"{old}\n{webhook.key}\n")
        second = waiting(on, "tls-2")
        until(lambda: webhook.events(APPROVAL, "tls-2"), 30, "an event with the new key")
    webhook.close()
    on.force_delete(first, second)


def test_stalled_object_and_the_end_of_support_are_reported(on, webhook, tmp_path):
    account = on.account(fresh_account())
    soon = (datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=60)).isoformat()
    on.aws.control("POST", "releases", json={"account": account.id, "version": "1.36", "endOfStandardSupportDate": soon})
    item = cluster("old", addons=[], network={"vpc": {"zoneCount": 2, "nat": "None"}}, oidcProvider=False, version="1.36")
    # An operator whose minute lasts three seconds.
    with on.operator("--wait-deadline-scale=0.05", "--drift-interval=2s", account=account.id, env=settings(webhook, tmp_path)):
        on.apply(item)
        on.ready(item)
        until(lambda: webhook.events(SUPPORT, "old"), 30, "the end of support")
        (event,) = webhook.events(SUPPORT, "old")
        assert f"1.36 ends in 60 days, on {soon}" in event["data"]["message"]
        missing = cluster("lost", accountRef={"name": "missing"}, addons=[])
        on.apply(missing)
        until(lambda: webhook.events(STALLED, "lost"), 60, "the Stalled object")
        on.force_delete(missing)
        until(lambda: webhook.events(f"{STALLED}.resolved", "lost"), 30, "its end")
    on.force_delete(item)
    on.aws.reset_account(account.id)


def test_rollout_that_is_blocked_is_reported_and_idle_one_is_not(on, webhook, tmp_path):
    """A wave keeps a later one waiting, as the spec of its cluster does not ask for the version."""
    fleet = Rings(on, {"canary": 1, "prod": 1}, gates=["ControlPlane"])
    canary, prod = fleet.clusters
    # An operator whose minute lasts three seconds.
    with on.operator("--wait-deadline-scale=0.05", account=fleet.account.id, env=settings(webhook, tmp_path)):
        fleet.make()
        fleet.upgrade(prod)
        until(lambda: webhook.events(STALLED, fleet.name), 60, "the block")
        (event,) = webhook.events(STALLED, fleet.name)
        assert (event["subject"], event["data"]["reason"]) == (f"FleetRollout/{fleet.name}", "UpgradeBlocked"), event
        assert f"default/{canary['metadata']['name']}: its spec.version is " in event["data"]["message"], event
        # The commit is reverted, and comes again ring by ring: nobody is needed in between.
        fleet.edit(prod, version=canary["spec"]["version"])
        until(lambda: webhook.events(f"{STALLED}.resolved", fleet.name), 60, "the end of the block")
        fleet.upgrade(canary)
        until(lambda: fleet.has_arrived(canary), 60, "the canary's version")
        rest = fleet.await_state("Completed", 60)
        assert rest["message"] == f"no cluster of wave prod asks for {GOAL} now", rest
        stays(lambda: len(webhook.events(name=fleet.name)) == 2, 2 * A_MOMENT, "no event while it is idle")
    fleet.go_away()


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"KEELSON_NOTIFY_URL": "https://hooks.example.com"}, "--notify-url needs --notify-secret-file"),
        ({"KEELSON_NOTIFY_URL": "https://hooks.example.com", "KEELSON_NOTIFY_SECRET_FILE": "/nonexistent"}, "/nonexistent: No such file"),
        ({"KEELSON_NOTIFY_URL": "hooks.example.com", "KEELSON_NOTIFY_SECRET_FILE": "/nonexistent"}, "not a URL"),
    ],
)
def test_operator_does_not_start_with_notifications_that_cannot_be_sent(on, env, why):
    operator = on.start(env=env, wait=False)
    until(lambda: not operator.alive, 20, "the end of the process")
    assert why in operator.log.read_text()


def test_flux_accepts_the_example_of_the_page_and_no_kind_of_keelson(on):
    """With the CRDs of the Flux that Keelson installs."""
    (version,) = sorted((DEPLOY / "flux").glob("v2.9.*"))
    crds = [item for file in ("notification-controller.yaml", "kustomize-controller.yaml") for item in documents(version / file)]
    crds = [item for item in crds if item["kind"] == "CustomResourceDefinition"]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-system"}}
    examples = page_examples("how-to/notifications.md")
    assert {"Alert", "Provider", "Kustomization"} <= {item["kind"] for item in examples}
    try:
        on.api.apply_all([*crds, namespace, *examples])
        (alert,) = [item for item in examples if item["kind"] == "Alert"]
        foreign = {**alert, "spec": {**alert["spec"], "eventSources": [{"kind": "FleetRollout", "name": "main"}]}}
        with pytest.raises(ApiError, match="Unsupported value"):
            on.api.apply_all([foreign])
    finally:
        for item in crds:
            on.api.delete(item["apiVersion"], item["kind"], item["metadata"]["name"])
