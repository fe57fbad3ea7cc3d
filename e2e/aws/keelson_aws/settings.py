"""What can be set: from the environment at start, by POST /_keelson/settings later. No other I/O."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields


class SettingsError(ValueError):
    """A setting has a name or a value that cannot be used."""


@dataclass
class Settings:
    """Durations are in seconds. Names are those of the environment, in lower case."""

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
    # Not empty: each cluster has an API server of its own, which somebody else starts and posts to /_keelson/api-servers.
    # Until then the cluster stays CREATING.
    workload_each: str = ""
    oidc_issuer_url: str = ""
    event_queue_url: str = ""
    clusters_per_region: float = 1000
    nodegroups_per_cluster: float = 30
    sts_min_session_seconds: float = 900
    # 0: as long as was asked for.
    sts_max_session_seconds: float = 0

    @classmethod
    def from_environment(cls) -> Settings:
        settings = cls()
        settings.change(
            {f.name: os.environ[f.name.upper()] for f in fields(cls) if f.name.upper() in os.environ}
        )
        return settings

    def change(self, values: dict[str, object]) -> None:
        """Take over every value given, or none of them."""
        checked: dict[str, object] = {}
        kinds = {f.name: f.type for f in fields(self)}
        for name, value in values.items():
            key = name.lower()
            if key not in kinds:
                raise SettingsError(f"unknown setting {name!r}; known are {', '.join(sorted(kinds))}")
            if kinds[key] != "float":
                checked[key] = str(value)
                continue
            try:
                seconds = float(str(value))
            except ValueError as error:
                raise SettingsError(f"{name}={value!r} is not a number of seconds") from error
            if seconds < 0:
                raise SettingsError(f"{name}={value!r} is below zero")
            checked[key] = seconds
        for key, checked_value in checked.items():
            setattr(self, key, checked_value)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)
