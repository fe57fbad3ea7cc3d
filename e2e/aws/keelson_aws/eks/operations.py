"""The table of EKS operations: each is a function from a Context to the members of its answer."""

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
    """All that an operation needs: who calls with which parameters, and the state it works on."""

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
    """Register under the API's name: create_cluster is CreateCluster."""
    OPERATIONS["".join(word.capitalize() for word in function.__name__.split("_"))] = function
    return function


def once(context: Context, action: str, make: Callable[[], Any], alive: Callable[[Any], bool] = lambda _: True) -> Any:
    """Honour clientRequestToken: the same token and parameters give what was made the first time.

    `alive` says whether that still exists: a token does not bring back what was deleted since.
    """
    token = context.params.get("clientRequestToken")
    if not token:
        return make()
    key = (action, token)
    fingerprint = json.dumps({k: v for k, v in context.params.items() if k != "clientRequestToken"}, sort_keys=True)
    known = context.region.tokens.get(key)
    if known and alive(known[1]):
        if known[0] != fingerprint:
            raise bad_parameter(f"The client request token {token} was used before with other parameters.")
        return known[1]
    made = make()
    context.region.tokens[key] = (fingerprint, made)
    return made


def start_update(
    context: Context,
    cluster: Cluster,
    kind: str,
    params: list[tuple[str, Any]],
    seconds: float,
    finish: Callable[[Update], None],
    nodegroup: str = "",
    addon: str = "",
) -> Update:
    """Begin an update that ends after `seconds`. A fault that says so makes it Failed or Cancelled, and `finish` decides what that means."""
    update = Update(
        id=new_id(),
        type=kind,
        params=[{"type": name, "value": value if isinstance(value, str) else json.dumps(value)} for name, value in params],
        created_at=context.now,
        nodegroup=nodegroup,
        addon=addon,
    )
    cluster.updates[update.id] = update
    outcome = context.outcome

    def end() -> None:
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

    context.timeline.after(seconds, end)
    return update


def page(context: Context, items: list[Any], key: str, default: int = 100) -> dict[str, Any]:
    """One page of a list, with nextToken when there is more."""
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
