"""Manifests in the SOPS format, encrypted to one age recipient. Pure."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import age

ENCRYPTED = ("data", "stringData")
WHEN = "2026-11-22T09:00:00Z"


def _value(key: bytes, plain: str, about: str) -> str:
    nonce = os.urandom(32)
    sealed = AESGCM(key).encrypt(nonce, plain.encode(), about.encode())
    parts = {"data": sealed[:-16], "iv": nonce, "tag": sealed[-16:]}
    text = ",".join(f"{name}:{base64.b64encode(part).decode()}" for name, part in parts.items())
    return f"ENC[AES256_GCM,{text},type:str]"


def _leaves(node: dict | str) -> Iterator[str]:
    if isinstance(node, dict):
        for child in node.values():
            yield from _leaves(child)
    else:
        yield node


def _seal(key: bytes, node: dict | str, path: tuple[str, ...]) -> dict | str:
    if isinstance(node, dict):
        return {name: _seal(key, child, (*path, name)) for name, child in node.items()}
    return _value(key, node, ":".join(path) + ":") if path[0] in ENCRYPTED else node


def encrypt(manifest: dict, filled_with: int) -> dict:
    """The manifest of a Secret with its values encrypted to that age identity. All values must be strings."""
    key = os.urandom(32)
    # Over every value in order, including the unencrypted ones.
    mac = hashlib.sha512("".join(_leaves(manifest)).encode()).hexdigest().upper()
    about = {
        "age": [{"recipient": age.recipient(filled_with), "enc": age.encrypt(key, filled_with)}],
        "encrypted_regex": f"^({'|'.join(ENCRYPTED)})$",
        "lastmodified": WHEN,
        "mac": _value(key, mac, WHEN),
        "version": "3.11.0",
    }
    sealed = _seal(key, manifest, ())
    assert isinstance(sealed, dict)
    return sealed | {"sops": about}
