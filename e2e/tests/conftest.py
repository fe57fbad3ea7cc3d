"""The order of the files: what reads the calls of all tests comes last; and what they called is kept for it."""

import pytest

from fleet import called

LAST = "test_iam_policy.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == LAST)


def pytest_sessionfinish(session: pytest.Session) -> None:
    called.keep({item.path.name for item in session.items})
