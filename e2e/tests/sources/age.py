"""age (age-encryption.org/v1): keys as `age-keygen` prints them, and files encrypted to one X25519 recipient. Pure."""

from __future__ import annotations

import base64
import hmac
import os

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
VERSION = b"age-encryption.org/v1"
CHUNK = 64 * 1024


def bech32(prefix: str, data: bytes) -> str:
    """BIP 173, without its length limit."""
    bits = int.from_bytes(data, "big") << 4
    words = [bits >> shift & 31 for shift in range(255, -1, -5)]
    checksum = 1
    head = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    for word in [*head, *words, *[0] * 6]:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ word
        for bit, generator in enumerate(
            (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
        ):
            checksum ^= generator if top >> bit & 1 else 0
    checksum ^= 1
    words += [checksum >> 5 * (5 - n) & 31 for n in range(6)]
    return prefix + "1" + "".join(BECH32[word] for word in words)


def identity(filled_with: int) -> str:
    """A valid private key, as kustomize-controller checks it."""
    return bech32("age-secret-key-", bytes([filled_with]) * 32).upper()


def _public(filled_with: int) -> bytes:
    key = X25519PrivateKey.from_private_bytes(bytes([filled_with]) * 32)
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def recipient(filled_with: int) -> str:
    """The public key of that identity."""
    return bech32("age", _public(filled_with))


def _derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(key)


def _text(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def encrypt(plain: bytes, filled_with: int) -> str:
    """An armored file that the identity can decrypt. `plain` is at most one chunk."""
    assert len(plain) <= CHUNK
    file_key, ephemeral = os.urandom(16), X25519PrivateKey.generate()
    public = _public(filled_with)
    share = ephemeral.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    wrapping = _derive(shared, share + public, VERSION + b"/X25519")
    wrapped = ChaCha20Poly1305(wrapping).encrypt(bytes(12), file_key, None)
    header = b"\n".join([VERSION, b"-> X25519 " + _text(share), _text(wrapped), b"---"])
    mac = hmac.digest(_derive(file_key, b"", b"header"), header, "sha256")
    nonce = os.urandom(16)
    payload = ChaCha20Poly1305(_derive(file_key, nonce, b"payload"))
    # A counter of eleven bytes, and whether it is the last chunk.
    body = payload.encrypt(bytes(11) + b"\x01", plain, None)
    whole = base64.b64encode(header + b" " + _text(mac) + b"\n" + nonce + body).decode()
    lines = [whole[at : at + 64] for at in range(0, len(whole), 64)]
    kind = "AGE ENCRYPTED FILE"
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])
