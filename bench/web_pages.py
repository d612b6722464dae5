"""How fast the pages are there, and what watching a training costs: `python -m bench.web_pages [home samples …]`."""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
from PIL import Image
from playwright.sync_api import sync_playwright

sys.path += [str(Path(__file__).parents[1] / "tests" / folder) for folder in (".", "web")]
from made_runs import make_run
from test_library_page import write_lora
from tiny import save_shallow_checkpoint
from web_process import Served, serving, start

SAMPLES, FILES, TABS = 2000, 1000, 10
PAIRS, BLOCK_STEPS = 12, 60


@contextmanager
def browsing(served: Served) -> Iterator[Any]:
    """A signed-in page of a browser; `page.seen` has the address and the bytes of each answer."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.set_default_timeout(120_000)
        page.goto(served.url)
        page.wait_for_url(f"{served.base}/")
        page.seen = []
        page.on("requestfinished", lambda each: page.seen.append((each.url, sum(map(each.sizes().get, SIZES)))))
        yield page
        browser.close()


SIZES = ("responseBodySize", "responseHeadersSize")


def measure_home(place: Path) -> None:
    """The bytes of the first page in a browser that has seen none, with 20 runs that have previews."""
    with serving(place) as served:
        for number in range(20):
            preview = make_run(served.runs, f"run-{number}") / "samples/step00000010-00.png"
            Image.effect_noise((96, 96), 80).convert("RGB").resize((512, 512)).save(preview)
        with browsing(served) as page:
            page.context.clear_cookies()
            page.goto(served.url)
            page.wait_for_url(f"{served.base}/")
            page.wait_for_timeout(3000)
            print(f"home: {len(page.seen)} answers, {sum(size for _url, size in page.seen) / 1e3:.0f} kB")


def measure_samples(place: Path) -> None:
    """A run with 2,000 previews: until its matrix is painted, and how many thumbnails are loaded then."""
    with serving(place) as served:
        path = make_run(served.runs, "many", step=1000, steps=1000, previews=())
        image = Image.effect_noise((512, 512), 80).convert("RGB")
        image.save(path / "first.png")
        for number in range(SAMPLES):
            os.link(path / "first.png", path / "samples" / f"step{2 * (number // 4):08d}-{number % 4:02d}.png")
        with browsing(served) as page:
            for visit in ("first", "second"):
                page.seen.clear()
                begin = time.perf_counter()
                page.goto(f"{served.base}/runs/many", wait_until="commit")
                page.locator("#matrix .cell").last.wait_for()
                seconds = time.perf_counter() - begin
                page.wait_for_timeout(3000)
                loaded = sum(url.endswith("/thumbnail") for url, _size in page.seen)
                print(f"{SAMPLES:,} previews, {visit} visit: painted after {seconds:.2f} s, {loaded} thumbnails loaded")


def measure_library(place: Path) -> None:
    """1,000 files with images: until rows are there and how many images then, and until all files were read; again."""
    Image.effect_noise((512, 512), 80).convert("RGB").save(place / "preview.png")
    for number in range(FILES):
        path = place / f"webui/models/Lora/{number // 50:02}/file {number:04}.safetensors"
        write_lora(path, f"word{number}", 4)
        os.link(place / "preview.png", path.with_suffix(".preview.png"))
    (place / "webui/models/Stable-diffusion").mkdir(parents=True)
    served = start(place, options=["--models-dir", str(place / "webui")])
    with browsing(served) as page:
        for visit in ("first", "second"):
            page.seen.clear()
            begin = time.perf_counter()
            page.goto(f"{served.base}/library", wait_until="commit")
            page.locator("tbody tr").first.wait_for()
            seconds = time.perf_counter() - begin
            page.wait_for_timeout(3000)
            loaded = sum("/preview" in url for url, _size in page.seen)
            page.get_by_role("button", name=f"LoRA {FILES:,}").wait_for()
            page.locator("tbody tr", has_text="Stable Diffusion 1").first.wait_for()
            print(
                f"{FILES:,} files, {visit} visit: listed after {seconds:.2f} s with {loaded} images, read after",
                end=" ",
            )
            print(f"read after {time.perf_counter() - begin:.1f} s")
    served.end()


def measure_tabs(place: Path) -> None:
    """CPU seconds of the training process for a step, in pairs of blocks of one run: with tabs that watch, and without.

    The model is tiny, so that a step takes little time and what watching costs would be a large share of it. Every
    second pair begins with the tabs, so that what drifts slowly counts for both.
    """
    with serving(place) as served:
        model = str(save_shallow_checkpoint(place / "tiny.safetensors"))
        command = [sys.executable, "-m", "tetrad", "train", "lora", "builtin:subject", "--model", model, "--json"]
        settings = ["--steps", "1000000", "--set", "sample.every=-1", "--set", "data.resolution=64"]
        where = ["--out", str(served.runs), "--name", "live"]
        process = subprocess.Popen([*command, *settings, *where], stdout=subprocess.DEVNULL)
        metrics = served.runs / "live/metrics.jsonl"
        while not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.5)
        pairs = []
        for number in range(PAIRS):
            costs = {}
            for tabs in (0, TABS) if number % 2 == 0 else (TABS, 0):
                with watching(served, tabs):
                    costs[tabs] = measure_block(psutil.Process(process.pid), metrics)
            pairs.append((costs[0], costs[TABS]))
            print(f"  {costs[0]:.4f} s alone, {costs[TABS]:.4f} s with {TABS} tabs", flush=True)
        process.kill()
    changes = [100 * (watched / alone - 1) for alone, watched in pairs]
    lower, middle, upper = statistics.quantiles(changes, n=4)
    error = statistics.stdev(changes) / PAIRS**0.5
    print(
        f"CPU seconds a step with {TABS} tabs, {PAIRS} pairs of {BLOCK_STEPS} steps: median {middle:+.1f} %,", end=" "
    )
    print(f"half of the pairs {lower:+.1f} to {upper:+.1f} %; mean {statistics.mean(changes):+.1f} ± {error:.1f} %")


def measure_block(process: psutil.Process, metrics: Path) -> float:
    """CPU seconds for a step, from the end of one step to that of a later one."""

    def count() -> int:
        return metrics.read_bytes().count(b"\n")

    def read_after(steps: int) -> float:
        while count() < steps:
            time.sleep(0.02)
        times = process.cpu_times()
        return times.user + times.system

    first = count() + 2  # what the tabs read at first is not counted as watching
    start = read_after(first)
    return (read_after(first + BLOCK_STEPS) - start) / BLOCK_STEPS


@contextmanager
def watching(served: Served, tabs: int) -> Iterator[None]:
    """So many tabs on the page of the run: each reads the page, then its stream."""
    is_over = threading.Event()

    def watch() -> None:
        with httpx2.Client(timeout=60) as client:
            client.get(served.url)
            client.get(f"{served.base}/runs/live")
            with client.stream("GET", f"{served.base}/api/live?run=live") as response:
                for _line in response.iter_lines():
                    if is_over.is_set():
                        return

    threads = [threading.Thread(target=watch) for _tab in range(tabs)]
    for thread in threads:
        thread.start()
    yield
    is_over.set()
    for thread in threads:
        thread.join()


def main() -> None:
    measures: dict[str, Callable[[Path], None]] = {
        "home": measure_home,
        "samples": measure_samples,
        "library": measure_library,
        "tabs": measure_tabs,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=measures, nargs="*", default=list(measures))
    for what in parser.parse_args().what:
        with tempfile.TemporaryDirectory() as place:
            measures[what](Path(place))


if __name__ == "__main__":
    main()
