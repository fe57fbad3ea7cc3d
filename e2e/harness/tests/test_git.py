"""Git over HTTP, tested with the Git client."""

import pytest

from keelson_harness.git import GitServer, git
from keelson_harness.pki import Authority


@pytest.fixture
def server(tmp_path):
    started = GitServer(tmp_path / "git")
    yield started
    started.stop()


def test_commit_can_be_cloned_over_http(server, tmp_path):
    fleet = server.repository("fleet")
    commit = fleet.commit({"clusters/demo/a.yaml": "a: 1\n"}, tag="v1.0.0")
    git("clone", "--quiet", "--depth=1", fleet.url, str(tmp_path / "clone"))
    assert (tmp_path / "clone/clusters/demo/a.yaml").read_text() == "a: 1\n"
    assert git("rev-parse", "HEAD", cwd=tmp_path / "clone") == commit
    assert "refs/tags/v1.0.0" in git("ls-remote", fleet.url)


def test_deleted_and_copied_files_are_pushed(server, tmp_path):
    fleet = server.repository("fleet")
    fleet.commit({"old/file": "x"})
    (tmp_path / "source").mkdir()
    (tmp_path / "source/new").write_text("y")
    fleet.commit(delete=("old",))
    fleet.commit_directory(tmp_path / "source", "clusters/demo")
    git("clone", "--quiet", fleet.url, str(tmp_path / "clone"))
    assert git("ls-files", cwd=tmp_path / "clone") == "clusters/demo/new"


def test_credentials_are_required_and_tls_is_verified(tmp_path):
    authority = Authority(tmp_path / "pki", "git-ca")
    server = GitServer(tmp_path / "git", authority.serving("git"), ("fleet", "s3cret"))
    try:
        url = server.repository("fleet").url
        with pytest.raises(RuntimeError, match="certificate"):
            git("ls-remote", url)
        trusting = {"GIT_SSL_CAINFO": str(authority.cert_file)}
        with pytest.raises(RuntimeError, match="(?i)username|authentication"):
            git("ls-remote", url, env=trusting)
        git("ls-remote", url.replace("https://", "https://fleet:s3cret@"), env=trusting)
    finally:
        server.stop()


def test_refusing_server_returns_an_error_and_recovers(server):
    fleet = server.repository("fleet")
    fleet.commit({"a": "1"})
    server.refuse = 503
    with pytest.raises(RuntimeError, match="503"):
        git("ls-remote", fleet.url)
    server.refuse = None
    assert "refs/heads/main" in git("ls-remote", fleet.url)
