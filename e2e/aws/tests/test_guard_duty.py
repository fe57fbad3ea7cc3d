"""GuardDuty's automated agent: what it creates in a cluster and its VPC, and what stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import Cloud, expect_error

AGENT = "aws-guardduty-agent"


@pytest.fixture
def protected(cloud: Cloud) -> Iterator[Cloud]:
    cloud.server.post("settings", {"GUARD_DUTY_ACCOUNTS": cloud.account})
    yield cloud
    cloud.server.post("settings", {"GUARD_DUTY_ACCOUNTS": ""})


def addons(cloud: Cloud) -> list[str]:
    found: list[str] = cloud.eks.list_addons(clusterName="demo")["addons"]
    return found


def test_agent_is_installed_again_after_each_deletion(protected: Cloud) -> None:
    protected.cluster()
    for _ in range(2):
        protected.until(lambda: AGENT in addons(protected))
        protected.eks.delete_addon(clusterName="demo", addonName=AGENT)
        protected.until(lambda: AGENT not in addons(protected))
    protected.until(lambda: AGENT in addons(protected))


def test_endpoint_and_group_stay_after_the_cluster_and_block_its_subnets(protected: Cloud) -> None:
    protected.cluster()
    protected.until(lambda: AGENT in addons(protected))
    protected.eks.delete_cluster(name="demo")
    protected.gone(protected.eks.describe_cluster, name="demo")
    by_tag = [{"Name": "tag:GuardDutyManaged", "Values": ["true"]}]
    (endpoint,) = protected.ec2.describe_vpc_endpoints(Filters=by_tag)["VpcEndpoints"]
    assert endpoint["ServiceName"] == "com.amazonaws.eu-west-1.guardduty-data" and endpoint["VpcId"] == protected.vpc_id
    (group,) = protected.ec2.describe_security_groups(Filters=by_tag)["SecurityGroups"]
    assert group["GroupName"] == f"GuardDutyManagedSecurityGroup-{protected.vpc_id}"
    with expect_error("DependencyViolation"):
        protected.ec2.delete_subnet(SubnetId=protected.subnets[0])
    protected.ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])
    protected.until(lambda: not protected.ec2.describe_vpc_endpoints(Filters=by_tag)["VpcEndpoints"])
    protected.ec2.delete_security_group(GroupId=group["GroupId"])
    for subnet in protected.subnets:
        protected.ec2.delete_subnet(SubnetId=subnet)


def test_excluded_cluster_gets_no_agent(protected: Cloud) -> None:
    protected.cluster(tags={"GuardDutyManaged": "false"})
    with pytest.raises(AssertionError):
        protected.until(lambda: AGENT in addons(protected), 0.5)
