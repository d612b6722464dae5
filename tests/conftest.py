"""Marks the journeys and runs them last, the ones that take minutes first; sets the language of all tests; hides image
plugins; and says at the end which tests were left out for want of a browser."""

import gc
import os
from collections.abc import Iterator

import pytest

from tetrad.images import decoders

os.environ["TETRAD_LANG"] = "en"


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "journeys":
            item.add_marker("journey")
    items.sort(
        key=lambda item: (item.get_closest_marker("journey") is not None, not item.path.name.startswith("test_demo"))
    )


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of garbage collections, which take a tenth of a short training otherwise."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A test that needs a browser is never left out silently, also where -q hides the reasons."""
    skipped = [each for each in terminalreporter.stats.get("skipped", []) if "chromium" in str(each.longrepr)]
    if skipped:
        reason = "chromium is not installed; scripts/browser installs it"
        terminalreporter.write_line(f"{len(skipped)} browser tests of the web page were SKIPPED: {reason}", yellow=True)


@pytest.fixture
def without_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither pillow-heif nor pillow-jxl-plugin is installed."""
    monkeypatch.setattr(decoders, "_PLUGINS", ())
    decoders.list_formats.cache_clear()
    yield
    decoders.list_formats.cache_clear()
