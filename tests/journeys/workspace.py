"""A folder to run commands in, and the outcome of a command."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tetrad import cli

QUICK_OPTIONS = ("--steps", "1", "--set", "sample.every=-1")


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    out: str
    err: str


class Workspace:
    """A folder for one test: `inputs` must stay unchanged, `runs` must stay empty after an error."""

    def __init__(self, path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        self.inputs, self.runs = path / "inputs", path / "runs"
        self.inputs.mkdir()
        self.model = model
        self.monkeypatch, self.capsys = monkeypatch, capsys
        monkeypatch.setenv("TETRAD_CACHE", str(path / "cache"))
        monkeypatch.chdir(path)

    def run(self, *arguments: str | Path) -> Outcome:
        """The command in this process, as the `tetrad` script calls it."""
        before = read_contents(self.inputs)
        self.monkeypatch.setattr("sys.argv", ["tetrad", *map(str, arguments)])
        exit_code = 0
        try:
            cli.main()
        except SystemExit as exit:
            exit_code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        captured = self.capsys.readouterr()
        assert read_contents(self.inputs) == before, "an input was changed"
        return Outcome(exit_code, captured.out, captured.err)

    def train(
        self,
        *arguments: str | Path,
        images: str | Path | None = None,
        model: str | Path | None = None,
        method: str = "lora",
    ) -> Outcome:
        images = self.make_photos() if images is None else images
        options = ("--model", model or self.model, "--out", self.runs)
        return self.run("train", method, images, *options, *QUICK_OPTIONS, *arguments)

    def generate(self, prompt: str, *arguments: str | Path) -> Outcome:
        options = ("--model", self.model, "--lora-dir", self.inputs, "--steps", "1", "--out", self.runs / "image.png")
        self.runs.mkdir(exist_ok=True)
        return self.run("generate", prompt, *options, *arguments)

    def make_photos(self) -> Path:
        """A folder of two good images."""
        folder = self.inputs / "photos"
        folder.mkdir(exist_ok=True)
        for number, colour in enumerate(("red", "blue")):
            Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
        return folder

    def assert_refused(self, outcome: Outcome, code: str, *expected_texts: str) -> None:
        """The last line is the code and one sentence, the exit code fits, and there is no traceback, output or file."""
        assert "Traceback" not in outcome.err, outcome.err
        lines = outcome.err.splitlines()
        assert [line for line in lines if line.startswith("E")] == lines[-1:], outcome.err
        assert lines[-1].startswith(f"{code} "), outcome.err
        assert outcome.exit_code == int(code[1]), outcome.err
        assert outcome.out == ""
        for expected in expected_texts:
            assert expected in lines[-1], outcome.err
        assert not self.runs.is_dir() or list(self.runs.iterdir()) == []


def read_contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Modification time and content of every file below a folder."""
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}
