"""Load the page as many tabs, runs and steps do: `python -m bench.web_load` prints one line for each measurement."""

import asyncio
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import psutil

from tetrad.web.loss import LossSeries
from tetrad.web.run_view import describe_row
from tetrad.web.runs import Runs

sys.path += [str(Path(__file__).parents[1] / "tests" / "web")]
from made_runs import add_event, bring_to_life, make_run
from web_process import Served, serving

CLIENTS, EVENTS_PER_SECOND, SECONDS = 50, 10, 30
LINE = (
    '{"time": 1.5, "event": "trained", "step": %d, "steps": 1000000, "loss": %.16f, "grad_norm": 0.1, '
    '"learning_rate": 0.0001, "learning_rates": {"unet": 0.0001, "text_encoder": 5e-05}}\n'
)


def measure_list(folder: Path, count: int = 1000) -> None:
    for number in range(count):
        make_run(folder, f"run-{number:04d}", step=20)
    for label in ("first", "second"):
        runs, start, work = Runs(folder), time.perf_counter(), time.process_time()
        rows = [describe_row(runs.read_run(name)) for name in runs.list_names()[:20]]
        wall, cpu = (time.perf_counter() - start) * 1e3, (time.process_time() - work) * 1e3
        print(f"{label} list of {count:,} runs, {len(rows)} shown: {wall:.0f} ms, of which {cpu:.0f} CPU ms")


def measure_series(path: Path, steps: int = 1_000_000) -> None:
    rng = random.Random(1)
    with path.open("w") as file:
        file.writelines(LINE % (step, rng.random()) for step in range(1, steps + 1))
    series, start = LossSeries(path), time.perf_counter()
    series.update()
    print(f"{steps:,} steps read for the first time: {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    series.update()
    size = len(json.dumps(series.as_record()))
    print(f"{steps:,} steps answered again: {(time.perf_counter() - start) * 1e3:.0f} ms, {size / 1e3:.0f} kB")


async def follow(client: httpx2.AsyncClient, served: Served, delays: list[float], until: float) -> int:
    """Read the stream of a run as a tab does; the delay of each event is its note's age when it arrives."""
    count = 0
    address = f"{served.base}/api/live?run=live"
    async with client.stream("GET", address) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: ") and '"Sent ' in line:
                for event in json.loads(line[6:])["events"]:
                    if event["text"].startswith("Sent "):
                        delays.append(time.time() - float(event["text"][5:].rstrip(".")))
                        count += 1
            if time.time() > until:
                return count
    return count


async def measure_streams(served: Served) -> None:
    path = make_run(served.runs, "live", step=1)
    bring_to_life(path)
    process, delays = psutil.Process(served.process.pid), []
    async with httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=None)) as client:
        await client.get(served.url)
        await client.get(f"{served.base}/runs/live")
        before, end = process.memory_info().rss, time.time() + SECONDS
        tabs = [asyncio.create_task(follow(client, served, delays, end + 1)) for _tab in range(CLIENTS)]
        await asyncio.sleep(1)
        sent, begun = 0, time.time()
        while time.time() < end:
            add_event(path, event="note", text=f"sent {time.time():.4f}", template="", code="")
            sent += 1
            await asyncio.sleep(max(0.0, begun + sent / EVENTS_PER_SECOND - time.time()))
        counts = await asyncio.gather(*tabs)
    ninety_fifth = statistics.quantiles(delays, n=20)[-1]
    grown = (process.memory_info().rss - before) / 2**20
    lost = sum(sent - count for count in counts)
    print(f"{CLIENTS} tabs, {sent} events each: p95 {ninety_fifth * 1e3:.0f} ms, {lost} lost, {grown:+.0f} MiB")


async def measure_uploads(served: Served, files: int = 500, size: int = 8_000_000) -> None:
    """Large files that are dropped on the page, one after the other as its script sends them."""
    piece, process = os.urandom(1 << 16), psutil.Process(served.process.pid)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    async with httpx2.AsyncClient(timeout=60, base_url=served.base) as client:
        await client.get(served.url)
        csrf = re.search('name="csrf" content="([^"]+)"', (await client.get("/")).text)
        assert csrf
        client.headers["x-tetrad-csrf"] = csrf[1]
        draft, before, peak = (await client.post("/api/drafts")).json()["id"], process.memory_info().rss, 0
        start = time.monotonic()
        for number in range(files):
            answer = await client.post(
                f"/api/drafts/{draft}/files",
                params={"file": f"IMG {number}.jpg"},
                content=pieces(),
                headers={"content-type": "application/octet-stream"},
            )
            assert answer.status_code == 200, answer.text
            peak = max(peak, process.memory_info().rss)
    seconds, mib = time.monotonic() - start, 2**20
    print(f"{files} × {size / 1e6:.0f} MB in {seconds:.0f} s; server {before // mib} → at most {peak // mib} MiB")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measure_list(Path(folder) / "many")
        measure_series(Path(folder) / "metrics.jsonl")
        with serving(Path(folder) / "web") as served:
            asyncio.run(measure_streams(served))
            asyncio.run(measure_uploads(served))


if __name__ == "__main__":
    main()
