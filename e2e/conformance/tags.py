"""The two tags by which a run and the janitor know what belongs to a run. Pure."""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Iterable, Mapping

RUN = "keelson-conformance-run"
EXPIRES = "keelson-conformance-expires"
RUN_ID = re.compile(r"[0-9a-f]{8}")
DURATION = re.compile(r"(\d+)(s|m|h)")
SECONDS = {"s": 1, "m": 60, "h": 3600}


def new_run_id() -> str:
    return secrets.token_hex(4)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def parse_duration(text: str) -> datetime.timedelta:
    """`30s`, `90m`, `4h`."""
    found = DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 90m or 4h")
    return datetime.timedelta(seconds=int(found[1]) * SECONDS[found[2]])


def of_run(run: str, expires: datetime.datetime) -> dict[str, str]:
    """The tags of everything that a run creates."""
    return {RUN: run, EXPIRES: expires.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}


def from_list(tags: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """The tags of an answer that lists them as Key and Value, in either case."""
    return {tag.get("Key", tag.get("key", "")): tag.get("Value", tag.get("value", "")) for tag in tags or ()}


def expiry(tags: Mapping[str, str]) -> datetime.datetime | None:
    """When a resource expires; None if it does not carry both tags, or they are not those of a run."""
    if not RUN_ID.fullmatch(tags.get(RUN, "")):
        return None
    try:
        found = datetime.datetime.fromisoformat(tags.get(EXPIRES, ""))
    except ValueError:
        return None
    # A time without a zone could be anybody's.
    return found if found.tzinfo else None


def is_expired(tags: Mapping[str, str], at: datetime.datetime) -> bool:
    expires = expiry(tags)
    return expires is not None and expires <= at
