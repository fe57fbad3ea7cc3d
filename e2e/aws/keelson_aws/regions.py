"""The regions of an account: those that it did not opt in to answer its credentials as invalid. No I/O.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html: a regional STS answers only callers whose
account has the region; sessions that it issues work in every region that the session's account has. Accounts are in the partition
`aws`: regions of others do not know their credentials.
"""

from __future__ import annotations

from typing import Any

from .accounts import invalid_key

# https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html
OPT_IN = {
    "af-south-1", "ap-east-1", "ap-east-2", "ap-south-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5", "ap-southeast-6",
    "ap-southeast-7", "ca-west-1", "eu-central-2", "eu-south-1", "eu-south-2", "il-central-1", "me-central-1", "me-south-1", "mx-central-1",
}
OTHER_PARTITIONS = ("cn-", "us-gov-", "eusc-", "us-iso", "eu-isoe-")
# IAM is one for all regions of a partition.
GLOBAL = ("iam", "s3")
# Opt-in regions that an account does not have; by default it has all.
NOT_OPTED_IN: dict[str, set[str]] = {}


def check(account: str, region: str, service: str) -> None:
    """Raises what AWS answers to credentials of an account without the region."""
    if service in GLOBAL:
        return
    if region in NOT_OPTED_IN.get(account, ()) or region.startswith(OTHER_PARTITIONS):
        raise invalid_key(service)


def post(body: dict[str, Any]) -> dict[str, Any]:
    """`{"account", "notOptedIn": [regions]}`"""
    account, regions = str(body["account"]), set(body["notOptedIn"])
    if not regions <= OPT_IN:
        raise ValueError(f"not to opt in to: {', '.join(sorted(regions - OPT_IN))}")
    NOT_OPTED_IN[account] = regions
    return {"notOptedIn": sorted(regions)}
