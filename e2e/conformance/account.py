"""The account of a run: credentials of boto3's default chain, and the question whether it is the right one. I/O: AWS, the terminal."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .recorder import Recorder

# Reads of a long run meet throttling; the operator's own calls are not retried by an SDK.
RETRIES = Config(retries={"mode": "standard", "max_attempts": 8}, user_agent_extra="keelson-conformance")


class Refused(Exception):
    """The program does not go on; the message says why and what to do."""


@dataclass
class AwsAccount:
    """The account that boto3's default credentials belong to, in one region. Answers go to `recorder`, if there is one."""

    region: str
    recorder: Recorder | None = None
    session: boto3.Session = field(default_factory=boto3.Session)

    # `Account` of the end-to-end tests asks for a service of a region in an account.
    def client(self, service: str, region: str = "", account: str = "") -> Any:
        if account not in ("", self.id):
            raise Refused(f"no credentials for account {account}: the run is in {self.id}")
        return self._client(service, region or self.region)

    @functools.cache
    def _client(self, service: str, region: str) -> Any:
        client = self.session.client(service, region_name=region, config=RETRIES)
        if self.recorder:
            self.recorder.attach(client)
        return client

    __hash__ = object.__hash__

    @functools.cached_property
    def identity(self) -> dict[str, str]:
        try:
            found = self._client("sts", self.region).get_caller_identity()
        except (BotoCoreError, ClientError) as error:
            raise Refused(f"no valid AWS credentials: {error}\nSign in (aws sso login, AWS_PROFILE, or a role in CI) and run it again.") from error
        return {"account": found["Account"], "arn": found["Arn"]}

    @property
    def id(self) -> str:
        return self.identity["account"]

    @property
    def endpoint(self) -> str:
        """AWS_ENDPOINT_URL, or empty: AWS itself."""
        return os.environ.get("AWS_ENDPOINT_URL", "")

    @property
    def is_emulated(self) -> bool:
        return bool(self.endpoint)


def choose_region(asked: str) -> str:
    region = asked or os.environ.get("AWS_REGION") or boto3.Session().region_name or ""
    if not region:
        raise Refused("no region: set AWS_REGION, or --region")
    return region


def confirm(account_id: str, given: str | None, action: str) -> None:
    """Goes on only if the account id was given, or is typed now."""
    if given is None:
        if not sys.stdin.isatty():
            raise Refused(f"nobody can be asked: to {action} without a terminal, pass --yes {account_id}")
        print(f"Type the account id to {action}: ", end="", flush=True)
        given = sys.stdin.readline().strip()
        if given != account_id:
            raise Refused(f"{given!r} is not {account_id}: nothing was done")
    elif given != account_id:
        raise Refused(f"--yes {given} is not the account of these credentials, {account_id}: nothing was done")
