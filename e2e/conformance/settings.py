"""What a run is: the account, its tags, what is created, and how long everything may take. I/O: reads of the versions that EKS offers."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from . import tags
from .account import AwsAccount, Refused
from .costs import INSTANCE_TYPE

# The harness's timeouts fit the emulator. A real control plane takes ten minutes, and a deletion as long.
REAL_TIME_SCALE = 30.0


@dataclass
class Settings:
    account: AwsAccount
    run: str
    expires: datetime.datetime
    time_scale: float
    # Environment of the operator besides boto3's: where it sends its calls.
    operator_env: dict[str, str] = field(default_factory=dict)
    permissions_boundary: str = ""
    instance_type: str = INSTANCE_TYPE
    git_url: str = ""
    git_branch: str = "main"
    git_path: str = ""

    @property
    def name(self) -> str:
        """Of the cluster, in EKS and as an object."""
        return f"conformance-{self.run}"

    @property
    def tags(self) -> dict[str, str]:
        return tags.of_run(self.run, self.expires)

    def seconds(self, emulated: float) -> float:
        """A timeout: what the emulator needs, scaled."""
        return emulated * self.time_scale


def versions_to_upgrade(account: AwsAccount) -> tuple[str, str]:
    """EKS's default version and the one before it, if both are in standard support: extended support costs six times as much."""
    eks = account.client("eks")
    found = eks.describe_cluster_versions()["clusterVersions"]
    supported = {v["clusterVersion"] for v in found if v["versionStatus"] == "STANDARD_SUPPORT"}
    default = next((v["clusterVersion"] for v in found if v["defaultVersion"]), "")
    for goal in (default, *sorted(supported, key=minor, reverse=True)):
        start = f"1.{minor(goal) - 1}" if goal else ""
        if {start, goal} <= supported:
            return start, goal
    raise Refused(f"EKS offers no two successive versions in standard support in {account.region}: {', '.join(sorted(supported))}")


def minor(version: str) -> int:
    return int(version.partition(".")[2])
