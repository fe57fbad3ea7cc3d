"""envtest downloads: the newest patch release for this machine, never one with a wrong checksum."""

import hashlib
import io
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from keelson_harness.paths import BUILD_SCRIPT

sys.path.insert(0, str(BUILD_SCRIPT.parent))
import envtest  # noqa: E402


def archive(text: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("controller-tools/envtest/etcd")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    return buffer.getvalue()


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server with an index of two patch releases; returns a function that publishes them."""
    monkeypatch.setattr(envtest.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(envtest.sys, "platform", "linux")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"

    def publish(valid_checksums: bool = True) -> None:
        index = "releases:\n"
        for version in ("v1.36.2", "v1.36.10", "v1.37.0"):
            name = f"envtest-{version}-linux-amd64.tar.gz"
            content = archive(version.encode())
            (tmp_path / name).write_bytes(content)
            digest = hashlib.sha512(content if valid_checksums else b"else").hexdigest()
            index += f"  {version}:\n    {name}:\n      hash: {digest}\n      selfLink: {url}/{name}\n"
        (tmp_path / "index.yaml").write_text(index)

    monkeypatch.setenv("KEELSON_ENVTEST_INDEX", f"{url}/index.yaml")
    envtest.download.cache_clear()
    yield publish
    envtest.download.cache_clear()
    server.shutdown()
    server.server_close()


def test_newest_patch_of_the_minor_version_is_unpacked(mirror, tmp_path):
    mirror()
    envtest.download(tmp_path / "tools", "v1.36.3", lambda _: None)
    found = envtest.cached(tmp_path / "tools", "v1.36.3", "etcd")
    assert found.read_bytes() == b"v1.36.10"


def test_archive_with_wrong_checksum_is_not_used(mirror, tmp_path):
    mirror(valid_checksums=False)
    messages: list[str] = []
    envtest.download(tmp_path / "tools", "v1.36.3", messages.append)
    assert envtest.cached(tmp_path / "tools", "v1.36.3", "etcd") is None
    assert "SHA-512" in messages[-1]


def test_unreachable_index_is_reported_and_not_fatal(monkeypatch, tmp_path):
    monkeypatch.setenv("KEELSON_ENVTEST_INDEX", "http://127.0.0.1:9/index.yaml")
    envtest.download.cache_clear()
    messages: list[str] = []
    envtest.download(tmp_path / "tools", "v1.36.3", messages.append)
    assert "cannot be reached" in messages[0]
