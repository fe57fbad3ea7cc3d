"""No output of the operator contains a secret: no log line, event, status, metric or trace of any test before this one.

Runs last, over the recordings of all clouds (`keelson_harness/recorder.py`). The secrets are those that the tests used, and the
tokens that were issued. First checks the search itself: in its own cloud, a value that the operator prints is treated as a secret.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import aws_calls, leaks
from fleet.account import fresh_account
from fleet.manifests import cluster, existing, key_of, secret
from fleet.environment import environment, until
from keelson_harness import confidential, recorder

PLANTED_SECRET = "p4ss/w\"rd+ of a kind"
HERE = Path(__file__).parent
# Prefixes of the secrets, of each kind that the suite uses.
KINDS = ("k8s-aws-v1.", "keelson-session-", "AGE-SECRET-KEY-1", "eyJhbGciOi", "keelson-harness-secret-key")


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Iterator[list[leaks.Leak]]:
    """The leaks of two values: the account id, which the operator prints everywhere, and a secret that is put into an event."""
    folder = tmp_path_factory.mktemp("planted")
    before, os.environ[recorder.RECORD_DIR] = os.environ.get(recorder.RECORD_DIR), str(folder)
    account = fresh_account()
    try:
        with environment(workload=False, git=False) as on:
            operator = on.start("--log-level=debug", f"--otlp-endpoint={on.cloud.collector().url}", account=account)
            item = cluster("told", network=existing(*on.account(account).network()))
            on.apply(secret("given", password=PLANTED_SECRET), item)
            on.await_condition(item, "ControlPlaneReady")
            on.api.create(event(item, base64.b64encode(b"password=" + PLANTED_SECRET.encode()).decode()))
            until(lambda: account in operator.metrics(), 20, "a metric of the account")
            on.force_delete(item)
            until(lambda: on.api.find(*key_of(item)) is None, 20, "the deletion")
    finally:
        if before is None:
            del os.environ[recorder.RECORD_DIR]
        else:
            os.environ[recorder.RECORD_DIR] = before
    about = next(iter(leaks.clouds(folder).values()))
    assert PLANTED_SECRET in about["confidential"]
    yield leaks.find(folder, {account, PLANTED_SECRET})


def event(item: dict, note: str) -> dict:
    regarding = {key: item[key] for key in ("apiVersion", "kind")} | item["metadata"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "planted", "namespace": "default"},
        "eventTime": "2026-11-22T00:00:00.000000Z",
        "reportingController": "test",
        "reportingInstance": "test",
        "action": "Planted",
        "reason": "Planted",
        "type": "Normal",
        "regarding": regarding,
        "note": note,
    }


@pytest.mark.parametrize("place", ["log-", "metrics-", "traces-", "watch-EksCluster", "watch-Event", "objects-management"])
def test_planted_secret_is_found(planted, place):
    assert [leak for leak in planted if leak.place.startswith(place)]


SURROUNDINGS = ("{}", 'password: "{}"', "https://git:{}@host/x", "xx{}", "x{}yy")


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text,
        lambda text: json.dumps(text),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
        lambda text: text.encode().hex(),
        lambda text: str(list(text.encode())),
    ],
    ids=["plain", "json", "base64", "base64url", "hex", "bytes"],
)
def test_secret_is_recognized_in_every_encoding(encode, surrounding):
    line = encode(surrounding.format(PLANTED_SECRET))
    assert any(form in line for form in leaks.forms(PLANTED_SECRET)), line


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (secret("git", username="a-public-name", password="a-password"), {"a-password"}),
        (secret("ssh", identity="-----BEGIN X-----\nabcdefghijklmnopq\n-----END X-----\n", known_hosts="host ssh-ed25519 AAAA"), {"abcdefghijklmnopq"}),
        (secret("pull", use="registry", **{".dockerconfigjson": '{"auths": {"registry.example.com": {"password": "a-password"}}}'}), {"a-password"}),
        (secret("short", password="keelson"), set()),
    ],
    ids=["git", "ssh", "pull", "short"],
)
def test_only_confidential_values_of_a_secret_are_searched(item, words, monkeypatch):
    monkeypatch.setattr(confidential, "_known", set())
    confidential.add_secret(item)
    noted = {word for word in confidential.known() if not re.fullmatch("[A-Za-z0-9+/]+=*", word) or word in words}
    assert noted == words


@pytest.mark.parametrize(("variable", "expected"), [("AWS_SECRET_ACCESS_KEY", True), ("AWS_PROFILE", False), ("KEELSON_NOTIFY_SECRET_FILE", False)])
def test_variable_that_names_a_file_is_not_confidential(variable, expected, monkeypatch):
    monkeypatch.setattr(confidential, "_known", set())
    confidential.add_process([], {variable: "/a/long/value"})
    assert confidential.known() == ({"/a/long/value"} if expected else set())


@pytest.fixture(scope="module")
def clouds() -> dict[Path, dict]:
    found = leaks.clouds(Path(os.environ[recorder.RECORD_DIR]))
    if not found:
        pytest.skip("no other test has recorded anything: run all tests of the folder")
    return found


def test_every_test_file_with_a_cloud_has_recordings(clouds, request):
    """And they contain what the search needs: secrets of each kind, logs of each level."""
    ran = {item.path.name for item in request.session.items} | aws_calls.take_over()
    with_clouds = {path.name for path in HERE.glob("test_*.py") if re.search(r"\b(environment|\w*Cloud)\(", path.read_text())}
    if missing := with_clouds - ran:
        pytest.skip(f"needs the recordings of {', '.join(sorted(missing))}: run all tests of the folder")
    recorded_files = {about["test"].partition("::")[0] for about in clouds.values()}
    assert with_clouds - recorded_files == {Path(__file__).name}
    words = {word for about in clouds.values() for word in about["confidential"]}
    assert [kind for kind in KINDS if not any(word.startswith(kind) for word in words)] == []
    levels = {level.partition(",")[0] for about in clouds.values() for level in about["levels"]}
    assert {"info", "debug", "trace"} <= levels


def test_no_output_contains_a_secret_or_token(clouds):
    words = {word for about in clouds.values() for word in about["confidential"]}
    found = leaks.find(Path(os.environ[recorder.RECORD_DIR]), words)
    assert found == [], "\n".join(map(str, found[:20]))
