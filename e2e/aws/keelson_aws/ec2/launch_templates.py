"""Launch templates: all their calls. moto ignores client tokens, source versions, filters and pages, and deletes no versions.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html and those of the other calls;
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/launch-template-restrictions.html: what a template contains is hardly validated
before it is used. Error codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.responses import EC2Response
from moto.ec2.utils import convert_tag_spec, generic_filter, parse_user_data

from ..errors import AwsError
from .base import Guard
from .tags import matches_any

NAME = re.compile(r"[a-zA-Z0-9().\-/_]{3,128}")
ID = re.compile(r"lt-[0-9a-f]+")
MAX_USER_DATA = 16 * 1024
MAX_RESULTS = MAX_DELETED = 200
# What a template's content can tag, besides the template itself.
TAGGED_AT_LAUNCH = ("instance", "volume", "network-interface", "spot-instances-request")

# The error of one version in the answer of DeleteLaunchTemplateVersions, by the code that a call would fail with.
VERSION_ERRORS = {
    "InvalidLaunchTemplateId.NotFound": "launchTemplateIdDoesNotExist",
    "InvalidLaunchTemplateId.Malformed": "launchTemplateIdMalformed",
    "InvalidLaunchTemplateId.VersionNotFound": "launchTemplateVersionDoesNotExist",
    "InvalidLaunchTemplateName.NotFoundException": "launchTemplateNameDoesNotExist",
    "InvalidLaunchTemplateName.MalformedException": "launchTemplateNameMalformed",
}

Filter = Callable[[LaunchTemplateVersion], Any]


def of_data(*path: str) -> Filter:
    def value(version: LaunchTemplateVersion) -> Any:
        found: Any = version.data
        for name in path:
            found = (found or {}).get(name)
        return found

    return value


VERSION_FILTERS: dict[str, Filter] = {
    "create-time": lambda version: version.create_time.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    "ebs-optimized": of_data("EbsOptimized"),
    "http-endpoint": of_data("MetadataOptions", "HttpEndpoint"),
    "http-tokens": of_data("MetadataOptions", "HttpTokens"),
    "iam-instance-profile": of_data("IamInstanceProfile", "Arn"),
    "image-id": of_data("ImageId"),
    "instance-type": of_data("InstanceType"),
    "is-default-version": lambda version: version.template.is_default(version),
    "kernel-id": of_data("KernelId"),
    "ram-disk-id": of_data("RamDiskId"),
}


class LaunchTemplateGuard(Guard, EC2Response):
    def create_launch_template(self) -> ActionResult:
        created = self.region_state.created_templates[self.create_once("CreateLaunchTemplate", self.create_template)]
        return ActionResult({"LaunchTemplate": self.describe_template(created)})

    def create_template(self) -> str:
        name = self._get_param("LaunchTemplateName")
        if not name:
            raise missing("LaunchTemplateName")
        check_name(name)
        data = self.requested_data()
        tags = with_tags(self._get_param("TagSpecifications"))
        check_tag_specifications(tags, ("launch-template",))
        template = self.region_state.create_launch_template(name, self._get_param("VersionDescription"), data, convert_tag_spec(tags))
        self.set_creator(template.versions[0])
        self.region_state.created_templates[template.id] = template
        return str(template.id)

    def create_launch_template_version(self) -> ActionResult:
        key = self.create_once("CreateLaunchTemplateVersion", self.create_version)
        return ActionResult({"LaunchTemplateVersion": self.describe_version(self.region_state.created_templates[key])})

    def create_version(self) -> str:
        template = self.requested_template()
        source = self._get_param("SourceVersion")
        # Inherited parameters are replaced as a whole, not merged.
        inherited = dict(template.get_version(source).data) if source else {}
        data = {**inherited, **self.requested_data()}
        version = template.create_version(data, self._get_param("VersionDescription"))
        self.set_creator(version)
        key = f"{template.id}:{version.number}"
        self.region_state.created_templates[key] = version
        return key

    def describe_launch_templates(self) -> ActionResult:
        ids, names = self._get_param("LaunchTemplateIds") or [], self._get_param("LaunchTemplateNames") or []
        templates = [self.by_id(one) for one in ids]
        for name in names:
            if name not in self.region_state.launch_template_name_to_ids:
                text = "At least one of the launch templates specified in the request does not exist."
                raise AwsError("InvalidLaunchTemplateName.NotFoundException", text)
            templates.append(self.by_name(name))
        if not ids and not names:
            templates = list(self.region_state.launch_templates.values())
        shown, token = self.page(generic_filter(self._filters_from_querystring(), templates))
        return ActionResult({"LaunchTemplates": [self.describe_template(one) for one in shown], "NextToken": token})

    def describe_launch_template_versions(self) -> ActionResult:
        asked = [str(one) for one in self._get_param("Versions") or []]
        if self._get_param("LaunchTemplateId") or self._get_param("LaunchTemplateName"):
            template = self.requested_template()
            versions = [template.get_version(one) for one in asked] if asked else self.versions_in_range(template)
        elif not asked:
            raise AwsError("MissingParameter", "Specify a launch template, or the versions $Latest or $Default of all of them")
        elif set(asked) - {"$Latest", "$Default"}:
            raise AwsError("InvalidParameterValue", "Without a launch template, the versions can only be $Latest and $Default")
        else:
            versions = [one.get_version(number) for one in self.region_state.launch_templates.values() for number in asked]
        shown, token = self.page([version for version in versions if self.matches(version)])
        return ActionResult({"LaunchTemplateVersions": [self.describe_version(one) for one in shown], "NextToken": token})

    def modify_launch_template(self) -> ActionResult:
        return ActionResult({"LaunchTemplate": self.describe_template(self.by_id(self.create_once("ModifyLaunchTemplate", self.set_default)))})

    def set_default(self) -> str:
        template = self.requested_template()
        number = self._get_param("DefaultVersion")
        if number:
            template.default_version_number = template.get_version(number).number
        return str(template.id)

    def delete_launch_template_versions(self) -> ActionResult:
        """What cannot be deleted is in the answer, which is a success."""
        asked = [str(one) for one in self._get_param("Versions") or []]
        if not asked:
            raise missing("LaunchTemplateVersion")
        if len(asked) > MAX_DELETED:
            raise AwsError("InvalidParameterValue", f"You can delete up to {MAX_DELETED} launch template versions in a single request")
        deleted, kept = [], []
        for number in asked:
            item = {"LaunchTemplateId": self._get_param("LaunchTemplateId"), "LaunchTemplateName": self._get_param("LaunchTemplateName")}
            if number.isdigit():
                item["VersionNumber"] = int(number)
            try:
                template = self.requested_template()
                item.update(LaunchTemplateId=template.id, LaunchTemplateName=template.name)
                version = template.get_version(number)
                if template.is_default(version):
                    raise AwsError("IncorrectState", "The default version of a launch template cannot be deleted: assign another one first")
            except (AwsError, EC2ClientError) as error:
                kept.append({**item, "ResponseError": {"Code": VERSION_ERRORS.get(error.code, "unexpectedError"), "Message": error.message}})
                continue
            template.versions.remove(version)
            deleted.append({**item, "VersionNumber": version.number})
        return ActionResult({"SuccessfullyDeletedLaunchTemplateVersions": deleted, "UnsuccessfullyDeletedLaunchTemplateVersions": kept})

    def delete_launch_template(self) -> ActionResult:
        template = self.requested_template()
        answer = self.describe_template(template)
        self.region_state.delete_launch_template(template.name, None)
        self.region_state.tags.pop(template.id, None)
        return ActionResult({"LaunchTemplate": answer})

    def requested_template(self) -> LaunchTemplate:
        template_id, name = self._get_param("LaunchTemplateId"), self._get_param("LaunchTemplateName")
        if template_id and name:
            raise AwsError("InvalidParameterCombination", "Specify either the launch template ID or the launch template name, but not both")
        if not template_id and not name:
            raise AwsError("MissingParameter", "The request must contain the launch template ID or the launch template name")
        return self.by_id(template_id) if template_id else self.by_name(name)

    def by_id(self, template_id: str) -> LaunchTemplate:
        if not ID.fullmatch(template_id):
            raise AwsError("InvalidLaunchTemplateId.Malformed", f"Invalid id: \"{template_id}\" (expecting \"lt-...\")")
        return self.region_state.get_launch_template(template_id)

    def by_name(self, name: str) -> LaunchTemplate:
        check_name(name)
        return self.region_state.get_launch_template_by_name(name)

    def requested_data(self) -> dict[str, Any]:
        data = dict(self._get_param("LaunchTemplateData") or {})
        if not data:
            raise AwsError("MissingParameter", "No launch template data was provided. Launch template data is required to create a launch template.")
        if "TagSpecifications" in data:
            data["TagSpecifications"] = with_tags(data["TagSpecifications"])
            check_tag_specifications(data["TagSpecifications"], TAGGED_AT_LAUNCH)
        if data.get("UserData"):
            check_user_data(str(data["UserData"]))
            data["UserData"] = parse_user_data(str(data["UserData"]))
        return merged(data, self.outcome.get("stored") or {})

    def versions_in_range(self, template: LaunchTemplate) -> list[LaunchTemplateVersion]:
        """The latest first."""
        first, last = self._get_param("MinVersion"), self._get_param("MaxVersion")
        versions = sorted(template.versions, key=lambda version: -version.number)
        return [v for v in versions if (not first or v.number >= int(first)) and (not last or v.number <= int(last))]

    def matches(self, version: LaunchTemplateVersion) -> bool:
        for name, values in (self._filters_from_querystring() or {}).items():
            if name not in VERSION_FILTERS:
                raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
            value = VERSION_FILTERS[name](version)
            if value is None or not matches_any(str(value).lower() if isinstance(value, bool) else str(value), list(values)):
                return False
        return True

    def page(self, items: list[Any]) -> tuple[list[Any], str | None]:
        size = int(self._get_param("MaxResults") or MAX_RESULTS)
        if not 1 <= size <= MAX_RESULTS:
            raise AwsError("InvalidMaxResults", f"The value for MaxResults must be between 1 and {MAX_RESULTS}")
        try:
            start = int(base64.urlsafe_b64decode(str(self._get_param("NextToken") or "MA==")))
        except (ValueError, binascii.Error) as error:
            raise AwsError("InvalidNextToken", "The specified NextToken is not valid") from error
        more = start + size < len(items)
        return items[start : start + size], base64.urlsafe_b64encode(str(start + size).encode()).decode() if more else None

    def set_creator(self, version: LaunchTemplateVersion) -> None:
        version.created_by = self.call.caller_arn  # type: ignore[attr-defined]

    def creator(self, version: LaunchTemplateVersion) -> str:
        """EKS's own templates have none."""
        return str(getattr(version, "created_by", f"arn:aws:iam::{self.current_account}:root"))

    def describe_template(self, template: LaunchTemplate) -> dict[str, Any]:
        return {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "CreateTime": template.create_time,
            "CreatedBy": self.creator(template.versions[0]),
            "DefaultVersionNumber": template.default_version_number,
            "LatestVersionNumber": template.latest_version_number,
            "Tags": template.tag_list,
        }

    def describe_version(self, version: LaunchTemplateVersion) -> dict[str, Any]:
        return {
            "LaunchTemplateId": version.template.id,
            "LaunchTemplateName": version.template.name,
            "VersionNumber": version.number,
            "VersionDescription": version.description,
            "CreateTime": version.create_time,
            "CreatedBy": self.creator(version),
            "DefaultVersion": version.template.is_default(version),
            "LaunchTemplateData": with_state(version.data),
        }


def with_state(data: dict[str, Any]) -> dict[str, Any]:
    """EC2 returns what was sent, and this of its own accord."""
    options = data.get("MetadataOptions")
    return {**data, "MetadataOptions": {**options, "State": "applied"}} if options else data


def merged(data: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The fault `stored`: EC2 keeps these values instead of those that were sent."""
    return {**data, **{k: merged(data.get(k) or {}, v) if isinstance(v, dict) else v for k, v in change.items()}}


def missing(parameter: str) -> AwsError:
    return AwsError("MissingParameter", f"The request must contain the parameter {parameter}")


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise AwsError(
            "InvalidLaunchTemplateName.MalformedException",
            "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following characters: - ( ) . / _.",
        )


def with_tags(specifications: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """moto fails at one without tags."""
    return [specification for specification in specifications or [] if specification.get("Tags")]


def check_tag_specifications(specifications: list[dict[str, Any]], kinds: tuple[str, ...]) -> None:
    for specification in specifications:
        kind = specification.get("ResourceType")
        if kind not in kinds:
            raise AwsError("InvalidParameterValue", f"'{kind}' is not a valid taggable resource type for this operation.")
        keys = [tag.get("Key") for tag in specification.get("Tags") or []]
        if len(set(keys)) < len(keys):
            raise AwsError("InvalidParameterValue", "Duplicate tag keys found in the TagSpecification")
    kinds_given = [specification["ResourceType"] for specification in specifications]
    if len(set(kinds_given)) < len(kinds_given):
        raise AwsError("InvalidParameterValue", "A resource type is specified more than once in the TagSpecifications")


def check_user_data(text: str) -> None:
    try:
        size = len(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise AwsError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.") from error
    if size > MAX_USER_DATA:
        raise AwsError("InvalidParameterValue", f"User data is limited to {MAX_USER_DATA} bytes")
