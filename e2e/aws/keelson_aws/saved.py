"""Saves and loads the emulator's state, so that another process can continue with the cloud that an operator left.

Operations in progress cannot be saved. Settings, faults and sessions are not part of it: the loading process keeps its own.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import pickle
from typing import TYPE_CHECKING, Any

from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends
from moto.iam.models import AWSManagedPolicy, iam_backends

if TYPE_CHECKING:
    from .server import Emulator

BACKENDS = {"ec2": ec2_backends, "autoscaling": autoscaling_backends, "iam": iam_backends}
# Pickle protocol that every supported Python can read.
PROTOCOL = 4


class Saver(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        """AWS managed policies are megabytes per account and the same in all: only their names and attachment counts are saved."""
        if isinstance(obj, AWSManagedPolicy):
            return obj.account_id, obj.arn, obj.attachment_count
        return None


class Loader(pickle.Unpickler):
    """Loads the managed policies of an account once, so that roles and the account's list share the objects."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.policies: dict[str, dict[str, AWSManagedPolicy]] = {}

    def persistent_load(self, pid: Any) -> AWSManagedPolicy:
        account, arn, attached = pid
        if account not in self.policies:
            current = iam_backends[account]["aws"].managed_policies
            self.policies[account] = {arn: policy for arn, policy in current.items() if isinstance(policy, AWSManagedPolicy)}
        policy = self.policies[account][arn]
        policy.attachment_count = attached
        return policy


def save(emulator: Emulator) -> bytes:
    """The state of all accounts."""
    if emulator.timeline.is_busy():
        raise ValueError("operations are in progress: save when the cloud is idle")
    backends = {
        service: {(account, region): backend for account, regions in of.items() for region, backend in regions.items()}
        for service, of in BACKENDS.items()
    }
    file = io.BytesIO()
    Saver(file, PROTOCOL).dump({"eks": emulator.eks.regions, "backends": backends})
    # No timestamp: the same state gives the same bytes.
    return gzip.compress(file.getvalue(), mtime=0)


def load(emulator: Emulator, saved: bytes) -> None:
    """Replaces the state. Fields that an older emulator did not save are as in a new account."""
    emulator.reset()
    found = Loader(io.BytesIO(gzip.decompress(saved))).load()
    for service, backends in found["backends"].items():
        for (account, region), backend in backends.items():
            current = BACKENDS[service][account]
            backend.__dict__.update({**current[region].__dict__, **backend.__dict__})
            current[region] = backend
    set_missing_fields(found["eks"])
    emulator.eks.regions.update(found["eks"])


def set_missing_fields(item: Any) -> None:
    """Sets defaults for fields that were added to the EKS dataclasses since the state was saved."""
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        for field in dataclasses.fields(item):
            if not hasattr(item, field.name):
                current = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
                object.__setattr__(item, field.name, current)
            set_missing_fields(getattr(item, field.name))
    elif isinstance(item, dict | list | tuple):
        for inner in item.values() if isinstance(item, dict) else item:
            set_missing_fields(inner)
