"""deploy/iam-policy*.json allow what the operator needs: the actions that it called in these tests, and no others.

Runs last, over the call logs of all emulators: of this session, and of earlier processes that wrote their counts.
"""

from __future__ import annotations

import re

import pytest

from fleet import aws_calls
from fleet.policy import ADOPTION, actions, allowed, statements_of

# Files whose operators together call every allowed action.
FILES_WITH_ALL_CALLS = {
    "test_adoption.py",
    "test_auto_scaling_group_tags.py",
    "test_changes.py",
    "test_changes_nodes.py",
    "test_crash.py",
    "test_deletion.py",
    "test_doctor.py",
    "test_drift.py",
    "test_event_queue.py",
    "test_faults.py",
    "test_flow_logs.py",
    "test_karpenter.py",
    "test_identity_provider.py",
    "test_lifecycle.py",
    "test_log_group.py",
    "test_node_template.py",
    "test_node_template_versions.py",
    "test_own_network.py",
    "test_removals.py",
    "test_recover.py",
    "test_spec_in_aws.py",
    "test_aws_validation.py",
    "test_capabilities.py",
    "test_certificate_authority.py",
    "test_volumes.py",
}
# Actions that are allowed but that no test calls, with the reason.
NOT_CALLED = {
    "ec2:DisassociateRouteTable": "deleted with its subnet; called where Keelson does not own the subnet",
}

# Writes of tests that the shipped policies deny, with the reason.
DENIED = {
    # docs/install.md says what to add where the cluster's in-tree cloud controller creates load balancers: the tag key of their security
    # groups contains the cluster's name, which no statement for all clusters can match.
    r"ec2:(DeleteSecurityGroup|RevokeSecurityGroup(In|E)gress) .*, resource tags \['kubernetes\.io/cluster/[^'/]+'\], \{\}$",
    # A launch template of the user's: docs/install.md says to allow each by its ARN. One that Keelson created has the owner tag.
    r"ec2:RunInstances \S+:launch-template/lt-\w+, request tags \[\], resource tags \[\], ",
    # A manually created instance profile: the denial names it, and the user removes the role from it.
    r"iam:RemoveRoleFromInstanceProfile .*:instance-profile/by-hand,",
}

# Called by `keelson import`, with the user's credentials.
CALLED_BY_IMPORT = {
    "eks:ListNodegroups",
}


@pytest.fixture(scope="module", autouse=True)
def require_all_calls(request):
    ran = {item.path.name for item in request.session.items} | aws_calls.take_over()
    if missing := FILES_WITH_ALL_CALLS - ran:
        pytest.skip(f"needs the calls of {', '.join(sorted(missing))}: run all tests of the folder")


def test_every_called_action_is_allowed():
    assert sorted(aws_calls.by_operator() - allowed() - CALLED_BY_IMPORT) == []


def test_every_allowed_action_is_called():
    assert sorted(allowed() - aws_calls.by_operator() - set(NOT_CALLED)) == []


def test_listed_exceptions_are_still_needed():
    assert sorted(set(NOT_CALLED) & aws_calls.by_operator()) == []
    assert set(NOT_CALLED) <= allowed()


def test_every_write_satisfies_the_policy_conditions():
    """Evaluates the tags, names and services of each write, as far as the emulator knows them; the adoption policy counts for its own actions."""
    assert len(aws_calls.checked()) > 30, "the call log has no checks"
    denied = aws_calls.denied()
    adoption_actions = {action for statement in statements_of(ADOPTION) for action in actions(statement)}
    base_denials = {line for line in denied["base"] if line.split(" ")[0] not in adoption_actions}
    unexpected = base_denials | denied["adoption"]
    assert [pattern for pattern in DENIED if not any(re.match(pattern, line) for line in unexpected)] == []
    assert "\n".join(sorted(line for line in unexpected if not any(re.match(pattern, line) for pattern in DENIED))) == ""
