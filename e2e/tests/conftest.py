"""The order of the files: what reads the calls of all tests comes last."""

import pytest

LAST = "test_iam_policy.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == LAST)
