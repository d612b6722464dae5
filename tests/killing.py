"""Kills runs with SIGKILL, resumes them, and compares what they end with, byte for byte, with runs that never stopped.

`python tests/killing.py --kills 1000` kills at random times; `--points 1 3` kills at the first and the third call of
each function in POINTS. Every attempt is a fork of this process, so that PyTorch is imported only once.
"""

import argparse
import functools
import importlib
import inspect
import itertools
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import short_runs
import tiny
import torch
from PIL import Image
from short_runs import QUICK

from tetrad.doctor.full_check import find_differences, read_results
from tetrad.run.events import Finished
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.points import list_points
from tetrad.run.resume.resume import resume
from tetrad.run.status import read_status
from tetrad.run.train import train
from tetrad.settings import Recipe

STEPS = 6
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method.kind": "lora", "method.rank": 2, "train.ema": 0.9},
    "dreambooth": {"method.kind": "dreambooth", "train.gradient_accumulation": 2},
    "textual-inversion": {"method.kind": "textual-inversion", "method.vectors": 2},
    "hypernetwork": {"method.kind": "hypernetwork", "method.structure": [1, 1], "train.ema": 0.9},
}
POINTS = (
    "tetrad.run.train:load_dataset",
    "tetrad.run.train:resolve_name",
    "tetrad.run.folder:RunFolder.create",
    "tetrad.run.folder:RunFolder.write",
    "tetrad.run.folder:RunFolder.record",
    "tetrad.run.train:write_start",
    "tetrad.run.heartbeat:Heartbeat.start",
    "tetrad.library:load_model",
    "tetrad.run.train:resolve",
    "tetrad.data.latent_cache:LatentCache.put_image_info",
    "tetrad.data.latent_cache:LatentCache.put_tensors",
    "tetrad.run.resume.resumption:write_identity",
    "tetrad.run.train:attach",
    "tetrad.training.caption_cache:CaptionCache.encode_missing",
    "tetrad.training.gradients:denoising_loss",
    "tetrad.training.update:StandardUpdate.backward",
    "tetrad.training.update:StandardUpdate.finish",
    "tetrad.training.update:step_if_finite",
    "tetrad.training.ema:Ema.update",
    "tetrad.training.ema:Ema.swap",
    "tetrad.run.previews:png.save_png",
    "tetrad.run.resume.points:write_point",
    "tetrad.run.resume.points:save_file",
    "tetrad.run.resume.points:_flush_and_describe",
    "tetrad.run.resume.points:_flush",
    "tetrad.run.resume.points:prune_points",
    "tetrad.library:save_weights",
    "tetrad.formats.atomic_write:os.fsync",
    "tetrad.formats.atomic_write:os.replace",
    "tetrad.run.resume.keeper:PointKeeper.remove",
)


def build_place(path: Path) -> None:
    """A folder with a tiny model and three images of two shapes, with captions."""
    tiny.save_shallow_checkpoint(path / "tiny.safetensors")
    for folder in ("subject", "class"):
        (path / folder).mkdir()
        for number in range(3):
            size = (64, 128) if number == 2 else (64, 64)
            Image.effect_noise(size, 40 + number).convert("RGB").save(path / folder / f"{number}.png")
            (path / folder / f"{number}.txt").write_text(f"zkr cat, red, round, number {number}")


def make_recipe(out: Path, **settings: Any) -> Recipe:
    """A short run on the images of `build_place`, from the folder that they are in."""
    default = QUICK | {
        "data.images": "subject",
        "train.steps": STEPS,
        "train.batch_size": 2,
        "train.learning_rate": "1e-2",
        "train.max_grad_norm": 0,
        "sample.every": -1,
        "save.every": 3,
    }
    return short_runs.make_recipe(out, default | settings)


def contents(folder: Path) -> dict[str, Any]:
    """What a run saved: each file's tensors as bytes and its metadata, the losses, the scores, and the previews."""
    kept = [*(folder / "samples").iterdir(), *folder.glob("scores.jsonl")]
    samples = {path.name: path.read_bytes() for path in sorted(kept)}
    return read_results(folder, includes_step_files=True) | samples


def finish(events: Iterator[Any]) -> Path:
    """Train to the end; returns the run's folder."""
    *_, last = events
    assert isinstance(last, Finished) and last.complete
    return last.folder


def save_points_often() -> None:
    """A resume point after every second step, as there is no time for more in a run of a second."""
    SaveInterval.is_due = lambda self, done, left: left > 0 and done % 2 == 0  # type: ignore[method-assign]


def fork(attempt: Callable[[], object]) -> int:
    """Run in a child process, silently; returns its number."""
    child = os.fork()
    if child:
        return child
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        if "--verbose" not in sys.argv:
            os.dup2(nowhere, 2)
        attempt()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def wait(child: int) -> int:
    """The exit code of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(point: str, is_before: bool, number: int) -> None:
    """Make this process kill itself at the call with this number of a function, before or after it."""
    module_name, _colon, path = point.partition(":")
    owner: Any = importlib.import_module(module_name)
    *owners, name = path.split(".")
    for each in owners:
        owner = getattr(owner, each)
    original = getattr(owner, name)
    count = itertools.count(1)

    @functools.wraps(original)
    def call(*arguments: Any, **keywords: Any) -> Any:
        is_last = next(count) == number
        if is_last and is_before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **keywords)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    is_bound = isinstance(owner, type) and isinstance(inspect.getattr_static(owner, name), classmethod)
    setattr(owner, name, staticmethod(call) if is_bound else call)


class Chain:
    """A run of one method that is killed again and again and resumed each time, beside one that never stopped."""

    def __init__(self, place: Path, method: str) -> None:
        self.place, self.method = place, method
        self.settings = METHODS[method] | {"sample.every": 4, "sample.steps": 1, "sample.prompts": ["zkr"]}
        start = time.monotonic()
        assert wait(fork(lambda: finish(train(make_recipe(place / f"whole-{method}", **self.settings))))) == 0
        self.seconds = time.monotonic() - start
        self.whole = contents(place / f"whole-{method}" / "zkr")
        self.finished = 0
        self.begin()

    def begin(self) -> None:
        """A new run."""
        self.out = self.place / f"{self.method}-{self.finished}"

    @property
    def folder(self) -> Path:
        return self.out / "zkr"

    def attempt(self, kill: Callable[[], object]) -> int:
        """Start a process that begins the run or goes on with it, after `kill` has been prepared in it."""

        def work() -> None:
            kill()
            self.begin_or_resume()

        while self.folder.exists() and not (self.folder / "resume" / "start.json").exists():
            self.out = self.out.with_name(f"{self.out.name}-again")  # killed between two files of the very start
        return fork(work)

    def begin_or_resume(self) -> None:
        """What a person does after a crash: `tetrad resume`, or the same command again where there is no run yet."""
        finish(resume(self.folder) if self.folder.exists() else train(make_recipe(self.out, **self.settings)))

    def compare(self, code: int) -> bool:
        """Whether the run has ended whole; then it must be the same as the one that never stopped."""
        has_begun = (self.folder / "recipe.toml").exists()
        if code == -signal.SIGKILL and not (has_begun and read_status(self.folder).state == "finished"):
            return False
        assert code in (0, -signal.SIGKILL), f"{self.folder} cannot be resumed"
        found = contents(self.folder)
        differing = find_differences(self.whole, found)
        assert not differing, f"{self.folder} differs: {differing}"
        assert read_status(self.folder).state == "finished"
        leftovers = [path.name for path in (*self.folder.rglob(".*"), *self.folder.glob("resume"))]
        assert code == -signal.SIGKILL or not leftovers, leftovers
        self.finished += 1
        self.begin()
        return True

    def finish(self) -> None:
        self.compare(wait(self.attempt(lambda: None)))


def kill_at_points(place: Path, numbers: Sequence[int]) -> int:
    """Kill a run before and after each point, at its calls with these numbers; returns the number of kills."""
    chain, kills = Chain(place / "points", "lora"), 0
    for point, is_before, number in itertools.product(POINTS, (True, False), numbers):
        kill = functools.partial(die_at, point, is_before, number)
        kills += not chain.compare(wait(chain.attempt(kill)))
    chain.finish()
    return kills


def kill_at_random(place: Path, kills: int, seed: int = 0) -> list[tuple[int, float]]:
    """Kill runs of all methods at random times; returns the steps and the seconds that each kill lost.

    Everything counts that the process has done since the last resume point, loading the model too.
    """
    rng, lost = random.Random(seed), list[tuple[int, float]]()
    chains = [Chain(place, method) for method in METHODS]
    while len(lost) < kills:
        chain = rng.choice(chains)
        child, begun = chain.attempt(lambda: None), time.time()
        time.sleep(rng.uniform(0, chain.seconds))
        os.kill(child, signal.SIGKILL)  # a process that has ended stays until it is waited for
        killed = time.time()
        if not chain.compare(wait(child)):
            has_begun = (chain.folder / "recipe.toml").exists()
            status = read_status(chain.folder) if has_begun else None
            saved = max((path.stat().st_mtime for path in list_points(chain.folder / "resume")), default=0.0)
            steps = max(0, status.step - status.resume_step) if status else 0
            lost.append((steps, killed - max(begun, saved)))
    for chain in chains:
        chain.finish()
    return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="kill at so many random times")
    parser.add_argument("--points", type=int, nargs="*", default=[], help="kill at these calls of each listed function")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="show the errors of the runs")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork would wait for ever for threads that only its parent has
    save_points_often()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TETRAD_CACHE"] = str(Path(folder) / "cache")
        os.chdir(folder)
        build_place(Path(folder))
        if options.points:
            print(f"killed at {kill_at_points(Path(folder), options.points)} points: 0 bytes differ")
        if options.kills:
            start = time.monotonic()
            lost = kill_at_random(Path(folder), options.kills, options.seed)
            print(f"killed at {options.kills} random times: 0 bytes differ; {time.monotonic() - start:.0f} s")
            for name, values in zip(("steps", "seconds"), zip(*lost, strict=True), strict=True):
                print(f"{name} lost: median {statistics.median(values):.2g}, worst {max(values):.2g}")
            print("with a resume point after every second step")


if __name__ == "__main__":
    main()
