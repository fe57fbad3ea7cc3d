"""Recomputes Signature Version 4: of a call, with a given secret, and of a presigned URL, with given header values. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import parse_qsl, quote, urlsplit

from .http import Request

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/(?P<scope>[^,\s]+),\s*SignedHeaders=(?P<names>[^,\s]+),\s*Signature=(?P<signature>\w+)"
)


def presigned_signature(url: str, headers: dict[str, str], secret: str) -> str:
    """The signature of GET `url` with `secret` and these signed headers besides host."""
    parts = urlsplit(url)
    query = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k != "X-Amz-Signature"]
    values = dict(query)
    _, date, region, service, _ = values["X-Amz-Credential"].rsplit("/", 4)
    names = values["X-Amz-SignedHeaders"].split(";")
    known = {"host": parts.netloc, **headers}
    request = "\n".join(
        (
            "GET",
            parts.path or "/",
            "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query)),
            *(f"{name}:{known.get(name, '')}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(b"").hexdigest(),
        )
    )
    return sign(request, values["X-Amz-Date"], f"{date}/{region}/{service}/aws4_request", secret)


def signed_with(request: Request, secret: str) -> bool:
    """Whether a call's Authorization header was signed with this secret."""
    found = AUTHORIZATION.match(request.headers.get("authorization", ""))
    if not found:
        return False
    names = found["names"].split(";")
    query = sorted(parse_qsl(request.query, keep_blank_values=True))
    body = request.headers.get("x-amz-content-sha256") or hashlib.sha256(request.body).hexdigest()
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in query),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in names),
            "",
            ";".join(names),
            body,
        )
    )
    return sign(canonical, request.headers.get("x-amz-date", ""), found["scope"], secret) == found["signature"]


def sign(canonical: str, time: str, scope: str, secret: str) -> str:
    to_sign = "\n".join(("AWS4-HMAC-SHA256", time, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
