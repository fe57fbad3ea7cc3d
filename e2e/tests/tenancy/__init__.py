"""What a tenant tries against another's account, Secrets and machines; `test_tenancy.py` runs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """`item` ends in a refusal at admission (`reason` empty) or in a condition of that reason; each of `says` is in its words."""

    what: str
    item: dict
    says: tuple[str, ...]
    reason: str = ""
    # Set beside it by the tenant.
    needs: tuple[dict, ...] = ()

    def __str__(self) -> str:
        return self.what
