"""The TokenReview webhook: authenticates `k8s-aws-v1.` tokens like EKS's authenticator.

In AWS a separate authorizer enforces access policies. Here a principal with AmazonEKSClusterAdminPolicy on the whole cluster
is added to system:masters, and other policies have no effect.

EKS runs one authenticator per cluster; this one serves all clusters. Only the signature of a token depends on the cluster, so
it is recomputed for each cluster. If the secret is unknown (an arbitrary static key), the first cluster that admits the
caller counts, unless the webhook URL names one: /tokenreview/ACCOUNT/REGION/CLUSTER, or /tokenreview?cluster=NAME (API
servers drop the query of a webhook URL).
"""

from __future__ import annotations

import base64
import datetime
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from .accounts import Caller
from .eks.access import CLUSTER_ADMIN, is_valid
from .eks.state import Cluster, Part
from .errors import AwsError
from .http import Reply, Request
from .signature import presigned_signature

if TYPE_CHECKING:
    from .server import Emulator

PREFIX = "k8s-aws-v1."
MAX_AGE = 15 * 60
# Allowed clock difference of client and server, as in AWS.
CLOCK_SKEW = 5 * 60


class Rejected(Exception):
    """The token is rejected; holds the reason."""


def review(emulator: Emulator, request: Request) -> Reply:
    try:
        token_review = json.loads(request.body)
        token = token_review["spec"]["token"]
    except (ValueError, KeyError, TypeError):
        return Reply.json(400, {"message": "not a TokenReview"})
    emulator.accounts.confidential.add(str(token))
    try:
        status: dict[str, Any] = {"authenticated": True, "user": identify(emulator, str(token), cluster_of_webhook(request))}
    except Rejected as error:
        status = {"authenticated": False, "error": str(error)}
    return Reply.json(200, {"apiVersion": token_review.get("apiVersion", "authentication.k8s.io/v1"), "kind": "TokenReview", "status": status})


def cluster_of_webhook(request: Request) -> dict[str, str]:
    """The cluster of the calling API server, as far as the webhook URL identifies it."""
    segments = request.path.strip("/").split("/")[1:]
    named = dict(zip(("account", "region", "cluster"), segments, strict=False))
    return named or {key: value for key, value in parse_qsl(request.query) if key == "cluster"}


def identify(emulator: Emulator, token: str, webhook: dict[str, str]) -> dict[str, Any]:
    url = decode(token)
    query = dict(parse_qsl(urlsplit(url).query))
    if query.get("Action") != "GetCallerIdentity":
        raise Rejected("the token is not a presigned GetCallerIdentity")
    check_time(query)
    # The cluster name is a signed header whose value is not in the token: the token is signed for one cluster only.
    if "x-k8s-aws-id" not in query.get("X-Amz-SignedHeaders", "").split(";"):
        raise Rejected("x-k8s-aws-id is not among the signed headers")
    key, _, scope = query.get("X-Amz-Credential", "").partition("/")
    if len(scope.split("/")) != 4 or scope.split("/")[2] != "sts" or not query.get("X-Amz-Signature"):
        raise Rejected("the token is not signed for sts")
    try:
        caller = emulator.accounts.caller(key, query.get("X-Amz-Security-Token"))
    except AwsError as error:
        raise Rejected(error.message) from error
    clusters = [
        cluster
        for region in emulator.eks.regions.values()
        for cluster in region.clusters.values()
        if cluster.status in ("ACTIVE", "UPDATING") and webhook.items() <= {
            "cluster": cluster.name, "account": region.account, "region": region.name,
        }.items()
    ]
    clusters = signed_for(url, query["X-Amz-Signature"], emulator.accounts.secret(key), clusters)
    if not clusters:
        raise Rejected("the token is for no cluster that is ACTIVE")
    for cluster in clusters:
        part = cluster.access_entries.get(caller.principal_arn)
        if part is not None and is_valid(part):
            return user(caller, part)
    raise Rejected(f"{caller.principal_arn} has no access entry in {', '.join(sorted(c.name for c in clusters))}")


def decode(token: str) -> str:
    if not token.startswith(PREFIX):
        raise Rejected(f"the token does not start with {PREFIX}")
    text = token[len(PREFIX):]
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError as error:
        raise Rejected("the token is not base64") from error


def check_time(query: dict[str, str]) -> None:
    try:
        signed_at = datetime.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
        lifetime = int(query["X-Amz-Expires"])
    except (KeyError, ValueError) as error:
        raise Rejected("the token has no X-Amz-Date or X-Amz-Expires") from error
    now = time.time()
    if not 0 <= lifetime <= MAX_AGE:
        raise Rejected("X-Amz-Expires is over 15 minutes")
    # EKS accepts a token for 15 minutes after signing, even if X-Amz-Expires is shorter.
    if now > signed_at + MAX_AGE:
        raise Rejected("the token is expired")
    if signed_at > now + CLOCK_SKEW:
        raise Rejected("the token is signed in the future")


def signed_for(url: str, signature: str, secret: str | None, clusters: list[Cluster]) -> list[Cluster]:
    """The clusters that the token may be signed for: if the secret is known, those with the matching name."""
    if secret is None:
        return clusters
    return [c for c in clusters if presigned_signature(url, {"x-k8s-aws-id": c.name}, secret) == signature]


def user(caller: Caller, part: Part) -> dict[str, Any]:
    body = part.body
    groups = list(body["kubernetesGroups"])
    admin = part.data["policies"].get(CLUSTER_ADMIN)
    if admin and admin["accessScope"]["type"] == "cluster":
        groups.append("system:masters")
    session = caller.session.session_name if caller.session else ""
    name = body["username"].replace("{{SessionNameRaw}}", session).replace("{{SessionName}}", session.replace("@", "-"))
    return {
        "username": name,
        "uid": f"aws-iam-authenticator:{caller.account}:{caller.user_id.partition(':')[0]}",
        "groups": groups,
        "extra": {
            "arn": [caller.arn], "canonicalArn": [caller.principal_arn], "principalId": [caller.user_id], "sessionName": [session],
        },
    }
