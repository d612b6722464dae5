"""Peak memory and speed of `tetrad merge checkpoint`: three files merged into a fourth, beside `cp` with fsync.

`python -m bench.merging --gib 2 --folder /tmp` writes three files of random numbers, and measures in turn: a copy, a
merge whose files' hashes are known, and one that has to compute them. Speeds are bytes read and written per second; all
files are dropped from the page cache immediately before. Reports medians.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import torch

from tetrad.formats.tensor_streams import TensorLayout
from tetrad.formats.tensor_writer import write_tensors

# Of an SD 1 U-Net and its text encoder; the largest is the table of token embeddings.
SHAPES = [(1280, 1280, 3, 3), (1280, 2560, 3, 3), (640, 640, 3, 3), (320, 320, 3, 3), (5120, 1280), (1280, 768), (320,)]
EMBEDDINGS = ("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", (49408, 768))
GIB = 2**30
MERGE = """
import sys, time
from pathlib import Path
from bench.merging import drop_from_cache
from tetrad.merging.checkpoint_merge import merge_checkpoints
a, b, c, out = map(Path, sys.argv[1:])
drop_from_cache(a, b, c)
start = time.perf_counter()
merge_checkpoints([a, b], out, base=c, method="add-difference", weight=0.7)
print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=0.25, help="size of each file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(Path(folder), arguments.gib, arguments.rounds)


def measure(folder: Path, gib: float, rounds: int) -> None:
    files = [folder / f"{letter}.safetensors" for letter in "abc"]
    layouts = dict(islice(make_layouts(), count_tensors(gib)))
    for seed, file in enumerate(files):
        write_random(file, layouts, seed)
    size = files[0].stat().st_size
    largest = max(layout.nbytes for layout in layouts.values()) * 2
    known, unknown = folder / "known", folder / "unknown"
    speeds: dict[str, list[float]] = {"cp": [], "merge": [], "merge with hashes": []}
    peaks = []
    run_merge(files, folder / "out.safetensors", known)  # computes the hashes
    for _number in range(rounds):
        speeds["cp"].append(2 * size / copy(files[0], folder / "out.safetensors"))
        seconds, peak = run_merge(files, folder / "out.safetensors", known)
        speeds["merge"].append(4 * size / seconds)
        peaks.append(peak)
        shutil.rmtree(unknown, ignore_errors=True)
        speeds["merge with hashes"].append(4 * size / run_merge(files, folder / "out.safetensors", unknown)[0])
        print(", ".join(f"{name} {values[-1] / GIB:.2f} GiB/s" for name, values in speeds.items()), flush=True)
    print(
        f"three files of {size / GIB:.2f} GiB, {len(layouts)} tensors, the largest {largest / GIB:.2f} GiB in float32"
    )
    for name, values in speeds.items():
        share = median(values) / median(speeds["cp"])
        spread = f"{min(values) / GIB:.2f} … {max(values) / GIB:.2f}"
        print(f"{name:18} {median(values) / GIB:6.2f} GiB/s ({spread}), {share:.2f} of cp")
    print(f"peak memory of the process {median(peaks) / GIB:.2f} GiB")


def make_layouts() -> Iterator[tuple[str, TensorLayout]]:
    yield EMBEDDINGS[0], TensorLayout(EMBEDDINGS[1], torch.float16)
    for number, shape in enumerate(cycle(SHAPES)):
        name = f"model.diffusion_model.input_blocks.{number % 12}.0.{number}.weight"
        yield name, TensorLayout(shape, torch.float16)


def count_tensors(gib: float) -> int:
    total = 0
    for count, (_name, layout) in enumerate(make_layouts(), start=1):
        total += layout.nbytes
        if total >= gib * GIB:
            return count
    raise AssertionError


def write_random(path: Path, layouts: Mapping[str, TensorLayout], seed: int) -> None:
    def compute(name: str) -> torch.Tensor:
        rng = torch.Generator().manual_seed(hash((seed, name)) % 2**63)
        return torch.randn(layouts[name].shape, generator=rng, dtype=torch.float16)

    write_tensors(path, layouts, compute, {})


def drop_from_cache(*paths: Path) -> None:
    """Read the files from the disk next time: all of the page cache is dropped where that is permitted."""
    for path in paths:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("1")


def copy(source: Path, target: Path) -> float:
    """Seconds that `cp` with fsync takes."""
    target.unlink(missing_ok=True)
    drop_from_cache(source)
    start = time.perf_counter()
    subprocess.run(["cp", "--reflink=never", source, target], check=True)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - start


def run_merge(files: list[Path], out: Path, cache: Path) -> tuple[float, int]:
    """Seconds that a merge takes in a process of its own, without its start, and the peak of that process in bytes."""
    out.unlink(missing_ok=True)
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    process = subprocess.Popen([sys.executable, "-c", MERGE, *files, out], stdout=subprocess.PIPE, env=environment)
    assert process.stdout
    seconds = float(process.stdout.read())
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    return seconds, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
