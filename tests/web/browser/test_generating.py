"""Generate and Pick best in a real browser, with the built-in model."""

import re
from pathlib import Path

import pytest
from accessibility import find_violations
from made_runs import add_event, bring_to_life, make_run
from web_process import OpenPage, Served

expect = pytest.importorskip("playwright.sync_api", reason="playwright, and with it chromium, is missing").expect
XSS = "<img src=x onerror=alert(1)>"


def test_a_prompt_becomes_an_image_that_stays_until_it_is_deleted(open_page: OpenPage, served: Served) -> None:
    page = open_page("/generate")
    page.get_by_label("Prompt", exact=True).fill(f"a cat {XSS}, <lora:none:0.5>")
    expect(page.locator(".chip.missing")).to_contain_text("none", timeout=60_000)
    page.get_by_role("button", name="Remove it from the prompt").click()
    page.get_by_label("Number of images").fill("1")
    page.get_by_label("Sampling steps").fill("2")
    page.get_by_label("Seed", exact=True).fill("5")
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    expect(page.locator("#stage figcaption")).to_contain_text("seed 5 · 128 × 128 · DPM++ 2M · 2", timeout=90_000)
    page.reload()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(f"a cat {XSS},")
    expect(page.locator("#history-tiles img")).to_have_count(1)
    (image,) = (served.folder / "state/tetrad/generated").glob("*.png")
    page.get_by_label("Prompt", exact=True).fill("something else")
    page.locator("#file").set_input_files(image)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(f"a cat {XSS},")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("5")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("something else")
    page.get_by_role("button", name="Start from it").click()
    page.locator("#start").get_by_role("button", name="Paint a mask").click()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Use this mask").click()
    expect(page.locator("#mask-image")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.get_by_role("button", name="Delete the image").click()
    expect(page.locator("#history")).to_be_hidden()


def test_the_best_save_is_found_with_the_keyboard_and_copied(open_page: OpenPage, served: Served) -> None:
    path = make_run(served.runs, "picked")
    plan = (
        (path / "plan.toml")
        .read_text()
        .replace("[train]", '[text]\nclip_skip = 1\n[save]\nformat = "kohya"\n[train]\nseed = 3')
    )
    (path / "plan.toml").write_text(plan.replace("models/sd15.safetensors", "builtin").replace("a blue zkr", XSS))
    for step in (10, 20):
        (path / f"zkr-step{step:08d}.safetensors").write_bytes(b"x" * 2_000)
        add_event(path, event="saved", step=step, path=f"zkr-step{step:08d}.safetensors")
    page = open_page("/runs/picked")
    page.route("**/cells", lambda route: route.fulfill(json={"id": "0" * 32, "is_ready": True}))
    page.route("**/cells/*", lambda route: route.fulfill(path=path / "samples" / "step00000000-00.png"))
    page.route("**/thumbnail", lambda route: route.fulfill(path=path / "samples" / "step00000000-00.png"))
    page.get_by_role("link", name="Pick best").click()
    expect(page.get_by_role("status").filter(has_text="6 of 6 images")).to_be_visible()
    page.get_by_role("button", name="Step 20 at 0.7", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("s")
    assert not find_violations(page)
    expect(page.get_by_role("button", name="Step 10 at 0.7, starred")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#viewer h2")).to_have_text("Step 10 at 0.7")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Export").click()
    expect(page.get_by_label("Name in prompts")).to_have_value("picked")
    page.get_by_label("Name in prompts").fill("best")
    expect(page.get_by_role("dialog")).to_contain_text(re.compile(r"exports/best\.safetensors"))
    page.get_by_role("button", name="Export 2.0 kB").click()
    expect(page.locator(".toast")).to_contain_text("best.safetensors is in")
    assert (Path(served.folder) / "exports" / "best.safetensors").exists()
    page.reload()
    expect(page.locator(".stars li")).to_have_count(1)


def test_while_a_training_uses_the_device_pick_best_says_so_and_waits(open_page: OpenPage, served: Served) -> None:
    for name in ("waiting", "training"):
        path = make_run(served.runs, name)
    (served.runs / "waiting" / "zkr-step00000010.safetensors").write_bytes(b"x" * 2_000)
    add_event(served.runs / "waiting", event="saved", step=10, path="zkr-step00000010.safetensors")
    bring_to_life(path)
    page = open_page("/", 390)
    asked = []
    page.on("request", lambda each: asked.append(each.post_data_json) if each.url.endswith("/cells") else None)
    page.goto(f"{served.base}/runs/waiting/pick")
    expect(page.get_by_text("training is training on this device.")).to_be_in_viewport()
    expect(page.locator("#pair .cell").first).to_have_text("waiting for the training")
    assert asked and not any(each.get("draws", True) for each in asked)
    page.route("**/cells", lambda route: route.fulfill(json={"id": "0" * 32, "is_ready": True}))
    page.route("**/cells/*", lambda route: route.fulfill(path=path / "samples" / "step00000000-00.png"))
    page.route("**/thumbnail", lambda route: route.fulfill(path=path / "samples" / "step00000000-00.png"))
    (path / "heartbeat").unlink()
    expect(page.get_by_role("status").filter(has_text="3 of 3 images")).to_be_visible(timeout=15_000)
    expect(page.locator("#problem")).to_be_hidden()
