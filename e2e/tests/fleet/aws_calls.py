"""Which AWS actions the operator called in this test session, according to the emulators' logs.

The tests call AWS too, to prepare and to observe. Their calls are counted when they are sent;
the operator's are those that the logs have in addition. `test_iam_policy.py` reads the result.

When `../../run_all.py` runs each file in its own process, each process writes its counts to a folder.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import Counter
from pathlib import Path

from .policy import ADOPTION, POLICIES, permission, statements_of
from keelson_aws.policy_evaluator import BOUNDED, Request, decide

_lock = threading.Lock()
_by_tests: Counter[str] = Counter()
_logged: Counter[str] = Counter()
# Actions that succeeded at least once: a policy need not allow an action that was always refused.
_well: set[str] = set()
# IAM checks that the shipped policies deny, as `action resource ...`: without the adoption policy, and with it.
_denied: dict[str, set[str]] = {"base": set(), "adoption": set()}
_checked: Counter[str] = Counter()
BASE = [s for policy in POLICIES if policy != ADOPTION for s in statements_of(policy)]
WITH_ADOPTION = [*BASE, *statements_of(ADOPTION)]
# The accounts of these tests set no boundary, or their own; docs/install.md requires the shipped one.
SHIPPED_BOUNDARY = "arn:aws:iam::111122223333:policy/keelson-boundary"
SHIPPED_WORKLOAD_BOUNDARY = "arn:aws:iam::111122223333:policy/keelson-workload-boundary"
# Roles of Pods.
OF_PODS = re.compile(r":role/.*keelson-.*-pod[0-9a-f]{10}$")
# docs/install.md says to widen these for policies and roles that a spec names.
ATTACHABLE = {
    arn.rpartition("/")[2]
    for s in BASE
    if s.get("Action") == "iam:AttachRolePolicy"
    for arn in s["Condition"]["ArnLike"]["iam:PolicyARN"]
}


def count_calls_of(client) -> None:
    """Counts every request that this boto3 client sends."""
    service = client.meta.service_model.signing_name

    def sent(event_name: str, **_: object) -> None:
        with _lock:
            _by_tests[f"{service}:{event_name.rpartition('.')[2]}"] += 1

    client.meta.events.register("before-send", sent)


def read_log(path: Path) -> None:
    """Adds a whole call log; called just before its emulator stops."""
    with _lock:
        for line in path.read_text().splitlines():
            call = json.loads(line)
            action = f"{call['service']}:{call['action']}"
            _logged[action] += 1
            if call["status"] and call["status"] < 400:
                _well.add(action)
                for check in call.get("checks", []):
                    hold_against_policies(check)


def hold_against_policies(check: dict) -> None:
    """Records which of the operator's writes the shipped policies would have denied."""
    context = dict(check["context"])
    of_pods = OF_PODS.search(check["resource"]) is not None
    is_bounded = of_pods and check["action"].removeprefix("iam:") in BOUNDED
    if check["action"] in ("iam:CreateRole", "iam:PutRolePermissionsBoundary") or is_bounded:
        context["iam:PermissionsBoundary"] = SHIPPED_WORKLOAD_BOUNDARY if of_pods else SHIPPED_BOUNDARY
    named_by_spec = (
        not of_pods and context.get("iam:PolicyARN", "").rpartition("/")[2] not in ATTACHABLE
        if check["action"] == "iam:AttachRolePolicy"
        else check["action"] == "iam:PassRole" and "/keelson-" not in check["resource"]
    )
    # An emulator with its own OIDC issuer.
    foreign_issuer = ":oidc-provider/" in check["resource"] and "/oidc.eks." not in check["resource"]
    if named_by_spec or foreign_issuer:
        return
    request = Request(check["action"], check["resource"], context, check["requestTags"], check["resourceTags"])
    _checked[request.action] += 1
    for name, statements in (("base", BASE), ("adoption", WITH_ADOPTION)):
        if not decide(request, statements).allowed:
            tags = f"request tags {sorted(request.request_tags)}, resource tags {sorted(request.resource_tags)}"
            _denied[name].add(f"{request.action} {request.resource}, {tags}, {context}")


def folder() -> Path | None:
    """Where the processes of a full test run keep their counts; None when this is the only process."""
    named = os.environ.get("KEELSON_CALLS")
    return Path(named) if named else None


def keep(files: set[str]) -> None:
    """Writes the counts of this process, which ran those files, for a later process."""
    counts = {
        "files": sorted(files),
        "byTests": _by_tests,
        "logged": _logged,
        "well": sorted(_well),
        "checked": _checked,
        "denied": {name: sorted(found) for name, found in _denied.items()},
    }
    if directory := folder():
        (directory / f"{os.getpid()}.json").write_text(json.dumps(counts))


def take_over() -> set[str]:
    """Adds the counts of earlier processes. Returns the files that they ran."""
    files: set[str] = set()
    if directory := folder():
        for path in directory.glob("*.json"):
            kept = json.loads(path.read_text())
            with _lock:
                _by_tests.update(kept["byTests"])
                _logged.update(kept["logged"])
                _well.update(kept["well"])
                _checked.update(kept["checked"])
                for name, found in kept["denied"].items():
                    _denied[name].update(found)
            files |= set(kept["files"])
    return files


def by_operator() -> set[str]:
    """`service:Action` of every call of the operator that succeeded at least once. Calls of S3, which only tests use, have no action."""
    with _lock:
        found = {permission(action) for action in _well if _logged[action] > _by_tests[action]}
    return {action for action in found if not action.startswith("s3:")}


def denied() -> dict[str, set[str]]:
    """The operator's writes that the shipped policies deny: `base` without the adoption policy, `adoption` with it."""
    with _lock:
        return {name: set(found) for name, found in _denied.items()}


def checked() -> set[str]:
    """Actions of which at least one write was evaluated against the policies."""
    with _lock:
        return set(_checked)
