"""Settings: from the environment at start, later by POST /_keelson/settings. No other I/O."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields


class SettingsError(ValueError):
    """Unknown setting or invalid value."""


@dataclass
class Settings:
    """Durations are in seconds. Names are the environment variables in lower case."""

    cluster_create_seconds: float = 8.0
    cluster_update_seconds: float = 8.0
    cluster_delete_seconds: float = 4.0
    nodegroup_seconds: float = 4.0
    addon_seconds: float = 1.0
    nat_seconds: float = 3.0
    call_log: str = ""
    workload_endpoint: str = ""
    workload_ca_file: str = ""
    workload_kubeconfig: str = ""
    # "true": each cluster has its own API server, which the harness starts and posts to /_keelson/api-servers; until then the
    # cluster stays CREATING. Names of clusters, separated by commas: only these have one, and the others none.
    workload_each: str = ""
    oidc_issuer_url: str = ""
    event_queue_url: str = ""
    # "hidden": DescribeNodegroup returns no version for node groups with an own image.
    custom_ami_version: str = ""
    # 0: nodes join whatever their VPC's DNS attributes, routes and endpoints.
    nodes_need_network: float = 1
    # 0: nodes become Ready without a CNI in the API server of their cluster. Without an API server they always do.
    nodes_need_cni: float = 1
    # How long EKS waits for the nodes of a new group to become Ready.
    node_ready_seconds: float = 1200.0
    # Accounts, with commas, in which GuardDuty's automated agent configuration is enabled.
    guard_duty_accounts: str = ""
    # Tag keys, separated by commas, that a service control policy demands of instances and volumes.
    required_tags: str = ""
    # Endpoint services, separated by commas, that the regions do not have: `eks-auth,ssm`.
    missing_endpoint_services: str = ""
    # How long after the deletion of a queue its name is taken.
    queue_name_seconds: float = 60.0
    sts_min_session_seconds: float = 900
    # 0: no limit below the requested duration.
    sts_max_session_seconds: float = 0

    def has_own_api_server(self, cluster: str) -> bool:
        return self.workload_each == "true" or cluster in self.workload_each.split(",")

    @classmethod
    def from_environment(cls) -> Settings:
        settings = cls()
        settings.change(
            {f.name: os.environ[f.name.upper()] for f in fields(cls) if f.name.upper() in os.environ}
        )
        return settings

    def change(self, values: dict[str, object]) -> None:
        """Applies all given values, or none if one is invalid."""
        checked: dict[str, object] = {}
        kinds = {f.name: f.type for f in fields(self)}
        for name, value in values.items():
            key = name.lower()
            if key not in kinds:
                raise SettingsError(f"unknown setting {name!r}; known: {', '.join(sorted(kinds))}")
            if kinds[key] != "float":
                checked[key] = str(value)
                continue
            try:
                seconds = float(str(value))
            except ValueError as error:
                raise SettingsError(f"{name}={value!r} is not a number of seconds") from error
            if seconds < 0:
                raise SettingsError(f"{name}={value!r} is negative")
            checked[key] = seconds
        for key, checked_value in checked.items():
            setattr(self, key, checked_value)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)
