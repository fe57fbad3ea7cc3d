"""Jobs in the management cluster: the Job controller is the real one, and a Pod's command is a process with its exit code."""

from collections.abc import Iterator

import pytest

from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import KubeApi


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    with LocalCloud(aws=False, git=False, flux=False, management_pods=True) as cloud:
        cloud.management_kubelet.namespaces.add("default")
        yield cloud.management.api


def ended(api: KubeApi, name: str, command: str, **spec: object) -> tuple[dict, list[dict]]:
    """The conditions of a Job that has ended, by type, and its Pods."""
    container = {"name": "main", "image": "local", "command": ["sh", "-c", command], "env": [{"name": "WHAT", "value": "words"}]}
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    pod = {"restartPolicy": "Never", "containers": [container], **spec}
    api.create({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    })
    is_over = lambda job: any(one["type"] in ("Complete", "Failed") for one in job.get("status", {}).get("conditions", []))
    job = api.wait("batch/v1", "Job", name, is_over, timeout=30)
    pods = [pod for pod in api.list("v1", "Pod", "default") if pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == name]
    return {one["type"]: one for one in job["status"]["conditions"]}, pods


def test_job_completes_when_its_command_exits_with_zero(api):
    conditions, [pod] = ended(api, "good", "[ $WHAT = words ]")
    assert conditions["Complete"]["status"] == "True" and pod["status"]["phase"] == "Succeeded"


def test_job_fails_with_the_exit_code_and_the_last_words_of_its_command(api):
    conditions, [pod] = ended(api, "bad", "echo last $WHAT; exit 3")
    assert conditions["Failed"]["reason"] == "BackoffLimitExceeded"
    [status] = pod["status"]["containerStatuses"]
    assert (status["state"]["terminated"]["exitCode"], status["state"]["terminated"]["message"]) == (3, "last words\n")


def test_init_container_that_fails_ends_the_pod(api):
    init = {"name": "init", "image": "local", "command": ["false"]}
    conditions, [pod] = ended(api, "init", "true", initContainers=[init])
    assert conditions["Failed"]["status"] == "True" and pod["status"]["phase"] == "Failed"
