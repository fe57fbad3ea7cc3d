"""The versions and releases that EKS offers in an account: those of `versions.py`, and those that a test has published. No I/O.

One global catalogue, because moto's EC2 and SSM code has no way to pass it in.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from typing import Any

from .versions import ADDONS, MINORS, Addon, AddonVersion, Minor, minor_number

RELEASE = re.compile(r"(\d+\.\d+)\.\d+-\d{8}")
SUPPORT_DATES = {"endOfStandardSupportDate": "standard_ends", "endOfExtendedSupportDate": "extended_ends"}
STATES = {"STANDARD_SUPPORT": False, "EXTENDED_SUPPORT": True}
ALL_ACCOUNTS = ""


class CatalogError(ValueError):
    """The posted release is invalid."""


@dataclass(frozen=True)
class Published:
    """A published entry, newer than those of `versions.py`; `account` is ALL_ACCOUNTS or one account."""

    account: str
    # For AMI releases and support dates; an add-on version has its own minors.
    minor: str = ""
    release: str = ""
    # SSM lists it, but EKS rejects it.
    refused: bool = False
    addon: str = ""
    addon_version: AddonVersion | None = None
    support: tuple[tuple[str, Any], ...] = ()


class Catalog:
    def __init__(self) -> None:
        self._published: list[Published] = []

    def clear(self) -> None:
        self._published.clear()

    def publish(self, posted: dict[str, Any]) -> None:
        """{"version", "amiRelease", "refused"}, {"version", "endOfStandardSupportDate", ...} or {"addon", "addonVersion", "kubernetesVersions", "default"}."""
        entry = read_addon(posted) if "addon" in posted else read_release(posted) if "amiRelease" in posted else read_support(posted)
        self._published.insert(0, entry)

    def _visible_in(self, account: str) -> list[Published]:
        """Newest first."""
        return [entry for entry in self._published if entry.account in (ALL_ACCOUNTS, account)]

    def minor(self, account: str, version: str) -> Minor:
        found = MINORS[version]
        for entry in reversed(self._visible_in(account)):
            if entry.support and entry.minor == version:
                found = replace(found, **dict(entry.support))
        return found

    def releases(self, account: str, version: str) -> list[str]:
        """AMI releases of a minor that EKS accepts, newest first, in the format of Amazon Linux: 1.34.4-20261106."""
        refused = self._refused(account, version)
        return [release for release in self.announced(account, version) if release not in refused]

    def announced(self, account: str, version: str) -> list[str]:
        """AMI releases that SSM lists, possibly before EKS accepts them (awslabs/amazon-eks-ami#559)."""
        minor = MINORS[version]
        built_in = [f"{minor.patch}-{date}" for date in (minor.ami_date, *minor.older_ami_dates)]
        published = [entry.release for entry in self._visible_in(account) if entry.release and entry.minor == version]
        return list(dict.fromkeys(published + built_in))

    def _refused(self, account: str, version: str) -> set[str]:
        """The latest entry of a release counts: a refused release can be published again as accepted."""
        latest: dict[str, bool] = {}
        for entry in self._visible_in(account):
            if entry.release and entry.minor == version:
                latest.setdefault(entry.release, entry.refused)
        return {release for release, refused in latest.items() if refused}

    def all_releases(self, version: str) -> list[str]:
        """Releases of all accounts: anyone with its id can describe an image."""
        return list(dict.fromkeys(r for entry in [ALL_ACCOUNTS, *{e.account for e in self._published}] for r in self.announced(entry, version)))

    def all_versions(self, account: str, addon: Addon) -> list[AddonVersion]:
        newer = [entry.addon_version for entry in self._visible_in(account) if entry.addon_version and entry.addon == addon.name]
        return [*newer, *addon.versions]

    def addon_versions(self, account: str, addon: Addon, version: str) -> list[AddonVersion]:
        """Versions of an add-on for a Kubernetes minor, newest first."""
        return [v for v in self.all_versions(account, addon) if v.first <= minor_number(version) <= v.last]

    def default_addon_version(self, account: str, addon: Addon, version: str) -> str:
        found = self.addon_versions(account, addon, version)
        return next((v.version for v in found if minor_number(version) in v.default_for), found[0].version)


def known_minor(posted: dict[str, Any]) -> str:
    version = str(posted.get("version"))
    if version not in MINORS:
        raise CatalogError(f"unknown version {version}; known: {', '.join(MINORS)}")
    return version


def read_release(posted: dict[str, Any]) -> Published:
    version, release = known_minor(posted), str(posted["amiRelease"])
    found = RELEASE.fullmatch(release)
    if not found or found[1] != version:
        raise CatalogError(f"{release} is not a release of {version}; format: {MINORS[version].patch}-20270101")
    return Published(posted.get("account", ALL_ACCOUNTS), version, release=release, refused=bool(posted.get("refused")))


def read_support(posted: dict[str, Any]) -> Published:
    version = known_minor(posted)
    support: list[tuple[str, Any]] = []
    for name, field in SUPPORT_DATES.items():
        if name in posted:
            support.append((field, datetime.date.fromisoformat(posted[name]).isoformat()))
    if "versionStatus" in posted:
        support.append(("extended", STATES[posted["versionStatus"]]))
    if not support:
        raise CatalogError("nothing to publish: addon, amiRelease or a support date is required")
    return Published(posted.get("account", ALL_ACCOUNTS), version, support=tuple(support))


def read_addon(posted: dict[str, Any]) -> Published:
    if posted["addon"] not in ADDONS:
        raise CatalogError(f"unknown add-on {posted['addon']}")
    minors = [minor_number(version) for version in posted["kubernetesVersions"]]
    default_for = tuple(minors) if posted.get("default") else ()
    version = AddonVersion(str(posted["addonVersion"]), min(minors), max(minors), default_for)
    return Published(posted.get("account", ALL_ACCOUNTS), addon=posted["addon"], addon_version=version)


CATALOG = Catalog()
