"""No message advises an edit that admission rejects: each advised edit is applied on a real API server with the shipped CRDs and
policies, to an object in the state that produces the message.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from admission import API, merged
from advice import BASES, CURES, NO_EDIT, Cure, advice
from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import KubeApi, documents
from keelson_harness.paths import DEPLOY
from test_admission import TABLES

FINALIZER = {"metadata": {"finalizers": ["keelson.dev/finalizer"]}}
POLICIES = ("admission-policy.yaml", "admission-policy-allowlists.yaml", "admission-limits.yaml")


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    with LocalCloud(aws=False, git=False, pooled=True) as cloud:
        cloud.install_crds()
        found = cloud.management.api
        for name in POLICIES:
            found.apply_all(documents(DEPLOY / name))
        yield found


def delete_object(api: KubeApi, kind: str, name: str) -> None:
    if api.find(API, kind, name):
        api.patch(API, kind, name, {"metadata": {"finalizers": None}})
        api.delete(API, kind, name)
        api.wait_gone(API, kind, name)


@pytest.mark.parametrize(
    ("cure", "edit"), [pytest.param(cure, edit, id=f"{cure}-{n}") for cure in CURES for n, edit in enumerate(cure.edits)]
)
def test_advised_edit_is_accepted(api: KubeApi, cure: Cure, edit: dict):
    name = "advised"
    try:
        api.create({"apiVersion": API, "kind": cure.kind, "metadata": {"name": name, **FINALIZER["metadata"]},
                    "spec": merged(BASES[cure.kind], cure.start)})
        if cure.status:
            api.patch(API, cure.kind, name, {"status": cure.status}, subresource="status")
        if cure.deleted:
            api.delete(API, cure.kind, name)
        api.patch(API, cure.kind, name, {"spec": edit})
    finally:
        delete_object(api, cure.kind, name)


def test_every_message_with_advice_is_in_a_table():
    found = list(advice())
    assert len(found) > 80
    known = [cure.message for cure in CURES] + NO_EDIT
    assert [f"{file}: {message}" for file, message in found if not any(part in message for part in known)] == []


def test_every_table_entry_matches_a_message():
    """A reworded message must be reworded here too."""
    messages = [message for _, message in advice()]
    stale = [part for part in [cure.message for cure in CURES] + NO_EDIT if not any(part in message for message in messages)]
    assert stale == []


RECREATIONS = [
    pytest.param(kind, base, case, id=f"{kind}-{case}")
    for kind, tables in TABLES.items()
    for table, base in tables
    for case in table.IMMUTABLE
    # Not AwsAccount and PlanApproval: another account needs another role, and an approval carries its creator's name.
    if kind in ("EksCluster", "NodeGroup")
    if "create a new" in case.advice or "put the old" in case.advice
]


@pytest.mark.parametrize(("kind", "base", "case"), RECREATIONS)
def test_value_rejected_as_an_edit_is_accepted_in_a_new_object(api: KubeApi, kind: str, base: dict, case):
    """The advice at admission is "create a new EksCluster with the other value"."""
    spec = merged(merged(base, case.start or {}), case.change)
    path = api.path(API, kind)
    api.request("POST", path, params={"dryRun": "All"}, json={"apiVersion": API, "kind": kind, "metadata": {"name": "new"}, "spec": spec})
