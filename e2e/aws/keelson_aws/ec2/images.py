"""DescribeImages: EKS's node images are found by their ids; every other image is moto's."""

from __future__ import annotations

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from ..images import describe_image
from .base import Guard


class ImageGuard(Guard, EC2Response):
    def describe_images(self) -> ActionResult:
        wanted = self._get_param("ImageIds") or []
        ours = [image for image in map(describe_image, wanted) if image]
        if not ours:
            return super().describe_images()
        known = {image["ImageId"] for image in ours}
        others = [ami_id for ami_id in wanted if ami_id not in known]
        images = self.region_state.describe_images(others, self._filters_from_querystring()) if others else []
        return ActionResult({"Images": [*ours, *images]})
