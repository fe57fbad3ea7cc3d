"""`make lint` runs it: every crate of Cargo.lock has an audit or an exemption in supply-chain/, and no exemption is stale.

cargo-vet (`make audit`) checks the same, but takes minutes to build. Needs Python and cargo.

    python3 e2e/supply_chain.py            # check
    python3 e2e/supply_chain.py --write    # after a change of Cargo.lock: add missing exemptions, remove stale ones

A new exemption says that nobody of this project has read that version. Prefer an audit: `cargo vet diff`, `cargo vet certify`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
# What goes into the operator; what only its tests run.
DEPLOY, RUN = "safe-to-deploy", "safe-to-run"
# As cargo-vet formats it: `cargo vet --locked` rejects any other format.
EXEMPTION = '\n[[exemptions.{name}]]\nversion = "{version}"\ncriteria = "{criteria}"\n'
HEAD = '\n# cargo-vet config file\n\n[cargo-vet]\nversion = "0.10"\n\n[policy.keelson]\naudit-as-crates-io = false\n'

Crate = tuple[str, str]


@dataclass
class Store:
    """supply-chain/: which versions somebody read, and which are exempt."""

    exempt: set[Crate] = field(default_factory=set)
    audited: set[Crate] = field(default_factory=set)
    # (name, from, to): somebody read the difference.
    deltas: set[tuple[str, str, str]] = field(default_factory=set)

    @staticmethod
    def load(folder: Path) -> Store:
        store = Store()
        config = tomllib.loads((folder / "config.toml").read_text())
        audits = [tomllib.loads((folder / "audits.toml").read_text())]
        audits += tomllib.loads((folder / "imports.lock").read_text()).get("audits", {}).values()
        for name, entries in config.get("exemptions", {}).items():
            store.exempt |= {(name, entry["version"]) for entry in entries}
        for name, entry in (
            (name, entry) for file in audits for name, found in file.get("audits", {}).items() for entry in found
        ):
            if "version" in entry:
                store.audited.add((name, entry["version"]))
            elif "delta" in entry:
                old, _, new = entry["delta"].partition(" -> ")
                store.deltas.add((name, old, new))
        return store

    def covered(self) -> set[Crate]:
        """Exempt, audited, or reached from such a version by audited differences."""
        found = self.exempt | self.audited
        while new := {(name, to) for name, start, to in self.deltas if (name, start) in found} - found:
            found |= new
        return found


def locked(checkout: Path) -> set[Crate]:
    """The crates of Cargo.lock that come from crates.io; `deny.toml` forbids other sources."""
    packages = tomllib.loads((checkout / "Cargo.lock").read_text())["package"]
    return {(package["name"], package["version"]) for package in packages if package.get("source") == CRATES_IO}


def problems(checkout: Path) -> list[str]:
    store, crates = Store.load(checkout / "supply-chain"), locked(checkout)
    # An exemption from which audited differences lead to the version in use is needed as well.
    starts = {(name, start) for name, start, _ in store.deltas}
    missing = [f"{name} {version}: neither audited nor exempt" for name, version in sorted(crates - store.covered())]
    stale = [f"{name} {version}: exempt, but not in Cargo.lock" for name, version in sorted(store.exempt - crates - starts)]
    twice = [f"{name} {version}: audited, so needs no exemption" for name, version in sorted(store.exempt & store.audited)]
    return missing + stale + twice


def deployed(checkout: Path) -> set[Crate]:
    """The crates that the operator is built from, on any platform; build scripts and macros count."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    metadata = json.loads(subprocess.run(command, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True).stdout)
    crates = {package["id"]: (package["name"], package["version"]) for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    reached, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        if (package := waiting.pop()) not in reached:
            reached.add(package)
            dependencies = nodes[package]["deps"]
            waiting += [item["pkg"] for item in dependencies if any(kind["kind"] != "dev" for kind in item["dep_kinds"])]
    return {crates[package] for package in reached}


def criteria_of(config: str) -> dict[Crate, str]:
    """The criterion of each exemption."""
    exemptions = tomllib.loads(config).get("exemptions", {})
    return {(name, entry["version"]): entry["criteria"] for name, entries in exemptions.items() for entry in entries}


def too_weak(config: str, deploys: set[Crate]) -> list[str]:
    """Exemptions of what only tests ran once, and the operator is built from now."""
    weak = [crate for crate, criterion in criteria_of(config).items() if criterion == RUN and crate in deploys]
    return [f"{name} {version}: exempt as {RUN}, but the operator is built from it" for name, version in sorted(weak)]


def order(crate: Crate) -> tuple:
    """By name, then as cargo-vet orders versions: a pre-release before its release."""
    name, version = crate
    numbers, _, rest = version.partition("+")[0].partition("-")
    return name, [int(number) for number in numbers.split(".")], not rest, version


def write(checkout: Path) -> None:
    """Keeps exemptions that are still needed, and the rest of config.toml, unchanged."""
    config = checkout / "supply-chain" / "config.toml"
    text = config.read_text() if config.exists() else HEAD
    head = re.split(r"\n\[\[exemptions\.", text, maxsplit=1)[0].rstrip("\n") + "\n"
    store = Store.load(config.parent) if config.exists() else Store()
    criteria = criteria_of(text)
    crates, deploys = locked(checkout), deployed(checkout)
    starts = {(name, start) for name, start, _ in store.deltas}
    without = Store(store.exempt - (store.exempt - crates - starts) - store.audited, store.audited, store.deltas)
    wanted = without.exempt | (crates - without.covered())
    entries = [
        EXEMPTION.format(
            name=name, version=version, criteria=DEPLOY if (name, version) in deploys else criteria.get((name, version), RUN)
        )
        for name, version in sorted(wanted, key=order)
    ]
    config.write_text(head + "".join(entries))
    print(
        f"supply-chain: {len(wanted)} exemptions, {len(wanted - store.exempt)} of them new, {len(store.exempt - wanted)} removed"
    )


def main(arguments: list[str]) -> int:
    if "--write" in arguments:
        write(CHECKOUT)
    found = problems(CHECKOUT)
    found += too_weak((CHECKOUT / "supply-chain" / "config.toml").read_text(), deployed(CHECKOUT))
    for line in found:
        print(f"supply-chain: {line}", file=sys.stderr)
    if found:
        print("Read the crate and run `cargo vet certify`, or run `python3 e2e/supply_chain.py --write`", file=sys.stderr)
    else:
        print(f"supply-chain: all {len(locked(CHECKOUT))} crates are audited or exempt")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
