"""Each method from pictures to a picture, by the commands a person types, in a fresh process, on the built-in model."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageChops

COMMANDS = {
    "base": ["generate", "a zkr, on a white background"],
    "textual-inversion": ["generate", "a word, on a white background"],
    "hypernetwork": ["generate", "a zkr, on a white background <hypernet:net:1>"],
    "lora": ["generate", "a zkr, on a white background <lora:low:1>"],
    "dreambooth": ["generate", "a zkr, on a white background", "--model", "runs/whole/whole.safetensors"],
}
TRAIN = {
    "textual-inversion": ["--word", "word", "--vectors", "2", "--initial-text", "robot", "--template", "a [name]"],
    "hypernetwork": ["--name", "net", "--structure", "1,1.5,1", "--learning-rate", "1e-3:1, 1e-2"],
    "lora": ["--name", "low", "--rank", "2", "--alpha", "4", "--learning-rate", "1e-2"],
    "dreambooth": ["--name", "whole", "--class-word", "robot", "--class-images", "1", "--learning-rate", "1e-3"],
}
FILES = {
    "textual-inversion": "runs/word/word.safetensors",
    "hypernetwork": "runs/net/net.pt",
    "lora": "runs/low/low.safetensors",
    "dreambooth": "runs/whole/whole.safetensors",
}
# One process for all of them: what is tested is the commands, and importing torch and diffusers takes ten seconds.
DRIVER = """
import sys
from tetrad.cli import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["tetrad", *line.split("\\t")]
    print("$", line, file=sys.stderr)
    try:
        main()
    except SystemExit as left:
        if left.code:
            raise
"""


@dataclass(frozen=True)
class Done:
    place: Path
    out: list[str]
    err: str


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """All trainings, one that goes on, and a picture with each result."""
    place = tmp_path_factory.mktemp("four")
    lines = []
    for kind, own in TRAIN.items():
        word = [] if "--word" in own else ["--word", "zkr"]
        lines.append(["train", kind, "builtin:subject", *word, *own, "--steps", "2", "--set", "sample.every=-1"])
    again = ["--word", "word", "--name", "on", "--continue", FILES["textual-inversion"], "--steps", "3"]
    lines.append(["train", "textual-inversion", "builtin:subject", *again, "--set", "sample.every=-1"])
    for kind, command in COMMANDS.items():
        lines.append([*command, "--steps", "3", "--out", f"{kind}.png"])
    environment = {**os.environ, "TETRAD_CACHE": str(place / "cache")}
    typed = "\n".join("\t".join(line) for line in lines)
    driven = [sys.executable, "-c", DRIVER]
    ran = subprocess.run(driven, input=typed, capture_output=True, text=True, timeout=500, env=environment, cwd=place)
    assert ran.returncode == 0, ran.stderr
    return Done(place, ran.stdout.splitlines(), ran.stderr)


def test_each_says_on_stdout_where_its_file_is(done: Done) -> None:
    assert done.out[: len(FILES)] == [str(Path(path)) for path in FILES.values()]
    assert all((done.place / path).is_file() for path in FILES.values())


@pytest.mark.parametrize("kind", list(TRAIN))
def test_what_was_learned_shows_in_a_picture(done: Done, kind: str) -> None:
    base, drawn = (Image.open(done.place / f"{name}.png").convert("RGB") for name in ("base", kind))
    assert ImageChops.difference(base, drawn).getbbox() is not None


def test_going_on_trains_only_the_steps_that_are_left(done: Done) -> None:
    metrics = (done.place / "runs/on/metrics.jsonl").read_text("utf-8").splitlines()
    assert len(metrics) == 1 and '"step": 3' in metrics[0]


def test_the_run_says_which_vae_and_how_many_class_pictures(done: Done) -> None:
    assert "no VAE is trained" in done.err
    assert "0 class pictures are in" in done.err and "1 are drawn: 'a photo of robot'" in done.err
    assert len(list((done.place / "cache/class pictures").rglob("*.png"))) == 1
