"""Launch templates: idempotent creation, and EC2's own not-found error codes, which clients rely on."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from .base import Guard


class LaunchTemplateGuard(Guard, EC2Response):
    def describe_launch_templates(self) -> ActionResult:
        for template_id in self._get_param("LaunchTemplateIds") or []:
            self.region_state.get_launch_template(template_id)
        return super().describe_launch_templates()

    def delete_launch_template(self) -> ActionResult:
        template_id = self._get_param("LaunchTemplateId")
        if template_id:
            self.region_state.get_launch_template(template_id)
        return super().delete_launch_template()

    def create_launch_template(self) -> ActionResult:
        created_id = self.create_once("CreateLaunchTemplate", self.create_template)
        template = self.region_state.get_launch_template(created_id)
        return ActionResult(
            {
                "LaunchTemplate": {
                    "CreateTime": template.create_time,
                    "CreatedBy": f"arn:aws:iam::{self.current_account}:root",
                    "DefaultVersionNumber": template.default_version_number,
                    "LatestVersionNumber": template.latest_version_number,
                    "LaunchTemplateId": template.id,
                    "LaunchTemplateName": template.name,
                    "Tags": template.tag_list,
                }
            }
        )

    def create_template(self) -> str:
        result: dict[str, Any] = super().create_launch_template().result  # type: ignore[assignment]
        template = self.region_state.get_launch_template(result["LaunchTemplate"]["LaunchTemplateId"])
        # moto adds the template's own tags to the instance tags, which Terraform then plans to remove.
        data = template.latest_version().data
        specifications = [spec for spec in data.pop("TagSpecifications", []) if spec["ResourceType"] != "launch-template"]
        if specifications:
            data["TagSpecifications"] = specifications
        return str(template.id)
