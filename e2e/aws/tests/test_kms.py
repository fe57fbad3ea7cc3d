"""Keys of KMS, as far as the operator reads them."""

from __future__ import annotations

from conftest import Cloud


def test_key_without_a_usage_encrypts_and_decrypts(cloud: Cloud) -> None:
    kms = cloud.client("kms")
    key = kms.create_key()["KeyMetadata"]
    found = kms.describe_key(KeyId=key["Arn"])["KeyMetadata"]
    assert (found["KeyUsage"], found["KeySpec"], found["KeyState"]) == ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "Enabled")
