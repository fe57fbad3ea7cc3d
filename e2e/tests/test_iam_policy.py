"""deploy/iam-policy*.json are what the operator needs: the actions that these tests saw it call, and no other.

Runs last, over the call logs of all emulators: of this session, and of those before it that kept their counts.
"""

from __future__ import annotations

import re

import pytest

from fleet import called
from fleet.policy import ADOPTION, actions, allowed, statements_of

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
    "test_removals.py",
    "test_recover.py",
    "test_spec_in_aws.py",
    "test_validate_beforehand.py",
}
# Allowed, and not called by any test: why.
NOT_CALLED = {
    "ec2:DisassociateRouteTable": "goes with its subnet; where that is not ours",
}

# Writes of tests that the shipped policies deny, and why that is right.
DENIED = {
    # docs/install.md says what to add where a cluster's own cloud controller made load balancers: their groups carry a tag whose key has
    # the cluster's name in it, which no statement for all clusters can name.
    r"ec2:(DeleteSecurityGroup|RevokeSecurityGroup(In|E)gress) .*, resource tags \['kubernetes\.io/cluster/[^'/]+'\], \{\}$",
    # A profile that a person made: the denial names it, and the person takes the role out of it.
    r"iam:RemoveRoleFromInstanceProfile .*:instance-profile/by-hand,",
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


def test_every_write_is_allowed_by_the_conditions_of_the_policies():
    """With the tags, names and services of each, as far as the emulator knows them; by the policy for adoption where it is that."""
    assert len(called.checked()) > 30, "the call log has no checks"
    denied = called.denied()
    of_adoption = {action for statement in statements_of(ADOPTION) for action in actions(statement)}
    of_base = {line for line in denied["base"] if line.split(" ")[0] not in of_adoption}
    left = of_base | denied["adoption"]
    assert [pattern for pattern in DENIED if not any(re.match(pattern, line) for line in left)] == []
    assert "\n".join(sorted(line for line in left if not any(re.match(pattern, line) for pattern in DENIED))) == ""
