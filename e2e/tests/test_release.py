"""What a release writes, and that the checks of workflows, audits and packages find mistakes. (Needs no cloud.)"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from keelson_harness.paths import CHECKOUT

for folder in ("e2e", "deploy/image", "deploy/release"):
    sys.path.insert(0, str(CHECKOUT / folder))
import debian  # noqa: E402
import release  # noqa: E402
import supply_chain  # noqa: E402
import workflows  # noqa: E402

DIGEST = f"sha256:{'d' * 64}"
IMAGE = f"ghcr.io/acme/keelson@{DIGEST}"
URL = "https://github.com/acme/keelson"
CHANGELOG = "# Changelog\n\n## Unreleased\n\n- Next.\n\n## 1.2.3 - 2026-12-01\n\n### Added\n\n- This.\n\n## 1.2.2 - 2026-11-01\n\n- That.\n"
KREW = """\
# Template: VERSION, URL
spec:
  version: vVERSION
  homepage: URL
  platforms:
    - {uri: URL/releases/download/vVERSION/a.tar.gz, sha256: SHA256_LINUX_AMD64}
    - {uri: URL/releases/download/vVERSION/b.tar.gz, sha256: SHA256_LINUX_ARM64}
    - {uri: URL/releases/download/vVERSION/c.tar.gz, sha256: SHA256_DARWIN_ARM64}
"""
VALUES = """\
image:
  # Registry and repository.
  repository: keelson
  tag: ""
  # Digest.
  digest: ""

other:
  repository: kept
  digest: ""
"""
CHART = 'version: 1.2.3\nappVersion: "1.2.3"\nannotations:\n  artifacthub.io/images: |\n    - name: keelson\n      image: keelson:1.2.3\n'


def write(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout that is ready to be released as 1.2.3."""
    monkeypatch.setattr(release, "CHECKOUT", tmp_path)
    files = {"Cargo.toml": '[package]\nversion = "1.2.3"\n', "CHANGELOG.md": CHANGELOG, "deploy/krew/keelson.yaml": KREW}
    write(tmp_path, files | {"deploy/charts/keelson/Chart.yaml": CHART, "deploy/charts/keelson/values.yaml": VALUES})
    return tmp_path


# The release


def test_release_needs_one_version_in_the_tag_and_the_files(checkout):
    assert release.check("v1.2.3") == "version=1.2.3"
    with pytest.raises(release.Invalid, match="the tag is v1.2.4, but Cargo.toml has 1.2.3, Chart.yaml's version has 1.2.3"):
        release.check("v1.2.4")
    write(checkout, {"deploy/charts/keelson/Chart.yaml": CHART.replace('appVersion: "1.2.3"', "appVersion: 1.2.2")})
    with pytest.raises(release.Invalid, match="but Chart.yaml's appVersion has 1.2.2"):
        release.check("v1.2.3")


@pytest.mark.parametrize(
    ("old", "message"), [("1.2.3 - 2026-12-01", "has no section"), ("### Added\n\n- This.\n", "says nothing about 1.2.3")]
)
def test_release_needs_a_section_of_the_changelog(checkout, old, message):
    write(checkout, {"CHANGELOG.md": CHANGELOG.replace(old, "")})
    with pytest.raises(release.Invalid, match=message):
        release.check("v1.2.3")


def test_release_notes_are_the_section_of_the_version(checkout):
    assert release.notes("1.2.3") == "### Added\n\n- This."


def test_chart_of_a_release_runs_the_image_by_digest(checkout):
    release.chart(IMAGE, URL)
    folder = checkout / "deploy/charts/keelson"
    values = yaml.safe_load((folder / "values.yaml").read_text())
    assert values["image"] == {"repository": "ghcr.io/acme/keelson", "tag": "", "digest": DIGEST}
    assert values["other"] == {"repository": "kept", "digest": ""}
    (listed,) = yaml.safe_load(yaml.safe_load((folder / "Chart.yaml").read_text())["annotations"]["artifacthub.io/images"])
    assert listed == {"name": "keelson", "image": IMAGE}


def test_links_of_a_released_chart_lead_to_the_repository(checkout):
    """The checkout's own chart, as a release packs it: each alert leads to its runbook."""
    folder = checkout / "deploy/charts/keelson"
    shutil.rmtree(folder)
    shutil.copytree(CHECKOUT / "deploy/charts/keelson", folder)
    release.chart(IMAGE, URL)
    assert placeholders(folder) == []
    rules = (folder / "templates/generated/prometheus-rule.yaml").read_text()
    links = re.findall(r"runbook_url: (\S+)", rules)
    assert len(links) == len(re.findall(r"- alert: ", rules)) > 15
    assert [link for link in links if not link.startswith(f"{URL}/blob/main/docs/runbooks.md#")] == []


def placeholders(folder: Path) -> list[str]:
    """The files that still name no repository."""
    return [path.name for path in sorted(folder.rglob("*")) if path.is_file() and re.search(r"\bOWNER\b", path.read_text())]


@pytest.mark.parametrize(
    "image", ["ghcr.io/acme/keelson:1.2.3", "keelson", f"ghcr.io/Acme/keelson@{DIGEST}", f"ghcr.io/acme/keelson@{DIGEST[:-1]}"]
)
def test_image_without_a_digest_is_refused(checkout, image):
    with pytest.raises(release.Invalid, match="is not REGISTRY/NAME@sha256"):
        release.chart(image, URL)


@pytest.fixture
def artifacts(tmp_path):
    """What the jobs that build upload."""
    folder = tmp_path / "artifacts"
    for name in (*release.ARCHIVES, release.SBOM):
        job = "darwin-arm64" if "darwin" in name else "linux-arm64" if "linux-arm64" in name else "linux-amd64"
        write(folder, {f"{job}/{name}": name})
    return folder


def test_files_of_a_release_are_complete_and_have_checksums(checkout, artifacts, tmp_path):
    folder = tmp_path / "files"
    release.collect("1.2.3", IMAGE, URL, artifacts, folder)
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    assert {*release.ARCHIVES, release.SBOM, "krew.yaml", "kustomization.yaml"} == set(sums)
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())

    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert kustomization["images"] == [{"name": "keelson", "newName": "ghcr.io/acme/keelson", "digest": DIGEST}]
    assert kustomization["resources"] == [f"{URL}//deploy?ref=v1.2.3"]
    assert placeholders(folder) == []


def krew_templates() -> list[str]:
    """That of this file, and the checkout's own."""
    return [KREW, *(path.read_text() for path in (CHECKOUT / "deploy/krew").glob("keelson.yaml"))]


@pytest.mark.parametrize("template", krew_templates())
def test_krew_manifest_has_the_checksum_of_each_archive(checkout, artifacts, tmp_path, template):
    write(checkout, {"deploy/krew/keelson.yaml": template})
    folder = tmp_path / "files"
    release.collect("1.2.3", IMAGE, URL, artifacts, folder)
    text = (folder / "krew.yaml").read_text()
    spec = yaml.safe_load(text)["spec"]
    assert (spec["version"], spec["homepage"]) == ("v1.2.3", URL)
    assert [entry["sha256"] for entry in spec["platforms"]] == [release.sha256(folder / name) for name in release.ARCHIVES]
    assert all(entry["uri"].startswith(f"{URL}/releases/download/v1.2.3/") for entry in spec["platforms"])
    assert not re.search(r"SHA256_|VERSION|\bURL\b|\bOWNER\b", text)


def test_release_without_an_archive_fails(checkout, artifacts, tmp_path):
    (artifacts / "darwin-arm64/keelson-darwin-arm64.tar.gz").unlink()
    with pytest.raises(release.Invalid, match="has no keelson-darwin-arm64.tar.gz"):
        release.collect("1.2.3", IMAGE, URL, artifacts, tmp_path / "files")


def test_every_archive_of_a_release_is_built_by_a_job():
    script = (CHECKOUT / "deploy/release/build.sh").read_text()
    assert sorted(f"keelson-{name}.tar.gz" for name in re.findall(r" name=(\S+) target=", script)) == sorted(release.ARCHIVES)


# Workflows


def test_workflow_mistakes_are_found(tmp_path):
    job = "on: pull_request\npermissions: {}\njobs:\n  test:\n    runs-on: ubuntu-24.04\n    steps:\n"
    checkout = "      - uses: actions/checkout@v4\n"
    injection = "      - run: echo ${{ github.event.pull_request.title }}\n"
    write(tmp_path, {"wrong.yml": job.replace("runs-on", "run-on") + checkout, "unsafe.yml": job + checkout + injection})
    found = workflows.check(tmp_path)
    for finding in ('unexpected key "run-on"', "template-injection", "artipacked", "unpinned-uses"):
        assert finding in found


def test_jobs_that_run_all_tests_have_the_history_of_git():
    checkouts = [
        next(step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@"))
        for name in ("test.yml", "release.yml")
        for job in yaml.safe_load((workflows.FOLDERS[0] / name).read_text())["jobs"].values()
        if any(step.get("run") == "make test" for step in job["steps"])
    ]
    assert [checkout["with"].get("fetch-depth") for checkout in checkouts] == [0, 0]


def test_workflow_of_a_release_uses_no_cache_and_gives_each_job_its_permissions():
    release_workflow = yaml.safe_load((workflows.FOLDERS[0] / "release.yml").read_text())
    assert release_workflow["permissions"] == {}
    for name, job in release_workflow["jobs"].items():
        assert job["permissions"]["contents"] == ("write" if name == "release" else "read"), name
        publishes = {"packages", "id-token"} & set(job["permissions"])
        assert not publishes or name in ("image", "chart", "release"), name
        used = [step.get("uses", "") for step in job["steps"]]
        assert not [action for action in used if action.startswith("actions/cache@")], name
    # Both know the repository, whatever its name.
    runs = [line for job in release_workflow["jobs"].values() for step in job["steps"] for line in step.get("run", "").splitlines()]
    for verb in ("chart", "files"):
        (line,) = (line for line in runs if f"release.py {verb} " in line)
        assert '"$GITHUB_SERVER_URL/$GITHUB_REPOSITORY"' in line


# Audits of crates


def lock(*crates: tuple[str, str]) -> str:
    return "".join(
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = "{supply_chain.CRATES_IO}"\n' for name, version in crates
    )


def store(top: Path, exemptions: str = "", audits: str = "") -> list[str]:
    files = {"Cargo.lock": lock(("a", "1.0.0"), ("b", "2.0.1"))}
    write(
        top, files | {"supply-chain/config.toml": exemptions, "supply-chain/audits.toml": audits, "supply-chain/imports.lock": ""}
    )
    return supply_chain.problems(top)


def exemption(name: str, version: str) -> str:
    return supply_chain.EXEMPTION.format(name=name, version=version, criteria="safe-to-deploy")


def test_crates_of_this_checkout_are_audited_or_exempt():
    assert supply_chain.problems(CHECKOUT) == []


def test_crate_without_audit_and_stale_exemption_are_named(tmp_path):
    a, b = exemption("a", "1.0.0"), exemption("b", "2.0.1")
    assert store(tmp_path, a + b) == []
    assert store(tmp_path, a) == ["b 2.0.1: neither audited nor exempt"]
    assert store(tmp_path, a + b + exemption("b", "2.0.0")) == ["b 2.0.0: exempt, but not in Cargo.lock"]


def test_audited_difference_leads_from_an_exempt_version_to_the_one_in_use(tmp_path):
    exempt = exemption("a", "1.0.0") + exemption("b", "2.0.0")
    delta = '[[audits.b]]\ncriteria = "safe-to-deploy"\ndelta = "{}"\n'
    assert store(tmp_path, exempt, delta.format("2.0.0 -> 2.0.1")) == []
    assert "b 2.0.1: neither audited nor exempt" in store(tmp_path, exempt, delta.format("1.9.0 -> 2.0.1"))


def test_new_crate_becomes_an_exemption_that_says_whether_it_is_deployed(tmp_path):
    package = '[package]\nname = "keelson"\nversion = "0.1.0"\nedition = "2024"\n'
    write(
        tmp_path,
        {
            "Cargo.toml": package,
            "src/lib.rs": "",
            "Cargo.lock": 'version = 4\n\n[[package]]\nname = "keelson"\nversion = "0.1.0"\n',
        },
    )
    write(
        tmp_path,
        {
            "supply-chain/config.toml": supply_chain.HEAD + exemption("a", "1.0.0"),
            "supply-chain/audits.toml": "",
            "supply-chain/imports.lock": "",
        },
    )
    supply_chain.write(tmp_path)
    assert (tmp_path / "supply-chain/config.toml").read_text() == supply_chain.HEAD
    # Of this checkout: what only tests use is not deployed.
    config = tomllib.loads((CHECKOUT / "supply-chain/config.toml").read_text())["exemptions"]
    assert config["tokio"][0]["criteria"] == "safe-to-deploy"
    assert config["insta"][0]["criteria"] == config["proptest"][0]["criteria"] == "safe-to-run"


# Debian's packages


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive in which libfoo has gone from version 1 to 2, behind an `apt-get` that knows only it."""
    package = tmp_path / "package"
    write(
        package,
        {"DEBIAN/control": "Package: libfoo\nVersion: 2\nArchitecture: all\nMaintainer: x <x@example.com>\nDescription: x\n"},
    )
    subprocess.run(["dpkg-deb", "--build", package, tmp_path / "libfoo_2_all.deb"], check=True, capture_output=True)
    apt = tmp_path / "bin" / "apt-get"
    write(
        tmp_path,
        {
            "bin/apt-get": f'#!/bin/sh\ncase "$*" in *"download libfoo"|*libfoo=2) cp {tmp_path}/libfoo_2_all.deb . ;; *update*) ;; *) exit 100 ;; esac\n'
        },
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def fetched(archive: Path, pin: debian.Pin, strict: bool) -> debian.Package:
    target = archive / "downloads" / f"{pin.name}_{pin.version}_{pin.architecture}.deb"
    target.parent.mkdir(exist_ok=True)
    return debian.fetch(pin, target, strict)


def test_package_that_the_archive_replaced_is_taken_newer_except_for_a_release(archive, capsys):
    pin = debian.Pin("libfoo", "1", "all", "0" * 64)
    assert fetched(archive, pin, strict=False).version == "2"
    assert "libfoo 2 instead of 1" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="libfoo 1 is not in the archive any more: run `make image-packages`"):
        fetched(archive, pin, strict=True)


def test_package_with_another_checksum_is_refused(archive):
    right = debian.sha256(archive / "libfoo_2_all.deb")
    assert fetched(archive, debian.Pin("libfoo", "2", "all", right), strict=True).version == "2"
    with pytest.raises(SystemExit, match="libfoo 2: SHA256"):
        fetched(archive, debian.Pin("libfoo", "2", "all", "0" * 64), strict=False)


def test_every_package_of_the_image_is_pinned_for_each_architecture():
    for architecture in debian.ARCHITECTURES:
        assert set(debian.pins(architecture)) == set(debian.IMAGE_PACKAGES)


def test_exemption_for_tests_is_too_weak_for_what_the_operator_is_built_from():
    config = supply_chain.HEAD + "".join(
        supply_chain.EXEMPTION.format(name=name, version="1.0.0", criteria=criteria)
        for name, criteria in (("only-tests", supply_chain.RUN), ("both", supply_chain.RUN), ("operator", supply_chain.DEPLOY))
    )
    deploys = {("both", "1.0.0"), ("operator", "1.0.0")}
    assert supply_chain.too_weak(config, deploys) == ["both 1.0.0: exempt as safe-to-run, but the operator is built from it"]
