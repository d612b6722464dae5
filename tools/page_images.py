"""Make the images of the page in docs/: `python -m tools.page_images FOLDER` trains a LoRA in FOLDER and photographs
the pages with it, in a browser: the sheet of all pages, and the two of the README.

What is in FOLDER already is not made again, so that the command can be stopped, and goes on when it is given again.
`--all` photographs every page at both widths, in both languages and both themes, to look at; docs/ stays as it is.
"""

import argparse
import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from tetrad.builtin import resolve_images_path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "web"))
from web_process import Served, serving  # noqa: E402

SETTINGS = ("--set", "save.every=36")  # five files; the steps are those that the built-in model needs
WIDE, NARROW, GAP = (1440, 900), (390, 900), 12
COLUMNS, TILE = 3, 640  # wide pages in a row of the sheet, and their width there
PATIENCE = 600_000  # ms, for images on a slow CPU
# Whether all images that can be seen have come.
HAS_IMAGES = """() => [...document.images].every((each) => {
  const { top, bottom, width } = each.getBoundingClientRect();
  return !width || bottom < 0 || top > innerHeight || (each.complete && each.naturalWidth);
})"""
# Whether all cells that can be seen have their image; the others get theirs when they come into view.
HAS_CELLS = """() => [...document.querySelectorAll("#matrix .cell.wait")].every((each) => {
  const { top, bottom } = each.getBoundingClientRect();
  return bottom < 0 || top > innerHeight;
})"""
SHOWN = {"web-run": "run", "web-pick": "pick"}  # the images of the README


@dataclass(frozen=True)
class Look:
    """How a person sees the pages."""

    size: tuple[int, int]
    language: str
    theme: str

    @property
    def name(self) -> str:
        return f"{self.size[0]}-{self.language}-{self.theme}"


OF_SHEET = (Look(WIDE, "en-US", "light"), Look(NARROW, "zh-CN", "dark"))
ALL = tuple(itertools.starmap(Look, itertools.product((WIDE, NARROW), ("en-US", "zh-CN"), ("light", "dark"))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    train(folder)
    with serving(folder) as served, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium") or shutil.which("google-chrome"))
        for look in ALL if arguments.all else OF_SHEET:
            visit(browser, served, look)
        browser.close()
    if not arguments.all:
        wide, narrow = (list_images(folder / look.name) for look in OF_SHEET)
        for name, page in SHOWN.items():
            save(wide[page].resize((900, 562), Image.Resampling.LANCZOS), name)
        save(lay_out(list(wide.values()), list(narrow.values())), "web-pages")


def train(folder: Path) -> None:
    """The run that the pages show."""
    folder.mkdir(parents=True, exist_ok=True)
    run = folder / "runs/robot"
    if not (run / "robot.safetensors").exists():
        shutil.rmtree(run, ignore_errors=True)
        command = [sys.executable, "-m", "tetrad", "train", "lora", "builtin:subject", "--name", "robot", *SETTINGS]
        subprocess.run(command, cwd=folder, check=True)


def visit(browser: Any, served: Served, look: Look) -> None:
    """Photograph the pages that are missing in the folder of a look, as a person comes to them."""
    folder = served.folder / look.name
    folder.mkdir(exist_ok=True)
    size = {"width": look.size[0], "height": look.size[1]}
    context = browser.new_context(viewport=size, locale=look.language, color_scheme=look.theme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(served.url)
    page.wait_for_url(f"{served.base}/")
    for names, go in PAGES.items():
        if all(find(folder, name).exists() for name in names):
            continue
        for name in go(page, served):
            page.wait_for_function(HAS_IMAGES)
            page.wait_for_timeout(700)
            page.screenshot(path=find(folder, name))
            print(find(folder, name), flush=True)
    context.close()


def find(folder: Path, name: str) -> Path:
    """The file of a page; they are sorted as a person comes to them."""
    return folder / f"{[each for names in PAGES for each in names].index(name):02}-{name}.png"


def list_images(folder: Path) -> dict[str, Image.Image]:
    """The photographed pages by name."""
    return {path.stem.partition("-")[2]: Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))}


def go_home(page: Any, served: Served) -> Iterator[str]:
    page.goto(f"{served.base}/")
    page.locator("#checks li").first.wait_for()
    yield "home"


def prepare(page: Any, served: Served) -> Iterator[str]:
    """The four steps from images to a plan."""
    page.goto(f"{served.base}/")
    with page.expect_file_chooser() as chooser:
        page.locator("#home-images").click()
    chooser.value.set_files(sorted(resolve_images_path("builtin:subject").glob("*.png")))
    page.locator("#next[aria-disabled=false]").wait_for()
    page.locator("input[name=goal][value=object]").check()
    page.locator("#builtin-note").wait_for()  # the model is known, and the images are looked at once more
    page.wait_for_timeout(3000)
    yield "photos"
    for step, ready in (
        ("words", "#suggestions .chip"),
        ("how", ".method input:checked"),
        ("plan", "#plan:not([hidden])"),
    ):
        page.locator("#next").click()
        page.wait_for_url(f"**/{step}")
        page.locator(ready).first.wait_for()
        page.wait_for_function("() => !document.querySelector('#foot-text').textContent.endsWith('…')")
        yield step


def pick(page: Any, served: Served) -> Iterator[str]:
    page.goto(f"{served.base}/runs/robot/pick")
    page.locator("#pair img >> nth=1").wait_for()
    page.wait_for_function(HAS_CELLS)
    yield "pick"


def generate(page: Any, served: Served) -> Iterator[str]:
    page.goto(f"{served.base}/generate")
    page.locator("#prompt").fill("a zkr, on a white background <lora:robot:0.8>")
    page.wait_for_timeout(1500)
    if not page.locator("#history-tiles img").count():
        page.locator("#generate").click()
    page.locator("#history-tiles img >> nth=3").wait_for()
    yield "generate"


def show(name: str, address: str, ready: str) -> Callable[[Any, Served], Iterator[str]]:
    """A page that is complete when a certain element is there."""

    def go(page: Any, served: Served) -> Iterator[str]:
        page.goto(served.base + address)
        page.locator(ready).first.wait_for()
        yield name

    return go


PAGES: dict[tuple[str, ...], Callable[[Any, Served], Iterator[str]]] = {
    ("home",): go_home,
    ("photos", "words", "how", "plan"): prepare,
    ("run",): show("run", "/runs/robot", "#matrix img"),
    ("pick",): pick,
    ("compare",): show("compare", "/compare", "#train"),
    ("generate",): generate,
    ("library",): show("library", "/library", "tbody tr"),
    ("vae",): show("vae", "/vae", "#compare-vaes input"),
    ("settings",): show("settings", "/settings", "h2"),
}


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
    image.save(path, quality=75, method=6)
    print(f"{path}: {image.width} × {image.height}, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
