"""Instance types: only those of the region; filters support * and ?."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.responses import EC2Response

from .base import Guard


PROCESSOR_FEATURES = {"amd-sev-snp", "nested-virtualization"}


def offered_in(region: str) -> set[str]:
    """Names of the instance types that some zone of the region offers."""
    return {offer["InstanceType"] for offer in INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])}


def without_unknown_features(item: dict[str, Any]) -> dict[str, Any]:
    """moto's data has processor features that AWS's model does not list."""
    processor = item.get("ProcessorInfo") or {}
    if "SupportedFeatures" not in processor:
        return item
    features = [f for f in processor["SupportedFeatures"] if f in PROCESSOR_FEATURES]
    processor = {**processor, "SupportedFeatures": features} if features else {k: v for k, v in processor.items() if k != "SupportedFeatures"}
    return {**item, "ProcessorInfo": processor}


class InstanceTypeGuard(Guard, EC2Response):
    def describe_instance_types(self) -> ActionResult:
        offered = offered_in(self.region_state.region_name)
        result: dict[str, Any] = super().describe_instance_types().result  # type: ignore[assignment]
        # If moto has no offerings for the region, all types are offered.
        types: list[Any] = [t for t in result["InstanceTypes"] if not offered or t["InstanceType"] in offered]
        return ActionResult({"InstanceTypes": [without_unknown_features(t) for t in types]})

    def describe_instance_type_offerings(self) -> ActionResult:
        kind = self._get_param("LocationType") or "region"
        filters: dict[str, list[str]] = self._filters_from_querystring()
        fields = {"instance-type": "InstanceType", "location": "Location"}

        def matches(offer: dict[str, Any]) -> bool:
            return all(any(fnmatchcase(offer[fields[name]], value) for value in values) for name, values in filters.items())

        offers = INSTANCE_TYPE_OFFERINGS[kind].get(self.region_state.region_name, [])
        return ActionResult({"InstanceTypeOfferings": [offer for offer in offers if matches(offer)]})
