"""The order of the tests: those that take minutes begin first, so that they do not end alone."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.name.startswith("test_demo"))
