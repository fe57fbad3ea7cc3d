"""Who calls: accounts, their static keys, and the sessions STS gave out.

An access key id of twelve digits is the account's id. Any other static key belongs to the default account, unless IAM's
CreateAccessKey made it. Secrets of static keys are not checked, as nobody set them; where a key's calls are signed with one
of the secrets people use locally, that is remembered, so that tokens made with it can be checked.
"""

from __future__ import annotations

import re
import secrets
import string
import time
from dataclasses import dataclass

from moto.iam.models import iam_backends

from .errors import AwsError
from .http import Request
from .signature import signed_with

DEFAULT_ACCOUNT = "123456789012"
ACCOUNT_KEY = re.compile(r"\d{12}")
COMMON_SECRETS = ("test", "keelson", "secret", "testing", "local", "keelson-harness-secret-key-5c1f")
# How many calls of a key are looked at before its secret counts as unknown.
LOOKS = 10
UPPER = string.ascii_uppercase + "234567"


@dataclass(frozen=True)
class Session:
    """Temporary credentials of an assumed role."""

    access_key: str
    secret_key: str
    token: str
    account: str
    role_arn: str
    role_id: str
    session_name: str
    expires: float

    @property
    def arn(self) -> str:
        return f"arn:aws:sts::{self.account}:assumed-role/{self.role_arn.rpartition('/')[2]}/{self.session_name}"


@dataclass(frozen=True)
class Caller:
    account: str
    arn: str
    user_id: str
    # The IAM principal behind it: for a session its role.
    principal_arn: str
    session: Session | None = None


class Accounts:
    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.secrets: dict[str, str] = {}
        self._looks: dict[str, int] = {}
        # Sessions' keys and tokens, and EKS tokens that were shown: a search for what must not be told asks. Outlives a reset.
        self.confidential: set[str] = set()

    def reset(self) -> None:
        self.sessions.clear()
        self.secrets.clear()
        self._looks.clear()

    def learn(self, access_key: str, request: Request) -> None:
        """Find out the secret of a static key from a call signed with it."""
        if access_key in self.secrets or access_key in self.sessions or self._looks.get(access_key, 0) >= LOOKS:
            return
        self._looks[access_key] = self._looks.get(access_key, 0) + 1
        for secret in COMMON_SECRETS:
            if signed_with(request, secret):
                self.secrets[access_key] = secret
                return

    def secret(self, access_key: str) -> str | None:
        session = self.sessions.get(access_key)
        return session.secret_key if session else self.secrets.get(access_key)

    def start_session(self, account: str, role_arn: str, role_id: str, session_name: str, seconds: float) -> Session:
        session = Session(
            access_key="ASIA" + "".join(secrets.choice(UPPER) for _ in range(16)),
            secret_key=secrets.token_urlsafe(30),
            token="keelson-session-" + secrets.token_urlsafe(48),
            account=account,
            role_arn=role_arn,
            role_id=role_id,
            session_name=session_name,
            expires=time.time() + seconds,
        )
        self.sessions[session.access_key] = session
        self.confidential |= {session.secret_key, session.token}
        return session

    def caller(self, access_key: str, token: str | None = None, service: str = "sts") -> Caller:
        """Who holds this key. Raises what AWS answers for keys that are unknown or no longer valid."""
        session = self.sessions.get(access_key)
        if session is not None:
            if token is not None and token != session.token:
                raise invalid_key(service)
            if session.expires <= time.time():
                raise expired(service)
            return Caller(session.account, session.arn, f"{session.role_id}:{session.session_name}", session.role_arn, session)
        if access_key.startswith("ASIA"):
            raise invalid_key(service)
        if ACCOUNT_KEY.fullmatch(access_key):
            return administrator(access_key)
        if access_key.startswith("AKIA"):
            for account, partitions in list(iam_backends.items()):
                backend = partitions["aws"] if "aws" in partitions.keys() else None
                if backend is not None and access_key in backend.access_keys:
                    user = backend.get_user_from_access_key_id(access_key)
                    if user is not None:
                        return Caller(account, user.arn, user.id, user.arn)
        return administrator(DEFAULT_ACCOUNT)


def administrator(account: str) -> Caller:
    """The user behind an account's static key. It stands in no IAM list, as it is there before anything is made."""
    arn = f"arn:aws:iam::{account}:user/administrator"
    return Caller(account, arn, "AIDA" + account.ljust(17, "A"), arn)


def expired(service: str) -> AwsError:
    if service == "ec2":
        return AwsError("RequestExpired", "Request has expired.", 400)
    code = "ExpiredToken" if service in ("sts", "iam", "autoscaling", "elasticloadbalancing") else "ExpiredTokenException"
    return AwsError(code, "The security token included in the request is expired", 403)


def invalid_key(service: str) -> AwsError:
    if service == "ec2":
        return AwsError("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    code = "InvalidClientTokenId" if service in ("sts", "iam", "autoscaling", "elasticloadbalancing") else "UnrecognizedClientException"
    return AwsError(code, "The security token included in the request is invalid.", 403)
