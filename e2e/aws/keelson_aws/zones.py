"""The zones of an account in a region, and those that EKS refuses. No I/O.

AWS maps the names of zones to zone ids anew for each account, so a rule about a zone is one about its id. By default the ids of
moto's table are rotated by the account's number; `POST /_keelson/zones` sets them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend
from moto.ec2.models.availability_zones_and_regions import Zone as MotoZone

AVAILABILITY, LOCAL, WAVELENGTH = "availability-zone", "local-zone", "wavelength-zone"
TYPES = (AVAILABILITY, LOCAL, WAVELENGTH)
OPT_IN_STATES = ("opt-in-not-required", "opted-in", "not-opted-in")
# https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html#cluster-subnets; the last one as eksctl has it (pkg/az).
REFUSED_BY_EKS = {"use1-az3", "usw1-az2", "cac1-az3", "cnn1-az4"}
# Region, id and type of some zones that an account must opt in to. https://docs.aws.amazon.com/local-zones/latest/ug/available-local-zones.html
EDGE = {
    "us-east-1": [("us-east-1-bos-1a", "use1-bos1-az1", LOCAL), ("us-east-1-wl1-bos-wlz-1", "use1-wl1-bos-wlz1", WAVELENGTH)],
    "us-west-2": [("us-west-2-lax-1a", "usw2-lax1-az1", LOCAL), ("us-west-2-wl1-den-wlz-1", "usw2-wl1-den-wlz1", WAVELENGTH)],
    "eu-central-1": [("eu-central-1-ham-1a", "euc1-ham1-az1", LOCAL), ("eu-central-1-wl1-ber-wlz-1", "euc1-wl1-ber-wlz1", WAVELENGTH)],
}
# moto has no zones of the European Sovereign Cloud.
MORE_ZONES = {"eusc-de-east-1": [("eusc-de-east-1a", "eusc-dee1-az1"), ("eusc-de-east-1b", "eusc-dee1-az2")]}


class Zone(MotoZone):
    """A zone as DescribeAvailabilityZones returns it."""

    def __init__(self, name: str, region: str, zone_id: str, kind: str = AVAILABILITY, opt_in: str = "") -> None:
        super().__init__(name, region, zone_id, kind)
        self.opt_in_status = opt_in or ("opt-in-not-required" if kind == AVAILABILITY else "not-opted-in")
        self.group_name = region if kind == AVAILABILITY else name.rstrip("abcdef")
        self.group_long_name = self.group_name
        self.network_border_group = self.group_name
        self.parent_zone_name = None if kind == AVAILABILITY else f"{region}a"


@dataclass
class Place:
    """What was set for an account in a region."""

    zones: list[Zone] = field(default_factory=list)
    # Ids that EKS refuses there besides AWS's own.
    refused: set[str] = field(default_factory=set)


PLACES: dict[tuple[str, str], Place] = {}


def place(account: str, region: str) -> Place:
    found = PLACES.get((account, region))
    if found is None:
        found = PLACES[(account, region)] = Place(default_zones(account, region))
    return found


def default_zones(account: str, region: str) -> list[Zone]:
    pairs = [(zone.name, zone.zone_id) for zone in RegionsAndZonesBackend.zones.get(region, [])] or MORE_ZONES.get(region, [])
    ids = [zone_id for _, zone_id in pairs]
    shift = int(account) % len(ids) if ids and account.isdigit() else 0
    zones = [Zone(name, region, zone_id) for (name, _), zone_id in zip(pairs, ids[shift:] + ids[:shift], strict=True)]
    return zones + [Zone(name, region, zone_id, kind) for name, zone_id, kind in EDGE.get(region, [])]


def all_zones(account: str, region: str) -> list[Zone]:
    return place(account, region).zones


def listed_zones(account: str, region: str) -> list[Zone]:
    """Those that the account uses: what it did not opt in to is listed only on request."""
    return [zone for zone in all_zones(account, region) if zone.opt_in_status != "not-opted-in"]


def refused_by_eks(account: str, region: str) -> set[str]:
    """Ids of the zones where EKS runs no control plane."""
    return REFUSED_BY_EKS | place(account, region).refused


def valid_for_eks(account: str, region: str) -> list[str]:
    refused = refused_by_eks(account, region)
    return [z.name for z in listed_zones(account, region) if z.zone_type == AVAILABILITY and z.zone_id not in refused]


def opt_in(account: str, region: str, group: str, status: str) -> bool:
    """Opts in to a group of zones, or out of it. False: there is none of that name."""
    of_group = [zone for zone in all_zones(account, region) if zone.zone_type != AVAILABILITY and zone.group_name == group]
    for zone in of_group:
        zone.opt_in_status = status
    return bool(of_group)


def post(body: dict[str, Any]) -> dict[str, Any]:
    """`{"account", "region", "zones": [{"name", "id", "type", "optInStatus", "state"}], "refused": [ids]}`; what is not given stays."""
    account, region = str(body["account"]), str(body["region"])
    unknown = set(body) - {"account", "region", "zones", "refused"}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    zones = [read_zone(region, item) for item in body["zones"]] if "zones" in body else None
    here = place(account, region)
    here.zones = here.zones if zones is None else zones
    here.refused = set(body["refused"]) if "refused" in body else here.refused
    return {"zones": [{"name": z.name, "id": z.zone_id, "type": z.zone_type, "optInStatus": z.opt_in_status} for z in here.zones],
            "refused": sorted(refused_by_eks(account, region))}


def read_zone(region: str, item: dict[str, str]) -> Zone:
    kind, status = item.get("type", AVAILABILITY), item.get("optInStatus", "")
    if kind not in TYPES or status and status not in OPT_IN_STATES:
        raise ValueError(f"{item}: type is one of {TYPES}, optInStatus of {OPT_IN_STATES}")
    zone = Zone(item["name"], region, item["id"], kind, status)
    zone.state = item.get("state", "available")
    return zone
