"""Access entries and their policies, pod identities, identity providers, Fargate profiles, and their tags."""

from __future__ import annotations

import pytest
from conftest import Cloud, Server, expect_error

ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
VIEW = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"


def test_access_entry_create_update_delete(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("viewer", "ec2.amazonaws.com")
    created = cloud.eks.create_access_entry(clusterName="demo", principalArn=role, kubernetesGroups=["viewers"], tags={"a": "b"})["accessEntry"]
    assert created["username"] == f"arn:aws:sts::{cloud.account}:assumed-role/viewer/{{{{SessionName}}}}"
    assert (created["type"], created["kubernetesGroups"], created["tags"]) == ("STANDARD", ["viewers"], {"a": "b"})
    cloud.eks.update_access_entry(clusterName="demo", principalArn=role, kubernetesGroups=["readers"], username="me")
    found = cloud.eks.describe_access_entry(clusterName="demo", principalArn=role)["accessEntry"]
    assert (found["kubernetesGroups"], found["username"]) == (["readers"], "me")
    cloud.eks.delete_access_entry(clusterName="demo", principalArn=role)
    with expect_error("ResourceNotFoundException", "The specified principalArn could not be found"):
        cloud.eks.describe_access_entry(clusterName="demo", principalArn=role)


def test_invalid_access_entries_are_rejected(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("viewer", "ec2.amazonaws.com")
    for arn in (role + "x", f"arn:aws:sts::{cloud.account}:assumed-role/viewer/s", "nonsense"):
        with expect_error("InvalidParameterException", "The specified principalArn is invalid: invalid principal"):
            cloud.eks.create_access_entry(clusterName="demo", principalArn=arn)
    with expect_error("InvalidParameterException", "system:masters"):
        cloud.eks.create_access_entry(clusterName="demo", principalArn=role, kubernetesGroups=["system:masters"])
    with expect_error("InvalidParameterException", "EC2_LINUX"):
        cloud.eks.create_access_entry(clusterName="demo", principalArn=role, type="EC2_LINUX", kubernetesGroups=["x"])
    cloud.eks.create_access_entry(clusterName="demo", principalArn=role)
    with expect_error("ResourceInUseException", "already in use on this cluster"):
        cloud.eks.create_access_entry(clusterName="demo", principalArn=role)


def recreate_role(cloud: Cloud, name: str, *policies: str) -> None:
    """Deletes the role and creates a new one: same ARN, other id."""
    for policy in cloud.iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        cloud.iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
    cloud.iam.delete_role(RoleName=name)
    cloud.role(name, "ec2.amazonaws.com", *policies)


def test_access_entry_of_a_recreated_role_admits_no_node(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup()
    role = cloud.describe_nodegroup()["nodeRole"]
    who = {"clusterName": "demo", "principalArn": role}
    ready = lambda: [node["ready"] for node in cloud.nodes()]  # noqa: E731
    assert ready() and all(ready())
    shown = cloud.eks.describe_access_entry(**who)["accessEntry"]
    recreate_role(cloud, role.rpartition("/")[2], "AmazonEKSWorkerNodePolicy")
    assert cloud.eks.describe_access_entry(**who)["accessEntry"] == shown, "EKS does not return the principal's id"
    assert not any(ready())
    cloud.eks.delete_access_entry(**who)
    assert not any(ready())
    cloud.eks.create_access_entry(**who, type="EC2_LINUX")
    assert all(ready())


def test_config_map_clusters_have_no_access_entries(cloud: Cloud) -> None:
    cloud.cluster(accessConfig={"authenticationMode": "CONFIG_MAP"})
    with expect_error("InvalidRequestException", "authentication mode must be set to one of [API, API_AND_CONFIG_MAP]"):
        cloud.eks.list_access_entries(clusterName="demo")


def test_access_policies_are_associated_and_disassociated(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("viewer", "ec2.amazonaws.com")
    cloud.eks.create_access_entry(clusterName="demo", principalArn=role)
    who = {"clusterName": "demo", "principalArn": role}
    done = cloud.eks.associate_access_policy(**who, policyArn=VIEW, accessScope={"type": "namespace", "namespaces": ["shop"]})
    assert done["associatedAccessPolicy"]["accessScope"] == {"type": "namespace", "namespaces": ["shop"]}
    cloud.eks.associate_access_policy(**who, policyArn=VIEW, accessScope={"type": "cluster"})
    cloud.eks.associate_access_policy(**who, policyArn=ADMIN, accessScope={"type": "cluster"})
    found = cloud.eks.list_associated_access_policies(**who)["associatedAccessPolicies"]
    assert {p["policyArn"]: p["accessScope"]["type"] for p in found} == {VIEW: "cluster", ADMIN: "cluster"}
    assert role in cloud.eks.list_access_entries(clusterName="demo", associatedPolicyArn=VIEW)["accessEntries"]
    cloud.eks.disassociate_access_policy(**who, policyArn=VIEW)
    with expect_error("ResourceNotFoundException"):
        cloud.eks.disassociate_access_policy(**who, policyArn=VIEW)
    with expect_error("InvalidParameterException", "policyArn"):
        cloud.eks.associate_access_policy(**who, policyArn="arn:aws:eks::aws:cluster-access-policy/None", accessScope={"type": "cluster"})
    with expect_error("InvalidParameterException", "namespaces"):
        cloud.eks.associate_access_policy(**who, policyArn=VIEW, accessScope={"type": "namespace"})
    assert ADMIN in [p["arn"] for p in cloud.eks.list_access_policies()["accessPolicies"]]


def test_pod_identities(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("dns", "pods.eks.amazonaws.com")
    parameters = {"clusterName": "demo", "namespace": "kube-system", "serviceAccount": "external-dns", "roleArn": role}
    created = cloud.eks.create_pod_identity_association(**parameters, tags={"a": "b"})["association"]
    assert created["associationId"].startswith("a-") and created["associationArn"].endswith(created["associationId"])
    with expect_error("ResourceInUseException", "Association already exists"):
        cloud.eks.create_pod_identity_association(**parameters)
    with expect_error("InvalidParameterException", "Role provided in the request does not exist"):
        cloud.eks.create_pod_identity_association(**{**parameters, "serviceAccount": "x", "roleArn": role + "x"})
    with expect_error("InvalidParameterException", "pods.eks.amazonaws.com"):
        cloud.eks.create_pod_identity_association(**{**parameters, "serviceAccount": "x", "roleArn": cloud.node_role()})
    (found,) = cloud.eks.list_pod_identity_associations(clusterName="demo", namespace="kube-system")["associations"]
    assert found["associationId"] == created["associationId"]
    assert cloud.eks.list_pod_identity_associations(clusterName="demo", namespace="other")["associations"] == []
    other = cloud.role("dns2", "pods.eks.amazonaws.com")
    which = {"clusterName": "demo", "associationId": created["associationId"]}
    cloud.eks.update_pod_identity_association(**which, roleArn=other)
    assert cloud.eks.describe_pod_identity_association(**which)["association"]["roleArn"] == other
    target = "arn:aws:iam::210987654321:role/theirs"
    updated = cloud.eks.update_pod_identity_association(**which, targetRoleArn=target, disableSessionTags=True)["association"]
    assert (updated["targetRoleArn"], updated["disableSessionTags"], updated["roleArn"]) == (target, True, other)
    assert updated["externalId"], "for the trust policy of the target"
    cloud.eks.delete_pod_identity_association(**which)
    with expect_error("ResourceNotFoundException"):
        cloud.eks.describe_pod_identity_association(**which)


def test_identity_provider_is_associated_and_disassociated(cloud: Cloud) -> None:
    cloud.cluster()
    oidc = {"identityProviderConfigName": "corp", "issuerUrl": "https://id.example.com", "clientId": "kubernetes"}
    update = cloud.eks.associate_identity_provider_config(clusterName="demo", oidc=oidc, tags={"a": "b"})
    which = {"clusterName": "demo", "identityProviderConfig": {"type": "oidc", "name": "corp"}}
    assert cloud.eks.describe_identity_provider_config(**which)["identityProviderConfig"]["oidc"]["status"] == "CREATING"
    cloud.update_done(update)
    assert cloud.eks.describe_identity_provider_config(**which)["identityProviderConfig"]["oidc"]["status"] == "ACTIVE"
    assert cloud.eks.list_identity_provider_configs(clusterName="demo")["identityProviderConfigs"] == [{"type": "oidc", "name": "corp"}]
    with expect_error("ResourceInUseException", "can have one only"):
        cloud.eks.associate_identity_provider_config(clusterName="demo", oidc={**oidc, "identityProviderConfigName": "two"})
    with expect_error("ResourceInUseException", "already exists"):
        cloud.eks.associate_identity_provider_config(clusterName="demo", oidc=oidc)
    cloud.update_done(cloud.eks.disassociate_identity_provider_config(**which))
    with expect_error("ResourceNotFoundException"):
        cloud.eks.describe_identity_provider_config(**which)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"issuerUrl": "http://id.example.com"}, "must begin with https://"),
        ({"issuerUrl": "https://id.example.com?tenant=a"}, "no query"),
        ({"usernamePrefix": "system:"}, "cannot contain system:"),
        ({"groupsPrefix": "my-system:"}, "cannot contain system:"),
    ],
)
def test_unsuitable_identity_provider_is_refused(cloud: Cloud, change: dict[str, str], text: str) -> None:
    cloud.cluster()
    oidc = {"identityProviderConfigName": "corp", "issuerUrl": "https://id.example.com", "clientId": "kubernetes", **change}
    with expect_error("InvalidParameterException", text):
        cloud.eks.associate_identity_provider_config(clusterName="demo", oidc=oidc)


def test_issuer_of_the_cluster_is_no_identity_provider_and_one_update_runs_at_a_time(cloud: Cloud) -> None:
    issuer = cloud.cluster()["identity"]["oidc"]["issuer"]
    oidc = {"identityProviderConfigName": "corp", "issuerUrl": issuer, "clientId": "sts.amazonaws.com"}
    with expect_error("InvalidParameterException", "cannot be same as"):
        cloud.eks.associate_identity_provider_config(clusterName="demo", oidc=oidc)
    update = cloud.eks.associate_identity_provider_config(clusterName="demo", oidc={**oidc, "issuerUrl": "https://id.example.com"})
    which = {"clusterName": "demo", "identityProviderConfig": {"type": "oidc", "name": "corp"}}
    with expect_error("ResourceInUseException", "update"):
        cloud.eks.disassociate_identity_provider_config(**which)
    cloud.update_done(update)


def test_failed_association_is_forgotten_and_only_its_update_says_why(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    match = {"account": cloud.account, "action": "AssociateIdentityProviderConfig"}
    server.post("faults", {"match": match, "then": {"fail": "the issuer does not answer"}})
    oidc = {"identityProviderConfigName": "corp", "issuerUrl": "https://id.example.com", "clientId": "kubernetes"}
    update = cloud.eks.associate_identity_provider_config(clusterName="demo", oidc=oidc)["update"]
    failed = cloud.until(lambda: (found := cloud.eks.describe_update(name="demo", updateId=update["id"])["update"])["status"] == "Failed" and found)
    assert failed["errors"][0]["errorMessage"] == "the issuer does not answer"
    assert cloud.eks.list_identity_provider_configs(clusterName="demo")["identityProviderConfigs"] == []


def test_only_one_fargate_profile_changes_at_a_time(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("pods", "eks-fargate-pods.amazonaws.com", "AmazonEKSFargatePodExecutionRolePolicy")
    parameters = {"clusterName": "demo", "podExecutionRoleArn": role, "subnets": cloud.subnets, "selectors": [{"namespace": "batch"}]}
    assert cloud.eks.create_fargate_profile(fargateProfileName="one", **parameters)["fargateProfile"]["status"] == "CREATING"
    with expect_error("ResourceInUseException", "one is currently CREATING"):
        cloud.eks.create_fargate_profile(fargateProfileName="two", **parameters)
    cloud.until(
        lambda: cloud.eks.describe_fargate_profile(clusterName="demo", fargateProfileName="one")["fargateProfile"]["status"] == "ACTIVE"
    )
    with expect_error("ResourceInUseException", "Fargate"):
        cloud.eks.delete_cluster(name="demo")
    with expect_error("InvalidParameterException", "Misconfigured PodExecutionRole Trust Policy"):
        cloud.eks.create_fargate_profile(fargateProfileName="bad", **{**parameters, "podExecutionRoleArn": cloud.node_role()})
    with expect_error("InvalidParameterException", "at least one selector"):
        cloud.eks.create_fargate_profile(fargateProfileName="bad", **{**parameters, "selectors": []})
    cloud.eks.delete_fargate_profile(clusterName="demo", fargateProfileName="one")
    cloud.gone(cloud.eks.describe_fargate_profile, clusterName="demo", fargateProfileName="one")


def test_all_resources_can_be_tagged_and_untagged_with_several_keys(cloud: Cloud) -> None:
    cluster = cloud.cluster(tags={"a": "1"})
    role = cloud.role("dns", "pods.eks.amazonaws.com")
    fargate = cloud.role("pods", "eks-fargate-pods.amazonaws.com")
    arns = [
        cluster["arn"],
        cloud.nodegroup(wait=False, tags={"a": "1"})["nodegroupArn"],
        cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", tags={"a": "1"})["addon"]["addonArn"],
        cloud.eks.create_access_entry(clusterName="demo", principalArn=role, tags={"a": "1"})["accessEntry"]["accessEntryArn"],
        cloud.eks.create_pod_identity_association(
            clusterName="demo", namespace="n", serviceAccount="s", roleArn=role, tags={"a": "1"}
        )["association"]["associationArn"],
        cloud.eks.create_fargate_profile(
            clusterName="demo", fargateProfileName="f", podExecutionRoleArn=fargate, selectors=[{"namespace": "b"}], tags={"a": "1"}
        )["fargateProfile"]["fargateProfileArn"],
    ]
    for arn in arns:
        cloud.eks.tag_resource(resourceArn=arn, tags={"b": "2", "c/d:e": "3 4"})
        assert cloud.eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "1", "b": "2", "c/d:e": "3 4"}
        cloud.eks.untag_resource(resourceArn=arn, tagKeys=["a", "c/d:e"])
        assert cloud.eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    assert cloud.describe()["tags"] == {"b": "2"}


def test_tag_limits(cloud: Cloud) -> None:
    arn = cloud.cluster(wait=False)["arn"]
    with expect_error("NotFoundException"):
        cloud.eks.tag_resource(resourceArn=arn + "x", tags={"a": "b"})
    with expect_error("BadRequestException", "aws:"):
        cloud.eks.tag_resource(resourceArn=arn, tags={"aws:a": "b"})
    with expect_error("BadRequestException", "50"):
        for batch in (0, 40):
            cloud.eks.tag_resource(resourceArn=arn, tags={f"k{batch + i}": "v" for i in range(40)})
