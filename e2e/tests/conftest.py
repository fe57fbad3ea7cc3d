"""Orders the test files: those that read the recorded calls and output of all other tests run last. Keeps these records."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from fleet import aws_calls
from keelson_harness import recorder

LAST = ("test_iam_policy.py", "test_no_secrets_in_output.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LAST.index(item.path.name) if item.path.name in LAST else -1)


@pytest.fixture(scope="session", autouse=True)
def recording_folder(request: pytest.FixtureRequest) -> Iterator[None]:
    """The folder of the recordings when one process runs all tests; `run_all.py` sets one for all of its processes."""
    includes_secret_search = any(item.path.name == LAST[-1] for item in request.session.items)
    if recorder.RECORD_DIR in os.environ or not includes_secret_search:
        yield
        return
    os.environ[recorder.RECORD_DIR] = tempfile.mkdtemp(prefix="keelson-told-")
    try:
        yield
    finally:
        shutil.rmtree(os.environ.pop(recorder.RECORD_DIR), ignore_errors=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    aws_calls.keep({item.path.name for item in session.items})
