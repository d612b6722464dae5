"""The library, the VAEs, the settings and the queue in a real browser."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accessibility import find_violations
from made_runs import make_run
from safetensors import safe_open
from safetensors.numpy import save_file
from test_library_page import XSS, write_lora
from web_process import OpenPage, Served, start

from tetrad.builtin import MODEL_PATH
from tetrad.web.jobs import Queue

expect = pytest.importorskip("playwright.sync_api", reason="playwright, and with it chromium, is missing").expect
SLOW = 120_000  # ms; a child process has to load torch first


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page with a web UI's folder, a run, and three jobs that are held."""
    folder = tmp_path_factory.mktemp("site")
    write_lora(folder / "webui/models/Lora/fox.safetensors", "fox")
    write_lora(folder / f"webui/models/Lora/{XSS}.safetensors", XSS)
    (folder / "webui/models/Stable-diffusion").mkdir()
    shutil.copy(MODEL_PATH, folder / "webui/models/Stable-diffusion/emoji.safetensors")
    write_lora(make_run(folder / "runs", "zkr") / "zkr.safetensors", "zkr", 4)
    copy_vae(folder / "webui/models/VAE/soft.safetensors")
    queue = Queue(folder / "state/tetrad")
    for title in ("one", "two", XSS):
        queue.pause(queue.add("train", ["lora", "builtin:subject"], folder, title=title))
    served = start(folder, options=["--models-dir", str(folder / "webui")], is_warm=True)
    yield served
    served.end()


def copy_vae(path: Path) -> None:
    """The VAE of the built-in model as a file of its own."""
    prefix = "first_stage_model."
    path.parent.mkdir()
    with safe_open(MODEL_PATH, "np") as file:
        tensors = {name.removeprefix(prefix): file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}
        save_file(tensors, path, file.metadata())


def test_files_vaes_settings_and_jobs(open_page: OpenPage, site: Served) -> None:
    page = open_page("/library", at=site)
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(5, timeout=SLOW)
    page.get_by_role("searchbox").fill("fox")
    expect(rows).to_have_count(1)
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="Checkpoint 1").click()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="All 5").click()
    page.get_by_role("button", name="zkr.safetensors").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("AutoV3", timeout=SLOW)
    dialog.get_by_role("button", name="Delete its run").click()
    expect(page.get_by_role("dialog", name="Delete the run “zkr”?")).to_contain_text("1 trained file")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert (site.runs / "zkr/zkr.safetensors").exists()

    mount_and_compare_vaes(page, site)

    page.goto(f"{site.base}/queue")
    names = page.locator(".job .name")
    expect(names).to_have_text(["one", "two", XSS])
    page.get_by_role("button", name="Move one: arrow keys").press("ArrowDown")
    expect(names).to_have_text(["two", "one", XSS])
    page.locator(f"[data-job='{3}']").drag_to(page.locator(".job").first, target_position={"x": 100, "y": 4})
    expect(names).to_have_text([XSS, "two", "one"])
    page.get_by_role("button", name="Remove two from the queue").click()
    expect(names).to_have_text([XSS, "one"])

    page.goto(f"{site.base}/settings")
    page.get_by_role("button", name="Dark", exact=True).click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.wait_for_load_state()  # the page was shown anew
    page.get_by_role("button", name="Show the start address").click()
    expect(page.locator("#addresses")).to_contain_text("token=")


def mount_and_compare_vaes(page: Any, site: Served) -> None:
    """The model's own VAE is chosen, then a file, also to train; both are compared, and the rules count again."""
    page.goto(f"{site.base}/vae")
    row = page.locator("#models tr", has_text="emoji.safetensors")
    expect(row).to_contain_text("because no VAE file's name begins with", timeout=SLOW)
    row.get_by_role("combobox").select_option("None")
    expect(row.locator("td").nth(1)).to_contain_text("you chose it here", timeout=SLOW)
    row.get_by_role("combobox").select_option(label="soft.safetensors")
    expect(row.locator("td").nth(1)).to_contain_text("soft.safetensors", timeout=SLOW)
    expect(row.locator("td").nth(2)).not_to_contain_text("soft.safetensors")
    row.get_by_label("Train on its latents, too").check()
    expect(row.locator("td").nth(2)).to_contain_text("soft.safetensors", timeout=SLOW)
    page.get_by_label("Base model").select_option("emoji.safetensors")
    page.locator("#start-compare").click()
    expect(page.locator("#compared .measured")).to_have_count(2, timeout=SLOW)
    expect(page.locator("#compared img")).to_have_js_property("complete", True)
    page.reload()
    expect(row.get_by_role("combobox")).to_have_value(re.compile("[0-9a-f]{16}"), timeout=SLOW)
    row.get_by_role("combobox").select_option("Automatic")
    expect(row).to_contain_text("because no VAE file's name begins with", timeout=SLOW)


@pytest.mark.parametrize("lang,theme,width", [("en-US", "light", 1440), ("zh-CN", "dark", 390)])
def test_the_pages_fit_and_everybody_can_use_them(
    open_page: OpenPage, site: Served, lang: str, theme: str, width: int
) -> None:
    page = open_page("/library", width, lang, theme, site)
    for address, ready in (
        ("library", "tbody tr"),
        ("vae", "#compare-vaes input"),
        ("queue", ".job"),
        ("settings", "h2"),
    ):
        page.goto(f"{site.base}/{address}")
        expect(page.locator(ready).first).to_be_visible(timeout=SLOW)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
        assert not find_violations(page), address
