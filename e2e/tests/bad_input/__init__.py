"""Mistakes that people make in manifests, and what they must be told; `test_bad_input.py` runs them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mistake:
    """`item` gets a clear answer: a refusal at admission, or a condition with that reason.

    Each of `says` is in the message: the field or resource it is about, and what to do.
    """

    what: str
    item: dict
    says: tuple[str, ...]
    # Of the Ready condition; empty: refused at admission.
    reason: str = ""
    # Nothing goes on before a person changes something.
    stalled: bool = True
    # Applied before it.
    needs: tuple[dict, ...] = field(default=())

    def __str__(self) -> str:
        return self.what
