"""The registry of EKS operations: each is a function from a Context to the members of its response."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..accounts import Caller
from ..settings import Settings
from ..timeline import Timeline
from .state import Cluster, Region, Update, bad_parameter, new_id


@dataclass
class Context:
    """The input of an operation: caller, parameters, and the state that it reads and changes."""

    region: Region
    params: dict[str, Any]
    caller: Caller
    timeline: Timeline
    settings: Settings
    outcome: dict[str, Any]

    @property
    def now(self) -> float:
        return round(self.timeline.now(), 3)

    def cluster(self, key: str = "clusterName") -> Cluster:
        return self.region.cluster(self.params[key])


Operation = Callable[[Context], dict[str, Any]]
OPERATIONS: dict[str, Operation] = {}


def operation(function: Operation) -> Operation:
    """Registers a function under its API name: create_cluster as CreateCluster."""
    OPERATIONS["".join(word.capitalize() for word in function.__name__.split("_"))] = function
    return function


def idempotent(context: Context, action: str, create: Callable[[], Any]) -> Any:
    """Honours clientRequestToken: the same token and parameters return the result of the first call, also when that was deleted since.

    For 24 hours in AWS: https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCapability.html. That of other operations is our inference.
    """
    token = context.params.get("clientRequestToken")
    if not token:
        return create()
    key = (action, token)
    fingerprint = json.dumps({k: v for k, v in context.params.items() if k != "clientRequestToken"}, sort_keys=True)
    known = context.region.tokens.get(key)
    if known:
        if known[0] != fingerprint:
            raise bad_parameter(f"The client request token {token} was used before with other parameters.")
        return known[1]
    created = create()
    context.region.tokens[key] = (fingerprint, created)
    return created


def start_update(
    context: Context,
    cluster: Cluster,
    kind: str,
    params: list[tuple[str, Any]],
    seconds: float,
    finish: Callable[[Update], None],
    nodegroup: str = "",
    addon: str = "",
    capability: str = "",
) -> Update:
    """Starts an update that ends after `seconds`. A fault can make it Failed or Cancelled; `finish` handles the result."""
    update = Update(
        id=new_id(),
        type=kind,
        params=[{"type": name, "value": value if isinstance(value, str) else json.dumps(value)} for name, value in params],
        created_at=context.now,
        nodegroup=nodegroup,
        addon=addon,
        capability=capability,
    )
    cluster.updates[update.id] = update
    outcome = context.outcome

    def finish_update() -> None:
        if update.status != "InProgress":
            return
        issue = outcome.get("health_issue") or ({"message": outcome["fail"]} if "fail" in outcome else None)
        if issue is not None:
            update.status = "Failed"
            update.errors = [
                {
                    "errorCode": issue.get("code", "Unknown"),
                    "errorMessage": issue.get("message", ""),
                    "resourceIds": issue.get("resourceIds", []),
                }
            ]
        elif "cancel" in outcome:
            update.status, update.cancellation = "Cancelled", {"status": "Successful", "reason": str(outcome["cancel"])}
        else:
            update.status = "Successful"
        finish(update)

    context.timeline.after(seconds, finish_update)
    return update


def page(context: Context, items: list[Any], key: str, default: int = 100) -> dict[str, Any]:
    """One page of a list, with nextToken if there is more."""
    size = context.params.get("maxResults") or default
    token = context.params.get("nextToken")
    start = 0
    if token:
        try:
            start = int(base64.urlsafe_b64decode(token.encode()).decode())
        except ValueError as error:
            raise bad_parameter("Invalid nextToken") from error
    answer: dict[str, Any] = {key: items[start : start + size]}
    if start + size < len(items):
        answer["nextToken"] = base64.urlsafe_b64encode(str(start + size).encode()).decode()
    return answer
