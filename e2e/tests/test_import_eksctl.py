"""`keelson import --eksctl`: the real API server accepts its manifests unchanged; omitted fields are listed in both outputs.

The tables of src/cli/import/eksctl/tests.rs test how each field is converted.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import ApiError, KubeApi
from keelson_harness.paths import CHECKOUT, keelson_binary

TESTDATA = CHECKOUT / "src/cli/import/eksctl/testdata"
FILES = sorted(TESTDATA.glob("*.yaml"))
# Files as people write them: title and text.
EXAMPLES = [part.removeprefix("# ").split("\n", 1) for part in (TESTDATA / "examples/all.yaml").read_text().split("\n---\n")[1:]]
MINIMAL = {
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
    path.write_text(json.dumps({**MINIMAL, **fields}))
    return path


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    with LocalCloud(aws=False, git=False, pooled=True) as cloud:
        cloud.install_crds()
        yield cloud.management.api


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_api_server_accepts_converted_manifests(api, path):
    result = convert(path, "--namespace=default", "--account-ref=prod")
    assert result.returncode == 0, result.stderr
    items = list(yaml.safe_load_all(result.stdout))
    assert [item["kind"] for item in items][0] == "EksCluster"
    assert items[0]["spec"]["accountRef"] == {"name": "prod"}
    for item in items:
        at = api.path(item["apiVersion"], item["kind"], "", item["metadata"]["namespace"])
        params = {"dryRun": "All", "fieldValidation": "Strict"}
        assert api.request("POST", at, params=params, json=item)


def test_api_server_accepts_what_usual_files_become(api, tmp_path):
    accepted, refused = [], {}
    for title, text in EXAMPLES:
        path = tmp_path / "usual.yaml"
        path.write_text(text)
        result = convert(path, "--namespace=default", "--self-managed-as-managed")
        if result.returncode:
            refused[title] = result.stderr
            continue
        for item in yaml.safe_load_all(result.stdout):
            at = api.path(item["apiVersion"], item["kind"], "", "default")
            try:
                api.request("POST", at, params={"dryRun": "All", "fieldValidation": "Strict"}, json=item)
            except ApiError as error:
                refused[f"{title}: {item['metadata']['name']}"] = error.message
        accepted.append(title)
    # Its file says what is wrong with it.
    assert refused.keys() == {"misspelt in self-managed nodes"}, refused
    assert len(accepted) == len(EXAMPLES) - 1 > 45


def test_flags_choose_the_version_and_convert_self_managed_nodes(api, tmp_path):
    path = write(tmp_path, metadata={"name": "demo", "region": "eu-west-1"}, nodeGroups=[{"name": "workers"}])
    without = convert(path)
    assert without.returncode == 0, without.stderr
    assert [item["kind"] for item in yaml.safe_load_all(without.stdout)] == ["EksCluster"]
    assert "metadata.version: is missing, and became" in without.stderr
    assert "--self-managed-as-managed" in without.stderr
    result = convert(path, "--version=1.35", "--self-managed-as-managed", "--namespace=default")
    cluster, group = yaml.safe_load_all(result.stdout)
    assert cluster["spec"]["version"] == "1.35" and group["spec"]["nodeGroupName"] == "workers"
    for item in (cluster, group):
        at = api.path(item["apiVersion"], item["kind"], "", "default")
        assert api.request("POST", at, params={"dryRun": "All", "fieldValidation": "Strict"}, json=item)


@pytest.mark.parametrize("flag", ["--version=1.35", "--self-managed-as-managed"])
def test_flags_of_an_eksctl_file_need_one(flag):
    command = [keelson_binary(), "import", "--name=demo", "--region=eu-west-1", flag]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1 and "--eksctl" in result.stderr


def test_omitted_fields_are_listed_above_the_objects_and_on_standard_error(tmp_path):
    result = convert(write(tmp_path, karpenter={"version": "1.0.0", "defaultInstanceProfile": "x"}, zzUnknown=1))
    comments = [line for line in result.stdout.splitlines() if line.startswith("#")]
    for path in ("karpenter.defaultInstanceProfile: ", "zzUnknown: unknown to Keelson"):
        assert any(path in line for line in comments)
        assert path in result.stderr


def test_invalid_input_writes_nothing(tmp_path):
    result = convert(write(tmp_path, vpc=[], addons={}))
    assert result.returncode == 1
    assert result.stdout == ""
    assert "vpc: [] is not a mapping" in result.stderr and "addons: {} is not a list" in result.stderr


def test_objects_that_keelson_would_reject_are_reported_and_fail(tmp_path):
    result = convert(write(tmp_path, vpc={"cidr": "10.0.0.0/8"}, fargateProfiles=[{"name": "a b"}]))
    assert result.returncode == 1
    assert "kind: EksCluster" in result.stdout
    assert "spec.fargateProfiles[0].name" in result.stderr


def test_standard_input_is_read(tmp_path):
    text = write(tmp_path).read_text()
    result = subprocess.run(
        [keelson_binary(), "import", "--eksctl", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert yaml.safe_load(result.stdout)["metadata"] == {"name": "demo"}
