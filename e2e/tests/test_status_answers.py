"""`keelson status` in five situations: what the object is doing, since when, until when, what is in its way, and what a user can do, on one screen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.command_line import output
from fleet.environment import Environment, environment
from fleet.manifests import key_of
from fleet.shop import Shop
from fleet.upgrading import far_window

ISSUE = {"code": "Ec2SubnetNotFound", "message": "subnet-1 is gone"}
# The lines of a terminal of usual size.
SCREEN = 40


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False) as started:
        yield started


@pytest.fixture(scope="module")
def answers(on: Environment) -> dict[str, str]:
    """The text of each situation."""
    names = ("creating", "waiting", "failed", "held")
    upgrade = {"windows": [far_window()]}
    specs = {"waiting": {"version": "1.33", "upgrade": upgrade}, "held": {"changePolicy": "Approval"}}
    shops = {name: Shop(on, nodes=name in ("waiting", "failed"), **specs.get(name, {})) for name in names}
    on.aws.add_fault({"account": shops["failed"].account.id, "action": "CreateNodegroup"}, {"health_issue": ISSUE})
    on.aws.add_fault({"account": shops["creating"].account.id, "action": "CreateCluster"}, {"delay": 6})
    with on.operator("--drift-interval=2s"):
        shops["waiting"].make()
        shops["held"].make()
        shops["failed"].apply()
        shops["waiting"].edit(version="1.34")
        on.await_condition(shops["waiting"].cluster, status="False", reason="OutsideMaintenanceWindow")
        on.await_condition(shops["failed"].nodes, "Stalled", reason="Failed")
        on.ready(shops["failed"].cluster)
        on.api.delete(*key_of(shops["held"].cluster))
        on.await_condition(shops["held"].cluster, status="False", reason="WaitingForApproval")
        shops["creating"].apply()
        on.await_condition(shops["creating"].cluster, status="False", reason="Creating")
        found = {name: output(on, "status", shop.name, "-n", "default") for name, shop in shops.items()}
        on.ready(shops["creating"].cluster, timeout=90)
        found["ready"] = output(on, "status", shops["creating"].name, "-n", "default")
        on.aws.clear_faults()
    for shop in shops.values():
        shop.go_away()
    return found


def sections(text: str) -> dict[str, str]:
    """The answer by its headings."""
    found, heading = {}, ""
    for line in text.splitlines()[2:]:
        if not line:
            break
        heading = line[:12].strip() or heading
        found[heading] = f"{found.get(heading, '')} {line[12:]}".strip()
    return found


@pytest.mark.parametrize("name", ["creating", "waiting", "failed", "held", "ready"])
def test_every_answer_fits_on_a_screen_and_has_all_five_parts(answers: dict[str, str], name: str) -> None:
    of = sections(answers[name])
    assert {"State", "Change", "Doing", "In the way", "You can"} <= of.keys(), answers[name]
    assert len(answers[name].splitlines()) <= SCREEN
    assert "since" in of["State"], of


def test_cluster_that_is_created(answers: dict[str, str]) -> None:
    of = sections(answers["creating"])
    assert of["State"].startswith("not ready (Creating)") and of["Change"].startswith("create (generation 1), in progress for")
    assert of["Doing"] != "nothing" and of["In the way"] == "nothing" and of["You can"] == "nothing to do: it continues by itself"


def test_cluster_that_waits_for_its_window(answers: dict[str, str]) -> None:
    of = sections(answers["waiting"])
    assert of["Change"].startswith("update (generation ") and ": OutsideMaintenanceWindow" in of["Change"]
    assert of["In the way"].count("OutsideMaintenanceWindow") == 1 and "the next maintenance window opens" in of["In the way"]
    assert of["You can"].startswith("wait until the window opens (") and "spec.upgrade.windows" in of["You can"]


def test_node_group_whose_creation_failed(answers: dict[str, str]) -> None:
    of = sections(answers["failed"])
    assert of["In the way"].count("Ec2SubnetNotFound") == 1 and "subnet-1 is gone" in of["In the way"]
    assert "kubectl delete nodegroup" in of["You can"] and "Drifted" not in of["In the way"]
    assert of["Usable"].startswith("not yet: no node of"), of


def test_deletion_that_waits_for_its_approval(answers: dict[str, str]) -> None:
    of = sections(answers["held"])
    assert of["Change"].startswith("delete, in progress for") and ": WaitingForApproval" in of["Change"]
    assert "approve" in of["You can"] and of["Next"].startswith("delete ")


def test_ready_cluster(answers: dict[str, str]) -> None:
    of = sections(answers["ready"])
    assert of["State"].startswith("Ready (Available)") and ", took " in of["Change"] and of["Change"].endswith(" ago")
    assert (of["Doing"], of["In the way"], of["You can"]) == ("nothing", "nothing", "nothing to do")
