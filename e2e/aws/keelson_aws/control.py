"""The emulator's control API under /_keelson/: health, calls, inventory, faults, rates, quotas, scp, settings, insights, issues,
conflicts, certificate-authorities, events, zones, regions, releases, nodes, clusters, api-servers, confidential, saved, reset."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from . import event_rules, quotas, regions, saved, simulation, zones
from .catalog import CATALOG
from .eks.certificate_authorities import rotate_by_eks
from .eks.health import post_issues
from .eks.insights import post_insights
from .eks.state import ApiServer, Cluster
from .faults import FaultError
from .http import Reply, Request
from .inventory import inventory
from .settings import SettingsError
from .workload import nodes_of

if TYPE_CHECKING:
    from .server import Emulator


class Control:
    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.verbs = {
            ("GET", "health"): self.health,
            ("GET", "calls"): self.calls,
            ("POST", "reset"): self.reset,
            ("GET", "inventory"): self.inventory,
            ("GET", "faults"): self.list_faults,
            ("POST", "faults"): self.add_faults,
            ("DELETE", "faults"): self.remove_faults,
            ("GET", "rates"): self.list_rates,
            ("POST", "rates"): self.set_rates,
            ("POST", "quotas"): self.set_quotas,
            ("POST", "scp"): self.set_control_policy,
            ("GET", "settings"): self.list_settings,
            ("POST", "settings"): self.change_settings,
            ("POST", "insights"): self.post_insights,
            ("POST", "issues"): self.post_issues,
            ("POST", "conflicts"): self.post_conflict,
            ("POST", "certificate-authorities"): self.rotate_certificate_authority,
            ("POST", "zones"): self.post_zones,
            ("POST", "regions"): self.post_regions,
            ("POST", "releases"): self.publish,
            ("GET", "nodes"): self.nodes,
            ("POST", "nodes"): self.post_nodes,
            ("GET", "clusters"): self.clusters,
            ("POST", "events"): self.post_event,
            ("POST", "api-servers"): self.post_api_server,
            ("GET", "confidential"): self.confidential,
            ("GET", "saved"): self.save,
            ("POST", "saved"): self.load,
        }

    def answer(self, request: Request) -> Reply:
        verb = request.path.removeprefix("/_keelson/").strip("/")
        handler = self.verbs.get((request.method, verb))
        if handler is None:
            known = ", ".join(sorted(f"{method} {name}" for method, name in self.verbs))
            return Reply.json(404, {"message": f"unknown: {request.method} {verb}; known: {known}"})
        try:
            body = json.loads(request.body) if request.body else None
            return Reply.json(200, handler(dict(parse_qsl(request.query)), body))
        except (FaultError, SettingsError, ValueError, KeyError, TypeError) as error:
            return Reply.json(400, {"message": str(error)})

    def health(self, query: dict[str, str], body: Any) -> Any:
        return {"status": "ok"}

    def calls(self, query: dict[str, str], body: Any) -> Any:
        """Calls with a number above `since`, optionally of one account; and the number of the latest call."""
        log = self.emulator.call_log
        calls = log.since(int(query.get("since", "0")))
        return {"calls": [c for c in calls if query.get("account") in (None, c["account"])], "last": log.last}

    def reset(self, query: dict[str, str], body: Any) -> Any:
        if "account" in query:
            self.emulator.eks.reset_account(query["account"])
        else:
            self.emulator.reset()
        return {"status": "ok"}

    def inventory(self, query: dict[str, str], body: Any) -> Any:
        return inventory(self.emulator.eks, query.get("account"), query.get("region"))

    def list_faults(self, query: dict[str, str], body: Any) -> Any:
        return {"faults": [rule.as_dict() for rule in self.emulator.faults.rules]}

    def add_faults(self, query: dict[str, str], body: Any) -> Any:
        rules = [self.emulator.faults.add(posted) for posted in (body if isinstance(body, list) else [body])]
        self.emulator.record_history()
        return {"faults": [rule.as_dict() for rule in rules]}

    def remove_faults(self, query: dict[str, str], body: Any) -> Any:
        self.emulator.faults.remove(int(query["id"]) if "id" in query else None)
        return {"status": "ok"}

    def post_event(self, query: dict[str, str], body: Any) -> Any:
        """{"account", "region", "event": {"source", "detail-type", ...}}: an event of AWS on the default bus; returns the queues that got it."""
        return {"queues": event_rules.deliver(body["account"], body["region"], body["event"])}

    def post_regions(self, query: dict[str, str], body: Any) -> Any:
        return regions.post(body)

    def post_zones(self, query: dict[str, str], body: Any) -> Any:
        return zones.post(body)

    def list_rates(self, query: dict[str, str], body: Any) -> Any:
        return {"rates": self.emulator.rates.limits}

    def set_rates(self, query: dict[str, str], body: Any) -> Any:
        self.emulator.rates.set(body)
        return {"rates": body}

    def set_quotas(self, query: dict[str, str], body: Any) -> Any:
        """{"account", "region", "code", "value"}: the quota of one account in one region; see `quotas.py`."""
        for posted in body if isinstance(body, list) else [body]:
            quotas.set_value(posted)
        return {"status": "ok"}

    def set_control_policy(self, query: dict[str, str], body: Any) -> Any:
        """{"account", "document"}: the service control policy of an account; a document of null removes it."""
        simulation.set_control_policy(body["account"], body["document"])
        return {"status": "ok"}

    def list_settings(self, query: dict[str, str], body: Any) -> Any:
        return self.emulator.settings.as_dict()

    def change_settings(self, query: dict[str, str], body: Any) -> Any:
        self.emulator.settings.change(body)
        self.emulator.apply_settings()
        return self.emulator.settings.as_dict()

    def post_insights(self, query: dict[str, str], body: Any) -> Any:
        """{"account", "region", "cluster", "insights": [...]}: sets insights that ListInsights returns for a cluster."""
        cluster = self.emulator.eks.region(body["account"], body["region"]).clusters[body["cluster"]]
        post_insights(cluster, self.emulator.timeline.now(), body["insights"])
        return {"status": "ok"}

    def post_issues(self, query: dict[str, str], body: Any) -> Any:
        """{"account", "region", "cluster", "issues": [...]}: sets health issues; see `eks/health.py`."""
        post_issues(self.emulator.eks.region(body["account"], body["region"]).clusters[body["cluster"]], body)
        return {"status": "ok"}

    def post_conflict(self, query: dict[str, str], body: Any) -> Any:
        """{"account", "region", "cluster", "addon"}: others have changed or installed the objects of an add-on."""
        cluster = self.emulator.eks.region(body["account"], body["region"]).clusters[body["cluster"]]
        cluster.edited_addons.add(body["addon"])
        return {"status": "ok"}

    def rotate_certificate_authority(self, query: dict[str, str], body: Any) -> Any:
        """{"account", "region", "cluster", "activate"}: EKS appends a successor by itself, or activates it. With "olderSeconds" all become older."""
        cluster = self.emulator.eks.region(body["account"], body["region"]).clusters[body["cluster"]]
        if "olderSeconds" in body:
            for part in cluster.certificate_authorities.values():
                part.body["createdAt"] -= float(body["olderSeconds"])
            return {"status": "ok"}
        return {"id": rotate_by_eks(cluster, self.emulator.timeline.now(), bool(body.get("activate")))}

    def publish(self, query: dict[str, str], body: Any) -> Any:
        """Publishes AMI releases, add-on versions, support dates; see `catalog.py`."""
        for posted in body if isinstance(body, list) else [body]:
            CATALOG.publish(posted)
        return {"status": "ok"}

    def clusters(self, query: dict[str, str], body: Any) -> Any:
        """Every cluster of every account, with its creation time: a name can be reused."""
        return {
            "clusters": [
                {
                    "account": region.account, "region": region.name, "cluster": cluster.name,
                    "createdAt": cluster.body["createdAt"], "status": cluster.status,
                }
                for region in self.emulator.eks.regions.values()
                for cluster in region.clusters.values()
            ]
        }

    def post_api_server(self, query: dict[str, str], body: Any) -> Any:
        """{"account", "region", "cluster", "endpoint", "caFile", "kubeconfig"}: sets the API server of one cluster."""
        cluster = self.emulator.eks.region(body["account"], body["region"]).clusters[body["cluster"]]
        cluster.api_server = ApiServer(body["endpoint"], body["caFile"], body["kubeconfig"])
        return {"status": "ok"}

    def confidential(self, query: dict[str, str], body: Any) -> Any:
        """Values that must not occur in any output: secret keys and tokens of sessions, EKS tokens."""
        return {"confidential": sorted(self.emulator.accounts.confidential)}

    def save(self, query: dict[str, str], body: Any) -> Any:
        """The state of the whole cloud, for another emulator to load."""
        return {"saved": base64.b64encode(saved.save(self.emulator)).decode()}

    def load(self, query: dict[str, str], body: Any) -> Any:
        """{"saved"}: replaces the state of the cloud. Load only trusted data: it is a pickle, which can execute code."""
        saved.load(self.emulator, base64.b64decode(body["saved"]))
        return {"status": "ok"}

    def nodes(self, query: dict[str, str], body: Any) -> Any:
        """Versions of control planes and nodes, as one consistent snapshot."""
        regions = self.emulator.eks.regions.values()
        clusters = [
            {
                "account": region.account, "region": region.name, "cluster": cluster.name, "version": cluster.version,
                "updatingTo": updating_to(cluster), "nodes": nodes_of(region, cluster),
            }
            for region in regions
            for cluster in region.clusters.values()
            if query.get("account") in (None, region.account)
        ]
        return {"clusters": clusters}


    def post_nodes(self, query: dict[str, str], body: Any) -> Any:
        """{"account", "region", "cluster", "others": N}: the number of nodes outside managed node groups."""
        region = self.emulator.eks.region(body["account"], body["region"])
        region.clusters[body["cluster"]].other_nodes = int(body["others"])
        return {"status": "ok"}


def updating_to(cluster: Cluster) -> str | None:
    update = cluster.running_update()
    params = {param["type"]: param["value"] for param in update.params} if update else {}
    return params.get("Version")
