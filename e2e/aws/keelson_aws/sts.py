"""STS: sessions of assumed roles, with AWS's checks of the trust policy and the external id."""

from __future__ import annotations

import base64
import datetime
import json
import re
from typing import Any

from moto.core.responses import ActionResult
from moto.sts.responses import TokenResponse

from .accounts import Accounts, Caller, Session
from .cloud import account_of, find_role, iam
from .errors import AwsError
from .trust import allows, principal_names

SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}")
ROLE_ARN = re.compile(r"arn:aws:iam::\d{12}:role/.+")


class StsResponse(TokenResponse):
    # Set by the server: sessions outlive a request.
    accounts: Accounts

    def caller(self) -> Caller:
        return self.accounts.caller(access_key_of(self.headers, self.normalized_request), self.headers.get("x-amz-security-token"))

    def get_caller_identity(self) -> ActionResult:
        caller = self.caller()
        return ActionResult({"UserId": caller.user_id, "Account": caller.account, "Arn": caller.arn})

    def assume_role(self) -> ActionResult:
        caller = self.caller()
        arn, name, seconds = self.session_request()
        denied = AwsError("AccessDenied", f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}", 403)
        role = find_role(arn)
        if role is None:
            raise denied
        keys = {"sts:ExternalId": self._get_param("ExternalId"), "sts:RoleSessionName": name, "aws:PrincipalArn": caller.principal_arn,
                "aws:PrincipalAccount": caller.account}
        if not allows(role, "sts:AssumeRole", "AWS", principal_names(caller), keys):
            raise denied
        limit = 3600 if caller.session else int(role.max_session_duration or 3600)
        return self.start(role, arn, name, seconds, limit, bool(caller.session))

    def assume_role_with_web_identity(self) -> ActionResult:
        arn, name, seconds = self.session_request()
        claims = read_claims(str(self._get_param("WebIdentityToken") or ""))
        issuer = str(claims.get("iss", "")).removeprefix("https://")
        denied = AwsError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)
        role = find_role(arn)
        if role is None:
            raise denied
        provider = f"arn:aws:iam::{account_of(arn)}:oidc-provider/{issuer}"
        if provider not in iam(account_of(arn)).open_id_providers:
            raise AwsError("InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://" + issuer)
        if float(claims.get("exp", 0)) <= datetime.datetime.now(datetime.timezone.utc).timestamp():
            raise AwsError("ExpiredTokenException", "Token expired")
        audience = claims.get("aud", "")
        keys = {f"{issuer}:sub": claims.get("sub", ""), f"{issuer}:aud": audience[0] if isinstance(audience, list) else audience}
        if not allows(role, "sts:AssumeRoleWithWebIdentity", "Federated", [provider], keys):
            raise denied
        result = self.start(role, arn, name, seconds, int(role.max_session_duration or 3600), False)
        body: dict[str, Any] = result.result  # type: ignore[assignment]
        body.update(SubjectFromWebIdentityToken=claims.get("sub", ""), Audience=keys[f"{issuer}:aud"], Provider=provider)
        return result

    def session_request(self) -> tuple[str, str, int]:
        arn = str(self._get_param("RoleArn") or "")
        name = str(self._get_param("RoleSessionName") or "")
        seconds = int(self._get_param("DurationSeconds") or 3600)
        if not ROLE_ARN.fullmatch(arn):
            raise AwsError("ValidationError", f"{arn} is invalid")
        if not SESSION_NAME.fullmatch(name):
            raise AwsError(
                "ValidationError",
                f"1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [\\w+=,.@-]*",
            )
        return arn, name, seconds

    def start(self, role: Any, arn: str, name: str, seconds: int, limit: int, chained: bool) -> ActionResult:
        if seconds < self.shortest_session or seconds > 43200:
            raise AwsError(
                "ValidationError",
                f"1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: "
                "Member must have value between 900 and 43200",
            )
        if seconds > limit:
            why = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining" if chained else (
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            )
            raise AwsError("ValidationError", why)
        duration = min(seconds, self.longest_session or seconds)
        session = self.accounts.start_session(account_of(arn), arn, role.id, name, duration)
        return ActionResult({
            "Credentials": credentials(session),
            "AssumedRoleUser": {"AssumedRoleId": f"{role.id}:{name}", "Arn": session.arn},
            "PackedPolicySize": 0,
        })

    # AWS's minimum is 900 s; tests of expiry lower it (POST /_keelson/settings, sts_min_session_seconds).
    shortest_session = 900
    # Sessions end after this, even if a longer duration was requested (sts_max_session_seconds).
    longest_session: float = 0

    def get_session_token(self) -> ActionResult:
        caller = self.caller()
        if caller.session:
            raise AwsError("AccessDenied", "Cannot call GetSessionToken with session credentials", 403)
        raise AwsError("InvalidAction", "The emulator does not implement GetSessionToken: use AssumeRole", 501)


def credentials(session: Session) -> dict[str, Any]:
    return {
        "AccessKeyId": session.access_key,
        "SecretAccessKey": session.secret_key,
        "SessionToken": session.token,
        "Expiration": datetime.datetime.fromtimestamp(session.expires, datetime.timezone.utc).replace(tzinfo=None),
    }


def access_key_of(headers: Any, request: Any) -> str:
    found = re.search(r"Credential=([^/,\s]+)/", headers.get("Authorization", ""))
    if found:
        return found[1]
    return str(request.args.get("X-Amz-Credential", "")).partition("/")[0]


def read_claims(token: str) -> dict[str, Any]:
    """The claims of a JWT. The signature is not verified: the issuer has no keys."""
    try:
        part = token.split(".")[1]
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError) as error:
        raise AwsError("InvalidIdentityToken", "The ID Token provided is not a valid JWT.") from error
    if not isinstance(value, dict):
        raise AwsError("InvalidIdentityToken", "The ID Token provided is not a valid JWT.")
    return value
