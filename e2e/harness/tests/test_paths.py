"""Run directories."""

import tempfile

import pytest

from keelson_harness.argocd import SOCKET_BYTES
from keelson_harness.paths import TooLong, run_directory


def test_run_directory_too_long_for_sockets_is_refused_and_not_left(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(TooLong, match=f"TMPDIR={long} .* at most 18 bytes, such as /tmp"):
        run_directory(socket_bytes=SOCKET_BYTES)
    assert list(long.iterdir()) == []
    # Without sockets, any length is fine.
    assert run_directory().parent == long


def test_default_run_directory_is_short_enough(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    path = run_directory(socket_bytes=SOCKET_BYTES)
    path.rmdir()
