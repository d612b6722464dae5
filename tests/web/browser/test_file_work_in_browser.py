"""Work on files in a real browser: merge, check, convert, install and remove, and files that do not fit together."""

import io
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accessibility import find_violations
from PIL import Image
from test_library_page import write_lora, write_safetensors
from web_process import OpenPage, Served, start

expect = pytest.importorskip("playwright.sync_api", reason="playwright, and with it chromium, is missing").expect
SLOW = 120_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("files")
    for name in ("fox", "owl"):
        write_lora(folder / f"webui/models/Lora/{name}.safetensors", name)
    key = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    tensors = {f"{key}.lora_down.weight": (4, 2048), f"{key}.lora_up.weight": (640, 4), f"{key}.alpha": ()}
    metadata = {"ss_base_model_version": "sdxl_base_v1-0"}
    write_safetensors(folder / "webui/models/Lora/large.safetensors", tensors, metadata)
    (folder / "forge/modules_forge").mkdir(parents=True)
    served = start(folder, options=["--models-dir", str(folder / "webui")], is_warm=True)
    yield served
    served.end(signal.SIGKILL)


def choose(page: Any, *names: str) -> None:
    for name in names:
        page.get_by_label(f"Choose {name}.safetensors", exact=True).check(timeout=SLOW)


def draw_nothing(page: Any) -> None:
    """Images are there at once, so that no model is loaded."""
    content = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(content, "PNG")
    page.route("**/cells", lambda route: route.fulfill(json={"id": "0" * 32, "is_ready": True}))
    page.route("**/cells/**", lambda route: route.fulfill(body=content.getvalue(), content_type="image/png"))


def test_two_loras_are_merged_with_the_keyboard_and_shown_beside_each_other(open_page: OpenPage, site: Served) -> None:
    page = open_page("/library", at=site)
    draw_nothing(page)
    choose(page, "fox", "owl")
    page.get_by_role("link", name="Merge", exact=True).press("Enter")
    page.get_by_label("Weight of fox.safetensors").last.fill("0.8")
    page.get_by_label("Name", exact=True).fill("both")
    expect(page.locator("#preview")).to_contain_text(re.compile(r"files/both\.safetensors"), timeout=SLOW)
    expect(page.locator("#preview pre")).to_contain_text("fox.safetensors:0.8")
    assert not find_violations(page)
    page.locator("#go").press("Enter")
    expect(page.locator("#state")).to_contain_text("both.safetensors", timeout=SLOW)
    expect(page.locator("#columns h3")).to_have_text(["Base model alone", "fox", "owl", "both"], timeout=SLOW)
    expect(page.locator("#columns img")).to_have_count(4)
    page.get_by_role("button", name="Enlarge: both").press("Enter")
    expect(page.locator("#viewer h2")).to_have_text("both")
    page.keyboard.press("Escape")
    expect(page.locator(".verdict b")).to_have_text(["A1111, Forge, ComfyUI, diffusers, kohya"], timeout=SLOW)
    assert not find_violations(page)
    assert (site.runs / "files" / "both.safetensors").exists()
    page.get_by_role("button", name="Delete it …").click()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.get_by_role("button", name=re.compile("^Delete [0-9]")).click()
    page.wait_for_url("**/library")
    assert not (site.runs / "files" / "both.safetensors").exists()


def test_files_of_different_families_are_named_before_anything_is_written(open_page: OpenPage, site: Served) -> None:
    page = open_page("/library", 390, at=site)
    choose(page, "fox", "large")
    page.get_by_role("link", name="Merge", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="E5301")).to_contain_text("one family", timeout=SLOW)
    expect(page.locator("#go")).to_have_attribute("aria-disabled", "true")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_file_is_checked_compared_and_offered_other_formats(open_page: OpenPage, site: Served) -> None:
    page = open_page("/library", 390, "zh-CN", "dark", at=site)
    page.get_by_label("选择 fox.safetensors").check(timeout=SLOW)
    page.get_by_role("link", name="检查", exact=True).click()
    expect(page.locator(".verdict")).to_have_count(1, timeout=SLOW)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    query = page.url.partition("?")[2]
    page.goto(f"{site.base}/files/convert?{query}")
    page.get_by_label("格式").select_option("diffusers")
    expect(page.locator("#preview pre")).to_contain_text("--to diffusers", timeout=SLOW)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_files_are_installed_and_one_is_removed_after_a_question(open_page: OpenPage, site: Served) -> None:
    page = open_page("/library", at=site)
    choose(page, "fox", "owl")
    page.get_by_role("link", name="Copy to my WebUI").click()
    page.get_by_label("To", exact=True).select_option("", timeout=SLOW)
    page.get_by_label("Folder of the web UI").fill(str(site.folder / "forge"))
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#preview")).to_contain_text("forge/models/Lora/fox.safetensors", timeout=SLOW)
    assert min(page.locator("#preview dd").evaluate_all("values => values.map((each) => each.offsetWidth)")) > 100
    address = page.url
    page.locator("#go").click()
    expect(page.locator("#state")).to_contain_text("Installed into Forge", timeout=SLOW)
    installed = Path(site.folder) / "forge/models/Lora/fox.safetensors"
    assert installed.exists()
    page.goto(address)
    page.get_by_label("To", exact=True).select_option(label=f"Forge: {site.folder / 'forge'}")
    page.get_by_role("button", name="Remove fox.safetensors from the web UI").click()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.get_by_role("button", name=re.compile("^Remove [0-9]")).click()
    expect(page.locator("#receipts li")).to_have_count(1)
    assert not installed.exists()
