"""The remaining resources: everything that must be deleted to empty an account."""

from __future__ import annotations

from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends
from moto.events.models import events_backends
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from moto.sqs.models import sqs_backends

from .eks.service import Eks

GLOBAL = "global"


def inventory(eks: Eks, account: str | None = None, region: str | None = None) -> dict[str, Any]:
    """Resource ids by account, region and kind, without empty kinds; `empty`: whether there is none at all."""
    found: dict[str, dict[str, dict[str, list[str]]]] = {}

    def add(owner: str, region_name: str, kinds: dict[str, list[str]]) -> None:
        if account not in (None, owner) or region not in (None, region_name, *(() if region_name != GLOBAL else (region,))):
            return
        nonempty = {kind: sorted(ids) for kind, ids in kinds.items() if ids}
        if nonempty:
            found.setdefault(owner, {}).setdefault(region_name, {}).update(nonempty)

    for owner, name, backend in list(ec2_backends.iter_backends()):
        add(owner, name, ec2_kinds(backend))
    for owner, regions in list(autoscaling_backends.items()):
        for name, groups in regions.items():
            add(owner, name, {"autoScalingGroups": list(groups.autoscaling_groups)})
    for owner, name, backend in list(logs_backends.iter_backends()):
        add(owner, name, {"logGroups": list(backend.groups)})
    for owner, name, backend in list(sqs_backends.iter_backends()):
        # Those without tags are the tests' own.
        add(owner, name, {"queues": [queue.name for queue in backend.queues.values() if queue.tags]})
    for owner, name, backend in list(events_backends.iter_backends()):
        add(owner, name, {"eventRules": [rule for bus in backend.event_buses.values() for rule in bus.rules]})
    for owner, name, backend in list(iam_backends.iter_backends()):
        if name == "aws":
            add(owner, GLOBAL, iam_kinds(backend))
    for region_name in eks.regions.values():
        clusters = region_name.clusters.values()
        add(
            region_name.account,
            region_name.name,
            {
                "clusters": [c.name for c in clusters],
                "nodegroups": [f"{c.name}/{n}" for c in clusters for n in c.nodegroups],
                "capabilities": [f"{c.name}/{n}" for c in clusters for n in c.capabilities],
                "addons": [f"{c.name}/{n}" for c in clusters for n in c.addons],
                "fargateProfiles": [f"{c.name}/{n}" for c in clusters for n in c.fargate_profiles],
            },
        )
    return {"empty": not found, "accounts": found}


def ec2_kinds(backend: Any) -> dict[str, list[str]]:
    default_vpcs = {vpc.id for vpc in backend.vpcs.values() if vpc.is_default}
    subnets = [subnet for zone in backend.subnets.values() for subnet in zone.values()]
    return {
        "vpcs": [i for i in backend.vpcs if i not in default_vpcs],
        "subnets": [s.id for s in subnets if s.vpc_id not in default_vpcs],
        "internetGateways": list(backend.internet_gateways),
        "egressOnlyInternetGateways": list(backend.egress_only_internet_gateways),
        "addresses": [a.allocation_id or a.public_ip for a in backend.addresses],
        "natGateways": [n.id for n in backend.nat_gateways.values() if n.state not in ("deleted", "failed")],
        "routeTables": [t.id for t in backend.route_tables.values() if t.main_association_id is None],
        "vpcEndpoints": [e.id for e in backend.vpc_end_points.values() if e.state != "deleted"],
        "flowLogs": list(backend.flow_logs),
        "securityGroups": [g.id for groups in backend.groups.values() for g in groups.values() if not g.is_default and g.name != "default"],
        "networkInterfaces": list(backend.enis),
        "launchTemplates": list(backend.launch_templates),
        "instances": [i.id for r in backend.reservations.values() for i in r.instances if i.state != "terminated"],
        "volumes": list(backend.volumes),
    }


def iam_kinds(backend: Any) -> dict[str, list[str]]:
    return {
        "roles": [r.name for r in backend.roles.values() if not r.path.startswith("/aws-service-role/")],
        "policies": [p.arn for p in backend.managed_policies.values() if not p.arn.startswith("arn:aws:iam::aws:")],
        "oidcProviders": list(backend.open_id_providers),
        "instanceProfiles": list(backend.instance_profiles),
    }
