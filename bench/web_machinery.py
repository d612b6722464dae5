"""What the machinery of the web page costs: `python -m bench.web_machinery queue|thumbnails|drawing`."""

import argparse
import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from PIL import Image

from tetrad.web.data_sets import DataSets
from tetrad.web.drawing import Drawing
from tetrad.web.image_list import ImageList, ImageRow
from tetrad.web.jobs import Queue
from tetrad.web.resident import Resident
from tetrad.web.thumbnails import Thumbnails

SERVER = """
import sys, time
from pathlib import Path
from tetrad.web.jobs import Queue, Supervisor
Supervisor(Queue(Path(sys.argv[1])), look_seconds=0.2).start()
time.sleep(3600)
"""
MIB = 1 << 20


def measure_queue(place: Path, jobs: int = 20, kills: int = 5) -> None:
    """Jobs that list runs, while the server is killed and started again."""
    queue = Queue(place)
    numbers = [queue.add("runs", ["--out", str(place)], place, "cpu") for _ in range(jobs)]
    start = time.monotonic()
    for kill in range(kills + 1):
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(place)])
        wanted = jobs if kill == kills else (kill + 1) * jobs // (kills + 1)
        while sum(job.state == "finished" for job in queue.list()) < wanted:
            time.sleep(0.05)
        server.send_signal(signal.SIGKILL)
        server.wait()
    found = queue.list()
    order = [job.id for job in sorted(found, key=lambda job: job.process.time if job.process else 0.0)]
    once = all(job.log.read_text().count("has no runs") == 1 for job in found)
    overlaps = sum(bool(a.exit and b.process and a.exit.time > b.process.time) for a, b in itertools.pairwise(found))
    print(
        f"{jobs} jobs, server killed {kills} times: in order {order == numbers}, each once {once}, overlaps {overlaps}"
    )
    print(f"{time.monotonic() - start:.0f} s in all")


async def measure_thumbnails(place: Path, count: int = 2000) -> None:
    """A set of photos of 12 megapixels, of which one in twenty is another one: scan and thumbnails."""
    data_set = DataSets(place / "data").create("photos")
    photos = [place / f"{number}.jpg" for number in range(20)]
    for photo in photos:
        Image.effect_noise((800, 600), 80).convert("RGB").resize((4000, 3000)).save(photo, quality=90)
    for number in range(count):  # the same pixels with another end, so that each file has a content of its own
        content = photos[number % len(photos)].read_bytes() + number.to_bytes(4)
        (data_set.folder / f"{number:05}.jpg").write_bytes(content)
    small, scanner, process = Resident("tetrad.web.images_child"), Resident("tetrad.web.images_child"), psutil.Process()
    thumbnails, images = Thumbnails(place / "thumbnails", small), ImageList(data_set, scanner)
    os.environ["TETRAD_CACHE"] = str(place / "cache")
    for name in ("first", "again"):
        start = time.monotonic()
        times = []
        for path in data_set.list_paths()[:60]:
            one = time.monotonic()
            await thumbnails.find_or_make(path)
            times.append(time.monotonic() - one)
        print(f"60 thumbnails, {name}: {time.monotonic() - start:.2f} s, median {sorted(times)[30] * 1000:.1f} ms")
    for name in ("first", "again"):
        start = time.monotonic()
        rows = [each async for each in images.scan() if isinstance(each, ImageRow)]
        print(f"scan of {len(rows)} images, {name}: {time.monotonic() - start:.1f} s")
    for child in (small, scanner):
        print(f"a child that opens images: {psutil.Process(child.pid).memory_info().rss // MIB} MiB")
    print(f"this process: {process.memory_info().rss // MIB} MiB, torch imported: {'torch' in sys.modules}")
    await small.end()
    await scanner.end()


async def measure_drawing(place: Path) -> None:
    """The built-in model, 20 steps: the first image and the next ones."""
    drawing = Drawing([place])
    for number in range(3):
        start, first_step = time.monotonic(), 0.0
        async for event in drawing.draw({"prompt": "a red apple", "steps": 20, "seed": number, "folder": str(place)}):
            if event["event"] == "step" and not first_step:
                first_step = time.monotonic() - start
        print(f"image {number + 1}: first step after {first_step:.3f} s, done after {time.monotonic() - start:.2f} s")
    await drawing.end()


def main() -> None:
    measures: dict[str, Callable[[Path], object]] = {
        "queue": measure_queue,
        "thumbnails": lambda place: asyncio.run(measure_thumbnails(place)),
        "drawing": lambda place: asyncio.run(measure_drawing(place)),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=measures, nargs="*", default=list(measures))
    for what in parser.parse_args().what:
        with tempfile.TemporaryDirectory() as place:
            measures[what](Path(place))


if __name__ == "__main__":
    main()
