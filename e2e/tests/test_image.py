"""`make image`: the same input gives the same image, a registry takes and returns it unchanged, and the operator runs on its root
filesystem, which has what deploy/Dockerfile promises and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from images import layout
from images.container import Container, privileges
from keelson_harness.cloud import NAMESPACE, LocalCloud
from keelson_harness.light_http import answers
from keelson_harness.paths import DEPLOY, keelson_binary, tools
from keelson_harness.processes import free_port
from keelson_harness.registry import Registry

USER = 65532
LIBRARY = re.compile(r"(lib|ld-)[\w.+-]*\.so[\d.]*")
# What would let an intruder do more than the operator can.
TOOLS = re.compile(
    r"(ba|da|z|a|k|fi|c|tc)?sh|busybox|toybox|env|apt.*|dpkg(-.*)?|rpm|apk|yum|dnf|pip.*|python.*|perl.*|curl|wget|nc|su|sudo|mount|ldconfig|openssl"
)


@pytest.fixture(scope="module")
def folder():
    # Not in pytest's folder, which only its user may enter: the container's user is another.
    with tempfile.TemporaryDirectory(prefix="keelson-image-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def binary(folder):
    """The binary of the tests without debug information, as the release has none."""
    path = folder / "binary" / "keelson"
    path.parent.mkdir()
    subprocess.run(["strip", "--strip-all", "-o", path, keelson_binary()], check=True)
    return path


@pytest.fixture(scope="module")
def image(folder, binary):
    built = layout.Image(folder / "image")
    assert layout.build(binary, built.layout) == built.digest
    return built


@pytest.fixture(scope="module")
def other(folder, image):
    """The same image for nodes of another architecture."""
    return image.as_architecture("riscv64", folder / "other")


@pytest.fixture(scope="module")
def pulled(folder, image, other):
    """What a registry returns for each architecture: both are pushed as one tag, as a release is, and pulled by its digest."""
    archives = [layout.pack(each.layout, folder / f"{each.layout.name}.tar") for each in (other, image)]
    registry = Registry(tools("registry")["registry"], folder / "registry")
    try:
        registry.wait_ready()
        name = f"{registry.address}/acme/keelson"
        pushed = layout.push(name, archives, "--quiet", "--insecure-policy", "--dest-tls-verify=false")
        assert pushed["name"] == name
        found = {}
        for architecture in (image.config["architecture"], other.config["architecture"]):
            found[architecture] = layout.Image(folder / f"pulled-{architecture}")
            options = ["--quiet", "--src-tls-verify=false", f"docker://{name}@{pushed['digest']}"]
            target = f"oci:{found[architecture].layout}:{layout.VERSION}"
            layout.skopeo("--override-arch", architecture, "copy", *options, target)
    finally:
        registry.stop()
    return found


@pytest.fixture(scope="module")
def root(folder, image, pulled):
    """The root filesystem of the image that came back from the registry."""
    return layout.unpack(pulled[image.config["architecture"]].layout, folder / "bundle")


@pytest.fixture(scope="module")
def container(folder, root, image):
    if privileges() is None:
        pytest.skip("needs root, or sudo without a password, to change the root directory")
    return Container(root, image.config, folder / "container")


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if not path.is_symlink() and path.is_file()]


def test_same_input_gives_the_same_digest(folder, binary, image):
    copy = folder / "another" / "name-of-the-binary"
    copy.parent.mkdir()
    shutil.copyfile(binary, copy)
    copy.chmod(0o700)
    again = layout.build(copy, folder / "again", cwd=folder, TZ="Pacific/Auckland", LC_ALL="C")
    assert again == image.digest


def test_registry_returns_the_image_of_each_architecture_unchanged(image, other, pulled):
    assert {name: each.digest for name, each in pulled.items()} == {
        each.config["architecture"]: each.digest for each in (image, other)
    }


def test_config_is_that_of_the_dockerfile(image):
    config = image.config["config"]
    last_stage = (DEPLOY / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    said = dict(re.findall(r"^([A-Z]+) (.+)$", last_stage, re.MULTILINE))
    assert config["User"] == said["USER"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == json.loads(said["ENTRYPOINT"]) == ["/keelson"]
    assert config["Cmd"] == json.loads(said["CMD"]) == ["controller"]
    assert list(config["ExposedPorts"]) == [f"{said['EXPOSE']}/tcp"]
    (deployment,) = [
        item for item in yaml.safe_load_all((DEPLOY / "deployment.yaml").read_text()) if item["kind"] == "Deployment"
    ]
    assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == USER


def test_labels_say_what_it_is_and_when_and_from_what_it_was_built(image):
    labels = {name.rpartition(".")[2]: value for name, value in image.config["config"]["Labels"].items()}
    assert (labels["title"], labels["version"], labels["licenses"]) == ("keelson", layout.VERSION, "Apache-2.0")
    assert labels["created"] == image.config["created"] == "2026-01-01T00:00:00Z"
    assert re.fullmatch(r"[0-9a-f]{40}", labels["revision"])


def test_root_filesystem_has_the_binary_and_the_libraries_it_links_and_no_other_program(root, binary):
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    expected = {Path(word).name for word in linked.split() if LIBRARY.fullmatch(Path(word).name)}
    elf = {path.name for path in files(root) if path.read_bytes()[:4] == b"\x7fELF"}
    # The dynamic loader can be started too, but only to run what is there.
    assert elf == expected | {"keelson"}
    executable = {path.name for path in files(root) if path.stat().st_mode & 0o111}
    assert executable <= elf
    assert [path for path in root.rglob("*") if TOOLS.fullmatch(path.name) and not path.is_dir()] == []


def test_root_filesystem_has_nothing_setuid_and_nothing_writable_for_its_user(root):
    for path in [root, *root.rglob("*")]:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            continue
        name = f"/{path.relative_to(root)}"
        assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID), name
        assert not found.st_mode & stat.S_IWOTH or name == "/tmp", name


def test_files_belong_to_root_except_the_home_of_its_user(image):
    """In the layers: only root can give the files that are unpacked to another user."""
    entries = [entry for layer in image.layers() for entry in layer]
    assert len(entries) > 20
    for entry in entries:
        is_home = entry.name.strip("./") == "home/nonroot"
        assert (entry.uid, entry.gid) == ((USER, USER) if is_home else (0, 0)), entry.name


def test_certificates_of_public_authorities_are_readable(root):
    path = root / "etc/ssl/certs/ca-certificates.crt"
    assert path.stat().st_mode & 0o444 == 0o444
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    names = {dict(pair[0] for pair in entry["subject"]).get("commonName") for entry in context.get_ca_certs()}
    assert {"Amazon Root CA 1", "Starfield Services Root Certificate Authority - G2"} <= names
    assert len(names) > 100


def test_command_line_runs_in_the_image(container):
    assert re.fullmatch(r"keelson \d+\.\d+\.\d+\S*\n", container.output("--version"))
    assert "controller" in container.output("--help")


def test_operator_is_ready_with_a_read_only_root_filesystem(container, image):
    with LocalCloud(aws=False, git=False, pooled=True) as cloud:
        cloud.install_crds()
        kubeconfig = yaml.safe_load(cloud.operator_account().read_text())
        mount_kubeconfig(kubeconfig, container.tmp)
        port = free_port()
        env = {
            "KUBECONFIG": "/tmp/kubeconfig",
            "POD_NAME": "keelson-0",
            "POD_NAMESPACE": NAMESPACE,
            "AWS_REGION": "eu-west-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        # `args` of deploy/deployment.yaml, on a free port.
        process = container.start("controller", "--leader-election", f"--listen=127.0.0.1:{port}", env=env)
        try:
            process.wait_ready(
                lambda: answers(f"http://127.0.0.1:{port}/healthz") and answers(f"http://127.0.0.1:{port}/readyz"), 60
            )
            operator = Path("/proc", str(innermost(process.pid)))
            status = (operator / "status").read_text()
            assert re.search(r"^Name:\s+keelson$", status, re.MULTILINE), status
            assert re.search(rf"^Uid:(\s+{USER}){{4}}$", status, re.MULTILINE)
            assert re.search(rf"^Gid:(\s+{USER}){{4}}$", status, re.MULTILINE)
            assert re.search(r"^Groups:\s*$", status, re.MULTILINE)
            assert re.search(r" / ro,", (operator / "mountinfo").read_text())
        finally:
            assert process.stop() == 0


def innermost(pid: int) -> int:
    """The process that it runs: with sudo, the child of sudo's process."""
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        (pid,) = map(int, children)
    return pid


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"\0GLIBC_2.34\0", b"\0GLIBC_2.99\0", "needs 2.99, and the image has "),
        (b"\0libc.so.6\0", b"\0libx.so.6\0", "needs libx.so.6, which none of the image's packages has"),
        (b"\x7fELF", b"\x7fFLE", "is no ELF file"),
    ],
    ids=["newer libc", "missing library", "not for Linux"],
)
def test_binary_that_could_not_run_in_the_image_is_refused(folder, old, new, message):
    content = Path("/usr/bin/true").read_bytes()
    assert old in content
    binary = folder / "true"
    binary.write_bytes(content.replace(old, new))
    with pytest.raises(AssertionError, match=re.escape(message)):
        layout.build(binary, folder / "refused")
    assert not (folder / "refused").exists()


def mount_kubeconfig(kubeconfig: dict, folder: Path) -> None:
    """Files where the container's user can read them; the API server by a name that only /etc/hosts resolves."""
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    for entry, key in ((cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key")):
        (folder / key).write_bytes(Path(entry[key]).read_bytes())
        (folder / key).chmod(0o644)
        entry[key] = f"/tmp/{key}"
    cluster["server"] = cluster["server"].replace("127.0.0.1", "kubernetes.default.svc")
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
