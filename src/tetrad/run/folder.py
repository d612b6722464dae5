"""The folder of a run: the recipe, the plan, the events, the metrics, the previews, the trained file."""

import json
import math
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tetrad.documents import parse_json, read_text_file, writable
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file
from tetrad.judging.scores import SCORES_FILE
from tetrad.locales import Message, _
from tetrad.run.events import Event, Note, Progress, Trained, as_record
from tetrad.run.full_disk import NO_WAITING, DiskGuard

_RECIPE, _ERROR = "recipe.toml", "error.json"
_MAX_NAME_BYTES = 180  # a file system allows 255, and the step and the format are appended


@dataclass(frozen=True)
class RunFolder:
    """`path` holds recipe.toml, plan.toml, events.jsonl, metrics.jsonl, samples/ and `<name>.safetensors`."""

    path: Path
    name: str
    started: float = field(default_factory=time.time)  # Unix time
    unwritable: set[str] = field(default_factory=set)  # files that could not be written; each is reported once
    texts: dict[str, str] = field(default_factory=dict)  # what `write` has written, for the case that it is removed
    removals: list[str] = field(default_factory=list)  # "removed" for each time that is not reported yet

    @classmethod
    def create(cls, out: Path, name: str, keeps_name: bool = False) -> "RunFolder":
        """A new folder `out/name`, or `out/name-2` and so on; never an existing one.  E4202 where that fails.

        The trained file is named as the folder; with `keeps_name` it is called `name` in any folder.
        """
        try:
            out.mkdir(parents=True, exist_ok=True)
            for number in range(1, 10_000):
                numbered = name if number == 1 else f"{name}-{number}"
                try:
                    (out / numbered).mkdir()
                except FileExistsError:
                    continue
                (out / numbered / "samples").mkdir()
                return cls(out / numbered, name if keeps_name else numbered)
        except OSError as error:
            raise TetradError(
                "E4202",
                _("{folder} cannot be written to ({reason}); choose another folder with --out"),
                folder=out,
                reason=error.strerror,
            ) from error
        raise TetradError(
            "E4202",
            _("{folder} already holds 9999 runs named {name}; choose another name with --name"),
            folder=out,
            name=name,
        )

    def restore(self) -> None:
        """Make the folder again where someone has removed it, as far as possible."""
        if all((self.path / name).exists() for name in (_RECIPE, "samples")):
            return
        if not (self.path / _RECIPE).exists() and _RECIPE in self.texts:
            self.removals.append("removed")
        with suppress(OSError, TetradError):
            for name, text in self.texts.items():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                self.write(name, text)
            (self.path / "samples").mkdir(parents=True, exist_ok=True)

    def note_removal(self) -> Iterator[Event]:
        """Say so once where someone has removed the folder while the run trains (W4207), and make it again."""
        self.restore()
        if not self.removals:
            return
        self.removals.clear()
        if (self.path / _RECIPE).exists():
            template = _(
                "{folder} was removed while the run trains; it is made again for the result, without what it held"
            )
        elif _RECIPE not in self.unwritable:
            self.unwritable.add(_RECIPE)
            template = _("{folder} was removed while the run trains and cannot be made again; training continues")
        else:
            return
        yield Note(Message(template, folder=self.path), "W4207")

    def remember(self, *names: str) -> None:
        """Keep in memory what an earlier process has written into the folder."""
        for name in names:
            with suppress(OSError, ValueError):
                self.texts[name] = read_text_file(self.path / name)

    def record_error(self, error: Exception) -> None:
        """Write error.json, which says how the run ended; a full disk does not hide the error itself."""
        record = error.as_record() if isinstance(error, TetradError) else {"text": f"{type(error).__name__}: {error}"}
        with suppress(TetradError):
            self.write(_ERROR, writable(json.dumps({"time": round(time.time(), 3), **record}, ensure_ascii=False)))

    def forget_error(self) -> None:
        """Remove the error that an earlier attempt ended with."""
        self.texts.pop(_ERROR, None)
        with suppress(OSError):
            (self.path / _ERROR).unlink(missing_ok=True)

    def forget_steps_after(self, step: int) -> None:
        """Remove from the logs the steps that a resumed run trains again, and a line that was cut off."""
        with self._convert_errors():
            for path in filter(Path.exists, (self.path / "metrics.jsonl", self.path / SCORES_FILE)):
                lines = path.read_bytes().splitlines(keepends=True)
                replace_file(path, b"".join(line for line in lines if _step_of(line) <= step))

    def check_writable(self) -> None:
        """E4202 where no file can be written into the folder."""
        with self._convert_errors(), tempfile.TemporaryFile(dir=self.path):
            pass

    def list_sample_steps(self) -> list[int]:
        """The steps after which all previews were generated: the sheet is the last of them."""
        names = {path.name[4:12] for path in (self.path / "samples").glob("step????????-sheet.png")}
        return sorted(int(name) for name in names if name.isdigit())

    def result_path(self, step: int | None = None) -> Path:
        """The path, without extension, of the result or of the file saved at `step`, numbered as kohya does."""
        return self.path / (self.name if step is None else f"{self.name}-step{step:08d}")

    def sample_path(self, step: int, number: int) -> Path:
        return self.path / "samples" / f"step{step:08d}-{number:02d}.png"

    def sheet_path(self, step: int) -> Path:
        return self.path / "samples" / f"step{step:08d}-sheet.png"

    def write(self, name: str, text: str) -> None:
        """Write a text file of the run, whole or not at all.  E4202 where it cannot be written."""
        self.texts[name] = text
        with self._convert_errors():
            replace_file(self.path / name, writable(text).encode())

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Turn errors of writing into E4202."""
        try:
            yield
        except OSError as error:
            raise TetradError(
                "E4202",
                _("{folder} cannot be written to ({reason}); free some space, or check the folder's permissions"),
                folder=self.path,
                reason=error.strerror,
            ) from error

    def record(self, event: Event, disk: DiskGuard = NO_WAITING) -> Iterator[Event]:
        """Append the metrics of a step to metrics.jsonl, and every other event except progress to events.jsonl."""
        if isinstance(event, Progress):
            return
        name = "metrics.jsonl" if isinstance(event, Trained) else "events.jsonl"
        line = json.dumps({"time": round(time.time(), 3), **as_record(event)}, ensure_ascii=False)
        yield from self.append(name, (writable(line) + "\n").encode(), disk)

    def append(self, name: str, content: bytes, disk: DiskGuard = NO_WAITING) -> Iterator[Event]:
        """Append a line to a file of the run.

        Where that is impossible, training continues, and one warning is yielded for the file (W4201).
        """
        path = self.path / name
        try:
            yield from disk.write(path, len(content), lambda: append_whole(path, content))
        except OSError as error:
            if path.name not in self.unwritable:
                self.unwritable.add(path.name)
                template = _("{path} cannot be written ({reason}); training continues without it")
                yield Note(Message(template, path=path, reason=error.strerror), "W4201")


def append_whole(path: Path, content: bytes) -> None:
    """Append to a file; where a part of the content is written before the disk is full, that part is removed again."""
    with path.open("ab", buffering=0) as file:
        start = file.tell()
        written = 0
        try:
            while written < len(content):
                written += file.write(content[written:])
        except OSError:
            with suppress(OSError):
                file.truncate(start)
            raise


def _step_of(line: bytes) -> float:
    """The step of a line of a log; infinite for a line that is cut off or damaged."""
    try:
        return int(parse_json(line.decode())["step"]) if line.endswith(b"\n") else math.inf
    except (ValueError, TypeError, KeyError):
        return math.inf


def file_name(text: str) -> str:
    """A text as a file name that also works in `<lora:…>`: no spaces, no characters of paths or of prompt syntax."""
    name = re.sub(r'[\s<>:"/\\|?*.,\x00-\x1f\x7f]+', "-", writable(text)).strip("-")
    return name.encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore").strip("-") or "run"
