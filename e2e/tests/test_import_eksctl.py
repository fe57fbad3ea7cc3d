"""`keelson import --eksctl`: what it writes is taken by the real API server as it is; what it leaves out is said twice.

What becomes of which field is in the tables of src/cli/import/eksctl/tests.rs.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import KubeApi
from keelson_harness.paths import CHECKOUT, keelson_binary

FILES = sorted((CHECKOUT / "src/cli/import/eksctl/testdata").glob("*.yaml"))
LEAST = {
    "apiVersion": "eksctl.io/v1alpha5",
    "kind": "ClusterConfig",
    "metadata": {"name": "demo", "region": "eu-west-1", "version": "1.34"},
}


def convert(path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [keelson_binary(), "import", "--eksctl", str(path), *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def write(directory: Path, **fields) -> Path:
    path = directory / "cluster.yaml"
    path.write_text(json.dumps({**LEAST, **fields}))
    return path


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    with LocalCloud(aws=False, git=False) as cloud:
        cloud.install_crds()
        yield cloud.management.api


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_api_server_takes_what_is_written(api, path):
    done = convert(path, "--namespace=default", "--account-ref=prod")
    assert done.returncode == 0, done.stderr
    items = list(yaml.safe_load_all(done.stdout))
    assert [item["kind"] for item in items][0] == "EksCluster"
    assert items[0]["spec"]["accountRef"] == {"name": "prod"}
    for item in items:
        at = api.path(item["apiVersion"], item["kind"], "", item["metadata"]["namespace"])
        params = {"dryRun": "All", "fieldValidation": "Strict"}
        assert api.request("POST", at, params=params, json=item)


def test_what_is_left_out_stands_above_the_objects_and_on_standard_error(tmp_path):
    done = convert(write(tmp_path, karpenter={"version": "1.0.0"}, zzUnknown=1))
    comments = [line for line in done.stdout.splitlines() if line.startswith("#")]
    for path in ("karpenter: ", "zzUnknown: not known to Keelson"):
        assert any(path in line for line in comments)
        assert path in done.stderr


def test_a_mistake_writes_nothing(tmp_path):
    done = convert(write(tmp_path, vpc=[], addons={}))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "vpc: [] is not a mapping" in done.stderr and "addons: {} is not a list" in done.stderr


def test_what_keelson_would_refuse_is_said_and_fails(tmp_path):
    done = convert(write(tmp_path, vpc={"cidr": "10.0.0.0/8"}, fargateProfiles=[{"name": "a b"}]))
    assert done.returncode == 1
    assert "kind: EksCluster" in done.stdout
    assert "spec.fargateProfiles[0].name" in done.stderr


def test_standard_input_is_read(tmp_path):
    text = write(tmp_path).read_text()
    done = subprocess.run(
        [keelson_binary(), "import", "--eksctl", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert yaml.safe_load(done.stdout)["metadata"] == {"name": "demo"}
