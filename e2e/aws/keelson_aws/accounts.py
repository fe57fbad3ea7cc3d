"""Callers: accounts, their static keys, and the sessions that STS issued.

A 12-digit access key id is the account id. Any other static key belongs to the default account, unless IAM's
CreateAccessKey created it. Secrets of static keys are not verified, because none is configured. If a call is signed with one
of the usual local secrets, that secret is stored for the key, so that tokens signed with it can be verified.
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
# After this many calls of a key that match no common secret, its secret counts as unknown.
MAX_SIGNATURE_CHECKS = 10
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
    # The IAM principal: for a session, its role.
    principal_arn: str
    session: Session | None = None


class Accounts:
    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.secrets: dict[str, str] = {}
        self._signature_checks: dict[str, int] = {}
        # Secret keys and tokens of sessions, and received EKS tokens, for the tests that search output for secrets. Kept on reset.
        self.confidential: set[str] = set()

    def reset(self) -> None:
        self.sessions.clear()
        self.secrets.clear()
        self._signature_checks.clear()

    def learn_secret(self, access_key: str, request: Request) -> None:
        """Determines the secret of a static key from a call signed with it."""
        if access_key in self.secrets or access_key in self.sessions or self._signature_checks.get(access_key, 0) >= MAX_SIGNATURE_CHECKS:
            return
        self._signature_checks[access_key] = self._signature_checks.get(access_key, 0) + 1
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
        """The caller with this key. Raises AWS's error for an unknown or expired key."""
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
    """The user of an account's static key. IAM does not list it, so that a new account is empty."""
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
