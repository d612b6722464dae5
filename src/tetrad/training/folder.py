"""A run is a folder: the recipe, what happened, the numbers, the previews, the result."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.training.events import Event, Note, Progress, Trained, as_record


@dataclass(frozen=True)
class RunFolder:
    """`path` holds recipe.toml, events.jsonl, metrics.jsonl, samples/ and `<name>.safetensors`."""

    path: Path
    name: str
    unwritable: set[str] = field(default_factory=set)  # files of which that was told

    @classmethod
    def made(cls, out: Path, name: str) -> "RunFolder":
        """A new folder `out/name`, or `out/name-2` and so on: no run writes over another.  E4202 if impossible."""
        try:
            out.mkdir(parents=True, exist_ok=True)
            for number in range(1, 10_000):
                called = name if number == 1 else f"{name}-{number}"
                try:
                    (out / called).mkdir()
                except FileExistsError:
                    continue
                (out / called / "samples").mkdir()
                return cls(out / called, called)
        except OSError as error:
            raise TetradError(
                "E4202", f"{out} cannot be written to ({error.strerror}); choose another folder with --out"
            ) from error
        raise TetradError("E4202", f"{out} already holds 9999 runs called {name}; choose another name with --name")

    def result(self, step: int | None = None) -> Path:
        """The result without its ending, or what was learned by `step`, numbered as kohya does."""
        return self.path / (self.name if step is None else f"{self.name}-step{step:08d}")

    def sample(self, step: int, number: int) -> Path:
        return self.path / "samples" / f"step{step:08d}-{number:02d}.png"

    def sheet(self, step: int) -> Path:
        return self.path / "samples" / f"step{step:08d}-sheet.png"

    def write_recipe(self, text: str) -> None:
        """The run's recipe.  E4202 where it cannot be written."""
        try:
            (self.path / "recipe.toml").write_text(text, "utf-8")
        except OSError as error:
            raise TetradError("E4202", f"{self.path} cannot be written to ({error.strerror}); free space") from error

    def record(self, event: Event) -> Iterator[Event]:
        """Append an event: numbers of a step to metrics.jsonl, all else but mere progress to events.jsonl.

        A disk that is full of something else is told once, and is no reason to lose what is being learned.
        """
        if isinstance(event, Progress):
            return
        file = "metrics.jsonl" if isinstance(event, Trained) else "events.jsonl"
        try:
            with (self.path / file).open("a", encoding="utf-8") as opened:
                opened.write(json.dumps({"time": round(time.time(), 3), **as_record(event)}, ensure_ascii=False) + "\n")
        except OSError as error:
            if file not in self.unwritable:
                self.unwritable.add(file)
                yield Note(f"{self.path / file} cannot be written ({error.strerror}); the run goes on without", "W4201")


def file_name(text: str) -> str:
    """Text made fit to be a file's name and to stand in `<lora:…>`: no spaces, no signs that paths or prompts use."""
    return re.sub(r'[\s<>:"/\\|?*.,]+', "-", text).strip("-")[:80] or "run"
