"""Attempts of a tenant to reach another tenant's account, Secrets and machines; `test_tenancy.py` runs them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """`item` is refused at admission (`reason` empty) or gets a condition with that reason; the message has all of `message_contains`."""

    what: str
    item: dict
    message_contains: tuple[str, ...]
    reason: str = ""
    # Other objects that the tenant applies with it.
    needs: tuple[dict, ...] = ()

    def __str__(self) -> str:
        return self.what
