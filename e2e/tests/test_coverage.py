"""docs/coverage.md decides on every input member of EKS's operations that write: what nobody decided on, or is no longer true, fails."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from keelson_harness.paths import CHECKOUT

SCRIPT = CHECKOUT / "docs" / "generate-coverage.py"


def script():
    """The generator, whose name is no module's."""
    spec = importlib.util.spec_from_file_location("generate_coverage", SCRIPT)
    module = sys.modules["generate_coverage"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = script()
DECISIONS = yaml.safe_load(generate.DECISIONS.read_text())


@pytest.fixture(scope="module")
def model():
    return generate.Model.read(generate.crate_source())


def mistakes(model, data: dict) -> str:
    with pytest.raises(generate.Incomplete) as raised:
        generate.Coverage.of(model, data)
    return str(raised.value)


def with_operations(model, **changed: dict):
    return generate.Model({**model.operations, **changed})


def edited(path: str, **decision: object) -> dict:
    """The decisions with another one on `path`, in the section that has it."""
    data = copy.deepcopy(DECISIONS)
    section = next(section for section in data["sections"] if path in section["members"])
    section["members"][path] = decision
    return data


def test_every_member_has_a_decision_and_the_page_shows_it(model):
    assert generate.PAGE.read_text() == generate.page(generate.Coverage.of(model, DECISIONS)), f"run {SCRIPT}"


def test_model_has_the_operations_and_nested_members_of_the_client(model):
    assert {"CreateCluster", "UpdateNodegroupConfig", "TagResource"} <= model.operations.keys()
    assert not [name for name in model.operations if name.startswith(("Describe", "List"))]
    assert "resourcesVpcConfig.subnetIds" in model.operations["CreateCluster"]
    assert "resourcesVpcConfig" not in model.operations["CreateCluster"]
    assert model.operations["CreateNodegroup"]["taints.effect"] == ("NO_EXECUTE", "NO_SCHEDULE", "PREFER_NO_SCHEDULE")


@pytest.mark.parametrize("member", ["newSetting", "resourcesVpcConfig.newSetting", "logging.clusterLogging.types.newSetting"])
def test_new_member_fails(model, member):
    newer = with_operations(model, CreateCluster={**model.operations["CreateCluster"], member: ()})
    assert f"CreateCluster.{member}" in mistakes(newer, DECISIONS)


def test_new_operation_and_new_value_fail(model):
    assert "CreateThing" in mistakes(with_operations(model, CreateThing={"name": ()}), DECISIONS)
    nodes = {**model.operations["CreateNodegroup"], "capacityType": ("ON_DEMAND", "SPOT", "CAPACITY_BLOCK", "BORROWED")}
    found = mistakes(with_operations(model, CreateNodegroup=nodes), DECISIONS)
    assert "BORROWED" in found and "CAPACITY_BLOCK" not in found


def test_decision_on_what_is_gone_fails(model):
    cluster = {name: values for name, values in model.operations["CreateCluster"].items() if name != "roleArn"}
    assert "Control plane: roleArn: no operation has it" in mistakes(with_operations(model, CreateCluster=cluster), DECISIONS)
    rest = {name: members for name, members in model.operations.items() if name != "DeleteAddon"}
    assert "DeleteAddon does not exist" in mistakes(generate.Model(rest), DECISIONS)
    without = edited("capacityType", field="spec.capacityType", without={"BORROWED": {"planned": "Borrowed"}})
    assert "BORROWED is not a value" in mistakes(model, without)


def test_field_must_exist_and_a_planned_one_must_not(model):
    assert "EksCluster has no field spec.zonalShft" in mistakes(model, edited("zonalShiftConfig.enabled", field="spec.zonalShft"))
    assert "EksCluster has spec.zonalShift now" in mistakes(model, edited("zonalShiftConfig.enabled", planned="spec.zonalShift"))


def test_field_must_be_sent_by_the_code(model):
    members = model.operations["CreateCluster"]
    data = copy.deepcopy(DECISIONS)
    data["sections"][0]["members"]["orbit"] = {"field": "spec.endpointAccess.public"}
    found = mistakes(with_operations(model, CreateCluster={**members, "orbit": members["name"]}), data)
    assert "nothing in src/resources sends orbit of CreateCluster" in found


def test_left_out_needs_a_known_reason_and_few_are_rare(model):
    assert "out needs one of" in mistakes(model, edited("outpostConfig", out="no time", why="none"))
    assert "out needs one of" in mistakes(model, edited("outpostConfig", out="rare"))
    assert DECISIONS["most_rare"] <= 15
    rare = edited("outpostConfig", out="rare", why="nobody asked")
    rare["most_rare"] = 1
    assert "members are left out as rare" in mistakes(model, rare)


def test_script_writes_the_page_and_says_what_is_missing(model, monkeypatch, tmp_path):
    monkeypatch.setattr(generate, "PAGE", tmp_path / "coverage.md")
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    generate.main()
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check"])
    generate.main()
    (tmp_path / "coverage.md").write_text("old")
    with pytest.raises(SystemExit, match="is stale"):
        generate.main()
    monkeypatch.setattr(generate, "DECISIONS", tmp_path / "decisions.yaml")
    Path(tmp_path / "decisions.yaml").write_text(yaml.safe_dump(edited("outpostConfig", out="rare")))
    with pytest.raises(SystemExit, match="out needs one of"):
        generate.main()
