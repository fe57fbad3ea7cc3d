"""Shared by the guards: the call's fault outcome, the timeline, idempotent creates. Nothing resource-specific."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.ec2.responses._base_response import EC2BaseResponse

from ..call import Call
from ..errors import AwsError
from ..settings import Settings
from ..timeline import Timeline
from .region import Ec2Region


class Guard(EC2BaseResponse):
    # Set once by the server.
    timeline: Timeline
    settings: Settings

    @property
    def region_state(self) -> Ec2Region:
        backend = self.ec2_backend
        assert isinstance(backend, Ec2Region)
        return backend

    @property
    def call(self) -> Call:
        call = self.normalized_request.environ["keelson.call"]
        assert isinstance(call, Call)
        return call

    @property
    def outcome(self) -> dict[str, Any]:
        return self.call.outcome

    def create_once(self, action: str, create: Callable[[], str]) -> str:
        """Honours ClientToken: the same token and parameters return the id that the first call created."""
        token = self._get_param("ClientToken")
        if not token:
            return create()
        parameters = {k: v for k, v in self.querystring.items() if k not in ("ClientToken", "Action", "Version", "DryRun")}
        fingerprint = json.dumps(parameters, sort_keys=True)
        tokens = self.region_state.client_tokens
        known = tokens.get((action, token))
        if known:
            if known[0] != fingerprint:
                raise AwsError(
                    "IdempotentParameterMismatch",
                    "The client token you have provided is associated with a resource that is already created with different parameters.",
                )
            return known[1]
        created_id = create()
        tokens[(action, token)] = (fingerprint, created_id)
        return created_id


def has_dependencies(kind: str, resource_id: str) -> AwsError:
    return AwsError("DependencyViolation", f"The {kind} '{resource_id}' has dependencies and cannot be deleted.")
