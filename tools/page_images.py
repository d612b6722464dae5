"""Make the images of the page in docs/: `python -m tools.page_images FOLDER` trains a LoRA in FOLDER, once, and
photographs the pages of the page with it, in a browser: the sheet of all pages, and the two of the README.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from tetrad.builtin import resolve_images_path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "web"))
from web_process import Served, serving  # noqa: E402

SETTINGS = ("--steps", "80", "--set", "sample.every=20", "--set", "save.every=16")
WIDE, NARROW, GAP = (1440, 900), (390, 900), 12
COLUMNS, TILE = 3, 640  # wide pages in a row of the sheet, and their width there
PATIENCE = 600_000  # ms, for images on a slow CPU
SHOWN = {"web-run": "run", "web-pick": "pick"}  # the images of the README


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "runs/robot/robot.safetensors").exists():
        command = [sys.executable, "-m", "tetrad", "train", "lora", "builtin:subject", "--name", "robot", *SETTINGS]
        subprocess.run(command, cwd=folder, check=True)
    with serving(folder) as served, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium") or shutil.which("google-chrome"))
        wide = dict(visit(browser, served, WIDE, "en-US", "light"))
        narrow = dict(visit(browser, served, NARROW, "zh-CN", "dark"))
        browser.close()
    for name, page in SHOWN.items():
        save(wide[page].resize((900, 562), Image.Resampling.LANCZOS), name)
    save(lay_out(list(wide.values()), list(narrow.values())), "web-pages")


def visit(
    browser: Any, served: Served, size: tuple[int, int], language: str, theme: str
) -> Iterator[tuple[str, Image.Image]]:
    """The pages by name, as a person comes to them."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, locale=language, color_scheme=theme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)

    def photograph(name: str) -> tuple[str, Image.Image]:
        page.wait_for_timeout(700)
        return name, Image.open(BytesIO(page.screenshot())).convert("RGB")

    page.goto(served.url)
    page.wait_for_url(f"{served.base}/")
    yield photograph("home")
    with page.expect_file_chooser() as chooser:
        page.locator("#home-images").click()
    chooser.value.set_files(sorted(resolve_images_path("builtin:subject").glob("*.png")))
    page.locator("#next[aria-disabled=false]").wait_for()
    page.locator("input[name=goal][value=object]").check()
    yield photograph("photos")
    for step, ready in (
        ("words", "#suggestions .chip"),
        ("how", ".method input:checked"),
        ("plan", "#plan:not([hidden])"),
    ):
        page.locator("#next").click()
        page.wait_for_url(f"**/{step}")
        page.locator(ready).first.wait_for()
        yield photograph(step)
    for name, address, ready in (
        ("run", "/runs/robot", "#matrix img"),
        ("pick", "/runs/robot/pick", "#pair img >> nth=1"),
        ("compare", "/compare", "#train"),
    ):
        page.goto(served.base + address)
        page.locator(ready).first.wait_for()
        if name == "pick":
            while page.locator("#matrix .cell.wait").count():
                page.wait_for_timeout(500)
        yield photograph(name)
    generate(page, served)
    yield photograph("generate")
    for name, ready in (("library", "tbody tr"), ("vae", "#compare-vaes input"), ("settings", "h2")):
        page.goto(f"{served.base}/{name}")
        page.locator(ready).first.wait_for()
        yield photograph(name)
    context.close()


def generate(page: Any, served: Served) -> None:
    page.goto(f"{served.base}/generate")
    page.locator("#prompt").fill("a zkr, on a white background <lora:robot:0.8>")
    page.locator("#generate").click()
    page.locator("#history-tiles img >> nth=3").wait_for()


def lay_out(wide: list[Image.Image], narrow: list[Image.Image]) -> Image.Image:
    """The wide pages in rows, and below them the narrow ones side by side."""
    width = COLUMNS * TILE + (COLUMNS + 1) * GAP
    height = TILE * WIDE[1] // WIDE[0]
    small = (width - GAP) // len(narrow) - GAP
    below = small * NARROW[1] // NARROW[0]
    rows = -(-len(wide) // COLUMNS)
    sheet = Image.new("RGB", (width, rows * (height + GAP) + below + 2 * GAP), "#8a8f98")
    for number, image in enumerate(wide):
        row, column = divmod(number, COLUMNS)
        sheet.paste(shrink(image, (TILE, height)), (GAP + column * (TILE + GAP), GAP + row * (height + GAP)))
    for number, image in enumerate(narrow):
        sheet.paste(shrink(image, (small, below)), (GAP + number * (small + GAP), GAP + rows * (height + GAP)))
    return sheet


def shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.LANCZOS)


def save(image: Image.Image, name: str) -> None:
    path = ROOT / "docs" / f"{name}.webp"
    image.save(path, quality=80, method=6)
    print(f"{path}: {image.width} × {image.height}, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
