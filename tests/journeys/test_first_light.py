"""From a folder of pictures to a picture, as a stranger would: commands in fresh processes, on the built-in model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from tetrad import builtin, library
from tetrad.data.batches import Batch
from tetrad.data.cache import Cache, encode_photos
from tetrad.data.folder import photos
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator, stratified
from tetrad.models.base import Model
from tetrad.training.step import denoising_loss

TETRAD = [sys.executable, "-c", "from tetrad.cli import main; main()"]
SETTINGS = ["--set", "sample.every=-1", "--set", "method.text_encoder=false"]


def tetrad(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TETRAD_CACHE": str(cache)}
    return subprocess.run([*TETRAD, *arguments], capture_output=True, text=True, timeout=300, env=environment)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("数据集 🐱")


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """The folder of a finished run."""
    arguments = ["train", "lora", "builtin:subject", "--word", "zkr", "--out", str(place), "--name", "first"]
    arguments += ["--steps", "60", "--learning-rate", "2e-3", "--set", "save.every=40", "--json", *SETTINGS]
    done = tetrad(*arguments, cache=place / "cache")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["step"] for event in events if event["event"] == "trained"] == list(range(1, 61))
    assert events[-1]["event"] == "finished" and events[-1]["complete"]
    return Path(events[-1]["folder"])


def test_a_run_is_a_folder_with_everything_in_it(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    told = {"recipe.toml", "events.jsonl", "metrics.jsonl", "samples"}
    assert names == told | {"first.safetensors", "first-step00000040.safetensors"}
    with safe_open(str(run / "first.safetensors"), framework="pt") as opened:
        metadata = opened.metadata()
        assert len(list(opened.keys())) == 3 * 192
    assert metadata["ss_output_name"] == "first" and metadata["modelspec.trigger_phrase"] == "zkr"


def fixed_loss(model: Model) -> float:
    """The loss on the training pictures at fixed noise and 64 fixed times."""
    found, _ = photos(builtin.samples_path("builtin:subject"), "zkr")
    made = encode_photos(found, [(64, 64)] * len(found), model.vae.encode, "test", Cache(None))
    latents = torch.stack([views[0].mean for _, views in made]).repeat(8, 1, 1, 1)
    captions = tuple(photo.caption for photo in found) * 8
    batch = Batch(latents, captions, torch.ones(len(latents)))
    with torch.no_grad():
        losses = denoising_loss(
            model, model.condition, Objective(), batch, stratified(0, 0, len(latents)), generator(0, 0, "test")
        )
    return losses.mean().item()


def test_what_was_learned_lowers_the_loss_on_the_pictures(run: Path) -> None:
    model = library.load_model("builtin")
    before = fixed_loss(model)
    library.attach(run / "first.safetensors", model)
    assert fixed_loss(model) < 0.9 * before


def test_a_prompt_with_the_lora_draws_another_picture_and_a_seed_the_same_one(run: Path, place: Path) -> None:
    pictures = {}
    for name, prompt in (("with", "a zkr <lora:first:0.8>"), ("again", "a zkr <lora:first:0.8>"), ("without", "a zkr")):
        out = place / f"{name}.png"
        done = tetrad("generate", prompt, "--lora-dir", str(place), "--seed", "1", "--out", str(out), cache=place)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(out)
        pictures[name] = Image.open(out)
    assert pictures["with"].text["parameters"].startswith("a zkr <lora:first:0.8>\nSteps: 30, ")
    assert pictures["with"].tobytes() == pictures["again"].tobytes()
    assert pictures["with"].tobytes() != pictures["without"].tobytes()


def test_ctrl_c_saves_what_was_learned_and_says_so(place: Path) -> None:
    arguments = ["train", "lora", "builtin:subject", "--word", "zkr", "--out", str(place), "--name", "stopped"]
    arguments += ["--steps", "100000", *SETTINGS]
    environment = {**os.environ, "TETRAD_CACHE": str(place / "cache")}
    process = subprocess.Popen([*TETRAD, *arguments], stderr=subprocess.PIPE, text=True, env=environment)
    metrics = place / "stopped" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text("utf-8").count("\n") >= 3):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "stopping after this step" in told
    (file,) = (place / "stopped").glob("*.safetensors")
    steps = int(file.stem.removeprefix("stopped-step"))
    assert steps == metrics.read_text("utf-8").count("\n")
    library.read(file, library.load_model("builtin"))


def test_a_second_run_never_writes_over_the_first(place: Path, run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    arguments = ["train", "lora", "builtin:subject", "--word", "zkr", "--out", str(place), "--name", "first"]
    done = tetrad(*arguments, "--steps", "1", *SETTINGS, cache=place / "cache")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(place / "first-2" / "first-2.safetensors")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = f"import sys; sys.argv = ['tetrad', *{arguments!r}]\nfrom tetrad.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\nassert not {'torch', 'diffusers', 'numpy'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
