"""Signature Version 4 of a presigned URL, recomputed: tells which header values the holder of the secret signed. Pure."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qsl, quote, urlsplit


def presigned_signature(url: str, headers: dict[str, str], secret: str) -> str:
    """The signature that `secret` gives for GET `url` with these signed headers besides host."""
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
    scope = f"{date}/{region}/{service}/aws4_request"
    to_sign = "\n".join(("AWS4-HMAC-SHA256", values["X-Amz-Date"], scope, hashlib.sha256(request.encode()).hexdigest()))
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
