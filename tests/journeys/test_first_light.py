"""From training images to a generated image: commands in new processes, on the built-in model."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import commands
import pytest
import torch
from photos import load_dataset
from PIL import Image
from safetensors import safe_open

from tetrad import builtin, library
from tetrad.data.batches import Batch
from tetrad.data.encoding import EncodingJob, encode_photos
from tetrad.data.latent_cache import LatentCache
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator, stratified_quantiles
from tetrad.models.base import Model
from tetrad.training.step import add_noise, denoising_loss

SETTINGS = ["--set", "sample.every=-1", "--set", "method.text_encoder=false"]


def train_first(workspace: Path) -> list[str]:
    """The command that trains a LoRA called "first"."""
    options = ["--trigger-word", "zkr", "--out", str(workspace), "--name", "first"]
    return ["train", "lora", "builtin:subject", *options]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("数据集 🐱")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TETRAD_CACHE", str(path / "cache"))
        yield path


@pytest.fixture(scope="module")
def run(workspace: Path) -> Path:
    """The folder of a finished run."""
    arguments = [
        *train_first(workspace),
        "--steps",
        "40",
        "--learning-rate",
        "2e-3",
        "--set",
        "save.every=20",
        "--json",
        *SETTINGS,
    ]
    done = commands.run(*arguments)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["step"] for event in events if event["event"] == "trained"] == list(range(1, 41))
    assert events[-1]["event"] == "finished" and events[-1]["complete"]
    return Path(events[-1]["folder"])


def test_a_run_writes_its_files_into_one_folder(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    records = {"recipe.toml", "plan.toml", "events.jsonl", "metrics.jsonl", "samples"}
    assert names == records | {"first.safetensors", "first-step00000020.safetensors"}
    with safe_open(str(run / "first.safetensors"), framework="pt") as file:
        metadata = file.metadata()
        assert len(list(file.keys())) == 3 * 192
    assert metadata["ss_output_name"] == "first" and metadata["modelspec.trigger_phrase"] == "zkr"


def measure_loss(model: Model) -> float:
    """The loss on the training images at 64 fixed timesteps and with fixed noise."""
    photos, _problems = load_dataset(builtin.resolve_images_path("builtin:subject"), "zkr")
    jobs = [EncodingJob(photo, (64, 64)) for photo in photos]
    encoded = encode_photos(jobs, model.vae.encode, "test", LatentCache(None))
    latents = torch.stack([each.distributions[0].mean for each in encoded]).repeat(8, 1, 1, 1)
    captions = tuple(photo.caption for photo in photos) * 8
    batch = Batch(latents, captions, torch.ones(len(latents)))
    with torch.no_grad():
        u, rng = stratified_quantiles(0, 0, len(latents)), generator(0, 0, "test")
        noisy = add_noise(model, Objective(), batch, u, rng)
        losses = denoising_loss(model, model.condition, Objective(), noisy)
    return losses.mean().item()


def test_training_lowers_the_loss_on_the_training_images(run: Path) -> None:
    model = library.load_model("builtin")
    before = measure_loss(model)
    library.attach_weights(run / "first.safetensors", model)
    assert measure_loss(model) < 0.9 * before


def test_a_lora_changes_the_image_and_the_same_seed_repeats_it(run: Path, workspace: Path) -> None:
    images = {}
    for name, prompt in (("with", "a zkr <lora:first:0.8>"), ("again", "a zkr <lora:first:0.8>"), ("without", "a zkr")):
        out = workspace / f"{name}.png"
        done = commands.run("generate", prompt, "--lora-dir", workspace, "--seed", "1", "--steps", "10", "--out", out)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(out)
        images[name] = Image.open(out)
    assert images["with"].text["parameters"].startswith("a zkr <lora:first:0.8>\nSteps: 10, ")
    assert images["with"].tobytes() == images["again"].tobytes()
    assert images["with"].tobytes() != images["without"].tobytes()


def test_ctrl_c_saves_the_result_so_far(workspace: Path) -> None:
    arguments = [
        "train",
        "lora",
        "builtin:subject",
        "--trigger-word",
        "zkr",
        "--out",
        str(workspace),
        "--name",
        "stopped",
    ]
    arguments += ["--steps", "100000", *SETTINGS]
    command = commands.Command(*arguments)
    metrics = workspace / "stopped" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text("utf-8").count("\n") >= 3):
        assert time.monotonic() < deadline and command.is_running
        time.sleep(0.2)
    command.send_signal(signal.SIGINT)
    done = command.wait(60)
    assert done.returncode == 75
    assert "stopping after this step" in done.stderr
    (file,) = (workspace / "stopped").glob("*.safetensors")
    steps = int(file.stem.removeprefix("stopped-step"))
    assert steps == metrics.read_text("utf-8").count("\n")
    library.read_weights(file, library.load_model("builtin"))


def test_a_second_run_does_not_overwrite_the_first(workspace: Path, run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = commands.run(*train_first(workspace), "--steps", "1", *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(workspace / "first-2" / "first-2.safetensors")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = f"import sys; sys.argv = ['tetrad', *{arguments!r}]\nfrom tetrad.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\nassert not {'torch', 'diffusers', 'numpy'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
