"""Checks of a FleetRollout: queries of a real Prometheus, Jobs and conditions of our own objects decide whether the wave after may begin.

What is not known is never good: no data, NaN, a server that is down, hangs or refuses.
"""

from __future__ import annotations

import base64
import datetime
import time

import pytest

from fleet import API
from fleet.check_servers import hanging, prometheus, protected
from fleet.environment import environment, stays, until, within
from fleet.rings import Rings
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions
from keelson_harness.pki import Authority
from keelson_harness.processes import free_port

OF_CLUSTER = 'errors{cluster="${CLUSTER_NAME}"}'
# The shortest that admission allows.
INTERVAL = 5
# A check that still runs has run within this time.
A_RUN = INTERVAL + 2
TOKEN = "t0ken-of-the-fleet"
RBAC = "rbac.authorization.k8s.io/v1"
JOBS = {
    "apiVersion": RBAC,
    "kind": "RoleBinding",
    "metadata": {"name": "keelson-jobs", "namespace": "default"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keelson-jobs"},
    "subjects": [{"kind": "ServiceAccount", "name": "keelson", "namespace": "keelson-system"}],
}


@pytest.fixture(scope="module")
def on():
    options = {"workload": False, "git": False, "flux": False, "management_pods": True}
    with environment(**options, durations=Durations(1, 1, 0.5, 0.8, 0.2, 0.5)) as started:
        started.cloud.management_kubelet.namespaces.add("default")
        started.cloud.operator_account()
        started.apply(JOBS)
        yield started


@pytest.fixture
def errors(tmp_path):
    """A Prometheus, and the metric that it has."""
    with prometheus(tmp_path / "prometheus") as (server, metric):
        yield server, metric


def query(address: str, query: str = OF_CLUSTER, **spec: object) -> dict:
    """A check that errors are below 1%."""
    return {"name": "errors", "prometheus": {"address": address, "query": query, "max": 0.01, "interval": f"{INTERVAL}s", **spec}}


def rings(on, check: dict, **canary: object) -> Rings:
    return Rings(on, {"canary": 1, "prod": 1}, {"canary": {"checks": [check], **canary}})


def name_of(fleet: Rings) -> str:
    return fleet.rings["canary"][0]["metadata"]["name"]


def await_value(errors, fleet: Rings, value: object) -> None:
    server, metric = errors
    metric.set(**{name_of(fleet): value})
    until(lambda: server.value("errors") == [str(value)], 20, f"errors of {value}")


def message(fleet: Rings) -> str:
    return fleet.release().get("message", "")


def await_message(fleet: Rings, text: str, seconds: float = 30) -> None:
    until(lambda: text in message(fleet), seconds, f"{text!r}, and not {fleet.release()}")


def change(fleet: Rings, check: dict) -> None:
    waves = [{**wave, "checks": [check]} if wave["name"] == "canary" else wave for wave in fleet.rollout["spec"]["waves"]]
    fleet.edit(fleet.rollout, waves=waves)


def has_not_begun(fleet: Rings) -> bool:
    return fleet.rings_of_updates() == ["canary"]


def test_canary_that_fails_a_query_halts_every_wave_until_it_is_retried(on, errors):
    server, metric = errors
    fleet = rings(on, query(server.url, failureLimit=1))
    cluster = f"default/{name_of(fleet)}"
    await_value(errors, fleet, 0.04)
    with on.operator(account=fleet.account.id):
        fleet.make()
        fleet.upgrade()
        await_message(fleet, f"wave canary waits for check errors: EksCluster {cluster}: 0.04 is above 0.01 (failure 1 of 1)", 90)
        halted = fleet.await_state("Halted")
        named = f"check errors: EksCluster {cluster}: 0.04 is above 0.01 (2 consecutive failures, failureLimit is 1)"
        assert named in halted["message"] and halted["waves"][0]["state"] == "Failed", halted
        assert conditions(fleet.found())["Stalled"]["status"] == "True"
        # The column has as much of it as fits.
        assert named.partition(" (")[0] in on.api.table(API, "FleetRollout", name=fleet.name)
        version, mark = fleet.found()["metadata"]["resourceVersion"], on.mark()
        steady = lambda: not on.writes(mark, fleet.account.id) and fleet.found()["metadata"]["resourceVersion"] == version  # noqa: E731
        stays(steady, A_RUN, "the halt, in which nothing begins and nothing is written")
        await_value(errors, fleet, 0.001)
        fleet.annotate(retry=halted["message"].rpartition(" to ")[2])
        until(fleet.has_arrived, 60, "all versions")
        (check,) = fleet.await_state("Completed")["waves"][0]["checks"]
        assert (check["state"], check["failures"], check["errors"]) == ("Passed", 0, 0), check
        # A release that is complete is no longer checked.
        until(lambda: not fleet.release().get("tickets"), 20, "all tickets are returned")
        metric.set()
        version = fleet.found()["metadata"]["resourceVersion"]
        stays(lambda: fleet.found()["metadata"]["resourceVersion"] == version, A_RUN, "nothing is written while it is idle")
    fleet.go_away()


def test_what_is_not_known_is_never_good(on, errors):
    server, metric = errors
    fleet = rings(on, query(f"http://127.0.0.1:{free_port()}", errorLimit=100))
    with on.operator(account=fleet.account.id), hanging() as hangs:
        fleet.make()
        fleet.upgrade()
        await_message(fleet, "the server cannot be reached", 90)
        for check, text in [
            (query(hangs, errorLimit=100, timeout="1s"), "no answer within 1 s"),
            (query(server.url, "errors_of_nobody", errorLimit=100), "no data"),
            (query(server.url, "vector(0) / 0", errorLimit=100), "the query returned NaN"),
            (query(server.url, "vector(1) / 0", errorLimit=100), "the query returned inf"),
            (query(server.url, "sum(", errorLimit=100), "the server answered 400 Bad Request"),
            (query(f"{server.url}/other", "vector(0)", errorLimit=100), "the server answered 404 Not Found"),
            (query(server.url, 'vector(0) or label_replace(vector(0), "a", "b", "c", ".*")', errorLimit=100), "returned 2 series"),
        ]:
            change(fleet, check)
            await_message(fleet, text)
            assert fleet.release()["waves"][0]["checks"][0]["state"] == "Error" and has_not_begun(fleet)
        # One that hangs for a minute delays nothing else.
        change(fleet, query(hangs, errorLimit=100, timeout="1m"))
        await_message(fleet, "it has no result yet")
        fleet.edit(fleet.rollout, suspend=True)
        within(lambda: fleet.release().get("state") == "Suspended", 20, "the suspension while a query hangs")
        fleet.edit(fleet.rollout, suspend=False)
        within(lambda: "it has no result yet" in message(fleet), 20, "the end of the suspension while a query hangs")
        # Real, and killed.
        await_value(errors, fleet, 0.5)
        change(fleet, query(server.url, failureLimit=100, errorLimit=100))
        await_message(fleet, "0.5 is above 0.01")
        server.process.kill()
        await_message(fleet, "the server cannot be reached")
        server.start()
        await_message(fleet, "0.5 is above 0.01")
        assert has_not_begun(fleet)
        await_value(errors, fleet, 0)
        until(fleet.has_arrived, 60, "all versions")
    fleet.go_away()


def test_errors_halt_at_their_limit(on):
    fleet = rings(on, query(f"http://127.0.0.1:{free_port()}", errorLimit=1))
    with on.operator(account=fleet.account.id):
        fleet.make()
        fleet.upgrade()
        assert "(2 consecutive errors, errorLimit is 1)" in fleet.await_state("Halted", 90)["message"]
        assert has_not_begun(fleet)
    fleet.go_away()


def secret(data: dict[str, str], **labels: str) -> dict:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "prometheus", "namespace": "default", "labels": labels}, "data": encoded}


def test_token_of_a_secret_over_tls(on, errors, tmp_path):
    server, _ = errors
    use = {"keelson.dev/use": "prometheus"}
    with protected(tmp_path, server.url, TOKEN) as (url, authority):
        reference = {"secretRef": {"namespace": "default", "name": "prometheus"}, "errorLimit": 100}
        fleet = rings(on, query(url, **reference))
        await_value(errors, fleet, 0)
        with on.operator(account=fleet.account.id) as operator:
            fleet.make()
            fleet.upgrade()
            await_message(fleet, "Secret default/prometheus not found", 90)
            on.apply(secret({"token": TOKEN}))
            await_message(fleet, "Secret default/prometheus has no label keelson.dev/use")
            on.apply(secret({"token": TOKEN}, **use))
            await_message(fleet, "certificate")
            on.apply(secret({"token": TOKEN, "ca.crt": authority}, **use))
            await_message(fleet, "the server answered 401 Unauthorized: not authorized with Bearer ***")
            assert has_not_begun(fleet)
            # The check's own authority takes precedence over that of the Secret.
            foreign = Authority(tmp_path / "foreign", "foreign-ca").cert_file.read_text()
            on.apply(secret({"token": TOKEN, "ca.crt": foreign, "header.X-Scope-OrgID": "fleet"}, **use))
            await_message(fleet, "certificate")
            assert has_not_begun(fleet)
            change(fleet, query(url, certificateAuthority=authority, **reference))
            until(fleet.has_arrived, 60, "all versions")
            assert TOKEN not in str(fleet.found()) + str(on.events(fleet.rollout)) + operator.log.read_text(errors="replace")
        on.api.delete("v1", "Secret", "prometheus")
        fleet.go_away()


def test_killed_in_the_soak_the_wave_does_not_pass_without_its_check(on, errors):
    server, _ = errors
    soak = 10
    fleet = rings(on, query(server.url, errorLimit=100), soak=f"{soak}s")
    await_value(errors, fleet, 0)
    with on.operator(account=fleet.account.id) as operator:
        fleet.make()
        fleet.upgrade()
        fleet.await_state("Soaking", 90)
        until(lambda: [check["state"] for check in fleet.release()["waves"][0]["checks"]] == ["Passed"], 10, "a result in the soak")
        operator.kill()
        server.process.kill()
        began = time.monotonic()
        until(lambda: time.monotonic() - began > soak, soak + 5, "the end of the soak")
        operator.restart()
        on.await_ready(operator)
        await_message(fleet, "the server cannot be reached")
        assert message(fleet).startswith("wave canary waits for check errors"), message(fleet)
        stays(lambda: has_not_begun(fleet), INTERVAL, "the wave, which has no result of its end")
        server.start()
        until(fleet.has_arrived, 60, "all versions")
    fleet.go_away()


def condition(**spec: object) -> dict:
    return {"name": "condition", "condition": {"interval": f"{INTERVAL}s", "failureLimit": 100, "errorLimit": 100, **spec}}


def test_condition_must_have_lasted_for_the_soak_and_one_that_is_absent_is_never_good(on):
    soak = 8
    check = condition(kind="NodeGroup", type="NodesReady")
    fleet = Rings(on, {"canary": 1, "prod": 1}, {"canary": {"checks": [check], "soak": f"{soak}s"}}, gates=["ControlPlane"])
    cluster = f"default/{name_of(fleet)}"
    with on.operator(account=fleet.account.id):
        fleet.make()
        fleet.upgrade()
        await_message(fleet, f"check condition: EksCluster {cluster}: it has no NodeGroup that is not suspended (error", 90)
        assert fleet.release()["waves"][0]["checks"][0]["state"] == "Error" and has_not_begun(fleet)
        change(fleet, condition(type="ControlPlaneReady", status="False"))
        await_message(fleet, f"check condition: EksCluster {cluster}: ControlPlaneReady is True: Available")
        # Without a limit it halts.
        change(fleet, condition(type="ControlPlaneReady", status="False", failureLimit=0))
        halted = fleet.await_state("Halted")
        assert "(1 consecutive failures, failureLimit is 0)" in halted["message"] and has_not_begun(fleet), halted
        change(fleet, condition(type="ControlPlaneReady"))
        fleet.annotate(retry=halted["message"].rpartition(" to ")[2])
        until(fleet.has_arrived, 60, "all versions")
        canary = fleet.await_state("Completed")["waves"][0]
        (found,) = canary["checks"]
        assert found["state"] == "Passed", found
        since, passed = (datetime.datetime.fromisoformat(at) for at in (found["since"], canary["passedAt"]))
        assert (passed - since).total_seconds() >= soak, canary
    fleet.go_away()


def cron_job(command: str) -> dict:
    container = {"name": "main", "image": "local", "command": ["sh", "-c", command]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    template = {"spec": {"backoffLimit": 0, "template": {"spec": pod}}}
    return {
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "smoke", "namespace": "default"},
        "spec": {"suspend": True, "schedule": "0 0 1 1 *", "jobTemplate": template},
    }


def jobs(on) -> list[dict]:
    return [job for job in on.api.list("batch/v1", "Job", "default") if job["metadata"]["labels"].get("keelson.dev/check") == "smoke"]


def late(on) -> list[dict]:
    """Those that Kubernetes has ended at their deadline of two seconds."""
    reasons = lambda job: {one.get("reason") for one in job.get("status", {}).get("conditions", [])}  # noqa: E731
    return [job for job in jobs(on) if job["spec"]["activeDeadlineSeconds"] == 2 and "DeadlineExceeded" in reasons(job)]


def test_job_must_succeed_and_one_that_is_deleted_runs_again(on, tmp_path):
    said = tmp_path / "said"
    check = {"name": "smoke", "job": {"cronJob": {"namespace": "default", "name": "smoke"}, "interval": "5s", "failureLimit": 9}}
    # One release: each runs its own Job.
    fleet = Rings(on, {"canary": 1, "prod": 1}, {"canary": {"checks": [check]}}, gates=["ControlPlane"])
    cluster = f"default/{name_of(fleet)}"
    with on.operator(account=fleet.account.id) as operator:
        fleet.make()
        fleet.upgrade()
        await_message(fleet, "check smoke: CronJob default/smoke does not exist", 90)
        on.apply(cron_job("sleep 3600"))
        (job,) = until(lambda: jobs(on), 20, "a Job")
        # A restart finds it again.
        operator.restart()
        on.await_ready(operator)
        stays(lambda: len(jobs(on)) == 1 and has_not_begun(fleet), INTERVAL, "one Job")
        on.apply(cron_job("echo no connection >&2; exit 3"))
        on.api.delete("batch/v1", "Job", job["metadata"]["name"])
        await_message(fleet, f"Job default/{job['metadata']['name']}: the Job")
        assert "deleted before" in message(fleet), message(fleet)
        await_message(fleet, "container main exited with code 3")
        assert "no connection" in message(fleet) and has_not_begun(fleet)
        # One that takes too long is ended by Kubernetes, and has failed.
        on.apply(cron_job("sleep 3600"))
        change(fleet, {**check, "job": {**check["job"], "timeout": "2s"}})
        until(lambda: [one for one in late(on) if f"Job default/{one['metadata']['name']}: " in message(fleet)], 60, "its timeout")
        found = fleet.release()["waves"][0]["checks"][0]
        assert found["state"] == "Failed" and found["failures"] >= 1 and has_not_begun(fleet), found
        on.apply(cron_job(f'echo "$KEELSON_ROLLOUT $KEELSON_WAVE $KEELSON_GATE $KEELSON_TARGET $KEELSON_CLUSTERS" > {said}'))
        change(fleet, check)
        until(fleet.has_arrived, 60, "all versions")
        assert said.read_text().split() == [fleet.name, "canary", "ControlPlane", "1.34", cluster]
        # They stay for a day.
        assert {one["spec"]["ttlSecondsAfterFinished"] for one in jobs(on)} == {24 * 3600}
        assert {one["spec"]["activeDeadlineSeconds"] for one in jobs(on)} == {2, 30 * 60}
        owners = [owner["name"] for one in jobs(on) for owner in one["metadata"]["ownerReferences"]]
        assert set(owners) == {fleet.name}
    fleet.go_away()
