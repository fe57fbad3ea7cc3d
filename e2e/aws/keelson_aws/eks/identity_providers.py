"""Identity provider configurations: an OIDC issuer whose tokens the cluster accepts. At most one per cluster.

- https://docs.aws.amazon.com/eks/latest/userguide/authenticate-oidc-identity-provider.html: one per cluster, https, prefixes
- https://github.com/terraform-aws-modules/terraform-aws-eks/issues/3328: the issuer of the cluster itself is refused
- https://github.com/crossplane-contrib/provider-aws/issues/1422: one whose association failed is forgotten
That the second one is refused as in use is our inference from the errors of the model. Texts are ours, except for the cluster's own issuer.
"""

from __future__ import annotations

from typing import Any

from .operations import Context, operation, page, start_update
from .state import Cluster, Part, Update, bad_parameter, in_use, new_id, not_found
from .tags import check_tags
from .updates import idle_cluster


@operation
def associate_identity_provider_config(context: Context) -> dict[str, Any]:
    cluster = idle_cluster(context, "AssociateIdentityProviderConfig")
    oidc = context.params["oidc"]
    name = oidc["identityProviderConfigName"]
    if name in cluster.identity_providers:
        raise in_use(f"Identity provider config already exists with name {name} and cluster name {cluster.name}", clusterName=cluster.name)
    if cluster.identity_providers:
        raise in_use(f"Cluster {cluster.name} has an identity provider config, and can have one only", clusterName=cluster.name)
    check_oidc(cluster, oidc)
    tags = check_tags(context.params.get("tags"))
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


def check_oidc(cluster: Cluster, oidc: dict[str, Any]) -> None:
    issuer = oidc["issuerUrl"]
    if not issuer.startswith("https://") or "?" in issuer:
        raise bad_parameter("The issuerUrl must begin with https:// and have no query parameters", clusterName=cluster.name)
    if issuer.rstrip("/") == cluster.body["identity"]["oidc"]["issuer"].rstrip("/"):
        text = "Incorrect Identity Provider URL configuration. The Identity Provider URL cannot be same as OpenID Connect (OIDC) issuer URL"
        raise bad_parameter(text, clusterName=cluster.name)
    for prefix in ("usernamePrefix", "groupsPrefix"):
        if "system:" in oidc.get(prefix, ""):
            raise bad_parameter(f"The {prefix} cannot contain system:", clusterName=cluster.name)


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
    if part.body["status"] != "ACTIVE":
        raise in_use(f"Identity provider config is in status {part.body['status']}", clusterName=cluster.name)
    name = part.body["identityProviderConfigName"]
    part.body["status"] = "DELETING"

    def finish(update: Update) -> None:
        if update.status == "Successful":
            cluster.identity_providers.pop(name, None)
        else:
            part.body["status"] = "ACTIVE"

    return {"update": start_config_update(context, cluster, "DisassociateIdentityProviderConfig", name, finish).body()}
