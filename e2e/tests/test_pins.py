"""Third-party references (actions, images) are pinned, and the check finds those that are not. (Needs no cloud.)"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keelson_harness.paths import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "e2e"))
import pins  # noqa: E402

SHA = "a" * 40
DIGEST = f"sha256:{'b' * 64}"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one workflow, one Dockerfile and one manifest, all pinned."""
    for folder in (".github/workflows", "deploy/flux/v1", "e2e/kind"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(pins, "CHECKOUT", tmp_path)
    monkeypatch.setattr(pins, "UNPINNED", tmp_path / "e2e" / "unpinned.txt")
    write(tmp_path, workflow=f"actions/checkout@{SHA} # v4.0.0", base=f"rust:1@{DIGEST}", image=f"ghcr.io/fluxcd/x:v1@{DIGEST}")
    return tmp_path


def write(top, workflow=None, base=None, image=None):
    if workflow:
        (top / ".github/workflows/test.yml").write_text(f"steps:\n  - uses: {workflow}\n  - uses: ./own\n")
    if base:
        (top / "deploy/Dockerfile").write_text(f"FROM --platform=x {base} AS build\nRUN x\nFROM build\n")
    if image:
        (top / "deploy/flux/v1/x.yaml").write_text(f"      - image: {image}\n        imagePullPolicy: Always\n")


def test_this_checkout_is_pinned_except_for_listed_references():
    assert pins.problems(strict=False) == []
    assert all(reference.pinned for reference in pins.references() if reference.path.startswith(".github"))


def test_pinned_references_pass_for_a_release(checkout):
    assert pins.problems(strict=True) == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("workflow", "actions/checkout@v4"),
        ("workflow", f"actions/checkout@{SHA[:7]}"),
        ("base", "rust:1"),
        ("base", "rust:1@sha256:abc"),
        ("image", "ghcr.io/fluxcd/x:v1"),
    ],
)
def test_unpinned_reference_is_named(checkout, kind, name):
    write(checkout, **{kind: name})
    (line,) = pins.problems(strict=False)
    assert name in line and "not pinned" in line


@pytest.mark.parametrize("comment", ["", " # v4", " # newest"])
def test_commit_without_its_version_is_named(checkout, comment):
    write(checkout, workflow=f"actions/checkout@{SHA}{comment}")
    (line,) = pins.problems(strict=True)
    assert f"actions/checkout@{SHA} has no comment" in line


def test_listed_reference_passes_except_for_a_release_and_must_still_be_needed(checkout):
    write(checkout, base="rust:1")
    (checkout / "e2e/unpinned.txt").write_text("# why\nrust:1\n")
    assert pins.problems(strict=False) == []
    assert len(pins.problems(strict=True)) == 1
    write(checkout, base=f"rust:1@{DIGEST}")
    (line,) = pins.problems(strict=False)
    assert "remove it" in line


# `make audit`


def audit(folder: Path, *flags: str, release: str = "", failing: str = "") -> subprocess.CompletedProcess:
    """Runs it with tools that find nothing, except the failing one, and a cargo that fetches nothing."""
    tools = [folder / "keelson/tools" / tool / "bin" / tool.rpartition("-")[0] for tool in ("cargo-deny-0.20.2", "cargo-vet-0.10.3")]
    for program in (*tools, folder / "bin/cargo"):
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\nexit {int(program.name == failing)}\n")
        program.chmod(0o755)
    path = f"{folder}/bin:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder), "KEELSON_AUDIT_OFFLINE": "1", "KEELSON_RELEASE": release}
    return subprocess.run([CHECKOUT / "e2e/audit.sh", *flags], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("flags", "release", "code"), [((), "", 0), (("--strict",), "", 1), ((), "1", 1), ((), "0", 0)])
def test_audit_without_advisories_fails_for_a_release(tmp_path, flags, release, code):
    result = audit(tmp_path, *flags, release=release)
    assert result.returncode == code, result.stderr
    assert "ADVISORIES WERE NOT CHECKED" in result.stderr


@pytest.mark.parametrize("tool", ["cargo-deny", "cargo-vet"])
def test_audit_fails_if_a_tool_finds_something(tmp_path, tool):
    result = audit(tmp_path, failing=tool)
    assert result.returncode == 1
    assert "ADVISORIES" not in result.stderr
