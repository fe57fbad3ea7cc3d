"""A cluster of others with a resource of each kind that can be imported."""

from __future__ import annotations

from fleet.existing_clusters import ADMIN, VIEW, Others


def create(others: Others, name: str, group: str, tags: dict[str, str], **arguments: object) -> str:
    """Creates everything that the EKS module of Terraform creates, in the same order: the log group before the cluster."""
    account, eks = others.account, others.eks
    logs = account.client("logs")
    logs.create_log_group(logGroupName=f"/aws/eks/{name}/cluster", tags=tags)
    logs.put_retention_policy(logGroupName=f"/aws/eks/{name}/cluster", retentionInDays=90)
    vpc = account.ec2.describe_subnets(SubnetIds=others.subnets[:1])["Subnets"][0]["VpcId"]
    security_group = account.security_group(vpc)
    others.cluster(
        name,
        version="1.34",
        network={
            "securityGroupIds": [security_group],
            "endpointPrivateAccess": True,
            "publicAccessCidrs": ["203.0.113.0/24"],
        },
        logging={"clusterLogging": [{"types": ["api", "audit", "authenticator"], "enabled": True}]},
        accessConfig={"authenticationMode": "API_AND_CONFIG_MAP", "bootstrapClusterCreatorAdminPermissions": False},
        bootstrapSelfManagedAddons=False,
        tags=tags,
        **arguments,
    )
    others.oidc_provider(name, **tags)
    others.addon(name, "vpc-cni", configurationValues='{"env":{"ENABLE_PREFIX_DELEGATION":"true"}}', tags=tags)
    others.addon(name, "kube-proxy", tags=tags)
    others.addon(name, "eks-pod-identity-agent")
    root = {"AWS": f"arn:aws:iam::{account.id}:root"}
    admins = account.role("admins", root)
    eks.create_access_entry(clusterName=name, principalArn=admins, tags=tags)
    scopes = {ADMIN: {"type": "cluster"}, VIEW: {"type": "namespace", "namespaces": ["shop"]}}
    for policy, scope in scopes.items():
        eks.associate_access_policy(clusterName=name, principalArn=admins, policyArn=policy, accessScope=scope)
    template = others.launch_template(MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2})
    others.node_group(
        name,
        group,
        amiType="AL2023_x86_64_STANDARD",
        instanceTypes=["m6i.large"],
        launchTemplate={"id": template, "version": "1"},
        scalingConfig={"minSize": 1, "maxSize": 4, "desiredSize": 2},
        labels={"tier": "general"},
        taints=[{"key": "dedicated", "value": "general", "effect": "PREFER_NO_SCHEDULE"}],
        updateConfig={"maxUnavailablePercentage": 33},
        tags=tags,
    )
    return name
