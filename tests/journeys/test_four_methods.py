"""Each method from training images to a generated image, on the built-in model, each command in its own process."""

from dataclasses import dataclass
from pathlib import Path

import commands
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
    "textual-inversion": [
        "--trigger-word",
        "word",
        "--vectors",
        "2",
        "--initial-text",
        "robot",
        "--template",
        "a [name]",
    ],
    "hypernetwork": ["--name", "net", "--layer-structure", "1,1.5,1", "--learning-rate", "1e-3:1, 1e-2"],
    "lora": ["--name", "low", "--rank", "2", "--alpha", "4", "--learning-rate", "1e-2"],
    "dreambooth": ["--name", "whole", "--class-word", "robot", "--num-class-images", "1", "--learning-rate", "1e-3"],
}
FILES = {
    "textual-inversion": "runs/word/word.safetensors",
    "hypernetwork": "runs/net/net.pt",
    "lora": "runs/low/low.safetensors",
    "dreambooth": "runs/whole/whole.safetensors",
}


@dataclass(frozen=True)
class Outcome:
    workspace: Path
    out: list[str]
    err: str


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Train with every method, continue one, and generate an image with each result."""
    workspace = tmp_path_factory.mktemp("four")
    lines = []
    for kind, own in TRAIN.items():
        word = [] if "--trigger-word" in own else ["--trigger-word", "zkr"]
        lines.append(["train", kind, "builtin:subject", *word, *own, "--steps", "2", "--set", "sample.every=-1"])
    again = ["--trigger-word", "word", "--name", "on", "--continue-from", FILES["textual-inversion"], "--steps", "3"]
    lines.append(["train", "textual-inversion", "builtin:subject", *again, "--set", "sample.every=-1"])
    for kind, command in COMMANDS.items():
        lines.append([*command, "--steps", "3", "--out", f"{kind}.png"])
    out, err = "", ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TETRAD_CACHE", str(workspace / "cache"))
        for line in lines:
            done = commands.run(*line, cwd=workspace)
            assert done.returncode == 0, done.stderr
            out, err = out + done.stdout, err + done.stderr
    return Outcome(workspace, out.splitlines(), err)


def test_each_training_prints_the_path_of_its_file(outcome: Outcome) -> None:
    assert outcome.out[: len(FILES)] == [str(Path(path)) for path in FILES.values()]
    assert all((outcome.workspace / path).is_file() for path in FILES.values())


@pytest.mark.parametrize("kind", list(TRAIN))
def test_each_result_changes_the_image(outcome: Outcome, kind: str) -> None:
    base, changed = (Image.open(outcome.workspace / f"{name}.png").convert("RGB") for name in ("base", kind))
    assert ImageChops.difference(base, changed).getbbox() is not None


def test_continuing_trains_only_the_remaining_steps(outcome: Outcome) -> None:
    metrics = (outcome.workspace / "runs/on/metrics.jsonl").read_text("utf-8").splitlines()
    assert len(metrics) == 1 and '"step": 3' in metrics[0]


def test_the_run_says_which_vae_and_how_many_class_images(outcome: Outcome) -> None:
    assert "no VAE is trained" in outcome.err
    assert "generating 1 class image with the prompt 'a photo of robot'" in outcome.err
    assert len(list((outcome.workspace / "cache/class-images").rglob("*.png"))) == 1
