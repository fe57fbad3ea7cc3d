"""DescribeImages by id: EKS node images, the account's own, and those that other accounts share. moto returns all other images."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidAMIIdError
from moto.ec2.models import ec2_backends
from moto.ec2.responses import EC2Response

from ..images import describe_image
from .base import Guard


class ImageGuard(Guard, EC2Response):
    def describe_images(self) -> ActionResult:
        requested_ids = self._get_param("ImageIds") or []
        found = [image for image in map(self.visible_image, requested_ids) if image]
        if not found:
            return super().describe_images()
        missing = [ami_id for ami_id in requested_ids if ami_id not in {image_id(image) for image in found}]
        visible = self.region_state.describe_images(None, {"image-id": missing}) if missing else []
        if len(visible) < len(missing):
            raise InvalidAMIIdError([ami_id for ami_id in missing if ami_id not in {image.id for image in visible}])
        return ActionResult({"Images": [*found, *visible]})

    def visible_image(self, ami_id: str) -> Any:
        return describe_image(ami_id) or shared_image(ami_id, self.current_account, self.region)


def shared_image(ami_id: str, account: str, region: str) -> Any:
    """An image of another account that everybody, or `account`, may launch. Private ones are invisible."""
    for owner in list(ec2_backends):
        backend = ec2_backends[owner].get(region) if owner != account else None
        image = backend.amis.get(ami_id) if backend else None
        # moto loads its public images into each account.
        if image and image.owner_id == owner and (image.is_public or {"UserId": account} in image.launch_permissions):
            return backend.describe_images([ami_id])[0]
    return None


def image_id(image: Any) -> str:
    return str(image["ImageId"] if isinstance(image, dict) else image.id)
