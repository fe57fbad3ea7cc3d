"""DescribeImages: which AMIs an account sees, and their owners."""

from __future__ import annotations

from conftest import Cloud, expect_error

DISK = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20}}]


def register(cloud: Cloud, name: str) -> str:
    return str(cloud.ec2.register_image(Name=name, RootDeviceName="/dev/xvda", BlockDeviceMappings=DISK)["ImageId"])


def share(cloud: Cloud, image: str, **permission: str) -> None:
    cloud.ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [permission]})


def test_private_image_is_visible_to_its_owner_only(cloud: Cloud, other_account: Cloud) -> None:
    image = register(cloud, "vault")
    (own,) = cloud.ec2.describe_images(ImageIds=[image])["Images"]
    assert own["OwnerId"] == cloud.account and "ImageOwnerAlias" not in own and own["Public"] is False
    with expect_error("InvalidAMIID.NotFound", image):
        other_account.ec2.describe_images(ImageIds=[image])
    assert other_account.ec2.describe_images(Filters=[{"Name": "image-id", "Values": [image]}])["Images"] == []


def test_shared_and_public_images_are_visible_with_their_owner(cloud: Cloud, other_account: Cloud) -> None:
    shared, public, private = (register(cloud, name) for name in ("golden", "everybody", "own"))
    share(cloud, shared, UserId=other_account.account)
    share(cloud, public, Group="all")
    found = other_account.ec2.describe_images(ImageIds=[shared, public])["Images"]
    assert {image["ImageId"]: image["OwnerId"] for image in found} == {shared: cloud.account, public: cloud.account}
    assert not any("ImageOwnerAlias" in image for image in found)
    with expect_error("InvalidAMIID.NotFound", private):
        other_account.ec2.describe_images(ImageIds=[shared, private])
    # The only account with a permission is named.
    share(cloud, private, UserId="123456789012")
    with expect_error("InvalidAMIID.NotFound"):
        other_account.ec2.describe_images(ImageIds=[private])


def test_images_of_amazon_have_its_alias(cloud: Cloud) -> None:
    parameter = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id"
    eks = cloud.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
    own = register(cloud, "own")
    by_id = {image["ImageId"]: image for image in cloud.ec2.describe_images(ImageIds=[eks, own])["Images"]}
    assert (by_id[eks]["OwnerId"], by_id[eks]["ImageOwnerAlias"]) == ("602401143452", "amazon")
    assert by_id[own]["OwnerId"] == cloud.account
