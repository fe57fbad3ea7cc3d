"""Access entries and their policies, pod identities, identity providers, Fargate profiles, and the tags of all of them."""

from __future__ import annotations

from conftest import Cloud, refused

ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
VIEW = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"


def test_an_entry_is_made_changed_and_deleted(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("viewer", "ec2.amazonaws.com")
    made = cloud.eks.create_access_entry(clusterName="demo", principalArn=role, kubernetesGroups=["viewers"], tags={"a": "b"})["accessEntry"]
    assert made["username"] == f"arn:aws:sts::{cloud.account}:assumed-role/viewer/{{{{SessionName}}}}"
    assert (made["type"], made["kubernetesGroups"], made["tags"]) == ("STANDARD", ["viewers"], {"a": "b"})
    cloud.eks.update_access_entry(clusterName="demo", principalArn=role, kubernetesGroups=["readers"], username="me")
    found = cloud.eks.describe_access_entry(clusterName="demo", principalArn=role)["accessEntry"]
    assert (found["kubernetesGroups"], found["username"]) == (["readers"], "me")
    cloud.eks.delete_access_entry(clusterName="demo", principalArn=role)
    with refused("ResourceNotFoundException", "The specified principalArn could not be found"):
        cloud.eks.describe_access_entry(clusterName="demo", principalArn=role)


def test_bad_entries_are_refused(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("viewer", "ec2.amazonaws.com")
    for arn in (role + "x", f"arn:aws:sts::{cloud.account}:assumed-role/viewer/s", "nonsense"):
        with refused("InvalidParameterException", "The specified principalArn is invalid: invalid principal"):
            cloud.eks.create_access_entry(clusterName="demo", principalArn=arn)
    with refused("InvalidParameterException", "system:masters"):
        cloud.eks.create_access_entry(clusterName="demo", principalArn=role, kubernetesGroups=["system:masters"])
    with refused("InvalidParameterException", "EC2_LINUX"):
        cloud.eks.create_access_entry(clusterName="demo", principalArn=role, type="EC2_LINUX", kubernetesGroups=["x"])
    cloud.eks.create_access_entry(clusterName="demo", principalArn=role)
    with refused("ResourceInUseException", "already in use on this cluster"):
        cloud.eks.create_access_entry(clusterName="demo", principalArn=role)


def make_anew(cloud: Cloud, name: str, *policies: str) -> None:
    """The role of that name goes, and another takes its place: same ARN, other id."""
    for policy in cloud.iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        cloud.iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
    cloud.iam.delete_role(RoleName=name)
    cloud.role(name, "ec2.amazonaws.com", *policies)


def test_the_entry_of_a_role_that_was_made_anew_lets_no_node_in(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup()
    role = cloud.describe_nodegroup()["nodeRole"]
    who = {"clusterName": "demo", "principalArn": role}
    ready = lambda: [node["ready"] for node in cloud.nodes()]  # noqa: E731
    assert ready() and all(ready())
    shown = cloud.eks.describe_access_entry(**who)["accessEntry"]
    make_anew(cloud, role.rpartition("/")[2], "AmazonEKSWorkerNodePolicy")
    assert cloud.eks.describe_access_entry(**who)["accessEntry"] == shown, "EKS shows the principal's id to nobody"
    assert not any(ready())
    cloud.eks.delete_access_entry(**who)
    assert not any(ready())
    cloud.eks.create_access_entry(**who, type="EC2_LINUX")
    assert all(ready())


def test_config_map_clusters_have_no_entries(cloud: Cloud) -> None:
    cloud.cluster(accessConfig={"authenticationMode": "CONFIG_MAP"})
    with refused("InvalidRequestException", "authentication mode must be set to one of [API, API_AND_CONFIG_MAP]"):
        cloud.eks.list_access_entries(clusterName="demo")


def test_policies_are_associated_and_taken_away(cloud: Cloud) -> None:
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
    with refused("ResourceNotFoundException"):
        cloud.eks.disassociate_access_policy(**who, policyArn=VIEW)
    with refused("InvalidParameterException", "policyArn"):
        cloud.eks.associate_access_policy(**who, policyArn="arn:aws:eks::aws:cluster-access-policy/None", accessScope={"type": "cluster"})
    with refused("InvalidParameterException", "namespaces"):
        cloud.eks.associate_access_policy(**who, policyArn=VIEW, accessScope={"type": "namespace"})
    assert ADMIN in [p["arn"] for p in cloud.eks.list_access_policies()["accessPolicies"]]


def test_pod_identities(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("dns", "pods.eks.amazonaws.com")
    asked = {"clusterName": "demo", "namespace": "kube-system", "serviceAccount": "external-dns", "roleArn": role}
    made = cloud.eks.create_pod_identity_association(**asked, tags={"a": "b"})["association"]
    assert made["associationId"].startswith("a-") and made["associationArn"].endswith(made["associationId"])
    with refused("ResourceInUseException", "Association already exists"):
        cloud.eks.create_pod_identity_association(**asked)
    with refused("InvalidParameterException", "Role provided in the request does not exist"):
        cloud.eks.create_pod_identity_association(**{**asked, "serviceAccount": "x", "roleArn": role + "x"})
    with refused("InvalidParameterException", "pods.eks.amazonaws.com"):
        cloud.eks.create_pod_identity_association(**{**asked, "serviceAccount": "x", "roleArn": cloud.node_role()})
    (found,) = cloud.eks.list_pod_identity_associations(clusterName="demo", namespace="kube-system")["associations"]
    assert found["associationId"] == made["associationId"]
    assert cloud.eks.list_pod_identity_associations(clusterName="demo", namespace="other")["associations"] == []
    other = cloud.role("dns2", "pods.eks.amazonaws.com")
    which = {"clusterName": "demo", "associationId": made["associationId"]}
    cloud.eks.update_pod_identity_association(**which, roleArn=other)
    assert cloud.eks.describe_pod_identity_association(**which)["association"]["roleArn"] == other
    cloud.eks.delete_pod_identity_association(**which)
    with refused("ResourceNotFoundException"):
        cloud.eks.describe_pod_identity_association(**which)


def test_an_identity_provider_is_associated_and_taken_away(cloud: Cloud) -> None:
    cloud.cluster()
    oidc = {"identityProviderConfigName": "corp", "issuerUrl": "https://id.example.com", "clientId": "kubernetes"}
    update = cloud.eks.associate_identity_provider_config(clusterName="demo", oidc=oidc, tags={"a": "b"})
    which = {"clusterName": "demo", "identityProviderConfig": {"type": "oidc", "name": "corp"}}
    assert cloud.eks.describe_identity_provider_config(**which)["identityProviderConfig"]["oidc"]["status"] == "CREATING"
    cloud.update_done(update)
    assert cloud.eks.describe_identity_provider_config(**which)["identityProviderConfig"]["oidc"]["status"] == "ACTIVE"
    assert cloud.eks.list_identity_provider_configs(clusterName="demo")["identityProviderConfigs"] == [{"type": "oidc", "name": "corp"}]
    with refused("ResourceLimitExceededException"):
        cloud.eks.associate_identity_provider_config(clusterName="demo", oidc={**oidc, "identityProviderConfigName": "two"})
    cloud.update_done(cloud.eks.disassociate_identity_provider_config(**which))
    with refused("ResourceNotFoundException"):
        cloud.eks.describe_identity_provider_config(**which)


def test_fargate_profiles_one_at_a_time(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("pods", "eks-fargate-pods.amazonaws.com", "AmazonEKSFargatePodExecutionRolePolicy")
    asked = {"clusterName": "demo", "podExecutionRoleArn": role, "subnets": cloud.subnets, "selectors": [{"namespace": "batch"}]}
    assert cloud.eks.create_fargate_profile(fargateProfileName="one", **asked)["fargateProfile"]["status"] == "CREATING"
    with refused("ResourceInUseException", "one is currently CREATING"):
        cloud.eks.create_fargate_profile(fargateProfileName="two", **asked)
    cloud.until(
        lambda: cloud.eks.describe_fargate_profile(clusterName="demo", fargateProfileName="one")["fargateProfile"]["status"] == "ACTIVE"
    )
    with refused("ResourceInUseException", "Fargate"):
        cloud.eks.delete_cluster(name="demo")
    with refused("InvalidParameterException", "Misconfigured PodExecutionRole Trust Policy"):
        cloud.eks.create_fargate_profile(fargateProfileName="bad", **{**asked, "podExecutionRoleArn": cloud.node_role()})
    with refused("InvalidParameterException", "at least one selector"):
        cloud.eks.create_fargate_profile(fargateProfileName="bad", **{**asked, "selectors": []})
    cloud.eks.delete_fargate_profile(clusterName="demo", fargateProfileName="one")
    cloud.gone(cloud.eks.describe_fargate_profile, clusterName="demo", fargateProfileName="one")


def test_everything_is_tagged_and_several_keys_are_untagged_at_once(cloud: Cloud) -> None:
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


def test_tags_have_limits(cloud: Cloud) -> None:
    arn = cloud.cluster(wait=False)["arn"]
    with refused("NotFoundException"):
        cloud.eks.tag_resource(resourceArn=arn + "x", tags={"a": "b"})
    with refused("BadRequestException", "aws:"):
        cloud.eks.tag_resource(resourceArn=arn, tags={"aws:a": "b"})
    with refused("BadRequestException", "50"):
        for batch in (0, 40):
            cloud.eks.tag_resource(resourceArn=arn, tags={f"k{batch + i}": "v" for i in range(40)})
