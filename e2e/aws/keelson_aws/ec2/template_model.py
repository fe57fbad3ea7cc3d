"""Launch templates of moto with what it lacks: a version can be deleted, and the number of a deleted one is not used again."""

from __future__ import annotations

from typing import Any

from moto.ec2.exceptions import InvalidLaunchTemplateVersionNotFound
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion


def create_version(self: LaunchTemplate, data: dict[str, Any], description: str) -> LaunchTemplateVersion:
    number = 1 + max([getattr(self, "last_number", 0), *(version.number for version in self.versions)])
    version = LaunchTemplateVersion(self, number, data, description)
    self.versions.append(version)
    self.last_number = number  # type: ignore[attr-defined]
    return version


def get_version(self: LaunchTemplate, num: Any) -> LaunchTemplateVersion:
    asked = str(num).lower()
    number = {"$latest": self.versions[-1].number, "$default": self.default_version_number}.get(asked, asked)
    found = next((version for version in self.versions if str(version.number) == str(number)), None)
    if found is None:
        raise InvalidLaunchTemplateVersionNotFound(template_id=self.id, version=num)
    return found


def default_version(self: LaunchTemplate) -> LaunchTemplateVersion:
    return self.get_version("$Default")


def apply() -> None:
    LaunchTemplate.create_version = create_version  # type: ignore[method-assign]
    LaunchTemplate.get_version = get_version  # type: ignore[method-assign]
    LaunchTemplate.default_version = default_version  # type: ignore[method-assign]
