"""One input that people's folders or strangers' files have, what becomes of it, and how that is found out."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Fix: it is used, and what is changed is said. Skip: it is left out, and the rest goes on. Refuse: nothing starts.
ACTIONS = ("fix", "skip", "refuse")


@dataclass(frozen=True)
class Case:
    """An input, made anew in an empty folder each time, and what is expected of it."""

    number: int  # of the published list; several inputs may have one number
    title: str
    make: Callable[[Path], object]  # writes the input into the folder that it is given
    action: str
    codes: tuple[str, ...] = ()  # all codes of errors and warnings about files, in order of the alphabet
    # What is run on the folder, written {folder}. Without a command it is scanned and trained on.
    command: tuple[str, ...] = ()
    images: str = ""  # what in the folder is scanned and trained on; all of it
    only_in_runs: tuple[str, ...] = ()  # of the codes, those that only a run knows, not the list of its images
    caption: str = ""  # that the first image must get
    colour: tuple[int, int, int] | None = None  # that the centre of the first image must have, within one level
    canary: str = ""  # a file that a program in the input would make
    has_plugins: bool = True  # False: it is tried as where no plugin for images is installed

    @property
    def is_dataset(self) -> bool:
        return not self.command


@dataclass(frozen=True)
class Outcome:
    """What became of an input."""

    action: str
    codes: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join([self.action, *self.codes])


# What a scan and a run say about the tiny images here, which are no photos, unless a case is about it.
_ADVICE = {"W4131", "W4142", "W4143", "W4144", "W4145", "W4146", "W4158", "W4160", "W4161"}


def read_refusal(exit_code: int, err: str) -> Outcome:
    """The outcome of a command that ended with an error."""
    last = (err.strip().splitlines() or [""])[-1]
    assert "Traceback" not in err and last[:1] == "E" and exit_code == int(last[1]), (exit_code, err[-500:])
    return Outcome("refuse", (last[:5],))


def read_codes(out: str, case: Case) -> set[str]:
    """The codes about files in what a scan or a run printed with `--json`."""
    records = [json.loads(line) for line in out.splitlines()]
    findings = [finding for record in records for image in record.get("images", ()) for finding in image["findings"]]
    others = [each for record in records for each in (record, *record.get("other_problems", ()))]
    codes = {each.get("code") or "" for each in (*findings, *others)}
    return {code for code in codes if code[1:2] == "4"} - (_ADVICE - set(case.codes))


def make_outcome(codes: set[str]) -> Outcome:
    """The outcome of a command that went on, with the codes that it printed."""
    is_skipped = any(code.startswith("E4") and code < "E4130" for code in codes)
    return Outcome("skip" if is_skipped else "fix", tuple(sorted(codes)))


def seeded(number: int) -> random.Random:
    return random.Random(number)


def write(content: bytes | str, name: str) -> Callable[[Path], object]:
    """A maker of a file with this content."""

    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def together(*makers: Callable[[Path], Any]) -> Callable[[Path], object]:
    """A maker of several files."""

    def make(folder: Path) -> None:
        for each in makers:
            each(folder)

    return make
