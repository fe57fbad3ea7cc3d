"""Takes out of an answer everything that belongs to an account. Pure.

What a fixture keeps is chosen, not what it loses: of a body stay the names of its members, numbers and booleans that are no
time, and the words that AWS's model lists. Every other text becomes a placeholder that says what kind of text it was. An error's message keeps its
words, because the operator and people read them; ids, names and addresses in it are replaced, and what the request named as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from botocore.model import Shape

# Order matters: the first that matches the whole text names it, and messages are replaced in this order.
KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("token", re.compile(r"k8s-aws-v1\.[\w-]+|(?:FwoG|IQoJ)[\w+/=]{40,}")),
    ("certificate", re.compile(r"-----BEGIN [A-Z ]+-----[\s\S]*?-----END [A-Z ]+-----|LS0tLS1[\w+/=]+")),
    ("arn", re.compile(r"arn:aws[a-z-]*:[a-z0-9-]*:[a-z0-9-]*:(?:\d{12}|aws|)?:[^\s\"',]+")),
    ("url", re.compile(r"(?:https?|oidc)://[^\s\"',]+|oidc\.eks\.[\w./-]+")),
    ("access-key", re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}\b")),
    ("unique-id", re.compile(r"\b(?:AROA|AIDA|AIPA|ANPA|APKA|AGPA|ASCA|ANVA)[A-Z0-9]{12,}(?::[\w+=,.@-]+)?")),
    ("uuid", re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")),
    ("timestamp", re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?")),
    ("cidr", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}/\d{1,2}\b|(?<![\w:])[0-9a-fA-F:]*::?[0-9a-fA-F:]*/\d{1,3}\b")),
    ("host", re.compile(r"\b(?:[a-z0-9-]+\.)+(?:amazonaws\.com(?:\.cn)?|internal|compute|api\.aws)\b|\bip-\d+-\d+-\d+-\d+\b")),
    ("ip", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\w)|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){2,7}:?[0-9a-fA-F]{0,4}(?![\w:])")),
    ("run", re.compile(r"\bconformance-[0-9a-f]{8}\b")),
    ("account", re.compile(r"(?<!\d)\d{12}(?!\d)")),
    ("hex", re.compile(r"\b[0-9a-fA-F]{32,}\b")),
    ("resource-id", re.compile(r"\b(?!conformance-)[a-z]{2,}(?:-[a-z]+)*-[0-9a-f]{8,17}\b")),
)
# A key of a map that is AWS's or Keelson's own word; others are a user's.
PUBLIC_KEY = re.compile(r"(aws:|keelson|eks\.amazonaws\.com/|kubernetes\.io/role/|Name$)")
SENSITIVE = {"accesskeyid", "secretaccesskey", "sessiontoken", "password", "clienttoken", "clientrequesttoken", "idempotencytoken"}
# Names shorter than this are words that a message may contain anyway.
SHORTEST_NAME = 4


class NotScrubbed(Exception):
    """A confidential value is in what would be stored; nothing is."""


def kind_of(text: str) -> str:
    """What kind of text it is: `arn`, `resource-id`, ..., or `text`."""
    return next((kind for kind, pattern in KINDS if pattern.fullmatch(text)), "text")


def scrub_text(shape: Shape | None, name: str, text: str) -> str:
    """The placeholder of a text in an answer; a word that the model lists stays."""
    if name.lower() in SENSITIVE or (shape is not None and shape.metadata.get("sensitive")):
        return "<confidential>"
    if shape is not None and text in (shape.metadata.get("enum") or ()):
        return text
    if not text:
        return ""
    kind = kind_of(text)
    if kind == "arn":
        # Its service and the kind of resource, which AWS's documentation lists.
        _, _, service, _, _, resource = text.split(":", 5)
        return f"<arn of {service} {re.split('[:/]', resource)[0]}>" if re.search("[:/]", resource) else f"<arn of {service}>"
    if kind == "resource-id":
        return f"<{text.rpartition('-')[0]} id>"
    return f"<{kind}>"


def scrub_key(key: str) -> str:
    """The key of a map."""
    return re.sub(r"cluster/.*", "cluster/<name>", key) if PUBLIC_KEY.match(key) else "<key>"


def scrub_message(text: str, names: Iterable[str] = ()) -> str:
    """An error's message without what belongs to an account. names: what the request named."""
    for kind, pattern in KINDS:
        text = pattern.sub(f"<{kind}>", text)
    for name in sorted({n for n in names if len(n) >= SHORTEST_NAME}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w<]){re.escape(name)}(?![\w>])", "<name>", text)
    return text


def texts_of(value: Any) -> Iterable[str]:
    """Every text in a request's parameters."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_of(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from texts_of(item)


def require_clean(text: str, confidential: Iterable[str]) -> None:
    """The last check before anything is stored: raises NotScrubbed."""
    for value in confidential:
        if value and value in text:
            raise NotScrubbed(f"a confidential value of {len(value)} characters is in the recording: nothing was stored")
    for kind in ("token", "access-key", "unique-id", "account", "certificate", "uuid"):
        pattern = dict(KINDS)[kind]
        if found := pattern.search(text):
            raise NotScrubbed(f"{kind} in the recording, {found[0][:4]}... of {len(found[0])} characters: nothing was stored")
