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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from web_process import Served, serving, start

SAMPLES, FILES, TABS = 2000, 1000, 10
MIN_PAIRS, PAIRS, BLOCK_STEPS, MAX_SECONDS = 4, 40, 8, 200


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
            page.get_by_role("button", name=f"LoRA {FILES:,}").wait_for()
            page.locator("tbody tr", has_text="Stable Diffusion 1").first.wait_for()
            read = time.perf_counter() - begin
            page.wait_for_timeout(3000)
            loaded = sum("/preview" in url for url, _size in page.seen)
            print(f"{FILES:,} files, {visit} visit: listed after {seconds:.2f} s, read after {read:.1f} s", end=", ")
            print(f"{loaded} images loaded")
    served.end()


def measure_tabs(place: Path) -> None:
    """CPU seconds of the training process for a step, in pairs of blocks of one run: with tabs that watch, and without.

    It is the training of the demo, whose steps are the shortest that anybody waits for. Every second pair begins with
    the tabs, so that what drifts slowly counts for both. It ends after MAX_SECONDS. The CPU time of the server while
    the tabs watch is printed too: it hardly depends on what else runs on the machine.
    """
    with serving(place) as served, training(served) as trained, ThreadPoolExecutor(TABS) as pool:
        tabs = [Tab(served) for _tab in range(TABS)]
        pairs, end, server = [], time.monotonic() + MAX_SECONDS, psutil.Process(served.process.pid)
        busy = watched = 0.0
        while len(pairs) < PAIRS and (len(pairs) < MIN_PAIRS or time.monotonic() < end):
            costs = {}
            for is_watched in (False, True) if len(pairs) % 2 == 0 else (True, False):
                started, before = time.monotonic(), sum(server.cpu_times()[:2])
                with watching(pool, tabs if is_watched else []):
                    costs[is_watched] = trained.measure_block()
                if is_watched:
                    busy, watched = busy + sum(server.cpu_times()[:2]) - before, watched + time.monotonic() - started
            pairs.append((costs[False], costs[True]))
        received = sum(tab.received for tab in tabs)
    changes = [100 * (with_tabs / alone - 1) for alone, with_tabs in pairs]
    lower, middle, upper = statistics.quantiles(changes, n=4)
    alone = statistics.median(alone for alone, _with_tabs in pairs)
    print(
        f"{len(pairs)} pairs of {BLOCK_STEPS} steps of {alone * 1e3:.0f} CPU ms: with {TABS} tabs, which got", end=" "
    )
    print(f"{received / 1e3:.0f} kB, {middle:+.1f} %, half of the pairs {lower:+.1f} to {upper:+.1f} %")
    print(f"the server was busy for {100 * busy / watched:.1f} % of the time that they watched")


class Training:
    """A process that trains, with the CPU time that it takes from the end of one step to that of a later one."""

    def __init__(self, pid: int, metrics: Path) -> None:
        self.tasks = Path(f"/proc/{pid}/task")
        self.metrics = metrics.open("rb")

    def wait(self, steps: int) -> tuple[int, float]:
        """Wait for so many steps; how many were done, and the CPU seconds of all threads until then."""
        done = 0
        while done < steps:
            time.sleep(0.005)
            done += self.metrics.read().count(b"\n")
        # psutil's times have only two digits.
        return done, sum(int((each / "schedstat").read_text().split()[0]) for each in self.tasks.iterdir()) / 1e9

    def measure_block(self) -> float:
        """CPU seconds for a step."""
        self.metrics.seek(0, os.SEEK_END)
        _done, start = self.wait(2)  # what the tabs read at first is not counted as watching
        done, end = self.wait(BLOCK_STEPS)
        return (end - start) / done


@contextmanager
def training(served: Served) -> Iterator[Training]:
    """A run of the built-in model that does not end by itself, once it trains."""
    command = [sys.executable, "-m", "tetrad", "train", "lora", "builtin:subject", "--model", "builtin", "--json"]
    settings = ["--steps", "1000000", "--batch-size", "4", "--set", "sample.every=-1"]
    where = ["--out", str(served.runs), "--name", "live"]
    process = subprocess.Popen([*command, *settings, *where], stdout=subprocess.DEVNULL)
    metrics = served.runs / "live/metrics.jsonl"
    try:
        while not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.2)
        yield Training(process.pid, metrics)
    finally:
        process.kill()


class Tab:
    """A tab on the page of the run: it has read the page, and follows its stream for as long as it is told to."""

    def __init__(self, served: Served) -> None:
        self.client = httpx2.Client(timeout=60, base_url=served.base)
        self.client.get(served.url)
        self.client.get("/runs/live")
        self.received = 0

    def watch(self, is_over: threading.Event) -> None:
        with self.client.stream("GET", "/api/live?run=live") as response:
            for piece in response.iter_bytes():
                self.received += len(piece)
                if is_over.is_set():
                    return


@contextmanager
def watching(pool: ThreadPoolExecutor, tabs: Sequence[Tab]) -> Iterator[None]:
    """These tabs follow the run."""
    is_over = threading.Event()
    futures = [pool.submit(tab.watch, is_over) for tab in tabs]
    yield
    is_over.set()
    for future in futures:
        future.result()


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
