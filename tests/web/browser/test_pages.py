"""The pages in a real browser: they fit, can be used by everybody, and follow a run as it trains."""

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from accessibility import find_violations
from made_runs import add_event, add_step, bring_to_life, make_run
from web_process import OpenPage, Served, serving, start

expect = pytest.importorskip("playwright.sync_api", reason="playwright, and with it chromium, is missing").expect
LONG = "jade-style-from-scanned-postcards-summer-2026-second-try-with-a-name-that-goes-on-and-on"
PAGES = (
    "/",
    "/runs/zkr",
    "/runs/failed",
    f"/runs/{LONG}",
    f"/runs/{LONG}/pick",
    "/generate",
    "/compare",
    f"/compare?runs=zkr&runs=failed&runs={LONG}",
)


@pytest.fixture(scope="module", autouse=True)
def made(served: Served) -> None:
    """Runs in several states, one with a long name."""
    make_run(served.runs, "zkr", previews=tuple(range(0, 40, 10)))
    path = make_run(served.runs, LONG, step=100, point=0)
    (path / "zkr.safetensors").write_bytes(b"x" * 1_000_000)
    add_event(path, event="finished", path=f"{LONG}.safetensors", steps=100, seconds=724, complete=True)
    failed = make_run(served.runs, "failed")
    text = "runs/failed cannot be written to (No space left on device); free some space"
    (failed / "error.json").write_text(json.dumps({"code": "E4202", "text": text, "template": ""}))


@pytest.mark.parametrize(
    "lang,theme,width", [("en-US", "light", 1440), ("zh-CN", "dark", 390), ("zh-CN", "light", 800)]
)
def test_every_page_fits_and_everybody_can_use_it(open_page: OpenPage, lang: str, theme: str, width: int) -> None:
    """No sideways scrolling, one h1, and nothing that axe finds in WCAG 2 A and AA, such as contrast and names.

    The width between is only looked at for its layout.
    """
    page = open_page("/", width, lang, theme)
    page.route("**/cells", lambda route: route.fulfill(json={"id": "", "is_ready": False}))  # no image is generated
    for address in PAGES:
        page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2] + address)
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
        assert page.locator("h1").count() == 1
        if width == 800:
            continue
        assert not find_violations(page), address


def test_the_language_and_the_theme_are_switched_and_stay(open_page: OpenPage) -> None:
    page = open_page("/runs/zkr")
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", name="有没有变好？")).to_be_visible()
    page.get_by_role("button", name="切换浅色与深色").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html[lang=zh-CN][data-theme=dark]")).to_have_count(1)


def test_a_press_before_the_scripts_have_run_is_not_lost(open_page: OpenPage) -> None:
    page = open_page("/")
    page.route("**/static/home_new.js", lambda route: (time.sleep(1), route.continue_()))
    page.goto(page.url, wait_until="commit")
    with page.expect_file_chooser(timeout=5000):
        page.get_by_role("button", name="Choose images").first.click()


def test_a_run_is_followed_as_it_trains_and_is_killed(open_page: OpenPage, served: Served) -> None:
    path = make_run(served.runs, "live", previews=(0,))
    bring_to_life(path)
    page = open_page("/runs/live")
    expect(page.get_by_role("button", name="Pause")).to_be_enabled()
    expect(page.locator(".cell img")).to_have_count(3)
    for step in range(31, 36):
        add_step(path, step, 100, 0.4, time.time())
    add_event(path, event="note", text="something happened", template="", code="W6001")
    expect(page.locator("#progress")).to_contain_text("35 / 100")
    expect(page.locator("#events li").first).to_contain_text("Something happened.")
    expect(page.locator("#log")).to_contain_text("W6001 Something happened.")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".toast")).to_contain_text("It will pause after this step.")
    assert (path / "control" / "pause").exists()
    expect(page.locator("#pick")).not_to_have_class(re.compile("primary"))
    (path / "heartbeat").unlink()
    expect(page.locator("#state")).to_contain_text("interrupted", timeout=15_000)
    expect(page.locator("#pick")).to_have_class(re.compile("primary"))
    expect(page.get_by_role("alert").filter(has_text="Interrupted at step 35")).to_be_visible()
    expect(page.get_by_role("button", name="Resume from step 20")).to_be_enabled()


def test_the_previews_are_walked_with_the_arrow_keys_and_enlarged(open_page: OpenPage) -> None:
    page = open_page("/runs/zkr")
    page.locator(".cell").first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator(".cell:focus")).to_have_attribute("aria-label", "Step 0, prompt 3")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("Step 0")
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading")).to_have_text("Step 10")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_many_previews_load_few_thumbnails(open_page: OpenPage, served: Served) -> None:
    make_run(served.runs, "many", step=100, steps=7000, previews=tuple(range(0, 6700, 10)))  # 2,010 images
    page = open_page("/")
    loaded: list[str] = []
    page.on("request", lambda each: loaded.append(each.url) if "/thumbnail" in each.url else None)
    started = time.monotonic()
    page.goto(f"{served.base}/runs/many")
    expect(page.locator(".cell").first).to_be_visible()
    assert time.monotonic() - started < 5  # 1.5 s on a quiet machine: bench/web_load.py measures it
    page.get_by_role("button", name=re.compile("All 670")).click()
    page.get_by_role("button", name="Earlier steps").click()
    page.wait_for_timeout(500)
    assert 0 < len(loaded) <= 60


def test_deleting_asks_and_the_safe_answer_has_the_focus(open_page: OpenPage, served: Served) -> None:
    path = make_run(served.runs, "old")
    page = open_page("/")
    page.get_by_role("button", name="Delete old").click()
    dialog = page.get_by_role("dialog", name="Delete the run “old”?")
    expect(dialog).to_contain_text("6 previews")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert path.exists()
    page.get_by_role("button", name="Delete old").click()
    dialog.get_by_role("button", name=re.compile("^Delete .* kB$")).click()
    expect(page.locator("tr[data-key=run-old]")).to_have_count(0)
    assert not path.exists()


def test_the_list_is_filtered_as_one_types(open_page: OpenPage, served: Served) -> None:
    for number in range(6):
        make_run(served.runs, f"filler-{number}", step=1, previews=())
    page = open_page("/")
    page.get_by_role("searchbox", name="Find a run").fill("jade")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("searchbox").fill("no such run")
    expect(page.locator(".empty-state")).to_contain_text("No run has “no such run” in its name.")
    page.get_by_role("searchbox").fill("")
    expect(page.locator(f"tr[data-key='run-{LONG}']")).to_have_count(1)


def test_a_late_list_does_not_replace_the_filtered_one(open_page: OpenPage, served: Served) -> None:
    for number in range(6):
        make_run(served.runs, f"late-{number}", step=1, previews=())
    page = open_page("/")
    waiting: list[Any] = []
    page.route(re.compile(r"/parts/runs\?rows=20&search=$"), lambda route: waiting.append(route))
    make_run(served.runs, "one-more", step=1, previews=())  # the list changes: the page asks for it anew
    while not waiting:
        page.wait_for_timeout(100)
    page.get_by_role("searchbox").fill("jade")
    expect(page.locator("tbody tr")).to_have_count(1)
    for route in waiting:
        route.continue_()
    page.wait_for_timeout(1000)
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_lost_server_is_said_and_found_again_without_losing_an_event(open_page: OpenPage, tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        path = make_run(first.runs)
        bring_to_life(path)
        page = open_page("/runs/zkr", at=first)
        expect(page.get_by_role("button", name="Pause")).to_be_enabled()
        first.end(signal.SIGKILL)
        expect(page.get_by_role("alert").filter(has_text="Connection lost; training goes on.")).to_be_visible()
        expect(page.get_by_role("button", name="Pause")).to_be_disabled()
        add_event(path, event="note", text="while the server was gone", template="", code="")
        again = start(tmp_path, int(first.base.rpartition(":")[2]))
        try:
            expect(page.locator("#events")).to_contain_text("While the server was gone.", timeout=20_000)
            expect(page.locator("#connection")).to_be_hidden()
            assert page.locator("#events li").filter(has_text="While the server was gone.").count() == 1
            expect(page.get_by_role("button", name="Pause")).to_be_enabled()
        finally:
            again.end()


def test_the_first_page_is_small(open_page: OpenPage, served: Served) -> None:
    page = open_page("/")
    sizes: list[int] = []
    page.on("requestfinished", lambda each: sizes.append(measure(each)) if "/api/live" not in each.url else None)
    page.context.clear_cookies(name="none")
    page.goto(served.base)
    page.wait_for_timeout(500)
    assert 0 < sum(sizes) <= 350_000


def measure(request: Any) -> int:
    sizes = request.sizes()
    return int(sizes["responseBodySize"] + sizes["responseHeadersSize"])
