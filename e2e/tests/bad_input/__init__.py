"""Common mistakes in manifests, and the expected messages; `test_bad_input.py` runs them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mistake:
    """`item` gets a clear error: a rejection at admission, or a condition with that reason.

    The message contains each of `says`: the field or resource, and what to do.
    """

    what: str
    item: dict
    texts: tuple[str, ...]
    # Of the Ready condition; empty: rejected at admission.
    reason: str = ""
    # No progress until a person changes something.
    stalled: bool = True
    # Applied before `item`.
    needs: tuple[dict, ...] = field(default=())

    def __str__(self) -> str:
        return self.what
