"""New training in a real browser: from files to a running training, captions, keyboard, and hostile names."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accessibility import find_violations
from made_photos import HOSTILE, make_image, make_photos
from PIL import Image
from web_process import OpenPage, Served

from tetrad.run.control import send_command
from tetrad.run.heartbeat import read_beat

expect = pytest.importorskip("playwright.sync_api", reason="playwright, and with it chromium, is missing").expect
SLOW = 180_000  # ms: the processes that look at images and plan load their libraries first
# What a person does, counted in the page itself.
COUNTER = """
addEventListener("click", (event) => { if (event.isTrusted && event.detail) count("clicks", event.target); }, true);
addEventListener("input", (event) => {
  if (event.isTrusted && event.target.type !== "file" && event.target.type !== "radio") count("fields", event.target);
}, true);
function count(name, target) {
  const found = JSON.parse(sessionStorage.getItem(name) ?? "[]");
  found.push(target.id || target.textContent.trim());
  sessionStorage.setItem(name, JSON.stringify(found));
}
"""


def choose(page: Any, button: str, files: list[Path]) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=button).click()
    chooser.value.set_files([str(path) for path in files])


def read(page: Any, name: str) -> list[str]:
    return list(json.loads(page.evaluate(f"sessionStorage.getItem('{name}') ?? '[]'")))


def make_draft(page: Any, tmp_path: Path, count: int = 3, prepare: Callable[[Path], None] = lambda folder: None) -> str:
    """A draft with so many images, at the first step."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(count):
        make_image(folder / f"{number}.png", number)
    prepare(folder)
    choose(page, "Choose images", sorted(folder.iterdir()))
    page.wait_for_url(re.compile("/new/.*/photos"))
    expect(page.locator("#next")).to_contain_text("Continue with", timeout=SLOW)
    return str(page.url).removesuffix("/photos")


def test_from_the_first_visit_to_a_running_training_in_few_clicks(
    open_page: OpenPage, served: Served, tmp_path: Path
) -> None:
    """24 files, 6 of them bad: at most 12 clicks, at most 2 typed fields, no setting."""
    page = open_page("/")
    page.context.add_init_script(COUNTER)
    page.context.clear_cookies()
    page.goto(served.url)  # as a person does, who has no cookie yet
    page.wait_for_url(f"{served.base}/")
    choose(page, "Choose images", make_photos(tmp_path / "photos"))
    expect(page.locator("#next")).to_have_text("Continue with 18 images", timeout=SLOW)
    expect(page.locator(".tile.is-unused")).to_have_count(5)
    expect(page.get_by_role("heading", name="5 images are not used")).to_be_visible()
    expect(page.get_by_role("heading", name="1 file was not added")).to_be_visible()
    doubtful = page.locator(".tile.is-look").count()
    expect(page.locator("#foot-text")).to_have_text(
        f"18 can be used · {doubtful} of them worth a look (optional) · 5 not used"
    )
    expect(page.locator("#filters")).to_contain_text(f"Needs a look {doubtful}")
    page.get_by_text("An object").click()
    page.locator("#next").click()
    expect(page.locator("#word")).not_to_have_value("", timeout=SLOW)
    page.locator("#next").click()
    expect(page.locator(".method input:checked")).to_have_count(1, timeout=SLOW)
    page.locator("#next").click()
    page.locator("[data-start]:visible").first.wait_for(timeout=SLOW)
    plan = page.url
    page.locator("[data-start]:visible").first.click(timeout=SLOW)
    page.wait_for_url(re.compile("/runs/"), timeout=SLOW)
    run = served.runs / page.url.rpartition("/")[2]
    try:
        expect(page.locator("#state")).to_contain_text("running", timeout=SLOW)
        clicks, fields = read(page, "clicks"), read(page, "fields")
        assert 0 < len(clicks) <= 12 and len(set(fields)) <= 2, (clicks, fields)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.goto(served.base)
        expect(page.locator("#drafts")).to_have_count(0)
    finally:
        end(run)
    page.goto(plan)
    expect(page.locator("#start-help")).to_contain_text("This starts a new run", timeout=SLOW)


def end(run: Path) -> None:
    """Stop the run, which would go on without the server."""
    send_command(run, "stop")
    deadline = time.monotonic() + 120
    while (beat := read_beat(run)) and beat.is_alive() and time.monotonic() < deadline:
        time.sleep(0.2)


def test_a_draft_is_the_same_in_every_tab_and_after_a_reload(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("/")
    draft = make_draft(page, tmp_path)
    page.get_by_text("A pet").click()
    page.goto(f"{draft}/words")
    page.locator("#word").fill("hrld")
    with page.expect_response(lambda each: each.request.method == "PATCH" and "dog" in each.request.post_data):
        page.get_by_label("What kind of thing is it?").fill("dog")
    page.reload()
    expect(page.locator("#word")).to_have_value("hrld")
    second = page.context.new_page()
    second.goto(f"{draft}/photos")
    expect(second.locator("input[name=goal]:checked")).to_have_value("pet")
    expect(second.locator(".tile")).to_have_count(3, timeout=SLOW)
    second.goto(draft.split("/new/")[0])
    second.get_by_role("button", name="Delete hrld").click()
    expect(second.get_by_role("dialog")).to_contain_text("the copies of 3 files")
    second.get_by_role("button", name="Delete it").click()
    expect(second.locator("#drafts")).to_have_count(0)


def test_captions_are_edited_and_hostile_text_stays_text(open_page: OpenPage, tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        make_image(folder / f"{HOSTILE.replace('/', '')}.png", 7)
        for path in folder.glob("*.png"):
            path.with_suffix(".txt").write_text(f"red eyes, {path.stem[:1]} background, {HOSTILE}")

    page = open_page("/")
    draft = make_draft(page, tmp_path, prepare=prepare)
    page.goto(f"{draft}/words")
    expect(page.locator(".cap")).to_have_count(4, timeout=SLOW)
    first = page.locator(".cap textarea").first
    page.get_by_role("button", name="Leave them out").click()
    expect(first).not_to_have_value(re.compile("red eyes"))
    page.locator("h1").click()
    page.keyboard.press("Control+z")
    expect(first).to_have_value(re.compile("^red eyes"))
    first.fill("something else")
    expect(page.locator("#undo")).to_be_enabled()
    page.locator("#find-text").fill("red eyes")
    page.locator("#find-with").fill("blue eyes")
    page.get_by_role("button", name="Replace in 3").click()
    expect(page.locator("#tags")).to_contain_text("blue eyes 3")
    page.locator("#find-text").fill("")
    page.reload()
    expect(page.locator(".cap textarea").first).to_have_value("something else", timeout=SLOW)
    page.locator("#word").fill(HOSTILE)
    expect(page.locator("#word-help")).to_contain_text("special meaning in prompts", timeout=SLOW)
    page.wait_for_timeout(600)
    for address in ("", f"/new/{draft.rpartition('/')[2]}/photos", f"/new/{draft.rpartition('/')[2]}/words"):
        page.goto(draft.split("/new/")[0] + address)
        page.wait_for_timeout(1500)
        assert page.locator("img[src=x]").count() == 0


def test_an_image_is_rotated_and_the_rotation_is_undone(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("/")
    make_draft(page, tmp_path, count=1, prepare=lambda folder: make_wide(folder / "0.png"))
    page.locator(".tile").click()
    size = page.locator("#inspector .num")
    expect(size).to_have_text("96 × 64")
    rotate = page.get_by_role("button", name="Rotate to the right")
    rotate.press("Enter")
    expect(size).to_have_text("64 × 96", timeout=SLOW)
    expect(rotate).to_be_focused()
    page.get_by_role("button", name="Mask").click()
    page.get_by_role("button", name="Rotate to the left").click()
    expect(size).to_have_text("96 × 64", timeout=SLOW)
    page.get_by_role("button", name="Undo crop and rotation").click()
    expect(page.get_by_role("button", name="Undo crop and rotation")).to_have_count(0, timeout=SLOW)


def make_wide(path: Path) -> None:
    with Image.open(path) as image:
        image.resize((96, 64)).save(path)


def test_every_step_can_be_used_with_the_keyboard_and_by_everybody(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("/")
    draft = make_draft(page, tmp_path)
    more = tmp_path / "7_more"
    more.mkdir()
    make_image(more / "3.png", 3)
    page.locator("#further-details summary").press("Enter")
    page.locator("#further-path").fill(str(more))
    page.locator("#further-path").press("Enter")
    expect(page.get_by_label("Repeats")).to_have_attribute("placeholder", "7")
    page.get_by_label("Repeats").fill("2")
    with page.expect_response(lambda each: each.request.method == "PATCH" and each.json()[0]["repeats"] == 2):
        page.get_by_label("Repeats").press("Enter")
    expect(page.locator("#next")).to_contain_text("4 images")
    page.locator(".tile").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#inspector h2")).to_have_text("1.png")
    page.locator(".frame").focus()
    before = page.locator(".frame").get_attribute("style")
    page.keyboard.press("-")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".frame").get_attribute("style") != before
    page.get_by_role("button", name="Crop to the frame").press("Enter")
    expect(page.get_by_role("button", name="Undo crop and rotation")).to_be_visible(timeout=SLOW)
    page.locator("#next").press("Enter")
    page.wait_for_url(f"{draft}/words")
    ready = {"words": "#suggestions .chip", "how": ".method input", "plan": "#plan:not([hidden])"}
    steps = {390: ("photos", "words", "how", "plan"), 1440: ("photos", "how")}
    for lang, width in (("en-US", 1440), ("zh-CN", 390)):
        tab = open_page("/", width, lang, "dark" if width == 390 else "light")
        for step in steps[width]:
            tab.goto(f"{draft}/{step}")
            tab.locator(ready.get(step, ".tile")).first.wait_for(timeout=SLOW)
            if step == "how":
                assert tab.locator(".sum > span:visible").all_inner_texts() == ["×", "×", "÷", "="]
                tab.locator("#advanced > summary").click()
                tab.locator("#find-setting").fill("network_dim")
                expect(tab.locator(".setting:visible b")).to_have_text("method.rank")
            tab.wait_for_timeout(300)
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), step
            assert tab.locator("h1").count() == 1
            assert not find_violations(tab), (step, width)


def test_another_trainers_configuration_becomes_a_training(open_page: OpenPage, tmp_path: Path) -> None:
    """Chosen on the first page, read key by key, and gone on with where it says nothing of the images."""
    path = tmp_path / "run.toml"
    path.write_text(
        'pretrained_model_name_or_path = "/none.safetensors"\nnetwork_module = "networks.lora"\nnetwork_dim = 8\n'
        f'output_name = "dog"\nsample_sampler = "k_dpm_2"\nmax_train_steps = 20\nlog_prefix = {json.dumps(HOSTILE)}\n'
    )
    page = open_page("/", 390)
    choose(page, "Open a recipe or another trainer", [path])
    page.wait_for_url(re.compile("/imports/"), timeout=SLOW)
    expect(page.get_by_role("heading", name="run.toml")).to_be_visible()
    expect(page.get_by_text("method.rank = 8")).to_be_visible()
    expect(page.get_by_text("pretrained_model_name_or_path = /none.safetensors")).to_be_visible()
    page.get_by_role("link", name="No meaning here").press("Enter")
    expect(page.get_by_text("log_prefix")).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Continue with these settings").click()
    page.wait_for_url(re.compile("/new/.*/photos"), timeout=SLOW)
    expect(page.locator("#next")).to_have_text("Add at least one image", timeout=SLOW)


def test_a_step_is_left_although_the_server_does_not_answer(open_page: OpenPage, tmp_path: Path) -> None:
    """The answer is waited for at most two seconds; what was chosen is still sent."""
    page = open_page("/")
    draft = make_draft(page, tmp_path)
    page.route("**/api/drafts/*", lambda route: None)  # no answer ever
    page.get_by_text("A style").click()
    page.locator("#next").click()
    page.wait_for_url(f"{draft}/words", timeout=5_000)
