"""Identity provider configurations: an OIDC issuer whose tokens the cluster accepts. At most one per cluster."""

from __future__ import annotations

from typing import Any

from .operations import Context, operation, page, start_update
from .state import Cluster, Part, Update, bad_parameter, limit_exceeded, new_id, not_found
from .tags import check_tags
from .updates import idle_cluster


@operation
def associate_identity_provider_config(context: Context) -> dict[str, Any]:
    cluster = idle_cluster(context, "AssociateIdentityProviderConfig")
    oidc = context.params["oidc"]
    if cluster.identity_providers:
        raise limit_exceeded("A cluster can have at most one identity provider config", clusterName=cluster.name)
    if not oidc["issuerUrl"].startswith("https://"):
        raise bad_parameter("The issuerUrl must start with https://", clusterName=cluster.name)
    tags = check_tags(context.params.get("tags"))
    name = oidc["identityProviderConfigName"]
    part = Part(
        {
            **oidc,
            "identityProviderConfigArn": context.region.arn(f"identityproviderconfig/{cluster.name}/oidc/{name}/{new_id()}"),
            "clusterName": cluster.name,
            "tags": tags,
            "status": "CREATING",
        }
    )
    cluster.identity_providers[name] = part

    def finish(update: Update) -> None:
        if update.status == "Successful":
            part.body["status"] = "ACTIVE"
        else:
            cluster.identity_providers.pop(name, None)

    update = start_config_update(context, cluster, "AssociateIdentityProviderConfig", name, finish)
    return {"update": update.body(), "tags": tags}


def start_config_update(context: Context, cluster: Cluster, kind: str, name: str, finish: Any) -> Update:
    cluster.body["status"] = "UPDATING"

    def finish_update(update: Update) -> None:
        finish(update)
        if cluster.status == "UPDATING":
            cluster.body["status"] = "ACTIVE"

    described = {"type": "oidc", "name": name}
    return start_update(context, cluster, kind, [("IdentityProviderConfig", described)], context.settings.cluster_update_seconds, finish_update)


def find_config(context: Context, cluster: Cluster) -> Part:
    requested = context.params["identityProviderConfig"]
    part = cluster.identity_providers.get(requested["name"]) if requested["type"] == "oidc" else None
    if part is None:
        raise not_found("Identity provider config not found", clusterName=cluster.name)
    return part


@operation
def describe_identity_provider_config(context: Context) -> dict[str, Any]:
    return {"identityProviderConfig": {"oidc": dict(find_config(context, context.cluster()).body)}}


@operation
def list_identity_provider_configs(context: Context) -> dict[str, Any]:
    configs = [{"type": "oidc", "name": name} for name in sorted(context.cluster().identity_providers)]
    return page(context, configs, "identityProviderConfigs")


@operation
def disassociate_identity_provider_config(context: Context) -> dict[str, Any]:
    cluster = idle_cluster(context, "DisassociateIdentityProviderConfig")
    part = find_config(context, cluster)
    name = part.body["identityProviderConfigName"]
    part.body["status"] = "DELETING"

    def finish(update: Update) -> None:
        if update.status == "Successful":
            cluster.identity_providers.pop(name, None)
        else:
            part.body["status"] = "ACTIVE"

    return {"update": start_config_update(context, cluster, "DisassociateIdentityProviderConfig", name, finish).body()}
