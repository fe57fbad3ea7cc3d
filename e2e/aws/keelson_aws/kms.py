"""A default of KMS that moto leaves out: a key without a usage encrypts and decrypts.

https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html#KMS-CreateKey-request-KeyUsage
"""

from __future__ import annotations

import functools


@functools.cache
def set_defaults() -> None:
    """Once, at the first call: loading moto's KMS takes a while."""
    from moto.kms.models import Key

    create = Key.__init__

    def with_usage(self: Key, policy: str | None, key_usage: str, *args: object, **options: object) -> None:
        create(self, policy, key_usage or "ENCRYPT_DECRYPT", *args, **options)

    Key.__init__ = with_usage
