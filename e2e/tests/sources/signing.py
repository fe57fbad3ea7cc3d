"""Signatures: of commits with an SSH key, as Git makes them; of OCI artifacts, as `cosign sign --key` pushes them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

from keelson_harness.registry import Registry, digest

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"


class Author:
    """Signs commits with an SSH key."""

    def __init__(self, directory: Path, name: str):
        key = ed25519.Ed25519PrivateKey.generate()
        self.key_file = directory / name
        self.key_file.touch(mode=0o600)
        self.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        self.public = public.decode()


class Cosigner:
    """Signs artifacts with its own key."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> str:
        public = self._key.public_key()
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return public.public_bytes(serialization.Encoding.PEM, kind).decode()

    def sign(self, registry: Registry, repository: str, artifact: str) -> None:
        payload = json.dumps(
            {
                "critical": {
                    "identity": {"docker-reference": f"{registry.address}/{repository}"},
                    "image": {"docker-manifest-digest": artifact},
                    "type": "cosign container image signature",
                },
                "optional": None,
            }
        ).encode()
        signature = base64.b64encode(self._key.sign(payload, ec.ECDSA(SHA256()))).decode()
        layer = registry.push_blob(repository, payload)
        config = registry.push_blob(
            repository,
            json.dumps(
                {
                    "architecture": "",
                    "os": "",
                    "config": {},
                    "rootfs": {"type": "layers", "diff_ids": [digest(payload)]},
                }
            ).encode(),
        )
        tag = artifact.replace(":", "-") + ".sig"
        registry.push_manifest(
            repository, tag, (CONFIG, config), [(PAYLOAD, layer, {SIGNATURE: signature})]
        )

