"""Peak memory and speed of `tetrad merge checkpoint`: three files merged into a fourth, beside `cp` with fsync.

`python -m bench.merging --gib 2 --folder /tmp` writes three files of random numbers, and measures in rounds: a copy, a
merge whose files' hashes are known, and one that has to compute them. Speeds are bytes read and written per second; the
files are dropped from the page cache immediately before. Reports medians with the lowest and the highest value; shares
of the speed of `cp` are those of one round, because other programs on the machine slow down everything.
"""

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
start, cpu_start = time.perf_counter(), time.process_time()
merge_checkpoints([a, b], out, base=c, method="add-difference", weight=0.7)
print(time.perf_counter() - start, time.process_time() - cpu_start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=0.25, help="size of each file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(Path(folder), arguments.gib, arguments.rounds)


@dataclass(frozen=True)
class Measured:
    """What one copy or merge took."""

    moved: int  # bytes read and written
    seconds: float
    cpu_seconds: float
    peak: int = 0

    @property
    def speed(self) -> float:
        return self.moved / GIB / self.seconds

    @property
    def cpu_per_gib(self) -> float:
        return self.cpu_seconds / (self.moved / GIB)


def measure(folder: Path, gib: float, rounds: int) -> None:
    files = [folder / f"{letter}.safetensors" for letter in "abc"]
    layouts = dict(islice(make_layouts(), count_tensors(gib)))
    for seed, file in enumerate(files):
        write_random(file, layouts, seed)
    known, unknown, out = folder / "known", folder / "unknown", folder / "out.safetensors"
    measured: dict[str, list[Measured]] = {"cp": [], "merge": [], "merge with hashes": []}
    run_merge(files, out, known)  # computes the hashes
    run = {
        "cp": lambda: copy(files[0], out),
        "merge": lambda: run_merge(files, out, known),
        "merge with hashes": lambda: run_merge(files, out, unknown),
    }
    for _number in range(rounds):
        # A virtual machine gets memory that has been free for a while from its host again, which may take as long as
        # copying; in random order all meet it in the same states.
        for name in random.sample([*run], len(run)):
            shutil.rmtree(unknown, ignore_errors=True)
            measured[name].append(run[name]())
        print(", ".join(f"{name} {each[-1].speed:.2f} GiB/s" for name, each in measured.items()), flush=True)
    size, largest = files[0].stat().st_size, max(layout.nbytes for layout in layouts.values()) * 2
    print(
        f"three files of {size / GIB:.2f} GiB, {len(layouts)} tensors, the largest {largest / GIB:.2f} GiB in float32"
    )
    for name, each in measured.items():
        shares = [one.speed / copied.speed for one, copied in zip(each, measured["cp"], strict=True)]
        print(
            f"{name:18} {describe(one.speed for one in each)} GiB/s, {describe(shares)} of cp,"
            f" {describe(one.cpu_per_gib for one in each)} CPU s/GiB"
        )
    print(f"peak memory of the process {median(one.peak for one in measured['merge']) / GIB:.2f} GiB")


def describe(values: Iterable[float]) -> str:
    """The median, the lowest and the highest."""
    ordered = sorted(values)
    return f"{median(ordered):.2f} ({ordered[0]:.2f} … {ordered[-1]:.2f})"


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
    """Read the files from the disk next time; other programs keep theirs in the page cache."""
    for path in paths:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def copy(source: Path, target: Path) -> Measured:
    """`cp` with fsync."""
    target.unlink(missing_ok=True)
    drop_from_cache(source)
    start, cpu_start = time.perf_counter(), cpu_time()
    subprocess.run(["cp", "--reflink=never", source, target], check=True)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    return Measured(2 * source.stat().st_size, time.perf_counter() - start, cpu_time() - cpu_start)


def cpu_time() -> float:
    """CPU seconds of this process and of those that it has started and that have ended."""
    usages = [resource.getrusage(each) for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_merge(files: list[Path], out: Path, cache: Path) -> Measured:
    """A merge in a process of its own, without that process's start."""
    out.unlink(missing_ok=True)
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    process = subprocess.Popen([sys.executable, "-c", MERGE, *files, out], stdout=subprocess.PIPE, env=environment)
    assert process.stdout
    seconds, cpu_seconds = map(float, process.stdout.read().split())
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    moved = sum(path.stat().st_size for path in (*files, out))
    return Measured(moved, seconds, cpu_seconds, usage.ru_maxrss * 1024)


if __name__ == "__main__":
    main()
