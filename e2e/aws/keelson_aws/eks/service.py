"""EKS: dispatches calls to operations. State is stored per account and region."""

from __future__ import annotations

import uuid
from importlib import import_module
from typing import Any

from ..accounts import Caller
from ..call import Call
from ..errors import AwsError
from ..http import Reply
from ..settings import Settings
from ..timeline import Timeline
from .model import Router, load_model, read_parameters
from .operations import OPERATIONS, Context
from .state import Cluster, Region

# Each module registers its operations when it is loaded.
for module in (
    "access", "addons", "capabilities", "certificate_authorities", "cluster_versions", "clusters", "fargate", "identity_providers", "insights", "nodegroup_updates", "nodegroups",
    "pod_identity", "tags", "updates",
):
    import_module(f"{__package__}.{module}")

# Parameters that identify the resource of a call, besides the cluster; for the call log and for faults.
PART_NAMES = ("nodegroupName", "addonName", "capabilityName", "fargateProfileName", "principalArn", "associationId", "certificateAuthorityId", "updateId", "resourceArn")


class Eks:
    def __init__(self, settings: Settings, timeline: Timeline) -> None:
        self.settings = settings
        self.timeline = timeline
        self.router = Router(load_model())
        self.regions: dict[tuple[str, str], Region] = {}

    def reset(self) -> None:
        self.regions.clear()

    def reset_account(self, account: str) -> None:
        """Deletes all EKS state of an account, and with it its nodes in the workload cluster."""
        for key in [key for key in self.regions if key[0] == account]:
            del self.regions[key]

    def region(self, account: str, name: str) -> Region:
        region = self.regions.get((account, name))
        if region is None:
            region = self.regions[(account, name)] = Region(account, name)
        return region

    def clusters(self) -> list[Cluster]:
        """Every cluster of every account and region."""
        return [cluster for region in self.regions.values() for cluster in region.clusters.values()]

    def read(self, call: Call) -> None:
        """Sets the call's action, parameters and resource from its path, query and body."""
        found = self.router.match(call.request)
        if found is None:
            raise AwsError("UnknownOperationException", "No EKS operation has this method and path", 404)
        route, labels = found
        call.action = route.operation
        call.resource = resource_of(labels)
        call.params = read_parameters(route, labels, call.request)
        call.resource = resource_of(call.params)

    def answer(self, call: Call, caller: Caller, region: Region | None = None) -> Reply:
        """The reply to a call; optionally from a past state of the region."""
        function = OPERATIONS.get(call.action)
        if function is None:
            raise AwsError("UnknownOperationException", f"The emulator does not implement EKS {call.action}", 501)
        context = Context(
            region=region or self.region(call.account, call.region),
            params=call.params,
            caller=caller,
            timeline=self.timeline,
            settings=self.settings,
            outcome=call.outcome,
        )
        return Reply.json(200, function(context), **{"x-amzn-RequestId": str(uuid.uuid4())})


def resource_of(params: dict[str, Any]) -> str:
    cluster = params.get("name") or params.get("clusterName") or ""
    part = next((str(params[name]) for name in PART_NAMES if params.get(name)), "")
    return f"{cluster}/{part}" if cluster and part else str(cluster or part)
