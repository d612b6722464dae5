"""One chromium and one server for all browser tests; each test gets a page of its own that must stay clean."""

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from web_process import OpenPage, Served, serving

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, PROGRAMS)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's chromium, driven by Playwright, which downloads nothing."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("web"), is_warm=True) as served:
        yield served


@pytest.fixture
def open_page(browser: Any, served: Served) -> Iterator[OpenPage]:
    """`open_page("/runs/zkr", width=390, lang="zh-CN", theme="dark")`: a signed-in page in a window of its own.

    At the end no page may have asked another computer for anything, broken the content security policy, or failed.
    """
    contexts, complaints = [], []

    def open_it(
        address: str = "/", width: int = 1440, lang: str = "en-US", theme: str = "light", at: Served = served
    ) -> Any:
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, locale=lang, color_scheme=theme, reduced_motion="reduce")
        contexts.append(context)
        context.request.get(at.url)  # signs in as the start page does, which one test opens
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        page.on("request", lambda each: complaints.append(each.url) if not is_own(each.url, at) else None)
        page.goto(at.base + address)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not complaints


def is_own(url: str, served: Served) -> bool:
    return url.startswith((served.base + "/", "data:", "blob:"))


def is_complaint(message: Any) -> bool:
    """Warnings and errors of the browser, except that the server was stopped by a test, or refused to do something."""
    return message.type in ("error", "warning") and not re.search(
        r"ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY|ERR_SOCKET|status of 409", message.text
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests come last: Playwright keeps an event loop in this thread, in which `asyncio.run` is refused."""
    # The longest file first, so that no process is left alone with it at the end.
    items.sort(key=lambda item: ("browser" in item.path.parts, item.path.name != "test_new_training_pages.py"))
