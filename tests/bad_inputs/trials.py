"""Try every bad input on the real program, and write what became of it into docs/bad-inputs.md: `make bad-inputs`.

PyTorch is loaded once; each trial is a fork, so that its time and its memory are its own.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import tiny
from bad_inputs import file_cases, image_cases, name_cases
from bad_inputs.case import Case, Outcome, make_outcome, read_codes, read_refusal

from tetrad import cli
from tetrad.images import decoders

ROOT = Path(__file__).parents[2]
CASES: list[Case] = [
    *image_cases.CASES,
    *name_cases.CASES,
    *file_cases.ARCHIVES,
    *file_cases.MODELS,
    *file_cases.SETTINGS,
]
INTRODUCTION = """# 110 bad inputs

This page shows what Tetrad does with bad files, both the usual ones in people's folders and hostile ones. It uses a
file and says what it changes (fix), leaves the file out and continues (skip), or does not start (refuse). It never
refuses a folder because of the share of bad files in it. Each input is made anew and given to the real program: to
`tetrad scan` and a training run, or to `inspect`, `train` or `generate`. [errors.md](errors.md) explains the codes.
`make bad-inputs` writes this page.
"""
MAX_SECONDS, MAX_BYTES = 10, 2**30  # of the processor, so that other programs do not count
MAX_WAITED_SECONDS = 90
SCAN = ("scan", "{path}", "--trigger-word", "zkr", "--json")
RUN = ("train", "lora", "{path}", "--model", "{model}", "--out", "{runs}", "--trigger-word", "zkr", "--json")
QUICK = ("--steps", "1", "--set", "sample.every=-1", "--resolution", "64")
NUMBERS = {
    "Images": range(1, 45),
    "Names and places": range(45, 57),
    "Captions": range(57, 73),
    "Archives": range(73, 83),
    "Model files": range(83, 103),
    "Settings": range(103, 111),
}


@dataclass(frozen=True)
class Trial:
    """What became of a case, and what it took."""

    case: Case
    outcome: Outcome | str  # a text for a hang, a traceback, or a program that was run
    seconds: float
    peak_bytes: int

    @property
    def is_as_expected(self) -> bool:
        within = self.seconds <= MAX_SECONDS and self.peak_bytes <= MAX_BYTES
        return within and self.outcome == Outcome(self.case.action, self.case.codes)


@dataclass(frozen=True)
class Place:
    """A folder for trials: a tiny model, good images, and an empty folder for each input."""

    path: Path

    def prepare(self) -> None:
        tiny.save_checkpoint(self.path / "tiny.safetensors", tiny.build_model(), tiny.build_weights().metadata)
        (self.path / "good").mkdir()
        image_cases.noise(seed=99).save(self.path / "good" / "good.png")

    def make(self, case: Case, number: int) -> list[list[str]]:
        """Make the input; returns the arguments of each command."""
        folder = self.path / f"input-{number}"
        folder.mkdir()
        case.make(folder)
        if case.action == "skip" and not case.images:  # beside a good image, without which nothing would start
            image_cases.noise(seed=99).save(folder / "zzz-good.png")
        names = {"folder": folder, "path": folder / case.images, "model": "tiny.safetensors", "images": "good"}
        names |= {"runs": f"runs-{number}"}
        resolution = ["--resolution", "256" if "W4131" in case.codes else "64"]
        commands = []
        for template in (case.command,) if case.command else (SCAN, RUN):
            arguments = [part.format(**names) for part in template]
            more = [*(QUICK if arguments[0] == "train" else ()), *resolution]
            commands.append([*arguments, *(more if arguments[0] in ("train", "scan") else ())])
        return commands


def try_commands(case: Case, commands: Sequence[Sequence[str]], place: Path) -> Trial:
    """Run the commands in child processes, as the script `tetrad` does; with time and memory of the worst."""
    seconds, peak, codes = 0.0, 0, set[str]()
    outcome: Outcome | str = ""
    for arguments in commands:
        exit_code, spent, used = run_in_fork(arguments, place, case.has_plugins)
        seconds, peak = max(seconds, spent), max(peak, used)
        try:
            out, err = ((place / name).read_text("utf-8", "replace") for name in ("out.txt", "err.txt"))
            if exit_code is None:
                outcome = "it hangs"
            elif exit_code:
                outcome = read_refusal(exit_code, err)
            else:
                codes |= read_codes(out, case) if case.is_dataset else set()
                outcome = make_outcome(codes)
        except (AssertionError, ValueError, LookupError) as error:
            outcome = f"{type(error).__name__}: {str(error)[-300:]}"
    if case.canary and any(place.parent.rglob(case.canary)):
        outcome = "a program was run, or a file written outside"
    return Trial(case, outcome, seconds, peak)


def run_in_fork(arguments: Sequence[str], place: Path, has_plugins: bool = True) -> tuple[int | None, float, int]:
    """The exit code of a command (None: it was stopped after the limit), its CPU seconds and its largest memory."""
    start = time.monotonic()
    child = os.fork()
    if not child:
        if not has_plugins:
            decoders._PLUGINS = ()
            decoders.list_formats.cache_clear()
        _run_command(arguments, place / "out.txt", place / "err.txt")
    exit_code: int | None = None
    while not (found := os.wait4(child, os.WNOHANG))[0]:
        if time.monotonic() - start > MAX_WAITED_SECONDS:
            os.kill(child, 9)
            found = os.wait4(child, 0)
            break
        time.sleep(0.01)
    else:
        exit_code = os.waitstatus_to_exitcode(found[1])
    usage = found[2]
    return exit_code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def _run_command(arguments: Sequence[str], out: Path, err: Path) -> None:
    """Run in this process, which ends with it."""
    exit_code = 1
    try:
        for path, number in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["tetrad", *arguments]
        cli.main()
        exit_code = 0
    except SystemExit as ended:
        exit_code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)


def try_all(numbers: Sequence[int]) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder, "place"))
        place.path.mkdir()
        os.environ["TETRAD_CACHE"] = str(place.path / "cache")
        os.chdir(place.path)
        place.prepare()
        for number, case in enumerate(CASES):
            if not numbers or case.number in numbers:
                yield try_commands(case, _make_in_fork(place, case, number), place.path)


def _make_in_fork(place: Place, case: Case, number: int) -> list[list[str]]:
    """Make an input in a process of its own, so that its memory does not count."""
    result = place.path / "commands.json"
    child = os.fork()
    if not child:
        exit_code = 1
        try:
            result.write_text(json.dumps(place.make(case, number)))
            exit_code = 0
        finally:
            os._exit(exit_code)
    assert os.waitpid(child, 0)[1] == 0, case.title
    commands: list[list[str]] = json.loads(result.read_text())
    return commands


def write_page(trials: Sequence[Trial]) -> str:
    """The page with a row for each number, its inputs together."""
    as_expected = sum(trial.is_as_expected for trial in trials)
    lines = [
        INTRODUCTION,
        f"{as_expected} of {len(trials)} inputs, with {len({trial.case.number for trial in trials})} numbers, ended as"
        f" expected; the slowest took {max(trial.seconds for trial in trials):.1f} s of one CPU, and the largest"
        f" {max(trial.peak_bytes for trial in trials) / 2**20:.0f} MiB of memory, PyTorch included.",
    ]
    for title, numbers in NUMBERS.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| # | input | expected | seen | CPU seconds | MiB |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        own = [trial for trial in trials if trial.case.number in numbers]
        lines += [write_row(number, list(group)) for number, group in groupby(own, lambda trial: trial.case.number)]
    return "\n".join(lines) + "\n"


def write_row(number: int, trials: Sequence[Trial]) -> str:
    titles = "; ".join(trial.case.title for trial in trials)
    expected = dict.fromkeys(str(Outcome(trial.case.action, trial.case.codes)) for trial in trials)
    seen = dict.fromkeys(str(trial.outcome) for trial in trials)
    seconds, peak = max(trial.seconds for trial in trials), max(trial.peak_bytes for trial in trials)
    cells = (str(number), titles, "; ".join(expected), "; ".join(seen), f"{seconds:.1f}", f"{peak / 2**20:.0f}")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", type=int, nargs="*", help="only these numbers, and write no page")
    options = parser.parse_args()
    trials = []
    for trial in try_all(options.numbers):
        trials.append(trial)
        mark = "  " if trial.is_as_expected else "! "
        print(f"{mark}{trial.case.number} {trial.case.title}: {trial.outcome}, {trial.seconds:.1f} s, ", end="")
        print(f"{trial.peak_bytes / 2**20:.0f} MiB", flush=True)
    bad = [trial for trial in trials if not trial.is_as_expected]
    print(f"{len(trials) - len(bad)} of {len(trials)} as expected")
    if not options.numbers:
        (ROOT / "docs" / "bad-inputs.md").write_text(write_page(trials), "utf-8")
    sys.exit(bool(bad))


if __name__ == "__main__":
    import torch  # noqa: F401 - once for all forks

    import tetrad.generation.pipeline
    import tetrad.inspection
    import tetrad.run.train  # noqa: F401

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
