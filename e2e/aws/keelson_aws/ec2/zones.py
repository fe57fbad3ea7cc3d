"""Zones: those of the account, with their types and whether it opted in to them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from .. import zones
from ..errors import AwsError
from .base import Guard

FILTERS = {
    "zone-name": "name", "zone-id": "zone_id", "zone-type": "zone_type", "region-name": "region_name", "state": "state",
    "opt-in-status": "opt_in_status", "group-name": "group_name", "parent-zone-name": "parent_zone_name",
}


class ZoneGuard(Guard, EC2Response):
    def describe_availability_zones(self) -> ActionResult:
        account, region = self.region_state.account_id, self.region_state.region_name
        everything = str(self._get_param("AllAvailabilityZones", "false")).lower() == "true"
        found = (zones.all_zones if everything else zones.listed_zones)(account, region)
        filters: dict[str, list[str]] = self._filters_from_querystring()
        for name in filters:
            if name not in FILTERS:
                raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
        names, ids = self._get_param("ZoneNames", []), self._get_param("ZoneIds", [])
        unknown = [name for name in names if name not in {zone.name for zone in found}]
        if unknown:
            raise AwsError("InvalidParameterValue", f"Invalid availability zone: [{', '.join(unknown)}]")

        def matches(zone: Any) -> bool:
            by_filter = all(any(fnmatchcase(str(getattr(zone, FILTERS[f])), value) for value in values) for f, values in filters.items())
            return by_filter and (not names or zone.name in names) and (not ids or zone.zone_id in ids)

        return ActionResult({"AvailabilityZones": [described(zone) for zone in found if matches(zone)]})

    def modify_availability_zone_group(self) -> ActionResult:
        group, status = str(self._get_param("GroupName")), str(self._get_param("OptInStatus"))
        if status not in ("opted-in", "not-opted-in"):
            raise AwsError("InvalidParameterValue", f"Value ({status}) for parameter optInStatus is invalid.")
        if not zones.opt_in(self.region_state.account_id, self.region_state.region_name, group, status):
            raise AwsError("InvalidParameterValue", f"Value ({group}) for parameter groupName is invalid.")
        return ActionResult({"Return": True})


def described(zone: Any) -> dict[str, Any]:
    return {
        "ZoneName": zone.name, "ZoneId": zone.zone_id, "ZoneType": zone.zone_type, "RegionName": zone.region_name, "State": zone.state,
        "OptInStatus": zone.opt_in_status, "GroupName": zone.group_name, "NetworkBorderGroup": zone.network_border_group,
        "ParentZoneName": zone.parent_zone_name, "Messages": zone.messages,
    }
