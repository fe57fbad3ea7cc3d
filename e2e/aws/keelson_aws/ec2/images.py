"""DescribeImages: EKS node images by id; moto returns all other images."""

from __future__ import annotations

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from ..images import describe_image
from .base import Guard


class ImageGuard(Guard, EC2Response):
    def describe_images(self) -> ActionResult:
        requested_ids = self._get_param("ImageIds") or []
        eks_images = [image for image in map(describe_image, requested_ids) if image]
        if not eks_images:
            return super().describe_images()
        known = {image["ImageId"] for image in eks_images}
        others = [ami_id for ami_id in requested_ids if ami_id not in known]
        images = self.region_state.describe_images(others, self._filters_from_querystring()) if others else []
        return ActionResult({"Images": [*eks_images, *images]})
