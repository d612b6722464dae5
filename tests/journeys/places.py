"""A folder to try commands in, and what a person gets from each."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tetrad import cli

QUICK = ("--steps", "1", "--set", "sample.every=-1")


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    out: str
    err: str


class Place:
    """A folder to try things in: `inputs` are checked to stay as they are, `runs` to hold nothing after an error."""

    def __init__(self, path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        self.inputs, self.runs = path / "inputs", path / "runs"
        self.inputs.mkdir()
        self.model = model
        self.monkeypatch, self.capsys = monkeypatch, capsys
        monkeypatch.setenv("TETRAD_CACHE", str(path / "cache"))
        monkeypatch.chdir(path)

    def run(self, *arguments: str | Path) -> Outcome:
        """The command in this process, as the `tetrad` script calls it."""
        before = contents(self.inputs)
        self.monkeypatch.setattr("sys.argv", ["tetrad", *map(str, arguments)])
        exit_code = 0
        try:
            cli.main()
        except SystemExit as left:
            exit_code = left.code if isinstance(left.code, int) else int(left.code is not None)
        captured = self.capsys.readouterr()
        assert contents(self.inputs) == before, "an input was touched"
        return Outcome(exit_code, captured.out, captured.err)

    def train(
        self,
        *arguments: str | Path,
        images: str | Path | None = None,
        model: str | Path | None = None,
        method: str = "lora",
    ) -> Outcome:
        images = self.photos() if images is None else images
        chosen = ("--model", model or self.model, "--out", self.runs)
        return self.run("train", method, images, *chosen, *QUICK, *arguments)

    def generate(self, prompt: str, *arguments: str | Path) -> Outcome:
        quick = ("--model", self.model, "--lora-dir", self.inputs, "--steps", "1", "--out", self.runs / "picture.png")
        self.runs.mkdir(exist_ok=True)
        return self.run("generate", prompt, *quick, *arguments)

    def photos(self) -> Path:
        """A folder of two good pictures."""
        folder = self.inputs / "photos"
        folder.mkdir(exist_ok=True)
        for number, colour in enumerate(("red", "blue")):
            Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
        return folder

    def refused(self, outcome: Outcome, code: str, *words: str) -> None:
        """One sentence under its code as the last line, the code's exit code, no traceback, nothing left behind."""
        assert "Traceback" not in outcome.err, outcome.err
        lines = outcome.err.splitlines()
        assert [line for line in lines if line.startswith("E")] == lines[-1:], outcome.err
        assert lines[-1].startswith(f"{code} "), outcome.err
        assert outcome.exit_code == int(code[1])
        assert outcome.out == ""
        for word in words:
            assert word in lines[-1]
        assert not self.runs.is_dir() or list(self.runs.iterdir()) == []


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file below a folder: when it was changed, and what is in it."""
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}
