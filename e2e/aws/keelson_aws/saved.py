"""All that the emulator holds, as bytes, and back: a cloud that one operator left is there for the next, in another process.

What is under way is not in it: it is saved at rest. Settings, faults and sessions stay those of the process that loads.
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
# Of pickle: read by every Python that the emulator runs on.
PROTOCOL = 4


class Saver(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        """AWS's managed policies are megabytes in each account, and the same in all: only their names and counts are saved."""
        if isinstance(obj, AWSManagedPolicy):
            return obj.account_id, obj.arn, obj.attachment_count
        return None


class Loader(pickle.Unpickler):
    """Makes the policies of an account once, so that roles and the account's list have the same ones."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.policies: dict[str, dict[str, AWSManagedPolicy]] = {}

    def persistent_load(self, pid: Any) -> AWSManagedPolicy:
        account, arn, attached = pid
        if account not in self.policies:
            made = iam_backends[account]["aws"].managed_policies
            self.policies[account] = {arn: policy for arn, policy in made.items() if isinstance(policy, AWSManagedPolicy)}
        policy = self.policies[account][arn]
        policy.attachment_count = attached
        return policy


def save(emulator: Emulator) -> bytes:
    """Everything in every account."""
    if emulator.timeline.is_busy():
        raise ValueError("something is under way in the cloud: save it at rest")
    backends = {
        service: {(account, region): backend for account, regions in of.items() for region, backend in regions.items()}
        for service, of in BACKENDS.items()
    }
    file = io.BytesIO()
    Saver(file, PROTOCOL).dump({"eks": emulator.eks.regions, "backends": backends})
    # Without a time, so that the same cloud makes the same file.
    return gzip.compress(file.getvalue(), mtime=0)


def load(emulator: Emulator, saved: bytes) -> None:
    """In place of what is there. What an older emulator did not keep is as in a new account."""
    emulator.reset()
    found = Loader(io.BytesIO(gzip.decompress(saved))).load()
    for service, backends in found["backends"].items():
        for (account, region), backend in backends.items():
            made = BACKENDS[service][account]
            backend.__dict__.update({**made[region].__dict__, **backend.__dict__})
            made[region] = backend
    complete(found["eks"])
    emulator.eks.regions.update(found["eks"])


def complete(item: Any) -> None:
    """Fields that have come to EKS's dataclasses since get their defaults."""
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        for field in dataclasses.fields(item):
            if not hasattr(item, field.name):
                made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
                object.__setattr__(item, field.name, made)
            complete(getattr(item, field.name))
    elif isinstance(item, dict | list | tuple):
        for inner in item.values() if isinstance(item, dict) else item:
            complete(inner)
