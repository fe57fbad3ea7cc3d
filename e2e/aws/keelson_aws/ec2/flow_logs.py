"""Flow logs: one per resource and destination, destinations that exist, delivery that needs a role, and refusals with status 200."""

from __future__ import annotations

import re
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models.flow_logs import FlowLogs
from moto.ec2.responses import EC2Response
from moto.ec2.utils import random_flow_log_id

from .. import cloud
from ..errors import AwsError
from .base import Guard

SERVICE = "vpc-flow-logs.amazonaws.com"
LOG_GROUP = re.compile(r"arn:aws[a-z-]*:logs:([a-z0-9-]+):(\d{12}):log-group:([\w/.#-]+?)(?::\*)?")
BUCKET = re.compile(r"arn:aws[a-z-]*:s3:::([a-z0-9][a-z0-9.-]+)(?:/(.*))?")
DEFAULT_FORMAT = (
    "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} ${packets} ${bytes} ${start} ${end} "
    "${action} ${log-status}"
)
FORMAT = re.compile(r"\$\{[a-z0-9-]+\}( \$\{[a-z0-9-]+\})*")


class FlowLogGuard(Guard, EC2Response):
    def create_flow_logs(self) -> ActionResult:
        kind = self._get_param("LogDestinationType") or "cloud-watch-logs"
        if self._get_param("TrafficType") not in ("ACCEPT", "REJECT", "ALL"):
            raise AwsError("InvalidParameter", "TrafficType must be one of ACCEPT, REJECT, ALL")
        if not FORMAT.fullmatch(self._get_param("LogFormat") or "${version}"):
            raise AwsError("InvalidParameter", "Unknown fields provided in LogFormat")
        group, destination = (self.bucket(), self._get_param("LogDestination")) if kind == "s3" else (self.log_group(), None)
        refused: list[dict[str, Any]] = []
        created: list[str] = []
        for resource_id in self._get_param("ResourceIds", []):
            token_id = self.create_once("CreateFlowLogs", lambda r=resource_id: self.create_flow_log(r, kind, group, destination, refused))  # type: ignore[misc]
            created += [token_id] if token_id else []
        return ActionResult({"ClientToken": self._get_param("ClientToken"), "FlowLogIds": created, "Unsuccessful": refused})

    def bucket(self) -> None:
        destination = self._get_param("LogDestination") or ""
        if self._get_param("LogGroupName"):
            raise AwsError("InvalidParameter", "LogDestination type must be cloud-watch-logs if LogGroupName is provided.")
        if self._get_param("DeliverLogsPermissionArn"):
            raise AwsError("InvalidParameter", "DeliverLogsPermissionArn is not applicable for s3 delivery")
        found = BUCKET.fullmatch(destination)
        if not found:
            raise AwsError("InvalidParameter", f"LogDestination: {destination} is not a valid ARN of a bucket")
        if (found[2] or "").split("/")[0] == "AWSLogs":
            raise AwsError("InvalidParameter", "LogDestination: AWSLogs is a reserved subfolder name")

    def log_group(self) -> str:
        name, destination = self._get_param("LogGroupName"), self._get_param("LogDestination")
        if name and destination:
            raise AwsError("InvalidParameter", "Please only provide LogGroupName or only provide LogDestination.")
        if not self._get_param("DeliverLogsPermissionArn"):
            raise AwsError("InvalidParameter", "DeliverLogsPermissionArn can't be empty if LogDestinationType is cloud-watch-logs.")
        if destination:
            found = LOG_GROUP.fullmatch(destination)
            if not found or (found[1], found[2]) != (self.region, self.current_account):
                raise AwsError("InvalidParameter", f"LogDestination: {destination} is not a log group of this account and region")
            name = found[3]
        if not name:
            raise AwsError("InvalidParameter", "LogDestination can't be empty if LogGroupName is not provided.")
        return str(name)

    def create_flow_log(self, resource_id: str, kind: str, group: str | None, destination: str | None, refused: list[dict[str, Any]]) -> str:
        backend = self.region_state
        for other in backend.flow_logs.values():
            same = other.log_destination_type == kind and (other.log_group_name, folder(other.log_destination)) == (group, folder(destination))
            if same and other.resource_id == resource_id:
                raise AwsError("FlowLogAlreadyExists", "Error. There is an existing Flow Log with the same configuration and log destination.")
        getter = {"VPC": backend.get_vpc, "Subnet": backend.get_subnet, "NetworkInterface": backend.get_network_interface}
        if (resource_type := self._get_param("ResourceType")) not in getter:
            raise AwsError("InvalidParameter", "ResourceType must be one of VPC, Subnet, NetworkInterface")
        getter[resource_type](resource_id)
        # Both modules take long to load, and few tests need them.
        from moto.s3.models import s3_backends

        bucket = BUCKET.fullmatch(destination)[1] if destination else None  # type: ignore[index]
        if bucket and bucket not in s3_backends[self.current_account]["aws"].buckets:
            # Without a flow log, and with status 200.
            refused.append({"ResourceId": resource_id, "Error": {"Code": "400", "Message": f"LogDestination: {bucket} does not exist."}})
            return ""
        log = FlowLogs(
            backend,
            random_flow_log_id(),
            resource_id,
            self._get_param("TrafficType"),
            destination,  # type: ignore[arg-type]
            group,  # type: ignore[arg-type]
            self._get_param("DeliverLogsPermissionArn"),
            self.interval(),
            kind,
            self._get_param("LogFormat") or DEFAULT_FORMAT,
            *self.delivery(group),
        )
        backend.flow_logs[log.id] = log
        log.add_tags(self._parse_tag_specification().get("vpc-flow-log", {}))
        return str(log.id)

    def interval(self) -> int:
        seconds = self._get_int_param("MaxAggregationInterval") or 600
        if seconds not in (60, 600):
            raise AwsError("InvalidParameter", "Invalid Flow Log Max Aggregation Interval")
        return seconds

    def delivery(self, group: str | None) -> tuple[str, str | None]:
        """EC2 creates a flow log that it cannot deliver, and reports that later."""
        if group is None:
            return "SUCCESS", None
        from moto.logs.models import logs_backends

        role = cloud.find_role(self._get_param("DeliverLogsPermissionArn"))
        may_assume = role is not None and cloud.trusts_service(role, SERVICE)
        exists = group in logs_backends[self.current_account][self.region].groups
        return ("SUCCESS", None) if may_assume and exists else ("FAILED", "Access error")

    def delete_flow_logs(self) -> ActionResult:
        backend = self.region_state
        unsuccessful = []
        for log_id in self._get_param("FlowLogIds", []):
            if log_id in backend.flow_logs:
                del backend.flow_logs[log_id]
                backend.tags.pop(log_id, None)
            else:
                error = {"Code": "InvalidFlowLogId.NotFound", "Message": f"These flow log ids in the input list are not found: {log_id}"}
                unsuccessful.append({"ResourceId": log_id, "Error": error})
        return ActionResult({"Unsuccessful": unsuccessful})


def folder(destination: str | None) -> str | None:
    return destination.rstrip("/") if destination else None
