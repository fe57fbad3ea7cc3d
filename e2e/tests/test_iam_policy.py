"""deploy/iam-policy*.json are what the operator needs: the actions that these tests saw it call, and no other.

Runs last, over the call logs of all emulators: of this session, and of those before it that kept their counts.
"""

from __future__ import annotations

import pytest

from fleet import called
from fleet.policy import allowed

# Files whose operators call all there is to call.
WHOLE = {
    "test_adoption.py",
    "test_changes.py",
    "test_changes_nodes.py",
    "test_crash.py",
    "test_deletion.py",
    "test_drift.py",
    "test_event_queue.py",
    "test_faults.py",
    "test_lifecycle.py",
    "test_spec_in_aws.py",
}
# Allowed, and not called by any test: why.
NOT_CALLED = {
    "ec2:DeleteRoute": "goes with its route table; where that is not ours",
    "ec2:DisassociateRouteTable": "goes with its subnet; where that is not ours",
}

# Called by `keelson import`, with the credentials of whoever runs it.
READ_BY_PEOPLE = {
    "eks:ListClusters",
    "eks:ListIdentityProviderConfigs",
    "eks:ListNodegroups",
}


@pytest.fixture(scope="module", autouse=True)
def whole_session(request):
    ran = {item.path.name for item in request.session.items} | called.take_over()
    if missing := WHOLE - ran:
        pytest.skip(f"needs the calls of {', '.join(sorted(missing))}: run the whole folder")


def test_every_action_that_was_called_is_allowed():
    assert sorted(called.by_operator() - allowed() - READ_BY_PEOPLE) == []


def test_every_action_that_is_allowed_was_called():
    assert sorted(allowed() - called.by_operator() - set(NOT_CALLED)) == []


def test_no_exception_outlives_its_reason():
    assert sorted(set(NOT_CALLED) & called.by_operator()) == []
    assert set(NOT_CALLED) <= allowed()
